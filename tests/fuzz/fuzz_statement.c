/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signed statement of an `oms` signature. The input becomes the payload of a bundle that is
 * signed here, so that everything behind the signature check is reached with the check left on.
 */
#include "fuzz.h"

static void write_bundle(hm_bytes payload, hm_buf *file) {
    hm_auto_buf text = {0};
    hm_buf_add_base64(&text, payload);
    hm_buf_add_text(file, "{\"mediaType\":\"application/vnd.dev.sigstore.bundle.v0.3+json\","
                          "\"verificationMaterial\":{\"publicKey\":{\"hint\":\"");
    hm_buf_add_text(file, fuzz_ec_signer()->public_key->hint);
    hm_buf_add_text(file, "\"}},\"dsseEnvelope\":{\"payload\":\"");
    hm_buf_add(file, text.data, text.length);
    hm_buf_add_text(file, "\",\"payloadType\":\"application/vnd.in-toto+json\","
                          "\"signatures\":[{\"sig\":\"AAAA\"}]}}");
}

static void read_promise(hm_envelope *envelope) {
    hm_auto_error error = NULL;
    hm_promise found = {0};
    hm_status status = hm_envelope_promise(envelope, &found, &error);
    fuzz_verdict(status, &error);
    if (status == HM_OK) {
        fuzz_check_promise(&found);
    }
    hm_promise_free(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_auto_buf file = {0};
    hm_auto_error error = NULL;
    hm_envelope envelope = {0};
    hm_signer_identity who = {0};
    if (size == 0) {
        return 0;
    }
    write_bundle(hm_bytes_of(data, size), &file);
    FUZZ_CHECK(hm_envelope_parse(hm_buf_view(&file), "bundle", &envelope, &error) == HM_OK);
    FUZZ_CHECK(hm_bytes_equal(hm_buf_view(&envelope.payload), hm_bytes_of(data, size)));
    fuzz_verdict(hm_trust_judge(fuzz_policy(), &envelope, hm_time_now(), &who, &error), &error);
    fuzz_sign(&envelope, fuzz_ec_signer());
    FUZZ_CHECK(hm_trust_judge(fuzz_policy(), &envelope, hm_time_now(), &who, &error) == HM_OK);
    read_promise(&envelope);
    hm_signer_identity_free(&who);
    hm_envelope_free(&envelope);
    return 0;
}
