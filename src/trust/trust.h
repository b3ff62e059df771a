/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trust: "do we believe this?" Policies, certificate chains, identities. Uses formats only as
 * envelopes; opens no model.
 */
#ifndef HM_TRUST_H
#define HM_TRUST_H

#include "base/base.h"
#include "format/format.h"
#include "key/key.h"

#define HM_ALLOW_ALL_FLAGS                                                                         \
    (HM_ALLOW_EXPIRED_CERTIFICATES | HM_ALLOW_MISSING_EKU | HM_ALLOW_OMS_V0_2_0 | HM_ALLOW_SYMLINKS)

struct hm_policy {
    hm_pubkey **keys;
    size_t key_count, key_capacity;
    STACK_OF(X509) *roots; /* NULL: none */
    struct hm_identity {
        hm_identity_kind kind;
        char *value;
    } * identities;
    size_t identity_count, identity_capacity;
    const hm_format *format; /* NULL: any */
    uint64_t allow;
    int64_t time;
    bool time_set;
};

/* Who signed, once that is proven. */
typedef struct hm_signer_identity {
    bool by_certificate;
    char *algorithm;                               /* "ec-p256" */
    const char *scheme_text;                       /* "ECDSA P-256 SHA-256" */
    char fingerprint[2 * HM_FINGERPRINT_SIZE + 1]; /* of the public key */
    /* By certificate only: */
    char *subject, *issuer;   /* RFC 2253 */
    char **alternative_names; /* "email:a@b", "URI:https://...", "DNS:x" */
    size_t alternative_name_count;
    char certificate_fingerprint[2 * HM_FINGERPRINT_SIZE + 1];
    int64_t not_before, not_after;
    int64_t judged_at;
    char **warnings; /* what was let pass by an option, or could not be compared */
    size_t warning_count, warning_capacity;
} hm_signer_identity;

/*
 * ::HM_OK only when every signature in the envelope is good under one key that the policy
 * believes. Fills `who`. `now`: the time at which certificates are judged unless the policy sets
 * another; below 0 it is not known.
 */
HM_MUST_USE hm_status hm_trust_judge(const hm_policy *policy, const hm_envelope *envelope,
                                     int64_t now, hm_signer_identity *who, hm_error **error);
void hm_signer_identity_free(hm_signer_identity *who);

/* Takes down what a leaf certificate says of its holder. Believes nothing of it. */
HM_MUST_USE hm_status hm_identity_describe(X509 *leaf, hm_signer_identity *who, hm_error **error);
/* The subject as RFC 2253 text. Newly allocated. */
HM_MUST_USE hm_status hm_certificate_name(const X509_NAME *name, char **text, hm_error **error);

#endif
