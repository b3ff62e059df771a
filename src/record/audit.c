/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ledger is held against itself, the chain, and against what others say of it: checkpoints, in it
 * and elsewhere, and what was seen of it here before. The chain finds what was changed within; only
 * the others can tell that its end, or all of it, was exchanged.
 */
#include "record/audit.h"

#include "base/dsse.h"
#include "key/keyring.h"
#include "record/ledger_seen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void hm_audit_free(hm_audit *audit) {
    for (size_t i = 0; i < audit->key_count; i++) {
        hm_pubkey_free(&audit->keys[i]);
    }
    for (size_t i = 0; i < audit->word_count; i++) {
        free(audit->words[i].who);
    }
    for (size_t i = 0; i < audit->finding_count; i++) {
        free(audit->findings[i].text);
    }
    free(audit->keys);
    free(audit->words);
    free(audit->findings);
    hm_text_list_free(&audit->warnings, audit->warning_count);
    hm_ledger_close(&audit->ledger);
    *audit = (hm_audit){.ledger = NULL};
}

/* ---- what is found -------------------------------------------------------------------------- */

static hm_status add_finding(hm_audit *audit, hm_reason reason, int64_t sequence, const char *text,
                             hm_error **error) {
    audit->findings_in_all++;
    audit->reason = audit->reason == HM_REASON_NONE ? reason : audit->reason;
    if (audit->finding_count >= HM_AUDIT_FINDINGS) {
        return HM_OK;
    }
    char *copy = hm_strdup(text);
    if (copy == NULL || !hm_grow(&audit->findings, audit->finding_count, &audit->finding_capacity,
                                 sizeof *audit->findings)) {
        free(copy);
        return hm_fail_memory(error);
    }
    audit->findings[audit->finding_count++] =
        (hm_finding_of_audit){.sequence = sequence, .text = copy};
    return HM_OK;
}

/* Takes the text over; NULL: memory. */
static hm_status find(hm_audit *audit, hm_reason reason, int64_t sequence, char *text,
                      hm_error **error) {
    hm_auto_free char *owned = text;
    return owned != NULL ? add_finding(audit, reason, sequence, owned, error)
                         : hm_fail_memory(error);
}

static hm_status find_in_chain(void *context, int64_t sequence, const char *text,
                               hm_error **error) {
    return add_finding(context, HM_REASON_DIGEST_MISMATCH, sequence, text, error);
}

static hm_status add_warning(hm_audit *audit, char *text, hm_error **error) {
    if (text == NULL || !hm_grow(&audit->warnings, audit->warning_count, &audit->warning_capacity,
                                 sizeof *audit->warnings)) {
        free(text);
        return hm_fail_memory(error);
    }
    audit->warnings[audit->warning_count++] = text;
    return HM_OK;
}

/* ---- keys ----------------------------------------------------------------------------------- */

static hm_status add_key(hm_audit *audit, hm_pubkey *key, hm_error **error) {
    if (!hm_grow(&audit->keys, audit->key_count, &audit->key_capacity, sizeof *audit->keys)) {
        hm_pubkey_free(&key);
        return hm_fail_memory(error);
    }
    audit->keys[audit->key_count++] = key;
    return HM_OK;
}

/* All versions but those that were revoked: an older one signed older checkpoints. */
static hm_status add_keyring(hm_audit *audit, const char *path, hm_error **error) {
    hm_auto_keyring ring = {.path = NULL};
    hm_status status = hm_keyring_load(path, &ring, error);
    for (size_t i = 0; i < ring.count && status == HM_OK; i++) {
        hm_pubkey *key = NULL;
        if (!ring.entries[i].revoked) {
            status = hm_keyring_public_key(&ring, &ring.entries[i], &key, error);
            status = status == HM_OK ? add_key(audit, key, error) : status;
        }
    }
    if (status == HM_OK && audit->key_count == 0) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                         "the keyring %s has no key that is "
                         "to be believed",
                         path);
    }
    return status;
}

