/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdio.h>
#include <string.h>

typedef struct arguments {
    const char *type;
    const char *public_file;
    cli_passphrase passphrase;
    bool no_passphrase;
} arguments;

static const cli_option options[] = {
    CLI_OPTION(arguments, type, CLI_TEXT, "type", "TYPE",
               "ec-p256 (the default), ec-p384, ec-p521, rsa-3072, rsa-4096 or ed25519. The "
               "formats "
               "sig-json and manifest-json need an RSA key."),
    CLI_OPTION(arguments, public_file, CLI_TEXT, "public", "FILE",
               "Write the public key there. Default: beside the private one, as .pub; of a key in "
               "a token: nowhere."),
    CLI_OPTION(arguments, passphrase.file, CLI_TEXT, "passphrase-file", "FILE",
               "Encrypt with the passphrase in the first line of FILE, instead of asking for it; "
               "of a token: its PIN."),
    CLI_OPTION(arguments, passphrase.fd, CLI_NUMBER, "passphrase-fd", "N",
               "The same, from the open descriptor N."),
    CLI_OPTION(arguments, no_passphrase, CLI_FLAG, "no-passphrase", NULL,
               "Store the private key unencrypted."),
    {0},
};

static int act(const cli_command *command, void *arguments_given, const cli_texts *operands) {
    arguments *given = arguments_given;
    hm_error *error = NULL;
    hm_keygen_options keygen = HM_KEYGEN_OPTIONS_INIT;
    if (operands->count != 1) {
        return cli_usage(command, "name the file or token for the private key");
    }
    if (given->no_passphrase && (given->passphrase.file != NULL || given->passphrase.fd.given)) {
        return cli_usage(command, "--no-passphrase does not go with a passphrase");
    }
    keygen.type = given->type;
    keygen.flags = given->no_passphrase ? HM_KEYGEN_PLAIN : 0;
    keygen.passphrase = cli_ask_passphrase;
    keygen.passphrase_context = &given->passphrase;
    hm_process_harden();
    hm_status status = hm_key_generate(operands->list[0], given->public_file, &keygen, &error);
    return status == HM_OK ? HM_OK : cli_fail(status, &error);
}

const cli_command cli_key_generate = {
    .name = "key generate",
    .summary = "Make a key pair: PRIVATE.pem for signing, PRIVATE.pub for those who verify.",
    .operands = "PRIVATE.pem | pkcs11:...",
    .details = "Neither file is ever written over. A key in a token (pkcs11:token=T;object=LABEL)\n"
               "never leaves it.\n",
    .options = options,
    .arguments_size = sizeof(arguments),
    .act = act,
};
