/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger in PostgreSQL, for several hosts. An advisory lock makes those who append take turns;
 * it needs no right but to connect, so that a host may have the right to insert and nothing else.
 */
#include "record/ledger_backend.h"

#ifdef HM_HAVE_LIBPQ

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

enum {
    PARAMETERS = sizeof((hm_sql){.text = NULL}.parameters) / sizeof(const char *),
    ANSWER_MS = 60 * 1000, /* for one statement, whatever the server's own limits do */
};

/* Who appends holds it until his transaction ends. The number is "HMLEDGER" in ASCII. */
#define TAKE_TURN "SELECT pg_advisory_xact_lock(5209904204319507794)"

/* ---- libpq ---------------------------------------------------------------------------------- */

/* It brings Kerberos, LDAP and another copy of TLS along, so it is loaded when it is needed. */
#define SONAME "libpq.so.5"
#define FUNCTIONS(F)                                                                               \
    F(PQclear)                                                                                     \
    F(PQconnectdbParams)                                                                           \
    F(PQconninfoFree)                                                                              \
    F(PQconninfoParse)                                                                             \
    F(PQconsumeInput)                                                                              \
    F(PQdb)                                                                                        \
    F(PQerrorMessage)                                                                              \
    F(PQfinish)                                                                                    \
    F(PQgetisnull)                                                                                 \
    F(PQgetlength)                                                                                 \
    F(PQgetResult)                                                                                 \
    F(PQgetvalue)                                                                                  \
    F(PQhost)                                                                                      \
    F(PQisBusy)                                                                                    \
    F(PQlibVersion)                                                                                \
    F(PQnfields)                                                                                   \
    F(PQntuples)                                                                                   \
    F(PQport)                                                                                      \
    F(PQresultErrorField)                                                                          \
    F(PQresultStatus)                                                                              \
    F(PQsendQuery)                                                                                 \
    F(PQsendQueryParams)                                                                           \
    F(PQsetNoticeProcessor)                                                                        \
    F(PQsocket)                                                                                    \
    F(PQstatus)

#define DECLARE(name) __typeof__(name) *(name);
static struct functions { FUNCTIONS(DECLARE) } api;
static bool api_loaded;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load_api(void) {
    void *library = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);
    bool complete = library != NULL;
#define FIND(name) complete = complete && hm_ledger_function(library, #name, &api.name);
    FUNCTIONS(FIND)
    api_loaded = complete;
}

static hm_status load(hm_error **error) {
    (void)pthread_once(&once, load_api);
    if (!api_loaded) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                      "cannot reach the ledger: " SONAME " cannot be loaded");
        hm_error_add_hint(error, "install PostgreSQL's client library (Debian: libpq5)");
        return HM_UNDECIDED;
    }
    return HM_OK;
}

static void describe(hm_buf *out) {
    enum { MAJOR = 10000 }; /* since libpq 10 */
    (void)pthread_once(&once, load_api);
    if (!api_loaded) {
        hm_buf_add_text(out, "PostgreSQL: none (" SONAME " cannot be loaded)\n");
        return;
    }
    int version = api.PQlibVersion();
    hm_buf_add_format(out, "PostgreSQL: libpq %d.%d\n", version / MAJOR, version % MAJOR);
}

/* ---- statements ----------------------------------------------------------------------------- */

/* The connection, and whether a statement's end was not waited for: then it is of no more use. */
typedef struct session {
    PGconn *connection;
    bool lost;
} session;

static session *session_of(const hm_ledger *ledger) {
    return ledger->state;
}

static void result_free(PGresult **result) {
    api.PQclear(*result);
}
#define auto_result HM_CLEANUP(result_free) PGresult *

/* The server's own words, their first line. They name host and user, never the password. */
static hm_status fail_with(const hm_ledger *ledger, const char *what, const char *words,
                           hm_error **error) {
    int length = (int)strcspn(words, "\n");
    return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "cannot %s the ledger %s: %.*s", what,
                   ledger->place, length, words);
}

