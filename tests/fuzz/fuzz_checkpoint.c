/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint: as a file, whose signature no fuzzer can make, and as what stands under the
 * signature. What is taken of the latter is the same after it was signed, written and read.
 */
#include "record/checkpoint.h"

#include "fuzz.h"

static void write_and_read(const hm_checkpoint *said) {
    hm_auto_error error = NULL;
    hm_auto_buf file = {0};
    hm_checkpoint again;
    const hm_pubkey *key = NULL;
    FUZZ_CHECK(hm_checkpoint_write(said, fuzz_ec_signer(), &file, &error) == HM_OK);
    FUZZ_CHECK(hm_checkpoint_open(hm_buf_view(&file), "again", &fuzz_ec_signer()->public_key, 1,
                                  &again, &key, &error) == HM_OK);
    FUZZ_CHECK(key == fuzz_ec_signer()->public_key && again.sequence == said->sequence);
    FUZZ_CHECK(strcmp(again.ledger, said->ledger) == 0 && again.time == said->time);
    FUZZ_CHECK(strcmp(again.digest, said->digest) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_auto_error error = NULL;
    hm_checkpoint said;
    const hm_pubkey *key = NULL;
    hm_bytes input = hm_bytes_of(data, size);
    hm_status status =
        hm_checkpoint_open(input, "file", &fuzz_rsa_signer()->public_key, 1, &said, &key, &error);
    FUZZ_CHECK(status == HM_REFUSED && key == NULL);
    fuzz_verdict(status, &error);
    status = hm_checkpoint_parse(input, "payload", &said, &error);
    fuzz_verdict(status, &error);
    if (status == HM_OK) {
        FUZZ_CHECK(strlen(said.ledger) == 64 && strlen(said.digest) == 64 && said.sequence > 0);
        write_and_read(&said);
    }
    return 0;
}
