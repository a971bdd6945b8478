/* trail_index.c - the newest block in memory, all others in SQLite.
 *
 * Invariants: (1) a block is in the file whole or not at all, with the counts of all changes up
 * to its end; (2) the newest block's arrays are changed by the writer alone, under the lock;
 * (3) a damaged file is never answered from: the search fails and the writer builds it anew.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/trail_index.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "audit/change.h"
#include "audit/sqlite.h"
#include "audit/trail_blocks.h"

#define WRITER_CACHE_BYTES (1 << 20)
#define MEMORY_LEAST (8 << 20)

struct newest { /* the block that is not in the file yet */
    struct trail_block is;
    struct trail_place *places;
    uint64_t *postings;
    size_t place_room, posting_count, posting_room;
};

struct trail_index {
    struct os *os;
    char *path, *identity;
    size_t memory_bytes, terms_max;
    uint32_t block_max;
    pthread_mutex_t lock; /* newest, blocks, tables */
    struct newest newest;
    struct trail_block *blocks;
    size_t block_count, block_room;
    struct trail_table **tables;
    size_t table_count, table_room;
    struct arena texts;
    struct sqlite *writer;
    pthread_mutex_t read_lock; /* reader and its statements */
    struct sqlite *reader;
    struct sqlite_statement *find_bucket, *find_chunk;
    _Atomic bool damaged;
};

static const char schema[] =
    "PRAGMA page_size = 8192;"
    "PRAGMA journal_mode = WAL;"
    "PRAGMA synchronous = NORMAL;"
    "BEGIN IMMEDIATE;"
    "CREATE TABLE about(name TEXT PRIMARY KEY, value TEXT);"
    "CREATE TABLE blocks(id INTEGER PRIMARY KEY, first, count, from_us, until_us, ledger, "
    "skip, end_ledger, end_skip, cold);"
    "CREATE TABLE buckets(id INTEGER PRIMARY KEY, data BLOB);" /* block << 10 | bucket */
    "CREATE TABLE chunks(id INTEGER PRIMARY KEY, data BLOB);"  /* block << 8 | chunk */
    "CREATE TABLE tables(id INTEGER PRIMARY KEY, topic TEXT, schema TEXT, name TEXT, "
    "creates, updates, deletes, truncates, reads, messages, first_us, last_us);"
    "COMMIT;";

static void close_reader(struct trail_index *index)
{
    sqlite_finish(index->find_bucket);
    sqlite_finish(index->find_chunk);
    sqlite_close(index->reader);
    index->find_bucket = index->find_chunk = NULL;
    index->reader = NULL;
}

static err open_reader(struct trail_index *index)
{
    err e = sqlite_open(index->path, SQLITE_READ_ONLY, index->memory_bytes / 4, &index->reader);

    e = e ? e
          : sqlite_prepare(index->reader, "SELECT data FROM buckets WHERE id = ?1",
                           &index->find_bucket);
    return e ? e
             : sqlite_prepare(index->reader, "SELECT data FROM chunks WHERE id = ?1",
                              &index->find_chunk);
}

static err write_about(struct trail_index *index)
{
    struct sqlite_statement *s = NULL;
    err e = sqlite_prepare(index->writer, "INSERT INTO about VALUES('identity', ?1)", &s);

    if (!e) {
        sqlite_bind_text(s, 1, view_text(index->identity));
        e = sqlite_done(s);
    }
    sqlite_finish(s);
    return e ? e : sqlite_runf(index->writer, "PRAGMA user_version = %d", TRAIL_VERSION);
}

/* One row with one value; false in *found: no row. */
static err one_value(struct sqlite *db, const char *sql, struct writer *text, int64_t *number,
                     bool *found)
{
    struct sqlite_statement *s = NULL;
    err e = sqlite_prepare(db, sql, &s);

    e = e ? e : sqlite_step(s, found);
    if (!e && *found && text) {
        write_view(text, sqlite_bytes(s, 0));
    } else if (!e && *found) {
        *number = sqlite_int(s, 0);
    }
    sqlite_finish(s);
    return e;
}

