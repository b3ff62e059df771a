/* SPDX-License-Identifier: Apache-2.0 */
/* What a policy allows, and which of its rules is about a model: for people and for programs. */
#include "report.h"

#include <inttypes.h>
#include <string.h>

/* ---- for programs --------------------------------------------------------------------------- */

static void member_texts(hm_json_writer *w, const char *name, const hm_texts *texts) {
    hm_json_name(w, name);
    hm_json_begin_array(w);
    for (size_t i = 0; i < texts->count; i++) {
        hm_json_text(w, texts->list[i]);
    }
    hm_json_end_array(w);
}

static void member_list(hm_json_writer *w, const char *name, char *const *list, size_t count) {
    hm_json_name(w, name);
    hm_json_begin_array(w);
    for (size_t i = 0; i < count; i++) {
        hm_json_text(w, list[i]);
    }
    hm_json_end_array(w);
}

/* null: none is demanded. */
static void json_provenance(hm_json_writer *w, const hm_provenance_demand *demand) {
    hm_json_name(w, "provenance");
    if (!hm_provenance_demanded(demand)) {
        hm_json_null(w);
        return;
    }
    hm_json_begin_object(w);
    member_list(w, "datasets", demand->datasets, demand->dataset_count);
    member_list(w, "builders", demand->builders, demand->builder_count);
    hm_json_end_object(w);
}

static void member_or_null(hm_json_writer *w, const char *name, const char *text) {
    hm_json_name(w, name);
    if (text != NULL && *text != '\0') {
        hm_json_text(w, text);
    } else {
        hm_json_null(w);
    }
}

static void member_time(hm_json_writer *w, const char *name, int64_t time) {
    hm_auto_buf text = {0};
    if (time != HM_TIME_ALWAYS && time != HM_TIME_NEVER) {
        hm_buf_add_time(&text, time);
        hm_buf_add_byte(&text, 0);
    }
    member_or_null(w, name, (const char *)text.data);
}

static const hm_revocation *revocation_of(const hm_policy *policy, const char *fingerprint) {
    for (size_t i = 0; i < policy->revocation_count; i++) {
        if (strcmp(policy->revocations[i].fingerprint, fingerprint) == 0) {
            return &policy->revocations[i];
        }
    }
    return NULL;
}

static void json_revocation(hm_json_writer *w, const hm_revocation *revocation) {
    hm_json_begin_object(w);
    hm_json_member(w, "fingerprint", revocation->fingerprint);
    member_time(w, "since", revocation->since);
    member_or_null(w, "reason", revocation->reason);
    hm_json_end_object(w);
}

static void json_key(hm_json_writer *w, const hm_policy *policy, const hm_trusted_key *trusted) {
    hm_json_begin_object(w);
    hm_json_member(w, "key_type", trusted->key->algorithm);
    hm_json_member(w, "key_fingerprint", trusted->key->fingerprint);
    hm_json_name(w, "key_version");
    if (trusted->version > 0) {
        hm_json_number(w, trusted->version);
    } else {
        hm_json_null(w);
    }
    member_time(w, "not_before", trusted->not_before);
    member_time(w, "not_after", trusted->not_after);
    hm_json_member_bool(w, "revoked", revocation_of(policy, trusted->key->fingerprint) != NULL);
    hm_json_end_object(w);
}

static const char *identity_name(hm_identity_kind kind) {
    switch (kind) {
    case HM_IDENTITY_SUBJECT: return "subject";
    case HM_IDENTITY_SAN: return "san";
    case HM_IDENTITY_FINGERPRINT: return "fingerprint";
    case HM_IDENTITY_ORGANISATION: return "organisation";
    }
    return "";
}

static hm_status json_roots(hm_json_writer *w, const hm_trusted_signer *signer, hm_error **error) {
    hm_status status = HM_OK;
    int count = signer->roots != NULL ? sk_X509_num(signer->roots) : 0;
    hm_json_name(w, "roots");
    hm_json_begin_array(w);
    for (int i = 0; i < count && status == HM_OK; i++) {
        hm_auto_free char *name = NULL;
        status = hm_certificate_name(X509_get_subject_name(sk_X509_value(signer->roots, i)), &name,
                                     error);
        if (status == HM_OK) {
            hm_json_text(w, name);
        }
    }
    hm_json_end_array(w);
    return status;
}

