/* SPDX-License-Identifier: Apache-2.0 */
/* hm_digest_run(): threads that take ranges from the schedule until none is left. */
#include "digest/engine.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#define MIB (1024 * 1024)

enum {
    THREADS_MAX = 1024,
    THREAD_COST = 512 * 1024, /* bytes of work that are worth a thread of their own */
    THREAD_RANGES = 32,       /* and files, however small */
    HELPER_COST = 8 * MIB,    /* bytes of one range that are worth a helper */
    MEMORY_MAX = 32 * MIB,    /* for the buffers of all threads */
    MEMORY_THREAD_MAX = MIB,
    MEMORY_BLAKE3_MAX = 2 * MIB,
    MEMORY_THREAD_LEAST = MIB / 4,
    PAGE = 4096,
    WINDOW_MAX = MIB,
    WINDOW_MEMORY = 32 * MIB, /* of all lanes of all threads */
    WINDOW_THREADS = 4,       /* more would only wait for each other, in the kernel */
    FILES_SPARE = 64,         /* descriptors left to the rest of the process */
};

static void work_on(hm_worker *worker) {
    hm_load load = {.limit = worker->schedule->lanes};
    hm_work work;
    for (;;) {
        switch (hm_schedule_take(worker->schedule, &load, &work)) {
        case HM_TAKE_NOTHING:
        case HM_TAKE_LATER: hm_stream_help(worker); return;
        case HM_TAKE_LANE: hm_lanes_run(worker, &work); break;
        case HM_TAKE_ALONE: hm_stream_run(worker, &work); break;
        }
    }
}

static hm_status worker_init(hm_worker *worker, hm_error **error) {
    hm_status status = hm_hasher_init(&worker->hasher, worker->schedule->job->hash, error);
    if (status != HM_OK) {
        return status;
    }
    worker->memory = malloc(worker->schedule->memory);
    return worker->memory != NULL ? HM_OK : hm_fail_memory(error);
}

static void *thread_main(void *context) {
    hm_worker worker = {.schedule = context};
    hm_error *error = NULL;
    if (worker_init(&worker, &error) == HM_OK) {
        work_on(&worker);
    } else {
        hm_schedule_fail(worker.schedule, &error);
    }
    hm_hasher_free(&worker.hasher);
    free(worker.memory);
    hm_windows_close(&worker.windows);
    return NULL;
}

/* How many threads the job is worth, the calling one included. */
static unsigned useful_threads(const hm_digest_job *job, uint64_t bytes) {
    uint64_t useful = 1 + bytes / THREAD_COST + job->range_count / THREAD_RANGES;
    uint64_t most = job->range_count + bytes / HELPER_COST;
    useful = useful < most ? useful : most;
    useful = useful < THREADS_MAX ? useful : THREADS_MAX;
    if (useful <= 1) {
        return 1;
    }
    unsigned allowed = job->jobs != 0 ? job->jobs : hm_digest_processors();
    return allowed < useful ? allowed : (unsigned)useful;
}

/* Each lane may hold a file open. */
static size_t affordable_lanes(size_t lanes, unsigned threads) {
    struct rlimit limit = {0};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return lanes;
    }
    size_t files = limit.rlim_cur > FILES_SPARE ? (size_t)limit.rlim_cur - FILES_SPARE : 1;
    size_t each = files / threads > 0 ? files / threads : 1;
    return each < lanes ? each : lanes;
}

static void set_up(hm_schedule *schedule) {
    const hm_digest_job *job = schedule->job;
    schedule->threads = useful_threads(job, schedule->bytes_total);
    schedule->lanes = 1;
    if (job->hash == HM_HASH_SHA256) {
        schedule->lanes = affordable_lanes(schedule->sha256.lanes, schedule->threads);
    }
    size_t most = job->hash == HM_HASH_BLAKE3 ? MEMORY_BLAKE3_MAX : MEMORY_THREAD_MAX;
    size_t memory = MEMORY_MAX / schedule->threads;
    memory = memory < most ? memory : most;
    schedule->memory = memory > MEMORY_THREAD_LEAST ? memory : MEMORY_THREAD_LEAST;
    size_t window = WINDOW_MEMORY / (schedule->threads * HM_SHA256_LANES_MAX);
    window = window < WINDOW_MAX ? window / PAGE * PAGE : WINDOW_MAX;
    schedule->window = schedule->threads <= WINDOW_THREADS ? window : 0;
}

/*
 * Runs the job in the calling thread and others. Those block all signals, so that a program's
 * handlers run where it expects them; but not SIGBUS, which window.c needs where it arises. If the
 * system gives fewer threads, fewer will do.
 */
static void run_threads(hm_schedule *schedule) {
    pthread_t threads[THREADS_MAX];
    unsigned started = 0;
    sigset_t all;
    sigset_t old;
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGBUS);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    while (started + 1 < schedule->threads &&
           pthread_create(&threads[started], NULL, thread_main, schedule) == 0) {
        started++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)thread_main(schedule);
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
}

/*
 * One stream takes its time however many threads there are; only BLAKE3 is computed by several.
 * Streams side by side in one thread are faster than one after the other with SHA-256 alone.
 */
double hm_digest_estimate(hm_hash hash, unsigned jobs, const hm_digest_sizes *sizes) {
    hm_sha256_choice sha256 = {.lanes = 1, .speed_one = 1, .speed_few = 1};
    size_t threads = jobs != 0 ? jobs : hm_digest_processors();
    double total = (double)sizes->total;
    if (hash == HM_HASH_BLAKE3) {
        return total / (double)threads;
    }
    if (hash == HM_HASH_SHA256 && hm_sha256_choose(&sha256, NULL) != HM_OK) {
        return total;
    }
    threads = threads < sizes->count ? threads : sizes->count;
    size_t streams = (sizes->count + threads - 1) / threads;
    streams = streams < sha256.lanes ? streams : sha256.lanes;
    double shared = total / (double)threads / hm_sha256_speed(&sha256, streams);
    double longest = (double)sizes->longest / sha256.speed_one;
    return shared > longest ? shared : longest;
}

hm_status hm_digest_run(hm_digest_job *job, hm_error **error) {
    hm_schedule schedule;
    hm_status status = hm_schedule_init(&schedule, job, error);
    if (status == HM_OK) {
        status = hm_sha256_choose(&schedule.sha256, error);
    }
    if (status == HM_OK) {
        set_up(&schedule);
        run_threads(&schedule);
        status = hm_schedule_end(&schedule, error);
    }
    hm_schedule_free(&schedule);
    return status;
}
