/* SPDX-License-Identifier: Apache-2.0 */
/* Signers: which backend holds the key, the certificates that go with it, signing. */
#include "key/internal.h"
#include "key/keyring.h"

#include <string.h>
#include <unistd.h>

#include <openssl/err.h>

/* Where private keys can live. The last one takes everything that looks like a path. */
static const hm_key_backend *const backends[] = {
    &hm_key_backend_pkcs11,
    &hm_key_backend_pem,
    &hm_key_backend_awskms,
    &hm_key_backend_azurekms,
};
enum { BACKEND_COUNT = sizeof backends / sizeof backends[0] };

/* Length of the URI scheme that `key` begins with (RFC 3986, 3.1: in any case), or 0. */
static size_t uri_scheme_length(const char *key) {
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char other[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-";
    size_t length = strspn(key, other);
    /* One letter is a drive on other systems, and no service's name anywhere. */
    return length > 1 && strchr(first, key[0]) != NULL && key[length] == ':' ? length : 0;
}

/* "a path to a PEM file, pkcs11:..." */
static char *known_places(void) {
    hm_auto_buf text = {.data = NULL};
    hm_buf_add_text(&text, "a path to a PEM file");
    for (size_t i = 0; i < BACKEND_COUNT; i++) {
        if (backends[i]->scheme != NULL) {
            hm_buf_add_format(&text, ", %s:...", backends[i]->scheme);
        }
    }
    return hm_buf_steal_text(&text);
}

static hm_status fail_unknown_scheme(const char *key, size_t length, hm_error **error) {
    hm_auto_free char *scheme = hm_strndup(key, length);
    hm_auto_free char *places = known_places();
    if (scheme == NULL || places == NULL) {
        return hm_fail_memory(error);
    }
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "keys of the kind \"%s:\" are not known",
                  scheme);
    hm_error_add_hint(error, "a key is given as %s", places);
    return HM_USAGE;
}

static hm_status find_backend(const char *key, const hm_key_backend **backend, hm_error **error) {
    size_t length = uri_scheme_length(key);
    const hm_key_backend *path_backend = &hm_key_backend_pem;
    for (size_t i = 0; i < BACKEND_COUNT; i++) {
        const char *scheme = backends[i]->scheme;
        if (scheme != NULL && length > 0 && strlen(scheme) == length &&
            strncasecmp(key, scheme, length) == 0) {
            *backend = backends[i];
            return HM_OK;
        }
    }
    /* A mistyped key service is not to be taken for a file, unless there is one of that name. */
    if (length > 0 && access(key, F_OK) != 0) {
        return fail_unknown_scheme(key, length, error);
    }
    *backend = path_backend;
    return HM_OK;
}

hm_status hm_key_generate(const char *key, const char *public_path,
                          const hm_keygen_options *options, hm_error **error) {
    const hm_key_backend *backend = NULL;
    if (key == NULL || key[0] == '\0' || options == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "no file is named for the private key");
    }
    hm_status status = hm_keygen_check(options, error);
    if (status == HM_OK) {
        status = find_backend(key, &backend, error);
    }
    if (status != HM_OK) {
        return status;
    }
    return backend->generate != NULL
               ? backend->generate(key, public_path, options, error)
               : hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "keys of the kind \"%s:\" are made with its own tools", backend->scheme);
}

/* For messages: a path, or a key URI without what stands behind "?", which may be a PIN. */
static char *shown_place(const char *place) {
    const hm_key_backend *backend = NULL;
    bool uri = find_backend(place, &backend, NULL) == HM_OK && backend->scheme != NULL;
    return hm_strndup(place, uri ? strcspn(place, "?") : strlen(place));
}

static hm_status load_file(const char *path, hm_pubkey **pubkey, hm_error **error) {
    hm_auto_buf file = {.data = NULL};
    if (hm_is_keyring(path)) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is a directory, not a public key",
                      path);
        hm_error_add_hint(error, "of a keyring, name the .pub file of one version, or verify by "
                                 "what `hallmark key export` writes: --keyring");
        return HM_UNDECIDED;
    }
    hm_status status = hm_key_file_read(path, HM_KEY_FILE_LIMIT, &file, error);
    return status == HM_OK ? hm_pubkey_parse(hm_buf_view(&file), path, pubkey, error) : status;
}

