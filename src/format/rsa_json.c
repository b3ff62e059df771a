/* SPDX-License-Identifier: Apache-2.0 */
#include "format/rsa_json.h"

#include <string.h>

bool hm_rsa_json_name_valid(hm_bytes name) {
    return name.length > 0 && hm_name_valid(name) && memchr(name.data, '/', name.length) == NULL &&
           memchr(name.data, '\\', name.length) == NULL;
}

static hm_status check_signer(const char *format, const hm_signer *signer, hm_error **error) {
    const hm_pubkey *key = signer->public_key;
    hm_status status = hm_scheme_check(key, HM_SCHEME_RSA_PSS_SHA256_MAX, format, NULL);
    if (status != HM_OK) {
        status = hm_fail(error, status, HM_REASON_NONE,
                         "the format %s needs an RSA key; this one is %s", format, key->algorithm);
        hm_error_add_hint(error, "make one with `hallmark key generate --type rsa-4096`");
        return status;
    }
    if (signer->certificates != NULL) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "the format %s has no place for certificates", format);
        hm_error_add_hint(error, "sign without a certificate, or in the format oms");
        return status;
    }
    return hm_signer_check(signer, HM_SCHEME_RSA_PSS_SHA256_MAX, format, error);
}

hm_status hm_rsa_json_check(const char *format, const hm_signing *signing, const hm_signer *signer,
                            hm_error **error) {
    hm_status status = check_signer(format, signer, error);
    if (status != HM_OK) {
        return status;
    }
    if (signing->name_dot) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "the format %s signs a file by its own name, not by \".\"", format);
    }
    if (signing->signer_id != NULL && !hm_utf8_valid(hm_bytes_text(signing->signer_id))) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "the signer's id is not UTF-8");
    }
    /* A verifier takes what stands before a backslash for a directory, so it would refuse. */
    if (!hm_rsa_json_name_valid(hm_bytes_text(signing->subject_name))) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                         "%s: the format %s cannot sign a name with a backslash or one that is "
                         "not UTF-8",
                         signing->subject_name, format);
        hm_error_add_hint(error, "rename the file, or sign in the format oms");
        return status;
    }
    return HM_OK;
}

hm_status hm_rsa_json_digest(const hm_signing *signing, char *hex, hm_error **error) {
    const hm_manifest *manifest = signing->manifest;
    if (manifest->count != 1 || manifest->method != HM_METHOD_FILES ||
        manifest->hash != HM_HASH_SHA256) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "%s: this format signs the SHA-256 of one whole file",
                       signing->subject_name);
    }
    hm_hex(manifest->items[0].digest, hm_hash_size(HM_HASH_SHA256), hex);
    return HM_OK;
}

void hm_rsa_json_write_signer(hm_json_writer *w, const char *name, const hm_signing *signing,
                              const hm_signer *signer) {
    hm_auto_buf text = {0};
    if (signing->signer_id != NULL) {
        hm_buf_add_text(&text, signing->signer_id);
    } else {
        hm_buf_add_format(&text, "sha256:%s", signer->public_key->fingerprint);
    }
    w->out->failed |= text.failed;
    hm_json_name(w, name);
    hm_json_string(w, hm_buf_view(&text));
}

void hm_rsa_json_write_time(hm_json_writer *w, const char *name, int64_t time) {
    hm_auto_buf text = {0};
    hm_buf_add_time(&text, time);
    if (text.length > 0 && text.data[text.length - 1] == 'Z') {
        text.length--;
        hm_buf_add_text(&text, "+00:00");
    }
    w->out->failed |= text.failed;
    hm_json_name(w, name);
    hm_json_string(w, hm_buf_view(&text));
}

hm_status hm_rsa_json_promise(hm_promise *promise, hm_bytes name, hm_bytes hex, const char *what,
                              const char *member, hm_error **error) {
    uint8_t digest[HM_DIGEST_MAX];
    promise->manifest.method = HM_METHOD_FILES;
    promise->manifest.hash = HM_HASH_SHA256;
    if (!hm_unhex(hex, digest, hm_hash_size(HM_HASH_SHA256))) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "%s: \"%s\" is not 64 lower-case hex digits", what, member);
    }
    return hm_manifest_add(&promise->manifest, (const char *)name.data, name.length, 0,
                           HM_SIZE_UNKNOWN, digest, error);
}

/* Escaped, so that "signer" with a NUL and more behind it does not pass for the signer. */
hm_status hm_rsa_json_state(hm_statements *statements, const char *prefix, const hm_json *member,
                            hm_error **error) {
    hm_auto_buf name = {0};
    hm_buf_add_text(&name, prefix);
    hm_buf_add_printable(&name, member->name);
    hm_status status = hm_buf_check(&name, error);
    return status == HM_OK ? hm_statements_add(statements, (const char *)name.data, member, error)
                           : status;
}
