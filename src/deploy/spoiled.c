/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A version that cannot be verified: is it the machine that fails, or has somebody spoiled what it
 * is made of? Whoever could have a check end undecided by that would else have a bad model served
 * for ever.
 */
#include "deploy/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef enum finding {
    SOUND,
    GONE,
    SPOILED,
    UNKNOWN, /* the machine does not say */
} finding;

/* The store makes nothing that its owner may not read. */
static finding judge_kind(const struct stat *st, mode_t kind) {
    mode_t needed = kind == S_IFDIR ? S_IRUSR | S_IXUSR : S_IRUSR;
    return (st->st_mode & S_IFMT) == kind && (st->st_mode & needed) == needed ? SOUND : SPOILED;
}

static finding look(const hm_store *store, const char *path, mode_t kind) {
    struct stat st;
    hm_auto_fd fd = hm_open_beneath(store->fd, path, O_PATH | O_NOFOLLOW, false);
    if (fd >= 0) {
        return fstat(fd, &st) == 0 ? judge_kind(&st, kind) : UNKNOWN;
    }
    return errno == ENOENT ? GONE : errno == ENOTDIR || errno == ELOOP ? SPOILED : UNKNOWN;
}

static char *beneath(const char *folder, hm_bytes name) {
    return hm_textf("%s%s%.*s", folder, name.length > 0 ? "/" : "", (int)name.length,
                    (const char *)name.data);
}

/* ---- what was not put there ----------------------------------------------------------------- */

/* The first file at or behind a name. */
static const char *first_from(const hm_stored *version, const char *name) {
    size_t low = 0;
    size_t high = version->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        bool before = strcmp(version->files[middle].name, name) < 0;
        low = before ? middle + 1 : low;
        high = before ? high : middle;
    }
    return low < version->count ? version->files[low].name : "";
}

/* A file of the version, or a directory that holds one. */
static bool belongs(const hm_stored *version, const char *name, const char *as_folder) {
    return strcmp(first_from(version, name), name) == 0 ||
           strncmp(first_from(version, as_folder), as_folder, strlen(as_folder)) == 0;
}

/* Directories that do not belong are not entered: they may have been put there to stop us. */
static finding look_for_extra(const hm_store *store, const hm_stored *version, const char *model,
                              hm_bytes folder) {
    HM_CLEANUP(hm_texts_free) hm_texts names = {0};
    hm_auto_free char *path = beneath(model, folder);
    finding found = path != NULL ? look(store, path, S_IFDIR) : UNKNOWN;
    if (found != SOUND || hm_store_list(store, path, &names, NULL) != HM_OK) {
        return found != SOUND ? found : UNKNOWN;
    }
    for (size_t i = 0; i < names.count && found == SOUND; i++) {
        hm_auto_free char *name =
            hm_textf("%.*s%s%s", (int)folder.length, (const char *)folder.data,
                     folder.length > 0 ? "/" : "", names.list[i]);
        hm_auto_free char *as_folder = name != NULL ? hm_textf("%s/", name) : NULL;
        found = as_folder == NULL ? UNKNOWN : belongs(version, name, as_folder) ? SOUND : SPOILED;
    }
    return found;
}

/* Of each file the directories that the one before it does not lie in. */
static finding look_at_files(const hm_store *store, const hm_stored *version, const char *model) {
    finding found = look_for_extra(store, version, model, hm_bytes_of("", 0));
    for (size_t i = 0; i < version->count && found == SOUND; i++) {
        const char *name = version->files[i].name;
        const char *before = i > 0 ? version->files[i - 1].name : "";
        for (const char *slash = strchr(name, '/'); slash != NULL && found == SOUND;
             slash = strchr(slash + 1, '/')) {
            size_t length = (size_t)(slash - name);
            if (strncmp(before, name, length + 1) != 0) {
                found = look_for_extra(store, version, model, hm_bytes_of(name, length));
            }
        }
        hm_auto_free char *path = beneath(model, hm_bytes_text(name));
        found = found != SOUND ? found : path != NULL ? look(store, path, S_IFREG) : UNKNOWN;
    }
    return found;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* A record that is there and too long, or that can be read and says nothing. */
static finding look_at_record(const hm_store *store, const char *path, hm_stored *version,
                              const char *digest) {
    hm_auto_buf content = {0};
    hm_auto_error cause = NULL;
    hm_auto_free char *record = hm_textf("%s/version.json", path);
    finding found = record != NULL ? look(store, record, S_IFREG) : UNKNOWN;
    if (found != SOUND || hm_stored_read_any(store, path, digest, version, &cause) == HM_OK) {
        return found;
    }
    hm_auto_fd fd = hm_open_beneath(store->fd, record, O_RDONLY | O_NONBLOCK | O_NOCTTY, false);
    hm_status status = fd >= 0 && !hm_error_is_memory(cause)
                           ? hm_read_fd(fd, record, HM_STORE_FILE_LIMIT, &content, NULL)
                           : HM_UNDECIDED;
    return status == HM_OK || status == HM_REFUSED ? SPOILED : UNKNOWN;
}

hm_status hm_slot_judge_spoiled(const hm_slot *slot, hm_error **cause, hm_error **error) {
    hm_auto_stored version = {.source = NULL};
    hm_auto_free char *path = hm_slot_version_path(slot, slot->current);
    hm_auto_free char *model = path != NULL ? hm_textf("%s/model", path) : NULL;
    if (model == NULL) {
        return hm_fail_memory(error);
    }
    finding found = look(slot->store, model, S_IFDIR);
    found = found == SOUND ? look_at_record(slot->store, path, &version, slot->current) : found;
    found = found == SOUND ? look_at_files(slot->store, &version, model) : found;
    return found == SOUND || found == UNKNOWN
               ? hm_error_move(error, cause)
               : hm_fail(error, HM_REFUSED,
                         found == GONE ? HM_REASON_MISSING_FILE : HM_REASON_MALFORMED, "%s",
                         hm_error_message(*cause));
}
