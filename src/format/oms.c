/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSF Model Signing 1.0: a Sigstore bundle with a DSSE envelope around an in-toto statement,
 * which oms_statement.c reads and writes.
 */
#include "format/oms.h"

#include "base/dsse.h"
#include "format/provenance.h"

#include <stdio.h>
#include <stdlib.h>

#define MEDIA_TYPE "application/vnd.dev.sigstore.bundle.v0.3+json"

hm_status hm_oms_malformed(hm_error **error, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    va_end(args);
    hm_auto_free char *owned = length < 0 ? NULL : text;
    return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s",
                   owned != NULL ? owned : "the bundle breaks its format");
}

/* ---- the bundle ----------------------------------------------------------------------------- */

static bool recognise(const hm_json *root) {
    return hm_json_get(root, "mediaType") != NULL || hm_json_get(root, "dsseEnvelope") != NULL;
}

static hm_status take_base64(hm_json *object, const char *what, const char *name,
                             hm_base64_rule rule, hm_buf *out, hm_error **error) {
    hm_bytes text;
    hm_status status = hm_json_take_text(object, what, name, &text, error);
    if (status != HM_OK) {
        return status;
    }
    if (!hm_unbase64(text, rule, out)) {
        return out->failed ? hm_fail_memory(error)
                           : hm_oms_malformed(error, "%s.%s is not padded base64", what, name);
    }
    return hm_buf_check(out, error);
}

/* The hint is nobody's word for anything: it only lets a wrong key be named sooner. */
static hm_status parse_public_key(hm_envelope *envelope, hm_json *key, hm_error **error) {
    envelope->material = HM_MATERIAL_KEY;
    const hm_json *hint = hm_json_get(key, "hint");
    if (hint == NULL || hint->type == HM_JSON_NULL ||
        (hint->type == HM_JSON_STRING && hint->text.length == 0)) {
        return HM_OK;
    }
    if (hint->type != HM_JSON_STRING) {
        return hm_oms_malformed(error, "publicKey.hint is %s", hm_json_type_name(hint->type));
    }
    if (memchr(hint->text.data, 0, hint->text.length) != NULL) {
        return hm_oms_malformed(error, "publicKey.hint holds a NUL");
    }
    envelope->key_hint = hm_strndup((const char *)hint->text.data, hint->text.length);
    return envelope->key_hint != NULL
               ? hm_statements_add(&envelope->claimed, "key_hint", hint, error)
               : hm_fail_memory(error);
}

