/* SPDX-License-Identifier: Apache-2.0 */
/* What Azure Key Vault answers: public keys as JSON Web Keys (RFC 7517), raw signatures. */
#include "key/azure.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

static const char service[] = "Azure Key Vault";

enum {
    NUMBER_LIMIT = 2048, /* bytes of a modulus, and more than of any other number */
    VERSION_LIMIT = 64,
    POINT_UNCOMPRESSED = 4, /* SEC 1, 2.3.3 */
};

static hm_status fail_member(const char *name, hm_error **error) {
    return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                   "the answer of %s cannot be read: \"%s\" is not what it should be", service,
                   name);
}

/* RFC 7515, section 2: base64url without padding. */
static bool unbase64url(hm_bytes text, hm_buf *bytes) {
    hm_auto_buf padded = {.data = NULL};
    if (text.length == 0 || text.length > NUMBER_LIMIT * 2 || text.length % 4 == 1 ||
        memchr(text.data, '=', text.length) != NULL ||
        memchr(text.data, '+', text.length) != NULL ||
        memchr(text.data, '/', text.length) != NULL) {
        return false;
    }
    hm_buf_add(&padded, text.data, text.length);
    while (padded.length % 4 != 0 && !padded.failed) {
        hm_buf_add_byte(&padded, '=');
    }
    return !padded.failed && hm_unbase64(hm_buf_view(&padded), HM_BASE64_EITHER, bytes);
}

static hm_status take_bytes(hm_json *object, const char *name, hm_buf *bytes, hm_error **error) {
    hm_bytes text;
    hm_status status = hm_remote_take(object, service, name, &text, error);
    if (status == HM_OK && !unbase64url(text, bytes)) {
        status = bytes->failed ? hm_fail_memory(error) : fail_member(name, error);
    }
    return status;
}

/* ---- keys ----------------------------------------------------------------------------------- */

static void builder_free(OSSL_PARAM_BLD **builder) {
    OSSL_PARAM_BLD_free(*builder);
}

static void bignum_free(BIGNUM **number) {
    BN_free(*number);
}

static EVP_PKEY *make_key(const char *type, OSSL_PARAM_BLD *builder) {
    hm_auto_pkey_ctx ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY *pkey = NULL;
    if (ctx == NULL || params == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        pkey = NULL;
    }
    OSSL_PARAM_free(params);
    return pkey;
}

static const char *curve_group(hm_bytes curve, size_t *size) {
    static const struct {
        const char *name;
        const char *group;
        size_t size;
    } curves[] = {{"P-256", "prime256v1", 32},
                  {"P-384", "secp384r1", 48},
                  {"P-521", "secp521r1", 66}};
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++) {
        if (hm_bytes_equal_text(curve, curves[i].name)) {
            *size = curves[i].size;
            return curves[i].group;
        }
    }
    return NULL;
}

/* RFC 7518, 6.2.1: coordinates of the full length of the curve's field. */
static hm_status read_ec(hm_json *jwk, EVP_PKEY **pkey, hm_error **error) {
    HM_CLEANUP(builder_free) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    hm_auto_buf point = {.data = NULL};
    size_t size = 0;
    const char *group = curve_group(hm_remote_text(jwk, "crv"), &size);
    if (group == NULL) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "%s has the key on a curve that is not supported", service);
    }
    hm_buf_add_byte(&point, POINT_UNCOMPRESSED);
    hm_status status = take_bytes(jwk, "x", &point, error);
    if (status == HM_OK && point.length != 1 + size) {
        status = fail_member("x", error);
    }
    if (status == HM_OK) {
        status = take_bytes(jwk, "y", &point, error);
    }
    if (status == HM_OK && point.length != 1 + 2 * size) {
        status = fail_member("y", error);
    }
    if (status == HM_OK && builder != NULL &&
        OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point.data,
                                         point.length) == 1) {
        *pkey = make_key("EC", builder);
    }
    return status;
}

static hm_status read_rsa(hm_json *jwk, EVP_PKEY **pkey, hm_error **error) {
    HM_CLEANUP(builder_free) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    HM_CLEANUP(bignum_free) BIGNUM *modulus = NULL;
    HM_CLEANUP(bignum_free) BIGNUM *exponent = NULL;
    hm_auto_buf n = {.data = NULL};
    hm_auto_buf e = {.data = NULL};
    hm_status status = take_bytes(jwk, "n", &n, error);
    if (status == HM_OK) {
        status = take_bytes(jwk, "e", &e, error);
    }
    if (status != HM_OK) {
        return status;
    }
    modulus = BN_bin2bn(n.data, (int)n.length, NULL);
    exponent = BN_bin2bn(e.data, (int)e.length, NULL);
    if (builder != NULL && modulus != NULL && exponent != NULL &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent) == 1) {
        *pkey = make_key("RSA", builder);
    }
    return HM_OK;
}

