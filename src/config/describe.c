/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in force, for people and programs. Whoever may see this may not be one who may see the
 * secrets: keys stay out, and so does what stands in addresses behind the host, where services put
 * their tokens.
 */
#include "base/json.h"
#include "config/config.h"

#include <string.h>

/* "scheme://host:port/..." */
static hm_status public_part(const char *address, char **text, hm_error **error) {
    const char *host = strstr(address, "://");
    if (host == NULL) {
        *text = hm_strdup(address);
        return *text != NULL ? HM_OK : hm_fail_memory(error);
    }
    host += 3;
    int scheme = (int)(host - address);
    size_t authority = strcspn(host, "/?#");
    const char *at = memrchr(host, '@', authority);
    size_t skip = at != NULL ? (size_t)(at + 1 - host) : 0;
    *text = hm_textf("%.*s%.*s%s", scheme, address, (int)(authority - skip), host + skip,
                     host[authority] != '\0' ? "/..." : "");
    return *text != NULL ? HM_OK : hm_fail_memory(error);
}

/* A key's URI may have a PIN behind the '?'. */
static hm_status public_key_uri(const char *uri, char **text, hm_error **error) {
    const char *query = uri != NULL ? strchr(uri, '?') : NULL;
    if (uri == NULL) {
        return HM_OK;
    }
    *text = query != NULL ? hm_textf("%.*s?...", (int)(query - uri), uri) : hm_strdup(uri);
    return *text != NULL ? HM_OK : hm_fail_memory(error);
}

static const char *kind_word(hm_alert_kind kind) {
    switch (kind) {
    case HM_ALERT_WEBHOOK: return "webhook";
    case HM_ALERT_COMMAND: return "command";
    case HM_ALERT_SYSLOG: return "syslog";
    }
    return "";
}

/* Where an alert goes, as far as everybody may know. */
static hm_status place_of(const hm_alert_config *alert, char **text, hm_error **error) {
    switch (alert->kind) {
    case HM_ALERT_WEBHOOK: return public_part(alert->url, text, error);
    case HM_ALERT_COMMAND: *text = hm_strdup(alert->command[0]); break;
    case HM_ALERT_SYSLOG:
        *text = hm_textf("%s%s%s", hm_syslog_facilities[alert->facility],
                         alert->socket != NULL ? " at " : "",
                         alert->socket != NULL ? alert->socket : "");
        break;
    }
    return *text != NULL ? HM_OK : hm_fail_memory(error);
}

