/* SPDX-License-Identifier: Apache-2.0 */
#include "record/ledger.h"

#include "record/ledger_backend.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/rand.h>

/* What JSON carries without loss. */
static const int64_t highest_sequence = INT64_C(1) << 53;

static const struct {
    const char *prefix;
    bool keep; /* it is part of what the backend is told */
    const hm_ledger_backend *backend;
} backends[] = {
    {"sqlite:", false, &hm_ledger_backend_sqlite},
    {"postgresql://", true, &hm_ledger_backend_postgres},
    {"postgres://", true, &hm_ledger_backend_postgres},
};

bool hm_ledger_function(void *library, const char *name, void *function) {
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found); /* ISO C converts no pointer to data into this one */
    return found != NULL;
}

static bool is_digest(hm_bytes text) {
    uint8_t digest[HM_FINGERPRINT_SIZE];
    return text.data != NULL && hm_unhex(text, digest, sizeof digest);
}

static hm_status fail_damaged(const hm_ledger *ledger, const char *why, hm_error **error) {
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the ledger %s is damaged: %s",
                  ledger->place, why);
    hm_error_add_hint(error, "'hallmark log verify' says what is left of it");
    return HM_UNDECIDED;
}

/* ---- numbers and texts that a statement gives ----------------------------------------------- */

static bool read_number(hm_bytes text, int64_t *number) {
    char *end = NULL;
    if (text.data == NULL || text.length == 0 || text.length > 20) {
        return false;
    }
    hm_auto_free char *copy = hm_strndup((const char *)text.data, text.length);
    if (copy == NULL) {
        return false;
    }
    errno = 0;
    *number = strtoll(copy, &end, 10);
    return errno == 0 && *end == '\0';
}

static hm_status take_number(void *context, const hm_bytes *values, size_t count,
                             hm_error **error) {
    (void)error;
    int64_t *number = context;
    return count == 1 && (values[0].data == NULL || read_number(values[0], number))
               ? HM_OK
               : hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the database gave no number");
}

/* ---- open ----------------------------------------------------------------------------------- */

static hm_status take_id(void *context, const hm_bytes *values, size_t count, hm_error **error) {
    hm_ledger *ledger = context;
    if (count != 1 || !is_digest(values[0]) || ledger->id[0] != '\0') {
        return fail_damaged(ledger, "it does not have one id", error);
    }
    memcpy(ledger->id, values[0].data, values[0].length);
    return HM_OK;
}

static hm_status read_id(hm_ledger *ledger, hm_error **error) {
    hm_sql sql = {.text = "SELECT id FROM ledger", .row = take_id, .context = ledger};
    ledger->id[0] = '\0';
    hm_status status = ledger->backend->run(ledger, &sql, error);
    return status == HM_OK && ledger->id[0] == '\0'
               ? fail_damaged(ledger, "it does not have one id", error)
               : status;
}

static hm_status write_id(hm_ledger *ledger, hm_error **error) {
    uint8_t binary[HM_FINGERPRINT_SIZE];
    char id[HM_LEDGER_HEX];
    hm_auto_buf time = {.data = NULL};
    if (hm_time_now() < 0) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the clock makes no sense");
    }
    if (RAND_bytes(binary, sizeof binary) != 1) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "there are no random numbers");
    }
    hm_hex(binary, sizeof binary, id);
    hm_buf_add_time(&time, hm_time_now());
    hm_status status = hm_buf_check(&time, error);
    hm_sql sql = {.text = "INSERT INTO ledger (id, created) VALUES ($1, $2)",
                  .parameters = {id, (const char *)time.data}};
    return status == HM_OK ? ledger->backend->run(ledger, &sql, error) : status;
}

static hm_status check_version(const hm_ledger *ledger, hm_error **error) {
    if (ledger->version > HM_LEDGER_VERSION) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_UNSUPPORTED,
                      "the ledger %s has version %llu, and this program knows up to %d",
                      ledger->place, (unsigned long long)ledger->version, HM_LEDGER_VERSION);
        hm_error_add_hint(error, "use the newest Hallmark that has written to it, or a newer one");
        return HM_UNDECIDED;
    }
    if (ledger->version == 0 && (ledger->flags & HM_LEDGER_CREATE) == 0) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "there is no ledger at %s",
                      ledger->place);
        hm_error_add_hint(error, "the first command that records something makes it");
        return HM_UNDECIDED;
    }
    return HM_OK;
}

