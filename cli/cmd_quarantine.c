/* SPDX-License-Identifier: Apache-2.0 */
/* What the gate holds: list, show, release, purge. */
#include "cli.h"

#include <string.h>

/* ---- list, show ----------------------------------------------------------------------------- */

typedef struct look_arguments {
    cli_store store;
    cli_record record;
    bool json;
} look_arguments;

static const cli_option look_options[] = {
    CLI_OPTION(look_arguments, json, CLI_FLAG, "json", NULL, "Print it as JSON."),
    CLI_LOOK_OPTIONS(look_arguments),
    {0},
};

static int describe(const look_arguments *given, const char *id) {
    hm_error *error = NULL;
    char *text = NULL;
    cli_gated gated;
    hm_status status =
        cli_gate_open(&given->store, &given->record, NULL, HM_STORE_READ, &gated, &error);
    if (status == HM_OK) {
        status =
            hm_quarantine_describe(gated.store, id, given->json ? HM_STORE_JSON : 0, &text, &error);
    }
    int code = cli_print_text(&text, status, &error);
    cli_gate_close(&gated);
    return code;
}

static int act_list(const cli_command *command, void *given, const cli_texts *operands) {
    return operands->count == 0
               ? describe(given, NULL)
               : cli_usage(command, "'%s' is not what it takes", operands->list[0]);
}

static int act_show(const cli_command *command, void *given, const cli_texts *operands) {
    return operands->count == 1 ? describe(given, operands->list[0])
                                : cli_usage(command, "name one entry, by its id");
}

const cli_command cli_quarantine_list = {
    .name = "quarantine list",
    .summary = "List what the gate holds, and why.",
    .operands = "",
    .options = look_options,
    .arguments_size = sizeof(look_arguments),
    .act = act_list,
};

const cli_command cli_quarantine_show = {
    .name = "quarantine show",
    .summary = "Show all that is known of something in quarantine.",
    .operands = "ID",
    .details = "An id may be cut short as long as no other begins so.\n",
    .options = look_options,
    .arguments_size = sizeof(look_arguments),
    .act = act_show,
};

/* ---- release -------------------------------------------------------------------------------- */

typedef struct release_arguments {
    const char *policy;
    cli_texts keys;
    cli_store store;
    cli_record record;
    bool dry_run;
    bool no_switch;
    cli_work work;
} release_arguments;

static const cli_option release_options[] = {
    CLI_BELIEF_OPTIONS(release_arguments),
    CLI_OPTION(release_arguments, dry_run, CLI_FLAG, "dry-run", NULL,
               "Verify it and say what would be done; change nothing."),
    CLI_OPTION(release_arguments, no_switch, CLI_FLAG, "no-switch", NULL,
               "Put it into the store, but do not make it current."),
    CLI_STORE_OPTIONS(release_arguments),
    CLI_WORK_OPTIONS(release_arguments),
    {0},
};

static int release(const release_arguments *given, const char *id, cli_gated *gated) {
    hm_error *error = NULL;
    hm_report *report = NULL;
    cli_progress progress;
    hm_deploy_options how = HM_DEPLOY_OPTIONS_INIT;
    how.flags =
        (given->dry_run ? HM_DEPLOY_DRY_RUN : 0) | (given->no_switch ? HM_DEPLOY_NO_SWITCH : 0);
    how.jobs = (unsigned)given->work.jobs.value;
    how.progress = cli_progress_show;
    how.progress_context = &progress;
    cli_progress_start(&progress, given->work.no_progress);
    hm_status status =
        hm_quarantine_release(gated->store, id, gated->policy, &how, &report, &error);
    cli_progress_end(&progress);
    return cli_finish("release", NULL, status, &report, &error, &given->work);
}

static int act_release(const cli_command *command, void *arguments_given,
                       const cli_texts *operands) {
    const release_arguments *given = arguments_given;
    cli_gated gated;
    int code = cli_check(command, NULL, &given->work);
    if (code == HM_OK && operands->count != 1) {
        code = cli_usage(command, "name one entry, by its id");
    }
    if (code != HM_OK) {
        return code;
    }
    const cli_gate_call call = {
        .command = command,
        .operation = "release",
        .policy = given->policy,
        .keys = &given->keys,
        .store = &given->store,
        .record = &given->record,
        .looks = given->dry_run,
        .work = &given->work,
    };
    code = cli_gate_begin(&call, &gated);
    code = code == HM_OK ? release(given, operands->list[0], &gated) : code;
    cli_gate_close(&gated);
    return code;
}

const cli_command cli_quarantine_release = {
    .name = "quarantine release",
    .summary = "Deploy what is in quarantine, if it verifies now.",
    .operands = "ID [--policy FILE]",
    .details = "The only way out of quarantine into the store is through the gate: what does not\n"
               "verify under the policy as it is now stays where it is.\n"
               "Exit status: as of 'hallmark deploy'.\n",
    .options = release_options,
    .arguments_size = sizeof(release_arguments),
    .act = act_release,
};

/* ---- purge ---------------------------------------------------------------------------------- */

typedef struct purge_arguments {
    cli_store store;
    cli_record record;
    const char *older_than;
} purge_arguments;

static const cli_option purge_options[] = {
    CLI_OPTION(purge_arguments, older_than, CLI_TEXT, "older-than", "TIME",
               "All that has been there for longer: 90d, 12h."),
    CLI_STORE_OPTIONS(purge_arguments),
    {0},
};

static hm_status purge_older(hm_store *store, const char *span, hm_error **error) {
    uint64_t seconds = 0;
    int64_t now = 0;
    size_t count = 0;
    hm_status status = hm_duration_from_text(span, &seconds, error);
    if (status == HM_OK) {
        status = hm_time_from_text("0d", &now, error);
    }
    if (status == HM_OK && seconds <= INT64_MAX) {
        status = hm_quarantine_purge_older(store, now - (int64_t)seconds, &count, error);
    }
    printf("purged %zu\n", count);
    (void)fflush(stdout);
    return status;
}

static int purge(const purge_arguments *given, const cli_texts *ids) {
    hm_error *error = NULL;
    cli_gated gated;
    int worst = HM_OK;
    hm_status status = cli_gate_open(&given->store, &given->record, NULL, 0, &gated, &error);
    if (status == HM_OK && given->older_than != NULL) {
        status = purge_older(gated.store, given->older_than, &error);
    }
    if (status != HM_OK) {
        worst = cli_fail(status, &error);
    }
    for (size_t i = 0; i < ids->count && status == HM_OK; i++) {
        hm_status one = hm_quarantine_purge(gated.store, ids->list[i], &error);
        if (one == HM_OK) {
            printf("purged %s\n", ids->list[i]);
        } else {
            worst = cli_worse(worst, cli_fail(one, &error));
        }
    }
    cli_gate_close(&gated);
    return worst;
}

static int act_purge(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const purge_arguments *given = arguments_given;
    if ((operands->count > 0) == (given->older_than != NULL)) {
        return cli_usage(command, "name entries by their ids, or say --older-than TIME");
    }
    return purge(given, operands);
}

const cli_command cli_quarantine_purge = {
    .name = "quarantine purge",
    .summary = "Delete what is in quarantine, for ever.",
    .operands = "ID... | --older-than TIME",
    .details = "The ledger remembers that it was there.\n",
    .options = purge_options,
    .arguments_size = sizeof(purge_arguments),
    .act = act_purge,
};
