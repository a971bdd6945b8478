/* trail_file.c - the SQLite file of an index: made, checked, loaded, written a block at a time.
 *
 *   about    what is indexed        blocks   bounds        tables   names and counts
 *   buckets  terms of a block, by hash                     chunks   places of a block
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/trail_index_inside.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "audit/change.h"
#include "audit/trail_blocks.h"

#define WRITER_CACHE_BYTES (1 << 20)

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

struct trail_table *trail_file_table(struct trail_index *index, view topic, view schema_name,
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
            trail_file_table(index, sqlite_bytes(s, 1), sqlite_bytes(s, 2), sqlite_bytes(s, 3));
        for (int i = 0; i < (int)COUNT(t->counts); i++) {
            t->counts[i] = sqlite_int(s, 4 + i);
        }
        t->first_us = sqlite_int(s, 10);
        t->last_us = sqlite_int(s, 11);
    }
    sqlite_finish(s);
    return e;
}

err trail_file_open(struct trail_index *index)
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

void trail_file_close(struct trail_index *index)
{
    close_reader(index);
    sqlite_close(index->writer);
    index->writer = NULL;
}

err trail_file_remove(struct trail_index *index)
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

err trail_file_write(struct trail_index *index)
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

err trail_file_cool(struct trail_index *index, int64_t id)
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
