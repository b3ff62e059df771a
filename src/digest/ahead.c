/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One range, hashed alone. A thread that has nothing else to do reads ahead for it, so that reading
 * costs the hash no time. Whoever has read a piece also hashes it as a part of the range, where
 * such digests are wanted too.
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
    hm_hasher part_hasher;
    uint64_t parted; /* bytes of the range that were hashed as parts */
} ahead;

static size_t next_length(const ahead *a) {
    uint64_t left = a->stream.work.range->length - a->asked;
    return left < a->slot_size ? (size_t)left : a->slot_size;
}

/* Hashes a piece as what it is of the range's parts: the end of one, some, the begin of one. */
static hm_status hash_parts(ahead *a, uint64_t done, hm_bytes data, hm_error **error) {
    const hm_range *range = a->stream.work.range;
    size_t size = hm_hash_size(a->part_hasher.hash);
    hm_status status = HM_OK;
    while (status == HM_OK && data.length > 0) {
        uint64_t left = range->part_size - done % range->part_size;
        size_t step = left < data.length ? (size_t)left : data.length;
        uint8_t *digest = range->parts + (size_t)(done / range->part_size) * size;
        if (done % range->part_size == 0) {
            status = hm_hasher_start(&a->part_hasher, error);
        }
        if (status == HM_OK) {
            status = hm_hasher_add(&a->part_hasher, hm_bytes_of(data.data, step), error);
        }
        done += step;
        if (status == HM_OK && (step == left || done == range->length)) {
            status = hm_hasher_finish(&a->part_hasher, digest, error);
        }
        data = hm_bytes_of(data.data + step, data.length - step);
    }
    return status;
}

/* Waits for the piece before this one, which the other thread may have in hand. */
static bool wait_for_turn(ahead *a, uint64_t done) {
    hm_stream *s = &a->stream;
    bool over = false;
    (void)pthread_mutex_lock(&s->lock);
    while (!over && a->parted != done) {
        over = s->ended || s->closing || hm_schedule_stopped(s->schedule);
        if (!over) {
            (void)pthread_cond_wait(&s->changed, &s->lock);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return !over;
}

static bool add_to_parts(ahead *a, const struct slot *slot, uint64_t done) {
    hm_stream *s = &a->stream;
    hm_error *error = NULL;
    if (!wait_for_turn(a, done)) {
        return false;
    }
    if (hash_parts(a, done, hm_bytes_of(slot->data, slot->length), &error) != HM_OK) {
        hm_schedule_fail(s->schedule, &error);
        return false;
    }
    (void)pthread_mutex_lock(&s->lock);
    a->parted = done + slot->length;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
    return true;
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
        return false;
    }
    return a->stream.work.range->parts == NULL || add_to_parts(a, slot, done);
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
    hm_status status = work->range->parts == NULL
                           ? HM_OK
                           : hm_hasher_init(&a.part_hasher, worker->hasher.hash, &error);
    hm_stream_open(&a.stream, worker, work);
    if (status == HM_OK) {
        status = consume(&a, &worker->hasher, &error);
    }
    if (status != HM_OK) {
        hm_schedule_fail(worker->schedule, &error);
    }
    hm_stream_close(&a.stream);
    hm_hasher_free(&a.part_hasher);
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
