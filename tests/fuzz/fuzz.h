/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share: properties that end the run when they do not hold, and signers. */
#ifndef HM_FUZZ_H
#define HM_FUZZ_H

#include "base/json.h"
#include "format/format.h"
#include "trust/trust.h"

#include "keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition) fuzz_check((condition), #condition, __FILE__, __LINE__)

static inline void fuzz_check(bool good, const char *what, const char *file, int line) {
    if (!good) {
        fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
        abort();
    }
}

/* ---- what must hold of every error and report ----------------------------------------------- */

/* C0, DEL, C1, and what turns the direction of writing around, as UTF-8 has them. */
static inline bool fuzz_steers(const unsigned char *p) {
    return *p < 0x20 || *p == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0) ||
           (p[0] == 0xe2 && p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae) ||
           (p[0] == 0xe2 && p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9);
}

/* Safe to show on a terminal; `lines`: line feeds are in order. */
static inline bool fuzz_printable(const char *text, bool lines) {
    for (const char *p = text; *p != '\0'; p++) {
        if (fuzz_steers((const unsigned char *)p) && !(lines && *p == '\n')) {
            return false;
        }
    }
    return hm_utf8_valid(hm_bytes_text(text));
}

/* Whatever the bytes, they are accepted or refused; no other outcome is theirs to cause. */
static inline void fuzz_verdict(hm_status status, hm_error **error) {
    FUZZ_CHECK(status == HM_OK || status == HM_REFUSED);
    FUZZ_CHECK((status == HM_OK) == (*error == NULL));
    if (*error != NULL) {
        FUZZ_CHECK(hm_error_status(*error) == status);
        FUZZ_CHECK(hm_error_reason(*error) != HM_REASON_NONE);
        FUZZ_CHECK(fuzz_printable(hm_error_message(*error), false));
        FUZZ_CHECK(fuzz_printable(hm_error_hint(*error), false));
    }
    hm_error_free(error);
}

/* A file of the caller's own may also be unreadable, or the wrong one. */
static inline void fuzz_outcome(hm_status status, hm_error **error) {
    FUZZ_CHECK((status == HM_OK) == (*error == NULL));
    if (*error != NULL) {
        FUZZ_CHECK(hm_error_status(*error) == status);
        FUZZ_CHECK(fuzz_printable(hm_error_message(*error), false));
        FUZZ_CHECK(fuzz_printable(hm_error_hint(*error), false));
    }
    hm_error_free(error);
}

static inline void fuzz_check_report(const hm_report *report) {
    hm_auto_error error = NULL;
    hm_auto_json doc = NULL;
    char *text = NULL;
    FUZZ_CHECK(report != NULL);
    FUZZ_CHECK(hm_report_text(report, HM_TEXT_LIST, &text, &error) == HM_OK);
    FUZZ_CHECK(fuzz_printable(text, true));
    hm_text_free(&text);
    FUZZ_CHECK(hm_report_json(report, &text, &error) == HM_OK);
    FUZZ_CHECK(hm_json_parse(hm_bytes_text(text), "report", &doc, &error) == HM_OK);
    hm_text_free(&text);
}

/* ---- what must hold of a promise ------------------------------------------------------------ */

static inline bool fuzz_leads_outside(const char *name) {
    size_t length = strlen(name);
    return name[0] == '/' || strcmp(name, "..") == 0 || strncmp(name, "../", 3) == 0 ||
           strstr(name, "/../") != NULL || (length >= 3 && strcmp(name + length - 3, "/..") == 0);
}

static inline void fuzz_check_item(const hm_promise *promise, const hm_item *item) {
    const hm_manifest *manifest = &promise->manifest;
    bool dot = strcmp(item->name, ".") == 0;
    FUZZ_CHECK(!fuzz_leads_outside(item->name));
    FUZZ_CHECK(hm_name_valid(hm_bytes_text(item->name)) || (dot && promise->single_dot));
    if (manifest->method == HM_METHOD_SHARDS) {
        FUZZ_CHECK(item->start < item->end && item->start % manifest->shard_size == 0);
        FUZZ_CHECK(item->end - item->start <= manifest->shard_size);
    } else {
        FUZZ_CHECK(item->start == 0 && item->end == HM_SIZE_UNKNOWN);
    }
}

