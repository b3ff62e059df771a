/* SPDX-License-Identifier: Apache-2.0 */
/*
 * old signature -> whose? -> by the old policy, or by the new key already: verify the model
 *               -> the verified digests -> new signature, in the place of the old one
 * Nothing is digested for signing: what is signed is what was just verified, whatever becomes of
 * the files meanwhile.
 */
#include "provenance.h"
#include "targets.h"
#include "verify.h"

#include "format/records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* One signature file of the model. */
typedef struct old_signature {
    const char *path;
    bool by_new; /* by the new key already */
    hm_verify_options how;
    hm_verification job;
    hm_claim *claim;   /* the job's */
    hm_report *report; /* of its verification: the manifest is the verified one */
    hm_buf statement;  /* the verified provenance beside it, if there is one */
    bool taken;        /* by a group that is being written */
} old_signature;

/* One resigning in progress. */
typedef struct resigning {
    hm_model *model;
    const hm_policy *policy;
    hm_signer *signer;
    const hm_resign_options *options;
    hm_policy *own; /* believes the new key and nobody else */
    hm_texts places;
    bool named; /* by the rule, not the formats' default places */
    old_signature *list;
    size_t count;
    hm_report *report;
} resigning;

/* Signatures that are written together: one, or those of files and of shards. */
typedef struct group {
    old_signature *of[HM_PROVENANCE_SIGNATURES];
    size_t count;
    hm_targets targets;
    hm_model **models;      /* the same one, per signing */
    hm_manifest *manifests; /* of a bundle, one file each; items are the reports' */
    hm_signing *signings[HM_PROVENANCE_SIGNATURES];
    size_t signing_count; /* of each */
    hm_buf metadata;
    char *signer_id;
} group;

static void resigning_free(resigning *job) {
    for (size_t i = 0; job->list != NULL && i < job->count; i++) {
        hm_verification_free(&job->list[i].job);
        hm_report_free(&job->list[i].report);
        hm_buf_free(&job->list[i].statement);
    }
    free(job->list);
    hm_policy_free(&job->own);
    hm_texts_free(&job->places);
    hm_report_free(&job->report);
}

static void group_free(group *made) {
    hm_targets_free(&made->targets);
    free(made->models);
    free(made->manifests);
    for (size_t i = 0; i < HM_PROVENANCE_SIGNATURES; i++) {
        free(made->signings[i]);
    }
    hm_buf_free(&made->metadata);
    free(made->signer_id);
}

/* ---- the new key --------------------------------------------------------------------------- */

/* What the new key signed is recognised by its public half, whether or not anybody believes it. */
static hm_status believe_new_key(resigning *job, hm_error **error) {
    static const hm_trusted_key always = {.not_before = HM_TIME_ALWAYS, .not_after = HM_TIME_NEVER};
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *key = NULL;
    hm_status status = hm_policy_new(&job->own, error);
    if (status == HM_OK) {
        status = hm_pubkey_from_evp(job->signer->public_key->pkey, "the new key", &key, error);
    }
    if (status == HM_OK) {
        status = hm_policy_allow(job->own, HM_ALLOW_SYMLINKS, error);
    }
    return status == HM_OK ? hm_trusted_signer_add_key(&job->own->signers[0], &key, &always, error)
                           : status;
}

/* A key that is revoked, or soon will be, is nothing to move to. */
static hm_status refuse_revoked(const resigning *job, hm_error **error) {
    const char *fingerprint = job->signer->public_key->fingerprint;
    for (size_t i = 0; i < job->policy->revocation_count; i++) {
        if (strcmp(job->policy->revocations[i].fingerprint, fingerprint) == 0) {
            return hm_fail(error, HM_REFUSED, HM_REASON_REVOKED_KEY,
                           "the policy revokes the key that is to sign, %s", fingerprint);
        }
    }
    return HM_OK;
}

/* ---- where signatures are ------------------------------------------------------------------ */

