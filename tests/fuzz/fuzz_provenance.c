/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input as the signed statement of a provenance bundle, and as the training metadata that one
 * is made of: what is made must be read again.
 */
#include "fuzz.h"

#include "format/provenance.h"

static void check_provenance(const hm_provenance *provenance) {
    FUZZ_CHECK(provenance->subject_count > 0 && provenance->builder != NULL);
    for (size_t i = 0; i < provenance->dependency_count; i++) {
        FUZZ_CHECK(strchr(provenance->dependencies[i], ':') != NULL);
    }
    for (size_t i = 0; i < provenance->stated.count; i++) {
        hm_auto_json doc = NULL;
        hm_auto_error error = NULL;
        const hm_statement *said = &provenance->stated.list[i];
        FUZZ_CHECK(fuzz_printable(said->name, false));
        FUZZ_CHECK(hm_json_parse(hm_bytes_text(said->json), "stated", &doc, &error) == HM_OK);
    }
}

/* By another key a good statement stays one, and says that key's number or none. */
static void carry_statement(hm_bytes payload, uint64_t key_version) {
    hm_auto_error error = NULL;
    hm_auto_json doc = NULL;
    hm_auto_buf made = {0};
    hm_provenance provenance = {0};
    FUZZ_CHECK(hm_json_parse(payload, "statement", &doc, &error) == HM_OK);
    const hm_json *root = hm_json_root(doc);
    const hm_json *predicate = hm_json_get(root, "predicate");
    bool ours = hm_provenance_is_training(hm_json_get(predicate, HM_PROVENANCE_DEFINITION));
    hm_json_writer w = {.out = &made};
    hm_json_begin_object(&w);
    for (const hm_json *m = root->first; m != NULL; m = m->next) {
        if (m == predicate) {
            hm_json_name(&w, "predicate");
            hm_provenance_copy_predicate(&w, m, key_version);
        } else {
            hm_json_copy_member(&w, m);
        }
    }
    hm_json_end_object(&w);
    FUZZ_CHECK(hm_provenance_read(hm_buf_view(&made), &provenance, &error) == HM_OK);
    FUZZ_CHECK(provenance.key_version == (ours ? key_version : 0));
    hm_provenance_free(&provenance);
}

static void read_statement(hm_bytes payload) {
    hm_auto_error error = NULL;
    hm_provenance provenance = {0};
    hm_status status = hm_provenance_read(payload, &provenance, &error);
    fuzz_verdict(status, &error);
    FUZZ_CHECK((status == HM_OK) == (provenance.subject_count > 0));
    if (status == HM_OK) {
        check_provenance(&provenance);
        carry_statement(payload, 0);
        carry_statement(payload, 3);
    }
    hm_provenance_free(&provenance);
}

static void write_statement(hm_bytes metadata) {
    hm_auto_free char *text = hm_strndup((const char *)metadata.data, metadata.length);
    hm_auto_buf payload = {0};
    hm_auto_buf file = {0};
    hm_auto_error error = NULL;
    HM_CLEANUP(hm_envelope_free) hm_envelope envelope = {0};
    hm_manifest manifest = {.method = HM_METHOD_FILES, .hash = HM_HASH_SHA256};
    const hm_signing signing = {.manifest = &manifest, .subject_name = "m", .metadata = text};
    bool recognised = false;
    hm_status status = hm_provenance_check(&signing, fuzz_ec_signer(), &error);
    FUZZ_CHECK(status == HM_OK || status == HM_USAGE);
    fuzz_outcome(status, &error);
    if (status != HM_OK) {
        return;
    }
    const hm_provenance_signature signature = {&manifest, "m.sig", metadata};
    FUZZ_CHECK(hm_provenance_write(&signing, &signature, 1, fuzz_ec_signer(), &payload, &file,
                                   &error) == HM_OK);
    FUZZ_CHECK(hm_provenance_parse(hm_buf_view(&file), "bundle", &envelope, &error) == HM_OK);
    FUZZ_CHECK(hm_provenance_recognise(&envelope, &recognised, &error) == HM_OK && recognised);
    FUZZ_CHECK(hm_bytes_equal(hm_buf_view(&envelope.payload), hm_buf_view(&payload)));
    read_statement(hm_buf_view(&payload));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0) {
        read_statement(hm_bytes_of(data, size));
        write_statement(hm_bytes_of(data, size));
    }
    return 0;
}
