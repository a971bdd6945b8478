/* pg.c - PostgreSQL connections: libpq loaded, opened, asked, its failures in words.
 *
 * Settings go to the server as the start packet's options, so that a replication connection
 * formats values as all others of ours do. What an URL says beats our presets, but not our
 * replication settings: changes must mean the same whoever set up the URL.
 * libpq is given the URL without its password, so that none can be in its words.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/pg.h"

#include <dlfcn.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/pg_inside.h"

#define PG_LIBRARY "libpq.so.5"
#define CONNECT_MS 10000
#define WATCH_MS 200      /* how often a watched query asks whether it is to end */
#define PARAMETERS_MAX 64 /* of a query */

/* Of the walsender, which formats the values; and never to be timed out by a role's setting. */
static const char replication_settings[] =
    "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=3 "
    "-c bytea_output=hex -c lc_monetary=C -c statement_timeout=0 -c lock_timeout=0 "
    "-c idle_in_transaction_session_timeout=0";

static err load(struct libpq *lib)
{
    const struct {
        const char *name;
        void *at; /* of the function pointer to fill */
    } calls[] = {
#define X(name) {"PQ" #name, &lib->name},
        PG_CALLS(X)
#undef X
    };

    lib->library = dlopen(PG_LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!lib->library) {
        return fault(ERR_UNSUPPORTED, "PostgreSQL sources need %s (Debian: libpq5): %s",
                     PG_LIBRARY, dlerror());
    }
    for (size_t i = 0; i < COUNT(calls); i++) {
        void *found = dlsym(lib->library, calls[i].name);
        if (!found) {
            return fault(ERR_UNSUPPORTED, "%s lacks %s: it is too old", PG_LIBRARY,
                         calls[i].name);
        }
        memcpy(calls[i].at, &found, sizeof(found));
    }
    return OK;
}

static void on_notice(void *self, const char *text)
{
    (void)self;
    (void)text; /* what matters of them is in answers; none belongs on standard error */
}

err pg_fault(struct pg *pg, const PGresult *result)
{
    const char *state = result ? pg->lib.resultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    char words[FAULT_TEXT_MAX];

    snprintf(pg->sqlstate, sizeof(pg->sqlstate), "%s", state ? state : "");
    if (state) {
        const char *first = pg->lib.resultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        const char *detail = pg->lib.resultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
        const char *hint = pg->lib.resultErrorField(result, PG_DIAG_MESSAGE_HINT);
        snprintf(words, sizeof(words), "%s: %s%s%s%s%s%s", state, first ? first : "",
                 detail || hint ? " (" : "", detail ? detail : "", detail && hint ? "; " : "",
                 hint ? hint : "", detail || hint ? ")" : "");
    } else {
        const char *said = result ? pg->lib.resultErrorMessage(result) : "";
        snprintf(words, sizeof(words), "%s",
                 said && said[0] ? said : pg->lib.errorMessage(pg->connection));
    }
    pg_one_line(words);
    return fault(pg_kind(state), "%s", words);
}

/* libpq says why a connection failed in words alone. */
static err connect_fault(struct pg *pg)
{
    static const struct {
        const char *part;
        err kind;
    } rows[] = {
        {"password authentication failed", ERR_DENIED},
        {"no password supplied", ERR_DENIED},
        {"authentication failed", ERR_DENIED},
        {"pg_hba.conf", ERR_DENIED},
        {"permission denied", ERR_DENIED},
        {"must be superuser or replication role", ERR_DENIED},
        {"is not permitted to log in", ERR_DENIED},
        {"timeout expired", ERR_TIMEOUT},
        {"starting up", ERR_BUSY},
        {"shutting down", ERR_BUSY},
        {"recovery mode", ERR_BUSY},
        {"too many", ERR_BUSY},
        {"remaining connection slots", ERR_BUSY},
        {"number of requested standby connections exceeds", ERR_BUSY},
        {"does not exist", ERR_NOT_FOUND},
        {"invalid connection option", ERR_INVALID},
        {"invalid URI", ERR_INVALID},
        {"invalid percent-encoded", ERR_INVALID},
        {"invalid port", ERR_INVALID},
        {"unsupported startup parameter", ERR_UNSUPPORTED},
    };
    char words[FAULT_TEXT_MAX];

    snprintf(words, sizeof(words), "%s", pg->lib.errorMessage(pg->connection));
    pg_one_line(words);
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (strstr(words, rows[i].part)) {
            return fault(rows[i].kind, "%s", words);
        }
    }
    return fault(ERR_CLOSED, "%s", words[0] ? words : "no connection");
}

