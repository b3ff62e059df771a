/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policy files (docs/policy.md): YAML to a policy. Everything that a file says is understood or
 * refused, with its line and column; nothing has a default that believes anybody.
 */
#include "base/yaml.h"
#include "trust/trust.h"

#include <string.h>

typedef struct loader {
    hm_policy *policy;
    const char *folder; /* of the file, with a slash behind it; "" when its path has none */
    hm_error **error;
} loader;

/* ---- small things --------------------------------------------------------------------------- */

/* Paths are relative to the file's folder, wherever the program runs. */
static char *resolve(const loader *l, const char *path) {
    return hm_textf("%s%s", path[0] == '/' ? "" : l->folder, path);
}

/* What went wrong in opening a thing that the file names, with the place where it is named. */
static hm_status fail_inner(const hm_yaml *node, hm_error **cause, hm_error **error) {
    if (*cause == NULL) {
        return hm_fail_memory(error);
    }
    (void)hm_yaml_fail(node, error, "%s", hm_error_message(*cause));
    if (*hm_error_hint(*cause) != '\0') {
        hm_error_add_hint(error, "%s", hm_error_hint(*cause));
    }
    return HM_UNDECIDED;
}

static hm_status need(const loader *l, hm_yaml *mapping, const char *name, hm_yaml **member) {
    *member = hm_yaml_take(mapping, name);
    return *member != NULL ? HM_OK
                           : hm_yaml_fail(mapping, l->error, "\"%s\" is missing here", name);
}

/* Given out in reports and messages as it is. */
static hm_status check_plain(const loader *l, const hm_yaml *node, const char *text) {
    return hm_text_plain(hm_bytes_text(text)) ? HM_OK
                                              : hm_yaml_fail(node, l->error, "control characters");
}

static hm_status take_digest(const loader *l, const hm_yaml *node, const char *prefix,
                             uint8_t *digest) {
    const char *text = NULL;
    size_t length = strlen(prefix);
    hm_status status = hm_yaml_text(node, &text, l->error);
    if (status != HM_OK) {
        return status;
    }
    if (strncmp(text, prefix, length) == 0 && hm_unhex(hm_bytes_text(text + length), digest, 32)) {
        return HM_OK;
    }
    return hm_yaml_fail(node, l->error, "\"%s\" is not %s%s64 digits of lower-case hex", text,
                        prefix, prefix[0] != '\0' ? " and " : "");
}

/* A list of texts, or one; `check` may be NULL. */
typedef hm_status (*check_text)(const loader *l, const hm_yaml *node, const char *text);

static hm_status take_texts(const loader *l, hm_yaml *mapping, const char *name, check_text check,
                            hm_texts *texts) {
    hm_yaml *list = hm_yaml_take(mapping, name);
    hm_yaml *at = NULL;
    hm_status status = hm_yaml_one_or_more(list, &at, l->error);
    for (; at != NULL && status == HM_OK; at = hm_yaml_next(list, at)) {
        const char *text = NULL;
        status = hm_yaml_text(at, &text, l->error);
        if (status == HM_OK && check != NULL) {
            status = check(l, at, text);
        }
        if (status == HM_OK) {
            status = hm_texts_add(texts, text, l->error);
        }
    }
    return status;
}

/* ---- signers -------------------------------------------------------------------------------- */

static hm_status load_key_text(const loader *l, const hm_yaml *node, const char *kind,
                               hm_pubkey **key) {
    const char *text = NULL;
    hm_auto_error cause = NULL;
    hm_status status = hm_yaml_text(node, &text, l->error);
    if (status != HM_OK) {
        return status;
    }
    if (strcmp(kind, "pem") == 0) {
        status = hm_pubkey_parse(hm_bytes_text(text), "the key", key, &cause);
    } else if (strcmp(kind, "uri") == 0) {
        status = hm_pubkey_load(text, key, &cause);
    } else {
        hm_auto_free char *path = resolve(l, text);
        status = path != NULL ? hm_pubkey_load(path, key, &cause) : hm_fail_memory(&cause);
    }
    return status == HM_OK ? HM_OK : fail_inner(node, &cause, l->error);
}

