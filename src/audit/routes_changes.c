/* routes_changes.c - /api/v1/changes: find, follow, count, show.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "audit/labels.h"
#include "audit/ref.h"
#include "audit/routes.h"
#include "audit/trail.h"
#include "audit/trail_read.h"

#define CATCH_UP_MS 2000
#define PAGE_BYTES_MAX (8u << 20) /* a page ends early when its changes are large */

struct changes_call {
    struct http_call *call;
    struct source *source; /* held */
    struct labels *labels; /* NULL: there are none, or they were not asked for */
    bool people;           /* what they are shown was asked for */
    struct trail_query query;
    bool behind; /* the trail is not at the end of what was sealed */
};

static void close_changes(struct changes_call *c)
{
    labels_free(c->labels);
    source_drop(c->source);
}

/* The one asked for, or the only one there is. False: the call is answered. */
static bool find_source(struct http_call *call, struct source **out)
{
    view name = http_query(call, "source");
    struct source **all = NULL;

    if (name.len) {
        *out = route_source(call, name);
        return *out != NULL;
    }
    size_t count = sources_list(call->self, &all);
    *out = count == 1 ? all[0] : NULL;
    for (size_t i = 0; i < count && count != 1; i++) {
        source_drop(all[i]);
    }
    free(all);
    if (!*out) {
        http_fix(call, count ? "name it: --source NAME, or ?source=NAME; `tidemark source ls` "
                               "lists them"
                             : "`tidemark source create NAME URL` makes one");
        http_refuse(call, count ? 400 : 404, count ? "invalid" : "not_found",
                    count ? "there are %zu sources: whose changes?" : "there is no source yet",
                    count);
    }
    return *out != NULL;
}

static err read_filters(struct http_call *call, struct trail_query *query)
{
    struct audit *audit = call->self;
    struct filter *filters = NULL;
    view *words = NULL;
    size_t count = 0;
    err e = filter_words(&call->arena, http_query(call, "filter"), &words, &count);

    e = e ? e
          : filter_parse(&call->arena, words, count, audit->os->now_ms(audit->os), &filters,
                         &query->count);
    query->filters = filters;
    query->recall = !view_is_text(http_query(call, "recall"), "false");
    if (e) {
        http_fix(call, "the part \"Finding\" of docs/audit.md lists what can be asked");
    }
    return e;
}

static err read_order(struct http_call *call, struct trail_query *query)
{
    view order = http_query(call, "order");

    query->oldest_first = view_is_text(order, "oldest");
    if (order.len && !query->oldest_first && !view_is_text(order, "newest")) {
        return fault(ERR_INVALID, "order=%.*s: newest or oldest", VIEW_ARG(order));
    }
    return OK;
}

static err read_labels(struct changes_call *c)
{
    struct audit *audit = c->call->self;

    c->people = view_is_text(http_query(c->call, "labels"), "true");
    if (!c->people) {
        return OK;
    }
    return labels_load(audit->os, c->source->options.labels, &c->labels);
}

/* False: the call is answered. */
static bool open_changes(struct http_call *call, struct changes_call *c)
{
    *c = (struct changes_call){.call = call};
    if (!find_source(call, &c->source)) {
        return false;
    }
    err e = read_filters(call, &c->query);
    e = e ? e : read_order(call, &c->query);
    e = e ? e : http_query_limit(call, &c->query.limit);
    e = e ? e : http_query_int(call, "cursor", 0, 0, INT64_MAX, &c->query.cursor);
    e = e ? e : read_labels(c);
    if (e) {
        http_reply_fault(call);
        close_changes(c);
    }
    return !e;
}

/* people: with what they are shown besides, the business's words. */
static void write_change(const struct labels *labels, bool people, const struct trail_hit *hit,
                         struct json_writer *j)
{
    struct writer one = {0};
    struct json_writer inner = json_to(&one);

    if (!people) {
        change_to_json(hit->change, &hit->origin, j);
        return;
    }
    change_to_json(hit->change, &hit->origin, &inner);
    assert(one.len > 1);
    one.len--; /* the closing brace: a member more */
    write_view(&one, VIEW(",\"labels\":"));
    inner = json_to(&one);
    labels_to_json(labels, hit->change, &inner);
    write_u8(&one, '}');
    json_raw(j, writer_view(&one));
    writer_fini(&one);
}

