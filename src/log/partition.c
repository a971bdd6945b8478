/* partition.c - a partition's life, its ends and its waiters.
 *
 * Invariants, under the lock: start <= high <= end; stable <= high; segments ascend without
 * overlap and the last one is the only one not sealed; high only grows but for truncation.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct partition *partition_new(struct topic *topic, int32_t index, struct shard *shard)
{
    struct partition *p = xcalloc(1, sizeof(*p));

    p->topic = topic;
    p->index = index;
    p->shard = shard;
    p->recovery.segment = -1;
    p->recovery.oldest_ms = -1;
    p->high_segment = -1;
    p->pin = INT64_MAX;
    p->epoch = topic->log->epoch;
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->writing, NULL);
    return p;
}

void partition_free(struct partition *p)
{
    if (!p) {
        return;
    }
    assert(!p->waiters && !p->staged);
    for (size_t i = 0; i < p->segment_count; i++) {
        segment_drop(p->segments[i]);
    }
    for (size_t i = 0; i < p->doomed_count; i++) {
        p->doomed[i]->deleted = p->gone; /* a checkpoint names it still */
        segment_drop(p->doomed[i]);
    }
    free(p->segments);
    free(p->doomed);
    free(p->epochs);
    producers_free(p->producers);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->writing);
    free(p);
}

void partition_folder(const struct partition *p, char *out, size_t room)
{
    char id[UUID_TEXT_BYTES];

    uuid_text(p->topic->id, id);
    int len = snprintf(out, room, "%s/p/%s-%d", p->topic->log->folder, id, p->index);
    assert(len > 0 && (size_t)len < room);
}

struct topic *partition_topic(const struct partition *p)
{
    return p->topic;
}

int32_t partition_index(const struct partition *p)
{
    return p->index;
}

bool partition_failed(const struct partition *p)
{
    return atomic_load(&((struct partition *)(uintptr_t)p)->failed) ||
           atomic_load(&p->topic->log->failed);
}

void partition_fail(struct partition *p, const char *what)
{
    if (!atomic_exchange(&p->failed, true)) {
        trace_error("log", "%s-%d takes no more writes: %s: %s", p->topic->name, p->index, what,
                    fault_here.text);
    }
}

static int64_t last_timestamp(const struct partition *p)
{
    int64_t latest = -1;

    for (size_t i = 0; i < p->segment_count; i++) {
        latest = MAX(latest, p->segments[i]->max_timestamp);
    }
    return latest;
}

void partition_ends(struct partition *p, struct partition_ends *out)
{
    pthread_mutex_lock(&p->lock);
    *out = (struct partition_ends){
        .start = p->start,
        .end = p->end,
        .high = p->high,
        .stable = p->stable,
        .leader_epoch = p->epoch,
        .bytes = p->bytes,
        .max_timestamp = last_timestamp(p),
    };
    pthread_mutex_unlock(&p->lock);
}

struct segment *partition_segment_at(const struct partition *p, int64_t offset)
{
    size_t low = 0, high = p->segment_count;

