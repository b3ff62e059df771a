/* SPDX-License-Identifier: Apache-2.0 */
#include "targets.h"

#include "format/provenance.h"
#include "format/records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- places ---------------------------------------------------------------------------------- */

static hm_status place_at(hm_target *target, const char *path, hm_error **error) {
    target->path = hm_strdup(path);
    return target->path != NULL ? HM_OK : hm_fail_memory(error);
}

/*
 * A signature of shards that an earlier signing left in its default place would be found before the
 * new signature, and speak of the model as it was.
 */
static hm_status refuse_stale_shards(const hm_targets *targets, const char *usual,
                                     hm_error **error) {
    const hm_model *model = targets->models[0];
    hm_auto_free char *path = NULL;
    struct stat st;
    if (!hm_same_place(targets->list[HM_TARGET_SIGNATURE].path, usual)) {
        return HM_OK;
    }
    hm_status status = hm_format_shards_path(model->path, !model->is_file, &path, error);
    if (status != HM_OK || lstat(path, &st) != 0) {
        return status;
    }
    status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                     "%s is there, and verification would take it for the signature", path);
    hm_error_add_hint(error, "remove it, or write both anew with --files --shards");
    return status;
}

static hm_status place_signatures(hm_targets *targets, const hm_sign_options *options,
                                  hm_error **error) {
    const hm_model *model = targets->models[0];
    hm_auto_free char *usual = NULL;
    hm_status status =
        hm_format_default_path(targets->format, model->path, !model->is_file, &usual, error);
    if (status == HM_OK) {
        status = place_at(&targets->list[HM_TARGET_SIGNATURE],
                          options->signature != NULL ? options->signature : usual, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if ((options->flags & HM_SIGN_FILES_AND_SHARDS) == 0) {
        return refuse_stale_shards(targets, usual, error);
    }
    hm_target *shards = &targets->list[HM_TARGET_SHARDS];
    return options->shards_signature != NULL
               ? place_at(shards, options->shards_signature, error)
               : hm_format_shards_path(model->path, !model->is_file, &shards->path, error);
}

/* A statement goes beside the signature, unless the caller says otherwise. */
static hm_status place_provenance(hm_targets *targets, const hm_sign_options *options,
                                  hm_error **error) {
    hm_target *target = &targets->list[HM_TARGET_PROVENANCE];
    bool written = targets->format->provenance &&
                   (options->metadata != NULL || options->metadata_file != NULL);
    if (options->provenance != NULL && !written) {
        hm_status status =
            hm_fail(error, HM_USAGE, HM_REASON_NONE, "there is no provenance to be written to %s",
                    options->provenance);
        hm_error_add_hint(error, "it is made from --metadata, and with --format oms only");
        return status;
    }
    if (options->provenance != NULL) {
        return place_at(target, options->provenance, error);
    }
    return written ? hm_provenance_default_path(targets->list[HM_TARGET_SIGNATURE].path,
                                                &target->path, error)
                   : HM_OK;
}

static hm_status place_record(hm_targets *targets, const hm_sign_options *options,
                              hm_error **error) {
    if (options->reuse == NULL) {
        return HM_OK;
    }
    char **path = &targets->list[HM_TARGET_RECORD].path;
    *path = hm_state_path(targets->list[HM_TARGET_SIGNATURE].path);
    return *path != NULL ? HM_OK : hm_fail_memory(error);
}

hm_status hm_targets_place(hm_targets *targets, const hm_sign_options *options, hm_error **error) {
    hm_status status = place_signatures(targets, options, error);
    if (status == HM_OK) {
        status = place_provenance(targets, options, error);
    }
    return status == HM_OK ? place_record(targets, options, error) : status;
}

void hm_targets_leave_out(const hm_targets *targets, hm_left_out left_out[HM_TARGET_COUNT]) {
    for (size_t i = 0; i < HM_TARGET_COUNT; i++) {
        left_out[i] = (hm_left_out){
            .path = targets->list[i].path,
            .source = i == HM_TARGET_PROVENANCE ? HM_IGNORED_PROVENANCE : HM_IGNORED_SIGNATURE,
        };
    }
}

/* ---- what must not be written over --------------------------------------------------------- */

static hm_status refuse_target(const char *path, const char *what, hm_error **error) {
    hm_status status =
        hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s is %s, and is not written over", path, what);
    hm_error_add_hint(error, "choose another place with --signature or --provenance, or move it "
                             "away first");
    return status;
}

static bool is_model(const hm_targets *targets, const struct stat *st) {
    for (size_t i = 0; i < targets->model_count; i++) {
        const hm_model *model = targets->models[i];
        if (model->is_file && st->st_dev == model->device && st->st_ino == model->inode) {
            return true;
        }
    }
    return false;
}

/* Whether the file is a signature of the kind that is about to be written, and of these models. */
static hm_status check_signature(const hm_targets *targets, const hm_signing *signings,
                                 const char *path, hm_bytes old, hm_error **error) {
    HM_CLEANUP(hm_envelope_free) hm_envelope envelope = {0};
    hm_auto_error cause = NULL;
    hm_status status = hm_envelope_parse(old, path, &envelope, &cause);
    if (status == HM_UNDECIDED) {
        return hm_error_move(error, &cause);
    }
    if (status != HM_OK || envelope.format != targets->format ||
        envelope.material == HM_MATERIAL_SIGSTORE) {
        return refuse_target(path, "not a signature file of this format", error);
    }
    return targets->format->may_replace != NULL
               ? targets->format->may_replace(hm_json_root(envelope.doc), signings,
                                              targets->model_count, error)
               : HM_OK;
}

static hm_status check_provenance(const char *path, hm_bytes old, hm_error **error) {
    HM_CLEANUP(hm_envelope_free) hm_envelope envelope = {0};
    hm_auto_error cause = NULL;
    bool provenance = false;
    hm_status status = hm_provenance_parse(old, path, &envelope, &cause);
    if (status == HM_OK) {
        status = hm_provenance_recognise(&envelope, &provenance, &cause);
    }
    if (status == HM_UNDECIDED) {
        return hm_error_move(error, &cause);
    }
    return provenance ? HM_OK : refuse_target(path, "not a provenance statement", error);
}

static hm_status check_record(const char *path, hm_bytes old, hm_error **error) {
    hm_auto_error cause = NULL;
    hm_status status = hm_state_recognise(old, &cause);
    if (status == HM_UNDECIDED) {
        return hm_error_move(error, &cause);
    }
    return status == HM_OK ? HM_OK : refuse_target(path, "not a record of file states", error);
}

/* What stands where a file goes may only be an older one of its kind. */
static hm_status check_old(const hm_targets *targets, hm_target_kind kind,
                           const hm_signing *signings, hm_error **error) {
    const char *path = targets->list[kind].path;
    hm_auto_buf old = {0};
    hm_auto_error cause = NULL;
    hm_status status = hm_read_file(path, HM_SIGNATURE_FILE_LIMIT, &old, &cause);
    if (status == HM_REFUSED) {
        return refuse_target(path, "no file of this kind: it is too large", error);
    }
    if (status != HM_OK) {
        return hm_error_move(error, &cause);
    }
    switch (kind) {
    case HM_TARGET_PROVENANCE: return check_provenance(path, hm_buf_view(&old), error);
    case HM_TARGET_RECORD: return check_record(path, hm_buf_view(&old), error);
    case HM_TARGET_SIGNATURE:
    case HM_TARGET_SHARDS:
    case HM_TARGET_COUNT: break;
    }
    return check_signature(targets, signings, path, hm_buf_view(&old), error);
}

static hm_status check_target(hm_targets *targets, hm_target_kind kind, const hm_signing *signings,
                              hm_error **error) {
    hm_target *target = &targets->list[kind];
    struct stat st;
    if (lstat(target->path, &st) != 0) {
        target->rule = HM_WRITE_NEW;
        return errno == ENOENT ? HM_OK
                               : hm_fail_errno(error, errno, "cannot look at %s", target->path);
    }
    target->rule = HM_WRITE_REPLACE;
    if (!S_ISREG(st.st_mode)) {
        return refuse_target(target->path,
                             S_ISDIR(st.st_mode) ? "a directory" : "not a regular file", error);
    }
    return is_model(targets, &st) ? refuse_target(target->path, "the model itself", error)
                                  : check_old(targets, kind, signings, error);
}

static hm_status refuse_same(const hm_targets *targets, size_t index, hm_error **error) {
    const char *path = targets->list[index].path;
    for (size_t i = 0; i < index; i++) {
        if (targets->list[i].path != NULL && hm_same_place(targets->list[i].path, path)) {
            return hm_fail(error, HM_USAGE, HM_REASON_NONE, "two files would be written to %s",
                           path);
        }
    }
    return HM_OK;
}

/*
 * Verifiers look at what lies beside a signature. An older statement there would be left behind by
 * a signature that says nothing of it: of another model, or by another key.
 */
static hm_status refuse_stale_provenance(const hm_targets *targets, hm_error **error) {
    const char *written = targets->list[HM_TARGET_PROVENANCE].path;
    hm_auto_free char *path = NULL;
    struct stat there;
    hm_status status =
        hm_provenance_default_path(targets->list[HM_TARGET_SIGNATURE].path, &path, error);
    if (status != HM_OK || lstat(path, &there) != 0 ||
        (written != NULL && (strcmp(path, written) == 0 || hm_same_place(path, written)))) {
        return status;
    }
    status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                     "%s lies where verifiers look for the provenance of this signature, and would "
                     "be left as it is",
                     path);
    hm_error_add_hint(error, "give --metadata to write it anew, or remove it");
    return status;
}

hm_status hm_targets_check(hm_targets *targets, const hm_signing *signings, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < HM_TARGET_COUNT && status == HM_OK; i++) {
        if (targets->list[i].path != NULL) {
            status = check_target(targets, (hm_target_kind)i, signings, error);
        }
        if (status == HM_OK && targets->list[i].path != NULL) {
            status = refuse_same(targets, i, error);
        }
    }
    return status == HM_OK ? refuse_stale_provenance(targets, error) : status;
}

/* ---- writing --------------------------------------------------------------------------------- */

void hm_targets_recover(const hm_targets *targets) {
    for (size_t i = 0; i < HM_TARGET_COUNT; i++) {
        if (targets->list[i].path != NULL) {
            hm_write_file_recover(targets->list[i].path);
        }
    }
}

hm_status hm_targets_write(const hm_targets *targets, hm_error **error) {
    _Static_assert((int)HM_TARGET_COUNT <= (int)HM_NEW_FILES_MAX, "all are written together");
    hm_new_file files[HM_TARGET_COUNT];
    size_t count = 0;
    for (size_t i = 0; i < HM_TARGET_COUNT; i++) {
        const hm_target *target = &targets->list[i];
        if (target->path != NULL) {
            files[count++] =
                (hm_new_file){target->path, hm_buf_view(&target->content), target->rule};
        }
    }
    return hm_write_files(files, count, 0666, error);
}

void hm_targets_free(hm_targets *targets) {
    for (size_t i = 0; i < HM_TARGET_COUNT; i++) {
        free(targets->list[i].path);
        hm_buf_free(&targets->list[i].content);
    }
}
