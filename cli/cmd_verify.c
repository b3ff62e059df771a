/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdio.h>

typedef struct arguments {
    cli_texts signatures;
    const char *policy;
    cli_texts keys;
    cli_texts roots;
    const char *keyring;
    const char *keyring_key;
    const char *keyring_signer;
    cli_number keyring_min_version;
    cli_texts subjects;
    cli_texts names;
    cli_texts fingerprints;
    const char *format;
    const char *name;
    const char *provenance;
    bool require_provenance;
    cli_texts datasets;
    cli_texts builders;
    cli_texts ignore;
    bool ignore_unsigned;
    bool strict_paths;
    bool fail_fast;
    bool allow_symlinks;
    bool allow_v020;
    bool allow_expired;
    bool allow_missing_eku;
    bool include_git;
    cli_record record;
    cli_work work;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, keys, CLI_TEXTS, "key", "PUB",
               "A public key to believe (PEM), or a key URI. May be given again: any of them "
               "will do."),
    CLI_OPTION(arguments, roots, CLI_TEXTS, "root", "CERT",
               "A root certificate to believe (PEM, or pkcs11:...). May be given again."),
    CLI_OPTION(arguments, keyring, CLI_TEXT, "keyring", "FILE",
               "Believe the keys of a keyring, as 'hallmark key export' wrote it. Needs "
               "--keyring-key."),
    CLI_OPTION(arguments, keyring_key, CLI_TEXT, "keyring-key", "PUB",
               "The public key that the export must be signed by."),
    CLI_OPTION(arguments, keyring_signer, CLI_TEXT, "keyring-signer", "NAME",
               "Whose keyring it must be, when that key signs several."),
    CLI_OPTION(arguments, keyring_min_version, CLI_NUMBER, "keyring-min-version", "N",
               "Refuse exports before number N, also where nothing can be remembered."),
    CLI_OPTION(arguments, subjects, CLI_TEXTS, "identity-subject", "NAME",
               "Demand this subject of the signer's certificate, such as 'CN=ci,O=Acme'. May be "
               "given again: any of them will do."),
    CLI_OPTION(arguments, names, CLI_TEXTS, "identity-san", "NAME",
               "Demand this subject alternative name (e-mail, DNS name or URI) of it."),
    CLI_OPTION(arguments, fingerprints, CLI_TEXTS, "identity-fingerprint", "HEX",
               "Demand this SHA-256 fingerprint of it."),
    CLI_OPTION(arguments, policy, CLI_TEXT, "policy", "FILE",
               "A policy file: whom to believe about which models. Default, without --key and "
               "--root: the file that HALLMARK_POLICY names, or " HM_POLICY_FILE "."),
    CLI_OPTION(arguments, signatures, CLI_TEXTS, "signature", "FILE",
               "The signature. Default: where 'hallmark sign' puts it, or where the policy says. "
               "May be given again with a policy that demands several."),
    CLI_OPTION(arguments, format, CLI_TEXT, "format", "FORMAT",
               "Accept this format only: oms, sig-json or manifest-json."),
    CLI_OPTION(arguments, name, CLI_TEXT, "name", "NAME",
               "The name under which a single file was signed, when it has another now; with a "
               "policy, the name by which a rule is chosen."),
    CLI_OPTION(arguments, provenance, CLI_TEXT, "provenance", "FILE",
               "The provenance statement, which must then be there and be good. Default: beside "
               "the "
               "signature, if it is there."),
    CLI_OPTION(arguments, require_provenance, CLI_FLAG, "require-provenance", NULL,
               "Demand a provenance statement by whoever signed the model."),
    CLI_OPTION(arguments, datasets, CLI_TEXTS, "provenance-dataset", "DIGEST",
               "Demand that it names this dataset: sha256:HEX. May be given again: all are "
               "demanded."),
    CLI_OPTION(arguments, builders, CLI_TEXTS, "provenance-builder", "ID",
               "Demand that it is of this builder. May be given again: any of them will do."),
    CLI_OPTION(arguments, ignore, CLI_TEXTS, "ignore", "PATH",
               "Do not look at a file or directory, named relative to the model, that the "
               "signature does not list. May be given again."),
    CLI_OPTION(arguments, include_git, CLI_FLAG, "include-git", NULL,
               "Do not pass over .git, .gitignore, .gitattributes and .github by default. What the "
               "signature lists as ignored needs --strict-paths as well."),
    CLI_OPTION(arguments, ignore_unsigned, CLI_FLAG, "ignore-unsigned", NULL,
               "Tell of files that are not signed, but do not refuse the model for them."),
    CLI_OPTION(arguments, strict_paths, CLI_FLAG, "strict-paths", NULL,
               "Ignore nothing but the format's own defaults, the signature and its provenance, "
               "whatever "
               "the signature says."),
    CLI_OPTION(arguments, fail_fast, CLI_FLAG, "fail-fast", NULL,
               "Stop at the first difference instead of finding them all."),
    CLI_OPTION(arguments, allow_symlinks, CLI_FLAG, "allow-symlinks", NULL,
               "Accept signatures made through symbolic links to files inside the model."),
    CLI_OPTION(arguments, allow_v020, CLI_FLAG, "allow-v0.2.0", NULL,
               "Accept signatures by model_signing 0.2.0, with its faulty encoding."),
    CLI_OPTION(arguments, allow_expired, CLI_FLAG, "allow-expired-certificates", NULL,
               "Judge certificates at the start of the signer's own validity, not now. This gives "
               "up expiry: a key that leaked long ago stays good for ever."),
    CLI_OPTION(arguments, allow_missing_eku, CLI_FLAG, "allow-missing-eku", NULL,
               "Accept a certificate for digital signatures that does not say 'code signing'."),
    CLI_RECORD_OPTIONS(arguments),
    CLI_WORK_OPTIONS(arguments),
    {0},
};

