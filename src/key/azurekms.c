/* SPDX-License-Identifier: Apache-2.0 */
/* The backend for keys in Azure Key Vault: azurekms://VAULT/KEY[/VERSION], as Sigstore has it. */
#include "key/azure.h"

#include <stdlib.h>
#include <string.h>

static const char service[] = "Azure Key Vault";
static const char scheme_prefix[] = "azurekms://";
static const char api_version[] = "7.4";

enum { NAME_LIMIT = 127, VERSION_LIMIT = 64, HOST_LIMIT = 255 };

/* Where one key is. */
typedef struct vault_key {
    char *host; /* with a port, where there is one */
    char *name;
    char *version;  /* NULL: the newest, until the vault says which that is */
    char *resource; /* what tokens are asked for */
} vault_key;

static void key_free(vault_key *key) {
    free(key->host);
    free(key->name);
    free(key->version);
    free(key->resource);
    *key = (vault_key){.host = NULL};
}

/* ---- the URI -------------------------------------------------------------------------------- */

static hm_status fail_uri(const char *uri, const char *why, hm_error **error) {
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s: %s", uri, why);
    hm_error_add_hint(error, "keys in Azure Key Vault are azurekms://VAULT.vault.azure.net/KEY or "
                             "azurekms://VAULT.vault.azure.net/KEY/VERSION");
    return HM_USAGE;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text);
    size_t tail = strlen(end);
    return length > tail && strcmp(text + length - tail, end) == 0;
}

/*
 * A token is for one audience. That of the real vaults goes to their own hosts only; any other host
 * is asked with a token for itself, which is of no use to it elsewhere.
 */
static char *resource_of(const char *host) {
    static const char *const services[] = {
        "vault.azure.net",     "managedhsm.azure.net",    "vault.azure.cn",
        "managedhsm.azure.cn", "vault.usgovcloudapi.net", "managedhsm.usgovcloudapi.net",
    };
    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++) {
        size_t length = strlen(services[i]);
        if (ends_with(host, services[i]) && host[strlen(host) - length - 1] == '.') {
            return hm_textf("https://%s", services[i]);
        }
    }
    return hm_textf("https://%s", host);
}

static bool host_valid(const char *host) {
    static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    const char *colon = strchr(host, ':');
    size_t length = colon != NULL ? (size_t)(colon - host) : strlen(host);
    return hm_remote_word(hm_bytes_of(host, length), name, HOST_LIMIT) &&
           (colon == NULL || hm_remote_word(hm_bytes_text(colon + 1), "0123456789", 5)) &&
           (colon != NULL || strchr(host, '.') != NULL);
}

static bool split(const char *rest, vault_key *key) {
    const char *name = strchr(rest, '/');
    const char *version = name != NULL ? strchr(name + 1, '/') : NULL;
    if (name == NULL) {
        return false;
    }
    size_t length = version != NULL ? (size_t)(version - name - 1) : strlen(name + 1);
    key->host = hm_strndup(rest, (size_t)(name - rest));
    key->name = hm_strndup(name + 1, length);
    key->version = version != NULL && version[1] != '\0' ? hm_strdup(version + 1) : NULL;
    return true;
}

