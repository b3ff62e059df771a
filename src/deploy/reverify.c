/* SPDX-License-Identifier: Apache-2.0 */
/* A version that is in the store already: is it still what it was, and still believed? */
#include "deploy/store.h"

#include "collect.h"

#include <errno.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* ---- where it lies -------------------------------------------------------------------------- */

typedef struct place {
    hm_model model;
    char *path;    /* of the model, absolute; the model has it too */
    char **proofs; /* absolute paths of the signature files */
    size_t proof_count;
    char *rule_path;
} place;

static void place_free(place *at) {
    hm_fd_close(&at->model.fd);
    free(at->path);
    free(at->rule_path);
    hm_text_list_free(&at->proofs, at->proof_count);
}

static hm_status open_place(const hm_slot *slot, const hm_stored *version, place *at,
                            hm_error **error) {
    const hm_store *store = slot->store;
    hm_auto_free char *folder = hm_slot_version_path(slot, version->digest);
    hm_auto_free char *inside = folder != NULL ? hm_textf("%s/model", folder) : NULL;
    hm_auto_free char *path = inside != NULL ? hm_store_path(store, inside) : NULL;
    at->path = path == NULL            ? NULL
               : version->file != NULL ? hm_textf("%s/%s", path, version->file)
                                       : hm_strdup(path);
    at->rule_path = hm_slot_rule_path(slot);
    at->proofs = hm_alloc(version->proof_count, sizeof(char *));
    if (at->path == NULL || at->rule_path == NULL || at->proofs == NULL) {
        return hm_fail_memory(error);
    }
    for (size_t i = 0; i < version->proof_count; i++) {
        if (version->proofs[i].is_signature) {
            char *proof = hm_textf("%s/%s", path, version->proofs[i].name);
            if (proof == NULL) {
                return hm_fail_memory(error);
            }
            at->proofs[at->proof_count++] = proof;
        }
    }
    at->model.fd = hm_open_beneath(store->fd, inside, O_RDONLY | O_DIRECTORY, false);
    at->model.path = at->path;
    at->model.name = strrchr(at->path, '/') + 1;
    return at->model.fd >= 0 ? HM_OK : hm_fail_errno(error, errno, "cannot open %s", path);
}

/* A single file is held by what it is, as after hm_model_open(). */
static hm_status open_file(place *at, const hm_stored *version, hm_error **error) {
    struct stat st;
    if (version->file == NULL) {
        return HM_OK;
    }
    if (fstatat(at->model.fd, version->file, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(st.st_mode)) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MISSING_FILE,
                       "%s is gone from the store, or no file any more", at->path);
    }
    at->model.is_file = true;
    at->model.device = st.st_dev;
    at->model.inode = st.st_ino;
    return HM_OK;
}

/* ---- what is there -------------------------------------------------------------------------- */

static hm_status walk(const place *at, hm_model *folder, hm_tree *tree, hm_error **error) {
    hm_ignore nothing = {0};
    *folder = at->model;
    folder->is_file = false;
    return hm_tree_walk(folder, &nothing, false, tree, error);
}

static int compare_file(const void *name, const void *file) {
    return strcmp(name, ((const hm_stored_file *)file)->name);
}

static const hm_stored_file *find_file(const hm_stored *version, const char *name) {
    return version->count > 0
               ? bsearch(name, version->files, version->count, sizeof(hm_stored_file), compare_file)
               : NULL;
}

hm_status hm_stored_intact(const hm_slot *slot, const hm_stored *version, bool *intact,
                           hm_error **error) {
    HM_CLEANUP(place_free) place at = {.model = {.fd = -1}};
    HM_CLEANUP(hm_tree_free) hm_tree tree = {0};
    hm_model folder;
    *intact = false;
    hm_status status = open_place(slot, version, &at, error);
    if (status == HM_OK) {
        status = walk(&at, &folder, &tree, error);
    }
    bool same = status == HM_OK && tree.count == version->count;
    for (size_t i = 0; i < tree.count && same; i++) {
        const hm_entry *entry = &tree.entries[i];
        const hm_stored_file *file = find_file(version, entry->name);
        hm_auto_free char *state = hm_entry_state(entry);
        same = entry->kind == HM_ENTRY_FILE && file != NULL && state != NULL &&
               strcmp(state, file->state) == 0 && hm_entry_settled(&tree, entry, true);
    }
    *intact = same;
    return status;
}

