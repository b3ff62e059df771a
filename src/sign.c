/* SPDX-License-Identifier: Apache-2.0 */
/* path -> tree -> digest -> manifest -> statement -> envelope -> signature file */
#include "collect.h"
#include "parts.h"
#include "provenance.h"
#include "reuse.h"
#include "targets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define SIGN_FLAGS                                                                                 \
    (HM_SIGN_INCLUDE_GIT | HM_SIGN_FOLLOW_SYMLINKS | HM_SIGN_NAME_DOT | HM_SIGN_FILES_AND_SHARDS | \
     HM_SIGN_FILES)

/* One signing in progress. */
typedef struct signing_job {
    hm_model *const *models;
    size_t count;
    hm_signer *signer;
    const hm_sign_options *options;
    const hm_format *format;
    hm_measure_options measure;
    hm_targets targets;
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
    hm_targets_free(&job->targets);
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
    job->measure.method = both ? HM_METHOD_FILES : job->measure.method;
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
        status = check_key_version(job, error);
    }
    if (status == HM_OK) {
        status = check_models(job, error);
    }
    job->targets.format = job->format;
    job->targets.models = job->models;
    job->targets.model_count = job->count;
    return status == HM_OK ? hm_targets_place(&job->targets, job->options, error) : status;
}

/* ---- digests from elsewhere ---------------------------------------------------------------- */

static bool writes(const signing_job *job, hm_target_kind kind) {
    return job->targets.list[kind].path != NULL;
}

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
    if (writes(job, HM_TARGET_SHARDS)) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "two signatures are made of what is read now: not from parts or from an old "
                       "signature");
    }
    return parts ? hm_parts_read(options->parts, options->parts_count, options, &job->parts,
                                 &job->measure, error)
                 : hm_reuse_open(options->reuse, job->signer, &job->measure, &job->reuse, error);
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

/* ---- what is to be signed -------------------------------------------------------------------- */

/* The caller's word, which formats without a place for it refuse, or else the keyring's. */
static uint64_t key_version(const signing_job *job, const char *metadata) {
    bool stated = job->format->provenance && metadata != NULL;
    uint64_t known = job->format->key_version || stated ? job->signer->key_version : 0;
    return job->options->key_version != 0 ? job->options->key_version : known;
}

