/* find.c - from a time to an offset: segments by their largest timestamp, the index, then
 * records.
 *
 * Timestamps are the producers' and may go back; the answer is the first record, in offset
 * order, whose timestamp is at or after the one asked (KIP-79). May block.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <inttypes.h>
#include <stdlib.h>

struct finding {
    struct partition *partition;
    int64_t timestamp, from, limit;
    struct log_time_answer *out;
};

static err look_at_batch(void *self, const struct batch_info *info, view batch,
                         int64_t position)
{
    struct finding *finding = self;
    struct batch_walk walk;
    struct record record;
    bool more = true;
    err e = OK;

    (void)position;
    if (info->base_offset >= finding->limit) {
        return ERR_CANCELLED;
    }
    if (info->max_timestamp < finding->timestamp ||
        info->base_offset + info->last_offset_delta < finding->from) {
        return OK;
    }
    batch_walk_init(&walk, batch);
    while (!e && more) {
        e = batch_walk_next(&walk, &record, &more);
        if (!e && more && record.timestamp_ms >= finding->timestamp &&
            record.offset >= finding->from && record.offset < finding->limit) {
            *finding->out = (struct log_time_answer){record.offset, record.timestamp_ms,
                                                     info->leader_epoch};
            e = ERR_CANCELLED;
        }
    }
    batch_walk_fini(&walk);
    return e;
}

/* The segments that may hold it, held, in order. */
static size_t candidates(struct finding *finding, struct segment ***out)
{
    struct partition *p = finding->partition;
    size_t count = 0;

    *out = xmalloc((p->segment_count + 1) * sizeof(**out));
    for (size_t i = 0; i < p->segment_count; i++) {
        struct segment *s = p->segments[i];
        if (s->max_timestamp >= finding->timestamp && s->next > finding->from &&
            s->base < finding->limit) {
            (*out)[count++] = segment_hold(s);
        }
    }
    return count;
}

/* Where to begin in it: the last entry before which nothing is late enough. */
static int64_t start_position(struct finding *finding, struct segment *s)
{
    int64_t position = 0;

    pthread_mutex_lock(&finding->partition->lock);
    for (size_t low = 0, high = s->index_count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (s->index[middle].max_timestamp < finding->timestamp) {
            position = s->index[middle].position;
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    pthread_mutex_unlock(&finding->partition->lock);
    return position;
}

static err find_in(struct finding *finding, struct segment *s)
{
    err e = OK;

    pthread_mutex_lock(&finding->partition->lock);
    bool wants = segment_wants_index(s);
    pthread_mutex_unlock(&finding->partition->lock);
    if (wants) {
        e = segment_load_index(s);
    }
    struct segment_scan scan = {
        .segment = s,
        .position = start_position(finding, s),
        .next = s->base,
        .each = look_at_batch,
        .self = finding,
    };
    e = e ? e : segment_scan(&scan);
    return e == ERR_CANCELLED ? OK : e;
}

err partition_find_time(struct partition *p, int64_t timestamp_ms, bool committed,
                        struct log_time_answer *out)
{
    struct finding finding = {.partition = p, .timestamp = timestamp_ms, .out = out};
    struct segment **segments = NULL;
    size_t count = 0;

    *out = (struct log_time_answer){-1, -1, -1};
    err e = partition_open(p);
    if (e) {
        return e;
    }
    pthread_mutex_lock(&p->lock);
    finding.from = p->start;
    finding.limit = committed ? p->stable : p->high;
    count = candidates(&finding, &segments);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < count; i++) {
        if (!e && out->offset < 0) {
            e = find_in(&finding, segments[i]);
        }
        segment_drop(segments[i]);
    }
    free(segments);
    return e;
}

err partition_find_max_time(struct partition *p, struct log_time_answer *out)
{
    int64_t latest = -1;
    err e = partition_open(p);

    *out = (struct log_time_answer){-1, -1, -1};
    if (e) {
        return e;
    }
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->segment_count; i++) {
        latest = MAX(latest, p->segments[i]->max_timestamp);
    }
    pthread_mutex_unlock(&p->lock);
    return latest < 0 ? OK : partition_find_time(p, latest, false, out);
}
