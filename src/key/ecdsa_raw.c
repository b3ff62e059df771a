/* SPDX-License-Identifier: Apache-2.0 */
/* The form in which tokens and key services give an ECDSA signature, made the one that we sign. */
#include "key/internal.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>

enum { LONGEST_NUMBER = 66 }; /* of P-521, in bytes */

static void sig_free(ECDSA_SIG **sig) {
    ECDSA_SIG_free(*sig);
}

static ECDSA_SIG *from_numbers(const uint8_t *raw, int half) {
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, half, NULL);
    BIGNUM *s = BN_bin2bn(raw + half, half, NULL);
    if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
        return sig;
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(sig);
    return NULL;
}

hm_status hm_ecdsa_der_from_raw(hm_bytes raw, hm_buf *der, hm_error **error) {
    HM_CLEANUP(sig_free) ECDSA_SIG *sig = NULL;
    if (raw.length == 0 || raw.length % 2 != 0 || raw.length > (size_t)2 * LONGEST_NUMBER) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "an ECDSA signature of %zu bytes is no pair of numbers", raw.length);
    }
    sig = from_numbers(raw.data, (int)(raw.length / 2));
    uint8_t *encoded = NULL;
    int length = sig != NULL ? i2d_ECDSA_SIG(sig, &encoded) : -1;
    if (length > 0) {
        hm_buf_add(der, encoded, (size_t)length);
    }
    OPENSSL_free(encoded);
    ERR_clear_error();
    return length > 0 ? hm_buf_check(der, error) : hm_fail_memory(error);
}
