/* SPDX-License-Identifier: Apache-2.0 */
/* Back to a version that was good, if it still is. */
#include "deploy/store.h"

#include <stdlib.h>
#include <string.h>

/* `*none`: there is no version to go back to, which is an answer and no event. */
static hm_status find_target(const hm_slot *slot, const hm_gate_options *options,
                             hm_stored *version, bool *none, hm_error **error) {
    char digest[HM_VERSION_DIGITS + 1];
    *none = false;
    if (options->version != NULL) {
        return hm_slot_find_version(slot, options->version, version, error);
    }
    hm_status status = hm_slot_last_good(slot, digest, error);
    *none = status == HM_OK && digest[0] == '\0';
    if (*none) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                      "%s has no version to go back to: none was current before that is still "
                      "there and was not left for being bad",
                      slot->name);
        hm_error_add_hint(error, "name one with --to, or deploy one");
        return HM_UNDECIDED;
    }
    return status == HM_OK ? hm_slot_find_version(slot, digest, version, error) : status;
}

static hm_status note_store(const hm_slot *slot, const hm_stored *version, const char *action,
                            hm_report *report, hm_error **error) {
    hm_store_note *note = &report->store;
    if (note->path == NULL) {
        note->path = hm_strdup(slot->store->path);
        note->name = hm_strdup(slot->name);
        memcpy(note->previous, slot->current, sizeof note->previous);
    }
    note->action = action;
    memcpy(note->version, version->digest, sizeof note->version);
    memcpy(note->current, slot->current, sizeof note->current);
    note->switched = strcmp(note->current, note->previous) != 0;
    return note->path != NULL && note->name != NULL ? HM_OK : hm_fail_memory(error);
}

/* The verdict is remembered, so that the next rollback passes a bad version over. */
static hm_status record_failure(hm_slot *slot, const hm_stored *version, const hm_report *report,
                                const hm_error *cause, hm_error **error) {
    hm_auto_plan plan = {.staged = NULL};
    bool refused = hm_error_status(cause) == HM_REFUSED;
    hm_status status = hm_plan_init(slot, &plan, error);
    if (status == HM_OK && refused) {
        status = hm_plan_add_verdict(&plan, version->digest, plan.time, false, error);
    }
    if (status == HM_OK) {
        status = hm_plan_add_event(slot, &plan, refused ? HM_EVENT_REFUSED : HM_EVENT_UNDECIDED,
                                   version->digest, report, cause, NULL, error);
    }
    return status == HM_OK ? hm_slot_carry_out(slot, &plan, error) : status;
}

static hm_status switch_to(hm_slot *slot, const hm_stored *version, hm_status verdict,
                           const hm_report *report, const hm_error *cause, hm_error **error) {
    hm_auto_plan plan = {.staged = NULL};
    hm_event *event = NULL;
    bool there = !slot->strange && strcmp(slot->current, version->digest) == 0;
    hm_status status = hm_plan_init(slot, &plan, error);
    if (status == HM_OK && verdict == HM_OK) {
        status = hm_plan_add_verdict(&plan, version->digest, plan.time, true, error);
    }
    if (status == HM_OK && verdict == HM_LET_THROUGH) {
        status = hm_plan_add_event(slot, &plan, HM_EVENT_LET_THROUGH, version->digest, report,
                                   cause, NULL, error);
    }
    if (status == HM_OK && !there) {
        plan.switches = true;
        /* To one that was left before is forward again, and says nothing against this one. */
        plan.kind =
            hm_slot_was_left(slot, version->digest) ? HM_EVENT_ACTIVATED : HM_EVENT_ROLLED_BACK;
        memcpy(plan.to, version->digest, sizeof plan.to);
        status =
            hm_plan_add_event(slot, &plan, plan.kind, version->digest, report, NULL, &event, error);
    }
    if (status == HM_OK && !there && slot->current[0] != '\0') {
        event->previous = hm_strdup(slot->current);
        status = event->previous != NULL ? HM_OK : hm_fail_memory(error);
    }
    return status == HM_OK ? hm_slot_carry_out(slot, &plan, error) : status;
}

