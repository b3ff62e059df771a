/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling somebody of an event: one attempt, over one of the channels. Whether and when another is
 * made is the outbox's affair.
 */
#ifndef HM_ALERT_H
#define HM_ALERT_H

#include "config/config.h"
#include "record/event.h"

enum { HM_ALERT_LONGEST_PAUSE = 24 * 60 * 60 /* seconds that a receiver may ask for */ };

typedef struct hm_alert {
    const hm_alert_config *to;
    const hm_event *event;
    hm_bytes json; /* the event, one line without its end */
} hm_alert;

/*
 * ::HM_OK: delivered, as far as the channel can tell. `*pause`: seconds that the receiver asks to
 * be left alone, else 0. Takes no longer than the timeout, and a little.
 */
HM_MUST_USE hm_status hm_alert_send(const hm_alert *alert, uint64_t *pause, hm_error **error);

/* The channels behind it. */
HM_MUST_USE hm_status hm_alert_webhook(const hm_alert *alert, uint64_t *pause, hm_error **error);
HM_MUST_USE hm_status hm_alert_command(const hm_alert *alert, uint64_t *pause, hm_error **error);
HM_MUST_USE hm_status hm_alert_syslog(const hm_alert *alert, uint64_t *pause, hm_error **error);

#endif
