/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy under way. Its files are made by the reading that digests them, so the bytes that were
 * verified are the bytes that are there. Nobody but its owner can open it before it is verified.
 */
#include "deploy/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Larger files are synced one by one, while others are read; smaller ones all at once. */
enum { SYNC_ALONE = 1 << 20 };

/* ---- the copy ------------------------------------------------------------------------------- */

/* Directories are made on the way; other threads may be making them too. */
static int make_parents(int top, const char *path) {
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        hm_auto_free char *folder = hm_strndup(path, (size_t)(slash - path));
        const char *last = folder != NULL ? strrchr(folder, '/') : NULL;
        hm_auto_free char *outer =
            last != NULL ? hm_strndup(folder, (size_t)(last - folder)) : hm_strdup(".");
        if (folder == NULL || outer == NULL) {
            errno = ENOMEM;
            return -1;
        }
        hm_auto_fd fd = hm_open_beneath(top, outer, O_PATH | O_DIRECTORY, false);
        if (fd < 0 ||
            (mkdirat(fd, last != NULL ? last + 1 : folder, 0700) != 0 && errno != EEXIST)) {
            return -1;
        }
    }
    return 0;
}

/* The directory that a file goes into. -1 with errno. */
static int open_parent(int top, const char *path) {
    const char *slash = strrchr(path, '/');
    hm_auto_free char *folder =
        slash != NULL ? hm_strndup(path, (size_t)(slash - path)) : hm_strdup(".");
    if (folder == NULL) {
        errno = ENOMEM;
        return -1;
    }
    int fd = hm_open_beneath(top, folder, O_PATH | O_DIRECTORY, false);
    if (fd < 0 && errno == ENOENT && make_parents(top, path) == 0) {
        fd = hm_open_beneath(top, folder, O_PATH | O_DIRECTORY, false);
    }
    return fd;
}

/* One that is not read-only was not finished. */
static bool is_whole(const hm_stage *stage, const struct stat *st) {
    return S_ISREG(st->st_mode) && (st->st_mode & 07777) == stage->file_mode;
}

static int create_file(const hm_stage *stage, const char *name) {
    const char *slash = strrchr(name, '/');
    const char *base = slash != NULL ? slash + 1 : name;
    int flags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC;
    hm_auto_fd parent = open_parent(stage->fd, name);
    int fd = parent >= 0 ? openat(parent, base, flags, 0600) : -1;
    struct stat st;
    if (fd < 0 && parent >= 0 && errno == EEXIST &&
        fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) == 0 && !is_whole(stage, &st) &&
        unlinkat(parent, base, 0) == 0) {
        fd = openat(parent, base, flags, 0600);
    }
    return fd;
}

/* Before Linux 5.8 syncfs() does not say that something could not be written. */
static bool syncfs_tells(void) {
    struct utsname system;
    unsigned major = 0;
    unsigned minor = 0;
    if (uname(&system) != 0 || sscanf(system.release, "%u.%u", &major, &minor) != 2) {
        return false;
    }
    return major > 5 || (major == 5 && minor >= 8);
}

/* The content is complete: from here on nobody is to write to it. */
static bool finish_file(const hm_stage *stage, int fd) {
    const hm_store *store = stage->slot->store;
    struct stat st;
    if (store->grouped && fchown(fd, (uid_t)-1, store->group) != 0) {
        return false;
    }
    if (fchmod(fd, stage->file_mode) != 0 || fstat(fd, &st) != 0) {
        return false;
    }
    return (st.st_size < SYNC_ALONE && stage->together) || fsync(fd) == 0;
}

static hm_status fail_write(const hm_stage *stage, const char *name, hm_error **error) {
    int cause = errno;
    hm_status status = hm_fail_errno(error, cause, "cannot write %s to the store %s", name,
                                     stage->slot->store->path);
    if (cause == ENOSPC || cause == EDQUOT) {
        hm_error_add_hint(error, "make room; `hallmark gc` removes versions that are not needed");
    } else if (cause == EPERM && stage->slot->store->grouped) {
        hm_error_add_hint(error, "whoever deploys must be root or a member of the group %s",
                          stage->slot->store->config->group);
    }
    return status;
}

