/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

size_t hm_utf8_sequence(const uint8_t *p, size_t left, uint32_t *code) {
    if (p[0] < 0x80) {
        *code = p[0];
        return 1;
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || left < length) {
        return 0;
    }
    uint32_t value = p[0] & (0x7fU >> length);
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        value = value << 6 | (p[i] & 0x3fU);
    }
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
        return 0;
    }
    *code = value;
    return length;
}

bool hm_utf8_valid(hm_bytes text) {
    size_t i = 0;
    while (i < text.length) {
        uint32_t code;
        size_t length = hm_utf8_sequence(text.data + i, text.length - i, &code);
        if (length == 0) {
            return false;
        }
        i += length;
    }
    return true;
}

/* What could move a cursor, hide text or turn its direction. */
static bool steers_terminal(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x061c ||
           (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2060 && code <= 0x206f) || code == 0xfeff;
}

bool hm_text_plain(hm_bytes text) {
    size_t i = 0;
    while (i < text.length) {
        uint32_t code = 0;
        size_t length = hm_utf8_sequence(text.data + i, text.length - i, &code);
        if (length == 0 || steers_terminal(code)) {
            return false;
        }
        i += length;
    }
    return true;
}

static void add_escape(hm_buf *buf, uint32_t code) {
    switch (code) {
    case '\n': hm_buf_add_text(buf, "\\n"); break;
    case '\r': hm_buf_add_text(buf, "\\r"); break;
    case '\t': hm_buf_add_text(buf, "\\t"); break;
    default:
        if (code < 0x80) {
            hm_buf_add_format(buf, "\\x%02x", code);
        } else {
            hm_buf_add_format(buf, "\\u%04x", code);
        }
    }
}

void hm_buf_add_printable(hm_buf *buf, hm_bytes text) {
    size_t i = 0;
    while (i < text.length) {
        uint32_t code;
        size_t length = hm_utf8_sequence(text.data + i, text.length - i, &code);
        if (length == 0) {
            hm_buf_add_format(buf, "\\x%02x", text.data[i]);
            length = 1;
        } else if (code == '\\') {
            hm_buf_add_text(buf, "\\\\");
        } else if (steers_terminal(code)) {
            add_escape(buf, code);
        } else {
            hm_buf_add(buf, text.data + i, length);
        }
        i += length;
    }
}

int64_t hm_now_ms(void) {
    struct timespec now = {.tv_sec = 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool hm_time_is_set(void) {
    return secure_getenv("HALLMARK_TIME") != NULL;
}

int64_t hm_time_now(void) {
    const char *set = secure_getenv("HALLMARK_TIME");
    if (set != NULL) {
        char *end;
        long long value = strtoll(set, &end, 10);
        return *set != '\0' && *end == '\0' && value >= 0 ? (int64_t)value : -1;
    }
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0 || now.tv_sec < 0) {
        return -1;
    }
    return (int64_t)now.tv_sec;
}

void hm_buf_add_time(hm_buf *buf, int64_t time) {
    time_t seconds = (time_t)time;
    struct tm parts;
    if (gmtime_r(&seconds, &parts) == NULL) {
        hm_buf_add_text(buf, "unknown time");
        return;
    }
    hm_buf_add_format(buf, "%04d-%02d-%02dT%02d:%02d:%02dZ", parts.tm_year + 1900, parts.tm_mon + 1,
                      parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

bool hm_time_parse(hm_bytes text, int64_t *time) {
    static const char form[] = "dddd-dd-ddTdd:dd:ddZ";
    int parts[6] = {0};
    size_t part = 0;
    if (text.length != sizeof form - 1) {
        return false;
    }
    for (size_t i = 0; i < text.length; i++) {
        bool digit = text.data[i] >= '0' && text.data[i] <= '9';
        if (form[i] == 'd' ? !digit : text.data[i] != (uint8_t)form[i]) {
            return false;
        }
        if (digit) {
            parts[part] = parts[part] * 10 + (text.data[i] - '0');
        } else {
            part++;
        }
    }
    struct tm read = {.tm_year = parts[0] - 1900,
                      .tm_mon = parts[1] - 1,
                      .tm_mday = parts[2],
                      .tm_hour = parts[3],
                      .tm_min = parts[4],
                      .tm_sec = parts[5]};
    struct tm asked = read;
    time_t value = timegm(&read); /* which makes March 2nd of February 30th */
    if (value < 0 || read.tm_year != asked.tm_year || read.tm_mon != asked.tm_mon ||
        read.tm_mday != asked.tm_mday || read.tm_hour != asked.tm_hour ||
        read.tm_min != asked.tm_min || read.tm_sec != asked.tm_sec) {
        return false;
    }
    *time = (int64_t)value;
    return true;
}

/* "90d": so many days from now. */
static bool days_from_now(const char *text, int64_t *time) {
    enum { MOST_DAYS = 36500, DAY = 24 * 60 * 60 };
    size_t digits = strspn(text, "0123456789");
    int64_t now = hm_time_now();
    if (digits == 0 || digits > 5 || strcmp(text + digits, "d") != 0 || now < 0) {
        return false;
    }
    long days = strtol(text, NULL, 10);
    *time = now + days * (int64_t)DAY;
    return days <= MOST_DAYS;
}

hm_status hm_time_from_text(const char *text, int64_t *time, hm_error **error) {
    hm_auto_buf whole = {0};
    if (text == NULL || time == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_time_from_text: an argument is missing");
    }
    hm_buf_add_format(&whole, "%sT00:00:00Z", text);
    hm_status status = hm_buf_check(&whole, error);
    if (status != HM_OK) {
        return status;
    }
    if (hm_time_parse(hm_bytes_text(text), time) || hm_time_parse(hm_buf_view(&whole), time) ||
        days_from_now(text, time)) {
        return HM_OK;
    }
    status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "\"%s\" is not a time", text);
    hm_error_add_hint(error,
                      "times are 2026-01-05T20:31:07Z or 2026-01-05, both in UTC, or a number "
                      "of days from now such as 90d");
    return status;
}

char *hm_path_base(const char *path) {
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/') {
        end--;
    }
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') {
        start--;
    }
    return hm_strndup(path + start, end - start);
}
