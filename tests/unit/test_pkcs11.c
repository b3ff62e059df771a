/* SPDX-License-Identifier: Apache-2.0 */
/* PKCS#11 URIs: what is read out of them, and what is refused without a word of a PIN. */
#include "key/pkcs11.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define SECRET "s3cret-p1n"

static hm_pkcs11_uri *parse(const char *text) {
    hm_pkcs11_uri *uri = NULL;
    hm_error *error = NULL;
    hm_status status = hm_pkcs11_uri_parse(text, &uri, &error);
    assert_string_equal(hm_error_message(error), "");
    assert_int_equal(status, HM_OK);
    assert_non_null(uri);
    return uri;
}

static void expect_refused(const char *text, const char *said) {
    hm_pkcs11_uri *uri = NULL;
    hm_error *error = NULL;
    assert_int_equal(hm_pkcs11_uri_parse(text, &uri, &error), HM_USAGE);
    assert_null(uri);
    if (strstr(hm_error_message(error), said) == NULL) {
        fail_msg("\"%s\" is not in \"%s\", of %s", said, hm_error_message(error), text);
    }
    assert_null(strstr(hm_error_message(error), SECRET));
    assert_null(strstr(hm_error_hint(error), SECRET));
    assert_string_not_equal(hm_error_hint(error), "");
    hm_error_free(&error);
}

static void expect_attribute(const hm_pkcs11_uri *uri, CK_ATTRIBUTE_TYPE type, const void *value,
                             size_t length) {
    const CK_ATTRIBUTE *found = p11_kit_uri_get_attribute(uri->object, type);
    assert_non_null(found);
    assert_int_equal(found->ulValueLen, length);
    assert_memory_equal(found->pValue, value, length);
}

static void test_everything(void **state) {
    (void)state;
    hm_pkcs11_uri *uri = parse("pkcs11:token=My%20Token;object=a%3bb;id=%00%ff;type=private;"
                               "slot-id=7?module-path=/a%20b.so&pin-source=file:///run/p%26n");
    expect_attribute(uri, CKA_LABEL, "a;b", 3);
    expect_attribute(uri, CKA_ID, "\x00\xff", 2);
    assert_int_equal(p11_kit_uri_get_slot_id(uri->object), 7);
    assert_string_equal(uri->module_path, "/a b.so");
    assert_null(uri->module_name);
    assert_string_equal(uri->pin_source, "/run/p&n");
    assert_null(uri->pin.data);
    assert_string_equal(uri->shown,
                        "pkcs11:token=My%20Token;object=a%3bb;id=%00%ff;type=private;slot-id=7");
    hm_pkcs11_uri_free(&uri);
    assert_null(uri);
}

static void test_pin(void **state) {
    (void)state;
    hm_pkcs11_uri *uri = parse("PKCS11:object=x?module-name=m&pin-value=%73"
                               "3cret-p1n%2b+");
    assert_int_equal(uri->pin.length, strlen(SECRET "++"));
    assert_memory_equal(uri->pin.data, SECRET "++", uri->pin.length);
    assert_string_equal(uri->module_name, "m");
    assert_string_equal(uri->shown, "pkcs11:object=x");
    char *formatted = NULL;
    assert_int_equal(p11_kit_uri_format(uri->object, P11_KIT_URI_FOR_ANY, &formatted), 0);
    assert_null(strstr(formatted, "p1n"));
    free(formatted);
    hm_pkcs11_uri_free(&uri);
}

static void test_pin_sources(void **state) {
    static const char *const same[] = {"file:/p", "file:///p", "/p", "%2fp", "file%3a/p"};
    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        char *text = hm_textf("pkcs11:?pin-source=%s", same[i]);
        hm_pkcs11_uri *uri = parse(text);
        assert_string_equal(uri->pin_source, "/p");
        hm_pkcs11_uri_free(&uri);
        free(text);
    }
    expect_refused("pkcs11:?pin-source=|" SECRET, "no file:/PATH");
    expect_refused("pkcs11:?pin-source=%7c" SECRET, "no file:/PATH");
    expect_refused("pkcs11:?pin-source=file:" SECRET, "no file:/PATH");
    expect_refused("pkcs11:?pin-source=file://" SECRET "/p", "no file:/PATH");
    expect_refused("pkcs11:?pin-source=https://h/" SECRET, "no file:/PATH");
    expect_refused("pkcs11:?pin-source=", "no file:/PATH");
}

static void test_nothing_named(void **state) {
    (void)state;
    hm_pkcs11_uri *uri = parse("pkcs11:");
    assert_string_equal(uri->shown, "pkcs11:");
    assert_null(p11_kit_uri_get_attribute(uri->object, CKA_LABEL));
    hm_pkcs11_uri_free(&uri);
}

