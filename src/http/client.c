/* client.c - asking the HTTP API, for the command line.
 *
 * libcurl is the transport. It brings some thirty shared objects with it, so it is loaded when
 * the first client is opened: the server, the same binary, never pays for it. Proxies of the
 * environment are ignored, redirects are not followed, and the token that was found by port
 * goes to loopback addresses only.
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/http.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "http/sse.h"
#include "http/target.h"

#define CURL_LIBRARY "libcurl.so.4"
#define ANSWER_BYTES_MAX (64u << 20) /* of one answer */
#define CONNECT_MS 5000
#define ASK_MS 120000 /* for a whole answer, when nothing else is said */
#define SILENCE_S 60  /* of a stream: four missed heartbeats of the server */

struct curl {
    __typeof__(&curl_global_init) global_init;
    __typeof__(&curl_global_cleanup) global_cleanup;
    __typeof__(&curl_easy_init) easy_init;
    __typeof__(&curl_easy_reset) easy_reset;
    __typeof__(&curl_easy_cleanup) easy_cleanup;
    __typeof__(&curl_easy_setopt) set;
    __typeof__(&curl_easy_perform) perform;
    __typeof__(&curl_easy_getinfo) info;
    __typeof__(&curl_slist_append) list_append;
    __typeof__(&curl_slist_free_all) list_free;
};

struct http_client {
    void *library;
    struct curl curl;
    CURL *handle;
    char *address;                /* HOST:PORT, [V6]:PORT */
    char token[HTTP_TOKEN_BYTES]; /* empty: none known */
    char why[CURL_ERROR_SIZE];
    int64_t patience_ms; /* for a whole answer */
};

struct exchange { /* one request on its way */
    struct http_client *client;
    struct writer *answer;
    struct sse_reader *events; /* NULL: an ordinary answer */
    err stopped;               /* why we broke off; the words are in fault_here */
};

static err load(struct http_client *client)
{
    const struct {
        const char *name;
        void *at; /* of the function pointer to fill */
    } symbols[] = {
        {"curl_global_init", &client->curl.global_init},
        {"curl_global_cleanup", &client->curl.global_cleanup},
        {"curl_easy_init", &client->curl.easy_init},
        {"curl_easy_reset", &client->curl.easy_reset},
        {"curl_easy_cleanup", &client->curl.easy_cleanup},
        {"curl_easy_setopt", &client->curl.set},
        {"curl_easy_perform", &client->curl.perform},
        {"curl_easy_getinfo", &client->curl.info},
        {"curl_slist_append", &client->curl.list_append},
        {"curl_slist_free_all", &client->curl.list_free},
    };

    client->library = dlopen(CURL_LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!client->library) {
        return fault(ERR_UNSUPPORTED, "the HTTP client needs %s (Debian: libcurl4): %s",
                     CURL_LIBRARY, dlerror());
    }
    for (size_t i = 0; i < COUNT(symbols); i++) {
        void *found = dlsym(client->library, symbols[i].name);
        if (!found) {
            return fault(ERR_UNSUPPORTED, "%s lacks %s", CURL_LIBRARY, symbols[i].name);
        }
        memcpy(symbols[i].at, &found, sizeof(found));
    }
    if (client->curl.global_init(CURL_GLOBAL_NOTHING) != CURLE_OK) {
        return fault(ERR_UNSUPPORTED, "%s does not start", CURL_LIBRARY);
    }
    client->handle = client->curl.easy_init();
    return client->handle ? OK : fault(ERR_UNSUPPORTED, "%s does not start", CURL_LIBRARY);
}

static err choose_token(struct http_client *client, const char *token, view host, int port)
{
    const char *given = token ? token : secure_getenv("TIDEMARK_TOKEN");

    if (given && given[0]) {
        size_t len = strlen(given);
        if (len != HTTP_TOKEN_BYTES - 1) {
            return fault(ERR_INVALID, "the token has %zu characters; it must have %d", len,
                         HTTP_TOKEN_BYTES - 1);
        }
        memcpy(client->token, given, len + 1);
        return OK;
    }
    if (!authority_is_loopback(host) || http_token_find(port, client->token) != OK) {
        client->token[0] = '\0'; /* reading works without; a write will say what is missing */
    }
    return OK;
}

