/* SPDX-License-Identifier: Apache-2.0 */
/* The report for programs. docs/report.schema.json is its schema; tests hold the two together. */
#include "report.h"

#include <string.h>

static void member_text(hm_json_writer *w, const char *name, const char *text) {
    hm_json_name(w, name);
    if (text != NULL && *text != '\0') {
        hm_json_text(w, text);
    } else {
        hm_json_null(w);
    }
}

static void member_version(hm_json_writer *w, uint64_t version) {
    hm_json_name(w, "key_version");
    if (version > 0) {
        hm_json_number(w, version);
    } else {
        hm_json_null(w);
    }
}

static void member_time(hm_json_writer *w, const char *name, int64_t time) {
    hm_auto_buf text = {0};
    hm_buf_add_time(&text, time);
    hm_json_name(w, name);
    hm_json_string(w, hm_buf_view(&text));
}

/* A value that is JSON already, spelt by the writer from a document that was read. */
static void raw(hm_json_writer *w, const char *json) {
    hm_auto_json doc = NULL;
    hm_auto_error ignored = NULL;
    if (hm_json_parse(hm_bytes_text(json), "statement", &doc, &ignored) == HM_OK) {
        hm_json_copy(w, hm_json_root(doc));
    } else {
        w->out->failed = true;
    }
}

static void statements(hm_json_writer *w, const char *name, const hm_statements *list) {
    hm_json_name(w, name);
    hm_json_begin_array(w);
    for (size_t i = 0; i < list->count; i++) {
        hm_json_begin_object(w);
        hm_json_member(w, "name", list->list[i].name);
        hm_json_name(w, "value");
        raw(w, list->list[i].json);
        hm_json_end_object(w);
    }
    hm_json_end_array(w);
}

static void model(hm_json_writer *w, const hm_report *report) {
    const hm_manifest *manifest = &report->manifest;
    bool measured = manifest->count > 0;
    hm_json_name(w, "model");
    hm_json_begin_object(w);
    member_text(w, "path", report->model_path);
    member_text(w, "model_digest", report->model_digest);
    member_text(w, "root_digest", report->root_digest);
    member_text(w, "method", measured ? hm_method_name(manifest->method) : NULL);
    member_text(w, "hash", measured ? hm_hash_name(manifest->hash) : NULL);
    hm_json_name(w, "shard_size");
    if (measured && manifest->method == HM_METHOD_SHARDS) {
        hm_json_number(w, manifest->shard_size);
    } else {
        hm_json_null(w);
    }
    hm_json_member_number(w, "files", report->file_count);
    hm_json_member_number(w, "bytes", report->byte_count);
    hm_json_end_object(w);
}

static void reused(hm_json_writer *w, const hm_report *report) {
    hm_json_name(w, "reused");
    if (report->known == HM_KNOWN_NONE) {
        hm_json_null(w);
        return;
    }
    hm_json_begin_object(w);
    hm_json_member(w, "from", report->known == HM_KNOWN_PARTS ? "parts" : "signature");
    hm_json_member_number(w, "files", report->known_files);
    hm_json_member_number(w, "bytes", report->known_bytes);
    hm_json_member_number(w, "files_read", report->file_count - report->known_files);
    hm_json_member_number(w, "bytes_read", report->byte_count - report->known_bytes);
    hm_json_end_object(w);
}

static void part(hm_json_writer *w, const hm_report *report) {
    hm_json_name(w, "part");
    if (report->part_count == 0) {
        hm_json_null(w);
        return;
    }
    hm_json_begin_object(w);
    hm_json_member_number(w, "part", report->part);
    hm_json_member_number(w, "parts", report->part_count);
    hm_json_member(w, "path", report->part_path);
    hm_json_end_object(w);
}

static void certificate(hm_json_writer *w, const hm_signer_identity *signer) {
    hm_json_name(w, "certificate");
    if (!signer->by_certificate) {
        hm_json_null(w);
        return;
    }
    hm_json_begin_object(w);
    hm_json_member(w, "subject", signer->subject);
    hm_json_member(w, "issuer", signer->issuer);
    hm_json_name(w, "alternative_names");
    hm_json_begin_array(w);
    for (size_t i = 0; i < signer->alternative_name_count; i++) {
        hm_json_text(w, signer->alternative_names[i]);
    }
    hm_json_end_array(w);
    hm_json_member(w, "fingerprint", signer->certificate_fingerprint);
    member_time(w, "not_before", signer->not_before);
    member_time(w, "not_after", signer->not_after);
    member_time(w, "judged_at", signer->judged_at);
    hm_json_end_object(w);
}

