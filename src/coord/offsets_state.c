/* offsets_state.c - the offsets a group has, and those a transaction holds back.
 *
 * An offset's key is its topic's bytes and its partition. Held ones wait in a hold per producer
 * until the end marker of their partition of __consumer_offsets. Between a held offset and a
 * plain commit for the same key, the one whose record is later in the log wins: then replaying
 * a compacted log gives the same. SPDX-License-Identifier: Apache-2.0 */
#include "coord/offsets_state.h"

#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES_MAX = 32767 + 4 }; /* a topic's name on the wire, and a partition */

static view key_of(const struct offset *o)
{
    return (view){o->key, o->topic_bytes + sizeof(o->partition)};
}

view offset_topic(const struct offset *o)
{
    return (view){o->key, o->topic_bytes};
}

static size_t key_write(uint8_t *at, view topic, int32_t partition)
{
    assert(topic.len <= KEY_BYTES_MAX - sizeof(partition));
    if (topic.len) {
        memcpy(at, topic.at, topic.len);
    }
    memcpy(at + topic.len, &partition, sizeof(partition));
    return topic.len + sizeof(partition);
}

struct offset *offset_find(const struct group *g, view topic, int32_t partition)
{
    uint8_t key[KEY_BYTES_MAX];

    if (topic.len > sizeof(key) - sizeof(partition)) {
        return NULL;
    }
    return map_get(&g->offsets, (view){key, key_write(key, topic, partition)});
}

struct offset *offset_make(struct group *g, view topic, int32_t partition)
{
    struct offset *o = offset_find(g, topic, partition);

    if (o) {
        return o;
    }
    o = xcalloc(1, sizeof(*o) + topic.len + sizeof(partition));
    o->offset = o->record_at = -1;
    o->leader_epoch = -1;
    o->partition = partition;
    o->topic_bytes = (uint32_t)topic.len;
    key_write(o->key, topic, partition);
    map_put(&g->offsets, key_of(o), o);
    g->coord->counters.offsets++;
    return o;
}

void offset_set(struct offset *o, const struct offset_value *value, int64_t record_at)
{
    if (record_at < o->record_at) {
        return;
    }
    o->offset = value->offset;
    o->leader_epoch = value->leader_epoch;
    o->commit_ms = value->commit_ms;
    o->topic_id = value->topic_id;
    o->record_at = record_at;
    blob_set(&o->metadata, value->metadata.len ? value->metadata : (view){0});
}

void offset_forget(struct group *g, struct offset *o)
{
    assert(o->holds == 0);
    map_remove(&g->offsets, key_of(o));
    free(o->metadata.at);
    free(o);
    g->coord->counters.offsets--;
}

void hold_add(struct coord *c, int64_t producer_id, struct group *g, struct offset *target,
              const struct offset_value *value, int64_t record_at)
{
    struct hold *h = map_get(&c->holds, VIEW_OF(producer_id));

    if (!h) {
        h = xcalloc(1, sizeof(*h));
        h->producer_id = producer_id;
        map_put(&c->holds, VIEW_OF(h->producer_id), h);
    }
    h->held = array_room(h->held, h->count, &h->room, sizeof(*h->held));
    struct held *held = &h->held[h->count++];
    *held = (struct held){.group = g, .target = target, .value = *value};
    held->record_at = record_at;
    held->metadata = blob_copy(value->metadata);
    held->value.metadata = blob_view(held->metadata);
    target->holds++;
    g->hold_count++;
}

static void let_go(struct held *held, bool commit)
{
    struct offset *o = held->target;

    assert(o->holds > 0 && held->group->hold_count > 0);
    o->holds--;
    held->group->hold_count--;
    if (commit) {
        offset_set(o, &held->value, held->record_at);
    }
    if (o->offset < 0 && !o->holds) {
        offset_forget(held->group, o);
    }
    free(held->metadata.at);
}

void hold_end(struct coord *c, int64_t producer_id, int32_t partition, bool commit)
{
    struct hold *h = map_get(&c->holds, VIEW_OF(producer_id));
    size_t kept = 0;

    for (size_t i = 0; h && i < h->count; i++) {
        struct held *held = &h->held[i];
        if (journal_partition(c, STORE_OFFSETS, blob_view(held->group->id)) == partition) {
            let_go(held, commit);
        } else {
            h->held[kept++] = *held;
        }
    }
    if (h) {
        h->count = kept;
    }
    if (h && !kept) {
        map_remove(&c->holds, VIEW_OF(h->producer_id));
        hold_free(h);
    }
}

void hold_free(struct hold *h)
{
    for (size_t i = 0; i < h->count; i++) {
        let_go(&h->held[i], false);
    }
    free(h->held);
    free(h);
}
