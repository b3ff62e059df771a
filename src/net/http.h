/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net: one request over HTTPS and its answer. Knows no service: who asks says which answers are
 * worth another try. Certificates are always checked, redirects never followed, sizes and times
 * bounded. Without libcurl every request fails and says so.
 */
#ifndef HM_HTTP_H
#define HM_HTTP_H

#include "base/base.h"

enum {
    HM_HTTP_WANTED = 4,          /* headers of an answer that are kept */
    HM_HTTP_HEADER_LIMIT = 2048, /* bytes of such a header; longer ones count as missing */
};

typedef struct hm_http_response {
    unsigned status;
    hm_buf body;                  /* wiped when freed */
    char *wanted[HM_HTTP_WANTED]; /* values in the order of request->wanted; NULL: not there */
} hm_http_response;

void hm_http_response_free(hm_http_response *response);
#define hm_auto_http_response HM_CLEANUP(hm_http_response_free) hm_http_response

/* Where plain http may lead. A public key fetched over it is whoever's who sits in between. */
typedef enum hm_http_plain {
    HM_HTTP_PLAIN_LOOPBACK,   /* this machine only */
    HM_HTTP_PLAIN_LINK_LOCAL, /* and the metadata services of clouds: 169.254.0.0/16 and the like */
} hm_http_plain;

typedef struct hm_http_request {
    const char *service; /* who is asked, in messages: "AWS KMS" */
    const char *method;
    const char *url;
    const char *const *headers;         /* "Name: value", ends with NULL; may be NULL */
    hm_bytes body;                      /* data NULL: none */
    size_t limit;                       /* of the answer's body, in bytes */
    const char *wanted[HM_HTTP_WANTED]; /* names of headers to keep; NULL after the last */
    const char *ca_file; /* roots to believe in place of the usual; NULL: see hm_http_send() */
    hm_http_plain plain;
    unsigned attempts;   /* 0: 4 */
    unsigned connect_ms; /* 0: 10 s */
    unsigned attempt_ms; /* of one attempt in all; 0: 30 s */
    /* Whether an answer that is no 429 and no 5xx asks to come again later; may be NULL. */
    bool (*throttled)(const hm_http_response *response);
} hm_http_request;

/*
 * ::HM_OK for every answer, whatever its status: judging that is the caller's. ::HM_UNDECIDED when
 * there is none: no connection, no trust in the certificate, too large, too slow. Messages name the
 * service and the host, never a header, a body or what stands behind the host in a URL.
 *
 * An attempt that found nobody, or 429, 5xx or `throttled`, is made again after a growing, random
 * pause (or what Retry-After says, up to a limit), while the attempts last and no more than a
 * minute has gone by. The last answer is then the answer.
 *
 * Roots: `ca_file`, or the file in CURL_CA_BUNDLE or SSL_CERT_FILE, or the system's. Proxies: as
 * libcurl reads them from the environment, but never for plain http.
 */
HM_MUST_USE hm_status hm_http_send(const hm_http_request *request, hm_http_response *response,
                                   hm_error **error);

/* RFC 9110, 5.6.7: what a Date header says, in seconds since 1970. */
bool hm_http_date(const char *text, int64_t *time);

/* Adds a line for hm_build_info(). */
void hm_http_describe(hm_buf *out);

/* Percent-encodes all but the unreserved characters of RFC 3986, section 2.3. */
void hm_http_add_escaped(hm_buf *out, const char *text);

#endif
