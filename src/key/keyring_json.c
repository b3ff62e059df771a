/* SPDX-License-Identifier: Apache-2.0 */
/* keyring.json: what is recorded of the versions of a key. */
#include "key/keyring.h"

#include <string.h>

static const char schema[] = "hallmark-keyring-v1";

/* ---- texts ---------------------------------------------------------------------------------- */

bool hm_keyring_text_valid(hm_bytes text) {
    return text.length > 0 && text.length <= HM_KEYRING_TEXT_LIMIT && hm_text_plain(text) &&
           memchr(text.data, '\\', text.length) == NULL;
}

bool hm_keyring_base_valid(hm_bytes base) {
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    enum { BASE_LIMIT = 100 };
    if (base.length == 0 || base.length > BASE_LIMIT || base.data[0] == '\0' ||
        strchr(first, base.data[0]) == NULL) {
        return false;
    }
    for (size_t i = 0; i < base.length; i++) {
        uint8_t c = base.data[i];
        if (c == '\0' || (strchr(first, c) == NULL && strchr("._-", c) == NULL)) {
            return false;
        }
    }
    return true;
}

/* ---- members -------------------------------------------------------------------------------- */

hm_status hm_keyring_take_line(hm_json *object, const char *what, const char *name, char **text,
                               hm_error **error) {
    hm_bytes found;
    hm_status status = hm_json_take_text(object, what, name, &found, error);
    if (status != HM_OK) {
        return status;
    }
    if (!hm_keyring_text_valid(found)) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "%s: \"%s\" must be one line of printable text, of at most %d bytes", what,
                       name, HM_KEYRING_TEXT_LIMIT);
    }
    *text = hm_strndup((const char *)found.data, found.length);
    return *text != NULL ? HM_OK : hm_fail_memory(error);
}

hm_status hm_keyring_take_fingerprint(hm_json *object, const char *what, const char *name,
                                      char *fingerprint, hm_error **error) {
    hm_bytes found;
    uint8_t digest[HM_FINGERPRINT_SIZE];
    hm_status status = hm_json_take_text(object, what, name, &found, error);
    if (status == HM_OK && !hm_unhex(found, digest, sizeof digest)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                         "%s: \"%s\" must be 64 lower-case hex digits", what, name);
    }
    if (status == HM_OK) {
        hm_hex(digest, sizeof digest, fingerprint);
    }
    return status;
}

static void free_entry(hm_keyring_entry *entry) {
    hm_auto_free_(&entry->algorithm);
    hm_auto_free_(&entry->reason);
    *entry = (hm_keyring_entry){.version = 0};
}

void hm_keyring_free(hm_keyring *ring) {
    for (size_t i = 0; i < ring->count; i++) {
        free_entry(&ring->entries[i]);
    }
    for (size_t i = 0; i < ring->stray_count; i++) {
        hm_auto_free_(&ring->strays[i]);
    }
    hm_auto_free_(&ring->entries);
    hm_auto_free_(&ring->strays);
    hm_auto_free_(&ring->path);
    hm_auto_free_(&ring->base);
    hm_auto_free_(&ring->signer);
    *ring = (hm_keyring){.path = NULL};
}

hm_status hm_keyring_add(hm_keyring *ring, hm_keyring_entry *entry, hm_error **error) {
    if (!hm_grow(&ring->entries, ring->count, &ring->capacity, sizeof(hm_keyring_entry))) {
        return hm_fail_memory(error);
    }
    ring->entries[ring->count++] = *entry;
    *entry = (hm_keyring_entry){.version = 0};
    return HM_OK;
}

/* ---- reading -------------------------------------------------------------------------------- */

static hm_status parse_revocation(hm_json *member, const char *what, hm_keyring_entry *entry,
                                  hm_error **error) {
    if (member->type == HM_JSON_NULL) {
        return HM_OK;
    }
    hm_status status =
        hm_json_take_time(member, what, "since", HM_TIME_ALWAYS, &entry->revoked_since, error);
    if (status == HM_OK && entry->revoked_since == HM_TIME_ALWAYS) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s: \"since\" is null", what);
    }
    if (status == HM_OK) {
        status = hm_keyring_take_line(member, what, "reason", &entry->reason, error);
    }
    entry->revoked = true;
    return status == HM_OK ? hm_json_refuse_rest(member, what, error) : status;
}

static hm_status parse_times(hm_json *object, const char *what, hm_keyring_entry *entry,
                             hm_error **error) {
    hm_status status =
        hm_json_take_time(object, what, "created", HM_TIME_ALWAYS, &entry->created, error);
    if (status == HM_OK) {
        status = hm_json_take_time(object, what, "signs_from", HM_TIME_ALWAYS, &entry->signs_from,
                                   error);
    }
    return status == HM_OK ? hm_json_take_time(object, what, "not_after", HM_TIME_NEVER,
                                               &entry->not_after, error)
                           : status;
}

