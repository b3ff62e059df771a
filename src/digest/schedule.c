/* SPDX-License-Identifier: Apache-2.0 */
/* Hands ranges to threads; opens and closes their files; keeps the first error. */
#include "digest/engine.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROGRESS_INTERVAL INT64_C(50000000) /* nanoseconds */
#define RANGE_COST (16 * 1024)              /* of opening and closing, in bytes hashed meanwhile */

enum {
    SMALL_FILE_BITS = 20, /* files under 1 MiB stay in the order they came in */
    AHEAD_LANE = 1024 * 1024,
    AHEAD_ALONE = 8 * AHEAD_LANE,
};

static int64_t now(void) {
    struct timespec time = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void stop(hm_schedule *schedule) {
    atomic_store_explicit(&schedule->stopped, true, memory_order_relaxed);
}

/* With the lock held. */
static void note_changed(hm_schedule *schedule, hm_file *file) {
    file->changed = true;
    if (schedule->job->stop_on_change) {
        stop(schedule);
    }
}

/* Tells what became of a file whose ranges have all ended. */
static void set_states(hm_schedule *schedule, const hm_file *file, hm_range_state state) {
    for (size_t i = 0; i < file->count; i++) {
        schedule->job->ranges[file->first + i].state = state;
    }
}

static size_t number_of(const hm_schedule *schedule, const hm_file *file) {
    return schedule->job->ranges[file->first].file;
}

/* Whether each range was read to its end. No thread is about the file any more. */
static bool is_whole(const hm_schedule *schedule, const hm_file *file) {
    bool whole = !file->changed && file->finished == file->count;
    for (size_t i = 0; i < file->count && whole; i++) {
        whole = schedule->job->ranges[file->first + i].state == HM_RANGE_DONE;
    }
    return whole;
}

static hm_status close_descriptors(hm_schedule *schedule, hm_file *file, bool *changed,
                                   hm_error **error) {
    const hm_source *source = &schedule->job->source;
    size_t number = number_of(schedule, file);
    hm_status status = HM_OK;
    if (file->fd >= 0) {
        status = source->close(source->context, number, file->fd, changed, error);
    }
    if (file->sink >= 0) {
        bool whole = status == HM_OK && !*changed && is_whole(schedule, file);
        hm_status closed = source->close_sink(source->context, number, file->sink, whole, error);
        status = status == HM_OK ? closed : status;
    }
    file->fd = -1;
    file->sink = -1;
    return status;
}

/* Closes a file that no thread uses any more. Called without the lock. */
static void close_file(hm_schedule *schedule, hm_file *file) {
    hm_error *error = NULL;
    bool changed = false;
    hm_status status = close_descriptors(schedule, file, &changed, &error);
    (void)pthread_mutex_lock(&schedule->lock);
    file->state = HM_FILE_CLOSED;
    if (changed) {
        note_changed(schedule, file);
    }
    if (file->changed) {
        set_states(schedule, file, HM_RANGE_CHANGED);
    } else if (status != HM_OK || (schedule->failed && file->finished < file->count)) {
        set_states(schedule, file, HM_RANGE_PENDING);
    }
    (void)pthread_mutex_unlock(&schedule->lock);
    if (status != HM_OK) {
        hm_schedule_fail(schedule, &error);
    }
}

/* Gets the descriptor that the file's ranges are copied to. */
static hm_status open_sink(hm_schedule *schedule, hm_file *file, hm_error **error) {
    const hm_source *source = &schedule->job->source;
    int fd = -1;
    if (source->open_sink == NULL) {
        return HM_OK;
    }
    hm_status status = source->open_sink(source->context, number_of(schedule, file), &fd, error);
    file->sink = status == HM_OK ? fd : -1;
    for (size_t i = 0; i < file->count; i++) {
        hm_sink *sink = &schedule->job->ranges[file->first + i].sink;
        if (sink->kind == HM_SINK_FILE) {
            sink->fd = file->sink;
            sink->kind = file->sink >= 0 ? HM_SINK_FILE : HM_SINK_NONE;
        }
    }
    return status;
}

/* Opens a file, with the lock held, which is let go meanwhile. */
static void open_file(hm_schedule *schedule, hm_file *file) {
    const hm_source *source = &schedule->job->source;
    hm_error *error = NULL;
    bool changed = false;
    int fd = -1;
    file->state = HM_FILE_OPENING;
    (void)pthread_mutex_unlock(&schedule->lock);
    hm_status status =
        source->open(source->context, number_of(schedule, file), &fd, &changed, &error);
    if (status == HM_OK && fd < 0 && !changed) {
        status = hm_fail(&error, HM_UNDECIDED, HM_REASON_NONE, "a file was not opened");
    }
    hm_status opened = status;
    if (status == HM_OK && !changed) {
        status = open_sink(schedule, file, &error);
    }
    if (status != HM_OK) {
        hm_schedule_fail(schedule, &error);
    }
    (void)pthread_mutex_lock(&schedule->lock);
    file->fd = opened == HM_OK ? fd : -1;
    file->state = HM_FILE_OPEN;
    if (changed) {
        note_changed(schedule, file);
    }
    (void)pthread_cond_broadcast(&schedule->opened);
}

/* Moves the cursor over one range, with the lock held. */
static hm_file *next_range(hm_schedule *schedule, hm_work *work) {
    hm_file *file = &schedule->files[schedule->next_file];
    work->file = file;
    work->range = &schedule->job->ranges[file->first + schedule->next_range];
    schedule->untaken--;
    schedule->next_range++;
    if (schedule->next_range == file->count) {
        schedule->next_file++;
        schedule->next_range = 0;
    }
    return file;
}

/*
 * Whether a thread should take the next range, with the lock held. A stream is fastest alone, a
 * thread with many streams; so a range goes alone when it would otherwise be the last to end, and
 * a thread takes no more streams than its share of what is left, lest others have nothing to do.
 * With parts a range is two streams: beside others for one thread, alone for two.
 */
static hm_take judge(const hm_schedule *schedule, const hm_load *load) {
    const hm_file *file = &schedule->files[schedule->next_file];
    const hm_range *range = &schedule->job->ranges[file->first + schedule->next_range];
    size_t width = range->parts != NULL ? 2 : 1;
    uint64_t done = atomic_load_explicit(&schedule->bytes_done, memory_order_relaxed);
    double left = (double)(schedule->bytes_total - done) + (double)schedule->untaken * RANGE_COST;
    double share = left / schedule->threads;
    double weight = (double)range->length + RANGE_COST;
    if (load->lanes > 0) {
        bool fits = load->lanes < load->limit && (double)load->bytes + weight / 2 <= share &&
                    hm_lanes_fit(range);
        return fits ? HM_TAKE_LANE : HM_TAKE_LATER;
    }
    if (load->limit <= 1 || !hm_lanes_fit(range)) {
        return HM_TAKE_ALONE;
    }
    if (width > schedule->threads) {
        return HM_TAKE_LANE;
    }
    const hm_sha256_choice *sha256 = &schedule->sha256;
    size_t streams = (schedule->untaken + schedule->threads - 1) / schedule->threads;
    double together = (double)hm_sha256_speed(sha256, width * streams) / (double)width;
    bool last = weight * together >= share * sha256->speed_one;
    return last && !sha256->forced ? HM_TAKE_ALONE : HM_TAKE_LANE;
}

/* Gets a range's file opened, by this thread or by the one that is about it, with the lock held. */
static bool provide_file(hm_schedule *schedule, hm_file *file, hm_work *work) {
    if (file->state == HM_FILE_UNOPENED) {
        open_file(schedule, file);
    }
    while (file->state == HM_FILE_OPENING) {
        (void)pthread_cond_wait(&schedule->opened, &schedule->lock);
    }
    work->fd = file->fd;
    if (file->changed) {
        (void)pthread_mutex_unlock(&schedule->lock);
        hm_schedule_finish(schedule, work, true);
        (void)pthread_mutex_lock(&schedule->lock);
        return false;
    }
    return work->fd >= 0;
}

hm_take hm_schedule_take(hm_schedule *schedule, const hm_load *load, hm_work *work) {
    hm_take take = HM_TAKE_NOTHING;
    bool taken = false;
    (void)pthread_mutex_lock(&schedule->lock);
    while (!taken && !hm_schedule_stopped(schedule) && schedule->untaken > 0) {
        take = judge(schedule, load);
        if (take == HM_TAKE_LATER) {
            break;
        }
        taken = provide_file(schedule, next_range(schedule, work), work);
    }
    if (taken && take == HM_TAKE_ALONE) {
        schedule->streams_announced++;
    }
    work->ahead = take == HM_TAKE_ALONE ? AHEAD_ALONE : AHEAD_LANE;
    (void)pthread_mutex_unlock(&schedule->lock);
    return taken || take == HM_TAKE_LATER ? take : HM_TAKE_NOTHING;
}

static bool is_expected(const hm_schedule *schedule, const hm_range *range) {
    return range->expected == NULL ||
           memcmp(range->digest, range->expected, hm_hash_size(schedule->job->hash)) == 0;
}

void hm_schedule_finish(hm_schedule *schedule, hm_work *work, bool changed) {
    hm_file *file = work->file;
    (void)pthread_mutex_lock(&schedule->lock);
    if (changed) {
        note_changed(schedule, file);
    } else {
        work->range->state = HM_RANGE_DONE; /* unless the file turns out to have changed */
        if (!is_expected(schedule, work->range)) {
            stop(schedule);
        }
    }
    file->finished++;
    bool last = file->finished == file->count;
    (void)pthread_mutex_unlock(&schedule->lock);
    if (last) {
        close_file(schedule, file);
    }
    work->file = NULL;
}

void hm_schedule_fail(hm_schedule *schedule, hm_error **error) {
    (void)pthread_mutex_lock(&schedule->lock);
    if (!schedule->failed) {
        schedule->failed = true;
        schedule->error = *error;
        *error = NULL;
    }
    stop(schedule);
    (void)pthread_mutex_unlock(&schedule->lock);
    hm_error_free(error);
}

/* Asks the job's owner, one thread at a time. */
static void report_progress(hm_schedule *schedule, uint64_t done) {
    const hm_digest_job *job = schedule->job;
    if (!job->progress(job->progress_context, done, schedule->bytes_total)) {
        hm_error *error = NULL;
        (void)hm_fail(&error, HM_UNDECIDED, HM_REASON_NONE, "stopped on request");
        hm_schedule_fail(schedule, &error);
    }
}

void hm_schedule_advance(hm_schedule *schedule, uint64_t bytes) {
    (void)atomic_fetch_add_explicit(&schedule->bytes_done, bytes, memory_order_relaxed);
    if (schedule->job->progress == NULL || hm_schedule_stopped(schedule) ||
        pthread_mutex_trylock(&schedule->progress_lock) != 0) {
        return;
    }
    int64_t time = now();
    if (time - schedule->progress_time >= PROGRESS_INTERVAL) {
        schedule->progress_time = time;
        report_progress(schedule, atomic_load(&schedule->bytes_done));
    }
    (void)pthread_mutex_unlock(&schedule->progress_lock);
}

/* What the job's status is once all files are closed. */
static hm_status outcome(hm_schedule *schedule, hm_error **error) {
    if (!schedule->failed) {
        return HM_OK;
    }
    if (schedule->error == NULL) {
        return hm_fail_memory(error);
    }
    return hm_error_move(error, &schedule->error);
}

hm_status hm_schedule_end(hm_schedule *schedule, hm_error **error) {
    if (schedule->job->progress != NULL && !hm_schedule_stopped(schedule)) {
        report_progress(schedule, schedule->bytes_total);
    }
    for (size_t i = 0; i < schedule->file_count; i++) {
        if (schedule->files[i].state == HM_FILE_OPEN) {
            close_file(schedule, &schedule->files[i]);
        }
    }
    return outcome(schedule, error);
}

/* Counts files; with `files`, lists them too. */
static size_t group_files(const hm_digest_job *job, hm_file *files) {
    size_t count = 0;
    for (size_t i = 0; i < job->range_count; i++) {
        bool first = i == 0 || job->ranges[i].file != job->ranges[i - 1].file;
        if (first && files != NULL) {
            files[count] = (hm_file){.first = i, .fd = -1, .sink = -1};
        }
        count += first;
        if (files != NULL) {
            files[count - 1].count++;
        }
    }
    return count;
}

/* Bigger first, or the longest stream is the last to start; like sizes as they lie on the disk. */
static int size_class(const hm_range *range) {
    uint64_t units = range->length >> SMALL_FILE_BITS;
    return units == 0 ? 0 : 64 - __builtin_clzll(units);
}

static int compare_files(const void *a, const void *b, void *context) {
    const hm_range *ranges = context;
    const hm_file *left = a;
    const hm_file *right = b;
    int order = size_class(&ranges[right->first]) - size_class(&ranges[left->first]);
    return order != 0 ? order : (left->first > right->first) - (left->first < right->first);
}

static hm_status check_ranges(hm_schedule *schedule, hm_error **error) {
    for (size_t i = 0; i < schedule->job->range_count; i++) {
        hm_range *range = &schedule->job->ranges[i];
        uint64_t end;
        range->state = HM_RANGE_PENDING;
        if (!hm_add_u64(range->offset, range->length, &end) || end > INT64_MAX ||
            !hm_add_u64(schedule->bytes_total, range->length, &schedule->bytes_total)) {
            return hm_fail(error, HM_USAGE, HM_REASON_NONE, "a range lies beyond any file");
        }
        if (range->parts != NULL && range->part_size == 0) {
            return hm_fail(error, HM_USAGE, HM_REASON_NONE, "parts of a range have no bytes");
        }
    }
    return HM_OK;
}

hm_status hm_schedule_init(hm_schedule *schedule, hm_digest_job *job, hm_error **error) {
    *schedule = (hm_schedule){.job = job, .untaken = job->range_count, .threads = 1};
    hm_status status = check_ranges(schedule, error);
    if (status != HM_OK) {
        return status;
    }
    schedule->file_count = group_files(job, NULL);
    schedule->files = hm_alloc(schedule->file_count, sizeof *schedule->files);
    if (schedule->files == NULL) {
        return hm_fail_memory(error);
    }
    (void)group_files(job, schedule->files);
    qsort_r(schedule->files, schedule->file_count, sizeof *schedule->files, compare_files,
            job->ranges);
    (void)pthread_mutex_init(&schedule->lock, NULL);
    (void)pthread_mutex_init(&schedule->progress_lock, NULL);
    (void)pthread_cond_init(&schedule->opened, NULL);
    (void)pthread_cond_init(&schedule->streams_changed, NULL);
    return HM_OK;
}

void hm_schedule_free(hm_schedule *schedule) {
    if (schedule->files != NULL) {
        (void)pthread_mutex_destroy(&schedule->lock);
        (void)pthread_mutex_destroy(&schedule->progress_lock);
        (void)pthread_cond_destroy(&schedule->opened);
        (void)pthread_cond_destroy(&schedule->streams_changed);
    }
    hm_error_free(&schedule->error);
    free(schedule->files);
    schedule->files = NULL;
}