static bool is_there(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

/* Clears what a run that was killed may have left: it would be an extra file of the model. */
static hm_status recover(const char *path, hm_error **error) {
    hm_auto_free char *provenance = NULL;
    hm_status status = hm_provenance_default_path(path, &provenance, error);
    hm_write_file_recover(path);
    if (provenance != NULL) {
        hm_write_file_recover(provenance);
    }
    return status;
}

/* oms and sig-json share a place. */
static hm_status add_place(resigning *job, const char *path, hm_error **error) {
    for (size_t i = 0; i < job->places.count; i++) {
        if (strcmp(job->places.list[i], path) == 0) {
            return HM_OK;
        }
    }
    hm_status status = recover(path, error);
    return status == HM_OK && is_there(path) ? hm_texts_add(&job->places, path, error) : status;
}

static hm_status add_default_places(resigning *job, const hm_verification *look, hm_error **error) {
    bool last = false;
    hm_status status = HM_OK;
    for (size_t i = 0; !last && status == HM_OK; i++) {
        hm_auto_free char *path = NULL;
        status = hm_claim_default_place(look, i, &path, &last, error);
        if (status == HM_OK && path != NULL) {
            status = add_place(job, path, error);
        }
    }
    return status;
}

static hm_status refuse_rule(const resigning *job, const hm_rule *rule, hm_error **error) {
    hm_status status;
    if (rule->allowed == NULL) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_UNSIGNED,
                         "%s is verified by a pinned digest, not by a signature: there is nothing "
                         "to sign again",
                         job->model->path);
        hm_error_add_hint(error, "`hallmark sign` signs what is known to be good; verify it "
                                 "afterwards by a rule that has the pin as well as signers");
        return status;
    }
    if (rule->needed > 1) {
        status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                         "%s needs the signatures of %zu signers, and one key cannot stand for "
                         "them",
                         job->model->path, (size_t)rule->needed);
        hm_error_add_hint(error, "let each of them sign anew with `hallmark sign`");
        return status;
    }
    return HM_OK;
}

/* As the rule has it, which may allow this model to have no signature that counts. */
static hm_status find_places(resigning *job, hm_error **error) {
    static const hm_verify_options plain = HM_VERIFY_OPTIONS_INIT;
    HM_CLEANUP(hm_policy_note_free) hm_policy_note note = {.file = NULL};
    hm_verification look = {.model = job->model, .policy = job->policy, .options = &plain};
    hm_auto_free char *name = NULL;
    hm_status status = HM_OK;
    if (job->policy->path != NULL) {
        status = hm_verification_choose(&look, &note, &name, error);
        if (status == HM_OK) {
            status = refuse_rule(job, look.rule, error);
        }
    }
    const hm_texts *places = look.rule != NULL ? &look.rule->signatures : NULL;
    job->named = places != NULL && places->count > 0;
    for (size_t i = 0; job->named && i < places->count && status == HM_OK; i++) {
        hm_auto_free char *path = NULL;
        status = hm_rule_place(job->model, places->list[i], name, &path, error);
        if (status == HM_OK) {
            status = add_place(job, path, error);
        }
    }
    return status == HM_OK && !job->named ? add_default_places(job, &look, error) : status;
}

static hm_status refuse_unsigned(const resigning *job, hm_error **error) {
    hm_status status = hm_fail(error, HM_REFUSED, HM_REASON_UNSIGNED,
                               "%s has no signature that could vouch for it", job->model->path);
    hm_error_add_hint(error, "whatever else lets it pass, only what a signature proves is signed "
                             "again");
    return status;
}

/* ---- verifying ----------------------------------------------------------------------------- */

/* Files that differ only in their last suffix share a default place. */
static bool is_of_another(const resigning *job, const hm_claim *claim) {
    const hm_format *format = claim->envelope.format;
    const hm_signing signing = {.subject_name = job->model->name};
    return !job->named && format->may_replace != NULL &&
           format->may_replace(hm_json_root(claim->envelope.doc), &signing, 1, NULL) != HM_OK;
}

