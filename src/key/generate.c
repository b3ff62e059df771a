/* SPDX-License-Identifier: Apache-2.0 */
/* Makes key pairs. */
#include "key/internal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

enum {
    PBKDF2_ITERATIONS = 600000, /* OWASP's figure for PBKDF2 with HMAC-SHA-256 */
    PBKDF2_SALT_SIZE = 16,
};

static const struct key_kind {
    const char *name;
    const char *algorithm;
    const char *group; /* of EC */
    size_t bits;       /* of RSA */
} kinds[] = {
    {"ec-p256", "EC", "P-256", 0},   {"ec-p384", "EC", "P-384", 0},
    {"ec-p521", "EC", "P-521", 0},   {"rsa-3072", "RSA", NULL, 3072},
    {"rsa-4096", "RSA", NULL, 4096}, {"ed25519", "ED25519", NULL, 0},
};

static const struct key_kind *find_kind(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (name == NULL || strcmp(name, kinds[i].name) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

static EVP_PKEY *make_key(const struct key_kind *kind) {
    if (kind->group != NULL) {
        return EVP_PKEY_Q_keygen(NULL, NULL, kind->algorithm, kind->group);
    }
    if (kind->bits > 0) {
        return EVP_PKEY_Q_keygen(NULL, NULL, kind->algorithm, kind->bits);
    }
    return EVP_PKEY_Q_keygen(NULL, NULL, kind->algorithm);
}

/* ---- checks --------------------------------------------------------------------------------- */

static char *default_public_path(const char *private_path) {
    size_t length = strlen(private_path);
    if (length > 4 && strcmp(private_path + length - 4, ".pem") == 0) {
        length -= 4;
    }
    hm_auto_free char *stem = hm_strndup(private_path, length);
    return stem != NULL ? hm_textf("%s.pub", stem) : NULL;
}

/* Early, so that nobody chooses a passphrase in vain. Writing checks once more. */
hm_status hm_key_check_free(const char *path, hm_error **error) {
    struct stat st;
    if (lstat(path, &st) == 0) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s exists and is not written over", path);
        hm_error_add_hint(error, "choose another name, or move the old key away first");
        return HM_USAGE;
    }
    return errno == ENOENT ? HM_OK : hm_fail_errno(error, errno, "cannot make %s", path);
}

hm_status hm_keygen_check(const hm_keygen_options *options, hm_error **error) {
    hm_status status = hm_check_options("hm_key_generate", options->size, sizeof *options,
                                        options->flags, HM_KEYGEN_PLAIN, error);
    if (status != HM_OK) {
        return status;
    }
    if (find_kind(options->type) == NULL) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "\"%s\" is not a type of key",
                      options->type);
        hm_error_add_hint(error, "types are ec-p256, ec-p384, ec-p521, rsa-3072, rsa-4096 and "
                                 "ed25519");
        return HM_USAGE;
    }
    return HM_OK;
}

hm_status hm_keygen_check_passphrase(const hm_keygen_options *options, hm_error **error) {
    if ((options->flags & HM_KEYGEN_PLAIN) == 0 && options->passphrase == NULL) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "a private key needs a passphrase");
        hm_error_add_hint(error, "give one with --passphrase-file, or store the key unencrypted "
                                 "with --no-passphrase");
        return HM_USAGE;
    }
    return HM_OK;
}

static hm_status choose_passphrase(const char *private_path, const hm_keygen_options *options,
                                   hm_secret *passphrase, hm_error **error) {
    hm_status status = hm_secret_ask(options->passphrase, options->passphrase_context, private_path,
                                     true, passphrase, error);
    if (status == HM_OK && passphrase->length == 0) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "an empty passphrase protects nothing");
        hm_error_add_hint(error, "to store the key unencrypted, say so: --no-passphrase");
        return HM_USAGE;
    }
    return status;
}

/* ---- encoding ------------------------------------------------------------------------------- */

