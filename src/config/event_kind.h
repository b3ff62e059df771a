/* SPDX-License-Identifier: Apache-2.0 */
/* What can happen, by word: a configuration says by these words who is told of what. */
#ifndef HM_EVENT_KIND_H
#define HM_EVENT_KIND_H

#include "base/base.h"

typedef enum hm_event_kind {
    HM_EVENT_SIGNED = 1,
    HM_EVENT_VERIFIED,
    HM_EVENT_REFUSED,
    HM_EVENT_UNDECIDED, /* neither: something did not work */
    HM_EVENT_LET_THROUGH,
    HM_EVENT_DEPLOYED,    /* a version is in the store, whole and verified */
    HM_EVENT_REPAIRED,    /* a version that had been changed was replaced by a verified copy */
    HM_EVENT_ACTIVATED,   /* it is what `current` leads to */
    HM_EVENT_ROLLED_BACK, /* likewise, one that had been it before */
    HM_EVENT_DEACTIVATED, /* `current` was taken away */
    HM_EVENT_QUARANTINED,
    HM_EVENT_RELEASED, /* from quarantine, through the gate */
    HM_EVENT_PURGED,   /* from quarantine, for ever */
    HM_EVENT_REMOVED,  /* a version that is no longer kept */
    HM_EVENT_KEY_ROTATED,
    HM_EVENT_KEY_REVOKED,
    HM_EVENT_ALERT_FAILED, /* somebody could not be told of an event */
    HM_EVENT_LOADED, /* a program got bytes of it, each verified before; not all need be read */
    HM_EVENT_KIND_COUNT,
} hm_event_kind;

/* The word in JSON, such as "rolled-back", which never changes; and the way back. */
const char *hm_event_word(hm_event_kind kind);
bool hm_event_from_word(hm_bytes word, hm_event_kind *kind);

/* What alerts are sent for unless the configuration says otherwise: a bit (1 << kind) each. */
#define HM_EVENTS_ALERTING                                                                         \
    ((UINT64_C(1) << HM_EVENT_REFUSED) | (UINT64_C(1) << HM_EVENT_UNDECIDED) |                     \
     (UINT64_C(1) << HM_EVENT_LET_THROUGH) | (UINT64_C(1) << HM_EVENT_ROLLED_BACK) |               \
     (UINT64_C(1) << HM_EVENT_DEACTIVATED) | (UINT64_C(1) << HM_EVENT_QUARANTINED) |               \
     (UINT64_C(1) << HM_EVENT_REPAIRED))

#endif
