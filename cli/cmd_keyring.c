/* SPDX-License-Identifier: Apache-2.0 */
/* What is done with keyrings: key list, show, rotate, revoke, export. */
#include "cli.h"

/* A time as the user wrote it; `none` when he did not. */
static hm_status read_time(const char *text, int64_t none, int64_t *time, hm_error **error) {
    *time = none;
    return text != NULL ? hm_time_from_text(text, time, error) : HM_OK;
}

/* Prints what was asked for, or why not. */
static int finish(hm_status status, char **text, hm_error **error) {
    if (status != HM_OK) {
        return cli_fail(status, error);
    }
    fputs(*text, stdout);
    hm_text_free(text);
    return HM_OK;
}

/* ---- list, show ----------------------------------------------------------------------------- */

typedef struct describe_arguments {
    cli_number version;
    bool json;
} describe_arguments;

static const cli_option list_options[] = {
    CLI_OPTION(describe_arguments, json, CLI_FLAG, "json", NULL, "Print the list as JSON."),
    {0},
};

static int list(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const describe_arguments *given = arguments_given;
    hm_error *error = NULL;
    char *text = NULL;
    if (operands->count != 1) {
        return cli_usage(command, "name one keyring: a directory");
    }
    hm_status status =
        hm_keyring_describe(operands->list[0], given->json ? HM_DESCRIBE_JSON : 0, &text, &error);
    return finish(status, &text, &error);
}

const cli_command cli_key_list = {
    .name = "key list",
    .summary = "List the versions of the key in a keyring.",
    .operands = "DIR",
    .details = NULL,
    .options = list_options,
    .arguments_size = sizeof(describe_arguments),
    .act = list,
};

static const cli_option show_options[] = {
    CLI_OPTION(describe_arguments, version, CLI_NUMBER, "version", "N",
               "Of a keyring: this version. Default: the one that signs now."),
    CLI_OPTION(describe_arguments, json, CLI_FLAG, "json", NULL, "Print it as JSON."),
    {0},
};

static int show(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const describe_arguments *given = arguments_given;
    hm_error *error = NULL;
    char *text = NULL;
    if (operands->count != 1) {
        return cli_usage(command, "name one keyring or public key");
    }
    if (given->version.given && given->version.value == 0) {
        return cli_usage(command, "--version must be at least 1");
    }
    hm_status status = hm_key_describe(operands->list[0], given->version.value,
                                       given->json ? HM_DESCRIBE_JSON : 0, &text, &error);
    return finish(status, &text, &error);
}

const cli_command cli_key_show = {
    .name = "key show",
    .summary = "Show a public key's algorithm, fingerprint and OMS hint, and its record.",
    .operands = "DIR|KEY",
    .details = "DIR is a keyring, KEY a public key as 'hallmark verify --key' takes it.\n",
    .options = show_options,
    .arguments_size = sizeof(describe_arguments),
    .act = show,
};

/* ---- rotate --------------------------------------------------------------------------------- */

typedef struct rotate_arguments {
    const char *type;
    cli_passphrase passphrase;
    bool no_passphrase;
    const char *signer;
    const char *base_name;
    const char *signs_from;
    const char *not_after;
    bool remove_old_private;
    cli_record record;
} rotate_arguments;

static const cli_option rotate_options[] = {
    CLI_OPTION(rotate_arguments, type, CLI_TEXT, "type", "TYPE",
               "ec-p256 (the default), ec-p384, ec-p521, rsa-3072, rsa-4096 or ed25519."),
    CLI_OPTION(rotate_arguments, passphrase.file, CLI_TEXT, "passphrase-file", "FILE",
               "Encrypt with the passphrase in the first line of FILE, instead of asking for it."),
    CLI_OPTION(rotate_arguments, passphrase.fd, CLI_NUMBER, "passphrase-fd", "N",
               "The same, from the open descriptor N."),
    CLI_OPTION(rotate_arguments, no_passphrase, CLI_FLAG, "no-passphrase", NULL,
               "Store the private key unencrypted."),
    CLI_OPTION(rotate_arguments, signs_from, CLI_TEXT, "signs-from", "TIME",
               "When the new version begins to sign. Default: now."),
    CLI_OPTION(rotate_arguments, not_after, CLI_TEXT, "not-after", "TIME",
               "Until when signatures by the new version are believed. Default: without end."),
    CLI_OPTION(rotate_arguments, signer, CLI_TEXT, "signer", "NAME",
               "Whose keyring it is; when it is made. Default: the directory's name."),
    CLI_OPTION(rotate_arguments, base_name, CLI_TEXT, "base-name", "NAME",
               "What key files are called; when the keyring is made. Default: signing_key."),
    CLI_OPTION(rotate_arguments, remove_old_private, CLI_FLAG, "remove-old-private", NULL,
               "Delete the private keys of older versions once the new one is recorded."),
    CLI_RECORD_OPTIONS(rotate_arguments),
    {0},
};