/* Whose is it? Nothing of the model is read for that. */
static hm_status look_at(const resigning *job, old_signature *old, bool *another,
                         hm_error **error) {
    HM_CLEANUP(hm_verification_free)
    hm_verification look = {.model = job->model, .policy = job->own, .options = &old->how};
    hm_auto_error cause = NULL;
    hm_claim *claim = NULL;
    hm_status status = hm_claim_new(&look, &claim, &cause);
    if (status == HM_OK) {
        status = hm_claim_read(claim, old->path, &cause);
    }
    *another = status == HM_OK && is_of_another(job, claim);
    if (status == HM_OK && !*another) {
        status = hm_signer_check(job->signer, claim->envelope.format->scheme,
                                 claim->envelope.format->name, &cause);
    }
    if (status != HM_OK || *another) {
        return status == HM_OK ? HM_OK : hm_error_move(error, &cause);
    }
    status = hm_claim_believe(claim, &cause);
    old->by_new = status == HM_OK;
    return status == HM_OK || status == HM_REFUSED ? HM_OK : hm_error_move(error, &cause);
}

static hm_status look_at_all(resigning *job, hm_error **error) {
    hm_status status = HM_OK;
    job->list = hm_alloc(job->places.count, sizeof(old_signature));
    if (job->list == NULL) {
        return hm_fail_memory(error);
    }
    for (size_t i = 0; i < job->places.count && status == HM_OK; i++) {
        old_signature *old = &job->list[job->count];
        bool another = false;
        old->path = job->places.list[i];
        old->how = (hm_verify_options){
            .size = sizeof(hm_verify_options),
            .signature = old->path,
            .jobs = job->options->jobs,
            .progress = job->options->progress,
            .progress_context = job->options->progress_context,
        };
        status = look_at(job, old, &another, error);
        job->count += another ? 0 : 1;
    }
    return status == HM_OK && job->count == 0 ? refuse_unsigned(job, error) : status;
}

/*
 * By the key of the signature; or by the new one, which a run that was killed between two renames
 * has put beside an old signature. What comes of it is by the new key in any case.
 */
static hm_status check_statement(const resigning *job, old_signature *old, hm_error **error) {
    const char *fingerprint = job->signer->public_key->fingerprint;
    const hm_rule *rule = old->job.rule;
    hm_auto_error cause = NULL;
    hm_status status = hm_verify_provenances(&old->job, old->claim, old->report, &cause);
    if (status == HM_OK) {
        return HM_OK;
    }
    const hm_provenance_query query = {
        .policy = job->own,
        .path = old->claim->provenance,
        .named = true,
        .fingerprints = &fingerprint,
        .fingerprint_count = 1,
        .signed_name = old->claim->signed_name,
        .demand = rule != NULL ? &rule->provenance : &job->policy->provenance,
        .payload = &old->statement,
    };
    if (status == HM_REFUSED && !old->by_new && query.path != NULL &&
        hm_provenance_verify(&query, old->report, NULL) == HM_OK) {
        return HM_OK;
    }
    return hm_error_move(error, &cause);
}

/* The signature must be what counted: a rule may let a model pass for other reasons too. */
static hm_status check_counted(const resigning *job, const old_signature *old, hm_error **error) {
    const hm_claim *claim = old->claim;
    bool counted = !claim->pinned && (old->job.rule == NULL || claim->counted);
    return counted && old->report->manifest.count > 0 ? HM_OK : refuse_unsigned(job, error);
}

static hm_status verify(resigning *job, old_signature *old, hm_error **error) {
    old->job = (hm_verification){
        .model = job->model,
        .policy = old->by_new ? job->own : job->policy,
        .options = &old->how,
        .statement = &old->statement,
    };
    hm_status status = hm_report_new(HM_OPERATION_RESIGN, job->model->path, &old->report, error);
    if (status == HM_OK) {
        status = hm_verification_run(&old->job, old->report, &old->claim, error);
    }
    if (status == HM_OK) {
        status = check_counted(job, old, error);
    }
    return status == HM_OK ? check_statement(job, old, error) : status;
}

/* Of a failure the differences that were found are told, and whatever else there is to say. */
static void tell_failure(resigning *job, const old_signature *old) {
    if (old->report != NULL) {
        hm_report_swap(job->report, old->report);
        job->report->operation = HM_OPERATION_RESIGN;
        hm_policy_note_free(&job->report->policy);
    }
}

static hm_status verify_all(resigning *job, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < job->count && status == HM_OK; i++) {
        status = verify(job, &job->list[i], error);
        if (status != HM_OK) {
            tell_failure(job, &job->list[i]);
        }
    }
    return status;
}

/* ---- what is to be signed ------------------------------------------------------------------ */

static const hm_format *format_of(const old_signature *old) {
    return old->claim->envelope.format;
}