static hm_status load_key_of(const loader *l, hm_yaml *entry, hm_pubkey **key) {
    static const char *const kinds[] = {"file", "pem", "uri"};
    const hm_yaml *found = NULL;
    const char *kind = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        hm_yaml *member = hm_yaml_take(entry, kinds[i]);
        if (member != NULL && found != NULL) {
            return hm_yaml_fail(member, l->error, "a key has one of \"file\", \"pem\" and \"uri\"");
        }
        if (member != NULL) {
            found = member;
            kind = kinds[i];
        }
    }
    return found != NULL
               ? load_key_text(l, found, kind, key)
               : hm_yaml_fail(entry, l->error, "a key needs one of \"file\", \"pem\" and \"uri\"");
}

/* `fingerprint` NULL: the mapping says it. */
static hm_status read_revocation(const loader *l, hm_yaml *entry, const char *fingerprint) {
    static const char *const known[] = {"fingerprint", "since", "reason", NULL};
    hm_yaml *since = NULL;
    hm_yaml *named = NULL;
    int64_t time = 0;
    const char *reason = NULL;
    uint8_t digest[HM_FINGERPRINT_SIZE];
    hm_status status = hm_yaml_want(entry, HM_YAML_MAPPING, l->error);
    if (status == HM_OK && fingerprint == NULL) {
        status = need(l, entry, "fingerprint", &named);
        status = status == HM_OK ? take_digest(l, named, "", digest) : status;
        fingerprint = status == HM_OK ? named->text : NULL;
    }
    if (status == HM_OK) {
        status = need(l, entry, "since", &since);
    }
    if (status == HM_OK) {
        status = hm_yaml_time(since, false, &time, l->error);
    }
    if (status == HM_OK) {
        status = hm_yaml_text(hm_yaml_take(entry, "reason"), &reason, l->error);
    }
    if (status == HM_OK) {
        status = hm_yaml_refuse_rest(entry, known, l->error);
    }
    return status == HM_OK ? hm_policy_revoke(l->policy, fingerprint, time, reason, l->error)
                           : status;
}

static hm_status read_period(const loader *l, hm_yaml *entry, hm_trusted_key *period) {
    hm_yaml *version = hm_yaml_take(entry, "version");
    hm_yaml *after = hm_yaml_take(entry, "not-after");
    hm_status status = hm_yaml_integer(version, &period->version, l->error);
    if (status == HM_OK && version != NULL && period->version == 0) {
        status = hm_yaml_fail(version, l->error, "versions are counted from 1");
    }
    if (status == HM_OK) {
        status =
            hm_yaml_time(hm_yaml_take(entry, "not-before"), false, &period->not_before, l->error);
    }
    if (status == HM_OK) {
        status = hm_yaml_time(after, true, &period->not_after, l->error);
    }
    if (status == HM_OK && period->not_after < period->not_before) {
        status = hm_yaml_fail(after, l->error, "\"not-after\" lies before \"not-before\"");
    }
    return status;
}

static hm_status add_key(const loader *l, hm_trusted_signer *signer, const hm_yaml *entry,
                         hm_pubkey **key, const hm_trusted_key *period) {
    for (size_t i = 0; i < signer->key_count; i++) {
        if (strcmp(signer->keys[i].key->fingerprint, (*key)->fingerprint) == 0) {
            return hm_yaml_fail(entry, l->error, "%s has this key already", signer->name);
        }
    }
    return hm_trusted_signer_add_key(signer, key, period, l->error);
}

static hm_status read_key(const loader *l, hm_trusted_signer *signer, hm_yaml *entry) {
    static const char *const known[] = {"file",       "pem",       "uri",     "version",
                                        "not-before", "not-after", "revoked", NULL};
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *key = NULL;
    hm_trusted_key period = {.not_before = HM_TIME_ALWAYS, .not_after = HM_TIME_NEVER};
    if (entry->type == HM_YAML_SCALAR) {
        hm_status status = load_key_text(l, entry, "file", &key);
        return status == HM_OK ? add_key(l, signer, entry, &key, &period) : status;
    }
    hm_status status = hm_yaml_want(entry, HM_YAML_MAPPING, l->error);
    if (status == HM_OK) {
        status = load_key_of(l, entry, &key);
    }
    if (status == HM_OK) {
        status = read_period(l, entry, &period);
    }
    hm_yaml *revoked = status == HM_OK ? hm_yaml_take(entry, "revoked") : NULL;
    if (status == HM_OK) {
        status = hm_yaml_refuse_rest(entry, known, l->error);
    }
    if (status == HM_OK && revoked != NULL) {
        status = read_revocation(l, revoked, key->fingerprint);
    }
    return status == HM_OK ? add_key(l, signer, entry, &key, &period) : status;
}

