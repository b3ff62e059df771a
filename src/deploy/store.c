/* SPDX-License-Identifier: Apache-2.0 */
/* The store as a whole: finding or making it, and the names in it. */
#include "deploy/store.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/rand.h>

#define STORE_FLAGS (HM_STORE_CREATE | HM_STORE_READ)

static const char format_member[] = "hallmark-store";

/* ---- names ---------------------------------------------------------------------------------- */

/* Safe as a component of a path, in a policy's patterns, in a log and on a command line. */
bool hm_store_name_valid(const char *name) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    size_t length = strlen(name);
    size_t good = strspn(name, letters);
    while (good > 0 && good < length && strchr("._-", name[good]) != NULL) {
        good++;
        good += strspn(name + good, letters);
    }
    return length > 0 && length <= HM_STORE_NAME_LIMIT && good == length;
}

hm_status hm_store_check_name(const char *name, hm_error **error) {
    if (name != NULL && hm_store_name_valid(name)) {
        return HM_OK;
    }
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "\"%s\" cannot be the name of a model",
                  name != NULL ? name : "");
    hm_error_add_hint(error,
                      "letters, digits, '.', '_' and '-', beginning with a letter or digit; at "
                      "most %d",
                      HM_STORE_NAME_LIMIT);
    return HM_USAGE;
}

/* Ids in quarantine and of staging directories are drawn from the same urn. */
hm_status hm_store_new_id(const hm_store *store, char *id, hm_error **error) {
    uint8_t bytes[HM_STORE_ID_SIZE / 2];
    for (int attempt = 0; attempt < 100; attempt++) {
        if (RAND_bytes(bytes, sizeof bytes) != 1) {
            return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot draw a random id");
        }
        hm_hex(bytes, sizeof bytes, id);
        hm_auto_free char *held = hm_textf("quarantine/%s", id);
        if (held == NULL) {
            return hm_fail_memory(error);
        }
        if (!hm_store_taken(store, held)) {
            return HM_OK;
        }
    }
    return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "every random id is taken");
}

char *hm_store_found(const char *path) {
    char *real = realpath(path, NULL);
    return real != NULL ? real : hm_strdup(path);
}

char *hm_store_path(const hm_store *store, const char *relative) {
    return hm_textf("%s%s%s", store->path, strcmp(store->path, "/") == 0 ? "" : "/", relative);
}

/* ---- opening -------------------------------------------------------------------------------- */

static void store_free(hm_store **store) {
    hm_store *old = *store;
    if (old != NULL) {
        hm_recorder_close(&old->recorder);
        hm_fd_close(&old->fd);
        free(old->path);
        free(old);
        *store = NULL;
    }
}

/* The absolute path of what is not there yet: its folder must be. */
static char *future_path(const char *path) {
    hm_auto_free char *base = hm_path_base(path);
    size_t length = strlen(path);
    while (length > 0 && path[length - 1] == '/') {
        length--;
    }
    if (base == NULL || base[0] == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
        return NULL;
    }
    length -= strlen(base);
    hm_auto_free char *folder = length > 0 ? hm_strndup(path, length) : hm_strdup(".");
    hm_auto_free char *real = folder != NULL ? realpath(folder, NULL) : NULL;
    return real != NULL ? hm_textf("%s/%s", strcmp(real, "/") == 0 ? "" : real, base) : NULL;
}

static hm_status find_group(hm_store *store, hm_error **error) {
    const char *name = store->config->group;
    struct group entry;
    struct group *found = NULL;
    enum { ROOM = 65536 };
    hm_auto_free char *room = hm_alloc(ROOM, 1);
    if (name == NULL) {
        return HM_OK;
    }
    if (room == NULL) {
        return hm_fail_memory(error);
    }
    int cause = getgrnam_r(name, &entry, room, ROOM, &found);
    if (found == NULL) {
        return cause != 0
                   ? hm_fail_errno(error, cause, "cannot look up the group %s", name)
                   : hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "there is no group %s", name);
    }
    store->grouped = true;
    store->group = entry.gr_gid;
    return HM_OK;
}

