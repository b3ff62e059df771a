/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hm_error {
    hm_status status;
    hm_reason reason;
    char *message;
    char *hint;
};

/* Told apart by address: given out when there is no memory for an error of its own. */
static hm_error out_of_memory = {
    .status = HM_UNDECIDED,
    .reason = HM_REASON_NONE,
    .message = NULL,
    .hint = NULL,
};

const char *hm_reason_word(hm_reason reason) {
    switch (reason) {
    case HM_REASON_NONE: return "";
    case HM_REASON_UNSIGNED: return "unsigned";
    case HM_REASON_MALFORMED: return "malformed";
    case HM_REASON_BAD_SIGNATURE: return "bad-signature";
    case HM_REASON_UNTRUSTED_SIGNER: return "untrusted-signer";
    case HM_REASON_REVOKED_KEY: return "revoked-key";
    case HM_REASON_EXPIRED: return "expired";
    case HM_REASON_DIGEST_MISMATCH: return "digest-mismatch";
    case HM_REASON_MISSING_FILE: return "missing-file";
    case HM_REASON_EXTRA_FILE: return "extra-file";
    case HM_REASON_PINNED_DIGEST_MISMATCH: return "pinned-digest-mismatch";
    case HM_REASON_UNSUPPORTED: return "unsupported";
    case HM_REASON_CHANGED_WHILE_READING: return "changed-while-reading";
    case HM_REASON_PROVENANCE: return "provenance";
    case HM_REASON_ROLLBACK: return "rollback";
    }
    return "";
}

hm_status hm_error_status(const hm_error *error) {
    return error != NULL ? error->status : HM_OK;
}

hm_reason hm_error_reason(const hm_error *error) {
    return error != NULL ? error->reason : HM_REASON_NONE;
}

const char *hm_error_message(const hm_error *error) {
    if (error == NULL) {
        return "";
    }
    return error->message != NULL ? error->message : "out of memory";
}

const char *hm_error_hint(const hm_error *error) {
    return error != NULL && error->hint != NULL ? error->hint : "";
}

void hm_error_free(hm_error **error) {
    if (*error != NULL && *error != &out_of_memory) {
        free((*error)->message);
        free((*error)->hint);
        free(*error);
    }
    *error = NULL;
}

/* Messages quote foreign text (file names, certificates); none of it may steer a terminal. */
static char *printable(const char *text) {
    hm_buf buf = {0};
    hm_buf_add_printable(&buf, hm_bytes_text(text));
    return hm_buf_steal_text(&buf);
}

/* Takes over `message`, which may be NULL when memory ran out. */
static hm_status store(hm_error **error, hm_status status, hm_reason reason, const char *message) {
    if (error == NULL || *error != NULL) {
        return status;
    }
    hm_error *made = calloc(1, sizeof(*made));
    char *text = message != NULL ? printable(message) : NULL;
    if (made == NULL || text == NULL) {
        free(made);
        free(text);
        /* The status stays what it is: a refusal must not turn into something milder. */
        *error = &out_of_memory;
        return status == HM_OK ? HM_UNDECIDED : status;
    }
    made->status = status;
    made->reason = reason;
    made->message = text;
    *error = made;
    return status;
}

static HM_PRINTF(1, 0) char *format_list(const char *format, va_list args) {
    char *text = NULL;
    return vasprintf(&text, format, args) < 0 ? NULL : text;
}

hm_status hm_fail(hm_error **error, hm_status status, hm_reason reason, const char *format, ...) {
    va_list args;
    va_start(args, format);
    hm_auto_free char *text = format_list(format, args);
    va_end(args);
    return store(error, status, reason, text);
}

hm_status hm_fail_errno(hm_error **error, int errnum, const char *format, ...) {
    va_list args;
    va_start(args, format);
    hm_auto_free char *text = format_list(format, args);
    va_end(args);
    char buffer[128];
    const char *cause = strerror_r(errnum, buffer, sizeof(buffer));
    hm_auto_free char *full = text != NULL ? hm_textf("%s: %s", text, cause) : NULL;
    return store(error, HM_UNDECIDED, HM_REASON_NONE, full);
}

hm_status hm_fail_crypto(hm_error **error, hm_status status, hm_reason reason, const char *format,
                         ...) {
    unsigned long code = ERR_get_error();
    const char *cause = code != 0 ? ERR_reason_error_string(code) : NULL;
    va_list args;
    va_start(args, format);
    hm_auto_free char *text = format_list(format, args);
    va_end(args);
    hm_auto_free char *full = NULL;
    if (text != NULL && cause != NULL) {
        full = hm_textf("%s: %s", text, cause);
    } else if (text != NULL) {
        full = hm_strdup(text);
    }
    ERR_clear_error();
    return store(error, status, reason, full);
}

hm_status hm_fail_memory(hm_error **error) {
    if (error != NULL && *error == NULL) {
        *error = &out_of_memory;
    }
    return HM_UNDECIDED;
}

void hm_error_add_hint(hm_error **error, const char *format, ...) {
    if (error == NULL || *error == NULL || *error == &out_of_memory || (*error)->hint != NULL) {
        return;
    }
    va_list args;
    va_start(args, format);
    hm_auto_free char *text = format_list(format, args);
    va_end(args);
    (*error)->hint = text != NULL ? printable(text) : NULL;
}

bool hm_error_is_memory(const hm_error *error) {
    return error == &out_of_memory;
}

hm_status hm_error_copy(hm_error **error, const hm_error *from) {
    hm_status status = from != NULL && from->status != HM_OK ? from->status : HM_UNDECIDED;
    if (error == NULL || *error != NULL) {
        return status;
    }
    hm_error *made = from != NULL && from != &out_of_memory ? calloc(1, sizeof(*made)) : NULL;
    if (made == NULL) {
        (void)hm_fail_memory(error);
        return status;
    }
    *made = (hm_error){.status = status, .reason = from->reason};
    made->message = from->message != NULL ? hm_strdup(from->message) : NULL;
    made->hint = from->hint != NULL ? hm_strdup(from->hint) : NULL;
    *error = made;
    return status;
}

hm_status hm_error_move(hm_error **error, hm_error **from) {
    hm_status status = hm_error_status(*from);
    if (error != NULL && *error == NULL) {
        *error = *from;
        *from = NULL;
    }
    hm_error_free(from);
    return status == HM_OK ? HM_UNDECIDED : status;
}

hm_status hm_check_options(const char *function, size_t size, size_t known_size, uint64_t flags,
                           uint64_t known_flags, hm_error **error) {
    if (size != known_size) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "%s: the size of the options is not one that this library knows", function);
    }
    if ((flags & ~known_flags) != 0) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s: a flag has no meaning here", function);
    }
    return HM_OK;
}
