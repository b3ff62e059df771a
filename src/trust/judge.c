/* SPDX-License-Identifier: Apache-2.0 */
/* The judgement: are all signatures in an envelope good, under one key that the policy believes? */
#include "trust/chain.h"

#include <string.h>

static hm_status untrusted(hm_error **error, const char *message, const char *hint) {
    (void)hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER, "%s", message);
    hm_error_add_hint(error, "%s", hint);
    return HM_REFUSED;
}

/* What can be said without looking at a key. */
static hm_status check_conditions(const hm_policy *policy, const hm_envelope *envelope,
                                  hm_signer_identity *who, hm_error **error) {
    if (envelope->part_count == 0 || envelope->parts == NULL) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSIGNED, "the file holds no signature");
    }
    if (policy->format != NULL && policy->format != envelope->format) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                       "the policy demands format %s, and this signature is %s",
                       policy->format->name,
                       envelope->format != NULL ? envelope->format->name : "of none");
    }
    if (!envelope->oms_v020) {
        return HM_OK;
    }
    if ((policy->allow & HM_ALLOW_OMS_V0_2_0) == 0) {
        (void)hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                      "the signature is of model_signing 0.2.0, whose encoding is faulty");
        hm_error_add_hint(error, "sign the model again, or allow the old encoding explicitly");
        return HM_REFUSED;
    }
    return hm_identity_warn(who, error,
                            "the signature has the faulty encoding of model_signing 0.2.0; let "
                            "pass");
}

static hm_status verify_parts(const hm_pubkey *key, const hm_envelope *envelope, hm_error **error) {
    for (size_t i = 0; i < envelope->part_count; i++) {
        const hm_signed_part *part = &envelope->parts[i];
        hm_status status = hm_pubkey_verify(key, envelope->scheme, hm_buf_view(&part->message),
                                            hm_buf_view(&part->signature), error);
        if (status != HM_OK) {
            return status;
        }
    }
    return HM_OK;
}

/* ---- bare keys ------------------------------------------------------------------------------ */

/*
 * The hint is not signed: it chooses among the keys that the policy believes anyway. One that fits
 * none of them saves the reader the riddle of a bad signature.
 */
static hm_status find_hinted(const hm_policy *policy, const char *hint, const hm_pubkey **key,
                             hm_error **error) {
    for (size_t i = 0; i < policy->key_count; i++) {
        if (strcmp(policy->keys[i]->hint, hint) == 0) {
            *key = policy->keys[i];
            return HM_OK;
        }
    }
    const hm_pubkey *first = policy->keys[0];
    (void)hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER,
                  "the signature names the key with the hint %s; %s has the hint %s", hint,
                  policy->key_count == 1 ? "the key that is believed" : "the first believed key",
                  first->hint);
    hm_error_add_hint(error,
                      "give the public key of whoever signed with --key; the believed one "
                      "has the fingerprint %s",
                      first->fingerprint);
    return HM_REFUSED;
}

/* Tries every key. A key that is of the wrong kind counts for less than one that fails. */
static hm_status find_by_trying(const hm_policy *policy, const hm_envelope *envelope,
                                const hm_pubkey **key, hm_error **error) {
    hm_auto_error unfit = NULL;
    hm_auto_error bad = NULL;
    for (size_t i = 0; i < policy->key_count; i++) {
        hm_auto_error cause = NULL;
        hm_status status = verify_parts(policy->keys[i], envelope, &cause);
        if (status == HM_OK) {
            *key = policy->keys[i];
            return HM_OK;
        }
        if (status != HM_REFUSED) {
            return hm_error_move(error, &cause);
        }
        bool is_bad = hm_error_reason(cause) == HM_REASON_BAD_SIGNATURE;
        (void)hm_error_move(is_bad ? &bad : &unfit, &cause);
    }
    if (bad == NULL || policy->key_count == 1) {
        (void)hm_error_move(error, bad != NULL ? &bad : &unfit);
        return HM_REFUSED;
    }
    return hm_fail(error, HM_REFUSED, HM_REASON_BAD_SIGNATURE,
                   "the signature does not verify under any of the %zu keys that are believed",
                   policy->key_count);
}

