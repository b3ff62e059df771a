/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store serves, at a glance. Only looks: without the lock, so that what is told may be a
 * moment old, and as whoever may read the store.
 */
#include "deploy/tell.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef enum serving {
    SERVING,    /* `current` leads to a version */
    BAD,        /* likewise, and that was found bad when it was verified last */
    NEWER,      /* likewise, and its version.json is of a newer program */
    UNREADABLE, /* likewise, and its version.json cannot be read */
    ASTRAY,     /* `current` is not what this program makes of it, or is gone */
    TAKEN_AWAY, /* `current` was taken away by the store, since nothing was good */
    NOTHING,    /* nothing was ever current */
} serving;

typedef struct held_view {
    hm_held_all all;
    bool known; /* quarantine can be read */
} held_view;

typedef struct model_view {
    hm_slot slot;
    hm_stored_list versions;
    size_t unreadable;
    const hm_stored *current;        /* NULL: there is none, or it cannot be read */
    const hm_activation *activation; /* the last one */
    char good[HM_VERSION_DIGITS + 1];
    bool is_newer; /* the record of the current one is of a newer program */
    serving state;
} model_view;

static void model_view_free(model_view *view) {
    hm_stored_list_free(&view->versions);
    hm_slot_close(&view->slot);
}

/* ---- looking -------------------------------------------------------------------------------- */

static serving state_of(const model_view *view) {
    const hm_slot *slot = &view->slot;
    if (slot->current[0] == '\0') {
        const hm_activation *last = view->activation;
        bool gone = last != NULL && last->version[0] != '\0';
        return slot->strange || gone ? ASTRAY : last != NULL ? TAKEN_AWAY : NOTHING;
    }
    const hm_verdict *verdict = hm_slot_state_verdict(&slot->state, slot->current);
    return verdict != NULL && !verdict->good ? BAD
           : view->current != NULL           ? SERVING
           : view->is_newer                  ? NEWER
                                             : UNREADABLE;
}

/* Of the current version, which is not among those that can be read. */
static hm_status look_for_newer(model_view *view, hm_error **error) {
    hm_auto_stored version = {.source = NULL};
    hm_auto_free char *path = hm_slot_version_path(&view->slot, view->slot.current);
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    view->is_newer =
        hm_stored_read_any(view->slot.store, path, view->slot.current, &version, NULL) == HM_OK &&
        version.newer;
    return HM_OK;
}

static bool same_step(const hm_slot *a, const hm_slot *b) {
    return strcmp(a->current, b->current) == 0 && a->state.count == b->state.count &&
           (a->state.count == 0 ||
            hm_slot_state_last(&a->state)->time == hm_slot_state_last(&b->state)->time);
}

/* Whether what was read is of one moment: no step came in between, and no repair. */
static bool is_of_one_moment(const model_view *view) {
    hm_auto_slot now = {.lock = -1};
    hm_auto_stored version = {.source = NULL};
    const hm_slot *slot = &view->slot;
    const uint64_t flags = HM_SLOT_READ | HM_SLOT_EXISTING;
    if (hm_slot_open(slot->store, slot->name, flags, &now, NULL) != HM_OK ||
        !same_step(slot, &now)) {
        return false;
    }
    if (view->current != NULL) {
        return hm_slot_holds(slot, view->current);
    }
    hm_auto_free char *path = hm_slot_version_path(slot, slot->current);
    return slot->current[0] == '\0' || view->is_newer || path == NULL ||
           hm_stored_read_any(slot->store, path, slot->current, &version, NULL) != HM_OK;
}

