/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modules and tokens. Modules are loaded through p11-kit as "managed" ones: it shares them with
 * others in the process that use p11-kit, counts who initialised them, serialises where a module
 * needs it, and turns calls after a fork into errors.
 */
#include "key/pkcs11.h"

#include <string.h>

#include <openssl/err.h>

enum { SHOWN_LIMIT = 16 }; /* tokens or modules in one message */

hm_status hm_pkcs11_fail(hm_error **error, CK_RV rv, const char *format, ...) {
    hm_auto_free char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        text = NULL;
    }
    va_end(args);
    if (rv == CKR_HOST_MEMORY || text == NULL) {
        return hm_fail_memory(error);
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s: %s", text, p11_kit_strerror(rv));
    if (rv == CKR_DEVICE_REMOVED || rv == CKR_TOKEN_NOT_PRESENT || rv == CKR_DEVICE_ERROR ||
        rv == CKR_SESSION_HANDLE_INVALID || rv == CKR_SESSION_CLOSED) {
        hm_error_add_hint(error, "see that the token is in its place and its service runs");
    }
    return HM_UNDECIDED;
}

/* ---- modules -------------------------------------------------------------------------------- */

static const char *reason(void) {
    const char *said = p11_kit_message();
    return said != NULL && said[0] != '\0' ? said : "p11-kit does not say why";
}

static void release_module(void *module) {
    p11_kit_module_release(module);
}

static hm_status load_path(const char *path, CK_FUNCTION_LIST ***modules, hm_error **error) {
    CK_FUNCTION_LIST **list = hm_alloc(2, sizeof(CK_FUNCTION_LIST *));
    if (list == NULL) {
        return hm_fail_memory(error);
    }
    *modules = list;
    list[0] = p11_kit_module_load(path, 0);
    if (list[0] == NULL) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "cannot load the PKCS#11 module %s: %s",
                      path, reason());
        hm_error_add_hint(error, "module-path= names the .so file that comes with the token");
        return HM_UNDECIDED;
    }
    return HM_OK;
}

static hm_status fail_no_module(CK_FUNCTION_LIST **modules, const char *name, hm_error **error) {
    hm_auto_buf known = {.data = NULL};
    for (size_t i = 0; modules[i] != NULL && i < SHOWN_LIMIT; i++) {
        char *one = p11_kit_module_get_name(modules[i]);
        hm_buf_add_format(&known, "%s%s", i > 0 ? ", " : "", one != NULL ? one : "?");
        free(one);
    }
    hm_status status = hm_buf_check(&known, error);
    if (status != HM_OK) {
        return status;
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                  "no PKCS#11 module named \"%s\" is registered with p11-kit", name);
    hm_error_add_hint(error, "registered: %s; module-path= names any other by its file",
                      known.length > 0 ? (const char *)known.data : "none");
    return HM_UNDECIDED;
}

/* Leaves the one of this name (RFC 7512, 2.4: in any case) in the list. */
static hm_status keep_named(CK_FUNCTION_LIST **modules, const char *name, hm_error **error) {
    CK_FUNCTION_LIST *kept = NULL;
    for (size_t i = 0; modules[i] != NULL && kept == NULL; i++) {
        char *one = p11_kit_module_get_name(modules[i]);
        if (one != NULL && strcasecmp(one, name) == 0) {
            kept = modules[i];
        }
        free(one);
    }
    if (kept == NULL) {
        return fail_no_module(modules, name, error);
    }
    for (size_t i = 0; modules[i] != NULL; i++) {
        if (modules[i] != kept) {
            p11_kit_module_release(modules[i]);
        }
    }
    modules[0] = kept;
    modules[1] = NULL;
    return HM_OK;
}

static hm_status load_configured(const char *name, CK_FUNCTION_LIST ***modules, hm_error **error) {
    CK_FUNCTION_LIST **list = p11_kit_modules_load(NULL, 0);
    if (list == NULL) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "cannot load the PKCS#11 modules registered with p11-kit: %s", reason());
    }
    *modules = list;
    return name != NULL ? keep_named(list, name, error) : HM_OK;
}

