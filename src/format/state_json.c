/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states that files had when they were signed: a DSSE envelope by the key of the signature that
 * the record belongs to. A payload type of its own keeps it from being taken for a signature of a
 * model, and the other way round.
 */
#include "format/records.h"

#include "base/dsse.h"

#include <stdlib.h>
#include <string.h>

#define PAYLOAD_TYPE "application/vnd.hallmark.file-states.v1+json"

/* What the reader takes; of larger models the first files are recorded, and the others read. */
#define FILE_LIMIT ((HM_JSON_MAX_NODES - 16) / 3)
#define PAYLOAD_LIMIT (HM_SIGNATURE_FILE_LIMIT / 4 * 3 - ((size_t)1 << 20))

static const char payload_what[] = "the signed states";

void hm_state_free(hm_state_record *record) {
    for (size_t i = 0; i < record->count; i++) {
        free(record->files[i].name);
        free(record->files[i].state);
    }
    free(record->files);
    *record = (hm_state_record){0};
}

hm_status hm_state_add(hm_state_record *record, hm_bytes name, hm_bytes state, hm_error **error) {
    char *copy = hm_strndup((const char *)name.data, name.length);
    char *words = hm_strndup((const char *)state.data, state.length);
    if (copy == NULL || words == NULL ||
        !hm_grow(&record->files, record->count, &record->capacity, sizeof(*record->files))) {
        free(copy);
        free(words);
        return hm_fail_memory(error);
    }
    record->files[record->count++] = (struct hm_file_record){.name = copy, .state = words};
    return HM_OK;
}

static int compare_names(const void *name, const void *file) {
    return strcmp(name, ((const struct hm_file_record *)file)->name);
}

const char *hm_state_find(const hm_state_record *record, const char *name) {
    const struct hm_file_record *found =
        record->count == 0
            ? NULL
            : bsearch(name, record->files, record->count, sizeof(*record->files), compare_names);
    return found != NULL ? found->state : NULL;
}

/* ---- reading -------------------------------------------------------------------------------- */

static hm_status malformed(const char *what, const char *text, hm_error **error) {
    return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s: %s", what, text);
}

static hm_status read_file(hm_json *file, const char *what, hm_state_record *record,
                           hm_error **error) {
    hm_bytes name;
    hm_bytes state;
    if (file->type != HM_JSON_OBJECT) {
        return malformed(what, "a file is not an object", error);
    }
    hm_status status = hm_json_take_text(file, what, "name", &name, error);
    if (status == HM_OK) {
        status = hm_json_take_text(file, what, "state", &state, error);
    }
    if (status == HM_OK) {
        status = hm_json_refuse_rest(file, what, error);
    }
    if (status != HM_OK) {
        return status;
    }
    const char *before = record->count > 0 ? record->files[record->count - 1].name : "";
    if (!hm_name_valid(name) || strcmp(before, (const char *)name.data) >= 0) {
        return malformed(what, "\"files\" is not a list of files, sorted by name", error);
    }
    return hm_state_add(record, name, state, error);
}

