/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* A new command is a file and a row here. One that begins like another comes before it. */
static const cli_command *const commands[] = {
    &cli_key_generate,
    &cli_key_list,
    &cli_key_show,
    &cli_key_rotate,
    &cli_key_revoke,
    &cli_key_export,
    &cli_sign,
    &cli_verify,
    &cli_resign,
    &cli_digest,
    &cli_inspect,
    &cli_policy_check,
    &cli_policy_explain,
    &cli_deploy,
    &cli_rollback,
    &cli_store_check,
    &cli_status,
    &cli_quarantine_list,
    &cli_quarantine_show,
    &cli_quarantine_release,
    &cli_quarantine_purge,
    &cli_gc,
    &cli_config_check,
    &cli_log_verify,
    &cli_log_checkpoint,
    &cli_log,
    &cli_model_signing,
};
enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

static void help(FILE *stream) {
    fputs("Usage: hallmark COMMAND [OPTION]... [ARGUMENT]...\n\n"
          "Signs machine-learning models, and verifies them before they are loaded.\n\n"
          "Commands:\n",
          stream);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(stream, "  %-18s  %s\n", commands[i]->name, commands[i]->summary);
    }
    fputs("\n  hallmark COMMAND --help    what a command takes\n"
          "  hallmark --version         the version, and what it was built with\n\n"
          "Exit status: 0 done (verify: verified), 1 refused, 2 the command line is wrong,\n"
          "3 could not be decided or done, 4 not verified but let through by a policy file.\n",
          stream);
}

/* Help that nobody could read was not shown. Commands see to their reports themselves. */
static int check_output(int code) {
    if (code != HM_OK || (fflush(stdout) == 0 && !ferror(stdout))) {
        return code;
    }
    cli_complain("cannot write to standard output: %s", strerror(errno));
    return HM_UNDECIDED;
}

static int version(void) {
    hm_error *error = NULL;
    char *info = NULL;
    if (hm_build_info(&info, &error) != HM_OK) {
        return cli_fail(HM_UNDECIDED, &error);
    }
    printf("hallmark %s\n%s", hm_version(), info);
    hm_text_free(&info);
    return HM_OK;
}

/* The words of the command's name, when `argv` begins with them; else 0. */
static int matches(const cli_command *command, int argc, char **argv) {
    const char *name = command->name;
    int words = 0;
    while (*name != '\0') {
        size_t length = strcspn(name, " ");
        if (words >= argc || strlen(argv[words]) != length ||
            strncmp(argv[words], name, length) != 0) {
            return 0;
        }
        words++;
        name += length;
        name += *name == ' ' ? 1 : 0;
    }
    return words;
}

/* "hallmark key" alone is half a name. */
static bool begins_a_name(const char *word) {
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        size_t length = strlen(word);
        if (strncmp(commands[i]->name, word, length) == 0 && commands[i]->name[length] == ' ') {
            return true;
        }
    }
    return false;
}

static void list_group(FILE *stream, const char *word) {
    size_t length = strlen(word);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strncmp(commands[i]->name, word, length) == 0 && commands[i]->name[length] == ' ') {
            fprintf(stream, "  hallmark %-18s  %s\n", commands[i]->name, commands[i]->summary);
        }
    }
}

/* One letter too many, too few or wrong, or two that changed places. */
static bool is_one_slip(const char *typed, const char *meant, size_t meant_length) {
    size_t length = strlen(typed), rest = meant_length, start = 0;
    while (start < length && start < rest && typed[start] == meant[start]) {
        start++;
    }
    while (length > start && rest > start && typed[length - 1] == meant[rest - 1]) {
        length--;
        rest--;
    }
    typed += start;
    meant += start;
    length -= start;
    rest -= start;
    return (length <= 1 && rest <= 1) ||
           (length == 2 && rest == 2 && typed[0] == meant[1] && typed[1] == meant[0]);
}

/* Whether each word of the command's name is what was typed, or nearly. */
static bool is_meant(const cli_command *command, int argc, char **argv) {
    const char *name = command->name;
    for (int i = 0; *name != '\0'; i++) {
        size_t length = strcspn(name, " ");
        if (i >= argc || !is_one_slip(argv[i], name, length)) {
            return false;
        }
        name += length;
        name += *name == ' ' ? 1 : 0;
    }
    return true;
}

static void suggest(int argc, char **argv) {
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (is_meant(commands[i], argc, argv)) {
            cli_complain("did you mean 'hallmark %s'?", commands[i]->name);
        }
    }
}

static int unknown(int argc, char **argv) {
    if (argc > 0 && begins_a_name(argv[0])) {
        bool asked = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
        if (!asked) {
            suggest(argc, argv);
            cli_complain("'%s' is followed by one of these:", argv[0]);
        }
        list_group(asked ? stdout : stderr, argv[0]);
        return asked ? HM_OK : HM_USAGE;
    }
    if (argc > 0) {
        cli_complain("there is no command '%s'", argv[0]);
        suggest(argc, argv);
        fputc('\n', stderr);
    }
    help(stderr);
    return HM_USAGE;
}

/* Installed under the name of the reference tool, the program takes that tool's command line. */
static bool called_as_model_signing(const char *program) {
    const char *slash = strrchr(program, '/');
    return strcmp(slash != NULL ? slash + 1 : program, "model_signing") == 0;
}

static int dispatch(int argc, char **argv) {
    if (argc > 0 && called_as_model_signing(argv[0])) {
        return cli_run(&cli_model_signing, argc - 1, argv + 1);
    }
    argc -= argc > 0;
    argv++;
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 ||
                     strcmp(argv[0], "help") == 0)) {
        help(stdout);
        return HM_OK;
    }
    if (argc > 0 && strcmp(argv[0], "--version") == 0) {
        return version();
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        int words = matches(commands[i], argc, argv);
        if (words > 0) {
            return cli_run(commands[i], argc - words, argv + words);
        }
    }
    return unknown(argc, argv);
}

int main(int argc, char **argv) {
    (void)signal(SIGXFSZ, SIG_IGN); /* a file that may not grow so large is an error like others */
    return check_output(dispatch(argc, argv));
}
