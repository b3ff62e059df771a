/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints as events are recorded, by the key of the configuration. Between two of them whoever
 * can write to the ledger can write its end anew: how much that is, `checkpoints.every` says.
 */
#include "record/checkpoint.h"
#include "record/recorder_state.h"

static hm_status sign(hm_recorder *recorder, hm_error **error) {
    const hm_config *config = recorder->config;
    HM_CLEANUP(hm_signer_close) hm_signer *signer = NULL;
    bool due = false;
    hm_status status =
        hm_ledger_checkpoint_due(recorder->ledger, config->checkpoint_every, &due, error);
    if (status != HM_OK || !due) {
        return status;
    }
    status = hm_signer_open(config->checkpoint_key, NULL, &signer, error);
    return status == HM_OK
               ? hm_ledger_checkpoint(recorder->ledger, signer, config->checkpoint_file, error)
               : status;
}

/* The events are recorded, whatever becomes of this; it stays due until it is done. */
void hm_recorder_checkpoint(hm_recorder *recorder) {
    hm_auto_error cause = NULL;
    hm_auto_error trouble = NULL;
    if (recorder->config->checkpoint_key == NULL || recorder->ledger == NULL ||
        sign(recorder, &cause) == HM_OK) {
        return;
    }
    (void)!hm_fail(&trouble, HM_UNDECIDED, HM_REASON_NONE,
                   "the checkpoint that is due could not be made: %s", hm_error_message(cause));
    hm_recorder_note(recorder, trouble);
}
