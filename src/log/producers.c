/* producers.c - deciding on batches of known producers, and noting them.
 *
 *   batch --> producers_check --> OK --> written at an offset --> producers_apply
 *                  `--> DUPLICATE (one of the last five), or the reason to refuse
 *
 * Sources: KIP-98 (sequences, markers), KIP-360 (unknown producers), KIP-890 (verification, an
 * epoch per transaction). Checks read, apply trusts: recovery and followers apply what a leader
 * has accepted. SPDX-License-Identifier: Apache-2.0 */
#include "log/producers_inside.h"

#include <stdlib.h>
#include <string.h>

struct producers *producers_new(int64_t producers_max, int64_t expiry_ms)
{
    struct producers *p = xcalloc(1, sizeof(*p));

    assert(producers_max > 0);
    assert(expiry_ms >= 0);
    p->max = producers_max;
    p->expiry_ms = expiry_ms;
    return p;
}

void producers_clear(struct producers *p)
{
    struct producer *producer;

    for (size_t at = 0; (producer = map_next(&p->by_id, &at));) {
        free(producer);
    }
    map_fini(&p->by_id);
    free(p->open);
    free(p->aborts);
    *p = (struct producers){.max = p->max, .expiry_ms = p->expiry_ms};
}

void producers_free(struct producers *p)
{
    if (p) {
        producers_clear(p);
        free(p);
    }
}

struct producer *producer_find(const struct producers *p, int64_t id)
{
    return map_get(&p->by_id, VIEW_OF(id));
}

static struct producer_list *list_of(struct producers *p, const struct producer *producer)
{
    return producer->txn_first == NO_TXN ? &p->idle : &p->busy;
}

static void list_remove(struct producer_list *list, struct producer *producer)
{
    *(producer->prev ? &producer->prev->next : &list->head) = producer->next;
    *(producer->next ? &producer->next->prev : &list->tail) = producer->prev;
    producer->prev = producer->next = NULL;
}

static void list_add(struct producer_list *list, struct producer *producer)
{
    producer->prev = list->tail;
    *(list->tail ? &list->tail->next : &list->head) = producer;
    list->tail = producer;
}

static void forget(struct producers *p, struct producer *producer)
{
    p->orphan_count += producer->txn_first == NO_TXN ? 0 : 1;
    list_remove(list_of(p, producer), producer);
    map_remove(&p->by_id, VIEW_OF(producer->id));
    free(producer);
}

/* The open transaction of an evicted producer that is back. */
static int64_t adopt(struct producers *p, int64_t id)
{
    for (size_t i = 0; p->orphan_count > 0 && i < p->open_count; i++) {
        if (p->open[i].producer_id == id && !p->open[i].held) {
            p->orphan_count--;
            return p->open[i].first_offset;
        }
    }
    return NO_TXN;
}

struct producer *producer_add(struct producers *p, int64_t id)
{
    if (p->by_id.count >= (size_t)p->max) {
        forget(p, p->idle.head ? p->idle.head : p->busy.head);
    }
    struct producer *producer = xcalloc(1, sizeof(*producer));
    producer->id = id;
    producer->epoch = NO_EPOCH;
    producer->coordinator_epoch = -1;
    producer->txn_first = adopt(p, id);
    list_add(list_of(p, producer), producer);
    map_put(&p->by_id, VIEW_OF(producer->id), producer);
    return producer;
}

void producer_touch(struct producers *p, struct producer *producer, int64_t txn_first)
{
    list_remove(list_of(p, producer), producer);
    producer->txn_first = txn_first;
    list_add(list_of(p, producer), producer);
}

static int32_t sequence_after(int32_t sequence, int32_t steps)
{
    return (int32_t)(((uint32_t)sequence + (uint32_t)steps) & INT32_MAX);
}

static const struct producer_batch *find_batch(const struct producer *known,
                                               const struct batch_info *info)
{
    int32_t last = sequence_after(info->base_sequence, info->last_offset_delta);

    for (size_t i = 0; known && i < known->batch_count; i++) {
        const struct producer_batch *batch = &known->batches[i];
        if (batch->first_sequence == info->base_sequence && batch->last_sequence == last) {
            return batch;
        }
    }
    return NULL;
}

static bool in_sequence(const struct producer *known, const struct batch_info *info,
                        unsigned flags)
{
    if (flags & LOG_APPEND_INTERNAL && info->base_sequence < 0) {
        return true; /* coordinators number nothing */
    }
    if (!known || known->epoch == NO_EPOCH) { /* state may have expired: any start is good */
        return info->base_sequence == 0 || !(flags & LOG_APPEND_TXN_V2);
    }
    if (info->producer_epoch != known->epoch || known->batch_count == 0) {
        return info->base_sequence == 0;
    }
    int32_t last = known->batches[known->batch_count - 1].last_sequence;
    return info->base_sequence == sequence_after(last, 1);
}

