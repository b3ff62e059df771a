/* SPDX-License-Identifier: Apache-2.0 */
/* The key room: private and public keys as files, schemes, generation, certificates of a signer. */
#include "key/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

/* ---- fixtures ------------------------------------------------------------------------------- */

static char folder[64];

static int set_up(void **state) {
    (void)state;
    (void)umask(022);
    strcpy(folder, "/tmp/hallmark-key-XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **state) {
    char command[128];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* Four at a time may be in use. */
static const char *in_folder(const char *name) {
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static const char *store(const char *name, const void *data, size_t length, mode_t mode) {
    const char *path = in_folder(name);
    (void)unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, length), (ssize_t)length);
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
    return path;
}

static const char *store_bio(const char *name, BIO *bio) {
    char *data = NULL;
    long length = BIO_get_mem_data(bio, &data);
    const char *path = store(name, data, (size_t)length, 0600);
    BIO_free(bio);
    return path;
}

static BIO *new_bio(void) {
    BIO *bio = BIO_new(BIO_s_mem());
    assert_non_null(bio);
    return bio;
}

static EVP_PKEY *ec_key(const char *group) {
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", group);
    assert_non_null(pkey);
    return pkey;
}

/* With the exponent 3 libcrypto gives the odd number of bits that it was asked for. */
static EVP_PKEY *make_rsa(size_t bits) {
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    BIGNUM *exponent = BN_new();
    EVP_PKEY *pkey = NULL;
    assert_int_equal(BN_set_word(exponent, bits % 2 == 0 ? RSA_F4 : RSA_3), 1);
    assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits), 1);
    assert_int_equal(EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, exponent), 1);
    assert_int_equal(EVP_PKEY_generate(ctx, &pkey), 1);
    BN_free(exponent);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

/* RSA keys take long to make, so those that many tests use are made once. */
static EVP_PKEY *rsa_key(size_t bits) {
    static struct {
        size_t bits;
        EVP_PKEY *pkey;
    } made[4];
    for (size_t i = 0; i < 4; i++) {
        if (made[i].pkey == NULL) {
            made[i].bits = bits;
            made[i].pkey = make_rsa(bits);
        }
        if (made[i].bits == bits) {
            assert_non_null(made[i].pkey);
            return made[i].pkey;
        }
    }
    fail();
    return NULL;
}

static EVP_PKEY *simple_key(const char *type) {
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, type);
    assert_non_null(pkey);
    return pkey;
}

static const char *store_private(const char *name, EVP_PKEY *pkey) {
    BIO *bio = new_bio();
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
    return store_bio(name, bio);
}

static hm_buf public_pem(EVP_PKEY *pkey) {
    BIO *bio = new_bio();
    char *data = NULL;
    hm_buf pem = {.data = NULL};
    assert_int_equal(PEM_write_bio_PUBKEY(bio, pkey), 1);
    long length = BIO_get_mem_data(bio, &data);
    hm_buf_add(&pem, data, (size_t)length);
    BIO_free(bio);
    return pem;
}

static hm_pubkey *public_of(EVP_PKEY *pkey) {
    hm_pubkey *key = NULL;
    assert_int_equal(hm_pubkey_from_evp(pkey, "key", &key, NULL), HM_OK);
    return key;
}

/* What a passphrase callback answers, and how often it was asked. */
typedef struct answer {
    const char *text; /* NULL: gives up */
    int asked;
    bool again;
} answer;

static bool give(void *context, const char *what, bool again, char *buffer, size_t capacity,
                 size_t *length) {
    answer *given = context;
    assert_non_null(what);
    given->asked++;
    given->again = again;
    if (given->text == NULL) {
        return false;
    }
    *length = strlen(given->text);
    assert_true(*length <= capacity);
    memcpy(buffer, given->text, *length);
    return true;
}

static hm_status open_with(const char *path, answer *given, hm_signer **signer, hm_error **error) {
    hm_signer_options options = HM_SIGNER_OPTIONS_INIT;
    options.passphrase = given != NULL ? give : NULL;
    options.passphrase_context = given;
    *signer = NULL;
    return hm_signer_open(path, &options, signer, error);
}

static void expect_opens(const char *path, answer *given) {
    hm_signer *signer = NULL;
    hm_error *error = NULL;
    hm_status status = open_with(path, given, &signer, &error);
    assert_string_equal(hm_error_message(error), "");
    assert_int_equal(status, HM_OK);
    hm_buf signature = {.data = NULL};
    assert_int_equal(hm_signer_sign(signer, HM_SCHEME_BY_KEY, hm_bytes_text("words"), &signature,
                                    NULL),
                     HM_OK);
    hm_buf_free(&signature);
    hm_signer_close(&signer);
    assert_null(signer);
    assert_int_equal(ERR_peek_error(), 0);
}

static void expect_closed(const char *path, answer *given, hm_status wanted, const char *message,
                          const char *hint) {
    hm_signer *signer = NULL;
    hm_error *error = NULL;
    assert_int_equal(open_with(path, given, &signer, &error), wanted);
    assert_null(signer);
    if (strstr(hm_error_message(error), message) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", message, hm_error_message(error));
    }
    if (strstr(hm_error_hint(error), hint) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", hint, hm_error_hint(error));
    }
    hm_error_free(&error);
    assert_int_equal(ERR_peek_error(), 0);
}

/* ---- public keys ---------------------------------------------------------------------------- */

/* The key of model_signing's compatibility tests, and its hint in their signatures. */
static const char known_pem[] = "Public Key Info:\n\tPublic Key Algorithm: EC/ECDSA\n\n"
                                "-----BEGIN PUBLIC KEY-----\n"
                                "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEsu6rZGBTjxtvRWPMixT+3HyndV0J0Ybt\n"
                                "aHZUcO4DEK+OJHO/4e32bb/fbJKSpRgcBsIpKLcVijUomyFOERbd7u+BTPSUjGZD\n"
                                "Qq6J7lTvp/EAXQGOKxW9RP0MGX3qAkvi\n"
                                "-----END PUBLIC KEY-----\n";
static const char known_hint[] = "e8450dec4eb99dae995da9af1bc2cc9f76ed669ee2e744f57abba763df3e3f8e";
static const char known_fingerprint[] =
    "c1e49d63327f85c7e2971aefd30b5a0d1c6b9b5e1a892e7f5fba995adace816d";

static void test_hint_and_fingerprint(void **state) {
    hm_pubkey *key = NULL;
    (void)state;
    assert_int_equal(hm_pubkey_parse(hm_bytes_text(known_pem), "known", &key, NULL), HM_OK);
    assert_string_equal(key->hint, known_hint);
    assert_string_equal(key->fingerprint, known_fingerprint);
    assert_string_equal(key->algorithm, "ec-p384");
    assert_int_equal(key->type, HM_KEY_EC_P384);
    hm_pubkey_free(&key);
    assert_null(key);
}

/* However the key file is spelt, the key has one name. */
static void test_hint_of_compressed_point(void **state) {
    hm_pubkey *key = NULL;
    hm_pubkey *again = NULL;
    (void)state;
    assert_int_equal(hm_pubkey_parse(hm_bytes_text(known_pem), "known", &key, NULL), HM_OK);
    EVP_PKEY *pkey = EVP_PKEY_dup(key->pkey);
    assert_int_equal(EVP_PKEY_set_utf8_string_param(pkey,
                                                    OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                                    "compressed"),
                     1);
    hm_buf pem = public_pem(pkey);
    assert_true(pem.length < 190);
    assert_int_equal(hm_pubkey_parse(hm_buf_view(&pem), "compressed", &again, NULL), HM_OK);
    assert_string_equal(again->hint, known_hint);
    assert_string_equal(again->fingerprint, known_fingerprint);
    hm_buf_free(&pem);
    EVP_PKEY_free(pkey);
    hm_pubkey_free(&key);
    hm_pubkey_free(&again);
}

