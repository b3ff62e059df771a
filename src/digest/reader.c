/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a range by pread: never by a mapping, under which a file that shrinks would kill the
 * process. What is hashed is the private copy, which is also what a sink gets.
 */
#include "digest/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FETCH_STEP = 128 * 1024
}; /* the most that Linux takes of one hint, with its usual setting */

static const char *name_of(const hm_schedule *schedule, const hm_work *work) {
    const hm_source *source = &schedule->job->source;
    return source->name(source->context, work->range->file);
}

static hm_status write_sink(const hm_schedule *schedule, const hm_work *work, uint64_t done,
                            const uint8_t *data, size_t length, hm_error **error) {
    const hm_sink *sink = &work->range->sink;
    for (size_t written = 0; written < length;) {
        uint64_t offset = sink->offset + done + written;
        ssize_t count = pwrite(sink->fd, data + written, length - written, (off_t)offset);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            return hm_fail_errno(error, count < 0 ? errno : EIO, "cannot write the copy of '%s'",
                                 name_of(schedule, work));
        }
        written += (size_t)count;
    }
    return HM_OK;
}

/* Reads until `length` bytes are there or the file ends. */
static hm_status read_fully(const hm_schedule *schedule, const hm_work *work, uint64_t offset,
                            uint8_t *target, size_t length, bool *ended, hm_error **error) {
    size_t have = 0;
    while (have < length) {
        ssize_t count = pread(work->fd, target + have, length - have, (off_t)(offset + have));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return hm_fail_errno(error, errno, "cannot read '%s'", name_of(schedule, work));
        }
        if (count == 0) {
            *ended = true;
            return HM_OK;
        }
        have += (size_t)count;
    }
    *ended = false;
    return HM_OK;
}

/*
 * Has the system fetch the bytes from `from` to `to` of the range while others are hashed. Its own
 * readahead is for one reader going straight on: many lanes in one file, or two threads taking
 * turns, leave a slow mount with one small request at a time.
 */
static void fetch(const hm_work *work, uint64_t from, uint64_t to) {
    const hm_range *range = work->range;
    to = to < range->length ? to : range->length;
    for (; from < to; from += FETCH_STEP) {
        uint64_t step = to - from < FETCH_STEP ? to - from : FETCH_STEP;
        (void)posix_fadvise(work->fd, (off_t)(range->offset + from), (off_t)step,
                            POSIX_FADV_WILLNEED);
    }
}

static void fetch_ahead(const hm_work *work, uint64_t done, size_t length) {
    uint64_t end = done + length;
    fetch(work, done == 0 ? length : done + work->ahead, end + work->ahead);
}

hm_status hm_work_read(const hm_schedule *schedule, const hm_work *work, uint64_t done,
                       size_t length, uint8_t *buffer, const uint8_t **data, bool *ended,
                       hm_error **error) {
    const hm_range *range = work->range;
    uint8_t *target =
        range->sink.kind == HM_SINK_MEMORY ? range->sink.memory + (size_t)done : buffer;
    fetch_ahead(work, done, length);
    hm_status status =
        read_fully(schedule, work, range->offset + done, target, length, ended, error);
    *data = target;
    if (status == HM_OK && !*ended && range->sink.kind == HM_SINK_FILE) {
        status = write_sink(schedule, work, done, target, length, error);
    }
    return status;
}

bool hm_work_shrunk(const hm_work *work) {
    const hm_range *range = work->range;
    struct stat st;
    return fstat(work->fd, &st) != 0 || (uint64_t)st.st_size < range->offset + range->length;
}
