/* SPDX-License-Identifier: Apache-2.0 */
#include "output.h"

#include "format/format.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

void hm_output_free(hm_output *output) {
    hm_buf_free(&output->content);
    hm_buf_free(&output->old);
    *output = (hm_output){.path = NULL};
}

static hm_status keep_old(hm_output *output, hm_error **error) {
    return output->rule == HM_WRITE_REPLACE
               ? hm_read_file(output->path, HM_SIGNATURE_FILE_LIMIT, &output->old, error)
               : HM_OK;
}

static bool is_old(const hm_output *output) {
    hm_auto_buf found = {0};
    return hm_read_file(output->path, HM_SIGNATURE_FILE_LIMIT, &found, NULL) == HM_OK &&
           hm_bytes_equal(hm_buf_view(&found), hm_buf_view(&output->old));
}

/* What is there counts, not what was said of it: a file may be in its place and not be synced. */
static bool put_back(const hm_output *output, hm_write_rule rule) {
    return is_old(output) ||
           hm_write_file(output->path, hm_buf_view(&output->old), 0666, rule, NULL) == HM_OK ||
           is_old(output);
}

/*
 * The cause of it all is told already; what fails here cannot be helped. On a full disk there may
 * be room for the old file only once the new one is gone.
 */
static void undo(const hm_output *output) {
    bool replaced = output->rule == HM_WRITE_REPLACE;
    if (replaced && put_back(output, HM_WRITE_REPLACE)) {
        return;
    }
    (void)unlink(output->path);
    if (replaced) {
        (void)put_back(output, HM_WRITE_NEW);
    }
}

static void undo_all(const hm_output *outputs, size_t done, size_t count) {
    /* The one that failed: a new one is gone, one that was to be replaced is old or complete. */
    if (done < count && outputs[done].rule == HM_WRITE_REPLACE) {
        (void)put_back(&outputs[done], HM_WRITE_REPLACE);
    }
    while (done > 0) {
        undo(&outputs[--done]);
    }
}

hm_status hm_outputs_write(hm_output *outputs, size_t count, hm_error **error) {
    sigset_t all, before;
    size_t done = 0;
    hm_status status = HM_OK;
    for (size_t i = 0; count > 1 && i < count && status == HM_OK; i++) {
        status = keep_old(&outputs[i], error);
    }
    if (status != HM_OK) {
        return status;
    }
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    while (done < count && status == HM_OK) {
        status = hm_write_file(outputs[done].path, hm_buf_view(&outputs[done].content), 0666,
                               outputs[done].rule, error);
        done += status == HM_OK ? 1 : 0;
    }
    if (status != HM_OK && count > 1) {
        undo_all(outputs, done, count);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}
