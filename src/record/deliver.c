/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delivering what waits in the outbox. At the end of a command, and bounded: whoever does not
 * answer is asked once, and all that is for him waits for a later command. What fails comes again
 * after a pause that doubles, until it is delivered or so old that it would only confuse.
 */
#include "record/alert.h"
#include "record/recorder_state.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

enum {
    FIRST_PAUSE = 30,           /* seconds */
    LONGEST_PAUSE = 60 * 60,    /* likewise */
    GIVE_UP = 7 * 24 * 60 * 60, /* likewise, after the event */
    BUDGET_MS = 30 * 1000,      /* no attempt begins later than that */
};

typedef struct round {
    hm_recorder *recorder;
    bool *silent;     /* by receiver: did not take an alert in this round */
    bool ledger_down; /* likewise */
    int64_t started;  /* by the monotonic clock */
    int64_t now;
} round;

static void note_and_forget(round *r, hm_error **cause) {
    hm_recorder_note(r->recorder, *cause);
    hm_error_free(cause);
}

/* ---- what the ledger learns of it ------------------------------------------------------------ */

static hm_status keep(round *r, hm_events *events, hm_error **error) {
    if (!r->recorder->has_ledger) {
        return HM_OK;
    }
    if (!r->ledger_down && !r->recorder->ledger_failed) {
        return hm_recorder_keep(r->recorder, events, error);
    }
    hm_status status = HM_OK;
    for (size_t i = 0; i < events->count && status == HM_OK; i++) {
        status =
            hm_outbox_put_event(r->recorder->outbox, &events->list[i], r->recorder->tag, error);
    }
    return status;
}

/* Always the same for one alert: telling of it again after a crash adds nothing. */
static hm_status derive_id(const hm_waiting *waiting, const char *what, char *id,
                           hm_error **error) {
    hm_auto_buf text = {.data = NULL};
    uint8_t digest[EVP_MAX_MD_SIZE];
    hm_buf_add_format(&text, "%s %s %s", what, waiting->event.id, waiting->to);
    hm_status status = hm_buf_check(&text, error);
    if (status == HM_OK &&
        EVP_Q_digest(NULL, "SHA256", NULL, text.data, text.length, digest, NULL) != 1) {
        status = hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot hash");
    }
    if (status == HM_OK) {
        hm_hex(digest, HM_EVENT_ID_SIZE, id);
    }
    return status;
}

static bool copy_text(char **to, const char *from) {
    *to = from != NULL ? hm_strdup(from) : NULL;
    return from == NULL || *to != NULL;
}

/* `what`: "failed" or "dropped". */
static hm_status tell_ledger(round *r, const hm_waiting *waiting, const char *what,
                             const char *cause, hm_error **error) {
    hm_events events = {.list = NULL};
    hm_auto_event event = {.kind = 0};
    const hm_event *about = &waiting->event;
    hm_status status = hm_event_init(&event, HM_EVENT_ALERT_FAILED, error);
    if (status == HM_OK) {
        status = derive_id(waiting, what, event.id, error);
    }
    if (status != HM_OK) {
        return status;
    }
    event.reason = about->reason;
    event.message = hm_textf("alert %s of event %s (%s) %s: %s", waiting->to, about->id,
                             hm_event_word(about->kind), what, cause);
    if (event.message == NULL || !copy_text(&event.store, about->store) ||
        !copy_text(&event.model, about->model) || !copy_text(&event.digest, about->digest)) {
        return hm_fail_memory(error);
    }
    status = hm_events_add(&events, &event, error);
    if (status == HM_OK) {
        status = keep(r, &events, error);
    }
    hm_events_free(&events);
    return status;
}

/*
 * An alert that nobody tried to deliver yet may be all that is left of a program that was killed
 * before it got to the ledger.
 */
static hm_status keep_event(round *r, const hm_waiting *waiting, hm_error **error) {
    const hm_event *event = &waiting->event;
    if (waiting->attempts > 0 || !r->recorder->has_ledger ||
        strcmp(waiting->ledger, r->recorder->tag) != 0) {
        return HM_OK;
    }
    return r->ledger_down ? hm_outbox_put_event(r->recorder->outbox, event, r->recorder->tag, error)
                          : hm_recorder_append(r->recorder, &event, 1, error);
}

/* ---- one alert ------------------------------------------------------------------------------- */

static int64_t next_try(const hm_waiting *waiting, int64_t now, uint64_t asked) {
    uint64_t pause = FIRST_PAUSE;
    for (uint64_t i = 1; i < waiting->attempts && pause < LONGEST_PAUSE; i++) {
        pause *= 2;
    }
    pause = pause < LONGEST_PAUSE ? pause : LONGEST_PAUSE;
    return now + (int64_t)(asked > pause ? asked : pause);
}

static void after_failure(round *r, hm_waiting *waiting, uint64_t asked, hm_error **cause) {
    hm_auto_error trouble = NULL;
    bool first = waiting->attempts == 0;
    waiting->attempts++;
    waiting->next = next_try(waiting, r->now, asked);
    if (first && tell_ledger(r, waiting, "failed", hm_error_message(*cause), &trouble) != HM_OK) {
        note_and_forget(r, &trouble);
        waiting->attempts = 0; /* so that it is told of at the next try */
    }
    if (hm_outbox_put_back(waiting, &trouble) != HM_OK) {
        note_and_forget(r, &trouble);
    }
    note_and_forget(r, cause);
}

