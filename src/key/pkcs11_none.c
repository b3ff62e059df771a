/* SPDX-License-Identifier: Apache-2.0 */
/* The row of the PKCS#11 backend in builds without p11-kit: says so. */
#include "key/internal.h"

static hm_status fail_none(hm_error **error) {
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "this build is without PKCS#11 (p11-kit)");
    hm_error_add_hint(error, "build again where libp11-kit-dev is installed");
    return HM_UNDECIDED;
}

static hm_status no_open(hm_signer *signer, const char *text, const hm_signer_options *options,
                         hm_error **error) {
    (void)signer;
    (void)text;
    (void)options;
    return fail_none(error);
}

static hm_status no_sign(hm_signer *signer, hm_scheme scheme, hm_bytes message, hm_buf *signature,
                         hm_error **error) {
    (void)signer;
    (void)scheme;
    (void)message;
    (void)signature;
    return fail_none(error);
}

static void no_close(hm_signer *signer) {
    (void)signer;
}

static hm_status no_public_key(const char *text, hm_pubkey **key, hm_error **error) {
    (void)text;
    (void)key;
    return fail_none(error);
}

static hm_status no_certificates(const char *text, STACK_OF(X509) **certificates,
                                 hm_error **error) {
    (void)text;
    (void)certificates;
    return fail_none(error);
}

static hm_status no_generate(const char *text, const char *public_path,
                             const hm_keygen_options *options, hm_error **error) {
    (void)text;
    (void)public_path;
    (void)options;
    return fail_none(error);
}

const hm_key_backend hm_key_backend_pkcs11 = {
    .scheme = "pkcs11",
    .open = no_open,
    .sign = no_sign,
    .close = no_close,
    .public_key = no_public_key,
    .certificates = no_certificates,
    .generate = no_generate,
};

void hm_pkcs11_describe(hm_buf *text) {
    hm_buf_add_text(text, "PKCS#11: none, built without p11-kit\n");
}
