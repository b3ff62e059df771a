/* SPDX-License-Identifier: Apache-2.0 */
/* journal.json: a plan that is being carried out, and its way back from there. */
#include "deploy/tell.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

static const char format_member[] = "hallmark-journal";
static const char what[] = "journal";

/* ---- writing -------------------------------------------------------------------------------- */

/* Events and the entry stand there as texts: they are recorded and written byte for byte. */
static hm_status write_texts(hm_json_writer *w, const hm_plan *plan, hm_error **error) {
    hm_status status = HM_OK;
    hm_json_name(w, "events");
    hm_json_begin_array(w);
    for (size_t i = 0; i < plan->events.count && status == HM_OK; i++) {
        hm_auto_buf text = {0};
        status = hm_event_write(&plan->events.list[i], &text, error);
        hm_json_string(w, hm_buf_view(&text));
    }
    hm_json_end_array(w);
    hm_json_name(w, "entry");
    if (plan->held != NULL && status == HM_OK) {
        hm_auto_buf text = {0};
        status = hm_held_write(plan->held, &text, error);
        hm_json_string(w, hm_buf_view(&text));
    } else {
        hm_json_null(w);
    }
    return status;
}

hm_status hm_plan_write(const hm_plan *plan, hm_buf *out, hm_error **error) {
    hm_json_writer w = {.out = out, .indent = 2};
    hm_json_begin_object(&w);
    hm_json_member_number(&w, format_member, HM_STORE_FORMAT);
    hm_json_member(&w, "id", plan->id);
    hm_json_member_time(&w, "time", plan->time);
    hm_tell_member(&w, "staged", plan->staged);
    hm_json_member(&w, "install", plan->install);
    hm_json_member_bool(&w, "switches", plan->switches);
    hm_json_member(&w, "to", plan->to);
    hm_json_member(&w, "from", plan->from);
    hm_json_member(&w, "kind", plan->switches ? hm_event_word(plan->kind) : "");
    hm_tell_member(&w, "held", plan->held_path);
    hm_json_name(&w, "verdicts");
    hm_json_begin_array(&w);
    for (size_t i = 0; i < plan->verdict_count; i++) {
        hm_json_begin_object(&w);
        hm_json_member(&w, "version", plan->verdicts[i].version);
        hm_json_member_time(&w, "time", plan->verdicts[i].time);
        hm_json_member_bool(&w, "good", plan->verdicts[i].good);
        hm_json_end_object(&w);
    }
    hm_json_end_array(&w);
    hm_status status = write_texts(&w, plan, error);
    hm_json_name(&w, "removed");
    hm_json_begin_array(&w);
    for (size_t i = 0; i < plan->removed.count; i++) {
        hm_json_text(&w, plan->removed.list[i]);
    }
    hm_json_end_array(&w);
    hm_json_end_object(&w);
    hm_buf_add_byte(out, '\n');
    return status == HM_OK ? hm_buf_check(out, error) : status;
}

/* ---- reading -------------------------------------------------------------------------------- */

static hm_status malformed(const char *why, hm_error **error) {
    return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s", why);
}

/* Exactly so many hex digits, or none at all. */
static hm_status take_hex(hm_json *root, const char *name, size_t digits, char *out,
                          hm_error **error) {
    hm_bytes text;
    hm_status status = hm_json_take_text(root, what, name, &text, error);
    if (status == HM_OK && text.length != 0 && text.length != digits) {
        return malformed("an id or digest has another length", error);
    }
    if (status == HM_OK) {
        memcpy(out, text.data, text.length);
        out[text.length] = '\0';
        status = strspn(out, "0123456789abcdef") == text.length
                     ? HM_OK
                     : malformed("an id or digest is no hex", error);
    }
    return status;
}

