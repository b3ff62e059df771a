/* SPDX-License-Identifier: Apache-2.0 */
/* Where a host keeps what it has seen, so that nobody can bring back what was before. */
#include "base/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *from_environment(const char *name) {
    const char *value = secure_getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

hm_status hm_state_directory(const char *name, const char *what, char **directory, bool *none,
                             hm_error **error) {
    const char *chosen = from_environment("HALLMARK_STATE_DIR");
    const char *xdg = from_environment("XDG_STATE_HOME");
    const char *home = from_environment("HOME");
    *none = chosen != NULL && strcmp(chosen, "none") == 0;
    if (*none) {
        return HM_OK;
    }
    /* A relative one would forget as soon as the program runs somewhere else. */
    if (chosen != NULL && chosen[0] != '/') {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "HALLMARK_STATE_DIR must be an absolute path or \"none\", not \"%s\"",
                       chosen);
    }
    if (chosen != NULL) {
        *directory = hm_textf("%s/%s", chosen, name);
    } else if (geteuid() == 0) {
        *directory = hm_textf("/var/lib/hallmark/%s", name);
    } else if (xdg != NULL && xdg[0] == '/') {
        *directory = hm_textf("%s/hallmark/%s", xdg, name);
    } else if (home != NULL && home[0] == '/') {
        *directory = hm_textf("%s/.local/state/hallmark/%s", home, name);
    } else {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "there is no directory to remember in %s", what);
    }
    return *directory != NULL ? HM_OK : hm_fail_memory(error);
}

hm_status hm_make_own_directory(const char *path, hm_error **error) {
    hm_auto_free char *part = hm_strdup(path);
    if (part == NULL) {
        return hm_fail_memory(error);
    }
    for (size_t i = 1; i <= strlen(path); i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        part[i] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST) {
            return hm_fail_errno(error, errno, "cannot make the directory %s", part);
        }
        part[i] = path[i];
    }
    return hm_check_own_directory(path, error);
}

hm_status hm_state_read(const char *directory, const char *path, size_t limit, hm_buf *file,
                        bool *there, hm_error **error) {
    struct stat st;
    *there = lstat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
    if (!*there) {
        return HM_OK;
    }
    hm_status status = hm_check_own_directory(directory, error);
    return status == HM_OK ? hm_read_own_file(path, limit, file, error) : status;
}

hm_status hm_state_lock(const char *directory, int *lock, hm_error **error) {
    hm_auto_free char *path = hm_textf("%s/.lock", directory);
    hm_status status =
        path != NULL ? hm_make_own_directory(directory, error) : hm_fail_memory(error);
    return status == HM_OK ? hm_lock_file(path, lock, error) : status;
}
