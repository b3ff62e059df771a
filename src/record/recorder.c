/* SPDX-License-Identifier: Apache-2.0 */
#include "record/recorder_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

enum { BATCH = 64 };

/* ---- the ledger ----------------------------------------------------------------------------- */

bool hm_recorder_active(const hm_recorder *recorder) {
    return recorder->has_ledger || recorder->config->log_json || recorder->config->alert_count > 0;
}

void hm_recorder_note(hm_recorder *recorder, const hm_error *cause) {
    if (recorder->trouble == NULL && cause != NULL) {
        recorder->trouble = hm_strdup(hm_error_message(cause));
    }
}

/* Those options of a PostgreSQL URI that say which database it is. */
static void add_places(const char *options, hm_buf *text) {
    static const char *const places[] = {"host=", "hostaddr=", "port=", "dbname=", "service="};
    for (const char *at = options; *at != '\0';) {
        size_t length = strcspn(at, "&");
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
            if (strncmp(at, places[i], strlen(places[i])) == 0) {
                hm_buf_add_byte(text, '?');
                hm_buf_add(text, at, length);
            }
        }
        at += length + (at[length] == '&' ? 1 : 0);
    }
}

/* Without user and password, which change. */
static void add_database(const char *host, hm_buf *text) {
    size_t length = strcspn(host, "?");
    const char *at = memrchr(host, '@', length);
    const char *from = at != NULL ? at + 1 : host;
    hm_buf_add(text, from, length - (size_t)(from - host));
    add_places(host[length] == '?' ? host + length + 1 : "", text);
}

/* As it is written, but for "." and "//": its directory may not be there to be asked. */
static void add_path(const char *path, hm_buf *text) {
    for (const char *at = path; *at != '\0';) {
        size_t length = strcspn(at, "/");
        if (length > 0 && !(length == 1 && *at == '.')) {
            hm_buf_add_byte(text, '/');
            hm_buf_add(text, at, length);
        }
        at += length + (at[length] == '/' ? 1 : 0);
    }
}

/* What tells one ledger from another. */
static hm_status normalize(const char *uri, hm_buf *text, hm_error **error) {
    static const char sqlite[] = "sqlite:";
    const char *host = strstr(uri, "://");
    if (host != NULL) {
        add_database(host + 3, text);
        return hm_buf_check(text, error);
    }
    const char *path = uri + (strncmp(uri, sqlite, sizeof sqlite - 1) == 0 ? sizeof sqlite - 1 : 0);
    hm_auto_free char *here = path[0] != '/' ? getcwd(NULL, 0) : hm_strdup("");
    if (here == NULL) {
        return hm_fail_errno(error, errno, "cannot find the current directory");
    }
    add_path(here, text);
    add_path(path, text);
    return hm_buf_check(text, error);
}

static hm_status make_tag(hm_recorder *recorder, hm_error **error) {
    hm_auto_free char *uri = NULL;
    hm_auto_buf text = {.data = NULL};
    uint8_t digest[EVP_MAX_MD_SIZE];
    hm_status status = hm_config_ledger(recorder->config, &uri, error);
    if (status != HM_OK || uri == NULL) {
        return status;
    }
    status = normalize(uri, &text, error);
    if (status == HM_OK &&
        EVP_Q_digest(NULL, "SHA256", NULL, text.data, text.length, digest, NULL) != 1) {
        status = hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot hash");
    }
    if (status == HM_OK) {
        hm_hex(digest, sizeof recorder->tag / 2, recorder->tag);
        recorder->has_ledger = true;
    }
    return status;
}

hm_status hm_recorder_waiting(const hm_recorder *recorder, char ***names, size_t *count,
                              hm_error **error) {
    *names = NULL;
    *count = 0;
    if (recorder->outbox == NULL || !recorder->has_ledger) {
        return HM_OK;
    }
    hm_auto_free char *suffix = hm_textf(".%s.event", recorder->tag);
    return suffix != NULL ? hm_outbox_list(recorder->outbox, suffix, names, count, error)
                          : hm_fail_memory(error);
}

static hm_status open_ledger(hm_recorder *recorder, hm_error **error) {
    return recorder->ledger != NULL ? HM_OK
                                    : hm_ledger_open_configured(recorder->config, HM_LEDGER_CREATE,
                                                                &recorder->ledger, error);
}

/* Events that were read from the outbox, and their files. */
typedef struct batch {
    hm_event events[BATCH];
    const char *names[BATCH];
    size_t count;
} batch;

