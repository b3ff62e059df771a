/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger in a file, by SQLite: for one host, without a service. With a rollback journal and not
 * a write-ahead log, so that who may only read the file can do so, and a copy of it is whole.
 */
#include "record/ledger_backend.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <sqlite3.h>

enum {
    APPLICATION_ID = 0x484d4c47, /* "HMLG" */
    VALUE_LIMIT = 256 << 10,     /* bytes in a row, whoever put it there: pages are in memory */
    SPACE_WANTED = 1 << 20,      /* free bytes on the disk */
    FILE_MODE = 0640,
};

/* ---- SQLite --------------------------------------------------------------------------------- */

/* Loaded when it is needed: that takes half a millisecond, a fifth of verifying a small model. */
#define SONAME "libsqlite3.so.0"
#define FUNCTIONS(F)                                                                               \
    F(bind_parameter_index)                                                                        \
    F(bind_text)                                                                                   \
    F(busy_timeout)                                                                                \
    F(close)                                                                                       \
    F(column_bytes)                                                                                \
    F(column_count)                                                                                \
    F(column_text)                                                                                 \
    F(column_type)                                                                                 \
    F(db_config)                                                                                   \
    F(db_readonly)                                                                                 \
    F(errmsg)                                                                                      \
    F(exec)                                                                                        \
    F(extended_errcode)                                                                            \
    F(finalize)                                                                                    \
    F(libversion)                                                                                  \
    F(limit)                                                                                       \
    F(open_v2)                                                                                     \
    F(prepare_v2)                                                                                  \
    F(step)

#define DECLARE(name) __typeof__(sqlite3_##name) *(name);
static struct functions { FUNCTIONS(DECLARE) } api;
static bool api_loaded;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load_api(void) {
    void *library = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);
    bool complete = library != NULL;
#define FIND(name) complete = complete && hm_ledger_function(library, "sqlite3_" #name, &api.name);
    FUNCTIONS(FIND)
    api_loaded = complete;
}

static hm_status load(hm_error **error) {
    (void)pthread_once(&once, load_api);
    if (!api_loaded) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, SONAME " cannot be loaded");
        hm_error_add_hint(error, "install SQLite (Debian: libsqlite3-0)");
        return HM_UNDECIDED;
    }
    return HM_OK;
}

static void describe(hm_buf *out) {
    (void)pthread_once(&once, load_api);
    hm_buf_add_format(out, "SQLite: %s\n",
                      api_loaded ? api.libversion() : "none (" SONAME " cannot be loaded)");
}

static sqlite3 *db_of(const hm_ledger *ledger) {
    return ledger->state;
}

static void statement_free(sqlite3_stmt **statement) {
    (void)api.finalize(*statement);
}

static void add_hint(int code, hm_error **error) {
    switch (code & 0xff) {
    case SQLITE_BUSY:
        hm_error_add_hint(error, "another process has been writing to it for %d seconds; try again",
                          HM_LEDGER_WAIT_MS / 1000);
        break;
    case SQLITE_FULL: hm_error_add_hint(error, "make room on its disk"); break;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
        hm_error_add_hint(error, "this user must be able to write to the file and its directory");
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        hm_error_add_hint(error, "put it aside, and bring back a copy that 'hallmark log verify' "
                                 "accepts");
        break;
    default: break;
    }
}

static hm_status fail(const hm_ledger *ledger, const char *what, hm_error **error) {
    int code = api.extended_errcode(db_of(ledger));
    if ((code & 0xff) == SQLITE_NOMEM) {
        return hm_fail_memory(error);
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "cannot %s the ledger %s: %s", what,
                  ledger->place, api.errmsg(db_of(ledger)));
    add_hint(code, error);
    return HM_UNDECIDED;
}

/* ---- statements ----------------------------------------------------------------------------- */

static hm_status script(hm_ledger *ledger, const char *text, hm_error **error) {
    return api.exec(db_of(ledger), text, NULL, NULL, NULL) == SQLITE_OK
               ? HM_OK
               : fail(ledger, "write to", error);
}

static bool bind(sqlite3_stmt *statement, const hm_sql *sql) {
    bool bound = true;
    for (size_t i = 0; i < sizeof sql->parameters / sizeof sql->parameters[0]; i++) {
        const char name[] = {'$', (char)('1' + i), '\0'};
        int index = api.bind_parameter_index(statement, name);
        if (index > 0 && sql->parameters[i] != NULL) {
            bound = bound && api.bind_text(statement, index, sql->parameters[i], -1,
                                           SQLITE_STATIC) == SQLITE_OK;
        }
    }
    return bound;
}

static hm_status hand_row(sqlite3_stmt *statement, const hm_sql *sql, hm_error **error) {
    enum { COLUMNS = 8 };
    hm_bytes values[COLUMNS] = {{.data = NULL}};
    size_t count = (size_t)api.column_count(statement);
    for (size_t i = 0; i < count && i < COLUMNS; i++) {
        if (api.column_type(statement, (int)i) != SQLITE_NULL) {
            const unsigned char *text = api.column_text(statement, (int)i);
            if (text == NULL) {
                return hm_fail_memory(error);
            }
            values[i] = hm_bytes_of(text, (size_t)api.column_bytes(statement, (int)i));
        }
    }
    return sql->row != NULL ? sql->row(sql->context, values, count, error) : HM_OK;
}

