/* bench_load.h - the engine of every load: connections, pipelining, schedule, counting.
 *
 * threads x epoll. Each connection keeps up to `depth` requests under way; answers come in
 * order. Closed loop: a new request as soon as there is room. Open loop (rate > 0): request k
 * has an intended time on a fixed schedule, and its latency counts from then, sent late or
 * not. What a request holds is the load's business:
 *
 *   open    once for each connection, blocking, before the clock starts
 *   fill    build the next request: head bytes, and parts that point into them or into
 *           memory that lives on; BENCH_FILL_LATER when an answer has to come first,
 *           BENCH_FILL_NEVER when this connection is done
 *   answer  take the body of an answer; say how many records and bytes it was worth
 *
 * Counted are answers between the end of the warm-up and the end, but not those that were worth
 * no record. */
#ifndef TIDEMARK_CLI_BENCH_LOAD_H
#define TIDEMARK_CLI_BENCH_LOAD_H

#include "cli/bench_histogram.h"
#include "cli/bench_wire.h"

#define BENCH_PARTS_MAX 128 /* pieces of memory a request is sent from */

/* What was asked for on the command line; see the table in bench.c. */
struct bench_plan {
    char *kafka, *topic, *config, *group;
    int64_t topics, partitions, connections, threads, depth, bundle, acks;
    int64_t key_bytes, record_bytes, batch_bytes, producers;
    int64_t duration_ms, warmup_ms, records, rate;
    int64_t fetch_bytes, answer_bytes, least_bytes, wait_ms, pause_ms;
    bool idempotent, create, latest, repeat, check, json;
};

struct bench_slot {
    struct writer head; /* the request's own bytes */
    struct iovec parts[BENCH_PARTS_MAX];
    int part_count, part_next; /* next: first not wholly sent */
    int32_t correlation;
    int64_t intended_ns;
    uint64_t records, bytes; /* what its answer will be worth; fill or answer sets them */
};

struct bench_thread;
struct bench_conn {
    int fd, index;
    struct bench_thread *thread;
    struct bench_slot *slots;     /* ring of plan->depth */
    int64_t filled, sent, closed; /* requests so far: slot = number % depth */
    struct writer in;             /* received, not yet taken apart */
    size_t in_start;              /* of in: taken apart already */
    int64_t due_ns;               /* open loop: of its next request */
    bool wants_write, done;
    void *own; /* the load's */
};

enum bench_fill { BENCH_FILLED, BENCH_FILL_LATER, BENCH_FILL_NEVER };

struct bench_load {
    err (*open)(struct bench_conn *conn);
    enum bench_fill (*fill)(struct bench_conn *conn, struct bench_slot *slot);
    err (*answer)(struct bench_conn *conn, struct bench_slot *slot, view body);
    void (*close)(struct bench_conn *conn); /* frees conn->own; may be NULL */
};

struct bench_counts {
    uint64_t requests, records, bytes; /* inside the measured time */
    uint64_t all_records, all_bytes;   /* warm-up and the end included */
    uint64_t errors;                   /* of partitions in answers */
    int16_t first_error;               /* Kafka's number */
    int64_t first_ns, last_ns;         /* of the answers counted */
    struct bench_histogram latency;    /* intended send to answer */
};

struct bench_run;
struct bench_thread {
    struct bench_run *run;
    struct bench_conn *conns; /* its own */
    int64_t conn_count, conns_done;
    int epoll;
    struct bench_counts counts;
    struct fault *fault; /* why it ended early, or NULL */
    pthread_t thread;
};

/* One record batch, built once: its records are sent from here by all connections, its head is
 * copied into each request and patched. */
struct bench_batch {
    struct writer bytes; /* the whole batch */
    int32_t count;       /* records in it */
};

struct bench_producer {
    int64_t id; /* -1: none */
    int16_t epoch;
    int32_t sequence;
    bool transactional;
};

struct bench_run {
    const struct bench_plan *plan;
    const struct bench_load *load;
    struct bench_batch batch; /* what is produced */
    int64_t start_ns, measure_ns, end_ns;
    _Atomic int64_t records_left; /* closed when it falls to 0; plan->records 0: endless */
    _Atomic bool stop;
    double client_cpu_s;
    double seconds; /* measured time that passed */
};

/* Runs the load to its end and gives the merged counts. */
MUST_CHECK err bench_load_run(struct bench_run *run, struct bench_counts *out);

/* For answer(): counts an error of Kafka's. */
void bench_count_error(struct bench_conn *conn, int16_t code);

static inline const struct bench_plan *bench_plan_of(const struct bench_conn *conn)
{
    return conn->thread->run->plan;
}

/* The loads. */
extern const struct bench_load bench_load_produce, bench_load_consume, bench_load_idle,
    bench_load_commit, bench_load_transact;

/* The partitions that connection index of the plan works on; count of them, the caller's. */
int32_t *bench_partitions(const struct bench_plan *plan, int64_t index, int64_t *count);
void bench_batch_init(struct bench_batch *batch, const struct bench_plan *plan);
/* A head with this time, producer and sequence, and the checksum that goes with them. */
void bench_batch_head(const struct bench_batch *batch, uint8_t head[BENCH_HEAD_BYTES],
                      const struct bench_producer *producer, int64_t now_ms);
/* Adds one Produce partition to the head; its parts are set by bench_slot_parts at the end. */
void bench_slot_partition(struct bench_slot *slot, int32_t partition,
                          const struct bench_batch *batch,
                          const uint8_t head[BENCH_HEAD_BYTES]);
void bench_slot_seal(struct bench_slot *slot, const struct bench_batch *batch);
/* Of an answer to Produce: counts its errors; takes their worth off the slot. */
err bench_produced(struct bench_conn *conn, struct bench_slot *slot, view body);

#endif
