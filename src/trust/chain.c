/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates: does this leaf lead to a root that the policy names, at the time that counts, and
 * may it sign models? Nothing in a signature file adds to what is believed.
 */
#include "trust/chain.h"

#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

enum {
    AUTH_LEVEL = 2, /* libcrypto's: 112 bits, so no SHA-1, no RSA under 2048 bits */
};

/* ---- time ----------------------------------------------------------------------------------- */

static bool to_seconds(const ASN1_TIME *from, int64_t *seconds) {
    struct tm parts;
    if (from == NULL || ASN1_TIME_to_tm(from, &parts) != 1) {
        return false;
    }
    *seconds = timegm(&parts);
    return true;
}

static hm_status read_validity(const X509 *leaf, hm_signer_identity *who, hm_error **error) {
    if (!to_seconds(X509_get0_notBefore(leaf), &who->not_before) ||
        !to_seconds(X509_get0_notAfter(leaf), &who->not_after)) {
        return hm_fail_unless_memory(error, HM_REFUSED, HM_REASON_MALFORMED,
                                     "the signer's certificate has no readable period of validity");
    }
    return HM_OK;
}

/* A key that leaked after its certificate ran out could otherwise sign for ever. */
static hm_status choose_time(uint64_t allow, hm_signer_identity *who, hm_error **error) {
    if ((allow & HM_ALLOW_EXPIRED_CERTIFICATES) != 0) {
        who->judged_at = who->not_before;
        return hm_identity_warn(who, error,
                                "the certificates were judged at the start of the signer's "
                                "validity, not now: expired ones pass");
    }
    if (who->judged_at < 0) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "the clock makes no sense, so certificates cannot be judged");
    }
    return HM_OK;
}

/* ---- the path to a root --------------------------------------------------------------------- */

static void free_store(X509_STORE **store) {
    X509_STORE_free(*store);
    *store = NULL;
}
#define auto_store HM_CLEANUP(free_store) X509_STORE *

static void free_store_ctx(X509_STORE_CTX **ctx) {
    X509_STORE_CTX_free(*ctx);
    *ctx = NULL;
}
#define auto_store_ctx HM_CLEANUP(free_store_ctx) X509_STORE_CTX *

static hm_reason reason_of(int code) {
    switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID: return HM_REASON_EXPIRED;
    case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
    case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD: return HM_REASON_MALFORMED;
    default: /* libcrypto's list grows; whatever it complains of, the chain is not believed */
        return HM_REASON_UNTRUSTED_SIGNER;
    }
}

static const char *hint_of(int code) {
    switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "sign the model again with a certificate that is valid now";
    case X509_V_ERR_CERT_NOT_YET_VALID: return "check this machine's clock";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        return "--root takes the self-signed certificate that the chain ends in";
    default: return NULL;
    }
}

/* Where libcrypto itself got stuck, nothing was found out about the chain. */
static hm_status status_of(int code) {
    return code == X509_V_ERR_OUT_OF_MEM || code == X509_V_ERR_UNSPECIFIED ||
                   code == X509_V_ERR_STORE_LOOKUP
               ? HM_UNDECIDED
               : HM_REFUSED;
}

static hm_status fail_chain(X509_STORE_CTX *ctx, hm_error **error) {
    int code = X509_STORE_CTX_get_error(ctx);
    X509 *current = X509_STORE_CTX_get_current_cert(ctx);
    hm_auto_free char *name = NULL;
    hm_status status = status_of(code);
    if (current != NULL &&
        hm_certificate_name(X509_get_subject_name(current), &name, error) != HM_OK) {
        return HM_UNDECIDED;
    }
    status = hm_fail_unless_memory(
        error, status, status == HM_REFUSED ? reason_of(code) : HM_REASON_NONE,
        "the signer's certificate does not lead to a root that is believed: %s%s%s",
        X509_verify_cert_error_string(code), name != NULL ? ": " : "", name != NULL ? name : "");
    const char *hint = hint_of(code);
    if (hint != NULL) {
        hm_error_add_hint(error, "%s", hint);
    }
    return status;
}

/*
 * What RFC 5280 asks of those who issue, but not of those who validate (6.1), and what many a
 * private authority made with the openssl command leaves out. None of it restricts or grants.
 */
static bool profile_only(int code) {
    switch (code) {
    case X509_V_ERR_MISSING_AUTHORITY_KEY_IDENTIFIER:
    case X509_V_ERR_MISSING_SUBJECT_KEY_IDENTIFIER:
    case X509_V_ERR_CA_BCONS_NOT_CRITICAL:
    case X509_V_ERR_CA_CERT_MISSING_KEY_USAGE: return true;
    default: return false;
    }
}

