/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* C0, DEL, and C1 as UTF-8 has it. */
static bool steers(const unsigned char *p) {
    return *p < 0x20 || *p == 0x7f || (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) ||
           (p[0] >= 0x80 && p[0] < 0xa0);
}

/* Inside a character that began before `p`. */
static size_t whole_character(const unsigned char *p) {
    size_t length = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : *p >= 0xc3 ? 2 : 1;
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 1;
        }
    }
    return length;
}

void cli_write_safe(FILE *stream, const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    while (*p != '\0') {
        size_t length = steers(p) ? 0 : whole_character(p);
        if (length == 0) {
            fprintf(stream, "\\x%02x", *p++);
        } else {
            fwrite(p, 1, length, stream);
            p += length;
        }
    }
}

void cli_complain_list(const char *format, va_list args) {
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    fputs("hallmark: ", stderr);
    cli_write_safe(stderr, length >= 0 ? text : "out of memory");
    fputc('\n', stderr);
    if (length >= 0) {
        free(text);
    }
}

void cli_complain(const char *format, ...) {
    va_list args;
    va_start(args, format);
    cli_complain_list(format, args);
    va_end(args);
}

int cli_fail(hm_status status, hm_error **error) {
    const char *word = hm_reason_word(hm_error_reason(*error));
    fprintf(stderr, "hallmark: %s%s%s%s\n",
            *error != NULL ? hm_error_message(*error) : "out of memory", *word != '\0' ? " (" : "",
            word, *word != '\0' ? ")" : "");
    if (*hm_error_hint(*error) != '\0') {
        fprintf(stderr, "hallmark: %s\n", hm_error_hint(*error));
    }
    hm_error_free(error);
    return status == HM_OK ? HM_UNDECIDED : (int)status;
}

static bool colours(FILE *stream) {
    return isatty(fileno(stream)) == 1 && getenv("NO_COLOR") == NULL;
}

/* A report that nobody could read is no success. */
static int check_written(FILE *stream, int status) {
    if (fflush(stream) == 0 && !ferror(stream)) {
        return status;
    }
    cli_complain("cannot write the report: %s", strerror(errno));
    return status == HM_OK ? HM_UNDECIDED : status;
}

static hm_status render(const hm_report *report, bool json, bool list, FILE *stream, char **text,
                        hm_error **error) {
    if (json) {
        return hm_report_json(report, text, error);
    }
    uint64_t flags = list ? HM_TEXT_LIST : 0;
    return hm_report_text(report, flags | (colours(stream) ? HM_TEXT_COLOUR : 0), text, error);
}

/* A report that says no more than the error is not worth its lines. */
static bool worth_showing(const hm_report *report, bool json, hm_status status) {
    return report != NULL && (json || status == HM_OK || status == HM_LET_THROUGH ||
                              hm_report_finding_count(report) > 0);
}

static int show(const hm_report *report, hm_status status, hm_error **error, bool json, bool list) {
    hm_error *unmade = NULL;
    char *text = NULL;
    FILE *stream = json || status == HM_OK ? stdout : stderr;
    if (render(report, json, list, stream, &text, &unmade) != HM_OK) {
        int code = status == HM_OK ? cli_fail(HM_UNDECIDED, &unmade) : cli_fail(status, error);
        hm_error_free(&unmade);
        return code;
    }
    fputs(text, stream);
    if (json) {
        fputc('\n', stream);
    }
    hm_text_free(&text);
    return check_written(stream, (int)status);
}

/* On a terminal only, where it is read once and disturbs nothing. */
static void advise(const hm_report *report, const cli_work *work) {
    double times = report != NULL ? hm_report_shards_speedup(report) : 0;
    if (times > 0 && work != NULL && !work->no_progress && isatty(STDERR_FILENO) == 1) {
        cli_complain("by shards this model would be verified about %.0f times as fast; "
                     "'hallmark sign --files --shards' writes both signatures",
                     times);
    }
}

int cli_finish(const char *operation, const char *model, hm_status status, hm_report **report,
               hm_error **error, const cli_work *work) {
    hm_error *unmade = NULL;
    bool json = work != NULL && work->json;
    bool list = work != NULL && work->list;
    if (*report == NULL && json && *error != NULL &&
        hm_report_from_error(operation, model, *error, report, &unmade) != HM_OK) {
        hm_error_free(&unmade);
    }
    int code = worth_showing(*report, json, status) ? show(*report, status, error, json, list)
                                                    : cli_fail(status, error);
    if (!json) {
        advise(*report, work);
    } else if (status == HM_LET_THROUGH) {
        cli_complain("%s", hm_error_message(*error)); /* in every log, whoever reads the JSON */
    }
    hm_error_free(error);
    hm_report_free(report);
    return code;
}
