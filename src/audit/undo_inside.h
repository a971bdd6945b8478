/* undo_inside.h - what the files of undo share; internal to them. */
#ifndef TIDEMARK_AUDIT_UNDO_INSIDE_H
#define TIDEMARK_AUDIT_UNDO_INSIDE_H

#include "audit/undo.h"

struct pg_rows;

/* undo_notes.c: notes live in the plan. row NULL: about the table. */
PRINTF_LIKE(4, 5)
struct undo_note *undo_conflict(struct undo_plan *plan, enum undo_note_kind kind,
                                const struct undo_row *row, const char *format, ...);
PRINTF_LIKE(4, 5)
struct undo_note *undo_warning(struct undo_plan *plan, enum undo_note_kind kind,
                               const struct undo_row *row, const char *format, ...);
PRINTF_LIKE(3, 4)
void undo_note_fix(struct undo_plan *plan, struct undo_note *note, const char *format, ...);
void undo_note_column(struct undo_plan *plan, struct undo_note *note, view column);
void undo_note_table(struct undo_note *note, view schema, view table);
/* A row for people: "public.orders 42". In the plan's arena. */
view undo_row_words(struct undo_plan *plan, const struct undo_row *row);
/* {"id":"1"} and "1" of the row's key, or of all its columns when it has none. */
void undo_key_json(const struct catalog_table *table, const struct value *image,
                   struct json_writer *j);

/* undo_fold.c: rows of the plan from the changes. */
void undo_fold(struct undo_plan *plan, const struct change *const *changes, size_t count);
enum undo_kind undo_row_kind(const struct undo_row *row);
bool value_is(const struct value *a, const struct value *b); /* both known, and the same */
bool value_is_known(const struct value *value);              /* a text or null */

/* undo_missing.c: what rows lack and the table does not take. */
void undo_examine(struct undo_plan *plan);

/* undo_order.c: plan->rows in the order they are to be executed, parks and posts set. */
void undo_order(struct undo_plan *plan);
/* Values of some columns of an image as one key; false: one is null or not known. */
bool undo_values(const struct value *image, const int *columns, int count, struct writer *out);

/* undo_sql.c: statements. */
void undo_sql(struct undo_plan *plan);
void undo_sql_value(const struct catalog_column *column, const struct value *value,
                    struct writer *out);
/* "c" = 'x' AND ..., by the columns of an index. */
void undo_sql_where(const struct catalog_table *table, const int *columns, int count,
                    const struct value *image, struct writer *out);

/* What is under way in the database; by the files that look at it and change it. */
struct undo_running {
    struct pg *pg;
    struct undo_plan *plan;
    const struct undo_how *how;
    struct map rows;      /* table and key as the changes left it -> struct undo_row */
    struct map *provided; /* by foreign key: values that the plan brings back -> itself */
    bool adjusted;        /* images were put into the form that types have now */
};

/* undo_look.c: reading rows. */
/* A query that may fail without ending the transaction: *rows is NULL then. */
MUST_CHECK err undo_try(struct undo_running *run, const char *sql, const view *parameters,
                        size_t count, struct pg_rows **rows);
/* The row with the image's key, by the table's columns, in the arena; NULL: none. */
MUST_CHECK err undo_look(struct undo_running *run, const struct catalog_table *table,
                         const struct value *image, bool lock, struct value **found);
/* Is now what was meant, if need be in the form its type gives it now? *fits false: the type
 * does not take it at all. meant may be changed to that form. */
MUST_CHECK err undo_same(struct undo_running *run, const struct catalog_column *column,
                         struct value *meant, const struct value *now, bool *same, bool *fits);
/* The row of the plan that holds this key, as the changes left it; NULL: none. */
struct undo_row *undo_planned(const struct undo_running *run, const struct catalog_table *table,
                              const struct value *image);
bool undo_touches(const struct undo_row *row, const int *columns, int count);

/* undo_check.c: locks all rows and finds what stands against the plan. */
MUST_CHECK err undo_check(struct undo_running *run);
/* undo_joined.c: rows at the other end of foreign keys. */
MUST_CHECK err undo_check_parents(struct undo_running *run, const struct undo_row *row);
MUST_CHECK err undo_check_children(struct undo_running *run, const struct undo_row *row);
/* undo_result.c: what became of it: rows that came out otherwise, sequences left behind. */
MUST_CHECK err undo_check_result(struct undo_running *run);

#endif
