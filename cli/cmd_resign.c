/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdio.h>

typedef struct arguments {
    const char *key;
    cli_passphrase passphrase;
    const char *policy;
    cli_record record;
    cli_work work;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, key, CLI_TEXT, "key", "KEY",
               "The new private key: a PEM file, a keyring, whose current version signs, or a key "
               "URI (pkcs11:, awskms:, azurekms:). Required."),
    CLI_OPTION(arguments, passphrase.file, CLI_TEXT, "passphrase-file", "FILE",
               "Take the key's passphrase, or the token's PIN, from the first line of FILE, "
               "instead of asking for it."),
    CLI_OPTION(arguments, passphrase.fd, CLI_NUMBER, "passphrase-fd", "N",
               "The same, from the open descriptor N."),
    CLI_OPTION(arguments, policy, CLI_TEXT, "policy", "FILE",
               "The policy that the models are verified by first. Default: the file that "
               "HALLMARK_POLICY names, or " HM_POLICY_FILE "."),
    CLI_RECORD_OPTIONS(arguments),
    CLI_WORK_OPTIONS(arguments),
    {0},
};

/* One model, whatever became of those before it. */
static int resign_one(const arguments *given, const char *path, const hm_policy *policy,
                      hm_signer *signer, cli_recording *recording) {
    hm_error *error = NULL;
    hm_report *report = NULL;
    hm_model *model = NULL;
    cli_progress progress;
    hm_resign_options how = HM_RESIGN_OPTIONS_INIT;
    how.jobs = (unsigned)given->work.jobs.value;
    how.progress = cli_progress_show;
    how.progress_context = &progress;
    hm_status status = hm_model_open(path, &model, &error);
    cli_progress_start(&progress, given->work.no_progress);
    if (status == HM_OK) {
        status = hm_resign(model, policy, signer, &how, &report, &error);
    }
    cli_progress_end(&progress);
    hm_model_close(&model);
    status = cli_record_report(recording, "resign", path, status, &report, &error);
    return cli_finish("resign", path, status, &report, &error, &given->work);
}

/* The gravest outcome is the highest number. JSON is one array, however many models there are. */
static int resign_all(const arguments *given, const cli_texts *models, const hm_policy *policy,
                      hm_signer *signer, cli_recording *recording) {
    int code = HM_OK;
    for (size_t i = 0; i < models->count; i++) {
        if (given->work.json) {
            puts(i == 0 ? "[" : ",");
        }
        int one = resign_one(given, models->list[i], policy, signer, recording);
        code = one > code ? one : code;
        (void)fflush(stdout); /* a run that is interrupted has told of what it did */
    }
    if (given->work.json) {
        puts("]");
    }
    return code;
}

static hm_status prepare(arguments *given, const char *file, hm_policy **policy, hm_signer **signer,
                         hm_error **error) {
    hm_signer_options how = HM_SIGNER_OPTIONS_INIT;
    how.passphrase = cli_ask_passphrase;
    how.passphrase_context = &given->passphrase;
    hm_process_harden();
    hm_status status = hm_policy_load(file, policy, error);
    return status == HM_OK ? hm_signer_open(given->key, &how, signer, error) : status;
}

static int check(const cli_command *command, const arguments *given, const char *file,
                 const cli_texts *operands) {
    if (operands->count == 0) {
        return cli_usage(command, "name the models: files or directories");
    }
    if (given->key == NULL) {
        return cli_usage(command, "--key is missing: the new key, which is to sign");
    }
    if (file == NULL) {
        return cli_usage(command, "--policy is missing: whom the models are believed of so far");
    }
    return cli_check(command, NULL, &given->work);
}

static int resign(arguments *given, const char *file, const cli_texts *models,
                  cli_recording *recording) {
    hm_error *error = NULL;
    hm_policy *policy = NULL;
    hm_signer *signer = NULL;
    hm_status status = cli_record_open(recording, &error);
    if (status == HM_OK) {
        status = prepare(given, file, &policy, &signer, &error);
    }
    int code = status == HM_OK ? resign_all(given, models, policy, signer, recording)
                               : cli_fail(status, &error);
    hm_signer_close(&signer);
    hm_policy_free(&policy);
    return code;
}

static int act(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    arguments *given = arguments_given;
    cli_recording recording;
    hm_error *error = NULL;
    hm_status status = cli_record_load(&given->record, &recording, &error);
    if (status != HM_OK) {
        cli_record_close(&recording);
        return cli_fail(status, &error);
    }
    const char *file = cli_policy_file(given->policy, recording.config);
    int code = check(command, given, file, operands);
    if (code == HM_OK) {
        code = resign(given, file, operands, &recording);
    }
    cli_record_close(&recording);
    return code;
}

const cli_command cli_resign = {
    .name = "resign",
    .summary = "Verify models, and sign those that are good with another key.",
    .operands = "MODEL... --policy FILE --key KEY",
    .details =
        "What a policy believes so far is verified, and just that is signed: nothing is digested\n"
        "again. Models that are not good are told of and left alone; the others go on. What is\n"
        "signed by the new key already stays as it is, so it can be run again after an\n"
        "interruption. Exit status: the gravest of all models. With --json: an array of reports.\n",
    .options = options,
    .arguments_size = sizeof(arguments),
    .act = act,
};
