/* SPDX-License-Identifier: Apache-2.0 */
#include "record/event.h"

#include "base/json.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/rand.h>

static const char schema[] = "hallmark-event-v1";
static const char what[] = "event";
static const char cut_mark[] = "\\u2026"; /* an ellipsis */
/* Bytes of one text as JSON has it. All texts of an event together stay below HM_EVENT_LIMIT. */
enum { TEXT_LIMIT = 4096, HIGHEST_VERSION_BITS = 53 };

/* The members that are texts, in the order in which they are written; `time` precedes them. */
typedef struct text_member {
    const char *name;
    size_t offset;
} text_member;

static const text_member texts_before[] = {
    {"host", offsetof(hm_event, host)},
    {"user", offsetof(hm_event, user)},
    {"store", offsetof(hm_event, store)},
    {"model", offsetof(hm_event, model)},
    {"source", offsetof(hm_event, source)},
    {"digest", offsetof(hm_event, digest)},
    {"previous", offsetof(hm_event, previous)},
    {"signer", offsetof(hm_event, signer)},
    {"fingerprint", offsetof(hm_event, fingerprint)},
};
static const text_member texts_after[] = {
    {"message", offsetof(hm_event, message)},
    {"quarantine", offsetof(hm_event, quarantine)},
};
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static char **text_of(hm_event *event, const text_member *member) {
    return (char **)(void *)((char *)event + member->offset);
}

static const char *text_in(const hm_event *event, const text_member *member) {
    const char *const *text = (const void *)((const char *)event + member->offset);
    return *text;
}

void hm_event_free(hm_event *event) {
    for (size_t i = 0; i < COUNT(texts_before); i++) {
        free(*text_of(event, &texts_before[i]));
    }
    for (size_t i = 0; i < COUNT(texts_after); i++) {
        free(*text_of(event, &texts_after[i]));
    }
    *event = (hm_event){.host = NULL};
}

/* ---- who, where ----------------------------------------------------------------------------- */

static char *find_host(void) {
    enum { LONGEST = 256 }; /* POSIX: 255 */
    char name[LONGEST] = "";
    bool known = gethostname(name, sizeof name - 1) == 0 && name[0] != '\0';
    return hm_strdup(known ? name : "unknown");
}

/* By whose rights the program works: the effective user, by name where it has one. */
static char *find_user(void) {
    enum { FIRST = 1024, MOST = 1 << 20 };
    uid_t uid = geteuid();
    struct passwd entry, *found = NULL;
    int code = ERANGE;
    hm_auto_free char *room = NULL;
    for (size_t size = FIRST; code == ERANGE && size <= MOST; size *= 2) {
        free(room);
        room = hm_alloc(size, 1);
        if (room == NULL) {
            return NULL;
        }
        code = getpwuid_r(uid, &entry, room, size, &found);
    }
    return found != NULL && found->pw_name[0] != '\0' ? hm_strdup(found->pw_name)
                                                      : hm_textf("%lu", (unsigned long)uid);
}

hm_status hm_event_init(hm_event *event, hm_event_kind kind, hm_error **error) {
    uint8_t id[HM_EVENT_ID_SIZE];
    *event = (hm_event){.kind = kind, .time = hm_time_now()};
    if (event->time < 0) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the clock makes no sense");
    }
    if (RAND_bytes(id, sizeof id) != 1) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "there are no random numbers");
    }
    hm_hex(id, sizeof id, event->id);
    event->host = find_host();
    event->user = find_user();
    if (event->host == NULL || event->user == NULL) {
        hm_event_free(event);
        return hm_fail_memory(error);
    }
    return HM_OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* A foreign text may be of any length; an event that could not be recorded would be worse. */
