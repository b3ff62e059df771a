/* SPDX-License-Identifier: Apache-2.0 */
/* path -> tree -> digest -> manifest -> statement -> envelope -> signature file */
#include "collect.h"
#include "parts.h"
#include "report.h"
#include "reuse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SIGN_FLAGS                                                                                 \
    (HM_SIGN_INCLUDE_GIT | HM_SIGN_FOLLOW_SYMLINKS | HM_SIGN_NAME_DOT | HM_SIGN_FILES_AND_SHARDS | \
     HM_SIGN_FILES)

/* A signature file to be written. */
typedef struct target {
    char *path;
    hm_write_rule rule;
    hm_buf file;
} target;

enum { SIGNATURE, SHARDS_SIGNATURE, TARGETS };

/* One signing in progress. */
typedef struct signing_job {
    hm_model *const *models;
    size_t count;
    hm_signer *signer;
    const hm_sign_options *options;
    const hm_format *format;
    hm_measure_options measure;
    target targets[TARGETS];
    size_t target_count;
    hm_buf metadata; /* as read from a file */
    hm_parts parts;
    hm_reuse reuse;
    hm_collection *collections;
    hm_signing *signings;
    hm_report *report;
} signing_job;

static void job_free(signing_job *job) {
    for (size_t i = 0; job->collections != NULL && i < job->count; i++) {
        hm_collection_free(&job->collections[i]);
    }
    free(job->collections);
    free(job->signings);
    for (size_t i = 0; i < TARGETS; i++) {
        free(job->targets[i].path);
        hm_buf_free(&job->targets[i].file);
    }
    hm_buf_free(&job->metadata);
    hm_parts_free(&job->parts);
    hm_reuse_free(&job->reuse);
    hm_report_free(&job->report);
}

/* ---- does what was asked fit together? ----------------------------------------------------- */

static hm_status find_format(signing_job *job, hm_error **error) {
    const char *name = job->options->format != NULL ? job->options->format : "oms";
    job->format = hm_format_find(name);
    if (job->format != NULL) {
        return HM_OK;
    }
    hm_auto_free char *names = hm_format_names();
    return hm_fail(error, HM_USAGE, HM_REASON_NONE, "the format \"%s\" is not known; use one of %s",
                   name, names != NULL ? names : "those in the manual");
}

static hm_status check_features(const signing_job *job, hm_error **error) {
    const hm_sign_options *options = job->options;
    bool hashing = options->hash != NULL && strcmp(options->hash, "sha256") != 0;
    if (options->shard_size > 0 && (options->flags & HM_SIGN_FILES) != 0) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "whole files and shards cannot both be asked for");
    }
    if (!job->format->hashes && (hashing || options->shard_size > 0)) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "the %s format always digests whole files with sha256", job->format->name);
    }
    if (!job->format->directories &&
        (options->ignore_count > 0 || (options->flags & ~HM_SIGN_FILES) != 0)) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "the %s format signs single files: there is nothing to ignore or follow",
                       job->format->name);
    }
    return HM_OK;
}

/* `oms` only: other formats have no shards. */
static hm_status check_both(signing_job *job, hm_error **error) {
    const hm_sign_options *options = job->options;
    bool both = (options->flags & HM_SIGN_FILES_AND_SHARDS) != 0;
    if (both && options->shard_size == 0) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "signatures of files and of shards need the size of a shard");
    }
    if (!both && options->shards_signature != NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "a place for the signature of the shards goes with signing both the files "
                       "and their shards");
    }
    job->target_count = both ? TARGETS : 1;
    job->measure.method = both ? HM_METHOD_FILES : job->measure.method;
    return HM_OK;
}

static hm_status check_models(const signing_job *job, hm_error **error) {
    if (job->count > 1 && !job->format->several) {
        hm_status status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                                   "the %s format signs one model at a time", job->format->name);
        hm_error_add_hint(error, "sign the directory that holds the files, or use "
                                 "--format manifest-json");
        return status;
    }
    if (job->count > 1 && job->options->signature == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "a signature of several models has no default place; name one");
    }
    for (size_t i = 0; i < job->count; i++) {
        if (!job->models[i]->is_file && !job->format->directories) {
            hm_status status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                                       "%s is a directory, and the %s format signs single files",
                                       job->models[i]->path, job->format->name);
            hm_error_add_hint(error, "use --format oms for directories");
            return status;
        }
    }
    return HM_OK;
}

