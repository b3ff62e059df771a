/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A literal with its length, so that it may hold a NUL. */
#define TEXT(literal)                                                                              \
    { (const uint8_t *)(literal), sizeof(literal) - 1 }
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void add_times(hm_buf *buf, const char *text, size_t times) {
    for (size_t i = 0; i < times; i++) {
        hm_buf_add_text(buf, text);
    }
}

/* ---- what is refused ------------------------------------------------------------------------ */

static const struct {
    hm_bytes text;
    const char *why;
} refusals[] = {
    /* Around the document. */
    {TEXT(""), "byte 0: the text ends where a value must stand"},
    {TEXT(" \n"), "byte 2: the text ends where a value must stand"},
    {TEXT("\xef\xbb\xbf{}"), "byte 0: a byte order mark stands in front"},
    {TEXT("\xff\xfe{\0}\0"), "byte 0: a value must stand here"},
    {TEXT("1 2"), "byte 2: text behind the document"},
    {TEXT("{}}"), "byte 2: text behind the document"},
    {TEXT("1\0"), "byte 1: text behind the document"},
    {TEXT("nullx"), "byte 4: text behind the document"},
    {TEXT("// c\n1"), "byte 0: a value must stand here"},
    {TEXT("/* c */1"), "byte 0: a value must stand here"},
    {TEXT("\v1"), "byte 0: a value must stand here"},
    {TEXT("\xc2\xa0"
          "1"),
     "byte 0: a value must stand here"},
    /* Words. */
    {TEXT("nul"), "byte 0: a value must stand here"},
    {TEXT("True"), "byte 0: a value must stand here"},
    {TEXT("None"), "byte 0: JSON has no NaN and no Infinity"},
    {TEXT("NaN"), "byte 0: JSON has no NaN and no Infinity"},
    {TEXT("[Infinity]"), "byte 1: JSON has no NaN and no Infinity"},
    {TEXT("-Infinity"), "byte 1: a digit must stand here"},
    {TEXT("nan"), "byte 0: a value must stand here"},
    /* Numbers. */
    {TEXT("01"), "byte 2: a number begins with a zero too many"},
    {TEXT("-00"), "byte 3: a number begins with a zero too many"},
    {TEXT("-"), "byte 1: a digit must stand here"},
    {TEXT("--1"), "byte 1: a digit must stand here"},
    {TEXT("+1"), "byte 0: a value must stand here"},
    {TEXT(".5"), "byte 0: a value must stand here"},
    {TEXT("1."), "byte 2: a digit must follow the decimal point"},
    {TEXT("1.e1"), "byte 2: a digit must follow the decimal point"},
    {TEXT("1e"), "byte 2: a digit must stand in the exponent"},
    {TEXT("1e+"), "byte 3: a digit must stand in the exponent"},
    {TEXT("1e+-1"), "byte 3: a digit must stand in the exponent"},
    {TEXT("0x10"), "byte 1: text behind the document"},
    {TEXT("1_000"), "byte 1: text behind the document"},
    {TEXT("1e400"), "byte 0: a number out of range"},
    {TEXT("[-1e400]"), "byte 1: a number out of range"},
    {TEXT("1.7976931348623159e308"), "byte 0: a number out of range"},
    /* Strings. */
    {TEXT("\"a"), "byte 2: the text ends inside a string"},
    {TEXT("\"a\\\""), "byte 4: the text ends inside a string"},
    {TEXT("'a'"), "byte 0: a value must stand here"},
    {TEXT("\"a\nb\""), "byte 2: a control character inside a string"},
    {TEXT("\"\0\""), "byte 1: a control character inside a string"},
    {TEXT("\"\x1f\""), "byte 1: a control character inside a string"},
    {TEXT("\"\\x41\""), "byte 2: not an escape that JSON has"},
    {TEXT("\"\\U0041\""), "byte 2: not an escape that JSON has"},
    {TEXT("\"\\\0\""), "byte 2: not an escape that JSON has"},
    {TEXT("\"\\"), "byte 2: not an escape that JSON has"},
    {TEXT("\"\\u12\""), "byte 5: four hex digits must follow \\\\u"},
    {TEXT("\"\\u12g4\""), "byte 5: four hex digits must follow \\\\u"},
    {TEXT("\"\\u+123\""), "byte 3: four hex digits must follow \\\\u"},
    {TEXT("\"\\ud800\""), "byte 3: a surrogate stands alone"},
    {TEXT("\"\\ud800\\n\""), "byte 3: a surrogate stands alone"},
    {TEXT("\"\\ud800\\u0041\""), "byte 3: a surrogate stands alone"},
    {TEXT("\"\\ud83d\\ud83d\\ude00\""), "byte 3: a surrogate stands alone"},
    {TEXT("\"\\udc00\""), "byte 3: a surrogate stands alone"},
    {TEXT("\"\\ud800\\u12\""), "byte 11: four hex digits must follow \\\\u"},
    /* UTF-8: alone, cut off, overlong, a surrogate, beyond U+10FFFF, Latin-1. */
    {TEXT("\"\x80\""), "byte 1: not valid UTF-8"},
    {TEXT("\"a\xc3\""), "byte 2: not valid UTF-8"},
    {TEXT("\"\xe2\x82"), "byte 1: not valid UTF-8"},
    {TEXT("\"\xc0\xaf\""), "byte 1: not valid UTF-8"},
    {TEXT("\"\xed\xa0\x80\""), "byte 1: not valid UTF-8"},
    {TEXT("\"\xf4\x90\x80\x80\""), "byte 1: not valid UTF-8"},
    {TEXT("\"\xfc\""), "byte 1: not valid UTF-8"},
    {TEXT("{\"\xe9\":1}"), "byte 2: not valid UTF-8"},
    /* Arrays and objects. */
    {TEXT("["), "byte 1: the text ends where a value must stand"},
    {TEXT("]"), "byte 0: a value must stand here"},
    {TEXT("[1"), "byte 2: a comma or ']' must stand here"},
    {TEXT("[1,]"), "byte 3: a value must stand here"},
    {TEXT("[,1]"), "byte 1: a value must stand here"},
    {TEXT("[1 2]"), "byte 3: a comma or ']' must stand here"},
    {TEXT("[1}"), "byte 2: a comma or ']' must stand here"},
    {TEXT("{"), "byte 1: a member's name in quotes must stand here"},
    {TEXT("{\"a\":1,}"), "byte 7: a member's name in quotes must stand here"},
    {TEXT("{,}"), "byte 1: a member's name in quotes must stand here"},
    {TEXT("{a:1}"), "byte 1: a member's name in quotes must stand here"},
    {TEXT("{1:2}"), "byte 1: a member's name in quotes must stand here"},
    {TEXT("{\"a\"}"), "byte 4: a colon must follow a member's name"},
    {TEXT("{\"a\":}"), "byte 5: a value must stand here"},
    {TEXT("{\"a\":1 \"b\":2}"), "byte 7: a comma or '}' must stand here"},
    {TEXT("{\"a\":1]"), "byte 6: a comma or '}' must stand here"},
    /* Twins, also when spelled differently, nested, empty, or with a NUL. */
    {TEXT("{\"a\":1,\"a\":1}"), "byte 12: an object that ends here has the member \"a\" twice"},
    {TEXT("{\"a\":1,\"b\":2,\"\\u0061\":3}"),
     "byte 23: an object that ends here has the member \"a\" twice"},
    {TEXT("[{\"x\":{\"\":1,\"\":2}}]"),
     "byte 16: an object that ends here has the member \"\" twice"},
    {TEXT("{\"a\\u0000b\":1,\"a\\u0000b\":2}"),
     "byte 26: an object that ends here has the member \"a\" twice"},
};

