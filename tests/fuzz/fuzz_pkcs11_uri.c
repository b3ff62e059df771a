/* SPDX-License-Identifier: Apache-2.0 */
/* PKCS#11 URIs: whatever they are, they are read or refused, and a PIN is never shown. */
#include "fuzz.h"

#include "key/pkcs11.h"

/* What an attacker of a log hopes for. */
static void check_no_pin(const hm_secret *pin, const char *text) {
    char *copy = hm_strndup((const char *)pin->data, pin->length);
    /* A PIN of few characters may stand anywhere by chance. */
    if (copy != NULL && pin->length >= 8) {
        FUZZ_CHECK(strstr(text, copy) == NULL || strstr(text, "pin-value") == NULL);
    }
    free(copy);
}

static void check_uri(const hm_pkcs11_uri *uri) {
    FUZZ_CHECK(strncmp(uri->shown, "pkcs11:", 7) == 0);
    FUZZ_CHECK(strchr(uri->shown, '?') == NULL);
    FUZZ_CHECK(strcasestr(uri->shown, "pin-value") == NULL);
    FUZZ_CHECK(uri->module_path == NULL || uri->module_path[0] == '/');
    FUZZ_CHECK(uri->module_path == NULL || uri->module_name == NULL);
    FUZZ_CHECK(uri->pin_source == NULL || uri->pin_source[0] == '/');
    FUZZ_CHECK(uri->pin_source == NULL || uri->pin.data == NULL);
    FUZZ_CHECK(uri->pin.data == NULL || uri->pin.length > 0);
    FUZZ_CHECK(p11_kit_uri_any_unrecognized(uri->object) == 0);
    FUZZ_CHECK(p11_kit_uri_get_pin_value(uri->object) == NULL);
    if (uri->pin.data != NULL) {
        check_no_pin(&uri->pin, uri->shown);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_auto_error error = NULL;
    hm_pkcs11_uri *uri = NULL;
    char *text = hm_strndup((const char *)data, size);
    if (text == NULL) {
        return 0;
    }
    hm_status status = hm_pkcs11_uri_parse(text, &uri, &error);
    FUZZ_CHECK(status == HM_OK || status == HM_USAGE);
    FUZZ_CHECK((status == HM_OK) == (uri != NULL));
    fuzz_outcome(status, &error);
    if (uri != NULL) {
        check_uri(uri);
    }
    hm_pkcs11_uri_free(&uri);
    free(text);
    return 0;
}