static int on_complaint(int good, X509_STORE_CTX *ctx) {
    if (good == 0 && profile_only(X509_STORE_CTX_get_error(ctx))) {
        X509_STORE_CTX_set_error(ctx, X509_V_OK);
        return 1;
    }
    return good;
}

static bool fill_store(X509_STORE *store, const STACK_OF(X509) *roots) {
    for (int i = 0; i < sk_X509_num(roots); i++) {
        if (X509_STORE_add_cert(store, sk_X509_value(roots, i)) != 1) {
            return false;
        }
    }
    return true;
}

/*
 * What else the file carries helps to find the way and is believed in nothing. Without
 * X509_V_FLAG_PARTIAL_CHAIN a way ends only in a self-signed certificate of the caller's.
 */
static hm_status set_up(X509_STORE_CTX *ctx, X509_STORE *store, const hm_trusted_signer *signer,
                        STACK_OF(X509) *certificates, int64_t time, hm_error **error) {
    X509 *leaf = sk_X509_value(certificates, 0);
    if (!fill_store(store, signer->roots) ||
        X509_STORE_CTX_init(ctx, store, leaf, certificates) != 1) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE,
                              "cannot set up the check of certificates");
    }
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, (time_t)time);
    X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
    X509_STORE_CTX_set_verify_cb(ctx, on_complaint);
    if (X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT) != 1) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE,
                              "cannot set up the check of certificates");
    }
    return HM_OK;
}

/*
 * An authority that may issue, say, for TLS servers only must not be able to make signers of
 * models. The root is not held to it: what it is good for, the caller said.
 */
static hm_status check_authorities(const STACK_OF(X509) *chain, hm_error **error) {
    for (int i = 1; i < sk_X509_num(chain) - 1; i++) {
        X509 *authority = sk_X509_value(chain, i);
        uint32_t usage = X509_get_extended_key_usage(authority);
        if (usage != UINT32_MAX && (usage & (XKU_CODE_SIGN | XKU_ANYEKU)) == 0) {
            return hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER,
                           "an authority in the signer's chain (number %d) is not for code signing",
                           i);
        }
    }
    return HM_OK;
}

/* A key that is revoked must not vouch for others either, so the keys on the way are taken down. */
static hm_status note_authorities(const STACK_OF(X509) *chain, hm_signer_identity *who,
                                  hm_error **error) {
    for (int i = 1; i < sk_X509_num(chain); i++) {
        hm_auto_free char *fingerprint = NULL;
        hm_status status =
            hm_certificate_key_fingerprint(sk_X509_value(chain, i), &fingerprint, error);
        if (status != HM_OK) {
            return status;
        }
        if (!hm_grow(&who->authorities, who->authority_count, &who->authority_capacity,
                     sizeof(char *))) {
            return hm_fail_memory(error);
        }
        who->authorities[who->authority_count++] = fingerprint;
        fingerprint = NULL;
    }
    return HM_OK;
}

static hm_status check_path(const hm_trusted_signer *signer, STACK_OF(X509) *certificates,
                            int64_t time, hm_signer_identity *who, hm_error **error) {
    auto_store store = X509_STORE_new();
    auto_store_ctx ctx = X509_STORE_CTX_new();
    if (store == NULL || ctx == NULL) {
        ERR_clear_error();
        return hm_fail_memory(error);
    }
    hm_status status = set_up(ctx, store, signer, certificates, time, error);
    if (status != HM_OK) {
        return status;
    }
    if (X509_verify_cert(ctx) != 1 || X509_STORE_CTX_get_error(ctx) != X509_V_OK) {
        return fail_chain(ctx, error);
    }
    ERR_clear_error();
    status = check_authorities(X509_STORE_CTX_get0_chain(ctx), error);
    return status == HM_OK ? note_authorities(X509_STORE_CTX_get0_chain(ctx), who, error) : status;
}

/* ---- the leaf ------------------------------------------------------------------------------- */

