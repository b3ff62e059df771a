/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of a ledger: to be read, verified, and signed for. */
#include "record/audit.h"
#include "record/log_text.h"

#include <stdlib.h>

/* ---- shared --------------------------------------------------------------------------------- */

static hm_status open_ledger(const char *function, const hm_config *config, uint64_t flags,
                             hm_ledger **ledger, hm_error **error) {
    if (config == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s: an argument is missing", function);
    }
    hm_status status = hm_ledger_open_configured(config, flags, ledger, error);
    if (status == HM_OK && *ledger == NULL) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "no ledger is named, and no store");
        hm_error_add_hint(error, "name one with --ledger or --store, with HALLMARK_LEDGER or "
                                 "HALLMARK_STORE, or in the configuration file");
    }
    return status;
}

/* ---- read ----------------------------------------------------------------------------------- */

typedef struct reading {
    hm_ledger *ledger;
    hm_entry_query query;
    bool json;
    bool begun;
    hm_text_fn take;
    void *context;
} reading;

/* The page was read: nobody waits for the ledger while the reader takes his time. */
static hm_status hand_page(reading *r, const hm_entries *page, bool *stop, hm_error **error) {
    hm_auto_buf out = {.data = NULL};
    hm_status status = HM_OK;
    if (!r->begun && !r->json && page->count > 0) {
        hm_log_print_header(&out);
    }
    r->begun = true;
    for (size_t i = 0; i < page->count && status == HM_OK; i++) {
        status = r->json ? hm_log_print_json(&page->list[i], &out, error)
                         : hm_log_print_entry(&page->list[i], &out, error);
        r->query.after = page->list[i].sequence;
    }
    /* What comes before the entry that cannot be shown is shown. */
    if (out.length > 0 && !out.failed) {
        *stop = !r->take(r->context, (const char *)out.data, out.length);
    }
    return status;
}

static hm_status read_all(reading *r, uint64_t limit, hm_error **error) {
    hm_auto_entries page = {.list = NULL};
    bool stop = false;
    hm_status status = limit > 0 ? hm_ledger_skip(r->ledger, &r->query, limit, error) : HM_OK;
    while (status == HM_OK && !stop) {
        status = hm_ledger_read(r->ledger, &r->query, &page, error);
        if (status != HM_OK || page.count == 0) {
            return status;
        }
        status = hand_page(r, &page, &stop, error);
    }
    return status;
}

static hm_status check_read(const hm_log_options *options, hm_error **error) {
    hm_event_kind kind = HM_EVENT_KIND_COUNT;
    hm_status status = hm_check_options("hm_log_read", options->size, sizeof *options,
                                        options->flags, HM_LOG_JSON, error);
    if (status != HM_OK || options->event == NULL ||
        hm_event_from_word(hm_bytes_text(options->event), &kind)) {
        return status;
    }
    hm_auto_buf words = {.data = NULL};
    for (int i = 1; i < HM_EVENT_KIND_COUNT; i++) {
        hm_buf_add_format(&words, "%s%s", i > 1 ? ", " : "", hm_event_word((hm_event_kind)i));
    }
    if (hm_buf_check(&words, error) != HM_OK) {
        return HM_UNDECIDED;
    }
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "there is no event \"%s\"", options->event);
    hm_error_add_hint(error, "events are %s", (const char *)words.data);
    return HM_USAGE;
}

hm_status hm_log_read(const hm_config *config, const hm_log_options *options, hm_text_fn take,
                      void *context, hm_error **error) {
    static const hm_log_options all = HM_LOG_OPTIONS_INIT;
    hm_auto_ledger ledger = NULL;
    hm_auto_buf since = {.data = NULL};
    options = options != NULL ? options : &all;
    hm_status status = check_read(options, error);
    if (status == HM_OK && take == NULL) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "hm_log_read: an argument is missing");
    }
    if (status == HM_OK) {
        status = open_ledger("hm_log_read", config, HM_LEDGER_READ, &ledger, error);
    }
    if (status == HM_OK && options->since > 0) {
        hm_buf_add_time(&since, options->since);
        status = hm_buf_check(&since, error);
    }
    reading r = {.ledger = ledger, .take = take, .context = context};
    r.json = (options->flags & HM_LOG_JSON) != 0;
    r.query = (hm_entry_query){.after = INT64_MIN,
                               .since = (const char *)since.data,
                               .model = options->model,
                               .kind = options->event};
    return status == HM_OK ? read_all(&r, options->limit, error) : status;
}

/* ---- verify --------------------------------------------------------------------------------- */

static hm_status judge(const hm_audit *audit, hm_error **error) {
    if (audit->findings_in_all == 0) {
        return HM_OK;
    }
    hm_auto_free char *more =
        audit->findings_in_all > 1
            ? hm_textf("; %llu more findings", (unsigned long long)audit->findings_in_all - 1)
            : hm_strdup("");
    if (more == NULL) {
        return hm_fail_memory(error);
    }
    (void)hm_fail(error, HM_REFUSED, audit->reason, "the ledger %s is not as it was recorded: %s%s",
                  audit->ledger->place, audit->findings[0].text, more);
    hm_error_add_hint(error, "keep it as it is for who looks into it; a copy that verifies, and "
                             "the checkpoints kept elsewhere, tell what is true");
    return HM_REFUSED;
}

hm_status hm_log_verify(const hm_config *config, const hm_log_verify_options *options, char **text,
                        hm_error **error) {
    static const hm_log_verify_options plain = HM_LOG_VERIFY_OPTIONS_INIT;
    HM_CLEANUP(hm_audit_free) hm_audit audit = {.ledger = NULL};
    options = options != NULL ? options : &plain;
    hm_status status = hm_check_options("hm_log_verify", options->size, sizeof *options,
                                        options->flags, HM_LOG_JSON, error);
    if (status == HM_OK) {
        status = open_ledger("hm_log_verify", config, HM_LEDGER_READ, &audit.ledger, error);
    }
    if (status == HM_OK && options->checkpoint != NULL && options->key == NULL &&
        config->checkpoint_key == NULL) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "a checkpoint is believed only when its public key is named");
    }
    if (status == HM_OK) {
        status = hm_audit_run(&audit, config, options, error);
    }
    if (status == HM_OK && text != NULL) {
        status = hm_audit_print(&audit, (options->flags & HM_LOG_JSON) != 0, text, error);
    }
    return status == HM_OK ? judge(&audit, error) : status;
}

/* ---- sign ----------------------------------------------------------------------------------- */

hm_status hm_log_checkpoint(const hm_config *config, hm_signer *signer, const char *path,
                            hm_error **error) {
    hm_auto_ledger ledger = NULL;
    if (signer == NULL || (path != NULL && path[0] == '\0')) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_log_checkpoint: an argument is missing");
    }
    hm_status status = open_ledger("hm_log_checkpoint", config, 0, &ledger, error);
    if (status == HM_OK) {
        path = path != NULL ? path : config->checkpoint_file;
        status = hm_ledger_checkpoint(ledger, signer, path, error);
    }
    return status;
}
