/* routes_check.c - POST /api/v1/sources/check and /api/v1/sources/{name}/check.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "audit/check.h"
#include "audit/routes.h"

static const char *member(struct http_call *call, const struct json *body, const char *name)
{
    view text = body_text(body, name);

    return text.len ? arena_text(&call->arena, text) : NULL;
}

static err keyless_of(const struct json *body, enum setup_keyless *out)
{
    static const struct {
        const char *name;
        enum setup_keyless keyless;
    } rows[] = {{"skip", SETUP_SKIP}, {"full", SETUP_FULL}, {"insert-only", SETUP_INSERT_ONLY}};
    view text = body_text(body, "keyless");

    *out = SETUP_SKIP;
    if (!text.len) {
        return OK;
    }
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (view_is_text(text, rows[i].name)) {
            *out = rows[i].keyless;
            return OK;
        }
    }
    return fault(ERR_INVALID, "keyless is skip, full or insert-only, not \"%.*s\"",
                 VIEW_ARG(text));
}

static void reply(struct http_call *call, const struct check_ask *ask)
{
    struct check check;

    if (check_run(&call->arena, ask, &check)) {
        http_reply_fault(call);
        return;
    }
    struct json_writer j = json_to(&call->out);
    check_to_json(&check, &j);
    http_reply_json(call, 200);
}

void sources_route_check_url(struct http_call *call)
{
    struct json *body = NULL;
    struct check_ask ask = {0};
    err e = http_body_json(call, &body);

    e = e ? e : keyless_of(body, &ask.setup.keyless);
    ask.database.url = e ? NULL : member(call, body, "url");
    if (!e && !ask.database.url) {
        e = fault(ERR_INVALID, "url is missing: postgres://user@host:port/database");
    }
    if (e) {
        http_reply_fault(call);
        return;
    }
    const char *name = member(call, body, "name");
    const char *preset =
        arena_format(&call->arena, "tidemark%s%s", name ? "_" : "", name ? name : "");
    ask.database.password = member(call, body, "password");
    ask.setup.tables = member(call, body, "tables");
    ask.setup.without = member(call, body, "without");
    ask.setup.slot = member(call, body, "slot");
    ask.setup.slot = ask.setup.slot || !name ? ask.setup.slot : preset;
    ask.setup.publication = member(call, body, "publication");
    ask.setup.publication = ask.setup.publication ? ask.setup.publication : preset;
    reply(call, &ask);
}

void sources_route_check(struct http_call *call)
{
    struct source *source = route_source(call, http_part(call, "name"));
    struct source_status status;

    if (!source) {
        return;
    }
    const struct source_options *o = &source->options;
    source_status_get(source, &status);
    const struct check_ask ask = {
        .database = {.url = o->url, .password = source->password},
        .setup = {.tables = o->tables,
                  .without = o->without,
                  .keyless = (enum setup_keyless)o->keyless,
                  .slot = o->slot,
                  .publication = o->publication},
        .exists = status.state != SOURCE_CREATING,
    };
    reply(call, &ask);
    source_drop(source);
}
