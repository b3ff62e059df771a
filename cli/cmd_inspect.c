/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

typedef struct arguments {
    cli_work work;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, work.list, CLI_FLAG, "list", NULL, "Show every entry, however many."),
    CLI_OPTION(arguments, work.json, CLI_FLAG, "json", NULL, "Print the report as JSON."),
    {0},
};

static int act(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const arguments *given = arguments_given;
    hm_error *error = NULL;
    hm_report *report = NULL;
    if (operands->count != 1) {
        return cli_usage(command, "name one signature file");
    }
    hm_status status = hm_inspect(operands->list[0], &report, &error);
    return cli_finish("inspect", NULL, status, &report, &error, &given->work);
}

const cli_command cli_inspect = {
    .name = "inspect",
    .summary = "Show what a signature file says, without verifying any of it.",
    .operands = "SIGNATURE",
    .details = NULL,
    .options = options,
    .arguments_size = sizeof(arguments),
    .act = act,
};