hm_status hm_state_parse_payload(hm_bytes payload, const char *what, hm_state_record *record,
                                 hm_error **error) {
    hm_auto_json doc = NULL;
    hm_json *list = NULL;
    hm_bytes hex;
    hm_status status = hm_json_parse(payload, what, &doc, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json *root = hm_json_root(doc);
    if (root->type != HM_JSON_OBJECT) {
        return malformed(what, "it is not an object", error);
    }
    status = hm_json_take_text(root, what, "signature_sha256", &hex, error);
    if (status == HM_OK && !hm_unhex(hex, record->signature, sizeof(record->signature))) {
        status = malformed(what, "\"signature_sha256\" is not a digest", error);
    }
    if (status == HM_OK) {
        status = hm_json_take(root, what, "files", HM_JSON_ARRAY, &list, error);
    }
    hm_json *file = status == HM_OK ? list->first : NULL;
    for (; file != NULL && status == HM_OK; file = file->next) {
        status = read_file(file, what, record, error);
    }
    return status == HM_OK ? hm_json_refuse_rest(root, what, error) : status;
}

static hm_status take_base64(hm_json *object, const char *what, const char *name, hm_buf *out,
                             hm_error **error) {
    hm_bytes text;
    hm_status status = hm_json_take_text(object, what, name, &text, error);
    if (status == HM_OK && !hm_unbase64(text, HM_BASE64_STANDARD, out)) {
        status = out->failed ? hm_fail_memory(error)
                             : malformed(what, "what should be base64 is not", error);
    }
    return status == HM_OK ? hm_buf_check(out, error) : status;
}

static hm_status read_envelope(hm_json *root, const char *what, hm_buf *payload, hm_buf *signature,
                               hm_error **error) {
    hm_bytes type;
    hm_json *list = NULL;
    if (root->type != HM_JSON_OBJECT) {
        return malformed(what, "it is not a record of file states", error);
    }
    hm_status status = hm_json_take_text(root, what, "payloadType", &type, error);
    if (status == HM_OK && !hm_bytes_equal_text(type, PAYLOAD_TYPE)) {
        status =
            malformed(what, "it is not a record of file states that this version reads", error);
    }
    if (status == HM_OK) {
        status = take_base64(root, what, "payload", payload, error);
    }
    if (status == HM_OK) {
        status = hm_json_take(root, what, "signatures", HM_JSON_ARRAY, &list, error);
    }
    if (status == HM_OK && (list->count != 1 || list->first->type != HM_JSON_OBJECT)) {
        status = malformed(what, "it has not just one signature", error);
    }
    if (status == HM_OK) {
        status = take_base64(list->first, what, "sig", signature, error);
    }
    if (status == HM_OK) {
        status = hm_json_refuse_rest(list->first, what, error);
    }
    return status == HM_OK ? hm_json_refuse_rest(root, what, error) : status;
}

char *hm_state_path(const char *signature) {
    return hm_textf("%s.state", signature);
}

hm_status hm_state_recognise(hm_bytes file, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_status status = hm_json_parse(file, "record", &doc, error);
    if (status != HM_OK) {
        return status;
    }
    const hm_json *root = hm_json_root(doc);
    const hm_json *kind = root->type == HM_JSON_OBJECT ? hm_json_get(root, "payloadType") : NULL;
    bool known = kind != NULL && kind->type == HM_JSON_STRING &&
                 hm_bytes_equal_text(kind->text, PAYLOAD_TYPE);
    return known ? HM_OK : malformed("record", "it is something else", error);
}

hm_status hm_state_parse(hm_bytes file, const char *what, const hm_pubkey *key,
                         hm_state_record *record, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_auto_buf payload = {0};
    hm_auto_buf signature = {0};
    hm_auto_buf message = {0};
    hm_status status = hm_json_parse(file, what, &doc, error);
    if (status == HM_OK) {
        status = read_envelope(hm_json_root(doc), what, &payload, &signature, error);
    }
    if (status == HM_OK) {
        hm_dsse_pae(PAYLOAD_TYPE, hm_buf_view(&payload), &message);
        status = hm_buf_check(&message, error);
    }
    if (status == HM_OK) {
        status = hm_pubkey_verify(key, HM_SCHEME_BY_KEY, hm_buf_view(&message),
                                  hm_buf_view(&signature), error);
    }
    return status == HM_OK
               ? hm_state_parse_payload(hm_buf_view(&payload), payload_what, record, error)
               : status;
}

/* ---- writing -------------------------------------------------------------------------------- */

static hm_status write_payload(const hm_state_record *record, hm_buf *out, hm_error **error) {
    hm_json_writer w = {.out = out};
    hm_json_begin_object(&w);
    hm_json_member_hex(&w, "signature_sha256", record->signature, sizeof(record->signature));
    hm_json_name(&w, "files");
    hm_json_begin_array(&w);
    for (size_t i = 0; i < record->count && i < FILE_LIMIT && out->length < PAYLOAD_LIMIT; i++) {
        hm_json_begin_object(&w);
        hm_json_member(&w, "name", record->files[i].name);
        hm_json_member(&w, "state", record->files[i].state);
        hm_json_end_object(&w);
    }
    hm_json_end_array(&w);
    hm_json_end_object(&w);
    return hm_buf_check(out, error);
}

static void member_base64(hm_json_writer *w, const char *name, const hm_buf *data) {
    hm_auto_buf text = {0};
    hm_buf_add_base64(&text, hm_buf_view(data));
    w->out->failed |= text.failed;
    hm_json_name(w, name);
    hm_json_string(w, hm_buf_view(&text));
}

hm_status hm_state_write(const hm_state_record *record, hm_signer *signer, hm_buf *out,
                         hm_error **error) {
    hm_auto_buf payload = {0};
    hm_auto_buf message = {0};
    hm_auto_buf signature = {0};
    hm_status status = write_payload(record, &payload, error);
    if (status == HM_OK) {
        hm_dsse_pae(PAYLOAD_TYPE, hm_buf_view(&payload), &message);
        status = hm_buf_check(&message, error);
    }
    if (status == HM_OK) {
        status = hm_signer_sign(signer, HM_SCHEME_BY_KEY, hm_buf_view(&message), &signature, error);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_json_writer w = {.out = out};
    hm_json_begin_object(&w);
    hm_json_member(&w, "payloadType", PAYLOAD_TYPE);
    member_base64(&w, "payload", &payload);
    hm_json_name(&w, "signatures");
    hm_json_begin_array(&w);
    hm_json_begin_object(&w);
    member_base64(&w, "sig", &signature);
    hm_json_end_object(&w);
    hm_json_end_array(&w);
    hm_json_end_object(&w);
    return hm_buf_check(out, error);
}
