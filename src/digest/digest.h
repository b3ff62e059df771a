/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest: ranges of bytes to digests, as fast as the machine can. Everything that reads model bytes
 * goes through hm_digest_run(). Knows files only as numbers that its caller opens; knows nothing of
 * names, manifests or signatures.
 */
#ifndef HM_DIGEST_H
#define HM_DIGEST_H

#include "base/base.h"

typedef enum hm_hash {
    HM_HASH_SHA256 = 1,
    HM_HASH_BLAKE2B, /* BLAKE2b-512 */
    HM_HASH_BLAKE3,  /* 32 bytes */
} hm_hash;

enum { HM_DIGEST_MAX = 64 };

/* The format's word ("sha256", "blake2b", "blake3"), the digest's length, and the way back. */
const char *hm_hash_name(hm_hash hash);
size_t hm_hash_size(hm_hash hash);
bool hm_hash_from_name(hm_bytes name, hm_hash *hash);

/* One piece of memory in one call. */
HM_MUST_USE hm_status hm_digest_bytes(hm_hash hash, hm_bytes data, uint8_t *digest,
                                      hm_error **error);

/* Where a range's bytes go besides into the hash. */
typedef enum hm_sink_kind {
    HM_SINK_NONE,
    HM_SINK_MEMORY, /* to `memory`, which has room for the range */
    HM_SINK_FILE,   /* to `fd` at `offset`, by pwrite */
} hm_sink_kind;

typedef struct hm_sink {
    hm_sink_kind kind;
    uint8_t *memory;
    int fd; /* filled in where the source opens sinks */
    uint64_t offset;
} hm_sink;

/* How a range ended. */
typedef enum hm_range_state {
    HM_RANGE_PENDING,
    HM_RANGE_DONE,
    HM_RANGE_CHANGED, /* the file ended early, or is no longer what it was when it was found */
} hm_range_state;

/* The unit of work. Ranges of one file stand next to each other, in the order of their offsets. */
typedef struct hm_range {
    size_t file;
    uint64_t offset;
    uint64_t length;
    hm_sink sink;
    const uint8_t *expected; /* the job ends at a digest other than this; NULL: it may be any */
    /*
     * The digests of every `part_size` bytes too, from the same bytes; out, hm_hash_size() apart.
     * The last part may be shorter. NULL: they are not wanted.
     */
    uint8_t *parts;
    uint64_t part_size;
    uint8_t digest[HM_DIGEST_MAX]; /* out */
    hm_range_state state;          /* out */
} hm_range;

/*
 * The files of a job. Both functions may be called from several threads at once, but never for one
 * file at once; each opened file is closed once, after its last range.
 */
typedef struct hm_source {
    void *context;
    /* Gives a descriptor to read the ranges from. `changed`: not the file that was found. */
    hm_status (*open)(void *context, size_t file, int *fd, bool *changed, hm_error **error);
    /* Ends it; `changed` tells that it is no longer what it was at opening. */
    hm_status (*close)(void *context, size_t file, int fd, bool *changed, hm_error **error);
    /* The name for errors. */
    const char *(*name)(void *context, size_t file);
    /*
     * For HM_SINK_FILE, or NULL: the descriptor that a file's ranges are written to, asked for once
     * after open(); -1: the bytes go nowhere.
     */
    hm_status (*open_sink)(void *context, size_t file, int *fd, hm_error **error);
    /* Ends it, after close(). `whole`: every range was read to its end, of a file that stayed. */
    hm_status (*close_sink)(void *context, size_t file, int fd, bool whole, hm_error **error);
} hm_source;

typedef struct hm_digest_job {
    hm_hash hash;
    hm_source source;
    hm_range *ranges;
    size_t range_count;
    unsigned jobs;           /* threads; 0: as many as the process may use */
    bool stop_on_change;     /* end at the first HM_RANGE_CHANGED; later ranges stay PENDING */
    hm_progress_fn progress; /* called from one thread at a time */
    void *progress_context;
} hm_digest_job;

/*
 * Digests every range. A file that changed or ended early is told in its ranges' states (all of
 * them, since what was read belongs to no one content); any I/O error, a progress function that
 * says stop, or a lack of memory ends the job with ::HM_UNDECIDED.
 * Memory does not grow with the size of files.
 */
HM_MUST_USE hm_status hm_digest_run(hm_digest_job *job, hm_error **error);

/* Threads that the process may use: affinity and cgroup limits respected; at least 1. */
unsigned hm_digest_processors(void);

/* What a job consists of, as far as its duration depends on it. */
typedef struct hm_digest_sizes {
    uint64_t total;
    uint64_t longest; /* range */
    size_t count;     /* of ranges, at least 1 */
} hm_digest_sizes;
/* How long hashing takes, in a unit of its own that is the same for all jobs with one hash. */
double hm_digest_estimate(hm_hash hash, unsigned jobs, const hm_digest_sizes *sizes);

/* Appends lines for people, `name: value`: the kernels that there are and those in use. */
void hm_digest_describe(hm_buf *out);

#endif
