/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli: the hallmark program. One file per command; each reads options, calls the public header and
 * prints. No logic of its own.
 */
#ifndef HALLMARK_CLI_H
#define HALLMARK_CLI_H

#include "hallmark.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- options: one table feeds parsing, --help and the tests of the manual -------------------- */

typedef enum cli_kind {
    CLI_FLAG,   /* bool */
    CLI_TEXT,   /* const char *, given at most once */
    CLI_TEXTS,  /* cli_texts, may be given again */
    CLI_WORDS,  /* cli_texts: all words up to the next option; may be given again */
    CLI_NUMBER, /* cli_number */
    CLI_SIZE,   /* cli_number; K, M, G for powers of 1024 */
} cli_kind;

typedef struct cli_texts {
    const char **list;
    size_t count;
} cli_texts;

typedef struct cli_number {
    uint64_t value;
    bool given;
} cli_number;

typedef struct cli_option {
    const char *name;     /* without the dashes; NULL ends a table */
    const char *argument; /* what it is called in help; NULL: none */
    cli_kind kind;
    size_t offset; /* of the target in the command's arguments */
    const char *help;
} cli_option;

#define CLI_OPTION(type, member, kind, name, argument, help)                                       \
    { name, argument, kind, offsetof(type, member), help }

typedef struct cli_command {
    const char *name; /* "sign", "key generate" */
    const char *summary;
    const char *operands; /* in the usage line */
    const char *details;  /* paragraphs below the options; may be NULL */
    const cli_option *options;
    size_t arguments_size; /* of the struct that the options are stored in, zeroed at first */
    /* Does it. Returns the exit status. */
    int (*act)(const struct cli_command *command, void *arguments, const cli_texts *operands);
    /* In place of `options` and `act`: a command that reads its command line itself. */
    int (*run)(const struct cli_command *command, int argc, char **argv);
} cli_command;

extern const cli_command cli_key_generate;
extern const cli_command cli_key_list;
extern const cli_command cli_key_show;
extern const cli_command cli_key_rotate;
extern const cli_command cli_key_revoke;
extern const cli_command cli_key_export;
extern const cli_command cli_sign;
extern const cli_command cli_verify;
extern const cli_command cli_resign;
extern const cli_command cli_deploy;
extern const cli_command cli_rollback;
extern const cli_command cli_digest;
extern const cli_command cli_inspect;
extern const cli_command cli_policy_check;
extern const cli_command cli_policy_explain;
extern const cli_command cli_config_check;
extern const cli_command cli_store_check;
extern const cli_command cli_status;
extern const cli_command cli_quarantine_list;
extern const cli_command cli_quarantine_show;
extern const cli_command cli_quarantine_release;
extern const cli_command cli_quarantine_purge;
extern const cli_command cli_gc;
extern const cli_command cli_log;
extern const cli_command cli_log_verify;
extern const cli_command cli_log_checkpoint;
extern const cli_command cli_model_signing;

/*
 * Runs a command with `argv`, which begins behind its name. Options are spelt out in full; "--"
 * ends them. Returns the exit status.
 */
int cli_run(const cli_command *command, int argc, char **argv);
/* False when memory runs out. */
bool cli_texts_add(cli_texts *texts, const char *text);
void cli_texts_free(cli_texts *texts);
void cli_help(const cli_command *command);
/* Says what is wrong with the command line, and how to get help. Returns HM_USAGE. */
int cli_usage(const cli_command *command, const char *format, ...) HM_PRINTF(2, 3);

/* ---- what commands share --------------------------------------------------------------------- */

/* How a model is cut into pieces for digests. */
typedef struct cli_layout {
    bool files;
    bool shards;
    cli_number shard_size;
} cli_layout;
#define CLI_LAYOUT_OPTIONS(type, only)                                                             \
    CLI_OPTION(type, layout.files, CLI_FLAG, "files", NULL,                                        \
               "One digest per file. This is the default."),                                       \
        CLI_OPTION(type, layout.shards, CLI_FLAG, "shards", NULL,                                  \
                   "One digest per shard of 64 MiB, so that many threads read one file." only),    \
        CLI_OPTION(type, layout.shard_size, CLI_SIZE, "shard-size", "BYTES",                       \
                   "Shards of another size; K, M and G stand for powers of 1024." only)

