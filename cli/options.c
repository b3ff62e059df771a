/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cli_texts_free(cli_texts *texts) {
    free(texts->list);
    *texts = (cli_texts){0};
}

int cli_usage(const cli_command *command, const char *format, ...) {
    va_list args;
    va_start(args, format);
    cli_complain_list(format, args);
    va_end(args);
    fprintf(stderr, "Try 'hallmark %s --help'.\n", command->name);
    return HM_USAGE;
}

/* ---- help ----------------------------------------------------------------------------------- */

enum { HELP_COLUMN = 30, HELP_WIDTH = 78 };

/* Prints text from the current column on, wrapped between words. */
static void print_wrapped(const char *text, int column, int indent) {
    while (*text != '\0') {
        int length = (int)strcspn(text, " ");
        if (column + 1 + length > HELP_WIDTH && column > indent) {
            printf("\n%*s", indent, "");
            column = indent;
        }
        if (column > indent) {
            putchar(' ');
            column++;
        }
        printf("%.*s", length, text);
        column += length;
        text += length;
        text += *text == ' ' ? 1 : 0;
    }
    putchar('\n');
}

static void print_option(const cli_option *option) {
    int width = printf("  --%s%s%s", option->name, option->argument != NULL ? " " : "",
                       option->argument != NULL ? option->argument : "");
    if (width >= HELP_COLUMN - 1) {
        putchar('\n');
        width = 0;
    }
    printf("%*s", HELP_COLUMN - width, "");
    print_wrapped(option->help, HELP_COLUMN, HELP_COLUMN);
}

void cli_help(const cli_command *command) {
    printf("Usage: hallmark %s [OPTION]... %s\n\n", command->name, command->operands);
    print_wrapped(command->summary, 0, 0);
    puts("\nOptions:");
    for (const cli_option *option = command->options; option->name != NULL; option++) {
        print_option(option);
    }
    print_option(&(cli_option){.name = "help", .help = "Show this and exit."});
    if (command->details != NULL) {
        printf("\n%s", command->details);
    }
}

/* ---- parsing -------------------------------------------------------------------------------- */

bool cli_texts_add(cli_texts *texts, const char *text) {
    const char **larger = reallocarray(texts->list, texts->count + 1, sizeof(*larger));
    if (larger == NULL) {
        return false;
    }
    larger[texts->count++] = text;
    texts->list = larger;
    return true;
}

static bool parse_number(const char *text, cli_number *number) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    number->given = errno == 0 && *text >= '0' && *text <= '9' && *end == '\0';
    number->value = number->given ? (uint64_t)value : 0;
    return number->given;
}

static bool parse_size(const char *text, cli_number *number) {
    number->given = hm_size_from_text(text, &number->value, NULL) == HM_OK;
    return number->given;
}

static const cli_option *find_option(const cli_command *command, const char *name, size_t length) {
    for (const cli_option *option = command->options; option->name != NULL; option++) {
        if (strlen(option->name) == length && strncmp(option->name, name, length) == 0) {
            return option;
        }
    }
    return NULL;
}

typedef enum parsed {
    GO_ON,
    HELPED, /* exit 0 */
    WRONG,  /* said so: exit 2 */
    FAILED, /* said so: exit 3 */
} parsed;

static parsed no_memory(void) {
    cli_complain("out of memory");
    return FAILED;
}

static parsed store_text(const cli_command *command, const cli_option *option, const char *value,
                         const char **target) {
    if (*target != NULL) {
        cli_usage(command, "--%s is given twice", option->name);
        return WRONG;
    }
    *target = value;
    return GO_ON;
}

static parsed store_number(const cli_command *command, const cli_option *option, const char *value,
                           cli_number *target) {
    if (option->kind == CLI_SIZE ? parse_size(value, target) : parse_number(value, target)) {
        return GO_ON;
    }
    cli_usage(command, "--%s wants a number, not '%s'", option->name, value);
    return WRONG;
}

/* Stores one option's value. */
static parsed store(const cli_command *command, const cli_option *option, const char *value,
                    void *arguments) {
    void *target = (char *)arguments + option->offset;
    switch (option->kind) {
    case CLI_FLAG: *(bool *)target = true; return GO_ON;
    case CLI_TEXT: return store_text(command, option, value, target);
    case CLI_TEXTS:
    case CLI_WORDS: return cli_texts_add(target, value) ? GO_ON : no_memory();
    case CLI_NUMBER:
    case CLI_SIZE: return store_number(command, option, value, target);
    }
    return WRONG;
}

