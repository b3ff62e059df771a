/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: measure REPORT COMMAND [ARGUMENT...]
 * Runs the command and writes one line into the file REPORT: exit status (128 + signal), seconds,
 * seconds of processor time, peak memory in KiB.
 *
 * A program of its own, since Linux counts into a child's peak memory what its parent had at the
 * fork: under Python nothing would seem to need less than Python.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double seconds_of(struct timeval t) {
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

static void become(char **command) {
    (void)execvp(command[0], command);
    fprintf(stderr, "measure: %s: %s\n", command[0], strerror(errno));
    _exit(127);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: measure REPORT COMMAND [ARGUMENT...]\n");
        return EXIT_FAILURE;
    }
    int status = 0;
    struct rusage usage;
    double started = now();
    pid_t child = fork();
    if (child == 0) {
        become(argv + 2);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        perror("measure");
        return EXIT_FAILURE;
    }
    double ended = now();

    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    FILE *report = fopen(argv[1], "w");
    if (report == NULL) {
        perror(argv[1]);
        return EXIT_FAILURE;
    }
    fprintf(report, "%d %.6f %.6f %ld\n", code, ended - started,
            seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime), usage.ru_maxrss);
    return fclose(report) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
