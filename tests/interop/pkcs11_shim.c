/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#11 module that hands everything on to SoftHSM but for what PKCS11_SHIM asks it to do
 * otherwise: what real tokens do and SoftHSM does not. PKCS11_SHIM_MODULE is the real module,
 * PKCS11_SHIM_LOG a file that gets a line per login and signature, and with "calls" per session.
 */
#include <p11-kit/pkcs11.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST ours;

static int asked(const char *what) {
    const char *all = getenv("PKCS11_SHIM");
    return all != NULL && strcmp(all, what) == 0;
}

static void note(const char *what, CK_RV rv) {
    const char *path = getenv("PKCS11_SHIM_LOG");
    FILE *file = path != NULL ? fopen(path, "a") : NULL;
    if (file != NULL) {
        fprintf(file, "%s %lu\n", what, rv);
        fclose(file);
    }
}

static void note_call(const char *what) {
    if (asked("calls")) {
        note(what, 0);
    }
}

static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info) {
    static int wrong_before;
    CK_RV rv = real->C_GetTokenInfo(slot, info);
    if (asked("locked")) {
        info->flags |= CKF_USER_PIN_LOCKED;
    }
    if (asked("final-try")) {
        info->flags |= wrong_before ? CKF_USER_PIN_LOCKED : CKF_USER_PIN_FINAL_TRY;
        wrong_before = 1;
    }
    if (asked("keypad")) {
        info->flags |= CKF_PROTECTED_AUTHENTICATION_PATH;
    }
    if (asked("no-pin-set")) {
        info->flags &= ~CKF_USER_PIN_INITIALIZED;
    }
    return rv;
}

static CK_RV get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info) {
    return asked("few-mechanisms") ? CKR_MECHANISM_INVALID
                                   : real->C_GetMechanismInfo(slot, type, info);
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin,
                   CK_ULONG length) {
    CK_RV rv = CKR_OK;
    if (asked("keypad") && pin == NULL) {
        pin = (CK_UTF8CHAR *)getenv("PKCS11_SHIM_PIN");
        length = strlen((char *)pin);
    } else if (asked("keypad")) {
        rv = CKR_ARGUMENTS_BAD;
    }
    rv = asked("locks") ? CKR_PIN_LOCKED : rv;
    rv = rv == CKR_OK ? real->C_Login(session, user, pin, length) : rv;
    note(user == CKU_CONTEXT_SPECIFIC ? "again" : "login", rv);
    return rv;
}

static CK_RV sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG length, CK_BYTE *signature,
                  CK_ULONG *signature_length) {
    CK_RV rv = asked("removed") ? CKR_DEVICE_REMOVED
                                : real->C_Sign(session, data, length, signature, signature_length);
    if (rv == CKR_OK && asked("faulty")) {
        signature[*signature_length / 2] ^= 1;
    }
    if (rv == CKR_OK && asked("short")) {
        *signature_length -= 1;
    }
    note("sign", rv);
    return rv;
}

static CK_RV get_attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                            CK_ATTRIBUTE *attributes, CK_ULONG count) {
    if (asked("no-public") && attributes[0].type == CKA_EC_POINT) {
        attributes[0].ulValueLen = CK_UNAVAILABLE_INFORMATION;
        return CKR_ATTRIBUTE_TYPE_INVALID;
    }
    CK_RV rv = real->C_GetAttributeValue(session, object, attributes, count);
    if (rv != CKR_OK) {
        return rv;
    }
    if (asked("readable") && attributes[0].type == CKA_EXTRACTABLE) {
        *(CK_BBOOL *)attributes[0].pValue = CK_TRUE;
    }
    if (asked("bare-point") && attributes[0].type == CKA_EC_POINT && attributes[0].pValue == NULL) {
        attributes[0].ulValueLen -= 2;
    } else if (asked("bare-point") && attributes[0].type == CKA_EC_POINT) {
        memmove(attributes[0].pValue, (char *)attributes[0].pValue + 2, 65);
    }
    return rv;
}

/* Short buffers make SoftHSM complain, so the point is read into a longer one. */
static CK_RV get_attributes_with_room(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                      CK_ATTRIBUTE *attributes, CK_ULONG count) {
    static char room[256];
    CK_ATTRIBUTE longer = {CKA_EC_POINT, room, sizeof room};
    if (!asked("bare-point") || attributes[0].type != CKA_EC_POINT ||
        attributes[0].pValue == NULL) {
        return get_attributes(session, object, attributes, count);
    }
    CK_RV rv = get_attributes(session, object, &longer, 1);
    attributes[0].ulValueLen = longer.ulValueLen - 2;
    memcpy(attributes[0].pValue, room, attributes[0].ulValueLen);
    return rv;
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *context, CK_NOTIFY notify,
                          CK_SESSION_HANDLE *session) {
    note_call("open");
    return asked("gone") ? CKR_TOKEN_NOT_PRESENT
                         : real->C_OpenSession(slot, flags, context, notify, session);
}

static CK_RV close_session(CK_SESSION_HANDLE session) {
    note_call("close");
    return real->C_CloseSession(session);
}

static CK_RV initialize(void *arguments) {
    note_call("start");
    return asked("no-start") ? CKR_GENERAL_ERROR : real->C_Initialize(arguments);
}

static CK_RV finalize(void *reserved) {
    note_call("end");
    return real->C_Finalize(reserved);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list) {
    CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;
    void *library = dlopen(getenv("PKCS11_SHIM_MODULE"), RTLD_NOW | RTLD_LOCAL);
    if (library != NULL) {
        *(void **)&get = dlsym(library, "C_GetFunctionList");
    }
    if (get == NULL || get(&real) != CKR_OK) {
        return CKR_GENERAL_ERROR;
    }
    ours = *real;
    ours.C_Initialize = initialize;
    ours.C_GetFunctionList = C_GetFunctionList;
    ours.C_GetTokenInfo = get_token_info;
    ours.C_GetMechanismInfo = get_mechanism_info;
    ours.C_Finalize = finalize;
    ours.C_OpenSession = open_session;
    ours.C_CloseSession = close_session;
    ours.C_Login = login;
    ours.C_Sign = sign;
    ours.C_GetAttributeValue = get_attributes_with_room;
    *list = &ours;
    return CKR_OK;
}
