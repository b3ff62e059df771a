/* SPDX-License-Identifier: Apache-2.0 */
/* What a report says, as an event. */
#ifndef HM_RECORD_REPORT_H
#define HM_RECORD_REPORT_H

#include "record/event.h"
#include "report.h"

/*
 * Of a signing or verification: `signed`, `verified`, `refused`, `undecided` or `let-through`, with
 * what was found out for certain. `*none`: there is no such event.
 */
HM_MUST_USE hm_status hm_event_of_report(const hm_report *report, hm_event *event, bool *none,
                                         hm_error **error);

#endif