/* A keyring is not changed when that cannot be recorded. */
static hm_status begin(const cli_record *given, cli_recording *recording, hm_error **error) {
    hm_status status = cli_record_load(given, recording, error);
    return status == HM_OK ? cli_record_open(recording, error) : status;
}

static int end(cli_recording *recording, hm_status status, hm_error **error) {
    int code = status == HM_OK ? HM_OK : cli_fail(status, error);
    cli_record_close(recording);
    return code;
}

static hm_status rotate_keyring(rotate_arguments *given, const char *keyring, uint64_t *version,
                                hm_error **error) {
    hm_rotate_options how = HM_ROTATE_OPTIONS_INIT;
    how.flags = (given->no_passphrase ? HM_ROTATE_PLAIN : 0) |
                (given->remove_old_private ? HM_ROTATE_REMOVE_OLD_PRIVATE : 0);
    how.type = given->type;
    how.passphrase = cli_ask_passphrase;
    how.passphrase_context = &given->passphrase;
    how.signer = given->signer;
    how.base_name = given->base_name;
    hm_status status = read_time(given->signs_from, 0, &how.signs_from, error);
    if (status == HM_OK) {
        status = read_time(given->not_after, 0, &how.not_after, error);
    }
    return status == HM_OK ? hm_keyring_rotate(keyring, &how, version, error) : status;
}

static int rotate(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    rotate_arguments *given = arguments_given;
    hm_error *error = NULL;
    uint64_t version = 0;
    if (operands->count != 1) {
        return cli_usage(command, "name one keyring: a directory");
    }
    if (given->no_passphrase && (given->passphrase.file != NULL || given->passphrase.fd.given)) {
        return cli_usage(command, "--no-passphrase does not go with a passphrase");
    }
    cli_recording recording;
    hm_process_harden();
    hm_status status = begin(&given->record, &recording, &error);
    if (status == HM_OK) {
        status = rotate_keyring(given, operands->list[0], &version, &error);
    }
    if (status == HM_OK) {
        printf("version %llu\n", (unsigned long long)version);
        status =
            cli_record_key(&recording, "key-rotated", operands->list[0], version, NULL, &error);
    }
    return end(&recording, status, &error);
}

const cli_command cli_key_rotate = {
    .name = "key rotate",
    .summary = "Make the next version of the key in a keyring, or the keyring itself.",
    .operands = "DIR",
    .details = "Writes DIR/signing_key_vN.pem and .pub and prints N. Older versions stay for\n"
               "verification. TIME is 2026-01-05T20:31:07Z, 2026-01-05 (UTC), or 90d from now.\n",
    .options = rotate_options,
    .arguments_size = sizeof(rotate_arguments),
    .act = rotate,
};

/* ---- revoke --------------------------------------------------------------------------------- */

typedef struct revoke_arguments {
    cli_number version;
    const char *reason;
    const char *since;
    cli_record record;
} revoke_arguments;

static const cli_option revoke_options[] = {
    CLI_OPTION(revoke_arguments, version, CLI_NUMBER, "version", "N",
               "The version that is not to be believed any more. Required."),
    CLI_OPTION(revoke_arguments, reason, CLI_TEXT, "reason", "TEXT",
               "Why, in one line for those who verify. Required."),
    CLI_OPTION(revoke_arguments, since, CLI_TEXT, "since", "TIME",
               "From when on verifiers refuse it. Default: now."),
    CLI_RECORD_OPTIONS(revoke_arguments),
    {0},
};

