/* routes_sources.c - /api/v1/sources: what is captured, and how it fares.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/routes.h"

#include <stdlib.h>
#include <string.h>

#include "audit/capture.h"
#include "audit/check.h"
#include "audit/ledger.h"
#include "audit/setup.h"
#include "audit/source_inside.h"
#include "audit/source_sink.h"
#include "audit/trail.h"

static void put_text(struct json_writer *j, const char *name, const char *text)
{
    json_name(j, name);
    json_text(j, text);
}

static void put_int(struct json_writer *j, const char *name, int64_t value)
{
    json_name(j, name);
    json_int(j, value);
}

static void put_lsn(struct json_writer *j, const char *name, uint64_t lsn)
{
    char text[LSN_TEXT_BYTES];

    lsn_text(lsn, text);
    put_text(j, name, lsn ? text : NULL);
}

static void put_time(struct json_writer *j, const char *name, int64_t us)
{
    char text[POINT_TIME_BYTES];

    point_time_text(us / 1000, text);
    put_text(j, name, us ? text : NULL);
}

static void snapshot_to_json(const struct source_status *status, struct json_writer *j)
{
    json_name(j, "snapshot");
    if (!status->snapshot_rows_estimate) {
        json_null(j);
        return;
    }
    json_object(j);
    put_int(j, "rows", status->snapshot_rows);
    put_int(j, "rows_estimate", status->snapshot_rows_estimate);
    put_text(j, "table", status->snapshot_table);
    json_end_object(j);
}

static void trail_to_json(struct source *source, struct json_writer *j)
{
    struct trail_state state;

    trail_state(source->trail, &state);
    json_name(j, "trail");
    json_object(j);
    put_int(j, "changes", state.changes);
    put_lsn(j, "lsn", state.lsn);
    put_int(j, "behind_seals", state.behind_seals);
    put_int(j, "bytes", state.bytes);
    put_text(j, "words", state.words);
    json_end_object(j);
}

static void sink_to_json(struct source *source, struct json_writer *j)
{
    struct sink_state state;

    json_name(j, "sink");
    if (!source_sink_state(source, &state)) {
        json_null(j);
        return;
    }
    json_object(j);
    put_lsn(j, "lsn", state.commit_lsn);
    put_int(j, "rows", state.rows);
    put_text(j, "words", state.words);
    json_end_object(j);
}

static void source_to_json(struct source *source, struct json_writer *j)
{
    struct source_status s;

    source_status_get(source, &s);
    json_object(j);
    put_text(j, "name", source->name);
    put_text(j, "kind", "postgresql");
    put_text(j, "url", source->options.url);
    put_text(j, "state", source_state_name(s.state));
    put_text(j, "words", s.words);
    put_text(j, "slot", source->options.slot);
    put_text(j, "system_id", s.database.system_id[0] ? s.database.system_id : NULL);
    put_int(j, "timeline", s.database.timeline);
    put_lsn(j, "durable_lsn", s.durable_lsn);
    put_lsn(j, "server_lsn", s.server_lsn);
    put_int(j, "lag_bytes",
            s.server_lsn > s.durable_lsn ? (int64_t)(s.server_lsn - s.durable_lsn) : 0);
    put_int(j, "lag_ms", s.lag_ms);
    put_int(j, "slot_bytes", s.slot_bytes);
    put_time(j, "committed_at", s.committed_us);
    put_int(j, "changes", s.changes);
    put_int(j, "transactions", s.transactions);
    put_int(j, "malformed_contexts", s.malformed_contexts);
    put_int(j, "spooled_bytes", s.spooled_bytes);
    snapshot_to_json(&s, j);
    if (source->trail) {
        trail_to_json(source, j);
    }
    sink_to_json(source, j);
    json_name(j, "options");
    source_options_to_json(&source->options, j);
    json_end_object(j);
}

static void reply_source(struct http_call *call, unsigned status, struct source *source)
{
    struct json_writer j = json_to(&call->out);

    source_to_json(source, &j);
    http_reply_json(call, status);
}

/* OK: the source as it is now; else the fault. Drops the source. */
static void reply(struct http_call *call, err e, struct source *take_source)
{
    if (e) {
        http_reply_fault(call);
    } else {
        reply_source(call, 200, take_source);
    }
    source_drop(take_source);
}

