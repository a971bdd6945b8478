/* snapshot_plan.c - tables cut into chunks of pages, less what was read before.
 *
 * A note names the file of the table (relfilenode) with the pages: after a rewrite (VACUUM
 * FULL, CLUSTER, ALTER) pages of old notes mean nothing and the table is read whole. The last
 * chunk of a table has no upper bound, so what grew meanwhile is in it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "audit/snapshot_inside.h"

#define CHUNK_ROWS 100000
#define CHUNK_PAGES_LEAST 16
#define CHUNK_PAGES_MOST 8192  /* 64 MiB */
#define WINDOW_PAGES_MOST 2048 /* 16 MiB: what a window keeps in memory */

/* Each relation with rows of its own below a published table, with its size now. */
static const char leaves_sql[] =
    "SELECT c.oid, n.nspname, c.relname, pg_catalog.pg_relation_filenode(c.oid),"
    " pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::bigint,"
    " c.reltuples::bigint "
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind = 'r' AND (c.oid = %u OR c.oid IN"
    " (SELECT relid FROM pg_catalog.pg_partition_tree(%u) WHERE isleaf)) ORDER BY c.oid";

/* What tells rows apart in changes: the identity's columns, with identity full the primary key.
 */
static const char key_sql[] =
    "SELECT a.attname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_index x ON x.indrelid ="
    " c.oid JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (x.indkey) "
    "WHERE c.oid = %u AND CASE WHEN c.relreplident = 'i' THEN x.indisreplident"
    " ELSE x.indisprimary END ORDER BY a.attnum";

static int64_t number(const struct pg_rows *rows, size_t row, int column)
{
    int64_t value = 0;

    return view_to_int(pg_value(rows, row, column), &value) ? 0 : value;
}

static err read_key(struct pg *pg, struct plan *plan, struct table *table)
{
    struct pg_rows *rows = NULL;
    err e = pg_query(pg, arena_format(plan->arena, key_sql, table->oid), NULL, 0, &rows);

    if (e) {
        return e;
    }
    size_t count = pg_row_count(rows);
    table->key = arena_take(plan->arena, (count + 1) * sizeof(*table->key));
    for (size_t i = 0; i < count; i++) {
        int at = relation_column(table->relation, pg_value(rows, i, 0));
        if (at < 0) { /* the description is older than the key: as without one */
            table->key_count = 0;
            break;
        }
        table->key[table->key_count++] = at;
    }
    pg_rows_free(rows);
    return OK;
}

static const char *list_columns(struct arena *arena, const struct relation *relation)
{
    struct writer out = {0};

    for (int i = 0; i < relation->count; i++) {
        write_format(&out, i ? ", " : "");
        pg_quote_name(&out, relation->columns[i].name);
    }
    const char *list = arena_text(arena, writer_view(&out));
    writer_fini(&out);
    return list;
}

static void add_chunk(struct plan *plan, const struct chunk *chunk)
{
    plan->chunks = array_room(plan->chunks, plan->count, &plan->room, sizeof(*chunk));
    plan->chunks[plan->count++] = *chunk;
    plan->tables[chunk->table].chunks_left++;
}

static void cut(struct plan *plan, const struct chunk *leaf, int64_t from, int64_t to,
                int64_t pages, int64_t chunk_pages)
{
    struct chunk chunk = *leaf;

    for (int64_t at = from; to == CHUNK_TO_END || at < to; at = chunk.to) {
        int64_t end = at + chunk_pages;
        chunk.from = at;
        chunk.to =
            to == CHUNK_TO_END ? (end >= pages ? CHUNK_TO_END : end) : (end < to ? end : to);
        add_chunk(plan, &chunk);
        if (chunk.to == CHUNK_TO_END) {
            break;
        }
    }
}

struct range {
    int64_t from, to;
};

static int by_from(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    return (x->from > y->from) - (x->from < y->from);
}

static bool note_range(struct arena *arena, view note, const struct chunk *leaf,
                       struct range *out)
{
    struct json *json = NULL;
    int64_t oid = 0, file = 0;
    bool is_mine = !json_parse(arena, note, &json) && !json_get_int(json, "leaf", &oid) &&
                   !json_get_int(json, "file", &file) && oid == leaf->leaf &&
                   file == leaf->file && !json_get_int(json, "from", &out->from) &&
                   !json_get_int(json, "to", &out->to);

    if (is_mine && out->to == CHUNK_TO_END) {
        out->to = INT64_MAX;
    }
    return is_mine;
}

/* What lies between the ranges that are done. */
static void cut_leaf(struct plan *plan, const struct snapshot_config *config,
                     const struct chunk *leaf, int64_t pages, int64_t chunk_pages)
{
    struct range *done = xcalloc(config->done_count + 1, sizeof(*done));
    struct arena arena = {0};
    size_t count = 0;
    int64_t at = 0;

    for (size_t i = 0; i < config->done_count; i++) {
        count += note_range(&arena, config->done[i], leaf, &done[count]);
    }
    qsort(done, count, sizeof(*done), by_from);
    for (size_t i = 0; i < count; i++) {
        if (done[i].from > at) {
            cut(plan, leaf, at, done[i].from, pages, chunk_pages);
        }
        at = done[i].to > at ? done[i].to : at;
    }
    if (at != INT64_MAX) {
        cut(plan, leaf, at, CHUNK_TO_END, pages, chunk_pages);
    }
    arena_fini(&arena);
    free(done);
}

static int64_t pages_of_chunk(struct pg *pg, const struct snapshot_config *config,
                              const struct table *table, int64_t pages, int64_t rows)
{
    int64_t wanted = config->chunk_rows ? config->chunk_rows : CHUNK_ROWS;
    int64_t most = config->exported ? CHUNK_PAGES_MOST : WINDOW_PAGES_MOST;

    if (pg_version(pg) < 140000 || (!config->exported && !table->key_count)) {
        return INT64_MAX / 4;
    }
    int64_t chunk =
        rows > 0 && pages > 0 ? (int64_t)((double)wanted * (double)pages / (double)rows) : most;
    return chunk < CHUNK_PAGES_LEAST ? CHUNK_PAGES_LEAST : chunk > most ? most : chunk;
}

static err plan_table(struct pg *pg, const struct snapshot_config *config, struct plan *plan,
                      size_t at)
{
    struct table *table = &plan->tables[at];
    struct pg_rows *rows = NULL;
    struct writer name = {0};

    table->oid = config->tables[at].oid;
    table->relation = relation_hold(config->tables[at].relation);
    table->columns = list_columns(plan->arena, table->relation);
    err e = read_key(pg, plan, table);
    e = e ? e
          : pg_query(pg, arena_format(plan->arena, leaves_sql, table->oid, table->oid), NULL, 0,
                     &rows);
    for (size_t i = 0; !e && i < pg_row_count(rows); i++) {
        int64_t pages = number(rows, i, 4), tuples = number(rows, i, 5);
        writer_reset(&name);
        pg_quote_name(&name, pg_value(rows, i, 1));
        write_u8(&name, '.');
        pg_quote_name(&name, pg_value(rows, i, 2));
        struct chunk leaf = {.table = at,
                             .leaf = (uint32_t)number(rows, i, 0),
                             .name = arena_text(plan->arena, writer_view(&name)),
                             .file = number(rows, i, 3),
                             .pages = pages};
        table->rows += tuples > 0 ? tuples : 0;
        cut_leaf(plan, config, &leaf, pages, pages_of_chunk(pg, config, table, pages, tuples));
    }
    pg_rows_free(rows);
    writer_fini(&name);
    return e;
}

err plan_make(struct pg *pg, const struct snapshot_config *config, struct plan *plan)
{
    err e = OK;

    plan->table_count = config->table_count;
    plan->tables = arena_take(plan->arena, (config->table_count + 1) * sizeof(*plan->tables));
    for (size_t i = 0; i < config->table_count && !e; i++) {
        e = plan_table(pg, config, plan, i);
    }
    return e;
}

void chunk_note(const struct chunk *chunk, const struct table *table, struct writer *out)
{
    struct json_writer j = json_to(out);

    json_object(&j);
    json_name(&j, "table");
    json_textf(&j, "%.*s.%.*s", VIEW_ARG(table->relation->schema),
               VIEW_ARG(table->relation->name));
    json_name(&j, "leaf");
    json_int(&j, chunk->leaf);
    json_name(&j, "file");
    json_int(&j, chunk->file);
    json_name(&j, "from");
    json_int(&j, chunk->from);
    json_name(&j, "to");
    json_int(&j, chunk->to);
    json_end_object(&j);
}

void chunk_sql(const struct chunk *chunk, const struct table *table, struct writer *out)
{
    bool whole = !chunk->from && chunk->to == CHUNK_TO_END;

    if (whole) {
        write_format(out, "COPY %s (%s) TO STDOUT", chunk->name, table->columns);
    } else {
        write_format(out, "COPY (SELECT %s FROM ONLY %s WHERE ctid >= '(%" PRId64 ",0)'",
                     table->columns, chunk->name, chunk->from);
        if (chunk->to != CHUNK_TO_END) {
            write_format(out, " AND ctid < '(%" PRId64 ",0)'", chunk->to);
        }
        write_format(out, ") TO STDOUT");
    }
    write_u8(out, 0);
}
