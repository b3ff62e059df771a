/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger: log, log verify, log checkpoint. */
#include "cli.h"

#include <string.h>

/* Where the ledger is. */
typedef struct place {
    const char *ledger;
    const char *store;
    const char *config;
} place;
#define PLACE_OPTIONS(type)                                                                        \
    CLI_OPTION(type, place.ledger, CLI_TEXT, "ledger", "URI",                                      \
               "The ledger: a path, sqlite:PATH or postgresql://... Default: what HALLMARK_LEDGER" \
               " names, else the configuration, else ledger.db in the store."),                    \
        CLI_OPTION(type, place.store, CLI_TEXT, "store", "DIR",                                    \
                   "The store. Default: what HALLMARK_STORE names, else the configuration."),      \
        CLI_OPTION(type, place.config, CLI_TEXT, "config", "FILE",                                 \
                   "The configuration file. Default: what HALLMARK_CONFIG names, else "            \
                   "/etc/hallmark/config.yaml, if it is there.")

static hm_status load(const place *given, hm_config **config, hm_error **error) {
    hm_status status = hm_config_load(given->config, config, error);
    if (status == HM_OK && given->store != NULL) {
        status = hm_config_set(*config, "store", given->store, error);
    }
    if (status == HM_OK && given->ledger != NULL) {
        status = hm_config_set(*config, "ledger", given->ledger, error);
    }
    return status;
}

static int finish(hm_status status, hm_config **config, hm_error **error) {
    hm_config_free(config);
    return status == HM_OK ? HM_OK : cli_fail(status, error);
}

/* ---- log ------------------------------------------------------------------------------------ */

typedef struct log_arguments {
    place place;
    bool json;
    const char *since;
    const char *model;
    const char *event;
    cli_number limit;
} log_arguments;

static const cli_option log_options[] = {
    CLI_OPTION(log_arguments, json, CLI_FLAG, "json", NULL,
               "Print a line of JSON for each entry: the text that its digest is of."),
    CLI_OPTION(log_arguments, since, CLI_TEXT, "since", "TIME",
               "Only events from then on: 2026-01-05T20:31:07Z, 2026-01-05 (UTC), or 7d for the "
               "last seven days."),
    CLI_OPTION(log_arguments, model, CLI_TEXT, "model", "NAME", "Only events of this model."),
    CLI_OPTION(log_arguments, event, CLI_TEXT, "event", "WORD",
               "Only these events, such as refused or deployed."),
    CLI_OPTION(log_arguments, limit, CLI_NUMBER, "limit", "N",
               "Only the newest N of them. Default: all."),
    PLACE_OPTIONS(log_arguments),
    {0},
};

static bool print(void *context, const char *text, size_t length) {
    (void)context;
    return fwrite(text, 1, length, stdout) == length;
}

/* Days lead forward wherever times are written, and back in a log. */
static hm_status read_since(const char *text, int64_t *since, hm_error **error) {
    int64_t now = 0;
    size_t length = text != NULL ? strlen(text) : 0;
    hm_status status = text != NULL ? hm_time_from_text(text, since, error) : HM_OK;
    if (status != HM_OK || length == 0 || text[length - 1] != 'd') {
        return status;
    }
    status = hm_time_from_text("0d", &now, error);
    *since = now - (*since - now);
    return status;
}

static int act_log(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const log_arguments *given = arguments_given;
    hm_log_options how = HM_LOG_OPTIONS_INIT;
    hm_error *error = NULL;
    hm_config *config = NULL;
    if (operands->count > 0) {
        return cli_usage(command, "'%s' is not what it takes", operands->list[0]);
    }
    if (given->limit.given && given->limit.value == 0) {
        return cli_usage(command, "--limit must be at least 1");
    }
    how.flags = given->json ? HM_LOG_JSON : 0;
    how.model = given->model;
    how.event = given->event;
    how.limit = given->limit.value;
    hm_status status = read_since(given->since, &how.since, &error);
    if (status == HM_OK) {
        status = load(&given->place, &config, &error);
    }
    if (status == HM_OK) {
        status = hm_log_read(config, &how, print, NULL, &error);
    }
    (void)fflush(stdout); /* before what standard error says of it */
    return finish(status, &config, &error);
}

const cli_command cli_log = {
    .name = "log",
    .summary = "Show what was recorded: what was signed, verified, refused, deployed.",
    .operands = "[--since TIME] [--model NAME] [--event WORD]",
    .details = "Oldest first. What is shown is what the ledger says; 'hallmark log verify' says\n"
               "whether that is what was recorded.\n",
    .options = log_options,
    .arguments_size = sizeof(log_arguments),
    .act = act_log,
};

/* ---- verify --------------------------------------------------------------------------------- */

typedef struct verify_arguments {
    place place;
    const char *key;
    const char *checkpoint;
    bool json;
} verify_arguments;

