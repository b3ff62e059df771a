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

/* ---- options: one table feeds parsing, --help and the tests of the manual ----------------------- */

typedef enum cli_kind {
    CLI_FLAG,   /* bool */
    CLI_TEXT,   /* const char *, given at most once */
    CLI_TEXTS,  /* cli_texts, may be given again */
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
    size_t offset;        /* of the target in the command's arguments */
    const char *help;
} cli_option;

#define CLI_OPTION(type, member, kind, name, argument, help)                                       \
    {name, argument, kind, offsetof(type, member), help}

typedef struct cli_command {
    const char *name;     /* "sign", "key generate" */
    const char *summary;
    const char *operands; /* in the usage line */
    const char *details;  /* paragraphs below the options; may be NULL */
    const cli_option *options;
    int (*run)(const struct cli_command *command, int argc, char **argv);
} cli_command;

extern const cli_command cli_key_generate;
extern const cli_command cli_sign;
extern const cli_command cli_verify;
extern const cli_command cli_digest;
extern const cli_command cli_inspect;
extern const cli_command cli_model_signing;

typedef enum cli_parsed {
    CLI_GO_ON,
    CLI_DONE,  /* help was shown: exit 0 */
    CLI_WRONG, /* said so: exit 2 */
} cli_parsed;

/*
 * Parses `argv` (without the command's name) into `arguments`, and the rest into `operands`. Options
 * are spelt out in full; "--" ends them. Strings point into argv. `operands` and lists are freed
 * with cli_texts_free().
 */
cli_parsed cli_parse(const cli_command *command, int argc, char **argv, void *arguments,
                     cli_texts *operands);
void cli_texts_free(cli_texts *texts);
void cli_help(const cli_command *command);
/* Says what is wrong with the command line, and how to get help. Returns HM_USAGE. */
int cli_usage(const cli_command *command, const char *format, ...) HM_PRINTF(2, 3);

/* ---- what commands share ------------------------------------------------------------------------ */

/* Where a passphrase comes from; all NULL or not given: a prompt on the terminal. */
typedef struct cli_passphrase {
    const char *file;
    cli_number fd;
} cli_passphrase;
bool cli_ask_passphrase(void *context, const char *what, bool again, char *buffer, size_t capacity,
                        size_t *length);

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
 * when the output could not be written.
 */
int cli_finish(const char *operation, const char *model, hm_status status, hm_report **report,
               hm_error **error, bool json, bool list);
/* Prints an error and frees it. Returns its status. */
int cli_fail(hm_error **error);
/* Prints a line on standard error. What it quotes cannot steer a terminal. */
void cli_complain(const char *format, ...) HM_PRINTF(1, 2);
void cli_complain_list(const char *format, va_list args) HM_PRINTF(1, 0);
/* Writes text with control characters as escapes, "\x1b". */
void cli_write_safe(FILE *stream, const char *text);

/* Reads a text file of at most 16 MiB; NULL after saying why not. Free with free(). */
char *cli_read_text(const char *path);

#endif
