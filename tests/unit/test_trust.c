/* SPDX-License-Identifier: Apache-2.0 */
/* The trust room: policies, bare keys, certificate chains, identities. */
#include "trust/trust.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

/* ---- fixtures ------------------------------------------------------------------------------- */

enum { DAY = 24 * 60 * 60 };
static const int64_t today = 1767225600; /* 2026-01-01 */

static char folder[64];

static int set_up(void **state) {
    (void)state;
    strcpy(folder, "/tmp/hallmark-trust-XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **state) {
    char command[128];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static const char *in_folder(const char *name) {
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* "rsa" or "ED25519" or a curve. */
static EVP_PKEY *new_key(const char *kind) {
    EVP_PKEY *pkey = strcmp(kind, "rsa") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)
                     : strcmp(kind, "ED25519") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
                                                    : EVP_PKEY_Q_keygen(NULL, NULL, "EC", kind);
    assert_non_null(pkey);
    return pkey;
}

/* What a certificate is to say other than the usual. 0 days: half a year around today. */
typedef struct spec {
    const char *name;
    const char *key;
    int from, to; /* days from today */
    const char *basic, *usage, *extended, *alternative;
    const char *digest;
    bool anonymous; /* no key identifiers */
    bool spelt_out; /* the curve */
} spec;
#define NONE "" /* no such extension */

typedef enum role { ROOT, MIDDLE, LEAF } role;
static const spec usual[] = {
    [ROOT] = {.name = "root",
              .basic = "critical,CA:TRUE",
              .usage = "critical,keyCertSign,cRLSign",
              .extended = NONE},
    [MIDDLE] = {.name = "middle",
                .basic = "critical,CA:TRUE",
                .usage = "critical,keyCertSign,cRLSign",
                .extended = NONE},
    [LEAF] = {.name = "signer",
              .basic = "critical,CA:FALSE",
              .usage = "critical,digitalSignature",
              .extended = "codeSigning"},
};

static const char *either(const char *said, const char *otherwise) {
    return said != NULL ? said : otherwise;
}

typedef struct party {
    X509 *certificate;
    EVP_PKEY *key;
} party;

static void free_party(party *ended) {
    X509_free(ended->certificate);
    EVP_PKEY_free(ended->key);
}

static void extend(X509 *made, X509 *issuer, int nid, const char *value) {
    X509V3_CTX ctx;
    if (value[0] == '\0') {
        return;
    }
    X509V3_set_ctx(&ctx, issuer, made, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(made, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void name_it(X509_NAME *name, const char *common) {
    assert_int_equal(X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const uint8_t *)"Acme",
                                                -1, -1, 0),
                     1);
    assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)common,
                                                -1, -1, 0),
                     1);
}

static void extend_all(X509 *made, X509 *issuer, role as, const spec *says) {
    extend(made, issuer, NID_basic_constraints, either(says->basic, usual[as].basic));
    extend(made, issuer, NID_key_usage, either(says->usage, usual[as].usage));
    extend(made, issuer, NID_ext_key_usage, either(says->extended, usual[as].extended));
    extend(made, issuer, NID_subject_alt_name, either(says->alternative, NONE));
    if (!says->anonymous) {
        extend(made, issuer, NID_subject_key_identifier, "hash");
        if (issuer != made) {
            extend(made, issuer, NID_authority_key_identifier, "keyid");
        }
    }
}

static const EVP_MD *digest_for(EVP_PKEY *key, const char *name) {
    if (EVP_PKEY_is_a(key, "ED25519") == 1) {
        return NULL;
    }
    return EVP_get_digestbyname(name != NULL ? name : "SHA256");
}

/* As a verifier gets it: read from its DER. */
static X509 *reread(X509 *made) {
    hm_buf der = {.data = NULL};
    X509 *again = NULL;
    assert_int_equal(hm_certificate_der(made, &der, NULL), HM_OK);
    assert_int_equal(hm_certificate_parse_der(hm_buf_view(&der), "made", &again, NULL), HM_OK);
    hm_buf_free(&der);
    X509_free(made);
    return again;
}

/* `says` NULL: the usual. `issuer` NULL: signed by itself. */
static party issue(role as, const spec *says, const party *issuer) {
    static const spec nothing = {.name = NULL};
    static long serial = 1000;
    says = says != NULL ? says : &nothing;
    party made = {.certificate = X509_new(), .key = new_key(either(says->key, "P-256"))};
    X509 *x = made.certificate;
    if (says->spelt_out) {
        assert_int_equal(EVP_PKEY_set_utf8_string_param(made.key, OSSL_PKEY_PARAM_EC_ENCODING,
                                                        "explicit"),
                         1);
    }
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    ASN1_TIME_set(X509_getm_notBefore(x), today + (says->from != 0 ? says->from : -180) * DAY);
    ASN1_TIME_set(X509_getm_notAfter(x), today + (says->to != 0 ? says->to : 180) * DAY);
    name_it(X509_get_subject_name(x), either(says->name, usual[as].name));
    X509_set_pubkey(x, made.key);
    X509_set_issuer_name(x, X509_get_subject_name(issuer != NULL ? issuer->certificate : x));
    extend_all(x, issuer != NULL ? issuer->certificate : x, as, says);
    EVP_PKEY *key = issuer != NULL ? issuer->key : made.key;
    assert_true(X509_sign(x, key, digest_for(key, says->digest)) > 0);
    made.certificate = reread(x);
    return made;
}

static const char *store(const char *name, X509 *first, X509 *second) {
    const char *path = in_folder(name);
    BIO *bio = BIO_new_file(path, "w");
    assert_int_equal(PEM_write_bio_X509(bio, first), 1);
    if (second != NULL) {
        assert_int_equal(PEM_write_bio_X509(bio, second), 1);
    }
    BIO_free(bio);
    return path;
}

static const char *store_public(const char *name, EVP_PKEY *pkey) {
    const char *path = in_folder(name);
    BIO *bio = BIO_new_file(path, "w");
    assert_int_equal(PEM_write_bio_PUBKEY(bio, pkey), 1);
    BIO_free(bio);
    return path;
}

static hm_policy *new_policy(void) {
    hm_policy *policy = NULL;
    assert_int_equal(hm_policy_new(&policy, NULL), HM_OK);
    assert_int_equal(hm_policy_set_time(policy, today, NULL), HM_OK);
    return policy;
}

