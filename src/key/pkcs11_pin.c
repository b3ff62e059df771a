/* SPDX-License-Identifier: Apache-2.0 */
/* Logging in: where the PIN comes from, and what is said when it is not taken. */
#include "key/pkcs11.h"

#include <string.h>

static hm_status fail_no_pin(const hm_pkcs11_token *token, hm_error **error) {
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                  "the token \"%s\" wants a PIN, and there is none", token->label);
    hm_error_add_hint(error,
                      "give it with --passphrase-file or pin-source=file:/PATH, or run where "
                      "it can be asked for");
    return HM_UNDECIDED;
}

/* The first line of a file that only its owner can read. */
static hm_status read_pin_source(const char *path, hm_secret *pin, hm_error **error) {
    hm_status status = hm_secret_read_file("PIN file", path, pin, error);
    if (status == HM_OK) {
        const uint8_t *end = memchr(pin->data, '\n', pin->length);
        pin->length = end != NULL ? (size_t)(end - pin->data) : pin->length;
        pin->length -= pin->length > 0 && pin->data[pin->length - 1] == '\r' ? 1 : 0;
    }
    return status;
}

static hm_status ask_pin(const hm_pkcs11_token *token, hm_passphrase_fn ask, void *context,
                         hm_secret *pin, hm_error **error) {
    const char *warning =
        (token->info.flags & CKF_USER_PIN_FINAL_TRY) != 0   ? "; the last try before it is locked"
        : (token->info.flags & CKF_USER_PIN_COUNT_LOW) != 0 ? "; a wrong one was given before"
                                                            : "";
    hm_auto_free char *what = hm_textf("token \"%s\" (its PIN%s)", token->label, warning);
    if (what == NULL) {
        return hm_fail_memory(error);
    }
    return ask != NULL ? hm_secret_ask(ask, context, what, false, pin, error)
                       : fail_no_pin(token, error);
}

/* An attempt with no PIN at all would be lost for nothing. */
static hm_status find_pin(hm_pkcs11 *p, hm_passphrase_fn ask, void *context, hm_error **error) {
    hm_status status = HM_OK;
    if (p->uri->pin.data != NULL) {
        hm_secret_free(&p->pin);
        p->pin = p->uri->pin;
        p->uri->pin = (hm_secret){.data = NULL};
    } else if (p->uri->pin_source != NULL) {
        status = read_pin_source(p->uri->pin_source, &p->pin, error);
    } else {
        status = ask_pin(p->token, ask, context, &p->pin, error);
    }
    if (status == HM_OK && p->pin.length == 0) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                         "the PIN for the token \"%s\" is empty", p->token->label);
    }
    return status;
}

static hm_status fail_locked(const hm_pkcs11_token *token, const char *is, hm_error **error) {
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the PIN of the token \"%s\" %s",
                  token->label, is);
    hm_error_add_hint(error, "its security officer can set a new one");
    return HM_UNDECIDED;
}

/* Says how many attempts are left, as far as the token tells. */
static hm_status fail_wrong(hm_pkcs11_token *token, hm_error **error) {
    CK_TOKEN_INFO now = token->info;
    if (token->module->C_GetTokenInfo(token->slot, &now) != CKR_OK) {
        now.flags = 0;
    }
    if ((now.flags & CKF_USER_PIN_LOCKED) != 0) {
        return fail_locked(token, "was wrong, and is locked now", error);
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the PIN for the token \"%s\" is wrong%s",
                  token->label,
                  (now.flags & CKF_USER_PIN_FINAL_TRY) != 0 ? "; one more wrong one locks it" : "");
    hm_error_add_hint(error,
                      "it was tried once and is not tried again: tokens lock themselves after "
                      "a few wrong ones");
    return HM_UNDECIDED;
}

static hm_status judge_login(hm_pkcs11_token *token, CK_RV rv, hm_error **error) {
    switch (rv) {
    case CKR_OK:
    case CKR_USER_ALREADY_LOGGED_IN: return HM_OK;
    case CKR_PIN_INCORRECT:
    case CKR_PIN_LEN_RANGE:
    case CKR_PIN_INVALID: return fail_wrong(token, error);
    case CKR_PIN_LOCKED: return fail_locked(token, "is locked", error);
    case CKR_PIN_EXPIRED: return fail_locked(token, "has expired", error);
    case CKR_USER_PIN_NOT_INITIALIZED: return fail_locked(token, "was never set", error);
    default: return hm_pkcs11_fail(error, rv, "cannot log in to the token \"%s\"", token->label);
    }
}

static bool logged_in(const hm_pkcs11_token *token) {
    CK_SESSION_INFO info;
    return token->module->C_GetSessionInfo(token->session, &info) == CKR_OK &&
           (info.state == CKS_RO_USER_FUNCTIONS || info.state == CKS_RW_USER_FUNCTIONS);
}

hm_status hm_pkcs11_login(hm_pkcs11 *p, hm_passphrase_fn ask, void *context, hm_error **error) {
    hm_pkcs11_token *token = p->token;
    CK_FLAGS flags = token->info.flags;
    if ((flags & CKF_LOGIN_REQUIRED) == 0 || logged_in(token)) {
        return HM_OK;
    }
    if ((flags & CKF_USER_PIN_LOCKED) != 0) {
        return fail_locked(token, "is locked", error);
    }
    if ((flags & CKF_USER_PIN_INITIALIZED) == 0) {
        return fail_locked(token, "was never set", error);
    }
    bool given = p->uri->pin.data != NULL || p->uri->pin_source != NULL;
    hm_status status = HM_OK;
    /* A reader with keys of its own asks by itself, and the PIN never gets here. */
    if (given || (flags & CKF_PROTECTED_AUTHENTICATION_PATH) == 0) {
        status = find_pin(p, ask, context, error);
    }
    if (status != HM_OK) {
        return status;
    }
    CK_RV rv = token->module->C_Login(token->session, CKU_USER, p->pin.data, p->pin.length);
    return judge_login(token, rv, error);
}

hm_status hm_pkcs11_login_again(hm_pkcs11 *p, hm_error **error) {
    hm_pkcs11_token *token = p->token;
    bool by_itself = (token->info.flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0;
    if (p->pin.data == NULL && !by_itself) {
        return fail_no_pin(token, error);
    }
    CK_RV rv =
        token->module->C_Login(token->session, CKU_CONTEXT_SPECIFIC, p->pin.data, p->pin.length);
    return judge_login(token, rv, error);
}