static inline void fuzz_check_promise(const hm_promise *promise) {
    const hm_manifest *manifest = &promise->manifest;
    FUZZ_CHECK(manifest->count > 0);
    FUZZ_CHECK(manifest->method == HM_METHOD_FILES || manifest->shard_size > 0);
    for (size_t i = 0; i < manifest->count; i++) {
        fuzz_check_item(promise, &manifest->items[i]);
        FUZZ_CHECK(i == 0 || hm_item_compare(&manifest->items[i - 1], &manifest->items[i]) < 0);
        FUZZ_CHECK(!promise->single_dot ||
                   strcmp(manifest->items[i].name, manifest->items[0].name) == 0);
    }
    for (size_t i = 0; i < promise->ignore.count; i++) {
        FUZZ_CHECK(hm_name_valid(hm_bytes_text(promise->ignore.rules[i].path)));
    }
    for (size_t i = 0; i < promise->stated.count; i++) {
        hm_auto_json doc = NULL;
        hm_auto_error error = NULL;
        FUZZ_CHECK(hm_json_parse(hm_bytes_text(promise->stated.list[i].json), "stated", &doc,
                                 &error) == HM_OK);
    }
}

/* ---- keys ----------------------------------------------------------------------------------- */

static inline hm_signer *fuzz_signer(const char *pem) {
    hm_auto_error error = NULL;
    hm_auto_bio bio = BIO_new_mem_buf(pem, -1);
    hm_signer *signer = hm_alloc(1, sizeof *signer);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    FUZZ_CHECK(signer != NULL && pkey != NULL);
    signer->backend = &hm_key_backend_pem;
    signer->state = pkey;
    FUZZ_CHECK(hm_pubkey_from_evp(pkey, "key", &signer->public_key, &error) == HM_OK);
    return signer;
}

static inline hm_signer *fuzz_ec_signer(void) {
    static hm_signer *signer;
    signer = signer != NULL ? signer : fuzz_signer(ec_private_key);
    return signer;
}

static inline hm_signer *fuzz_rsa_signer(void) {
    static hm_signer *signer;
    signer = signer != NULL ? signer : fuzz_signer(rsa_private_key);
    return signer;
}

static inline STACK_OF(X509) *fuzz_roots(void) {
    STACK_OF(X509) *roots = NULL;
    hm_auto_error error = NULL;
    FUZZ_CHECK(hm_certificates_parse(hm_bytes_text(root_certificate), "root", &roots, &error) ==
               HM_OK);
    return roots;
}

static inline void fuzz_believe(hm_policy *policy, const hm_signer *signer) {
    static const hm_trusted_key always = {.not_before = HM_TIME_ALWAYS, .not_after = HM_TIME_NEVER};
    hm_auto_error error = NULL;
    hm_pubkey *key = NULL;
    FUZZ_CHECK(hm_pubkey_from_evp(signer->public_key->pkey, "key", &key, &error) == HM_OK);
    FUZZ_CHECK(hm_trusted_signer_add_key(&policy->signers[0], &key, &always, &error) == HM_OK);
}

/* Believes the keys and the root of keys.h, allows all there is to allow, in the year 2030. */
static inline const hm_policy *fuzz_policy(void) {
    static hm_policy *policy;
    hm_auto_error error = NULL;
    if (policy == NULL) {
        FUZZ_CHECK(hm_policy_new(&policy, &error) == HM_OK);
        fuzz_believe(policy, fuzz_ec_signer());
        fuzz_believe(policy, fuzz_rsa_signer());
        policy->signers[0].roots = fuzz_roots();
        policy->allow = HM_ALLOW_ALL_FLAGS & ~HM_ALLOW_EXPIRED_CERTIFICATES;
        FUZZ_CHECK(hm_policy_set_time(policy, 1900000000, &error) == HM_OK);
    }
    return policy;
}

/* Puts good signatures in the place of what stands in the envelope. */
static inline void fuzz_sign(hm_envelope *envelope, hm_signer *signer) {
    for (size_t i = 0; i < envelope->part_count; i++) {
        hm_auto_error error = NULL;
        hm_signed_part *part = &envelope->parts[i];
        hm_buf_free(&part->signature);
        FUZZ_CHECK(hm_signer_sign(signer, envelope->scheme, hm_buf_view(&part->message),
                                  &part->signature, &error) == HM_OK);
    }
}

/* ---- files ---------------------------------------------------------------------------------- */

/* These bytes as a file that only its owner can read. `path` has room for 64. -1: not to be had. */
static inline int fuzz_file(const uint8_t *data, size_t size, char *path) {
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0600) != 0 || write(fd, data, size) != (ssize_t)size) {
        hm_fd_close(&fd);
        return -1;
    }
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

#endif
