/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Less is not worth a word: at a gigabyte per second and core it is soon done in either way. */
#define SPEEDUP_BYTES (UINT64_C(1) << 30)
#define SPEEDUP_LEAST 2.0

hm_status hm_report_new(hm_operation operation, const char *model_path, hm_report **report,
                        hm_error **error) {
    hm_report *made = hm_alloc(1, sizeof(*made));
    char *path = model_path != NULL ? hm_strdup(model_path) : NULL;
    if (made == NULL || (model_path != NULL && path == NULL)) {
        free(made);
        free(path);
        return hm_fail_memory(error);
    }
    made->operation = operation;
    made->status = HM_UNDECIDED;
    made->model_path = path;
    made->time = hm_time_now();
    *report = made;
    return hm_time_is_set()
               ? hm_report_add_warning(made, error, "the time was set by HALLMARK_TIME")
               : HM_OK;
}

static void notes_free(hm_path_notes *notes) {
    for (size_t i = 0; i < notes->count; i++) {
        free(notes->list[i].path);
        free(notes->list[i].note);
    }
    free(notes->list);
}

static void finding_free(hm_finding *finding) {
    free(finding->name);
    free(finding->expected);
    free(finding->actual);
    free(finding->detail);
}

void hm_policy_note_free(hm_policy_note *note) {
    for (size_t i = 0; i < note->count; i++) {
        free(note->list[i].path);
        free(note->list[i].message);
        free(note->list[i].signer);
    }
    free(note->list);
    free(note->file);
    *note = (hm_policy_note){.file = NULL};
}

void hm_store_note_free(hm_store_note *note) {
    free(note->path);
    free(note->name);
    free(note->quarantine);
    *note = (hm_store_note){.path = NULL};
}

void hm_report_swap(hm_report *a, hm_report *b) {
    hm_report kept = *a;
    *a = *b;
    *b = kept;
}

void hm_report_free(hm_report **report) {
    hm_report *old = *report;
    if (old == NULL) {
        return;
    }
    for (size_t i = 0; i < old->finding_count; i++) {
        finding_free(&old->findings[i]);
    }
    for (size_t i = 0; i < old->warning_count; i++) {
        free(old->warnings[i]);
    }
    free(old->findings);
    free(old->warnings);
    notes_free(&old->ignored);
    notes_free(&old->unsigned_paths);
    hm_statements_free(&old->stated);
    hm_statements_free(&old->claimed);
    hm_statements_free(&old->provenance);
    free(old->provenance_path);
    hm_manifest_free(&old->manifest);
    hm_signer_identity_free(&old->signer);
    hm_policy_note_free(&old->policy);
    hm_store_note_free(&old->store);
    free(old->message);
    free(old->hint);
    free(old->model_path);
    free(old->signature_path);
    free(old->shards_path);
    free(old->part_path);
    free(old);
    *report = NULL;
}

hm_status hm_report_add_finding(hm_report *report, hm_finding finding, hm_error **error) {
    if (finding.name == NULL || !hm_grow(&report->findings, report->finding_count,
                                         &report->finding_capacity, sizeof(hm_finding))) {
        finding_free(&finding);
        return hm_fail_memory(error);
    }
    report->findings[report->finding_count++] = finding;
    return HM_OK;
}

hm_status hm_report_add_path(hm_path_notes *notes, const char *path, const char *note,
                             hm_error **error) {
    hm_path_note made = {.path = hm_strdup(path), .note = hm_strdup(note)};
    if (made.path == NULL || made.note == NULL ||
        !hm_grow(&notes->list, notes->count, &notes->capacity, sizeof(made))) {
        free(made.path);
        free(made.note);
        return hm_fail_memory(error);
    }
    notes->list[notes->count++] = made;
    return HM_OK;
}

hm_status hm_report_add_warning(hm_report *report, hm_error **error, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) {
        return hm_fail_memory(error);
    }
    if (!hm_grow(&report->warnings, report->warning_count, &report->warning_capacity,
                 sizeof(char *))) {
        free(text);
        return hm_fail_memory(error);
    }
    report->warnings[report->warning_count++] = text;
    return HM_OK;
}

