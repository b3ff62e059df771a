/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands about a store have in common. */
#include "cli.h"

static hm_status set(hm_config *config, const char *name, const char *value, hm_error **error) {
    return value != NULL ? hm_config_set(config, name, value, error) : HM_OK;
}

hm_status cli_configure(const cli_store *given, const cli_record *record, const char *policy,
                        hm_config **config, hm_error **error) {
    hm_status status = hm_config_load(record->config, config, error);
    if (status == HM_OK) {
        status = set(*config, "store", given->store, error);
    }
    if (status == HM_OK) {
        status = set(*config, "ledger", record->ledger, error);
    }
    if (status == HM_OK) {
        status = set(*config, "group", given->group, error);
    }
    if (status == HM_OK) {
        status = set(*config, "log", record->log, error);
    }
    return status == HM_OK ? set(*config, "policy", policy, error) : status;
}

int cli_check_policy(const cli_command *command, const hm_config *config, const cli_texts *keys) {
    return keys->count > 0 || cli_policy_file(NULL, config) != NULL
               ? HM_OK
               : cli_usage(command, "say whom to believe: --policy FILE, or --key PUB");
}

hm_status cli_load_policy(const hm_config *config, const cli_texts *keys, hm_policy **policy,
                          hm_error **error) {
    if (keys->count == 0) {
        return hm_policy_load(cli_policy_file(NULL, config), policy, error);
    }
    hm_status status = hm_policy_new(policy, error);
    for (size_t i = 0; i < keys->count && status == HM_OK; i++) {
        status = hm_policy_add_key(*policy, keys->list[i], error);
    }
    return status;
}