static int revoke(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    const revoke_arguments *given = arguments_given;
    hm_error *error = NULL;
    int64_t since = 0;
    if (operands->count != 1) {
        return cli_usage(command, "name one keyring: a directory");
    }
    if (given->version.value == 0 || given->reason == NULL) {
        return cli_usage(command, "--version N and --reason TEXT are needed");
    }
    cli_recording recording;
    hm_status status = begin(&given->record, &recording, &error);
    if (status == HM_OK) {
        status = read_time(given->since, 0, &since, &error);
    }
    if (status == HM_OK) {
        status = hm_keyring_revoke(operands->list[0], given->version.value, since, given->reason,
                                   &error);
    }
    if (status == HM_OK) {
        status = cli_record_key(&recording, "key-revoked", operands->list[0], given->version.value,
                                given->reason, &error);
    }
    return end(&recording, status, &error);
}

const cli_command cli_key_revoke = {
    .name = "key revoke",
    .summary = "Record that a version of the key is not to be believed any more.",
    .operands = "DIR",
    .details =
        "It signs no more at once; verifiers learn of it by the next 'hallmark key export'.\n"
        "All that it ever signed is refused: a bare signature does not prove when it was\n"
        "made.\n",
    .options = revoke_options,
    .arguments_size = sizeof(revoke_arguments),
    .act = revoke,
};

/* ---- export --------------------------------------------------------------------------------- */

typedef struct export_arguments {
    const char *key;
    cli_passphrase passphrase;
    const char *out;
    const char *expires;
} export_arguments;

static const cli_option export_options[] = {
    CLI_OPTION(export_arguments, key, CLI_TEXT, "key", "KEY",
               "The admin's private key, which signs the export: not one of the keyring. "
               "Required."),
    CLI_OPTION(export_arguments, passphrase.file, CLI_TEXT, "passphrase-file", "FILE",
               "Take that key's passphrase from the first line of FILE, instead of asking for it."),
    CLI_OPTION(export_arguments, passphrase.fd, CLI_NUMBER, "passphrase-fd", "N",
               "The same, from the open descriptor N."),
    CLI_OPTION(export_arguments, out, CLI_TEXT, "out", "FILE",
               "Where to write; an older export there is replaced. Required."),
    CLI_OPTION(export_arguments, expires, CLI_TEXT, "expires", "TIME",
               "Until when verifiers may use it. Default: 90d."),
    {0},
};

static hm_status export_keyring(export_arguments *given, const char *keyring, uint64_t *number,
                                hm_error **error) {
    hm_signer *admin = NULL;
    int64_t expires = 0;
    hm_signer_options how = HM_SIGNER_OPTIONS_INIT;
    how.passphrase = cli_ask_passphrase;
    how.passphrase_context = &given->passphrase;
    hm_status status =
        read_time(given->expires != NULL ? given->expires : "90d", 0, &expires, error);
    if (status == HM_OK) {
        status = hm_signer_open(given->key, &how, &admin, error);
    }
    if (status == HM_OK) {
        status = hm_keyring_export(keyring, admin, given->out, expires, number, error);
    }
    hm_signer_close(&admin);
    return status;
}

static int export_it(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    export_arguments *given = arguments_given;
    hm_error *error = NULL;
    uint64_t number = 0;
    if (operands->count != 1) {
        return cli_usage(command, "name one keyring: a directory");
    }
    if (given->key == NULL || given->out == NULL) {
        return cli_usage(command, "--key KEY and --out FILE are needed");
    }
    hm_process_harden();
    hm_status status = export_keyring(given, operands->list[0], &number, &error);
    if (status != HM_OK) {
        return cli_fail(status, &error);
    }
    printf("export %llu\n", (unsigned long long)number);
    return HM_OK;
}

const cli_command cli_key_export = {
    .name = "key export",
    .summary = "Write what verifiers need to know of a keyring, as one signed file.",
    .operands = "DIR",
    .details = "It holds public keys, their periods and revocations, and may travel over any\n"
               "channel. Prints its number. See 'hallmark verify --keyring'.\n",
    .options = export_options,
    .arguments_size = sizeof(export_arguments),
    .act = export_it,
};
