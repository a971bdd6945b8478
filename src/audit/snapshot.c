/* snapshot.c - the workers of a snapshot: a queue of chunks, a connection each.
 *
 *   exported:   take a chunk -> COPY it, each row to the target -> chunk done
 *   watermark:  take a chunk -> message 1 -> COPY it into memory -> message 2 -> wait;
 *               the capture thread, in snapshot_follow: message 1 opens the window, changes are
 *               noted in it, message 2 gives the rows that still hold -> chunk done
 *
 * A transaction's commit is in the log a moment before other sessions see it. If one that the
 * stream showed before message 1 is not in the chunk's snapshot, the chunk is read again.
 *
 * Locks: snapshot->lock guards the queue, states of windows and the end; the target is called
 * without it. Failure: the first error stops all; what was not noted as done is read again by
 * a later snapshot, whose rows are then there twice as reads of the same state or a newer one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/snapshot.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/snapshot_inside.h"

#define WINDOW_BYTES_MOST (64u << 20) /* of a chunk kept in memory; then it is halved */
#define ROUNDS_MOST 20                /* of one chunk that must be read again */
#define RECENT 4096                   /* transactions of the stream whose ids are remembered */
#define MESSAGES_SINCE 140000         /* in the stream */
#define STOP_ROUND_NS 200000000       /* a cancelling that came too early is sent again */

static const char session_sql[] =
    "SET statement_timeout = 0; SET lock_timeout = 0; SET row_security = off; "
    "SET idle_in_transaction_session_timeout = 0";

struct hand { /* of the snapshot: a worker */
    struct snapshot *snapshot;
    int index;
    pthread_t thread;
    struct pg *pg;
    struct chunk chunk; /* a copy: the queue may move */
    size_t number;      /* of it, in the queue */
    struct value *values;
    struct arena arena; /* of one row */
    struct change change;
    struct window window;
    int64_t pending_bytes; /* not told to the throttle yet */
};

struct snapshot {
    struct os *os;
    struct snapshot_target target;
    char *exported; /* NULL: watermark mode */
    uint64_t lsn;
    int64_t now_us, id, rate;
    struct arena arena;
    struct plan plan;
    pthread_mutex_t lock;
    pthread_cond_t news;
    size_t next; /* chunk to be taken */
    int alive;   /* hands at work */
    bool has_failed;
    struct fault failed;
    int64_t serial, due_ns;
    int64_t chunks_done, tables_done;
    _Atomic bool stopping;
    _Atomic int open; /* windows in state OPEN */
    _Atomic int64_t rows, bytes;
    struct hand hands[SNAPSHOT_WORKERS_MAX];
    int hand_count, started;
    uint32_t recent[RECENT]; /* capture's thread alone, as the rest */
    size_t transactions;
};

static struct table *table_of(struct snapshot *s, const struct chunk *chunk)
{
    return &s->plan.tables[chunk->table];
}

/* The first failure is the one that is told. */
static void fail(struct snapshot *s, err e)
{
    pthread_mutex_lock(&s->lock);
    if (!s->has_failed && !atomic_load(&s->stopping)) {
        s->has_failed = true;
        s->failed = fault_here;
        s->failed.code = e;
    }
    atomic_store(&s->stopping, true);
    pthread_cond_broadcast(&s->news);
    pthread_mutex_unlock(&s->lock);
}

static void wait_until(struct snapshot *s, int64_t due_ns)
{
    struct timespec due = {due_ns / 1000000000, due_ns % 1000000000};

    pthread_cond_timedwait(&s->news, &s->lock, &due);
}

/* At most rate bytes a second over all hands; a pause earns at most a second's worth. */
static void throttle(struct hand *hand, size_t bytes)
{
    struct snapshot *s = hand->snapshot;

    hand->pending_bytes += (int64_t)bytes;
    if (!s->rate || hand->pending_bytes < s->rate / 100) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    int64_t now = s->os->tick_ns(s->os);
    int64_t from = s->due_ns > now - 1000000000 ? s->due_ns : now - 1000000000;
    s->due_ns = from + (int64_t)((double)hand->pending_bytes * 1e9 / (double)s->rate);
    int64_t due = s->due_ns;
    while (s->os->tick_ns(s->os) < due && !atomic_load(&s->stopping)) {
        wait_until(s, due);
    }
    pthread_mutex_unlock(&s->lock);
    hand->pending_bytes = 0;
}

static err give(struct hand *hand, struct value *values)
{
    hand->change.after = values;
    err e = hand->snapshot->target.row(hand->snapshot->target.self, hand->index, &hand->change);
    hand->change.place.seq++;
    return e;
}

