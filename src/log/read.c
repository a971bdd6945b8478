/* read.c - from an offset to a stretch of whole batches.
 *
 * Under the partition's lock the segment and index entries are found; the few batch heads
 * between an index entry and the exact place are read outside of it, with the segment held.
 * Nothing here waits unless the caller allows it. SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <stdlib.h>

#define READ_AHEAD_BYTES (4 << 20)  /* asked of the system for a large range on disk */
#define READ_AHEAD_FROM (256 << 10) /* such a range: somebody catches up */
#define GIVE_WAY_NS (100 * 1000000) /* after a flush the next one is expected this soon */

#define INDEX_LOADS_MAX 3

struct bounds {              /* copied under the lock */
    struct segment *segment; /* held */
    int64_t from;            /* an index entry's position at or before the offset */
    int64_t limit;           /* offset that readers may not reach */
    int64_t limit_from;      /* a position from which the limit is found ... */
    int64_t limit_position;  /* ... or the limit's position, when known; -1 */
    int64_t bytes;           /* of the segment */
};

static enum log_read_status status_of(enum os_read_status status)
{
    return status == OS_READ_DONE   ? LOG_READ_OK
           : status == OS_READ_COLD ? LOG_READ_COLD
                                    : LOG_READ_FAILED;
}

static int64_t floor_position(const struct segment *s, int64_t offset)
{
    const struct index_entry *entry = segment_floor(s, offset);

    return entry ? entry->position : 0;
}

/* OK with b->segment NULL: there is nothing to read yet. */
static enum log_read_status find_bounds(struct log_read *read, struct bounds *b)
{
    struct partition *p = read->partition;

    *b = (struct bounds){.limit_position = -1};
    read->start = p->start;
    read->high = p->high;
    read->stable = p->stable;
    b->limit = read->committed ? p->stable : p->high;
    if (p->gone) {
        return LOG_READ_FAILED;
    }
    if (read->offset < p->start || read->offset > p->end) {
        return LOG_READ_OUT_OF_RANGE;
    }
    struct segment *s = partition_segment_at(p, read->offset);
    if (read->offset >= b->limit || !s || s->base >= b->limit) {
        return LOG_READ_OK;
    }
    if (segment_wants_index(s)) {
        b->segment = segment_hold(s);
        return LOG_READ_COLD;
    }
    b->segment = segment_hold(s);
    b->bytes = s->bytes;
    b->from = floor_position(s, read->offset);
    if (s->next <= b->limit) {
        b->limit_position = s->bytes;
    } else if (p->high_segment == s->base && b->limit == p->high) {
        b->limit_position = p->high_position;
    } else {
        b->limit_from = floor_position(s, b->limit);
    }
    return LOG_READ_OK;
}

/* Where the batch that holds (or follows) the limit begins: the end of what may be read. */
static enum log_read_status find_limit(struct log_read *read, struct bounds *b)
{
    struct batch_info info;
    bool found;
    int64_t position = b->bytes;

    if (b->limit_position >= 0) {
        return LOG_READ_OK;
    }
    enum os_read_status status = segment_locate(b->segment, b->limit, b->limit_from, b->bytes,
                                                read->may_block, &position, &info, &found);
    b->limit_position = found ? position : b->bytes;
    return status_of(status);
}

/* As many whole batches from position on as bytes_max allows, by walking heads. */
static enum log_read_status walk_end(const struct log_read *read, const struct bounds *b,
                                     int64_t position, int64_t *end)
{
    *end = position;
    for (int64_t at = position; at < b->limit_position;) {
        struct batch_info info;
        bool found;
        int64_t place;
        enum os_read_status status = segment_locate(b->segment, 0, at, b->limit_position,
                                                    read->may_block, &place, &info, &found);
        if (status != OS_READ_DONE || !found) {
            return status_of(status);
        }
        bool fits = at + info.bytes - position <= (int64_t)read->bytes_max;
        bool first = at == position && read->whole_first;
        if (!fits && !first) {
            break;
        }
        at += info.bytes;
        *end = at;
        if (!fits) {
            break;
        }
    }
    return LOG_READ_OK;
}