static hm_status run(hm_ledger *ledger, const hm_sql *sql, hm_error **error) {
    HM_CLEANUP(statement_free) sqlite3_stmt *statement = NULL;
    if (api.prepare_v2(db_of(ledger), sql->text, -1, &statement, NULL) != SQLITE_OK ||
        !bind(statement, sql)) {
        return fail(ledger, "use", error);
    }
    for (;;) {
        int code = api.step(statement);
        if (code != SQLITE_ROW) {
            return code == SQLITE_DONE ? HM_OK : fail(ledger, "use", error);
        }
        hm_status status = hand_row(statement, sql, error);
        if (status != HM_OK) {
            return status;
        }
    }
}

static hm_status begin(hm_ledger *ledger, hm_error **error) {
    return api.exec(db_of(ledger), "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK
               ? HM_OK
               : fail(ledger, "write to", error);
}

static void rollback(hm_ledger *ledger) {
    (void)api.exec(db_of(ledger), "ROLLBACK", NULL, NULL, NULL);
}

static hm_status commit(hm_ledger *ledger, hm_error **error) {
    if (api.exec(db_of(ledger), "COMMIT", NULL, NULL, NULL) == SQLITE_OK) {
        return HM_OK;
    }
    hm_status status = fail(ledger, "write to", error);
    rollback(ledger);
    return status;
}

/* ---- open ----------------------------------------------------------------------------------- */

static hm_status fail_no_ledger(const hm_ledger *ledger, const char *why, hm_error **error) {
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is no ledger: %s", ledger->place, why);
    hm_error_add_hint(error, "name the file that Hallmark made, or one that is not there yet");
    return HM_UNDECIDED;
}

/* The directory by its real name, so that one ledger has one name. */
static hm_status resolve(const char *path, char **place, hm_error **error) {
    hm_auto_free char *base = hm_path_base(path);
    size_t length = strlen(path);
    while (length > 0 && path[length - 1] != '/') {
        length--;
    }
    hm_auto_free char *parent = length > 0 ? hm_strndup(path, length) : hm_strdup(".");
    if (base == NULL || parent == NULL) {
        return hm_fail_memory(error);
    }
    if (base[0] == '\0' || path[strlen(path) - 1] == '/') {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "the ledger %s is not the name of a file",
                       path);
    }
    hm_auto_free char *real = realpath(parent, NULL);
    if (real == NULL) {
        return hm_fail_errno(error, errno, "cannot reach the ledger %s", path);
    }
    *place = hm_textf("%s/%s", strcmp(real, "/") == 0 ? "" : real, base);
    return *place != NULL ? HM_OK : hm_fail_memory(error);
}

/*
 * Makes an empty file without opening it: to close a descriptor would take the locks away that
 * another connection of this process has on the file (POSIX).
 */
static hm_status make_file(hm_ledger *ledger, uint64_t flags, hm_error **error) {
    struct stat st;
    if (lstat(ledger->place, &st) != 0 && errno == ENOENT && (flags & HM_LEDGER_CREATE) != 0 &&
        mknod(ledger->place, S_IFREG | FILE_MODE, 0) != 0 && errno != EEXIST) {
        return hm_fail_errno(error, errno, "cannot make the ledger %s", ledger->place);
    }
    if (lstat(ledger->place, &st) != 0) {
        hm_status status = hm_fail_errno(error, errno, "cannot open the ledger %s", ledger->place);
        hm_error_add_hint(error, "the first command that records something makes it");
        return status;
    }
    return S_ISREG(st.st_mode) ? HM_OK : fail_no_ledger(ledger, "it is not a regular file", error);
}

/* Foreign bytes: what a file says must not make SQLite do more than read and write tables. */
static hm_status configure(hm_ledger *ledger, hm_error **error) {
    static const int off[] = {SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_VIEW,
                              SQLITE_DBCONFIG_TRUSTED_SCHEMA};
    sqlite3 *db = db_of(ledger);
    bool done = api.db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL) == SQLITE_OK;
    for (size_t i = 0; i < sizeof off / sizeof off[0]; i++) {
        done = done && api.db_config(db, off[i], 0, NULL) == SQLITE_OK;
    }
    (void)api.limit(db, SQLITE_LIMIT_LENGTH, VALUE_LIMIT);
    done = done && api.busy_timeout(db, HM_LEDGER_WAIT_MS) == SQLITE_OK;
    /* EXTRA: also the directory is synced once the journal is gone, or a loss of power brings it
     * back, and with it the state before the entry. */
    done = done && api.exec(db,
                            "PRAGMA cell_size_check = 1; PRAGMA temp_store = MEMORY;"
                            "PRAGMA synchronous = EXTRA;",
                            NULL, NULL, NULL) == SQLITE_OK;
    return done ? HM_OK : fail(ledger, "open", error);
}

