/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verification by a policy file:
 * model -> real path -> rule -> signature files -> whose, how many -> the model, for each of them
 *                            -> pinned digests -> the model
 */
#include "verify.h"

#include "compare.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* ---- the rule ------------------------------------------------------------------------------- */

hm_status hm_verification_choose(hm_verification *job, hm_policy_note *note, char **name,
                                 hm_error **error) {
    const hm_policy *policy = job->policy;
    hm_auto_free char *path = NULL;
    hm_status status = hm_model_real_path(job->model, &path, error);
    if (status != HM_OK) {
        return status;
    }
    note->file = hm_strdup(policy->path);
    *name = hm_path_base(path);
    if (note->file == NULL || *name == NULL) {
        return hm_fail_memory(error);
    }
    const char *given = job->rule_name != NULL ? job->rule_name : job->options->expected_name;
    const char *place = job->rule_path != NULL ? job->rule_path : path;
    job->rule = hm_policy_choose(policy, given != NULL ? given : *name, place);
    if (job->rule == NULL) {
        (void)hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER,
                      "no rule of %s is about the model %s", policy->path, place);
        hm_error_add_hint(error, "`hallmark policy explain` says why not");
        return HM_REFUSED;
    }
    note->rule = (size_t)(job->rule - policy->rules) + 1;
    note->line = job->rule->line;
    note->demanded = job->rule->needed;
    note->pin = job->rule->pin_kind;
    return HM_OK;
}

/* ---- where signatures lie ------------------------------------------------------------------- */

static void add_with_name(hm_buf *out, const char *place, const char *name) {
    static const char mark[] = "{name}";
    const char *found;
    while ((found = strstr(place, mark)) != NULL) {
        hm_buf_add(out, place, (size_t)(found - place));
        hm_buf_add_text(out, name);
        place = found + sizeof(mark) - 1;
    }
    hm_buf_add_text(out, place);
}

/* Relative to a directory, or to the folder of a single file; the name is that on disk. */
hm_status hm_rule_place(const hm_model *model, const char *place, const char *name, char **path,
                        hm_error **error) {
    hm_auto_buf relative = {0};
    add_with_name(&relative, place, name);
    hm_status status = hm_buf_check(&relative, error);
    if (status != HM_OK) {
        return status;
    }
    if (!hm_name_valid(hm_buf_view(&relative))) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                       "\"%s\" is no place for a signature", (const char *)relative.data);
    }
    const char *slash = strrchr(model->path, '/');
    size_t length = !model->is_file ? strlen(model->path)
                    : slash != NULL ? (size_t)(slash - model->path)
                                    : 0;
    bool bare = (model->is_file && slash == NULL) || (length > 0 && model->path[length - 1] == '/');
    *path = hm_textf("%.*s%s%s", (int)length, model->path, bare ? "" : "/",
                     (const char *)relative.data);
    return *path != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status add_claim(hm_verification *job, const char *place, hm_error **error) {
    hm_claim *claim = NULL;
    hm_status status = hm_claim_new(job, &claim, error);
    if (status != HM_OK || place == NULL) {
        return status;
    }
    claim->place = hm_strdup(place);
    return claim->place != NULL ? HM_OK : hm_fail_memory(error);
}

/* The caller's places, else the rule's, else the formats' own. */
static hm_status add_claims(hm_verification *job, const char *name, hm_error **error) {
    const hm_verify_options *options = job->options;
    const hm_texts *places = &job->rule->signatures;
    hm_status status = HM_OK;
    if (options->signature != NULL) {
        return add_claim(job, options->signature, error);
    }
    for (size_t i = 0; i < options->signature_count && status == HM_OK; i++) {
        status = add_claim(job, options->signatures[i], error);
    }
    for (size_t i = 0; options->signature_count == 0 && i < places->count && status == HM_OK; i++) {
        hm_auto_free char *path = NULL;
        status = hm_rule_place(job->model, places->list[i], name, &path, error);
        if (status == HM_OK) {
            status = add_claim(job, path, error);
        }
    }
    return status == HM_OK && job->claim_count == 0 ? add_claim(job, NULL, error) : status;
}

