/* SPDX-License-Identifier: Apache-2.0 */
/* Exports of keyrings: written by who holds the keyring, read by who verifies. */
#include "trust/keyring_file.h"

#include "key/keyring.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static const char schema[] = "hallmark-keyring-export-v1";
static const char *const statuses[] = {"signing", "old", "coming", "expired", "revoked"};
enum { STATUS_COUNT = sizeof statuses / sizeof statuses[0] };

void hm_export_free(hm_export *ended) {
    for (size_t i = 0; i < ended->key_count; i++) {
        hm_pubkey_free(&ended->keys[i].key);
    }
    for (size_t i = 0; i < ended->revocation_count; i++) {
        hm_auto_free_(&ended->revocations[i].reason);
    }
    hm_auto_free_(&ended->keys);
    hm_auto_free_(&ended->revocations);
    hm_auto_free_(&ended->signer);
    *ended = (hm_export){.signer = NULL};
}

static hm_status malformed(hm_error **error, const char *what, const char *why) {
    return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s: %s", what, why);
}

hm_status hm_export_envelope_parse(hm_bytes file, const char *what, hm_dsse *envelope,
                                   hm_error **error) {
    return hm_dsse_parse(file, what, HM_KEYRING_PAYLOAD_TYPE, envelope, error);
}

/* ---- the signed text ------------------------------------------------------------------------ */

/* The one spelling of a key in PEM, so that nothing can hide around it. */
static hm_status parse_pem(hm_bytes pem, const char *what, hm_pubkey **key, hm_error **error) {
    hm_auto_error cause = NULL;
    hm_auto_buf again = {.data = NULL};
    hm_status status = hm_pubkey_parse(pem, what, key, &cause);
    if (status == HM_OK) {
        status = hm_pubkey_pem(*key, &again, &cause);
    }
    if (status == HM_OK) {
        return hm_bytes_equal(hm_buf_view(&again), pem)
                   ? HM_OK
                   : malformed(error, what, "\"pem\" is not as the exporter writes it");
    }
    if (status == HM_REFUSED || hm_error_is_memory(cause)) {
        return hm_error_move(error, &cause);
    }
    return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s", hm_error_message(cause));
}

