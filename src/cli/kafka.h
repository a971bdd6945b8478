/* kafka.h - the Kafka client of produce and consume: librdkafka, loaded when first used;
 * internal to cli/.
 *
 * Not our own codec: these two must behave like any other client (group protocol, retries,
 * codecs of batches that others wrote), and nobody else in the program needs a client. Not
 * linked either: the server, the same binary, would carry its thirty shared objects. */
#ifndef TIDEMARK_CLI_KAFKA_H
#define TIDEMARK_CLI_KAFKA_H

#include <librdkafka/rdkafka.h>

#include "cli/command.h"

#define KAFKA_CALLS(X) /* what we call of it, without rd_kafka_ */                             \
    X(conf_new)                                                                                \
    X(conf_set)                                                                                \
    X(conf_set_opaque)                                                                         \
    X(conf_set_dr_msg_cb)                                                                      \
    X(conf_set_error_cb)                                                                       \
    X(conf_set_log_cb)                                                                         \
    X(conf_set_rebalance_cb)                                                                   \
    X(conf_destroy)                                                                            \
    X(new)                                                                                     \
    X(destroy)                                                                                 \
    X(poll)                                                                                    \
    X(flush)                                                                                   \
    X(purge)                                                                                   \
    X(outq_len)                                                                                \
    X(produceva)                                                                               \
    X(error_code)                                                                              \
    X(error_destroy)                                                                           \
    X(err2str)                                                                                 \
    X(topic_new)                                                                               \
    X(topic_destroy)                                                                           \
    X(topic_name)                                                                              \
    X(metadata)                                                                                \
    X(metadata_destroy)                                                                        \
    X(poll_set_consumer)                                                                       \
    X(consumer_poll)                                                                           \
    X(consumer_close)                                                                          \
    X(subscribe)                                                                               \
    X(assign)                                                                                  \
    X(offset_store)                                                                            \
    X(commit)                                                                                  \
    X(offsets_for_times)                                                                       \
    X(query_watermark_offsets)                                                                 \
    X(topic_partition_list_new)                                                                \
    X(topic_partition_list_add)                                                                \
    X(topic_partition_list_destroy)                                                            \
    X(message_destroy)                                                                         \
    X(message_timestamp)                                                                       \
    X(message_headers)                                                                         \
    X(message_errstr)                                                                          \
    X(headers_new)                                                                             \
    X(header_add)                                                                              \
    X(header_get_all)                                                                          \
    X(headers_destroy)

struct kafka {
    void *library;
#define X(name) __typeof__(&rd_kafka_##name) name;
    KAFKA_CALLS(X)
#undef X
    rd_kafka_conf_t *conf; /* until opened */
    rd_kafka_t *client;
    char down[256]; /* what the library said last about its connections */
};

/* Loads the library and begins a configuration for the server at common->kafka. */
MUST_CHECK err kafka_prepare(struct kafka *k, const struct common *common);
MUST_CHECK err kafka_set(struct kafka *k, const char *name, const char *value);
/* Opens, and asks for the topic: NOT_FOUND when there is none; sets cli->unreachable. */
MUST_CHECK err kafka_open(struct kafka *k, struct cli *cli, rd_kafka_type_t type,
                          const char *topic, int32_t *partitions);
void kafka_close(struct kafka *k);
/* A failure in words, with what to do about it. */
err kafka_fault(const struct kafka *k, rd_kafka_resp_err_t code, const char *what);
const char *kafka_fix(rd_kafka_resp_err_t code); /* "" when nothing is known */

/* "17 written" over itself on standard error, a few times a second and at last; *due_ns is 0 at
 * first. For whoever has found a terminal there. */
void progress_show(int64_t *due_ns, int64_t count, const char *done, bool last);

/* SIGINT and SIGTERM ask to stop; a second one ends the process. */
void stop_on_signals(void);
bool stop_was_asked(void);

#endif