/* A path beneath the store: the journal cannot make anybody move what lies elsewhere. */
static hm_status copy_path(const hm_json *value, char **out, hm_error **error) {
    if (value == NULL || (value->type != HM_JSON_STRING && value->type != HM_JSON_NULL)) {
        return malformed("a path is missing", error);
    }
    if (value->type == HM_JSON_NULL) {
        return HM_OK;
    }
    if (!hm_name_valid(value->text)) {
        return malformed("a path does not lie in the store", error);
    }
    *out = hm_strndup((const char *)value->text.data, value->text.length);
    return *out != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status read_verdict(hm_json *object, hm_plan *plan, hm_error **error) {
    char version[HM_VERSION_DIGITS + 1];
    int64_t time = 0;
    hm_json *good = NULL;
    if (object->type != HM_JSON_OBJECT) {
        return malformed("a verdict is not one", error);
    }
    hm_status status = take_hex(object, "version", HM_VERSION_DIGITS, version, error);
    if (status == HM_OK) {
        status = hm_json_take_time(object, what, "time", 0, &time, error);
    }
    if (status == HM_OK) {
        status = hm_json_take(object, what, "good", HM_JSON_BOOL, &good, error);
    }
    return status == HM_OK ? hm_plan_add_verdict(plan, version, time, good->truth, error) : status;
}

static hm_status read_event(hm_json *value, hm_plan *plan, hm_error **error) {
    hm_auto_event event = {.host = NULL};
    if (value->type != HM_JSON_STRING) {
        return malformed("an event is not one", error);
    }
    hm_status status = hm_event_parse(value->text, &event, error);
    return status == HM_OK ? hm_events_add(&plan->events, &event, error) : status;
}

static hm_status read_removed(hm_json *value, hm_plan *plan, hm_error **error) {
    hm_auto_free char *path = NULL;
    hm_status status = copy_path(value, &path, error);
    return status == HM_OK && path != NULL ? hm_texts_add(&plan->removed, path, error) : status;
}

static hm_status read_list(hm_json *root, const char *name,
                           hm_status (*read)(hm_json *, hm_plan *, hm_error **), hm_plan *plan,
                           hm_error **error) {
    hm_json *list = NULL;
    hm_status status = hm_json_take(root, what, name, HM_JSON_ARRAY, &list, error);
    for (hm_json *at = status == HM_OK ? list->first : NULL; at != NULL && status == HM_OK;
         at = at->next) {
        status = read(at, plan, error);
    }
    return status;
}

static hm_status read_entry(hm_json *root, hm_plan *plan, hm_error **error) {
    hm_auto_json doc = NULL;
    const hm_json *value = hm_json_take_any(root, "entry");
    if (value == NULL || (value->type != HM_JSON_STRING && value->type != HM_JSON_NULL)) {
        return malformed("the entry is missing", error);
    }
    if (value->type == HM_JSON_NULL) {
        return HM_OK;
    }
    plan->held = hm_alloc(1, sizeof(hm_held));
    if (plan->held == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_json_parse(value->text, what, &doc, error);
    if (status == HM_OK && hm_json_root(doc)->type != HM_JSON_OBJECT) {
        status = malformed("the entry is not one", error);
    }
    return status == HM_OK ? hm_held_parse(hm_json_root(doc), what, plan->held, error) : status;
}

static hm_status read_switch(hm_json *root, hm_plan *plan, hm_error **error) {
    hm_json *switches = NULL;
    hm_bytes word;
    hm_status status = hm_json_take(root, what, "switches", HM_JSON_BOOL, &switches, error);
    if (status == HM_OK) {
        plan->switches = switches->truth;
        status = take_hex(root, "to", HM_VERSION_DIGITS, plan->to, error);
    }
    if (status == HM_OK) {
        status = take_hex(root, "from", HM_VERSION_DIGITS, plan->from, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_text(root, what, "kind", &word, error);
    }
    return status == HM_OK && plan->switches && !hm_event_from_word(word, &plan->kind)
               ? malformed("the kind of switch is not known", error)
               : status;
}

hm_status hm_plan_parse(hm_json *root, const char *name, hm_plan *plan, hm_error **error) {
    hm_status status = take_hex(root, "id", HM_STORE_ID_SIZE, plan->id, error);
    if (status == HM_OK) {
        status = hm_json_take_time(root, what, "time", 0, &plan->time, error);
    }
    if (status == HM_OK) {
        status = copy_path(hm_json_take_any(root, "staged"), &plan->staged, error);
    }
    if (status == HM_OK) {
        status = take_hex(root, "install", HM_VERSION_DIGITS, plan->install, error);
    }
    if (status == HM_OK) {
        status = read_switch(root, plan, error);
    }
    if (status == HM_OK) {
        status = copy_path(hm_json_take_any(root, "held"), &plan->held_path, error);
    }
    if (status == HM_OK) {
        status = read_list(root, "verdicts", read_verdict, plan, error);
    }
    if (status == HM_OK) {
        status = read_list(root, "events", read_event, plan, error);
    }
    if (status == HM_OK) {
        status = read_entry(root, plan, error);
    }
    if (status == HM_OK) {
        status = read_list(root, "removed", read_removed, plan, error);
    }
    (void)hm_json_take_any(root, format_member);
    return status == HM_OK ? hm_json_refuse_rest(root, name, error) : status;
}

/* ---- is it about this place ----------------------------------------------------------------- */

static bool has_form(const char *path, const char *folder, const char *name, size_t digits) {
    size_t length = strlen(folder);
    size_t more = strlen(name);
    return strncmp(path, folder, length) == 0 && strncmp(path + length, name, more) == 0 &&
           strlen(path + length + more) == digits &&
           strspn(path + length + more, "0123456789abcdef") == digits;
}

static bool is_staging(const hm_slot *slot, const char *path) {
    return has_form(path, slot->relative, "/staging-", HM_STORE_ID_SIZE);
}

static bool is_own(const hm_slot *slot, const char *path) {
    return is_staging(slot, path) ||
           has_form(path, slot->relative, "/versions/", HM_VERSION_DIGITS);
}

/* A directory that somebody put into the place of `current`. */
static bool is_current(const hm_slot *slot, const char *path) {
    return has_form(path, slot->relative, "/current", 0);
}

/* Whatever it says, nothing is moved or removed but what a plan for this model can be about. */
static hm_status check_plan(const hm_slot *slot, const hm_plan *plan, hm_error **error) {
    bool good =
        plan->id[0] != '\0' && (plan->staged != NULL) == (plan->install[0] != '\0') &&
        (plan->staged == NULL || is_staging(slot, plan->staged)) &&
        (plan->held_path == NULL || (plan->held != NULL && (is_own(slot, plan->held_path) ||
                                                            is_current(slot, plan->held_path))));
    for (size_t i = 0; i < plan->removed.count; i++) {
        const char *path = plan->removed.list[i];
        good = good && (is_own(slot, path) || has_form(path, "quarantine", "/", HM_STORE_ID_SIZE));
    }
    return good ? HM_OK : malformed("it is not about this model", error);
}

/* ---- carrying out --------------------------------------------------------------------------- */

static char *journal_path(const hm_slot *slot) {
    return hm_textf("%s/journal.json", slot->relative);
}

static hm_status end_journal(const hm_slot *slot, hm_error **error) {
    hm_auto_free char *path = journal_path(slot);
    hm_status status =
        path != NULL ? hm_store_remove(slot->store, path, error) : hm_fail_memory(error);
    return status == HM_OK ? hm_store_sync(slot->store, slot->relative, error) : status;
}

/* What a killed command left: staging directories, and names that were not given yet. */
static hm_status sweep(const hm_slot *slot, hm_error **error) {
    HM_CLEANUP(hm_texts_free) hm_texts names = {0};
    hm_status status = hm_store_list(slot->store, slot->relative, &names, error);
    for (size_t i = 0; i < names.count && status == HM_OK; i++) {
        const char *name = names.list[i];
        if (strncmp(name, "staging-", strlen("staging-")) != 0 &&
            strncmp(name, ".hallmark-", strlen(".hallmark-")) != 0 &&
            strcmp(name, ".current-new") != 0) {
            continue;
        }
        hm_auto_free char *path = hm_textf("%s/%s", slot->relative, name);
        status = path != NULL ? hm_store_remove(slot->store, path, error) : hm_fail_memory(error);
    }
    return status;
}

/* The slow part, the removing of what has no name any more, is not waited for by recovery. */
static hm_status complete(hm_slot *slot, hm_plan *plan, hm_error **error) {
    hm_status status = hm_plan_do(slot, plan, error);
    return status == HM_OK ? end_journal(slot, error) : status;
}

hm_status hm_slot_carry_out(hm_slot *slot, hm_plan *plan, hm_error **error) {
    hm_auto_buf text = {0};
    hm_auto_error cause = NULL;
    hm_auto_free char *relative = journal_path(slot);
    hm_auto_free char *path = relative != NULL ? hm_store_path(slot->store, relative) : NULL;
    hm_status status = path != NULL ? hm_plan_write(plan, &text, error) : hm_fail_memory(error);
    if (status == HM_OK) {
        status = hm_write_file(path, hm_buf_view(&text), 0600, HM_WRITE_REPLACE, error);
    }
    if (status != HM_OK) {
        return status;
    }
    status = complete(slot, plan, &cause);
    if (status != HM_OK) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s", hm_error_message(cause));
        hm_error_add_hint(error,
                          "the step is written down in %s: once the cause is gone, the next "
                          "command that changes %s completes it",
                          path, slot->name);
        return HM_UNDECIDED;
    }
    return sweep(slot, error);
}

hm_status hm_slot_recover(hm_slot *slot, hm_error **error) {
    hm_auto_plan plan = {.staged = NULL};
    hm_auto_json doc = NULL;
    hm_auto_error cause = NULL;
    bool there = false;
    hm_auto_free char *path = journal_path(slot);
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_store_read_json(slot->store, path, format_member, &doc, &there, error);
    if (status == HM_OK && there) {
        status = hm_plan_parse(hm_json_root(doc), what, &plan, &cause);
        if (status == HM_OK) {
            status = check_plan(slot, &plan, &cause);
        }
        if (status != HM_OK) {
            return status == HM_REFUSED
                       ? hm_store_fail_damaged(slot->store, path, hm_error_message(cause), error)
                       : hm_error_move(error, &cause);
        }
        status = complete(slot, &plan, error);
    }
    return status == HM_OK ? sweep(slot, error) : status;
}
