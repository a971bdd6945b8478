/* trail_read.c - merging the ranges of seals, and single records by place.
 *
 *   ledger: seal, seal, ...     seal: range (topic, partition, from..to) x n
 *   range -> cursor: bytes fetched, batches walked, one change ahead
 *   heap of cursors by (commit_lsn, seq) -> one change after another
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/trail_read.h"

#include <stdlib.h>
#include <string.h>

#define FETCH_BYTES_MOST (512 << 10) /* at once, of a range */
#define FETCH_BYTES_LEAST (16 << 10)
#define FETCH_ONE_BYTES (64 << 10) /* around a single record */
#define FETCHES_MAX 16             /* partitions that trail_fetch keeps bytes of */

struct bytes { /* of one partition, being walked */
    struct topic *topic;
    struct partition *partition; /* NULL: there is no such thing any more */
    struct buf *buf;
    struct batch_walk walk;
    bool walking;
    int64_t next; /* offset that the walk gives at the earliest */
};

static void bytes_stop(struct bytes *b)
{
    if (b->walking) {
        batch_walk_fini(&b->walk);
    }
    buf_drop(b->buf);
    b->buf = NULL;
    b->walking = false;
}

static void bytes_fini(struct bytes *b)
{
    bytes_stop(b);
    topic_drop(b->topic);
    *b = (struct bytes){0};
}

static void bytes_init(struct bytes *b, struct log *log, view topic, int32_t partition,
                       int64_t from)
{
    *b = (struct bytes){.topic = log_topic(log, topic), .next = from};
    b->partition = b->topic ? topic_partition(b->topic, partition) : NULL;
}

/* *any false: there is nothing at or behind next. */
static err bytes_fetch(struct bytes *b, struct log *log, uint32_t bytes, bool *any)
{
    struct partition_ends ends;

    bytes_stop(b);
    err e = log_fetch(log, b->partition, b->next, bytes, false, &b->buf);
    if (e == ERR_OUT_OF_RANGE) {
        partition_ends(b->partition, &ends);
        if (b->next >= ends.start) { /* made anew, with less in it */
            *any = false;
            return OK;
        }
        b->next = ends.start; /* retention has taken what was before */
        e = log_fetch(log, b->partition, b->next, bytes, false, &b->buf);
    }
    *any = !e && b->buf;
    if (*any) {
        batch_walk_init(&b->walk, (view){b->buf->bytes, b->buf->len});
        b->walk.skip_control = true;
        b->walking = true;
    }
    return e;
}

/* The next record of the bytes at or behind b->next; *more false: they are used up. */
static err bytes_next(struct bytes *b, struct record *out, bool *more)
{
    err e = OK;

    do {
        *more = false;
        e = b->walking ? batch_walk_next(&b->walk, out, more) : OK;
    } while (!e && *more && out->offset < b->next);
    if (!e && *more) {
        b->next = out->offset + 1;
    } else if (!e && b->walking) { /* a batch may end with offsets that have no record */
        const struct batch_info *last = &b->walk.info;
        b->next = MAX(b->next, last->base_offset + last->last_offset_delta + 1);
        bytes_stop(b);
    }
    return e;
}

static struct relation *find_relation(void *self, uint32_t version)
{
    return ledger_relation(self, version);
}

static bool is_ours(const struct record *record)
{
    for (size_t i = 0; i < record->header_count; i++) {
        if (view_is_text(record->headers[i].key, ENVELOPE_HEADER)) {
            return record->value.at != NULL;
        }
    }
    return false;
}

/* *is_change false also for what others have written to the topic. */
static err record_change(struct ledger *ledger, struct arena *arena,
                         const struct record *record, struct change *out, bool *is_change)
{
    struct relation_finder finder = {.find = find_relation, .self = ledger};

    *is_change = false;
    if (!is_ours(record)) {
        return OK;
    }
    err e = envelope_read(arena, record, &finder, out, is_change);
    if (e == ERR_CORRUPT || e == ERR_INVALID || e == ERR_NOT_FOUND) {
        trace_warn("audit", "a record at offset %lld is no change of ours: %s",
                   (long long)record->offset, fault_here.text);
        *is_change = false;
        e = OK;
    }
    return e;
}

struct cursor { /* of one range */
    view topic;
    int32_t partition;
    int64_t to;
    struct bytes bytes;
    struct arena arena; /* of the change ahead */
    struct change change;
    int64_t offset;
};

struct trail_reader {
    struct log *log;
    struct ledger *ledger;
    struct ledger_walk *walk;
    struct trail_position from;
    size_t memory_bytes;
    struct arena texts; /* of the seal */
    struct cursor *cursors;
    size_t cursor_count;
    struct cursor **heap;
    size_t heap_count;
    struct cursor *given; /* its change was handed out: moves on with the next call */
    bool in_seal;
    int64_t ledger_offset, index, seal;
    uint64_t to;
};

