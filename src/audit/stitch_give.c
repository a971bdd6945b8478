/* stitch_give.c - one message of a transaction as changes for the target.
 *
 * Invariants: 1. begin once, then changes in order, then end. 2. Every change carries the
 * context that holds when it is given; stitch.c sees to it that this is the right one. 3. A
 * value is unknown only when neither image has it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/stitch_inside.h"

#include <inttypes.h>

MUST_CHECK static err give_begin(struct stitch *s)
{
    if (s->give.begun) {
        return OK;
    }
    s->give.begun = true;
    return s->target.begin(s->target.self, &s->give.transaction);
}

err give_end(struct stitch *s)
{
    err e = give_begin(s);

    return e ? e : s->target.end(s->target.self, &s->give.transaction);
}

static struct relation *find_relation(const struct stitch *s, uint32_t oid)
{
    struct relation *own = s->give.relations ? relations_get(s->give.relations, oid) : NULL;

    return own ? own : relations_get(&s->relations, oid);
}

/* The object there is already, when the description is no news; held. */
static struct relation *same_or_new(const struct stitch *s, const struct relation *described)
{
    struct relation *own = find_relation(s, described->oid);
    struct relation *common = relations_get(&s->relations, described->oid);

    if (own && relation_is(own, described)) {
        return relation_hold(own);
    }
    if (common && relation_is(common, described)) {
        return relation_hold(common);
    }
    return relation_new(described);
}

/* A stream's descriptions are older than what the connection was told since: those stay its
 * own. */
void give_relation(struct stitch *s, struct relation *described, uint64_t arrival)
{
    types_name(&s->types, described);
    struct relation *relation = same_or_new(s, described);

    if (s->give.relations) {
        relations_put(s->give.relations, relation, arrival);
    }
    if (arrival > relations_arrival(&s->relations, relation->oid)) {
        relations_put(&s->relations, relation, arrival);
    }
    relation_drop(relation);
}

/* Row triggers send the same one row by row: it is read once. */
void give_context(struct stitch *s, view content)
{
    s->give.has_context = true;
    if (s->context.len && view_is(writer_view(&s->context_sent), content)) {
        return;
    }
    if (!context_to_object(&s->arena, content, &s->context)) {
        s->malformed++;
    }
    writer_reset(&s->context_sent);
    write_view(&s->context_sent, content);
    assert(s->context.len >= 2);
}

static struct change change_of(const struct stitch *s, enum change_kind kind, uint64_t lsn)
{
    const struct stitch_transaction *t = &s->give.transaction;

    return (struct change){
        .kind = kind,
        .place =
            {
                .xid = t->xid,
                .lsn = lsn,
                .commit_lsn = t->commit_lsn,
                .end_lsn = t->end_lsn,
                .committed_us = t->committed_us,
                .seq = kind == CHANGE_MESSAGE ? s->give.messages : s->give.changes,
            },
        .context = s->give.has_context ? writer_view(&s->context) : (view){0},
    };
}

MUST_CHECK static err give_change(struct stitch *s, const struct change *change)
{
    err e = give_begin(s);

    if (change->kind == CHANGE_MESSAGE) {
        s->give.messages++;
    } else {
        s->give.changes++;
    }
    return e ? e : s->target.change(s->target.self, change);
}

MUST_CHECK static err described(const struct stitch *s, uint32_t oid, struct relation **out)
{
    *out = find_relation(s, oid);
    return *out ? OK
                : fault(ERR_CORRUPT,
                        "the server sent a change of table %" PRIu32 " without its description",
                        oid);
}

MUST_CHECK static err check_tuple(const struct relation *relation,
                                  const struct pgoutput_tuple *tuple)
{
    return !tuple->values || tuple->count == relation->count
               ? OK
               : fault(ERR_CORRUPT, "a row of %.*s.%.*s has %d columns, described were %d",
                       VIEW_ARG(relation->schema), VIEW_ARG(relation->name), tuple->count,
                       relation->count);
}