static hm_status read_jwk(hm_json *jwk, const char *what, EVP_PKEY **pkey, hm_error **error) {
    hm_bytes type = hm_remote_text(jwk, "kty");
    hm_status status = HM_UNDECIDED;
    if (hm_bytes_equal_text(type, "EC") || hm_bytes_equal_text(type, "EC-HSM")) {
        status = read_ec(jwk, pkey, error);
    } else if (hm_bytes_equal_text(type, "RSA") || hm_bytes_equal_text(type, "RSA-HSM")) {
        status = read_rsa(jwk, pkey, error);
    } else {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "%s is a key of a kind that is not supported", what);
    }
    if (status == HM_OK && *pkey == NULL) {
        status = hm_fail_unless_memory(error, HM_UNDECIDED, HM_REASON_NONE,
                                       "%s: cannot read the public key", what);
    }
    return status;
}

/* "https://VAULT/keys/NAME/VERSION": signing asks for the version whose public half we have. */
static hm_status read_version(const hm_json *jwk, char **version, hm_error **error) {
    hm_bytes kid = hm_remote_text(jwk, "kid");
    const uint8_t *slash = kid.length > 0 ? memrchr(kid.data, '/', kid.length) : NULL;
    if (slash == NULL) {
        return fail_member("kid", error);
    }
    hm_bytes last = hm_bytes_of(slash + 1, kid.length - (size_t)(slash + 1 - kid.data));
    if (!hm_remote_word(last, "0123456789abcdefABCDEF", VERSION_LIMIT)) {
        return fail_member("kid", error);
    }
    *version = hm_strndup((const char *)last.data, last.length);
    return *version != NULL ? HM_OK : hm_fail_memory(error);
}

/* A disabled key is one that its owners withdrew; do not go by it, whatever the vault allows. */
static hm_status check_enabled(const hm_json *root, const char *what, hm_error **error) {
    const hm_json *attributes = hm_json_get(root, "attributes");
    const hm_json *enabled = attributes != NULL && attributes->type == HM_JSON_OBJECT
                                 ? hm_json_get(attributes, "enabled")
                                 : NULL;
    if (enabled != NULL && enabled->type == HM_JSON_BOOL && enabled->truth) {
        return HM_OK;
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is disabled in %s", what, service);
    hm_error_add_hint(error, "enable the key or this version of it, or name another one");
    return HM_UNDECIDED;
}

static hm_status read_bundle(hm_json *root, const char *what, EVP_PKEY **pkey, char **version,
                             hm_error **error) {
    hm_json *jwk = hm_json_get(root, "key");
    if (jwk == NULL || jwk->type != HM_JSON_OBJECT) {
        return fail_member("key", error);
    }
    hm_status status = check_enabled(root, what, error);
    if (status == HM_OK) {
        status = read_version(jwk, version, error);
    }
    return status == HM_OK ? read_jwk(jwk, what, pkey, error) : status;
}

hm_status hm_azure_vault_parse_key(hm_bytes json, const char *what, hm_pubkey **key, char **version,
                                   hm_error **error) {
    hm_auto_json doc = NULL;
    hm_auto_pkey pkey = NULL;
    hm_auto_error cause = NULL;
    hm_auto_free char *found = NULL;
    hm_status status = hm_remote_parse(json, service, &doc, error);
    if (status == HM_OK) {
        status = read_bundle(hm_json_root(doc), what, &pkey, &found, error);
    }
    if (status == HM_OK && hm_pubkey_from_evp(pkey, what, key, &cause) != HM_OK) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s", hm_error_message(cause));
        hm_error_add_hint(error, "%s", hm_error_hint(cause));
    }
    ERR_clear_error();
    if (status == HM_OK) {
        *version = found;
        found = NULL;
    }
    return status;
}

/* ---- signatures ----------------------------------------------------------------------------- */

/* RFC 7518, 3.4: ECDSA as r and s of the field's length. RSA: as RFC 8017 has it. */
hm_status hm_azure_vault_parse_signature(hm_bytes json, const hm_pubkey *key, hm_buf *signature,
                                         hm_error **error) {
    hm_auto_json doc = NULL;
    hm_auto_buf raw = {.data = NULL};
    hm_status status = hm_remote_parse(json, service, &doc, error);
    if (status == HM_OK) {
        status = take_bytes(hm_json_root(doc), "value", &raw, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (key->type != HM_KEY_RSA) {
        return hm_ecdsa_der_from_raw(hm_buf_view(&raw), signature, error);
    }
    hm_buf_add(signature, raw.data, raw.length);
    return hm_buf_check(signature, error);
}
