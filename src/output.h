/* SPDX-License-Identifier: Apache-2.0 */
/* Files that a verb writes together: all of them appear, or none. */
#ifndef HM_OUTPUT_H
#define HM_OUTPUT_H

#include "base/base.h"

typedef struct hm_output {
    const char *path; /* the caller's */
    hm_buf content;
    hm_write_rule rule;
    hm_buf old; /* what was replaced, to be put back; filled by hm_outputs_write() */
} hm_output;

/*
 * Writes them in turn. When one cannot be written, those before it are undone: what was there
 * before is put back, what was not is removed. A kill in between leaves the first of them, so what
 * proves nothing without the others comes first.
 */
HM_MUST_USE hm_status hm_outputs_write(hm_output *outputs, size_t count, hm_error **error);
void hm_output_free(hm_output *output);

#endif
