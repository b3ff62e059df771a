/* SPDX-License-Identifier: Apache-2.0 */
/* Public keys and certificates on a token, from its attributes to what the key room works with. */
#include "key/pkcs11.h"

#include <limits.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

enum { ED25519_LENGTH = 32 };

/* What of an object a public key is made of. */
typedef struct parts {
    CK_KEY_TYPE type;
    hm_buf first;  /* RSA: modulus; EC: parameters */
    hm_buf second; /* RSA: exponent; EC: point */
    hm_buf info;   /* SubjectPublicKeyInfo in DER */
} parts;

static void parts_free(parts *all) {
    hm_buf_free(&all->first);
    hm_buf_free(&all->second);
    hm_buf_free(&all->info);
}

static hm_status read_parts(const hm_pkcs11_token *token, CK_OBJECT_HANDLE object, parts *all,
                            hm_error **error) {
    hm_auto_buf type = {.data = NULL};
    hm_status status = hm_pkcs11_attribute(token, object, CKA_KEY_TYPE, &type, error);
    if (status == HM_OK && type.length == sizeof all->type) {
        memcpy(&all->type, type.data, sizeof all->type);
    } else if (status == HM_OK) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                         "a key on the token \"%s\" does not tell its type", token->label);
    }
    bool rsa = all->type == CKK_RSA;
    if (status == HM_OK) {
        status = hm_pkcs11_attribute(token, object, rsa ? CKA_MODULUS : CKA_EC_PARAMS, &all->first,
                                     error);
    }
    if (status == HM_OK) {
        status = hm_pkcs11_attribute(token, object, rsa ? CKA_PUBLIC_EXPONENT : CKA_EC_POINT,
                                     &all->second, error);
    }
    if (status == HM_OK) {
        status = hm_pkcs11_attribute(token, object, CKA_PUBLIC_KEY_INFO, &all->info, error);
    }
    return status;
}

/* ---- from attributes to libcrypto's keys ---------------------------------------------------- */

static EVP_PKEY *from_params(const char *algorithm, OSSL_PARAM_BLD *build) {
    hm_auto_pkey_ctx ctx = EVP_PKEY_CTX_new_from_name(NULL, algorithm, NULL);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY *pkey = NULL;
    if (ctx == NULL || params == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        pkey = NULL;
    }
    OSSL_PARAM_free(params);
    return pkey;
}

static EVP_PKEY *make_rsa(const parts *all) {
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    BIGNUM *modulus = BN_bin2bn(all->first.data, (int)all->first.length, NULL);
    BIGNUM *exponent = BN_bin2bn(all->second.data, (int)all->second.length, NULL);
    EVP_PKEY *pkey = NULL;
    if (build != NULL && modulus != NULL && exponent != NULL &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent) == 1) {
        pkey = from_params("RSA", build);
    }
    BN_free(modulus);
    BN_free(exponent);
    OSSL_PARAM_BLD_free(build);
    return pkey;
}

/* The curve's name, or NULL: parameters that are spelt out are not supported anywhere here. */
static const char *curve_name(const hm_buf *parameters) {
    const uint8_t *cursor = parameters->data;
    ASN1_OBJECT *oid = d2i_ASN1_OBJECT(NULL, &cursor, (long)parameters->length);
    const char *name = oid != NULL ? OBJ_nid2sn(OBJ_obj2nid(oid)) : NULL;
    ASN1_OBJECT_free(oid);
    return name;
}

/*
 * The point in its own encoding. CKA_EC_POINT is that inside an OCTET STRING; some modules leave
 * the wrapping away. Both begin with the byte 4, so the length tells.
 */
static hm_bytes unwrap_point(const hm_buf *point, size_t bare_length) {
    hm_bytes whole = hm_buf_view(point);
    const uint8_t *cursor = whole.data;
    long length = 0;
    int tag = 0;
    int class = 0;
    if (whole.length == bare_length) {
        return whole;
    }
    int flags = ASN1_get_object(&cursor, &length, &tag, &class, (long)whole.length);
    if ((flags & 0x80) != 0 || tag != V_ASN1_OCTET_STRING || class != V_ASN1_UNIVERSAL ||
        length < 0 || cursor + length != whole.data + whole.length) {
        return whole;
    }
    return hm_bytes_of(cursor, (size_t)length);
}