static void test_public_key_with_crlf(void **state) {
    hm_buf pem = {.data = NULL};
    hm_pubkey *key = NULL;
    (void)state;
    for (const char *c = known_pem; *c != '\0'; c++) {
        hm_buf_add_text(&pem, *c == '\n' ? "\r\n" : (char[]){*c, '\0'});
    }
    assert_int_equal(hm_pubkey_parse(hm_buf_view(&pem), "crlf", &key, NULL), HM_OK);
    assert_string_equal(key->hint, known_hint);
    hm_pubkey_free(&key);
    hm_buf_free(&pem);
}

static void test_public_key_in_pkcs1(void **state) {
    BIO *bio = new_bio();
    char *data = NULL;
    uint8_t *der = NULL;
    hm_pubkey *key = NULL;
    hm_pubkey *expected = public_of(rsa_key(2048));
    (void)state;
    int length = i2d_PublicKey(rsa_key(2048), &der);
    assert_true(PEM_write_bio(bio, PEM_STRING_RSA_PUBLIC, "", der, length) > 0);
    long size = BIO_get_mem_data(bio, &data);
    assert_int_equal(hm_pubkey_parse(hm_bytes_of(data, (size_t)size), "pkcs1", &key, NULL), HM_OK);
    assert_string_equal(key->algorithm, "rsa-2048");
    assert_string_equal(key->fingerprint, expected->fingerprint);
    hm_pubkey_free(&key);
    hm_pubkey_free(&expected);
    OPENSSL_free(der);
    BIO_free(bio);
}

static void expect_no_public(hm_bytes pem, hm_status status, hm_reason reason,
                             const char *message) {
    hm_pubkey *key = NULL;
    hm_error *error = NULL;
    assert_int_equal(hm_pubkey_parse(pem, "FILE", &key, &error), status);
    assert_null(key);
    assert_int_equal(hm_error_reason(error), reason);
    if (strstr(hm_error_message(error), message) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", message, hm_error_message(error));
    }
    hm_error_free(&error);
    assert_int_equal(ERR_peek_error(), 0);
}

static void expect_no_public_text(const char *pem, hm_status status, const char *message) {
    expect_no_public(hm_bytes_text(pem), status, HM_REASON_NONE, message);
}

static void expect_unsupported(EVP_PKEY *pkey, const char *message) {
    hm_buf pem = public_pem(pkey);
    expect_no_public(hm_buf_view(&pem), HM_REFUSED, HM_REASON_UNSUPPORTED, message);
    hm_buf_free(&pem);
}

static void test_public_key_damage(void **state) {
    (void)state;
    expect_no_public_text("", HM_UNDECIDED, "does not hold a public key");
    expect_no_public_text("hello\n", HM_UNDECIDED, "does not hold a public key");
    expect_no_public_text("-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----\n",
                          HM_UNDECIDED, "damaged");
    expect_no_public_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
                          HM_UNDECIDED, "cannot read");
    expect_no_public_text("-----BEGIN X-----\nAAAA\n-----END X-----\n", HM_USAGE, "\"X\"");
}

static void test_public_key_with_bytes_behind_it(void **state) {
    BIO *bio = new_bio();
    uint8_t *der = NULL;
    char *data = NULL;
    (void)state;
    int length = i2d_PUBKEY(rsa_key(2048), &der);
    uint8_t *longer = calloc(1, (size_t)length + 1);
    memcpy(longer, der, (size_t)length);
    assert_true(PEM_write_bio(bio, PEM_STRING_PUBLIC, "", longer, length + 1) > 0);
    long size = BIO_get_mem_data(bio, &data);
    expect_no_public(hm_bytes_of(data, (size_t)size), HM_UNDECIDED, HM_REASON_NONE, "cannot read");
    free(longer);
    OPENSSL_free(der);
    BIO_free(bio);
}

static void test_several_public_keys(void **state) {
    hm_buf pem = {.data = NULL};
    (void)state;
    hm_buf_add_text(&pem, known_pem);
    hm_buf_add_text(&pem, known_pem);
    expect_no_public(hm_buf_view(&pem), HM_USAGE, HM_REASON_NONE, "several public keys");
    hm_buf_free(&pem);
}

/* A private key must not lie where public ones do, not even behind one. */
static void test_private_key_as_public(void **state) {
    hm_buf pem = {.data = NULL};
    BIO *bio = new_bio();
    char *data = NULL;
    (void)state;
    PEM_write_bio_PrivateKey(bio, rsa_key(2048), NULL, NULL, 0, NULL, NULL);
    long length = BIO_get_mem_data(bio, &data);
    expect_no_public(hm_bytes_of(data, (size_t)length), HM_USAGE, HM_REASON_NONE,
                     "FILE holds a private key where a public key belongs");
    hm_buf_add_text(&pem, known_pem);
    hm_buf_add(&pem, data, (size_t)length);
    expect_no_public(hm_buf_view(&pem), HM_USAGE, HM_REASON_NONE, "a private key");
    hm_buf_free(&pem);
    BIO_free(bio);
}

static void test_unsupported_public_keys(void **state) {
    static const char *const curves[] = {"secp256k1", "brainpoolP256r1", "P-224"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        EVP_PKEY *pkey = ec_key(curves[i]);
        expect_unsupported(pkey, "the curve");
        EVP_PKEY_free(pkey);
    }
    expect_unsupported(rsa_key(1024), "an RSA key of 1024 bits");
    static const char *const types[] = {"ED448", "X25519"};
    for (size_t i = 0; i < 2; i++) {
        EVP_PKEY *pkey = simple_key(types[i]);
        expect_unsupported(pkey, types[i]);
        EVP_PKEY_free(pkey);
    }
}

/* Such a key carries parameters of its own, which may say something else than the scheme. */
static void test_rsa_pss_typed_key(void **state) {
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
    EVP_PKEY *pkey = NULL;
    (void)state;
    assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
    assert_int_equal(EVP_PKEY_generate(ctx, &pkey), 1);
    expect_unsupported(pkey, "RSA-PSS");
    EVP_PKEY_free(pkey);
    EVP_PKEY_CTX_free(ctx);
}

/* CVE-2020-0601: with a generator of his own an attacker signs under a trusted point. */
static void test_curve_spelt_out(void **state) {
    EVP_PKEY *pkey = ec_key("P-256");
    (void)state;
    assert_int_equal(EVP_PKEY_set_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_ENCODING, "explicit"),
                     1);
    expect_unsupported(pkey, "spelt out");
    const char *path = store_private("explicit.pem", pkey);
    expect_closed(path, NULL, HM_REFUSED, "spelt out", "P-256");
    EVP_PKEY_free(pkey);
}

