/* SPDX-License-Identifier: Apache-2.0 */
/* What key services are told and what they answer, as far as no server is needed for it. */
#include "key/aws.h"
#include "key/azure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include <openssl/ec.h>

/* ---- Signature Version 4 -------------------------------------------------------------------- */

/* Requests, keys and signatures of the published examples and test suite of AWS. */
typedef struct sigv4_case {
    const char *name;
    const char *method;
    const char *query;
    const char *service;
    const char *headers[HM_AWS_HEADERS][2];
    const char *body;
    const char *token;
    const char *signature;
} sigv4_case;

static const sigv4_case sigv4_cases[] = {
    {"get-vanilla",
     "GET",
     "",
     "service",
     {{"host", "example.amazonaws.com"}, {"x-amz-date", "20150830T123600Z"}},
     "",
     NULL,
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"headers in another order",
     "GET",
     "",
     "service",
     {{"x-amz-date", "20150830T123600Z"}, {"host", "example.amazonaws.com"}},
     "",
     NULL,
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"post-vanilla",
     "POST",
     "",
     "service",
     {{"host", "example.amazonaws.com"}, {"x-amz-date", "20150830T123600Z"}},
     "",
     NULL,
     "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
    {"post-x-www-form-urlencoded",
     "POST",
     "",
     "service",
     {{"content-type", "application/x-www-form-urlencoded"},
      {"host", "example.amazonaws.com"},
      {"x-amz-date", "20150830T123600Z"}},
     "Param1=value1",
     NULL,
     "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
    {"iam ListUsers",
     "GET",
     "Action=ListUsers&Version=2010-05-08",
     "iam",
     {{"content-type", "application/x-www-form-urlencoded; charset=utf-8"},
      {"host", "iam.amazonaws.com"},
      {"x-amz-date", "20150830T123600Z"}},
     "",
     NULL,
     "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
    {"post-sts-header-before",
     "POST",
     "",
     "service",
     {{"host", "example.amazonaws.com"}, {"x-amz-date", "20150830T123600Z"}},
     "",
     "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPf"
     "IeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7W"
     "Z0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8F"
     "DrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==",
     "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
};

static void check_sigv4(const sigv4_case *c) {
    HM_CLEANUP(hm_aws_credentials_free) hm_aws_credentials credentials = {.source = "here"};
    hm_auto_buf value = {.data = NULL};
    hm_auto_error error = NULL;
    hm_aws_call call = {
        .method = c->method,
        .path = "/",
        .query = c->query,
        .region = "us-east-1",
        .service = c->service,
        .time = 1440938160, /* 2015-08-30 12:36:00 */
        .headers = c->headers,
        .body = hm_bytes_text(c->body),
    };
    while (call.header_count < HM_AWS_HEADERS && c->headers[call.header_count][0] != NULL) {
        call.header_count++;
    }
    hm_buf_add_text(&credentials.id, "AKIDEXAMPLE");
    hm_buf_add_text(&credentials.secret, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    hm_buf_add_text(&credentials.token, c->token != NULL ? c->token : "");
    assert_int_equal(hm_aws_sigv4(&call, &credentials, &value, &error), HM_OK);
    const char *found = strstr((const char *)value.data, "Signature=");
    if (found == NULL || strcmp(found + strlen("Signature="), c->signature) != 0) {
        print_error("%s: %s\n", c->name, (const char *)value.data);
        fail();
    }
}

static void test_sigv4(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof sigv4_cases / sizeof sigv4_cases[0]; i++) {
        check_sigv4(&sigv4_cases[i]);
    }
}

static void test_aws_date(void **state) {
    char text[17];
    (void)state;
    assert_true(hm_aws_date(1440938160, text));
    assert_string_equal(text, "20150830T123600Z");
    assert_false(hm_aws_date(-1, text));
    assert_false(hm_aws_date(INT64_MAX, text));
}

/* ---- the shared files ----------------------------------------------------------------------- */

static hm_status parse(const char *text, bool config, const char *name, hm_aws_profile *profile,
                       hm_error **error) {
    return hm_aws_profile_parse(hm_bytes_text(text), "file", config, name, profile, error);
}

static void test_profile(void **state) {
    static const char text[] = "# top\r\n[default]\r\nregion = eu-west-1 ; near\r\n"
                               "aws_access_key_id=A#B\r\naws_secret_access_key = s=\r\n"
                               "s3 =\r\n  aws_access_key_id = nested\r\n"
                               "[profile two]\nregion=x\n[two]\nregion=y\n";
    HM_CLEANUP(hm_aws_profile_free) hm_aws_profile found = {.region = NULL};
    HM_CLEANUP(hm_aws_profile_free) hm_aws_profile two = {.region = NULL};
    HM_CLEANUP(hm_aws_profile_free) hm_aws_profile other = {.region = NULL};
    hm_auto_error error = NULL;
    (void)state;
    assert_int_equal(parse(text, false, "default", &found, &error), HM_OK);
    assert_true(hm_bytes_equal_text(hm_buf_view(&found.id), "A#B"));
    assert_true(hm_bytes_equal_text(hm_buf_view(&found.secret), "s="));
    assert_string_equal(found.region, "eu-west-1");
    assert_int_equal(parse(text, true, "two", &two, &error), HM_OK);
    assert_string_equal(two.region, "x");
    assert_int_equal(parse(text, false, "two", &other, &error), HM_OK);
    assert_string_equal(other.region, "y");
    /* What the first file says stays: no id of one and secret of the other. */
    assert_int_equal(parse("[default]\naws_access_key_id=C\nregion=z\n", true, "default", &found,
                           &error),
                     HM_OK);
    assert_true(hm_bytes_equal_text(hm_buf_view(&found.id), "A#B"));
    assert_string_equal(found.region, "eu-west-1");
}

static void test_profile_refused(void **state) {
    static const char *const texts[] = {"[default]\nsecret\n", "[default\n", "=x\n", "["};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        HM_CLEANUP(hm_aws_profile_free) hm_aws_profile found = {.region = NULL};
        hm_auto_error error = NULL;
        assert_int_equal(parse(texts[i], false, "default", &found, &error), HM_UNDECIDED);
        assert_non_null(strstr(hm_error_message(error), "line"));
        assert_null(strstr(hm_error_message(error), "secret"));
    }
}

/* ---- answers -------------------------------------------------------------------------------- */

static void test_sts(void **state) {
    static const char good[] =
        "<R><AccessKeyId>outside</AccessKeyId><Credentials><AccessKeyId>ASIA</AccessKeyId>"
        "<SecretAccessKey>s/+=</SecretAccessKey><SessionToken>t</SessionToken></Credentials></R>";
    static const char *const bad[] = {
        "",
        "<Credentials>",
        "<Credentials></Credentials>",
        "<Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>b</SecretAccessKey>"
        "</Credentials><SessionToken>t</SessionToken>",
        "<Credentials><AccessKeyId>a<b</AccessKeyId><SecretAccessKey>b</SecretAccessKey>"
        "<SessionToken>t</SessionToken></Credentials>",
        "<Credentials><AccessKeyId>a&amp;</AccessKeyId><SecretAccessKey>b</SecretAccessKey>"
        "<SessionToken>t</SessionToken></Credentials>",
        "<Credentials><AccessKeyId>a\nb</AccessKeyId><SecretAccessKey>b</SecretAccessKey>"
        "<SessionToken>t</SessionToken></Credentials>",
    };
    HM_CLEANUP(hm_aws_credentials_free) hm_aws_credentials found = {.source = NULL};
    (void)state;
    assert_int_equal(hm_aws_sts_parse(hm_bytes_text(good), &found, NULL), HM_OK);
    assert_true(hm_bytes_equal_text(hm_buf_view(&found.id), "ASIA"));
    assert_true(hm_bytes_equal_text(hm_buf_view(&found.secret), "s/+="));
    assert_true(hm_bytes_equal_text(hm_buf_view(&found.token), "t"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        HM_CLEANUP(hm_aws_credentials_free) hm_aws_credentials none = {.source = NULL};
        assert_int_equal(hm_aws_sts_parse(hm_bytes_text(bad[i]), &none, NULL), HM_UNDECIDED);
    }
}

/* Leading zeros go, and one comes where the first bit is set (X.690, 8.3). */
static void test_ecdsa_raw(void **state) {
    static const uint8_t raw[8] = {0x00, 0x00, 0x80, 0x01, 0x00, 0x00, 0x00, 0x7f};
    static const uint8_t der[] = {0x30, 0x08, 0x02, 0x03, 0x00, 0x80, 0x01, 0x02, 0x01, 0x7f};
    static const uint8_t long_one[2 * 67] = {1};
    hm_auto_buf found = {.data = NULL};
    (void)state;
    assert_int_equal(hm_ecdsa_der_from_raw(hm_bytes_of(raw, sizeof raw), &found, NULL), HM_OK);
    assert_true(hm_bytes_equal(hm_buf_view(&found), hm_bytes_of(der, sizeof der)));
    assert_int_equal(hm_ecdsa_der_from_raw(hm_bytes_of(raw, 7), &found, NULL), HM_UNDECIDED);
    assert_int_equal(hm_ecdsa_der_from_raw(hm_bytes_of(raw, 0), &found, NULL), HM_UNDECIDED);
    assert_int_equal(hm_ecdsa_der_from_raw(hm_bytes_of(long_one, sizeof long_one), &found, NULL),
                     HM_UNDECIDED);
    assert_int_equal(hm_ecdsa_der_from_raw(hm_bytes_of(long_one, 2 * 66), &found, NULL), HM_OK);
}

/* ---- what is said and sent ------------------------------------------------------------------ */

static void test_headers(void **state) {
    hm_auto_headers headers = {.count = 0};
    (void)state;
    assert_int_equal(hm_remote_add_header(&headers, "A", hm_bytes_text("b c"), NULL), HM_OK);
    assert_string_equal(headers.list[0], "A: b c");
    for (const char *end = "\r\n"; *end != '\0'; end++) {
        const uint8_t value[] = {'b', (uint8_t)*end, 'X'};
        assert_int_equal(hm_remote_add_header(&headers, "A", hm_bytes_of(value, 3), NULL),
                         HM_UNDECIDED);
    }
    assert_int_equal(hm_remote_add_header(&headers, "A", hm_bytes_of("b", 2), NULL), HM_UNDECIDED);
    for (int i = 1; i < 8; i++) {
        assert_int_equal(hm_remote_add_header(&headers, "A", hm_bytes_text(""), NULL), HM_OK);
    }
    assert_int_equal(hm_remote_add_header(&headers, "A", hm_bytes_text(""), NULL), HM_UNDECIDED);
    assert_null(headers.list[8]);
}

static void test_failures_keep_secrets(void **state) {
    const hm_bytes secret = hm_bytes_text("secret-of-mine");
    hm_remote_failure failure = {.service = "S", .action = "act", .status = 400};
    hm_auto_error plain = NULL;
    hm_auto_error hidden = NULL;
    (void)state;
    failure.code = hm_bytes_text("Bad Code");
    failure.message = hm_bytes_text("first\nsecond");
    assert_int_equal(hm_remote_fail(&failure, &secret, 1, &plain), HM_UNDECIDED);
    assert_string_equal(hm_error_message(plain), "S did not act: HTTP 400: first");
    failure.code = hm_bytes_text("secret-of-mine");
    failure.message = hm_bytes_text("first\nsecret-of-mine");
    assert_int_equal(hm_remote_fail(&failure, &secret, 1, &hidden), HM_UNDECIDED);
    assert_null(strstr(hm_error_message(hidden), "first"));
    assert_null(strstr(hm_error_message(hidden), "secret-of"));
}

static void test_escaping(void **state) {
    hm_auto_buf text = {.data = NULL};
    (void)state;
    hm_http_add_escaped(&text, "aZ9-._~ /&%=+\xc3\xa9");
    assert_true(hm_bytes_equal_text(hm_buf_view(&text), "aZ9-._~%20%2F%26%25%3D%2B%C3%A9"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sigv4),    cmocka_unit_test(test_aws_date),
        cmocka_unit_test(test_profile),  cmocka_unit_test(test_profile_refused),
        cmocka_unit_test(test_sts),      cmocka_unit_test(test_ecdsa_raw),
        cmocka_unit_test(test_headers),  cmocka_unit_test(test_failures_keep_secrets),
        cmocka_unit_test(test_escaping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
