/* SPDX-License-Identifier: Apache-2.0 */
/* One model digested by many machines: writing a part, and putting parts together for signing. */
#ifndef HM_PARTS_H
#define HM_PARTS_H

#include "collect.h"
#include "format/records.h"

/* The parts that a signature is to be made of. */
typedef struct hm_parts {
    const char *const *paths;
    hm_part *list;
    size_t count;
} hm_parts;

/*
 * Reads them, and checks that they are all the parts there are and were made alike. `asked`: hash
 * and layout as the caller wants them; what it left open is set to what the parts have.
 */
HM_MUST_USE hm_status hm_parts_read(const char *const *paths, size_t count,
                                    const hm_sign_options *options, hm_parts *parts,
                                    hm_measure_options *measure, hm_error **error);
/* Of a hm_known_source: all digests of the tree, or an error; `context` is a hm_parts. */
HM_MUST_USE hm_status hm_parts_find(void *context, const hm_collection *collection,
                                    const hm_measure_options *measure, hm_manifest *known,
                                    hm_error **error);
void hm_parts_free(hm_parts *parts);

/* Whether a part may be written there; to be asked before the model is read. */
HM_MUST_USE hm_status hm_parts_check_target(const hm_model *model, const char *path,
                                            hm_error **error);
/* Writes what was collected, the share that `measure` names, and leaves it as it was. */
HM_MUST_USE hm_status hm_parts_write(const hm_collection *collection,
                                     const hm_measure_options *measure, const char *path,
                                     hm_error **error);

#endif
