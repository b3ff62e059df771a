/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signature file -> envelope -> (policy: whose key? signature good?) -> manifest promised
 * path -> tree -> digest -> manifest found; promised against found -> report
 */
#include "verify.h"

#include "collect.h"
#include "compare.h"
#include "provenance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERIFY_FLAGS                                                                               \
    (HM_VERIFY_IGNORE_UNSIGNED | HM_VERIFY_FAIL_FAST | HM_VERIFY_STRICT_PATHS |                    \
     HM_VERIFY_INCLUDE_GIT)

static void claim_free(hm_claim *claim) {
    hm_buf_free(&claim->file);
    hm_envelope_free(&claim->envelope);
    hm_promise_free(&claim->promise);
    hm_ignore_free(&claim->ignore);
    hm_tree_free(&claim->tree);
    hm_manifest_free(&claim->found);
    free(claim->provenance);
    hm_buf_free(&claim->provenance_file);
    free(claim->signed_name);
    free(claim->place);
    free(claim->wanted);
    free(claim->states);
    hm_report_free(&claim->report);
    hm_error_free(&claim->error);
    free(claim);
}

void hm_verification_free(hm_verification *job) {
    for (size_t i = 0; i < job->claim_count; i++) {
        claim_free(job->claims[i]);
    }
    free(job->claims);
}

/* Only a claim that has its report is among the job's. */
hm_status hm_claim_new(hm_verification *job, hm_claim **claim, hm_error **error) {
    hm_claim *made = hm_alloc(1, sizeof(*made));
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_report_new(HM_OPERATION_VERIFY, job->model->path, &made->report, error);
    if (status == HM_OK &&
        !hm_grow(&job->claims, job->claim_count, &job->claim_capacity, sizeof(hm_claim *))) {
        status = hm_fail_memory(error);
    }
    if (status != HM_OK) {
        claim_free(made);
        return status;
    }
    made->job = job;
    made->status = HM_UNDECIDED;
    job->claims[job->claim_count++] = made;
    *claim = made;
    return HM_OK;
}

/* ---- the signature file ---------------------------------------------------------------------- */

