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

/* The cause of it all is told already; what fails here cannot be helped. */
static void undo(const hm_output *output) {
    if (output->rule == HM_WRITE_NEW) {
        (void)unlink(output->path);
    } else if (hm_write_file(output->path, hm_buf_view(&output->old), 0666, HM_WRITE_REPLACE,
                             NULL) != HM_OK) {
        (void)unlink(output->path);
    }
}

hm_status hm_outputs_write(hm_output *outputs, size_t count, hm_error **error) {
    sigset_t all, before;
    size_t done = 0;
    hm_status status = HM_OK;
    for (size_t i = 0; i + 1 < count && status == HM_OK; i++) {
        status = keep_old(&outputs[i], error);
    }
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    for (; done < count && status == HM_OK; done += status == HM_OK ? 1 : 0) {
        status = hm_write_file(outputs[done].path, hm_buf_view(&outputs[done].content), 0666,
                               outputs[done].rule, error);
    }
    while (status != HM_OK && done > 0) {
        undo(&outputs[--done]);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}