static err on_line(void *self, view line)
{
    struct hand *hand = self;
    struct snapshot *s = hand->snapshot;
    struct relation *relation = table_of(s, &hand->chunk)->relation;

    if (atomic_load_explicit(&s->stopping, memory_order_relaxed)) {
        return fault(ERR_CANCELLED, "the snapshot was stopped");
    }
    arena_reset(&hand->arena);
    err e = line_parse(&hand->arena, line, hand->values, relation->count);
    e = e ? e : give(hand, hand->values);
    atomic_fetch_add_explicit(&s->rows, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->bytes, (int64_t)line.len + 1, memory_order_relaxed);
    throttle(hand, line.len + 1);
    return e;
}

static err on_line_kept(void *self, view line)
{
    struct hand *hand = self;
    struct snapshot *s = hand->snapshot;
    size_t most = hand->window.table->key_count ? WINDOW_BYTES_MOST : SNAPSHOT_KEYLESS_BYTES;

    if (atomic_load_explicit(&s->stopping, memory_order_relaxed)) {
        return fault(ERR_CANCELLED, "the snapshot was stopped");
    }
    if (hand->window.lines.len + line.len > most) {
        return fault(ERR_TOO_LARGE, "%s: a chunk has more than %zu MiB of rows",
                     hand->chunk.name, most >> 20);
    }
    window_line(&hand->window, line);
    throttle(hand, line.len + 1);
    return OK;
}

/* Lock held. */
static void count_done(struct snapshot *s, const struct chunk *chunk)
{
    struct table *table = table_of(s, chunk);

    s->chunks_done++;
    assert(table->chunks_left > 0);
    if (!--table->chunks_left) {
        s->tables_done++;
    }
}

static err tell_done(struct hand *hand)
{
    struct snapshot *s = hand->snapshot;
    struct writer note = {0};

    chunk_note(&hand->chunk, table_of(s, &hand->chunk), &note);
    err e = s->target.chunk(s->target.self, hand->index, writer_view(&note));
    writer_fini(&note);
    if (!e) {
        pthread_mutex_lock(&s->lock);
        count_done(s, &hand->chunk);
        pthread_mutex_unlock(&s->lock);
    }
    return e;
}

static err copy_chunk(struct hand *hand, err (*each)(void *self, view line))
{
    struct writer sql = {0};

    chunk_sql(&hand->chunk, table_of(hand->snapshot, &hand->chunk), &sql);
    err e = pg_copy_out(hand->pg, (const char *)sql.at, each, hand);
    writer_fini(&sql);
    return e;
}

static err read_exported(struct hand *hand)
{
    struct snapshot *s = hand->snapshot;
    struct relation *relation = table_of(s, &hand->chunk)->relation;

    hand->values = xcalloc((size_t)relation->count + 1, sizeof(*hand->values));
    hand->change = (struct change){
        .kind = CHANGE_READ,
        .relation = relation,
        .place = {
            .lsn = s->lsn, .commit_lsn = s->lsn, .end_lsn = s->lsn, .committed_us = s->now_us}};
    err e = copy_chunk(hand, on_line);
    free(hand->values);
    hand->values = NULL;
    return e ? e : tell_done(hand);
}

static err send_message(struct hand *hand, const char *which)
{
    return pg_run(hand->pg,
                  "SELECT pg_catalog.pg_logical_emit_message(true, '" SNAPSHOT_MESSAGE_PREFIX
                  "', '%" PRId64 ":%" PRId64 ":%s')",
                  hand->snapshot->id, hand->window.serial, which);
}