/* -1 with errno; a pipe or device in the signature's place must not make us wait. */
static int open_signature(const char *path) {
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

hm_status hm_claim_default_place(const hm_verification *job, size_t index, char **path, bool *last,
                                 hm_error **error) {
    const hm_model *model = job->model;
    const hm_format *demanded = job->policy->format;
    *last = index > 0 && hm_format_at(index - 1) == NULL;
    if (index == 0) {
        return demanded != NULL && !demanded->hashes
                   ? HM_OK
                   : hm_format_shards_path(model->path, !model->is_file, path, error);
    }
    const hm_format *format = hm_format_at(index - 1);
    return !*last && (format->directories || model->is_file)
               ? hm_format_default_path(format, model->path, !model->is_file, path, error)
               : HM_OK;
}

/*
 * The default places in turn: the first that is there. Of two signatures that is the one of shards,
 * which is much faster to verify, and whether it is good or not: nothing falls back to another.
 */
static hm_status find_signature(hm_claim *claim, int *fd, char **path, hm_error **error) {
    bool last = false;
    for (size_t i = 0; !last; i++) {
        hm_auto_free char *place = NULL;
        hm_status status = hm_claim_default_place(claim->job, i, &place, &last, error);
        if (status != HM_OK) {
            return status;
        }
        if (place == NULL) {
            continue;
        }
        *fd = open_signature(place);
        bool there = *fd >= 0 || errno != ENOENT;
        int saved = errno;
        free(*path);
        *path = place;
        place = NULL;
        errno = saved;
        if (there) {
            return HM_OK;
        }
    }
    return HM_OK;
}

static hm_status refuse_unsigned(hm_claim *claim, const char *path, bool named, hm_error **error) {
    hm_status status;
    claim->absent = true;
    if (named) {
        status =
            hm_fail(error, HM_REFUSED, HM_REASON_UNSIGNED, "there is no signature at %s", path);
    } else {
        status = hm_fail(error, HM_REFUSED, HM_REASON_UNSIGNED,
                         "the model %s is not signed: there is no signature in any default place",
                         claim->job->model->path);
    }
    if (claim->job->rule == NULL) {
        hm_error_add_hint(error, "if its signature lies elsewhere, name it with --signature");
    }
    return status;
}

static hm_status read_opened(hm_claim *claim, int fd, const char *path, hm_error **error) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return hm_fail_errno(error, errno, "cannot read the signature %s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "the signature %s is not a regular file", path);
    }
    claim->regular = true;
    claim->report->signature_path = hm_strdup(path);
    if (claim->report->signature_path == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_read_fd(fd, path, HM_SIGNATURE_FILE_LIMIT, &claim->file, error);
    return status == HM_OK
               ? hm_envelope_parse(hm_buf_view(&claim->file), path, &claim->envelope, error)
               : status;
}

hm_status hm_claim_read(hm_claim *claim, const char *named, hm_error **error) {
    hm_auto_fd fd = -1;
    hm_auto_free char *path = NULL;
    hm_status status = HM_OK;
    if (named != NULL) {
        path = hm_strdup(named);
        fd = path != NULL ? open_signature(path) : -1;
    } else {
        status = find_signature(claim, &fd, &path, error);
    }
    int cause = errno;
    if (status != HM_OK || path == NULL) {
        return status != HM_OK ? status : hm_fail_memory(error);
    }
    if (fd < 0) {
        return cause == ENOENT || cause == ENOTDIR
                   ? refuse_unsigned(claim, path, named != NULL, error)
                   : hm_fail_errno(error, cause, "cannot open the signature %s", path);
    }
    return read_opened(claim, fd, path, error);
}

/* ---- what it promises ------------------------------------------------------------------------ */

static hm_status judge_envelope(const hm_verification *job, const hm_envelope *envelope,
                                int64_t now, hm_signer_identity *who, hm_error **error) {
    return job->rule != NULL ? hm_rule_judge(job->policy, job->rule, envelope, now, who, error)
                             : hm_trust_judge(job->policy, envelope, now, who, error);
}

/* Where the statement that belongs to a good signature lies, if there is one. */
static hm_status place_provenance(hm_claim *claim, hm_error **error) {
    const char *given = claim->job->options->provenance;
    if (given == NULL) {
        return hm_provenance_default_path(claim->report->signature_path, &claim->provenance, error);
    }
    claim->provenance = hm_strdup(given);
    return claim->provenance != NULL ? HM_OK : hm_fail_memory(error);
}

hm_status hm_claim_believe(hm_claim *claim, hm_error **error) {
    hm_report *report = claim->report;
    report->format = claim->envelope.format;
    hm_status status =
        judge_envelope(claim->job, &claim->envelope, report->time, &report->signer, error);
    report->has_signer = status == HM_OK;
    claim->withdrawn = status == HM_REFUSED && report->signer.genuine;
    if (status != HM_OK) {
        return status;
    }
    memcpy(claim->fingerprint, report->signer.fingerprint, sizeof(claim->fingerprint));
    for (size_t i = 0; i < report->signer.warning_count && status == HM_OK; i++) {
        status = hm_report_add_warning(report, error, "%s", report->signer.warnings[i]);
    }
    if (status == HM_OK) {
        status = hm_envelope_promise(&claim->envelope, &claim->promise, error);
    }
    if (status != HM_OK) {
        return status;
    }
    status = place_provenance(claim, error);
    if (status != HM_OK) {
        return status;
    }
    status = hm_report_compare_version(report, "the signature", claim->promise.key_version,
                                       report->signer.key_version, error);
    if (status != HM_OK) {
        return status;
    }
    report->stated = claim->promise.stated;
    claim->promise.stated = (hm_statements){0};
    report->claimed = claim->envelope.claimed;
    claim->envelope.claimed = (hm_statements){0};
    return HM_OK;
}

static hm_status refuse_symlinks(hm_claim *claim, hm_error **error) {
    if (!claim->promise.allow_symlinks) {
        return HM_OK;
    }
    const hm_verification *job = claim->job;
    uint64_t allow = job->rule != NULL ? job->rule->allow : job->policy->allow;
    if ((allow & HM_ALLOW_SYMLINKS) != 0) {
        return hm_report_add_warning(claim->report, error,
                                     "the signature was made through symbolic links; let pass");
    }
    hm_status status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                               "the signature was made through symbolic links");
    if (job->rule == NULL) {
        hm_error_add_hint(error, "--allow-symlinks accepts links to files inside the model");
    }
    return status;
}

