/* SPDX-License-Identifier: Apache-2.0 */
#include "base/dsse.h"

#include <stdlib.h>
#include <string.h>

void hm_dsse_pae(const char *payload_type, hm_bytes payload, hm_buf *out) {
    hm_buf_add_format(out, "DSSEv1 %zu %s %zu ", strlen(payload_type), payload_type,
                      payload.length);
    hm_buf_add(out, payload.data, payload.length);
}

void hm_dsse_free(hm_dsse *envelope) {
    hm_buf_free(&envelope->payload);
    hm_buf_free(&envelope->signature);
    hm_auto_free_(&envelope->claimed_key);
}

static hm_status take_base64(hm_json *object, const char *what, const char *name, hm_buf *out,
                             hm_error **error) {
    hm_bytes text;
    hm_status status = hm_json_take_text(object, what, name, &text, error);
    if (status != HM_OK) {
        return status;
    }
    if (!hm_unbase64(text, HM_BASE64_EITHER, out)) {
        return out->failed ? hm_fail_memory(error)
                           : hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                                     "%s: \"%s\" is not padded base64", what, name);
    }
    return hm_buf_check(out, error);
}

/* DSSE: `keyid` is optional, not authenticated, and nothing is decided by it. */
static hm_status parse_signature(hm_json *root, const char *what, hm_dsse *envelope,
                                 hm_error **error) {
    hm_json *list = NULL;
    hm_status status = hm_json_take(root, what, "signatures", HM_JSON_ARRAY, &list, error);
    if (status == HM_OK && list->count != 1) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                         "%s: \"signatures\" must have one entry", what);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_json *entry = list->first;
    status = take_base64(entry, what, "sig", &envelope->signature, error);
    if (status != HM_OK) {
        return status;
    }
    const hm_json *key = hm_json_take_any(entry, "keyid");
    if (key != NULL && key->type == HM_JSON_STRING) {
        envelope->claimed_key = hm_strndup((const char *)key->text.data, key->text.length);
        if (envelope->claimed_key == NULL) {
            return hm_fail_memory(error);
        }
    }
    return hm_json_refuse_rest(entry, what, error);
}

hm_status hm_dsse_parse(hm_bytes file, const char *what, const char *payload_type,
                        hm_dsse *envelope, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_bytes type = {.data = NULL};
    hm_status status = hm_json_parse(file, what, &doc, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json *root = hm_json_root(doc);
    status = hm_json_take_text(root, what, "payloadType", &type, error);
    if (status == HM_OK && !hm_bytes_equal_text(type, payload_type)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s: \"payloadType\" is not %s",
                         what, payload_type);
    }
    if (status == HM_OK) {
        status = take_base64(root, what, "payload", &envelope->payload, error);
    }
    if (status == HM_OK) {
        status = parse_signature(root, what, envelope, error);
    }
    return status == HM_OK ? hm_json_refuse_rest(root, what, error) : status;
}

static void write_base64(hm_json_writer *w, const char *name, hm_bytes data) {
    hm_auto_buf text = {.data = NULL};
    hm_buf_add_base64(&text, data);
    w->out->failed |= text.failed;
    hm_json_name(w, name);
    hm_json_string(w, hm_buf_view(&text));
}

hm_status hm_dsse_print(const char *payload_type, hm_bytes payload, const char *key,
                        hm_bytes signature, unsigned indent, hm_buf *out, hm_error **error) {
    hm_json_writer w = {.out = out, .indent = indent};
    hm_json_begin_object(&w);
    hm_json_member(&w, "payloadType", payload_type);
    write_base64(&w, "payload", payload);
    hm_json_name(&w, "signatures");
    hm_json_begin_array(&w);
    hm_json_begin_object(&w);
    hm_json_member(&w, "keyid", key);
    write_base64(&w, "sig", signature);
    hm_json_end_object(&w);
    hm_json_end_array(&w);
    hm_json_end_object(&w);
    return hm_buf_check(out, error);
}
