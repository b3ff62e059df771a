/* SPDX-License-Identifier: Apache-2.0 */
/* Azure as far as its Key Vault needs it: tokens, and what the vault answers. */
#ifndef HM_AZURE_H
#define HM_AZURE_H

#include "key/remote.h"

/* A token for `resource` ("https://vault.azure.net"); wiped when freed. */
typedef struct hm_azure_token {
    hm_buf text;
    const char *source; /* for messages */
} hm_azure_token;

/* By the first source that is configured; see docs/cloud-keys.md. */
HM_MUST_USE hm_status hm_azure_token_get(const char *resource, hm_azure_token *token,
                                         hm_error **error);
void hm_azure_token_free(hm_azure_token *token);

/* The token in an answer of Entra ID or of a managed identity's endpoint. */
HM_MUST_USE hm_status hm_azure_token_parse(hm_bytes json, const char *service, hm_buf *token,
                                           hm_error **error);

/*
 * The public key in an answer to "get key", and its version from the "kid". ::HM_UNDECIDED for keys
 * that are disabled or of another kind.
 */
HM_MUST_USE hm_status hm_azure_vault_parse_key(hm_bytes json, const char *what, hm_pubkey **key,
                                               char **version, hm_error **error);
/* The signature in an answer to "sign", in the form in which Hallmark keeps it. */
HM_MUST_USE hm_status hm_azure_vault_parse_signature(hm_bytes json, const hm_pubkey *key,
                                                     hm_buf *signature, hm_error **error);

#endif
