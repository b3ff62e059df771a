/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BLAKE3 of one long range by several threads. The hash is a tree over chunks of 1 KiB: a piece of
 * 2^n chunks is a subtree, whose chaining value can be computed apart. The library gives none out,
 * but its hasher, told at which chunk it stands, leaves the two halves of a subtree on its stack.
 * That is not promised by its interface; hm_blake3_tree_fits() tries it out once per process, and
 * where it does not hold, ranges are hashed by one thread.
 */
#include "digest/engine.h"

#include <string.h>

enum {
    CV = BLAKE3_OUT_LEN,
    PARENT = 4,                  /* the flag of a parent node */
    PIECE_MAX = 2 * 1024 * 1024, /* a huge page of the page cache can be shown by one entry */
    WINDOW_SIZE = 2 * PIECE_MAX, /* since a piece may begin inside a page */
    AHEAD_MAX = 64,              /* pieces that may be done while an earlier one is not */
    LENGTH_LEAST = 4 * PIECE_MAX,
};

/* ---- parent nodes: the compression function, as in section 2.2 of the BLAKE3 paper ---------- */

static const uint8_t permutation[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};

static uint32_t rotate(uint32_t x, unsigned count) {
    return x >> count | x << (32 - count);
}

static void mix(uint32_t v[16], size_t a, size_t b, size_t c, size_t d, const uint32_t words[2]) {
    v[a] = v[a] + v[b] + words[0];
    v[d] = rotate(v[d] ^ v[a], 16);
    v[c] = v[c] + v[d];
    v[b] = rotate(v[b] ^ v[c], 12);
    v[a] = v[a] + v[b] + words[1];
    v[d] = rotate(v[d] ^ v[a], 8);
    v[c] = v[c] + v[d];
    v[b] = rotate(v[b] ^ v[c], 7);
}

static void one_round(uint32_t v[16], const uint32_t m[16]) {
    for (size_t i = 0; i < 4; i++) { /* columns */
        mix(v, i, 4 + i, 8 + i, 12 + i, m + 2 * i);
    }
    for (size_t i = 0; i < 4; i++) { /* diagonals */
        mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m + 8 + 2 * i);
    }
}

static void permute(uint32_t m[16]) {
    uint32_t old[16];
    memcpy(old, m, sizeof old);
    for (size_t i = 0; i < 16; i++) {
        m[i] = old[permutation[i]];
    }
}

/* The chaining value of the parent of two nodes, which stand one behind the other. */
static void parent(const uint8_t children[2 * CV], uint8_t *cv) {
    uint32_t m[16];
    uint32_t v[16];
    for (size_t i = 0; i < 16; i++) {
        const uint8_t *at = children + 4 * i;
        m[i] = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        v[i] = hm_sha256_initial[i % 8]; /* BLAKE3 takes the same numbers */
    }
    v[12] = v[13] = 0; /* the counter */
    v[14] = BLAKE3_BLOCK_LEN;
    v[15] = PARENT;
    for (int round = 0; round < 7; round++) {
        one_round(v, m);
        permute(m);
    }
    for (size_t i = 0; i < 8; i++) {
        uint32_t word = v[i] ^ v[i + 8];
        for (unsigned j = 0; j < 4; j++) {
            cv[4 * i + j] = (uint8_t)(word >> 8 * j);
        }
    }
}

/* ---- the tree ------------------------------------------------------------------------------- */

/* Subtrees from the left, joined as soon as it is known that they are not the whole tree. */
typedef struct stack {
    uint8_t cvs[BLAKE3_MAX_DEPTH + 1][CV];
    unsigned count;
    uint64_t pieces;
} stack;

static void push(stack *s, const uint8_t *cv) {
    while (s->count > (unsigned)__builtin_popcountll(s->pieces)) {
        s->count--;
        parent(s->cvs[s->count - 1], s->cvs[s->count - 1]);
    }
    memcpy(s->cvs[s->count++], cv, CV);
    s->pieces++;
}