static hm_status look_once(hm_store *store, const char *name, model_view *view, hm_error **error) {
    hm_slot *slot = &view->slot;
    hm_status status = hm_slot_open(store, name, HM_SLOT_READ | HM_SLOT_EXISTING, slot, error);
    if (status == HM_OK) {
        status = hm_slot_versions(slot, &view->versions, &view->unreadable, error);
    }
    if (status == HM_OK) {
        status = hm_slot_last_good(slot, view->good, error);
    }
    for (size_t i = 0; i < view->versions.count; i++) {
        if (strcmp(view->versions.list[i].digest, slot->current) == 0) {
            view->current = &view->versions.list[i];
        }
    }
    if (status == HM_OK && view->current == NULL && slot->current[0] != '\0') {
        status = look_for_newer(view, error);
    }
    if (status == HM_OK) {
        view->activation = hm_slot_state_last(&slot->state);
        view->state = state_of(view);
    }
    return status;
}

/* Of a model at which somebody is at work all the time what was seen last is told. */
static hm_status look(hm_store *store, const char *name, model_view *view, hm_error **error) {
    hm_status status = look_once(store, name, view, error);
    for (int i = 1; i < HM_STORE_TRIES && status == HM_OK && !is_of_one_moment(view); i++) {
        model_view_free(view);
        *view = (model_view){.slot = {.lock = -1}};
        status = look_once(store, name, view, error);
    }
    return status;
}

/* Quarantine is its owner's: others see the rest. */
static hm_status look_at_held(const hm_store *store, held_view *held, hm_error **error) {
    hm_auto_error cause = NULL;
    held->known = hm_held_read_all(store, &held->all, &cause) == HM_OK;
    return hm_error_is_memory(cause) ? hm_error_move(error, &cause) : HM_OK;
}

static bool is_of(const hm_held *held, const char *name) {
    return held->model != NULL && strcmp(held->model, name) == 0;
}

static size_t count_held(const held_view *held, const char *name) {
    size_t count = 0;
    for (size_t i = 0; i < held->all.count; i++) {
        count += is_of(&held->all.list[i], name);
    }
    return count;
}

/* What a person should know at once, or NULL. */
static const char *warning_of(serving state) {
    switch (state) {
    case BAD: return "what is current was found bad when it was verified last, and is still served";
    case NEWER: return "the record of the version that is current is of a newer Hallmark";
    case UNREADABLE: return "the record of the version that is current cannot be read";
    case ASTRAY: return "`current` does not lead to a version of the store";
    case TAKEN_AWAY:
        return "nothing is served: `current` was taken away, since no version was good";
    case NOTHING: return "nothing was made current yet";
    case SERVING: break;
    }
    return NULL;
}

static const char *word_of(serving state) {
    switch (state) {
    case SERVING: return "serving";
    case BAD: return "bad";
    case NEWER: return "newer";
    case UNREADABLE: return "unreadable";
    case ASTRAY: return "astray";
    case TAKEN_AWAY: return "taken-away";
    case NOTHING: break;
    }
    return "none";
}

/* ---- for programs --------------------------------------------------------------------------- */

static void write_verdict(hm_json_writer *w, const hm_slot *slot, const char *digest) {
    const hm_verdict *verdict = hm_slot_state_verdict(&slot->state, digest);
    hm_json_member_time(w, "last_verified", verdict != NULL ? verdict->time : HM_TIME_NEVER);
    hm_json_name(w, "good");
    if (verdict != NULL) {
        hm_json_bool(w, verdict->good);
    } else {
        hm_json_null(w);
    }
}

static void write_signer(hm_json_writer *w, const hm_stored *version) {
    hm_tell_member(w, "signer", version != NULL ? version->signer : NULL);
    hm_tell_member(w, "key_fingerprint", version != NULL ? version->fingerprint : NULL);
    hm_json_name(w, "key_version");
    if (version != NULL && version->key_version > 0) {
        hm_json_number(w, version->key_version);
    } else {
        hm_json_null(w);
    }
    hm_json_member_bool(w, "let_through", version != NULL && version->let_through);
    hm_json_member_time(w, "deployed", version != NULL ? version->deployed : HM_TIME_NEVER);
}

