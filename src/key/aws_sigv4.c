/* SPDX-License-Identifier: Apache-2.0 */
/* Signature Version 4: a request signed by a key that is derived anew for day, region, service. */
#include "key/aws.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

enum { HASH_SIZE = 32, DATE_LENGTH = 8, TIME_LENGTH = 16 };

static bool add_hash(hm_buf *out, hm_bytes data) {
    uint8_t hash[HASH_SIZE];
    if (EVP_Digest(data.data != NULL ? data.data : (const uint8_t *)"", data.length, hash, NULL,
                   EVP_sha256(), NULL) != 1) {
        return false;
    }
    hm_buf_add_hex(out, hash, sizeof hash);
    return true;
}

static bool mac(const uint8_t *key, size_t length, const char *text, size_t text_length,
                uint8_t *out) {
    return HMAC(EVP_sha256(), key, (int)length, (const uint8_t *)text, text_length, out, NULL) !=
           NULL;
}

bool hm_aws_date(int64_t seconds, char *text) {
    struct tm utc;
    time_t value = (time_t)seconds;
    return gmtime_r(&value, &utc) != NULL && utc.tm_year >= 70 && utc.tm_year < 8100 &&
           strftime(text, TIME_LENGTH + 1, "%Y%m%dT%H%M%SZ", &utc) == TIME_LENGTH;
}

/* ---- the canonical request ------------------------------------------------------------------ */

typedef struct header_list {
    const char *list[HM_AWS_HEADERS + 1][2];
    size_t count;
} header_list;

/* Inserts by name: the canonical form has headers in that order. */
static void insert(header_list *headers, const char *name, const char *value) {
    size_t at = headers->count++;
    for (; at > 0 && strcmp(headers->list[at - 1][0], name) > 0; at--) {
        headers->list[at][0] = headers->list[at - 1][0];
        headers->list[at][1] = headers->list[at - 1][1];
    }
    headers->list[at][0] = name;
    headers->list[at][1] = value;
}

static void add_names(hm_buf *out, const header_list *headers) {
    for (size_t i = 0; i < headers->count; i++) {
        hm_buf_add_text(out, i > 0 ? ";" : "");
        hm_buf_add_text(out, headers->list[i][0]);
    }
}

static bool add_canonical(hm_buf *out, const hm_aws_call *call, const header_list *headers) {
    hm_buf_add_format(out, "%s\n%s\n%s\n", call->method, call->path, call->query);
    for (size_t i = 0; i < headers->count; i++) {
        hm_buf_add_text(out, headers->list[i][0]);
        hm_buf_add_text(out, ":");
        hm_buf_add_text(out, headers->list[i][1]); /* not by a format: it may be the token */
        hm_buf_add_text(out, "\n");
    }
    hm_buf_add_text(out, "\n");
    add_names(out, headers);
    hm_buf_add_text(out, "\n");
    return add_hash(out, call->body);
}

/* ---- the signature -------------------------------------------------------------------------- */

static bool derive(const hm_aws_call *call, const hm_buf *secret, const char *time, uint8_t *key) {
    hm_auto_buf first = {.data = NULL};
    hm_buf_add_text(&first, "AWS4");
    hm_buf_add(&first, secret->data, secret->length);
    return !first.failed && mac(first.data, first.length, time, DATE_LENGTH, key) &&
           mac(key, HASH_SIZE, call->region, strlen(call->region), key) &&
           mac(key, HASH_SIZE, call->service, strlen(call->service), key) &&
           mac(key, HASH_SIZE, "aws4_request", strlen("aws4_request"), key);
}

static bool sign(const hm_aws_call *call, const hm_aws_credentials *credentials,
                 const header_list *headers, hm_buf *out) {
    char time[TIME_LENGTH + 1];
    uint8_t key[HASH_SIZE];
    hm_auto_buf scope = {.data = NULL};
    hm_auto_buf canonical = {.data = NULL};
    hm_auto_buf text = {.data = NULL};
    if (!hm_aws_date(call->time, time)) {
        return false;
    }
    hm_buf_add_format(&scope, "%.8s/%s/%s/aws4_request", time, call->region, call->service);
    if (scope.failed || !add_canonical(&canonical, call, headers) || canonical.failed) {
        return false;
    }
    hm_buf_add_format(&text, "AWS4-HMAC-SHA256\n%s\n%s\n", time, (const char *)scope.data);
    bool done = add_hash(&text, hm_buf_view(&canonical)) && !text.failed &&
                derive(call, &credentials->secret, time, key) &&
                mac(key, sizeof key, (const char *)text.data, text.length, key);
    if (done) {
        hm_buf_add_text(out, "AWS4-HMAC-SHA256 Credential=");
        hm_buf_add(out, credentials->id.data, credentials->id.length);
        hm_buf_add_format(out, "/%s, SignedHeaders=", (const char *)scope.data);
        add_names(out, headers);
        hm_buf_add_text(out, ", Signature=");
        hm_buf_add_hex(out, key, sizeof key);
    }
    OPENSSL_cleanse(key, sizeof key);
    return done;
}

hm_status hm_aws_sigv4(const hm_aws_call *call, const hm_aws_credentials *credentials,
                       hm_buf *authorization, hm_error **error) {
    header_list headers = {.count = 0};
    if (call->header_count > HM_AWS_HEADERS) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "too many headers to sign");
    }
    for (size_t i = 0; i < call->header_count; i++) {
        insert(&headers, call->headers[i][0], call->headers[i][1]);
    }
    if (credentials->token.length > 0) {
        insert(&headers, "x-amz-security-token", (const char *)credentials->token.data);
    }
    if (!sign(call, credentials, &headers, authorization)) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot sign a request to AWS");
    }
    return hm_buf_check(authorization, error);
}