static hm_status read_uri(const char *uri, vault_key *key, hm_error **error) {
    static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
    if (strncmp(uri, scheme_prefix, sizeof scheme_prefix - 1) != 0 ||
        !split(uri + sizeof scheme_prefix - 1, key)) {
        return fail_uri(uri, "no vault and key are named", error);
    }
    if (key->host == NULL || key->name == NULL) {
        return hm_fail_memory(error);
    }
    if (!host_valid(key->host)) {
        return fail_uri(uri, "the vault is named by its host", error);
    }
    if (!hm_remote_word(hm_bytes_text(key->name), name, NAME_LIMIT) ||
        (key->version != NULL &&
         !hm_remote_word(hm_bytes_text(key->version), "0123456789abcdefABCDEF", VERSION_LIMIT))) {
        return fail_uri(uri, "that is no key of a vault", error);
    }
    key->resource = resource_of(key->host);
    return key->resource != NULL ? HM_OK : hm_fail_memory(error);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static const hm_json *member_object(const hm_json *object, const char *name) {
    const hm_json *member = object != NULL ? hm_json_get(object, name) : NULL;
    return member != NULL && member->type == HM_JSON_OBJECT ? member : NULL;
}

static void add_hint(const hm_http_response *response, hm_bytes inner, const vault_key *key,
                     const hm_azure_token *token, hm_error **error) {
    if (hm_bytes_equal_text(inner, "KeyDisabled") || hm_bytes_equal_text(inner, "KeyNotYetValid") ||
        hm_bytes_equal_text(inner, "KeyExpired")) {
        hm_error_add_hint(error, "enable the key or this version of it, or name another one");
    } else if (response->status == 401) {
        hm_error_add_hint(error,
                          "the token, by %s, is not accepted; was it asked for %s in the "
                          "vault's own tenant?",
                          token->source, key->resource);
    } else if (response->status == 403) {
        hm_error_add_hint(error,
                          "the identity, by %s, needs keys/read, and keys/sign to sign: the "
                          "role \"Key Vault Crypto User\"; the vault's firewall may refuse "
                          "as well",
                          token->source);
    } else if (response->status == 404) {
        hm_error_add_hint(error, "check the vault, the key's name and its version");
    } else if (response->status == 429 || response->status >= 500) {
        hm_error_add_hint(error, "the service is overloaded or disturbed; try again later");
    }
}

static hm_status refused(const vault_key *key, const char *action, const hm_azure_token *token,
                         const hm_http_response *response, hm_error **error) {
    const hm_bytes secret = hm_buf_view(&token->text);
    hm_auto_json doc = NULL;
    hm_bytes inner = hm_bytes_of("", 0);
    hm_auto_free char *what = hm_textf("%s %s", action, key->name);
    hm_remote_failure failure = {.service = service, .action = what, .status = response->status};
    if (what == NULL) {
        return hm_fail_memory(error);
    }
    if (hm_remote_parse(hm_buf_view(&response->body), service, &doc, NULL) == HM_OK) {
        const hm_json *body = member_object(hm_json_root(doc), "error");
        const hm_json *cause = member_object(body, "innererror");
        failure.code = body != NULL ? hm_remote_text(body, "code") : failure.code;
        failure.message = body != NULL ? hm_remote_text(body, "message") : failure.message;
        inner = cause != NULL ? hm_remote_text(cause, "code") : inner;
    }
    hm_status status = hm_remote_fail(&failure, &secret, 1, error);
    add_hint(response, inner, key, token, error);
    return status;
}

/* ---- requests ------------------------------------------------------------------------------- */

static hm_status send(const char *url, const hm_azure_token *token, hm_bytes body,
                      hm_http_response *response, hm_error **error) {
    hm_auto_headers headers = {.count = 0};
    hm_auto_buf bearer = {.data = NULL};
    hm_buf_add_text(&bearer, "Bearer ");
    hm_buf_add(&bearer, token->text.data, token->text.length);
    hm_status status = hm_buf_check(&bearer, error);
    if (status == HM_OK) {
        status = hm_remote_add_header(&headers, "Authorization", hm_buf_view(&bearer), error);
    }
    if (status == HM_OK) {
        status = hm_remote_add_header(&headers, "Content-Type", hm_bytes_text("application/json"),
                                      error);
    }
    if (status != HM_OK) {
        return status;
    }
    const hm_http_request request = {
        .service = service,
        .method = body.data != NULL ? "POST" : "GET",
        .url = url,
        .headers = headers.list,
        .body = body,
        .limit = HM_REMOTE_ANSWER_LIMIT,
    };
    return hm_http_send(&request, response, error);
}

/* The token is asked for each time: hashing a model may outlast the last one. */
static hm_status call(const vault_key *key, const char *operation, const char *action,
                      hm_bytes body, hm_http_response *response, hm_error **error) {
    HM_CLEANUP(hm_azure_token_free) hm_azure_token token = {.source = NULL};
    hm_auto_free char *url =
        hm_textf("https://%s/keys/%s%s%s%s?api-version=%s", key->host, key->name,
                 key->version != NULL ? "/" : "", key->version != NULL ? key->version : "",
                 operation, api_version);
    if (url == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_azure_token_get(key->resource, &token, error);
    if (status == HM_OK) {
        status = send(url, &token, body, response, error);
    }
    return status == HM_OK && response->status != 200
               ? refused(key, action, &token, response, error)
               : status;
}

/* ---- the backend ---------------------------------------------------------------------------- */

static hm_status get_public_key(vault_key *key, const char *uri, hm_pubkey **pubkey,
                                hm_error **error) {
    hm_auto_http_response response = {.status = 0};
    hm_auto_free char *version = NULL;
    hm_status status =
        call(key, "", "give the public key of", (hm_bytes){.data = NULL}, &response, error);
    if (status == HM_OK) {
        status =
            hm_azure_vault_parse_key(hm_buf_view(&response.body), uri, pubkey, &version, error);
    }
    if (status == HM_OK && key->version == NULL) {
        key->version = version;
        version = NULL;
    }
    return status;
}

static hm_status azurekms_public_key(const char *uri, hm_pubkey **pubkey, hm_error **error) {
    HM_CLEANUP(key_free) vault_key key = {.host = NULL};
    hm_status status = read_uri(uri, &key, error);
    return status == HM_OK ? get_public_key(&key, uri, pubkey, error) : status;
}

static void state_free(vault_key **state) {
    if (*state != NULL) {
        key_free(*state);
        hm_auto_free_(state);
    }
}

static hm_status azurekms_open(hm_signer *signer, const char *uri, const hm_signer_options *options,
                               hm_error **error) {
    HM_CLEANUP(state_free) vault_key *key = hm_alloc(1, sizeof *key);
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

static hm_status azurekms_check(const hm_signer *signer, hm_scheme scheme, const char *what,
                                hm_error **error) {
    return hm_remote_check(service, signer->public_key, scheme, what, error);
}

/* RFC 7518, 3.1. PS256 has a salt of the digest's length (3.5). */
static const char *algorithm_of(const hm_pubkey *key) {
    switch (key->type) {
    case HM_KEY_EC_P256: return "ES256";
    case HM_KEY_EC_P384: return "ES384";
    case HM_KEY_EC_P521: return "ES512";
    case HM_KEY_RSA: return "PS256";
    case HM_KEY_ED25519: break;
    }
    return "";
}

/* RFC 7515, section 2: base64url without padding. */
static void add_base64url(hm_buf *out, hm_bytes data) {
    hm_auto_buf text = {.data = NULL};
    hm_buf_add_base64(&text, data);
    out->failed |= text.failed;
    for (size_t i = 0; i < text.length && text.data[i] != '='; i++) {
        uint8_t byte = text.data[i];
        hm_buf_add_byte(out, byte == '+' ? '-' : byte == '/' ? '_' : byte);
    }
}

static void write_request(const hm_signer *signer, hm_bytes digest, hm_buf *body) {
    hm_auto_buf value = {.data = NULL};
    hm_json_writer writer = {.out = body};
    add_base64url(&value, digest);
    body->failed |= value.failed;
    hm_json_begin_object(&writer);
    hm_json_member(&writer, "alg", algorithm_of(signer->public_key));
    hm_json_name(&writer, "value");
    hm_json_string(&writer, hm_buf_view(&value));
    hm_json_end_object(&writer);
}

static hm_status azurekms_sign(hm_signer *signer, hm_scheme scheme, hm_bytes message,
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
        status = call(signer->state, "/sign", "sign with", hm_buf_view(&body), &response, error);
    }
    return status == HM_OK ? hm_azure_vault_parse_signature(hm_buf_view(&response.body),
                                                            signer->public_key, signature, error)
                           : status;
}

static void azurekms_close(hm_signer *signer) {
    vault_key *key = signer->state;
    state_free(&key);
    signer->state = NULL;
}

const hm_key_backend hm_key_backend_azurekms = {
    .scheme = "azurekms",
    .open = azurekms_open,
    .sign = azurekms_sign,
    .close = azurekms_close,
    .public_key = azurekms_public_key,
    .check = azurekms_check,
};
