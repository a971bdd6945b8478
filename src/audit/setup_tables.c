/* setup_tables.c - which tables there are, how each is, and as what the stream describes it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "audit/relations.h"
#include "audit/setup_inside.h"

/* One row a table, with the names of our two publications put in.
 * An identity is what tells rows apart in the log; of a partitioned table that of each leaf. */
static const char tables_sql[] =
    "WITH identity AS ("
    " SELECT c.oid, c.relreplident = 'f' OR EXISTS (SELECT FROM pg_catalog.pg_index x"
    "  WHERE x.indrelid = c.oid AND x.indislive AND CASE c.relreplident"
    "   WHEN 'd' THEN x.indisprimary AND x.indimmediate"
    "   WHEN 'i' THEN x.indisreplident ELSE false END) AS has_key"
    " FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p')), "
    "leaf AS ("
    " SELECT c.oid AS root, c.oid FROM pg_catalog.pg_class c WHERE c.relkind = 'r'"
    "  AND NOT c.relispartition"
    " UNION ALL SELECT c.oid, t.relid FROM pg_catalog.pg_class c,"
    "  LATERAL pg_catalog.pg_partition_tree(c.oid) t"
    "  WHERE c.relkind = 'p' AND NOT c.relispartition AND t.isleaf), "
    "whole AS ("
    " SELECT l.root, bool_and(i.has_key) AS has_key,"
    "  CASE WHEN min(c.reltuples) < 0 THEN -1 ELSE sum(c.reltuples) END AS tuples,"
    "  sum(pg_catalog.pg_table_size(c.oid)) AS bytes,"
    "  bool_or(c.reltoastrelid <> 0 AND pg_catalog.pg_relation_size(c.reltoastrelid) > 0)"
    "   AS has_large,"
    "  bool_or(c.relpersistence = 'u') AS unlogged"
    " FROM leaf l JOIN identity i USING (oid) JOIN pg_catalog.pg_class c USING (oid)"
    " GROUP BY l.root), "
    "told AS ("
    " SELECT r.prrelid AS rel FROM pg_catalog.pg_publication_rel r"
    "  JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid AND p.pubname IN (%s, %s)"
    " UNION SELECT c.oid FROM pg_catalog.pg_publication_tables t"
    "  JOIN pg_catalog.pg_namespace n ON n.nspname = t.schemaname"
    "  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename"
    "  WHERE t.pubname IN (%s, %s)) "
    "SELECT c.oid, n.nspname, c.relname, c.relreplident, i.has_key AND coalesce(w.has_key, "
    "true),"
    " EXISTS (SELECT FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid AND x.indisprimary),"
    " c.relkind = 'p', coalesce(w.unlogged, false),"
    " EXISTS (SELECT FROM told WHERE told.rel = c.oid),"
    " pg_catalog.row_security_active(c.oid), coalesce(w.tuples, 0)::bigint,"
    " coalesce(w.bytes, 0)::bigint, coalesce(w.has_large, false),"
    " pg_catalog.has_table_privilege(c.oid, 'SELECT'),"
    " pg_catalog.pg_has_role(c.relowner, 'USAGE'), (SELECT CASE WHEN o.rolsuper THEN '' ELSE "
    "o.rolname END"
    "  FROM pg_catalog.pg_roles o WHERE o.oid = c.relowner),"
    " pg_catalog.has_schema_privilege(n.oid, 'USAGE'),"
    " EXISTS (SELECT FROM pg_catalog.pg_publication p WHERE (p.pubupdate OR p.pubdelete)"
    "  AND (p.puballtables OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel r"
    "   WHERE r.prpubid = p.oid AND r.prrelid = c.oid))) "
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " JOIN identity i ON i.oid = c.oid LEFT JOIN whole w ON w.root = c.oid "
    "WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'"
    " AND n.nspname NOT IN ('pg_catalog', 'information_schema', '" SETUP_SCHEMA "')"
    " AND n.nspname !~ '^pg_(toast|temp)'"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e'"
    "  AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid) "
    "ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";

/* Columns of pgoutput's description: none that is generated. Types with OIDs of initdb and
 * before have no name of their own in the stream. */
static const char columns_sql[] =
    "SELECT n.nspname, c.relname, c.relreplident, a.attname, a.atttypid, a.atttypmod,"
    " c.relreplident = 'f' OR EXISTS (SELECT FROM pg_catalog.pg_index x"
    "  WHERE x.indrelid = c.oid AND a.attnum = ANY (x.indkey) AND CASE c.relreplident"
    "   WHEN 'd' THEN x.indisprimary AND x.indimmediate"
    "   WHEN 'i' THEN x.indisreplident ELSE false END),"
    " CASE WHEN a.atttypid >= 10000 THEN b.typname END,"
    " (SELECT m.nspname FROM pg_catalog.pg_namespace m WHERE m.oid = b.typnamespace) "
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
    "  AND NOT a.attisdropped AND a.attgenerated = ''"
    " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
    " JOIN pg_catalog.pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype"
    "  ELSE t.oid END "
    "WHERE c.oid = %u ORDER BY a.attnum";

bool setup_pattern_matches(view pattern, view text)
{
    size_t at = 0, i = 0, star = SIZE_MAX, after = 0;

    while (i < text.len) {
        bool same = at < pattern.len && (pattern.at[at] == '?' || pattern.at[at] == text.at[i]);
        if (at < pattern.len && pattern.at[at] == '*') {
            star = at++;
            after = i;
        } else if (same) {
            at++;
            i++;
        } else if (star != SIZE_MAX) {
            at = star + 1;
            i = ++after;
        } else {
            return false;
        }
    }
    while (at < pattern.len && pattern.at[at] == '*') {
        at++;
    }
    return at == pattern.len;
}

