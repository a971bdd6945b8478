/* pgoutput.h - PostgreSQL's logical replication messages, decoded.
 *
 * One call decodes one message (the payload of one XLogData) of protocol 1 to 3, text format.
 * Views borrow from the message; arrays live in the caller's arena. Bytes are the server's, so
 * a message that does not parse is ERR_CORRUPT with its kind and position, never an assert.
 * Pure functions, any thread. Source: PostgreSQL 55.9 "Logical Replication Message Formats". */
#ifndef TIDEMARK_AUDIT_PGOUTPUT_H
#define TIDEMARK_AUDIT_PGOUTPUT_H

#include "audit/change.h"

enum pgoutput_kind {
    PGOUTPUT_BEGIN = 'B',
    PGOUTPUT_COMMIT = 'C',
    PGOUTPUT_ORIGIN = 'O',
    PGOUTPUT_RELATION = 'R',
    PGOUTPUT_TYPE = 'Y',
    PGOUTPUT_INSERT = 'I',
    PGOUTPUT_UPDATE = 'U',
    PGOUTPUT_DELETE = 'D',
    PGOUTPUT_TRUNCATE = 'T',
    PGOUTPUT_MESSAGE = 'M',
    PGOUTPUT_STREAM_START = 'S',
    PGOUTPUT_STREAM_STOP = 'E',
    PGOUTPUT_STREAM_COMMIT = 'c',
    PGOUTPUT_STREAM_ABORT = 'A',
    PGOUTPUT_BEGIN_PREPARE = 'b',
    PGOUTPUT_PREPARE = 'P',
    PGOUTPUT_COMMIT_PREPARED = 'K',
    PGOUTPUT_ROLLBACK_PREPARED = 'r',
    PGOUTPUT_STREAM_PREPARE = 'p',
};

struct pgoutput_tuple {
    struct value *values; /* NULL: no such tuple */
    int count;
};

struct pgoutput_message { /* the fields that its kind has; the rest is zero */
    enum pgoutput_kind kind;
    uint32_t xid, subxid;     /* inside a stream xid is the (sub)transaction's own */
    uint64_t lsn;             /* B: final; C, c, P, K, r: commit or prepare; M: its own; O */
    uint64_t end_lsn;         /* C, c, P, K, r */
    int64_t time_us;          /* since 1970 UTC */
    bool first;               /* S: the transaction's first segment */
    bool transactional;       /* M */
    view prefix, content;     /* M */
    view name;                /* O: origin; prepared kinds: gid */
    struct relation relation; /* R: described, holders 0; Y: oid, schema, name */
    uint32_t oid;             /* I, U, D */
    struct pgoutput_tuple old, new; /* U, D; I, U */
    bool old_is_key;                /* the old tuple was a 'K': other columns mean nothing */
    uint32_t *oids;                 /* T */
    int oid_count;
    bool cascade, restart_identity; /* T */
};

/* in_stream: between a stream start and its stop every message carries an xid. */
MUST_CHECK err pgoutput_decode(struct arena *arena, view message, bool in_stream,
                               struct pgoutput_message *out);

/* The newest protocol and options a server has: server_version_num is as in 150018. */
struct pgoutput_protocol {
    int version;              /* 1, 2 (14+: streaming) */
    bool streaming, messages; /* messages: 14+ */
};
struct pgoutput_protocol pgoutput_protocol_of(int server_version_num);

#endif