static hm_method method_of(const old_signature *old) {
    return old->report->manifest.method;
}

/* Those of whole files and of shards by one signing share the statement between them. */
static bool belong_together(const old_signature *a, const old_signature *b) {
    return format_of(a) == &hm_format_oms && format_of(b) == &hm_format_oms &&
           strcmp(a->claim->provenance, b->claim->provenance) == 0;
}

static hm_status refuse_crowd(const old_signature *old, hm_error **error) {
    return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                   "%s and the signatures beside it are not one of files and one of shards",
                   old->path);
}

/* The signature of files comes first, as when it was signed. */
static hm_status gather(resigning *job, old_signature *first, group *made, hm_error **error) {
    made->of[made->count++] = first;
    first->taken = true;
    for (old_signature *old = first + 1; old < job->list + job->count; old++) {
        if (old->taken || !belong_together(first, old)) {
            continue;
        }
        if (made->count == HM_PROVENANCE_SIGNATURES || method_of(old) == method_of(first)) {
            return refuse_crowd(old, error);
        }
        bool before = method_of(old) == HM_METHOD_FILES;
        made->of[made->count++] = before ? first : old;
        made->of[0] = before ? old : first;
        old->taken = true;
    }
    return HM_OK;
}

/* What the signer said of the training, where the format signs it along. */
static hm_status keep_words(const old_signature *old, group *made, hm_error **error) {
    if (format_of(old) != &hm_format_sig_json) {
        return HM_OK;
    }
    const hm_json *manifest = hm_json_get(hm_json_root(old->claim->envelope.doc), "manifest");
    const hm_json *metadata = hm_json_get(manifest, "training_metadata");
    const hm_json *id = hm_json_get(manifest, "signer_id");
    hm_auto_free char *usual = hm_textf("sha256:%s", old->claim->fingerprint);
    if (usual == NULL) {
        return hm_fail_memory(error);
    }
    if (metadata != NULL) {
        hm_json_writer w = {.out = &made->metadata};
        hm_json_copy(&w, metadata);
    }
    /* By default it is the key's fingerprint, which is another now. */
    if (id != NULL && !hm_bytes_equal_text(id->text, usual)) {
        if (memchr(id->text.data, 0, id->text.length) != NULL) {
            return hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                           "the signer's id in %s holds a NUL", old->path);
        }
        made->signer_id = hm_strdup((const char *)id->text.data);
    }
    return made->signer_id != NULL || id == NULL || hm_bytes_equal_text(id->text, usual)
               ? hm_buf_check(&made->metadata, error)
               : hm_fail_memory(error);
}

static hm_signing describe(const resigning *job, const group *made, const old_signature *old) {
    const hm_claim *claim = old->claim;
    const hm_signing signing = {
        .manifest = &old->report->manifest,
        .subject_name = job->model->name,
        .model_path = job->model->path,
        .single_file = job->model->is_file,
        .name_dot = claim->promise.single_dot,
        .allow_symlinks = claim->promise.allow_symlinks,
        .ignore = &claim->promise.ignore,
        .signer_id = made->signer_id,
        .key_version = format_of(old)->key_version ? job->signer->key_version : 0,
        .metadata = made->metadata.length > 0 ? (const char *)made->metadata.data : NULL,
        .time = job->report->time,
    };
    return signing;
}

/* The files of a bundle are each signed by themselves. */
static void describe_bundle(const resigning *job, group *made) {
    const hm_manifest *all = &made->of[0]->report->manifest;
    const hm_signing whole = describe(job, made, made->of[0]);
    for (size_t i = 0; i < all->count; i++) {
        made->manifests[i] = *all;
        made->manifests[i].items = &all->items[i];
        made->manifests[i].count = 1;
        made->signings[0][i] = whole;
        made->signings[0][i].manifest = &made->manifests[i];
        made->signings[0][i].subject_name = all->items[i].name;
        made->signings[0][i].single_file = true;
    }
}

