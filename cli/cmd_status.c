/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

typedef struct arguments {
    cli_store store;
    cli_record record;
    bool json;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, json, CLI_FLAG, "json", NULL, "Print it as JSON."),
    CLI_LOOK_OPTIONS(arguments),
    {0},
};

static int act(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const arguments *given = arguments_given;
    hm_error *error = NULL;
    char *text = NULL;
    cli_gated gated;
    if (operands->count > 1) {
        return cli_usage(command, "name one model, or none for all");
    }
    const char *name = operands->count == 1 ? operands->list[0] : NULL;
    hm_status status =
        cli_gate_open(&given->store, &given->record, NULL, HM_STORE_READ, &gated, &error);
    if (status == HM_OK) {
        status = hm_store_status(gated.store, name, given->json ? HM_STORE_JSON : 0, &text, &error);
    }
    int code = cli_print_text(&text, status, &error);
    cli_gate_close(&gated);
    return code;
}

const cli_command cli_status = {
    .name = "status",
    .summary = "Show what the store serves, by whom it was signed, and when it was verified.",
    .operands = "[NAME]",
    .details =
        "Changes nothing and verifies nothing: it tells what is recorded, to whoever may read the\n"
        "store. With NAME: all that is known of one model.\n",
    .options = options,
    .arguments_size = sizeof(arguments),
    .act = act,
};