static hm_policy *believing(X509 *root) {
    hm_policy *policy = new_policy();
    assert_int_equal(hm_policy_add_root(policy, store("root.crt", root, NULL), NULL), HM_OK);
    return policy;
}

static void add_key(hm_policy *policy, EVP_PKEY *pkey) {
    assert_int_equal(hm_policy_add_key(policy, store_public("key.pub", pkey), NULL), HM_OK);
}

static void sign_part(hm_signed_part *part, EVP_PKEY *pkey, const char *message) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t length = 0;
    hm_buf_add_text(&part->message, message);
    bool ed = EVP_PKEY_is_a(pkey, "ED25519") == 1;
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, ed ? NULL : "SHA256", NULL, NULL, pkey, NULL),
                     1);
    assert_int_equal(EVP_DigestSign(ctx, NULL, &length, part->message.data, part->message.length),
                     1);
    uint8_t *data = hm_buf_extend(&part->signature, length);
    assert_int_equal(EVP_DigestSign(ctx, data, &length, part->message.data, part->message.length),
                     1);
    part->signature.length = length;
    EVP_MD_CTX_free(ctx);
}

/* `count` signatures by one key. */
static hm_envelope signed_by(EVP_PKEY *pkey, size_t count) {
    hm_envelope made = {.format = &hm_format_oms,
                        .scheme = HM_SCHEME_BY_KEY,
                        .material = HM_MATERIAL_KEY,
                        .part_count = count};
    made.parts = calloc(count + 1, sizeof *made.parts);
    for (size_t i = 0; i < count; i++) {
        sign_part(&made.parts[i], pkey, i % 2 == 0 ? "words" : "more words");
    }
    return made;
}

static void attach(hm_envelope *envelope, X509 *certificate) {
    if (envelope->certificates == NULL) {
        envelope->certificates = sk_X509_new_null();
    }
    envelope->material = HM_MATERIAL_CHAIN;
    assert_int_equal(X509_up_ref(certificate), 1);
    assert_true(sk_X509_push(envelope->certificates, certificate) > 0);
}

static void free_envelope(hm_envelope *envelope) {
    for (size_t i = 0; i < envelope->part_count; i++) {
        hm_buf_free(&envelope->parts[i].message);
        hm_buf_free(&envelope->parts[i].signature);
    }
    free(envelope->parts);
    free(envelope->key_hint);
    sk_X509_pop_free(envelope->certificates, X509_free);
}

static void expect_text(const char *part, const char *text) {
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", part, text);
    }
}

static void expect(const hm_policy *policy, const hm_envelope *envelope, hm_status status,
                   hm_reason reason, const char *message) {
    hm_signer_identity who;
    hm_error *error = NULL;
    memset(&who, 0xAA, sizeof who);
    hm_status found = hm_trust_judge(policy, envelope, hm_time_now(), &who, &error);
    expect_text(message, hm_error_message(error));
    assert_int_equal(found, status);
    assert_int_equal(hm_error_reason(error), reason);
    if (status != HM_OK) {
        assert_null(who.algorithm);
        assert_int_equal(who.warning_count, 0);
    }
    hm_signer_identity_free(&who);
    hm_error_free(&error);
    assert_int_equal(ERR_peek_error(), 0);
}

static void expect_refused(const hm_policy *policy, const hm_envelope *envelope, hm_reason reason,
                           const char *message) {
    expect(policy, envelope, HM_REFUSED, reason, message);
}

static void expect_accepted(const hm_policy *policy, const hm_envelope *envelope) {
    expect(policy, envelope, HM_OK, HM_REASON_NONE, "");
}

/* A chain of three, of which the root alone is believed. */
typedef struct scene {
    party root, middle, leaf;
    hm_policy *policy;
    hm_envelope envelope;
} scene;

static scene new_scene(const spec *root, const spec *middle, const spec *leaf) {
    scene made;
    memset(&made, 0, sizeof made);
    made.root = issue(ROOT, root, NULL);
    made.middle = issue(MIDDLE, middle, &made.root);
    made.leaf = issue(LEAF, leaf, &made.middle);
    made.policy = believing(made.root.certificate);
    made.envelope = signed_by(made.leaf.key, 1);
    attach(&made.envelope, made.leaf.certificate);
    attach(&made.envelope, made.middle.certificate);
    return made;
}

static void free_scene(scene *ended) {
    free_party(&ended->root);
    free_party(&ended->middle);
    free_party(&ended->leaf);
    hm_policy_free(&ended->policy);
    free_envelope(&ended->envelope);
}

/* ---- policies ------------------------------------------------------------------------------- */

static void test_policy_arguments(void **state) {
    hm_policy *policy = new_policy();
    (void)state;
    assert_int_equal(hm_policy_allow(policy, 1, NULL), HM_USAGE);
    assert_int_equal(hm_policy_allow(policy, UINT64_C(1) << 5, NULL), HM_USAGE);
    assert_int_equal(hm_policy_allow(policy, HM_ALLOW_ALL_FLAGS, NULL), HM_OK);
    assert_int_equal(hm_policy_allow(policy, 0, NULL), HM_OK);
    assert_int_equal(hm_policy_set_time(policy, -1, NULL), HM_USAGE);
    assert_int_equal(hm_policy_require_format(policy, "pgp", NULL), HM_USAGE);
    assert_int_equal(hm_policy_require_format(policy, NULL, NULL), HM_USAGE);
    assert_int_equal(hm_policy_require_format(policy, "oms", NULL), HM_OK);
    assert_int_equal(hm_policy_add_key(policy, NULL, NULL), HM_USAGE);
    assert_int_equal(hm_policy_add_root(policy, NULL, NULL), HM_USAGE);
    assert_int_equal(hm_policy_add_key(policy, in_folder("none"), NULL), HM_UNDECIDED);
    assert_int_equal(hm_policy_add_root(policy, in_folder("none"), NULL), HM_UNDECIDED);
    assert_int_equal(hm_policy_new(NULL, NULL), HM_USAGE);
    hm_policy_free(&policy);
    assert_null(policy);
    hm_policy_free(NULL);
}

