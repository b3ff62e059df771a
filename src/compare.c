/* SPDX-License-Identifier: Apache-2.0 */
#include "compare.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* More shards than this beyond the promised ones are told of as one finding, not one by one. */
enum { EXTRA_SHARDS = 16 };

static hm_status add_finding(hm_comparison *c, hm_reason reason, const char *name,
                             const char *detail, hm_error **error) {
    hm_finding finding = {.reason = reason, .name = hm_strdup(name)};
    if (detail != NULL) {
        finding.detail = hm_strdup(detail);
    }
    return hm_report_add_finding(c->report, finding, error);
}

static hm_status add_extra(hm_comparison *c, const hm_entry *entry, hm_error **error) {
    const char *detail = entry->kind == HM_ENTRY_FILE ? NULL : entry->kind_text;
    if (c->ignore_unsigned) {
        return hm_report_add_path(&c->report->unsigned_paths, entry->name, entry->kind_text, error);
    }
    return add_finding(c, HM_REASON_EXTRA_FILE, entry->name, detail, error);
}

/*
 * The format leaves zero-byte files out of shards. Where the signature binds them by the model
 * digest they are read like all others; else they are told of, and refused under strict paths.
 */
static hm_status add_empty(hm_comparison *c, size_t index, hm_error **error) {
    const hm_entry *entry = &c->tree->entries[index];
    if (c->promise->has_model_digest) {
        c->wanted[index] = true;
        return HM_OK;
    }
    if (c->strict_paths) {
        return add_finding(c, HM_REASON_EXTRA_FILE, entry->name,
                           "an empty file, which shards do not cover", error);
    }
    return hm_report_add_path(&c->report->unsigned_paths, entry->name,
                              "empty file, not covered by shards", error);
}

static uint64_t promised_size(const hm_item *items, size_t count) {
    return items[count - 1].end;
}

/* A listed name: what is there in its place, and is it worth reading? */
static hm_status check_listed(hm_comparison *c, size_t index, const hm_item *items, size_t count,
                              hm_error **error) {
    const hm_entry *entry = &c->tree->entries[index];
    const hm_manifest *promised = &c->promise->manifest;
    if (entry->kind != HM_ENTRY_FILE && entry->kind != HM_ENTRY_LINKED_FILE) {
        hm_auto_free char *detail = hm_textf("there is a %s in its place", entry->kind_text);
        return add_finding(c, HM_REASON_MISSING_FILE, entry->name, detail, error);
    }
    if (promised->method == HM_METHOD_SHARDS &&
        hm_shard_count(entry->size, promised->shard_size) > count + EXTRA_SHARDS) {
        hm_auto_free char *detail = hm_textf("%" PRIu64 " bytes where %" PRIu64 " were signed",
                                             entry->size, promised_size(items, count));
        return add_finding(c, HM_REASON_DIGEST_MISMATCH, entry->name, detail, error);
    }
    c->wanted[index] = true;
    return HM_OK;
}

/* Items of one name stand next to each other. */
static size_t items_of_name(const hm_manifest *manifest, size_t first) {
    size_t count = 1;
    while (first + count < manifest->count &&
           strcmp(manifest->items[first + count].name, manifest->items[first].name) == 0) {
        count++;
    }
    return count;
}

static hm_status unlisted(hm_comparison *c, size_t index, hm_error **error) {
    const hm_entry *entry = &c->tree->entries[index];
    bool empty =
        entry->size == 0 && (entry->kind == HM_ENTRY_FILE || entry->kind == HM_ENTRY_LINKED_FILE);
    return empty && c->promise->manifest.method == HM_METHOD_SHARDS ? add_empty(c, index, error)
                                                                    : add_extra(c, entry, error);
}

/* Both lists are sorted by name: one walk along them. */
hm_status hm_compare_trees(hm_comparison *c, hm_error **error) {
    const hm_manifest *promised = &c->promise->manifest;
    hm_status status = HM_OK;
    size_t item = 0;
    size_t entry = 0;
    while (status == HM_OK && (item < promised->count || entry < c->tree->count)) {
        int order = item >= promised->count ? 1
                    : entry >= c->tree->count
                        ? -1
                        : strcmp(promised->items[item].name, c->tree->entries[entry].name);
        size_t count = order <= 0 ? items_of_name(promised, item) : 0;
        if (order < 0) {
            status =
                add_finding(c, HM_REASON_MISSING_FILE, promised->items[item].name, NULL, error);
        } else if (order > 0) {
            status = unlisted(c, entry, error);
        } else {
            status = check_listed(c, entry, &promised->items[item], count, error);
        }
        item += count;
        entry += order >= 0 ? 1 : 0;
    }
    return status;
}