/* Not by syslog, which has nobody to ask. */
static bool is_signed(const hm_alert_config *alert) {
    return alert->kind == HM_ALERT_WEBHOOK && alert->secret != NULL;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void member_or_null(hm_json_writer *w, const char *name, const char *text) {
    if (text != NULL) {
        hm_json_member(w, name, text);
    } else {
        hm_json_name(w, name);
        hm_json_null(w);
    }
}

static hm_status write_alert(hm_json_writer *w, const hm_alert_config *alert, hm_error **error) {
    hm_auto_free char *place = NULL;
    hm_status status = place_of(alert, &place, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json_begin_object(w);
    hm_json_member(w, "name", alert->name);
    hm_json_member(w, kind_word(alert->kind), place);
    if (alert->kind == HM_ALERT_WEBHOOK) {
        hm_json_member_bool(w, "signed", is_signed(alert));
        hm_json_member_bool(w, "authorized", alert->authorization != NULL);
        member_or_null(w, "ca-file", alert->ca_file);
    }
    hm_json_member_number(w, "timeout", alert->timeout_ms / 1000);
    hm_json_name(w, "events");
    hm_json_begin_array(w);
    for (unsigned i = 1; i < HM_EVENT_KIND_COUNT; i++) {
        if ((alert->events & (UINT64_C(1) << i)) != 0) {
            hm_json_text(w, hm_event_word((hm_event_kind)i));
        }
    }
    hm_json_end_array(w);
    hm_json_end_object(w);
    return HM_OK;
}

static void write_sections(hm_json_writer *w, const hm_config *config, const char *key) {
    hm_json_name(w, "checkpoints");
    hm_json_begin_object(w);
    member_or_null(w, "key", key);
    member_or_null(w, "file", config->checkpoint_file);
    hm_json_member_number(w, "every", config->checkpoint_every);
    hm_json_end_object(w);
    hm_json_member(w, "log", config->log_json ? "json" : "none");
    hm_json_member_number(w, "keep", config->keep);
    hm_json_name(w, "check");
    hm_json_begin_object(w);
    hm_json_member_number(w, "every", config->check_every);
    hm_json_member(w, "when-none-is-good", config->leave_bad ? "leave" : "remove");
    hm_json_end_object(w);
    hm_json_name(w, "quarantine");
    hm_json_begin_object(w);
    hm_json_member_bool(w, "keep-refused", config->keep_refused);
    hm_json_member_number(w, "limit", config->refused_limit);
    hm_json_end_object(w);
    member_or_null(w, "serving-group", config->group);
}

static hm_status describe_json(const hm_config *config, const char *ledger, const char *key,
                               hm_buf *out, hm_error **error) {
    hm_json_writer w = {.out = out, .indent = 2};
    hm_status status = HM_OK;
    hm_json_begin_object(&w);
    member_or_null(&w, "file", config->path);
    member_or_null(&w, "store", config->store);
    member_or_null(&w, "policy", config->policy);
    member_or_null(&w, "ledger", ledger);
    member_or_null(&w, "outbox", config->outbox);
    write_sections(&w, config, key);
    hm_json_name(&w, "alerts");
    hm_json_begin_array(&w);
    for (size_t i = 0; i < config->alert_count && status == HM_OK; i++) {
        status = write_alert(&w, &config->alerts[i], error);
    }
    hm_json_end_array(&w);
    hm_json_end_object(&w);
    return status;
}

/* ---- text ----------------------------------------------------------------------------------- */

static void add_line(hm_buf *out, const char *label, const char *text) {
    hm_buf_add_format(out, "%-16s ", label);
    hm_buf_add_printable(out, hm_bytes_text(text != NULL ? text : "none"));
    hm_buf_add_byte(out, '\n');
}

static hm_status add_alert(hm_buf *out, const hm_alert_config *alert, hm_error **error) {
    hm_auto_free char *place = NULL;
    hm_status status = place_of(alert, &place, error);
    if (status != HM_OK) {
        return status;
    }
    hm_buf_add_format(out, "alert            %s: %s ", alert->name, kind_word(alert->kind));
    hm_buf_add_printable(out, hm_bytes_text(place));
    hm_buf_add_format(out, "%s, within %u s\n", is_signed(alert) ? ", signed" : "",
                      alert->timeout_ms / 1000);
    hm_buf_add_text(out, "                 ");
    for (unsigned i = 1, count = 0; i < HM_EVENT_KIND_COUNT; i++) {
        if ((alert->events & (UINT64_C(1) << i)) != 0) {
            hm_buf_add_format(out, "%s%s", count++ == 0 ? "of " : ", ",
                              hm_event_word((hm_event_kind)i));
        }
    }
    hm_buf_add_byte(out, '\n');
    return HM_OK;
}

static hm_status describe_text(const hm_config *config, const char *ledger, const char *key,
                               hm_buf *out, hm_error **error) {
    hm_status status = HM_OK;
    add_line(out, "file", config->path);
    add_line(out, "store", config->store);
    add_line(out, "policy", config->policy);
    add_line(out, "ledger", ledger);
    if (config->outbox != NULL) {
        add_line(out, "outbox", config->outbox);
    }
    add_line(out, "checkpoint key", key);
    if (key != NULL) {
        add_line(out, "checkpoint file", config->checkpoint_file);
        hm_buf_add_format(out, "checkpoints      every %llu events\n",
                          (unsigned long long)config->checkpoint_every);
    }
    add_line(out, "log", config->log_json ? "json" : "none");
    hm_buf_add_format(out, "keep             %llu versions\n", (unsigned long long)config->keep);
    if (config->check_every > 0) {
        hm_buf_add_format(out, "check            every %llu s\n",
                          (unsigned long long)config->check_every);
    }
    add_line(out, "none is good", config->leave_bad ? "leave" : "remove");
    hm_buf_add_format(out, "quarantine       %s, up to %llu bytes\n",
                      config->keep_refused ? "keeps what is refused" : "no copy of what is refused",
                      (unsigned long long)config->refused_limit);
    add_line(out, "serving group", config->group != NULL ? config->group : "everybody");
    if (config->alert_count == 0) {
        add_line(out, "alerts", NULL);
    }
    for (size_t i = 0; i < config->alert_count && status == HM_OK; i++) {
        status = add_alert(out, &config->alerts[i], error);
    }
    if (out->length > 0 && !out->failed) {
        out->data[--out->length] = '\0'; /* whoever prints it ends the line */
    }
    return status;
}

hm_status hm_config_describe(const hm_config *config, uint64_t flags, char **text,
                             hm_error **error) {
    hm_auto_buf out = {.data = NULL};
    hm_auto_free char *uri = NULL;
    hm_auto_free char *ledger = NULL;
    hm_auto_free char *key = NULL;
    if (config == NULL || text == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_config_describe: an argument is missing");
    }
    hm_status status = hm_check_options("hm_config_describe", 1, 1, flags, HM_CONFIG_JSON, error);
    if (status == HM_OK) {
        status = hm_config_ledger(config, &uri, error);
    }
    if (status == HM_OK && uri != NULL) {
        status = public_part(uri, &ledger, error);
    }
    if (status == HM_OK) {
        status = public_key_uri(config->checkpoint_key, &key, error);
    }
    if (status == HM_OK) {
        status = (flags & HM_CONFIG_JSON) != 0 ? describe_json(config, ledger, key, &out, error)
                                               : describe_text(config, ledger, key, &out, error);
    }
    return status == HM_OK ? hm_buf_hand_over(&out, text, error) : status;
}
