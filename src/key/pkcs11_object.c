/* SPDX-License-Identifier: Apache-2.0 */
/* Objects on a token: finding them by what a URI says, and reading their attributes. */
#include "key/pkcs11.h"

#include <string.h>

enum {
    FIND_BATCH = 32,
    SHOWN_LIMIT = 16,              /* objects in one message */
    ATTRIBUTE_LIMIT = 1024 * 1024, /* bytes; a certificate is the largest thing read */
};

void hm_pkcs11_objects_free(hm_pkcs11_objects *objects) {
    hm_auto_free_(&objects->list);
    *objects = (hm_pkcs11_objects){.list = NULL};
}

static hm_status collect(const hm_pkcs11_token *token, hm_pkcs11_objects *found, hm_error **error) {
    CK_OBJECT_HANDLE batch[FIND_BATCH];
    CK_ULONG count = 0;
    do {
        CK_RV rv = token->module->C_FindObjects(token->session, batch, FIND_BATCH, &count);
        if (rv != CKR_OK || count > FIND_BATCH) {
            return hm_pkcs11_fail(error, rv != CKR_OK ? rv : CKR_DEVICE_ERROR,
                                  "cannot look for keys on the token \"%s\"", token->label);
        }
        for (CK_ULONG i = 0; i < count; i++) {
            if (!hm_grow(&found->list, found->count, &found->capacity, sizeof(CK_OBJECT_HANDLE))) {
                return hm_fail_memory(error);
            }
            found->list[found->count++] = batch[i];
        }
    } while (count > 0);
    return HM_OK;
}

hm_status hm_pkcs11_find(const hm_pkcs11_token *token, CK_ATTRIBUTE *wanted, CK_ULONG wanted_count,
                         hm_pkcs11_objects *found, hm_error **error) {
    CK_RV rv = token->module->C_FindObjectsInit(token->session, wanted, wanted_count);
    if (rv != CKR_OK) {
        return hm_pkcs11_fail(error, rv, "cannot look for keys on the token \"%s\"", token->label);
    }
    hm_status status = collect(token, found, error);
    (void)token->module->C_FindObjectsFinal(token->session);
    return status;
}

hm_status hm_pkcs11_find_named(const hm_pkcs11_token *token, const hm_pkcs11_uri *uri,
                               CK_OBJECT_CLASS kind, hm_pkcs11_objects *found, hm_error **error) {
    static const CK_ATTRIBUTE_TYPE names[] = {CKA_ID, CKA_LABEL};
    CK_ATTRIBUTE wanted[3] = {{CKA_CLASS, &kind, sizeof kind}};
    CK_ULONG count = 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const CK_ATTRIBUTE *name = p11_kit_uri_get_attribute(uri->object, names[i]);
        if (name != NULL) {
            wanted[count++] = *name;
        }
    }
    return hm_pkcs11_find(token, wanted, count, found, error);
}

hm_status hm_pkcs11_attribute(const hm_pkcs11_token *token, CK_OBJECT_HANDLE object,
                              CK_ATTRIBUTE_TYPE type, hm_buf *value, hm_error **error) {
    CK_ATTRIBUTE attribute = {type, NULL, 0};
    CK_RV rv = token->module->C_GetAttributeValue(token->session, object, &attribute, 1);
    if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE ||
        attribute.ulValueLen == CK_UNAVAILABLE_INFORMATION || attribute.ulValueLen == 0) {
        return HM_OK;
    }
    if (rv == CKR_OK && attribute.ulValueLen > ATTRIBUTE_LIMIT) {
        rv = CKR_DEVICE_ERROR;
    }
    CK_ULONG room = attribute.ulValueLen;
    if (rv == CKR_OK) {
        attribute.pValue = hm_buf_extend(value, room);
        if (attribute.pValue == NULL) {
            return hm_fail_memory(error);
        }
        rv = token->module->C_GetAttributeValue(token->session, object, &attribute, 1);
    }
    if (rv != CKR_OK || attribute.ulValueLen > room) {
        return hm_pkcs11_fail(error, rv != CKR_OK ? rv : CKR_DEVICE_ERROR,
                              "cannot read a key on the token \"%s\"", token->label);
    }
    value->length -= room - attribute.ulValueLen;
    return HM_OK;
}

