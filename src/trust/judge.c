/* SPDX-License-Identifier: Apache-2.0 */
/* The judgement: are all signatures in an envelope good, under one key that the policy believes? */
#include "trust/chain.h"

#include <string.h>

static hm_status untrusted(const hm_policy *policy, hm_error **error, const char *message,
                           const char *hint) {
    (void)hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER, "%s", message);
    if (policy->path == NULL) {
        hm_error_add_hint(error, "%s", hint);
    }
    return HM_REFUSED;
}

/* What can be said without looking at a key. */
static hm_status check_conditions(const hm_policy *policy, const hm_envelope *envelope,
                                  hm_error **error) {
    if (envelope->part_count == 0 || envelope->parts == NULL) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSIGNED, "the file holds no signature");
    }
    if (policy->format != NULL && policy->format != envelope->format) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                       "the policy demands format %s, and this signature is %s",
                       policy->format->name,
                       envelope->format != NULL ? envelope->format->name : "of none");
    }
    if (envelope->oms_v020 && (policy->allow & HM_ALLOW_OMS_V0_2_0) == 0) {
        (void)hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                      "the signature is of model_signing 0.2.0, whose encoding is faulty");
        hm_error_add_hint(error, "sign the model again, or allow the old encoding explicitly");
        return HM_REFUSED;
    }
    return HM_OK;
}

static hm_status warn_of_encoding(const hm_envelope *envelope, hm_signer_identity *who,
                                  hm_error **error) {
    return envelope->oms_v020
               ? hm_identity_warn(who, error,
                                  "the signature has the faulty encoding of model_signing 0.2.0; "
                                  "let pass")
               : HM_OK;
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

/* A key that may have signed, and whose it is. */
typedef struct candidate {
    const hm_trusted_signer *signer;
    const hm_trusted_key *trusted;
} candidate;

typedef struct candidates {
    candidate *list;
    size_t count, capacity;
    bool any_key; /* of an allowed signer, whether or not it counts */
} candidates;

static void candidates_free(candidates *found) {
    hm_auto_free_(&found->list);
}

static bool is_bounded(const hm_trusted_key *trusted) {
    return trusted->not_before != HM_TIME_ALWAYS || trusted->not_after != HM_TIME_NEVER;
}

static bool in_period(const hm_trusted_key *trusted, int64_t time) {
    return !is_bounded(trusted) ||
           (time >= 0 && time >= trusted->not_before && time <= trusted->not_after);
}

/* A signer who is known by the identity in a certificate is not known by a bare key. */
static hm_status gather(const hm_policy *policy, const bool *allowed, int64_t time, bool good_now,
                        candidates *found, hm_error **error) {
    for (size_t i = 0; i < policy->signer_count; i++) {
        const hm_trusted_signer *signer = &policy->signers[i];
        if (allowed != NULL && !allowed[i]) {
            continue;
        }
        found->any_key = found->any_key || signer->key_count > 0;
        for (size_t k = 0; k < signer->key_count && signer->identity_count == 0; k++) {
            if (in_period(&signer->keys[k], time) != good_now) {
                continue;
            }
            if (!hm_grow(&found->list, found->count, &found->capacity, sizeof(candidate))) {
                return hm_fail_memory(error);
            }
            found->list[found->count++] =
                (candidate){.signer = signer, .trusted = &signer->keys[k]};
        }
    }
    return HM_OK;
}

/*
 * The hint is not signed: it chooses among the keys that the policy believes anyway. One that fits
 * none of them saves the reader the riddle of a bad signature.
 */
static hm_status find_hinted(const hm_policy *policy, const candidates *from, const char *hint,
                             const candidate **chosen, hm_error **error) {
    for (size_t i = 0; i < from->count; i++) {
        if (strcmp(from->list[i].trusted->key->hint, hint) == 0) {
            *chosen = &from->list[i];
            return HM_OK;
        }
    }
    const hm_pubkey *first = from->list[0].trusted->key;
    (void)hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER,
                  "the signature names the key with the hint %s; %s has the hint %s", hint,
                  from->count == 1 ? "the key that is believed" : "the first believed key",
                  first->hint);
    hm_error_add_hint(error,
                      policy->path == NULL
                          ? "give the public key of whoever signed with --key; the believed one "
                            "has the fingerprint %s"
                          : "the first key of the rule's signers has the fingerprint %s",
                      first->fingerprint);
    return HM_REFUSED;
}