static const hm_stored_proof *find_proof(const hm_stored *version, const char *name) {
    for (size_t i = 0; i < version->proof_count; i++) {
        if (strcmp(version->proofs[i].name, name) == 0) {
            return &version->proofs[i];
        }
    }
    return NULL;
}

/*
 * What the version's name is a digest of, or a signature or statement. The list of files proves
 * nothing: who can put a file there can put it into the list.
 */
static bool belongs(const hm_stored *version, const hm_entry *entry) {
    return entry->kind == HM_ENTRY_FILE && find_file(version, entry->name) != NULL &&
           (hm_manifest_find(&version->manifest, entry->name, 0) != NULL ||
            find_proof(version, entry->name) != NULL);
}

/*
 * Nothing may lie beside what was put there, wherever a signature leaves something out: whoever
 * serves the directory serves that too.
 */
static hm_status refuse_extra(const place *at, const hm_stored *version, hm_report *report,
                              hm_error **error) {
    HM_CLEANUP(hm_tree_free) hm_tree tree = {0};
    hm_model folder;
    const char *first = NULL;
    hm_status status = walk(at, &folder, &tree, error);
    for (size_t i = 0; i < tree.count && status == HM_OK; i++) {
        const hm_entry *entry = &tree.entries[i];
        if (belongs(version, entry)) {
            continue;
        }
        hm_finding finding = {.reason = HM_REASON_EXTRA_FILE,
                              .name = hm_strdup(entry->name),
                              .detail = hm_strdup(entry->kind_text)};
        status = hm_report_add_finding(report, finding, error);
        first = first != NULL ? first : entry->name;
    }
    return status == HM_OK && first != NULL
               ? hm_fail(error, HM_REFUSED, HM_REASON_EXTRA_FILE,
                         "%s was put into the version %s of %s from outside", first,
                         version->digest, at->path)
               : status;
}

/* ---- is it the version that it is called ------------------------------------------------- */

static hm_status refuse_other(const place *at, const hm_stored *version, const char *name,
                              hm_report *report, hm_error **error) {
    hm_finding finding = {.reason = HM_REASON_DIGEST_MISMATCH, .name = hm_strdup(name)};
    bool whole = strcmp(name, ".") == 0;
    hm_auto_free char *member = whole ? hm_strdup(at->path) : hm_model_member(&at->model, name);
    hm_status status = hm_report_add_finding(report, finding, error);
    if (status == HM_OK && member == NULL) {
        status = hm_fail_memory(error);
    }
    return status == HM_OK
               ? hm_fail(error, HM_REFUSED, HM_REASON_DIGEST_MISMATCH,
                         "%s is not what was deployed as version %s", member, version->digest)
               : status;
}

static bool same_layout(const hm_manifest *a, const hm_manifest *b) {
    return a->method == b->method && a->hash == b->hash && a->shard_size == b->shard_size;
}

/* The record must bear out the version's name, and what is there the record. */
static hm_status compare_items(const place *at, const hm_stored *version, const hm_manifest *found,
                               hm_report *report, hm_error **error) {
    uint8_t digest[32];
    char hex[65];
    const hm_manifest *wanted = &version->manifest;
    hm_status status = hm_manifest_model_digest(wanted, digest, error);
    if (status != HM_OK) {
        return status;
    }
    hm_hex(digest, sizeof digest, hex);
    if (strcmp(hex, version->digest) != 0) {
        return refuse_other(at, version, ".", report, error);
    }
    for (size_t i = 0; i < wanted->count && status == HM_OK; i++) {
        const hm_item *item = &wanted->items[i];
        const hm_item *there = hm_manifest_find(found, item->name, item->start);
        if (there == NULL || there->end != item->end ||
            memcmp(there->digest, item->digest, hm_hash_size(wanted->hash)) != 0) {
            status = refuse_other(at, version, item->name, report, error);
        }
    }
    return status;
}

