/* routes_undo.c - /api/v1/undo: the plan that takes changes back, and running it.
 *
 * Both ask the database: a plan is rehearsed there and rolled back, unless "rehearse" is false.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "audit/pg.h"
#include "audit/routes.h"
#include "audit/row_json.h"
#include "audit/undo_find.h"

#define CATCH_UP_MS 5000
#define STEP_MS 20

struct undo_call {
    struct http_call *call;
    struct ref ref;
    view text, to, actor, reason; /* as asked */
    view url, password;           /* another role's way to the database; null: the source's */
    bool apply, rehearse, without_triggers;
    struct source *source; /* held */
    struct undo_selection selection;
    struct pg *pg;
    struct catalog *catalog;
    struct undo_plan *plan;
    struct undo_outcome outcome;
    bool behind;
};

static bool truth(const struct json *body, const char *name, bool preset)
{
    const struct json *member = json_get(body, name);

    return member && member->kind == JSON_BOOL ? member->truth : preset;
}

static err read_ask(struct undo_call *u)
{
    struct json *body = NULL;
    err e = http_body_json(u->call, &body);

    e = e ? e : json_get_text(body, "ref", &u->text);
    e = e ? e : ref_parse(&u->call->arena, u->text, &u->ref);
    if (e) {
        return e;
    }
    u->to = body_text(body, "to");
    u->actor = body_text(body, "actor");
    u->reason = body_text(body, "reason");
    u->url = body_text(body, "url");
    u->password = body_text(body, "password");
    u->apply = truth(body, "apply", false);
    u->rehearse = truth(body, "rehearse", true);
    u->without_triggers = truth(body, "without_triggers", false);
    if (u->ref.kind == REF_SESSION) {
        u->ref.source = body_text(body, "source");
        return u->ref.source.len
                   ? OK
                   : fault(ERR_INVALID, "a session's changes are undone by source: "
                                        "say which one, as \"source\"");
    }
    if (u->ref.kind == REF_TOPIC) {
        view rest;
        (void)view_cut(u->ref.topic, '.', &u->ref.source, &rest);
    }
    return OK;
}

/* What the undo's own changes say of themselves. */
static view context_of(struct undo_call *u)
{
    struct writer text = {0};
    struct json_writer j = json_to(&text);

    json_object(&j);
    json_name(&j, "undo_of");
    json_view(&j, u->text);
    if (u->to.len) {
        json_name(&j, "undo_to");
        json_view(&j, u->to);
    }
    json_name(&j, "actor");
    json_view(&j, u->actor.len ? u->actor : VIEW("tidemark"));
    if (u->reason.len) {
        json_name(&j, "reason");
        json_view(&j, u->reason);
    }
    json_end_object(&j);
    view kept = arena_copy(&u->call->arena, writer_view(&text));
    writer_fini(&text);
    return kept;
}

/* All that is committed by now must be in the trail: "the last change" is to be the last. */
static err wait_for_trail(struct undo_call *u)
{
    struct source_status status;
    struct trail_state trail;
    struct pg_rows *rows = NULL;
    uint64_t lsn = 0;
    /* A transaction of our own without changes: once it is sealed, so is all before it. */
    err e = pg_query(u->pg,
                     "SET synchronous_commit = on; "
                     "SELECT pg_logical_emit_message(true, '" CONTEXT_HEARTBEAT_PREFIX "', '')",
                     NULL, 0, &rows);

    e = e ? e : lsn_parse(pg_value(rows, 0, 0), &lsn);
    pg_rows_free(rows);
    if (!e && atomic_load(&u->source->wanted_lsn) < lsn) {
        atomic_store(&u->source->wanted_lsn, lsn); /* a later one covers it */
    }
    source_status_get(u->source, &status);
    for (int64_t waited = 0; !e && status.durable_lsn < lsn && waited < CATCH_UP_MS &&
                             status.state == SOURCE_RUNNING;
         waited += STEP_MS) {
        trail_state(u->source->trail, &trail);
        (void)trail_wait(u->source->trail, trail.changes, STEP_MS);
        source_status_get(u->source, &status);
    }
    e = e ? e : trail_catch_up(u->source->trail, CATCH_UP_MS);
    u->behind = e == ERR_TIMEOUT || status.durable_lsn < lsn;
    return e == ERR_TIMEOUT ? OK : e;
}

static err find_changes(struct undo_call *u)
{
    struct audit *audit = u->call->self;
    err e = wait_for_trail(u);

    return e ? e
             : undo_select(u->source, &u->ref, u->to, audit->os->now_ms(audit->os),
                           &u->selection);
}

