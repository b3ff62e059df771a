/* SPDX-License-Identifier: Apache-2.0 */
/* What a command did goes to the ledger, to standard error and to whoever is alerted. */
#include "cli.h"

static hm_status set(hm_config *config, const char *name, const char *value, hm_error **error) {
    return value != NULL ? hm_config_set(config, name, value, error) : HM_OK;
}

hm_status cli_record_load(const cli_record *given, cli_recording *recording, hm_error **error) {
    *recording = (cli_recording){0};
    hm_status status = hm_config_load(given->config, &recording->config, error);
    if (status == HM_OK) {
        status = set(recording->config, "ledger", given->ledger, error);
    }
    if (status == HM_OK) {
        status = set(recording->config, "log", given->log, error);
    }
    return status;
}

void cli_harden_for(const hm_config *config) {
    if (hm_config_get(config, "checkpoint-key") != NULL) {
        hm_process_harden();
    }
}

hm_status cli_record_open(cli_recording *recording, hm_error **error) {
    cli_harden_for(recording->config);
    return hm_recorder_open(recording->config, &recording->recorder, error);
}

/*
 * An event that is recorded nowhere is as bad as a verdict that was not reached: whoever can keep
 * the ledger from being written could otherwise have models signed, or pass, without a trace. A
 * refusal stays one.
 */
static hm_status fail_unrecorded(hm_status status, hm_report **report, hm_error **error,
                                 hm_error **cause) {
    cli_complain("what was done, or found, is not recorded");
    if (status == HM_OK || status == HM_LET_THROUGH) {
        hm_report_free(report);
        hm_error_free(error);
        *error = *cause;
        *cause = NULL;
        return HM_UNDECIDED;
    }
    cli_complain("%s", hm_error_message(*cause));
    hm_error_free(cause);
    return status;
}

hm_status cli_record_report(cli_recording *recording, const char *operation, const char *model,
                            hm_status status, hm_report **report, hm_error **error) {
    hm_error *cause = NULL;
    hm_report *made = NULL;
    hm_status recorded = HM_OK;
    if (recording->recorder == NULL) {
        return status;
    }
    if (*report == NULL && *error != NULL) {
        recorded = hm_report_from_error(operation, model, *error, &made, &cause);
    }
    const hm_report *said = *report != NULL ? *report : made;
    if (recorded == HM_OK && said != NULL) {
        recorded = hm_recorder_add_report(recording->recorder, said, &cause);
    }
    hm_report_free(&made);
    return recorded == HM_OK ? status : fail_unrecorded(status, report, error, &cause);
}

hm_status cli_record_key(cli_recording *recording, const char *event, const char *keyring,
                         uint64_t version, const char *reason, hm_error **error) {
    return hm_recorder_add_key(recording->recorder, event, keyring, version, reason, error);
}

void cli_record_close(cli_recording *recording) {
    hm_error *error = NULL;
    char *trouble = NULL;
    if (recording->recorder != NULL &&
        hm_recorder_flush(recording->recorder, &trouble, &error) != HM_OK) {
        cli_complain("%s", hm_error_message(error));
    }
    if (trouble != NULL) {
        cli_complain("%s", trouble);
    }
    hm_text_free(&trouble);
    hm_error_free(&error);
    hm_recorder_close(&recording->recorder);
    hm_config_free(&recording->config);
}
