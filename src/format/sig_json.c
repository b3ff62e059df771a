/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sig-json: one file; the signature covers the whole manifest, spelled as Python's
 * json.dumps(manifest, sort_keys=True). What the manifest says of time and signer is signed, but
 * any holder of the key can write anything there.
 */
#include "format/rsa_json.h"

#include <string.h>

static const char file_text[] = "the signature file";
static const char manifest_text[] = "\"manifest\"";
static const char metadata_text[] = "the training metadata";

/* ---- reading -------------------------------------------------------------------------------- */

static bool recognise(const hm_json *root) {
    return hm_json_get(root, "manifest") != NULL && hm_json_get(root, "mediaType") == NULL;
}

/* Lower-case hex and nothing else: two spellings of one signature are one too many. */
static hm_status parse_signature(hm_bytes hex, hm_buf *signature, hm_error **error) {
    size_t length = hex.length / 2;
    if (length > 0) {
        uint8_t *data = hm_buf_extend(signature, length);
        if (data == NULL) {
            return hm_fail_memory(error);
        }
        if (hm_unhex(hex, data, length)) {
            return HM_OK;
        }
    }
    return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                   "%s: \"signature\" is not lower-case hex", file_text);
}

static hm_status parse(hm_envelope *envelope, hm_json *root, hm_error **error) {
    hm_json *manifest = NULL;
    hm_bytes signature = {0};
    hm_status status = hm_json_take(root, file_text, "manifest", HM_JSON_OBJECT, &manifest, error);
    if (status == HM_OK) {
        status = hm_json_take_text(root, file_text, "signature", &signature, error);
    }
    /* Whatever else stands there is not signed, so nobody may take it for part of the manifest. */
    if (status == HM_OK) {
        status = hm_json_refuse_rest(root, file_text, error);
    }
    if (status == HM_OK) {
        status = hm_envelope_parts(envelope, 1, error);
    }
    if (status == HM_OK) {
        status = parse_signature(signature, &envelope->parts[0].signature, error);
    }
    if (status == HM_OK) {
        envelope->scheme = HM_SCHEME_RSA_PSS_SHA256_MAX;
        envelope->material = HM_MATERIAL_NONE;
        status = hm_canonical_json(manifest, &envelope->parts[0].message, error);
    }
    return status;
}

/* What follows the last separator, of this system or of Windows. */
static hm_bytes last_component(hm_bytes path) {
    size_t start = path.length;
    while (start > 0 && path.data[start - 1] != '/' && path.data[start - 1] != '\\') {
        start--;
    }
    return hm_bytes_of(path.data + start, path.length - start);
}

/* A signed file names itself; without that, any signed model passes for any other. */
static hm_status promise_file(hm_json *manifest, hm_promise *promise, hm_error **error) {
    hm_bytes path = {0}, hash = {0};
    hm_status status = hm_json_take_text(manifest, manifest_text, "model_path", &path, error);
    if (status == HM_OK) {
        status = hm_json_take_text(manifest, manifest_text, "model_hash", &hash, error);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_bytes name = last_component(path);
    if (!hm_rsa_json_name_valid(name) || memchr(path.data, 0, path.length) != NULL) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "%s: \"model_path\" does not end in the name of a file", manifest_text);
    }
    return hm_rsa_json_promise(promise, name, hash, manifest_text, "model_hash", error);
}

/* May be missing, but what is there must be what everybody expects. */
static hm_status check_type(hm_json *manifest, const char *name, hm_json_type type,
                            hm_error **error) {
    hm_json *member = NULL;
    if (hm_json_get(manifest, name) == NULL) {
        return HM_OK;
    }
    return hm_json_take(manifest, manifest_text, name, type, &member, error);
}

static hm_status state_member(hm_statements *stated, const hm_json *member, hm_error **error) {
    if (hm_bytes_equal_text(member->name, "model_hash")) {
        return HM_OK;
    }
    if (!hm_bytes_equal_text(member->name, "training_metadata")) {
        return hm_rsa_json_state(stated, "", member, error);
    }
    hm_status status = HM_OK;
    for (const hm_json *m = member->first; m != NULL && status == HM_OK; m = m->next) {
        status = hm_rsa_json_state(stated, "training_metadata.", m, error);
    }
    return status;
}

