/* SPDX-License-Identifier: Apache-2.0 */
/* A check of what is current, between its reading and what it does about it. */
#ifndef HM_CHECK_H
#define HM_CHECK_H

#include "deploy/store.h"

#include <string.h>

typedef struct hm_check {
    hm_store *store;
    const char *name;
    const hm_policy *policy;
    hm_gate_options options;
    hm_progress_fn progress; /* the caller's */
    void *progress_context;
    hm_report *report;
    hm_stored version; /* what was current; its digest is "" when its record cannot be used */
    char current[HM_VERSION_DIGITS + 1];
    bool last;    /* what changes again is not read once more */
    bool held;    /* the lock, since before anything was read */
    bool stopped; /* by the caller: that is no event */
    bool forgets; /* state.json cannot be read, and is made anew if something has to be done */
    bool astray;  /* nothing is known of what `current` leads to, or it is gone */
} hm_check;

static inline void hm_check_copy(char *to, const char *from) {
    memcpy(to, from, HM_VERSION_DIGITS + 1);
}
/* Whether a bad version is to be left in its place when nothing good can take it. */
static inline bool hm_check_leaves_bad(const hm_check *check) {
    return check->store->config->leave_bad || (check->options.flags & HM_GATE_LEAVE_BAD) != 0;
}
/* An event of the check; `previous` is "" where there is none, and `digest` too. */
HM_MUST_USE hm_status hm_check_event(const hm_slot *slot, hm_plan *plan, hm_event_kind kind,
                                     const char *digest, const char *previous,
                                     const hm_report *report, const hm_error *cause,
                                     hm_error **error);
/*
 * What is current was refused for this cause: puts a good version in its place, or none, and it
 * into quarantine, with the lock held. The check's report tells what was done.
 */
HM_MUST_USE hm_status hm_check_replace(hm_check *check, hm_slot *slot, const hm_error *cause,
                                       hm_error **error);

#endif
