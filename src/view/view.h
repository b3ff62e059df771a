/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view: a verified model in memory. Signatures and names are verified when it is opened, by the
 * same steps as hm_verify(); what a file holds is verified when it is read, and before anybody is
 * given a byte of it. Hashes memory of its own, never a mapping of the file.
 */
#ifndef HM_VIEW_VIEW_H
#define HM_VIEW_VIEW_H

#include "verify.h"
#include "view/memory.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct hm_view_file {
    const hm_entry *entry;
    hm_memory *memory;    /* what was read of it; NULL: nothing yet */
    size_t offset;        /* in there */
    atomic_bool loaded;   /* `memory` is sealed, and all that is promised holds for it */
    const hm_claim *lazy; /* whose shards are verified one by one; NULL: none */
    bool single;          /* all claims that cover it promise just the same of it */
} hm_view_file;

/* A verified shard that is remembered, or one that is being read. */
typedef struct hm_shard {
    struct hm_shard *next; /* the one that was used last comes first */
    size_t file;
    uint64_t start;
    size_t length;
    uint8_t *data;
    unsigned users;
    enum { HM_SHARD_READING, HM_SHARD_GOOD } state;
} hm_shard;

struct hm_view {
    hm_verification job; /* its claims; nothing of the call's own is left in it */
    const hm_model *model;
    const hm_claim **claims; /* that promise digests of files, and have to hold; shards first */
    size_t claim_count;
    hm_view_file *files; /* sorted by name */
    size_t file_count;
    hm_memory **memories;
    size_t memory_count, memory_capacity;
    size_t descriptors; /* of memories that keep theirs */
    unsigned jobs;
    pthread_mutex_t loading; /* whole files; guards all but the shards */
    pthread_mutex_t lock;    /* guards the shards */
    pthread_cond_t changed;
    hm_shard *shards;
    uint64_t remembered, remember; /* bytes in shards, and how many there may be */
};

/* ---- what is promised ----------------------------------------------------------------------- */

/* Whether the claim says anything of the file. */
bool hm_view_covers(const hm_claim *claim, const hm_view_file *file);
/* Whether two claims that cover it promise the same digests. */
bool hm_view_same_promise(const hm_claim *a, const hm_claim *b, const char *name);
/* The item of a claim that begins there; NULL: there is none. */
const hm_item *hm_view_item(const hm_claim *claim, const hm_view_file *file, uint64_t start);

/* ---- reading -------------------------------------------------------------------------------- */

/* Ranges of a view's files to be digested, and what they must be found to be. */
typedef struct hm_reading {
    hm_view *view;
    const hm_view_read_options *how;
    hm_hash hash;
    bool pinned;           /* it is the policy that promised */
    bool from_memory;      /* not the files are read, but what is in sealed memory */
    hm_range *ranges;      /* their files are indices into view->files */
    const hm_item **items; /* NULL: there is nothing to hold it against */
    size_t count, range_capacity, item_capacity;
} hm_reading;

HM_MUST_USE hm_status hm_reading_add(hm_reading *reading, hm_range range, const hm_item *item,
                                     hm_error **error);
/* ::HM_OK only when every range was read to its end and is what its item says. */
HM_MUST_USE hm_status hm_reading_run(hm_reading *reading, hm_error **error);
void hm_reading_free(hm_reading *reading);

/* ---- whole files ---------------------------------------------------------------------------- */

/* Loads files that were not; with the lock on loading held. A failure changes nothing. */
HM_MUST_USE hm_status hm_view_load_files(hm_view *view, const size_t *indices, size_t count,
                                         const hm_view_read_options *how, hm_error **error);
/*
 * Reads all files into sealed memory and digests them in that layout. They are not loaded by that:
 * what is promised of each is yet to be compared.
 */
HM_MUST_USE hm_status hm_view_measure_files(hm_view *view, const hm_measure_options *layout,
                                            const hm_view_read_options *how, hm_manifest *found,
                                            hm_error **error);
/* hm_memory_check(), with what to do. `lazy`: whether it has shards. */
HM_MUST_USE hm_status hm_view_check_memory(uint64_t bytes, const char *what, bool lazy,
                                           hm_error **error);
/* Reads a file that is `single` into the caller's memory, and leaves only what holds there. */
HM_MUST_USE hm_status hm_view_read_whole(hm_view *view, size_t index, uint8_t *target,
                                         const hm_view_read_options *how, hm_error **error);

/* ---- shards --------------------------------------------------------------------------------- */

HM_MUST_USE hm_status hm_view_read_shards(hm_view *view, size_t index, uint64_t offset,
                                          uint8_t *target, size_t length,
                                          const hm_view_read_options *how, hm_error **error);
/* Whether all shards that hold these bytes are remembered. */
bool hm_view_remembers(hm_view *view, size_t index, uint64_t offset, uint64_t length);
void hm_view_forget_shards(hm_view *view);

#endif