struct listing {
    const struct changes_call *of;
    struct json_writer *j;
};

static err list_one(void *self, const struct trail_hit *hit)
{
    struct listing *l = self;

    write_change(l->of->labels, l->of->people, hit, l->j);
    return l->j->out->len > PAGE_BYTES_MAX ? ERR_CANCELLED : OK;
}

static void write_time(const char *name, int64_t us, struct json_writer *j)
{
    char text[POINT_TIME_BYTES];

    json_name(j, name);
    point_time_text(us / 1000, text);
    json_text(j, us ? text : NULL);
}

static void write_covered(const struct changes_call *c, const struct trail_found *found,
                          struct json_writer *j)
{
    json_name(j, "covered");
    json_object(j);
    write_time("from", found->from_us, j);
    write_time("until", found->until_us, j);
    json_name(j, "cold");
    json_bool(j, found->cold);
    json_name(j, "behind");
    json_bool(j, c->behind);
    json_end_object(j);
    json_name(j, "numbered");
    json_int(j, found->numbered);
    json_name(j, "next");
    if (found->cursor) {
        json_textf(j, "%" PRId64, found->cursor);
    } else {
        json_null(j);
    }
}

static err list(struct changes_call *c)
{
    struct json_writer j = json_to(&c->call->out);
    struct listing to = {.of = c, .j = &j};
    struct trail_found found;
    err e = trail_catch_up(c->source->trail, CATCH_UP_MS);

    c->behind = e == ERR_TIMEOUT;
    json_object(&j);
    json_name(&j, "changes");
    json_array(&j);
    e = trail_find(c->source->trail, &c->query, list_one, &to, &found);
    json_end_array(&j);
    if (!e) {
        write_covered(c, &found, &j);
    }
    json_end_object(&j);
    return e;
}

static void reply(struct http_call *call, err e)
{
    if (e) {
        writer_reset(&call->out);
        http_reply_fault(call);
    } else {
        http_reply_json(call, 200);
    }
}

void changes_route_list(struct http_call *call)
{
    struct changes_call c;

    if (open_changes(call, &c)) {
        reply(call, list(&c));
        close_changes(&c);
    }
}

struct following { /* of one reader of events; the last of its two holders frees it */
    struct http_stream *stream;
    struct trail_follower follower;
    struct labels *labels;
    bool people;
    struct arena arena; /* the filters */
    _Atomic int holders;
    _Atomic bool gone;
};

static void following_drop(struct following *f)
{
    if (atomic_fetch_sub(&f->holders, 1) == 1) {
        labels_free(f->labels);
        arena_fini(&f->arena);
        free(f);
    }
}

static void reader_gone(void *self)
{
    struct following *f = self;

    atomic_store(&f->gone, true);
    following_drop(f);
}

static bool is_gone(void *self)
{
    struct following *f = self;

    return atomic_load(&f->gone);
}

static err tell_one(void *self, const struct trail_hit *hit)
{
    struct following *f = self;
    struct writer out = {0};
    struct json_writer j = json_to(&out);

    write_change(f->labels, f->people, hit, &j);
    err e = http_stream_event(f->stream, "change", writer_view(&out));
    writer_fini(&out);
    return e ? ERR_CANCELLED : OK;
}

static void told(void *self)
{
    struct following *f = self;

    http_stream_end(f->stream);
    following_drop(f);
}

/* The call's arena goes with the answer, so the filters get one of their own. */
static void keep_query(struct following *f, const struct trail_query *query)
{
    struct filter *filters = arena_take(&f->arena, (query->count + 1) * sizeof(*filters));

    for (size_t i = 0; i < query->count; i++) {
        const struct filter *from = &query->filters[i];
        filters[i] = *from;
        filters[i].name = from->name.at ? arena_copy(&f->arena, from->name) : from->name;
        filters[i].value = from->value.at ? arena_copy(&f->arena, from->value) : from->value;
    }
    f->follower.query = *query;
    f->follower.query.filters = filters;
}

