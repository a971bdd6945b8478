/* routes_rows.c - /api/v1/rows: a row's life, and what differs between two moments.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "audit/routes.h"
#include "audit/row_json.h"

#define CATCH_UP_MS 5000

struct row_call { /* what both rows and their differences begin with */
    struct http_call *call;
    struct ref ref;
    struct source *source; /* held */
    struct labels *labels;
    bool behind; /* the trail is not at the end of what was captured */
    int64_t now_ms;
};

/* False: the call is answered. */
static bool open_row(struct http_call *call, struct row_call *r)
{
    struct audit *audit = call->self;

    *r = (struct row_call){.call = call, .now_ms = audit->os->now_ms(audit->os)};
    err e = ref_parse(&call->arena, http_part(call, "ref"), &r->ref);
    if (!e && r->ref.kind != REF_ROW) {
        e = fault(ERR_INVALID, "that is no row: a row is row:SOURCE.SCHEMA.TABLE/KEY");
    }
    if (e) {
        http_reply_fault(call);
        return false;
    }
    r->source = route_source(call, r->ref.source);
    if (!r->source) {
        return false;
    }
    e = trail_catch_up(r->source->trail, CATCH_UP_MS);
    r->behind = e == ERR_TIMEOUT;
    e = e == ERR_TIMEOUT ? OK : e;
    e = e ? e : labels_load(audit->os, r->source->options.labels, &r->labels);
    if (e) {
        source_drop(r->source);
        http_reply_fault(call);
        return false;
    }
    return true;
}

static void close_row(struct row_call *r)
{
    labels_free(r->labels);
    source_drop(r->source);
}

struct telling { /* entries as they are walked */
    struct json_writer *j;
    struct arena scratch; /* of one entry */
    view source;
    const struct labels *labels;
    int64_t seen, skip, limit;
    bool more;
};

static err tell_entry(void *self, const struct row_entry *entry)
{
    struct telling *t = self;

    t->seen++;
    if (t->seen <= t->skip) {
        return OK;
    }
    if (t->seen > t->skip + t->limit) {
        t->more = true;
        return OK;
    }
    arena_reset(&t->scratch);
    json_entry(&t->scratch, t->source, t->labels, entry, t->j);
    return OK;
}

static void json_moment(const char *name, view asked, const struct moment *moment,
                        struct json_writer *j)
{
    json_name(j, name);
    json_object(j);
    json_name(j, "point");
    json_view(j, asked.len ? asked : VIEW("now"));
    json_name(j, "lsn");
    json_lsn(j, moment->lsn == UINT64_MAX ? 0 : moment->lsn);
    json_end_object(j);
}

static void json_life(const struct row_call *r, const struct row_life *life,
                      struct json_writer *j)
{
    struct ref now = r->ref;

    now.key = writer_view(&life->key);
    json_name(j, "exists");
    json_bool(j, life->exists);
    json_name(j, "key_now");
    json_view(j, life->found ? now.key : (view){0});
    json_name(j, "ref_now");
    json_ref(j, life->found ? &now : &r->ref);
    json_row(r->labels, life->last.relation, life->exists ? life->last.values : NULL, j);
    json_name(j, "lives");
    json_int(j, life->lives);
    json_name(j, "entries");
    json_int(j, life->entries);
    json_name(j, "begins");
    json_object(j);
    json_name(j, "step");
    json_text(j, row_step_name(life->begins));
    json_name(j, "at");
    json_time_us(j, life->begins_us);
    json_name(j, "lsn");
    json_lsn(j, life->begins_lsn);
    json_name(j, "complete"); /* from its creation on */
    json_bool(j, life->begins == ROW_CREATED || life->begins == ROW_CAME);
    json_end_object(j);
    json_name(j, "vanished");
    json_bool(j, life->vanished);
    json_name(j, "gap");
    if (life->gap.to) {
        json_object(j);
        json_name(j, "from");
        json_lsn(j, life->gap.from);
        json_name(j, "to");
        json_lsn(j, life->gap.to);
        json_end_object(j);
    } else {
        json_null(j);
    }
    json_name(j, "covered");
    json_object(j);
    json_name(j, "from");
    json_time_us(j, life->covered.from_us);
    json_name(j, "until");
    json_time_us(j, life->covered.until_us);
    json_name(j, "cold");
    json_bool(j, life->covered.cold);
    json_name(j, "behind");
    json_bool(j, r->behind);
    json_end_object(j);
}

static void json_address(const struct ref *ref, struct json_writer *j)
{
    json_name(j, "ref");
    json_ref(j, ref);
    json_name(j, "source");
    json_view(j, ref->source);
    json_name(j, "schema");
    json_view(j, ref->schema);
    json_name(j, "table");
    json_view(j, ref->table);
    json_name(j, "key");
    json_view(j, ref->key);
}

static err no_row(const struct row_call *r, view asked)
{
    struct writer name = {0};

    ref_print(&r->ref, &name);
    err e = fault(ERR_NOT_FOUND, "no change of %.*s was captured%s%.*s",
                  VIEW_ARG(writer_view(&name)), asked.len ? " up to " : "", VIEW_ARG(asked));
    http_fix(r->call, "`tidemark change ls --source %.*s table %.*s` lists what was",
             VIEW_ARG(r->ref.source), VIEW_ARG(r->ref.table));
    writer_fini(&name);
    return e;
}

