/* compact.c - compaction of one partition's sealed segments, on the cleaner.
 *
 *   plan     sealed segments before the recovery point, stable, pins and the lag
 *   learn    the newest offset of each key among those not compacted before
 *   rewrite  groups of neighbours into <base>.log.clean, synced
 *   swap     the new segment takes the group's place in memory, then the first one's file name
 *   settle   a checkpoint names the new segments; only then do the others' files go
 *
 * Only what lies before the recovery point is touched: the journal may still write behind it. A
 * crash before the rename leaves the old files. One between rename and checkpoint leaves a file
 * that is not what the state file says of it, named by the file "swapping", and those it stands
 * for: opening reads it again and drops them. Readers keep the old file by its descriptor.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/compact.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/inside.h"

#define CLEAN_ENDING ".log.clean"
#define WRITE_BYTES (1 << 20) /* gathered before a write */

struct plan {
    struct partition *partition;
    struct topic_settings settings;
    struct segment **segments; /* held, from the first one on */
    size_t count;
    int64_t now_ms;
    int64_t keep_offset; /* last one before the active segment: readers must find an end */
    struct producer_last *producers;
    size_t producer_count;
};

static void plan_fini(struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        segment_drop(plan->segments[i]);
    }
    free(plan->segments);
    free(plan->producers);
}

static bool old_enough(const struct plan *plan, const struct segment *s)
{
    int64_t stamp = s->max_timestamp >= 0 ? s->max_timestamp : s->first_ms;

    return stamp <= plan->now_ms - plan->settings.min_compaction_lag_ms;
}

/* Enough is new, or it waits too long, or tombstones are due. Locked. */
static bool worth_it(const struct plan *plan)
{
    const struct partition *p = plan->partition;
    int64_t dirty = 0, all = 0, oldest_ms = INT64_MAX;

    for (size_t i = 0; i < plan->count; i++) {
        const struct segment *s = plan->segments[i];
        all += s->bytes;
        if (s->next > p->compacted && s->bytes > 0) {
            dirty += s->bytes;
            oldest_ms = MIN(oldest_ms, s->first_ms);
        }
    }
    if (p->compact_due_ms && plan->now_ms >= p->compact_due_ms) {
        return true;
    }
    return dirty > 0 && ((double)dirty * 100 >
                             (double)all * (double)plan->settings.min_cleanable_dirty_percent ||
                         plan->now_ms - oldest_ms > plan->settings.max_compaction_lag_ms);
}

/* False: nothing to do. */
static bool make_plan(struct plan *plan)
{
    struct partition *p = plan->partition;
    size_t sealed = 0;

    pthread_mutex_lock(&p->lock);
    int64_t limit = MIN(p->stable, p->pin);
    plan->segments = xcalloc(p->segment_count + 1, sizeof(struct segment *));
    while (sealed < p->segment_count && p->segments[sealed]->sealed) {
        sealed++;
    }
    plan->keep_offset = sealed ? p->segments[sealed - 1]->next - 1 : -1;
    for (size_t i = 0; i < sealed; i++) {
        struct segment *s = p->segments[i];
        if (s->base >= p->recovery.segment || s->next > limit || !old_enough(plan, s)) {
            break;
        }
        plan->segments[plan->count++] = segment_hold(s);
    }
    bool worth = !p->gone && worth_it(plan);
    if (worth && p->producers) {
        plan->producer_count = producers_lasts(p->producers, &plan->producers);
    }
    pthread_mutex_unlock(&p->lock);
    return worth;
}

static void begin_pass(struct compactor *c, const struct plan *plan, int64_t from)
{
    struct partition *p = plan->partition;
    struct log_aborted *aborts = NULL;
    size_t count = 0;

    pthread_mutex_lock(&p->lock);
    if (p->producers) {
        count = producers_aborted(p->producers, from, plan->segments[plan->count - 1]->next,
                                  &aborts);
    }
    pthread_mutex_unlock(&p->lock);
    compactor_begin(c, aborts, count);
}

