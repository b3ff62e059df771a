/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files. What is accepted makes sense, and is described in both forms. */
#include "fuzz.h"

#include "config/config.h"

static void check_alert(const hm_alert_config *alert) {
    FUZZ_CHECK(alert->name != NULL && alert->name[0] != '\0');
    FUZZ_CHECK(strpbrk(alert->name, "./") == NULL);
    FUZZ_CHECK(alert->events != 0 &&
               (alert->events & (1 | UINT64_C(1) << HM_EVENT_ALERT_FAILED)) == 0);
    FUZZ_CHECK(alert->events < UINT64_C(1) << HM_EVENT_KIND_COUNT);
    FUZZ_CHECK(alert->timeout_ms >= 1000 && alert->timeout_ms <= 60000);
    switch (alert->kind) {
    case HM_ALERT_WEBHOOK:
        FUZZ_CHECK(strncmp(alert->url, "http", 4) == 0 && strpbrk(alert->url, " \r\n") == NULL);
        break;
    case HM_ALERT_COMMAND:
        FUZZ_CHECK(alert->command_count > 0 && strchr(alert->command[0], '/') != NULL);
        break;
    case HM_ALERT_SYSLOG: FUZZ_CHECK(alert->facility < 24); break;
    }
}

static void check_described(const hm_config *config, uint64_t flags) {
    hm_auto_error error = NULL;
    char *text = NULL;
    FUZZ_CHECK(hm_config_describe(config, flags, &text, &error) == HM_OK);
    if (flags != 0) {
        hm_auto_json doc = NULL;
        FUZZ_CHECK(hm_json_parse(hm_bytes_text(text), "config", &doc, &error) == HM_OK);
    }
    hm_text_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    HM_CLEANUP(hm_config_free) hm_config *config = NULL;
    hm_auto_error error = NULL;
    /* The secrets that it names are looked for where there are none. */
    hm_status status =
        hm_config_parse(hm_bytes_of(data, size), "/nonexistent/config.yaml", &config, &error);
    FUZZ_CHECK(status == HM_OK || status == HM_UNDECIDED);
    if (status == HM_OK) {
        FUZZ_CHECK(config->keep > 0 && config->checkpoint_every > 0);
        for (size_t i = 0; i < config->alert_count; i++) {
            check_alert(&config->alerts[i]);
        }
        check_described(config, 0);
        check_described(config, HM_CONFIG_JSON);
    }
    fuzz_outcome(status, &error);
    return 0;
}
