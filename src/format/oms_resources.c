/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resources of OMS: a manifest as a list of named digests, and their root digest. Section
 * numbers are those of its specification.
 */
#include "format/oms.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { OFFSET_DIGITS = 19 };

/* ---- reading -------------------------------------------------------------------------------- */

/* Digits without sign, space or leading zero. */
static bool canonical_offset(hm_bytes text, uint64_t *value) {
    if (text.length == 0 || text.length > OFFSET_DIGITS ||
        (text.length > 1 && text.data[0] == '0')) {
        return false;
    }
    *value = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        *value = *value * 10 + (uint64_t)(text.data[i] - '0');
    }
    return true;
}

/* Cuts off what stands behind the last colon. */
static bool cut_at_colon(hm_bytes *text, hm_bytes *tail) {
    for (size_t i = text->length; i > 0; i--) {
        if (text->data[i - 1] == ':') {
            *tail = hm_bytes_of(text->data + i, text->length - i);
            text->length = i - 1;
            return true;
        }
    }
    return false;
}

bool hm_oms_shard_name(hm_bytes label, hm_bytes *path, uint64_t *start, uint64_t *end) {
    hm_bytes first;
    hm_bytes last;
    *path = label;
    return cut_at_colon(path, &last) && cut_at_colon(path, &first) &&
           canonical_offset(first, start) && canonical_offset(last, end);
}

/* Python's releases write "sha256-sharded-S" where the specification has "sha256". */
static bool algorithm_fits(const hm_manifest *manifest, hm_bytes algorithm) {
    const char *hash = hm_hash_name(manifest->hash);
    if (hm_bytes_equal_text(algorithm, hash)) {
        return true;
    }
    if (manifest->method != HM_METHOD_SHARDS) {
        return false;
    }
    hm_auto_free char *sharded = hm_textf("%s-sharded-%" PRIu64, hash, manifest->shard_size);
    return sharded != NULL && hm_bytes_equal_text(algorithm, sharded);
}

static hm_status read_resource(hm_json *resource, hm_promise *promise, hm_error **error) {
    hm_manifest *manifest = &promise->manifest;
    hm_bytes name;
    hm_bytes hex;
    hm_bytes algorithm;
    if (resource->type != HM_JSON_OBJECT) {
        return hm_oms_malformed(error, "a resource is %s", hm_json_type_name(resource->type));
    }
    hm_status status = hm_json_take_text(resource, "resource", "name", &name, error);
    if (status == HM_OK) {
        status = hm_json_take_text(resource, "resource", "digest", &hex, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_text(resource, "resource", "algorithm", &algorithm, error);
    }
    if (status != HM_OK) {
        return status;
    }
    uint8_t digest[HM_DIGEST_MAX];
    uint64_t start = 0;
    uint64_t end = HM_SIZE_UNKNOWN;
    hm_bytes path = name;
    if (manifest->method == HM_METHOD_SHARDS &&
        (!hm_oms_shard_name(name, &path, &start, &end) || start >= end ||
         start % manifest->shard_size != 0 || end - start > manifest->shard_size)) {
        return hm_oms_malformed(error, "\"%s\" is not the name of a shard", name.data);
    }
    bool dot = hm_bytes_equal_text(path, ".");
    if (!dot && !hm_name_valid(path)) {
        return hm_oms_malformed(error, "\"%s\" is not a path inside the model", name.data);
    }
    promise->single_dot |= dot;
    if (!algorithm_fits(manifest, algorithm)) {
        return hm_oms_malformed(error, "the algorithm of \"%s\" is not the signature's hash_type",
                                name.data);
    }
    if (!hm_unhex(hex, digest, hm_hash_size(manifest->hash))) {
        return hm_oms_malformed(error, "the digest of \"%s\" is not %zu lower-case hex digits",
                                name.data, 2 * hm_hash_size(manifest->hash));
    }
    return hm_manifest_add(manifest, (const char *)path.data, path.length, start, end, digest,
                           error);
}

/* All items belong to one file? Names the file that "." stands for. */
static bool one_file(const hm_manifest *manifest) {
    for (size_t i = 1; i < manifest->count; i++) {
        if (strcmp(manifest->items[i].name, manifest->items[0].name) != 0) {
            return false;
        }
    }
    return true;
}

static hm_status refuse_twice(hm_promise *promise, hm_error **error) {
    const hm_item *twice;
    if (hm_manifest_sort(&promise->manifest, &twice)) {
        return HM_OK;
    }
    return hm_oms_malformed(error, "the signature lists \"%s\" twice", twice->name);
}

/* The listed order counts for the root digest (6.5), so it is taken before the items are sorted. */
hm_status hm_oms_read_resources(hm_json *predicate, hm_promise *promise, uint8_t *root,
                                hm_error **error) {
    hm_json *list;
    hm_status status =
        hm_json_take(predicate, "predicate", "resources", HM_JSON_ARRAY, &list, error);
    if (status == HM_OK && list->count == 0) {
        status = hm_oms_malformed(error, "the signature lists no files");
    }
    hm_json *resource = status == HM_OK ? list->first : NULL;
    for (; resource != NULL && status == HM_OK; resource = resource->next) {
        status = read_resource(resource, promise, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (promise->single_dot && !one_file(&promise->manifest)) {
        return hm_oms_malformed(error, "the signature lists \".\" among other files");
    }
    hm_auto_buf raw = {0};
    size_t size = hm_hash_size(promise->manifest.hash);
    for (size_t i = 0; i < promise->manifest.count; i++) {
        hm_buf_add(&raw, promise->manifest.items[i].digest, size);
    }
    status = hm_buf_check(&raw, error);
    if (status == HM_OK) {
        status = hm_digest_bytes(HM_HASH_SHA256, hm_buf_view(&raw), root, error);
    }
    return status == HM_OK ? refuse_twice(promise, error) : status;
}

/* ---- listing -------------------------------------------------------------------------------- */

void hm_oms_resources_free(hm_oms_resources *resources) {
    for (size_t i = 0; i < resources->count; i++) {
        free(resources->list[i].label);
    }
    free(resources->list);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const hm_oms_resource *)a)->label, ((const hm_oms_resource *)b)->label);
}