hm_status hm_report_add_holes(hm_report *report, const hm_tree *tree, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < tree->hole_count && status == HM_OK; i++) {
        status = hm_report_add_path(&report->ignored, tree->holes[i].path,
                                    hm_ignore_source_name(tree->holes[i].source), error);
    }
    return status;
}

void hm_report_count(hm_report *report) {
    const hm_manifest *manifest = &report->manifest;
    report->file_count = 0;
    report->byte_count = 0;
    for (size_t i = 0; i < manifest->count; i++) {
        const hm_item *item = &manifest->items[i];
        bool known = item->end != HM_SIZE_UNKNOWN;
        report->byte_count += known ? item->end - item->start : 0;
        report->file_count +=
            i == 0 || strcmp(item->name, manifest->items[i - 1].name) != 0 ? 1 : 0;
    }
}

void hm_report_take_part(hm_report *report, hm_manifest *manifest) {
    report->manifest = *manifest;
    *manifest = (hm_manifest){0};
    hm_report_count(report);
}

hm_status hm_report_take_manifest(hm_report *report, hm_manifest *manifest, hm_oms_order order,
                                  hm_error **error) {
    uint8_t digest[32];
    hm_status status = hm_manifest_model_digest(manifest, digest, error);
    if (status == HM_OK) {
        hm_hex(digest, sizeof(digest), report->model_digest);
        status = hm_oms_root_digest(manifest, order, digest, error);
    }
    if (status == HM_OK) {
        hm_hex(digest, sizeof(digest), report->root_digest);
    }
    hm_report_take_part(report, manifest);
    return status;
}

/* A report of a failure lists nothing that could be taken for verified or signed. */
static void forget_results(hm_report *report) {
    hm_manifest_free(&report->manifest);
    hm_statements_free(&report->provenance);
    free(report->provenance_path);
    report->provenance_path = NULL;
    report->file_count = 0;
    report->byte_count = 0;
    report->known = HM_KNOWN_NONE;
    report->part_count = 0;
    report->root_digest[0] = '\0';
    report->model_digest[0] = '\0';
}

static void set_cause(hm_report *report, const hm_error *cause) {
    report->reason = hm_error_reason(cause);
    report->message = hm_strdup(hm_error_message(cause));
    report->hint = hm_strdup(hm_error_hint(cause));
}

hm_status hm_report_finish(hm_report **made, hm_status status, hm_error **error,
                           hm_report **report) {
    hm_report *done = *made;
    if (done != NULL) {
        done->status = status;
        if (status != HM_OK) {
            forget_results(done);
            set_cause(done, error != NULL ? *error : NULL);
        }
    }
    if (report != NULL) {
        *report = done;
        *made = NULL;
    }
    return status;
}

static hm_status find_operation(const char *name, hm_operation *operation) {
    static const char *const names[] = {
        [HM_OPERATION_SIGN] = "sign",         [HM_OPERATION_VERIFY] = "verify",
        [HM_OPERATION_DIGEST] = "digest",     [HM_OPERATION_INSPECT] = "inspect",
        [HM_OPERATION_RESIGN] = "resign",     [HM_OPERATION_DEPLOY] = "deploy",
        [HM_OPERATION_ROLLBACK] = "rollback", [HM_OPERATION_CHECK] = "check",
        [HM_OPERATION_RELEASE] = "release",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0) {
            *operation = (hm_operation)i;
            return HM_OK;
        }
    }
    return HM_USAGE;
}

hm_status hm_report_from_error(const char *operation, const char *model, const hm_error *cause,
                               hm_report **report, hm_error **error) {
    hm_operation known;
    *report = NULL;
    if (find_operation(operation, &known) != HM_OK || cause == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "there is no operation named %s",
                       operation);
    }
    hm_status status = hm_report_new(known, model, report, error);
    if (status == HM_OK) {
        (*report)->status = hm_error_status(cause);
        set_cause(*report, cause);
    }
    return status;
}