/*
 * Whether there is no signature file at all, not even a link to nowhere or one that cannot be
 * looked at, in any place where one is looked for without the caller's saying: otherwise naming a
 * place without one would get a badly signed model through.
 */
static hm_status is_unsigned(const hm_verification *job, const char *name, bool *result,
                             hm_error **error) {
    const hm_texts *places = &job->rule->signatures;
    bool last = false;
    *result = false;
    for (size_t i = 0; i < places->count; i++) {
        hm_auto_free char *path = NULL;
        hm_status status = hm_rule_place(job->model, places->list[i], name, &path, error);
        if (status != HM_OK || hm_path_taken(path)) {
            return status;
        }
    }
    for (size_t i = 0; i < job->claim_count; i++) {
        const hm_claim *claim = job->claims[i];
        if (!claim->absent || (claim->place != NULL && hm_path_taken(claim->place))) {
            return HM_OK;
        }
    }
    for (size_t i = 0; !last; i++) {
        hm_auto_free char *path = NULL;
        hm_status status = hm_claim_default_place(job, i, &path, &last, error);
        if (status != HM_OK || (path != NULL && hm_path_taken(path))) {
            return status;
        }
    }
    *result = true;
    return HM_OK;
}

/* ---- counting ------------------------------------------------------------------------------- */

/* One that two signatures have in common counts once. */
static bool is_new_party(const hm_verification *job, const hm_claim *claim) {
    for (size_t i = 0; i < job->claim_count && job->claims[i] != claim; i++) {
        const hm_claim *other = job->claims[i];
        if (other->counted &&
            hm_policy_same_party(job->policy, &other->report->signer, &claim->report->signer)) {
            return false;
        }
    }
    return true;
}

static uint64_t count_parties(const hm_verification *job) {
    uint64_t count = 0;
    for (size_t i = 0; i < job->claim_count; i++) {
        hm_claim *claim = job->claims[i];
        claim->counted = !claim->pinned && claim->status == HM_OK && is_new_party(job, claim);
        count += claim->counted ? 1 : 0;
    }
    return count;
}

typedef hm_status (*claim_step)(hm_claim *claim, hm_error **error);

static hm_status read_and_believe(hm_claim *claim, hm_error **error) {
    hm_status status = hm_claim_read(claim, claim->place, error);
    return status == HM_OK ? hm_claim_believe(claim, error) : status;
}

static uint64_t take_step(const hm_verification *job, claim_step step, bool first) {
    for (size_t i = 0; i < job->claim_count; i++) {
        hm_claim *claim = job->claims[i];
        if (first || claim->status == HM_OK) {
            claim->status = step(claim, &claim->error);
        }
    }
    return count_parties(job);
}

static bool is_signature_file(const hm_claim *claim, const char *name) {
    const struct hm_ignore_rule *rule = hm_ignore_match(&claim->ignore, name);
    return rule != NULL && rule->source == HM_IGNORED_SIGNATURE;
}

/* A file is vouched for by as many as are demanded only when none of them has left it out. */
static hm_status check_coverage(const hm_claim *first, const hm_claim *claim, hm_error **error) {
    for (size_t i = 0; i < first->found.count; i++) {
        const char *name = first->found.items[i].name;
        if (hm_manifest_find(&claim->found, name, 0) == NULL && !is_signature_file(claim, name)) {
            return hm_fail(error, HM_REFUSED, HM_REASON_EXTRA_FILE,
                           "it leaves out %s, which %s covers", name,
                           first->report->signature_path);
        }
    }
    return HM_OK;
}

/* All are asked before the first one is struck off, so that their order decides nothing. */
static uint64_t compare_coverage(const hm_verification *job) {
    for (size_t i = 0; i < job->claim_count; i++) {
        hm_claim *claim = job->claims[i];
        for (size_t k = 0; k < job->claim_count && claim->status == HM_OK; k++) {
            const hm_claim *other = job->claims[k];
            if (k != i && other->status == HM_OK && claim->error == NULL) {
                (void)check_coverage(other, claim, &claim->error);
            }
        }
    }
    for (size_t i = 0; i < job->claim_count; i++) {
        hm_claim *claim = job->claims[i];
        claim->status = claim->error != NULL ? hm_error_status(claim->error) : claim->status;
    }
    return count_parties(job);
}