/* How the work is done, and how it is told. */
typedef struct cli_work {
    cli_number jobs;
    bool list;
    bool json;
    bool no_progress;
} cli_work;
#define CLI_WORK_OPTIONS(type)                                                                     \
    CLI_OPTION(type, work.jobs, CLI_NUMBER, "jobs", "N",                                           \
               "Threads to use. Default: as many as the process may."),                            \
        CLI_OPTION(type, work.list, CLI_FLAG, "list", NULL, "Name every file, however many."),     \
        CLI_OPTION(type, work.json, CLI_FLAG, "json", NULL, "Print the report as JSON."),          \
        CLI_OPTION(type, work.no_progress, CLI_FLAG, "no-progress", NULL,                          \
                   "Show no progress, not even on a terminal.")

/*
 * HM_OK, or HM_USAGE after saying what does not fit. `layout` may be NULL; files and shards at once
 * are each command's own affair.
 */
int cli_check(const cli_command *command, const cli_layout *layout, const cli_work *work);
/* What the public header wants: 0 for whole files. */
uint64_t cli_shard_size(const cli_layout *layout);

/* Where a passphrase comes from; all NULL or not given: a prompt on the terminal. */
typedef struct cli_passphrase {
    const char *file;
    cli_number fd;
} cli_passphrase;
bool cli_ask_passphrase(void *context, const char *what, bool again, char *buffer, size_t capacity,
                        size_t *length);

/*
 * The policy file to use: `given`, else what HALLMARK_POLICY or else the configuration names, else
 * the system's, if there is one; else NULL. `config` may be NULL.
 */
const char *cli_policy_file(const char *given, const hm_config *config);

/* Where events go: what the command line says above the configuration. */
typedef struct cli_record {
    const char *config;
    const char *ledger;
    const char *log;
} cli_record;
#define CLI_RECORD_OPTIONS(type)                                                                   \
    CLI_OPTION(type, record.config, CLI_TEXT, "config", "FILE",                                    \
               "The configuration. Default: the file that HALLMARK_CONFIG names, "                 \
               "or " HM_CONFIG_FILE "."),                                                          \
        CLI_OPTION(type, record.ledger, CLI_TEXT, "ledger", "URI",                                 \
                   "Record what is done in this ledger: sqlite:FILE or postgresql://..."),         \
        CLI_OPTION(type, record.log, CLI_TEXT, "log", "FORM",                                      \
                   "Write each event to standard error: json, a line of JSON each, or none.")

typedef struct cli_recording {
    hm_config *config;
    hm_recorder *recorder; /* NULL until cli_record_open() */
} cli_recording;
/* Reads the configuration. Whatever the status, to be ended by cli_record_close(). */
hm_status cli_record_load(const cli_record *given, cli_recording *recording, hm_error **error);
/* Before anything is done: whether it can be recorded. */
hm_status cli_record_open(cli_recording *recording, hm_error **error);
/* A private key may be read at the end, to sign a checkpoint: nobody else gets to see memory. */
void cli_harden_for(const hm_config *config);
/*
 * Records how a command ended, before that is told. Returns the status, or HM_UNDECIDED with the
 * cause in place of report and error when a success could not be recorded.
 */
hm_status cli_record_report(cli_recording *recording, const char *operation, const char *model,
                            hm_status status, hm_report **report, hm_error **error);
hm_status cli_record_key(cli_recording *recording, const char *event, const char *keyring,
                         uint64_t version, const char *reason, hm_error **error);
/* Delivers what there is to deliver, and says what could not be. Last: it may take a while. */
void cli_record_close(cli_recording *recording);

/* What every command about a store takes, besides `record`. */
typedef struct cli_store {
    const char *store;
    const char *group;
} cli_store;
#define CLI_STORE_OPTIONS(type)                                                                    \
    CLI_OPTION(type, store.store, CLI_TEXT, "store", "DIR",                                        \
               "The store. Default: what HALLMARK_STORE or the configuration names."),             \
        CLI_OPTION(type, store.group, CLI_TEXT, "group", "GROUP",                                  \
                   "Only this group may read the versions, and only their owner change them. "     \
                   "Default: as configured, or everybody may read."),                              \
        CLI_RECORD_OPTIONS(type)
#define CLI_POLICY_OPTION(type)                                                                    \
    CLI_OPTION(type, policy, CLI_TEXT, "policy", "FILE",                                           \
               "The policy file: whom to believe about which models. Default: what "               \
               "HALLMARK_POLICY or the configuration names, or " HM_POLICY_FILE ".")
