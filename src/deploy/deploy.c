/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate: source -> (verified while it is copied) -> staged -> version -> `current`. Whatever
 * goes wrong before the last step, `current` stays what it was.
 */
#include "deploy/store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define DEPLOY_FLAGS (HM_DEPLOY_DRY_RUN | HM_DEPLOY_NO_SWITCH | HM_DEPLOY_FULL)

typedef struct gate {
    const hm_gate_call *call;
    hm_slot slot;
    hm_attempt attempt;
    bool dry_run;
    bool unrecorded; /* the ledger takes nothing, as far as is known */
} gate;

static void gate_free(gate *g) {
    hm_attempt_free(&g->attempt);
    hm_slot_close(&g->slot);
}

/* ---- what the report says of the store ---------------------------------------------------- */

static hm_status note_store(gate *g, const char *action, hm_error **error) {
    const hm_store *store = g->call->store;
    hm_store_note *note = &g->attempt.report->store;
    if (note->path == NULL) {
        note->path = hm_strdup(store->path);
        note->name = hm_strdup(g->call->name);
        note->made = store->made;
        note->dry_run = g->dry_run;
        memcpy(note->previous, g->slot.current, sizeof note->previous);
    }
    note->action = action;
    memcpy(note->version, g->attempt.digest, sizeof note->version);
    memcpy(note->current, g->slot.current, sizeof note->current);
    note->switched = strcmp(note->current, note->previous) != 0;
    return note->path != NULL && note->name != NULL ? HM_OK : hm_fail_memory(error);
}

static bool may_enter(const hm_attempt *attempt) {
    return attempt->verdict == HM_OK || attempt->verdict == HM_LET_THROUGH;
}

/* ---- switching ------------------------------------------------------------------------------ */

static hm_status add_event(const gate *g, hm_plan *plan, hm_event_kind kind, hm_error **error) {
    hm_event *event = NULL;
    const hm_attempt *attempt = &g->attempt;
    bool told = kind == HM_EVENT_LET_THROUGH;
    hm_status status = hm_plan_add_event(&g->slot, plan, kind, attempt->digest, attempt->report,
                                         told ? attempt->cause : NULL, &event, error);
    if (status == HM_OK && g->slot.current[0] != '\0') {
        event->previous = hm_strdup(g->slot.current);
        status = event->previous != NULL ? HM_OK : hm_fail_memory(error);
    }
    return status;
}

static hm_status plan_switch(const gate *g, hm_plan *plan, hm_error **error) {
    bool there = !g->slot.strange && strcmp(g->slot.current, g->attempt.digest) == 0;
    if ((g->call->options->flags & HM_DEPLOY_NO_SWITCH) != 0 || there) {
        return HM_OK;
    }
    plan->switches = true;
    plan->kind = HM_EVENT_ACTIVATED;
    memcpy(plan->to, g->attempt.digest, sizeof plan->to);
    return add_event(g, plan, HM_EVENT_ACTIVATED, error);
}

/* What was in quarantine and got in leaves it by the same plan. */
static hm_status plan_release(const gate *g, hm_plan *plan, hm_error **error) {
    const hm_held *entry = g->call->entry;
    hm_event *event = NULL;
    if (entry == NULL) {
        return HM_OK;
    }
    hm_auto_free char *path = hm_textf("quarantine/%s", entry->id);
    hm_status status = path != NULL ? hm_plan_remove(plan, path, error) : hm_fail_memory(error);
    if (status == HM_OK) {
        status = hm_plan_add_event(&g->slot, plan, HM_EVENT_RELEASED, g->attempt.digest,
                                   g->attempt.report, NULL, &event, error);
    }
    if (status == HM_OK) {
        event->quarantine = hm_strdup(entry->id);
        status = event->quarantine != NULL ? HM_OK : hm_fail_memory(error);
    }
    return status;
}

static hm_status carry_out(gate *g, hm_plan *plan, const char *action, hm_error **error) {
    hm_status status = note_store(g, action, error);
    if (status == HM_OK) {
        status = plan_release(g, plan, error);
    }
    if (status == HM_OK) {
        status = plan_switch(g, plan, error);
    }
    bool idle = plan->events.count == 0 && plan->verdict_count == 0;
    if (status == HM_OK && !idle) {
        status = hm_slot_carry_out(&g->slot, plan, error);
    }
    return status == HM_OK ? note_store(g, action, error) : status;
}

