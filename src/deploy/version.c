/* SPDX-License-Identifier: Apache-2.0 */
/* version.json: what a version is, where it came from, and what its files looked like. */
#include "deploy/tell.h"

#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char format_member[] = "hallmark-version";
static const char what[] = "version";

void hm_stored_free(hm_stored *version) {
    for (size_t i = 0; i < version->count; i++) {
        free(version->files[i].name);
        free(version->files[i].state);
        free(version->files[i].source_state);
    }
    for (size_t i = 0; i < version->proof_count; i++) {
        free(version->proofs[i].name);
    }
    free(version->files);
    free(version->proofs);
    free(version->source);
    free(version->signer);
    free(version->fingerprint);
    free(version->file);
    hm_manifest_free(&version->manifest);
    *version = (hm_stored){.source = NULL};
}

/* ---- writing -------------------------------------------------------------------------------- */

/* One text each, since a model may have a million of them: "START END DIGEST NAME". */
static void write_items(hm_json_writer *w, const hm_manifest *manifest) {
    hm_json_member(w, "method", hm_method_name(manifest->method));
    hm_json_member(w, "hash", hm_hash_name(manifest->hash));
    hm_json_member_number(w, "shard_size", manifest->shard_size);
    hm_json_name(w, "items");
    hm_json_begin_array(w);
    for (size_t i = 0; i < manifest->count; i++) {
        const hm_item *item = &manifest->items[i];
        hm_auto_buf text = {0};
        hm_buf_add_format(&text, "%" PRIu64 " %" PRIu64 " ", item->start, item->end);
        hm_buf_add_hex(&text, item->digest, hm_hash_size(manifest->hash));
        hm_buf_add_format(&text, " %s", item->name);
        w->out->failed |= text.failed;
        hm_json_string(w, hm_buf_view(&text));
    }
    hm_json_end_array(w);
}

/* "STATE, tab, STATE OF THE SOURCE, tab, NAME". */
static void write_files(hm_json_writer *w, const hm_stored *version) {
    hm_json_name(w, "files");
    hm_json_begin_array(w);
    for (size_t i = 0; i < version->count; i++) {
        const hm_stored_file *file = &version->files[i];
        hm_auto_buf text = {0};
        hm_buf_add_format(&text, "%s\t%s\t%s", file->state,
                          file->source_state != NULL ? file->source_state : "", file->name);
        w->out->failed |= text.failed;
        hm_json_string(w, hm_buf_view(&text));
    }
    hm_json_end_array(w);
    hm_json_name(w, "proofs");
    hm_json_begin_array(w);
    for (size_t i = 0; i < version->proof_count; i++) {
        const hm_stored_proof *proof = &version->proofs[i];
        hm_json_begin_object(w);
        hm_json_member(w, "name", proof->name);
        hm_json_member(w, "sha256", proof->digest);
        hm_json_member_bool(w, "signature", proof->is_signature);
        hm_json_end_object(w);
    }
    hm_json_end_array(w);
}

hm_status hm_stored_write(const hm_stored *version, hm_buf *out, hm_error **error) {
    hm_json_writer w = {.out = out, .indent = 1};
    hm_json_begin_object(&w);
    hm_json_member_number(&w, format_member, HM_STORE_FORMAT);
    hm_json_member(&w, "digest", version->digest);
    hm_json_member(&w, "id", version->id);
    hm_json_member_time(&w, "deployed", version->deployed);
    hm_tell_member(&w, "source", version->source);
    hm_json_member_bool(&w, "let_through", version->let_through);
    hm_tell_member(&w, "signer", version->signer);
    hm_tell_member(&w, "fingerprint", version->fingerprint);
    hm_json_member_number(&w, "key_version", version->key_version);
    hm_tell_member(&w, "file", version->file);
    hm_json_member_number(&w, "file_count", version->file_count);
    hm_json_member_number(&w, "byte_count", version->byte_count);
    write_items(&w, &version->manifest);
    write_files(&w, version);
    hm_json_end_object(&w);
    hm_buf_add_byte(out, '\n');
    return hm_buf_check(out, error);
}

/* ---- reading -------------------------------------------------------------------------------- */

static hm_status malformed(const char *why, hm_error **error) {
    return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s", why);
}

static hm_status take_hex(hm_json *root, const char *name, size_t digits, char *out,
                          hm_error **error) {
    hm_bytes text;
    hm_status status = hm_json_take_text(root, what, name, &text, error);
    if (status == HM_OK && text.length != digits) {
        return malformed("an id or digest has another length", error);
    }
    if (status == HM_OK) {
        memcpy(out, text.data, digits);
        out[digits] = '\0';
    }
    return status == HM_OK && strspn(out, "0123456789abcdef") != digits
               ? malformed("an id or digest is no hex", error)
               : status;
}

