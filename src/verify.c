/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signature file -> envelope -> (policy: whose key? signature good?) -> manifest promised
 * path -> tree -> digest -> manifest found; promised against found -> report
 */
#include "collect.h"
#include "compare.h"
#include "provenance.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERIFY_FLAGS                                                                               \
    (HM_VERIFY_IGNORE_UNSIGNED | HM_VERIFY_FAIL_FAST | HM_VERIFY_STRICT_PATHS |                    \
     HM_VERIFY_INCLUDE_GIT)

/* One verification in progress. Nothing of it outlives it: the next starts from nothing. */
typedef struct verify_job {
    const hm_model *model;
    const hm_policy *policy;
    const hm_verify_options *options;
    hm_buf file;
    hm_envelope envelope;
    hm_promise promise;
    hm_ignore ignore;
    hm_tree tree;
    hm_manifest found;
    char *provenance;      /* where the provenance statement is looked for */
    char *signed_name;     /* of a single file that has another now */
    bool *wanted;          /* per entry of the tree */
    hm_file_state *states; /* per entry of the tree */
    hm_report *report;
} verify_job;

static void job_free(verify_job *job) {
    hm_buf_free(&job->file);
    hm_envelope_free(&job->envelope);
    hm_promise_free(&job->promise);
    hm_ignore_free(&job->ignore);
    hm_tree_free(&job->tree);
    hm_manifest_free(&job->found);
    free(job->provenance);
    free(job->signed_name);
    free(job->wanted);
    free(job->states);
    hm_report_free(&job->report);
}

/* ---- the signature file ---------------------------------------------------------------------- */

/* -1 with errno; a pipe or device in the signature's place must not make us wait. */
static int open_signature(const char *path) {
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

/* Default place `index` of a signature of the model; NULL behind the last, and where none is. */
static hm_status default_place(const verify_job *job, size_t index, char **path, hm_error **error) {
    const hm_model *model = job->model;
    const hm_format *demanded = job->policy->format;
    if (index == 0) {
        return demanded != NULL && !demanded->hashes
                   ? HM_OK
                   : hm_format_shards_path(model->path, !model->is_file, path, error);
    }
    const hm_format *format = hm_format_at(index - 1);
    return format->directories || model->is_file
               ? hm_format_default_path(format, model->path, !model->is_file, path, error)
               : HM_OK;
}

/*
 * The default places in turn: the first that is there. Of two signatures that is the one of shards,
 * which is much faster to verify, and whether it is good or not: nothing falls back to another.
 */
static hm_status find_signature(verify_job *job, int *fd, char **path, hm_error **error) {
    for (size_t i = 0; i == 0 || hm_format_at(i - 1) != NULL; i++) {
        hm_auto_free char *place = NULL;
        hm_status status = default_place(job, i, &place, error);
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

static hm_status refuse_unsigned(const verify_job *job, const char *path, hm_error **error) {
    hm_status status;
    if (job->options->signature != NULL) {
        status =
            hm_fail(error, HM_REFUSED, HM_REASON_UNSIGNED, "there is no signature at %s", path);
    } else {
        status = hm_fail(error, HM_REFUSED, HM_REASON_UNSIGNED,
                         "the model %s is not signed: there is no signature in any default place",
                         job->model->path);
    }
    hm_error_add_hint(error, "if its signature lies elsewhere, name it with --signature");
    return status;
}

static hm_status read_signature(verify_job *job, hm_error **error) {
    hm_auto_fd fd = -1;
    hm_auto_free char *path = NULL;
    hm_status status = HM_OK;
    if (job->options->signature != NULL) {
        path = hm_strdup(job->options->signature);
        fd = path != NULL ? open_signature(path) : -1;
    } else {
        status = find_signature(job, &fd, &path, error);
    }
    int cause = errno;
    if (status != HM_OK || path == NULL) {
        return status != HM_OK ? status : hm_fail_memory(error);
    }
    struct stat st;
    if (fd < 0) {
        return cause == ENOENT || cause == ENOTDIR
                   ? refuse_unsigned(job, path, error)
                   : hm_fail_errno(error, cause, "cannot open the signature %s", path);
    }
    if (fstat(fd, &st) != 0) {
        return hm_fail_errno(error, errno, "cannot read the signature %s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "the signature %s is not a regular file", path);
    }
    job->report->signature_path = hm_strdup(path);
    if (job->report->signature_path == NULL) {
        return hm_fail_memory(error);
    }
    status = hm_read_fd(fd, path, HM_SIGNATURE_FILE_LIMIT, &job->file, error);
    return status == HM_OK ? hm_envelope_parse(hm_buf_view(&job->file), path, &job->envelope, error)
                           : status;
}

/* ---- what it promises ------------------------------------------------------------------------ */

static hm_status believe(verify_job *job, hm_error **error) {
    hm_report *report = job->report;
    report->format = job->envelope.format;
    hm_status status =
        hm_trust_judge(job->policy, &job->envelope, report->time, &report->signer, error);
    report->has_signer = status == HM_OK;
    if (status != HM_OK) {
        return status;
    }
    for (size_t i = 0; i < report->signer.warning_count && status == HM_OK; i++) {
        status = hm_report_add_warning(report, error, "%s", report->signer.warnings[i]);
    }
    if (status == HM_OK) {
        status = hm_envelope_promise(&job->envelope, &job->promise, error);
    }
    if (status != HM_OK) {
        return status;
    }
    report->stated = job->promise.stated;
    job->promise.stated = (hm_statements){0};
    report->claimed = job->envelope.claimed;
    job->envelope.claimed = (hm_statements){0};
    return HM_OK;
}

static hm_status refuse_symlinks(verify_job *job, hm_error **error) {
    if (!job->promise.allow_symlinks) {
        return HM_OK;
    }
    if ((job->policy->allow & HM_ALLOW_SYMLINKS) != 0) {
        return hm_report_add_warning(job->report, error,
                                     "the signature was made through symbolic links; let pass");
    }
    hm_status status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                               "the signature was made through symbolic links");
    hm_error_add_hint(error, "--allow-symlinks accepts links to files inside the model");
    return status;
}

static hm_status refuse_shape(const verify_job *job, hm_error **error) {
    const hm_model *model = job->model;
    if (job->promise.file_set && model->is_file) {
        hm_status status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                                   "the signature is a bundle manifest of several files, and %s "
                                   "is a file",
                                   model->path);
        hm_error_add_hint(error, "name the directory that holds the files");
        return status;
    }
    if (job->promise.file_only && !model->is_file) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                       "the signature is of a single file, and %s is a directory", model->path);
    }
    return HM_OK;
}

