/* shell_pq.c - libpq makes the connection (TLS, passwords, services); then its socket is ours.
 *
 * Once a connection is made and idle libpq has nothing buffered, so frames may be read and
 * written past it; it is called again only to close. With TLS the same goes through the
 * OpenSSL object that libpq gives out.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "cli/shell.h"

#define PQ_LIBRARY "libpq.so.5"
#define TLS_LIBRARY "libssl.so.3"
#define TLS_WANTS_READ 2 /* SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE */
#define TLS_WANTS_WRITE 3
#define TLS_IS_OVER 6 /* SSL_ERROR_ZERO_RETURN */

struct pq {
    void *library, *tls_library;
    PGconn *(*connectdbParams)(const char *const *, const char *const *, int);
    ConnStatusType (*status)(const PGconn *);
    char *(*errorMessage)(const PGconn *);
    void (*finish)(PGconn *);
    int (*socket)(const PGconn *);
    int (*setnonblocking)(PGconn *, int);
    const char *(*parameterStatus)(const PGconn *, const char *);
    int (*serverVersion)(const PGconn *);
    char *(*db)(const PGconn *);
    char *(*user)(const PGconn *);
    PGcancel *(*getCancel)(PGconn *);
    void (*freeCancel)(PGcancel *);
    int (*cancel)(PGcancel *, char *, int);
    void *(*getssl)(PGconn *);
    int (*tls_read)(void *, void *, int);
    int (*tls_write)(void *, const void *, int);
    int (*tls_error)(const void *, int);
};

static err find(void *library, const char *file, const char *name, void *at)
{
    void *found = dlsym(library, name);

    if (!found) {
        return fault(ERR_UNSUPPORTED, "%s lacks %s: it is too old", file, name);
    }
    memcpy(at, &found, sizeof(found));
    return OK;
}

err pq_load(struct pq **out)
{
    struct pq *pq = xcalloc(1, sizeof(*pq));
    const struct {
        const char *name;
        void *at;
    } calls[] = {
        {"PQconnectdbParams", &pq->connectdbParams},
        {"PQstatus", &pq->status},
        {"PQerrorMessage", &pq->errorMessage},
        {"PQfinish", &pq->finish},
        {"PQsocket", &pq->socket},
        {"PQsetnonblocking", &pq->setnonblocking},
        {"PQparameterStatus", &pq->parameterStatus},
        {"PQserverVersion", &pq->serverVersion},
        {"PQdb", &pq->db},
        {"PQuser", &pq->user},
        {"PQgetCancel", &pq->getCancel},
        {"PQfreeCancel", &pq->freeCancel},
        {"PQcancel", &pq->cancel},
        {"PQgetssl", &pq->getssl},
    };
    err e = OK;

    pq->library = dlopen(PQ_LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!pq->library) {
        e = fault(ERR_UNSUPPORTED, "a shell needs %s (Debian: libpq5): %s", PQ_LIBRARY,
                  dlerror());
    }
    for (size_t i = 0; !e && i < COUNT(calls); i++) {
        e = find(pq->library, PQ_LIBRARY, calls[i].name, calls[i].at);
    }
    if (e) {
        pq_free(pq);
        return e;
    }
    *out = pq;
    return OK;
}

void pq_free(struct pq *pq)
{
    if (pq && pq->tls_library) {
        dlclose(pq->tls_library);
    }
    if (pq && pq->library) {
        dlclose(pq->library);
    }
    free(pq);
}

/* Only where libpq speaks TLS; it has the library loaded already, so this finds the same. */
static err load_tls(struct pq *pq)
{
    if (pq->tls_library) {
        return OK;
    }
    pq->tls_library = dlopen(TLS_LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!pq->tls_library) {
        return fault(ERR_UNSUPPORTED, "a shell over TLS needs %s (Debian: libssl3): %s",
                     TLS_LIBRARY, dlerror());
    }
    err e = find(pq->tls_library, TLS_LIBRARY, "SSL_read", &pq->tls_read);
    e = e ? e : find(pq->tls_library, TLS_LIBRARY, "SSL_write", &pq->tls_write);
    return e ? e : find(pq->tls_library, TLS_LIBRARY, "SSL_get_error", &pq->tls_error);
}

