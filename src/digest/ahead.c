/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One range, hashed alone. A thread that has nothing else to do reads ahead for it, so that reading
 * costs the hash no time.
 */
#include "digest/engine.h"

enum {
    SLOTS = 4,
    HELP_LEAST = 4 * 1024 * 1024, /* bytes yet to be read that are worth a second thread */
};

typedef struct ahead {
    hm_stream stream; /* first, so that a pointer to it is one to the whole */
    uint8_t *memory;
    size_t slot_size;
    struct slot {
        const uint8_t *data;
        size_t length;
    } slots[SLOTS];
    unsigned first; /* the slot to be hashed next */
    unsigned filled;
    uint64_t asked; /* bytes of the range that were read, or are being read */
} ahead;

static size_t next_length(const ahead *a) {
    uint64_t left = a->stream.work.range->length - a->asked;
    return left < a->slot_size ? (size_t)left : a->slot_size;
}

/* Reads the next piece into a slot that nobody else looks at. Called without the lock. */
static bool read_slot(ahead *a, unsigned index, uint64_t done, size_t length) {
    hm_schedule *schedule = a->stream.schedule;
    struct slot *slot = &a->slots[index];
    hm_error *error = NULL;
    bool ended = false;
    slot->length = length;
    if (hm_work_read(schedule, &a->stream.work, done, length, a->memory + index * a->slot_size,
                     &slot->data, &ended, &error) != HM_OK) {
        hm_schedule_fail(schedule, &error);
        return false;
    }
    if (ended) {
        hm_stream_set_ended(&a->stream);
    }
    return !ended;
}

/* Waits for a piece that was read ahead; without a helper, reads it here and now. */
static bool provide(ahead *a) {
    hm_stream *s = &a->stream;
    (void)pthread_mutex_lock(&s->lock);
    while (a->filled == 0 && s->helpers > 0) {
        (void)pthread_cond_wait(&s->changed, &s->lock);
    }
    bool there = a->filled > 0;
    bool stop = s->ended || hm_schedule_stopped(s->schedule);
    uint64_t done = a->asked;
    size_t length = next_length(a);
    if (!there && !stop) {
        a->asked += length;
        a->filled++; /* so that a helper that comes now takes the next slot */
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (stop) {
        return false;
    }
    return there || read_slot(a, a->first, done, length);
}

/* Gives back a slot. Without a helper the same one is used again, which is still in the cache. */
static void release(ahead *a) {
    hm_stream *s = &a->stream;
    (void)pthread_mutex_lock(&s->lock);
    a->filled--;
    if (s->helpers > 0 || a->filled > 0) {
        a->first = (a->first + 1) % SLOTS;
    }
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

/* Hashes the range to its end, to the file's, or until the job stops. */
static hm_status consume(ahead *a, hm_hasher *hasher, hm_error **error) {
    const hm_range *range = a->stream.work.range;
    hm_status status = hm_hasher_start(hasher, error);
    for (uint64_t done = 0; status == HM_OK && done < range->length;) {
        if (!provide(a)) {
            return HM_OK;
        }
        const struct slot *slot = &a->slots[a->first];
        size_t step = slot->length;
        status = hm_hasher_add(hasher, hm_bytes_of(slot->data, step), error);
        release(a);
        done += step;
        hm_schedule_advance(a->stream.schedule, step);
    }
    return status == HM_OK ? hm_hasher_finish(hasher, a->stream.work.range->digest, error) : status;
}

void hm_ahead_run(hm_worker *worker, const hm_work *work) {
    ahead a = {.memory = worker->memory, .slot_size = worker->schedule->memory / SLOTS};
    hm_error *error = NULL;
    hm_stream_open(&a.stream, worker, work);
    if (consume(&a, &worker->hasher, &error) != HM_OK) {
        hm_schedule_fail(worker->schedule, &error);
    }
    hm_stream_close(&a.stream);
}

bool hm_ahead_wants_help(const hm_stream *stream) {
    const ahead *a = (const ahead *)stream;
    return stream->helpers == 0 && stream->work.range->length - a->asked >= HELP_LEAST;
}

/* Waits for a free slot and takes the next piece; false when there is nothing more to do. */
static bool claim(ahead *a, unsigned *index, uint64_t *done, size_t *length) {
    hm_stream *s = &a->stream;
    while (a->filled == SLOTS && !s->closing) {
        (void)pthread_cond_wait(&s->changed, &s->lock);
    }
    *length = next_length(a);
    *done = a->asked;
    *index = (a->first + a->filled) % SLOTS;
    bool useful = *length > 0 && !s->closing && !s->ended && !hm_schedule_stopped(s->schedule);
    a->asked += useful ? *length : 0;
    return useful;
}

void hm_ahead_help(hm_stream *stream) {
    ahead *a = (ahead *)stream;
    unsigned index;
    uint64_t done;
    size_t length;
    (void)pthread_mutex_lock(&stream->lock);
    while (claim(a, &index, &done, &length)) {
        (void)pthread_mutex_unlock(&stream->lock);
        bool read = read_slot(a, index, done, length);
        (void)pthread_mutex_lock(&stream->lock);
        if (!read) {
            break;
        }
        a->filled++;
        (void)pthread_cond_broadcast(&stream->changed);
    }
    (void)pthread_mutex_unlock(&stream->lock);
}
