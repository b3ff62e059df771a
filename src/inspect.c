/* SPDX-License-Identifier: Apache-2.0 */
#include "provenance.h"

#include "trust/keyring_file.h"

#include <stdlib.h>

/* The signed text too, should it make sense; nothing has verified it, and the report says so. */
static hm_status read_promise(hm_envelope *envelope, hm_report *made, hm_error **error) {
    HM_CLEANUP(hm_promise_free) hm_promise promise = {0};
    hm_auto_error cause = NULL;
    hm_status status = hm_envelope_promise(envelope, &promise, &cause);
    if (status == HM_REFUSED) {
        return hm_report_add_warning(made, error, "what was signed breaks the format: %s",
                                     hm_error_message(cause));
    }
    if (status != HM_OK) {
        return hm_error_move(error, &cause);
    }
    for (size_t i = 0; i < promise.ignore.count && status == HM_OK; i++) {
        const struct hm_ignore_rule *rule = &promise.ignore.rules[i];
        status = hm_report_add_path(&made->ignored, rule->path, "listed", error);
    }
    made->manifest = promise.manifest;
    promise.manifest = (hm_manifest){0};
    hm_report_count(made);
    made->stated = promise.stated;
    promise.stated = (hm_statements){0};
    return status;
}

/* Provenance is no signature of a model: it has no format, and lists no files. */
static hm_status read_provenance(const hm_envelope *envelope, hm_report *made, hm_error **error) {
    HM_CLEANUP(hm_provenance_free) hm_provenance provenance = {0};
    hm_auto_error cause = NULL;
    made->format = NULL;
    hm_status status =
        hm_report_add_warning(made, error, "this is a provenance statement, not a signature");
    if (status == HM_OK) {
        status = hm_provenance_read(hm_buf_view(&envelope->payload), &provenance, &cause);
    }
    if (status == HM_REFUSED && cause != NULL) {
        return hm_report_add_warning(made, error, "what was signed breaks the format: %s",
                                     hm_error_message(cause));
    }
    if (cause != NULL) {
        return hm_error_move(error, &cause);
    }
    return status == HM_OK ? hm_provenance_show(&provenance, NULL, made, error) : status;
}

/* All that an identity can be pinned by, so that a reader need not take the file apart. */
static hm_status describe_leaf(X509 *leaf, hm_report *made, hm_error **error) {
    HM_CLEANUP(hm_signer_identity_free) hm_signer_identity who = {0};
    hm_auto_error cause = NULL;
    hm_statements *claimed = &made->claimed;
    hm_status status = hm_identity_describe(leaf, &who, &cause);
    if (status == HM_REFUSED) {
        return hm_report_add_warning(made, error, "%s", hm_error_message(cause));
    }
    if (status != HM_OK) {
        return hm_error_move(error, &cause);
    }
    status = hm_statements_add_text(claimed, "certificate", who.subject, error);
    for (size_t i = 0; i < who.alternative_name_count && status == HM_OK; i++) {
        status = hm_statements_add_text(claimed, "certificate_alternative_name",
                                        who.alternative_names[i], error);
    }
    return status == HM_OK ? hm_statements_add_text(claimed, "certificate_fingerprint",
                                                    who.certificate_fingerprint, error)
                           : status;
}

static hm_status describe_authority(X509 *authority, hm_report *made, hm_error **error) {
    hm_auto_free char *subject = NULL;
    hm_status status = hm_certificate_name(X509_get_subject_name(authority), &subject, error);
    return status == HM_OK
               ? hm_statements_add_text(&made->claimed, "chain_certificate", subject, error)
               : status;
}

static hm_status describe_chain(const hm_envelope *envelope, hm_report *made, hm_error **error) {
    hm_status status = HM_OK;
    for (int i = 0; i < sk_X509_num(envelope->certificates) && status == HM_OK; i++) {
        X509 *certificate = sk_X509_value(envelope->certificates, i);
        status = i == 0 ? describe_leaf(certificate, made, error)
                        : describe_authority(certificate, made, error);
    }
    return status;
}

/* What else `hallmark` writes, and somebody may want to look into. */
static hm_status parse(hm_bytes file, const char *what, hm_envelope *envelope, hm_error **error) {
    hm_auto_error cause = NULL;
    hm_auto_dsse export = {.payload = {0}};
    hm_status status = hm_envelope_parse(file, what, envelope, &cause);
    if (status != HM_REFUSED || hm_export_envelope_parse(file, what, &export, NULL) != HM_OK) {
        return status == HM_OK ? HM_OK : hm_error_move(error, &cause);
    }
    status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                     "%s is the export of a keyring, not a signature", what);
    hm_error_add_hint(error, "`hallmark verify` and policies believe it by the admin key that "
                             "signed it: --keyring with --keyring-key");
    return status;
}

static hm_status run(const char *signature, hm_report *made, hm_error **error) {
    hm_auto_buf file = {0};
    HM_CLEANUP(hm_envelope_free) hm_envelope envelope = {0};
    bool provenance = false;
    hm_status status = hm_read_file(signature, HM_SIGNATURE_FILE_LIMIT, &file, error);
    if (status == HM_OK) {
        status = parse(hm_buf_view(&file), signature, &envelope, error);
    }
    if (status != HM_OK) {
        return status;
    }
    made->format = envelope.format;
    made->claimed = envelope.claimed;
    envelope.claimed = (hm_statements){0};
    if (envelope.material == HM_MATERIAL_CHAIN) {
        status = describe_chain(&envelope, made, error);
    } else if (envelope.material == HM_MATERIAL_SIGSTORE) {
        status = hm_report_add_warning(made, error,
                                       "signed with the sigstore (keyless) method, which is not "
                                       "supported");
    }
    if (status == HM_OK) {
        status = hm_provenance_recognise(&envelope, &provenance, error);
    }
    if (status != HM_OK) {
        return status;
    }
    return provenance ? read_provenance(&envelope, made, error)
                      : read_promise(&envelope, made, error);
}

hm_status hm_inspect(const char *signature, hm_report **report, hm_error **error) {
    HM_CLEANUP(hm_report_free) hm_report *made = NULL;
    hm_auto_error local = NULL;
    hm_error **cause = error != NULL ? error : &local;
    if (report != NULL) {
        *report = NULL;
    }
    hm_status status = signature != NULL
                           ? hm_report_new(HM_OPERATION_INSPECT, NULL, &made, cause)
                           : hm_fail(cause, HM_USAGE, HM_REASON_NONE, "no signature is named");
    if (status == HM_OK) {
        made->signature_path = hm_strdup(signature);
        status = made->signature_path != NULL ? run(signature, made, cause) : hm_fail_memory(cause);
    }
    return hm_report_finish(&made, status, cause, report);
}
