/* SPDX-License-Identifier: Apache-2.0 */
/* keyring.json: what is accepted is in order, and comes out again as it went in. */
#include "fuzz.h"

#include "key/keyring.h"

static void check_entry(const hm_keyring *ring, size_t index) {
    const hm_keyring_entry *entry = &ring->entries[index];
    FUZZ_CHECK(entry->version > 0 && entry->version <= HM_KEYRING_NUMBER_LIMIT);
    FUZZ_CHECK(index == 0 || ring->entries[index - 1].version < entry->version);
    FUZZ_CHECK(strlen(entry->fingerprint) == 2 * HM_FINGERPRINT_SIZE);
    FUZZ_CHECK(entry->revoked == (entry->reason != NULL));
    FUZZ_CHECK(!entry->revoked || fuzz_printable(entry->reason, false));
    for (size_t i = 0; i < index; i++) {
        FUZZ_CHECK(strcmp(ring->entries[i].fingerprint, entry->fingerprint) != 0);
    }
}

static void check_ring(const hm_keyring *ring) {
    FUZZ_CHECK(ring->count <= HM_KEYRING_VERSIONS);
    FUZZ_CHECK(ring->exports <= HM_KEYRING_NUMBER_LIMIT);
    FUZZ_CHECK(fuzz_printable(ring->signer, false) && ring->signer[0] != '\0');
    FUZZ_CHECK(strchr(ring->base, '/') == NULL && ring->base[0] != '.' && ring->base[0] != '\0');
    for (size_t i = 0; i < ring->count; i++) {
        check_entry(ring, i);
    }
    const hm_keyring_entry *signing = hm_keyring_signing(ring, hm_time_now());
    FUZZ_CHECK(signing == NULL || signing->signs_from <= hm_time_now());
}

static void check_again(const hm_keyring *ring) {
    hm_auto_error error = NULL;
    hm_auto_buf first = {0}, second = {0};
    hm_auto_keyring again = {0};
    FUZZ_CHECK(hm_keyring_print(ring, &first, &error) == HM_OK);
    FUZZ_CHECK(hm_keyring_parse(hm_buf_view(&first), "again", &again, &error) == HM_OK);
    FUZZ_CHECK(hm_keyring_print(&again, &second, &error) == HM_OK);
    FUZZ_CHECK(hm_bytes_equal(hm_buf_view(&first), hm_buf_view(&second)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_auto_error error = NULL;
    hm_auto_keyring ring = {0};
    hm_status status = hm_keyring_parse(hm_bytes_of(data, size), "keyring.json", &ring, &error);
    if (status == HM_OK) {
        check_ring(&ring);
        check_again(&ring);
    }
    fuzz_verdict(status, &error);
    return 0;
}