/* ---- content -------------------------------------------------------------------------------- */

static char *hex_of(const hm_manifest *manifest, const hm_item *item) {
    size_t size = hm_hash_size(manifest->hash);
    char *text = hm_alloc(2 * size + 1, 1);
    if (text != NULL) {
        hm_hex(item->digest, size, text);
    }
    return text;
}

static hm_status add_item_finding(hm_comparison *c, hm_reason reason, const hm_item *expected,
                                  const hm_item *actual, hm_error **error) {
    const hm_manifest *manifest = &c->promise->manifest;
    hm_finding finding = {.reason = reason};
    finding.name = hm_item_label(manifest, expected != NULL ? expected : actual);
    finding.expected = expected != NULL ? hex_of(manifest, expected) : NULL;
    finding.actual = actual != NULL ? hex_of(manifest, actual) : NULL;
    if ((expected != NULL && finding.expected == NULL) ||
        (actual != NULL && finding.actual == NULL)) {
        free(finding.name);
        finding.name = NULL;
    }
    return hm_report_add_finding(c->report, finding, error);
}

static bool same_content(const hm_manifest *manifest, const hm_item *promised,
                         const hm_item *found) {
    bool same_end = promised->end == HM_SIZE_UNKNOWN || promised->end == found->end;
    return same_end && memcmp(promised->digest, found->digest, hm_hash_size(manifest->hash)) == 0;
}

/* Of a promised item for which nothing was found: its file was told of already, or it shrank. */
static hm_status not_found(hm_comparison *c, const hm_item *promised, hm_error **error) {
    const hm_entry *entry = hm_tree_find(c->tree, promised->name);
    size_t index = entry != NULL ? (size_t)(entry - c->tree->entries) : 0;
    if (entry == NULL || !c->wanted[index] || c->states[index] != HM_FILE_READ) {
        return HM_OK;
    }
    return add_item_finding(c, HM_REASON_MISSING_FILE, promised, NULL, error);
}

static hm_status not_promised(hm_comparison *c, const hm_item *found, hm_error **error) {
    return found->start == found->end
               ? HM_OK
               : add_item_finding(c, HM_REASON_EXTRA_FILE, NULL, found, error);
}

static hm_status compare_items(hm_comparison *c, hm_error **error) {
    const hm_manifest *promised = &c->promise->manifest;
    const hm_manifest *found = c->found;
    hm_status status = HM_OK;
    size_t p = 0;
    size_t f = 0;
    while (status == HM_OK && (p < promised->count || f < found->count)) {
        int order = p >= promised->count ? 1
                    : f >= found->count  ? -1
                                         : hm_item_compare(&promised->items[p], &found->items[f]);
        if (order < 0) {
            status = not_found(c, &promised->items[p], error);
        } else if (order > 0) {
            status = not_promised(c, &found->items[f], error);
        } else if (!same_content(promised, &promised->items[p], &found->items[f])) {
            status = add_item_finding(c, HM_REASON_DIGEST_MISMATCH, &promised->items[p],
                                      &found->items[f], error);
        }
        p += order <= 0 ? 1 : 0;
        f += order >= 0 ? 1 : 0;
    }
    return status;
}

/* With all listed shards as they should be, only the zero-byte files are left to differ. */
static hm_status compare_model_digest(hm_comparison *c, hm_error **error) {
    uint8_t digest[32];
    if (!c->promise->has_model_digest || c->report->finding_count > 0) {
        return HM_OK;
    }
    /* As it was when the file had the name under which it was signed. */
    hm_status status = hm_manifest_model_digest_as(c->found, c->signed_name, digest, error);
    if (status != HM_OK || memcmp(digest, c->promise->model_digest, sizeof(digest)) == 0) {
        return status;
    }
    return add_finding(c, HM_REASON_DIGEST_MISMATCH, ".",
                       "its empty files are not those that were signed", error);
}