static hm_status parse_entry(hm_json *object, const char *what, hm_keyring_entry *entry,
                             hm_error **error) {
    hm_status status = hm_json_take_integer(object, what, "version", 1, &entry->version, error);
    if (status == HM_OK) {
        status =
            hm_keyring_take_fingerprint(object, what, "fingerprint", entry->fingerprint, error);
    }
    if (status == HM_OK) {
        status = hm_keyring_take_line(object, what, "algorithm", &entry->algorithm, error);
    }
    if (status == HM_OK) {
        status = parse_times(object, what, entry, error);
    }
    hm_json *revoked = hm_json_take_any(object, "revoked");
    if (status == HM_OK && revoked == NULL) {
        status =
            hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s: \"revoked\" is missing", what);
    }
    if (status == HM_OK) {
        status = parse_revocation(revoked, what, entry, error);
    }
    return status == HM_OK ? hm_json_refuse_rest(object, what, error) : status;
}

static bool knows_fingerprint(const hm_keyring *ring, const char *fingerprint) {
    for (size_t i = 0; i < ring->count; i++) {
        if (strcmp(ring->entries[i].fingerprint, fingerprint) == 0) {
            return true;
        }
    }
    return false;
}

/* One number per key and one key per number, or a revocation could miss the key it is for. */
static hm_status add_parsed(hm_keyring *ring, hm_keyring_entry *entry, const char *what,
                            hm_error **error) {
    if (ring->count > 0 && entry->version <= ring->entries[ring->count - 1].version) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "%s: versions must stand in ascending order", what);
    }
    if (knows_fingerprint(ring, entry->fingerprint)) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s: two versions are the same key",
                       what);
    }
    return hm_keyring_add(ring, entry, error);
}

static hm_status parse_entries(hm_json *list, const char *what, hm_keyring *ring,
                               hm_error **error) {
    hm_status status = HM_OK;
    if (list->count > HM_KEYRING_VERSIONS) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "%s has %zu versions, more than the %d that it may have", what, list->count,
                       HM_KEYRING_VERSIONS);
    }
    for (hm_json *object = list->first; object != NULL && status == HM_OK; object = object->next) {
        HM_CLEANUP(free_entry) hm_keyring_entry entry = {.version = 0};
        status = parse_entry(object, what, &entry, error);
        if (status == HM_OK) {
            status = add_parsed(ring, &entry, what, error);
        }
    }
    return status;
}

static hm_status parse_head(hm_json *root, const char *what, hm_keyring *ring, hm_error **error) {
    hm_bytes found = {.data = NULL};
    hm_status status = hm_json_take_text(root, what, "schema", &found, error);
    if (status == HM_OK && !hm_bytes_equal_text(found, schema)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                         "%s: \"schema\" is not %s, the only one known", what, schema);
    }
    if (status == HM_OK) {
        status = hm_keyring_take_line(root, what, "signer", &ring->signer, error);
    }
    if (status == HM_OK) {
        status = hm_keyring_take_line(root, what, "base_name", &ring->base, error);
    }
    if (status == HM_OK && !hm_keyring_base_valid(hm_bytes_text(ring->base))) {
        status =
            hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                    "%s: \"base_name\" cannot be what the name of a key file begins with", what);
    }
    return status == HM_OK
               ? hm_json_take_integer(root, what, "export_version", 0, &ring->exports, error)
               : status;
}

hm_status hm_keyring_parse(hm_bytes text, const char *what, hm_keyring *ring, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_json *list = NULL;
    hm_status status = hm_json_parse(text, what, &doc, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json *root = hm_json_root(doc);
    status = hm_json_take(root, what, "keys", HM_JSON_ARRAY, &list, error);
    if (status == HM_OK) {
        status = parse_head(root, what, ring, error);
    }
    if (status == HM_OK) {
        status = parse_entries(list, what, ring, error);
    }
    return status == HM_OK ? hm_json_refuse_rest(root, what, error) : status;
}

/* ---- writing -------------------------------------------------------------------------------- */

void hm_keyring_print_life(hm_json_writer *w, const hm_keyring_entry *entry) {
    hm_json_member_time(w, "created", entry->created);
    hm_json_member_time(w, "signs_from", entry->signs_from);
    hm_json_member_time(w, "not_after", entry->not_after);
    hm_json_name(w, "revoked");
    if (entry->revoked) {
        hm_json_begin_object(w);
        hm_json_member_time(w, "since", entry->revoked_since);
        hm_json_member(w, "reason", entry->reason);
        hm_json_end_object(w);
    } else {
        hm_json_null(w);
    }
}

static void print_entry(hm_json_writer *w, const hm_keyring_entry *entry) {
    hm_json_begin_object(w);
    hm_json_member_number(w, "version", entry->version);
    hm_json_member(w, "fingerprint", entry->fingerprint);
    hm_json_member(w, "algorithm", entry->algorithm);
    hm_keyring_print_life(w, entry);
    hm_json_end_object(w);
}

hm_status hm_keyring_print(const hm_keyring *ring, hm_buf *text, hm_error **error) {
    hm_json_writer w = {.out = text, .indent = 2};
    hm_json_begin_object(&w);
    hm_json_member(&w, "schema", schema);
    hm_json_member(&w, "signer", ring->signer);
    hm_json_member(&w, "base_name", ring->base);
    hm_json_member_number(&w, "export_version", ring->exports);
    hm_json_name(&w, "keys");
    hm_json_begin_array(&w);
    for (size_t i = 0; i < ring->count; i++) {
        print_entry(&w, &ring->entries[i]);
    }
    hm_json_end_array(&w);
    hm_json_end_object(&w);
    hm_buf_add_byte(text, '\n');
    return hm_buf_check(text, error);
}
