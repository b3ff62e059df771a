/* SPDX-License-Identifier: Apache-2.0 */
/* Opening: signatures, names, sizes and statements; and what is asked of an open view. */
#include "view/view.h"

#include <stdlib.h>
#include <string.h>

#define REMEMBER (UINT64_C(256) << 20) /* bytes of shards, unless the caller says otherwise */

/* ---- what is promised ----------------------------------------------------------------------- */

static bool wants(const hm_claim *claim, const char *name) {
    const hm_entry *entry = hm_tree_find(&claim->tree, name);
    return entry != NULL && claim->wanted[entry - claim->tree.entries];
}

bool hm_view_covers(const hm_claim *claim, const hm_view_file *file) {
    return wants(claim, file->entry->name);
}

const hm_item *hm_view_item(const hm_claim *claim, const hm_view_file *file, uint64_t start) {
    return hm_manifest_find(&claim->promise.manifest, file->entry->name, start);
}

bool hm_view_same_promise(const hm_claim *a, const hm_claim *b, const char *name) {
    const hm_manifest *left = &a->promise.manifest;
    const hm_manifest *right = &b->promise.manifest;
    bool same = left->method == right->method && left->hash == right->hash &&
                left->shard_size == right->shard_size;
    const hm_item *item = same ? hm_manifest_find(left, name, 0) : NULL;
    const hm_item *end = left->items + left->count;
    same = item != NULL;
    for (; same && item < end && strcmp(item->name, name) == 0; item++) {
        const hm_item *other = hm_manifest_find(right, name, item->start);
        same = other != NULL && memcmp(item->digest, other->digest, hm_hash_size(left->hash)) == 0;
    }
    return same;
}

/* ---- files ---------------------------------------------------------------------------------- */

static hm_view_file *find_file(const hm_view *view, const char *name) {
    size_t low = 0;
    size_t high = view->file_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, view->files[middle].entry->name);
        if (order == 0) {
            return &view->files[middle];
        }
        low = order > 0 ? middle + 1 : low;
        high = order < 0 ? middle : high;
    }
    return NULL;
}

static size_t count_wanted(const hm_claim *claim) {
    size_t count = 0;
    for (size_t i = 0; i < claim->tree.count; i++) {
        count += claim->wanted[i] ? 1 : 0;
    }
    return count;
}

/* What was read of a file for a pin is what is there for all that is promised of it. */
static hm_status take_memory(const hm_view *view, hm_view_file *file, hm_error **error) {
    const hm_view_file *old = find_file(view, file->entry->name);
    if (old == NULL || old->memory == NULL) {
        return HM_OK;
    }
    if (old->entry->size != file->entry->size) {
        return hm_fail(error, HM_REFUSED, HM_REASON_CHANGED_WHILE_READING,
                       "%s changed while the model was opened", file->entry->name);
    }
    file->memory = old->memory;
    file->offset = old->offset;
    return HM_OK;
}

static hm_status list_files(hm_view *view, const hm_claim *claim, hm_error **error) {
    size_t count = count_wanted(claim);
    hm_view_file *files = hm_alloc(count, sizeof(*files));
    hm_status status = files != NULL ? HM_OK : hm_fail_memory(error);
    size_t used = 0;
    for (size_t i = 0; i < claim->tree.count && status == HM_OK; i++) {
        if (claim->wanted[i]) {
            files[used].entry = &claim->tree.entries[i];
            status = take_memory(view, &files[used], error);
            used++;
        }
    }
    if (status != HM_OK) {
        free(files);
        return status;
    }
    free(view->files);
    view->files = files;
    view->file_count = count;
    return HM_OK;
}

/* ---- claims --------------------------------------------------------------------------------- */

static bool has_shards(const hm_claim *claim) {
    return claim->promise.manifest.method == HM_METHOD_SHARDS;
}

/* A model digest that is pinned promises nothing of a single file: it held, or there is no view. */
static bool promises_files(const hm_claim *claim) {
    return !claim->pinned || claim->promise.manifest.count > 0;
}

