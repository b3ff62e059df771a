/* SPDX-License-Identifier: Apache-2.0 */
/* The directory of a keyring: what is in it, and the version that signs. */
#include "key/internal.h"
#include "key/keyring.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char default_base[] = "signing_key";

/* ---- names of key files --------------------------------------------------------------------- */

/* "signing_key_v2.pem", taken apart. */
typedef struct key_name {
    char *base;
    uint64_t version;
    bool is_public;
    char *name; /* the whole of it */
} key_name;

typedef struct key_names {
    key_name *list;
    size_t count, capacity;
} key_names;

static void names_free(key_names *names) {
    for (size_t i = 0; i < names->count; i++) {
        hm_auto_free_(&names->list[i].base);
        hm_auto_free_(&names->list[i].name);
    }
    hm_auto_free_(&names->list);
}

/* Digits without a zero in front: each number has one spelling. 0 when it is none. */
static uint64_t version_of(const char *digits, size_t length) {
    uint64_t version = 0;
    if (length == 0 || length > 16 || digits[0] == '0') {
        return 0;
    }
    for (size_t i = 0; i < length; i++) {
        if (digits[i] < '0' || digits[i] > '9') {
            return 0;
        }
        version = version * 10 + (uint64_t)(digits[i] - '0');
    }
    return version <= HM_KEYRING_NUMBER_LIMIT ? version : 0;
}

/* False with `found` untouched when the name is not one of a key file. */
static bool split_name(const char *name, size_t *base_length, uint64_t *version, bool *is_public) {
    size_t length = strlen(name);
    if (length < 5 ||
        (strcmp(name + length - 4, ".pem") != 0 && strcmp(name + length - 4, ".pub") != 0)) {
        return false;
    }
    size_t end = length - 4, start = end;
    while (start > 0 && name[start - 1] >= '0' && name[start - 1] <= '9') {
        start--;
    }
    if (start < 2 || name[start - 1] != 'v' || name[start - 2] != '_') {
        return false;
    }
    *version = version_of(name + start, end - start);
    *base_length = start - 2;
    *is_public = strcmp(name + end, ".pub") == 0;
    return *version != 0 && hm_keyring_base_valid(hm_bytes_of(name, *base_length));
}

static hm_status add_name(key_names *names, const char *name, hm_error **error) {
    size_t base_length = 0;
    key_name found = {.base = NULL};
    if (!split_name(name, &base_length, &found.version, &found.is_public)) {
        return HM_OK;
    }
    if (!hm_grow(&names->list, names->count, &names->capacity, sizeof(key_name))) {
        return hm_fail_memory(error);
    }
    found.base = hm_strndup(name, base_length);
    found.name = hm_strdup(name);
    names->list[names->count++] = found;
    return found.base != NULL && found.name != NULL ? HM_OK : hm_fail_memory(error);
}

static int compare_names(const void *a, const void *b) {
    const key_name *x = a, *y = b;
    if (x->version != y->version) {
        return x->version < y->version ? -1 : 1;
    }
    return strcmp(x->name, y->name);
}

static hm_status scan(const char *path, key_names *names, hm_error **error) {
    hm_auto_dir dir = opendir(path);
    hm_status status = HM_OK;
    if (dir == NULL) {
        return hm_fail_errno(error, errno, "cannot open the keyring %s", path);
    }
    while (status == HM_OK) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            break;
        }
        status = add_name(names, entry->d_name, error);
    }
    if (status == HM_OK && errno != 0) {
        status = hm_fail_errno(error, errno, "cannot read the keyring %s", path);
    }
    if (status == HM_OK && names->count > 1) {
        qsort(names->list, names->count, sizeof(key_name), compare_names);
    }
    return status;
}

/* ---- reading -------------------------------------------------------------------------------- */

