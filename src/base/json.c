/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

enum { BLOCK_VALUES = 256 };
/* Bytes of a foreign name that a message quotes. */
enum { QUOTED = 64 };

struct block {
    struct block *next;
    hm_json values[BLOCK_VALUES];
};

struct hm_json_doc {
    hm_json *root;
    struct block *blocks; /* the one in use first */
    size_t values;
    uint8_t *text; /* every decoded text and number, each with a NUL behind it */
    size_t text_length;
};

typedef struct reader {
    const char *what;
    hm_bytes text;
    size_t at;
    unsigned depth;
    hm_json_doc *doc;
    locale_t c_locale;
    hm_error **error;
} reader;

/* ---- texts ---------------------------------------------------------------------------------- */

static size_t utf8_encode(uint32_t code, uint8_t *bytes) {
    if (code < 0x80) {
        bytes[0] = (uint8_t)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = length - 1; i > 0; i--) {
        bytes[i] = (uint8_t)(0x80U | (code & 0x3fU));
        code >>= 6;
    }
    bytes[0] = (uint8_t)(lead[length] | code);
    return length;
}

/* How many bytes from `start` on stand for themselves in a quoted text, in every spelling. */
static size_t plain_run(hm_bytes text, size_t start) {
    size_t i = start;
    while (i < text.length && text.data[i] >= 0x20 && text.data[i] < 0x7f && text.data[i] != '"' &&
           text.data[i] != '\\') {
        i++;
    }
    return i - start;
}

/* ---- reading -------------------------------------------------------------------------------- */

static hm_status refuse(const reader *r, size_t at, const char *why) {
    return hm_fail(r->error, HM_REFUSED, HM_REASON_MALFORMED, "%s: byte %zu: %s", r->what, at, why);
}

static int peek(const reader *r) {
    return r->at < r->text.length ? r->text.data[r->at] : -1;
}

static bool take(reader *r, char byte) {
    if (peek(r) != byte) {
        return false;
    }
    r->at++;
    return true;
}

static void skip_space(reader *r) {
    while (take(r, ' ') || take(r, '\n') || take(r, '\r') || take(r, '\t')) {
    }
}

static bool is_digit(int byte) {
    return byte >= '0' && byte <= '9';
}

/*
 * Appends to the document's texts. There is always room: no text is longer than its spelling, and
 * each has at least a quote, or a byte after it, for its NUL.
 */
static void keep(reader *r, const void *data, size_t length) {
    memcpy(r->doc->text + r->doc->text_length, data, length);
    r->doc->text_length += length;
}

static hm_status read_hex4(reader *r, uint32_t *unit) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int byte = peek(r);
        if (is_digit(byte)) {
            value = value << 4 | (uint32_t)(byte - '0');
        } else if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f') {
            value = value << 4 | (uint32_t)((byte | 0x20) - 'a' + 10);
        } else {
            return refuse(r, r->at, "four hex digits must follow \\u");
        }
        r->at++;
    }
    *unit = value;
    return HM_OK;
}