static hm_status describe_all(const resigning *job, group *made, hm_error **error) {
    const old_signature *first = made->of[0];
    bool bundle = first->claim->promise.file_set;
    made->signing_count = bundle ? first->report->manifest.count : 1;
    made->models = hm_alloc(made->signing_count, sizeof(hm_model *));
    made->manifests = hm_alloc(made->signing_count, sizeof(hm_manifest));
    hm_status status = keep_words(first, made, error);
    for (size_t i = 0; i < made->count && status == HM_OK; i++) {
        made->signings[i] = hm_alloc(made->signing_count, sizeof(hm_signing));
        if (made->models == NULL || made->manifests == NULL || made->signings[i] == NULL) {
            return hm_fail_memory(error);
        }
        made->signings[i][0] = describe(job, made, made->of[i]);
    }
    for (size_t i = 0; i < made->signing_count && status == HM_OK; i++) {
        made->models[i] = job->model;
    }
    if (status == HM_OK && bundle) {
        describe_bundle(job, made);
    }
    for (size_t i = 0; i < made->signing_count && status == HM_OK; i++) {
        status = format_of(first)->check(&made->signings[0][i], job->signer, error);
    }
    return status;
}

/* ---- the new files ------------------------------------------------------------------------- */

static hm_target_kind kind_of(size_t index) {
    return index == 0 ? HM_TARGET_SIGNATURE : HM_TARGET_SHARDS;
}

static const old_signature *with_statement(const group *made) {
    for (size_t i = 0; i < made->count; i++) {
        if (made->of[i]->statement.length > 0) {
            return made->of[i];
        }
    }
    return NULL;
}

static hm_status place(group *made, hm_error **error) {
    hm_targets *targets = &made->targets;
    const old_signature *stated = with_statement(made);
    targets->format = format_of(made->of[0]);
    targets->models = made->models;
    targets->model_count = made->signing_count;
    bool placed = true;
    for (size_t i = 0; i < made->count; i++) {
        char **path = &targets->list[kind_of(i)].path;
        *path = hm_strdup(made->of[i]->path);
        placed = placed && *path != NULL;
    }
    if (stated != NULL) {
        targets->list[HM_TARGET_PROVENANCE].path = hm_strdup(stated->claim->provenance);
        placed = placed && targets->list[HM_TARGET_PROVENANCE].path != NULL;
    }
    return placed ? hm_targets_check(targets, made->signings[0], error) : hm_fail_memory(error);
}

static hm_status build_signatures(const resigning *job, group *made, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < made->count && status == HM_OK; i++) {
        hm_buf *content = &made->targets.list[kind_of(i)].content;
        status = format_of(made->of[i])
                     ->write(made->signings[i], made->signing_count,
                             made->of[i]->claim->promise.file_set, job->signer, content, error);
        if (status == HM_OK && content->length > HM_SIGNATURE_FILE_LIMIT) {
            status = hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED,
                             "the new signature would have %zu bytes, more than verifiers read",
                             content->length);
        }
    }
    return status;
}

/* The predicate says how the model came to be, of which a new key changes its number alone. */
static hm_status carry_statement(const resigning *job, group *made, hm_error **error) {
    HM_CLEANUP(hm_provenance_free) hm_provenance stated = {0};
    hm_auto_buf payload = {0};
    const old_signature *from = with_statement(made);
    hm_provenance_signature signatures[HM_PROVENANCE_SIGNATURES] = {{.name = NULL}};
    char *names[HM_PROVENANCE_SIGNATURES] = {NULL};
    hm_target *target = &made->targets.list[HM_TARGET_PROVENANCE];
    if (from == NULL) {
        return HM_OK;
    }
    hm_status status = HM_OK;
    for (size_t i = 0; i < made->count; i++) {
        names[i] = hm_path_base(made->of[i]->path);
        status = names[i] != NULL ? status : hm_fail_memory(status == HM_OK ? error : NULL);
        signatures[i] = (hm_provenance_signature){
            .manifest = &made->of[i]->report->manifest,
            .name = names[i],
            .content = hm_buf_view(&made->targets.list[kind_of(i)].content),
        };
    }
    if (status == HM_OK) {
        status = hm_provenance_carry(hm_buf_view(&from->statement), made->signings[0], signatures,
                                     made->count, job->signer, &payload, &target->content, error);
    }
    for (size_t i = 0; i < made->count; i++) {
        free(names[i]);
    }
    if (status == HM_OK) {
        status = hm_provenance_read(hm_buf_view(&payload), &stated, error);
    }
    return status == HM_OK ? hm_provenance_show(&stated, target->path, job->report, error) : status;
}