static void test_rsa_exponent_of_one(void **state) {
    (void)state;
    BIGNUM *modulus = NULL;
    BIGNUM *one = BN_new();
    EVP_PKEY *pkey = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(rsa_key(2048), OSSL_PKEY_PARAM_RSA_N, &modulus), 1);
    assert_int_equal(BN_one(one), 1);
    OSSL_PARAM params[3];
    uint8_t n[256];
    uint8_t e[1] = {1};
    assert_int_equal(BN_bn2nativepad(modulus, n, sizeof n), sizeof n);
    params[0] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, n, sizeof n);
    params[1] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e, sizeof e);
    params[2] = OSSL_PARAM_construct_end();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params), 1);
    expect_unsupported(pkey, "exponent");
    EVP_PKEY_free(pkey);
    EVP_PKEY_CTX_free(ctx);
    BN_free(modulus);
    BN_free(one);
}

/* ---- verifying ------------------------------------------------------------------------------ */

static hm_buf sign_with(EVP_PKEY *pkey, const char *digest, int salt, const char *message) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *inner = NULL;
    hm_buf signature = {.data = NULL};
    size_t length = 0;
    assert_int_equal(EVP_DigestSignInit_ex(ctx, &inner, digest, NULL, NULL, pkey, NULL), 1);
    if (salt != INT32_MIN) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(inner, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(inner, salt), 1);
    }
    assert_int_equal(EVP_DigestSign(ctx, NULL, &length, (const uint8_t *)message, strlen(message)),
                     1);
    uint8_t *data = hm_buf_extend(&signature, length);
    assert_int_equal(EVP_DigestSign(ctx, data, &length, (const uint8_t *)message, strlen(message)),
                     1);
    signature.length = length;
    EVP_MD_CTX_free(ctx);
    return signature;
}

static hm_status verify(const hm_pubkey *key, hm_scheme scheme, const char *message,
                        hm_bytes signature) {
    hm_error *error = NULL;
    hm_status status = hm_pubkey_verify(key, scheme, hm_bytes_text(message), signature, &error);
    if (status != HM_OK) {
        assert_int_equal(status, HM_REFUSED);
        assert_int_equal(hm_error_reason(error), HM_REASON_BAD_SIGNATURE);
    }
    hm_error_free(&error);
    assert_int_equal(ERR_peek_error(), 0);
    return status;
}

static void test_ecdsa_by_curve(void **state) {
    static const struct {
        const char *group, *digest, *wrong, *text;
    } cases[] = {
        {"P-256", "SHA256", "SHA384", "ECDSA P-256 SHA-256"},
        {"P-384", "SHA384", "SHA256", "ECDSA P-384 SHA-384"},
        {"P-521", "SHA512", "SHA256", "ECDSA P-521 SHA-512"},
    };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        EVP_PKEY *pkey = ec_key(cases[i].group);
        hm_pubkey *key = public_of(pkey);
        hm_buf good = sign_with(pkey, cases[i].digest, INT32_MIN, "words");
        hm_buf other = sign_with(pkey, cases[i].wrong, INT32_MIN, "words");
        hm_buf old = sign_with(pkey, "SHA256", INT32_MIN, "words");
        assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_buf_view(&good)), HM_OK);
        assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "word", hm_buf_view(&good)), HM_REFUSED);
        assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_buf_view(&other)), HM_REFUSED);
        assert_int_equal(verify(key, HM_SCHEME_ECDSA_SHA256, "words", hm_buf_view(&old)), HM_OK);
        assert_string_equal(hm_scheme_text(key, HM_SCHEME_BY_KEY), cases[i].text);
        hm_buf_free(&good);
        hm_buf_free(&other);
        hm_buf_free(&old);
        hm_pubkey_free(&key);
        EVP_PKEY_free(pkey);
    }
}

static void test_every_flipped_bit_is_refused(void **state) {
    EVP_PKEY *pkeys[] = {ec_key("P-256"), simple_key("ED25519")};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        hm_pubkey *key = public_of(pkeys[k]);
        hm_buf made = sign_with(pkeys[k], k == 0 ? "SHA256" : NULL, INT32_MIN, "words");
        assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_buf_view(&made)), HM_OK);
        for (size_t bit = 0; bit < 8 * made.length; bit++) {
            made.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_buf_view(&made)),
                             HM_REFUSED);
            made.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
        for (size_t length = 0; length < made.length; length++) {
            assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_bytes_of(made.data, length)),
                             HM_REFUSED);
        }
        hm_buf_free(&made);
        hm_pubkey_free(&key);
        EVP_PKEY_free(pkeys[k]);
    }
}

/* The same r and s in another spelling: bytes behind, a long length, a needless zero. */
static void test_ecdsa_has_one_spelling(void **state) {
    EVP_PKEY *pkey = ec_key("P-256");
    hm_pubkey *key = public_of(pkey);
    hm_buf made = sign_with(pkey, "SHA256", INT32_MIN, "words");
    hm_buf respelt = {.data = NULL};
    (void)state;
    hm_buf_add(&respelt, made.data, made.length);
    hm_buf_add_byte(&respelt, 0);
    assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_buf_view(&respelt)), HM_REFUSED);

    respelt.length = 0;
    hm_buf_add(&respelt, "\x30\x81", 2);
    hm_buf_add(&respelt, made.data + 1, made.length - 1);
    assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_buf_view(&respelt)), HM_REFUSED);

    respelt.length = 0;
    hm_buf_add_byte(&respelt, 0x30);
    hm_buf_add_byte(&respelt, (uint8_t)(made.data[1] + 1));
    hm_buf_add_byte(&respelt, 0x02);
    hm_buf_add_byte(&respelt, (uint8_t)(made.data[3] + 1));
    hm_buf_add_byte(&respelt, 0);
    hm_buf_add(&respelt, made.data + 4, made.length - 4);
    assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_buf_view(&respelt)), HM_REFUSED);
    hm_buf_free(&respelt);
    hm_buf_free(&made);
    hm_pubkey_free(&key);
    EVP_PKEY_free(pkey);
}

/* ANSI X9.62: r and s lie between 1 and n - 1. */
static void test_ecdsa_range(void **state) {
    static const uint8_t zeros[] = {0x30, 6, 2, 1, 0, 2, 1, 0};
    static const uint8_t negative[] = {0x30, 6, 2, 1, 0xff, 2, 1, 0xff};
    EVP_PKEY *pkey = ec_key("P-256");
    hm_pubkey *key = public_of(pkey);
    uint8_t order[72] = {0x30, 70, 2, 33, 0};
    BIGNUM *number = NULL;
    (void)state;
    assert_int_equal(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_ORDER, &number), 1);
    assert_int_equal(BN_bn2bin(number, order + 5), 32);
    memcpy(order + 37, order + 2, 35);
    assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_bytes_of(zeros, 8)), HM_REFUSED);
    assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_bytes_of(negative, 8)), HM_REFUSED);
    assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_bytes_of(order, 72)), HM_REFUSED);
    BN_free(number);
    hm_pubkey_free(&key);
    EVP_PKEY_free(pkey);
}

static void check_salts(size_t bits, int longest) {
    EVP_PKEY *pkey = rsa_key(bits);
    hm_pubkey *key = public_of(pkey);
    const int salts[] = {0, 20, 32, longest - 1, longest};
    for (size_t i = 0; i < sizeof salts / sizeof salts[0]; i++) {
        hm_buf made = sign_with(pkey, "SHA256", salts[i], "words");
        assert_int_equal(made.length, (bits + 7) / 8);
        assert_int_equal(verify(key, HM_SCHEME_RSA_PSS_SHA256_MAX, "words", hm_buf_view(&made)),
                         salts[i] == longest ? HM_OK : HM_REFUSED);
        assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_buf_view(&made)),
                         salts[i] == 32 ? HM_OK : HM_REFUSED);
        assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "word", hm_buf_view(&made)), HM_REFUSED);
        hm_buf_free(&made);
    }
    hm_pubkey_free(&key);
}

