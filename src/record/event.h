/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event: something that was decided or done about a model. It has one form, JSON (the schema is
 * docs/event.schema.json), in the ledger, in alerts and on standard error.
 */
#ifndef HM_EVENT_H
#define HM_EVENT_H

#include "config/event_kind.h"

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
