/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outbox: a directory with a file for each event that the ledger does not have yet
 * ("TIME.NUMBER.ID.LEDGER.event"), and one for each event and receiver that is still to be told
 * ("TIME.ID.NAME.alert"). A file is there, whole, or it is not; nothing else is remembered, so
 * there is nothing to get out of step when a program is killed. LEDGER is a tag that tells which
 * ledger an event is for: several may share an outbox.
 */
#ifndef HM_OUTBOX_H
#define HM_OUTBOX_H

#include "record/event.h"

/* An event waiting to be told to somebody. */
typedef struct hm_waiting {
    char *path;
    int fd;   /* open and locked: nobody else delivers it meanwhile */
    char *to; /* the receiver's name */
    hm_event event;
    hm_buf json;  /* the event */
    char *ledger; /* tag of the one that has, or is to have, the event */
    uint64_t attempts;
    int64_t next; /* not before */
} hm_waiting;
void hm_waiting_free(hm_waiting *waiting);
#define hm_auto_waiting HM_CLEANUP(hm_waiting_free) hm_waiting

/* Makes the directory if need be, and sees that files can be made in it. */
HM_MUST_USE hm_status hm_outbox_ready(const char *directory, hm_error **error);
/* Names in the directory that end with `suffix`, sorted. No directory: none. */
HM_MUST_USE hm_status hm_outbox_list(const char *directory, const char *suffix, char ***names,
                                     size_t *count, hm_error **error);

HM_MUST_USE hm_status hm_outbox_put_event(const char *directory, const hm_event *event,
                                          const char *ledger, hm_error **error);
HM_MUST_USE hm_status hm_outbox_get_event(const char *directory, const char *name, hm_event *event,
                                          hm_error **error);
/* Putting the same alert twice is harmless. */
HM_MUST_USE hm_status hm_outbox_put_alert(const char *directory, const hm_event *event,
                                          const char *ledger, const char *to, hm_error **error);
/*
 * Takes an alert out to be delivered. `*busy`: another process has it, or has just delivered it;
 * then there is nothing in `waiting`.
 */
HM_MUST_USE hm_status hm_outbox_take_alert(const char *directory, const char *name,
                                           hm_waiting *waiting, bool *busy, hm_error **error);
/* Puts it back, with what became of `attempts` and `next`. */
HM_MUST_USE hm_status hm_outbox_put_back(const hm_waiting *waiting, hm_error **error);
/* Whether the file is gone; if not, it is only done again. */
bool hm_outbox_remove(const char *directory, const char *name);

#endif