/* Every batch of a sealed segment; what does not parse is damage. */
static err scan_whole(struct segment *s,
                      err (*each)(void *self, const struct batch_info *info, view batch,
                                  int64_t position),
                      void *self)
{
    struct segment_scan scan = {.segment = s, .next = s->base, .each = each, .self = self};
    err e = segment_scan(&scan);

    if (!e && scan.fault) {
        e = fault(ERR_CORRUPT,
                  "segment %020" PRId64 " is broken at position %" PRId64 ", offset %" PRId64
                  ": %s",
                  s->base, scan.position, scan.next, batch_fault_text(scan.fault));
    }
    return e;
}

struct learning {
    struct compactor *c;
    int64_t from; /* batches that end before it were compacted already */
    bool full;
};

static err learn_batch(void *self, const struct batch_info *info, view batch, int64_t position)
{
    struct learning *learning = self;

    (void)position;
    if (info->base_offset + info->last_offset_delta < learning->from) {
        return OK;
    }
    err e = compactor_learn(learning->c, info, batch, &learning->full);
    return e ? e : learning->full ? ERR_CANCELLED : OK;
}

static err learn(struct compactor *c, const struct plan *plan)
{
    struct learning learning = {.c = c, .from = plan->partition->compacted};
    err e = OK;

    begin_pass(c, plan, learning.from);
    c->latest = learning.from - 1;
    for (size_t i = 0; !e && i < plan->count; i++) {
        if (plan->segments[i]->next > learning.from) {
            e = scan_whole(plan->segments[i], learn_batch, &learning);
        }
    }
    if (!e) { /* holes at the end count as seen */
        c->latest = MAX(c->latest, plan->segments[plan->count - 1]->next - 1);
    }
    return e == ERR_CANCELLED ? OK : e;
}

struct rewriting {
    struct compactor *c;
    struct segment *to;
    struct os *os;
    os_file file;
    int64_t written; /* bytes in the file */
    struct writer out;
};

static err flush_out(struct rewriting *r)
{
    err e = r->out.len ? os_write_at(r->os, r->file, writer_view(&r->out), r->written) : OK;

    if (!e && r->out.len) {
        r->os->file_sync_start(r->os, r->file, r->written, (int64_t)r->out.len);
    }
    r->written += (int64_t)r->out.len;
    writer_reset(&r->out);
    return e;
}

static err rewrite_batch(void *self, const struct batch_info *info, view batch,
                         int64_t position)
{
    struct rewriting *r = self;
    struct batch_info fresh;
    size_t before = r->out.len;
    err e = compactor_rewrite(r->c, info, batch, &r->out);

    (void)position;
    if (e || r->out.len == before) {
        return e;
    }
    enum batch_fault bad = batch_check_stored(view_from(writer_view(&r->out), before), &fresh);
    assert(bad == BATCH_FINE); /* what replaces acknowledged data is checked once more */
    segment_note(r->to, &fresh, fresh.base_offset, 0);
    return r->out.len >= WRITE_BYTES ? flush_out(r) : OK;
}

/* A run of neighbours that one segment may stand for. */
static size_t group_size(const struct plan *plan, size_t first)
{
    int64_t bytes = plan->segments[first]->bytes;
    size_t count = 1;

    for (size_t i = first + 1; i < plan->count; i++) {
        bytes += plan->segments[i]->bytes;
        if (bytes > plan->settings.segment_bytes ||
            plan->segments[i]->next - plan->segments[first]->base > SEGMENT_OFFSETS_MAX) {
            break;
        }
        count++;
    }
    return count;
}

static err rewrite_group(struct rewriting *r, struct segment **group, size_t count)
{
    char path[PATH_BYTES];
    err e;

    segment_path(group[0], CLEAN_ENDING, path, sizeof(path));
    e = r->os->file_open(r->os, path, OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_FRESH, &r->file);
    for (size_t i = 0; !e && i < count; i++) {
        e = scan_whole(group[i], rewrite_batch, r);
    }
    e = e ? e : flush_out(r);
    return e ? e : r->os->file_sync(r->os, r->file);
}

