/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recorder: where events go. Each goes to the ledger and, if the configuration says so, to
 * standard error; alerts go to those who are to be told. What cannot be delivered stays in the
 * store's outbox, a directory with a file for each event and receiver, until a later command
 * delivers it.
 */
#ifndef HM_RECORDER_H
#define HM_RECORDER_H

#include "config/config.h"
#include "record/event.h"
#include "record/ledger.h"

/*
 * `config` must outlive it. The ledger is that of the configuration, else SQLite in its store, else
 * there is none. `outbox`: a directory, which is made when it is needed; NULL: then there can be no
 * alerts, and what the ledger does not take is an error. Opens and touches nothing yet.
 */
HM_MUST_USE hm_status hm_recorder_new(const hm_config *config, const char *outbox,
                                      hm_recorder **recorder, hm_error **error);
/* Before something begins that must be recorded: whether it can be. */
HM_MUST_USE hm_status hm_recorder_ready(hm_recorder *recorder, hm_error **error);
/*
 * Records events: in the ledger or, when that cannot be reached, in the outbox; durably in either
 * case when ::HM_OK. Alerts are put into the outbox and not waited for. Recording an event twice is
 * harmless.
 */
HM_MUST_USE hm_status hm_recorder_add(hm_recorder *recorder, const hm_events *events,
                                      hm_error **error);
/*
 * Delivers what is in the outbox, as far as it is due (each failure doubles the pause before the
 * next try), and signs a checkpoint of the ledger where one is due. To be called last in a command:
 * alerts must not hold up the gate. Says in `*left` how much is still there. A failure to deliver
 * is an event of its own, once per alert.
 */
HM_MUST_USE hm_status hm_recorder_deliver(hm_recorder *recorder, size_t *left, hm_error **error);

#endif