/* The options that the URL brings, and ours behind them. NULL: no URL that libpq can read. */
static char *options_of(struct libpq *lib, const char *url, const char *ours)
{
    char *why = NULL, *options = NULL;
    PQconninfoOption *parsed = lib->conninfoParse(url, &why);

    for (PQconninfoOption *o = parsed; o && o->keyword; o++) {
        if (!strcmp(o->keyword, "options")) {
            bool both = o->val && o->val[0] && ours[0];
            options = text_format("%s%s%s", o->val ? o->val : "", both ? " " : "", ours);
        }
    }
    if (parsed) {
        lib->conninfoFree(parsed);
    }
    lib->freemem(why);
    return options;
}

static err connect_to(struct pg *pg, const struct pg_target *target, const char *clean,
                      const char *password)
{
    char *options =
        options_of(&pg->lib, clean, target->replication ? replication_settings : "");
    char seconds[24];
    size_t count = 0;
    const char *names[16], *values[16];

    if (!options) { /* libpq's own words would show the URL with its password */
        return fault(ERR_INVALID,
                     "that is no URL of a database: postgres://user@host:port/name");
    }
    int64_t wait_ms = target->connect_ms ? target->connect_ms : CONNECT_MS;
    snprintf(seconds, sizeof(seconds), "%d", (int)((wait_ms + 999) / 1000));
#define PARAMETER(name, value) (names[count] = (name), values[count++] = (value))
    PARAMETER("connect_timeout", seconds);
    PARAMETER("keepalives_idle", "30");
    PARAMETER("keepalives_interval", "10");
    PARAMETER("keepalives_count", "3");
    PARAMETER("tcp_user_timeout", "30000");
    PARAMETER("dbname", clean);
    PARAMETER("client_encoding", "UTF8");
    if (options[0]) {
        PARAMETER("options", options);
    }
    if (target->application) {
        PARAMETER("application_name", target->application);
    }
    if (password) {
        PARAMETER("password", password);
    }
    if (target->replication) {
        PARAMETER("replication", "database");
    }
    PARAMETER(NULL, NULL);
#undef PARAMETER
    assert(count <= COUNT(names));
    pg->connection = pg->lib.connectdbParams(names, values, 1);
    free(options);
    return !pg->connection ? fault(ERR_BUSY, "no memory for a connection")
           : pg->lib.status(pg->connection) == CONNECTION_OK ? OK
                                                             : connect_fault(pg);
}

err pg_open(const struct pg_target *target, struct pg **out)
{
    struct pg *pg = xcalloc(1, sizeof(*pg));
    struct arena arena = {0};
    char *clean = NULL, *password = NULL;
    err e = load(&pg->lib);

    assert(target->url);
    pg_url_split(&arena, view_text(target->url), &clean, &password);
    e = e ? e : connect_to(pg, target, clean, target->password ? target->password : password);
    arena_fini(&arena);
    if (e) {
        pg_close(pg);
        return e;
    }
    pg->lib.setNoticeProcessor(pg->connection, on_notice, NULL);
    pg->cancel = pg->lib.getCancel(pg->connection);
    *out = pg;
    return OK;
}

void pg_close(struct pg *pg)
{
    if (!pg) {
        return;
    }
    if (pg->received) {
        pg->lib.freemem(pg->received);
    }
    if (pg->cancel) {
        pg->lib.freeCancel(pg->cancel);
    }
    if (pg->connection) {
        pg->lib.finish(pg->connection);
    }
    free(pg);
}

int pg_version(const struct pg *pg)
{
    return pg->lib.serverVersion(pg->connection);
}

const char *pg_parameter(const struct pg *pg, const char *name)
{
    return pg->lib.parameterStatus(pg->connection, name);
}

bool pg_is_alive(const struct pg *pg)
{
    return pg->lib.status(pg->connection) == CONNECTION_OK;
}

const char *pg_sqlstate(const struct pg *pg)
{
    return pg->sqlstate;
}

void pg_cancel(struct pg *pg)
{
    char why[256];

    if (pg->cancel) {
        pg->lib.cancel(pg->cancel, why, sizeof(why));
    }
}

int pg_socket(const struct pg *pg)
{
    return pg->lib.socket(pg->connection);
}

int pg_backend_pid(const struct pg *pg)
{
    return pg->lib.backendPID(pg->connection);
}

err pg_drain(struct pg *pg)
{
    err e = OK;

    for (PGresult *r; (r = pg->lib.getResult(pg->connection));) {
        ExecStatusType status = pg->lib.resultStatus(r);
        if (!e && status == PGRES_FATAL_ERROR) {
            e = pg_fault(pg, r);
        }
        pg->lib.clear(r);
        if (status == PGRES_COPY_OUT || status == PGRES_COPY_IN || status == PGRES_COPY_BOTH) {
            break; /* would come for ever; its owner ends the connection */
        }
    }
    return e;
}

