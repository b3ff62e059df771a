/* SPDX-License-Identifier: Apache-2.0 */
/* Where AWS credentials and the region come from, in the order of the AWS SDKs. */
#include "key/aws.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { METADATA_CONNECT_MS = 1000, METADATA_ATTEMPT_MS = 3000 };

/* A search for credentials. */
typedef struct search {
    const char *region;
    hm_aws_credentials *credentials;
    bool found;
    hm_buf looked; /* at what in vain, for the message */
} search;

static void search_free(search *s) {
    hm_buf_free(&s->looked);
}

void hm_aws_credentials_free(hm_aws_credentials *credentials) {
    hm_buf_free(&credentials->id);
    hm_buf_free(&credentials->secret);
    hm_buf_free(&credentials->token);
    *credentials = (hm_aws_credentials){.source = NULL};
}

static void missed(search *s, const char *format, const char *detail) {
    hm_buf_add_text(&s->looked, s->looked.length > 0 ? "; " : "");
    hm_buf_add_format(&s->looked, "%s%s", format, detail);
}

/* They become parts of header lines. */
static hm_status check(search *s, const char *source, hm_error **error) {
    hm_aws_credentials *c = s->credentials;
    c->source = source;
    if (c->id.failed || c->secret.failed || c->token.failed) {
        return hm_fail_memory(error);
    }
    if (!hm_remote_header_safe(hm_buf_view(&c->id)) ||
        !hm_remote_header_safe(hm_buf_view(&c->secret)) ||
        (c->token.length > 0 && !hm_remote_header_safe(hm_buf_view(&c->token)))) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "the AWS credentials from %s are incomplete or hold odd characters", source);
    }
    s->found = true;
    return HM_OK;
}

/* ---- environment and files ------------------------------------------------------------------ */

static void add_variable(hm_buf *value, const char *name) {
    const char *text = hm_remote_variable(name);
    hm_buf_add_text(value, text != NULL ? text : "");
}

static hm_status from_environment(search *s, hm_error **error) {
    hm_aws_credentials *c = s->credentials;
    if (hm_remote_variable("AWS_ACCESS_KEY_ID") == NULL &&
        hm_remote_variable("AWS_SECRET_ACCESS_KEY") == NULL) {
        missed(s, "AWS_ACCESS_KEY_ID", " is not set");
        return HM_OK;
    }
    add_variable(&c->id, "AWS_ACCESS_KEY_ID");
    add_variable(&c->secret, "AWS_SECRET_ACCESS_KEY");
    add_variable(&c->token, "AWS_SESSION_TOKEN");
    return check(s, "the environment", error);
}

static hm_status from_web_identity(search *s, hm_error **error) {
    const char *file = hm_remote_variable("AWS_WEB_IDENTITY_TOKEN_FILE");
    const char *role = hm_remote_variable("AWS_ROLE_ARN");
    if (file == NULL) {
        missed(s, "AWS_WEB_IDENTITY_TOKEN_FILE", " is not set");
        return HM_OK;
    }
    if (role == NULL) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not");
    }
    hm_status status = hm_aws_sts_assume(role, file, s->region, s->credentials, error);
    return status == HM_OK ? check(s, "web identity", error) : status;
}

static void take(hm_buf *to, hm_buf *from) {
    *to = *from;
    *from = (hm_buf){.data = NULL};
}

static hm_status from_profile(search *s, hm_error **error) {
    HM_CLEANUP(hm_aws_profile_free) hm_aws_profile profile = {.region = NULL};
    const char *name = hm_aws_profile_name();
    hm_status status = hm_aws_profile_load(&profile, error);
    if (status != HM_OK) {
        return status;
    }
    if (profile.id.length > 0 || profile.secret.length > 0) {
        take(&s->credentials->id, &profile.id);
        take(&s->credentials->secret, &profile.secret);
        take(&s->credentials->token, &profile.token);
        return check(s, "the shared files", error);
    }
    if (profile.role_arn != NULL && profile.token_file != NULL) {
        status = hm_aws_sts_assume(profile.role_arn, profile.token_file, s->region, s->credentials,
                                   error);
        return status == HM_OK ? check(s, "web identity", error) : status;
    }
    if (profile.unsupported != NULL) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                      "the AWS profile \"%s\" gets its credentials by %s, which is not supported",
                      name, profile.unsupported);
        hm_error_add_hint(error, "`aws configure export-credentials --format env` puts them into "
                                 "the environment");
        return HM_UNDECIDED;
    }
    missed(s, "no keys in the profile ", name);
    return HM_OK;
}