/*
 * A signature of shards that an earlier signing left in its default place would be found before the
 * new signature, and speak of the model as it was.
 */
static hm_status refuse_stale(const signing_job *job, hm_error **error) {
    const hm_model *model = job->models[0];
    hm_auto_free char *path = NULL;
    struct stat st;
    hm_status status = hm_format_shards_path(model->path, !model->is_file, &path, error);
    if (status != HM_OK || lstat(path, &st) != 0) {
        return status;
    }
    status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                     "%s is there, and verification would take it for the signature", path);
    hm_error_add_hint(error, "remove it, or write both anew with --files --shards");
    return status;
}

static hm_status place_shards_signature(signing_job *job, hm_error **error) {
    const hm_model *model = job->models[0];
    char **path = &job->targets[SHARDS_SIGNATURE].path;
    if (job->options->shards_signature == NULL) {
        return hm_format_shards_path(model->path, !model->is_file, path, error);
    }
    *path = hm_strdup(job->options->shards_signature);
    return *path != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status place_signatures(signing_job *job, hm_error **error) {
    const hm_model *model = job->models[0];
    hm_auto_free char *usual = NULL;
    hm_status status =
        hm_format_default_path(job->format, model->path, !model->is_file, &usual, error);
    if (status != HM_OK) {
        return status;
    }
    const char *path = job->options->signature != NULL ? job->options->signature : usual;
    job->targets[SIGNATURE].path = hm_strdup(path);
    if (job->targets[SIGNATURE].path == NULL) {
        return hm_fail_memory(error);
    }
    if (job->target_count > 1) {
        return place_shards_signature(job, error);
    }
    return hm_same_place(path, usual) ? refuse_stale(job, error) : HM_OK;
}

/* Any file will do, a pipe from another program included. */
static hm_status read_metadata(signing_job *job, hm_error **error) {
    enum { METADATA_LIMIT = 16 << 20 };
    const char *path = job->options->metadata_file;
    if (path == NULL || job->options->metadata != NULL) {
        return HM_OK;
    }
    hm_auto_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return hm_fail_errno(error, errno, "cannot open the metadata %s", path);
    }
    hm_status status = hm_read_fd(fd, path, METADATA_LIMIT, &job->metadata, error);
    if (status == HM_OK && memchr(job->metadata.data, 0, job->metadata.length) != NULL) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "the metadata %s is not text", path);
    }
    return status;
}

static hm_status prepare(signing_job *job, hm_error **error) {
    hm_status status = find_format(job, error);
    if (status == HM_OK) {
        status =
            hm_collect_method(job->options->hash, job->options->shard_size, &job->measure, error);
    }
    if (status == HM_OK) {
        status = check_features(job, error);
    }
    if (status == HM_OK) {
        status = check_both(job, error);
    }
    if (status == HM_OK) {
        status = check_models(job, error);
    }
    return status == HM_OK ? place_signatures(job, error) : status;
}

/* ---- digests from elsewhere ---------------------------------------------------------------- */

static hm_status open_known(signing_job *job, hm_error **error) {
    const hm_sign_options *options = job->options;
    bool parts = options->parts_count > 0;
    bool reuse = options->reuse != NULL;
    if (!parts && !reuse) {
        return HM_OK;
    }
    if (parts && reuse) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "digests come from parts or from an old signature, not from both");
    }
    if (job->format != &hm_format_oms) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "the %s format digests the model itself: parts and old signatures are for "
                       "oms",
                       job->format->name);
    }
    if (job->target_count > 1) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "two signatures are made of what is read now: not from parts or from an old "
                       "signature");
    }
    return parts ? hm_parts_read(options->parts, options->parts_count, options, &job->parts,
                                 &job->measure, error)
                 : hm_reuse_open(options->reuse, job->targets[SIGNATURE].path, job->signer,
                                 &job->measure, &job->reuse, error);
}

static hm_known_source known_source(signing_job *job) {
    return job->options->parts_count > 0 ? (hm_known_source){&job->parts, hm_parts_find}
           : job->options->reuse != NULL ? (hm_known_source){&job->reuse, hm_reuse_find}
                                         : (hm_known_source){0};
}

