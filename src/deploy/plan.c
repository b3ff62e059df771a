/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a plan. Each finds out by itself whether it was done already. */
#include "deploy/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void hm_plan_free(hm_plan *plan) {
    free(plan->staged);
    free(plan->held_path);
    if (plan->held != NULL) {
        hm_held_free(plan->held);
    }
    free(plan->held);
    free(plan->verdicts);
    hm_events_free(&plan->events);
    hm_texts_free(&plan->removed);
    *plan = (hm_plan){.staged = NULL};
}

/* ---- making a plan -------------------------------------------------------------------------- */

hm_status hm_plan_init(const hm_slot *slot, hm_plan *plan, hm_error **error) {
    *plan = (hm_plan){.time = hm_time_now()};
    memcpy(plan->from, slot->current, sizeof plan->from);
    return hm_store_new_id(slot->store, plan->id, error);
}

hm_status hm_plan_add_verdict(hm_plan *plan, const char *version, int64_t time, bool good,
                              hm_error **error) {
    if (!hm_grow(&plan->verdicts, plan->verdict_count, &plan->verdict_capacity,
                 sizeof(hm_verdict))) {
        return hm_fail_memory(error);
    }
    hm_verdict *made = &plan->verdicts[plan->verdict_count++];
    *made = (hm_verdict){.time = time, .good = good};
    memcpy(made->version, version, strlen(version) + 1);
    return HM_OK;
}

hm_status hm_plan_remove(hm_plan *plan, const char *relative, hm_error **error) {
    return hm_texts_add(&plan->removed, relative, error);
}

/* A signature that is good, of something else than this model, is nobody's word for it. */
static bool is_verified(hm_event_kind kind) {
    return kind != HM_EVENT_REFUSED && kind != HM_EVENT_UNDECIDED && kind != HM_EVENT_QUARANTINED &&
           kind != HM_EVENT_LET_THROUGH;
}

static bool set_signer(hm_event *event, const hm_report *report) {
    if (report == NULL || !report->has_signer || !is_verified(event->kind)) {
        return true;
    }
    const hm_signer_identity *who = &report->signer;
    event->key_version = who->key_version;
    return hm_set_text(&event->signer, who->name != NULL ? who->name : who->fingerprint) &&
           hm_set_text(&event->fingerprint, who->fingerprint);
}

hm_status hm_plan_add_event(const hm_slot *slot, hm_plan *plan, hm_event_kind kind,
                            const char *digest, const hm_report *report, const hm_error *cause,
                            hm_event **event, hm_error **error) {
    hm_auto_event made = {.host = NULL};
    hm_auto_free char *source =
        report != NULL && report->model_path != NULL ? hm_store_found(report->model_path) : NULL;
    hm_status status = hm_event_init(&made, kind, error);
    bool good = status == HM_OK && hm_set_text(&made.store, slot->store->path) &&
                hm_set_text(&made.model, slot->name) && hm_set_text(&made.digest, digest) &&
                hm_set_text(&made.source, source) && set_signer(&made, report) &&
                hm_set_text(&made.message, cause != NULL ? hm_error_message(cause) : NULL);
    made.reason = cause != NULL ? hm_error_reason(cause) : HM_REASON_NONE;
    if (status == HM_OK && !good) {
        status = hm_fail_memory(error);
    }
    if (status == HM_OK) {
        status = hm_events_add(&plan->events, &made, error);
    }
    if (status == HM_OK && event != NULL) {
        *event = &plan->events.list[plan->events.count - 1];
    }
    return status;
}

