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
    CLI_BELIEF_OPTIONS(arguments),
    CLI_STORE_OPTIONS(arguments),
    CLI_WORK_OPTIONS(arguments),
    {0},
};

static int roll_back(const arguments *given, const char *name, cli_gated *gated) {
    hm_error *error = NULL;
    hm_report *report = NULL;
    cli_progress progress;
    hm_gate_options how = HM_GATE_OPTIONS_INIT;
    how.version = given->to;
    how.jobs = (unsigned)given->work.jobs.value;
    how.progress = cli_progress_show;
    how.progress_context = &progress;
    cli_progress_start(&progress, given->work.no_progress);
    hm_status status = hm_rollback(gated->store, name, gated->policy, &how, &report, &error);
    cli_progress_end(&progress);
    return cli_finish("rollback", name, status, &report, &error, &given->work);
}

static int act(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const arguments *given = arguments_given;
    cli_gated gated;
    if (operands->count != 1) {
        return cli_usage(command, "name one model of the store");
    }
    int code = cli_check(command, NULL, &given->work);
    if (code != HM_OK) {
        return code;
    }
    const cli_gate_call call = {
        .command = command,
        .operation = "rollback",
        .name = operands->list[0],
        .policy = given->policy,
        .keys = &given->keys,
        .store = &given->store,
        .record = &given->record,
        .work = &given->work,
    };
    code = cli_gate_begin(&call, &gated);
    code = code == HM_OK ? roll_back(given, operands->list[0], &gated) : code;
    cli_gate_close(&gated);
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
