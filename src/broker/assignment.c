/* assignment.c - what a consumer was given, as Kafka's consumers tell one another.
 *
 * ConsumerProtocolAssignment: version i16, topics [name text, partitions [i32]], user data
 * bytes. It passes through the coordinator unread, and anything may be in it: other kinds of
 * members (Connect, Streams) have formats of their own. SPDX-License-Identifier: Apache-2.0 */
#include "broker/routes.h"

#define TOPIC_WIRE_BYTES 6 /* a length and a count, at least */

static void one_topic(struct reader *in, struct json_writer *j)
{
    view name = read_bytes(in, read_u16(in));
    int64_t count = read_i32(in);

    in->bad = in->bad || count < 0 || (size_t)count > in->rest.len / sizeof(int32_t);
    if (j) {
        json_name_view(j, name);
        json_array(j);
    }
    for (int64_t i = 0; i < count && !in->bad; i++) {
        int32_t partition = read_i32(in);
        if (j) {
            json_int(j, partition);
        }
    }
    if (j) {
        json_end_array(j);
    }
}

static bool walk(view assignment, struct json_writer *j)
{
    struct reader in = {.rest = assignment};
    int16_t version = read_i16(&in);
    int64_t count = read_i32(&in);

    in.bad =
        in.bad || version < 0 || count < 0 || (size_t)count > in.rest.len / TOPIC_WIRE_BYTES;
    for (int64_t i = 0; i < count && !in.bad; i++) {
        one_topic(&in, j);
    }
    return !in.bad;
}

bool assignment_to_json(view assignment, struct json_writer *j)
{
    if (!walk(assignment, NULL)) {
        return false;
    }
    json_object(j);
    (void)walk(assignment, j);
    json_end_object(j);
    return true;
}