static hm_status fail_result(const hm_ledger *ledger, const PGresult *result, hm_error **error) {
    const char *words = api.PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *state = api.PQresultErrorField(result, PG_DIAG_SQLSTATE);
    state = state != NULL ? state : "";
    if (words == NULL) {
        words = api.PQerrorMessage(session_of(ledger)->connection);
    }
    hm_status status = fail_with(ledger, "use", words, error);
    if (strcmp(state, "42501") == 0) {
        hm_error_add_hint(error, "docs/ledger.md says which rights a host needs");
    } else if (strcmp(state, "55P03") == 0) {
        hm_error_add_hint(error, "another host has been writing to it for %d seconds; try again",
                          HM_LEDGER_WAIT_MS / 1000);
    }
    return status;
}

/* False when the server says nothing for too long, or is gone. */
static bool await(PGconn *connection, int64_t deadline) {
    while (api.PQisBusy(connection) == 1) {
        int64_t left = deadline - hm_now_ms();
        struct pollfd wait = {.fd = api.PQsocket(connection), .events = POLLIN};
        if (left <= 0 || wait.fd < 0) {
            return false;
        }
        int ready = poll(&wait, 1, (int)left);
        if ((ready < 0 && errno != EINTR) || (ready > 0 && api.PQconsumeInput(connection) != 1)) {
            return false;
        }
    }
    return true;
}

static hm_status fail_lost(const hm_ledger *ledger, hm_error **error) {
    session *s = session_of(ledger);
    const char *words = api.PQerrorMessage(s->connection);
    s->lost = true;
    hm_status status =
        fail_with(ledger, "use", *words != '\0' ? words : "it does not answer", error);
    hm_error_add_hint(error, "whether the last entry was taken is not known; recording it again is "
                             "harmless");
    return status;
}

/* The answers of what was sent; of several statements the first that failed. */
static hm_status finish(const hm_ledger *ledger, PGresult **answer, hm_error **error) {
    session *s = session_of(ledger);
    int64_t deadline = hm_now_ms() + ANSWER_MS;
    hm_status status = HM_OK;
    for (;;) {
        if (!await(s->connection, deadline)) {
            return status == HM_OK ? fail_lost(ledger, error) : status;
        }
        auto_result result = api.PQgetResult(s->connection);
        if (result == NULL) {
            return status;
        }
        ExecStatusType type = api.PQresultStatus(result);
        bool good = type == PGRES_COMMAND_OK || type == PGRES_TUPLES_OK;
        if (status == HM_OK && !good) {
            status = fail_result(ledger, result, error);
        }
        if (answer != NULL) {
            api.PQclear(*answer);
            *answer = result;
            result = NULL;
        }
    }
}

static hm_status hand_rows(const PGresult *answer, const hm_sql *sql, hm_error **error) {
    enum { COLUMNS = 8 };
    hm_status status = HM_OK;
    int fields = api.PQnfields(answer);
    int rows = sql->row != NULL ? api.PQntuples(answer) : 0;
    fields = fields < COLUMNS ? fields : COLUMNS;
    for (int row = 0; row < rows && status == HM_OK; row++) {
        hm_bytes values[COLUMNS] = {{.data = NULL}};
        for (int i = 0; i < fields; i++) {
            if (api.PQgetisnull(answer, row, i) == 0) {
                values[i] = hm_bytes_of(api.PQgetvalue(answer, row, i),
                                        (size_t)api.PQgetlength(answer, row, i));
            }
        }
        status = sql->row(sql->context, values, (size_t)fields, error);
    }
    return status;
}

static hm_status fail_if_lost(const hm_ledger *ledger, hm_error **error) {
    return session_of(ledger)->lost
               ? fail_with(ledger, "use", "the connection to it was lost", error)
               : HM_OK;
}

/* As many parameters as the statement names: the server refuses more. */
static int count_parameters(const char *text) {
    int count = 0;
    for (const char *p = strchr(text, '$'); p != NULL; p = strchr(p + 1, '$')) {
        int number = p[1] - '0';
        count = number > count && number <= PARAMETERS ? number : count;
    }
    return count;
}

static hm_status run(hm_ledger *ledger, const hm_sql *sql, hm_error **error) {
    auto_result answer = NULL;
    hm_status status = fail_if_lost(ledger, error);
    if (status != HM_OK) {
        return status;
    }
    if (api.PQsendQueryParams(session_of(ledger)->connection, sql->text,
                              count_parameters(sql->text), NULL, sql->parameters, NULL, NULL,
                              0) != 1) {
        return fail_lost(ledger, error);
    }
    status = finish(ledger, &answer, error);
    return status == HM_OK ? hand_rows(answer, sql, error) : status;
}