static void signer(hm_json_writer *w, const hm_report *report) {
    hm_json_name(w, "signer");
    if (!report->has_signer) {
        hm_json_null(w);
        return;
    }
    hm_json_begin_object(w);
    hm_json_member(w, "key_type", report->signer.algorithm);
    hm_json_member(w, "algorithm", report->signer.scheme_text);
    hm_json_member(w, "key_fingerprint", report->signer.fingerprint);
    member_text(w, "name", report->signer.name);
    member_version(w, report->signer.key_version);
    certificate(w, &report->signer);
    hm_json_end_object(w);
}

static void signature_note(hm_json_writer *w, const hm_signature_note *note) {
    hm_json_begin_object(w);
    hm_json_member(w, "path", note->path);
    member_text(w, "format", note->format != NULL ? note->format->name : NULL);
    hm_json_member_bool(w, "counted", note->counted);
    member_text(w, "reason", hm_reason_word(note->reason));
    member_text(w, "message", note->message);
    member_text(w, "signer", note->signer);
    member_version(w, note->key_version);
    member_text(w, "key_fingerprint", note->fingerprint);
    hm_json_end_object(w);
}

static void policy(hm_json_writer *w, const hm_policy_note *note) {
    hm_json_name(w, "policy");
    if (note->file == NULL) {
        hm_json_null(w);
        return;
    }
    hm_json_begin_object(w);
    hm_json_member(w, "file", note->file);
    hm_json_name(w, "rule");
    if (note->rule > 0) {
        hm_json_number(w, note->rule);
    } else {
        hm_json_null(w);
    }
    hm_json_name(w, "line");
    if (note->rule > 0) {
        hm_json_number(w, note->line);
    } else {
        hm_json_null(w);
    }
    hm_json_member_number(w, "demanded", note->demanded);
    hm_json_member_number(w, "counted", note->counted);
    member_text(w, "pinned", hm_pin_kind_name(note->pin));
    hm_json_member_bool(w, "pin_held", note->pin_held);
    hm_json_name(w, "signatures");
    hm_json_begin_array(w);
    for (size_t i = 0; i < note->count; i++) {
        signature_note(w, &note->list[i]);
    }
    hm_json_end_array(w);
    hm_json_end_object(w);
}

static void findings(hm_json_writer *w, const hm_report *report) {
    hm_json_name(w, "findings");
    hm_json_begin_array(w);
    for (size_t i = 0; i < report->finding_count; i++) {
        const hm_finding *finding = &report->findings[i];
        hm_json_begin_object(w);
        hm_json_member(w, "reason", hm_reason_word(finding->reason));
        hm_json_member(w, "name", finding->name);
        member_text(w, "expected", finding->expected);
        member_text(w, "actual", finding->actual);
        member_text(w, "detail", finding->detail);
        hm_json_end_object(w);
    }
    hm_json_end_array(w);
}

static void entries(hm_json_writer *w, const hm_report *report) {
    const hm_manifest *manifest = &report->manifest;
    hm_json_name(w, "entries");
    hm_json_begin_array(w);
    for (size_t i = 0; i < manifest->count; i++) {
        const hm_item *item = &manifest->items[i];
        hm_json_begin_object(w);
        hm_json_member(w, "name", item->name);
        hm_json_member_number(w, "start", item->start);
        hm_json_name(w, "end");
        if (item->end == HM_SIZE_UNKNOWN) {
            hm_json_null(w);
        } else {
            hm_json_number(w, item->end);
        }
        hm_json_member_hex(w, "digest", item->digest, hm_hash_size(manifest->hash));
        hm_json_end_object(w);
    }
    hm_json_end_array(w);
}

