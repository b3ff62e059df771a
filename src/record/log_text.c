/* SPDX-License-Identifier: Apache-2.0 */
#include "record/log_text.h"

#include <string.h>

enum { MODEL_WIDTH = 20, KIND_WIDTH = 12, VERSION_WIDTH = 12 };

/* Columns that a text takes: a byte each, but for the bytes that continue a character. */
static size_t columns(const hm_buf *text, size_t from) {
    size_t count = 0;
    for (size_t i = from; i < text->length; i++) {
        count += (text->data[i] & 0xc0) != 0x80;
    }
    return count;
}

static void add_padded(hm_buf *out, hm_bytes text, size_t width) {
    size_t begin = out->length;
    hm_buf_add_printable(out, text);
    for (size_t done = columns(out, begin); done < width && !out->failed; done++) {
        hm_buf_add_byte(out, ' ');
    }
    hm_buf_add_text(out, "  ");
}

/* Of a path its end, where the names are that differ. */
static hm_bytes tail_of(const char *text) {
    size_t length = strlen(text);
    const char *from = length > MODEL_WIDTH ? strchr(text + length - MODEL_WIDTH, '/') : NULL;
    return hm_bytes_text(from != NULL && from[1] != '\0' ? from + 1 : text);
}

static void add_part(hm_buf *out, bool *first, const char *before, const char *text) {
    if (text != NULL) {
        hm_buf_add_text(out, *first ? "" : "; ");
        hm_buf_add_text(out, before);
        hm_buf_add_printable(out, hm_bytes_text(text));
        *first = false;
    }
}

static void add_details(hm_buf *out, const hm_event *event) {
    bool first = true;
    add_part(out, &first, "by ", event->signer);
    add_part(out, &first, "",
             event->reason != HM_REASON_NONE ? hm_reason_word(event->reason) : NULL);
    add_part(out, &first, "", event->message);
    add_part(out, &first, "quarantine ", event->quarantine);
    hm_buf_add_text(out, first ? "" : " ");
    hm_buf_add_byte(out, '(');
    hm_buf_add_printable(out, hm_bytes_text(event->user != NULL ? event->user : "?"));
    hm_buf_add_byte(out, '@');
    hm_buf_add_printable(out, hm_bytes_text(event->host != NULL ? event->host : "?"));
    hm_buf_add_text(out, ")\n");
}

static hm_status fail_entry(const hm_entry *entry, const char *why, hm_error **error) {
    (void)hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "entry %lld of the ledger %s",
                  (long long)entry->sequence, why);
    hm_error_add_hint(error, "'hallmark log verify' says what else is wrong with it");
    return HM_REFUSED;
}

static hm_status read_event(const hm_entry *entry, hm_event *event, hm_error **error) {
    hm_auto_error cause = NULL;
    hm_status status = hm_event_parse(hm_bytes_text(entry->event), event, &cause);
    if (status == HM_UNDECIDED) {
        return hm_error_move(error, &cause);
    }
    if (status == HM_OK && !entry->torn) {
        return HM_OK;
    }
    return fail_entry(entry, "holds no event", error);
}

void hm_log_print_header(hm_buf *out) {
    hm_buf_add_format(out, "%8s  %-20s  %-*s  %-*s  %-*s  %s\n", "ENTRY", "TIME", KIND_WIDTH,
                      "EVENT", MODEL_WIDTH, "MODEL", VERSION_WIDTH, "VERSION", "DETAILS");
}

hm_status hm_log_print_entry(const hm_entry *entry, hm_buf *out, hm_error **error) {
    hm_auto_event event = {.host = NULL};
    hm_status status = read_event(entry, &event, error);
    if (status != HM_OK) {
        return status;
    }
    const char *version = event.digest != NULL ? event.digest : "-";
    size_t length = strlen(version);
    hm_buf_add_format(out, "%8lld  ", (long long)entry->sequence);
    hm_buf_add_time(out, event.time);
    hm_buf_add_text(out, "  ");
    add_padded(out, hm_bytes_text(hm_event_word(event.kind)), KIND_WIDTH);
    add_padded(out, event.model != NULL ? tail_of(event.model) : hm_bytes_text("-"), MODEL_WIDTH);
    add_padded(out, hm_bytes_of(version, length < VERSION_WIDTH ? length : VERSION_WIDTH),
               VERSION_WIDTH);
    add_details(out, &event);
    return hm_buf_check(out, error);
}

hm_status hm_log_print_json(const hm_entry *entry, hm_buf *out, hm_error **error) {
    hm_auto_event event = {.host = NULL};
    uint8_t previous[HM_FINGERPRINT_SIZE];
    hm_status status = read_event(entry, &event, error);
    if (status != HM_OK) {
        return status;
    }
    /* Else what stands there could be members of the line, such as another event. */
    if (!hm_unhex(hm_bytes_text(entry->previous), previous, sizeof previous)) {
        return fail_entry(entry, "does not name the one before it", error);
    }
    hm_entry_text(entry->sequence, entry->previous, hm_bytes_text(entry->event), out);
    hm_buf_add_byte(out, '\n');
    return hm_buf_check(out, error);
}
