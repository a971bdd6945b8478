/* map.c - open addressing with linear probing and backward-shift deletion.
 *
 * Invariants: room is a power of two, at most 3/4 full; no slot between a key's home and its
 * place is empty, so a probe ends at the first empty slot. SPDX-License-Identifier: Apache-2.0
 */
#include "base/base.h"

#include <stdlib.h>

#define MAP_ROOM_MIN 8

struct map_slot {
    uint64_t hash;
    view key;
    void *value; /* NULL: empty slot */
};

/* The slot that holds key, or the empty one where it would go. */
static struct map_slot *find(const struct map *m, uint64_t hash, view key)
{
    for (size_t i = hash & (m->room - 1);; i = (i + 1) & (m->room - 1)) {
        struct map_slot *slot = &m->slots[i];
        if (!slot->value || (slot->hash == hash && view_is(slot->key, key))) {
            return slot;
        }
    }
}

static void grow(struct map *m)
{
    struct map old = *m;

    m->room = old.room ? old.room * 2 : MAP_ROOM_MIN;
    m->slots = xcalloc(m->room, sizeof(*m->slots));
    for (size_t i = 0; i < old.room; i++) {
        if (old.slots[i].value) {
            *find(m, old.slots[i].hash, old.slots[i].key) = old.slots[i];
        }
    }
    free(old.slots);
}

void *map_get(const struct map *m, view key)
{
    return m->count ? find(m, view_hash(key), key)->value : NULL;
}

void *map_put(struct map *m, view key, void *value)
{
    assert(value);
    if (m->count + 1 > m->room / 4 * 3) {
        grow(m);
    }
    uint64_t hash = view_hash(key);
    struct map_slot *slot = find(m, hash, key);
    void *before = slot->value;

    *slot = (struct map_slot){hash, key, value}; /* the key too: it may live in the value */
    m->count += before ? 0 : 1;
    return before;
}

void *map_remove(struct map *m, view key)
{
    if (!m->count) {
        return NULL;
    }
    struct map_slot *hole = find(m, view_hash(key), key);
    void *before = hole->value;
    if (!before) {
        return NULL;
    }
    m->count--;
    size_t mask = m->room - 1, gap = (size_t)(hole - m->slots);
    for (size_t i = (gap + 1) & mask; m->slots[i].value; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - gap) & mask)) { /* may move back to the gap */
            m->slots[gap] = m->slots[i];
            gap = i;
        }
    }
    m->slots[gap] = (struct map_slot){0};
    return before;
}

void *map_next(const struct map *m, size_t *at)
{
    while (*at < m->room) {
        struct map_slot *slot = &m->slots[(*at)++];
        if (slot->value) {
            return slot->value;
        }
    }
    return NULL;
}

void map_fini(struct map *m)
{
    free(m->slots);
    *m = (struct map){0};
}
