/* shell.h - a recorded shell on a database: psql, a relay in this process, the database;
 * internal to cli/.
 *
 *   psql --private socket--> talk (a thread each) --libpq's socket--> PostgreSQL
 *                              |
 *                              `--> HTTP: each statement before it runs, and what became of it
 *
 * What holds: 1. nothing runs that was not recorded first; when the server cannot take it, the
 * shell is over. 2. While locked, what runs alone runs in a read-only transaction of ours, and
 * what the user opens is made read-only before he can use it. 3. Unlocked, what may write is
 * preceded by a context message in its own transaction, and what wrote without looking like it
 * is followed by one. 4. Credentials come from the server and go to libpq, nowhere else. */
#ifndef TIDEMARK_CLI_SHELL_H
#define TIDEMARK_CLI_SHELL_H

#include <pthread.h>

#include "cli/command.h"
#include "cli/pgwire.h"
#include "cli/sql.h"

struct pq;
struct talk;

struct shell {
    struct pq *pq; /* libpq, loaded */
    struct http_client *records;
    const char *id, *source, *url, *password; /* of the session; the command's arena */
    const char *person, *ticket, *asked;      /* who, and why there is a session */
    pthread_mutex_t lock;                     /* records, and all that follows */
    pthread_cond_t quiet;                     /* a talk has ended */
    struct talk *talks;
    size_t talk_count;
    int64_t statements; /* numbered so far */
    char *reason;       /* why writes are unlocked, heap; NULL: locked */
    char *over;         /* why nothing runs any more, heap; NULL: it goes on */
    int psql;           /* its process, 0: none */
    int listener;
};

/* One end of a connection: never blocks but in link_flush and link_wait. */
struct link {
    int fd;
    void *tls; /* OpenSSL's, when libpq speaks TLS; then pq reads and writes */
    const struct pq *pq;
    struct writer in, out;
    size_t taken; /* of in */
    bool ended;   /* the peer is gone, or was cut off */
};
enum pgwire_found link_take(struct link *link, bool first, struct pgwire_frame *out);
void link_fill(struct link *link); /* what is there now */
void link_flush(struct link *link);
void link_fini(struct link *link); /* its buffers */

/* shell_pq.c: libpq is loaded when a shell starts. */
MUST_CHECK err pq_load(struct pq **out);
void pq_free(struct pq *pq);
struct pq_link { /* a connection that libpq made and we speak over */
    void *connection, *cancel;
    struct link link;
};
MUST_CHECK err pq_connect(struct pq *pq, const struct shell *shell,
                          const struct pgwire_start *start, struct pq_link *out);
void pq_close(struct pq *pq, struct pq_link *link);
/* Connects once, to know who and where before psql starts. */
MUST_CHECK err pq_try(struct pq *pq, const struct shell *shell, struct arena *arena,
                      const char **user, const char **database);
const char *pq_database(struct pq *pq, const struct pq_link *link);
void pq_parameters(struct pq *pq, const struct pq_link *link, struct writer *out);
void pq_cancel(struct pq *pq, const struct pq_link *link);
ssize_t pq_tls_read(const struct pq *pq, void *tls, void *at, size_t len); /* -1: would block */
ssize_t pq_tls_write(const struct pq *pq, void *tls, const void *at, size_t len);

struct outcome { /* of what was sent to the database */
    bool failed;
    char state[6];      /* SQLSTATE */
    char message[1024]; /* of the error */
    char tag[64];
    char value[32]; /* first column of the first row; "" */
    int64_t rows;   /* -1: the tag does not say */
};

struct talk { /* one connection of psql */
    struct talk *next;
    struct shell *shell;
    struct link client;
    struct pq_link server;
    uint32_t pid, secret; /* what cancels, as psql knows it */
    char status;          /* of the last ReadyForQuery: I T E */
    bool wrapped;         /* the transaction is ours, around one statement or message */
    bool writes;          /* the database's session is set to transactions that write */
    bool copying;         /* psql's rows go to the database */
    bool cancelled;       /* psql left while something ran */
    bool given;           /* the transaction has a context message */
    uint32_t xid;         /* of the transaction under way; 0: none known */
    struct sql_rules rules;
    struct writer held;    /* the last frame that says how it ended; not passed on yet */
    struct writer text;    /* scratch */
    struct writer unnamed; /* the last Parse without a name, whole: ours destroy it */
    struct writer batch;   /* extended messages up to a Sync */
    struct prepared *prepared;
    size_t prepared_count, prepared_room;
};

/* shell_talk.c: a thread for each connection. */
void talk_start(struct shell *shell, int fd);
/* shell_run.c: an error only when the connection is over. */
MUST_CHECK err talk_query(struct talk *talk, view sql);
/* A function call, or a batch of extended messages. repeats: Parse messages of ours in it. */
MUST_CHECK err talk_raw(struct talk *talk, view frames, view text, enum sql_kind kind,
                        int repeats);
/* shell_relay.c: until the database is ready again. Hidden: psql sees none of it but notices.
 */
MUST_CHECK err relay(struct talk *talk, bool visible, int hidden_parses, struct outcome *out);
PRINTF_LIKE(3, 4)
MUST_CHECK err relay_hidden(struct talk *talk, struct outcome *out, const char *format, ...);

/* shell_record.c */
MUST_CHECK err shell_record(struct shell *shell, view json);
PRINTF_LIKE(2, 3) void shell_end(struct shell *shell, const char *why, ...);
void shell_context(struct shell *shell, int64_t number, struct writer *out);

#endif
