/* SPDX-License-Identifier: Apache-2.0 */
/* Makes key pairs inside a token, from which the private half never comes out. */
#include "key/pkcs11.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

enum {
    ID_SIZE = 16, /* random: nobody else's */
    TEMPLATE_ROOM = 16,
};

static const struct token_kind {
    const char *name;
    CK_KEY_TYPE type;
    CK_MECHANISM_TYPE mechanism;
    CK_ULONG bits; /* of RSA */
    /* CKA_EC_PARAMS: the curve's object identifier, or its name, in DER */
    const char *parameters;
    CK_ULONG parameters_length;
} kinds[] = {
    {"ec-p256", CKK_EC, CKM_EC_KEY_PAIR_GEN, 0, "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", 10},
    {"ec-p384", CKK_EC, CKM_EC_KEY_PAIR_GEN, 0, "\x06\x05\x2b\x81\x04\x00\x22", 7},
    {"ec-p521", CKK_EC, CKM_EC_KEY_PAIR_GEN, 0, "\x06\x05\x2b\x81\x04\x00\x23", 7},
    {"rsa-3072", CKK_RSA, CKM_RSA_PKCS_KEY_PAIR_GEN, 3072, NULL, 0},
    {"rsa-4096", CKK_RSA, CKM_RSA_PKCS_KEY_PAIR_GEN, 4096, NULL, 0},
    /* PKCS#11 3.0, 2.3.10: "edwards25519" as a PrintableString */
    {"ed25519", CKK_EC_EDWARDS, CKM_EC_EDWARDS_KEY_PAIR_GEN, 0,
     "\x13\x0c"
     "edwards25519",
     14},
};

/* A pair that is being made; removed again unless all goes well. */
typedef struct pair {
    hm_pkcs11_token *token; /* NULL: nothing to remove */
    CK_OBJECT_HANDLE public_key;
    CK_OBJECT_HANDLE private_key;
} pair;

static void pair_remove(pair *made) {
    if (made->token != NULL) {
        (void)made->token->module->C_DestroyObject(made->token->session, made->private_key);
        (void)made->token->module->C_DestroyObject(made->token->session, made->public_key);
    }
}

typedef struct template {
    CK_ATTRIBUTE list[TEMPLATE_ROOM];
    CK_ULONG count;
}
template;

static void put(template *in, CK_ATTRIBUTE_TYPE type, const void *value, CK_ULONG length) {
    /* A module changes nothing in a template for a new key; its interface knows no const. */
    in->list[in->count++] = (CK_ATTRIBUTE){type, (void *)(uintptr_t)value, length};
}

static void put_flag(template *in, CK_ATTRIBUTE_TYPE type, bool set) {
    static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    put(in, type, set ? &yes : &no, sizeof yes);
}

static const struct token_kind *find_kind(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (name == NULL || strcmp(name, kinds[i].name) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

/* ---- checks --------------------------------------------------------------------------------- */

static hm_status check_call(const hm_pkcs11 *p, const hm_keygen_options *options,
                            hm_error **error) {
    if ((options->flags & HM_KEYGEN_PLAIN) != 0) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE,
                      "a key in a token is never stored unencrypted");
        hm_error_add_hint(error, "leave --no-passphrase out; the PIN of the token is asked for");
        return HM_USAGE;
    }
    if (p11_kit_uri_get_attribute(p->uri->object, CKA_LABEL) == NULL) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s names no label for the new key",
                      p->uri->shown);
        hm_error_add_hint(error, "add object=LABEL");
        return HM_USAGE;
    }
    return hm_pkcs11_uri_check_type(p->uri, CKO_PRIVATE_KEY, CKO_PRIVATE_KEY, "a private key",
                                    error);
}

