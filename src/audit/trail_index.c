/* trail_index.c - the newest block in memory, all others in SQLite.
 *
 * Invariants: (1) a block is in the file whole or not at all, with the counts of all changes up
 * to its end; (2) the newest block's arrays are changed by the writer alone, under the lock;
 * (3) a damaged file is never answered from: the search fails and the writer builds it anew.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/trail_index_inside.h"

#include <stdlib.h>
#include <string.h>

#include "audit/trail_blocks.h"

#define MEMORY_LEAST (8 << 20)

static void forget(struct trail_index *index)
{
    index->newest.is = (struct trail_block){.id = 1, .first = 1};
    index->newest.posting_count = 0;
    memset(index->newest.heads, 0, NEWEST_CHAINS * sizeof(*index->newest.heads));
    index->block_count = index->table_count = 0;
}

/* Nobody else uses the connections now. */
static err open_or_rebuild(struct trail_index *index)
{
    forget(index);
    err e = trail_file_open(index);
    if (e == ERR_BUSY || e == ERR_FULL || !e) {
        return e;
    }
    trace_warn("audit", "%s is built anew: %s", index->path, fault_here.text);
    trail_file_close(index);
    forget(index);
    e = trail_file_remove(index);
    return e ? e : trail_file_open(index);
}

err trail_index_open(struct os *os, const char *path, view identity, size_t memory_bytes,
                     uint32_t block_changes, struct trail_index **out)
{
    struct trail_index *index = xcalloc(1, sizeof(*index));

    index->os = os;
    index->path = xstrdup(path);
    index->identity = text_of(identity);
    index->memory_bytes = MAX(memory_bytes, (size_t)MEMORY_LEAST);
    /* Half of it for the newest block's terms, which are copied twice to be written. */
    index->terms_max = MAX(index->memory_bytes / 2 / (3 * sizeof(uint64_t) + sizeof(uint32_t)),
                           (size_t)TRAIL_TERMS_LEAST);
    index->newest.heads = xcalloc(NEWEST_CHAINS, sizeof(*index->newest.heads));
    index->block_max = block_changes ? block_changes : TRAIL_BLOCK_MAX;
    assert(index->block_max <= TRAIL_BLOCK_MAX);
    pthread_mutex_init(&index->lock, NULL);
    pthread_mutex_init(&index->read_lock, NULL);
    err e = open_or_rebuild(index);
    if (e) {
        trail_index_close(index);
        return e;
    }
    *out = index;
    return OK;
}

void trail_index_close(struct trail_index *index)
{
    if (!index) {
        return;
    }
    trail_file_close(index);
    arena_fini(&index->texts);
    free(index->tables);
    free(index->blocks);
    free(index->newest.places);
    free(index->newest.postings);
    free(index->newest.links);
    free(index->newest.heads);
    free(index->path);
    free(index->identity);
    pthread_mutex_destroy(&index->lock);
    pthread_mutex_destroy(&index->read_lock);
    free(index);
}

err trail_index_rebuild(struct trail_index *index)
{
    pthread_mutex_lock(&index->read_lock);
    pthread_mutex_lock(&index->lock);
    trail_file_close(index);
    size_t tables = index->table_count;
    forget(index);
    index->table_count = tables; /* a search may hold places that name them */
    for (size_t i = 0; i < tables; i++) {
        memset(index->tables[i]->counts, 0, sizeof(index->tables[i]->counts));
    }
    err e = trail_file_remove(index);
    e = e ? e : trail_file_open(index);
    atomic_store(&index->damaged, e != OK);
    pthread_mutex_unlock(&index->lock);
    pthread_mutex_unlock(&index->read_lock);
    return e;
}

bool trail_index_is_damaged(struct trail_index *index)
{
    return atomic_load(&index->damaged);
}

struct trail_position trail_index_end(struct trail_index *index)
{
    pthread_mutex_lock(&index->lock);
    struct trail_position end = index->newest.is.end;
    pthread_mutex_unlock(&index->lock);
    return end;
}

int64_t trail_index_changes(struct trail_index *index)
{
    pthread_mutex_lock(&index->lock);
    int64_t changes = index->newest.is.first + index->newest.is.count - 1;
    pthread_mutex_unlock(&index->lock);
    return changes;
}

uint32_t trail_index_table(struct trail_index *index, view topic, view schema_name, view name)
{
    size_t found = 0;

    pthread_mutex_lock(&index->lock);
    for (; found < index->table_count; found++) {
        const struct trail_table *t = index->tables[found];
        if (view_is(t->name, name) && view_is(t->schema, schema_name) &&
            view_is(t->topic, topic)) {
            break;
        }
    }
    if (found == index->table_count) {
        trail_file_table(index, topic, schema_name, name);
    }
    pthread_mutex_unlock(&index->lock);
    return (uint32_t)found;
}

static void count_change(struct trail_table *table, const struct trail_place *place)
{
    bool first = true;

    assert(place->kind < COUNT(table->counts));
    for (size_t i = 0; i < COUNT(table->counts); i++) {
        first = first && table->counts[i] == 0;
    }
    table->counts[place->kind]++;
    table->first_us = first ? place->committed_us : MIN(table->first_us, place->committed_us);
    table->last_us = first ? place->committed_us : MAX(table->last_us, place->committed_us);
}