/* Shards first: many of them are digested faster than one file. */
static hm_status list_claims(hm_view *view, hm_error **error) {
    view->claims = hm_alloc(view->job.claim_count, sizeof(*view->claims));
    if (view->claims == NULL) {
        return hm_fail_memory(error);
    }
    for (int shards = 1; shards >= 0; shards--) {
        for (size_t i = 0; i < view->job.claim_count; i++) {
            const hm_claim *claim = view->job.claims[i];
            if (hm_claim_binds(claim) && promises_files(claim) &&
                has_shards(claim) == (shards == 1)) {
                view->claims[view->claim_count++] = claim;
            }
        }
    }
    return HM_OK;
}

/* The largest shards are those that are read: others are held against what was read. */
static void find_lazy(const hm_view *view, hm_view_file *file) {
    const hm_claim *first = NULL;
    const hm_claim *largest = NULL;
    bool shards = file->entry->size > 0;
    file->single = true;
    for (size_t c = 0; c < view->claim_count; c++) {
        const hm_claim *claim = view->claims[c];
        if (!hm_view_covers(claim, file)) {
            continue;
        }
        first = first != NULL ? first : claim;
        shards = shards && has_shards(claim);
        file->single = file->single &&
                       (first == claim || hm_view_same_promise(first, claim, file->entry->name));
        bool larger = largest == NULL ||
                      claim->promise.manifest.shard_size > largest->promise.manifest.shard_size;
        largest = larger ? claim : largest;
    }
    file->lazy = shards ? largest : NULL;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* What opening reads is told to whom the options name. */
static hm_view_read_options while_opening(const hm_view *view) {
    hm_view_read_options how = HM_VIEW_READ_OPTIONS_INIT;
    how.progress = view->job.options->progress;
    how.progress_context = view->job.options->progress_context;
    return how;
}

/* A pinned model digest is of all contents: they are read now. */
static hm_status measure_all(void *context, hm_claim *claim, const hm_measure_options *options,
                             hm_error **error) {
    hm_view *view = context;
    const hm_view_read_options how = while_opening(view);
    hm_status status = list_files(view, claim, error);
    if (status == HM_OK) {
        status = hm_view_measure_files(view, options, &how, &claim->found, error);
    }
    for (size_t i = 0; i < claim->tree.count && status == HM_OK; i++) {
        claim->states[i] = claim->wanted[i] ? HM_FILE_READ : HM_FILE_UNREAD;
    }
    return status;
}

/* A view is of verified bytes; without a signature or pin there are none. */
static hm_status refuse_let_through(hm_error **error) {
    hm_auto_error cause = *error;
    *error = NULL;
    (void)hm_fail(error, HM_REFUSED, HM_REASON_UNSIGNED, "%s", hm_error_message(cause));
    hm_error_add_hint(error, "a rule may let it pass without a signature, but then there is "
                             "nothing that its bytes could be verified by");
    return HM_REFUSED;
}

static hm_status prepare(hm_view *view, const hm_claim *told, hm_error **error) {
    const hm_view_read_options how = while_opening(view);
    hm_status status = list_claims(view, error);
    if (status == HM_OK) {
        status = list_files(view, told, error);
    }
    for (size_t i = 0; i < view->file_count && status == HM_OK; i++) {
        find_lazy(view, &view->files[i]);
    }
    /* What was read already has to be what every signature says, too. */
    return status == HM_OK && view->memory_count > 0
               ? hm_view_load_files(view, NULL, 0, &how, error)
               : status;
}

static hm_status verify(hm_view *view, hm_report *report, hm_error **error) {
    const hm_reader reader = {.context = view, .measure = measure_all};
    hm_claim *told = NULL;
    view->job.reader = &reader;
    hm_status status = hm_verification_run(&view->job, report, &told, error);
    if (status == HM_OK) {
        status = prepare(view, told, error);
    }
    if (status == HM_OK) {
        status = hm_verify_provenances(&view->job, told, report, error);
    }
    report->read_later = view->memory_count == 0;
    view->job.reader = NULL;
    return status == HM_LET_THROUGH ? refuse_let_through(error) : status;
}

static hm_status view_new(hm_view **view, hm_error **error) {
    hm_view *made = hm_alloc(1, sizeof(*made));
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    (void)pthread_mutex_init(&made->loading, NULL);
    (void)pthread_mutex_init(&made->lock, NULL);
    (void)pthread_cond_init(&made->changed, NULL);
    *view = made;
    return HM_OK;
}

static hm_status open_view(hm_view *view, const hm_view_options *options, hm_report **made,
                           hm_error **error) {
    hm_verification *job = &view->job;
    hm_status status =
        hm_check_options("hm_view_open", options->size, sizeof(*options), options->flags, 0, error);
    if (status == HM_OK) {
        status =
            hm_verification_check("hm_view_open", job->model, job->policy, job->options, error);
    }
    if (status == HM_OK) {
        status = hm_report_new(HM_OPERATION_VERIFY, job->model->path, made, error);
    }
    if (status != HM_OK) {
        return status;
    }
    view->model = job->model;
    view->jobs = job->options->jobs;
    view->remember = options->remember != 0 ? options->remember : REMEMBER;
    status = verify(view, *made, error);
    /* These are the caller's, and may be gone when contents are read. */
    job->policy = NULL;
    job->options = NULL;
    job->rule = NULL;
    return status;
}

hm_status hm_view_open(hm_model *model, const hm_policy *policy, const hm_view_options *options,
                       hm_view **view, hm_report **report, hm_error **error) {
    static const hm_view_options defaults = HM_VIEW_OPTIONS_INIT;
    static const hm_verify_options verify_defaults = HM_VERIFY_OPTIONS_INIT;
    HM_CLEANUP(hm_view_close) hm_view *opened = NULL;
    HM_CLEANUP(hm_report_free) hm_report *made = NULL;
    hm_auto_error local = NULL;
    hm_error **cause = error != NULL ? error : &local;
    const hm_view_options *given = options != NULL ? options : &defaults;
    *view = NULL;
    if (report != NULL) {
        *report = NULL;
    }
    hm_status status = view_new(&opened, cause);
    if (status == HM_OK) {
        opened->job = (hm_verification){
            .model = model,
            .policy = policy,
            .options = given->verify != NULL ? given->verify : &verify_defaults,
        };
        status = open_view(opened, given, &made, cause);
    }
    status = hm_report_finish(&made, status, cause, report);
    if (status == HM_OK) {
        *view = opened;
        opened = NULL;
    }
    return status;
}

void hm_view_close(hm_view **view) {
    hm_view *closing = *view;
    if (closing == NULL) {
        return;
    }
    hm_view_forget_shards(closing);
    for (size_t i = 0; i < closing->memory_count; i++) {
        hm_memory_free(closing->memories[i]);
        free(closing->memories[i]);
    }
    free(closing->memories);
    free(closing->files);
    free(closing->claims);
    hm_verification_free(&closing->job);
    (void)pthread_mutex_destroy(&closing->loading);
    (void)pthread_mutex_destroy(&closing->lock);
    (void)pthread_cond_destroy(&closing->changed);
    free(closing);
    *view = NULL;
}

/* ---- an open view --------------------------------------------------------------------------- */

size_t hm_view_count(const hm_view *view) {
    return view->file_count;
}

const char *hm_view_name(const hm_view *view, size_t index) {
    return index < view->file_count ? view->files[index].entry->name : "";
}

uint64_t hm_view_size(const hm_view *view, size_t index) {
    return index < view->file_count ? view->files[index].entry->size : 0;
}

size_t hm_view_find(const hm_view *view, const char *name) {
    const hm_view_file *file = find_file(view, name);
    return file != NULL ? (size_t)(file - view->files) : SIZE_MAX;
}

bool hm_view_lazy(const hm_view *view, size_t index) {
    return index < view->file_count && view->files[index].lazy != NULL;
}

bool hm_view_loaded(const hm_view *view, size_t index) {
    return index < view->file_count && atomic_load(&view->files[index].loaded);
}

bool hm_view_ready(hm_view *view, size_t index, uint64_t offset, uint64_t length) {
    if (index >= view->file_count || offset > view->files[index].entry->size ||
        length > view->files[index].entry->size - offset) {
        return false;
    }
    const hm_view_file *file = &view->files[index];
    return length == 0 || atomic_load(&file->loaded) ||
           (file->lazy != NULL && hm_view_remembers(view, index, offset, length));
}

static hm_status check_index(const hm_view *view, size_t index, hm_error **error) {
    return index < view->file_count
               ? HM_OK
               : hm_fail(error, HM_USAGE, HM_REASON_NONE, "the view has no file %zu", index);
}

static const hm_view_read_options read_defaults = HM_VIEW_READ_OPTIONS_INIT;

hm_status hm_view_load(hm_view *view, const size_t *indices, size_t count,
                       const hm_view_read_options *options, hm_error **error) {
    const hm_view_read_options *how = options != NULL ? options : &read_defaults;
    hm_status status =
        hm_check_options("hm_view_load", how->size, sizeof(*how), how->flags, 0, error);
    for (size_t i = 0; indices != NULL && i < count && status == HM_OK; i++) {
        status = check_index(view, indices[i], error);
    }
    if (status != HM_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&view->loading);
    status = hm_view_load_files(view, indices, indices != NULL ? count : 0, how, error);
    (void)pthread_mutex_unlock(&view->loading);
    return status;
}

static hm_status provide(hm_view *view, size_t index, const hm_view_read_options *how,
                         const hm_view_file **file, hm_error **error) {
    hm_status status = check_index(view, index, error);
    if (status != HM_OK) {
        return status;
    }
    *file = &view->files[index];
    return atomic_load(&view->files[index].loaded) ? HM_OK
                                                   : hm_view_load(view, &index, 1, how, error);
}

static hm_bytes bytes_of(const hm_view_file *file) {
    return file->memory != NULL
               ? hm_bytes_of(file->memory->data + file->offset, (size_t)file->entry->size)
               : hm_bytes_of("", 0);
}

hm_status hm_view_fd(hm_view *view, size_t index, int *fd, hm_error **error) {
    const hm_view_file *file = NULL;
    *fd = -1;
    hm_status status = provide(view, index, &read_defaults, &file, error);
    if (status != HM_OK) {
        return status;
    }
    bool alone = file->memory != NULL && !file->memory->shared;
    return alone ? hm_memory_open(file->memory, fd, error)
                 : hm_memory_open_copy(bytes_of(file), fd, error);
}

hm_status hm_view_map(hm_view *view, size_t index, const void **data, uint64_t *length,
                      hm_error **error) {
    const hm_view_file *file = NULL;
    *data = NULL;
    *length = 0;
    hm_status status = provide(view, index, &read_defaults, &file, error);
    if (status == HM_OK) {
        hm_bytes bytes = bytes_of(file);
        *data = bytes.data;
        *length = bytes.length;
    }
    return status;
}

static hm_status check_range(const hm_view *view, size_t index, uint64_t offset, size_t length,
                             hm_error **error) {
    hm_status status = check_index(view, index, error);
    if (status != HM_OK) {
        return status;
    }
    const hm_entry *entry = view->files[index].entry;
    return offset <= entry->size && length <= entry->size - offset
               ? HM_OK
               : hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s ends before what is to be read",
                         entry->name);
}

