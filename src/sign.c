/* SPDX-License-Identifier: Apache-2.0 */
/* path -> tree -> digest -> manifest -> statement -> envelope -> signature file */
#include "collect.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SIGN_FLAGS (HM_SIGN_INCLUDE_GIT | HM_SIGN_FOLLOW_SYMLINKS | HM_SIGN_NAME_DOT)

/* One signing in progress. */
typedef struct signing_job {
    hm_model *const *models;
    size_t count;
    hm_signer *signer;
    const hm_sign_options *options;
    const hm_format *format;
    hm_measure_options measure;
    char *signature; /* where it will be written */
    hm_write_rule write_rule;
    hm_buf metadata; /* as read from a file */
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
    free(job->signature);
    hm_buf_free(&job->metadata);
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
    if (!job->format->hashes && (hashing || options->shard_size > 0)) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "the %s format always digests whole files with sha256", job->format->name);
    }
    if (!job->format->directories && (options->ignore_count > 0 || options->flags != 0)) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "the %s format signs single files: there is nothing to ignore or follow",
                       job->format->name);
    }
    return HM_OK;
}

static hm_status check_key_version(const signing_job *job, hm_error **error) {
    uint64_t said = job->options->key_version, known = job->signer->key_version;
    if (said == 0 || known == 0 || said == known) {
        return HM_OK;
    }
    return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                   "the keyring signs with version %llu of the key, not with version %llu",
                   (unsigned long long)known, (unsigned long long)said);
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

static hm_status place_signature(signing_job *job, hm_error **error) {
    const hm_model *model = job->models[0];
    if (job->options->signature == NULL) {
        return hm_format_default_path(job->format, model->path, !model->is_file, &job->signature,
                                      error);
    }
    job->signature = hm_strdup(job->options->signature);
    return job->signature != NULL ? HM_OK : hm_fail_memory(error);
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
        status = check_key_version(job, error);
    }
    if (status == HM_OK) {
        status = check_models(job, error);
    }
    return status == HM_OK ? place_signature(job, error) : status;
}

/* ---- what must not be written over --------------------------------------------------------- */

static hm_status refuse_target(const signing_job *job, const char *what, hm_error **error) {
    hm_status status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s is %s, and is not written over",
                               job->signature, what);
    hm_error_add_hint(error, "choose another place with --signature, or move it away first");
    return status;
}

static bool is_model(const signing_job *job, const struct stat *target) {
    for (size_t i = 0; i < job->count; i++) {
        const hm_model *model = job->models[i];
        if (model->is_file && target->st_dev == model->device && target->st_ino == model->inode) {
            return true;
        }
    }
    return false;
}

/* Whether the file is a signature of the kind that is about to be written, and of these models. */
static hm_status check_old_signature(const signing_job *job, hm_error **error) {
    hm_auto_buf old = {0};
    HM_CLEANUP(hm_envelope_free) hm_envelope envelope = {0};
    hm_auto_error cause = NULL;
    hm_status status = hm_read_file(job->signature, HM_SIGNATURE_FILE_LIMIT, &old, &cause);
    if (status == HM_OK) {
        status = hm_envelope_parse(hm_buf_view(&old), job->signature, &envelope, &cause);
    }
    if (status == HM_UNDECIDED) {
        return hm_error_move(error, &cause);
    }
    if (status != HM_OK || envelope.format != job->format ||
        envelope.material == HM_MATERIAL_SIGSTORE) {
        return refuse_target(job, "not a signature file of this format", error);
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
static hm_status check_target(signing_job *job, hm_error **error) {
    struct stat target;
    if (lstat(job->signature, &target) != 0) {
        job->write_rule = HM_WRITE_NEW;
        return errno == ENOENT ? HM_OK
                               : hm_fail_errno(error, errno, "cannot look at %s", job->signature);
    }
    job->write_rule = HM_WRITE_REPLACE;
    if (!S_ISREG(target.st_mode)) {
        return refuse_target(job, S_ISDIR(target.st_mode) ? "a directory" : "not a regular file",
                             error);
    }
    return is_model(job, &target) ? refuse_target(job, "the model itself", error)
                                  : check_old_signature(job, error);
}

/* ---- what is to be signed -------------------------------------------------------------------- */

/* The caller's word, which formats without a place for it refuse, or else the keyring's. */
static uint64_t key_version(const signing_job *job) {
    uint64_t known = job->format->key_version ? job->signer->key_version : 0;
    return job->options->key_version != 0 ? job->options->key_version : known;
}

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
        .key_version = key_version(job),
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
    return status == HM_OK ? check_target(job, error) : status;
}

static hm_status collect_all(signing_job *job, hm_error **error) {
    const hm_sign_options *options = job->options;
    hm_collect_options collect = {
        .measure = job->measure,
        .include_git = (options->flags & HM_SIGN_INCLUDE_GIT) != 0,
        .follow = (options->flags & HM_SIGN_FOLLOW_SYMLINKS) != 0,
        .ignore = options->ignore,
        .ignore_count = options->ignore_count,
        .signature = job->signature,
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

static hm_status write_signature(signing_job *job, hm_error **error) {
    hm_auto_buf file = {0};
    hm_status status =
        job->format->write(job->signings, job->count, job->count > 1, job->signer, &file, error);
    if (status == HM_OK && file.length > HM_SIGNATURE_FILE_LIMIT) {
        status =
            hm_fail(error, HM_USAGE, HM_REASON_NONE,
                    "the signature would have %zu bytes, more than verifiers read", file.length);
        hm_error_add_hint(error, "use larger shards, or sign parts of the model by themselves");
    }
    /* Once more, since hashing a model leaves time for somebody else to put a file there. */
    if (status == HM_OK) {
        status = check_target(job, error);
    }
    return status == HM_OK
               ? hm_write_file(job->signature, hm_buf_view(&file), 0666, job->write_rule, error)
               : status;
}

static hm_status fill_signer(signing_job *job, hm_error **error) {
    hm_signer_identity *who = &job->report->signer;
    const hm_pubkey *key = job->signer->public_key;
    who->algorithm = hm_strdup(key->algorithm);
    who->key_version = job->signer->key_version;
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
    return status == HM_OK ? hm_report_take_manifest(report, first, HM_OMS_ORDER_NAME, error)
                           : status;
}

static hm_status run(signing_job *job, hm_error **error) {
    hm_status status = prepare(job, error);
    if (status == HM_OK) {
        status = read_metadata(job, error);
    }
    if (status == HM_OK) {
        job->report->format = job->format;
        job->report->signature_path = hm_strdup(job->signature);
        status = job->report->signature_path != NULL ? HM_OK : hm_fail_memory(error);
    }
    if (status == HM_OK) {
        status = describe_all(job, error);
    }
    if (status == HM_OK) {
        hm_write_file_recover(job->signature);
        status = collect_all(job, error);
    }
    if (status == HM_OK) {
        status = write_signature(job, error);
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
