/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PATH_CHUNK = 3500 }; /* bytes of path given to the kernel at once; its limit is 4096 */

void hm_dir_close(DIR **dir) {
    if (*dir != NULL) {
        (void)closedir(*dir);
    }
}

void hm_fd_close(int *fd) {
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
    *fd = -1;
}

/* ---- opening beneath a directory ------------------------------------------------------------- */

static int openat2_beneath(int dir, const char *path, int flags, bool follow) {
    struct open_how how = {
        .flags = (unsigned)(flags | O_CLOEXEC),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (follow ? 0 : RESOLVE_NO_SYMLINKS),
    };
    /* The kernel answers EAGAIN when a rename nearby keeps it from being sure; it asks to retry. */
    for (int attempt = 0; attempt < 64; attempt++) {
        long fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) {
            return (int)fd;
        }
    }
    return -1;
}

/* Without openat2 (old kernels, seccomp filters): one component at a time, following nothing. */
static int open_by_component(int dir, const char *path, int flags) {
    hm_auto_fd current = dup(dir);
    while (current >= 0) {
        size_t length = strcspn(path, "/");
        hm_auto_free char *component = hm_strndup(path, length);
        if (component == NULL) {
            errno = ENOMEM;
            return -1;
        }
        if (length == 0 || strcmp(component, "..") == 0) {
            errno = EXDEV;
            return -1;
        }
        bool last = path[length] == '\0';
        int next = openat(current, component,
                          (last ? flags : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC);
        if (last || next < 0) {
            return next;
        }
        hm_fd_close(&current);
        current = next;
        path += length + 1;
    }
    return -1;
}

static int open_chunk(int dir, const char *path, int flags, bool follow) {
    int fd = openat2_beneath(dir, path, flags, follow);
    if (fd < 0 && (errno == ENOSYS || errno == EPERM) && !follow) {
        return open_by_component(dir, path, flags);
    }
    return fd;
}

int hm_open_beneath(int dir, const char *path, int flags, bool follow) {
    hm_auto_fd from = -1;
    while (strlen(path) > PATH_CHUNK) {
        size_t cut = PATH_CHUNK;
        while (cut > 0 && path[cut] != '/') {
            cut--;
        }
        hm_auto_free char *prefix = hm_strndup(path, cut);
        if (cut == 0 || prefix == NULL) {
            errno = cut == 0 ? ENAMETOOLONG : ENOMEM;
            return -1;
        }
        int next = open_chunk(from >= 0 ? from : dir, prefix, O_PATH | O_DIRECTORY, follow);
        if (next < 0) {
            return -1;
        }
        hm_fd_close(&from);
        from = next;
        path += cut + 1;
    }
    return open_chunk(from >= 0 ? from : dir, path, flags, follow);
}

/* ---- reading -------------------------------------------------------------------------------- */

hm_status hm_read_fd(int fd, const char *what, size_t limit, hm_buf *buf, hm_error **error) {
    enum { STEP = 64 * 1024 };
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size > limit) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "%s is larger than the %zu bytes that such a file may have", what, limit);
    }
    for (;;) {
        size_t before = buf->length;
        uint8_t *place = hm_buf_extend(buf, STEP);
        if (place == NULL) {
            return hm_fail_memory(error);
        }
        ssize_t got = read(fd, place, STEP);
        buf->length = before + (got > 0 ? (size_t)got : 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return hm_fail_errno(error, errno, "cannot read %s", what);
        }
        if (buf->length > limit) {
            return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                           "%s is larger than the %zu bytes that such a file may have", what,
                           limit);
        }
        if (got == 0) {
            return hm_buf_check(buf, error);
        }
    }
}

hm_status hm_read_file(const char *path, size_t limit, hm_buf *buf, hm_error **error) {
    hm_auto_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return hm_fail_errno(error, errno, "cannot open %s", path);
    }
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return hm_fail_errno(error, errno, "cannot read %s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is not a regular file", path);
    }
    return hm_read_fd(fd, path, limit, buf, error);
}

static bool owned(const struct stat *st) {
    return st->st_uid == geteuid() || st->st_uid == 0;
}

