/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Python makes of a JSON value: json.dumps(value, sort_keys=True). sig-json signs these bytes,
 * so one digit or space spelled otherwise is a signature that does not verify.
 */
#include "format/format.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOUBLE_DIGITS = 17 }; /* that tell any two doubles apart */

/* Digits D1 D2 D3... of the number D1.D2D3... times ten to the `exponent`. */
typedef struct decimal {
    char digits[DOUBLE_DIGITS + 1];
    int count;
    int exponent;
} decimal;

typedef struct printer {
    hm_buf *out;
    locale_t c_locale;
    hm_error **error;
} printer;

/* The decimal of `count` digits that is closest to `number`, which is finite and not negative. */
static decimal closest_decimal(double number, int count) {
    char text[48];
    snprintf(text, sizeof(text), "%.*e", count - 1, number);
    decimal found = {.count = 0};
    const char *p = text;
    /* Whatever is no digit is the decimal point of the locale. */
    for (; *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9' && found.count < DOUBLE_DIGITS) {
            found.digits[found.count++] = *p;
        }
    }
    found.exponent = (int)strtol(p + 1, NULL, 10);
    return found;
}

/* The next larger decimal of as many digits. */
static void step_up(decimal *number) {
    int i = number->count - 1;
    while (i >= 0 && number->digits[i] == '9') {
        number->digits[i--] = '0';
    }
    if (i >= 0) {
        number->digits[i]++;
    } else {
        number->digits[0] = '1';
        number->exponent++;
    }
}

/* Without a decimal point, strtod() reads the same in every locale. */
static bool reads_as(const decimal *text, double number) {
    char spelled[48];
    snprintf(spelled, sizeof(spelled), "%.*se%d", text->count, text->digits,
             text->exponent - text->count + 1);
    return strtod(spelled, NULL) == number;
}

/*
 * A decimal of `count` digits that reads back as `number`. The closest one need not do so while
 * the next does: at a power of two the gap below is half the gap above.
 */
static bool fits(double number, int count, decimal *found) {
    *found = closest_decimal(number, count);
    if (reads_as(found, number)) {
        return true;
    }
    step_up(found);
    return reads_as(found, number);
}

/*
 * With more digits it always fits too, so the least number of them can be searched by halves. A
 * decimal of up to DBL_DIG digits survives the way through a normal double, so that many digits
 * show any shorter one, with zeros behind it.
 */
static decimal shortest_decimal(double number) {
    decimal best = {.count = 0};
    int low = number < DBL_MIN ? 1 : DBL_DIG;
    int high = DOUBLE_DIGITS;
    while (low < high) {
        int middle = (low + high) / 2;
        decimal candidate;
        if (fits(number, middle, &candidate)) {
            best = candidate;
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if (high == DOUBLE_DIGITS) {
        best = closest_decimal(number, DOUBLE_DIGITS);
    }
    while (best.count > 1 && best.digits[best.count - 1] == '0') {
        best.count--;
    }
    return best;
}

static void add_zeros(hm_buf *out, int count) {
    for (int i = 0; i < count; i++) {
        hm_buf_add_byte(out, '0');
    }
}

static void add_digits(hm_buf *out, const decimal *number, int from, int to) {
    if (from < to) {
        hm_buf_add(out, number->digits + from, (size_t)(to - from));
    }
}

/* Python's repr(): plain from 1e-4 to below 1e16, always with a decimal point. */
static void add_double(hm_buf *out, double number) {
    if (signbit(number)) {
        hm_buf_add_byte(out, '-');
    }
    decimal d = shortest_decimal(fabs(number));
    int whole = d.exponent + 1; /* digits in front of the decimal point */
    if (d.exponent < -4 || d.exponent >= 16) {
        add_digits(out, &d, 0, 1);
        hm_buf_add_text(out, d.count > 1 ? "." : "");
        add_digits(out, &d, 1, d.count);
        hm_buf_add_format(out, "e%+03d", d.exponent);
    } else if (whole <= 0) {
        hm_buf_add_text(out, "0.");
        add_zeros(out, -whole);
        add_digits(out, &d, 0, d.count);
    } else if (whole >= d.count) {
        add_digits(out, &d, 0, d.count);
        add_zeros(out, whole - d.count);
        hm_buf_add_text(out, ".0");
    } else {
        add_digits(out, &d, 0, whole);
        hm_buf_add_byte(out, '.');
        add_digits(out, &d, whole, d.count);
    }
}

static hm_status print_number(const printer *p, hm_bytes token) {
    const char *text = (const char *)token.data;
    if (strpbrk(text, ".eE") != NULL) {
        double number = strtod_l(text, NULL, p->c_locale);
        if (!isfinite(number)) {
            return hm_fail(p->error, HM_REFUSED, HM_REASON_MALFORMED,
                           "the number %.40s is out of range", text);
        }
        add_double(p->out, number);
        return HM_OK;
    }
    if (token.length - (text[0] == '-') > HM_JSON_MAX_DIGITS) {
        return hm_fail(p->error, HM_REFUSED, HM_REASON_MALFORMED,
                       "the integer %.40s... has more than %d digits", text, HM_JSON_MAX_DIGITS);
    }
    hm_buf_add_text(p->out, strcmp(text, "-0") == 0 ? "0" : text);
    return HM_OK;
}

static hm_status print_value(const printer *p, const hm_json *value);

static hm_status print_array(const printer *p, const hm_json *array) {
    hm_buf_add_byte(p->out, '[');
    for (const hm_json *element = array->first; element != NULL; element = element->next) {
        hm_buf_add_text(p->out, element != array->first ? ", " : "");
        hm_status status = print_value(p, element);
        if (status != HM_OK) {
            return status;
        }
    }
    hm_buf_add_byte(p->out, ']');
    return HM_OK;
}

static hm_status print_object(const printer *p, const hm_json *object) {
    hm_auto_free const hm_json **members = hm_json_sort_members(object);
    if (members == NULL) {
        return hm_fail_memory(p->error);
    }
    hm_buf_add_byte(p->out, '{');
    for (size_t i = 0; i < object->count; i++) {
        hm_buf_add_text(p->out, i > 0 ? ", " : "");
        hm_json_quote(p->out, members[i]->name, true);
        hm_buf_add_text(p->out, ": ");
        hm_status status = print_value(p, members[i]);
        if (status != HM_OK) {
            return status;
        }
    }
    hm_buf_add_byte(p->out, '}');
    return HM_OK;
}

/* As deep as the reader lets a document be: HM_JSON_DEPTH. */
static hm_status print_value(const printer *p, const hm_json *value) {
    switch (value->type) {
    case HM_JSON_NULL: hm_buf_add_text(p->out, "null"); return HM_OK;
    case HM_JSON_BOOL: hm_buf_add_text(p->out, value->truth ? "true" : "false"); return HM_OK;
    case HM_JSON_NUMBER: return print_number(p, value->text);
    case HM_JSON_STRING: hm_json_quote(p->out, value->text, true); return HM_OK;
    case HM_JSON_ARRAY: return print_array(p, value);
    case HM_JSON_OBJECT: return print_object(p, value);
    }
    return hm_fail(p->error, HM_UNDECIDED, HM_REASON_NONE, "a JSON value of no known type");
}

hm_status hm_canonical_json(const hm_json *value, hm_buf *out, hm_error **error) {
    printer p = {.out = out, .error = error};
    p.c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (p.c_locale == (locale_t)0) {
        return hm_fail_memory(error);
    }
    hm_status status = print_value(&p, value);
    freelocale(p.c_locale);
    return status == HM_OK ? hm_buf_check(out, error) : status;
}
