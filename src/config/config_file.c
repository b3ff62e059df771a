/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files (docs/config.md): YAML to a configuration, read like policies. Everything
 * that a file says is understood or refused: an alert under a misspelt key would never be sent, and
 * nobody would miss it.
 */
#include "base/yaml.h"
#include "config/config.h"

#include <stdlib.h>
#include <string.h>

typedef struct loader {
    hm_config *config;
    const char *folder; /* of the file, with a slash behind it; "" when its path has none */
    hm_error **error;
} loader;

/* ---- small things --------------------------------------------------------------------------- */

/* What a converter says of a text, with the place where it stands. */
static hm_status fail_inner(const hm_yaml *node, hm_error **cause, hm_error **error) {
    if (*cause == NULL || hm_error_is_memory(*cause)) {
        return hm_fail_memory(error);
    }
    (void)hm_yaml_fail(node, error, "%s", hm_error_message(*cause));
    hm_error_add_hint(error, "%s", hm_error_hint(*cause));
    return HM_UNDECIDED;
}

static hm_status take_copy(const loader *l, hm_yaml *mapping, const char *name, char **copy) {
    const char *text = NULL;
    hm_status status = hm_yaml_text(hm_yaml_take(mapping, name), &text, l->error);
    if (status != HM_OK || text == NULL) {
        return status;
    }
    *copy = hm_strdup(text);
    return *copy != NULL ? HM_OK : hm_fail_memory(l->error);
}

static hm_status take_path(const loader *l, hm_yaml *mapping, const char *name, char **path) {
    const char *text = NULL;
    hm_status status = hm_yaml_text(hm_yaml_take(mapping, name), &text, l->error);
    if (status != HM_OK || text == NULL) {
        return status;
    }
    *path = hm_textf("%s%s", text[0] == '/' ? "" : l->folder, text);
    return *path != NULL ? HM_OK : hm_fail_memory(l->error);
}

/* "scheme:..." is left alone, but for the path behind "sqlite:". */
static hm_status take_place(const loader *l, hm_yaml *mapping, const char *name, char **place) {
    static const char sqlite[] = "sqlite:";
    const char *text = NULL;
    hm_status status = hm_yaml_text(hm_yaml_take(mapping, name), &text, l->error);
    if (status != HM_OK || text == NULL) {
        return status;
    }
    size_t skip = strncmp(text, sqlite, sizeof sqlite - 1) == 0 ? sizeof sqlite - 1 : 0;
    size_t word = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789");
    bool uri = skip == 0 && word > 0 && text[word] == ':';
    bool whole = uri || text[skip] == '/';
    *place = hm_textf("%.*s%s%s", (int)skip, text, whole ? "" : l->folder, text + skip);
    return *place != NULL ? HM_OK : hm_fail_memory(l->error);
}

static hm_status take_count(const loader *l, hm_yaml *mapping, const char *name, uint64_t *count) {
    hm_yaml *node = hm_yaml_take(mapping, name);
    hm_status status = hm_yaml_integer(node, count, l->error);
    return status == HM_OK && node != NULL && *count == 0
               ? hm_yaml_fail(node, l->error, "\"%s\" is at least 1", name)
               : status;
}

static hm_status take_duration(const loader *l, hm_yaml *mapping, const char *name,
                               uint64_t *seconds) {
    hm_yaml *node = hm_yaml_take(mapping, name);
    const char *text = NULL;
    hm_auto_error cause = NULL;
    hm_status status = hm_yaml_text(node, &text, l->error);
    if (status == HM_OK && text != NULL && hm_duration_from_text(text, seconds, &cause) != HM_OK) {
        status = fail_inner(node, &cause, l->error);
    }
    return status;
}

/* A number alone is one of bytes. */
static hm_status take_size(const loader *l, hm_yaml *mapping, const char *name, uint64_t *bytes) {
    hm_yaml *node = hm_yaml_take(mapping, name);
    hm_auto_error cause = NULL;
    hm_status status = hm_yaml_want(node, HM_YAML_SCALAR, l->error);
    if (status == HM_OK && node != NULL && hm_size_from_text(node->text, bytes, &cause) != HM_OK) {
        status = fail_inner(node, &cause, l->error);
    }
    return status;
}

/* Sets `second` when it is the second of two words, the first of which is the default. */
static hm_status take_choice(const loader *l, hm_yaml *mapping, const char *name, const char *first,
                             const char *second_word, bool *second) {
    const hm_yaml *node = hm_yaml_take(mapping, name);
    const char *word = first;
    hm_status status = hm_yaml_text(node, &word, l->error);
    *second = strcmp(word, second_word) == 0;
    if (status == HM_OK && !*second && strcmp(word, first) != 0) {
        status =
            hm_yaml_fail(node, l->error, "\"%s\" is neither %s nor %s", word, first, second_word);
    }
    return status;
}

/* ---- sections ------------------------------------------------------------------------------- */

static hm_status read_checkpoints(const loader *l, hm_yaml *mapping) {
    static const char *const known[] = {"key", "file", "every", NULL};
    if (mapping == NULL) {
        return HM_OK;
    }
    hm_status status = hm_yaml_want(mapping, HM_YAML_MAPPING, l->error);
    if (status == HM_OK) {
        status = take_place(l, mapping, "key", &l->config->checkpoint_key);
    }
    if (status == HM_OK) {
        status = take_path(l, mapping, "file", &l->config->checkpoint_file);
    }
    if (status == HM_OK) {
        status = take_count(l, mapping, "every", &l->config->checkpoint_every);
    }
    if (status == HM_OK) {
        status = hm_yaml_refuse_rest(mapping, known, l->error);
    }
    if (status == HM_OK && l->config->checkpoint_key == NULL) {
        status = hm_yaml_fail(mapping, l->error, "checkpoints are signed: \"key\" is missing here");
    }
    return status;
}

