/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The digest room's own header: streaming hashers, the schedule that hands ranges to threads, and
 * what the threads do with them.
 */
#ifndef HM_DIGEST_ENGINE_H
#define HM_DIGEST_ENGINE_H

#include "digest/digest.h"
#include "digest/sha256_lanes.h"
#include "digest/window.h"

#include <blake3.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- hashers ------------------------------------------------------------------------------ */

/* One stream after the other through one function. */
typedef struct hm_hasher {
    hm_hash hash;
    EVP_MD_CTX *context; /* of libcrypto's functions */
    blake3_hasher blake3;
} hm_hasher;

/* `hasher` must be zeroed. */
HM_MUST_USE hm_status hm_hasher_init(hm_hasher *hasher, hm_hash hash, hm_error **error);
/* Begins a stream, and forgets one that was not finished. */
HM_MUST_USE hm_status hm_hasher_start(hm_hasher *hasher, hm_error **error);
HM_MUST_USE hm_status hm_hasher_add(hm_hasher *hasher, hm_bytes data, hm_error **error);
HM_MUST_USE hm_status hm_hasher_finish(hm_hasher *hasher, uint8_t *digest, hm_error **error);
void hm_hasher_free(hm_hasher *hasher);
#define hm_auto_hasher HM_CLEANUP(hm_hasher_free) hm_hasher

/* ---- schedule ----------------------------------------------------------------------------- */

/* A file of the job: the ranges that stand next to each other, and their shared descriptor. */
typedef struct hm_file {
    size_t first; /* range */
    size_t count;
    size_t finished;
    int fd;
    int sink; /* -1: none was opened */
    enum { HM_FILE_UNOPENED, HM_FILE_OPENING, HM_FILE_OPEN, HM_FILE_CLOSED } state;
    bool changed;
} hm_file;

typedef struct hm_stream hm_stream;

typedef struct hm_schedule {
    hm_digest_job *job;
    unsigned threads;
    hm_sha256_choice sha256;
    size_t lanes;   /* ranges side by side in one thread */
    size_t memory;  /* for the buffers of one thread */
    size_t window;  /* bytes of one lane's window; 0: none */
    hm_file *files; /* the big ones first */
    size_t file_count;
    uint64_t bytes_total;
    pthread_mutex_t lock; /* guards what follows, but the atomics */
    size_t next_file;     /* the cursor: what is handed out next */
    size_t next_range;
    size_t untaken; /* ranges */
    pthread_cond_t opened;
    hm_stream *streams; /* those that could be helped */
    size_t streams_announced;
    pthread_cond_t streams_changed;
    hm_error *error; /* the first one */
    bool failed;
    atomic_bool stopped;
    _Atomic uint64_t bytes_done;
    pthread_mutex_t progress_lock;
    int64_t progress_time;
} hm_schedule;

/* A range in work. */
typedef struct hm_work {
    hm_file *file;
    hm_range *range;
    int fd;
    size_t ahead; /* bytes that the system is asked to fetch before they are read */
} hm_work;

/* What a thread has in work when it asks for more. */
typedef struct hm_load {
    size_t lanes; /* in use */
    size_t limit;
    uint64_t bytes; /* yet to be read in them */
} hm_load;

typedef enum hm_take {
    HM_TAKE_NOTHING, /* all ranges are taken, or the job has stopped */
    HM_TAKE_LATER,   /* better finish what is in work first */
    HM_TAKE_LANE,    /* a range to hash beside others */
    HM_TAKE_ALONE,   /* a range so long that nothing should slow it down */
} hm_take;

HM_MUST_USE hm_status hm_schedule_init(hm_schedule *schedule, hm_digest_job *job, hm_error **error);
/* Whether a range may go into a lane: its parts, if it has some, must end with whole blocks. */
bool hm_lanes_fit(const hm_range *range);
/* The next range, its file open. */
hm_take hm_schedule_take(hm_schedule *schedule, const hm_load *load, hm_work *work);
/* Ends a range that was taken; the file's last one closes the file. */
void hm_schedule_finish(hm_schedule *schedule, hm_work *work, bool changed);
/* Stops all threads; the first error counts. Takes `*error`, which may be NULL. */
void hm_schedule_fail(hm_schedule *schedule, hm_error **error);
static inline bool hm_schedule_stopped(hm_schedule *schedule) {
    return atomic_load_explicit(&schedule->stopped, memory_order_relaxed);
}
/* Counts bytes that were read, and calls the job's progress function now and then. */
void hm_schedule_advance(hm_schedule *schedule, uint64_t bytes);
/* Once all threads have ended: closes what is still open, and says how the job ended. */
HM_MUST_USE hm_status hm_schedule_end(hm_schedule *schedule, hm_error **error);
void hm_schedule_free(hm_schedule *schedule);

/* ---- threads ------------------------------------------------------------------------------ */

/* What a thread owns. */
typedef struct hm_worker {
    hm_schedule *schedule;
    hm_hasher hasher;
    uint8_t *memory; /* schedule->memory bytes */
    hm_windows windows;
} hm_worker;

/*
 * Hashes `first` and further ranges beside it, until this thread should take no more. A range that
 * is not finished since the job stopped is left to hm_schedule_end().
 */
void hm_lanes_run(hm_worker *worker, const hm_work *first);

/* ---- streams: long ranges, hashed alone ---------------------------------------------------- */

/* What lets threads that have nothing else to do help with a range. */
struct hm_stream {
    hm_schedule *schedule;
    hm_work work;
    hm_stream *next;      /* in schedule->streams */
    pthread_mutex_t lock; /* guards what follows, and what the kinds of streams add */
    pthread_cond_t changed;
    unsigned helpers;
    bool ended;   /* the file is shorter than the range */
    bool closing; /* the owner wants no more help */
};

/* Hashes one range that nothing else is to slow down. */
void hm_stream_run(hm_worker *worker, const hm_work *work);
/* For a thread that finds nothing to take: lends its hands to streams until they end. */
void hm_stream_help(hm_worker *worker);

/* Makes a stream known to helpers. */
void hm_stream_open(hm_stream *stream, hm_worker *worker, const hm_work *work);
/* Waits until no helper touches it any more, and ends its range. */
void hm_stream_close(hm_stream *stream);
void hm_stream_set_ended(hm_stream *stream);

/* Any hash: helpers read ahead, and hash the range's parts. */
void hm_ahead_run(hm_worker *worker, const hm_work *work);
bool hm_ahead_wants_help(const hm_stream *stream); /* these with the stream's lock held */
void hm_ahead_help(hm_stream *stream);

/* BLAKE3: helpers hash other pieces of the tree. Ranges with parts do not fit. */
bool hm_blake3_tree_fits(const hm_work *work);
void hm_blake3_tree_run(hm_worker *worker, const hm_work *work);
bool hm_blake3_tree_wants_help(const hm_stream *stream);
void hm_blake3_tree_help(hm_worker *worker, hm_stream *stream);

/* The last page of a mapped file shows zeros behind its end, without a signal: so this is asked. */
bool hm_work_shrunk(const hm_work *work);

/* ---- reading ------------------------------------------------------------------------------ */

/*
 * Reads `length` bytes at `done` bytes into the range: to `*data`, which becomes the sink's memory
 * where the range has one and is `buffer` otherwise; a sink that is a file is written here too.
 * `*ended`: the file was shorter.
 */
HM_MUST_USE hm_status hm_work_read(const hm_schedule *schedule, const hm_work *work, uint64_t done,
                                   size_t length, uint8_t *buffer, const uint8_t **data,
                                   bool *ended, hm_error **error);

#endif