/* What making a store leaves behind when it is cut short, and what a new file system has. */
static bool is_makings(const char *name) {
    static const char *const names[] = {"models", "quarantine", "outbox", "lost+found"};
    bool found = strncmp(name, ".hallmark-", strlen(".hallmark-")) == 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        found = found || strcmp(name, names[i]) == 0;
    }
    return found;
}

static hm_status check_empty(const hm_store *store, hm_error **error) {
    HM_CLEANUP(hm_texts_free) hm_texts names = {0};
    HM_CLEANUP(hm_texts_free) hm_texts models = {0};
    hm_status status = hm_store_list(store, ".", &names, error);
    if (status == HM_OK) {
        status = hm_store_list(store, "models", &models, error);
    }
    bool empty = models.count == 0;
    for (size_t i = 0; i < names.count; i++) {
        empty = empty && is_makings(names.list[i]);
    }
    if (status == HM_OK && !empty) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "%s is not a store: it has no store.json, and is not empty", store->path);
        hm_error_add_hint(error, "name a store, or an empty directory to make one of");
    }
    return status;
}

static hm_status make_directory(const hm_store *store, const char *name, mode_t mode,
                                hm_error **error) {
    if (mkdirat(store->fd, name, mode) != 0 && errno != EEXIST) {
        return hm_fail_errno(error, errno, "cannot make the directory %s/%s", store->path, name);
    }
    hm_auto_fd fd = hm_open_beneath(store->fd, name, O_RDONLY | O_DIRECTORY, false);
    return fd >= 0 && fchmod(fd, mode) == 0
               ? HM_OK
               : hm_fail_errno(error, errno, "cannot open %s/%s", store->path, name);
}

/* store.json comes last: with it the directory is a store. */
static hm_status make_store(hm_store *store, hm_error **error) {
    char id[HM_STORE_ID_SIZE + 1];
    hm_status status = check_empty(store, error);
    if (status == HM_OK) {
        status = make_directory(store, "models", 0755, error);
    }
    if (status == HM_OK) {
        status = make_directory(store, "quarantine", 0700, error);
    }
    if (status == HM_OK) {
        status = make_directory(store, "outbox", 0700, error);
    }
    if (status == HM_OK) {
        status = hm_store_new_id(store, id, error);
    }
    if (status == HM_OK) { /* or a loss of power could leave the file, and not what it stands for */
        status = hm_store_sync(store, ".", error);
    }
    hm_auto_free char *path = hm_store_path(store, "store.json");
    hm_auto_buf text = {0};
    hm_buf_add_format(&text, "{\"%s\": %d, \"id\": \"%s\"}\n", format_member, HM_STORE_FORMAT, id);
    if (status == HM_OK) {
        status = path != NULL ? hm_buf_check(&text, error) : hm_fail_memory(error);
    }
    if (status == HM_OK) {
        status = hm_write_file(path, hm_buf_view(&text), 0644, HM_WRITE_REPLACE, error);
    }
    store->made = status == HM_OK;
    return status;
}

static hm_status fail_no_store(const char *path, hm_error **error) {
    hm_status status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "there is no store at %s", path);
    hm_error_add_hint(error, "the first `hallmark deploy` to an empty or absent directory makes "
                             "it one");
    return status;
}

/* Where others may put things, what they put there first would be taken for the store's own. */
hm_status hm_store_check_directory(const char *path, hm_error **error) {
    struct stat st;
    hm_status status = hm_check_own_directory(path, error);
    if (status == HM_OK && stat(path, &st) != 0) {
        status = hm_fail_errno(error, errno, "cannot open the store %s", path);
    }
    if (status != HM_OK || (st.st_mode & (S_IWGRP | S_IWOTH)) == 0) {
        return status;
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                  "the directory %s can be changed by other users", path);
    hm_error_add_hint(error, "make a directory of its own for the store, mode 755");
    return HM_UNDECIDED;
}