static hm_status refuse_shape(const hm_claim *claim, hm_error **error) {
    const hm_model *model = claim->job->model;
    if (claim->promise.file_set && model->is_file) {
        hm_status status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                                   "the signature is a bundle manifest of several files, and %s "
                                   "is a file",
                                   model->path);
        hm_error_add_hint(error, "name the directory that holds the files");
        return status;
    }
    if (claim->promise.file_only && !model->is_file) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                       "the signature is of a single file, and %s is a directory", model->path);
    }
    return HM_OK;
}

/*
 * A single file answers to the name that the signature gives it: its own, or the one the caller
 * expects. Otherwise one signed file could be passed off as another.
 */
static hm_status name_single_file(hm_claim *claim, hm_error **error) {
    const hm_model *model = claim->job->model;
    hm_manifest *manifest = &claim->promise.manifest;
    const char *expected = claim->job->options->expected_name != NULL
                               ? claim->job->options->expected_name
                               : model->name;
    if (!model->is_file || manifest->count == 0) {
        return claim->job->options->expected_name == NULL || claim->job->rule != NULL
                   ? HM_OK
                   : hm_fail(error, HM_USAGE, HM_REASON_NONE,
                             "a name can be demanded of a single file, and %s is a directory",
                             model->path);
    }
    const char *promised = manifest->items[0].name;
    bool dot = claim->promise.single_dot;
    if (dot && claim->job->options->expected_name != NULL) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MISSING_FILE,
                       "the signature is of no file named %s: it signs no name", expected);
    }
    /* The caller's word counts, even where the file still has the name that was signed. */
    if (!dot && strcmp(promised, expected) != 0 && claim->job->options->expected_name != NULL) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MISSING_FILE,
                       "the signature is of a file named %s, not %s", promised, expected);
    }
    if (!dot && strcmp(promised, expected) != 0) {
        return hm_report_add_warning(claim->report, error,
                                     "the signature is of a file named %s; if this is that file "
                                     "under another name, say --name %s",
                                     promised, promised);
    }
    for (size_t i = 0; i < manifest->count; i++) {
        if (dot || strcmp(manifest->items[i].name, expected) == 0) {
            char *name = hm_strdup(model->name);
            if (name == NULL) {
                return hm_fail_memory(error);
            }
            free(claim->signed_name);
            claim->signed_name = manifest->items[i].name;
            manifest->items[i].name = name;
        }
    }
    const hm_item *twice;
    return hm_manifest_sort(manifest, &twice)
               ? HM_OK
               : hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "the signature lists \"%s\" twice",
                         twice->name);
}

/* What a signature leaves open is said along with what it proves. */
static hm_status warn_of_gaps(hm_claim *claim, hm_error **error) {
    hm_status status = HM_OK;
    if (claim->promise.names_unsigned || claim->promise.single_dot) {
        status = hm_report_add_warning(claim->report, error,
                                       "the signature covers content only: no file's name");
    }
    if (status == HM_OK && claim->promise.file_set) {
        status = hm_report_add_warning(claim->report, error,
                                       "the signature does not say that these files belong "
                                       "together, nor that none is left out");
    }
    return status;
}