/* Another process may have done the same while this one waited for its turn. */
static hm_status take_steps(hm_ledger *ledger, hm_error **error) {
    hm_status status = ledger->backend->read_version(ledger, error);
    if (status == HM_OK) {
        status = check_version(ledger, error);
    }
    for (uint64_t i = ledger->version; i < HM_LEDGER_VERSION && status == HM_OK; i++) {
        status = ledger->backend->script(ledger, ledger->backend->steps[i], error);
        if (status == HM_OK && i == 0) {
            status = write_id(ledger, error);
        }
    }
    return status;
}

static hm_status end_transaction(hm_ledger *ledger, hm_status status, hm_error **error) {
    if (status == HM_OK) {
        return ledger->backend->commit(ledger, error);
    }
    ledger->backend->rollback(ledger);
    return status;
}

static hm_status bring_up_to_date(hm_ledger *ledger, hm_error **error) {
    hm_status status = ledger->backend->begin(ledger, error);
    if (status != HM_OK) {
        return status;
    }
    status = end_transaction(ledger, take_steps(ledger, error), error);
    return status == HM_OK ? ledger->backend->read_version(ledger, error) : status;
}

static hm_status set_up(hm_ledger *ledger, hm_error **error) {
    hm_status status = check_version(ledger, error);
    bool old = ledger->version < HM_LEDGER_VERSION && (ledger->flags & HM_LEDGER_READ) == 0;
    if (status == HM_OK && old) {
        status = bring_up_to_date(ledger, error);
    }
    return status == HM_OK ? read_id(ledger, error) : status;
}

static hm_status choose_backend(const char *uri, hm_ledger *ledger, const char **where,
                                hm_error **error) {
    *where = uri;
    ledger->backend = &hm_ledger_backend_sqlite;
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        size_t length = strlen(backends[i].prefix);
        if (strncmp(uri, backends[i].prefix, length) == 0) {
            ledger->backend = backends[i].backend;
            *where = backends[i].keep ? uri : uri + length;
            return HM_OK;
        }
    }
    /* A database's URI that is misspelt must not become a file, named like its password. */
    size_t word = strcspn(uri, ":/");
    if (uri[word] == ':') {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "there is no kind of ledger \"%.*s:\"",
                      (int)word, uri);
        hm_error_add_hint(error, "a ledger is a path, sqlite:PATH or postgresql://...");
        return HM_USAGE;
    }
    return HM_OK;
}

hm_status hm_ledger_open(const char *uri, uint64_t flags, hm_ledger **ledger, hm_error **error) {
    hm_auto_ledger made = hm_alloc(1, sizeof *made);
    const char *where = NULL;
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    made->flags = flags;
    hm_status status = choose_backend(uri, made, &where, error);
    if (status == HM_OK && *where == '\0') {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "the ledger's name is empty");
    }
    if (status == HM_OK) {
        status = made->backend->open(made, where, flags, error);
    }
    if (status == HM_OK) {
        status = set_up(made, error);
    }
    if (status == HM_OK) {
        *ledger = made;
        made = NULL;
    }
    return status;
}

hm_status hm_ledger_open_configured(const hm_config *config, uint64_t flags, hm_ledger **ledger,
                                    hm_error **error) {
    hm_auto_free char *uri = NULL;
    *ledger = NULL;
    hm_status status = hm_config_ledger(config, &uri, error);
    return status == HM_OK && uri != NULL ? hm_ledger_open(uri, flags, ledger, error) : status;
}

void hm_ledger_close(hm_ledger **ledger) {
    if (*ledger != NULL) {
        if ((*ledger)->state != NULL) {
            (*ledger)->backend->close(*ledger);
        }
        free((*ledger)->place);
        free(*ledger);
        *ledger = NULL;
    }
}

void hm_ledger_describe(hm_buf *out) {
    hm_ledger_backend_sqlite.describe(out);
    hm_ledger_backend_postgres.describe(out);
}

const char *hm_ledger_place(const hm_ledger *ledger) {
    return ledger->place;
}

/* ---- append --------------------------------------------------------------------------------- */

void hm_entry_text(int64_t sequence, const char *previous, hm_bytes event, hm_buf *out) {
    hm_buf_add_format(out, "{\"sequence\":%lld,\"previous\":\"%s\",\"event\":", (long long)sequence,
                      previous);
    hm_buf_add(out, event.data, event.length);
    hm_buf_add_byte(out, '}');
}

static hm_status take_head(void *context, const hm_bytes *values, size_t count, hm_error **error) {
    hm_ledger_head *head = context;
    int64_t sequence = 0;
    if (count != 2 || !read_number(values[0], &sequence) || sequence < 1 ||
        sequence >= highest_sequence || !is_digest(values[1])) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                      "the newest entry of the ledger is damaged");
        hm_error_add_hint(error, "'hallmark log verify' says what is left of it");
        return HM_UNDECIDED;
    }
    head->sequence = (uint64_t)sequence;
    memcpy(head->digest, values[1].data, values[1].length);
    return HM_OK;
}