/* The directory itself; `store->fd` stays -1 where nothing is and nothing is to be made. */
static hm_status open_directory(hm_store *store, hm_error **error) {
    const char *given = store->config->store;
    bool create = (store->flags & HM_STORE_CREATE) != 0;
    bool look = (store->flags & HM_STORE_READ) != 0;
    struct stat st;
    if (stat(given, &st) != 0 && errno == ENOENT && create) {
        if (look) {
            store->path = future_path(given);
            return store->path != NULL ? HM_OK : fail_no_store(given, error);
        }
        if (mkdir(given, 0755) != 0 && errno != EEXIST) {
            return hm_fail_errno(error, errno, "cannot make the store %s", given);
        }
    }
    store->path = realpath(given, NULL);
    if (store->path == NULL) {
        return errno == ENOENT ? fail_no_store(given, error)
                               : hm_fail_errno(error, errno, "cannot open the store %s", given);
    }
    /* Whoever only looks believes nothing of what he sees. */
    hm_status status = look ? HM_OK : hm_store_check_directory(store->path, error);
    if (status == HM_OK) {
        store->fd = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return status != HM_OK || store->fd >= 0
               ? status
               : hm_fail_errno(error, errno, "cannot open the store %s", store->path);
}

static hm_status recognise(hm_store *store, hm_error **error) {
    hm_auto_json doc = NULL;
    bool there = false;
    hm_status status = hm_store_read_json(store, "store.json", format_member, &doc, &there, error);
    if (status != HM_OK || there) {
        return status;
    }
    if ((store->flags & HM_STORE_CREATE) == 0) {
        return fail_no_store(store->path, error);
    }
    return (store->flags & HM_STORE_READ) != 0 ? check_empty(store, error)
                                               : make_store(store, error);
}

static hm_status open_recorder(hm_store *store, hm_error **error) {
    const char *named = store->config->outbox;
    hm_auto_free char *outbox = named != NULL ? hm_strdup(named) : hm_store_path(store, "outbox");
    return outbox != NULL ? hm_recorder_new(store->config, outbox, &store->recorder, error)
                          : hm_fail_memory(error);
}

hm_status hm_store_open(const hm_config *config, uint64_t flags, hm_store **store,
                        hm_error **error) {
    HM_CLEANUP(store_free) hm_store *made = NULL;
    *store = NULL;
    hm_status status = hm_check_options("hm_store_open", 0, 0, flags, STORE_FLAGS, error);
    if (status == HM_OK && (config == NULL || config->store == NULL)) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "no store is named");
        hm_error_add_hint(error, "name it with --store DIR, HALLMARK_STORE, or `store:` in the "
                                 "configuration file");
    }
    if (status != HM_OK) {
        return status;
    }
    made = hm_alloc(1, sizeof(*made));
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    *made = (hm_store){.config = config, .fd = -1, .flags = flags};
    status = open_directory(made, error);
    if (status == HM_OK && made->fd >= 0) {
        status = recognise(made, error);
    }
    if (status == HM_OK) {
        status = find_group(made, error);
    }
    if (status == HM_OK && (flags & HM_STORE_READ) == 0) {
        status = open_recorder(made, error);
    }
    if (status == HM_OK) {
        *store = made;
        made = NULL;
    }
    return status;
}

void hm_store_close(hm_store **store) {
    store_free(store); /* the recorder delivers what there is to deliver */
}

hm_status hm_store_names(hm_store *store, char ***names, size_t *count, hm_error **error) {
    HM_CLEANUP(hm_texts_free) hm_texts found = {0};
    *names = NULL;
    *count = 0;
    hm_status status = hm_store_list(store, "models", &found, error);
    size_t kept = 0;
    for (size_t i = 0; i < found.count && status == HM_OK; i++) {
        char *name = found.list[i];
        if (hm_store_name_valid(name)) {
            found.list[kept++] = name;
        } else {
            free(name);
        }
    }
    found.count = status == HM_OK ? kept : found.count;
    if (status == HM_OK) {
        *names = found.list;
        *count = found.count;
        found = (hm_texts){0};
    }
    return status;
}

void hm_store_names_free(char ***names, size_t count) {
    hm_text_list_free(names, count);
}
