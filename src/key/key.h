/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key: "sign these bytes" and "did this key sign these bytes". Private keys behind a table of
 * backends, public keys, certificates as carried with a key. Knows no signature format and no
 * policy.
 */
#ifndef HM_KEY_H
#define HM_KEY_H

#include "base/base.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

enum {
    HM_FINGERPRINT_SIZE = 32,
    HM_CHAIN_LIMIT = 16, /* certificates in one signature */
};

/* How bytes are hashed, padded and encoded under a key. */
typedef enum hm_scheme {
    /*
     * By the key: ECDSA in DER with the curve's hash (P-256 SHA-256, P-384 SHA-384, P-521
     * SHA-512); RSA-PSS with SHA-256 and a salt of 32 bytes; Ed25519.
     */
    HM_SCHEME_BY_KEY = 1,
    HM_SCHEME_ECDSA_SHA256,       /* whatever the curve: model_signing 0.2.0 */
    HM_SCHEME_RSA_PSS_SHA256_MAX, /* the longest salt, exactly: sig-json, manifest-json */
} hm_scheme;

typedef enum hm_key_type {
    HM_KEY_EC_P256 = 1,
    HM_KEY_EC_P384,
    HM_KEY_EC_P521,
    HM_KEY_RSA,
    HM_KEY_ED25519,
} hm_key_type;

/* ---- public keys ---------------------------------------------------------------------------- */

typedef struct hm_pubkey {
    EVP_PKEY *pkey;
    hm_key_type type;
    unsigned bits;
    char *algorithm;                               /* "ec-p256", "rsa-4096", "ed25519" */
    char fingerprint[2 * HM_FINGERPRINT_SIZE + 1]; /* hex SHA-256 of the DER SPKI */
    char hint[2 * HM_FINGERPRINT_SIZE + 1];        /* of OMS: SHA-256 of the PEM text */
} hm_pubkey;

/*
 * Takes a reference to `pkey` and accepts only what Hallmark works with: named P-256, P-384, P-521,
 * RSA from 2048 bits, Ed25519. Else ::HM_REFUSED unsupported; `what` names it in errors.
 */
HM_MUST_USE hm_status hm_pubkey_from_evp(EVP_PKEY *pkey, const char *what, hm_pubkey **key,
                                         hm_error **error);
/* PEM SubjectPublicKeyInfo, in the one spelling that the hint is made from. */
HM_MUST_USE hm_status hm_pubkey_pem(const hm_pubkey *key, hm_buf *pem, hm_error **error);
/* Reads PEM bytes; see hm_policy_add_key(). Unreadable: ::HM_UNDECIDED. */
HM_MUST_USE hm_status hm_pubkey_parse(hm_bytes pem, const char *what, hm_pubkey **key,
                                      hm_error **error);
/* SHA-256 in hex, as fingerprints are written; false when libcrypto fails. */
bool hm_fingerprint(hm_bytes data, char hex[2 * HM_FINGERPRINT_SIZE + 1]);
void hm_pubkey_free(hm_pubkey **key);

/* ::HM_USAGE when the scheme is not for this kind of key. `what` names the format, for the text. */
HM_MUST_USE hm_status hm_scheme_check(const hm_pubkey *key, hm_scheme scheme, const char *what,
                                      hm_error **error);
/* The scheme under this key for people: "ECDSA P-384 SHA-384", "RSA-PSS SHA-256". */
const char *hm_scheme_text(const hm_pubkey *key, hm_scheme scheme);

/*
 * ::HM_OK only when `signature` over `message` is good. ::HM_REFUSED bad-signature when not, and
 * untrusted-signer when the key is of a kind that the scheme cannot be used with.
 */
HM_MUST_USE hm_status hm_pubkey_verify(const hm_pubkey *key, hm_scheme scheme, hm_bytes message,
                                       hm_bytes signature, hm_error **error);

/* ---- files ----------------------------------------------------------------------------------- */

#define HM_KEY_FILE_LIMIT ((size_t)64 << 10)        /* bytes of a file with one key */
#define HM_CERTIFICATE_FILE_LIMIT ((size_t)4 << 20) /* and of one with certificates */
/*
 * Reads a file of the caller's own that says whom to believe, or who signs. What is wrong with it
 * is no verdict on a signature: ::HM_UNDECIDED.
 */
HM_MUST_USE hm_status hm_key_file_read(const char *path, size_t limit, hm_buf *file,
                                       hm_error **error);

/*
 * hm_fail(), unless lack of memory is among what libcrypto complained of: that decides nothing, and
 * is hm_fail_memory(). Empties libcrypto's error queue.
 */
hm_status hm_fail_unless_memory(hm_error **error, hm_status status, hm_reason reason,
                                const char *format, ...) HM_PRINTF(4, 5);

/* ---- certificates ---------------------------------------------------------------------------- */