hm_status hm_plan_hold(const hm_slot *slot, hm_plan *plan, const char *path, const char *source,
                       const char *digest, const hm_error *cause, hm_report *report, hm_held **held,
                       hm_error **error) {
    hm_event *event = NULL;
    plan->held = hm_alloc(1, sizeof(hm_held));
    hm_status status = plan->held != NULL ? hm_store_new_id(slot->store, plan->held->id, error)
                                          : hm_fail_memory(error);
    if (status == HM_OK) {
        status = hm_plan_add_event(slot, plan, HM_EVENT_QUARANTINED, digest, report, cause, &event,
                                   error);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_held *made = plan->held;
    made->since = plan->time;
    made->reason = cause != NULL ? hm_error_reason(cause) : HM_REASON_NONE;
    memcpy(made->event, event->id, sizeof made->event);
    bool good = hm_set_text(&made->model, slot->name) && hm_set_text(&made->source, source) &&
                hm_set_text(&made->digest, digest) && hm_set_text(&plan->held_path, path) &&
                hm_set_text(&made->message, cause != NULL ? hm_error_message(cause) : NULL) &&
                hm_set_text(&event->quarantine, made->id);
    if (good && report != NULL) {
        free(report->store.quarantine);
        good = hm_set_text(&report->store.quarantine, made->id);
    }
    *held = made;
    return good ? HM_OK : hm_fail_memory(error);
}

/* ---- moving directories --------------------------------------------------------------------- */

static mode_t version_mode(const hm_store *store) {
    return store->grouped ? 0550 : 0555;
}

/* A directory that is moved elsewhere must be writable to its owner: its ".." is written. */
static bool set_mode(const hm_store *store, const char *relative, mode_t mode) {
    hm_auto_fd fd = hm_open_beneath(store->fd, relative, O_RDONLY | O_DIRECTORY, false);
    return fd >= 0 && fchmod(fd, mode) == 0;
}

static hm_status fail_move(const hm_store *store, const char *from, const char *to,
                           hm_error **error) {
    return hm_fail_errno(error, errno, "cannot move %s to %s in %s", from, to, store->path);
}

/* Nothing has the new name yet. */
static hm_status move(const hm_store *store, const char *from, const char *to, mode_t mode,
                      hm_error **error) {
    return set_mode(store, from, mode | S_IWUSR) &&
                   renameat2(store->fd, from, store->fd, to, RENAME_NOREPLACE) == 0 &&
                   set_mode(store, to, mode)
               ? HM_OK
               : fail_move(store, from, to, error);
}

/*
 * The new version takes the old one's name in one step, so that `current`, which may lead there,
 * always leads to something. Where a file system cannot do that, there is a gap between two.
 */
static hm_status exchange(const hm_store *store, const char *staged, const char *version,
                          const char *aside, hm_error **error) {
    mode_t mode = version_mode(store);
    if (!set_mode(store, staged, mode | S_IWUSR) || !set_mode(store, version, mode | S_IWUSR)) {
        return fail_move(store, staged, version, error);
    }
    if (renameat2(store->fd, staged, store->fd, version, RENAME_EXCHANGE) == 0) {
        return set_mode(store, version, mode) ? HM_OK : fail_move(store, staged, version, error);
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return fail_move(store, staged, version, error);
    }
    if (renameat2(store->fd, version, store->fd, aside, RENAME_NOREPLACE) != 0) {
        return fail_move(store, version, aside, error);
    }
    return move(store, staged, version, mode, error);
}

/* ---- the steps ------------------------------------------------------------------------------ */

static hm_status sync_both(const hm_slot *slot, hm_error **error) {
    hm_auto_free char *versions = hm_textf("%s/versions", slot->relative);
    hm_status status =
        versions != NULL ? hm_store_sync(slot->store, versions, error) : hm_fail_memory(error);
    return status == HM_OK ? hm_store_sync(slot->store, slot->relative, error) : status;
}

/* Whether the version in its place is the staged one: its version.json bears that id. */
static bool is_installed(const hm_slot *slot, const char *version, const char *id) {
    hm_auto_stored found = {.source = NULL};
    return hm_stored_read(slot->store, version, NULL, &found, NULL) == HM_OK &&
           strcmp(found.id, id) == 0;
}

static hm_status install(hm_slot *slot, const hm_plan *plan, hm_error **error) {
    const hm_store *store = slot->store;
    if (plan->staged == NULL) {
        return HM_OK;
    }
    size_t length = strlen(plan->staged);
    const char *id =
        length > HM_STORE_ID_SIZE ? plan->staged + length - HM_STORE_ID_SIZE : plan->staged;
    hm_auto_free char *version = hm_slot_version_path(slot, plan->install);
    hm_auto_free char *aside = hm_textf("%s/staging-%s", slot->relative, plan->id);
    if (version == NULL || aside == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = HM_OK;
    if (is_installed(slot, version, id)) {
        status = set_mode(store, version, version_mode(store))
                     ? HM_OK
                     : hm_fail_errno(error, errno, "cannot open %s/%s", store->path, version);
    } else if (!hm_store_taken(store, plan->staged)) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                         "%s/%s is gone, which was to become the version %s", store->path,
                         plan->staged, plan->install);
        hm_error_add_hint(error, "remove %s/%s/journal.json to give that step up, and deploy again",
                          store->path, slot->relative);
    } else if (hm_store_taken(store, version)) {
        status = exchange(store, plan->staged, version, aside, error);
    } else {
        status = move(store, plan->staged, version, version_mode(store), error);
    }
    return status == HM_OK ? sync_both(slot, error) : status;
}

/* Where the old version is now that a new one took its place. */
static const char *place_of_old(const hm_slot *slot, const hm_plan *plan, const char *path,
                                const char *aside) {
    bool gap = plan->staged != NULL && strcmp(path, plan->staged) == 0 &&
               !hm_store_taken(slot->store, path);
    return gap ? aside : path;
}

