/* SPDX-License-Identifier: Apache-2.0 */
/* entry.json of what is in quarantine. */
#include "deploy/store.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

static const char format_member[] = "hallmark-quarantine";
static const char what[] = "entry";

void hm_held_free(hm_held *held) {
    free(held->model);
    free(held->source);
    free(held->digest);
    free(held->message);
    free(held->file);
    *held = (hm_held){.model = NULL};
}

/* The members that are texts or null. */
typedef struct text_member {
    const char *name;
    size_t offset;
} text_member;

static const text_member members[] = {
    {"model", offsetof(hm_held, model)},   {"source", offsetof(hm_held, source)},
    {"digest", offsetof(hm_held, digest)}, {"message", offsetof(hm_held, message)},
    {"file", offsetof(hm_held, file)},
};
enum { MEMBER_COUNT = sizeof(members) / sizeof(members[0]) };

hm_status hm_held_write(const hm_held *held, hm_buf *out, hm_error **error) {
    hm_json_writer w = {.out = out, .indent = 2};
    hm_json_begin_object(&w);
    hm_json_member_number(&w, format_member, HM_STORE_FORMAT);
    hm_json_member(&w, "id", held->id);
    for (size_t i = 0; i < MEMBER_COUNT; i++) {
        const char *text;
        memcpy(&text, (const char *)held + members[i].offset, sizeof text);
        hm_json_name(&w, members[i].name);
        if (text != NULL) {
            hm_json_text(&w, text);
        } else {
            hm_json_null(&w);
        }
    }
    hm_json_member(&w, "reason", hm_reason_word(held->reason));
    hm_json_member(&w, "event", held->event);
    hm_json_member_time(&w, "since", held->since);
    hm_json_member_bool(&w, "content", held->content);
    hm_json_member_bool(&w, "refused", held->refused);
    hm_json_member_number(&w, "bytes", held->byte_count);
    hm_json_end_object(&w);
    hm_buf_add_byte(out, '\n');
    return hm_buf_check(out, error);
}

static hm_status take_optional(hm_json *root, const text_member *member, hm_held *held,
                               hm_error **error) {
    const hm_json *value = hm_json_take_any(root, member->name);
    if (value == NULL || (value->type != HM_JSON_STRING && value->type != HM_JSON_NULL)) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "\"%s\" is not there, or no text",
                       member->name);
    }
    if (value->type == HM_JSON_NULL) {
        return HM_OK;
    }
    char *text = hm_strndup((const char *)value->text.data, value->text.length);
    memcpy((char *)held + member->offset, &text, sizeof text);
    return text != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status take_id(hm_json *root, const char *name, char *id, size_t length,
                         hm_error **error) {
    hm_bytes text;
    hm_status status = hm_json_take_text(root, what, name, &text, error);
    if (status == HM_OK && (text.length > length || (text.length < length && text.length > 0))) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "\"%s\" is no id", name);
    }
    if (status == HM_OK) {
        memcpy(id, text.data, text.length);
        id[text.length] = '\0';
    }
    return status == HM_OK && strspn(id, "0123456789abcdef") != text.length
               ? hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "\"%s\" is no id", name)
               : status;
}

/* These become parts of paths. */
static hm_status check_names(const hm_held *held, hm_error **error) {
    bool good = strlen(held->id) == HM_STORE_ID_SIZE &&
                (held->file == NULL ||
                 (hm_name_valid(hm_bytes_text(held->file)) && strchr(held->file, '/') == NULL));
    return good ? HM_OK
                : hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "its id or file is not one");
}

static hm_status take_reason(hm_json *root, hm_reason *reason, hm_error **error) {
    hm_bytes word;
    hm_status status = hm_json_take_text(root, what, "reason", &word, error);
    for (int i = HM_REASON_NONE; i <= HM_REASON_ROLLBACK && status == HM_OK; i++) {
        if (hm_bytes_equal_text(word, hm_reason_word((hm_reason)i))) {
            *reason = (hm_reason)i;
            return HM_OK;
        }
    }
    return status == HM_OK ? hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "no such reason")
                           : status;
}

