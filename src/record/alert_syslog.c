/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system's log: journald's own protocol where its socket is, with a field for each thing that
 * one looks for; else a datagram to /dev/log in the form of RFC 3164 that local loggers take, whose
 * text is the event's JSON. Not by syslog(3), whose state belongs to the whole program.
 */
#include "record/alert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const char journal_socket[] = "/run/systemd/journal/socket";
static const char syslog_socket[] = "/dev/log";

/* RFC 5424, table 2. */
enum { SEVERITY_WARNING = 4, SEVERITY_NOTICE = 5, SEVERITY_INFO = 6 };

static unsigned severity_of(hm_event_kind kind) {
    switch (kind) {
    case HM_EVENT_REFUSED:
    case HM_EVENT_UNDECIDED:
    case HM_EVENT_REPAIRED:
    case HM_EVENT_ROLLED_BACK:
    case HM_EVENT_DEACTIVATED:
    case HM_EVENT_QUARANTINED:
    case HM_EVENT_KEY_REVOKED:
    case HM_EVENT_ALERT_FAILED: return SEVERITY_WARNING;
    case HM_EVENT_LET_THROUGH: return SEVERITY_NOTICE;
    default: return SEVERITY_INFO;
    }
}

/* ---- journald ------------------------------------------------------------------------------- */

/*
 * systemd's "Native Journal Protocol": a field is NAME=value and a line's end, or, for a value with
 * line ends in it, NAME, a line's end, the length in 64 bits little-endian, the value, a line's end.
 * The latter is taken for every value: one that holds a line's end adds no field of its own.
 */
static void add_field(hm_buf *out, const char *name, hm_bytes value) {
    uint8_t length[8];
    for (size_t i = 0; i < sizeof length; i++) {
        length[i] = (uint8_t)((uint64_t)value.length >> (8 * i));
    }
    hm_buf_add_text(out, name);
    hm_buf_add_byte(out, '\n');
    hm_buf_add(out, length, sizeof length);
    hm_buf_add(out, value.data, value.length);
    hm_buf_add_byte(out, '\n');
}

static void add_text_field(hm_buf *out, const char *name, const char *text) {
    if (text != NULL && *text != '\0') {
        add_field(out, name, hm_bytes_text(text));
    }
}

static void add_number_field(hm_buf *out, const char *name, unsigned number) {
    hm_buf_add_format(out, "%s=%u\n", name, number);
}

static void write_journal(const hm_alert *alert, hm_buf *out) {
    const hm_event *event = alert->event;
    hm_auto_buf line = {.data = NULL};
    hm_buf_add_format(&line, "%s %s", hm_event_word(event->kind),
                      event->model != NULL ? event->model : "");
    if (event->message != NULL) {
        hm_buf_add_format(&line, ": %s", event->message);
    }
    add_field(out, "MESSAGE", hm_buf_view(&line));
    add_number_field(out, "PRIORITY", severity_of(event->kind));
    add_number_field(out, "SYSLOG_FACILITY", alert->to->facility);
    add_text_field(out, "SYSLOG_IDENTIFIER", "hallmark");
    add_text_field(out, "HALLMARK_EVENT", hm_event_word(event->kind));
    add_text_field(out, "HALLMARK_EVENT_ID", event->id);
    add_text_field(out, "HALLMARK_MODEL", event->model);
    add_text_field(out, "HALLMARK_DIGEST", event->digest);
    add_text_field(out, "HALLMARK_SIGNER", event->signer);
    add_text_field(out, "HALLMARK_REASON", hm_reason_word(event->reason));
    add_field(out, "HALLMARK_JSON", alert->json);
    out->failed = out->failed || line.failed;
}

/* ---- syslog --------------------------------------------------------------------------------- */

/* RFC 3164, 4.1: "<PRI>Mmm dd hh:mm:ss TAG: text". Loggers on this machine add the host's name. */
static void write_syslog(const hm_alert *alert, hm_buf *out) {
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t seconds = (time_t)hm_time_now();
    struct tm now = {.tm_mday = 1};
    (void)localtime_r(&seconds, &now);
    hm_buf_add_format(out, "<%u>%s %2d %02d:%02d:%02d hallmark[%ld]: ",
                      alert->to->facility * 8 + severity_of(alert->event->kind), months[now.tm_mon],
                      now.tm_mday, now.tm_hour, now.tm_min, now.tm_sec, (long)getpid());
    hm_buf_add(out, alert->json.data, alert->json.length);
}

/* ---- sending -------------------------------------------------------------------------------- */

static hm_status send_to(const hm_alert *alert, const char *path, const hm_buf *text,
                         hm_error **error) {
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    const struct timeval longest = {.tv_sec = alert->to->timeout_ms / 1000};
    hm_auto_fd fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (strlen(path) >= sizeof place.sun_path) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is too long for a socket's name",
                       path);
    }
    memcpy(place.sun_path, path, strlen(path) + 1);
    bool sent = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof longest) == 0 &&
                connect(fd, (const struct sockaddr *)&place, sizeof place) == 0 &&
                send(fd, text->data, text->length, MSG_NOSIGNAL) == (ssize_t)text->length;
    return sent ? HM_OK : hm_fail_errno(error, errno, "cannot write to the log at %s", path);
}

hm_status hm_alert_syslog(const hm_alert *alert, uint64_t *pause, hm_error **error) {
    const char *path = alert->to->socket;
    bool journal = path != NULL ? alert->to->journal : access(journal_socket, W_OK) == 0;
    hm_auto_buf text = {.data = NULL};
    (void)pause;
    if (path == NULL) {
        path = journal ? journal_socket : syslog_socket;
    }
    if (journal) {
        write_journal(alert, &text);
    } else {
        write_syslog(alert, &text);
    }
    hm_status status = hm_buf_check(&text, error);
    return status == HM_OK ? send_to(alert, path, &text, error) : status;
}
