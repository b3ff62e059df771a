/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stops a process at its reads: preloaded, it counts those of one file, and at a chosen one changes
 * that file, before or after the bytes are read. What is done is said by Python, through ctypes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static _Atomic(int) armed; /* the read to act at, from 1; 0: none */
static _Atomic(int) count;
static bool before;
static void (*act)(void);
static dev_t device;
static ino_t inode;

void stopper_arm(int read, bool at_begin, const char *path, void (*action)(void)) {
    struct stat state;
    (void)stat(path, &state);
    device = state.st_dev;
    inode = state.st_ino;
    before = at_begin;
    act = action;
    atomic_store(&count, 0);
    atomic_store(&armed, read);
}

/* How many reads there were. */
int stopper_disarm(void) {
    atomic_store(&armed, 0);
    return atomic_load(&count);
}

static ssize_t stop(int fd, void *buffer, size_t length, off_t offset) {
    static ssize_t (*real)(int, void *, size_t, off_t);
    struct stat state;
    if (real == NULL) {
        real = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread64");
    }
    int at = atomic_load(&armed);
    bool ours = at > 0 && fstat(fd, &state) == 0 && state.st_dev == device &&
                state.st_ino == inode && atomic_fetch_add(&count, 1) + 1 == at;
    if (ours && before) {
        act();
    }
    ssize_t got = real(fd, buffer, length, offset);
    if (ours && !before) {
        act();
    }
    return got;
}

ssize_t pread(int fd, void *buffer, size_t length, off_t offset) {
    return stop(fd, buffer, length, offset);
}

ssize_t pread64(int fd, void *buffer, size_t length, off64_t offset) {
    return stop(fd, buffer, length, offset);
}