static hm_status take_pragmas(void *context, const hm_bytes *values, size_t count,
                              hm_error **error) {
    long *numbers = context;
    (void)error;
    for (size_t i = 0; i < count && i < 3; i++) {
        numbers[i] = values[i].data != NULL ? strtol((const char *)values[i].data, NULL, 10) : 0;
    }
    return HM_OK;
}

/* One statement, so that all three are of one moment. */
static hm_status read_version(hm_ledger *ledger, hm_error **error) {
    long numbers[3] = {0};
    hm_sql sql = {.text = "SELECT application_id, user_version,"
                          " (SELECT count(*) FROM sqlite_schema)"
                          " FROM pragma_application_id, pragma_user_version",
                  .row = take_pragmas,
                  .context = numbers};
    hm_status status = run(ledger, &sql, error);
    if (status != HM_OK) {
        return status;
    }
    bool empty = numbers[0] == 0 && numbers[1] == 0 && numbers[2] == 0;
    if (!empty && (numbers[0] != APPLICATION_ID || numbers[1] < 1)) {
        return fail_no_ledger(ledger, "it is another program's database", error);
    }
    ledger->version = (uint64_t)numbers[1];
    return HM_OK;
}

static void close_file(hm_ledger *ledger) {
    (void)api.close(db_of(ledger));
    ledger->state = NULL;
}

static hm_status connect_to(hm_ledger *ledger, int how, hm_error **error) {
    sqlite3 *db = NULL;
    int code =
        api.open_v2(ledger->place, &db,
                    how | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_PRIVATECACHE,
                    NULL);
    ledger->state = db;
    if (db == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = code == SQLITE_OK ? configure(ledger, error) : fail(ledger, "open", error);
    return status == HM_OK ? read_version(ledger, error) : status;
}

/*
 * A writer that was killed in mid-step leaves a journal, by which the next to come undoes the step;
 * that may be a reader, at its first page or any later one. A connection that is read-only to
 * SQLite could not. So a reader asks for a writable one, which without the right to write becomes
 * read-only by itself, and forbids itself to write.
 */
static hm_status connect_to_read(hm_ledger *ledger, hm_error **error) {
    hm_status status = connect_to(ledger, SQLITE_OPEN_READWRITE, error);
    if (status == HM_OK &&
        api.exec(db_of(ledger), "PRAGMA query_only = 1", NULL, NULL, NULL) != SQLITE_OK) {
        status = fail(ledger, "open", error);
    }
    return status;
}

static hm_status open_file(hm_ledger *ledger, const char *where, uint64_t flags, hm_error **error) {
    hm_status status = load(error);
    if (status == HM_OK) {
        status = resolve(where, &ledger->place, error);
    }
    if (status == HM_OK) {
        status = make_file(ledger, flags, error);
    }
    if (status != HM_OK) {
        return status;
    }
    return (flags & HM_LEDGER_READ) != 0 ? connect_to_read(ledger, error)
                                         : connect_to(ledger, SQLITE_OPEN_READWRITE, error);
}

static hm_status ready(hm_ledger *ledger, hm_error **error) {
    struct statvfs disk;
    if (api.db_readonly(db_of(ledger), "main") != 0) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the ledger %s cannot be written to",
                      ledger->place);
        add_hint(SQLITE_READONLY, error);
        return HM_UNDECIDED;
    }
    if (statvfs(ledger->place, &disk) != 0) {
        return hm_fail_errno(error, errno, "cannot look at the ledger %s", ledger->place);
    }
    if (disk.f_bavail < SPACE_WANTED / (disk.f_frsize > 0 ? disk.f_frsize : 1)) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                      "there is no room left for the ledger %s", ledger->place);
        add_hint(SQLITE_FULL, error);
        return HM_UNDECIDED;
    }
    return HM_OK;
}

static hm_status take_damage(void *context, const hm_bytes *values, size_t count,
                             hm_error **error) {
    char **damage = context;
    if (count == 0 || values[0].data == NULL || hm_bytes_equal_text(values[0], "ok") ||
        *damage != NULL) {
        return HM_OK;
    }
    *damage = hm_strndup((const char *)values[0].data, values[0].length);
    return *damage != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status check(hm_ledger *ledger, char **damage, hm_error **error) {
    hm_sql sql = {.text = "PRAGMA integrity_check(1)", .row = take_damage, .context = damage};
    hm_status status = run(ledger, &sql, error);
    /* What could not be read says nothing of what stands there. */
    if (status == HM_OK && *damage != NULL && strstr(*damage, "unable to get the page") != NULL) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "cannot read the ledger %s: %s",
                         ledger->place, *damage);
    }
    return status;
}

const hm_ledger_backend hm_ledger_backend_sqlite = {
    .name = "SQLite",
    .describe = describe,
    .open = open_file,
    .close = close_file,
    .read_version = read_version,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .run = run,
    .script = script,
    .ready = ready,
    .check = check,
    .steps = hm_ledger_steps_sqlite,
};
