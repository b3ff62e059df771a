/* SPDX-License-Identifier: Apache-2.0 */
#include "record/alert.h"

/* A new channel is a row here, and one in config/alert_file.c. */
static const struct channel {
    hm_alert_kind kind;
    hm_status (*send)(const hm_alert *alert, uint64_t *pause, hm_error **error);
} channels[] = {
    {HM_ALERT_WEBHOOK, hm_alert_webhook},
    {HM_ALERT_COMMAND, hm_alert_command},
    {HM_ALERT_SYSLOG, hm_alert_syslog},
};

hm_status hm_alert_send(const hm_alert *alert, uint64_t *pause, hm_error **error) {
    *pause = 0;
    for (size_t i = 0; i < sizeof channels / sizeof channels[0]; i++) {
        if (channels[i].kind == alert->to->kind) {
            return channels[i].send(alert, pause, error);
        }
    }
    return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "no channel leads to %s", alert->to->name);
}
