/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signing again what has hardly changed: digests from the old signature, for files that their
 * recorded states prove unchanged. docs/reuse.md says what the proof is.
 */
#ifndef HM_REUSE_H
#define HM_REUSE_H

#include "collect.h"
#include "format/records.h"
#include "report.h"

typedef struct hm_reuse {
    const char *old_path;
    hm_promise promise;   /* of the old signature */
    hm_state_record old;  /* what was recorded with it; empty when there is no record of use */
    hm_state_record next; /* what is to be recorded with the new one */
    const char *doubt;    /* why nothing can be taken over, or NULL */
    size_t files;         /* taken over */
    uint64_t bytes;
} hm_reuse;

/* Reads the old signature and its record, and verifies both under the signer's own key. */
HM_MUST_USE hm_status hm_reuse_open(const char *old, const hm_signer *signer,
                                    const hm_measure_options *measure, hm_reuse *reuse,
                                    hm_error **error);
/* Of a hm_known_source: the digests of unchanged files; `context` is a hm_reuse. */
HM_MUST_USE hm_status hm_reuse_find(void *context, const hm_collection *collection,
                                    const hm_measure_options *measure, hm_manifest *known,
                                    hm_error **error);
/* Makes the record that belongs to a new signature file. */
HM_MUST_USE hm_status hm_reuse_record(hm_reuse *reuse, hm_bytes signature_file, hm_signer *signer,
                                      hm_buf *file, hm_error **error);
void hm_reuse_free(hm_reuse *reuse);

#endif
