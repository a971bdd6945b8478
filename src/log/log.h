/* log.h - topics of ordered, durable records; the only way to durable state besides store/.
 *
 * A log is one folder. A topic is a name, an id and partitions; a partition is a sequence of
 * record batches (Kafka's format v2, stored exactly as sent) with three ends: end (written),
 * high (flushed, and once replicated: on all in-sync replicas), stable (no open transaction
 * before it). Readers see up to high, or stable when they ask for committed data, and never
 * past it.
 *
 *   log_open -> topics (topic.h) -> log_append / log_read / log_wait (here) -> log_close
 *
 * Threads: any thread may call anything here. Calls marked "may block" do file I/O: not for
 * loop threads. Everything else is memory only. Callbacks run on a thread of the log and may
 * only post. Each partition has one writer, the shard that owns it; a flusher per log makes
 * rounds of appends durable through a shared journal; a pool of readers serves what is not in
 * memory. Formats: docs/formats.md. Reads and appends of clients follow KIP-98 (transactions),
 * KIP-101/279 (leader epochs), KIP-74 (first batch whole). */
#ifndef TIDEMARK_LOG_LOG_H
#define TIDEMARK_LOG_LOG_H

#include "base/base.h"
#include "log/append.h"
#include "log/batch.h"
#include "log/read.h"
#include "log/topic.h"

struct log_config {
    const char *folder;         /* made when missing */
    int shards;                 /* writers; fixed for the process */
    int readers;                /* threads for cold reads */
    int64_t journal_bytes_max;  /* of the whole ring; also bounds what recovery reads */
    int64_t unsynced_bytes_max; /* flush.policy=os: synced in the background at this much */
    int64_t unsynced_ms_max;    /* ... or after this long */
    int64_t round_bytes_max;    /* of one group commit */
    int64_t files_max;          /* descriptors kept open for segments */
    int64_t index_cache_bytes;  /* indexes of sealed segments kept in memory */
    int64_t disk_percent_max;   /* of the file system, all topics together; 100: no limit */
    int64_t reserve_bytes; /* set aside for __meta and coordinators when the disk is full */
    int64_t retention_check_ms;      /* cleaner's beat; also woken as data arrives */
    int64_t compaction_memory_bytes; /* offset map of a compaction run */
    int64_t producers_max;           /* producer ids kept per partition */
    int64_t producer_expiry_ms;      /* idle ones are forgotten */
    struct topic_settings defaults;  /* of topics that do not say otherwise */
    const char *const *reserved;     /* names of internal topics, NULL at the end; "x*": all
                                        that begin so; borrowed */
};

void log_config_preset(struct log_config *config);

struct log;

struct log_start {           /* what opening found, for the start lines and metrics */
    bool clean;              /* the last stop was orderly */
    int64_t recovered_bytes; /* read by recovery */
    int64_t cut_bytes;       /* dropped from unacknowledged tails */
    int64_t took_ms;
};

/* May block. Recovers what a crash left; ERR_CORRUPT names file and position of what is broken.
 */
MUST_CHECK err log_open(struct os *os, const struct log_config *config, struct log **out);
void log_close(struct log *log); /* flushes, marks clean; accepts NULL */
const struct log_start *log_started(const struct log *log);
uuid log_cluster_id(const struct log *log); /* made once, kept in __meta */
struct os *log_os(const struct log *log);

/* Prometheus samples of the log. */
void log_metrics(struct log *log, struct writer *out);

#endif
