/* capture_snapshot.c - rows that were there before.
 *
 * Exported: workers read in the slot's snapshot before the stream begins, each with a writer of
 * its own; this thread seals what they have stored, at the slot's point. Watermark: rows come
 * on this thread between changes of the stream. Either way a chunk is noted in the ledger only
 * after a seal that covers its rows. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "audit/capture_inside.h"

#define WAIT_MS 50

static void keep_note(struct capture *c, view note)
{
    pthread_mutex_lock(&c->notes_lock);
    c->notes.texts = array_room(c->notes.texts, c->notes.count, &c->notes.room, sizeof(view));
    c->notes.texts[c->notes.count++] = view_text(text_of(note));
    pthread_mutex_unlock(&c->notes_lock);
}

static err on_row(void *self, int worker, const struct change *change)
{
    struct capture *c = self;

    if (!c->exported) {
        c->open.changes++;
        return capture_row(c, c->writer, &c->out, "incremental", change);
    }
    pthread_mutex_lock(&c->notes_lock);
    c->open.changes++;
    pthread_mutex_unlock(&c->notes_lock);
    return capture_row(c, c->snapshot_writers[worker], &c->snapshot_outs[worker], "true",
                       change);
}

static err on_chunk(void *self, int worker, view note)
{
    struct capture *c = self;
    err e = lane_flush(c->exported ? c->snapshot_writers[worker] : c->writer);

    if (!e) {
        keep_note(c, note);
        capture_wake(c);
    }
    return e;
}

/* A worker waits for room; this thread meanwhile seals. */
static err worker_wait(void *self)
{
    struct capture *c = self;
    struct timespec moment = {.tv_nsec = 2000000};

    nanosleep(&moment, NULL);
    return capture_is_ending(c) ? fault(ERR_CANCELLED, "it is being stopped") : OK;
}

static void show_progress(struct capture *c)
{
    struct source_status *status = &c->source->status;
    struct snapshot_progress p;

    snapshot_progress(c->snapshot, &p);
    pthread_mutex_lock(&c->source->lock);
    status->snapshot_rows = p.rows;
    status->snapshot_rows_estimate = MAX(p.rows_estimate, 1);
    memcpy(status->snapshot_table, p.table, sizeof(status->snapshot_table));
    pthread_mutex_unlock(&c->source->lock);
}

/* The published tables that match, described and with lanes. */
static err choose_tables(struct capture *c, const char *patterns, struct arena *arena,
                         struct snapshot_table **out, size_t *out_count)
{
    const struct source_options *o = &c->source->options;
    const struct setup_ask ask = {.tables = patterns && *patterns ? patterns : o->tables,
                                  .without = o->without,
                                  .keyless = (enum setup_keyless)o->keyless,
                                  .slot = o->slot,
                                  .publication = o->publication};
    struct setup_table *tables = NULL;
    size_t count = 0;
    err e = setup_tables(c->control, &ask, arena, &tables, &count);
    struct snapshot_table *chosen = arena_take(arena, (count + 1) * sizeof(*chosen));

    c->snapshot_relations = xcalloc(count + 1, sizeof(struct relation *));
    c->snapshot_table_count = 0;
    for (size_t i = 0; i < count && !e; i++) {
        struct relation *relation = NULL;
        struct table *table = NULL;
        if (!tables[i].published || tables[i].skipped || !tables[i].may_read) {
            continue;
        }
        e = setup_describe(c->control, tables[i].oid, &relation);
        if (!e) {
            size_t at = c->snapshot_table_count++;
            c->snapshot_relations[at] = relation;
            chosen[at] = (struct snapshot_table){.oid = tables[i].oid, .relation = relation};
            e = capture_table(c, relation, &table);
        }
    }
    *out = chosen;
    *out_count = c->snapshot_table_count;
    return e;
}

static void make_writers(struct capture *c, int workers)
{
    c->snapshot_workers = workers;
    c->snapshot_writers = xcalloc((size_t)workers, sizeof(struct lane_writer *));
    c->snapshot_outs = xcalloc((size_t)workers, sizeof(struct envelope_out));
    for (int i = 0; i < workers; i++) {
        c->snapshot_writers[i] = lane_writer_new(c->lanes, false, worker_wait, c);
    }
}

/* exported NULL: watermark mode. */
static err start(struct capture *c, const char *patterns, const struct setup_slot *exported,
                 const struct ledger_snapshot *before)
{
    const struct source_options *o = &c->source->options;
    const struct snapshot_target target = {on_row, on_chunk, c};
    struct arena arena = {0};
    struct snapshot_table *tables = NULL;
    size_t count = 0;
    err e = choose_tables(c, patterns, &arena, &tables, &count);

    c->exported = exported != NULL;
    c->snapshot_us = c->os->now_ms(c->os) * 1000;
    struct snapshot_config config = {
        .os = c->os,
        .database = {.url = o->url,
                     .password = c->source->password,
                     .application = "tidemark snapshot"},
        .exported = exported ? exported->snapshot : NULL,
        .lsn = exported ? exported->consistent_lsn : 0,
        .now_us = c->snapshot_us,
        .id = c->snapshot_us,
        .workers = (int)o->snapshot_workers,
        .chunk_rows = o->snapshot_chunk_rows,
        .bytes_per_second = o->snapshot_rate,
        .tables = tables,
        .table_count = count,
        .done = before ? before->chunks : NULL,
        .done_count = before ? before->count : 0,
    };
    if (!e && exported) {
        make_writers(c, config.workers);
    }
    e = e ? e : snapshot_start(&config, &target, &c->snapshot);
    arena_fini(&arena);
    return e;
}

