/* sink.c - bringing rows, batch by batch.
 *
 *   connect -> tables -> position -> [ find rows behind it -> one transaction ] ... wait for
 * more
 *
 * Any failure ends the connection; the next one begins at the position that is stored.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/sink.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/pg.h"
#include "audit/sink_rows.h"

#define BATCH_ROWS 1000
#define BATCH_BYTES (4u << 20)
#define NEWS_MS 500  /* a wait for changes, after which ending is looked at */
#define BEGIN_MS 100 /* between looks for a capture that has begun */
#define RETRY_MS_MAX 30000
#define RETRY_MS_LEAST 1000
#define DATA_EXCEPTION "22" /* SQLSTATE class: jsonb does not take a value */

struct sink {
    struct sink_config config;
    char system_id[24];
    pthread_t thread;
    pthread_mutex_t lock; /* state, ends */
    pthread_cond_t woken;
    struct sink_state state;
    bool ends;
    struct pg *pg; /* from here on the thread's own */
    uint64_t commit_lsn;
    int64_t seq;
    int64_t cursor; /* of the trail: where to go on */
};

struct batch {
    struct sink *sink;
    struct sink_names names;
    struct arena arena; /* of the changes, for a second try */
    struct change **changes;
    size_t count, room, bytes;
    struct writer json;
    int64_t queued_us, number;
};

static bool is_behind(const struct sink *s, const struct change_place *place)
{
    return place->commit_lsn != s->commit_lsn ? place->commit_lsn > s->commit_lsn
                                              : place->seq > s->seq;
}

static err take_hit(void *self, const struct trail_hit *hit)
{
    struct batch *b = self;
    const struct change *change = hit->change;
    size_t before = b->json.len;

    b->number = hit->number;
    if (!sink_takes(change) || !is_behind(b->sink, &change->place)) {
        return OK;
    }
    write_u8(&b->json, b->count ? ',' : '[');
    sink_row(&b->names, change, b->queued_us, false, &b->json);
    b->changes = array_room(b->changes, b->count, &b->room, sizeof(struct change *));
    b->changes[b->count++] = change_copy(&b->arena, change);
    b->bytes += b->json.len - before;
    return b->count < BATCH_ROWS && b->bytes < BATCH_BYTES ? OK : ERR_CANCELLED;
}

static err find_batch(struct batch *b, int64_t *numbered)
{
    struct sink *s = b->sink;
    const struct filter after = {.kind = FILTER_AFTER_LSN,
                                 .number = s->commit_lsn ? (int64_t)s->commit_lsn - 1 : 0};
    struct trail_query query = {.filters = &after,
                                .count = 1,
                                .oldest_first = true,
                                .cursor = s->cursor,
                                .limit = BATCH_ROWS};
    struct trail_found found = {0};
    err e = trail_find(s->config.trail, &query, take_hit, b, &found);

    if (b->count) {
        write_u8(&b->json, ']');
    }
    *numbered = found.numbered;
    return e == ERR_CANCELLED ? OK : e;
}

/* The rows one by one, those whose context jsonb does not take with it as a text. */
static err insert_singly(struct batch *b)
{
    struct writer row = {0};
    err e = OK;

    for (size_t i = 0; i < b->count && !e; i++) {
        for (int plain = 0; plain < 2; plain++) {
            writer_reset(&row);
            write_u8(&row, '[');
            sink_row(&b->names, b->changes[i], b->queued_us, plain, &row);
            write_u8(&row, ']');
            const view parameter = writer_view(&row);
            e = pg_run(b->sink->pg, "SAVEPOINT row");
            e = e ? e : pg_query(b->sink->pg, sink_insert_sql, &parameter, 1, NULL);
            if (!e || strncmp(pg_sqlstate(b->sink->pg), DATA_EXCEPTION, 2) != 0 || plain) {
                break;
            }
            e = pg_run(b->sink->pg, "ROLLBACK TO row");
        }
    }
    writer_fini(&row);
    return e;
}

static err insert(struct batch *b)
{
    const view parameter = writer_view(&b->json);
    struct pg *pg = b->sink->pg;
    err e = pg_run(pg, "SAVEPOINT rows");

    e = e ? e : pg_query(pg, sink_insert_sql, &parameter, 1, NULL);
    if (e && !strncmp(pg_sqlstate(pg), DATA_EXCEPTION, 2)) {
        e = pg_run(pg, "ROLLBACK TO rows");
        e = e ? e : insert_singly(b);
    }
    return e;
}

/* Only from where it was read: two writers of one source find each other out here. */
static err move_position(struct sink *s, const struct change_place *to)
{
    char from[LSN_TEXT_BYTES], until[LSN_TEXT_BYTES], from_seq[24], to_seq[24];
    struct pg_rows *rows = NULL;

    lsn_text(s->commit_lsn, from);
    lsn_text(to->commit_lsn, until);
    snprintf(from_seq, sizeof(from_seq), "%lld", (long long)s->seq);
    snprintf(to_seq, sizeof(to_seq), "%lld", (long long)to->seq);
    const view parameters[] = {view_text(until), view_text(to_seq), view_text(s->config.source),
                               view_text(from), view_text(from_seq)};
    err e = pg_query(s->pg,
                     "UPDATE tidemark_sink SET commit_lsn = $1::pg_lsn, seq = $2::bigint, "
                     "updated_at = now() WHERE source = $3 AND commit_lsn = $4::pg_lsn "
                     "AND seq = $5::bigint",
                     parameters, COUNT(parameters), &rows);
    if (!e && pg_affected(rows) != 1) {
        e = fault(ERR_CONFLICT, "another server writes this source's rows there too");
    }
    pg_rows_free(rows);
    return e;
}

