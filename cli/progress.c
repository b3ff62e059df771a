/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void cli_progress_start(cli_progress *progress, bool off) {
    *progress = (cli_progress){.wanted = !off && isatty(STDERR_FILENO) == 1, .started = now()};
}

static void show(const cli_progress *progress, int64_t time, uint64_t done, uint64_t total) {
    double seconds = (double)(time - progress->started) / 1e9;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    double left = rate > 0 ? (double)(total - done) / rate : 0;
    fprintf(stderr, "\r\033[K%3.0f%%  %.2f of %.2f GB  %.2f GB/s  %.0f s left",
            total > 0 ? 100.0 * (double)done / (double)total : 100.0, (double)done / 1e9,
            (double)total / 1e9, rate / 1e9, left);
}

bool cli_progress_show(void *context, uint64_t done, uint64_t total) {
    enum { FIRST_AFTER = 500000000, EVERY = 100000000 }; /* nanoseconds */
    cli_progress *progress = context;
    if (!progress->wanted) {
        return true;
    }
    int64_t time = now();
    if (time - progress->started >= FIRST_AFTER && time - progress->last >= EVERY) {
        progress->last = time;
        progress->shown = true;
        show(progress, time, done, total);
    }
    return true;
}

void cli_progress_end(cli_progress *progress) {
    if (progress->shown) {
        fputs("\r\033[K", stderr);
    }
}
