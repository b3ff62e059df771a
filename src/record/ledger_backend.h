/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the ledger asks of a database: transactions one after the other, and statements. The SQL is
 * the same for all of them but for the making of the tables (ledger_schema.c). A new database is a
 * file and a row in `backends` (ledger.c).
 */
#ifndef HM_LEDGER_BACKEND_H
#define HM_LEDGER_BACKEND_H

#include "record/ledger.h"

/* Takes a row; a value without data is NULL, and behind others is a NUL. They live until then. */
typedef hm_status (*hm_row_fn)(void *context, const hm_bytes *values, size_t count,
                               hm_error **error);

/* A statement with its parameters, $1 and so on; one that is NULL stands for NULL. */
typedef struct hm_sql {
    const char *text;
    const char *parameters[8];
    hm_row_fn row; /* NULL: there are none, or nobody wants them */
    void *context;
} hm_sql;

typedef struct hm_ledger_backend {
    const char *name; /* for people */
    /* A line for `hallmark --version`: which library it is, and its version. */
    void (*describe)(hm_buf *out);
    /*
     * Reaches the database and sets `state`, `place` and `version`. With HM_LEDGER_CREATE a
     * database that is not there is made, empty: version 0.
     */
    hm_status (*open)(hm_ledger *ledger, const char *where, uint64_t flags, hm_error **error);
    void (*close)(hm_ledger *ledger);
    /* Sets `version` anew. */
    hm_status (*read_version)(hm_ledger *ledger, hm_error **error);
    /* Begins to write, once all others are done with it. */
    hm_status (*begin)(hm_ledger *ledger, hm_error **error);
    /* What was written is on the disk when this returns HM_OK, and undone when not. */
    hm_status (*commit)(hm_ledger *ledger, hm_error **error);
    void (*rollback)(hm_ledger *ledger);
    hm_status (*run)(hm_ledger *ledger, const hm_sql *sql, hm_error **error);
    /* Several statements without parameters or rows. */
    hm_status (*script)(hm_ledger *ledger, const char *text, hm_error **error);
    /* Whether writing would work; called inside a transaction. */
    hm_status (*ready)(hm_ledger *ledger, hm_error **error);
    /* Looks for damage that is not the content's; `*damage` is newly allocated, or NULL. */
    hm_status (*check)(hm_ledger *ledger, char **damage, hm_error **error);
    /* What makes each version of the schema from the one before. */
    const char *const *steps;
} hm_ledger_backend;

extern const hm_ledger_backend hm_ledger_backend_sqlite;
extern const hm_ledger_backend hm_ledger_backend_postgres;

enum { HM_LEDGER_VERSION = 2 /* of the schema */, HM_LEDGER_WAIT_MS = 10 * 1000 };
extern const char *const hm_ledger_steps_sqlite[HM_LEDGER_VERSION];
extern const char *const hm_ledger_steps_postgres[HM_LEDGER_VERSION];

/* SHA-256 in hex, with the NUL. */
enum { HM_LEDGER_HEX = 2 * HM_FINGERPRINT_SIZE + 1 };

struct hm_ledger {
    const hm_ledger_backend *backend;
    void *state;
    char *place;            /* which ledger it is, for messages: never a password */
    uint64_t version;       /* of the schema; 0: there are no tables yet */
    uint64_t flags;         /* it was opened with */
    char id[HM_LEDGER_HEX]; /* random; what the first entry names as the one before it */
};

/* The newest entry; of an empty ledger number 0 with the ledger's id as its digest. */
typedef struct hm_ledger_head {
    uint64_t sequence;
    char digest[HM_LEDGER_HEX];
} hm_ledger_head;
HM_MUST_USE hm_status hm_ledger_find_head(hm_ledger *ledger, hm_ledger_head *head,
                                          hm_error **error);

/* An entry as it is stored, whatever that is. */
typedef struct hm_entry {
    int64_t sequence;
    char *previous, *digest;
    char *id, *time, *kind, *model; /* copies of what the event says, to find it by */
    char *event;                    /* its JSON */
    bool torn;                      /* a value has a NUL within, or is missing */
} hm_entry;
typedef struct hm_entries {
    hm_entry *list;
    size_t count, capacity;
} hm_entries;
void hm_entries_free(hm_entries *entries);
#define hm_auto_entries HM_CLEANUP(hm_entries_free) hm_entries

/* Which entries are wanted. */
typedef struct hm_entry_query {
    int64_t after;     /* sequence numbers beyond this one */
    const char *since; /* a time; NULL: all. Likewise the others. */
    const char *model;
    const char *kind;
} hm_entry_query;
enum { HM_ENTRY_PAGE = 256 };
/*
 * Reads the next HM_ENTRY_PAGE of them in their order. Page by page, because nobody can write to
 * some databases while somebody reads.
 */
HM_MUST_USE hm_status hm_ledger_read(hm_ledger *ledger, const hm_entry_query *query,
                                     hm_entries *page, hm_error **error);
/* Moves `query->after` so far that at most `limit` entries are left. */
HM_MUST_USE hm_status hm_ledger_skip(hm_ledger *ledger, hm_entry_query *query, uint64_t limit,
                                     hm_error **error);
/* How many entries there are up to that number. */
HM_MUST_USE hm_status hm_ledger_count(hm_ledger *ledger, int64_t up_to, uint64_t *count,
                                      hm_error **error);

/* The text whose SHA-256 is an entry's digest. */
void hm_entry_text(int64_t sequence, const char *previous, hm_bytes event, hm_buf *out);

/* A function of a library that is loaded when it is needed. False when it does not have it. */
bool hm_ledger_function(void *library, const char *name, void *function);

#endif
