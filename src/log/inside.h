/* inside.h - the log's own structure, for the files of this folder.
 *
 * Threads: shards (write), flusher (journal rounds, publishes), syncer (segment sync,
 * checkpoint, frees journal files), meta (changes), readers (cold reads), cleaner (retention,
 * compaction). Locks, in order: gate, topics, partition, then dirty or the descriptor cache. */
#ifndef TIDEMARK_LOG_INSIDE_H
#define TIDEMARK_LOG_INSIDE_H

#include "log/journal.h"
#include "log/partition.h"
#include "log/settings.h"

#define READERS_MAX 16
#define SHARDS_MAX 64
#define PATH_BYTES 512
#define META_NAME "__meta"

struct shard {
    struct worker worker;
    struct log *log;
    struct partition *touched; /* staged appends wait in these; shard thread only */
    struct partition **touched_end;
};

/* A written batch on its way to the journal; heap, freed when its round is durable. */
struct flush_item {
    struct job job;
    struct partition *partition; /* its topic is held by this item */
    struct buf *hold;
    view batch;
    int64_t base_offset, end; /* end: one past its last */
    int32_t epoch;
    int64_t segment;            /* base of the segment it was written to */
    int64_t position;           /* in that segment */
    struct log_append *waiting; /* to be told; NULL: was told already */
};

struct log {
    struct os *os;
    struct log_config config;
    char *folder;
    uuid cluster_id;
    os_file lock_file;
    int32_t epoch; /* of this start; bumped by an unclean one */
    struct log_start start;
    struct shard shards[SHARDS_MAX];
    struct worker flusher, syncer, meta, cleaner;
    struct worker readers[READERS_MAX];
    _Atomic uint32_t next_reader;
    pthread_mutex_t cold_lock;  /* one cold read at a time while flushes go on */
    _Atomic int64_t flushed_ns; /* end of the last flush */
    pthread_rwlock_t gate;      /* shared: publish; exclusive: cut */
    pthread_rwlock_t topics_lock;
    struct map topics_by_name, topics_by_id; /* topics_lock */
    struct topic *meta_topic;
    pthread_mutex_t open_lock; /* one partition is opened at a time */
    struct files *files;
    struct journal *journal;
    pthread_mutex_t dirty_lock;
    struct partition *dirty; /* dirty_lock: written since the last checkpoint */
    _Atomic int64_t dirty_bytes;
    _Atomic uint64_t rounds_done; /* last durable journal round */
    _Atomic bool failed;          /* a flush failed: read-only for ever */
    _Atomic bool disk_full;       /* ordinary appends are refused */
    _Atomic bool reserve_spent;
    struct job sync_job, clean_job; /* nudges, posted once until taken */
    _Atomic bool sync_posted, sync_asked, clean_posted;
    pthread_mutex_t clean_lock;
    bool cleaner_runs; /* clean_lock: it is stopped before those that ask it */
    pthread_mutex_t checkpoint_lock;
    uint64_t checkpoint_round;          /* checkpoint_lock */
    _Atomic int64_t last_checkpoint_ns; /* syncer, cleaner */
    struct meta_state *meta_state;      /* meta.c */
    _Atomic int64_t appended_bytes, appended_batches, flush_rounds, flush_bytes, flush_ns;
    _Atomic int64_t index_cache_used;
};

/* shard.c */
MUST_CHECK err shards_start(struct log *log);
struct shard *log_shard_of(struct log *log, uuid topic_id, int32_t partition);
/* flush.c */
int64_t flusher_turn(struct worker *worker, struct job *jobs);
void log_fail(struct log *log, const char *what); /* storage failed: words in fault_here */
/* checkpoint.c */
int64_t syncer_turn(struct worker *worker, struct job *jobs);
MUST_CHECK err checkpoint_run(struct log *log);
MUST_CHECK err checkpoint_read(struct log *log, struct checkpoint *out);
void log_mark_dirty(struct log *log, struct partition *p, int64_t bytes);
void log_ask_sync(struct log *log);
/* recovery.c: everything between the lock and the first worker. */
MUST_CHECK err recovery_run(struct log *log);
MUST_CHECK err log_mark_clean(struct log *log);
/* retention.c */
int64_t cleaner_turn(struct worker *worker, struct job *jobs);
void log_ask_clean(struct log *log);
bool log_has_room(struct log *log, bool internal); /* false: refuse the append */
void log_space_is_out(struct log *log);
void log_reserve_prepare(struct log *log);
/* compact.c: one partition, on the cleaner; may block. */
MUST_CHECK err partition_compact(struct partition *p);
/* meta.c */
void meta_new(struct log *log);            /* the topic itself */
MUST_CHECK err meta_open(struct log *log); /* reads __meta, fills the topic maps */
int64_t meta_turn(struct worker *worker, struct job *jobs);
MUST_CHECK err
meta_ensure_cluster(struct log *log); /* the cluster id, made at the first start */
/* Begin: nothing new is submitted, the worker stops. End, behind the flusher: the last batch.
 */
void meta_close_begin(struct log *log);
void meta_close_end(struct log *log);
void meta_free(struct log *log);
/* topics.c */
struct topic *topic_new(struct log *log, view name, uuid id, int32_t partitions, bool internal);
void topics_add(struct log *log, struct topic *topic);
void topics_remove(struct log *log, struct topic *topic);
void topic_grow(struct topic *topic, int32_t partitions);

#endif
