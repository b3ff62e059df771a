/* SPDX-License-Identifier: Apache-2.0 */
/* Signature and provenance files: which of them belong to a version, and where they lie in it. */
#include "deploy/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char model_folder[] = "model";

void hm_proofs_free(hm_proofs *proofs) {
    for (size_t i = 0; i < proofs->count; i++) {
        free(proofs->list[i].name);
    }
    free(proofs->list);
    free(proofs->content);
    *proofs = (hm_proofs){.list = NULL};
}

/* ---- places --------------------------------------------------------------------------------- */

/* The last component of a path that a format or rule made of the model's future name. */
static char *beneath_model(const hm_model *model, const char *path) {
    size_t length = sizeof model_folder - 1;
    bool inside = !model->is_file && strncmp(path, model_folder, length) == 0;
    return hm_strdup(inside && path[length] == '/' ? path + length + 1 : path);
}

/* The place where the rule will look for it in the store, where a directory is called "model". */
static hm_status rule_place(const hm_verification *job, const char *place, char **name,
                            hm_error **error) {
    const hm_model *model = job->model;
    char folder[] = "model";
    hm_model future = {.path = model->is_file ? model->name : folder, .is_file = model->is_file};
    hm_auto_free char *path = NULL;
    hm_status status = hm_rule_place(&future, place, future.path, &path, error);
    *name = status == HM_OK ? beneath_model(model, path) : NULL;
    return status != HM_OK || *name != NULL ? status : hm_fail_memory(error);
}

static hm_status default_place(const hm_verification *job, const hm_claim *claim, char **name,
                               hm_error **error) {
    const hm_model *model = job->model;
    const char *future = model->is_file ? model->name : model_folder;
    const hm_format *format = claim->envelope.format;
    bool shards = claim->promise.manifest.method == HM_METHOD_SHARDS;
    hm_auto_free char *path = NULL;
    hm_status status = HM_OK;
    if (format == NULL) {
        *name = hm_strdup("refused.sig"); /* nobody knows what it is */
        return *name != NULL ? HM_OK : hm_fail_memory(error);
    }
    status = shards ? hm_format_shards_path(future, !model->is_file, &path, error)
                    : hm_format_default_path(format, future, !model->is_file, &path, error);
    *name = status == HM_OK ? beneath_model(model, path) : NULL;
    return status != HM_OK || *name != NULL ? status : hm_fail_memory(error);
}

static hm_status find_place(const hm_verification *job, size_t index, const char *path, char **name,
                            hm_error **error) {
    const hm_claim *claim = job->claims[index];
    const hm_verify_options *options = job->options;
    bool named = options->signature != NULL || options->signature_count > 0;
    if (!named && job->rule != NULL && index < job->rule->signatures.count) {
        return rule_place(job, job->rule->signatures.list[index], name, error);
    }
    hm_status status = hm_model_relative(job->model, path, name, error);
    if (status != HM_OK || *name != NULL) {
        return status;
    }
    if (named) {
        return default_place(job, claim, name, error);
    }
    *name = hm_path_base(path);
    return *name != NULL ? HM_OK : hm_fail_memory(error);
}

/* ---- the list ------------------------------------------------------------------------------- */

static const hm_stored_proof *find_name(const hm_proofs *proofs, const char *name) {
    for (size_t i = 0; i < proofs->count; i++) {
        if (strcmp(proofs->list[i].name, name) == 0) {
            return &proofs->list[i];
        }
    }
    return NULL;
}

/* Takes `*name` over. The same file twice is one file. */
static hm_status add(hm_proofs *proofs, char **name, const hm_buf *content, bool is_signature,
                     hm_error **error) {
    uint8_t digest[32];
    hm_stored_proof made = {.is_signature = is_signature};
    hm_status status = hm_digest_bytes(HM_HASH_SHA256, hm_buf_view(content), digest, error);
    if (status != HM_OK) {
        return status;
    }
    hm_hex(digest, sizeof digest, made.digest);
    const hm_stored_proof *there = find_name(proofs, *name);
    if (there != NULL && strcmp(there->digest, made.digest) == 0) {
        return HM_OK;
    }
    for (size_t number = 2; there != NULL; number++) { /* another's place is taken */
        hm_auto_free char *other = hm_textf("signature-%zu.sig", number);
        if (other == NULL) {
            return hm_fail_memory(error);
        }
        there = find_name(proofs, other);
        if (there == NULL) {
            free(*name);
            *name = other;
            other = NULL;
        }
    }
    if (!hm_grow(&proofs->list, proofs->count, &proofs->capacity, sizeof made) ||
        !hm_grow(&proofs->content, proofs->count, &proofs->content_capacity,
                 sizeof(*proofs->content))) {
        return hm_fail_memory(error);
    }
    made.name = *name;
    *name = NULL;
    proofs->content[proofs->count] = content;
    proofs->list[proofs->count++] = made;
    return HM_OK;
}

static hm_status add_claim(const hm_verification *job, size_t index, const char *path,
                           hm_proofs *proofs, hm_error **error) {
    const hm_claim *claim = job->claims[index];
    hm_auto_free char *name = NULL;
    hm_auto_free char *beside = NULL;
    hm_status status = find_place(job, index, path, &name, error);
    if (status == HM_OK) {
        status = add(proofs, &name, &claim->file, true, error);
    }
    if (status != HM_OK || claim->provenance_file.length == 0 || proofs->count == 0) {
        return status;
    }
    /* Where a later verification looks for it: beside the signature. */
    const char *signature = name != NULL ? name : proofs->list[proofs->count - 1].name;
    status = hm_provenance_default_path(signature, &beside, error);
    return status == HM_OK ? add(proofs, &beside, &claim->provenance_file, false, error) : status;
}

hm_status hm_proofs_collect(const hm_verification *job, const hm_claim *told,
                            const hm_report *report, bool all, hm_proofs *proofs,
                            hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < job->claim_count && status == HM_OK; i++) {
        const hm_claim *claim = job->claims[i];
        const hm_report *own = claim == told ? report : claim->report; /* they were exchanged */
        bool counts = job->rule == NULL || claim->counted;
        if (!claim->pinned && (all || counts) && claim->file.length > 0 &&
            own->signature_path != NULL) {
            status = add_claim(job, i, own->signature_path, proofs, error);
        }
    }
    return status;
}