void sources_route_list(struct http_call *call)
{
    struct audit *audit = call->self;
    struct json_writer j = json_to(&call->out);
    struct source **all = NULL;
    view cursor = http_query(call, "cursor");
    size_t limit = 0, listed = 0;
    const char *last = NULL;
    bool more = false;

    if (http_query_limit(call, &limit)) {
        http_reply_fault(call);
        return;
    }
    size_t count = sources_list(audit, &all);
    json_object(&j);
    json_name(&j, "sources");
    json_array(&j);
    for (size_t i = 0; i < count; i++) {
        bool skip = cursor.at && view_order(view_text(all[i]->name), cursor) <= 0;
        more = more || (!skip && listed == limit);
        if (!skip && !more) {
            source_to_json(all[i], &j);
            last = all[i]->name;
            listed++;
        }
    }
    json_end_array(&j);
    put_text(&j, "next", more ? last : NULL);
    json_end_object(&j);
    http_reply_json(call, 200);
    for (size_t i = 0; i < count; i++) {
        source_drop(all[i]);
    }
    free(all);
}

static err options_from(const struct json *body, struct source_options *options)
{
    const struct json *given = json_get(body, "options");
    view url = body_text(body, "url");
    err e = source_options_preset(options);

    for (const struct json *m = given && given->kind == JSON_OBJECT ? given->inside : NULL;
         m && !e; m = m->next) {
        view value = m->kind == JSON_BOOL ? (m->truth ? VIEW("true") : VIEW("false")) : m->text;
        e = source_options_set(options, m->name, value);
    }
    if (!e && url.len) {
        e = source_options_set(options, VIEW("url"), url);
    }
    return e;
}

/* What would block is said before anything is made. */
static err refuse_blocked(struct http_call *call, const struct source_options *options,
                          const char *password)
{
    const struct check_ask ask = {
        .database = {.url = options->url, .password = password},
        .setup = {.tables = options->tables,
                  .without = options->without,
                  .keyless = (enum setup_keyless)options->keyless,
                  .publication = options->publication},
    };
    struct check check = {0};
    err e = check_run(&call->arena, &ask, &check);

    for (size_t i = 0; i < check.count && !e; i++) {
        const struct finding *f = &check.findings[i];
        if (f->severity == FINDING_BLOCKS) {
            http_fix(call, "%s", f->fix ? f->fix : "`tidemark source check URL` lists all");
            e = fault(ERR_CONFLICT, "%s: %s%s%s", f->what, f->now, f->why ? "; " : "",
                      f->why ? f->why : "");
        }
    }
    return e;
}

/* The SQL that creating would run, for --dry-run. */
static err reply_plan(struct http_call *call, const struct source_options *options,
                      const char *password)
{
    const struct pg_target target = {
        .url = options->url, .password = password, .application = "tidemark"};
    const struct setup_ask ask = {.tables = options->tables,
                                  .without = options->without,
                                  .keyless = (enum setup_keyless)options->keyless,
                                  .slot = options->slot,
                                  .publication = options->publication};
    struct json_writer j = json_to(&call->out);
    struct setup_plan plan = {0};
    struct writer sql = {0};
    struct pg *pg = NULL;
    err e = pg_open(&target, &pg);

    e = e ? e : setup_plan(pg, &ask, &call->arena, &plan);
    pg_close(pg);
    if (e) {
        return e;
    }
    setup_to_sql(&plan, &sql);
    json_object(&j);
    json_name(&j, "steps");
    setup_to_json(&plan, &j);
    json_name(&j, "sql");
    json_view(&j, writer_view(&sql));
    json_end_object(&j);
    writer_fini(&sql);
    http_reply_json(call, 200);
    return OK;
}

