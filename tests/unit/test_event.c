/* SPDX-License-Identifier: Apache-2.0 */
/* Events: their words, their one spelling, and what is refused. */
#include "record/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ID "000102030405060708090a0b0c0d0e0f"
#define HEAD "{\"schema\":\"hallmark-event-v1\",\"id\":\"" ID "\","
#define LEAST HEAD "\"event\":\"signed\",\"time\":\"2026-01-05T20:31:07Z\""

#define OTHER_SCHEMA                                                                               \
    "{\"schema\":\"hallmark-event-v2\",\"id\":\"" ID                                               \
    "\",\"event\":\"signed\",\"time\":\"2026-01-05T20:31:07Z\"}"
#define SHORT_ID                                                                                   \
    "{\"schema\":\"hallmark-event-v1\",\"id\":\"00\",\"event\":\"signed\","                        \
    "\"time\":\"2026-01-05T20:31:07Z\"}"

static void test_words(void **state) {
    static const char *const expected[] = {"signed",      "verified",     "refused",
                                           "undecided",   "let-through",  "deployed",
                                           "repaired",    "activated",    "rolled-back",
                                           "deactivated", "quarantined",  "released",
                                           "purged",      "removed",      "key-rotated",
                                           "key-revoked", "alert-failed", "loaded"};
    (void)state;
    assert_int_equal(HM_EVENT_KIND_COUNT - 1, sizeof expected / sizeof expected[0]);
    for (int i = 1; i < HM_EVENT_KIND_COUNT; i++) {
        hm_event_kind kind = HM_EVENT_KIND_COUNT;
        assert_string_equal(hm_event_word((hm_event_kind)i), expected[i - 1]);
        assert_true(hm_event_from_word(hm_bytes_text(expected[i - 1]), &kind));
        assert_int_equal(kind, i);
    }
    assert_string_equal(hm_event_word((hm_event_kind)0), "");
    assert_string_equal(hm_event_word(HM_EVENT_KIND_COUNT), "");
    assert_false(hm_event_from_word(hm_bytes_text("Signed"), &(hm_event_kind){0}));
    assert_false(hm_event_from_word(hm_bytes_text(""), &(hm_event_kind){0}));
}

static void test_init_says_who_and_where(void **state) {
    hm_auto_event one = {.host = NULL}, other = {.host = NULL};
    hm_auto_error error = NULL;
    char host[256] = "";
    (void)state;
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    setenv("HALLMARK_TIME", "1767645067", 1);
    assert_int_equal(hm_event_init(&one, HM_EVENT_SIGNED, &error), HM_OK);
    assert_int_equal(hm_event_init(&other, HM_EVENT_REFUSED, &error), HM_OK);
    assert_int_equal(one.time, 1767645067);
    assert_string_equal(one.host, host);
    assert_true(one.user[0] != '\0');
    assert_int_equal(strlen(one.id), 32);
    assert_string_not_equal(one.id, other.id);
    hm_auto_event never = {.host = NULL};
    setenv("HALLMARK_TIME", "tomorrow", 1);
    assert_int_equal(hm_event_init(&never, HM_EVENT_SIGNED, &error), HM_UNDECIDED);
    unsetenv("HALLMARK_TIME");
}

static void test_written_as_documented(void **state) {
    hm_event event = {.kind = HM_EVENT_REFUSED, .id = ID, .time = 1767645067};
    hm_auto_buf out = {.data = NULL};
    hm_auto_error error = NULL;
    (void)state;
    event.host = (char *)(uintptr_t) "gpu-7";
    event.model = (char *)(uintptr_t) "r\xc3\xa9s\"\n\xff";
    event.key_version = 3;
    event.reason = HM_REASON_DIGEST_MISMATCH;
    event.quarantine = (char *)(uintptr_t) "q";
    hm_buf_add_text(&out, "before ");
    assert_int_equal(hm_event_write(&event, &out, &error), HM_OK);
    assert_string_equal((const char *)out.data,
                        "before " HEAD "\"event\":\"refused\",\"time\":\"2026-01-05T20:31:07Z\","
                        "\"host\":\"gpu-7\",\"model\":\"r\\u00e9s\\\"\\n\\ufffd\","
                        "\"key_version\":3,\"reason\":\"digest-mismatch\",\"quarantine\":\"q\"}");
}

static void test_unfit_events_are_not_written(void **state) {
    static const hm_event unfit[] = {
        {.kind = HM_EVENT_SIGNED, .id = ID, .time = -1},
        {.kind = HM_EVENT_SIGNED, .id = ID, .time = INT64_C(253402300800)},
        {.kind = HM_EVENT_SIGNED, .id = "0", .time = 1},
        {.kind = HM_EVENT_SIGNED, .id = "", .time = 1},
        {.kind = (hm_event_kind)0, .id = ID, .time = 1},
        {.kind = HM_EVENT_KIND_COUNT, .id = ID, .time = 1},
        {.kind = HM_EVENT_SIGNED, .id = ID, .time = 1, .key_version = (UINT64_C(1) << 53)},
    };
    (void)state;
    for (size_t i = 0; i < sizeof unfit / sizeof unfit[0]; i++) {
        hm_auto_buf out = {.data = NULL};
        hm_auto_error error = NULL;
        assert_int_equal(hm_event_write(&unfit[i], &out, &error), HM_USAGE);
    }
}