static hm_status script(hm_ledger *ledger, const char *text, hm_error **error) {
    hm_status status = fail_if_lost(ledger, error);
    if (status == HM_OK && api.PQsendQuery(session_of(ledger)->connection, text) != 1) {
        return fail_lost(ledger, error);
    }
    return status == HM_OK ? finish(ledger, NULL, error) : status;
}

static void rollback(hm_ledger *ledger) {
    (void)script(ledger, "ROLLBACK", NULL);
}

/*
 * A role or a database may be set not to wait for the disk; an entry that a crash could take away
 * was not recorded.
 */
static hm_status begin(hm_ledger *ledger, hm_error **error) {
    hm_status status = script(ledger,
                              "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
                              "SELECT set_config('synchronous_commit', CASE"
                              "  current_setting('synchronous_commit') WHEN 'off' THEN 'on'"
                              "  ELSE current_setting('synchronous_commit') END, true);" TAKE_TURN,
                              error);
    if (status != HM_OK) {
        rollback(ledger);
    }
    return status;
}

/* COMMIT of a transaction that failed is answered by ROLLBACK, and no error. Ours did not fail. */
static hm_status commit(hm_ledger *ledger, hm_error **error) {
    return script(ledger, "COMMIT", error);
}

/* ---- open ----------------------------------------------------------------------------------- */

static void options_free(PQconninfoOption **options) {
    api.PQconninfoFree(*options);
}

static void ignore_notice(void *context, const char *message) {
    (void)context;
    (void)message;
}

static const char *value_of(const PQconninfoOption *options, const char *name) {
    for (const PQconninfoOption *option = options; option->keyword != NULL; option++) {
        if (strcmp(option->keyword, name) == 0) {
            return option->val;
        }
    }
    return NULL;
}

/* What libpq says of a URI that it cannot read may quote it, and the password with it. */
static hm_status fail_uri(hm_error **error) {
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "the URI of the ledger cannot be read");
    hm_error_add_hint(error, "it is postgresql://USER@HOST:PORT/DATABASE?OPTION=VALUE, with "
                             "%%-escapes for what has a meaning there");
    return HM_USAGE;
}

/*
 * An unescaped '@' in a password makes its end part of the host, which messages name. What has no
 * value is left to the environment and libpq's defaults.
 */
static hm_status connect_to(const char *uri, const PQconninfoOption *options, PGconn **connection,
                            hm_error **error) {
    static const char *const keywords[] = {"connect_timeout",
                                           "tcp_user_timeout",
                                           "keepalives_idle",
                                           "fallback_application_name",
                                           "dbname",
                                           "client_encoding",
                                           NULL};
    const char *host = value_of(options, "host");
    if (host != NULL && strchr(host, '@') != NULL) {
        return fail_uri(error);
    }
    const char *const values[] = {"10", "30000", "20", "hallmark", uri, "UTF8", NULL};
    *connection = api.PQconnectdbParams(keywords, values, 1);
    return *connection != NULL ? HM_OK : hm_fail_memory(error);
}

static char *name_place(PGconn *connection) {
    const char *host = api.PQhost(connection);
    const char *port = api.PQport(connection);
    const char *database = api.PQdb(connection);
    return hm_textf("postgresql://%s:%s/%s", host != NULL ? host : "", port != NULL ? port : "",
                    database != NULL ? database : "");
}

/* pg_temp last: else a temporary table of the session would come before the ledger's. */
static hm_status configure(hm_ledger *ledger, hm_error **error) {
    hm_auto_free char *text =
        hm_textf("SET search_path = hallmark, pg_temp; SET lock_timeout = %d;"
                 "SET statement_timeout = %d; SET idle_in_transaction_session_timeout = %d;"
                 "SET client_min_messages = error%s",
                 HM_LEDGER_WAIT_MS, ANSWER_MS / 2, ANSWER_MS,
                 (ledger->flags & HM_LEDGER_READ) != 0 ? "; SET default_transaction_read_only = on"
                                                       : "");
    return text != NULL ? script(ledger, text, error) : hm_fail_memory(error);
}

static hm_status take_version(void *context, const hm_bytes *values, size_t count,
                              hm_error **error) {
    hm_ledger *ledger = context;
    char *end = NULL;
    const char *text = count == 1 ? (const char *)values[0].data : NULL;
    ledger->version = text != NULL ? strtoull(text, &end, 10) : 0;
    return text != NULL && *end == '\0' && ledger->version > 0
               ? HM_OK
               : hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                         "the ledger %s is damaged: it has no version", ledger->place);
}