static void write_version(hm_json_writer *w, const hm_slot *slot, const hm_stored *version) {
    hm_json_begin_object(w);
    hm_json_member(w, "version", version->digest);
    write_signer(w, version);
    write_verdict(w, slot, version->digest);
    hm_tell_member(w, "source", version->source);
    hm_json_member_number(w, "files", version->file_count);
    hm_json_member_number(w, "bytes", version->byte_count);
    hm_json_end_object(w);
}

static void write_held(hm_json_writer *w, const hm_store *store, const held_view *held,
                       const char *name) {
    hm_json_name(w, "quarantine");
    if (!held->known) {
        hm_json_null(w);
        return;
    }
    hm_json_begin_array(w);
    for (size_t i = 0; i < held->all.count; i++) {
        if (is_of(&held->all.list[i], name)) {
            hm_held_tell(w, store, &held->all.list[i]);
        }
    }
    hm_json_end_array(w);
}

static void write_model(hm_json_writer *w, const model_view *view, const held_view *held) {
    const hm_slot *slot = &view->slot;
    hm_json_begin_object(w);
    hm_json_member(w, "name", slot->name);
    hm_json_member(w, "state", word_of(view->state));
    hm_tell_member(w, "current", slot->current);
    write_signer(w, view->current);
    hm_json_member_time(w, "activated",
                        view->activation != NULL ? view->activation->time : HM_TIME_NEVER);
    write_verdict(w, slot, slot->current);
    hm_tell_member(w, "last_good", view->good);
    hm_json_member_bool(w, "interrupted", slot->interrupted);
    hm_json_name(w, "versions");
    hm_json_begin_array(w);
    for (size_t i = 0; i < view->versions.count; i++) {
        write_version(w, slot, &view->versions.list[i]);
    }
    hm_json_end_array(w);
    hm_json_member_number(w, "unreadable", view->unreadable);
    write_held(w, slot->store, held, slot->name);
    hm_json_end_object(w);
}

/* ---- for people ----------------------------------------------------------------------------- */

static const char *signed_by(const hm_stored *version) {
    return version == NULL           ? NULL
           : version->let_through    ? "nobody"
           : version->signer != NULL ? version->signer
                                     : "pinned";
}

/* A key that the policy has no name for gets as many digits as a version. */
static hm_status add_signer(hm_table *table, const hm_stored *version, hm_error **error) {
    const char *signer = signed_by(version);
    bool key =
        signer != NULL && version->fingerprint != NULL && strcmp(signer, version->fingerprint) == 0;
    return key ? hm_table_add_version(table, signer, error) : hm_table_add(table, signer, error);
}

static hm_status add_verdict(hm_table *table, const hm_slot *slot, const char *digest,
                             hm_error **error) {
    const hm_verdict *verdict = hm_slot_state_verdict(&slot->state, digest);
    hm_auto_buf text = {0};
    if (verdict == NULL) {
        return hm_table_add(table, NULL, error);
    }
    hm_buf_add_time(&text, verdict->time);
    hm_buf_add_text(&text, verdict->good ? "" : ": bad");
    hm_status status = hm_buf_check(&text, error);
    return status == HM_OK ? hm_table_add(table, (const char *)text.data, error) : status;
}

static hm_status add_titles(hm_table *table, const char *const *titles, size_t count,
                            hm_error **error) {
    hm_status status = HM_OK;
    table->columns = count;
    for (size_t i = 0; i < count && status == HM_OK; i++) {
        status = hm_table_add(table, titles[i], error);
    }
    return status;
}

static hm_status add_row(hm_table *table, const model_view *view, const held_view *held,
                         hm_error **error) {
    const hm_slot *slot = &view->slot;
    const hm_stored *current = view->current;
    hm_status status = hm_table_add(table, slot->name, error);
    if (status == HM_OK) {
        status = hm_table_add_version(table, slot->current, error);
    }
    if (status == HM_OK) {
        status = add_signer(table, current, error);
    }
    if (status == HM_OK) {
        status = current != NULL ? hm_table_add_time(table, current->deployed, error)
                                 : hm_table_add(table, NULL, error);
    }
    if (status == HM_OK) {
        status = add_verdict(table, slot, slot->current, error);
    }
    if (status == HM_OK) {
        status = held->known ? hm_table_add_number(table, count_held(held, slot->name), error)
                             : hm_table_add(table, "?", error);
    }
    return status;
}

