/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a signing writes: where they go, and what they must not be written over. */
#ifndef HM_TARGETS_H
#define HM_TARGETS_H

#include "base/base.h"
#include "collect.h"
#include "format/format.h"

typedef enum hm_target_kind {
    HM_TARGET_PROVENANCE, /* first: without its signature it says nothing to anybody */
    HM_TARGET_SIGNATURE,
    HM_TARGET_SHARDS, /* a second signature, of the shards */
    HM_TARGET_RECORD, /* of the files' states */
    HM_TARGET_COUNT,
} hm_target_kind;

typedef struct hm_target {
    char *path; /* NULL: is not written */
    hm_write_rule rule;
    hm_buf content;
} hm_target;

typedef struct hm_targets {
    const hm_format *format;
    hm_model *const *models;
    size_t model_count;
    hm_target list[HM_TARGET_COUNT];
} hm_targets;

/* Decides on the places; the format, the models and the options fit together already. */
HM_MUST_USE hm_status hm_targets_place(hm_targets *targets, const hm_sign_options *options,
                                       hm_error **error);
/* The places, to be left out of the model that is signed. */
void hm_targets_leave_out(const hm_targets *targets, hm_left_out left_out[HM_TARGET_COUNT]);
/*
 * Whether the files may be written: a path mistaken by one letter must not cost a model. To be
 * asked before the model is read and, as that takes a while, again before the files are written.
 */
HM_MUST_USE hm_status hm_targets_check(hm_targets *targets, const hm_signing *signings,
                                       hm_error **error);
/* Clears what a signing that was killed may have left. */
void hm_targets_recover(const hm_targets *targets);
/* Writes all of them or, of a failure, none. */
HM_MUST_USE hm_status hm_targets_write(const hm_targets *targets, hm_error **error);
void hm_targets_free(hm_targets *targets);

#endif
