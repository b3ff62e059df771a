/* SPDX-License-Identifier: Apache-2.0 */
/* Policies that believe a keyring by its export. */
#include "trust/keyring_file.h"

#include "key/keyring.h"

#include <string.h>

static hm_status load(const char *file, const char *admin_key, hm_pubkey **admin, hm_export *found,
                      hm_error **error) {
    hm_auto_buf bytes = {.data = NULL};
    hm_status status = hm_pubkey_load(admin_key, admin, error);
    if (status == HM_OK) {
        status = hm_read_file(file, HM_KEYRING_FILE_LIMIT, &bytes, error);
    }
    return status == HM_OK ? hm_export_open(hm_buf_view(&bytes), file, *admin, found, error)
                           : status;
}

/* An admin key may vouch for several keyrings; none of them is to pass for another. */
static hm_status check_signer(const hm_export *found, const char *wanted, const char *file,
                              hm_error **error) {
    if (wanted == NULL || strcmp(found->signer, wanted) == 0) {
        return HM_OK;
    }
    return hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER,
                   "%s is the keyring of %s, not of %s", file, found->signer, wanted);
}

static hm_status check_age(const hm_export *found, int64_t now, uint64_t least, const char *file,
                           hm_error **error) {
    if (now < 0) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "the clock makes no sense, so the age of %s cannot be judged", file);
    }
    if (found->version < least) {
        return hm_fail(error, HM_REFUSED, HM_REASON_ROLLBACK,
                       "%s is export %llu, older than the %llu that is demanded", file,
                       (unsigned long long)found->version, (unsigned long long)least);
    }
    if (now <= found->expires) {
        return HM_OK;
    }
    hm_auto_buf time = {.data = NULL};
    hm_buf_add_time(&time, found->expires);
    hm_status status = hm_buf_check(&time, error);
    if (status != HM_OK) {
        return status;
    }
    (void)hm_fail(error, HM_REFUSED, HM_REASON_EXPIRED, "the keyring export %s has expired (%s)",
                  file, (const char *)time.data);
    hm_error_add_hint(error, "fetch the newest export; `hallmark key export` writes one");
    return HM_REFUSED;
}

static hm_status add_warning(hm_policy *policy, char **warning, hm_error **error) {
    if (*warning == NULL) {
        return HM_OK;
    }
    if (!hm_grow(&policy->warnings, policy->warning_count, &policy->warning_capacity,
                 sizeof(char *))) {
        return hm_fail_memory(error);
    }
    policy->warnings[policy->warning_count++] = *warning;
    *warning = NULL;
    return HM_OK;
}

/*
 * A key is believed no longer than the export that vouches for it, also by a policy that lives on
 * in a server. Revocations have no end.
 */
static hm_status believe(hm_policy *policy, hm_trusted_signer *signer, hm_export *found,
                         hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < found->revocation_count && status == HM_OK; i++) {
        const hm_revocation *revocation = &found->revocations[i];
        status = hm_policy_revoke(policy, revocation->fingerprint, revocation->since,
                                  revocation->reason, error);
    }
    for (size_t i = 0; i < found->key_count && status == HM_OK; i++) {
        hm_trusted_key *key = &found->keys[i];
        hm_trusted_key period = {.version = key->version,
                                 .not_before = key->not_before,
                                 .not_after = key->not_after};
        if (period.not_after > found->expires) {
            period.not_after = found->expires;
        }
        status = hm_trusted_signer_add_key(signer, &key->key, &period, error);
    }
    return status;
}

hm_status hm_trusted_signer_add_keyring(hm_policy *policy, hm_trusted_signer *signer,
                                        const char *file, const char *admin_key,
                                        const hm_keyring_options *options, hm_error **error) {
    static const hm_keyring_options defaults = HM_KEYRING_OPTIONS_INIT;
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *admin = NULL;
    hm_auto_export found = {.signer = NULL};
    hm_auto_free char *warning = NULL;
    options = options != NULL ? options : &defaults;
    hm_status status = hm_check_options("hm_policy_add_keyring", options->size, sizeof *options,
                                        options->flags, 0, error);
    if (status == HM_OK) {
        status = load(file, admin_key, &admin, &found, error);
    }
    if (status == HM_OK) {
        status = check_signer(&found, options->signer != NULL ? options->signer : signer->name,
                              file, error);
    }
    if (status == HM_OK) {
        status = check_age(&found, policy->time_set ? policy->time : hm_time_now(),
                           options->min_version, file, error);
    }
    if (status == HM_OK) {
        status = hm_export_check_seen(&found, admin, options->min_version > 0, &warning, error);
    }
    if (status == HM_OK) {
        status = add_warning(policy, &warning, error);
    }
    return status == HM_OK ? believe(policy, signer, &found, error) : status;
}

hm_status hm_policy_add_keyring(hm_policy *policy, const char *file, const char *admin_key,
                                const hm_keyring_options *options, hm_error **error) {
    if (policy == NULL || file == NULL || admin_key == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_policy_add_keyring: an argument is missing");
    }
    if (policy->path != NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_policy_add_keyring: nothing can be added to the policy of a file");
    }
    return hm_trusted_signer_add_keyring(policy, &policy->signers[0], file, admin_key, options,
                                         error);
}
