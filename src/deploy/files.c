/* SPDX-License-Identifier: Apache-2.0 */
/* Files and directories beneath a store, by descriptors. Nothing in it is followed as a link. */
#include "deploy/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool hm_store_taken(const hm_store *store, const char *relative) {
    hm_auto_fd fd =
        store->fd >= 0 ? hm_open_beneath(store->fd, relative, O_PATH | O_NOFOLLOW, false) : -1;
    return fd >= 0 || (store->fd >= 0 && errno != ENOENT && errno != ENOTDIR);
}

hm_status hm_store_sync(const hm_store *store, const char *relative, hm_error **error) {
    hm_auto_fd fd = hm_open_beneath(store->fd, relative, O_RDONLY | O_DIRECTORY, false);
    return fd >= 0 && fsync(fd) == 0
               ? HM_OK
               : hm_fail_errno(error, errno, "cannot sync %s/%s", store->path, relative);
}

/* ---- reading -------------------------------------------------------------------------------- */

hm_status hm_store_fail_damaged(const hm_store *store, const char *relative, const char *why,
                                hm_error **error) {
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the store's file %s/%s is damaged: %s",
                  store->path, relative, why);
    hm_error_add_hint(error, "docs/store.md says what is in it, and what may be removed");
    return HM_UNDECIDED;
}

hm_status hm_store_fail_newer(const hm_store *store, const char *relative, hm_error **error) {
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s/%s is of a newer Hallmark than this one",
                  store->path, relative);
    hm_error_add_hint(error, "use the newer Hallmark on this host: this one changes nothing here");
    return HM_UNDECIDED;
}

static hm_status check_format(const hm_store *store, const char *relative, const char *member,
                              hm_json *root, bool *newer, hm_error **error) {
    hm_json *value = root->type == HM_JSON_OBJECT ? hm_json_take_any(root, member) : NULL;
    uint64_t number = 0;
    if (value == NULL || !hm_json_integer(value, &number) || number == 0) {
        return hm_store_fail_damaged(store, relative, "it does not say what it is", error);
    }
    *newer = number > HM_STORE_FORMAT;
    return HM_OK;
}

hm_status hm_store_read_any_json(const hm_store *store, const char *relative,
                                 const char *format_member, hm_json_doc **doc, bool *there,
                                 bool *newer, hm_error **error) {
    hm_auto_buf text = {0};
    hm_auto_error cause = NULL;
    struct stat st;
    *there = false;
    *newer = false;
    hm_auto_fd fd = store->fd >= 0 ? hm_open_beneath(store->fd, relative,
                                                     O_RDONLY | O_NONBLOCK | O_NOCTTY, false)
                                   : -1;
    if (store->fd < 0 || (fd < 0 && errno == ENOENT)) {
        return HM_OK;
    }
    if (fd < 0 || fstat(fd, &st) != 0) {
        return hm_fail_errno(error, errno, "cannot read %s/%s", store->path, relative);
    }
    if (!S_ISREG(st.st_mode)) {
        return hm_store_fail_damaged(store, relative, "it is no regular file", error);
    }
    hm_status status = hm_read_fd(fd, relative, HM_STORE_FILE_LIMIT, &text, &cause);
    if (status == HM_OK) {
        status = hm_json_parse(hm_buf_view(&text), relative, doc, &cause);
    }
    if (status != HM_OK) {
        return status == HM_REFUSED
                   ? hm_store_fail_damaged(store, relative, hm_error_message(cause), error)
                   : hm_error_move(error, &cause);
    }
    *there = true;
    return check_format(store, relative, format_member, hm_json_root(*doc), newer, error);
}

hm_status hm_store_read_json(const hm_store *store, const char *relative, const char *format_member,
                             hm_json_doc **doc, bool *there, hm_error **error) {
    bool newer = false;
    hm_status status =
        hm_store_read_any_json(store, relative, format_member, doc, there, &newer, error);
    return status == HM_OK && newer ? hm_store_fail_newer(store, relative, error) : status;
}

/* ---- listing -------------------------------------------------------------------------------- */

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Entries of an open directory; `fd` is used up. */
static hm_status list_directory(int fd, const char *what, hm_texts *names, hm_error **error) {
    hm_auto_dir dir = fdopendir(fd);
    if (dir == NULL) {
        int cause = errno;
        close(fd);
        return hm_fail_errno(error, cause, "cannot list %s", what);
    }
    hm_status status = HM_OK;
    while (status == HM_OK) {
        errno = 0;
        const struct dirent *found = readdir(dir);
        if (found == NULL) {
            return errno == 0 ? HM_OK : hm_fail_errno(error, errno, "cannot list %s", what);
        }
        if (strcmp(found->d_name, ".") != 0 && strcmp(found->d_name, "..") != 0) {
            status = hm_texts_add(names, found->d_name, error);
        }
    }
    return status;
}