static err read_in_transaction(struct hand *hand)
{
    struct pg_rows *rows = NULL;
    err e = pg_run(hand->pg, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");

    e = e ? e : pg_query(hand->pg, "SELECT pg_catalog.pg_current_snapshot()", NULL, 0, &rows);
    e = e ? e : window_snapshot(&hand->window, pg_value(rows, 0, 0));
    pg_rows_free(rows);
    e = e ? e : copy_chunk(hand, on_line_kept);
    if (e) {
        struct fault kept = fault_here;
        err undone = pg_run(hand->pg, "ROLLBACK");
        (void)undone; /* a broken connection rolls back by itself */
        fault_here = kept;
        return e;
    }
    return pg_run(hand->pg, "COMMIT");
}

static void set_state(struct snapshot *s, struct window *window, enum window_state state)
{
    pthread_mutex_lock(&s->lock);
    if (window->state == WINDOW_OPEN) {
        atomic_fetch_sub(&s->open, 1);
    }
    window->state = state;
    pthread_cond_broadcast(&s->news);
    pthread_mutex_unlock(&s->lock);
}

/* Until the stream has shown its second message. */
static err wait_for_stream(struct hand *hand, bool *again)
{
    struct snapshot *s = hand->snapshot;
    enum window_state state;

    pthread_mutex_lock(&s->lock);
    while ((state = hand->window.state) != WINDOW_CLOSED && state != WINDOW_AGAIN &&
           !atomic_load(&s->stopping)) {
        pthread_cond_wait(&s->news, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    *again = state == WINDOW_AGAIN;
    return *again || state == WINDOW_CLOSED ? OK
                                            : fault(ERR_CANCELLED, "the snapshot was stopped");
}

static err read_between_messages(struct hand *hand, bool *again)
{
    struct snapshot *s = hand->snapshot;

    pthread_mutex_lock(&s->lock);
    window_begin(&hand->window, table_of(s, &hand->chunk), ++s->serial);
    pthread_mutex_unlock(&s->lock);
    err e = send_message(hand, "low");
    e = e ? e : read_in_transaction(hand);
    if (e) {
        set_state(s, &hand->window, WINDOW_NONE);
        return e;
    }
    pthread_mutex_lock(&s->lock); /* the lines are seen by whoever sees the message */
    pthread_mutex_unlock(&s->lock);
    e = send_message(hand, "high");
    return e ? e : wait_for_stream(hand, again);
}

/* The half that is not read now goes to the end of the queue. False: it cannot be halved. */
static bool halve(struct hand *hand)
{
    struct snapshot *s = hand->snapshot;
    struct chunk rest = hand->chunk;
    int64_t to = rest.to == CHUNK_TO_END ? rest.pages : rest.to;

    if (!table_of(s, &hand->chunk)->key_count || to - rest.from < 2 ||
        pg_version(hand->pg) < 140000) {
        return false;
    }
    hand->chunk.to = rest.from = rest.from + (to - rest.from) / 2;
    pthread_mutex_lock(&s->lock);
    struct plan *plan = &s->plan;
    plan->chunks = array_room(plan->chunks, plan->count, &plan->room, sizeof(rest));
    plan->chunks[plan->count++] = rest;
    plan->tables[rest.table].chunks_left++;
    pthread_mutex_unlock(&s->lock);
    return true;
}

static err read_watermarked(struct hand *hand)
{
    bool again = true;
    err e = OK;

    for (int round = 0; again && !e; round++) {
        again = false;
        if (round == ROUNDS_MOST) {
            return fault(ERR_BUSY, "%s changes too much to be read", hand->chunk.name);
        }
        e = read_between_messages(hand, &again);
        if (e == ERR_TOO_LARGE && halve(hand)) {
            e = OK;
            again = true;
            round = 0;
        }
    }
    return e;
}

static bool take_chunk(struct hand *hand)
{
    struct snapshot *s = hand->snapshot;

    pthread_mutex_lock(&s->lock);
    bool taken = s->next < s->plan.count && !atomic_load(&s->stopping);
    if (taken) {
        hand->number = s->next;
        hand->chunk = s->plan.chunks[s->next++];
    }
    pthread_mutex_unlock(&s->lock);
    return taken;
}

static void *work(void *self)
{
    struct hand *hand = self;
    struct snapshot *s = hand->snapshot;
    err e = OK;

    pthread_setname_np(pthread_self(), "snapshot");
    while (!e && take_chunk(hand)) {
        e = s->exported ? read_exported(hand) : read_watermarked(hand);
        if (e) {
            e = fault_prefix("reading %s: ", hand->chunk.name);
            fail(s, e);
        }
    }
    pthread_mutex_lock(&s->lock);
    s->alive--;
    pthread_cond_broadcast(&s->news);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static err open_hand(struct snapshot *s, const struct snapshot_config *config)
{
    struct hand *hand = &s->hands[s->hand_count];
    struct pg_target target = config->database;

    *hand = (struct hand){.snapshot = s, .index = s->hand_count};
    target.replication = false;
    err e = pg_open(&target, &hand->pg);
    if (e) {
        return e;
    }
    s->hand_count++;
    e = pg_run(hand->pg, "%s; %s", pg_session_sql, session_sql);
    if (!e && s->exported) {
        e = pg_run(hand->pg,
                   "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
                   "SET TRANSACTION SNAPSHOT '%s'",
                   s->exported);
    }
    return e;
}

static void lock_init(struct snapshot *s)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* of os->tick_ns */
    pthread_cond_init(&s->news, &attributes);
    pthread_condattr_destroy(&attributes);
}

static err open_all(struct snapshot *s, const struct snapshot_config *config)
{
    err e = open_hand(s, config);

    if (!e && !s->exported && pg_version(s->hands[0].pg) < MESSAGES_SINCE) {
        return fault(
            ERR_UNSUPPORTED,
            "PostgreSQL 13 does not stream messages: a snapshot is possible only while "
            "the slot is made");
    }
    e = e ? e : plan_make(s->hands[0].pg, config, &s->plan);
    int most = config->workers < SNAPSHOT_WORKERS_MAX ? config->workers : SNAPSHOT_WORKERS_MAX;
    for (int i = 1; !e && i < most && (size_t)i < s->plan.count; i++) {
        e = open_hand(s, config);
    }
    return e;
}

err snapshot_start(const struct snapshot_config *config, const struct snapshot_target *target,
                   struct snapshot **out)
{
    struct snapshot *s = xcalloc(1, sizeof(*s));

    assert(config->workers >= 1);
    s->os = config->os;
    s->target = *target;
    s->exported = config->exported ? xstrdup(config->exported) : NULL;
    s->lsn = config->lsn;
    s->now_us = config->now_us;
    s->id = config->id;
    s->rate = config->bytes_per_second;
    s->plan.arena = &s->arena;
    lock_init(s);
    err e = open_all(s, config);
    for (int i = 0; !e && i < s->hand_count; i++) {
        pthread_mutex_lock(&s->lock);
        s->alive++;
        pthread_mutex_unlock(&s->lock);
        if (pthread_create(&s->hands[i].thread, NULL, work, &s->hands[i])) {
            pthread_mutex_lock(&s->lock);
            s->alive--;
            pthread_mutex_unlock(&s->lock);
            e = fault(ERR_BUSY, "no thread for the snapshot");
        } else {
            s->started++;
        }
    }
    if (e) {
        struct fault kept = fault_here;
        snapshot_stop(s);
        fault_here = kept;
        return e;
    }
    *out = s;
    return OK;
}

/* ---- the capture thread, in watermark mode ---- */

static err give_kept(void *self, struct value *values)
{
    struct hand *hand = self;

    atomic_fetch_add(&hand->snapshot->rows, 1);
    return give(hand, values);
}

/* Was there one that the stream showed before the window, and the chunk's snapshot misses? */
static bool misses_one(const struct snapshot *s, const struct window *window)
{
    size_t from = s->transactions > RECENT ? s->transactions - RECENT : 0;

    for (size_t i = from; i < window->transactions; i++) {
        if (!window_sees(window, s->recent[i % RECENT])) {
            return true;
        }
    }
    return false;
}

static err close_window(struct snapshot *s, struct hand *hand, const struct change *message)
{
    struct window *window = &hand->window;

    if (window->state != WINDOW_OPEN || window->unsure || misses_one(s, window)) {
        set_state(s, window, WINDOW_AGAIN);
        return OK;
    }
    hand->change = (struct change){
        .kind = CHANGE_READ, .relation = window->table->relation, .place = message->place};
    hand->change.place.seq++;
    err e = window_give(window, give_kept, hand);
    e = e ? e : tell_done(hand);
    if (e) {
        fail(s, e);
        return e;
    }
    atomic_fetch_add(&s->bytes, (int64_t)window->lines.len);
    set_state(s, window, WINDOW_CLOSED);
    return OK;
}

static struct hand *hand_of(struct snapshot *s, int64_t serial)
{
    struct hand *found = NULL;

    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->hand_count && !found; i++) {
        enum window_state state = s->hands[i].window.state;
        bool waits = state == WINDOW_ASKED || state == WINDOW_OPEN;
        found = waits && s->hands[i].window.serial == serial ? &s->hands[i] : NULL;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

static err on_message(struct snapshot *s, const struct change *message)
{
    view id_text = {0}, serial_text = {0}, which = {0}, rest = {0};
    int64_t id = 0, serial = 0;
    bool whole = view_cut(message->content, ':', &id_text, &rest) &&
                 view_cut(rest, ':', &serial_text, &which) && !view_to_int(id_text, &id) &&
                 !view_to_int(serial_text, &serial);
    struct hand *hand = whole && id == s->id ? hand_of(s, serial) : NULL;

    if (!hand) {
        return OK; /* of another snapshot, or one that gave up */
    }
    if (view_is_text(which, "high")) {
        return close_window(s, hand, message);
    }
    pthread_mutex_lock(&s->lock);
    hand->window.state = WINDOW_OPEN;
    hand->window.transactions = s->transactions;
    atomic_fetch_add(&s->open, 1);
    pthread_mutex_unlock(&s->lock);
    return OK;
}

static bool is_of(const struct change *change, const struct table *table)
{
    const struct relation *r = change->relation;

    return r && (r->oid == table->oid || (view_is(r->name, table->relation->name) &&
                                          view_is(r->schema, table->relation->schema)));
}

err snapshot_follow(struct snapshot *s, const struct change *change)
{
    uint32_t xid = change->place.xid;

    if (s->exported) {
        return OK;
    }
    if (xid && (!s->transactions || s->recent[(s->transactions - 1) % RECENT] != xid)) {
        s->recent[s->transactions++ % RECENT] = xid;
    }
    if (change->kind == CHANGE_MESSAGE) {
        bool is_ours = view_is_text(change->prefix, SNAPSHOT_MESSAGE_PREFIX);
        return is_ours ? on_message(s, change) : OK;
    }
    if (!atomic_load_explicit(&s->open, memory_order_relaxed)) {
        return OK;
    }
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->hand_count; i++) {
        struct window *window = &s->hands[i].window;
        if (window->state == WINDOW_OPEN && is_of(change, window->table)) {
            window_touch(window, change);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return OK;
}

/* ---- its end ---- */

err snapshot_wait(struct snapshot *s, int64_t wait_ms, bool *done)
{
    int64_t due = s->os->tick_ns(s->os) + wait_ms * 1000000;

    pthread_mutex_lock(&s->lock);
    while (s->alive && s->os->tick_ns(s->os) < due) {
        wait_until(s, due);
    }
    *done = !s->alive;
    bool failed = s->has_failed;
    if (*done && failed) {
        fault_here = s->failed;
    }
    pthread_mutex_unlock(&s->lock);
    return *done && failed ? fault_here.code : OK;
}

void snapshot_progress(struct snapshot *s, struct snapshot_progress *out)
{
    *out = (struct snapshot_progress){.rows = atomic_load(&s->rows),
                                      .bytes = atomic_load(&s->bytes),
                                      .tables = (int64_t)s->plan.table_count};
    for (size_t i = 0; i < s->plan.table_count; i++) {
        out->rows_estimate += s->plan.tables[i].rows;
    }
    pthread_mutex_lock(&s->lock);
    out->chunks = (int64_t)s->plan.count;
    out->chunks_done = s->chunks_done;
    out->tables_done = s->tables_done;
    if (s->plan.count) {
        size_t at = s->next ? s->next - 1 : 0;
        const struct relation *r = table_of(s, &s->plan.chunks[at])->relation;
        snprintf(out->table, sizeof(out->table), "%.*s.%.*s", VIEW_ARG(r->schema),
                 VIEW_ARG(r->name));
    }
    pthread_mutex_unlock(&s->lock);
    if (out->rows_estimate < out->rows) {
        out->rows_estimate = out->rows;
    }
}

static void stop_hands(struct snapshot *s)
{
    atomic_store(&s->stopping, true);
    pthread_mutex_lock(&s->lock);
    pthread_cond_broadcast(&s->news);
    while (s->alive) {
        pthread_mutex_unlock(&s->lock);
        for (int i = 0; i < s->started; i++) {
            pg_cancel(s->hands[i].pg);
        }
        pthread_mutex_lock(&s->lock);
        if (s->alive) {
            wait_until(s, s->os->tick_ns(s->os) + STOP_ROUND_NS);
        }
    }
    pthread_mutex_unlock(&s->lock);
}

void snapshot_stop(struct snapshot *s)
{
    if (!s) {
        return;
    }
    stop_hands(s);
    for (int i = 0; i < s->started; i++) {
        pthread_join(s->hands[i].thread, NULL);
    }
    for (int i = 0; i < s->hand_count; i++) {
        pg_close(s->hands[i].pg);
        arena_fini(&s->hands[i].arena);
        window_fini(&s->hands[i].window);
    }
    for (size_t i = 0; i < s->plan.table_count && s->plan.tables; i++) {
        relation_drop(s->plan.tables[i].relation);
    }
    pthread_cond_destroy(&s->news);
    pthread_mutex_destroy(&s->lock);
    arena_fini(&s->arena);
    free(s->plan.chunks);
    free(s->exported);
    free(s);
}
