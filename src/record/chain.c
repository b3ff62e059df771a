/* SPDX-License-Identifier: Apache-2.0 */
#include "record/chain.h"

#include <string.h>

static hm_status find(const hm_chain *chain, int64_t sequence, hm_error **error, char *text) {
    hm_auto_free char *owned = text;
    return owned != NULL ? chain->find(chain->context, sequence, owned, error)
                         : hm_fail_memory(error);
}

/* The numbers run from 1 without a gap. */
static hm_status check_number(const hm_chain *chain, int64_t sequence, hm_error **error) {
    int64_t wanted = chain->sequence + 1;
    if (sequence == wanted) {
        return HM_OK;
    }
    if (sequence < wanted) {
        return find(chain, sequence, error,
                    hm_textf("entry %lld was put in: numbers begin with 1", (long long)sequence));
    }
    return find(chain, wanted, error,
                sequence == wanted + 1 ? hm_textf("entry %lld is missing", (long long)wanted)
                                       : hm_textf("entries %lld to %lld are missing",
                                                  (long long)wanted, (long long)sequence - 1));
}

/* What the columns say is what entries are found by; it must be what was recorded. */
static hm_status check_columns(const hm_chain *chain, const hm_entry *entry, const hm_event *event,
                               hm_error **error) {
    hm_auto_buf time = {.data = NULL};
    const char *wrong = NULL;
    hm_buf_add_time(&time, event->time);
    hm_status status = hm_buf_check(&time, error);
    if (status != HM_OK) {
        return status;
    }
    bool same_model = entry->model != NULL && event->model != NULL
                          ? strcmp(entry->model, event->model) == 0
                          : entry->model == event->model;
    if (strcmp(entry->id, event->id) != 0) {
        wrong = "id";
    } else if (strcmp(entry->time, (const char *)time.data) != 0) {
        wrong = "time";
    } else if (strcmp(entry->kind, hm_event_word(event->kind)) != 0) {
        wrong = "kind";
    } else if (!same_model) {
        wrong = "model";
    }
    return wrong == NULL ? HM_OK
                         : find(chain, entry->sequence, error,
                                hm_textf("entry %lld: the column \"%s\" is not what its event says",
                                         (long long)entry->sequence, wrong));
}

static hm_status check_event(const hm_chain *chain, const hm_entry *entry, hm_error **error) {
    hm_auto_event event = {.host = NULL};
    hm_auto_error cause = NULL;
    hm_status status = hm_event_parse(hm_bytes_text(entry->event), &event, &cause);
    if (status == HM_OK && !entry->torn) {
        return check_columns(chain, entry, &event, error);
    }
    if (status == HM_UNDECIDED) {
        return hm_error_move(error, &cause);
    }
    return find(chain, entry->sequence, error,
                hm_textf("entry %lld holds no event: %s", (long long)entry->sequence,
                         entry->torn ? "a value is torn" : hm_error_message(cause)));
}

static hm_status check_digest(const hm_chain *chain, const hm_entry *entry, char *digest,
                              hm_error **error) {
    hm_auto_buf text = {.data = NULL};
    hm_entry_text(entry->sequence, entry->previous, hm_bytes_text(entry->event), &text);
    hm_status status = hm_buf_check(&text, error);
    if (status == HM_OK && !hm_fingerprint(hm_buf_view(&text), digest)) {
        status = hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot hash");
    }
    if (status != HM_OK || strcmp(digest, entry->digest) == 0) {
        return status;
    }
    return find(chain, entry->sequence, error,
                hm_textf("entry %lld was changed: its digest is of another content",
                         (long long)entry->sequence));
}

static hm_status check_link(const hm_chain *chain, const hm_entry *entry, hm_error **error) {
    if (strcmp(entry->previous, chain->digest) == 0) {
        return HM_OK;
    }
    return find(chain, entry->sequence, error,
                entry->sequence == 1
                    ? hm_textf("entry 1 is not the first of this ledger: it names another id")
                    : hm_textf("entry %lld does not follow on the entry before it",
                               (long long)entry->sequence));
}

/* Each damage is told once: the next entry is held against what this one is, not what it was. */
static hm_status check_entry(hm_chain *chain, const hm_entry *entry, hm_error **error) {
    char digest[HM_LEDGER_HEX] = "";
    uint8_t binary[HM_FINGERPRINT_SIZE];
    bool gap = entry->sequence != chain->sequence + 1;
    hm_status status = check_number(chain, entry->sequence, error);
    chain->entries++;
    if (entry->sequence < 1) {
        return status;
    }
    if (status == HM_OK) {
        status = check_event(chain, entry, error);
    }
    if (status == HM_OK) {
        status = check_digest(chain, entry, digest, error);
    }
    if (status == HM_OK && !gap) {
        status = check_link(chain, entry, error);
    }
    if (status == HM_OK && chain->visit != NULL) {
        status = chain->visit(chain->context, entry, digest, error);
    }
    chain->sequence = entry->sequence;
    bool told = hm_unhex(hm_bytes_text(entry->digest), binary, sizeof binary);
    memcpy(chain->digest, told ? entry->digest : digest, sizeof chain->digest);
    return status;
}

hm_status hm_chain_follow(hm_chain *chain, hm_ledger *ledger, hm_error **error) {
    hm_auto_entries page = {.list = NULL};
    hm_entry_query query = {.after = chain->sequence > 0 ? chain->sequence : INT64_MIN};
    hm_status status = HM_OK;
    do {
        status = hm_ledger_read(ledger, &query, &page, error);
        for (size_t i = 0; i < page.count && status == HM_OK; i++) {
            status = check_entry(chain, &page.list[i], error);
            query.after = page.list[i].sequence;
        }
    } while (status == HM_OK && page.count > 0);
    return status;
}