static size_t bare_point_length(const char *curve) {
    static const struct {
        int nid;
        size_t length;
    } known[] = {{NID_X9_62_prime256v1, 65}, {NID_secp384r1, 97}, {NID_secp521r1, 133}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (OBJ_sn2nid(curve) == known[i].nid) {
            return known[i].length;
        }
    }
    return 0;
}

static EVP_PKEY *make_ec(const parts *all) {
    const char *curve = curve_name(&all->first);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *pkey = NULL;
    if (curve != NULL && build != NULL) {
        hm_bytes point = unwrap_point(&all->second, bare_point_length(curve));
        if (OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, curve, 0) == 1 &&
            OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point.data,
                                             point.length) == 1) {
            pkey = from_params("EC", build);
        }
    }
    OSSL_PARAM_BLD_free(build);
    return pkey;
}

/* The parameters say Ed25519 in several ways; the length of the point tells it from Ed448. */
static EVP_PKEY *make_edwards(const parts *all) {
    hm_bytes point = unwrap_point(&all->second, ED25519_LENGTH);
    return point.length == ED25519_LENGTH
               ? EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, point.data, point.length)
               : NULL;
}

static EVP_PKEY *make_key(const parts *all) {
    const uint8_t *cursor = all->info.data;
    if (all->first.length > 0 && all->second.length > 0) {
        switch (all->type) {
        case CKK_RSA: return make_rsa(all);
        case CKK_EC: return make_ec(all);
        case CKK_EC_EDWARDS: return make_edwards(all);
        default: return NULL;
        }
    }
    return all->info.length > 0 ? d2i_PUBKEY(NULL, &cursor, (long)all->info.length) : NULL;
}

/* `*key` stays NULL where the object does not say enough. */
static hm_status from_object(const hm_pkcs11_token *token, CK_OBJECT_HANDLE object,
                             const char *shown, hm_pubkey **key, hm_error **error) {
    HM_CLEANUP(parts_free) parts all = {.type = CKK_VENDOR_DEFINED};
    hm_auto_pkey pkey = NULL;
    hm_status status = read_parts(token, object, &all, error);
    if (status != HM_OK) {
        return status;
    }
    bool enough = (all.first.length > 0 && all.second.length > 0) || all.info.length > 0;
    pkey = enough ? make_key(&all) : NULL;
    if (pkey != NULL) {
        return hm_pubkey_from_evp(pkey, shown, key, error);
    }
    return enough ? hm_fail_unless_memory(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                                          "%s is a key of a kind that is not supported", shown)
                  : HM_OK;
}

/* ---- certificates --------------------------------------------------------------------------- */

static hm_status read_certificate(const hm_pkcs11_token *token, CK_OBJECT_HANDLE object,
                                  const char *shown, X509 **certificate, hm_error **error) {
    hm_auto_buf der = {.data = NULL};
    hm_auto_error cause = NULL;
    hm_status status = hm_pkcs11_attribute(token, object, CKA_VALUE, &der, error);
    if (status == HM_OK) {
        status = hm_certificate_parse_der(hm_buf_view(&der), shown, certificate, &cause);
        /* It is the caller's own: no verdict on a signature. */
        if (status == HM_REFUSED) {
            return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s", hm_error_message(cause));
        }
        if (status != HM_OK) {
            return hm_error_move(error, &cause);
        }
    }
    return status;
}

static hm_status from_certificate(const hm_pkcs11_token *token, CK_OBJECT_HANDLE object,
                                  const char *shown, hm_pubkey **key, hm_error **error) {
    hm_auto_x509 certificate = NULL;
    hm_status status = read_certificate(token, object, shown, &certificate, error);
    if (status != HM_OK) {
        return status;
    }
    EVP_PKEY *pkey = X509_get0_pubkey(certificate);
    return pkey != NULL ? hm_pubkey_from_evp(pkey, shown, key, error)
                        : hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE,
                                         "%s: cannot read the certificate's key", shown);
}

/* ---- the public half of a private key ------------------------------------------------------- */

