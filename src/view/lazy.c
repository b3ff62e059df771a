/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of files, shard by shard. A shard is read into memory of this process alone, digested there
 * and compared, and only then is it there for anybody. Shards that a caller wants whole are
 * digested where the caller wants them; what does not hold is wiped before the call returns.
 */
#include "view/view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* One call: what of the file is wanted, and how far it is there. */
typedef struct request {
    hm_view *view;
    size_t index;
    const hm_view_file *file;
    uint64_t offset;
    uint64_t end;
    uint8_t *target;
    const hm_view_read_options *how;
} request;

static uint64_t shard_size(const hm_view_file *file) {
    return file->lazy->promise.manifest.shard_size;
}

static uint64_t shard_end(const hm_view_file *file, uint64_t start) {
    uint64_t left = file->entry->size - start;
    return start + (left < shard_size(file) ? left : shard_size(file));
}

static bool is_inside(const request *wanted, uint64_t start) {
    return start >= wanted->offset && shard_end(wanted->file, start) <= wanted->end;
}

/* ---- shards that are remembered ------------------------------------------------------------- */

static void shard_free(hm_shard *shard) {
    if (shard->data != NULL) {
        (void)munmap(shard->data, shard->length);
    }
    free(shard);
}

/* All of these with the lock held. */

static hm_shard *find_shard(const hm_view *view, size_t file, uint64_t start) {
    hm_shard *shard = view->shards;
    while (shard != NULL && (shard->file != file || shard->start != start)) {
        shard = shard->next;
    }
    return shard;
}

static void take_out(hm_view *view, const hm_shard *shard) {
    hm_shard **link = &view->shards;
    while (*link != shard) {
        link = &(*link)->next;
    }
    *link = shard->next;
}

static void put_first(hm_view *view, hm_shard *shard) {
    shard->next = view->shards;
    view->shards = shard;
}

/* Forgets those that were not used for the longest time, until all are within the limit. */
static void trim(hm_view *view) {
    while (view->remembered > view->remember) {
        hm_shard *last = NULL;
        for (hm_shard *shard = view->shards; shard != NULL; shard = shard->next) {
            last = shard->users == 0 && shard->state == HM_SHARD_GOOD ? shard : last;
        }
        if (last == NULL || last == view->shards) {
            return; /* one is always remembered */
        }
        take_out(view, last);
        view->remembered -= last->length;
        shard_free(last);
    }
}

void hm_view_forget_shards(hm_view *view) {
    while (view->shards != NULL) {
        hm_shard *shard = view->shards;
        view->shards = shard->next;
        shard_free(shard);
    }
}

bool hm_view_remembers(hm_view *view, size_t index, uint64_t offset, uint64_t length) {
    const hm_view_file *file = &view->files[index];
    bool all = true;
    (void)pthread_mutex_lock(&view->lock);
    for (uint64_t start = offset - offset % shard_size(file); all && start < offset + length;
         start = shard_end(file, start)) {
        const hm_shard *shard = find_shard(view, index, start);
        all = shard != NULL && shard->state == HM_SHARD_GOOD;
    }
    (void)pthread_mutex_unlock(&view->lock);
    return all;
}

/* ---- verifying ------------------------------------------------------------------------------ */

static hm_status add_shard(hm_reading *reading, const request *wanted, uint64_t start,
                           uint8_t *memory, hm_error **error) {
    const hm_view_file *file = wanted->file;
    const hm_item *item = hm_view_item(file->lazy, file, start);
    hm_range range = {.file = wanted->index,
                      .offset = start,
                      .length = shard_end(file, start) - start,
                      .sink = {.kind = HM_SINK_MEMORY, .memory = memory}};
    return item != NULL ? hm_reading_add(reading, range, item, error)
                        : hm_fail(error, HM_REFUSED, HM_REASON_EXTRA_FILE,
                                  "%s at %" PRIu64 " is not signed", file->entry->name, start);
}

/*
 * Where signatures that count differ in what they promise, all shards of them that touch this one
 * have to hold: the bytes around it are needed, too, and all are digested from one reading.
 */
typedef struct surrounding {
    uint64_t start, end;
    uint8_t *data;
} surrounding;

static void surrounding_free(surrounding *around) {
    if (around->data != NULL) {
        (void)munmap(around->data, (size_t)(around->end - around->start));
    }
}

static uint64_t shards_from(const hm_claim *claim, uint64_t at) {
    return at - at % claim->promise.manifest.shard_size;
}

static uint64_t shards_to(const hm_claim *claim, const hm_view_file *file, uint64_t at) {
    uint64_t size = claim->promise.manifest.shard_size;
    uint64_t more = (size - at % size) % size;
    return file->entry->size - at < more ? file->entry->size : at + more;
}

static hm_status map_private(size_t length, const char *name, uint8_t **data, hm_error **error) {
    void *made = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) {
        return hm_fail_errno(error, errno, "cannot get %zu bytes of memory for %s", length, name);
    }
    *data = made;
    return HM_OK;
}