/* ---- sizes, in place of content -------------------------------------------------------------- */

static hm_status refuse_size(hm_comparison *c, const hm_entry *entry, hm_error **error) {
    hm_auto_free char *detail =
        hm_textf("its %" PRIu64 " bytes are not in the shards that were signed", entry->size);
    return add_finding(c, HM_REASON_DIGEST_MISMATCH, entry->name, detail, error);
}

/*
 * What an empty file holds is known. Where shards do not list it, it is promised by the model
 * digest.
 */
static hm_status expect_empty(hm_comparison *c, const hm_entry *entry, hm_error **error) {
    const hm_manifest *promised = &c->promise->manifest;
    const hm_item *item = hm_manifest_find(promised, entry->name, 0);
    hm_item found = {.name = entry->name};
    hm_status status = hm_digest_bytes(promised->hash, hm_bytes_of("", 0), found.digest, error);
    if (status == HM_OK && item != NULL && !same_content(promised, item, &found)) {
        status = add_item_finding(c, HM_REASON_DIGEST_MISMATCH, item, &found, error);
    }
    return status == HM_OK ? hm_manifest_add(c->found, entry->name, strlen(entry->name), 0, 0,
                                             found.digest, error)
                           : status;
}

/* The items of a file must be those that a file of its size has: no gap, nothing behind its end. */
static hm_status expect_items(hm_comparison *c, const hm_entry *entry, hm_error **error) {
    const hm_manifest *promised = &c->promise->manifest;
    hm_measure_options layout = {.method = promised->method, .shard_size = promised->shard_size};
    const hm_item *item = hm_manifest_find(promised, entry->name, 0);
    if (entry->size == 0) {
        return expect_empty(c, entry, error);
    }
    if (item == NULL) {
        return refuse_size(c, entry, error);
    }
    size_t left = items_of_name(promised, (size_t)(item - promised->items));
    uint64_t offset = 0;
    hm_status status = HM_OK;
    while (status == HM_OK && offset < entry->size) {
        uint64_t end = hm_range_end(entry->size, offset, &layout);
        bool same =
            left > 0 && item->start == offset && (item->end == end || item->end == HM_SIZE_UNKNOWN);
        if (!same) {
            return refuse_size(c, entry, error);
        }
        status = hm_manifest_add(c->found, entry->name, strlen(entry->name), offset, end,
                                 item->digest, error);
        offset = end;
        item++;
        left--;
    }
    return status == HM_OK && left > 0 ? refuse_size(c, entry, error) : status;
}

hm_status hm_compare_sizes(hm_comparison *c, hm_error **error) {
    const hm_manifest *promised = &c->promise->manifest;
    hm_status status = HM_OK;
    *c->found = (hm_manifest){.method = promised->method,
                              .hash = promised->hash,
                              .shard_size = promised->shard_size};
    for (size_t i = 0; i < c->tree->count && status == HM_OK; i++) {
        if (c->wanted[i]) {
            status = expect_items(c, &c->tree->entries[i], error);
        }
    }
    return status == HM_OK ? compare_model_digest(c, error) : status;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Reading stops early only where a difference was found; anything else must not pass. */
static hm_status refuse_unread(const hm_comparison *c, hm_error **error) {
    for (size_t i = 0; i < c->tree->count && c->report->finding_count == 0; i++) {
        if (c->wanted[i] && c->states[i] != HM_FILE_READ) {
            return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s was not read to its end",
                           c->tree->entries[i].name);
        }
    }
    return HM_OK;
}

hm_status hm_compare_manifests(hm_comparison *c, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < c->tree->count && status == HM_OK; i++) {
        if (c->wanted[i] && c->states[i] == HM_FILE_CHANGED) {
            status = add_finding(c, HM_REASON_CHANGED_WHILE_READING, c->tree->entries[i].name, NULL,
                                 error);
        }
    }
    if (status == HM_OK) {
        status = compare_items(c, error);
    }
    if (status == HM_OK) {
        status = compare_model_digest(c, error);
    }
    return status == HM_OK ? refuse_unread(c, error) : status;
}
