/* sqlite.c - a thin layer over SQLite's C interface, loaded when first used.
 *
 * Invariant: every result code of the library becomes an err with the library's own words; no
 * code of it is left unread. SPDX-License-Identifier: Apache-2.0 */
#include "audit/sqlite.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SQLITE_LIBRARY "libsqlite3.so.0"
#define BUSY_MS 5000 /* another process looks into a view: it is not for long */

#define SQLITE_CALLS(X) /* what we call of it, without sqlite3_ */                             \
    X(open_v2)                                                                                 \
    X(close)                                                                                   \
    X(busy_timeout)                                                                            \
    X(exec)                                                                                    \
    X(errmsg)                                                                                  \
    X(errstr)                                                                                  \
    X(changes64)                                                                               \
    X(last_insert_rowid)                                                                       \
    X(prepare_v2)                                                                              \
    X(finalize)                                                                                \
    X(bind_int64)                                                                              \
    X(bind_text64)                                                                             \
    X(bind_blob64)                                                                             \
    X(bind_null)                                                                               \
    X(step)                                                                                    \
    X(reset)                                                                                   \
    X(clear_bindings)                                                                          \
    X(column_int64)                                                                            \
    X(column_blob)                                                                             \
    X(column_bytes)                                                                            \
    X(column_type)

struct sqlite_calls {
#define X(name) __typeof__(&sqlite3_##name) name;
    SQLITE_CALLS(X)
#undef X
};

struct sqlite {
    struct sqlite_calls call; /* 22 pointers: cheaper to copy than to share */
    sqlite3 *db;
    char *path; /* for messages */
};

struct sqlite_statement {
    struct sqlite *db;
    sqlite3_stmt *at;
    int bad; /* the first failure of a bind; 0: none */
};

static err load(struct sqlite_calls *calls)
{
    const struct {
        const char *name;
        void *at; /* of the function pointer to fill */
    } rows[] = {
#define X(name) {"sqlite3_" #name, &calls->name},
        SQLITE_CALLS(X)
#undef X
    };
    void *library = dlopen(SQLITE_LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

    if (!library) {
        return fault(ERR_IO, "views of changes need %s (Debian: libsqlite3-0): %s",
                     SQLITE_LIBRARY, dlerror());
    }
    for (size_t i = 0; i < COUNT(rows); i++) {
        void *found = dlsym(library, rows[i].name);
        if (!found) {
            dlclose(library);
            return fault(ERR_IO, "%s lacks %s: it is too old", SQLITE_LIBRARY, rows[i].name);
        }
        memcpy(rows[i].at, &found, sizeof(found));
    }
    dlclose(library); /* RTLD_NODELETE: it stays */
    return OK;
}

static err kind_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_FULL:
        return ERR_FULL;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_SCHEMA:
    case SQLITE_FORMAT:
        return ERR_CORRUPT;
    case SQLITE_CANTOPEN:
        return ERR_NOT_FOUND;
    case SQLITE_CONSTRAINT:
        return ERR_EXISTS;
    case SQLITE_TOOBIG:
        return ERR_TOO_LARGE;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ERR_DENIED;
    default:
        return ERR_IO;
    }
}

static err failed(const struct sqlite *db, int code)
{
    return fault(kind_of(code), "%s: SQLite: %s (%d)", db->path[0] ? db->path : "(temporary)",
                 db->db ? db->call.errmsg(db->db) : db->call.errstr(code), code);
}