static void batch_free(batch *b) {
    for (size_t i = 0; i < b->count; i++) {
        hm_event_free(&b->events[i]);
    }
    b->count = 0;
}

/* The files go once their events are in the ledger: twice in is once in. */
static hm_status append_batch(hm_recorder *recorder, batch *b, hm_error **error) {
    const hm_event *list[BATCH];
    for (size_t i = 0; i < b->count; i++) {
        list[i] = &b->events[i];
    }
    hm_status status =
        b->count > 0 ? hm_ledger_append(recorder->ledger, list, b->count, error) : HM_OK;
    for (size_t i = 0; i < b->count && status == HM_OK; i++) {
        (void)hm_outbox_remove(recorder->outbox, b->names[i]);
    }
    batch_free(b);
    return status;
}

/* One that cannot be read stays, and keeps no other from the ledger. */
static void read_into(hm_recorder *recorder, batch *b, const char *name) {
    hm_auto_error cause = NULL;
    hm_event event = {.kind = 0};
    if (hm_outbox_get_event(recorder->outbox, name, &event, &cause) == HM_OK) {
        b->names[b->count] = name;
        b->events[b->count++] = event;
        return;
    }
    hm_event_free(&event);
    hm_auto_free char *path = hm_textf("%s/%s", recorder->outbox, name);
    if (path == NULL || hm_path_taken(path)) { /* or somebody else has brought it there */
        hm_recorder_note(recorder, cause);
    }
}

static hm_status append_waiting(hm_recorder *recorder, hm_error **error) {
    char **names = NULL;
    size_t count = 0;
    hm_status status = hm_recorder_waiting(recorder, &names, &count, error);
    if (count == 0) {
        return status;
    }
    batch *b = hm_alloc(1, sizeof *b);
    status = b != NULL ? HM_OK : hm_fail_memory(error);
    for (size_t i = 0; i < count && status == HM_OK; i++) {
        read_into(recorder, b, names[i]);
        if (b->count == BATCH || i + 1 == count) {
            status = append_batch(recorder, b, error);
        }
    }
    if (b != NULL) {
        batch_free(b);
    }
    free(b);
    hm_text_list_free(&names, count);
    return status;
}

hm_status hm_recorder_append(hm_recorder *recorder, const hm_event *const *events, size_t count,
                             hm_error **error) {
    if (!recorder->has_ledger) {
        return HM_OK;
    }
    hm_status status = open_ledger(recorder, error);
    if (status == HM_OK) {
        status = append_waiting(recorder, error);
    }
    if (status == HM_OK && count > 0) {
        status = hm_ledger_append(recorder->ledger, events, count, error);
    }
    recorder->ledger_failed = status != HM_OK;
    if (status != HM_OK) {
        hm_ledger_close(&recorder->ledger);
    }
    return status;
}

static hm_status put_all(hm_recorder *recorder, const hm_events *events, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < events->count && status == HM_OK; i++) {
        status = hm_outbox_put_event(recorder->outbox, &events->list[i], recorder->tag, error);
    }
    return status;
}

hm_status hm_recorder_keep(hm_recorder *recorder, const hm_events *events, hm_error **error) {
    hm_auto_error cause = NULL;
    const hm_event **list = hm_alloc(events->count, sizeof *list);
    if (list == NULL) {
        return hm_fail_memory(error);
    }
    for (size_t i = 0; i < events->count; i++) {
        list[i] = &events->list[i];
    }
    hm_status status = hm_recorder_append(recorder, list, events->count, &cause);
    free((void *)list);
    if (status == HM_OK) {
        return HM_OK;
    }
    if (recorder->outbox == NULL || put_all(recorder, events, NULL) != HM_OK) {
        return hm_error_move(error, &cause);
    }
    hm_recorder_note(recorder, cause);
    return HM_OK;
}

/* ---- standard error, and those who are told -------------------------------------------------- */

/* A line in one write, so that lines of several processes do not mix. */
static hm_status log_event(const hm_event *event, hm_error **error) {
    hm_auto_buf line = {.data = NULL};
    hm_status status = hm_event_write(event, &line, error);
    hm_buf_add_byte(&line, '\n');
    if (status == HM_OK) {
        status = hm_buf_check(&line, error);
    }
    if (status == HM_OK && write(STDERR_FILENO, line.data, line.length) != (ssize_t)line.length) {
        status = hm_fail_errno(error, errno, "cannot write the event to standard error");
    }
    return status;
}