/* What helps most to know, first. */
static size_t rank(const hm_claim *claim) {
    static const hm_reason order[] = {
        HM_REASON_DIGEST_MISMATCH, HM_REASON_MISSING_FILE,  HM_REASON_EXTRA_FILE,
        HM_REASON_REVOKED_KEY,     HM_REASON_BAD_SIGNATURE, HM_REASON_MALFORMED,
        HM_REASON_EXPIRED,         HM_REASON_UNSUPPORTED,   HM_REASON_UNTRUSTED_SIGNER,
    };
    size_t at = 0;
    if (claim->absent) {
        return sizeof(order) / sizeof(order[0]) + 1;
    }
    while (at < sizeof(order) / sizeof(order[0]) && order[at] != hm_error_reason(claim->error)) {
        at++;
    }
    return at;
}

static hm_claim *gravest(const hm_verification *job) {
    hm_claim *found = NULL;
    for (size_t i = 0; i < job->claim_count; i++) {
        hm_claim *claim = job->claims[i];
        if (!claim->pinned && claim->status != HM_OK &&
            (found == NULL || rank(claim) < rank(found))) {
            found = claim;
        }
    }
    return found;
}

/* Whether those whose verdict is not known could have made up for what is lacking. */
static hm_claim *open_question(const hm_verification *job, uint64_t counted) {
    hm_claim *first = NULL;
    uint64_t open = 0;
    for (size_t i = 0; i < job->claim_count; i++) {
        hm_claim *claim = job->claims[i];
        if (claim->status != HM_OK && claim->status != HM_REFUSED) {
            first = first != NULL ? first : claim;
            open++;
        }
    }
    return counted + open >= job->rule->needed ? first : NULL;
}

static hm_status refuse_unmet(const hm_verification *job, uint64_t counted, hm_claim **told,
                              hm_error **error) {
    hm_claim *cause = open_question(job, counted);
    cause = cause != NULL ? cause : gravest(job);
    *told = cause;
    if (cause != NULL && job->claim_count == 1 && job->rule->needed == 1) {
        return hm_error_copy(error, cause->error);
    }
    if (cause == NULL) {
        (void)hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER,
                      "the signatures are by %zu of the %zu demanded signers", (size_t)counted,
                      (size_t)job->rule->needed);
        hm_error_add_hint(error, "several signatures by one signer count once; name further "
                                 "signature files with --signature");
        return HM_REFUSED;
    }
    hm_status status = hm_fail(error, cause->status, hm_error_reason(cause->error),
                               "%zu of %zu demanded signers: %s%s%s", (size_t)counted,
                               (size_t)job->rule->needed, cause->place != NULL ? cause->place : "",
                               cause->place != NULL ? ": " : "", hm_error_message(cause->error));
    if (*hm_error_hint(cause->error) != '\0') {
        hm_error_add_hint(error, "%s", hm_error_hint(cause->error));
    }
    return status;
}

static hm_status refuse_unsigned(const hm_verification *job, hm_error **error) {
    if (job->claim_count == 1) {
        return hm_error_copy(error, job->claims[0]->error);
    }
    return hm_fail(error, HM_REFUSED, HM_REASON_UNSIGNED,
                   "the model %s is not signed: there is no signature in any of %zu places",
                   job->model->path, job->claim_count);
}

