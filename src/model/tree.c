/* SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- entries -------------------------------------------------------------------------------- */

static const char *special_text(mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFIFO: return "named pipe";
    case S_IFSOCK: return "socket";
    case S_IFBLK: return "block device";
    case S_IFCHR: return "character device";
    default: return "special file";
    }
}

static void remember(hm_entry *entry, const struct stat *st) {
    entry->size = (uint64_t)st->st_size;
    entry->device = st->st_dev;
    entry->inode = st->st_ino;
    entry->mtime_sec = st->st_mtim.tv_sec;
    entry->mtime_nsec = (uint32_t)st->st_mtim.tv_nsec;
    entry->ctime_sec = st->st_ctim.tv_sec;
    entry->ctime_nsec = (uint32_t)st->st_ctim.tv_nsec;
}

/* The change time moves with every write and cannot be set back, unlike the modification time. */
bool hm_entry_same(const hm_entry *entry, const struct stat *st) {
    hm_entry now;
    remember(&now, st);
    return S_ISREG(st->st_mode) && now.size == entry->size && now.device == entry->device &&
           now.inode == entry->inode && now.mtime_sec == entry->mtime_sec &&
           now.mtime_nsec == entry->mtime_nsec && now.ctime_sec == entry->ctime_sec &&
           now.ctime_nsec == entry->ctime_nsec;
}

/* A link is followed only to a regular file that lies inside the root. */
static void classify_link(const hm_tree *tree, hm_entry *entry) {
    entry->kind = HM_ENTRY_SYMLINK;
    entry->kind_text = "symbolic link";
    if (!tree->follow) {
        return;
    }
    struct stat st;
    hm_auto_fd fd = hm_open_beneath(tree->model->fd, entry->name, O_PATH, true);
    if (fd < 0 || fstat(fd, &st) != 0) {
        entry->kind_text = errno == EXDEV   ? "symbolic link that leads outside the model"
                           : errno == ELOOP ? "symbolic link that leads in a circle"
                                            : "symbolic link that leads nowhere";
    } else if (S_ISDIR(st.st_mode)) {
        entry->kind_text = "symbolic link to a directory";
    } else if (S_ISREG(st.st_mode)) {
        entry->kind = HM_ENTRY_LINKED_FILE;
        entry->kind_text = "symbolic link to a file";
        remember(entry, &st);
    }
}

static hm_status add_entry(hm_tree *tree, const char *name, const struct stat *st,
                           hm_error **error) {
    char *copy = hm_strdup(name);
    if (copy == NULL || !hm_grow(&tree->entries, tree->count, &tree->capacity, sizeof(hm_entry))) {
        free(copy);
        return hm_fail_memory(error);
    }
    hm_entry *entry = &tree->entries[tree->count++];
    *entry = (hm_entry){.name = copy};
    remember(entry, st);
    if (S_ISREG(st->st_mode)) {
        entry->kind = HM_ENTRY_FILE;
        entry->kind_text = "file";
    } else if (S_ISLNK(st->st_mode)) {
        classify_link(tree, entry);
    } else {
        entry->kind = HM_ENTRY_SPECIAL;
        entry->kind_text = special_text(st->st_mode);
    }
    return HM_OK;
}

static hm_status add_hole(hm_tree *tree, const char *path, hm_ignore_source source,
                          hm_error **error) {
    char *copy = hm_strdup(path);
    if (copy == NULL ||
        !hm_grow(&tree->holes, tree->hole_count, &tree->hole_capacity, sizeof(*tree->holes))) {
        free(copy);
        return hm_fail_memory(error);
    }
    tree->holes[tree->hole_count++] = (struct hm_hole){.path = copy, .source = source};
    return HM_OK;
}

/* ---- walking -------------------------------------------------------------------------------- */

/* Directories still to be read, by path: holding them open would cost a descriptor per level. */
typedef struct pending {
    char **paths;
    size_t count, capacity;
} pending;

static void pending_free(pending *todo) {
    for (size_t i = 0; i < todo->count; i++) {
        free(todo->paths[i]);
    }
    free(todo->paths);
}