/* ---- it is there already -------------------------------------------------------------------- */

static hm_status collect_proofs(const gate *g, hm_proofs *proofs, hm_error **error) {
    const hm_attempt *attempt = &g->attempt;
    return hm_proofs_collect(&attempt->job, attempt->told, attempt->report, false, proofs, error);
}

static hm_status keep_present(gate *g, bool was_read, hm_error **error) {
    hm_auto_plan plan = {.staged = NULL};
    hm_status status = hm_plan_init(&g->slot, &plan, error);
    if (status == HM_OK && was_read && g->attempt.verdict == HM_OK) {
        status = hm_plan_add_verdict(&plan, g->attempt.digest, plan.time, true, error);
    }
    return status == HM_OK ? carry_out(g, &plan, "unchanged", error) : status;
}

/* A dry run takes no lock, so a version may be replaced or removed while it is looked at. */
static bool is_overtaken(const gate *g, const hm_stored *version) {
    return g->dry_run && !hm_slot_holds(&g->slot, version);
}

/*
 * Nothing of the source is read where its files' states prove that it is what was deployed before;
 * but its signatures are, and they must be believed now. `*done` false: all is to be read.
 */
static hm_status try_recall(gate *g, bool *done, hm_error **error) {
    HM_CLEANUP(hm_stored_list_free) hm_stored_list versions = {.list = NULL};
    HM_CLEANUP(hm_proofs_free) hm_proofs proofs = {.list = NULL};
    size_t unreadable = 0;
    bool intact = false;
    *done = false;
    if ((g->call->options->flags & HM_DEPLOY_FULL) != 0 || !g->slot.exists) {
        return HM_OK;
    }
    hm_status status = hm_slot_versions(&g->slot, &versions, &unreadable, error);
    const hm_stored *known = status == HM_OK ? hm_attempt_recall(g->call->source, &versions) : NULL;
    if (known == NULL) {
        return status;
    }
    status = hm_attempt_run(g->call, &g->slot, NULL, known, &g->attempt, error);
    if (status == HM_OK && may_enter(&g->attempt)) {
        status = collect_proofs(g, &proofs, error);
    }
    bool same = status == HM_OK && may_enter(&g->attempt) &&
                strcmp(g->attempt.digest, known->digest) == 0 &&
                known->let_through == (g->attempt.verdict == HM_LET_THROUGH) &&
                hm_stored_proofs_same(known, &proofs);
    if (same) {
        status = hm_stored_intact(&g->slot, known, &intact, error);
    }
    if (same && status != HM_OK && is_overtaken(g, known)) {
        hm_error_free(error);
        status = HM_OK;
    }
    if (status == HM_OK && intact) {
        *done = true;
        return g->dry_run ? note_store(g, "unchanged", error) : keep_present(g, false, error);
    }
    hm_proofs_free(&proofs);
    hm_attempt_free(&g->attempt);
    return status;
}

/* ---- it is new, or better than what is there ---------------------------------------------- */

typedef enum presence {
    ABSENT,
    PRESENT,
    OTHER_PROOFS, /* the same files, with other signatures */
    CHANGED,      /* somebody wrote to it */
} presence;