struct trail_reader *trail_reader_new(struct log *log, struct ledger *ledger,
                                      struct trail_position from, size_t memory_bytes)
{
    struct trail_reader *r = xcalloc(1, sizeof(*r));

    r->log = log;
    r->ledger = ledger;
    r->from = from;
    r->memory_bytes = memory_bytes;
    r->walk = ledger_walk_new(ledger, from.ledger);
    return r;
}

static void end_seal(struct trail_reader *r)
{
    for (size_t i = 0; i < r->cursor_count; i++) {
        bytes_fini(&r->cursors[i].bytes);
        arena_fini(&r->cursors[i].arena);
    }
    free(r->cursors);
    free(r->heap);
    r->cursors = NULL;
    r->heap = NULL;
    r->cursor_count = r->heap_count = 0;
    r->given = NULL;
    r->in_seal = false;
    arena_reset(&r->texts);
}

void trail_reader_free(struct trail_reader *reader)
{
    if (reader) {
        end_seal(reader);
        arena_fini(&reader->texts);
        ledger_walk_free(reader->walk);
        free(reader);
    }
}

static bool is_before(const struct cursor *a, const struct cursor *b)
{
    const struct change_place *p = &a->change.place, *q = &b->change.place;

    if (p->commit_lsn != q->commit_lsn) {
        return p->commit_lsn < q->commit_lsn;
    }
    return p->seq != q->seq ? p->seq < q->seq : a < b;
}

static void sift_down(struct trail_reader *r, size_t at)
{
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= r->heap_count) {
            return;
        }
        if (child + 1 < r->heap_count && is_before(r->heap[child + 1], r->heap[child])) {
            child++;
        }
        if (!is_before(r->heap[child], r->heap[at])) {
            return;
        }
        struct cursor *swap = r->heap[at];
        r->heap[at] = r->heap[child];
        r->heap[child] = swap;
        at = child;
    }
}

static uint32_t fetch_bytes(const struct trail_reader *r)
{
    size_t each = r->memory_bytes / (r->cursor_count ? r->cursor_count : 1);

    return (uint32_t)MAX(MIN(each, (size_t)FETCH_BYTES_MOST), (size_t)FETCH_BYTES_LEAST);
}

/* Its next change; *more false: the range is through. */
static err cursor_next(struct trail_reader *r, struct cursor *c, bool *more)
{
    err e = OK;
    bool is_change = false, any = true;

    while (!e && !is_change && any && c->bytes.partition && c->bytes.next < c->to) {
        struct record record;
        bool has = false;
        e = bytes_next(&c->bytes, &record, &has);
        if (!e && !has) {
            e = bytes_fetch(&c->bytes, r->log, fetch_bytes(r), &any);
        } else if (!e && record.offset < c->to) {
            arena_reset(&c->arena);
            e = record_change(r->ledger, &c->arena, &record, &c->change, &is_change);
            c->offset = record.offset;
        }
    }
    *more = is_change;
    return e;
}

static err begin_seal(struct trail_reader *r, const struct ledger_entry *entry)
{
    const struct seal *seal = &entry->seal;
    err e = OK;

    r->in_seal = true;
    r->ledger_offset = entry->offset;
    r->index = 0;
    r->seal = seal->number;
    r->to = seal->to;
    r->cursors = xcalloc(seal->range_count + 1, sizeof(*r->cursors));
    r->heap = xcalloc(seal->range_count + 1, sizeof(struct cursor *));
    r->cursor_count = seal->range_count;
    for (size_t i = 0; i < seal->range_count; i++) {
        const struct seal_range *range = &seal->ranges[i];
        struct cursor *c = &r->cursors[i];
        c->topic = arena_copy(&r->texts, range->topic);
        c->partition = range->partition;
        c->to = range->to;
        bytes_init(&c->bytes, r->log, range->topic, range->partition, range->from);
    }
    for (size_t i = 0; i < r->cursor_count && !e; i++) {
        bool more = false;
        e = cursor_next(r, &r->cursors[i], &more);
        if (!e && more) {
            r->heap[r->heap_count++] = &r->cursors[i];
        }
    }
    for (size_t i = r->heap_count; i-- > 0;) {
        sift_down(r, i);
    }
    return e;
}

/* The change on top goes away: its cursor moves on. */
static err pass_given(struct trail_reader *r)
{
    bool more = false;

    if (!r->given) {
        return OK;
    }
    r->given = NULL;
    err e = cursor_next(r, r->heap[0], &more);
    if (!e && !more) {
        r->heap[0] = r->heap[--r->heap_count];
    }
    if (!e) {
        sift_down(r, 0);
    }
    return e;
}