/* `*cause` gets why the version is refused, or merely let through; `error` is for all else. */
static hm_status verify_and_switch(hm_slot *slot, const hm_stored *version, const hm_policy *policy,
                                   const hm_gate_options *options, hm_report *report,
                                   hm_error **cause, hm_error **error) {
    hm_status status = note_store(slot, version, NULL, report, error);
    if (status != HM_OK) {
        return status;
    }
    hm_status verdict = hm_stored_verify(slot, version, policy, options, report, cause);
    if (verdict != HM_OK && verdict != HM_LET_THROUGH) {
        hm_auto_error unrecorded = NULL;
        return record_failure(slot, version, report, *cause, &unrecorded) == HM_OK
                   ? HM_OK
                   : hm_report_add_warning(report, error, "this could not be recorded: %s",
                                           hm_error_message(unrecorded));
    }
    status = switch_to(slot, version, verdict, report, *cause, error);
    return status == HM_OK ? note_store(slot, version, "rolled-back", report, error) : status;
}

static hm_status run(hm_slot *slot, const hm_stored *version, const hm_policy *policy,
                     const hm_gate_options *options, hm_report **report, hm_error **cause,
                     hm_error **error) {
    hm_auto_free char *relative = hm_slot_version_path(slot, version->digest);
    hm_auto_free char *path = relative != NULL ? hm_store_path(slot->store, relative) : NULL;
    hm_status status = path != NULL ? hm_report_new(HM_OPERATION_ROLLBACK, path, report, error)
                                    : hm_fail_memory(error);
    if (status == HM_OK) {
        status = verify_and_switch(slot, version, policy, options, *report, cause, error);
    }
    return status;
}

/* What is found out of the version is recorded on the way, and whatever else it fails with here. */
static hm_status open_and_run(hm_store *store, const char *name, const hm_policy *policy,
                              const hm_gate_options *options, hm_report **report,
                              hm_error **error) {
    hm_auto_slot slot = {.lock = -1};
    hm_auto_stored version = {.source = NULL};
    hm_auto_error cause = NULL;
    bool silent = false;
    hm_status status = hm_slot_open(store, name, HM_SLOT_EXISTING, &slot, error);
    if (status == HM_OK) {
        status = hm_recorder_ready(store->recorder, error);
        silent = status != HM_OK;
    }
    if (status == HM_OK) {
        status = find_target(&slot, options, &version, &silent, error);
    }
    if (status == HM_OK) {
        status = run(&slot, &version, policy, options, report, &cause, error);
    }
    if (status != HM_OK) {
        return silent ? status : hm_slot_record_failure(&slot, NULL, error);
    }
    return cause != NULL ? hm_error_move(error, &cause) : HM_OK;
}

static hm_status check_call(const hm_store *store, const char *name, const hm_policy *policy,
                            const hm_gate_options *options, hm_error **error) {
    hm_status status =
        hm_check_options("hm_rollback", options->size, sizeof(*options), options->flags, 0, error);
    if (status == HM_OK && (store == NULL || policy == NULL)) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "there is no store or policy");
    }
    if (status == HM_OK && (store->flags & HM_STORE_READ) != 0) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "the store was opened to be read only");
    }
    return status == HM_OK ? hm_store_check_name(name, error) : status;
}

hm_status hm_rollback(hm_store *store, const char *name, const hm_policy *policy,
                      const hm_gate_options *options, hm_report **report, hm_error **error) {
    static const hm_gate_options defaults = HM_GATE_OPTIONS_INIT;
    HM_CLEANUP(hm_report_free) hm_report *made = NULL;
    hm_auto_error local = NULL;
    hm_error **cause = error != NULL ? error : &local;
    const hm_gate_options *how = options != NULL ? options : &defaults;
    if (report != NULL) {
        *report = NULL;
    }
    hm_status status = check_call(store, name, policy, how, cause);
    if (status == HM_OK) {
        status = open_and_run(store, name, policy, how, &made, cause);
    }
    return hm_report_finish(&made, status, cause, report);
}
