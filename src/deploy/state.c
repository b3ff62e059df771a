/* SPDX-License-Identifier: Apache-2.0 */
/* state.json: what `current` led to, when, and what was found when versions were verified. */
#include "deploy/store.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

static const char format_member[] = "hallmark-state";

void hm_slot_state_free(hm_slot_state *state) {
    for (size_t i = 0; i < state->count; i++) {
        free(state->history[i].user);
    }
    free(state->history);
    free(state->verdicts);
    *state = (hm_slot_state){0};
}

const hm_verdict *hm_slot_state_verdict(const hm_slot_state *state, const char *version) {
    for (size_t i = 0; i < state->verdict_count; i++) {
        if (strcmp(state->verdicts[i].version, version) == 0) {
            return &state->verdicts[i];
        }
    }
    return NULL;
}

hm_status hm_slot_state_note(hm_slot_state *state, const char *version, int64_t time, bool good,
                             hm_error **error) {
    hm_verdict made = {.time = time, .good = good};
    memcpy(made.version, version, strlen(version) + 1);
    for (size_t i = 0; i < state->verdict_count; i++) {
        if (strcmp(state->verdicts[i].version, version) == 0) {
            state->verdicts[i] = made;
            return HM_OK;
        }
    }
    if (!hm_grow(&state->verdicts, state->verdict_count, &state->verdict_capacity, sizeof made)) {
        return hm_fail_memory(error);
    }
    state->verdicts[state->verdict_count++] = made;
    return HM_OK;
}

const hm_activation *hm_slot_state_last(const hm_slot_state *state) {
    return state->count > 0 ? &state->history[state->count - 1] : NULL;
}

/* Adding the last one again changes nothing: a plan may be carried out twice. */
hm_status hm_slot_state_add(hm_slot_state *state, hm_activation *activation, hm_error **error) {
    const hm_activation *last = hm_slot_state_last(state);
    if (last != NULL && last->kind == activation->kind && last->time == activation->time &&
        strcmp(last->version, activation->version) == 0 &&
        strcmp(last->previous, activation->previous) == 0) {
        free(activation->user);
        activation->user = NULL;
        return HM_OK;
    }
    if (last != NULL && state->count >= HM_STORE_HISTORY_LIMIT) {
        free(state->history[0].user);
        memmove(state->history, state->history + 1, --state->count * sizeof(hm_activation));
    }
    if (!hm_grow(&state->history, state->count, &state->capacity, sizeof(hm_activation))) {
        return hm_fail_memory(error);
    }
    state->history[state->count++] = *activation;
    activation->user = NULL;
    return HM_OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

static void write_state(hm_json_writer *w, const hm_slot_state *state) {
    hm_json_begin_object(w);
    hm_json_member_number(w, format_member, HM_STORE_FORMAT);
    hm_json_name(w, "history");
    hm_json_begin_array(w);
    for (size_t i = 0; i < state->count; i++) {
        const hm_activation *at = &state->history[i];
        hm_json_begin_object(w);
        hm_json_member(w, "event", hm_event_word(at->kind));
        hm_json_member(w, "version", at->version);
        hm_json_member(w, "previous", at->previous);
        hm_json_member_time(w, "time", at->time);
        hm_json_member(w, "user", at->user != NULL ? at->user : "");
        hm_json_end_object(w);
    }
    hm_json_end_array(w);
    hm_json_name(w, "verdicts");
    hm_json_begin_array(w);
    for (size_t i = 0; i < state->verdict_count; i++) {
        const hm_verdict *at = &state->verdicts[i];
        hm_json_begin_object(w);
        hm_json_member(w, "version", at->version);
        hm_json_member_time(w, "time", at->time);
        hm_json_member_bool(w, "good", at->good);
        hm_json_end_object(w);
    }
    hm_json_end_array(w);
    hm_json_end_object(w);
}

/* Verdicts on versions that are gone are of no use to anybody. */
static bool is_kept(const hm_slot *slot, const char *version) {
    hm_auto_free char *path = hm_slot_version_path(slot, version);
    return path == NULL || hm_store_taken(slot->store, path);
}

hm_status hm_slot_state_write(const hm_slot *slot, const hm_slot_state *state, hm_error **error) {
    hm_auto_buf text = {0};
    hm_slot_state shown = *state;
    hm_auto_free hm_verdict *verdicts = hm_alloc(state->verdict_count, sizeof(hm_verdict));
    hm_auto_free char *relative = hm_textf("%s/state.json", slot->relative);
    hm_auto_free char *path = relative != NULL ? hm_store_path(slot->store, relative) : NULL;
    if (path == NULL || verdicts == NULL) {
        return hm_fail_memory(error);
    }
    shown.verdicts = verdicts;
    shown.verdict_count = 0;
    for (size_t i = 0; i < state->verdict_count; i++) {
        if (is_kept(slot, state->verdicts[i].version)) {
            verdicts[shown.verdict_count++] = state->verdicts[i];
        }
    }
    write_state(&(hm_json_writer){.out = &text, .indent = 2}, &shown);
    hm_buf_add_byte(&text, '\n');
    hm_status status = hm_buf_check(&text, error);
    return status == HM_OK ? hm_write_file(path, hm_buf_view(&text), 0644, HM_WRITE_REPLACE, error)
                           : status;
}

/* ---- reading -------------------------------------------------------------------------------- */

static hm_status take_version(hm_json *object, const char *name, char *version, hm_error **error) {
    hm_bytes text;
    hm_status status = hm_json_take_text(object, "state", name, &text, error);
    if (status == HM_OK && text.length != 0 && text.length != HM_VERSION_DIGITS) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "\"%s\" is no version", name);
    }
    if (status == HM_OK) {
        memcpy(version, text.data, text.length);
        version[text.length] = '\0';
    }
    return status == HM_OK && strspn(version, "0123456789abcdef") != text.length
               ? hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "\"%s\" is no version", name)
               : status;
}