static void add_posting(struct newest *n, uint32_t term)
{
    uint32_t *head = &n->heads[term >> (32 - CHAIN_BITS)];

    n->postings =
        array_room(n->postings, n->posting_count, &n->posting_room, sizeof(*n->postings));
    n->links = array_room(n->links, n->posting_count, &n->link_room, sizeof(*n->links));
    n->postings[n->posting_count] = POSTING(term, n->is.count);
    n->links[n->posting_count++] = *head;
    *head = (uint32_t)n->posting_count;
}

bool trail_index_add(struct trail_index *index, const struct trail_place *place,
                     const uint32_t *terms, size_t count, struct trail_position at)
{
    struct newest *n = &index->newest;
    bool is_first = n->is.count == 0;

    assert(n->is.count < TRAIL_BLOCK_MAX);
    pthread_mutex_lock(&index->lock);
    assert(place->table < index->table_count);
    n->places = array_room(n->places, n->is.count, &n->place_room, sizeof(*n->places));
    n->places[n->is.count] = *place;
    for (size_t i = 0; i < count; i++) {
        add_posting(n, terms[i]);
    }
    n->is.count++;
    n->is.from_us = is_first ? place->committed_us : MIN(n->is.from_us, place->committed_us);
    n->is.until_us = is_first ? place->committed_us : MAX(n->is.until_us, place->committed_us);
    n->is.end = at;
    count_change(index->tables[place->table], place);
    pthread_mutex_unlock(&index->lock);
    return trail_index_is_full(index);
}

bool trail_index_is_full(struct trail_index *index)
{
    const struct newest *n = &index->newest; /* the writer alone changes it */

    return n->is.count >= index->block_max || n->posting_count >= index->terms_max;
}

err trail_index_write(struct trail_index *index)
{
    struct newest *n = &index->newest;
    err e = n->is.count ? trail_file_write(index) : OK;

    if (e || !n->is.count) {
        return e;
    }
    pthread_mutex_lock(&index->lock);
    index->blocks = array_room(index->blocks, index->block_count, &index->block_room,
                               sizeof(*index->blocks));
    index->blocks[index->block_count++] = n->is;
    n->is = (struct trail_block){
        .id = n->is.id + 1,
        .first = n->is.first + n->is.count,
        .begin = n->is.end,
        .end = n->is.end,
    };
    n->posting_count = 0;
    memset(n->heads, 0, NEWEST_CHAINS * sizeof(*n->heads));
    pthread_mutex_unlock(&index->lock);
    return OK;
}

err trail_index_cool(struct trail_index *index, int64_t before_us)
{
    err e = OK;

    for (size_t i = 0; i < index->block_count && !e; i++) {
        struct trail_block *b = &index->blocks[i]; /* the writer alone changes them */
        if (b->cold || b->until_us >= before_us) {
            continue;
        }
        pthread_mutex_lock(&index->lock); /* first: who then finds no rows asks again */
        b->cold = true;
        pthread_mutex_unlock(&index->lock);
        e = trail_file_cool(index, b->id);
        if (e) {
            pthread_mutex_lock(&index->lock);
            b->cold = false;
            pthread_mutex_unlock(&index->lock);
        }
    }
    return e;
}

size_t trail_index_blocks(struct trail_index *index, struct trail_block **out)
{
    pthread_mutex_lock(&index->lock);
    size_t count = index->block_count;
    struct trail_block *all = xcalloc(count + 1, sizeof(*all));
    if (count) {
        memcpy(all, index->blocks, count * sizeof(*all));
    }
    if (index->newest.is.count) {
        all[count++] = index->newest.is;
    }
    pthread_mutex_unlock(&index->lock);
    *out = all;
    return count;
}

/* Under the lock. */
static bool is_newest(const struct trail_index *index, const struct trail_block *block)
{
    return block->id == index->newest.is.id && index->newest.is.count >= block->count;
}

static void scan_newest(const struct newest *n, const struct trail_need *need,
                        uint64_t bits[TRAIL_BITS])
{
    for (size_t i = 0; i < need->count; i++) {
        uint32_t term = need->terms[i];
        for (uint32_t at = n->heads[term >> (32 - CHAIN_BITS)]; at; at = n->links[at - 1]) {
            if (n->postings[at - 1] >> 16 == term) {
                uint16_t position = (uint16_t)n->postings[at - 1];
                bits[position / 64] |= UINT64_C(1) << position % 64;
            }
        }
    }
}

static bool set_and(uint64_t bits[TRAIL_BITS], const uint64_t other[TRAIL_BITS])
{
    uint64_t any = 0;

    for (size_t i = 0; i < TRAIL_BITS; i++) {
        bits[i] &= other[i];
        any |= bits[i];
    }
    return any != 0;
}