/* What this run did not compute itself is said. */
static hm_status report_known(signing_job *job, hm_error **error) {
    hm_report *report = job->report;
    if (job->options->parts_count > 0) {
        report->known = HM_KNOWN_PARTS;
        report->known_files = report->file_count;
        report->known_bytes = report->byte_count;
        return hm_report_add_warning(report, error,
                                     "the digests are those of %zu parts and were not computed "
                                     "again; parts are not signed",
                                     job->parts.count);
    }
    if (job->options->reuse == NULL) {
        return HM_OK;
    }
    report->known = HM_KNOWN_SIGNATURE;
    report->known_files = job->reuse.files;
    report->known_bytes = job->reuse.bytes;
    if (job->reuse.doubt != NULL) {
        return hm_report_add_warning(report, error, "nothing was taken over from %s: %s",
                                     job->reuse.old_path, job->reuse.doubt);
    }
    return job->reuse.files == 0
               ? HM_OK
               : hm_report_add_warning(report, error,
                                       "the digests of %zu files are those of %s and were not "
                                       "computed again",
                                       job->reuse.files, job->reuse.old_path);
}

/* ---- what must not be written over --------------------------------------------------------- */

static hm_status refuse_target(const target *t, const char *what, hm_error **error) {
    hm_status status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s is %s, and is not written over",
                               t->path, what);
    hm_error_add_hint(error, "choose another place for the signature, or move it away first");
    return status;
}

static bool is_model(const signing_job *job, const struct stat *st) {
    for (size_t i = 0; i < job->count; i++) {
        const hm_model *model = job->models[i];
        if (model->is_file && st->st_dev == model->device && st->st_ino == model->inode) {
            return true;
        }
    }
    return false;
}

/* Whether the file is a signature of the kind that is about to be written, and of these models. */
static hm_status check_old_signature(const signing_job *job, const target *t, hm_error **error) {
    hm_auto_buf old = {0};
    HM_CLEANUP(hm_envelope_free) hm_envelope envelope = {0};
    hm_auto_error cause = NULL;
    hm_status status = hm_read_file(t->path, HM_SIGNATURE_FILE_LIMIT, &old, &cause);
    if (status == HM_OK) {
        status = hm_envelope_parse(hm_buf_view(&old), t->path, &envelope, &cause);
    }
    if (status == HM_UNDECIDED) {
        return hm_error_move(error, &cause);
    }
    if (status != HM_OK || envelope.format != job->format ||
        envelope.material == HM_MATERIAL_SIGSTORE) {
        return refuse_target(t, "not a signature file of this format", error);
    }
    return job->format->may_replace != NULL
               ? job->format->may_replace(hm_json_root(envelope.doc), job->signings, job->count,
                                          error)
               : HM_OK;
}

/*
 * What stands where the signature goes may only be an older signature: a path mistaken by one
 * letter must not cost a model.
 */
static hm_status check_target(const signing_job *job, target *t, hm_error **error) {
    struct stat st;
    if (lstat(t->path, &st) != 0) {
        t->rule = HM_WRITE_NEW;
        return errno == ENOENT ? HM_OK : hm_fail_errno(error, errno, "cannot look at %s", t->path);
    }
    t->rule = HM_WRITE_REPLACE;
    if (!S_ISREG(st.st_mode)) {
        return refuse_target(t, S_ISDIR(st.st_mode) ? "a directory" : "not a regular file", error);
    }
    return is_model(job, &st) ? refuse_target(t, "the model itself", error)
                              : check_old_signature(job, t, error);
}

static hm_status check_targets(signing_job *job, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < job->target_count && status == HM_OK; i++) {
        status = check_target(job, &job->targets[i], error);
    }
    if (status == HM_OK && job->target_count > 1 &&
        hm_same_place(job->targets[SIGNATURE].path, job->targets[SHARDS_SIGNATURE].path)) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "both signatures would be written to %s",
                         job->targets[SIGNATURE].path);
    }
    return status;
}

/* ---- what is to be signed -------------------------------------------------------------------- */

