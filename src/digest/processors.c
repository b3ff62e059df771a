/* SPDX-License-Identifier: Apache-2.0 */
/* How many threads make sense: the affinity mask, cut by the quotas of the cgroups around us. */
#include "digest/digest.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

enum { KERNEL_TEXT_LIMIT = 64 * 1024, AFFINITY_LIMIT = 1 << 16 };

static unsigned affinity_count(void) {
    for (int size = CPU_SETSIZE; size <= AFFINITY_LIMIT; size *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)size);
        if (set == NULL) {
            return 1;
        }
        size_t bytes = CPU_ALLOC_SIZE((size_t)size);
        int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0) {
            return (unsigned)count;
        }
    }
    return 1;
}

/* A file of /proc or /sys; false where it is not there, which says nothing. */
static bool read_text(const char *path, hm_buf *text) {
    hm_auto_fd fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    return fd >= 0 && hm_read_fd(fd, path, KERNEL_TEXT_LIMIT, text, NULL) == HM_OK &&
           hm_buf_check(text, NULL) == HM_OK;
}

static unsigned quota_processors(long long quota, long long period) {
    if (quota <= 0 || period <= 0) {
        return UINT_MAX;
    }
    long long count = quota / period + (quota % period != 0);
    return count < UINT_MAX ? (unsigned)count : UINT_MAX;
}

/* cgroup v2: "max 100000" or "150000 100000". */
static unsigned quota_v2(const char *directory) {
    hm_auto_buf text = {0};
    hm_auto_free char *path = hm_textf("%s/cpu.max", directory);
    long long quota = 0;
    long long period = 0;
    if (!read_text(path, &text) ||
        sscanf((const char *)text.data, "%lld %lld", &quota, &period) != 2) {
        return UINT_MAX;
    }
    return quota_processors(quota, period);
}

static long long read_number(const char *directory, const char *name) {
    hm_auto_buf text = {0};
    hm_auto_free char *path = hm_textf("%s/%s", directory, name);
    return read_text(path, &text) ? strtoll((const char *)text.data, NULL, 10) : -1;
}

/* cgroup v1: a quota of -1 means none. */
static unsigned quota_v1(const char *directory) {
    return quota_processors(read_number(directory, "cpu.cfs_quota_us"),
                            read_number(directory, "cpu.cfs_period_us"));
}

/* The smallest quota from the group `path` up to the root of its hierarchy. */
static unsigned smallest_quota(const char *root, const char *path,
                               unsigned (*quota)(const char *directory)) {
    hm_auto_free char *directory = hm_textf("%s%s", root, path);
    unsigned smallest = UINT_MAX;
    while (directory != NULL && strlen(directory) >= strlen(root)) {
        unsigned here = quota(directory);
        smallest = here < smallest ? here : smallest;
        char *slash = strrchr(directory, '/');
        if (slash == NULL) {
            break;
        }
        *slash = '\0';
    }
    return smallest;
}

/* True when `name` is one of the comma-separated `names`. */
static bool list_contains(const char *names, const char *name) {
    size_t length = strlen(name);
    for (const char *at = names; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

/* One line of /proc/self/cgroup: "0::/path" (v2) or "4:cpu,cpuacct:/path" (v1). */
static unsigned line_quota(char *line) {
    char *names = strchr(line, ':');
    char *path = names != NULL ? strchr(names + 1, ':') : NULL;
    if (path == NULL) {
        return UINT_MAX;
    }
    *path++ = '\0';
    names++;
    if (*names == '\0') {
        unsigned plain = smallest_quota(CGROUP_ROOT, path, quota_v2);
        unsigned hybrid = smallest_quota(CGROUP_ROOT "/unified", path, quota_v2);
        return plain < hybrid ? plain : hybrid;
    }
    return list_contains(names, "cpu") ? smallest_quota(CGROUP_ROOT "/cpu", path, quota_v1)
                                       : UINT_MAX;
}

static unsigned cgroup_quota(void) {
    hm_auto_buf text = {0};
    unsigned smallest = UINT_MAX;
    if (!read_text("/proc/self/cgroup", &text)) {
        return smallest;
    }
    char *rest = NULL;
    for (char *line = strtok_r((char *)text.data, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        unsigned quota = line_quota(line);
        smallest = quota < smallest ? quota : smallest;
    }
    return smallest;
}

unsigned hm_digest_processors(void) {
    unsigned processors = affinity_count();
    unsigned quota = cgroup_quota();
    return quota < processors ? quota : processors;
}
