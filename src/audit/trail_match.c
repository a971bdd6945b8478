/* trail_match.c - what a filter asks of the index, and whether a change answers it.
 *
 * Invariant: when plan_match() says yes to a change, its place passes plan_place() and its
 * terms meet every need; so the index may propose too much, never too little.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/trail_match.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/trail_terms.h"

#define OID_BOOL 16

static struct trail_need *need(struct plan *plan)
{
    plan->needs =
        array_room(plan->needs, plan->need_count, &plan->need_room, sizeof(*plan->needs));
    plan->needs[plan->need_count] = (struct trail_need){0};
    return &plan->needs[plan->need_count++];
}

static void may_be(struct trail_need *n, uint32_t term)
{
    assert(n->count < COUNT(n->terms));
    n->terms[n->count++] = term;
}

static void need_one(struct plan *plan, enum term_kind kind, view name, view value)
{
    may_be(need(plan), term_hash(kind, name, value));
}

static uint32_t wide(void)
{
    return term_hash(TERM_WIDE, VIEW(""), VIEW(""));
}

static void need_or_wide(struct plan *plan, enum term_kind kind, view name, view value)
{
    struct trail_need *n = need(plan);

    may_be(n, term_hash(kind, name, value));
    may_be(n, wide());
}

static view or_null(view value)
{
    return value.at ? value : TERM_NULL;
}

struct wanted_walk {
    struct plan *plan;
    enum term_kind kind;
    struct writer path;
};

/* Of a wanted document: every scalar in it must be there under its path. */
static void need_document(struct wanted_walk *w, const struct json *json)
{
    size_t len = w->path.len;

    if (json->kind != JSON_OBJECT && json->kind != JSON_ARRAY) {
        view text = json->kind == JSON_NULL   ? TERM_NULL
                    : json->kind == JSON_BOOL ? (json->truth ? VIEW("t") : VIEW("f"))
                                              : json->text;
        need_or_wide(w->plan, w->kind, writer_view(&w->path), text);
        return;
    }
    for (const struct json *in = json->inside; in; in = in->next) {
        if (json->kind == JSON_OBJECT) {
            write_view(&w->path, len ? VIEW(".") : VIEW(""));
            write_view(&w->path, in->name);
        }
        need_document(w, in);
        w->path.len = len;
    }
}

static enum term_kind side_of(const struct filter *f)
{
    return view_is_text(f->name, "context")  ? TERM_CONTEXT
           : view_is_text(f->name, "before") ? TERM_BEFORE
                                             : TERM_AFTER;
}

/* Of "schema.table" and "table", where either may hold dots. */
static void need_table(struct plan *plan, view value)
{
    struct trail_need *n = need(plan);
    view head, first = value, last = value, tail;

    if (view_cut(value, '.', &head, &tail)) {
        first = last = tail;
    }
    while (view_cut(last, '.', &head, &tail)) {
        last = tail;
    }
    may_be(n, term_hash(TERM_TABLE, value, VIEW("")));
    may_be(n, term_hash(TERM_TABLE, first, VIEW("")));
    may_be(n, term_hash(TERM_TABLE, last, VIEW("")));
}

static void need_changed(struct plan *plan, const struct filter *f)
{
    struct trail_need *n = need(plan);

    may_be(n, term_hash(TERM_CHANGED, f->name, VIEW("")));
    may_be(n, term_hash(TERM_CHANGED, VIEW(""), VIEW("")));
    plan->compares = true;
    if (f->value.at) {
        need_or_wide(plan, TERM_AFTER, f->name, f->value);
    }
}

static view xid_of(view value)
{
    view xid, rest;

    (void)view_cut(value, '@', &xid, &rest);
    return xid;
}

