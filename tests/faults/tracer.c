/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a command and ends it, as if it had never been there, at a chosen change of the file system:
 *
 *   hmtracer [--under DIR]... [--before N | --after N] [--states DIR] --log FILE COMMAND...
 *
 *   --under DIR   only changes to what lies beneath it are counted (its real path)
 *   --before N    every process and thread is killed when the Nth change is about to be made
 *   --after N     ... when it has just been made
 *   --log FILE    a line of JSON for each change, the last one being that of the killing
 *   --states DIR  a copy of each changed file's content, and in the log what is where after each
 *                 change: from this test_power.py makes what a power failure could leave
 *
 * Changes are system calls that change names, contents or attributes of files, or make changes
 * durable. A filter lets the kernel stop at no others, so that a command runs at its usual speed.
 * They are let through one at a time: while one thread changes something, the others' changes wait.
 *
 * Exit status: the command's; 128 + the signal that ended it; 137 when it was killed here; 125 when
 * the tracer itself could not do its work.
 */
/* The C library's header has to come before the kernel's. */
#include <sys/ptrace.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FAILED = 125, PATH_ROOM = 4096, ROOTS = 8, TASKS = 512 };

/* What a call does, which decides what is noted of it. */
enum effect { NAMES, ATTRIBUTES, OPENS, DATA, SYNCS, SYNCS_ALL, MAPS, UNKNOWN_EFFECT };

/* Where a call has its descriptors and paths; 0 is none, otherwise the argument's number from 1. */
struct call {
    long number;
    const char *name;
    enum effect effect;
    int fd;
    int dir, path, dir2, path2;
};

