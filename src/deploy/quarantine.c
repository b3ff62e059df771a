/* SPDX-License-Identifier: Apache-2.0 */
/* What is in quarantine, for people and programs. */
#include "deploy/tell.h"

#include <stdlib.h>
#include <string.h>

hm_status hm_held_find(const hm_store *store, const char *text, hm_held *held, hm_error **error) {
    HM_CLEANUP(hm_texts_free) hm_texts ids = {0};
    size_t length = text != NULL ? strlen(text) : 0;
    size_t count = 0;
    const char *found = NULL;
    hm_status status = hm_held_list(store, &ids, error);
    for (size_t i = 0; i < ids.count && length > 0; i++) {
        if (strncmp(ids.list[i], text, length) == 0) {
            found = ids.list[i];
            count++;
        }
    }
    if (status == HM_OK && count != 1) {
        status = count == 0
                     ? hm_fail(error, HM_USAGE, HM_REASON_NONE,
                               "nothing in quarantine has the id \"%s\"", text != NULL ? text : "")
                     : hm_fail(error, HM_USAGE, HM_REASON_NONE,
                               "%zu ids in quarantine begin with \"%s\"", count, text);
        hm_error_add_hint(error, "`hallmark quarantine list` names them");
    }
    return status == HM_OK ? hm_held_read(store, found, held, error) : status;
}

/* ---- all of it ------------------------------------------------------------------------------ */

void hm_held_all_free(hm_held_all *all) {
    for (size_t i = 0; i < all->count; i++) {
        hm_held_free(&all->list[i]);
    }
    free(all->list);
    hm_texts_free(&all->unreadable);
    *all = (hm_held_all){.list = NULL};
}

static int compare_age(const void *a, const void *b) {
    const hm_held *left = a;
    const hm_held *right = b;
    if (left->since != right->since) {
        return left->since < right->since ? -1 : 1;
    }
    return strcmp(left->id, right->id);
}

/* An entry that cannot be read is told of by its id: it is still there to be looked at. */
hm_status hm_held_read_all(const hm_store *store, hm_held_all *all, hm_error **error) {
    HM_CLEANUP(hm_texts_free) hm_texts ids = {0};
    hm_status status = hm_held_list(store, &ids, error);
    for (size_t i = 0; i < ids.count && status == HM_OK; i++) {
        hm_auto_error cause = NULL;
        if (!hm_grow(&all->list, all->count, &all->capacity, sizeof(hm_held))) {
            return hm_fail_memory(error);
        }
        hm_held *made = &all->list[all->count];
        *made = (hm_held){.since = 0};
        if (hm_held_read(store, ids.list[i], made, &cause) == HM_OK) {
            all->count++;
        } else {
            hm_held_free(made);
            status = hm_error_is_memory(cause) ? hm_error_move(error, &cause)
                     : hm_held_there(store, ids.list[i])
                         ? hm_texts_add(&all->unreadable, ids.list[i], error)
                         : HM_OK;
        }
    }
    if (all->count > 1) {
        qsort(all->list, all->count, sizeof(hm_held), compare_age);
    }
    return status;
}

/* ---- for programs --------------------------------------------------------------------------- */

static char *place_of(const hm_store *store, const hm_held *held) {
    hm_auto_free char *relative = hm_textf("quarantine/%s", held->id);
    return relative != NULL ? hm_store_path(store, relative) : NULL;
}

void hm_held_tell(hm_json_writer *w, const hm_store *store, const hm_held *held) {
    hm_auto_free char *place = place_of(store, held);
    hm_json_begin_object(w);
    hm_json_member(w, "id", held->id);
    hm_tell_member(w, "name", held->model);
    hm_tell_member(w, "version", held->digest);
    hm_tell_member(w, "source", held->source);
    hm_json_member_time(w, "since", held->since);
    hm_tell_member(w, "reason", hm_reason_word(held->reason));
    hm_tell_member(w, "message", held->message);
    hm_json_member(w, "found", held->refused ? "on-its-way-in" : "in-the-store");
    hm_json_member_bool(w, "content", held->content);
    hm_json_member_number(w, "bytes", held->byte_count);
    hm_tell_member(w, "path", place);
    hm_tell_member(w, "event", held->event);
    hm_json_end_object(w);
    w->out->failed = w->out->failed || place == NULL;
}

static void begin(hm_json_writer *w, const hm_store *store) {
    hm_json_begin_object(w);
    hm_json_member(w, "schema", "hallmark-quarantine-v1");
    hm_json_member(w, "store", store->path);
    hm_json_name(w, "entries");
    hm_json_begin_array(w);
}

static void end(hm_json_writer *w, const hm_texts *unreadable) {
    hm_json_end_array(w);
    hm_json_name(w, "unreadable");
    hm_json_begin_array(w);
    for (size_t i = 0; i < unreadable->count; i++) {
        hm_json_text(w, unreadable->list[i]);
    }
    hm_json_end_array(w);
    hm_json_end_object(w);
}

