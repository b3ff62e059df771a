/* SPDX-License-Identifier: Apache-2.0 */
/* One request over HTTPS, tried again where that helps. Without libcurl: an error that says so. */
#include "net/http.h"

#include <string.h>

#ifdef HM_HAVE_CURL

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>
#include <openssl/rand.h>

enum {
    DEFAULT_ATTEMPTS = 4,
    DEFAULT_CONNECT_MS = 10 * 1000,
    DEFAULT_ATTEMPT_MS = 30 * 1000,
    TOTAL_MS = 60 * 1000,
    FIRST_PAUSE_MS = 200,
    LONGEST_PAUSE_MS = 5 * 1000,
    RETRY_AFTER_MS = 20 * 1000, /* nobody makes us wait longer */
};

/* ---- libcurl -------------------------------------------------------------------------------- */

/*
 * It brings some thirty libraries along, which take longer to load than a small model to verify. So
 * it is loaded when it is needed.
 */
#define SONAME "libcurl.so.4"
#define FUNCTIONS(F)                                                                               \
    F(easy_cleanup)                                                                                \
    F(easy_getinfo)                                                                                \
    F(easy_init)                                                                                   \
    F(easy_perform)                                                                                \
    F(easy_setopt)                                                                                 \
    F(easy_strerror)                                                                               \
    F(free)                                                                                        \
    F(getdate)                                                                                     \
    F(global_init)                                                                                 \
    F(slist_append)                                                                                \
    F(slist_free_all)                                                                              \
    F(url)                                                                                         \
    F(url_cleanup)                                                                                 \
    F(url_get)                                                                                     \
    F(url_set)                                                                                     \
    F(version)

#define DECLARE(name) __typeof__(curl_##name) *(name);
static struct functions { FUNCTIONS(DECLARE) } api;
static bool api_loaded;

/* POSIX has functions and data in pointers of one size; ISO C converts none into the other. */
static bool find_function(void *library, const char *name, void *function) {
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

static void load_api(void) {
    void *library = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);
    bool complete = library != NULL;
#define FIND(name) complete = complete && find_function(library, "curl_" #name, &api.name);
    FUNCTIONS(FIND)
    api_loaded = complete && api.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

static bool is_loaded(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, load_api);
    return api_loaded;
}

/* ---- one request on its way ----------------------------------------------------------------- */

typedef struct transfer {
    const hm_http_request *request;
    hm_http_response *response;
    CURL *curl;
    struct curl_slist *headers;
    char *origin;
    char *retry_after;
    bool too_large;
    bool memory;
    char cause[CURL_ERROR_SIZE];
} transfer;

static void transfer_free(transfer *t) {
    api.easy_cleanup(t->curl);
    api.slist_free_all(t->headers);
    free(t->origin);
    free(t->retry_after);
}

static void url_free(CURLU **url) {
    api.url_cleanup(*url);
}

static void part_free(char **part) {
    api.free(*part);
}
#define auto_part HM_CLEANUP(part_free) char *

/* ---- addresses ------------------------------------------------------------------------------ */

/* 127.0.0.0/8, ::1 and the name that RFC 6761 (6.3) keeps for them. */
static bool is_loopback(const char *host) {
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return (ntohl(v4.s_addr) >> 24) == 127;
    }
    return strcasecmp(host, "localhost") == 0 ||
           (inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6));
}

/* RFC 3927, and the addresses of the fd00:ec2::/32 network that AWS keeps for its instances. */
static bool is_link_local(const char *host) {
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return (ntohl(v4.s_addr) >> 16) == 0xa9fe;
    }
    return inet_pton(AF_INET6, host, &v6) == 1 && memcmp(&v6, "\xfd\x00\x0e\xc2", 4) == 0;
}

static bool plain_allowed(const hm_http_request *request, char *host) {
    size_t length = strlen(host);
    const char *bare = host;
    if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        bare = host + 1;
    }
    return is_loopback(bare) || (request->plain == HM_HTTP_PLAIN_LINK_LOCAL && is_link_local(bare));
}

