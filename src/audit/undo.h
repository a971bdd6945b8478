/* undo.h - taking changes back: a plan of statements, its conflicts, and running it.
 *
 *   changes --fold--> net change per row --order--> steps --run--> checked, then committed
 *
 * A plan is pure: changes and the catalog in, steps and what stands against them out. Running
 * it locks every row it speaks of, compares each with what the changes left behind, executes
 * the steps in one transaction and looks at the result; without commit it is all rolled back,
 * which is how conflicts that only the database can tell are found beforehand. Any conflict
 * rolls everything back: nothing is ever half undone. Later changes of other columns stay.
 * Everything of a plan lives in its arena. One thread a plan; the catalog outlives it.
 * Order and conflicts: docs/audit.md, "Undo". */
#ifndef TIDEMARK_AUDIT_UNDO_H
#define TIDEMARK_AUDIT_UNDO_H

#include "audit/catalog.h"

#define UNDO_CHANGES_MAX 100000 /* that one plan takes */
#define UNDO_NOTES_MAX 200      /* conflicts told, and warnings; all are counted */

#define UNDO_NOTES(X) /* why a plan cannot run, or what to know when it can */                 \
    X(CHANGED_SINCE, "changed_since")                                                          \
    X(ROW_MISSING, "row_missing")                                                              \
    X(KEY_EXISTS, "key_exists")                                                                \
    X(UNIQUE_VIOLATION, "unique_violation")                                                    \
    X(FOREIGN_KEY_MISSING, "foreign_key_missing")                                              \
    X(WOULD_CASCADE, "would_cascade")                                                          \
    X(COLUMN_DROPPED, "column_dropped")                                                        \
    X(COLUMN_RENAMED, "column_renamed")                                                        \
    X(COLUMN_RETYPED, "column_retyped")                                                        \
    X(NOT_NULL_ADDED, "not_null_added")                                                        \
    X(CHECK_FAILED, "check_failed")                                                            \
    X(BEFORE_IMAGE_MISSING, "before_image_missing")                                            \
    X(TRUNCATE_HAS_NO_ROW_IMAGES, "truncate_has_no_row_images")                                \
    X(TRIGGER_ALTERED_RESULT, "trigger_altered_result")                                        \
    X(TABLE_MISSING, "table_missing")                                                          \
    X(NOT_PERMITTED, "not_permitted")                                                          \
    X(REFUSED, "refused")                                                                      \
    X(SEQUENCE_BEHIND, "sequence_behind")

enum undo_note_kind {
#define X(name, text) UNDO_##name,
    UNDO_NOTES(X)
#undef X
};
const char *undo_note_name(enum undo_note_kind kind);

struct undo_note { /* a conflict, or a warning */
    enum undo_note_kind kind;
    view schema, table;
    view key;            /* JSON object {"id":"1"}; null: of the table as a whole */
    view key_text;       /* as change_key_text writes it; for references */
    const view *columns; /* it is about */
    size_t column_count;
    view value;      /* that is in the way or missing; null: none */
    view dependents; /* JSON array [{"schema","table","key"}]; null: none */
    view since;      /* JSON object: the later change of the row; null: none known */
    view words, fix;
};

enum undo_kind { UNDO_INSERT, UNDO_UPDATE, UNDO_DELETE };
const char *undo_kind_name(enum undo_kind kind); /* insert, update, delete */

struct undo_row { /* the net change of one row, and how it is taken back */
    const struct catalog_table *table;
    const view *names;            /* of its columns, as they were called when last captured */
    struct value *before, *after; /* by the table's columns; NULL: was not, is not there */
    struct value **between;       /* images it had on the way, newest first; NULL-terminated */
    size_t between_count;
    int64_t at;             /* the place of its last change among the changes */
    bool *set;              /* UPDATE: columns that are put back */
    bool *cascaded;         /* of these: by a foreign key's own action, not by us; or NULL */
    struct value *park;     /* columns that get another value on the way (VALUE_ABSENT: not) */
    bool *post;             /* INSERT, UPDATE: columns that are null until all else is done */
    bool stopped;           /* a conflict was found: it is not executed */
    view name;              /* among the rows while they are folded */
    struct undo_row *chain; /* of the same name */
};

enum undo_part { UNDO_WHOLE, UNDO_PARK, UNDO_POST };
struct undo_step { /* one statement; affects one row */
    enum undo_kind kind;
    enum undo_part part;
    struct undo_row *row;
    view sql;
};

struct undo_plan {
    struct arena arena;
    const struct catalog *catalog;
    size_t change_count;
    struct undo_row **rows;
    size_t row_count;
    struct undo_step *steps;
    size_t step_count;
    struct undo_note *conflicts, *warnings; /* of UNDO_NOTES_MAX */
    size_t conflict_count, warning_count;   /* that there are; may be more than told */
};

/* Changes in the order of commits. What cannot be planned is a conflict of the plan. */
struct undo_plan *undo_plan_new(const struct change *const *changes, size_t count,
                                const struct catalog *catalog);
void undo_plan_free(struct undo_plan *plan); /* accepts NULL */

struct undo_how {
    bool commit;
    bool without_triggers; /* session_replication_role = replica: no triggers, no own checks */
    view context;          /* JSON object that becomes the context of what is written */
    int64_t lock_ms, statement_ms; /* 0: five seconds, a minute */
};
struct undo_outcome {
    bool committed;
    uint32_t xid; /* of the transaction that took it back */
};
/* Adds the conflicts and warnings of the database to the plan. OK also with conflicts, then
 * nothing was committed. An err: it could not be tried, or was lost on the way; BUSY: a row was
 * locked for too long. May block. */
MUST_CHECK err undo_run(struct pg *pg, struct undo_plan *plan, const struct undo_how *how,
                        struct undo_outcome *out);

/* {"steps":[...],"conflicts":[...],"warnings":[...]} into an object that is open. */
void undo_to_json(const struct undo_plan *plan, struct json_writer *j);

#endif
