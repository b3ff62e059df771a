/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: events in the order in which they were recorded, each entry with the digest of the
 * one before, so that none is changed, removed or moved without a trace; what is newest is covered
 * by signed checkpoints. Kept in SQLite or PostgreSQL (a table of backends, as with keys).
 */
#ifndef HM_LEDGER_H
#define HM_LEDGER_H

#include "config/config.h"
#include "key/key.h"
#include "record/event.h"

typedef struct hm_ledger hm_ledger;

#define HM_LEDGER_CREATE (UINT64_C(1) << 1) /* make it if it is not there */
#define HM_LEDGER_READ (UINT64_C(1) << 2)   /* only look; an older one stays as it is */

/*
 * `uri`: "sqlite:PATH", a path, or "postgresql://...". A ledger of an older version of the program
 * is brought up to date, unless it is only read. ::HM_UNDECIDED when it cannot be reached, is no
 * ledger, or is newer than this program; with hints.
 */
HM_MUST_USE hm_status hm_ledger_open(const char *uri, uint64_t flags, hm_ledger **ledger,
                                     hm_error **error);
/* That of a configuration: what it names, else SQLite in its store, else none: NULL, and HM_OK. */
HM_MUST_USE hm_status hm_ledger_open_configured(const hm_config *config, uint64_t flags,
                                                hm_ledger **ledger, hm_error **error);
void hm_ledger_close(hm_ledger **ledger);
#define hm_auto_ledger HM_CLEANUP(hm_ledger_close) hm_ledger *
/* Which ledger it is, for messages; without its password. */
const char *hm_ledger_place(const hm_ledger *ledger);

/* A line for each kind of ledger: the library behind it. */
void hm_ledger_describe(hm_buf *out);

/* Whether an append would work now, as far as can be told without one. */
HM_MUST_USE hm_status hm_ledger_ready(hm_ledger *ledger, hm_error **error);
/*
 * Appends all events or none, durably, waiting some seconds for others who write. An event whose id
 * is there already is passed over: appending again after a crash is harmless.
 */
HM_MUST_USE hm_status hm_ledger_append(hm_ledger *ledger, const hm_event *const *events,
                                       size_t count, hm_error **error);

#endif
