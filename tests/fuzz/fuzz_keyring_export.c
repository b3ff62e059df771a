/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exports of keyrings. The input is taken for an export, whose signature is never good, and then
 * (or what an export holds) for the signed text itself.
 */
#include "fuzz.h"

#include "key/keyring.h"
#include "trust/keyring_file.h"

static void check_key(const hm_export *found, size_t index) {
    const hm_trusted_key *key = &found->keys[index];
    hm_auto_buf pem = {0};
    hm_auto_error error = NULL;
    FUZZ_CHECK(key->key != NULL && key->version > 0);
    FUZZ_CHECK(index == 0 || found->keys[index - 1].version < key->version);
    FUZZ_CHECK(hm_pubkey_pem(key->key, &pem, &error) == HM_OK);
}

static void check_export(const hm_export *found) {
    FUZZ_CHECK(found->version > 0 && found->version <= HM_KEYRING_NUMBER_LIMIT);
    FUZZ_CHECK(found->created >= 0 && found->expires >= 0);
    FUZZ_CHECK(found->key_count > 0 && found->key_count <= HM_KEYRING_VERSIONS);
    FUZZ_CHECK(fuzz_printable(found->signer, false) && found->signer[0] != '\0');
    FUZZ_CHECK(strlen(found->digest) == 2 * HM_FINGERPRINT_SIZE);
    for (size_t i = 0; i < found->key_count; i++) {
        check_key(found, i);
    }
    for (size_t i = 0; i < found->revocation_count; i++) {
        FUZZ_CHECK(strlen(found->revocations[i].fingerprint) == 2 * HM_FINGERPRINT_SIZE);
        FUZZ_CHECK(fuzz_printable(found->revocations[i].reason, false));
        FUZZ_CHECK(found->revocations[i].since >= 0);
    }
}

static void read_text(hm_bytes text) {
    hm_auto_export found = {0};
    hm_auto_error error = NULL;
    hm_status status = hm_export_parse(text, "text", &found, &error);
    if (status == HM_OK) {
        check_export(&found);
    }
    fuzz_verdict(status, &error);
}

/* Whatever the bytes, nobody has signed them with this key. */
static void read_file(hm_bytes file) {
    hm_auto_export found = {0};
    hm_auto_error error = NULL;
    hm_status status = hm_export_open(file, "file", fuzz_rsa_signer()->public_key, &found, &error);
    FUZZ_CHECK(status == HM_REFUSED && found.keys == NULL && found.signer == NULL);
    fuzz_verdict(status, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_auto_dsse envelope = {.payload = {0}};
    hm_auto_error error = NULL;
    hm_bytes file = hm_bytes_of(data, size);
    bool whole = hm_export_envelope_parse(file, "file", &envelope, &error) == HM_OK;
    read_text(whole ? hm_buf_view(&envelope.payload) : file);
    read_file(file);
    return 0;
}