/* The end of the answer: the limit, or an index entry within bytes_max, or by walking heads. */
static enum log_read_status find_end(struct log_read *read, const struct bounds *b,
                                     int64_t position, int64_t *end)
{
    int64_t most = position + (int64_t)read->bytes_max;

    if (b->limit_position <= most) {
        *end = MAX(b->limit_position, position);
        return LOG_READ_OK;
    }
    pthread_mutex_lock(&read->partition->lock);
    const struct index_entry *entry = segment_floor_position(b->segment, most);
    *end = entry ? entry->position : 0;
    pthread_mutex_unlock(&read->partition->lock);
    return *end > position ? LOG_READ_OK : walk_end(read, b, position, end);
}

static void find_aborted(struct log_read *read)
{
    struct partition *p = read->partition;

    pthread_mutex_lock(&p->lock);
    if (read->committed && p->producers) {
        read->aborted_count =
            producers_aborted(p->producers, read->offset, read->stable, &read->aborted);
    }
    pthread_mutex_unlock(&p->lock);
}

static enum log_read_status read_range(struct log_read *read, struct bounds *b)
{
    struct batch_info info;
    bool found;
    int64_t position, end;
    enum log_read_status status = find_limit(read, b);

    if (status != LOG_READ_OK) {
        return status;
    }
    status = status_of(segment_locate(b->segment, read->offset, b->from, b->limit_position,
                                      read->may_block, &position, &info, &found));
    if (status != LOG_READ_OK || !found) {
        return status;
    }
    status = find_end(read, b, position, &end);
    if (status == LOG_READ_OK && end > position) {
        topic_hold(b->segment->partition->topic);
        read->range = (struct log_range){segment_hold(b->segment), position,
                                         (uint32_t)MIN(end - position, (int64_t)UINT32_MAX)};
        find_aborted(read);
    }
    return status;
}

static enum log_read_status try_read(struct log_read *read)
{
    struct partition *p = read->partition;
    struct bounds b;

    pthread_mutex_lock(&p->lock);
    enum log_read_status status = find_bounds(read, &b);
    pthread_mutex_unlock(&p->lock);
    /* The cache of indexes may be so small that it is gone again. */
    for (int i = 0; status == LOG_READ_COLD && read->may_block && i < INDEX_LOADS_MAX; i++) {
        status = segment_load_index(b.segment) ? LOG_READ_FAILED : LOG_READ_OK;
        segment_drop(b.segment);
        b.segment = NULL;
        if (status == LOG_READ_OK) {
            pthread_mutex_lock(&p->lock);
            status = find_bounds(read, &b);
            pthread_mutex_unlock(&p->lock);
        }
    }
    if (status == LOG_READ_COLD && read->may_block) {
        (void)fault(ERR_BUSY, "a segment's index does not stay in memory");
        status = LOG_READ_FAILED;
    }
    if (status == LOG_READ_OK && b.segment) {
        status = read_range(read, &b);
    }
    segment_drop(b.segment);
    return status;
}

/* Of a partition that nobody has opened: its ends are known, its segments are not. False:
 * read->status says why there is nothing to look for in segments. */
static bool wake_partition(struct log_read *read)
{
    struct partition *p = read->partition;

    pthread_mutex_lock(&p->lock);
    bool gone = p->gone, outside = read->offset < p->start || read->offset > p->end;
    bool at_end = read->offset == p->end;
    read->start = p->start;
    read->high = p->high;
    read->stable = p->stable;
    pthread_mutex_unlock(&p->lock);
    if (gone || outside || at_end) {
        read->status = gone ? LOG_READ_FAILED : outside ? LOG_READ_OUT_OF_RANGE : LOG_READ_OK;
        return false;
    }
    if (!read->may_block) {
        read->status = LOG_READ_COLD;
        return false;
    }
    read->status = partition_open(p) ? LOG_READ_FAILED : LOG_READ_OK;
    return read->status == LOG_READ_OK;
}