/* long: table */
static void need_of(struct plan *plan, size_t at)
{
    const struct filter *f = &plan->filters[at];
    struct wanted_walk walk = {.plan = plan};
    struct trail_need *n;

    switch (f->kind) {
    case FILTER_TABLE:
        need_table(plan, f->value);
        break;
    case FILTER_KEY:
        need_one(plan, TERM_KEY, VIEW(""), f->value);
        break;
    case FILTER_OPERATION:
        need_one(plan, TERM_OPERATION, VIEW(""), f->value);
        break;
    case FILTER_CHANGED:
        need_changed(plan, f);
        break;
    case FILTER_BEFORE:
        n = need(plan);
        may_be(n, term_hash(TERM_BEFORE, f->name, or_null(f->value)));
        may_be(n, term_hash(TERM_CHANGED, VIEW(""), VIEW("")));
        may_be(n, wide());
        plan->compares = true;
        break;
    case FILTER_AFTER:
        need_or_wide(plan, TERM_AFTER, f->name, or_null(f->value));
        break;
    case FILTER_VALUE:
        n = need(plan);
        may_be(n, term_hash(TERM_BEFORE, f->name, or_null(f->value)));
        may_be(n, term_hash(TERM_AFTER, f->name, or_null(f->value)));
        may_be(n, wide());
        break;
    case FILTER_CONTEXT:
        need_or_wide(plan, f->value.at ? TERM_CONTEXT : TERM_CONTEXT_PATH, f->name,
                     f->value.at ? f->value : VIEW(""));
        break;
    case FILTER_CONTAINS:
        walk.kind = side_of(f);
        need_document(&walk, plan->wanted[at]);
        writer_fini(&walk.path);
        break;
    case FILTER_ACTOR:
        need_or_wide(plan, TERM_ACTOR, VIEW(""), f->value);
        break;
    case FILTER_TX:
        need_one(plan, TERM_TX, VIEW(""), xid_of(f->value));
        break;
    case FILTER_SINCE:
        plan->from_us = MAX(plan->from_us, f->number);
        break;
    case FILTER_UNTIL:
        plan->until_us = MIN(plan->until_us, f->number);
        break;
    case FILTER_AFTER_LSN:
    case FILTER_UNTIL_LSN:
        break;
    }
}

/* A row and a transaction are in few blocks: asked first, they end the others' search. */
static bool is_rare(enum filter_kind kind)
{
    return kind == FILTER_KEY || kind == FILTER_TX;
}

err plan_init(struct plan *plan, const struct filter *filters, size_t count)
{
    err e = OK;

    *plan = (struct plan){
        .filters = filters, .count = count, .from_us = INT64_MIN, .until_us = INT64_MAX};
    plan->wanted = arena_take(&plan->arena, (count + 1) * sizeof(struct json *));
    for (size_t i = 0; i < count && !e; i++) {
        if (filters[i].kind == FILTER_CONTAINS) {
            struct json *json = NULL;
            e = json_parse(&plan->arena, filters[i].value, &json);
            plan->wanted[i] = json;
        }
    }
    for (int rare = 1; rare >= 0 && !e; rare--) {
        for (size_t i = 0; i < count; i++) {
            if (!filters[i].is_not && is_rare(filters[i].kind) == (rare == 1)) {
                need_of(plan, i);
            }
        }
    }
    if (e) {
        plan_fini(plan);
    }
    return e;
}

void plan_fini(struct plan *plan)
{
    free(plan->needs);
    arena_fini(&plan->arena);
    *plan = (struct plan){0};
}

static bool table_matches(view value, view schema, view name)
{
    if (view_is(value, name)) {
        return true;
    }
    return value.len == schema.len + 1 + name.len && view_starts(value, schema) &&
           value.at[schema.len] == '.' && view_is(view_from(value, schema.len + 1), name);
}

