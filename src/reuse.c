/* SPDX-License-Identifier: Apache-2.0 */
#include "reuse.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void hm_reuse_free(hm_reuse *reuse) {
    hm_promise_free(&reuse->promise);
    hm_state_free(&reuse->old);
    hm_state_free(&reuse->next);
    *reuse = (hm_reuse){0};
}

/* ---- the old signature and its record ------------------------------------------------------- */

/* By the key that is to sign again: whoever has it may as well vouch for the old digests. */
static hm_status believe(const hm_envelope *envelope, const char *path, const hm_signer *signer,
                         hm_error **error) {
    if (envelope->format != &hm_format_oms || envelope->oms_v020) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "%s is not an oms signature of today's form; only such can be reused", path);
    }
    const hm_signed_part *part = &envelope->parts[0];
    hm_auto_error cause = NULL;
    hm_status status =
        hm_pubkey_verify(signer->public_key, envelope->scheme, hm_buf_view(&part->message),
                         hm_buf_view(&part->signature), &cause);
    if (status != HM_REFUSED) {
        return status == HM_OK ? HM_OK : hm_error_move(error, &cause);
    }
    status = hm_fail(error, HM_REFUSED, hm_error_reason(cause),
                     "%s cannot be reused: by the key that is to sign it does not verify", path);
    hm_error_add_hint(error, "sign without --reuse, which reads the whole model");
    return status;
}

static hm_status refuse_other(const char *path, const hm_manifest *old, hm_error **error) {
    hm_status status =
        hm_fail(error, HM_USAGE, HM_REASON_NONE,
                "%s cannot be reused: it has %s digests of %s, which are not those asked for", path,
                hm_hash_name(old->hash), old->method == HM_METHOD_FILES ? "files" : "shards");
    if (old->method == HM_METHOD_SHARDS) {
        hm_error_add_hint(error, "say --hash %s --shard-size %" PRIu64 ", or sign without --reuse",
                          hm_hash_name(old->hash), old->shard_size);
    } else {
        hm_error_add_hint(error, "say --hash %s --files, or sign without --reuse",
                          hm_hash_name(old->hash));
    }
    return status;
}

static hm_status read_old(const char *path, const hm_signer *signer,
                          const hm_measure_options *measure, hm_reuse *reuse, hm_buf *file,
                          hm_error **error) {
    HM_CLEANUP(hm_envelope_free) hm_envelope envelope = {0};
    hm_status status = hm_read_file(path, HM_SIGNATURE_FILE_LIMIT, file, error);
    if (status == HM_OK) {
        status = hm_envelope_parse(hm_buf_view(file), path, &envelope, error);
    }
    if (status == HM_OK) {
        status = believe(&envelope, path, signer, error);
    }
    if (status == HM_OK) {
        status = hm_envelope_promise(&envelope, &reuse->promise, error);
    }
    const hm_manifest *old = &reuse->promise.manifest;
    if (status == HM_OK &&
        (old->hash != measure->hash || old->method != measure->method ||
         (old->method == HM_METHOD_SHARDS && old->shard_size != measure->shard_size))) {
        status = refuse_other(path, old, error);
    }
    return status;
}

/*
 * No record, or one of another signature, is what the first signing and a crash leave behind: all
 * is read. One that the key did not sign is somebody's work, and is told.
 */
static hm_status read_record(const char *signature, hm_bytes file, const hm_signer *signer,
                             hm_reuse *reuse, hm_error **error) {
    hm_auto_free char *path = hm_state_path(signature);
    hm_auto_buf text = {0};
    uint8_t digest[32];
    struct stat st;
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    if (lstat(path, &st) != 0 && errno == ENOENT) {
        reuse->doubt = "there was no record of the files' states";
        return HM_OK;
    }
    hm_status status = hm_read_file(path, HM_SIGNATURE_FILE_LIMIT, &text, error);
    if (status == HM_OK) {
        hm_auto_error cause = NULL;
        status = hm_state_parse(hm_buf_view(&text), path, signer->public_key, &reuse->old, &cause);
        if (status == HM_REFUSED) {
            status = hm_fail(error, HM_REFUSED, hm_error_reason(cause),
                             "the record %s cannot be believed: %s", path, hm_error_message(cause));
            hm_error_add_hint(error, "find out who wrote it; without it, all files are read");
        } else if (status != HM_OK) {
            status = hm_error_move(error, &cause);
        }
    }
    if (status == HM_OK) {
        status = hm_digest_bytes(HM_HASH_SHA256, file, digest, error);
    }
    if (status == HM_OK && memcmp(digest, reuse->old.signature, sizeof(digest)) != 0) {
        hm_state_free(&reuse->old);
        reuse->doubt = "the record of the files' states belongs to another signature";
    }
    return status;
}