/* PBES2 (RFC 8018) with AES-256-CBC, which OpenSSL and Python's cryptography read as well. */
static X509_SIG *seal(PKCS8_PRIV_KEY_INFO *info, const hm_secret *passphrase) {
    X509_ALGOR *method = PKCS5_pbe2_set_iv(EVP_aes_256_cbc(), PBKDF2_ITERATIONS, NULL,
                                           PBKDF2_SALT_SIZE, NULL, NID_hmacWithSHA256);
    if (method == NULL) {
        return NULL;
    }
    X509_SIG *sealed =
        PKCS8_set0_pbe((const char *)passphrase->data, (int)passphrase->length, info, method);
    if (sealed == NULL) {
        X509_ALGOR_free(method);
    }
    return sealed;
}

/* `passphrase` NULL: unencrypted. */
static bool write_private(BIO *bio, const EVP_PKEY *pkey, const hm_secret *passphrase) {
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pkey);
    X509_SIG *sealed = info != NULL && passphrase != NULL ? seal(info, passphrase) : NULL;
    bool done = false;
    if (sealed != NULL) {
        done = PEM_write_bio_PKCS8(bio, sealed) == 1;
    } else if (info != NULL && passphrase == NULL) {
        done = PEM_write_bio_PKCS8_PRIV_KEY_INFO(bio, info) == 1;
    }
    X509_SIG_free(sealed);
    PKCS8_PRIV_KEY_INFO_free(info);
    return done;
}

static hm_bytes contents(BIO *bio) {
    char *data = NULL;
    long length = BIO_get_mem_data(bio, &data);
    return hm_bytes_of(data, length > 0 ? (size_t)length : 0);
}

static hm_status write_pair(const char *private_path, hm_bytes private_pem, const char *public_path,
                            hm_bytes public_pem, hm_error **error) {
    sigset_t all, before;
    (void)sigfillset(&all);
    /* Nothing may end the process between the two files: it is both or neither. */
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    hm_status status = hm_write_file(private_path, private_pem, 0600, HM_WRITE_NEW, error);
    if (status == HM_OK) {
        status = hm_write_file(public_path, public_pem, 0644, HM_WRITE_NEW, error);
        if (status != HM_OK) {
            (void)unlink(private_path);
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

static hm_status generate(const char *private_path, const char *public_path,
                          const struct key_kind *kind, const hm_secret *passphrase,
                          hm_error **error) {
    hm_auto_pkey pkey = make_key(kind);
    hm_auto_bio private_bio = BIO_new(BIO_s_secmem());
    hm_auto_bio public_bio = BIO_new(BIO_s_mem());
    if (pkey == NULL || private_bio == NULL || public_bio == NULL ||
        !write_private(private_bio, pkey, passphrase) ||
        PEM_write_bio_PUBKEY(public_bio, pkey) != 1) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot make a key");
    }
    return write_pair(private_path, contents(private_bio), public_path, contents(public_bio),
                      error);
}

hm_status hm_pem_generate(const char *private_path, const char *public_path,
                          const hm_keygen_options *options, hm_error **error) {
    hm_auto_free char *default_path = NULL;
    hm_auto_secret passphrase = {.data = NULL};
    hm_status status = hm_keygen_check_passphrase(options, error);
    if (status != HM_OK) {
        return status;
    }
    if (public_path == NULL) {
        public_path = default_path = default_public_path(private_path);
    }
    if (public_path == NULL) {
        return hm_fail_memory(error);
    }
    if (strcmp(private_path, public_path) == 0) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "the private and the public key cannot both be %s", public_path);
    }
    status = hm_key_check_free(private_path, error);
    if (status == HM_OK) {
        status = hm_key_check_free(public_path, error);
    }
    bool plain = (options->flags & HM_KEYGEN_PLAIN) != 0;
    if (status == HM_OK && !plain) {
        status = choose_passphrase(private_path, options, &passphrase, error);
    }
    if (status == HM_OK) {
        status = generate(private_path, public_path, find_kind(options->type),
                          plain ? NULL : &passphrase, error);
    }
    ERR_clear_error();
    return status;
}
