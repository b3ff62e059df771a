/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifies a model under one public key and lists the files that may be loaded.
 *
 *     cc verify.c $(pkg-config --cflags --libs hallmark) -o verify
 *     ./verify MODEL PUBLIC_KEY
 *
 * Exit status: 0 verified, 1 refused, 2 wrong call, 3 could not be decided.
 */
#include <hallmark.h>
#include <stdio.h>

static hm_status verify(const char *path, const char *key, hm_report **report, hm_error **error) {
    hm_policy *policy = NULL;
    hm_model *model = NULL;
    hm_verify_options options = HM_VERIFY_OPTIONS_INIT;
    options.flags = HM_VERIFY_STRICT_PATHS;
    hm_status status = hm_policy_new(&policy, error);
    if (status == HM_OK) {
        status = hm_policy_add_key(policy, key, error);
    }
    if (status == HM_OK) {
        status = hm_policy_require_format(policy, "oms", error);
    }
    if (status == HM_OK) {
        status = hm_model_open(path, &model, error);
    }
    if (status == HM_OK) {
        status = hm_verify(model, policy, &options, report, error);
    }
    hm_model_close(&model);
    hm_policy_free(&policy);
    return status;
}

int main(int argc, char **argv) {
    hm_report *report = NULL;
    hm_error *error = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: verify MODEL PUBLIC_KEY\n");
        return HM_USAGE;
    }
    hm_status status = verify(argv[1], argv[2], &report, &error);
    if (status == HM_OK) {
        /* Whatever is not named here is not vouched for: load these files and no others. */
        printf("verified, model digest %s\n", hm_report_model_digest(report));
        for (size_t i = 0; i < hm_report_file_count(report); i++) {
            printf("%s\n", hm_report_file_name(report, i));
        }
    } else {
        fprintf(stderr, "verify: %s (%s)\n", hm_error_message(error),
                hm_reason_word(hm_error_reason(error)));
        for (size_t i = 0; report != NULL && i < hm_report_finding_count(report); i++) {
            fprintf(stderr, "  %s %s\n", hm_reason_word(hm_report_finding_reason(report, i)),
                    hm_report_finding_name(report, i));
        }
    }
    hm_report_free(&report);
    hm_error_free(&error);
    return (int)status;
}
