/* SPDX-License-Identifier: Apache-2.0 */
/* What the store tells of itself: tables and lines for people, and finding what they mean. */
#ifndef HM_TELL_H
#define HM_TELL_H

#include "deploy/store.h"

/* Texts in columns, a heading above them. What is foreign is escaped. */
typedef struct hm_table {
    hm_texts cells; /* row by row */
    size_t columns;
} hm_table;
/* NULL and "" become "-". */
HM_MUST_USE hm_status hm_table_add(hm_table *table, const char *text, hm_error **error);
HM_MUST_USE hm_status hm_table_add_time(hm_table *table, int64_t time, hm_error **error);
HM_MUST_USE hm_status hm_table_add_size(hm_table *table, uint64_t bytes, hm_error **error);
HM_MUST_USE hm_status hm_table_add_number(hm_table *table, uint64_t number, hm_error **error);
/* As many digits of a version as tell it from others at a glance. */
HM_MUST_USE hm_status hm_table_add_version(hm_table *table, const char *digest, hm_error **error);
void hm_table_write(const hm_table *table, hm_buf *out);
static inline void hm_table_free(hm_table *table) {
    hm_texts_free(&table->cells);
}
#define hm_auto_table HM_CLEANUP(hm_table_free) hm_table

/* "name            text"; nothing when there is no text. */
void hm_tell_line(hm_buf *out, const char *name, const char *text);
void hm_tell_time(hm_buf *out, const char *name, int64_t time);
/* "1.5 GiB". */
void hm_tell_size(hm_buf *out, uint64_t bytes);
/* A member that is a text or null. */
void hm_tell_member(hm_json_writer *w, const char *name, const char *text);

/* The entry in quarantine that a person means: its id, or the beginning of it. */
HM_MUST_USE hm_status hm_held_find(const hm_store *store, const char *text, hm_held *held,
                                   hm_error **error);
/* All entries, the oldest first; and the ids of those that cannot be read. */
typedef struct hm_held_all {
    hm_held *list;
    size_t count, capacity;
    hm_texts unreadable;
} hm_held_all;
HM_MUST_USE hm_status hm_held_read_all(const hm_store *store, hm_held_all *all, hm_error **error);
void hm_held_all_free(hm_held_all *all);
/* One entry, for programs. */
void hm_held_tell(hm_json_writer *w, const hm_store *store, const hm_held *held);

#endif