/* The configuration names the private key; its public half may lie beside it, or be in it. */
static hm_status add_half_of(hm_audit *audit, const char *private_key, hm_error **error) {
    HM_CLEANUP(hm_signer_close) hm_signer *signer = NULL;
    hm_pubkey *key = NULL;
    size_t length = strlen(private_key);
    bool pem = length > 4 && strcmp(private_key + length - 4, ".pem") == 0;
    hm_auto_free char *beside = hm_textf("%.*s.pub", (int)(pem ? length - 4 : length), private_key);
    if (beside == NULL) {
        return hm_fail_memory(error);
    }
    if (strchr(private_key, ':') == NULL && hm_path_taken(beside)) {
        hm_status status = hm_pubkey_load(beside, &key, error);
        return status == HM_OK ? add_key(audit, key, error) : status;
    }
    if (hm_pubkey_load(private_key, &key, NULL) == HM_OK) {
        return add_key(audit, key, error);
    }
    hm_status status = hm_signer_open(private_key, NULL, &signer, error);
    if (status != HM_OK) {
        hm_error_add_hint(error, "--key names the public key of those who sign checkpoints");
        return status == HM_REFUSED ? HM_UNDECIDED : status;
    }
    status = hm_pubkey_from_evp(signer->public_key->pkey, private_key, &key, error);
    return status == HM_OK ? add_key(audit, key, error) : status;
}

static hm_status gather_keys(hm_audit *audit, const hm_config *config, const char *named,
                             hm_error **error) {
    const char *place = named != NULL ? named : config->checkpoint_key;
    hm_pubkey *key = NULL;
    if (place == NULL) {
        return HM_OK;
    }
    if (hm_is_keyring(place)) {
        return add_keyring(audit, place, error);
    }
    if (named == NULL) {
        return add_half_of(audit, place, error);
    }
    hm_status status = hm_pubkey_load(place, &key, error);
    return status == HM_OK ? add_key(audit, key, error) : status;
}

/* ---- what others say ------------------------------------------------------------------------ */

static hm_status add_word(hm_audit *audit, const char *who, const hm_checkpoint *said,
                          const hm_pubkey *key, hm_error **error) {
    char *copy = hm_strdup(who);
    if (copy == NULL ||
        !hm_grow(&audit->words, audit->word_count, &audit->word_capacity, sizeof *audit->words)) {
        free(copy);
        return hm_fail_memory(error);
    }
    hm_word *word = &audit->words[audit->word_count++];
    *word = (hm_word){.who = copy, .sequence = (int64_t)said->sequence, .time = said->time};
    word->is_signed = key != NULL;
    memcpy(word->digest, said->digest, sizeof word->digest);
    if (key != NULL) {
        memcpy(word->signer, key->fingerprint, sizeof word->signer);
    }
    return HM_OK;
}

/* Without a key to believe, it is still a word, of nobody in particular. */
static hm_status open_checkpoint(const hm_audit *audit, hm_bytes file, const char *who,
                                 hm_checkpoint *said, const hm_pubkey **key, hm_error **error) {
    hm_auto_dsse envelope = {.payload = {.data = NULL}};
    *key = NULL;
    if (audit->key_count > 0) {
        return hm_checkpoint_open(file, who, audit->keys, audit->key_count, said, key, error);
    }
    hm_status status = hm_dsse_parse(file, who, HM_CHECKPOINT_PAYLOAD_TYPE, &envelope, error);
    return status == HM_OK ? hm_checkpoint_parse(hm_buf_view(&envelope.payload), who, said, error)
                           : status;
}

static hm_status take_checkpoint(hm_audit *audit, hm_bytes file, const char *who, bool own,
                                 hm_error **error) {
    hm_auto_error cause = NULL;
    hm_checkpoint said;
    const hm_pubkey *key = NULL;
    hm_status status = open_checkpoint(audit, file, who, &said, &key, &cause);
    if (status == HM_REFUSED && own && hm_error_reason(cause) == HM_REASON_UNTRUSTED_SIGNER) {
        /* Who can write to the ledger can leave checkpoints out anyway. */
        return add_warning(audit, hm_textf("%s, and does not count", hm_error_message(cause)),
                           error);
    }
    if (status == HM_REFUSED) {
        return add_finding(audit, hm_error_reason(cause), 0, hm_error_message(cause), error);
    }
    if (status != HM_OK) {
        return hm_error_move(error, &cause);
    }
    if (strcmp(said.ledger, audit->ledger->id) != 0) {
        return find(audit, HM_REASON_ROLLBACK, 0, hm_textf("%s is of another ledger", who), error);
    }
    return add_word(audit, who, &said, key, error);
}

