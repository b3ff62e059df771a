/* SPDX-License-Identifier: Apache-2.0 */
/* Verifying what wants to get in: copied as it is read, or recalled without being read. */
#include "deploy/store.h"

#include <stdlib.h>
#include <string.h>

void hm_attempt_free(hm_attempt *attempt) {
    hm_verification_free(&attempt->job);
    hm_collection_free(&attempt->collection);
    hm_report_free(&attempt->report);
    hm_error_free(&attempt->cause);
    *attempt = (hm_attempt){.verdict = HM_UNDECIDED};
}

const hm_manifest *hm_attempt_manifest(const hm_attempt *attempt) {
    return attempt->verdict == HM_LET_THROUGH ? &attempt->collection.manifest
                                              : &attempt->report->manifest;
}

/* ---- what is known without reading ------------------------------------------------------------ */

static bool is_proof(const hm_stored *version, const char *name) {
    for (size_t i = 0; i < version->proof_count; i++) {
        if (strcmp(version->proofs[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether a file is the one that was read when the version was made, and not written to since. */
static bool is_unchanged(const hm_tree *tree, const hm_stored_file *file, bool ask_disk) {
    const hm_entry *entry = hm_tree_find(tree, file->name);
    hm_auto_free char *state = entry != NULL ? hm_entry_state(entry) : NULL;
    return file->source_state != NULL && state != NULL && strcmp(state, file->source_state) == 0 &&
           (!ask_disk || hm_entry_settled(tree, entry, true));
}

static bool covers(const hm_stored *version, const hm_tree *tree, bool ask_disk) {
    bool same = version->count > 0;
    for (size_t i = 0; i < version->count && same; i++) {
        const hm_stored_file *file = &version->files[i];
        same = is_proof(version, file->name) || is_unchanged(tree, file, ask_disk);
    }
    return same;
}

static bool is_recalled(const hm_model *source, const hm_stored *version) {
    HM_CLEANUP(hm_tree_free) hm_tree tree = {.model = source};
    bool same_kind = source->is_file
                         ? version->file != NULL && strcmp(version->file, source->name) == 0
                         : version->file == NULL;
    for (size_t i = 0; i < version->count && same_kind; i++) {
        const hm_stored_file *file = &version->files[i];
        if (is_proof(version, file->name)) {
            continue;
        }
        same_kind = file->source_state != NULL && hm_tree_add(&tree, file->name, NULL) == HM_OK;
    }
    hm_tree_sort(&tree);
    return same_kind && covers(version, &tree, true);
}

const hm_stored *hm_attempt_recall(const hm_model *source, const hm_stored_list *versions) {
    for (size_t i = 0; i < versions->count; i++) {
        if (is_recalled(source, &versions->list[i])) {
            return &versions->list[i];
        }
    }
    return NULL;
}

/* The files as this very walk found them must still be those: else all is read. */
static const hm_manifest *find_known(void *context, const hm_tree *tree,
                                     const hm_measure_options *measure) {
    const hm_stored *version = context;
    const hm_manifest *manifest = &version->manifest;
    uint64_t shard_size = measure->method == HM_METHOD_SHARDS ? measure->shard_size : 0;
    bool same = manifest->method == measure->method && manifest->hash == measure->hash &&
                manifest->shard_size == shard_size;
    return same && covers(version, tree, false) ? manifest : NULL;
}

/* The same for hm_collect(), which wants a list of its own. */
static hm_status copy_known(void *context, const hm_collection *collection,
                            const hm_measure_options *measure, hm_manifest *known,
                            hm_error **error) {
    const hm_manifest *manifest = find_known(context, &collection->tree, measure);
    hm_status status = HM_OK;
    known->hash = measure->hash;
    for (size_t i = 0; manifest != NULL && i < manifest->count && status == HM_OK; i++) {
        const hm_item *item = &manifest->items[i];
        status = hm_manifest_add(known, item->name, strlen(item->name), item->start, item->end,
                                 item->digest, error);
    }
    return status;
}

/* ---- running -------------------------------------------------------------------------------- */

static void fill(const hm_deploy_options *options, const hm_policy *policy,
                 hm_verify_options *how) {
    *how = (hm_verify_options)HM_VERIFY_OPTIONS_INIT;
    if (policy->path == NULL && options->signature_count == 1) {
        how->signature = options->signatures[0];
    } else {
        how->signatures = options->signatures;
        how->signature_count = options->signature_count;
    }
    how->provenance = options->provenance;
    how->ignore = options->ignore;
    how->ignore_count = options->ignore_count;
    how->jobs = options->jobs;
    how->progress = options->progress;
    how->progress_context = options->progress_context;
}

static hm_status verify(const hm_gate_call *call, hm_attempt *attempt) {
    hm_report *report = attempt->report;
    hm_status status = hm_verification_run(&attempt->job, report, &attempt->told, &attempt->cause);
    report->operation = call->operation; /* it was exchanged for that of a claim */
    return status == HM_OK
               ? hm_verify_provenances(&attempt->job, attempt->told, report, &attempt->cause)
               : status;
}

/* Nothing vouches for it, but what is copied has to be named by what it is. */
static hm_status collect(const hm_gate_call *call, const hm_tree_copy *copy, const hm_stored *known,
                         hm_attempt *attempt) {
    const hm_deploy_options *options = call->options;
    const hm_collect_options how = {
        .measure = {.method = HM_METHOD_FILES,
                    .hash = HM_HASH_SHA256,
                    .jobs = options->jobs,
                    .progress = options->progress,
                    .progress_context = options->progress_context},
        .ignore = options->ignore,
        .ignore_count = options->ignore_count,
        .copy = copy,
        .known = {.context = (void *)(uintptr_t)known, .find = known != NULL ? copy_known : NULL},
    };
    hm_auto_error cause = NULL;
    uint8_t digest[32];
    hm_status status = hm_collect(call->source, &how, &attempt->collection, &cause);
    if (status == HM_OK) {
        status = hm_manifest_model_digest(&attempt->collection.manifest, digest, &cause);
    }
    if (status != HM_OK) {
        hm_error_free(&attempt->cause);
        return hm_error_move(&attempt->cause, &cause);
    }
    hm_hex(digest, sizeof digest, attempt->digest);
    return HM_LET_THROUGH;
}

static hm_status check_size(const hm_gate_call *call, const hm_attempt *attempt, hm_error **error) {
    if (!hm_name_valid(hm_bytes_text(call->source->name)) && call->source->is_file) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                       "the name of %s is not valid UTF-8", call->source->path);
    }
    return hm_attempt_manifest(attempt)->count <= HM_VERSION_LIMIT
               ? HM_OK
               : hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                         "%s has more than %d files or shards, which is more than the store keeps",
                         call->source->path, HM_VERSION_LIMIT);
}

hm_status hm_attempt_run(const hm_gate_call *call, const hm_slot *slot, const hm_tree_copy *copy,
                         const hm_stored *known, hm_attempt *attempt, hm_error **error) {
    hm_known_digests digests = {.context = (void *)(uintptr_t)known, .find = find_known};
    hm_auto_free char *rule_path = hm_slot_rule_path(slot);
    hm_auto_free char *name = hm_strdup(call->name);
    if (rule_path == NULL || name == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_report_new(call->operation, call->source->path, &attempt->report, error);
    if (status != HM_OK) {
        return status;
    }
    fill(call->options, call->policy, &attempt->how);
    attempt->job = (hm_verification){
        .model = call->source,
        .policy = call->policy,
        .options = &attempt->how,
        .copy = copy,
        .known = known != NULL ? &digests : NULL,
        .rule_name = name,
        .rule_path = rule_path,
    };
    attempt->verdict = verify(call, attempt);
    if (attempt->verdict == HM_OK) {
        memcpy(attempt->digest, attempt->report->model_digest, sizeof attempt->digest);
    } else if (attempt->verdict == HM_LET_THROUGH) {
        attempt->verdict = collect(call, copy, known, attempt);
    }
    if (attempt->digest[0] != '\0' && check_size(call, attempt, &attempt->cause) != HM_OK) {
        hm_error_free(&attempt->cause);
        attempt->verdict = check_size(call, attempt, &attempt->cause);
        attempt->digest[0] = '\0';
    }
    attempt->job.rule_name = NULL;
    attempt->job.rule_path = NULL;
    attempt->job.known = NULL;
    return HM_OK;
}