#define BY_FD(name, effect, fd)                                                                    \
    { SYS_##name, #name, effect, fd, 0, 0, 0, 0 }
#define BY_PATH(name, effect, path)                                                                \
    { SYS_##name, #name, effect, 0, 0, path, 0, 0 }
#define BY_PATHS(name, effect)                                                                     \
    { SYS_##name, #name, effect, 0, 0, 1, 0, 2 }
#define AT(name, effect, dir)                                                                      \
    { SYS_##name, #name, effect, 0, dir, (dir) + 1, 0, 0 }
#define AT_BOTH(name, effect)                                                                      \
    { SYS_##name, #name, effect, 0, 1, 2, 3, 4 }

static const struct call calls[] = {
    BY_FD(write, DATA, 1),
    BY_FD(writev, DATA, 1),
    BY_FD(pwrite64, DATA, 1),
    BY_FD(pwritev, DATA, 1),
    BY_FD(pwritev2, DATA, 1),
    BY_FD(ftruncate, DATA, 1),
    BY_FD(fallocate, DATA, 1),
    BY_FD(sendfile, DATA, 1),
    BY_FD(copy_file_range, DATA, 3),
    BY_FD(splice, DATA, 3),
    BY_FD(ioctl, DATA, 1),
    BY_FD(fsync, SYNCS, 1),
    BY_FD(fdatasync, SYNCS, 1),
    BY_FD(syncfs, SYNCS_ALL, 1),
    BY_FD(fchmod, ATTRIBUTES, 1),
    BY_FD(fchown, ATTRIBUTES, 1),
    BY_FD(fsetxattr, ATTRIBUTES, 1),
    BY_FD(fremovexattr, ATTRIBUTES, 1),
    BY_FD(mmap, MAPS, 5),
    AT(openat, OPENS, 1),
    AT(openat2, OPENS, 1),
    AT(mkdirat, NAMES, 1),
    AT(mknodat, NAMES, 1),
    AT(unlinkat, NAMES, 1),
    AT(symlinkat, NAMES, 2),
    AT_BOTH(linkat, NAMES),
    AT_BOTH(renameat2, NAMES),
    AT(fchmodat, ATTRIBUTES, 1),
    AT(fchownat, ATTRIBUTES, 1),
    AT(utimensat, ATTRIBUTES, 1),
    BY_PATH(truncate, UNKNOWN_EFFECT, 1),
    BY_PATH(setxattr, ATTRIBUTES, 1),
    BY_PATH(lsetxattr, ATTRIBUTES, 1),
    BY_PATH(removexattr, ATTRIBUTES, 1),
    BY_PATH(lremovexattr, ATTRIBUTES, 1),
#ifdef SYS_fchmodat2
    AT(fchmodat2, ATTRIBUTES, 1),
#endif
#ifdef SYS_renameat
    AT_BOTH(renameat, NAMES),
#endif
#ifdef SYS_open /* the older ones, which newer machines do without */
    BY_PATH(open, OPENS, 1),
    BY_PATH(creat, OPENS, 1),
    BY_PATH(mkdir, NAMES, 1),
    BY_PATH(mknod, NAMES, 1),
    BY_PATH(rmdir, NAMES, 1),
    BY_PATH(unlink, NAMES, 1),
    BY_PATH(symlink, NAMES, 2),
    BY_PATHS(link, NAMES),
    BY_PATHS(rename, NAMES),
    BY_PATH(chmod, ATTRIBUTES, 1),
    BY_PATH(chown, ATTRIBUTES, 1),
    BY_PATH(lchown, ATTRIBUTES, 1),
    BY_PATH(utime, ATTRIBUTES, 1),
    BY_PATH(utimes, ATTRIBUTES, 1),
#endif
};
enum { CALLS = sizeof calls / sizeof *calls };

/* One stop before a change. */
struct change {
    pid_t task;
    const struct call *call;
    uint64_t arguments[6];
    char paths[2][PATH_ROOM];
    int path_count;
};

static char *roots[ROOTS];
static size_t root_count;
static uint64_t kill_before, kill_after, changes;
static FILE *log_file;
static const char *states_folder;
static pid_t tasks[TASKS]; /* all that are traced */
static size_t task_count;
static pid_t waiting[TASKS]; /* stopped before a change, until another's is done */
static size_t waiting_count;
static struct change under_way; /* .task is 0: none */

/* ---- dying --------------------------------------------------------------------------------- */

static void kill_all(void) {
    for (size_t i = 0; i < task_count; i++)
        kill(tasks[i], SIGKILL);
    int status;
    for (pid_t task; (task = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR;)
        if (task > 0 && WIFSTOPPED(status))
            kill(task, SIGKILL); /* one that has just come into being */
}

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "hmtracer: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, ": %s\n", strerror(errno));
    va_end(arguments);
    kill_all();
    exit(FAILED);
}

static void killed_here(void) {
    kill_all();
    fclose(log_file);
    exit(128 + SIGKILL);
}

/* ---- the filter ---------------------------------------------------------------------------- */

#define LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define STOP BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE)
#define EQUALS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skip))
#define HAS(bits, skip) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), 0, (skip))
#define ADD(...)                                                                                   \
    do {                                                                                           \
        const struct sock_filter added[] = {__VA_ARGS__};                                          \
        memcpy(filter + length, added, sizeof added);                                              \
        length += sizeof added / sizeof *added;                                                    \
    } while (0)

enum { CREATING = O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY) };

/* In the child. Hiding from debuggers, as the program does with a private key in memory, would
 * hide its descriptors from the tracer. */
static int install_filter(void) {
    struct sock_filter filter[8 * CALLS];
    unsigned short length = 0;
    ADD(LOAD(nr), EQUALS(SYS_prctl, 4), LOAD(args[0]), EQUALS(PR_SET_DUMPABLE, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO), ALLOW);
    for (size_t i = 0; i < CALLS; i++) {
        switch (calls[i].number) {
        case SYS_openat:
            ADD(EQUALS(SYS_openat, 4), LOAD(args[2]), HAS(CREATING, 1), STOP, ALLOW);
            break;
#ifdef SYS_open
        case SYS_open:
            ADD(EQUALS(SYS_open, 4), LOAD(args[1]), HAS(CREATING, 1), STOP, ALLOW);
            break;
#endif
        case SYS_mmap:
            ADD(EQUALS(SYS_mmap, 6), LOAD(args[2]), HAS(PROT_WRITE, 3), LOAD(args[3]),
                HAS(MAP_SHARED, 1), STOP, ALLOW);
            break;
        case SYS_ioctl:
            ADD(EQUALS(SYS_ioctl, 5), LOAD(args[1]), EQUALS(FICLONE, 1), STOP,
                EQUALS(FICLONERANGE, 1), STOP, ALLOW);
            filter[length - 7].jf = 6;
            break;
        default: ADD(EQUALS((unsigned)calls[i].number, 1), STOP); break;
        }
    }
    ADD(ALLOW);
    struct sock_fprog program = {length, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                   prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0
               ? 0
               : -1;
}

/* ---- what a call is about ------------------------------------------------------------------ */

static bool read_text(pid_t task, uint64_t address, char *out, size_t room) {
    size_t have = 0;
    while (have + 1 < room) {
        size_t part = 256 - (address + have) % 256; /* never across a page that is not there */
        if (part > room - 1 - have)
            part = room - 1 - have;
        struct iovec to = {out + have, part};
        struct iovec from = {(void *)(uintptr_t)(address + have), part};
        if (process_vm_readv(task, &to, 1, &from, 1, 0) != (ssize_t)part)
            return false;
        if (memchr(out + have, 0, part) != NULL)
            return true;
        have += part;
    }
    return false;
}

static bool link_of(const char *format, pid_t task, int fd, char *out) {
    char name[64];
    snprintf(name, sizeof name, format, (int)task, fd);
    ssize_t length = readlink(name, out, PATH_ROOM - 1);
    if (length < 0)
        return false;
    out[length] = '\0';
    return true;
}

static bool path_of_fd(pid_t task, int fd, char *out) {
    return fd == AT_FDCWD ? link_of("/proc/%d/cwd", task, 0, out)
                          : link_of("/proc/%d/fd/%d", task, fd, out);
}

static bool path_argument(const struct change *change, int dir, int path, char *out) {
    char relative[PATH_ROOM];
    if (!read_text(change->task, change->arguments[path - 1], relative, sizeof relative))
        return false;
    int fd = dir != 0 ? (int)change->arguments[dir - 1] : AT_FDCWD;
    if (relative[0] == '/') {
        snprintf(out, PATH_ROOM, "%s", relative);
        return true;
    }
    if (!path_of_fd(change->task, fd, out))
        return false;
    size_t length = strlen(out);
    if (relative[0] != '\0')
        snprintf(out + length, PATH_ROOM - length, "/%s", relative);
    return true;
}

static bool beneath_roots(const char *path) {
    for (size_t i = 0; i < root_count; i++) {
        size_t length = strlen(roots[i]);
        if (strncmp(path, roots[i], length) == 0 && (path[length] == '/' || path[length] == '\0'))
            return true;
    }
    return false;
}

static int opening_flags(const struct change *change) {
    uint64_t flags = 0;
    switch (change->call->number) {
    case SYS_openat2: {
        struct iovec to = {&flags, sizeof flags};
        struct iovec from = {(void *)(uintptr_t)change->arguments[2], sizeof flags};
        process_vm_readv(change->task, &to, 1, &from, 1, 0);
        return (int)flags;
    }
#ifdef SYS_open
    case SYS_open: return (int)change->arguments[1];
    case SYS_creat: return CREATING;
#endif
    default: return (int)change->arguments[2];
    }
}

/* Whether the call changes something beneath the roots. Fills in the paths. */
static bool counts(struct change *change) {
    const struct call *call = change->call;
    if (call->effect == OPENS && (opening_flags(change) & CREATING) == 0)
        return false;
    change->path_count = 0;
    if (call->fd != 0 &&
        path_of_fd(change->task, (int)change->arguments[call->fd - 1], change->paths[0]))
        change->path_count = 1;
    if (call->path != 0 && path_argument(change, call->dir, call->path, change->paths[0]))
        change->path_count = 1;
    if (call->path2 != 0 && change->path_count == 1 &&
        path_argument(change, call->dir2, call->path2, change->paths[1]))
        change->path_count = 2;
    for (int i = 0; i < change->path_count; i++)
        if (beneath_roots(change->paths[i]))
            return true;
    return false;
}

/* ---- the log ------------------------------------------------------------------------------- */

/* Bytes become the characters of the same number. */
static void log_text(const char *text) {
    fputc('"', log_file);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < ' ' || c == '"' || c == '\\' || c >= 0x7F)
            fprintf(log_file, "\\u%04x", c);
        else
            fputc(c, log_file);
    }
    fputc('"', log_file);
}

static void log_change(const struct change *change) {
    fprintf(log_file, "{\"n\":%" PRIu64 ",\"task\":%d,\"call\":\"%s\",\"paths\":[", changes,
            (int)change->task, change->call->name);
    for (int i = 0; i < change->path_count; i++) {
        if (i > 0)
            fputc(',', log_file);
        log_text(change->paths[i]);
    }
    fputc(']', log_file);
}

/* An inode's number may be used again; the time at which it was made tells one from the next. */
static bool log_inode(const char *member, int dir, const char *name, int flags) {
    struct statx st;
    if (statx(dir, name, flags, STATX_BASIC_STATS | STATX_BTIME, &st) != 0)
        return false;
    fprintf(log_file, "\"%s\":\"%x:%x:%" PRIu64 ":%" PRId64 ".%09u\"", member, st.stx_dev_major,
            st.stx_dev_minor, (uint64_t)st.stx_ino, (int64_t)st.stx_btime.tv_sec,
            st.stx_btime.tv_nsec);
    return true;
}

static void copy_content(int from) {
    char name[PATH_ROOM], buffer[65536];
    snprintf(name, sizeof name, "%s/%" PRIu64, states_folder, changes);
    int to = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    off_t at = 0;
    for (;;) {
        ssize_t got = pread(from, buffer, sizeof buffer, at);
        if (to < 0 || got < 0 || write(to, buffer, (size_t)got) != got)
            fail("cannot keep a copy in %s", name);
        if (got == 0)
            break;
        at += got;
    }
    close(to);
}

static void log_tree(int dir, bool *first);

static void log_entry(int dir, const char *name, bool *first) {
    struct stat st;
    char target[PATH_ROOM];
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        fail("cannot look at %s", name);
    fprintf(log_file, "%s{", *first ? "" : ",");
    *first = false;
    log_inode("in", dir, "", AT_EMPTY_PATH);
    fputc(',', log_file);
    log_inode("inode", dir, name, AT_SYMLINK_NOFOLLOW);
    fprintf(log_file, ",\"mode\":%u,\"name\":", (unsigned)st.st_mode);
    log_text(name);
    if (S_ISLNK(st.st_mode)) {
        ssize_t length = readlinkat(dir, name, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = '\0';
        fprintf(log_file, ",\"target\":");
        log_text(target);
    }
    fputc('}', log_file);
    if (S_ISDIR(st.st_mode))
        log_tree(openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), first);
}

/* Every entry beneath a directory, which is closed. */
static void log_tree(int dir, bool *first) {
    DIR *list = dir >= 0 ? fdopendir(dir) : NULL;
    if (list == NULL)
        fail("cannot list a directory");
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            log_entry(dirfd(list), entry->d_name, first);
    closedir(list);
}

static void log_state(void) {
    bool first = true;
    fprintf(log_file, ",\"roots\":{");
    for (size_t i = 0; i < root_count; i++) {
        fprintf(log_file, "%s", i > 0 ? "," : "");
        log_inode(roots[i], AT_FDCWD, roots[i], 0);
    }
    fprintf(log_file, "},\"tree\":[");
    for (size_t i = 0; i < root_count; i++) {
        int dir = open(roots[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir >= 0)
            log_tree(dir, &first);
    }
    fputc(']', log_file);
}

/* What became of the file that a call wrote to or made durable. */
static void log_file_of(const struct change *change, int64_t result) {
    enum effect effect = change->call->effect;
    int fd = effect == OPENS ? (int)result : (int)change->arguments[change->call->fd - 1];
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/fd/%d", (int)change->task, fd);
    struct stat st;
    if (stat(name, &st) != 0)
        fail("cannot look at %s", name);
    fputc(',', log_file);
    const char *what = effect == SYNCS ? "synced" : effect == MAPS ? "mapped" : "written";
    log_inode(what, AT_FDCWD, name, 0);
    fprintf(log_file, ",\"mode\":%u", (unsigned)st.st_mode);
    if (effect != SYNCS && effect != MAPS && S_ISREG(st.st_mode)) {
        int file = open(name, O_RDONLY | O_CLOEXEC);
        if (file < 0)
            fail("cannot read %s", name);
        copy_content(file);
        close(file);
    }
}

static void log_result(const struct change *change, int64_t result) {
    fprintf(log_file, ",\"result\":%" PRId64, result);
    if (states_folder != NULL && result >= 0) {
        enum effect effect = change->call->effect;
        if (effect == UNKNOWN_EFFECT) {
            errno = ENOTSUP;
            fail("what %s does is not known here", change->call->name);
        }
        if (effect == OPENS || effect == DATA || effect == SYNCS || effect == MAPS)
            log_file_of(change, result);
        if (effect == SYNCS_ALL)
            fprintf(log_file, ",\"synced\":\"all\"");
        log_state();
    }
    fprintf(log_file, "}\n");
}

/* ---- the tasks ----------------------------------------------------------------------------- */

static void resume(pid_t task, int how, int signal) {
    if (ptrace(how, task, NULL, (void *)(intptr_t)signal) != 0 && errno != ESRCH)
        fail("cannot resume %d", (int)task);
}

static void note_task(pid_t task) {
    for (size_t i = 0; i < task_count; i++)
        if (tasks[i] == task)
            return;
    if (task_count == TASKS) {
        errno = E2BIG;
        fail("too many tasks");
    }
    tasks[task_count++] = task;
}

static void forget(pid_t *list, size_t *count, pid_t task) {
    for (size_t i = 0; i < *count; i++)
        if (list[i] == task)
            list[i--] = list[--*count];
}

static const struct call *call_of(uint64_t number) {
    for (size_t i = 0; i < CALLS; i++)
        if ((uint64_t)calls[i].number == number)
            return &calls[i];
    return NULL;
}

/* A task stands before a call that the filter stops at, and none is under way. */
static void before_change(pid_t task) {
    struct ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, task, (void *)sizeof info, &info) <= 0)
        return; /* it has been killed */
    struct change change = {.task = task, .call = call_of(info.seccomp.nr)};
    memcpy(change.arguments, info.seccomp.args, sizeof change.arguments);
    if (change.call == NULL || !counts(&change)) {
        resume(task, PTRACE_CONT, 0);
        return;
    }
    changes++;
    log_change(&change);
    if (changes == kill_before) {
        fprintf(log_file, "}\n");
        killed_here();
    }
    under_way = change;
    resume(task, PTRACE_SYSCALL, 0);
}

static void next_change(void) {
    while (under_way.task == 0 && waiting_count > 0) {
        pid_t task = waiting[0];
        memmove(waiting, waiting + 1, --waiting_count * sizeof *waiting);
        before_change(task);
    }
}

static void after_change(pid_t task) {
    if (under_way.task == task) {
        struct ptrace_syscall_info info;
        if (ptrace(PTRACE_GET_SYSCALL_INFO, task, (void *)sizeof info, &info) <= 0)
            fail("cannot see how a call ended");
        log_result(&under_way, info.exit.rval);
        if (changes == kill_after)
            killed_here();
        under_way.task = 0;
    }
    resume(task, PTRACE_CONT, 0);
    next_change();
}

static void gone(pid_t task) {
    forget(tasks, &task_count, task);
    forget(waiting, &waiting_count, task);
    if (under_way.task == task) {
        fprintf(log_file, "}\n");
        under_way.task = 0;
    }
    next_change();
}

static void stopped(pid_t task, int status) {
    int event = status >> 16, signal = WSTOPSIG(status);
    note_task(task);
    if (event == PTRACE_EVENT_SECCOMP) {
        waiting[waiting_count++] = task;
        next_change();
    } else if (signal == (SIGTRAP | 0x80)) {
        after_change(task);
    } else if (event == PTRACE_EVENT_STOP && signal != SIGTRAP) {
        resume(task, PTRACE_LISTEN, 0);
    } else {
        resume(task, PTRACE_CONT, event != 0 ? 0 : signal);
    }
}

/* The command's exit status, when nothing of it is left. */
static int trace(pid_t command) {
    int status, ended = FAILED;
    for (;;) {
        pid_t task = waitpid(-1, &status, __WALL);
        if (task < 0 && errno == EINTR)
            continue;
        if (task < 0)
            return ended;
        if (WIFSTOPPED(status)) {
            stopped(task, status);
            continue;
        }
        if (task == command)
            ended = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        gone(task);
    }
}

/* ---- starting ------------------------------------------------------------------------------ */

/* It waits until it is traced. */
static pid_t start(char **command) {
    int gate[2];
    char byte;
    if (pipe2(gate, O_CLOEXEC) != 0)
        fail("cannot make a pipe");
    pid_t child = fork();
    if (child < 0)
        fail("cannot fork");
    if (child == 0) {
        close(gate[1]);
        if (read(gate[0], &byte, 1) != 0 || install_filter() != 0)
            _exit(FAILED);
        execvp(command[0], command);
        _exit(FAILED);
    }
    close(gate[0]);
    uintptr_t options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL |
                        PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                        PTRACE_O_TRACEEXEC;
    if (ptrace(PTRACE_SEIZE, child, NULL, (void *)options) != 0)
        fail("cannot trace");
    note_task(child);
    close(gate[1]);
    return child;
}

static char **read_options(char **argument) {
    for (; argument[0] != NULL && argument[1] != NULL && strncmp(argument[0], "--", 2) == 0;
         argument += 2) {
        const char *name = argument[0] + 2;
        char *value = argument[1];
        if (strcmp(name, "under") == 0 && root_count < ROOTS)
            roots[root_count++] = value;
        else if (strcmp(name, "before") == 0)
            kill_before = strtoull(value, NULL, 10);
        else if (strcmp(name, "after") == 0)
            kill_after = strtoull(value, NULL, 10);
        else if (strcmp(name, "log") == 0)
            log_file = fopen(value, "we");
        else if (strcmp(name, "states") == 0)
            states_folder = value;
        else
            return NULL;
    }
    return argument[0] != NULL && log_file != NULL && root_count > 0 ? argument : NULL;
}

int main(int count, char **arguments) {
    (void)count;
    char **command = read_options(arguments + 1);
    if (command == NULL) {
        fprintf(stderr, "usage: hmtracer --under DIR [--before N | --after N] [--states DIR] "
                        "--log FILE COMMAND...\n");
        return FAILED;
    }
    if (states_folder != NULL) {
        fprintf(log_file, "{\"n\":0");
        log_state();
        fprintf(log_file, "}\n");
    }
    int ended = trace(start(command));
    if (fclose(log_file) != 0)
        return FAILED;
    return ended;
}