static hm_status refuse_address(const transfer *t, const char *why, hm_error **error) {
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s cannot be asked at %s: %s",
                  t->request->service, t->origin, why);
    hm_error_add_hint(error, "check the key's URI and the variables that set the endpoint");
    return HM_USAGE;
}

/* Sets `plain` for an http address. */
static hm_status check_address(const transfer *t, bool *plain, hm_error **error) {
    HM_CLEANUP(url_free) CURLU *url = api.url();
    auto_part scheme = NULL;
    auto_part host = NULL;
    auto_part user = NULL;
    if (url == NULL) {
        return hm_fail_memory(error);
    }
    if (api.url_set(url, CURLUPART_URL, t->request->url, 0) != CURLUE_OK ||
        api.url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK) {
        return refuse_address(t, "that is no address", error);
    }
    *plain = strcmp(scheme, "http") == 0;
    if (!*plain && strcmp(scheme, "https") != 0) {
        return refuse_address(t, "it must begin with https://", error);
    }
    if (api.url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        return refuse_address(t, "it names no host", error);
    }
    /* A name and password would go to whoever answers, and into logs. */
    if (api.url_get(url, CURLUPART_USER, &user, 0) == CURLUE_OK) {
        return refuse_address(t, "an address with a user name is not taken", error);
    }
    if (*plain && !plain_allowed(t->request, host)) {
        return refuse_address(t, "plain http is only for this machine; use https://", error);
    }
    return HM_OK;
}

/* "scheme://host:port", for messages: what stands behind may be a secret. */
static char *origin_of(const char *address) {
    HM_CLEANUP(url_free) CURLU *url = api.url();
    auto_part scheme = NULL;
    auto_part host = NULL;
    auto_part port = NULL;
    if (url == NULL || api.url_set(url, CURLUPART_URL, address, 0) != CURLUE_OK ||
        api.url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        api.url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        return hm_strdup("an unreadable address");
    }
    (void)api.url_get(url, CURLUPART_PORT, &port, 0);
    return hm_textf("%s://%s%s%s", scheme, host, port != NULL ? ":" : "", port != NULL ? port : "");
}

/* ---- what comes back ------------------------------------------------------------------------ */

static size_t take_body(char *data, size_t size, size_t count, void *context) {
    transfer *t = context;
    size_t length = size * count; /* libcurl: size is 1 */
    hm_buf *body = &t->response->body;
    if (length > t->request->limit - body->length) {
        t->too_large = true;
        return 0;
    }
    hm_buf_add(body, data, length);
    t->memory = body->failed;
    return body->failed ? 0 : length;
}

/* The value of a header line of that name, without the space around it; NULL: another header. */
static char *header_value(const char *line, size_t length, const char *name) {
    size_t start = strlen(name);
    if (length <= start || strncasecmp(line, name, start) != 0 || line[start] != ':') {
        return NULL;
    }
    start++;
    while (start < length && (line[start] == ' ' || line[start] == '\t')) {
        start++;
    }
    while (length > start && strchr(" \t\r\n", line[length - 1]) != NULL) {
        length--;
    }
    return length - start <= HM_HTTP_HEADER_LIMIT ? hm_strndup(line + start, length - start) : NULL;
}

static void keep(char **place, const char *line, size_t length, const char *name) {
    char *value = header_value(line, length, name);
    if (value != NULL) {
        free(*place);
        *place = value;
    }
}

static void forget_headers(transfer *t) {
    for (size_t i = 0; i < HM_HTTP_WANTED; i++) {
        free(t->response->wanted[i]);
        t->response->wanted[i] = NULL;
    }
    free(t->retry_after);
    t->retry_after = NULL;
}

