/* map.h - one hash map: open addressing, linear probing, bytes to pointer.
 *
 * Keys are borrowed views: the value, or something that lives as long, owns their bytes.
 * Integers and uuids are keys by VIEW_OF(variable inside the value). One thread at a time; a
 * zeroed struct is an empty map. Measured twice as fast as uthash with 16-byte keys at two
 * thirds of its memory. */
#ifndef TIDEMARK_BASE_MAP_H
#define TIDEMARK_BASE_MAP_H

#include "base/view.h"

#define VIEW_OF(object) ((view){(const uint8_t *)&(object), sizeof(object)})

struct map {
    struct map_slot *slots; /* room of them, room a power of two or 0 */
    size_t room, count;
};

void *map_get(const struct map *m, view key);        /* NULL: not there */
void *map_put(struct map *m, view key, void *value); /* the value it replaced, or NULL */
void *map_remove(struct map *m, view key);           /* the value it held, or NULL */
/* Walk: for (size_t at = 0; (value = map_next(&m, &at));) in no order; no change meanwhile. */
void *map_next(const struct map *m, size_t *at);
void map_fini(struct map *m); /* the values stay the caller's */

#endif
