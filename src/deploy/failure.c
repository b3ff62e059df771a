/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command of the gate that could not begin, or could not go on. Whoever can spoil the policy
 * keeps every check from finding anything: that must not look like a quiet week.
 */
#include "deploy/store.h"
#include "record/recorder_state.h"

static hm_status describe(const hm_config *config, const char *name, const char *source,
                          const hm_error *failure, hm_event *event, hm_error **error) {
    hm_auto_free char *store = config->store != NULL ? hm_store_found(config->store) : NULL;
    hm_auto_free char *from = source != NULL ? hm_store_found(source) : NULL;
    bool refused = hm_error_status(failure) == HM_REFUSED;
    hm_status status = hm_event_init(event, refused ? HM_EVENT_REFUSED : HM_EVENT_UNDECIDED, error);
    if (status != HM_OK) {
        return status;
    }
    event->reason = hm_error_reason(failure);
    return hm_set_text(&event->store, store) && hm_set_text(&event->model, name) &&
                   hm_set_text(&event->source, from) &&
                   hm_set_text(&event->message, hm_error_message(failure))
               ? HM_OK
               : hm_fail_memory(error);
}

static hm_status add(hm_recorder *recorder, const char *name, const char *source,
                     const hm_error *failure, hm_error **error) {
    HM_CLEANUP(hm_events_free) hm_events events = {.list = NULL};
    hm_auto_event event = {.kind = 0};
    hm_status status = describe(recorder->config, name, source, failure, &event, error);
    if (status == HM_OK) {
        status = hm_events_add(&events, &event, error);
    }
    return status == HM_OK ? hm_recorder_add(recorder, &events, error) : status;
}

hm_status hm_failure_unrecorded(hm_error **failure, const hm_error *why) {
    hm_error *told = NULL;
    hm_status status = hm_fail(&told, hm_error_status(*failure), hm_error_reason(*failure),
                               "%s; this could not be recorded: %s", hm_error_message(*failure),
                               hm_error_message(why));
    if (*hm_error_hint(*failure) != '\0') {
        hm_error_add_hint(&told, "%s", hm_error_hint(*failure));
    }
    hm_error_free(failure);
    *failure = told;
    return status;
}

hm_status hm_slot_record_failure(const hm_slot *slot, const char *source, hm_error **failure) {
    hm_auto_error why = NULL;
    hm_status status = hm_error_status(*failure);
    if (status == HM_USAGE || slot->lock < 0 || hm_slot_has_plan(slot)) {
        return status;
    }
    return add(slot->store->recorder, slot->name, source, *failure, &why) == HM_OK
               ? status
               : hm_failure_unrecorded(failure, why);
}

hm_status hm_gate_record_failure(const hm_config *config, const char *name, const char *source,
                                 const hm_error *failure, hm_recorder **recorder,
                                 hm_error **error) {
    HM_CLEANUP(hm_recorder_close) hm_recorder *made = NULL;
    if (config == NULL || failure == NULL || recorder == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_gate_record_failure: an argument is missing");
    }
    *recorder = NULL;
    if (hm_error_status(failure) == HM_USAGE) {
        return HM_OK;
    }
    /* Its ledger and outbox are opened where hm_store_open() would open them, or not at all. */
    hm_status status =
        config->store != NULL ? hm_store_check_directory(config->store, error) : HM_OK;
    if (status == HM_OK) {
        status = hm_recorder_open(config, &made, error);
    }
    if (status == HM_OK && hm_recorder_active(made)) {
        status = add(made, name, source, failure, error);
    }
    if (status == HM_OK) {
        *recorder = made;
        made = NULL;
    }
    return status;
}