static hm_status json_signer(hm_json_writer *w, const hm_policy *policy,
                             const hm_trusted_signer *signer, hm_error **error) {
    hm_json_begin_object(w);
    hm_json_member(w, "name", signer->name);
    hm_json_name(w, "keys");
    hm_json_begin_array(w);
    for (size_t i = 0; i < signer->key_count; i++) {
        json_key(w, policy, &signer->keys[i]);
    }
    hm_json_end_array(w);
    hm_status status = json_roots(w, signer, error);
    hm_json_name(w, "identity");
    hm_json_begin_array(w);
    for (size_t i = 0; i < signer->identity_count; i++) {
        hm_json_begin_object(w);
        hm_json_member(w, "kind", identity_name(signer->identities[i].kind));
        hm_json_member(w, "value", signer->identities[i].value);
        hm_json_end_object(w);
    }
    hm_json_end_array(w);
    hm_json_end_object(w);
    return status;
}

static const struct allowance {
    uint64_t flag;
    const char *word;
} allowances[] = {
    {HM_ALLOW_SYMLINKS, "symlinks"},
    {HM_ALLOW_EXPIRED_CERTIFICATES, "expired-certificates"},
    {HM_ALLOW_MISSING_EKU, "missing-eku"},
    {HM_ALLOW_OMS_V0_2_0, "oms-v0.2.0"},
};
enum { ALLOWANCE_COUNT = sizeof(allowances) / sizeof(allowances[0]) };

static void json_pins(hm_json_writer *w, const hm_rule *rule) {
    hm_json_name(w, "pinned");
    if (rule->pin_kind == HM_PIN_NONE) {
        hm_json_null(w);
        return;
    }
    hm_json_begin_object(w);
    hm_json_member(w, "kind", hm_pin_kind_name(rule->pin_kind));
    hm_json_member(w, "hash", hm_hash_name(rule->pin_hash));
    hm_json_member_number(w, "shard_size", rule->pin_shard_size);
    hm_json_name(w, "digests");
    hm_json_begin_array(w);
    for (size_t i = 0; i < rule->pin_count; i++) {
        hm_json_begin_object(w);
        member_or_null(w, "name", rule->pins[i].name);
        hm_json_member_hex(w, "digest", rule->pins[i].digest, sizeof(rule->pins[i].digest));
        hm_json_end_object(w);
    }
    hm_json_end_array(w);
    hm_json_end_object(w);
}

static void json_rule(hm_json_writer *w, const hm_policy *policy, size_t index) {
    const hm_rule *rule = &policy->rules[index];
    hm_json_begin_object(w);
    hm_json_member_number(w, "rule", index + 1);
    hm_json_member_number(w, "line", rule->line);
    member_texts(w, "name", &rule->names);
    member_texts(w, "path", &rule->paths);
    hm_json_name(w, "signers");
    hm_json_begin_array(w);
    for (size_t i = 0; rule->allowed != NULL && i < policy->signer_count; i++) {
        if (rule->allowed[i]) {
            hm_json_text(w, policy->signers[i].name);
        }
    }
    hm_json_end_array(w);
    hm_json_member_number(w, "threshold", rule->needed);
    member_or_null(w, "format", rule->format != NULL ? rule->format->name : NULL);
    member_texts(w, "signatures", &rule->signatures);
    json_pins(w, rule);
    hm_json_member(w, "unsigned", rule->warn_unsigned ? "warn" : "refuse");
    json_provenance(w, &rule->provenance);
    hm_json_name(w, "allow");
    hm_json_begin_array(w);
    for (size_t i = 0; i < ALLOWANCE_COUNT; i++) {
        if ((rule->allow & allowances[i].flag) != 0) {
            hm_json_text(w, allowances[i].word);
        }
    }
    hm_json_end_array(w);
    hm_json_end_object(w);
}