void log_read(struct log *log, struct log_read *read)
{
    (void)log;
    read->range = (struct log_range){0};
    read->aborted = NULL;
    read->aborted_count = 0;
    if (atomic_load(&read->partition->opened) || wake_partition(read)) {
        read->status = try_read(read);
    }
}

/* From the disk. A disk serves what is asked in turn: what readers ask ahead of a flush adds to
 * how long its producers wait. So while flushes go on, one reader at a time asks for no more
 * than it needs now; otherwise each asks for what will be wanted next as well. */
static enum os_read_status read_cold(struct log *log, const struct log_range *range,
                                     uint32_t from, void *at, uint32_t len, size_t *got)
{
    struct segment *s = range->segment;
    int64_t position = range->position + from;
    enum os_read_status status;

    if (log->os->tick_ns(log->os) - atomic_load(&log->flushed_ns) < GIVE_WAY_NS) {
        pthread_mutex_lock(&log->cold_lock);
        status = segment_read(s, at, len, position, true, got);
        pthread_mutex_unlock(&log->cold_lock);
        return status;
    }
    if (range->bytes >= READ_AHEAD_FROM) {
        segment_read_ahead(s, position, READ_AHEAD_BYTES);
    }
    return segment_read(s, at, len, position, true, got);
}

enum os_read_status log_range_read(struct log *log, const struct log_range *range,
                                   uint32_t from, void *at, uint32_t len, bool may_block)
{
    size_t got = 0;

    assert(from <= range->bytes && len <= range->bytes - from);
    enum os_read_status status =
        may_block ? read_cold(log, range, from, at, len, &got)
                  : segment_read(range->segment, at, len, range->position + from, false, &got);
    if (status == OS_READ_DONE && got < len) {
        (void)fault(ERR_CORRUPT, "segment is shorter than its batches");
        status = OS_READ_FAILED;
    }
    return status;
}

enum os_read_status log_range_send(struct log *log, const struct log_range *range,
                                   uint32_t from, int socket, uint32_t len, size_t *sent)
{
    (void)log;
    assert(from <= range->bytes && len <= range->bytes - from);
    return segment_send(range->segment, socket, len, range->position + from, sent);
}

void log_range_drop(struct log *log, struct log_range *range)
{
    (void)log;
    if (range->segment) {
        struct topic *topic = range->segment->partition->topic;
        segment_drop(range->segment);
        topic_drop(topic);
        range->segment = NULL;
    }
}

void log_run_blocking(struct log *log, struct job *job)
{
    uint32_t turn = atomic_fetch_add(&log->next_reader, 1);

    worker_post(&log->readers[turn % (uint32_t)log->config.readers], job);
}

err log_fetch(struct log *log, struct partition *partition, int64_t offset, uint32_t bytes_max,
              bool committed, struct buf **out)
{
    struct log_read read = {
        .partition = partition,
        .offset = offset,
        .bytes_max = bytes_max,
        .whole_first = true,
        .committed = committed,
        .may_block = true,
    };

    *out = NULL;
    log_read(log, &read);
    free(read.aborted);
    if (read.status == LOG_READ_OUT_OF_RANGE) {
        return fault(ERR_OUT_OF_RANGE, "offset %lld is outside of %lld to %lld",
                     (long long)offset, (long long)read.start, (long long)read.high);
    }
    if (read.status == LOG_READ_FAILED) {
        return fault_here.code;
    }
    if (!read.range.segment) {
        return OK;
    }
    struct buf *bytes = buf_new(read.range.bytes);
    bytes->len = read.range.bytes;
    bool done =
        log_range_read(log, &read.range, 0, bytes->bytes, bytes->len, true) == OS_READ_DONE;
    log_range_drop(log, &read.range);
    if (!done) {
        buf_drop(bytes);
        return fault_here.code;
    }
    *out = bytes;
    return OK;
}