void changes_route_follow(struct http_call *call)
{
    struct changes_call c;
    struct trail_state state;

    if (!open_changes(call, &c)) {
        return;
    }
    struct following *f = xcalloc(1, sizeof(*f));
    f->labels = c.labels;
    f->people = c.people;
    c.labels = NULL;
    keep_query(f, &c.query);
    trail_state(c.source->trail, &state);
    if (!http_query(call, "cursor").len) {
        f->follower.query.cursor = state.changes; /* what comes from now on */
    }
    f->follower.each = tell_one;
    f->follower.is_gone = is_gone;
    f->follower.done = told;
    f->follower.self = f;
    atomic_store(&f->holders, 2);
    f->stream = http_stream_start(call, reader_gone, f);
    if (f->stream) {
        trail_follow(c.source->trail, &f->follower);
    } else {
        atomic_store(&f->holders, 1);
        following_drop(f);
    }
    close_changes(&c);
}

static void write_count(const struct trail_count *count, const struct labels *labels,
                        struct json_writer *j)
{
    json_object(j);
    json_name(j, "schema");
    json_view(j, count->schema);
    json_name(j, "table");
    json_view(j, count->table);
    json_name(j, "label");
    json_view(j, labels_table(labels, count->schema, count->table));
    json_name(j, "creates");
    json_int(j, count->creates);
    json_name(j, "updates");
    json_int(j, count->updates);
    json_name(j, "deletes");
    json_int(j, count->deletes);
    json_name(j, "truncates");
    json_int(j, count->truncates);
    json_name(j, "reads");
    json_int(j, count->reads);
    write_time("first", count->first_us, j);
    write_time("last", count->last_us, j);
    json_end_object(j);
}

static err stats(struct changes_call *c)
{
    struct http_call *call = c->call;
    struct json_writer j = json_to(&call->out);
    struct trail_count *counts = NULL;
    struct trail_state state;
    char lsn[LSN_TEXT_BYTES];
    size_t count = 0;
    err e = trail_catch_up(c->source->trail, CATCH_UP_MS);

    e = trail_counts(c->source->trail, &call->arena, &counts, &count);
    if (e) {
        return e;
    }
    trail_state(c->source->trail, &state);
    lsn_text(state.lsn, lsn);
    json_object(&j);
    json_name(&j, "source");
    json_text(&j, c->source->name);
    json_name(&j, "tables");
    json_array(&j);
    for (size_t i = 0; i < count; i++) {
        write_count(&counts[i], c->labels, &j);
    }
    json_end_array(&j);
    json_name(&j, "changes");
    json_int(&j, state.changes);
    json_name(&j, "lsn");
    json_text(&j, lsn);
    write_time("committed_at", state.committed_us, &j);
    json_name(&j, "behind_seals");
    json_int(&j, state.behind_seals);
    json_name(&j, "bytes");
    json_int(&j, state.bytes);
    json_name(&j, "words");
    json_text(&j, state.words);
    json_end_object(&j);
    return OK;
}

void changes_route_stats(struct http_call *call)
{
    struct changes_call c;

    if (open_changes(call, &c)) {
        reply(call, stats(&c));
        close_changes(&c);
    }
}

struct numbering { /* looks for the change of a record among its transaction's */
    const struct ref *ref;
    int64_t number; /* 0: not found */
};

static err number_of(void *self, const struct trail_hit *hit)
{
    struct numbering *n = self;
    bool same = hit->origin.offset == n->ref->offset &&
                hit->origin.partition == n->ref->partition &&
                view_is(hit->origin.topic, n->ref->topic);

    n->number = same ? hit->number : n->number;
    return same ? ERR_CANCELLED : OK;
}

