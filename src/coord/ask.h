/* ask.h - what every call to the coordinator has in common; a part of coord.h.
 *
 * An ask is the caller's memory, handed over by coord_join(), coord_commit(), ... and untouched
 * until done() is called on it, once, on the coordinator's thread: done() may only post. Views
 * of the question are borrowed until then; results are built in ask.arena. Small repeated
 * questions (items) carry their own status each; then ask.status is COORD_OK or the one reason
 * that holds for all of them, which is in each item too. */
#ifndef TIDEMARK_COORD_ASK_H
#define TIDEMARK_COORD_ASK_H

#include "base/base.h"

struct coord;

#define COORD_STATUS(X)                                                                        \
    X(OK, "fine")                                                                              \
    X(UNKNOWN_MEMBER, "no such member in the group")                                           \
    X(ILLEGAL_GENERATION, "the generation is not the group's present one")                     \
    X(REBALANCE_IN_PROGRESS, "the group rebalances: join again")                               \
    X(MEMBER_ID_REQUIRED, "join again with the member id in the answer")                       \
    X(FENCED_INSTANCE, "another member took over this instance id")                            \
    X(INCONSISTENT_PROTOCOL, "no protocol in common with the group's members")                 \
    X(INVALID_SESSION_TIMEOUT, "session timeout outside of the permitted range")               \
    X(GROUP_MAX_SIZE, "the group has as many members as it may")                               \
    X(LOADING, "the coordinator has too many questions, or is starting: ask again")            \
    X(NOT_COORDINATOR, "the coordinator is stopping")                                          \
    X(OFFSET_METADATA_TOO_LARGE, "metadata of the offset is too long")                         \
    X(INVALID_GROUP, "not a group id that can be used here")                                   \
    X(NON_EMPTY_GROUP, "the group still has members")                                          \
    X(GROUP_NOT_FOUND, "no such group")                                                        \
    X(SUBSCRIBED_TO_TOPIC, "the group's members subscribe to that topic")                      \
    X(UNSTABLE_OFFSETS, "a transaction over these offsets is under way")                       \
    X(UNKNOWN_TOPIC, "no such topic or partition")                                             \
    X(INVALID_PRODUCER_EPOCH, "the producer's epoch is not the present one")                   \
    X(PRODUCER_FENCED, "a newer producer has this transactional id")                           \
    X(INVALID_PRODUCER_MAPPING, "the producer id does not belong to the transactional id")     \
    X(CONCURRENT_TRANSACTIONS, "the transaction before is still being finished: ask again")    \
    X(INVALID_TXN_STATE, "not possible in the transaction's state")                            \
    X(INVALID_TXN_TIMEOUT, "transaction timeout outside of the permitted range")               \
    X(TXN_ID_NOT_FOUND, "no such transactional id")                                            \
    X(TXN_ABORTABLE, "this transaction can only be aborted")                                   \
    X(INVALID_REQUEST, "the question makes no sense")                                          \
    X(TOO_MANY, "more groups or transactional ids than permitted")                             \
    X(STORAGE, "could not be made durable")                                                    \
    X(NOT_ATTEMPTED, "not done, because another item of the question was refused")             \
    X(CANCELLED, "given up by coord_abandon")

enum coord_status {
#define X(name, text) COORD_##name,
    COORD_STATUS(X)
#undef X
        COORD_STATUS_COUNT
};

const char *coord_status_text(enum coord_status status);

struct coord_ask {       /* first member of every question */
    struct job job;      /* the coordinator's */
    struct arena *arena; /* the caller's; results live in it; not to be touched until done */
    void *owner;         /* the caller's */
    void (*done)(struct coord_ask *ask);
    enum coord_status status; /* the answer */
    uint64_t id;              /* set by the call, for coord_abandon */
    struct coord *coord;      /* the coordinator's from here on */
    const struct ask_kind *kind;
    void *parked_in;
};

/* For a connection that closed while its join or sync is parked: the ask, if it still waits, is
 * done at once with CANCELLED; its member stays until its session ends. Any thread, any time,
 * also long after the ask is done and its memory reused. */
void coord_abandon(struct coord *coord, uint64_t ask_id);

#endif
