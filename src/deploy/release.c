/* SPDX-License-Identifier: Apache-2.0 */
/* The two ways out of quarantine: through the gate, or away for ever. */
#include "deploy/tell.h"

#include <stdlib.h>
#include <string.h>

static hm_status check_writable(const hm_store *store, const char *function, hm_error **error) {
    return (store->flags & HM_STORE_READ) == 0
               ? HM_OK
               : hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "%s changes the store, which is open for reading only", function);
}

/* ---- release -------------------------------------------------------------------------------- */

static hm_status open_held(const hm_store *store, const hm_held *held, hm_model **model,
                           hm_error **error) {
    if (!held->content) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE,
                      "quarantine %s holds no model, only what is known of one", held->id);
        hm_error_add_hint(error, "`hallmark deploy` it again from where it came: %s",
                          held->source != NULL ? held->source : "its source");
        return HM_USAGE;
    }
    hm_auto_free char *relative =
        hm_textf("quarantine/%s/held/model%s%s", held->id, held->file != NULL ? "/" : "",
                 held->file != NULL ? held->file : "");
    hm_auto_free char *path = relative != NULL ? hm_store_path(store, relative) : NULL;
    return path != NULL ? hm_model_open(path, model, error) : hm_fail_memory(error);
}

/* A command that was killed may have left the model elsewhere; another may have taken it. */
static hm_status find_again(hm_store *store, hm_held *held, hm_model **model, hm_error **error) {
    hm_auto_slot slot = {.lock = -1};
    hm_auto_free char *id = hm_strdup(held->id);
    hm_status status =
        id != NULL ? hm_slot_open(store, held->model, 0, &slot, error) : hm_fail_memory(error);
    hm_slot_close(&slot);
    hm_held_free(held);
    if (status == HM_OK) {
        status = hm_held_read(store, id, held, error);
    }
    return status == HM_OK ? open_held(store, held, model, error) : status;
}

hm_status hm_quarantine_release(hm_store *store, const char *id, const hm_policy *policy,
                                const hm_deploy_options *options, hm_report **report,
                                hm_error **error) {
    static const hm_deploy_options none = HM_DEPLOY_OPTIONS_INIT;
    hm_auto_held held = {.since = 0};
    HM_CLEANUP(hm_model_close) hm_model *model = NULL;
    if (report != NULL) {
        *report = NULL;
    }
    hm_status status = check_writable(store, "hm_quarantine_release", error);
    if (status == HM_OK) {
        status = hm_held_find(store, id, &held, error);
    }
    if (status == HM_OK) {
        hm_auto_error cause = NULL;
        status = open_held(store, &held, &model, &cause);
        status = status == HM_UNDECIDED ? find_again(store, &held, &model, error)
                 : status == HM_OK      ? HM_OK
                                        : hm_error_move(error, &cause);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_gate_call call = {
        .store = store,
        .source = model,
        .name = held.model,
        .policy = policy,
        .options = options != NULL ? options : &none,
        .entry = &held,
        .operation = HM_OPERATION_RELEASE,
    };
    return hm_gate_deploy(&call, report, error);
}

/* ---- purge ---------------------------------------------------------------------------------- */

static hm_status purge(hm_store *store, const hm_held *held, hm_error **error) {
    hm_auto_slot slot = {.lock = -1};
    hm_auto_plan plan = {.switches = false};
    hm_event *event = NULL;
    hm_auto_free char *path = hm_textf("quarantine/%s", held->id);
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    hm_auto_held still = {.since = 0};
    hm_status status = hm_slot_open(store, held->model, 0, &slot, error);
    if (status == HM_OK) { /* opening the place may have completed what took it away */
        status = hm_held_read(store, held->id, &still, error);
    }
    if (status == HM_OK) {
        status = hm_plan_init(&slot, &plan, error);
    }
    if (status == HM_OK) {
        status = hm_plan_add_event(&slot, &plan, HM_EVENT_PURGED, held->digest, NULL, NULL, &event,
                                   error);
    }
    if (status == HM_OK) {
        event->quarantine = hm_strdup(held->id);
        status =
            event->quarantine != NULL ? hm_plan_remove(&plan, path, error) : hm_fail_memory(error);
    }
    return status == HM_OK ? hm_slot_carry_out(&slot, &plan, error) : status;
}

hm_status hm_quarantine_purge(hm_store *store, const char *id, hm_error **error) {
    hm_auto_held held = {.since = 0};
    hm_status status = check_writable(store, "hm_quarantine_purge", error);
    if (status == HM_OK) {
        status = hm_held_find(store, id, &held, error);
    }
    return status == HM_OK ? purge(store, &held, error) : status;
}

/* An entry that cannot be purged keeps no other from it. */
hm_status hm_quarantine_purge_older(hm_store *store, int64_t before, size_t *count,
                                    hm_error **error) {
    HM_CLEANUP(hm_texts_free) hm_texts ids = {0};
    size_t purged = 0;
    hm_status status = check_writable(store, "hm_quarantine_purge_older", error);
    if (status == HM_OK) {
        status = hm_held_list(store, &ids, error);
    }
    for (size_t i = 0; i < ids.count; i++) {
        hm_auto_held held = {.since = 0};
        hm_auto_error cause = NULL;
        hm_status done = hm_held_read(store, ids.list[i], &held, &cause);
        if (done == HM_OK && held.since < before) {
            done = purge(store, &held, &cause);
            purged += done == HM_OK;
        }
        if (done != HM_OK && (done != HM_USAGE || hm_held_there(store, ids.list[i]))) {
            status = hm_error_move(error, &cause);
        }
    }
    if (count != NULL) {
        *count = purged;
    }
    return status;
}