/* ---- what is there --------------------------------------------------------------------------- */

/*
 * Whoever signed .git and its like wants them looked at; what was added there since would otherwise
 * pass for ignored.
 */
static bool signs_git(const hm_manifest *promised) {
    HM_CLEANUP(hm_ignore_free) hm_ignore git = {0};
    if (hm_ignore_add_git(&git, NULL) != HM_OK) {
        return true; /* without the rules nothing is ignored */
    }
    for (size_t i = 0; i < promised->count; i++) {
        if (hm_ignore_match(&git, promised->items[i].name) != NULL) {
            return true;
        }
    }
    return false;
}

/*
 * All signature files of one verification, each being content to the others. Only what was found to
 * be a file: the rule for a directory would cover whatever lies in it. Where every file counts, one
 * that nobody believed is content like any other.
 */
static hm_status ignore_signatures(hm_claim *claim, hm_error **error) {
    const hm_verification *job = claim->job;
    bool strict = (job->options->flags & HM_VERIFY_STRICT_PATHS) != 0 ||
                  (job->rule != NULL && job->rule->pin_kind != HM_PIN_NONE);
    hm_status status = HM_OK;
    for (size_t i = 0; i < job->claim_count && status == HM_OK; i++) {
        hm_auto_free char *relative = NULL;
        const hm_claim *other = job->claims[i];
        bool believed = other->fingerprint[0] != '\0' || (job->keeps_withdrawn && other->withdrawn);
        if (other->regular && other->report->signature_path != NULL && (believed || !strict)) {
            status = hm_model_relative(job->model, other->report->signature_path, &relative, error);
        }
        if (status == HM_OK && relative != NULL) {
            status = hm_ignore_add(&claim->ignore, relative, HM_IGNORED_SIGNATURE, error);
        }
    }
    return status;
}

/* Whether the file is a signature that would be believed like the one that is being verified. */
static hm_status is_believed(const hm_claim *claim, const char *name, bool *believed,
                             hm_error **error) {
    HM_CLEANUP(hm_envelope_free) hm_envelope envelope = {0};
    HM_CLEANUP(hm_signer_identity_free) hm_signer_identity who = {.name = NULL};
    hm_auto_buf file = {0};
    hm_auto_error cause = NULL;
    struct stat st;
    hm_auto_fd fd =
        hm_open_beneath(claim->job->model->fd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, false);
    *believed = false;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return HM_OK; /* whatever it is, it is looked at like any other file */
    }
    hm_status status = hm_read_fd(fd, name, HM_SIGNATURE_FILE_LIMIT, &file, &cause);
    if (status == HM_OK) {
        status = hm_envelope_parse(hm_buf_view(&file), name, &envelope, &cause);
    }
    if (status == HM_OK) {
        status = judge_envelope(claim->job, &envelope, claim->report->time, &who, &cause);
    }
    *believed = status == HM_OK;
    return status == HM_OK || status == HM_REFUSED ? HM_OK : hm_error_move(error, &cause);
}

/*
 * Of two signatures that were made together each knows the other's place. Strict paths leave that
 * be in the default places, or they would refuse every such model; but only a signature that is
 * believed, or whatever was put there would pass for one.
 */
static hm_status ignore_other_signature(hm_claim *claim, hm_error **error) {
    static const char *const names[] = {"model.sig", "model.shards.sig"};
    hm_status status = HM_OK;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && status == HM_OK; i++) {
        bool believed = false;
        if (claim->job->model->is_file ||
            hm_ignore_match(&claim->promise.ignore, names[i]) == NULL) {
            continue;
        }
        status = is_believed(claim, names[i], &believed, error);
        if (status == HM_OK && believed) {
            status = hm_ignore_add(&claim->ignore, names[i], HM_IGNORED_SIGNATURE, error);
        }
    }
    return status;
}

