/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exports of keyrings: one signed file with what verifiers need, a DSSE envelope. And what was
 * seen of them before, so that nobody can bring back an older one.
 */
#ifndef HM_TRUST_KEYRING_FILE_H
#define HM_TRUST_KEYRING_FILE_H

#include "base/dsse.h"
#include "trust/trust.h"

#define HM_KEYRING_PAYLOAD_TYPE "application/vnd.hallmark.keyring+json"

/* What an export says. */
typedef struct hm_export {
    char *signer;
    uint64_t version;
    int64_t created, expires;
    hm_trusted_key *keys; /* by ascending version */
    size_t key_count, key_capacity;
    hm_revocation *revocations;
    size_t revocation_count, revocation_capacity;
    char digest[2 * HM_FINGERPRINT_SIZE + 1]; /* hex SHA-256 of the signed text */
} hm_export;
void hm_export_free(hm_export *ended);
#define hm_auto_export HM_CLEANUP(hm_export_free) hm_export

/* An envelope, taken apart but not believed. */
/* ::HM_REFUSED malformed or unsupported. */
HM_MUST_USE hm_status hm_export_envelope_parse(hm_bytes file, const char *what, hm_dsse *envelope,
                                               hm_error **error);
/* Reads the signed text. To be called once its signature is known to be good. */
HM_MUST_USE hm_status hm_export_parse(hm_bytes payload, const char *what, hm_export *found,
                                      hm_error **error);
/* Both, with the signature checked in between. */
HM_MUST_USE hm_status hm_export_open(hm_bytes file, const char *what, const hm_pubkey *admin,
                                     hm_export *found, hm_error **error);

/*
 * Holds an export against the newest that was seen of this admin key and signer, and remembers it.
 * ::HM_REFUSED rollback. Where nothing can be remembered: ::HM_UNDECIDED, or, when `bounded`, what
 * there is to warn of. `*warning` is newly allocated, or NULL.
 */
HM_MUST_USE hm_status hm_export_check_seen(const hm_export *found, const hm_pubkey *admin,
                                           bool bounded, char **warning, hm_error **error);

#endif
