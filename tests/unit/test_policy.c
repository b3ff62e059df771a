/* SPDX-License-Identifier: Apache-2.0 */
/* The YAML reader, and patterns against names and paths. */
#include "base/yaml.h"
#include "trust/trust.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- reading -------------------------------------------------------------------------------- */

static hm_yaml_doc *must_parse(const char *text) {
    hm_yaml_doc *doc = NULL;
    hm_auto_error error = NULL;
    if (hm_yaml_parse(hm_bytes_text(text), "f", &doc, &error) != HM_OK) {
        fail_msg("%s: %s", text, hm_error_message(error));
    }
    return doc;
}

static void must_fail(hm_bytes text, const char *why) {
    hm_auto_yaml doc = NULL;
    hm_auto_error error = NULL;
    assert_int_equal(hm_yaml_parse(text, "f", &doc, &error), HM_UNDECIDED);
    assert_null(doc);
    if (strstr(hm_error_message(error), why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", hm_error_message(error), why);
    }
}

static void nodes_have_places(void **state) {
    (void)state;
    hm_auto_yaml doc = must_parse("a: 1\nb:\n  - x\n  - {c: \"y\"}\n");
    hm_yaml *root = hm_yaml_root(doc);
    assert_int_equal(root->type, HM_YAML_MAPPING);
    assert_int_equal(root->count, 2);
    hm_yaml *b = hm_yaml_take(root, "b");
    assert_int_equal(b->type, HM_YAML_LIST);
    assert_int_equal(b->name_line, 2);
    hm_yaml *x = b->first;
    assert_int_equal(x->line, 3);
    assert_int_equal(x->column, 5);
    hm_yaml *c = hm_yaml_take(x->next, "c");
    assert_int_equal(c->line, 4);
    assert_int_equal(c->column, 9);
    assert_true(c->quoted && !x->quoted);
    assert_null(hm_yaml_take(root, "c"));
}

static void nothing_is_a_document(void **state) {
    (void)state;
    static const char *const texts[] = {"", "\n", "# comment\n", "%YAML 1.1\n"};
    for (size_t i = 0; i + 1 < COUNT(texts); i++) {
        hm_auto_yaml doc = must_parse(texts[i]);
        assert_null(hm_yaml_root(doc));
    }
    must_fail(hm_bytes_text(texts[3]), "f:");
}

static char *nested(size_t depth) {
    hm_buf text = {0};
    for (size_t i = 0; i < depth; i++) {
        hm_buf_add_byte(&text, '[');
    }
    hm_buf_add_byte(&text, 'x');
    for (size_t i = 0; i < depth; i++) {
        hm_buf_add_byte(&text, ']');
    }
    return hm_buf_steal_text(&text);
}

static void limits_hold_at_and_above(void **state) {
    (void)state;
    hm_auto_free char *fits = nested(HM_YAML_DEPTH);
    hm_auto_free char *too_deep = nested(HM_YAML_DEPTH + 1);
    hm_auto_yaml doc = must_parse(fits);
    assert_non_null(hm_yaml_root(doc));
    must_fail(hm_bytes_text(too_deep), "f:1:17: nested too deep");
    hm_auto_free char *large = hm_alloc(HM_YAML_FILE_LIMIT + 1, 1);
    memset(large, '\n', HM_YAML_FILE_LIMIT + 1);
    must_fail(hm_bytes_of(large, HM_YAML_FILE_LIMIT + 1), "larger than 1048576 bytes");
    hm_auto_yaml empty = NULL;
    assert_int_equal(hm_yaml_parse(hm_bytes_of(large, HM_YAML_FILE_LIMIT), "f", &empty, NULL),
                     HM_OK);
}

static void many_values(size_t count, hm_buf *text) {
    hm_buf_add_text(text, "[");
    for (size_t i = 0; i < count; i++) {
        hm_buf_add_text(text, "x,");
    }
    hm_buf_add_text(text, "]");
}

static void values_are_counted(void **state) {
    (void)state;
    hm_auto_buf fits = {0};
    hm_auto_buf too_many = {0};
    hm_auto_yaml doc = NULL;
    many_values(HM_YAML_NODE_LIMIT - 1, &fits); /* and the list itself */
    many_values(HM_YAML_NODE_LIMIT, &too_many);
    assert_int_equal(hm_yaml_parse(hm_buf_view(&fits), "f", &doc, NULL), HM_OK);
    must_fail(hm_buf_view(&too_many), "holds too many values");
}

/* ---- types ---------------------------------------------------------------------------------- */

static hm_status text_of(const char *yaml) {
    const char *text = NULL;
    hm_auto_yaml doc = must_parse(yaml);
    hm_status status = hm_yaml_text(hm_yaml_root(doc), &text, NULL);
    assert_true((status == HM_OK) == (text != NULL));
    return status;
}

static void plain_words_of_two_meanings_are_no_texts(void **state) {
    (void)state;
    static const char *const good[] = {"a",    "'yes'",    "\"1\"", "1a",
                                       "v1.0", "a.b",      "12:3x", "nope",
                                       "'~'",  "|\n  yes", "-a",    "2026-01-05T"};
    static const char *const bad[] = {"yes",    "No",   "on",        "OFF",  "y",    "true",
                                      "FALSE",  "null", "~",         "''",   "1",    "-1",
                                      "1.5",    "1e3",  ".5",        ".inf", ".NaN", "0x1f",
                                      "0o17",   "0b11", "1_000",     "1:30", "+1",   "[a]",
                                      "{a: b}", "1.",   "2026-01-05"};
    for (size_t i = 0; i < COUNT(good); i++) {
        if (text_of(good[i]) != HM_OK) {
            fail_msg("%s is a text", good[i]);
        }
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (text_of(bad[i]) == HM_OK) {
            fail_msg("%s is no text", bad[i]);
        }
    }
}

static void integers_are_exact(void **state) {
    (void)state;
    static const struct {
        const char *yaml;
        bool good;
        uint64_t number;
    } cases[] = {
        {"0", true, 0},
        {"7", true, 7},
        {"9007199254740992", true, 1ULL << 53},
        {"9007199254740993", false, 0},
        {"18446744073709551617", false, 0},
        {"01", false, 0},
        {"-1", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"\"1\"", false, 0},
        {"0x1", false, 0},
        {"1_0", false, 0},
        {"+1", false, 0},
        {"", false, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t number = 99;
        hm_auto_free char *text = hm_textf("a: %s", cases[i].yaml);
        hm_auto_yaml doc = must_parse(text);
        hm_status status = hm_yaml_integer(hm_yaml_take(hm_yaml_root(doc), "a"), &number, NULL);
        assert_int_equal(status == HM_OK, cases[i].good);
        assert_int_equal(number, cases[i].good ? cases[i].number : 99);
    }
}

static void truth_has_two_words(void **state) {
    (void)state;
    static const char *const bad[] = {"yes", "True", "1", "'true'", "~", "[true]"};
    bool truth = false;
    hm_auto_yaml doc = must_parse("true");
    assert_int_equal(hm_yaml_bool(hm_yaml_root(doc), &truth, NULL), HM_OK);
    assert_true(truth);
    for (size_t i = 0; i < COUNT(bad); i++) {
        hm_auto_yaml other = must_parse(bad[i]);
        assert_int_equal(hm_yaml_bool(hm_yaml_root(other), &truth, NULL), HM_UNDECIDED);
    }
}

static void a_day_begins_and_ends(void **state) {
    (void)state;
    int64_t time = 0;
    hm_auto_yaml doc = must_parse("2026-01-01");
    assert_int_equal(hm_yaml_time(hm_yaml_root(doc), false, &time, NULL), HM_OK);
    assert_int_equal(time, 1767225600);
    assert_int_equal(hm_yaml_time(hm_yaml_root(doc), true, &time, NULL), HM_OK);
    assert_int_equal(time, 1767225600 + 86399);
}

/* ---- patterns ------------------------------------------------------------------------------- */

static void names_fit(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool fits;
    } cases[] = {
        {"a", "a", true},
        {"a", "b", false},
        {"a", "", false},
        {"*", "", true},
        {"*", "abc", true},
        {"a*", "a", true},
        {"*a*b*", "xaxbx", true},
        {"*a*b*", "xbxax", false},
        {"a*b*c", "abbbc", true},
        {"a*bc", "abcbc", true},
        {"a*bc", "abcb", false},
        {"?", "\xc3\xa8", true},
        {"??", "\xc3\xa8", false},
        {"[a-c]", "b", true},
        {"[a-c]", "d", false},
        {"[!a-c]", "d", true},
        {"[!a-c]", "b", false},
        {"[a-]", "-", true},
        {"[-a]", "-", true},
        {"[*]", "*", true},
        {"[*]", "x", false},
        {"]", "]", true},
        {"*", "a/b", false},
        {"a?b", "a\nb", false},
        {"*", "\x7f", false},
        {"*", "\xff", false},
        {"*", "\xe2\x80\xae", false},
        {"[!a]", "\x1b", false},
        {"{a,b}", "a", false},
        {"a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_null(hm_pattern_fault(cases[i].pattern, false));
        if (hm_pattern_match_name(cases[i].pattern, cases[i].name) != cases[i].fits) {
            fail_msg("%s and %s", cases[i].pattern, cases[i].name);
        }
    }
}

static void paths_fit(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *path;
        bool fits;
    } cases[] = {
        {"/a", "/a", true},
        {"/a", "/a/b", false},
        {"/a", "/", false},
        {"/*", "/a", true},
        {"/*", "/a/b", false},
        {"/*", "/", false},
        {"/**", "/a/b/c", true},
        {"/**", "/", false},
        {"/a/**", "/a", false},
        {"/a/**", "/a/b", true},
        {"/a/**", "/ab/c", false},
        {"/a/**/b", "/a/b", true},
        {"/a/**/b", "/a/x/y/b", true},
        {"/a/**/b", "/a/x/y/bb", false},
        {"/**/b/**", "/b", false},
        {"/**/b/**", "/b/c", true},
        {"/**/b/**", "/a/b/c/d", true},
        {"/**/**", "/a", true},
        {"/**/a/**/a", "/a", false},
        {"/**/a/**/a", "/a/x/a", true},
        {"/a*/b", "/a/x/b", false},
        {"/a/*/c", "/a/c", false},
        {"/a?b", "/a/b", false},
        {"/**", "/a\n/b", false},
        {"/**", "/\xff", false},
        {"/**", "a", false},
        {"/a/**/m", "/a/m/x", false},
        {"/**/x", "/x/y", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_null(hm_pattern_fault(cases[i].pattern, true));
        if (hm_pattern_match_path(cases[i].pattern, cases[i].path) != cases[i].fits) {
            fail_msg("%s and %s", cases[i].pattern, cases[i].path);
        }
    }
}

/* ---- loaded policies ------------------------------------------------------------------------ */

static void nothing_is_added_to_a_loaded_policy(void **state) {
    (void)state;
    HM_CLEANUP(hm_policy_free) hm_policy *policy = NULL;
    char *text = NULL;
    static const char file[] = "version: 1\nmodels: []\n";
    assert_int_equal(hm_policy_parse(hm_bytes_text(file), "p", &policy, NULL), HM_OK);
    assert_int_equal(hm_policy_add_key(policy, "x", NULL), HM_USAGE);
    assert_int_equal(hm_policy_add_root(policy, "x", NULL), HM_USAGE);
    assert_int_equal(hm_policy_require_identity(policy, HM_IDENTITY_SAN, "x", NULL), HM_USAGE);
    assert_int_equal(hm_policy_allow(policy, HM_ALLOW_SYMLINKS, NULL), HM_USAGE);
    assert_int_equal(hm_policy_require_format(policy, "oms", NULL), HM_OK);
    assert_int_equal(hm_policy_set_time(policy, 5, NULL), HM_OK);
    assert_int_equal(hm_policy_describe(policy, 1, &text, NULL), HM_USAGE);
    assert_int_equal(hm_policy_explain(policy, NULL, NULL, 0, &text, NULL), HM_USAGE);
    assert_int_equal(hm_policy_load(NULL, &policy, NULL), HM_USAGE);
}

static void a_made_policy_has_no_file(void **state) {
    (void)state;
    HM_CLEANUP(hm_policy_free) hm_policy *policy = NULL;
    char *text = NULL;
    assert_int_equal(hm_policy_new(&policy, NULL), HM_OK);
    assert_int_equal(hm_policy_describe(policy, 0, &text, NULL), HM_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_have_places),
        cmocka_unit_test(nothing_is_a_document),
        cmocka_unit_test(limits_hold_at_and_above),
        cmocka_unit_test(values_are_counted),
        cmocka_unit_test(plain_words_of_two_meanings_are_no_texts),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(truth_has_two_words),
        cmocka_unit_test(a_day_begins_and_ends),
        cmocka_unit_test(names_fit),
        cmocka_unit_test(paths_fit),
        cmocka_unit_test(nothing_is_added_to_a_loaded_policy),
        cmocka_unit_test(a_made_policy_has_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