static void tell_warnings(hm_buf *out, const model_view *view) {
    const char *warning = warning_of(view->state);
    if (warning != NULL) {
        hm_buf_add_format(out, "%s: %s\n", view->slot.name, warning);
    }
    if (view->slot.interrupted) {
        hm_buf_add_format(out,
                          "%s: a step is under way or was interrupted; the next command "
                          "completes it\n",
                          view->slot.name);
    }
    if (view->versions.newer > 0) {
        hm_buf_add_format(out, "%s: %zu of its versions are of a newer Hallmark\n", view->slot.name,
                          view->versions.newer);
    }
    if (view->unreadable > view->versions.newer) {
        hm_buf_add_format(out, "%s: %zu of its versions cannot be read\n", view->slot.name,
                          view->unreadable - view->versions.newer);
    }
}

static hm_status tell_versions(const model_view *view, hm_buf *out, hm_error **error) {
    static const char *const titles[] = {"VERSION", "SIGNED BY", "DEPLOYED", "LAST VERIFIED", "IS"};
    hm_auto_table table = {.columns = 1};
    hm_status status = add_titles(&table, titles, sizeof(titles) / sizeof(titles[0]), error);
    for (size_t i = 0; i < view->versions.count && status == HM_OK; i++) {
        const hm_stored *version = &view->versions.list[i];
        status = hm_table_add_version(&table, version->digest, error);
        if (status == HM_OK) {
            status = add_signer(&table, version, error);
        }
        if (status == HM_OK) {
            status = hm_table_add_time(&table, version->deployed, error);
        }
        if (status == HM_OK) {
            status = add_verdict(&table, &view->slot, version->digest, error);
        }
        if (status == HM_OK) {
            status = hm_table_add(&table,
                                  version == view->current                   ? "current"
                                  : strcmp(version->digest, view->good) == 0 ? "last good"
                                                                             : NULL,
                                  error);
        }
    }
    if (status == HM_OK && view->versions.count > 0) {
        hm_buf_add_byte(out, '\n');
        hm_table_write(&table, out);
    }
    return status;
}

static void tell_held(const held_view *held, const char *name, hm_buf *out) {
    for (size_t i = 0; i < held->all.count; i++) {
        const hm_held *one = &held->all.list[i];
        if (is_of(one, name)) {
            hm_buf_add_format(out, "%-14s %s  %.12s  since ", "quarantine", one->id,
                              one->digest != NULL ? one->digest : "-");
            hm_buf_add_time(out, one->since);
            hm_buf_add_format(out, "  %s\n", hm_reason_word(one->reason));
        }
    }
}

/* One model in full. */
static hm_status tell_model(const model_view *view, const held_view *held, hm_buf *out,
                            hm_error **error) {
    const hm_slot *slot = &view->slot;
    const hm_stored *current = view->current;
    const hm_verdict *verdict = hm_slot_state_verdict(&slot->state, slot->current);
    hm_tell_line(out, "model", slot->name);
    hm_tell_line(out, "current", slot->current[0] != '\0' ? slot->current : "none");
    hm_tell_line(out, "signed by", signed_by(current));
    if (current != NULL) {
        hm_tell_line(out, "key", current->fingerprint);
        hm_tell_line(out, "from", current->source);
        hm_tell_time(out, "deployed", current->deployed);
    }
    if (view->activation != NULL) {
        hm_tell_time(out, "since", view->activation->time);
    }
    if (verdict != NULL) {
        hm_tell_time(out, verdict->good ? "last verified" : "found bad", verdict->time);
    }
    tell_held(held, slot->name, out);
    tell_warnings(out, view);
    return tell_versions(view, out, error);
}