static hm_status take_row(void *context, const hm_bytes *values, size_t count, hm_error **error) {
    hm_audit *audit = context;
    bool whole = count == 3 && values[0].data != NULL && values[1].data != NULL;
    int64_t number = whole ? strtoll((const char *)values[0].data, NULL, 10) : 0;
    if (!whole || values[2].data == NULL || number <= audit->number) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the database gave no checkpoint");
    }
    hm_auto_free char *who = hm_textf("checkpoint %.*s in the ledger", (int)values[0].length,
                                      (const char *)values[0].data);
    size_t before = audit->word_count;
    audit->number = number;
    audit->checkpoints++;
    hm_status status =
        who != NULL ? take_checkpoint(audit, values[1], who, true, error) : hm_fail_memory(error);
    if (status != HM_OK || audit->word_count == before) {
        return status;
    }
    int64_t said = audit->words[before].sequence;
    return strtoll((const char *)values[2].data, NULL, 10) == said
               ? HM_OK
               : find(audit, HM_REASON_DIGEST_MISMATCH, said,
                      hm_textf("%s: the column \"sequence\" is not what was signed", who), error);
}

static hm_status gather_page(hm_audit *audit, hm_error **error) {
    char after[32];
    (void)snprintf(after, sizeof after, "%lld", (long long)audit->number);
    hm_sql sql = {.text = "SELECT number, envelope, sequence FROM checkpoints"
                          " WHERE number > CAST($1 AS bigint) ORDER BY number LIMIT 64",
                  .parameters = {after},
                  .row = take_row,
                  .context = audit};
    return audit->ledger->backend->run(audit->ledger, &sql, error);
}

/* Page by page like the entries: nobody could write while all their signatures are verified. */
static hm_status gather_from_ledger(hm_audit *audit, hm_error **error) {
    enum { CHECKPOINTS_SINCE_VERSION = 2 };
    uint64_t before = 0;
    hm_status status = HM_OK;
    if (audit->ledger->version < CHECKPOINTS_SINCE_VERSION) {
        return HM_OK;
    }
    audit->number = INT64_MIN;
    do {
        before = audit->checkpoints;
        status = gather_page(audit, error);
    } while (status == HM_OK && audit->checkpoints > before);
    return status;
}