hm_status hm_ledger_find_head(hm_ledger *ledger, hm_ledger_head *head, hm_error **error) {
    hm_sql sql = {.text = "SELECT sequence, digest FROM entries ORDER BY sequence DESC LIMIT 1",
                  .row = take_head,
                  .context = head};
    *head = (hm_ledger_head){.sequence = 0};
    memcpy(head->digest, ledger->id, sizeof head->digest);
    return ledger->backend->run(ledger, &sql, error);
}

/* What an entry consists of besides its place. */
typedef struct entry_content {
    hm_buf json;
    hm_buf time;
    hm_event event; /* as the JSON reads, which is what the columns must say */
} entry_content;

static void content_free(entry_content *content) {
    hm_buf_free(&content->json);
    hm_buf_free(&content->time);
    hm_event_free(&content->event);
}

static hm_status make_content(const hm_event *event, entry_content *made, hm_error **error) {
    hm_status status = hm_event_write(event, &made->json, error);
    if (status == HM_OK) {
        status = hm_event_parse(hm_buf_view(&made->json), &made->event, error);
    }
    hm_buf_add_time(&made->time, event->time);
    return status == HM_OK ? hm_buf_check(&made->time, error) : status;
}

static hm_status digest_entry(int64_t sequence, const char *previous, hm_bytes json,
                              char digest[HM_LEDGER_HEX], hm_error **error) {
    hm_auto_buf text = {.data = NULL};
    hm_entry_text(sequence, previous, json, &text);
    hm_status status = hm_buf_check(&text, error);
    return status == HM_OK && !hm_fingerprint(hm_buf_view(&text), digest)
               ? hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot hash")
               : status;
}

static hm_status insert(hm_ledger *ledger, const hm_event *event, hm_ledger_head *head,
                        hm_error **error) {
    HM_CLEANUP(content_free) entry_content made = {.json = {.data = NULL}};
    char digest[HM_LEDGER_HEX];
    char sequence[32];
    int64_t next = (int64_t)head->sequence + 1;
    hm_status status = make_content(event, &made, error);
    if (status == HM_OK) {
        status = digest_entry(next, head->digest, hm_buf_view(&made.json), digest, error);
    }
    if (status != HM_OK) {
        return status;
    }
    (void)snprintf(sequence, sizeof sequence, "%lld", (long long)next);
    hm_sql sql = {.text = "INSERT INTO entries"
                          " (sequence, previous, digest, id, time, kind, model, event)"
                          " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                  .parameters = {sequence, head->digest, digest, event->id,
                                 (const char *)made.time.data, hm_event_word(event->kind),
                                 made.event.model, (const char *)made.json.data}};
    status = ledger->backend->run(ledger, &sql, error);
    if (status == HM_OK) {
        head->sequence++;
        memcpy(head->digest, digest, sizeof head->digest);
    }
    return status;
}

static hm_status is_there(hm_ledger *ledger, const char *id, bool *there, hm_error **error) {
    int64_t count = 0;
    hm_sql sql = {.text = "SELECT count(*) FROM entries WHERE id = $1",
                  .parameters = {id},
                  .row = take_number,
                  .context = &count};
    hm_status status = ledger->backend->run(ledger, &sql, error);
    *there = count > 0;
    return status;
}

static hm_status append_all(hm_ledger *ledger, const hm_event *const *events, size_t count,
                            hm_error **error) {
    hm_ledger_head head;
    hm_status status = hm_ledger_find_head(ledger, &head, error);
    for (size_t i = 0; i < count && status == HM_OK; i++) {
        bool there = false;
        status = is_there(ledger, events[i]->id, &there, error);
        if (status == HM_OK && !there) {
            status = insert(ledger, events[i], &head, error);
        }
    }
    return status;
}

hm_status hm_ledger_append(hm_ledger *ledger, const hm_event *const *events, size_t count,
                           hm_error **error) {
    hm_status status = count > 0 ? ledger->backend->begin(ledger, error) : HM_OK;
    return status == HM_OK && count > 0
               ? end_transaction(ledger, append_all(ledger, events, count, error), error)
               : status;
}

hm_status hm_ledger_ready(hm_ledger *ledger, hm_error **error) {
    hm_status status = ledger->backend->begin(ledger, error);
    if (status == HM_OK) {
        status = ledger->backend->ready(ledger, error);
        ledger->backend->rollback(ledger);
    }
    return status;
}