static hm_status take_key(hm_json *object, const char *what, hm_pubkey **key, hm_error **error) {
    hm_bytes pem = {.data = NULL}, algorithm = {.data = NULL};
    char fingerprint[2 * HM_FINGERPRINT_SIZE + 1] = "";
    hm_status status = hm_json_take_text(object, what, "pem", &pem, error);
    if (status == HM_OK) {
        status = parse_pem(pem, what, key, error);
    }
    if (status == HM_OK) {
        status = hm_keyring_take_fingerprint(object, what, "fingerprint", fingerprint, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_text(object, what, "algorithm", &algorithm, error);
    }
    if (status == HM_OK && (strcmp(fingerprint, (*key)->fingerprint) != 0 ||
                            !hm_bytes_equal_text(algorithm, (*key)->algorithm))) {
        status = malformed(error, what, "\"fingerprint\" or \"algorithm\" is of another key");
    }
    return status;
}

static hm_status take_status(hm_json *object, const char *what, bool *revoked, hm_error **error) {
    hm_bytes word = {.data = NULL};
    hm_status status = hm_json_take_text(object, what, "status", &word, error);
    if (status != HM_OK) {
        return status;
    }
    *revoked = hm_bytes_equal_text(word, "revoked");
    for (size_t i = 0; i < STATUS_COUNT; i++) {
        if (hm_bytes_equal_text(word, statuses[i])) {
            return HM_OK;
        }
    }
    return malformed(error, what, "\"status\" is none of the words that are known");
}

static bool is_revoked(const hm_export *found, const char *fingerprint) {
    for (size_t i = 0; i < found->revocation_count; i++) {
        if (strcmp(found->revocations[i].fingerprint, fingerprint) == 0) {
            return true;
        }
    }
    return false;
}

static hm_status add_key(hm_export *found, hm_trusted_key *key, const char *what,
                         hm_error **error) {
    for (size_t i = 0; i < found->key_count; i++) {
        if (found->keys[i].version >= key->version) {
            return malformed(error, what, "versions must stand in ascending order");
        }
        if (strcmp(found->keys[i].key->fingerprint, key->key->fingerprint) == 0) {
            return malformed(error, what, "two versions are the same key");
        }
    }
    if (!hm_grow(&found->keys, found->key_count, &found->key_capacity, sizeof(hm_trusted_key))) {
        return hm_fail_memory(error);
    }
    found->keys[found->key_count++] = *key;
    key->key = NULL;
    return HM_OK;
}

static void free_key(hm_trusted_key *key) {
    hm_pubkey_free(&key->key);
}

static hm_status parse_key(hm_json *object, const char *what, hm_export *found, hm_error **error) {
    HM_CLEANUP(free_key) hm_trusted_key key = {.version = 0};
    bool revoked = false;
    hm_status status = hm_json_take_integer(object, what, "version", 1, &key.version, error);
    if (status == HM_OK) {
        status = take_key(object, what, &key.key, error);
    }
    if (status == HM_OK) {
        status =
            hm_json_take_time(object, what, "not_before", HM_TIME_ALWAYS, &key.not_before, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_time(object, what, "not_after", HM_TIME_NEVER, &key.not_after, error);
    }
    if (status == HM_OK) {
        status = take_status(object, what, &revoked, error);
    }
    if (status == HM_OK && revoked != is_revoked(found, key.key->fingerprint)) {
        status = malformed(error, what, "\"status\" and \"revocations\" contradict each other");
    }
    if (status == HM_OK) {
        status = hm_json_refuse_rest(object, what, error);
    }
    return status == HM_OK ? add_key(found, &key, what, error) : status;
}

static hm_status parse_revocation(hm_json *object, const char *what, hm_export *found,
                                  hm_error **error) {
    hm_revocation made = {.since = HM_TIME_ALWAYS};
    hm_status status =
        hm_keyring_take_fingerprint(object, what, "fingerprint", made.fingerprint, error);
    if (status == HM_OK) {
        status = hm_json_take_time(object, what, "since", HM_TIME_ALWAYS, &made.since, error);
    }
    if (status == HM_OK && (made.since == HM_TIME_ALWAYS || is_revoked(found, made.fingerprint))) {
        status = malformed(error, what, "a revocation says \"since\", and there is one per key");
    }
    if (status == HM_OK) {
        status = hm_keyring_take_line(object, what, "reason", &made.reason, error);
    }
    if (status == HM_OK) {
        status = hm_json_refuse_rest(object, what, error);
    }
    if (status == HM_OK && !hm_grow(&found->revocations, found->revocation_count,
                                    &found->revocation_capacity, sizeof(hm_revocation))) {
        status = hm_fail_memory(error);
    }
    if (status != HM_OK) {
        hm_auto_free_(&made.reason);
        return status;
    }
    found->revocations[found->revocation_count++] = made;
    return HM_OK;
}

typedef hm_status (*parse_function)(hm_json *object, const char *what, hm_export *found,
                                    hm_error **error);

static hm_status parse_list(hm_json *root, const char *what, const char *name, parse_function parse,
                            hm_export *found, hm_error **error) {
    hm_json *list = NULL;
    hm_status status = hm_json_take(root, what, name, HM_JSON_ARRAY, &list, error);
    if (status == HM_OK && list->count > HM_KEYRING_VERSIONS) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                         "%s: \"%s\" has %zu entries, more than %d", what, name, list->count,
                         HM_KEYRING_VERSIONS);
    }
    for (hm_json *object = status == HM_OK ? list->first : NULL; object != NULL && status == HM_OK;
         object = object->next) {
        status = parse(object, what, found, error);
    }
    return status;
}