static void describe(const signing_job *job, size_t index) {
    const hm_model *model = job->models[index];
    const hm_sign_options *options = job->options;
    job->signings[index] = (hm_signing){
        .manifest = &job->collections[index].manifest,
        .subject_name = model->name,
        .model_path = model->path,
        .single_file = model->is_file,
        .name_dot = model->is_file && (options->flags & HM_SIGN_NAME_DOT) != 0,
        .allow_symlinks = (options->flags & HM_SIGN_FOLLOW_SYMLINKS) != 0,
        .ignore = &job->collections[index].ignore,
        .signer_id = options->signer_id,
        .key_version = options->key_version,
        .metadata = options->metadata != NULL ? options->metadata : (char *)job->metadata.data,
        .time = job->report->time,
    };
}

static hm_status describe_all(signing_job *job, hm_error **error) {
    job->collections = hm_alloc(job->count, sizeof(hm_collection));
    job->signings = hm_alloc(job->count, sizeof(hm_signing));
    if (job->collections == NULL || job->signings == NULL) {
        return hm_fail_memory(error);
    }
    if (job->report->time < 0) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the clock makes no sense");
    }
    hm_status status = HM_OK;
    for (size_t i = 0; i < job->count && status == HM_OK; i++) {
        describe(job, i);
        status = job->format->check(&job->signings[i], job->signer, error);
    }
    return status == HM_OK ? check_targets(job, error) : status;
}

static hm_status collect_all(signing_job *job, hm_error **error) {
    const hm_sign_options *options = job->options;
    hm_collect_options collect = {
        .measure = job->measure,
        .include_git = (options->flags & HM_SIGN_INCLUDE_GIT) != 0,
        .follow = (options->flags & HM_SIGN_FOLLOW_SYMLINKS) != 0,
        .ignore = options->ignore,
        .ignore_count = options->ignore_count,
        .signature = job->targets[SIGNATURE].path,
        .shards_signature = job->targets[SHARDS_SIGNATURE].path,
        .record = job->reuse.record,
        .known = known_source(job),
    };
    collect.measure.jobs = options->jobs;
    collect.measure.progress = options->progress;
    collect.measure.progress_context = options->progress_context;
    hm_status status = HM_OK;
    for (size_t i = 0; i < job->count && status == HM_OK; i++) {
        status = hm_collect(job->models[i], &collect, &job->collections[i], error);
    }
    return status;
}

/* ---- the file -------------------------------------------------------------------------------- */

static hm_status build_signature(signing_job *job, const hm_signing *signings, hm_buf *file,
                                 hm_error **error) {
    hm_status status =
        job->format->write(signings, job->count, job->count > 1, job->signer, file, error);
    if (status == HM_OK && file->length > HM_SIGNATURE_FILE_LIMIT) {
        status =
            hm_fail(error, HM_USAGE, HM_REASON_NONE,
                    "the signature would have %zu bytes, more than verifiers read", file->length);
        hm_error_add_hint(error, "use larger shards, or sign parts of the model by themselves");
    }
    return status;
}

static hm_status build_signatures(signing_job *job, hm_error **error) {
    hm_status status = build_signature(job, job->signings, &job->targets[SIGNATURE].file, error);
    if (status == HM_OK && job->target_count > 1) {
        hm_signing of_shards = job->signings[0];
        of_shards.manifest = &job->collections[0].shards;
        status = build_signature(job, &of_shards, &job->targets[SHARDS_SIGNATURE].file, error);
    }
    return status;
}

static hm_status write_signatures(signing_job *job, hm_error **error) {
    hm_new_file files[TARGETS];
    hm_status status = build_signatures(job, error);
    /* Once more, since hashing a model leaves time for somebody else to put a file there. */
    if (status == HM_OK) {
        status = check_targets(job, error);
    }
    for (size_t i = 0; i < job->target_count; i++) {
        const target *t = &job->targets[i];
        files[i] = (hm_new_file){t->path, hm_buf_view(&t->file), t->rule};
    }
    if (status == HM_OK) {
        status = hm_write_files(files, job->target_count, 0666, error);
    }
    return status == HM_OK && job->reuse.record != NULL
               ? hm_reuse_write(&job->reuse, hm_buf_view(&job->targets[SIGNATURE].file),
                                job->signer, error)
               : status;
}