static hm_status read_keys(const loader *l, hm_trusted_signer *signer, hm_yaml *list) {
    hm_yaml *at = NULL;
    hm_status status = hm_yaml_one_or_more(list, &at, l->error);
    for (; at != NULL && status == HM_OK; at = hm_yaml_next(list, at)) {
        status = read_key(l, signer, at);
    }
    return status;
}

static hm_status read_roots(const loader *l, hm_trusted_signer *signer, hm_yaml *list) {
    hm_yaml *at = NULL;
    hm_status status = hm_yaml_one_or_more(list, &at, l->error);
    for (; at != NULL && status == HM_OK; at = hm_yaml_next(list, at)) {
        const char *text = NULL;
        hm_auto_error cause = NULL;
        status = hm_yaml_text(at, &text, l->error);
        if (status != HM_OK) {
            return status;
        }
        hm_auto_free char *path = resolve(l, text);
        if (path == NULL || hm_trusted_signer_add_root(signer, path, &cause) != HM_OK) {
            status = fail_inner(at, &cause, l->error);
        }
    }
    return status;
}

static hm_status read_identities(const loader *l, hm_trusted_signer *signer, hm_yaml *mapping,
                                 const char *name, hm_identity_kind kind) {
    hm_yaml *list = hm_yaml_take(mapping, name);
    hm_yaml *at = NULL;
    hm_status status = hm_yaml_one_or_more(list, &at, l->error);
    for (; at != NULL && status == HM_OK; at = hm_yaml_next(list, at)) {
        const char *text = NULL;
        hm_auto_error cause = NULL;
        status = hm_yaml_text(at, &text, l->error);
        if (status == HM_OK &&
            hm_trusted_signer_require_identity(signer, kind, text, &cause) != HM_OK) {
            status = fail_inner(at, &cause, l->error);
        }
    }
    return status;
}

static hm_status read_identity(const loader *l, hm_trusted_signer *signer, hm_yaml *mapping) {
    static const char *const names[] = {"subject", "san", "fingerprint", "organisation", NULL};
    static const hm_identity_kind kinds[] = {HM_IDENTITY_SUBJECT, HM_IDENTITY_SAN,
                                             HM_IDENTITY_FINGERPRINT, HM_IDENTITY_ORGANISATION};
    if (mapping == NULL) {
        return HM_OK;
    }
    hm_status status = hm_yaml_want(mapping, HM_YAML_MAPPING, l->error);
    for (size_t i = 0; names[i] != NULL && status == HM_OK; i++) {
        status = read_identities(l, signer, mapping, names[i], kinds[i]);
    }
    if (status == HM_OK) {
        status = hm_yaml_refuse_rest(mapping, names, l->error);
    }
    if (status == HM_OK && mapping->count == 0) {
        status = hm_yaml_fail(mapping, l->error, "an identity that demands nothing");
    }
    return status;
}

/* What would never be believed is a mistake of whoever wrote it. */
static hm_status check_signer(const loader *l, const hm_trusted_signer *signer,
                              const hm_yaml *entry) {
    if (signer->key_count == 0 && signer->roots == NULL) {
        return hm_yaml_fail(entry, l->error,
                            "%s needs \"keys\", \"roots\" or a \"keyring\" with keys",
                            signer->name);
    }
    if (signer->identity_count > 0 && signer->roots == NULL) {
        return hm_yaml_fail(entry, l->error, "the identity of %s needs \"roots\"", signer->name);
    }
    if (signer->identity_count > 0 && signer->key_count > 0) {
        return hm_yaml_fail(entry, l->error,
                            "%s has keys and an identity: a bare key has no identity; make it two "
                            "signers",
                            signer->name);
    }
    return HM_OK;
}