/* Takes argv[*index], an option, and its value, which may be the next word. */
static parsed take_option(const cli_command *command, int argc, char **argv, int *index,
                          void *arguments) {
    const char *name = argv[*index] + 2;
    size_t length = strcspn(name, "=");
    const char *value = name[length] == '=' ? name + length + 1 : NULL;
    const cli_option *option = find_option(command, name, length);
    if (option == NULL) {
        cli_usage(command, "there is no option '--%.*s'", (int)length, name);
        return WRONG;
    }
    if (option->kind == CLI_FLAG && value != NULL) {
        cli_usage(command, "--%s takes no value", option->name);
        return WRONG;
    }
    if (option->kind != CLI_FLAG && value == NULL) {
        if (*index + 1 >= argc) {
            cli_usage(command, "--%s wants %s", option->name, option->argument);
            return WRONG;
        }
        value = argv[++*index];
    }
    parsed result = store(command, option, value, arguments);
    bool more = option->kind == CLI_WORDS && value == argv[*index];
    while (more && result == GO_ON && *index + 1 < argc && argv[*index + 1][0] != '-') {
        result = store(command, option, argv[++*index], arguments);
    }
    return result;
}

static parsed parse(const cli_command *command, int argc, char **argv, void *arguments,
                    cli_texts *operands) {
    parsed result = GO_ON;
    bool options_ended = false;
    for (int i = 0; i < argc && result == GO_ON; i++) {
        const char *word = argv[i];
        if (options_ended || word[0] != '-' || word[1] == '\0') {
            result = cli_texts_add(operands, word) ? GO_ON : no_memory();
        } else if (strcmp(word, "--") == 0) {
            options_ended = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            cli_help(command);
            result = HELPED;
        } else if (word[1] != '-') {
            cli_usage(command, "there is no option '%s'", word);
            result = WRONG;
        } else {
            result = take_option(command, argc, argv, &i, arguments);
        }
    }
    return result;
}

static void free_lists(const cli_command *command, void *arguments) {
    for (const cli_option *option = command->options; option->name != NULL; option++) {
        if (option->kind == CLI_TEXTS || option->kind == CLI_WORDS) {
            cli_texts_free((cli_texts *)(void *)((char *)arguments + option->offset));
        }
    }
}

static int finish(const cli_command *command, parsed result, void *arguments,
                  const cli_texts *operands) {
    switch (result) {
    case GO_ON: return command->act(command, arguments, operands);
    case HELPED: return HM_OK;
    case WRONG: return HM_USAGE;
    case FAILED: break;
    }
    return HM_UNDECIDED;
}

int cli_run(const cli_command *command, int argc, char **argv) {
    if (command->run != NULL) {
        return command->run(command, argc, argv);
    }
    cli_texts operands = {0};
    void *arguments = calloc(1, command->arguments_size);
    parsed result =
        arguments != NULL ? parse(command, argc, argv, arguments, &operands) : no_memory();
    int code = finish(command, result, arguments, &operands);
    if (arguments != NULL) {
        free_lists(command, arguments);
    }
    free(arguments);
    cli_texts_free(&operands);
    return code;
}

/* ---- shared checks ------------------------------------------------------------------------- */

int cli_check(const cli_command *command, const cli_layout *layout, const cli_work *work) {
    enum { JOBS_MAX = 4096 };
    if (layout != NULL && layout->shards && layout->shard_size.given) {
        return cli_usage(command, "only one of --shards and --shard-size can be given");
    }
    if (layout != NULL && layout->shard_size.given && layout->shard_size.value == 0) {
        return cli_usage(command, "--shard-size must be at least 1");
    }
    if (work->jobs.value > JOBS_MAX) {
        return cli_usage(command, "--jobs must be at most %d", JOBS_MAX);
    }
    return HM_OK;
}

uint64_t cli_shard_size(const cli_layout *layout) {
    return layout->shards ? HM_SHARD_SIZE_DEFAULT : layout->shard_size.value;
}