static hm_status take_moment(hm_json *root, const char *what, const char *name, int64_t *time,
                             hm_error **error) {
    hm_status status = hm_json_take_time(root, what, name, HM_TIME_ALWAYS, time, error);
    return status == HM_OK && *time == HM_TIME_ALWAYS
               ? hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s: \"%s\" is null", what, name)
               : status;
}

static hm_status parse_head(hm_json *root, const char *what, hm_export *found, hm_error **error) {
    hm_bytes is = {.data = NULL};
    hm_status status = hm_json_take_text(root, what, "schema", &is, error);
    if (status == HM_OK && !hm_bytes_equal_text(is, schema)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                         "%s: \"schema\" is not %s, the only one known", what, schema);
    }
    if (status == HM_OK) {
        status = hm_keyring_take_line(root, what, "signer", &found->signer, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_integer(root, what, "version", 1, &found->version, error);
    }
    if (status == HM_OK) {
        status = take_moment(root, what, "created", &found->created, error);
    }
    return status == HM_OK ? take_moment(root, what, "expires", &found->expires, error) : status;
}

hm_status hm_export_parse(hm_bytes payload, const char *what, hm_export *found, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_status status = hm_json_parse(payload, what, &doc, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json *root = hm_json_root(doc);
    status = parse_head(root, what, found, error);
    if (status == HM_OK) {
        status = parse_list(root, what, "revocations", parse_revocation, found, error);
    }
    if (status == HM_OK) {
        status = parse_list(root, what, "keys", parse_key, found, error);
    }
    if (status == HM_OK) {
        status = hm_json_refuse_rest(root, what, error);
    }
    if (status == HM_OK && found->key_count == 0) {
        status = malformed(error, what, "there is no key in it");
    }
    if (status == HM_OK && !hm_fingerprint(payload, found->digest)) {
        status = hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot hash");
    }
    return status;
}

hm_status hm_export_open(hm_bytes file, const char *what, const hm_pubkey *admin, hm_export *found,
                         hm_error **error) {
    hm_auto_dsse envelope = {.payload = {.data = NULL}};
    hm_auto_buf message = {.data = NULL};
    hm_auto_error cause = NULL;
    hm_status status = hm_export_envelope_parse(file, what, &envelope, error);
    if (status != HM_OK) {
        return status;
    }
    hm_dsse_pae(HM_KEYRING_PAYLOAD_TYPE, hm_buf_view(&envelope.payload), &message);
    status = hm_buf_check(&message, error);
    if (status != HM_OK) {
        return status;
    }
    status = hm_pubkey_verify(admin, HM_SCHEME_BY_KEY, hm_buf_view(&message),
                              hm_buf_view(&envelope.signature), &cause);
    if (status == HM_REFUSED) {
        (void)hm_fail(error, HM_REFUSED, HM_REASON_BAD_SIGNATURE,
                      "%s is not signed by the admin key %s", what, admin->fingerprint);
        hm_error_add_hint(error, "fetch the export again, and compare the key's fingerprint with "
                                 "the one that its owner tells");
        return status;
    }
    return status == HM_OK ? hm_export_parse(hm_buf_view(&envelope.payload), what, found, error)
                           : hm_error_move(error, &cause);
}

/* ---- writing -------------------------------------------------------------------------------- */

static hm_status write_key(hm_json_writer *w, const hm_keyring *ring, const hm_keyring_entry *entry,
                           int64_t now, hm_error **error) {
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *key = NULL;
    hm_auto_buf pem = {.data = NULL};
    hm_status status = hm_keyring_public_key(ring, entry, &key, error);
    if (status == HM_OK) {
        status = hm_pubkey_pem(key, &pem, error);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_json_begin_object(w);
    hm_json_member_number(w, "version", entry->version);
    hm_json_member(w, "algorithm", key->algorithm);
    hm_json_member(w, "fingerprint", key->fingerprint);
    hm_json_member(w, "pem", (const char *)pem.data);
    hm_json_member_time(w, "not_before", entry->signs_from);
    hm_json_member_time(w, "not_after", entry->not_after);
    hm_json_member(w, "status", hm_keyring_status(ring, entry, now));
    hm_json_end_object(w);
    return HM_OK;
}

static void write_revocations(hm_json_writer *w, const hm_keyring *ring) {
    hm_json_name(w, "revocations");
    hm_json_begin_array(w);
    for (size_t i = 0; i < ring->count; i++) {
        const hm_keyring_entry *entry = &ring->entries[i];
        if (entry->revoked) {
            hm_json_begin_object(w);
            hm_json_member(w, "fingerprint", entry->fingerprint);
            hm_json_member_time(w, "since", entry->revoked_since);
            hm_json_member(w, "reason", entry->reason);
            hm_json_end_object(w);
        }
    }
    hm_json_end_array(w);
}

static hm_status write_payload(const hm_keyring *ring, int64_t now, int64_t expires, hm_buf *out,
                               hm_error **error) {
    hm_json_writer w = {.out = out, .indent = 2};
    hm_status status = HM_OK;
    hm_json_begin_object(&w);
    hm_json_member(&w, "schema", schema);
    hm_json_member(&w, "signer", ring->signer);
    hm_json_member_number(&w, "version", ring->exports);
    hm_json_member_time(&w, "created", now);
    hm_json_member_time(&w, "expires", expires);
    hm_json_name(&w, "keys");
    hm_json_begin_array(&w);
    for (size_t i = 0; i < ring->count && status == HM_OK; i++) {
        status = write_key(&w, ring, &ring->entries[i], now, error);
    }
    hm_json_end_array(&w);
    write_revocations(&w, ring);
    hm_json_end_object(&w);
    return status == HM_OK ? hm_buf_check(out, error) : status;
}

static hm_status seal(const hm_buf *payload, hm_signer *admin, hm_buf *file, hm_error **error) {
    hm_auto_buf message = {.data = NULL};
    hm_auto_buf signature = {.data = NULL};
    hm_dsse_pae(HM_KEYRING_PAYLOAD_TYPE, hm_buf_view(payload), &message);
    hm_status status = hm_buf_check(&message, error);
    if (status == HM_OK) {
        status = hm_signer_sign(admin, HM_SCHEME_BY_KEY, hm_buf_view(&message), &signature, error);
    }
    if (status != HM_OK) {
        return status;
    }
    status = hm_dsse_print(HM_KEYRING_PAYLOAD_TYPE, hm_buf_view(payload),
                           admin->public_key->fingerprint, hm_buf_view(&signature), 2, file, error);
    hm_buf_add_byte(file, '\n');
    return status == HM_OK ? hm_buf_check(file, error) : status;
}

/* ---- exporting ------------------------------------------------------------------------------ */

static hm_status check_call(const char *keyring, const hm_signer *admin, const char *path,
                            int64_t now, int64_t expires, hm_error **error) {
    if (keyring == NULL || admin == NULL || path == NULL || path[0] == '\0') {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_keyring_export: an argument is missing");
    }
    if (now < 0) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the clock makes no sense");
    }
    return expires > now ? HM_OK
                         : hm_fail(error, HM_USAGE, HM_REASON_NONE,
                                   "the export would have expired before it is written");
}

static hm_status check_admin(const hm_keyring *ring, const hm_signer *admin, hm_error **error) {
    if (ring->count == 0) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "the keyring %s has no key to export",
                       ring->path);
    }
    for (size_t i = 0; i < ring->count; i++) {
        if (strcmp(ring->entries[i].fingerprint, admin->public_key->fingerprint) == 0) {
            (void)hm_fail(error, HM_USAGE, HM_REASON_NONE,
                          "the key that signs the export is version %llu of the keyring itself",
                          (unsigned long long)ring->entries[i].version);
            hm_error_add_hint(error, "sign with a key that is kept elsewhere: whoever steals one "
                                     "of the keyring's could otherwise vouch for his own");
            return HM_USAGE;
        }
    }
    return HM_OK;
}

