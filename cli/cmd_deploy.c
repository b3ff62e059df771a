/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

typedef struct arguments {
    const char *name;
    const char *policy;
    cli_texts keys;
    cli_store store;
    cli_record record;
    cli_texts signatures;
    const char *provenance;
    cli_texts ignore;
    bool dry_run;
    bool no_switch;
    bool full;
    cli_work work;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, name, CLI_TEXT, "name", "NAME",
               "The model's name in the store, by which the policy's rule is chosen too."),
    CLI_BELIEF_OPTIONS(arguments),
    CLI_STORE_OPTIONS(arguments),
    CLI_OPTION(arguments, signatures, CLI_TEXTS, "signature", "FILE",
               "The signature. Default: where 'hallmark sign' puts it, or where the policy says. "
               "May be given again with a policy that demands several."),
    CLI_OPTION(arguments, provenance, CLI_TEXT, "provenance", "FILE",
               "The provenance statement, which must then be there and be good. Default: beside "
               "the signature, if it is there."),
    CLI_OPTION(arguments, ignore, CLI_TEXTS, "ignore", "PATH",
               "Leave out a file or directory, named relative to the model, that the signature "
               "does not list: it does not get into the store. May be given again."),
    CLI_OPTION(arguments, dry_run, CLI_FLAG, "dry-run", NULL,
               "Verify, and say what would be done, but write nothing."),
    CLI_OPTION(arguments, no_switch, CLI_FLAG, "no-switch", NULL,
               "Put the version into the store, but leave 'current' as it is."),
    CLI_OPTION(arguments, full, CLI_FLAG, "full", NULL,
               "Read everything, even what is proven to be unchanged since it was deployed."),
    CLI_WORK_OPTIONS(arguments),
    {0},
};

static int check(const cli_command *command, const arguments *given, const cli_texts *operands) {
    if (operands->count != 1) {
        return cli_usage(command, "name one model: a file or a directory");
    }
    if (given->name == NULL) {
        return cli_usage(command, "say what it is called in the store: --name NAME");
    }
    return cli_check(command, NULL, &given->work);
}

static void fill(const arguments *given, cli_progress *progress, hm_deploy_options *how) {
    how->flags = (given->dry_run ? HM_DEPLOY_DRY_RUN : 0) |
                 (given->no_switch ? HM_DEPLOY_NO_SWITCH : 0) | (given->full ? HM_DEPLOY_FULL : 0);
    how->signatures = given->signatures.list;
    how->signature_count = given->signatures.count;
    how->provenance = given->provenance;
    how->ignore = given->ignore.list;
    how->ignore_count = given->ignore.count;
    how->jobs = (unsigned)given->work.jobs.value;
    how->progress = cli_progress_show;
    how->progress_context = progress;
}

static int deploy(const arguments *given, const char *source, cli_gated *gated) {
    hm_error *error = NULL;
    hm_report *report = NULL;
    cli_progress progress;
    hm_deploy_options how = HM_DEPLOY_OPTIONS_INIT;
    fill(given, &progress, &how);
    cli_progress_start(&progress, given->work.no_progress);
    hm_status status =
        hm_deploy(gated->store, gated->model, given->name, gated->policy, &how, &report, &error);
    cli_progress_end(&progress);
    return cli_finish("deploy", source, status, &report, &error, &given->work);
}

static int act(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const arguments *given = arguments_given;
    cli_gated gated;
    int code = check(command, given, operands);
    if (code != HM_OK) {
        return code;
    }
    const char *source = operands->list[0];
    const cli_gate_call call = {
        .command = command,
        .operation = "deploy",
        .name = given->name,
        .source = source,
        .policy = given->policy,
        .keys = &given->keys,
        .store = &given->store,
        .record = &given->record,
        .flags = HM_STORE_CREATE | (given->dry_run ? HM_STORE_READ : 0),
        .looks = given->dry_run,
        .work = &given->work,
    };
    code = cli_gate_begin(&call, &gated);
    code = code == HM_OK ? deploy(given, source, &gated) : code;
    cli_gate_close(&gated);
    return code;
}

const cli_command cli_deploy = {
    .name = "deploy",
    .summary = "Verify a model while it is copied into the store, and make it current.",
    .operands = "SOURCE --name NAME",
    .details =
        "Serving code opens STORE/models/NAME/current, which leads to a version that was\n"
        "verified, whatever becomes of this command. What is refused goes into quarantine.\n"
        "Exit status: 0 deployed (or, with --dry-run, it would be), 1 refused, 3 when that\n"
        "could not be found out or done, 4 deployed without a signature, which a policy lets\n"
        "pass.\n",
    .options = options,
    .arguments_size = sizeof(arguments),
    .act = act,
};