static err check_about(struct trail_index *index, bool *fresh)
{
    struct writer identity = {0};
    int64_t version = 0;
    bool found = false;
    err e = one_value(index->writer, "PRAGMA user_version", NULL, &version, &found);

    *fresh = !e && version == 0;
    if (e || *fresh) {
        return e;
    }
    if (version != TRAIL_VERSION) {
        return fault(ERR_CORRUPT, "%s is of version %lld", index->path, (long long)version);
    }
    e = one_value(index->writer, "SELECT value FROM about WHERE name = 'identity'", &identity,
                  NULL, &found);
    if (!e && !view_is_text(writer_view(&identity), index->identity)) {
        e = fault(ERR_CORRUPT, "%s is the view of something else", index->path);
    }
    writer_fini(&identity);
    return e;
}

static err load_blocks(struct trail_index *index)
{
    struct sqlite_statement *s = NULL;
    bool row = false;
    err e = sqlite_prepare(index->writer,
                           "SELECT id, first, count, from_us, until_us, ledger, skip, "
                           "end_ledger, end_skip, cold FROM blocks ORDER BY id",
                           &s);

    while (!e && !(e = sqlite_step(s, &row)) && row) {
        struct trail_block b = {
            .id = sqlite_int(s, 0),
            .first = sqlite_int(s, 1),
            .count = (uint32_t)sqlite_int(s, 2),
            .from_us = sqlite_int(s, 3),
            .until_us = sqlite_int(s, 4),
            .begin = {sqlite_int(s, 5), sqlite_int(s, 6)},
            .end = {sqlite_int(s, 7), sqlite_int(s, 8)},
            .cold = sqlite_int(s, 9) != 0,
        };
        if (b.first != index->newest.is.first || b.count > TRAIL_BLOCK_MAX ||
            b.id != index->newest.is.id) {
            e = fault(ERR_CORRUPT, "%s: blocks do not follow each other", index->path);
            break;
        }
        index->blocks = array_room(index->blocks, index->block_count, &index->block_room,
                                   sizeof(*index->blocks));
        index->blocks[index->block_count++] = b;
        index->newest.is.first += b.count;
        index->newest.is.id++;
        index->newest.is.begin = index->newest.is.end = b.end;
    }
    sqlite_finish(s);
    return e;
}

static struct trail_table *add_table(struct trail_index *index, view topic, view schema_name,
                                     view name)
{
    struct trail_table *table = arena_take(&index->texts, sizeof(*table));

    table->topic = arena_copy(&index->texts, topic);
    table->schema = arena_copy(&index->texts, schema_name);
    table->name = arena_copy(&index->texts, name);
    index->tables = array_room(index->tables, index->table_count, &index->table_room,
                               sizeof(struct trail_table *));
    index->tables[index->table_count++] = table;
    return table;
}

static err load_tables(struct trail_index *index)
{
    struct sqlite_statement *s = NULL;
    bool row = false;
    err e = sqlite_prepare(index->writer,
                           "SELECT id, topic, schema, name, creates, updates, deletes, "
                           "truncates, reads, messages, first_us, last_us FROM tables "
                           "ORDER BY id",
                           &s);

    while (!e && !(e = sqlite_step(s, &row)) && row) {
        if (sqlite_int(s, 0) != (int64_t)index->table_count) {
            e = fault(ERR_CORRUPT, "%s: a table is missing", index->path);
            break;
        }
        struct trail_table *t =
            add_table(index, sqlite_bytes(s, 1), sqlite_bytes(s, 2), sqlite_bytes(s, 3));
        for (int i = 0; i < (int)COUNT(t->counts); i++) {
            t->counts[i] = sqlite_int(s, 4 + i);
        }
        t->first_us = sqlite_int(s, 10);
        t->last_us = sqlite_int(s, 11);
    }
    sqlite_finish(s);
    return e;
}

static void forget(struct trail_index *index)
{
    index->newest.is = (struct trail_block){.id = 1, .first = 1};
    index->newest.posting_count = 0;
    /* Tables' texts stay until the end: a search may still have them. */
    index->block_count = index->table_count = 0;
}