bool hm_is_keyring(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *hm_keyring_file(const hm_keyring *ring, uint64_t version, const char *suffix) {
    return hm_textf("%s/%s_v%llu.%s", ring->path, ring->base, (unsigned long long)version, suffix);
}

hm_keyring_entry *hm_keyring_find(const hm_keyring *ring, uint64_t version) {
    for (size_t i = 0; i < ring->count; i++) {
        if (ring->entries[i].version == version) {
            return &ring->entries[i];
        }
    }
    return NULL;
}

/* The directory's own name, where it can be one. */
static hm_status name_signer(hm_keyring *ring, hm_error **error) {
    hm_auto_free char *whole = realpath(ring->path, NULL);
    hm_auto_free char *name = hm_path_base(whole != NULL ? whole : ring->path);
    if (name == NULL) {
        return hm_fail_memory(error);
    }
    ring->signer = hm_strdup(hm_keyring_text_valid(hm_bytes_text(name)) ? name : "keyring");
    return ring->signer != NULL ? HM_OK : hm_fail_memory(error);
}

/* Whatever is wrong with the caller's own file is no verdict on a signature. */
static hm_status undecided(hm_error **error, hm_error **cause) {
    if (hm_error_status(*cause) == HM_UNDECIDED) {
        (void)hm_error_move(error, cause);
    } else {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s", hm_error_message(*cause));
        hm_error_free(cause);
    }
    return HM_UNDECIDED;
}

static hm_status read_json(hm_keyring *ring, hm_error **error) {
    hm_auto_free char *path = hm_textf("%s/keyring.json", ring->path);
    hm_auto_buf file = {.data = NULL};
    hm_auto_error cause = NULL;
    struct stat st;
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    ring->recorded = lstat(path, &st) == 0 || errno != ENOENT;
    if (!ring->recorded) {
        return HM_OK;
    }
    hm_status status = hm_read_own_file(path, HM_KEYRING_FILE_LIMIT, &file, &cause);
    if (status == HM_OK) {
        status = hm_keyring_parse(hm_buf_view(&file), path, ring, &cause);
    }
    return status == HM_OK ? HM_OK : undecided(error, &cause);
}

static hm_status add_stray(hm_keyring *ring, const char *name, hm_error **error) {
    if (!hm_grow(&ring->strays, ring->stray_count, &ring->stray_capacity, sizeof(char *))) {
        return hm_fail_memory(error);
    }
    char *copy = hm_strdup(name);
    if (copy == NULL) {
        return hm_fail_memory(error);
    }
    ring->strays[ring->stray_count++] = copy;
    return HM_OK;
}

static hm_status note_strays(hm_keyring *ring, const key_names *names, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < names->count && status == HM_OK; i++) {
        const key_name *name = &names->list[i];
        if (strcmp(name->base, ring->base) == 0 && hm_keyring_find(ring, name->version) == NULL) {
            status = add_stray(ring, name->name, error);
        }
    }
    return status;
}

/* ---- directories made by hand --------------------------------------------------------------- */

static hm_status choose_base(hm_keyring *ring, const key_names *names, hm_error **error) {
    const char *base = names->count > 0 ? names->list[0].base : default_base;
    for (size_t i = 1; i < names->count; i++) {
        if (strcmp(names->list[i].base, base) != 0) {
            return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                           "the keyring %s holds several keys, %s and %s; give each a directory",
                           ring->path, base, names->list[i].base);
        }
    }
    ring->base = hm_strdup(base);
    return ring->base != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status load_public(const char *path, hm_pubkey **key, hm_error **error) {
    hm_auto_buf file = {.data = NULL};
    hm_auto_error cause = NULL;
    hm_status status = hm_read_own_file(path, HM_KEY_FILE_LIMIT, &file, &cause);
    if (status == HM_OK) {
        status = hm_pubkey_parse(hm_buf_view(&file), path, key, &cause);
    }
    return status == HM_OK ? HM_OK : undecided(error, &cause);
}

/* Without its public half a version cannot be told apart from the others, so it is asked for. */
static hm_status fail_without_public(const hm_keyring *ring, const key_name *name,
                                     hm_error **error) {
    hm_auto_free char *public_path = hm_keyring_file(ring, name->version, "pub");
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s/%s has no public key beside it",
                  ring->path, name->name);
    hm_error_add_hint(error, "`openssl pkey -in %s/%s -pubout -out %s` writes it", ring->path,
                      name->name, public_path != NULL ? public_path : "the .pub");
    return HM_UNDECIDED;
}

static hm_status add_key(hm_keyring *ring, uint64_t version, const hm_pubkey *key,
                         hm_error **error) {
    hm_keyring_entry entry = {.version = version,
                              .created = HM_TIME_ALWAYS,
                              .signs_from = HM_TIME_ALWAYS,
                              .not_after = HM_TIME_NEVER};
    for (size_t i = 0; i < ring->count; i++) {
        if (strcmp(ring->entries[i].fingerprint, key->fingerprint) == 0) {
            return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                           "versions %llu and %llu of the keyring %s are the same key",
                           (unsigned long long)ring->entries[i].version,
                           (unsigned long long)version, ring->path);
        }
    }
    memcpy(entry.fingerprint, key->fingerprint, sizeof entry.fingerprint);
    entry.algorithm = hm_strdup(key->algorithm);
    hm_status status =
        entry.algorithm != NULL ? hm_keyring_add(ring, &entry, error) : hm_fail_memory(error);
    hm_auto_free_(&entry.algorithm);
    return status;
}

static hm_status add_by_hand(hm_keyring *ring, const key_name *name, hm_error **error) {
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *key = NULL;
    hm_auto_free char *path = hm_keyring_file(ring, name->version, "pub");
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = load_public(path, &key, error);
    return status == HM_OK && key != NULL ? add_key(ring, name->version, key, error) : status;
}

static bool has_public(const key_names *names, uint64_t version) {
    for (size_t i = 0; i < names->count; i++) {
        if (names->list[i].version == version && names->list[i].is_public) {
            return true;
        }
    }
    return false;
}