static void test_policy_identities(void **state) {
    static const char hex[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    hm_policy *policy = new_policy();
    (void)state;
    const hm_identity_kind kind = HM_IDENTITY_FINGERPRINT;
    assert_int_equal(hm_policy_require_identity(policy, kind, hex, NULL), HM_OK);
    assert_int_equal(hm_policy_require_identity(policy, kind, hex + 2, NULL), HM_USAGE);
    assert_int_equal(hm_policy_require_identity(policy, kind, "sha256:00", NULL), HM_USAGE);
    assert_int_equal(hm_policy_require_identity(policy, kind, "", NULL), HM_USAGE);
    assert_int_equal(hm_policy_require_identity(policy, kind, NULL, NULL), HM_USAGE);
    assert_int_equal(hm_policy_require_identity(policy, (hm_identity_kind)9, "x", NULL), HM_USAGE);
    assert_int_equal(policy->signers[0].identity_count, 1);
    hm_policy_free(&policy);
}

static void test_policy_keys(void **state) {
    hm_policy *policy = new_policy();
    hm_error *error = NULL;
    party root = issue(ROOT, NULL, NULL);
    EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
    (void)state;
    add_key(policy, root.key);
    add_key(policy, root.key);
    assert_int_equal(policy->signers[0].key_count, 1);
    assert_int_equal(hm_policy_add_key(policy, store("x", root.certificate, NULL), &error),
                     HM_USAGE);
    expect_text("holds a certificate where a public key belongs", hm_error_message(error));
    expect_text("--root", hm_error_hint(error));
    hm_error_free(&error);
    assert_int_equal(hm_policy_add_root(policy, store_public("x", root.key), &error), HM_USAGE);
    expect_text("--key", hm_error_hint(error));
    hm_error_free(&error);
    assert_int_equal(hm_policy_add_key(policy, store_public("x", rsa), NULL), HM_REFUSED);
    assert_int_equal(policy->signers[0].key_count, 1);
    assert_null(policy->signers[0].roots);
    EVP_PKEY_free(rsa);
    free_party(&root);
    hm_policy_free(&policy);
}

static void test_empty_policy_believes_nobody(void **state) {
    EVP_PKEY *key = new_key("P-256");
    hm_envelope envelope = signed_by(key, 1);
    hm_policy *policy = new_policy();
    (void)state;
    expect(policy, &envelope, HM_USAGE, HM_REASON_NONE, "believes nobody");
    expect(NULL, &envelope, HM_USAGE, HM_REASON_NONE, "believes nobody");
    hm_policy_free(&policy);
    free_envelope(&envelope);
    EVP_PKEY_free(key);
}

/* ---- conditions ----------------------------------------------------------------------------- */

static void test_no_signature_at_all(void **state) {
    EVP_PKEY *key = new_key("P-256");
    hm_envelope envelope = signed_by(key, 0);
    hm_policy *policy = new_policy();
    scene made = new_scene(NULL, NULL, NULL);
    (void)state;
    add_key(policy, key);
    expect_refused(policy, &envelope, HM_REASON_UNSIGNED, "no signature");
    size_t count = made.envelope.part_count;
    made.envelope.part_count = 0;
    expect_refused(made.policy, &made.envelope, HM_REASON_UNSIGNED, "no signature");
    made.envelope.part_count = count;
    free_scene(&made);
    hm_policy_free(&policy);
    free_envelope(&envelope);
    EVP_PKEY_free(key);
}

static void test_demanded_format(void **state) {
    EVP_PKEY *key = new_key("P-256");
    hm_envelope envelope = signed_by(key, 1);
    hm_policy *policy = new_policy();
    (void)state;
    add_key(policy, key);
    assert_int_equal(hm_policy_require_format(policy, "oms", NULL), HM_OK);
    expect_accepted(policy, &envelope);
    assert_int_equal(hm_policy_require_format(policy, "sig-json", NULL), HM_OK);
    expect_refused(policy, &envelope, HM_REASON_UNSUPPORTED, "demands format sig-json");
    hm_policy_free(&policy);
    free_envelope(&envelope);
    EVP_PKEY_free(key);
}

static void test_old_encoding_and_sigstore(void **state) {
    EVP_PKEY *key = new_key("P-256");
    hm_envelope envelope = signed_by(key, 1);
    hm_policy *policy = new_policy();
    (void)state;
    add_key(policy, key);
    envelope.oms_v020 = true;
    expect_refused(policy, &envelope, HM_REASON_UNSUPPORTED, "0.2.0");
    assert_int_equal(hm_policy_allow(policy, HM_ALLOW_OMS_V0_2_0, NULL), HM_OK);
    expect_accepted(policy, &envelope);
    envelope.oms_v020 = false;
    envelope.material = HM_MATERIAL_SIGSTORE;
    expect_refused(policy, &envelope, HM_REASON_UNSUPPORTED, "sigstore");
    hm_policy_free(&policy);
    free_envelope(&envelope);
    EVP_PKEY_free(key);
}

/* ---- bare keys ------------------------------------------------------------------------------ */

static void set_hint(hm_envelope *envelope, EVP_PKEY *pkey) {
    hm_pubkey *key = NULL;
    assert_int_equal(hm_pubkey_from_evp(pkey, "x", &key, NULL), HM_OK);
    free(envelope->key_hint);
    envelope->key_hint = strdup(key->hint);
    hm_pubkey_free(&key);
}

static void test_key_among_several(void **state) {
    EVP_PKEY *keys[] = {new_key("P-384"), new_key("ED25519"), new_key("P-256"), new_key("P-256")};
    hm_envelope envelope = signed_by(keys[2], 3);
    hm_policy *policy = new_policy();
    (void)state;
    add_key(policy, keys[0]);
    add_key(policy, keys[1]);
    expect_refused(policy, &envelope, HM_REASON_BAD_SIGNATURE, "any of the 2 keys");
    add_key(policy, keys[2]);
    add_key(policy, keys[3]);
    expect_accepted(policy, &envelope);
    set_hint(&envelope, keys[2]);
    expect_accepted(policy, &envelope);
    /* The hint chooses the key, and the signature then has to be that key's. */
    set_hint(&envelope, keys[3]);
    expect_refused(policy, &envelope, HM_REASON_BAD_SIGNATURE, "does not verify under the ec-p256");
    hm_policy_free(&policy);
    free_envelope(&envelope);
    for (size_t i = 0; i < 4; i++) {
        EVP_PKEY_free(keys[i]);
    }
}

static void test_hint_of_nobody(void **state) {
    EVP_PKEY *key = new_key("P-256");
    hm_envelope envelope = signed_by(key, 1);
    hm_policy *policy = new_policy();
    (void)state;
    add_key(policy, key);
    set_hint(&envelope, key);
    envelope.key_hint[0] = envelope.key_hint[0] == '0' ? '1' : '0';
    expect_refused(policy, &envelope, HM_REASON_UNTRUSTED_SIGNER, "has the hint");
    /* Case counts. */
    set_hint(&envelope, key);
    for (char *c = envelope.key_hint; *c != '\0'; c++) {
        *c = (char)(*c >= 'a' ? *c - 'a' + 'A' : *c);
    }
    expect_refused(policy, &envelope, HM_REASON_UNTRUSTED_SIGNER, "has the hint");
    envelope.key_hint[0] = '\0';
    expect_accepted(policy, &envelope);
    hm_policy_free(&policy);
    free_envelope(&envelope);
    EVP_PKEY_free(key);
}

static void expect_warnings(const hm_policy *policy, const hm_envelope *envelope, size_t count,
                            const char *text) {
    hm_signer_identity who;
    assert_int_equal(hm_trust_judge(policy, envelope, hm_time_now(), &who, NULL), HM_OK);
    assert_int_equal(who.warning_count, count);
    for (size_t i = 0; i < count; i++) {
        expect_text(text, who.warnings[i]);
    }
    hm_signer_identity_free(&who);
}

static void test_missing_hint_is_told(void **state) {
    EVP_PKEY *key = new_key("P-256");
    hm_envelope envelope = signed_by(key, 1);
    hm_policy *policy = new_policy();
    (void)state;
    add_key(policy, key);
    expect_warnings(policy, &envelope, 1, "which key");
    set_hint(&envelope, key);
    expect_warnings(policy, &envelope, 0, "");
    free(envelope.key_hint);
    envelope.key_hint = NULL;
    envelope.material = HM_MATERIAL_NONE; /* of formats that have no hint */
    expect_warnings(policy, &envelope, 0, "");
    hm_policy_free(&policy);
    free_envelope(&envelope);
    EVP_PKEY_free(key);
}

/* Each part good, but under different keys: nobody signed the whole. */
static void test_one_key_for_all_parts(void **state) {
    EVP_PKEY *keys[] = {new_key("P-256"), new_key("P-256")};
    hm_envelope envelope = signed_by(keys[0], 3);
    hm_policy *policy = new_policy();
    (void)state;
    add_key(policy, keys[0]);
    add_key(policy, keys[1]);
    expect_accepted(policy, &envelope);
    hm_buf_free(&envelope.parts[2].message);
    hm_buf_free(&envelope.parts[2].signature);
    sign_part(&envelope.parts[2], keys[1], "words");
    expect_refused(policy, &envelope, HM_REASON_BAD_SIGNATURE, "any of the 2 keys");
    hm_policy_free(&policy);
    free_envelope(&envelope);
    EVP_PKEY_free(keys[0]);
    EVP_PKEY_free(keys[1]);
}

static void test_changed_message(void **state) {
    EVP_PKEY *key = new_key("P-256");
    hm_envelope envelope = signed_by(key, 2);
    hm_policy *policy = new_policy();
    (void)state;
    add_key(policy, key);
    envelope.parts[1].message.data[0] ^= 1;
    expect_refused(policy, &envelope, HM_REASON_BAD_SIGNATURE, "does not verify");
    hm_policy_free(&policy);
    free_envelope(&envelope);
    EVP_PKEY_free(key);
}

static void test_key_of_the_wrong_kind(void **state) {
    EVP_PKEY *key = new_key("P-256");
    hm_envelope envelope = signed_by(key, 1);
    hm_policy *policy = new_policy();
    (void)state;
    add_key(policy, key);
    envelope.scheme = HM_SCHEME_RSA_PSS_SHA256_MAX;
    expect_refused(policy, &envelope, HM_REASON_UNTRUSTED_SIGNER, "cannot have made");
    hm_policy_free(&policy);
    free_envelope(&envelope);
    EVP_PKEY_free(key);
}

static void test_bare_key_where_certificates_are_believed(void **state) {
    scene made = new_scene(NULL, NULL, NULL);
    hm_envelope bare = signed_by(made.leaf.key, 1);
    (void)state;
    expect_refused(made.policy, &bare, HM_REASON_UNTRUSTED_SIGNER, "by a bare key");
    hm_policy *policy = new_policy();
    add_key(policy, made.leaf.key);
    /* Not even when it is the very key: the caller did not say that certificates are to count. */
    expect_refused(policy, &made.envelope, HM_REASON_UNTRUSTED_SIGNER, "by certificate");
    assert_int_equal(hm_policy_require_identity(policy, HM_IDENTITY_SAN, "a@b", NULL), HM_OK);
    expect_refused(policy, &bare, HM_REASON_UNTRUSTED_SIGNER, "no identity");
    hm_policy_free(&policy);
    free_envelope(&bare);
    free_scene(&made);
}

static void test_who_by_key(void **state) {
    EVP_PKEY *key = new_key("P-256");
    hm_envelope envelope = signed_by(key, 1);
    hm_policy *policy = new_policy();
    hm_signer_identity who;
    (void)state;
    add_key(policy, key);
    set_hint(&envelope, key);
    assert_int_equal(hm_trust_judge(policy, &envelope, hm_time_now(), &who, NULL), HM_OK);
    assert_false(who.by_certificate);
    assert_string_equal(who.algorithm, "ec-p256");
    assert_string_equal(who.scheme_text, "ECDSA P-256 SHA-256");
    assert_string_equal(who.fingerprint, policy->signers[0].keys[0].key->fingerprint);
    assert_null(who.subject);
    assert_string_equal(who.certificate_fingerprint, "");
    hm_signer_identity_free(&who);
    hm_policy_free(&policy);
    free_envelope(&envelope);
    EVP_PKEY_free(key);
}

/* ---- chains --------------------------------------------------------------------------------- */

static void test_who_by_certificate(void **state) {
    scene made = new_scene(NULL, NULL,
                           &(spec){.alternative = "email:a@b.example,URI:https://x/y,"
                                                  "DNS:c.example,IP:10.0.0.1"});
    hm_signer_identity who;
    (void)state;
    assert_int_equal(hm_trust_judge(made.policy, &made.envelope, hm_time_now(), &who, NULL), HM_OK);
    assert_true(who.by_certificate);
    assert_string_equal(who.subject, "CN=signer,O=Acme");
    assert_string_equal(who.issuer, "CN=middle,O=Acme");
    assert_int_equal(who.alternative_name_count, 3);
    assert_string_equal(who.alternative_names[0], "email:a@b.example");
    assert_string_equal(who.alternative_names[1], "URI:https://x/y");
    assert_string_equal(who.alternative_names[2], "DNS:c.example");
    assert_int_equal(who.not_before, today - 180 * DAY);
    assert_int_equal(who.not_after, today + 180 * DAY);
    assert_int_equal(who.judged_at, today);
    assert_int_equal(strlen(who.certificate_fingerprint), 64);
    assert_int_equal(who.warning_count, 0);
    hm_signer_identity_free(&who);
    free_scene(&made);
}

/* One thing about a chain, and what is made of it: without options, and with all of them. */
typedef struct chain_case {
    const char *title;
    spec root, middle, leaf;
    hm_status status;
    hm_reason reason;
    const char *message;
    uint64_t allow; /* with this it is accepted */
} chain_case;

static void check_chain(const chain_case *is) {
    scene made = new_scene(&is->root, &is->middle, &is->leaf);
    print_message("      %s\n", is->title);
    expect(made.policy, &made.envelope, is->status, is->reason, is->message);
    if (is->allow != 0) {
        assert_int_equal(hm_policy_allow(made.policy, is->allow, NULL), HM_OK);
        expect_accepted(made.policy, &made.envelope);
        expect_warnings(made.policy, &made.envelope, 1, "");
        assert_int_equal(hm_policy_allow(made.policy, HM_ALLOW_ALL_FLAGS & ~is->allow, NULL),
                         HM_OK);
    } else {
        assert_int_equal(hm_policy_allow(made.policy, HM_ALLOW_ALL_FLAGS, NULL), HM_OK);
    }
    expect(made.policy, &made.envelope, is->status, is->reason, is->message);
    free_scene(&made);
}

#define REFUSED(why) .status = HM_REFUSED, .reason = HM_REASON_##why
#define UNTRUSTED REFUSED(UNTRUSTED_SIGNER)

static void test_chain_usage(void **state) {
    static const chain_case cases[] = {
        {"the usual", .status = HM_OK, .message = ""},
        {"server", .leaf = {.extended = "serverAuth"}, UNTRUSTED, .message = "codeSigning"},
        {"any usage", .leaf = {.extended = "anyExtendedKeyUsage"}, UNTRUSTED,
         .message = "codeSigning"},
        {"both usages", .leaf = {.extended = "serverAuth,codeSigning"}, .message = ""},
        {"encipherment", .leaf = {.usage = "keyEncipherment"}, UNTRUSTED,
         .message = "digitalSignature"},
        {"no extended usage", .leaf = {.extended = NONE}, UNTRUSTED,
         .message = "no extended key usage", .allow = HM_ALLOW_MISSING_EKU},
        {"no usage", .leaf = {.usage = NONE}, .message = ""},
        {"neither", .leaf = {.usage = NONE, .extended = NONE}, UNTRUSTED,
         .message = "no usage at all"},
        {"server, no usage", .leaf = {.usage = NONE, .extended = "serverAuth"}, UNTRUSTED,
         .message = "codeSigning"},
        {"leaf is an authority", .leaf = {.basic = "critical,CA:TRUE"}, .message = ""},
        {"authority for servers only", .middle = {.extended = "serverAuth"}, UNTRUSTED,
         .message = "not for code signing"},
        {"authority for code", .middle = {.extended = "serverAuth,codeSigning"}, .message = ""},
        {"authority for anything", .middle = {.extended = "anyExtendedKeyUsage"}, .message = ""},
        {"root for servers only", .root = {.extended = "serverAuth"}, .message = ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_chain(&cases[i]);
    }
}

static void test_chain_keys(void **state) {
    static const chain_case cases[] = {
        {"P-384 authority", .middle = {.key = "P-384"}, .message = ""},
        {"RSA root", .root = {.key = "rsa"}, .message = ""},
        {"RSA leaf", .leaf = {.key = "rsa"}, UNTRUSTED, .message = "rsa-2048"},
        {"Ed25519 leaf", .leaf = {.key = "ED25519"}, UNTRUSTED, .message = "ed25519"},
        {"secp256k1", .leaf = {.key = "secp256k1"}, UNTRUSTED, .message = "secp256k1"},
        {"brainpool", .leaf = {.key = "brainpoolP256r1"}, UNTRUSTED, .message = "brainpool"},
        {"spelt-out leaf", .leaf = {.spelt_out = true}, UNTRUSTED, .message = "spelt out"},
        {"spelt-out authority", .middle = {.spelt_out = true}, UNTRUSTED, .message = "explicit"},
        {"SHA-1", .leaf = {.digest = "SHA1"}, UNTRUSTED, .message = "too weak"},
        {"SHA-1 above", .middle = {.digest = "SHA1"}, UNTRUSTED, .message = "too weak"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_chain(&cases[i]);
    }
}

static void test_chain_authorities(void **state) {
    static const chain_case cases[] = {
        {"not an authority", .middle = {.basic = "critical,CA:FALSE"}, UNTRUSTED,
         .message = "invalid CA"},
        {"nothing said", .middle = {.basic = NONE}, UNTRUSTED, .message = "invalid CA"},
        {"root not said to be one", .root = {.basic = NONE}, UNTRUSTED, .message = "invalid CA"},
        {"may not sign", .middle = {.usage = "critical,digitalSignature"}, UNTRUSTED,
         .message = ""},
        {"too long a path", .root = {.basic = "critical,CA:TRUE,pathlen:0"}, UNTRUSTED,
         .message = "path length"},
        {"long enough", .root = {.basic = "critical,CA:TRUE,pathlen:1"},
         .middle = {.basic = "critical,CA:TRUE,pathlen:0"}, .message = ""},
        {"root as openssl makes it", .root = {.usage = NONE}, .message = ""},
        {"authority not restricted", .middle = {.usage = NONE, .basic = "CA:TRUE"}, .message = ""},
        {"no key identifiers", .root = {.anonymous = true}, .middle = {.anonymous = true},
         .leaf = {.anonymous = true}, .message = ""},
        {"one name for two", .middle = {.name = "signer"}, .message = ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_chain(&cases[i]);
    }
}

static void test_chain_times(void **state) {
    static const chain_case cases[] = {
        {"expired leaf", .leaf = {.from = -100, .to = -1}, REFUSED(EXPIRED), .message = "expired",
         .allow = HM_ALLOW_EXPIRED_CERTIFICATES},
        {"leaf of the future", .leaf = {.from = 1, .to = 100}, REFUSED(EXPIRED),
         .message = "not yet valid", .allow = HM_ALLOW_EXPIRED_CERTIFICATES},
        {"expired authority", .middle = {.from = -179, .to = -1}, .leaf = {.from = -100},
         REFUSED(EXPIRED), .message = "expired", .allow = HM_ALLOW_EXPIRED_CERTIFICATES},
        {"expired root", .root = {.from = -179, .to = -1}, .leaf = {.from = -100},
         .middle = {.from = -150}, REFUSED(EXPIRED), .message = "expired",
         .allow = HM_ALLOW_EXPIRED_CERTIFICATES},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_chain(&cases[i]);
    }
}

/* At its own start the leaf's authority was not there yet; now it is. */
static void test_renewed_authority(void **state) {
    scene made = new_scene(NULL, &(spec){.from = -10}, &(spec){.from = -50});
    (void)state;
    expect_accepted(made.policy, &made.envelope);
    assert_int_equal(hm_policy_allow(made.policy, HM_ALLOW_EXPIRED_CERTIFICATES, NULL), HM_OK);
    expect_refused(made.policy, &made.envelope, HM_REASON_EXPIRED, "not yet valid");
    free_scene(&made);
}

static void test_clock(void **state) {
    scene made = new_scene(NULL, NULL, NULL);
    char now[32];
    (void)state;
    made.policy->time_set = false;
    (void)snprintf(now, sizeof now, "%lld", (long long)today);
    assert_int_equal(setenv("HALLMARK_TIME", now, 1), 0);
    expect_accepted(made.policy, &made.envelope);
    assert_int_equal(setenv("HALLMARK_TIME", "1", 1), 0);
    expect_refused(made.policy, &made.envelope, HM_REASON_EXPIRED, "not yet valid");
    assert_int_equal(setenv("HALLMARK_TIME", "soon", 1), 0);
    expect(made.policy, &made.envelope, HM_UNDECIDED, HM_REASON_NONE, "clock");
    assert_int_equal(unsetenv("HALLMARK_TIME"), 0);
    free_scene(&made);
}

static void test_order_of_certificates(void **state) {
    scene made = new_scene(NULL, NULL, NULL);
    party second = issue(MIDDLE, &(spec){.name = "second"}, &made.middle);
    party leaf = issue(LEAF, NULL, &second);
    hm_envelope envelope = signed_by(leaf.key, 1);
    (void)state;
    attach(&envelope, leaf.certificate);
    attach(&envelope, made.root.certificate);
    attach(&envelope, made.middle.certificate);
    attach(&envelope, second.certificate);
    expect_accepted(made.policy, &envelope);
    free_envelope(&envelope);
    /* The leaf has to come first: it is the first one's key that counts. */
    envelope = signed_by(leaf.key, 1);
    attach(&envelope, second.certificate);
    attach(&envelope, leaf.certificate);
    attach(&envelope, made.middle.certificate);
    expect_refused(made.policy, &envelope, HM_REASON_UNTRUSTED_SIGNER, "");
    free_envelope(&envelope);
    free_party(&second);
    free_party(&leaf);
    free_scene(&made);
}

static void test_missing_intermediate(void **state) {
    scene made = new_scene(NULL, NULL, NULL);
    (void)state;
    X509_free(sk_X509_pop(made.envelope.certificates));
    expect_refused(made.policy, &made.envelope, HM_REASON_UNTRUSTED_SIGNER, "issuer");
    /* The caller may have it beside the root. */
    hm_policy *policy = new_policy();
    const char *both = store("both.crt", made.middle.certificate, made.root.certificate);
    assert_int_equal(hm_policy_add_root(policy, both, NULL), HM_OK);
    expect_accepted(policy, &made.envelope);
    hm_policy_free(&policy);
    free_scene(&made);
}

/* What a signature file carries is believed in nothing, its root least of all. */
static void test_root_in_the_signature_only(void **state) {
    scene made = new_scene(NULL, NULL, NULL);
    party stranger = issue(ROOT, NULL, NULL); /* of the same name */
    party other = issue(ROOT, &(spec){.name = "other"}, NULL);
    (void)state;
    attach(&made.envelope, made.root.certificate);
    expect_accepted(made.policy, &made.envelope);
    hm_policy *policy = believing(stranger.certificate);
    expect_refused(policy, &made.envelope, HM_REASON_UNTRUSTED_SIGNER, "");
    hm_policy_free(&policy);
    policy = believing(other.certificate);
    expect_refused(policy, &made.envelope, HM_REASON_UNTRUSTED_SIGNER, "self-signed");
    hm_policy_free(&policy);
    free_party(&stranger);
    free_party(&other);
    free_scene(&made);
}

/* A forger's authority bears the real one's name, and signs with a key of its own. */
static void test_authority_of_the_same_name(void **state) {
    static const bool anonymous[] = {false, true};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        scene real = new_scene(NULL, NULL, NULL);
        scene forged =
            new_scene(&(spec){.anonymous = anonymous[i]}, &(spec){.anonymous = anonymous[i]},
                      &(spec){.anonymous = anonymous[i]});
        expect_refused(real.policy, &forged.envelope, HM_REASON_UNTRUSTED_SIGNER, "");
        free_scene(&real);
        free_scene(&forged);
    }
}

static void test_anchors_that_are_no_roots(void **state) {
    scene made = new_scene(NULL, NULL, NULL);
    hm_policy *policy = believing(made.middle.certificate);
    (void)state;
    expect_refused(policy, &made.envelope, HM_REASON_UNTRUSTED_SIGNER, "issuer");
    hm_policy_free(&policy);
    policy = believing(made.leaf.certificate);
    expect_refused(policy, &made.envelope, HM_REASON_UNTRUSTED_SIGNER, "issuer");
    hm_policy_free(&policy);
    free_scene(&made);
}

static void test_self_signed_leaf(void **state) {
    party own = issue(LEAF, NULL, NULL);
    party other = issue(LEAF, NULL, NULL);
    party server = issue(LEAF, &(spec){.extended = "serverAuth"}, NULL);
    hm_envelope envelope = signed_by(own.key, 1);
    hm_policy *policy = believing(own.certificate);
    (void)state;
    attach(&envelope, own.certificate);
    expect_accepted(policy, &envelope);
    hm_policy_free(&policy);
    policy = believing(other.certificate);
    expect_refused(policy, &envelope, HM_REASON_UNTRUSTED_SIGNER, "self-signed");
    hm_policy_free(&policy);
    free_envelope(&envelope);
    envelope = signed_by(server.key, 1);
    attach(&envelope, server.certificate);
    policy = believing(server.certificate);
    expect_refused(policy, &envelope, HM_REASON_UNTRUSTED_SIGNER, "codeSigning");
    hm_policy_free(&policy);
    free_envelope(&envelope);
    free_party(&own);
    free_party(&other);
    free_party(&server);
}

static void test_chain_but_not_its_signature(void **state) {
    scene made = new_scene(NULL, NULL, NULL);
    (void)state;
    hm_buf_free(&made.envelope.parts[0].message);
    hm_buf_free(&made.envelope.parts[0].signature);
    sign_part(&made.envelope.parts[0], made.middle.key, "words");
    expect_refused(made.policy, &made.envelope, HM_REASON_BAD_SIGNATURE, "does not verify");
    free_scene(&made);
}

static void test_no_or_too_many_certificates(void **state) {
    scene made = new_scene(NULL, NULL, NULL);
    (void)state;
    while (sk_X509_num(made.envelope.certificates) < HM_CHAIN_LIMIT) {
        attach(&made.envelope, made.middle.certificate);
    }
    expect_accepted(made.policy, &made.envelope);
    attach(&made.envelope, made.middle.certificate);
    expect_refused(made.policy, &made.envelope, HM_REASON_MALFORMED, "17 certificates");
    sk_X509_pop_free(made.envelope.certificates, X509_free);
    made.envelope.certificates = NULL;
    expect_refused(made.policy, &made.envelope, HM_REASON_MALFORMED, "0 certificates");
    free_scene(&made);
}

static void test_damaged_extension(void **state) {
    scene made = new_scene(NULL, NULL, NULL);
    ASN1_OCTET_STRING *rubbish = ASN1_OCTET_STRING_new();
    (void)state;
    assert_int_equal(ASN1_OCTET_STRING_set(rubbish, (const uint8_t *)"rubbish", 7), 1);
    X509_EXTENSION *extension =
        X509_EXTENSION_create_by_NID(NULL, NID_name_constraints, 1, rubbish);
    assert_int_equal(X509_add_ext(made.leaf.certificate, extension, -1), 1);
    assert_true(X509_sign(made.leaf.certificate, made.middle.key, EVP_sha256()) > 0);
    expect_refused(made.policy, &made.envelope, HM_REASON_MALFORMED, "damaged extension");
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(rubbish);
    free_scene(&made);
}

/* RFC 5280, 4.2: a critical extension that is not understood. */
static void test_unknown_critical_extension(void **state) {
    scene made = new_scene(NULL, NULL, NULL);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    ASN1_OBJECT *oid = OBJ_txt2obj("1.3.6.1.4.1.55555.1", 1);
    (void)state;
    assert_int_equal(ASN1_OCTET_STRING_set(value, (const uint8_t *)"\x05\x00", 2), 1);
    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, oid, 1, value);
    assert_int_equal(X509_add_ext(made.leaf.certificate, extension, -1), 1);
    assert_true(X509_sign(made.leaf.certificate, made.middle.key, EVP_sha256()) > 0);
    expect_refused(made.policy, &made.envelope, HM_REASON_UNTRUSTED_SIGNER, "critical extension");
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(oid);
    free_scene(&made);
}

/* ---- identities ----------------------------------------------------------------------------- */

static void demand(hm_policy *policy, hm_identity_kind kind, const char *value) {
    assert_int_equal(hm_policy_require_identity(policy, kind, value, NULL), HM_OK);
}

static void forget_demands(hm_policy *policy) {
    while (policy->signers[0].identity_count > 0) {
        free(policy->signers[0].identities[--policy->signers[0].identity_count].value);
    }
}

static void test_subject(void **state) {
    static const struct {
        const char *value;
        bool accepted;
    } cases[] = {
        {"CN=Z\\C3\\B6e\\, ci,O=Acme", true},
        {"CN=Z\xc3\xb6"
         "e\\, ci,O=Acme",
         true},
        {"CN=Z\\C3\\B6e\\, ci", false},
        {"O=Acme,CN=Z\\C3\\B6e\\, ci", false},
        {"cn=Z\\C3\\B6e\\, ci,O=Acme", false},
        {"CN=Z\\C3\\B6e\\, ci,O=Acme ", false},
    };
    scene made = new_scene(NULL, NULL,
                           &(spec){.name = "Z\xc3\xb6"
                                           "e, ci"});
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        demand(made.policy, HM_IDENTITY_SUBJECT, cases[i].value);
        if (cases[i].accepted) {
            expect_accepted(made.policy, &made.envelope);
        } else {
            expect_refused(made.policy, &made.envelope, HM_REASON_UNTRUSTED_SIGNER, "subject");
        }
        forget_demands(made.policy);
    }
    free_scene(&made);
}

static void test_alternative_name(void **state) {
    static const struct {
        const char *value;
        bool accepted;
    } cases[] = {
        {"ci@acme.example", true},       {"https://acme.example/ci", true},
        {"acme.example", true},          {"ci@acme.exampl", false},
        {"ci@acme.example ", false},     {"CI@acme.example", false},
        {"email:ci@acme.example", true}, {"10.0.0.1", false},
        {"www.acme.example", false},     {"DNS:acme.example", true},
        {"URI:acme.example", false},     {"DNS:ci@acme.example", false},
        {"email:acme.example", false},   {"URI:https://acme.example/ci", true},
    };
    scene made = new_scene(NULL, NULL,
                           &(spec){.alternative = "email:ci@acme.example,DNS:acme.example,"
                                                  "URI:https://acme.example/ci,IP:10.0.0.1"});
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        demand(made.policy, HM_IDENTITY_SAN, cases[i].value);
        if (cases[i].accepted) {
            expect_accepted(made.policy, &made.envelope);
        } else {
            expect_refused(made.policy, &made.envelope, HM_REASON_UNTRUSTED_SIGNER,
                           "alternative name");
        }
        forget_demands(made.policy);
    }
    free_scene(&made);
}