/* Puts to in the group's place, when that is still in the list. Readers see it from then on. */
static bool install(struct partition *p, struct segment *to, struct segment **group,
                    size_t count)
{
    struct log *log = p->topic->log;
    size_t first = 0;

    pthread_mutex_lock(&p->lock);
    while (first < p->segment_count && p->segments[first] != group[0]) {
        first++;
    }
    bool there = !p->gone && first + count < p->segment_count &&
                 group[count - 1]->next <= p->pin; /* which may be newer than the plan */
    for (size_t i = 0; there && i < count; i++) {
        there = p->segments[first + i] == group[i];
    }
    if (there) {
        for (size_t i = 0; i < count; i++) {
            p->bytes -= group[i]->bytes;
        }
        segment_drop(group[0]); /* the list's; the plan has its own, its name is taken over */
        for (size_t i = 1; i < count; i++) {
            partition_doom(p, group[i]);
        }
        p->bytes += to->bytes;
        p->segments[first] = segment_hold(to);
        for (size_t i = first + 1; i + count - 1 < p->segment_count; i++) {
            p->segments[i] = p->segments[i + count - 1];
        }
        p->segment_count -= count - 1;
        to->index_loaded_ms = log->os->now_ms(log->os);
        atomic_fetch_add(&log->index_cache_used,
                         (int64_t)(to->index_room * sizeof(*to->index)));
    }
    pthread_mutex_unlock(&p->lock);
    return there;
}

static err write_marker(struct log *log, const struct segment *s)
{
    char folder[PATH_BYTES];
    struct writer text = {0};

    partition_folder(s->partition, folder, sizeof(folder));
    write_format(&text, "%" PRId64, s->base);
    err e = os_replace_file(log->os, folder, PARTITION_SWAPPING, writer_view(&text));
    writer_fini(&text);
    return e;
}

/* After a checkpoint: what the state file says is what the files are. */
static void remove_marker(struct partition *p)
{
    struct os *os = p->topic->log->os;
    char folder[PATH_BYTES], path[PATH_BYTES + 16];

    partition_folder(p, folder, sizeof(folder));
    snprintf(path, sizeof(path), "%s/%s", folder, PARTITION_SWAPPING);
    (void)os->path_remove(os, path); /* a leftover costs one reading of that segment */
    p->swap_unsettled = false;
}

/* The name follows: from here on a restart finds the new file. */
static err rename_clean(struct log *log, struct segment *to)
{
    char clean[PATH_BYTES], path[PATH_BYTES], index[PATH_BYTES], folder[PATH_BYTES];

    segment_path(to, CLEAN_ENDING, clean, sizeof(clean));
    segment_path(to, ".log", path, sizeof(path));
    segment_path(to, ".index", index, sizeof(index));
    partition_folder(to->partition, folder, sizeof(folder));
    err e = log->os->path_remove(log->os, index); /* before: it describes the old file */
    e = e == ERR_NOT_FOUND ? OK : e;
    e = e ? e : write_marker(log, to); /* syncs the folder too */
    e = e ? e : log->os->path_rename(log->os, clean, path);
    return e ? e : log->os->folder_sync(log->os, folder);
}

static bool is_gone(struct partition *p)
{
    pthread_mutex_lock(&p->lock);
    bool gone = p->gone;
    pthread_mutex_unlock(&p->lock);
    return gone;
}

/* Under the checkpoint lock, so that no state file speaks of a segment without its name. */
static err swap(struct partition *p, struct rewriting *r, struct segment **group, size_t count,
                bool *swapped)
{
    struct log *log = p->topic->log;
    err e;

    *swapped = false;
    pthread_mutex_lock(&log->checkpoint_lock);
    e = files_pin(log->files, group[0]);
    if (!e) {
        files_adopt(log->files, r->to, r->file);
        r->file = OS_FILE_NONE;
        *swapped = install(p, r->to, group, count);
        e = *swapped ? rename_clean(log, r->to) : OK;
        files_unpin(log->files, *swapped ? r->to : group[0]);
        if (e && !is_gone(p)) {
            partition_fail(p, "a compacted segment could not take its place");
        }
        if (*swapped && !e && segment_save_index(r->to)) {
            trace_warn("log", "%s", fault_here.text); /* it is rebuilt when needed */
        }
    }
    pthread_mutex_unlock(&log->checkpoint_lock);
    return e && is_gone(p) ? OK : e;
}