static hm_status read_by_hand(hm_keyring *ring, const key_names *names, hm_error **error) {
    hm_status status = choose_base(ring, names, error);
    if (status == HM_OK) {
        status = name_signer(ring, error);
    }
    for (size_t i = 0; i < names->count && status == HM_OK; i++) {
        const key_name *name = &names->list[i];
        if (name->is_public) {
            status = ring->count < HM_KEYRING_VERSIONS
                         ? add_by_hand(ring, name, error)
                         : hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                                   "the keyring %s has more than %d versions", ring->path,
                                   HM_KEYRING_VERSIONS);
        } else if (!has_public(names, name->version)) {
            status = fail_without_public(ring, name, error);
        }
    }
    return status;
}

hm_status hm_keyring_load(const char *path, hm_keyring *ring, hm_error **error) {
    HM_CLEANUP(names_free) key_names names = {.list = NULL};
    hm_status status = hm_check_own_directory(path, error);
    if (status != HM_OK) {
        return status;
    }
    ring->path = hm_strdup(path);
    if (ring->path == NULL) {
        return hm_fail_memory(error);
    }
    /* In this order: a rotation adds files first, and they are no strays once it is done. */
    status = scan(path, &names, error);
    if (status == HM_OK) {
        status = read_json(ring, error);
    }
    if (status != HM_OK) {
        return status;
    }
    return ring->recorded ? note_strays(ring, &names, error) : read_by_hand(ring, &names, error);
}

/* ---- versions ------------------------------------------------------------------------------- */

bool hm_keyring_has_private(const hm_keyring *ring, const hm_keyring_entry *entry) {
    hm_auto_free char *path = hm_keyring_file(ring, entry->version, "pem");
    return path != NULL && access(path, F_OK) == 0;
}

const hm_keyring_entry *hm_keyring_signing(const hm_keyring *ring, int64_t now) {
    for (size_t i = ring->count; i-- > 0;) {
        if (ring->entries[i].signs_from <= now) {
            return &ring->entries[i];
        }
    }
    return NULL;
}

const char *hm_keyring_status(const hm_keyring *ring, const hm_keyring_entry *entry, int64_t now) {
    if (entry->revoked) {
        return "revoked";
    }
    if (now > entry->not_after) {
        return "expired";
    }
    if (entry->signs_from > now) {
        return "coming";
    }
    return entry == hm_keyring_signing(ring, now) ? "signing" : "old";
}

hm_status hm_keyring_public_key(const hm_keyring *ring, const hm_keyring_entry *entry,
                                hm_pubkey **key, hm_error **error) {
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *found = NULL;
    hm_auto_free char *path = hm_keyring_file(ring, entry->version, "pub");
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = load_public(path, &found, error);
    if (status == HM_OK && strcmp(found->fingerprint, entry->fingerprint) != 0) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                         "%s is another key (%s) than the one that keyring.json records (%s)", path,
                         found->fingerprint, entry->fingerprint);
    }
    if (status == HM_OK) {
        *key = found;
        found = NULL;
    }
    return status;
}

/* ---- signing -------------------------------------------------------------------------------- */

static hm_status check_may_sign(const hm_keyring *ring, const hm_keyring_entry *entry, int64_t now,
                                hm_error **error) {
    if (now < 0) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the clock makes no sense");
    }
    if (entry == NULL) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the keyring %s has no key that signs%s",
                      ring->path, ring->count > 0 ? " already" : "");
        hm_error_add_hint(error, "`hallmark key rotate %s` makes one", ring->path);
        return HM_UNDECIDED;
    }
    hm_status status = HM_OK;
    if (entry->revoked) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_REVOKED_KEY,
                         "version %llu, which would sign, is revoked: %s",
                         (unsigned long long)entry->version, entry->reason);
    } else if (now > entry->not_after) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_EXPIRED,
                         "version %llu, which would sign, is past its end",
                         (unsigned long long)entry->version);
    }
    hm_error_add_hint(error, "`hallmark key rotate %s` makes the next version", ring->path);
    return status;
}

hm_status hm_keyring_open_signer(hm_signer *signer, const char *path,
                                 const hm_signer_options *options, hm_error **error) {
    hm_auto_keyring ring = {.path = NULL};
    int64_t now = hm_time_now();
    hm_status status = hm_keyring_load(path, &ring, error);
    if (status != HM_OK) {
        return status;
    }
    const hm_keyring_entry *entry = hm_keyring_signing(&ring, now);
    status = check_may_sign(&ring, entry, now, error);
    if (status != HM_OK) {
        return status;
    }
    hm_auto_free char *file = hm_keyring_file(&ring, entry->version, "pem");
    if (file == NULL) {
        return hm_fail_memory(error);
    }
    status = signer->backend->open(signer, file, options, error);
    if (status == HM_OK && strcmp(signer->public_key->fingerprint, entry->fingerprint) != 0) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                         "%s is another key (%s) than the keyring records (%s)", file,
                         signer->public_key->fingerprint, entry->fingerprint);
    }
    signer->key_version = entry->version;
    return status;
}
