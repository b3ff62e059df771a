/* SPDX-License-Identifier: Apache-2.0 */
/* The backend for keys in AWS KMS: awskms://[ENDPOINT]/KEY, as the tools of Sigstore write it. */
#include "key/aws.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/x509.h>

static const char service[] = "AWS KMS";
static const char scheme_prefix[] = "awskms://";

enum {
    KEY_ID_LIMIT = 2048,   /* of the KMS API */
    CLOCK_TOLERANCE = 300, /* seconds that a request may be off */
};

/* Where one key is. */
typedef struct kms_key {
    char *id; /* as KMS takes it: an id, an ARN, "alias/NAME" */
    char *region;
    char *scheme; /* of the endpoint: "https" */
    char *host;   /* with the port, as in the Host header */
    char *path;
} kms_key;

static void key_free(kms_key *key) {
    free(key->id);
    free(key->region);
    free(key->scheme);
    free(key->host);
    free(key->path);
    *key = (kms_key){.id = NULL};
}

/* ---- the URI -------------------------------------------------------------------------------- */

static hm_status fail_uri(const char *uri, const char *why, hm_error **error) {
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s: %s", uri, why);
    hm_error_add_hint(error, "keys in AWS KMS are awskms:///KEY-ID, awskms:///alias/NAME, "
                             "awskms:///arn:aws:kms:REGION:ACCOUNT:key/KEY-ID, or the same with an "
                             "endpoint: awskms://HOST:PORT/KEY-ID");
    return HM_USAGE;
}

/* "1234abcd-12ab-34cd-56ef-1234567890ab", with "mrk-" in front and no hyphens for copies. */
static bool is_key_id(hm_bytes id) {
    if (id.length > 4 && memcmp(id.data, "mrk-", 4) == 0) {
        id = hm_bytes_of(id.data + 4, id.length - 4);
        return id.length == 32 && hm_remote_word(id, "0123456789abcdefABCDEF", 32);
    }
    for (size_t i = 0; i < id.length; i++) {
        bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
        if ((id.data[i] == '-') != hyphen) {
            return false;
        }
    }
    return id.length == 36 && hm_remote_word(id, "0123456789abcdefABCDEF-", 36);
}

static bool is_resource(hm_bytes resource, bool key_prefix) {
    static const char alias[] = "alias/";
    static const char key[] = "key/";
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:/_-";
    const size_t alias_length = sizeof alias - 1;
    const size_t key_length = sizeof key - 1;
    if (resource.length > alias_length && memcmp(resource.data, alias, alias_length) == 0) {
        return hm_remote_word(resource, set, 256);
    }
    if (!key_prefix) {
        return is_key_id(resource);
    }
    return resource.length > key_length && memcmp(resource.data, key, key_length) == 0 &&
           is_key_id(hm_bytes_of(resource.data + key_length, resource.length - key_length));
}

/* The part of an ARN up to the next colon; moves *at behind it. Empty when there is none. */
static hm_bytes next_part(const char **at) {
    const char *colon = strchr(*at, ':');
    hm_bytes part = hm_bytes_of(*at, colon != NULL ? (size_t)(colon - *at) : 0);
    *at = colon != NULL ? colon + 1 : *at;
    return part;
}

/* arn:PARTITION:kms:REGION:ACCOUNT:key/ID or :alias/NAME */
static hm_status read_arn(const char *uri, kms_key *key, hm_error **error) {
    const char *at = key->id;
    static const char lower[] = "abcdefghijklmnopqrstuvwxyz-";
    bool good = hm_bytes_equal_text(next_part(&at), "arn") &&
                hm_remote_word(next_part(&at), lower, 32) &&
                hm_bytes_equal_text(next_part(&at), "kms");
    hm_bytes region = next_part(&at);
    good = good && hm_remote_word(next_part(&at), "0123456789", 12) &&
           is_resource(hm_bytes_text(at), true);
    key->region = hm_strndup((const char *)region.data, region.length);
    if (key->region == NULL) {
        return hm_fail_memory(error);
    }
    return good && hm_aws_region_valid(key->region)
               ? HM_OK
               : fail_uri(uri, "that is no ARN of a key", error);
}