/*
 * The statements beside all signatures. Whatever lies there is verified by itself in the end, or
 * the model is refused: so it is no hole in what is looked at.
 */
static hm_status ignore_provenances(hm_claim *claim, hm_error **error) {
    const hm_verification *job = claim->job;
    hm_status status = HM_OK;
    for (size_t i = 0; i < job->claim_count && status == HM_OK; i++) {
        status = hm_collect_ignore_file(job->model, job->claims[i]->provenance,
                                        HM_IGNORED_PROVENANCE, &claim->ignore, error);
    }
    return status;
}

static hm_status gather_ignore(hm_claim *claim, hm_error **error) {
    const hm_verify_options *options = claim->job->options;
    bool git = claim->promise.git_ignored && (options->flags & HM_VERIFY_INCLUDE_GIT) == 0 &&
               !signs_git(&claim->promise.manifest);
    hm_status status = git ? hm_ignore_add_git(&claim->ignore, error) : HM_OK;
    if (status == HM_OK) {
        status = ignore_signatures(claim, error);
    }
    if (status == HM_OK) {
        status = ignore_provenances(claim, error);
    }
    if ((options->flags & HM_VERIFY_STRICT_PATHS) != 0) {
        return status == HM_OK ? ignore_other_signature(claim, error) : status;
    }
    for (size_t i = 0; i < claim->promise.ignore.count && status == HM_OK; i++) {
        status = hm_ignore_add(&claim->ignore, claim->promise.ignore.rules[i].path,
                               HM_IGNORED_SIGNED, error);
    }
    return status == HM_OK
               ? hm_collect_ignore(options->ignore, options->ignore_count, &claim->ignore, error)
               : status;
}

/*
 * A name that the signature lists is looked at even where an ignore rule covers it, so that no
 * rule makes a hole in what was signed. A file set stands among other files: only its own count.
 */
static hm_status add_promised(hm_claim *claim, hm_error **error) {
    const hm_manifest *promised = &claim->promise.manifest;
    hm_status status = HM_OK;
    for (size_t i = 0; i < promised->count && status == HM_OK; i++) {
        const char *name = promised->items[i].name;
        bool again = i > 0 && strcmp(name, promised->items[i - 1].name) == 0;
        if (!again && (claim->promise.file_set || hm_ignore_match(&claim->ignore, name) != NULL)) {
            status = hm_tree_add(&claim->tree, name, error);
        }
    }
    hm_tree_sort(&claim->tree);
    return status;
}

hm_status hm_claim_find_files(hm_claim *claim, hm_error **error) {
    bool follow = claim->promise.allow_symlinks;
    hm_status status = gather_ignore(claim, error);
    if (status != HM_OK) {
        return status;
    }
    if (claim->promise.file_set) {
        claim->tree = (hm_tree){.model = claim->job->model};
    } else {
        status = hm_tree_walk(claim->job->model, &claim->ignore, follow, &claim->tree, error);
    }
    claim->tree.copy = claim->job->copy;
    if (status == HM_OK && !claim->job->model->is_file) {
        status = add_promised(claim, error);
    }
    claim->wanted = hm_alloc(claim->tree.count, sizeof(bool));
    claim->states = hm_alloc(claim->tree.count, sizeof(hm_file_state));
    if (claim->wanted == NULL || claim->states == NULL) {
        return hm_fail_memory(error);
    }
    return status == HM_OK ? hm_report_add_holes(claim->report, &claim->tree, error) : status;
}

/* ---- promised against found ---------------------------------------------------------------- */

static bool same_layout(const hm_manifest *found, const hm_measure_options *options) {
    return found->count > 0 && found->method == options->method && found->hash == options->hash &&
           (found->method == HM_METHOD_FILES || found->shard_size == options->shard_size);
}

