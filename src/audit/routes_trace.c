/* routes_trace.c - /api/v1/trace: where a change came from, and what came after it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "audit/lineage.h"
#include "audit/routes.h"

#define CATCH_UP_MS 5000

/* The source a reference is about: a topic's is in front of its name's first dot. */
static view source_of(const struct ref *ref)
{
    view source = ref->source, rest;

    if (ref->kind == REF_TOPIC) {
        (void)view_cut(ref->topic, '.', &source, &rest);
    }
    return source;
}

static err trace_in(struct http_call *call, struct source *source, const struct ref *ref)
{
    struct audit *audit = call->self;
    struct json_writer j = json_to(&call->out);
    struct lineage_query query = {.source = source, .ref = ref, .arena = &call->arena};
    err e = trail_catch_up(source->trail, CATCH_UP_MS);

    e = e == ERR_TIMEOUT ? OK : e;
    e = e ? e
          : moment_parse(source->trail, view_text(source->name), http_query(call, "at"),
                         audit->os->now_ms(audit->os), &query.until);
    writer_reset(&call->out);
    return e ? e : lineage_write(&query, &j);
}

/* A session does not say its source: the first one that knows it. */
static err trace_session(struct http_call *call, const struct ref *ref)
{
    struct source **all = NULL;
    size_t count = sources_list(call->self, &all);
    err e =
        fault(ERR_NOT_FOUND, "session:%.*s: no change of that session", VIEW_ARG(ref->session));

    for (size_t i = 0; i < count; i++) {
        if (e == ERR_NOT_FOUND) {
            e = trace_in(call, all[i], ref);
        }
        source_drop(all[i]);
    }
    free(all);
    return e;
}

void trace_route_show(struct http_call *call)
{
    struct ref ref;
    struct source *source = NULL;
    err e = ref_parse(&call->arena, http_part(call, "ref"), &ref);

    if (!e && ref.kind == REF_SESSION) {
        e = trace_session(call, &ref);
    } else if (!e) {
        source = route_source(call, source_of(&ref));
        if (!source) {
            return;
        }
        e = trace_in(call, source, &ref);
    }
    if (e) {
        writer_reset(&call->out);
        if (e == ERR_NOT_FOUND) {
            http_fix(call, "`tidemark change ls` lists what was captured");
        }
        http_reply_fault(call);
    } else {
        http_reply_json(call, 200);
    }
    source_drop(source);
}
