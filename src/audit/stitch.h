/* stitch.h - from messages to whole transactions: changes in order, each with its context.
 *
 *   feed: B R I I M I C, or interleaved S..E segments and then c
 *   give: begin, change, change, ..., end       of one committed transaction after another
 *
 * Context rule: a change takes the nearest earlier context message of its transaction, else the
 * first later one (CONTEXT_NEAREST), or, as Bemi does, the transaction's first (CONTEXT_FIRST).
 * So changes before the first context wait; what waits, and what the server streams ahead of
 * the commit, is kept in memory up to a limit for all and then in a file per transaction in the
 * spool folder, which is emptied at stitch_new: nothing in it outlives a connection. Once a
 * context is known, changes of a transaction that is not streamed go straight through, without
 * the end_lsn that comes with its commit. Aborted subtransactions leave nothing behind;
 * relations described inside an aborted stream are not believed afterwards. After an error only
 * stitch_free is left. One thread. */
#ifndef TIDEMARK_AUDIT_STITCH_H
#define TIDEMARK_AUDIT_STITCH_H

#include "audit/pgoutput.h"

#define CONTEXT_PREFIX "_bemi" /* what Bemi's packages and tidemark.context() send */
#define CONTEXT_HEARTBEAT_PREFIX "_bemi_heartbeat"

enum context_rule { CONTEXT_NEAREST, CONTEXT_FIRST };

struct stitch_transaction {
    uint32_t xid;
    uint64_t commit_lsn;
    uint64_t end_lsn; /* begin: 0 when the server did not tell it yet; known at the end */
    int64_t committed_us;
};

/* What the transactions are given to; an error ends stitch_feed, which returns it. */
struct stitch_target {
    err (*begin)(void *self, const struct stitch_transaction *transaction);
    err (*change)(void *self, const struct change *change); /* also CHANGE_MESSAGE */
    err (*end)(void *self, const struct stitch_transaction *transaction);
    /* A message outside of any transaction, or NULL to ignore those. */
    err (*message)(void *self, const struct change *message);
    void *self;
};

struct stitch_config {
    struct os *os;
    const char *spool_folder; /* made when missing */
    size_t memory_bytes;      /* of all transactions under way, then the spool */
    enum context_rule rule;
    bool gives_doubtful; /* of recordings, which cannot be read again: stitch_wants_plain */
};

struct stitch;
MUST_CHECK err stitch_new(const struct stitch_config *config,
                          const struct stitch_target *target, struct stitch **out);
void stitch_free(struct stitch *stitch); /* accepts NULL */
/* wal: where the message stands in the server's log (XLogData dataStart). Malformed context is
 * kept as {"$raw": text}; null and what is no object become {} and {"$value": ...}; of one that
 * is larger than CONTEXT_BYTES_MAX its size is left, {"$too_large": bytes}. */
MUST_CHECK err stitch_feed(struct stitch *stitch, uint64_t wal, view message);
/* In streams the server tells of rows, but not of messages, to which savepoint they belong.
 * When a streamed transaction commits in which a message may be out of a savepoint that was
 * rolled back, feed gives ERR_CONFLICT and this is true: connect again without streaming, and
 * the server itself leaves out what does not stand. */
bool stitch_wants_plain(const struct stitch *stitch);
bool stitch_is_between(const struct stitch *stitch); /* nothing is under way */
size_t stitch_memory(const struct stitch *stitch);
int64_t stitch_spooled(const struct stitch *stitch);   /* bytes in files now */
int64_t stitch_malformed(const struct stitch *stitch); /* contexts kept as $raw, $too_large */

#endif
