/* pg_inside.h - libpq, loaded when first used, and a connection's own struct; internal to
 * pg*.c. */
#ifndef TIDEMARK_AUDIT_PG_INSIDE_H
#define TIDEMARK_AUDIT_PG_INSIDE_H

#include <libpq-fe.h>

#include "audit/pg.h"

#define PG_CALLS(X) /* what we call of it, without PQ */                                       \
    X(connectdbParams)                                                                         \
    X(conninfoParse)                                                                           \
    X(conninfoFree)                                                                            \
    X(freemem)                                                                                 \
    X(finish)                                                                                  \
    X(status)                                                                                  \
    X(socket)                                                                                  \
    X(serverVersion)                                                                           \
    X(backendPID)                                                                              \
    X(parameterStatus)                                                                         \
    X(errorMessage)                                                                            \
    X(setNoticeProcessor)                                                                      \
    X(getCancel)                                                                               \
    X(freeCancel)                                                                              \
    X(cancel)                                                                                  \
    X(exec)                                                                                    \
    X(sendQuery)                                                                               \
    X(isBusy)                                                                                  \
    X(execParams)                                                                              \
    X(getResult)                                                                               \
    X(clear)                                                                                   \
    X(resultStatus)                                                                            \
    X(resultErrorField)                                                                        \
    X(resultErrorMessage)                                                                      \
    X(ntuples)                                                                                 \
    X(nfields)                                                                                 \
    X(fname)                                                                                   \
    X(ftype)                                                                                   \
    X(getvalue)                                                                                \
    X(getlength)                                                                               \
    X(getisnull)                                                                               \
    X(cmdTuples)                                                                               \
    X(getCopyData)                                                                             \
    X(putCopyData)                                                                             \
    X(putCopyEnd)                                                                              \
    X(consumeInput)                                                                            \
    X(setnonblocking)                                                                          \
    X(flush)

struct libpq {
    void *library;
#define X(name) __typeof__(&PQ##name) name;
    PG_CALLS(X)
#undef X
};

struct pg {
    struct libpq lib;
    PGconn *connection;
    PGcancel *cancel;
    char *received; /* by pg_stream_next, libpq's; the payload shown last points into it */
    char sqlstate[6];
    bool streams;
    bool (*ends)(void *self); /* pg_watch; NULL: nobody watches */
    void *ends_self;
};

struct pg_rows {
    struct libpq lib; /* of its own: rows may outlive their connection */
    PGresult *result;
};

/* The failure in fault_here; result may be NULL. Sets pg->sqlstate. */
err pg_fault(struct pg *pg, const PGresult *result);
/* Reads off what is still to come of a command; the first failure among it. */
MUST_CHECK err pg_drain(struct pg *pg);

/* pg_words.c */
err pg_kind(const char *sqlstate); /* "" or NULL: the connection is gone */
void pg_one_line(char *text);      /* breaks become spaces, none at the end */

#endif