static err create(struct http_call *call, struct json *body, struct source_options *options)
{
    struct audit *audit = call->self;
    view name = body_text(body, "name"), password = body_text(body, "password");
    char *secret = password.len ? arena_text(&call->arena, password) : NULL;
    char *name_text = arena_text(&call->arena, name);
    bool dry = view_is_text(body_text(body, "dry_run"), "true");
    bool unchecked = view_is_text(body_text(body, "unchecked"), "true");
    struct source *source = NULL;
    err e = options_from(body, options);

    e = e ? e : source_options_complete(options, name_text);
    if (!e && !dry) {
        struct source *there = source_find(audit, name);
        e = there ? fault(ERR_EXISTS, "there is a source %s already", name_text) : OK;
        source_drop(there);
    }
    e = e || unchecked ? e : refuse_blocked(call, options, secret);
    if (!e && dry) {
        return reply_plan(call, options, secret);
    }
    e = e ? e : source_create(audit, name, options, secret, &source);
    if (!e) {
        reply_source(call, 201, source);
    }
    source_drop(source);
    return e;
}

void sources_route_create(struct http_call *call)
{
    struct source_options options = {0};
    struct json *body = NULL;
    err e = http_body_json(call, &body);

    e = e ? e : create(call, body, &options);
    if (e) {
        http_reply_fault(call);
    }
    source_options_fini(&options);
}

void sources_route_show(struct http_call *call)
{
    struct source *source = route_source(call, http_part(call, "name"));

    if (source) {
        reply(call, OK, source);
    }
}

/* Schema tidemark into the database, or out of it. */
static err change_context(struct http_call *call, struct source *source, view what)
{
    bool remove = view_is_text(what, "remove");
    struct setup_plan plan = {0};
    struct pg *pg = NULL;

    if (!remove && !view_is_text(what, "install")) {
        return fault(ERR_INVALID, "context is \"install\" or \"remove\"");
    }
    err e = source_connect(source, "tidemark", &pg);
    e = e ? e : setup_context_plan(pg, remove, &call->arena, &plan);
    e = e ? e : setup_run(pg, &plan);
    pg_close(pg);
    return e;
}

void sources_route_edit(struct http_call *call)
{
    struct source *source = route_source(call, http_part(call, "name"));
    struct json *body = NULL;
    size_t count = 0;

    if (!source) {
        return;
    }
    err e = http_body_json(call, &body);
    const struct json *options = e ? NULL : json_get(body, "options");
    if (!e && options && options->kind != JSON_OBJECT) {
        e = fault(ERR_INVALID, "options must be an object of names and values");
    }
    for (const struct json *m = e || !options ? NULL : options->inside; m; m = m->next) {
        count++;
    }
    struct setting *edits = arena_take(&call->arena, (count + 1) * sizeof(*edits));
    count = 0;
    for (const struct json *m = e || !options ? NULL : options->inside; m; m = m->next) {
        char *name = arena_text(&call->arena, m->name);
        edits[count++] =
            (struct setting){name, arena_text(&call->arena, body_text(options, name))};
    }
    view context = e ? (view){0} : body_text(body, "context");
    e = e || !context.at ? e : change_context(call, source, context);
    e = e || (context.at && !count) ? e : source_edit(source, edits, count);
    reply(call, e, source);
}

void sources_route_delete(struct http_call *call)
{
    struct source *source = route_source(call, http_part(call, "name"));

    if (!source) {
        return;
    }
    err e = source_remove(source, view_is_text(http_query(call, "keep_slot"), "true"));
    if (e) {
        http_fix(call, "?keep_slot=true removes the source alone, when its database is gone");
        http_reply_fault(call);
    } else {
        http_reply_empty(call);
    }
    source_drop(source);
}