/* The chaining value of a piece that is a whole subtree. */
static bool subtree(const uint8_t *data, size_t piece, uint64_t index, uint8_t *cv) {
    blake3_hasher hasher;
    blake3_hasher_init(&hasher);
    hasher.chunk.chunk_counter = index * (piece / BLAKE3_CHUNK_LEN);
    blake3_hasher_update(&hasher, data, piece);
    parent(hasher.cv_stack, cv);
    return hasher.cv_stack_len == 2;
}

/* What lies behind the last whole piece, one byte at least, goes through the library. */
static void finish_tree(const stack *s, size_t piece, const uint8_t *rest, size_t length,
                        uint8_t *digest) {
    blake3_hasher hasher;
    blake3_hasher_init(&hasher);
    hasher.chunk.chunk_counter = s->pieces * (piece / BLAKE3_CHUNK_LEN);
    hasher.cv_stack_len = (uint8_t)s->count;
    memcpy(hasher.cv_stack, s->cvs, s->count * CV);
    blake3_hasher_update(&hasher, rest, length);
    blake3_hasher_finalize(&hasher, digest, CV);
}

static bool library_fits;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void try_library(void) {
    enum { SMALL = 4096, PIECES = 6, REST = 1025 };
    uint8_t data[PIECES * SMALL + REST];
    uint8_t expected[CV];
    uint8_t found[CV];
    stack s = {.count = 0};
    bool fits = true;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i % 251);
    }
    for (size_t i = 0; i < PIECES; i++) {
        uint8_t cv[CV];
        fits = subtree(data + i * SMALL, SMALL, i, cv) && fits;
        push(&s, cv);
    }
    finish_tree(&s, SMALL, data + PIECES * SMALL, REST, found);
    fits =
        hm_digest_bytes(HM_HASH_BLAKE3, hm_bytes_of(data, sizeof data), expected, NULL) == HM_OK &&
        fits;
    library_fits = fits && memcmp(expected, found, CV) == 0;
}

bool hm_blake3_tree_fits(const hm_work *work) {
    (void)pthread_once(&library_once, try_library);
    return library_fits && work->range->parts == NULL && work->range->length >= LENGTH_LEAST;
}

/* ---- threads -------------------------------------------------------------------------------- */

typedef struct tree {
    hm_stream stream; /* first, so that a pointer to it is one to the whole */
    size_t piece;     /* a power of two */
    uint64_t total;   /* whole pieces; there is a rest of one byte at least */
    uint64_t claimed;
    stack done;  /* in order */
    bool mapped; /* some pieces were seen through windows */
    struct {
        uint8_t cv[CV];
        bool ready;
    } waiting[AHEAD_MAX];
} tree;

/* Reads a piece; NULL: the file ended, or the job failed. */
static const uint8_t *read_piece(hm_worker *worker, hm_stream *s, uint64_t done, size_t length) {
    const uint8_t *data = NULL;
    hm_error *error = NULL;
    bool ended = false;
    if (hm_work_read(s->schedule, &s->work, done, length, worker->memory, &data, &ended, &error) !=
        HM_OK) {
        hm_schedule_fail(s->schedule, &error);
        return NULL;
    }
    if (ended) {
        hm_stream_set_ended(s);
        return NULL;
    }
    return data;
}

/* The piece in the page cache, if it may be looked at there. */
static const uint8_t *show_piece(hm_worker *worker, const tree *t, uint64_t index) {
    const hm_work *work = &t->stream.work;
    size_t length = t->piece;
    if (worker->windows.base == NULL || work->range->sink.kind != HM_SINK_NONE) {
        return NULL;
    }
    const uint8_t *data = hm_windows_show(&worker->windows, 0, work->fd,
                                          work->range->offset + index * t->piece, &length);
    return length == t->piece ? data : NULL;
}