hm_status hm_pubkey_load(const char *key, hm_pubkey **pubkey, hm_error **error) {
    const hm_key_backend *backend = NULL;
    hm_status status = find_backend(key, &backend, error);
    if (status != HM_OK) {
        return status;
    }
    return backend->public_key != NULL ? backend->public_key(key, pubkey, error)
                                       : load_file(key, pubkey, error);
}

hm_status hm_signer_open(const char *key, const hm_signer_options *options, hm_signer **signer,
                         hm_error **error) {
    HM_CLEANUP(hm_signer_close) hm_signer *made = NULL;
    hm_status status = HM_OK;
    if (key == NULL || key[0] == '\0' || signer == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "hm_signer_open: no key was named");
    }
    if (options != NULL) {
        status = hm_check_options("hm_signer_open", options->size, sizeof *options, options->flags,
                                  0, error);
    }
    if (status != HM_OK) {
        return status;
    }
    made = hm_alloc(1, sizeof *made);
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    status = find_backend(key, &made->backend, error);
    if (status == HM_OK) {
        bool ring = made->backend == &hm_key_backend_pem && hm_is_keyring(key);
        status = ring ? hm_keyring_open_signer(made, key, options, error)
                      : made->backend->open(made, key, options, error);
    }
    if (status == HM_OK) {
        *signer = made;
        made = NULL;
    }
    return status;
}

void hm_signer_close(hm_signer **signer) {
    if (signer == NULL || *signer == NULL) {
        return;
    }
    if ((*signer)->backend != NULL) {
        (*signer)->backend->close(*signer);
    }
    hm_pubkey_free(&(*signer)->public_key);
    hm_x509_stack_free(&(*signer)->certificates);
    hm_auto_free_(signer);
    *signer = NULL;
}

const char *hm_signer_algorithm(const hm_signer *signer) {
    return signer->public_key->algorithm;
}

const char *hm_signer_fingerprint(const hm_signer *signer) {
    return signer->public_key->fingerprint;
}

uint64_t hm_signer_key_version(const hm_signer *signer) {
    return signer->key_version;
}

/* ---- certificates --------------------------------------------------------------------------- */

hm_status hm_certificates_load(const char *place, STACK_OF(X509) **list, hm_error **error) {
    hm_auto_buf file = {.data = NULL};
    const hm_key_backend *backend = NULL;
    hm_status status = find_backend(place, &backend, error);
    if (status == HM_OK && backend->certificates != NULL) {
        return backend->certificates(place, list, error);
    }
    if (status == HM_OK) {
        status = hm_key_file_read(place, HM_CERTIFICATE_FILE_LIMIT, &file, error);
    }
    return status == HM_OK ? hm_certificates_parse(hm_buf_view(&file), place, list, error) : status;
}

static bool holds(const STACK_OF(X509) *list, const X509 *certificate) {
    for (int i = 0; i < sk_X509_num(list); i++) {
        if (X509_cmp(sk_X509_value(list, i), certificate) == 0) {
            return true;
        }
    }
    return false;
}

/*
 * Adds a file's certificates in their order. A root says nothing to a verifier, who must have it
 * from elsewhere; a leaf that is its own root is all there is, and stays.
 */
static hm_status append_file(STACK_OF(X509) *chain, const char *path, hm_error **error) {
    hm_auto_x509_stack list = NULL;
    hm_status status = hm_certificates_load(path, &list, error);
    for (int i = 0; status == HM_OK && i < sk_X509_num(list); i++) {
        X509 *certificate = sk_X509_value(list, i);
        bool root = sk_X509_num(chain) > 0 && hm_certificate_self_signed(certificate);
        if (root || holds(chain, certificate)) {
            continue;
        }
        if (X509_up_ref(certificate) != 1) {
            status = hm_fail_memory(error);
        } else if (sk_X509_push(chain, certificate) <= 0) {
            X509_free(certificate);
            status = hm_fail_memory(error);
        }
    }
    ERR_clear_error();
    return status;
}

