/* SPDX-License-Identifier: Apache-2.0 */
/* provenance file -> envelope -> (by the key that signed the model?) -> of this model? -> report */
#include "provenance.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* The judge speaks of "the signature"; here that is not the model's. */
static hm_status about(const hm_provenance_query *query, hm_error **cause, hm_error **error) {
    hm_status status = hm_fail(error, hm_error_status(*cause), hm_error_reason(*cause),
                               "the provenance %s: %s", query->path, hm_error_message(*cause));
    if (*hm_error_hint(*cause) != '\0') {
        hm_error_add_hint(error, "%s", hm_error_hint(*cause));
    }
    return status;
}

/* ---- the file ------------------------------------------------------------------------------- */

static hm_status refuse_missing(const hm_provenance_query *query, hm_error **error) {
    hm_status status = hm_fail(error, HM_REFUSED, HM_REASON_PROVENANCE,
                               "there is no provenance at %s, and it is demanded", query->path);
    hm_error_add_hint(error, "`hallmark sign --metadata` writes it; if it lies elsewhere, name it "
                             "with --provenance");
    return status;
}

/* `*there` false: there is no such file. */
static hm_status read_statement_file(const char *path, hm_buf *file, bool *there,
                                     hm_error **error) {
    struct stat st;
    hm_auto_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int cause = errno;
    *there = fd >= 0 || hm_path_taken(path);
    if (!*there) {
        return HM_OK;
    }
    /* What it leads to may come into being once nobody looks any more. */
    if (fd < 0 && cause == ENOENT) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "the provenance %s is a link to nowhere", path);
    }
    errno = cause;
    if (fd < 0 || fstat(fd, &st) != 0) {
        return hm_fail_errno(error, errno, "cannot open the provenance %s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "the provenance %s is not a regular file", path);
    }
    return hm_read_fd(fd, path, HM_SIGNATURE_FILE_LIMIT, file, error);
}

/* ---- the signer ----------------------------------------------------------------------------- */

static hm_status check_key(const hm_provenance_query *query, const char *fingerprint,
                           hm_error **error) {
    for (size_t i = 0; i < query->fingerprint_count; i++) {
        if (strcmp(query->fingerprints[i], fingerprint) == 0) {
            return HM_OK;
        }
    }
    return hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER,
                   "the provenance %s is by the key %s, which did not sign the model", query->path,
                   fingerprint);
}

/*
 * A policy may demand a format of signatures, or let an old one pass; provenance is a bundle
 * whatever the signature is, and there is no old one.
 */
static hm_status check_signer(const hm_provenance_query *query, const hm_envelope *envelope,
                              int64_t now, hm_error **error) {
    HM_CLEANUP(hm_signer_identity_free) hm_signer_identity who = {.name = NULL};
    hm_auto_error cause = NULL;
    hm_policy policy = *query->policy;
    policy.format = NULL;
    policy.allow &= ~HM_ALLOW_OMS_V0_2_0;
    hm_status status = hm_trust_judge_among(&policy, query->allowed, envelope, now, &who, &cause);
    return status == HM_OK ? check_key(query, who.fingerprint, error) : about(query, &cause, error);
}

/* ---- the model ------------------------------------------------------------------------------ */

/*
 * The root digest alone binds no names, so the model digest must be there as well. A file that was
 * signed under the name "." has no name that could be bound.
 */
static hm_status check_subjects(const hm_provenance_query *query, const hm_provenance *provenance,
                                const hm_report *report, hm_error **error) {
    uint8_t root[32];
    uint8_t model[32];
    bool dot = query->signed_name != NULL && strcmp(query->signed_name, ".") == 0;
    hm_status status = hm_oms_root_digest(&report->manifest, HM_OMS_ORDER_NAME, root, error);
    if (status == HM_OK) {
        status = hm_manifest_model_digest_as(&report->manifest, query->signed_name, model, error);
    }
    if (status != HM_OK) {
        return status;
    }
    for (size_t i = 0; i < provenance->subject_count; i++) {
        const hm_provenance_subject *subject = &provenance->subjects[i];
        bool same_root = subject->has_root && memcmp(subject->root, root, sizeof root) == 0;
        bool same_model =
            dot || (subject->has_model && memcmp(subject->model, model, sizeof model) == 0);
        if (same_root && same_model) {
            return HM_OK;
        }
    }
    status = hm_fail(error, HM_REFUSED, HM_REASON_PROVENANCE,
                     "the provenance %s is of another model, or of another version of this one",
                     query->path);
    hm_error_add_hint(error, "sign the model again with its --metadata, or remove that file");
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------ */

hm_status hm_provenance_show(hm_provenance *provenance, const char *path, hm_report *report,
                             hm_error **error) {
    hm_statements *place = path != NULL ? &report->provenance : &report->stated;
    hm_statements_free(place);
    *place = provenance->stated;
    provenance->stated = (hm_statements){0};
    report->provenance_path = path != NULL ? hm_strdup(path) : NULL;
    return path == NULL || report->provenance_path != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status check_demands(const hm_provenance_query *query, const hm_provenance *provenance,
                               hm_error **error) {
    hm_status status =
        hm_provenance_demand_check(&query->policy->provenance, provenance, query->path, error);
    return status == HM_OK && query->demand != NULL
               ? hm_provenance_demand_check(query->demand, provenance, query->path, error)
               : status;
}

static hm_status judge(const hm_provenance_query *query, hm_bytes file, hm_report *report,
                       hm_error **error) {
    HM_CLEANUP(hm_envelope_free) hm_envelope envelope = {0};
    HM_CLEANUP(hm_provenance_free) hm_provenance provenance = {0};
    hm_auto_error cause = NULL;
    hm_status status = hm_provenance_parse(file, "the file", &envelope, &cause);
    if (status != HM_OK) {
        return about(query, &cause, error);
    }
    status = check_signer(query, &envelope, report->time, error);
    if (status != HM_OK) {
        return status;
    }
    status = hm_provenance_read(hm_buf_view(&envelope.payload), &provenance, &cause);
    if (status != HM_OK) {
        return about(query, &cause, error);
    }
    status = check_subjects(query, &provenance, report, error);
    if (status == HM_OK) {
        status = check_demands(query, &provenance, error);
    }
    if (status == HM_OK && query->payload != NULL) {
        hm_buf_free(query->payload);
        *query->payload = envelope.payload;
        envelope.payload = (hm_buf){0};
    }
    return status == HM_OK ? hm_provenance_show(&provenance, query->path, report, error) : status;
}

hm_status hm_provenance_verify(const hm_provenance_query *query, hm_report *report,
                               hm_error **error) {
    hm_auto_buf file = {0};
    bool there = false;
    bool demanded = query->named || hm_provenance_demanded(&query->policy->provenance) ||
                    hm_provenance_demanded(query->demand);
    hm_status status = read_statement_file(query->path, &file, &there, error);
    if (status != HM_OK) {
        return status;
    }
    if (!there) {
        return demanded ? refuse_missing(query, error) : HM_OK;
    }
    status = judge(query, hm_buf_view(&file), report, error);
    if (status == HM_OK && query->file != NULL) {
        hm_buf_free(query->file);
        *query->file = file;
        file = (hm_buf){0};
    }
    return status;
}
