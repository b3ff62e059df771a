/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes system and library calls fail, for test_faults.py. Preloaded; steered by the environment:
 *
 *   HM_FAULT_CLASS   which calls: a name from `classes` below
 *   HM_FAULT_AT      which of them: 1 is the first; 0 none (they are only counted), or with
 *                    HM_FAULT_MODE=short all of them
 *   HM_FAULT_MODE    fail (default); keep: that call and all later ones fail; short: reads and
 *                    writes move one byte, or half of what was asked for; kill: the process dies
 *                    before the call is made; stop: it stops there, until it is told to go on;
 *                    only calls of the program's own count then, for it stops without the locks
 *                    that libraries hold for a moment
 *   HM_FAULT_ERRNO   the errno of a failed call; default EIO, for `alloc` ENOMEM
 *   HM_FAULT_ALL     allocations of other libraries count too, not only the program's own
 *   HM_FAULT_NO_OPENAT2   openat2 fails with ENOSYS, as on an old kernel
 *   HM_FAULT_REPORT  a file that receives a `struct report`, kept up to date at every call
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    ALLOC = 1 << 0,
    OPEN = 1 << 1,
    READ = 1 << 2,
    WRITE = 1 << 3,
    SYNC = 1 << 4,
    RENAME = 1 << 5,
    LINK = 1 << 6, /* new names other than of files that are opened */
    UNLINK = 1 << 7,
    STAT = 1 << 8,
    READDIR = 1 << 9,
    CLOSE = 1 << 10,
    MAP = 1 << 11,
    THREAD = 1 << 12,
    MODE = 1 << 13,   /* fchmod, ftruncate and their like */
    CREATE = 1 << 14, /* the opening of a file that may come into being by it */
};

static const struct {
    const char *name;
    int calls;
} classes[] = {
    {"alloc", ALLOC},
    {"open", OPEN},
    {"read", READ},
    {"write", WRITE},
    {"sync", SYNC},
    {"rename", RENAME},
    {"link", LINK},
    {"unlink", UNLINK},
    {"stat", STAT},
    {"readdir", READDIR},
    {"close", CLOSE},
    {"map", MAP},
    {"thread", THREAD},
    {"mode", MODE},
    {"space", CREATE | WRITE | LINK}, /* what a full disk has no room for */
    {"change", CREATE | WRITE | SYNC | RENAME | LINK | UNLINK | MODE},
    {"look", OPEN | READ | STAT | READDIR | MAP}, /* at what others may change meanwhile */
};

enum mode { MODE_FAIL, MODE_KEEP, MODE_SHORT, MODE_KILL, MODE_STOP };

struct report {
    _Atomic uint64_t calls; /* of the class, so far */
    _Atomic uint64_t fired; /* how many of them were made to fail */
    char name[48];          /* the call that failed first */
};

static struct report unreported;
static struct report *report = &unreported;
static int chosen;
static uint64_t fault_at;
static enum mode mode;
static int fault_errno;
static bool count_all, no_openat2;
static uintptr_t program_start, program_end;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

/* ---- setting up ---------------------------------------------------------------------------- */

/* The first object is the program itself. */
static int note_program(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size, (void)context;
    program_start = UINTPTR_MAX;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_LOAD)
            continue;
        uintptr_t start = info->dlpi_addr + header->p_vaddr;
        if (start < program_start)
            program_start = start;
        if (start + header->p_memsz > program_end)
            program_end = start + header->p_memsz;
    }
    return 1;
}

static void map_report(const char *path) {
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || syscall(SYS_ftruncate, fd, sizeof *report) != 0)
        _exit(124);
    void *memory =
        (void *)syscall(SYS_mmap, NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0L);
    if (memory == MAP_FAILED)
        _exit(124);
    syscall(SYS_close, fd);
    report = memory;
}

static enum mode mode_from(const char *text) {
    if (text == NULL || strcmp(text, "fail") == 0)
        return MODE_FAIL;
    if (strcmp(text, "keep") == 0)
        return MODE_KEEP;
    if (strcmp(text, "short") == 0)
        return MODE_SHORT;
    if (strcmp(text, "kill") == 0)
        return MODE_KILL;
    if (strcmp(text, "stop") == 0)
        return MODE_STOP;
    _exit(124);
}

__attribute__((constructor)) static void set_up(void) {
    dl_iterate_phdr(note_program, NULL);
    const char *at = getenv("HM_FAULT_AT");
    const char *number = getenv("HM_FAULT_ERRNO");
    const char *path = getenv("HM_FAULT_REPORT");
    const char *class = getenv("HM_FAULT_CLASS");
    count_all = getenv("HM_FAULT_ALL") != NULL;
    no_openat2 = getenv("HM_FAULT_NO_OPENAT2") != NULL;
    mode = mode_from(getenv("HM_FAULT_MODE"));
    fault_at = at != NULL ? strtoull(at, NULL, 10) : 0;
    if (path != NULL)
        map_report(path);
    int calls = 0;
    for (size_t i = 0; class != NULL && i < sizeof classes / sizeof *classes; i++)
        if (strcmp(class, classes[i].name) == 0)
            calls = classes[i].calls;
    if (class != NULL && calls == 0)
        _exit(124);
    fault_errno = number != NULL ? atoi(number) : (calls == ALLOC ? ENOMEM : EIO);
    chosen = calls;
}

