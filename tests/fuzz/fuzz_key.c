/* SPDX-License-Identifier: Apache-2.0 */
/* Key files: as the public key of somebody to believe, and as a private key to sign with. */
#include "fuzz.h"

#include "key/internal.h"

#include <openssl/pkcs12.h>

enum {
    ITERATION_LIMIT = 5000, /* of a key derivation; what a file may ask for can take for ever */
    BITS_LIMIT = 4096,      /* of RSA keys to sign with, likewise */
};

static void check_public(hm_bytes pem) {
    hm_auto_error error = NULL;
    hm_pubkey *key = NULL;
    hm_status status = hm_pubkey_parse(pem, "file", &key, &error);
    FUZZ_CHECK((status == HM_OK) == (key != NULL));
    fuzz_outcome(status, &error);
    if (key != NULL) {
        FUZZ_CHECK(key->type != HM_KEY_RSA || key->bits >= 2048);
        FUZZ_CHECK(strlen(key->fingerprint) == 64 && strlen(key->hint) == 64);
        FUZZ_CHECK(fuzz_printable(key->algorithm, false));
        FUZZ_CHECK(hm_pubkey_verify(key, HM_SCHEME_BY_KEY, hm_bytes_text("message"),
                                    hm_bytes_text("no signature"), NULL) != HM_OK);
    }
    hm_pubkey_free(&key);
}

/* ---- passphrases ---------------------------------------------------------------------------- */

/* PBES2 with PBKDF2 of few iterations. */
static bool few_iterations(const X509_ALGOR *method) {
    const ASN1_OBJECT *oid = NULL;
    const void *parameter = NULL;
    int type = 0;
    int64_t iterations = INT64_MAX;
    X509_ALGOR_get0(&oid, &type, &parameter, method);
    if (OBJ_obj2nid(oid) != NID_pbes2 || type != V_ASN1_SEQUENCE) {
        return false;
    }
    PBE2PARAM *outer = ASN1_item_unpack(parameter, ASN1_ITEM_rptr(PBE2PARAM));
    PBKDF2PARAM *inner = NULL;
    if (outer != NULL && OBJ_obj2nid(outer->keyfunc->algorithm) == NID_id_pbkdf2 &&
        outer->keyfunc->parameter != NULL && outer->keyfunc->parameter->type == V_ASN1_SEQUENCE) {
        inner = ASN1_item_unpack(outer->keyfunc->parameter->value.sequence,
                                 ASN1_ITEM_rptr(PBKDF2PARAM));
    }
    bool few = inner != NULL && ASN1_INTEGER_get_int64(&iterations, inner->iter) == 1 &&
               iterations <= ITERATION_LIMIT;
    PBKDF2PARAM_free(inner);
    PBE2PARAM_free(outer);
    return few;
}

/* Whether the first private key of a file is quickly decrypted. */
static bool cheap(hm_bytes pem) {
    hm_auto_bio bio = hm_pem_open(pem);
    hm_auto_pem block = {.kind = HM_PEM_END};
    const X509_ALGOR *method = NULL;
    do {
        hm_pem_next(bio, &block);
    } while (block.kind != HM_PEM_PRIVATE && block.kind != HM_PEM_END &&
             block.kind != HM_PEM_DAMAGED);
    if (block.kind != HM_PEM_PRIVATE || strcmp(block.name, PEM_STRING_PKCS8) != 0) {
        return true;
    }
    const uint8_t *cursor = block.data;
    X509_SIG *sealed = d2i_X509_SIG(NULL, &cursor, (long)block.length);
    if (sealed != NULL) {
        X509_SIG_get0(sealed, &method, NULL);
    }
    bool few = sealed == NULL || few_iterations(method);
    X509_SIG_free(sealed);
    return few;
}

static bool give_passphrase(void *context, const char *what, bool again, char *buffer,
                            size_t capacity, size_t *length) {
    (void)what;
    FUZZ_CHECK(!again && capacity >= 4);
    memcpy(buffer, "fuzz", 4);
    *length = 4;
    return cheap(*(const hm_bytes *)context);
}

/* ---- private keys --------------------------------------------------------------------------- */

/* A key that is taken signs so that it verifies, or says that it cannot sign. */
static void check_signer(hm_signer *signer) {
    hm_auto_error error = NULL;
    hm_auto_buf signature = {0};
    const hm_pubkey *key = signer->public_key;
    if (key->type == HM_KEY_RSA && key->bits > BITS_LIMIT) {
        return;
    }
    hm_status status =
        hm_signer_sign(signer, HM_SCHEME_BY_KEY, hm_bytes_text("message"), &signature, &error);
    FUZZ_CHECK(status == HM_OK || status == HM_UNDECIDED);
    FUZZ_CHECK(status == HM_OK || signature.length == 0);
    fuzz_outcome(status, &error);
}

static void check_private(hm_bytes pem) {
    char path[64];
    hm_auto_error error = NULL;
    hm_signer *signer = NULL;
    hm_signer_options options = HM_SIGNER_OPTIONS_INIT;
    hm_auto_fd fd = fuzz_file(pem.data, pem.length, path);
    if (fd < 0) {
        return;
    }
    options.passphrase = give_passphrase;
    options.passphrase_context = &pem;
    hm_status status = hm_signer_open(path, &options, &signer, &error);
    FUZZ_CHECK((status == HM_OK) == (signer != NULL));
    fuzz_outcome(status, &error);
    if (signer != NULL) {
        check_signer(signer);
    }
    hm_signer_close(&signer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_public(hm_bytes_of(data, size));
    check_private(hm_bytes_of(data, size));
    return 0;
}