/* The modules that fail are taken out of the list; the others go on without them. */
static hm_status initialize(CK_FUNCTION_LIST **modules, const hm_pkcs11_uri *uri,
                            hm_error **error) {
    CK_RV rv = p11_kit_modules_initialize(modules, release_module);
    if (rv != CKR_OK || modules[0] == NULL) {
        bool one = uri->module_path != NULL || uri->module_name != NULL;
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "cannot start %s%s: %s",
                      one ? "the PKCS#11 module " : "a PKCS#11 module",
                      uri->module_path != NULL   ? uri->module_path
                      : uri->module_name != NULL ? uri->module_name
                                                 : "",
                      rv != CKR_OK || one ? reason() : "none is registered with p11-kit");
        hm_error_add_hint(error, one ? "its own configuration and log may say more"
                                     : "name one with module-path=");
        return HM_UNDECIDED;
    }
    return HM_OK;
}

static hm_status load(const hm_pkcs11_uri *uri, CK_FUNCTION_LIST ***modules, hm_error **error) {
    CK_FUNCTION_LIST **list = NULL;
    /* p11-kit would print on standard error by itself; what it says goes into our errors. */
    p11_kit_be_quiet();
    hm_status status = uri->module_path != NULL ? load_path(uri->module_path, &list, error)
                                                : load_configured(uri->module_name, &list, error);
    if (status == HM_OK) {
        status = initialize(list, uri, error);
        if (status == HM_OK) {
            *modules = list;
            return HM_OK;
        }
    }
    if (list != NULL) {
        p11_kit_modules_release(list);
    }
    return status;
}

/* ---- tokens --------------------------------------------------------------------------------- */

static bool fits_slot(CK_FUNCTION_LIST *module, CK_SLOT_ID slot, P11KitUri *uri) {
    CK_SLOT_ID wanted = p11_kit_uri_get_slot_id(uri);
    CK_SLOT_INFO info;
    return (wanted == (CK_SLOT_ID)-1 || wanted == slot) &&
           module->C_GetSlotInfo(slot, &info) == CKR_OK &&
           p11_kit_uri_match_slot_info(uri, &info) == 1;
}

/* A token that does not answer, or was never initialised, has no keys for anybody. */
static bool look_at_token(CK_FUNCTION_LIST *module, CK_SLOT_ID slot, hm_pkcs11_token *token) {
    *token = (hm_pkcs11_token){.module = module, .slot = slot};
    return module->C_GetTokenInfo(slot, &token->info) == CKR_OK &&
           (token->info.flags & CKF_TOKEN_INITIALIZED) != 0;
}

static bool add_token(hm_pkcs11 *p, hm_pkcs11_token *token) {
    size_t length = p11_kit_space_strlen(token->info.label, sizeof token->info.label);
    token->label = hm_strndup((const char *)token->info.label, length);
    if (token->label == NULL ||
        !hm_grow(&p->tokens, p->token_count, &p->token_capacity, sizeof(hm_pkcs11_token))) {
        hm_auto_free_(&token->label);
        return false;
    }
    p->tokens[p->token_count++] = *token;
    return true;
}

static void name_token(hm_buf *text, const hm_pkcs11_token *token) {
    size_t length = p11_kit_space_strlen(token->info.label, sizeof token->info.label);
    hm_buf_add_format(text, "%s\"%.*s\" (slot-id=%lu)", text->length > 0 ? ", " : "", (int)length,
                      (const char *)token->info.label, token->slot);
}

/* Slots of one module; a module that cannot list them has none. */
static hm_status list_slots(CK_FUNCTION_LIST *module, CK_SLOT_ID **slots, CK_ULONG *count,
                            hm_error **error) {
    *count = 0;
    if (module->C_GetSlotList(CK_TRUE, NULL, count) != CKR_OK) {
        *count = 0;
        return HM_OK;
    }
    *slots = hm_alloc(*count, sizeof(CK_SLOT_ID));
    if (*slots == NULL) {
        return hm_fail_memory(error);
    }
    if (module->C_GetSlotList(CK_TRUE, *slots, count) != CKR_OK) {
        *count = 0; /* a token came in between, or the service went */
    }
    return HM_OK;
}

