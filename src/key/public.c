/* SPDX-License-Identifier: Apache-2.0 */
/* Public keys: which ones Hallmark works with, how they are named, what they signed. */
#include "key/internal.h"

#include <limits.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>

enum {
    RSA_MIN_BITS = 2048,
    RSA_MAX_BITS = 16384, /* libcrypto verifies no longer ones */
    GROUP_NAME_SIZE = 80,
};

static hm_status unsupported(const char *what, const char *is, hm_error **error) {
    hm_status status = hm_fail_unless_memory(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                                             "%s is %s, which is not supported", what, is);
    hm_error_add_hint(error,
                      "keys are EC on P-256, P-384 or P-521, RSA of %d bits or more, "
                      "or Ed25519",
                      RSA_MIN_BITS);
    return status;
}

static hm_status unsupported_curve(const char *what, const char *curve, hm_error **error) {
    hm_auto_free char *is = hm_textf("an EC key on the curve %s", curve);
    return is != NULL ? unsupported(what, is, error) : hm_fail_memory(error);
}

/*
 * A curve that is spelt out instead of named can differ from the real one in its generator, which
 * makes signatures under a trusted point forgeable (CVE-2020-0601).
 */
static hm_status classify_ec(EVP_PKEY *pkey, const char *what, hm_key_type *type,
                             hm_error **error) {
    static const struct {
        int nid;
        hm_key_type type;
    } curves[] = {
        {NID_X9_62_prime256v1, HM_KEY_EC_P256},
        {NID_secp384r1, HM_KEY_EC_P384},
        {NID_secp521r1, HM_KEY_EC_P521},
    };
    char name[GROUP_NAME_SIZE];
    int is_explicit = 1;
    if (EVP_PKEY_get_int_param(pkey, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS,
                               &is_explicit) != 1 ||
        is_explicit != 0 || EVP_PKEY_get_group_name(pkey, name, sizeof name, NULL) != 1) {
        return unsupported(what, "an EC key whose curve is spelt out, not named", error);
    }
    int nid = OBJ_txt2nid(name);
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++) {
        if (curves[i].nid == nid) {
            *type = curves[i].type;
            return HM_OK;
        }
    }
    return unsupported_curve(what, name, error);
}

/* With an exponent of 1 anybody can sign. */
static bool rsa_exponent_good(const EVP_PKEY *pkey) {
    BIGNUM *exponent = NULL;
    bool good = EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1 &&
                BN_is_odd(exponent) && !BN_is_one(exponent);
    BN_free(exponent);
    return good;
}

static hm_status classify_rsa(const EVP_PKEY *pkey, const char *what, hm_key_type *type,
                              hm_error **error) {
    int bits = EVP_PKEY_get_bits(pkey);
    if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS) {
        hm_auto_free char *is = hm_textf("an RSA key of %d bits", bits);
        return is != NULL ? unsupported(what, is, error) : hm_fail_memory(error);
    }
    if (!rsa_exponent_good(pkey)) {
        return unsupported(what, "an RSA key with an unusable exponent", error);
    }
    *type = HM_KEY_RSA;
    return HM_OK;
}

static hm_status classify(EVP_PKEY *pkey, const char *what, hm_key_type *type, hm_error **error) {
    if (EVP_PKEY_is_a(pkey, "EC") == 1) {
        return classify_ec(pkey, what, type, error);
    }
    if (EVP_PKEY_is_a(pkey, "RSA") == 1) {
        return classify_rsa(pkey, what, type, error);
    }
    if (EVP_PKEY_is_a(pkey, "ED25519") == 1) {
        *type = HM_KEY_ED25519;
        return HM_OK;
    }
    const char *name = EVP_PKEY_get0_type_name(pkey);
    hm_auto_free char *is = hm_textf("a key of type %s", name != NULL ? name : "unknown");
    return is != NULL ? unsupported(what, is, error) : hm_fail_memory(error);
}

static char *algorithm_name(hm_key_type type, unsigned bits) {
    switch (type) {
    case HM_KEY_EC_P256: return hm_strdup("ec-p256");
    case HM_KEY_EC_P384: return hm_strdup("ec-p384");
    case HM_KEY_EC_P521: return hm_strdup("ec-p521");
    case HM_KEY_RSA: return hm_textf("rsa-%u", bits);
    case HM_KEY_ED25519: return hm_strdup("ed25519");
    }
    return NULL;
}

static bool is_ec(hm_key_type type) {
    return type == HM_KEY_EC_P256 || type == HM_KEY_EC_P384 || type == HM_KEY_EC_P521;
}

/*
 * A copy of the public half, of which libcrypto writes one spelling only: a named curve and the
 * uncompressed point, however the key was spelt where it came from.
 */