static void paths(hm_json_writer *w, const char *name, const char *note_name,
                  const hm_path_notes *notes) {
    hm_json_name(w, name);
    hm_json_begin_array(w);
    for (size_t i = 0; i < notes->count; i++) {
        hm_json_begin_object(w);
        hm_json_member(w, "path", notes->list[i].path);
        hm_json_member(w, note_name, notes->list[i].note);
        hm_json_end_object(w);
    }
    hm_json_end_array(w);
}

static const char *operation_name(hm_operation operation) {
    switch (operation) {
    case HM_OPERATION_SIGN: return "sign";
    case HM_OPERATION_VERIFY: return "verify";
    case HM_OPERATION_DIGEST: return "digest";
    case HM_OPERATION_INSPECT: return "inspect";
    case HM_OPERATION_RESIGN: return "resign";
    case HM_OPERATION_DEPLOY: return "deploy";
    case HM_OPERATION_ROLLBACK: return "rollback";
    case HM_OPERATION_CHECK: return "check";
    case HM_OPERATION_RELEASE: return "release";
    }
    return "";
}

static void outcome(hm_json_writer *w, const hm_report *report) {
    hm_json_member(w, "schema", "hallmark-report-v1");
    hm_json_member(w, "operation", operation_name(report->operation));
    hm_json_member(w, "status", hm_report_outcome(report));
    member_text(w, "reason", hm_reason_word(report->reason));
    member_text(w, "message", report->message);
    member_text(w, "hint", report->hint);
    member_time(w, "time", report->time);
}

static void signature(hm_json_writer *w, const hm_report *report) {
    hm_json_name(w, "signature");
    hm_json_begin_object(w);
    member_text(w, "path", report->signature_path);
    member_text(w, "shards_path", report->shards_path);
    member_text(w, "format", report->format != NULL ? report->format->name : NULL);
    hm_json_end_object(w);
}

/* Verified, or just written; what was found and not verified has no place here. */
static void provenance(hm_json_writer *w, const hm_report *report) {
    hm_json_name(w, "provenance");
    if (report->provenance_path == NULL) {
        hm_json_null(w);
        return;
    }
    hm_json_begin_object(w);
    hm_json_member(w, "path", report->provenance_path);
    statements(w, "stated", &report->provenance);
    hm_json_end_object(w);
}

static void store(hm_json_writer *w, const hm_store_note *note) {
    hm_json_name(w, "store");
    if (note->path == NULL) {
        hm_json_null(w);
        return;
    }
    hm_json_begin_object(w);
    hm_json_member(w, "path", note->path);
    hm_json_member(w, "name", note->name != NULL ? note->name : "");
    member_text(w, "action", note->action);
    hm_json_member_bool(w, "dry_run", note->dry_run);
    hm_json_member_bool(w, "made", note->made);
    hm_json_member_bool(w, "switched", note->switched);
    member_text(w, "version", note->version);
    member_text(w, "previous", note->previous);
    member_text(w, "current", note->current);
    member_text(w, "quarantine", note->quarantine);
    hm_json_end_object(w);
}

hm_status hm_report_json(const hm_report *report, char **json, hm_error **error) {
    hm_auto_buf text = {0};
    hm_json_writer w = {.out = &text, .indent = 2, .ascii = true}; /* safe on terminals too */
    *json = NULL;
    hm_json_begin_object(&w);
    outcome(&w, report);
    model(&w, report);
    reused(&w, report);
    part(&w, report);
    signature(&w, report);
    signer(&w, report);
    policy(&w, &report->policy);
    store(&w, &report->store);
    findings(&w, report);
    entries(&w, report);
    paths(&w, "ignored", "by", &report->ignored);
    paths(&w, "unsigned", "kind", &report->unsigned_paths);
    statements(&w, "stated", &report->stated);
    statements(&w, "claimed", &report->claimed);
    provenance(&w, report);
    hm_json_name(&w, "warnings");
    hm_json_begin_array(&w);
    for (size_t i = 0; i < report->warning_count; i++) {
        hm_json_text(&w, report->warnings[i]);
    }
    hm_json_end_array(&w);
    hm_json_end_object(&w);
    hm_status status = hm_buf_check(&text, error);
    if (status == HM_OK) {
        *json = hm_buf_steal_text(&text);
    }
    return status;
}