static size_t take_header(char *line, size_t size, size_t count, void *context) {
    transfer *t = context;
    size_t length = size * count;
    /* A proxy's answer and "100 Continue" come before the one that counts. */
    if (length >= 5 && strncasecmp(line, "HTTP/", 5) == 0) {
        forget_headers(t);
    }
    for (size_t i = 0; i < HM_HTTP_WANTED && t->request->wanted[i] != NULL; i++) {
        keep(&t->response->wanted[i], line, length, t->request->wanted[i]);
    }
    keep(&t->retry_after, line, length, "Retry-After");
    return length;
}

void hm_http_response_free(hm_http_response *response) {
    for (size_t i = 0; i < HM_HTTP_WANTED; i++) {
        free(response->wanted[i]);
    }
    hm_buf_free(&response->body);
    *response = (hm_http_response){.status = 0};
}

/* ---- what goes out -------------------------------------------------------------------------- */

#define SET(option, value) (api.easy_setopt(t->curl, (option), (value)) == CURLE_OK)

static bool set_protocols(const transfer *t, bool plain) {
#if LIBCURL_VERSION_NUM >= 0x075500
    return SET(CURLOPT_PROTOCOLS_STR, plain ? "http" : "https");
#else
    return SET(CURLOPT_PROTOCOLS, plain ? (long)CURLPROTO_HTTP : (long)CURLPROTO_HTTPS);
#endif
}

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/*
 * Roots that somebody names are all that is believed: they are named to believe fewer. libcurl
 * itself does not read these variables, the curl command and OpenSSL do.
 */
static bool set_roots(const transfer *t) {
    const char *file = t->request->ca_file;
    if (file == NULL) {
        file = variable("CURL_CA_BUNDLE");
    }
    if (file == NULL) {
        file = variable("SSL_CERT_FILE");
    }
    return SET(CURLOPT_SSL_VERIFYPEER, 1L) && SET(CURLOPT_SSL_VERIFYHOST, 2L) &&
           SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
           (file == NULL || (SET(CURLOPT_CAINFO, file) && SET(CURLOPT_CAPATH, NULL)));
}

static bool set_times(const transfer *t) {
    const hm_http_request *request = t->request;
    long connect = request->connect_ms > 0 ? (long)request->connect_ms : DEFAULT_CONNECT_MS;
    long all = request->attempt_ms > 0 ? (long)request->attempt_ms : DEFAULT_ATTEMPT_MS;
    return SET(CURLOPT_CONNECTTIMEOUT_MS, connect) && SET(CURLOPT_TIMEOUT_MS, all) &&
           SET(CURLOPT_NOSIGNAL, 1L);
}

static bool add_header(transfer *t, const char *header) {
    struct curl_slist *longer = api.slist_append(t->headers, header);
    t->headers = longer != NULL ? longer : t->headers;
    return longer != NULL;
}

static bool set_headers(transfer *t) {
    for (size_t i = 0; t->request->headers != NULL && t->request->headers[i] != NULL; i++) {
        if (!add_header(t, t->request->headers[i])) {
            return false;
        }
    }
    /* Asking first whether a body is welcome costs a second where nobody answers that. */
    return add_header(t, "Expect:") && SET(CURLOPT_HTTPHEADER, t->headers) &&
           SET(CURLOPT_USERAGENT, "hallmark/" HM_VERSION);
}

static bool set_body(const transfer *t) {
    const hm_http_request *request = t->request;
    if (request->body.data != NULL &&
        !(SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.length) &&
          SET(CURLOPT_POSTFIELDS, (const char *)request->body.data))) {
        return false;
    }
    return SET(CURLOPT_CUSTOMREQUEST, request->method);
}

