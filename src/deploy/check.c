/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifies what is current, and acts on what it finds.
 *
 * The reading is done without the model's lock, which a deployment must not wait for as long as a
 * large model takes. Before anything is done the lock is taken, and `current` must still lead to
 * the very copy that was read; otherwise the check begins again.
 */
#include "deploy/store.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 3 }; /* deployments that come in between */

typedef struct check {
    hm_store *store;
    const char *name;
    const hm_policy *policy;
    hm_gate_options options;
    hm_report *report;
    hm_stored version; /* what was current; its digest is "" when its record cannot be used */
    char current[HM_VERSION_DIGITS + 1];
    bool astray; /* nothing is known of what `current` leads to, or it is gone */
} check;

static void check_free(check *c) {
    hm_stored_free(&c->version);
    hm_report_free(&c->report);
}

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

/* ---- reading -------------------------------------------------------------------------------- */

static void copy_digest(char *to, const char *from) {
    memcpy(to, from, HM_VERSION_DIGITS + 1);
}

/* What the last step said is current. `current` may have been taken away or bent since. */
static const hm_activation *last_activation(const hm_slot *slot) {
    return slot->state.count > 0 ? &slot->state.history[slot->state.count - 1] : NULL;
}

/* `current` is not as the last step left it, and leads to no version. */
static bool is_astray(const hm_slot *slot) {
    const hm_activation *last = last_activation(slot);
    return slot->current[0] == '\0' &&
           (slot->strange || (last != NULL && last->version[0] != '\0'));
}

static hm_status describe_slot(check *c, const hm_slot *slot, hm_error **error) {
    hm_store_note *note = &c->report->store;
    note->path = hm_strdup(c->store->path);
    note->name = hm_strdup(c->name);
    copy_digest(note->version, slot->current);
    copy_digest(note->previous, slot->current);
    copy_digest(note->current, slot->current);
    return note->path != NULL && note->name != NULL ? HM_OK : hm_fail_memory(error);
}

/*
 * Nothing is served by `current`, or nobody knows what. Whoever can bend the link decides what is
 * served, so it is a failure like a changed file; unless it was taken away by the store itself.
 */
static hm_status judge_missing(const check *c, const hm_slot *slot, hm_error **error) {
    if (slot->strange) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "`current` of %s does not lead to a version of the store", c->name);
    }
    if (c->astray) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MISSING_FILE, "`current` of %s is gone",
                       c->name);
    }
    if (last_activation(slot) == NULL) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                      "%s has no current version: there is nothing to verify", c->name);
        hm_error_add_hint(error, "`hallmark rollback %s --to VERSION` makes one current", c->name);
        return HM_UNDECIDED;
    }
    (void)hm_fail(error, HM_REFUSED, HM_REASON_MISSING_FILE,
                  "nothing of %s is served: `current` was taken away", c->name);
    hm_error_add_hint(error,
                      "`hallmark deploy` a good version; `hallmark status %s` shows what "
                      "there is",
                      c->name);
    return HM_REFUSED;
}

/* Whether a file of the store can be read, whatever it says. */
static bool can_be_read(const hm_store *store, const char *relative) {
    hm_auto_buf content = {0};
    hm_auto_fd fd = hm_open_beneath(store->fd, relative, O_RDONLY | O_NONBLOCK | O_NOCTTY, false);
    return fd >= 0 && hm_read_fd(fd, relative, HM_STORE_FILE_LIMIT, &content, NULL) == HM_OK;
}

/*
 * A version whose record is gone or says nothing, or whose files are gone, is a bad one: whoever
 * could spoil a record would else have the model served unverified for ever. A disk that does not
 * answer is something else.
 */
static hm_status judge_undecided(const hm_slot *slot, hm_error **cause, hm_error **error) {
    hm_auto_free char *path = hm_slot_version_path(slot, slot->current);
    hm_auto_free char *record = path != NULL ? hm_textf("%s/version.json", path) : NULL;
    hm_auto_free char *model = path != NULL ? hm_textf("%s/model", path) : NULL;
    if (record == NULL || model == NULL) {
        return hm_fail_memory(error);
    }
    bool gone = !hm_store_taken(slot->store, record) || !hm_store_taken(slot->store, model);
    hm_stored again = {.deployed = 0};
    bool damaged = !gone &&
                   hm_stored_read(slot->store, path, slot->current, &again, NULL) != HM_OK &&
                   can_be_read(slot->store, record);
    hm_stored_free(&again);
    return gone || damaged
               ? hm_fail(error, HM_REFUSED, gone ? HM_REASON_MISSING_FILE : HM_REASON_MALFORMED,
                         "%s", hm_error_message(*cause))
               : hm_error_move(error, cause);
}