/* OMS, signing by certificate: EC keys on P-256, P-384 or P-521, by name. */
static hm_status check_key(X509 *leaf, hm_pubkey **key, hm_error **error) {
    EVP_PKEY *pkey = X509_get0_pubkey(leaf);
    hm_auto_error cause = NULL;
    if (pkey == NULL) {
        return hm_fail_unless_memory(error, HM_REFUSED, HM_REASON_MALFORMED,
                                     "the key in the signer's certificate cannot be read");
    }
    hm_status status = hm_pubkey_from_evp(pkey, "the key in the signer's certificate", key, &cause);
    if (status == HM_UNDECIDED) {
        return hm_error_move(error, &cause);
    }
    if (status != HM_OK) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER, "%s",
                       hm_error_message(cause));
    }
    if ((*key)->type == HM_KEY_RSA || (*key)->type == HM_KEY_ED25519) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER,
                       "the signer's certificate is for a key of type %s; signatures by "
                       "certificate are made with EC keys",
                       (*key)->algorithm);
    }
    return HM_OK;
}

static hm_status fail_usage(const char *why, const char *hint, hm_error **error) {
    (void)hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER,
                  "the signer's certificate is not for signing models: %s", why);
    hm_error_add_hint(error, "%s", hint);
    return HM_REFUSED;
}

/*
 * OMS demands either usage. A certificate of a web server has the one for signatures as well, so
 * both are demanded here (RFC 5280, 4.2.1.3 and 4.2.1.12).
 */
static hm_status check_usage(uint64_t allow, X509 *leaf, hm_signer_identity *who,
                             hm_error **error) {
    static const char hint[] = "it needs the extended key usage codeSigning";
    uint32_t usage = X509_get_key_usage(leaf);             /* UINT32_MAX: absent */
    uint32_t extended = X509_get_extended_key_usage(leaf); /* likewise */
    if (usage != UINT32_MAX && (usage & KU_DIGITAL_SIGNATURE) == 0) {
        return fail_usage("its key usage has no digitalSignature",
                          "it needs the key usage digitalSignature", error);
    }
    if (extended != UINT32_MAX) {
        return (extended & XKU_CODE_SIGN) != 0
                   ? HM_OK
                   : fail_usage("its extended key usage has no codeSigning", hint, error);
    }
    if (usage == UINT32_MAX) {
        return fail_usage("it names no usage at all", hint, error);
    }
    if ((allow & HM_ALLOW_MISSING_EKU) == 0) {
        return fail_usage("it has no extended key usage", hint, error);
    }
    return hm_identity_warn(who, error,
                            "the signer's certificate has no extended key usage; let pass");
}

static hm_status check_shape(STACK_OF(X509) *certificates, hm_error **error) {
    int count = certificates != NULL ? sk_X509_num(certificates) : 0;
    if (count < 1 || count > HM_CHAIN_LIMIT) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "the signature carries %d certificates; 1 to %d will do", count,
                       HM_CHAIN_LIMIT);
    }
    /* Reads all extensions, so that the later questions about them have answers. */
    for (int i = 0; i < count; i++) {
        if (X509_check_purpose(sk_X509_value(certificates, i), -1, -1) != 1) {
            return hm_fail_unless_memory(error, HM_REFUSED, HM_REASON_MALFORMED,
                                         "certificate %d of the signature has a damaged extension",
                                         i + 1);
        }
    }
    return HM_OK;
}

static hm_status judge_leaf(const hm_trusted_signer *signer, uint64_t allow,
                            STACK_OF(X509) *certificates, hm_signer_identity *who,
                            hm_error **error) {
    X509 *leaf = sk_X509_value(certificates, 0);
    hm_status status = read_validity(leaf, who, error);
    if (status == HM_OK) {
        status = choose_time(allow, who, error);
    }
    if (status == HM_OK) {
        status = check_path(signer, certificates, who->judged_at, who, error);
    }
    if (status == HM_OK) {
        status = check_usage(allow, leaf, who, error);
    }
    if (status == HM_OK) {
        status = hm_identity_check(signer, leaf, error);
    }
    if (status == HM_OK) {
        status = hm_identity_describe(leaf, who, error);
    }
    return status;
}

hm_status hm_chain_judge(const hm_trusted_signer *signer, uint64_t allow,
                         STACK_OF(X509) *certificates, hm_signer_identity *who, hm_pubkey **key,
                         hm_error **error) {
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *leaf_key = NULL;
    ERR_clear_error();
    hm_status status = check_shape(certificates, error);
    if (status == HM_OK) {
        status = check_key(sk_X509_value(certificates, 0), &leaf_key, error);
    }
    if (status == HM_OK) {
        status = judge_leaf(signer, allow, certificates, who, error);
    }
    if (status == HM_OK) {
        *key = leaf_key;
        leaf_key = NULL;
    }
    return status;
}
