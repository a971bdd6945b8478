/* txns.h - transactional ids as the coordinator keeps them. */
#ifndef TIDEMARK_COORD_TXNS_H
#define TIDEMARK_COORD_TXNS_H

#include "coord/groups.h"
#include "coord/records.h"

/*   Empty ----> Ongoing ----> PrepareCommit ----> CompleteCommit
 *     |  ^       |   ^  ^                             |   |
 *     |  |       v   |  `-----------------------------'   |
 *     |  |   PrepareAbort ----> CompleteAbort             |
 *     |  |       ^  ^                |  |                 |
 *     `--+-------'  `----------------'  | a new producer  |
 *        `------------------------------'-----------------'     Numbers are the log's. */
enum txn_state {
    TXN_EMPTY,
    TXN_ONGOING,
    TXN_PREPARE_COMMIT,
    TXN_PREPARE_ABORT,
    TXN_COMPLETE_COMMIT,
    TXN_COMPLETE_ABORT,
    TXN_DEAD,
    TXN_PREPARE_EPOCH_FENCE, /* read from others' logs only */
    TXN_STATES
};

struct txn_facts { /* what a record says, but for the partitions */
    enum txn_state state;
    int64_t producer_id, previous_id, next_id; /* -1: none */
    int16_t epoch, last_epoch;                 /* last: before the bump, -1 none; not stored */
    int16_t version;                           /* of the client: 2 bumps with every end */
    int32_t timeout_ms;
    int64_t start_ms, update_ms;
};

struct txn_part {
    int32_t partition;
    uint32_t topic_bytes;
    uint8_t key[]; /* topic, then the partition */
};

struct txn {
    struct coord *coord;
    struct blob id;
    struct txn_facts facts;      /* durable, but for a lazily written Complete */
    struct map parts;            /* struct txn_part */
    bool pending;                /* a record is on its way; nothing else may begin */
    size_t offset_writes;        /* commits of offsets on their way */
    struct timer timer;          /* Ongoing: its timeout; Prepare: the next try of markers */
    struct coord_ask **deferred; /* to be run again when nothing is pending */
    size_t deferred_count, deferred_room;
    struct coord_ask *ending; /* answered when all markers are out */
    struct mark_job *marks;   /* while in Prepare */
    size_t mark_count, marks_under_way;
    int tries;      /* of the markers */
    bool unsettled; /* found prepared at the start */
};

typedef void txn_then(struct txn *t, struct coord_ask *ask, bool ok);

/* txn.c */
struct txn *txn_find(struct coord *c, view id);
struct txn *txn_make(struct coord *c, view id); /* NULL: too many */
void txn_free(struct txn *t);                   /* and out of the coordinator */
const char *txn_state_name(enum txn_state state);
view part_topic(const struct txn_part *part);
struct txn_part *part_find(const struct txn *t, view topic, int32_t partition);
void part_add(struct txn *t, view topic, int32_t partition);
void parts_clear(struct txn *t);
void txn_defer(struct txn *t, struct coord_ask *ask);
void txn_undefer(struct txn *t); /* runs them, if nothing is pending */
void txn_adopt(struct txn *t, const struct txn_facts *facts); /* state, timer, counters */
/* Writes next, with added partitions; once durable it is adopted and then() called. */
void txn_submit(struct txn *t, const struct txn_facts *next,
                const struct coord_txn_partition *added, size_t added_count,
                struct coord_ask *ask, txn_then *then);
void txn_record_lazily(struct txn *t); /* the present facts */
void txn_bury(struct txn *t);          /* a tombstone, then it is freed */
void txns_expire(struct coord *c);

/* txn_add.c */
enum coord_status txn_check(const struct txn *t, int64_t producer_id, int16_t epoch);

/* txn_end.c */
struct txn_ending {
    bool commit;
    bool fence;      /* the producer is to be shut out: its epoch ends */
    bool may_resume; /* with fence: but it may go on by InitProducerId (KIP-360) */
    int16_t version; /* the client's */
    int64_t next_id; /* -1: none */
};
void txn_end(struct txn *t, struct txn_ending how, struct coord_ask *ask);
void txn_time_out(struct timer *timer);

/* txn_marks.c */
void txn_mark(struct txn *t); /* Prepare is durable: markers, release, complete */
void txn_forget_marks(struct txn *t);

/* txn_init.c */
int64_t ids_take(struct coord *c); /* -1: none at hand; more are on the way */
void ids_await(struct coord *c, struct coord_ask *ask);
void ids_fini(struct coord *c);

#endif
