/* catalog.c - reading tables, columns, unique indexes, foreign keys and triggers.
 *
 * First the tables that changes speak of, by OID or name; then the foreign keys at either end
 * of them; then, for all tables so found, what they are made of. Tables stand by OID.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/catalog.h"

#include <stdlib.h>

#include "audit/pg.h"

struct loader {
    struct pg *pg;
    struct catalog *catalog;
    struct writer named, all; /* OIDs as an array's text */
};

static const char named_sql[] =
    "SELECT DISTINCT coalesce(c.oid, d.oid) FROM json_to_recordset($1::json)"
    " AS w(oid oid, schema text, name text)"
    " LEFT JOIN pg_class c ON c.oid = w.oid AND c.relkind IN ('r', 'p')"
    " LEFT JOIN pg_namespace n ON n.nspname = w.schema"
    " LEFT JOIN pg_class d ON d.relnamespace = n.oid AND d.relname = w.name"
    " AND d.relkind IN ('r', 'p')"
    " WHERE coalesce(c.oid, d.oid) IS NOT NULL";

static const char foreigns_sql[] =
    "SELECT conname, conrelid, confrelid, conkey::text, confkey::text, confdeltype,"
    " confupdtype, condeferrable FROM pg_constraint WHERE contype = 'f'"
    " AND (conrelid = ANY($1::oid[]) OR confrelid = ANY($1::oid[])) ORDER BY oid";

static const char tables_sql[] =
    "SELECT c.oid, n.nspname, c.relname,"
    " quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.oid = ANY($2::oid[]),"
    " coalesce((SELECT string_agg(g.tgname, ', ' ORDER BY g.tgname) FROM pg_trigger g"
    " WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled IN ('O', 'A')"
    " AND g.tgtype & 1 = 1), ''),"
    " EXISTS (SELECT 1 FROM pg_publication_rel r WHERE r.prrelid = c.oid"
    " AND to_jsonb(r)->>'prattrs' IS NOT NULL), c.relkind = 'p'"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.oid = ANY($1::oid[]) ORDER BY c.oid";

static const char columns_sql[] =
    "SELECT a.attrelid, a.attnum, a.attname, quote_ident(a.attname),"
    " format_type(a.atttypid, a.atttypmod), a.atttypid,"
    " CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE a.atttypid END, a.attisdropped,"
    " a.attnotnull OR coalesce(t.typnotnull, false), a.attgenerated <> '',"
    " a.attidentity <> '',"
    " a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,"
    " CASE WHEN a.attisdropped THEN NULL ELSE pg_get_serial_sequence("
    "quote_ident(n.nspname) || '.' || quote_ident(c.relname), a.attname) END,"
    " t.typtype = 'e', EXISTS (SELECT 1 FROM pg_cast k WHERE k.castmethod = 'f'"
    " AND k.castsource = a.atttypid AND k.casttarget = 'text'::regtype)"
    " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
    " JOIN pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN pg_type t ON t.oid = a.atttypid"
    " WHERE a.attrelid = ANY($1::oid[]) AND a.attnum > 0 ORDER BY a.attrelid, a.attnum";

static const char indexes_sql[] =
    "SELECT i.indrelid, c.relname, i.indkey::text, i.indnkeyatts, i.indisprimary,"
    " i.indisreplident, NOT i.indimmediate,"
    " coalesce((to_jsonb(i)->>'indnullsnotdistinct')::boolean, false)"
    " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " WHERE i.indrelid = ANY($1::oid[]) AND i.indisunique AND i.indisvalid"
    " AND i.indpred IS NULL AND i.indexprs IS NULL"
    " ORDER BY i.indrelid, i.indisprimary DESC, i.indisreplident DESC, c.relname";

static view kept(struct loader *l, const struct pg_rows *rows, size_t row, int column)
{
    view v = pg_value(rows, row, column);
    return v.at ? arena_copy(&l->catalog->arena, v) : (view){0};
}