/* The signature comes first, for all of them, and only then the model. */
static hm_status judge_signatures(const hm_verification *job, const char *name,
                                  hm_policy_note *note, hm_claim **told, bool *is_missing,
                                  hm_error **error) {
    note->counted = take_step(job, read_and_believe, true);
    bool absent = true;
    for (size_t i = 0; i < job->claim_count; i++) {
        absent = absent && job->claims[i]->absent;
    }
    if (absent) {
        hm_status status = is_unsigned(job, name, is_missing, error);
        *is_missing = *is_missing && job->rule->warn_unsigned;
        return status != HM_OK || *is_missing ? status : refuse_unsigned(job, error);
    }
    if (note->counted >= job->rule->needed) {
        (void)take_step(job, hm_claim_compare, false);
        note->counted = compare_coverage(job);
    }
    if (note->counted < job->rule->needed) {
        return refuse_unmet(job, note->counted, told, error);
    }
    for (size_t i = 0; i < job->claim_count && *told == NULL; i++) {
        *told = job->claims[i]->counted ? job->claims[i] : NULL;
    }
    return HM_OK;
}

/* ---- pinned digests ------------------------------------------------------------------------- */

static hm_status promise_pins(const hm_rule *rule, const hm_model *model, hm_promise *promise,
                              hm_error **error) {
    hm_manifest *manifest = &promise->manifest;
    const hm_item *twice;
    hm_status status = HM_OK;
    *manifest = (hm_manifest){.method = HM_METHOD_FILES, .hash = HM_HASH_SHA256};
    promise->allow_symlinks = (rule->allow & HM_ALLOW_SYMLINKS) != 0;
    promise->git_ignored = rule->pin_kind == HM_PIN_MODEL; /* as `hallmark digest` does */
    for (size_t i = 0; rule->pin_kind != HM_PIN_MODEL && i < rule->pin_count && status == HM_OK;
         i++) {
        const hm_pin *pin = &rule->pins[i];
        const char *name = pin->name != NULL ? pin->name : model->name;
        status =
            hm_manifest_add(manifest, name, strlen(name), 0, HM_SIZE_UNKNOWN, pin->digest, error);
    }
    if (status == HM_OK && !hm_manifest_sort(manifest, &twice)) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is pinned twice", twice->name);
    }
    return status;
}

static hm_status add_finding(hm_claim *claim, hm_reason reason, const char *name,
                             const char *detail, hm_error **error) {
    hm_finding finding = {.reason = reason, .name = hm_strdup(name)};
    finding.detail = detail != NULL ? hm_strdup(detail) : NULL;
    return hm_report_add_finding(claim->report, finding, error);
}

/* Everything that is there goes into the model digest, so everything must be something readable. */
static hm_status want_all(hm_claim *claim, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < claim->tree.count && status == HM_OK; i++) {
        const hm_entry *entry = &claim->tree.entries[i];
        claim->wanted[i] = entry->kind == HM_ENTRY_FILE || entry->kind == HM_ENTRY_LINKED_FILE;
        if (!claim->wanted[i]) {
            status = add_finding(claim, HM_REASON_EXTRA_FILE, entry->name, entry->kind_text, error);
        }
    }
    return status;
}

static hm_status check_all_read(hm_claim *claim, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < claim->tree.count && status == HM_OK; i++) {
        const char *name = claim->tree.entries[i].name;
        if (claim->wanted[i] && claim->states[i] == HM_FILE_CHANGED) {
            status = add_finding(claim, HM_REASON_CHANGED_WHILE_READING, name, NULL, error);
        } else if (claim->wanted[i] && claim->states[i] != HM_FILE_READ) {
            status =
                hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s was not read to its end", name);
        }
    }
    return status;
}

static hm_status compare_model_digest(hm_claim *claim, const hm_rule *rule, hm_error **error) {
    uint8_t digest[32];
    hm_status status = hm_manifest_model_digest(&claim->found, digest, error);
    if (status != HM_OK ||
        (claim->found.count > 0 && memcmp(digest, rule->pins[0].digest, sizeof(digest)) == 0)) {
        return status;
    }
    hm_finding finding = {.reason = HM_REASON_PINNED_DIGEST_MISMATCH, .name = hm_strdup(".")};
    finding.expected = hm_alloc(2 * sizeof(digest) + 1, 1);
    finding.actual = hm_alloc(2 * sizeof(digest) + 1, 1);
    if (finding.expected == NULL || finding.actual == NULL) {
        free(finding.name);
        finding.name = NULL; /* refused as lack of memory */
    } else {
        hm_hex(rule->pins[0].digest, sizeof(digest), finding.expected);
        hm_hex(digest, sizeof(digest), finding.actual);
    }
    return hm_report_add_finding(claim->report, finding, error);
}

