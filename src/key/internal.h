/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the files of the key room, and by nobody else: how a scheme is applied to a key,
 * memory for secrets, PEM files taken apart.
 */
#ifndef HM_KEY_INTERNAL_H
#define HM_KEY_INTERNAL_H

#include "key/key.h"

/* ---- schemes -------------------------------------------------------------------------------- */

/*
 * Prepares `ctx` for one EVP_DigestSign() or EVP_DigestVerify() with `pkey`, the private or public
 * half of `key`. ::HM_USAGE when the scheme is not for this kind of key.
 */
HM_MUST_USE hm_status hm_scheme_begin(EVP_MD_CTX *ctx, EVP_PKEY *pkey, const hm_pubkey *key,
                                      hm_scheme scheme, bool sign, hm_error **error);

/* For those who sign elsewhere: bytes of the salt of RSA-PSS; 0 for other schemes. */
int hm_scheme_salt(const hm_pubkey *key, hm_scheme scheme);

enum { HM_DIGEST_LIMIT = 64 }; /* bytes of the longest digest that a scheme signs */
/*
 * The digest that is signed under the scheme, for keys that sign nothing else. ::HM_USAGE for
 * schemes that hash by themselves.
 */
HM_MUST_USE hm_status hm_scheme_digest(const hm_pubkey *key, hm_scheme scheme, hm_bytes message,
                                       uint8_t *digest, size_t *length, hm_error **error);

/* r and s side by side, of one length each, as an ECDSA signature in DER. */
HM_MUST_USE hm_status hm_ecdsa_der_from_raw(hm_bytes raw, hm_buf *der, hm_error **error);

/* ---- secrets -------------------------------------------------------------------------------- */

/* Bytes in pages of their own: locked where the limit allows, kept out of core dumps, wiped. */
typedef struct hm_secret {
    uint8_t *data;
    size_t length;
    size_t capacity;
} hm_secret;

HM_MUST_USE hm_status hm_secret_reserve(hm_secret *secret, size_t capacity, hm_error **error);
void hm_secret_free(hm_secret *secret);
#define hm_auto_secret HM_CLEANUP(hm_secret_free) hm_secret

/*
 * Reads a file with a secret, if nobody but its owner can; see hm_signer_open(). `noun` says what
 * it is, "private key".
 */
HM_MUST_USE hm_status hm_secret_read_file(const char *noun, const char *path, hm_secret *secret,
                                          hm_error **error);

/* Asks for a passphrase. `ask` must not be NULL. */
HM_MUST_USE hm_status hm_secret_ask(hm_passphrase_fn ask, void *context, const char *what,
                                    bool again, hm_secret *secret, hm_error **error);

/* ---- generating ------------------------------------------------------------------------------ */

/* The options of hm_key_generate() as far as they are the same for every backend. */
HM_MUST_USE hm_status hm_keygen_check(const hm_keygen_options *options, hm_error **error);
/* Of keys in files: whether there is a way to have a passphrase, if one is needed. */
HM_MUST_USE hm_status hm_keygen_check_passphrase(const hm_keygen_options *options,
                                                 hm_error **error);
/* ::HM_USAGE when there is something at `path`. */
HM_MUST_USE hm_status hm_key_check_free(const char *path, hm_error **error);
/* The backend for files: two of them, or neither. */
HM_MUST_USE hm_status hm_pem_generate(const char *private_path, const char *public_path,
                                      const hm_keygen_options *options, hm_error **error);

/* ---- PEM files ------------------------------------------------------------------------------ */

typedef enum hm_pem_kind {
    HM_PEM_END, /* no further block */
    HM_PEM_DAMAGED,
    HM_PEM_PUBLIC,     /* SubjectPublicKeyInfo */
    HM_PEM_PUBLIC_RSA, /* PKCS#1 */
    HM_PEM_PRIVATE,    /* of any kind, read or not */
    HM_PEM_CERTIFICATE,
    HM_PEM_PARAMETERS, /* of a curve, before a private key */
    HM_PEM_OTHER,
} hm_pem_kind;

typedef struct hm_pem_block {
    hm_pem_kind kind;
    char *name; /* "PUBLIC KEY" */
    char *header;
    uint8_t *data;
    size_t length;
} hm_pem_block;

/*
 * Reads the next block of `bio` in place of what `block` held. Text around blocks is passed over.
 * Leaves nothing in libcrypto's error queue.
 */
void hm_pem_next(BIO *bio, hm_pem_block *block);
void hm_pem_free(hm_pem_block *block);
#define hm_auto_pem HM_CLEANUP(hm_pem_free) hm_pem_block

/* A reader of these bytes, which it does not copy. NULL: no memory, or they are too many. */
BIO *hm_pem_open(hm_bytes pem);

/*
 * The error for a file that holds something else: says what it is that was found, and what was
 * `wanted` ("a private key").
 */
hm_status hm_pem_fail_other(const hm_pem_block *found, hm_bytes pem, const char *what,
                            const char *wanted, hm_error **error);

#endif