static hm_status json_policy(hm_json_writer *w, const hm_policy *policy, hm_error **error) {
    hm_status status = HM_OK;
    hm_json_begin_object(w);
    hm_json_member(w, "schema", "hallmark-policy-v1");
    hm_json_member(w, "file", policy->path);
    hm_json_name(w, "signers");
    hm_json_begin_array(w);
    for (size_t i = 1; i < policy->signer_count && status == HM_OK; i++) {
        status = json_signer(w, policy, &policy->signers[i], error);
    }
    hm_json_end_array(w);
    hm_json_name(w, "revoked");
    hm_json_begin_array(w);
    for (size_t i = 0; i < policy->revocation_count; i++) {
        json_revocation(w, &policy->revocations[i]);
    }
    hm_json_end_array(w);
    hm_json_name(w, "models");
    hm_json_begin_array(w);
    for (size_t i = 0; i < policy->rule_count; i++) {
        json_rule(w, policy, i);
    }
    hm_json_end_array(w);
    hm_json_member(w, "default", "refuse");
    hm_json_end_object(w);
    return status;
}

/* ---- for people ----------------------------------------------------------------------------- */

static void foreign(hm_buf *out, const char *text) {
    hm_buf_add_printable(out, hm_bytes_text(text));
}

static void text_list(hm_buf *out, const char *label, const hm_texts *texts) {
    for (size_t i = 0; i < texts->count; i++) {
        hm_buf_add_text(out, i == 0 ? label : " or ");
        foreign(out, texts->list[i]);
    }
}

static void text_bound(hm_buf *out, const char *label, int64_t time) {
    if (time != HM_TIME_ALWAYS && time != HM_TIME_NEVER) {
        hm_buf_add_text(out, label);
        hm_buf_add_time(out, time);
    }
}

static void text_key(hm_buf *out, const hm_policy *policy, const hm_trusted_key *trusted) {
    const hm_revocation *revocation = revocation_of(policy, trusted->key->fingerprint);
    hm_buf_add_format(out, "    %s key %s", trusted->key->algorithm, trusted->key->fingerprint);
    if (trusted->version > 0) {
        hm_buf_add_format(out, ", version %" PRIu64, trusted->version);
    }
    text_bound(out, ", from ", trusted->not_before);
    text_bound(out, ", until ", trusted->not_after);
    text_bound(out, ", revoked since ", revocation != NULL ? revocation->since : HM_TIME_NEVER);
    hm_buf_add_byte(out, '\n');
}

static hm_status text_signer(hm_buf *out, const hm_policy *policy, const hm_trusted_signer *signer,
                             hm_error **error) {
    hm_status status = HM_OK;
    int roots = signer->roots != NULL ? sk_X509_num(signer->roots) : 0;
    hm_buf_add_text(out, "  ");
    foreign(out, signer->name);
    hm_buf_add_text(out, ":\n");
    for (size_t i = 0; i < signer->key_count; i++) {
        text_key(out, policy, &signer->keys[i]);
    }
    for (int i = 0; i < roots && status == HM_OK; i++) {
        hm_auto_free char *name = NULL;
        status = hm_certificate_name(X509_get_subject_name(sk_X509_value(signer->roots, i)), &name,
                                     error);
        hm_buf_add_text(out, "    certificates under ");
        foreign(out, name != NULL ? name : "");
        hm_buf_add_byte(out, '\n');
    }
    for (size_t i = 0; i < signer->identity_count; i++) {
        hm_buf_add_format(out, "    with the %s ", identity_name(signer->identities[i].kind));
        foreign(out, signer->identities[i].value);
        hm_buf_add_byte(out, '\n');
    }
    return status;
}

static void text_signers_of(hm_buf *out, const hm_policy *policy, const hm_rule *rule) {
    size_t count = 0;
    for (size_t i = 0; i < policy->signer_count; i++) {
        count += rule->allowed[i] ? 1 : 0;
    }
    if (rule->needed < count || count > 1) {
        hm_buf_add_format(out, "    signed by %" PRIu64 " of", rule->needed);
    } else {
        hm_buf_add_text(out, "    signed by");
    }
    for (size_t i = 0, shown = 0; i < policy->signer_count; i++) {
        if (rule->allowed[i]) {
            hm_buf_add_text(out, shown++ == 0 ? " " : ", ");
            foreign(out, policy->signers[i].name);
        }
    }
    if (rule->format != NULL) {
        hm_buf_add_format(out, ", as %s", rule->format->name);
    }
    hm_buf_add_byte(out, '\n');
    if (rule->signatures.count > 0) {
        text_list(out, "    in ", &rule->signatures);
        hm_buf_add_byte(out, '\n');
    }
    if (rule->warn_unsigned) {
        hm_buf_add_text(out, rule->pin_kind == HM_PIN_NONE
                                 ? "    without any signature: let through, not verified\n"
                                 : "    without any signature: verified by the pinned digest\n");
    }
}

