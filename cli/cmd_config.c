/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdio.h>

typedef struct arguments {
    bool json;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, json, CLI_FLAG, "json", NULL, "Print it as JSON."),
    {0},
};

static int act(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const arguments *given = arguments_given;
    hm_error *error = NULL;
    hm_config *config = NULL;
    char *text = NULL;
    if (operands->count > 1) {
        return cli_usage(command, "name one configuration file");
    }
    const char *path = operands->count == 1 ? operands->list[0] : NULL;
    hm_status status = hm_config_load(path, &config, &error);
    if (status == HM_OK) {
        status = hm_config_describe(config, given->json ? HM_CONFIG_JSON : 0, &text, &error);
    }
    hm_config_free(&config);
    if (status != HM_OK) {
        return cli_fail(status, &error);
    }
    puts(text);
    hm_text_free(&text);
    return HM_OK;
}

const cli_command cli_config_check = {
    .name = "config check",
    .summary = "Check a configuration file and show what is in force.",
    .operands = "[FILE]",
    .details =
        "Without FILE: the configuration that the other commands use. What the environment says\n"
        "above the file is shown too; secrets are not.\n",
    .options = options,
    .arguments_size = sizeof(arguments),
    .act = act,
};
