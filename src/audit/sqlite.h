/* sqlite.h - SQLite, for views and for sorting what does not fit into memory; internal.
 *
 * The library is loaded when the first database is opened (a server without sources never
 * carries it). Binding cannot fail where it stands: a failure sticks to the statement and comes
 * out of sqlite_step. One thread at a time per database; two threads want two databases. */
#ifndef TIDEMARK_AUDIT_SQLITE_H
#define TIDEMARK_AUDIT_SQLITE_H

#include "base/base.h"

struct sqlite;           /* an open database */
struct sqlite_statement; /* prepared, of one database */

enum sqlite_flags {
    SQLITE_READ_ONLY = 1u << 0, /* it must be there */
    SQLITE_FORGETFUL = 1u << 1, /* no journal, no flushing: worthless after a crash */
};

/* path ":memory:" or "" (a temporary file that is gone at close) work as in SQLite. cache_bytes
 * bounds its page cache. A file that is no database is CORRUPT, here or at the first use. */
MUST_CHECK err sqlite_open(const char *path, unsigned flags, size_t cache_bytes,
                           struct sqlite **out);
void sqlite_close(struct sqlite *db); /* after its statements; accepts NULL */
/* One or more statements without results or parameters. */
MUST_CHECK err sqlite_run(struct sqlite *db, const char *sql);
PRINTF_LIKE(2, 3) MUST_CHECK err sqlite_runf(struct sqlite *db, const char *format, ...);
int64_t sqlite_changed(const struct sqlite *db); /* rows, by the last statement */
int64_t sqlite_last_row(const struct sqlite *db);

MUST_CHECK err sqlite_prepare(struct sqlite *db, const char *sql,
                              struct sqlite_statement **out);
void sqlite_finish(struct sqlite_statement *statement); /* accepts NULL */
/* Parameters count from 1. Views must stay until the next sqlite_reset; a null view is NULL. */
void sqlite_bind_int(struct sqlite_statement *s, int parameter, int64_t value);
void sqlite_bind_text(struct sqlite_statement *s, int parameter, view text);
void sqlite_bind_blob(struct sqlite_statement *s, int parameter, view bytes);
/* *row false: there is no more; the statement is reset then, and after a failure. */
MUST_CHECK err sqlite_step(struct sqlite_statement *s, bool *row);
MUST_CHECK err sqlite_done(struct sqlite_statement *s); /* to its end, rows are passed over */
void sqlite_reset(struct sqlite_statement *s);
/* Columns count from 0. Views are valid until the next step or reset; NULL is a null view. */
int64_t sqlite_int(struct sqlite_statement *s, int column);
view sqlite_bytes(struct sqlite_statement *s, int column); /* TEXT or BLOB */

#endif