static hm_status set_up(transfer *t, hm_error **error) {
    bool plain = false;
    hm_status status = check_address(t, &plain, error);
    if (status != HM_OK) {
        return status;
    }
    t->curl = api.easy_init();
    bool done = t->curl != NULL && SET(CURLOPT_URL, t->request->url) && set_protocols(t, plain) &&
                SET(CURLOPT_FOLLOWLOCATION, 0L) && set_roots(t) && set_times(t) &&
                (!plain || SET(CURLOPT_NOPROXY, "*")) && set_headers(t) && set_body(t) &&
                SET(CURLOPT_ERRORBUFFER, t->cause) && SET(CURLOPT_WRITEFUNCTION, take_body) &&
                SET(CURLOPT_WRITEDATA, t) && SET(CURLOPT_HEADERFUNCTION, take_header) &&
                SET(CURLOPT_HEADERDATA, t);
    return done ? HM_OK : hm_fail_memory(error);
}

/* ---- again and again ------------------------------------------------------------------------ */

static void sleep_ms(uint64_t ms) {
    struct timespec rest = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&rest, &rest) != 0) {
    }
}

/* Doubles from one attempt to the next; the random half keeps many clients from coming as one. */
static uint64_t pause_before(unsigned attempt) {
    uint64_t longest = FIRST_PAUSE_MS;
    uint16_t noise = 0;
    for (unsigned i = 1; i < attempt && longest < LONGEST_PAUSE_MS; i++) {
        longest *= 2;
    }
    longest = longest < LONGEST_PAUSE_MS ? longest : LONGEST_PAUSE_MS;
    if (RAND_bytes((uint8_t *)&noise, sizeof noise) != 1) {
        noise = UINT16_MAX;
    }
    return longest / 2 + longest / 2 * noise / UINT16_MAX;
}

/* RFC 9110, 10.2.3: seconds; the other form, a date, counts as nothing said. */
static uint64_t asked_pause(const transfer *t) {
    uint64_t seconds = 0;
    const char *text = t->retry_after;
    if (text == NULL || *text == '\0' || strspn(text, "0123456789") != strlen(text)) {
        return 0;
    }
    for (; *text != '\0' && seconds < RETRY_AFTER_MS / 1000; text++) {
        seconds = seconds * 10 + (uint64_t)(*text - '0');
    }
    return seconds * 1000 < RETRY_AFTER_MS ? seconds * 1000 : RETRY_AFTER_MS;
}

static bool is_passing(CURLcode code) {
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE: return true;
    default: return false;
    }
}

static bool asks_again(const transfer *t) {
    const hm_http_response *response = t->response;
    return response->status == 429 || response->status >= 500 ||
           (t->request->throttled != NULL && t->request->throttled(response));
}

/* One attempt. The answer's status is 0 when there is none. */
static CURLcode perform(transfer *t) {
    long status = 0;
    forget_headers(t);
    hm_buf_free(&t->response->body);
    t->response->status = 0;
    t->cause[0] = '\0';
    CURLcode code = api.easy_perform(t->curl);
    if (code == CURLE_OK &&
        api.easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK) {
        t->response->status = (unsigned)status;
    }
    return code;
}

/*
 * A peer that closes while we write raises SIGPIPE, which ends a process that has not heard of it;
 * libcurl holds it off only where it may touch the signals of the whole process.
 */
typedef struct pipe_guard {
    sigset_t before;
    sigset_t pipe;
    bool pending;
} pipe_guard;

static void guard_begin(pipe_guard *guard) {
    sigset_t waiting;
    (void)sigemptyset(&guard->pipe);
    (void)sigaddset(&guard->pipe, SIGPIPE);
    guard->pending = sigpending(&waiting) == 0 && sigismember(&waiting, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &guard->pipe, &guard->before);
}

static void guard_end(const pipe_guard *guard) {
    const struct timespec now = {.tv_sec = 0};
    while (!guard->pending && sigtimedwait(&guard->pipe, NULL, &now) == -1 && errno == EINTR) {
    }
    (void)pthread_sigmask(SIG_SETMASK, &guard->before, NULL);
}