/* For commands that only look at a store. */
#define CLI_LOOK_OPTIONS(type)                                                                     \
    CLI_OPTION(type, store.store, CLI_TEXT, "store", "DIR",                                        \
               "The store. Default: what HALLMARK_STORE or the configuration names."),             \
        CLI_OPTION(type, record.config, CLI_TEXT, "config", "FILE",                                \
                   "The configuration. Default: the file that HALLMARK_CONFIG names, or "          \
                   "/etc/hallmark/config.yaml.")
/* Whom to believe. */
#define CLI_BELIEF_OPTIONS(type)                                                                   \
    CLI_POLICY_OPTION(type),                                                                       \
        CLI_OPTION(type, keys, CLI_TEXTS, "key", "PUB",                                            \
                   "A public key to believe (PEM), or a key URI, in place of a policy file. May "  \
                   "be given again: any of them will do.")

/* An open store, with what it was opened by. */
typedef struct cli_gated {
    hm_config *config;
    hm_store *store;
    hm_policy *policy; /* NULL unless by cli_gate_begin() */
    hm_model *model;   /* likewise, and unless a source was named */
} cli_gated;
/* Whatever the status, to be ended by cli_gate_close(). `policy` may be NULL. */
hm_status cli_gate_open(const cli_store *given, const cli_record *record, const char *policy,
                        uint64_t flags, cli_gated *gated, hm_error **error);

/* A command that believes somebody about models of a store. */
typedef struct cli_gate_call {
    const cli_command *command;
    const char *operation; /* of its reports */
    const char *name;      /* of the model in the store, or NULL */
    const char *source;    /* what is to be deployed, or NULL */
    const char *policy;
    const cli_texts *keys;
    const cli_store *store;
    const cli_record *record;
    uint64_t flags;       /* of hm_store_open() */
    bool looks;           /* nothing is to be changed: then nothing is recorded */
    const cli_work *work; /* how a failure is told; NULL: never as a report */
} cli_gate_call;
/*
 * Loads the policy, or the keys in its place, opens the source, and then the store, which is not
 * made for nothing. What keeps it from that is told and, unless it is a mistake on the command
 * line, recorded. Returns HM_OK or the exit status; whichever, to be ended by cli_gate_close().
 */
int cli_gate_begin(const cli_gate_call *call, cli_gated *gated);
/* May take a while: alerts are delivered. */
void cli_gate_close(cli_gated *gated);
/* The worse of two exit statuses. */
int cli_worse(int a, int b);
/* Prints a text on standard output and frees it, if there is one, then the error. */
int cli_print_text(char **text, hm_status status, hm_error **error);

/* Tells the service manager that started the program, if one did (sd_notify(3)). */
void cli_notify(const char *format, ...) HM_PRINTF(1, 2);
/* Tells it now and then that the program lives, if it wants to know. */
typedef struct cli_watchdog {
    int64_t every; /* nanoseconds; 0: nobody wants to know */
    int64_t last;
} cli_watchdog;
void cli_watchdog_start(cli_watchdog *watchdog);
void cli_watchdog_show(cli_watchdog *watchdog);
typedef struct cli_progress {
    bool wanted;
    bool shown;
    int64_t started; /* nanoseconds */
    int64_t last;
} cli_progress;
/* Shows progress on standard error when that is a terminal, unless `off`. */
void cli_progress_start(cli_progress *progress, bool off);
bool cli_progress_show(void *context, uint64_t done, uint64_t total);
void cli_progress_end(cli_progress *progress);

/*
 * Prints a report (JSON on standard output; text there too when all is well, else on standard
 * error) and frees it; without one, the error. Returns the exit status: `status`, or HM_UNDECIDED
 * when the output could not be written. `work` may be NULL.
 */
int cli_finish(const char *operation, const char *model, hm_status status, hm_report **report,
               hm_error **error, const cli_work *work);
/* Prints an error, or that memory ran out when there is none, and frees it. Returns `status`. */
int cli_fail(hm_status status, hm_error **error);
/* Prints a line on standard error. What it quotes cannot steer a terminal. */
void cli_complain(const char *format, ...) HM_PRINTF(1, 2);
void cli_complain_list(const char *format, va_list args) HM_PRINTF(1, 0);
/* Writes text with control characters as escapes, "\x1b". */
void cli_write_safe(FILE *stream, const char *text);

#endif
