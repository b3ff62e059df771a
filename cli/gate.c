/* SPDX-License-Identifier: Apache-2.0 */
/* A store that a command works on, whom it believes, and how it ends. */
#include "cli.h"

#include <string.h>

static hm_status set(hm_config *config, const char *name, const char *value, hm_error **error) {
    return value != NULL ? hm_config_set(config, name, value, error) : HM_OK;
}

/* The configuration, with what the command line says above it; `policy` may be NULL. */
static hm_status configure(const cli_store *given, const cli_record *record, const char *policy,
                           hm_config **config, hm_error **error) {
    hm_status status = hm_config_load(record->config, config, error);
    if (status == HM_OK) {
        status = set(*config, "store", given->store, error);
    }
    if (status == HM_OK) {
        status = set(*config, "ledger", record->ledger, error);
    }
    if (status == HM_OK) {
        status = set(*config, "group", given->group, error);
    }
    if (status == HM_OK) {
        status = set(*config, "log", record->log, error);
    }
    if (status == HM_OK) {
        status = set(*config, "policy", policy, error);
    }
    if (status == HM_OK) {
        cli_harden_for(*config);
    }
    return status;
}

/* Of the keys, if there are any; else the policy file. */
static hm_status load_policy(const hm_config *config, const cli_texts *keys, hm_policy **policy,
                             hm_error **error) {
    if (keys->count == 0) {
        return hm_policy_load(cli_policy_file(NULL, config), policy, error);
    }
    hm_status status = hm_policy_new(policy, error);
    for (size_t i = 0; i < keys->count && status == HM_OK; i++) {
        status = hm_policy_add_key(*policy, keys->list[i], error);
    }
    return status;
}

hm_status cli_gate_open(const cli_store *given, const cli_record *record, const char *policy,
                        uint64_t flags, cli_gated *gated, hm_error **error) {
    *gated = (cli_gated){.store = NULL};
    hm_status status = configure(given, record, policy, &gated->config, error);
    return status == HM_OK ? hm_store_open(gated->config, flags, &gated->store, error) : status;
}

/* Told after it is written down, and before alerts are sent. A dry run leaves no trace. */
static int fail(const cli_gate_call *call, cli_gated *gated, hm_status status, hm_error **error) {
    cli_recording recording = {.config = gated->config};
    hm_report *none = NULL;
    hm_error *unrecorded = NULL;
    gated->config = NULL;
    if (recording.config != NULL && *error != NULL && !call->looks &&
        hm_gate_record_failure(recording.config, call->name, call->source, *error,
                               &recording.recorder, &unrecorded) != HM_OK) {
        cli_complain("this is not recorded: %s", hm_error_message(unrecorded));
        hm_error_free(&unrecorded);
    }
    int code = cli_finish(call->operation, call->source != NULL ? call->source : call->name, status,
                          &none, error, call->work);
    cli_record_close(&recording);
    return code;
}

int cli_gate_begin(const cli_gate_call *call, cli_gated *gated) {
    hm_error *error = NULL;
    *gated = (cli_gated){.store = NULL};
    if (call->policy != NULL && call->keys->count > 0) {
        return cli_usage(call->command, "--policy says whom to believe: no --key");
    }
    hm_status status = configure(call->store, call->record, call->policy, &gated->config, &error);
    if (status == HM_OK && call->keys->count == 0 && cli_policy_file(NULL, gated->config) == NULL) {
        return cli_usage(call->command, "say whom to believe: --policy FILE, or --key PUB");
    }
    if (status == HM_OK) {
        status = load_policy(gated->config, call->keys, &gated->policy, &error);
    }
    if (status == HM_OK && call->source != NULL) {
        status = hm_model_open(call->source, &gated->model, &error);
    }
    if (status == HM_OK) {
        status = hm_store_open(gated->config, call->flags, &gated->store, &error);
    }
    return status == HM_OK ? HM_OK : fail(call, gated, status, &error);
}

void cli_gate_close(cli_gated *gated) {
    hm_model_close(&gated->model);
    hm_policy_free(&gated->policy);
    hm_store_close(&gated->store);
    hm_config_free(&gated->config);
}

/* Nothing is worse than a model that was refused; the others are told apart by what helps. */
static int weight(int code) {
    switch (code) {
    case HM_OK: return 0;
    case HM_LET_THROUGH: return 1;
    case HM_UNDECIDED: return 2;
    case HM_USAGE: return 3;
    default: return 4;
    }
}

int cli_worse(int a, int b) {
    return weight(a) >= weight(b) ? a : b;
}

int cli_print_text(char **text, hm_status status, hm_error **error) {
    if (*text != NULL) {
        fputs(*text, stdout);
        size_t length = strlen(*text);
        if (length > 0 && (*text)[length - 1] != '\n') {
            fputc('\n', stdout);
        }
        (void)fflush(stdout); /* before what standard error says of it */
        hm_text_free(text);
    }
    return status == HM_OK ? HM_OK : cli_fail(status, error);
}
