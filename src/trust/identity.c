/* SPDX-License-Identifier: Apache-2.0 */
/* Who a certificate says it is, compared with what a policy demands. */
#include "trust/chain.h"

#include <stdio.h>
#include <string.h>

#include <openssl/x509v3.h>

/* ---- names ---------------------------------------------------------------------------------- */

static hm_status name_text(const X509_NAME *name, unsigned long flags, char **text,
                           hm_error **error) {
    hm_auto_bio bio = BIO_new(BIO_s_mem());
    char *data = NULL;
    if (bio == NULL || X509_NAME_print_ex(bio, name, 0, flags) < 0) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE,
                              "cannot read a certificate's name");
    }
    long length = BIO_get_mem_data(bio, &data);
    *text = hm_strndup(length > 0 ? data : "", length > 0 ? (size_t)length : 0);
    return *text != NULL ? HM_OK : hm_fail_memory(error);
}

hm_status hm_certificate_name(const X509_NAME *name, char **text, hm_error **error) {
    return name_text(name, XN_FLAG_RFC2253, text, error);
}

typedef struct alternative_name {
    const char *kind; /* NULL: one that is not compared */
    hm_bytes value;
} alternative_name;

static alternative_name read_alternative(const GENERAL_NAME *name) {
    int type = -1;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
    const char *kind = type == GEN_EMAIL ? "email"
                       : type == GEN_DNS ? "DNS"
                       : type == GEN_URI ? "URI"
                                         : NULL;
    if (kind == NULL || value == NULL || ASN1_STRING_length(value) < 0) {
        return (alternative_name){.kind = NULL};
    }
    return (alternative_name){
        .kind = kind,
        .value = hm_bytes_of(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value)),
    };
}

static void free_names(GENERAL_NAMES **names) {
    GENERAL_NAMES_free(*names);
    *names = NULL;
}
#define auto_names HM_CLEANUP(free_names) GENERAL_NAMES *

/* `*names` stays NULL when there is no such extension. */
static hm_status alternative_names(X509 *leaf, GENERAL_NAMES **names, hm_error **error) {
    int critical = -1;
    *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, &critical, NULL);
    /* -1: there is none. Anything else without a value: there are two, or it is damaged. */
    if (*names == NULL && critical != -1) {
        return hm_fail_unless_memory(error, HM_REFUSED, HM_REASON_MALFORMED,
                                     "the certificate's alternative names cannot be read");
    }
    return HM_OK;
}

static hm_status fingerprint(const X509 *leaf, char *hex, hm_error **error) {
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (X509_digest(leaf, EVP_sha256(), digest, &length) != 1 || length != HM_FINGERPRINT_SIZE) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot digest a certificate");
    }
    hm_hex(digest, length, hex);
    return HM_OK;
}

/* ---- pins ----------------------------------------------------------------------------------- */

/* What of the leaf is compared. */
typedef struct leaf_names {
    char *subject;      /* RFC 2253, all but ASCII escaped */
    char *subject_utf8; /* the same with UTF-8 left as it is, as people type it */
    GENERAL_NAMES *alternatives;
    const X509_NAME *name;
    char fingerprint[2 * HM_FINGERPRINT_SIZE + 1];
} leaf_names;

static void leaf_names_free(leaf_names *names) {
    hm_auto_free_(&names->subject);
    hm_auto_free_(&names->subject_utf8);
    free_names(&names->alternatives);
}

static hm_status leaf_names_read(X509 *leaf, leaf_names *names, hm_error **error) {
    const X509_NAME *subject = X509_get_subject_name(leaf);
    names->name = subject;
    hm_status status = hm_certificate_name(subject, &names->subject, error);
    if (status == HM_OK) {
        unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
        status = name_text(subject, flags, &names->subject_utf8, error);
    }
    if (status == HM_OK) {
        status = alternative_names(leaf, &names->alternatives, error);
    }
    if (status == HM_OK) {
        status = fingerprint(leaf, names->fingerprint, error);
    }
    return status;
}

/*
 * The kind of name that a caller means, said in front as reports do ("URI:urn:x") or told by its
 * form. An authority that is lax about one kind must not thereby hand out names of another.
 */
static const char *kind_of(const char **value) {
    static const char *const kinds[] = {"email", "DNS", "URI"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t length = strlen(kinds[i]);
        if (strncmp(*value, kinds[i], length) == 0 && (*value)[length] == ':') {
            *value += length + 1;
            return kinds[i];
        }
    }
    return strstr(*value, "://") != NULL ? "URI" : strchr(*value, '@') != NULL ? "email" : "DNS";
}

/* By length and bytes: "good.example\0.evil.example" is not "good.example". */
static bool has_alternative(const GENERAL_NAMES *names, const char *value) {
    const char *kind = kind_of(&value);
    for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        alternative_name name = read_alternative(sk_GENERAL_NAME_value(names, i));
        if (name.kind != NULL && strcmp(name.kind, kind) == 0 &&
            hm_bytes_equal_text(name.value, value)) {
            return true;
        }
    }
    return false;
}

/* Of several organisations in one subject nobody knows which one the authority has looked into. */
static bool has_organisation(const X509_NAME *subject, const char *value) {
    int at = X509_NAME_get_index_by_NID(subject, NID_organizationName, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_organizationName, at) >= 0) {
        return false;
    }
    uint8_t *text = NULL;
    int length =
        ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    bool same = length >= 0 && hm_bytes_equal_text(hm_bytes_of(text, (size_t)length), value);
    OPENSSL_free(text);
    return same;
}