/* Behind "\u". A surrogate alone is no character (RFC 8259, section 8.2). */
static hm_status read_code_point(reader *r) {
    size_t at = r->at;
    uint32_t code = 0;
    hm_status status = read_hex4(r, &code);
    if (status == HM_OK && code >= 0xd800 && code <= 0xdbff) {
        uint32_t low = 0;
        if (!take(r, '\\') || !take(r, 'u')) {
            return refuse(r, at, "a surrogate stands alone");
        }
        status = read_hex4(r, &low);
        if (status == HM_OK && (low < 0xdc00 || low > 0xdfff)) {
            return refuse(r, at, "a surrogate stands alone");
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (status == HM_OK && code >= 0xdc00 && code <= 0xdfff) {
        return refuse(r, at, "a surrogate stands alone");
    }
    if (status != HM_OK) {
        return status;
    }
    uint8_t bytes[4];
    keep(r, bytes, utf8_encode(code, bytes));
    return HM_OK;
}

/* Behind a backslash. */
static hm_status read_escape(reader *r) {
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    int letter = peek(r);
    const char *found = letter > 0 ? strchr(letters, letter) : NULL;
    if (letter == 'u') {
        r->at++;
        return read_code_point(r);
    }
    if (found == NULL) {
        return refuse(r, r->at, "not an escape that JSON has");
    }
    r->at++;
    keep(r, &meanings[found - letters], 1);
    return HM_OK;
}

static hm_status read_piece(reader *r) {
    int byte = peek(r);
    if (byte < 0) {
        return refuse(r, r->at, "the text ends inside a string");
    }
    if (byte < 0x20) {
        return refuse(r, r->at, "a control character inside a string");
    }
    if (take(r, '\\')) {
        return read_escape(r);
    }
    uint32_t code;
    size_t length = plain_run(r->text, r->at);
    if (length == 0) {
        length = hm_utf8_sequence(r->text.data + r->at, r->text.length - r->at, &code);
    }
    if (length == 0) {
        return refuse(r, r->at, "not valid UTF-8");
    }
    keep(r, r->text.data + r->at, length);
    r->at += length;
    return HM_OK;
}

/* Closes the text that began at `start` of the document's texts. */
static hm_bytes finish_text(reader *r, size_t start) {
    hm_bytes text = hm_bytes_of(r->doc->text + start, r->doc->text_length - start);
    keep(r, "", 1);
    return text;
}

static hm_status read_string(reader *r, hm_bytes *text) {
    size_t start = r->doc->text_length;
    r->at++;
    while (!take(r, '"')) {
        hm_status status = read_piece(r);
        if (status != HM_OK) {
            return status;
        }
    }
    *text = finish_text(r, start);
    return HM_OK;
}

static size_t skip_digits(reader *r) {
    size_t start = r->at;
    while (is_digit(peek(r))) {
        r->at++;
    }
    return r->at - start;
}

/* RFC 8259, section 6. `*digits`: of an integer; 0 when there is a fraction or an exponent. */
static hm_status scan_number(reader *r, size_t *digits) {
    take(r, '-');
    bool zero = peek(r) == '0';
    *digits = skip_digits(r);
    if (*digits == 0) {
        return refuse(r, r->at, "a digit must stand here");
    }
    if (zero && *digits > 1) {
        return refuse(r, r->at, "a number begins with a zero too many");
    }
    if (take(r, '.')) {
        *digits = 0;
        if (skip_digits(r) == 0) {
            return refuse(r, r->at, "a digit must follow the decimal point");
        }
    }
    if (take(r, 'e') || take(r, 'E')) {
        *digits = 0;
        if (!take(r, '-')) {
            take(r, '+');
        }
        if (skip_digits(r) == 0) {
            return refuse(r, r->at, "a digit must stand in the exponent");
        }
    }
    return HM_OK;
}

static hm_status read_number(reader *r, hm_bytes *token) {
    size_t from = r->at;
    size_t start = r->doc->text_length;
    size_t digits = 0;
    hm_status status = scan_number(r, &digits);
    if (status != HM_OK) {
        return status;
    }
    keep(r, r->text.data + from, r->at - from);
    *token = finish_text(r, start);
    if (digits > HM_JSON_MAX_DIGITS) {
        return refuse(r, from, "an integer with too many digits");
    }
    if (digits == 0 && isinf(strtod_l((const char *)token->data, NULL, r->c_locale))) {
        return refuse(r, from, "a number out of range");
    }
    return HM_OK;
}

static hm_status read_word(reader *r, hm_json *value) {
    static const struct {
        const char *word;
        hm_json_type type;
        bool truth;
    } words[] = {
        {"null", HM_JSON_NULL, false},
        {"true", HM_JSON_BOOL, true},
        {"false", HM_JSON_BOOL, false},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t length = strlen(words[i].word);
        if (r->text.length - r->at >= length &&
            memcmp(r->text.data + r->at, words[i].word, length) == 0) {
            r->at += length;
            value->type = words[i].type;
            value->truth = words[i].truth;
            return HM_OK;
        }
    }
    return refuse(r, r->at,
                  r->at < r->text.length ? "a value must stand here"
                                         : "the text ends where a value must stand");
}

static hm_status new_value(reader *r, hm_json **value) {
    hm_json_doc *doc = r->doc;
    if (doc->values == HM_JSON_MAX_NODES) {
        return refuse(r, r->at, "more values than a document may have");
    }
    size_t index = doc->values % BLOCK_VALUES;
    if (index == 0) {
        struct block *block = hm_alloc(1, sizeof(*block));
        if (block == NULL) {
            return hm_fail_memory(r->error);
        }
        block->next = doc->blocks;
        doc->blocks = block;
    }
    doc->values++;
    *value = &doc->blocks->values[index];
    return HM_OK;
}

static int compare_names(const hm_json *a, const hm_json *b) {
    size_t shorter = a->name.length < b->name.length ? a->name.length : b->name.length;
    int order = shorter > 0 ? memcmp(a->name.data, b->name.data, shorter) : 0;
    if (order != 0 || a->name.length == b->name.length) {
        return order;
    }
    return a->name.length < b->name.length ? -1 : 1;
}

static int compare_members(const void *a, const void *b) {
    return compare_names(*(const hm_json *const *)a, *(const hm_json *const *)b);
}

static int quoted_length(hm_bytes name) {
    return name.length < QUOTED ? (int)name.length : QUOTED;
}

/*
 * Readers disagree about which of two members of one name counts, so a signed text must not have
 * them. Sorted, not compared pair by pair: a hostile object has millions.
 */
static hm_status refuse_twins(const reader *r, const hm_json *object) {
    if (object->count < 2) {
        return HM_OK;
    }
    hm_auto_free const hm_json **members = hm_json_sort_members(object);
    if (members == NULL) {
        return hm_fail_memory(r->error);
    }
    for (size_t i = 1; i < object->count; i++) {
        if (compare_names(members[i - 1], members[i]) == 0) {
            hm_bytes name = members[i]->name;
            return hm_fail(r->error, HM_REFUSED, HM_REASON_MALFORMED,
                           "%s: byte %zu: an object that ends here has the member \"%.*s\" twice",
                           r->what, r->at - 1, quoted_length(name), (const char *)name.data);
        }
    }
    return HM_OK;
}

static hm_status read_value(reader *r, hm_json **value);

static hm_status read_member(reader *r, hm_json **member) {
    if (peek(r) != '"') {
        return refuse(r, r->at, "a member's name in quotes must stand here");
    }
    hm_bytes name;
    hm_status status = read_string(r, &name);
    if (status != HM_OK) {
        return status;
    }
    skip_space(r);
    if (!take(r, ':')) {
        return refuse(r, r->at, "a colon must follow a member's name");
    }
    skip_space(r);
    status = read_value(r, member);
    if (status == HM_OK) {
        (*member)->name = name;
    }
    return status;
}

/* Behind the bracket that opens an array or an object. */
static hm_status read_children(reader *r, hm_json *parent) {
    bool object = parent->type == HM_JSON_OBJECT;
    char close = object ? '}' : ']';
    hm_json **link = &parent->first;
    skip_space(r);
    while (!take(r, close)) {
        if (parent->count > 0 && !take(r, ',')) {
            return refuse(r, r->at,
                          object ? "a comma or '}' must stand here"
                                 : "a comma or ']' must stand here");
        }
        skip_space(r);
        hm_status status = object ? read_member(r, link) : read_value(r, link);
        if (status != HM_OK) {
            return status;
        }
        link = &(*link)->next;
        parent->count++;
        skip_space(r);
    }
    return object ? refuse_twins(r, parent) : HM_OK;
}

static hm_status read_container(reader *r, hm_json *value, hm_json_type type) {
    if (r->depth == HM_JSON_DEPTH) {
        return refuse(r, r->at, "nested too deep");
    }
    r->at++;
    r->depth++;
    value->type = type;
    hm_status status = read_children(r, value);
    r->depth--;
    return status;
}

static hm_status read_value(reader *r, hm_json **value) {
    hm_status status = new_value(r, value);
    if (status != HM_OK) {
        return status;
    }
    int byte = peek(r);
    switch (byte) {
    case '{': return read_container(r, *value, HM_JSON_OBJECT);
    case '[': return read_container(r, *value, HM_JSON_ARRAY);
    case '"': (*value)->type = HM_JSON_STRING; return read_string(r, &(*value)->text);
    case 'N':
    case 'I': return refuse(r, r->at, "JSON has no NaN and no Infinity");
    default:
        if (byte == '-' || is_digit(byte)) {
            (*value)->type = HM_JSON_NUMBER;
            return read_number(r, &(*value)->text);
        }
        return read_word(r, *value);
    }
}

static hm_status read_document(reader *r) {
    if (r->text.length >= 3 && memcmp(r->text.data, "\xef\xbb\xbf", 3) == 0) {
        return refuse(r, 0, "a byte order mark stands in front");
    }
    skip_space(r);
    hm_status status = read_value(r, &r->doc->root);
    if (status != HM_OK) {
        return status;
    }
    skip_space(r);
    return r->at == r->text.length ? HM_OK : refuse(r, r->at, "text behind the document");
}

static void free_locale(locale_t *locale) {
    if (*locale != (locale_t)0) {
        freelocale(*locale);
    }
}

hm_status hm_json_parse(hm_bytes text, const char *what, hm_json_doc **doc, hm_error **error) {
    /* A number's meaning must not depend on where the program runs. */
    HM_CLEANUP(free_locale) locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    hm_auto_json made = hm_alloc(1, sizeof(*made));
    if (c_locale == (locale_t)0 || made == NULL || text.length == SIZE_MAX) {
        return hm_fail_memory(error);
    }
    made->text = hm_alloc(text.length + 1, 1);
    if (made->text == NULL) {
        return hm_fail_memory(error);
    }
    reader r = {.what = what, .text = text, .doc = made, .c_locale = c_locale, .error = error};
    hm_status status = read_document(&r);
    if (status == HM_OK) {
        *doc = made;
        made = NULL;
    }
    return status;
}

hm_json *hm_json_root(const hm_json_doc *doc) {
    return doc->root;
}

void hm_json_free(hm_json_doc **doc) {
    if (*doc == NULL) {
        return;
    }
    while ((*doc)->blocks != NULL) {
        struct block *next = (*doc)->blocks->next;
        free((*doc)->blocks);
        (*doc)->blocks = next;
    }
    /* Answers of key services carry tokens. */
    if ((*doc)->text != NULL) {
        OPENSSL_cleanse((*doc)->text, (*doc)->text_length);
    }
    free((*doc)->text);
    free(*doc);
    *doc = NULL;
}

/* ---- access --------------------------------------------------------------------------------- */

hm_json *hm_json_get(const hm_json *object, const char *name) {
    if (object->type != HM_JSON_OBJECT) {
        return NULL;
    }
    for (hm_json *member = object->first; member != NULL; member = member->next) {
        if (hm_bytes_equal_text(member->name, name)) {
            return member;
        }
    }
    return NULL;
}

const hm_json **hm_json_sort_members(const hm_json *object) {
    const hm_json **members = hm_alloc(object->count, sizeof(*members));
    if (members == NULL) {
        return NULL;
    }
    size_t count = 0;
    for (const hm_json *member = object->first; member != NULL; member = member->next) {
        members[count++] = member;
    }
    if (count > 1) {
        qsort(members, count, sizeof(*members), compare_members);
    }
    return members;
}

const char *hm_json_type_name(hm_json_type type) {
    switch (type) {
    case HM_JSON_NULL: return "null";
    case HM_JSON_BOOL: return "true or false";
    case HM_JSON_NUMBER: return "a number";
    case HM_JSON_STRING: return "a string";
    case HM_JSON_ARRAY: return "an array";
    case HM_JSON_OBJECT: return "an object";
    }
    return "";
}

hm_json *hm_json_take_any(hm_json *object, const char *name) {
    hm_json *member = hm_json_get(object, name);
    if (member != NULL) {
        member->used = true;
    }
    return member;
}

hm_status hm_json_take(hm_json *object, const char *what, const char *name, hm_json_type type,
                       hm_json **member, hm_error **error) {
    if (object->type != HM_JSON_OBJECT) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s must be an object, not %s", what,
                       hm_json_type_name(object->type));
    }
    hm_json *found = hm_json_take_any(object, name);
    if (found == NULL) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s: \"%s\" is missing", what, name);
    }
    if (found->type != type) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s: \"%s\" must be %s, not %s",
                       what, name, hm_json_type_name(type), hm_json_type_name(found->type));
    }
    *member = found;
    return HM_OK;
}

