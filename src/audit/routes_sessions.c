/* routes_sessions.c - /api/v1/sessions: people on the databases.
 *
 * Opening a session gives out the source's URL and password: a POST, so it wants the token.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "audit/routes.h"
#include "audit/session.h"

#define REASON_BYTES_MAX 4096

static struct sessions *sessions_of(struct http_call *call)
{
    return ((struct audit *)call->self)->sessions;
}

/* The path's {id}, whole; false: the call is answered. */
static bool find(struct http_call *call, view *id)
{
    if (session_find(sessions_of(call), &call->arena, http_part(call, "id"), id)) {
        http_fix(call, "`tidemark session ls` lists the sessions");
        http_reply_fault(call);
        return false;
    }
    return true;
}

static void reply_session(struct http_call *call, view id)
{
    struct json_writer j = json_to(&call->out);

    if (session_to_json(sessions_of(call), id, &j)) {
        http_reply_fault(call);
        return;
    }
    http_reply_json(call, 200);
}

void sessions_route_rules(struct http_call *call)
{
    struct source *source = route_source(call, http_part(call, "name"));
    struct json_writer j = json_to(&call->out);

    if (!source) {
        return;
    }
    json_object(&j);
    json_name(&j, "ticket");
    json_bool(&j, source->options.shell_ticket);
    json_end_object(&j);
    source_drop(source);
    http_reply_json(call, 200);
}

static err check(const struct source *source, const struct session_asked *asked)
{
    if (!view_trim(asked->person).len) {
        return fault(ERR_INVALID, "whose session is it? person is missing");
    }
    if (!view_trim(asked->reason).len || asked->reason.len > REASON_BYTES_MAX) {
        return fault(ERR_INVALID, "a session wants a reason of at most %d bytes",
                     REASON_BYTES_MAX);
    }
    if (source->options.shell_ticket && !view_trim(asked->ticket).len) {
        return fault(ERR_INVALID, "sessions on %s want a ticket", source->name);
    }
    return OK;
}

static void write_login(struct json_writer *j, const struct source *source, view id)
{
    json_object(j);
    json_name(j, "id");
    json_view(j, id);
    json_name(j, "ref");
    json_textf(j, "session:%.*s", VIEW_ARG(id));
    json_name(j, "url");
    json_text(j, source->options.url);
    json_name(j, "password");
    json_text(j, source->password);
    json_end_object(j);
}

void sessions_route_create(struct http_call *call)
{
    struct json_writer j = json_to(&call->out);
    struct json *body = NULL;
    view id = {0};

    if (http_body_json(call, &body)) {
        http_reply_fault(call);
        return;
    }
    const struct session_asked asked = {
        .source = body_text(body, "source"),
        .person = body_text(body, "person"),
        .login = body_text(body, "login"),
        .host = body_text(body, "host"),
        .tty = body_text(body, "tty"),
        .reason = body_text(body, "reason"),
        .ticket = body_text(body, "ticket"),
    };
    struct source *source = route_source(call, asked.source);
    if (!source) {
        return;
    }
    pthread_mutex_lock(&source->life); /* its options and password stay */
    err e = check(source, &asked);
    e = e ? e : session_begin(sessions_of(call), &call->arena, &asked, &id);
    if (!e) {
        write_login(&j, source, id);
    }
    pthread_mutex_unlock(&source->life);
    source_drop(source);
    if (e) {
        http_reply_fault(call);
    } else {
        http_reply_json(call, 201);
    }
}

void sessions_route_list(struct http_call *call)
{
    struct json_writer j = json_to(&call->out);
    const struct session_filter filter = {.source = http_query(call, "source"),
                                          .person = http_query(call, "person"),
                                          .state = http_query(call, "state"),
                                          .review = http_query(call, "review")};
    view cursor = http_query(call, "cursor"), next = {0};
    size_t limit = 0;

    if (http_query_limit(call, &limit)) {
        http_reply_fault(call);
        return;
    }
    json_object(&j);
    json_name(&j, "sessions");
    json_array(&j);
    sessions_to_json(sessions_of(call), &call->arena, &filter, cursor, limit, &j, &next);
    json_end_array(&j);
    json_name(&j, "next");
    json_view(&j, next);
    json_end_object(&j);
    http_reply_json(call, 200);
}

void sessions_route_show(struct http_call *call)
{
    view id;

    if (find(call, &id)) {
        reply_session(call, id);
    }
}

void sessions_route_records(struct http_call *call)
{
    struct json_writer j = json_to(&call->out);
    int64_t from = 0, next = -1;
    size_t limit = 0;
    view id;

    if (!find(call, &id)) {
        return;
    }
    if (http_query_limit(call, &limit) ||
        http_query_int(call, "cursor", 0, 0, INT64_MAX, &from)) {
        http_reply_fault(call);
        return;
    }
    json_object(&j);
    json_name(&j, "records");
    json_array(&j);
    if (session_records(sessions_of(call), id, from, limit, &j, &next)) {
        http_reply_fault(call);
        return;
    }
    json_end_array(&j);
    json_name(&j, "next");
    if (next >= 0) {
        json_textf(&j, "%lld", (long long)next);
    } else {
        json_null(&j);
    }
    json_end_object(&j);
    http_reply_json(call, 200);
}

void sessions_route_add(struct http_call *call)
{
    struct json *body = NULL;
    view id;

    if (!find(call, &id)) {
        return;
    }
    err e = http_body_json(call, &body);
    e = e ? e : session_add(sessions_of(call), id, body);
    if (e) {
        http_reply_fault(call);
    } else {
        http_reply_empty(call);
    }
}

void sessions_route_review(struct http_call *call)
{
    struct json *body = NULL;
    view id;

    if (!find(call, &id)) {
        return;
    }
    err e = http_body_json(call, &body);
    e = e ? e
          : session_judge(sessions_of(call), id, body_text(body, "verdict"),
                          body_text(body, "note"), body_text(body, "reviewer"));
    if (e) {
        http_reply_fault(call);
    } else {
        reply_session(call, id);
    }
}

void sessions_route_live(struct http_call *call)
{
    view id;

    if (find(call, &id)) {
        session_lease(sessions_of(call), id, call);
    }
}
