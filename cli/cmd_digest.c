/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    const char *hash;
    cli_layout layout;
    cli_texts ignore;
    bool include_git;
    bool follow_symlinks;
    const char *part;
    const char *out;
    cli_work work;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, hash, CLI_TEXT, "hash", "HASH",
               "sha256 (the default), blake2b or blake3."),
    CLI_LAYOUT_OPTIONS(arguments, ""),
    CLI_OPTION(arguments, ignore, CLI_TEXTS, "ignore", "PATH",
               "Leave out a file or directory, named relative to the model, such as its "
               "signature. May be given again."),
    CLI_OPTION(arguments, include_git, CLI_FLAG, "include-git", NULL,
               "Take in .git, .gitignore, .gitattributes and .github."),
    CLI_OPTION(arguments, follow_symlinks, CLI_FLAG, "follow-symlinks", NULL,
               "Digest what symbolic links to files inside the model lead to."),
    CLI_OPTION(arguments, part, CLI_TEXT, "part", "I/N",
               "Digest one of N shares, numbered from 1, that take about the same time; 'hallmark "
               "sign --parts' puts them together. Needs --out."),
    CLI_OPTION(arguments, out, CLI_TEXT, "out", "FILE", "Where to write the share's digests."),
    CLI_WORK_OPTIONS(arguments),
    {0},
};

/* Digits without sign or space. */
static bool read_count(const char *text, const char **end, unsigned *count) {
    enum { DIGITS = 6 };
    size_t length = strspn(text, "0123456789");
    *end = text + length;
    *count = length <= DIGITS ? (unsigned)strtoul(text, NULL, 10) : 0;
    return length > 0 && length <= DIGITS;
}

static bool read_part(const char *text, unsigned *part, unsigned *count) {
    const char *end;
    return read_count(text, &end, part) && *end == '/' && read_count(end + 1, &end, count) &&
           *end == '\0' && *part > 0 && *part <= *count;
}

static int digest(const arguments *given, const char *path) {
    hm_error *error = NULL;
    hm_report *report = NULL;
    hm_model *model = NULL;
    cli_progress progress;
    hm_digest_options how = HM_DIGEST_OPTIONS_INIT;
    how.flags = (given->include_git ? HM_DIGEST_INCLUDE_GIT : 0) |
                (given->follow_symlinks ? HM_DIGEST_FOLLOW_SYMLINKS : 0);
    how.hash = given->hash;
    how.shard_size = cli_shard_size(&given->layout);
    how.ignore = given->ignore.list;
    how.ignore_count = given->ignore.count;
    how.jobs = (unsigned)given->work.jobs.value;
    how.out = given->out;
    if (given->part != NULL) {
        (void)read_part(given->part, &how.part, &how.part_count);
    }
    how.progress = cli_progress_show;
    how.progress_context = &progress;
    hm_status status = hm_model_open(path, &model, &error);
    cli_progress_start(&progress, given->work.no_progress);
    if (status == HM_OK) {
        status = hm_digest(model, &how, &report, &error);
    }
    cli_progress_end(&progress);
    hm_model_close(&model);
    return cli_finish("digest", path, status, &report, &error, &given->work);
}

static int act(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const arguments *given = arguments_given;
    if (operands->count != 1) {
        return cli_usage(command, "name one model: a file or a directory");
    }
    if (given->layout.files && cli_shard_size(&given->layout) != 0) {
        return cli_usage(command, "only one of --files, --shards and --shard-size can be given");
    }
    unsigned part;
    unsigned count;
    if ((given->part != NULL) != (given->out != NULL)) {
        return cli_usage(command, "--part I/N and --out FILE go together");
    }
    if (given->part != NULL && !read_part(given->part, &part, &count)) {
        return cli_usage(command, "--part wants I/N, such as 1/8, not '%s'", given->part);
    }
    int code = cli_check(command, &given->layout, &given->work);
    return code == HM_OK ? digest(given, operands->list[0]) : code;
}

const cli_command cli_digest = {
    .name = "digest",
    .summary = "Show the digests of a model, as signing it would compute them.",
    .operands = "MODEL",
    .details =
        "The model digest names a model: it binds every name, size and content. The root digest\n"
        "is the one other OMS tools know; it binds contents only.\n",
    .options = options,
    .arguments_size = sizeof(arguments),
    .act = act,
};
