/* topic.h - topics, partitions, their settings and changes; a part of log.h.
 *
 * Topics are counted: log_topic* return one held, topic_drop gives it back. A deleted topic
 * stays readable memory for its holders (topic->deleted). Changes go through __meta: log_change
 * appends a record, and applies it once it is durable; any number may be under way, they apply
 * in order. */
#ifndef TIDEMARK_LOG_TOPIC_H
#define TIDEMARK_LOG_TOPIC_H

#include "base/base.h"

#define TOPIC_NAME_MAX 249    /* characters, Kafka's rule [a-zA-Z0-9._-] but "." and ".." */
#define PARTITIONS_MAX 100000 /* of one topic */

enum topic_cleanup { TOPIC_CLEANUP_DELETE = 1, TOPIC_CLEANUP_COMPACT = 2 };
enum topic_flush { TOPIC_FLUSH_SYNC, TOPIC_FLUSH_OS };
enum topic_clock { TOPIC_CLOCK_CREATE, TOPIC_CLOCK_APPEND };

/* Effective settings, by Kafka's names and some of our own: rows in topic_options. */
struct topic_settings {
    int64_t cleanup_policy;         /* choice: delete, compact, "compact,delete" */
    int64_t retention_ms;           /* -1: none */
    int64_t retention_bytes;        /* per partition, -1: none */
    int64_t retention_disk_percent; /* of the file system, whole topic; 100: none */
    int64_t segment_bytes, segment_ms;
    int64_t max_message_bytes; /* of one batch */
    int64_t flush_policy;      /* enum topic_flush */
    int64_t timestamp_type;    /* enum topic_clock */
    int64_t timestamp_before_max_ms, timestamp_after_max_ms;
    int64_t delete_retention_ms; /* tombstones, after they were first cleaned */
    int64_t min_compaction_lag_ms, max_compaction_lag_ms;
    int64_t min_cleanable_dirty_percent;
    int64_t min_insync_replicas;
    bool protect;           /* log.disk.percent.max never deletes from it */
    char *compression_type; /* accepted, "producer" semantics; heap */
};

/* One row per setting, Kafka's name; topic_setting_count of them. */
extern const struct option topic_options[];
extern const size_t topic_option_count;
unsigned topic_cleanup(const struct topic_settings *settings); /* enum topic_cleanup bits */
/* A row's value as Kafka's tools show it: plain numbers, the ratio as a fraction. */
void topic_setting_print(const struct option *row, const struct topic_settings *settings,
                         struct writer *out);

struct setting { /* one override, as given; heap texts inside a topic */
    char *name, *value;
};

struct partition_ends {
    int64_t start, end, high, stable;
    int32_t leader_epoch;
    int64_t bytes;         /* of all its segments */
    int64_t max_timestamp; /* -1: none seen since the start */
};

struct partition;
struct log;

struct topic {
    char *name;
    uuid id;
    bool internal; /* a door's or coordinator's: closed to clients' writes */
    _Atomic bool deleted;
    _Atomic uint32_t holders;
    _Atomic int32_t partition_count;
    struct partition **_Atomic partitions; /* grows by replacement; old arrays live on */
    struct topic_settings settings;        /* read with topic_settings_get */
    struct setting *overrides;             /* read with topic_overrides */
    size_t override_count;
    struct log *log;
};

struct topic *log_topic(struct log *log, view name); /* NULL: none */
struct topic *log_topic_by_id(struct log *log, uuid id);
struct topic *topic_hold(struct topic *topic);
void topic_drop(struct topic *topic); /* accepts NULL */
/* All topics by name, each held; the array is heap, the caller's (topics_drop does both). */
size_t log_topics(struct log *log, struct topic ***out);
void topics_drop(struct topic **topics, size_t count);
void topic_settings_get(struct topic *topic,
                        struct topic_settings *out); /* compression_type NULL */
/* Copies of the overrides, heap, freed by settings_free. */
size_t topic_overrides(struct topic *topic, struct setting **out);
void settings_free(struct setting *settings, size_t count);

struct partition *topic_partition(struct topic *topic, int32_t index); /* NULL: none */
struct topic *partition_topic(const struct partition *p);              /* both borrowed */
int32_t partition_index(const struct partition *p);
void partition_ends(struct partition *p, struct partition_ends *out);
bool partition_failed(const struct partition *p); /* its storage gave an error */

MUST_CHECK err topic_name_check(view name);
bool topic_name_is_reserved(const struct log *log, view name); /* for changes with internal */

/* May block (reader thread): first record at or after a time; -1 offsets when none. */
struct log_time_answer {
    int64_t offset, timestamp;
    int32_t leader_epoch;
};
MUST_CHECK err partition_find_time(struct partition *p, int64_t timestamp_ms, bool committed,
                                   struct log_time_answer *out);
MUST_CHECK err partition_find_max_time(struct partition *p, struct log_time_answer *out);
/* The end offset of the largest epoch <= asked (KIP-279), the log's start when all of those are
 * trimmed; both -1 when asked is newer than the log's own. May block. */
MUST_CHECK err partition_epoch_end(struct partition *p, int32_t epoch, int32_t *found,
                                   int64_t *end);

struct producer_view { /* for DescribeProducers; on the shard (log_run_on_shard) */
    int64_t producer_id, last_timestamp, txn_first_offset; /* -1: no open transaction */
    int32_t epoch, last_sequence, coordinator_epoch;
};
size_t partition_producers(struct partition *p, struct producer_view **out); /* heap */

enum log_change_kind {
    LOG_TOPIC_CREATE,   /* name, partition_count, settings, id or zero; gives topic */
    LOG_TOPIC_DELETE,   /* topic */
    LOG_TOPIC_GROW,     /* topic, partition_count: the new total */
    LOG_TOPIC_SETTINGS, /* topic, settings: all anew; with merge: edits, NULL values remove */
    LOG_TRIM,           /* topic, partition, offset: the log starts there (-1: at high) */
    LOG_PIN,   /* topic, partition, offset, owner: retention and compaction stop there */
    LOG_UNPIN, /* owner: all its pins */
    LOG_NOTE,  /* owner, value: a small named fact (empty value: forget) */
};

struct log_change {                   /* the caller's memory, untouched until done */
    struct log_change *next, *queued; /* a chain of up to 1000 is one flush; the log's */
    struct job job;                   /* the log's */
    struct log *log;                  /* the log's */
    enum log_change_kind kind;
    view name, owner, value;
    struct topic *topic; /* held by the caller; for CREATE set on success, held for him */
    uuid id;
    int32_t partition_count, partition;
    int64_t offset; /* TRIM: the resulting log start on success */
    const struct setting *settings;
    size_t setting_count;
    struct setting *merged; /* the log's: what SETTINGS comes to */
    size_t merged_count;
    bool merge;                        /* SETTINGS */
    bool only_check, internal;         /* change nothing; may touch internal topics */
    struct fault *fault;               /* NULL: done; else heap, the caller's */
    void (*done)(struct log_change *); /* any thread, may only post */
};

void log_change(struct log *log, struct log_change *chain);
/* A copy of a note's value, heap, the caller's; false: none. */
bool log_note(struct log *log, view owner, struct writer *out);

#endif
