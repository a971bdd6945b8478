/* stitch.c - which transaction a message belongs to, and whether it is its turn.
 *
 *             .-- B --> in transaction -- C --.        given as soon as a context is known,
 *            /                                 v       at the latest at C
 *     between --- S --> in stream ----- E ---> between  kept by xid until c, or dropped by A
 *            \                                 ^
 *             `-- b --> in prepare ---- P ----'        kept by xid until K, or dropped by r
 *
 * Invariants: 1. a transaction that is not streamed is given in the order its messages came:
 * once one waits, all behind it wait too. 2. Of a kept transaction nothing is known but its
 * messages; they are decoded when it is given, with the descriptions that came among them.
 * 3. Descriptions are numbered as they come (arrivals): an older one never replaces a newer.
 * 4. A description out of an aborted subtransaction of a committed transaction counts: the
 * server tells each table once a transaction, and again whenever it has changed. 5. In a stream
 * rows tell their subtransaction, messages the transaction alone: one that may be out of an
 * aborted subtransaction makes the transaction doubtful, and no doubtful one is given.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/stitch_inside.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* The last row of those of a subtransaction and all that began after it. */
struct mark {
    uint32_t xid;
    int64_t number; /* among the transaction's records, from 1 */
};

/* A transaction that waits for its end: streamed, or prepared. */
struct held {
    uint32_t xid;
    bool streamed; /* its messages carry an xid */
    bool prepared;
    bool has_messages;    /* logical ones */
    bool doubtful;        /* invariant 5 */
    int64_t last_message; /* number of the last under the transaction's own xid; 0: none */
    struct mark *marks;
    size_t mark_count, mark_room; /* streamed: by xid, which is also by number */
    uint32_t *aborted;
    size_t aborted_count, aborted_room; /* subtransactions */
    struct relations relations;         /* its own */
    struct spool spool;
};

/* What may come when. */
static const char *const kinds_in[] = {
    [STITCH_BETWEEN] = "BSbcAKrpM",
    [STITCH_IN_TRANSACTION] = "CORYIUDTM",
    [STITCH_IN_STREAM] = "EORYIUDTM",
    [STITCH_IN_PREPARE] = "PORYIUDTM",
};
#define KINDS_INSIDE "ORYIUDTM"

err stitch_new(const struct stitch_config *config, const struct stitch_target *target,
               struct stitch **out)
{
    struct stitch *s = xcalloc(1, sizeof(*s));
    err e = spools_init(&s->spools, config->os, config->spool_folder, config->memory_bytes);

    if (e) {
        free(s);
        return e;
    }
    s->target = *target;
    s->rule = config->rule;
    s->gives_doubtful = config->gives_doubtful;
    spool_open(&s->spools, &s->waiting);
    *out = s;
    return OK;
}

static void held_free(struct held *held)
{
    relations_fini(&held->relations);
    spool_close(&held->spool);
    free(held->marks);
    free(held->aborted);
    free(held);
}

void stitch_free(struct stitch *s)
{
    struct held *held;

    if (!s) {
        return;
    }
    for (size_t at = 0; (held = map_next(&s->held, &at));) {
        held_free(held);
    }
    map_fini(&s->held);
    spool_close(&s->waiting);
    spools_fini(&s->spools);
    relations_fini(&s->relations);
    types_fini(&s->types);
    writer_fini(&s->context_sent);
    writer_fini(&s->context);
    arena_fini(&s->arena);
    free(s);
}

static struct held *held_new(struct stitch *s, uint32_t xid, bool streamed)
{
    struct held *held = xcalloc(1, sizeof(*held));

    held->xid = xid;
    held->streamed = streamed;
    spool_open(&s->spools, &held->spool);
    struct held *before = map_put(&s->held, VIEW_OF(held->xid), held);
    assert(!before);
    return held;
}

static void held_drop(struct stitch *s, struct held *held)
{
    (void)map_remove(&s->held, VIEW_OF(held->xid));
    held_free(held);
}