static void assert_refused(hm_bytes text, const char *why) {
    hm_json_doc *doc = NULL;
    hm_error *error = NULL;
    hm_auto_free char *message = hm_textf("text: %s", why);
    assert_int_equal(hm_json_parse(text, "text", &doc, &error), HM_REFUSED);
    assert_null(doc);
    assert_int_equal(hm_error_status(error), HM_REFUSED);
    assert_int_equal(hm_error_reason(error), HM_REASON_MALFORMED);
    assert_string_equal(hm_error_message(error), message);
    hm_error_free(&error);
}

/* In memory of exactly its size, so that valgrind or ASan sees a step beyond the end. */
static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(refusals); i++) {
        hm_bytes text = refusals[i].text;
        hm_auto_free uint8_t *exact = malloc(text.length > 0 ? text.length : 1);
        assert_non_null(exact);
        memcpy(exact, text.data, text.length);
        assert_refused(hm_bytes_of(exact, text.length), refusals[i].why);
    }
}

static hm_json_doc *parse(const char *text) {
    hm_json_doc *doc = NULL;
    hm_error *error = NULL;
    hm_status status = hm_json_parse(hm_bytes_text(text), "text", &doc, &error);
    if (status != HM_OK) {
        fail_msg("%s", hm_error_message(error));
    }
    assert_null(error);
    return doc;
}

