/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    const char *key;
    cli_passphrase passphrase;
    const char *cert;
    cli_texts chain;
    const char *format;
    const char *signature;
    const char *shards_signature;
    const char *hash;
    cli_layout layout;
    cli_texts ignore;
    bool include_git;
    bool follow_symlinks;
    bool name_dot;
    const char *signer_id;
    cli_number key_version;
    const char *metadata;
    cli_texts parts;
    const char *reuse;
    const char *provenance;
    cli_record record;
    cli_work work;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, key, CLI_TEXT, "key", "KEY",
               "The private key: a PEM file, a keyring, whose current version signs, or a key URI "
               "(pkcs11:, awskms:, azurekms:). Required."),
    CLI_OPTION(arguments, passphrase.file, CLI_TEXT, "passphrase-file", "FILE",
               "Take the key's passphrase, or the token's PIN, from the first line of FILE, "
               "instead of asking for it."),
    CLI_OPTION(arguments, passphrase.fd, CLI_NUMBER, "passphrase-fd", "N",
               "The same, from the open descriptor N."),
    CLI_OPTION(arguments, cert, CLI_TEXT, "cert", "FILE",
               "The key's certificate (PEM, or pkcs11:...): verifiers then trust a root instead of "
               "the key. oms only."),
    CLI_OPTION(arguments, chain, CLI_TEXTS, "chain", "FILE",
               "Certificates that lead from --cert towards a root. May be given again."),
    CLI_OPTION(arguments, format, CLI_TEXT, "format", "FORMAT",
               "oms (OpenSSF Model Signing, the default), sig-json or manifest-json."),
    CLI_OPTION(arguments, signature, CLI_TEXT, "signature", "FILE",
               "Where to write. Default: MODEL/model.sig for a directory, MODEL.sig for a file; "
               "with manifest-json the file's name with its last suffix replaced by "
               ".manifest.json."),
    CLI_OPTION(arguments, hash, CLI_TEXT, "hash", "HASH",
               "sha256 (the default), blake2b or blake3. oms only."),
    CLI_LAYOUT_OPTIONS(arguments, " oms only."),
    CLI_OPTION(arguments, shards_signature, CLI_TEXT, "shards-signature", "FILE",
               "With both --files and --shards or --shard-size: where to write the signature of "
               "the shards. Default: MODEL/model.shards.sig for a directory, MODEL.shards.sig for "
               "a file."),
    CLI_OPTION(arguments, ignore, CLI_TEXTS, "ignore", "PATH",
               "Leave out a file or directory, named relative to the model. May be given again. "
               "oms only."),
    CLI_OPTION(arguments, include_git, CLI_FLAG, "include-git", NULL,
               "Sign .git, .gitignore, .gitattributes and .github too. oms only."),
    CLI_OPTION(arguments, follow_symlinks, CLI_FLAG, "follow-symlinks", NULL,
               "Sign what symbolic links to files inside the model lead to. oms only."),
    CLI_OPTION(arguments, name_dot, CLI_FLAG, "name-dot", NULL,
               "Sign a single file under the name '.', as the model_signing tool needs it; its "
               "own name is then not signed. oms only."),
    CLI_OPTION(arguments, signer_id, CLI_TEXT, "signer-id", "ID",
               "Who claims to sign; sig-json, manifest-json, and the builder of the provenance "
               "statement."),
    CLI_OPTION(arguments, key_version, CLI_NUMBER, "key-version", "N",
               "Record the version of the key; manifest-json only."),
    CLI_OPTION(arguments, metadata, CLI_TEXT, "metadata", "FILE.json",
               "The training metadata. sig-json signs and needs it; with oms a provenance "
               "statement is made of it, signed by the same key, in a file of its own."),
    CLI_OPTION(arguments, provenance, CLI_TEXT, "provenance", "FILE",
               "Where the provenance statement goes. Default: beside the signature, "
               "model.provenance.sigstore.json for model.sig. oms only."),
    CLI_OPTION(arguments, parts, CLI_WORDS, "parts", "FILE...",
               "Take all digests from the parts that 'hallmark digest --part' wrote: every word up "
               "to the next option. oms only."),
    CLI_OPTION(arguments, reuse, CLI_TEXT, "reuse", "SIGNATURE",
               "Take over the digests of an older signature by the same key, for files that are "
               "provably unchanged since. oms only."),
    CLI_RECORD_OPTIONS(arguments),
    CLI_WORK_OPTIONS(arguments),
    {0},
};