/* `*again`: what was looked at is there no more, so that whatever was found says nothing. */
static hm_status look_once(const gate *g, const hm_proofs *proofs, presence *found, bool *again,
                           hm_error **error) {
    hm_auto_stored version = {.source = NULL};
    hm_gate_options how = HM_GATE_OPTIONS_INIT;
    bool same = false;
    hm_auto_free char *path = hm_slot_version_path(&g->slot, g->attempt.digest);
    how.jobs = g->call->options->jobs;
    *again = false;
    *found = ABSENT;
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    if (!hm_store_taken(g->call->store, path)) {
        return HM_OK;
    }
    *found = CHANGED;
    hm_auto_error cause = NULL;
    if (hm_stored_read_any(g->call->store, path, g->attempt.digest, &version, &cause) != HM_OK) {
        *again = g->dry_run && !hm_store_taken(g->call->store, path);
        return hm_error_is_memory(cause) ? hm_error_move(error, &cause) : HM_OK;
    }
    hm_status status = hm_stored_intact(&g->slot, &version, &same, error);
    if (status == HM_OK && !same) { /* or no state tells: then its bytes do */
        status = hm_stored_same(&g->slot, &version, &how, &same, error);
    }
    *again = is_overtaken(g, &version);
    if (status == HM_OK && same && version.newer) { /* nothing of it is lost on an older program */
        hm_auto_free char *record = hm_textf("%s/version.json", path);
        return record != NULL ? hm_store_fail_newer(g->call->store, record, error)
                              : hm_fail_memory(error);
    }
    if (status == HM_OK && same) {
        bool let_through = g->attempt.verdict == HM_LET_THROUGH;
        *found = hm_stored_proofs_same(&version, proofs) && version.let_through == let_through
                     ? PRESENT
                     : OTHER_PROOFS;
    }
    return status;
}

static hm_status look_at_present(const gate *g, const hm_proofs *proofs, presence *found,
                                 hm_error **error) {
    bool again = true;
    hm_status status = HM_UNDECIDED;
    for (int i = 0; i < HM_STORE_TRIES && again; i++) {
        hm_error_free(error);
        status = look_once(g, proofs, found, &again, error);
    }
    return again && status == HM_OK ? hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                                              "version %s of %s is being changed all the time",
                                              g->attempt.digest, g->slot.name)
                                    : status;
}

static const char *action_of(presence found) {
    switch (found) {
    case ABSENT: return "deployed";
    case PRESENT: return "unchanged";
    case OTHER_PROOFS: return "re-signed";
    case CHANGED: return "repaired";
    }
    return NULL;
}

/* The old version is then where the staged one was: what somebody changed is evidence. */
static hm_status plan_old(const gate *g, const hm_stage *stage, presence found, hm_plan *plan,
                          hm_error **error) {
    hm_held *held = NULL;
    hm_auto_error cause = NULL;
    hm_auto_free char *version = hm_slot_version_path(&g->slot, g->attempt.digest);
    hm_auto_free char *source = version != NULL ? hm_store_path(g->call->store, version) : NULL;
    if (source == NULL) {
        return hm_fail_memory(error);
    }
    if (found == OTHER_PROOFS) {
        return hm_plan_remove(plan, stage->relative, error);
    }
    if (found != CHANGED) {
        return HM_OK;
    }
    (void)hm_fail(&cause, HM_REFUSED, HM_REASON_DIGEST_MISMATCH,
                  "the files of version %s had been changed in the store", g->attempt.digest);
    if (hm_error_is_memory(cause)) {
        return hm_error_move(error, &cause);
    }
    hm_status status = hm_plan_hold(&g->slot, plan, stage->relative, source, g->attempt.digest,
                                    cause, g->attempt.report, &held, error);
    if (status == HM_OK) {
        held->content = true;
        held->file = g->call->source->is_file ? hm_strdup(g->call->source->name) : NULL;
        held->byte_count = g->attempt.report->byte_count;
    }
    return status;
}

static hm_status install(gate *g, const hm_proofs *proofs, hm_stage *stage, presence found,
                         hm_error **error) {
    hm_auto_plan plan = {.staged = NULL};
    bool let_through = g->attempt.verdict == HM_LET_THROUGH;
    hm_status status = hm_version_build(g->call, &g->attempt, proofs, stage, error);
    if (status == HM_OK) {
        status = hm_plan_init(&g->slot, &plan, error);
    }
    if (status != HM_OK) {
        return status;
    }
    plan.staged = hm_strdup(stage->relative);
    memcpy(plan.install, g->attempt.digest, sizeof plan.install);
    status = plan.staged != NULL ? HM_OK : hm_fail_memory(error);
    if (status == HM_OK && let_through) {
        status = add_event(g, &plan, HM_EVENT_LET_THROUGH, error);
    } else if (status == HM_OK) {
        status = hm_plan_add_verdict(&plan, g->attempt.digest, plan.time, true, error);
    }
    if (status == HM_OK) {
        status =
            add_event(g, &plan, found == CHANGED ? HM_EVENT_REPAIRED : HM_EVENT_DEPLOYED, error);
    }
    if (status == HM_OK) {
        status = plan_old(g, stage, found, &plan, error);
    }
    return status == HM_OK ? carry_out(g, &plan, action_of(found), error) : status;
}

