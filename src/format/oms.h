/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the OMS format share with each other. */
#ifndef HM_OMS_H
#define HM_OMS_H

#include "format/format.h"

#define HM_OMS_PAYLOAD_TYPE "application/vnd.in-toto+json"
#define HM_OMS_STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define HM_OMS_V020_PREDICATE "https://model_signing/Digests/v0.1"

/*
 * model_signing 0.2.0 signed a faulty encoding of another predicate. Both come together or not at
 * all: the old encoding is used with the old predicate only.
 */
void hm_oms_v020_pae(hm_bytes payload, hm_buf *out);
HM_MUST_USE hm_status hm_oms_v020_promise(hm_json *statement, hm_promise *promise,
                                          hm_error **error);

/* A bundle with a signature over an in-toto statement. */
HM_MUST_USE hm_status hm_oms_write_bundle(const hm_buf *payload, hm_signer *signer, hm_buf *file,
                                          hm_error **error);

/* The member of a subject's digest set that holds the model digest. */
#define HM_OMS_MODEL_DIGEST "hallmarkModelV1"

/* The statement: what is signed. */
HM_MUST_USE hm_status hm_oms_read_statement(hm_json *statement, hm_promise *promise,
                                            hm_error **error);
HM_MUST_USE hm_status hm_oms_write_statement(const hm_signing *signing, hm_buf *out,
                                             hm_error **error);

/* A manifest's items under the names that the statement gives them, in an order. */
typedef struct hm_oms_resource {
    char *label;
    const hm_item *item;
} hm_oms_resource;

typedef struct hm_oms_resources {
    hm_oms_resource *list;
    size_t count;
} hm_oms_resources;

/* `dot`: the one file is called ".". */
HM_MUST_USE hm_status hm_oms_list_resources(const hm_manifest *manifest, bool dot,
                                            hm_oms_order order, hm_oms_resources *resources,
                                            hm_error **error);
HM_MUST_USE hm_status hm_oms_resources_digest(const hm_manifest *manifest,
                                              const hm_oms_resources *resources, uint8_t *digest,
                                              hm_error **error);
void hm_oms_resources_free(hm_oms_resources *resources);
/* Reads `resources` into promise->manifest, sorted; `root` gets their root digest as listed. */
HM_MUST_USE hm_status hm_oms_read_resources(hm_json *predicate, hm_promise *promise, uint8_t *root,
                                            hm_error **error);

/* "name:start:end" taken apart from the right; the path may hold colons (OMS 6.3.2). */
bool hm_oms_shard_name(hm_bytes label, hm_bytes *path, uint64_t *start, uint64_t *end);

HM_MUST_USE hm_status hm_oms_malformed(hm_error **error, const char *format, ...) HM_PRINTF(2, 3);

#endif