/* Opens a regular file of the caller's own, or root's, that others may not write to. */
static hm_status open_own(const char *path, int *opened, struct stat *st, hm_error **error) {
    hm_auto_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, st) != 0) {
        return hm_fail_errno(error, errno, "cannot open %s", path);
    }
    if (!S_ISREG(st->st_mode)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is not a regular file", path);
    }
    if (!owned(st) || (st->st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                      "%s can be changed by other users, and is not believed", path);
        hm_error_add_hint(error, "look at what it says; then `chown` it to yourself and `chmod "
                                 "go-w` it");
        return HM_UNDECIDED;
    }
    *opened = fd;
    fd = -1;
    return HM_OK;
}

hm_status hm_read_own_file(const char *path, size_t limit, hm_buf *buf, hm_error **error) {
    hm_auto_fd fd = -1;
    struct stat st;
    hm_status status = open_own(path, &fd, &st, error);
    return status == HM_OK ? hm_read_fd(fd, path, limit, buf, error) : status;
}

hm_status hm_read_secret_file(const char *path, size_t limit, hm_buf *buf, hm_error **error) {
    hm_auto_fd fd = -1;
    struct stat st;
    hm_status status = open_own(path, &fd, &st, error);
    if (status == HM_OK && (st.st_mode & (S_IRWXO | S_IXGRP)) != 0) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the secret in %s is open to others",
                      path);
        hm_error_add_hint(error, "`chmod 600` it, and take another secret: this one may be known");
        return HM_UNDECIDED;
    }
    if (status == HM_OK) {
        status = hm_read_fd(fd, path, limit, buf, error);
    }
    if (status == HM_OK && buf->length > 0 && buf->data[buf->length - 1] == '\n') {
        buf->data[--buf->length] = '\0';
    }
    if (status == HM_OK && buf->length > 0 && buf->data[buf->length - 1] == '\r') {
        buf->data[--buf->length] = '\0';
    }
    return status;
}

hm_status hm_check_own_directory(const char *path, hm_error **error) {
    struct stat st;
    if (stat(path, &st) != 0) {
        return hm_fail_errno(error, errno, "cannot open the directory %s", path);
    }
    if (!S_ISDIR(st.st_mode)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is not a directory", path);
    }
    bool open_to_others = (st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (st.st_mode & S_ISVTX) == 0;
    if (!owned(&st) || open_to_others) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                      "the directory %s can be changed by other users", path);
        hm_error_add_hint(error, "look at what is in it; then `chown` it to yourself and `chmod "
                                 "700` it");
        return HM_UNDECIDED;
    }
    return HM_OK;
}

/* ---- locks ---------------------------------------------------------------------------------- */

/* What its holder wrote into the lock's file. Only a word to help a person. */
static hm_status fail_locked(int fd, const char *path, hm_error **error) {
    char holder[21] = "";
    ssize_t got = pread(fd, holder, sizeof holder - 1, 0);
    holder[got > 0 ? got : 0] = '\0';
    holder[strspn(holder, "0123456789")] = '\0';
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the lock %s is held by %s%s", path,
                  holder[0] != '\0' ? "process " : "another process", holder);
    hm_error_add_hint(error, "wait until that is done, and try again");
    return HM_UNDECIDED;
}

static void sign_lock(int fd) {
    char text[24];
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)length, 0) != length) {
        return; /* the lock holds without */
    }
}

hm_status hm_lock_file(const char *path, int *fd, hm_error **error) {
    enum { ATTEMPTS = 500 };
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    hm_auto_fd lock = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (lock < 0) {
        return hm_fail_errno(error, errno, "cannot open the lock %s", path);
    }
    for (int i = 0; flock(lock, LOCK_EX | LOCK_NB) != 0; i++) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return hm_fail_errno(error, errno, "cannot take the lock %s", path);
        }
        if (i == ATTEMPTS) {
            return fail_locked(lock, path, error);
        }
        (void)nanosleep(&pause, NULL);
    }
    sign_lock(lock);
    *fd = lock;
    lock = -1;
    return HM_OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* A file on its way to its name. */
typedef struct placement {
    int dir;
    char *name;        /* the file's */
    char *aside;       /* the name it has before it gets its own, when it needs one */
    int fd;            /* the file, complete, while it has no name */
    bool stands_aside; /* the file, or the old one whose place it took */
    bool named;
    bool exchanged;
} placement;

static void placement_free(placement *place) {
    hm_fd_close(&place->dir);
    hm_fd_close(&place->fd);
    free(place->name);
    free(place->aside);
}

/* FNV-1a. The same file always gets the same name aside, so that a later writer can clear it. */
static uint64_t name_hash(const char *name) {
    uint64_t hash = 0xcbf29ce484222325;
    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3;
    }
    return hash;
}