/* A file that is not loaded: to where it is wanted, but for parts of what has no shards. */
static bool read_there(const hm_view_file *file, size_t length) {
    return !atomic_load(&file->loaded) &&
           (file->lazy != NULL || (file->single && length == file->entry->size));
}

static hm_status read_into(hm_view *view, size_t index, uint64_t offset, uint8_t *target,
                           size_t length, const hm_view_read_options *how, hm_error **error) {
    const hm_view_file *file = &view->files[index];
    if (read_there(file, length)) {
        return file->lazy != NULL
                   ? hm_view_read_shards(view, index, offset, target, length, how, error)
                   : hm_view_read_whole(view, index, target, how, error);
    }
    hm_status status = provide(view, index, how, &file, error);
    if (status == HM_OK) {
        memcpy(target, bytes_of(file).data + offset, length);
    }
    return status;
}

hm_status hm_view_read(hm_view *view, size_t index, uint64_t offset, void *target, size_t length,
                       const hm_view_read_options *options, hm_error **error) {
    const hm_view_read_options *how = options != NULL ? options : &read_defaults;
    hm_status status = hm_check_options("hm_view_read", how->size, sizeof(*how), how->flags,
                                        HM_VIEW_UNTOUCHED, error);
    if (status == HM_OK) {
        status = check_range(view, index, offset, length, error);
    }
    if (status == HM_OK && (how->flags & HM_VIEW_UNTOUCHED) != 0) {
        const hm_view_file *file = &view->files[index];
        status = hm_view_check_memory(length, file->entry->name, file->lazy != NULL, error);
    }
    return status == HM_OK && length > 0
               ? read_into(view, index, offset, target, length, how, error)
               : status;
}
