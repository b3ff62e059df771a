/* SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void hm_model_close(hm_model **model) {
    if (*model == NULL) {
        return;
    }
    hm_fd_close(&(*model)->fd);
    free((*model)->path);
    free((*model)->name);
    free(*model);
    *model = NULL;
}

/* The part of `path` that names the directory which holds its last component. */
static char *parent_path(const char *path, const char *base) {
    size_t length = strlen(path);
    while (length > 0 && path[length - 1] == '/') {
        length--;
    }
    length -= strlen(base);
    return length == 0 ? hm_strdup(".") : hm_strndup(path, length);
}

/*
 * The name of a directory model as people know it: "." and ".." and "/" say nothing, so the real
 * path's last component stands in.
 */
static char *directory_name(const char *path) {
    hm_auto_free char *base = hm_path_base(path);
    if (base != NULL && *base != '\0' && strcmp(base, ".") != 0 && strcmp(base, "..") != 0) {
        return hm_strdup(base);
    }
    hm_auto_free char *real = realpath(path, NULL);
    hm_auto_free char *name = real != NULL ? hm_path_base(real) : NULL;
    return hm_strdup(name != NULL && *name != '\0' ? name : "model");
}

static hm_status open_directory(hm_model *model, hm_error **error) {
    bool slash = model->path[strlen(model->path) - 1] == '/';
    model->fd = open(model->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (slash ? 0 : O_NOFOLLOW));
    if (model->fd < 0) {
        return hm_fail_errno(error, errno, "cannot open the model %s", model->path);
    }
    model->name = directory_name(model->path);
    return model->name != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status open_file(hm_model *model, const struct stat *st, hm_error **error) {
    model->is_file = true;
    model->device = st->st_dev;
    model->inode = st->st_ino;
    model->name = hm_path_base(model->path);
    hm_auto_free char *parent = model->name != NULL ? parent_path(model->path, model->name) : NULL;
    if (parent == NULL) {
        return hm_fail_memory(error);
    }
    model->fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (model->fd < 0 && errno == EACCES) { /* a directory that may be entered but not listed */
        model->fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    return model->fd >= 0 ? HM_OK
                          : hm_fail_errno(error, errno, "cannot open the model %s", model->path);
}

static hm_status refuse_kind(const hm_model *model, mode_t mode, hm_error **error) {
    bool link = S_ISLNK(mode);
    hm_status status =
        hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED, "the model %s is %s", model->path,
                link ? "a symbolic link" : "neither a file nor a directory");
    if (link) {
        hm_error_add_hint(error, "name what it leads to, or add a trailing slash to a directory");
    }
    return status;
}

static hm_status open_path(hm_model *model, hm_error **error) {
    struct stat st;
    /* A trailing slash makes the kernel follow the link: then the caller asked for that. */
    if (fstatat(AT_FDCWD, model->path, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return hm_fail_errno(error, errno, "cannot open the model %s", model->path);
    }
    if (S_ISDIR(st.st_mode)) {
        return open_directory(model, error);
    }
    return S_ISREG(st.st_mode) ? open_file(model, &st, error)
                               : refuse_kind(model, st.st_mode, error);
}

hm_status hm_model_open(const char *path, hm_model **model, hm_error **error) {
    *model = NULL;
    if (path == NULL || *path == '\0') {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "the model's path is empty");
    }
    HM_CLEANUP(hm_model_close) hm_model *made = hm_alloc(1, sizeof(*made));
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    made->fd = -1;
    made->path = hm_strdup(path);
    if (made->path == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = open_path(made, error);
    if (status == HM_OK) {
        *model = made;
        made = NULL;
    }
    return status;
}

/* ---- where a path lies ---------------------------------------------------------------------- */

static bool same_directory(int a, const struct stat *b) {
    struct stat st;
    return fstat(a, &st) == 0 && st.st_dev == b->st_dev && st.st_ino == b->st_ino;
}

/*
 * The path of `dir` beneath the model, as text that the identity of what it leads to confirms; the
 * text alone would believe whoever renames directories meanwhile.
 */
static bool path_inside(const hm_model *model, const char *dir, hm_buf *inside) {
    hm_auto_free char *path = realpath(dir, NULL);
    hm_auto_free char *top = realpath(model->path, NULL);
    struct stat st;
    if (path == NULL || top == NULL || stat(path, &st) != 0) {
        return false;
    }
    size_t length = strcmp(top, "/") == 0 ? 0 : strlen(top);
    if (strncmp(path, top, length) != 0 || (path[length] != '/' && path[length] != '\0')) {
        return false;
    }
    const char *rest = path[length] == '/' ? path + length + 1 : path + length;
    hm_auto_fd found =
        *rest == '\0' ? dup(model->fd) : hm_open_beneath(model->fd, rest, O_PATH, false);
    if (found < 0 || !same_directory(found, &st)) {
        return false;
    }
    hm_buf_add_text(inside, rest);
    return true;
}

char *hm_model_member(const hm_model *model, const char *label) {
    size_t length = model->is_file ? strlen(model->name) : 0;
    if (!model->is_file) {
        return hm_textf("%s in %s", label, model->path);
    }
    bool named = strncmp(label, model->name, length) == 0;
    return hm_textf("%s%s", model->path, named ? label + length : "");
}

hm_status hm_model_fail_member(const hm_model *model, const char *label, const char *act,
                               hm_error **error) {
    int cause = errno;
    hm_auto_free char *member = hm_model_member(model, label);
    return member != NULL ? hm_fail_errno(error, cause, "cannot %s %s", act, member)
                          : hm_fail_memory(error);
}

hm_status hm_model_relative(const hm_model *model, const char *path, char **relative,
                            hm_error **error) {
    *relative = NULL;
    hm_auto_free char *base = hm_path_base(path);
    hm_auto_free char *parent = base != NULL ? parent_path(path, base) : NULL;
    if (parent == NULL) {
        return hm_fail_memory(error);
    }
    hm_auto_buf inside = {0};
    if (model->is_file || *base == '\0' || !path_inside(model, parent, &inside)) {
        return HM_OK;
    }
    if (inside.length > 0) {
        hm_buf_add_byte(&inside, '/');
    }
    hm_buf_add_text(&inside, base);
    *relative = hm_buf_steal_text(&inside);
    return *relative != NULL ? HM_OK : hm_fail_memory(error);
}

static int open_itself(const hm_model *model) {
    return model->is_file ? hm_open_beneath(model->fd, model->name, O_PATH | O_NOFOLLOW, false)
                          : dup(model->fd);
}

/* NULL where there is no /proc, or a path is longer than it can tell. */
static char *descriptor_path(int fd) {
    hm_auto_free char *link = hm_textf("/proc/self/fd/%d", fd);
    hm_auto_free char *text = hm_alloc(PATH_MAX, 1);
    ssize_t length = link != NULL && text != NULL ? readlink(link, text, PATH_MAX) : -1;
    return length > 0 && length < PATH_MAX ? hm_strndup(text, (size_t)length) : NULL;
}

/* A text such as "/models/x (deleted)" may be a path as well: only identity tells. */
static bool leads_to(const char *path, const struct stat *wanted) {
    struct stat st;
    return path != NULL && path[0] == '/' && lstat(path, &st) == 0 && st.st_dev == wanted->st_dev &&
           st.st_ino == wanted->st_ino;
}

hm_status hm_model_real_path(const hm_model *model, char **path, hm_error **error) {
    struct stat st;
    hm_auto_fd fd = open_itself(model);
    if (fd < 0 || fstat(fd, &st) != 0) {
        return hm_fail_errno(error, errno, "cannot look at %s", model->path);
    }
    if (model->is_file && (st.st_dev != model->device || st.st_ino != model->inode)) {
        return hm_fail(error, HM_REFUSED, HM_REASON_CHANGED_WHILE_READING,
                       "%s was replaced while it was being read", model->path);
    }
    hm_auto_free char *known = descriptor_path(fd);
    if (!leads_to(known, &st)) {
        hm_auto_free_(&known);
        known = realpath(model->path, NULL);
    }
    if (!leads_to(known, &st)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "cannot tell where %s really lies",
                       model->path);
    }
    *path = known;
    known = NULL;
    return HM_OK;
}
