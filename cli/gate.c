/* SPDX-License-Identifier: Apache-2.0 */
/* A store that a command works on, and how it ends. */
#include "cli.h"

#include <string.h>

hm_status cli_gate_open(const cli_store *given, const cli_record *record, const char *policy,
                        uint64_t flags, cli_gated *gated, hm_error **error) {
    *gated = (cli_gated){.store = NULL};
    hm_status status = cli_configure(given, record, policy, &gated->config, error);
    return status == HM_OK ? hm_store_open(gated->config, flags, &gated->store, error) : status;
}

void cli_gate_close(cli_gated *gated) {
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
