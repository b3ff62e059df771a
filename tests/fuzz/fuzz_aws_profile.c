/* SPDX-License-Identifier: Apache-2.0 */
/* The files that the AWS tools share. Whatever they hold, no message shows a setting's value. */
#include "fuzz.h"

#include "key/aws.h"

static void check(hm_bytes file, bool config, const char *name) {
    HM_CLEANUP(hm_aws_profile_free) hm_aws_profile profile = {.region = NULL};
    hm_auto_error error = NULL;
    hm_status status = hm_aws_profile_parse(file, "file", config, name, &profile, &error);
    FUZZ_CHECK(status == HM_OK || status == HM_UNDECIDED);
    FUZZ_CHECK(status == HM_OK || (profile.id.length == 0 && profile.region == NULL));
    if (profile.id.length > 0) {
        FUZZ_CHECK(memchr(profile.id.data, '\n', profile.id.length) == NULL);
    }
    fuzz_outcome(status, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check(hm_bytes_of(data, size), false, "default");
    check(hm_bytes_of(data, size), true, "default");
    check(hm_bytes_of(data, size), true, "ci");
    return 0;
}