static int64_t number(const struct pg_rows *rows, size_t row, int column)
{
    int64_t value = 0;
    return view_to_int(pg_value(rows, row, column), &value) ? 0 : value;
}

static bool truth(const struct pg_rows *rows, size_t row, int column)
{
    return view_is(pg_value(rows, row, column), VIEW("t"));
}

static char letter(const struct pg_rows *rows, size_t row, int column)
{
    view v = pg_value(rows, row, column);
    return v.len ? (char)v.at[0] : 'a';
}

static struct catalog_table *by_oid(const struct catalog *catalog, int64_t oid)
{
    size_t low = 0, high = catalog->table_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (catalog->tables[middle].oid < oid) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < catalog->table_count && catalog->tables[low].oid == oid ? &catalog->tables[low]
                                                                         : NULL;
}

static void add_oid(struct writer *list, view oid)
{
    write_format(list, "%s%.*s", list->len > 1 ? "," : "", VIEW_ARG(oid));
}

static err load_named(struct loader *l, struct relation *const *relations, size_t count)
{
    struct writer wanted = {0};
    struct json_writer j = json_to(&wanted);
    struct pg_rows *rows = NULL;

    json_array(&j);
    for (size_t i = 0; i < count; i++) {
        json_object(&j);
        json_name(&j, "oid");
        json_int(&j, relations[i]->oid);
        json_name(&j, "schema");
        json_view(&j, relations[i]->schema);
        json_name(&j, "name");
        json_view(&j, relations[i]->name);
        json_end_object(&j);
    }
    json_end_array(&j);
    view parameter = writer_view(&wanted);
    err e = pg_query(l->pg, named_sql, &parameter, 1, &rows);
    write_format(&l->named, "{");
    for (size_t i = 0; !e && i < pg_row_count(rows); i++) {
        add_oid(&l->named, pg_value(rows, i, 0));
    }
    write_format(&l->named, "}");
    pg_rows_free(rows);
    writer_fini(&wanted);
    return e;
}

/* "{1,2}" or "1 2": attribute numbers, as positions. *count: how many were found. */
static int *positions_of(struct arena *arena, view text, int *count)
{
    int *found = arena_take(arena, (text.len + 1) * sizeof(*found));
    int value = 0;
    bool inside = false;

    *count = 0;
    for (size_t i = 0; i <= text.len; i++) {
        int digit = i < text.len ? text.at[i] - '0' : -1;
        if (digit >= 0 && digit <= 9 && value < COLUMNS_MAX) {
            value = value * 10 + digit;
            inside = true;
        } else if (inside) {
            found[(*count)++] = value - 1;
            value = 0;
            inside = false;
        }
    }
    return found;
}

static bool positions_fit(const struct catalog_table *table, const int *positions, int count)
{
    bool fit = count > 0;

    for (int i = 0; i < count; i++) {
        fit = fit && positions[i] >= 0 && positions[i] < table->count;
    }
    return fit;
}

static err load_tables(struct loader *l)
{
    view parameters[] = {writer_view(&l->all), writer_view(&l->named)};
    struct pg_rows *rows = NULL;
    err e = pg_query(l->pg, tables_sql, parameters, 2, &rows);

    if (e) {
        return e;
    }
    struct catalog *c = l->catalog;
    c->table_count = pg_row_count(rows);
    c->tables = arena_take(&c->arena, (c->table_count + 1) * sizeof(*c->tables));
    for (size_t i = 0; i < c->table_count; i++) {
        c->tables[i] = (struct catalog_table){
            .oid = (uint32_t)number(rows, i, 0),
            .schema = kept(l, rows, i, 1),
            .name = kept(l, rows, i, 2),
            .quoted = kept(l, rows, i, 3),
            .named = truth(rows, i, 4),
            .triggers = kept(l, rows, i, 5),
            .some_columns = truth(rows, i, 6),
            .partitioned = truth(rows, i, 7),
        };
    }
    pg_rows_free(rows);
    return OK;
}

