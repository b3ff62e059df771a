/* SPDX-License-Identifier: Apache-2.0 */
/* The digests of one part of a model, from the machine that computed them to the one that signs. */
#include "format/records.h"

#include <stdlib.h>
#include <string.h>

static const char format_text[] = "hallmark-part-v1";

/* Values that an entry takes in the file, and that everything around them takes at most. */
enum { ENTRY_NODES = 7, OTHER_NODES = 64 };

void hm_part_free(hm_part *part) {
    for (size_t i = 0; part->files != NULL && i < part->manifest.count; i++) {
        free(part->files[i].mtime);
    }
    for (size_t i = 0; i < part->ignore_count; i++) {
        free(part->ignore[i]);
    }
    free(part->files);
    free(part->ignore);
    hm_manifest_free(&part->manifest);
    *part = (hm_part){0};
}

/* ---- reading -------------------------------------------------------------------------------- */

static hm_status malformed(const char *what, const char *text, hm_error **error) {
    return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s: %s", what, text);
}

static hm_status take_number(hm_json *object, const char *what, const char *name, uint64_t *number,
                             hm_error **error) {
    hm_json *member = NULL;
    hm_status status = hm_json_take(object, what, name, HM_JSON_NUMBER, &member, error);
    if (status == HM_OK && !hm_json_integer(member, number)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                         "%s: \"%s\" is not an integer from 0 to 2^53", what, name);
    }
    return status;
}

static hm_status read_place(hm_json *root, const char *what, hm_part *part, hm_error **error) {
    hm_bytes format;
    uint64_t number = 0;
    uint64_t count = 0;
    hm_status status = hm_json_take_text(root, what, "format", &format, error);
    if (status == HM_OK && !hm_bytes_equal_text(format, format_text)) {
        status = malformed(what, "it is not a part that this version reads", error);
    }
    if (status == HM_OK) {
        status = take_number(root, what, "part", &number, error);
    }
    if (status == HM_OK) {
        status = take_number(root, what, "parts", &count, error);
    }
    if (status == HM_OK && (number == 0 || number > count || count > HM_PART_LIMIT)) {
        status = malformed(what, "it is no possible part of that many", error);
    }
    part->part = (unsigned)number;
    part->part_count = (unsigned)count;
    return status;
}

static hm_status read_method(hm_json *root, const char *what, hm_manifest *manifest,
                             hm_error **error) {
    hm_bytes method;
    hm_bytes hash;
    hm_status status = hm_json_take_text(root, what, "method", &method, error);
    if (status == HM_OK) {
        status = hm_json_take_text(root, what, "hash", &hash, error);
    }
    if (status == HM_OK) {
        status = take_number(root, what, "shard_size", &manifest->shard_size, error);
    }
    if (status != HM_OK) {
        return status;
    }
    bool shards = manifest->shard_size > 0;
    manifest->method = shards ? HM_METHOD_SHARDS : HM_METHOD_FILES;
    if (!hm_bytes_equal_text(method, hm_method_name(manifest->method)) ||
        !hm_hash_from_name(hash, &manifest->hash)) {
        status = malformed(what, "its method, shard_size or hash make no sense", error);
    }
    return status;
}

static hm_status read_ignore(hm_json *root, const char *what, hm_part *part, hm_error **error) {
    hm_json *list = NULL;
    hm_status status = hm_json_take(root, what, "ignore", HM_JSON_ARRAY, &list, error);
    if (status != HM_OK) {
        return status;
    }
    if (list->count > HM_IGNORE_LIMIT) {
        return malformed(what, "it ignores too many paths", error);
    }
    const char *before = "";
    for (const hm_json *path = list->first; path != NULL; path = path->next) {
        if (path->type != HM_JSON_STRING || !hm_name_valid(path->text) ||
            strcmp(before, (const char *)path->text.data) >= 0) {
            return malformed(what, "\"ignore\" is not a sorted list of paths", error);
        }
        before = (const char *)path->text.data;
        char *copy = hm_strdup(before);
        if (copy == NULL ||
            !hm_grow(&part->ignore, part->ignore_count, &part->ignore_capacity, sizeof(char *))) {
            free(copy);
            return hm_fail_memory(error);
        }
        part->ignore[part->ignore_count++] = copy;
    }
    return HM_OK;
}