static EVP_PKEY *copy_public(EVP_PKEY *pkey, hm_key_type type) {
    hm_auto_pkey copy = NULL;
    uint8_t *der = NULL;
    int length = i2d_PUBKEY(pkey, &der);
    const uint8_t *cursor = der;
    if (length > 0) {
        copy = d2i_PUBKEY(NULL, &cursor, length);
    }
    OPENSSL_free(der);
    if (copy == NULL ||
        (is_ec(type) &&
         (EVP_PKEY_set_utf8_string_param(copy, OSSL_PKEY_PARAM_EC_ENCODING,
                                         OSSL_PKEY_EC_ENCODING_GROUP) != 1 ||
          EVP_PKEY_set_utf8_string_param(copy, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                         OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED) !=
              1))) {
        return NULL;
    }
    EVP_PKEY *result = copy;
    copy = NULL;
    return result;
}

bool hm_fingerprint(hm_bytes data, char hex[2 * HM_FINGERPRINT_SIZE + 1]) {
    uint8_t digest[HM_FINGERPRINT_SIZE];
    if (EVP_Q_digest(NULL, "SHA256", NULL, data.data, data.length, digest, NULL) != 1) {
        return false;
    }
    hm_hex(digest, sizeof digest, hex);
    return true;
}

static bool set_fingerprint(hm_pubkey *key) {
    uint8_t *der = NULL;
    int length = i2d_PUBKEY(key->pkey, &der);
    bool done = length > 0 && hm_fingerprint(hm_bytes_of(der, (size_t)length), key->fingerprint);
    OPENSSL_free(der);
    return done;
}

/* OMS key hint: SHA-256 over the PEM text, with line feeds and the last of them included. */
static bool set_hint(hm_pubkey *key) {
    hm_auto_bio bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (bio == NULL || PEM_write_bio_PUBKEY(bio, key->pkey) != 1) {
        return false;
    }
    long length = BIO_get_mem_data(bio, &text);
    return length > 0 && hm_fingerprint(hm_bytes_of(text, (size_t)length), key->hint);
}

/* A point off the curve or at infinity would make signatures meaningless. */
static bool point_good(const hm_pubkey *key) {
    hm_auto_pkey_ctx ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key->pkey, NULL);
    return ctx != NULL && EVP_PKEY_public_check(ctx) == 1;
}

hm_status hm_pubkey_from_evp(EVP_PKEY *pkey, const char *what, hm_pubkey **key, hm_error **error) {
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *made = NULL;
    hm_key_type type = 0;
    hm_status status = classify(pkey, what, &type, error);
    if (status != HM_OK) {
        return status;
    }
    made = hm_alloc(1, sizeof *made);
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    made->type = type;
    made->bits = (unsigned)EVP_PKEY_get_bits(pkey);
    made->algorithm = algorithm_name(type, made->bits);
    made->pkey = copy_public(pkey, type);
    if (made->algorithm == NULL) {
        return hm_fail_memory(error);
    }
    if (made->pkey == NULL || !set_fingerprint(made) || !set_hint(made)) {
        return hm_fail_unless_memory(error, HM_UNDECIDED, HM_REASON_NONE,
                                     "%s: cannot take up the key", what);
    }
    if (is_ec(type) && !point_good(made)) {
        return hm_fail_unless_memory(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                                     "%s: the public key is no point of its curve", what);
    }
    *key = made;
    made = NULL;
    return HM_OK;
}

void hm_pubkey_free(hm_pubkey **key) {
    if (*key != NULL) {
        EVP_PKEY_free((*key)->pkey);
        hm_auto_free_(&(*key)->algorithm);
        hm_auto_free_(key);
        *key = NULL;
    }
}

hm_status hm_pubkey_pem(const hm_pubkey *key, hm_buf *pem, hm_error **error) {
    hm_auto_bio bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (bio == NULL || PEM_write_bio_PUBKEY(bio, key->pkey) != 1) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot write a public key");
    }
    long length = BIO_get_mem_data(bio, &text);
    hm_buf_add(pem, text, length > 0 ? (size_t)length : 0);
    return hm_buf_check(pem, error);
}

/* ---- reading -------------------------------------------------------------------------------- */

static EVP_PKEY *decode_public(const hm_pem_block *block) {
    const uint8_t *cursor = block->data;
    hm_auto_pkey pkey = NULL;
    if (block->length > LONG_MAX) {
        return NULL;
    }
    pkey = block->kind == HM_PEM_PUBLIC
               ? d2i_PUBKEY(NULL, &cursor, (long)block->length)
               : d2i_PublicKey(EVP_PKEY_RSA, NULL, &cursor, (long)block->length);
    if (pkey == NULL || cursor != block->data + block->length) {
        return NULL;
    }
    EVP_PKEY *result = pkey;
    pkey = NULL;
    return result;
}