static hm_status read_key(const char *uri, kms_key *key, hm_error **error) {
    if (strlen(key->id) <= KEY_ID_LIMIT && strncmp(key->id, "arn:", 4) == 0) {
        return read_arn(uri, key, error);
    }
    if (!is_resource(hm_bytes_text(key->id), false)) {
        return fail_uri(uri, "that is no key in AWS KMS", error);
    }
    return hm_aws_region_find(&key->region, error);
}

/* scheme://host[:port][/path]; what else may stand in a URL has no meaning here. */
static hm_status read_endpoint(const char *url, kms_key *key, hm_error **error) {
    const char *separator = strstr(url, "://");
    if (separator == NULL || strpbrk(url, "?#@ \t\r\n\\") != NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "\"%s\" is no endpoint of AWS KMS", url);
    }
    const char *host = separator + 3;
    size_t length = strcspn(host, "/");
    const char *path = host + length;
    bool https = strncmp(url, "https:", 6) == 0;
    const char *standard = https ? ":443" : ":80";
    const size_t tail = strlen(standard);
    size_t shown = length;
    if (length > tail && memcmp(host + length - tail, standard, tail) == 0) {
        shown = length - tail; /* RFC 9110, 4.2.3: the same host */
    }
    key->scheme = hm_strndup(url, (size_t)(separator - url));
    key->host = hm_strndup(host, shown);
    key->path = hm_strdup(path[0] != '\0' ? path : "/");
    return key->scheme != NULL && key->host != NULL && key->path != NULL ? HM_OK
                                                                         : hm_fail_memory(error);
}