static bool hash_piece(hm_worker *worker, tree *t, uint64_t index, uint8_t *cv, bool *mapped) {
    const uint8_t *data = show_piece(worker, t, index);
    if (data != NULL && subtree(data, t->piece, index, cv) &&
        !hm_windows_torn(&worker->windows, 0)) {
        *mapped = true;
        return true;
    }
    data = read_piece(worker, &t->stream, index * t->piece, t->piece);
    return data != NULL && subtree(data, t->piece, index, cv);
}

static void open_window(hm_worker *worker) {
    if (worker->schedule->window != 0 && worker->windows.size == 0) {
        hm_windows_open(&worker->windows, 1, WINDOW_SIZE);
    }
}

/* With the lock held. */
static void store(tree *t, uint64_t index, const uint8_t *cv) {
    memcpy(t->waiting[index % AHEAD_MAX].cv, cv, CV);
    t->waiting[index % AHEAD_MAX].ready = true;
    while (t->done.pieces < t->claimed && t->waiting[t->done.pieces % AHEAD_MAX].ready) {
        t->waiting[t->done.pieces % AHEAD_MAX].ready = false;
        push(&t->done, t->waiting[t->done.pieces % AHEAD_MAX].cv);
    }
}

static bool is_over(const tree *t) {
    const hm_stream *s = &t->stream;
    return s->ended || s->closing || hm_schedule_stopped(s->schedule);
}

/* Hashes pieces until all are claimed. The same for the owner and for helpers. */
static void work_on(hm_worker *worker, tree *t) {
    hm_stream *s = &t->stream;
    (void)pthread_mutex_lock(&s->lock);
    while (t->claimed < t->total && !is_over(t)) {
        if (t->claimed - t->done.pieces >= AHEAD_MAX) {
            (void)pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        uint64_t index = t->claimed++;
        (void)pthread_mutex_unlock(&s->lock);
        uint8_t cv[CV];
        bool mapped = false;
        bool hashed = hash_piece(worker, t, index, cv, &mapped);
        if (hashed) {
            hm_schedule_advance(s->schedule, t->piece);
        }
        (void)pthread_mutex_lock(&s->lock);
        t->mapped = t->mapped || mapped;
        if (!hashed) {
            break;
        }
        store(t, index, cv);
        (void)pthread_cond_broadcast(&s->changed);
    }
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

/* Waits for the helpers' last pieces; false when they will not come. */
static bool wait_for_pieces(tree *t) {
    hm_stream *s = &t->stream;
    (void)pthread_mutex_lock(&s->lock);
    while (t->done.pieces < t->total && !is_over(t)) {
        (void)pthread_cond_wait(&s->changed, &s->lock);
    }
    bool complete = t->done.pieces == t->total && !is_over(t);
    (void)pthread_mutex_unlock(&s->lock);
    return complete;
}

void hm_blake3_tree_run(hm_worker *worker, const hm_work *work) {
    hm_range *range = work->range;
    tree t = {.piece = PIECE_MAX};
    while (t.piece > worker->schedule->memory) {
        t.piece /= 2;
    }
    t.total = (range->length - 1) / t.piece;
    open_window(worker);
    hm_stream_open(&t.stream, worker, work);
    work_on(worker, &t);
    if (wait_for_pieces(&t)) {
        uint64_t hashed = t.total * t.piece;
        size_t rest = (size_t)(range->length - hashed);
        const uint8_t *data = read_piece(worker, &t.stream, hashed, rest);
        if (data != NULL) {
            finish_tree(&t.done, t.piece, data, rest, range->digest);
            hm_schedule_advance(worker->schedule, rest);
        }
        if (t.mapped && hm_work_shrunk(&t.stream.work)) {
            hm_stream_set_ended(&t.stream);
        }
    }
    hm_stream_close(&t.stream);
}

bool hm_blake3_tree_wants_help(const hm_stream *stream) {
    const tree *t = (const tree *)stream;
    return t->claimed < t->total && !is_over(t);
}

void hm_blake3_tree_help(hm_worker *worker, hm_stream *stream) {
    open_window(worker);
    work_on(worker, (tree *)stream);
}
