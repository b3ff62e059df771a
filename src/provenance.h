/* SPDX-License-Identifier: Apache-2.0 */
/* The provenance beside a signature: what it takes for its content to count as verified. */
#ifndef HM_PROVENANCE_H
#define HM_PROVENANCE_H

#include "report.h"

typedef struct hm_provenance_query {
    const hm_policy *policy;
    const bool *allowed; /* per signer of the policy whether it counts here; NULL: all do */
    const char *path;    /* where the statement is */
    bool named;          /* by the caller: then it must be there */
    /* The keys that signed the model, by fingerprint: the statement must be by one of them. */
    const char *const *fingerprints;
    size_t fingerprint_count;
    const char *signed_name; /* of a single file that has another now; NULL: it has not */
    const hm_provenance_demand *demand; /* beyond the policy's own; NULL: none */
    hm_buf *payload; /* gets the text of a statement that was found good; NULL: nobody wants it */
    hm_buf *file;    /* gets the bytes of the file of one that was found good; likewise */
} hm_provenance_query;

/*
 * To be asked once the model is verified, and the report has its manifest and digests. ::HM_OK when
 * there is no statement and none is demanded, or when there is one and it is good: by one of the
 * keys, of exactly this model, and as demanded; only then is the report told what it says.
 */
HM_MUST_USE hm_status hm_provenance_verify(const hm_provenance_query *query, hm_report *report,
                                           hm_error **error);

/* Tells the report what a statement says. `path` NULL: it is not verified, and goes to `stated`. */
HM_MUST_USE hm_status hm_provenance_show(hm_provenance *provenance, const char *path,
                                         hm_report *report, hm_error **error);

#endif
