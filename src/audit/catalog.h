/* catalog.h - tables as the database has them now: what undo must know to write to them.
 *
 * catalog_read takes the tables that changes speak of, and every table joined to one of them by
 * a foreign key. Columns stand in the order of their attribute numbers with dropped ones kept,
 * so a table that was altered since can still be matched with an older description of it.
 * Everything lives in the catalog's arena and is not changed after the read; any thread.
 * Source: PostgreSQL 53 (system catalogs). */
#ifndef TIDEMARK_AUDIT_CATALOG_H
#define TIDEMARK_AUDIT_CATALOG_H

#include "audit/change.h"

struct pg;

enum catalog_compare {                /* how a statement tells that a value is as it was */
                       COMPARE_EQUAL, /* by = */
                       COMPARE_TEXT,  /* by its text: = is missing or takes different texts for
                                         the same */
                       COMPARE_NOT,   /* not at all: its cast to text is not its text */
};

struct catalog_column {
    view name;
    view quoted;    /* as SQL wants it */
    view type_name; /* with its modifier */
    view sequence;  /* that it takes its values from, quoted; null: none */
    uint32_t type;
    uint32_t base;  /* of a domain; else the type */
    bool dropped;   /* nothing above is true of it */
    bool not_null;  /* of its own or by its domain */
    bool generated; /* by an expression */
    bool identity;
    bool filled;   /* has a default, an identity or an expression */
    bool masked;   /* the source's rules do not store it as it is; undo_find.c says so */
    bool nullable; /* a null would be taken: for temporary ones */
    enum catalog_compare compare;
    bool number; /* whole: its text is a literal as it stands */
};

struct catalog_index { /* unique, without expressions and conditions */
    view name;
    int *columns, count; /* positions in the table's columns */
    bool primary, identity, deferrable, nulls_equal;
};

struct catalog_table;
struct catalog_foreign {
    view name;
    const struct catalog_table *from, *to;
    int *from_columns, *to_columns, count;
    char on_delete, on_update; /* a: nothing, r: restrict, c: cascade, n: null, d: default */
    bool deferrable;
};

struct catalog_table {
    uint32_t oid;
    view schema, name, quoted; /* quoted: with its schema */
    struct catalog_column *columns;
    int count;
    struct catalog_index *indexes;
    size_t index_count;
    const struct catalog_index *key; /* tells rows apart; NULL: nothing does */
    view triggers;                   /* names of its row triggers, by commas; "": none */
    bool some_columns; /* descriptions may leave some out: a publication's list, rules */
    bool partitioned;  /* its rows are in other tables */
    bool named;        /* a change speaks of it (else: only a neighbour) */
};

struct catalog {
    struct arena arena;
    struct catalog_table *tables;
    size_t table_count;
    struct catalog_foreign *foreigns;
    size_t foreign_count;
};

/* May block. Tables that are gone are left out: no error. */
MUST_CHECK err catalog_read(struct pg *pg, struct relation *const *relations, size_t count,
                            struct catalog **out);
void catalog_free(struct catalog *catalog); /* accepts NULL */

/* By OID, else by name (the table was made anew, or is another database's): NULL, gone. */
const struct catalog_table *catalog_find(const struct catalog *catalog,
                                         const struct relation *relation);

/* For each column of the description its position in the table now, dropped ones too, -1 when
 * there is none. Columns go by their attribute numbers: what was renamed since is found, what
 * was made anew under an old name is not taken for the old one unless it must be. Where a
 * publication lists columns, by name alone. */
void catalog_match(const struct catalog_table *table, const struct relation *relation,
                   int *positions);

#endif