static void test_depth(void **state) {
    (void)state;
    for (size_t depth = HM_JSON_DEPTH; depth <= HM_JSON_DEPTH + 1; depth++) {
        hm_auto_buf text = {0};
        add_times(&text, "{\"\":[", depth / 2);
        add_times(&text, "[", depth % 2);
        add_times(&text, "]", depth % 2);
        add_times(&text, "]}", depth / 2);
        if (depth > HM_JSON_DEPTH) {
            assert_refused(hm_buf_view(&text), "byte 320: nested too deep");
        } else {
            hm_auto_json doc = parse((const char *)text.data);
            assert_int_equal(hm_json_root(doc)->count, 1);
        }
    }
    hm_auto_buf text = {0};
    add_times(&text, "[", 10000);
    assert_refused(hm_buf_view(&text), "byte 128: nested too deep");
}

static void test_digits(void **state) {
    (void)state;
    hm_auto_buf text = {0};
    hm_buf_add_text(&text, "-");
    add_times(&text, "7", HM_JSON_MAX_DIGITS);
    hm_auto_json doc = parse((const char *)text.data);
    assert_true(hm_bytes_equal(hm_json_root(doc)->text, hm_buf_view(&text)));
    add_times(&text, "7", 1);
    assert_refused(hm_buf_view(&text), "byte 0: an integer with too many digits");
}

static void test_value_limit(void **state) {
    (void)state;
    hm_auto_buf text = {0};
    hm_buf_add_text(&text, "[0");
    add_times(&text, ",0", HM_JSON_MAX_NODES - 2);
    hm_buf_add_text(&text, "]");
    {
        hm_auto_json doc = parse((const char *)text.data);
        assert_int_equal(hm_json_root(doc)->count, HM_JSON_MAX_NODES - 1);
    }
    text.length--;
    hm_buf_add_text(&text, ",0]");
    assert_refused(hm_buf_view(&text), "byte 4194303: more values than a document may have");
}

/* One pair of twins among many members; pair by pair this would take minutes. */
static void test_many_members(void **state) {
    (void)state;
    enum { MEMBERS = 300000 };
    hm_auto_buf text = {0};
    hm_buf_add_byte(&text, '{');
    for (unsigned i = 0; i < MEMBERS; i++) {
        hm_buf_add_format(&text, "\"%u\":0,", i * 7919U % MEMBERS);
    }
    size_t length = text.length;
    hm_buf_add_text(&text, "\"x\":1}");
    {
        hm_auto_json doc = parse((const char *)text.data);
        assert_int_equal(hm_json_root(doc)->count, MEMBERS + 1);
    }
    text.length = length;
    hm_buf_add_text(&text, "\"0\":1}");
    hm_auto_free char *why =
        hm_textf("byte %zu: an object that ends here has the member \"0\" twice", text.length - 1);
    assert_refused(hm_buf_view(&text), why);
}