static void set_first(uint64_t bits[TRAIL_BITS], uint32_t count)
{
    memset(bits, 0, TRAIL_BITS * sizeof(*bits));
    memset(bits, 0xff, count / 64 * sizeof(*bits));
    if (count % 64) {
        bits[count / 64] = (UINT64_C(1) << count % 64) - 1;
    }
}

/* A row's blob; NOT_FOUND: none. Valid until the statement is reset. */
static err blob_of(struct sqlite_statement *s, int64_t id, view *out)
{
    bool row = false;

    sqlite_bind_int(s, 1, id);
    err e = sqlite_step(s, &row);
    if (!e && !row) {
        e = ERR_NOT_FOUND; /* an expected outcome: no words */
    }
    *out = e ? (view){0} : sqlite_bytes(s, 0);
    return e;
}

static err search_file(struct trail_index *index, const struct trail_block *block,
                       const struct trail_need *need, uint64_t bits[TRAIL_BITS])
{
    err e = OK;

    for (size_t i = 0; i < need->count && !e; i++) {
        view blob;
        int64_t bucket = need->terms[i] >> (32 - BUCKET_BITS);
        e = blob_of(index->find_bucket, block->id << BUCKET_BITS | bucket, &blob);
        e = e ? e : bucket_find(blob, need->terms[i], bits);
        sqlite_reset(index->find_bucket);
    }
    return e;
}

static err note_damage(struct trail_index *index, err e)
{
    if (e == ERR_CORRUPT) {
        atomic_store(&index->damaged, true);
    }
    return e;
}

err trail_index_candidates(struct trail_index *index, const struct trail_block *block,
                           const struct trail_need *needs, size_t count,
                           uint64_t bits[TRAIL_BITS])
{
    uint64_t found[TRAIL_BITS];
    bool any = true;
    err e = OK;

    set_first(bits, block->count);
    for (size_t i = 0; i < count && any && !e; i++) {
        memset(found, 0, sizeof(found));
        pthread_mutex_lock(&index->lock);
        bool newest = is_newest(index, block);
        if (newest) {
            scan_newest(&index->newest, &needs[i], found);
        }
        pthread_mutex_unlock(&index->lock);
        if (!newest) {
            pthread_mutex_lock(&index->read_lock);
            e = index->reader ? search_file(index, block, &needs[i], found) : ERR_NOT_FOUND;
            pthread_mutex_unlock(&index->read_lock);
        }
        any = set_and(bits, found);
    }
    return note_damage(index, e);
}

static err places_from_file(struct trail_index *index, const struct trail_block *block,
                            const uint16_t *positions, size_t count, struct trail_place *out)
{
    struct trail_place *chunk = xmalloc(CHUNK_PLACES * sizeof(*chunk));
    int64_t loaded = -1;
    size_t has = 0;
    size_t tables = trail_index_tables(index);
    err e = index->reader ? OK : ERR_NOT_FOUND;

    for (size_t i = 0; i < count && !e; i++) {
        int64_t wanted = positions[i] / CHUNK_PLACES;
        view blob;
        if (wanted != loaded) {
            e = blob_of(index->find_chunk, block->id * CHUNKS + wanted, &blob);
            e = e ? e : chunk_read(blob, chunk, &has);
            sqlite_reset(index->find_chunk);
            loaded = wanted;
        }
        bool whole = !e && positions[i] % CHUNK_PLACES < has &&
                     chunk[positions[i] % CHUNK_PLACES].table < tables;
        if (!e && !whole) {
            e = fault(ERR_CORRUPT, "the index of changes is damaged");
        }
        if (!e) {
            out[i] = chunk[positions[i] % CHUNK_PLACES];
        }
    }
    free(chunk);
    return e;
}

err trail_index_places(struct trail_index *index, const struct trail_block *block,
                       const uint16_t *positions, size_t count, struct trail_place *out)
{
    pthread_mutex_lock(&index->lock);
    bool newest = is_newest(index, block);
    for (size_t i = 0; i < count && newest; i++) {
        assert(positions[i] < index->newest.is.count);
        out[i] = index->newest.places[positions[i]];
    }
    pthread_mutex_unlock(&index->lock);
    if (newest) {
        return OK;
    }
    pthread_mutex_lock(&index->read_lock);
    err e = places_from_file(index, block, positions, count, out);
    pthread_mutex_unlock(&index->read_lock);
    return note_damage(index, e);
}

void trail_index_table_get(struct trail_index *index, uint32_t table, struct trail_table *out)
{
    pthread_mutex_lock(&index->lock);
    assert(table < index->table_count);
    *out = *index->tables[table];
    pthread_mutex_unlock(&index->lock);
}

size_t trail_index_tables(struct trail_index *index)
{
    pthread_mutex_lock(&index->lock);
    size_t count = index->table_count;
    pthread_mutex_unlock(&index->lock);
    return count;
}

int64_t trail_index_bytes(struct trail_index *index)
{
    os_file file = OS_FILE_NONE;
    int64_t bytes = 0;

    if (index->os->file_open(index->os, index->path, 0, &file)) {
        return 0;
    }
    if (index->os->file_size(index->os, file, &bytes)) {
        bytes = 0;
    }
    index->os->file_close(index->os, file);
    return bytes;
}
