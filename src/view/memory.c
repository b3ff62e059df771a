/* SPDX-License-Identifier: Apache-2.0 */
#include "view/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

void hm_memory_free(hm_memory *memory) {
    if (memory->data != NULL) {
        (void)munmap(memory->data, memory->length);
    }
    memory->data = NULL;
    hm_fd_close(&memory->fd);
}

void hm_memory_wipe(uint8_t *data, size_t length, bool ours_alone) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t start = (uintptr_t)data;
    size_t before = (size_t)((page - start % page) % page);
    size_t pages = length > before ? (length - before) / page * page : 0;
    if (!ours_alone || pages == 0 || madvise(data + before, pages, MADV_DONTNEED) != 0) {
        explicit_bzero(data, length);
        return;
    }
    explicit_bzero(data, before);
    explicit_bzero(data + before + pages, length - before - pages);
}

/* Beyond this limit the kernel does not just fail: it sends a signal that ends the process. */
static hm_status check_file_limit(size_t length, const char *what, hm_error **error) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        length <= limit.rlim_cur) {
        return HM_OK;
    }
    hm_status status =
        hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                "the limit on the size of files (%" PRIu64 " bytes) leaves no room for %zu bytes "
                "of %s in memory",
                (uint64_t)limit.rlim_cur, length, what);
    hm_error_add_hint(error, "raise RLIMIT_FSIZE (`ulimit -f unlimited`)");
    return status;
}

/* Newer kernels may demand that what is not to be executed is said to be so; older know no such. */
static int create(void) {
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("hallmark", flags | MFD_NOEXEC_SEAL);
    return fd < 0 && errno == EINVAL ? memfd_create("hallmark", flags) : fd;
}

/*
 * A process of the same user can open our descriptors through /proc. So the first seal stands
 * before the first byte: it lets the mapping that there is write, and no other, and no write().
 * Kernels before 5.1 do not have it.
 */
static hm_status close_to_others(int fd, const char *what, hm_error **error) {
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK) == 0 ||
        (errno == EINVAL && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)) {
        return HM_OK;
    }
    return hm_fail_errno(error, errno, "cannot seal the memory for %s", what);
}

/* For writing, and not for a child that somebody forks: its mapping would hinder sealing. */
static bool map_for_us(hm_memory *memory) {
    hm_fork_hold();
    void *data = mmap(NULL, memory->length, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
    memory->data = data != MAP_FAILED ? data : NULL;
    bool ours = memory->data != NULL && madvise(data, memory->length, MADV_DONTFORK) == 0;
    int saved = errno;
    hm_fork_release();
    errno = saved;
    return ours;
}

hm_status hm_memory_make(size_t length, const char *what, hm_memory *memory, hm_error **error) {
    *memory = (hm_memory){.fd = -1, .length = length};
    hm_status status = check_file_limit(length, what, error);
    if (status != HM_OK) {
        return status;
    }
    HM_CLEANUP(hm_memory_free) hm_memory made = {.fd = create(), .length = length};
    if (made.fd < 0) {
        return hm_fail_errno(error, errno, "cannot make memory for %s", what);
    }
    if (!map_for_us(&made)) {
        return hm_fail_errno(error, errno, "cannot map %zu bytes for %s", length, what);
    }
    status = close_to_others(made.fd, what, error);
    if (status == HM_OK &&
        (ftruncate(made.fd, (off_t)length) != 0 || fcntl(made.fd, F_ADD_SEALS, F_SEAL_GROW) != 0)) {
        status =
            hm_fail_errno(error, errno, "cannot make %zu bytes of memory for %s", length, what);
    }
    if (status == HM_OK) {
        *memory = made;
        made = (hm_memory){.fd = -1};
    }
    return status;
}

/* A description of its own: the offset is not shared, and nothing can be written through it. */
static hm_status reopen(int fd, int *opened, hm_error **error) {
    hm_auto_free char *path = hm_textf("/proc/self/fd/%d", fd);
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    *opened = open(path, O_RDONLY | O_CLOEXEC);
    return *opened >= 0 ? HM_OK
                        : hm_fail_errno(error, errno, "cannot open sealed memory (%s)", path);
}

/*
 * Sealing fails while anything can still write to it. The new mapping is of a descriptor for
 * reading, so that not even mprotect() makes it writable.
 */
hm_status hm_memory_seal(hm_memory *memory, const char *what, hm_error **error) {
    const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    hm_auto_fd fd = -1;
    (void)munmap(memory->data, memory->length);
    memory->data = NULL;
    if (fcntl(memory->fd, F_ADD_SEALS, seals) != 0) {
        return hm_fail_errno(error, errno, "cannot seal the memory of %s", what);
    }
    hm_status status = reopen(memory->fd, &fd, error);
    if (status != HM_OK) {
        return status;
    }
    void *data = mmap(NULL, memory->length, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        return hm_fail_errno(error, errno, "cannot map %zu bytes of %s", memory->length, what);
    }
    memory->data = data;
    hm_fd_close(&memory->fd);
    memory->fd = fd;
    fd = -1;
    return HM_OK;
}

hm_status hm_memory_open(const hm_memory *memory, int *fd, hm_error **error) {
    return reopen(memory->fd, fd, error);
}

/* An empty copy is of one byte at first, since there is no mapping of none. */
static hm_status make_empty(int *fd, hm_error **error) {
    const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    hm_auto_fd made = create();
    if (made < 0 || fcntl(made, F_ADD_SEALS, seals) != 0) {
        return hm_fail_errno(error, errno, "cannot make memory for an empty file");
    }
    return reopen(made, fd, error);
}

hm_status hm_memory_open_copy(hm_bytes bytes, int *fd, hm_error **error) {
    HM_CLEANUP(hm_memory_free) hm_memory copy = {.fd = -1};
    if (bytes.length == 0) {
        return make_empty(fd, error);
    }
    hm_status status = hm_memory_make(bytes.length, "a copy of a small file", &copy, error);
    if (status != HM_OK) {
        return status;
    }
    memcpy(copy.data, bytes.data, bytes.length);
    status = hm_memory_seal(&copy, "a copy of a small file", error);
    if (status == HM_OK) {
        *fd = copy.fd;
        copy.fd = -1;
    }
    return status;
}