static hm_status take_optional(hm_json *root, const char *name, char **out, hm_error **error) {
    const hm_json *value = hm_json_take_any(root, name);
    if (value == NULL || (value->type != HM_JSON_STRING && value->type != HM_JSON_NULL)) {
        return malformed("a text is missing", error);
    }
    if (value->type == HM_JSON_NULL) {
        return HM_OK;
    }
    *out = hm_strndup((const char *)value->text.data, value->text.length);
    return *out != NULL ? HM_OK : hm_fail_memory(error);
}

/* Decimal digits up to a space, which is passed. */
static bool take_number(const char **at, uint64_t *number) {
    uint64_t value = 0;
    const char *p = *at;
    while (*p >= '0' && *p <= '9') {
        if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
            !hm_add_u64(value, (uint64_t)(*p - '0'), &value)) {
            return false;
        }
        p++;
    }
    bool good = p > *at && *p == ' ';
    *at = p + 1;
    *number = value;
    return good;
}

static hm_status read_item(const hm_json *value, hm_manifest *manifest, hm_error **error) {
    uint8_t digest[HM_DIGEST_MAX];
    uint64_t start = 0;
    uint64_t end = 0;
    size_t size = hm_hash_size(manifest->hash);
    const char *at = value->type == HM_JSON_STRING ? (const char *)value->text.data : "";
    if (!take_number(&at, &start) || !take_number(&at, &end) || strlen(at) <= 2 * size + 1 ||
        !hm_unhex(hm_bytes_of(at, 2 * size), digest, size) || at[2 * size] != ' ') {
        return malformed("an item is not one", error);
    }
    const char *name = at + 2 * size + 1;
    if (!hm_name_valid(hm_bytes_text(name))) {
        return malformed("an item has no good name", error);
    }
    return hm_manifest_add(manifest, name, strlen(name), start, end, digest, error);
}