/* ---- services that know the machine --------------------------------------------------------- */

static hm_status take_json(hm_json *root, const char *what, hm_aws_credentials *credentials,
                           hm_error **error) {
    hm_bytes id;
    hm_bytes secret;
    hm_bytes token = hm_remote_text(root, "Token");
    hm_status status = hm_remote_take(root, what, "AccessKeyId", &id, error);
    if (status == HM_OK) {
        status = hm_remote_take(root, what, "SecretAccessKey", &secret, error);
    }
    if (status == HM_OK) {
        hm_buf_add(&credentials->id, id.data, id.length);
        hm_buf_add(&credentials->secret, secret.data, secret.length);
        hm_buf_add(&credentials->token, token.data, token.length);
    }
    return status;
}

hm_status hm_aws_credentials_parse(hm_bytes json, const char *what, hm_aws_credentials *credentials,
                                   hm_error **error) {
    hm_auto_json doc = NULL;
    hm_status status = hm_remote_parse(json, what, &doc, error);
    return status == HM_OK ? take_json(hm_json_root(doc), what, credentials, error) : status;
}

static hm_status refused(const char *service, const char *action, const hm_http_response *response,
                         const hm_bytes *secret, hm_error **error) {
    hm_remote_failure failure = {.service = service, .action = action, .status = response->status};
    return hm_remote_fail(&failure, secret, 1, error);
}

/* AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE wins, since what it holds is renewed. */
static hm_status container_token(hm_buf *token, hm_error **error) {
    const char *file = hm_remote_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    if (file != NULL) {
        return hm_remote_read_token(file, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token, error);
    }
    add_variable(token, "AWS_CONTAINER_AUTHORIZATION_TOKEN");
    return hm_buf_check(token, error);
}