static hm_status read_activation(hm_json *object, hm_slot_state *state, hm_error **error) {
    hm_activation made = {.user = NULL};
    hm_bytes word;
    hm_bytes user = {NULL, 0};
    hm_status status = hm_json_take_text(object, "state", "event", &word, error);
    if (status == HM_OK && !hm_event_from_word(word, &made.kind)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "an event is not known");
    }
    if (status == HM_OK) {
        status = take_version(object, "version", made.version, error);
    }
    if (status == HM_OK) {
        status = take_version(object, "previous", made.previous, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_time(object, "state", "time", 0, &made.time, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_text(object, "state", "user", &user, error);
    }
    made.user = status == HM_OK ? hm_strndup((const char *)user.data, user.length) : NULL;
    if (status == HM_OK) {
        status = made.user != NULL ? hm_slot_state_add(state, &made, error) : hm_fail_memory(error);
    }
    free(made.user);
    return status;
}

static hm_status read_verdict(hm_json *object, hm_slot_state *state, hm_error **error) {
    char version[HM_VERSION_DIGITS + 1];
    int64_t time = 0;
    hm_json *good = NULL;
    hm_status status = take_version(object, "version", version, error);
    if (status == HM_OK) {
        status = hm_json_take_time(object, "state", "time", 0, &time, error);
    }
    if (status == HM_OK) {
        status = hm_json_take(object, "state", "good", HM_JSON_BOOL, &good, error);
    }
    return status == HM_OK ? hm_slot_state_note(state, version, time, good->truth, error) : status;
}

static hm_status read_list(hm_json *root, const char *name,
                           hm_status (*read)(hm_json *, hm_slot_state *, hm_error **),
                           hm_slot_state *state, hm_error **error) {
    hm_json *list = NULL;
    hm_status status = hm_json_take(root, "state", name, HM_JSON_ARRAY, &list, error);
    for (hm_json *at = status == HM_OK ? list->first : NULL; at != NULL && status == HM_OK;
         at = at->next) {
        status = at->type == HM_JSON_OBJECT
                     ? read(at, state, error)
                     : hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "it lists no objects");
    }
    return status;
}

hm_status hm_slot_state_read(const hm_slot *slot, hm_slot_state *state, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_auto_error cause = NULL;
    bool there = false;
    hm_auto_free char *path = hm_textf("%s/state.json", slot->relative);
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_store_read_json(slot->store, path, format_member, &doc, &there, error);
    if (status != HM_OK || !there) {
        return status;
    }
    hm_json *root = hm_json_root(doc);
    status = read_list(root, "history", read_activation, state, &cause);
    if (status == HM_OK) {
        status = read_list(root, "verdicts", read_verdict, state, &cause);
    }
    if (status == HM_OK) {
        status = hm_json_refuse_rest(root, "state", &cause);
    }
    return status == HM_REFUSED
               ? hm_store_fail_damaged(slot->store, path, hm_error_message(cause), error)
           : status == HM_OK ? HM_OK
                             : hm_error_move(error, &cause);
}