/* Digests everything in the way in which the version was named. */
static hm_status recompute(const place *at, const hm_stored *version,
                           const hm_gate_options *options, hm_report *report, hm_error **error) {
    HM_CLEANUP(hm_collection_free) hm_collection collection = {.ignore = {0}};
    hm_collect_options how = {
        .measure = {.method = version->manifest.method,
                    .hash = version->manifest.hash,
                    .shard_size = version->manifest.shard_size,
                    .jobs = options->jobs,
                    .progress = options->progress,
                    .progress_context = options->progress_context},
        .include_git = true,
    };
    hm_status status = hm_collect(&at->model, &how, &collection, error);
    return status == HM_OK ? compare_items(at, version, &collection.manifest, report, error)
                           : status;
}

static hm_status compare_proofs(const place *at, const hm_stored *version, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < version->proof_count && status == HM_OK; i++) {
        const hm_stored_proof *proof = &version->proofs[i];
        hm_auto_buf content = {0};
        uint8_t digest[32];
        char hex[65] = "";
        hm_auto_fd fd =
            hm_open_beneath(at->model.fd, proof->name, O_RDONLY | O_NONBLOCK | O_NOCTTY, false);
        if (fd >= 0) {
            status = hm_read_fd(fd, proof->name, HM_SIGNATURE_FILE_LIMIT, &content, error);
        }
        if (fd >= 0 && status == HM_OK) {
            status = hm_digest_bytes(HM_HASH_SHA256, hm_buf_view(&content), digest, error);
            hm_hex(digest, sizeof digest, hex);
        }
        if (status == HM_OK && strcmp(hex, proof->digest) != 0) {
            status = hm_fail(error, HM_REFUSED, HM_REASON_DIGEST_MISMATCH,
                             "%s is not what was deployed", proof->name);
        }
    }
    return status;
}

hm_status hm_stored_same(const hm_slot *slot, const hm_stored *version,
                         const hm_gate_options *options, bool *same, hm_error **error) {
    HM_CLEANUP(place_free) place at = {.model = {.fd = -1}};
    HM_CLEANUP(hm_report_free) hm_report *report = NULL;
    hm_auto_error cause = NULL;
    *same = false;
    hm_status status = hm_report_new(HM_OPERATION_CHECK, slot->name, &report, &cause);
    if (status == HM_OK) {
        status = open_place(slot, version, &at, &cause);
    }
    if (status == HM_OK) {
        status = open_file(&at, version, &cause);
    }
    if (status == HM_OK) {
        status = recompute(&at, version, options, report, &cause);
    }
    if (status == HM_OK) {
        status = compare_proofs(&at, version, &cause);
    }
    if (status == HM_OK) {
        status = refuse_extra(&at, version, report, &cause);
    }
    *same = status == HM_OK;
    return status == HM_OK || status == HM_REFUSED ? HM_OK : hm_error_move(error, &cause);
}

bool hm_stored_proofs_same(const hm_stored *version, const hm_proofs *proofs) {
    bool same = version->proof_count == proofs->count;
    for (size_t i = 0; i < proofs->count && same; i++) {
        const hm_stored_proof *wanted = &proofs->list[i];
        bool found = false;
        for (size_t k = 0; k < version->proof_count && !found; k++) {
            const hm_stored_proof *there = &version->proofs[k];
            found = strcmp(there->name, wanted->name) == 0 &&
                    strcmp(there->digest, wanted->digest) == 0 &&
                    there->is_signature == wanted->is_signature;
        }
        same = found;
    }
    return same;
}

/* ---- signature files ------------------------------------------------------------------------ */

/* `name` is relative to the version's model/, which a single file lies in. */
static bool is_at(const place *at, const char *name, const char *path) {
    const char *file = at->model.is_file ? strrchr(at->path, '/') : at->path + strlen(at->path);
    size_t folder = (size_t)(file - at->path);
    return path != NULL && strncmp(path, at->path, folder) == 0 && path[folder] == '/' &&
           strcmp(path + folder + 1, name) == 0;
}

/* Whether a claim that was believed was read from there, or found its statement good there. */
static bool is_believed(const hm_verification *job, const place *at, const hm_stored_proof *proof) {
    bool found = false;
    for (size_t i = 0; i < job->claim_count; i++) {
        const hm_claim *claim = job->claims[i];
        const char *from = claim->place != NULL ? claim->place : job->options->signature;
        bool is_signature = claim->fingerprint[0] != '\0' && is_at(at, proof->name, from);
        bool is_statement =
            claim->provenance_file.length > 0 && is_at(at, proof->name, claim->provenance);
        found = found || (proof->is_signature ? is_signature : is_statement);
    }
    return found;
}

