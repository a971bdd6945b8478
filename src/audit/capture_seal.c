/* capture_seal.c - cuts, seals, and what the server is told.
 *
 *   open round --cut--> storing --all batches stored--> sealing --seal durable--> flushed
 *
 * One round at a time is on this way while the next one fills. A cut is made at the end of a
 * transaction: at once after a quiet time, then at most every SEAL_NS, so that a trickle of
 * commits does not fill the ledger; and without any change after IDLE_NS, so that tables that
 * nobody writes to hold no WAL back. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "audit/capture_inside.h"

#define SEAL_NS INT64_C(200000000)
#define IDLE_NS INT64_C(10000000000)
#define REPORT_NS INT64_C(5000000000)

static void seal_work(struct job *job)
{
    struct sealing *s = (struct sealing *)(void *)job; /* the first member */
    struct capture *c = s->capture;
    struct writer text = {0};

    s->result = ledger_seal(c->ledger, &s->seal);
    for (size_t i = 0; i < s->notes.count && !s->result; i++) {
        struct json_writer j = json_to(&text);
        writer_reset(&text);
        json_object(&j);
        json_name(&j, "text");
        json_view(&j, s->notes.texts[i]);
        json_end_object(&j);
        s->result = ledger_note(c->ledger, "chunk", writer_view(&text));
    }
    if (!s->result && s->ends_snapshot) {
        s->result = ledger_note(c->ledger, "snapshot done", VIEW("{}"));
    }
    if (s->result) {
        s->fault = fault_here;
    }
    writer_fini(&text);
    atomic_store(&s->done, true);
    capture_wake(c);
}

static void notes_clear(struct chunk_notes *notes)
{
    for (size_t i = 0; i < notes->count; i++) {
        free((void *)(uintptr_t)notes->texts[i].at);
    }
    free(notes->texts);
    *notes = (struct chunk_notes){0};
}

static bool may_cut(const struct capture *c)
{
    return c->lanes && c->cut == CUT_NONE && !c->in_transaction;
}

static bool is_idle(const struct capture *c)
{
    return c->stitch && stitch_is_between(c->stitch);
}

static err close_round(struct capture *c)
{
    struct sealing *s = &c->sealing;
    struct seal_range *ranges = NULL;

    pthread_mutex_lock(&c->notes_lock);
    notes_clear(&s->notes);
    s->notes = c->notes;
    c->notes = (struct chunk_notes){0};
    s->ends_snapshot = c->snapshot_done;
    c->closed = c->open; /* its changes are counted by workers of a snapshot, too */
    c->open = (struct round){.to = c->closed.to};
    pthread_mutex_unlock(&c->notes_lock);
    err e = c->writer ? lane_flush(c->writer) : OK;
    if (e) {
        return e;
    }
    arena_reset(&s->arena);
    size_t count = lanes_cut(c->lanes, &s->arena, &ranges, &c->generation);
    s->seal = (struct seal){.from = c->sealed_from,
                            .to = c->closed.to,
                            .changes = c->closed.changes,
                            .transactions = c->closed.transactions,
                            .ranges = ranges,
                            .range_count = count};
    c->cut = CUT_STORING;
    c->cut_ns = c->os->tick_ns(c->os);
    return capture_step(c);
}

/* Notes wait for a cut too. */
static bool has_notes(struct capture *c)
{
    pthread_mutex_lock(&c->notes_lock);
    bool any = c->notes.count > 0;
    pthread_mutex_unlock(&c->notes_lock);
    return any || c->snapshot_done;
}

/* Somebody waits for a seal: a reader, or the server, which asks before it stops. */
static bool is_wanted(const struct capture *c)
{
    return atomic_load(&c->source->wanted_lsn) > c->sealed_from ||
           c->asked_lsn > c->sealed_from;
}

err capture_cut(struct capture *c, bool now)
{
    int64_t since = c->os->tick_ns(c->os) - c->cut_ns;
    bool idle_due = now || since >= IDLE_NS || is_wanted(c);

    if (!may_cut(c) || (!now && since < SEAL_NS)) {
        return OK;
    }
    bool repeats = c->open.to <= lanes_tail(c->lanes);
    if (is_idle(c) && c->keepalive_lsn > c->open.to && (idle_due || repeats)) {
        c->open.to = c->keepalive_lsn;
        repeats = c->open.to <= lanes_tail(c->lanes);
    }
    if (repeats) {
        return OK; /* what a crash left is still coming again */
    }
    if (lanes_have_more(c->lanes) || has_notes(c)) {
        return close_round(c);
    }
    return idle_due && c->open.to > c->sealed_from ? close_round(c) : OK;
}

/* The sealed round is what sources show, and what the server may forget. */
static err seal_is_done(struct capture *c)
{
    struct sealing *s = &c->sealing;
    struct source_status *status = &c->source->status;

    c->cut = CUT_NONE;
    if (s->result) {
        return fault(s->fault.code, "%s", s->fault.text);
    }
    c->sealed_from = c->closed.to;
    c->flushed_lsn = c->closed.to;
    pthread_mutex_lock(&c->source->lock);
    status->durable_lsn = c->closed.to;
    status->changes += c->closed.changes;
    status->transactions += c->closed.transactions;
    if (c->closed.committed_us) {
        status->committed_us = c->closed.committed_us;
        status->lag_ms = MAX(0, c->os->now_ms(c->os) - c->closed.committed_us / INT64_C(1000));
    }
    pthread_mutex_unlock(&c->source->lock);
    if (s->ends_snapshot) {
        capture_snapshot_end(c, true);
    }
    return capture_report(c, true);
}

err capture_step(struct capture *c)
{
    err e = c->lanes ? lanes_check(c->lanes) : OK;

    if (!e && c->cut == CUT_STORING && lanes_are_stored(c->lanes, c->generation)) {
        c->cut = CUT_SEALING;
        c->sealing.job.work = seal_work;
        c->sealing.capture = c;
        atomic_store(&c->sealing.done, false);
        worker_post(&c->sealer, &c->sealing.job);
    }
    if (!e && c->cut == CUT_SEALING && atomic_load(&c->sealing.done)) {
        e = seal_is_done(c);
    }
    return e ? e : capture_report(c, false);
}

err capture_drain(struct capture *c)
{
    err e = capture_step(c);

    while (!e && c->cut != CUT_NONE) {
        e = capture_wait(c);
    }
    e = e ? e : capture_cut(c, true);
    while (!e && c->cut != CUT_NONE) {
        e = capture_wait(c);
    }
    return e;
}

err capture_report(struct capture *c, bool now)
{
    int64_t tick = c->os->tick_ns(c->os);

    if (!c->streams || (!now && tick < c->report_due_ns)) {
        return OK;
    }
    c->report_due_ns = tick + REPORT_NS;
    return pg_stream_status(c->stream, MAX(c->received_lsn, c->flushed_lsn), c->flushed_lsn,
                            false);
}

int64_t capture_due_ns(const struct capture *c)
{
    int64_t due = c->report_due_ns;

    if (may_cut(c) &&
        (c->open.changes || c->open.transactions || c->snapshot || is_wanted(c))) {
        due = MIN(due, c->cut_ns + SEAL_NS);
    }
    return due;
}

void capture_seal_end(struct capture *c)
{
    if (c->cut == CUT_SEALING) {
        while (!atomic_load(&c->sealing.done)) {
            capture_sleep(c, CAPTURE_WAIT_MS, false);
        }
    }
    c->cut = CUT_NONE;
    notes_clear(&c->sealing.notes);
    notes_clear(&c->notes);
}