static hm_status verify_current(check *c, const hm_slot *slot, hm_error **error) {
    hm_auto_error cause = NULL;
    copy_digest(c->current, slot->current);
    c->astray = is_astray(slot);
    if (slot->current[0] == '\0') {
        return judge_missing(c, slot, error);
    }
    hm_auto_free char *path = hm_slot_version_path(slot, slot->current);
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_stored_read(c->store, path, slot->current, &c->version, &cause);
    if (status == HM_OK) {
        status = hm_stored_verify(slot, &c->version, c->policy, &c->options, c->report, &cause);
    } else {
        hm_stored_free(&c->version);
        c->version = (hm_stored){.deployed = 0};
    }
    return status == HM_OK          ? HM_OK
           : status == HM_UNDECIDED ? judge_undecided(slot, &cause, error)
                                    : hm_error_move(error, &cause);
}

/* ---- what takes the place of a bad version --------------------------------------------------- */

typedef struct search {
    check *check;
    hm_slot *slot;
    char found[HM_VERSION_DIGITS + 1]; /* "": none yet */
    bool let_through;
    hm_report *report; /* of the version that was found */
    bad_versions bad;
} search;

static void search_free(search *s) {
    bad_versions_free(&s->bad);
    hm_report_free(&s->report);
}

/* Verifies a version now, whatever was known of it. One that cannot be decided is passed over. */
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
        copy_digest(s->found, version->digest);
        s->let_through = status == HM_LET_THROUGH;
        s->report = report;
        report = NULL;
        return HM_OK;
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
    const hm_activation *last = last_activation(s->slot);
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

static hm_status add_event(const hm_slot *slot, hm_plan *plan, hm_event_kind kind,
                           const char *digest, const char *previous, const hm_report *report,
                           const hm_error *cause, hm_error **error) {
    hm_event *event = NULL;
    hm_status status = hm_plan_add_event(slot, plan, kind, digest, report, cause, &event, error);
    if (status == HM_OK && previous[0] != '\0' && event->previous == NULL) {
        event->previous = hm_strdup(previous);
        status = event->previous != NULL ? HM_OK : hm_fail_memory(error);
    }
    return status;
}

static const char *digest_or_null(const char *digest) {
    return digest[0] != '\0' ? digest : NULL;
}

/* What is known of a version that goes into quarantine; the record of a bad one may be lost. */
static hm_status describe_held(const hm_slot *slot, const char *path, hm_held *held,
                               hm_error **error) {
    hm_auto_stored version = {.deployed = 0};
    hm_auto_free char *model = hm_textf("%s/model", path);
    bool known = hm_stored_read(slot->store, path, NULL, &version, NULL) == HM_OK;
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
    hm_status status = hm_plan_hold(slot, plan, path, source, digest, cause, report, &held, error);
    return status == HM_OK ? describe_held(slot, path, held, error) : status;
}

static hm_status plan_switch(search *s, hm_plan *plan, const hm_error *cause, hm_error **error) {
    const check *c = s->check;
    const hm_activation *last = last_activation(s->slot);
    bool back = c->astray && last != NULL && strcmp(s->found, last->version) == 0;
    plan->switches = true;
    copy_digest(plan->to, s->found);
    plan->kind = s->found[0] == '\0' ? HM_EVENT_DEACTIVATED
                 : back              ? HM_EVENT_ACTIVATED
                                     : HM_EVENT_ROLLED_BACK;
    hm_status status = add_event(s->slot, plan, plan->kind, digest_or_null(s->found), c->current,
                                 s->report, cause, error);
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
        HM_CLEANUP(hm_report_free) hm_report *scratch = NULL;
        hm_auto_plan plan = {.switches = false};
        status = hm_report_new(HM_OPERATION_CHECK, NULL, &scratch, error);
        if (status == HM_OK) {
            status = hm_plan_init(s->slot, &plan, error);
        }
        if (status == HM_OK) {
            status = add_event(s->slot, &plan, HM_EVENT_REFUSED, bad->digest, "", NULL, bad->cause,
                               error);
        }
        if (status == HM_OK) {
            status = hold(s->slot, &plan, bad->digest, bad->cause, scratch, error);
        }
        if (status == HM_OK) {
            status = hm_plan_add_verdict(&plan, bad->digest, hm_time_now(), false, error);
        }
        status = status == HM_OK ? hm_slot_carry_out(s->slot, &plan, error) : status;
    }
    return status;
}

