/* SPDX-License-Identifier: Apache-2.0 */
/* From a tree to a manifest, by way of the digest engine. */
#include "model/model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct range_list {
    hm_range *list;
    size_t count, capacity;
} range_list;

static void range_list_free(range_list *ranges) {
    for (size_t i = 0; i < ranges->count; i++) {
        free(ranges->list[i].parts);
    }
    free(ranges->list);
}

static bool readable(const hm_entry *entry) {
    return entry->kind == HM_ENTRY_FILE || entry->kind == HM_ENTRY_LINKED_FILE;
}

uint64_t hm_shard_count(uint64_t size, uint64_t shard_size) {
    return size / shard_size + (size % shard_size != 0);
}

static bool with_shards(const hm_measure_options *options) {
    return options->method == HM_METHOD_SHARDS || options->shards != NULL;
}

static hm_status check_range_limit(const hm_tree *tree, const bool *wanted,
                                   const hm_measure_options *options, hm_error **error) {
    uint64_t total = 0;
    for (size_t i = 0; i < tree->count && with_shards(options); i++) {
        if (readable(&tree->entries[i]) && (wanted == NULL || wanted[i])) {
            total += hm_shard_count(tree->entries[i].size, options->shard_size);
        }
        if (total > HM_RANGE_LIMIT) {
            return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                           "shards of %" PRIu64 " bytes cut the model into more than %zu pieces",
                           options->shard_size, HM_RANGE_LIMIT);
        }
    }
    return HM_OK;
}

static bool add_range(range_list *ranges, size_t file, uint64_t offset, uint64_t length,
                      const uint8_t *expected) {
    if (!hm_grow(&ranges->list, ranges->count, &ranges->capacity, sizeof(hm_range))) {
        return false;
    }
    ranges->list[ranges->count++] =
        (hm_range){.file = file, .offset = offset, .length = length, .expected = expected};
    return true;
}

static const uint8_t *promised_digest(const hm_manifest *promised, const char *name,
                                      uint64_t start) {
    const hm_item *item = promised != NULL ? hm_manifest_find(promised, name, start) : NULL;
    return item != NULL ? item->digest : NULL;
}

/*
 * Of a range that is a whole file: where the digests of its shards go. A file of one shard has that
 * shard's digest for its own.
 */
static bool add_parts(hm_range *range, const hm_measure_options *options) {
    if (options->shards == NULL || range->length <= options->shard_size) {
        return true;
    }
    uint64_t count = hm_shard_count(range->length, options->shard_size);
    range->parts = hm_alloc((size_t)count, hm_hash_size(options->hash));
    range->part_size = options->shard_size;
    return range->parts != NULL;
}

uint64_t hm_range_end(uint64_t size, uint64_t start, const hm_measure_options *options) {
    uint64_t step = options->method == HM_METHOD_SHARDS ? options->shard_size : size;
    return size - start < step ? size : start + step;
}

/* A file's ranges: one with the files method or when it is empty, else one per shard. */
static bool add_file(range_list *ranges, size_t file, const hm_entry *entry, bool copied,
                     const hm_measure_options *options) {
    uint64_t offset = 0;
    do {
        uint64_t end = hm_range_end(entry->size, offset, options);
        if (!add_range(ranges, file, offset, end - offset,
                       promised_digest(options->promised, entry->name, offset)) ||
            !add_parts(&ranges->list[ranges->count - 1], options)) {
            return false;
        }
        if (copied) {
            ranges->list[ranges->count - 1].sink =
                (hm_sink){.kind = HM_SINK_FILE, .fd = -1, .offset = offset};
        }
        offset = end;
    } while (offset < entry->size);
    return true;
}

static hm_status list_ranges(const hm_tree *tree, const bool *wanted,
                             const hm_measure_options *options, range_list *ranges,
                             hm_file_state *states, hm_error **error) {
    for (size_t i = 0; i < tree->count; i++) {
        const hm_entry *entry = &tree->entries[i];
        bool included = readable(entry) && (wanted == NULL || wanted[i]);
        states[i] = included ? HM_FILE_SPARED : HM_FILE_UNREAD;
        if (included && !add_file(ranges, i, entry, tree->copy != NULL, options)) {
            return hm_fail_memory(error);
        }
    }
    return HM_OK;
}

