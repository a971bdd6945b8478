/* change.h - one change of one row, as the database told it; what everything in audit/ speaks.
 *
 * A relation is a table as it was described at some moment: immutable, counted, with a version
 * that the source's ledger knows. A change borrows its relation and its views; who keeps one
 * past the call that gave it copies it (change_copy). Values are the server's own text output,
 * byte for byte: nothing is rounded, and what the server did not send is UNKNOWN, never null.
 * Pure functions, any thread. Source: PostgreSQL 53.5, 55.9 (logical replication messages). */
#ifndef TIDEMARK_AUDIT_CHANGE_H
#define TIDEMARK_AUDIT_CHANGE_H

#include "base/base.h"

#define COLUMNS_MAX 1664 /* of a relation: PostgreSQL's own limit on a result */
#define CONTEXT_BYTES_MAX (1 << 20)

enum change_kind {
    CHANGE_CREATE,
    CHANGE_UPDATE,
    CHANGE_DELETE,
    CHANGE_TRUNCATE,
    CHANGE_READ,    /* a row of a snapshot */
    CHANGE_MESSAGE, /* pg_logical_emit_message: prefix and content */
};
const char *change_kind_name(enum change_kind kind); /* create, update, delete, truncate ... */

enum value_kind {
    VALUE_ABSENT, /* not part of this image: no column of the identity */
    VALUE_NULL,
    VALUE_TEXT,
    VALUE_UNKNOWN, /* stored out of line and unchanged (TOAST): the server did not send it */
};
struct value {
    enum value_kind kind;
    view text; /* VALUE_TEXT */
};

struct column {
    view name;
    uint32_t type;    /* OID, of a domain's base type as the server gave it */
    int32_t modifier; /* atttypmod; -1: none */
    bool key;         /* part of the replica identity */
    view type_name;   /* as format_type() writes it without modifier; null: builtin, by OID */
};

struct relation {
    _Atomic uint32_t holders;
    uint32_t oid;
    uint32_t version; /* in the source's ledger, from 1; 0: not recorded yet */
    char identity;    /* replica identity: d(efault) n(othing) f(ull) i(ndex) */
    view schema, name;
    struct column *columns;
    int count;
    struct arena arena; /* owns all views of it */
};
/* A copy with one holder; source's views may go. */
struct relation *relation_new(const struct relation *source);
struct relation *relation_hold(struct relation *relation);
void relation_drop(struct relation *relation);
bool relation_is(const struct relation *a, const struct relation *b); /* same description */
int relation_column(const struct relation *relation, view name);      /* -1: none */
/* One JSON object, as the ledger keeps it (docs/formats.md), and back. */
void relation_to_json(const struct relation *relation, struct json_writer *j);
MUST_CHECK err relation_from_json(const struct json *json, struct relation **out);

/* Where in the database's log: total order is (commit_lsn, seq). */
struct change_place {
    uint32_t xid;
    uint64_t lsn;         /* of the change itself */
    uint64_t commit_lsn;  /* of its transaction's commit record; of a snapshot: its point */
    uint64_t end_lsn;     /* behind that record: where a restart goes on; 0: not told yet */
    int64_t committed_us; /* since 1970 UTC */
    int64_t seq;          /* in its transaction, from 0; messages are counted apart */
};

struct change {
    enum change_kind kind;
    struct relation *relation;    /* borrowed; NULL: a message */
    struct value *before, *after; /* relation->count of them, or NULL: no such image */
    struct change_place place;
    view context;                   /* a JSON object; null view: none came with it */
    view prefix, content;           /* CHANGE_MESSAGE */
    bool cascade, restart_identity; /* CHANGE_TRUNCATE */
    bool recalled; /* before is what the change before left, not what the server sent */
};

/* Deep copy into the arena, relation held by nobody new. */
struct change *change_copy(struct arena *arena, const struct change *change);
/* The columns that tell rows apart: flagged key, or with identity full the primary key when
 * known, else all. The row's key as text: "42", or "a,b" with , and \ escaped by \. */
void change_key_text(const struct change *change, struct writer *out);
/* Did the column change? UNKNOWN on one side only: no; both images needed. */
bool change_is_changed(const struct change *change, int column);
/* An update with old values missing: all, or all but the identity's. */
bool change_lacks_before(const struct change *change);

#define LSN_TEXT_BYTES 20
void lsn_text(uint64_t lsn, char out[LSN_TEXT_BYTES]); /* "16/B374D848" */
MUST_CHECK err lsn_parse(view text, uint64_t *out);

#endif