static int check(const cli_command *command, const arguments *given, const cli_texts *models) {
    if (models->count == 0) {
        return cli_usage(command, given->parts.count > 0
                                      ? "name the model before --parts FILE..., or behind --"
                                      : "name a model: a file or a directory");
    }
    if (given->key == NULL) {
        return cli_usage(command, "--key is missing; 'hallmark key generate' makes one");
    }
    if (given->key_version.given && given->key_version.value == 0) {
        return cli_usage(command, "--key-version must be at least 1");
    }
    if (given->chain.count > 0 && given->cert == NULL) {
        return cli_usage(command, "--chain needs --cert");
    }
    return cli_check(command, &given->layout, &given->work);
}

static hm_status open_signer(arguments *given, hm_signer **signer, hm_error **error) {
    hm_signer_options how = HM_SIGNER_OPTIONS_INIT;
    how.passphrase = cli_ask_passphrase;
    how.passphrase_context = &given->passphrase;
    hm_process_harden();
    hm_status status = hm_signer_open(given->key, &how, signer, error);
    if (status == HM_OK && given->cert != NULL) {
        status = hm_signer_set_certificates(*signer, given->cert, given->chain.list,
                                            given->chain.count, error);
    }
    return status;
}

static bool wants_both(const arguments *given) {
    return given->layout.files && cli_shard_size(&given->layout) != 0;
}

static void fill(const arguments *given, cli_progress *progress, hm_sign_options *how) {
    how->flags = (given->include_git ? HM_SIGN_INCLUDE_GIT : 0) |
                 (given->follow_symlinks ? HM_SIGN_FOLLOW_SYMLINKS : 0) |
                 (given->name_dot ? HM_SIGN_NAME_DOT : 0) |
                 (wants_both(given)     ? HM_SIGN_FILES_AND_SHARDS
                  : given->layout.files ? HM_SIGN_FILES
                                        : 0);
    how->parts = given->parts.list;
    how->parts_count = given->parts.count;
    how->reuse = given->reuse;
    how->signature = given->signature;
    how->format = given->format;
    how->hash = given->hash;
    how->shard_size = cli_shard_size(&given->layout);
    how->ignore = given->ignore.list;
    how->ignore_count = given->ignore.count;
    how->signer_id = given->signer_id;
    how->key_version = given->key_version.value;
    how->metadata_file = given->metadata;
    how->provenance = given->provenance;
    how->jobs = (unsigned)given->work.jobs.value;
    how->progress = cli_progress_show;
    how->progress_context = progress;
    how->shards_signature = given->shards_signature;
}

static hm_status open_models(const cli_texts *paths, hm_model **models, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < paths->count && status == HM_OK; i++) {
        status = hm_model_open(paths->list[i], &models[i], error);
    }
    return status;
}

static hm_status sign(arguments *given, const cli_texts *operands, hm_model **models,
                      hm_report **report, hm_error **error) {
    hm_signer *signer = NULL;
    cli_progress progress;
    hm_sign_options how = HM_SIGN_OPTIONS_INIT;
    hm_status status = open_models(operands, models, error);
    if (status == HM_OK) {
        status = open_signer(given, &signer, error);
    }
    cli_progress_start(&progress, given->work.no_progress);
    if (status == HM_OK) {
        fill(given, &progress, &how);
        status = hm_sign(models, operands->count, signer, &how, report, error);
    }
    cli_progress_end(&progress);
    hm_signer_close(&signer);
    return status;
}

static int act(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    arguments *given = arguments_given;
    hm_error *error = NULL;
    hm_report *report = NULL;
    int code = check(command, given, operands);
    if (code != HM_OK) {
        return code;
    }
    cli_recording recording;
    hm_model **models = calloc(operands->count, sizeof(hm_model *));
    hm_status status = cli_record_load(&given->record, &recording, &error);
    if (status == HM_OK) {
        status = cli_record_open(&recording, &error);
    }
    if (status == HM_OK && models != NULL) {
        status = sign(given, operands, models, &report, &error);
        status = cli_record_report(&recording, "sign", operands->list[0], status, &report, &error);
        for (size_t i = 0; i < operands->count; i++) {
            hm_model_close(&models[i]);
        }
    }
    status = models == NULL ? HM_UNDECIDED : status;
    free(models);
    code = cli_finish("sign", operands->list[0], status, &report, &error, &given->work);
    cli_record_close(&recording);
    return code;
}

const cli_command cli_sign = {
    .name = "sign",
    .summary = "Sign models, so that any later change can be seen.",
    .operands = "MODEL...",
    .details =
        "MODEL is a file or a directory. Several files make one bundle manifest (manifest-json).\n"
        "--files together with --shards or --shard-size reads the model once and writes two\n"
        "signatures, one of whole files and one of shards; 'hallmark verify' prefers the latter.\n",
    .options = options,
    .arguments_size = sizeof(arguments),
    .act = act,
};
