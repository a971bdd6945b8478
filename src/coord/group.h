/* group.h - consumer groups of the classic protocol; a part of coord.h.
 *
 * Members join (parked until all have), one of them, the leader, decides who gets what, all
 * fetch their part by sync (parked until the leader's), then heartbeat until the next change.
 * Static members (KIP-345) keep their place across restarts; a new dynamic member is first told
 * its id (KIP-394). What metadata and assignments say is the clients' business. */
#ifndef TIDEMARK_COORD_GROUP_H
#define TIDEMARK_COORD_GROUP_H

#include "coord/ask.h"

struct coord_protocol { /* an assignment strategy a member offers, best first */
    view name, metadata;
};

struct coord_member {      /* in answers; views of the arena */
    view member, instance; /* instance: null view when dynamic */
    view client_id, client_host;
    view metadata;   /* for the chosen protocol */
    view assignment; /* of describe */
};

struct coord_join {
    struct coord_ask ask;
    view group, member; /* member: empty at first */
    view instance;      /* null view: a dynamic member */
    view client_id, client_host, reason;
    view protocol_type; /* "consumer", "connect", ... */
    int32_t session_ms;
    int32_t rebalance_ms; /* -1: as session_ms */
    const struct coord_protocol *protocols;
    size_t protocol_count;
    bool knows_member_id_required; /* JoinGroup 4+ */
    bool knows_skip_assignment;    /* JoinGroup 9+ */
    int32_t generation;            /* answer from here on; -1 on error */
    view protocol_name;            /* null view on error */
    view leader, own_member;       /* own_member is set on MEMBER_ID_REQUIRED too */
    bool skip_assignment;          /* leader: send an empty sync */
    struct coord_member *members;  /* for the leader only */
    size_t member_count;
};

struct coord_assignment {
    view member, assignment;
};

struct coord_sync {
    struct coord_ask ask;
    view group, member, instance;
    int32_t generation;
    view protocol_type, protocol_name;          /* null views: not checked */
    const struct coord_assignment *assignments; /* of the leader */
    size_t assignment_count;
    view own_protocol_type, own_protocol_name, assignment; /* answer */
};

struct coord_heartbeat {
    struct coord_ask ask;
    view group, member, instance;
    int32_t generation;
};

struct coord_leaver { /* by member id, or by instance id with an empty member id */
    view member, instance, reason;
    enum coord_status status;
};

struct coord_leave {
    struct coord_ask ask;
    view group;
    struct coord_leaver *members;
    size_t member_count;
};

struct coord_group { /* one group in an answer */
    view group;
    enum coord_status status; /* describe: an unknown group is OK and "Dead"; GROUP_NOT_FOUND
                                 is for callers that asked with not_found */
    const char *state;        /* Kafka's words: Empty PreparingRebalance ... Dead */
    view protocol_type, protocol_name;
    int32_t generation;
    struct coord_member *members;
    size_t member_count;
};

struct coord_describe_groups {
    struct coord_ask ask;
    const view *groups;
    size_t group_count;
    bool not_found;            /* DescribeGroups 6+ */
    struct coord_group *found; /* answer: one for each, in order */
};

struct coord_list_groups {
    struct coord_ask ask;
    const view *states, *types; /* filters, any case; none: all */
    size_t state_count, type_count;
    struct coord_group *found; /* answer, by name: group, state, protocol_type only */
    size_t found_count;
};

struct coord_delete_group {
    view group;
    enum coord_status status;
};

struct coord_delete_groups {
    struct coord_ask ask;
    struct coord_delete_group *groups;
    size_t group_count;
};

void coord_join(struct coord *coord, struct coord_join *join);
void coord_sync(struct coord *coord, struct coord_sync *sync);
void coord_heartbeat(struct coord *coord, struct coord_heartbeat *heartbeat);
void coord_leave(struct coord *coord, struct coord_leave *leave);
void coord_describe_groups(struct coord *coord, struct coord_describe_groups *describe);
void coord_list_groups(struct coord *coord, struct coord_list_groups *list);
void coord_delete_groups(struct coord *coord, struct coord_delete_groups *groups);

#endif