static hm_status read_manifest(hm_json *root, hm_manifest *manifest, hm_error **error) {
    hm_bytes method;
    hm_bytes hash;
    hm_json *list = NULL;
    const hm_item *twice;
    hm_status status = hm_json_take_text(root, what, "method", &method, error);
    if (status == HM_OK) {
        status = hm_json_take_text(root, what, "hash", &hash, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_integer(root, what, "shard_size", 0, &manifest->shard_size, error);
    }
    if (status == HM_OK) {
        status = hm_json_take(root, what, "items", HM_JSON_ARRAY, &list, error);
    }
    if (status == HM_OK && !hm_hash_from_name(hash, &manifest->hash)) {
        status = malformed("the hash is not known", error);
    }
    if (status != HM_OK) {
        return status;
    }
    bool shards = hm_bytes_equal_text(method, hm_method_name(HM_METHOD_SHARDS));
    manifest->method = shards ? HM_METHOD_SHARDS : HM_METHOD_FILES;
    for (const hm_json *at = list->first; at != NULL && status == HM_OK; at = at->next) {
        status = read_item(at, manifest, error);
    }
    return status == HM_OK && !hm_manifest_sort(manifest, &twice)
               ? malformed("an item is there twice", error)
               : status;
}

static hm_status read_file(const hm_json *value, hm_stored *version, hm_error **error) {
    const char *text = value->type == HM_JSON_STRING ? (const char *)value->text.data : "";
    const char *source = strchr(text, '\t');
    const char *name = source != NULL ? strchr(source + 1, '\t') : NULL;
    if (name == NULL || !hm_name_valid(hm_bytes_text(name + 1))) {
        return malformed("a file is not one", error);
    }
    if (!hm_grow(&version->files, version->count, &version->capacity, sizeof(hm_stored_file))) {
        return hm_fail_memory(error);
    }
    hm_stored_file *file = &version->files[version->count++];
    *file = (hm_stored_file){
        .name = hm_strdup(name + 1),
        .state = hm_strndup(text, (size_t)(source - text)),
        .source_state =
            name > source + 1 ? hm_strndup(source + 1, (size_t)(name - source - 1)) : NULL,
    };
    return file->name != NULL && file->state != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status read_proof(hm_json *object, hm_stored *version, hm_error **error) {
    hm_bytes name;
    hm_json *kind = NULL;
    if (object->type != HM_JSON_OBJECT) {
        return malformed("a proof is not one", error);
    }
    if (!hm_grow(&version->proofs, version->proof_count, &version->proof_capacity,
                 sizeof(hm_stored_proof))) {
        return hm_fail_memory(error);
    }
    hm_stored_proof *proof = &version->proofs[version->proof_count++];
    *proof = (hm_stored_proof){.name = NULL};
    hm_status status = hm_json_take_text(object, what, "name", &name, error);
    if (status == HM_OK) {
        status = take_hex(object, "sha256", sizeof proof->digest - 1, proof->digest, error);
    }
    if (status == HM_OK) {
        status = hm_json_take(object, what, "signature", HM_JSON_BOOL, &kind, error);
    }
    if (status == HM_OK && !hm_name_valid(name)) {
        status = malformed("a proof has no good name", error);
    }
    if (status != HM_OK) {
        return status;
    }
    proof->is_signature = kind->truth;
    proof->name = hm_strndup((const char *)name.data, name.length);
    return proof->name != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status read_files(hm_json *root, hm_stored *version, hm_error **error) {
    hm_json *files = NULL;
    hm_json *proofs = NULL;
    hm_status status = hm_json_take(root, what, "files", HM_JSON_ARRAY, &files, error);
    if (status == HM_OK) {
        status = hm_json_take(root, what, "proofs", HM_JSON_ARRAY, &proofs, error);
    }
    for (hm_json *at = files != NULL ? files->first : NULL; at != NULL && status == HM_OK;
         at = at->next) {
        status = read_file(at, version, error);
    }
    for (hm_json *at = proofs != NULL ? proofs->first : NULL; at != NULL && status == HM_OK;
         at = at->next) {
        status = read_proof(at, version, error);
    }
    return status;
}

static hm_status read_facts(hm_json *root, hm_stored *version, hm_error **error) {
    hm_json *let_through = NULL;
    hm_status status = take_hex(root, "digest", HM_VERSION_DIGITS, version->digest, error);
    if (status == HM_OK) {
        status = take_hex(root, "id", HM_STORE_ID_SIZE, version->id, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_time(root, what, "deployed", 0, &version->deployed, error);
    }
    if (status == HM_OK) {
        status = take_optional(root, "source", &version->source, error);
    }
    if (status == HM_OK) {
        status = hm_json_take(root, what, "let_through", HM_JSON_BOOL, &let_through, error);
    }
    if (status == HM_OK) {
        version->let_through = let_through->truth;
        status = take_optional(root, "signer", &version->signer, error);
    }
    if (status == HM_OK) {
        status = take_optional(root, "fingerprint", &version->fingerprint, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_integer(root, what, "key_version", 0, &version->key_version, error);
    }
    if (status == HM_OK) {
        status = take_optional(root, "file", &version->file, error);
    }
    if (status == HM_OK && version->file != NULL &&
        (!hm_name_valid(hm_bytes_text(version->file)) || strchr(version->file, '/') != NULL)) {
        status = malformed("its single file has no good name", error);
    }
    if (status == HM_OK) {
        status = hm_json_take_integer(root, what, "file_count", 0, &version->file_count, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_integer(root, what, "byte_count", 0, &version->byte_count, error);
    }
    return status;
}

hm_status hm_stored_read_any(const hm_store *store, const char *relative, const char *digest,
                             hm_stored *version, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_auto_error cause = NULL;
    bool there = false;
    hm_auto_free char *path = hm_textf("%s/version.json", relative);
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status =
        hm_store_read_any_json(store, path, format_member, &doc, &there, &version->newer, error);
    if (status == HM_OK && !there) {
        status =
            hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "there is no %s/%s", store->path, path);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_json *root = hm_json_root(doc);
    status = read_facts(root, version, &cause);
    if (status == HM_OK && digest != NULL && strcmp(digest, version->digest) != 0) {
        status = malformed("it is of another version", &cause);
    }
    if (status == HM_OK) {
        status = read_manifest(root, &version->manifest, &cause);
    }
    if (status == HM_OK) {
        status = read_files(root, version, &cause);
    }
    if (status == HM_OK && !version->newer) {
        status = hm_json_refuse_rest(root, what, &cause);
    }
    return status == HM_REFUSED ? hm_store_fail_damaged(store, path, hm_error_message(cause), error)
           : status == HM_OK    ? HM_OK
                                : hm_error_move(error, &cause);
}

hm_status hm_stored_read(const hm_store *store, const char *relative, const char *digest,
                         hm_stored *version, hm_error **error) {
    hm_status status = hm_stored_read_any(store, relative, digest, version, error);
    if (status != HM_OK || !version->newer) {
        return status;
    }
    hm_auto_free char *path = hm_textf("%s/version.json", relative);
    return path != NULL ? hm_store_fail_newer(store, path, error) : hm_fail_memory(error);
}