/* Objects that belong to the private key have its id (PKCS#11 3.0, 4.6.3), or else its label. */
static hm_status find_siblings(const hm_pkcs11 *p, CK_OBJECT_CLASS kind, hm_pkcs11_objects *found,
                               hm_error **error) {
    hm_auto_buf name = {.data = NULL};
    CK_ATTRIBUTE wanted[2] = {{CKA_CLASS, &kind, sizeof kind}, {CKA_ID, NULL, 0}};
    hm_status status = hm_pkcs11_attribute(p->token, p->key, CKA_ID, &name, error);
    if (status == HM_OK && name.length == 0) {
        wanted[1].type = CKA_LABEL;
        status = hm_pkcs11_attribute(p->token, p->key, CKA_LABEL, &name, error);
    }
    if (status != HM_OK || name.length == 0) {
        return status;
    }
    wanted[1].pValue = name.data;
    wanted[1].ulValueLen = name.length;
    return hm_pkcs11_find(p->token, wanted, 2, found, error);
}

/*
 * Whatever is found need not be true: every signature is checked under it before it is handed
 * over.
 */
hm_status hm_pkcs11_public_half(const hm_pkcs11 *p, hm_pubkey **key, hm_error **error) {
    hm_auto_pkcs11_objects keys = {.list = NULL};
    hm_auto_pkcs11_objects certificates = {.list = NULL};
    const char *shown = p->uri->shown;
    hm_status status = from_object(p->token, p->key, shown, key, error);
    if (status == HM_OK && *key == NULL) {
        status = find_siblings(p, CKO_PUBLIC_KEY, &keys, error);
    }
    for (size_t i = 0; status == HM_OK && *key == NULL && i < keys.count; i++) {
        status = from_object(p->token, keys.list[i], shown, key, error);
    }
    if (status == HM_OK && *key == NULL) {
        status = find_siblings(p, CKO_CERTIFICATE, &certificates, error);
    }
    if (status == HM_OK && *key == NULL && certificates.count > 0) {
        status = from_certificate(p->token, certificates.list[0], shown, key, error);
    }
    if (status == HM_OK && *key == NULL) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                      "the token \"%s\" has no public half of %s", p->token->label, shown);
        hm_error_add_hint(error, "write its public key or certificate to the token, under the same "
                                 "id");
        status = HM_UNDECIDED;
    }
    return status;
}

/* ---- for verifiers -------------------------------------------------------------------------- */

/* Keeps `next` if it is the first; any other must be the same key. */
static hm_status merge(hm_pubkey **key, hm_pubkey **next, const char *shown, hm_error **error) {
    if (*next != NULL && *key != NULL && strcmp((*key)->fingerprint, (*next)->fingerprint) != 0) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s fits several public keys, %s and %s",
                      shown, (*key)->fingerprint, (*next)->fingerprint);
        hm_error_add_hint(error, "say which with token=, id= or object=");
        return HM_USAGE;
    }
    if (*key == NULL) {
        *key = *next;
        *next = NULL;
    }
    return HM_OK;
}

typedef hm_status (*object_reader)(const hm_pkcs11_token *token, CK_OBJECT_HANDLE object,
                                   const char *shown, hm_pubkey **key, hm_error **error);

static hm_status merge_all(hm_pkcs11 *p, hm_pkcs11_token *token, CK_OBJECT_CLASS kind,
                           object_reader reader, hm_pubkey **key, hm_error **error) {
    hm_auto_pkcs11_objects found = {.list = NULL};
    hm_status status = hm_pkcs11_find_named(token, p->uri, kind, &found, error);
    for (size_t i = 0; status == HM_OK && i < found.count; i++) {
        HM_CLEANUP(hm_pubkey_free) hm_pubkey *next = NULL;
        status = reader(token, found.list[i], p->uri->shown, &next, error);
        if (status == HM_OK) {
            status = merge(key, &next, p->uri->shown, error);
        }
    }
    return status;
}

static bool wants_certificate(const hm_pkcs11_uri *uri) {
    return hm_pkcs11_uri_check_type(uri, CKO_CERTIFICATE, CKO_CERTIFICATE, "", NULL) == HM_OK &&
           p11_kit_uri_get_attribute(uri->object, CKA_CLASS) != NULL;
}

static hm_status find_public(hm_pkcs11 *p, hm_pubkey **key, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; status == HM_OK && i < p->token_count; i++) {
        hm_pkcs11_token *token = &p->tokens[i];
        status = hm_pkcs11_session(token, 0, error);
        if (status == HM_OK && !wants_certificate(p->uri)) {
            status = merge_all(p, token, CKO_PUBLIC_KEY, from_object, key, error);
        }
        if (status == HM_OK && *key == NULL) {
            status = merge_all(p, token, CKO_CERTIFICATE, from_certificate, key, error);
        }
    }
    return status;
}