/* ---- deciding ------------------------------------------------------------------------------ */

static bool is_own(const void *caller) {
    uintptr_t address = (uintptr_t)caller;
    return address >= program_start && address < program_end;
}

/* Counts a call, and says whether it is the one to meddle with. */
static bool due(const void *caller, int call, const char *name) {
    if ((call & chosen) == 0 || (mode == MODE_STOP && !is_own(caller)))
        return false;
    uint64_t number = atomic_fetch_add(&report->calls, 1) + 1;
    bool hit = mode == MODE_SHORT && fault_at == 0;
    hit = hit || (fault_at != 0 && number == fault_at);
    hit = hit || (fault_at != 0 && mode == MODE_KEEP && number > fault_at);
    if (!hit)
        return false;
    if (atomic_fetch_add(&report->fired, 1) == 0)
        strncpy(report->name, name, sizeof report->name - 1);
    if (mode == MODE_KILL) {
        syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
        for (;;)
            pause();
    }
    if (mode == MODE_STOP) {
        syscall(SYS_kill, syscall(SYS_getpid), SIGSTOP);
        return false;
    }
    return true;
}

/* The same for calls that can only fail, not be short. */
static bool fails_for(const void *caller, int call, const char *name) {
    if (mode == MODE_SHORT || !due(caller, call, name))
        return false;
    errno = fault_errno;
    return true;
}

static bool allocation_fails(const void *caller, const char *name) {
    return (count_all || is_own(caller)) && fails_for(caller, ALLOC, name);
}

/* For wrap.c. */
bool hm_fault_allocation(const char *name);
bool hm_fault_allocation(const char *name) {
    return fails_for(NULL, ALLOC, name);
}

/* False when the call fails; otherwise how much of `*length` is to be moved. */
static bool moves_for(const void *caller, int call, const char *name, size_t *length) {
    if (!due(caller, call, name))
        return true;
    if (mode == MODE_SHORT) {
        *length = *length > 64 ? *length / 2 : *length > 0;
        return true;
    }
    errno = fault_errno;
    return false;
}

