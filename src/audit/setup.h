/* setup.h - what has to be in a database so that it can be captured; and its removal.
 *
 * A plan is a list of SQL statements, each with its reason: `--dry-run` prints it, `--by-hand`
 * gives it to somebody who may run it, setup_run() runs it. Plans look at the database and
 * hold only what is missing there, so running one twice changes nothing. Tables are published
 * by name, never FOR ALL TABLES: a table without identity in a publication with updates makes
 * the application's UPDATE fail.
 *
 *   keyed tables                 publication P       insert, update, delete, truncate
 *   keyless, SETUP_FULL          publication P       after ALTER TABLE .. REPLICA IDENTITY FULL
 *   keyless, SETUP_INSERT_ONLY   publication P_new   insert, truncate
 *   keyless, SETUP_SKIP          none
 *
 * A partitioned table is published as itself, not as its partitions. All calls may block; all
 * results live in the caller's arena. Source: PostgreSQL 31 (logical replication), 55.4. */
#ifndef TIDEMARK_AUDIT_SETUP_H
#define TIDEMARK_AUDIT_SETUP_H

#include "audit/change.h"
#include "audit/pg.h"

enum setup_keyless { SETUP_SKIP, SETUP_FULL, SETUP_INSERT_ONLY }; /* source_options.keyless */

struct setup_table {
    uint32_t oid;
    view schema, name;
    char identity;     /* replica identity: d n f i */
    bool has_key;      /* its updates and deletes say which row they meant */
    bool has_primary;  /* a primary key, whatever its identity is */
    bool partitioned;  /* its rows are in its leaves */
    bool unlogged;     /* not in the log at all */
    bool published;    /* in a publication of ours */
    bool refused;      /* keyless, and some publication has its updates: they fail */
    bool row_security; /* rules of row level security hold for it */
    int64_t rows;      /* reltuples, all leaves together; -1: never analysed */
    int64_t bytes;     /* with TOAST and all leaves */
    bool has_large;    /* values are stored out of line now */
    bool may_read;     /* SELECT is granted */
    bool is_owned;     /* may be altered and published by us */
    view owner;        /* role; empty: a superuser, whose rights nobody lends */
    bool skipped;      /* keyless, and so chosen */
    bool insert_only;  /* only inserts are published */
    bool makes_full;   /* gets REPLICA IDENTITY FULL */
};

struct setup_ask {
    const char *tables,
        *without; /* patterns schema.table by commas, * and ?; NULL: all, none */
    enum setup_keyless keyless;
    const char *slot, *publication;
};

/* The tables that are asked for, by schema and name; system schemas and our own are never. */
MUST_CHECK err setup_tables(struct pg *pg, const struct setup_ask *ask, struct arena *arena,
                            struct setup_table **out, size_t *count);
/* As pgoutput will describe it (key flags, no generated columns); one holder. */
MUST_CHECK err setup_describe(struct pg *pg, uint32_t oid, struct relation **out);

struct setup_step {
    const char *sql;
    const char *why;
};
struct setup_plan {
    struct setup_step *steps;
    size_t count;
    bool makes_slot; /* the last step: setup_run leaves it to setup_slot */
};
MUST_CHECK err setup_plan(struct pg *pg, const struct setup_ask *ask, struct arena *arena,
                          struct setup_plan *out);
MUST_CHECK err setup_drop_plan(struct pg *pg, const struct setup_ask *ask, struct arena *arena,
                               struct setup_plan *out);
/* Schema tidemark with context(json text), for people without a package; and its removal. */
MUST_CHECK err setup_context_plan(struct pg *pg, bool remove, struct arena *arena,
                                  struct setup_plan *out);
/* All in one transaction but the slot's step. BUSY: a table is locked for longer than an
 * application should wait behind us. */
MUST_CHECK err setup_run(struct pg *pg, const struct setup_plan *plan);
/* [{"sql", "why"}], and as a script with the reasons as comments. */
void setup_to_json(const struct setup_plan *plan, struct json_writer *j);
void setup_to_sql(const struct setup_plan *plan, struct writer *out);

/* What is said after publication_names in START_REPLICATION: '"p","p_new"', those there are. */
MUST_CHECK err setup_publications(struct pg *pg, const char *publication, struct writer *out);

/* Makes the slot on a replication connection. The snapshot can be imported until the next
 * command on that connection, or its end. */
struct setup_slot {
    uint64_t consistent_lsn;
    char snapshot[64]; /* for SET TRANSACTION SNAPSHOT */
};
MUST_CHECK err setup_slot(struct pg *replication, const char *slot, struct setup_slot *out);

/* How a slot is. NOT_FOUND: there is none. */
struct setup_slot_state {
    bool active;
    int64_t active_pid;
    uint64_t confirmed_lsn, restart_lsn;
    int64_t held_bytes; /* WAL between restart_lsn and now; -1: not known */
    int64_t safe_bytes; /* may still be written before the server drops it; -1: no limit */
    bool is_lost;       /* wal_status lost, or invalidated */
    char status[16];    /* wal_status: reserved, extended, unreserved, lost */
    char plugin[64], database[64];
};
MUST_CHECK err setup_slot_state(struct pg *pg, const char *slot, struct setup_slot_state *out);
/* Ends whoever uses it. NOT_FOUND is none of its errors. */
MUST_CHECK err setup_slot_drop(struct pg *pg, const char *slot);

#endif