static void test_long_twin(void **state) {
    (void)state;
    hm_auto_buf name = {0};
    add_times(&name, "n", 100);
    hm_auto_free char *text = hm_textf("{\"%s\":1,\"%s\":2}", (char *)name.data, (char *)name.data);
    hm_auto_free char *why =
        hm_textf("byte 210: an object that ends here has the member \"%.64s\" twice",
                 (char *)name.data);
    assert_refused(hm_bytes_text(text), why);
}

/* ---- what is read --------------------------------------------------------------------------- */

static const struct {
    const char *text;
    hm_bytes value;
} strings[] = {
    {"\"\"", TEXT("")},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", TEXT("\"\\/\b\f\n\r\t")},
    {"\"\\u0000x\"", TEXT("\0x")},
    {"\"\\u007F\\u0080\\u07ff\\u0800\"", TEXT("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80")},
    {"\"\\uFFFF\\ud83D\\uDe00\\udbff\\udfff\"",
     TEXT("\xef\xbf\xbf\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf")},
    {"\"\x7f\xc3\xa9\xf0\x9f\x98\x80 a\"", TEXT("\x7f\xc3\xa9\xf0\x9f\x98\x80 a")},
};

static void test_strings(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(strings); i++) {
        hm_auto_json doc = parse(strings[i].text);
        const hm_json *root = hm_json_root(doc);
        assert_int_equal(root->type, HM_JSON_STRING);
        assert_true(hm_bytes_equal(root->text, strings[i].value));
        assert_int_equal(root->text.data[root->text.length], 0);
    }
}

static void test_structure(void **state) {
    (void)state;
    hm_auto_json doc = parse("\t{\"b\" : [1.50, -0 ,true,false,null],\r\n\"a\\u0000\":{} } ");
    hm_json *root = hm_json_root(doc);
    assert_int_equal(root->type, HM_JSON_OBJECT);
    assert_int_equal(root->count, 2);
    const hm_json *array = hm_json_get(root, "b");
    assert_ptr_equal(array, root->first);
    assert_int_equal(array->type, HM_JSON_ARRAY);
    assert_int_equal(array->count, 5);
    const hm_json *element = array->first;
    assert_true(hm_bytes_equal_text(element->text, "1.50"));
    assert_int_equal(element->text.data[4], 0);
    element = element->next;
    assert_true(hm_bytes_equal_text(element->text, "-0"));
    element = element->next;
    assert_true(element->type == HM_JSON_BOOL && element->truth);
    element = element->next;
    assert_true(element->type == HM_JSON_BOOL && !element->truth);
    element = element->next;
    assert_int_equal(element->type, HM_JSON_NULL);
    assert_null(element->next);
    /* A NUL in a name does not end it. */
    assert_null(hm_json_get(root, "a"));
    assert_int_equal(root->first->next->name.length, 2);
    assert_int_equal(root->first->next->type, HM_JSON_OBJECT);
    assert_null(hm_json_get(array, ""));
}

static const struct {
    const char *text;
    bool integral;
    uint64_t number;
} integers[] = {
    {"0", true, 0},
    {"0.0", true, 0},
    {"0e99999999999999999999", true, 0},
    {"8", true, 8},
    {"8.0", true, 8},
    {"80e-1", true, 8},
    {"1e9", true, 1000000000},
    {"1E+9", true, 1000000000},
    {"1000000000.0", true, 1000000000},
    {"1.5e1", true, 15},
    {"0.008e3", true, 8},
    {"0.0000000000000000000000000000000000001e37", true, 1},
    {"1000000000000000000000000000000e-30", true, 1},
    {"10.00000000000000000000000000000000", true, 10},
    {"9007199254740992", true, UINT64_C(9007199254740992)},
    {"9007199254740992.0", true, UINT64_C(9007199254740992)},
    {"9007199254740993", false, 0},
    {"9007199254740993.0", false, 0},
    {"9007199254740992.1", false, 0},
    {"90071992547409920", false, 0},
    {"18446744073709551617", false, 0},
    {"1e16", false, 0},
    {"1e300", false, 0},
    {"0.5", false, 0},
    {"8e-1", false, 0},
    {"0.99999999999999999999999999", false, 0},
    {"1.00000000000000000000000001", false, 0},
    {"1e-400", false, 0},
    {"1e-99999999999999999999", false, 0},
    {"-1", false, 0},
    {"-0", false, 0},
    {"\"8\"", false, 0},
    {"true", false, 0},
    {"[8]", false, 0},
};