static hm_status read_tree(hm_json *root, const char *what, hm_part *part, hm_error **error) {
    hm_json *tree = NULL;
    hm_bytes hex = {0};
    uint64_t files = 0;
    hm_status status = hm_json_take(root, what, "tree", HM_JSON_OBJECT, &tree, error);
    if (status == HM_OK) {
        status = take_number(tree, what, "files", &files, error);
    }
    if (status == HM_OK) {
        status = take_number(tree, what, "bytes", &part->tree_bytes, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_text(tree, what, "digest", &hex, error);
    }
    if (status == HM_OK && !hm_unhex(hex, part->tree_digest, sizeof(part->tree_digest))) {
        status = malformed(what, "\"tree.digest\" is not 64 lower-case hex digits", error);
    }
    part->tree_files = (size_t)files;
    return status == HM_OK ? hm_json_refuse_rest(tree, what, error) : status;
}

/* A range as the method cuts it. */
static bool range_fits(const hm_manifest *manifest, uint64_t start, uint64_t end, uint64_t size) {
    hm_measure_options how = {.method = manifest->method, .shard_size = manifest->shard_size};
    bool begins =
        manifest->method == HM_METHOD_SHARDS ? start % manifest->shard_size == 0 : start == 0;
    return begins && (start < size || (start == 0 && size == 0)) &&
           end == hm_range_end(size, start, &how);
}

static hm_status add_entry(hm_part *part, const char *what, hm_bytes name, hm_bytes hex,
                           const uint64_t range[2], hm_part_file file, hm_error **error) {
    hm_manifest *manifest = &part->manifest;
    uint8_t digest[HM_DIGEST_MAX];
    if (!hm_name_valid(name) || !range_fits(manifest, range[0], range[1], file.size) ||
        !hm_unhex(hex, digest, hm_hash_size(manifest->hash))) {
        return malformed(what, "an entry has a name, range or digest that cannot be", error);
    }
    if (!hm_grow(&part->files, manifest->count, &part->file_capacity, sizeof(*part->files))) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_manifest_add(manifest, (const char *)name.data, name.length, range[0],
                                       range[1], digest, error);
    if (status == HM_OK) {
        part->files[manifest->count - 1] = file;
    }
    return status;
}

static hm_status read_entry(hm_json *entry, const char *what, hm_part *part, hm_error **error) {
    hm_bytes name = {0};
    hm_bytes hex = {0};
    hm_bytes mtime = {0};
    uint64_t range[2] = {0};
    hm_part_file file = {0};
    if (entry->type != HM_JSON_OBJECT) {
        return malformed(what, "an entry is not an object", error);
    }
    hm_status status = hm_json_take_text(entry, what, "name", &name, error);
    status = status == HM_OK ? take_number(entry, what, "size", &file.size, error) : status;
    status = status == HM_OK ? hm_json_take_text(entry, what, "mtime", &mtime, error) : status;
    status = status == HM_OK ? take_number(entry, what, "start", &range[0], error) : status;
    status = status == HM_OK ? take_number(entry, what, "end", &range[1], error) : status;
    status = status == HM_OK ? hm_json_take_text(entry, what, "digest", &hex, error) : status;
    status = status == HM_OK ? hm_json_refuse_rest(entry, what, error) : status;
    if (status != HM_OK) {
        return status;
    }
    file.mtime = hm_strndup((const char *)mtime.data, mtime.length);
    status = file.mtime != NULL ? add_entry(part, what, name, hex, range, file, error)
                                : hm_fail_memory(error);
    if (status != HM_OK) {
        free(file.mtime);
    }
    return status;
}

/* Sorted, so that what is there twice stands side by side. */
static hm_status read_entries(hm_json *root, const char *what, hm_part *part, hm_error **error) {
    hm_json *list = NULL;
    hm_status status = hm_json_take(root, what, "entries", HM_JSON_ARRAY, &list, error);
    hm_json *entry = status == HM_OK ? list->first : NULL;
    for (; entry != NULL && status == HM_OK; entry = entry->next) {
        status = read_entry(entry, what, part, error);
        const hm_manifest *manifest = &part->manifest;
        size_t count = manifest->count;
        if (status == HM_OK && count > 1 &&
            hm_item_compare(&manifest->items[count - 2], &manifest->items[count - 1]) >= 0) {
            status = malformed(what, "\"entries\" is not sorted, or has something twice", error);
        }
    }
    return status;
}

hm_status hm_part_recognise(hm_bytes file, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_status status = hm_json_parse(file, "part", &doc, error);
    if (status != HM_OK) {
        return status;
    }
    const hm_json *root = hm_json_root(doc);
    const hm_json *kind = root->type == HM_JSON_OBJECT ? hm_json_get(root, "format") : NULL;
    bool known = kind != NULL && kind->type == HM_JSON_STRING &&
                 hm_bytes_equal_text(kind->text, format_text);
    return known ? HM_OK : malformed("part", "it is something else", error);
}

hm_status hm_part_parse(hm_bytes text, const char *what, hm_part *part, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_json *follow = NULL;
    hm_status status = hm_json_parse(text, what, &doc, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json *root = hm_json_root(doc);
    if (root->type != HM_JSON_OBJECT) {
        return malformed(what, "it is not a part: a JSON object", error);
    }
    status = read_place(root, what, part, error);
    status = status == HM_OK ? read_method(root, what, &part->manifest, error) : status;
    status = status == HM_OK
                 ? hm_json_take(root, what, "follow_symlinks", HM_JSON_BOOL, &follow, error)
                 : status;
    part->follow = status == HM_OK && follow->truth;
    status = status == HM_OK ? read_ignore(root, what, part, error) : status;
    status = status == HM_OK ? read_tree(root, what, part, error) : status;
    status = status == HM_OK ? read_entries(root, what, part, error) : status;
    return status == HM_OK ? hm_json_refuse_rest(root, what, error) : status;
}

/* ---- writing -------------------------------------------------------------------------------- */

static void write_head(hm_json_writer *w, const hm_part *part) {
    const hm_manifest *manifest = &part->manifest;
    hm_json_member(w, "format", format_text);
    hm_json_member_number(w, "part", part->part);
    hm_json_member_number(w, "parts", part->part_count);
    hm_json_member(w, "method", hm_method_name(manifest->method));
    hm_json_member(w, "hash", hm_hash_name(manifest->hash));
    hm_json_member_number(w, "shard_size", manifest->shard_size);
    hm_json_member_bool(w, "follow_symlinks", part->follow);
    hm_json_name(w, "ignore");
    hm_json_begin_array(w);
    for (size_t i = 0; i < part->ignore_count; i++) {
        hm_json_text(w, part->ignore[i]);
    }
    hm_json_end_array(w);
    hm_json_name(w, "tree");
    hm_json_begin_object(w);
    hm_json_member_number(w, "files", part->tree_files);
    hm_json_member_number(w, "bytes", part->tree_bytes);
    hm_json_member_hex(w, "digest", part->tree_digest, sizeof(part->tree_digest));
    hm_json_end_object(w);
}

static hm_status write_entry(hm_json_writer *w, const hm_manifest *manifest, const hm_item *item,
                             const hm_entry *entry, hm_error **error) {
    hm_auto_free char *mtime = entry != NULL ? hm_entry_mtime(entry) : NULL;
    if (mtime == NULL) {
        return hm_fail_memory(error);
    }
    hm_json_begin_object(w);
    hm_json_member(w, "name", item->name);
    hm_json_member_number(w, "size", entry->size);
    hm_json_member(w, "mtime", mtime);
    hm_json_member_number(w, "start", item->start);
    hm_json_member_number(w, "end", item->end);
    hm_json_member_hex(w, "digest", item->digest, hm_hash_size(manifest->hash));
    hm_json_end_object(w);
    return HM_OK;
}

hm_status hm_part_write(const hm_part *part, const hm_tree *tree, hm_buf *out, hm_error **error) {
    const hm_manifest *manifest = &part->manifest;
    hm_json_writer w = {.out = out};
    hm_status status = HM_OK;
    hm_json_begin_object(&w);
    write_head(&w, part);
    hm_json_name(&w, "entries");
    hm_json_begin_array(&w);
    for (size_t i = 0; i < manifest->count && status == HM_OK; i++) {
        const hm_item *item = &manifest->items[i];
        status = write_entry(&w, manifest, item, hm_tree_find(tree, item->name), error);
    }
    hm_json_end_array(&w);
    hm_json_end_object(&w);
    hm_buf_add_byte(out, '\n');
    status = status == HM_OK ? hm_buf_check(out, error) : status;
    size_t nodes = ENTRY_NODES * manifest->count + part->ignore_count + OTHER_NODES;
    if (status == HM_OK && (nodes > HM_JSON_MAX_NODES || out->length > HM_SIGNATURE_FILE_LIMIT)) {
        status =
            hm_fail(error, HM_USAGE, HM_REASON_NONE, "part %u of %u would be larger than is read",
                    part->part, part->part_count);
        hm_error_add_hint(error, "split the model into more parts, or into larger shards");
    }
    return status;
}