hm_status hm_json_take_text(hm_json *object, const char *what, const char *name, hm_bytes *text,
                            hm_error **error) {
    hm_json *member = NULL;
    hm_status status = hm_json_take(object, what, name, HM_JSON_STRING, &member, error);
    if (status == HM_OK) {
        *text = member->text;
    }
    return status;
}

hm_status hm_json_take_base64(hm_json *object, const char *what, const char *name,
                              hm_base64_rule rule, hm_buf *out, hm_error **error) {
    hm_bytes text = {0};
    hm_status status = hm_json_take_text(object, what, name, &text, error);
    if (status != HM_OK) {
        return status;
    }
    if (!hm_unbase64(text, rule, out)) {
        return out->failed ? hm_fail_memory(error)
                           : hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                                     "%s: \"%s\" is not padded base64", what, name);
    }
    return hm_buf_check(out, error);
}

hm_status hm_json_refuse_rest(const hm_json *object, const char *what, hm_error **error) {
    for (const hm_json *member = object->first; member != NULL; member = member->next) {
        if (!member->used) {
            return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                           "%s: \"%.*s\" is not a member that belongs there", what,
                           quoted_length(member->name), (const char *)member->name.data);
        }
    }
    return HM_OK;
}

/* The exponent of a number token, held to what no token's length can make up for. */
static int64_t token_exponent(const char *p) {
    const int64_t bound = INT64_C(1) << 40;
    bool negative = *p == '-';
    int64_t value = 0;
    for (p += *p == '-' || *p == '+'; *p != '\0' && value < bound; p++) {
        value = value * 10 + (*p - '0');
    }
    return negative ? -value : value;
}

