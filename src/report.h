/* SPDX-License-Identifier: Apache-2.0 */
/* The report's inside, for the verbs that fill it and the two forms it is given out in. */
#ifndef HM_REPORT_H
#define HM_REPORT_H

#include "base/base.h"
#include "format/format.h"
#include "model/model.h"
#include "trust/trust.h"

typedef enum hm_operation {
    HM_OPERATION_SIGN,
    HM_OPERATION_VERIFY,
    HM_OPERATION_DIGEST,
    HM_OPERATION_INSPECT,
    HM_OPERATION_RESIGN,
    HM_OPERATION_DEPLOY,
    HM_OPERATION_ROLLBACK,
    HM_OPERATION_CHECK,
    HM_OPERATION_RELEASE,
} hm_operation;

typedef struct hm_finding {
    hm_reason reason;
    char *name;
    char *expected; /* hex digest, or NULL */
    char *actual;   /* hex digest, or NULL */
    char *detail;   /* for people, or NULL */
} hm_finding;

typedef struct hm_path_note {
    char *path;
    char *note;
} hm_path_note;

typedef struct hm_path_notes {
    hm_path_note *list;
    size_t count, capacity;
} hm_path_notes;

/* Where digests came from that this run did not compute. */
typedef enum hm_known_origin {
    HM_KNOWN_NONE,
    HM_KNOWN_PARTS,
    HM_KNOWN_SIGNATURE,
} hm_known_origin;

/* What became of one signature under a policy file. */
typedef struct hm_signature_note {
    char *path;
    const hm_format *format; /* NULL: not known */
    bool counted;
    hm_reason reason;     /* why it does not count */
    char *message;        /* likewise; NULL when it does */
    char *signer;         /* in the policy; NULL: not by anybody it believes */
    uint64_t key_version; /* 0: none */
    char fingerprint[2 * HM_FINGERPRINT_SIZE + 1];
} hm_signature_note;

/* How a policy file judged. */
typedef struct hm_policy_note {
    char *file;        /* NULL: no policy file */
    size_t rule, line; /* counted from 1; 0: no rule is about the model */
    uint64_t demanded; /* signatures by distinct signers */
    uint64_t counted;
    hm_pin_kind pin;
    bool pin_held;
    hm_signature_note *list;
    size_t count, capacity;
} hm_policy_note;
void hm_policy_note_free(hm_policy_note *note);

/* What became of a store. */
typedef struct hm_store_note {
    char *path;         /* the store's; NULL: there is none */
    char *name;         /* the model's */
    const char *action; /* a word of docs/report.schema.json; NULL: nothing was done */
    bool dry_run;       /* or would have been done */
    bool made;          /* the store itself was new */
    bool switched;      /* `current` leads elsewhere than before */
    char version[65];   /* that the report is of, in hex; "": none */
    char previous[65];  /* what `current` led to before; "": nothing */
    char current[65];   /* and what it leads to now */
    char *quarantine;   /* the entry's id; NULL: nothing was put there */
} hm_store_note;
void hm_store_note_free(hm_store_note *note);

struct hm_report {
    hm_operation operation;
    hm_status status; /* ::HM_UNDECIDED until the verb's last line */
    hm_reason reason;
    char *message;
    char *hint;
    char *model_path;
    char *signature_path;
    char *shards_path;       /* of the second signature, when a signing wrote two */
    const hm_format *format; /* NULL: not known */
    int64_t time;
    /* What was verified, signed or digested; of an inspection, what the file says. */
    hm_manifest manifest;
    size_t file_count;
    uint64_t byte_count;
    unsigned jobs;  /* as the caller asked for them */
    bool unchanged; /* of a resigning: the signatures are by the new key already */
    hm_known_origin known;
    size_t known_files; /* of `file_count` */
    uint64_t known_bytes;
    unsigned part, part_count; /* of a digest of one share; 0: of all */
    char *part_path;
    char root_digest[65];  /* in hex; "" when not computed */
    char model_digest[65]; /* likewise */
    hm_signer_identity signer;
    bool has_signer;
    hm_finding *findings;
    size_t finding_count, finding_capacity;
    hm_path_notes ignored;        /* path, and by whose wish */
    hm_path_notes unsigned_paths; /* let through by HM_VERIFY_IGNORE_UNSIGNED, or not covered */
    hm_statements stated;         /* signed, but the signer's own words */
    hm_statements claimed;        /* covered by no signature */
    hm_statements provenance;     /* what the verified, or written, provenance statement says */
    char *provenance_path;        /* NULL: there is none */
    char **warnings;
    size_t warning_count, warning_capacity;
    hm_policy_note policy;
    hm_store_note store;
};

HM_MUST_USE hm_status hm_report_new(hm_operation operation, const char *model_path,
                                    hm_report **report, hm_error **error);
HM_MUST_USE hm_status hm_report_add_finding(hm_report *report, hm_finding finding,
                                            hm_error **error);
HM_MUST_USE hm_status hm_report_add_path(hm_path_notes *notes, const char *path, const char *note,
                                         hm_error **error);
HM_MUST_USE hm_status hm_report_add_warning(hm_report *report, hm_error **error, const char *format,
                                            ...) HM_PRINTF(3, 4);
HM_MUST_USE hm_status hm_report_add_holes(hm_report *report, const hm_tree *tree, hm_error **error);
void hm_report_swap(hm_report *a, hm_report *b);
/* Counts the manifest's files, however many shards each has, and the bytes that it states. */
void hm_report_count(hm_report *report);
/* Takes the manifest of one share over, and counts: it has no digest of the model. */
void hm_report_take_part(hm_report *report, hm_manifest *manifest);
/* Takes the manifest over, with the digests computed from it, and counts. */
HM_MUST_USE hm_status hm_report_take_manifest(hm_report *report, hm_manifest *manifest,
                                              hm_oms_order order, hm_error **error);
/*
 * Ends a verb: the report gets the status and, of a failure, the error's words; then it is handed
 * over or freed. Returns the status.
 */
hm_status hm_report_finish(hm_report **made, hm_status status, hm_error **error,
                           hm_report **report);

/* The words of JSON and text for an outcome, such as "verified" or "refused". */
const char *hm_report_outcome(const hm_report *report);

#endif
