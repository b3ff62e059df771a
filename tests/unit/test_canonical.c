/* SPDX-License-Identifier: Apache-2.0 */
#include "format/format.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What Python's json.dumps(json.loads(text), sort_keys=True) gives. */
typedef struct pair {
    const char *text;
    const char *python;
} pair;

static const pair structures[] = {
    {"null", "null"},
    {" true ", "true"},
    {"false", "false"},
    {"[ ]", "[]"},
    {"\t{\r\n}\n", "{}"},
    {"[[[]],[{}]]", "[[[]], [{}]]"},
    {"[3,1,2]", "[3, 1, 2]"},
    {"[1,2.0,\"3\",null,true]", "[1, 2.0, \"3\", null, true]"},
    {"{\"b\":1,\"a\":2}", "{\"a\": 2, \"b\": 1}"},
    {"{\"x\":{\"d\":[{\"2\":0,\"1\":0}],\"c\":1},\"w\":{}}",
     "{\"w\": {}, \"x\": {\"c\": 1, \"d\": [{\"1\": 0, \"2\": 0}]}}"},
    /* Names are text, not numbers; a shorter one comes before those it begins. */
    {"{\"10\":1,\"9\":2,\"1\":3}", "{\"1\": 3, \"10\": 1, \"9\": 2}"},
    {"{\"ab\":1,\"a\":2,\"\":3,\"a\\u0000\":4}", "{\"\": 3, \"a\": 2, \"a\\u0000\": 4, \"ab\": 1}"},
    {"{\"~\":4,\" \":2,\"Z\":1,\"a\":0,\"!\":3}",
     "{\" \": 2, \"!\": 3, \"Z\": 1, \"a\": 0, \"~\": 4}"},
    {"{\"\\u00e9\":1,\"f\":3,\"e\":2}", "{\"e\": 2, \"f\": 3, \"\\u00e9\": 1}"},
    /* By code point: UTF-16 would put the last two the other way round. */
    {"{\"\\ud800\\udc00\":1,\"\\uffff\":2,\"\\ue000\":3}",
     "{\"\\ue000\": 3, \"\\uffff\": 2, \"\\ud800\\udc00\": 1}"},
};

static const pair strings[] = {
    {"\"\"", "\"\""},
    {"\"\\u0041\"", "\"A\""},
    {"\"\\/ /\"", "\"/ /\""},
    {"\"\\\"\\\\\"", "\"\\\"\\\\\""},
    {"\"\\b\\f\\n\\r\\t\"", "\"\\b\\f\\n\\r\\t\""},
    {"\"\\u0008\\u000C\\u000a\\u000d\\u0009\"", "\"\\b\\f\\n\\r\\t\""},
    {"\"\\u0000\\u000b\\u001f\"", "\"\\u0000\\u000b\\u001f\""},
    {"\"\x7f\"", "\"\\u007f\""},
    {"\"\\u00E9\xc3\xa9\"", "\"\\u00e9\\u00e9\""},
    /* No normalisation: e and a combining accent stay two. */
    {"\"e\xcc\x81\"", "\"e\\u0301\""},
    {"\"\\uD83D\\uDE00\xf0\x9f\x98\x80\"", "\"\\ud83d\\ude00\\ud83d\\ude00\""},
    {"\"\\u2028\\uffff\\ufeff\"", "\"\\u2028\\uffff\\ufeff\""},
    {"\"\\udbff\\udfff\"", "\"\\udbff\\udfff\""},
};

static const pair integers[] = {
    {"0", "0"},
    {"-0", "0"},
    {"-1", "-1"},
    {"10", "10"},
    {"9007199254740993", "9007199254740993"},
    {"9223372036854775808", "9223372036854775808"},
    {"-9223372036854775809", "-9223372036854775809"},
    {"18446744073709551616", "18446744073709551616"},
    {"100000000000000000000000000000000000000000", "100000000000000000000000000000000000000000"},
};