static err open_file(struct trail_index *index)
{
    bool fresh = false;
    err e = sqlite_open(index->path, 0, WRITER_CACHE_BYTES, &index->writer);

    e = e ? e : check_about(index, &fresh);
    if (!e && fresh) {
        e = sqlite_run(index->writer, schema);
        e = e ? e : write_about(index);
    }
    e = e ? e : sqlite_run(index->writer, "PRAGMA synchronous = NORMAL");
    e = e ? e : load_blocks(index);
    e = e ? e : load_tables(index);
    return e ? e : open_reader(index);
}

static void close_file(struct trail_index *index)
{
    close_reader(index);
    sqlite_close(index->writer);
    index->writer = NULL;
}

static err remove_file(struct trail_index *index)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    err e = OK;

    for (size_t i = 0; i < COUNT(endings) && !e; i++) {
        char *path = text_format("%s%s", index->path, endings[i]);
        e = index->os->path_remove(index->os, path);
        e = e == ERR_NOT_FOUND ? OK : e;
        free(path);
    }
    return e;
}

/* Nobody else uses the connections now. */
static err open_or_rebuild(struct trail_index *index)
{
    forget(index);
    err e = open_file(index);
    if (e == ERR_BUSY || e == ERR_FULL || !e) {
        return e;
    }
    trace_warn("audit", "%s is built anew: %s", index->path, fault_here.text);
    close_file(index);
    forget(index);
    e = remove_file(index);
    return e ? e : open_file(index);
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
    index->terms_max =
        MAX(index->memory_bytes / 2 / (3 * sizeof(uint64_t)), (size_t)TRAIL_TERMS_LEAST);
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
    close_file(index);
    arena_fini(&index->texts);
    free(index->tables);
    free(index->blocks);
    free(index->newest.places);
    free(index->newest.postings);
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
    close_file(index);
    forget(index);
    err e = remove_file(index);
    e = e ? e : open_file(index);
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
        add_table(index, topic, schema_name, name);
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
        n->postings =
            array_room(n->postings, n->posting_count, &n->posting_room, sizeof(*n->postings));
        n->postings[n->posting_count++] = POSTING(terms[i], n->is.count);
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

static err write_blob(struct sqlite_statement *s, int64_t id, view blob)
{
    sqlite_bind_int(s, 1, id);
    sqlite_bind_blob(s, 2, blob);
    return sqlite_done(s);
}

static err write_buckets(struct trail_index *index)
{
    struct newest *n = &index->newest;
    uint64_t *sorted = xmalloc((n->posting_count + 1) * sizeof(*sorted));
    uint64_t *spare = xmalloc((n->posting_count + 1) * sizeof(*spare));
    struct sqlite_statement *s = NULL;
    struct writer blob = {0};
    size_t at = 0;
    err e = sqlite_prepare(index->writer, "INSERT INTO buckets VALUES(?1, ?2)", &s);

    if (n->posting_count) {
        memcpy(sorted, n->postings, n->posting_count * sizeof(*sorted));
    }
    postings_sort(sorted, spare, n->posting_count);
    for (uint32_t bucket = 0; bucket < BUCKETS && !e; bucket++) {
        writer_reset(&blob);
        at += bucket_write(sorted + at, n->posting_count - at, bucket, &blob);
        e = write_blob(s, n->is.id << BUCKET_BITS | bucket, writer_view(&blob));
    }
    assert(e || at == n->posting_count);
    sqlite_finish(s);
    writer_fini(&blob);
    free(sorted);
    free(spare);
    return e;
}

static err write_chunks(struct trail_index *index)
{
    struct newest *n = &index->newest;
    struct sqlite_statement *s = NULL;
    struct writer blob = {0};
    err e = sqlite_prepare(index->writer, "INSERT INTO chunks VALUES(?1, ?2)", &s);

    for (uint32_t at = 0; at < n->is.count && !e; at += CHUNK_PLACES) {
        writer_reset(&blob);
        chunk_write(n->places + at, MIN(n->is.count - at, (uint32_t)CHUNK_PLACES), &blob);
        e = write_blob(s, n->is.id * CHUNKS + at / CHUNK_PLACES, writer_view(&blob));
    }
    sqlite_finish(s);
    writer_fini(&blob);
    return e;
}

static err write_tables(struct trail_index *index)
{
    struct sqlite_statement *s = NULL;
    err e = sqlite_prepare(
        index->writer,
        "INSERT OR REPLACE INTO tables VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)", &s);

    for (size_t i = 0; i < index->table_count && !e; i++) {
        const struct trail_table *t = index->tables[i]; /* the writer alone changes them */
        sqlite_bind_int(s, 1, (int64_t)i);
        sqlite_bind_text(s, 2, t->topic);
        sqlite_bind_text(s, 3, t->schema);
        sqlite_bind_text(s, 4, t->name);
        for (int k = 0; k < (int)COUNT(t->counts); k++) {
            sqlite_bind_int(s, 5 + k, t->counts[k]);
        }
        sqlite_bind_int(s, 11, t->first_us);
        sqlite_bind_int(s, 12, t->last_us);
        e = sqlite_done(s);
    }
    sqlite_finish(s);
    return e;
}

static err write_block(struct trail_index *index)
{
    const struct trail_block *b = &index->newest.is;
    err e = sqlite_run(index->writer, "BEGIN IMMEDIATE");

    if (e) {
        return e;
    }
    e = write_buckets(index);
    e = e ? e : write_chunks(index);
    e = e ? e : write_tables(index);
    e = e ? e
          : sqlite_runf(index->writer,
                        "INSERT INTO blocks VALUES(%" PRId64 ",%" PRId64 ",%" PRIu32 ",%" PRId64
                        ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",0)",
                        b->id, b->first, b->count, b->from_us, b->until_us, b->begin.ledger,
                        b->begin.skip, b->end.ledger, b->end.skip);
    e = e ? e : sqlite_run(index->writer, "COMMIT");
    if (e) {
        struct fault why = fault_here;
        if (sqlite_run(index->writer, "ROLLBACK")) {
            trace_debug("audit", "%s", fault_here.text); /* a full disk has done it already */
        }
        return fault(why.code, "%s", why.text);
    }
    return OK;
}

err trail_index_write(struct trail_index *index)
{
    struct newest *n = &index->newest;
    err e = n->is.count ? write_block(index) : OK;

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
    pthread_mutex_unlock(&index->lock);
    return OK;
}

static err cool_block(struct trail_index *index, int64_t id)
{
    err e = sqlite_runf(index->writer,
                        "BEGIN IMMEDIATE;"
                        "UPDATE blocks SET cold = 1 WHERE id = %" PRId64 ";"
                        "DELETE FROM buckets WHERE id BETWEEN %" PRId64 " AND %" PRId64 ";"
                        "DELETE FROM chunks WHERE id BETWEEN %" PRId64 " AND %" PRId64 ";"
                        "COMMIT;",
                        id, id << BUCKET_BITS, (id << BUCKET_BITS) + BUCKETS - 1, id * CHUNKS,
                        id * CHUNKS + CHUNKS - 1);

    if (e) {
        struct fault why = fault_here;
        if (sqlite_run(index->writer, "ROLLBACK")) {
            trace_debug("audit", "%s", fault_here.text);
        }
        return fault(why.code, "%s", why.text);
    }
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
        e = cool_block(index, b->id);
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
    uint32_t a = need->terms[0], b = need->terms[need->count > 1 ? 1 : 0];
    uint32_t c = need->terms[need->count > 2 ? 2 : 0];

    for (size_t i = 0; i < n->posting_count; i++) {
        uint32_t hash = (uint32_t)(n->postings[i] >> 16);
        if (hash == a || hash == b || hash == c) {
            uint16_t position = (uint16_t)n->postings[i];
            bits[position / 64] |= UINT64_C(1) << position % 64;
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
        if (!e && positions[i] % CHUNK_PLACES >= has) {
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