/* Whatever a path or a message is, the event can be recorded, and read again. */
static void test_long_texts_are_cut(void **state) {
    static const struct {
        const char *unit;
        size_t count;
        bool cut;
    } cases[] = {{"x", 4096, false}, {"x", 4097, true},     {"\n", 2048, false},
                 {"\n", 2049, true}, {"\x01", 20000, true}, {"\xf0\x9f\x98\x80", 9999, true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        hm_auto_buf text = {.data = NULL}, out = {.data = NULL};
        hm_auto_error error = NULL;
        hm_auto_event again = {.host = NULL};
        for (size_t j = 0; j < cases[i].count; j++) {
            hm_buf_add_text(&text, cases[i].unit);
        }
        char *same = (char *)text.data;
        hm_event event = {.kind = HM_EVENT_SIGNED, .id = ID, .host = same, .user = same};
        event.store = event.model = event.source = event.digest = event.previous = same;
        event.signer = event.fingerprint = event.message = event.quarantine = same;
        assert_int_equal(hm_event_write(&event, &out, &error), HM_OK);
        assert_true(out.length <= HM_EVENT_LIMIT);
        assert_int_equal(hm_event_parse(hm_buf_view(&out), &again, &error), HM_OK);
        assert_int_equal(strcmp(again.model, same) != 0, cases[i].cut);
        assert_int_equal(strstr(again.model, "\xe2\x80\xa6") != NULL, cases[i].cut);
        assert_int_equal(strncmp(again.model, same, 500), 0);
    }
}

static void test_read_as_written(void **state) {
    static const char json[] =
        LEAST ",\"host\":\"h\",\"user\":\"u\",\"store\":\"s\",\"model\":\"m\",\"source\":\"o\","
              "\"digest\":\"d\",\"previous\":\"p\",\"signer\":\"i\",\"fingerprint\":\"f\","
              "\"key_version\":9007199254740991,\"reason\":\"rollback\",\"message\":\"w\","
              "\"quarantine\":\"q\"}";
    hm_auto_event event = {.host = NULL};
    hm_auto_error error = NULL;
    (void)state;
    assert_int_equal(hm_event_parse(hm_bytes_text(json), &event, &error), HM_OK);
    assert_int_equal(event.kind, HM_EVENT_SIGNED);
    assert_string_equal(event.id, ID);
    assert_int_equal(event.time, 1767645067);
    assert_string_equal(event.host, "h");
    assert_string_equal(event.user, "u");
    assert_string_equal(event.store, "s");
    assert_string_equal(event.model, "m");
    assert_string_equal(event.source, "o");
    assert_string_equal(event.digest, "d");
    assert_string_equal(event.previous, "p");
    assert_string_equal(event.signer, "i");
    assert_string_equal(event.fingerprint, "f");
    assert_int_equal(event.key_version, (UINT64_C(1) << 53) - 1);
    assert_int_equal(event.reason, HM_REASON_ROLLBACK);
    assert_string_equal(event.message, "w");
    assert_string_equal(event.quarantine, "q");
}

static void test_anything_else_is_refused(void **state) {
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        LEAST,
        LEAST "} ",
        LEAST "}\n",
        " " LEAST "}",
        LEAST ", \"host\":\"h\"}",
        LEAST ",\"host\":null}",
        LEAST ",\"host\":7}",
        LEAST ",\"host\":\"\\u0068\"}",
        LEAST ",\"host\":\"a\\u0000b\"}",
        LEAST ",\"host\":\"\xc3\xa9\"}",
        LEAST ",\"user\":\"u\",\"host\":\"h\"}",
        LEAST ",\"host\":\"h\",\"host\":\"h\"}",
        LEAST ",\"other\":\"h\"}",
        LEAST ",\"key_version\":0}",
        LEAST ",\"key_version\":1.0}",
        LEAST ",\"key_version\":9007199254740992}",
        LEAST ",\"reason\":\"\"}",
        LEAST ",\"reason\":\"because\"}",
        HEAD "\"event\":\"signed\",\"time\":null}",
        HEAD "\"event\":\"signed\",\"time\":\"2026-01-05\"}",
        HEAD "\"event\":\"\",\"time\":\"2026-01-05T20:31:07Z\"}",
        HEAD "\"time\":\"2026-01-05T20:31:07Z\",\"event\":\"signed\"}",
        OTHER_SCHEMA,
        SHORT_ID,
    };
    hm_auto_event good = {.host = NULL};
    (void)state;
    assert_int_equal(hm_event_parse(hm_bytes_text(LEAST "}"), &good, NULL), HM_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        hm_auto_event event = {.host = NULL};
        hm_auto_error error = NULL;
        assert_int_equal(hm_event_parse(hm_bytes_text(bad[i]), &event, &error), HM_REFUSED);
        assert_int_equal(hm_error_reason(error), HM_REASON_MALFORMED);
        assert_null(event.host);
    }
}

static void test_too_large(void **state) {
    hm_auto_buf text = {.data = NULL};
    hm_auto_event event = {.host = NULL};
    hm_auto_error error = NULL;
    (void)state;
    hm_buf_add_text(&text, LEAST ",\"host\":\"");
    while (text.length < HM_EVENT_LIMIT) {
        hm_buf_add_byte(&text, 'x');
    }
    hm_buf_add_text(&text, "\"}");
    assert_int_equal(hm_event_parse(hm_buf_view(&text), &event, &error), HM_REFUSED);
    assert_non_null(strstr(hm_error_message(error), "too large"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_init_says_who_and_where),
        cmocka_unit_test(test_written_as_documented),
        cmocka_unit_test(test_unfit_events_are_not_written),
        cmocka_unit_test(test_long_texts_are_cut),
        cmocka_unit_test(test_read_as_written),
        cmocka_unit_test(test_anything_else_is_refused),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