static bool tx_matches(view value, uint32_t xid, uint64_t commit_lsn)
{
    view number, lsn_of;
    int64_t wanted;
    uint64_t lsn = 0;
    bool has_lsn = view_cut(value, '@', &number, &lsn_of);

    if (view_to_int(number, &wanted) || wanted != (int64_t)xid) {
        return false;
    }
    return !has_lsn || (lsn_parse(lsn_of, &lsn) == OK && lsn == commit_lsn);
}

/* What a place decides: 1 yes, 0 no, -1 it does not. */
static int decided_by_place(const struct filter *f, const struct trail_place *place,
                            const struct trail_table *table)
{
    switch (f->kind) {
    case FILTER_TABLE:
        return table_matches(f->value, table->schema, table->name);
    case FILTER_OPERATION:
        return view_is_text(f->value, change_kind_name((enum change_kind)place->kind));
    case FILTER_TX:
        return tx_matches(f->value, place->xid, place->commit_lsn);
    case FILTER_SINCE:
        return place->committed_us >= f->number;
    case FILTER_UNTIL:
        return place->committed_us <= f->number;
    case FILTER_AFTER_LSN:
        return place->commit_lsn > (uint64_t)f->number;
    case FILTER_UNTIL_LSN:
        return place->commit_lsn <= (uint64_t)f->number;
    default:
        return -1;
    }
}

bool plan_place(const struct plan *plan, const struct trail_place *place,
                const struct trail_table *table)
{
    for (size_t i = 0; i < plan->count; i++) {
        const struct filter *f = &plan->filters[i];
        int decided = decided_by_place(f, place, table);
        if (decided >= 0 && (decided == 1) == f->is_not) {
            return false;
        }
    }
    return true;
}

static bool number_is(view a, view b)
{
    char plain_a[NUMBER_TEXT_MAX + 16], plain_b[NUMBER_TEXT_MAX + 16];
    size_t len_a, len_b;

    if (view_is(a, b)) {
        return true;
    }
    return number_plain(a, plain_a, &len_a) && number_plain(b, plain_b, &len_b) &&
           len_a == len_b && !memcmp(plain_a, plain_b, len_a);
}

static bool scalar_is(const struct json *a, const struct json *b)
{
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return a->truth == b->truth;
    case JSON_NUMBER:
        return number_is(a->text, b->text);
    default:
        return view_is(a->text, b->text);
    }
}

static bool object_contains(const struct json *a, const struct json *b)
{
    for (const struct json *wanted = b->inside; wanted; wanted = wanted->next) {
        const struct json *last = NULL; /* of members with one name the last one counts */
        for (const struct json *in = a->inside; in; in = in->next) {
            last = view_is(in->name, wanted->name) ? in : last;
        }
        if (!last || !json_contains(last, wanted)) {
            return false;
        }
    }
    return true;
}

static bool is_scalar(const struct json *json)
{
    return json->kind != JSON_OBJECT && json->kind != JSON_ARRAY;
}

static bool array_has(const struct json *a, const struct json *wanted)
{
    for (const struct json *in = a->inside; in; in = in->next) {
        bool same = is_scalar(in) ? scalar_is(in, wanted)
                                  : in->kind == wanted->kind && json_contains(in, wanted);
        if (same) {
            return true;
        }
    }
    return false;
}

bool json_contains(const struct json *a, const struct json *b)
{
    if (a->kind == JSON_OBJECT && b->kind == JSON_OBJECT) {
        return object_contains(a, b);
    }
    if (a->kind == JSON_ARRAY && b->kind == JSON_ARRAY) {
        for (const struct json *wanted = b->inside; wanted; wanted = wanted->next) {
            if (!array_has(a, wanted)) {
                return false;
            }
        }
        return true;
    }
    return is_scalar(a) && is_scalar(b) && scalar_is(a, b);
}

/* PostgreSQL lets an array hold a bare scalar, at the top alone. */
static bool top_contains(const struct json *a, const struct json *b)
{
    return json_contains(a, b) || (a->kind == JSON_ARRAY && is_scalar(b) && array_has(a, b));
}