static enum log_append_status check_marker(const struct producer *known,
                                           const struct batch_info *info, view batch,
                                           unsigned flags)
{
    bool commit;
    int32_t coordinator_epoch;

    if (!(flags & LOG_APPEND_INTERNAL) ||
        !batch_marker_read(batch, &commit, &coordinator_epoch)) {
        return LOG_APPEND_INVALID_RECORD;
    }
    if (!known) {
        return LOG_APPEND_OK;
    }
    if (coordinator_epoch < known->coordinator_epoch) {
        return LOG_APPEND_TXN_MARKER_OLD;
    }
    /* the second version raises the epoch with each end: an equal one repeats an end */
    bool late = flags & LOG_APPEND_TXN_V2 && known->txn_first != NO_TXN;
    return info->producer_epoch < known->epoch + (late ? 1 : 0) ? LOG_APPEND_OLD_EPOCH
                                                                : LOG_APPEND_OK;
}

enum log_append_status producers_check(struct producers *p, const struct batch_info *info,
                                       view batch, unsigned flags, int64_t *old_base,
                                       int64_t *old_last)
{
    const struct producer *known =
        info->producer_id < 0 ? NULL : producer_find(p, info->producer_id);
    bool transactional = info->attributes & BATCH_TRANSACTIONAL;

    if (flags & LOG_APPEND_FOLLOWER) {
        return LOG_APPEND_OK;
    }
    if (info->attributes & BATCH_CONTROL) {
        return check_marker(known, info, batch, flags);
    }
    if (info->producer_id < 0) {
        return LOG_APPEND_OK;
    }
    if (known && info->producer_epoch < known->epoch) {
        return LOG_APPEND_OLD_EPOCH;
    }
    if (known && info->producer_epoch == known->epoch && info->base_sequence >= 0) {
        const struct producer_batch *same = find_batch(known, info);
        if (same) {
            *old_last = same->last_offset;
            *old_base = same->last_offset - info->last_offset_delta;
            return LOG_APPEND_DUPLICATE;
        }
    }
    bool open = known && known->txn_first != NO_TXN;
    if (transactional && !(flags & LOG_APPEND_VERIFIED) &&
        !(open && info->producer_epoch == known->epoch)) {
        return LOG_APPEND_TXN_STATE;
    }
    if (!in_sequence(known, info, flags)) {
        return LOG_APPEND_OUT_OF_ORDER;
    }
    return open && !transactional ? LOG_APPEND_TXN_STATE : LOG_APPEND_OK;
}

void producers_open_txn(struct producers *p, int64_t first_offset, int64_t producer_id)
{
    assert(p->open_count == 0 || p->open[p->open_count - 1].first_offset < first_offset);
    p->open = array_room(p->open, p->open_count, &p->open_room, sizeof(*p->open));
    p->open[p->open_count++] =
        (struct open_txn){.first_offset = first_offset, .producer_id = producer_id};
}

static size_t find_open(const struct producers *p, int64_t first_offset)
{
    size_t low = 0, high = p->open_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->open[middle].first_offset < first_offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    assert(low < p->open_count);
    assert(p->open[low].first_offset == first_offset);
    return low;
}

static void remove_open(struct producers *p, size_t at)
{
    p->open_count--;
    memmove(&p->open[at], &p->open[at + 1], (p->open_count - at) * sizeof(*p->open));
}

void producers_note_abort(struct producers *p, const struct producers_abort *abort)
{
    p->aborts = array_room(p->aborts, p->abort_count, &p->abort_room, sizeof(*p->aborts));
    p->aborts[p->abort_count++] = *abort;
}

static void end_txn(struct producers *p, struct producer *producer, bool commit,
                    int64_t marker_offset, bool hold)
{
    int64_t first = producer->txn_first;
    size_t at = find_open(p, first);

    if (!commit) {
        /* what is open after this one: never above where a later abort begins */
        size_t after = at == 0 ? 1 : 0;
        int64_t stable =
            after < p->open_count ? p->open[after].first_offset : marker_offset + 1;
        producers_note_abort(
            p, &(struct producers_abort){producer->id, first, marker_offset, stable});
    }
    if (hold) {
        p->open[at].held = true;
        p->held_count++;
    } else {
        remove_open(p, at);
    }
    producer_touch(p, producer, NO_TXN);
}

static void note_batch(struct producer *producer, const struct batch_info *info,
                       int64_t base_offset)
{
    if (info->base_sequence < 0) {
        return;
    }
    if (producer->batch_count == PRODUCER_BATCHES_KEPT) {
        producer->batch_count--;
        memmove(producer->batches, producer->batches + 1,
                producer->batch_count * sizeof(*producer->batches));
    }
    producer->batches[producer->batch_count++] = (struct producer_batch){
        .first_sequence = info->base_sequence,
        .last_sequence = sequence_after(info->base_sequence, info->last_offset_delta),
        .last_offset = base_offset + info->last_offset_delta,
    };
}

