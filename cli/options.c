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
        if (column + length > HELP_WIDTH && column > indent) {
            printf("\n%*s", indent, "");
            column = indent;
        }
        printf("%.*s", length, text);
        column += length;
        text += length;
        if (*text == ' ') {
            putchar(' ');
            column++;
            text++;
        }
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

static bool add_text(cli_texts *texts, const char *text) {
    const char **larger = reallocarray(texts->list, texts->count + 1, sizeof(*larger));
    if (larger == NULL) {
        return false;
    }
    larger[texts->count++] = text;
    texts->list = larger;
    return true;
}

static bool parse_number(const char *text, bool units, cli_number *number) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9') {
        return false;
    }
    unsigned shift = 0;
    if (units && *end != '\0') {
        shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
        end += shift > 0;
    }
    if (*end != '\0' || value > UINT64_MAX >> shift) {
        return false;
    }
    *number = (cli_number){.value = (uint64_t)value << shift, .given = true};
    return true;
}

static const cli_option *find_option(const cli_command *command, const char *name,
                                     size_t length) {
    for (const cli_option *option = command->options; option->name != NULL; option++) {
        if (strlen(option->name) == length && strncmp(option->name, name, length) == 0) {
            return option;
        }
    }
    return NULL;
}

/* Stores one option's value. False after saying what is wrong with it. */
static bool store(const cli_command *command, const cli_option *option, const char *value,
                  void *arguments) {
    void *target = (char *)arguments + option->offset;
    switch (option->kind) {
    case CLI_FLAG: *(bool *)target = true; return true;
    case CLI_TEXT:
        if (*(const char **)target != NULL) {
            cli_usage(command, "--%s is given twice", option->name);
            return false;
        }
        *(const char **)target = value;
        return true;
    case CLI_TEXTS:
        if (!add_text(target, value)) {
            cli_usage(command, "out of memory");
            return false;
        }
        return true;
    case CLI_NUMBER:
    case CLI_SIZE:
        if (!parse_number(value, option->kind == CLI_SIZE, target)) {
            cli_usage(command, "--%s wants a number, not '%s'", option->name, value);
            return false;
        }
        return true;
    }
    return false;
}

/* Takes argv[*index], an option, and its value, which may be the next word. */
static bool take_option(const cli_command *command, int argc, char **argv, int *index,
                        void *arguments) {
    const char *name = argv[*index] + 2;
    size_t length = strcspn(name, "=");
    const char *value = name[length] == '=' ? name + length + 1 : NULL;
    const cli_option *option = find_option(command, name, length);
    if (option == NULL) {
        cli_usage(command, "there is no option '--%.*s'", (int)length, name);
        return false;
    }
    if (option->kind == CLI_FLAG && value != NULL) {
        cli_usage(command, "--%s takes no value", option->name);
        return false;
    }
    if (option->kind != CLI_FLAG && value == NULL) {
        if (*index + 1 >= argc) {
            cli_usage(command, "--%s wants %s", option->name, option->argument);
            return false;
        }
        value = argv[++*index];
    }
    return store(command, option, value, arguments);
}

cli_parsed cli_parse(const cli_command *command, int argc, char **argv, void *arguments,
                     cli_texts *operands) {
    bool options_ended = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (options_ended || word[0] != '-' || word[1] == '\0') {
            if (!add_text(operands, word)) {
                cli_usage(command, "out of memory");
                return CLI_WRONG;
            }
        } else if (strcmp(word, "--") == 0) {
            options_ended = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            cli_help(command);
            return CLI_DONE;
        } else if (word[1] != '-') {
            cli_usage(command, "there is no option '%s'", word);
            return CLI_WRONG;
        } else if (!take_option(command, argc, argv, &i, arguments)) {
            return CLI_WRONG;
        }
    }
    return CLI_GO_ON;
}