static hm_status placement_open(const char *path, placement *place, hm_error **error) {
    const char *slash = strrchr(path, '/');
    size_t length = slash != NULL ? (size_t)(slash - path) : 0;
    hm_auto_free char *dir =
        slash == NULL ? hm_strdup(".") : hm_strndup(path, length > 0 ? length : 1);
    place->name = hm_strdup(slash != NULL ? slash + 1 : path);
    if (dir == NULL || place->name == NULL) {
        return hm_fail_memory(error);
    }
    place->aside = hm_textf(".hallmark-%016llx", (unsigned long long)name_hash(place->name));
    if (place->aside == NULL) {
        return hm_fail_memory(error);
    }
    if (place->name[0] == '\0') {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s is not the name of a file", path);
    }
    place->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return place->dir >= 0 ? HM_OK
                           : hm_fail_errno(error, errno, "cannot write to the directory %s", dir);
}

static bool same_directory(const placement *a, const placement *b) {
    struct stat left;
    struct stat right;
    return fstat(a->dir, &left) == 0 && fstat(b->dir, &right) == 0 && left.st_dev == right.st_dev &&
           left.st_ino == right.st_ino;
}

bool hm_path_taken(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

bool hm_same_place(const char *a, const char *b) {
    HM_CLEANUP(placement_free) placement left = {.dir = -1, .fd = -1};
    HM_CLEANUP(placement_free) placement right = {.dir = -1, .fd = -1};
    return placement_open(a, &left, NULL) == HM_OK && placement_open(b, &right, NULL) == HM_OK &&
           strcmp(left.name, right.name) == 0 && same_directory(&left, &right);
}

/*
 * One writer at a time per directory. Where the lock is not to be had (some network mounts, or
 * somebody who holds it for ever) two writers of one file may hinder each other, but never mix
 * their bytes.
 */
static void lock_directory(int dir) {
    enum { ATTEMPTS = 300 };
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    for (int i = 0; i < ATTEMPTS && flock(dir, LOCK_EX | LOCK_NB) != 0; i++) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            break;
        }
        (void)nanosleep(&pause, NULL);
    }
}

/* A directory that two files share is locked once: a second lock would wait for the first. */
static void lock_all(const placement *places, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || !same_directory(&places[0], &places[i])) {
            lock_directory(places[i].dir);
        }
        (void)unlinkat(places[i].dir, places[i].aside, 0);
    }
}

bool hm_write_all(int fd, hm_bytes content) {
    while (content.length > 0) {
        ssize_t done = write(fd, content.data, content.length);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            errno = done == 0 ? EIO : errno;
            return false;
        }
        content.data += done;
        content.length -= (size_t)done;
    }
    return true;
}

/* Names an O_TMPFILE. It goes through /proc since AT_EMPTY_PATH needs a capability. */
static int link_unnamed(int fd, int dir, const char *name) {
    hm_auto_free char *source = hm_textf("/proc/self/fd/%d", fd);
    if (source == NULL) {
        errno = ENOMEM;
        return -1;
    }
    return linkat(AT_FDCWD, source, dir, name, AT_SYMLINK_FOLLOW);
}