static void test_refused(void **state) {
    static const struct {
        const char *text;
        const char *said;
    } cases[] = {
        {"pkcs1:object=x", "begin with"},
        {"pkcs11:object", "without \"=\""},
        {"pkcs11:=x", "not known"},
        {"pkcs11:object=x;;id=%01", "without \"=\""},
        {"pkcs11:object=x;", "ends in a separator"},
        {"pkcs11:object=x?module-path=/m&", "ends in a separator"},
        {"pkcs11:object=x?", "ends in \"?\""},
        {"pkcs11:object=", "without a value"},
        {"pkcs11:object=x;object=x", "\"object\" twice"},
        {"pkcs11:?pin-value=a&pin-value=" SECRET, "\"pin-value\" twice"},
        {"pkcs11:Object=x", "not known"},
        {"pkcs11:objekt=x", "\"objekt\", which is not known"},
        {"pkcs11:module-path=/x", "\"module-path\" before the \"?\""},
        {"pkcs11:pin-value=" SECRET, "\"pin-value\" before the \"?\""},
        {"pkcs11:?object=x", "\"object\", which is not known"},
        {"pkcs11:?" SECRET, "without \"=\""},
        {"pkcs11:?" SECRET "=x", "an attribute that is not known"},
        {"pkcs11:?pin=" SECRET, "\"pin\", which is not known"},
        {"pkcs11:object=x&pin-value=" SECRET, "inside another"},
        {"pkcs11:object=x?module-path=/m?PIN-value=" SECRET, "inside another"},
        {"pkcs11:object=x?module-name=m;pin-value=" SECRET, "inside another"},
        {"pkcs11:object=a b", "a space or control"},
        {"pkcs11:object=a\x7f", "a space or control"},
        {"pkcs11:?pin-value=" SECRET "\n", "a space or control"},
        {"pkcs11:?pin-value=" SECRET "%", "hexadecimal"},
        {"pkcs11:?pin-value=" SECRET "%4", "hexadecimal"},
        {"pkcs11:?pin-value=" SECRET "%4g", "hexadecimal"},
        {"pkcs11:?pin-value=%00" SECRET, "hexadecimal"},
        {"pkcs11:?pin-value=", "empty"},
        {"pkcs11:?module-name=", "empty"},
        {"pkcs11:?module-path=m.so", "begin with \"/\""},
        {"pkcs11:?module-path=", "begin with \"/\""},
        {"pkcs11:?module-path=/m&module-name=m", "both"},
        {"pkcs11:?pin-value=" SECRET "&pin-source=/x", "both"},
        {"pkcs11:type=key", "cannot be"},
        {"pkcs11:id=%0", "cannot be read"},
        {"pkcs11:slot-id=x", "cannot be read"},
        {"pkcs11:library-version=x", "cannot be read"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_refused(cases[i].text, cases[i].said);
    }
}

static void test_length(void **state) {
    (void)state;
    char *text = malloc(HM_KEY_FILE_LIMIT + 64);
    assert_non_null(text);
    memset(text, 'x', HM_KEY_FILE_LIMIT + 64);
    memcpy(text, "pkcs11:object=", 14);
    text[7 + HM_KEY_FILE_LIMIT] = '\0';
    hm_pkcs11_uri *uri = parse(text);
    hm_pkcs11_uri_free(&uri);
    text[7 + HM_KEY_FILE_LIMIT] = 'x';
    text[8 + HM_KEY_FILE_LIMIT] = '\0';
    expect_refused(text, "too long");
    free(text);
}

static void test_types(void **state) {
    (void)state;
    hm_error *error = NULL;
    hm_pkcs11_uri *uri = parse("pkcs11:object=x;type=public");
    assert_int_equal(hm_pkcs11_uri_check_type(uri, CKO_PUBLIC_KEY, CKO_PRIVATE_KEY, "k", NULL),
                     HM_OK);
    assert_int_equal(hm_pkcs11_uri_check_type(uri, CKO_PRIVATE_KEY, CKO_PRIVATE_KEY, "a key",
                                              &error),
                     HM_USAGE);
    assert_non_null(strstr(hm_error_message(error), "a key"));
    hm_error_free(&error);
    hm_pkcs11_uri_free(&uri);
    uri = parse("pkcs11:object=x");
    assert_int_equal(hm_pkcs11_uri_check_type(uri, CKO_PRIVATE_KEY, CKO_PRIVATE_KEY, "k", NULL),
                     HM_OK);
    hm_pkcs11_uri_free(&uri);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything),  cmocka_unit_test(test_pin),
        cmocka_unit_test(test_pin_sources), cmocka_unit_test(test_nothing_named),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_length),
        cmocka_unit_test(test_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
