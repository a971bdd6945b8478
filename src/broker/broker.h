/* broker.h - the Kafka door: a listener that speaks Kafka's wire protocol over log and coord.
 *
 * broker_open starts net.threads loop threads; loop 0 accepts and deals connections out. The
 * log and the coordinator are borrowed and must outlive it. broker_close stops accepting, lets
 * requests in flight finish for drain_ms, then closes what is left. Any thread. */
#ifndef TIDEMARK_BROKER_BROKER_H
#define TIDEMARK_BROKER_BROKER_H

#include "base/base.h"
#include "http/http.h"

struct broker;
struct coord;
struct log;
struct option;
struct topic_settings;

struct broker_config {
    const char *listen;        /* "127.0.0.1:9092"; port 0 picks a free one */
    bool insecure_listen;      /* permits an address that others can reach */
    const char *advertised;    /* "host:port" or "host"; NULL: what listen says */
    int64_t net_threads;       /* loops */
    int64_t connections_max;   /* more are refused; also kept under the descriptor limit */
    int64_t idle_ms_max;       /* connections without a request so long are closed */
    int64_t request_bytes_max; /* of one frame */
    int64_t queued_bytes_max;  /* of all frames in memory; over it sockets are muted */
    int64_t in_flight_max;     /* requests of one connection under way, then it is muted */
    int64_t drain_ms;          /* broker_close */
    bool auto_create_topics;   /* Metadata creates what is missing */
    int64_t num_partitions;    /* of topics created without a number */
    int64_t fetch_bytes_max;   /* of one answer, whatever the client asks */
    int64_t produce_rate;      /* bytes per second and client id; 0: no quota */
    int64_t fetch_rate;
    const char *folder;           /* of the log's data, for DescribeLogDirs; NULL: not said */
    const struct option *options; /* the server's own, shown by DescribeConfigs; borrowed */
    size_t option_count;
    const void *option_values;
    const struct topic_settings *topic_defaults; /* of topics that do not say otherwise;
                                                    borrowed; NULL: the presets */
};

void broker_config_preset(struct broker_config *config);
/* ERR_DENIED: not loopback and not insecure_listen; ERR_BUSY: the address is taken. */
MUST_CHECK err broker_open(struct os *os, const struct broker_config *config, struct log *log,
                           struct coord *coord, struct broker **out);
const char *broker_address(const struct broker *broker); /* "127.0.0.1:9092", the real port */
int broker_port(const struct broker *broker);
struct http_door broker_door(struct broker *broker);            /* its rows: topics, groups */
void broker_close(struct broker *broker);                       /* accepts NULL */
void broker_metrics(struct broker *broker, struct writer *out); /* Prometheus samples */

#endif