static view text_of_json(const struct json *json)
{
    switch (json->kind) {
    case JSON_NULL:
        return VIEW("null");
    case JSON_BOOL:
        return json->truth ? VIEW("true") : VIEW("false");
    default:
        return json->text;
    }
}

/* Something at the path that is the value, or anything when that is null. In arrays any item
 * may be meant; names may hold dots. */
static bool path_has(const struct json *json, view path, view value)
{
    if (json->kind == JSON_ARRAY) {
        for (const struct json *in = json->inside; in; in = in->next) {
            if (path_has(in, path, value)) {
                return true;
            }
        }
        return path.len == 0 && !value.at;
    }
    if (path.len == 0) {
        return !value.at || (is_scalar(json) &&
                             (json->kind == JSON_NUMBER ? number_is(json->text, value)
                                                        : view_is(text_of_json(json), value)));
    }
    for (const struct json *in = json->kind == JSON_OBJECT ? json->inside : NULL; in;
         in = in->next) {
        bool whole = view_is(path, in->name);
        bool inside = path.len > in->name.len && view_starts(path, in->name) &&
                      path.at[in->name.len] == '.';
        if ((whole && path_has(in, VIEW(""), value)) ||
            (inside && path_has(in, view_from(path, in->name.len + 1), value))) {
            return true;
        }
    }
    return false;
}

static bool is_numeric(const struct column *column)
{
    static const uint32_t types[] = {20, 21, 23, 700, 701, 1700}; /* int, float, numeric */

    for (size_t i = 0; i < COUNT(types); i++) {
        if (column->type == types[i]) {
            return true;
        }
    }
    return false;
}

static bool text_is(const struct column *column, view text, view value)
{
    if (view_is(text, value)) {
        return true;
    }
    if (is_numeric(column)) {
        return number_is(text, value);
    }
    if (column->type == OID_BOOL) {
        return (view_is_text(text, "t") && view_is_text(value, "true")) ||
               (view_is_text(text, "f") && view_is_text(value, "false"));
    }
    return false;
}

/* name: a column, or column.path inside of a document. value null: a NULL. */
static bool image_has(struct arena *arena, const struct change *change,
                      const struct value *image, view name, view value)
{
    const struct relation *relation = change->relation;

    for (int i = 0; image && i < relation->count; i++) {
        const struct column *column = &relation->columns[i];
        struct json *json = NULL;
        bool inside = name.len > column->name.len && view_starts(name, column->name) &&
                      name.at[column->name.len] == '.' && is_document(column);
        if (view_is(name, column->name)) {
            bool same =
                value.at ? image[i].kind == VALUE_TEXT && text_is(column, image[i].text, value)
                         : image[i].kind == VALUE_NULL;
            if (same) {
                return true;
            }
        }
        if (inside && image[i].kind == VALUE_TEXT &&
            json_parse(arena, image[i].text, &json) == OK &&
            path_has(json, view_from(name, column->name.len + 1),
                     value.at ? value : VIEW("null"))) {
            return true;
        }
    }
    return false;
}

static bool is_changed(const struct change *change, view name)
{
    int column = change->relation ? relation_column(change->relation, name) : -1;

    return column >= 0 && change->before && change->after && change_is_changed(change, column);
}

static bool key_is(const struct change *change, view value)
{
    struct change old = *change;
    struct writer key = {0};

    if (!change->before && !change->after) {
        return false;
    }
    change_key_text(change, &key);
    bool same = view_is(writer_view(&key), value);
    if (!same && change->before && change->after) {
        old.after = NULL;
        writer_reset(&key);
        change_key_text(&old, &key);
        same = view_is(writer_view(&key), value);
    }
    writer_fini(&key);
    return same;
}

