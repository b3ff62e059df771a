/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory --------------------------------------------------------------------------------- */

void *hm_alloc(size_t count, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        return NULL;
    }
    return calloc(1, total > 0 ? total : 1);
}

bool hm_grow(void *array_pointer, size_t count, size_t *capacity, size_t element_size) {
    if (count < *capacity) {
        return true;
    }
    size_t wanted = 8;
    if (*capacity > 0 && __builtin_mul_overflow(*capacity, (size_t)2, &wanted)) {
        return false;
    }
    void *array;
    memcpy(&array, array_pointer, sizeof(array));
    void *larger = reallocarray(array, wanted, element_size);
    if (larger == NULL) {
        return false;
    }
    memcpy(array_pointer, &larger, sizeof(larger));
    *capacity = wanted;
    return true;
}

char *hm_strndup(const char *text, size_t length) {
    return strndup(text, length);
}

char *hm_strdup(const char *text) {
    return strdup(text);
}

bool hm_set_text(char **place, const char *text) {
    bool some = text != NULL && *text != '\0';
    *place = some ? hm_strdup(text) : NULL;
    return !some || *place != NULL;
}

char *hm_textf(const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    return length < 0 ? NULL : text;
}

void hm_text_list_free(char ***list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free((*list)[i]);
    }
    free(*list);
    *list = NULL;
}

void hm_auto_free_(void *pointer_pointer) {
    void *pointer;
    memcpy(&pointer, pointer_pointer, sizeof(pointer));
    free(pointer);
}

void hm_text_free(char **text) {
    free(*text);
    *text = NULL;
}

/* ---- views ---------------------------------------------------------------------------------- */

hm_bytes hm_bytes_text(const char *text) {
    return hm_bytes_of(text, strlen(text));
}

bool hm_bytes_equal(hm_bytes a, hm_bytes b) {
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

bool hm_bytes_equal_text(hm_bytes a, const char *text) {
    return hm_bytes_equal(a, hm_bytes_text(text));
}

/* ---- the growing buffer --------------------------------------------------------------------- */

/* Never realloc: the old copy of what may be a secret would stay behind unwiped. */
static bool reserve(hm_buf *buf, size_t more) {
    size_t needed;
    if (buf->failed || __builtin_add_overflow(buf->length, more, &needed) ||
        __builtin_add_overflow(needed, (size_t)1, &needed)) {
        buf->failed = true;
        return false;
    }
    if (needed <= buf->capacity) {
        return true;
    }
    size_t capacity = buf->capacity < 64 ? 64 : buf->capacity;
    while (capacity < needed) {
        if (__builtin_mul_overflow(capacity, (size_t)2, &capacity)) {
            capacity = needed;
        }
    }
    uint8_t *data = malloc(capacity);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    if (buf->length > 0) {
        memcpy(data, buf->data, buf->length);
        OPENSSL_cleanse(buf->data, buf->length);
    }
    free(buf->data);
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

uint8_t *hm_buf_extend(hm_buf *buf, size_t length) {
    if (!reserve(buf, length)) {
        return NULL;
    }
    uint8_t *place = buf->data + buf->length;
    buf->length += length;
    buf->data[buf->length] = 0;
    return place;
}

void hm_buf_add(hm_buf *buf, const void *data, size_t length) {
    uint8_t *place = hm_buf_extend(buf, length);
    if (place != NULL && length > 0) {
        memcpy(place, data, length);
    }
}

void hm_buf_add_text(hm_buf *buf, const char *text) {
    hm_buf_add(buf, text, strlen(text));
}

void hm_buf_add_byte(hm_buf *buf, uint8_t byte) {
    hm_buf_add(buf, &byte, 1);
}

void hm_buf_add_format(hm_buf *buf, const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) {
        buf->failed = true;
        return;
    }
    hm_buf_add(buf, text, (size_t)length);
    free(text);
}

hm_status hm_buf_check(hm_buf *buf, hm_error **error) {
    return hm_buf_extend(buf, 0) != NULL ? HM_OK : hm_fail_memory(error);
}

char *hm_buf_steal_text(hm_buf *buf) {
    if (hm_buf_extend(buf, 0) == NULL) {
        hm_buf_free(buf);
        return NULL;
    }
    char *text = (char *)buf->data;
    *buf = (hm_buf){0};
    return text;
}

hm_status hm_buf_hand_over(hm_buf *buf, char **text, hm_error **error) {
    hm_status status = hm_buf_check(buf, error);
    if (status == HM_OK) {
        *text = hm_buf_steal_text(buf);
    }
    return status;
}

void hm_buf_free(hm_buf *buf) {
    if (buf->data != NULL) {
        OPENSSL_cleanse(buf->data, buf->capacity);
    }
    free(buf->data);
    *buf = (hm_buf){0};
}

/* ---- hex ------------------------------------------------------------------------------------ */

void hm_hex(const uint8_t *data, size_t length, char *text) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++) {
        *text++ = digits[data[i] >> 4];
        *text++ = digits[data[i] & 15];
    }
    *text = '\0';
}