static void test_rsa_salt_is_exact(void **state) {
    (void)state;
    check_salts(2048, 222);
    check_salts(2049, 222);
}

static void test_rsa_other_padding_and_hash(void **state) {
    hm_pubkey *key = public_of(rsa_key(2048));
    hm_buf pkcs1 = sign_with(rsa_key(2048), "SHA256", INT32_MIN, "words");
    hm_buf sha512 = sign_with(rsa_key(2048), "SHA512", 32, "words");
    (void)state;
    assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_buf_view(&pkcs1)), HM_REFUSED);
    assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_buf_view(&sha512)), HM_REFUSED);
    hm_buf_free(&pkcs1);
    hm_buf_free(&sha512);
    hm_pubkey_free(&key);
}

/* RFC 8017, 8.1.2: as long as the modulus, and smaller than it. */
static void test_rsa_signature_range(void **state) {
    hm_pubkey *key = public_of(rsa_key(2048));
    hm_buf made = sign_with(rsa_key(2048), "SHA256", 32, "words");
    BIGNUM *modulus = NULL;
    BIGNUM *number = BN_bin2bn(made.data, (int)made.length, NULL);
    uint8_t larger[257] = {0};
    (void)state;
    memcpy(larger + 1, made.data, made.length);
    assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_bytes_of(larger, 257)), HM_REFUSED);
    assert_int_equal(EVP_PKEY_get_bn_param(key->pkey, OSSL_PKEY_PARAM_RSA_N, &modulus), 1);
    assert_int_equal(BN_add(number, number, modulus), 1);
    int length = BN_num_bytes(number);
    assert_true(length == 256 || length == 257);
    assert_int_equal(BN_bn2bin(number, larger), length);
    assert_int_equal(verify(key, HM_SCHEME_BY_KEY, "words", hm_bytes_of(larger, (size_t)length)),
                     HM_REFUSED);
    BN_free(number);
    BN_free(modulus);
    hm_buf_free(&made);
    hm_pubkey_free(&key);
}

static void test_scheme_for_another_kind_of_key(void **state) {
    static const struct {
        const char *type;
        hm_scheme scheme;
        const char *hint;
    } cases[] = {
        {"P-256", HM_SCHEME_RSA_PSS_SHA256_MAX, "--type rsa-3072"},
        {"ED25519", HM_SCHEME_RSA_PSS_SHA256_MAX, "--type rsa-3072"},
        {"ED25519", HM_SCHEME_ECDSA_SHA256, "--type ec-p256"},
    };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        hm_error *error = NULL;
        EVP_PKEY *pkey = cases[i].type[0] == 'P' ? ec_key(cases[i].type) : simple_key("ED25519");
        hm_pubkey *key = public_of(pkey);
        assert_int_equal(hm_scheme_check(key, cases[i].scheme, "sig-json", &error), HM_USAGE);
        assert_non_null(strstr(hm_error_message(error), "sig-json needs"));
        assert_non_null(strstr(hm_error_hint(error), cases[i].hint));
        hm_error_free(&error);
        assert_int_equal(hm_pubkey_verify(key, cases[i].scheme, hm_bytes_text("words"),
                                          hm_bytes_text("signature"), &error),
                         HM_REFUSED);
        assert_int_equal(hm_error_reason(error), HM_REASON_UNTRUSTED_SIGNER);
        hm_error_free(&error);
        hm_pubkey_free(&key);
        EVP_PKEY_free(pkey);
    }
}

/* ---- private keys --------------------------------------------------------------------------- */

static void test_plain_pkcs8(void **state) {
    EVP_PKEY *keys[] = {ec_key("P-256"), ec_key("P-384"), ec_key("P-521"), simple_key("ED25519")};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        expect_opens(store_private("plain.pem", keys[i]), NULL);
        EVP_PKEY_free(keys[i]);
    }
    expect_opens(store_private("plain.pem", rsa_key(2048)), NULL);
}

/* "EC PARAMETERS" in front is how `openssl ecparam -genkey` writes it. */
static void test_traditional(void **state) {
    static const char *const groups[] = {"P-256", "P-521"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        EVP_PKEY *pkey = ec_key(groups[i]);
        BIO *bio = new_bio();
        assert_int_equal(PEM_write_bio_Parameters(bio, pkey), 1);
        assert_int_equal(PEM_write_bio_PrivateKey_traditional(bio, pkey, NULL, NULL, 0, NULL, NULL),
                         1);
        expect_opens(store_bio("ec.pem", bio), NULL);
        EVP_PKEY_free(pkey);
    }
    BIO *bio = new_bio();
    assert_int_equal(PEM_write_bio_PrivateKey_traditional(bio, rsa_key(2048), NULL, NULL, 0, NULL,
                                                          NULL),
                     1);
    expect_opens(store_bio("rsa.pem", bio), NULL);
}

static void expect_needs_passphrase(const char *path) {
    answer right = {.text = "secret"};
    answer wrong = {.text = "Secret"};
    answer none = {.text = NULL};
    expect_opens(path, &right);
    assert_int_equal(right.asked, 1);
    assert_false(right.again);
    expect_closed(path, &wrong, HM_UNDECIDED, "is wrong or the file is damaged", "");
    assert_int_equal(wrong.asked, 1);
    expect_closed(path, &none, HM_UNDECIDED, "no passphrase was given", "");
    assert_int_equal(none.asked, 1);
    expect_closed(path, NULL, HM_UNDECIDED, "is encrypted", "--passphrase-file");
}

static void test_traditional_encrypted(void **state) {
    EVP_PKEY *pkey = ec_key("P-256");
    BIO *bio = new_bio();
    char passphrase[] = "secret";
    (void)state;
    assert_int_equal(PEM_write_bio_PrivateKey_traditional(bio, pkey, EVP_aes_256_cbc(),
                                                          (uint8_t *)passphrase, 6, NULL, NULL),
                     1);
    expect_needs_passphrase(store_bio("ec.pem", bio));
    bio = new_bio();
    assert_int_equal(PEM_write_bio_PrivateKey_traditional(bio, rsa_key(2048), EVP_aes_128_cbc(),
                                                          (uint8_t *)passphrase, 6, NULL, NULL),
                     1);
    expect_needs_passphrase(store_bio("rsa.pem", bio));
    EVP_PKEY_free(pkey);
}

static void test_pkcs8_encrypted(void **state) {
    EVP_PKEY *pkey = ec_key("P-384");
    BIO *bio = new_bio();
    char passphrase[] = "secret";
    (void)state;
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, pkey, EVP_aes_128_cbc(), passphrase, 6,
                                                   NULL, NULL),
                     1);
    expect_needs_passphrase(store_bio("pbkdf2.pem", bio));

    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pkey);
    X509_ALGOR *method = PKCS5_pbe2_set_scrypt(EVP_aes_256_cbc(), NULL, 0, NULL, 16384, 8, 1);
    X509_SIG *sealed = PKCS8_set0_pbe(passphrase, 6, info, method);
    bio = new_bio();
    assert_int_equal(PEM_write_bio_PKCS8(bio, sealed), 1);
    expect_needs_passphrase(store_bio("scrypt.pem", bio));
    X509_SIG_free(sealed);
    PKCS8_PRIV_KEY_INFO_free(info);
    EVP_PKEY_free(pkey);
}