static hm_status check_kind(const hm_pkcs11_token *token, const struct token_kind *kind,
                            hm_error **error) {
    CK_MECHANISM_INFO info;
    CK_RV rv = token->module->C_GetMechanismInfo(token->slot, kind->mechanism, &info);
    if (rv == CKR_OK && kind->bits > 0 &&
        (kind->bits < info.ulMinKeySize || kind->bits > info.ulMaxKeySize)) {
        rv = CKR_MECHANISM_INVALID;
    }
    if (rv == CKR_OK) {
        return HM_OK;
    }
    if (rv != CKR_MECHANISM_INVALID) {
        return hm_pkcs11_fail(error, rv, "the token \"%s\" does not say what it can make",
                              token->label);
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                  "the token \"%s\" cannot make keys of the type %s", token->label, kind->name);
    hm_error_add_hint(error, "choose another with --type; most tokens make ec-p256");
    return HM_UNDECIDED;
}

/* Neither the label nor the id may be that of a key that is there. */
static hm_status check_free(const hm_pkcs11 *p, const CK_ATTRIBUTE *name, hm_error **error) {
    static const CK_OBJECT_CLASS classes[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY};
    hm_auto_pkcs11_objects found = {.list = NULL};
    hm_auto_buf names = {.data = NULL};
    hm_status status = HM_OK;
    for (size_t i = 0; status == HM_OK && i < sizeof classes / sizeof classes[0]; i++) {
        CK_OBJECT_CLASS class = classes[i];
        CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof class}, *name};
        status = hm_pkcs11_find(p->token, wanted, 2, &found, error);
    }
    if (status != HM_OK || found.count == 0) {
        return status;
    }
    hm_pkcs11_list_objects(p->token, &found, &names);
    status = hm_buf_check(&names, error);
    if (status != HM_OK) {
        return status;
    }
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE,
                  "a key with this %s exists on the token \"%s\" and is not written over: %s",
                  name->type == CKA_ID ? "id" : "label", p->token->label, (const char *)names.data);
    hm_error_add_hint(error, "choose another object= and id=, or remove the old key first");
    return HM_USAGE;
}

/* ---- making --------------------------------------------------------------------------------- */

static void fill_templates(const struct token_kind *kind, const CK_ATTRIBUTE *label,
                           const CK_ATTRIBUTE *id, template *public_key, template *private_key) {
    static const uint8_t exponent[] = {1, 0, 1};
    template *const both[] = {public_key, private_key};
    for (size_t i = 0; i < 2; i++) {
        put_flag(both[i], CKA_TOKEN, true);
        put_flag(both[i], CKA_PRIVATE, i == 1);
        put(both[i], CKA_KEY_TYPE, &kind->type, sizeof kind->type);
        put(both[i], CKA_LABEL, label->pValue, label->ulValueLen);
        put(both[i], CKA_ID, id->pValue, id->ulValueLen);
    }
    put_flag(public_key, CKA_VERIFY, true);
    put_flag(public_key, CKA_ENCRYPT, false);
    put_flag(public_key, CKA_WRAP, false);
    put_flag(private_key, CKA_SIGN, true);
    put_flag(private_key, CKA_SENSITIVE, true);
    put_flag(private_key, CKA_EXTRACTABLE, false);
    /* A key that signs does nothing else; some tokens allow all that nobody forbade. */
    put_flag(private_key, CKA_DECRYPT, false);
    put_flag(private_key, CKA_UNWRAP, false);
    if (kind->bits > 0) {
        put(public_key, CKA_MODULUS_BITS, &kind->bits, sizeof kind->bits);
        put(public_key, CKA_PUBLIC_EXPONENT, exponent, sizeof exponent);
    } else {
        put_flag(private_key, CKA_DERIVE, false);
        put(public_key, CKA_EC_PARAMS, kind->parameters, kind->parameters_length);
    }
}

static hm_status make_pair(hm_pkcs11 *p, const struct token_kind *kind, const CK_ATTRIBUTE *label,
                           const CK_ATTRIBUTE *id, pair *made, hm_error **error) {
    template public_key = {.count = 0};
    template private_key = {.count = 0};
    CK_MECHANISM mechanism = {kind->mechanism, NULL, 0};
    hm_pkcs11_token *token = p->token;
    fill_templates(kind, label, id, &public_key, &private_key);
    CK_RV rv =
        token->module->C_GenerateKeyPair(token->session, &mechanism, public_key.list,
                                         public_key.count, private_key.list, private_key.count,
                                         &made->public_key, &made->private_key);
    if (rv != CKR_OK) {
        return hm_pkcs11_fail(error, rv, "the token \"%s\" did not make a key", token->label);
    }
    made->token = token;
    p->key = made->private_key;
    /* A token that does not keep to what was asked is no place for a key. */
    if (!hm_pkcs11_flag(token, p->key, CKA_SENSITIVE, false) ||
        hm_pkcs11_flag(token, p->key, CKA_EXTRACTABLE, true)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "the token \"%s\" made a private key that can be read out; it is removed",
                       token->label);
    }
    return HM_OK;
}

