/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be said of a file's content without reading it. docs/distributed.md and docs/reuse.md
 * say what that is worth.
 */
#include "model/model.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* Seconds: coarser than the clock of any file system that is trusted here. */
enum { SETTLED_AFTER = 2 };

/*
 * File systems of this kernel that set the change time on every write, through mappings too (tmpfs
 * does not), and that no other machine or process answers for.
 */
enum {
    MAGIC_EXT = 0xEF53,
    MAGIC_XFS = 0x58465342,
};
#define MAGIC_BTRFS UINT32_C(0x9123683E)
#define MAGIC_F2FS UINT32_C(0xF2F52010)

char *hm_entry_mtime(const hm_entry *entry) {
    return hm_textf("%" PRId64 ".%09" PRIu32, entry->mtime_sec, entry->mtime_nsec);
}

char *hm_entry_state(const hm_entry *entry) {
    return hm_textf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 ".%09" PRIu32 " %" PRId64
                    ".%09" PRIu32,
                    entry->size, entry->device, entry->inode, entry->mtime_sec, entry->mtime_nsec,
                    entry->ctime_sec, entry->ctime_nsec);
}

static bool file_system_trusted(int fd) {
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0) {
        return false;
    }
    uint32_t magic = (uint32_t)fs.f_type;
    return magic == MAGIC_EXT || magic == MAGIC_XFS || magic == MAGIC_BTRFS || magic == MAGIC_F2FS;
}

/*
 * A lease on reading is given only while nobody has the file open for writing, or mapped so. What
 * was begun before and moves no time later, a write that its writer holds up or a store into a page
 * that is dirty already, is thereby ruled out. Should somebody open the file in the moment that the
 * lease stands, the signal for it must not be SIGIO, which ends a process.
 */
static bool nobody_writes(int fd) {
    if (fcntl(fd, F_SETSIG, SIGURG) != 0 || fcntl(fd, F_SETLEASE, F_RDLCK) != 0) {
        return false;
    }
    return fcntl(fd, F_SETLEASE, F_UNLCK) == 0;
}

/* By the system's clock, not the one that HALLMARK_TIME sets: it is what stamps files. */
static bool old_enough(const hm_entry *entry) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) {
        return false;
    }
    return entry->ctime_sec < (int64_t)now.tv_sec - SETTLED_AFTER;
}

/*
 * Who may write to a file can have content moved into it that leaves no trace in its times
 * (EXT4_IOC_MOVE_EXT). So nobody may but the user who signs, and root.
 */
static bool nobody_elses(const struct stat *st) {
    return (st->st_uid == geteuid() || st->st_uid == 0) && (st->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

bool hm_entry_settled(const hm_tree *tree, const hm_entry *entry, bool kept) {
    struct stat st;
    if (entry->kind != HM_ENTRY_FILE || (!kept && !old_enough(entry))) {
        return false;
    }
    int flags = kept ? O_PATH | O_NOFOLLOW : O_RDONLY | O_NONBLOCK | O_NOCTTY;
    hm_auto_fd fd = hm_open_beneath(tree->model->fd, entry->name, flags, false);
    return fd >= 0 && fstat(fd, &st) == 0 && hm_entry_same(entry, &st) && nobody_elses(&st) &&
           file_system_trusted(fd) && (kept || nobody_writes(fd));
}

/* Every part ended by a NUL, which no name can hold. */
hm_status hm_tree_digest(const hm_tree *tree, uint64_t *bytes, uint8_t *digest, hm_error **error) {
    hm_auto_buf text = {0};
    *bytes = 0;
    hm_buf_add_format(&text, "hallmark-part-tree-v1%c", 0);
    for (size_t i = 0; i < tree->count; i++) {
        const hm_entry *entry = &tree->entries[i];
        hm_buf_add_format(&text, "%" PRIu64 " %s%c", entry->size, entry->name, 0);
        if (!hm_add_u64(*bytes, entry->size, bytes)) {
            return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                           "the model has more bytes than can be counted");
        }
    }
    hm_status status = hm_buf_check(&text, error);
    return status == HM_OK ? hm_digest_bytes(HM_HASH_SHA256, hm_buf_view(&text), digest, error)
                           : status;
}
