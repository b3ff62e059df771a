/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signed manifest of a `sig-json` signature. The input becomes the manifest of a file that is
 * signed here, by way of its canonical spelling.
 */
#include "fuzz.h"

static hm_status parse(hm_bytes manifest, hm_envelope *envelope) {
    hm_auto_buf file = {0};
    hm_auto_error error = NULL;
    hm_buf_add_text(&file, "{\"manifest\": ");
    hm_buf_add(&file, manifest.data, manifest.length);
    hm_buf_add_text(&file, ", \"signature\": \"00\"}");
    hm_status status = hm_envelope_parse(hm_buf_view(&file), "file", envelope, &error);
    fuzz_verdict(status, &error);
    return status;
}

/* One file, by a name that leads nowhere else in anybody's spelling. */
static void read_promise(hm_envelope *envelope) {
    hm_auto_error error = NULL;
    hm_promise found = {0};
    hm_status status = hm_envelope_promise(envelope, &found, &error);
    fuzz_verdict(status, &error);
    if (status == HM_OK) {
        fuzz_check_promise(&found);
        FUZZ_CHECK(found.file_only && found.manifest.count == 1);
        FUZZ_CHECK(strpbrk(found.manifest.items[0].name, "/\\") == NULL);
    }
    hm_promise_free(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_auto_error error = NULL;
    hm_envelope envelope = {0};
    hm_signer_identity who = {0};
    if (parse(hm_bytes_of(data, size), &envelope) == HM_OK &&
        envelope.format == &hm_format_sig_json) {
        fuzz_sign(&envelope, fuzz_rsa_signer());
        FUZZ_CHECK(hm_trust_judge(fuzz_policy(), &envelope, hm_time_now(), &who, &error) == HM_OK);
        read_promise(&envelope);
    }
    hm_signer_identity_free(&who);
    hm_envelope_free(&envelope);
    return 0;
}
