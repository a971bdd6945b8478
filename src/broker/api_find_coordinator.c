/* api_find_coordinator.c - FindCoordinator (10): who coordinates a group or a transactional id;
 * KIP-98, KIP-699 (several keys). One node coordinates all. SPDX-License-Identifier: Apache-2.0
 */
#include "broker/apis.h"

#define MANY_FROM 4

enum { KEY_GROUP, KEY_TRANSACTION };

struct ask {
    view *keys;
    size_t count;
    int8_t type;
};

void find_coordinator_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    if (r->version < MANY_FROM) {
        ask->keys = arena_take(&r->arena, sizeof(*ask->keys));
        ask->keys[0] = read_text(in, r->flexible);
        ask->count = 1;
    }
    ask->type = r->version >= 1 ? read_i8(in) : KEY_GROUP;
    if (r->version >= MANY_FROM) {
        ask->keys = request_items(r, 1, sizeof(*ask->keys), &ask->count, NULL);
        for (size_t i = 0; i < ask->count; i++) {
            ask->keys[i] = read_text(in, r->flexible);
        }
    }
    read_tags(in, r->flexible);
}

static int16_t check(const struct ask *ask)
{
    bool known = ask->type == KEY_GROUP || ask->type == KEY_TRANSACTION;

    return known ? KAFKA_NONE : KAFKA_INVALID_REQUEST;
}

static void write_node(struct request *r, int16_t error)
{
    struct writer *w = &r->answer;

    write_i32(w, error ? -1 : NODE_ID);
    write_text(w, r->flexible, error ? VIEW("") : view_text(r->broker->host));
    write_i32(w, error ? -1 : r->broker->port);
}

static void write_error(struct request *r, int16_t error)
{
    write_i16(&r->answer, error);
    if (r->version >= 1) {
        write_chars(&r->answer, r->flexible,
                    error ? "only groups and transactional ids have coordinators" : NULL);
    }
}

void find_coordinator_handle(struct request *r)
{
    const struct ask *ask = r->ask;
    struct writer *w = &r->answer;
    int16_t error = check(ask);

    if (r->version >= 1) {
        write_i32(w, r->throttle_ms);
    }
    if (r->version < MANY_FROM) {
        write_error(r, error);
        write_node(r, error);
    } else {
        write_count(w, r->flexible, ask->count);
        for (size_t i = 0; i < ask->count; i++) {
            write_text(w, r->flexible, ask->keys[i]);
            write_node(r, error);
            write_error(r, error);
            write_no_tags(w, r->flexible);
        }
    }
    write_no_tags(w, r->flexible);
    request_reply(r);
}