static void text_pins(hm_buf *out, const hm_rule *rule) {
    for (size_t i = 0; i < rule->pin_count; i++) {
        hm_buf_add_text(out, "    pinned ");
        hm_buf_add_hex(out, rule->pins[i].digest, sizeof(rule->pins[i].digest));
        hm_buf_add_text(out, rule->pin_kind == HM_PIN_MODEL ? " (model digest" : " (SHA-256");
        if (rule->pin_kind == HM_PIN_MODEL) {
            hm_buf_add_format(out, ", %s by %s", hm_hash_name(rule->pin_hash),
                              rule->pin_shard_size > 0 ? "shards" : "files");
        } else if (rule->pins[i].name != NULL) {
            hm_buf_add_text(out, " of ");
            foreign(out, rule->pins[i].name);
        }
        hm_buf_add_text(out, ")\n");
    }
}

static void text_provenance(hm_buf *out, const hm_provenance_demand *demand) {
    if (!hm_provenance_demanded(demand)) {
        return;
    }
    hm_buf_add_text(out, "    with provenance");
    for (size_t i = 0; i < demand->dataset_count; i++) {
        hm_buf_add_text(out, i == 0 ? ", trained from " : " and ");
        foreign(out, demand->datasets[i]);
    }
    for (size_t i = 0; i < demand->builder_count; i++) {
        hm_buf_add_text(out, i == 0 ? ", built by " : " or ");
        foreign(out, demand->builders[i]);
    }
    hm_buf_add_byte(out, '\n');
}

static void text_rule(hm_buf *out, const hm_policy *policy, size_t index) {
    const hm_rule *rule = &policy->rules[index];
    hm_buf_add_format(out, "  rule %zu (line %zu): models", index + 1, rule->line);
    text_list(out, " named ", &rule->names);
    text_list(out, " at ", &rule->paths);
    hm_buf_add_byte(out, '\n');
    if (rule->allowed != NULL) {
        text_signers_of(out, policy, rule);
    }
    text_provenance(out, &rule->provenance);
    text_pins(out, rule);
    for (size_t i = 0; i < ALLOWANCE_COUNT; i++) {
        if ((rule->allow & allowances[i].flag) != 0) {
            hm_buf_add_format(out, "    allowed: %s\n", allowances[i].word);
        }
    }
}

static hm_status text_policy(hm_buf *out, const hm_policy *policy, hm_error **error) {
    hm_status status = HM_OK;
    foreign(out, policy->path);
    hm_buf_add_text(out, "\nsigners:\n");
    for (size_t i = 1; i < policy->signer_count && status == HM_OK; i++) {
        status = text_signer(out, policy, &policy->signers[i], error);
    }
    for (size_t i = 0; i < policy->revocation_count; i++) {
        const hm_revocation *revocation = &policy->revocations[i];
        hm_buf_add_format(out, "%s  %s since ", i == 0 ? "revoked keys:\n" : "",
                          revocation->fingerprint);
        hm_buf_add_time(out, revocation->since);
        hm_buf_add_text(out, revocation->reason != NULL ? ": " : "");
        foreign(out, revocation->reason != NULL ? revocation->reason : "");
        hm_buf_add_byte(out, '\n');
    }
    hm_buf_add_text(out, "models:\n");
    for (size_t i = 0; i < policy->rule_count; i++) {
        text_rule(out, policy, i);
    }
    hm_buf_add_text(out, "all others: refused");
    return status;
}

/* ---- a model -------------------------------------------------------------------------------- */

static const char *fit_text(hm_rule_fit fit) {
    switch (fit) {
    case HM_RULE_FITS: return "fits";
    case HM_RULE_OTHER_NAME: return "is for models of other names";
    case HM_RULE_OTHER_PATH: return "is for models at other places";
    }
    return "";
}

typedef struct subject {
    const hm_policy *policy;
    const char *name, *path;
    const hm_rule *rule; /* NULL: none */
} subject;

