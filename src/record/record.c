/* SPDX-License-Identifier: Apache-2.0 */
/* The recorder for commands that have no store open. */
#include "record/recorder_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* As configured, else in the store, else where the caller's programs remember things. */
static hm_status find_outbox(const hm_config *config, char **outbox, hm_error **error) {
    if (config->outbox == NULL && config->store == NULL) {
        bool none = false; /* then there is no outbox either */
        hm_status status =
            hm_state_directory("outbox", "what waits to be delivered", outbox, &none, error);
        if (status == HM_OK && !none) {
            (void)!hm_make_own_directory(*outbox, NULL); /* if it is needed, that is said then */
        }
        return status;
    }
    *outbox =
        config->outbox != NULL ? hm_strdup(config->outbox) : hm_textf("%s/outbox", config->store);
    return *outbox != NULL ? HM_OK : hm_fail_memory(error);
}

static bool needs_outbox(const hm_config *config) {
    return config->alert_count > 0 || config->ledger != NULL || config->store != NULL;
}

/*
 * A ledger in a store that is not there: it is not made by whoever first signs or verifies, or a
 * slip in the store's name would leave a directory that no deployment takes for one.
 */
static hm_status check_store(const hm_config *config, hm_error **error) {
    struct stat st;
    if (config->ledger != NULL || config->store == NULL) {
        return HM_OK;
    }
    hm_auto_free char *mark = hm_textf("%s/store.json", config->store);
    if (mark == NULL) {
        return hm_fail_memory(error);
    }
    if (stat(mark, &st) == 0 || (errno != ENOENT && errno != ENOTDIR)) {
        return HM_OK; /* what else is wrong with it the ledger will find out */
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                  "there is no store at %s, and its ledger is where this is to be recorded",
                  config->store);
    hm_error_add_hint(error, "the first `hallmark deploy` to it makes it; or name another ledger "
                             "with --ledger, or no store");
    return HM_UNDECIDED;
}

hm_status hm_recorder_open(const hm_config *config, hm_recorder **recorder, hm_error **error) {
    HM_CLEANUP(hm_recorder_close) hm_recorder *made = NULL;
    hm_auto_free char *outbox = NULL;
    if (config == NULL || recorder == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "hm_recorder_open: an argument is missing");
    }
    hm_status status = check_store(config, error);
    if (status == HM_OK && needs_outbox(config)) {
        status = find_outbox(config, &outbox, error);
    }
    if (status == HM_OK) {
        status = hm_recorder_new(config, outbox, &made, error);
    }
    if (status == HM_OK) {
        status = hm_recorder_ready(made, error);
    }
    if (status == HM_OK) {
        *recorder = made;
        made = NULL;
    }
    return status;
}

static bool set_text(char **to, const char *text) {
    *to = text != NULL ? hm_strdup(text) : NULL;
    return text == NULL || *to != NULL;
}

hm_status hm_recorder_add_key(hm_recorder *recorder, const char *event, const char *keyring,
                              uint64_t version, const char *reason, hm_error **error) {
    hm_events events = {.list = NULL};
    hm_auto_event made = {.kind = 0};
    hm_event_kind kind = HM_EVENT_KIND_COUNT;
    if (recorder == NULL || event == NULL || keyring == NULL ||
        !hm_event_from_word(hm_bytes_text(event), &kind) ||
        (kind != HM_EVENT_KEY_ROTATED && kind != HM_EVENT_KEY_REVOKED)) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_recorder_add_key: \"%s\" is no event of a keyring",
                       event != NULL ? event : "");
    }
    if (!hm_recorder_active(recorder)) {
        return HM_OK;
    }
    hm_status status = hm_event_init(&made, kind, error);
    if (status != HM_OK) {
        return status;
    }
    made.key_version = version;
    hm_auto_free char *whole = realpath(keyring, NULL);
    if (!set_text(&made.source, whole != NULL ? whole : keyring) ||
        !set_text(&made.message, reason)) {
        return hm_fail_memory(error);
    }
    status = hm_events_add(&events, &made, error);
    if (status == HM_OK) {
        status = hm_recorder_add(recorder, &events, error);
    }
    hm_events_free(&events);
    return status;
}

hm_status hm_recorder_flush(hm_recorder *recorder, char **trouble, hm_error **error) {
    size_t left = 0;
    if (recorder == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "hm_recorder_flush: there is no recorder");
    }
    hm_status status = hm_recorder_deliver(recorder, &left, error);
    if (status != HM_OK || trouble == NULL) {
        return status;
    }
    *trouble = NULL;
    if (left > 0) {
        *trouble = hm_textf("%zu %s in the outbox %s%s%s", left, left == 1 ? "waits" : "wait",
                            recorder->outbox, recorder->trouble != NULL ? ": " : "",
                            recorder->trouble != NULL ? recorder->trouble : "");
    } else if (recorder->trouble != NULL) {
        *trouble = hm_strdup(recorder->trouble);
    } else {
        return HM_OK;
    }
    return *trouble != NULL ? HM_OK : hm_fail_memory(error);
}