err http_client_open(const char *address, const char *token, struct http_client **out)
{
    view text = view_text(address), host;
    int port;

    if (view_starts(text, VIEW("http://"))) {
        text = view_from(text, strlen("http://"));
    }
    err e = authority_parse(text, &host, &port);
    if (e || port <= 0) {
        return fault(ERR_INVALID, "\"%s\" is not HOST:PORT, such as 127.0.0.1:8080", address);
    }
    struct http_client *client = xcalloc(1, sizeof(*client));
    client->address = text_of(text);
    client->patience_ms = ASK_MS;
    e = choose_token(client, token, host, port);
    if (!e) {
        e = load(client);
    }
    if (e) {
        struct fault why = fault_here;
        http_client_close(client);
        fault_here = why;
        return e;
    }
    *out = client;
    return OK;
}

void http_client_close(struct http_client *client)
{
    if (!client) {
        return;
    }
    if (client->handle) {
        client->curl.easy_cleanup(client->handle);
        client->curl.global_cleanup();
    }
    if (client->library) {
        dlclose(client->library);
    }
    free(client->address);
    free(client);
}

void http_client_patience(struct http_client *client, int64_t ms)
{
    assert(ms > 0);
    client->patience_ms = ms;
}

static unsigned status_of(struct http_client *client)
{
    long status = 0; /* the library's type */

    client->curl.info(client->handle, CURLINFO_RESPONSE_CODE, &status);
    return (unsigned)status;
}

static size_t on_bytes(char *at, size_t one, size_t len, void *cls)
{
    struct exchange *x = cls;
    view piece = {(const uint8_t *)at, one * len};

    if (x->events && status_of(x->client) < 300) {
        x->stopped = sse_feed(x->events, piece);
    } else if (x->answer->len + piece.len > ANSWER_BYTES_MAX) {
        x->stopped =
            fault(ERR_TOO_LARGE, "the answer has more than %u bytes", ANSWER_BYTES_MAX);
    } else {
        write_view(x->answer, piece);
    }
    return x->stopped ? 0 : piece.len;
}

static struct curl_slist *headers_for(struct http_client *client, bool writes)
{
    struct curl_slist *list = client->curl.list_append(NULL, "Expect:");
    char *line = text_format("Authorization: Bearer %s", client->token);

    if (client->token[0]) {
        list = client->curl.list_append(list, line);
    }
    if (writes) {
        list = client->curl.list_append(list, "Content-Type: application/json");
    }
    free(line);
    return list;
}