/* PBES1 with DES, which libcrypto has in its "legacy" provider only. */
static void test_outdated_encryption(void **state) {
    static const char pem[] = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
                              "MIGwMBsGCSqGSIb3DQEFAzAOBAgCnIzC/lJpYQICCAAEgZC3gk1zRNcdssvNxJ1T\n"
                              "fKmKDf6Vvw/VUhU0YVh9RnTE3bL/hxY0/Cs4M5WDqT5rO6ik9aKHH3CJO7cejmpp\n"
                              "sXHYsr1umel3M9jhN1luTHk/mUid1P0zaB5qeZtaIveX7WJLQaWgfAJmg3cd9AMs\n"
                              "q2HY5RKalcCb5VVj4S/3tHHMGVy+YMdcofJ2P2cRdtWf/QM=\n"
                              "-----END ENCRYPTED PRIVATE KEY-----\n";
    answer right = {.text = "secret"};
    (void)state;
    expect_closed(store("k", pem, strlen(pem), 0600), &right, HM_UNDECIDED, "outdated method",
                  "openssl pkcs8");
}

static void test_key_file_open_to_others(void **state) {
    static const mode_t modes[] = {0640, 0604, 0660, 0610, 0601, 0644, 0777, 0440};
    EVP_PKEY *pkey = ec_key("P-256");
    const char *path = store_private("key.pem", pkey);
    char hint[300];
    (void)state;
    (void)snprintf(hint, sizeof hint, "chmod 600 %s", path);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        assert_int_equal(chmod(path, modes[i]), 0);
        expect_closed(path, NULL, HM_UNDECIDED, "open to other users", hint);
    }
    assert_int_equal(chmod(path, 0400), 0);
    expect_opens(path, NULL);
    const char *link = in_folder("link.pem");
    assert_int_equal(symlink(path, link), 0);
    expect_opens(link, NULL);
    assert_int_equal(chmod(path, 0644), 0);
    expect_closed(link, NULL, HM_UNDECIDED, "open to other users", "chmod 600");
    EVP_PKEY_free(pkey);
}

static void test_key_file_of_another_user(void **state) {
    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    EVP_PKEY *pkey = ec_key("P-256");
    const char *path = store_private("others.pem", pkey);
    EVP_PKEY_free(pkey);
    assert_int_equal(chown(path, 12345, 12345), 0);
    expect_closed(path, NULL, HM_UNDECIDED, "belongs to another user (12345)", "install -m 600");
}

static void test_no_such_key_file(void **state) {
    (void)state;
    expect_closed(in_folder("none.pem"), NULL, HM_UNDECIDED, "No such file", "");
    expect_closed(folder, NULL, HM_UNDECIDED, "no key that signs", "key rotate");
    const char *pipe = in_folder("pipe");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    expect_closed(pipe, NULL, HM_UNDECIDED, "not a regular file", "");
}

static void test_not_a_private_key(void **state) {
    EVP_PKEY *pkey = ec_key("P-256");
    hm_buf pem = public_pem(pkey);
    uint8_t *der = NULL;
    int length = i2d_PrivateKey(pkey, &der);
    (void)state;
    expect_closed(store("k", pem.data, pem.length, 0600), NULL, HM_USAGE,
                  "holds a public key where a private key belongs", "");
    expect_closed(store("k", "", 0, 0600), NULL, HM_UNDECIDED, "does not hold a private key", "");
    expect_closed(store("k", "hello", 5, 0600), NULL, HM_UNDECIDED, "does not hold", "");
    expect_closed(store("k", der, (size_t)length, 0600), NULL, HM_UNDECIDED, "does not hold",
                  "-inform DER");
    static const char ssh[] =
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
    expect_closed(store("k", ssh, strlen(ssh), 0600), NULL, HM_UNDECIDED, "OPENSSH", "ssh-keygen");
    static const char empty[] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    expect_closed(store("k", empty, strlen(empty), 0600), NULL, HM_UNDECIDED, "cannot read", "");
    static const char cut[] = "-----BEGIN PRIVATE KEY-----\nAAAA\n";
    expect_closed(store("k", cut, strlen(cut), 0600), NULL, HM_UNDECIDED, "damaged", "");
    OPENSSL_free(der);
    hm_buf_free(&pem);
    EVP_PKEY_free(pkey);
}

static void test_key_file_limit(void **state) {
    EVP_PKEY *pkey = ec_key("P-256");
    const char *path = store_private("large.pem", pkey);
    (void)state;
    assert_int_equal(truncate(path, 64 * 1024), 0);
    expect_opens(path, NULL);
    assert_int_equal(truncate(path, 64 * 1024 + 1), 0);
    expect_closed(path, NULL, HM_UNDECIDED, "too large", "");
    EVP_PKEY_free(pkey);
}

static void test_unsupported_private_keys(void **state) {
    EVP_PKEY *curve = ec_key("secp256k1");
    EVP_PKEY *ed448 = simple_key("ED448");
    (void)state;
    expect_closed(store_private("k", curve), NULL, HM_REFUSED, "secp256k1", "P-256");
    expect_closed(store_private("k", ed448), NULL, HM_REFUSED, "ED448", "Ed25519");
    expect_closed(store_private("k", rsa_key(1024)), NULL, HM_REFUSED, "1024 bits", "2048");
    EVP_PKEY_free(curve);
    EVP_PKEY_free(ed448);
}

static void test_unknown_key_service(void **state) {
    char before[256];
    EVP_PKEY *pkey = ec_key("P-256");
    (void)state;
    expect_closed("pkcs1:token=x", NULL, HM_USAGE, "\"pkcs1:\" are not known",
                  "a path to a PEM file, pkcs11:...");
    expect_closed("Pkcs1:token=x", NULL, HM_USAGE, "\"Pkcs1:\" are not known", "");
    expect_closed("a-b+c.9:x", NULL, HM_USAGE, "\"a-b+c.9:\"", "");
    expect_closed("C:\\key.pem", NULL, HM_UNDECIDED, "No such file", "");
    expect_closed("9p:key", NULL, HM_UNDECIDED, "No such file", "");
    expect_closed("", NULL, HM_USAGE, "no key", "");
    const char *path = store_private("pkcs1:name", pkey);
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    expect_opens("pkcs1:name", NULL);
    assert_int_equal(chdir(before), 0);
    assert_non_null(path);
    EVP_PKEY_free(pkey);
}

static void test_signer_options(void **state) {
    hm_signer_options options = HM_SIGNER_OPTIONS_INIT;
    hm_signer *signer = NULL;
    (void)state;
    options.flags = 1;
    assert_int_equal(hm_signer_open("k", &options, &signer, NULL), HM_USAGE);
    options.flags = 0;
    options.size = 1;
    assert_int_equal(hm_signer_open("k", &options, &signer, NULL), HM_USAGE);
    assert_int_equal(hm_signer_open(NULL, NULL, &signer, NULL), HM_USAGE);
    hm_signer_close(&signer);
    hm_signer_close(NULL);
}

/* ---- signing -------------------------------------------------------------------------------- */

