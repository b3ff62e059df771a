/* SPDX-License-Identifier: Apache-2.0 */
#include "record_report.h"

#include "record/recorder_state.h"

#include <stdlib.h>

/* False: nothing was decided about a model. */
static bool kind_of(const hm_report *report, hm_event_kind *kind) {
    bool signs = report->operation == HM_OPERATION_SIGN ||
                 (report->operation == HM_OPERATION_RESIGN && !report->unchanged);
    bool decides = report->operation == HM_OPERATION_SIGN ||
                   report->operation == HM_OPERATION_RESIGN ||
                   report->operation == HM_OPERATION_VERIFY;
    switch (report->status) {
    case HM_OK:
        *kind = signs                ? HM_EVENT_SIGNED
                : report->read_later ? HM_EVENT_LOADED /* a view: nobody need have read all of it */
                                     : HM_EVENT_VERIFIED;
        break;
    case HM_REFUSED: *kind = HM_EVENT_REFUSED; break;
    case HM_UNDECIDED: *kind = HM_EVENT_UNDECIDED; break;
    case HM_LET_THROUGH: *kind = HM_EVENT_LET_THROUGH; break;
    case HM_USAGE: return false; /* a mistake on a command line is nothing that happened */
    }
    return decides;
}

/* "model" says nothing to who reads the ledger somewhere else. */
static bool copy_place(char **to, const char *path) {
    hm_auto_free char *whole = path != NULL ? realpath(path, NULL) : NULL;
    return hm_set_text(to, whole != NULL ? whole : path);
}

/* Digest and signer of what is good; of all else they would be claims. */
static bool copy_facts(const hm_report *report, hm_event *event) {
    const hm_signer_identity *who = &report->signer;
    if (report->status != HM_OK) {
        event->reason = report->reason;
        return hm_set_text(&event->message, report->message);
    }
    if (!hm_set_text(&event->digest, report->model_digest)) {
        return false;
    }
    if (!report->has_signer) {
        return true;
    }
    event->key_version = who->key_version;
    return hm_set_text(&event->fingerprint, who->fingerprint) &&
           hm_set_text(&event->signer, who->name != NULL ? who->name : who->fingerprint);
}

hm_status hm_event_of_report(const hm_report *report, hm_event *event, bool *none,
                             hm_error **error) {
    hm_event_kind kind = HM_EVENT_KIND_COUNT;
    hm_auto_event made = {.kind = 0};
    *none = !kind_of(report, &kind);
    if (*none) {
        return HM_OK;
    }
    hm_status status = hm_event_init(&made, kind, error);
    if (status == HM_OK &&
        (!copy_place(&made.model, report->model_path) || !copy_facts(report, &made))) {
        status = hm_fail_memory(error);
    }
    if (status == HM_OK) {
        *event = made;
        made = (hm_event){.kind = 0};
    }
    return status;
}

hm_status hm_recorder_add_report(hm_recorder *recorder, const hm_report *report, hm_error **error) {
    hm_events events = {.list = NULL};
    hm_event event = {.kind = 0};
    bool none = true;
    if (recorder == NULL || report == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_recorder_add_report: an argument is missing");
    }
    if (!hm_recorder_active(recorder)) {
        return HM_OK;
    }
    hm_status status = hm_event_of_report(report, &event, &none, error);
    if (status == HM_OK && !none) {
        status = hm_events_add(&events, &event, error);
    }
    if (status == HM_OK) {
        status = hm_recorder_add(recorder, &events, error);
    }
    hm_events_free(&events);
    return status;
}
