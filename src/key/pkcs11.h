/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the files of the PKCS#11 backend, and by nobody else: a URI taken apart (RFC 7512), the
 * tokens it means, objects on them. Built only where p11-kit is.
 */
#ifndef HM_KEY_PKCS11_H
#define HM_KEY_PKCS11_H

#include "key/internal.h"

#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>

/* ---- URIs ----------------------------------------------------------------------------------- */

typedef struct hm_pkcs11_uri {
    P11KitUri *object; /* the path: which module, slot, token and object */
    char *shown;       /* for messages: the path, never what stands behind "?" */
    char *module_path; /* NULL, like the next two: not given */
    char *module_name;
    char *pin_source; /* path of a file */
    hm_secret pin;    /* no pages: not given */
} hm_pkcs11_uri;

/*
 * ::HM_USAGE when it is no such URI, or asks for what is not supported: nothing in it is passed
 * over. No error quotes a value, as any may be a PIN that landed in the wrong place.
 */
HM_MUST_USE hm_status hm_pkcs11_uri_parse(const char *text, hm_pkcs11_uri **uri, hm_error **error);
void hm_pkcs11_uri_free(hm_pkcs11_uri **uri);
/* ::HM_USAGE unless the URI's type is absent, `one` or `other`; `what` names what is looked for. */
HM_MUST_USE hm_status hm_pkcs11_uri_check_type(const hm_pkcs11_uri *uri, CK_OBJECT_CLASS one,
                                               CK_OBJECT_CLASS other, const char *what,
                                               hm_error **error);

/* ---- tokens --------------------------------------------------------------------------------- */

typedef struct hm_pkcs11_token {
    CK_FUNCTION_LIST *module;
    CK_SLOT_ID slot;
    CK_TOKEN_INFO info;
    char *label;
    CK_SESSION_HANDLE session; /* CK_INVALID_HANDLE: none */
} hm_pkcs11_token;

/* What is open for one URI; the state of a signer. */
typedef struct hm_pkcs11 {
    hm_pkcs11_uri *uri;
    CK_FUNCTION_LIST **modules; /* ours to end, up to a NULL */
    hm_pkcs11_token *tokens;    /* those that the URI fits; at least one */
    size_t token_count;
    size_t token_capacity;
    hm_pkcs11_token *token; /* where the private key is */
    CK_OBJECT_HANDLE key;
    bool asks_always; /* every signature wants the PIN again; it is kept then */
    hm_secret pin;
} hm_pkcs11;

/* Loads the modules and finds the tokens. Opens no session. */
HM_MUST_USE hm_status hm_pkcs11_open(const char *text, hm_pkcs11 **opened, hm_error **error);
void hm_pkcs11_close(hm_pkcs11 **opened);
#define hm_auto_pkcs11 HM_CLEANUP(hm_pkcs11_close) hm_pkcs11 *

/* A session, unless there is one. `flags`: 0 or CKF_RW_SESSION. */
HM_MUST_USE hm_status hm_pkcs11_session(hm_pkcs11_token *token, CK_FLAGS flags, hm_error **error);
/* Sets p->token to the only token; ::HM_USAGE when the URI fits several. */
HM_MUST_USE hm_status hm_pkcs11_only_token(hm_pkcs11 *p, hm_error **error);
/*
 * Logs in as user where the token wants that, with one attempt: a wrong PIN is never tried again.
 * The PIN is left in p->pin.
 */
HM_MUST_USE hm_status hm_pkcs11_login(hm_pkcs11 *p, hm_passphrase_fn ask, void *context,
                                      hm_error **error);
/* The same for the one signature that was just begun. */
HM_MUST_USE hm_status hm_pkcs11_login_again(hm_pkcs11 *p, hm_error **error);
/* ::HM_UNDECIDED with what the module says, and what to do where a token was taken away. */
hm_status hm_pkcs11_fail(hm_error **error, CK_RV rv, const char *format, ...) HM_PRINTF(3, 4);

/* ---- objects -------------------------------------------------------------------------------- */

typedef struct hm_pkcs11_objects {
    CK_OBJECT_HANDLE *list;
    size_t count;
    size_t capacity;
} hm_pkcs11_objects;
void hm_pkcs11_objects_free(hm_pkcs11_objects *objects);
#define hm_auto_pkcs11_objects HM_CLEANUP(hm_pkcs11_objects_free) hm_pkcs11_objects

/* Adds what a template fits to `found`. */
HM_MUST_USE hm_status hm_pkcs11_find(const hm_pkcs11_token *token, CK_ATTRIBUTE *wanted,
                                     CK_ULONG wanted_count, hm_pkcs11_objects *found,
                                     hm_error **error);
/* The objects of this class with the label and id that the URI names. */
HM_MUST_USE hm_status hm_pkcs11_find_named(const hm_pkcs11_token *token, const hm_pkcs11_uri *uri,
                                           CK_OBJECT_CLASS kind, hm_pkcs11_objects *found,
                                           hm_error **error);
/* Sets p->token to the only one, or to the only one that shows such a key without a login. */
HM_MUST_USE hm_status hm_pkcs11_choose_token(hm_pkcs11 *p, hm_error **error);
/* Sets p->key to the one private key on p->token that is meant. */
HM_MUST_USE hm_status hm_pkcs11_find_private(hm_pkcs11 *p, hm_error **error);
/* Appends an attribute's value; nothing where the object has none or keeps it to itself. */
HM_MUST_USE hm_status hm_pkcs11_attribute(const hm_pkcs11_token *token, CK_OBJECT_HANDLE object,
                                          CK_ATTRIBUTE_TYPE type, hm_buf *value, hm_error **error);
/* A CK_BBOOL; `missing` where there is none. */
bool hm_pkcs11_flag(const hm_pkcs11_token *token, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                    bool missing);
/* "label" (id=%01%02), ... for messages. */
void hm_pkcs11_list_objects(const hm_pkcs11_token *token, const hm_pkcs11_objects *objects,
                            hm_buf *text);

/* ---- public halves -------------------------------------------------------------------------- */

/* The public half of a private key, from wherever the token has it. */
HM_MUST_USE hm_status hm_pkcs11_public_half(const hm_pkcs11 *p, hm_pubkey **key, hm_error **error);
/* The public key that the URI names, on whichever token, without a login. */
HM_MUST_USE hm_status hm_pkcs11_public_key(const char *text, hm_pubkey **key, hm_error **error);
/* The certificate that the URI names, likewise; a list of one. */
HM_MUST_USE hm_status hm_pkcs11_certificates(const char *text, STACK_OF(X509) **certificates,
                                             hm_error **error);

/* ---- acts ----------------------------------------------------------------------------------- */

HM_MUST_USE hm_status hm_pkcs11_sign(hm_signer *signer, hm_scheme scheme, hm_bytes message,
                                     hm_buf *signature, hm_error **error);
HM_MUST_USE hm_status hm_pkcs11_generate(const char *text, const char *public_path,
                                         const hm_keygen_options *options, hm_error **error);

#endif