static const cli_option verify_options[] = {
    CLI_OPTION(verify_arguments, key, CLI_TEXT, "key", "PUB",
               "Whose checkpoints are believed: a public key, a keyring or a key URI. Default: the "
               "public half of the configuration's checkpoint key."),
    CLI_OPTION(verify_arguments, checkpoint, CLI_TEXT, "checkpoint", "FILE",
               "A checkpoint that was kept elsewhere. The ledger must contain what it vouches "
               "for."),
    CLI_OPTION(verify_arguments, json, CLI_FLAG, "json", NULL, "Print the result as JSON."),
    PLACE_OPTIONS(verify_arguments),
    {0},
};

static int act_verify(const cli_command *command, void *arguments_given,
                      const cli_texts *operands) {
    const verify_arguments *given = arguments_given;
    hm_log_verify_options how = HM_LOG_VERIFY_OPTIONS_INIT;
    hm_error *error = NULL;
    hm_config *config = NULL;
    char *text = NULL;
    if (operands->count > 0) {
        return cli_usage(command, "'%s' is not what it takes", operands->list[0]);
    }
    how.flags = given->json ? HM_LOG_JSON : 0;
    how.key = given->key;
    how.checkpoint = given->checkpoint;
    hm_status status = load(&given->place, &config, &error);
    if (status == HM_OK) {
        status = hm_log_verify(config, &how, &text, &error);
    }
    if (text != NULL) {
        fputs(text, given->json || status == HM_OK ? stdout : stderr);
        (void)fflush(stdout);
        hm_text_free(&text);
    }
    return finish(status, &config, &error);
}

const cli_command cli_log_verify = {
    .name = "log verify",
    .summary = "Verify that the ledger is as it was recorded.",
    .operands = "[--key PUB] [--checkpoint FILE]",
    .details = "Every entry's digest, its link to the one before, the signed checkpoints, and\n"
               "that nothing is missing that was here when the ledger was last verified.\n"
               "Exit status: 0 when it is, 1 when an entry was changed, removed or moved.\n",
    .options = verify_options,
    .arguments_size = sizeof(verify_arguments),
    .act = act_verify,
};

/* ---- checkpoint ----------------------------------------------------------------------------- */

typedef struct checkpoint_arguments {
    place place;
    const char *key;
    cli_passphrase passphrase;
    const char *out;
} checkpoint_arguments;

static const cli_option checkpoint_options[] = {
    CLI_OPTION(checkpoint_arguments, key, CLI_TEXT, "key", "KEY",
               "The private key that signs: a PEM file, a keyring or a key URI. Required."),
    CLI_OPTION(checkpoint_arguments, passphrase.file, CLI_TEXT, "passphrase-file", "FILE",
               "Take the key's passphrase, or the token's PIN, from the first line of FILE, "
               "instead of asking for it."),
    CLI_OPTION(checkpoint_arguments, passphrase.fd, CLI_NUMBER, "passphrase-fd", "N",
               "The same, from the open descriptor N."),
    CLI_OPTION(checkpoint_arguments, out, CLI_TEXT, "out", "FILE",
               "Also write the checkpoint to FILE, to be kept elsewhere; an older one is "
               "replaced."),
    PLACE_OPTIONS(checkpoint_arguments),
    {0},
};

static int act_checkpoint(const cli_command *command, void *arguments_given,
                          const cli_texts *operands) {
    checkpoint_arguments *given = arguments_given;
    hm_signer_options how = HM_SIGNER_OPTIONS_INIT;
    hm_error *error = NULL;
    hm_config *config = NULL;
    hm_signer *signer = NULL;
    if (operands->count > 0) {
        return cli_usage(command, "'%s' is not what it takes", operands->list[0]);
    }
    if (given->key == NULL) {
        return cli_usage(command, "name the key that signs with --key");
    }
    hm_process_harden();
    how.passphrase = cli_ask_passphrase;
    how.passphrase_context = &given->passphrase;
    hm_status status = load(&given->place, &config, &error);
    if (status == HM_OK) {
        status = hm_signer_open(given->key, &how, &signer, &error);
    }
    if (status == HM_OK) {
        status = hm_log_checkpoint(config, signer, given->out, &error);
    }
    hm_signer_close(&signer);
    return finish(status, &config, &error);
}

const cli_command cli_log_checkpoint = {
    .name = "log checkpoint",
    .summary = "Sign how far the ledger has come.",
    .operands = "--key KEY [--out FILE]",
    .details = "Who changes or cuts off what a checkpoint covers is found out by whoever has the\n"
               "checkpoint. Only a ledger that continues the last one is signed.\n",
    .options = checkpoint_options,
    .arguments_size = sizeof(checkpoint_arguments),
    .act = act_checkpoint,
};