/* An export of a keyring: whoever `key` is, vouches for the signer's keys and revokes them. */
static hm_status read_keyring(const loader *l, hm_trusted_signer *signer, hm_yaml *mapping) {
    static const char *const known[] = {"file", "key", "min-version", NULL};
    hm_keyring_options how = HM_KEYRING_OPTIONS_INIT;
    const char *file = NULL;
    const char *key = NULL;
    hm_auto_error cause = NULL;
    if (mapping == NULL) {
        return HM_OK;
    }
    hm_status status = hm_yaml_want(mapping, HM_YAML_MAPPING, l->error);
    if (status == HM_OK) {
        status = hm_yaml_text(hm_yaml_take(mapping, "file"), &file, l->error);
    }
    if (status == HM_OK) {
        status = hm_yaml_text(hm_yaml_take(mapping, "key"), &key, l->error);
    }
    if (status == HM_OK) {
        status = hm_yaml_integer(hm_yaml_take(mapping, "min-version"), &how.min_version, l->error);
    }
    if (status == HM_OK) {
        status = hm_yaml_refuse_rest(mapping, known, l->error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (file == NULL || key == NULL) {
        return hm_yaml_fail(mapping, l->error, "a keyring needs \"file\" and \"key\"");
    }
    hm_auto_free char *path = resolve(l, file);
    hm_auto_free char *admin = resolve(l, key);
    if (path == NULL || admin == NULL) {
        return hm_fail_memory(l->error);
    }
    status = hm_trusted_signer_add_keyring(l->policy, signer, path, admin, &how, &cause);
    /* That the export is not to be believed is a verdict, and keeps its reason. */
    if (status == HM_REFUSED) {
        (void)hm_fail(l->error, HM_REFUSED, hm_error_reason(cause), "%s:%zu:%zu: %s",
                      l->policy->path, mapping->line, mapping->column, hm_error_message(cause));
        hm_error_add_hint(l->error, "%s", hm_error_hint(cause));
    }
    return status == HM_OK || status == HM_REFUSED ? status : fail_inner(mapping, &cause, l->error);
}

static hm_status read_signer(const loader *l, hm_yaml *entry) {
    static const char *const known[] = {"keys", "roots", "identity", "keyring", NULL};
    hm_trusted_signer *signer = NULL;
    hm_status status = check_plain(l, entry, entry->name);
    if (status == HM_OK) {
        status = hm_yaml_want(entry, HM_YAML_MAPPING, l->error);
    }
    if (status == HM_OK) {
        status = hm_policy_add_signer(l->policy, entry->name, &signer, l->error);
    }
    if (status == HM_OK) {
        status = read_keys(l, signer, hm_yaml_take(entry, "keys"));
    }
    if (status == HM_OK) {
        status = read_roots(l, signer, hm_yaml_take(entry, "roots"));
    }
    if (status == HM_OK) {
        status = read_keyring(l, signer, hm_yaml_take(entry, "keyring"));
    }
    if (status == HM_OK) {
        status = read_identity(l, signer, hm_yaml_take(entry, "identity"));
    }
    if (status == HM_OK) {
        status = hm_yaml_refuse_rest(entry, known, l->error);
    }
    return status == HM_OK ? check_signer(l, signer, entry) : status;
}

static hm_status read_signers(const loader *l, hm_yaml *mapping) {
    hm_status status = hm_yaml_want(mapping, HM_YAML_MAPPING, l->error);
    for (hm_yaml *at = mapping != NULL ? mapping->first : NULL; at != NULL && status == HM_OK;
         at = at->next) {
        status = read_signer(l, at);
    }
    return status;
}

static hm_status read_revoked(const loader *l, hm_yaml *list) {
    hm_status status = hm_yaml_want(list, HM_YAML_LIST, l->error);
    for (hm_yaml *at = list != NULL ? list->first : NULL; at != NULL && status == HM_OK;
         at = at->next) {
        status = read_revocation(l, at, NULL);
    }
    return status;
}

/* ---- rules ---------------------------------------------------------------------------------- */

static hm_status check_name_pattern(const loader *l, const hm_yaml *node, const char *text) {
    const char *fault = hm_pattern_fault(text, false);
    return fault == NULL ? HM_OK
                         : hm_yaml_fail(node, l->error, "the pattern \"%s\" has %s", text, fault);
}

static hm_status check_path_pattern(const loader *l, const hm_yaml *node, const char *text) {
    const char *fault = hm_pattern_fault(text, true);
    return fault == NULL ? HM_OK
                         : hm_yaml_fail(node, l->error, "the pattern \"%s\" has %s", text, fault);
}

/* No place outside the model, or outside the folder of a single file. */
static hm_status check_place(const loader *l, const hm_yaml *node, const char *text) {
    return hm_name_valid(hm_bytes_text(text))
               ? HM_OK
               : hm_yaml_fail(node, l->error,
                              "\"%s\" is not a path relative to the model, without . and ..", text);
}

static hm_status check_dataset(const loader *l, const hm_yaml *node, const char *text) {
    uint8_t digest[32];
    (void)text;
    return take_digest(l, node, "sha256:", digest);
}

static void hint_signer(const loader *l, const char *name) {
    hm_auto_free const char **names = hm_alloc(l->policy->signer_count, sizeof *names);
    for (size_t i = 1; names != NULL && i < l->policy->signer_count; i++) {
        names[i - 1] = l->policy->signers[i].name;
    }
    if (names != NULL) {
        hm_yaml_hint_nearest(l->error, name, names);
    }
}

static hm_status allow_signer(const loader *l, hm_rule *rule, const hm_yaml *node) {
    const char *name = NULL;
    hm_status status = hm_yaml_text(node, &name, l->error);
    if (status != HM_OK) {
        return status;
    }
    for (size_t i = 1; i < l->policy->signer_count; i++) {
        if (strcmp(l->policy->signers[i].name, name) != 0) {
            continue;
        }
        if (rule->allowed[i]) {
            return hm_yaml_fail(node, l->error, "%s is listed twice", name);
        }
        rule->allowed[i] = true;
        return HM_OK;
    }
    (void)hm_yaml_fail(node, l->error, "there is no signer \"%s\"", name);
    hint_signer(l, name);
    return HM_UNDECIDED;
}

static hm_status read_rule_signers(const loader *l, hm_rule *rule, hm_yaml *entry) {
    hm_yaml *list = hm_yaml_take(entry, "signers");
    hm_yaml *threshold = hm_yaml_take(entry, "threshold");
    hm_yaml *at = NULL;
    uint64_t count = 0;
    if (list == NULL) {
        return threshold == NULL ? HM_OK
                                 : hm_yaml_fail(threshold, l->error, "a threshold needs signers");
    }
    rule->allowed = hm_alloc(l->policy->signer_count, sizeof(bool));
    if (rule->allowed == NULL) {
        return hm_fail_memory(l->error);
    }
    hm_status status = hm_yaml_one_or_more(list, &at, l->error);
    for (; at != NULL && status == HM_OK; at = hm_yaml_next(list, at)) {
        status = allow_signer(l, rule, at);
        count++;
    }
    rule->needed = 1;
    if (status == HM_OK) {
        status = hm_yaml_integer(threshold, &rule->needed, l->error);
    }
    if (status == HM_OK && (rule->needed == 0 || rule->needed > count)) {
        status = hm_yaml_fail(threshold, l->error,
                              "the threshold must be from 1 to the number of signers, here %zu",
                              (size_t)count);
    }
    return status;
}

static hm_status read_format(const loader *l, hm_rule *rule, const hm_yaml *node) {
    const char *name = NULL;
    hm_status status = hm_yaml_text(node, &name, l->error);
    if (status != HM_OK || name == NULL) {
        return status;
    }
    rule->format = hm_format_find(name);
    if (rule->format == NULL) {
        (void)hm_yaml_fail(node, l->error, "\"%s\" is not a signature format", name);
        hm_auto_free char *names = hm_format_names();
        hm_error_add_hint(l->error, "formats are %s", names != NULL ? names : "");
        return HM_UNDECIDED;
    }
    return HM_OK;
}

static hm_status add_pin(const loader *l, hm_rule *rule, const hm_yaml *node, const char *name,
                         const char *prefix) {
    hm_pin pin = {.name = NULL};
    hm_status status = take_digest(l, node, prefix, pin.digest);
    if (status != HM_OK) {
        return status;
    }
    pin.name = name != NULL ? hm_strdup(name) : NULL;
    if ((name != NULL && pin.name == NULL) ||
        !hm_grow(&rule->pins, rule->pin_count, &rule->pin_capacity, sizeof(hm_pin))) {
        hm_auto_free_(&pin.name);
        return hm_fail_memory(l->error);
    }
    rule->pins[rule->pin_count++] = pin;
    return HM_OK;
}

static hm_status read_pinned_files(const loader *l, hm_rule *rule, hm_yaml *mapping) {
    hm_status status = hm_yaml_want(mapping, HM_YAML_MAPPING, l->error);
    if (status == HM_OK && mapping->count == 0) {
        status = hm_yaml_fail(mapping, l->error, "no files");
    }
    for (const hm_yaml *at = mapping->first; at != NULL && status == HM_OK; at = at->next) {
        if (!hm_name_valid(hm_bytes_text(at->name))) {
            return hm_yaml_fail(at, l->error,
                                "\"%s\" is not a path relative to the model, without . and ..",
                                at->name);
        }
        status = add_pin(l, rule, at, at->name, "sha256:");
    }
    return status;
}

/* How the model digest is computed: as by `hallmark digest` with the options of that name. */
static hm_status read_pin_method(const loader *l, hm_rule *rule, hm_yaml *mapping) {
    hm_yaml *hash = hm_yaml_take(mapping, "hash");
    hm_yaml *size = hm_yaml_take(mapping, "shard-size");
    const char *name = "sha256";
    if (rule->pin_kind != HM_PIN_MODEL && (hash != NULL || size != NULL)) {
        return hm_yaml_fail(hash != NULL ? hash : size, l->error,
                            "\"hash\" and \"shard-size\" belong to \"model\"");
    }
    hm_status status = hm_yaml_text(hash, &name, l->error);
    if (status == HM_OK && !hm_hash_from_name(hm_bytes_text(name), &rule->pin_hash)) {
        status = hm_yaml_fail(hash, l->error,
                              "the hash \"%s\" is not known; use sha256, blake2b or blake3", name);
    }
    if (status == HM_OK) {
        status = hm_yaml_integer(size, &rule->pin_shard_size, l->error);
    }
    if (status == HM_OK && size != NULL && rule->pin_shard_size == 0) {
        status = hm_yaml_fail(size, l->error, "a shard has at least one byte");
    }
    return status;
}

static hm_status read_pinned(const loader *l, hm_rule *rule, hm_yaml *mapping) {
    static const char *const known[] = {"file", "files", "model", "hash", "shard-size", NULL};
    if (mapping == NULL) {
        return HM_OK;
    }
    hm_status status = hm_yaml_want(mapping, HM_YAML_MAPPING, l->error);
    if (status != HM_OK) {
        return status;
    }
    hm_yaml *file = hm_yaml_take(mapping, "file");
    hm_yaml *files = hm_yaml_take(mapping, "files");
    hm_yaml *model = hm_yaml_take(mapping, "model");
    if ((file != NULL) + (files != NULL) + (model != NULL) != 1) {
        return hm_yaml_fail(mapping, l->error,
                            "one of \"file\", \"files\" and \"model\" is pinned");
    }
    rule->pin_kind = file != NULL ? HM_PIN_FILE : files != NULL ? HM_PIN_FILES : HM_PIN_MODEL;
    status = file != NULL    ? add_pin(l, rule, file, NULL, "sha256:")
             : files != NULL ? read_pinned_files(l, rule, files)
                             : add_pin(l, rule, model, NULL, "");
    if (status == HM_OK) {
        status = read_pin_method(l, rule, mapping);
    }
    return status == HM_OK ? hm_yaml_refuse_rest(mapping, known, l->error) : status;
}

static hm_status read_unsigned(const loader *l, hm_rule *rule, const hm_yaml *node) {
    const char *word = "refuse";
    hm_status status = hm_yaml_text(node, &word, l->error);
    rule->warn_unsigned = strcmp(word, "warn") == 0;
    if (status == HM_OK && !rule->warn_unsigned && strcmp(word, "refuse") != 0) {
        status = hm_yaml_fail(node, l->error, "\"%s\" is neither refuse nor warn", word);
    }
    return status;
}

static hm_status read_provenance(const loader *l, hm_rule *rule, hm_yaml *mapping) {
    static const char *const known[] = {"required", "datasets", "builders", NULL};
    hm_provenance_demand *demand = &rule->provenance;
    hm_texts datasets = {.list = NULL};
    hm_texts builders = {.list = NULL};
    if (mapping == NULL) {
        return HM_OK;
    }
    demand->required = true;
    hm_status status = hm_yaml_want(mapping, HM_YAML_MAPPING, l->error);
    if (status == HM_OK) {
        status = hm_yaml_bool(hm_yaml_take(mapping, "required"), &demand->required, l->error);
    }
    if (status == HM_OK) {
        status = take_texts(l, mapping, "datasets", check_dataset, &datasets);
    }
    if (status == HM_OK) {
        status = take_texts(l, mapping, "builders", check_plain, &builders);
    }
    /* Owned by the rule from here on, whatever the status. */
    demand->datasets = datasets.list;
    demand->dataset_count = datasets.count;
    demand->dataset_capacity = datasets.capacity;
    demand->builders = builders.list;
    demand->builder_count = builders.count;
    demand->builder_capacity = builders.capacity;
    if (status == HM_OK) {
        status = hm_yaml_refuse_rest(mapping, known, l->error);
    }
    return status;
}

static hm_status read_allow(const loader *l, hm_rule *rule, hm_yaml *list) {
    static const char *const words[] = {"symlinks", "expired-certificates", "missing-eku",
                                        "oms-v0.2.0", NULL};
    static const uint64_t flags[] = {HM_ALLOW_SYMLINKS, HM_ALLOW_EXPIRED_CERTIFICATES,
                                     HM_ALLOW_MISSING_EKU, HM_ALLOW_OMS_V0_2_0};
    hm_yaml *at = NULL;
    hm_status status = hm_yaml_one_or_more(list, &at, l->error);
    for (; at != NULL && status == HM_OK; at = hm_yaml_next(list, at)) {
        const char *word = NULL;
        size_t i = 0;
        status = hm_yaml_text(at, &word, l->error);
        for (; status == HM_OK && words[i] != NULL && strcmp(words[i], word) != 0; i++) {
        }
        if (status == HM_OK && words[i] == NULL) {
            status = hm_yaml_fail(at, l->error, "\"%s\" is nothing that can be allowed", word);
            hm_yaml_hint_nearest(l->error, word, words);
        } else if (status == HM_OK) {
            rule->allow |= flags[i];
        }
    }
    return status;
}

static hm_status check_rule(const loader *l, const hm_rule *rule, const hm_yaml *entry) {
    if (rule->names.count == 0 && rule->paths.count == 0) {
        return hm_yaml_fail(entry, l->error, "say which models: \"name\" or \"path\"");
    }
    if (rule->allowed == NULL && rule->pin_kind == HM_PIN_NONE) {
        return hm_yaml_fail(entry, l->error, "nothing is demanded: \"signers\" or \"pinned\"");
    }
    if (rule->allowed == NULL && (rule->format != NULL || rule->signatures.count > 0 ||
                                  rule->warn_unsigned || (rule->allow & ~HM_ALLOW_SYMLINKS) != 0)) {
        return hm_yaml_fail(entry, l->error,
                            "\"format\", \"signatures\", \"unsigned\" and \"allow\" are about "
                            "signatures, and this rule has no \"signers\"");
    }
    if (hm_provenance_demanded(&rule->provenance) &&
        (rule->allowed == NULL || rule->warn_unsigned)) {
        return hm_yaml_fail(entry, l->error,
                            "provenance is by a signer of the model: it needs \"signers\", and "
                            "does "
                            "not go with \"unsigned: warn\"");
    }
    return HM_OK;
}

static hm_status read_rule_parts(const loader *l, hm_rule *rule, hm_yaml *entry) {
    hm_status status = take_texts(l, entry, "name", check_name_pattern, &rule->names);
    if (status == HM_OK) {
        status = take_texts(l, entry, "path", check_path_pattern, &rule->paths);
    }
    if (status == HM_OK) {
        status = read_rule_signers(l, rule, entry);
    }
    if (status == HM_OK) {
        status = read_format(l, rule, hm_yaml_take(entry, "format"));
    }
    if (status == HM_OK) {
        status = take_texts(l, entry, "signatures", check_place, &rule->signatures);
    }
    if (status == HM_OK) {
        status = read_pinned(l, rule, hm_yaml_take(entry, "pinned"));
    }
    if (status == HM_OK) {
        status = read_unsigned(l, rule, hm_yaml_take(entry, "unsigned"));
    }
    if (status == HM_OK) {
        status = read_provenance(l, rule, hm_yaml_take(entry, "provenance"));
    }
    return status == HM_OK ? read_allow(l, rule, hm_yaml_take(entry, "allow")) : status;
}

static hm_status read_rule(const loader *l, hm_yaml *entry) {
    static const char *const known[] = {"name",       "path",       "signers", "threshold",
                                        "format",     "signatures", "pinned",  "unsigned",
                                        "provenance", "allow",      NULL};
    hm_rule *rule = NULL;
    hm_status status = hm_yaml_want(entry, HM_YAML_MAPPING, l->error);
    if (status == HM_OK) {
        status = hm_policy_add_rule(l->policy, &rule, l->error);
    }
    if (status != HM_OK) {
        return status;
    }
    rule->line = entry->line;
    status = read_rule_parts(l, rule, entry);
    if (status == HM_OK) {
        status = hm_yaml_refuse_rest(entry, known, l->error);
    }
    return status == HM_OK ? check_rule(l, rule, entry) : status;
}

static hm_status read_rules(const loader *l, hm_yaml *list) {
    hm_status status = hm_yaml_want(list, HM_YAML_LIST, l->error);
    for (hm_yaml *at = list->first; at != NULL && status == HM_OK; at = at->next) {
        status = read_rule(l, at);
    }
    return status;
}

/* ---- the file ------------------------------------------------------------------------------- */

static hm_status read_version(const loader *l, hm_yaml *root) {
    hm_yaml *node = NULL;
    uint64_t version = 0;
    hm_status status = need(l, root, "version", &node);
    if (status == HM_OK) {
        status = hm_yaml_integer(node, &version, l->error);
    }
    if (status == HM_OK && version != 1) {
        status = hm_yaml_fail(node, l->error, "version %s is not known here; this is version 1",
                              node->text);
    }
    return status;
}

/* It is there to be read by people: it can say nothing else. */
static hm_status read_default(const loader *l, const hm_yaml *node) {
    const char *word = "refuse";
    hm_status status = hm_yaml_text(node, &word, l->error);
    return status == HM_OK && strcmp(word, "refuse") != 0
               ? hm_yaml_fail(node, l->error, "the default can only be refuse")
               : status;
}

static hm_status read_root(const loader *l, hm_yaml *root) {
    static const char *const known[] = {"version", "signers", "revoked", "models", "default", NULL};
    hm_yaml *models = NULL;
    hm_status status = hm_yaml_want(root, HM_YAML_MAPPING, l->error);
    if (status == HM_OK) {
        status = read_version(l, root);
    }
    if (status == HM_OK) {
        status = read_signers(l, hm_yaml_take(root, "signers"));
    }
    if (status == HM_OK) {
        status = read_revoked(l, hm_yaml_take(root, "revoked"));
    }
    if (status == HM_OK) {
        status = need(l, root, "models", &models);
    }
    if (status == HM_OK) {
        status = read_rules(l, models);
    }
    if (status == HM_OK) {
        status = read_default(l, hm_yaml_take(root, "default"));
    }
    return status == HM_OK ? hm_yaml_refuse_rest(root, known, l->error) : status;
}

hm_status hm_policy_parse(hm_bytes text, const char *path, hm_policy **policy, hm_error **error) {
    hm_auto_yaml doc = NULL;
    HM_CLEANUP(hm_policy_free) hm_policy *made = NULL;
    const char *slash = strrchr(path, '/');
    hm_auto_free char *folder = hm_strndup(path, slash != NULL ? (size_t)(slash + 1 - path) : 0);
    hm_auto_free char *copy = hm_strdup(path);
    if (folder == NULL || copy == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_policy_new(&made, error);
    if (status == HM_OK) {
        made->path = copy;
        copy = NULL;
        status = hm_yaml_parse(text, path, &doc, error);
    }
    if (status == HM_OK && hm_yaml_root(doc) == NULL) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is empty", path);
    }
    if (status == HM_OK) {
        loader l = {.policy = made, .folder = folder, .error = error};
        status = read_root(&l, hm_yaml_root(doc));
    }
    if (status == HM_OK) {
        hm_policy_tie_parties(made);
        *policy = made;
        made = NULL;
    }
    return status;
}

/* Whoever names the key where the policy is wanted should not have to guess what a mapping is. */
static void add_pem_hint(hm_bytes text, hm_error **error) {
    static const char pem[] = "-----BEGIN ";
    if (text.length >= sizeof pem - 1 && memcmp(text.data, pem, sizeof pem - 1) == 0) {
        hm_error_add_hint(error, "this is a key or certificate, and no policy file; to believe it, "
                                 "name it with --key or --root");
    }
}

hm_status hm_policy_load(const char *path, hm_policy **policy, hm_error **error) {
    hm_auto_buf file = {.data = NULL};
    if (path == NULL || policy == NULL || path[0] == '\0') {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "hm_policy_load: no file is named");
    }
    hm_status status = hm_key_file_read(path, HM_YAML_FILE_LIMIT, &file, error);
    if (status != HM_OK) {
        return status;
    }
    status = hm_policy_parse(hm_buf_view(&file), path, policy, error);
    if (status != HM_OK) {
        add_pem_hint(hm_buf_view(&file), error);
    }
    return status;
}
