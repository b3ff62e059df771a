/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far each ledger had come when it was last verified here: who cuts off its end, or puts
 * another in its place, cannot reach into the memory of those who read it.
 */
#ifndef HM_LEDGER_SEEN_H
#define HM_LEDGER_SEEN_H

#include "record/ledger_backend.h"

typedef struct hm_ledger_seen {
    char id[HM_LEDGER_HEX]; /* of the ledger; "": nothing was seen */
    int64_t sequence;
    char digest[HM_LEDGER_HEX];
    int64_t time; /* when */
} hm_ledger_seen;

/*
 * What was seen at the ledger's place. `*warning` is newly allocated when nothing is remembered
 * here, else NULL. What is there and cannot be read: ::HM_UNDECIDED.
 */
HM_MUST_USE hm_status hm_ledger_seen_read(const hm_ledger *ledger, hm_ledger_seen *seen,
                                          char **warning, hm_error **error);
/* Remembers the newest entry. Where that cannot be done: a warning. */
HM_MUST_USE hm_status hm_ledger_seen_write(const hm_ledger *ledger, const hm_ledger_seen *seen,
                                           char **warning, hm_error **error);

#endif