static hm_status promise(hm_envelope *envelope, hm_promise *promise, hm_error **error) {
    hm_json *manifest = hm_json_get(hm_json_root(envelope->doc), "manifest");
    promise->file_only = true;
    hm_status status = promise_file(manifest, promise, error);
    if (status == HM_OK) {
        status = check_type(manifest, "signer_id", HM_JSON_STRING, error);
    }
    if (status == HM_OK) {
        status = check_type(manifest, "signature_timestamp", HM_JSON_STRING, error);
    }
    if (status == HM_OK) {
        status = check_type(manifest, "training_metadata", HM_JSON_OBJECT, error);
    }
    const hm_json *version = hm_json_get(manifest, "key_version");
    if (version == NULL || !hm_json_integer(version, &promise->key_version)) {
        promise->key_version = 0; /* or another tool's member of that name */
    }
    for (const hm_json *m = manifest->first; m != NULL && status == HM_OK; m = m->next) {
        status = state_member(&promise->stated, m, error);
    }
    return status;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* The training metadata that must be there, as signed and as callers may also say it. */
typedef struct field {
    const char *name;
    const char *other_name; /* NULL: none */
} field;

static const field fields[] = {
    {"dataset_hash", NULL},    {"training_start", "start_time"}, {"training_end", "end_time"},
    {"hyperparameters", NULL}, {"framework_version", NULL},
};
enum { FIELD_COUNT = sizeof(fields) / sizeof(fields[0]) };

static hm_status find_fields(hm_json *metadata, hm_json **found, hm_error **error) {
    hm_auto_buf missing = {0};
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const field *f = &fields[i];
        hm_status status = hm_metadata_take(metadata, f->name, f->other_name, &found[i], error);
        if (status != HM_OK) {
            return status;
        }
        if (found[i] == NULL) {
            hm_buf_add_format(&missing, "%s\"%s\"", missing.length > 0 ? ", " : "",
                              f->other_name != NULL ? f->other_name : f->name);
        }
    }
    hm_status status = hm_buf_check(&missing, error);
    if (status == HM_OK && missing.length > 0) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s: missing %s", metadata_text,
                         (const char *)missing.data);
        hm_error_add_hint(error, "sig-json signs \"dataset_hash\", \"start_time\", \"end_time\", "
                                 "\"hyperparameters\" and \"framework_version\"");
    }
    return status;
}

static hm_status parse_metadata(const char *text, hm_json_doc **doc, hm_json **found,
                                hm_error **error) {
    if (text == NULL) {
        hm_status status =
            hm_fail(error, HM_USAGE, HM_REASON_NONE, "the format sig-json needs training metadata");
        hm_error_add_hint(error, "give --metadata a JSON file with \"dataset_hash\", "
                                 "\"start_time\", \"end_time\", \"hyperparameters\" and "
                                 "\"framework_version\"");
        return status;
    }
    hm_status status = hm_metadata_parse(text, doc, error);
    return status == HM_OK ? find_fields(hm_json_root(*doc), found, error) : status;
}

static void write_metadata(hm_json_writer *w, const hm_json *metadata, hm_json *const *found) {
    hm_json_name(w, "training_metadata");
    hm_json_begin_object(w);
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        hm_json_name(w, fields[i].name);
        hm_json_copy(w, found[i]);
    }
    for (const hm_json *m = metadata->first; m != NULL; m = m->next) {
        if (!m->used) {
            hm_json_copy_member(w, m);
        }
    }
    hm_json_end_object(w);
}

