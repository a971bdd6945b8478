/* envelope_inside.h - what envelope*.c share: a table prepared for writing; internal.
 *
 * A plan is made at a table's first change and holds its relation, so that the relation's
 * address names it for as long as the plan lives. */
#ifndef TIDEMARK_AUDIT_ENVELOPE_INSIDE_H
#define TIDEMARK_AUDIT_ENVELOPE_INSIDE_H

#include "audit/types.h"

#define HEADER_OLD_KEY "__debezium.oldkey"
#define HEADER_NEW_KEY "__debezium.newkey"
#define CONNECTOR "postgresql"

struct plan {
    struct relation *relation; /* held; NULL: of messages */
    struct type *types;        /* of each column */
    view *names;               /* of each column: "name": */
    bool keyed;                /* a key that is not all columns */
    view key_schema;           /* {"schema":{...},"payload": or empty */
    view value_schema;
    view table;          /* source block from "schema" up to before txId's value */
    struct writer block; /* of it all between the two LSNs, of transaction block_xid */
    uint32_t block_xid;
    struct arena arena;
};

struct envelope_plans {
    struct map by_relation; /* struct plan, keyed by the plan's relation pointer */
    struct plan *messages;
    view source_head; /* source block up to before its times */
    view source_db;   /* from "db" up to before sequence's text */
    struct type_modes modes;
    struct arena arena;
    /* What is the same for all changes of a transaction, or of a moment. */
    struct writer source; /* source block up to its first LSN, of these: */
    int64_t source_us;
    uint64_t source_commit;
    const char *source_snapshot;
    struct writer ends; /* the header's "commit" and "end", of these: */
    uint64_t ends_commit, ends_end;
    struct writer now; /* the times of when it was processed, of this: */
    int64_t now_ms;
    /* of the change at hand */
    struct writer key, old_key, value, header, exact_before, exact_after, unknown_before,
        unknown_after;
};

/* Modes that differ from the usual ones stand in the header by these names. */
struct mode_row {
    const char *name;
    const char *const *choices; /* the usual one first */
    size_t count;
    size_t offset; /* in struct type_modes, of an enum */
};
#define MODE_ROWS 5
extern const struct mode_row mode_rows[MODE_ROWS];
unsigned mode_get(const struct type_modes *modes, const struct mode_row *row);
bool mode_set(struct type_modes *modes, const struct mode_row *row, view json_text);

struct plan *plan_of(struct envelope_out *out, const struct envelope_options *options,
                     struct relation *relation);
/* The source block, all of it. */
void source_write(struct envelope_plans *plans, struct plan *plan,
                  const struct envelope_source *source, const struct change_place *place,
                  struct writer *out);
/* "ts_ms":...,"ts_us":...,"ts_ns":... */
void times_write(int64_t micros, struct writer *out);
/* Another record, copied to the arena. A null value: a tombstone. */
struct record *record_add(struct envelope_out *out, int64_t now_ms, view key, view value);
/* {"schema":{...},"payload": of a struct with these fields; for schemas on. */
struct schema_field {
    const char *name, *type;
    bool optional;
};
void struct_schema(struct json_writer *j, const struct schema_field *fields, size_t count);

#endif