bool setup_list_has(const char *patterns, view schema, view name)
{
    view rest = view_text(patterns), pattern;
    struct writer whole = {0};
    bool found = false;

    write_format(&whole, "%.*s.%.*s", VIEW_ARG(schema), VIEW_ARG(name));
    while (rest.len && !found) {
        view_cut(rest, ',', &pattern, &rest);
        pattern = view_trim(pattern);
        bool has_schema = pattern.len && memchr(pattern.at, '.', pattern.len);
        found = pattern.len &&
                setup_pattern_matches(pattern, has_schema ? writer_view(&whole) : name);
    }
    writer_fini(&whole);
    return found;
}

static bool truth(const struct pg_rows *rows, size_t row, int column)
{
    return view_is_text(pg_value(rows, row, column), "t");
}

static int64_t number(const struct pg_rows *rows, size_t row, int column)
{
    int64_t value = 0;

    return view_to_int(pg_value(rows, row, column), &value) ? 0 : value;
}

static void read_table(const struct pg_rows *rows, size_t row, struct arena *arena,
                       struct setup_table *out)
{
    *out = (struct setup_table){
        .oid = (uint32_t)number(rows, row, 0),
        .schema = arena_copy(arena, pg_value(rows, row, 1)),
        .name = arena_copy(arena, pg_value(rows, row, 2)),
        .identity = (char)pg_value(rows, row, 3).at[0],
        .has_key = truth(rows, row, 4),
        .has_primary = truth(rows, row, 5),
        .partitioned = truth(rows, row, 6),
        .unlogged = truth(rows, row, 7),
        .published = truth(rows, row, 8),
        .row_security = truth(rows, row, 9),
        .rows = number(rows, row, 10),
        .bytes = number(rows, row, 11),
        .has_large = truth(rows, row, 12),
        .may_read = truth(rows, row, 13) && truth(rows, row, 16),
        .is_owned = truth(rows, row, 14),
        .owner = arena_copy(arena, pg_value(rows, row, 15)),
    };
    out->refused = !out->has_key && !out->unlogged && truth(rows, row, 17);
}

static void choose(struct setup_table *table, enum setup_keyless keyless)
{
    if (table->unlogged) {
        table->skipped = true; /* publishing it is refused */
    } else if (!table->has_key) {
        table->skipped = keyless == SETUP_SKIP;
        table->insert_only = keyless == SETUP_INSERT_ONLY;
        table->makes_full = keyless == SETUP_FULL;
    }
}

err setup_tables(struct pg *pg, const struct setup_ask *ask, struct arena *arena,
                 struct setup_table **out, size_t *count)
{
    struct writer one = {0}, two = {0}, sql = {0};
    struct pg_rows *rows = NULL;

    setup_quote_publications(ask, &one, &two);
    const char *whole = (const char *)one.at, *inserts = (const char *)two.at;
    write_format(&sql, tables_sql, whole, inserts, whole, inserts);
    write_u8(&sql, 0);
    err e = pg_query(pg, (const char *)sql.at, NULL, 0, &rows);
    writer_fini(&one);
    writer_fini(&two);
    writer_fini(&sql);
    if (e) {
        return fault_prefix("listing tables: ");
    }
    *count = 0;
    *out = arena_take(arena, pg_row_count(rows) * sizeof(**out));
    for (size_t i = 0; i < pg_row_count(rows); i++) {
        view schema = pg_value(rows, i, 1), name = pg_value(rows, i, 2);
        bool wanted =
            (!ask->tables || !ask->tables[0] || setup_list_has(ask->tables, schema, name)) &&
            !(ask->without && setup_list_has(ask->without, schema, name));
        if (wanted) {
            read_table(rows, i, arena, *out + *count);
            choose(*out + (*count)++, ask->keyless);
        }
    }
    pg_rows_free(rows);
    return OK;
}

err setup_describe(struct pg *pg, uint32_t oid, struct relation **out)
{
    struct writer sql = {0};
    struct pg_rows *rows = NULL;

    write_format(&sql, columns_sql, oid);
    write_u8(&sql, 0);
    err e = pg_query(pg, (const char *)sql.at, NULL, 0, &rows);
    writer_fini(&sql);
    if (e) {
        return e;
    }
    size_t count = pg_row_count(rows);
    if (!count || count > COLUMNS_MAX) {
        pg_rows_free(rows);
        return fault(ERR_NOT_FOUND, "there is no table with OID %u, or it has no columns", oid);
    }
    struct column *columns = xcalloc(count, sizeof(*columns));
    struct types types = {0};
    for (size_t i = 0; i < count; i++) {
        columns[i] = (struct column){.name = pg_value(rows, i, 3),
                                     .type = (uint32_t)number(rows, i, 4),
                                     .modifier = (int32_t)number(rows, i, 5),
                                     .key = truth(rows, i, 6)};
        if (pg_value(rows, i, 7).at) {
            types_put(&types, columns[i].type, pg_value(rows, i, 8), pg_value(rows, i, 7));
        }
    }
    struct relation described = {.oid = oid,
                                 .identity = (char)pg_value(rows, 0, 2).at[0],
                                 .schema = pg_value(rows, 0, 0),
                                 .name = pg_value(rows, 0, 1),
                                 .columns = columns,
                                 .count = (int)count};
    types_name(&types, &described);
    *out = relation_new(&described);
    types_fini(&types);
    free(columns);
    pg_rows_free(rows);
    return OK;
}