static void add_cut(hm_buf *out, hm_bytes text) {
    size_t begin = out->length, left = TEXT_LIMIT - (sizeof cut_mark - 1);
    hm_buf_add_byte(out, '"');
    for (size_t i = 0; i < text.length;) {
        hm_auto_buf piece = {.data = NULL};
        size_t length = hm_utf8_sequence(text.data + i, text.length - i, &(uint32_t){0});
        length = length > 0 ? length : 1;
        hm_json_quote(&piece, hm_bytes_of(text.data + i, length), true);
        out->failed |= piece.failed;
        if (piece.failed || out->length - begin + piece.length - 2 > left) {
            break;
        }
        hm_buf_add(out, piece.data + 1, piece.length - 2);
        i += length;
    }
    hm_buf_add_text(out, cut_mark);
    hm_buf_add_byte(out, '"');
}

static void write_text(hm_buf *out, const char *name, const char *text) {
    if (text == NULL) {
        return;
    }
    hm_auto_buf quoted = {.data = NULL};
    hm_json_quote(&quoted, hm_bytes_text(text), true);
    out->failed |= quoted.failed;
    hm_buf_add_format(out, ",\"%s\":", name);
    if (quoted.length > TEXT_LIMIT + 2) {
        add_cut(out, hm_bytes_text(text));
    } else {
        hm_buf_add(out, quoted.data, quoted.length);
    }
}

static void write_texts(hm_buf *out, const hm_event *event, const text_member *members,
                        size_t count) {
    for (size_t i = 0; i < count; i++) {
        write_text(out, members[i].name, text_in(event, &members[i]));
    }
}

static bool fit_to_write(const hm_event *event) {
    static const int64_t year_10000 = 253402300800;
    uint8_t id[HM_EVENT_ID_SIZE];
    return event->time >= 0 && event->time < year_10000 && hm_event_word(event->kind)[0] != '\0' &&
           hm_unhex(hm_bytes_text(event->id), id, sizeof id) &&
           event->key_version >> HIGHEST_VERSION_BITS == 0;
}

hm_status hm_event_write(const hm_event *event, hm_buf *out, hm_error **error) {
    size_t begin = out->length;
    if (!fit_to_write(event)) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "the event has no kind, id or time");
    }
    hm_buf_add_format(out, "{\"schema\":\"%s\",\"id\":\"%s\",\"event\":\"%s\",\"time\":\"", schema,
                      event->id, hm_event_word(event->kind));
    hm_buf_add_time(out, event->time);
    hm_buf_add_byte(out, '"');
    write_texts(out, event, texts_before, COUNT(texts_before));
    if (event->key_version > 0) {
        hm_buf_add_format(out, ",\"key_version\":%llu", (unsigned long long)event->key_version);
    }
    if (event->reason != HM_REASON_NONE) {
        write_text(out, "reason", hm_reason_word(event->reason));
    }
    write_texts(out, event, texts_after, COUNT(texts_after));
    hm_buf_add_byte(out, '}');
    hm_status status = hm_buf_check(out, error);
    return status == HM_OK && out->length - begin > HM_EVENT_LIMIT
               ? hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the event is too large")
               : status;
}

/* ---- reading -------------------------------------------------------------------------------- */

static hm_status malformed(hm_error **error, const char *why) {
    return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s: %s", what, why);
}

static hm_status take_head(hm_json *root, hm_event *event, hm_error **error) {
    hm_bytes is = {.data = NULL}, word = {.data = NULL};
    hm_status status = hm_json_take_text(root, what, "schema", &is, error);
    if (status == HM_OK && !hm_bytes_equal_text(is, schema)) {
        status = malformed(error, "its schema is not known");
    }
    if (status == HM_OK) {
        status = hm_json_take_hex(root, what, "id", HM_EVENT_ID_SIZE, event->id, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_text(root, what, "event", &word, error);
    }
    if (status == HM_OK && !hm_event_from_word(word, &event->kind)) {
        status = malformed(error, "there is no such event");
    }
    return status == HM_OK
               ? hm_json_take_time(root, what, "time", HM_TIME_NEVER, &event->time, error)
               : status;
}

static hm_status take_texts(hm_json *root, hm_event *event, const text_member *members,
                            size_t count, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < count && status == HM_OK; i++) {
        hm_bytes text = {.data = NULL};
        if (hm_json_get(root, members[i].name) == NULL) {
            continue;
        }
        status = hm_json_take_text(root, what, members[i].name, &text, error);
        if (status == HM_OK) {
            char **target = text_of(event, &members[i]);
            *target = hm_strndup((const char *)text.data, text.length);
            status = *target != NULL ? HM_OK : hm_fail_memory(error);
        }
    }
    return status;
}