static hm_status read_check(const loader *l, hm_yaml *mapping) {
    static const char *const known[] = {"every", "when-none-is-good", NULL};
    if (mapping == NULL) {
        return HM_OK;
    }
    hm_status status = hm_yaml_want(mapping, HM_YAML_MAPPING, l->error);
    if (status == HM_OK) {
        status = take_duration(l, mapping, "every", &l->config->check_every);
    }
    if (status == HM_OK) {
        status =
            take_choice(l, mapping, "when-none-is-good", "remove", "leave", &l->config->leave_bad);
    }
    return status == HM_OK ? hm_yaml_refuse_rest(mapping, known, l->error) : status;
}

static hm_status read_quarantine(const loader *l, hm_yaml *mapping) {
    static const char *const known[] = {"keep-refused", "limit", NULL};
    if (mapping == NULL) {
        return HM_OK;
    }
    hm_status status = hm_yaml_want(mapping, HM_YAML_MAPPING, l->error);
    if (status == HM_OK) {
        status =
            hm_yaml_bool(hm_yaml_take(mapping, "keep-refused"), &l->config->keep_refused, l->error);
    }
    if (status == HM_OK) {
        status = take_size(l, mapping, "limit", &l->config->refused_limit);
    }
    return status == HM_OK ? hm_yaml_refuse_rest(mapping, known, l->error) : status;
}

static hm_status read_alerts(const loader *l, hm_yaml *list) {
    if (list == NULL) {
        return HM_OK;
    }
    hm_status status = hm_yaml_want(list, HM_YAML_LIST, l->error);
    for (hm_yaml *at = list->first; at != NULL && status == HM_OK; at = at->next) {
        status = hm_config_read_alert(l->config, at, l->folder, l->error);
    }
    return status;
}

/* ---- the file ------------------------------------------------------------------------------- */

static hm_status read_version(const loader *l, hm_yaml *root) {
    hm_yaml *node = hm_yaml_take(root, "hallmark-config");
    uint64_t version = 0;
    if (node == NULL) {
        (void)hm_yaml_fail(root, l->error, "\"hallmark-config\" is missing here");
        hm_error_add_hint(l->error, "a configuration begins with `hallmark-config: 1`");
        return HM_UNDECIDED;
    }
    hm_status status = hm_yaml_integer(node, &version, l->error);
    if (status == HM_OK && version != 1) {
        status = hm_yaml_fail(node, l->error, "version %s is not known here; this is version 1",
                              node->text);
    }
    return status;
}

static hm_status read_places(const loader *l, hm_yaml *root) {
    hm_config *c = l->config;
    hm_status status = take_path(l, root, "store", &c->store);
    if (status == HM_OK) {
        status = take_path(l, root, "policy", &c->policy);
    }
    if (status == HM_OK) {
        status = take_place(l, root, "ledger", &c->ledger);
    }
    if (status == HM_OK) {
        status = take_path(l, root, "outbox", &c->outbox);
    }
    if (status == HM_OK) {
        status = take_choice(l, root, "log", "none", "json", &c->log_json);
    }
    if (status == HM_OK) {
        status = take_count(l, root, "keep", &c->keep);
    }
    return status == HM_OK ? take_copy(l, root, "serving-group", &c->group) : status;
}

static hm_status read_root(const loader *l, hm_yaml *root) {
    static const char *const known[] =
        {"hallmark-config", "store",         "policy", "ledger", "outbox",
         "checkpoints",     "log",           "keep",   "check",  "quarantine",
         "alerts",          "serving-group", NULL};
    hm_status status = hm_yaml_want(root, HM_YAML_MAPPING, l->error);
    if (status == HM_OK) {
        status = read_version(l, root);
    }
    if (status == HM_OK) {
        status = read_places(l, root);
    }
    if (status == HM_OK) {
        status = read_checkpoints(l, hm_yaml_take(root, "checkpoints"));
    }
    if (status == HM_OK) {
        status = read_check(l, hm_yaml_take(root, "check"));
    }
    if (status == HM_OK) {
        status = read_quarantine(l, hm_yaml_take(root, "quarantine"));
    }
    if (status == HM_OK) {
        status = read_alerts(l, hm_yaml_take(root, "alerts"));
    }
    return status == HM_OK ? hm_yaml_refuse_rest(root, known, l->error) : status;
}

hm_status hm_config_parse(hm_bytes text, const char *path, hm_config **config, hm_error **error) {
    hm_auto_yaml doc = NULL;
    HM_CLEANUP(hm_config_free) hm_config *made = NULL;
    const char *slash = strrchr(path, '/');
    hm_auto_free char *folder = hm_strndup(path, slash != NULL ? (size_t)(slash + 1 - path) : 0);
    hm_status status = folder != NULL ? hm_config_new(&made, error) : hm_fail_memory(error);
    if (status == HM_OK) {
        made->path = hm_strdup(path);
        status =
            made->path != NULL ? hm_yaml_parse(text, path, &doc, error) : hm_fail_memory(error);
    }
    if (status == HM_OK && hm_yaml_root(doc) == NULL) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is empty", path);
    }
    if (status == HM_OK) {
        loader l = {.config = made, .folder = folder, .error = error};
        status = read_root(&l, hm_yaml_root(doc));
    }
    if (status == HM_OK) {
        *config = made;
        made = NULL;
    }
    return status;
}
