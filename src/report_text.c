/* SPDX-License-Identifier: Apache-2.0 */
/* The report for people. Everything foreign goes through hm_buf_add_printable(). */
#include "report.h"

#include <inttypes.h>
#include <string.h>

enum { SHOWN = 20 }; /* lines of a list, unless all are asked for */

typedef struct page {
    hm_buf *out;
    bool all;
    bool colour;
} page;

static void foreign(const page *p, const char *text) {
    hm_buf_add_printable(p->out, hm_bytes_text(text));
}

static void coloured(const page *p, const char *code, const char *text) {
    if (p->colour) {
        hm_buf_add_format(p->out, "\033[%sm%s\033[0m", code, text);
    } else {
        hm_buf_add_text(p->out, text);
    }
}

static void line(const page *p, const char *label, const char *text) {
    if (text != NULL && *text != '\0') {
        hm_buf_add_format(p->out, "  %-14s ", label);
        foreign(p, text);
        hm_buf_add_byte(p->out, '\n');
    }
}

static size_t shown(const page *p, size_t count) {
    return p->all || count <= SHOWN ? count : SHOWN;
}

static void more(const page *p, size_t count) {
    if (shown(p, count) < count) {
        hm_buf_add_format(p->out, "    ... and %zu more (--list shows all)\n",
                          count - shown(p, count));
    }
}