static hm_status read_uri(const char *uri, kms_key *key, hm_error **error) {
    const char *rest = uri + sizeof scheme_prefix - 1;
    const char *slash =
        strncmp(uri, scheme_prefix, sizeof scheme_prefix - 1) == 0 ? strchr(rest, '/') : NULL;
    hm_auto_free char *endpoint = NULL;
    if (slash == NULL || slash[1] == '\0') {
        return fail_uri(uri, "no key is named", error);
    }
    key->id = hm_strdup(slash + 1);
    if (key->id == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = read_key(uri, key, error);
    if (status != HM_OK) {
        return status;
    }
    endpoint = slash > rest ? hm_textf("https://%.*s", (int)(slash - rest), rest)
                            : hm_aws_endpoint("kms", "AWS_ENDPOINT_URL_KMS", key->region);
    return endpoint != NULL ? read_endpoint(endpoint, key, error) : hm_fail_memory(error);
}

/* ---- refusals ------------------------------------------------------------------------------- */

/* "com.amazonaws.kms#NotFoundException" -> "NotFoundException" */
static hm_bytes error_code(const hm_json *root) {
    hm_bytes code = hm_remote_text(root, "__type");
    const uint8_t *hash = code.length > 0 ? memchr(code.data, '#', code.length) : NULL;
    if (hash == NULL) {
        return code;
    }
    size_t skip = (size_t)(hash - code.data) + 1;
    return hm_bytes_of(code.data + skip, code.length - skip);
}

static bool is_one_of(hm_bytes code, const char *const *list) {
    for (; *list != NULL; list++) {
        if (hm_bytes_equal_text(code, *list)) {
            return true;
        }
    }
    return false;
}

static bool throttled(const hm_http_response *response) {
    static const char *const codes[] = {
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "RequestThrottled",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        NULL,
    };
    hm_auto_json doc = NULL;
    return response->status == 400 &&
           hm_remote_parse(hm_buf_view(&response->body), service, &doc, NULL) == HM_OK &&
           is_one_of(error_code(hm_json_root(doc)), codes);
}

/* Seconds by which this machine's clock is behind the service's; 0 within reason. */
static int64_t clock_error(const hm_http_response *response) {
    int64_t theirs = 0;
    int64_t ours = (int64_t)time(NULL);
    if (response->wanted[0] == NULL || !hm_http_date(response->wanted[0], &theirs)) {
        return 0;
    }
    int64_t off = theirs - ours;
    return off > CLOCK_TOLERANCE || off < -CLOCK_TOLERANCE ? off : 0;
}

static void hint_credentials(const hm_aws_credentials *credentials,
                             const hm_http_response *response, hm_error **error) {
    int64_t off = clock_error(response);
    if (off != 0) {
        hm_error_add_hint(error,
                          "this machine's clock is %lld s %s the service's; requests are signed "
                          "with the time, so set it",
                          (long long)(off > 0 ? off : -off), off > 0 ? "behind" : "ahead of");
    } else {
        hm_error_add_hint(error, "the credentials, from %s, are wrong or have run out",
                          credentials->source);
    }
}

static void add_hint(hm_bytes code, const kms_key *key, const hm_aws_credentials *credentials,
                     const hm_http_response *response, hm_error **error) {
    static const char *const identity[] = {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignatureException",
        "ExpiredTokenException",
        "RequestExpired",
        "MissingAuthenticationTokenException",
        "MissingAuthenticationToken",
        "InvalidAccessKeyId",
        "AuthFailure",
        "IncompleteSignature",
        NULL,
    };
    static const char *const state[] = {"DisabledException", "KMSInvalidStateException",
                                        "KeyUnavailableException", NULL};
    static const char *const kind[] = {"InvalidKeyUsageException", "UnsupportedOperationException",
                                       NULL};
    if (is_one_of(code, identity)) {
        hint_credentials(credentials, response, error);
    } else if (hm_bytes_equal_text(code, "AccessDeniedException") ||
               hm_bytes_equal_text(code, "AccessDenied")) {
        hm_error_add_hint(error,
                          "the identity, from %s, needs kms:GetPublicKey, and kms:Sign to "
                          "sign, by its own policy and the key's",
                          credentials->source);
    } else if (hm_bytes_equal_text(code, "NotFoundException")) {
        hm_error_add_hint(error, "the region asked is %s; an alias is written awskms:///alias/NAME",
                          key->region);
    } else if (is_one_of(code, state)) {
        hm_error_add_hint(error, "enable the key, or name another one");
    } else if (is_one_of(code, kind)) {
        hm_error_add_hint(error, "the key must be asymmetric, of usage SIGN_VERIFY");
    } else if (response->status == 429 || response->status >= 500 || throttled(response)) {
        hm_error_add_hint(error, "the service is overloaded or disturbed; try again later");
    } else if (response->status == 401 || response->status == 403) {
        hm_error_add_hint(error,
                          "check the credentials, from %s, and that they allow "
                          "kms:GetPublicKey, and kms:Sign to sign",
                          credentials->source);
    }
}

static hm_status refused(const kms_key *key, const char *action,
                         const hm_aws_credentials *credentials, const hm_http_response *response,
                         hm_error **error) {
    const hm_bytes secrets[] = {hm_buf_view(&credentials->secret),
                                hm_buf_view(&credentials->token)};
    hm_auto_json doc = NULL;
    hm_auto_free char *what = hm_textf("%s %s", action, key->id);
    hm_remote_failure failure = {.service = service, .action = what, .status = response->status};
    if (what == NULL) {
        return hm_fail_memory(error);
    }
    if (hm_remote_parse(hm_buf_view(&response->body), service, &doc, NULL) == HM_OK) {
        const hm_json *root = hm_json_root(doc);
        failure.code = error_code(root);
        failure.message = hm_remote_text(root, "message");
        if (failure.message.length == 0) {
            failure.message = hm_remote_text(root, "Message");
        }
    }
    hm_status status = hm_remote_fail(&failure, secrets, sizeof secrets / sizeof secrets[0], error);
    add_hint(failure.code, key, credentials, response, error);
    return status;
}

/* ---- requests ------------------------------------------------------------------------------- */

static hm_status sign_request(const kms_key *key, const char *target, hm_bytes body,
                              const hm_aws_credentials *credentials, hm_remote_headers *headers,
                              hm_error **error) {
    char date[17];
    hm_auto_buf authorization = {.data = NULL};
    int64_t now = (int64_t)time(NULL); /* never HALLMARK_TIME: the service has a clock of its own */
    if (!hm_aws_date(now, date)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the clock makes no sense");
    }
    const char *const signed_headers[][2] = {
        {"content-type", "application/x-amz-json-1.1"},
        {"host", key->host},
        {"x-amz-date", date},
        {"x-amz-target", target},
    };
    const size_t count = sizeof signed_headers / sizeof signed_headers[0];
    const hm_aws_call call = {
        .method = "POST",
        .path = key->path,
        .query = "",
        .region = key->region,
        .service = "kms",
        .time = now,
        .headers = signed_headers,
        .header_count = count,
        .body = body,
    };
    hm_status status = hm_aws_sigv4(&call, credentials, &authorization, error);
    for (size_t i = 0; i < count && status == HM_OK; i++) {
        status = hm_remote_add_header(headers, signed_headers[i][0],
                                      hm_bytes_text(signed_headers[i][1]), error);
    }
    if (status == HM_OK && credentials->token.length > 0) {
        status = hm_remote_add_header(headers, "X-Amz-Security-Token",
                                      hm_buf_view(&credentials->token), error);
    }
    return status == HM_OK
               ? hm_remote_add_header(headers, "Authorization", hm_buf_view(&authorization), error)
               : status;
}

static hm_status send(const kms_key *key, const char *target, hm_bytes body,
                      const hm_aws_credentials *credentials, hm_http_response *response,
                      hm_error **error) {
    hm_auto_headers headers = {.count = 0};
    hm_auto_free char *url = hm_textf("%s://%s%s", key->scheme, key->host, key->path);
    if (url == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = sign_request(key, target, body, credentials, &headers, error);
    if (status != HM_OK) {
        return status;
    }
    hm_http_request request = {
        .service = service,
        .method = "POST",
        .url = url,
        .headers = headers.list,
        .body = body,
        .limit = HM_REMOTE_ANSWER_LIMIT,
        .wanted = {"Date"},
        .ca_file = hm_remote_variable("AWS_CA_BUNDLE"),
        .throttled = throttled,
    };
    return hm_http_send(&request, response, error);
}

/* Credentials are looked up for each request: hashing a model may outlast the last ones. */
static hm_status call(const kms_key *key, const char *target, const char *action, hm_bytes body,
                      hm_http_response *response, hm_error **error) {
    HM_CLEANUP(hm_aws_credentials_free) hm_aws_credentials credentials = {.source = NULL};
    hm_status status = hm_aws_credentials_find(key->region, &credentials, error);
    if (status == HM_OK) {
        status = send(key, target, body, &credentials, response, error);
    }
    return status == HM_OK && response->status != 200
               ? refused(key, action, &credentials, response, error)
               : status;
}

/* ---- answers -------------------------------------------------------------------------------- */

static hm_status unbase64(hm_json *root, const char *name, hm_buf *bytes, hm_error **error) {
    hm_bytes text;
    hm_status status = hm_remote_take(root, service, name, &text, error);
    if (status != HM_OK) {
        return status;
    }
    if (text.length == 0 || !hm_unbase64(text, HM_BASE64_STANDARD, bytes)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "the answer of %s cannot be read: \"%s\" is no base64", service, name);
    }
    return hm_buf_check(bytes, error);
}

static hm_status decode_key(hm_bytes der, const char *what, hm_pubkey **key, hm_error **error) {
    const uint8_t *cursor = der.data;
    hm_auto_pkey pkey = NULL;
    hm_auto_error cause = NULL;
    if (der.length <= LONG_MAX) {
        pkey = d2i_PUBKEY(NULL, &cursor, (long)der.length);
    }
    if (pkey == NULL || cursor != der.data + der.length) {
        return hm_fail_crypto(error, HM_UNDECIDED, HM_REASON_NONE, "%s: cannot read the public key",
                              what);
    }
    /* No verdict on a model: the key that was named is of no use. */
    if (hm_pubkey_from_evp(pkey, what, key, &cause) != HM_OK) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s", hm_error_message(cause));
        hm_error_add_hint(error, "%s", hm_error_hint(cause));
        return HM_UNDECIDED;
    }
    return HM_OK;
}

