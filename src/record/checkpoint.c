/* SPDX-License-Identifier: Apache-2.0 */
#include "record/checkpoint.h"

#include "base/dsse.h"
#include "record/chain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char schema[] = "hallmark-checkpoint-v1";

/* ---- to bytes and back ---------------------------------------------------------------------- */

static void write_payload(const hm_checkpoint *checkpoint, hm_buf *out) {
    hm_json_writer w = {.out = out};
    hm_json_begin_object(&w);
    hm_json_member(&w, "schema", schema);
    hm_json_member(&w, "ledger", checkpoint->ledger);
    hm_json_member_number(&w, "sequence", checkpoint->sequence);
    hm_json_member(&w, "digest", checkpoint->digest);
    hm_json_member_time(&w, "time", checkpoint->time);
    hm_json_end_object(&w);
}

hm_status hm_checkpoint_write(const hm_checkpoint *checkpoint, hm_signer *signer, hm_buf *out,
                              hm_error **error) {
    hm_auto_buf payload = {.data = NULL}, message = {.data = NULL}, signature = {.data = NULL};
    write_payload(checkpoint, &payload);
    hm_status status = hm_buf_check(&payload, error);
    if (status == HM_OK) {
        hm_dsse_pae(HM_CHECKPOINT_PAYLOAD_TYPE, hm_buf_view(&payload), &message);
        status = hm_buf_check(&message, error);
    }
    if (status == HM_OK) {
        status = hm_signer_sign(signer, HM_SCHEME_BY_KEY, hm_buf_view(&message), &signature, error);
    }
    return status == HM_OK ? hm_dsse_print(HM_CHECKPOINT_PAYLOAD_TYPE, hm_buf_view(&payload),
                                           signer->public_key->fingerprint, hm_buf_view(&signature),
                                           0, out, error)
                           : status;
}