/* "good.example\0.evil.example" must not pass for "good.example". */
static void test_alternative_name_with_a_nul(void **state) {
    static const char value[] = "good.example\0.evil.example";
    scene made = new_scene(NULL, NULL, NULL);
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    hm_signer_identity who;
    (void)state;
    assert_int_equal(ASN1_STRING_set(text, value, sizeof value - 1), 1);
    GENERAL_NAME_set0_value(name, GEN_DNS, text);
    assert_true(sk_GENERAL_NAME_push(names, name) > 0);
    assert_int_equal(X509_add1_ext_i2d(made.leaf.certificate, NID_subject_alt_name, names, 0, 0),
                     1);
    assert_true(X509_sign(made.leaf.certificate, made.middle.key, EVP_sha256()) > 0);
    demand(made.policy, HM_IDENTITY_SAN, "good.example");
    expect_refused(made.policy, &made.envelope, HM_REASON_UNTRUSTED_SIGNER, "alternative name");
    forget_demands(made.policy);
    if (hm_trust_judge(made.policy, &made.envelope, hm_time_now(), &who, NULL) == HM_OK) {
        expect_text(".evil.example", who.alternative_names[0]);
        hm_signer_identity_free(&who);
    }
    GENERAL_NAMES_free(names);
    free_scene(&made);
}