/* Another address must lead to the same server: rows are told apart by what they hold. */
static err check_system(struct undo_call *u)
{
    struct source_status status;
    struct pg_rows *rows = NULL;
    err e =
        pg_query(u->pg, "SELECT system_identifier FROM pg_control_system()", NULL, 0, &rows);

    source_status_get(u->source, &status);
    if (!e && status.database.system_id[0] &&
        !view_is_text(pg_value(rows, 0, 0), status.database.system_id)) {
        e = fault(ERR_INVALID, "that is another database server than the one of source %s",
                  u->source->name);
    }
    pg_rows_free(rows);
    return e;
}

/* Capture needs to read alone; its role may lack the right to write. */
static err connect_to(struct undo_call *u)
{
    struct arena *arena = &u->call->arena;
    const struct pg_target target = {
        .url = u->url.len ? arena_text(arena, u->url) : NULL,
        .password = u->password.len ? arena_text(arena, u->password) : NULL,
        .application = "tidemark undo"};

    if (!target.url) {
        return source_connect(u->source, target.application, &u->pg);
    }
    err e = pg_open(&target, &u->pg);
    return e ? e : check_system(u);
}

static err run(struct undo_call *u)
{
    struct undo_how how = {
        .commit = u->apply, .without_triggers = u->without_triggers, .context = context_of(u)};
    err e = connect_to(u);

    e = e ? e : find_changes(u);
    e = e ? e
          : catalog_read(u->pg, u->selection.relations, u->selection.relation_count,
                         &u->catalog);
    e = e ? e : undo_find_masked(u->source, u->catalog);
    if (e) {
        return e;
    }
    u->plan = undo_plan_new(u->selection.changes, u->selection.count, u->catalog);
    if (u->apply || u->rehearse) {
        e = undo_run(u->pg, u->plan, &how, &u->outcome);
    }
    return e ? e : undo_tell_since(u->source, &u->selection, u->plan);
}

static const char *state_of(const struct undo_call *u)
{
    return u->outcome.committed      ? "applied"
           : u->plan->conflict_count ? "conflicts"
           : !u->plan->step_count    ? "nothing"
                                     : "ready";
}

/* The transaction that the first of the changes is of: who did what is undone. */
static void json_undone(struct undo_call *u, struct json_writer *j)
{
    const struct change *first = u->selection.changes[0];

    json_name(j, "undoes");
    json_object(j);
    json_who(&u->call->arena, view_text(u->source->name), first, j);
    json_end_object(j);
}

static void json_answer(struct undo_call *u, struct json_writer *j)
{
    char *tx = arena_format(&u->call->arena, "tx:%s/%" PRIu32, u->source->name, u->outcome.xid);

    json_name(j, "ref");
    json_view(j, u->text);
    json_name(j, "source");
    json_text(j, u->source->name);
    json_name(j, "to");
    json_view(j, u->to.len ? u->to : (view){0});
    json_name(j, "state");
    json_text(j, state_of(u));
    json_name(j, "rehearsed");
    json_bool(j, u->apply || u->rehearse);
    json_name(j, "applied");
    json_bool(j, u->outcome.committed);
    json_name(j, "tx");
    json_text(j, u->outcome.committed ? tx : NULL);
    json_name(j, "behind");
    json_bool(j, u->behind);
    json_undone(u, j);
    undo_to_json(u->plan, j);
}

/* An error's members first, so that whoever knows no plans finds what they look for. */
static void answer(struct undo_call *u)
{
    struct json_writer j = json_to(&u->call->out);
    bool is_refused = u->apply && u->plan->conflict_count;

    writer_reset(&u->call->out);
    json_object(&j);
    if (is_refused) {
        const struct undo_note *note = &u->plan->conflicts[0];
        json_name(&j, "code");
        json_text(&j, "conflict");
        json_name(&j, "message");
        json_textf(&j, "nothing was changed; %zu conflict%s: %.*s%s", u->plan->conflict_count,
                   u->plan->conflict_count == 1 ? "" : "s", VIEW_ARG(note->words),
                   u->plan->conflict_count == 1 ? "" : " ...");
        json_name(&j, "where");
        json_text(&j, "/api/v1/undo");
        json_name(&j, "fix");
        json_view(&j, note->fix);
    }
    json_answer(u, &j);
    json_end_object(&j);
    http_reply_json(u->call, is_refused ? 409 : 200);
}

void undo_route_run(struct http_call *call)
{
    struct undo_call u = {.call = call};
    err e = read_ask(&u);

    if (e) {
        http_reply_fault(call);
        return;
    }
    u.source = route_source(call, u.ref.source);
    if (!u.source) {
        return;
    }
    e = run(&u);
    if (e) {
        writer_reset(&call->out);
        http_reply_fault(call);
    } else {
        answer(&u);
    }
    undo_plan_free(u.plan);
    catalog_free(u.catalog);
    pg_close(u.pg);
    undo_selection_fini(&u.selection);
    source_drop(u.source);
}
