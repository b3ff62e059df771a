/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole files: file -> memory that only this process can write to -> digests, where they lie ->
 * promised against found -> sealed. A second claim in another layout is held against the sealed
 * memory, so that all of them are about the same bytes.
 */
#include "view/view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
    SMALL = 1024 * 1024, /* files up to this size share memory */
    ALIGNED = 64,
};

/* One loading: the files it is about, and memory that the view gets if all goes well. */
typedef struct loading {
    hm_view *view;
    const hm_view_read_options *how;
    size_t *files;
    size_t count;
    hm_memory **made;
    size_t made_count, made_capacity;
    size_t shared; /* the memory of small files in `made`, or SIZE_MAX */
} loading;

static void drop_memory(hm_memory *memory) {
    if (memory != NULL) {
        hm_memory_free(memory);
        free(memory);
    }
}

/* What did not become the view's is as if it had never been read. */
static void loading_free(loading *job) {
    for (size_t i = 0; i < job->count; i++) {
        hm_view_file *file = &job->view->files[job->files[i]];
        for (size_t m = 0; m < job->made_count; m++) {
            file->memory = file->memory == job->made[m] ? NULL : file->memory;
        }
    }
    for (size_t m = 0; m < job->made_count; m++) {
        drop_memory(job->made[m]);
    }
    free(job->made);
    free(job->files);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Half of what the process may have open: beyond that, files share memory however big. */
static size_t descriptor_limit(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 2 < SIZE_MAX
               ? (size_t)limit.rlim_cur / 2
               : SIZE_MAX;
}

static hm_status add_memory(loading *job, size_t length, const char *what, hm_memory **memory,
                            hm_error **error) {
    if (!hm_grow(&job->made, job->made_count, &job->made_capacity, sizeof(hm_memory *))) {
        return hm_fail_memory(error);
    }
    hm_memory *made = hm_alloc(1, sizeof(*made));
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    made->fd = -1;
    job->made[job->made_count++] = made;
    *memory = made;
    return hm_memory_make(length, what, made, error);
}

static hm_status add_shared(loading *job, size_t length, hm_error **error) {
    hm_memory *memory = NULL;
    if (length == 0) {
        return HM_OK;
    }
    job->shared = job->made_count;
    hm_status status = add_memory(job, length, "small files", &memory, error);
    if (status == HM_OK) {
        memory->shared = true;
    }
    return status;
}

static bool shares(const hm_view *view, const hm_entry *entry, size_t alone) {
    return entry->size <= SMALL || view->descriptors + alone >= descriptor_limit();
}

/* Every file that has none gets its place; the small ones in one piece of memory. */
static hm_status make_room(loading *job, const bool *to_fill, hm_error **error) {
    hm_view *view = job->view;
    size_t shared = 0;
    size_t alone = 0;
    hm_status status = HM_OK;
    for (size_t i = 0; i < job->count && status == HM_OK; i++) {
        hm_view_file *file = &view->files[job->files[i]];
        size_t size = (size_t)file->entry->size;
        if (!to_fill[i]) {
            continue;
        }
        if (shares(view, file->entry, alone)) {
            file->offset = shared;
            shared += (size + ALIGNED - 1) / ALIGNED * ALIGNED;
        } else {
            file->offset = 0;
            alone++;
            status = add_memory(job, size, file->entry->name, &file->memory, error);
        }
    }
    if (status == HM_OK) {
        status = add_shared(job, shared, error);
    }
    for (size_t i = 0; i < job->count && status == HM_OK; i++) {
        hm_view_file *file = &view->files[job->files[i]];
        if (to_fill[i] && file->memory == NULL && file->entry->size > 0) {
            file->memory = job->made[job->shared];
        }
    }
    return status;
}

/* ---- ranges --------------------------------------------------------------------------------- */

typedef struct layout {
    hm_measure_options how;
    const hm_claim *claim; /* NULL: nothing is promised */
} layout;

static layout layout_of(const hm_claim *claim) {
    const hm_manifest *promised = &claim->promise.manifest;
    return (layout){.claim = claim,
                    .how = {.method = promised->method,
                            .hash = promised->hash,
                            .shard_size = promised->shard_size}};
}

static hm_status refuse_unlisted(const hm_view *view, const hm_entry *entry, hm_error **error) {
    hm_auto_free char *member = hm_model_member(view->model, entry->name);
    return member != NULL
               ? hm_fail(error, HM_REFUSED, HM_REASON_EXTRA_FILE, "%s is not all signed", member)
               : hm_fail_memory(error);
}

/* `target`: where the file goes to. What an empty file holds is known since its size is. */
static hm_status add_ranges(hm_reading *reading, size_t index, const layout *as, uint8_t *target,
                            hm_error **error) {
    const hm_view *view = reading->view;
    const hm_view_file *file = &view->files[index];
    uint64_t size = file->entry->size;
    uint64_t start = 0;
    hm_status status = HM_OK;
    if (size == 0 && as->claim != NULL) {
        return HM_OK;
    }
    do {
        uint64_t end = hm_range_end(size, start, &as->how);
        hm_range range = {.file = index, .offset = start, .length = end - start};
        const hm_item *item = as->claim != NULL ? hm_view_item(as->claim, file, start) : NULL;
        if (as->claim != NULL && item == NULL) {
            return refuse_unlisted(view, file->entry, error);
        }
        if (reading->from_memory) {
            range.offset += file->offset;
        } else if (size > 0) {
            range.sink = (hm_sink){.kind = HM_SINK_MEMORY, .memory = target + (size_t)start};
        }
        status = hm_reading_add(reading, range, item, error);
        start = end;
    } while (status == HM_OK && start < size);
    return status;
}

static uint8_t *place_of(const hm_view_file *file) {
    return file->memory != NULL ? file->memory->data + file->offset : NULL;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static hm_status seal_made(loading *job, size_t first, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t m = first; m < job->made_count && status == HM_OK; m++) {
        status = hm_memory_seal(job->made[m], "the model", error);
    }
    return status;
}

/* Reads the chosen files into memory, holds them against what is promised, and seals them. */
static hm_status fill(loading *job, const bool *chosen, const layout *as, hm_manifest *found,
                      hm_error **error) {
    hm_view *view = job->view;
    HM_CLEANUP(hm_reading_free)
    hm_reading reading = {.view = view, .how = job->how, .hash = as->how.hash};
    reading.pinned = as->claim != NULL && as->claim->pinned;
    size_t first = job->made_count;
    hm_status status = make_room(job, chosen, error);
    for (size_t i = 0; i < job->count && status == HM_OK; i++) {
        uint8_t *target = chosen[i] ? place_of(&view->files[job->files[i]]) : NULL;
        status = chosen[i] ? add_ranges(&reading, job->files[i], as, target, error) : HM_OK;
    }
    if (status == HM_OK) {
        status = hm_reading_run(&reading, error);
    }
    for (size_t i = 0; found != NULL && i < reading.count && status == HM_OK; i++) {
        const hm_range *range = &reading.ranges[i];
        const char *name = view->files[range->file].entry->name;
        status = hm_manifest_add(found, name, strlen(name), range->offset,
                                 range->offset + range->length, range->digest, error);
    }
    return status == HM_OK ? seal_made(job, first, error) : status;
}

/* The claim that a file is held against while it is read. */
static const hm_claim *first_claim(const hm_view *view, const hm_view_file *file) {
    for (size_t c = 0; c < view->claim_count; c++) {
        if (hm_view_covers(view->claims[c], file)) {
            return view->claims[c];
        }
    }
    return NULL;
}

static hm_status fill_by(loading *job, const hm_claim *claim, bool *filled, hm_error **error) {
    const layout as = layout_of(claim);
    hm_auto_free bool *chosen = hm_alloc(job->count, sizeof(bool));
    if (chosen == NULL) {
        return hm_fail_memory(error);
    }
    bool any = false;
    for (size_t i = 0; i < job->count; i++) {
        const hm_view_file *file = &job->view->files[job->files[i]];
        chosen[i] = file->memory == NULL && !filled[i] && first_claim(job->view, file) == claim;
        filled[i] = filled[i] || chosen[i];
        any = any || chosen[i];
    }
    return any ? fill(job, chosen, &as, NULL, error) : HM_OK;
}

/* What is in sealed memory, against a claim that it was not yet held against. */
static hm_status compare_with(loading *job, const hm_claim *claim, const bool *filled,
                              hm_error **error) {
    const layout as = layout_of(claim);
    HM_CLEANUP(hm_reading_free)
    hm_reading reading = {.view = job->view,
                          .how = job->how,
                          .hash = as.how.hash,
                          .from_memory = true};
    reading.pinned = claim->pinned;
    hm_status status = HM_OK;
    for (size_t i = 0; i < job->count && status == HM_OK; i++) {
        const hm_view_file *file = &job->view->files[job->files[i]];
        const hm_claim *first = first_claim(job->view, file);
        bool held =
            filled[i] && (first == claim || hm_view_same_promise(first, claim, file->entry->name));
        if (!held && hm_view_covers(claim, file)) {
            status = add_ranges(&reading, job->files[i], &as, NULL, error);
        }
    }
    return status == HM_OK ? hm_reading_run(&reading, error) : status;
}

/* A file that no claim is about is none of the view's. */
static hm_status check_covered(const loading *job, hm_error **error) {
    for (size_t i = 0; i < job->count; i++) {
        const hm_view_file *file = &job->view->files[job->files[i]];
        if (first_claim(job->view, file) == NULL && job->view->claim_count > 0) {
            return refuse_unlisted(job->view, file->entry, error);
        }
    }
    return HM_OK;
}

static hm_status check_filled(const loading *job, hm_error **error) {
    for (size_t i = 0; i < job->count; i++) {
        const hm_view_file *file = &job->view->files[job->files[i]];
        if (file->memory == NULL && file->entry->size > 0) {
            return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s was not read",
                           file->entry->name);
        }
    }
    return HM_OK;
}