/* `value` times ten to the `power`; false beyond 2^53. */
static bool scale(uint64_t *value, int64_t power) {
    for (; power > 0 && *value > 0; power--) {
        *value *= 10;
        if (*value > UINT64_C(1) << 53) {
            return false;
        }
    }
    return true;
}

/*
 * By digits, not by way of a double, which would take 0.99999999999999999999 for 1. `result` takes
 * the digits up to the last that is not zero, and `power` says what ten to multiply it with; so
 * the number is integral just when `power` is not negative.
 */
bool hm_json_integer(const hm_json *value, uint64_t *number) {
    if (value->type != HM_JSON_NUMBER || value->text.data[0] == '-') {
        return false;
    }
    const char *token = (const char *)value->text.data;
    const char *exponent = strpbrk(token, "eE");
    int64_t power = exponent != NULL ? token_exponent(exponent + 1) : 0;
    int64_t zeros = 0;
    bool fraction = false;
    uint64_t result = 0;
    for (const char *p = token; is_digit(*p) || *p == '.'; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        power -= fraction ? 1 : 0;
        zeros++;
        if (*p != '0') {
            if (!scale(&result, zeros)) {
                return false;
            }
            result += (uint64_t)(*p - '0');
            zeros = 0;
        }
    }
    power += zeros;
    if ((result > 0 && power < 0) || !scale(&result, power) || result > UINT64_C(1) << 53) {
        return false;
    }
    *number = result;
    return true;
}