/* Tries every key. A key that is of the wrong kind counts for less than one that fails. */
static hm_status find_by_trying(const candidates *from, const hm_envelope *envelope,
                                const candidate **chosen, hm_error **error) {
    hm_auto_error unfit = NULL;
    hm_auto_error bad = NULL;
    for (size_t i = 0; i < from->count; i++) {
        hm_auto_error cause = NULL;
        hm_status status = verify_parts(from->list[i].trusted->key, envelope, &cause);
        if (status == HM_OK) {
            *chosen = &from->list[i];
            return HM_OK;
        }
        if (status != HM_REFUSED) {
            return hm_error_move(error, &cause);
        }
        bool is_bad = hm_error_reason(cause) == HM_REASON_BAD_SIGNATURE;
        (void)hm_error_move(is_bad ? &bad : &unfit, &cause);
    }
    if (bad == NULL || from->count == 1) {
        (void)hm_error_move(error, bad != NULL ? &bad : &unfit);
        return HM_REFUSED;
    }
    return hm_fail(error, HM_REFUSED, HM_REASON_BAD_SIGNATURE,
                   "the signature does not verify under any of the %zu keys that are believed",
                   from->count);
}

static hm_status find_key(const hm_policy *policy, const candidates *from,
                          const hm_envelope *envelope, hm_signer_identity *who,
                          const candidate **chosen, hm_error **error) {
    const char *hint = envelope->key_hint;
    if (!from->any_key) {
        return untrusted(policy, error,
                         "the signature is by a bare key; only certificates are believed",
                         "give the signer's public key with --key");
    }
    if (from->count == 0) {
        return untrusted(policy, error,
                         "the signature is by a bare key, which has no identity to compare",
                         "identities are those of certificates");
    }
    if (hint != NULL && hint[0] != '\0') {
        hm_status status = find_hinted(policy, from, hint, chosen, error);
        return status == HM_OK ? verify_parts((*chosen)->trusted->key, envelope, error) : status;
    }
    if (envelope->material == HM_MATERIAL_KEY) {
        hm_status status =
            hm_identity_warn(who, error, "the signature does not say which key it is by");
        if (status != HM_OK) {
            return status;
        }
    }
    return find_by_trying(from, envelope, chosen, error);
}

static hm_status refuse_period(const candidate *chosen, const char *what, int64_t bound,
                               hm_error **error) {
    hm_auto_buf time = {.data = NULL};
    hm_buf_add_time(&time, bound);
    hm_status status = hm_buf_check(&time, error);
    if (status != HM_OK) {
        return status;
    }
    (void)hm_fail(error, HM_REFUSED, HM_REASON_EXPIRED,
                  "the signature is by a key of %s that is %s %s (%s)",
                  chosen->signer->name != NULL ? chosen->signer->name : "the believed signer", what,
                  (const char *)time.data, chosen->trusted->key->fingerprint);
    hm_error_add_hint(error, "sign the model again with a current key, from a copy that is known "
                             "to be good");
    return HM_REFUSED;
}

static hm_status check_period(const candidate *chosen, int64_t time, hm_error **error) {
    const hm_trusted_key *trusted = chosen->trusted;
    bool bounded = is_bounded(trusted);
    if (bounded && time < 0) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "the clock makes no sense, so the key's period cannot be judged");
    }
    if (bounded && time < trusted->not_before) {
        return refuse_period(chosen, "not believed before", trusted->not_before, error);
    }
    return bounded && time > trusted->not_after
               ? refuse_period(chosen, "no longer believed since", trusted->not_after, error)
               : HM_OK;
}

