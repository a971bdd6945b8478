/* api_describe_cluster.c - DescribeCluster (60): the nodes and the controller; KIP-700, KIP-919
 * (endpoint types). SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

enum { ENDPOINT_BROKERS = 1, ENDPOINT_CONTROLLERS = 2 };

struct ask {
    bool operations;
    int8_t endpoint;
};

void describe_cluster_read(struct request *r)
{
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->operations = read_bool(&r->body);
    ask->endpoint = r->version >= 1 ? read_i8(&r->body) : ENDPOINT_BROKERS;
    if (r->version >= 2) {
        read_bool(&r->body); /* fenced brokers too: there are none */
    }
    read_tags(&r->body, r->flexible);
}

static int16_t check(const struct ask *ask, const char **words)
{
    if (ask->endpoint == ENDPOINT_BROKERS) {
        return KAFKA_NONE;
    }
    *words = "this is the address of a broker";
    return ask->endpoint == ENDPOINT_CONTROLLERS ? KAFKA_MISMATCHED_ENDPOINT_TYPE
                                                 : KAFKA_UNSUPPORTED_ENDPOINT_TYPE;
}

static void write_node(struct request *r)
{
    struct writer *w = &r->answer;

    write_i32(w, NODE_ID);
    write_text(w, r->flexible, view_text(r->broker->host));
    write_i32(w, r->broker->port);
    write_chars(w, r->flexible, NULL); /* rack */
    if (r->version >= 2) {
        write_bool(w, false); /* fenced */
    }
    write_no_tags(w, r->flexible);
}

void describe_cluster_handle(struct request *r)
{
    const struct ask *ask = r->ask;
    struct writer *w = &r->answer;
    const char *words = NULL;
    int16_t error = check(ask, &words);

    write_i32(w, r->throttle_ms);
    write_i16(w, error);
    write_chars(w, r->flexible, words);
    if (r->version >= 1) {
        write_i8(w, ENDPOINT_BROKERS);
    }
    write_chars(w, r->flexible, r->broker->cluster_id);
    write_i32(w, NODE_ID); /* the controller */
    write_count(w, r->flexible, error ? 0 : 1);
    if (!error) {
        write_node(r);
    }
    write_i32(w, ask->operations && !error ? OPERATIONS_CLUSTER : OPERATIONS_NOT_ASKED);
    write_no_tags(w, r->flexible);
    request_reply(r);
}
