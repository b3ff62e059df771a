/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

typedef struct arguments {
    const char *to;
    const char *policy;
    cli_texts keys;
    cli_store store;
    cli_record record;
    cli_work work;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, to, CLI_TEXT, "to", "VERSION",
               "Which version: its model digest, or enough of its first digits. Default: the one "
               "that was current last before this one, and was not left for being bad."),
    CLI_POLICY_OPTION(arguments),
    CLI_OPTION(arguments, keys, CLI_TEXTS, "key", "PUB",
               "A public key to believe (PEM), or a key URI, in place of a policy file. May be "
               "given again: any of them will do."),
    CLI_STORE_OPTIONS(arguments),
    CLI_WORK_OPTIONS(arguments),
    {0},
};

static int act(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const arguments *given = arguments_given;
    hm_error *error = NULL;
    hm_report *report = NULL;
    hm_config *config = NULL;
    hm_store *store = NULL;
    hm_policy *policy = NULL;
    cli_progress progress;
    hm_gate_options how = HM_GATE_OPTIONS_INIT;
    if (operands->count != 1) {
        return cli_usage(command, "name one model of the store");
    }
    if (given->policy != NULL && given->keys.count > 0) {
        return cli_usage(command, "--policy says whom to believe: no --key");
    }
    int code = cli_check(command, NULL, &given->work);
    if (code != HM_OK) {
        return code;
    }
    hm_status status = cli_configure(&given->store, &given->record, given->policy, &config, &error);
    if (status == HM_OK && cli_check_policy(command, config, &given->keys) != HM_OK) {
        hm_config_free(&config);
        return HM_USAGE;
    }
    if (status == HM_OK) {
        status = cli_load_policy(config, &given->keys, &policy, &error);
    }
    if (status == HM_OK) {
        status = hm_store_open(config, 0, &store, &error);
    }
    cli_progress_start(&progress, given->work.no_progress);
    if (status == HM_OK) {
        how.version = given->to;
        how.jobs = (unsigned)given->work.jobs.value;
        how.progress = cli_progress_show;
        how.progress_context = &progress;
        status = hm_rollback(store, operands->list[0], policy, &how, &report, &error);
    }
    cli_progress_end(&progress);
    hm_policy_free(&policy);
    code = cli_finish("rollback", operands->list[0], status, &report, &error, &given->work);
    hm_store_close(&store); /* which may take a while: alerts are delivered */
    hm_config_free(&config);
    return code;
}

const cli_command cli_rollback = {
    .name = "rollback",
    .summary = "Make an older version of a deployed model current again.",
    .operands = "NAME",
    .details = "The version is verified again, as the policy wants it now, before it is switched\n"
               "to; one that does not verify any more is refused, and 'current' stays.\n",
    .options = options,
    .arguments_size = sizeof(arguments),
    .act = act,
};