static hm_status refuse_part(const request *wanted, uint64_t start, uint64_t end,
                             hm_error **error) {
    hm_auto_free char *label =
        hm_textf("%s:%" PRIu64 ":%" PRIu64, wanted->file->entry->name, start, end);
    hm_auto_free char *part = label != NULL ? hm_model_member(wanted->view->model, label) : NULL;
    return part != NULL ? hm_fail(error, HM_REFUSED, HM_REASON_DIGEST_MISMATCH,
                                  "%s is not what was signed", part)
                        : hm_fail_memory(error);
}

/* All digests of one claim in there. Sizes were held against the claim when the view was opened. */
static hm_status check_claim(const request *wanted, const hm_claim *claim, uint64_t from,
                             uint64_t to, const surrounding *around, hm_error **error) {
    const hm_manifest *promised = &claim->promise.manifest;
    hm_status status = HM_OK;
    for (uint64_t start = shards_from(claim, from); start < to && status == HM_OK;) {
        uint64_t end = shards_to(claim, wanted->file, start + 1);
        const hm_item *item = hm_view_item(claim, wanted->file, start);
        uint8_t digest[HM_DIGEST_MAX];
        hm_bytes bytes = hm_bytes_of(around->data + (start - around->start), (size_t)(end - start));
        status = hm_digest_bytes(promised->hash, bytes, digest, error);
        if (status == HM_OK &&
            (item == NULL || memcmp(item->digest, digest, hm_hash_size(promised->hash)) != 0)) {
            status = refuse_part(wanted, start, end, error);
        }
        start = end;
    }
    return status;
}

/* Reads the surroundings without believing them. */
static hm_status read_around(const request *wanted, const surrounding *around, hm_error **error) {
    HM_CLEANUP(hm_reading_free)
    hm_reading reading = {.view = wanted->view,
                          .how = wanted->how,
                          .hash = wanted->file->lazy->promise.manifest.hash};
    hm_range range = {.file = wanted->index,
                      .offset = around->start,
                      .length = around->end - around->start,
                      .sink = {.kind = HM_SINK_MEMORY, .memory = around->data}};
    hm_status status = hm_reading_add(&reading, range, NULL, error);
    return status == HM_OK ? hm_reading_run(&reading, error) : status;
}

static hm_status verify_among(const request *wanted, uint64_t start, uint8_t *memory,
                              hm_error **error) {
    const hm_view *view = wanted->view;
    const hm_view_file *file = wanted->file;
    uint64_t end = shard_end(file, start);
    HM_CLEANUP(surrounding_free) surrounding around = {.start = start, .end = end};
    for (size_t c = 0; c < view->claim_count; c++) {
        const hm_claim *claim = view->claims[c];
        if (hm_view_covers(claim, file)) {
            uint64_t from = shards_from(claim, start);
            uint64_t to = shards_to(claim, file, end);
            around.start = from < around.start ? from : around.start;
            around.end = to > around.end ? to : around.end;
        }
    }
    hm_status status =
        map_private((size_t)(around.end - around.start), file->entry->name, &around.data, error);
    if (status == HM_OK) {
        status = read_around(wanted, &around, error);
    }
    for (size_t c = 0; c < view->claim_count && status == HM_OK; c++) {
        if (hm_view_covers(view->claims[c], file)) {
            status = check_claim(wanted, view->claims[c], start, end, &around, error);
        }
    }
    if (status == HM_OK) {
        memcpy(memory, around.data + (start - around.start), (size_t)(end - start));
    }
    return status;
}

/* ---- one call ------------------------------------------------------------------------------- */

static void copy_out(const request *wanted, uint64_t start, const uint8_t *data) {
    uint64_t end = shard_end(wanted->file, start);
    uint64_t from = start > wanted->offset ? start : wanted->offset;
    uint64_t to = end < wanted->end ? end : wanted->end;
    memcpy(wanted->target + (from - wanted->offset), data + (from - start), (size_t)(to - from));
}

/* Copies what is remembered; `*state` tells what else there is. */
static bool copy_remembered(const request *wanted, uint64_t start, bool *is_reading) {
    hm_view *view = wanted->view;
    (void)pthread_mutex_lock(&view->lock);
    hm_shard *shard = find_shard(view, wanted->index, start);
    bool good = shard != NULL && shard->state == HM_SHARD_GOOD;
    *is_reading = shard != NULL && !good;
    if (good) {
        take_out(view, shard);
        put_first(view, shard);
        shard->users++;
    }
    (void)pthread_mutex_unlock(&view->lock);
    if (!good) {
        return false;
    }
    copy_out(wanted, start, shard->data);
    (void)pthread_mutex_lock(&view->lock);
    shard->users--;
    trim(view);
    (void)pthread_mutex_unlock(&view->lock);
    return true;
}