hm_status hm_store_list(const hm_store *store, const char *relative, hm_texts *names,
                        hm_error **error) {
    if (store->fd < 0) {
        return HM_OK;
    }
    int fd = hm_open_beneath(store->fd, relative, O_RDONLY | O_DIRECTORY, false);
    if (fd < 0) {
        return errno == ENOENT
                   ? HM_OK
                   : hm_fail_errno(error, errno, "cannot list %s/%s", store->path, relative);
    }
    hm_status status = list_directory(fd, relative, names, error);
    if (names->count > 1) {
        qsort(names->list, names->count, sizeof(char *), compare_texts);
    }
    return status;
}

/* ---- trees ---------------------------------------------------------------------------------- */

/* A directory's entries: what is no directory goes away, and directories go to the list's end. */
static hm_status empty_directory(int top, const char *path, hm_texts *directories,
                                 hm_error **error) {
    HM_CLEANUP(hm_texts_free) hm_texts names = {0};
    hm_auto_fd handle = hm_open_beneath(top, path, O_RDONLY | O_DIRECTORY, false);
    if (handle < 0 || fchmod(handle, 0700) != 0) {
        return hm_fail_errno(error, errno, "cannot open %s", path);
    }
    int listed = openat(handle, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    hm_status status = listed >= 0 ? list_directory(listed, path, &names, error)
                                   : hm_fail_errno(error, errno, "cannot open %s", path);
    for (size_t i = 0; i < names.count && status == HM_OK; i++) {
        struct stat st;
        if (fstatat(handle, names.list[i], &st, AT_SYMLINK_NOFOLLOW) != 0) {
            status = hm_fail_errno(error, errno, "cannot look at %s", names.list[i]);
        } else if (S_ISDIR(st.st_mode)) {
            hm_auto_free char *deeper = hm_textf("%s/%s", path, names.list[i]);
            status =
                deeper != NULL ? hm_texts_add(directories, deeper, error) : hm_fail_memory(error);
        } else if (unlinkat(handle, names.list[i], 0) != 0) {
            status = hm_fail_errno(error, errno, "cannot remove %s in %s", names.list[i], path);
        }
    }
    return status;
}

/* Adds the directories in a directory. */
static hm_status add_directories(int top, const char *path, hm_texts *paths, hm_error **error) {
    HM_CLEANUP(hm_texts_free) hm_texts names = {0};
    int listed = hm_open_beneath(top, path, O_RDONLY | O_DIRECTORY, false);
    hm_auto_fd handle = listed >= 0 ? dup(listed) : -1;
    hm_status status = listed >= 0 ? list_directory(listed, path, &names, error)
                                   : hm_fail_errno(error, errno, "cannot list %s", path);
    for (size_t i = 0; i < names.count && status == HM_OK; i++) {
        struct stat st;
        if (fstatat(handle, names.list[i], &st, AT_SYMLINK_NOFOLLOW) != 0) {
            status = hm_fail_errno(error, errno, "cannot look at %s", names.list[i]);
        } else if (S_ISDIR(st.st_mode)) {
            hm_auto_free char *deeper = hm_textf("%s/%s", path, names.list[i]);
            status = deeper != NULL ? hm_texts_add(paths, deeper, error) : hm_fail_memory(error);
        }
    }
    return status;
}

hm_status hm_store_directories(const hm_store *store, const char *relative, hm_texts *paths,
                               hm_error **error) {
    hm_status status = hm_texts_add(paths, relative, error);
    for (size_t i = 0; i < paths->count && status == HM_OK; i++) {
        hm_auto_free char *path = hm_strdup(paths->list[i]); /* the list may move */
        status =
            path != NULL ? add_directories(store->fd, path, paths, error) : hm_fail_memory(error);
    }
    return status;
}

static hm_status remove_directory(int top, const char *path, hm_error **error) {
    const char *slash = strrchr(path, '/');
    hm_auto_free char *parent =
        slash != NULL ? hm_strndup(path, (size_t)(slash - path)) : hm_strdup(".");
    if (parent == NULL) {
        return hm_fail_memory(error);
    }
    hm_auto_fd fd = hm_open_beneath(top, parent, O_RDONLY | O_DIRECTORY, false);
    return fd >= 0 && unlinkat(fd, slash != NULL ? slash + 1 : path, AT_REMOVEDIR) == 0
               ? HM_OK
               : hm_fail_errno(error, errno, "cannot remove the directory %s", path);
}

hm_status hm_store_remove(const hm_store *store, const char *relative, hm_error **error) {
    HM_CLEANUP(hm_texts_free) hm_texts directories = {0};
    if (unlinkat(store->fd, relative, 0) == 0 || errno == ENOENT) {
        return HM_OK;
    }
    if (errno != EISDIR && errno != EPERM && errno != EACCES) {
        return hm_fail_errno(error, errno, "cannot remove %s/%s", store->path, relative);
    }
    hm_status status = hm_texts_add(&directories, relative, error);
    for (size_t i = 0; i < directories.count && status == HM_OK; i++) {
        hm_auto_free char *path = hm_strdup(directories.list[i]); /* the list may move */
        status = path != NULL ? empty_directory(store->fd, path, &directories, error)
                              : hm_fail_memory(error);
    }
    for (size_t i = directories.count; i-- > 0 && status == HM_OK;) {
        status = remove_directory(store->fd, directories.list[i], error);
    }
    return status;
}