static void test_signer_describes_itself(void **state) {
    hm_signer *signer = NULL;
    hm_pubkey *key = public_of(rsa_key(2048));
    (void)state;
    const char *path = store_private("rsa.pem", rsa_key(2048));
    assert_int_equal(hm_signer_open(path, NULL, &signer, NULL), HM_OK);
    assert_string_equal(hm_signer_algorithm(signer), "rsa-2048");
    assert_string_equal(hm_signer_fingerprint(signer), key->fingerprint);
    hm_signer_close(&signer);
    hm_pubkey_free(&key);
}

static void test_signing_by_scheme(void **state) {
    hm_signer *signer = NULL;
    hm_buf signature = {.data = NULL};
    hm_bytes message = hm_bytes_text("words");
    (void)state;
    const char *path = store_private("rsa.pem", rsa_key(2049));
    assert_int_equal(hm_signer_open(path, NULL, &signer, NULL), HM_OK);
    assert_int_equal(hm_signer_sign(signer, HM_SCHEME_RSA_PSS_SHA256_MAX, message, &signature,
                                    NULL),
                     HM_OK);
    assert_int_equal(signature.length, 257);
    assert_int_equal(verify(signer->public_key, HM_SCHEME_RSA_PSS_SHA256_MAX, "words",
                            hm_buf_view(&signature)),
                     HM_OK);
    assert_int_equal(hm_signer_sign(signer, HM_SCHEME_ECDSA_SHA256, message, &signature, NULL),
                     HM_USAGE);
    assert_int_equal(signature.length, 257);
    hm_buf_free(&signature);
    hm_signer_close(&signer);
}

static hm_status sign_wrongly(hm_signer *signer, hm_scheme scheme, hm_bytes message,
                              hm_buf *signature, hm_error **error) {
    (void)message;
    return hm_key_backend_pem.sign(signer, scheme, hm_bytes_text("others"), signature, error);
}

/* A faulty signature can betray the key, so it does not get out. */
static void test_signature_is_checked_before_it_leaves(void **state) {
    hm_key_backend faulty = hm_key_backend_pem;
    EVP_PKEY *pkey = ec_key("P-256");
    hm_signer *signer = NULL;
    hm_error *error = NULL;
    hm_buf signature = {.data = NULL};
    (void)state;
    faulty.sign = sign_wrongly;
    assert_int_equal(hm_signer_open(store_private("k", pkey), NULL, &signer, NULL), HM_OK);
    signer->backend = &faulty;
    assert_int_equal(hm_signer_sign(signer, HM_SCHEME_BY_KEY, hm_bytes_text("words"), &signature,
                                    &error),
                     HM_UNDECIDED);
    assert_int_equal(hm_error_reason(error), HM_REASON_NONE);
    assert_int_equal(signature.length, 0);
    hm_error_free(&error);
    hm_buf_free(&signature);
    hm_signer_close(&signer);
    EVP_PKEY_free(pkey);
}

/* ---- certificates of a signer --------------------------------------------------------------- */

static X509 *certificate(EVP_PKEY *pkey, const char *name, EVP_PKEY *issuer_key,
                         const char *issuer) {
    X509 *made = X509_new();
    static long serial;
    assert_non_null(made);
    X509_set_version(made, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(made), 0);
    X509_gmtime_adj(X509_getm_notAfter(made), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_UTF8,
                               (const uint8_t *)name, -1, -1, 0);
    X509_NAME_add_entry_by_txt(X509_get_issuer_name(made), "CN", MBSTRING_UTF8,
                               (const uint8_t *)issuer, -1, -1, 0);
    X509_set_pubkey(made, pkey);
    assert_true(X509_sign(made, issuer_key, EVP_sha256()) > 0);
    return made;
}

static const char *store_certificates(const char *name, X509 *first, X509 *second, X509 *third) {
    BIO *bio = new_bio();
    X509 *list[] = {first, second, third};
    for (size_t i = 0; i < 3 && list[i] != NULL; i++) {
        assert_int_equal(PEM_write_bio_X509(bio, list[i]), 1);
    }
    return store_bio(name, bio);
}

/* A chain of three, and a signer with the leaf's key. */
typedef struct chain {
    EVP_PKEY *root_key, *middle_key, *leaf_key;
    X509 *root, *middle, *leaf;
    hm_signer *signer;
} chain;

static chain new_chain(void) {
    chain made = {.root_key = ec_key("P-256"),
                  .middle_key = ec_key("P-256"),
                  .leaf_key = ec_key("P-384")};
    made.root = certificate(made.root_key, "root", made.root_key, "root");
    made.middle = certificate(made.middle_key, "middle", made.root_key, "root");
    /* Issuer and subject of one name, without being self-signed. */
    made.leaf = certificate(made.leaf_key, "middle", made.middle_key, "middle");
    assert_int_equal(hm_signer_open(store_private("leaf.pem", made.leaf_key), NULL, &made.signer,
                                    NULL),
                     HM_OK);
    return made;
}

static void free_chain(chain *made) {
    EVP_PKEY_free(made->root_key);
    EVP_PKEY_free(made->middle_key);
    EVP_PKEY_free(made->leaf_key);
    X509_free(made->root);
    X509_free(made->middle);
    X509_free(made->leaf);
    hm_signer_close(&made->signer);
}

static void test_self_signed(void **state) {
    chain made = new_chain();
    (void)state;
    assert_true(hm_certificate_self_signed(made.root));
    assert_false(hm_certificate_self_signed(made.middle));
    assert_false(hm_certificate_self_signed(made.leaf));
    free_chain(&made);
}

static void expect_chain(const chain *made) {
    STACK_OF(X509) *list = made->signer->certificates;
    assert_int_equal(sk_X509_num(list), 2);
    assert_int_equal(X509_cmp(sk_X509_value(list, 0), made->leaf), 0);
    assert_int_equal(X509_cmp(sk_X509_value(list, 1), made->middle), 0);
}

/* The root is for the verifier to have; a certificate given twice goes in once. */
static void test_certificates_of_signer(void **state) {
    chain made = new_chain();
    const char *leaf = store_certificates("leaf.crt", made.leaf, NULL, NULL);
    const char *rest = store_certificates("rest.crt", made.root, made.middle, made.leaf);
    const char *all = store_certificates("all.crt", made.leaf, made.middle, made.root);
    (void)state;
    assert_int_equal(hm_signer_set_certificates(made.signer, leaf, &rest, 1, NULL), HM_OK);
    expect_chain(&made);
    assert_int_equal(hm_signer_set_certificates(made.signer, all, NULL, 0, NULL), HM_OK);
    expect_chain(&made);
    assert_int_equal(hm_signer_set_certificates(made.signer, all, &rest, 1, NULL), HM_OK);
    expect_chain(&made);
    free_chain(&made);
}

static void test_self_signed_leaf_stays(void **state) {
    chain made = new_chain();
    X509 *own = certificate(made.leaf_key, "own", made.leaf_key, "own");
    (void)state;
    const char *path = store_certificates("own.crt", own, NULL, NULL);
    assert_int_equal(hm_signer_set_certificates(made.signer, path, &path, 1, NULL), HM_OK);
    assert_int_equal(sk_X509_num(made.signer->certificates), 1);
    X509_free(own);
    free_chain(&made);
}

static void expect_no_certificates(hm_signer *signer, const char *leaf, hm_status status,
                                   const char *message) {
    hm_error *error = NULL;
    assert_int_equal(hm_signer_set_certificates(signer, leaf, NULL, 0, &error), status);
    if (strstr(hm_error_message(error), message) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", message, hm_error_message(error));
    }
    hm_error_free(&error);
    assert_null(signer->certificates);
}

