/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifies what is current, and acts on what it finds.
 *
 * The reading is done without the model's lock, which a deployment must not wait for as long as a
 * large model takes. Before anything is done the lock is taken, and `current` must still lead to
 * the very copy that was read; otherwise the check begins again. The last time it holds the lock
 * from the beginning: nobody must keep it from a verdict by changing things all the time.
 */
#include "deploy/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void check_free(hm_check *c) {
    hm_stored_free(&c->version);
    hm_report_free(&c->report);
}

hm_status hm_check_event(const hm_slot *slot, hm_plan *plan, hm_event_kind kind, const char *digest,
                         const char *previous, const hm_report *report, const hm_error *cause,
                         hm_error **error) {
    hm_event *event = NULL;
    hm_status status = hm_plan_add_event(slot, plan, kind, digest[0] != '\0' ? digest : NULL,
                                         report, cause, &event, error);
    if (status == HM_OK && previous[0] != '\0' && event->previous == NULL) {
        event->previous = hm_strdup(previous);
        status = event->previous != NULL ? HM_OK : hm_fail_memory(error);
    }
    return status;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* `current` is not as the last step left it, and leads to no version. */
static bool is_astray(const hm_slot *slot) {
    const hm_activation *last = hm_slot_state_last(&slot->state);
    return slot->current[0] == '\0' &&
           (slot->strange || (last != NULL && last->version[0] != '\0'));
}

static hm_status describe_slot(hm_check *c, const hm_slot *slot, hm_error **error) {
    hm_store_note *note = &c->report->store;
    note->path = hm_strdup(c->store->path);
    note->name = hm_strdup(c->name);
    hm_check_copy(note->version, slot->current);
    hm_check_copy(note->previous, slot->current);
    hm_check_copy(note->current, slot->current);
    return note->path != NULL && note->name != NULL ? HM_OK : hm_fail_memory(error);
}

/*
 * Nothing is served by `current`, or nobody knows what. Whoever can bend the link decides what is
 * served, so it is a failure like a changed file; unless it was taken away by the store itself.
 */
static hm_status judge_missing(const hm_check *c, const hm_slot *slot, hm_error **error) {
    if (slot->strange) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "`current` of %s does not lead to a version of the store", c->name);
    }
    if (c->astray) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MISSING_FILE, "`current` of %s is gone",
                       c->name);
    }
    if (hm_slot_state_last(&slot->state) == NULL) {
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

/*
 * Its files are what the policy believes, but its record may say what only a newer program knows:
 * that is no verdict, and nothing is shown as verified. Not asked before the files are: whoever
 * writes a number into the record of a bad version must not keep it from being found bad.
 */
static hm_status fail_newer(hm_check *c, const hm_slot *slot, const char *version,
                            hm_error **error) {
    hm_auto_free char *path = hm_textf("%s/version.json", version);
    hm_report_free(&c->report);
    hm_status status = hm_report_new(HM_OPERATION_CHECK, NULL, &c->report, error);
    if (status == HM_OK) {
        status = describe_slot(c, slot, error);
    }
    if (status != HM_OK) {
        return status;
    }
    return path != NULL ? hm_store_fail_newer(c->store, path, error) : hm_fail_memory(error);
}

static hm_status verify_current(hm_check *c, const hm_slot *slot, hm_error **error) {
    hm_auto_error cause = NULL;
    hm_check_copy(c->current, slot->current);
    c->astray = is_astray(slot);
    if (slot->current[0] == '\0') {
        return judge_missing(c, slot, error);
    }
    hm_auto_free char *path = hm_slot_version_path(slot, slot->current);
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_stored_read_any(c->store, path, slot->current, &c->version, &cause);
    if (status == HM_OK) {
        status = hm_stored_verify(slot, &c->version, c->policy, &c->options, c->report, &cause);
        if (c->version.newer && (status == HM_OK || status == HM_LET_THROUGH)) {
            return fail_newer(c, slot, path, error);
        }
    } else {
        hm_stored_free(&c->version);
        c->version = (hm_stored){.deployed = 0};
    }
    return status == HM_OK          ? HM_OK
           : status == HM_UNDECIDED ? hm_slot_judge_spoiled(slot, &cause, error)
                                    : hm_error_move(error, &cause);
}

/* ---- recording ------------------------------------------------------------------------------ */

/*
 * A service would fill the ledger with what nobody doubts: of the verdicts that say the same as the
 * one before, the first of each day is recorded.
 */
static bool worth_recording(const hm_check *c, const hm_slot *slot, int64_t now) {
    enum { DAY = 86400 };
    const hm_verdict *before = hm_slot_state_verdict(&slot->state, c->current);
    return (c->options.flags & HM_GATE_ROUTINE) == 0 || before == NULL || !before->good ||
           before->time / DAY != now / DAY;
}

static hm_event_kind kind_of(hm_status verdict) {
    return verdict == HM_OK ? HM_EVENT_VERIFIED : HM_EVENT_LET_THROUGH;
}

static hm_status note_success(hm_check *c, hm_slot *slot, hm_status verdict, const hm_error *cause,
                              hm_error **error) {
    hm_auto_plan plan = {.switches = false};
    int64_t now = hm_time_now();
    hm_status status = hm_plan_init(slot, &plan, error);
    if (status == HM_OK && worth_recording(c, slot, now)) {
        status =
            hm_check_event(slot, &plan, kind_of(verdict), c->current, "", c->report, cause, error);
    }
    if (status == HM_OK) {
        status = hm_plan_add_verdict(&plan, c->current, now, true, error);
    }
    return status == HM_OK ? hm_slot_carry_out(slot, &plan, error) : status;
}

/* Records an event of what is current, or was, that no plan brings with it. */
static hm_status record(hm_check *c, const hm_slot *slot, hm_event_kind kind,
                        const hm_report *report, const hm_error *cause, hm_error **error) {
    hm_auto_plan plan = {.switches = false};
    bool away = kind == HM_EVENT_DEACTIVATED;
    hm_status status = hm_plan_init(slot, &plan, error);
    if (status == HM_OK) {
        status = hm_check_event(slot, &plan, kind, away ? "" : c->current, away ? c->current : "",
                                report, cause, error);
    }
    return status == HM_OK ? hm_recorder_add(c->store->recorder, &plan.events, error) : status;
}

/* ---- the verb ------------------------------------------------------------------------------- */

/*
 * Whether the place is still as it was read: nobody has deployed or repaired in between, also where
 * there was no record to be read.
 */
static bool unchanged(const hm_check *c, const hm_slot *slot) {
    hm_auto_stored now = {.deployed = 0};
    if (c->held) {
        return true;
    }
    if (strcmp(c->current, slot->current) != 0 || c->astray != is_astray(slot)) {
        return false;
    }
    hm_auto_free char *path = hm_slot_version_path(slot, slot->current);
    if (slot->current[0] == '\0' || path == NULL) {
        return true;
    }
    return hm_stored_read_any(c->store, path, slot->current, &now, NULL) != HM_OK ||
           strcmp(now.id, c->version.id) == 0;
}

/*
 * What was not found good has been replaced or removed meanwhile, by somebody who did not have to
 * wait. That says nothing of what is there now.
 */
static bool overtaken(const hm_check *c) {
    hm_auto_slot now = {.lock = -1};
    uint64_t flags = HM_SLOT_READ | HM_SLOT_EXISTING | (c->forgets ? HM_SLOT_FORGET : 0);
    return !c->last && !c->stopped && hm_slot_open(c->store, c->name, flags, &now, NULL) == HM_OK &&
           !unchanged(c, &now);
}

/*
 * The step that would replace a bad version cannot be done: a spoiled journal is in its way, or a
 * full disk. To take the link away needs neither, and no step that is done later loses by it.
 */
static bool take_away(const hm_check *c, hm_slot *slot) {
    return !hm_check_leaves_bad(c) && !c->stopped && slot->lock >= 0 && unchanged(c, slot) &&
           (slot->current[0] != '\0' || slot->strange) && hm_slot_point(slot, "", NULL) == HM_OK;
}

/* What became of a bad version, in the report too; what was only going to be done is taken back. */
static const char *tell_fate(hm_check *c, const hm_slot *slot, bool planned, bool away) {
    hm_store_note *note = &c->report->store;
    if (!planned && !note->switched) {
        free(note->quarantine);
        note->quarantine = NULL;
        note->action = away ? "deactivated" : NULL;
    }
    if (!away && (note->switched || (planned && strcmp(slot->current, c->current) != 0))) {
        note->switched = true;
        hm_check_copy(note->current, slot->current);
        return "no longer current, but not all was done";
    }
    if (away) {
        note->switched = true;
        note->current[0] = '\0';
    }
    return away ? "no longer current, and nothing is in its place" : "still current";
}

/*
 * A bad version for which not all was done is refused all the same, no longer served if that can be
 * helped, and recorded; unless that was done, or a plan is written down by now that will do so.
 */
static hm_status not_replaced(hm_check *c, hm_slot *slot, const hm_error *cause,
                              const hm_error *why, hm_error **error) {
    hm_auto_error unrecorded = NULL;
    bool planned = hm_slot_has_plan(slot);
    bool replaced = c->report->store.switched;
    bool away = !planned && !replaced && !hm_error_is_memory(why) && take_away(c, slot);
    const char *fate = tell_fate(c, slot, planned, away);
    hm_status status =
        planned || replaced ? HM_OK : record(c, slot, HM_EVENT_REFUSED, NULL, cause, &unrecorded);
    if (status == HM_OK && away) {
        status = record(c, slot, HM_EVENT_DEACTIVATED, NULL, cause, &unrecorded);
    }
    (void)hm_fail(error, HM_REFUSED, hm_error_reason(cause), "%s", hm_error_message(cause));
    hm_error_add_hint(error, "%s of %s is %s: %s%s%s",
                      c->current[0] != '\0' ? "this version" : "nothing", c->name, fate,
                      hm_error_message(why),
                      status != HM_OK ? "; this could not be recorded: " : "",
                      status != HM_OK ? hm_error_message(unrecorded) : "");
    return HM_REFUSED;
}

/*
 * Somebody is at work on the model, or nobody can be: when it was verified is noted the next time,
 * that it was is recorded now. `read` is the place as it was then.
 */
static hm_status record_unlocked(hm_check *c, const hm_slot *read, hm_status verdict,
                                 const hm_error *cause, hm_error **error) {
    return worth_recording(c, read, hm_time_now())
               ? record(c, read, kind_of(verdict), c->report, cause, error)
               : HM_OK;
}

/* Does what follows from a verdict. `slot` is locked, or `why` says why not. */
static hm_status conclude(hm_check *c, hm_slot *slot, const hm_slot *read, hm_status verdict,
                          hm_error **cause, hm_error **why, hm_error **error) {
    bool good = verdict == HM_OK || verdict == HM_LET_THROUGH;
    hm_status status = HM_UNDECIDED;
    if (*why == NULL) {
        status = good ? note_success(c, slot, verdict, *cause, why)
                      : hm_check_replace(c, slot, *cause, why);
    }
    if (good && slot->lock < 0) {
        hm_error_free(why);
        status = record_unlocked(c, read, verdict, *cause, why);
    }
    if (good) {
        return status != HM_OK    ? hm_error_move(error, why)
               : verdict == HM_OK ? HM_OK
                                  : hm_error_move(error, cause);
    }
    return status == HM_OK ? hm_error_move(error, cause)
                           : not_replaced(c, slot, *cause, *why, error);
}

static hm_status act(hm_check *c, hm_slot *read, hm_status verdict, hm_error **cause, bool *again,
                     hm_error **error) {
    hm_auto_slot slot = {.lock = -1};
    hm_auto_error why = NULL;
    bool good = verdict == HM_OK || verdict == HM_LET_THROUGH;
    uint64_t flags = HM_SLOT_EXISTING | (c->forgets ? HM_SLOT_FORGET : 0);
    if (c->held) {
        return conclude(c, read, read, verdict, cause, &why, error);
    }
    hm_status status = hm_slot_open(c->store, c->name, flags, &slot, &why);
    if ((status == HM_OK && !unchanged(c, &slot)) || (!good && slot.lock < 0 && overtaken(c))) {
        *again = true;
        return HM_UNDECIDED;
    }
    return conclude(c, &slot, read, verdict, cause, &why, error);
}

/*
 * Without state.json nobody knows what was current, but what is can be verified: whoever spoils it
 * must not have a bad model served by that. `*damage` is why nothing else than that can be done.
 */
static hm_status open_to_read(hm_check *c, hm_slot *slot, hm_error **damage, hm_error **error) {
    const uint64_t flags = HM_SLOT_READ | HM_SLOT_EXISTING;
    c->forgets = false;
    if (c->last && hm_slot_open(c->store, c->name, HM_SLOT_EXISTING, slot, NULL) == HM_OK) {
        c->held = true;
        return HM_OK;
    }
    hm_slot_close(slot);
    hm_status status = hm_slot_open(c->store, c->name, flags, slot, damage);
    if (status == HM_UNDECIDED && !hm_error_is_memory(*damage)) {
        hm_slot_close(slot);
        c->forgets = true;
        return hm_slot_open(c->store, c->name, flags | HM_SLOT_FORGET, slot, error);
    }
    return status == HM_OK ? HM_OK : hm_error_move(error, damage);
}

static hm_status undecided(hm_check *c, const hm_slot *slot, hm_error **cause, hm_error **error) {
    hm_auto_error unrecorded = NULL;
    if (c->stopped || record(c, slot, HM_EVENT_UNDECIDED, NULL, *cause, &unrecorded) == HM_OK) {
        return hm_error_move(error, cause);
    }
    (void)hm_failure_unrecorded(cause, unrecorded);
    return hm_error_move(error, cause);
}

/* What a killed command left half done, or only copied. */
static bool clear_up(const hm_check *c) {
    hm_auto_slot slot = {.lock = -1};
    return c->held || hm_slot_open(c->store, c->name, HM_SLOT_EXISTING, &slot, NULL) == HM_OK;
}

/* What was under way may be what made `current` as it is. */
static hm_status open_cleared(hm_check *c, hm_slot *slot, hm_error **damage, hm_error **error) {
    hm_status status = open_to_read(c, slot, damage, error);
    if (status == HM_OK && slot->interrupted && clear_up(c)) {
        hm_slot_close(slot);
        hm_error_free(damage);
        status = open_to_read(c, slot, damage, error);
    }
    return status;
}

static hm_status check_once(hm_check *c, bool *again, hm_error **error) {
    hm_auto_slot slot = {.lock = -1};
    hm_auto_error cause = NULL;
    hm_auto_error damage = NULL;
    *again = false;
    hm_status status = open_cleared(c, &slot, &damage, &cause);
    if (status != HM_OK) {
        return status == HM_UNDECIDED && slot.name != NULL ? undecided(c, &slot, &cause, error)
                                                           : hm_error_move(error, &cause);
    }
    status = describe_slot(c, &slot, error);
    if (status != HM_OK) {
        return status;
    }
    status = verify_current(c, &slot, &cause);
    if (status == HM_UNDECIDED && overtaken(c)) {
        *again = true;
        return HM_UNDECIDED;
    }
    bool nothing = slot.current[0] == '\0' && !c->astray;
    if (nothing) { /* so nothing will be done that clears up on its way */
        (void)clear_up(c);
    }
    if (nothing && status == HM_REFUSED) {
        return hm_error_move(error, &cause); /* that was told when it happened */
    }
    if (c->forgets && status != HM_REFUSED) {
        return undecided(c, &slot, &damage, error);
    }
    if (status == HM_UNDECIDED) {
        return hm_slot_state_last(&slot.state) != NULL ? undecided(c, &slot, &cause, error)
                                                       : hm_error_move(error, &cause);
    }
    return act(c, &slot, status, &cause, again, error);
}

static bool show_progress(void *context, uint64_t done, uint64_t total) {
    hm_check *c = context;
    c->stopped = c->progress != NULL && !c->progress(c->progress_context, done, total);
    return !c->stopped;
}

static hm_status begin(hm_check *c, hm_error **error) {
    check_free(c);
    c->version = (hm_stored){.deployed = 0};
    return hm_report_new(HM_OPERATION_CHECK, NULL, &c->report, error);
}

/* Nobody must take this for a week in which nothing was to be told. */
static hm_status give_up(hm_check *c, hm_error **error) {
    hm_auto_slot slot = {.lock = -1};
    hm_auto_error cause = NULL;
    hm_auto_error damage = NULL;
    hm_status status = begin(c, error);
    if (status != HM_OK) {
        return status;
    }
    status = open_to_read(c, &slot, &damage, &cause);
    if (status == HM_OK) {
        status = describe_slot(c, &slot, &cause);
    }
    if (status == HM_OK) {
        status = hm_fail(&cause, HM_UNDECIDED, HM_REASON_NONE,
                         "%s is being changed all the time: it was not verified", c->name);
    }
    return status == HM_UNDECIDED && slot.name != NULL ? undecided(c, &slot, &cause, error)
                                                       : hm_error_move(error, &cause);
}

static hm_status run(hm_check *c, hm_report **report, hm_error **error) {
    bool again = true;
    hm_status status = HM_UNDECIDED;
    for (int i = 1; i <= HM_STORE_TRIES && again; i++) {
        c->last = i == HM_STORE_TRIES;
        again = false;
        status = begin(c, error);
        status = status == HM_OK ? check_once(c, &again, error) : status;
    }
    if (again) {
        status = give_up(c, error);
    }
    return hm_report_finish(&c->report, status, error, report);
}

static hm_status check_call(const hm_check *c, const hm_gate_options *how, hm_error **error) {
    hm_status status = hm_check_options("hm_store_check", how->size, sizeof *how, how->flags,
                                        HM_GATE_LEAVE_BAD | HM_GATE_ROUTINE, error);
    if (status == HM_OK && (c->store == NULL || c->policy == NULL)) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "there is no store or policy");
    }
    if (status == HM_OK && (c->store->flags & HM_STORE_READ) != 0) {
        status =
            hm_fail(error, HM_USAGE, HM_REASON_NONE,
                    "hm_store_check acts on what it finds: the store is open for reading only");
    }
    return status == HM_OK ? hm_store_check_name(c->name, error) : status;
}

hm_status hm_store_check(hm_store *store, const char *name, const hm_policy *policy,
                         const hm_gate_options *options, hm_report **report, hm_error **error) {
    static const hm_gate_options none = HM_GATE_OPTIONS_INIT;
    hm_auto_error kept = NULL;
    const hm_gate_options *how = options != NULL ? options : &none;
    HM_CLEANUP(check_free) hm_check c = {.store = store, .name = name, .policy = policy};
    if (report != NULL) {
        *report = NULL;
    }
    hm_status status = check_call(&c, how, error);
    if (status != HM_OK) {
        return status;
    }
    c.options = *how;
    c.progress = how->progress;
    c.progress_context = how->progress_context;
    c.options.progress = show_progress;
    c.options.progress_context = &c;
    status = run(&c, report, &kept);
    return status == HM_OK ? HM_OK : hm_error_move(error, &kept);
}
