/* SPDX-License-Identifier: Apache-2.0 */
/* The backend for private keys in PEM files. */
#include "key/internal.h"

#include <limits.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

/* What is needed to open one file. */
typedef struct pem_reader {
    const char *path;
    const hm_signer_options *options; /* NULL: no passphrase to be had */
    hm_secret passphrase;
    bool encrypted;
} pem_reader;

static hm_status ask(pem_reader *reader, hm_error **error) {
    const hm_signer_options *options = reader->options;
    reader->encrypted = true;
    if (options == NULL || options->passphrase == NULL) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                      "the private key %s is encrypted, and there is no passphrase", reader->path);
        hm_error_add_hint(error, "give it with --passphrase-file, or run where it can be "
                                 "asked for");
        return HM_UNDECIDED;
    }
    return hm_secret_ask(options->passphrase, options->passphrase_context, reader->path, false,
                         &reader->passphrase, error);
}

/* ---- PKCS#8 --------------------------------------------------------------------------------- */

static EVP_PKEY *from_pkcs8(PKCS8_PRIV_KEY_INFO *info) {
    EVP_PKEY *pkey = info != NULL ? EVP_PKCS82PKEY(info) : NULL;
    PKCS8_PRIV_KEY_INFO_free(info);
    return pkey;
}

static EVP_PKEY *decode_plain(const hm_pem_block *block) {
    const uint8_t *cursor = block->data;
    return from_pkcs8(d2i_PKCS8_PRIV_KEY_INFO(NULL, &cursor, (long)block->length));
}

static EVP_PKEY *decode_encrypted(const hm_pem_block *block, const hm_secret *passphrase) {
    const uint8_t *cursor = block->data;
    X509_SIG *sealed = d2i_X509_SIG(NULL, &cursor, (long)block->length);
    EVP_PKEY *pkey = NULL;
    if (sealed != NULL) {
        pkey = from_pkcs8(
            PKCS8_decrypt(sealed, (const char *)passphrase->data, (int)passphrase->length));
    }
    X509_SIG_free(sealed);
    return pkey;
}

/* ---- traditional ---------------------------------------------------------------------------- */

static int give_passphrase(char *buffer, int size, int writing, void *context) {
    const hm_secret *passphrase = context;
    (void)writing;
    if (size < 0 || passphrase->length > (size_t)size) {
        return -1;
    }
    memcpy(buffer, passphrase->data, passphrase->length);
    return (int)passphrase->length;
}

/* RFC 1421 headers say how the block is encrypted. */
static bool decrypt_block(hm_pem_block *block, hm_secret *passphrase) {
    EVP_CIPHER_INFO cipher;
    long length = (long)block->length;
    if (PEM_get_EVP_CIPHER_INFO(block->header, &cipher) != 1 ||
        PEM_do_header(&cipher, block->data, &length, give_passphrase, passphrase) != 1 ||
        length < 0) {
        return false;
    }
    block->length = (size_t)length;
    return true;
}

static EVP_PKEY *decode_traditional(const hm_pem_block *block, int type) {
    const uint8_t *cursor = block->data;
    return d2i_PrivateKey(type, NULL, &cursor, (long)block->length);
}

/* ---- any ------------------------------------------------------------------------------------ */

static hm_status fail_unread(const pem_reader *reader, hm_error **error) {
    if (!reader->encrypted) {
        return hm_fail_unless_memory(error, HM_UNDECIDED, HM_REASON_NONE,
                                     "cannot read the private key %s", reader->path);
    }
    if (ERR_GET_REASON(ERR_peek_error()) != ERR_R_UNSUPPORTED) {
        return hm_fail_unless_memory(error, HM_UNDECIDED, HM_REASON_NONE,
                                     "the passphrase for %s is wrong or the file is damaged",
                                     reader->path);
    }
    (void)hm_fail_unless_memory(error, HM_UNDECIDED, HM_REASON_NONE,
                                "%s is encrypted by an outdated method, which is not supported",
                                reader->path);
    hm_error_add_hint(error, "`openssl pkcs8 -topk8 -provider legacy -provider default` encrypts "
                             "it anew");
    return HM_UNDECIDED;
}

static hm_status fail_other_kind(const pem_reader *reader, const hm_pem_block *block,
                                 hm_error **error) {
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                  "%s holds a PEM block \"%s\", which is not supported", reader->path, block->name);
    hm_error_add_hint(error, strcmp(block->name, "OPENSSH PRIVATE KEY") == 0
                                 ? "turn a copy into PKCS#8: `ssh-keygen -p -m PKCS8 -f COPY`"
                                 : "private keys are PKCS#8, \"EC PRIVATE KEY\" or "
                                   "\"RSA PRIVATE KEY\"");
    return HM_UNDECIDED;
}