static hm_status take_presence(void *context, const hm_bytes *values, size_t count,
                               hm_error **error) {
    bool *there = context;
    (void)error;
    *there = count == 1 && hm_bytes_equal_text(values[0], "t");
    return HM_OK;
}

/* By the catalogue's tables: to_regclass() may answer from before this one's turn came. */
static hm_status read_version(hm_ledger *ledger, hm_error **error) {
    bool there = false;
    hm_sql look = {.text = "SELECT count(*) = 1 FROM pg_catalog.pg_class AS c"
                           " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
                           " WHERE n.nspname = 'hallmark' AND c.relname = 'version'",
                   .row = take_presence,
                   .context = &there};
    hm_sql ask = {.text = "SELECT version FROM hallmark.version",
                  .row = take_version,
                  .context = ledger};
    ledger->version = 0;
    hm_status status = run(ledger, &look, error);
    return status == HM_OK && there ? run(ledger, &ask, error) : status;
}

static hm_status connect_session(hm_ledger *ledger, const char *uri, hm_error **error) {
    HM_CLEANUP(options_free) PQconninfoOption *options = api.PQconninfoParse(uri, NULL);
    if (options == NULL) {
        return fail_uri(error);
    }
    session *s = hm_alloc(1, sizeof *s);
    if (s == NULL) {
        return hm_fail_memory(error);
    }
    ledger->state = s;
    hm_status status = connect_to(uri, options, &s->connection, error);
    if (status != HM_OK) {
        return status;
    }
    (void)api.PQsetNoticeProcessor(s->connection, ignore_notice, NULL);
    ledger->place = name_place(s->connection);
    if (ledger->place == NULL) {
        return hm_fail_memory(error);
    }
    if (api.PQstatus(s->connection) != CONNECTION_OK) {
        status = fail_with(ledger, "reach", api.PQerrorMessage(s->connection), error);
        hm_error_add_hint(error, "check the network, and that PostgreSQL runs and lets this user "
                                 "in; passwords belong into ~/.pgpass");
    }
    return status;
}

static hm_status open_session(hm_ledger *ledger, const char *where, uint64_t flags,
                              hm_error **error) {
    (void)flags;
    hm_status status = load(error);
    if (status == HM_OK) {
        status = connect_session(ledger, where, error);
    }
    if (status == HM_OK) {
        status = configure(ledger, error);
    }
    return status == HM_OK ? read_version(ledger, error) : status;
}

static void close_session(hm_ledger *ledger) {
    session *s = ledger->state;
    api.PQfinish(s->connection);
    free(s);
    ledger->state = NULL;
}

static hm_status ready(hm_ledger *ledger, hm_error **error) {
    bool may = false;
    hm_sql sql = {.text = "SELECT has_table_privilege('hallmark.entries', 'INSERT')"
                          " AND current_setting('transaction_read_only') = 'off'",
                  .row = take_presence,
                  .context = &may};
    hm_status status = run(ledger, &sql, error);
    if (status == HM_OK && !may) {
        status = fail_with(ledger, "write to", "this user may not insert entries", error);
        hm_error_add_hint(error, "docs/ledger.md says which rights a host needs");
    }
    return status;
}

const hm_ledger_backend hm_ledger_backend_postgres = {
    .name = "PostgreSQL",
    .describe = describe,
    .open = open_session,
    .close = close_session,
    .read_version = read_version,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .run = run,
    .script = script,
    .ready = ready,
    .steps = hm_ledger_steps_postgres,
};

#else /* without libpq */

static hm_status open_none(hm_ledger *ledger, const char *where, uint64_t flags, hm_error **error) {
    (void)ledger;
    (void)where;
    (void)flags;
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                  "cannot reach the ledger: this Hallmark was built without PostgreSQL");
    hm_error_add_hint(error, "install libpq-dev and build again with -Dpostgresql=enabled");
    return HM_UNDECIDED;
}

static void describe_none(hm_buf *out) {
    hm_buf_add_text(out, "PostgreSQL: none (built without libpq)\n");
}

const hm_ledger_backend hm_ledger_backend_postgres = {.name = "PostgreSQL",
                                                      .describe = describe_none,
                                                      .open = open_none};

#endif