/* The whole file but for its signature. */
static hm_status draft(const hm_signing *signing, const hm_signer *signer, const char *hash,
                       hm_buf *text, hm_error **error) {
    hm_auto_json metadata = NULL;
    hm_json *found[FIELD_COUNT] = {0};
    hm_status status = parse_metadata(signing->metadata, &metadata, found, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json_writer w = {.out = text, .ascii = true};
    hm_json_begin_object(&w);
    hm_json_name(&w, "manifest");
    hm_json_begin_object(&w);
    hm_json_member(&w, "model_path", signing->model_path);
    hm_json_member(&w, "model_hash", hash);
    write_metadata(&w, hm_json_root(metadata), found);
    hm_rsa_json_write_time(&w, "signature_timestamp", signing->time);
    hm_rsa_json_write_signer(&w, "signer_id", signing, signer);
    if (signing->key_version != 0) {
        hm_json_member_number(&w, "key_version", signing->key_version);
    }
    hm_json_end_object(&w);
    hm_json_member(&w, "signature", "");
    hm_json_end_object(&w);
    return hm_buf_check(text, error);
}

/*
 * Read back before it is signed: what is signed is then what every reader will see, and what a
 * reader would refuse (metadata nested too deep, say) is never signed.
 */
static hm_status prepare(const hm_signing *signing, const hm_signer *signer, const char *hash,
                         hm_json_doc **doc, hm_buf *message, hm_error **error) {
    hm_auto_buf text = {0};
    hm_status status = draft(signing, signer, hash, &text, error);
    if (status != HM_OK) {
        return status;
    }
    hm_auto_error cause = NULL;
    status = hm_json_parse(hm_buf_view(&text), "what is to be signed", doc, &cause);
    if (status == HM_OK) {
        status = hm_canonical_json(hm_json_get(hm_json_root(*doc), "manifest"), message, &cause);
    }
    return status == HM_OK ? HM_OK : hm_error_as_usage(error, &cause);
}

static hm_status check(const hm_signing *signing, const hm_signer *signer, hm_error **error) {
    hm_status status = hm_rsa_json_check(hm_format_sig_json.name, signing, signer, error);
    if (status != HM_OK) {
        return status;
    }
    if (!hm_utf8_valid(hm_bytes_text(signing->model_path))) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                         "%s: the format sig-json cannot sign a path that is not UTF-8",
                         signing->model_path);
        hm_error_add_hint(error, "sign it from inside its directory");
        return status;
    }
    hm_auto_json doc = NULL;
    hm_auto_buf message = {0};
    return prepare(signing, signer, "", &doc, &message, error);
}

static hm_status write_file(const hm_json *manifest, hm_bytes signature, hm_buf *file,
                            hm_error **error) {
    hm_json_writer w = {.out = file, .indent = 2, .ascii = true};
    hm_json_begin_object(&w);
    hm_json_name(&w, "manifest");
    hm_json_copy(&w, manifest);
    hm_json_member_hex(&w, "signature", signature.data, signature.length);
    hm_json_end_object(&w);
    hm_status status = hm_buf_check(file, error);
    if (status == HM_OK && file->length > HM_SIGNATURE_FILE_LIMIT) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s makes the signature file too large",
                         metadata_text);
    }
    return status;
}

static hm_status write(const hm_signing *signings, size_t count, bool bundle, hm_signer *signer,
                       hm_buf *file, hm_error **error) {
    if (count != 1 || bundle) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "the format sig-json signs one file");
    }
    char hash[2 * HM_DIGEST_MAX + 1];
    hm_auto_json doc = NULL;
    hm_auto_buf message = {0};
    hm_auto_buf signature = {0};
    hm_status status = hm_rsa_json_digest(signings, hash, error);
    if (status == HM_OK) {
        status = prepare(signings, signer, hash, &doc, &message, error);
    }
    if (status == HM_OK) {
        status = hm_signer_sign(signer, HM_SCHEME_RSA_PSS_SHA256_MAX, hm_buf_view(&message),
                                &signature, error);
    }
    if (status == HM_OK) {
        status = write_file(hm_json_get(hm_json_root(doc), "manifest"), hm_buf_view(&signature),
                            file, error);
    }
    return status;
}

const hm_format hm_format_sig_json = {
    .name = "sig-json",
    .title = "signed JSON manifest",
    .directories = false,
    .hashes = false,
    .several = false,
    .key_version = true,
    .suffix = NULL,
    .scheme = HM_SCHEME_RSA_PSS_SHA256_MAX,
    .recognise = recognise,
    .parse = parse,
    .promise = promise,
    .check = check,
    .write = write,
    .may_replace = NULL,
};