static void text_explanation(hm_buf *out, const subject *about) {
    const hm_policy *policy = about->policy;
    hm_buf_add_text(out, "model ");
    foreign(out, about->path);
    hm_buf_add_text(out, ", by the name ");
    foreign(out, about->name);
    hm_buf_add_byte(out, '\n');
    for (size_t i = 0; i < policy->rule_count; i++) {
        const hm_rule *rule = &policy->rules[i];
        if (rule == about->rule) {
            text_rule(out, policy, i);
            hm_buf_add_text(out, "    this rule decides: it is the first that fits");
            return;
        }
        hm_buf_add_format(out, "  rule %zu (line %zu) %s\n", i + 1, rule->line,
                          fit_text(hm_rule_fits(rule, about->name, about->path)));
    }
    hm_buf_add_text(out, "  no rule fits: refused");
}

static void json_explanation(hm_json_writer *w, const subject *about) {
    const hm_policy *policy = about->policy;
    size_t passed =
        about->rule != NULL ? (size_t)(about->rule - policy->rules) : policy->rule_count;
    hm_json_begin_object(w);
    hm_json_member(w, "schema", "hallmark-policy-explain-v1");
    hm_json_member(w, "file", policy->path);
    hm_json_member(w, "name", about->name);
    hm_json_member(w, "path", about->path);
    hm_json_name(w, "passed");
    hm_json_begin_array(w);
    for (size_t i = 0; i < passed; i++) {
        const hm_rule *rule = &policy->rules[i];
        hm_rule_fit fit = hm_rule_fits(rule, about->name, about->path);
        hm_json_begin_object(w);
        hm_json_member_number(w, "rule", i + 1);
        hm_json_member_number(w, "line", rule->line);
        hm_json_member(w, "because", fit == HM_RULE_OTHER_NAME ? "name" : "path");
        hm_json_end_object(w);
    }
    hm_json_end_array(w);
    hm_json_name(w, "decides");
    if (about->rule != NULL) {
        json_rule(w, policy, passed);
    } else {
        hm_json_null(w);
    }
    hm_json_end_object(w);
}

/* ---- the calls ------------------------------------------------------------------------------ */

static hm_status check_call(const char *function, const hm_policy *policy, uint64_t flags,
                            char **text, hm_error **error) {
    hm_status status = hm_check_options(function, 0, 0, flags, HM_POLICY_JSON, error);
    if (status == HM_OK && (policy == NULL || policy->path == NULL || text == NULL)) {
        status =
            hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s: there is no policy of a file", function);
    }
    return status;
}

hm_status hm_policy_describe(const hm_policy *policy, uint64_t flags, char **text,
                             hm_error **error) {
    hm_auto_buf out = {0};
    hm_json_writer w = {.out = &out, .indent = 2, .ascii = true};
    hm_status status = check_call("hm_policy_describe", policy, flags, text, error);
    if (status == HM_OK) {
        *text = NULL;
        status = (flags & HM_POLICY_JSON) != 0 ? json_policy(&w, policy, error)
                                               : text_policy(&out, policy, error);
    }
    return status == HM_OK ? hm_buf_hand_over(&out, text, error) : status;
}

hm_status hm_policy_explain(const hm_policy *policy, const hm_model *model, const char *name,
                            uint64_t flags, char **text, hm_error **error) {
    hm_auto_buf out = {0};
    hm_json_writer w = {.out = &out, .indent = 2, .ascii = true};
    hm_auto_free char *path = NULL;
    hm_auto_free char *base = NULL;
    hm_status status = check_call("hm_policy_explain", policy, flags, text, error);
    if (status == HM_OK && model == NULL) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "hm_policy_explain: there is no model");
    }
    if (status == HM_OK) {
        *text = NULL;
        status = hm_model_real_path(model, &path, error);
    }
    base = status == HM_OK ? hm_path_base(path) : NULL;
    if (status != HM_OK || base == NULL) {
        return status != HM_OK ? status : hm_fail_memory(error);
    }
    subject about = {.policy = policy, .name = name != NULL ? name : base, .path = path};
    about.rule = hm_policy_choose(policy, about.name, path);
    if ((flags & HM_POLICY_JSON) != 0) {
        json_explanation(&w, &about);
    } else {
        text_explanation(&out, &about);
    }
    status = hm_buf_hand_over(&out, text, error);
    return status == HM_OK && about.rule == NULL
               ? hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER,
                         "no rule of %s is about the model %s", policy->path, path)
               : status;
}
