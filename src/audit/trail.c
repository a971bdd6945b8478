/* trail.c - the thread that follows the ledger and keeps the index up to it.
 *
 *   ledger --seals--> trail_read --changes in order--> trail_terms --> trail_index
 *
 * Invariants: (1) at is where reading goes on, whatever fails; (2) a change is in the index
 * once; (3) what cannot be read or written is tried again after a while, and state says why.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/trail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "audit/trail_inside.h"

#define TRAIL_NICENESS 10 /* what it indexes is durable: capture comes first */
#define WAIT_MS 250       /* for the next seal, before looking whether to end */
#define AGAIN_NS INT64_C(1000000000)
#define TURN_CHANGES 4096 /* then the mailbox is looked at */
#define COOL_MS (60 * 1000)
#define READER_MEMORY_PART 4

static void say(struct trail *t, const char *words)
{
    pthread_mutex_lock(&t->lock);
    bool same = !strcmp(t->state.words, words);
    snprintf(t->state.words, sizeof(t->state.words), "%s", words);
    pthread_mutex_unlock(&t->lock);
    if (!same && words[0]) {
        trace_warn("audit", "the trail of %s waits: %s", t->source, words);
    }
}

static void take_change(struct trail *t, const struct trail_read *read, bool *full)
{
    const struct change *change = &read->change;
    const struct relation *relation = change->relation;
    struct trail_place place = {
        .offset = read->offset,
        .partition = read->partition,
        .seq = change->place.seq,
        .committed_us = change->place.committed_us,
        .lsn = change->place.lsn,
        .commit_lsn = change->place.commit_lsn,
        .xid = change->place.xid,
        .kind = (uint8_t)change->kind,
    };

    place.table =
        trail_index_table(t->index, read->topic, relation ? relation->schema : VIEW(""),
                          relation ? relation->name : VIEW(""));
    terms_of(change, &t->terms);
    *full = trail_index_add(t->index, &place, t->terms.at, t->terms.count, read->at);
    t->at = read->at;
    t->committed_us = change->place.committed_us;
}

/* Numbers grow, seals pass: whoever waits is told. */
static void tell(struct trail *t)
{
    bool damaged = trail_index_is_damaged(t->index);
    int64_t changes = damaged ? 0 : trail_index_changes(t->index);

    pthread_mutex_lock(&t->lock);
    t->state.changes = changes;
    t->state.committed_us = t->committed_us;
    t->state.lsn = t->lsn_in;
    t->seal = damaged ? 0 : t->seal_in;
    pthread_cond_broadcast(&t->news);
    pthread_mutex_unlock(&t->lock);
}

static err cool(struct trail *t)
{
    int64_t now = t->config.os->now_ms(t->config.os);

    if (t->config.hot_ms < 0 || now - t->cooled_ms < COOL_MS) {
        return OK;
    }
    t->cooled_ms = now;
    return trail_index_cool(t->index, (now - t->config.hot_ms) * 1000);
}

/* Some changes; *more false: all there is was taken in. */
static err take_some(struct trail *t, bool *more)
{
    struct trail_read read = {.kind = TRAIL_READ_CHANGE};
    bool full = false, idle = true;
    err e = OK;

    for (int i = 0; i < TURN_CHANGES && !full && read.kind != TRAIL_READ_NOTHING; i++) {
        e = trail_reader_next(t->reader, idle ? WAIT_MS : 0, &read);
        if (e) {
            break;
        }
        if (read.kind == TRAIL_READ_SEAL) {
            t->seal_in = read.seal;
            t->lsn_in = read.to;
            tell(t);
        } else if (read.kind == TRAIL_READ_CHANGE) {
            take_change(t, &read, &full);
        }
        idle = read.kind == TRAIL_READ_SEAL;
    }
    tell(t);
    *more = !e && read.kind != TRAIL_READ_NOTHING;
    return e || !full ? e : trail_index_write(t->index);
}

static void restart_reader(struct trail *t)
{
    trail_reader_free(t->reader);
    t->reader = trail_reader_new(t->config.log, t->config.ledger, t->at,
                                 t->config.memory_bytes / READER_MEMORY_PART);
}

void trail_note_damage(struct trail *trail)
{
    pthread_mutex_lock(&trail->lock);
    trail->state.changes = 0;
    trail->seal = 0;
    pthread_mutex_unlock(&trail->lock);
}

static err rebuild(struct trail *t)
{
    err e = trail_index_rebuild(t->index);

    if (!e) {
        t->at = trail_index_end(t->index);
        t->seal_in = 0;
        restart_reader(t);
        tell(t);
        trace_warn("audit", "the view of %s was damaged and is built anew", t->source);
    }
    return e;
}

/* Runs on the trail's thread. A block that could not be written has to go first. */
static err step(struct trail *t, bool *more)
{
    err e = OK;

    *more = false;
    if (trail_index_is_damaged(t->index)) {
        e = rebuild(t);
    } else if (trail_index_is_full(t->index)) {
        e = trail_index_write(t->index);
    }
    if (!e && !t->reader) {
        restart_reader(t);
    }
    e = e ? e : cool(t);
    return e ? e : take_some(t, more);
}

static int64_t turn(struct worker *worker, struct job *jobs)
{
    struct trail *t = worker->self;
    struct os *os = t->config.os;
    bool more = false;

    mailbox_run(jobs);
    if (atomic_load(&worker->ends)) {
        return WORKER_NEVER;
    }
    err e = step(t, &more);
    say(t, e ? fault_here.text : "");
    if (e) {
        trail_reader_free(t->reader);
        t->reader = NULL;
    }
    return os->tick_ns(os) + (e ? AGAIN_NS : 0);
}