hm_status hm_json_take_integer(hm_json *object, const char *what, const char *name, uint64_t least,
                               uint64_t *number, hm_error **error) {
    hm_json *member = NULL;
    hm_status status = hm_json_take(object, what, name, HM_JSON_NUMBER, &member, error);
    if (status == HM_OK && (!hm_json_integer(member, number) || *number < least)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                         "%s: \"%s\" must be an integer from %llu to 2^53", what, name,
                         (unsigned long long)least);
    }
    return status;
}

hm_status hm_json_take_hex(hm_json *object, const char *what, const char *name, size_t size,
                           char *hex, hm_error **error) {
    hm_bytes text = {.data = NULL};
    hm_auto_free uint8_t *binary = hm_alloc(size, 1);
    if (binary == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_json_take_text(object, what, name, &text, error);
    if (status == HM_OK && !hm_unhex(text, binary, size)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                         "%s: \"%s\" is not %zu hexadecimal digits", what, name, 2 * size);
    }
    if (status == HM_OK) {
        hm_hex(binary, size, hex);
    }
    return status;
}

hm_status hm_json_take_time(hm_json *object, const char *what, const char *name, int64_t none,
                            int64_t *time, hm_error **error) {
    hm_bytes text;
    const hm_json *member = hm_json_get(object, name);
    if (member != NULL && member->type == HM_JSON_NULL) {
        (void)hm_json_take_any(object, name);
        *time = none;
        return HM_OK;
    }
    hm_status status = hm_json_take_text(object, what, name, &text, error);
    if (status == HM_OK && !hm_time_parse(text, time)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                         "%s: \"%s\" must be a time such as 2026-01-05T20:31:07Z", what, name);
    }
    return status;
}