static void prepare(struct exchange *x, const char *method, view body)
{
    struct http_client *client = x->client;
    struct curl *curl = &client->curl;
    CURL *h = client->handle;

    curl->easy_reset(h);
    curl->set(h, CURLOPT_ERRORBUFFER, client->why);
    curl->set(h, CURLOPT_NOSIGNAL, 1L);
    curl->set(h, CURLOPT_NOPROXY, "*");
    curl->set(h, CURLOPT_PROTOCOLS_STR, "http");
    curl->set(h, CURLOPT_PATH_AS_IS, 1L);
    curl->set(h, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl->set(h, CURLOPT_WRITEFUNCTION, on_bytes);
    curl->set(h, CURLOPT_WRITEDATA, x);
    if (x->events) {
        curl->set(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl->set(h, CURLOPT_LOW_SPEED_TIME, (long)SILENCE_S);
    } else {
        curl->set(h, CURLOPT_TIMEOUT_MS, (long)client->patience_ms);
    }
    if (strcmp(method, "HEAD") == 0) {
        curl->set(h, CURLOPT_NOBODY, 1L);
    } else if (strcmp(method, "GET") != 0) {
        curl->set(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
        curl->set(h, CURLOPT_POSTFIELDS, body.len ? (const char *)body.at : "");
        curl->set(h, CURLOPT_CUSTOMREQUEST, method);
    }
}

static err explain(struct exchange *x, CURLcode code)
{
    const char *address = x->client->address, *why = x->client->why;

    if (x->stopped) {
        return x->stopped;
    }
    switch (code) {
    case CURLE_OK:
        return OK;
    case CURLE_COULDNT_CONNECT:
        return fault(ERR_CLOSED,
                     "nothing listens at %s: is the server running? start it with `tidemark "
                     "server`, or name its address with --http",
                     address);
    case CURLE_COULDNT_RESOLVE_HOST:
        return fault(ERR_NOT_FOUND, "%s: there is no such host", address);
    case CURLE_OPERATION_TIMEDOUT:
        return fault(ERR_TIMEOUT, "the server at %s does not answer (%s)", address, why);
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE:
        return fault(ERR_CLOSED, "the server at %s closed the connection (%s)", address, why);
    default:
        return fault(ERR_IO, "asking %s: %s", address, why);
    }
}

static err perform(struct exchange *x, const char *method, const char *path, view body)
{
    struct http_client *client = x->client;
    bool writes = strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0;

    assert(path[0] == '/');
    prepare(x, method, body);
    char *url = text_format("http://%s%s", client->address, path);
    struct curl_slist *headers = headers_for(client, writes);
    client->curl.set(client->handle, CURLOPT_URL, url);
    client->curl.set(client->handle, CURLOPT_HTTPHEADER, headers);
    client->why[0] = '\0';
    err e = explain(x, client->curl.perform(client->handle));
    client->curl.list_free(headers);
    free(url);
    return e;
}

err http_ask(struct http_client *client, const char *method, const char *path, view body,
             unsigned *status, struct writer *answer)
{
    struct exchange x = {.client = client, .answer = answer};

    writer_reset(answer);
    err e = perform(&x, method, path, body);
    *status = e ? 0 : status_of(client);
    return e;
}

err http_follow(struct http_client *client, const char *path,
                err (*each)(void *self, view event, view data), void *self)
{
    struct writer answer = {0};
    struct sse_reader events = {.each = each, .self = self};
    struct exchange x = {.client = client, .answer = &answer, .events = &events};
    err e = perform(&x, "GET", path, (view){0});

    if (!e) {
        e = http_answer_check(status_of(client), writer_view(&answer));
    }
    sse_fini(&events);
    writer_fini(&answer);
    return e;
}

static err kind_of(unsigned status, view code)
{
    for (err e = ERR_IO; e <= ERR_CANCELLED; e++) {
        if (view_is_text(code, err_name(e))) {
            return e;
        }
    }
    switch (status) {
    case 401:
    case 403:
    case 421:
        return ERR_DENIED;
    case 404:
        return ERR_NOT_FOUND;
    case 405:
    case 415:
        return ERR_UNSUPPORTED;
    case 413:
        return ERR_TOO_LARGE;
    default:
        return status >= 500 ? ERR_IO : ERR_INVALID;
    }
}

static view text_member(const struct json *object, const char *name)
{
    view text;

    return json_get_text(object, name, &text) == OK ? text : (view){0};
}

err http_answer_check(unsigned status, view answer)
{
    struct arena arena = {0};
    struct json *json = NULL;
    view code = {0}, message = {0}, fix = {0};

    if (status < 400) {
        return OK;
    }
    /* Another server may be at that address: an answer that is not ours has just its status. */
    if (json_parse(&arena, answer, &json) == OK && json->kind == JSON_OBJECT) {
        code = text_member(json, "code");
        message = text_member(json, "message");
        fix = text_member(json, "fix");
    }
    err kind = kind_of(status, code);
    if (message.len == 0) {
        (void)fault(kind, "the server answered with status %u", status);
    } else if (fix.len == 0) {
        (void)fault(kind, "%.*s", VIEW_ARG(message));
    } else {
        (void)fault(kind, "%.*s (%.*s)", VIEW_ARG(message), VIEW_ARG(fix));
    }
    arena_fini(&arena);
    return kind;
}

void http_escape(struct writer *out, view text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789-._~";

    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] && strchr(plain, text.at[i])) {
            write_u8(out, text.at[i]);
        } else {
            write_format(out, "%%%02X", text.at[i]);
        }
    }
}
