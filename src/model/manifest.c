/* SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *hm_method_name(hm_method method) {
    switch (method) {
    case HM_METHOD_FILES: return "files";
    case HM_METHOD_SHARDS: return "shards";
    }
    return "";
}

hm_status hm_manifest_add(hm_manifest *manifest, const char *name, size_t name_length,
                          uint64_t start, uint64_t end, const uint8_t *digest, hm_error **error) {
    char *copy = hm_strndup(name, name_length);
    if (copy == NULL ||
        !hm_grow(&manifest->items, manifest->count, &manifest->capacity, sizeof(hm_item))) {
        free(copy);
        return hm_fail_memory(error);
    }
    hm_item *item = &manifest->items[manifest->count++];
    *item = (hm_item){.name = copy, .start = start, .end = end};
    memcpy(item->digest, digest, hm_hash_size(manifest->hash));
    return HM_OK;
}

int hm_item_compare(const hm_item *a, const hm_item *b) {
    int order = strcmp(a->name, b->name);
    if (order != 0) {
        return order;
    }
    return a->start < b->start ? -1 : a->start > b->start;
}

static int compare_items(const void *a, const void *b) {
    return hm_item_compare(a, b);
}

const hm_item *hm_manifest_find(const hm_manifest *manifest, const char *name, uint64_t start) {
    size_t low = 0;
    size_t high = manifest->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const hm_item *item = &manifest->items[middle];
        int order = strcmp(name, item->name);
        if (order == 0 && start == item->start) {
            return item;
        }
        if (order < 0 || (order == 0 && start < item->start)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

bool hm_manifest_sort(hm_manifest *manifest, const hm_item **twice) {
    if (manifest->count > 1) {
        qsort(manifest->items, manifest->count, sizeof(hm_item), compare_items);
    }
    for (size_t i = 1; i < manifest->count; i++) {
        if (compare_items(&manifest->items[i - 1], &manifest->items[i]) == 0) {
            *twice = &manifest->items[i];
            return false;
        }
    }
    return true;
}

void hm_manifest_free(hm_manifest *manifest) {
    for (size_t i = 0; i < manifest->count; i++) {
        free(manifest->items[i].name);
    }
    free(manifest->items);
    *manifest = (hm_manifest){0};
}

char *hm_item_label(const hm_manifest *manifest, const hm_item *item) {
    if (manifest->method == HM_METHOD_SHARDS) {
        return hm_textf("%s:%" PRIu64 ":%" PRIu64, item->name, item->start, item->end);
    }
    return hm_strdup(item->name);
}

/*
 * The hashed text: a head, then a record per item, every part ended by a NUL, which no name can
 * hold; so the text can be read in one way only.
 */
hm_status hm_manifest_model_digest_as(const hm_manifest *manifest, const char *name,
                                      uint8_t *digest, hm_error **error) {
    hm_auto_buf text = {0};
    hm_buf_add_format(&text, "hallmark-model-digest-v1%c%s%c%s%c", 0,
                      hm_method_name(manifest->method), 0, hm_hash_name(manifest->hash), 0);
    if (manifest->method == HM_METHOD_SHARDS) {
        hm_buf_add_format(&text, "%" PRIu64 "%c", manifest->shard_size, 0);
    }
    for (size_t i = 0; i < manifest->count; i++) {
        const hm_item *item = &manifest->items[i];
        hm_buf_add_hex(&text, item->digest, hm_hash_size(manifest->hash));
        hm_buf_add_format(&text, " %" PRIu64 " %" PRIu64 " %s%c", item->start, item->end,
                          name != NULL ? name : item->name, 0);
    }
    hm_status status = hm_buf_check(&text, error);
    return status == HM_OK ? hm_digest_bytes(HM_HASH_SHA256, hm_buf_view(&text), digest, error)
                           : status;
}

hm_status hm_manifest_model_digest(const hm_manifest *manifest, uint8_t *digest, hm_error **error) {
    return hm_manifest_model_digest_as(manifest, NULL, digest, error);
}
