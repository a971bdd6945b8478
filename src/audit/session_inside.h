/* session_inside.h - the view of sessions; internal to session*.c. */
#ifndef TIDEMARK_AUDIT_SESSION_INSIDE_H
#define TIDEMARK_AUDIT_SESSION_INSIDE_H

#include <pthread.h>

#include "audit/session.h"
#include "log/log.h"

struct session { /* lives as long as the door; under sessions->lock */
    struct sessions *owner;
    char *id, *source;
    char *person, *login, *host, *tty, *reason, *ticket; /* "" when not said */
    int64_t opened_ms, ended_ms;                         /* ended 0: not yet */
    char *how;                                           /* normal, killed, failed, lost */
    int64_t statements, errors, rows, writes;            /* writes: those with an xid */
    bool unlocked;                                       /* ever */
    char *verdict, *note, *reviewer;                     /* verdict "pending" at first */
    int64_t reviewed_ms;
    int64_t first, last; /* offsets of its records */
    struct http_stream *lease;
    bool leased, left; /* a lease was given; its reader has gone */
};

struct sessions {
    struct log *log;
    pthread_mutex_t lock;
    pthread_cond_t written; /* one of pending is done */
    struct map by_id;       /* id -> struct session, heap */
    struct session **all;   /* oldest first */
    size_t count, room, pending;
    struct worker beat; /* finds out shells that have gone, while there are leases */
    struct job woken;   /* its */
    bool beats;         /* it has a turn to come */
    bool beating;       /* it was started */
};

#define SESSION_PENDING "pending"

/* session_fold.c: one record into the view, under the lock. *out: its session. */
MUST_CHECK err session_fold(struct sessions *sessions, const struct json *record,
                            int64_t offset, struct session **out);
void session_free(struct session *session);
struct session *session_get(struct sessions *sessions, view id); /* NULL: none */
const char *session_state(const struct session *session);
void session_write(const struct session *session, struct json_writer *j);
void sessions_topic(view source, struct writer *out); /* its name */
bool session_is_over(const struct session *session);

#endif
