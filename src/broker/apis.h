/* apis.h - the table of APIs, as rows; apis.c makes the array of it. Internal to the broker.
 *
 * A row is what ApiVersions tells clients. Ranges start where Kafka's started before 4.0 when
 * a client in use decides by that floor: librdkafka takes codecs and features from overlaps
 * with fixed windows, kafkajs never looks at a minimum. For each row NAME_read and NAME_handle
 * exist in api_*.c. */
#ifndef TIDEMARK_BROKER_APIS_H
#define TIDEMARK_BROKER_APIS_H

#include "broker/request.h"

#define NEVER_FLEXIBLE INT16_MAX

#define APIS(X) /* key, oldest, newest, flexible from, name, functions */                      \
    X(0, 0, 13, 9, "Produce", produce)                                                         \
    X(1, 4, 18, 12, "Fetch", fetch)                                                            \
    X(2, 1, 11, 6, "ListOffsets", list_offsets)                                                \
    X(3, 0, 13, 9, "Metadata", metadata)                                                       \
    X(18, 0, 5, 3, "ApiVersions", api_versions)                                                \
    X(19, 0, 7, 5, "CreateTopics", create_topics)

#define X(key, oldest, newest, flexible, name, functions)                                      \
    void functions##_read(struct request *r);                                                  \
    void functions##_handle(struct request *r);
APIS(X)
#undef X

#endif
