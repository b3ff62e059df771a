/* SPDX-License-Identifier: Apache-2.0 */
/* What the key services have in common: what they cannot sign, how their refusals read. */
#ifndef HM_REMOTE_H
#define HM_REMOTE_H

#include "key/internal.h"

#include "base/json.h"
#include "net/http.h"

#define HM_REMOTE_ANSWER_LIMIT ((size_t)64 << 10) /* bytes of any answer that is read */
enum { HM_REMOTE_SECRET_LIMIT = 32 << 10 };       /* bytes of a token in a file */

/* The value of an environment variable; NULL when it is not set or empty. */
const char *hm_remote_variable(const char *name);

/*
 * Services sign digests of the key's own kind: not SHA-256 under a longer curve, not RSA-PSS with
 * the longest salt, and not Ed25519.
 */
HM_MUST_USE hm_status hm_remote_check(const char *service, const hm_pubkey *key, hm_scheme scheme,
                                      const char *what, hm_error **error);

/* A refusal by a service. Code and message are foreign, and may be empty. */
typedef struct hm_remote_failure {
    const char *service;
    const char *action; /* "sign with KEY" */
    unsigned status;
    hm_bytes code;
    hm_bytes message;
} hm_remote_failure;

/*
 * ::HM_UNDECIDED with what the service said: its code if that is a word, and the first line of its
 * message unless one of the secrets is in it (services repeat what they were sent).
 */
hm_status hm_remote_fail(const hm_remote_failure *failure, const hm_bytes *secrets, size_t count,
                         hm_error **error);

/* A JSON object; anything else is ::HM_UNDECIDED: a service that does not speak as it should. */
HM_MUST_USE hm_status hm_remote_parse(hm_bytes text, const char *service, hm_json_doc **doc,
                                      hm_error **error);
/* The same for hm_json_take_text(). */
HM_MUST_USE hm_status hm_remote_take(hm_json *object, const char *service, const char *name,
                                     hm_bytes *text, hm_error **error);
/* A member that is a text; empty when there is none. */
hm_bytes hm_remote_text(const hm_json *object, const char *name);

/* A file with one token; space around it is dropped. */
HM_MUST_USE hm_status hm_remote_read_token(const char *path, const char *what, hm_buf *token,
                                           hm_error **error);
/* Whether the bytes can stand in a header: visible ASCII. */
bool hm_remote_header_safe(hm_bytes text);
/* Only characters of `set`, and at least one. */
bool hm_remote_word(hm_bytes text, const char *set, size_t limit);

/* Headers of a request. They may hold secrets, and are wiped. */
typedef struct hm_remote_headers {
    hm_buf lines[8];
    const char *list[9];
    size_t count;
} hm_remote_headers;

/* "NAME: value". */
HM_MUST_USE hm_status hm_remote_add_header(hm_remote_headers *headers, const char *name,
                                           hm_bytes value, hm_error **error);
void hm_remote_headers_free(hm_remote_headers *headers);
#define hm_auto_headers HM_CLEANUP(hm_remote_headers_free) hm_remote_headers

#endif
