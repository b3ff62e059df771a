/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdio.h>

typedef struct arguments {
    const char *hash;
    bool files;
    bool shards;
    cli_number shard_size;
    cli_texts ignore;
    bool include_git;
    bool follow_symlinks;
    cli_number jobs;
    bool list;
    bool json;
    bool no_progress;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, hash, CLI_TEXT, "hash", "HASH",
               "sha256 (the default), blake2b or blake3."),
    CLI_OPTION(arguments, files, CLI_FLAG, "files", NULL,
               "One digest per file. This is the default."),
    CLI_OPTION(arguments, shards, CLI_FLAG, "shards", NULL,
               "One digest per shard of 1,000,000,000 bytes."),
    CLI_OPTION(arguments, shard_size, CLI_SIZE, "shard-size", "BYTES",
               "Shards of another size; K, M and G stand for powers of 1024."),
    CLI_OPTION(arguments, ignore, CLI_TEXTS, "ignore", "PATH",
               "Leave out a file or directory, named relative to the model, such as its "
               "signature. May be given again."),
    CLI_OPTION(arguments, include_git, CLI_FLAG, "include-git", NULL,
               "Take in .git, .gitignore, .gitattributes and .github."),
    CLI_OPTION(arguments, follow_symlinks, CLI_FLAG, "follow-symlinks", NULL,
               "Digest what symbolic links to files inside the model lead to."),
    CLI_OPTION(arguments, jobs, CLI_NUMBER, "jobs", "N",
               "Threads to use. Default: as many as the process may."),
    CLI_OPTION(arguments, list, CLI_FLAG, "list", NULL, "Show every entry, however many."),
    CLI_OPTION(arguments, json, CLI_FLAG, "json", NULL, "Print the report as JSON."),
    CLI_OPTION(arguments, no_progress, CLI_FLAG, "no-progress", NULL,
               "Show no progress, not even on a terminal."),
    {0},
};

static int check(const cli_command *command, const arguments *given, const cli_texts *operands) {
    if (operands->count != 1) {
        return cli_usage(command, "name one model: a file or a directory");
    }
    if (given->files + given->shards + given->shard_size.given > 1) {
        return cli_usage(command, "only one of --files, --shards and --shard-size can be given");
    }
    if (given->shard_size.given && given->shard_size.value == 0) {
        return cli_usage(command, "--shard-size must be at least 1");
    }
    if (given->jobs.value > 4096) {
        return cli_usage(command, "--jobs must be at most 4096");
    }
    return HM_OK;
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
    how.shard_size = given->shards ? HM_SHARD_SIZE_DEFAULT : given->shard_size.value;
    how.ignore = given->ignore.list;
    how.ignore_count = given->ignore.count;
    how.jobs = (unsigned)given->jobs.value;
    how.progress = cli_progress_show;
    how.progress_context = &progress;
    hm_status status = hm_model_open(path, &model, &error);
    cli_progress_start(&progress, given->no_progress);
    if (status == HM_OK) {
        status = hm_digest(model, &how, &report, &error);
    }
    cli_progress_end(&progress);
    hm_model_close(&model);
    return cli_finish("digest", path, status, &report, &error, given->json, given->list);
}

static int run(const cli_command *command, int argc, char **argv) {
    arguments given = {0};
    cli_texts operands = {0};
    cli_parsed parsed = cli_parse(command, argc, argv, &given, &operands);
    int code = parsed == CLI_DONE ? HM_OK : HM_USAGE;
    if (parsed == CLI_GO_ON) {
        code = check(command, &given, &operands);
        code = code == HM_OK ? digest(&given, operands.list[0]) : code;
    }
    cli_texts_free(&given.ignore);
    cli_texts_free(&operands);
    return code;
}

const cli_command cli_digest = {
    .name = "digest",
    .summary = "Show the digests of a model, as signing it would compute them.",
    .operands = "MODEL",
    .details = "The model digest names a model: it binds every name, size and content. The root digest\n"
               "is the one other OMS tools know; it binds contents only.\n",
    .options = options,
    .run = run,
};