static view identity_of(struct arena *arena, const struct trail_config *config)
{
    char *name = arena_format(arena, "__ledger.%.*s", VIEW_ARG(config->source));
    struct topic *topic = log_topic(config->log, view_text(name));
    char id[UUID_TEXT_BYTES] = "";

    if (topic) {
        uuid_text(topic->id, id);
    }
    topic_drop(topic);
    return view_text(arena_format(arena, "%.*s %s", VIEW_ARG(config->source), id));
}

/* What the file has already. */
static void begin_state(struct trail *t)
{
    struct trail_block *blocks = NULL;
    size_t count = trail_index_blocks(t->index, &blocks);

    t->at = trail_index_end(t->index);
    if (count) {
        t->state.changes = blocks[count - 1].first + blocks[count - 1].count - 1;
        t->state.committed_us = t->committed_us = blocks[count - 1].until_us;
    }
    free(blocks);
}

err trail_open(const struct trail_config *config, struct trail **out)
{
    struct trail *t = xcalloc(1, sizeof(*t));
    struct arena arena = {0};
    pthread_condattr_t clock;

    assert(config->os);
    assert(config->log);
    assert(config->ledger);
    t->config = *config;
    t->source = text_of(config->source);
    t->path = xstrdup(config->path);
    t->config.source = view_text(t->source);
    t->config.path = t->path;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&t->news, &clock);
    pthread_condattr_destroy(&clock);
    t->worker =
        (struct worker){.name = "trail", .turn = turn, .self = t, .niceness = TRAIL_NICENESS};
    t->teller = (struct worker){.name = "trail-teller", .turn = trail_teller_turn, .self = t};
    err e = trail_index_open(config->os, t->path, identity_of(&arena, config),
                             config->memory_bytes, config->block_changes, &t->index);
    arena_fini(&arena);
    if (!e) {
        begin_state(t);
        e = worker_start(&t->worker, config->os);
    }
    if (!e) {
        e = worker_start(&t->teller, config->os);
        if (e) {
            worker_stop(&t->worker);
        }
    }
    if (e) {
        trail_index_close(t->index);
        t->index = NULL;
        trail_close(t);
        return e;
    }
    *out = t;
    return OK;
}

void trail_close(struct trail *trail)
{
    if (!trail) {
        return;
    }
    pthread_mutex_lock(&trail->lock);
    trail->ends = true;
    pthread_cond_broadcast(&trail->news);
    pthread_mutex_unlock(&trail->lock);
    if (trail->index) {
        worker_stop(&trail->teller);
        trail_teller_end(trail);
        worker_stop(&trail->worker);
        trail_reader_free(trail->reader);
        trail_index_close(trail->index);
    }
    terms_fini(&trail->terms);
    pthread_cond_destroy(&trail->news);
    pthread_mutex_destroy(&trail->lock);
    free(trail->source);
    free(trail->path);
    free(trail);
}

void trail_state(struct trail *trail, struct trail_state *out)
{
    struct ledger_end end;

    ledger_end(trail->config.ledger, &end);
    pthread_mutex_lock(&trail->lock);
    *out = trail->state;
    out->behind_seals = MAX(end.seals - trail->seal, 0);
    pthread_mutex_unlock(&trail->lock);
    out->bytes = trail_index_bytes(trail->index);
}

static struct timespec until(int64_t wait_ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(wait_ms / 1000);
    at.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

bool trail_wait(struct trail *trail, int64_t number, int64_t wait_ms)
{
    struct timespec at = until(wait_ms);
    int late = 0;

    pthread_mutex_lock(&trail->lock);
    while (trail->state.changes <= number && !trail->ends && !late) {
        late = pthread_cond_timedwait(&trail->news, &trail->lock, &at);
    }
    bool there = trail->state.changes > number;
    pthread_mutex_unlock(&trail->lock);
    return there;
}

err trail_catch_up(struct trail *trail, int64_t wait_ms)
{
    struct timespec at = until(wait_ms);
    struct ledger_end end;
    int late = 0;

    ledger_end(trail->config.ledger, &end);
    pthread_mutex_lock(&trail->lock);
    while (trail->seal < end.seals && !trail->ends && !late) {
        late = pthread_cond_timedwait(&trail->news, &trail->lock, &at);
    }
    int64_t behind = end.seals - trail->seal;
    char words[FAULT_TEXT_MAX];
    snprintf(words, sizeof(words), "%s", trail->state.words);
    pthread_mutex_unlock(&trail->lock);
    if (behind > 0) {
        return fault(ERR_TIMEOUT, "the trail of %s is still %lld seals behind%s%s",
                     trail->source, (long long)behind, words[0] ? ": " : "", words);
    }
    return OK;
}

err trail_counts(struct trail *trail, struct arena *arena, struct trail_count **out,
                 size_t *count)
{
    size_t all = trail_index_tables(trail->index), at = 0;
    struct trail_count *list = arena_take(arena, (all + 1) * sizeof(*list));

    for (size_t i = 0; i < all; i++) {
        struct trail_table t;
        trail_index_table_get(trail->index, (uint32_t)i, &t);
        if (!t.name.len) {
            continue; /* messages are of no table */
        }
        list[at++] = (struct trail_count){
            .schema = arena_copy(arena, t.schema),
            .table = arena_copy(arena, t.name),
            .creates = t.counts[CHANGE_CREATE],
            .updates = t.counts[CHANGE_UPDATE],
            .deletes = t.counts[CHANGE_DELETE],
            .truncates = t.counts[CHANGE_TRUNCATE],
            .reads = t.counts[CHANGE_READ],
            .first_us = t.first_us,
            .last_us = t.last_us,
        };
    }
    *out = list;
    *count = at;
    return OK;
}