/* Of a key tuple the other columns are sent as if they were NULL. */
static void mask_key(const struct relation *relation, struct value *values)
{
    for (int i = 0; i < relation->count; i++) {
        if (!relation->columns[i].key) {
            values[i] = (struct value){VALUE_ABSENT, {0}};
        }
    }
}

/* What is stored out of line and did not change is still in the old image, if there is one. */
static void fill_unknown(const struct relation *relation, const struct value *old,
                         struct value *new)
{
    for (int i = 0; i < relation->count; i++) {
        if (new[i].kind == VALUE_UNKNOWN && old[i].kind != VALUE_ABSENT) {
            new[i] = old[i];
        }
    }
}

MUST_CHECK static err give_row(struct stitch *s, struct pgoutput_message *m, uint64_t wal)
{
    enum change_kind kind = m->kind == PGOUTPUT_INSERT   ? CHANGE_CREATE
                            : m->kind == PGOUTPUT_UPDATE ? CHANGE_UPDATE
                                                         : CHANGE_DELETE;
    struct change change = change_of(s, kind, wal);
    err e = described(s, m->oid, &change.relation);

    e = e ? e : check_tuple(change.relation, &m->old);
    e = e ? e : check_tuple(change.relation, &m->new);
    if (e) {
        return e;
    }
    if (m->old_is_key) {
        mask_key(change.relation, m->old.values);
    }
    if (m->old.values && m->new.values) {
        fill_unknown(change.relation, m->old.values, m->new.values);
    }
    change.before = m->old.values;
    change.after = m->new.values;
    return give_change(s, &change);
}

MUST_CHECK static err give_truncate(struct stitch *s, const struct pgoutput_message *m,
                                    uint64_t wal)
{
    err e = OK;

    for (int i = 0; !e && i < m->oid_count; i++) {
        struct change change = change_of(s, CHANGE_TRUNCATE, wal);
        change.cascade = m->cascade;
        change.restart_identity = m->restart_identity;
        e = described(s, m->oids[i], &change.relation);
        e = e ? e : give_change(s, &change);
    }
    return e;
}

MUST_CHECK static err give_message(struct stitch *s, const struct pgoutput_message *m)
{
    if (view_is_text(m->prefix, CONTEXT_HEARTBEAT_PREFIX)) {
        return OK;
    }
    if (view_is_text(m->prefix, CONTEXT_PREFIX)) {
        if (s->rule == CONTEXT_NEAREST || !s->give.has_context) {
            give_context(s, m->content);
        }
        return OK;
    }
    struct change change = change_of(s, CHANGE_MESSAGE, m->lsn);
    change.prefix = m->prefix;
    change.content = m->content;
    return give_change(s, &change);
}

err give_outside(struct stitch *s, const struct pgoutput_message *m)
{
    if (!s->target.message || view_is_text(m->prefix, CONTEXT_HEARTBEAT_PREFIX)) {
        return OK;
    }
    struct change change = {
        .kind = CHANGE_MESSAGE,
        .place = {.lsn = m->lsn, .commit_lsn = m->lsn, .end_lsn = m->lsn},
        .prefix = m->prefix,
        .content = m->content,
    };
    return s->target.message(s->target.self, &change);
}

err give_record(struct stitch *s, const struct spool_record *record)
{
    struct pgoutput_message m;

    arena_reset(&s->arena);
    err e = pgoutput_decode(&s->arena, record->message, s->give.in_stream, &m);
    if (e) {
        return e;
    }
    switch (m.kind) {
    case PGOUTPUT_INSERT:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE:
        return give_row(s, &m, record->wal);
    case PGOUTPUT_TRUNCATE:
        return give_truncate(s, &m, record->wal);
    case PGOUTPUT_MESSAGE:
        return give_message(s, &m);
    case PGOUTPUT_RELATION:
        give_relation(s, &m.relation, record->wal);
        return OK;
    case PGOUTPUT_TYPE:
        types_put(&s->types, m.relation.oid, m.relation.schema, m.relation.name);
        return OK;
    default: /* an origin: of no meaning here */
        return OK;
    }
}