static err take_result(struct pg *pg, PGresult *take_result, struct pg_rows **rows)
{
    ExecStatusType status = pg->lib.resultStatus(take_result); /* of NULL: fatal */
    err e = OK;

    pg->sqlstate[0] = 0;
    if (status == PGRES_COPY_OUT || status == PGRES_COPY_IN || status == PGRES_COPY_BOTH) {
        e = fault(ERR_UNSUPPORTED, "a query wants no COPY");
    } else if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK &&
               status != PGRES_EMPTY_QUERY) {
        e = pg_fault(pg, take_result);
    }
    if (e || !rows) {
        pg->lib.clear(take_result);
        return e;
    }
    *rows = xmalloc(sizeof(**rows));
    **rows = (struct pg_rows){.lib = pg->lib, .result = take_result};
    return OK;
}

void pg_watch(struct pg *pg, bool (*ends)(void *self), void *self)
{
    pg->ends = ends;
    pg->ends_self = self;
}

/* As PQexec, but not deaf. Cancelled again and again: the first time may come too early. */
static PGresult *exec_watched(struct pg *pg, const char *sql)
{
    PGresult *last = NULL;

    if (!pg->lib.sendQuery(pg->connection, sql)) {
        return NULL;
    }
    for (;;) {
        struct pollfd socket = {.fd = pg_socket(pg), .events = POLLIN};
        while (pg->lib.isBusy(pg->connection)) {
            if (poll(&socket, 1, WATCH_MS) == 0 && pg->ends(pg->ends_self)) {
                pg_cancel(pg);
            }
            if (!pg->lib.consumeInput(pg->connection)) {
                break; /* what comes now says why */
            }
        }
        PGresult *next = pg->lib.getResult(pg->connection);
        if (!next) {
            return last;
        }
        pg->lib.clear(last);
        last = next;
        ExecStatusType status = pg->lib.resultStatus(last);
        if (status == PGRES_COPY_OUT || status == PGRES_COPY_IN || status == PGRES_COPY_BOTH) {
            return last;
        }
    }
}

err pg_query(struct pg *pg, const char *sql, const view *parameters, size_t count,
             struct pg_rows **rows)
{
    const char *values[PARAMETERS_MAX];
    struct arena arena = {0};

    assert(count <= PARAMETERS_MAX);
    assert(!pg->streams);
    if (!count) {
        PGresult *result = pg->ends ? exec_watched(pg, sql) : pg->lib.exec(pg->connection, sql);
        return take_result(pg, result, rows);
    }
    for (size_t i = 0; i < count; i++) {
        values[i] = parameters[i].at ? arena_text(&arena, parameters[i]) : NULL;
    }
    PGresult *result =
        pg->lib.execParams(pg->connection, sql, (int)count, NULL, values, NULL, NULL, 0);
    arena_fini(&arena);
    return take_result(pg, result, rows);
}

err pg_run(struct pg *pg, const char *format, ...)
{
    va_list arguments;
    char *sql = NULL;

    va_start(arguments, format);
    int len = vasprintf(&sql, format, arguments);
    va_end(arguments);
    if (len < 0) {
        return fault(ERR_BUSY, "no memory for a statement");
    }
    err e = pg_query(pg, sql, NULL, 0, NULL);
    free(sql);
    return e;
}

size_t pg_row_count(const struct pg_rows *rows)
{
    return (size_t)rows->lib.ntuples(rows->result);
}

int pg_column_count(const struct pg_rows *rows)
{
    return rows->lib.nfields(rows->result);
}

int64_t pg_affected(const struct pg_rows *rows)
{
    int64_t count = -1;

    return view_to_int(view_text(rows->lib.cmdTuples(rows->result)), &count) ? -1 : count;
}

const char *pg_column_name(const struct pg_rows *rows, int column)
{
    return rows->lib.fname(rows->result, column);
}

uint32_t pg_column_type(const struct pg_rows *rows, int column)
{
    return rows->lib.ftype(rows->result, column);
}

view pg_value(const struct pg_rows *rows, size_t row, int column)
{
    assert(row < pg_row_count(rows));
    assert(column < pg_column_count(rows));
    if (rows->lib.getisnull(rows->result, (int)row, column)) {
        return (view){0};
    }
    return (view){(const uint8_t *)rows->lib.getvalue(rows->result, (int)row, column),
                  (size_t)rows->lib.getlength(rows->result, (int)row, column)};
}

void pg_rows_free(struct pg_rows *rows)
{
    if (rows) {
        rows->lib.clear(rows->result);
        free(rows);
    }
}
