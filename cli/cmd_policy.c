/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A place that cannot be looked at is not the same as one with nothing in it. */
static bool is_there(const char *path) {
    return access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

const char *cli_policy_file(const char *given, const hm_config *config) {
    const char *named = hm_config_get(config, "policy");
    if (given != NULL) {
        return given;
    }
    if (named != NULL) {
        return named;
    }
    return is_there(HM_POLICY_FILE) ? HM_POLICY_FILE : NULL;
}

/* Text goes out even where no rule fits: it says why. */
static int print(hm_status status, char **text, hm_error **error) {
    if (*text != NULL) {
        puts(*text);
        (void)fflush(stdout); /* before what standard error says of it */
        hm_text_free(text);
    }
    return status == HM_OK ? HM_OK : cli_fail(status, error);
}

/* ---- check ---------------------------------------------------------------------------------- */

typedef struct check_arguments {
    bool json;
} check_arguments;

static const cli_option check_options[] = {
    CLI_OPTION(check_arguments, json, CLI_FLAG, "json", NULL, "Print it as JSON."),
    {0},
};

static int act_check(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const check_arguments *given = arguments_given;
    hm_error *error = NULL;
    hm_policy *policy = NULL;
    char *text = NULL;
    if (operands->count > 1) {
        return cli_usage(command, "name one policy file");
    }
    hm_config *config = NULL;
    hm_status status = hm_config_load(NULL, &config, &error);
    if (status != HM_OK) {
        return cli_fail(status, &error);
    }
    const char *path = cli_policy_file(operands->count == 1 ? operands->list[0] : NULL, config);
    if (path == NULL) {
        hm_config_free(&config);
        return cli_usage(command, "name a policy file");
    }
    status = hm_policy_load(path, &policy, &error);
    if (status == HM_OK) {
        status = hm_policy_describe(policy, given->json ? HM_POLICY_JSON : 0, &text, &error);
    }
    hm_policy_free(&policy);
    hm_config_free(&config);
    return print(status, &text, &error);
}

const cli_command cli_policy_check = {
    .name = "policy check",
    .summary = "Check a policy file and show what it allows.",
    .operands = "[FILE]",
    .details = "Every key and certificate that it names is read. Without FILE: the policy that\n"
               "'hallmark verify' would use.\n",
    .options = check_options,
    .arguments_size = sizeof(check_arguments),
    .act = act_check,
};

/* ---- explain -------------------------------------------------------------------------------- */

typedef struct explain_arguments {
    const char *policy;
    const char *name;
    bool json;
} explain_arguments;

static const cli_option explain_options[] = {
    CLI_OPTION(explain_arguments, policy, CLI_TEXT, "policy", "FILE",
               "The policy file. Default: the file that HALLMARK_POLICY names, or " HM_POLICY_FILE
               "."),
    CLI_OPTION(explain_arguments, name, CLI_TEXT, "name", "NAME",
               "The name by which a rule is chosen, as in 'hallmark verify'."),
    CLI_OPTION(explain_arguments, json, CLI_FLAG, "json", NULL, "Print it as JSON."),
    {0},
};

static int explain(const explain_arguments *given, const char *file, const char *path) {
    hm_error *error = NULL;
    hm_policy *policy = NULL;
    hm_model *model = NULL;
    char *text = NULL;
    hm_status status = hm_policy_load(file, &policy, &error);
    if (status == HM_OK) {
        status = hm_model_open(path, &model, &error);
    }
    if (status == HM_OK) {
        status = hm_policy_explain(policy, model, given->name, given->json ? HM_POLICY_JSON : 0,
                                   &text, &error);
    }
    hm_model_close(&model);
    hm_policy_free(&policy);
    return print(status, &text, &error);
}

static int act_explain(const cli_command *command, void *arguments_given,
                       const cli_texts *operands) {
    const explain_arguments *given = arguments_given;
    hm_error *error = NULL;
    hm_config *config = NULL;
    if (operands->count != 1) {
        return cli_usage(command, "name one model: a file or a directory");
    }
    hm_status status = hm_config_load(NULL, &config, &error);
    if (status != HM_OK) {
        return cli_fail(status, &error);
    }
    const char *file = cli_policy_file(given->policy, config);
    int code = file != NULL ? explain(given, file, operands->list[0])
                            : cli_usage(command, "name a policy file with --policy");
    hm_config_free(&config);
    return code;
}

const cli_command cli_policy_explain = {
    .name = "policy explain",
    .summary = "Say which rule of a policy file is about a model, and why.",
    .operands = "MODEL [--policy FILE]",
    .details =
        "Exit status: 0 when there is such a rule, 1 when there is none. The model's content\n"
        "and its signatures are not looked at.\n",
    .options = explain_options,
    .arguments_size = sizeof(explain_arguments),
    .act = act_explain,
};