static void test_certificate_fingerprint(void **state) {
    scene made = new_scene(NULL, NULL, NULL);
    uint8_t digest[32];
    char hex[65], colons[96];
    size_t end = 0;
    (void)state;
    assert_int_equal(X509_digest(made.leaf.certificate, EVP_sha256(), digest, NULL), 1);
    hm_hex(digest, 32, hex);
    for (size_t i = 0; i < 32; i++) {
        end += (size_t)snprintf(colons + end, sizeof colons - end, i == 0 ? "%02X" : ":%02X",
                                digest[i]);
    }
    demand(made.policy, HM_IDENTITY_FINGERPRINT, hex);
    expect_accepted(made.policy, &made.envelope);
    forget_demands(made.policy);
    demand(made.policy, HM_IDENTITY_FINGERPRINT, colons);
    expect_accepted(made.policy, &made.envelope);
    forget_demands(made.policy);
    hex[63] = hex[63] == '0' ? '1' : '0';
    demand(made.policy, HM_IDENTITY_FINGERPRINT, hex);
    expect_refused(made.policy, &made.envelope, HM_REASON_UNTRUSTED_SIGNER, "fingerprint");
    free_scene(&made);
}

/* Any of one kind will do; one of each kind is demanded. */
static void test_several_identities(void **state) {
    scene made = new_scene(NULL, NULL, &(spec){.alternative = "email:a@b.example"});
    (void)state;
    demand(made.policy, HM_IDENTITY_SAN, "x@b.example");
    demand(made.policy, HM_IDENTITY_SAN, "a@b.example");
    expect_accepted(made.policy, &made.envelope);
    demand(made.policy, HM_IDENTITY_SUBJECT, "CN=other,O=Acme");
    expect_refused(made.policy, &made.envelope, HM_REASON_UNTRUSTED_SIGNER, "CN=other,O=Acme");
    demand(made.policy, HM_IDENTITY_SUBJECT, "CN=signer,O=Acme");
    expect_accepted(made.policy, &made.envelope);
    free_scene(&made);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy_arguments),
        cmocka_unit_test(test_policy_identities),
        cmocka_unit_test(test_policy_keys),
        cmocka_unit_test(test_empty_policy_believes_nobody),
        cmocka_unit_test(test_no_signature_at_all),
        cmocka_unit_test(test_demanded_format),
        cmocka_unit_test(test_old_encoding_and_sigstore),
        cmocka_unit_test(test_key_among_several),
        cmocka_unit_test(test_hint_of_nobody),
        cmocka_unit_test(test_missing_hint_is_told),
        cmocka_unit_test(test_one_key_for_all_parts),
        cmocka_unit_test(test_changed_message),
        cmocka_unit_test(test_key_of_the_wrong_kind),
        cmocka_unit_test(test_bare_key_where_certificates_are_believed),
        cmocka_unit_test(test_who_by_key),
        cmocka_unit_test(test_who_by_certificate),
        cmocka_unit_test(test_chain_usage),
        cmocka_unit_test(test_chain_keys),
        cmocka_unit_test(test_chain_authorities),
        cmocka_unit_test(test_chain_times),
        cmocka_unit_test(test_renewed_authority),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_order_of_certificates),
        cmocka_unit_test(test_missing_intermediate),
        cmocka_unit_test(test_root_in_the_signature_only),
        cmocka_unit_test(test_authority_of_the_same_name),
        cmocka_unit_test(test_anchors_that_are_no_roots),
        cmocka_unit_test(test_self_signed_leaf),
        cmocka_unit_test(test_chain_but_not_its_signature),
        cmocka_unit_test(test_no_or_too_many_certificates),
        cmocka_unit_test(test_damaged_extension),
        cmocka_unit_test(test_unknown_critical_extension),
        cmocka_unit_test(test_subject),
        cmocka_unit_test(test_alternative_name),
        cmocka_unit_test(test_alternative_name_with_a_nul),
        cmocka_unit_test(test_certificate_fingerprint),
        cmocka_unit_test(test_several_identities),
    };
    return cmocka_run_group_tests_name("trust", tests, set_up, tear_down);
}