static bool is_whole(uint32_t type)
{
    return type == 20 || type == 21 || type == 23; /* int8, int2, int4 */
}

static bool is_exact(uint32_t type)
{
    static const uint32_t types[] = {
        16,   17,   25,   26,   1042, 1043, /* bool, bytea, text, oid, char(n), varchar */
        1082, 1083, 1114, 1184, 2950,       /* date, time, timestamp, timestamptz, uuid */
        869,  650,                          /* inet, cidr */
    };
    for (size_t i = 0; i < COUNT(types); i++) {
        if (types[i] == type) {
            return true;
        }
    }
    return is_whole(type);
}

static struct catalog_column column_of(struct loader *l, const struct pg_rows *rows, size_t i)
{
    struct catalog_column column = {
        .name = kept(l, rows, i, 2),
        .quoted = kept(l, rows, i, 3),
        .type_name = kept(l, rows, i, 4),
        .type = (uint32_t)number(rows, i, 5),
        .base = (uint32_t)number(rows, i, 6),
        .dropped = truth(rows, i, 7),
        .not_null = truth(rows, i, 8),
        .generated = truth(rows, i, 9),
        .identity = truth(rows, i, 10),
        .filled = truth(rows, i, 11),
        .sequence = kept(l, rows, i, 12),
    };
    column.nullable = !column.not_null && !column.dropped && !column.generated;
    if (is_exact(column.base) || truth(rows, i, 13)) {
        column.compare = COMPARE_EQUAL;
    } else {
        column.compare = truth(rows, i, 14) ? COMPARE_NOT : COMPARE_TEXT;
    }
    column.number = is_whole(column.base);
    return column;
}

static err load_columns(struct loader *l)
{
    view parameter = writer_view(&l->all);
    struct pg_rows *rows = NULL;
    struct catalog_table *table = NULL;
    err e = pg_query(l->pg, columns_sql, &parameter, 1, &rows);

    for (size_t i = 0; !e && i < pg_row_count(rows); i++) {
        int64_t oid = number(rows, i, 0);
        if (!table || table->oid != oid) {
            table = by_oid(l->catalog, oid);
            size_t last = i; /* this table's rows stand together */
            while (last < pg_row_count(rows) && number(rows, last, 0) == oid) {
                last++;
            }
            if (!table) { /* made since the tables were read */
                i = last - 1;
                continue;
            }
            table->columns =
                arena_take(&l->catalog->arena, (last - i) * sizeof(*table->columns));
        }
        if (number(rows, i, 1) != table->count + 1) {
            e = fault(ERR_CORRUPT, "the catalog's columns of %.*s have a gap before number %d",
                      VIEW_ARG(table->quoted), table->count + 1);
        } else {
            table->columns[table->count++] = column_of(l, rows, i);
        }
    }
    pg_rows_free(rows);
    return e;
}

/* What tells rows apart: no two rows, and no null in it. */
static bool is_key(const struct catalog_table *table, const struct catalog_index *index)
{
    bool not_null = true;

    for (int i = 0; i < index->count; i++) {
        not_null = not_null && table->columns[index->columns[i]].not_null;
    }
    return not_null && (index->primary || index->identity || !index->deferrable);
}

static err load_indexes(struct loader *l)
{
    view parameter = writer_view(&l->all);
    struct pg_rows *rows = NULL;
    struct catalog *c = l->catalog;
    err e = pg_query(l->pg, indexes_sql, &parameter, 1, &rows);

    if (e) {
        return e;
    }
    struct catalog_index *all =
        arena_take(&c->arena, (pg_row_count(rows) + 1) * sizeof(*all)); /* by table */
    for (size_t i = 0; i < pg_row_count(rows); i++) {
        struct catalog_table *table = by_oid(c, number(rows, i, 0));
        struct catalog_index *index = &all[i];
        *index = (struct catalog_index){
            .name = kept(l, rows, i, 1),
            .primary = truth(rows, i, 4),
            .identity = truth(rows, i, 5),
            .deferrable = truth(rows, i, 6),
            .nulls_equal = truth(rows, i, 7),
        };
        index->columns = positions_of(&c->arena, pg_value(rows, i, 2), &index->count);
        index->count = MIN(index->count, (int)number(rows, i, 3)); /* the rest: INCLUDE */
        if (!table || !positions_fit(table, index->columns, index->count)) {
            continue;
        }
        table->indexes = table->index_count ? table->indexes : index;
        table->index_count = (size_t)(index - table->indexes) + 1;
        table->key = !table->key && is_key(table, index) ? index : table->key;
    }
    pg_rows_free(rows);
    return OK;
}