/* Aborted transactions of which no data is left lose their marker: the list must forget them
 * first and for good, or a reader would miss what the producer committed later. */
static err forget_ended(struct partition *p, struct compactor *c)
{
    if (c->ended_count == 0) {
        return OK;
    }
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < c->ended_count; i++) {
        producers_forget_abort(p->producers, c->ended[i].producer_id, c->ended[i].first_offset);
    }
    pthread_mutex_unlock(&p->lock);
    c->ended_count = 0;
    log_mark_dirty(p->topic->log, p, 0);
    return checkpoint_run(p->topic->log);
}

/* Names the new segments on disk; then the replaced files go. */
static err settle(struct partition *p)
{
    log_mark_dirty(p->topic->log, p, 0);
    err e = checkpoint_run(p->topic->log);
    if (!e) {
        remove_marker(p);
    }
    return e;
}

static err compact_group(struct compactor *c, const struct plan *plan, struct segment **group,
                         size_t count)
{
    struct partition *p = plan->partition;
    struct log *log = p->topic->log;
    struct rewriting r = {.c = c, .os = log->os, .file = OS_FILE_NONE};
    char path[PATH_BYTES];
    bool swapped = false;

    c->changed = count > 1;
    r.to = segment_new(p, group[0]->base);
    err e = rewrite_group(&r, group, count);
    r.to->first_ms = group[0]->first_ms;
    r.to->sealed = true;
    if (!e && c->changed) {
        e = forget_ended(p, c);
        e = e ? e : swap(p, &r, group, count, &swapped);
    }
    if (!swapped) {
        segment_path(group[0], CLEAN_ENDING, path, sizeof(path));
        (void)log->os->path_remove(log->os, path);
    }
    if (swapped && !e) {
        e = settle(p);
    }
    log->os->file_close(log->os, r.file);
    writer_fini(&r.out);
    segment_drop(r.to);
    return e;
}

static err run(struct plan *plan)
{
    struct partition *p = plan->partition;
    const struct log_config *config = &p->topic->log->config;
    struct compact_rules rules = {
        .memory_bytes = config->compaction_memory_bytes,
        .now_ms = plan->now_ms,
        .delete_retention_ms = plan->settings.delete_retention_ms,
        .keep_offset = plan->keep_offset,
        .producers = plan->producers,
        .producer_count = plan->producer_count,
    };
    struct compactor c;

    for (size_t i = 0; i < plan->count; i++) {
        int64_t from = MAX(plan->segments[i]->base, p->compacted);
        rules.records += MAX(plan->segments[i]->next - from, 0);
    }
    compactor_init(&c, &rules);
    err e = learn(&c, plan);
    if (!e) {
        begin_pass(&c, plan, plan->segments[0]->base);
    }
    for (size_t i = 0; !e && i < plan->count && plan->segments[i]->base <= c.latest;) {
        size_t count = group_size(plan, i);
        e = compact_group(&c, plan, plan->segments + i, count);
        i += count;
    }
    if (!e) {
        pthread_mutex_lock(&p->lock);
        p->compacted = c.latest + 1;
        p->compact_due_ms = c.horizon_ms == INT64_MAX ? 0 : c.horizon_ms;
        pthread_mutex_unlock(&p->lock);
        log_mark_dirty(p->topic->log, p, 0);
        trace_debug("log", "compacted %s-%d: %" PRId64 " of %" PRId64 " records stay",
                    p->topic->name, p->index, c.records_out, c.records_in);
    }
    compactor_fini(&c);
    return e;
}

err partition_compact(struct partition *p)
{
    struct os *os = p->topic->log->os;
    struct plan plan = {.partition = p, .now_ms = os->now_ms(os)};

    if (partition_failed(p)) {
        return OK;
    }
    topic_settings_get(p->topic, &plan.settings);
    err e = p->swap_unsettled ? settle(p) : OK;
    if (!e && make_plan(&plan)) {
        e = run(&plan);
    }
    plan_fini(&plan);
    return e;
}