static int order_xids(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* The next record that was not taken back; descriptions are kept, see invariant 4. */
MUST_CHECK static err next_standing(const struct held *held, struct spool_walk *walk,
                                    struct spool_record *out, bool *more)
{
    for (;;) {
        err e = spool_next(walk, out, more);
        if (e || !*more) {
            return e;
        }
        uint8_t kind = out->message.at[0];
        if (!held->aborted_count || kind == PGOUTPUT_RELATION || kind == PGOUTPUT_TYPE ||
            !bsearch(&out->xid, held->aborted, held->aborted_count, sizeof(*held->aborted),
                     order_xids)) {
            return OK;
        }
    }
}

/* Changes before the first context take that one: look ahead for it. */
MUST_CHECK static err find_context(struct stitch *s, const struct held *held,
                                   struct spool_walk *walk)
{
    struct pgoutput_message m;
    struct spool_record record;
    bool more = true;
    err e = OK;

    while (!e && more && !s->give.has_context) {
        e = next_standing(held, walk, &record, &more);
        if (e || !more || record.message.at[0] != PGOUTPUT_MESSAGE) {
            continue;
        }
        arena_reset(&s->arena);
        e = pgoutput_decode(&s->arena, record.message, held->streamed, &m);
        if (!e && view_is_text(m.prefix, CONTEXT_PREFIX)) {
            give_context(s, m.content);
        }
    }
    return e;
}

MUST_CHECK static err give_walked(struct stitch *s, const struct held *held,
                                  struct spool_walk *walk)
{
    struct spool_record record;
    bool more = true;
    err e = OK;

    while (!e && more) {
        e = next_standing(held, walk, &record, &more);
        if (!e && more) {
            e = give_record(s, &record);
        }
    }
    return e;
}

/* A kept transaction has committed. */
MUST_CHECK static err give_held(struct stitch *s, struct held *held,
                                const struct pgoutput_message *m)
{
    struct spool_walk ahead = {.spool = &held->spool}, walk = {.spool = &held->spool};
    err e = OK;

    s->give = (struct give){
        .transaction = {held->xid, m->lsn, m->end_lsn, m->time_us},
        .relations = &held->relations,
        .in_stream = held->streamed,
    };
    if (held->aborted_count) {
        qsort(held->aborted, held->aborted_count, sizeof(*held->aborted), order_xids);
    }
    if (held->has_messages) {
        e = find_context(s, held, &ahead);
    }
    e = e ? e : give_walked(s, held, &walk);
    e = e ? e : give_end(s);
    spool_walk_fini(&ahead);
    spool_walk_fini(&walk);
    s->give = (struct give){0};
    held_drop(s, held);
    return e;
}

/* What the open transaction has waiting, with what is known by now. */
MUST_CHECK static err give_waiting(struct stitch *s)
{
    struct spool_walk walk = {.spool = &s->waiting};
    struct spool_record record;
    bool more = s->waiting.records > 0;
    err e = OK;

    while (!e && more) {
        e = spool_next(&walk, &record, &more);
        if (!e && more) {
            e = give_record(s, &record);
        }
    }
    spool_walk_fini(&walk);
    spool_reset(&s->waiting);
    return e;
}

/* A message in the open transaction; *done: it was one of those that do not wait. */
MUST_CHECK static err take_logical(struct stitch *s, view message, bool *done)
{
    struct pgoutput_message m;

    arena_reset(&s->arena);
    err e = pgoutput_decode(&s->arena, message, false, &m);
    *done = true;
    if (e) {
        return e;
    }
    if (!m.transactional) {
        return give_outside(s, &m);
    }
    if (!s->give.has_context && view_is_text(m.prefix, CONTEXT_PREFIX)) {
        give_context(s, m.content);
        return give_waiting(s);
    }
    *done = false;
    return OK;
}

MUST_CHECK static err take_in_transaction(struct stitch *s, uint64_t wal, view message)
{
    uint8_t kind = message.at[0];
    struct spool_record record = {0, wal, message};
    bool done = false;

    if (kind == PGOUTPUT_MESSAGE) {
        err e = take_logical(s, message, &done);
        if (e || done) {
            return e;
        }
    }
    bool describes = kind == PGOUTPUT_RELATION || kind == PGOUTPUT_TYPE;
    if (kind == PGOUTPUT_RELATION) {
        record.wal = ++s->arrivals;
    }
    if (kind == PGOUTPUT_ORIGIN || s->give.has_context ||
        (describes && s->waiting.records == 0)) {
        return give_record(s, &record);
    }
    return spool_add(&s->waiting, &record);
}

/* What is described while a transaction is prepared holds for the connection at once. */
MUST_CHECK static err describe_prepared(struct stitch *s, const struct spool_record *record)
{
    s->give = (struct give){0};
    return give_record(s, record);
}

MUST_CHECK static err take_held_logical(struct stitch *s, view message, bool *outside)
{
    struct pgoutput_message m;

    arena_reset(&s->arena);
    err e = pgoutput_decode(&s->arena, message, s->open->streamed, &m);
    *outside = !e && !m.transactional;
    if (e) {
        return e;
    }
    if (!m.transactional) {
        return give_outside(s, &m);
    }
    s->open->has_messages = true;
    if (m.xid == s->open->xid) {
        s->open->last_message = s->open->spool.records + 1;
    }
    return OK;
}

/* xids wrap. */
static bool is_before(uint32_t xid, uint32_t other)
{
    return (int32_t)(xid - other) < 0;
}

/* A row of that xid is next: what it ends or comes after is of no more interest. */
static void mark_row(struct held *held, uint32_t xid)
{
    while (held->mark_count && !is_before(held->marks[held->mark_count - 1].xid, xid)) {
        held->mark_count--;
    }
    held->marks =
        array_room(held->marks, held->mark_count, &held->mark_room, sizeof(*held->marks));
    held->marks[held->mark_count++] = (struct mark){xid, held->spool.records + 1};
}

/* What came before a row of an older xid was before the subtransaction, or ended before it. */
static int64_t last_before(const struct held *held, uint32_t subxid)
{
    size_t low = 0, high = held->mark_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (is_before(held->marks[middle].xid, subxid)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low ? held->marks[low - 1].number : 0;
}

MUST_CHECK static err take_held(struct stitch *s, uint64_t wal, view message)
{
    struct held *held = s->open;
    struct spool_record record = {held->xid, wal, message};
    uint8_t kind = message.at[0];
    bool outside = false;
    err e = OK;

    if (kind == PGOUTPUT_ORIGIN) {
        return OK;
    }
    if (held->streamed) {
        if (message.len < 1 + sizeof(uint32_t)) {
            return fault(ERR_CORRUPT, "a message of a stream lacks its transaction");
        }
        record.xid = get_u32(message.at + 1);
    }
    if (kind == PGOUTPUT_RELATION) {
        record.wal = ++s->arrivals;
    }
    if (!held->streamed && (kind == PGOUTPUT_RELATION || kind == PGOUTPUT_TYPE)) {
        e = describe_prepared(s, &record);
    } else if (kind == PGOUTPUT_MESSAGE) {
        e = take_held_logical(s, message, &outside);
    } else if (held->streamed && kind != PGOUTPUT_RELATION && kind != PGOUTPUT_TYPE) {
        mark_row(held, record.xid);
    }
    return e || outside ? e : spool_add(&held->spool, &record);
}

MUST_CHECK static err take_outside(struct stitch *s, view message)
{
    struct pgoutput_message m;
    err e = pgoutput_decode(&s->arena, message, false, &m);

    if (!e && m.transactional) {
        e = fault(ERR_CORRUPT, "a transactional message outside of any transaction");
    }
    return e ? e : give_outside(s, &m);
}

MUST_CHECK static err end_transaction(struct stitch *s, const struct pgoutput_message *m)
{
    struct stitch_transaction *t = &s->give.transaction;

    if (t->commit_lsn != m->lsn) {
        return fault(ERR_CORRUPT, "a transaction ends at another place than it said");
    }
    t->end_lsn = m->end_lsn;
    err e = give_waiting(s);
    e = e ? e : give_end(s);
    s->give = (struct give){0};
    s->state = STITCH_BETWEEN;
    return e;
}

MUST_CHECK static err start_stream(struct stitch *s, const struct pgoutput_message *m)
{
    struct held *held = map_get(&s->held, VIEW_OF(m->xid));

    if (m->first ? held != NULL : !held || !held->streamed || held->prepared) {
        return fault(ERR_CORRUPT, "transaction %u %s", m->xid,
                     m->first ? "begins twice" : "goes on without its beginning");
    }
    s->open = held ? held : held_new(s, m->xid, true);
    s->state = STITCH_IN_STREAM;
    return OK;
}

MUST_CHECK static err start_prepare(struct stitch *s, const struct pgoutput_message *m)
{
    if (map_get(&s->held, VIEW_OF(m->xid))) {
        return fault(ERR_CORRUPT, "transaction %u begins twice", m->xid);
    }
    s->open = held_new(s, m->xid, false);
    relations_copy(&s->open->relations, &s->relations);
    s->state = STITCH_IN_PREPARE;
    return OK;
}

/* Unknown ones are no error: of some the server has nothing sent. */
static void abort_stream(struct stitch *s, const struct pgoutput_message *m)
{
    struct held *held = map_get(&s->held, VIEW_OF(m->xid));

    if (!held) {
        return;
    }
    if (m->subxid == m->xid) {
        held_drop(s, held);
        return;
    }
    held->aborted = array_room(held->aborted, held->aborted_count, &held->aborted_room,
                               sizeof(*held->aborted));
    held->aborted[held->aborted_count++] = m->subxid;
    held->doubtful = held->doubtful || held->last_message > last_before(held, m->subxid);
}

/* c, p, K, r: the end of what was kept under that xid. */
MUST_CHECK static err end_held(struct stitch *s, const struct pgoutput_message *m)
{
    struct held *held = map_get(&s->held, VIEW_OF(m->xid));
    bool of_prepared =
        m->kind == PGOUTPUT_COMMIT_PREPARED || m->kind == PGOUTPUT_ROLLBACK_PREPARED;

    if (m->kind == PGOUTPUT_ROLLBACK_PREPARED && !held) {
        return OK;
    }
    if (!held || held->prepared != of_prepared) {
        return fault(ERR_CORRUPT, "transaction %u ends without its beginning", m->xid);
    }
    if (m->kind == PGOUTPUT_STREAM_PREPARE) {
        held->prepared = true;
        return OK;
    }
    if (m->kind == PGOUTPUT_ROLLBACK_PREPARED) {
        held_drop(s, held);
        return OK;
    }
    if (held->doubtful && !s->gives_doubtful) {
        s->wants_plain = true;
        return fault(ERR_CONFLICT,
                     "transaction %u rolled savepoints back that may have had context of their "
                     "own: it is to be read again as a whole",
                     m->xid);
    }
    return give_held(s, held, m);
}

/* Beginnings and ends. */
MUST_CHECK static err take_frame(struct stitch *s, view message)
{
    struct pgoutput_message m;
    err e = pgoutput_decode(&s->arena, message, false, &m);

    if (e) {
        return e;
    }
    switch (m.kind) {
    case PGOUTPUT_BEGIN:
        s->give = (struct give){.transaction = {m.xid, m.lsn, 0, m.time_us}};
        s->state = STITCH_IN_TRANSACTION;
        return OK;
    case PGOUTPUT_COMMIT:
        return end_transaction(s, &m);
    case PGOUTPUT_STREAM_START:
        return start_stream(s, &m);
    case PGOUTPUT_BEGIN_PREPARE:
        return start_prepare(s, &m);
    case PGOUTPUT_PREPARE:
        s->open->prepared = true;
        /* fall through */
    case PGOUTPUT_STREAM_STOP:
        s->open = NULL;
        s->state = STITCH_BETWEEN;
        return OK;
    case PGOUTPUT_STREAM_ABORT:
        abort_stream(s, &m);
        return OK;
    default:
        return end_held(s, &m);
    }
}

MUST_CHECK static err take(struct stitch *s, uint64_t wal, view message)
{
    uint8_t kind = message.len ? message.at[0] : 0;

    if (!kind || !strchr(kinds_in[s->state], kind)) {
        return fault(ERR_CORRUPT, "a message '%c' of %zu bytes is out of its place",
                     isgraph(kind) ? kind : '?', message.len);
    }
    arena_reset(&s->arena);
    if (!strchr(KINDS_INSIDE, kind)) {
        return take_frame(s, message);
    }
    switch (s->state) {
    case STITCH_BETWEEN:
        return take_outside(s, message);
    case STITCH_IN_TRANSACTION:
        return take_in_transaction(s, wal, message);
    default:
        return take_held(s, wal, message);
    }
}

err stitch_feed(struct stitch *s, uint64_t wal, view message)
{
    if (s->failed) {
        return fault(ERR_CONFLICT, "the stream of changes has failed already");
    }
    err e = take(s, wal, message);
    s->failed = e != OK;
    return e;
}

bool stitch_is_between(const struct stitch *s)
{
    return s->state == STITCH_BETWEEN && s->held.count == 0;
}

size_t stitch_memory(const struct stitch *s)
{
    return s->spools.memory_bytes;
}

int64_t stitch_spooled(const struct stitch *s)
{
    return s->spools.file_bytes;
}

bool stitch_wants_plain(const struct stitch *s)
{
    return s->wants_plain;
}

int64_t stitch_malformed(const struct stitch *s)
{
    return s->malformed;
}