/*
 * A single file answers to the name that the signature gives it: its own, or the one the caller
 * expects. Otherwise one signed file could be passed off as another.
 */
static hm_status name_single_file(verify_job *job, hm_error **error) {
    const hm_model *model = job->model;
    hm_manifest *manifest = &job->promise.manifest;
    const char *expected =
        job->options->expected_name != NULL ? job->options->expected_name : model->name;
    if (!model->is_file || manifest->count == 0) {
        return job->options->expected_name == NULL
                   ? HM_OK
                   : hm_fail(error, HM_USAGE, HM_REASON_NONE,
                             "a name can be demanded of a single file, and %s is a directory",
                             model->path);
    }
    const char *promised = manifest->items[0].name;
    bool dot = job->promise.single_dot;
    if (dot && job->options->expected_name != NULL) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MISSING_FILE,
                       "the signature is of no file named %s: it signs no name", expected);
    }
    /* The caller's word counts, even where the file still has the name that was signed. */
    if (!dot && strcmp(promised, expected) != 0 && job->options->expected_name != NULL) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MISSING_FILE,
                       "the signature is of a file named %s, not %s", promised, expected);
    }
    if (!dot && strcmp(promised, expected) != 0) {
        return hm_report_add_warning(job->report, error,
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
            free(job->signed_name);
            job->signed_name = manifest->items[i].name;
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
static hm_status warn_of_gaps(verify_job *job, hm_error **error) {
    hm_status status = HM_OK;
    if (job->promise.names_unsigned || job->promise.single_dot) {
        status = hm_report_add_warning(job->report, error,
                                       "the signature covers content only: no file's name");
    }
    if (status == HM_OK && job->promise.file_set) {
        status = hm_report_add_warning(job->report, error,
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
 * Of two signatures that were made together each knows the other's place. Strict paths leave that
 * be in the default places, or they would refuse every such model.
 */
static hm_status ignore_other_signature(verify_job *job, hm_error **error) {
    static const char *const names[] = {"model.sig", "model.shards.sig"};
    hm_status status = HM_OK;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && status == HM_OK; i++) {
        if (hm_ignore_match(&job->promise.ignore, names[i]) != NULL) {
            status = hm_ignore_add(&job->ignore, names[i], HM_IGNORED_SIGNATURE, error);
        }
    }
    return status;
}

/* It is verified by itself, or the model is refused: so it is no hole in what is looked at. */
static hm_status place_provenance(verify_job *job, hm_error **error) {
    if (job->options->provenance == NULL) {
        return hm_provenance_default_path(job->report->signature_path, &job->provenance, error);
    }
    job->provenance = hm_strdup(job->options->provenance);
    return job->provenance != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status gather_ignore(verify_job *job, hm_error **error) {
    const hm_verify_options *options = job->options;
    bool git = job->promise.git_ignored && (options->flags & HM_VERIFY_INCLUDE_GIT) == 0 &&
               !signs_git(&job->promise.manifest);
    hm_status status = git ? hm_ignore_add_git(&job->ignore, error) : HM_OK;
    if (status == HM_OK) {
        status = hm_collect_ignore_file(job->model, job->report->signature_path,
                                        HM_IGNORED_SIGNATURE, &job->ignore, error);
    }
    if (status == HM_OK) {
        status = hm_collect_ignore_file(job->model, job->provenance, HM_IGNORED_PROVENANCE,
                                        &job->ignore, error);
    }
    if ((options->flags & HM_VERIFY_STRICT_PATHS) != 0) {
        return status == HM_OK ? ignore_other_signature(job, error) : status;
    }
    for (size_t i = 0; i < job->promise.ignore.count && status == HM_OK; i++) {
        status = hm_ignore_add(&job->ignore, job->promise.ignore.rules[i].path, HM_IGNORED_SIGNED,
                               error);
    }
    return status == HM_OK
               ? hm_collect_ignore(options->ignore, options->ignore_count, &job->ignore, error)
               : status;
}

/*
 * A name that the signature lists is looked at even where an ignore rule covers it, so that no
 * rule makes a hole in what was signed. A file set stands among other files: only its own count.
 */
static hm_status add_promised(verify_job *job, hm_error **error) {
    const hm_manifest *promised = &job->promise.manifest;
    hm_status status = HM_OK;
    for (size_t i = 0; i < promised->count && status == HM_OK; i++) {
        const char *name = promised->items[i].name;
        bool again = i > 0 && strcmp(name, promised->items[i - 1].name) == 0;
        if (!again && (job->promise.file_set || hm_ignore_match(&job->ignore, name) != NULL)) {
            status = hm_tree_add(&job->tree, name, error);
        }
    }
    hm_tree_sort(&job->tree);
    return status;
}

static hm_status find_files(verify_job *job, hm_error **error) {
    bool follow = job->promise.allow_symlinks;
    hm_status status = place_provenance(job, error);
    if (status == HM_OK) {
        status = gather_ignore(job, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (job->promise.file_set) {
        job->tree = (hm_tree){.model = job->model};
    } else {
        status = hm_tree_walk(job->model, &job->ignore, follow, &job->tree, error);
    }
    if (status == HM_OK && !job->model->is_file) {
        status = add_promised(job, error);
    }
    job->wanted = hm_alloc(job->tree.count, sizeof(bool));
    job->states = hm_alloc(job->tree.count, sizeof(hm_file_state));
    if (job->wanted == NULL || job->states == NULL) {
        return hm_fail_memory(error);
    }
    return status == HM_OK ? hm_report_add_holes(job->report, &job->tree, error) : status;
}

/* ---- promised against found ---------------------------------------------------------------- */

static hm_status compare(verify_job *job, hm_error **error) {
    uint64_t flags = job->options->flags;
    hm_comparison comparison = {
        .promise = &job->promise,
        .tree = &job->tree,
        .wanted = job->wanted,
        .states = job->states,
        .found = &job->found,
        .signed_name = job->signed_name,
        .report = job->report,
        .ignore_unsigned = (flags & HM_VERIFY_IGNORE_UNSIGNED) != 0,
        .strict_paths = (flags & HM_VERIFY_STRICT_PATHS) != 0,
    };
    bool fail_fast = (flags & HM_VERIFY_FAIL_FAST) != 0;
    hm_status status = hm_compare_trees(&comparison, error);
    if (status != HM_OK || (fail_fast && job->report->finding_count > 0)) {
        return status;
    }
    hm_measure_options measure = {
        .method = job->promise.manifest.method,
        .hash = job->promise.manifest.hash,
        .shard_size = job->promise.manifest.shard_size,
        .jobs = job->options->jobs,
        .promised = fail_fast ? &job->promise.manifest : NULL,
        .stop_on_change = fail_fast,
        .progress = job->options->progress,
        .progress_context = job->options->progress_context,
    };
    hm_auto_error cause = NULL;
    status =
        hm_manifest_measure(&job->tree, job->wanted, &measure, &job->found, job->states, &cause);
    if (status == HM_USAGE) { /* the signature chose the shards, not the caller */
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED, "%s", hm_error_message(cause));
    }
    return status == HM_OK ? hm_compare_manifests(&comparison, error)
                           : hm_error_move(error, &cause);
}

static hm_status refuse_findings(const hm_report *report, hm_error **error) {
    size_t counts[HM_REASON_ROLLBACK + 1] = {0};
    for (size_t i = 0; i < report->finding_count; i++) {
        counts[report->findings[i].reason]++;
    }
    static const hm_reason gravest[] = {
        HM_REASON_DIGEST_MISMATCH,
        HM_REASON_MISSING_FILE,
        HM_REASON_EXTRA_FILE,
        HM_REASON_CHANGED_WHILE_READING,
    };
    hm_reason reason = report->findings[0].reason;
    for (size_t i = 4; i-- > 0;) {
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

static hm_status verify_provenance(const verify_job *job, hm_error **error) {
    const char *fingerprint = job->report->signer.fingerprint;
    const hm_provenance_query query = {
        .policy = job->policy,
        .path = job->provenance,
        .named = job->options->provenance != NULL,
        .fingerprints = &fingerprint,
        .fingerprint_count = 1,
        .signed_name = job->signed_name,
    };
    return hm_provenance_verify(&query, job->report, error);
}

static hm_status run(verify_job *job, hm_error **error) {
    hm_status status = read_signature(job, error);
    if (status == HM_OK) {
        status = believe(job, error);
    }
    if (status == HM_OK) {
        status = refuse_symlinks(job, error);
    }
    if (status == HM_OK) {
        status = refuse_shape(job, error);
    }
    if (status == HM_OK) {
        status = name_single_file(job, error);
    }
    if (status == HM_OK) {
        status = warn_of_gaps(job, error);
    }
    if (status == HM_OK) {
        status = find_files(job, error);
    }
    if (status == HM_OK) {
        status = compare(job, error);
    }
    if (status == HM_OK && job->report->finding_count > 0) {
        status = refuse_findings(job->report, error);
    }
    if (status == HM_OK) {
        status = hm_report_take_manifest(job->report, &job->found, HM_OMS_ORDER_NAME, error);
    }
    return status == HM_OK ? verify_provenance(job, error) : status;
}

static hm_status check_call(const hm_model *model, const hm_policy *policy,
                            const hm_verify_options *options, hm_error **error) {
    hm_status status = hm_check_options("hm_verify", options->size, sizeof(*options),
                                        options->flags, VERIFY_FLAGS, error);
    if (status == HM_OK && (model == NULL || policy == NULL)) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "there is no model or no policy");
    }
    if (status == HM_OK && options->ignore_count > 0 &&
        (options->flags & HM_VERIFY_STRICT_PATHS) != 0) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "strict paths leave no room for paths to ignore");
    }
    return status;
}

hm_status hm_verify(hm_model *model, const hm_policy *policy, const hm_verify_options *options,
                    hm_report **report, hm_error **error) {
    static const hm_verify_options defaults = HM_VERIFY_OPTIONS_INIT;
    HM_CLEANUP(job_free) verify_job job = {.model = model, .policy = policy};
    hm_auto_error local = NULL;
    hm_error **cause = error != NULL ? error : &local;
    job.options = options != NULL ? options : &defaults;
    if (report != NULL) {
        *report = NULL;
    }
    hm_status status = check_call(model, policy, job.options, cause);
    if (status == HM_OK) {
        status = hm_report_new(HM_OPERATION_VERIFY, model->path, &job.report, cause);
    }
    if (status == HM_OK) {
        job.report->jobs = job.options->jobs;
        status = run(&job, cause);
    }
    return hm_report_finish(&job.report, status, cause, report);
}
