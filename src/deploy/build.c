/* SPDX-License-Identifier: Apache-2.0 */
/* From a staged copy to a version, or to an entry of the quarantine. */
#include "deploy/store.h"

#include <stdlib.h>
#include <string.h>

/* ---- a version ------------------------------------------------------------------------------ */

/*
 * The state in which a source file was read, if writing to it is bound to change that. Of several
 * signatures only the first one's walk read the file: the others' may have seen later states.
 */
static char *source_state(const hm_attempt *attempt, const char *name) {
    const hm_tree *tree = &attempt->collection.tree;
    const hm_entry *entry = attempt->verdict == HM_LET_THROUGH ? hm_tree_find(tree, name) : NULL;
    for (size_t i = 0; i < attempt->job.claim_count && entry == NULL; i++) {
        const hm_claim *claim = attempt->job.claims[i];
        const hm_entry *seen = hm_tree_find(&claim->tree, name);
        size_t index = seen != NULL ? (size_t)(seen - claim->tree.entries) : 0;
        if (seen != NULL && claim->wanted != NULL && claim->wanted[index] && !seen->from_copy &&
            claim->states[index] == HM_FILE_READ) {
            tree = &claim->tree;
            entry = seen;
        }
    }
    return entry != NULL && hm_entry_settled(tree, entry, false) ? hm_entry_state(entry) : NULL;
}