/* Makes a place for a shard that only a part is wanted of; NULL without an error: others have. */
static hm_status begin_shard(const request *wanted, uint64_t start, hm_shard **made,
                             hm_error **error) {
    hm_view *view = wanted->view;
    hm_shard *shard = hm_alloc(1, sizeof(*shard));
    *made = NULL;
    if (shard == NULL) {
        return hm_fail_memory(error);
    }
    shard->file = wanted->index;
    shard->start = start;
    shard->length = (size_t)(shard_end(wanted->file, start) - start);
    hm_status status = map_private(shard->length, wanted->file->entry->name, &shard->data, error);
    (void)pthread_mutex_lock(&view->lock);
    if (status == HM_OK && find_shard(view, wanted->index, start) == NULL) {
        put_first(view, shard);
        view->remembered += shard->length;
        *made = shard;
    }
    (void)pthread_mutex_unlock(&view->lock);
    if (*made == NULL) {
        shard_free(shard);
    }
    return status;
}

static void end_shard(hm_view *view, hm_shard *shard, bool good) {
    (void)pthread_mutex_lock(&view->lock);
    if (good) {
        shard->state = HM_SHARD_GOOD;
        trim(view);
    } else {
        take_out(view, shard);
        view->remembered -= shard->length;
        shard_free(shard);
    }
    (void)pthread_cond_broadcast(&view->changed);
    (void)pthread_mutex_unlock(&view->lock);
}

static void wait_for(hm_view *view, size_t file, uint64_t start) {
    (void)pthread_mutex_lock(&view->lock);
    for (;;) {
        const hm_shard *shard = find_shard(view, file, start);
        if (shard == NULL || shard->state == HM_SHARD_GOOD) {
            break;
        }
        (void)pthread_cond_wait(&view->changed, &view->lock);
    }
    (void)pthread_mutex_unlock(&view->lock);
}

/* What one turn reads: at most two shards in part, the first and the last, and any number whole. */
typedef struct turn {
    hm_reading reading;
    hm_shard *parts[2];
    size_t part_count;
    bool waits; /* others read something that is wanted */
    uint64_t wait_start;
} turn;

/* Adds a shard to what is to be read, or verifies it at once where that takes its surroundings. */
static hm_status add_wanted(const request *wanted, uint64_t start, turn *now, bool *there,
                            hm_error **error) {
    uint8_t *memory = is_inside(wanted, start) ? wanted->target + (start - wanted->offset) : NULL;
    hm_shard *shard = NULL;
    hm_status status = HM_OK;
    if (memory == NULL) {
        status = begin_shard(wanted, start, &shard, error);
        if (status != HM_OK || shard == NULL) {
            now->waits = now->waits || status == HM_OK;
            now->wait_start = start;
            return status;
        }
        now->parts[now->part_count++] = shard;
        memory = shard->data;
    }
    *there = true;
    return wanted->file->single ? add_shard(&now->reading, wanted, start, memory, error)
                                : verify_among(wanted, start, memory, error);
}

static hm_status plan(const request *wanted, bool *there, turn *now, hm_error **error) {
    const hm_view_file *file = wanted->file;
    uint64_t first = wanted->offset - wanted->offset % shard_size(file);
    hm_status status = HM_OK;
    size_t i = 0;
    for (uint64_t start = first; start < wanted->end && status == HM_OK;
         start = shard_end(file, start), i++) {
        bool is_reading = false;
        if (there[i] || copy_remembered(wanted, start, &is_reading)) {
            there[i] = true;
        } else if (is_reading) {
            now->waits = true;
            now->wait_start = start;
        } else {
            status = add_wanted(wanted, start, now, &there[i], error);
        }
    }
    return status;
}

/* Shards that nobody reads yet are read side by side; then what others were reading is there. */
static hm_status take_turn(const request *wanted, bool *there, bool *done, hm_error **error) {
    hm_view *view = wanted->view;
    turn now = {.reading = {.view = view,
                            .how = wanted->how,
                            .hash = wanted->file->lazy->promise.manifest.hash}};
    hm_status status = plan(wanted, there, &now, error);
    if (status == HM_OK) {
        status = hm_reading_run(&now.reading, error);
    }
    for (size_t i = 0; i < now.part_count; i++) {
        if (status == HM_OK) {
            copy_out(wanted, now.parts[i]->start, now.parts[i]->data);
        }
        end_shard(view, now.parts[i], status == HM_OK);
    }
    hm_reading_free(&now.reading);
    *done = !now.waits;
    if (status == HM_OK && now.waits) {
        wait_for(view, wanted->index, now.wait_start);
    }
    return status;
}

hm_status hm_view_read_shards(hm_view *view, size_t index, uint64_t offset, uint8_t *target,
                              size_t length, const hm_view_read_options *how, hm_error **error) {
    const hm_view_file *file = &view->files[index];
    request wanted = {.view = view,
                      .index = index,
                      .file = file,
                      .offset = offset,
                      .end = offset + length,
                      .target = target,
                      .how = how};
    uint64_t first = offset / shard_size(file);
    uint64_t count = (wanted.end - 1) / shard_size(file) - first + 1;
    hm_auto_free bool *there = hm_alloc((size_t)count, sizeof(bool));
    bool done = false;
    if (there == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = HM_OK;
    while (status == HM_OK && !done) {
        status = take_turn(&wanted, there, &done, error);
    }
    if (status != HM_OK) {
        hm_memory_wipe(target, length, (how->flags & HM_VIEW_UNTOUCHED) != 0);
    }
    return status;
}
