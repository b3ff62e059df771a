/* SPDX-License-Identifier: Apache-2.0 */
#include "record/audit.h"

#include "base/json.h"

#include <string.h>

/* ---- for people ----------------------------------------------------------------------------- */

static void line(hm_buf *out, const char *mark, const char *text) {
    hm_buf_add_text(out, mark);
    hm_buf_add_printable(out, hm_bytes_text(text));
    hm_buf_add_byte(out, '\n');
}

static void print_cover(const hm_audit *audit, hm_buf *out) {
    if (audit->cover == NULL) {
        hm_buf_add_text(out, audit->last > 0
                                 ? "no entry is covered by a checkpoint: who can write to the "
                                   "ledger could have written all of it anew\n"
                                 : "");
        return;
    }
    hm_buf_add_format(out, "entries 1 to %lld are covered by ", (long long)audit->cover->sequence);
    hm_buf_add_printable(out, hm_bytes_text(audit->cover->who));
    hm_buf_add_format(out, ", signed by %s at ", audit->cover->signer);
    hm_buf_add_time(out, audit->cover->time);
    hm_buf_add_byte(out, '\n');
    if (audit->cover->sequence < audit->last) {
        hm_buf_add_format(out, "entries after %lld are not covered by a checkpoint\n",
                          (long long)audit->cover->sequence);
    }
}

static void print_text(const hm_audit *audit, hm_buf *out) {
    bool good = audit->findings_in_all == 0;
    hm_buf_add_text(out, good ? "verified: the ledger " : "REFUSED: the ledger ");
    hm_buf_add_printable(out, hm_bytes_text(audit->ledger->place));
    hm_buf_add_format(out,
                      good ? ": %lld entries, each as it was recorded\n"
                           : ": its newest entry is %lld\n",
                      (long long)audit->last);
    for (size_t i = 0; i < audit->finding_count; i++) {
        line(out, "  ", audit->findings[i].text);
    }
    if (audit->findings_in_all > audit->finding_count) {
        hm_buf_add_format(out, "  and %llu more\n",
                          (unsigned long long)(audit->findings_in_all - audit->finding_count));
    }
    if (good) {
        print_cover(audit, out);
    }
    for (size_t i = 0; i < audit->warning_count; i++) {
        line(out, "warning: ", audit->warnings[i]);
    }
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void print_findings(const hm_audit *audit, hm_json_writer *w) {
    hm_json_name(w, "findings");
    hm_json_begin_array(w);
    for (size_t i = 0; i < audit->finding_count; i++) {
        hm_json_begin_object(w);
        if (audit->findings[i].sequence > 0) {
            hm_json_member_number(w, "sequence", (uint64_t)audit->findings[i].sequence);
        }
        hm_json_member(w, "message", audit->findings[i].text);
        hm_json_end_object(w);
    }
    hm_json_end_array(w);
    hm_json_member_number(w, "finding_count", audit->findings_in_all);
}

static void print_json_cover(const hm_word *cover, hm_json_writer *w) {
    hm_json_name(w, "covered");
    if (cover == NULL) {
        hm_json_null(w);
        return;
    }
    hm_json_begin_object(w);
    hm_json_member_number(w, "sequence", (uint64_t)cover->sequence);
    hm_json_member(w, "by", cover->who);
    hm_json_member(w, "fingerprint", cover->signer);
    hm_json_member_time(w, "time", cover->time);
    hm_json_end_object(w);
}

static void print_json(const hm_audit *audit, hm_buf *out) {
    hm_json_writer w = {.out = out, .indent = 2, .ascii = true};
    bool good = audit->findings_in_all == 0;
    hm_json_begin_object(&w);
    hm_json_member(&w, "schema", "hallmark-log-verification-v1");
    hm_json_member(&w, "outcome", good ? "verified" : "refused");
    if (!good) {
        hm_json_member(&w, "reason", hm_reason_word(audit->reason));
    }
    hm_json_member(&w, "ledger", audit->ledger->place);
    hm_json_member(&w, "id", audit->ledger->id);
    hm_json_member_number(&w, "version", audit->ledger->version);
    hm_json_name(&w, "newest");
    hm_json_begin_object(&w);
    hm_json_member_number(&w, "sequence", audit->last > 0 ? (uint64_t)audit->last : 0);
    hm_json_member(&w, "digest", audit->digest);
    hm_json_end_object(&w);
    hm_json_member_number(&w, "checkpoints", audit->checkpoints);
    print_json_cover(good ? audit->cover : NULL, &w);
    print_findings(audit, &w);
    hm_json_name(&w, "warnings");
    hm_json_begin_array(&w);
    for (size_t i = 0; i < audit->warning_count; i++) {
        hm_json_text(&w, audit->warnings[i]);
    }
    hm_json_end_array(&w);
    hm_json_end_object(&w);
    hm_buf_add_byte(out, '\n');
}

hm_status hm_audit_print(const hm_audit *audit, bool json, char **text, hm_error **error) {
    hm_auto_buf out = {.data = NULL};
    if (json) {
        print_json(audit, &out);
    } else {
        print_text(audit, &out);
    }
    return hm_buf_hand_over(&out, text, error);
}
