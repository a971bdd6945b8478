/* stitch_inside.h - inside stitch: what stitch.c (who waits) and stitch_give.c (what is given)
 * share. */
#ifndef TIDEMARK_AUDIT_STITCH_INSIDE_H
#define TIDEMARK_AUDIT_STITCH_INSIDE_H

#include "audit/relations.h"
#include "audit/spool.h"
#include "audit/stitch.h"

enum stitch_state {
    STITCH_BETWEEN,
    STITCH_IN_TRANSACTION,
    STITCH_IN_STREAM,
    STITCH_IN_PREPARE
};

/* The transaction that is being given to the target. */
struct give {
    struct stitch_transaction transaction;
    struct relations *relations; /* of its own, before the connection's; NULL: none */
    bool in_stream;              /* its messages carry an xid */
    bool begun;
    bool has_context;
    int64_t changes, messages; /* given so far */
};

struct stitch {
    struct stitch_target target;
    enum context_rule rule;
    enum stitch_state state;
    bool gives_doubtful; /* as configured */
    bool failed, wants_plain;
    struct arena arena; /* of one message */

    struct relations relations;
    struct types types;
    uint64_t arrivals; /* of descriptions, counted */

    struct spools spools;
    struct spool waiting; /* of the open transaction: what came before its first context */
    struct give give;
    struct map held;   /* struct held by xid: streamed and prepared transactions */
    struct held *open; /* STITCH_IN_STREAM, STITCH_IN_PREPARE */

    struct writer context_sent, context; /* the last: as it came, and as an object */
    int64_t malformed;
};

/* Takes in what a description says. */
void give_relation(struct stitch *s, struct relation *described, uint64_t arrival);
void give_context(struct stitch *s, view content);
MUST_CHECK err give_outside(struct stitch *s, const struct pgoutput_message *message);
/* One message of the transaction that is being given; of an R, wal is its arrival. */
MUST_CHECK err give_record(struct stitch *s, const struct spool_record *record);
MUST_CHECK err give_end(struct stitch *s);

/* A context as the object that changes carry; false: it was none of JSON, or too large. */
bool context_to_object(struct arena *arena, view content, struct writer *out);

#endif
