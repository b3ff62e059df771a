/* SPDX-License-Identifier: Apache-2.0 */
/* What verifying a ledger found: gathered by audit.c, told by audit_text.c. */
#ifndef HM_AUDIT_H
#define HM_AUDIT_H

#include "record/chain.h"
#include "record/checkpoint.h"

/* Somebody's word that the ledger has an entry of this number with this digest. */
typedef struct hm_word {
    char *who; /* "checkpoint 3 in the ledger", "the checkpoint PATH", "what was seen here" */
    int64_t sequence;
    char digest[HM_LEDGER_HEX];
    int64_t time;
    bool is_signed;             /* by a key that is believed; it covers all entries up to its own */
    bool met, differs;          /* the entry was there; and was another */
    char signer[HM_LEDGER_HEX]; /* fingerprint */
} hm_word;

typedef struct hm_finding_of_audit {
    int64_t sequence; /* 0: about no one entry */
    char *text;
} hm_finding_of_audit;

enum { HM_AUDIT_FINDINGS = 100 /* that are told one by one */ };

typedef struct hm_audit {
    hm_ledger *ledger;
    hm_pubkey **keys; /* whose checkpoints are believed */
    size_t key_count, key_capacity;
    hm_word *words; /* by ascending number, once all are gathered */
    size_t word_count, word_capacity, next_word;
    hm_finding_of_audit *findings;
    size_t finding_count, finding_capacity;
    uint64_t findings_in_all;
    hm_reason reason; /* of the first */
    char **warnings;
    size_t warning_count, warning_capacity;
    bool forgetful; /* nothing is remembered here */
    int64_t last;   /* number and digest of the newest entry */
    char digest[HM_LEDGER_HEX];
    uint64_t checkpoints; /* that the ledger holds */
    int64_t number;       /* of the last of them that was read */
    const hm_word *cover; /* the newest signed word that holds; NULL: none */
} hm_audit;
void hm_audit_free(hm_audit *audit);

/* Looks at everything. ::HM_OK when it could, whatever was found. */
HM_MUST_USE hm_status hm_audit_run(hm_audit *audit, const hm_config *config,
                                   const hm_log_verify_options *options, hm_error **error);
/* The result for people, or as JSON. */
HM_MUST_USE hm_status hm_audit_print(const hm_audit *audit, bool json, char **text,
                                     hm_error **error);

#endif
