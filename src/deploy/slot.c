/* SPDX-License-Identifier: Apache-2.0 */
/* One model's place: its lock, what `current` leads to, and which versions there are. */
#include "deploy/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char before[] = "versions/";
static const char behind[] = "/model";

char *hm_slot_version_path(const hm_slot *slot, const char *digest) {
    return hm_textf("%s/versions/%s", slot->relative, digest);
}

char *hm_slot_rule_path(const hm_slot *slot) {
    hm_auto_free char *relative = hm_textf("%s/current", slot->relative);
    return relative != NULL ? hm_store_path(slot->store, relative) : NULL;
}

/* ---- `current` ------------------------------------------------------------------------------ */

/*
 * The link's text must be what this program writes, to the byte: it is never followed, so that one
 * that leads elsewhere is not taken for a version.
 */
static hm_status read_current(hm_slot *slot, hm_error **error) {
    enum { LENGTH = sizeof before - 1 + HM_VERSION_DIGITS + sizeof behind - 1 };
    char text[LENGTH + 2];
    slot->current[0] = '\0';
    slot->strange = false;
    hm_auto_free char *path = hm_textf("%s/current", slot->relative);
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    ssize_t length = readlinkat(slot->store->fd, path, text, sizeof text - 1);
    if (length < 0 && errno == ENOENT) {
        return HM_OK;
    }
    if (length < 0 && errno != EINVAL) {
        return hm_fail_errno(error, errno, "cannot read the link %s/%s", slot->store->path, path);
    }
    text[length > 0 ? length : 0] = '\0';
    slot->strange = true;
    if (length == LENGTH && strncmp(text, before, sizeof before - 1) == 0 &&
        strcmp(text + LENGTH - (sizeof behind - 1), behind) == 0) {
        text[LENGTH - (sizeof behind - 1)] = '\0';
        slot->strange = !hm_is_hex(text + sizeof before - 1, HM_VERSION_DIGITS);
    }
    if (!slot->strange) {
        memcpy(slot->current, text + sizeof before - 1, sizeof slot->current);
    }
    return HM_OK;
}

hm_status hm_slot_point(hm_slot *slot, const char *digest, hm_error **error) {
    int top = slot->store->fd;
    hm_auto_free char *current = hm_textf("%s/current", slot->relative);
    hm_auto_free char *aside = hm_textf("%s/.current-new", slot->relative);
    hm_auto_free char *target = hm_textf("%s%s%s", before, digest, behind);
    if (current == NULL || aside == NULL || target == NULL) {
        return hm_fail_memory(error);
    }
    bool gone = unlinkat(top, aside, 0) == 0 || errno == ENOENT;
    bool done = digest[0] == '\0' ? unlinkat(top, current, 0) == 0 || errno == ENOENT
                                  : gone && symlinkat(target, top, aside) == 0 &&
                                        renameat(top, aside, top, current) == 0;
    if (!done) {
        return hm_fail_errno(error, errno, "cannot change the link %s/%s", slot->store->path,
                             current);
    }
    hm_status status = hm_store_sync(slot->store, slot->relative, error);
    return status == HM_OK ? read_current(slot, error) : status;
}

