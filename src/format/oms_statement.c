/* SPDX-License-Identifier: Apache-2.0 */
/* The in-toto statement of OMS. Section numbers are those of its specification. */
#include "format/oms.h"

#include <stdlib.h>
#include <string.h>

#define PREDICATE_TYPE "https://model_signing/signature/v1.0"

/* ---- reading -------------------------------------------------------------------------------- */

static hm_status demand_text(hm_json *object, const char *what, const char *name,
                             const char *wanted, hm_error **error) {
    hm_bytes text;
    hm_status status = hm_json_take_text(object, what, name, &text, error);
    if (status == HM_OK && !hm_bytes_equal_text(text, wanted)) {
        status = hm_oms_malformed(error, "%s.%s is not %s", what, name, wanted);
    }
    return status;
}

static hm_status read_method(hm_json *serialization, hm_promise *promise, hm_error **error) {
    hm_bytes method;
    hm_status status = hm_json_take_text(serialization, "serialization", "method", &method, error);
    if (status != HM_OK) {
        return status;
    }
    hm_manifest *manifest = &promise->manifest;
    hm_json *size = hm_json_take_any(serialization, "shard_size");
    if (hm_bytes_equal_text(method, "files")) {
        manifest->method = HM_METHOD_FILES;
        return size == NULL ? HM_OK : hm_oms_malformed(error, "shard_size does not go with files");
    }
    if (!hm_bytes_equal_text(method, "shards")) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                       "the signature's serialization method is not known here");
    }
    manifest->method = HM_METHOD_SHARDS;
    if (size == NULL || !hm_json_integer(size, &manifest->shard_size) ||
        manifest->shard_size == 0) {
        return hm_oms_malformed(error, "serialization.shard_size is not a positive integer");
    }
    return HM_OK;
}

static hm_status read_ignore_paths(hm_json *serialization, hm_promise *promise, hm_error **error) {
    hm_json *list = hm_json_take_any(serialization, "ignore_paths");
    if (list == NULL) {
        return HM_OK;
    }
    if (list->type != HM_JSON_ARRAY) {
        return hm_oms_malformed(error, "serialization.ignore_paths is %s",
                                hm_json_type_name(list->type));
    }
    hm_status status = HM_OK;
    for (const hm_json *path = list->first; path != NULL && status == HM_OK; path = path->next) {
        if (path->type != HM_JSON_STRING || !hm_name_valid(path->text)) {
            return hm_oms_malformed(error,
                                    "serialization.ignore_paths holds what is no path inside "
                                    "the model");
        }
        status = hm_ignore_add(&promise->ignore, (const char *)path->text.data, HM_IGNORED_SIGNED,
                               error);
    }
    return status;
}

static hm_status read_serialization(hm_json *serialization, hm_promise *promise, hm_error **error) {
    hm_bytes hash;
    hm_json *symlinks;
    hm_status status = read_method(serialization, promise, error);
    if (status == HM_OK) {
        status = hm_json_take_text(serialization, "serialization", "hash_type", &hash, error);
    }
    if (status == HM_OK && !hm_hash_from_name(hash, &promise->manifest.hash)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                         "the signature's hash_type is not known here");
    }
    if (status == HM_OK) {
        status = hm_json_take(serialization, "serialization", "allow_symlinks", HM_JSON_BOOL,
                              &symlinks, error);
    }
    if (status == HM_OK) {
        promise->allow_symlinks = symlinks->truth;
        status = read_ignore_paths(serialization, promise, error);
    }
    return status == HM_OK ? hm_json_refuse_rest(serialization, "serialization", error) : status;
}

static hm_status read_predicate(hm_json *statement, hm_promise *promise, uint8_t *root,
                                hm_error **error) {
    hm_json *predicate;
    hm_json *serialization;
    hm_status status =
        hm_json_take(statement, "statement", "predicate", HM_JSON_OBJECT, &predicate, error);
    if (status == HM_OK) {
        status = hm_json_take(predicate, "predicate", "serialization", HM_JSON_OBJECT,
                              &serialization, error);
    }
    if (status == HM_OK) {
        status = read_serialization(serialization, promise, error);
    }
    if (status == HM_OK) {
        status = hm_oms_read_resources(predicate, promise, root, error);
    }
    return status == HM_OK ? hm_json_refuse_rest(predicate, "predicate", error) : status;
}

static hm_status read_model_digest(hm_json *digests, hm_promise *promise, hm_error **error) {
    const hm_json *digest = hm_json_get(digests, HM_OMS_MODEL_DIGEST);
    if (digest == NULL) {
        return HM_OK;
    }
    if (digest->type != HM_JSON_STRING ||
        !hm_unhex(digest->text, promise->model_digest, sizeof(promise->model_digest))) {
        return hm_oms_malformed(error, "subject[0].digest.%s is not a digest", HM_OMS_MODEL_DIGEST);
    }
    promise->has_model_digest = true;
    return HM_OK;
}