static hm_status reopen_copy(void *context, const hm_entry *entry, int *fd, hm_error **error) {
    const hm_stage *stage = context;
    struct stat st;
    *fd = -1;
    hm_auto_fd found = hm_open_beneath(stage->fd, entry->name, O_RDONLY | O_NOFOLLOW, false);
    if (found < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        return HM_OK;
    }
    if (found < 0 || fstat(found, &st) != 0) {
        return hm_fail_errno(error, errno, "cannot read the copy of %s", entry->name);
    }
    if (!is_whole(stage, &st)) {
        return HM_OK;
    }
    /* Signatures of different content must not both count, the one for the beginning of a copy. */
    if ((uint64_t)st.st_size != entry->size) {
        return hm_fail(error, HM_REFUSED, HM_REASON_CHANGED_WHILE_READING,
                       "%s changed while it was being read", entry->name);
    }
    *fd = found;
    found = -1;
    return HM_OK;
}

static hm_status create_copy(void *context, const hm_entry *entry, int *fd, hm_error **error) {
    const hm_stage *stage = context;
    *fd = create_file(stage, entry->name);
    return *fd >= 0 ? HM_OK : fail_write(stage, entry->name, error);
}

static hm_status finish_copy(void *context, const hm_entry *entry, int fd, bool whole,
                             hm_error **error) {
    const hm_stage *stage = context;
    hm_auto_fd closing = fd;
    return !whole || finish_file(stage, closing) ? HM_OK : fail_write(stage, entry->name, error);
}

/* ---- the stage ------------------------------------------------------------------------------ */

hm_status hm_stage_open(const hm_slot *slot, hm_stage *stage, hm_error **error) {
    const hm_store *store = slot->store;
    *stage = (hm_stage){
        .slot = slot,
        .fd = -1,
        .file_mode = store->grouped ? 0440 : 0444,
        .directory_mode = store->grouped ? 0550 : 0555,
        .together = syncfs_tells(),
    };
    hm_status status = hm_store_new_id(store, stage->id, error);
    if (status != HM_OK) {
        return status;
    }
    stage->relative = hm_textf("%s/staging-%s", slot->relative, stage->id);
    hm_auto_free char *model = hm_textf("%s/staging-%s/model", slot->relative, stage->id);
    if (stage->relative == NULL || model == NULL) {
        return hm_fail_memory(error);
    }
    if (mkdirat(store->fd, stage->relative, 0700) == 0 && mkdirat(store->fd, model, 0700) == 0) {
        stage->fd = hm_open_beneath(store->fd, model, O_RDONLY | O_DIRECTORY, false);
    }
    stage->copy = (hm_tree_copy){.context = stage,
                                 .reopen = reopen_copy,
                                 .create = create_copy,
                                 .finish = finish_copy};
    return stage->fd >= 0 ? HM_OK : fail_write(stage, stage->relative, error);
}

/* Whether a step that was written down and not completed is to be completed with this copy. */
static bool is_awaited(const hm_stage *stage) {
    hm_auto_free char *journal = hm_textf("%s/journal.json", stage->slot->relative);
    return journal == NULL || hm_store_taken(stage->slot->store, journal);
}

void hm_stage_close(hm_stage *stage) {
    if (stage->fd >= 0 && !is_awaited(stage)) {
        /* What cannot be removed now is removed when the place is opened next. */
        hm_status removed = hm_store_remove(stage->slot->store, stage->relative, NULL);
        (void)removed;
    }
    hm_fd_close(&stage->fd);
    free(stage->relative);
    stage->relative = NULL;
}

hm_status hm_stage_add(hm_stage *stage, const char *name, hm_bytes content, hm_error **error) {
    hm_auto_fd fd = create_file(stage, name);
    if (fd < 0 && (errno == EEXIST || errno == ENOTDIR || errno == EISDIR)) {
        hm_status status =
            hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                    "the model has a file of its own at %s, where its signature is kept", name);
        hm_error_add_hint(error, "sign it again with the signature in another place");
        return status;
    }
    return fd >= 0 && hm_write_all(fd, content) && finish_file(stage, fd)
               ? HM_OK
               : fail_write(stage, name, error);
}

