/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory is to be had: what the system has, cut by the limits of the cgroups around us. */
#include "view/memory.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

enum { KERNEL_TEXT_LIMIT = 64 * 1024 };

/* A file of /proc or /sys; false where it is not there, which says nothing. */
static bool read_text(const char *path, hm_buf *text) {
    hm_auto_fd fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    return fd >= 0 && hm_read_fd(fd, path, KERNEL_TEXT_LIMIT, text, NULL) == HM_OK &&
           hm_buf_check(text, NULL) == HM_OK && text->length > 0;
}

/* The number behind `name` at the beginning of a line; 0 when there is none. */
static uint64_t number_after(const char *text, const char *name) {
    size_t length = strlen(name);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n' ? 1 : 0;
        if (strncmp(line, name, length) == 0) {
            return strtoull(line + length, NULL, 10);
        }
    }
    return 0;
}

static uint64_t system_available(void) {
    hm_auto_buf text = {0};
    if (!read_text("/proc/meminfo", &text)) {
        return UINT64_MAX;
    }
    uint64_t kib = number_after((const char *)text.data, "MemAvailable:");
    return kib > 0 && kib < UINT64_MAX / 1024 ? kib * 1024 : UINT64_MAX;
}

typedef struct group_files {
    const char *limit, *used, *list; /* "max", or a number that is larger than any memory: none */
    const char *active, *inactive;   /* in the list: page cache, which gives way */
} group_files;

static const group_files version_2 = {"memory.max", "memory.current", "memory.stat", "active_file ",
                                      "inactive_file "};
static const group_files version_1 = {"memory.limit_in_bytes", "memory.usage_in_bytes",
                                      "memory.stat", "total_active_file ", "total_inactive_file "};

static bool read_in(const char *directory, const char *name, hm_buf *text) {
    hm_auto_free char *path = hm_textf("%s/%s", directory, name);
    return read_text(path, text);
}

static uint64_t group_available(const char *directory, const group_files *files) {
    hm_auto_buf limit = {0};
    hm_auto_buf used = {0};
    hm_auto_buf list = {0};
    if (!read_in(directory, files->limit, &limit) || !read_in(directory, files->used, &used) ||
        strncmp((const char *)limit.data, "max", 3) == 0) {
        return UINT64_MAX;
    }
    uint64_t most = strtoull((const char *)limit.data, NULL, 10);
    uint64_t taken = strtoull((const char *)used.data, NULL, 10);
    if (read_in(directory, files->list, &list)) {
        const char *text = (const char *)list.data;
        uint64_t cache = number_after(text, files->active) + number_after(text, files->inactive);
        taken -= cache < taken ? cache : taken;
    }
    return most > taken ? most - taken : 0;
}

/* The least from the group `path` up to the root of its hierarchy. */
static uint64_t least_available(const char *root, const char *path, const group_files *files) {
    hm_auto_free char *directory = hm_textf("%s%s", root, path);
    uint64_t least = UINT64_MAX;
    while (directory != NULL && strlen(directory) >= strlen(root)) {
        uint64_t here = group_available(directory, files);
        least = here < least ? here : least;
        char *slash = strrchr(directory, '/');
        if (slash == NULL || slash == directory) {
            break;
        }
        *slash = '\0';
    }
    return least;
}

/* Lines of /proc/self/cgroup: "0::/path" of version 2, "4:memory:/path" of version 1. */
static uint64_t groups_available(void) {
    hm_auto_buf text = {0};
    uint64_t least = UINT64_MAX;
    if (!read_text("/proc/self/cgroup", &text)) {
        return least;
    }
    char *rest = (char *)text.data;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL) {
            continue;
        }
        *path++ = '\0';
        bool second = controllers[1] == '\0';
        bool first = strcmp(controllers + 1, "memory") == 0;
        uint64_t here = second  ? least_available(CGROUP_ROOT, path, &version_2)
                        : first ? least_available(CGROUP_ROOT "/memory", path, &version_1)
                                : UINT64_MAX;
        least = here < least ? here : least;
    }
    return least;
}

static uint64_t addresses_available(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur
                                                                                : UINT64_MAX;
}

static void add_size(hm_buf *out, uint64_t bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double size = (double)bytes;
    size_t unit = 0;
    while (size >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        size /= 1024;
        unit++;
    }
    hm_buf_add_format(out, "%.*f %s", unit > 0 ? 1 : 0, size, units[unit]);
}

hm_status hm_memory_check(uint64_t bytes, const char *what, hm_error **error) {
    uint64_t system = system_available();
    uint64_t groups = groups_available();
    uint64_t addresses = addresses_available();
    uint64_t least = system < groups ? system : groups;
    least = addresses < least ? addresses : least;
    if (bytes <= least && bytes <= SIZE_MAX / 2) {
        return HM_OK;
    }
    hm_auto_buf need = {0};
    hm_auto_buf have = {0};
    add_size(&need, bytes);
    add_size(&have, least);
    hm_status status = hm_buf_check(&need, error);
    if (status == HM_OK) {
        status = hm_buf_check(&have, error);
    }
    return status != HM_OK ? status
                           : hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                                     "loading %s needs %s of memory, and %s are to be had", what,
                                     (const char *)need.data, (const char *)have.data);
}
