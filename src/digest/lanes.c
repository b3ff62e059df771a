/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 of many ranges side by side in one thread. Each lane holds one range; all advance by what
 * the shortest of them has at hand, and a lane whose range is finished takes the next one. A range
 * whose parts are to be digested too is two streams over the same bytes.
 */
#include "digest/engine.h"

#include <string.h>

enum {
    LENGTH_FIELD = 8,
    TAIL_BLOCKS = 2,
    WINDOW_LEAST = 256 * 1024, /* bytes for which a mapping costs less than reading */
    PART_LEAST = 64 * 1024,    /* shorter parts would cut what is read into too small pieces */
};

typedef struct lane {
    hm_sha256_lane sha256; /* first, so that a pointer to it is one to the lane */
    hm_work work;
    enum { LANE_IDLE, LANE_DATA, LANE_TAIL } state;
    uint64_t read;     /* bytes of the range so far */
    uint64_t reported; /* the most that it ever was */
    bool mapped;       /* some of them were seen through the window */
    bool unmappable;
    size_t blocks;      /* whole ones at sha256.data */
    size_t tail_blocks; /* the end of the range with its padding, known once all is read */
    uint8_t *buffer;
    uint8_t tail[TAIL_BLOCKS * HM_SHA256_BLOCK];
    hm_sha256_lane part; /* advances with the whole, up to each part's padding */
    bool part_ends;      /* with the piece at hand */
} lane;

typedef struct lane_set {
    hm_schedule *schedule;
    hm_windows *windows;
    size_t count;
    size_t buffer_size;
    lane lanes[HM_SHA256_LANES_MAX];
} lane_set;

/*
 * FIPS 180-4, 5.1.1: a one bit, zeros, and the length in bits fill up the last block. Returns how
 * many blocks there are of `rest`, the end of a message of `total` bytes, and this.
 */
static size_t make_tail(uint8_t tail[TAIL_BLOCKS * HM_SHA256_BLOCK], const uint8_t *rest,
                        size_t length, uint64_t total) {
    uint64_t bits = total * 8;
    size_t blocks = length + 1 + LENGTH_FIELD <= HM_SHA256_BLOCK ? 1 : TAIL_BLOCKS;
    uint8_t *end = tail + blocks * HM_SHA256_BLOCK;
    memset(tail, 0, TAIL_BLOCKS * HM_SHA256_BLOCK);
    if (length > 0) {
        memcpy(tail, rest, length);
    }
    tail[length] = 0x80;
    for (int i = 1; i <= LENGTH_FIELD; i++, bits >>= 8) {
        end[-i] = (uint8_t)bits;
    }
    return blocks;
}

static void begin_range(lane *l) {
    l->state = LANE_DATA;
    l->read = 0;
    l->blocks = 0;
    l->mapped = false;
    l->part_ends = false;
    memcpy(l->sha256.state, hm_sha256_initial, sizeof l->sha256.state);
    memcpy(l->part.state, hm_sha256_initial, sizeof l->part.state);
    l->tail_blocks = make_tail(l->tail, NULL, 0, l->work.range->length);
}

static void start_lane(lane *l, const hm_work *work) {
    l->work = *work;
    l->reported = 0;
    l->unmappable = work->range->sink.kind != HM_SINK_NONE;
    begin_range(l);
}

static void store_digest(const hm_sha256_lane *stream, uint8_t *out) {
    for (size_t i = 0; i < HM_SHA256_WORDS; i++) {
        uint32_t word = stream->state[i];
        *out++ = (uint8_t)(word >> 24);
        *out++ = (uint8_t)(word >> 16);
        *out++ = (uint8_t)(word >> 8);
        *out++ = (uint8_t)word;
    }
}

static void end_lane(lane_set *set, lane *l, bool changed) {
    l->state = LANE_IDLE;
    hm_schedule_finish(set->schedule, &l->work, changed);
}

/* Shows the next piece where it lies in the page cache; 0 bytes: it is to be read. */
static size_t show_piece(lane_set *set, lane *l, uint64_t left) {
    size_t length = left < set->windows->size ? (size_t)left : set->windows->size;
    if (set->windows->base == NULL || l->unmappable || length < WINDOW_LEAST) {
        return 0;
    }
    const uint8_t *data = hm_windows_show(set->windows, (size_t)(l - set->lanes), l->work.fd,
                                          l->work.range->offset + l->read, &length);
    if (data == NULL) {
        return 0;
    }
    l->mapped = true;
    l->sha256.data = data;
    return length;
}

/* Reads the next piece; 0 bytes: there is none. */
static size_t read_piece(lane_set *set, lane *l, uint64_t left) {
    size_t length = left < set->buffer_size ? (size_t)left : set->buffer_size;
    hm_error *error = NULL;
    bool ended = false;
    if (hm_work_read(set->schedule, &l->work, l->read, length, l->buffer, &l->sha256.data, &ended,
                     &error) != HM_OK) {
        hm_schedule_fail(set->schedule, &error);
        return 0;
    }
    if (ended) {
        end_lane(set, l, true);
        return 0;
    }
    return length;
}

/* Up to the range's end, or to its part's. */
static uint64_t bytes_left(const lane *l) {
    const hm_range *range = l->work.range;
    uint64_t left = range->length - l->read;
    uint64_t part = range->parts != NULL ? range->part_size - l->read % range->part_size : left;
    return left < part ? left : part;
}