static hm_status visit(hm_tree *tree, const hm_ignore *ignore, pending *todo, int dir,
                       const char *parent, const char *component, hm_error **error) {
    hm_auto_free char *path =
        *parent == '\0' ? hm_strdup(component) : hm_textf("%s/%s", parent, component);
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    if (strlen(path) > HM_PATH_LIMIT) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                       "a path in %s is longer than %d bytes", tree->model->path, HM_PATH_LIMIT);
    }
    const struct hm_ignore_rule *rule = hm_ignore_match(ignore, path);
    if (rule != NULL) {
        return add_hole(tree, path, rule->source, error);
    }
    struct stat st;
    if (fstatat(dir, component, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return hm_fail_errno(error, errno, "cannot look at %s in %s", path, tree->model->path);
    }
    if (!S_ISDIR(st.st_mode)) {
        return add_entry(tree, path, &st, error);
    }
    if (!hm_grow(&todo->paths, todo->count, &todo->capacity, sizeof(char *))) {
        return hm_fail_memory(error);
    }
    todo->paths[todo->count++] = path;
    path = NULL;
    return HM_OK;
}

static hm_status read_directory(hm_tree *tree, const hm_ignore *ignore, pending *todo,
                                const char *path, hm_error **error) {
    const hm_model *model = tree->model;
    const char *shown = *path == '\0' ? "." : path;
    int fd = hm_open_beneath(model->fd, shown, O_RDONLY | O_DIRECTORY, false);
    if (fd < 0) {
        return hm_fail_errno(error, errno, "cannot list %s in %s", shown, model->path);
    }
    hm_auto_dir dir = fdopendir(fd);
    if (dir == NULL) {
        int cause = errno;
        close(fd);
        return hm_fail_errno(error, cause, "cannot list %s in %s", shown, model->path);
    }
    hm_status status = HM_OK;
    while (status == HM_OK) {
        errno = 0;
        const struct dirent *found = readdir(dir);
        if (found == NULL) {
            return errno == 0
                       ? HM_OK
                       : hm_fail_errno(error, errno, "cannot list %s in %s", shown, model->path);
        }
        if (strcmp(found->d_name, ".") != 0 && strcmp(found->d_name, "..") != 0) {
            status = visit(tree, ignore, todo, fd, path, found->d_name, error);
        }
    }
    return status;
}

static int compare_entries(const void *a, const void *b) {
    const hm_entry *left = a;
    const hm_entry *right = b;
    return strcmp(left->name, right->name);
}

static int compare_holes(const void *a, const void *b) {
    const struct hm_hole *left = a;
    const struct hm_hole *right = b;
    return strcmp(left->path, right->path);
}

void hm_tree_sort(hm_tree *tree) {
    if (tree->count > 1) {
        qsort(tree->entries, tree->count, sizeof(hm_entry), compare_entries);
    }
    if (tree->hole_count > 1) {
        qsort(tree->holes, tree->hole_count, sizeof(*tree->holes), compare_holes);
    }
}

static hm_status walk_file(hm_tree *tree, hm_error **error) {
    const hm_model *model = tree->model;
    struct stat st;
    if (fstatat(model->fd, model->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return hm_fail_errno(error, errno, "cannot look at %s", model->path);
    }
    if (!S_ISREG(st.st_mode) || st.st_dev != model->device || st.st_ino != model->inode) {
        return hm_fail(error, HM_REFUSED, HM_REASON_CHANGED_WHILE_READING,
                       "%s was replaced while it was being read", model->path);
    }
    return add_entry(tree, model->name, &st, error);
}

hm_status hm_tree_walk(const hm_model *model, const hm_ignore *ignore, bool follow, hm_tree *tree,
                       hm_error **error) {
    *tree = (hm_tree){.model = model, .follow = follow};
    if (model->is_file) {
        return walk_file(tree, error);
    }
    HM_CLEANUP(pending_free) pending todo = {0};
    hm_status status = read_directory(tree, ignore, &todo, "", error);
    while (status == HM_OK && todo.count > 0) {
        hm_auto_free char *path = todo.paths[--todo.count];
        status = read_directory(tree, ignore, &todo, path, error);
    }
    hm_tree_sort(tree);
    return status;
}

hm_status hm_tree_add(hm_tree *tree, const char *name, hm_error **error) {
    struct stat st;
    hm_auto_fd fd = hm_open_beneath(tree->model->fd, name, O_PATH | O_NOFOLLOW, false);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) {
        return HM_OK;
    }
    if (fd < 0 || fstat(fd, &st) != 0) {
        return hm_fail_errno(error, errno, "cannot look at %s in %s", name, tree->model->path);
    }
    if (S_ISDIR(st.st_mode)) {
        return HM_OK;
    }
    return add_entry(tree, name, &st, error);
}