static hm_status judge_key(const hm_policy *policy, const hm_envelope *envelope,
                           hm_signer_identity *who, const hm_pubkey **key, hm_error **error) {
    const char *hint = envelope->key_hint;
    if (policy->key_count == 0) {
        return untrusted(error, "the signature is by a bare key; only certificates are believed",
                         "give the signer's public key with --key");
    }
    if (policy->identity_count > 0) {
        return untrusted(error, "the signature is by a bare key, which has no identity to compare",
                         "identities are those of certificates");
    }
    if (hint != NULL && hint[0] != '\0') {
        hm_status status = find_hinted(policy, hint, key, error);
        return status == HM_OK ? verify_parts(*key, envelope, error) : status;
    }
    if (envelope->material == HM_MATERIAL_KEY) {
        hm_status status =
            hm_identity_warn(who, error, "the signature does not say which key it is by");
        if (status != HM_OK) {
            return status;
        }
    }
    return find_by_trying(policy, envelope, key, error);
}

/* ---- any ------------------------------------------------------------------------------------ */

static hm_status describe_key(const hm_pubkey *key, const hm_envelope *envelope,
                              hm_signer_identity *who, hm_error **error) {
    who->algorithm = hm_strdup(key->algorithm);
    who->scheme_text = hm_scheme_text(key, envelope->scheme);
    memcpy(who->fingerprint, key->fingerprint, sizeof who->fingerprint);
    return who->algorithm != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status judge_chain(const hm_policy *policy, const hm_envelope *envelope,
                             hm_signer_identity *who, hm_error **error) {
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *key = NULL;
    if (policy->roots == NULL || sk_X509_num(policy->roots) == 0) {
        return untrusted(error, "the signature is by certificate; only bare keys are believed",
                         "give the root that the certificate leads to with --root");
    }
    hm_status status = hm_chain_judge(policy, envelope->certificates, who, &key, error);
    if (status == HM_OK) {
        status = verify_parts(key, envelope, error);
    }
    if (status == HM_OK) {
        status = describe_key(key, envelope, who, error);
    }
    return status;
}

static hm_status judge_material(const hm_policy *policy, const hm_envelope *envelope,
                                hm_signer_identity *who, hm_error **error) {
    const hm_pubkey *key = NULL; /* the policy's */
    hm_status status = HM_REFUSED;
    switch (envelope->material) {
    case HM_MATERIAL_NONE:
    case HM_MATERIAL_KEY:
        status = judge_key(policy, envelope, who, &key, error);
        return status == HM_OK ? describe_key(key, envelope, who, error) : status;
    case HM_MATERIAL_CHAIN: return judge_chain(policy, envelope, who, error);
    case HM_MATERIAL_SIGSTORE: break;
    }
    (void)hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                  "the signature is by the sigstore method (keyless), which is not supported");
    hm_error_add_hint(error, "sign with a key or a certificate");
    return HM_REFUSED;
}

hm_status hm_trust_judge(const hm_policy *policy, const hm_envelope *envelope, int64_t now,
                         hm_signer_identity *who, hm_error **error) {
    hm_signer_identity found = {.judged_at = now};
    found.judged_at = policy != NULL && policy->time_set ? policy->time : now;
    *who = found;
    if (policy == NULL ||
        (policy->key_count == 0 && (policy->roots == NULL || sk_X509_num(policy->roots) == 0))) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "the policy believes nobody");
        hm_error_add_hint(error, "give a public key with --key or a root certificate with --root");
        return HM_USAGE;
    }
    hm_status verdict = check_conditions(policy, envelope, &found, error);
    if (verdict == HM_OK) {
        verdict = judge_material(policy, envelope, &found, error);
    }
    if (verdict != HM_OK) {
        hm_signer_identity_free(&found);
        return verdict;
    }
    *who = found;
    return HM_OK;
}