/* By its name alone: asked, too, when a step failed since there were no descriptors left. */
static bool has_journal(const hm_slot *slot) {
    struct stat st;
    hm_auto_free char *path = hm_textf("%s/journal.json", slot->relative);
    return path != NULL && fstatat(slot->store->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

bool hm_slot_has_plan(const hm_slot *slot) {
    return slot->ready && has_journal(slot);
}

/* ---- opening -------------------------------------------------------------------------------- */

void hm_slot_close(hm_slot *slot) {
    hm_slot_state_free(&slot->state);
    hm_fd_close(&slot->lock);
    free(slot->name);
    free(slot->relative);
    *slot = (hm_slot){.lock = -1};
}

static hm_status make_place(const hm_slot *slot, hm_error **error) {
    hm_auto_free char *versions = hm_textf("%s/versions", slot->relative);
    if (versions == NULL) {
        return hm_fail_memory(error);
    }
    const char *const paths[] = {slot->relative, versions};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (mkdirat(slot->store->fd, paths[i], 0755) != 0 && errno != EEXIST) {
            return hm_fail_errno(error, errno, "cannot make %s/%s", slot->store->path, paths[i]);
        }
        hm_auto_fd fd = hm_open_beneath(slot->store->fd, paths[i], O_RDONLY | O_DIRECTORY, false);
        if (fd < 0 || fchmod(fd, 0755) != 0) {
            return hm_fail_errno(error, errno, "cannot open %s/%s", slot->store->path, paths[i]);
        }
    }
    return hm_store_sync(slot->store, "models", error);
}

static hm_status take_lock(hm_slot *slot, hm_error **error) {
    hm_auto_free char *relative = hm_textf("%s/lock", slot->relative);
    hm_auto_free char *path = relative != NULL ? hm_store_path(slot->store, relative) : NULL;
    return path != NULL ? hm_lock_file(path, &slot->lock, error) : hm_fail_memory(error);
}

static hm_status read_state(hm_slot *slot, bool forget, hm_error **error) {
    hm_auto_error cause = NULL;
    hm_status status = hm_slot_state_read(slot, &slot->state, &cause);
    if (status != HM_OK && forget && !hm_error_is_memory(cause)) {
        hm_slot_state_free(&slot->state);
        return HM_OK;
    }
    return status == HM_OK ? HM_OK : hm_error_move(error, &cause);
}

static hm_status open_place(hm_slot *slot, uint64_t flags, hm_error **error) {
    bool look = (flags & HM_SLOT_READ) != 0;
    slot->exists = hm_store_taken(slot->store, slot->relative);
    if (!slot->exists && (flags & HM_SLOT_EXISTING) != 0) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "the store %s has no model named %s",
                      slot->store->path, slot->name);
        hm_error_add_hint(error, "`hallmark deploy` puts one there");
        return HM_USAGE;
    }
    hm_status status = look ? HM_OK : make_place(slot, error);
    if (status == HM_OK && !look) {
        slot->exists = true;
        status = take_lock(slot, error);
    }
    if (status == HM_OK && slot->exists) {
        status = read_current(slot, error);
    }
    if (status == HM_OK && slot->exists) {
        status = read_state(slot, (flags & HM_SLOT_FORGET) != 0, error);
    }
    if (status == HM_OK && slot->exists) {
        slot->interrupted = look && has_journal(slot);
        status = look ? HM_OK : hm_slot_recover(slot, error);
    }
    slot->ready = status == HM_OK && !look;
    return status;
}

hm_status hm_slot_open(hm_store *store, const char *name, uint64_t flags, hm_slot *slot,
                       hm_error **error) {
    *slot = (hm_slot){.store = store, .lock = -1};
    hm_status status = hm_store_check_name(name, error);
    if (status != HM_OK) {
        return status;
    }
    slot->name = hm_strdup(name);
    slot->relative = hm_textf("models/%s", name);
    if (slot->name == NULL || slot->relative == NULL) {
        return hm_fail_memory(error);
    }
    return open_place(slot, flags, error);
}

/* ---- versions ------------------------------------------------------------------------------- */

void hm_stored_list_free(hm_stored_list *versions) {
    for (size_t i = 0; i < versions->count; i++) {
        hm_stored_free(&versions->list[i]);
    }
    free(versions->list);
    *versions = (hm_stored_list){0};
}

static int compare_versions(const void *a, const void *b) {
    const hm_stored *left = a;
    const hm_stored *right = b;
    if (left->deployed != right->deployed) {
        return left->deployed > right->deployed ? -1 : 1;
    }
    return strcmp(left->digest, right->digest);
}

static hm_status list_names(const hm_slot *slot, hm_texts *names, hm_error **error) {
    hm_auto_free char *path = hm_textf("%s/versions", slot->relative);
    return path != NULL ? hm_store_list(slot->store, path, names, error) : hm_fail_memory(error);
}