static hm_status describe_key(const hm_pubkey *key, const hm_envelope *envelope,
                              hm_signer_identity *who, hm_error **error) {
    who->algorithm = hm_strdup(key->algorithm);
    who->scheme_text = hm_scheme_text(key, envelope->scheme);
    memcpy(who->fingerprint, key->fingerprint, sizeof who->fingerprint);
    return who->algorithm != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status name_signer(const hm_trusted_signer *signer, hm_signer_identity *who,
                             hm_error **error) {
    who->name = signer->name != NULL ? hm_strdup(signer->name) : NULL;
    return signer->name == NULL || who->name != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status judge_key(const hm_policy *policy, const bool *allowed,
                           const hm_envelope *envelope, hm_signer_identity *who, hm_error **error) {
    HM_CLEANUP(candidates_free) candidates from = {.list = NULL};
    const candidate *chosen = NULL;
    /* Two signers may have one key for different periods: the one for now goes first. */
    hm_status status = gather(policy, allowed, who->judged_at, true, &from, error);
    if (status == HM_OK) {
        status = gather(policy, allowed, who->judged_at, false, &from, error);
    }
    if (status == HM_OK) {
        status = find_key(policy, &from, envelope, who, &chosen, error);
    }
    who->genuine = status == HM_OK;
    if (status == HM_OK) {
        status = check_period(chosen, who->judged_at, error);
    }
    if (status == HM_OK) {
        status = describe_key(chosen->trusted->key, envelope, who, error);
    }
    if (status == HM_OK) {
        who->key_version = chosen->trusted->version;
        status = name_signer(chosen->signer, who, error);
    }
    return status;
}

/* ---- certificates --------------------------------------------------------------------------- */

static bool has_roots(const hm_trusted_signer *signer) {
    return signer->roots != NULL && sk_X509_num(signer->roots) > 0;
}

static hm_status judge_chain_of(const hm_trusted_signer *signer, uint64_t allow,
                                const hm_envelope *envelope, hm_signer_identity *who,
                                hm_error **error) {
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *key = NULL;
    hm_status status = hm_chain_judge(signer, allow, envelope->certificates, who, &key, error);
    if (status == HM_OK) {
        status = verify_parts(key, envelope, error);
    }
    who->genuine = status == HM_OK;
    if (status == HM_OK) {
        status = describe_key(key, envelope, who, error);
    }
    return status == HM_OK ? name_signer(signer, who, error) : status;
}

/* Each signer's roots and identities belong together: what one root vouches for, no other does. */
static hm_status judge_chain(const hm_policy *policy, const bool *allowed,
                             const hm_envelope *envelope, hm_signer_identity *who,
                             hm_error **error) {
    hm_auto_error cause = NULL;
    for (size_t i = 0; i < policy->signer_count; i++) {
        const hm_trusted_signer *signer = &policy->signers[i];
        if ((allowed != NULL && !allowed[i]) || !has_roots(signer)) {
            continue;
        }
        hm_auto_error refusal = NULL;
        hm_signer_identity found = {.judged_at = who->judged_at};
        hm_status status = judge_chain_of(signer, policy->allow, envelope, &found, &refusal);
        if (status == HM_OK) {
            hm_signer_identity_free(who);
            *who = found;
            return HM_OK;
        }
        hm_signer_identity_free(&found);
        if (status != HM_REFUSED) {
            return hm_error_move(error, &refusal);
        }
        (void)hm_error_move(cause == NULL ? &cause : NULL, &refusal);
    }
    return cause != NULL ? hm_error_move(error, &cause)
                         : untrusted(policy, error,
                                     "the signature is by certificate; only bare keys are believed",
                                     "give the root that the certificate leads to with --root");
}

/* ---- any ------------------------------------------------------------------------------------ */

static hm_status refuse_revoked(const hm_revocation *revocation, bool signer, hm_error **error) {
    hm_auto_buf since = {.data = NULL};
    hm_buf_add_time(&since, revocation->since);
    hm_status status = hm_buf_check(&since, error);
    if (status != HM_OK) {
        return status;
    }
    const char *reason = revocation->reason;
    (void)hm_fail(error, HM_REFUSED, HM_REASON_REVOKED_KEY,
                  "the signature is by %s %s, which is revoked since %s%s%s",
                  signer ? "the key" : "certificate under an authority with the key",
                  revocation->fingerprint, (const char *)since.data, reason != NULL ? ": " : "",
                  reason != NULL ? reason : "");
    hm_error_add_hint(error, "fetch the model from a copy that is known to be good, and have "
                             "it signed with a current key");
    return HM_REFUSED;
}

static bool is_authority(const hm_signer_identity *who, const char *fingerprint) {
    for (size_t i = 0; i < who->authority_count; i++) {
        if (strcmp(who->authorities[i], fingerprint) == 0) {
            return true;
        }
    }
    return false;
}

/*
 * Whoever has a stolen key can date a signature as he likes. So from the moment on since which the
 * key is revoked, nothing by it is believed, however old it claims to be.
 */
static hm_status check_revocations(const hm_policy *policy, const hm_signer_identity *who,
                                   int64_t time, hm_error **error) {
    for (size_t i = 0; i < policy->revocation_count; i++) {
        const hm_revocation *revocation = &policy->revocations[i];
        bool signer = strcmp(revocation->fingerprint, who->fingerprint) == 0;
        bool yet_to_come = time >= 0 && time < revocation->since;
        if (!yet_to_come && (signer || is_authority(who, revocation->fingerprint))) {
            return refuse_revoked(revocation, signer, error);
        }
    }
    return HM_OK;
}

static hm_status judge_material(const hm_policy *policy, const bool *allowed,
                                const hm_envelope *envelope, hm_signer_identity *who,
                                hm_error **error) {
    switch (envelope->material) {
    case HM_MATERIAL_NONE:
    case HM_MATERIAL_KEY: return judge_key(policy, allowed, envelope, who, error);
    case HM_MATERIAL_CHAIN: return judge_chain(policy, allowed, envelope, who, error);
    case HM_MATERIAL_SIGSTORE: break;
    }
    (void)hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                  "the signature is by the sigstore method (keyless), which is not supported");
    hm_error_add_hint(error, "sign with a key or a certificate");
    return HM_REFUSED;
}

static hm_status warn_of_policy(const hm_policy *policy, hm_signer_identity *who,
                                hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < policy->warning_count && status == HM_OK; i++) {
        status = hm_identity_warn(who, error, "%s", policy->warnings[i]);
    }
    return status;
}

