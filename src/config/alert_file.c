/* SPDX-License-Identifier: Apache-2.0 */
/* The alerts in a configuration file: who is told, how, and of what. */
#include "base/yaml.h"
#include "config/config.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_LIMIT = 64,
    TIMEOUT_DEFAULT_MS = 5000,
    TIMEOUT_LIMIT_S = 60, /* a command ends with the attempts: they may not take for ever */
    SECRET_LEAST = 16,    /* bytes; RFC 2104, section 3: a short key is a weak one */
    SECRET_LIMIT = 4096,
};

const char *const hm_syslog_facilities[] = {"kern",     "user",   "mail",   "daemon", "auth",
                                            "syslog",   "lpr",    "news",   "uucp",   "cron",
                                            "authpriv", "ftp",    "ntp",    "audit",  "alert",
                                            "clock",    "local0", "local1", "local2", "local3",
                                            "local4",   "local5", "local6", "local7", NULL};

typedef struct loader {
    hm_config *config;
    const char *folder;
    hm_alert_config *alert;
    hm_error **error;
} loader;

static char *resolve(const loader *l, const char *path) {
    return hm_textf("%s%s", path[0] == '/' ? "" : l->folder, path);
}

static hm_status take_text(const loader *l, hm_yaml *mapping, const char *name, const char **text) {
    return hm_yaml_text(hm_yaml_take(mapping, name), text, l->error);
}

static hm_status take_path(const loader *l, hm_yaml *mapping, const char *name, char **path) {
    const char *text = NULL;
    hm_status status = take_text(l, mapping, name, &text);
    if (status != HM_OK || text == NULL) {
        return status;
    }
    *path = resolve(l, text);
    return *path != NULL ? HM_OK : hm_fail_memory(l->error);
}

/* ---- names and events ----------------------------------------------------------------------- */

/* It is part of file names. */
static bool name_fits(const char *name) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_-";
    size_t length = strspn(name, allowed);
    return length > 0 && length <= NAME_LIMIT && name[length] == '\0';
}

static hm_status read_name(const loader *l, hm_yaml *entry) {
    const hm_yaml *node = hm_yaml_take(entry, "name");
    const char *name = NULL;
    if (node == NULL) {
        return hm_yaml_fail(entry, l->error, "\"name\" is missing here");
    }
    hm_status status = hm_yaml_text(node, &name, l->error);
    if (status == HM_OK && !name_fits(name)) {
        status = hm_yaml_fail(node, l->error,
                              "the name of an alert is up to %d letters, digits, '_' and '-'",
                              (int)NAME_LIMIT);
    }
    for (size_t i = 0; i < l->config->alert_count && status == HM_OK; i++) {
        if (strcmp(l->config->alerts[i].name, name) == 0) {
            status = hm_yaml_fail(node, l->error, "there is an alert named %s already", name);
        }
    }
    if (status == HM_OK) {
        l->alert->name = hm_strdup(name);
        status = l->alert->name != NULL ? HM_OK : hm_fail_memory(l->error);
    }
    return status;
}

static hm_status read_event(const loader *l, const hm_yaml *node) {
    const char *known[HM_EVENT_KIND_COUNT] = {NULL};
    const char *word = NULL;
    hm_event_kind kind = HM_EVENT_KIND_COUNT;
    hm_status status = hm_yaml_text(node, &word, l->error);
    if (status != HM_OK) {
        return status;
    }
    if (!hm_event_from_word(hm_bytes_text(word), &kind)) {
        for (unsigned i = 1; i < HM_EVENT_KIND_COUNT; i++) {
            known[i - 1] = hm_event_word((hm_event_kind)i);
        }
        (void)hm_yaml_fail(node, l->error, "\"%s\" is not an event", word);
        hm_yaml_hint_nearest(l->error, word, known);
        return HM_UNDECIDED;
    }
    /* Each would fail like the one it tells of, and so on for ever. */
    if (kind == HM_EVENT_ALERT_FAILED) {
        return hm_yaml_fail(node, l->error, "nobody can be alerted of alerts that failed");
    }
    l->alert->events |= UINT64_C(1) << kind;
    return HM_OK;
}

static hm_status read_events(const loader *l, hm_yaml *list) {
    hm_yaml *at = NULL;
    if (list == NULL) {
        l->alert->events = HM_EVENTS_ALERTING;
        return HM_OK;
    }
    hm_status status = hm_yaml_one_or_more(list, &at, l->error);
    for (; at != NULL && status == HM_OK; at = hm_yaml_next(list, at)) {
        status = read_event(l, at);
    }
    return status;
}

static hm_status read_timeout(const loader *l, hm_yaml *entry) {
    const hm_yaml *node = hm_yaml_take(entry, "timeout");
    const char *text = NULL;
    uint64_t seconds = 0;
    hm_auto_error cause = NULL;
    l->alert->timeout_ms = TIMEOUT_DEFAULT_MS;
    hm_status status = hm_yaml_text(node, &text, l->error);
    if (status != HM_OK || text == NULL) {
        return status;
    }
    if (hm_duration_from_text(text, &seconds, &cause) != HM_OK || seconds > TIMEOUT_LIMIT_S) {
        return hm_yaml_fail(node, l->error, "the timeout must be from 1s to %ds, not \"%s\"",
                            (int)TIMEOUT_LIMIT_S, text);
    }
    l->alert->timeout_ms = (unsigned)seconds * 1000;
    return HM_OK;
}

