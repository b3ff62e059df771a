/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and keyrings, described for people and programs. No private key is opened for it. */
#include "key/keyring.h"

#include <string.h>

/* What is told of one key. */
typedef struct described {
    const hm_keyring_entry *entry; /* NULL: of no keyring */
    hm_pubkey *key;
    const char *status;
    bool has_private;
} described;

static void described_free(described *key) {
    hm_pubkey_free(&key->key);
}

static hm_status describe_entry(const hm_keyring *ring, const hm_keyring_entry *entry, int64_t now,
                                described *key, hm_error **error) {
    key->entry = entry;
    key->status = hm_keyring_status(ring, entry, now);
    key->has_private = hm_keyring_has_private(ring, entry);
    return hm_keyring_public_key(ring, entry, &key->key, error);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void json_recorded(hm_json_writer *w, const described *key) {
    const hm_keyring_entry *entry = key->entry;
    hm_json_member_number(w, "version", entry->version);
    hm_json_member(w, "status", key->status);
    hm_keyring_print_life(w, entry);
    hm_json_member_bool(w, "private_key", key->has_private);
}

static void json_key(hm_json_writer *w, const described *key) {
    hm_json_begin_object(w);
    hm_json_member(w, "algorithm", key->key->algorithm);
    hm_json_member(w, "fingerprint", key->key->fingerprint);
    hm_json_member(w, "hint", key->key->hint);
    if (key->entry != NULL) {
        json_recorded(w, key);
    }
    hm_json_end_object(w);
}

static void json_head(hm_json_writer *w, const hm_keyring *ring, int64_t now) {
    const hm_keyring_entry *signing = hm_keyring_signing(ring, now);
    hm_json_member(w, "schema", "hallmark-keyring-list-v1");
    hm_json_member(w, "path", ring->path);
    hm_json_member(w, "signer", ring->signer);
    hm_json_name(w, "signing_version");
    if (signing != NULL && strcmp(hm_keyring_status(ring, signing, now), "signing") == 0) {
        hm_json_number(w, signing->version);
    } else {
        hm_json_null(w);
    }
    hm_json_member_number(w, "export_version", ring->exports);
    hm_json_name(w, "strays");
    hm_json_begin_array(w);
    for (size_t i = 0; i < ring->stray_count; i++) {
        hm_json_text(w, ring->strays[i]);
    }
    hm_json_end_array(w);
}

/* ---- text ----------------------------------------------------------------------------------- */

static void text_time(hm_buf *out, const char *label, int64_t time) {
    if (time != HM_TIME_ALWAYS && time != HM_TIME_NEVER) {
        hm_buf_add_format(out, "  %-13s ", label);
        hm_buf_add_time(out, time);
        hm_buf_add_byte(out, '\n');
    }
}

static void text_recorded(hm_buf *out, const described *key) {
    const hm_keyring_entry *entry = key->entry;
    text_time(out, "created", entry->created);
    text_time(out, "signs from", entry->signs_from);
    text_time(out, "not after", entry->not_after);
    if (entry->revoked) {
        text_time(out, "revoked since", entry->revoked_since);
        hm_buf_add_format(out, "  %-13s %s\n", "because", entry->reason);
    }
    hm_buf_add_format(out, "  %-13s %s\n", "private key", key->has_private ? "here" : "not here");
}

static void text_key(hm_buf *out, const described *key) {
    if (key->entry != NULL) {
        hm_buf_add_format(out, "version %llu: %s\n", (unsigned long long)key->entry->version,
                          key->status);
    }
    hm_buf_add_format(out, "  %-13s %s\n", "algorithm", key->key->algorithm);
    hm_buf_add_format(out, "  %-13s %s\n", "fingerprint", key->key->fingerprint);
    hm_buf_add_format(out, "  %-13s %s\n", "hint", key->key->hint);
    if (key->entry != NULL) {
        text_recorded(out, key);
    }
}

static void text_head(hm_buf *out, const hm_keyring *ring) {
    hm_buf_add_text(out, "keyring ");
    hm_buf_add_printable(out, hm_bytes_text(ring->path));
    hm_buf_add_format(out, " of %s", ring->signer);
    if (ring->exports > 0) {
        hm_buf_add_format(out, ", exported %llu times", (unsigned long long)ring->exports);
    }
    hm_buf_add_text(out, ring->count > 0 ? "\n" : "\n  no key yet\n");
}

static void text_strays(hm_buf *out, const hm_keyring *ring) {
    if (ring->stray_count > 0) {
        hm_buf_add_text(out, "not recorded, and never used:\n");
    }
    for (size_t i = 0; i < ring->stray_count; i++) {
        hm_buf_add_format(out, "  %s\n", ring->strays[i]);
    }
}

/* ---- public --------------------------------------------------------------------------------- */

static hm_status check_call(const char *function, const char *key, uint64_t flags, char **text,
                            hm_error **error) {
    if (key == NULL || key[0] == '\0' || text == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s: an argument is missing", function);
    }
    if ((flags & ~HM_DESCRIBE_JSON) != 0) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s: a flag has no meaning here", function);
    }
    if (hm_time_now() < 0) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the clock makes no sense");
    }
    return HM_OK;
}