static hm_status write_public(const hm_pubkey *key, const char *path, hm_error **error) {
    hm_auto_bio bio = BIO_new(BIO_s_mem());
    char *data = NULL;
    if (bio == NULL || PEM_write_bio_PUBKEY(bio, key->pkey) != 1) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot encode the public key");
    }
    long length = BIO_get_mem_data(bio, &data);
    return hm_write_file(path, hm_bytes_of(data, length > 0 ? (size_t)length : 0), 0644,
                         HM_WRITE_NEW, error);
}

/* A signature shows that the pair works, and that the public half read is its own. */
static hm_status try_out(hm_pkcs11 *p, hm_signer *trial, hm_error **error) {
    hm_auto_buf signature = {.data = NULL};
    static const char words[] = "hallmark key generate";
    hm_status status = hm_pkcs11_public_half(p, &trial->public_key, error);
    if (status == HM_OK) {
        trial->backend = &hm_key_backend_pkcs11;
        trial->state = p;
        status = hm_signer_sign(trial, HM_SCHEME_BY_KEY, hm_bytes_text(words), &signature, error);
    }
    return status;
}

static hm_status generate(hm_pkcs11 *p, const struct token_kind *kind, const char *public_path,
                          hm_error **error) {
    HM_CLEANUP(pair_remove) pair made = {.token = NULL};
    uint8_t random_id[ID_SIZE];
    CK_ATTRIBUTE fresh = {CKA_ID, random_id, sizeof random_id};
    const CK_ATTRIBUTE *label = p11_kit_uri_get_attribute(p->uri->object, CKA_LABEL);
    const CK_ATTRIBUTE *id = p11_kit_uri_get_attribute(p->uri->object, CKA_ID);
    hm_signer trial = {.backend = NULL};
    if (RAND_bytes(random_id, sizeof random_id) != 1) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot make an id");
    }
    id = id != NULL ? id : &fresh;
    hm_status status = check_free(p, label, error);
    if (status == HM_OK) {
        status = check_free(p, id, error);
    }
    if (status == HM_OK) {
        status = make_pair(p, kind, label, id, &made, error);
    }
    if (status == HM_OK) {
        status = try_out(p, &trial, error);
    }
    if (status == HM_OK && public_path != NULL) {
        status = write_public(trial.public_key, public_path, error);
    }
    if (status == HM_OK) {
        made.token = NULL;
    }
    hm_pubkey_free(&trial.public_key);
    return status;
}

hm_status hm_pkcs11_generate(const char *text, const char *public_path,
                             const hm_keygen_options *options, hm_error **error) {
    hm_auto_pkcs11 p = NULL;
    const struct token_kind *kind = find_kind(options->type);
    hm_status status = kind != NULL ? hm_pkcs11_open(text, &p, error)
                                    : hm_fail(error, HM_USAGE, HM_REASON_NONE,
                                              "tokens make no keys of the type %s", options->type);
    if (status == HM_OK) {
        status = check_call(p, options, error);
    }
    if (status == HM_OK && public_path != NULL) {
        status = hm_key_check_free(public_path, error);
    }
    if (status == HM_OK) {
        status = hm_pkcs11_only_token(p, error);
    }
    if (status == HM_OK) {
        status = check_kind(p->token, kind, error);
    }
    if (status == HM_OK) {
        status = hm_pkcs11_session(p->token, CKF_RW_SESSION, error);
    }
    if (status == HM_OK) {
        status = hm_pkcs11_login(p, options->passphrase, options->passphrase_context, error);
    }
    if (status == HM_OK) {
        status = generate(p, kind, public_path, error);
    }
    ERR_clear_error();
    return status;
}