static hm_status add_file(const hm_attempt *attempt, const hm_entry *entry, bool is_proof,
                          hm_stored *version, hm_error **error) {
    if (!hm_grow(&version->files, version->count, &version->capacity, sizeof(hm_stored_file))) {
        return hm_fail_memory(error);
    }
    hm_stored_file *file = &version->files[version->count++];
    *file = (hm_stored_file){.name = hm_strdup(entry->name), .state = hm_entry_state(entry)};
    file->source_state = is_proof ? NULL : source_state(attempt, entry->name);
    return file->name != NULL && file->state != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status add_files(const hm_attempt *attempt, const hm_proofs *proofs,
                           const hm_stage *stage, hm_stored *version, hm_error **error) {
    HM_CLEANUP(hm_tree_free) hm_tree tree = {0};
    hm_model model;
    hm_status status = hm_stage_walk(stage, &model, &tree, error);
    for (size_t i = 0; i < tree.count && status == HM_OK; i++) {
        const hm_entry *entry = &tree.entries[i];
        bool is_proof = false;
        for (size_t k = 0; k < proofs->count; k++) {
            is_proof = is_proof || strcmp(proofs->list[k].name, entry->name) == 0;
        }
        version->file_count += is_proof ? 0 : 1;
        version->byte_count += is_proof ? 0 : entry->size;
        status = add_file(attempt, entry, is_proof, version, error);
    }
    return status;
}

static hm_status add_proofs(const hm_proofs *proofs, hm_stored *version, hm_error **error) {
    for (size_t i = 0; i < proofs->count; i++) {
        if (!hm_grow(&version->proofs, version->proof_count, &version->proof_capacity,
                     sizeof(hm_stored_proof))) {
            return hm_fail_memory(error);
        }
        hm_stored_proof *made = &version->proofs[version->proof_count++];
        *made = proofs->list[i];
        made->name = hm_strdup(proofs->list[i].name);
        if (made->name == NULL) {
            return hm_fail_memory(error);
        }
    }
    return HM_OK;
}

/* Everything but the manifest, which is lent. */
static hm_status describe(const hm_gate_call *call, const hm_attempt *attempt,
                          const hm_proofs *proofs, const hm_stage *stage, hm_stored *version,
                          hm_error **error) {
    const hm_report *report = attempt->report;
    const hm_signer_identity *who = &report->signer;
    version->deployed = report->time;
    version->let_through = attempt->verdict == HM_LET_THROUGH;
    memcpy(version->digest, attempt->digest, sizeof version->digest);
    memcpy(version->id, stage->id, sizeof version->id);
    version->key_version = report->has_signer ? who->key_version : 0;
    version->source = hm_store_found(call->source->path);
    bool good = version->source != NULL &&
                hm_set_text(&version->file, call->source->is_file ? call->source->name : NULL);
    if (good && report->has_signer) {
        good = hm_set_text(&version->signer, who->name != NULL ? who->name : who->fingerprint) &&
               hm_set_text(&version->fingerprint, who->fingerprint);
    }
    hm_status status = good ? add_proofs(proofs, version, error) : hm_fail_memory(error);
    return status == HM_OK ? add_files(attempt, proofs, stage, version, error) : status;
}

static hm_status write_version(const hm_stage *stage, const hm_stored *version, hm_error **error) {
    hm_auto_buf text = {0};
    hm_auto_free char *relative = hm_textf("%s/version.json", stage->relative);
    hm_auto_free char *path = relative != NULL ? hm_store_path(stage->slot->store, relative) : NULL;
    hm_status status =
        path != NULL ? hm_stored_write(version, &text, error) : hm_fail_memory(error);
    return status == HM_OK ? hm_write_file(path, hm_buf_view(&text), 0444, HM_WRITE_REPLACE, error)
                           : status;
}

/* What every signature that counted, and every pin that held, is of. */
static hm_status keep_verified(const hm_attempt *attempt, hm_stage *stage, hm_error **error) {
    const hm_verification *job = &attempt->job;
    size_t count = 0;
    hm_auto_free const hm_manifest **found = hm_alloc(job->claim_count + 1, sizeof(hm_manifest *));
    if (found == NULL) {
        return hm_fail_memory(error);
    }
    found[count++] = hm_attempt_manifest(attempt);
    for (size_t i = 0; i < job->claim_count; i++) {
        const hm_claim *claim = job->claims[i];
        bool counts = claim->counted || (claim->pinned && claim->status == HM_OK);
        if (claim != attempt->told && counts) {
            found[count++] = &claim->found;
        }
    }
    return hm_stage_keep(stage, found, count, error);
}

hm_status hm_version_build(const hm_gate_call *call, const hm_attempt *attempt,
                           const hm_proofs *proofs, hm_stage *stage, hm_error **error) {
    hm_auto_stored version = {.source = NULL};
    hm_status status = keep_verified(attempt, stage, error);
    for (size_t i = 0; i < proofs->count && status == HM_OK; i++) {
        status = hm_stage_add(stage, proofs->list[i].name, hm_buf_view(proofs->content[i]), error);
    }
    if (status == HM_OK) {
        status = hm_stage_seal(stage, error);
    }
    if (status == HM_OK) {
        status = describe(call, attempt, proofs, stage, &version, error);
    }
    if (status == HM_OK) {
        version.manifest = *hm_attempt_manifest(attempt);
        status = write_version(stage, &version, error);
        version.manifest = (hm_manifest){.method = 0};
    }
    return status;
}

/* ---- quarantine ----------------------------------------------------------------------------- */

static hm_status staged_bytes(const hm_stage *stage, uint64_t *bytes, hm_error **error) {
    HM_CLEANUP(hm_tree_free) hm_tree tree = {0};
    hm_model model;
    *bytes = 0;
    hm_status status = hm_stage_walk(stage, &model, &tree, error);
    for (size_t i = 0; i < tree.count; i++) {
        if (!hm_add_u64(*bytes, tree.entries[i].size, bytes)) {
            *bytes = UINT64_MAX;
        }
    }
    return status;
}

/* Whether the copy is kept: as configured, and as long as there is room. */
static hm_status may_keep(const hm_slot *slot, uint64_t bytes, bool *keep, hm_error **error) {
    const hm_config *config = slot->store->config;
    uint64_t held = 0;
    *keep = false;
    if (!config->keep_refused || bytes == 0) {
        return HM_OK;
    }
    hm_status status = hm_held_bytes(slot->store, &held, error);
    *keep = status == HM_OK && hm_add_u64(held, bytes, &held) && held <= config->refused_limit;
    return status;
}

/* Signature files as far as they were read; one whose place is taken is left out. */
static hm_status stage_proofs(const hm_attempt *attempt, hm_stage *stage, size_t *count,
                              hm_error **error) {
    HM_CLEANUP(hm_proofs_free) hm_proofs proofs = {.list = NULL};
    hm_status status =
        hm_proofs_collect(&attempt->job, attempt->told, attempt->report, true, &proofs, error);
    *count = 0;
    for (size_t i = 0; i < proofs.count && status == HM_OK; i++) {
        hm_auto_error cause = NULL;
        status = hm_stage_add(stage, proofs.list[i].name, hm_buf_view(proofs.content[i]), &cause);
        *count += status == HM_OK ? 1 : 0;
        status = status == HM_OK || status == HM_REFUSED ? HM_OK : hm_error_move(error, &cause);
    }
    return status;
}

hm_status hm_refused_hold(const hm_gate_call *call, const hm_slot *slot, const hm_attempt *attempt,
                          hm_stage *stage, hm_plan *plan, hm_error **error) {
    uint64_t bytes = 0;
    bool keep = false;
    size_t proofs = 0;
    hm_held *held = NULL;
    hm_status status = staged_bytes(stage, &bytes, error);
    if (status == HM_OK) {
        status = may_keep(slot, bytes, &keep, error);
    }
    if (status == HM_OK && !keep) {
        status = hm_stage_keep(stage, NULL, 0, error);
    }
    if (status == HM_OK) {
        status = stage_proofs(attempt, stage, &proofs, error);
    }
    if (status == HM_OK) {
        status = hm_stage_seal(stage, error);
    }
    if (status == HM_OK) {
        hm_auto_free char *source = hm_store_found(call->source->path);
        const char *staged = keep || proofs > 0 ? stage->relative : NULL;
        status = source != NULL ? hm_plan_hold(slot, plan, staged, source, NULL, attempt->cause,
                                               attempt->report, &held, error)
                                : hm_fail_memory(error);
    }
    if (status == HM_OK) {
        held->refused = true;
        held->content = keep;
        held->byte_count = keep ? bytes : 0;
        held->file = call->source->is_file ? hm_strdup(call->source->name) : NULL;
        status = held->file != NULL || !call->source->is_file ? HM_OK : hm_fail_memory(error);
    }
    return status;
}