static const pair doubles[] = {
    {"0.0", "0.0"},
    {"-0.0", "-0.0"},
    {"0e5", "0.0"},
    {"-0e0", "-0.0"},
    {"0E-7", "0.0"},
    {"1.0", "1.0"},
    {"1e0", "1.0"},
    {"-1.10", "-1.1"},
    {"0.1", "0.1"},
    {"0.1000000000000000055511151231257827", "0.1"},
    {"0.30000000000000004", "0.30000000000000004"},
    {"4.35", "4.35"},
    {"12e-1", "1.2"},
    {"1E+5", "100000.0"},
    {"120.0e1", "1200.0"},
    {"3.14159265358979323846264338327950288", "3.141592653589793"},
    {"1.00000000000000011102230246251565", "1.0"},
    {"1.00000000000000011102230246251566", "1.0000000000000002"},
    /* Where the plain notation begins and ends. */
    {"0.0001", "0.0001"},
    {"0.000123456", "0.000123456"},
    {"0.00009999999999999999", "9.999999999999999e-05"},
    {"0.00001", "1e-05"},
    {"1.0e-7", "1e-07"},
    {"1e15", "1000000000000000.0"},
    {"1234567890123456.5", "1234567890123456.5"},
    {"9999999999999998.0", "9999999999999998.0"},
    {"1e16", "1e+16"},
    {"99999999999999990.0", "9.999999999999998e+16"},
    {"123456789012345680.0", "1.2345678901234568e+17"},
    {"100000000000000000000.0", "1e+20"},
    {"1e22", "1e+22"},
    {"1e23", "1e+23"},
    {"1.5e300", "1.5e+300"},
    {"-2.5e-100", "-2.5e-100"},
    /* The ends of the range. */
    {"1e308", "1e+308"},
    {"1.7976931348623157e308", "1.7976931348623157e+308"},
    {"1.7976931348623158e308", "1.7976931348623157e+308"},
    {"2.2250738585072014e-308", "2.2250738585072014e-308"},
    {"2.225073858507201e-308", "2.225073858507201e-308"},
    {"1.2345678901234e-310", "1.2345678901234e-310"},
    {"4.9e-324", "5e-324"},
    {"2.5e-324", "5e-324"},
    {"2.4e-324", "0.0"},
    {"-1e-400", "-0.0"},
    {"1e-99999999999999999999", "0.0"},
};

/* The powers of two whose closest decimal of as many digits reads back as another number. */
static const struct {
    int exponent;
    const char *python;
} powers[] = {
    {-1017, "7.120236347223045e-307"}, {-1007, "7.291122019556398e-304"},
    {-957, "8.209073602596753e-289"},  {-921, "5.641232424577593e-278"},
    {-808, "5.858190679279809e-244"},  {-791, "7.678447687145631e-239"},
    {-788, "6.142758149716505e-238"},  {-778, "6.290184345309701e-235"},
    {-705, "5.940911144672375e-213"},  {-695, "6.083493012144512e-210"},
    {-662, "5.225680706521042e-200"},  {-652, "5.351097043477547e-197"},
    {-549, "5.426657103235053e-166"},  {-509, "5.966672584960166e-154"},
    {-496, "4.887898181599368e-150"},  {-489, "6.256509672447191e-148"},
    {-383, "5.075883674631299e-116"},  {-366, "6.653062250012736e-111"},
    {-296, "7.854549544476363e-90"},   {-140, "7.174648137343064e-43"},
    {-97, "6.310887241768095e-30"},    {-77, "6.617444900424222e-24"},
    {-44, "5.684341886080802e-14"},    {-24, "5.960464477539063e-08"},
    {89, "6.189700196426902e+26"},     {122, "5.316911983139664e+36"},
    {132, "5.444517870735016e+39"},    {172, "5.986310706507379e+51"},
    {182, "6.129982163463556e+54"},    {275, "6.070840288205404e+82"},
    {305, "6.518515124270356e+91"},    {345, "7.167183174968974e+103"},
    {378, "6.156563468186638e+113"},   {398, "6.455624695217272e+119"},
    {405, "8.263199609878108e+121"},   {481, "6.243497100631985e+144"},
    {534, "5.623642243178996e+160"},   {544, "5.758609657015292e+163"},
    {554, "5.896816288783659e+166"},   {574, "6.183260036827614e+172"},
    {594, "6.483618076376552e+178"},   {710, "5.386379163185535e+213"},
    {803, "5.334411546303884e+241"},   {863, "6.150157786156811e+259"},
    {896, "5.282945311356653e+269"},   {976, "6.386688990511104e+293"},
};

static void canonical(const char *text, hm_buf *out) {
    hm_auto_json doc = NULL;
    hm_error *error = NULL;
    hm_status status = hm_json_parse(hm_bytes_text(text), "text", &doc, &error);
    if (status == HM_OK) {
        status = hm_canonical_json(hm_json_root(doc), out, &error);
    }
    if (status != HM_OK) {
        fail_msg("%s: %s", text, hm_error_message(error));
    }
    assert_null(error);
}

static void check_pairs(const pair *pairs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        hm_auto_buf out = {0};
        canonical(pairs[i].text, &out);
        assert_string_equal((char *)out.data, pairs[i].python);
        /* Its own output is a fixed point. */
        hm_auto_buf again = {0};
        canonical((const char *)out.data, &again);
        assert_string_equal((char *)again.data, pairs[i].python);
    }
}

static void test_structures(void **state) {
    (void)state;
    check_pairs(structures, COUNT(structures));
}

static void test_strings(void **state) {
    (void)state;
    check_pairs(strings, COUNT(strings));
}

static void test_numbers(void **state) {
    (void)state;
    check_pairs(integers, COUNT(integers));
    check_pairs(doubles, COUNT(doubles));
}

static void spell(double number, hm_buf *out) {
    char text[64];
    snprintf(text, sizeof(text), "%.17e", number);
    canonical(text, out);
}

static void test_odd_powers_of_two(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(powers); i++) {
        hm_auto_buf out = {0};
        spell(ldexp(1.0, powers[i].exponent), &out);
        assert_string_equal((char *)out.data, powers[i].python);
    }
}

