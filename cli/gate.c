/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands about a store share. */
#include "cli.h"

#include <string.h>

hm_status cli_gate_open(const cli_gate *given, uint64_t flags, cli_gated *gated, hm_error **error) {
    *gated = (cli_gated){.store = NULL};
    hm_status status = cli_record_load(&given->record, &gated->recording, error);
    if (status == HM_OK && given->store != NULL) {
        status = hm_config_set(gated->recording.config, "store", given->store, error);
    }
    return status == HM_OK ? hm_store_open(gated->recording.config, flags, &gated->store, error)
                           : status;
}

hm_status cli_gate_policy(const char *given, const cli_gated *gated, hm_policy **policy,
                          hm_error **error) {
    const char *file = cli_policy_file(given, gated->recording.config);
    if (file == NULL) {
        cli_complain("name a policy file with --policy, HALLMARK_POLICY or in the configuration");
        return HM_USAGE;
    }
    return hm_policy_load(file, policy, error);
}

void cli_gate_close(cli_gated *gated) {
    hm_store_close(&gated->store);
    cli_record_close(&gated->recording);
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
