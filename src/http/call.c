/* call.c - one request and its answer: what handlers read, and how they reply.
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define JSON_TYPE "application/json"

static struct call *inner(struct http_call *call)
{
    assert(call);
    return (struct call *)call; /* pub is its first member */
}

struct call *call_new(struct http *http, struct MHD_Connection *connection, view uri)
{
    struct call *call = xcalloc(1, sizeof(*call));
    view kept = arena_copy(&call->pub.arena, uri);

    call->http = http_hold(http);
    call->connection = connection;
    atomic_store(&call->holders, 1);
    if (target_parse(&call->pub.arena, kept, &call->target) != OK) {
        call->bad_target = fault_take();
    }
    call->pub.path = call->target.path;
    return call;
}

void call_drop(struct call *call)
{
    if (!call || atomic_fetch_sub(&call->holders, 1) != 1) {
        return;
    }
    free(call->bad_target);
    writer_fini(&call->body);
    writer_fini(&call->pub.out);
    arena_fini(&call->pub.arena);
    http_drop(call->http);
    free(call);
}

view http_part(const struct http_call *call, const char *name)
{
    const struct call *in = (const struct call *)call;

    return target_part(&in->target, call->route->path, name);
}

view http_query(const struct http_call *call, const char *name)
{
    return target_query(&((const struct call *)call)->target, name);
}

size_t call_heads(const struct call *call, const char *name, view *first)
{
    size_t count = 0, len = strlen(name);

    *first = (view){0};
    for (size_t i = 0; i < call->head_count; i++) {
        view given = call->heads[i].name;
        if (given.len == len && strncasecmp((const char *)given.at, name, len) == 0) {
            *first = count++ == 0 ? call->heads[i].value : *first;
        }
    }
    return count;
}

view http_header(const struct http_call *call, const char *name)
{
    view value;

    (void)call_heads((const struct call *)call, name, &value);
    return value;
}

err http_query_int(const struct http_call *call, const char *name, int64_t preset,
                   int64_t least, int64_t most, int64_t *out)
{
    view text = http_query(call, name);

    assert(least <= preset && preset <= most);
    *out = preset;
    if (!text.at) {
        return OK;
    }
    if (view_to_int(text, out) != OK || *out < least || *out > most) {
        return fault(ERR_INVALID, "%s=%.*s: %s must be a whole number from %lld to %lld", name,
                     VIEW_ARG(view_upto(text, 40)), name, (long long)least, (long long)most);
    }
    return OK;
}

err http_query_limit(const struct http_call *call, size_t *out)
{
    int64_t limit;
    err e = http_query_int(call, "limit", HTTP_LIST_PRESET, 1, HTTP_LIST_MAX, &limit);

    *out = (size_t)limit;
    return e;
}

err http_body_json(struct http_call *call, struct json **out)
{
    if (view_trim(call->body).len == 0) {
        return fault(ERR_INVALID, "the body is empty; it must be a JSON object");
    }
    if (json_parse(&call->arena, call->body, out) != OK) {
        return fault_prefix("the body is not JSON: ");
    }
    if ((*out)->kind != JSON_OBJECT) {
        return fault(ERR_INVALID, "the body must be a JSON object");
    }
    return OK;
}

struct MHD_Response *response_of(struct writer *take_text)
{
    bool empty = take_text->len == 0;
    void *at = empty ? (void *)(uintptr_t) "" : take_text->at;
    struct MHD_Response *response = MHD_create_response_from_buffer(
        take_text->len, at, empty ? MHD_RESPMEM_PERSISTENT : MHD_RESPMEM_MUST_FREE);

    assert(response); /* small: only without memory */
    if (empty) {
        writer_fini(take_text);
    }
    *take_text = (struct writer){0};
    return response;
}

/* A value with a line break in it is refused by the library, so that no text from outside can
 * add a header. */
void response_header(struct MHD_Response *response, const char *name, const char *value)
{
    if (MHD_add_response_header(response, name, value) != MHD_YES) {
        trace_warn("http", "header %s left out: its value is not fit for one", name);
    }
}

/* Moves an away call to answered; false: http_close was first. */
static bool win(struct call *call)
{
    int away = CALL_AWAY;

    return atomic_compare_exchange_strong(&call->state, &away, CALL_ANSWERED);
}

void call_answer(struct call *call, unsigned status, struct MHD_Response *take_response)
{
    int state = atomic_load(&call->state);

    assert(state != CALL_ANSWERED); /* one reply per call */
    response_header(take_response, "Cache-Control", "no-store");
    response_header(take_response, "X-Content-Type-Options", "nosniff");
    for (size_t i = 0; i < call->header_count; i++) {
        response_header(take_response, call->headers[i].name, call->headers[i].value);
    }
    if (state == CALL_READING || state == CALL_RUNNING) {
        call->status = status;
        call->response = take_response;
        atomic_store(&call->state, CALL_ANSWERED);
        return;
    }
    if (win(call)) {
        call->status = status;
        call->response = take_response;
        daemon_resume(call->http, call->connection);
    } else {
        MHD_destroy_response(take_response);
    }
    call_drop(call);
}

