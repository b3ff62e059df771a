/* SPDX-License-Identifier: Apache-2.0 */
/* Bundles of model_signing 0.2.0; read only, and only when the policy allows them. */
#include "format/oms.h"

#include <stdlib.h>
#include <string.h>

/* The payload as a Python bytes literal, which is what that release put under the signature. */
static void add_python_literal(hm_bytes payload, hm_buf *out) {
    hm_buf_add_text(out, "b'");
    for (size_t i = 0; i < payload.length; i++) {
        uint8_t c = payload.data[i];
        switch (c) {
        case '\\': hm_buf_add_text(out, "\\\\"); break;
        case '\'': hm_buf_add_text(out, "\\'"); break;
        case '\n': hm_buf_add_text(out, "\\n"); break;
        case '\r': hm_buf_add_text(out, "\\r"); break;
        case '\t': hm_buf_add_text(out, "\\t"); break;
        default:
            if (c >= 0x20 && c < 0x7f) {
                hm_buf_add_byte(out, c);
            } else {
                hm_buf_add_format(out, "\\x%02x", c);
            }
        }
    }
    hm_buf_add_text(out, "'");
}

void hm_oms_v020_pae(hm_bytes payload, hm_buf *out) {
    hm_buf_add_format(out, "DSSEV1 %zu %s %zu ", strlen(HM_OMS_PAYLOAD_TYPE), HM_OMS_PAYLOAD_TYPE,
                      payload.length);
    add_python_literal(payload, out);
}

static hm_status check_annotations(hm_json *subject, hm_error **error) {
    const hm_json *annotations = hm_json_take_any(subject, "annotations");
    if (annotations == NULL) {
        return HM_OK;
    }
    const hm_json *algorithm = annotations->type == HM_JSON_OBJECT
                                   ? hm_json_get(annotations, "actual_hash_algorithm")
                                   : NULL;
    if (annotations->type == HM_JSON_OBJECT &&
        (algorithm == NULL || (algorithm->type == HM_JSON_STRING &&
                               hm_bytes_equal_text(algorithm->text, "file-sha256")))) {
        return HM_OK;
    }
    return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                   "a subject's actual_hash_algorithm is not file-sha256");
}

static hm_status read_subject(hm_json *subject, hm_promise *promise, hm_error **error) {
    hm_bytes name;
    hm_bytes hex;
    hm_json *digests;
    uint8_t digest[HM_DIGEST_MAX];
    if (subject->type != HM_JSON_OBJECT) {
        return hm_oms_malformed(error, "a subject is %s", hm_json_type_name(subject->type));
    }
    hm_status status = hm_json_take_text(subject, "subject", "name", &name, error);
    if (status == HM_OK) {
        status = hm_json_take(subject, "subject", "digest", HM_JSON_OBJECT, &digests, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_text(digests, "subject.digest", "sha256", &hex, error);
    }
    if (status == HM_OK) {
        status = check_annotations(subject, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (!hm_name_valid(name)) {
        return hm_oms_malformed(error, "\"%s\" is not a path inside the model", name.data);
    }
    if (!hm_unhex(hex, digest, hm_hash_size(HM_HASH_SHA256))) {
        return hm_oms_malformed(error, "the digest of \"%s\" is not 64 lower-case hex digits",
                                name.data);
    }
    return hm_manifest_add(&promise->manifest, (const char *)name.data, name.length, 0,
                           HM_SIZE_UNKNOWN, digest, error);
}

hm_status hm_oms_v020_promise(hm_json *statement, hm_promise *promise, hm_error **error) {
    hm_bytes type;
    hm_json *subjects;
    const hm_item *twice;
    promise->manifest.method = HM_METHOD_FILES;
    promise->manifest.hash = HM_HASH_SHA256;
    hm_status status = hm_json_take_text(statement, "statement", "_type", &type, error);
    if (status == HM_OK && !hm_bytes_equal_text(type, HM_OMS_STATEMENT_TYPE)) {
        status = hm_oms_malformed(error, "statement._type is not %s", HM_OMS_STATEMENT_TYPE);
    }
    if (status == HM_OK) {
        status = hm_json_take(statement, "statement", "subject", HM_JSON_ARRAY, &subjects, error);
    }
    if (status == HM_OK && subjects->count == 0) {
        status = hm_oms_malformed(error, "the signature lists no files");
    }
    hm_json *subject = status == HM_OK ? subjects->first : NULL;
    for (; subject != NULL && status == HM_OK; subject = subject->next) {
        status = read_subject(subject, promise, error);
    }
    if (status == HM_OK && !hm_manifest_sort(&promise->manifest, &twice)) {
        status = hm_oms_malformed(error, "the signature lists \"%s\" twice", twice->name);
    }
    return status;
}