static bool reason_from_word(hm_bytes word, hm_reason *reason) {
    for (int i = HM_REASON_NONE + 1; hm_reason_word((hm_reason)i)[0] != '\0'; i++) {
        if (hm_bytes_equal_text(word, hm_reason_word((hm_reason)i))) {
            *reason = (hm_reason)i;
            return true;
        }
    }
    return false;
}

static hm_status take_rest(hm_json *root, hm_event *event, hm_error **error) {
    hm_bytes word = {.data = NULL};
    hm_status status = HM_OK;
    if (hm_json_get(root, "key_version") != NULL) {
        status = hm_json_take_integer(root, what, "key_version", 1, &event->key_version, error);
    }
    if (status == HM_OK && hm_json_get(root, "reason") != NULL) {
        status = hm_json_take_text(root, what, "reason", &word, error);
        if (status == HM_OK && !reason_from_word(word, &event->reason)) {
            status = malformed(error, "there is no such reason");
        }
    }
    return status == HM_OK ? hm_json_refuse_rest(root, what, error) : status;
}

/* Another spelling of the same event would be another entry with the same meaning. */
static hm_status check_spelling(hm_bytes json, const hm_event *event, hm_error **error) {
    hm_auto_buf again = {.data = NULL};
    hm_auto_error cause = NULL;
    hm_status status = hm_event_write(event, &again, &cause);
    if (status != HM_OK && hm_error_is_memory(cause)) {
        return hm_error_move(error, &cause);
    }
    return status == HM_OK && hm_bytes_equal(hm_buf_view(&again), json)
               ? HM_OK
               : malformed(error, "it is not spelt as it is written");
}

static hm_status parse(hm_bytes json, hm_event *event, hm_error **error) {
    hm_auto_json doc = NULL;
    if (json.length > HM_EVENT_LIMIT) {
        return malformed(error, "it is too large");
    }
    hm_status status = hm_json_parse(json, what, &doc, error);
    if (status == HM_OK) {
        status = take_head(hm_json_root(doc), event, error);
    }
    if (status == HM_OK) {
        status = take_texts(hm_json_root(doc), event, texts_before, COUNT(texts_before), error);
    }
    if (status == HM_OK) {
        status = take_texts(hm_json_root(doc), event, texts_after, COUNT(texts_after), error);
    }
    if (status == HM_OK) {
        status = take_rest(hm_json_root(doc), event, error);
    }
    return status == HM_OK ? check_spelling(json, event, error) : status;
}

hm_status hm_event_parse(hm_bytes json, hm_event *event, hm_error **error) {
    *event = (hm_event){.host = NULL};
    hm_status status = parse(json, event, error);
    if (status != HM_OK) {
        hm_event_free(event);
    }
    return status;
}

/* ---- lists ---------------------------------------------------------------------------------- */

hm_status hm_events_add(hm_events *events, hm_event *event, hm_error **error) {
    if (!hm_grow(&events->list, events->count, &events->capacity, sizeof *events->list)) {
        hm_event_free(event);
        return hm_fail_memory(error);
    }
    events->list[events->count++] = *event;
    *event = (hm_event){.host = NULL};
    return HM_OK;
}

void hm_events_free(hm_events *events) {
    for (size_t i = 0; i < events->count; i++) {
        hm_event_free(&events->list[i]);
    }
    free(events->list);
    *events = (hm_events){.list = NULL};
}