void http_answer_header(struct http_call *call, const char *name, const char *format, ...)
{
    struct call *in = inner(call);
    va_list args;
    char *value = NULL;

    assert(in->header_count < HTTP_ANSWER_HEADERS_MAX);
    va_start(args, format);
    int len = vasprintf(&value, format, args);
    va_end(args);
    assert(len >= 0);
    in->headers[in->header_count].name = name;
    in->headers[in->header_count++].value = arena_text(&call->arena, view_text(value));
    free(value);
}

void http_reply_text(struct http_call *call, unsigned status, const char *content_type)
{
    struct MHD_Response *response = response_of(&call->out);

    response_header(response, "Content-Type", content_type);
    call_answer(inner(call), status, response);
}

void http_reply_json(struct http_call *call, unsigned status)
{
    write_u8(&call->out, '\n');
    http_reply_text(call, status, JSON_TYPE);
}

void http_reply_empty(struct http_call *call)
{
    writer_reset(&call->out);
    call_answer(inner(call), MHD_HTTP_NO_CONTENT, response_of(&call->out));
}

void http_fix(struct http_call *call, const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    assert(len >= 0);
    inner(call)->fix = arena_text(&call->arena, view_text(text));
    free(text);
}

static void reply_error(struct http_call *call, unsigned status, const char *code,
                        const char *message, const char *fix)
{
    writer_reset(&call->out);
    struct json_writer j = json_to(&call->out);

    json_object(&j);
    json_name(&j, "code");
    json_text(&j, code);
    json_name(&j, "message");
    json_text(&j, message);
    json_name(&j, "where");
    json_textf(&j, "%.*s %.*s", VIEW_ARG(call->method), VIEW_ARG(view_upto(call->path, 200)));
    json_name(&j, "fix");
    json_text(&j, fix);
    json_end_object(&j);
    http_reply_json(call, status);
}

/* By kind: the status, and what to do when the handler knows nothing better. */
static const struct {
    unsigned status;
    const char *fix;
} kinds[] = {
    [ERR_IO] = {500, "look at the server's log and at the disk of its data folder"},
    [ERR_CORRUPT] = {500, "look at the server's log; restore what is damaged"},
    [ERR_NOT_FOUND] = {404, "check the name; list what there is with the path above it"},
    [ERR_EXISTS] = {409, "use another name, or edit or remove the one that is there"},
    [ERR_BUSY] = {503, "try again in a moment"},
    [ERR_FULL] = {507, "free space, or lower a retention limit"},
    [ERR_DENIED] = {403, "this is not open to requests"},
    [ERR_INVALID] = {400, "correct the request"},
    [ERR_TIMEOUT] = {504, "try again; look at the server's log if it stays so"},
    [ERR_CLOSED] = {503, "the server is stopping; try again when it is back"},
    [ERR_UNSUPPORTED] = {501, "this server cannot do that"},
    [ERR_CONFLICT] = {409, "look at its present state and try again"},
    [ERR_TOO_LARGE] = {413, "send less at a time"},
    [ERR_OUT_OF_RANGE] = {416, "ask for something between earliest and latest"},
    [ERR_CANCELLED] = {503, "try again"},
};

void http_reply_fault(struct http_call *call)
{
    struct fault why = fault_here;

    assert(why.code > OK && why.code < (int)COUNT(kinds));
    if (why.code == ERR_IO || why.code == ERR_CORRUPT) {
        trace_error("http", "%.*s %.*s: %s", VIEW_ARG(call->method), VIEW_ARG(call->path),
                    why.text);
    }
    if (why.code == ERR_BUSY) {
        http_answer_header(call, "Retry-After", "1");
    }
    reply_error(call, kinds[why.code].status, err_name(why.code),
                why.text[0] ? why.text : err_text(why.code),
                inner(call)->fix ? inner(call)->fix : kinds[why.code].fix);
}

void http_refuse(struct http_call *call, unsigned status, const char *code, const char *format,
                 ...)
{
    char message[FAULT_TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    reply_error(call, status, code, message, inner(call)->fix);
}

/* The connection is suspended before anybody could win the call and resume it. */
void http_later(struct http_call *call)
{
    struct call *in = inner(call);

    in->later = true;
    if (atomic_load(&in->state) == CALL_AWAY) {
        return; /* a worker has it: suspended already */
    }
    assert(atomic_load(&in->state) == CALL_RUNNING);
    atomic_fetch_add(&in->holders, 1);
    in->suspended = true;
    MHD_suspend_connection(in->connection);
    atomic_store(&in->state, CALL_AWAY);
}