static hm_status compare_model(hm_claim *claim, hm_error **error) {
    const hm_rule *rule = claim->job->rule;
    const hm_verify_options *options = claim->job->options;
    hm_measure_options measure = {
        .method = rule->pin_shard_size > 0 ? HM_METHOD_SHARDS : HM_METHOD_FILES,
        .hash = rule->pin_hash,
        .shard_size = rule->pin_shard_size,
        .jobs = options->jobs,
        .progress = options->progress,
        .progress_context = options->progress_context,
    };
    hm_status status = want_all(claim, error);
    if (status == HM_OK && claim->report->finding_count == 0) {
        status = hm_claim_measure(claim, &measure, error);
        if (status == HM_OK) {
            status = check_all_read(claim, error);
        }
        if (status == HM_OK && claim->report->finding_count == 0) {
            status = compare_model_digest(claim, rule, error);
        }
    }
    return status;
}

static hm_status refuse_pins(const hm_claim *claim, hm_error **error) {
    const hm_report *report = claim->report;
    hm_reason reason = report->findings[0].reason;
    for (size_t i = 0; i < report->finding_count; i++) {
        if (report->findings[i].reason == HM_REASON_DIGEST_MISMATCH) {
            report->findings[i].reason = HM_REASON_PINNED_DIGEST_MISMATCH;
        }
        if (report->findings[i].reason == HM_REASON_PINNED_DIGEST_MISMATCH) {
            reason = HM_REASON_PINNED_DIGEST_MISMATCH;
        }
    }
    hm_status status =
        hm_fail(error, HM_REFUSED, reason, "%s is not what the policy pins", report->model_path);
    hm_error_add_hint(error, "do not load it; fetch it again, or compare the policy with what the "
                             "publisher says");
    return status;
}

static hm_status check_pins(hm_claim *claim, hm_error **error) {
    const hm_rule *rule = claim->job->rule;
    const hm_model *model = claim->job->model;
    if (rule->pin_kind == HM_PIN_FILE && !model->is_file) {
        return hm_fail(error, HM_REFUSED, HM_REASON_PINNED_DIGEST_MISMATCH,
                       "the policy pins a single file, and %s is a directory", model->path);
    }
    hm_status status = promise_pins(rule, model, &claim->promise, error);
    if (status == HM_OK) {
        status = hm_claim_find_files(claim, error);
    }
    if (status == HM_OK) {
        status = rule->pin_kind == HM_PIN_MODEL ? compare_model(claim, error)
                                                : hm_claim_compare_files(claim, error);
    }
    return status == HM_OK && claim->report->finding_count > 0 ? refuse_pins(claim, error) : status;
}

static hm_status judge_pins(hm_verification *job, hm_policy_note *note, hm_claim **told,
                            hm_error **error) {
    hm_claim *claim = NULL;
    hm_status status = hm_claim_new(job, &claim, error);
    if (status != HM_OK) {
        return status;
    }
    claim->pinned = true;
    claim->status = check_pins(claim, error);
    note->pin_held = claim->status == HM_OK;
    if (*told == NULL || claim->status != HM_OK) {
        *told = claim;
    }
    return claim->status;
}

/* ---- what is told --------------------------------------------------------------------------- */

