/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include <stdlib.h>
#include <string.h>

static char **place_of(hm_config *config, const char *name) {
    return strcmp(name, "store") == 0    ? &config->store
           : strcmp(name, "ledger") == 0 ? &config->ledger
           : strcmp(name, "policy") == 0 ? &config->policy
                                         : NULL;
}

hm_status hm_config_set(hm_config *config, const char *name, const char *value, hm_error **error) {
    char **place = place_of(config, name);
    if (place == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "there is no setting \"%s\"", name);
    }
    free(*place);
    *place = hm_strdup(value);
    return *place != NULL ? HM_OK : hm_fail_memory(error);
}

const char *hm_config_get(const hm_config *config, const char *name) {
    return strcmp(name, "store") == 0    ? config->store
           : strcmp(name, "ledger") == 0 ? config->ledger
           : strcmp(name, "policy") == 0 ? config->policy
                                         : NULL;
}

hm_status hm_config_load(const char *path, hm_config **config, hm_error **error) {
    static const char *const names[] = {"store", "ledger", "policy"};
    static const char *const variables[] = {"HALLMARK_STORE", "HALLMARK_LEDGER", "HALLMARK_POLICY"};
    HM_CLEANUP(hm_config_free) hm_config *made = hm_alloc(1, sizeof *made);
    hm_status status = made != NULL ? HM_OK : hm_fail_memory(error);
    if (status == HM_OK && path != NULL) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "cannot read %s", path);
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0] && status == HM_OK; i++) {
        const char *value = secure_getenv(variables[i]);
        if (value != NULL && value[0] != '\0') {
            status = hm_config_set(made, names[i], value, error);
        }
    }
    if (status == HM_OK) {
        made->checkpoint_every = 1000;
        *config = made;
        made = NULL;
    }
    return status;
}

void hm_config_free(hm_config **config) {
    if (*config != NULL) {
        free((*config)->store);
        free((*config)->ledger);
        free((*config)->policy);
        free(*config);
        *config = NULL;
    }
}