static CURLcode perform_patiently(transfer *t) {
    unsigned attempts = t->request->attempts > 0 ? t->request->attempts : DEFAULT_ATTEMPTS;
    int64_t start = hm_now_ms();
    for (unsigned attempt = 1;; attempt++) {
        CURLcode code = perform(t);
        bool again = code == CURLE_OK ? asks_again(t) : is_passing(code);
        uint64_t pause = pause_before(attempt);
        uint64_t asked = asked_pause(t);
        pause = asked > pause ? asked : pause;
        if (!again || attempt >= attempts || (uint64_t)(hm_now_ms() - start) + pause > TOTAL_MS) {
            return code;
        }
        sleep_ms(pause);
    }
}

static hm_status fail_transfer(const transfer *t, CURLcode code, hm_error **error) {
    const char *cause = t->cause[0] != '\0' ? t->cause : api.easy_strerror(code);
    const char *service = t->request->service;
    if (t->memory || code == CURLE_OUT_OF_MEMORY) {
        return hm_fail_memory(error);
    }
    if (t->too_large) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "the answer of %s at %s is larger than the %zu bytes that it may have",
                       service, t->origin, t->request->limit);
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "cannot reach %s at %s: %s", service,
                  t->origin, cause);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE) {
        hm_error_add_hint(error, "its certificate is not trusted here; SSL_CERT_FILE names a file "
                                 "with the roots to believe");
    } else {
        hm_error_add_hint(error, "check the network, the proxy (https_proxy, no_proxy) and the "
                                 "endpoint");
    }
    return HM_UNDECIDED;
}

hm_status hm_http_send(const hm_http_request *request, hm_http_response *response,
                       hm_error **error) {
    if (!is_loaded()) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "cannot reach %s: %s cannot be loaded",
                      request->service, SONAME);
        hm_error_add_hint(error, "install libcurl (Debian: libcurl4)");
        return HM_UNDECIDED;
    }
    HM_CLEANUP(transfer_free) transfer t = {.request = request, .response = response};
    t.origin = origin_of(request->url);
    if (t.origin == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = set_up(&t, error);
    if (status != HM_OK) {
        return status;
    }
    pipe_guard guard;
    guard_begin(&guard);
    CURLcode code = perform_patiently(&t);
    guard_end(&guard);
    if (code != CURLE_OK) {
        return fail_transfer(&t, code, error);
    }
    return hm_buf_check(&response->body, error);
}

bool hm_http_date(const char *text, int64_t *time) {
    time_t date = is_loaded() ? api.getdate(text, NULL) : -1;
    *time = date;
    return date >= 0;
}

void hm_http_describe(hm_buf *out) {
    hm_buf_add_format(out, "HTTPS: %s\n",
                      is_loaded() ? api.version() : "none (" SONAME " cannot be loaded)");
}

#else /* without libcurl */

#include <stdlib.h>

void hm_http_response_free(hm_http_response *response) {
    hm_buf_free(&response->body);
}

hm_status hm_http_send(const hm_http_request *request, hm_http_response *response,
                       hm_error **error) {
    (void)response;
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                  "cannot reach %s: this Hallmark was built without libcurl", request->service);
    hm_error_add_hint(error, "install libcurl4-openssl-dev and build again with -Dcurl=enabled");
    return HM_UNDECIDED;
}

bool hm_http_date(const char *text, int64_t *time) {
    (void)text;
    (void)time;
    return false;
}

void hm_http_describe(hm_buf *out) {
    hm_buf_add_text(out, "HTTPS: none (built without libcurl): no key services\n");
}

#endif

void hm_http_add_escaped(hm_buf *out, const char *text) {
    static const char digits[] = "0123456789ABCDEF";
    static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                     "0123456789-._~";
    for (; *text != '\0'; text++) {
        if (strchr(unreserved, *text) != NULL) {
            hm_buf_add_byte(out, (uint8_t)*text);
        } else {
            const char escape[3] = {'%', digits[(uint8_t)*text >> 4], digits[(uint8_t)*text & 15]};
            hm_buf_add(out, escape, sizeof escape);
        }
    }
}
