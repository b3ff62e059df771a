/* SPDX-License-Identifier: Apache-2.0 */
#include "collect.h"
#include "parts.h"
#include "report.h"

#define DIGEST_FLAGS (HM_DIGEST_INCLUDE_GIT | HM_DIGEST_FOLLOW_SYMLINKS | HM_DIGEST_PATH_ORDER)

/* One share and where its digests go, or neither. */
static hm_status check_part(const hm_model *model, const hm_digest_options *options,
                            hm_error **error) {
    unsigned count = options->part_count;
    if (count == 0 && options->part == 0 && options->out == NULL) {
        return HM_OK;
    }
    if (options->out == NULL || count == 0) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "a part of a model and a file for its digests go together");
    }
    if (options->part == 0 || options->part > count || count > HM_PART_LIMIT) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "part %u of %u cannot be: parts are numbered from 1, and there are at most "
                       "%d",
                       options->part, count, HM_PART_LIMIT);
    }
    return hm_parts_check_target(model, options->out, error);
}

static hm_status finish_part(hm_collection *collection, const hm_collect_options *collect,
                             const hm_digest_options *options, hm_report *made, hm_error **error) {
    hm_status status = hm_parts_write(collection, &collect->measure, options->out, error);
    made->part = options->part;
    made->part_count = options->part_count;
    made->part_path = hm_strdup(options->out);
    hm_report_take_part(made, &collection->manifest);
    return status == HM_OK && made->part_path == NULL ? hm_fail_memory(error) : status;
}

static hm_status run(const hm_model *model, const hm_digest_options *options, hm_report *made,
                     hm_error **error) {
    HM_CLEANUP(hm_collection_free) hm_collection collection = {0};
    hm_collect_options collect = {
        .include_git = (options->flags & HM_DIGEST_INCLUDE_GIT) != 0,
        .follow = (options->flags & HM_DIGEST_FOLLOW_SYMLINKS) != 0,
        .ignore = options->ignore,
        .ignore_count = options->ignore_count,
    };
    hm_auto_free char *signature = NULL;
    hm_left_out left_out = {.source = HM_IGNORED_SIGNATURE};
    hm_status status = check_part(model, options, error);
    if (status == HM_OK && options->part_count > 0) { /* as signing will */
        status =
            hm_format_default_path(&hm_format_oms, model->path, !model->is_file, &signature, error);
        left_out.path = signature;
        collect.left_out = &left_out;
        collect.left_out_count = 1;
        hm_write_file_recover(options->out);
    }
    if (status != HM_OK) {
        return status;
    }
    status = hm_collect_method(options->hash, options->shard_size, &collect.measure, error);
    collect.measure.part = options->part;
    collect.measure.part_count = options->part_count;
    collect.measure.jobs = options->jobs;
    collect.measure.progress = options->progress;
    collect.measure.progress_context = options->progress_context;
    if (status == HM_OK) {
        status = hm_collect(model, &collect, &collection, error);
    }
    if (status == HM_OK) {
        status = hm_report_add_holes(made, &collection.tree, error);
    }
    if (status == HM_OK && options->part_count > 0) {
        return finish_part(&collection, &collect, options, made, error);
    }
    hm_oms_order order =
        (options->flags & HM_DIGEST_PATH_ORDER) != 0 ? HM_OMS_ORDER_PATH : HM_OMS_ORDER_NAME;
    return status == HM_OK ? hm_report_take_manifest(made, &collection.manifest, order, error)
                           : status;
}

hm_status hm_digest(hm_model *model, const hm_digest_options *options, hm_report **report,
                    hm_error **error) {
    static const hm_digest_options defaults = HM_DIGEST_OPTIONS_INIT;
    HM_CLEANUP(hm_report_free) hm_report *made = NULL;
    hm_auto_error local = NULL;
    hm_error **cause = error != NULL ? error : &local;
    options = options != NULL ? options : &defaults;
    if (report != NULL) {
        *report = NULL;
    }
    hm_status status = hm_check_options("hm_digest", options->size, sizeof(*options),
                                        options->flags, DIGEST_FLAGS, cause);
    if (status == HM_OK && model == NULL) {
        status = hm_fail(cause, HM_USAGE, HM_REASON_NONE, "there is no model to digest");
    }
    if (status == HM_OK) {
        status = hm_report_new(HM_OPERATION_DIGEST, model->path, &made, cause);
    }
    if (status == HM_OK) {
        status = run(model, options, made, cause);
    }
    return hm_report_finish(&made, status, cause, report);
}
