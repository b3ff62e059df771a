/* SPDX-License-Identifier: Apache-2.0 */
/* A ledger's entries as `hallmark log` shows them. */
#ifndef HM_LOG_TEXT_H
#define HM_LOG_TEXT_H

#include "record/ledger_backend.h"

/* The line above the table. */
void hm_log_print_header(hm_buf *out);
/* One entry, a line. ::HM_REFUSED malformed when it holds no event. */
HM_MUST_USE hm_status hm_log_print_entry(const hm_entry *entry, hm_buf *out, hm_error **error);
/* The text that its digest is of, a line. Likewise. */
HM_MUST_USE hm_status hm_log_print_json(const hm_entry *entry, hm_buf *out, hm_error **error);

#endif
