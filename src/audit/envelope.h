/* envelope.h - a change as records on its table's topic, in Debezium's form; and back.
 *
 * Topic <source>.<schema>.<table>, JSON key and value as Debezium's PostgreSQL connector writes
 * them with its converters' schemas off (on by option), default type modes (docs/formats.md
 * says which). What that form has no place for travels in one record header, "tidemark", a JSON
 * object: {"v":1, "table":relation version, "seq", "commit":lsn, "end":lsn, "context":{...},
 * "exact":{"before":{column:text},"after":{...}} for values whose Debezium form does not lead
 * back to the server's text, "unknown":[columns]} (docs/formats.md has all members). So a
 * record and its relation give the change back, byte for byte. One change is up to three
 * records of one partition, in one batch: a changed key is delete, tombstone, create; a delete
 * is followed by its tombstone. All of them carry the header, so that the last record of a
 * partition always tells its place. A table that has no key but all of its columns (identity
 * full) has null keys.
 * Pure functions, any thread. Source: Debezium 2.x documentation, "PostgreSQL connector". */
#ifndef TIDEMARK_AUDIT_ENVELOPE_H
#define TIDEMARK_AUDIT_ENVELOPE_H

#include "audit/change.h"
#include "log/log.h"

#define ENVELOPE_HEADER "tidemark"
#define ENVELOPE_RECORDS_MAX 3
#define ENVELOPE_UNAVAILABLE                                                                   \
    "__debezium_unavailable_value" /* of what the server did not send */

enum decimal_mode { DECIMAL_PRECISE, DECIMAL_STRING, DECIMAL_DOUBLE };
enum binary_mode { BINARY_BYTES, BINARY_BASE64, BINARY_HEX, BINARY_BASE64_URL };
enum interval_mode { INTERVAL_NUMERIC, INTERVAL_STRING };
enum hstore_mode { HSTORE_MAP, HSTORE_JSON };
/* As precise as declared; time of day always in microseconds; Connect's own types. */
enum time_mode { TIME_ADAPTIVE, TIME_ADAPTIVE_MICROSECONDS, TIME_CONNECT };

/* What only the catalog knows of a type that is not builtin. */
struct type_facts {
    uint32_t base;    /* of a domain: the type below it; 0: no domain */
    int32_t modifier; /* of that */
    uint32_t element; /* of an array: its elements' type; 0: no array */
    view labels;      /* of an enum, joined by commas; null: no enum */
};
struct type_finder {
    bool (*find)(void *self, uint32_t oid, struct type_facts *out); /* NULL: nothing known */
    void *self;
};

struct envelope_options {
    view source;   /* topic prefix and source.name */
    view database; /* source.db */
    bool schemas;  /* {schema, payload} instead of the payload */
    bool tombstones;
    enum decimal_mode decimals;
    enum binary_mode binaries;
    enum interval_mode intervals;
    enum hstore_mode hstores;
    enum time_mode times;
    struct type_finder types;
};

/* Zeroed with an arena is ready; the caller resets the arena when the records are stored. What
 * is the same for each row of a table is prepared once and kept in plans: one out serves one
 * set of options, whose views outlive it. */
struct envelope_out {
    struct record records[ENVELOPE_RECORDS_MAX]; /* views in arena */
    size_t count;
    struct arena *arena;
    struct envelope_plans *plans;
};
void envelope_out_fini(struct envelope_out *out); /* not the arena */

/* The topic's name; characters Kafka does not take become _. relation NULL: of messages. */
void envelope_topic(const struct envelope_options *options, const struct relation *relation,
                    struct writer *out);
/* now_ms: when it was processed. last_commit: LSN of the commit before (source.sequence).
 * snapshot: NULL, or Debezium's word for a CHANGE_READ, a literal ("true", "first", "last",
 * "incremental"). */
struct envelope_source {
    int64_t now_ms;
    uint64_t last_commit;
    const char *snapshot;
    /* With transaction metadata: the change's number, from 1, in its transaction and among its
     * table's in that; 0: "transaction" is null. */
    int64_t total_order, collection_order;
};
void envelope_write(const struct envelope_options *options,
                    const struct envelope_source *source, const struct change *change,
                    struct envelope_out *out);

/* Transaction metadata, on <source>.transaction: one record each. */
struct envelope_collection {
    view schema, table;
    int64_t count; /* of the transaction's changes */
};
void envelope_transaction_topic(const struct envelope_options *options, struct writer *out);
void envelope_begin(const struct envelope_options *options,
                    const struct envelope_source *source, const struct change_place *place,
                    struct envelope_out *out);
void envelope_end(const struct envelope_options *options, const struct envelope_source *source,
                  const struct change_place *place, const struct envelope_collection *parts,
                  size_t count, struct envelope_out *out);
/* On __debezium-heartbeat.<source>. */
void envelope_heartbeat_topic(const struct envelope_options *options, struct writer *out);
void envelope_heartbeat(const struct envelope_options *options, int64_t now_ms,
                        struct envelope_out *out);

/* Back. *is_change false: a tombstone, or the delete half of a changed key (its create half
 * carries both images); then out has only its place's lsns and seq, 0 and -1 when the record
 * is none of ours. ERR_NOT_FOUND: find does not know the relation. find: the relation of a
 * version, borrowed, NULL when not known. Views and arrays live in the arena or in the record.
 * ERR_CORRUPT when it is none of ours. */
struct relation_finder {
    struct relation *(*find)(void *self, uint32_t version);
    void *self;
};
MUST_CHECK err envelope_read(struct arena *arena, const struct record *record,
                             const struct relation_finder *relations, struct change *out,
                             bool *is_change);

/* The change as everybody outside sees it, one JSON object: {ref, source, schema, table, key,
 * operation, before, after, changed, context, actor, committed_at, tx, lsn, position, unknown}.
 * Values: JSON numbers as their own digits, true/false, JSON columns as JSON, else text. */
struct change_origin {
    view source;
    view topic;
    int32_t partition;
    int64_t offset; /* -1: not in a topic */
};
void change_to_json(const struct change *change, const struct change_origin *origin,
                    struct json_writer *j);
/* Who: the context's actor, user, user_email, user_id, ... (docs/formats.md lists them), as
 * text; null view when it names nobody. In the arena. */
view change_actor(struct arena *arena, view context);

#endif
