/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What key services answer: keys, signatures, credentials, tokens, refusals. No answer is a verdict
 * on a model, and none makes a key that cannot be used or a header that is not one line.
 */
#include "fuzz.h"

#include "key/aws.h"
#include "key/azure.h"

static void check_status(hm_status status, hm_error **error) {
    FUZZ_CHECK(status == HM_OK || status == HM_UNDECIDED || status == HM_USAGE);
    fuzz_outcome(status, error);
}

static void check_key(hm_status status, hm_pubkey *key, hm_error **error) {
    FUZZ_CHECK((status == HM_OK) == (key != NULL));
    FUZZ_CHECK(key == NULL || strlen(key->fingerprint) == (size_t)2 * HM_FINGERPRINT_SIZE);
    check_status(status, error);
    hm_pubkey_free(&key);
}

static void check_keys(hm_bytes answer) {
    hm_auto_error error = NULL;
    hm_auto_free char *version = NULL;
    hm_pubkey *key = NULL;
    hm_status status = hm_aws_kms_parse_key(answer, "key", &key, &error);
    check_key(status, key, &error);
    key = NULL;
    status = hm_azure_vault_parse_key(answer, "key", &key, &version, &error);
    FUZZ_CHECK((status == HM_OK) == (version != NULL));
    FUZZ_CHECK(version == NULL || strpbrk(version, "/?#&% ") == NULL);
    check_key(status, key, &error);
}

static void check_signatures(hm_bytes answer) {
    const hm_pubkey ec = {.type = HM_KEY_EC_P256};
    const hm_pubkey rsa = {.type = HM_KEY_RSA};
    hm_auto_error error = NULL;
    hm_buf found[3] = {{.data = NULL}, {.data = NULL}, {.data = NULL}};
    hm_status status = hm_aws_kms_parse_signature(answer, &found[0], &error);
    FUZZ_CHECK(status != HM_OK || found[0].length > 0);
    check_status(status, &error);
    status = hm_azure_vault_parse_signature(answer, &ec, &found[1], &error);
    FUZZ_CHECK(status != HM_OK || (found[1].length >= 8 && found[1].data[0] == 0x30));
    check_status(status, &error);
    check_status(hm_azure_vault_parse_signature(answer, &rsa, &found[2], &error), &error);
    for (size_t i = 0; i < 3; i++) {
        hm_buf_free(&found[i]);
    }
}

static void check_secrets(hm_bytes answer) {
    HM_CLEANUP(hm_aws_credentials_free) hm_aws_credentials json = {.source = NULL};
    HM_CLEANUP(hm_aws_credentials_free) hm_aws_credentials xml = {.source = NULL};
    hm_auto_buf token = {.data = NULL};
    hm_auto_error error = NULL;
    check_status(hm_aws_credentials_parse(answer, "service", &json, &error), &error);
    hm_status status = hm_aws_sts_parse(answer, &xml, &error);
    FUZZ_CHECK(status != HM_OK || (hm_remote_header_safe(hm_buf_view(&xml.id)) &&
                                   hm_remote_header_safe(hm_buf_view(&xml.secret)) &&
                                   hm_remote_header_safe(hm_buf_view(&xml.token))));
    check_status(status, &error);
    status = hm_azure_token_parse(answer, "service", &token, &error);
    FUZZ_CHECK(status != HM_OK || hm_remote_header_safe(hm_buf_view(&token)));
    check_status(status, &error);
}

static void check_refusal(hm_bytes answer) {
    hm_auto_error error = NULL;
    hm_remote_failure failure = {.service = "service", .action = "act", .status = 400};
    hm_aws_sts_parse_error(answer, &failure.code, &failure.message);
    check_status(hm_remote_fail(&failure, NULL, 0, &error), &error);
    failure.code = failure.message = answer;
    check_status(hm_remote_fail(&failure, &answer, 1, &error), &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_bytes answer = hm_bytes_of(data, size);
    check_keys(answer);
    check_signatures(answer);
    check_secrets(answer);
    check_refusal(answer);
    return 0;
}
