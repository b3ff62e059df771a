/* SPDX-License-Identifier: Apache-2.0 */
#include "record/recorder.h"

#include <stdlib.h>

struct hm_recorder {
    hm_ledger *ledger;
};

hm_status hm_recorder_new(const hm_config *config, const char *outbox, hm_recorder **recorder,
                          hm_error **error) {
    (void)outbox;
    hm_recorder *made = hm_alloc(1, sizeof *made);
    hm_status status =
        made != NULL ? hm_ledger_open_configured(config, HM_LEDGER_CREATE, &made->ledger, error)
                     : hm_fail_memory(error);
    if (status != HM_OK) {
        free(made);
        return status;
    }
    *recorder = made;
    return HM_OK;
}

hm_status hm_recorder_ready(hm_recorder *recorder, hm_error **error) {
    return recorder->ledger != NULL ? hm_ledger_ready(recorder->ledger, error) : HM_OK;
}

hm_status hm_recorder_add(hm_recorder *recorder, const hm_events *events, hm_error **error) {
    hm_auto_free const hm_event **list = hm_alloc(events->count, sizeof(*list));
    if (list == NULL) {
        return hm_fail_memory(error);
    }
    for (size_t i = 0; i < events->count; i++) {
        list[i] = &events->list[i];
    }
    return recorder->ledger != NULL ? hm_ledger_append(recorder->ledger, list, events->count, error)
                                    : HM_OK;
}

hm_status hm_recorder_deliver(hm_recorder *recorder, size_t *left, hm_error **error) {
    (void)recorder;
    (void)error;
    *left = 0;
    return HM_OK;
}

void hm_recorder_close(hm_recorder **recorder) {
    if (*recorder != NULL) {
        hm_ledger_close(&(*recorder)->ledger);
        free(*recorder);
        *recorder = NULL;
    }
}
