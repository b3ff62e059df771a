/* SPDX-License-Identifier: Apache-2.0 */
/* The recorder's inside, for the files it is made of. */
#ifndef HM_RECORDER_STATE_H
#define HM_RECORDER_STATE_H

#include "record/outbox.h"
#include "record/recorder.h"

struct hm_recorder {
    const hm_config *config;
    char *outbox;        /* NULL: there is none */
    bool has_ledger;     /* one is configured */
    char tag[2 * 8 + 1]; /* which one; "" without */
    hm_ledger *ledger;   /* NULL: not open */
    bool ledger_failed;  /* at the last try */
    char *trouble;       /* the first thing that did not work, while nothing was lost by it */
    bool delivered;
};

/* Names in the outbox of events for this recorder's ledger. */
HM_MUST_USE hm_status hm_recorder_waiting(const hm_recorder *recorder, char ***names, size_t *count,
                                          hm_error **error);
/* Whether anything is recorded anywhere. */
bool hm_recorder_active(const hm_recorder *recorder);
/* Remembers what did not work, for whoever is told at the end. */
void hm_recorder_note(hm_recorder *recorder, const hm_error *cause);
/*
 * What waits for the ledger, and then these events. Of a failure the ledger is closed: the next
 * call tries anew.
 */
HM_MUST_USE hm_status hm_recorder_append(hm_recorder *recorder, const hm_event *const *events,
                                         size_t count, hm_error **error);
/* Appends, or puts into the outbox. */
HM_MUST_USE hm_status hm_recorder_keep(hm_recorder *recorder, const hm_events *events,
                                       hm_error **error);
/* Signs how far the ledger has come, if that is configured and due. What fails is noted. */
void hm_recorder_checkpoint(hm_recorder *recorder);

#endif