static hm_status fail_not_public(const hm_pem_block *block, hm_bytes pem, const char *what,
                                 hm_error **error) {
    hm_status status = hm_pem_fail_other(block, pem, what, "a public key", error);
    if (block->kind == HM_PEM_PRIVATE) {
        hm_error_add_hint(error, "keep private keys where signing happens; `hallmark key generate` "
                                 "writes the public one beside it, as `.pub`");
    } else if (block->kind == HM_PEM_CERTIFICATE) {
        hm_error_add_hint(error, "certificates are believed by their root: --root");
    }
    return status;
}

/* Finds the one public key among the file's blocks. What else it holds must not be a secret. */
static hm_status find_public(hm_bytes pem, const char *what, EVP_PKEY **pkey, hm_error **error) {
    hm_auto_bio bio = hm_pem_open(pem);
    hm_auto_pem block = {.kind = HM_PEM_END};
    hm_auto_pkey found = NULL;
    if (bio == NULL) {
        return hm_fail_memory(error);
    }
    for (hm_pem_next(bio, &block); block.kind != HM_PEM_END; hm_pem_next(bio, &block)) {
        if (block.kind == HM_PEM_PARAMETERS) {
            continue;
        }
        if (block.kind != HM_PEM_PUBLIC && block.kind != HM_PEM_PUBLIC_RSA) {
            return fail_not_public(&block, pem, what, error);
        }
        if (found != NULL) {
            return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                           "%s holds several public keys; put each into a file of its own", what);
        }
        found = decode_public(&block);
        if (found == NULL) {
            return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE,
                                  "%s: cannot read the public key", what);
        }
    }
    if (found == NULL) {
        return fail_not_public(&block, pem, what, error);
    }
    *pkey = found;
    found = NULL;
    return HM_OK;
}

hm_status hm_pubkey_parse(hm_bytes pem, const char *what, hm_pubkey **key, hm_error **error) {
    hm_auto_pkey pkey = NULL;
    ERR_clear_error();
    hm_status status = find_public(pem, what, &pkey, error);
    if (status == HM_OK) {
        status = hm_pubkey_from_evp(pkey, what, key, error);
    }
    ERR_clear_error();
    return status;
}

/* ---- verifying ------------------------------------------------------------------------------ */

/*
 * One spelling of an ECDSA signature only: strict DER, nothing behind it. Otherwise the same
 * signature could be written in ways that other readers take for something else.
 */
static bool ecdsa_well_formed(hm_bytes signature) {
    const uint8_t *cursor = signature.data;
    uint8_t *again = NULL;
    if (signature.length > INT_MAX) {
        return false;
    }
    ECDSA_SIG *parsed = d2i_ECDSA_SIG(NULL, &cursor, (long)signature.length);
    int length = parsed != NULL ? i2d_ECDSA_SIG(parsed, &again) : -1;
    bool same = length > 0 && hm_bytes_equal(signature, hm_bytes_of(again, (size_t)length));
    OPENSSL_free(again);
    ECDSA_SIG_free(parsed);
    return same;
}

/* RFC 8017, 8.1.2: the signature is as long as the modulus. RFC 8032, 5.1.7: 64 bytes. */
static bool well_formed(const hm_pubkey *key, hm_bytes signature) {
    if (signature.length == 0) {
        return false;
    }
    if (is_ec(key->type)) {
        return ecdsa_well_formed(signature);
    }
    size_t length = key->type == HM_KEY_RSA ? ((size_t)key->bits + 7) / 8 : 64;
    return signature.length == length;
}

static hm_status verify(const hm_pubkey *key, hm_scheme scheme, hm_bytes message,
                        hm_bytes signature, hm_error **error) {
    hm_auto_md_ctx ctx = EVP_MD_CTX_new();
    if (ctx == NULL) {
        return hm_fail_memory(error);
    }
    ERR_clear_error();
    bool good = well_formed(key, signature);
    if (good) {
        hm_status status = hm_scheme_begin(ctx, key->pkey, key, scheme, false, error);
        if (status != HM_OK) {
            return status;
        }
        good = EVP_DigestVerify(ctx, signature.data, signature.length, message.data,
                                message.length) == 1;
    }
    if (!good) {
        return hm_fail_unless_memory(error, HM_REFUSED, HM_REASON_BAD_SIGNATURE,
                                     "the signature does not verify under the %s key %s",
                                     key->algorithm, key->fingerprint);
    }
    return HM_OK;
}

hm_status hm_pubkey_verify(const hm_pubkey *key, hm_scheme scheme, hm_bytes message,
                           hm_bytes signature, hm_error **error) {
    if (hm_scheme_text(key, scheme)[0] == '\0') {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER,
                       "the %s key %s cannot have made this kind of signature", key->algorithm,
                       key->fingerprint);
    }
    hm_status status = verify(key, scheme, message, signature, error);
    ERR_clear_error();
    return status;
}
