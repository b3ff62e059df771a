/* SPDX-License-Identifier: Apache-2.0 */
/* Promised against found: every difference becomes a finding of the report. */
#ifndef HM_COMPARE_H
#define HM_COMPARE_H

#include "report.h"

typedef struct hm_comparison {
    const hm_promise *promise;
    const hm_tree *tree;
    bool *wanted;                /* per entry: its content is to be digested (out) */
    const hm_file_state *states; /* per entry, once digested */
    hm_manifest *found;          /* once digested */
    char *signed_name;           /* of a single file, when it is not the one it has; else NULL */
    hm_report *report;
    bool ignore_unsigned;
    bool strict_paths;
} hm_comparison;

/* Before any content is read: names and kinds. Fills `wanted`. */
HM_MUST_USE hm_status hm_compare_trees(hm_comparison *comparison, hm_error **error);
/*
 * Likewise: sizes, which shards state. What is then left to differ is what files hold: `found` gets
 * what they must be found to have, if they are what was promised.
 */
HM_MUST_USE hm_status hm_compare_sizes(hm_comparison *comparison, hm_error **error);
/* After it: digests, shard by shard. */
HM_MUST_USE hm_status hm_compare_manifests(hm_comparison *comparison, hm_error **error);

#endif
