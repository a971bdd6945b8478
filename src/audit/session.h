/* session.h - people on a source's database: what they typed, why, and what became of it.
 *
 * Topic <source>.sessions, one partition, kept for ever; key: the session's id, value: JSON by
 * "kind" (docs/formats.md): open, statement, result, unlock, lock, end, review. A statement is
 * recorded before it runs. The summaries here are a view over those topics, folded when the
 * door opens. A session lives as long as its lease, a stream of events that its shell reads;
 * one without lease or end is ended here. Any thread; calls that append may block. */
#ifndef TIDEMARK_AUDIT_SESSION_H
#define TIDEMARK_AUDIT_SESSION_H

#include "base/base.h"
#include "http/http.h"

struct log;
struct sessions;

MUST_CHECK err sessions_open(struct log *log, struct sessions **out);
void sessions_close(struct sessions *sessions); /* accepts NULL */

struct session_asked { /* all but source, person and reason may be null */
    view source, person, login, host, tty, reason, ticket;
};
/* The new session's id, in the arena. */
MUST_CHECK err session_begin(struct sessions *sessions, struct arena *arena,
                             const struct session_asked *asked, view *id);
/* What its shell says: a JSON object of a kind but open and review. CONFLICT: it has ended. */
MUST_CHECK err session_add(struct sessions *sessions, view id, const struct json *record);
MUST_CHECK err session_judge(struct sessions *sessions, view id, view verdict, view note,
                             view reviewer);
/* Answers the call with the session's lease. */
void session_lease(struct sessions *sessions, view id, struct http_call *call);

/* The session whose id begins so, as it is written whole; in the arena. NOT_FOUND, or INVALID
 * when several do. */
MUST_CHECK err session_find(struct sessions *sessions, struct arena *arena, view start,
                            view *id);
MUST_CHECK err session_to_json(struct sessions *sessions, view id, struct json_writer *j);
/* Newest first, from behind cursor (an id; null: from the start). Filters: null means any;
 * review: pending, approved or flagged. *next: an id to go on from, in the arena; null: all. */
struct session_filter {
    view source, person, state, review;
};
void sessions_to_json(struct sessions *sessions, struct arena *arena,
                      const struct session_filter *filter, view cursor, size_t limit,
                      struct json_writer *j, view *next);
/* Its records from an offset of the topic on, at most limit; *next -1: that was all. */
MUST_CHECK err session_records(struct sessions *sessions, view id, int64_t offset, size_t limit,
                               struct json_writer *j, int64_t *next);

#endif