/* ---- writing -------------------------------------------------------------------------------- */

static void quote_unit(hm_buf *out, uint32_t unit) {
    static const char digits[] = "0123456789abcdef";
    const char text[] = {'\\',
                         'u',
                         digits[unit >> 12],
                         digits[unit >> 8 & 15],
                         digits[unit >> 4 & 15],
                         digits[unit & 15]};
    hm_buf_add(out, text, sizeof(text));
}

static void quote_code_point(hm_buf *out, uint32_t code) {
    static const char controls[] = "\b\f\n\r\t\"\\";
    static const char letters[] = "bfnrt\"\\";
    const char *found = code != 0 && code < 0x80 ? strchr(controls, (int)code) : NULL;
    if (found != NULL) {
        hm_buf_add_byte(out, '\\');
        hm_buf_add_byte(out, (uint8_t)letters[found - controls]);
    } else if (code >= 0x10000) {
        quote_unit(out, 0xd800 + ((code - 0x10000) >> 10));
        quote_unit(out, 0xdc00 + (code & 0x3ffU));
    } else {
        quote_unit(out, code);
    }
}

void hm_json_quote(hm_buf *out, hm_bytes text, bool ascii) {
    hm_buf_add_byte(out, '"');
    size_t i = 0;
    while (i < text.length) {
        size_t run = plain_run(text, i);
        hm_buf_add(out, text.data + i, run);
        i += run;
        if (i == text.length) {
            break;
        }
        uint32_t code = 0;
        size_t length = hm_utf8_sequence(text.data + i, text.length - i, &code);
        if (length == 0) {
            hm_buf_add_text(out, ascii ? "\\ufffd" : "\xef\xbf\xbd");
            length = 1;
        } else if (length == 1 || ascii) {
            quote_code_point(out, code);
        } else {
            hm_buf_add(out, text.data + i, length);
        }
        i += length;
    }
    hm_buf_add_byte(out, '"');
}

static void new_line(hm_json_writer *w) {
    if (w->indent > 0) {
        hm_buf_add_byte(w->out, '\n');
        for (unsigned i = 0; i < w->depth * w->indent; i++) {
            hm_buf_add_byte(w->out, ' ');
        }
    }
}

/* What stands between the value or name that follows and what came before. */
static void separate(hm_json_writer *w) {
    if (w->after_name) {
        w->after_name = false;
        return;
    }
    if (w->after_value) {
        hm_buf_add_byte(w->out, ',');
    }
    if (w->depth > 0) {
        new_line(w);
    }
}

static void begin(hm_json_writer *w, char bracket) {
    separate(w);
    hm_buf_add_byte(w->out, (uint8_t)bracket);
    w->depth++;
    w->after_value = false;
}

