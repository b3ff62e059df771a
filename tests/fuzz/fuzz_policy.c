/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policy files. What is accepted is described in both forms, and its patterns are held against
 * paths: none that they fit lies outside their fixed beginning.
 */
#include "fuzz.h"

#include "base/yaml.h"

static void check_node(const hm_yaml *node, unsigned depth) {
    size_t children = 0;
    FUZZ_CHECK(depth <= HM_YAML_DEPTH && node->line > 0 && node->column > 0);
    FUZZ_CHECK((node->type == HM_YAML_SCALAR) == (node->text != NULL));
    FUZZ_CHECK(node->text == NULL || hm_utf8_valid(hm_bytes_text(node->text)));
    for (const hm_yaml *child = node->first; child != NULL; child = child->next) {
        FUZZ_CHECK((node->type == HM_YAML_MAPPING) == (child->name != NULL));
        check_node(child, depth + 1);
        children++;
    }
    FUZZ_CHECK(children == node->count);
}

static void check_yaml(hm_bytes text) {
    hm_auto_yaml doc = NULL;
    hm_auto_error error = NULL;
    hm_status status = hm_yaml_parse(text, "yaml", &doc, &error);
    FUZZ_CHECK(status == HM_OK || status == HM_UNDECIDED);
    if (status == HM_OK && hm_yaml_root(doc) != NULL) {
        check_node(hm_yaml_root(doc), 0);
    }
    fuzz_outcome(status, &error);
}

/* Up to the first component with a wildcard, what a pattern fits is what it says. */
static void check_path_pattern(const char *pattern) {
    static const char *const paths[] =
        {"/",          "/a",    "/a/b", "/models/resnet", "/models/team/resnet",
         "/srv/x/y/z", "/a\nb", "/\xff"};
    size_t wild = strcspn(pattern, "*?[");
    while (wild > 0 && pattern[wild - 1] != '/') {
        wild--;
    }
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (hm_pattern_match_path(pattern, paths[i])) {
            FUZZ_CHECK(strncmp(pattern, paths[i], wild) == 0 || pattern[wild] == '\0');
            FUZZ_CHECK(hm_text_plain(hm_bytes_text(paths[i])));
        }
    }
    if (strpbrk(pattern, "*?[") == NULL) {
        FUZZ_CHECK(hm_pattern_match_path(pattern, pattern));
    }
}

static void check_rule(const hm_policy *policy, const hm_rule *rule) {
    FUZZ_CHECK(rule->names.count + rule->paths.count > 0);
    FUZZ_CHECK(rule->allowed != NULL || rule->pin_kind != HM_PIN_NONE);
    FUZZ_CHECK((rule->allowed != NULL) == (rule->needed > 0));
    FUZZ_CHECK(rule->needed < policy->signer_count || rule->needed == 0);
    FUZZ_CHECK(rule->allowed == NULL || !rule->allowed[0]);
    for (size_t i = 0; i < rule->paths.count; i++) {
        check_path_pattern(rule->paths.list[i]);
    }
    for (size_t i = 0; i < rule->names.count; i++) {
        FUZZ_CHECK(!hm_pattern_match_name(rule->names.list[i], "a/b"));
        FUZZ_CHECK(!hm_pattern_match_name(rule->names.list[i], "a\nb"));
    }
    for (size_t i = 0; i < rule->signatures.count; i++) {
        FUZZ_CHECK(!fuzz_leads_outside(rule->signatures.list[i]));
    }
}

static void check_described(const hm_policy *policy, uint64_t flags) {
    hm_auto_error error = NULL;
    char *text = NULL;
    FUZZ_CHECK(hm_policy_describe(policy, flags, &text, &error) == HM_OK);
    FUZZ_CHECK(fuzz_printable(text, true));
    if (flags != 0) {
        hm_auto_json doc = NULL;
        FUZZ_CHECK(hm_json_parse(hm_bytes_text(text), "policy", &doc, &error) == HM_OK);
    }
    hm_text_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    HM_CLEANUP(hm_policy_free) hm_policy *policy = NULL;
    hm_auto_error error = NULL;
    check_yaml(hm_bytes_of(data, size));
    if (memmem(data, size, "uri", 3) != NULL) {
        return 0; /* a key service would be asked */
    }
    /* The keys that it names are looked for where there are none. */
    hm_status status =
        hm_policy_parse(hm_bytes_of(data, size), "/nonexistent/policy.yaml", &policy, &error);
    FUZZ_CHECK(status == HM_OK || status == HM_UNDECIDED);
    if (status == HM_OK) {
        check_described(policy, 0);
        check_described(policy, HM_POLICY_JSON);
        for (size_t i = 0; i < policy->rule_count; i++) {
            check_rule(policy, &policy->rules[i]);
        }
    }
    fuzz_outcome(status, &error);
    return 0;
}