static hm_status write_group(const resigning *job, group *made, hm_error **error) {
    hm_status status = describe_all(job, made, error);
    if (status == HM_OK) {
        status = place(made, error);
    }
    if (status == HM_OK) {
        status = build_signatures(job, made, error);
    }
    if (status == HM_OK) {
        status = carry_statement(job, made, error);
    }
    return status == HM_OK ? hm_targets_write(&made->targets, error) : status;
}

/* ---- what is told -------------------------------------------------------------------------- */

static hm_status tell_signer(const resigning *job, const hm_format *format, hm_error **error) {
    hm_signer_identity *who = &job->report->signer;
    const hm_pubkey *key = job->signer->public_key;
    who->algorithm = hm_strdup(key->algorithm);
    who->key_version = job->signer->key_version;
    who->scheme_text = hm_scheme_text(key, format->scheme);
    memcpy(who->fingerprint, key->fingerprint, sizeof(who->fingerprint));
    job->report->has_signer = true;
    if (who->algorithm == NULL) {
        return hm_fail_memory(error);
    }
    bool ec = key->type != HM_KEY_RSA && key->type != HM_KEY_ED25519;
    return ec || !format->ec_only
               ? HM_OK
               : hm_report_add_warning(job->report, error,
                                       "%s is an extension of the format; other tools may not "
                                       "read this signature",
                                       who->scheme_text);
}

static hm_status tell_notes(const resigning *job, const old_signature *old, hm_error **error) {
    hm_status status = hm_report_add_holes(job->report, &old->claim->tree, error);
    for (size_t i = 0; i < old->report->warning_count && status == HM_OK; i++) {
        status = hm_report_add_warning(job->report, error, "%s", old->report->warnings[i]);
    }
    return status;
}

/* Digests that `sign --reuse` finds beside a signature by the old key are of no use to it. */
static hm_status tell_record(const resigning *job, const old_signature *old, hm_error **error) {
    hm_auto_free char *path = hm_state_path(old->path);
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    return !is_there(path)
               ? HM_OK
               : hm_report_add_warning(job->report, error,
                                       "the record of file states %s is of the old signature; "
                                       "remove it before the next `hallmark sign --reuse`",
                                       path);
}

static hm_status tell_group(const resigning *job, const group *made, hm_error **error) {
    hm_report *report = job->report;
    hm_status status = HM_OK;
    for (size_t i = 0; i < made->count && status == HM_OK; i++) {
        status = tell_record(job, made->of[i], error);
    }
    if (status != HM_OK || report->signature_path == NULL) {
        report->format = format_of(made->of[0]);
        report->signature_path = hm_strdup(made->of[0]->path);
        report->shards_path = made->count > 1 ? hm_strdup(made->of[1]->path) : NULL;
        bool named =
            report->signature_path != NULL && (made->count == 1 || report->shards_path != NULL);
        return status != HM_OK ? status
               : named         ? tell_signer(job, report->format, error)
                               : hm_fail_memory(error);
    }
    return hm_report_add_warning(report, error, "%s was signed again as well", made->of[0]->path);
}

/* Only now, as the report takes the manifest that was signed. */
static hm_status tell_model(resigning *job, old_signature *first, hm_error **error) {
    hm_status status = tell_notes(job, first, error);
    return status == HM_OK ? hm_report_take_manifest(job->report, &first->report->manifest,
                                                     HM_OMS_ORDER_NAME, error)
                           : status;
}

/* ---- the verb ------------------------------------------------------------------------------ */

static hm_status sign_group(resigning *job, old_signature *first, old_signature **told,
                            hm_error **error) {
    HM_CLEANUP(group_free) group made = {.count = 0};
    hm_status status = gather(job, first, &made, error);
    if (status == HM_OK) {
        status = write_group(job, &made, error);
    }
    if (status == HM_OK) {
        status = tell_group(job, &made, error);
    }
    *told = *told != NULL ? *told : made.of[0];
    return status;
}