static err bring(struct batch *b)
{
    struct sink *s = b->sink;
    const struct change_place *last = &b->changes[b->count - 1]->place;
    err e = pg_run(s->pg, "BEGIN");

    e = e ? e : move_position(s, last);
    e = e ? e : insert(b);
    e = e ? e : pg_run(s->pg, "COMMIT");
    if (e) {
        return e;
    }
    s->commit_lsn = last->commit_lsn;
    s->seq = last->seq;
    pthread_mutex_lock(&s->lock);
    s->state.commit_lsn = s->commit_lsn;
    s->state.seq = s->seq;
    s->state.rows += (int64_t)b->count;
    pthread_mutex_unlock(&s->lock);
    return OK;
}

/* *more: there may be more at once. */
static err bring_batch(struct sink *s, bool *more)
{
    struct batch b = {.sink = s,
                      .names = {s->system_id, s->config.source, s->config.database},
                      .queued_us = s->config.os->now_ms(s->config.os) * 1000};
    int64_t numbered = 0;
    err e = find_batch(&b, &numbered);

    if (!e && b.count) {
        e = bring(&b);
    }
    *more = b.number != 0;
    if (!e) {
        s->cursor = MAX(s->cursor, b.number ? b.number : numbered);
    }
    free(b.changes);
    arena_fini(&b.arena);
    writer_fini(&b.json);
    return e;
}

/* A database restored as another one begins anew: its positions mean nothing there. */
static err read_position(struct sink *s)
{
    const view parameters[] = {view_text(s->config.source), view_text(s->system_id)};
    struct pg_rows *rows = NULL;
    err e = pg_query(s->pg,
                     "INSERT INTO tidemark_sink VALUES ($1, $2, '0/0', -1, now()) "
                     "ON CONFLICT (source) DO UPDATE SET system_id = $2, commit_lsn = '0/0', "
                     "seq = -1 WHERE tidemark_sink.system_id <> $2",
                     parameters, 2, NULL);

    e = e ? e
          : pg_query(s->pg, "SELECT commit_lsn, seq FROM tidemark_sink WHERE source = $1",
                     parameters, 1, &rows);
    if (!e && pg_row_count(rows) != 1) {
        e = fault(ERR_CONFLICT, "its position is gone");
    }
    e = e ? e : lsn_parse(pg_value(rows, 0, 0), &s->commit_lsn);
    e = e ? e : view_to_int(pg_value(rows, 0, 1), &s->seq);
    pg_rows_free(rows);
    s->cursor = 0;
    return e;
}

/* Rows are told apart by it too: before capture has noted it there is nothing to bring. */
static bool has_system(struct sink *s)
{
    struct ledger_end end;

    ledger_end(s->config.ledger, &end);
    memcpy(s->system_id, end.system_id, sizeof(s->system_id));
    return s->system_id[0] != 0;
}

static err connect(struct sink *s)
{
    const struct pg_target target = {
        .url = s->config.url, .password = s->config.password, .application = "tidemark sink"};
    err e = pg_open(&target, &s->pg);

    e = e ? e : pg_run(s->pg, "SET client_min_messages = warning");
    for (size_t i = 0; i < sink_setup_count && !e; i++) {
        e = pg_run(s->pg, "%s", sink_setup[i].sql);
        e = e && sink_setup[i].optional && pg_is_alive(s->pg) ? OK : e;
    }
    return e ? e : read_position(s);
}

static bool ends(struct sink *s)
{
    pthread_mutex_lock(&s->lock);
    bool asked = s->ends;
    pthread_mutex_unlock(&s->lock);
    return asked;
}

static void say(struct sink *s, const char *words)
{
    pthread_mutex_lock(&s->lock);
    bool is_news = strcmp(s->state.words, words) != 0;
    snprintf(s->state.words, sizeof(s->state.words), "%s", words);
    pthread_mutex_unlock(&s->lock);
    if (is_news && words[0]) {
        trace_warn("audit", "%s: the changes table waits: %s", s->config.source, words);
    }
}

static void pause_for(struct sink *s, int64_t wait_ms)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += wait_ms % 1000 * 1000000;
    until.tv_sec += wait_ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&s->lock);
    if (!s->ends) {
        (void)pthread_cond_timedwait(&s->woken, &s->lock, &until);
    }
    pthread_mutex_unlock(&s->lock);
}

static void *run(void *self)
{
    struct sink *s = self;
    int64_t wait_ms = RETRY_MS_LEAST;

    while (!ends(s)) {
        bool more = false;
        if (!s->pg && !has_system(s)) {
            pause_for(s, BEGIN_MS);
            continue;
        }
        err e = s->pg ? OK : connect(s);
        e = e ? e : bring_batch(s, &more);
        if (e) {
            say(s, fault_here.text);
            pg_close(s->pg);
            s->pg = NULL;
            pause_for(s, wait_ms);
            wait_ms = MIN(wait_ms * 2, RETRY_MS_MAX);
            continue;
        }
        say(s, "");
        wait_ms = RETRY_MS_LEAST;
        if (!more) {
            (void)trail_wait(s->config.trail, s->cursor, NEWS_MS);
        }
    }
    pg_close(s->pg);
    return NULL;
}

err sink_open(const struct sink_config *config, struct sink **out)
{
    struct sink *s = xcalloc(1, sizeof(*s));

    s->config = *config;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->woken, NULL);
    if (pthread_create(&s->thread, NULL, run, s)) {
        free(s);
        return fault(ERR_BUSY, "no thread for the changes table of %s", config->source);
    }
    *out = s;
    return OK;
}

void sink_close(struct sink *s)
{
    if (!s) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->ends = true;
    pthread_cond_signal(&s->woken);
    pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->woken);
    free(s);
}

void sink_state(struct sink *s, struct sink_state *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->state;
    pthread_mutex_unlock(&s->lock);
}