/* Only an older export is written over: a mistyped path must not cost another file. */
static hm_status check_target(const char *path, hm_write_rule *rule, hm_error **error) {
    hm_auto_buf old = {.data = NULL};
    hm_auto_dsse envelope = {.payload = {.data = NULL}};
    hm_auto_error cause = NULL;
    struct stat st;
    *rule = HM_WRITE_NEW;
    if (lstat(path, &st) != 0) {
        return errno == ENOENT ? HM_OK : hm_fail_errno(error, errno, "cannot look at %s", path);
    }
    *rule = HM_WRITE_REPLACE;
    hm_status status =
        S_ISREG(st.st_mode) ? hm_read_file(path, HM_KEYRING_FILE_LIMIT, &old, &cause) : HM_REFUSED;
    if (status == HM_OK) {
        status = hm_export_envelope_parse(hm_buf_view(&old), path, &envelope, &cause);
    }
    if (status == HM_OK || status == HM_UNDECIDED) {
        return status == HM_OK ? HM_OK : hm_error_move(error, &cause);
    }
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE,
                  "%s is not an older export, and is not written over", path);
    hm_error_add_hint(error, "choose another name, or move the file away first");
    return HM_USAGE;
}

/* An export that its own reader would refuse never leaves. */
static hm_status check_own(const hm_buf *file, const hm_signer *admin, const char *path,
                           hm_error **error) {
    hm_auto_export again = {.signer = NULL};
    hm_auto_error cause = NULL;
    hm_status status = hm_export_open(hm_buf_view(file), path, admin->public_key, &again, &cause);
    if (status == HM_OK && file->length > HM_KEYRING_FILE_LIMIT) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s would become too large", path);
    }
    return status == HM_REFUSED ? hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                                          "this cannot be exported: %s", hm_error_message(cause))
           : status == HM_OK    ? HM_OK
                                : hm_error_move(error, &cause);
}

