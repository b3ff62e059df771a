/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest-json: single files, alone or as a list. The signature is over the hex digest of a
 * file's content and over nothing else: names, times, signers, algorithms, and which files belong
 * together are claims that anybody can change.
 */
#include "format/rsa_json.h"

#include <string.h>

static const char algorithm_text[] = "RSA-PSS-SHA256";
static const char manifest_text[] = "the manifest";
static const char bundle_text[] = "the bundle manifest";

/* Members of an entry that are signed, or are the signature; the rest is claimed. */
static const char digest_name[] = "sha256";
static const char signature_name[] = "signature";

/* ---- reading -------------------------------------------------------------------------------- */

static bool is_bundle(const hm_json *root) {
    return hm_json_get(root, "artifacts") != NULL || hm_json_get(root, "artifact_count") != NULL;
}

static bool recognise(const hm_json *root) {
    return is_bundle(root) || hm_json_get(root, "model_file") != NULL ||
           hm_json_get(root, digest_name) != NULL;
}

/* Python's int: a number whose spelling has neither a decimal point nor an exponent. */
static bool is_integer(const hm_json *value) {
    return value->type == HM_JSON_NUMBER && strpbrk((const char *)value->text.data, ".eE") == NULL;
}

static hm_status take_integer(hm_json *object, const char *what, const char *name, hm_json **member,
                              hm_error **error) {
    hm_status status = hm_json_take(object, what, name, HM_JSON_NUMBER, member, error);
    if (status == HM_OK && !is_integer(*member)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s: \"%s\" must be an integer",
                         what, name);
    }
    return status;
}

/* They are only claimed, but must be there and make sense. */
static hm_status check_claims(hm_json *entry, const char *what, hm_error **error) {
    hm_bytes name = {0}, text = {0}, algorithm = {0};
    hm_json *key_size = NULL;
    hm_status status = hm_json_take_text(entry, what, "model_file", &name, error);
    if (status == HM_OK) {
        status = hm_json_take_text(entry, what, "signer", &text, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_text(entry, what, "signed_at", &text, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_text(entry, what, "algorithm", &algorithm, error);
    }
    if (status == HM_OK) {
        status = take_integer(entry, what, "key_size", &key_size, error);
    }
    if (status == HM_OK && !hm_bytes_equal_text(algorithm, algorithm_text)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                         "%s: \"algorithm\" is not %s, the only one known", what, algorithm_text);
    }
    /* "../outside.bin" must not lead a verifier out of its directory. */
    if (status == HM_OK && !hm_rsa_json_name_valid(name)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                         "%s: \"model_file\" is not the plain name of a file", what);
    }
    return status;
}

static hm_status parse_part(hm_json *entry, const char *what, hm_signed_part *part,
                            hm_error **error) {
    hm_bytes hex = {0}, base64 = {0};
    uint8_t digest[HM_DIGEST_MAX];
    hm_status status = hm_json_take_text(entry, what, digest_name, &hex, error);
    if (status == HM_OK) {
        status = hm_json_take_text(entry, what, signature_name, &base64, error);
    }
    if (status == HM_OK && !hm_unhex(hex, digest, hm_hash_size(HM_HASH_SHA256))) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                         "%s: \"%s\" is not 64 lower-case hex digits", what, digest_name);
    }
    if (status != HM_OK) {
        return status;
    }
    /* The hex digits themselves are signed, not the digest they stand for. */
    hm_buf_add(&part->message, hex.data, hex.length);
    bool decoded = hm_unbase64(base64, HM_BASE64_STANDARD, &part->signature);
    if (part->message.failed || part->signature.failed) {
        return hm_fail_memory(error);
    }
    if (!decoded || part->signature.length == 0) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "%s: \"%s\" is not padded standard base64", what, signature_name);
    }
    return HM_OK;
}

static hm_status claim_members(hm_statements *claimed, const char *prefix, const hm_json *entry,
                               hm_error **error) {
    hm_status status = HM_OK;
    for (const hm_json *m = entry->first; m != NULL && status == HM_OK; m = m->next) {
        if (!hm_bytes_equal_text(m->name, digest_name) &&
            !hm_bytes_equal_text(m->name, signature_name)) {
            status = hm_rsa_json_state(claimed, prefix, m, error);
        }
    }
    return status;
}

/* Other members, such as "key_version", are ignored like all that is not signed. */
static hm_status parse_entry(hm_envelope *envelope, hm_json *entry, size_t index, const char *what,
                             const char *prefix, hm_error **error) {
    hm_status status = check_claims(entry, what, error);
    if (status == HM_OK) {
        status = parse_part(entry, what, &envelope->parts[index], error);
    }
    if (status == HM_OK) {
        status = claim_members(&envelope->claimed, prefix, entry, error);
    }
    return status;
}

