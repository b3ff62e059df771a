/* SPDX-License-Identifier: Apache-2.0 */
/* Policies: whom to believe, and on what conditions. */
#include "trust/trust.h"

#include <string.h>

#include <openssl/err.h>

/* ---- signers -------------------------------------------------------------------------------- */

hm_status hm_policy_add_signer(hm_policy *policy, const char *name, hm_trusted_signer **signer,
                               hm_error **error) {
    hm_auto_free char *copy = name != NULL ? hm_strdup(name) : NULL;
    if ((name != NULL && copy == NULL) ||
        !hm_grow(&policy->signers, policy->signer_count, &policy->signer_capacity,
                 sizeof(hm_trusted_signer))) {
        return hm_fail_memory(error);
    }
    *signer = &policy->signers[policy->signer_count++];
    **signer = (hm_trusted_signer){.name = copy};
    copy = NULL;
    return HM_OK;
}

static void free_signer(hm_trusted_signer *signer) {
    for (size_t i = 0; i < signer->key_count; i++) {
        hm_pubkey_free(&signer->keys[i].key);
    }
    for (size_t i = 0; i < signer->identity_count; i++) {
        hm_auto_free_(&signer->identities[i].value);
    }
    hm_auto_free_(&signer->name);
    hm_auto_free_(&signer->keys);
    hm_auto_free_(&signer->identities);
    hm_x509_stack_free(&signer->roots);
}

static bool has_key(const hm_trusted_signer *signer, const hm_pubkey *key) {
    for (size_t i = 0; i < signer->key_count; i++) {
        if (strcmp(signer->keys[i].key->fingerprint, key->fingerprint) == 0) {
            return true;
        }
    }
    return false;
}

hm_status hm_trusted_signer_add_key(hm_trusted_signer *signer, hm_pubkey **key,
                                    const hm_trusted_key *period, hm_error **error) {
    if (has_key(signer, *key)) {
        hm_pubkey_free(key);
        return HM_OK;
    }
    if (!hm_grow(&signer->keys, signer->key_count, &signer->key_capacity, sizeof(hm_trusted_key))) {
        return hm_fail_memory(error);
    }
    hm_trusted_key *added = &signer->keys[signer->key_count++];
    *added = *period;
    added->key = *key;
    *key = NULL;
    return HM_OK;
}

hm_status hm_trusted_signer_add_root(hm_trusted_signer *signer, const char *path,
                                     hm_error **error) {
    hm_auto_x509_stack list = NULL;
    hm_status status = hm_certificates_load(path, &list, error);
    if (status != HM_OK) {
        return status;
    }
    if (signer->roots == NULL) {
        signer->roots = sk_X509_new_null();
    }
    /* All of the file or nothing: room is made before the first one moves. */
    if (signer->roots == NULL || sk_X509_reserve(signer->roots, sk_X509_num(list)) != 1) {
        ERR_clear_error();
        return hm_fail_memory(error);
    }
    while (sk_X509_num(list) > 0) {
        (void)sk_X509_push(signer->roots, sk_X509_shift(list));
    }
    return HM_OK;
}

hm_status hm_policy_revoke(hm_policy *policy, const char *fingerprint, int64_t since,
                           const char *reason, hm_error **error) {
    hm_auto_free char *copy = reason != NULL ? hm_strdup(reason) : NULL;
    hm_revocation made = {.since = since};
    if (strlen(fingerprint) != sizeof made.fingerprint - 1) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "\"%s\" is not the fingerprint of a public key", fingerprint);
    }
    if ((reason != NULL && copy == NULL) ||
        !hm_grow(&policy->revocations, policy->revocation_count, &policy->revocation_capacity,
                 sizeof(hm_revocation))) {
        return hm_fail_memory(error);
    }
    memcpy(made.fingerprint, fingerprint, sizeof made.fingerprint);
    made.reason = copy;
    copy = NULL;
    policy->revocations[policy->revocation_count++] = made;
    return HM_OK;
}

/* ---- policies ------------------------------------------------------------------------------- */

hm_status hm_policy_new(hm_policy **policy, hm_error **error) {
    if (policy == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "hm_policy_new: an argument is missing");
    }
    HM_CLEANUP(hm_policy_free) hm_policy *made = hm_alloc(1, sizeof *made);
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    hm_trusted_signer *unnamed;
    hm_status status = hm_policy_add_signer(made, NULL, &unnamed, error);
    if (status == HM_OK) {
        *policy = made;
        made = NULL;
    }
    return status;
}

void hm_policy_free(hm_policy **policy) {
    if (policy == NULL || *policy == NULL) {
        return;
    }
    hm_policy *ended = *policy;
    for (size_t i = 0; i < ended->signer_count; i++) {
        free_signer(&ended->signers[i]);
    }
    for (size_t i = 0; i < ended->revocation_count; i++) {
        hm_auto_free_(&ended->revocations[i].reason);
    }
    for (size_t i = 0; i < ended->rule_count; i++) {
        hm_rule_free(&ended->rules[i]);
    }
    hm_provenance_demand_free(&ended->provenance);
    hm_text_list_free(&ended->warnings, ended->warning_count);
    hm_auto_free_(&ended->signers);
    hm_auto_free_(&ended->revocations);
    hm_auto_free_(&ended->rules);
    hm_auto_free_(&ended->path);
    hm_auto_free_(policy);
    *policy = NULL;
}

