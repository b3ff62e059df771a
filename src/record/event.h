/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event: something that was decided or done about a model. It has one form, JSON (the schema is
 * docs/event.schema.json), in the ledger, in alerts and on standard error.
 */
#ifndef HM_EVENT_H
#define HM_EVENT_H

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
    HM_EVENT_KIND_COUNT,
} hm_event_kind;

/* The word in JSON, such as "rolled-back", which never changes; and the way back. */
const char *hm_event_word(hm_event_kind kind);
bool hm_event_from_word(hm_bytes word, hm_event_kind *kind);

/* What alerts are sent for unless the configuration says otherwise: a bit (1 << kind) each. */
#define HM_EVENTS_ALERTING                                                                         \
    ((UINT64_C(1) << HM_EVENT_REFUSED) | (UINT64_C(1) << HM_EVENT_LET_THROUGH) |                   \
     (UINT64_C(1) << HM_EVENT_ROLLED_BACK) | (UINT64_C(1) << HM_EVENT_DEACTIVATED) |               \
     (UINT64_C(1) << HM_EVENT_QUARANTINED) | (UINT64_C(1) << HM_EVENT_REPAIRED))

enum { HM_EVENT_ID_SIZE = 16, HM_EVENT_LIMIT = 65536 /* bytes of its JSON */ };

/* The texts are owned, may be NULL, and are what they are: no claim stands in for a fact. */
typedef struct hm_event {
    hm_event_kind kind;
    char id[2 * HM_EVENT_ID_SIZE + 1]; /* random: one event counts once, however often delivered */
    int64_t time;
    char *host, *user; /* where, and as whom, the program ran */
    char *store;       /* the store's directory */
    char *model;       /* the name in the store, or the path */
    char *source;      /* where the model was taken from */
    char *digest;      /* the model digest in hex: the version */
    char *previous;    /* the version that was current before */
    char *signer; /* by the policy's name, else the key's fingerprint; only of a verified one */
    char *fingerprint; /* of the key that signed, in hex; likewise */
    uint64_t key_version;
    hm_reason reason;
    char *message;    /* why, for people, one line */
    char *quarantine; /* the entry's id */
} hm_event;

/* With a new id, the time, host and user. */
HM_MUST_USE hm_status hm_event_init(hm_event *event, hm_event_kind kind, hm_error **error);
/* One line of JSON, without the line's end: members in a fixed order, those without a value left
 * out. The same event always gives the same bytes. */
HM_MUST_USE hm_status hm_event_write(const hm_event *event, hm_buf *out, hm_error **error);
/* Reads what hm_event_write() writes, and nothing else. */
HM_MUST_USE hm_status hm_event_parse(hm_bytes json, hm_event *event, hm_error **error);
void hm_event_free(hm_event *event);
#define hm_auto_event HM_CLEANUP(hm_event_free) hm_event

typedef struct hm_events {
    hm_event *list;
    size_t count, capacity;
} hm_events;
/* Moves an event behind the others; of a failure it is freed. */
HM_MUST_USE hm_status hm_events_add(hm_events *events, hm_event *event, hm_error **error);
void hm_events_free(hm_events *events);

#endif