hm_status hm_checkpoint_parse(hm_bytes payload, const char *what, hm_checkpoint *checkpoint,
                              hm_error **error) {
    hm_auto_json doc = NULL;
    hm_bytes is = {.data = NULL};
    *checkpoint = (hm_checkpoint){.sequence = 0};
    hm_status status = hm_json_parse(payload, what, &doc, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json *root = hm_json_root(doc);
    status = hm_json_take_text(root, what, "schema", &is, error);
    if (status == HM_OK && !hm_bytes_equal_text(is, schema)) {
        status =
            hm_fail(error, HM_REFUSED, HM_REASON_UNSUPPORTED, "%s: its schema is not known", what);
    }
    if (status == HM_OK) {
        status =
            hm_json_take_hex(root, what, "ledger", HM_FINGERPRINT_SIZE, checkpoint->ledger, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_integer(root, what, "sequence", 1, &checkpoint->sequence, error);
    }
    if (status == HM_OK) {
        status =
            hm_json_take_hex(root, what, "digest", HM_FINGERPRINT_SIZE, checkpoint->digest, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_time(root, what, "time", HM_TIME_NEVER, &checkpoint->time, error);
    }
    return status == HM_OK ? hm_json_refuse_rest(root, what, error) : status;
}

/* `keyid` only says which refusal it is. */
static hm_status fail_signature(const hm_dsse *envelope, const char *what, hm_pubkey *const *keys,
                                size_t key_count, hm_error **error) {
    for (size_t i = 0; i < key_count; i++) {
        if (envelope->claimed_key == NULL ||
            strcmp(envelope->claimed_key, keys[i]->fingerprint) == 0) {
            return hm_fail(error, HM_REFUSED, HM_REASON_BAD_SIGNATURE,
                           "%s has no good signature by the key %s", what, keys[i]->fingerprint);
        }
    }
    return hm_fail(error, HM_REFUSED, HM_REASON_UNTRUSTED_SIGNER, "%s is by another key, %s", what,
                   envelope->claimed_key != NULL ? envelope->claimed_key
                                                 : "which it does not name");
}

static hm_status check_signature(const hm_dsse *envelope, const char *what, hm_pubkey *const *keys,
                                 size_t key_count, const hm_pubkey **key, hm_error **error) {
    hm_auto_buf message = {.data = NULL};
    hm_dsse_pae(HM_CHECKPOINT_PAYLOAD_TYPE, hm_buf_view(&envelope->payload), &message);
    hm_status status = hm_buf_check(&message, error);
    if (status != HM_OK) {
        return status;
    }
    for (size_t i = 0; i < key_count; i++) {
        hm_auto_error cause = NULL;
        status = hm_pubkey_verify(keys[i], HM_SCHEME_BY_KEY, hm_buf_view(&message),
                                  hm_buf_view(&envelope->signature), &cause);
        if (status == HM_OK) {
            *key = keys[i];
            return HM_OK;
        }
        if (status != HM_REFUSED) {
            return hm_error_move(error, &cause);
        }
    }
    return fail_signature(envelope, what, keys, key_count, error);
}

hm_status hm_checkpoint_open(hm_bytes file, const char *what, hm_pubkey *const *keys,
                             size_t key_count, hm_checkpoint *checkpoint, const hm_pubkey **key,
                             hm_error **error) {
    hm_auto_dsse envelope = {.payload = {.data = NULL}};
    hm_status status = hm_dsse_parse(file, what, HM_CHECKPOINT_PAYLOAD_TYPE, &envelope, error);
    if (status == HM_OK) {
        status = check_signature(&envelope, what, keys, key_count, key, error);
    }
    return status == HM_OK
               ? hm_checkpoint_parse(hm_buf_view(&envelope.payload), what, checkpoint, error)
               : status;
}

/* ---- the last one --------------------------------------------------------------------------- */

/* The newest that this key signed: where its word was last given. */
typedef struct hm_last {
    hm_pubkey *const *key;
    hm_checkpoint checkpoint; /* sequence 0: there is none */
} hm_last;

static hm_status take_last(void *context, const hm_bytes *values, size_t count, hm_error **error) {
    hm_last *last = context;
    hm_auto_error cause = NULL;
    hm_checkpoint found;
    const hm_pubkey *key = NULL;
    if (count != 1 || values[0].data == NULL) {
        return HM_OK;
    }
    hm_status status = hm_checkpoint_open(values[0], "a checkpoint in the ledger", last->key, 1,
                                          &found, &key, &cause);
    if (status == HM_OK && found.sequence > last->checkpoint.sequence) {
        last->checkpoint = found;
    }
    /* Others' words do not bind this key; that they are there is for `log verify` to say. */
    return status == HM_UNDECIDED ? hm_error_move(error, &cause) : HM_OK;
}

static hm_status find_in_ledger(hm_ledger *ledger, hm_last *last, hm_error **error) {
    hm_sql sql = {.text = "SELECT envelope FROM checkpoints ORDER BY number DESC LIMIT 64",
                  .row = take_last,
                  .context = last};
    return ledger->backend->run(ledger, &sql, error);
}

static hm_status find_in_file(const char *path, hm_last *last, hm_error **error) {
    hm_auto_buf file = {.data = NULL};
    hm_checkpoint found;
    const hm_pubkey *key = NULL;
    struct stat st;
    if (path == NULL || (lstat(path, &st) != 0 && errno == ENOENT)) {
        return HM_OK;
    }
    hm_status status = hm_read_file(path, HM_CHECKPOINT_LIMIT, &file, error);
    if (status == HM_OK) {
        status = hm_checkpoint_open(hm_buf_view(&file), path, last->key, 1, &found, &key, error);
        if (status == HM_REFUSED) {
            hm_error_add_hint(error, "it is not written over: move it away if it is of no use");
        }
    }
    if (status == HM_OK && found.sequence > last->checkpoint.sequence) {
        last->checkpoint = found;
    }
    return status;
}

/* ---- a new one ------------------------------------------------------------------------------ */

static hm_status refuse_damage(void *context, int64_t sequence, const char *text,
                               hm_error **error) {
    const hm_ledger *ledger = context;
    (void)sequence;
    (void)hm_fail(error, HM_REFUSED, HM_REASON_DIGEST_MISMATCH,
                  "no checkpoint is signed for %s: %s", ledger->place, text);
    hm_error_add_hint(error, "'hallmark log verify' says all that is wrong with it");
    return HM_REFUSED;
}

/* The digest of one entry as it is stored; "" when there is none. */
static hm_status find_digest(hm_ledger *ledger, uint64_t sequence, char digest[HM_LEDGER_HEX],
                             hm_error **error) {
    hm_auto_entries page = {.list = NULL};
    hm_entry_query query = {.after = (int64_t)sequence - 1};
    uint8_t binary[HM_FINGERPRINT_SIZE];
    digest[0] = '\0';
    hm_status status = hm_ledger_read(ledger, &query, &page, error);
    if (status == HM_OK && page.count > 0 && page.list[0].sequence == (int64_t)sequence &&
        hm_unhex(hm_bytes_text(page.list[0].digest), binary, sizeof binary)) {
        hm_hex(binary, sizeof binary, digest);
    }
    return status;
}

/* Where the last checkpoint stands in the chain; without one, where the ledger begins. */
static hm_status start_chain(hm_ledger *ledger, const hm_checkpoint *last, hm_chain *chain,
                             hm_error **error) {
    char digest[HM_LEDGER_HEX];
    memcpy(chain->digest, ledger->id, sizeof chain->digest);
    if (last->sequence == 0) {
        return HM_OK;
    }
    if (strcmp(last->ledger, ledger->id) != 0) {
        return refuse_damage(ledger, 0, "the last checkpoint is of another ledger", error);
    }
    hm_status status = find_digest(ledger, last->sequence, digest, error);
    if (status == HM_OK && strcmp(digest, last->digest) != 0) {
        hm_auto_free char *text =
            hm_textf("entry %llu is not the one of the last checkpoint, or is missing",
                     (unsigned long long)last->sequence);
        status = text != NULL ? refuse_damage(ledger, 0, text, error) : hm_fail_memory(error);
    }
    chain->sequence = (int64_t)last->sequence;
    memcpy(chain->digest, last->digest, sizeof chain->digest);
    return status;
}

static hm_status check_before(hm_ledger *ledger, const hm_signer *signer, const char *path,
                              hm_chain *chain, hm_error **error) {
    hm_last last = {.key = &signer->public_key};
    hm_status status = find_in_ledger(ledger, &last, error);
    if (status == HM_OK) {
        status = find_in_file(path, &last, error);
    }
    if (status == HM_OK) {
        status = start_chain(ledger, &last.checkpoint, chain, error);
    }
    return status == HM_OK ? hm_chain_follow(chain, ledger, error) : status;
}

static hm_status put_into_ledger(hm_ledger *ledger, const hm_checkpoint *made, const char *envelope,
                                 hm_error **error) {
    char sequence[32];
    (void)snprintf(sequence, sizeof sequence, "%llu", (unsigned long long)made->sequence);
    hm_sql sql = {.text = "INSERT INTO checkpoints (sequence, envelope) VALUES ($1, $2)",
                  .parameters = {sequence, envelope}};
    return ledger->backend->run(ledger, &sql, error);
}

/* Another process may have written a newer one since; that one stays. */
static hm_status put_into_file(const hm_signer *signer, const hm_checkpoint *made, const char *path,
                               hm_bytes envelope, hm_error **error) {
    hm_last last = {.key = &signer->public_key};
    hm_auto_buf line = {.data = NULL};
    hm_status status = find_in_file(path, &last, error);
    if (status != HM_OK || last.checkpoint.sequence > made->sequence) {
        return status;
    }
    hm_buf_add(&line, envelope.data, envelope.length);
    hm_buf_add_byte(&line, '\n');
    status = hm_buf_check(&line, error);
    return status == HM_OK ? hm_write_file(path, hm_buf_view(&line), 0644, HM_WRITE_REPLACE, error)
                           : status;
}

/*
 * The file is written while the ledger is held, so that of two processes the later one writes it
 * last. A file that cannot be written does not keep the checkpoint out of the ledger.
 */
static hm_status put(hm_ledger *ledger, const hm_signer *signer, const hm_checkpoint *made,
                     const hm_buf *envelope, const char *path, hm_error **error) {
    hm_auto_error unwritten = NULL;
    hm_status status = ledger->backend->begin(ledger, error);
    if (status != HM_OK) {
        return status;
    }
    status = put_into_ledger(ledger, made, (const char *)envelope->data, error);
    if (status != HM_OK) {
        ledger->backend->rollback(ledger);
        return status;
    }
    hm_status written =
        path != NULL ? put_into_file(signer, made, path, hm_buf_view(envelope), &unwritten) : HM_OK;
    status = ledger->backend->commit(ledger, error);
    return status == HM_OK && written != HM_OK ? hm_error_move(error, &unwritten) : status;
}

hm_status hm_ledger_checkpoint(hm_ledger *ledger, hm_signer *signer, const char *path,
                               hm_error **error) {
    hm_chain chain = {.sequence = 0, .find = refuse_damage, .context = ledger};
    hm_checkpoint made = {.time = hm_time_now()};
    hm_auto_buf envelope = {.data = NULL};
    if (made.time < 0) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the clock makes no sense");
    }
    hm_status status = check_before(ledger, signer, path, &chain, error);
    if (status == HM_OK && chain.sequence == 0) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                         "the ledger %s is empty: there is nothing to sign", ledger->place);
    }
    if (status == HM_OK) {
        made.sequence = (uint64_t)chain.sequence;
        memcpy(made.ledger, ledger->id, sizeof made.ledger);
        memcpy(made.digest, chain.digest, sizeof made.digest);
        status = hm_checkpoint_write(&made, signer, &envelope, error);
    }
    return status == HM_OK ? put(ledger, signer, &made, &envelope, path, error) : status;
}

static hm_status take_highest(void *context, const hm_bytes *values, size_t count,
                              hm_error **error) {
    uint64_t *highest = context;
    (void)error;
    *highest =
        count == 1 && values[0].data != NULL ? strtoull((const char *)values[0].data, NULL, 10) : 0;
    return HM_OK;
}

hm_status hm_ledger_checkpoint_due(hm_ledger *ledger, uint64_t every, bool *due, hm_error **error) {
    hm_ledger_head head;
    uint64_t highest = 0;
    hm_sql sql = {.text = "SELECT max(sequence) FROM checkpoints",
                  .row = take_highest,
                  .context = &highest};
    *due = false;
    hm_status status = hm_ledger_find_head(ledger, &head, error);
    if (status == HM_OK) {
        status = ledger->backend->run(ledger, &sql, error);
    }
    /* One beyond the end says that the end was cut off, or lies: to sign finds out which. */
    *due = status == HM_OK && head.sequence > 0 &&
           (highest > head.sequence || head.sequence - highest >= every);
    return status;
}
