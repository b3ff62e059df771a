/* SPDX-License-Identifier: Apache-2.0 */
/* A web identity, such as a Kubernetes service account, exchanged for credentials by AWS STS. */
#include "key/aws.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char service[] = "AWS STS";

/* ---- XML ------------------------------------------------------------------------------------ */

/*
 * The text between <NAME> and </NAME>, the first of that name. Not a reader of XML, and need not
 * be: the values wanted are plain words, and whatever else stands there is refused with them.
 */
static bool element(hm_bytes xml, const char *name, hm_bytes *text) {
    hm_auto_free char *open = hm_textf("<%s>", name);
    hm_auto_free char *close = hm_textf("</%s>", name);
    if (open == NULL || close == NULL || xml.length == 0) {
        return false;
    }
    const uint8_t *start = memmem(xml.data, xml.length, open, strlen(open));
    if (start == NULL) {
        return false;
    }
    start += strlen(open);
    const uint8_t *end =
        memmem(start, xml.length - (size_t)(start - xml.data), close, strlen(close));
    if (end == NULL) {
        return false;
    }
    *text = hm_bytes_of(start, (size_t)(end - start));
    return true;
}

static bool take(hm_bytes xml, const char *name, hm_buf *value) {
    hm_bytes text = {.data = NULL};
    if (!element(xml, name, &text) || !hm_remote_header_safe(text) ||
        memchr(text.data, '<', text.length) != NULL ||
        memchr(text.data, '&', text.length) != NULL) {
        return false;
    }
    hm_buf_add(value, text.data, text.length);
    return !value->failed;
}

hm_status hm_aws_sts_parse(hm_bytes xml, hm_aws_credentials *credentials, hm_error **error) {
    hm_bytes inside = {.data = NULL};
    if (!element(xml, "Credentials", &inside) || !take(inside, "AccessKeyId", &credentials->id) ||
        !take(inside, "SecretAccessKey", &credentials->secret) ||
        !take(inside, "SessionToken", &credentials->token)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the answer of %s holds no credentials",
                       service);
    }
    return HM_OK;
}

void hm_aws_sts_parse_error(hm_bytes xml, hm_bytes *code, hm_bytes *message) {
    *code = hm_bytes_of("", 0);
    *message = hm_bytes_of("", 0);
    (void)element(xml, "Code", code);
    (void)element(xml, "Message", message);
}

/* ---- the request ---------------------------------------------------------------------------- */

static void add_field(hm_buf *body, const char *name, const char *value) {
    hm_buf_add_format(body, "&%s=", name);
    hm_http_add_escaped(body, value);
}

static hm_status refused(const hm_http_response *response, const hm_buf *token, const char *role,
                         hm_error **error) {
    const hm_bytes secret = hm_buf_view(token);
    hm_auto_free char *action = hm_textf("let us take the role %s", role);
    hm_remote_failure failure = {.service = service, .action = action, .status = response->status};
    if (action == NULL) {
        return hm_fail_memory(error);
    }
    hm_aws_sts_parse_error(hm_buf_view(&response->body), &failure.code, &failure.message);
    hm_status status = hm_remote_fail(&failure, &secret, 1, error);
    hm_error_add_hint(error, "check AWS_ROLE_ARN, the role's trust policy and the token in "
                             "AWS_WEB_IDENTITY_TOKEN_FILE");
    return status;
}

static hm_status ask(const char *role, const hm_buf *token, const char *region,
                     hm_aws_credentials *credentials, hm_error **error) {
    static const char *const headers[] = {"Content-Type: application/x-www-form-urlencoded", NULL};
    const char *session = hm_remote_variable("AWS_ROLE_SESSION_NAME");
    hm_auto_http_response response = {.status = 0};
    hm_auto_buf body = {.data = NULL};
    hm_auto_free char *url = hm_aws_endpoint("sts", "AWS_ENDPOINT_URL_STS", region);
    hm_buf_add_text(&body, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15");
    add_field(&body, "RoleArn", role);
    add_field(&body, "RoleSessionName", session != NULL ? session : "hallmark");
    add_field(&body, "WebIdentityToken", (const char *)token->data);
    if (url == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_buf_check(&body, error);
    if (status != HM_OK) {
        return status;
    }
    hm_http_request request = {
        .service = service,
        .method = "POST",
        .url = url,
        .headers = headers,
        .body = hm_buf_view(&body),
        .limit = HM_REMOTE_ANSWER_LIMIT,
        .ca_file = hm_remote_variable("AWS_CA_BUNDLE"),
    };
    status = hm_http_send(&request, &response, error);
    if (status == HM_OK && response.status != 200) {
        status = refused(&response, token, role, error);
    }
    return status == HM_OK ? hm_aws_sts_parse(hm_buf_view(&response.body), credentials, error)
                           : status;
}

hm_status hm_aws_sts_assume(const char *role, const char *token_file, const char *region,
                            hm_aws_credentials *credentials, hm_error **error) {
    hm_auto_buf token = {.data = NULL};
    hm_status status = hm_remote_read_token(token_file, "the web identity token", &token, error);
    return status == HM_OK ? ask(role, &token, region, credentials, error) : status;
}
