/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

typedef struct arguments {
    bool list;
    bool json;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, list, CLI_FLAG, "list", NULL, "Show every entry, however many."),
    CLI_OPTION(arguments, json, CLI_FLAG, "json", NULL, "Print the report as JSON."),
    {0},
};

static int run(const cli_command *command, int argc, char **argv) {
    arguments given = {0};
    cli_texts operands = {0};
    cli_parsed parsed = cli_parse(command, argc, argv, &given, &operands);
    int code = parsed == CLI_DONE ? HM_OK : HM_USAGE;
    if (parsed == CLI_GO_ON && operands.count != 1) {
        code = cli_usage(command, "name one signature file");
    } else if (parsed == CLI_GO_ON) {
        hm_error *error = NULL;
        hm_report *report = NULL;
        hm_status status = hm_inspect(operands.list[0], &report, &error);
        code = cli_finish("inspect", NULL, status, &report, &error, given.json, given.list);
    }
    cli_texts_free(&operands);
    return code;
}

const cli_command cli_inspect = {
    .name = "inspect",
    .summary = "Show what a signature file says, without verifying any of it.",
    .operands = "SIGNATURE",
    .details = NULL,
    .options = options,
    .run = run,
};
