/* guard.c - what is refused before any handler sees it.
 *
 * 1. Framing that a proxy and we could read differently (request smuggling): the library
 *    accepts Content-Length beside Transfer-Encoding and repeated ones; we do not.
 * 2. A Host that is not one of our names: a page in the user's browser whose own name was made
 *    to resolve to loopback (DNS rebinding) gives itself away here.
 * 3. An Origin other than ourselves: the same browser, honest.
 * 4. Writes that are not JSON (what a foreign form cannot send unasked) or lack the token.
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <string.h>
#include <strings.h>

#define TOKEN_SCHEME "Bearer "

static bool same_text(view a, view b)
{
    return a.len == b.len &&
           (a.len == 0 || strncasecmp((const char *)a.at, (const char *)b.at, a.len) == 0);
}

static bool all_digits(view text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9') {
            return false;
        }
    }
    return text.len > 0;
}

/* The connection ends with such an answer: where the next request starts is not known. */
static bool ambiguous(struct call *call, const char *what)
{
    call->closes = true;
    http_fix(&call->pub, "send one Content-Length, or Transfer-Encoding: chunked, not both");
    http_refuse(&call->pub, MHD_HTTP_BAD_REQUEST, "invalid", "%s", what);
    return false;
}

static bool framing_passes(struct call *call)
{
    view length, encoding, unused;
    size_t lengths = call_heads(call, "Content-Length", &length);
    size_t encodings = call_heads(call, "Transfer-Encoding", &encoding);

    if (encodings > 0 && lengths > 0) {
        return ambiguous(call, "Content-Length and Transfer-Encoding are both given");
    }
    if (lengths > 1 || encodings > 1) {
        return ambiguous(call, "Content-Length or Transfer-Encoding is given more than once");
    }
    if (encodings > 0 && !same_text(encoding, VIEW("chunked"))) {
        return ambiguous(call, "the only Transfer-Encoding taken is chunked");
    }
    if (lengths > 0 && !all_digits(length)) {
        return ambiguous(call, "Content-Length is not a number");
    }
    if (call_heads(call, "Host", &unused) > 1 || call_heads(call, "Origin", &unused) > 1 ||
        call_heads(call, "Authorization", &unused) > 1 ||
        call_heads(call, "Content-Type", &unused) > 1) {
        return ambiguous(call, "a header that may be there once is there more than once");
    }
    return true;
}

static bool host_is_ours(const struct http *http, view host)
{
    if (authority_is_loopback(host) || same_text(host, view_text(http->bound_host))) {
        return true;
    }
    for (size_t i = 0; i < http->config.host_count; i++) {
        if (same_text(host, view_text(http->config.hosts[i]))) {
            return true;
        }
    }
    return false;
}

static bool host_passes(struct call *call)
{
    view text, host;
    int port;
    bool given = call_heads(call, "Host", &text) == 1;

    if (given && authority_parse(text, &host, &port) == OK && host_is_ours(call->http, host)) {
        return true;
    }
    http_fix(&call->pub, "use localhost or an address of this machine, or add the name to the "
                         "server's http.hosts");
    http_refuse(&call->pub, MHD_HTTP_MISDIRECTED_REQUEST, "misdirected",
                "Host \"%.*s\" is not a name of this server", VIEW_ARG(view_upto(text, 80)));
    return false;
}

/* Same host and port; the scheme may be https when a proxy in front ends TLS. */
static bool origin_passes(struct call *call)
{
    view origin, host, rest = {0};

    if (call_heads(call, "Origin", &origin) == 0) {
        return true;
    }
    (void)call_heads(call, "Host", &host);
    if (view_starts(origin, VIEW("http://"))) {
        rest = view_from(origin, strlen("http://"));
    } else if (view_starts(origin, VIEW("https://"))) {
        rest = view_from(origin, strlen("https://"));
    }
    if (rest.len > 0 && same_text(rest, host)) {
        return true;
    }
    http_fix(&call->pub, "open the console at the server's own address");
    http_refuse(&call->pub, MHD_HTTP_FORBIDDEN, "denied",
                "a page from \"%.*s\" may not call this server",
                VIEW_ARG(view_upto(origin, 80)));
    return false;
}

static bool type_passes(struct call *call)
{
    view type, unused;

    (void)call_heads(call, "Content-Type", &type);
    (void)view_cut(type, ';', &type, &unused);
    if (same_text(view_trim(type), VIEW("application/json"))) {
        return true;
    }
    http_fix(&call->pub, "send the header Content-Type: application/json");
    http_refuse(&call->pub, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "unsupported",
                "a write must be application/json");
    return false;
}

static bool token_passes(struct call *call)
{
    view given;

    (void)call_heads(call, "Authorization", &given);
    if (view_starts(given, VIEW(TOKEN_SCHEME)) &&
        token_is(call->http->token, view_trim(view_from(given, strlen(TOKEN_SCHEME))))) {
        return true;
    }
    http_answer_header(&call->pub, "WWW-Authenticate", "Bearer realm=\"tidemark\"");
    http_fix(&call->pub,
             "send the header Authorization: Bearer TOKEN; TOKEN is in %s/http.token while the "
             "server runs",
             call->http->data_folder);
    http_refuse(&call->pub, MHD_HTTP_UNAUTHORIZED, "unauthorized", "%s",
                given.at ? "the token is not that of this server"
                         : "this needs the server's token");
    return false;
}

/* A body of a size that is not worth reading only to refuse it ends the connection. */
static bool size_passes(struct call *call)
{
    view text, unused;
    int64_t bytes = 0;

    if (call_heads(call, "Content-Length", &text) == 0) {
        return true;
    }
    bool known = view_to_int(text, &bytes) == OK;
    if (!known || bytes > HTTP_DRAIN_BYTES_MAX || call_heads(call, "Expect", &unused) > 0) {
        call->closes = true; /* only used when some check refuses */
    }
    if (known && bytes <= HTTP_BODY_BYTES_MAX) {
        return true;
    }
    http_refuse(&call->pub, MHD_HTTP_CONTENT_TOO_LARGE, "too_large",
                "the body has %.*s bytes, the limit is %u", VIEW_ARG(view_upto(text, 40)),
                HTTP_BODY_BYTES_MAX);
    return false;
}

bool guard_passes(struct call *call)
{
    if (!framing_passes(call) || !host_passes(call) || !origin_passes(call)) {
        return false;
    }
    if (call->bad_target) {
        http_refuse(&call->pub, MHD_HTTP_BAD_REQUEST, "invalid", "%s", call->bad_target->text);
        return false;
    }
    if (!size_passes(call)) {
        return false;
    }
    call->pub.route = router_find(call);
    if (!call->pub.route) {
        return false;
    }
    bool writes =
        !view_is_text(call->pub.method, "GET") && !view_is_text(call->pub.method, "HEAD");
    if (writes && !type_passes(call)) {
        return false;
    }
    return (!writes && !(call->pub.route->flags & HTTP_NEEDS_TOKEN)) || token_passes(call);
}
