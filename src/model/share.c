/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One model over many machines: which of its ranges are whose. Every machine comes to the same
 * answer by itself, so nothing here may depend on more than sizes and their order.
 */
#include "model/model.h"

#include <stdlib.h>

/* What opening and closing costs, in bytes that could be read meanwhile: 100,000 small files are
 * no small share. */
enum { RANGE_COST = 128 << 10 };

typedef struct weight {
    uint64_t length;
    size_t index;
} weight;

typedef struct load {
    uint64_t bytes;
    unsigned share;
} load;

/* Longest first; the order of names where lengths do not tell. */
static int compare_weights(const void *a, const void *b) {
    const weight *left = a;
    const weight *right = b;
    if (left->length != right->length) {
        return left->length > right->length ? -1 : 1;
    }
    return left->index < right->index ? -1 : left->index > right->index;
}

static bool lighter(const load *a, const load *b) {
    return a->bytes != b->bytes ? a->bytes < b->bytes : a->share < b->share;
}

/* Restores the heap, whose lightest load is the first, after that one became heavier. */
static void sink(load *loads, size_t count) {
    size_t at = 0;
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++) {
            least = lighter(&loads[child], &loads[least]) ? child : least;
        }
        if (least == at) {
            return;
        }
        load moved = loads[at];
        loads[at] = loads[least];
        loads[least] = moved;
        at = least;
    }
}

/* The longest of what is left goes to whoever has least. */
hm_status hm_share_ranges(const hm_range *ranges, size_t count, unsigned shares, unsigned *owners,
                          hm_error **error) {
    hm_auto_free weight *weights = hm_alloc(count, sizeof(weight));
    hm_auto_free load *loads = hm_alloc(shares, sizeof(load));
    if (weights == NULL || loads == NULL) {
        return hm_fail_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        weights[i] = (weight){.length = ranges[i].length, .index = i};
    }
    for (unsigned i = 0; i < shares; i++) {
        loads[i].share = i;
    }
    if (count > 1) {
        qsort(weights, count, sizeof(weight), compare_weights);
    }
    for (size_t i = 0; i < count; i++) {
        owners[weights[i].index] = loads[0].share;
        loads[0].bytes += weights[i].length + RANGE_COST;
        sink(loads, shares);
    }
    return HM_OK;
}