    while (low < high) { /* the first whose base is past offset */
        size_t middle = low + (high - low) / 2;
        if (p->segments[middle]->base <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (!p->segment_count) {
        return NULL;
    }
    low = MAX(low, 1);
    /* In a hole that compaction left, the next one with anything behind offset answers. */
    while (low < p->segment_count &&
           (offset >= p->segments[low - 1]->next || p->segments[low - 1]->bytes == 0)) {
        low++;
    }
    return p->segments[low - 1];
}

void partition_wake(struct partition *p)
{
    bool all = p->gone || partition_failed(p);

    for (struct log_wait *wait = p->waiters, *next; wait; wait = next) {
        next = wait->next;
        if (all || (wait->committed ? p->stable : p->high) > wait->offset) {
            *(wait->prev ? &wait->prev->next : &p->waiters) = wait->next;
            if (wait->next) {
                wait->next->prev = wait->prev;
            }
            wait->queued = false;
            wait->wake(wait);
        }
    }
}

bool log_wait_add(struct log_wait *wait)
{
    struct partition *p = wait->partition;

    assert(!wait->queued);
    pthread_mutex_lock(&p->lock);
    bool passed = p->gone || partition_failed(p) ||
                  (wait->committed ? p->stable : p->high) > wait->offset;
    if (!passed) {
        wait->prev = NULL;
        wait->next = p->waiters;
        if (p->waiters) {
            p->waiters->prev = wait;
        }
        p->waiters = wait;
        wait->queued = true;
    }
    pthread_mutex_unlock(&p->lock);
    return !passed;
}

void log_wait_remove(struct log_wait *wait)
{
    struct partition *p = wait->partition;

    pthread_mutex_lock(&p->lock);
    if (wait->queued) {
        *(wait->prev ? &wait->prev->next : &p->waiters) = wait->next;
        if (wait->next) {
            wait->next->prev = wait->prev;
        }
        wait->queued = false;
    }
    pthread_mutex_unlock(&p->lock);
}

void partition_set_high(struct partition *p, int64_t high)
{
    assert(high <= p->end);
    int64_t open = p->producers ? producers_first_open(p->producers) : INT64_MAX;

    if (high > p->high) {
        p->high = high;
        p->high_segment = -1;
    }
    p->stable = MAX(p->start, MIN(p->high, open));
    partition_wake(p);
}

void partition_note_epoch(struct partition *p, int32_t epoch, int64_t offset)
{
    if (p->epoch_count && p->epochs[p->epoch_count - 1].epoch >= epoch) {
        return;
    }
    p->epochs = array_room(p->epochs, p->epoch_count, &p->epoch_room, sizeof(*p->epochs));
    p->epochs[p->epoch_count++] = (struct epoch_start){epoch, offset};
}

void partition_apply(struct partition *p, const struct batch_info *info, view batch,
                     int64_t base_offset, bool hold, int64_t now_ms)
{
    const struct log_config *config = &p->topic->log->config;

    if (info->producer_id < 0) {
        return;
    }
    if (!p->producers) {
        p->producers = producers_new(config->producers_max, config->producer_expiry_ms);
    }
    producers_apply(p->producers, info, batch, base_offset, hold, now_ms);
}

size_t partition_producers(struct partition *p, struct producer_view **out)
{
    size_t count = 0;

    *out = NULL;
    if (partition_open(p)) {
        return 0;
    }
    pthread_mutex_lock(&p->lock);
    if (p->producers) {
        count = producers_views(p->producers, out);
    }
    pthread_mutex_unlock(&p->lock);
    return count;
}

err partition_epoch_end(struct partition *p, int32_t epoch, int32_t *found, int64_t *end)
{
    err e = partition_open(p);

    if (e) {
        return e;
    }
    pthread_mutex_lock(&p->lock);
    *found = -1;
    *end = -1;
    for (size_t i = 0; i < p->epoch_count && p->epochs[i].epoch <= epoch; i++) {
        *found = p->epochs[i].epoch;
        *end = i + 1 < p->epoch_count ? p->epochs[i + 1].offset : p->end;
    }
    if (epoch > p->epoch) { /* of a future that this log does not know */
        *found = -1;
        *end = -1;
    } else if (epoch == p->epoch && *found < epoch) { /* nothing was written in it yet */
        *found = epoch;
        *end = p->end;
    } else if (*found < 0 && epoch >= 0 && p->epoch_count) { /* all of it is trimmed */
        *found = epoch;
        *end = MAX(p->start, p->epochs[0].offset);
    }
    pthread_mutex_unlock(&p->lock);
    return OK;
}

void partition_doom(struct partition *p, struct segment *take_segment)
{
    take_segment->deleted = true;
    p->doomed = array_room(p->doomed, p->doomed_count, &p->doomed_room, sizeof(*p->doomed));
    p->doomed[p->doomed_count++] = take_segment;
}

/* Takes segments that end at or before start off the list; one that compaction emptied stays
 * while it begins at start, which a recovery would move to the next one. Their files stay until
 * a checkpoint says that they are not needed. */
size_t partition_cut_front(struct partition *p)
{
    size_t count = 0;

    while (count + 1 < p->segment_count && p->segments[count]->next <= p->start &&
           p->segments[count]->base < p->start && p->segments[count]->sealed) {
        p->bytes -= p->segments[count]->bytes;
        partition_doom(p, p->segments[count++]);
    }
    if (count) {
        memmove(p->segments, p->segments + count,
                (p->segment_count - count) * sizeof(struct segment *));
    }
    p->segment_count -= count;
    return count;
}

void partition_trim(struct partition *p, int64_t start)
{
    size_t count = 0;

    pthread_mutex_lock(&p->lock);
    if (start > p->start && start <= MIN(p->high, p->pin)) {
        p->start = start;
        p->stable = MAX(p->stable, start);
    }
    if (atomic_load(&p->opened)) { /* the start may have passed more while it was not */
        count = partition_cut_front(p);
        while (p->epoch_count > 1 && p->epochs[1].offset <= p->start) {
            memmove(p->epochs, p->epochs + 1, --p->epoch_count * sizeof(*p->epochs));
        }
        if (p->producers) {
            producers_trim(p->producers, p->start);
        }
    }
    pthread_mutex_unlock(&p->lock);
    log_mark_dirty(p->topic->log, p, 0);
    if (count) {
        log_ask_sync(p->topic->log);
    }
}

void partition_destroy(struct partition *p)
{
    struct log *log = p->topic->log;
    struct segment **segments;
    char folder[PATH_BYTES];

    pthread_mutex_lock(&p->lock);
    p->gone = true;
    partition_wake(p);
    segments = p->segments;
    size_t count = p->segment_count;
    for (size_t i = 0; i < count; i++) {
        segments[i]->deleted = true;
    }
    p->segments = NULL;
    p->segment_count = p->segment_room = 0;
    p->bytes = 0;
    bool written = p->folder_made || p->recovery.segment >= 0;
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < count; i++) {
        segment_drop(segments[i]);
    }
    free(segments);
    partition_folder(p, folder, sizeof(folder));
    err e = written ? os_remove_tree(log->os, folder) : OK;
    if (e && e != ERR_NOT_FOUND) {
        log_mark_dirty(log, p, 0); /* a checkpoint was writing in it: it tries once more */
    }
}
