/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config: what a host is told once for all commands, in a file that its owner alone may write: the
 * store, the policy, the ledger, who is alerted. Says what is wanted; does nothing of it.
 */
#ifndef HM_CONFIG_H
#define HM_CONFIG_H

#include "config/event_kind.h"

typedef enum hm_alert_kind {
    HM_ALERT_WEBHOOK = 1,
    HM_ALERT_COMMAND,
    HM_ALERT_SYSLOG, /* journald's socket where there is one */
} hm_alert_kind;

/* Somebody who is told of what went wrong. */
typedef struct hm_alert_config {
    hm_alert_kind kind;
    char *name;          /* unique in the file; what undelivered alerts are kept under */
    char *url;           /* of a webhook: https, or http to this machine */
    char *secret;        /* of a webhook: keys the HMAC-SHA256 over the body, sent along; or NULL */
    char *authorization; /* of a webhook: value of that header, from a file; or NULL */
    char *ca_file;       /* of a webhook: roots to believe in place of the system's; or NULL */
    char **command;      /* program and arguments; no shell. The event is its standard input. */
    size_t command_count;
    unsigned timeout_ms; /* of one attempt */
    uint64_t events;     /* a bit (1 << kind) for each hm_event_kind that it is told of */
    unsigned facility;   /* of syslog: its number (RFC 5424, table 1) */
    char *socket;        /* of syslog: the datagram socket; NULL: journald's or /dev/log */
    bool journal;        /* `socket` takes journald's own protocol */
} hm_alert_config;

struct hm_config {
    char *path;            /* of the file; NULL: there is none */
    char *store;           /* directory; NULL: none is named */
    char *policy;          /* file; NULL: none is named */
    char *ledger;          /* URI; NULL: SQLite in the store (hm_config_ledger()) */
    char *outbox;          /* directory; NULL: in the store, else in the state directory */
    char *checkpoint_key;  /* signs the ledger's checkpoints: path or URI; NULL: nobody does */
    char *checkpoint_file; /* where the newest checkpoint goes besides into the ledger; or NULL */
    uint64_t checkpoint_every; /* events; at least 1 */
    hm_alert_config *alerts;
    size_t alert_count, alert_capacity;
    bool log_json;          /* each event on standard error, as JSON */
    uint64_t keep;          /* versions of a model that gc leaves, at least 1 */
    uint64_t check_every;   /* seconds between two checks of the service; 0: not said */
    bool leave_bad;         /* no good version is left: `current` stays, loudly */
    bool keep_refused;      /* the copy of a model that was refused goes into quarantine */
    uint64_t refused_limit; /* bytes that such copies may take in all */
    char *group;            /* that may read the versions: a name; NULL: everybody may */
};

/* The defaults. */
HM_MUST_USE hm_status hm_config_new(hm_config **config, hm_error **error);
/* Reads what a file says, without the environment. `path` is for messages and relative paths. */
HM_MUST_USE hm_status hm_config_parse(hm_bytes text, const char *path, hm_config **config,
                                      hm_error **error);
void hm_alert_config_free(hm_alert_config *alert);
/* One alert of the list; `at` is the mapping in the file. Of a failure nothing is added. */
struct hm_yaml;
HM_MUST_USE hm_status hm_config_read_alert(hm_config *config, struct hm_yaml *at,
                                           const char *folder, hm_error **error);
/* Where the ledger is, newly allocated: as configured, else in the store; `*uri` NULL: nowhere. */
HM_MUST_USE hm_status hm_config_ledger(const hm_config *config, char **uri, hm_error **error);
/* The name of a syslog facility; the number is the index. Ends with NULL. */
extern const char *const hm_syslog_facilities[];

#endif
