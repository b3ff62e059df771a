/* SPDX-License-Identifier: Apache-2.0 */
/* From a model to the manifest that a signature of it would hold; for signing and digesting. */
#ifndef HM_COLLECT_H
#define HM_COLLECT_H

#include "model/model.h"

typedef struct hm_collection {
    hm_ignore ignore;
    hm_tree tree;
    hm_manifest manifest;
    hm_manifest shards; /* a second one, of the same bytes */
} hm_collection;

/* Digests from elsewhere than this run's reading: asked for once the tree is known. */
typedef struct hm_known_source {
    void *context;
    /* Gives those that are proven to be of this tree, sorted. */
    hm_status (*find)(void *context, const hm_collection *collection,
                      const hm_measure_options *measure, hm_manifest *known, hm_error **error);
} hm_known_source;

/* A file that is no part of the model, wherever it lies. */
typedef struct hm_left_out {
    const char *path; /* NULL: none */
    hm_ignore_source source;
} hm_left_out;

typedef struct hm_collect_options {
    hm_measure_options measure;
    bool include_git;
    bool follow;
    const char *const *ignore; /* the caller's paths */
    size_t ignore_count;
    const hm_left_out *left_out; /* files of the signing itself that may lie inside the model */
    size_t left_out_count;
    bool with_shards;      /* a second manifest is wanted, of shards; `measure` is of whole files */
    hm_known_source known; /* of no digests when `find` is NULL */
    const hm_tree_copy *copy; /* gets the bytes of every file that is read; NULL: nobody does */
} hm_collect_options;

/*
 * Everything in the model must be something that can be signed; otherwise ::HM_REFUSED, since what
 * is passed over in silence is not what the signer meant.
 */
HM_MUST_USE hm_status hm_collect(const hm_model *model, const hm_collect_options *options,
                                 hm_collection *collection, hm_error **error);
void hm_collection_free(hm_collection *collection);

/* The hash and shard size that a caller asked for, checked. */
HM_MUST_USE hm_status hm_collect_method(const char *hash, uint64_t shard_size,
                                        hm_measure_options *measure, hm_error **error);

/* Adds a file that lies beside the model or in it; it is only the latter that matters. */
HM_MUST_USE hm_status hm_collect_ignore_file(const hm_model *model, const char *path,
                                             hm_ignore_source source, hm_ignore *ignore,
                                             hm_error **error);
/* Adds the caller's ignore paths; ::HM_USAGE when one is not a path inside the model. */
HM_MUST_USE hm_status hm_collect_ignore(const char *const *paths, size_t count, hm_ignore *ignore,
                                        hm_error **error);

#endif