static void end(hm_json_writer *w, char bracket) {
    w->depth--;
    if (w->after_value) {
        new_line(w);
    }
    hm_buf_add_byte(w->out, (uint8_t)bracket);
    w->after_value = true;
}

void hm_json_begin_object(hm_json_writer *w) {
    begin(w, '{');
}

void hm_json_end_object(hm_json_writer *w) {
    end(w, '}');
}

void hm_json_begin_array(hm_json_writer *w) {
    begin(w, '[');
}

void hm_json_end_array(hm_json_writer *w) {
    end(w, ']');
}

static void write_name(hm_json_writer *w, hm_bytes name) {
    separate(w);
    hm_json_quote(w->out, name, w->ascii);
    hm_buf_add_text(w->out, w->indent > 0 ? ": " : ":");
    w->after_name = true;
}

void hm_json_name(hm_json_writer *w, const char *name) {
    write_name(w, hm_bytes_text(name));
}

void hm_json_string(hm_json_writer *w, hm_bytes text) {
    separate(w);
    hm_json_quote(w->out, text, w->ascii);
    w->after_value = true;
}

static void write_token(hm_json_writer *w, hm_bytes token) {
    separate(w);
    hm_buf_add(w->out, token.data, token.length);
    w->after_value = true;
}

void hm_json_text(hm_json_writer *w, const char *text) {
    hm_json_string(w, hm_bytes_text(text));
}

void hm_json_bool(hm_json_writer *w, bool truth) {
    write_token(w, hm_bytes_text(truth ? "true" : "false"));
}

void hm_json_null(hm_json_writer *w) {
    write_token(w, hm_bytes_text("null"));
}

void hm_json_number(hm_json_writer *w, uint64_t number) {
    separate(w);
    hm_buf_add_format(w->out, "%" PRIu64, number);
    w->after_value = true;
}

void hm_json_copy(hm_json_writer *w, const hm_json *value) {
    switch (value->type) {
    case HM_JSON_NULL: hm_json_null(w); return;
    case HM_JSON_BOOL: hm_json_bool(w, value->truth); return;
    case HM_JSON_NUMBER: write_token(w, value->text); return;
    case HM_JSON_STRING: hm_json_string(w, value->text); return;
    case HM_JSON_ARRAY:
    case HM_JSON_OBJECT: break;
    }
    bool object = value->type == HM_JSON_OBJECT;
    begin(w, object ? '{' : '[');
    for (const hm_json *child = value->first; child != NULL; child = child->next) {
        if (object) {
            hm_json_copy_member(w, child);
        } else {
            hm_json_copy(w, child);
        }
    }
    end(w, object ? '}' : ']');
}

void hm_json_copy_member(hm_json_writer *w, const hm_json *member) {
    write_name(w, member->name);
    hm_json_copy(w, member);
}

void hm_json_member(hm_json_writer *w, const char *name, const char *text) {
    hm_json_name(w, name);
    hm_json_text(w, text);
}

void hm_json_member_number(hm_json_writer *w, const char *name, uint64_t number) {
    hm_json_name(w, name);
    hm_json_number(w, number);
}

void hm_json_member_bool(hm_json_writer *w, const char *name, bool truth) {
    hm_json_name(w, name);
    hm_json_bool(w, truth);
}

void hm_json_member_hex(hm_json_writer *w, const char *name, const uint8_t *data, size_t length) {
    hm_json_name(w, name);
    separate(w);
    hm_buf_add_byte(w->out, '"');
    hm_buf_add_hex(w->out, data, length);
    hm_buf_add_byte(w->out, '"');
    w->after_value = true;
}

void hm_json_member_time(hm_json_writer *w, const char *name, int64_t time) {
    hm_auto_buf text = {0};
    hm_json_name(w, name);
    if (time == HM_TIME_ALWAYS || time == HM_TIME_NEVER) {
        hm_json_null(w);
        return;
    }
    hm_buf_add_time(&text, time);
    w->out->failed |= text.failed;
    hm_json_string(w, hm_buf_view(&text));
}