static hm_status describe_all(const hm_keyring *ring, bool json, hm_buf *out, hm_error **error) {
    int64_t now = hm_time_now();
    hm_status status = HM_OK;
    hm_json_writer w = {.out = out, .indent = 2, .ascii = true};
    if (json) {
        hm_json_begin_object(&w);
        json_head(&w, ring, now);
        hm_json_name(&w, "keys");
        hm_json_begin_array(&w);
    } else {
        text_head(out, ring);
    }
    for (size_t i = 0; i < ring->count && status == HM_OK; i++) {
        HM_CLEANUP(described_free) described key = {.entry = NULL};
        status = describe_entry(ring, &ring->entries[i], now, &key, error);
        if (status == HM_OK && json) {
            json_key(&w, &key);
        } else if (status == HM_OK) {
            text_key(out, &key);
        }
    }
    if (json) {
        hm_json_end_array(&w);
        hm_json_end_object(&w);
        hm_buf_add_byte(out, '\n');
    } else {
        text_strays(out, ring);
    }
    return status;
}

hm_status hm_keyring_describe(const char *keyring, uint64_t flags, char **text, hm_error **error) {
    hm_auto_keyring ring = {.path = NULL};
    hm_auto_buf out = {.data = NULL};
    hm_status status = check_call("hm_keyring_describe", keyring, flags, text, error);
    if (status == HM_OK) {
        status = hm_keyring_load(keyring, &ring, error);
    }
    if (status == HM_OK) {
        status = describe_all(&ring, (flags & HM_DESCRIBE_JSON) != 0, &out, error);
    }
    return status == HM_OK ? hm_buf_hand_over(&out, text, error) : status;
}

static hm_status choose(const hm_keyring *ring, uint64_t version, const hm_keyring_entry **entry,
                        hm_error **error) {
    *entry =
        version != 0 ? hm_keyring_find(ring, version) : hm_keyring_signing(ring, hm_time_now());
    if (*entry == NULL && version == 0 && ring->count > 0) {
        *entry = &ring->entries[ring->count - 1];
    }
    if (*entry != NULL) {
        return HM_OK;
    }
    return ring->count == 0
               ? hm_fail(error, HM_USAGE, HM_REASON_NONE, "the keyring %s has no key yet",
                         ring->path)
               : hm_fail(error, HM_USAGE, HM_REASON_NONE, "the keyring %s has no version %llu",
                         ring->path, (unsigned long long)version);
}

static hm_status describe_one(const described *key, bool json, char **text, hm_error **error) {
    hm_auto_buf out = {.data = NULL};
    if (json) {
        hm_json_writer w = {.out = &out, .indent = 2, .ascii = true};
        json_key(&w, key);
        hm_buf_add_byte(&out, '\n');
    } else {
        text_key(&out, key);
    }
    return hm_buf_hand_over(&out, text, error);
}

hm_status hm_key_describe(const char *key, uint64_t version, uint64_t flags, char **text,
                          hm_error **error) {
    hm_auto_keyring ring = {.path = NULL};
    HM_CLEANUP(described_free) described found = {.entry = NULL};
    const hm_keyring_entry *entry = NULL;
    hm_status status = check_call("hm_key_describe", key, flags, text, error);
    if (status != HM_OK) {
        return status;
    }
    bool in_keyring = hm_is_keyring(key);
    if (!in_keyring && version != 0) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s is no keyring, and has no versions",
                       key);
    }
    status =
        in_keyring ? hm_keyring_load(key, &ring, error) : hm_pubkey_load(key, &found.key, error);
    if (status == HM_OK && in_keyring) {
        status = choose(&ring, version, &entry, error);
    }
    if (status == HM_OK && in_keyring) {
        status = describe_entry(&ring, entry, hm_time_now(), &found, error);
    }
    return status == HM_OK ? describe_one(&found, (flags & HM_DESCRIBE_JSON) != 0, text, error)
                           : status;
}