hm_status hm_view_check_memory(uint64_t bytes, const char *what, bool lazy, hm_error **error) {
    hm_status status = hm_memory_check(bytes, what, error);
    if (status != HM_OK) {
        hm_error_add_hint(error, lazy ? "read parts of it instead: its signature has shards"
                                      : "a signature with shards (`hallmark sign --shards`) lets "
                                        "parts of it be read and verified by themselves");
    }
    return status;
}

static hm_status check_memory(const loading *job, hm_error **error) {
    uint64_t bytes = 0;
    bool lazy = true;
    for (size_t i = 0; i < job->count; i++) {
        const hm_view_file *file = &job->view->files[job->files[i]];
        lazy = lazy && (file->lazy != NULL || file->entry->size <= SMALL);
        if (file->memory == NULL && !hm_add_u64(bytes, file->entry->size, &bytes)) {
            bytes = UINT64_MAX;
        }
    }
    const hm_view *view = job->view;
    const char *what = job->count == 1 ? view->files[job->files[0]].entry->name : view->model->path;
    return bytes > 0 ? hm_view_check_memory(bytes, what, lazy, error) : HM_OK;
}

/* From now on it is the view's. What small files share needs no descriptor any more. */
static hm_status keep(loading *job, hm_error **error) {
    hm_view *view = job->view;
    for (size_t m = 0; m < job->made_count; m++) {
        if (!hm_grow(&view->memories, view->memory_count + m, &view->memory_capacity,
                     sizeof(hm_memory *))) {
            return hm_fail_memory(error);
        }
        view->memories[view->memory_count + m] = job->made[m];
    }
    view->memory_count += job->made_count;
    view->descriptors += job->made_count;
    job->made_count = 0;
    return HM_OK;
}