static err show(struct row_call *r, struct json_writer *j)
{
    struct http_call *call = r->call;
    struct telling t = {.j = j, .source = r->ref.source, .labels = r->labels};
    struct row_query query = {
        .trail = r->source->trail, .ledger = r->source->ledger, .ref = &r->ref};
    struct row_life life = {0};
    view at = http_query(call, "at");
    size_t limit = 0;
    err e = http_query_limit(call, &limit);

    e = e ? e : http_query_int(call, "cursor", 0, 0, INT64_MAX - HTTP_LIST_MAX, &t.skip);
    e = e ? e : moment_parse(query.trail, r->ref.source, at, r->now_ms, &query.until);
    if (e) {
        return e;
    }
    t.limit = (int64_t)limit;
    json_object(j);
    json_address(&r->ref, j);
    json_moment("at", at, &query.until, j);
    json_name(j, "changes");
    json_array(j);
    e = row_walk(&query, tell_entry, &t, &life);
    arena_fini(&t.scratch);
    if (!e && !life.found) {
        e = no_row(r, at);
    }
    if (!e) {
        json_end_array(j);
        json_life(r, &life, j);
        json_name(j, "next");
        if (t.more) {
            json_textf(j, "%" PRId64, t.skip + t.limit);
        } else {
            json_text(j, "");
        }
        json_end_object(j);
    }
    row_life_fini(&life);
    return e;
}

void rows_route_show(struct http_call *call)
{
    struct json_writer j = json_to(&call->out);
    struct row_call r;

    if (!open_row(call, &r)) {
        return;
    }
    if (show(&r, &j)) {
        writer_reset(&call->out);
        http_reply_fault(call);
    } else {
        http_reply_json(call, 200);
    }
    close_row(&r);
}

static err side(struct row_call *r, const char *name, struct moment *moment,
                struct row_life *life)
{
    struct row_query query = {
        .trail = r->source->trail, .ledger = r->source->ledger, .ref = &r->ref};
    view asked = http_query(r->call, name);
    err e = moment_parse(query.trail, r->ref.source, asked, r->now_ms, &query.until);

    *moment = query.until;
    return e ? e : row_walk(&query, NULL, NULL, life);
}

/* known: what is said of it is certain, as its history goes back to its creation. */
static void json_side_of(const struct row_call *r, const char *name, view asked,
                         const struct moment *moment, const struct row_life *life, bool known,
                         struct json_writer *j)
{
    json_name(j, name);
    json_object(j);
    json_moment("at", asked, moment, j);
    json_name(j, "known");
    json_bool(j, life->found || known);
    json_name(j, "exists");
    json_bool(j, life->exists);
    json_name(j, "last_change");
    json_time_us(j, life->last_us);
    json_row(r->labels, life->last.relation, life->exists ? life->last.values : NULL, j);
    json_end_object(j);
}

/* Both images by the newer description. */
static void json_difference(const struct row_call *r, const struct row_life *from,
                            const struct row_life *to, struct json_writer *j)
{
    struct relation *relation = to->last.relation ? to->last.relation : from->last.relation;
    size_t count = relation ? (size_t)relation->count : 0;
    struct value *old = xcalloc(count + 1, sizeof(*old));
    struct value *new = xcalloc(count + 1, sizeof(*new));

    for (size_t i = 0; i < count; i++) {
        if (from->exists) {
            old[i] = row_image_value(&from->last, relation, (int)i);
        }
        if (to->exists) {
            new[i] = row_image_value(&to->last, relation, (int)i);
        }
    }
    json_name(j, "fields");
    if (relation) {
        json_fields(r->labels, relation, from->exists ? old : NULL, to->exists ? new : NULL,
                    false, j);
    } else {
        json_array(j);
        json_end_array(j);
    }
    json_name(j, "changes");
    json_int(j, MAX(to->entries - from->entries, 0));
    free(old);
    free(new);
}

static err diff(struct row_call *r, struct json_writer *j)
{
    struct row_life from = {0}, to = {0};
    struct moment from_at, to_at;
    view from_text = http_query(r->call, "from"), to_text = http_query(r->call, "to");
    err e = side(r, "from", &from_at, &from);

    e = e ? e : side(r, "to", &to_at, &to);
    if (!e && from_at.lsn > to_at.lsn) {
        e = fault(ERR_INVALID, "--from is after --to: turn them round");
    }
    if (!e && !to.found) {
        e = no_row(r, to_text);
    }
    if (!e) {
        json_object(j);
        json_address(&r->ref, j);
        bool whole = to.begins == ROW_CREATED;
        json_side_of(r, "from", from_text, &from_at, &from, whole, j);
        json_side_of(r, "to", to_text, &to_at, &to, whole, j);
        json_difference(r, &from, &to, j);
        json_end_object(j);
    }
    row_life_fini(&from);
    row_life_fini(&to);
    return e;
}

void rows_route_diff(struct http_call *call)
{
    struct json_writer j = json_to(&call->out);
    struct row_call r;

    if (!open_row(call, &r)) {
        return;
    }
    if (diff(&r, &j)) {
        writer_reset(&call->out);
        http_reply_fault(call);
    } else {
        http_reply_json(call, 200);
    }
    close_row(&r);
}