static hm_status add_note(hm_policy_note *note, const hm_claim *claim, hm_error **error) {
    const hm_report *report = claim->report;
    const char *path = report->signature_path != NULL ? report->signature_path : claim->place;
    const char *message = claim->status != HM_OK ? hm_error_message(claim->error)
                          : !claim->counted      ? "its signer is counted already"
                                                 : NULL;
    if (path == NULL) {
        return HM_OK; /* no default place has one */
    }
    if (!hm_grow(&note->list, note->count, &note->capacity, sizeof(hm_signature_note))) {
        return hm_fail_memory(error);
    }
    hm_signature_note *made = &note->list[note->count++];
    *made = (hm_signature_note){
        .path = hm_strdup(path),
        .format = report->format,
        .counted = claim->counted,
        .reason = hm_error_reason(claim->error),
        .message = message != NULL ? hm_strdup(message) : NULL,
    };
    if (report->has_signer) {
        made->signer = report->signer.name != NULL ? hm_strdup(report->signer.name) : NULL;
        made->key_version = report->signer.key_version;
        memcpy(made->fingerprint, report->signer.fingerprint, sizeof(made->fingerprint));
    }
    return made->path != NULL && (message == NULL || made->message != NULL) ? HM_OK
                                                                            : hm_fail_memory(error);
}

static hm_status add_notes(const hm_verification *job, hm_policy_note *note, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < job->claim_count && status == HM_OK; i++) {
        if (!job->claims[i]->pinned) {
            status = add_note(note, job->claims[i], error);
        }
    }
    return status;
}

static hm_status warn_of_uncounted(const hm_policy_note *note, hm_report *report,
                                   hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < note->count && status == HM_OK; i++) {
        const hm_signature_note *at = &note->list[i];
        if (!at->counted) {
            const char *word = hm_reason_word(at->reason);
            status =
                hm_report_add_warning(report, error, "the signature %s does not count: %s%s%s%s",
                                      at->path, at->message, *word != '\0' ? " (" : "", word,
                                      *word != '\0' ? ")" : "");
        }
    }
    return status;
}

static hm_status let_through(const hm_verification *job, const hm_policy_note *note,
                             hm_claim *pinned, hm_error **error) {
    if (hm_provenance_demanded(&job->policy->provenance) || job->options->provenance != NULL) {
        return hm_fail(error, HM_REFUSED, HM_REASON_UNSIGNED,
                       "%s has no signature, and so no provenance, which is demanded",
                       job->model->path);
    }
    if (pinned != NULL) {
        return hm_report_add_warning(pinned->report, error,
                                     "there is no signature, which rule %zu lets pass: the model "
                                     "is verified by the pinned digest alone",
                                     note->rule);
    }
    (void)hm_fail(error, HM_LET_THROUGH, HM_REASON_UNSIGNED,
                  "%s is not verified: it has no signature, and rule %zu of %s (line %zu) lets it "
                  "through",
                  job->model->path, note->rule, job->policy->path, note->line);
    hm_error_add_hint(error, "anybody may have changed it; have it signed, or pin its digest");
    return HM_LET_THROUGH;
}

static hm_status judge(hm_verification *job, hm_policy_note *note, hm_claim **told,
                       hm_error **error) {
    hm_auto_free char *name = NULL;
    bool is_missing = false;
    hm_status status = hm_verification_choose(job, note, &name, error);
    bool demands_signers = status == HM_OK && job->rule->allowed != NULL;
    bool demands_pins = status == HM_OK && job->rule->pin_kind != HM_PIN_NONE;
    if (status == HM_OK && !demands_signers &&
        (job->options->signature != NULL || job->options->signature_count > 0)) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "rule %zu of %s pins a digest and believes no signature", note->rule,
                         job->policy->path);
    }
    if (demands_signers) {
        status = add_claims(job, name, error);
        if (status == HM_OK) {
            status = judge_signatures(job, name, note, told, &is_missing, error);
        }
    }
    if (status == HM_OK && demands_pins) {
        status = judge_pins(job, note, told, error);
    }
    return status == HM_OK && is_missing ? let_through(job, note, *told, error) : status;
}

hm_status hm_verify_by_rule(hm_verification *job, hm_policy_note *note, hm_claim **told,
                            hm_error **error) {
    hm_status status = judge(job, note, told, error);
    /* Of a failure the cause is kept, whatever else goes wrong. */
    hm_status noted = add_notes(job, note, status == HM_OK ? error : NULL);
    if (status != HM_OK || noted != HM_OK) {
        return status != HM_OK ? status : noted;
    }
    return warn_of_uncounted(note, (*told)->report, error);
}
