/* SPDX-License-Identifier: Apache-2.0 */
#include "collect.h"
#include "report.h"

#define DIGEST_FLAGS (HM_DIGEST_INCLUDE_GIT | HM_DIGEST_FOLLOW_SYMLINKS | HM_DIGEST_PATH_ORDER)

static hm_status run(const hm_model *model, const hm_digest_options *options, hm_report *made,
                     hm_error **error) {
    HM_CLEANUP(hm_collection_free) hm_collection collection = {0};
    hm_collect_options collect = {
        .include_git = (options->flags & HM_DIGEST_INCLUDE_GIT) != 0,
        .follow = (options->flags & HM_DIGEST_FOLLOW_SYMLINKS) != 0,
        .ignore = options->ignore,
        .ignore_count = options->ignore_count,
    };
    hm_status status =
        hm_collect_method(options->hash, options->shard_size, &collect.measure, error);
    collect.measure.jobs = options->jobs;
    collect.measure.progress = options->progress;
    collect.measure.progress_context = options->progress_context;
    if (status == HM_OK) {
        status = hm_collect(model, &collect, &collection, error);
    }
    if (status == HM_OK) {
        status = hm_report_add_holes(made, &collection.tree, error);
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