/* The file as this claim's walk saw it is the one that was read for the other. */
static bool same_state(const hm_entry *a, const hm_entry *b) {
    return a->kind == b->kind && a->size == b->size && a->device == b->device &&
           a->inode == b->inode && a->mtime_sec == b->mtime_sec && a->mtime_nsec == b->mtime_nsec &&
           a->ctime_sec == b->ctime_sec && a->ctime_nsec == b->ctime_nsec;
}

static bool was_read(const hm_claim *other, const hm_entry *entry) {
    const hm_entry *theirs = hm_tree_find(&other->tree, entry->name);
    size_t index = theirs != NULL ? (size_t)(theirs - other->tree.entries) : 0;
    return theirs != NULL && other->wanted != NULL && other->wanted[index] &&
           other->states[index] == HM_FILE_READ && same_state(theirs, entry);
}

static hm_status copy_items(const hm_manifest *from, const char *name, hm_manifest *to,
                            hm_error **error) {
    hm_status status = HM_OK;
    for (const hm_item *item = hm_manifest_find(from, name, 0);
         item != NULL && item < from->items + from->count && strcmp(item->name, name) == 0 &&
         status == HM_OK;
         item++) {
        status =
            hm_manifest_add(to, name, strlen(name), item->start, item->end, item->digest, error);
    }
    return status;
}

/* Marks in `reused` what need not be read, and takes its digests over. */
static hm_status reuse(hm_claim *claim, const hm_measure_options *options, bool *reused,
                       hm_manifest *known, hm_error **error) {
    const hm_verification *job = claim->job;
    hm_status status = HM_OK;
    *known = (hm_manifest){.method = options->method, .hash = options->hash};
    for (size_t c = 0; c < job->claim_count && status == HM_OK; c++) {
        const hm_claim *other = job->claims[c];
        if (!other->measured || !same_layout(&other->found, options)) {
            continue;
        }
        for (size_t i = 0; i < claim->tree.count && status == HM_OK; i++) {
            const hm_entry *entry = &claim->tree.entries[i];
            if (claim->wanted[i] && !reused[i] && was_read(other, entry)) {
                reused[i] = true;
                status = copy_items(&other->found, entry->name, known, error);
            }
        }
    }
    return status;
}

/* Moves the items of `from` behind those of `to`. */
static hm_status append(hm_manifest *to, hm_manifest *from, hm_error **error) {
    const hm_item *twice;
    for (size_t i = 0; i < from->count; i++) {
        if (!hm_grow(&to->items, to->count, &to->capacity, sizeof(hm_item))) {
            return hm_fail_memory(error);
        }
        to->items[to->count++] = from->items[i];
        from->items[i].name = NULL;
    }
    return hm_manifest_sort(to, &twice)
               ? HM_OK
               : hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s was digested twice", twice->name);
}