/* `others` gets the names of tokens that the URI does not fit. */
static hm_status look_at_module(hm_pkcs11 *p, CK_FUNCTION_LIST *module, hm_buf *others,
                                hm_error **error) {
    hm_auto_free CK_SLOT_ID *slots = NULL;
    CK_ULONG count = 0;
    CK_INFO info;
    P11KitUri *uri = p->uri->object;
    if (module->C_GetInfo(&info) != CKR_OK || p11_kit_uri_match_module_info(uri, &info) != 1) {
        return HM_OK;
    }
    hm_status status = list_slots(module, &slots, &count, error);
    for (CK_ULONG i = 0; i < count && status == HM_OK; i++) {
        hm_pkcs11_token token;
        if (!look_at_token(module, slots[i], &token)) {
            continue;
        }
        if (!fits_slot(module, slots[i], uri) ||
            p11_kit_uri_match_token_info(uri, &token.info) != 1) {
            name_token(others, &token);
        } else if (!add_token(p, &token)) {
            status = hm_fail_memory(error);
        }
    }
    return status;
}

static hm_status find_tokens(hm_pkcs11 *p, hm_error **error) {
    hm_auto_buf others = {.data = NULL};
    hm_status status = HM_OK;
    for (size_t i = 0; p->modules[i] != NULL && status == HM_OK; i++) {
        status = look_at_module(p, p->modules[i], &others, error);
    }
    if (status == HM_OK) {
        status = hm_buf_check(&others, error);
    }
    if (status == HM_OK && p->token_count == 0) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "there is no token for %s",
                      p->uri->shown);
        if (others.length > 0) {
            hm_error_add_hint(error, "tokens that are there: %s", (const char *)others.data);
        } else {
            hm_error_add_hint(error, "no token at all is there; is it plugged in, and is its "
                                     "module the right one (module-path=)?");
        }
        return HM_UNDECIDED;
    }
    return status;
}

hm_status hm_pkcs11_open(const char *text, hm_pkcs11 **opened, hm_error **error) {
    hm_auto_pkcs11 made = hm_alloc(1, sizeof *made);
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_pkcs11_uri_parse(text, &made->uri, error);
    if (status == HM_OK) {
        status = load(made->uri, &made->modules, error);
    }
    if (status == HM_OK) {
        status = find_tokens(made, error);
    }
    if (status == HM_OK) {
        *opened = made;
        made = NULL;
    }
    ERR_clear_error(); /* software tokens use libcrypto too */
    return status;
}

/*
 * Does not log out: the login belongs to the whole process, and others in it may rely on theirs.
 * The last session that closes ends it anyway (PKCS#11 3.0, 5.6.9).
 */
void hm_pkcs11_close(hm_pkcs11 **opened) {
    hm_pkcs11 *p = *opened;
    if (p == NULL) {
        return;
    }
    for (size_t i = 0; i < p->token_count; i++) {
        hm_pkcs11_token *token = &p->tokens[i];
        if (token->session != CK_INVALID_HANDLE) {
            (void)token->module->C_CloseSession(token->session);
        }
        hm_auto_free_(&token->label);
    }
    hm_auto_free_(&p->tokens);
    if (p->modules != NULL) {
        p11_kit_modules_finalize_and_release(p->modules);
    }
    hm_secret_free(&p->pin);
    hm_pkcs11_uri_free(&p->uri);
    hm_auto_free_(opened);
    *opened = NULL;
}

/* ---- sessions ------------------------------------------------------------------------------- */

hm_status hm_pkcs11_session(hm_pkcs11_token *token, CK_FLAGS flags, hm_error **error) {
    if (token->session != CK_INVALID_HANDLE) {
        return HM_OK;
    }
    CK_RV rv = token->module->C_OpenSession(token->slot, CKF_SERIAL_SESSION | flags, NULL, NULL,
                                            &token->session);
    if (rv != CKR_OK) {
        token->session = CK_INVALID_HANDLE;
        return hm_pkcs11_fail(error, rv, "cannot open a session on the token \"%s\"%s",
                              token->label, flags != 0 ? " for writing" : "");
    }
    return HM_OK;
}

hm_status hm_pkcs11_only_token(hm_pkcs11 *p, hm_error **error) {
    hm_auto_buf names = {.data = NULL};
    if (p->token_count == 1) {
        p->token = &p->tokens[0];
        return HM_OK;
    }
    for (size_t i = 0; i < p->token_count && i < SHOWN_LIMIT; i++) {
        name_token(&names, &p->tokens[i]);
    }
    hm_status status = hm_buf_check(&names, error);
    if (status != HM_OK) {
        return status;
    }
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s fits %zu tokens: %s", p->uri->shown,
                  p->token_count, (const char *)names.data);
    hm_error_add_hint(error, "name one with token=, serial= or slot-id=");
    return HM_USAGE;
}