hm_status hm_slot_versions(const hm_slot *slot, hm_stored_list *versions, size_t *unreadable,
                           hm_error **error) {
    HM_CLEANUP(hm_texts_free) hm_texts names = {0};
    *unreadable = 0;
    hm_status status = list_names(slot, &names, error);
    for (size_t i = 0; i < names.count && status == HM_OK; i++) {
        hm_auto_free char *path = hm_slot_version_path(slot, names.list[i]);
        hm_auto_error cause = NULL;
        if (path == NULL ||
            !hm_grow(&versions->list, versions->count, &versions->capacity, sizeof(hm_stored))) {
            return hm_fail_memory(error);
        }
        hm_stored *made = &versions->list[versions->count];
        *made = (hm_stored){.source = NULL};
        if (hm_stored_read(slot->store, path, names.list[i], made, &cause) == HM_OK) {
            versions->count++;
        } else {
            versions->newer += made->newer;
            hm_stored_free(made);
            status = hm_error_is_memory(cause) ? hm_error_move(error, &cause) : HM_OK;
            *unreadable += hm_store_taken(slot->store, path); /* or it is not there any more */
        }
    }
    if (versions->count > 1) {
        qsort(versions->list, versions->count, sizeof(hm_stored), compare_versions);
    }
    return status;
}

hm_status hm_slot_find_version(const hm_slot *slot, const char *text, hm_stored *version,
                               hm_error **error) {
    enum { LEAST = 4 };
    HM_CLEANUP(hm_texts_free) hm_texts names = {0};
    size_t length = strlen(text);
    const char *found = NULL;
    size_t count = 0;
    hm_status status = list_names(slot, &names, error);
    for (size_t i = 0; i < names.count && length >= LEAST; i++) {
        if (strncmp(names.list[i], text, length) == 0) {
            found = names.list[i];
            count++;
        }
    }
    if (status == HM_OK && count != 1) {
        status = count == 0 ? hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s has no version %s",
                                      slot->name, text)
                            : hm_fail(error, HM_USAGE, HM_REASON_NONE,
                                      "%zu versions of %s begin with %s", count, slot->name, text);
        hm_error_add_hint(error,
                          "a version is named by its model digest, or by so many of its "
                          "first digits (%d at least) as no other has",
                          LEAST);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_auto_free char *path = hm_slot_version_path(slot, found);
    return path != NULL ? hm_stored_read(slot->store, path, found, version, error)
                        : hm_fail_memory(error);
}

bool hm_slot_holds(const hm_slot *slot, const hm_stored *version) {
    hm_auto_stored now = {.source = NULL};
    hm_auto_free char *path = hm_slot_version_path(slot, version->digest);
    return path != NULL &&
           hm_stored_read_any(slot->store, path, version->digest, &now, NULL) == HM_OK &&
           strcmp(now.id, version->id) == 0;
}

/* Whether a version was left for being bad after the activation `from` of the history. */
static bool was_left(const hm_slot_state *state, size_t from, const char *digest) {
    const hm_verdict *verdict = hm_slot_state_verdict(state, digest);
    bool left = false;
    for (size_t i = from + 1; i < state->count; i++) {
        const hm_activation *later = &state->history[i];
        bool away = later->kind != HM_EVENT_ACTIVATED;
        left = (left || (away && strcmp(later->previous, digest) == 0)) &&
               strcmp(later->version, digest) != 0;
    }
    return left || (verdict != NULL && !verdict->good);
}

bool hm_slot_was_left(const hm_slot *slot, const char *digest) {
    const hm_slot_state *state = &slot->state;
    for (size_t i = state->count; i-- > 0;) {
        if (strcmp(state->history[i].version, digest) == 0) {
            return was_left(state, i, digest);
        }
    }
    return false;
}

hm_status hm_slot_last_good(const hm_slot *slot, char *digest, hm_error **error) {
    const hm_slot_state *state = &slot->state;
    digest[0] = '\0';
    for (size_t i = state->count; i-- > 0 && digest[0] == '\0';) {
        const char *candidate = state->history[i].version;
        if (candidate[0] == '\0' || strcmp(candidate, slot->current) == 0 ||
            was_left(state, i, candidate)) {
            continue;
        }
        hm_auto_free char *path = hm_slot_version_path(slot, candidate);
        if (path == NULL) {
            return hm_fail_memory(error);
        }
        if (hm_store_taken(slot->store, path)) {
            memcpy(digest, candidate, HM_VERSION_DIGITS + 1);
        }
    }
    return HM_OK;
}
