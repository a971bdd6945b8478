/* snapshot.h - the rows a database has already: several tables at once, large ones in chunks.
 *
 * Two ways, one interface:
 *
 *   exported   at the slot's creation: all workers read in the snapshot it exported, so rows
 *              are exactly those of commits before its consistent point. Rows come on the
 *              workers' threads; the stream is started when all is done.
 *   watermark  later (a crash broke the first, or one table anew): each chunk is read between
 *              two logical messages. The capture thread shows every change and message of the
 *              stream to snapshot_follow(); at the second message the rows come there, on the
 *              capture's own thread, less those that the stream touched between the two.
 *
 * A chunk is a range of a table's pages. Finished ones are told to target.chunk as JSON, to be
 * kept and given back as `done`: then they are not read again. A row that an update moves out
 * of an unread page into a read one comes only as that update (with what it did not carry
 * marked unknown). Tables without any key are one chunk of at most SNAPSHOT_KEYLESS_BYTES in
 * watermark mode. Source: PostgreSQL 55.4, 9.27 (pg_export_snapshot), "COPY". */
#ifndef TIDEMARK_AUDIT_SNAPSHOT_H
#define TIDEMARK_AUDIT_SNAPSHOT_H

#include "audit/change.h"
#include "audit/pg.h"

#define SNAPSHOT_MESSAGE_PREFIX "_tidemark_snapshot"
#define SNAPSHOT_KEYLESS_BYTES (256 << 20)
#define SNAPSHOT_WORKERS_MAX 16

/* Called with different workers at once, with one worker never. An error ends the snapshot. */
struct snapshot_target {
    /* CHANGE_READ. Everything in it is valid during the call. place: lsn and commit_lsn are the
     * snapshot's point (watermark mode: the second message's), seq differs in each row. */
    err (*row)(void *self, int worker, const struct change *change);
    /* All rows of a chunk were given: make them durable, then keep note (JSON). */
    err (*chunk)(void *self, int worker, view note);
    void *self;
};

struct snapshot_table {
    uint32_t oid;              /* of what is published: the root of a partitioned table */
    struct relation *relation; /* as the ledger has it; held by the snapshot while it runs */
};

struct snapshot_config {
    struct os *os;
    struct pg_target database; /* of the workers' connections; texts borrowed for its life */
    const char *exported;      /* name of the exported snapshot; NULL: watermark mode */
    uint64_t lsn;              /* exported mode: the slot's consistent point */
    int64_t now_us;            /* committed_us of the rows */
    int64_t id;                /* watermark mode: tells this snapshot's messages from others */
    int workers;               /* connections, 1 .. SNAPSHOT_WORKERS_MAX */
    int64_t chunk_rows;        /* about so many rows a chunk; 0: a preset */
    int64_t bytes_per_second;  /* all workers together; 0: no limit */
    const struct snapshot_table *tables;
    size_t table_count;
    const view *done; /* notes of chunks that need not be read again */
    size_t done_count;
};

struct snapshot;
/* Connects all workers and, in exported mode, imports the snapshot in each: from then on the
 * connection that exported it may go on. Worker threads run when it returns. */
MUST_CHECK err snapshot_start(const struct snapshot_config *config,
                              const struct snapshot_target *target, struct snapshot **out);
/* Watermark mode, capture thread: each CHANGE_* of committed transactions in turn. Calls
 * target.row and target.chunk with worker 0 .. workers - 1. Cheap while no chunk is open. */
MUST_CHECK err snapshot_follow(struct snapshot *snapshot, const struct change *change);
/* *done true: all rows were given, or it has failed, which is the error. Waits up to wait_ms.
 */
MUST_CHECK err snapshot_wait(struct snapshot *snapshot, int64_t wait_ms, bool *done);

struct snapshot_progress {
    int64_t rows, rows_estimate, bytes;
    int64_t chunks, chunks_done;
    int64_t tables, tables_done;
    char table[130]; /* one that is being read */
};
void snapshot_progress(struct snapshot *snapshot, struct snapshot_progress *out);
/* Ends the workers wherever they are, and frees it. Accepts NULL. */
void snapshot_stop(struct snapshot *snapshot);

#endif
