/* SPDX-License-Identifier: Apache-2.0 */
/* From the view's files, or their sealed memory, to digests that are held against promised ones. */
#include "view/view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/*
 * What was found at opening may have been replaced since. It does not matter by what: the digests
 * tell. But only a file of the same size can be it, and only a regular file is read at all.
 */
static hm_status open_file(const hm_view *view, const hm_entry *entry, int *fd, bool *changed,
                           hm_error **error) {
    struct stat st;
    *fd = hm_open_beneath(view->model->fd, entry->name, O_RDONLY | O_NONBLOCK | O_NOCTTY,
                          entry->kind == HM_ENTRY_LINKED_FILE);
    if (*fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENXIO)) {
        *changed = true;
        return HM_OK;
    }
    if (*fd < 0 || fstat(*fd, &st) != 0) {
        hm_status status = hm_model_fail_member(view->model, entry->name, "read", error);
        hm_fd_close(fd);
        return status;
    }
    *changed = !S_ISREG(st.st_mode) || (uint64_t)st.st_size != entry->size;
    return HM_OK;
}

static hm_status source_open(void *context, size_t file, int *fd, bool *changed, hm_error **error) {
    const hm_reading *reading = context;
    const hm_view_file *of = &reading->view->files[file];
    *changed = false;
    if (!reading->from_memory) {
        return open_file(reading->view, of->entry, fd, changed, error);
    }
    *fd = fcntl(of->memory->fd, F_DUPFD_CLOEXEC, 0);
    return *fd >= 0 ? HM_OK : hm_fail_errno(error, errno, "cannot read sealed memory");
}

static hm_status source_close(void *context, size_t file, int fd, bool *changed, hm_error **error) {
    (void)context;
    (void)file;
    (void)error;
    *changed = false;
    hm_fd_close(&fd);
    return HM_OK;
}

static const char *source_name(void *context, size_t file) {
    const hm_reading *reading = context;
    return reading->view->files[file].entry->name;
}

hm_status hm_reading_add(hm_reading *reading, hm_range range, const hm_item *item,
                         hm_error **error) {
    if (!hm_grow(&reading->ranges, reading->count, &reading->range_capacity, sizeof(hm_range)) ||
        !hm_grow(&reading->items, reading->count, &reading->item_capacity, sizeof(hm_item *))) {
        return hm_fail_memory(error);
    }
    range.expected = item != NULL ? item->digest : NULL;
    reading->ranges[reading->count] = range;
    reading->items[reading->count++] = item;
    return HM_OK;
}

void hm_reading_free(hm_reading *reading) {
    free(reading->ranges);
    free(reading->items);
    reading->ranges = NULL;
    reading->items = NULL;
}

static hm_status refuse_range(const hm_reading *reading, size_t index, hm_error **error) {
    const hm_range *range = &reading->ranges[index];
    const hm_entry *entry = reading->view->files[range->file].entry;
    bool whole = range->length == entry->size;
    hm_manifest labelled = {.method = whole ? HM_METHOD_FILES : HM_METHOD_SHARDS};
    hm_auto_free char *label = hm_item_label(&labelled, reading->items[index]);
    hm_auto_free char *member = label != NULL ? hm_model_member(reading->view->model, label) : NULL;
    if (member == NULL) {
        return hm_fail_memory(error);
    }
    (void)hm_fail(error, HM_REFUSED,
                  reading->pinned ? HM_REASON_PINNED_DIGEST_MISMATCH : HM_REASON_DIGEST_MISMATCH,
                  "%s is not what %s", member, reading->pinned ? "the policy pins" : "was signed");
    hm_error_add_hint(error, "do not load it; fetch it again from where it was signed");
    return HM_REFUSED;
}

static bool is_good(const hm_reading *reading, size_t index) {
    const hm_range *range = &reading->ranges[index];
    const hm_item *item = reading->items[index];
    return range->state == HM_RANGE_DONE &&
           (item == NULL || memcmp(range->digest, item->digest, hm_hash_size(reading->hash)) == 0);
}

/* The gravest first: that the job ended at one leaves others undone. */
static hm_status judge(const hm_reading *reading, hm_error **error) {
    const hm_view *view = reading->view;
    const hm_range *changed = NULL;
    const hm_range *unread = NULL;
    for (size_t i = 0; i < reading->count; i++) {
        const hm_range *range = &reading->ranges[i];
        if (is_good(reading, i)) {
            continue;
        }
        if (range->state == HM_RANGE_DONE) {
            return refuse_range(reading, i, error);
        }
        changed = range->state == HM_RANGE_CHANGED && changed == NULL ? range : changed;
        unread = unread == NULL ? range : unread;
    }
    if (changed != NULL) {
        const char *name = view->files[changed->file].entry->name;
        hm_auto_free char *member = hm_model_member(view->model, name);
        return member != NULL
                   ? hm_fail(error, HM_REFUSED, HM_REASON_CHANGED_WHILE_READING,
                             "%s is no longer the file that it was when the model was opened",
                             member)
                   : hm_fail_memory(error);
    }
    return unread == NULL
               ? HM_OK
               : hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s was not read to its end",
                         view->files[unread->file].entry->name);
}

hm_status hm_reading_run(hm_reading *reading, hm_error **error) {
    const hm_view *view = reading->view;
    hm_digest_job job = {
        .hash = reading->hash,
        .source = {.context = reading,
                   .open = source_open,
                   .close = source_close,
                   .name = source_name},
        .ranges = reading->ranges,
        .range_count = reading->count,
        .jobs = view->jobs,
        .stop_on_change = true,
        .progress = reading->how->progress,
        .progress_context = reading->how->progress_context,
    };
    if (reading->count == 0) {
        return HM_OK;
    }
    hm_status status = hm_digest_run(&job, error);
    return status == HM_OK ? judge(reading, error) : status;
}