/* libpq ends its sentences with line breaks. */
static err refused(struct pq *pq, PGconn *connection)
{
    view words = view_trim(view_text(pq->errorMessage(connection)));

    return fault(ERR_IO, "the database does not let the shell in: %.*s", VIEW_ARG(words));
}

err pq_connect(struct pq *pq, const struct shell *shell, const struct pgwire_start *start,
               struct pq_link *out)
{
    char *application = text_of(start->application.len ? start->application : VIEW("psql"));
    char *encoding = text_of(start->encoding.len ? start->encoding : VIEW("UTF8"));
    const char *const names[] = {"dbname",  "password",   "application_name", "client_encoding",
                                 "options", "gssencmode", "connect_timeout",  NULL};
    const char *const values[] = {shell->url,
                                  shell->password,
                                  application,
                                  encoding,
                                  "-c default_transaction_read_only=on",
                                  "disable",
                                  "10",
                                  NULL};
    err e = OK;

    *out = (struct pq_link){.link = {.fd = -1, .pq = pq}};
    PGconn *connection = pq->connectdbParams(names, values, 1);
    if (pq->status(connection) != CONNECTION_OK) {
        e = refused(pq, connection);
    } else if (pq->serverVersion(connection) < 130000) {
        e = fault(ERR_UNSUPPORTED, "shells want PostgreSQL 13 or later");
    }
    void *tls = e ? NULL : pq->getssl(connection);
    e = !e && tls ? load_tls(pq) : e;
    free(application);
    free(encoding);
    if (e) {
        pq->finish(connection);
        return e;
    }
    (void)pq->setnonblocking(connection, 1);
    out->connection = connection;
    out->cancel = pq->getCancel(connection);
    out->link.fd = pq->socket(connection);
    out->link.tls = tls;
    return OK;
}

void pq_close(struct pq *pq, struct pq_link *link)
{
    if (link->cancel) {
        pq->freeCancel(link->cancel);
    }
    if (link->connection) {
        pq->finish(link->connection);
    }
    link_fini(&link->link);
    link->connection = link->cancel = NULL;
}

const char *pq_database(struct pq *pq, const struct pq_link *link)
{
    return pq->db(link->connection);
}

err pq_try(struct pq *pq, const struct shell *shell, struct arena *arena, const char **user,
           const char **database)
{
    struct pgwire_start start = {0};
    struct pq_link link;
    err e = pq_connect(pq, shell, &start, &link);

    if (!e) {
        *user = arena_text(arena, view_text(pq->user(link.connection)));
        *database = arena_text(arena, view_text(pq->db(link.connection)));
        pq_close(pq, &link);
    }
    return e;
}

void pq_parameters(struct pq *pq, const struct pq_link *link, struct writer *out)
{
    static const char *const names[] = {"server_version",
                                        "server_encoding",
                                        "client_encoding",
                                        "application_name",
                                        "is_superuser",
                                        "session_authorization",
                                        "DateStyle",
                                        "IntervalStyle",
                                        "TimeZone",
                                        "integer_datetimes",
                                        "standard_conforming_strings",
                                        "in_hot_standby",
                                        "default_transaction_read_only"};

    for (size_t i = 0; i < COUNT(names); i++) {
        const char *value = pq->parameterStatus(link->connection, names[i]);
        if (value) {
            pgwire_parameter(out, names[i], value);
        }
    }
}

void pq_cancel(struct pq *pq, const struct pq_link *link)
{
    char why[256] = "";

    if (link->cancel && !pq->cancel(link->cancel, why, sizeof(why))) {
        trace_debug("shell", "cancel: %s", why);
    }
}

static ssize_t tls_result(const struct pq *pq, void *tls, int result)
{
    if (result > 0) {
        return result;
    }
    switch (pq->tls_error(tls, result)) {
    case TLS_WANTS_READ:
    case TLS_WANTS_WRITE:
        errno = EAGAIN;
        return -1;
    case TLS_IS_OVER:
        return 0;
    default:
        errno = EIO;
        return -1;
    }
}

ssize_t pq_tls_read(const struct pq *pq, void *tls, void *at, size_t len)
{
    return tls_result(pq, tls, pq->tls_read(tls, at, (int)MIN(len, INT32_MAX)));
}

ssize_t pq_tls_write(const struct pq *pq, void *tls, const void *at, size_t len)
{
    return tls_result(pq, tls, pq->tls_write(tls, at, (int)MIN(len, INT32_MAX)));
}