/* What a policy file says in place of the command line. */
static bool says_whom(const arguments *given) {
    return given->keys.count > 0 || given->roots.count > 0 || given->subjects.count > 0 ||
           given->names.count > 0 || given->fingerprints.count > 0 || given->keyring != NULL;
}

static bool allows(const arguments *given) {
    return given->allow_symlinks || given->allow_v020 || given->allow_expired ||
           given->allow_missing_eku;
}

static int check(const cli_command *command, const arguments *given, const char *policy,
                 const cli_texts *operands) {
    if (operands->count != 1) {
        return cli_usage(command, "name one model: a file or a directory");
    }
    if (given->policy != NULL && says_whom(given)) {
        return cli_usage(command, "--policy says whom to believe: no --key, --root, --keyring or "
                                  "--identity");
    }
    if (policy != NULL && allows(given)) {
        return cli_usage(command, "what is allowed stands in the policy %s, not in options",
                         policy);
    }
    if (policy == NULL && given->keys.count == 0 && given->roots.count == 0 &&
        given->keyring == NULL) {
        return cli_usage(command, "say whom to believe: --key PUB, --root CERT, --keyring FILE or "
                                  "--policy FILE");
    }
    if (policy == NULL && given->signatures.count > 1) {
        return cli_usage(command, "several signatures are for policies; name one");
    }
    if ((given->keyring != NULL) != (given->keyring_key != NULL)) {
        return cli_usage(command, "--keyring and --keyring-key go together");
    }
    if (given->keyring == NULL &&
        (given->keyring_signer != NULL || given->keyring_min_version.given)) {
        return cli_usage(command, "--keyring-signer and --keyring-min-version need --keyring");
    }
    return cli_check(command, NULL, &given->work);
}

typedef hm_status (*add_function)(hm_policy *policy, const char *path, hm_error **error);

static hm_status add_all(hm_policy *policy, const cli_texts *paths, add_function add,
                         hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < paths->count && status == HM_OK; i++) {
        status = add(policy, paths->list[i], error);
    }
    return status;
}

static hm_status demand(hm_policy *policy, hm_identity_kind kind, const cli_texts *values,
                        hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < values->count && status == HM_OK; i++) {
        status = hm_policy_require_identity(policy, kind, values->list[i], error);
    }
    return status;
}

static hm_status demand_provenance(hm_policy *policy, const arguments *given, hm_error **error) {
    hm_status status = given->require_provenance
                           ? hm_policy_require_provenance(policy, HM_PROVENANCE_ANY, NULL, error)
                           : HM_OK;
    for (size_t i = 0; i < given->datasets.count && status == HM_OK; i++) {
        status = hm_policy_require_provenance(policy, HM_PROVENANCE_DATASET,
                                              given->datasets.list[i], error);
    }
    for (size_t i = 0; i < given->builders.count && status == HM_OK; i++) {
        status = hm_policy_require_provenance(policy, HM_PROVENANCE_BUILDER,
                                              given->builders.list[i], error);
    }
    return status;
}

static hm_status add_keyring(const arguments *given, hm_policy *policy, hm_error **error) {
    hm_keyring_options how = HM_KEYRING_OPTIONS_INIT;
    how.signer = given->keyring_signer;
    how.min_version = given->keyring_min_version.value;
    return given->keyring != NULL
               ? hm_policy_add_keyring(policy, given->keyring, given->keyring_key, &how, error)
               : HM_OK;
}

static hm_status load_policy(const arguments *given, const char *path, hm_policy **policy,
                             hm_error **error) {
    hm_status status = hm_policy_load(path, policy, error);
    if (status == HM_OK && given->format != NULL) {
        status = hm_policy_require_format(*policy, given->format, error);
    }
    return status == HM_OK ? demand_provenance(*policy, given, error) : status;
}