static void test_certificates_that_do_not_fit(void **state) {
    chain made = new_chain();
    hm_buf key = public_pem(made.leaf_key);
    (void)state;
    const char *wrong = store_certificates("wrong.crt", made.middle, made.leaf, NULL);
    expect_no_certificates(made.signer, wrong, HM_USAGE, "is for another key");
    expect_no_certificates(made.signer, in_folder("none.crt"), HM_UNDECIDED, "No such file");
    expect_no_certificates(made.signer, store("k", key.data, key.length, 0600), HM_USAGE,
                           "holds a public key where a certificate belongs");
    expect_no_certificates(made.signer, store("k", "x", 1, 0600), HM_UNDECIDED, "does not hold");
    static const char empty[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    expect_no_certificates(made.signer, store("k", empty, strlen(empty), 0600), HM_UNDECIDED,
                           "certificate 1 cannot be read");
    expect_no_certificates(made.signer, store_private("k", made.leaf_key), HM_USAGE,
                           "holds a private key where a certificate belongs");
    hm_buf_free(&key);
    free_chain(&made);
}

static void test_certificate_of_an_rsa_key(void **state) {
    X509 *own = certificate(rsa_key(2048), "own", rsa_key(2048), "own");
    hm_signer *signer = NULL;
    (void)state;
    assert_int_equal(hm_signer_open(store_private("k", rsa_key(2048)), NULL, &signer, NULL), HM_OK);
    expect_no_certificates(signer, store_certificates("own.crt", own, NULL, NULL), HM_USAGE,
                           "signing by certificate needs an EC key");
    hm_signer_close(&signer);
    X509_free(own);
}

static void test_certificate_in_der(void **state) {
    chain made = new_chain();
    hm_buf der = {.data = NULL};
    X509 *again = NULL;
    hm_error *error = NULL;
    (void)state;
    assert_int_equal(hm_certificate_der(made.leaf, &der, NULL), HM_OK);
    assert_int_equal(hm_certificate_parse_der(hm_buf_view(&der), "x", &again, NULL), HM_OK);
    assert_int_equal(X509_cmp(made.leaf, again), 0);
    X509_free(again);
    again = NULL;
    for (size_t length = 0; length < der.length; length++) {
        assert_int_equal(hm_certificate_parse_der(hm_bytes_of(der.data, length), "x", &again, NULL),
                         HM_REFUSED);
    }
    hm_buf_add_byte(&der, 0);
    assert_int_equal(hm_certificate_parse_der(hm_buf_view(&der), "x", &again, &error), HM_REFUSED);
    assert_int_equal(hm_error_reason(error), HM_REASON_MALFORMED);
    assert_null(again);
    hm_error_free(&error);
    hm_buf_free(&der);
    free_chain(&made);
}

/* ---- generation ----------------------------------------------------------------------------- */

static mode_t mode_of(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static void expect_pair(const char *private_path, const char *public_path, answer *given,
                        const char *algorithm) {
    hm_signer *signer = NULL;
    hm_pubkey *key = NULL;
    hm_buf pem = {.data = NULL};
    assert_int_equal(mode_of(private_path), 0600);
    assert_int_equal(mode_of(public_path), 0644);
    assert_int_equal(open_with(private_path, given, &signer, NULL), HM_OK);
    assert_string_equal(hm_signer_algorithm(signer), algorithm);
    assert_int_equal(hm_key_file_read(public_path, HM_KEY_FILE_LIMIT, &pem, NULL), HM_OK);
    assert_int_equal(hm_pubkey_parse(hm_buf_view(&pem), public_path, &key, NULL), HM_OK);
    assert_string_equal(key->fingerprint, hm_signer_fingerprint(signer));
    hm_buf_free(&pem);
    hm_pubkey_free(&key);
    hm_signer_close(&signer);
    expect_opens(private_path, given);
}

static void test_generate_every_type(void **state) {
    static const char *const types[] = {"ec-p256", "ec-p384", "ec-p521", "rsa-3072", "ed25519"};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        hm_keygen_options options = HM_KEYGEN_OPTIONS_INIT;
        answer given = {.text = "open sesame"};
        char path[300], public_path[300];
        (void)snprintf(path, sizeof path, "%s/%s.pem", folder, types[i]);
        (void)snprintf(public_path, sizeof public_path, "%s/%s.pub", folder, types[i]);
        options.type = types[i];
        options.passphrase = give;
        options.passphrase_context = &given;
        assert_int_equal(hm_key_generate(path, NULL, &options, NULL), HM_OK);
        assert_int_equal(given.asked, 1);
        assert_true(given.again);
        expect_pair(path, public_path, &given, types[i]);
    }
}

/* RFC 8018: PBES2, PBKDF2 with HMAC-SHA-256, AES-256-CBC. */
static void test_generated_key_is_sealed_well(void **state) {
    hm_keygen_options options = HM_KEYGEN_OPTIONS_INIT;
    answer given = {.text = "open sesame"};
    const X509_ALGOR *algorithm = NULL;
    const void *parameter = NULL;
    const ASN1_OBJECT *oid = NULL;
    int type = 0;
    (void)state;
    options.passphrase = give;
    options.passphrase_context = &given;
    assert_int_equal(hm_key_generate(in_folder("sealed.pem"), NULL, &options, NULL), HM_OK);
    BIO *bio = BIO_new_file(in_folder("sealed.pem"), "r");
    X509_SIG *sealed = PEM_read_bio_PKCS8(bio, NULL, NULL, NULL);
    X509_SIG_get0(sealed, &algorithm, NULL);
    X509_ALGOR_get0(&oid, &type, &parameter, algorithm);
    assert_int_equal(OBJ_obj2nid(oid), NID_pbes2);
    PBE2PARAM *pbe = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), algorithm->parameter);
    PBKDF2PARAM *kdf =
        ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBKDF2PARAM), pbe->keyfunc->parameter);
    assert_int_equal(OBJ_obj2nid(pbe->encryption->algorithm), NID_aes_256_cbc);
    assert_int_equal(ASN1_INTEGER_get(kdf->iter), 600000);
    assert_int_equal(OBJ_obj2nid(kdf->prf->algorithm), NID_hmacWithSHA256);
    PBKDF2PARAM_free(kdf);
    PBE2PARAM_free(pbe);
    X509_SIG_free(sealed);
    BIO_free(bio);
}

static hm_status generate_plain(const char *path, const char *public_path, hm_error **error) {
    hm_keygen_options options = HM_KEYGEN_OPTIONS_INIT;
    options.flags = HM_KEYGEN_PLAIN;
    return hm_key_generate(path, public_path, &options, error);
}

static void test_generate_plain_and_paths(void **state) {
    (void)state;
    assert_int_equal(generate_plain(in_folder("a"), NULL, NULL), HM_OK);
    expect_pair(in_folder("a"), in_folder("a.pub"), NULL, "ec-p256");
    assert_int_equal(generate_plain(in_folder("b.key"), in_folder("other"), NULL), HM_OK);
    expect_pair(in_folder("b.key"), in_folder("other"), NULL, "ec-p256");
    assert_int_equal(generate_plain(in_folder("c"), in_folder("c"), NULL), HM_USAGE);
    assert_false(exists(in_folder("c")));
}