static hm_status check_call(const hm_policy *policy, const void *value, const char *function,
                            hm_error **error) {
    if (policy == NULL || value == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s: an argument is missing", function);
    }
    return HM_OK;
}

/* What a file says is all that holds: its rules would not know of anything added to it. */
static hm_status check_addition(const hm_policy *policy, const void *value, const char *function,
                                hm_error **error) {
    hm_status status = check_call(policy, value, function, error);
    if (status == HM_OK && policy->path != NULL) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "%s: nothing can be added to the policy of a file", function);
    }
    return status;
}

hm_status hm_policy_add_key(hm_policy *policy, const char *path, hm_error **error) {
    static const hm_trusted_key always = {.not_before = HM_TIME_ALWAYS, .not_after = HM_TIME_NEVER};
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *key = NULL;
    hm_status status = check_addition(policy, path, "hm_policy_add_key", error);
    if (status == HM_OK) {
        status = hm_pubkey_load(path, &key, error);
    }
    return status == HM_OK ? hm_trusted_signer_add_key(&policy->signers[0], &key, &always, error)
                           : status;
}

hm_status hm_policy_add_root(hm_policy *policy, const char *path, hm_error **error) {
    hm_status status = check_addition(policy, path, "hm_policy_add_root", error);
    return status == HM_OK ? hm_trusted_signer_add_root(&policy->signers[0], path, error) : status;
}

/* ---- identities ----------------------------------------------------------------------------- */

/* "AB:CD:..." or "abcd..." to the spelling that is compared; NULL when it is neither. */
static char *normal_fingerprint(const char *value) {
    hm_auto_buf hex = {.data = NULL};
    uint8_t digest[HM_FINGERPRINT_SIZE];
    for (const char *c = value; *c != '\0'; c++) {
        if (*c != ':') {
            hm_buf_add_byte(&hex, (uint8_t)(*c >= 'A' && *c <= 'F' ? *c - 'A' + 'a' : *c));
        }
    }
    return hm_unhex(hm_buf_view(&hex), digest, sizeof digest) ? hm_buf_steal_text(&hex) : NULL;
}

static hm_status normalise(hm_identity_kind kind, const char *value, char **normal,
                           hm_error **error) {
    switch (kind) {
    case HM_IDENTITY_SUBJECT:
    case HM_IDENTITY_SAN:
    case HM_IDENTITY_ORGANISATION:
        *normal = hm_strdup(value);
        return *normal != NULL ? HM_OK : hm_fail_memory(error);
    case HM_IDENTITY_FINGERPRINT:
        *normal = normal_fingerprint(value);
        return *normal != NULL ? HM_OK
                               : hm_fail(error, HM_USAGE, HM_REASON_NONE,
                                         "\"%s\" is not a SHA-256 fingerprint in hex", value);
    }
    return hm_fail(error, HM_USAGE, HM_REASON_NONE, "identities of kind %d are not known",
                   (int)kind);
}

hm_status hm_trusted_signer_require_identity(hm_trusted_signer *signer, hm_identity_kind kind,
                                             const char *value, hm_error **error) {
    hm_auto_free char *normal = NULL;
    hm_status status = HM_OK;
    if (value[0] == '\0') {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "an identity cannot be empty");
    }
    if (status == HM_OK) {
        status = normalise(kind, value, &normal, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (!hm_grow(&signer->identities, signer->identity_count, &signer->identity_capacity,
                 sizeof *signer->identities)) {
        return hm_fail_memory(error);
    }
    signer->identities[signer->identity_count++] =
        (struct hm_identity){.kind = kind, .value = normal};
    normal = NULL;
    return HM_OK;
}

hm_status hm_policy_require_identity(hm_policy *policy, hm_identity_kind kind, const char *value,
                                     hm_error **error) {
    hm_status status = check_addition(policy, value, "hm_policy_require_identity", error);
    return status == HM_OK
               ? hm_trusted_signer_require_identity(&policy->signers[0], kind, value, error)
               : status;
}

/* ---- conditions ----------------------------------------------------------------------------- */

hm_status hm_policy_require_format(hm_policy *policy, const char *format, hm_error **error) {
    hm_status status = check_call(policy, format, "hm_policy_require_format", error);
    if (status != HM_OK) {
        return status;
    }
    const hm_format *found = hm_format_find(format);
    if (found == NULL) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "\"%s\" is not a signature format", format);
        hm_auto_free char *names = hm_format_names();
        hm_error_add_hint(error, "formats are %s", names != NULL ? names : "");
        return HM_USAGE;
    }
    policy->format = found;
    return HM_OK;
}

hm_status hm_policy_allow(hm_policy *policy, uint64_t flags, hm_error **error) {
    if (policy == NULL || (flags & ~HM_ALLOW_ALL_FLAGS) != 0) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "hm_policy_allow: %s",
                       policy == NULL ? "an argument is missing" : "a flag has no meaning here");
    }
    hm_status status = check_addition(policy, policy, "hm_policy_allow", error);
    if (status == HM_OK) {
        policy->allow = flags;
    }
    return status;
}

hm_status hm_policy_set_time(hm_policy *policy, int64_t time, hm_error **error) {
    if (policy == NULL || time < 0) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "hm_policy_set_time: %s",
                       policy == NULL ? "an argument is missing" : "the time lies before 1970");
    }
    policy->time = time;
    policy->time_set = true;
    return HM_OK;
}
