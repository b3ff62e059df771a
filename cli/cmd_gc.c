/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

typedef struct arguments {
    cli_store store;
    cli_record record;
    cli_number keep;
    bool dry_run;
    bool json;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, keep, CLI_NUMBER, "keep", "N",
               "Versions of each model to leave. Default: as the configuration says, else 3."),
    CLI_OPTION(arguments, dry_run, CLI_FLAG, "dry-run", NULL,
               "Say what would be removed; remove nothing."),
    CLI_OPTION(arguments, json, CLI_FLAG, "json", NULL, "Print the result as JSON."),
    CLI_STORE_OPTIONS(arguments),
    {0},
};

static int collect(const arguments *given, hm_store *store, const char *name) {
    hm_error *error = NULL;
    char *text = NULL;
    uint64_t flags = (given->dry_run ? HM_GC_DRY_RUN : 0) | (given->json ? HM_STORE_JSON : 0);
    hm_status status = hm_store_gc(store, name, given->keep.value, flags, &text, &error);
    return cli_print_text(&text, status, &error);
}

static int act(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const arguments *given = arguments_given;
    hm_error *error = NULL;
    cli_gated gated;
    int worst = HM_OK;
    if (given->keep.given && given->keep.value == 0) {
        return cli_usage(command, "--keep must be at least 1");
    }
    hm_status status = cli_gate_open(&given->store, &given->record, NULL,
                                     given->dry_run ? HM_STORE_READ : 0, &gated, &error);
    if (status != HM_OK) {
        worst = cli_fail(status, &error);
    } else if (operands->count == 0) {
        worst = collect(given, gated.store, NULL);
    }
    for (size_t i = 0; i < operands->count && status == HM_OK; i++) {
        worst = cli_worse(worst, collect(given, gated.store, operands->list[i]));
    }
    cli_gate_close(&gated);
    return worst;
}

const cli_command cli_gc = {
    .name = "gc",
    .summary = "Remove versions that are no longer to be kept.",
    .operands = "[NAME]...",
    .details =
        "Without NAME: of all models. The newest versions stay, and in any case the current one\n"
        "and the last known good one before it. Files that are open can still be read.\n",
    .options = options,
    .arguments_size = sizeof(arguments),
    .act = act,
};