static hm_status fail_none(const hm_pkcs11 *p, const char *what, hm_error **error) {
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "there is no %s for %s", what,
                  p->uri->shown);
    hm_error_add_hint(error, "nobody logs in for this: it must be an object that is not private");
    return HM_UNDECIDED;
}

/* A URI that demands a key or names nothing would take whatever lies on the token. */
static hm_status check_named(const hm_pkcs11_uri *uri, hm_error **error) {
    if (p11_kit_uri_get_attribute(uri->object, CKA_ID) != NULL ||
        p11_kit_uri_get_attribute(uri->object, CKA_LABEL) != NULL) {
        return HM_OK;
    }
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s names no object to believe", uri->shown);
    hm_error_add_hint(error, "say which with object= or id=");
    return HM_USAGE;
}

/* Both kinds of key stand for their public half: the URI of a signer does for its verifiers. */
static hm_status check_public_uri(const hm_pkcs11_uri *uri, hm_error **error) {
    hm_status status = check_named(uri, error);
    return status == HM_OK && !wants_certificate(uri)
               ? hm_pkcs11_uri_check_type(uri, CKO_PUBLIC_KEY, CKO_PRIVATE_KEY, "a public key",
                                          error)
               : status;
}

hm_status hm_pkcs11_public_key(const char *text, hm_pubkey **key, hm_error **error) {
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *found = NULL;
    hm_auto_pkcs11 p = NULL;
    hm_status status = hm_pkcs11_open(text, &p, error);
    if (status == HM_OK) {
        status = check_public_uri(p->uri, error);
    }
    if (status == HM_OK) {
        status = find_public(p, &found, error);
    }
    if (status == HM_OK && found == NULL) {
        status = fail_none(p, "public key", error);
    }
    if (status == HM_OK) {
        *key = found;
        found = NULL;
    }
    ERR_clear_error();
    return status;
}

/* ---- certificates for a signer or a policy -------------------------------------------------- */

/* The first that is found, and how many there are. */
static hm_status find_certificate(hm_pkcs11 *p, X509 **certificate, size_t *count,
                                  hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; status == HM_OK && i < p->token_count; i++) {
        hm_auto_pkcs11_objects found = {.list = NULL};
        hm_pkcs11_token *token = &p->tokens[i];
        status = hm_pkcs11_session(token, 0, error);
        if (status == HM_OK) {
            status = hm_pkcs11_find_named(token, p->uri, CKO_CERTIFICATE, &found, error);
        }
        if (status == HM_OK && found.count > 0 && *count == 0) {
            status = read_certificate(token, found.list[0], p->uri->shown, certificate, error);
        }
        *count += found.count;
    }
    return status;
}

static hm_status one_certificate(hm_pkcs11 *p, X509 **certificate, hm_error **error) {
    size_t count = 0;
    hm_status status =
        hm_pkcs11_uri_check_type(p->uri, CKO_CERTIFICATE, CKO_CERTIFICATE, "a certificate", error);
    if (status == HM_OK) {
        status = find_certificate(p, certificate, &count, error);
    }
    if (status == HM_OK && count == 0) {
        status = fail_none(p, "certificate", error);
    }
    if (status == HM_OK && count > 1) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s fits %zu certificates, not one",
                         p->uri->shown, count);
        hm_error_add_hint(error, "say which with token=, id= or object=");
    }
    return status;
}

hm_status hm_pkcs11_certificates(const char *text, STACK_OF(X509) **certificates,
                                 hm_error **error) {
    hm_auto_x509_stack list = sk_X509_new_null();
    hm_auto_x509 certificate = NULL;
    hm_auto_pkcs11 p = NULL;
    hm_status status = list != NULL ? hm_pkcs11_open(text, &p, error) : hm_fail_memory(error);
    if (status == HM_OK) {
        status = one_certificate(p, &certificate, error);
    }
    if (status == HM_OK && sk_X509_push(list, certificate) <= 0) {
        status = hm_fail_memory(error);
    }
    if (status == HM_OK) {
        certificate = NULL;
        *certificates = list;
        list = NULL;
    }
    ERR_clear_error();
    return status;
}