void producers_apply(struct producers *p, const struct batch_info *info, view batch,
                     int64_t base_offset, bool hold, int64_t now_ms)
{
    bool commit, control = info->attributes & BATCH_CONTROL;
    int32_t coordinator_epoch = -1;

    if (info->producer_id < 0 ||
        (control && !batch_marker_read(batch, &commit, &coordinator_epoch))) {
        return;
    }
    struct producer *producer = producer_find(p, info->producer_id);
    if (!producer) {
        producer = producer_add(p, info->producer_id);
    }
    if (producer->epoch != info->producer_epoch) {
        producer->epoch = info->producer_epoch;
        producer->batch_count = 0;
    }
    producer->seen_ms = now_ms;
    producer->last_timestamp = info->max_timestamp;
    if (control) {
        producer->coordinator_epoch = coordinator_epoch;
        if (producer->txn_first != NO_TXN) {
            end_txn(p, producer, commit, base_offset, hold);
            return;
        }
    } else {
        note_batch(producer, info, base_offset);
        if (info->attributes & BATCH_TRANSACTIONAL && producer->txn_first == NO_TXN) {
            producers_open_txn(p, base_offset, info->producer_id);
            producer_touch(p, producer, base_offset);
            return;
        }
    }
    producer_touch(p, producer, producer->txn_first);
}

void producers_release(struct producers *p, int64_t producer_id)
{
    for (size_t i = 0; p->held_count > 0 && i < p->open_count;) {
        if (p->open[i].held && p->open[i].producer_id == producer_id) {
            remove_open(p, i);
            p->held_count--;
        } else {
            i++;
        }
    }
}

int64_t producers_first_open(const struct producers *p)
{
    return p->open_count ? p->open[0].first_offset : INT64_MAX;
}

size_t producers_aborted(const struct producers *p, int64_t from, int64_t to,
                         struct log_aborted **out)
{
    size_t low = 0, high = p->abort_count, count = 0, room = 0;

    while (low < high) { /* the first that ends at or after from */
        size_t middle = low + (high - low) / 2;
        if (p->aborts[middle].last_offset < from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *out = NULL;
    for (size_t i = low; i < p->abort_count; i++) {
        const struct producers_abort *abort = &p->aborts[i];
        if (abort->first_offset < to) {
            *out = array_room(*out, count, &room, sizeof(**out));
            (*out)[count++] = (struct log_aborted){abort->producer_id, abort->first_offset};
        }
        if (abort->stable >= to) {
            break;
        }
    }
    return count;
}

void producers_expire(struct producers *p, int64_t now_ms)
{
    assert(now_ms >= 0);
    while (p->idle.head && p->idle.head->seen_ms < now_ms - p->expiry_ms) {
        forget(p, p->idle.head);
    }
}

void producers_trim(struct producers *p, int64_t start)
{
    size_t gone = 0;

    while (gone < p->abort_count && p->aborts[gone].last_offset < start) {
        gone++;
    }
    if (gone > 0) {
        p->abort_count -= gone;
        memmove(p->aborts, p->aborts + gone, p->abort_count * sizeof(*p->aborts));
    }
}

static void view_list(const struct producer_list *list, struct producer_view *out,
                      size_t *count)
{
    for (const struct producer *producer = list->head; producer; producer = producer->next) {
        const struct producer_batch *last =
            producer->batch_count ? &producer->batches[producer->batch_count - 1] : NULL;
        out[(*count)++] = (struct producer_view){
            .producer_id = producer->id,
            .last_timestamp = producer->last_timestamp,
            .txn_first_offset = producer->txn_first,
            .epoch = producer->epoch,
            .last_sequence = last ? last->last_sequence : -1,
            .coordinator_epoch = producer->coordinator_epoch,
        };
    }
}

size_t producers_views(const struct producers *p, struct producer_view **out)
{
    size_t count = 0;

    *out = xcalloc(p->by_id.count, sizeof(**out));
    view_list(&p->idle, *out, &count);
    view_list(&p->busy, *out, &count);
    assert(count == p->by_id.count);
    return count;
}

size_t producers_count(const struct producers *p)
{
    return p->by_id.count;
}

static int by_id(const void *a, const void *b)
{
    const struct producer_last *x = a, *y = b;

    return (x->producer_id > y->producer_id) - (x->producer_id < y->producer_id);
}

size_t producers_lasts(const struct producers *p, struct producer_last **out)
{
    const struct producer *producer;
    size_t count = 0;

    *out = xcalloc(p->by_id.count, sizeof(**out));
    for (size_t at = 0; (producer = map_next(&p->by_id, &at));) {
        (*out)[count++] = (struct producer_last){
            .producer_id = producer->id,
            .offset = producer->batch_count
                          ? producer->batches[producer->batch_count - 1].last_offset
                          : -1,
            .epoch = producer->epoch,
        };
    }
    qsort(*out, count, sizeof(**out), by_id);
    return count;
}

void producers_forget_abort(struct producers *p, int64_t producer_id, int64_t first_offset)
{
    for (size_t i = 0; i < p->abort_count; i++) {
        if (p->aborts[i].producer_id == producer_id &&
            p->aborts[i].first_offset == first_offset) {
            p->abort_count--;
            memmove(&p->aborts[i], &p->aborts[i + 1],
                    (p->abort_count - i) * sizeof(*p->aborts));
            return;
        }
    }
}
