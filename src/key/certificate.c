/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates as they are carried with a key. Whether to believe them is not asked here. */
#include "key/internal.h"

#include <limits.h>

#include <openssl/err.h>

/* Exactly the encoding that libcrypto writes: what is compared and shown is then what was there. */
static X509 *decode(hm_bytes der) {
    const uint8_t *cursor = der.data;
    uint8_t *again = NULL;
    hm_auto_x509 certificate = NULL;
    if (der.length == 0 || der.length > INT_MAX) {
        return NULL;
    }
    certificate = d2i_X509(NULL, &cursor, (long)der.length);
    if (certificate == NULL) {
        return NULL;
    }
    int length = i2d_X509(certificate, &again);
    bool same = length > 0 && hm_bytes_equal(der, hm_bytes_of(again, (size_t)length));
    OPENSSL_free(again);
    if (!same) {
        return NULL;
    }
    X509 *result = certificate;
    certificate = NULL;
    return result;
}

hm_status hm_certificate_parse_der(hm_bytes der, const char *what, X509 **certificate,
                                   hm_error **error) {
    ERR_clear_error();
    X509 *decoded = decode(der);
    if (decoded == NULL) {
        return hm_fail_unless_memory(error, HM_REFUSED, HM_REASON_MALFORMED,
                                     "%s: not a certificate in DER", what);
    }
    ERR_clear_error();
    *certificate = decoded;
    return HM_OK;
}

/* Of a file of the caller's own, so a damaged one is no verdict on a signature. */
static hm_status add_block(const hm_pem_block *block, const char *what, STACK_OF(X509) *list,
                           hm_error **error) {
    hm_auto_x509 certificate = NULL;
    hm_auto_error cause = NULL;
    if (hm_certificate_parse_der(hm_bytes_of(block->data, block->length), what, &certificate,
                                 &cause) != HM_OK) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s: certificate %d cannot be read",
                       what, sk_X509_num(list) + 1);
    }
    if (sk_X509_push(list, certificate) <= 0) {
        ERR_clear_error();
        return hm_fail_memory(error);
    }
    certificate = NULL;
    return HM_OK;
}

static hm_status fail_not_certificate(const hm_pem_block *block, hm_bytes pem, const char *what,
                                      hm_error **error) {
    hm_status status = hm_pem_fail_other(block, pem, what, "a certificate", error);
    if (block->kind == HM_PEM_PUBLIC || block->kind == HM_PEM_PUBLIC_RSA) {
        hm_error_add_hint(error, "bare public keys are given with --key");
    }
    return status;
}

static hm_status read_blocks(BIO *bio, hm_bytes pem, const char *what, STACK_OF(X509) *list,
                             hm_error **error) {
    hm_auto_pem block = {.kind = HM_PEM_END};
    hm_status status = HM_OK;
    for (hm_pem_next(bio, &block); status == HM_OK && block.kind == HM_PEM_CERTIFICATE;
         hm_pem_next(bio, &block)) {
        status = add_block(&block, what, list, error);
    }
    if (status == HM_OK && (block.kind != HM_PEM_END || sk_X509_num(list) == 0)) {
        status = fail_not_certificate(&block, pem, what, error);
    }
    return status;
}

hm_status hm_certificates_parse(hm_bytes pem, const char *what, STACK_OF(X509) **certificates,
                                hm_error **error) {
    hm_auto_bio bio = hm_pem_open(pem);
    hm_auto_x509_stack list = sk_X509_new_null();
    if (bio == NULL || list == NULL) {
        ERR_clear_error();
        return hm_fail_memory(error);
    }
    hm_status status = read_blocks(bio, pem, what, list, error);
    if (status != HM_OK) {
        return status;
    }
    *certificates = list;
    list = NULL;
    return HM_OK;
}

hm_status hm_certificate_der(X509 *certificate, hm_buf *der, hm_error **error) {
    uint8_t *data = NULL;
    int length = i2d_X509(certificate, &data);
    if (length <= 0) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot encode a certificate");
    }
    hm_buf_add(der, data, (size_t)length);
    OPENSSL_free(data);
    return hm_buf_check(der, error);
}

hm_status hm_certificate_key_fingerprint(X509 *certificate, char **fingerprint, hm_error **error) {
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    uint8_t *der = NULL;
    int length = i2d_PUBKEY(X509_get0_pubkey(certificate), &der);
    bool done =
        length > 0 && EVP_Digest(der, (size_t)length, digest, &size, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    if (!done) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot digest a public key");
    }
    *fingerprint = hm_alloc(2 * (size_t)size + 1, 1);
    if (*fingerprint == NULL) {
        return hm_fail_memory(error);
    }
    hm_hex(digest, size, *fingerprint);
    return HM_OK;
}

/* Names alone do not tell: an issuer may sign a certificate that bears its own name. */
bool hm_certificate_self_signed(X509 *certificate) {
    bool self_signed = X509_self_signed(certificate, 1) == 1;
    ERR_clear_error();
    return self_signed;
}
