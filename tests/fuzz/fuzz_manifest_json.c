/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A `manifest-json` file, single or bundle. Every entry that is taken gets a good signature here;
 * then all that the file claims and promises is read.
 */
#include "fuzz.h"

enum { SIGNED_ENTRIES = 4 }; /* signing is slow; longer bundles are read without */

static void judge(hm_envelope *envelope) {
    hm_auto_error error = NULL;
    hm_signer_identity who = {0};
    if (envelope->part_count <= SIGNED_ENTRIES) {
        fuzz_sign(envelope, fuzz_rsa_signer());
        FUZZ_CHECK(hm_trust_judge(fuzz_policy(), envelope, hm_time_now(), &who, &error) == HM_OK);
        hm_signer_identity_free(&who);
    }
}

static void read_promise(hm_envelope *envelope) {
    hm_auto_error error = NULL;
    hm_promise found = {0};
    hm_status status = hm_envelope_promise(envelope, &found, &error);
    fuzz_verdict(status, &error);
    if (status == HM_OK) {
        fuzz_check_promise(&found);
        FUZZ_CHECK(found.names_unsigned && found.file_only != found.file_set);
        FUZZ_CHECK(found.manifest.count == envelope->part_count);
        FUZZ_CHECK(found.stated.count == 0);
    }
    for (size_t i = 0; status == HM_OK && i < found.manifest.count; i++) {
        FUZZ_CHECK(strpbrk(found.manifest.items[i].name, "/\\") == NULL);
    }
    hm_promise_free(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_auto_error error = NULL;
    hm_envelope envelope = {0};
    hm_status status = hm_envelope_parse(hm_bytes_of(data, size), "input", &envelope, &error);
    fuzz_verdict(status, &error);
    if (status == HM_OK && envelope.format == &hm_format_manifest_json) {
        judge(&envelope);
        read_promise(&envelope);
    }
    hm_envelope_free(&envelope);
    return 0;
}
