/* SPDX-License-Identifier: Apache-2.0 */
#include "record/ledger_seen.h"

#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char schema[] = "hallmark-ledger-seen-v1";
enum { SEEN_FILE_LIMIT = 64 * 1024 };

static hm_status find_place(char **directory, bool *none, hm_error **error) {
    return hm_state_directory("ledgers", "how far the ledger had come", directory, none, error);
}

/* One file per place; its name is not fit for a file name. */
static hm_status name_file(const char *directory, const hm_ledger *ledger, char **path,
                           hm_error **error) {
    char hex[HM_LEDGER_HEX];
    if (!hm_fingerprint(hm_bytes_text(ledger->place), hex)) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot hash");
    }
    *path = hm_textf("%s/%s.json", directory, hex);
    return *path != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status parse(hm_bytes text, const char *what, const hm_ledger *ledger,
                       hm_ledger_seen *seen, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_bytes is = {.data = NULL}, place = {.data = NULL};
    uint64_t sequence = 0;
    hm_status status = hm_json_parse(text, what, &doc, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json *root = hm_json_root(doc);
    status = hm_json_take_text(root, what, "schema", &is, error);
    if (status == HM_OK) {
        status = hm_json_take_text(root, what, "ledger", &place, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_hex(root, what, "id", HM_FINGERPRINT_SIZE, seen->id, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_integer(root, what, "sequence", 0, &sequence, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_hex(root, what, "digest", HM_FINGERPRINT_SIZE, seen->digest, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_time(root, what, "time", HM_TIME_NEVER, &seen->time, error);
    }
    seen->sequence = (int64_t)sequence;
    if (status == HM_OK &&
        (!hm_bytes_equal_text(is, schema) || !hm_bytes_equal_text(place, ledger->place))) {
        status =
            hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s is about something else", what);
    }
    return status == HM_OK ? hm_json_refuse_rest(root, what, error) : status;
}

/* What cannot be read decides nothing; to take it for nothing would be to forget. */
static hm_status read_file(const char *directory, const char *path, const hm_ledger *ledger,
                           hm_ledger_seen *seen, hm_error **error) {
    hm_auto_buf file = {.data = NULL};
    hm_auto_error cause = NULL;
    bool there = false;
    hm_status status = hm_state_read(directory, path, SEEN_FILE_LIMIT, &file, &there, &cause);
    if (status == HM_OK && there) {
        status = parse(hm_buf_view(&file), path, ledger, seen, &cause);
    }
    if (status == HM_OK || hm_error_is_memory(cause)) {
        return status == HM_OK ? HM_OK : hm_fail_memory(error);
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s", hm_error_message(cause));
    hm_error_add_hint(error, "this file remembers how far the ledger had come; without it a "
                             "shortened one would pass unnoticed");
    return HM_UNDECIDED;
}

static hm_status say_unremembered(char **warning, const char *cause, hm_error **error) {
    *warning = hm_textf("how far the ledger has come is not remembered here: %s", cause);
    return *warning != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status warn_of(char **warning, const hm_error *cause, hm_error **error) {
    return hm_error_is_memory(cause) ? hm_fail_memory(error)
                                     : say_unremembered(warning, hm_error_message(cause), error);
}

hm_status hm_ledger_seen_read(const hm_ledger *ledger, hm_ledger_seen *seen, char **warning,
                              hm_error **error) {
    hm_auto_free char *directory = NULL, *path = NULL;
    hm_auto_error cause = NULL;
    bool none = false;
    *seen = (hm_ledger_seen){.sequence = 0};
    *warning = NULL;
    hm_status status = find_place(&directory, &none, &cause);
    if (none) {
        return say_unremembered(warning, "HALLMARK_STATE_DIR=none", error);
    }
    if (status == HM_UNDECIDED) {
        return warn_of(warning, cause, error);
    }
    if (status != HM_OK) {
        return hm_error_move(error, &cause);
    }
    status = name_file(directory, ledger, &path, error);
    return status == HM_OK ? read_file(directory, path, ledger, seen, error) : status;
}

static hm_status write_file(const char *path, const hm_ledger *ledger, const hm_ledger_seen *seen,
                            hm_error **error) {
    hm_auto_buf text = {.data = NULL};
    hm_json_writer w = {.out = &text, .indent = 2};
    hm_json_begin_object(&w);
    hm_json_member(&w, "schema", schema);
    hm_json_member(&w, "ledger", ledger->place);
    hm_json_member(&w, "id", seen->id);
    hm_json_member_number(&w, "sequence", (uint64_t)seen->sequence);
    hm_json_member(&w, "digest", seen->digest);
    hm_json_member_time(&w, "time", seen->time);
    hm_json_end_object(&w);
    hm_buf_add_byte(&text, '\n');
    hm_status status = hm_buf_check(&text, error);
    return status == HM_OK ? hm_write_file(path, hm_buf_view(&text), 0600, HM_WRITE_REPLACE, error)
                           : status;
}

/* Under the lock: another reader may have seen more meanwhile. */
static hm_status remember(const char *directory, const hm_ledger *ledger,
                          const hm_ledger_seen *seen, hm_error **error) {
    hm_auto_free char *path = NULL;
    hm_auto_fd lock = -1;
    hm_ledger_seen before = {.sequence = 0};
    hm_status status = hm_state_lock(directory, &lock, error);
    if (status == HM_OK) {
        status = name_file(directory, ledger, &path, error);
    }
    if (status == HM_OK) {
        status = read_file(directory, path, ledger, &before, error);
    }
    bool newer = before.id[0] == '\0' || seen->sequence > before.sequence;
    return status == HM_OK && newer ? write_file(path, ledger, seen, error) : status;
}

hm_status hm_ledger_seen_write(const hm_ledger *ledger, const hm_ledger_seen *seen, char **warning,
                               hm_error **error) {
    hm_auto_free char *directory = NULL;
    hm_auto_error cause = NULL;
    bool none = false;
    *warning = NULL;
    hm_status status = find_place(&directory, &none, &cause);
    if (status == HM_OK && !none) {
        status = remember(directory, ledger, seen, &cause);
    }
    return status == HM_OK ? HM_OK : warn_of(warning, cause, error);
}