/* ---- one ------------------------------------------------------------------------------------ */

static void tell_entry(const hm_store *store, const hm_held *held, hm_buf *out) {
    hm_auto_free char *place = place_of(store, held);
    hm_auto_buf size = {0};
    hm_tell_size(&size, held->byte_count);
    hm_tell_line(out, "id", held->id);
    hm_tell_line(out, "model", held->model);
    hm_tell_line(out, "version", held->digest);
    hm_tell_time(out, "since", held->since);
    hm_tell_line(out, "found", held->refused ? "on its way into the store" : "in the store");
    hm_tell_line(out, "from", held->source);
    hm_tell_line(out, "reason", hm_reason_word(held->reason));
    hm_tell_line(out, "why", held->message);
    hm_tell_line(out, "held",
                 held->content ? (const char *)size.data : "its signature files, not the model");
    hm_tell_line(out, "place", place);
    hm_tell_line(out, "event", held->event);
    out->failed = out->failed || place == NULL || size.failed;
}

static hm_status describe_one(const hm_store *store, const char *id, bool json, hm_buf *out,
                              hm_error **error) {
    hm_auto_held held = {.since = 0};
    const hm_texts none = {0};
    hm_json_writer w = {.out = out, .indent = 2};
    hm_status status = hm_held_find(store, id, &held, error);
    if (status == HM_OK && json) {
        begin(&w, store);
        hm_held_tell(&w, store, &held);
        end(&w, &none);
    } else if (status == HM_OK) {
        tell_entry(store, &held, out);
    }
    return status;
}

/* ---- all ------------------------------------------------------------------------------------ */

static hm_status add_row(hm_table *table, const hm_held *held, hm_error **error) {
    hm_status status = hm_table_add(table, held->id, error);
    if (status == HM_OK) {
        status = hm_table_add(table, held->model, error);
    }
    if (status == HM_OK) {
        status = hm_table_add_version(table, held->digest, error);
    }
    if (status == HM_OK) {
        status = hm_table_add_time(table, held->since, error);
    }
    if (status == HM_OK) {
        status = held->content ? hm_table_add_size(table, held->byte_count, error)
                               : hm_table_add(table, "-", error);
    }
    if (status == HM_OK) {
        status = hm_table_add(table, hm_reason_word(held->reason), error);
    }
    return status == HM_OK ? hm_table_add(table, held->source, error) : status;
}

static hm_status add_heading(hm_table *table, hm_error **error) {
    static const char *const titles[] = {"ID",   "MODEL",  "VERSION", "SINCE",
                                         "SIZE", "REASON", "FROM"};
    hm_status status = HM_OK;
    table->columns = sizeof(titles) / sizeof(titles[0]);
    for (size_t i = 0; i < table->columns && status == HM_OK; i++) {
        status = hm_table_add(table, titles[i], error);
    }
    return status;
}

static hm_status tell_table(const hm_held_all *all, hm_buf *out, hm_error **error) {
    hm_auto_table table = {.columns = 1};
    hm_status status = all->count > 0 ? add_heading(&table, error) : HM_OK;
    for (size_t i = 0; i < all->count && status == HM_OK; i++) {
        status = add_row(&table, &all->list[i], error);
    }
    if (status == HM_OK) {
        hm_table_write(&table, out);
        for (size_t i = 0; i < all->unreadable.count; i++) {
            hm_buf_add_format(out, "%s  its entry.json cannot be read\n", all->unreadable.list[i]);
        }
        hm_buf_add_text(out, out->length == 0 ? "nothing is in quarantine\n" : "");
    }
    return status;
}

static hm_status describe_all(const hm_store *store, bool json, hm_buf *out, hm_error **error) {
    HM_CLEANUP(hm_held_all_free) hm_held_all all = {.list = NULL};
    hm_json_writer w = {.out = out, .indent = 2};
    hm_status status = hm_held_read_all(store, &all, error);
    if (status != HM_OK || !json) {
        return status == HM_OK ? tell_table(&all, out, error) : status;
    }
    begin(&w, store);
    for (size_t i = 0; i < all.count; i++) {
        hm_held_tell(&w, store, &all.list[i]);
    }
    end(&w, &all.unreadable);
    return HM_OK;
}

hm_status hm_quarantine_describe(hm_store *store, const char *id, uint64_t flags, char **text,
                                 hm_error **error) {
    hm_auto_buf out = {0};
    bool json = (flags & HM_STORE_JSON) != 0;
    *text = NULL;
    hm_status status =
        hm_check_options("hm_quarantine_describe", 0, 0, flags, HM_STORE_JSON, error);
    if (status == HM_OK) {
        status = id != NULL ? describe_one(store, id, json, &out, error)
                            : describe_all(store, json, &out, error);
    }
    return status == HM_OK ? hm_buf_hand_over(&out, text, error) : status;
}