static hm_status parse_entries(hm_envelope *envelope, hm_json *artifacts, hm_error **error) {
    size_t index = 0;
    hm_status status = HM_OK;
    for (hm_json *m = artifacts->first; m != NULL && status == HM_OK; m = m->next) {
        hm_auto_buf what = {0};
        hm_auto_buf prefix = {0};
        hm_buf_add_format(&what, "artifacts[%zu]", index);
        hm_buf_add_format(&prefix, "artifacts[%zu].", index);
        if (what.failed || prefix.failed) {
            return hm_fail_memory(error);
        }
        status = parse_entry(envelope, m, index, (const char *)what.data, (const char *)prefix.data,
                             error);
        index++;
    }
    return status;
}

/* Nothing here is signed, so nothing is overlooked: a bundle has these members and no others. */
static hm_status parse_bundle(hm_envelope *envelope, hm_json *root, hm_error **error) {
    hm_json *artifacts = NULL, *time = NULL, *count = NULL;
    hm_status status =
        hm_json_take(root, bundle_text, "artifacts", HM_JSON_ARRAY, &artifacts, error);
    if (status == HM_OK) {
        status = hm_json_take(root, bundle_text, "bundle_signed_at", HM_JSON_STRING, &time, error);
    }
    if (status == HM_OK) {
        status = take_integer(root, bundle_text, "artifact_count", &count, error);
    }
    if (status == HM_OK) {
        status = hm_json_refuse_rest(root, bundle_text, error);
    }
    if (status != HM_OK) {
        return status;
    }
    uint64_t number = 0;
    if (!hm_json_integer(count, &number) || number != artifacts->count) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "%s: \"artifact_count\" is not the number of artifacts", bundle_text);
    }
    if (number == 0) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s lists no artifact", bundle_text);
    }
    status = hm_envelope_parts(envelope, artifacts->count, error);
    if (status == HM_OK) {
        status = parse_entries(envelope, artifacts, error);
    }
    if (status == HM_OK) {
        status = hm_rsa_json_state(&envelope->claimed, "", time, error);
    }
    return status == HM_OK ? hm_rsa_json_state(&envelope->claimed, "", count, error) : status;
}

static hm_status parse(hm_envelope *envelope, hm_json *root, hm_error **error) {
    envelope->scheme = HM_SCHEME_RSA_PSS_SHA256_MAX;
    envelope->material = HM_MATERIAL_NONE;
    if (is_bundle(root)) {
        return parse_bundle(envelope, root, error);
    }
    hm_status status = hm_envelope_parts(envelope, 1, error);
    return status == HM_OK ? parse_entry(envelope, root, 0, manifest_text, "", error) : status;
}

static hm_status promise_entry(hm_json *entry, const char *what, hm_promise *promise,
                               hm_error **error) {
    hm_bytes name = {0}, hex = {0};
    hm_status status = hm_json_take_text(entry, what, "model_file", &name, error);
    if (status == HM_OK) {
        status = hm_json_take_text(entry, what, digest_name, &hex, error);
    }
    return status == HM_OK ? hm_rsa_json_promise(promise, name, hex, what, digest_name, error)
                           : status;
}

static hm_status promise_set(hm_json *root, hm_promise *promise, hm_error **error) {
    hm_status status = HM_OK;
    for (hm_json *m = hm_json_get(root, "artifacts")->first; m != NULL && status == HM_OK;
         m = m->next) {
        status = promise_entry(m, bundle_text, promise, error);
    }
    const hm_item *twice = NULL;
    if (status == HM_OK && !hm_manifest_sort(&promise->manifest, &twice)) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "%s lists \"%s\" twice",
                         bundle_text, twice->name);
    }
    return status;
}

static hm_status promise(hm_envelope *envelope, hm_promise *promise, hm_error **error) {
    hm_json *root = hm_json_root(envelope->doc);
    promise->names_unsigned = true;
    promise->file_set = is_bundle(root);
    promise->file_only = !promise->file_set;
    return promise->file_set ? promise_set(root, promise, error)
                             : promise_entry(root, manifest_text, promise, error);
}

/* ---- writing -------------------------------------------------------------------------------- */

static hm_status check(const hm_signing *signing, const hm_signer *signer, hm_error **error) {
    hm_status status = hm_rsa_json_check(hm_format_manifest_json.name, signing, signer, error);
    if (status == HM_OK && signing->metadata != NULL) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "the format manifest-json has no place for metadata");
        hm_error_add_hint(error, "metadata can be signed in the format sig-json");
    }
    return status;
}