/* No pause is that long: the clock was wrong when it was written, and is set right since. */
static bool is_due(const round *r, const hm_waiting *waiting) {
    return waiting->next <= r->now || waiting->next - r->now > HM_ALERT_LONGEST_PAUSE;
}

static bool is_old(const round *r, const hm_waiting *waiting) {
    return waiting->event.time < r->now - GIVE_UP;
}

/* Whether it can go. */
static bool drop(round *r, const hm_waiting *waiting) {
    hm_auto_error cause = NULL;
    hm_auto_free char *why = hm_textf("not delivered within %d days", GIVE_UP / (24 * 60 * 60));
    if (why != NULL && tell_ledger(r, waiting, "dropped", why, &cause) == HM_OK) {
        return true;
    }
    note_and_forget(r, &cause);
    return false;
}

static size_t find_receiver(const hm_config *config, const char *name) {
    size_t i = 0;
    while (i < config->alert_count && strcmp(config->alerts[i].name, name) != 0) {
        i++;
    }
    return i;
}

/* Whether the alert is done with. */
static bool attempt(round *r, hm_waiting *waiting) {
    const hm_config *config = r->recorder->config;
    size_t to = find_receiver(config, waiting->to);
    hm_auto_error cause = NULL;
    uint64_t asked = 0;
    if (is_old(r, waiting)) {
        if (keep_event(r, waiting, &cause) == HM_OK) {
            return drop(r, waiting);
        }
        note_and_forget(r, &cause);
        return false;
    }
    /* Somebody who is not in this configuration may be in that of another who shares the outbox. */
    if (to == config->alert_count || r->silent[to] || !is_due(r, waiting) ||
        hm_now_ms() - r->started > BUDGET_MS) {
        return false;
    }
    if (keep_event(r, waiting, &cause) != HM_OK) {
        r->ledger_down = true;
        note_and_forget(r, &cause);
    }
    const hm_alert alert = {.to = &config->alerts[to],
                            .event = &waiting->event,
                            .json = hm_buf_view(&waiting->json)};
    if (hm_alert_send(&alert, &asked, &cause) == HM_OK) {
        return true;
    }
    r->silent[to] = true;
    after_failure(r, waiting, asked, &cause);
    return false;
}

/* Whether it is out of the outbox. */
static bool deliver_one(round *r, const char *name) {
    hm_auto_waiting waiting = {.fd = -1};
    hm_auto_error cause = NULL;
    bool busy = false;
    if (hm_outbox_take_alert(r->recorder->outbox, name, &waiting, &busy, &cause) != HM_OK) {
        note_and_forget(r, &cause);
        return false;
    }
    return busy || (attempt(r, &waiting) && hm_outbox_remove(r->recorder->outbox, name));
}

/* ---- a round --------------------------------------------------------------------------------- */

static void flush_ledger(round *r) {
    hm_auto_error cause = NULL;
    char **names = NULL;
    size_t count = 0;
    r->ledger_down = r->recorder->ledger_failed;
    if (r->ledger_down) { /* one wait for it is enough */
        return;
    }
    if (hm_recorder_waiting(r->recorder, &names, &count, &cause) == HM_OK && count > 0 &&
        hm_recorder_append(r->recorder, NULL, 0, &cause) != HM_OK) {
        r->ledger_down = true;
        note_and_forget(r, &cause);
    }
    hm_text_list_free(&names, count);
}

static hm_status deliver_alerts(round *r, size_t *left, hm_error **error) {
    char **names = NULL;
    size_t count = 0;
    hm_status status = hm_outbox_list(r->recorder->outbox, ".alert", &names, &count, error);
    for (size_t i = 0; i < count; i++) {
        *left += deliver_one(r, names[i]) ? 0 : 1;
    }
    hm_text_list_free(&names, count);
    return status;
}

static hm_status count_events(const hm_recorder *recorder, size_t *left, hm_error **error) {
    char **names = NULL;
    size_t count = 0;
    hm_status status = hm_recorder_waiting(recorder, &names, &count, error);
    *left += count;
    hm_text_list_free(&names, count);
    return status;
}

hm_status hm_recorder_deliver(hm_recorder *recorder, size_t *left, hm_error **error) {
    round r = {.recorder = recorder, .started = hm_now_ms(), .now = hm_time_now()};
    *left = 0;
    recorder->delivered = true;
    if (recorder->outbox == NULL || !hm_recorder_active(recorder)) {
        hm_recorder_checkpoint(recorder);
        return HM_OK;
    }
    r.silent = hm_alloc(recorder->config->alert_count, sizeof(bool));
    if (r.silent == NULL) {
        return hm_fail_memory(error);
    }
    flush_ledger(&r);
    hm_recorder_checkpoint(recorder);
    hm_status status = deliver_alerts(&r, left, error);
    free(r.silent);
    return status == HM_OK ? count_events(recorder, left, error) : status;
}
