/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record of file states: as a file, whose signature no fuzzer can make, and as what stands under
 * the signature. What is taken of the latter is sorted, lies inside the model, is found again, and
 * is the same after it was signed, written and read.
 */
#include "format/records.h"
#include "fuzz.h"

static void check_record(const hm_state_record *record) {
    for (size_t i = 0; i < record->count; i++) {
        const struct hm_file_record *file = &record->files[i];
        FUZZ_CHECK(hm_name_valid(hm_bytes_text(file->name)) && !fuzz_leads_outside(file->name));
        FUZZ_CHECK(i == 0 || strcmp(record->files[i - 1].name, file->name) < 0);
        FUZZ_CHECK(hm_state_find(record, file->name) == file->state);
    }
}

static void write_and_read(const hm_state_record *record) {
    hm_auto_error error = NULL;
    hm_auto_buf file = {0};
    hm_state_record again = {0};
    FUZZ_CHECK(hm_state_write(record, fuzz_ec_signer(), &file, &error) == HM_OK);
    FUZZ_CHECK(hm_state_recognise(hm_buf_view(&file), &error) == HM_OK);
    FUZZ_CHECK(hm_state_parse(hm_buf_view(&file), "again", fuzz_ec_signer()->public_key, &again,
                              &error) == HM_OK);
    FUZZ_CHECK(again.count == record->count);
    FUZZ_CHECK(memcmp(again.signature, record->signature, sizeof(again.signature)) == 0);
    for (size_t i = 0; i < again.count; i++) {
        FUZZ_CHECK(strcmp(again.files[i].name, record->files[i].name) == 0);
        FUZZ_CHECK(strcmp(again.files[i].state, record->files[i].state) == 0);
    }
    hm_state_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_auto_error error = NULL;
    hm_state_record record = {0};
    hm_bytes input = hm_bytes_of(data, size);
    hm_status status =
        hm_state_parse(input, "input", fuzz_ec_signer()->public_key, &record, &error);
    fuzz_verdict(status, &error);
    hm_state_free(&record);
    status = hm_state_parse_payload(input, "payload", &record, &error);
    fuzz_verdict(status, &error);
    if (status == HM_OK) {
        check_record(&record);
        write_and_read(&record);
    }
    hm_state_free(&record);
    return 0;
}
