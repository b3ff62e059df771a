/* SPDX-License-Identifier: Apache-2.0 */
#include "key/remote.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum {
    MESSAGE_LIMIT = 300, /* bytes of a service's own text that are shown */
    CODE_LIMIT = 64,
    SECRET_FLOOR = 8, /* shorter texts turn up by chance */
};

const char *hm_remote_variable(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

hm_status hm_remote_check(const char *service, const hm_pubkey *key, hm_scheme scheme,
                          const char *what, hm_error **error) {
    if (scheme == HM_SCHEME_BY_KEY && key->type != HM_KEY_ED25519) {
        return HM_OK;
    }
    if (scheme == HM_SCHEME_ECDSA_SHA256 && key->type == HM_KEY_EC_P256) {
        return HM_OK;
    }
    bool rsa = scheme == HM_SCHEME_RSA_PSS_SHA256_MAX;
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s cannot sign for %s: %s", service, what,
                  rsa ? "it makes no RSA-PSS signatures with the longest salt"
                  : key->type == HM_KEY_ED25519 ? "Hallmark uses no Ed25519 keys there"
                                                : "it signs SHA-256 under P-256 only");
    hm_error_add_hint(error, rsa ? "use --format oms, or a key in a file or token"
                                 : "use an EC or RSA key of the service");
    return HM_USAGE;
}

/* ---- refusals ------------------------------------------------------------------------------- */

static bool holds_secret(hm_bytes message, const hm_bytes *secrets, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (secrets[i].length >= SECRET_FLOOR && message.length > 0 &&
            memmem(message.data, message.length, secrets[i].data, secrets[i].length) != NULL) {
            return true;
        }
    }
    return false;
}

static hm_bytes first_line(hm_bytes message) {
    size_t length = 0;
    while (length < message.length && length < MESSAGE_LIMIT && message.data[length] >= 0x20) {
        length++;
    }
    while (length > 0 && length < message.length && (message.data[length] & 0xc0) == 0x80) {
        length--;
    }
    return hm_bytes_of(message.data, length);
}

hm_status hm_remote_fail(const hm_remote_failure *failure, const hm_bytes *secrets, size_t count,
                         hm_error **error) {
    static const char word[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    hm_bytes message = first_line(failure->message);
    hm_auto_buf text = {.data = NULL};
    hm_buf_add_format(&text, "%s did not %s: HTTP %u", failure->service, failure->action,
                      failure->status);
    if (hm_remote_word(failure->code, word, CODE_LIMIT) &&
        !holds_secret(failure->code, secrets, count)) {
        hm_buf_add_text(&text, " ");
        hm_buf_add(&text, failure->code.data, failure->code.length);
    }
    /* Looks at the whole message: half a secret is one too. */
    if (holds_secret(failure->message, secrets, count)) {
        hm_buf_add_text(&text, " (its message repeats a secret, and is not shown)");
    } else if (message.length > 0) {
        hm_buf_add_text(&text, ": ");
        hm_buf_add(&text, message.data, message.length);
    }
    hm_status status = hm_buf_check(&text, error);
    return status == HM_OK
               ? hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s", (const char *)text.data)
               : status;
}

/* ---- answers -------------------------------------------------------------------------------- */

/* What a service says is no verdict on a model. */
static hm_status undecided(const char *service, hm_error **cause, hm_error **error) {
    if (*cause != NULL && hm_error_status(*cause) == HM_UNDECIDED) {
        return hm_error_move(error, cause);
    }
    return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the answer of %s cannot be read: %s",
                   service, *cause != NULL ? hm_error_message(*cause) : "it is no JSON object");
}

hm_status hm_remote_parse(hm_bytes text, const char *service, hm_json_doc **doc, hm_error **error) {
    hm_auto_error cause = NULL;
    hm_auto_json made = NULL;
    if (hm_json_parse(text, service, &made, &cause) != HM_OK ||
        hm_json_root(made)->type != HM_JSON_OBJECT) {
        return undecided(service, &cause, error);
    }
    *doc = made;
    made = NULL;
    return HM_OK;
}

hm_status hm_remote_take(hm_json *object, const char *service, const char *name, hm_bytes *text,
                         hm_error **error) {
    hm_auto_error cause = NULL;
    return hm_json_take_text(object, "it", name, text, &cause) == HM_OK
               ? HM_OK
               : undecided(service, &cause, error);
}

hm_bytes hm_remote_text(const hm_json *object, const char *name) {
    const hm_json *member = object->type == HM_JSON_OBJECT ? hm_json_get(object, name) : NULL;
    return member != NULL && member->type == HM_JSON_STRING ? member->text : hm_bytes_of("", 0);
}

bool hm_remote_word(hm_bytes text, const char *set, size_t limit) {
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] == '\0' || strchr(set, text.data[i]) == NULL) {
            return false;
        }
    }
    return text.length > 0 && text.length <= limit;
}

bool hm_remote_header_safe(hm_bytes text) {
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] <= 0x20 || text.data[i] >= 0x7f) {
            return false;
        }
    }
    return text.length > 0;
}

static bool is_space(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

hm_status hm_remote_read_token(const char *path, const char *what, hm_buf *token,
                               hm_error **error) {
    hm_auto_buf file = {.data = NULL};
    hm_auto_error cause = NULL;
    if (hm_read_file(path, HM_REMOTE_SECRET_LIMIT, &file, &cause) != HM_OK) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "cannot read %s: %s", what,
                       hm_error_message(cause));
    }
    hm_bytes text = hm_buf_view(&file);
    while (text.length > 0 && is_space(text.data[text.length - 1])) {
        text.length--;
    }
    while (text.length > 0 && is_space(text.data[0])) {
        text.data++;
        text.length--;
    }
    if (!hm_remote_header_safe(text)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s, %s, holds no token", what, path);
    }
    hm_buf_add(token, text.data, text.length);
    return hm_buf_check(token, error);
}

/* ---- headers -------------------------------------------------------------------------------- */

hm_status hm_remote_add_header(hm_remote_headers *headers, const char *name, hm_bytes value,
                               hm_error **error) {
    /* A line break in a value would be a header of somebody else's. */
    if (headers->count == sizeof headers->lines / sizeof headers->lines[0] ||
        (value.length > 0 && memchr(value.data, '\n', value.length) != NULL) ||
        (value.length > 0 && memchr(value.data, '\r', value.length) != NULL) ||
        (value.length > 0 && memchr(value.data, '\0', value.length) != NULL)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "a value for the header %s is no text",
                       name);
    }
    hm_buf *line = &headers->lines[headers->count];
    hm_buf_add_text(line, name);
    hm_buf_add_text(line, ": ");
    hm_buf_add(line, value.data, value.length);
    hm_status status = hm_buf_check(line, error);
    if (status == HM_OK) {
        headers->list[headers->count++] = (const char *)line->data;
    }
    return status;
}

void hm_remote_headers_free(hm_remote_headers *headers) {
    for (size_t i = 0; i < sizeof headers->lines / sizeof headers->lines[0]; i++) {
        hm_buf_free(&headers->lines[i]);
    }
    *headers = (hm_remote_headers){.count = 0};
}
