/* bench_wire.h - the little of Kafka's protocol that a load generator speaks.
 *
 * One fixed, never flexible version of each request (bench_apis), which every broker since
 * Kafka 2.1 answers. Requests are built into a struct writer: bench_head, fields, bench_seal.
 * The blocking calls are for set-up; the load itself runs in bench_load.c. */
#ifndef TIDEMARK_CLI_BENCH_WIRE_H
#define TIDEMARK_CLI_BENCH_WIRE_H

#include "base/base.h"

#define BENCH_HEAD_BYTES 61 /* of a record batch, before its records */
#define BENCH_CRC_START 21  /* the checksum covers what follows this place */

enum bench_api {
    BENCH_PRODUCE,
    BENCH_FETCH,
    BENCH_LIST_OFFSETS,
    BENCH_METADATA,
    BENCH_OFFSET_COMMIT,
    BENCH_FIND_COORDINATOR,
    BENCH_API_VERSIONS,
    BENCH_CREATE_TOPICS,
    BENCH_INIT_PRODUCER_ID,
    BENCH_ADD_PARTITIONS,
    BENCH_END_TXN,
    BENCH_APIS
};

struct bench_api_row {
    int16_t key, version;
    const char *name;
};
extern const struct bench_api_row bench_apis[BENCH_APIS];

/* Kafka's error numbers that set-up has to tell apart. */
enum bench_code {
    BENCH_CODE_NONE = 0,
    BENCH_CODE_LOADING = 14,
    BENCH_CODE_NO_COORDINATOR = 15,
    BENCH_CODE_NOT_COORDINATOR = 16,
    BENCH_CODE_EXISTS = 36,
    BENCH_CODE_CONCURRENT = 51,
};

void bench_head(struct writer *w, enum bench_api api, int32_t correlation);
void bench_text(struct writer *w, view text); /* i16 length; a null view is null */
void bench_seal(struct writer *w, size_t start,
                size_t more); /* length of the frame begun at start; more bytes follow it */
view bench_read_text(struct reader *r);

/* HOST:PORT to a connected, still blocking socket without delay. */
MUST_CHECK err bench_connect(const char *address, int *out);

/* One sealed request and its answer's body, correlation id checked and cut off; the body
 * lives in in until the next call. */
MUST_CHECK err bench_call(int fd, const struct writer *request, struct writer *in, view *body);

/* Refuses a broker that lacks one of bench_apis' versions. */
MUST_CHECK err bench_check_versions(int fd);

/* Creates count topics (name, or name-0, name-1, ... when count is above one) and waits until
 * every partition has a leader (of a single topic: is usable). config is "name=value,..." or
 * NULL. Topics that exist are fine; *created_ns is the time from asking to that moment, -1 when
 * all were there. */
struct bench_topics {
    const char *name, *config;
    int64_t count, partitions;
};
MUST_CHECK err bench_topics_ready(int fd, const struct bench_topics *topics,
                                  int64_t *created_ns);

/* at[partition] = offset at the timestamp (-1 latest, -2 earliest), for all partitions. */
MUST_CHECK err bench_list_offsets(int fd, const char *topic, int64_t partitions,
                                  int64_t timestamp, int64_t *at);

/* The answers of set-up, taken apart: body is what follows the correlation id. */
MUST_CHECK err bench_take_versions(view body);
MUST_CHECK err bench_take_created(view body, bool *all_there); /* clears it for a new topic */
MUST_CHECK err bench_take_led(view body, int64_t *led);        /* partitions with a leader */
MUST_CHECK err bench_take_offsets(view body, int64_t partitions, int64_t *at);

struct bench_records {
    int32_t count;
    int64_t key_bytes, value_bytes; /* key 0: none */
};
/* Appends a batch of them. Its checksum is right for producer -1. */
void bench_batch(struct writer *w, const struct bench_records *records, int64_t now_ms);

#endif