#define NEXT(name)                                                                                 \
    static __typeof__(name) *next;                                                                 \
    if (next == NULL)                                                                              \
    next = (__typeof__(name) *)(uintptr_t)dlsym(RTLD_NEXT, #name)

#define CALLER __builtin_return_address(0)
#define fails(call, name) fails_for(CALLER, call, name)
#define moves(call, name, length) moves_for(CALLER, call, name, length)

/* ---- memory -------------------------------------------------------------------------------- */

void *malloc(size_t size) {
    return allocation_fails(CALLER, "malloc") ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return allocation_fails(CALLER, "calloc") ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    return allocation_fails(CALLER, "realloc") ? NULL : __libc_realloc(memory, size);
}

void *reallocarray(void *memory, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return allocation_fails(CALLER, "reallocarray") ? NULL : __libc_realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return allocation_fails(CALLER, "aligned_alloc") ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    if (allocation_fails(CALLER, "posix_memalign"))
        return fault_errno;
    void *made = __libc_memalign(alignment, size);
    if (made == NULL)
        return ENOMEM;
    *memory = made;
    return 0;
}

/* These allocate inside the C library, for the program. */
char *strdup(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = allocation_fails(CALLER, "strdup") ? NULL : __libc_malloc(size);
    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

char *strndup(const char *text, size_t limit) {
    size_t length = strnlen(text, limit);
    char *copy = allocation_fails(CALLER, "strndup") ? NULL : __libc_malloc(length + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

int vasprintf(char **text, const char *format, va_list arguments) {
    NEXT(vasprintf);
    return allocation_fails(CALLER, "vasprintf") ? -1 : next(text, format, arguments);
}

int __vasprintf_chk(char **text, int flag, const char *format, va_list arguments);
int __vasprintf_chk(char **text, int flag, const char *format, va_list arguments) {
    NEXT(__vasprintf_chk);
    return allocation_fails(CALLER, "vasprintf") ? -1 : next(text, flag, format, arguments);
}

void *mmap(void *where, size_t length, int protection, int flags, int fd, off_t offset) {
    NEXT(mmap);
    return fails(MAP, "mmap") ? MAP_FAILED : next(where, length, protection, flags, fd, offset);
}

void *mmap64(void *where, size_t length, int protection, int flags, int fd, off_t offset) {
    NEXT(mmap64);
    return fails(MAP, "mmap") ? MAP_FAILED : next(where, length, protection, flags, fd, offset);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *context) {
    NEXT(pthread_create);
    return fails(THREAD, "pthread_create") ? EAGAIN : next(thread, attributes, start, context);
}

/* ---- opening ------------------------------------------------------------------------------- */

static int kind_of_open(int flags) {
    return OPEN |
           ((flags & (O_CREAT | O_TRUNC)) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? CREATE : 0);
}

#define MODE_ARGUMENT(last)                                                                        \
    va_list arguments;                                                                             \
    va_start(arguments, last);                                                                     \
    mode_t permissions = va_arg(arguments, mode_t);                                                \
    va_end(arguments)

#define DEFINE_OPEN(name)                                                                          \
    int name(const char *path, int flags, ...) {                                                   \
        MODE_ARGUMENT(flags);                                                                      \
        NEXT(name);                                                                                \
        return fails(kind_of_open(flags), #name) ? -1 : next(path, flags, permissions);            \
    }
#define DEFINE_OPENAT(name)                                                                        \
    int name(int dir, const char *path, int flags, ...) {                                          \
        MODE_ARGUMENT(flags);                                                                      \
        NEXT(name);                                                                                \
        return fails(kind_of_open(flags), #name) ? -1 : next(dir, path, flags, permissions);       \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

/* What _FORTIFY_SOURCE makes of them. */
int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags) {
    NEXT(__open_2);
    return fails(kind_of_open(flags), "open") ? -1 : next(path, flags);
}
int __open64_2(const char *path, int flags);
int __open64_2(const char *path, int flags) {
    NEXT(__open64_2);
    return fails(kind_of_open(flags), "open") ? -1 : next(path, flags);
}
int __openat_2(int dir, const char *path, int flags);
int __openat_2(int dir, const char *path, int flags) {
    NEXT(__openat_2);
    return fails(kind_of_open(flags), "openat") ? -1 : next(dir, path, flags);
}
int __openat64_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags) {
    NEXT(__openat64_2);
    return fails(kind_of_open(flags), "openat") ? -1 : next(dir, path, flags);
}

FILE *fopen(const char *path, const char *how) {
    NEXT(fopen);
    return fails(OPEN, "fopen") ? NULL : next(path, how);
}

FILE *fopen64(const char *path, const char *how) {
    NEXT(fopen64);
    return fails(OPEN, "fopen") ? NULL : next(path, how);
}

DIR *opendir(const char *path) {
    NEXT(opendir);
    return fails(OPEN, "opendir") ? NULL : next(path);
}

DIR *fdopendir(int fd) {
    NEXT(fdopendir);
    return fails(OPEN, "fdopendir") ? NULL : next(fd);
}

static int kind_of_syscall(long number, const long *arguments) {
    switch (number) {
    case SYS_openat2: {
        const uint64_t *how = (const uint64_t *)arguments[2];
        return kind_of_open((int)how[0]);
    }
    case SYS_renameat2: return RENAME;
    case SYS_getdents64: return READDIR;
    case SYS_statx: return STAT;
    default: return 0;
    }
}

long syscall(long number, ...) {
    long a[6];
    va_list arguments;
    va_start(arguments, number);
    for (size_t i = 0; i < 6; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    NEXT(syscall);
    if (number == SYS_openat2 && no_openat2) {
        errno = ENOSYS;
        return -1;
    }
    int kind = chosen != 0 ? kind_of_syscall(number, a) : 0;
    if (kind != 0 && fails(kind, "syscall"))
        return -1;
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- moving bytes -------------------------------------------------------------------------- */

ssize_t read(int fd, void *buffer, size_t length) {
    NEXT(read);
    return moves(READ, "read", &length) ? next(fd, buffer, length) : -1;
}

ssize_t __read_chk(int fd, void *buffer, size_t length, size_t room);
ssize_t __read_chk(int fd, void *buffer, size_t length, size_t room) {
    NEXT(__read_chk);
    return moves(READ, "read", &length) ? next(fd, buffer, length, room) : -1;
}

#define DEFINE_PREAD(name)                                                                         \
    ssize_t name(int fd, void *buffer, size_t length, off_t offset) {                              \
        NEXT(name);                                                                                \
        return moves(READ, #name, &length) ? next(fd, buffer, length, offset) : -1;                \
    }
#define DEFINE_PREAD_CHK(name)                                                                     \
    ssize_t name(int fd, void *buffer, size_t length, off_t offset, size_t room);                  \
    ssize_t name(int fd, void *buffer, size_t length, off_t offset, size_t room) {                 \
        NEXT(name);                                                                                \
        return moves(READ, "pread", &length) ? next(fd, buffer, length, offset, room) : -1;        \
    }
DEFINE_PREAD(pread)
DEFINE_PREAD(pread64)
DEFINE_PREAD_CHK(__pread_chk)
DEFINE_PREAD_CHK(__pread64_chk)

ssize_t write(int fd, const void *buffer, size_t length) {
    NEXT(write);
    return moves(WRITE, "write", &length) ? next(fd, buffer, length) : -1;
}

#define DEFINE_PWRITE(name)                                                                        \
    ssize_t name(int fd, const void *buffer, size_t length, off_t offset) {                        \
        NEXT(name);                                                                                \
        return moves(WRITE, #name, &length) ? next(fd, buffer, length, offset) : -1;               \
    }
DEFINE_PWRITE(pwrite)
DEFINE_PWRITE(pwrite64)

/* ---- the rest ------------------------------------------------------------------------------ */

#define DEFINE(call, name, parameters, arguments)                                                  \
    int name parameters {                                                                          \
        NEXT(name);                                                                                \
        return fails(call, #name) ? -1 : next arguments;                                           \
    }
DEFINE(SYNC, fsync, (int fd), (fd))
DEFINE(SYNC, fdatasync, (int fd), (fd))
DEFINE(RENAME, rename, (const char *from, const char *to), (from, to))
DEFINE(RENAME, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
DEFINE(RENAME, renameat2, (int a, const char *from, int b, const char *to, unsigned flags),
       (a, from, b, to, flags))
DEFINE(LINK, link, (const char *from, const char *to), (from, to))
DEFINE(LINK, linkat, (int a, const char *from, int b, const char *to, int flags),
       (a, from, b, to, flags))
DEFINE(LINK, symlink, (const char *target, const char *path), (target, path))
DEFINE(LINK, symlinkat, (const char *target, int dir, const char *path), (target, dir, path))
DEFINE(LINK, mkdir, (const char *path, mode_t permissions), (path, permissions))
DEFINE(LINK, mkdirat, (int dir, const char *path, mode_t permissions), (dir, path, permissions))
DEFINE(LINK, mknod, (const char *path, mode_t permissions, dev_t device),
       (path, permissions, device))
DEFINE(LINK, mknodat, (int dir, const char *path, mode_t permissions, dev_t device),
       (dir, path, permissions, device))
DEFINE(UNLINK, rmdir, (const char *path), (path))
DEFINE(UNLINK, unlink, (const char *path), (path))
DEFINE(UNLINK, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))
DEFINE(STAT, stat, (const char *path, struct stat *info), (path, info))
DEFINE(STAT, lstat, (const char *path, struct stat *info), (path, info))
DEFINE(STAT, fstat, (int fd, struct stat *info), (fd, info))
DEFINE(STAT, fstatat, (int dir, const char *path, struct stat *info, int flags),
       (dir, path, info, flags))
DEFINE(STAT, stat64, (const char *path, struct stat64 *info), (path, info))
DEFINE(STAT, lstat64, (const char *path, struct stat64 *info), (path, info))
DEFINE(STAT, fstat64, (int fd, struct stat64 *info), (fd, info))
DEFINE(STAT, fstatat64, (int dir, const char *path, struct stat64 *info, int flags),
       (dir, path, info, flags))
DEFINE(STAT, statx, (int dir, const char *path, int flags, unsigned mask, struct statx *info),
       (dir, path, flags, mask, info))
DEFINE(MODE, fchmod, (int fd, mode_t permissions), (fd, permissions))
DEFINE(MODE, chmod, (const char *path, mode_t permissions), (path, permissions))
DEFINE(MODE, fchmodat, (int dir, const char *path, mode_t permissions, int flags),
       (dir, path, permissions, flags))
DEFINE(MODE, fchown, (int fd, uid_t user, gid_t group), (fd, user, group))
DEFINE(MODE, fchownat, (int dir, const char *path, uid_t user, gid_t group, int flags),
       (dir, path, user, group, flags))
DEFINE(MODE, ftruncate64, (int fd, off64_t length), (fd, length))
DEFINE(SYNC, syncfs, (int fd), (fd))
DEFINE(WRITE, fallocate, (int fd, int how, off_t offset, off_t length), (fd, how, offset, length))
DEFINE(MODE, ftruncate, (int fd, off_t length), (fd, length))

struct dirent *readdir(DIR *dir) {
    NEXT(readdir);
    return fails(READDIR, "readdir") ? NULL : next(dir);
}

struct dirent64 *readdir64(DIR *dir) {
    NEXT(readdir64);
    return fails(READDIR, "readdir") ? NULL : next(dir);
}

/* As on Linux, the descriptor is gone even when closing it fails. */
int close(int fd) {
    NEXT(close);
    bool failing = fails(CLOSE, "close");
    int status = next(fd);
    if (!failing)
        return status;
    errno = fault_errno;
    return -1;
}