static hm_status sign_all(resigning *job, hm_error **error) {
    old_signature *told = NULL;
    hm_status status = HM_OK;
    for (size_t i = 0; i < job->count && status == HM_OK; i++) {
        if (!job->list[i].taken) {
            status = sign_group(job, &job->list[i], &told, error);
        }
    }
    if (status == HM_OK && told == NULL) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "no signature was found to replace");
    }
    return status == HM_OK ? tell_model(job, told, error) : status;
}

static bool all_by_new(const resigning *job) {
    bool all = true;
    for (size_t i = 0; i < job->count; i++) {
        all = all && job->list[i].by_new;
    }
    return all;
}

static hm_status leave_all(resigning *job, hm_error **error) {
    HM_CLEANUP(group_free) group whole = {.of = {&job->list[0]}, .count = 1};
    old_signature *first = &job->list[0];
    job->report->unchanged = true;
    for (size_t i = 1; i < job->count; i++) {
        if (belong_together(first, &job->list[i]) && whole.count < HM_PROVENANCE_SIGNATURES) {
            bool before = method_of(&job->list[i]) == HM_METHOD_FILES;
            whole.of[whole.count++] = before ? first : &job->list[i];
            whole.of[0] = before ? &job->list[i] : first;
        }
    }
    hm_status status = tell_group(job, &whole, error);
    if (status == HM_OK) {
        status = hm_report_add_warning(job->report, error,
                                       "it is signed by this key already, and was left as it is");
    }
    return status == HM_OK ? tell_model(job, whole.of[0], error) : status;
}

static hm_status run(resigning *job, hm_error **error) {
    hm_status status = refuse_revoked(job, error);
    if (status == HM_OK) {
        status = believe_new_key(job, error);
    }
    if (status == HM_OK) {
        status = find_places(job, error);
    }
    if (status == HM_OK) {
        status = look_at_all(job, error);
    }
    if (status == HM_OK) {
        status = verify_all(job, error);
    }
    if (status != HM_OK) {
        return status;
    }
    return all_by_new(job) ? leave_all(job, error) : sign_all(job, error);
}

/* A model, its signature or its policy chose what cannot be done here, not the call. */
static hm_status run_one(resigning *job, hm_error **error) {
    hm_auto_error cause = NULL;
    hm_status status = run(job, &cause);
    if (status != HM_USAGE && status != HM_LET_THROUGH) {
        return status == HM_OK ? HM_OK : hm_error_move(error, &cause);
    }
    hm_reason reason = status == HM_USAGE ? HM_REASON_UNSUPPORTED : HM_REASON_UNSIGNED;
    status = hm_fail(error, HM_REFUSED, reason, "%s", hm_error_message(cause));
    if (*hm_error_hint(cause) != '\0') {
        hm_error_add_hint(error, "%s", hm_error_hint(cause));
    }
    return status;
}

static hm_status check_call(const resigning *job, hm_error **error) {
    hm_status status = hm_check_options("hm_resign", job->options->size, sizeof(*job->options),
                                        job->options->flags, 0, error);
    if (status == HM_OK && (job->model == NULL || job->policy == NULL || job->signer == NULL)) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "there is no model, policy or signer");
    }
    if (status == HM_OK && job->signer->certificates != NULL) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "signing again is for bare keys, without a certificate");
    }
    return status;
}

hm_status hm_resign(hm_model *model, const hm_policy *policy, hm_signer *signer,
                    const hm_resign_options *options, hm_report **report, hm_error **error) {
    static const hm_resign_options defaults = HM_RESIGN_OPTIONS_INIT;
    HM_CLEANUP(resigning_free)
    resigning job = {.model = model, .policy = policy, .signer = signer};
    hm_auto_error local = NULL;
    hm_error **cause = error != NULL ? error : &local;
    job.options = options != NULL ? options : &defaults;
    if (report != NULL) {
        *report = NULL;
    }
    hm_status status = check_call(&job, cause);
    if (status == HM_OK) {
        status = hm_report_new(HM_OPERATION_RESIGN, model->path, &job.report, cause);
    }
    if (status == HM_OK && job.report->time < 0) {
        status = hm_fail(cause, HM_UNDECIDED, HM_REASON_NONE, "the clock makes no sense");
    }
    if (status == HM_OK) {
        job.report->jobs = job.options->jobs;
        status = run_one(&job, cause);
    }
    return hm_report_finish(&job.report, status, cause, report);
}
