/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event as the ledger or the outbox has it. What is accepted has one spelling, and the same
 * event comes of it again.
 */
#include "record/event.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_auto_event event = {.host = NULL};
    hm_auto_error error = NULL;
    hm_auto_buf again = {.data = NULL};
    hm_bytes input = hm_bytes_of(data, size);
    hm_status status = hm_event_parse(input, &event, &error);
    fuzz_verdict(status, &error);
    if (status != HM_OK) {
        FUZZ_CHECK(event.host == NULL && event.model == NULL);
        return 0;
    }
    FUZZ_CHECK(hm_event_word(event.kind)[0] != '\0');
    FUZZ_CHECK(hm_event_write(&event, &again, &error) == HM_OK);
    FUZZ_CHECK(hm_bytes_equal(hm_buf_view(&again), input));
    FUZZ_CHECK(fuzz_printable((const char *)again.data, false));
    return 0;
}
