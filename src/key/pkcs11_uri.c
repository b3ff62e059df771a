/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#11 URIs (RFC 7512). p11-kit reads the path; what stands behind "?" is read here, so that a
 * PIN gets into no memory but ours, and nothing that p11-kit would pass over goes unseen.
 */
#include "key/pkcs11.h"

#include <string.h>

static const char scheme[] = "pkcs11:";
enum { SCHEME_LENGTH = sizeof scheme - 1 };

static const char *const path_names[] = {
    "token",
    "manufacturer",
    "serial",
    "model",
    "library-manufacturer",
    "library-description",
    "library-version",
    "object",
    "type",
    "id",
    "slot-id",
    "slot-description",
    "slot-manufacturer",
};
static const char *const query_names[] = {"module-path", "module-name", "pin-source", "pin-value"};
enum {
    PATH_NAMES = sizeof path_names / sizeof path_names[0],
    QUERY_NAMES = sizeof query_names / sizeof query_names[0],
};

/* One "name=value", not decoded. */
typedef struct attribute {
    hm_bytes name;
    hm_bytes value;
} attribute;

/* The attributes of one half of a URI while they are read. */
typedef struct reader {
    hm_bytes rest;
    char separator;
    const char *const *names;
    size_t name_count;
    uint32_t seen; /* bits of `names` */
} reader;

static hm_status fail_uri(hm_error **error, const char *what) {
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "the PKCS#11 URI %s", what);
    hm_error_add_hint(error, "it looks like pkcs11:token=TOKEN;object=KEY?module-path=/PATH.so; a "
                             "space in a name is %%20");
    return HM_USAGE;
}

static bool is_space_or_control(uint8_t c) {
    return c <= ' ' || c == 0x7f;
}

/* Whether "pin-value" stands where it does not belong: shown, it would give the PIN away. */
static bool hides_pin(hm_bytes value) {
    static const char name[] = "pin-value";
    const size_t length = sizeof name - 1;
    for (size_t i = 0; i + length <= value.length; i++) {
        if (strncasecmp((const char *)value.data + i, name, length) == 0) {
            return true;
        }
    }
    return false;
}

/* Cuts the next attribute off. A NUL cannot come: the URI was a text. */
static hm_status next_attribute(reader *from, attribute *found, hm_error **error) {
    const uint8_t *start = from->rest.data;
    const uint8_t *end = memchr(start, from->separator, from->rest.length);
    size_t length = end != NULL ? (size_t)(end - start) : from->rest.length;
    const uint8_t *equals = memchr(start, '=', length);
    for (size_t i = 0; i < length; i++) {
        if (is_space_or_control(start[i])) {
            return fail_uri(error, "has a space or control character in it");
        }
    }
    if (equals == NULL) {
        return fail_uri(error, "has an attribute without \"=\"");
    }
    found->name = hm_bytes_of(start, (size_t)(equals - start));
    found->value = hm_bytes_of(equals + 1, length - found->name.length - 1);
    size_t used = length + (end != NULL ? 1 : 0);
    from->rest = hm_bytes_of(start + used, from->rest.length - used);
    return end != NULL && from->rest.length == 0 ? fail_uri(error, "ends in a separator") : HM_OK;
}

/* Only a name that looks like one is quoted: what was mistyped may be a PIN. */
static hm_status fail_unknown(hm_bytes name, hm_error **error) {
    hm_auto_free char *text = hm_strndup((const char *)name.data, name.length);
    hm_auto_free char *what = NULL;
    if (text == NULL) {
        return hm_fail_memory(error);
    }
    if (name.length == 0 || strspn(text, "abcdefghijklmnopqrstuvwxyz-") != name.length) {
        return fail_uri(error, "has an attribute that is not known");
    }
    bool misplaced = false;
    for (size_t i = 0; i < QUERY_NAMES; i++) {
        misplaced = misplaced || hm_bytes_equal_text(name, query_names[i]);
    }
    what = misplaced ? hm_textf("has \"%s\" before the \"?\", not behind it", text)
                     : hm_textf("has an attribute \"%s\", which is not known here", text);
    return what != NULL ? fail_uri(error, what) : hm_fail_memory(error);
}

