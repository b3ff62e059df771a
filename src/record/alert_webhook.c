/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Webhooks. The receiver's address is often all that keeps others from posting there, so the body
 * is signed: HMAC-SHA256 (RFC 2104) under a secret that both have, over the time of sending, a
 * point and the body. With the time in it, a copied request is only good for as long as the
 * receiver lets it.
 */
#include "net/http.h"
#include "record/alert.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

enum { ANSWER_LIMIT = 1 << 20, HEADERS = 7 };

typedef struct headers {
    char *texts[HEADERS];
    const char *list[HEADERS + 1];
    size_t count;
} headers;

/* One of them is a password. */
static void headers_free(headers *h) {
    for (size_t i = 0; i < h->count; i++) {
        OPENSSL_cleanse(h->texts[i], strlen(h->texts[i]));
        free(h->texts[i]);
    }
}

static hm_status add(headers *h, char *text, hm_error **error) {
    if (text == NULL) {
        return hm_fail_memory(error);
    }
    h->texts[h->count] = text;
    h->list[h->count++] = text;
    return HM_OK;
}

static hm_status add_signature(headers *h, const hm_alert *alert, int64_t time, hm_error **error) {
    hm_auto_buf text = {.data = NULL};
    uint8_t digest[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    const char *secret = alert->to->secret;
    hm_buf_add_format(&text, "%lld.", (long long)time);
    hm_buf_add(&text, alert->json.data, alert->json.length);
    hm_status status = hm_buf_check(&text, error);
    if (status != HM_OK) {
        return status;
    }
    size_t length = 0;
    if (EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, secret, strlen(secret), text.data,
                  text.length, digest, sizeof digest, &length) == NULL) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "cannot sign for %s",
                              alert->to->name);
    }
    hm_hex(digest, length, hex);
    return add(h, hm_textf("Hallmark-Signature: sha256=%s", hex), error);
}

static hm_status fill(headers *h, const hm_alert *alert, hm_error **error) {
    int64_t time = hm_time_now();
    hm_status status = add(h, hm_strdup("Content-Type: application/json"), error);
    if (status == HM_OK) {
        status = add(h, hm_textf("Hallmark-Event: %s", hm_event_word(alert->event->kind)), error);
    }
    if (status == HM_OK) {
        status = add(h, hm_textf("Hallmark-Id: %s", alert->event->id), error);
    }
    if (status == HM_OK) {
        status = add(h, hm_textf("Hallmark-Timestamp: %lld", (long long)time), error);
    }
    if (status == HM_OK && alert->to->secret != NULL) {
        status = add_signature(h, alert, time, error);
    }
    if (status == HM_OK && alert->to->authorization != NULL) {
        status = add(h, hm_textf("Authorization: %s", alert->to->authorization), error);
    }
    return status;
}

/* RFC 9110, 10.2.3: seconds, or a date. */
static uint64_t asked_pause(const char *text) {
    uint64_t seconds = 0;
    int64_t date = 0;
    int64_t now = hm_time_now();
    if (text == NULL || *text == '\0') {
        return 0;
    }
    if (strspn(text, "0123456789") == strlen(text)) {
        for (; *text != '\0' && seconds < HM_ALERT_LONGEST_PAUSE; text++) {
            seconds = seconds * 10 + (uint64_t)(*text - '0');
        }
    } else if (hm_http_date(text, &date) && now >= 0 && date > now) {
        seconds = (uint64_t)(date - now);
    }
    return seconds < HM_ALERT_LONGEST_PAUSE ? seconds : HM_ALERT_LONGEST_PAUSE;
}

hm_status hm_alert_webhook(const hm_alert *alert, uint64_t *pause, hm_error **error) {
    HM_CLEANUP(headers_free) headers h = {.count = 0};
    hm_auto_http_response response = {.status = 0};
    hm_auto_free char *service = hm_textf("the webhook %s", alert->to->name);
    hm_status status = service != NULL ? fill(&h, alert, error) : hm_fail_memory(error);
    const hm_http_request request = {
        .service = service,
        .method = "POST",
        .url = alert->to->url,
        .headers = h.list,
        .body = alert->json,
        .limit = ANSWER_LIMIT,
        .wanted = {"Retry-After"},
        .ca_file = alert->to->ca_file,
        .attempts = 1, /* the outbox comes again */
        .connect_ms = alert->to->timeout_ms,
        .attempt_ms = alert->to->timeout_ms,
    };
    if (status == HM_OK) {
        status = hm_http_send(&request, &response, error);
    }
    if (status == HM_OK && response.status / 100 != 2) {
        *pause = asked_pause(response.wanted[0]);
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s answered %u", service,
                         response.status);
    }
    return status;
}
