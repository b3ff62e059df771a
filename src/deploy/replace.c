/* SPDX-License-Identifier: Apache-2.0 */
/* What takes the place of a version that was found bad, and where that goes. */
#include "deploy/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A version that was found bad while another was looked for. */
typedef struct bad_version {
    char digest[HM_VERSION_DIGITS + 1];
    hm_error *cause;
} bad_version;

typedef struct bad_versions {
    bad_version *list;
    size_t count, capacity;
} bad_versions;

static void bad_versions_free(bad_versions *bad) {
    for (size_t i = 0; i < bad->count; i++) {
        hm_error_free(&bad->list[i].cause);
    }
    free(bad->list);
}

static hm_status bad_versions_add(bad_versions *bad, const char *digest, hm_error **cause,
                                  hm_error **error) {
    if (!hm_grow(&bad->list, bad->count, &bad->capacity, sizeof *bad->list)) {
        return hm_fail_memory(error);
    }
    bad_version *added = &bad->list[bad->count++];
    *added = (bad_version){.cause = *cause};
    memcpy(added->digest, digest, sizeof added->digest);
    *cause = NULL;
    return HM_OK;
}

/* ---- what takes the place of a bad version --------------------------------------------------- */

typedef struct search {
    hm_check *check;
    hm_slot *slot;
    char found[HM_VERSION_DIGITS + 1]; /* "": none yet */
    hm_report *report;                 /* of the version that was found */
    bad_versions bad;
} search;

static void search_free(search *s) {
    bad_versions_free(&s->bad);
    hm_report_free(&s->report);
}

/*
 * Verifies a version now, whatever was known of it. One that cannot be decided is passed over; but
 * that a service is told to end says nothing against any version.
 */
static hm_status try_version(search *s, const hm_stored *version, hm_error **error) {
    HM_CLEANUP(hm_report_free) hm_report *report = NULL;
    hm_auto_error cause = NULL;
    hm_status status = hm_report_new(HM_OPERATION_CHECK, NULL, &report, error);
    if (status != HM_OK) {
        return status;
    }
    status =
        hm_stored_verify(s->slot, version, s->check->policy, &s->check->options, report, &cause);
    if (status == HM_OK || status == HM_LET_THROUGH) {
        hm_check_copy(s->found, version->digest);
        s->report = report;
        report = NULL;
        return HM_OK;
    }
    if (s->check->stopped) {
        return hm_error_move(error, &cause);
    }
    return status == HM_REFUSED ? bad_versions_add(&s->bad, version->digest, &cause, error) : HM_OK;
}

/* Of the versions that were not tried yet, those with this digest; NULL: all. */
static hm_status try_versions(search *s, const hm_stored_list *versions, bool *tried,
                              const char *digest, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < versions->count && status == HM_OK && s->found[0] == '\0'; i++) {
        const hm_stored *version = &versions->list[i];
        if (!tried[i] && (digest == NULL || strcmp(digest, version->digest) == 0) &&
            strcmp(s->check->current, version->digest) != 0) {
            tried[i] = true;
            status = try_version(s, version, error);
        }
    }
    return status;
}

/*
 * What the history says is current, if `current` itself does not say it; then the last known good
 * one; then the others, the newest first. Those come last since somebody may have had a reason to
 * leave them; but they are what the policy believes, and better than nothing.
 */
static hm_status find_good(search *s, hm_error **error) {
    HM_CLEANUP(hm_stored_list_free) hm_stored_list versions = {0};
    const hm_activation *last = hm_slot_state_last(&s->slot->state);
    char good[HM_VERSION_DIGITS + 1] = "";
    size_t unreadable = 0;
    hm_status status = hm_slot_versions(s->slot, &versions, &unreadable, error);
    if (status == HM_OK) {
        status = hm_slot_last_good(s->slot, good, error);
    }
    hm_auto_free bool *tried = hm_alloc(versions.count, sizeof *tried);
    if (status == HM_OK && tried == NULL) {
        status = hm_fail_memory(error);
    }
    if (status == HM_OK && s->check->astray && last != NULL) {
        status = try_versions(s, &versions, tried, last->version, error);
    }
    if (status == HM_OK) {
        status = try_versions(s, &versions, tried, good, error);
    }
    return status == HM_OK ? try_versions(s, &versions, tried, NULL, error) : status;
}

/* ---- acting --------------------------------------------------------------------------------- */

/* What is known of a version that goes into quarantine; the record of a bad one may be lost. */
static hm_status describe_held(const hm_slot *slot, const char *path, hm_held *held,
                               hm_error **error) {
    hm_auto_stored version = {.deployed = 0};
    hm_auto_free char *model = hm_textf("%s/model", path);
    bool known = hm_stored_read_any(slot->store, path, NULL, &version, NULL) == HM_OK;
    if (model == NULL) {
        return hm_fail_memory(error);
    }
    held->content = known && hm_store_taken(slot->store, model);
    held->byte_count = known ? version.byte_count : 0;
    held->file = known && version.file != NULL ? hm_strdup(version.file) : NULL;
    return held->file != NULL || !known || version.file == NULL ? HM_OK : hm_fail_memory(error);
}

