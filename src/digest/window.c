/* SPDX-License-Identifier: Apache-2.0 */
#include "digest/window.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

enum {
    GUARDS = 64,
    PAGE = 4096,
    HUGE_PAGE = 2 * 1024 * 1024, /* windows begin on one, so that it can be shown as one */
    BLOCK = 64,
};

/* What the signal handler needs to know of a thread's windows. `end` is 0 in one that is free. */
struct hm_window_guard {
    _Atomic uintptr_t base;
    _Atomic uintptr_t end;
    _Atomic size_t size;
    atomic_uint torn; /* a bit per window */
};

static struct hm_window_guard guards[GUARDS];
static unsigned guards_used; /* it and who has which guard: between hm_fork_hold() and its end */

/* The window's bit is set and zeros stand where the file was, so that the reader goes on. */
static bool cover(struct hm_window_guard *guard, uintptr_t at) {
    uintptr_t base = atomic_load(&guard->base);
    uintptr_t end = atomic_load(&guard->end);
    /* Another thread's guard may change hands meanwhile: an old start with a new end is none. */
    if (at < base || at >= end || atomic_load(&guard->base) != base) {
        return false;
    }
    size_t size = atomic_load(&guard->size);
    size_t index = (at - base) / size;
    int saved = errno;
    void *window = (void *)(base + index * size); // NOLINT(performance-no-int-to-ptr)
    void *covered = mmap(window, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    errno = saved;
    (void)atomic_fetch_or(&guard->torn, 1U << index);
    return covered != MAP_FAILED;
}

/* Runs in the thread that touched the missing page. Uses system calls and atomics only. */
static void on_sigbus(int number, siginfo_t *info, void *context) {
    (void)context;
    for (size_t i = 0; i < GUARDS; i++) {
        if (cover(&guards[i], (uintptr_t)info->si_addr)) {
            return;
        }
    }
    /* Not ours: the program ends as it would have, when the instruction is tried again. */
    struct sigaction action = {.sa_handler = SIG_DFL};
    (void)sigaction(number, &action, NULL);
}

static bool is_ours(const struct sigaction *action) {
    return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == on_sigbus;
}

/* A program that handles the signal itself keeps its handler, and reads instead. */
static bool handler_install(void) {
    struct sigaction old;
    struct sigaction ours = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (sigaction(SIGBUS, NULL, &old) != 0) {
        return false;
    }
    if (is_ours(&old)) {
        return true;
    }
    bool default_action = (old.sa_flags & SA_SIGINFO) == 0 && old.sa_handler == SIG_DFL;
    return default_action && sigaction(SIGBUS, &ours, NULL) == 0;
}

static void handler_remove(void) {
    struct sigaction current;
    struct sigaction action = {.sa_handler = SIG_DFL};
    if (sigaction(SIGBUS, NULL, &current) == 0 && is_ours(&current)) {
        (void)sigaction(SIGBUS, &action, NULL);
    }
}

/* A blocked SIGBUS is not delivered: the kernel ends the process. */
static bool is_blocked(void) {
    sigset_t mask;
    return pthread_sigmask(SIG_SETMASK, NULL, &mask) != 0 || sigismember(&mask, SIGBUS) != 0;
}

static struct hm_window_guard *take_guard(uint8_t *base, size_t count, size_t size) {
    struct hm_window_guard *guard = NULL;
    hm_fork_hold();
    for (size_t i = 0; i < GUARDS && guard == NULL; i++) {
        guard = atomic_load(&guards[i].end) == 0 ? &guards[i] : NULL;
    }
    if (guard != NULL && handler_install()) {
        guards_used++;
        atomic_store(&guard->torn, 0);
        atomic_store(&guard->size, size);
        atomic_store(&guard->base, (uintptr_t)base);
        atomic_store(&guard->end, (uintptr_t)base + count * size);
    } else {
        guard = NULL;
    }
    hm_fork_release();
    return guard;
}

static size_t space_size(const hm_windows *windows) {
    return windows->count * windows->size + HUGE_PAGE;
}

void hm_windows_open(hm_windows *windows, size_t count, size_t size) {
    *windows = (hm_windows){.size = size, .count = count};
    if (count > 8 * sizeof(unsigned) || size % PAGE != 0 || sysconf(_SC_PAGESIZE) != PAGE ||
        is_blocked()) {
        return;
    }
    void *space = mmap(NULL, space_size(windows), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (space == MAP_FAILED) {
        return;
    }
    uint8_t *base = (uint8_t *)space + (HUGE_PAGE - (uintptr_t)space % HUGE_PAGE) % HUGE_PAGE;
    windows->guard = take_guard(base, count, size);
    if (windows->guard == NULL) {
        (void)munmap(space, space_size(windows));
        return;
    }
    windows->space = space;
    windows->base = base;
}

/* Whether a byte could be had without waiting for a disk or a network. */
static bool is_cached(int fd, uint64_t offset) {
    uint8_t byte;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    return preadv2(fd, &vector, 1, (off_t)offset, RWF_NOWAIT) == 1;
}

const uint8_t *hm_windows_show(hm_windows *windows, size_t index, int fd, uint64_t offset,
                               size_t *length) {
    size_t inside = (size_t)(offset % PAGE);
    size_t most = windows->size - inside;
    size_t shown = *length <= most ? *length : most / BLOCK * BLOCK;
    uint8_t *window = windows->base + index * windows->size;
    if (!is_cached(fd, offset) || !is_cached(fd, offset + shown - 1)) {
        return NULL;
    }
    (void)atomic_fetch_and(&windows->guard->torn, ~(1U << index));
    void *mapped = mmap(window, inside + shown, PROT_READ, MAP_SHARED | MAP_FIXED, fd,
                        (off_t)(offset - inside));
    if (mapped == MAP_FAILED) {
        /* It may have left a gap, which somebody else's mapping must not come to stand in. */
        (void)mmap(window, windows->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                   0);
        return NULL;
    }
    /* All pages at once; older kernels cannot, and get them one by one. */
    if (madvise(window, inside + shown, MADV_POPULATE_READ) != 0 && errno != EINVAL) {
        return NULL;
    }
    *length = shown;
    return window + inside;
}

bool hm_windows_torn(const hm_windows *windows, size_t index) {
    return (atomic_load_explicit(&windows->guard->torn, memory_order_relaxed) >> index & 1) != 0;
}

void hm_windows_close(hm_windows *windows) {
    if (windows->base == NULL) {
        return;
    }
    hm_fork_hold();
    atomic_store(&windows->guard->end, 0);
    guards_used--;
    if (guards_used == 0) {
        handler_remove();
    }
    hm_fork_release();
    /* Not before: what somebody else maps there must not be covered in place of the windows. */
    (void)munmap(windows->space, space_size(windows));
    windows->base = NULL;
}
