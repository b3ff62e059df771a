/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The newest export seen of each admin key and signer. An old export has a good signature for ever;
 * whoever controls the way it travels could hand it out again, from before a key was revoked. Only
 * a verifier that remembers can tell.
 */
#include "trust/keyring_file.h"

#include "key/keyring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char schema[] = "hallmark-keyring-seen-v1";
enum { SEEN_FILE_LIMIT = 64 * 1024 };

/* What is remembered. */
typedef struct seen {
    uint64_t version; /* 0: nothing yet */
    char digest[2 * HM_FINGERPRINT_SIZE + 1];
} seen;

/* ---- where ---------------------------------------------------------------------------------- */

/* One file per admin key and signer; the name of the latter is not fit for a file name. */
static hm_status name_file(const char *directory, const hm_export *found, const hm_pubkey *admin,
                           char **path, hm_error **error) {
    hm_auto_buf text = {.data = NULL};
    uint8_t digest[HM_FINGERPRINT_SIZE];
    char hex[2 * HM_FINGERPRINT_SIZE + 1];
    hm_buf_add_format(&text, "%s %s", admin->fingerprint, found->signer);
    hm_status status = hm_buf_check(&text, error);
    if (status != HM_OK) {
        return status;
    }
    if (EVP_Q_digest(NULL, "SHA256", NULL, text.data, text.length, digest, NULL) != 1) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot hash");
    }
    hm_hex(digest, sizeof digest, hex);
    *path = hm_textf("%s/%s.json", directory, hex);
    return *path != NULL ? HM_OK : hm_fail_memory(error);
}

/* ---- what ----------------------------------------------------------------------------------- */