static void foreign_take(struct loader *l, const struct pg_rows *rows, size_t i)
{
    struct catalog *c = l->catalog;
    struct catalog_foreign f = {
        .name = kept(l, rows, i, 0),
        .from = by_oid(c, number(rows, i, 1)),
        .to = by_oid(c, number(rows, i, 2)),
        .on_delete = letter(rows, i, 5),
        .on_update = letter(rows, i, 6),
        .deferrable = truth(rows, i, 7),
    };
    int to_count = 0;

    f.from_columns = positions_of(&c->arena, pg_value(rows, i, 3), &f.count);
    f.to_columns = positions_of(&c->arena, pg_value(rows, i, 4), &to_count);
    if (f.from && f.to && to_count == f.count &&
        positions_fit(f.from, f.from_columns, f.count) &&
        positions_fit(f.to, f.to_columns, f.count)) {
        c->foreigns[c->foreign_count++] = f;
    }
}

/* The rows of foreign keys come first: they say which tables there are. */
static err load_foreigns(struct loader *l, struct pg_rows **rows)
{
    view parameter = writer_view(&l->named);
    err e = pg_query(l->pg, foreigns_sql, &parameter, 1, rows);

    if (e) {
        return e;
    }
    struct catalog *c = l->catalog;
    c->foreigns = arena_take(&c->arena, (pg_row_count(*rows) + 1) * sizeof(*c->foreigns));
    write_view(&l->all, view_upto(writer_view(&l->named), l->named.len - 1));
    for (size_t i = 0; i < pg_row_count(*rows); i++) {
        add_oid(&l->all, pg_value(*rows, i, 1));
        add_oid(&l->all, pg_value(*rows, i, 2));
    }
    write_format(&l->all, "}");
    return OK;
}

err catalog_read(struct pg *pg, struct relation *const *relations, size_t count,
                 struct catalog **out)
{
    struct loader l = {.pg = pg, .catalog = xcalloc(1, sizeof(struct catalog))};
    struct pg_rows *foreigns = NULL;

    *out = NULL;
    err e = load_named(&l, relations, count);
    e = e ? e : load_foreigns(&l, &foreigns);
    e = e ? e : load_tables(&l);
    e = e ? e : load_columns(&l);
    e = e ? e : load_indexes(&l);
    for (size_t i = 0; !e && i < pg_row_count(foreigns); i++) {
        foreign_take(&l, foreigns, i);
    }
    pg_rows_free(foreigns);
    writer_fini(&l.named);
    writer_fini(&l.all);
    if (e) {
        catalog_free(l.catalog);
        return fault_prefix("reading the database's tables: ");
    }
    *out = l.catalog;
    return OK;
}

void catalog_free(struct catalog *catalog)
{
    if (catalog) {
        arena_fini(&catalog->arena);
        free(catalog);
    }
}

const struct catalog_table *catalog_find(const struct catalog *catalog,
                                         const struct relation *relation)
{
    const struct catalog_table *found = by_oid(catalog, relation->oid);

    for (size_t i = 0; !found && i < catalog->table_count; i++) {
        const struct catalog_table *table = &catalog->tables[i];
        if (view_is(table->schema, relation->schema) && view_is(table->name, relation->name)) {
            found = table;
        }
    }
    return found && found->named ? found : NULL;
}
