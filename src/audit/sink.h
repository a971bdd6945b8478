/* sink.h - a source's changes in a PostgreSQL of the user's choice, in Bemi's `changes` table.
 *
 *   trail --in the order of commits--> rows, in batches --one transaction--> changes
 *                                       and how far it is ----------------> tidemark_sink
 *
 * Exactly once: the position moves in the transaction that brings the rows, and only from where
 * it was read; a row's id follows from its place in the log, so that a table that was there
 * before its position takes nothing twice. What tells changes apart is (commit, number in the
 * transaction): the position column is a change's own LSN, which rows of one COPY share.
 * Snapshots and messages do not go there. A thread of its own; waits while the database is
 * away. Source: Bemi's documentation, "Data structure". */
#ifndef TIDEMARK_AUDIT_SINK_H
#define TIDEMARK_AUDIT_SINK_H

#include "audit/ledger.h"
#include "audit/trail.h"

struct sink_config { /* all of it outlives the sink */
    struct os *os;
    struct ledger *ledger;
    struct trail *trail;
    const char *source;
    const char *database; /* what the rows say of it */
    const char *url, *password;
};

struct sink;
MUST_CHECK err sink_open(const struct sink_config *config, struct sink **out);
void sink_close(struct sink *sink); /* accepts NULL; waits for a batch under way */

struct sink_state {
    uint64_t commit_lsn; /* of the last row there */
    int64_t seq;
    int64_t rows;               /* brought by this process */
    char words[FAULT_TEXT_MAX]; /* "" or why it waits */
};
void sink_state(struct sink *sink, struct sink_state *out);

#endif
