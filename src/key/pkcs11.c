/* SPDX-License-Identifier: Apache-2.0 */
/* The backend for private keys on PKCS#11 tokens: opening, signing. */
#include "key/pkcs11.h"

#include <string.h>

#include <openssl/err.h>

/* What a module is asked to do. */
typedef struct order {
    CK_MECHANISM mechanism;
    CK_RSA_PKCS_PSS_PARAMS pss;
    uint8_t digest[EVP_MAX_MD_SIZE];
    hm_bytes input; /* the digest, or the message where the scheme hashes by itself */
    size_t length;  /* of the signature, in the token's encoding */
} order;

static hm_status token_open(hm_signer *signer, const char *text, const hm_signer_options *options,
                            hm_error **error) {
    hm_auto_pkcs11 p = NULL;
    hm_status status = hm_pkcs11_open(text, &p, error);
    if (status == HM_OK) {
        status = hm_pkcs11_uri_check_type(p->uri, CKO_PRIVATE_KEY, CKO_PRIVATE_KEY, "a private key",
                                          error);
    }
    if (status == HM_OK) {
        status = hm_pkcs11_choose_token(p, error);
    }
    if (status == HM_OK) {
        status = hm_pkcs11_session(p->token, 0, error);
    }
    if (status == HM_OK) {
        status = hm_pkcs11_login(p, options != NULL ? options->passphrase : NULL,
                                 options != NULL ? options->passphrase_context : NULL, error);
    }
    if (status == HM_OK) {
        status = hm_pkcs11_find_private(p, error);
    }
    if (status == HM_OK) {
        status = hm_pkcs11_public_half(p, &signer->public_key, error);
    }
    if (status == HM_OK) {
        if (!p->asks_always) {
            hm_secret_free(&p->pin);
        }
        signer->state = p;
        p = NULL;
    }
    ERR_clear_error();
    return status;
}

static void token_close(hm_signer *signer) {
    hm_pkcs11 *p = signer->state;
    hm_pkcs11_close(&p);
    signer->state = NULL;
    ERR_clear_error();
}

/* ---- signing -------------------------------------------------------------------------------- */

/* The digest is ours in every case: what the token signs is exactly what was meant. */
static hm_status prepare(order *made, const hm_pubkey *key, hm_scheme scheme, hm_bytes message,
                         hm_error **error) {
    size_t bytes = ((size_t)key->bits + 7) / 8;
    made->input = message;
    switch (key->type) {
    case HM_KEY_RSA:
        made->pss = (CK_RSA_PKCS_PSS_PARAMS){CKM_SHA256, CKG_MGF1_SHA256,
                                             (CK_ULONG)hm_scheme_salt(key, scheme)};
        made->mechanism = (CK_MECHANISM){CKM_RSA_PKCS_PSS, &made->pss, sizeof made->pss};
        made->length = bytes;
        break;
    case HM_KEY_EC_P256:
    case HM_KEY_EC_P384:
    case HM_KEY_EC_P521:
        made->mechanism.mechanism = CKM_ECDSA;
        made->length = 2 * bytes;
        break;
    case HM_KEY_ED25519:
        made->mechanism.mechanism = CKM_EDDSA;
        made->length = 64;
        break;
    }
    if (key->type == HM_KEY_ED25519) {
        return HM_OK;
    }
    size_t length = 0;
    hm_status status = hm_scheme_digest(key, scheme, message, made->digest, &length, error);
    made->input = hm_bytes_of(made->digest, length);
    return status;
}

static hm_status fail_sign(const hm_pkcs11 *p, CK_RV rv, hm_error **error) {
    (void)hm_pkcs11_fail(error, rv, "the token \"%s\" did not sign with %s", p->token->label,
                         p->uri->shown);
    if (rv == CKR_MECHANISM_INVALID || rv == CKR_MECHANISM_PARAM_INVALID) {
        hm_error_add_hint(error, "its module may not do this kind of signature, or not with this "
                                 "length of salt");
    }
    if (rv == CKR_KEY_FUNCTION_NOT_PERMITTED) {
        hm_error_add_hint(error, "the key was made for another use than signing");
    }
    return HM_UNDECIDED;
}

static hm_status ask_token(hm_pkcs11 *p, order *made, hm_buf *raw, hm_error **error) {
    CK_FUNCTION_LIST *module = p->token->module;
    CK_SESSION_HANDLE session = p->token->session;
    CK_ULONG length = made->length;
    CK_RV rv = module->C_SignInit(session, &made->mechanism, p->key);
    if (rv == CKR_OK && p->asks_always) {
        hm_status status = hm_pkcs11_login_again(p, error);
        if (status != HM_OK) {
            return status;
        }
    }
    uint8_t *place = hm_buf_extend(raw, made->length);
    if (place == NULL) {
        return hm_fail_memory(error);
    }
    if (rv == CKR_OK) {
        /* A module changes nothing of what it signs; its interface knows no const. */
        rv = module->C_Sign(session, (CK_BYTE *)(uintptr_t)made->input.data, made->input.length,
                            place, &length);
    }
    if (rv != CKR_OK) {
        return fail_sign(p, rv, error);
    }
    return length == made->length
               ? HM_OK
               : hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                         "the token \"%s\" made a signature of %lu bytes, not %zu", p->token->label,
                         length, made->length);
}

hm_status hm_pkcs11_sign(hm_signer *signer, hm_scheme scheme, hm_bytes message, hm_buf *signature,
                         hm_error **error) {
    order made = {.length = 0};
    hm_auto_buf raw = {.data = NULL};
    const hm_pubkey *key = signer->public_key;
    hm_status status = prepare(&made, key, scheme, message, error);
    if (status == HM_OK) {
        status = ask_token(signer->state, &made, &raw, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (made.mechanism.mechanism == CKM_ECDSA) {
        /* PKCS#11 3.0, 2.3.1: r and s side by side, each as long as the curve's order. */
        return hm_ecdsa_der_from_raw(hm_buf_view(&raw), signature, error);
    }
    hm_buf_add(signature, raw.data, raw.length);
    return hm_buf_check(signature, error);
}

const hm_key_backend hm_key_backend_pkcs11 = {
    .scheme = "pkcs11",
    .open = token_open,
    .sign = hm_pkcs11_sign,
    .close = token_close,
    .public_key = hm_pkcs11_public_key,
    .certificates = hm_pkcs11_certificates,
    .generate = hm_pkcs11_generate,
};

void hm_pkcs11_describe(hm_buf *text) {
    hm_buf_add_text(text, "PKCS#11: p11-kit " HM_P11_KIT "\n");
}