/* Puts a bad version into quarantine, if there is anything of it to be put there. */
static hm_status hold(const hm_slot *slot, hm_plan *plan, const char *digest, const hm_error *cause,
                      hm_report *report, hm_error **error) {
    hm_held *held = NULL;
    hm_auto_free char *path = hm_slot_version_path(slot, digest);
    hm_auto_free char *source = path != NULL ? hm_store_path(slot->store, path) : NULL;
    if (source == NULL) {
        return hm_fail_memory(error);
    }
    if (!hm_store_taken(slot->store, path)) {
        return HM_OK;
    }
    /* Without the report: nobody's signature holds for a bad model. */
    hm_status status = hm_plan_hold(slot, plan, path, source, digest, cause, NULL, &held, error);
    if (status == HM_OK) {
        status = describe_held(slot, path, held, error);
    }
    if (status == HM_OK && report != NULL) {
        report->store.quarantine = hm_strdup(held->id);
        status = report->store.quarantine != NULL ? HM_OK : hm_fail_memory(error);
    }
    return status;
}

static hm_status plan_switch(search *s, hm_plan *plan, const hm_error *cause, hm_error **error) {
    const hm_check *c = s->check;
    const hm_activation *last = hm_slot_state_last(&s->slot->state);
    bool back = c->astray && last != NULL && strcmp(s->found, last->version) == 0;
    plan->switches = true;
    hm_check_copy(plan->to, s->found);
    plan->kind = s->found[0] == '\0' ? HM_EVENT_DEACTIVATED
                 : back              ? HM_EVENT_ACTIVATED
                                     : HM_EVENT_ROLLED_BACK;
    hm_status status =
        hm_check_event(s->slot, plan, plan->kind, s->found, c->current, s->report, cause, error);
    if (status == HM_OK && s->found[0] != '\0') {
        status = hm_plan_add_verdict(plan, s->found, hm_time_now(), true, error);
    }
    hm_store_note *note = &c->report->store;
    note->action = s->found[0] == '\0' ? "deactivated" : back ? "activated" : "rolled-back";
    return status;
}

/* The versions that were to take the place, and are bad as well: each a step of its own. */
static hm_status hold_others(search *s, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < s->bad.count && status == HM_OK; i++) {
        const bad_version *bad = &s->bad.list[i];
        hm_auto_plan plan = {.switches = false};
        status = hm_plan_init(s->slot, &plan, error);
        if (status == HM_OK) {
            status = hm_check_event(s->slot, &plan, HM_EVENT_REFUSED, bad->digest, "", NULL,
                                    bad->cause, error);
        }
        if (status == HM_OK) {
            status = hold(s->slot, &plan, bad->digest, bad->cause, NULL, error);
        }
        if (status == HM_OK) {
            status = hm_plan_add_verdict(&plan, bad->digest, hm_time_now(), false, error);
        }
        status = status == HM_OK ? hm_slot_carry_out(s->slot, &plan, error) : status;
    }
    return status;
}

/*
 * A directory in the place of `current` is moved away, since a link cannot take its place. What is
 * in it is kept: somebody put it there. It is a step of its own, so that it is written down first.
 */
static hm_status hold_stray(const hm_check *c, hm_slot *slot, const hm_error *cause,
                            hm_error **error) {
    struct stat st;
    hm_held *held = NULL;
    hm_auto_plan plan = {.switches = false};
    hm_auto_free char *current = hm_textf("%s/current", slot->relative);
    hm_auto_free char *source = current != NULL ? hm_store_path(slot->store, current) : NULL;
    if (source == NULL) {
        return hm_fail_memory(error);
    }
    if (!slot->strange || fstatat(slot->store->fd, current, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISDIR(st.st_mode)) {
        return HM_OK; /* a link or file is replaced in one step */
    }
    hm_status status = hm_plan_init(slot, &plan, error);
    if (status == HM_OK) {
        status = hm_plan_hold(slot, &plan, current, source, NULL, cause, NULL, &held, error);
    }
    if (status == HM_OK) {
        c->report->store.quarantine = hm_strdup(held->id);
        status = c->report->store.quarantine != NULL ? HM_OK : hm_fail_memory(error);
    }
    return status == HM_OK ? hm_slot_carry_out(slot, &plan, error) : status;
}

/* First `current` is switched, then the bad version moves: nobody ever opens a path to nowhere. */
static hm_status plan_failure(search *s, hm_plan *plan, const hm_error *cause, hm_error **error) {
    hm_check *c = s->check;
    hm_status status =
        hm_check_event(s->slot, plan, HM_EVENT_REFUSED, c->current, "", NULL, cause, error);
    if (status == HM_OK && s->found[0] == '\0' && hm_check_leaves_bad(c)) {
        c->report->store.action = "left";
    } else if (status == HM_OK) {
        status = plan_switch(s, plan, cause, error);
        if (status == HM_OK) {
            status = c->current[0] != '\0'
                         ? hold(s->slot, plan, c->current, cause, c->report, error)
                         : hold_stray(c, s->slot, cause, error);
        }
    }
    if (status == HM_OK && c->current[0] != '\0') {
        status = hm_plan_add_verdict(plan, c->current, hm_time_now(), false, error);
    }
    return status;
}

hm_status hm_check_replace(hm_check *c, hm_slot *slot, const hm_error *cause, hm_error **error) {
    HM_CLEANUP(search_free) search s = {.check = c, .slot = slot};
    hm_auto_plan plan = {.switches = false};
    hm_status status = find_good(&s, error);
    if (status == HM_OK) {
        status = hm_plan_init(slot, &plan, error);
    }
    if (status == HM_OK) {
        status = plan_failure(&s, &plan, cause, error);
    }
    if (status == HM_OK) {
        status = hm_slot_carry_out(slot, &plan, error);
    }
    if (status == HM_OK) {
        c->report->store.switched = plan.switches;
        hm_check_copy(c->report->store.current, plan.switches ? plan.to : c->current);
        status = hold_others(&s, error);
    }
    return status;
}