bool hm_pkcs11_flag(const hm_pkcs11_token *token, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                    bool missing) {
    CK_BBOOL value = CK_FALSE;
    CK_ATTRIBUTE attribute = {type, &value, sizeof value};
    CK_RV rv = token->module->C_GetAttributeValue(token->session, object, &attribute, 1);
    return rv == CKR_OK && attribute.ulValueLen == sizeof value ? value != CK_FALSE : missing;
}

void hm_pkcs11_list_objects(const hm_pkcs11_token *token, const hm_pkcs11_objects *objects,
                            hm_buf *text) {
    for (size_t i = 0; i < objects->count && i < SHOWN_LIMIT; i++) {
        hm_auto_buf label = {.data = NULL};
        hm_auto_buf id = {.data = NULL};
        (void)!hm_pkcs11_attribute(token, objects->list[i], CKA_LABEL, &label, NULL);
        (void)!hm_pkcs11_attribute(token, objects->list[i], CKA_ID, &id, NULL);
        hm_buf_add_format(text, "%s\"%.*s\"", text->length > 0 ? ", " : "", (int)label.length,
                          label.length > 0 ? (const char *)label.data : "");
        hm_buf_add_text(text, id.length > 0 ? " (id=" : "");
        for (size_t j = 0; j < id.length; j++) {
            hm_buf_add_format(text, "%%%02X", id.data[j]);
        }
        hm_buf_add_text(text, id.length > 0 ? ")" : "");
    }
    if (objects->count > SHOWN_LIMIT) {
        hm_buf_add_text(text, ", ...");
    }
}

/* ---- the private key ------------------------------------------------------------------------ */

/* Without a login private keys may be hidden; what goes with them often is not. */
static bool shows_key(hm_pkcs11_token *token, const hm_pkcs11_uri *uri) {
    static const CK_OBJECT_CLASS kinds[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_CERTIFICATE};
    hm_auto_pkcs11_objects found = {.list = NULL};
    hm_status status = hm_pkcs11_session(token, 0, NULL);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && status == HM_OK; i++) {
        status = hm_pkcs11_find_named(token, uri, kinds[i], &found, NULL);
    }
    return status == HM_OK && found.count > 0;
}

/* A PIN is never sent to a token that may not be the one that it is for. */
hm_status hm_pkcs11_choose_token(hm_pkcs11 *p, hm_error **error) {
    hm_pkcs11_token *only = NULL;
    size_t shown = 0;
    for (size_t i = 0; p->token_count > 1 && i < p->token_count; i++) {
        if (shows_key(&p->tokens[i], p->uri)) {
            only = &p->tokens[i];
            shown++;
        }
    }
    if (shown != 1) {
        return hm_pkcs11_only_token(p, error);
    }
    p->token = only;
    return HM_OK;
}

static hm_status fail_not_one(const hm_pkcs11 *p, const hm_pkcs11_objects *found,
                              hm_error **error) {
    hm_auto_buf names = {.data = NULL};
    hm_auto_pkcs11_objects all = {.list = NULL};
    CK_OBJECT_CLASS kind = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE any = {CKA_CLASS, &kind, sizeof kind};
    if (found->count > 1) {
        hm_pkcs11_list_objects(p->token, found, &names);
    } else if (hm_pkcs11_find(p->token, &any, 1, &all, NULL) == HM_OK) {
        hm_pkcs11_list_objects(p->token, &all, &names);
    }
    hm_status status = hm_buf_check(&names, error);
    if (status != HM_OK) {
        return status;
    }
    if (found->count > 1) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE,
                      "%s fits %zu private keys on the token \"%s\": %s", p->uri->shown,
                      found->count, p->token->label, (const char *)names.data);
        hm_error_add_hint(error, "say which with id= or object=");
        return HM_USAGE;
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                  "there is no private key for %s on the token \"%s\"", p->uri->shown,
                  p->token->label);
    hm_error_add_hint(error, "private keys that are there: %s",
                      names.length > 0 ? (const char *)names.data : "none");
    return HM_UNDECIDED;
}

hm_status hm_pkcs11_find_private(hm_pkcs11 *p, hm_error **error) {
    hm_auto_pkcs11_objects found = {.list = NULL};
    hm_status status = hm_pkcs11_find_named(p->token, p->uri, CKO_PRIVATE_KEY, &found, error);
    if (status == HM_OK && found.count != 1) {
        status = fail_not_one(p, &found, error);
    }
    if (status == HM_OK) {
        p->key = found.list[0];
        p->asks_always = hm_pkcs11_flag(p->token, p->key, CKA_ALWAYS_AUTHENTICATE, false);
    }
    return status;
}