/* Pads and stores the part that has come to its end, and begins the next. */
static void end_part(const lane_set *set, lane *l) {
    const hm_range *range = l->work.range;
    uint8_t tail[TAIL_BLOCKS * HM_SHA256_BLOCK];
    uint64_t index = (l->read - 1) / range->part_size;
    uint64_t length = l->read - index * range->part_size;
    size_t rest = (size_t)(length % HM_SHA256_BLOCK);
    size_t blocks = make_tail(tail, l->sha256.data, rest, length);
    hm_sha256_lane *part = &l->part;
    part->data = tail;
    hm_sha256_advance(&set->schedule->sha256, &part, 1, blocks);
    store_digest(part, range->parts + (size_t)index * hm_hash_size(HM_HASH_SHA256));
    memcpy(part->state, hm_sha256_initial, sizeof part->state);
    l->part_ends = false;
}

static void next_piece(lane_set *set, lane *l) {
    uint64_t left = bytes_left(l);
    size_t step = show_piece(set, l, left);
    if (step == 0) {
        step = read_piece(set, l, left);
    }
    if (step == 0) {
        return;
    }
    l->read += step;
    l->blocks = step / HM_SHA256_BLOCK;
    l->part_ends = l->work.range->parts != NULL && step == left;
    if (l->read == l->work.range->length) {
        size_t whole = l->blocks * HM_SHA256_BLOCK;
        l->tail_blocks = make_tail(l->tail, l->sha256.data + whole, step - whole, l->read);
    }
    if (l->read > l->reported) {
        hm_schedule_advance(set->schedule, l->read - l->reported);
        l->reported = l->read;
    }
}

/*
 * What a window showed of a file that has become shorter was not its content. The file is read
 * again from the range's start: that tells a change from an I/O error, which looks the same here.
 */
static bool was_torn(lane_set *set, lane *l) {
    bool torn = l->mapped && hm_windows_torn(set->windows, (size_t)(l - set->lanes));
    if (torn) {
        l->unmappable = true;
        begin_range(l);
    }
    return torn;
}

/* Brings a lane whose blocks are used up to its next ones, or to its end. */
static void settle_lane(lane_set *set, lane *l) {
    while (l->state != LANE_IDLE && l->blocks == 0 && !hm_schedule_stopped(set->schedule)) {
        if (was_torn(set, l)) {
            continue;
        }
        if (l->part_ends) {
            end_part(set, l);
        }
        if (l->state == LANE_TAIL) {
            store_digest(&l->sha256, l->work.range->digest);
            end_lane(set, l, l->mapped && hm_work_shrunk(&l->work));
        } else if (l->read < l->work.range->length) {
            next_piece(set, l);
        } else {
            l->state = LANE_TAIL;
            l->sha256.data = l->tail;
            l->blocks = l->tail_blocks;
        }
    }
}

static hm_load current_load(const lane_set *set) {
    hm_load load = {.limit = set->count};
    for (size_t i = 0; i < set->count; i++) {
        const lane *l = &set->lanes[i];
        if (l->state != LANE_IDLE) {
            load.lanes++;
            load.bytes += l->work.range->length - l->read;
        }
    }
    return load;
}

/* Gives idle lanes new ranges, as long as there are some for this thread. */
static void refill(lane_set *set) {
    hm_load load = current_load(set);
    for (size_t i = 0; i < set->count && load.lanes > 0 && load.lanes < load.limit; i++) {
        lane *l = &set->lanes[i];
        hm_work work;
        while (l->state == LANE_IDLE) {
            if (hm_schedule_take(set->schedule, &load, &work) != HM_TAKE_LANE) {
                return;
            }
            start_lane(l, &work);
            settle_lane(set, l);
        }
        load = current_load(set);
    }
}

/* Hashes what all lanes have; false when there is none left. */
static bool advance(lane_set *set) {
    hm_sha256_lane *active[2 * HM_SHA256_LANES_MAX];
    size_t count = 0;
    size_t blocks = SIZE_MAX;
    for (size_t i = 0; i < set->count; i++) {
        lane *l = &set->lanes[i];
        if (l->state != LANE_IDLE) {
            active[count++] = &l->sha256;
            blocks = l->blocks < blocks ? l->blocks : blocks;
        }
        if (l->state == LANE_DATA && l->work.range->parts != NULL) {
            l->part.data = l->sha256.data;
            active[count++] = &l->part;
        }
    }
    if (count == 0) {
        return false;
    }
    hm_sha256_advance(&set->schedule->sha256, active, count, blocks);
    for (size_t i = 0; i < set->count; i++) {
        lane *l = &set->lanes[i];
        if (l->state != LANE_IDLE) {
            l->sha256.data += blocks * HM_SHA256_BLOCK;
            l->blocks -= blocks;
        }
    }
    return true;
}

bool hm_lanes_fit(const hm_range *range) {
    return range->parts == NULL ||
           (range->part_size >= PART_LEAST && range->part_size % HM_SHA256_BLOCK == 0);
}

void hm_lanes_run(hm_worker *worker, const hm_work *first) {
    hm_schedule *schedule = worker->schedule;
    lane_set set = {.schedule = schedule, .windows = &worker->windows, .count = schedule->lanes};
    if (schedule->window != 0 && worker->windows.size == 0 &&
        first->range->length >= WINDOW_LEAST) {
        hm_windows_open(&worker->windows, set.count, schedule->window);
    }
    set.buffer_size = schedule->memory / set.count / HM_SHA256_BLOCK * HM_SHA256_BLOCK;
    for (size_t i = 0; i < set.count; i++) {
        set.lanes[i].buffer = worker->memory + i * set.buffer_size;
    }
    start_lane(&set.lanes[0], first);
    do {
        for (size_t i = 0; i < set.count; i++) {
            settle_lane(&set, &set.lanes[i]);
        }
        refill(&set);
    } while (!hm_schedule_stopped(schedule) && advance(&set));
}
