/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints: a signed word on how far a ledger had come. What a checkpoint covers cannot be
 * changed or cut off by who does not have the key, as long as it is kept where he cannot reach it.
 */
#ifndef HM_CHECKPOINT_H
#define HM_CHECKPOINT_H

#include "record/ledger.h"

#define HM_CHECKPOINT_PAYLOAD_TYPE "application/vnd.hallmark.checkpoint+json"
enum { HM_CHECKPOINT_LIMIT = 64 * 1024 /* bytes of a file with one */ };

typedef struct hm_checkpoint {
    char ledger[2 * HM_FINGERPRINT_SIZE + 1]; /* the ledger's id */
    uint64_t sequence;                        /* of its newest entry */
    char digest[2 * HM_FINGERPRINT_SIZE + 1]; /* of that entry */
    int64_t time;
} hm_checkpoint;

/* An envelope around it, one line without its end. */
HM_MUST_USE hm_status hm_checkpoint_write(const hm_checkpoint *checkpoint, hm_signer *signer,
                                          hm_buf *out, hm_error **error);
/* Reads the signed text. To be called once its signature is known to be good. */
HM_MUST_USE hm_status hm_checkpoint_parse(hm_bytes payload, const char *what,
                                          hm_checkpoint *checkpoint, hm_error **error);
/*
 * Reads an envelope that one of these keys signed; `*key` becomes that one. ::HM_REFUSED malformed
 * or bad-signature; untrusted-signer when it says itself that it is by another key.
 */
HM_MUST_USE hm_status hm_checkpoint_open(hm_bytes file, const char *what, hm_pubkey *const *keys,
                                         size_t key_count, hm_checkpoint *checkpoint,
                                         const hm_pubkey **key, hm_error **error);

/*
 * Whether so many entries came since the last checkpoint that the ledger says it has, or fewer
 * entries are there than it says.
 */
HM_MUST_USE hm_status hm_ledger_checkpoint_due(hm_ledger *ledger, uint64_t every, bool *due,
                                               hm_error **error);
/*
 * Signs how far the ledger has come, into the ledger and, unless `path` is NULL, into that file.
 * Only what continues the last checkpoint by this key is signed, in the ledger and in the file: a
 * ledger that was changed since must not get a good signature. ::HM_REFUSED when it was.
 */
HM_MUST_USE hm_status hm_ledger_checkpoint(hm_ledger *ledger, hm_signer *signer, const char *path,
                                           hm_error **error);

#endif