/* Writes a file under the name aside, where there are no files without a name. */
static bool stage_aside(placement *place, hm_bytes content, mode_t mode) {
    hm_auto_fd fd = openat(place->dir, place->aside, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
    if (fd < 0) {
        return false;
    }
    place->stands_aside = true;
    return hm_write_all(fd, content) && fsync(fd) == 0;
}

/*
 * Brings a file to the disk, without a name or, if it is to replace another one, aside: what is
 * left to do is one step that needs no more room.
 */
static bool stage(placement *place, const hm_new_file *file, mode_t mode) {
    place->fd = openat(place->dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
    if (place->fd < 0) {
        bool unknown = errno == EISDIR || errno == EOPNOTSUPP || errno == ENOENT;
        return unknown && stage_aside(place, file->content, mode);
    }
    if (!hm_write_all(place->fd, file->content) || fsync(place->fd) != 0) {
        return false;
    }
    if (file->rule == HM_WRITE_NEW) {
        return true;
    }
    place->stands_aside = link_unnamed(place->fd, place->dir, place->aside) == 0;
    return place->stands_aside || (errno == ENOENT && stage_aside(place, file->content, mode));
}

/* The file aside and the one that has the name change places. Not every file system can. */
static bool exchange(const placement *place) {
    return renameat2(place->dir, place->aside, place->dir, place->name, RENAME_EXCHANGE) == 0;
}

/* Gives a complete file its name. `keep`: the old one stays aside if it can. */
static bool commit(placement *place, const hm_new_file *file, mode_t mode, bool keep) {
    if (!place->stands_aside && link_unnamed(place->fd, place->dir, place->name) == 0) {
        place->named = true;
        return true;
    }
    if (!place->stands_aside &&
        (errno != ENOENT || !stage_aside(place, file->content, mode))) { /* no /proc */
        return false;
    }
    if (file->rule == HM_WRITE_NEW) {
        place->named = linkat(place->dir, place->aside, place->dir, place->name, 0) == 0;
        return place->named;
    }
    place->exchanged = keep && exchange(place);
    place->named =
        place->exchanged || renameat(place->dir, place->aside, place->dir, place->name) == 0;
    place->stands_aside = !place->named || place->exchanged;
    return place->named;
}

/* Takes away the names aside, and of a failure what got its name. */
static void tidy(placement *places, const hm_new_file *files, size_t count, bool written) {
    int saved = errno;
    for (size_t i = 0; i < count; i++) {
        if (!written && places[i].exchanged) {
            (void)exchange(&places[i]);
        }
        if (places[i].stands_aside) {
            (void)unlinkat(places[i].dir, places[i].aside, 0);
        }
        if (!written && places[i].named && files[i].rule == HM_WRITE_NEW) {
            (void)unlinkat(places[i].dir, places[i].name, 0);
        }
    }
    errno = saved;
}

/*
 * New names first: they can be taken back. Until the directory is on the disk too, a file may be
 * gone after a power cut. `*at` is the file that it failed at.
 */
static bool write_placed(placement *places, const hm_new_file *files, size_t count, mode_t mode,
                         size_t *at) {
    for (*at = 0; *at < count; ++*at) {
        if (!stage(&places[*at], &files[*at], mode)) {
            return false;
        }
    }
    static const hm_write_rule order[] = {HM_WRITE_NEW, HM_WRITE_REPLACE};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        for (*at = 0; *at < count; ++*at) {
            if (files[*at].rule == order[i] &&
                !commit(&places[*at], &files[*at], mode, count > 1)) {
                return false;
            }
        }
    }
    for (*at = 0; *at < count; ++*at) {
        if (fsync(places[*at].dir) != 0) {
            return false;
        }
    }
    return true;
}

/* Signals that would end the process wait meanwhile. Returns 0, or the cause's errno. */
static int write_undisturbed(placement *places, const hm_new_file *files, size_t count, mode_t mode,
                             size_t *at) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    lock_all(places, count);
    bool written = write_placed(places, files, count, mode, at);
    int cause = errno;
    tidy(places, files, count, written);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return written ? 0 : cause;
}

static hm_status fail_write(const hm_new_file *file, int cause, hm_error **error) {
    if (cause == EEXIST && file->rule == HM_WRITE_NEW) {
        hm_status status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                                   "%s exists and is not written over", file->path);
        hm_error_add_hint(error, "choose another name, or move the file away first");
        return status;
    }
    return hm_fail_errno(error, cause, "cannot write %s", file->path);
}

hm_status hm_write_files(const hm_new_file *files, size_t count, mode_t mode, hm_error **error) {
    placement places[HM_NEW_FILES_MAX];
    hm_status status = HM_OK;
    for (size_t i = 0; i < count; i++) {
        places[i] = (placement){.dir = -1, .fd = -1};
    }
    for (size_t i = 0; i < count && status == HM_OK; i++) {
        status = placement_open(files[i].path, &places[i], error);
    }
    if (status == HM_OK) {
        size_t at = 0;
        int cause = write_undisturbed(places, files, count, mode, &at);
        status = cause == 0 ? HM_OK : fail_write(&files[at], cause, error);
    }
    for (size_t i = 0; i < count; i++) {
        placement_free(&places[i]);
    }
    return status;
}

hm_status hm_write_file(const char *path, hm_bytes content, mode_t mode, hm_write_rule rule,
                        hm_error **error) {
    const hm_new_file file = {.path = path, .content = content, .rule = rule};
    return hm_write_files(&file, 1, mode, error);
}

void hm_write_file_recover(const char *path) {
    HM_CLEANUP(placement_free) placement place = {.dir = -1, .fd = -1};
    if (placement_open(path, &place, NULL) == HM_OK) {
        lock_all(&place, 1);
    }
}