hm_status hm_held_parse(hm_json *root, const char *name, hm_held *held, hm_error **error) {
    hm_json *content = NULL;
    hm_json *refused = NULL;
    hm_status status = take_id(root, "id", held->id, sizeof held->id - 1, error);
    for (size_t i = 0; i < MEMBER_COUNT && status == HM_OK; i++) {
        status = take_optional(root, &members[i], held, error);
    }
    if (status == HM_OK) {
        status = take_reason(root, &held->reason, error);
    }
    if (status == HM_OK) {
        status = take_id(root, "event", held->event, sizeof held->event - 1, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_time(root, what, "since", 0, &held->since, error);
    }
    if (status == HM_OK) {
        status = hm_json_take(root, what, "content", HM_JSON_BOOL, &content, error);
    }
    if (status == HM_OK) {
        status = hm_json_take(root, what, "refused", HM_JSON_BOOL, &refused, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_integer(root, what, "bytes", 0, &held->byte_count, error);
    }
    (void)hm_json_take_any(root, format_member);
    if (status == HM_OK) {
        status = check_names(held, error);
    }
    if (status == HM_OK) {
        held->content = content->truth;
        held->refused = refused->truth;
        status = hm_json_refuse_rest(root, name, error);
    }
    return status;
}

hm_status hm_held_read(const hm_store *store, const char *id, hm_held *held, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_auto_error cause = NULL;
    bool there = false;
    hm_auto_free char *path = hm_textf("quarantine/%s/entry.json", id);
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_store_read_json(store, path, format_member, &doc, &there, error);
    if (status == HM_OK && !there) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "there is no entry %s in the quarantine of %s", id, store->path);
    }
    if (status != HM_OK) {
        return status;
    }
    status = hm_held_parse(hm_json_root(doc), what, held, &cause);
    if (status == HM_OK && strcmp(held->id, id) != 0) {
        status = hm_fail(&cause, HM_REFUSED, HM_REASON_MALFORMED, "it is of another entry");
    }
    return status == HM_REFUSED ? hm_store_fail_damaged(store, path, hm_error_message(cause), error)
           : status == HM_OK    ? HM_OK
                                : hm_error_move(error, &cause);
}

bool hm_held_there(const hm_store *store, const char *id) {
    hm_auto_free char *path = hm_textf("quarantine/%s", id);
    return path == NULL || hm_store_taken(store, path);
}

hm_status hm_held_list(const hm_store *store, hm_texts *ids, hm_error **error) {
    HM_CLEANUP(hm_texts_free) hm_texts names = {0};
    hm_status status = hm_store_list(store, "quarantine", &names, error);
    for (size_t i = 0; i < names.count && status == HM_OK; i++) {
        if (hm_is_hex(names.list[i], HM_STORE_ID_SIZE)) {
            status = hm_texts_add(ids, names.list[i], error);
        }
    }
    return status;
}

hm_status hm_held_bytes(const hm_store *store, uint64_t *bytes, hm_error **error) {
    HM_CLEANUP(hm_texts_free) hm_texts ids = {0};
    *bytes = 0;
    hm_status status = hm_held_list(store, &ids, error);
    for (size_t i = 0; i < ids.count && status == HM_OK; i++) {
        hm_auto_held held = {.model = NULL};
        hm_auto_error cause = NULL;
        /* One that cannot be read is for `hallmark quarantine` to tell of. */
        if (hm_held_read(store, ids.list[i], &held, &cause) == HM_OK && held.refused &&
            held.content && !hm_add_u64(*bytes, held.byte_count, bytes)) {
            *bytes = UINT64_MAX;
        }
        status = hm_error_is_memory(cause) ? hm_error_move(error, &cause) : HM_OK;
    }
    return status;
}
