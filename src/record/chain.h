/* SPDX-License-Identifier: Apache-2.0 */
/* The chain of a ledger's entries, followed link by link. */
#ifndef HM_CHAIN_OF_ENTRIES_H
#define HM_CHAIN_OF_ENTRIES_H

#include "record/ledger_backend.h"

/* What does not fit. `sequence` is of the entry that it is about. */
typedef hm_status (*hm_finding_fn)(void *context, int64_t sequence, const char *text,
                                   hm_error **error);
/* An entry whose place in the chain is known, and its digest as it was computed anew. */
typedef hm_status (*hm_entry_fn)(void *context, const hm_entry *entry, const char *digest,
                                 hm_error **error);

typedef struct hm_chain {
    int64_t sequence;           /* of the last entry that was looked at; 0: none */
    char digest[HM_LEDGER_HEX]; /* the one that the next entry must name */
    uint64_t entries;           /* that were looked at */
    hm_finding_fn find;
    hm_entry_fn visit; /* may be NULL */
    void *context;
} hm_chain;

/* Follows the chain from where it stands to the end of the ledger. */
HM_MUST_USE hm_status hm_chain_follow(hm_chain *chain, hm_ledger *ledger, hm_error **error);

#endif