const char *hm_report_outcome(const hm_report *report) {
    switch (report->status) {
    case HM_REFUSED: return "refused";
    case HM_USAGE: return "usage";
    case HM_UNDECIDED: return "undecided";
    case HM_LET_THROUGH: return "let-through";
    case HM_OK: break;
    }
    switch (report->operation) {
    case HM_OPERATION_SIGN: return "signed";
    case HM_OPERATION_VERIFY: return "verified";
    case HM_OPERATION_DIGEST: return "digested";
    case HM_OPERATION_INSPECT: return "unverified";
    case HM_OPERATION_RESIGN: return report->unchanged ? "unchanged" : "resigned";
    case HM_OPERATION_DEPLOY:
    case HM_OPERATION_RELEASE: return report->store.dry_run ? "verified" : "deployed";
    case HM_OPERATION_ROLLBACK: return "rolled-back";
    case HM_OPERATION_CHECK: return "verified";
    }
    return "undecided";
}

hm_status hm_report_status(const hm_report *report) {
    return report->status;
}

hm_reason hm_report_reason(const hm_report *report) {
    return report->reason;
}

size_t hm_report_finding_count(const hm_report *report) {
    return report->finding_count;
}

hm_reason hm_report_finding_reason(const hm_report *report, size_t index) {
    return index < report->finding_count ? report->findings[index].reason : HM_REASON_NONE;
}

const char *hm_report_finding_name(const hm_report *report, size_t index) {
    return index < report->finding_count ? report->findings[index].name : "";
}

/* With shards the items of one file stand next to each other; with files each item is one. */
static const hm_item *file_at(const hm_report *report, size_t index) {
    const hm_manifest *manifest = &report->manifest;
    if (manifest->method == HM_METHOD_FILES) {
        return index < manifest->count ? &manifest->items[index] : NULL;
    }
    size_t file = 0;
    for (size_t i = 0; i < manifest->count; i++) {
        if (i > 0 && strcmp(manifest->items[i].name, manifest->items[i - 1].name) != 0) {
            file++;
        }
        if (file == index) {
            return &manifest->items[i];
        }
    }
    return NULL;
}

size_t hm_report_file_count(const hm_report *report) {
    return report->status == HM_OK ? report->file_count : 0;
}

const char *hm_report_file_name(const hm_report *report, size_t index) {
    const hm_item *item = report->status == HM_OK ? file_at(report, index) : NULL;
    return item != NULL ? item->name : "";
}

const char *hm_report_model_digest(const hm_report *report) {
    return report->model_digest;
}

const char *hm_report_root_digest(const hm_report *report) {
    return report->root_digest;
}

const char *hm_report_signer_algorithm(const hm_report *report) {
    const char *algorithm = report->has_signer ? report->signer.algorithm : NULL;
    return algorithm != NULL ? algorithm : "";
}

const char *hm_report_signature_path(const hm_report *report) {
    return report->signature_path != NULL ? report->signature_path : "";
}

const char *hm_report_shards_signature_path(const hm_report *report) {
    return report->shards_path != NULL ? report->shards_path : "";
}

/* Only where digests are of whole files, and could have been of shards. */
static bool lacks_shards(const hm_report *report) {
    bool read = report->operation == HM_OPERATION_SIGN || report->operation == HM_OPERATION_VERIFY;
    return read && report->status == HM_OK && report->format != NULL && report->format->hashes &&
           report->manifest.method == HM_METHOD_FILES && report->shards_path == NULL;
}

double hm_report_shards_speedup(const hm_report *report) {
    const hm_manifest *manifest = &report->manifest;
    if (!lacks_shards(report) || report->byte_count < SPEEDUP_BYTES) {
        return 0;
    }
    hm_digest_sizes files = {.count = manifest->count, .total = report->byte_count};
    hm_digest_sizes shards = {.total = report->byte_count};
    for (size_t i = 0; i < manifest->count; i++) {
        uint64_t size = manifest->items[i].end - manifest->items[i].start;
        files.longest = size > files.longest ? size : files.longest;
        shards.count += hm_shard_count(size, HM_SHARD_SIZE_DEFAULT);
    }
    shards.longest = files.longest < HM_SHARD_SIZE_DEFAULT ? files.longest : HM_SHARD_SIZE_DEFAULT;
    double times = hm_digest_estimate(manifest->hash, report->jobs, &files) /
                   hm_digest_estimate(manifest->hash, report->jobs, &shards);
    return times >= SPEEDUP_LEAST ? times : 0;
}

const char *hm_report_provenance_path(const hm_report *report) {
    return report->provenance_path != NULL ? report->provenance_path : "";
}
