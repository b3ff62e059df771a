/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates: as a file of roots (PEM), and as a signature carries them (DER, each behind two
 * bytes of length). No chain that the fuzzer makes up may lead to the root of keys.h with a key
 * that this root's authority did not certify.
 */
#include "fuzz.h"

#include "trust/chain.h"

static void check_der(hm_bytes der, STACK_OF(X509) *chain) {
    hm_auto_x509 certificate = NULL;
    hm_auto_error error = NULL;
    hm_auto_buf again = {0};
    hm_auto_free char *name = NULL;
    hm_status status = hm_certificate_parse_der(der, "certificate", &certificate, &error);
    fuzz_verdict(status, &error);
    if (status != HM_OK) {
        return;
    }
    FUZZ_CHECK(hm_certificate_der(certificate, &again, &error) == HM_OK);
    FUZZ_CHECK(hm_bytes_equal(hm_buf_view(&again), der));
    (void)hm_certificate_self_signed(certificate);
    status = hm_certificate_name(X509_get_subject_name(certificate), &name, &error);
    fuzz_outcome(status, &error);
    FUZZ_CHECK(sk_X509_push(chain, certificate) > 0);
    certificate = NULL;
}

/* Takes the certificates one by one; what cannot be read is left out. */
static void read_chain(hm_bytes input, STACK_OF(X509) *chain) {
    while (input.length > 2) {
        size_t length = (size_t)input.data[0] << 8 | input.data[1];
        input = hm_bytes_of(input.data + 2, input.length - 2);
        length = length < input.length ? length : input.length;
        check_der(hm_bytes_of(input.data, length), chain);
        input = hm_bytes_of(input.data + length, input.length - length);
    }
}

static hm_status judge(const hm_trusted_signer *signer, STACK_OF(X509) *chain,
                       hm_signer_identity *who, char *fingerprint) {
    hm_auto_error error = NULL;
    hm_pubkey *key = NULL;
    hm_status status = hm_chain_judge(signer, fuzz_policy()->allow, chain, who, &key, &error);
    fuzz_verdict(status, &error);
    FUZZ_CHECK((status == HM_OK) == (key != NULL));
    if (key != NULL) {
        memcpy(fingerprint, key->fingerprint, sizeof key->fingerprint);
    }
    hm_pubkey_free(&key);
    return status;
}

static void check_identity(const hm_signer_identity *who) {
    FUZZ_CHECK(who->by_certificate && fuzz_printable(who->subject, false));
    FUZZ_CHECK(fuzz_printable(who->issuer, false));
    for (size_t i = 0; i < who->alternative_name_count; i++) {
        FUZZ_CHECK(fuzz_printable(who->alternative_names[i], false));
    }
}

static void check_forgery(STACK_OF(X509) *chain) {
    hm_signer_identity who = {0};
    char fingerprint[2 * HM_FINGERPRINT_SIZE + 1];
    if (judge(&fuzz_policy()->signers[0], chain, &who, fingerprint) == HM_OK) {
        FUZZ_CHECK(strcmp(fingerprint, fuzz_ec_signer()->public_key->fingerprint) == 0);
        check_identity(&who);
    }
    hm_signer_identity_free(&who);
}

/* Roots of the fuzzer's own let the rest of the judgement be reached. */
static void check_own_roots(STACK_OF(X509) *chain, STACK_OF(X509) *roots) {
    hm_signer_identity who = {0};
    char fingerprint[2 * HM_FINGERPRINT_SIZE + 1];
    hm_trusted_signer signer = {.roots = roots};
    if (judge(&signer, chain, &who, fingerprint) == HM_OK) {
        check_identity(&who);
    }
    hm_signer_identity_free(&who);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_auto_error error = NULL;
    hm_auto_x509_stack pem = NULL;
    hm_auto_x509_stack chain = sk_X509_new_null();
    hm_status status = hm_certificates_parse(hm_bytes_of(data, size), "file", &pem, &error);
    FUZZ_CHECK((status == HM_OK) == (pem != NULL));
    fuzz_outcome(status, &error);
    if (pem != NULL) {
        check_forgery(pem);
        check_own_roots(pem, pem);
    }
    read_chain(hm_bytes_of(data, size), chain);
    if (sk_X509_num(chain) > 0) {
        check_forgery(chain);
        check_own_roots(chain, chain);
    }
    return 0;
}