hm_status hm_reuse_open(const char *old, const hm_signer *signer, const hm_measure_options *measure,
                        hm_reuse *reuse, hm_error **error) {
    hm_auto_buf file = {0};
    reuse->old_path = old;
    hm_status status = read_old(old, signer, measure, reuse, &file, error);
    return status == HM_OK ? read_record(old, hm_buf_view(&file), signer, reuse, error) : status;
}

/* ---- what is unchanged ---------------------------------------------------------------------- */

/* The digest that was signed of a range; sizes are in the names of shards only. */
static const hm_item *signed_item(const hm_promise *promise, const char *name, uint64_t start,
                                  uint64_t end) {
    const hm_item *item =
        hm_manifest_find(&promise->manifest, promise->single_dot ? "." : name, start);
    return item != NULL && (item->end == HM_SIZE_UNKNOWN || item->end == end) ? item : NULL;
}

/* All digests of a file, or none. */
static hm_status take_file(const hm_promise *promise, const hm_entry *entry,
                           const hm_measure_options *measure, hm_manifest *known, bool *taken,
                           hm_error **error) {
    uint64_t start = 0;
    *taken = false;
    do {
        uint64_t end = hm_range_end(entry->size, start, measure);
        if (signed_item(promise, entry->name, start, end) == NULL) {
            return HM_OK;
        }
        start = end;
    } while (start < entry->size);
    hm_status status = HM_OK;
    for (start = 0; (start < entry->size || !*taken) && status == HM_OK;) {
        uint64_t end = hm_range_end(entry->size, start, measure);
        const hm_item *item = signed_item(promise, entry->name, start, end);
        status = hm_manifest_add(known, entry->name, strlen(entry->name), start, end, item->digest,
                                 error);
        *taken = true;
        start = end;
    }
    return status;
}

/*
 * An unchanged file's state stays on record. That of a file which is about to be read is put down
 * before, if later changes are bound to show in it; reading compares once more.
 */
static hm_status look_at(hm_reuse *reuse, const hm_tree *tree, const hm_entry *entry,
                         const hm_measure_options *measure, hm_manifest *known, hm_error **error) {
    hm_auto_free char *state = hm_entry_state(entry);
    if (state == NULL) {
        return hm_fail_memory(error);
    }
    const char *recorded = hm_state_find(&reuse->old, entry->name);
    bool taken = false;
    hm_status status = HM_OK;
    if (recorded != NULL && strcmp(recorded, state) == 0 && hm_entry_settled(tree, entry, true)) {
        status = take_file(&reuse->promise, entry, measure, known, &taken, error);
    }
    if (status == HM_OK && taken) {
        reuse->files++;
        reuse->bytes += entry->size;
    }
    return status == HM_OK && (taken || hm_entry_settled(tree, entry, false))
               ? hm_state_add(&reuse->next, hm_bytes_text(entry->name), hm_bytes_text(state), error)
               : status;
}

hm_status hm_reuse_find(void *context, const hm_collection *collection,
                        const hm_measure_options *measure, hm_manifest *known, hm_error **error) {
    hm_reuse *reuse = context;
    const hm_tree *tree = &collection->tree;
    const hm_item *twice;
    known->method = measure->method;
    known->hash = measure->hash;
    known->shard_size = measure->shard_size;
    hm_status status = HM_OK;
    for (size_t i = 0; i < tree->count && status == HM_OK; i++) {
        status = look_at(reuse, tree, &tree->entries[i], measure, known, error);
    }
    (void)hm_manifest_sort(known, &twice);
    return status;
}

hm_status hm_reuse_record(hm_reuse *reuse, hm_bytes signature_file, hm_signer *signer, hm_buf *file,
                          hm_error **error) {
    hm_status status =
        hm_digest_bytes(HM_HASH_SHA256, signature_file, reuse->next.signature, error);
    return status == HM_OK ? hm_state_write(&reuse->next, signer, file, error) : status;
}