static bool believes_somebody(const hm_policy *policy) {
    for (size_t i = 0; policy != NULL && i < policy->signer_count; i++) {
        if (policy->signers[i].key_count > 0 || has_roots(&policy->signers[i])) {
            return true;
        }
    }
    return false;
}

hm_status hm_trust_judge_among(const hm_policy *policy, const bool *allowed,
                               const hm_envelope *envelope, int64_t now, hm_signer_identity *who,
                               hm_error **error) {
    *who = (hm_signer_identity){.judged_at = now};
    if (!believes_somebody(policy)) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "the policy believes nobody");
        hm_error_add_hint(error, "give a public key with --key or a root certificate with --root");
        return HM_USAGE;
    }
    int64_t time = policy->time_set ? policy->time : now;
    hm_signer_identity found = {.judged_at = time};
    hm_status verdict = check_conditions(policy, envelope, error);
    if (verdict == HM_OK) {
        verdict = judge_material(policy, allowed, envelope, &found, error);
    }
    if (verdict == HM_OK) {
        verdict = check_revocations(policy, &found, time, error);
    }
    if (verdict == HM_OK) {
        verdict = warn_of_encoding(envelope, &found, error);
    }
    if (verdict == HM_OK) {
        verdict = warn_of_policy(policy, &found, error);
    }
    if (verdict != HM_OK) {
        who->genuine = found.genuine;
        hm_signer_identity_free(&found);
        return verdict;
    }
    *who = found;
    return HM_OK;
}

hm_status hm_trust_judge(const hm_policy *policy, const hm_envelope *envelope, int64_t now,
                         hm_signer_identity *who, hm_error **error) {
    return hm_trust_judge_among(policy, NULL, envelope, now, who, error);
}
