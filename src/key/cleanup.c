/* SPDX-License-Identifier: Apache-2.0 */
/* Ends of libcrypto's objects, for the cleanup attribute, and of its complaints. */
#include "key/key.h"

#include <stdio.h>

#include <openssl/err.h>

/* Looks at all of the queue: what ran out first is often covered by what failed in turn. */
static bool drain_errors(void) {
    bool memory = false;
    for (unsigned long code = ERR_get_error(); code != 0; code = ERR_get_error()) {
        memory = memory || ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
    }
    return memory;
}

hm_status hm_fail_unless_memory(hm_error **error, hm_status status, hm_reason reason,
                                const char *format, ...) {
    hm_auto_free char *text = NULL;
    va_list args;
    if (drain_errors()) {
        return hm_fail_memory(error);
    }
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) {
        text = NULL;
    }
    return hm_fail(error, status, reason, "%s", text != NULL ? text : "out of memory");
}

void hm_evp_pkey_free(EVP_PKEY **p) {
    EVP_PKEY_free(*p);
    *p = NULL;
}

void hm_evp_pkey_ctx_free(EVP_PKEY_CTX **p) {
    EVP_PKEY_CTX_free(*p);
    *p = NULL;
}

void hm_evp_md_ctx_free(EVP_MD_CTX **p) {
    EVP_MD_CTX_free(*p);
    *p = NULL;
}

void hm_bio_free(BIO **p) {
    (void)BIO_free(*p);
    *p = NULL;
}

void hm_x509_free(X509 **p) {
    X509_free(*p);
    *p = NULL;
}

void hm_x509_stack_free(STACK_OF(X509) **p) {
    sk_X509_pop_free(*p, X509_free);
    *p = NULL;
}