static hm_status ask_container(search *s, const char *url, hm_error **error) {
    static const char service[] = "the container's credential service";
    hm_auto_headers headers = {.count = 0};
    hm_auto_http_response response = {.status = 0};
    hm_auto_buf token = {.data = NULL};
    hm_status status = container_token(&token, error);
    if (status == HM_OK && token.length > 0) {
        status = hm_remote_add_header(&headers, "Authorization", hm_buf_view(&token), error);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_http_request request = {
        .service = service,
        .method = "GET",
        .url = url,
        .headers = headers.list,
        .limit = HM_REMOTE_ANSWER_LIMIT,
        .ca_file = hm_remote_variable("AWS_CA_BUNDLE"),
        .plain = HM_HTTP_PLAIN_LINK_LOCAL,
        .connect_ms = METADATA_CONNECT_MS,
    };
    status = hm_http_send(&request, &response, error);
    if (status == HM_OK && response.status != 200) {
        const hm_bytes secret = hm_buf_view(&token);
        status = refused(service, "give credentials", &response, &secret, error);
    }
    if (status == HM_OK) {
        status =
            hm_aws_credentials_parse(hm_buf_view(&response.body), service, s->credentials, error);
    }
    return status == HM_OK ? check(s, "the container's credential service", error) : status;
}

static hm_status from_container(search *s, hm_error **error) {
    const char *relative = hm_remote_variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = hm_remote_variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    hm_auto_free char *url = NULL;
    if (relative == NULL && full == NULL) {
        missed(s, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", " is not set");
        return HM_OK;
    }
    url = relative != NULL
              ? hm_textf("http://169.254.170.2%s%s", relative[0] == '/' ? "" : "/", relative)
              : hm_strdup(full);
    return url != NULL ? ask_container(s, url, error) : hm_fail_memory(error);
}

/* ---- EC2 instances (IMDSv2) ----------------------------------------------------------------- */

/* One talk with the instance's metadata service, by a token of its own. */
typedef struct metadata {
    const char *endpoint;
    hm_buf token;
    bool silent; /* nobody answers: this is no instance */
} metadata;

static const char metadata_service[] = "the instance metadata service";

static void metadata_free(metadata *m) {
    hm_buf_free(&m->token);
}

static const char *metadata_endpoint(void) {
    const char *endpoint = hm_remote_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    const char *mode = hm_remote_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    if (endpoint != NULL) {
        return endpoint;
    }
    return mode != NULL && strcasecmp(mode, "ipv6") == 0 ? "http://[fd00:ec2::254]"
                                                         : "http://169.254.169.254";
}

static bool metadata_disabled(void) {
    const char *disabled = hm_remote_variable("AWS_EC2_METADATA_DISABLED");
    return disabled != NULL && strcasecmp(disabled, "true") == 0;
}

static hm_status metadata_send(const metadata *m, const char *method, const char *path,
                               const hm_remote_headers *headers, hm_http_response *response,
                               hm_error **error) {
    size_t length = strlen(m->endpoint);
    bool slash = length > 0 && m->endpoint[length - 1] == '/';
    hm_auto_free char *url = hm_textf("%s%s", m->endpoint, slash ? path + 1 : path);
    if (url == NULL) {
        return hm_fail_memory(error);
    }
    hm_http_request request = {
        .service = metadata_service,
        .method = method,
        .url = url,
        .headers = headers->list,
        .limit = HM_REMOTE_ANSWER_LIMIT,
        .plain = HM_HTTP_PLAIN_LINK_LOCAL,
        .connect_ms = METADATA_CONNECT_MS,
        .attempt_ms = METADATA_ATTEMPT_MS,
        .attempts = 1,
    };
    return hm_http_send(&request, response, error);
}

static hm_status metadata_open(metadata *m, hm_error **error) {
    hm_auto_headers headers = {.count = 0};
    hm_auto_http_response response = {.status = 0};
    hm_auto_error cause = NULL;
    hm_status status = hm_remote_add_header(&headers, "X-aws-ec2-metadata-token-ttl-seconds",
                                            hm_bytes_text("300"), error);
    if (status != HM_OK) {
        return status;
    }
    m->endpoint = metadata_endpoint();
    status = metadata_send(m, "PUT", "/latest/api/token", &headers, &response, &cause);
    if (status == HM_USAGE) {
        return hm_error_move(error, &cause);
    }
    m->silent = status != HM_OK || response.status != 200 ||
                !hm_remote_header_safe(hm_buf_view(&response.body));
    if (!m->silent) {
        take(&m->token, &response.body);
    }
    return HM_OK;
}

static hm_status metadata_get(const metadata *m, const char *path, hm_http_response *response,
                              hm_error **error) {
    hm_auto_headers headers = {.count = 0};
    hm_status status =
        hm_remote_add_header(&headers, "X-aws-ec2-metadata-token", hm_buf_view(&m->token), error);
    if (status == HM_OK) {
        status = metadata_send(m, "GET", path, &headers, response, error);
    }
    if (status == HM_OK && response->status != 200) {
        const hm_bytes secret = hm_buf_view(&m->token);
        status = refused(metadata_service, "give credentials", response, &secret, error);
        hm_error_add_hint(error, "has the instance a role (an instance profile)?");
    }
    return status;
}

/* The role's name becomes part of the next path. */
static hm_status role_path(const metadata *m, char **path, hm_error **error) {
    static const char set[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+=,.@_-";
    static const char base[] = "/latest/meta-data/iam/security-credentials/";
    hm_auto_http_response response = {.status = 0};
    hm_status status = metadata_get(m, base, &response, error);
    if (status != HM_OK) {
        return status;
    }
    hm_bytes name = hm_buf_view(&response.body);
    const uint8_t *end = name.length > 0 ? memchr(name.data, '\n', name.length) : NULL;
    name.length = end != NULL ? (size_t)(end - name.data) : name.length;
    if (!hm_remote_word(name, set, 128)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "the instance metadata service names no role");
    }
    *path = hm_textf("%s%.*s", base, (int)name.length, (const char *)name.data);
    return *path != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status from_instance(search *s, hm_error **error) {
    HM_CLEANUP(metadata_free) metadata m = {.endpoint = NULL};
    hm_auto_http_response response = {.status = 0};
    hm_auto_free char *path = NULL;
    if (metadata_disabled()) {
        missed(s, "AWS_EC2_METADATA_DISABLED", " is set");
        return HM_OK;
    }
    hm_status status = metadata_open(&m, error);
    if (status == HM_OK && m.silent) {
        missed(s, "no instance metadata service answers at ", m.endpoint);
        return HM_OK;
    }
    if (status == HM_OK) {
        status = role_path(&m, &path, error);
    }
    if (status == HM_OK) {
        status = metadata_get(&m, path, &response, error);
    }
    if (status == HM_OK) {
        status = hm_aws_credentials_parse(hm_buf_view(&response.body), metadata_service,
                                          s->credentials, error);
    }
    return status == HM_OK ? check(s, "the instance metadata", error) : status;
}

/* ---- all of them ---------------------------------------------------------------------------- */

hm_status hm_aws_credentials_find(const char *region, hm_aws_credentials *credentials,
                                  hm_error **error) {
    static hm_status (*const sources[])(search *, hm_error **) = {
        from_environment, from_web_identity, from_profile, from_container, from_instance,
    };
    HM_CLEANUP(search_free) search s = {.region = region, .credentials = credentials};
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        hm_status status = sources[i](&s, error);
        if (status != HM_OK || s.found) {
            return status;
        }
    }
    hm_status status = hm_buf_check(&s.looked, error);
    if (status != HM_OK) {
        return status;
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "there are no AWS credentials: %s",
                  (const char *)s.looked.data);
    hm_error_add_hint(error, "see \"Credentials\" in docs/cloud-keys.md");
    return HM_UNDECIDED;
}

/* ---- region and endpoint -------------------------------------------------------------------- */

bool hm_aws_region_valid(const char *region) {
    return hm_remote_word(hm_bytes_text(region), "abcdefghijklmnopqrstuvwxyz0123456789-", 32);
}

static hm_status region_of_instance(char **region, hm_error **error) {
    HM_CLEANUP(metadata_free) metadata m = {.endpoint = NULL};
    hm_auto_http_response response = {.status = 0};
    if (metadata_disabled()) {
        return HM_OK;
    }
    hm_status status = metadata_open(&m, error);
    if (status != HM_OK || m.silent) {
        return status;
    }
    status = metadata_get(&m, "/latest/meta-data/placement/region", &response, error);
    if (status == HM_OK) {
        *region = hm_strndup((const char *)response.body.data, response.body.length);
        status = *region != NULL ? HM_OK : hm_fail_memory(error);
    }
    return status;
}

/* *region stays NULL when nobody names one. */
static hm_status look_for_region(char **region, hm_error **error) {
    HM_CLEANUP(hm_aws_profile_free) hm_aws_profile profile = {.region = NULL};
    const char *set = hm_remote_variable("AWS_REGION");
    set = set != NULL ? set : hm_remote_variable("AWS_DEFAULT_REGION");
    if (set != NULL) {
        *region = hm_strdup(set);
        return *region != NULL ? HM_OK : hm_fail_memory(error);
    }
    hm_status status = hm_aws_profile_load(&profile, error);
    if (status == HM_OK && profile.region != NULL) {
        *region = profile.region;
        profile.region = NULL;
        return HM_OK;
    }
    return status == HM_OK ? region_of_instance(region, error) : status;
}

hm_status hm_aws_region_find(char **region, hm_error **error) {
    hm_auto_free char *found = NULL;
    hm_status status = look_for_region(&found, error);
    if (status != HM_OK) {
        return status;
    }
    if (found == NULL) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "no AWS region is known");
        hm_error_add_hint(error, "set AWS_REGION, or name the key by its ARN");
        return HM_UNDECIDED;
    }
    if (!hm_aws_region_valid(found)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "\"%s\" is no name of an AWS region",
                       found);
    }
    *region = found;
    found = NULL;
    return HM_OK;
}

char *hm_aws_endpoint(const char *service, const char *variable, const char *region) {
    const char *set = hm_remote_variable(variable);
    const char *fips = hm_remote_variable("AWS_USE_FIPS_ENDPOINT");
    set = set != NULL ? set : hm_remote_variable("AWS_ENDPOINT_URL");
    if (set != NULL) {
        return hm_strdup(set);
    }
    return hm_textf("https://%s%s.%s.amazonaws.com%s", service,
                    fips != NULL && strcasecmp(fips, "true") == 0 ? "-fips" : "", region,
                    strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}