/* The number is on record before the file is there, so that no two exports can have the same. */
static hm_status export_ring(hm_keyring *ring, hm_signer *admin, const char *path, int64_t now,
                             int64_t expires, hm_error **error) {
    hm_auto_buf payload = {.data = NULL};
    hm_auto_buf file = {.data = NULL};
    hm_write_rule rule = HM_WRITE_NEW;
    hm_status status = check_admin(ring, admin, error);
    if (status == HM_OK) {
        status = check_target(path, &rule, error);
    }
    ring->exports++;
    if (status == HM_OK) {
        status = write_payload(ring, now, expires, &payload, error);
    }
    if (status == HM_OK) {
        status = seal(&payload, admin, &file, error);
    }
    if (status == HM_OK) {
        status = check_own(&file, admin, path, error);
    }
    if (status == HM_OK) {
        status = hm_keyring_save(ring, error);
    }
    return status == HM_OK ? hm_write_file(path, hm_buf_view(&file), 0644, rule, error) : status;
}

hm_status hm_keyring_export(const char *keyring, hm_signer *admin, const char *path,
                            int64_t expires, uint64_t *number, hm_error **error) {
    hm_auto_keyring ring = {.path = NULL};
    hm_auto_fd lock = -1;
    int64_t now = hm_time_now();
    hm_status status = check_call(keyring, admin, path, now, expires, error);
    if (status == HM_OK) {
        status = hm_keyring_begin(keyring, &ring, &lock, error);
    }
    if (status == HM_OK) {
        status = export_ring(&ring, admin, path, now, expires, error);
    }
    if (status == HM_OK && number != NULL) {
        *number = ring.exports;
    }
    return status;
}
