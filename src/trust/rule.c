/* SPDX-License-Identifier: Apache-2.0 */
/* Rules: which models they are about, and judging a signature on their conditions. */
#include "trust/trust.h"

#include <string.h>

hm_status hm_texts_add(hm_texts *texts, const char *text, hm_error **error) {
    hm_auto_free char *copy = hm_strdup(text);
    if (copy == NULL || !hm_grow(&texts->list, texts->count, &texts->capacity, sizeof(char *))) {
        return hm_fail_memory(error);
    }
    texts->list[texts->count++] = copy;
    copy = NULL;
    return HM_OK;
}

void hm_texts_free(hm_texts *texts) {
    for (size_t i = 0; i < texts->count; i++) {
        hm_auto_free_(&texts->list[i]);
    }
    hm_auto_free_(&texts->list);
    *texts = (hm_texts){.list = NULL};
}

const char *hm_pin_kind_name(hm_pin_kind kind) {
    switch (kind) {
    case HM_PIN_NONE: return "";
    case HM_PIN_FILE: return "file";
    case HM_PIN_FILES: return "files";
    case HM_PIN_MODEL: return "model";
    }
    return "";
}

hm_status hm_policy_add_rule(hm_policy *policy, hm_rule **rule, hm_error **error) {
    if (!hm_grow(&policy->rules, policy->rule_count, &policy->rule_capacity, sizeof(hm_rule))) {
        return hm_fail_memory(error);
    }
    *rule = &policy->rules[policy->rule_count++];
    **rule = (hm_rule){.pin_hash = HM_HASH_SHA256};
    return HM_OK;
}

void hm_rule_free(hm_rule *rule) {
    hm_texts_free(&rule->names);
    hm_texts_free(&rule->paths);
    hm_texts_free(&rule->signatures);
    for (size_t i = 0; i < rule->pin_count; i++) {
        hm_auto_free_(&rule->pins[i].name);
    }
    hm_auto_free_(&rule->pins);
    hm_auto_free_(&rule->allowed);
    hm_provenance_demand_free(&rule->provenance);
}

/* ---- choosing ------------------------------------------------------------------------------- */

hm_rule_fit hm_rule_fits(const hm_rule *rule, const char *name, const char *path) {
    bool name_fits = rule->names.count == 0;
    bool path_fits = rule->paths.count == 0;
    for (size_t i = 0; i < rule->names.count && !name_fits; i++) {
        name_fits = hm_pattern_match_name(rule->names.list[i], name);
    }
    for (size_t i = 0; i < rule->paths.count && !path_fits; i++) {
        path_fits = hm_pattern_match_path(rule->paths.list[i], path);
    }
    return !name_fits ? HM_RULE_OTHER_NAME : !path_fits ? HM_RULE_OTHER_PATH : HM_RULE_FITS;
}

const hm_rule *hm_policy_choose(const hm_policy *policy, const char *name, const char *path) {
    for (size_t i = 0; i < policy->rule_count; i++) {
        if (hm_rule_fits(&policy->rules[i], name, path) == HM_RULE_FITS) {
            return &policy->rules[i];
        }
    }
    return NULL;
}

/* ---- judging -------------------------------------------------------------------------------- */

hm_status hm_rule_judge(const hm_policy *policy, const hm_rule *rule, const hm_envelope *envelope,
                        int64_t now, hm_signer_identity *who, hm_error **error) {
    if (rule->allowed == NULL) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER,
                       "the rule believes no signature");
    }
    if (policy->format != NULL && rule->format != NULL && policy->format != rule->format) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                       "the rule demands format %s, and the caller %s", rule->format->name,
                       policy->format->name);
    }
    hm_policy terms = *policy;
    terms.format = rule->format != NULL ? rule->format : policy->format;
    terms.allow = rule->allow;
    return hm_trust_judge_among(&terms, rule->allowed, envelope, now, who, error);
}

static const hm_trusted_signer *find_signer(const hm_policy *policy, const char *name) {
    for (size_t i = 0; name != NULL && i < policy->signer_count; i++) {
        const hm_trusted_signer *signer = &policy->signers[i];
        if (signer->name != NULL && strcmp(signer->name, name) == 0) {
            return signer;
        }
    }
    return NULL;
}

static bool share_key(const hm_trusted_signer *a, const hm_trusted_signer *b) {
    for (size_t i = 0; i < a->key_count; i++) {
        for (size_t k = 0; k < b->key_count; k++) {
            if (strcmp(a->keys[i].key->fingerprint, b->keys[k].key->fingerprint) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool lists_key(const hm_trusted_signer *signer, const char *fingerprint) {
    for (size_t i = 0; i < signer->key_count; i++) {
        if (strcmp(signer->keys[i].key->fingerprint, fingerprint) == 0) {
            return true;
        }
    }
    return false;
}

void hm_policy_tie_parties(hm_policy *policy) {
    bool changed = true;
    for (size_t i = 0; i < policy->signer_count; i++) {
        policy->signers[i].party = i;
    }
    while (changed) {
        changed = false;
        for (size_t i = 0; i < policy->signer_count; i++) {
            for (size_t k = 0; k < i; k++) {
                hm_trusted_signer *a = &policy->signers[i];
                hm_trusted_signer *b = &policy->signers[k];
                if (a->party != b->party && share_key(a, b)) {
                    a->party = b->party = a->party < b->party ? a->party : b->party;
                    changed = true;
                }
            }
        }
    }
}

/* Who may be behind a signature: the one it is named after, and all who have the key. */
static bool may_be_by(const hm_policy *policy, const hm_signer_identity *who, size_t index) {
    const hm_trusted_signer *signer = &policy->signers[index];
    return signer == find_signer(policy, who->name) || lists_key(signer, who->fingerprint);
}

bool hm_policy_same_party(const hm_policy *policy, const hm_signer_identity *a,
                          const hm_signer_identity *b) {
    bool known = false;
    if (strcmp(a->fingerprint, b->fingerprint) == 0) {
        return true;
    }
    for (size_t i = 0; i < policy->signer_count; i++) {
        for (size_t k = 0; may_be_by(policy, a, i) && k < policy->signer_count; k++) {
            bool by_b = may_be_by(policy, b, k);
            known = known || by_b;
            if (by_b && policy->signers[i].party == policy->signers[k].party) {
                return true;
            }
        }
    }
    return !known;
}