static hm_status write_entry(hm_json_writer *w, const hm_signing *signing, hm_signer *signer,
                             hm_error **error) {
    char hash[2 * HM_DIGEST_MAX + 1];
    hm_auto_buf signature = {0};
    hm_auto_buf base64 = {0};
    hm_status status = hm_rsa_json_digest(signing, hash, error);
    if (status == HM_OK) {
        status = hm_signer_sign(signer, HM_SCHEME_RSA_PSS_SHA256_MAX, hm_bytes_text(hash),
                                &signature, error);
    }
    if (status == HM_OK) {
        hm_buf_add_base64(&base64, hm_buf_view(&signature));
        status = hm_buf_check(&base64, error);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_json_begin_object(w);
    hm_json_member(w, "model_file", signing->subject_name);
    hm_json_member(w, digest_name, hash);
    hm_json_member(w, signature_name, (const char *)base64.data);
    hm_rsa_json_write_signer(w, "signer", signing, signer);
    hm_rsa_json_write_time(w, "signed_at", signing->time);
    hm_json_member(w, "algorithm", algorithm_text);
    hm_json_member_number(w, "key_size", signer->public_key->bits);
    if (signing->key_version != 0) {
        hm_json_member_number(w, "key_version", signing->key_version);
    }
    hm_json_end_object(w);
    return HM_OK;
}

static hm_status refuse_same_names(const hm_signing *signings, size_t count, hm_error **error) {
    hm_status status = HM_OK;
    const uint8_t digest[HM_DIGEST_MAX] = {0};
    hm_manifest names = {.method = HM_METHOD_FILES, .hash = HM_HASH_SHA256};
    for (size_t i = 0; i < count && status == HM_OK; i++) {
        const char *name = signings[i].subject_name;
        status = hm_manifest_add(&names, name, strlen(name), 0, 0, digest, error);
    }
    const hm_item *twice = NULL;
    if (status == HM_OK && !hm_manifest_sort(&names, &twice)) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "two of the files are called \"%s\", and a bundle manifest goes by names",
                         twice->name);
    }
    hm_manifest_free(&names);
    return status;
}

static hm_status write_bundle(hm_json_writer *w, const hm_signing *signings, size_t count,
                              hm_signer *signer, hm_error **error) {
    hm_status status = refuse_same_names(signings, count, error);
    hm_json_begin_object(w);
    hm_json_name(w, "artifacts");
    hm_json_begin_array(w);
    for (size_t i = 0; i < count && status == HM_OK; i++) {
        status = write_entry(w, &signings[i], signer, error);
    }
    hm_json_end_array(w);
    hm_rsa_json_write_time(w, "bundle_signed_at", signings[0].time);
    hm_json_member_number(w, "artifact_count", count);
    hm_json_end_object(w);
    return status;
}

static hm_status write(const hm_signing *signings, size_t count, bool bundle, hm_signer *signer,
                       hm_buf *file, hm_error **error) {
    if (count == 0 || (count > 1 && !bundle)) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "several files need a bundle manifest, and none needs no manifest");
    }
    hm_json_writer w = {.out = file, .indent = 2, .ascii = true};
    hm_status status = bundle ? write_bundle(&w, signings, count, signer, error)
                              : write_entry(&w, signings, signer, error);
    return status == HM_OK ? hm_buf_check(file, error) : status;
}

static bool is_signed_again(const hm_json *entry, const hm_signing *signings, size_t count) {
    const hm_json *file = hm_json_get(entry, "model_file");
    for (size_t i = 0; i < count && file != NULL && file->type == HM_JSON_STRING; i++) {
        if (hm_bytes_equal_text(file->text, signings[i].subject_name)) {
            return true;
        }
    }
    return false;
}

/*
 * Files that differ only in their last suffix share one default manifest, and a bundle holds the
 * signatures of many; no other file's signature may be lost.
 */
static hm_status may_replace(const hm_json *existing, const hm_signing *signings, size_t count,
                             hm_error **error) {
    const hm_json *artifacts = hm_json_get(existing, "artifacts");
    bool all = artifacts != NULL || is_signed_again(existing, signings, count);
    const hm_json *entry = artifacts != NULL ? artifacts->first : NULL;
    for (; entry != NULL && all; entry = entry->next) {
        all = is_signed_again(entry, signings, count);
    }
    if (all) {
        return HM_OK;
    }
    hm_status status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                               "the manifest that is there has the signature of another file "
                               "than %s%s",
                               signings[0].subject_name, count > 1 ? " and the others" : "");
    hm_error_add_hint(error, "files that differ only in their last suffix share a default "
                             "manifest; name another with --signature");
    return status;
}

const hm_format hm_format_manifest_json = {
    .name = "manifest-json",
    .title = "JSON manifest",
    .directories = false,
    .hashes = false,
    .several = true,
    .key_version = true,
    .suffix = ".manifest.json",
    .scheme = HM_SCHEME_RSA_PSS_SHA256_MAX,
    .recognise = recognise,
    .parse = parse,
    .promise = promise,
    .check = check,
    .write = write,
    .may_replace = may_replace,
};