hm_status hm_claim_measure(hm_claim *claim, const hm_measure_options *options, hm_error **error) {
    const hm_reader *reader = claim->job->reader;
    if (reader != NULL) {
        return reader->measure(reader->context, claim, options, error);
    }
    HM_CLEANUP(hm_manifest_free) hm_manifest known = {0};
    hm_auto_free bool *reused = hm_alloc(claim->tree.count, sizeof(bool));
    hm_auto_free bool *to_read = hm_alloc(claim->tree.count, sizeof(bool));
    if (reused == NULL || to_read == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = reuse(claim, options, reused, &known, error);
    for (size_t i = 0; i < claim->tree.count; i++) {
        to_read[i] = claim->wanted[i] && !reused[i];
    }
    if (status == HM_OK) {
        const hm_known_digests *proven = claim->job->known;
        hm_measure_options how = *options;
        how.known = proven != NULL ? proven->find(proven->context, &claim->tree, options) : NULL;
        status =
            hm_manifest_measure(&claim->tree, to_read, &how, &claim->found, claim->states, error);
    }
    for (size_t i = 0; i < claim->tree.count && status == HM_OK; i++) {
        bool spared = to_read[i] && claim->states[i] == HM_FILE_SPARED;
        claim->states[i] = reused[i] || spared ? HM_FILE_READ : claim->states[i];
    }
    if (status == HM_OK && known.count > 0) {
        status = append(&claim->found, &known, error);
    }
    claim->measured = status == HM_OK;
    return status;
}

static hm_status read_and_compare(hm_claim *claim, hm_comparison *comparison, hm_error **error) {
    const hm_verify_options *options = claim->job->options;
    bool fail_fast = (options->flags & HM_VERIFY_FAIL_FAST) != 0;
    hm_measure_options measure = {
        .method = claim->promise.manifest.method,
        .hash = claim->promise.manifest.hash,
        .shard_size = claim->promise.manifest.shard_size,
        .jobs = options->jobs,
        .promised = fail_fast ? &claim->promise.manifest : NULL,
        .stop_on_change = fail_fast,
        .progress = options->progress,
        .progress_context = options->progress_context,
    };
    hm_auto_error cause = NULL;
    hm_status status = hm_claim_measure(claim, &measure, &cause);
    if (status == HM_USAGE) { /* the signature chose the shards, not the caller */
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED, "%s", hm_error_message(cause));
    }
    return status == HM_OK ? hm_compare_manifests(comparison, error) : hm_error_move(error, &cause);
}

hm_status hm_claim_compare_files(hm_claim *claim, hm_error **error) {
    const hm_verify_options *options = claim->job->options;
    hm_comparison comparison = {
        .promise = &claim->promise,
        .tree = &claim->tree,
        .wanted = claim->wanted,
        .states = claim->states,
        .found = &claim->found,
        .signed_name = claim->signed_name,
        .report = claim->report,
        .ignore_unsigned = (options->flags & HM_VERIFY_IGNORE_UNSIGNED) != 0,
        .strict_paths = (options->flags & HM_VERIFY_STRICT_PATHS) != 0,
    };
    bool later = claim->job->reader != NULL;
    bool stops = later || (options->flags & HM_VERIFY_FAIL_FAST) != 0;
    hm_status status = hm_compare_trees(&comparison, error);
    if (status != HM_OK || (stops && claim->report->finding_count > 0)) {
        return status;
    }
    return later ? hm_compare_sizes(&comparison, error)
                 : read_and_compare(claim, &comparison, error);
}

static hm_status refuse_findings(const hm_report *report, hm_error **error) {
    size_t counts[HM_REASON_ROLLBACK + 1] = {0};
    for (size_t i = 0; i < report->finding_count; i++) {
        counts[report->findings[i].reason]++;
    }
    static const hm_reason gravest[] = {
        HM_REASON_PINNED_DIGEST_MISMATCH, HM_REASON_DIGEST_MISMATCH,
        HM_REASON_MISSING_FILE,           HM_REASON_EXTRA_FILE,
        HM_REASON_CHANGED_WHILE_READING,
    };
    hm_reason reason = report->findings[0].reason;
    for (size_t i = sizeof(gravest) / sizeof(gravest[0]); i-- > 0;) {
        reason = counts[gravest[i]] > 0 ? gravest[i] : reason;
    }
    hm_status status =
        hm_fail(error, HM_REFUSED, reason,
                "%s is not what was signed: %zu changed, %zu missing, %zu extra",
                report->model_path,
                counts[HM_REASON_DIGEST_MISMATCH] + counts[HM_REASON_CHANGED_WHILE_READING],
                counts[HM_REASON_MISSING_FILE], counts[HM_REASON_EXTRA_FILE]);
    hm_error_add_hint(error, "do not load it; fetch it again from where it was signed");
    return status;
}