static hm_status enter(gate *g, hm_stage *stage, hm_error **error) {
    HM_CLEANUP(hm_proofs_free) hm_proofs proofs = {.list = NULL};
    presence found = ABSENT;
    hm_status status = collect_proofs(g, &proofs, error);
    if (status == HM_OK) {
        status = look_at_present(g, &proofs, &found, error);
    }
    if (status != HM_OK || g->dry_run) {
        return status == HM_OK ? note_store(g, action_of(found), error) : status;
    }
    return found == PRESENT ? keep_present(g, true, error)
                            : install(g, &proofs, stage, found, error);
}

/* ---- it is refused -------------------------------------------------------------------------- */

/* The verdict stands, whether it can be recorded or not. */
static hm_status record_failure(gate *g, hm_stage *stage, hm_error **error) {
    hm_auto_plan plan = {.staged = NULL};
    hm_attempt *attempt = &g->attempt;
    bool refused = attempt->verdict == HM_REFUSED;
    hm_status status = hm_plan_init(&g->slot, &plan, error);
    if (status == HM_OK) {
        status = hm_plan_add_event(&g->slot, &plan, refused ? HM_EVENT_REFUSED : HM_EVENT_UNDECIDED,
                                   NULL, attempt->report, attempt->cause, NULL, error);
    }
    if (status == HM_OK && refused && g->call->entry == NULL) {
        status = hm_refused_hold(g->call, &g->slot, attempt, stage, &plan, error);
    }
    if (status == HM_OK && plan.held != NULL) {
        hm_event *first = &plan.events.list[0];
        first->quarantine = hm_strdup(plan.held->id);
        status = first->quarantine != NULL ? HM_OK : hm_fail_memory(error);
    }
    return status == HM_OK ? hm_slot_carry_out(&g->slot, &plan, error) : status;
}

/* While the copy is still there: what it lacks is room. */
static void hint_full(gate *g) {
    enum { LITTLE = 1 << 20 };
    struct statvfs disk;
    if (g->attempt.verdict == HM_UNDECIDED && !g->dry_run &&
        fstatvfs(g->call->store->fd, &disk) == 0 &&
        (disk.f_bavail < LITTLE / disk.f_frsize || (disk.f_files > 0 && disk.f_favail == 0))) {
        hm_error_add_hint(&g->attempt.cause,
                          "the disk of %s is full: make room; `hallmark gc` "
                          "removes versions that are not needed",
                          g->call->store->path);
    }
}

static hm_status fail(gate *g, hm_stage *stage, hm_error **error) {
    hm_auto_error cause = NULL;
    hm_attempt *attempt = &g->attempt;
    if (attempt->verdict == HM_USAGE) {
        return note_store(g, NULL, error);
    }
    hint_full(g);
    if (!g->dry_run && record_failure(g, stage, &cause) != HM_OK) {
        hm_store_note *note = &attempt->report->store;
        free(note->quarantine);
        note->quarantine = NULL;
        hm_status status =
            hm_report_add_warning(attempt->report, error, "this could not be recorded: %s",
                                  hm_error_message(cause));
        return status == HM_OK ? note_store(g, NULL, error) : status;
    }
    return note_store(g, NULL, error);
}

/* ---- the whole ------------------------------------------------------------------------------ */

