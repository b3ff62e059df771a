/* SPDX-License-Identifier: Apache-2.0 */
/* Where a configuration comes from: the file, above it the environment, above that the caller. */
#include "config/config.h"

#include "base/yaml.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>

enum { KEEP_DEFAULT = 3, CHECKPOINT_DEFAULT = 1000 };
#define REFUSED_LIMIT_DEFAULT (UINT64_C(50) << 30)

static void free_secret(char *secret) {
    if (secret != NULL) {
        OPENSSL_cleanse(secret, strlen(secret));
    }
    free(secret);
}

static void free_alert(hm_alert_config *alert) {
    free(alert->name);
    free(alert->url);
    free_secret(alert->secret);
    free_secret(alert->authorization);
    free(alert->ca_file);
    free(alert->socket);
    hm_text_list_free(&alert->command, alert->command_count);
}

void hm_alert_config_free(hm_alert_config *alert) {
    free_alert(alert);
    *alert = (hm_alert_config){.name = NULL};
}

uint64_t hm_config_check_every(const hm_config *config) {
    return config->check_every;
}

void hm_config_free(hm_config **config) {
    if (config == NULL || *config == NULL) {
        return;
    }
    hm_config *c = *config;
    for (size_t i = 0; i < c->alert_count; i++) {
        free_alert(&c->alerts[i]);
    }
    free(c->alerts);
    free(c->path);
    free(c->store);
    free(c->policy);
    free(c->ledger);
    free(c->outbox);
    free(c->checkpoint_key);
    free(c->checkpoint_file);
    free(c->group);
    free(c);
    *config = NULL;
}

hm_status hm_config_new(hm_config **config, hm_error **error) {
    hm_config *made = hm_alloc(1, sizeof *made);
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    made->keep = KEEP_DEFAULT;
    made->checkpoint_every = CHECKPOINT_DEFAULT;
    made->keep_refused = true;
    made->refused_limit = REFUSED_LIMIT_DEFAULT;
    *config = made;
    return HM_OK;
}

/* ---- names ---------------------------------------------------------------------------------- */

/* The texts that can be set from outside. */
static const struct {
    const char *name;
    size_t offset;
} texts[] = {
    {"store", offsetof(hm_config, store)},
    {"policy", offsetof(hm_config, policy)},
    {"ledger", offsetof(hm_config, ledger)},
    {"group", offsetof(hm_config, group)},
    {"checkpoint-key", offsetof(hm_config, checkpoint_key)},
};

/* NULL: there is no such name. */
static char **find_text(hm_config *config, const char *name) {
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(texts[i].name, name) == 0) {
            return (char **)(void *)((char *)config + texts[i].offset);
        }
    }
    return NULL;
}

static hm_status fail_name(const char *name, hm_error **error) {
    hm_auto_buf known = {0};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        hm_buf_add_format(&known, "%s, ", texts[i].name);
    }
    hm_buf_add_text(&known, "log");
    hm_status status = hm_buf_check(&known, error);
    return status == HM_OK
               ? hm_fail(error, HM_USAGE, HM_REASON_NONE, "\"%s\" cannot be set; these can: %s",
                         name, (const char *)known.data)
               : status;
}

static hm_status set_log(hm_config *config, const char *value, hm_error **error) {
    if (strcmp(value, "json") != 0 && strcmp(value, "none") != 0) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "events are logged as \"json\" or \"none\", not \"%s\"", value);
    }
    config->log_json = strcmp(value, "json") == 0;
    return HM_OK;
}

hm_status hm_config_set(hm_config *config, const char *name, const char *value, hm_error **error) {
    if (config == NULL || name == NULL || value == NULL || *value == '\0') {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s has no value",
                       name != NULL ? name : "nothing");
    }
    if (strcmp(name, "log") == 0) {
        return set_log(config, value, error);
    }
    char **text = find_text(config, name);
    if (text == NULL) {
        return fail_name(name, error);
    }
    char *copy = hm_strdup(value);
    if (copy == NULL) {
        return hm_fail_memory(error);
    }
    free(*text);
    *text = copy;
    return HM_OK;
}

const char *hm_config_get(const hm_config *config, const char *name) {
    if (config == NULL || name == NULL) {
        return NULL;
    }
    if (strcmp(name, "log") == 0) {
        return config->log_json ? "json" : "none";
    }
    char **text = find_text((hm_config *)(uintptr_t)config, name);
    return text != NULL ? *text : NULL;
}

hm_status hm_config_ledger(const hm_config *config, char **uri, hm_error **error) {
    *uri = NULL;
    if (config->ledger == NULL && config->store == NULL) {
        return HM_OK;
    }
    *uri = config->ledger != NULL ? hm_strdup(config->ledger)
                                  : hm_textf("sqlite:%s/ledger.db", config->store);
    return *uri != NULL ? HM_OK : hm_fail_memory(error);
}

/* ---- loading -------------------------------------------------------------------------------- */

static const char *from_environment(const char *name) {
    const char *value = secure_getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/*
 * NULL: there is none. A place that cannot be looked at is not one with nothing in it: the file
 * there might demand a ledger.
 */
static const char *find_file(const char *given) {
    if (given == NULL) {
        given = from_environment("HALLMARK_CONFIG");
    }
    if (given == NULL &&
        (access(HM_CONFIG_FILE, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR))) {
        given = HM_CONFIG_FILE;
    }
    return given;
}

static hm_status read_file(const char *path, hm_config **config, hm_error **error) {
    hm_auto_buf file = {.data = NULL};
    hm_auto_error cause = NULL;
    hm_status status = hm_read_own_file(path, HM_YAML_FILE_LIMIT, &file, &cause);
    if (status == HM_OK) {
        return hm_config_parse(hm_buf_view(&file), path, config, error);
    }
    /* A configuration is no model: whatever is wrong with it, it refuses none. */
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the configuration cannot be read: %s",
                  hm_error_message(cause));
    hm_error_add_hint(error, "%s", hm_error_hint(cause));
    return HM_UNDECIDED;
}

static hm_status apply_environment(hm_config *config, hm_error **error) {
    static const char *const variables[][2] = {
        {"HALLMARK_STORE", "store"},
        {"HALLMARK_POLICY", "policy"},
        {"HALLMARK_LEDGER", "ledger"},
    };
    hm_status status = HM_OK;
    for (size_t i = 0; i < sizeof variables / sizeof variables[0] && status == HM_OK; i++) {
        const char *value = from_environment(variables[i][0]);
        status = value != NULL ? hm_config_set(config, variables[i][1], value, error) : HM_OK;
    }
    return status;
}

hm_status hm_config_load(const char *path, hm_config **config, hm_error **error) {
    HM_CLEANUP(hm_config_free) hm_config *made = NULL;
    if (config == NULL || (path != NULL && *path == '\0')) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "hm_config_load: no file is named");
    }
    const char *file = find_file(path);
    hm_status status = file != NULL ? read_file(file, &made, error) : hm_config_new(&made, error);
    if (status == HM_OK) {
        status = apply_environment(made, error);
    }
    if (status == HM_OK) {
        *config = made;
        made = NULL;
    }
    return status;
}