hm_status hm_aws_kms_parse_key(hm_bytes json, const char *what, hm_pubkey **key, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_auto_buf der = {.data = NULL};
    hm_status status = hm_remote_parse(json, service, &doc, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json *root = hm_json_root(doc);
    if (!hm_bytes_equal_text(hm_remote_text(root, "KeyUsage"), "SIGN_VERIFY")) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "%s is not a key for signatures (its usage is not SIGN_VERIFY)", what);
    }
    status = unbase64(root, "PublicKey", &der, error);
    return status == HM_OK ? decode_key(hm_buf_view(&der), what, key, error) : status;
}

hm_status hm_aws_kms_parse_signature(hm_bytes json, hm_buf *signature, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_status status = hm_remote_parse(json, service, &doc, error);
    return status == HM_OK ? unbase64(hm_json_root(doc), "Signature", signature, error) : status;
}

/* ---- the backend ---------------------------------------------------------------------------- */

static hm_status get_public_key(const kms_key *key, const char *uri, hm_pubkey **pubkey,
                                hm_error **error) {
    hm_auto_http_response response = {.status = 0};
    hm_auto_buf body = {.data = NULL};
    hm_json_writer writer = {.out = &body};
    hm_json_begin_object(&writer);
    hm_json_member(&writer, "KeyId", key->id);
    hm_json_end_object(&writer);
    hm_status status = hm_buf_check(&body, error);
    if (status == HM_OK) {
        status = call(key, "TrentService.GetPublicKey", "give the public key of",
                      hm_buf_view(&body), &response, error);
    }
    return status == HM_OK ? hm_aws_kms_parse_key(hm_buf_view(&response.body), uri, pubkey, error)
                           : status;
}