err sqlite_open(const char *path, unsigned flags, size_t cache_bytes, struct sqlite **out)
{
    struct sqlite *db = xcalloc(1, sizeof(*db));
    int how = flags & SQLITE_READ_ONLY ? SQLITE_OPEN_READONLY
                                       : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    err e = load(&db->call);

    assert(path);
    db->path = xstrdup(path);
    if (!e) {
        int code = db->call.open_v2(path, &db->db, how | SQLITE_OPEN_NOMUTEX, NULL);
        e = code == SQLITE_OK ? OK : failed(db, code);
    }
    if (!e) {
        db->call.busy_timeout(db->db, BUSY_MS);
        e = sqlite_runf(db, "PRAGMA cache_size = -%zu", MAX(cache_bytes / 1024, (size_t)64));
    }
    if (!e && flags & SQLITE_FORGETFUL) {
        e = sqlite_run(db, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF");
    }
    if (e) {
        sqlite_close(db);
        return e;
    }
    *out = db;
    return OK;
}

void sqlite_close(struct sqlite *db)
{
    if (!db) {
        return;
    }
    if (db->db) {
        int code = db->call.close(db->db);
        assert(code != SQLITE_BUSY); /* a statement of it was never finished */
    }
    free(db->path);
    free(db);
}

err sqlite_run(struct sqlite *db, const char *sql)
{
    int code = db->call.exec(db->db, sql, NULL, NULL, NULL);

    return code == SQLITE_OK ? OK : failed(db, code);
}

err sqlite_runf(struct sqlite *db, const char *format, ...)
{
    char *sql = NULL;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&sql, format, args);
    va_end(args);
    assert(len >= 0);
    err e = sqlite_run(db, sql);
    free(sql);
    return e;
}

int64_t sqlite_changed(const struct sqlite *db)
{
    return db->call.changes64(db->db);
}

int64_t sqlite_last_row(const struct sqlite *db)
{
    return db->call.last_insert_rowid(db->db);
}

err sqlite_prepare(struct sqlite *db, const char *sql, struct sqlite_statement **out)
{
    sqlite3_stmt *at = NULL;
    int code = db->call.prepare_v2(db->db, sql, -1, &at, NULL);

    if (code != SQLITE_OK) {
        return failed(db, code);
    }
    assert(at); /* there was a statement in it */
    *out = xcalloc(1, sizeof(**out));
    (*out)->db = db;
    (*out)->at = at;
    return OK;
}

void sqlite_finish(struct sqlite_statement *statement)
{
    if (statement) {
        statement->db->call.finalize(statement->at); /* repeats a failure that was given */
        free(statement);
    }
}

static void note(struct sqlite_statement *s, int code)
{
    s->bad = s->bad ? s->bad : code;
}

void sqlite_bind_int(struct sqlite_statement *s, int parameter, int64_t value)
{
    note(s, s->db->call.bind_int64(s->at, parameter, value));
}

void sqlite_bind_text(struct sqlite_statement *s, int parameter, view text)
{
    note(s, text.at ? s->db->call.bind_text64(s->at, parameter, (const char *)text.at, text.len,
                                              SQLITE_STATIC, SQLITE_UTF8)
                    : s->db->call.bind_null(s->at, parameter));
}

void sqlite_bind_blob(struct sqlite_statement *s, int parameter, view bytes)
{
    note(s, bytes.at
                ? s->db->call.bind_blob64(s->at, parameter, bytes.at, bytes.len, SQLITE_STATIC)
                : s->db->call.bind_null(s->at, parameter));
}

err sqlite_step(struct sqlite_statement *s, bool *row)
{
    int code = s->bad ? s->bad : s->db->call.step(s->at);
    err e = OK;

    *row = code == SQLITE_ROW;
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        e = failed(s->db, code);
    }
    if (code != SQLITE_ROW) {
        sqlite_reset(s);
    }
    return e;
}

err sqlite_done(struct sqlite_statement *s)
{
    bool row = true;
    err e = OK;

    while (!e && row) {
        e = sqlite_step(s, &row);
    }
    return e;
}

void sqlite_reset(struct sqlite_statement *s)
{
    s->db->call.reset(s->at); /* repeats a failure that was given */
    s->db->call.clear_bindings(s->at);
    s->bad = 0;
}

int64_t sqlite_int(struct sqlite_statement *s, int column)
{
    return s->db->call.column_int64(s->at, column);
}

view sqlite_bytes(struct sqlite_statement *s, int column)
{
    if (s->db->call.column_type(s->at, column) == SQLITE_NULL) {
        return (view){0};
    }
    const void *at = s->db->call.column_blob(s->at, column);
    size_t len = (size_t)s->db->call.column_bytes(s->at, column);
    return at ? (view){at, len} : VIEW(""); /* the library gives NULL for no bytes */
}
