/* SPDX-License-Identifier: Apache-2.0 */
/* One verification: what its signatures share, and the way of one signature to a verdict. */
#ifndef HM_VERIFY_H
#define HM_VERIFY_H

#include "report.h"

/* What promises something about the model: a signature file, or the digests of a policy. */
typedef struct hm_claim {
    struct hm_verification *job;
    hm_buf file;
    hm_envelope envelope;
    hm_promise promise;
    hm_ignore ignore;
    hm_tree tree;
    hm_manifest found;
    char *provenance;       /* where the statement beside the signature is looked for */
    hm_buf provenance_file; /* what is there, once it was found good */
    char *signed_name;      /* of a single file that has another now */
    bool *wanted;           /* per entry of the tree */
    hm_file_state *states;  /* per entry of the tree */
    hm_report *report;
    char *place; /* where the signature was looked for; NULL: the formats' default places */
    char fingerprint[2 * HM_FINGERPRINT_SIZE + 1]; /* of the key that signed, once that is known */
    bool absent;                                   /* there is no signature file */
    bool regular;                                  /* there is one, and it is a regular file */
    bool measured;  /* `found` and `states` are complete: others may use them */
    bool pinned;    /* the policy's digests, not a signature */
    bool withdrawn; /* a good signature of a signer's, by a key that is no longer believed */
    bool counted;   /* good in every respect, and by somebody who was not counted before */
    hm_status status;
    hm_error *error; /* why it does not count */
} hm_claim;

/* Digests that need not be computed: whoever gives them has proven that they are the tree's. */
typedef struct hm_known_digests {
    void *context;
    /* NULL: none of these method and hash. It lives as long as the verification. */
    const hm_manifest *(*find)(void *context, const hm_tree *tree,
                               const hm_measure_options *measure);
} hm_known_digests;

/*
 * Reads contents in the verification's stead, once the names that were promised are those that are
 * there: what is promised is then taken for found, and it is for the reader to hold every byte
 * against it before anybody gets to see that byte.
 */
typedef struct hm_reader {
    void *context;
    /* Digests the wanted files of a claim that promises none of each, as hm_claim_measure(). */
    hm_status (*measure)(void *context, hm_claim *claim, const hm_measure_options *options,
                         hm_error **error);
} hm_reader;

typedef struct hm_verification {
    const hm_model *model;
    const hm_policy *policy;
    const hm_rule *rule; /* NULL: a policy that was made by calls */
    const hm_verify_options *options;
    hm_claim **claims; /* in the order in which they are judged */
    size_t claim_count, claim_capacity;
    hm_buf *statement; /* gets the text of the provenance that was found good; NULL: not wanted */
    const hm_tree_copy *copy; /* gets the bytes of every file that is read; NULL: they go nowhere */
    const hm_known_digests *known; /* NULL: every file is read */
    const hm_reader *reader; /* reads contents later; NULL: they are read and compared at once */
    bool keeps_withdrawn;    /* strict paths do not take such a signature file for content */
    const char *rule_name;   /* the rule is chosen by it, not by the model's name; or NULL */
    const char *rule_path;   /* likewise of its real path */
} hm_verification;

void hm_verification_free(hm_verification *job);
/* A new claim with a report of its own. The job owns it. */
HM_MUST_USE hm_status hm_claim_new(hm_verification *job, hm_claim **claim, hm_error **error);

/*
 * The steps; each only after the one before it succeeded. `path` NULL: the formats' default places.
 * Sets claim->absent when ::HM_REFUSED unsigned means that nothing is there.
 */
HM_MUST_USE hm_status hm_claim_read(hm_claim *claim, const char *path, hm_error **error);
HM_MUST_USE hm_status hm_claim_believe(hm_claim *claim, hm_error **error);
/* Reads the model: whatever an earlier claim digested in the same way is not read again. */
HM_MUST_USE hm_status hm_claim_compare(hm_claim *claim, hm_error **error);
/* The parts of the latter, for what is no signature. */
HM_MUST_USE hm_status hm_claim_find_files(hm_claim *claim, hm_error **error);
HM_MUST_USE hm_status hm_claim_measure(hm_claim *claim, const hm_measure_options *options,
                                       hm_error **error);
HM_MUST_USE hm_status hm_claim_compare_files(hm_claim *claim, hm_error **error);

/*
 * A claim that holds, and whose digests the contents have to have: of signatures those that count.
 */
bool hm_claim_binds(const hm_claim *claim);

/* Whether a call to a verb makes sense, as far as that can be told before anything is looked at. */
HM_MUST_USE hm_status hm_verification_check(const char *function, const hm_model *model,
                                            const hm_policy *policy,
                                            const hm_verify_options *options, hm_error **error);

/* Default place `index` of a signature of the model; NULL: none. `*last`: behind the last. */
HM_MUST_USE hm_status hm_claim_default_place(const hm_verification *job, size_t index, char **path,
                                             bool *last, hm_error **error);

/*
 * The statements beside the signatures, once the model is verified and the report has its digests:
 * each that is there must be good, by a key that counted, and as demanded. `told`: the claim that
 * the report is of.
 */
HM_MUST_USE hm_status hm_verify_provenances(hm_verification *job, const hm_claim *told,
                                            hm_report *report, hm_error **error);

/*
 * The signatures and the model, as the policy wants them; the statements are yet to be verified.
 * The report gets what was found, and of a verified model its manifest and digests.
 */
HM_MUST_USE hm_status hm_verification_run(hm_verification *job, hm_report *report, hm_claim **told,
                                          hm_error **error);

/* The rule that is about the model; `*name` is the model's own, real name. Newly allocated. */
HM_MUST_USE hm_status hm_verification_choose(hm_verification *job, hm_policy_note *note,
                                             char **name, hm_error **error);
/* Where a rule looks for a signature; `place` is one of its own. Newly allocated. */
HM_MUST_USE hm_status hm_rule_place(const hm_model *model, const char *place, const char *name,
                                    char **path, hm_error **error);

/* By the rule of a policy file that is about the model. `*told`: the claim whose report to show. */
HM_MUST_USE hm_status hm_verify_by_rule(hm_verification *job, hm_policy_note *note, hm_claim **told,
                                        hm_error **error);

#endif