/* ---- the verb ------------------------------------------------------------------------------- */

typedef struct telling {
    hm_store *store;
    bool json;
    bool one; /* a model in full, not a table */
    held_view held;
    hm_buf out;
    hm_buf warnings;
    hm_json_writer w;
    hm_table table;
} telling;

static void telling_free(telling *t) {
    hm_held_all_free(&t->held.all);
    hm_buf_free(&t->out);
    hm_buf_free(&t->warnings);
    hm_table_free(&t->table);
}

/* A model that cannot be looked at does not hide the others. */
static hm_status tell(telling *t, const char *name, hm_error **error) {
    HM_CLEANUP(model_view_free) model_view view = {.slot = {.lock = -1}};
    hm_auto_error cause = NULL;
    hm_status status = look(t->store, name, &view, &cause);
    if (status != HM_OK) {
        if (!t->one && !t->json && !hm_error_is_memory(cause)) {
            hm_buf_add_format(&t->warnings, "%s: %s\n", name, hm_error_message(cause));
        }
        return hm_error_move(error, &cause);
    }
    if (t->json) {
        write_model(&t->w, &view, &t->held);
        return HM_OK;
    }
    if (t->one) {
        return tell_model(&view, &t->held, &t->out, error);
    }
    tell_warnings(&t->warnings, &view);
    return add_row(&t->table, &view, &t->held, error);
}

static hm_status tell_all(telling *t, hm_error **error) {
    static const char *const titles[] = {"MODEL",    "CURRENT",       "SIGNED BY",
                                         "DEPLOYED", "LAST VERIFIED", "QUARANTINE"};
    char **names = NULL;
    size_t count = 0;
    hm_status status = hm_store_names(t->store, &names, &count, error);
    hm_status worst = HM_OK;
    if (status == HM_OK && count > 0 && !t->json) {
        status = add_titles(&t->table, titles, sizeof(titles) / sizeof(titles[0]), error);
    }
    for (size_t i = 0; i < count && status == HM_OK; i++) {
        hm_auto_error cause = NULL;
        worst = tell(t, names[i], &cause) == HM_OK ? worst : hm_error_move(error, &cause);
    }
    hm_store_names_free(&names, count);
    if (!t->json) {
        hm_tell_line(&t->out, "store", t->store->path);
        hm_table_write(&t->table, &t->out);
        hm_buf_add_text(&t->out, count == 0 ? "no models\n" : "");
        hm_buf_add(&t->out, t->warnings.data, t->warnings.length);
    }
    return status == HM_OK ? worst : status;
}

static void begin(telling *t) {
    t->w = (hm_json_writer){.out = &t->out, .indent = 2};
    hm_json_begin_object(&t->w);
    hm_json_member(&t->w, "schema", "hallmark-status-v1");
    hm_json_member(&t->w, "store", t->store->path);
    hm_json_name(&t->w, "models");
    hm_json_begin_array(&t->w);
}

hm_status hm_store_status(hm_store *store, const char *name, uint64_t flags, char **text,
                          hm_error **error) {
    HM_CLEANUP(telling_free)
    telling t = {.store = store,
                 .json = (flags & HM_STORE_JSON) != 0,
                 .one = name != NULL,
                 .table = {.columns = 1}};
    hm_auto_error cause = NULL;
    *text = NULL;
    hm_status status = hm_check_options("hm_store_status", 0, 0, flags, HM_STORE_JSON, error);
    if (status == HM_OK) {
        status = look_at_held(store, &t.held, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (t.json) {
        begin(&t);
    }
    status = name != NULL ? tell(&t, name, error) : tell_all(&t, error);
    if (t.json) {
        hm_json_end_array(&t.w);
        hm_json_end_object(&t.w);
    }
    if (status != HM_OK && name != NULL) {
        return status;
    }
    if (hm_buf_hand_over(&t.out, text, &cause) != HM_OK) {
        return status == HM_OK ? hm_error_move(error, &cause) : status;
    }
    return status;
}