static void test_integers(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(integers); i++) {
        hm_auto_json doc = parse(integers[i].text);
        uint64_t number = 77;
        if (hm_json_integer(hm_json_root(doc), &number) != integers[i].integral) {
            fail_msg("%s", integers[i].text);
        }
        assert_int_equal(number, integers[i].integral ? integers[i].number : 77);
    }
}

/* ---- taking members ------------------------------------------------------------------------- */

static void assert_malformed(hm_status status, hm_error **error, const char *message) {
    assert_int_equal(status, HM_REFUSED);
    assert_int_equal(hm_error_status(*error), HM_REFUSED);
    assert_int_equal(hm_error_reason(*error), HM_REASON_MALFORMED);
    assert_string_equal(hm_error_message(*error), message);
    hm_error_free(error);
}

static void test_take(void **state) {
    (void)state;
    hm_auto_json doc = parse("{\"n\":1,\"s\":\"x\",\"o\":{}}");
    hm_json *root = hm_json_root(doc);
    hm_json *member = NULL;
    hm_bytes text = {0};
    hm_error *error = NULL;
    assert_int_equal(hm_json_take(root, "thing", "n", HM_JSON_NUMBER, &member, &error), HM_OK);
    assert_ptr_equal(member, root->first);
    assert_int_equal(hm_json_take_text(root, "thing", "s", &text, &error), HM_OK);
    assert_true(hm_bytes_equal_text(text, "x"));
    assert_malformed(hm_json_refuse_rest(root, "thing", &error), &error,
                     "thing: \"o\" is not a member that belongs there");
    assert_null(hm_json_take_any(root, "absent"));
    assert_non_null(hm_json_take_any(root, "o"));
    assert_int_equal(hm_json_refuse_rest(root, "thing", &error), HM_OK);
    assert_null(error);
}