const hm_entry *hm_tree_find(const hm_tree *tree, const char *name) {
    size_t low = 0;
    size_t high = tree->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, tree->entries[middle].name);
        if (order == 0) {
            return &tree->entries[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

void hm_tree_free(hm_tree *tree) {
    for (size_t i = 0; i < tree->count; i++) {
        free(tree->entries[i].name);
    }
    for (size_t i = 0; i < tree->hole_count; i++) {
        free(tree->holes[i].path);
    }
    free(tree->entries);
    free(tree->holes);
    *tree = (hm_tree){0};
}

/* ---- the engine's view ---------------------------------------------------------------------- */

/*
 * O_NONBLOCK: should a named pipe have taken the file's place since the walk, opening it must not
 * wait for a writer; fstat then tells.
 */
static hm_status source_open(void *context, size_t file, int *fd, bool *changed, hm_error **error) {
    hm_tree *tree = context;
    hm_entry *entry = &tree->entries[file];
    *changed = false;
    *fd = -1;
    if (tree->copy != NULL) {
        hm_status status = tree->copy->reopen(tree->copy->context, entry, fd, error);
        entry->from_copy = status == HM_OK && *fd >= 0;
        if (status != HM_OK || entry->from_copy) {
            return status;
        }
    }
    *fd = hm_open_beneath(tree->model->fd, entry->name, O_RDONLY | O_NONBLOCK | O_NOCTTY,
                          entry->kind == HM_ENTRY_LINKED_FILE);
    if (*fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENXIO)) {
        *changed = true;
        return HM_OK;
    }
    struct stat st;
    if (*fd < 0 || fstat(*fd, &st) != 0) {
        hm_status status = hm_model_fail_member(tree->model, entry->name, "read", error);
        hm_fd_close(fd);
        return status;
    }
    *changed = !hm_entry_same(entry, &st);
    return HM_OK;
}

static hm_status source_close(void *context, size_t file, int fd, bool *changed, hm_error **error) {
    hm_tree *tree = context;
    const hm_entry *entry = &tree->entries[file];
    struct stat st;
    hm_auto_fd closing = fd;
    *changed = false;
    if (entry->from_copy) {
        return HM_OK;
    }
    if (fstat(closing, &st) != 0) {
        return hm_model_fail_member(tree->model, entry->name, "look at", error);
    }
    *changed = !hm_entry_same(entry, &st);
    return HM_OK;
}

static const char *source_name(void *context, size_t file) {
    const hm_tree *tree = context;
    return tree->entries[file].name;
}

static hm_status source_open_sink(void *context, size_t file, int *fd, hm_error **error) {
    hm_tree *tree = context;
    const hm_entry *entry = &tree->entries[file];
    *fd = -1;
    return entry->from_copy ? HM_OK : tree->copy->create(tree->copy->context, entry, fd, error);
}

static hm_status source_close_sink(void *context, size_t file, int fd, bool whole,
                                   hm_error **error) {
    hm_tree *tree = context;
    return tree->copy->finish(tree->copy->context, &tree->entries[file], fd, whole, error);
}

hm_source hm_tree_source(hm_tree *tree) {
    bool copied = tree->copy != NULL;
    return (hm_source){.context = tree,
                       .open = source_open,
                       .close = source_close,
                       .name = source_name,
                       .open_sink = copied ? source_open_sink : NULL,
                       .close_sink = copied ? source_close_sink : NULL};
}