/* Every certificate in PEM bytes; at least one. Unreadable: ::HM_UNDECIDED. */
HM_MUST_USE hm_status hm_certificates_parse(hm_bytes pem, const char *what,
                                            STACK_OF(X509) **certificates, hm_error **error);
/* One certificate in DER, nothing behind it. ::HM_REFUSED malformed. */
HM_MUST_USE hm_status hm_certificate_parse_der(hm_bytes der, const char *what, X509 **certificate,
                                               hm_error **error);
HM_MUST_USE hm_status hm_certificate_der(X509 *certificate, hm_buf *der, hm_error **error);
/* Lower-case hex SHA-256 of its key's DER SubjectPublicKeyInfo. Newly allocated. */
HM_MUST_USE hm_status hm_certificate_key_fingerprint(X509 *certificate, char **fingerprint,
                                                     hm_error **error);
bool hm_certificate_self_signed(X509 *certificate);

/* ---- signers -------------------------------------------------------------------------------- */

/* One kind of place where private keys live. A new one is a file and a row in `backends`. */
typedef struct hm_key_backend {
    const char *scheme; /* URI scheme, such as "pkcs11"; NULL: a path */
    /* Opens the key: sets signer->state (its own) and signer->public_key. */
    hm_status (*open)(hm_signer *signer, const char *uri, const hm_signer_options *options,
                      hm_error **error);
    hm_status (*sign)(hm_signer *signer, hm_scheme scheme, hm_bytes message, hm_buf *signature,
                      hm_error **error);
    void (*close)(hm_signer *signer);
    /* The public half alone, for verifiers: asks for no secret. NULL: a file, to be read. */
    hm_status (*public_key)(const char *uri, hm_pubkey **key, hm_error **error);
    /* Certificates that lie beside keys, likewise. NULL: a file, to be read. */
    hm_status (*certificates)(const char *uri, STACK_OF(X509) **list, hm_error **error);
    /* See hm_key_generate(), which checks the options. NULL: keys are made elsewhere. */
    hm_status (*generate)(const char *uri, const char *public_path,
                          const hm_keygen_options *options, hm_error **error);
    /* ::HM_USAGE for a scheme that its keys cannot sign by. NULL: all that fit the key. */
    hm_status (*check)(const hm_signer *signer, hm_scheme scheme, const char *what,
                       hm_error **error);
} hm_key_backend;

struct hm_signer {
    const hm_key_backend *backend;
    void *state;
    hm_pubkey *public_key;
    STACK_OF(X509) *certificates; /* leaf first, no root; NULL: a bare key */
    uint64_t key_version;         /* of a keyring; 0: none */
};

/*
 * The public key at a path or key URI; see hm_policy_add_key(). Unreadable, or a service that is
 * down: ::HM_UNDECIDED.
 */
HM_MUST_USE hm_status hm_pubkey_load(const char *key, hm_pubkey **pubkey, hm_error **error);

/* The certificates at a path or key URI, at least one; see hm_policy_add_root(). */
HM_MUST_USE hm_status hm_certificates_load(const char *place, STACK_OF(X509) **list,
                                           hm_error **error);

/* hm_scheme_check(), and whether where the key lives can do it: asked before a model is read. */
HM_MUST_USE hm_status hm_signer_check(const hm_signer *signer, hm_scheme scheme, const char *what,
                                      hm_error **error);

/* Signs, and checks the signature under the public key before handing it over. */
HM_MUST_USE hm_status hm_signer_sign(hm_signer *signer, hm_scheme scheme, hm_bytes message,
                                     hm_buf *signature, hm_error **error);

extern const hm_key_backend hm_key_backend_pem;
extern const hm_key_backend hm_key_backend_pkcs11;

/* Adds a line on what PKCS#11 is done with, for hm_build_info(). */
void hm_pkcs11_describe(hm_buf *text);
extern const hm_key_backend hm_key_backend_awskms;
extern const hm_key_backend hm_key_backend_azurekms;

/* ---- cleanup of libcrypto's objects --------------------------------------------------------- */

void hm_evp_pkey_free(EVP_PKEY **p);
void hm_evp_pkey_ctx_free(EVP_PKEY_CTX **p);
void hm_evp_md_ctx_free(EVP_MD_CTX **p);
void hm_bio_free(BIO **p);
void hm_x509_free(X509 **p);
void hm_x509_stack_free(STACK_OF(X509) **p);
#define hm_auto_pkey HM_CLEANUP(hm_evp_pkey_free) EVP_PKEY *
#define hm_auto_pkey_ctx HM_CLEANUP(hm_evp_pkey_ctx_free) EVP_PKEY_CTX *
#define hm_auto_md_ctx HM_CLEANUP(hm_evp_md_ctx_free) EVP_MD_CTX *
#define hm_auto_bio HM_CLEANUP(hm_bio_free) BIO *
#define hm_auto_x509 HM_CLEANUP(hm_x509_free) X509 *
#define hm_auto_x509_stack HM_CLEANUP(hm_x509_stack_free) STACK_OF(X509) *

#endif