static hm_status decode(pem_reader *reader, hm_pem_block *block, EVP_PKEY **pkey,
                        hm_error **error) {
    bool pkcs8 = strcmp(block->name, PEM_STRING_PKCS8INF) == 0;
    bool sealed = strcmp(block->name, PEM_STRING_PKCS8) == 0;
    bool ec = strcmp(block->name, PEM_STRING_ECPRIVATEKEY) == 0;
    bool rsa = strcmp(block->name, PEM_STRING_RSA) == 0;
    bool headed = (ec || rsa) && block->header[0] != '\0';
    if (!pkcs8 && !sealed && !ec && !rsa) {
        return fail_other_kind(reader, block, error);
    }
    if (sealed || headed) {
        hm_status status = ask(reader, error);
        if (status != HM_OK) {
            return status;
        }
    }
    ERR_clear_error();
    if (pkcs8) {
        *pkey = decode_plain(block);
    } else if (sealed) {
        *pkey = decode_encrypted(block, &reader->passphrase);
    } else if (!headed || decrypt_block(block, &reader->passphrase)) {
        *pkey = decode_traditional(block, ec ? EVP_PKEY_EC : EVP_PKEY_RSA);
    }
    return *pkey != NULL ? HM_OK : fail_unread(reader, error);
}

/*
 * A certificate may stand before the key, as some tools write them; a file without a private key
 * is reported by the first thing in it.
 */
static hm_status find_private(pem_reader *reader, hm_bytes pem, EVP_PKEY **pkey, hm_error **error) {
    hm_auto_bio bio = hm_pem_open(pem);
    hm_auto_pem block = {.kind = HM_PEM_END};
    hm_auto_error first = NULL;
    if (bio == NULL) {
        return hm_fail_memory(error);
    }
    for (hm_pem_next(bio, &block); block.kind != HM_PEM_PRIVATE; hm_pem_next(bio, &block)) {
        if (block.kind != HM_PEM_PARAMETERS) {
            (void)hm_pem_fail_other(&block, pem, reader->path, "a private key", &first);
        }
        if (block.kind == HM_PEM_END || block.kind == HM_PEM_DAMAGED) {
            return hm_error_move(error, &first);
        }
    }
    return decode(reader, &block, pkey, error);
}

static hm_status pem_open(hm_signer *signer, const char *path, const hm_signer_options *options,
                          hm_error **error) {
    pem_reader reader = {.path = path, .options = options};
    hm_auto_secret file = {.data = NULL};
    hm_auto_pkey pkey = NULL;
    hm_status status = hm_secret_read_file("private key", path, &file, error);
    if (status == HM_OK) {
        status = find_private(&reader, hm_bytes_of(file.data, file.length), &pkey, error);
    }
    hm_secret_free(&reader.passphrase);
    if (status == HM_OK) {
        status = hm_pubkey_from_evp(pkey, path, &signer->public_key, error);
    }
    if (status == HM_OK) {
        signer->state = pkey;
        pkey = NULL;
    }
    ERR_clear_error();
    return status;
}

static hm_status sign(EVP_MD_CTX *ctx, hm_bytes message, hm_buf *signature, hm_error **error) {
    size_t length = 0;
    if (EVP_DigestSign(ctx, NULL, &length, message.data, message.length) == 1) {
        size_t room = length;
        uint8_t *data = hm_buf_extend(signature, room);
        if (data != NULL && EVP_DigestSign(ctx, data, &length, message.data, message.length) == 1 &&
            length <= room) {
            signature->length -= room - length;
            return hm_buf_check(signature, error);
        }
    }
    return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot sign");
}

static hm_status pem_sign(hm_signer *signer, hm_scheme scheme, hm_bytes message, hm_buf *signature,
                          hm_error **error) {
    hm_auto_md_ctx ctx = EVP_MD_CTX_new();
    if (ctx == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_scheme_begin(ctx, signer->state, signer->public_key, scheme, true, error);
    if (status == HM_OK) {
        status = sign(ctx, message, signature, error);
    }
    return status;
}

static void pem_close(hm_signer *signer) {
    EVP_PKEY_free(signer->state);
    signer->state = NULL;
}

const hm_key_backend hm_key_backend_pem = {
    .scheme = NULL,
    .open = pem_open,
    .sign = pem_sign,
    .close = pem_close,
    .generate = hm_pem_generate,
};