static void add_size(const page *p, uint64_t bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit < 6) {
        value /= 1024;
        unit++;
    }
    hm_buf_add_format(p->out, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

/* ---- the headline -------------------------------------------------------------------------- */

static void headline(const page *p, const hm_report *report) {
    bool good = report->status == HM_OK;
    bool inspect = good && report->operation == HM_OPERATION_INSPECT;
    const char *name = report->model_path != NULL ? report->model_path : report->signature_path;
    bool open = inspect || report->status == HM_LET_THROUGH;
    coloured(p, open ? "33" : good ? "32" : "31", hm_report_outcome(report));
    hm_buf_add_text(p->out, ": ");
    foreign(p, name != NULL ? name : "");
    if (good) {
        hm_buf_add_text(p->out, inspect ? " (nothing below has been verified)\n" : "\n");
        return;
    }
    if (report->reason != HM_REASON_NONE) {
        hm_buf_add_format(p->out, " (%s)", hm_reason_word(report->reason));
    }
    /* Message and hint were made printable when the error was made. */
    hm_buf_add_format(p->out, "\n  %s\n", report->message != NULL ? report->message : "");
    if (report->hint != NULL && *report->hint != '\0') {
        hm_buf_add_format(p->out, "  %s\n", report->hint);
    }
}

/* ---- parts ---------------------------------------------------------------------------------- */

static void certificate(const page *p, const hm_signer_identity *signer) {
    hm_auto_buf validity = {0};
    hm_buf_add_time(&validity, signer->not_before);
    hm_buf_add_text(&validity, " to ");
    hm_buf_add_time(&validity, signer->not_after);
    hm_buf_add_text(&validity, ", judged at ");
    hm_buf_add_time(&validity, signer->judged_at);
    line(p, "subject", signer->subject);
    for (size_t i = 0; i < signer->alternative_name_count; i++) {
        line(p, "also known as", signer->alternative_names[i]);
    }
    line(p, "issued by", signer->issuer);
    line(p, "certificate", signer->certificate_fingerprint);
    if (hm_buf_check(&validity, NULL) == HM_OK) {
        line(p, "valid", (const char *)validity.data);
    }
}

static void signer(const page *p, const hm_report *report) {
    if (!report->has_signer) {
        return;
    }
    const hm_signer_identity *who = &report->signer;
    hm_buf_add_format(p->out, "  %-14s ", "signed by");
    if (who->name != NULL) {
        foreign(p, who->name);
        hm_buf_add_text(p->out, ", ");
    }
    foreign(p, who->algorithm);
    hm_buf_add_format(p->out, " key %s", who->fingerprint);
    if (who->key_version > 0) {
        hm_buf_add_format(p->out, " (version %" PRIu64 ")", who->key_version);
    }
    hm_buf_add_byte(p->out, '\n');
    line(p, "algorithm", report->signer.scheme_text);
    if (report->signer.by_certificate) {
        certificate(p, &report->signer);
    }
}

/* The first counted signature is that of the report itself. */
static void further_signers(const page *p, const hm_policy_note *note) {
    size_t counted = 0;
    for (size_t i = 0; i < note->count; i++) {
        const hm_signature_note *at = &note->list[i];
        counted += at->counted ? 1 : 0;
        if (!at->counted || counted == 1) {
            continue;
        }
        hm_buf_add_format(p->out, "  %-14s ", "and by");
        foreign(p, at->signer != NULL ? at->signer : "");
        hm_buf_add_format(p->out, ", key %s", at->fingerprint);
        if (at->key_version > 0) {
            hm_buf_add_format(p->out, " (version %" PRIu64 ")", at->key_version);
        }
        hm_buf_add_text(p->out, ", in ");
        foreign(p, at->path);
        hm_buf_add_byte(p->out, '\n');
    }
}

static void policy(const page *p, const hm_report *report) {
    const hm_policy_note *note = &report->policy;
    if (note->file == NULL) {
        return;
    }
    hm_buf_add_format(p->out, "  %-14s ", "policy");
    foreign(p, note->file);
    if (note->rule > 0) {
        hm_buf_add_format(p->out, ", rule %zu (line %zu)", note->rule, note->line);
    }
    hm_buf_add_byte(p->out, '\n');
    if (note->demanded > 1) {
        hm_buf_add_format(p->out, "  %-14s %" PRIu64 " of %" PRIu64 " demanded\n", "signers",
                          note->counted, note->demanded);
    }
    if (report->status == HM_OK) {
        further_signers(p, note);
    }
    if (note->pin_held && report->status == HM_OK) {
        hm_buf_add_format(p->out, "  %-14s pinned digest (%s)\n",
                          report->has_signer ? "and by" : "verified by",
                          hm_pin_kind_name(note->pin));
    }
}

/* Also of a refusal: whoever reads it wants to know what is served now. */
static void store(const page *p, const hm_report *report) {
    const hm_store_note *note = &report->store;
    if (note->path == NULL) {
        return;
    }
    hm_buf_add_format(p->out, "  %-14s ", "store");
    foreign(p, note->path);
    hm_buf_add_text(p->out, note->made ? ", made now\n" : "\n");
    line(p, "name", note->name);
    line(p, note->dry_run ? "would be" : "outcome", note->action);
    line(p, "version", note->version);
    line(p, "before", note->switched ? note->previous : NULL);
    line(p, "current", note->current[0] != '\0' ? note->current : "none");
    line(p, "quarantine", note->quarantine);
}

static void model(const page *p, const hm_report *report) {
    const hm_manifest *manifest = &report->manifest;
    if (manifest->count == 0) {
        return;
    }
    line(p, "model digest", report->model_digest);
    line(p, "root digest", report->root_digest);
    hm_buf_add_format(p->out, "  %-14s %zu %s", "content", report->file_count,
                      report->file_count == 1 ? "file" : "files");
    if (report->operation != HM_OPERATION_INSPECT) {
        hm_buf_add_text(p->out, ", ");
        add_size(p, report->byte_count);
    }
    hm_buf_add_format(p->out, ", %s by %s", hm_hash_name(manifest->hash),
                      hm_method_name(manifest->method));
    if (manifest->method == HM_METHOD_SHARDS) {
        hm_buf_add_format(p->out, " of %" PRIu64 " bytes", manifest->shard_size);
    }
    hm_buf_add_byte(p->out, '\n');
}

static void reused(const page *p, const hm_report *report) {
    if (report->known != HM_KNOWN_NONE) {
        hm_buf_add_format(p->out, "  %-14s %zu of %zu files, ", "taken over", report->known_files,
                          report->file_count);
        add_size(p, report->known_bytes);
        hm_buf_add_text(p->out, "; read ");
        add_size(p, report->byte_count - report->known_bytes);
        hm_buf_add_byte(p->out, '\n');
    }
    if (report->part_count > 0) {
        hm_buf_add_format(p->out, "  %-14s %u of %u, in ", "part", report->part,
                          report->part_count);
        foreign(p, report->part_path);
        hm_buf_add_byte(p->out, '\n');
    }
}

static void findings(const page *p, const hm_report *report) {
    for (size_t i = 0; i < report->finding_count && (p->all || i < 5 * SHOWN); i++) {
        const hm_finding *finding = &report->findings[i];
        hm_buf_add_text(p->out, "  ");
        coloured(p, "31", hm_reason_word(finding->reason));
        hm_buf_add_text(p->out, "  ");
        foreign(p, finding->name);
        if (finding->detail != NULL) {
            hm_buf_add_text(p->out, ": ");
            foreign(p, finding->detail);
        }
        hm_buf_add_byte(p->out, '\n');
        if (finding->expected != NULL) {
            bool pinned = finding->reason == HM_REASON_PINNED_DIGEST_MISMATCH;
            hm_buf_add_format(p->out, "    %s %s\n", pinned ? "pinned" : "signed",
                              finding->expected);
        }
        if (finding->actual != NULL) {
            hm_buf_add_format(p->out, "    found  %s\n", finding->actual);
        }
    }
    if (!p->all && report->finding_count > 5 * SHOWN) {
        hm_buf_add_format(p->out, "  ... and %zu more (--list shows all)\n",
                          report->finding_count - 5 * SHOWN);
    }
}

static const char *entries_title(const hm_report *report) {
    switch (report->operation) {
    case HM_OPERATION_SIGN: return "signed";
    case HM_OPERATION_VERIFY:
    case HM_OPERATION_DEPLOY:
    case HM_OPERATION_ROLLBACK:
    case HM_OPERATION_CHECK:
    case HM_OPERATION_RELEASE:
    case HM_OPERATION_RESIGN: return "verified";
    case HM_OPERATION_DIGEST: return "digests";
    case HM_OPERATION_INSPECT: return "listed, unverified";
    }
    return "";
}

static void entries(const page *p, const hm_report *report) {
    const hm_manifest *manifest = &report->manifest;
    if (manifest->count == 0) {
        return;
    }
    hm_buf_add_format(p->out, "  %s:\n", entries_title(report));
    for (size_t i = 0; i < shown(p, manifest->count); i++) {
        const hm_item *item = &manifest->items[i];
        hm_auto_free char *label = hm_item_label(manifest, item);
        hm_buf_add_text(p->out, "    ");
        hm_buf_add_hex(p->out, item->digest, hm_hash_size(manifest->hash));
        hm_buf_add_text(p->out, "  ");
        foreign(p, label != NULL ? label : item->name);
        hm_buf_add_byte(p->out, '\n');
    }
    more(p, manifest->count);
}

static const char *ignored_title(hm_operation operation) {
    switch (operation) {
    case HM_OPERATION_SIGN:
    case HM_OPERATION_RESIGN:
    case HM_OPERATION_DEPLOY:
    case HM_OPERATION_ROLLBACK:
    case HM_OPERATION_CHECK:
    case HM_OPERATION_RELEASE:
    case HM_OPERATION_VERIFY: return "not covered by the signature, ignored";
    case HM_OPERATION_DIGEST: return "left out";
    case HM_OPERATION_INSPECT: return "listed as ignored, unverified";
    }
    return "";
}

static void paths(const page *p, const char *title, const hm_path_notes *notes) {
    if (notes->count > 0) {
        hm_buf_add_format(p->out, "  %s:\n", title);
    }
    for (size_t i = 0; i < shown(p, notes->count); i++) {
        hm_buf_add_text(p->out, "    ");
        foreign(p, notes->list[i].path);
        hm_buf_add_format(p->out, " (%s)\n", notes->list[i].note);
    }
    more(p, notes->count);
}

static void statements(const page *p, const char *title, const hm_statements *list) {
    if (list->count > 0) {
        hm_buf_add_format(p->out, "  %s:\n", title);
    }
    for (size_t i = 0; i < shown(p, list->count); i++) {
        hm_buf_add_text(p->out, "    ");
        foreign(p, list->list[i].name);
        hm_buf_add_text(p->out, " = ");
        foreign(p, list->list[i].json);
        hm_buf_add_byte(p->out, '\n');
    }
    more(p, list->count);
}

static void warnings(const page *p, const hm_report *report) {
    for (size_t i = 0; i < report->warning_count; i++) {
        hm_buf_add_text(p->out, "  ");
        coloured(p, "33", "note");
        hm_buf_add_text(p->out, ": ");
        foreign(p, report->warnings[i]);
        hm_buf_add_byte(p->out, '\n');
    }
}

hm_status hm_report_text(const hm_report *report, uint64_t flags, char **text, hm_error **error) {
    hm_auto_buf out = {0};
    page p = {
        .out = &out,
        .all = (flags & HM_TEXT_LIST) != 0,
        .colour = (flags & HM_TEXT_COLOUR) != 0,
    };
    bool inspect = report->operation == HM_OPERATION_INSPECT;
    *text = NULL;
    hm_status status =
        hm_check_options("hm_report_text", 0, 0, flags, HM_TEXT_LIST | HM_TEXT_COLOUR, error);
    if (status != HM_OK) {
        return status;
    }
    headline(&p, report);
    findings(&p, report);
    if (report->model_path != NULL) {
        line(&p, "signature", report->signature_path);
        line(&p, "and of shards", report->shards_path);
    }
    line(&p, "provenance", report->provenance_path);
    line(&p, "format", report->format != NULL ? report->format->title : NULL);
    signer(&p, report);
    policy(&p, report);
    store(&p, report);
    model(&p, report);
    reused(&p, report);
    entries(&p, report);
    paths(&p, ignored_title(report->operation), &report->ignored);
    paths(&p, "not signed, let through", &report->unsigned_paths);
    statements(&p, inspect ? "stated, unverified" : "stated by the signer (signed, its own word)",
               &report->stated);
    statements(&p, "stated in the provenance (signed, the signer's own word)", &report->provenance);
    statements(&p, inspect ? "claimed, unverified" : "claimed (not signed, do not rely on it)",
               &report->claimed);
    warnings(&p, report);
    status = hm_buf_check(&out, error);
    if (status == HM_OK) {
        *text = hm_buf_steal_text(&out);
    }
    return status;
}
