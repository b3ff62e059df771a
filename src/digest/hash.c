/* SPDX-License-Identifier: Apache-2.0 */
/* The hash functions by name, and one stream at a time through their libraries. */
#include "digest/engine.h"

#include <openssl/crypto.h>

#include <string.h>

static const struct hash_kind {
    hm_hash hash;
    const char *name;
    size_t size;
    const char *libcrypto; /* its name there, or NULL */
} hash_kinds[] = {
    {HM_HASH_SHA256, "sha256", 32, "SHA2-256"},
    {HM_HASH_BLAKE2B, "blake2b", 64, "BLAKE2B-512"},
    {HM_HASH_BLAKE3, "blake3", BLAKE3_OUT_LEN, NULL},
};

enum { HASH_COUNT = sizeof hash_kinds / sizeof hash_kinds[0] };

/* Fetching takes longer than hashing a small file; once per process is enough. */
static EVP_MD *fetched[HASH_COUNT];
static pthread_once_t fetched_once = PTHREAD_ONCE_INIT;

static void fetch_all(void) {
    /* libcrypto crashes in a fetch when memory ran out while it set itself up. */
    if (OPENSSL_init_crypto(0, NULL) != 1 || OSSL_LIB_CTX_get0_global_default() == NULL) {
        return;
    }
    for (size_t i = 0; i < HASH_COUNT; i++) {
        if (hash_kinds[i].libcrypto != NULL) {
            fetched[i] = EVP_MD_fetch(NULL, hash_kinds[i].libcrypto, NULL);
        }
    }
}

static const struct hash_kind *find_kind(hm_hash hash) {
    for (size_t i = 0; i < HASH_COUNT; i++) {
        if (hash_kinds[i].hash == hash) {
            return &hash_kinds[i];
        }
    }
    return NULL;
}

static hm_status fail_hasher(const hm_hasher *hasher, hm_error **error) {
    return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "computing %s failed",
                          hm_hash_name(hasher->hash));
}

static const EVP_MD *libcrypto_hash(hm_hash hash) {
    const struct hash_kind *kind = find_kind(hash);
    (void)pthread_once(&fetched_once, fetch_all);
    return kind != NULL ? fetched[kind - hash_kinds] : NULL;
}

hm_status hm_hasher_init(hm_hasher *hasher, hm_hash hash, hm_error **error) {
    if (find_kind(hash) == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "there is no hash function %d", (int)hash);
    }
    hasher->hash = hash;
    if (hash == HM_HASH_BLAKE3) {
        return HM_OK;
    }
    if (libcrypto_hash(hash) == NULL) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "this libcrypto does not provide %s",
                       hm_hash_name(hash));
    }
    hasher->context = EVP_MD_CTX_new();
    return hasher->context != NULL ? HM_OK : hm_fail_memory(error);
}

hm_status hm_hasher_start(hm_hasher *hasher, hm_error **error) {
    if (hasher->hash == HM_HASH_BLAKE3) {
        blake3_hasher_init(&hasher->blake3);
        return HM_OK;
    }
    if (EVP_DigestInit_ex(hasher->context, libcrypto_hash(hasher->hash), NULL) != 1) {
        return fail_hasher(hasher, error);
    }
    return HM_OK;
}

hm_status hm_hasher_add(hm_hasher *hasher, hm_bytes data, hm_error **error) {
    if (hasher->hash == HM_HASH_BLAKE3) {
        blake3_hasher_update(&hasher->blake3, data.data, data.length);
        return HM_OK;
    }
    if (EVP_DigestUpdate(hasher->context, data.data, data.length) != 1) {
        return fail_hasher(hasher, error);
    }
    return HM_OK;
}

hm_status hm_hasher_finish(hm_hasher *hasher, uint8_t *digest, hm_error **error) {
    if (hasher->hash == HM_HASH_BLAKE3) {
        blake3_hasher_finalize(&hasher->blake3, digest, BLAKE3_OUT_LEN);
        return HM_OK;
    }
    uint8_t out[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (EVP_DigestFinal_ex(hasher->context, out, &length) != 1 ||
        length != hm_hash_size(hasher->hash)) {
        return fail_hasher(hasher, error);
    }
    memcpy(digest, out, length);
    return HM_OK;
}

void hm_hasher_free(hm_hasher *hasher) {
    EVP_MD_CTX_free(hasher->context);
    hasher->context = NULL;
}

const char *hm_hash_name(hm_hash hash) {
    const struct hash_kind *kind = find_kind(hash);
    return kind != NULL ? kind->name : "";
}

size_t hm_hash_size(hm_hash hash) {
    const struct hash_kind *kind = find_kind(hash);
    return kind != NULL ? kind->size : 0;
}

bool hm_hash_from_name(hm_bytes name, hm_hash *hash) {
    for (size_t i = 0; i < HASH_COUNT; i++) {
        if (hm_bytes_equal_text(name, hash_kinds[i].name)) {
            *hash = hash_kinds[i].hash;
            return true;
        }
    }
    return false;
}

hm_status hm_digest_bytes(hm_hash hash, hm_bytes data, uint8_t *digest, hm_error **error) {
    hm_auto_hasher hasher = {0};
    hm_status status = hm_hasher_init(&hasher, hash, error);
    if (status == HM_OK) {
        status = hm_hasher_start(&hasher, error);
    }
    if (status == HM_OK) {
        status = hm_hasher_add(&hasher, data, error);
    }
    if (status == HM_OK) {
        status = hm_hasher_finish(&hasher, digest, error);
    }
    return status;
}