/* ---- webhooks ------------------------------------------------------------------------------- */

static bool is_loopback(const char *host, size_t length) {
    struct in_addr v4;
    hm_auto_free char *copy = hm_strndup(host, length);
    if (copy == NULL) {
        return false;
    }
    return strcmp(copy, "localhost") == 0 || strcmp(copy, "[::1]") == 0 ||
           (inet_pton(AF_INET, copy, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127);
}

/* What is sent tells what runs here, and what of it is broken: over plain http all may read it. */
static const char *judge_url(const char *url) {
    bool secure = strncmp(url, "https://", 8) == 0;
    if (!secure && strncmp(url, "http://", 7) != 0) {
        return "an address begins with https://";
    }
    const char *host = url + (secure ? 8 : 7);
    size_t authority = strcspn(host, "/?#");
    size_t length = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
    bool ends = length <= authority && strchr(":/?#", host[length]) != NULL;
    if (length == 0 || !ends) {
        return "the address names no host";
    }
    if (memchr(host, '@', authority) != NULL) {
        return "an address with a user name is not taken: use \"authorization-file\"";
    }
    for (const char *p = url; *p != '\0'; p++) {
        if (*p <= ' ' || *p > '~') {
            return "an address has no white space and nothing outside ASCII";
        }
    }
    return secure || is_loopback(host, length)
               ? NULL
               : "plain http is only for this machine; use https://";
}

/* `line`: it becomes a header, where a line's end would begin another. */
static hm_status read_secret(const loader *l, hm_yaml *entry, const char *name, bool line,
                             char **secret) {
    hm_yaml *node = hm_yaml_take(entry, name);
    const char *text = NULL;
    hm_auto_buf file = {.data = NULL};
    hm_auto_error cause = NULL;
    hm_status status = hm_yaml_text(node, &text, l->error);
    if (status != HM_OK || text == NULL) {
        return status;
    }
    hm_auto_free char *path = resolve(l, text);
    if (path == NULL) {
        return hm_fail_memory(l->error);
    }
    if (hm_read_secret_file(path, SECRET_LIMIT, &file, &cause) != HM_OK) {
        (void)hm_yaml_fail(node, l->error, "%s", hm_error_message(cause));
        hm_error_add_hint(l->error, "%s", hm_error_hint(cause));
        return HM_UNDECIDED;
    }
    for (size_t i = 0; i < file.length; i++) {
        if (file.data[i] == '\0' || (line && (file.data[i] < ' ' || file.data[i] > '~'))) {
            return hm_yaml_fail(node, l->error, "%s holds %s", path,
                                line ? "more than one line of ASCII" : "a byte 0");
        }
    }
    if (file.length < (line ? 1 : SECRET_LEAST)) {
        return hm_yaml_fail(node, l->error, "the secret in %s is shorter than %d bytes", path,
                            line ? 1 : (int)SECRET_LEAST);
    }
    return hm_buf_hand_over(&file, secret, l->error);
}

static hm_status read_webhook(const loader *l, hm_yaml *entry, hm_yaml *node) {
    const char *url = NULL;
    hm_status status = hm_yaml_text(node, &url, l->error);
    const char *why = status == HM_OK ? judge_url(url) : NULL;
    if (status != HM_OK || why != NULL) {
        return status != HM_OK ? status : hm_yaml_fail(node, l->error, "%s", why);
    }
    l->alert->url = hm_strdup(url);
    if (l->alert->url == NULL) {
        return hm_fail_memory(l->error);
    }
    status = read_secret(l, entry, "secret-file", false, &l->alert->secret);
    if (status == HM_OK) {
        status = read_secret(l, entry, "authorization-file", true, &l->alert->authorization);
    }
    return status == HM_OK ? take_path(l, entry, "ca-file", &l->alert->ca_file) : status;
}

/* ---- commands ------------------------------------------------------------------------------- */

static hm_status add_word(const loader *l, const hm_yaml *node, size_t *capacity) {
    hm_alert_config *alert = l->alert;
    const char *word = NULL;
    hm_status status = hm_yaml_text(node, &word, l->error);
    if (status != HM_OK) {
        return status;
    }
    /* No search in PATH, which is whoever's who starts the command. */
    bool program = alert->command_count == 0;
    if (program && strchr(word, '/') == NULL) {
        return hm_yaml_fail(node, l->error, "the program is named by its path, with a '/'");
    }
    char *copy = program ? resolve(l, word) : hm_strdup(word);
    if (copy == NULL || !hm_grow(&alert->command, alert->command_count, capacity, sizeof(char *))) {
        free(copy);
        return hm_fail_memory(l->error);
    }
    alert->command[alert->command_count++] = copy;
    return HM_OK;
}

static hm_status read_command(const loader *l, hm_yaml *entry, hm_yaml *list) {
    size_t capacity = 0;
    hm_yaml *at = NULL;
    (void)entry;
    hm_status status = hm_yaml_one_or_more(list, &at, l->error);
    for (; at != NULL && status == HM_OK; at = hm_yaml_next(list, at)) {
        status = add_word(l, at, &capacity);
    }
    return status;
}

/* ---- syslog --------------------------------------------------------------------------------- */

static hm_status read_facility(const loader *l, const hm_yaml *node) {
    const char *word = NULL;
    hm_status status = hm_yaml_text(node, &word, l->error);
    if (status != HM_OK) {
        return status;
    }
    for (unsigned i = 0; hm_syslog_facilities[i] != NULL; i++) {
        if (strcmp(hm_syslog_facilities[i], word) == 0) {
            l->alert->facility = i;
            return HM_OK;
        }
    }
    (void)hm_yaml_fail(node, l->error, "\"%s\" is not a syslog facility", word);
    hm_yaml_hint_nearest(l->error, word, hm_syslog_facilities);
    return HM_UNDECIDED;
}

static hm_status read_syslog(const loader *l, hm_yaml *entry, hm_yaml *node) {
    static const char *const known[] = {"facility", "socket", "journal", NULL};
    char *journal = NULL;
    (void)entry;
    if (node->type != HM_YAML_MAPPING) {
        return read_facility(l, node);
    }
    const hm_yaml *facility = hm_yaml_take(node, "facility");
    hm_status status = facility != NULL
                           ? read_facility(l, facility)
                           : hm_yaml_fail(node, l->error, "\"facility\" is missing here");
    if (status == HM_OK) {
        status = take_path(l, node, "socket", &l->alert->socket);
    }
    if (status == HM_OK) {
        status = take_path(l, node, "journal", &journal);
    }
    l->alert->journal = journal != NULL;
    if (status == HM_OK && journal != NULL && l->alert->socket != NULL) {
        status = hm_yaml_fail(node, l->error, "only one of \"socket\" and \"journal\"");
    }
    if (l->alert->socket == NULL) {
        l->alert->socket = journal;
    } else {
        free(journal);
    }
    return status == HM_OK ? hm_yaml_refuse_rest(node, known, l->error) : status;
}

/* ---- an alert ------------------------------------------------------------------------------- */

typedef hm_status (*read_channel)(const loader *l, hm_yaml *entry, hm_yaml *node);
static const struct channel {
    hm_alert_kind kind;
    const char *name;
    read_channel read;
} channels[] = {
    {HM_ALERT_WEBHOOK, "webhook", read_webhook},
    {HM_ALERT_COMMAND, "command", read_command},
    {HM_ALERT_SYSLOG, "syslog", read_syslog},
};

static hm_status read_one_channel(const loader *l, hm_yaml *entry) {
    const struct channel *found = NULL;
    hm_yaml *node = NULL;
    for (size_t i = 0; i < sizeof channels / sizeof channels[0]; i++) {
        hm_yaml *member = hm_yaml_take(entry, channels[i].name);
        if (member != NULL && found != NULL) {
            return hm_yaml_fail(member, l->error,
                                "an alert has one of \"webhook\", \"command\" and \"syslog\"");
        }
        if (member != NULL) {
            found = &channels[i];
            node = member;
        }
    }
    if (found == NULL) {
        return hm_yaml_fail(entry, l->error,
                            "an alert needs one of \"webhook\", \"command\" and \"syslog\"");
    }
    l->alert->kind = found->kind;
    return found->read(l, entry, node);
}

static hm_status read_alert(const loader *l, hm_yaml *entry) {
    static const char *const known[] = {"name",    "webhook",     "command",
                                        "syslog",  "secret-file", "authorization-file",
                                        "ca-file", "timeout",     "events",
                                        NULL};
    hm_status status = hm_yaml_want(entry, HM_YAML_MAPPING, l->error);
    if (status == HM_OK) {
        status = read_name(l, entry);
    }
    if (status == HM_OK) {
        status = read_one_channel(l, entry);
    }
    if (status == HM_OK) {
        status = read_timeout(l, entry);
    }
    if (status == HM_OK) {
        status = read_events(l, hm_yaml_take(entry, "events"));
    }
    return status == HM_OK ? hm_yaml_refuse_rest(entry, known, l->error) : status;
}

hm_status hm_config_read_alert(hm_config *config, hm_yaml *at, const char *folder,
                               hm_error **error) {
    HM_CLEANUP(hm_alert_config_free) hm_alert_config alert = {.name = NULL};
    loader l = {.config = config, .folder = folder, .alert = &alert, .error = error};
    hm_status status = read_alert(&l, at);
    if (status == HM_OK &&
        !hm_grow(&config->alerts, config->alert_count, &config->alert_capacity, sizeof alert)) {
        status = hm_fail_memory(error);
    }
    if (status == HM_OK) {
        config->alerts[config->alert_count++] = alert;
        alert = (hm_alert_config){.name = NULL};
    }
    return status;
}