static void close_shared(hm_view *view) {
    for (size_t m = 0; m < view->memory_count; m++) {
        if (view->memories[m]->fd >= 0 && view->memories[m]->shared) {
            hm_fd_close(&view->memories[m]->fd);
            view->descriptors--;
        }
    }
}

static hm_status run(loading *job, hm_error **error) {
    hm_view *view = job->view;
    hm_auto_free bool *filled = hm_alloc(job->count, sizeof(bool));
    if (filled == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = check_covered(job, error);
    if (status == HM_OK) {
        status = check_memory(job, error);
    }
    for (size_t c = 0; c < view->claim_count && status == HM_OK; c++) {
        status = fill_by(job, view->claims[c], filled, error);
    }
    for (size_t c = 0; c < view->claim_count && status == HM_OK; c++) {
        status = compare_with(job, view->claims[c], filled, error);
    }
    if (status == HM_OK) {
        status = check_filled(job, error);
    }
    return status == HM_OK ? keep(job, error) : status;
}

static hm_status loading_init(loading *job, const size_t *indices, size_t count, hm_error **error) {
    hm_view *view = job->view;
    hm_auto_free bool *chosen = hm_alloc(view->file_count, sizeof(bool));
    job->shared = SIZE_MAX;
    job->files = hm_alloc(view->file_count, sizeof(size_t));
    if (chosen == NULL || job->files == NULL) {
        return hm_fail_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        chosen[indices[i]] = true;
    }
    for (size_t i = 0; i < view->file_count; i++) {
        if ((indices == NULL || chosen[i]) && !atomic_load(&view->files[i].loaded)) {
            job->files[job->count++] = i;
        }
    }
    return HM_OK;
}

hm_status hm_view_load_files(hm_view *view, const size_t *indices, size_t count,
                             const hm_view_read_options *how, hm_error **error) {
    HM_CLEANUP(loading_free) loading job = {.view = view, .how = how};
    hm_status status = loading_init(&job, indices, count, error);
    if (status == HM_OK && job.count > 0) {
        status = run(&job, error);
    }
    if (status != HM_OK) {
        return status;
    }
    close_shared(view);
    for (size_t i = 0; i < job.count; i++) {
        atomic_store(&view->files[job.files[i]].loaded, true);
    }
    return HM_OK;
}

hm_status hm_view_measure_files(hm_view *view, const hm_measure_options *options,
                                const hm_view_read_options *how, hm_manifest *found,
                                hm_error **error) {
    HM_CLEANUP(loading_free) loading job = {.view = view, .how = how};
    const layout as = {.how = *options};
    *found = (hm_manifest){.method = options->method, .hash = options->hash};
    found->shard_size = options->method == HM_METHOD_SHARDS ? options->shard_size : 0;
    hm_status status = loading_init(&job, NULL, 0, error);
    hm_auto_free bool *all = hm_alloc(view->file_count, sizeof(bool));
    if (all == NULL) {
        return hm_fail_memory(error);
    }
    memset(all, true, view->file_count);
    if (status == HM_OK) {
        status = check_memory(&job, error);
    }
    if (status == HM_OK) {
        status = fill(&job, all, &as, found, error);
    }
    const hm_item *twice;
    if (status == HM_OK && !hm_manifest_sort(found, &twice)) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s was digested twice", twice->name);
    }
    return status == HM_OK ? keep(&job, error) : status;
}

hm_status hm_view_read_whole(hm_view *view, size_t index, uint8_t *target,
                             const hm_view_read_options *how, hm_error **error) {
    const hm_view_file *file = &view->files[index];
    const hm_claim *claim = first_claim(view, file);
    if (claim == NULL) {
        return refuse_unlisted(view, file->entry, error);
    }
    const layout as = layout_of(claim);
    HM_CLEANUP(hm_reading_free)
    hm_reading reading = {.view = view, .how = how, .hash = as.how.hash, .pinned = claim->pinned};
    hm_status status = add_ranges(&reading, index, &as, target, error);
    if (status == HM_OK) {
        status = hm_reading_run(&reading, error);
    }
    if (status != HM_OK) {
        hm_memory_wipe(target, (size_t)file->entry->size, (how->flags & HM_VIEW_UNTOUCHED) != 0);
    }
    return status;
}