static hm_status check_attribute(reader *from, const attribute *found, size_t *index,
                                 hm_error **error) {
    size_t i = 0;
    while (i < from->name_count && !hm_bytes_equal_text(found->name, from->names[i])) {
        i++;
    }
    if (i == from->name_count) {
        return fail_unknown(found->name, error);
    }
    /* RFC 7512, 2.3: an attribute stands once. Which of two would count? */
    if ((from->seen & (UINT32_C(1) << i)) != 0) {
        hm_auto_free char *what = hm_textf("has \"%s\" twice", from->names[i]);
        return what != NULL ? fail_uri(error, what) : hm_fail_memory(error);
    }
    from->seen |= UINT32_C(1) << i;
    if (strcmp(from->names[i], "pin-value") != 0 && hides_pin(found->value)) {
        return fail_uri(error, "has \"pin-value\" inside another attribute");
    }
    *index = i;
    return HM_OK;
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986, 2.1. A NUL would end the text early for who reads it next. */
static hm_status decode(hm_bytes raw, hm_buf *value, hm_error **error) {
    for (size_t i = 0; i < raw.length; i++) {
        uint8_t byte = raw.data[i];
        if (byte == '%') {
            int high = raw.length - i > 2 ? hex_digit(raw.data[i + 1]) : -1;
            int low = raw.length - i > 2 ? hex_digit(raw.data[i + 2]) : -1;
            if (high < 0 || low < 0 || high + low == 0) {
                return fail_uri(error, "has a \"%\" without two hexadecimal digits of a character");
            }
            byte = (uint8_t)(high * 16 + low);
            i += 2;
        }
        hm_buf_add_byte(value, byte);
    }
    return hm_buf_check(value, error);
}

/* ---- the path ------------------------------------------------------------------------------- */

static hm_status check_path(hm_bytes path, hm_error **error) {
    reader from = {path, ';', path_names, PATH_NAMES, 0};
    hm_status status = HM_OK;
    while (status == HM_OK && from.rest.length > 0) {
        attribute found = {.name = {NULL, 0}};
        size_t index = 0;
        status = next_attribute(&from, &found, error);
        if (status == HM_OK) {
            status = check_attribute(&from, &found, &index, error);
        }
        if (status == HM_OK && found.value.length == 0) {
            status = fail_uri(error, "has an attribute without a value");
        }
    }
    return status;
}

static hm_status read_path(hm_bytes path, hm_pkcs11_uri *uri, hm_error **error) {
    hm_status status = check_path(path, error);
    if (status != HM_OK) {
        return status;
    }
    uri->shown = hm_textf("%s%.*s", scheme, (int)path.length, (const char *)path.data);
    uri->object = p11_kit_uri_new();
    if (uri->shown == NULL || uri->object == NULL) {
        return hm_fail_memory(error);
    }
    int result = p11_kit_uri_parse(uri->shown, P11_KIT_URI_FOR_ANY, uri->object);
    if (result == P11_KIT_URI_NO_MEMORY) {
        return hm_fail_memory(error);
    }
    if (result != P11_KIT_URI_OK) {
        return fail_uri(error, "cannot be read: a value is not of the form that it should have");
    }
    return p11_kit_uri_any_unrecognized(uri->object) != 0
               ? fail_uri(error, "has a value that cannot be: too long, or no type of object")
               : HM_OK;
}

/* ---- the query ------------------------------------------------------------------------------ */

static hm_status keep_pin(hm_buf *value, hm_pkcs11_uri *uri, hm_error **error) {
    if (value->length == 0) {
        return fail_uri(error, "has an empty \"pin-value\"");
    }
    hm_status status = hm_secret_reserve(&uri->pin, value->length, error);
    if (status == HM_OK) {
        memcpy(uri->pin.data, value->data, value->length);
        uri->pin.length = value->length;
    }
    return status;
}

static hm_status keep_module(const char *value, bool path, hm_pkcs11_uri *uri, hm_error **error) {
    /* A relative one would be looked for where p11-kit, not the caller, thinks. */
    if (path && value[0] != '/') {
        return fail_uri(error, "has a \"module-path\" that does not begin with \"/\"");
    }
    if (value[0] == '\0') {
        return fail_uri(error, "has an empty \"module-name\"");
    }
    char **place = path ? &uri->module_path : &uri->module_name;
    *place = hm_strdup(value);
    return *place != NULL ? HM_OK : hm_fail_memory(error);
}

/* RFC 7512, 2.4, knows "|program" too; running what a URI says is not for us. */
static hm_status keep_pin_source(const char *value, hm_pkcs11_uri *uri, hm_error **error) {
    const char *path = value;
    if (strncmp(path, "file:", 5) == 0) {
        path += strncmp(path, "file://", 7) == 0 ? 7 : 5;
    }
    if (path[0] != '/') {
        return fail_uri(error, "has a \"pin-source\" that is no file:/PATH; nothing else is "
                               "supported");
    }
    uri->pin_source = hm_strdup(path);
    return uri->pin_source != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status keep_query(const char *name, hm_buf *value, hm_pkcs11_uri *uri, hm_error **error) {
    const char *text = (const char *)value->data;
    if (strcmp(name, "pin-value") == 0) {
        return keep_pin(value, uri, error);
    }
    if (strcmp(name, "pin-source") == 0) {
        return keep_pin_source(text, uri, error);
    }
    return keep_module(text, strcmp(name, "module-path") == 0, uri, error);
}

static hm_status read_query(hm_bytes query, hm_pkcs11_uri *uri, hm_error **error) {
    reader from = {query, '&', query_names, QUERY_NAMES, 0};
    hm_status status = HM_OK;
    while (status == HM_OK && from.rest.length > 0) {
        hm_auto_buf value = {.data = NULL};
        attribute found = {.name = {NULL, 0}};
        size_t index = 0;
        status = next_attribute(&from, &found, error);
        if (status == HM_OK) {
            status = check_attribute(&from, &found, &index, error);
        }
        if (status == HM_OK) {
            status = decode(found.value, &value, error);
        }
        if (status == HM_OK) {
            status = keep_query(query_names[index], &value, uri, error);
        }
    }
    /* RFC 7512, 2.4: refused as invalid. */
    if (status == HM_OK && uri->pin.data != NULL && uri->pin_source != NULL) {
        status = fail_uri(error, "has both \"pin-value\" and \"pin-source\"");
    }
    if (status == HM_OK && uri->module_path != NULL && uri->module_name != NULL) {
        status = fail_uri(error, "has both \"module-path\" and \"module-name\"");
    }
    return status;
}

/* ---- all ------------------------------------------------------------------------------------ */

hm_status hm_pkcs11_uri_parse(const char *text, hm_pkcs11_uri **uri, hm_error **error) {
    HM_CLEANUP(hm_pkcs11_uri_free) hm_pkcs11_uri *made = NULL;
    if (strncasecmp(text, scheme, SCHEME_LENGTH) != 0) {
        return fail_uri(error, "does not begin with \"pkcs11:\"");
    }
    const char *path = text + SCHEME_LENGTH;
    size_t path_length = strcspn(path, "?");
    const char *query = path[path_length] == '?' ? path + path_length + 1 : "";
    if (path_length > HM_KEY_FILE_LIMIT || strlen(query) > HM_KEY_FILE_LIMIT) {
        return fail_uri(error, "is too long");
    }
    if (path[path_length] == '?' && query[0] == '\0') {
        return fail_uri(error, "ends in \"?\"");
    }
    made = hm_alloc(1, sizeof *made);
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = read_path(hm_bytes_of(path, path_length), made, error);
    if (status == HM_OK) {
        status = read_query(hm_bytes_text(query), made, error);
    }
    if (status == HM_OK) {
        *uri = made;
        made = NULL;
    }
    return status;
}

void hm_pkcs11_uri_free(hm_pkcs11_uri **uri) {
    hm_pkcs11_uri *ended = *uri;
    if (ended == NULL) {
        return;
    }
    if (ended->object != NULL) {
        p11_kit_uri_free(ended->object);
    }
    hm_auto_free_(&ended->shown);
    hm_auto_free_(&ended->module_path);
    hm_auto_free_(&ended->module_name);
    hm_auto_free_(&ended->pin_source);
    hm_secret_free(&ended->pin);
    hm_auto_free_(uri);
    *uri = NULL;
}

hm_status hm_pkcs11_uri_check_type(const hm_pkcs11_uri *uri, CK_OBJECT_CLASS one,
                                   CK_OBJECT_CLASS other, const char *what, hm_error **error) {
    const CK_ATTRIBUTE *type = p11_kit_uri_get_attribute(uri->object, CKA_CLASS);
    CK_OBJECT_CLASS value = one;
    if (type != NULL && type->ulValueLen == sizeof value) {
        memcpy(&value, type->pValue, sizeof value);
    }
    if (value == one || value == other) {
        return HM_OK;
    }
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "the type in %s is not that of %s", uri->shown,
                  what);
    hm_error_add_hint(error, "leave type= out");
    return HM_USAGE;
}