static hm_status parse_certificate(hm_envelope *envelope, hm_json *entry, hm_error **error) {
    static const char what[] = "x509CertificateChain.certificates[]";
    if (entry->type != HM_JSON_OBJECT) {
        return hm_oms_malformed(error, "%s is %s", what, hm_json_type_name(entry->type));
    }
    hm_auto_buf der = {0};
    hm_auto_x509 certificate = NULL;
    hm_status status = take_base64(entry, what, "rawBytes", HM_BASE64_STANDARD, &der, error);
    if (status == HM_OK) {
        status = hm_certificate_parse_der(hm_buf_view(&der), what, &certificate, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (sk_X509_push(envelope->certificates, certificate) <= 0) {
        return hm_fail_memory(error);
    }
    certificate = NULL;
    return HM_OK;
}

static hm_status parse_chain(hm_envelope *envelope, hm_json *chain, hm_error **error) {
    hm_json *list;
    hm_status status =
        hm_json_take(chain, "x509CertificateChain", "certificates", HM_JSON_ARRAY, &list, error);
    if (status != HM_OK) {
        return status;
    }
    if (list->count == 0 || list->count > HM_CHAIN_LIMIT) {
        return hm_oms_malformed(error, "the chain has %zu certificates, not 1 to %d", list->count,
                                HM_CHAIN_LIMIT);
    }
    envelope->material = HM_MATERIAL_CHAIN;
    envelope->certificates = sk_X509_new_null();
    if (envelope->certificates == NULL) {
        return hm_fail_memory(error);
    }
    for (hm_json *entry = list->first; entry != NULL && status == HM_OK; entry = entry->next) {
        status = parse_certificate(envelope, entry, error);
    }
    return status;
}

/* Exactly one kind of material. Other members, transparency log entries included, prove nothing
 * here and are passed over. */
static hm_status parse_material(hm_envelope *envelope, hm_json *material, hm_error **error) {
    static const char *const kinds[] = {"publicKey", "x509CertificateChain", "certificate"};
    hm_json *found = NULL;
    size_t kind = 0;
    for (size_t i = 0; i < 3; i++) {
        hm_json *member = hm_json_get(material, kinds[i]);
        if (member != NULL && found != NULL) {
            return hm_oms_malformed(error, "verificationMaterial has both %s and %s", kinds[kind],
                                    kinds[i]);
        }
        if (member != NULL) {
            found = member;
            kind = i;
        }
    }
    if (found == NULL || found->type != HM_JSON_OBJECT) {
        return hm_oms_malformed(error,
                                "verificationMaterial names no public key and no certificates");
    }
    const hm_json *log = hm_json_get(material, "tlogEntries");
    if (log != NULL && log->type != HM_JSON_ARRAY && log->type != HM_JSON_NULL) {
        return hm_oms_malformed(error, "tlogEntries is %s", hm_json_type_name(log->type));
    }
    if (kind == 2) {
        envelope->material = HM_MATERIAL_SIGSTORE;
        return HM_OK;
    }
    return kind == 0 ? parse_public_key(envelope, found, error)
                     : parse_chain(envelope, found, error);
}

static hm_status parse_signature(hm_json *dsse, hm_buf *signature, hm_error **error) {
    hm_json *list;
    hm_status status =
        hm_json_take(dsse, "dsseEnvelope", "signatures", HM_JSON_ARRAY, &list, error);
    if (status != HM_OK) {
        return status;
    }
    if (list->count != 1 || list->first->type != HM_JSON_OBJECT) {
        return hm_oms_malformed(error, "dsseEnvelope.signatures has %zu entries, not one object",
                                list->count);
    }
    (void)hm_json_take_any(list->first, "keyid"); /* DSSE: unauthenticated, never used */
    status = take_base64(list->first, "signatures[0]", "sig", HM_BASE64_EITHER, signature, error);
    return status == HM_OK ? hm_json_refuse_rest(list->first, "signatures[0]", error) : status;
}

/*
 * The predicate type alone is looked at before the signature is checked, since the releases differ
 * in what they signed. A payload that cannot be read is left to the signature check.
 */
static bool has_v020_predicate(hm_bytes payload) {
    hm_auto_json doc = NULL;
    hm_auto_error ignored = NULL;
    if (hm_json_parse(payload, "payload", &doc, &ignored) != HM_OK) {
        return false;
    }
    const hm_json *root = hm_json_root(doc);
    const hm_json *type = root->type == HM_JSON_OBJECT ? hm_json_get(root, "predicateType") : NULL;
    return type != NULL && type->type == HM_JSON_STRING &&
           hm_bytes_equal_text(type->text, HM_OMS_V020_PREDICATE);
}

static hm_status parse_dsse(hm_envelope *envelope, hm_json *dsse, hm_error **error) {
    hm_bytes type;
    hm_status status = hm_json_take_text(dsse, "dsseEnvelope", "payloadType", &type, error);
    if (status == HM_OK && !hm_bytes_equal_text(type, HM_OMS_PAYLOAD_TYPE)) {
        status = hm_oms_malformed(error, "dsseEnvelope.payloadType is not %s", HM_OMS_PAYLOAD_TYPE);
    }
    if (status == HM_OK) {
        status = take_base64(dsse, "dsseEnvelope", "payload", HM_BASE64_EITHER, &envelope->payload,
                             error);
    }
    if (status == HM_OK) {
        status = hm_envelope_parts(envelope, 1, error);
    }
    if (status == HM_OK) {
        status = parse_signature(dsse, &envelope->parts[0].signature, error);
    }
    if (status == HM_OK) {
        status = hm_json_refuse_rest(dsse, "dsseEnvelope", error);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_bytes payload = hm_buf_view(&envelope->payload);
    hm_buf *message = &envelope->parts[0].message;
    envelope->oms_v020 = has_v020_predicate(payload);
    if (envelope->oms_v020) {
        envelope->scheme = HM_SCHEME_ECDSA_SHA256;
        hm_oms_v020_pae(payload, message);
    } else {
        hm_dsse_pae(HM_OMS_PAYLOAD_TYPE, payload, message);
    }
    return hm_buf_check(message, error);
}

static hm_status parse(hm_envelope *envelope, hm_json *root, hm_error **error) {
    hm_bytes media;
    hm_json *material = NULL;
    hm_json *dsse = NULL;
    hm_status status = hm_json_take_text(root, "bundle", "mediaType", &media, error);
    if (status == HM_OK && !hm_bytes_equal_text(media, MEDIA_TYPE)) {
        status = hm_oms_malformed(error, "the bundle's mediaType is not %s", MEDIA_TYPE);
    }
    if (status == HM_OK) {
        status =
            hm_json_take(root, "bundle", "verificationMaterial", HM_JSON_OBJECT, &material, error);
    }
    if (status == HM_OK) {
        status = hm_json_take(root, "bundle", "dsseEnvelope", HM_JSON_OBJECT, &dsse, error);
    }
    if (status == HM_OK) {
        status = hm_json_refuse_rest(root, "bundle", error);
    }
    if (status == HM_OK) {
        status = parse_material(envelope, material, error);
    }
    return status == HM_OK ? parse_dsse(envelope, dsse, error) : status;
}

static hm_status promise(hm_envelope *envelope, hm_promise *promise, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_status status =
        hm_json_parse(hm_buf_view(&envelope->payload), "the signed statement", &doc, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json *statement = hm_json_root(doc);
    if (statement->type != HM_JSON_OBJECT) {
        return hm_oms_malformed(error, "the signed statement is %s",
                                hm_json_type_name(statement->type));
    }
    promise->git_ignored = true;
    return envelope->oms_v020 ? hm_oms_v020_promise(statement, promise, error)
                              : hm_oms_read_statement(statement, promise, error);
}

/* ---- writing -------------------------------------------------------------------------------- */

static hm_status write_chain(hm_json_writer *w, const hm_signer *signer, hm_error **error) {
    hm_status status = HM_OK;
    hm_json_name(w, "x509CertificateChain");
    hm_json_begin_object(w);
    hm_json_name(w, "certificates");
    hm_json_begin_array(w);
    for (int i = 0; i < sk_X509_num(signer->certificates) && status == HM_OK; i++) {
        hm_auto_buf der = {0};
        hm_auto_buf text = {0};
        status = hm_certificate_der(sk_X509_value(signer->certificates, i), &der, error);
        hm_buf_add_base64(&text, hm_buf_view(&der));
        hm_json_begin_object(w);
        hm_json_name(w, "rawBytes");
        hm_json_string(w, hm_buf_view(&text));
        hm_json_end_object(w);
    }
    hm_json_end_array(w);
    hm_json_end_object(w);
    return status;
}

static hm_status write_material(hm_json_writer *w, const hm_signer *signer, hm_error **error) {
    hm_status status = HM_OK;
    hm_json_name(w, "verificationMaterial");
    hm_json_begin_object(w);
    if (signer->certificates != NULL) {
        status = write_chain(w, signer, error);
    } else {
        hm_json_name(w, "publicKey");
        hm_json_begin_object(w);
        hm_json_member(w, "hint", signer->public_key->hint);
        hm_json_end_object(w);
    }
    hm_json_name(w, "tlogEntries");
    hm_json_begin_array(w);
    hm_json_end_array(w);
    hm_json_end_object(w);
    return status;
}

static void write_envelope(hm_json_writer *w, const hm_buf *payload, const hm_buf *signature) {
    hm_auto_buf payload_text = {0};
    hm_auto_buf signature_text = {0};
    hm_buf_add_base64(&payload_text, hm_buf_view(payload));
    hm_buf_add_base64(&signature_text, hm_buf_view(signature));
    w->out->failed |= payload_text.failed || signature_text.failed;
    hm_json_name(w, "dsseEnvelope");
    hm_json_begin_object(w);
    hm_json_name(w, "payload");
    hm_json_string(w, hm_buf_view(&payload_text));
    hm_json_member(w, "payloadType", HM_OMS_PAYLOAD_TYPE);
    hm_json_name(w, "signatures");
    hm_json_begin_array(w);
    hm_json_begin_object(w);
    hm_json_name(w, "sig");
    hm_json_string(w, hm_buf_view(&signature_text));
    hm_json_member(w, "keyid", "");
    hm_json_end_object(w);
    hm_json_end_array(w);
    hm_json_end_object(w);
}

hm_status hm_oms_write_bundle(const hm_buf *payload, hm_signer *signer, hm_buf *file,
                              hm_error **error) {
    hm_auto_buf message = {0};
    hm_auto_buf signature = {0};
    hm_dsse_pae(HM_OMS_PAYLOAD_TYPE, hm_buf_view(payload), &message);
    hm_status status = hm_buf_check(&message, error);
    if (status == HM_OK) {
        status = hm_signer_sign(signer, HM_SCHEME_BY_KEY, hm_buf_view(&message), &signature, error);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_json_writer w = {.out = file};
    hm_json_begin_object(&w);
    hm_json_member(&w, "mediaType", MEDIA_TYPE);
    status = write_material(&w, signer, error);
    write_envelope(&w, payload, &signature);
    hm_json_end_object(&w);
    return status == HM_OK ? hm_buf_check(file, error) : status;
}

/* Training metadata has its own file: the specification leaves no place for it in the bundle. */
static hm_status check(const hm_signing *signing, const hm_signer *signer, hm_error **error) {
    bool id = signing->signer_id != NULL && signing->metadata == NULL;
    if (id || signing->key_version != 0) {
        hm_status status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                                   "the oms format has no place for a signer id or a key version");
        hm_error_add_hint(error,
                          "give --metadata too, for a provenance statement with the signer's "
                          "id, or use --format sig-json or manifest-json");
        return status;
    }
    hm_status status = hm_signer_check(signer, HM_SCHEME_BY_KEY, "oms", error);
    return status == HM_OK && signing->metadata != NULL
               ? hm_provenance_check(signing, signer, error)
               : status;
}

static hm_status write(const hm_signing *signings, size_t count, bool bundle, hm_signer *signer,
                       hm_buf *file, hm_error **error) {
    (void)count;
    (void)bundle;
    hm_auto_buf payload = {0};
    hm_status status = hm_oms_write_statement(&signings[0], &payload, error);
    return status == HM_OK ? hm_oms_write_bundle(&payload, signer, file, error) : status;
}

const hm_format hm_format_oms = {
    .name = "oms",
    .title = "OpenSSF Model Signing 1.0",
    .directories = true,
    .hashes = true,
    .ec_only = true,
    .scheme = HM_SCHEME_BY_KEY,
    .recognise = recognise,
    .parse = parse,
    .promise = promise,
    .check = check,
    .write = write,
    .provenance = true,
};
