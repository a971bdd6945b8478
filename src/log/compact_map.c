/* compact_map.c - newest offset by key hash: open addressing, linear probing, never grows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/compact.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES 16
#define ROOM_MIN 1024
#define FILL_PERCENT_MAX 80

__extension__ typedef unsigned __int128 wide;

struct offset_slot {
    uint8_t key[KEY_BYTES];
    int64_t next; /* offset + 1; 0: empty */
};

void offset_map_init(struct offset_map *m, int64_t memory_bytes, int64_t records)
{
    int64_t most = memory_bytes / (int64_t)sizeof(struct offset_slot);
    int64_t wanted = records < most ? records * 100 / FILL_PERCENT_MAX + 1 : most;

    assert(records >= 0);
    *m = (struct offset_map){.room = (size_t)MAX(MIN(wanted, most), ROOM_MIN)};
    m->count_max = m->room * FILL_PERCENT_MAX / 100;
    m->slots = xcalloc(m->room, sizeof(*m->slots));
    m->kind = EVP_MD_fetch(NULL, "SHA256", NULL);
    m->context = EVP_MD_CTX_new();
    assert(m->kind);
    assert(m->context);
}

void offset_map_fini(struct offset_map *m)
{
    free(m->slots);
    EVP_MD_CTX_free(m->context);
    EVP_MD_free(m->kind);
    *m = (struct offset_map){0};
}

/* Its slot, or the empty one where it goes. */
static struct offset_slot *find(struct offset_map *m, view key, uint8_t hash[EVP_MAX_MD_SIZE])
{
    uint64_t start;
    bool done = EVP_DigestInit_ex2(m->context, m->kind, NULL) &&
                EVP_DigestUpdate(m->context, key.at, key.len) &&
                EVP_DigestFinal_ex(m->context, hash, NULL);

    assert(done);
    memcpy(&start, hash, sizeof(start));
    for (size_t i = (size_t)((wide)start * m->room >> 64);; i = i + 1 < m->room ? i + 1 : 0) {
        struct offset_slot *slot = &m->slots[i];
        if (!slot->next || memcmp(slot->key, hash, KEY_BYTES) == 0) {
            return slot;
        }
    }
}

bool offset_map_put(struct offset_map *m, view key, int64_t offset)
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    struct offset_slot *slot = find(m, key, hash);

    assert(offset >= 0);
    if (!slot->next) {
        if (m->count == m->count_max) {
            return false;
        }
        m->count++;
        memcpy(slot->key, hash, KEY_BYTES);
    }
    slot->next = offset + 1;
    return true;
}

int64_t offset_map_get(struct offset_map *m, view key)
{
    uint8_t hash[EVP_MAX_MD_SIZE];

    return find(m, key, hash)->next - 1;
}