static hm_status fill_signer(signing_job *job, hm_error **error) {
    hm_signer_identity *who = &job->report->signer;
    const hm_pubkey *key = job->signer->public_key;
    who->algorithm = hm_strdup(key->algorithm);
    who->scheme_text = hm_scheme_text(key, job->format->scheme);
    memcpy(who->fingerprint, key->fingerprint, sizeof(who->fingerprint));
    job->report->has_signer = true;
    if (who->algorithm == NULL) {
        return hm_fail_memory(error);
    }
    bool ec = key->type != HM_KEY_RSA && key->type != HM_KEY_ED25519;
    return ec || !job->format->ec_only
               ? HM_OK
               : hm_report_add_warning(job->report, error,
                                       "%s is an extension of the format; other tools may not "
                                       "read this signature",
                                       who->scheme_text);
}

static hm_status fill_report(signing_job *job, hm_error **error) {
    hm_report *report = job->report;
    hm_status status = fill_signer(job, error);
    for (size_t i = 0; i < job->count && status == HM_OK; i++) {
        status = hm_report_add_holes(report, &job->collections[i].tree, error);
    }
    hm_manifest *first = &job->collections[0].manifest;
    for (size_t i = 1; i < job->count && status == HM_OK; i++) {
        const hm_item *item = job->collections[i].manifest.items;
        status = hm_manifest_add(first, item->name, strlen(item->name), item->start, item->end,
                                 item->digest, error);
    }
    const hm_item *twice;
    (void)hm_manifest_sort(first, &twice);
    if (status == HM_OK) {
        status = hm_report_take_manifest(report, first, HM_OMS_ORDER_NAME, error);
    }
    return status == HM_OK ? report_known(job, error) : status;
}

static hm_status name_targets(signing_job *job, hm_error **error) {
    hm_report *report = job->report;
    report->format = job->format;
    report->jobs = job->options->jobs;
    report->signature_path = hm_strdup(job->targets[SIGNATURE].path);
    if (job->target_count > 1) {
        report->shards_path = hm_strdup(job->targets[SHARDS_SIGNATURE].path);
    }
    bool failed =
        report->signature_path == NULL || (job->target_count > 1 && report->shards_path == NULL);
    return failed ? hm_fail_memory(error) : HM_OK;
}

static hm_status run(signing_job *job, hm_error **error) {
    hm_status status = prepare(job, error);
    if (status == HM_OK) {
        status = read_metadata(job, error);
    }
    if (status == HM_OK) {
        status = name_targets(job, error);
    }
    if (status == HM_OK) {
        status = describe_all(job, error);
    }
    if (status == HM_OK) {
        status = open_known(job, error);
    }
    if (status == HM_OK) {
        for (size_t i = 0; i < job->target_count; i++) {
            hm_write_file_recover(job->targets[i].path);
        }
        if (job->reuse.record != NULL) {
            hm_write_file_recover(job->reuse.record);
        }
        status = collect_all(job, error);
    }
    if (status == HM_OK) {
        status = write_signatures(job, error);
    }
    return status == HM_OK ? fill_report(job, error) : status;
}

hm_status hm_sign(hm_model *const *models, size_t model_count, hm_signer *signer,
                  const hm_sign_options *options, hm_report **report, hm_error **error) {
    static const hm_sign_options defaults = HM_SIGN_OPTIONS_INIT;
    HM_CLEANUP(job_free)
    signing_job job = {.models = models, .count = model_count, .signer = signer};
    hm_auto_error local = NULL;
    hm_error **cause = error != NULL ? error : &local;
    job.options = options != NULL ? options : &defaults;
    if (report != NULL) {
        *report = NULL;
    }
    hm_status status = hm_check_options("hm_sign", job.options->size, sizeof(*options),
                                        job.options->flags, SIGN_FLAGS, cause);
    if (status == HM_OK && (model_count == 0 || models == NULL || signer == NULL)) {
        status = hm_fail(cause, HM_USAGE, HM_REASON_NONE, "there is no model or no signer");
    }
    for (size_t i = 0; i < model_count && status == HM_OK; i++) {
        if (models[i] == NULL) {
            status = hm_fail(cause, HM_USAGE, HM_REASON_NONE, "one of the models is missing");
        }
    }
    if (status == HM_OK) {
        status = hm_report_new(HM_OPERATION_SIGN, models[0]->path, &job.report, cause);
    }
    if (status == HM_OK) {
        status = run(&job, cause);
    }
    return hm_report_finish(&job.report, status, cause, report);
}