/* First `current` is switched, then the bad version moves: nobody ever opens a path to nowhere. */
static hm_status plan_failure(search *s, hm_plan *plan, const hm_error *cause, hm_error **error) {
    check *c = s->check;
    bool leave = c->store->config->leave_bad || (c->options.flags & HM_GATE_LEAVE_BAD) != 0;
    hm_status status = add_event(s->slot, plan, HM_EVENT_REFUSED, digest_or_null(c->current), "",
                                 NULL, cause, error);
    if (status == HM_OK && s->found[0] == '\0' && leave) {
        c->report->store.action = "left";
    } else if (status == HM_OK) {
        status = plan_switch(s, plan, cause, error);
        if (status == HM_OK && c->current[0] != '\0') {
            status = hold(s->slot, plan, c->current, cause, c->report, error);
        }
    }
    if (status == HM_OK && c->current[0] != '\0') {
        status = hm_plan_add_verdict(plan, c->current, hm_time_now(), false, error);
    }
    return status;
}

static hm_status act_on_failure(check *c, hm_slot *slot, const hm_error *cause, hm_error **error) {
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
        copy_digest(c->report->store.current, plan.switches ? plan.to : c->current);
        status = hold_others(&s, error);
    }
    return status;
}

/* ---- recording ------------------------------------------------------------------------------ */

/*
 * A service would fill the ledger with what nobody doubts: of the verdicts that say the same as the
 * one before, the first of each day is recorded.
 */
static bool worth_recording(const check *c, const hm_slot *slot, int64_t now) {
    enum { DAY = 86400 };
    const hm_verdict *before = hm_slot_state_verdict(&slot->state, c->current);
    return (c->options.flags & HM_GATE_ROUTINE) == 0 || before == NULL || !before->good ||
           before->time / DAY != now / DAY;
}

static hm_status note_success(check *c, hm_slot *slot, hm_status verdict, const hm_error *cause,
                              hm_error **error) {
    hm_auto_plan plan = {.switches = false};
    int64_t now = hm_time_now();
    hm_status status = hm_plan_init(slot, &plan, error);
    if (status == HM_OK && worth_recording(c, slot, now)) {
        status = add_event(slot, &plan, verdict == HM_OK ? HM_EVENT_VERIFIED : HM_EVENT_LET_THROUGH,
                           c->current, "", c->report, cause, error);
    }
    if (status == HM_OK) {
        status = hm_plan_add_verdict(&plan, c->current, now, true, error);
    }
    return status == HM_OK ? hm_slot_carry_out(slot, &plan, error) : status;
}

/* Records an event that changes nothing, and needs no lock. */
static hm_status record(check *c, const hm_slot *slot, hm_event_kind kind, const hm_error *cause,
                        hm_error **error) {
    hm_auto_plan plan = {.switches = false};
    hm_status status = hm_plan_init(slot, &plan, error);
    if (status == HM_OK) {
        status = add_event(slot, &plan, kind, digest_or_null(c->current), "", NULL, cause, error);
    }
    return status == HM_OK ? hm_recorder_add(c->store->recorder, &plan.events, error) : status;
}

/* ---- the verb ------------------------------------------------------------------------------- */

/* Whether the place is still as it was read: nobody has deployed or repaired in between. */
static bool unchanged(const check *c, const hm_slot *slot) {
    hm_auto_stored now = {.deployed = 0};
    if (strcmp(c->current, slot->current) != 0 || c->astray != is_astray(slot)) {
        return false;
    }
    hm_auto_free char *path = hm_slot_version_path(slot, slot->current);
    if (slot->current[0] == '\0' || c->version.digest[0] == '\0' || path == NULL) {
        return true;
    }
    return hm_stored_read(c->store, path, slot->current, &now, NULL) != HM_OK ||
           strcmp(now.id, c->version.id) == 0;
}

/* A bad version that could not be acted upon is refused all the same, and is said to be served. */
static hm_status still_served(const check *c, const hm_error *cause, hm_error **why,
                              hm_error **error) {
    (void)hm_fail(error, HM_REFUSED, hm_error_reason(cause), "%s", hm_error_message(cause));
    hm_error_add_hint(error, "%s of %s is still current: %s",
                      c->current[0] != '\0' ? "this version" : "nothing", c->name,
                      hm_error_message(*why));
    return HM_REFUSED;
}