/* Its old values, when the database did not send them: the trail has to know its number. */
static err recall(struct changes_call *c, const struct ref *ref, struct change *change)
{
    char lsn[LSN_TEXT_BYTES];
    struct writer key = {0};
    struct filter filters[2] = {{.kind = FILTER_TX}, {.kind = FILTER_KEY}};
    struct trail_query query = {.filters = filters, .count = COUNT(filters)};
    struct numbering n = {.ref = ref};
    struct trail_found found;

    if (!change_lacks_before(change)) {
        return OK;
    }
    lsn_text(change->place.commit_lsn, lsn);
    change_key_text(change, &key);
    filters[0].value =
        view_text(arena_format(&c->call->arena, "%" PRIu32 "@%s", change->place.xid, lsn));
    filters[1].value = writer_view(&key);
    err e = trail_find(c->source->trail, &query, number_of, &n, &found);
    writer_fini(&key);
    return e || !n.number ? e
                          : trail_recall(c->source->trail, change, n.number, &c->call->arena);
}

/* One change by its record. */
static err show_record(struct changes_call *c, const struct ref *ref)
{
    struct audit *audit = c->call->self;
    struct json_writer j = json_to(&c->call->out);
    struct trail_fetch *fetch = trail_fetch_new(audit->log, c->source->ledger);
    struct change change;
    bool found = false;
    err e = trail_fetch_one(fetch, &c->call->arena, ref->topic, ref->partition, ref->offset,
                            &change, &found);

    if (!e && !found) {
        http_fix(c->call,
                 "a deletion's tombstone and the first half of a changed key are none; "
                 "look at the records beside it");
        e = fault(ERR_NOT_FOUND,
                  "the record at topic:%.*s/%" PRId32 "@%" PRId64
                  " is no change, or retention has taken it",
                  VIEW_ARG(ref->topic), ref->partition, ref->offset);
    }
    e = e ? e : recall(c, ref, &change);
    if (!e) {
        struct trail_hit hit = {.change = &change,
                                .origin = {.source = view_text(c->source->name),
                                           .topic = ref->topic,
                                           .partition = ref->partition,
                                           .offset = ref->offset}};
        write_change(c->labels, c->people, &hit, &j);
    }
    trail_fetch_free(fetch);
    return e;
}

/* A row's or a transaction's are a list, as if they had been searched for. */
static err show_some(struct changes_call *c, const struct ref *ref)
{
    struct filter filters[2] = {{.kind = FILTER_TX}, {.kind = FILTER_KEY, .value = ref->key}};
    struct arena *arena = &c->call->arena;
    char lsn[LSN_TEXT_BYTES];

    c->query.filters = filters;
    c->query.recall = true;
    c->query.count = ref->kind == REF_TX ? 1 : 2;
    if (ref->kind == REF_TX) {
        lsn_text(ref->commit_lsn, lsn);
        filters[0].value =
            view_text(ref->commit_lsn ? arena_format(arena, "%" PRIu32 "@%s", ref->xid, lsn)
                                      : arena_format(arena, "%" PRIu32, ref->xid));
    } else {
        filters[0].kind = FILTER_TABLE;
        filters[0].value = view_text(
            arena_format(arena, "%.*s.%.*s", VIEW_ARG(ref->schema), VIEW_ARG(ref->table)));
    }
    return list(c);
}

/* A topic's name begins with its source's, which has no dot. */
static view source_of(const struct ref *ref)
{
    view head, tail;

    if (ref->kind != REF_TOPIC) {
        return ref->source;
    }
    (void)view_cut(ref->topic, '.', &head, &tail);
    return head;
}

void changes_route_show(struct http_call *call)
{
    struct changes_call c = {.call = call};
    struct ref ref;
    err e = ref_parse(&call->arena, http_part(call, "ref"), &ref);

    if (!e && ref.kind == REF_SESSION) {
        e = fault(ERR_INVALID, "a session is no change");
        http_fix(call, "`tidemark session show` shows it");
    }
    e = e ? e : read_order(call, &c.query);
    e = e ? e : http_query_limit(call, &c.query.limit);
    e = e ? e : http_query_int(call, "cursor", 0, 0, INT64_MAX, &c.query.cursor);
    if (e) {
        http_reply_fault(call);
        return;
    }
    c.source = route_source(call, source_of(&ref));
    if (!c.source) {
        return;
    }
    e = read_labels(&c);
    if (!e) {
        e = ref.kind == REF_TOPIC ? show_record(&c, &ref) : show_some(&c, &ref);
    }
    reply(call, e);
    close_changes(&c);
}