hm_status hm_claim_compare(hm_claim *claim, hm_error **error) {
    hm_status status = refuse_symlinks(claim, error);
    if (status == HM_OK) {
        status = refuse_shape(claim, error);
    }
    if (status == HM_OK) {
        status = name_single_file(claim, error);
    }
    if (status == HM_OK) {
        status = warn_of_gaps(claim, error);
    }
    if (status == HM_OK) {
        status = hm_claim_find_files(claim, error);
    }
    if (status == HM_OK) {
        status = hm_claim_compare_files(claim, error);
    }
    return status == HM_OK && claim->report->finding_count > 0
               ? refuse_findings(claim->report, error)
               : status;
}

/* ---- the verb -------------------------------------------------------------------------------- */

/* By a policy that was made by calls: one signature, by anybody it believes. */
static hm_status verify_by_signature(hm_verification *job, hm_claim **told, hm_error **error) {
    hm_status status = hm_claim_new(job, told, error);
    if (status == HM_OK) {
        status = hm_claim_read(*told, job->options->signature, error);
    }
    if (status == HM_OK) {
        status = hm_claim_believe(*told, error);
    }
    return status == HM_OK ? hm_claim_compare(*told, error) : status;
}

bool hm_claim_binds(const hm_claim *claim) {
    bool by_file = claim->job->rule != NULL;
    return by_file ? claim->counted || (claim->pinned && claim->status == HM_OK) : true;
}

hm_status hm_verification_check(const char *function, const hm_model *model,
                                const hm_policy *policy, const hm_verify_options *options,
                                hm_error **error) {
    hm_status status = hm_check_options(function, options->size, sizeof(*options), options->flags,
                                        VERIFY_FLAGS, error);
    if (status == HM_OK && (model == NULL || policy == NULL)) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "there is no model or no policy");
    }
    if (status == HM_OK && options->ignore_count > 0 &&
        (options->flags & HM_VERIFY_STRICT_PATHS) != 0) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "strict paths leave no room for paths to ignore");
    }
    if (status == HM_OK && options->signature_count > 0 &&
        (options->signature != NULL || policy->path == NULL)) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "several signatures are for policy files, and in place of one");
    }
    return status;
}

hm_status hm_verification_run(hm_verification *job, hm_report *report, hm_claim **told,
                              hm_error **error) {
    HM_CLEANUP(hm_policy_note_free) hm_policy_note note = {.file = NULL};
    *told = NULL;
    hm_status status = job->policy->path == NULL ? verify_by_signature(job, told, error)
                                                 : hm_verify_by_rule(job, &note, told, error);
    if (*told != NULL) {
        hm_report_swap(report, (*told)->report);
    }
    report->policy = note;
    note = (hm_policy_note){.file = NULL};
    report->jobs = job->options->jobs;
    report->read_later = job->reader != NULL;
    return status == HM_OK
               ? hm_report_take_manifest(report, &(*told)->found, HM_OMS_ORDER_NAME, error)
               : status;
}

static hm_status run(hm_verification *job, hm_report *report, hm_error **error) {
    hm_claim *told;
    hm_status status = hm_verification_run(job, report, &told, error);
    return status == HM_OK ? hm_verify_provenances(job, told, report, error) : status;
}

hm_status hm_verify(hm_model *model, const hm_policy *policy, const hm_verify_options *options,
                    hm_report **report, hm_error **error) {
    static const hm_verify_options defaults = HM_VERIFY_OPTIONS_INIT;
    HM_CLEANUP(hm_verification_free) hm_verification job = {.model = model, .policy = policy};
    HM_CLEANUP(hm_report_free) hm_report *made = NULL;
    hm_auto_error local = NULL;
    hm_error **cause = error != NULL ? error : &local;
    job.options = options != NULL ? options : &defaults;
    if (report != NULL) {
        *report = NULL;
    }
    hm_status status = hm_verification_check("hm_verify", model, policy, job.options, cause);
    if (status == HM_OK) {
        status = hm_report_new(HM_OPERATION_VERIFY, model->path, &made, cause);
    }
    if (status == HM_OK) {
        status = run(&job, made, cause);
    }
    return hm_report_finish(&made, status, cause, report);
}