void hm_buf_add_hex(hm_buf *buf, const uint8_t *data, size_t length) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++) {
        const char pair[2] = {digits[data[i] >> 4], digits[data[i] & 15]};
        hm_buf_add(buf, pair, 2);
    }
}

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hm_is_hex(const char *text, size_t digits) {
    return strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

bool hm_unhex(hm_bytes text, uint8_t *data, size_t length) {
    if (text.length / 2 != length || text.length % 2 != 0) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        int high = hex_value(text.data[2 * i]);
        int low = hex_value(text.data[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        data[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* ---- base64 --------------------------------------------------------------------------------- */

void hm_buf_add_base64(hm_buf *buf, hm_bytes data) {
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < data.length; i += 3) {
        size_t rest = data.length - i;
        uint32_t group = (uint32_t)data.data[i] << 16;
        group |= rest > 1 ? (uint32_t)data.data[i + 1] << 8 : 0;
        group |= rest > 2 ? data.data[i + 2] : 0;
        const char text[4] = {
            alphabet[group >> 18],
            alphabet[group >> 12 & 63],
            rest > 1 ? alphabet[group >> 6 & 63] : '=',
            rest > 2 ? alphabet[group & 63] : '=',
        };
        hm_buf_add(buf, text, sizeof(text));
    }
}

static int base64_value(uint8_t c) {
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == '+' || c == '-') {
        return 62;
    }
    return c == '/' || c == '_' ? 63 : -1;
}

/* One alphabet in the whole text, and one that the rule allows. */
static bool base64_alphabet_ok(hm_bytes text, hm_base64_rule rule) {
    bool standard = false;
    bool url = false;
    for (size_t i = 0; i < text.length; i++) {
        standard |= text.data[i] == '+' || text.data[i] == '/';
        url |= text.data[i] == '-' || text.data[i] == '_';
    }
    return !(standard && url) && !(url && rule == HM_BASE64_STANDARD);
}

/* The last group: 1, 2 or 3 bytes, and the bits that stand for nothing must be zero. */
static bool unbase64_group(const uint8_t *text, bool last, hm_buf *buf) {
    unsigned padding = 0;
    if (last && text[3] == '=') {
        padding = text[2] == '=' ? 2 : 1;
    }
    uint32_t group = 0;
    for (unsigned i = 0; i < 4; i++) {
        int value = i < 4 - padding ? base64_value(text[i]) : 0;
        if (value < 0) {
            return false;
        }
        group = group << 6 | (uint32_t)value;
    }
    if ((padding == 1 && (group & 0xff) != 0) || (padding == 2 && (group & 0xffff) != 0)) {
        return false;
    }
    const uint8_t bytes[3] = {(uint8_t)(group >> 16), (uint8_t)(group >> 8), (uint8_t)group};
    hm_buf_add(buf, bytes, 3 - padding);
    return true;
}

bool hm_unbase64(hm_bytes text, hm_base64_rule rule, hm_buf *buf) {
    if (text.length % 4 != 0 || !base64_alphabet_ok(text, rule)) {
        return false;
    }
    for (size_t i = 0; i < text.length; i += 4) {
        if (!unbase64_group(text.data + i, i + 4 == text.length, buf)) {
            return false;
        }
    }
    return !buf->failed;
}