static hm_status gather_from_file(hm_audit *audit, const char *path, hm_error **error) {
    hm_auto_buf file = {.data = NULL};
    hm_auto_error cause = NULL;
    hm_auto_free char *who = hm_textf("the checkpoint %s", path);
    if (who == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_read_file(path, HM_CHECKPOINT_LIMIT, &file, &cause);
    if (status == HM_REFUSED) {
        return add_finding(audit, HM_REASON_MALFORMED, 0, hm_error_message(cause), error);
    }
    return status == HM_OK ? take_checkpoint(audit, hm_buf_view(&file), who, false, error)
                           : hm_error_move(error, &cause);
}

static hm_status gather_configured(hm_audit *audit, const char *path, hm_error **error) {
    struct stat st;
    if (path == NULL) {
        return HM_OK;
    }
    return lstat(path, &st) != 0 && errno == ENOENT
               ? add_warning(audit, hm_textf("there is no checkpoint at %s yet", path), error)
               : gather_from_file(audit, path, error);
}

static hm_status gather_memory(hm_audit *audit, hm_error **error) {
    hm_ledger_seen seen;
    char *warning = NULL;
    hm_status status = hm_ledger_seen_read(audit->ledger, &seen, &warning, error);
    if (status == HM_OK && warning != NULL) {
        audit->forgetful = true;
        return add_warning(audit, warning, error);
    }
    if (status != HM_OK || seen.id[0] == '\0') {
        return status;
    }
    if (strcmp(seen.id, audit->ledger->id) != 0) {
        return find(audit, HM_REASON_ROLLBACK, 0,
                    hm_textf("another ledger, of %lld entries, was seen here before",
                             (long long)seen.sequence),
                    error);
    }
    hm_checkpoint said = {.sequence = (uint64_t)seen.sequence, .time = seen.time};
    memcpy(said.digest, seen.digest, sizeof said.digest);
    return seen.sequence > 0 ? add_word(audit, "what was seen here before", &said, NULL, error)
                             : HM_OK;
}

static int compare_words(const void *a, const void *b) {
    int64_t left = ((const hm_word *)a)->sequence;
    int64_t right = ((const hm_word *)b)->sequence;
    return left < right ? -1 : left > right;
}

static hm_status gather_words(hm_audit *audit, const hm_config *config,
                              const hm_log_verify_options *options, hm_error **error) {
    hm_status status = gather_from_ledger(audit, error);
    if (status == HM_OK) {
        status = gather_configured(audit, config->checkpoint_file, error);
    }
    if (status == HM_OK && options->checkpoint != NULL) {
        status = gather_from_file(audit, options->checkpoint, error);
    }
    if (status == HM_OK) {
        status = gather_memory(audit, error);
    }
    if (audit->word_count > 1) {
        qsort(audit->words, audit->word_count, sizeof *audit->words, compare_words);
    }
    return status;
}

/* ---- the ledger itself ---------------------------------------------------------------------- */

/* Each entry is held against all who spoke of it. Both are sorted by number. */
static hm_status visit(void *context, const hm_entry *entry, const char *digest, hm_error **error) {
    hm_audit *audit = context;
    (void)error;
    while (audit->next_word < audit->word_count &&
           audit->words[audit->next_word].sequence < entry->sequence) {
        audit->next_word++;
    }
    for (size_t i = audit->next_word;
         i < audit->word_count && audit->words[i].sequence == entry->sequence; i++) {
        audit->words[i].met = true;
        audit->words[i].differs = strcmp(audit->words[i].digest, digest) != 0;
    }
    audit->last = entry->sequence;
    memcpy(audit->digest, digest, sizeof audit->digest);
    return HM_OK;
}

static hm_status judge_word(hm_audit *audit, const hm_word *word, hm_error **error) {
    if (word->met && !word->differs) {
        audit->cover = word->is_signed ? word : audit->cover;
        return HM_OK;
    }
    if (word->met) {
        return find(audit, HM_REASON_DIGEST_MISMATCH, word->sequence,
                    hm_textf("entry %lld is not the one that %s speaks of",
                             (long long)word->sequence, word->who),
                    error);
    }
    return word->sequence > audit->last
               ? find(audit, HM_REASON_ROLLBACK, word->sequence,
                      hm_textf("the ledger ends with entry %lld; %s speaks of entry %lld",
                               (long long)audit->last, word->who, (long long)word->sequence),
                      error)
               : HM_OK; /* a gap, which was found */
}

/* Two entries of one number are seen as one when pages are read between them. */
static hm_status count_entries(hm_audit *audit, const hm_chain *chain, hm_error **error) {
    uint64_t count = 0;
    hm_status status = hm_ledger_count(audit->ledger, audit->last, &count, error);
    return status == HM_OK && count != chain->entries
               ? find(audit, HM_REASON_DIGEST_MISMATCH, 0,
                      hm_textf("%llu entries are stored, and %llu have a number of their own",
                               (unsigned long long)count, (unsigned long long)chain->entries),
                      error)
               : status;
}

static hm_status check_database(hm_audit *audit, hm_error **error) {
    hm_auto_free char *damage = NULL;
    hm_status status = audit->ledger->backend->check != NULL
                           ? audit->ledger->backend->check(audit->ledger, &damage, error)
                           : HM_OK;
    return status == HM_OK && damage != NULL
               ? find(audit, HM_REASON_MALFORMED, 0,
                      hm_textf("the database is damaged: %s", damage), error)
               : status;
}

static hm_status follow(hm_audit *audit, hm_error **error) {
    hm_chain chain = {.sequence = 0, .find = find_in_chain, .visit = visit, .context = audit};
    memcpy(chain.digest, audit->ledger->id, sizeof chain.digest);
    memcpy(audit->digest, audit->ledger->id, sizeof audit->digest);
    hm_status status = check_database(audit, error);
    if (status == HM_OK) {
        status = hm_chain_follow(&chain, audit->ledger, error);
    }
    if (status == HM_OK) {
        status = count_entries(audit, &chain, error);
    }
    for (size_t i = 0; i < audit->word_count && status == HM_OK; i++) {
        status = judge_word(audit, &audit->words[i], error);
    }
    return status;
}

static hm_status remember(hm_audit *audit, hm_error **error) {
    hm_ledger_seen seen = {.sequence = audit->last, .time = hm_time_now()};
    char *warning = NULL;
    memcpy(seen.id, audit->ledger->id, sizeof seen.id);
    memcpy(seen.digest, audit->digest, sizeof seen.digest);
    if (audit->forgetful) {
        return HM_OK;
    }
    if (seen.time < 0) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the clock makes no sense");
    }
    hm_status status = hm_ledger_seen_write(audit->ledger, &seen, &warning, error);
    return status == HM_OK && warning != NULL ? add_warning(audit, warning, error) : status;
}

hm_status hm_audit_run(hm_audit *audit, const hm_config *config,
                       const hm_log_verify_options *options, hm_error **error) {
    hm_status status = gather_keys(audit, config, options->key, error);
    if (status == HM_OK) {
        status = gather_words(audit, config, options, error);
    }
    if (status == HM_OK) {
        status = follow(audit, error);
    }
    if (status == HM_OK && audit->key_count == 0 && audit->checkpoints > 0) {
        status =
            add_warning(audit, hm_strdup("no key is named: no checkpoint was believed"), error);
    }
    return status == HM_OK && audit->findings_in_all == 0 ? remember(audit, error) : status;
}
