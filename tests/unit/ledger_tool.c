/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes to a ledger, for tests of those who read it: what commands record is not enough to race
 * with, to kill in mid-step or to fill a disk by.
 *
 * usage: ledger_tool append URI COUNT MODEL [ID]   prints the id of each event once it is appended
 *        ledger_tool batch URI COUNT MODEL         likewise, all in one step
 *        ledger_tool ready URI
 */
#include "record/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int complain(hm_status status, hm_error **error) {
    fprintf(stderr, "ledger_tool: %s\nledger_tool: %s\n", hm_error_message(*error),
            hm_error_hint(*error));
    hm_error_free(error);
    return (int)status;
}

static hm_status make_event(hm_event *event, const char *model, const char *id, long number,
                            hm_error **error) {
    static const hm_event_kind kinds[] = {HM_EVENT_SIGNED, HM_EVENT_VERIFIED, HM_EVENT_REFUSED,
                                          HM_EVENT_DEPLOYED};
    hm_status status = hm_event_init(event, kinds[number % 4], error);
    if (status != HM_OK) {
        return status;
    }
    if (id != NULL) {
        memcpy(event->id, id, sizeof event->id);
    }
    event->model = hm_strdup(model);
    event->digest = hm_textf("%064ld", number);
    if (event->kind == HM_EVENT_REFUSED) {
        event->reason = HM_REASON_DIGEST_MISMATCH;
        event->message = hm_textf("w%ld is not as signed", number);
    } else {
        event->signer = hm_strdup("release");
    }
    return event->model != NULL && event->digest != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status append(hm_ledger *ledger, long count, const char *model, const char *id,
                        hm_error **error) {
    hm_status status = HM_OK;
    for (long i = 0; i < count && status == HM_OK; i++) {
        hm_auto_event event = {.host = NULL};
        const hm_event *one[] = {&event};
        status = make_event(&event, model, id, i, error);
        if (status == HM_OK) {
            status = hm_ledger_append(ledger, one, 1, error);
        }
        if (status == HM_OK) {
            printf("%s\n", event.id);
            fflush(stdout);
        }
    }
    return status;
}

static hm_status batch(hm_ledger *ledger, long count, const char *model, hm_error **error) {
    HM_CLEANUP(hm_events_free) hm_events events = {.list = NULL};
    hm_auto_free const hm_event **list = hm_alloc((size_t)count, sizeof *list);
    hm_status status = list != NULL ? HM_OK : hm_fail_memory(error);
    for (long i = 0; i < count && status == HM_OK; i++) {
        hm_auto_event event = {.host = NULL};
        status = make_event(&event, model, NULL, i, error);
        status = status == HM_OK ? hm_events_add(&events, &event, error) : status;
    }
    for (size_t i = 0; i < events.count && list != NULL; i++) {
        list[i] = &events.list[i];
    }
    status = status == HM_OK ? hm_ledger_append(ledger, list, events.count, error) : status;
    for (size_t i = 0; i < events.count && status == HM_OK; i++) {
        printf("%s\n", events.list[i].id);
    }
    return status;
}

int main(int argc, char **argv) {
    hm_auto_error error = NULL;
    hm_auto_ledger ledger = NULL;
    if (argc < 3) {
        return HM_USAGE;
    }
    hm_status status = hm_ledger_open(argv[2], HM_LEDGER_CREATE, &ledger, &error);
    if (status == HM_OK && strcmp(argv[1], "ready") == 0) {
        status = hm_ledger_ready(ledger, &error);
    } else if (status == HM_OK && argc >= 5 && strcmp(argv[1], "append") == 0) {
        status =
            append(ledger, strtol(argv[3], NULL, 10), argv[4], argc > 5 ? argv[5] : NULL, &error);
    } else if (status == HM_OK && argc == 5 && strcmp(argv[1], "batch") == 0) {
        status = batch(ledger, strtol(argv[3], NULL, 10), argv[4], &error);
    } else if (status == HM_OK) {
        return HM_USAGE;
    }
    return status == HM_OK ? HM_OK : complain(status, &error);
}
