/* state.h - the coordinator's whole state; touched by its worker's thread alone, but for the
 * atomics. */
#ifndef TIDEMARK_COORD_STATE_H
#define TIDEMARK_COORD_STATE_H

#include "coord/coord.h"
#include "coord/journal.h"
#include "coord/store.h"
#include "coord/timers.h"

struct ask_kind {
    void (*run)(struct coord *, struct coord_ask *);
    /* Sets the status of every item before the ask is done; NULL: it has none. */
    void (*refuse)(struct coord_ask *, enum coord_status);
};

struct id_block { /* producer ids */
    int64_t next, end;
    bool asked;
    int64_t retry_ns; /* a failed reservation is not repeated before */
    struct store_ids store;
    struct coord_ask **waiting; /* inits that need one */
    size_t waiting_count, waiting_room;
};

#define COORD_COUNTERS(X) /* name, kind, help */                                               \
    X(groups, gauge, "consumer groups")                                                        \
    X(members, gauge, "members of consumer groups")                                            \
    X(offsets, gauge, "committed offsets kept")                                                \
    X(rebalances, counter, "generations of groups completed")                                  \
    X(commits, counter, "offset commits made durable")                                         \
    X(txn_ids, gauge, "transactional ids known")                                               \
    X(txns_open, gauge, "transactions that are ongoing or being ended")                        \
    X(txns_committed, counter, "transactions committed")                                       \
    X(txns_aborted, counter, "transactions aborted")                                           \
    X(txns_timed_out, counter, "transactions aborted because they took too long")

struct coord_counters {
#define X(name, kind, help) _Atomic int64_t name;
    COORD_COUNTERS(X)
#undef X
};

struct coord {
    struct os *os;
    struct coord_store *store; /* owned */
    struct coord_config config;
    struct worker worker;
    struct timers timers;
    struct map groups; /* id: struct group */
    struct map parked; /* ask id: struct coord_ask */
    struct map txns;   /* transactional id: struct txn */
    struct map holds;  /* producer id: struct hold, offsets of transactions under way */
    struct journal *journals[STORE_TOPICS];
    int32_t journal_count[STORE_TOPICS];
    struct id_block ids;
    struct timer expiry;
    struct writer scratch;
    int64_t store_calls;  /* under way at the store */
    int64_t member_bytes; /* what members offer, all groups together */
    int64_t unsettled;    /* transactions to finish since the start */
    bool closing;
    _Atomic uint64_t last_ask_id;
    _Atomic int64_t asks; /* posted and not done */
    _Atomic bool settled, drained;
    pthread_mutex_t lock; /* of the condition alone */
    pthread_cond_t changed;
    struct job open_job, close_job;
    struct coord_counters counters;
};

/* Opens over any store, which it owns from then on, also on failure. */
MUST_CHECK err coord_open_on(struct os *os, struct coord_store *take_store,
                             const struct coord_config *config, struct coord **out);

/* Hands an ask to the worker, which calls kind->run. */
void ask_post(struct coord *c, struct coord_ask *ask, const struct ask_kind *kind);
void ask_done(struct coord_ask *ask, enum coord_status status);
void ask_refuse(struct coord_ask *ask, enum coord_status status); /* all its items too */
void ask_park(struct coord_ask *ask, void *member);

/* A heap array of a map's m->count values, for walks that change the map. */
void **values_of(const struct map *m);
int64_t coord_due(struct coord *c, int64_t wait_ms); /* for timer_set */
int64_t coord_now_ms(struct coord *c);
void coord_say_settled(struct coord *c); /* when unsettled is 0 */

#endif