static hm_status act(check *c, hm_status verdict, hm_error **cause, bool *again, hm_error **error) {
    hm_auto_slot slot = {.lock = -1};
    hm_auto_error why = NULL;
    bool good = verdict == HM_OK || verdict == HM_LET_THROUGH;
    hm_status status = hm_slot_open(c->store, c->name, HM_SLOT_EXISTING, &slot, &why);
    if (status == HM_OK && !unchanged(c, &slot)) {
        *again = true;
        return HM_UNDECIDED;
    }
    if (status == HM_OK) {
        status = good ? note_success(c, &slot, verdict, *cause, &why)
                      : act_on_failure(c, &slot, *cause, &why);
    }
    if (good) {
        /* Somebody is at work on the model: that it was verified is noted the next time. */
        return verdict == HM_OK && slot.lock >= 0 && status != HM_OK
                   ? hm_error_move(error, &why)
                   : (verdict == HM_OK ? HM_OK : hm_error_move(error, cause));
    }
    return status == HM_OK ? hm_error_move(error, cause) : still_served(c, *cause, &why, error);
}

/* What a killed command left half done comes first: it may be what made `current` as it is. */
static bool complete_step(const check *c) {
    hm_auto_slot slot = {.lock = -1};
    return hm_slot_open(c->store, c->name, HM_SLOT_EXISTING, &slot, NULL) == HM_OK;
}

static hm_status check_once(check *c, bool *again, hm_error **error) {
    hm_auto_slot slot = {.lock = -1};
    hm_auto_error cause = NULL;
    *again = false;
    hm_status status =
        hm_slot_open(c->store, c->name, HM_SLOT_READ | HM_SLOT_EXISTING, &slot, error);
    if (status == HM_OK) {
        status = describe_slot(c, &slot, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (slot.interrupted && complete_step(c)) {
        *again = true;
        return HM_UNDECIDED;
    }
    status = verify_current(c, &slot, &cause);
    bool taken_away = status == HM_REFUSED && slot.current[0] == '\0' && !c->astray;
    if (taken_away) {
        return hm_error_move(error, &cause); /* that was told when it happened */
    }
    if (status == HM_UNDECIDED) {
        hm_auto_error unrecorded = NULL;
        if (last_activation(&slot) != NULL) {
            (void)record(c, &slot, HM_EVENT_UNDECIDED, cause, &unrecorded);
        }
        return hm_error_move(error, &cause);
    }
    return act(c, status, &cause, again, error);
}

static hm_status run(check *c, hm_report **report, hm_error **error) {
    bool again = true;
    hm_status status = HM_UNDECIDED;
    for (int i = 0; i < TRIES && again; i++) {
        check_free(c);
        c->version = (hm_stored){.deployed = 0};
        status = hm_report_new(HM_OPERATION_CHECK, NULL, &c->report, error);
        again = false;
        status = status == HM_OK ? check_once(c, &again, error) : status;
    }
    if (again) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                         "%s is being changed all the time: it was not verified", c->name);
    }
    return hm_report_finish(&c->report, status, error, report);
}

hm_status hm_store_check(hm_store *store, const char *name, const hm_policy *policy,
                         const hm_gate_options *options, hm_report **report, hm_error **error) {
    static const hm_gate_options none = HM_GATE_OPTIONS_INIT;
    hm_auto_error kept = NULL;
    const hm_gate_options *how = options != NULL ? options : &none;
    HM_CLEANUP(check_free) check c = {.store = store, .name = name, .policy = policy};
    if (report != NULL) {
        *report = NULL;
    }
    hm_status status = hm_check_options("hm_store_check", how->size, sizeof *how, how->flags,
                                        HM_GATE_LEAVE_BAD | HM_GATE_ROUTINE, error);
    if (status == HM_OK) {
        status = hm_store_check_name(name, error);
    }
    if (status == HM_OK && (store->flags & HM_STORE_READ) != 0) {
        status =
            hm_fail(error, HM_USAGE, HM_REASON_NONE,
                    "hm_store_check acts on what it finds: the store is open for reading only");
    }
    if (status != HM_OK) {
        return status;
    }
    c.options = *how;
    status = run(&c, report, &kept);
    return status == HM_OK ? HM_OK : hm_error_move(error, &kept);
}
