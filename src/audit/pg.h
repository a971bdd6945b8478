/* pg.h - PostgreSQL connections: queries, copies, and the replication stream.
 *
 * libpq is loaded when the first connection is opened (a server without sources never carries
 * it). Everything blocks: for threads of audit's own and HTTP_BLOCKS handlers. One thread a
 * connection; pg_cancel alone may come from another. Server errors come back as err kinds by
 * SQLSTATE class with "SQLSTATE: message (detail; hint)" as words; passwords are in none of
 * them. Text format throughout. Source: PostgreSQL 34 (libpq), 55.4 (streaming replication). */
#ifndef TIDEMARK_AUDIT_PG_H
#define TIDEMARK_AUDIT_PG_H

#include "base/base.h"

struct pg;
struct pg_rows;

struct pg_target {
    const char *url;         /* postgres://..., without password or with */
    const char *password;    /* NULL: the URL's, PGPASSWORD, ~/.pgpass */
    const char *application; /* application_name */
    bool replication;        /* replication=database, and the session settings capture needs */
    int64_t connect_ms;      /* 0: ten seconds */
};
MUST_CHECK err pg_open(const struct pg_target *target, struct pg **out);
/* A URL or a "host=.. password=.." text without its password, which comes apart (NULL: it
 * had none), percent signs undone. In the arena. */
void pg_url_split(struct arena *arena, view url, char **clean, char **password);
/* SET statements after which values have the text form of the stream (UTC, ISO, hex ...). */
extern const char pg_session_sql[];
void pg_close(struct pg *pg);                                    /* accepts NULL */
int pg_version(const struct pg *pg);                             /* 150018 */
const char *pg_parameter(const struct pg *pg, const char *name); /* ParameterStatus, or NULL */
bool pg_is_alive(const struct pg *pg);
const char *pg_sqlstate(const struct pg *pg); /* of the last error: "23505"; "" */
void pg_cancel(struct pg *pg);                /* what runs there now; any thread */
/* While a query is waited for, ends is asked a few times a second; true cancels the query:
 * ERR_CANCELLED. For what may wait for ever, as the making of a slot does. */
void pg_watch(struct pg *pg, bool (*ends)(void *self), void *self);
int pg_socket(const struct pg *pg);
int pg_backend_pid(const struct pg *pg); /* as the start of the connection told it */

/* Parameters are text, $1 ...; a null view is NULL. rows NULL: the result is not wanted.
 * Without parameters sql may be several statements (the simple protocol). */
MUST_CHECK err pg_query(struct pg *pg, const char *sql, const view *parameters, size_t count,
                        struct pg_rows **rows);
PRINTF_LIKE(2, 3) MUST_CHECK err pg_run(struct pg *pg, const char *format, ...);
size_t pg_row_count(const struct pg_rows *rows);
int pg_column_count(const struct pg_rows *rows);
int64_t pg_affected(const struct pg_rows *rows); /* of the command tag; -1: none */
const char *pg_column_name(const struct pg_rows *rows, int column);
uint32_t pg_column_type(const struct pg_rows *rows, int column);
view pg_value(const struct pg_rows *rows, size_t row, int column); /* null view: NULL */
void pg_rows_free(struct pg_rows *rows);                           /* accepts NULL */
void pg_quote_name(struct writer *out, view name);                 /* "a""b" */
void pg_quote_text(struct writer *out, view text); /* 'a''b', E'' where needed */

/* COPY ... TO STDOUT: each row's line without its break. */
MUST_CHECK err pg_copy_out(struct pg *pg, const char *sql, err (*each)(void *self, view line),
                           void *self);
/* COPY ... FROM STDIN: next gives pieces until it gives an empty one. */
MUST_CHECK err pg_copy_in(struct pg *pg, const char *sql, err (*next)(void *self, view *piece),
                          void *self);

struct pg_system { /* IDENTIFY_SYSTEM */
    char system_id[24];
    int32_t timeline;
    uint64_t wal_lsn;
};
MUST_CHECK err pg_identify(struct pg *pg, struct pg_system *out);

/* The stream of a replication connection. options: as after START_REPLICATION ... LOGICAL x. */
MUST_CHECK err pg_stream_start(struct pg *pg, const char *slot, uint64_t lsn,
                               const char *options);
struct pg_stream_item {
    bool is_data; /* XLogData; else a keepalive */
    bool reply_requested;
    uint64_t wal_start, wal_end;
    int64_t sent_us; /* since 1970 UTC */
    view payload;    /* valid until the next call */
};
/* TIMEOUT, without words, when nothing came within wait_ms (0: looks only); CLOSED: the server
 * ended it. */
MUST_CHECK err pg_stream_next(struct pg *pg, int64_t wait_ms, struct pg_stream_item *out);
MUST_CHECK err pg_stream_status(struct pg *pg, uint64_t written, uint64_t flushed,
                                bool reply_now);

#endif