hm_status hm_stage_walk(const hm_stage *stage, hm_model *model, hm_tree *tree, hm_error **error) {
    hm_ignore nothing = {0};
    *model = (hm_model){.path = stage->relative, .name = stage->relative, .fd = stage->fd};
    return hm_tree_walk(model, &nothing, false, tree, error);
}

/* ---- keeping what was verified ----------------------------------------------------------- */

static bool lists(const hm_manifest *const *found, size_t count, const char *name) {
    bool listed = false;
    for (size_t i = 0; i < count && !listed; i++) {
        listed = hm_manifest_find(found[i], name, 0) != NULL;
    }
    return listed;
}

static hm_status drop(const hm_stage *stage, const char *name, hm_error **error) {
    const char *slash = strrchr(name, '/');
    hm_auto_fd parent = open_parent(stage->fd, name);
    return parent >= 0 && unlinkat(parent, slash != NULL ? slash + 1 : name, 0) == 0
               ? HM_OK
               : hm_fail_errno(error, errno, "cannot remove %s from the store", name);
}

static hm_status check_whole(const hm_stage *stage, const char *name, hm_error **error) {
    struct stat st;
    hm_auto_fd fd = hm_open_beneath(stage->fd, name, O_PATH | O_NOFOLLOW, false);
    return fd >= 0 && fstat(fd, &st) == 0 && is_whole(stage, &st)
               ? HM_OK
               : hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                         "%s was verified, and not copied whole", name);
}

hm_status hm_stage_keep(hm_stage *stage, const hm_manifest *const *found, size_t count,
                        hm_error **error) {
    HM_CLEANUP(hm_tree_free) hm_tree tree = {0};
    hm_model model;
    hm_status status = hm_stage_walk(stage, &model, &tree, error);
    for (size_t i = 0; i < tree.count && status == HM_OK; i++) {
        if (!lists(found, count, tree.entries[i].name)) {
            status = drop(stage, tree.entries[i].name, error);
        }
    }
    for (size_t i = 0; i < count && status == HM_OK; i++) {
        for (size_t k = 0; k < found[i]->count && status == HM_OK; k++) {
            const hm_item *item = &found[i]->items[k];
            status = item->start == 0 ? check_whole(stage, item->name, error) : HM_OK;
        }
    }
    return status;
}

/* ---- sealing -------------------------------------------------------------------------------- */

static hm_status seal_directory(const hm_stage *stage, const char *path, bool top,
                                hm_error **error) {
    const hm_store *store = stage->slot->store;
    if (!top && unlinkat(store->fd, path, AT_REMOVEDIR) == 0) {
        return HM_OK; /* all that it held was dropped */
    }
    hm_auto_fd fd = hm_open_beneath(store->fd, path, O_RDONLY | O_DIRECTORY, false);
    bool owned = fd >= 0 && (!store->grouped || fchown(fd, (uid_t)-1, store->group) == 0);
    return owned && fchmod(fd, stage->directory_mode) == 0 && (stage->together || fsync(fd) == 0)
               ? HM_OK
               : fail_write(stage, path, error);
}

hm_status hm_stage_seal(hm_stage *stage, hm_error **error) {
    HM_CLEANUP(hm_texts_free) hm_texts paths = {0};
    hm_auto_free char *model = hm_textf("%s/model", stage->relative);
    hm_status status = model != NULL
                           ? hm_store_directories(stage->slot->store, model, &paths, error)
                           : hm_fail_memory(error);
    for (size_t i = paths.count; i-- > 0 && status == HM_OK;) {
        status = seal_directory(stage, paths.list[i], i == 0, error);
    }
    hm_auto_fd outer =
        hm_open_beneath(stage->slot->store->fd, stage->relative, O_RDONLY | O_DIRECTORY, false);
    const hm_store *store = stage->slot->store;
    bool owned = outer >= 0 && (!store->grouped || fchown(outer, (uid_t)-1, store->group) == 0);
    if (status == HM_OK && (!owned || (stage->together && syncfs(stage->fd) != 0))) {
        status = fail_write(stage, stage->relative, error);
    }
    return status;
}