err capture_snapshot_exported(struct capture *c, const struct setup_slot *slot)
{
    bool done = false;
    err e = start(c, NULL, slot, NULL);

    capture_say(c, "reading the rows there are");
    while (!e && !done) {
        e = snapshot_wait(c->snapshot, WAIT_MS, &done);
        if (capture_is_ending(c)) {
            return fault(ERR_CANCELLED, "it is being stopped");
        }
        show_progress(c);
        e = e ? e : capture_step(c);
        e = e ? e : capture_cut(c, false);
    }
    for (int i = 0; i < c->snapshot_workers && !e; i++) {
        e = lane_flush(c->snapshot_writers[i]);
    }
    while (!e && c->cut != CUT_NONE) { /* a cut under way is not the one that ends it */
        e = capture_wait(c);
    }
    c->snapshot_done = true;
    return e ? e : capture_drain(c);
}

err capture_snapshot_resume(struct capture *c)
{
    struct arena arena = {0};
    struct ledger_snapshot before;
    struct json *about = NULL;
    view tables = {0};
    err e = OK;

    ledger_snapshot(c->ledger, &arena, &before);
    if (before.about.at) {
        e = json_parse(&arena, before.about, &about);
        if (!e && json_get_text(about, "tables", &tables)) {
            tables = (view){0};
        }
        e = e ? e : start(c, arena_text(&arena, tables), NULL, &before);
    }
    arena_fini(&arena);
    return e;
}

/* Somebody wants tables read anew: noted first, so that it survives a crash. */
static err begin_asked(struct capture *c)
{
    struct writer inner = {0}, outer = {0};
    struct json_writer j = json_to(&inner), k = json_to(&outer);

    pthread_mutex_lock(&c->source->lock);
    char *tables = c->ask_tables;
    c->ask_tables = NULL;
    atomic_store(&c->snapshot_asked, false);
    pthread_mutex_unlock(&c->source->lock);
    json_object(&j);
    json_name(&j, "mode");
    json_text(&j, "watermark");
    json_name(&j, "tables");
    json_text(&j, tables);
    json_end_object(&j);
    json_object(&k);
    json_name(&k, "text");
    json_view(&k, writer_view(&inner));
    json_end_object(&k);
    err e = ledger_note(c->ledger, "snapshot", writer_view(&outer));
    free(tables);
    writer_fini(&inner);
    writer_fini(&outer);
    return e ? e : capture_snapshot_resume(c);
}

err capture_snapshot_step(struct capture *c)
{
    bool done = false;

    if (!c->snapshot) {
        return atomic_load(&c->snapshot_asked) ? begin_asked(c) : OK;
    }
    if (c->exported || c->snapshot_done) {
        return OK;
    }
    show_progress(c);
    err e = snapshot_wait(c->snapshot, 0, &done);
    if (!e && done && c->cut == CUT_NONE) {
        c->snapshot_done = true; /* the next cut covers its last rows */
    }
    return e;
}

void capture_snapshot_end(struct capture *c, bool sealed)
{
    struct source_status *status = &c->source->status;
    bool was = c->snapshot != NULL;

    snapshot_stop(c->snapshot);
    c->snapshot = NULL;
    c->snapshot_done = false;
    for (int i = 0; i < c->snapshot_workers; i++) {
        lane_writer_free(c->snapshot_writers[i]);
        envelope_out_fini(&c->snapshot_outs[i]);
    }
    free(c->snapshot_writers);
    free(c->snapshot_outs);
    c->snapshot_writers = NULL;
    c->snapshot_outs = NULL;
    c->snapshot_workers = 0;
    for (size_t i = 0; i < c->snapshot_table_count; i++) {
        relation_drop(c->snapshot_relations[i]); /* the map of tables holds them too */
    }
    free(c->snapshot_relations);
    c->snapshot_relations = NULL;
    c->snapshot_table_count = 0;
    if (!was) {
        return;
    }
    pthread_mutex_lock(&c->source->lock);
    status->snapshot_rows = status->snapshot_rows_estimate = 0;
    status->snapshot_table[0] = '\0';
    pthread_mutex_unlock(&c->source->lock);
    if (sealed && !c->exported && source_move(c->source, SOURCE_RUNNING, "")) {
        trace_warn("audit", "source %s: that its snapshot is done is not recorded: %s",
                   c->source->name, fault_here.text);
    }
}
