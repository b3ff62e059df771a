/* SPDX-License-Identifier: Apache-2.0 */
/* Removes versions that nobody will go back to. */
#include "base/json.h"
#include "deploy/store.h"

#include <stdlib.h>
#include <string.h>

typedef struct sweep {
    hm_store *store;
    uint64_t keep;
    bool dry_run;
    bool json;
    hm_buf *out;
    hm_json_writer w;
    size_t removed;
} sweep;

/* The newest `keep` versions stay, and in any case the current and the last known good one. */
static hm_status choose(const sweep *s, const hm_slot *slot, const hm_stored_list *versions,
                        bool *goes, hm_error **error) {
    char good[HM_VERSION_DIGITS + 1] = "";
    hm_status status = hm_slot_last_good(slot, good, error);
    for (size_t i = 0; i < versions->count && status == HM_OK; i++) {
        const char *digest = versions->list[i].digest;
        goes[i] = i >= s->keep && strcmp(digest, slot->current) != 0 && strcmp(digest, good) != 0;
    }
    return status;
}

static void tell(sweep *s, const hm_slot *slot, const hm_stored *version, bool goes) {
    s->removed += goes;
    if (s->json) {
        hm_json_begin_object(&s->w);
        hm_json_member(&s->w, "version", version->digest);
        hm_json_member_time(&s->w, "deployed", version->deployed);
        hm_json_member_number(&s->w, "bytes", version->byte_count);
        hm_json_member_bool(&s->w, "removed", goes);
        hm_json_end_object(&s->w);
    } else if (goes) {
        hm_buf_add_format(s->out, "%s: %s %s of %s, deployed ", slot->name,
                          s->dry_run ? "would remove" : "removed", version->digest, slot->name);
        hm_buf_add_time(s->out, version->deployed);
        hm_buf_add_text(s->out, "\n");
    }
}

/* A version is renamed away before it is deleted: none is ever there in part. */
static hm_status remove_versions(hm_slot *slot, const hm_stored_list *versions, const bool *goes,
                                 hm_error **error) {
    hm_auto_plan plan = {.switches = false};
    bool any = false;
    hm_status status = hm_plan_init(slot, &plan, error);
    for (size_t i = 0; i < versions->count && status == HM_OK; i++) {
        hm_auto_free char *path = hm_slot_version_path(slot, versions->list[i].digest);
        hm_event *event = NULL;
        if (!goes[i]) {
            continue;
        }
        any = true;
        status = path != NULL ? hm_plan_remove(&plan, path, error) : hm_fail_memory(error);
        if (status == HM_OK) {
            status = hm_plan_add_event(slot, &plan, HM_EVENT_REMOVED, versions->list[i].digest,
                                       NULL, NULL, &event, error);
        }
    }
    return status == HM_OK && any ? hm_slot_carry_out(slot, &plan, error) : status;
}

static hm_status sweep_model(sweep *s, const char *name, hm_error **error) {
    hm_auto_slot slot = {.lock = -1};
    HM_CLEANUP(hm_stored_list_free) hm_stored_list versions = {0};
    size_t unreadable = 0;
    uint64_t flags = HM_SLOT_EXISTING | (s->dry_run ? HM_SLOT_READ : 0);
    hm_status status = hm_slot_open(s->store, name, flags, &slot, error);
    if (status == HM_OK) {
        status = hm_slot_versions(&slot, &versions, &unreadable, error);
    }
    if (status == HM_OK && versions.newer > 0) { /* what is to be kept, only that one knows */
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                      "%zu of the versions of %s are of a newer Hallmark than this one: none was "
                      "removed",
                      versions.newer, name);
        hm_error_add_hint(error, "use the newer Hallmark on this host");
        return HM_UNDECIDED;
    }
    hm_auto_free bool *goes = hm_alloc(versions.count, sizeof *goes);
    if (status == HM_OK) {
        status = goes != NULL ? choose(s, &slot, &versions, goes, error) : hm_fail_memory(error);
    }
    if (status == HM_OK && !s->dry_run) {
        status = remove_versions(&slot, &versions, goes, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (s->json) {
        hm_json_begin_object(&s->w);
        hm_json_member(&s->w, "name", name);
        hm_json_member_number(&s->w, "unreadable", unreadable);
        hm_json_name(&s->w, "versions");
        hm_json_begin_array(&s->w);
    }
    for (size_t i = 0; i < versions.count; i++) {
        tell(s, &slot, &versions.list[i], goes[i]);
    }
    if (s->json) {
        hm_json_end_array(&s->w);
        hm_json_end_object(&s->w);
    }
    return HM_OK;
}

/* Of several models one that cannot be swept does not save the others. */
static hm_status sweep_all(sweep *s, hm_error **error) {
    char **names = NULL;
    size_t count = 0;
    hm_status status = hm_store_names(s->store, &names, &count, error);
    for (size_t i = 0; i < count; i++) {
        hm_auto_error cause = NULL;
        if (sweep_model(s, names[i], &cause) != HM_OK) {
            status = hm_error_move(error, &cause);
        }
    }
    hm_store_names_free(&names, count);
    return status;
}

static void begin(sweep *s) {
    if (s->json) {
        s->w = (hm_json_writer){.out = s->out, .indent = 2};
        hm_json_begin_object(&s->w);
        hm_json_member(&s->w, "schema", "hallmark-gc-v1");
        hm_json_member(&s->w, "store", s->store->path);
        hm_json_member_bool(&s->w, "dry_run", s->dry_run);
        hm_json_member_number(&s->w, "keep", s->keep);
        hm_json_name(&s->w, "models");
        hm_json_begin_array(&s->w);
    }
}

/* That there is nothing is known only of models that could be looked at. */
static void end(sweep *s, bool complete) {
    if (s->json) {
        hm_json_end_array(&s->w);
        hm_json_end_object(&s->w);
    } else if (s->removed == 0 && complete) {
        hm_buf_add_text(s->out, "nothing to remove\n");
    }
}

hm_status hm_store_gc(hm_store *store, const char *name, uint64_t keep, uint64_t flags, char **text,
                      hm_error **error) {
    hm_auto_buf out = {0};
    sweep s = {
        .store = store,
        .keep = keep > 0 ? keep : store->config->keep,
        .dry_run = (flags & HM_GC_DRY_RUN) != 0,
        .json = (flags & HM_STORE_JSON) != 0,
        .out = &out,
    };
    if (text != NULL) {
        *text = NULL;
    }
    hm_status status =
        hm_check_options("hm_store_gc", 0, 0, flags, HM_STORE_JSON | HM_GC_DRY_RUN, error);
    if (status == HM_OK && !s.dry_run && (store->flags & HM_STORE_READ) != 0) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "hm_store_gc removes: the store is open for reading only");
    }
    if (status != HM_OK) {
        return status;
    }
    begin(&s);
    status = name != NULL ? sweep_model(&s, name, error) : sweep_all(&s, error);
    end(&s, status == HM_OK);
    hm_auto_error cause = NULL;
    if (text != NULL && hm_buf_hand_over(&out, text, &cause) != HM_OK && status == HM_OK) {
        status = hm_error_move(error, &cause);
    }
    return status;
}