static hm_status read_subject(hm_json *statement, hm_promise *promise, const uint8_t *root,
                              hm_error **error) {
    hm_json *subjects;
    hm_json *digests;
    hm_bytes name;
    hm_bytes hex;
    hm_status status =
        hm_json_take(statement, "statement", "subject", HM_JSON_ARRAY, &subjects, error);
    if (status == HM_OK && (subjects->count != 1 || subjects->first->type != HM_JSON_OBJECT)) {
        status =
            hm_oms_malformed(error, "the statement has %zu subjects, not one", subjects->count);
    }
    if (status == HM_OK) {
        status = hm_json_take_text(subjects->first, "subject[0]", "name", &name, error);
    }
    if (status == HM_OK) {
        status =
            hm_json_take(subjects->first, "subject[0]", "digest", HM_JSON_OBJECT, &digests, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_text(digests, "subject[0].digest", "sha256", &hex, error);
    }
    if (status != HM_OK) {
        return status;
    }
    uint8_t stated[32];
    if (!hm_unhex(hex, stated, sizeof(stated)) || memcmp(stated, root, sizeof(stated)) != 0) {
        return hm_oms_malformed(error, "the root digest is not that of the listed resources");
    }
    status = hm_statements_add(&promise->stated, "model_name", hm_json_get(subjects->first, "name"),
                               error);
    return status == HM_OK ? read_model_digest(digests, promise, error) : status;
}

hm_status hm_oms_read_statement(hm_json *statement, hm_promise *promise, hm_error **error) {
    uint8_t root[32];
    hm_status status = demand_text(statement, "statement", "_type", HM_OMS_STATEMENT_TYPE, error);
    if (status == HM_OK) {
        status = demand_text(statement, "statement", "predicateType", PREDICATE_TYPE, error);
    }
    if (status == HM_OK) {
        status = read_predicate(statement, promise, root, error);
    }
    if (status == HM_OK) {
        status = read_subject(statement, promise, root, error);
    }
    return status == HM_OK ? hm_json_refuse_rest(statement, "statement", error) : status;
}

/* ---- writing -------------------------------------------------------------------------------- */

static void write_serialization(hm_json_writer *w, const hm_signing *signing) {
    const hm_manifest *manifest = signing->manifest;
    hm_json_name(w, "serialization");
    hm_json_begin_object(w);
    hm_json_member(w, "method", hm_method_name(manifest->method));
    hm_json_member(w, "hash_type", hm_hash_name(manifest->hash));
    if (manifest->method == HM_METHOD_SHARDS) {
        hm_json_member_number(w, "shard_size", manifest->shard_size);
    }
    hm_json_member_bool(w, "allow_symlinks", signing->allow_symlinks);
    hm_json_name(w, "ignore_paths");
    hm_json_begin_array(w);
    for (size_t i = 0; i < signing->ignore->count; i++) {
        hm_json_text(w, signing->ignore->rules[i].path);
    }
    hm_json_end_array(w);
    hm_json_end_object(w);
}

static void write_resources(hm_json_writer *w, const hm_manifest *manifest,
                            const hm_oms_resources *resources) {
    hm_json_name(w, "resources");
    hm_json_begin_array(w);
    for (size_t i = 0; i < resources->count; i++) {
        hm_json_begin_object(w);
        hm_json_member(w, "name", resources->list[i].label);
        hm_json_member_hex(w, "digest", resources->list[i].item->digest,
                           hm_hash_size(manifest->hash));
        hm_json_member(w, "algorithm", hm_hash_name(manifest->hash));
        hm_json_end_object(w);
    }
    hm_json_end_array(w);
}

/*
 * Shards leave zero-byte files out. The model digest in the subject's digest set, which in-toto
 * leaves open to further algorithms, binds them; the files method needs no such help.
 */
static hm_status write_subject(hm_json_writer *w, const hm_signing *signing, const uint8_t *root,
                               hm_error **error) {
    uint8_t model[32];
    hm_status status = HM_OK;
    hm_json_name(w, "subject");
    hm_json_begin_array(w);
    hm_json_begin_object(w);
    hm_json_member(w, "name", signing->subject_name);
    hm_json_name(w, "digest");
    hm_json_begin_object(w);
    hm_json_member_hex(w, "sha256", root, 32);
    if (signing->manifest->method == HM_METHOD_SHARDS && !signing->name_dot) {
        status = hm_manifest_model_digest(signing->manifest, model, error);
        hm_json_member_hex(w, HM_OMS_MODEL_DIGEST, model, sizeof(model));
    }
    hm_json_end_object(w);
    hm_json_end_object(w);
    hm_json_end_array(w);
    return status;
}

hm_status hm_oms_write_statement(const hm_signing *signing, hm_buf *out, hm_error **error) {
    HM_CLEANUP(hm_oms_resources_free) hm_oms_resources resources = {0};
    uint8_t root[32];
    hm_status status = hm_oms_list_resources(signing->manifest, signing->name_dot,
                                             HM_OMS_ORDER_NAME, &resources, error);
    if (status == HM_OK) {
        status = hm_oms_resources_digest(signing->manifest, &resources, root, error);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_json_writer w = {.out = out};
    hm_json_begin_object(&w);
    hm_json_member(&w, "_type", HM_OMS_STATEMENT_TYPE);
    status = write_subject(&w, signing, root, error);
    hm_json_member(&w, "predicateType", PREDICATE_TYPE);
    hm_json_name(&w, "predicate");
    hm_json_begin_object(&w);
    write_serialization(&w, signing);
    write_resources(&w, signing->manifest, &resources);
    hm_json_end_object(&w);
    hm_json_end_object(&w);
    return status == HM_OK ? hm_buf_check(out, error) : status;
}