static hm_status log_all(const hm_events *events, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < events->count && status == HM_OK; i++) {
        status = log_event(&events->list[i], error);
    }
    return status;
}

static bool is_told(const hm_alert_config *alert, const hm_event *event) {
    return (alert->events & (UINT64_C(1) << event->kind)) != 0;
}

static bool anybody_is_told(const hm_recorder *recorder, const hm_events *events) {
    for (size_t i = 0; i < recorder->config->alert_count; i++) {
        for (size_t j = 0; j < events->count; j++) {
            if (is_told(&recorder->config->alerts[i], &events->list[j])) {
                return true;
            }
        }
    }
    return false;
}

static hm_status put_alerts(hm_recorder *recorder, const hm_event *event, hm_error **error) {
    const hm_config *config = recorder->config;
    hm_status status = HM_OK;
    for (size_t i = 0; i < config->alert_count && status == HM_OK; i++) {
        if (is_told(&config->alerts[i], event)) {
            status = hm_outbox_put_alert(recorder->outbox, event, recorder->tag,
                                         config->alerts[i].name, error);
        }
    }
    return status;
}

static hm_status need_outbox(const hm_recorder *recorder, hm_error **error) {
    if (recorder->outbox != NULL) {
        return hm_outbox_ready(recorder->outbox, error);
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                  "there is no outbox, and alerts that cannot be delivered would be lost");
    hm_error_add_hint(error, "name a directory with \"outbox\" in the configuration");
    return HM_UNDECIDED;
}

/*
 * Before the events go into the ledger: whoever finds an alert puts its event there first, so that
 * a program that is killed in between leaves neither without the other.
 */
static hm_status put_all_alerts(hm_recorder *recorder, const hm_events *events, hm_error **error) {
    if (!anybody_is_told(recorder, events)) {
        return HM_OK;
    }
    hm_status status = need_outbox(recorder, error);
    for (size_t i = 0; i < events->count && status == HM_OK; i++) {
        status = put_alerts(recorder, &events->list[i], error);
    }
    return status;
}

/* ---- the recorder ---------------------------------------------------------------------------- */

hm_status hm_recorder_new(const hm_config *config, const char *outbox, hm_recorder **recorder,
                          hm_error **error) {
    hm_recorder *made = hm_alloc(1, sizeof *made);
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    made->config = config;
    made->outbox = outbox != NULL ? hm_strdup(outbox) : NULL;
    hm_status status =
        outbox == NULL || made->outbox != NULL ? make_tag(made, error) : hm_fail_memory(error);
    if (status != HM_OK) {
        free(made->outbox);
        free(made);
        return status;
    }
    *recorder = made;
    return HM_OK;
}

hm_status hm_recorder_ready(hm_recorder *recorder, hm_error **error) {
    hm_auto_error cause = NULL;
    if (recorder->config->alert_count > 0) {
        hm_status status = need_outbox(recorder, error);
        if (status != HM_OK) {
            return status;
        }
    }
    hm_status status = recorder->has_ledger ? open_ledger(recorder, &cause) : HM_OK;
    if (status == HM_OK && recorder->has_ledger) {
        status = hm_ledger_ready(recorder->ledger, &cause);
    }
    if (status == HM_OK) {
        return HM_OK;
    }
    recorder->ledger_failed = true;
    hm_ledger_close(&recorder->ledger);
    if (recorder->outbox == NULL || hm_outbox_ready(recorder->outbox, NULL) != HM_OK) {
        return hm_error_move(error, &cause);
    }
    hm_recorder_note(recorder, cause);
    return HM_OK;
}

hm_status hm_recorder_add(hm_recorder *recorder, const hm_events *events, hm_error **error) {
    if (events->count == 0 || !hm_recorder_active(recorder)) {
        return HM_OK;
    }
    recorder->delivered = false;
    hm_status status = put_all_alerts(recorder, events, error);
    if (status == HM_OK && recorder->has_ledger) {
        status = hm_recorder_keep(recorder, events, error);
    }
    if (status == HM_OK && recorder->config->log_json) {
        status = log_all(events, error);
    }
    return status;
}

void hm_recorder_close(hm_recorder **recorder) {
    if (recorder == NULL || *recorder == NULL) {
        return;
    }
    size_t left = 0;
    if (!(*recorder)->delivered) {
        (void)!hm_recorder_deliver(*recorder, &left, NULL);
    }
    hm_ledger_close(&(*recorder)->ledger);
    free((*recorder)->outbox);
    free((*recorder)->trouble);
    free(*recorder);
    *recorder = NULL;
}
