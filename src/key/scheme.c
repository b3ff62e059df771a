/* SPDX-License-Identifier: Apache-2.0 */
/* How bytes are hashed, padded and encoded under a key: one table for signing and verifying. */
#include "key/internal.h"

#include <openssl/rsa.h>

typedef enum salt_rule {
    SALT_NONE, /* not RSA */
    SALT_DIGEST,
    SALT_LONGEST,
} salt_rule;

typedef struct scheme_rule {
    hm_scheme scheme;
    hm_key_type type;
    const char *digest; /* NULL: the scheme hashes by itself */
    salt_rule salt;
    const char *text;
} scheme_rule;

/* The hash follows the curve, never what a signature file says of it (OMS, signing). */
static const scheme_rule rules[] = {
    {HM_SCHEME_BY_KEY, HM_KEY_EC_P256, "SHA256", SALT_NONE, "ECDSA P-256 SHA-256"},
    {HM_SCHEME_BY_KEY, HM_KEY_EC_P384, "SHA384", SALT_NONE, "ECDSA P-384 SHA-384"},
    {HM_SCHEME_BY_KEY, HM_KEY_EC_P521, "SHA512", SALT_NONE, "ECDSA P-521 SHA-512"},
    {HM_SCHEME_BY_KEY, HM_KEY_RSA, "SHA256", SALT_DIGEST, "RSA-PSS SHA-256"},
    {HM_SCHEME_BY_KEY, HM_KEY_ED25519, NULL, SALT_NONE, "Ed25519"},
    {HM_SCHEME_ECDSA_SHA256, HM_KEY_EC_P256, "SHA256", SALT_NONE, "ECDSA P-256 SHA-256"},
    {HM_SCHEME_ECDSA_SHA256, HM_KEY_EC_P384, "SHA256", SALT_NONE, "ECDSA P-384 SHA-256"},
    {HM_SCHEME_ECDSA_SHA256, HM_KEY_EC_P521, "SHA256", SALT_NONE, "ECDSA P-521 SHA-256"},
    {HM_SCHEME_RSA_PSS_SHA256_MAX, HM_KEY_RSA, "SHA256", SALT_LONGEST, "RSA-PSS SHA-256"},
};

static const scheme_rule *find_rule(const hm_pubkey *key, hm_scheme scheme) {
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (rules[i].scheme == scheme && rules[i].type == key->type) {
            return &rules[i];
        }
    }
    return NULL;
}

/*
 * RFC 8017, 9.1: emLen = ceil((modBits - 1) / 8), and at most emLen - hLen - 2 bytes of salt. Given
 * as a number, libcrypto holds a signature to it; "automatic" would take any salt.
 */
static int salt_length(const scheme_rule *rule, unsigned bits) {
    const int digest_length = 32;
    int encoded_length = (int)((bits - 1 + 7) / 8);
    return rule->salt == SALT_LONGEST ? encoded_length - digest_length - 2 : digest_length;
}

static bool set_padding(EVP_PKEY_CTX *ctx, const scheme_rule *rule, unsigned bits) {
    return rule->salt == SALT_NONE ||
           (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
            EVP_PKEY_CTX_set_rsa_mgf1_md_name(ctx, rule->digest, NULL) == 1 &&
            EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, salt_length(rule, bits)) == 1);
}

hm_status hm_scheme_begin(EVP_MD_CTX *ctx, EVP_PKEY *pkey, const hm_pubkey *key, hm_scheme scheme,
                          bool sign, hm_error **error) {
    const scheme_rule *rule = find_rule(key, scheme);
    EVP_PKEY_CTX *pkey_ctx = NULL; /* belongs to ctx */
    if (rule == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "this signature scheme is not for a %s key",
                       key->algorithm);
    }
    int begun = sign
                    ? EVP_DigestSignInit_ex(ctx, &pkey_ctx, rule->digest, NULL, NULL, pkey, NULL)
                    : EVP_DigestVerifyInit_ex(ctx, &pkey_ctx, rule->digest, NULL, NULL, pkey, NULL);
    if (begun != 1 || !set_padding(pkey_ctx, rule, key->bits)) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot set up %s", rule->text);
    }
    return HM_OK;
}

int hm_scheme_salt(const hm_pubkey *key, hm_scheme scheme) {
    const scheme_rule *rule = find_rule(key, scheme);
    return rule != NULL && rule->salt != SALT_NONE ? salt_length(rule, key->bits) : 0;
}

hm_status hm_scheme_check(const hm_pubkey *key, hm_scheme scheme, const char *what,
                          hm_error **error) {
    if (find_rule(key, scheme) != NULL) {
        return HM_OK;
    }
    bool rsa = scheme == HM_SCHEME_RSA_PSS_SHA256_MAX;
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s needs %s key; this one is %s", what,
                  rsa ? "an RSA" : "an EC", key->algorithm);
    hm_error_add_hint(error, "make one with `hallmark key generate --type %s`",
                      rsa ? "rsa-3072" : "ec-p256");
    return HM_USAGE;
}

const char *hm_scheme_text(const hm_pubkey *key, hm_scheme scheme) {
    const scheme_rule *rule = find_rule(key, scheme);
    return rule != NULL ? rule->text : "";
}

hm_status hm_scheme_digest(const hm_pubkey *key, hm_scheme scheme, hm_bytes message,
                           uint8_t *digest, size_t *length, hm_error **error) {
    const scheme_rule *rule = find_rule(key, scheme);
    if (rule == NULL || rule->digest == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "a %s key signs no digest here",
                       key->algorithm);
    }
    if (EVP_Q_digest(NULL, rule->digest, NULL, message.data, message.length, digest, length) != 1) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot digest for %s",
                              rule->text);
    }
    return HM_OK;
}
