/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DSSE: what is signed of a payload, and an envelope with one signature. Bytes to bytes; knows no
 * key, so nothing here says that a signature is good.
 */
#ifndef HM_DSSE_H
#define HM_DSSE_H

#include "base/json.h"

/* DSSE pre-authentication encoding. */
void hm_dsse_pae(const char *payload_type, hm_bytes payload, hm_buf *out);

/* An envelope, taken apart but not believed. */
typedef struct hm_dsse {
    hm_buf payload;
    hm_buf signature;
    char *claimed_key; /* `keyid`, which no signature covers; NULL: it has none */
} hm_dsse;
void hm_dsse_free(hm_dsse *envelope);
#define hm_auto_dsse HM_CLEANUP(hm_dsse_free) hm_dsse

/* ::HM_REFUSED malformed or unsupported. */
HM_MUST_USE hm_status hm_dsse_parse(hm_bytes file, const char *what, const char *payload_type,
                                    hm_dsse *envelope, hm_error **error);
/* `indent`: spaces per level; 0: one line. Nothing behind the last brace. */
HM_MUST_USE hm_status hm_dsse_print(const char *payload_type, hm_bytes payload, const char *key,
                                    hm_bytes signature, unsigned indent, hm_buf *out,
                                    hm_error **error);

#endif