/* Keeps the ranges of this share. */
static hm_status take_share(range_list *ranges, const hm_measure_options *options,
                            hm_error **error) {
    if (options->part_count == 0) {
        return HM_OK;
    }
    hm_auto_free unsigned *owners = hm_alloc(ranges->count, sizeof(unsigned));
    if (owners == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status =
        hm_share_ranges(ranges->list, ranges->count, options->part_count, owners, error);
    size_t kept = 0;
    for (size_t i = 0; i < ranges->count && status == HM_OK; i++) {
        if (owners[i] + 1 == options->part) {
            ranges->list[kept++] = ranges->list[i];
        }
    }
    ranges->count = kept;
    return status;
}

/* Takes the items of known ranges over, and keeps the others to be read. */
static hm_status take_known(const hm_tree *tree, range_list *ranges, const hm_manifest *known,
                            hm_manifest *manifest, hm_error **error) {
    size_t kept = 0;
    hm_status status = HM_OK;
    for (size_t i = 0; known != NULL && i < ranges->count && status == HM_OK; i++) {
        const hm_range *range = &ranges->list[i];
        const char *name = tree->entries[range->file].name;
        const hm_item *item = hm_manifest_find(known, name, range->offset);
        if (item != NULL && item->end == range->offset + range->length) {
            status = hm_manifest_add(manifest, name, strlen(name), item->start, item->end,
                                     item->digest, error);
        } else {
            ranges->list[kept++] = *range;
        }
    }
    ranges->count = known != NULL ? kept : ranges->count;
    return status;
}

/* The worst that befell one of its ranges is what befell the file. */
static void judge_files(const range_list *ranges, hm_file_state *states) {
    for (size_t i = 0; i < ranges->count; i++) {
        const hm_range *range = &ranges->list[i];
        bool first = i == 0 || ranges->list[i - 1].file != range->file;
        if (first) {
            states[range->file] = HM_FILE_READ;
        }
        if (range->state == HM_RANGE_CHANGED) {
            states[range->file] = HM_FILE_CHANGED;
        } else if (range->state != HM_RANGE_DONE && states[range->file] == HM_FILE_READ) {
            states[range->file] = HM_FILE_UNREAD;
        }
    }
}

/* Digests that were reached are worth telling of, even where reading stopped before the end. */
static hm_status add_items(const hm_tree *tree, const range_list *ranges,
                           const hm_file_state *states, hm_manifest *manifest, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < ranges->count && status == HM_OK; i++) {
        const hm_range *range = &ranges->list[i];
        if (range->state == HM_RANGE_DONE && states[range->file] != HM_FILE_CHANGED) {
            const char *name = tree->entries[range->file].name;
            status = hm_manifest_add(manifest, name, strlen(name), range->offset,
                                     range->offset + range->length, range->digest, error);
        }
    }
    return status;
}

static hm_status add_shards(const char *name, const hm_range *range, hm_manifest *shards,
                            hm_error **error) {
    size_t length = strlen(name);
    size_t size = hm_hash_size(shards->hash);
    hm_status status = HM_OK;
    if (range->parts == NULL) {
        return hm_manifest_add(shards, name, length, 0, range->length, range->digest, error);
    }
    const uint8_t *digest = range->parts;
    for (uint64_t start = 0; start < range->length && status == HM_OK; digest += size) {
        uint64_t left = range->length - start;
        uint64_t end = start + (left < range->part_size ? left : range->part_size);
        status = hm_manifest_add(shards, name, length, start, end, digest, error);
        start = end;
    }
    return status;
}

static hm_status add_all_shards(const hm_tree *tree, const range_list *ranges,
                                const hm_file_state *states, hm_manifest *shards,
                                hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < ranges->count && shards != NULL && status == HM_OK; i++) {
        const hm_range *range = &ranges->list[i];
        if (states[range->file] == HM_FILE_READ) {
            status = add_shards(tree->entries[range->file].name, range, shards, error);
        }
    }
    return status;
}

hm_status hm_manifest_measure(hm_tree *tree, const bool *wanted, const hm_measure_options *options,
                              hm_manifest *manifest, hm_file_state *states, hm_error **error) {
    HM_CLEANUP(range_list_free) range_list ranges = {0};
    *manifest = (hm_manifest){.method = options->method, .hash = options->hash};
    manifest->shard_size = options->method == HM_METHOD_SHARDS ? options->shard_size : 0;
    if (options->shards != NULL) {
        *options->shards = (hm_manifest){.method = HM_METHOD_SHARDS,
                                         .hash = options->hash,
                                         .shard_size = options->shard_size};
    }
    hm_status status = check_range_limit(tree, wanted, options, error);
    if (status != HM_OK) {
        return status;
    }
    status = list_ranges(tree, wanted, options, &ranges, states, error);
    if (status == HM_OK) {
        status = take_share(&ranges, options, error);
    }
    if (status == HM_OK) {
        status = take_known(tree, &ranges, options->known, manifest, error);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_digest_job job = {
        .hash = options->hash,
        .source = hm_tree_source(tree),
        .ranges = ranges.list,
        .range_count = ranges.count,
        .jobs = options->jobs,
        .stop_on_change = options->stop_on_change,
        .progress = options->progress,
        .progress_context = options->progress_context,
    };
    status = hm_digest_run(&job, error);
    judge_files(&ranges, states);
    if (status == HM_OK) {
        status = add_items(tree, &ranges, states, manifest, error);
    }
    if (status == HM_OK) {
        status = add_all_shards(tree, &ranges, states, options->shards, error);
    }
    const hm_item *twice;
    (void)(options->known == NULL || hm_manifest_sort(manifest, &twice));
    return status;
}