static hm_status read_and_judge(gate *g, hm_error **error) {
    hm_auto_stage stage = {.fd = -1};
    hm_status status = g->dry_run ? HM_OK : hm_stage_open(&g->slot, &stage, error);
    if (status == HM_OK) {
        status = hm_attempt_run(g->call, &g->slot, g->dry_run ? NULL : &stage.copy, NULL,
                                &g->attempt, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (!may_enter(&g->attempt)) {
        return fail(g, &stage, error);
    }
    hm_auto_error cause = NULL;
    status = enter(g, &stage, &cause);
    if (status == HM_REFUSED) { /* of what it was verified as, no version can be made */
        hm_error_free(&g->attempt.cause);
        g->attempt.verdict = hm_error_move(&g->attempt.cause, &cause);
        g->attempt.digest[0] = '\0';
        return fail(g, &stage, error);
    }
    return status == HM_OK ? HM_OK : hm_error_move(error, &cause);
}

/* It was read before the place was locked: somebody, or a step that was completed just now, may
 * have taken it away. */
static hm_status check_entry(const gate *g, hm_error **error) {
    const hm_held *entry = g->call->entry;
    hm_auto_held still = {.since = 0};
    return entry != NULL ? hm_held_read(g->call->store, entry->id, &still, error) : HM_OK;
}

static hm_status run(gate *g, hm_error **error) {
    const hm_gate_call *call = g->call;
    bool done = false;
    hm_status status =
        hm_slot_open(call->store, call->name, g->dry_run ? HM_SLOT_READ : 0, &g->slot, error);
    if (status == HM_OK && !g->dry_run) {
        status = hm_recorder_ready(call->store->recorder, error);
        g->unrecorded = status != HM_OK;
    }
    if (status == HM_OK) {
        status = check_entry(g, error);
    }
    if (status == HM_OK) {
        status = try_recall(g, &done, error);
    }
    return status == HM_OK && !done ? read_and_judge(g, error) : status;
}

static hm_status check_call(const hm_gate_call *call, hm_error **error) {
    const hm_deploy_options *options = call->options;
    hm_status status = hm_check_options("hm_deploy", options->size, sizeof(*options),
                                        options->flags, DEPLOY_FLAGS, error);
    if (status == HM_OK && (call->store == NULL || call->source == NULL || call->policy == NULL)) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "there is no store, model or policy");
    }
    if (status == HM_OK && (call->store->flags & HM_STORE_READ) != 0 &&
        (options->flags & HM_DEPLOY_DRY_RUN) == 0) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "the store was opened to be read only");
    }
    if (status == HM_OK && options->signature_count > 1 && call->policy->path == NULL) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "several signatures are for policy files; name one");
    }
    return status == HM_OK ? hm_store_check_name(call->name, error) : status;
}

hm_status hm_gate_deploy(const hm_gate_call *call, hm_report **report, hm_error **error) {
    HM_CLEANUP(gate_free)
    gate g = {.call = call, .slot = {.lock = -1}, .attempt = {.verdict = HM_UNDECIDED}};
    hm_auto_error local = NULL;
    hm_error **cause = error != NULL ? error : &local;
    if (report != NULL) {
        *report = NULL;
    }
    hm_status status = check_call(call, cause);
    if (status != HM_OK) {
        return status;
    }
    g.dry_run = (call->options->flags & HM_DEPLOY_DRY_RUN) != 0;
    status = run(&g, cause);
    if (status != HM_OK && !g.dry_run && !g.unrecorded) {
        status = hm_slot_record_failure(&g.slot, call->source->path, cause);
    }
    if (status == HM_OK && g.attempt.verdict != HM_OK) {
        status = hm_error_move(cause, &g.attempt.cause);
    }
    if (g.attempt.report == NULL) { /* it failed before there was a verdict */
        hm_status made =
            hm_report_new(call->operation, call->source->path, &g.attempt.report, NULL);
        if (made != HM_OK || g.attempt.report == NULL) {
            return status != HM_OK ? status : made;
        }
    }
    if (g.attempt.report->store.path == NULL && note_store(&g, NULL, NULL) != HM_OK) {
        hm_store_note_free(&g.attempt.report->store);
    }
    return hm_report_finish(&g.attempt.report, status, cause, report);
}

hm_status hm_deploy(hm_store *store, hm_model *source, const char *name, const hm_policy *policy,
                    const hm_deploy_options *options, hm_report **report, hm_error **error) {
    static const hm_deploy_options defaults = HM_DEPLOY_OPTIONS_INIT;
    const hm_gate_call call = {
        .store = store,
        .source = source,
        .name = name,
        .policy = policy,
        .options = options != NULL ? options : &defaults,
        .operation = HM_OPERATION_DEPLOY,
    };
    return hm_gate_deploy(&call, report, error);
}