/* Where signatures lie, and nothing that anybody loads: by its name, or since the rule says so. */
static hm_status is_signature_place(const hm_verification *job, const place *at, const char *name,
                                    bool *found, hm_error **error) {
    static const char suffix[] = ".sig";
    const hm_texts *places = job->rule != NULL ? &job->rule->signatures : NULL;
    size_t length = strlen(name);
    bool last = false;
    hm_status status = HM_OK;
    *found = length >= sizeof suffix && strcmp(name + length - (sizeof suffix - 1), suffix) == 0;
    for (size_t i = 0; places != NULL && i < places->count && status == HM_OK && !*found; i++) {
        hm_auto_free char *path = NULL;
        status = hm_rule_place(&at->model, places->list[i], at->model.name, &path, error);
        *found = status == HM_OK && is_at(at, name, path);
    }
    for (size_t i = 0; !last && status == HM_OK && !*found; i++) {
        hm_auto_free char *path = NULL;
        status = hm_claim_default_place(job, i, &path, &last, error);
        *found = status == HM_OK && is_at(at, name, path);
    }
    return status;
}

static const hm_claim *find_withdrawn(const hm_verification *job, const place *at,
                                      const hm_stored_proof *proof) {
    for (size_t i = 0; i < job->claim_count; i++) {
        if (job->claims[i]->withdrawn && is_at(at, proof->name, job->claims[i]->place)) {
            return job->claims[i];
        }
    }
    return NULL;
}

/*
 * A signature that was deployed among others, and whose key was withdrawn since: it counts no more,
 * and is no file from outside either. Whoever stole the key could make more of the kind, so it must
 * be the very file, in a place where nothing but a signature is looked for.
 */
static hm_status is_deployed(const hm_verification *job, const place *at,
                             const hm_stored_proof *proof, bool *deployed, hm_error **error) {
    const hm_claim *claim = proof->is_signature ? find_withdrawn(job, at, proof) : NULL;
    uint8_t digest[32];
    char hex[65];
    *deployed = false;
    if (claim == NULL) {
        return HM_OK;
    }
    hm_status status = hm_digest_bytes(HM_HASH_SHA256, hm_buf_view(&claim->file), digest, error);
    if (status != HM_OK) {
        return status;
    }
    hm_hex(digest, sizeof digest, hex);
    return strcmp(hex, proof->digest) == 0
               ? is_signature_place(job, at, proof->name, deployed, error)
               : HM_OK;
}

/* Where no signature is looked at, one may stay that was deployed, or a statement beside it. */
static hm_status is_set_aside(const hm_verification *job, const place *at, const hm_stored *version,
                              const hm_stored_proof *proof, bool *aside, hm_error **error) {
    hm_status status = HM_OK;
    *aside = false;
    for (size_t i = 0; i < version->proof_count && status == HM_OK && !*aside; i++) {
        const hm_stored_proof *signature = &version->proofs[i];
        hm_auto_free char *beside = NULL;
        if (signature->is_signature && !proof->is_signature) {
            status = hm_provenance_default_path(signature->name, &beside, error);
        }
        if (signature == proof || (beside != NULL && strcmp(beside, proof->name) == 0)) {
            status = signature->is_signature
                         ? is_signature_place(job, at, signature->name, aside, error)
                         : HM_OK;
        }
    }
    return status;
}

/* A signature of a single file, or of a set of files, says nothing of what lies beside them. */
static bool sees_all(const hm_verification *job) {
    bool found = false;
    for (size_t i = 0; i < job->claim_count; i++) {
        const hm_claim *claim = job->claims[i];
        found = found || (hm_claim_binds(claim) && !claim->promise.file_set);
    }
    return found && !job->model->is_file;
}

/*
 * What is listed as a signature need not be one. Where a comparison saw everything it found all
 * that are none, but for those of a withdrawn key.
 */