static hm_status point(hm_slot *slot, const hm_plan *plan, hm_error **error) {
    if (!plan->switches) {
        return HM_OK;
    }
    if (plan->to[0] != '\0') {
        hm_auto_free char *path = hm_slot_version_path(slot, plan->to);
        if (path == NULL) {
            return hm_fail_memory(error);
        }
        if (!hm_store_taken(slot->store, path)) {
            return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s/%s is gone", slot->store->path,
                           path);
        }
    }
    bool there = !slot->strange && strcmp(slot->current, plan->to) == 0;
    return there ? hm_store_sync(slot->store, slot->relative, error)
                 : hm_slot_point(slot, plan->to, error);
}

static hm_status write_entry(const hm_store *store, const hm_held *held, const char *folder,
                             hm_error **error) {
    hm_auto_buf text = {0};
    hm_auto_free char *relative = hm_textf("%s/entry.json", folder);
    hm_auto_free char *path = relative != NULL ? hm_store_path(store, relative) : NULL;
    hm_status status = path != NULL ? hm_held_write(held, &text, error) : hm_fail_memory(error);
    return status == HM_OK ? hm_write_file(path, hm_buf_view(&text), 0600, HM_WRITE_REPLACE, error)
                           : status;
}

static hm_status hold(hm_slot *slot, const hm_plan *plan, hm_error **error) {
    const hm_store *store = slot->store;
    if (plan->held == NULL) {
        return HM_OK;
    }
    hm_auto_free char *folder = hm_textf("quarantine/%s", plan->held->id);
    hm_auto_free char *place = hm_textf("quarantine/%s/held", plan->held->id);
    hm_auto_free char *aside = hm_textf("%s/staging-%s", slot->relative, plan->id);
    if (folder == NULL || place == NULL || aside == NULL) {
        return hm_fail_memory(error);
    }
    if (mkdirat(store->fd, folder, 0700) != 0 && errno != EEXIST) {
        return hm_fail_errno(error, errno, "cannot make %s/%s", store->path, folder);
    }
    hm_status status = write_entry(store, plan->held, folder, error);
    if (status == HM_OK) { /* what moves must not be lost with the folder that it moves to */
        status = hm_store_sync(store, "quarantine", error);
    }
    if (status == HM_OK && plan->held_path != NULL && !hm_store_taken(store, place)) {
        const char *from = place_of_old(slot, plan, plan->held_path, aside);
        status = move(store, from, place, 0700, error);
    }
    if (status == HM_OK) {
        status = hm_store_sync(store, folder, error);
    }
    return status == HM_OK ? sync_both(slot, error) : status;
}

static hm_status remember(hm_slot *slot, const hm_plan *plan, hm_error **error) {
    hm_activation made = {.kind = plan->kind, .time = plan->time};
    hm_status status = HM_OK;
    if (plan->switches) {
        memcpy(made.version, plan->to, sizeof made.version);
        memcpy(made.previous, plan->from, sizeof made.previous);
        const char *user = plan->events.count > 0 ? plan->events.list[0].user : NULL;
        made.user = hm_strdup(user != NULL ? user : "");
        status = made.user != NULL ? hm_slot_state_add(&slot->state, &made, error)
                                   : hm_fail_memory(error);
        free(made.user);
    }
    for (size_t i = 0; i < plan->verdict_count && status == HM_OK; i++) {
        const hm_verdict *at = &plan->verdicts[i];
        status = hm_slot_state_note(&slot->state, at->version, at->time, at->good, error);
    }
    bool changed = plan->switches || plan->verdict_count > 0;
    return status == HM_OK && changed ? hm_slot_state_write(slot, &slot->state, error) : status;
}

/* It loses its name here and now; what it held goes when the journal is gone. */
static hm_status discard(const hm_slot *slot, const hm_plan *plan, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < plan->removed.count && status == HM_OK; i++) {
        const char *path = plan->removed.list[i];
        const char *base = strrchr(path, '/');
        bool staging = base != NULL && strncmp(base, "/staging-", strlen("/staging-")) == 0;
        hm_auto_free char *aside = hm_textf("%s/staging-%s-%zu", slot->relative, plan->id, i);
        if (aside == NULL) {
            return hm_fail_memory(error);
        }
        if (!staging && hm_store_taken(slot->store, path)) {
            status = move(slot->store, path, aside, 0700, error);
        }
    }
    if (status == HM_OK && plan->removed.count > 0) {
        status = hm_store_sync(slot->store, "quarantine", error);
    }
    return status == HM_OK && plan->removed.count > 0 ? sync_both(slot, error) : status;
}

hm_status hm_plan_do(hm_slot *slot, hm_plan *plan, hm_error **error) {
    hm_status status = install(slot, plan, error);
    if (status == HM_OK) {
        status = point(slot, plan, error);
    }
    if (status == HM_OK) {
        status = hold(slot, plan, error);
    }
    if (status == HM_OK) {
        status = remember(slot, plan, error);
    }
    if (status == HM_OK && plan->events.count > 0) {
        status = hm_recorder_add(slot->store->recorder, &plan->events, error);
    }
    return status == HM_OK ? discard(slot, plan, error) : status;
}