static err next_in_seal(struct trail_reader *r, struct trail_read *out)
{
    err e = OK;

    for (;;) {
        e = pass_given(r);
        if (e) {
            return e;
        }
        if (r->heap_count == 0) {
            *out = (struct trail_read){.kind = TRAIL_READ_SEAL, .seal = r->seal, .to = r->to};
            end_seal(r);
            return OK;
        }
        r->given = r->heap[0];
        r->index++;
        if (r->ledger_offset != r->from.ledger || r->index > r->from.skip) {
            break;
        }
    }
    *out = (struct trail_read){
        .kind = TRAIL_READ_CHANGE,
        .change = r->given->change,
        .topic = r->given->topic,
        .partition = r->given->partition,
        .offset = r->given->offset,
        .at = {r->ledger_offset, r->index},
    };
    return OK;
}

err trail_reader_next(struct trail_reader *reader, int64_t wait_ms, struct trail_read *out)
{
    struct ledger_entry entry;
    bool more = true;
    err e = OK;

    *out = (struct trail_read){.kind = TRAIL_READ_NOTHING};
    while (!e && more && !reader->in_seal) {
        e = ledger_walk_next(reader->walk, wait_ms, &entry, &more);
        if (!e && more && entry.kind == LEDGER_SEAL) {
            e = begin_seal(reader, &entry);
        }
    }
    return e || !more ? e : next_in_seal(reader, out);
}

struct kept { /* bytes of a partition that was asked for */
    view topic;
    int32_t partition;
    struct bytes bytes;
    uint64_t used; /* when, in calls */
};

struct trail_fetch {
    struct log *log;
    struct ledger *ledger;
    struct kept kept[FETCHES_MAX];
    uint64_t calls;
};

struct trail_fetch *trail_fetch_new(struct log *log, struct ledger *ledger)
{
    struct trail_fetch *fetch = xcalloc(1, sizeof(*fetch));

    fetch->log = log;
    fetch->ledger = ledger;
    return fetch;
}

void trail_fetch_free(struct trail_fetch *fetch)
{
    for (size_t i = 0; fetch && i < COUNT(fetch->kept); i++) {
        bytes_fini(&fetch->kept[i].bytes);
        free((void *)(uintptr_t)fetch->kept[i].topic.at);
    }
    free(fetch);
}

static struct kept *kept_of(struct trail_fetch *fetch, view topic, int32_t partition)
{
    struct kept *oldest = &fetch->kept[0];

    for (size_t i = 0; i < COUNT(fetch->kept); i++) {
        struct kept *k = &fetch->kept[i];
        if (k->topic.at && k->partition == partition && view_is(k->topic, topic)) {
            return k;
        }
        oldest = k->used < oldest->used ? k : oldest;
    }
    bytes_fini(&oldest->bytes);
    free((void *)(uintptr_t)oldest->topic.at);
    *oldest =
        (struct kept){.topic = {(uint8_t *)text_of(topic), topic.len}, .partition = partition};
    bytes_init(&oldest->bytes, fetch->log, topic, partition, 0);
    return oldest;
}

/* Walks on to the offset; *found false when the bytes end before it, or it is not there. */
static err walk_to(struct kept *k, int64_t offset, struct record *out, bool *found)
{
    bool more = false;
    err e = OK;

    k->bytes.next = MAX(k->bytes.next, offset);
    e = bytes_next(&k->bytes, out, &more);
    *found = !e && more && out->offset == offset;
    return e;
}

static err fetch_record(struct trail_fetch *fetch, struct kept *k, int64_t offset,
                        struct record *out, bool *found)
{
    bool any = false;
    err e = OK;

    *found = false;
    if (k->bytes.walking && offset >= k->bytes.next) {
        int64_t near = k->bytes.walk.info.base_offset + k->bytes.walk.info.last_offset_delta;
        if (offset <= near || k->bytes.walk.rest.len) {
            e = walk_to(k, offset, out, found);
        }
    }
    if (e || *found) {
        return e;
    }
    k->bytes.next = offset;
    e = bytes_fetch(&k->bytes, fetch->log, FETCH_ONE_BYTES, &any);
    return e || !any ? e : walk_to(k, offset, out, found);
}

err trail_fetch_one(struct trail_fetch *fetch, struct arena *arena, view topic,
                    int32_t partition, int64_t offset, struct change *out, bool *found)
{
    struct kept *k = kept_of(fetch, topic, partition);
    struct partition_ends ends;
    struct record record;
    err e = OK;

    *found = false;
    k->used = ++fetch->calls;
    if (!k->bytes.partition) {
        return OK;
    }
    partition_ends(k->bytes.partition, &ends);
    if (offset < ends.start) {
        return OK; /* retention has taken it */
    }
    e = fetch_record(fetch, k, offset, &record, found);
    return e || !*found ? e : record_change(fetch->ledger, arena, &record, out, found);
}