static int digits_of(const char *text) {
    char kept[64];
    int count = 0;
    for (const char *p = text; *p != '\0' && *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9' && (*p != '0' || count > 0)) {
            kept[count++] = *p;
        }
    }
    while (count > 0 && kept[count - 1] == '0') {
        count--;
    }
    return count;
}

/* No decimal of `digits` digits next to `number` reads back as it. */
static void assert_no_decimal(double number, int digits) {
    char text[64];
    snprintf(text, sizeof(text), "%.*e", digits - 1, number);
    double unit = pow(10.0, floor(log10(number)) - (digits - 1));
    double near = strtod(text, NULL);
    assert_true(near != number);
    for (int step = -1; step <= 1; step += 2) {
        snprintf(text, sizeof(text), "%.*e", digits - 1, near + step * unit);
        assert_true(strtod(text, NULL) != number);
    }
}

static void check_shortest(double number) {
    hm_auto_buf out = {0};
    spell(number, &out);
    assert_true(strtod((const char *)out.data, NULL) == number);
    int digits = digits_of((const char *)out.data);
    assert_in_range(digits, 1, 17);
    if (digits > 1 && number > 1e-290 && number < 1e290) {
        assert_no_decimal(number, digits - 1);
    }
}

static void test_all_powers_of_two(void **state) {
    (void)state;
    for (int exponent = -1074; exponent <= 1023; exponent++) {
        double power = ldexp(1.0, exponent);
        check_shortest(power);
        check_shortest(nextafter(power, INFINITY));
        if (exponent > -1074) {
            check_shortest(nextafter(power, 0.0));
        }
    }
}

static void test_random_doubles(void **state) {
    (void)state;
    uint64_t bits = 88172645463325252U;
    for (int i = 0; i < 20000; i++) {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        double number;
        memcpy(&number, &bits, sizeof(number));
        if (isfinite(number)) {
            check_shortest(fabs(number));
        }
    }
}

/* The reader refuses these already; a value from elsewhere must not get past either. */
static void assert_refused_number(const char *token, const char *message) {
    hm_json value = {.type = HM_JSON_NUMBER, .text = hm_bytes_text(token)};
    hm_json array = {.type = HM_JSON_ARRAY, .count = 1, .first = &value};
    hm_auto_buf out = {0};
    hm_error *error = NULL;
    assert_int_equal(hm_canonical_json(&array, &out, &error), HM_REFUSED);
    assert_int_equal(hm_error_status(error), HM_REFUSED);
    assert_int_equal(hm_error_reason(error), HM_REASON_MALFORMED);
    assert_string_equal(hm_error_message(error), message);
    hm_error_free(&error);
}

static void test_refused_numbers(void **state) {
    (void)state;
    assert_refused_number("1e400", "the number 1e400 is out of range");
    assert_refused_number("-1.7976931348623159e308",
                          "the number -1.7976931348623159e308 is out of range");
    char *digits = malloc(HM_JSON_MAX_DIGITS + 3);
    assert_non_null(digits);
    memset(digits, '4', HM_JSON_MAX_DIGITS + 2);
    digits[0] = '-';
    digits[HM_JSON_MAX_DIGITS + 2] = '\0';
    assert_refused_number(digits, "the integer -444444444444444444444444444444444444444... has "
                                  "more than 4300 digits");
    digits[HM_JSON_MAX_DIGITS + 1] = '\0';
    hm_auto_buf out = {0};
    canonical(digits, &out);
    assert_string_equal((char *)out.data, digits);
    free(digits);
}

static void test_failed_buffer(void **state) {
    (void)state;
    hm_auto_json doc = NULL;
    hm_error *error = NULL;
    assert_int_equal(hm_json_parse(hm_bytes_text("[1]"), "text", &doc, &error), HM_OK);
    hm_auto_buf out = {.failed = true};
    assert_int_equal(hm_canonical_json(hm_json_root(doc), &out, &error), HM_UNDECIDED);
    assert_int_equal(hm_error_status(error), HM_UNDECIDED);
    hm_error_free(&error);
}

/* Elsewhere 0.5 is 0,5: nothing of it may get into what is signed. */
static void test_decimal_comma(void **state) {
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "ru_RU.UTF-8"};
    bool found = false;
    for (size_t i = 0; i < COUNT(names) && !found; i++) {
        found = setlocale(LC_ALL, names[i]) != NULL && *localeconv()->decimal_point == ',';
    }
    if (found) {
        check_pairs(doubles, COUNT(doubles));
    }
    setlocale(LC_ALL, "C");
    if (!found) {
        skip();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structures),        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_numbers),           cmocka_unit_test(test_odd_powers_of_two),
        cmocka_unit_test(test_all_powers_of_two), cmocka_unit_test(test_random_doubles),
        cmocka_unit_test(test_refused_numbers),   cmocka_unit_test(test_failed_buffer),
        cmocka_unit_test(test_decimal_comma),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