/* OMS asks for EC keys on P-256, P-384 or P-521 in certificates. */
static hm_status check_leaf(const hm_signer *signer, X509 *leaf, const char *path,
                            hm_error **error) {
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *key = NULL;
    EVP_PKEY *pkey = X509_get0_pubkey(leaf);
    hm_status status = hm_scheme_check(signer->public_key, HM_SCHEME_ECDSA_SHA256,
                                       "signing by certificate", error);
    if (status != HM_OK) {
        return status;
    }
    if (pkey == NULL) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE,
                              "%s: cannot read the certificate's key", path);
    }
    status = hm_pubkey_from_evp(pkey, path, &key, error);
    if (status != HM_OK) {
        return status;
    }
    if (strcmp(key->fingerprint, signer->public_key->fingerprint) != 0) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE,
                      "the first certificate in %s is for another key (%s) than the signer's (%s)",
                      path, key->fingerprint, signer->public_key->fingerprint);
        hm_error_add_hint(error, "the signer's own certificate comes first in its file");
        return HM_USAGE;
    }
    return HM_OK;
}

hm_status hm_signer_set_certificates(hm_signer *signer, const char *leaf, const char *const *chain,
                                     size_t chain_count, hm_error **error) {
    hm_auto_x509_stack list = NULL;
    if (signer == NULL || leaf == NULL || (chain == NULL && chain_count > 0)) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_signer_set_certificates: an argument is missing");
    }
    list = sk_X509_new_null();
    if (list == NULL) {
        ERR_clear_error();
        return hm_fail_memory(error);
    }
    hm_status status = append_file(list, leaf, error);
    if (status == HM_OK) {
        hm_auto_free char *shown = shown_place(leaf);
        status = shown != NULL ? check_leaf(signer, sk_X509_value(list, 0), shown, error)
                               : hm_fail_memory(error);
    }
    for (size_t i = 0; status == HM_OK && i < chain_count; i++) {
        status = append_file(list, chain[i], error);
    }
    if (status == HM_OK && sk_X509_num(list) > HM_CHAIN_LIMIT) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "%d certificates are more than the %d that verifiers take",
                         sk_X509_num(list), HM_CHAIN_LIMIT);
        hm_error_add_hint(error, "give only those on the way from the signer's to a root");
    }
    if (status == HM_OK) {
        hm_x509_stack_free(&signer->certificates);
        signer->certificates = list;
        list = NULL;
    }
    return status;
}

/* ---- signing -------------------------------------------------------------------------------- */

/*
 * A fault in the middle of signing can give a signature that betrays the private key; and a key
 * service may have signed with another key. Neither leaves this function.
 */
static hm_status check_own(const hm_signer *signer, hm_scheme scheme, hm_bytes message,
                           hm_bytes signature, hm_error **error) {
    hm_auto_error cause = NULL;
    hm_status status = hm_pubkey_verify(signer->public_key, scheme, message, signature, &cause);
    if (status == HM_REFUSED) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "the key made a signature that its public half does not verify");
    }
    return status == HM_OK ? HM_OK : hm_error_move(error, &cause);
}

hm_status hm_signer_check(const hm_signer *signer, hm_scheme scheme, const char *what,
                          hm_error **error) {
    hm_status status = hm_scheme_check(signer->public_key, scheme, what, error);
    if (status == HM_OK && signer->backend->check != NULL) {
        status = signer->backend->check(signer, scheme, what, error);
    }
    return status;
}

hm_status hm_signer_sign(hm_signer *signer, hm_scheme scheme, hm_bytes message, hm_buf *signature,
                         hm_error **error) {
    hm_auto_buf made = {.data = NULL};
    hm_status status = hm_signer_check(signer, scheme, "this kind of signature", error);
    if (status == HM_OK) {
        status = signer->backend->sign(signer, scheme, message, &made, error);
    }
    if (status == HM_OK) {
        status = check_own(signer, scheme, message, hm_buf_view(&made), error);
    }
    if (status == HM_OK) {
        hm_buf_add(signature, made.data, made.length);
        status = hm_buf_check(signature, error);
    }
    ERR_clear_error();
    return status;
}