static void test_take_refusals(void **state) {
    (void)state;
    hm_auto_json doc = parse("{\"n\":1,\"s\":\"x\",\"o\":{},\"a\":[],\"b\":true,\"z\":null}");
    hm_json *root = hm_json_root(doc);
    hm_json *member = NULL;
    hm_bytes text = {0};
    hm_error *error = NULL;
    assert_malformed(hm_json_take(root, "it", "q", HM_JSON_NUMBER, &member, &error), &error,
                     "it: \"q\" is missing");
    assert_malformed(hm_json_take(root, "it", "o", HM_JSON_ARRAY, &member, &error), &error,
                     "it: \"o\" must be an array, not an object");
    assert_malformed(hm_json_take(root, "it", "a", HM_JSON_OBJECT, &member, &error), &error,
                     "it: \"a\" must be an object, not an array");
    assert_malformed(hm_json_take(root, "it", "s", HM_JSON_BOOL, &member, &error), &error,
                     "it: \"s\" must be true or false, not a string");
    assert_malformed(hm_json_take(root, "it", "b", HM_JSON_NULL, &member, &error), &error,
                     "it: \"b\" must be null, not true or false");
    assert_malformed(hm_json_take_text(root, "it", "n", &text, &error), &error,
                     "it: \"n\" must be a string, not a number");
    assert_malformed(hm_json_take_text(root, "it", "z", &text, &error), &error,
                     "it: \"z\" must be a string, not null");
    hm_json *array = hm_json_get(root, "a");
    assert_malformed(hm_json_take_text(array, "it", "n", &text, &error), &error,
                     "it must be an object, not an array");
    assert_null(member);
    assert_null(text.data);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void write_sample(hm_json_writer *w) {
    const uint8_t bytes[] = {0xab, 0x01};
    hm_json_begin_object(w);
    hm_json_member(w, "text", "a\"b");
    hm_json_member_number(w, "number", UINT64_MAX);
    hm_json_member_bool(w, "truth", true);
    hm_json_member_hex(w, "hex", bytes, sizeof(bytes));
    hm_json_name(w, "empty");
    hm_json_begin_array(w);
    hm_json_end_array(w);
    hm_json_name(w, "list");
    hm_json_begin_array(w);
    hm_json_null(w);
    hm_json_begin_object(w);
    hm_json_end_object(w);
    hm_json_end_array(w);
    hm_json_end_object(w);
}

static void test_write(void **state) {
    (void)state;
    hm_auto_buf line = {0};
    hm_auto_buf lines = {0};
    hm_json_writer compact = {.out = &line};
    hm_json_writer indented = {.out = &lines, .indent = 2};
    write_sample(&compact);
    write_sample(&indented);
    assert_string_equal((char *)line.data,
                        "{\"text\":\"a\\\"b\",\"number\":18446744073709551615,\"truth\":true,"
                        "\"hex\":\"ab01\",\"empty\":[],\"list\":[null,{}]}");
    assert_string_equal((char *)lines.data, "{\n"
                                            "  \"text\": \"a\\\"b\",\n"
                                            "  \"number\": 18446744073709551615,\n"
                                            "  \"truth\": true,\n"
                                            "  \"hex\": \"ab01\",\n"
                                            "  \"empty\": [],\n"
                                            "  \"list\": [\n"
                                            "    null,\n"
                                            "    {}\n"
                                            "  ]\n"
                                            "}");
}

static const struct {
    hm_bytes text;
    const char *ascii;
    const char *utf8;
} quotes[] = {
    {TEXT(""), "\"\"", "\"\""},
    {TEXT("a/b"), "\"a/b\"", "\"a/b\""},
    {TEXT("\"\\\b\f\n\r\t"), "\"\\\"\\\\\\b\\f\\n\\r\\t\"", "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
    {TEXT("\0\x1f\x7f"), "\"\\u0000\\u001f\\u007f\"", "\"\\u0000\\u001f\\u007f\""},
    {TEXT("x\xc3\xa9y"), "\"x\\u00e9y\"", "\"x\xc3\xa9y\""},
    {TEXT("\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf"), "\"\\ud83d\\ude00\\udbff\\udfff\"",
     "\"\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\""},
    /* Not UTF-8: one replacement for each byte. */
    {TEXT("a\xff\xe2\x82"), "\"a\\ufffd\\ufffd\\ufffd\"",
     "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
};

static void test_quote(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(quotes); i++) {
        hm_auto_buf ascii = {0};
        hm_auto_buf utf8 = {0};
        hm_json_quote(&ascii, quotes[i].text, true);
        hm_json_quote(&utf8, quotes[i].text, false);
        assert_string_equal((char *)ascii.data, quotes[i].ascii);
        assert_string_equal((char *)utf8.data, quotes[i].utf8);
    }
}

static void test_copy(void **state) {
    (void)state;
    static const char text[] = "{\"z\":[1.50,-0,1E5,\"\\n\",[],{}],\"a\\u0000\":null,\"\":true,"
                               "\"b\":{\"c\":false}}";
    hm_auto_json doc = parse(text);
    hm_auto_buf out = {0};
    hm_json_writer w = {.out = &out};
    hm_json_copy(&w, hm_json_root(doc));
    assert_string_equal((char *)out.data, text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_depth),
        cmocka_unit_test(test_digits),        cmocka_unit_test(test_value_limit),
        cmocka_unit_test(test_many_members),  cmocka_unit_test(test_long_twin),
        cmocka_unit_test(test_strings),       cmocka_unit_test(test_structure),
        cmocka_unit_test(test_integers),      cmocka_unit_test(test_take),
        cmocka_unit_test(test_take_refusals), cmocka_unit_test(test_write),
        cmocka_unit_test(test_quote),         cmocka_unit_test(test_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
