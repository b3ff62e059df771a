/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A signature file of any format. Its signature is checked, and its signed text read whatever the
 * check said, as `hallmark inspect` does.
 */
#include "fuzz.h"

static void judge(hm_envelope *envelope) {
    hm_auto_error error = NULL;
    hm_signer_identity who = {0};
    hm_status status = hm_trust_judge(fuzz_policy(), envelope, hm_time_now(), &who, &error);
    fuzz_verdict(status, &error);
    FUZZ_CHECK(status == HM_OK || who.algorithm == NULL);
    hm_signer_identity_free(&who);
}

static void promise(hm_envelope *envelope) {
    hm_auto_error error = NULL;
    hm_promise found = {0};
    hm_status status = hm_envelope_promise(envelope, &found, &error);
    fuzz_verdict(status, &error);
    if (status == HM_OK) {
        fuzz_check_promise(&found);
    }
    hm_promise_free(&found);
}

static void inspect(const uint8_t *data, size_t size) {
    char path[64];
    hm_report *report = NULL;
    hm_auto_error error = NULL;
    hm_auto_fd fd = fuzz_file(data, size, path);
    if (fd >= 0) {
        fuzz_verdict(hm_inspect(path, &report, &error), &error);
        fuzz_check_report(report);
        hm_report_free(&report);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_envelope envelope;
    hm_auto_error error = NULL;
    hm_status status = hm_envelope_parse(hm_bytes_of(data, size), "input", &envelope, &error);
    fuzz_verdict(status, &error);
    if (status == HM_OK) {
        FUZZ_CHECK(envelope.format != NULL && envelope.part_count > 0);
        judge(&envelope);
        promise(&envelope);
    }
    hm_envelope_free(&envelope);
    inspect(data, size);
    return 0;
}