static bool matches(const leaf_names *names, const struct hm_identity *wanted) {
    switch (wanted->kind) {
    case HM_IDENTITY_SUBJECT:
        return strcmp(names->subject, wanted->value) == 0 ||
               strcmp(names->subject_utf8, wanted->value) == 0;
    case HM_IDENTITY_SAN: return has_alternative(names->alternatives, wanted->value);
    case HM_IDENTITY_FINGERPRINT: return strcmp(names->fingerprint, wanted->value) == 0;
    case HM_IDENTITY_ORGANISATION: return has_organisation(names->name, wanted->value);
    }
    return false;
}

static const char *kind_text(hm_identity_kind kind) {
    switch (kind) {
    case HM_IDENTITY_SUBJECT: return "subject";
    case HM_IDENTITY_SAN: return "alternative name";
    case HM_IDENTITY_FINGERPRINT: return "fingerprint";
    case HM_IDENTITY_ORGANISATION: return "organisation";
    }
    return "identity";
}

/* Any of the demanded values of a kind will do; `first` is the one to name when none does. */
static bool satisfied(const hm_trusted_signer *signer, const leaf_names *names,
                      hm_identity_kind kind, const struct hm_identity **first) {
    *first = NULL;
    for (size_t i = 0; i < signer->identity_count; i++) {
        const struct hm_identity *wanted = &signer->identities[i];
        if (wanted->kind != kind) {
            continue;
        }
        if (matches(names, wanted)) {
            return true;
        }
        *first = *first != NULL ? *first : wanted;
    }
    return *first == NULL;
}

hm_status hm_identity_check(const hm_trusted_signer *signer, X509 *leaf, hm_error **error) {
    static const hm_identity_kind kinds[] = {HM_IDENTITY_SUBJECT, HM_IDENTITY_SAN,
                                             HM_IDENTITY_FINGERPRINT, HM_IDENTITY_ORGANISATION};
    HM_CLEANUP(leaf_names_free) leaf_names names = {.subject = NULL};
    const struct hm_identity *first = NULL;
    hm_status status = leaf_names_read(leaf, &names, error);
    if (status != HM_OK) {
        return status;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!satisfied(signer, &names, kinds[i], &first)) {
            (void)hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER,
                          "the signer's certificate (%s) has not the %s \"%s\" that is demanded",
                          names.subject, kind_text(kinds[i]), first->value);
            hm_error_add_hint(error, "`hallmark inspect` shows what the certificate says");
            return HM_REFUSED;
        }
    }
    return HM_OK;
}

/* ---- description ---------------------------------------------------------------------------- */

static hm_status add_alternative(const alternative_name *name, hm_signer_identity *who,
                                 hm_error **error) {
    hm_auto_buf text = {.data = NULL};
    hm_buf_add_text(&text, name->kind);
    hm_buf_add_byte(&text, ':');
    hm_buf_add_printable(&text, name->value);
    char *entry = hm_buf_steal_text(&text);
    if (entry == NULL) {
        return hm_fail_memory(error);
    }
    who->alternative_names[who->alternative_name_count++] = entry;
    return HM_OK;
}

static hm_status describe_alternatives(X509 *leaf, hm_signer_identity *who, hm_error **error) {
    auto_names names = NULL;
    hm_status status = alternative_names(leaf, &names, error);
    if (status != HM_OK || names == NULL) {
        return status;
    }
    int count = sk_GENERAL_NAME_num(names);
    who->alternative_names = hm_alloc((size_t)count, sizeof(char *));
    if (who->alternative_names == NULL) {
        return hm_fail_memory(error);
    }
    for (int i = 0; status == HM_OK && i < count; i++) {
        alternative_name name = read_alternative(sk_GENERAL_NAME_value(names, i));
        if (name.kind != NULL) {
            status = add_alternative(&name, who, error);
        }
    }
    return status;
}

hm_status hm_identity_describe(X509 *leaf, hm_signer_identity *who, hm_error **error) {
    hm_status status = hm_certificate_name(X509_get_subject_name(leaf), &who->subject, error);
    if (status == HM_OK) {
        status = hm_certificate_name(X509_get_issuer_name(leaf), &who->issuer, error);
    }
    if (status == HM_OK) {
        status = fingerprint(leaf, who->certificate_fingerprint, error);
    }
    if (status == HM_OK) {
        status = describe_alternatives(leaf, who, error);
    }
    who->by_certificate = status == HM_OK;
    return status;
}

hm_status hm_identity_warn(hm_signer_identity *who, hm_error **error, const char *format, ...) {
    char *text = NULL;
    va_list args;
    if (!hm_grow(&who->warnings, who->warning_count, &who->warning_capacity, sizeof(char *))) {
        return hm_fail_memory(error);
    }
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) {
        return hm_fail_memory(error);
    }
    who->warnings[who->warning_count++] = text;
    return HM_OK;
}

void hm_signer_identity_free(hm_signer_identity *who) {
    hm_auto_free_(&who->name);
    hm_auto_free_(&who->algorithm);
    hm_auto_free_(&who->subject);
    hm_auto_free_(&who->issuer);
    hm_text_list_free(&who->alternative_names, who->alternative_name_count);
    hm_text_list_free(&who->authorities, who->authority_count);
    hm_text_list_free(&who->warnings, who->warning_count);
    *who = (hm_signer_identity){.by_certificate = false};
}