static void describe(const signing_job *job, size_t index) {
    const hm_model *model = job->models[index];
    const hm_sign_options *options = job->options;
    const char *metadata =
        options->metadata != NULL ? options->metadata : (const char *)job->metadata.data;
    job->signings[index] = (hm_signing){
        .manifest = &job->collections[index].manifest,
        .subject_name = model->name,
        .model_path = model->path,
        .single_file = model->is_file,
        .name_dot = model->is_file && (options->flags & HM_SIGN_NAME_DOT) != 0,
        .allow_symlinks = (options->flags & HM_SIGN_FOLLOW_SYMLINKS) != 0,
        .ignore = &job->collections[index].ignore,
        .signer_id = options->signer_id,
        .key_version = key_version(job, metadata),
        .metadata = metadata,
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
    return status == HM_OK ? hm_targets_check(&job->targets, job->signings, error) : status;
}

static hm_status collect_all(signing_job *job, hm_error **error) {
    const hm_sign_options *options = job->options;
    hm_left_out left_out[HM_TARGET_COUNT];
    hm_targets_leave_out(&job->targets, left_out);
    hm_collect_options collect = {
        .measure = job->measure,
        .include_git = (options->flags & HM_SIGN_INCLUDE_GIT) != 0,
        .follow = (options->flags & HM_SIGN_FOLLOW_SYMLINKS) != 0,
        .ignore = options->ignore,
        .ignore_count = options->ignore_count,
        .left_out = left_out,
        .left_out_count = HM_TARGET_COUNT,
        .with_shards = writes(job, HM_TARGET_SHARDS),
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

/* ---- the files ------------------------------------------------------------------------------- */

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
    hm_target *targets = job->targets.list;
    hm_status status =
        build_signature(job, job->signings, &targets[HM_TARGET_SIGNATURE].content, error);
    if (status == HM_OK && writes(job, HM_TARGET_SHARDS)) {
        hm_signing of_shards = job->signings[0];
        of_shards.manifest = &job->collections[0].shards;
        status = build_signature(job, &of_shards, &targets[HM_TARGET_SHARDS].content, error);
    }
    return status;
}

/* What the statement is about: the model, by each signature that is written of it. */
static hm_provenance_signature subject(const signing_job *job, hm_target_kind kind,
                                       const char *name) {
    const hm_collection *collection = &job->collections[0];
    return (hm_provenance_signature){
        .manifest = kind == HM_TARGET_SHARDS ? &collection->shards : &collection->manifest,
        .name = name,
        .content = hm_buf_view(&job->targets.list[kind].content),
    };
}

static hm_status build_provenance(signing_job *job, hm_error **error) {
    HM_CLEANUP(hm_provenance_free) hm_provenance stated = {0};
    hm_auto_buf payload = {0};
    hm_target *target = &job->targets.list[HM_TARGET_PROVENANCE];
    bool both = writes(job, HM_TARGET_SHARDS);
    hm_auto_free char *name = hm_path_base(job->targets.list[HM_TARGET_SIGNATURE].path);
    hm_auto_free char *second =
        both ? hm_path_base(job->targets.list[HM_TARGET_SHARDS].path) : hm_strdup("");
    if (name == NULL || second == NULL) {
        return hm_fail_memory(error);
    }
    const hm_provenance_signature signatures[] = {subject(job, HM_TARGET_SIGNATURE, name),
                                                  subject(job, HM_TARGET_SHARDS, second)};
    hm_status status = hm_provenance_write(&job->signings[0], signatures, both ? 2 : 1, job->signer,
                                           &payload, &target->content, error);
    if (status == HM_OK) {
        status = hm_provenance_read(hm_buf_view(&payload), &stated, error);
    }
    return status == HM_OK ? hm_provenance_show(&stated, target->path, job->report, error) : status;
}

static hm_status build_files(signing_job *job, hm_error **error) {
    hm_target *targets = job->targets.list;
    hm_status status = build_signatures(job, error);
    if (status == HM_OK && writes(job, HM_TARGET_PROVENANCE)) {
        status = build_provenance(job, error);
    }
    if (status == HM_OK && writes(job, HM_TARGET_RECORD)) {
        status = hm_reuse_record(&job->reuse, hm_buf_view(&targets[HM_TARGET_SIGNATURE].content),
                                 job->signer, &targets[HM_TARGET_RECORD].content, error);
    }
    return status;
}

static hm_status write_files(signing_job *job, hm_error **error) {
    hm_status status = build_files(job, error);
    /* Once more, since hashing a model leaves time for somebody else to put a file there. */
    if (status == HM_OK) {
        status = hm_targets_check(&job->targets, job->signings, error);
    }
    return status == HM_OK ? hm_targets_write(&job->targets, error) : status;
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
    if (status == HM_OK) {
        status = hm_report_take_manifest(report, first, HM_OMS_ORDER_NAME, error);
    }
    return status == HM_OK ? report_known(job, error) : status;
}

static hm_status name_signatures(signing_job *job, hm_error **error) {
    hm_report *report = job->report;
    bool both = writes(job, HM_TARGET_SHARDS);
    report->format = job->format;
    report->jobs = job->options->jobs;
    report->signature_path = hm_strdup(job->targets.list[HM_TARGET_SIGNATURE].path);
    report->shards_path = both ? hm_strdup(job->targets.list[HM_TARGET_SHARDS].path) : NULL;
    return report->signature_path != NULL && (!both || report->shards_path != NULL)
               ? HM_OK
               : hm_fail_memory(error);
}

static hm_status run(signing_job *job, hm_error **error) {
    hm_status status = prepare(job, error);
    if (status == HM_OK) {
        status = read_metadata(job, error);
    }
    if (status == HM_OK) {
        status = name_signatures(job, error);
    }
    if (status == HM_OK) {
        status = describe_all(job, error);
    }
    if (status == HM_OK) {
        status = open_known(job, error);
    }
    if (status == HM_OK) {
        hm_targets_recover(&job->targets);
        status = collect_all(job, error);
    }
    if (status == HM_OK) {
        status = write_files(job, error);
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