/* ---- read ----------------------------------------------------------------------------------- */

void hm_entries_free(hm_entries *entries) {
    for (size_t i = 0; i < entries->count; i++) {
        hm_entry *entry = &entries->list[i];
        free(entry->previous);
        free(entry->digest);
        free(entry->id);
        free(entry->time);
        free(entry->kind);
        free(entry->model);
        free(entry->event);
    }
    free(entries->list);
    *entries = (hm_entries){.list = NULL};
}

static bool take_text(hm_bytes value, bool optional, char **text, bool *torn) {
    if (value.data == NULL) {
        *torn |= !optional;
        *text = optional ? NULL : hm_strdup("");
        return optional || *text != NULL;
    }
    *torn |= memchr(value.data, '\0', value.length) != NULL;
    *text = hm_strndup((const char *)value.data, value.length);
    return *text != NULL;
}

static hm_status take_entry(void *context, const hm_bytes *values, size_t count, hm_error **error) {
    hm_entries *entries = context;
    if (!hm_grow(&entries->list, entries->count, &entries->capacity, sizeof *entries->list)) {
        return hm_fail_memory(error);
    }
    hm_entry *entry = &entries->list[entries->count++];
    *entry = (hm_entry){.torn = false};
    if (count != 8 || !read_number(values[0], &entry->sequence)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the database gave no entry");
    }
    bool taken = take_text(values[1], false, &entry->previous, &entry->torn) &&
                 take_text(values[2], false, &entry->digest, &entry->torn) &&
                 take_text(values[3], false, &entry->id, &entry->torn) &&
                 take_text(values[4], false, &entry->time, &entry->torn) &&
                 take_text(values[5], false, &entry->kind, &entry->torn) &&
                 take_text(values[6], true, &entry->model, &entry->torn) &&
                 take_text(values[7], false, &entry->event, &entry->torn);
    return taken ? HM_OK : hm_fail_memory(error);
}

/* One condition for all: what is not asked for is NULL. */
#define WANTED                                                                                     \
    "sequence > CAST($1 AS bigint)"                                                                \
    " AND (CAST($2 AS text) IS NULL OR time >= $2)"                                                \
    " AND (CAST($3 AS text) IS NULL OR model = $3)"                                                \
    " AND (CAST($4 AS text) IS NULL OR kind = $4)"

hm_status hm_ledger_read(hm_ledger *ledger, const hm_entry_query *query, hm_entries *page,
                         hm_error **error) {
    char after[32];
    (void)snprintf(after, sizeof after, "%lld", (long long)query->after);
    hm_sql sql = {.text = "SELECT sequence, previous, digest, id, time, kind, model, event"
                          " FROM entries WHERE " WANTED " ORDER BY sequence LIMIT 256",
                  .parameters = {after, query->since, query->model, query->kind},
                  .row = take_entry,
                  .context = page};
    hm_entries_free(page);
    return ledger->backend->run(ledger, &sql, error);
}

hm_status hm_ledger_skip(hm_ledger *ledger, hm_entry_query *query, uint64_t limit,
                         hm_error **error) {
    char after[32], most[32];
    int64_t first = INT64_MIN;
    limit = limit < (uint64_t)INT64_MAX ? limit : (uint64_t)INT64_MAX;
    (void)snprintf(after, sizeof after, "%lld", (long long)query->after);
    (void)snprintf(most, sizeof most, "%llu", (unsigned long long)limit);
    hm_sql sql = {.text = "SELECT min(sequence) FROM (SELECT sequence FROM entries WHERE " WANTED
                          " ORDER BY sequence DESC LIMIT CAST($5 AS bigint)) AS newest",
                  .parameters = {after, query->since, query->model, query->kind, most},
                  .row = take_number,
                  .context = &first};
    hm_status status = ledger->backend->run(ledger, &sql, error);
    if (status == HM_OK && first != INT64_MIN) {
        query->after = first - 1;
    }
    return status;
}

hm_status hm_ledger_count(hm_ledger *ledger, int64_t up_to, uint64_t *count, hm_error **error) {
    char last[32];
    int64_t found = 0;
    (void)snprintf(last, sizeof last, "%lld", (long long)up_to);
    hm_sql sql = {.text = "SELECT count(*) FROM entries WHERE sequence <= CAST($1 AS bigint)",
                  .parameters = {last},
                  .row = take_number,
                  .context = &found};
    hm_status status = ledger->backend->run(ledger, &sql, error);
    *count = (uint64_t)found;
    return status;
}