static hm_status parse(hm_bytes text, const char *what, const hm_export *found,
                       const hm_pubkey *admin, seen *before, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_bytes is = {.data = NULL}, signer = {.data = NULL};
    char fingerprint[2 * HM_FINGERPRINT_SIZE + 1] = "";
    hm_status status = hm_json_parse(text, what, &doc, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json *root = hm_json_root(doc);
    status = hm_json_take_text(root, what, "schema", &is, error);
    if (status == HM_OK) {
        status = hm_keyring_take_fingerprint(root, what, "admin", fingerprint, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_text(root, what, "signer", &signer, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_integer(root, what, "version", 1, &before->version, error);
    }
    if (status == HM_OK) {
        status = hm_keyring_take_fingerprint(root, what, "digest", before->digest, error);
    }
    if (status == HM_OK &&
        (!hm_bytes_equal_text(is, schema) || strcmp(fingerprint, admin->fingerprint) != 0 ||
         !hm_bytes_equal_text(signer, found->signer))) {
        status =
            hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s is about something else", what);
    }
    return status == HM_OK ? hm_json_refuse_rest(root, what, error) : status;
}

/* What cannot be read decides nothing; to take it for nothing would be to forget. */
static hm_status read_seen(const char *directory, const char *path, const hm_export *found,
                           const hm_pubkey *admin, seen *before, hm_error **error) {
    hm_auto_buf file = {.data = NULL};
    hm_auto_error cause = NULL;
    bool there = false;
    *before = (seen){.version = 0};
    hm_status status = hm_state_read(directory, path, SEEN_FILE_LIMIT, &file, &there, &cause);
    if (status == HM_OK && there) {
        status = parse(hm_buf_view(&file), path, found, admin, before, &cause);
    }
    if (status == HM_OK) {
        return HM_OK;
    }
    if (hm_error_is_memory(cause)) {
        return hm_fail_memory(error);
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s", hm_error_message(cause));
    hm_error_add_hint(error, "this file remembers the newest export of a keyring; without it an "
                             "older one would pass unnoticed");
    return HM_UNDECIDED;
}

static hm_status compare(const hm_export *found, const seen *before, hm_error **error) {
    if (found->version > before->version) {
        return HM_OK;
    }
    bool same = found->version == before->version && strcmp(found->digest, before->digest) == 0;
    if (same) {
        return HM_OK;
    }
    (void)hm_fail(error, HM_REFUSED, HM_REASON_ROLLBACK,
                  found->version < before->version
                      ? "the keyring of %s is export %llu, and %llu was seen already"
                      : "the keyring of %s is another export %llu than the %llu seen before",
                  found->signer, (unsigned long long)found->version,
                  (unsigned long long)before->version);
    hm_error_add_hint(error, "fetch the newest export; an older one may believe a key that was "
                             "revoked since");
    return HM_REFUSED;
}

static hm_status write_seen(const char *path, const hm_export *found, const hm_pubkey *admin,
                            hm_error **error) {
    hm_auto_buf text = {.data = NULL};
    hm_json_writer w = {.out = &text, .indent = 2};
    hm_json_begin_object(&w);
    hm_json_member(&w, "schema", schema);
    hm_json_member(&w, "admin", admin->fingerprint);
    hm_json_member(&w, "signer", found->signer);
    hm_json_member_number(&w, "version", found->version);
    hm_json_member(&w, "digest", found->digest);
    hm_json_end_object(&w);
    hm_buf_add_byte(&text, '\n');
    hm_status status = hm_buf_check(&text, error);
    return status == HM_OK ? hm_write_file(path, hm_buf_view(&text), 0600, HM_WRITE_REPLACE, error)
                           : status;
}

/* Once more under the lock: another verifier may have seen a newer one meanwhile. */
static hm_status remember(const char *directory, const char *path, const hm_export *found,
                          const hm_pubkey *admin, bool *unkept, hm_error **error) {
    hm_auto_fd lock = -1;
    seen before;
    hm_status status = hm_state_lock(directory, &lock, error);
    if (status != HM_OK) {
        *unkept = !hm_error_is_memory(error != NULL ? *error : NULL);
        return status;
    }
    status = read_seen(directory, path, found, admin, &before, error);
    if (status == HM_OK) {
        status = compare(found, &before, error);
    }
    if (status == HM_OK && found->version > before.version) {
        status = write_seen(path, found, admin, error);
        *unkept = status == HM_UNDECIDED && !hm_error_is_memory(error != NULL ? *error : NULL);
    }
    return status;
}

/* `*unkept` when what fails is only to remember: then nothing speaks against the export. */
static hm_status check_and_remember(const hm_export *found, const hm_pubkey *admin,
                                    const char *directory, bool *unkept, hm_error **error) {
    hm_auto_free char *path = NULL;
    seen before;
    hm_status status = name_file(directory, found, admin, &path, error);
    if (status == HM_OK) {
        status = read_seen(directory, path, found, admin, &before, error);
    }
    if (status == HM_OK) {
        status = compare(found, &before, error);
    }
    return status == HM_OK && found->version > before.version
               ? remember(directory, path, found, admin, unkept, error)
               : status;
}

/* ---- both ----------------------------------------------------------------------------------- */

static hm_status add_warning(char **warning, const char *text, const char *detail,
                             hm_error **error) {
    *warning = hm_textf("%s%s", text, detail);
    return *warning != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status fail_unkept(hm_error **error, hm_error **cause) {
    hm_status status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                               "cannot remember which export of the keyring was seen: %s",
                               hm_error_message(*cause));
    hm_error_add_hint(error, "HALLMARK_STATE_DIR names another directory; where nothing can be "
                             "kept, give the number of the newest export with "
                             "--keyring-min-version");
    return status;
}

hm_status hm_export_check_seen(const hm_export *found, const hm_pubkey *admin, bool bounded,
                               char **warning, hm_error **error) {
    hm_auto_free char *directory = NULL;
    hm_auto_error cause = NULL;
    bool none = false, unkept = false;
    *warning = NULL;
    hm_status status = hm_state_directory("keyrings", "which exports of keyrings were seen",
                                          &directory, &none, &cause);
    if (none) {
        return add_warning(warning,
                           "HALLMARK_STATE_DIR=none: an older export of the keyring that is "
                           "brought back "
                           "is not noticed",
                           bounded ? " unless it is below the bound that was given" : "", error);
    }
    if (status == HM_OK) {
        status = check_and_remember(found, admin, directory, &unkept, &cause);
    } else {
        unkept = status == HM_UNDECIDED && !hm_error_is_memory(cause);
    }
    if (status == HM_OK) {
        return HM_OK;
    }
    if (!unkept) {
        return hm_error_move(error, &cause);
    }
    return bounded ? add_warning(warning,
                                 "which export of the keyring was seen is not remembered; only the "
                                 "bound "
                                 "that was given keeps older ones out: ",
                                 hm_error_message(cause), error)
                   : fail_unkept(error, &cause);
}