void sources_route_pause(struct http_call *call)
{
    struct source *source = route_source(call, http_part(call, "name"));

    if (source) {
        err e = source_pause(source);
        reply(call, e, source);
    }
}

void sources_route_resume(struct http_call *call)
{
    struct source *source = route_source(call, http_part(call, "name"));
    struct json *body = NULL;

    if (!source) {
        return;
    }
    err e = call->body.len ? http_body_json(call, &body) : OK;
    bool accept = !e && view_is_text(body_text(body, "accept_gap"), "true");
    e = e ? e : source_resume(source, accept);
    reply(call, e, source);
}

void sources_route_snapshot(struct http_call *call)
{
    struct source *source = route_source(call, http_part(call, "name"));
    struct json *body = NULL;

    if (!source) {
        return;
    }
    err e = call->body.len ? http_body_json(call, &body) : OK;
    if (!e) {
        view tables = body_text(body, "tables");
        pthread_mutex_lock(&source->life);
        e = source->capture
                ? capture_ask_snapshot(source->capture, arena_text(&call->arena, tables))
                : fault(ERR_CONFLICT, "%s does not run; resume it first", source->name);
        pthread_mutex_unlock(&source->life);
    }
    reply(call, e, source);
}

void sources_route_trail(struct http_call *call)
{
    struct source *source = route_source(call, http_part(call, "name"));
    struct json_writer j = json_to(&call->out);
    struct ledger_proof proof;

    if (!source) {
        return;
    }
    err e = ledger_prove(source->ledger, NULL, NULL, &proof);
    if (e && e != ERR_CORRUPT) {
        http_reply_fault(call);
        source_drop(source);
        return;
    }
    json_object(&j);
    put_text(&j, "source", source->name);
    json_name(&j, "whole");
    json_bool(&j, !e);
    put_text(&j, "words", e ? fault_here.text : NULL);
    put_int(&j, "seals", proof.seals);
    put_int(&j, "changes", proof.changes);
    put_int(&j, "records", proof.records);
    put_int(&j, "trimmed_records", proof.trimmed_records);
    put_int(&j, "gaps", proof.gaps);
    put_lsn(&j, "from", proof.from);
    put_lsn(&j, "to", proof.to);
    json_end_object(&j);
    http_reply_json(call, 200);
    source_drop(source);
}

static void table_to_json(struct source *source, const struct relation *r,
                          struct json_writer *j)
{
    const struct envelope_options options = {.source = view_text(source->name)};
    struct writer topic = {0};

    envelope_topic(&options, r, &topic);
    json_object(j);
    json_name(j, "schema");
    json_view(j, r->schema);
    json_name(j, "name");
    json_view(j, r->name);
    json_name(j, "topic");
    json_view(j, writer_view(&topic));
    put_int(j, "version", r->version);
    json_name(j, "table");
    relation_to_json(r, j);
    json_end_object(j);
    writer_fini(&topic);
}

static int by_table(const void *a, const void *b)
{
    const struct relation *const *x = a, *const *y = b;
    int order = view_order((*x)->schema, (*y)->schema);

    return order ? order : view_order((*x)->name, (*y)->name);
}

void sources_route_tables(struct http_call *call)
{
    struct source *source = route_source(call, http_part(call, "name"));
    struct json_writer j = json_to(&call->out);
    struct relation **all = NULL;

    if (!source) {
        return;
    }
    size_t count = ledger_tables(source->ledger, &all);
    qsort(all, count, sizeof(struct relation *), by_table);
    json_object(&j);
    json_name(&j, "tables");
    json_array(&j);
    for (size_t i = 0; i < count; i++) {
        table_to_json(source, all[i], &j);
        relation_drop(all[i]);
    }
    json_end_array(&j);
    json_end_object(&j);
    free(all);
    http_reply_json(call, 200);
    source_drop(source);
}
