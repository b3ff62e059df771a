/* SPDX-License-Identifier: Apache-2.0 */
/* PEM files, taken apart: which blocks they hold, and what to say when it is the wrong one. */
#include "key/internal.h"

#include <limits.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static hm_pem_kind kind_of(const char *name) {
    static const struct {
        const char *name;
        hm_pem_kind kind;
    } kinds[] = {
        {PEM_STRING_PUBLIC, HM_PEM_PUBLIC},           {PEM_STRING_RSA_PUBLIC, HM_PEM_PUBLIC_RSA},
        {PEM_STRING_X509, HM_PEM_CERTIFICATE},        {PEM_STRING_X509_OLD, HM_PEM_CERTIFICATE},
        {PEM_STRING_ECPARAMETERS, HM_PEM_PARAMETERS},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            return kinds[i].kind;
        }
    }
    return ends_with(name, "PRIVATE KEY") ? HM_PEM_PRIVATE : HM_PEM_OTHER;
}

void hm_pem_free(hm_pem_block *block) {
    OPENSSL_secure_free(block->name);
    OPENSSL_secure_free(block->header);
    OPENSSL_secure_clear_free(block->data, block->length);
    *block = (hm_pem_block){.kind = HM_PEM_END};
}

void hm_pem_next(BIO *bio, hm_pem_block *block) {
    long length = 0;
    hm_pem_free(block);
    ERR_clear_error();
    if (PEM_read_bio_ex(bio, &block->name, &block->header, &block->data, &length,
                        PEM_FLAG_SECURE | PEM_FLAG_EAY_COMPATIBLE) == 1 &&
        length >= 0) {
        block->length = (size_t)length;
        block->kind = kind_of(block->name);
    } else {
        unsigned long code = ERR_peek_last_error();
        bool end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
        block->kind = end ? HM_PEM_END : HM_PEM_DAMAGED;
    }
    ERR_clear_error();
}

BIO *hm_pem_open(hm_bytes pem) {
    if (pem.length > INT_MAX) {
        return NULL;
    }
    /* A mem BIO takes a length of -1 for "until NUL", never 0 bytes at NULL. */
    return BIO_new_mem_buf(pem.length > 0 ? (const void *)pem.data : "", (int)pem.length);
}

static const char *describe(const hm_pem_block *found) {
    switch (found->kind) {
    case HM_PEM_PUBLIC:
    case HM_PEM_PUBLIC_RSA: return "a public key";
    case HM_PEM_PRIVATE: return "a private key";
    case HM_PEM_CERTIFICATE: return "a certificate";
    case HM_PEM_PARAMETERS: return "the parameters of a curve";
    case HM_PEM_END:
    case HM_PEM_DAMAGED:
    case HM_PEM_OTHER: break;
    }
    return NULL;
}

hm_status hm_pem_fail_other(const hm_pem_block *found, hm_bytes pem, const char *what,
                            const char *wanted, hm_error **error) {
    const char *is = describe(found);
    if (is != NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s holds %s where %s belongs", what, is,
                       wanted);
    }
    if (found->kind == HM_PEM_OTHER) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s holds a PEM block \"%s\", not %s", what,
                       found->name, wanted);
    }
    if (found->kind == HM_PEM_DAMAGED) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s: the PEM text is damaged", what);
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s does not hold %s in PEM", what, wanted);
    if (pem.length > 0 && pem.data[0] == 0x30) {
        hm_error_add_hint(error, "it looks like DER; `openssl` turns it into PEM with "
                                 "`-inform DER -outform PEM`");
    }
    return HM_UNDECIDED;
}

hm_status hm_key_file_read(const char *path, size_t limit, hm_buf *file, hm_error **error) {
    hm_auto_error cause = NULL;
    hm_status status = hm_read_file(path, limit, file, &cause);
    if (status == HM_OK) {
        return HM_OK;
    }
    if (status == HM_UNDECIDED) {
        return hm_error_move(error, &cause);
    }
    return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s", hm_error_message(cause));
}