static hm_status make_policy(const arguments *given, hm_policy **policy, hm_error **error) {
    hm_status status = hm_policy_new(policy, error);
    if (status == HM_OK) {
        status = add_all(*policy, &given->keys, hm_policy_add_key, error);
    }
    if (status == HM_OK) {
        status = add_all(*policy, &given->roots, hm_policy_add_root, error);
    }
    if (status == HM_OK) {
        status = add_keyring(given, *policy, error);
    }
    if (status == HM_OK) {
        status = demand(*policy, HM_IDENTITY_SUBJECT, &given->subjects, error);
    }
    if (status == HM_OK) {
        status = demand(*policy, HM_IDENTITY_SAN, &given->names, error);
    }
    if (status == HM_OK) {
        status = demand(*policy, HM_IDENTITY_FINGERPRINT, &given->fingerprints, error);
    }
    if (status == HM_OK && given->format != NULL) {
        status = hm_policy_require_format(*policy, given->format, error);
    }
    if (status == HM_OK) {
        status = demand_provenance(*policy, given, error);
    }
    uint64_t allow = (given->allow_symlinks ? HM_ALLOW_SYMLINKS : 0) |
                     (given->allow_v020 ? HM_ALLOW_OMS_V0_2_0 : 0) |
                     (given->allow_expired ? HM_ALLOW_EXPIRED_CERTIFICATES : 0) |
                     (given->allow_missing_eku ? HM_ALLOW_MISSING_EKU : 0);
    return status == HM_OK ? hm_policy_allow(*policy, allow, error) : status;
}

static void fill(const arguments *given, cli_progress *progress, hm_verify_options *how) {
    how->flags = (given->ignore_unsigned ? HM_VERIFY_IGNORE_UNSIGNED : 0) |
                 (given->fail_fast ? HM_VERIFY_FAIL_FAST : 0) |
                 (given->include_git ? HM_VERIFY_INCLUDE_GIT : 0) |
                 (given->strict_paths ? HM_VERIFY_STRICT_PATHS : 0);
    if (given->signatures.count == 1) {
        how->signature = given->signatures.list[0];
    } else {
        how->signatures = given->signatures.list;
        how->signature_count = given->signatures.count;
    }
    how->ignore = given->ignore.list;
    how->ignore_count = given->ignore.count;
    how->expected_name = given->name;
    how->provenance = given->provenance;
    how->jobs = (unsigned)given->work.jobs.value;
    how->progress = cli_progress_show;
    how->progress_context = progress;
}

static hm_status verify(const arguments *given, const char *policy_file, const char *path,
                        hm_report **report, hm_error **error) {
    hm_policy *policy = NULL;
    hm_model *model = NULL;
    cli_progress progress;
    hm_verify_options how = HM_VERIFY_OPTIONS_INIT;
    hm_status status = policy_file != NULL ? load_policy(given, policy_file, &policy, error)
                                           : make_policy(given, &policy, error);
    if (status == HM_OK) {
        status = hm_model_open(path, &model, error);
    }
    cli_progress_start(&progress, given->work.no_progress);
    if (status == HM_OK) {
        fill(given, &progress, &how);
        status = hm_verify(model, policy, &how, report, error);
    }
    cli_progress_end(&progress);
    hm_model_close(&model);
    hm_policy_free(&policy);
    return status;
}

/* Nothing that cannot be recorded is begun; and what was found is told when it is recorded. */
static int verify_recorded(const arguments *given, cli_recording *recording,
                           const char *policy_file, const char *path) {
    hm_error *error = NULL;
    hm_report *report = NULL;
    hm_status status = cli_record_open(recording, &error);
    if (status == HM_OK) {
        status = verify(given, policy_file, path, &report, &error);
        status = cli_record_report(recording, "verify", path, status, &report, &error);
    }
    return cli_finish("verify", path, status, &report, &error, &given->work);
}

static int act(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const arguments *given = arguments_given;
    cli_recording recording;
    hm_error *error = NULL;
    hm_status status = cli_record_load(&given->record, &recording, &error);
    if (status != HM_OK) {
        hm_report *none = NULL;
        cli_record_close(&recording);
        return operands->count == 1
                   ? cli_finish("verify", operands->list[0], status, &none, &error, &given->work)
                   : cli_fail(status, &error);
    }
    const char *policy = says_whom(given) ? NULL : cli_policy_file(given->policy, recording.config);
    int code = check(command, given, policy, operands);
    if (code == HM_OK) {
        code = verify_recorded(given, &recording, policy, operands->list[0]);
    }
    cli_record_close(&recording);
    return code;
}

const cli_command cli_verify = {
    .name = "verify",
    .summary = "Verify a model against its signature before it is used.",
    .operands = "MODEL (--key PUB | --root CERT)... | --policy FILE",
    .details =
        "Exit status: 0 only when the model is exactly what a believed signer signed, 1 when\n"
        "it is refused, 3 when that could not be found out, 4 when it has no signature and a\n"
        "policy lets just that pass. For a bundle manifest name the directory that holds the\n"
        "files, and --signature.\n",
    .options = options,
    .arguments_size = sizeof(arguments),
    .act = act,
};
