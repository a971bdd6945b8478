/* truncate.c - cutting a partition's end off, or starting it anew (replication; KIP-101).
 *
 * A segment that ends inside is written anew up to the cut: readers keep the old file, and a
 * file never shrinks under them. SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <stddef.h>
#include <stdlib.h>

struct kept { /* batches of the segment that stay */
    struct segment *to;
    int64_t offset; /* the cut */
    int64_t now_ms;
};

static err keep_batch(void *self, const struct batch_info *info, view batch, int64_t position)
{
    struct kept *kept = self;
    struct iovec part = {(void *)(uintptr_t)batch.at, batch.len};

    if (info->base_offset + info->last_offset_delta >= kept->offset) {
        return ERR_CANCELLED;
    }
    err e = segment_write(kept->to, &part, 1, position);
    if (!e) {
        segment_note(kept->to, info, info->base_offset, kept->now_ms);
    }
    return e;
}

/* The segment's batches before offset in a new file under the same name. */
static err rewrite(struct segment *from, int64_t offset, struct segment **out)
{
    struct log *log = from->partition->topic->log;
    struct segment *to = segment_new(from->partition, from->base);
    struct kept kept = {to, offset, log->os->now_ms(log->os)};
    struct segment_scan scan = {
        .segment = from, .next = from->base, .each = keep_batch, .self = &kept};
    char path[PATH_BYTES];

    segment_path(from, ".log", path, sizeof(path));
    /* Open the old file before its name goes, so that holders can go on reading it. */
    os_file file;
    err e = files_use(log->files, from, false, true, &file);
    if (!e) {
        e = log->os->path_remove(log->os, path);
        e = e ? e : segment_scan(&scan);
        files_done(log->files, from);
    }
    if (e && e != ERR_CANCELLED) {
        segment_drop(to);
        return e;
    }
    *out = to;
    return OK;
}

static void drop_from(struct partition *p, size_t first)
{
    for (size_t i = first; i < p->segment_count; i++) {
        p->bytes -= p->segments[i]->bytes;
        p->segments[i]->deleted = true;
        segment_drop(p->segments[i]);
    }
    p->segment_count = first;
}

static void set_end(struct partition *p, int64_t offset, bool reset)
{
    p->end = offset;
    p->high = reset ? offset : MIN(p->high, offset);
    p->start = reset ? offset : MIN(p->start, offset);
    p->stable = MIN(p->stable, p->high);
    p->high_segment = -1;
    while (p->epoch_count && (reset || p->epochs[p->epoch_count - 1].offset >= offset)) {
        p->epoch_count--;
    }
}

err partition_truncate(struct partition *p, int64_t offset, bool reset)
{
    struct segment *shorter = NULL;
    size_t keep = 0;
    err e = partition_open(p);

    if (e) {
        return e;
    }
    while (!reset && keep < p->segment_count && p->segments[keep]->base < offset) {
        keep++;
    }
    if (keep && p->segments[keep - 1]->next > offset) {
        e = rewrite(p->segments[keep - 1], offset, &shorter);
    }
    if (e) {
        partition_fail(p, "truncation failed");
        return e;
    }
    pthread_mutex_lock(&p->lock);
    drop_from(p, keep);
    if (shorter) {
        struct segment *old = p->segments[keep - 1];
        p->bytes += shorter->bytes - old->bytes;
        p->segments[keep - 1] = shorter;
        segment_drop(old);
    }
    if (p->segment_count) {
        p->segments[p->segment_count - 1]->sealed = false;
    }
    set_end(p, shorter ? shorter->next : offset, reset);
    pthread_mutex_unlock(&p->lock);
    e = partition_reload_producers(p);
    log_mark_dirty(p->topic->log, p, 0);
    return e;
}

static void truncate_work(struct job *job)
{
    struct log_truncate *t =
        (struct log_truncate *)((char *)job - offsetof(struct log_truncate, job));

    t->result = partition_truncate(t->partition, t->offset, t->reset);
    t->done(t);
}

void log_truncate(struct log *log, struct log_truncate *truncate)
{
    truncate->job.work = truncate_work;
    log_run_on_shard(log, truncate->partition, &truncate->job);
}