static void test_generate_never_writes_over(void **state) {
    const char *there = store("there.pem", "old", 3, 0600);
    (void)state;
    assert_int_equal(generate_plain(there, NULL, NULL), HM_USAGE);
    assert_false(exists(in_folder("there.pub")));
    const char *pub = store("half.pub", "old", 3, 0600);
    assert_int_equal(generate_plain(in_folder("half.pem"), NULL, NULL), HM_USAGE);
    assert_false(exists(in_folder("half.pem")));
    hm_buf content = {.data = NULL};
    assert_int_equal(hm_key_file_read(pub, 100, &content, NULL), HM_OK);
    assert_true(hm_bytes_equal_text(hm_buf_view(&content), "old"));
    hm_buf_free(&content);
    assert_int_equal(symlink("nowhere", in_folder("dangling.pem")), 0);
    assert_int_equal(generate_plain(in_folder("dangling.pem"), NULL, NULL), HM_USAGE);
}

/* The second file cannot be written, so the first goes too. */
static void test_generate_both_or_neither(void **state) {
    hm_error *error = NULL;
    (void)state;
    assert_int_equal(generate_plain(in_folder("alone.pem"), in_folder("no/such/dir"), &error),
                     HM_UNDECIDED);
    assert_false(exists(in_folder("alone.pem")));
    hm_error_free(&error);
    assert_int_equal(generate_plain(in_folder("no/such/dir"), in_folder("alone.pub"), NULL),
                     HM_UNDECIDED);
    assert_false(exists(in_folder("alone.pub")));
}

static void expect_no_generation(uint64_t flags, const char *type, const char *passphrase,
                                 hm_status status, const char *hint) {
    hm_keygen_options options = HM_KEYGEN_OPTIONS_INIT;
    hm_error *error = NULL;
    answer given = {.text = passphrase};
    options.flags = flags;
    options.type = type;
    options.passphrase = give;
    options.passphrase_context = &given;
    assert_int_equal(hm_key_generate(in_folder("never.pem"), NULL, &options, &error), status);
    if (strstr(hm_error_hint(error), hint) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", hint, hm_error_hint(error));
    }
    assert_false(exists(in_folder("never.pem")));
    assert_false(exists(in_folder("never.pub")));
    hm_error_free(&error);
}

static void test_generate_refuses(void **state) {
    hm_keygen_options options = HM_KEYGEN_OPTIONS_INIT;
    (void)state;
    expect_no_generation(0, NULL, "", HM_USAGE, "--no-passphrase");
    expect_no_generation(0, NULL, NULL, HM_UNDECIDED, "");
    expect_no_generation(0, "rsa-1024", "x", HM_USAGE, "rsa-3072");
    expect_no_generation(1, NULL, "x", HM_USAGE, "");
    assert_int_equal(hm_key_generate(in_folder("never.pem"), NULL, &options, NULL), HM_USAGE);
    assert_int_equal(hm_key_generate(in_folder("never.pem"), NULL, NULL, NULL), HM_USAGE);
    assert_int_equal(hm_key_generate(NULL, NULL, &options, NULL), HM_USAGE);
}

/* ---- secrets -------------------------------------------------------------------------------- */

static int hardened(void) {
    struct rlimit limit;
    EVP_PKEY *pkey = ec_key("P-256");
    const char *path = store_private("hard.pem", pkey);
    hm_process_harden();
    hm_process_harden();
    expect_opens(path, NULL);
    expect_opens(store_private("hard.pem", rsa_key(2048)), NULL);
    assert_int_equal(generate_plain(in_folder("hardly.pem"), NULL, NULL), HM_OK);
    EVP_PKEY_free(pkey);
    bool good = prctl(PR_GET_DUMPABLE) == 0 && getrlimit(RLIMIT_CORE, &limit) == 0 &&
                limit.rlim_cur == 0 && limit.rlim_max == 0 &&
                CRYPTO_secure_malloc_initialized() == 1;
    return good ? 0 : 1;
}

static void test_harden(void **state) {
    int status = -1;
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        _exit(hardened());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static bool lie_about_length(void *context, const char *what, bool again, char *buffer,
                             size_t capacity, size_t *length) {
    (void)context;
    (void)what;
    (void)again;
    (void)buffer;
    *length = capacity + 1;
    return true;
}

static void test_passphrase_longer_than_its_room(void **state) {
    hm_secret secret = {.data = NULL};
    (void)state;
    assert_int_equal(hm_secret_ask(lie_about_length, NULL, "x", false, &secret, NULL),
                     HM_UNDECIDED);
    assert_int_equal(secret.length, 0);
    hm_secret_free(&secret);
    assert_null(secret.data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hint_and_fingerprint),
        cmocka_unit_test(test_hint_of_compressed_point),
        cmocka_unit_test(test_public_key_with_crlf),
        cmocka_unit_test(test_public_key_in_pkcs1),
        cmocka_unit_test(test_public_key_damage),
        cmocka_unit_test(test_public_key_with_bytes_behind_it),
        cmocka_unit_test(test_several_public_keys),
        cmocka_unit_test(test_private_key_as_public),
        cmocka_unit_test(test_unsupported_public_keys),
        cmocka_unit_test(test_rsa_pss_typed_key),
        cmocka_unit_test(test_curve_spelt_out),
        cmocka_unit_test(test_rsa_exponent_of_one),
        cmocka_unit_test(test_ecdsa_by_curve),
        cmocka_unit_test(test_every_flipped_bit_is_refused),
        cmocka_unit_test(test_ecdsa_has_one_spelling),
        cmocka_unit_test(test_ecdsa_range),
        cmocka_unit_test(test_rsa_salt_is_exact),
        cmocka_unit_test(test_rsa_other_padding_and_hash),
        cmocka_unit_test(test_rsa_signature_range),
        cmocka_unit_test(test_scheme_for_another_kind_of_key),
        cmocka_unit_test(test_plain_pkcs8),
        cmocka_unit_test(test_traditional),
        cmocka_unit_test(test_traditional_encrypted),
        cmocka_unit_test(test_pkcs8_encrypted),
        cmocka_unit_test(test_outdated_encryption),
        cmocka_unit_test(test_key_file_open_to_others),
        cmocka_unit_test(test_key_file_of_another_user),
        cmocka_unit_test(test_no_such_key_file),
        cmocka_unit_test(test_not_a_private_key),
        cmocka_unit_test(test_key_file_limit),
        cmocka_unit_test(test_unsupported_private_keys),
        cmocka_unit_test(test_unknown_key_service),
        cmocka_unit_test(test_signer_options),
        cmocka_unit_test(test_signer_describes_itself),
        cmocka_unit_test(test_signing_by_scheme),
        cmocka_unit_test(test_signature_is_checked_before_it_leaves),
        cmocka_unit_test(test_self_signed),
        cmocka_unit_test(test_certificates_of_signer),
        cmocka_unit_test(test_self_signed_leaf_stays),
        cmocka_unit_test(test_certificates_that_do_not_fit),
        cmocka_unit_test(test_certificate_of_an_rsa_key),
        cmocka_unit_test(test_certificate_in_der),
        cmocka_unit_test(test_generate_every_type),
        cmocka_unit_test(test_generated_key_is_sealed_well),
        cmocka_unit_test(test_generate_plain_and_paths),
        cmocka_unit_test(test_generate_never_writes_over),
        cmocka_unit_test(test_generate_both_or_neither),
        cmocka_unit_test(test_generate_refuses),
        cmocka_unit_test(test_harden),
        cmocka_unit_test(test_passphrase_longer_than_its_room),
    };
    return cmocka_run_group_tests_name("key", tests, set_up, tear_down);
}