static hm_status refuse_unbelieved(const hm_verification *job, const place *at,
                                   const hm_stored *version, hm_error **error) {
    bool judged = job->options->signature != NULL || job->options->signature_count > 0;
    bool seen = sees_all(job);
    hm_status status = HM_OK;
    for (size_t i = 0; i < version->proof_count && status == HM_OK; i++) {
        const hm_stored_proof *proof = &version->proofs[i];
        bool passes = false;
        if (is_believed(job, at, proof) || (seen && find_withdrawn(job, at, proof) == NULL)) {
            continue;
        }
        status = judged ? is_deployed(job, at, proof, &passes, error)
                        : is_set_aside(job, at, version, proof, &passes, error);
        if (status == HM_OK && !passes) {
            status = hm_fail(error, HM_REFUSED, HM_REASON_EXTRA_FILE,
                             "%s in the version %s of %s is no signature that is believed",
                             proof->name, version->digest, at->path);
        }
    }
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* A rule that believes no signature must not be given any. */
static bool wants_signatures(const hm_policy *policy, const hm_slot *slot, const char *rule_path) {
    const hm_rule *rule =
        policy->path != NULL ? hm_policy_choose(policy, slot->name, rule_path) : NULL;
    return policy->path == NULL || (rule != NULL && rule->allowed != NULL);
}

static hm_status judge(hm_verification *job, const place *at, const hm_stored *version,
                       const hm_gate_options *options, hm_report *report, hm_error **error) {
    hm_claim *told = NULL;
    hm_operation operation = report->operation;
    hm_store_note store = report->store;
    report->store = (hm_store_note){.path = NULL};
    hm_status status = hm_verification_run(job, report, &told, error);
    report->operation = operation;
    report->store = store;
    if (status == HM_LET_THROUGH) {
        hm_auto_error cause = NULL;
        hm_status same =
            version->let_through
                ? recompute(at, version, options, report, &cause)
                : hm_fail(&cause, HM_REFUSED, HM_REASON_UNSIGNED,
                          "%s was deployed with a signature, and has none any more", at->path);
        if (same != HM_OK) {
            hm_error_free(error);
            return hm_error_move(error, &cause);
        }
        return status;
    }
    if (status == HM_OK) {
        status = hm_verify_provenances(job, told, report, error);
    }
    if (status != HM_OK) {
        return status;
    }
    return same_layout(&report->manifest, &version->manifest)
               ? compare_items(at, version, &report->manifest, report, error)
               : recompute(at, version, options, report, error);
}

hm_status hm_stored_verify(const hm_slot *slot, const hm_stored *version, const hm_policy *policy,
                           const hm_gate_options *options, hm_report *report, hm_error **error) {
    HM_CLEANUP(place_free) place at = {.model = {.fd = -1}};
    HM_CLEANUP(hm_verification_free) hm_verification job = {.policy = policy};
    hm_verify_options how = HM_VERIFY_OPTIONS_INIT;
    hm_auto_error cause = NULL;
    hm_status status = open_place(slot, version, &at, &cause);
    if (status == HM_OK) {
        status = open_file(&at, version, &cause);
    }
    how.flags = HM_VERIFY_STRICT_PATHS | HM_VERIFY_INCLUDE_GIT;
    how.jobs = options->jobs;
    how.progress = options->progress;
    how.progress_context = options->progress_context;
    if (status == HM_OK && at.proof_count > 0 && wants_signatures(policy, slot, at.rule_path)) {
        how.signature = at.proof_count == 1 || policy->path == NULL ? at.proofs[0] : NULL;
        how.signatures = how.signature == NULL ? (const char *const *)at.proofs : NULL;
        how.signature_count = how.signature == NULL ? at.proof_count : 0;
    }
    job.model = &at.model;
    job.options = &how;
    job.rule_name = slot->name;
    job.rule_path = at.rule_path;
    job.keeps_withdrawn = true;
    if (status == HM_OK) {
        status = judge(&job, &at, version, options, report, &cause);
    }
    if (status == HM_OK || status == HM_LET_THROUGH) {
        hm_auto_error extra = NULL;
        hm_status alone = refuse_extra(&at, version, report, &extra);
        if (alone == HM_OK) {
            alone = refuse_unbelieved(&job, &at, version, &extra);
        }
        if (alone != HM_OK) {
            return hm_error_move(error, &extra);
        }
    }
    return status == HM_OK ? HM_OK : hm_error_move(error, &cause);
}
