/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keyrings: a directory with the versions of one signer's key. `NAME_v1.pem` and `NAME_v1.pub` are
 * keys; `keyring.json` says which of them count, from when on each signs, and what was revoked. A
 * directory without it was made by hand: then the names say all there is to know.
 */
#ifndef HM_KEY_KEYRING_H
#define HM_KEY_KEYRING_H

#include "base/json.h"
#include "key/key.h"

enum {
    HM_KEYRING_VERSIONS = 1000,   /* versions in one keyring */
    HM_KEYRING_TEXT_LIMIT = 1000, /* bytes of a name or a reason */
};
#define HM_KEYRING_FILE_LIMIT ((size_t)4 << 20)     /* bytes of keyring.json, and of an export */
#define HM_KEYRING_NUMBER_LIMIT (UINT64_C(1) << 53) /* what JSON carries without loss */

/* One version of the key, as it is recorded. */
typedef struct hm_keyring_entry {
    uint64_t version;
    char fingerprint[2 * HM_FINGERPRINT_SIZE + 1];
    char *algorithm;
    int64_t created;    /* HM_TIME_ALWAYS: not known */
    int64_t signs_from; /* HM_TIME_ALWAYS: no bound */
    int64_t not_after;  /* HM_TIME_NEVER: no bound */
    bool revoked;
    int64_t revoked_since;
    char *reason;
} hm_keyring_entry;

typedef struct hm_keyring {
    char *path;                /* of the directory */
    char *base;                /* what file names begin with */
    char *signer;              /* whose keys they are */
    uint64_t exports;          /* number of the last export; 0: none yet */
    bool recorded;             /* there is a keyring.json */
    hm_keyring_entry *entries; /* by ascending version */
    size_t count, capacity;
    char **strays; /* key files that no entry knows: they are never used */
    size_t stray_count, stray_capacity;
} hm_keyring;

void hm_keyring_free(hm_keyring *ring);
#define hm_auto_keyring HM_CLEANUP(hm_keyring_free) hm_keyring

/* ---- keyring.json --------------------------------------------------------------------------- */

/* Reads its text into an empty keyring. ::HM_REFUSED malformed. */
HM_MUST_USE hm_status hm_keyring_parse(hm_bytes text, const char *what, hm_keyring *ring,
                                       hm_error **error);
/* When a version was made, signs and ends, and whether it is revoked: members of an object. */
void hm_keyring_print_life(hm_json_writer *w, const hm_keyring_entry *entry);
HM_MUST_USE hm_status hm_keyring_print(const hm_keyring *ring, hm_buf *text, hm_error **error);

/* A line of UTF-8 that is not empty, not too long and cannot steer a terminal. */
bool hm_keyring_text_valid(hm_bytes text);
/* Letters, digits, '.', '_' and '-', the first of them none of these three. */
bool hm_keyring_base_valid(hm_bytes base);

/* Readers of members, which exports share. `fingerprint` has room for 64 digits. */
HM_MUST_USE hm_status hm_keyring_take_line(hm_json *object, const char *what, const char *name,
                                           char **text, hm_error **error);
HM_MUST_USE hm_status hm_keyring_take_fingerprint(hm_json *object, const char *what,
                                                  const char *name, char *fingerprint,
                                                  hm_error **error);

/* ---- the directory -------------------------------------------------------------------------- */

/* Whether `path` is a directory, and so a keyring if it is a key at all. */
bool hm_is_keyring(const char *path);
/* Reads it, hand-made or not. A directory without any key gives a keyring without entries. */
HM_MUST_USE hm_status hm_keyring_load(const char *path, hm_keyring *ring, hm_error **error);
/* The path of a version's file; `suffix` is "pem" or "pub". Newly allocated. */
char *hm_keyring_file(const hm_keyring *ring, uint64_t version, const char *suffix);
bool hm_keyring_has_private(const hm_keyring *ring, const hm_keyring_entry *entry);
/* The entry of that version, or NULL. */
hm_keyring_entry *hm_keyring_find(const hm_keyring *ring, uint64_t version);
/*
 * The version whose time to sign has come last, whatever else is recorded of it; NULL when there is
 * none yet.
 */
const hm_keyring_entry *hm_keyring_signing(const hm_keyring *ring, int64_t now);
/* "signing", "old", "coming", "expired" or "revoked". */
const char *hm_keyring_status(const hm_keyring *ring, const hm_keyring_entry *entry, int64_t now);
/* The public key of an entry, which must be the one that was recorded. */
HM_MUST_USE hm_status hm_keyring_public_key(const hm_keyring *ring, const hm_keyring_entry *entry,
                                            hm_pubkey **key, hm_error **error);
/* Opens the private key that signs now. Sets what hm_signer_open() has to set. */
HM_MUST_USE hm_status hm_keyring_open_signer(hm_signer *signer, const char *path,
                                             const hm_signer_options *options, hm_error **error);

/* ---- changing it ---------------------------------------------------------------------------- */

/* Takes the keyring's lock and reads it. The lock is let go when `*lock` is closed. */
HM_MUST_USE hm_status hm_keyring_begin(const char *path, hm_keyring *ring, int *lock,
                                       hm_error **error);
/* Writes keyring.json, whole or not at all. To be called with the lock held. */
HM_MUST_USE hm_status hm_keyring_save(const hm_keyring *ring, hm_error **error);
/* Takes the entry's texts over. */
HM_MUST_USE hm_status hm_keyring_add(hm_keyring *ring, hm_keyring_entry *entry, hm_error **error);

#endif
