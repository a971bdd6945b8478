/* groups.h - groups and members as the coordinator keeps them. */
#ifndef TIDEMARK_COORD_GROUPS_H
#define TIDEMARK_COORD_GROUPS_H

#include "coord/state.h"

/*             first join                all joined, or time
 *   Empty -----------------> Preparing ---------------------> Completing
 *    ^ \                      ^  ^ |  ^                      /    |
 *    |  `-> Dead              |  | |   `--- someone changes-'     | leader's sync is durable
 *    |                        |  | `- nobody left -> Empty        v
 *    `------------------------'  `------- someone changes ----- Stable */
enum group_state {
    GROUP_EMPTY,
    GROUP_PREPARING,
    GROUP_COMPLETING,
    GROUP_STABLE,
    GROUP_DEAD,
    GROUP_STATES
};

struct blob { /* owned bytes; at == NULL: none */
    uint8_t *at;
    size_t len;
};

struct offer { /* a protocol of a member */
    struct blob name, metadata;
};

struct shared_offer { /* how many members offer a protocol */
    size_t members;
    struct blob name;
};

struct member {
    struct group *group;
    struct blob id, instance; /* instance.at NULL: dynamic */
    struct blob client_id, client_host;
    int32_t session_ms, rebalance_ms;
    struct offer *offers;
    size_t offer_count;
    int64_t bytes; /* of the offers, counted in coord.member_bytes */
    struct blob assignment;
    struct coord_join *join; /* parked */
    struct coord_sync *sync; /* parked */
    bool returned;           /* a static one, under a new id, while Stable */
    bool synced;             /* asked for its part since the last join phase */
    struct timer session;
};

struct newcomer { /* told its member id (KIP-394), has not joined with it yet */
    struct group *group;
    struct blob id;
    struct timer expiry;
};

struct group {
    struct coord *coord;
    struct blob id;
    enum group_state state;
    int32_t generation;
    struct blob protocol_type, protocol; /* protocol.at NULL: none chosen */
    struct member **members;             /* in the order of joining */
    size_t member_count, member_room;
    struct member *leader;
    struct map by_id, by_instance; /* members */
    struct map newcomers;          /* id: struct newcomer */
    struct map shared;             /* protocol: struct shared_offer */
    struct timer phase;            /* end of join or sync phase */
    int64_t initial_left_ms;       /* how much longer the first phase may be prolonged; -1: it
                                      is no first phase */
    bool members_came;             /* since the first phase was last prolonged */
    int32_t deciding;              /* generation whose assignment is on its way to the disk, or
                                      -1 */
    bool recorded;                 /* there is a record of the group in the log */
    int64_t empty_since_ms;        /* while Empty */
    struct map offsets;            /* topic and partition: struct offset */
    size_t hold_count;             /* offsets of transactions under way */
    size_t writes;                 /* commits on their way: keeps the group in memory */
};

view blob_view(struct blob b); /* a null view when none */
struct blob blob_copy(view v); /* a null view gives none */
void blob_set(struct blob *b, view v);

/* group.c */
struct group *group_find(struct coord *c, view id);
struct group *group_make(struct coord *c, view id); /* NULL: too many */
void group_free(struct group *g);                   /* and out of the coordinator */
void group_move(struct group *g, enum group_state next);
const char *group_state_name(enum group_state state);
bool group_is_deserted(const struct group *g); /* nobody is in it or coming */
bool group_is_idle(const struct group *g);     /* and nothing is under way */
void group_prepare(struct group *g);           /* begin a new join phase */
void group_joined(struct group *g);            /* ends the join phase if all are there */
void group_lost(struct group *g);              /* a member was removed: go on without */
void group_decide(struct group *g, const struct coord_sync *sync);
/* A record to the log that nobody waits for: with the members' state, or a tombstone. */
void group_record(struct group *g, bool tombstone);
/* Writes it again and tells when that and all writes before it are done. */
void group_settle(struct group *g, void (*then)(void *owner), void *owner);
void group_record_renamed(struct member *m); /* then answers its join, parked in Stable */
enum coord_status group_check_member(const struct group *g, view member, view instance,
                                     struct member **out);

/* group_members.c */
struct member *member_new(struct group *g, const struct coord_join *join, view id);
void member_update(struct member *m, const struct coord_join *join);
void member_rename(struct member *m, view id);
bool member_offers_same(const struct member *m, const struct coord_join *join);
view member_metadata(const struct member *m, view protocol); /* empty when not offered */
void member_remove(struct member *m, enum coord_status why); /* answers what it has parked */
void member_no_return(struct member *m);                     /* it joins like any other */
void member_beat(struct member *m);                          /* its session starts anew */
void member_answer_join(struct member *m, enum coord_status status);
void member_answer_sync(struct member *m, enum coord_status status);
int64_t join_bytes(const struct coord_join *join); /* of its offers */
bool group_accepts(const struct group *g, const struct coord_join *join);
view group_choose_protocol(const struct group *g); /* null view without members */
void newcomer_add(struct group *g, view id, int32_t session_ms);
void newcomer_remove(struct newcomer *n);
bool group_subscribes(const struct group *g, view topic);

#endif