/* The image as everybody sees it: numbers, truths and documents are what they are. */
static const struct json *image_json(struct arena *arena, const struct change *change,
                                     view side)
{
    struct change_origin origin = {.source = VIEW(""), .topic = VIEW(""), .offset = -1};
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    struct json *json = NULL;

    change_to_json(change, &origin, &j);
    view text = arena_copy(arena, writer_view(&out));
    writer_fini(&out);
    if (json_parse(arena, text, &json)) {
        return NULL;
    }
    for (const struct json *in = json->inside; in; in = in->next) {
        if (view_is(in->name, side) && in->kind == JSON_OBJECT) {
            return in;
        }
    }
    return NULL;
}

static const struct json *context_json(struct arena *arena, const struct change *change)
{
    struct json *json = NULL;

    return change->context.len && json_parse(arena, change->context, &json) == OK ? json : NULL;
}

static bool contains(struct arena *arena, const struct change *change, view side,
                     const struct json *wanted)
{
    const struct json *has = view_is_text(side, "context") ? context_json(arena, change)
                                                           : image_json(arena, change, side);

    return has && top_contains(has, wanted);
}

static bool actor_is(struct arena *arena, const struct change *change, view value)
{
    view actor = change->context.len ? change_actor(arena, change->context) : (view){0};

    return actor.at && view_is(actor, value);
}

static bool context_has(struct arena *arena, const struct change *change,
                        const struct filter *f)
{
    const struct json *json = context_json(arena, change);

    return json && path_has(json, f->name, f->value);
}

/* long: table */
static bool filter_matches(const struct plan *plan, size_t at, struct arena *arena,
                           const struct change *change)
{
    const struct filter *f = &plan->filters[at];
    bool rows = change->relation != NULL;

    switch (f->kind) {
    case FILTER_TABLE:
        return rows &&
               table_matches(f->value, change->relation->schema, change->relation->name);
    case FILTER_KEY:
        return rows && key_is(change, f->value);
    case FILTER_OPERATION:
        return view_is_text(f->value, change_kind_name(change->kind));
    case FILTER_CHANGED:
        return rows && is_changed(change, f->name) &&
               (!f->value.at || image_has(arena, change, change->after, f->name, f->value));
    case FILTER_BEFORE:
        return rows && image_has(arena, change, change->before, f->name, f->value);
    case FILTER_AFTER:
        return rows && image_has(arena, change, change->after, f->name, f->value);
    case FILTER_VALUE:
        return rows && (image_has(arena, change, change->before, f->name, f->value) ||
                        image_has(arena, change, change->after, f->name, f->value));
    case FILTER_CONTEXT:
        return context_has(arena, change, f);
    case FILTER_CONTAINS:
        return contains(arena, change, f->name, plan->wanted[at]);
    case FILTER_ACTOR:
        return actor_is(arena, change, f->value);
    case FILTER_TX:
        return tx_matches(f->value, change->place.xid, change->place.commit_lsn);
    case FILTER_SINCE:
        return change->place.committed_us >= f->number;
    case FILTER_UNTIL:
        return change->place.committed_us <= f->number;
    case FILTER_AFTER_LSN:
        return change->place.commit_lsn > (uint64_t)f->number;
    case FILTER_UNTIL_LSN:
        return change->place.commit_lsn <= (uint64_t)f->number;
    }
    return false;
}

static bool is_of_old(const struct filter *f)
{
    return f->kind == FILTER_CHANGED || f->kind == FILTER_BEFORE;
}

bool plan_may_match(const struct plan *plan, struct arena *arena, const struct change *change)
{
    for (size_t i = 0; i < plan->count; i++) {
        const struct filter *f = &plan->filters[i];
        if (!is_of_old(f) && filter_matches(plan, i, arena, change) == f->is_not) {
            return false;
        }
    }
    return true;
}

bool plan_match(const struct plan *plan, struct arena *arena, const struct change *change)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (filter_matches(plan, i, arena, change) == plan->filters[i].is_not) {
            return false;
        }
    }
    return true;
}