static hm_status awskms_public_key(const char *uri, hm_pubkey **pubkey, hm_error **error) {
    HM_CLEANUP(key_free) kms_key key = {.id = NULL};
    hm_status status = read_uri(uri, &key, error);
    return status == HM_OK ? get_public_key(&key, uri, pubkey, error) : status;
}

static void state_free(kms_key **state) {
    if (*state != NULL) {
        key_free(*state);
        hm_auto_free_(state);
    }
}

static hm_status awskms_open(hm_signer *signer, const char *uri, const hm_signer_options *options,
                             hm_error **error) {
    HM_CLEANUP(state_free) kms_key *key = hm_alloc(1, sizeof *key);
    (void)options;
    if (key == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = read_uri(uri, key, error);
    if (status == HM_OK) {
        status = get_public_key(key, uri, &signer->public_key, error);
    }
    if (status == HM_OK) {
        signer->state = key;
        key = NULL;
    }
    return status;
}

static hm_status awskms_check(const hm_signer *signer, hm_scheme scheme, const char *what,
                              hm_error **error) {
    return hm_remote_check(service, signer->public_key, scheme, what, error);
}

/* KMS makes its PSS salt as long as the digest, as HM_SCHEME_BY_KEY wants it. */
static const char *algorithm_of(const hm_pubkey *key) {
    switch (key->type) {
    case HM_KEY_EC_P256: return "ECDSA_SHA_256";
    case HM_KEY_EC_P384: return "ECDSA_SHA_384";
    case HM_KEY_EC_P521: return "ECDSA_SHA_512";
    case HM_KEY_RSA: return "RSASSA_PSS_SHA_256";
    case HM_KEY_ED25519: break;
    }
    return "";
}

static void write_request(const hm_signer *signer, hm_bytes digest, hm_buf *body) {
    const kms_key *key = signer->state;
    hm_auto_buf message = {.data = NULL};
    hm_json_writer writer = {.out = body};
    hm_buf_add_base64(&message, digest);
    body->failed |= message.failed;
    hm_json_begin_object(&writer);
    hm_json_member(&writer, "KeyId", key->id);
    hm_json_name(&writer, "Message");
    hm_json_string(&writer, hm_buf_view(&message));
    hm_json_member(&writer, "MessageType", "DIGEST");
    hm_json_member(&writer, "SigningAlgorithm", algorithm_of(signer->public_key));
    hm_json_end_object(&writer);
}

static hm_status awskms_sign(hm_signer *signer, hm_scheme scheme, hm_bytes message,
                             hm_buf *signature, hm_error **error) {
    uint8_t digest[HM_DIGEST_LIMIT];
    size_t length = 0;
    hm_auto_http_response response = {.status = 0};
    hm_auto_buf body = {.data = NULL};
    hm_status status =
        hm_scheme_digest(signer->public_key, scheme, message, digest, &length, error);
    if (status != HM_OK) {
        return status;
    }
    write_request(signer, hm_bytes_of(digest, length), &body);
    status = hm_buf_check(&body, error);
    if (status == HM_OK) {
        status = call(signer->state, "TrentService.Sign", "sign with", hm_buf_view(&body),
                      &response, error);
    }
    return status == HM_OK
               ? hm_aws_kms_parse_signature(hm_buf_view(&response.body), signature, error)
               : status;
}

static void awskms_close(hm_signer *signer) {
    kms_key *key = signer->state;
    state_free(&key);
    signer->state = NULL;
}

const hm_key_backend hm_key_backend_awskms = {
    .scheme = "awskms",
    .open = awskms_open,
    .sign = awskms_sign,
    .close = awskms_close,
    .public_key = awskms_public_key,
    .check = awskms_check,
};