/* By components: '/' comes before every other byte. */
static int compare_paths(const void *a, const void *b) {
    const hm_item *left = ((const hm_oms_resource *)a)->item;
    const hm_item *right = ((const hm_oms_resource *)b)->item;
    const char *l = left->name;
    const char *r = right->name;
    while (*l != '\0' && *l == *r) {
        l++;
        r++;
    }
    if (*l == *r) {
        return left->start < right->start ? -1 : left->start > right->start;
    }
    int first = *l == '\0' ? 0 : *l == '/' ? 1 : 1 + (uint8_t)*l;
    int second = *r == '\0' ? 0 : *r == '/' ? 1 : 1 + (uint8_t)*r;
    return first - second;
}

/* Zero-byte files have no shards (6.3.2). */
hm_status hm_oms_list_resources(const hm_manifest *manifest, bool dot, hm_oms_order order,
                                hm_oms_resources *resources, hm_error **error) {
    resources->list = hm_alloc(manifest->count, sizeof(hm_oms_resource));
    if (resources->list == NULL) {
        return hm_fail_memory(error);
    }
    for (size_t i = 0; i < manifest->count; i++) {
        const hm_item *item = &manifest->items[i];
        if (manifest->method == HM_METHOD_SHARDS && item->start == item->end) {
            continue;
        }
        char name[] = ".";
        hm_item named = *item;
        named.name = dot ? name : item->name;
        char *label = hm_item_label(manifest, &named);
        if (label == NULL) {
            return hm_fail_memory(error);
        }
        resources->list[resources->count++] = (hm_oms_resource){.label = label, .item = item};
    }
    qsort(resources->list, resources->count, sizeof(hm_oms_resource),
          order == HM_OMS_ORDER_NAME ? compare_names : compare_paths);
    return HM_OK;
}

hm_status hm_oms_resources_digest(const hm_manifest *manifest, const hm_oms_resources *resources,
                                  uint8_t *digest, hm_error **error) {
    hm_auto_buf raw = {0};
    for (size_t i = 0; i < resources->count; i++) {
        hm_buf_add(&raw, resources->list[i].item->digest, hm_hash_size(manifest->hash));
    }
    hm_status status = hm_buf_check(&raw, error);
    return status == HM_OK ? hm_digest_bytes(HM_HASH_SHA256, hm_buf_view(&raw), digest, error)
                           : status;
}

hm_status hm_oms_root_digest(const hm_manifest *manifest, hm_oms_order order, uint8_t *digest,
                             hm_error **error) {
    HM_CLEANUP(hm_oms_resources_free) hm_oms_resources resources = {0};
    hm_status status = hm_oms_list_resources(manifest, false, order, &resources, error);
    return status == HM_OK ? hm_oms_resources_digest(manifest, &resources, digest, error) : status;
}
