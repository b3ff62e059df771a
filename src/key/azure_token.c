/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens of Entra ID, by a client's secret, a workload's own token, or a managed identity. */
#include "key/azure.h"

#include <stdlib.h>
#include <string.h>

static const char entra[] = "Microsoft Entra ID";
static const char identity_service[] = "the managed identity endpoint";

void hm_azure_token_free(hm_azure_token *token) {
    hm_buf_free(&token->text);
    *token = (hm_azure_token){.source = NULL};
}

/* ---- answers -------------------------------------------------------------------------------- */

hm_status hm_azure_token_parse(hm_bytes json, const char *service, hm_buf *token,
                               hm_error **error) {
    hm_auto_json doc = NULL;
    hm_bytes text;
    hm_status status = hm_remote_parse(json, service, &doc, error);
    if (status == HM_OK) {
        status = hm_remote_take(hm_json_root(doc), service, "access_token", &text, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (!hm_remote_header_safe(text)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "the answer of %s holds no usable token", service);
    }
    hm_buf_add(token, text.data, text.length);
    return hm_buf_check(token, error);
}

/* RFC 6749, 5.2: "error" and "error_description". */
static hm_status refused(const char *service, const hm_http_response *response, hm_bytes secret,
                         const char *hint, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_remote_failure failure = {.service = service,
                                 .action = "give a token",
                                 .status = response->status};
    if (hm_remote_parse(hm_buf_view(&response->body), service, &doc, NULL) == HM_OK) {
        failure.code = hm_remote_text(hm_json_root(doc), "error");
        failure.message = hm_remote_text(hm_json_root(doc), "error_description");
    }
    hm_status status = hm_remote_fail(&failure, &secret, 1, error);
    hm_error_add_hint(error, "%s", hint);
    return status;
}

static hm_status get_token(const hm_http_request *request, hm_bytes secret, const char *hint,
                           hm_azure_token *token, hm_error **error) {
    hm_auto_http_response response = {.status = 0};
    hm_status status = hm_http_send(request, &response, error);
    if (status == HM_OK && response.status != 200) {
        status = refused(request->service, &response, secret, hint, error);
    }
    return status == HM_OK ? hm_azure_token_parse(hm_buf_view(&response.body), request->service,
                                                  &token->text, error)
                           : status;
}

/* ---- Entra ID ------------------------------------------------------------------------------- */

static void add_field(hm_buf *body, const char *name, const char *value) {
    hm_buf_add_text(body, body->length > 0 ? "&" : "");
    hm_buf_add_text(body, name);
    hm_buf_add_text(body, "=");
    hm_http_add_escaped(body, value);
}

static char *token_url(const char *tenant) {
    const char *authority = hm_remote_variable("AZURE_AUTHORITY_HOST");
    hm_auto_buf url = {.data = NULL};
    hm_buf_add_text(&url, authority != NULL ? authority : "https://login.microsoftonline.com");
    while (url.length > 0 && url.data[url.length - 1] == '/') {
        url.length--;
    }
    hm_buf_add_text(&url, "/");
    hm_http_add_escaped(&url, tenant);
    hm_buf_add_text(&url, "/oauth2/v2.0/token");
    return hm_buf_steal_text(&url);
}

static hm_status ask_entra(const char *tenant, hm_buf *body, hm_bytes secret, const char *hint,
                           hm_azure_token *token, hm_error **error) {
    static const char *const headers[] = {"Content-Type: application/x-www-form-urlencoded", NULL};
    hm_auto_free char *url = token_url(tenant);
    hm_status status = hm_buf_check(body, error);
    if (status != HM_OK) {
        return status;
    }
    if (url == NULL) {
        return hm_fail_memory(error);
    }
    const hm_http_request request = {
        .service = entra,
        .method = "POST",
        .url = url,
        .headers = headers,
        .body = hm_buf_view(body),
        .limit = HM_REMOTE_ANSWER_LIMIT,
    };
    return get_token(&request, secret, hint, token, error);
}

static void begin(hm_buf *body, const char *resource) {
    hm_auto_buf scope = {.data = NULL};
    hm_buf_add_format(&scope, "%s/.default", resource);
    body->failed |= scope.failed;
    add_field(body, "grant_type", "client_credentials");
    add_field(body, "client_id", hm_remote_variable("AZURE_CLIENT_ID"));
    add_field(body, "scope", scope.failed ? "" : (const char *)scope.data);
}

static hm_status by_secret(const char *resource, const char *tenant, const char *secret,
                           hm_azure_token *token, hm_error **error) {
    hm_auto_buf body = {.data = NULL};
    begin(&body, resource);
    add_field(&body, "client_secret", secret);
    token->source = "AZURE_CLIENT_SECRET";
    return ask_entra(tenant, &body, hm_bytes_text(secret),
                     "check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET", token,
                     error);
}

/* RFC 7523, 2.2: the cluster's word for the workload takes the place of a secret. */
static hm_status by_assertion(const char *resource, const char *tenant, const char *file,
                              hm_azure_token *token, hm_error **error) {
    hm_auto_buf assertion = {.data = NULL};
    hm_auto_buf body = {.data = NULL};
    hm_status status = hm_remote_read_token(file, "AZURE_FEDERATED_TOKEN_FILE", &assertion, error);
    if (status != HM_OK) {
        return status;
    }
    begin(&body, resource);
    add_field(&body, "client_assertion_type",
              "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    add_field(&body, "client_assertion", (const char *)assertion.data);
    token->source = "AZURE_FEDERATED_TOKEN_FILE";
    return ask_entra(tenant, &body, hm_buf_view(&assertion),
                     "check AZURE_TENANT_ID, AZURE_CLIENT_ID and the identity's federated "
                     "credential",
                     token, error);
}

/* ---- managed identities --------------------------------------------------------------------- */

static void add_query(hm_buf *url, const char *version, const char *resource) {
    const char *client = hm_remote_variable("AZURE_CLIENT_ID");
    hm_buf_add_format(url, "?api-version=%s&resource=", version);
    hm_http_add_escaped(url, resource);
    if (client != NULL) {
        hm_buf_add_text(url, "&client_id=");
        hm_http_add_escaped(url, client);
    }
}

static hm_status ask_identity(hm_buf *url, const char *header, hm_bytes value, unsigned attempts,
                              hm_azure_token *token, hm_error **error) {
    hm_auto_headers headers = {.count = 0};
    hm_status status = hm_buf_check(url, error);
    if (status == HM_OK) {
        status = hm_remote_add_header(&headers, header, value, error);
    }
    if (status != HM_OK) {
        return status;
    }
    const hm_http_request request = {
        .service = identity_service,
        .method = "GET",
        .url = (const char *)url->data,
        .headers = headers.list,
        .limit = HM_REMOTE_ANSWER_LIMIT,
        .plain = HM_HTTP_PLAIN_LINK_LOCAL,
        .connect_ms = 1000,
        .attempts = attempts,
    };
    return get_token(&request, value,
                     "has this machine a managed identity? AZURE_CLIENT_ID names "
                     "one of several",
                     token, error);
}

/* App Service, Functions and Container Apps. */
static hm_status by_app_service(const char *resource, const char *endpoint, const char *header,
                                hm_azure_token *token, hm_error **error) {
    hm_auto_buf url = {.data = NULL};
    hm_buf_add_text(&url, endpoint);
    add_query(&url, "2019-08-01", resource);
    token->source = "IDENTITY_ENDPOINT";
    return ask_identity(&url, "X-IDENTITY-HEADER", hm_bytes_text(header), 0, token, error);
}

static hm_status by_instance(const char *resource, hm_azure_token *token, hm_error **error) {
    const char *host = hm_remote_variable("AZURE_POD_IDENTITY_AUTHORITY_HOST");
    hm_auto_buf url = {.data = NULL};
    hm_auto_error cause = NULL;
    hm_buf_add_text(&url, host != NULL ? host : "http://169.254.169.254");
    while (url.length > 0 && url.data[url.length - 1] == '/') {
        url.length--;
    }
    hm_buf_add_text(&url, "/metadata/identity/oauth2/token");
    add_query(&url, "2018-02-01", resource);
    token->source = "the instance metadata";
    hm_status status =
        ask_identity(&url, "Metadata", hm_bytes_text("true"), host != NULL ? 0 : 1, token, &cause);
    if (status == HM_OK) {
        return HM_OK;
    }
    if (status == HM_USAGE) {
        return hm_error_move(error, &cause);
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                  "there are no Azure credentials: AZURE_CLIENT_SECRET, AZURE_FEDERATED_TOKEN_FILE "
                  "and IDENTITY_ENDPOINT are not set; %s",
                  hm_error_message(cause));
    hm_error_add_hint(error, "see \"Credentials\" in docs/cloud-keys.md");
    return HM_UNDECIDED;
}

/* ---- all of them ---------------------------------------------------------------------------- */

static hm_status incomplete(const char *set, hm_error **error) {
    return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                   "%s is set, but AZURE_TENANT_ID or AZURE_CLIENT_ID is not", set);
}

hm_status hm_azure_token_get(const char *resource, hm_azure_token *token, hm_error **error) {
    const char *tenant = hm_remote_variable("AZURE_TENANT_ID");
    const char *client = hm_remote_variable("AZURE_CLIENT_ID");
    const char *secret = hm_remote_variable("AZURE_CLIENT_SECRET");
    const char *file = hm_remote_variable("AZURE_FEDERATED_TOKEN_FILE");
    const char *endpoint = hm_remote_variable("IDENTITY_ENDPOINT");
    const char *header = hm_remote_variable("IDENTITY_HEADER");
    bool named = tenant != NULL && client != NULL;
    if (secret != NULL) {
        return named ? by_secret(resource, tenant, secret, token, error)
                     : incomplete("AZURE_CLIENT_SECRET", error);
    }
    if (file != NULL) {
        return named ? by_assertion(resource, tenant, file, token, error)
                     : incomplete("AZURE_FEDERATED_TOKEN_FILE", error);
    }
    if (endpoint != NULL && header != NULL) {
        return by_app_service(resource, endpoint, header, token, error);
    }
    return by_instance(resource, token, error);
}
