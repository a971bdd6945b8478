/* errors.h - Kafka's error numbers, and what outcomes of log and coordinator are in them.
 *
 * The numbers are the protocol's. Which of them an API uses for the same kind of failure
 * differs (not found is 3, 25, 69, 100, 105 ...), so handlers choose; these functions map only
 * what comes up from below. */
#ifndef TIDEMARK_BROKER_ERRORS_H
#define TIDEMARK_BROKER_ERRORS_H

#include "base/base.h"
#include "coord/coord.h"
#include "log/log.h"

#define KAFKA_ERRORS(X) /* name, number */                                                     \
    X(UNKNOWN_SERVER_ERROR, -1)                                                                \
    X(NONE, 0)                                                                                 \
    X(OFFSET_OUT_OF_RANGE, 1)                                                                  \
    X(CORRUPT_MESSAGE, 2)                                                                      \
    X(UNKNOWN_TOPIC_OR_PARTITION, 3)                                                           \
    X(LEADER_NOT_AVAILABLE, 5)                                                                 \
    X(NOT_LEADER_OR_FOLLOWER, 6)                                                               \
    X(REQUEST_TIMED_OUT, 7)                                                                    \
    X(MESSAGE_TOO_LARGE, 10)                                                                   \
    X(OFFSET_METADATA_TOO_LARGE, 12)                                                           \
    X(COORDINATOR_LOAD_IN_PROGRESS, 14)                                                        \
    X(COORDINATOR_NOT_AVAILABLE, 15)                                                           \
    X(NOT_COORDINATOR, 16)                                                                     \
    X(INVALID_TOPIC, 17)                                                                       \
    X(RECORD_LIST_TOO_LARGE, 18)                                                               \
    X(NOT_ENOUGH_REPLICAS, 19)                                                                 \
    X(INVALID_REQUIRED_ACKS, 21)                                                               \
    X(ILLEGAL_GENERATION, 22)                                                                  \
    X(INCONSISTENT_GROUP_PROTOCOL, 23)                                                         \
    X(INVALID_GROUP_ID, 24)                                                                    \
    X(UNKNOWN_MEMBER_ID, 25)                                                                   \
    X(INVALID_SESSION_TIMEOUT, 26)                                                             \
    X(REBALANCE_IN_PROGRESS, 27)                                                               \
    X(INVALID_COMMIT_OFFSET_SIZE, 28)                                                          \
    X(TOPIC_AUTHORIZATION_FAILED, 29)                                                          \
    X(GROUP_AUTHORIZATION_FAILED, 30)                                                          \
    X(CLUSTER_AUTHORIZATION_FAILED, 31)                                                        \
    X(INVALID_TIMESTAMP, 32)                                                                   \
    X(UNSUPPORTED_VERSION, 35)                                                                 \
    X(TOPIC_ALREADY_EXISTS, 36)                                                                \
    X(INVALID_PARTITIONS, 37)                                                                  \
    X(INVALID_REPLICATION_FACTOR, 38)                                                          \
    X(INVALID_REPLICA_ASSIGNMENT, 39)                                                          \
    X(INVALID_CONFIG, 40)                                                                      \
    X(NOT_CONTROLLER, 41)                                                                      \
    X(INVALID_REQUEST, 42)                                                                     \
    X(POLICY_VIOLATION, 44)                                                                    \
    X(OUT_OF_ORDER_SEQUENCE_NUMBER, 45)                                                        \
    X(DUPLICATE_SEQUENCE_NUMBER, 46)                                                           \
    X(INVALID_PRODUCER_EPOCH, 47)                                                              \
    X(INVALID_TXN_STATE, 48)                                                                   \
    X(INVALID_PRODUCER_ID_MAPPING, 49)                                                         \
    X(INVALID_TRANSACTION_TIMEOUT, 50)                                                         \
    X(CONCURRENT_TRANSACTIONS, 51)                                                             \
    X(TRANSACTION_COORDINATOR_FENCED, 52)                                                      \
    X(TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 53)                                               \
    X(OPERATION_NOT_ATTEMPTED, 55)                                                             \
    X(KAFKA_STORAGE_ERROR, 56)                                                                 \
    X(LOG_DIR_NOT_FOUND, 57)                                                                   \
    X(UNKNOWN_PRODUCER_ID, 59)                                                                 \
    X(REASSIGNMENT_IN_PROGRESS, 60)                                                            \
    X(NON_EMPTY_GROUP, 68)                                                                     \
    X(GROUP_ID_NOT_FOUND, 69)                                                                  \
    X(FETCH_SESSION_ID_NOT_FOUND, 70)                                                          \
    X(INVALID_FETCH_SESSION_EPOCH, 71)                                                         \
    X(TOPIC_DELETION_DISABLED, 73)                                                             \
    X(FENCED_LEADER_EPOCH, 74)                                                                 \
    X(UNKNOWN_LEADER_EPOCH, 75)                                                                \
    X(UNSUPPORTED_COMPRESSION_TYPE, 76)                                                        \
    X(STALE_BROKER_EPOCH, 77)                                                                  \
    X(OFFSET_NOT_AVAILABLE, 78)                                                                \
    X(MEMBER_ID_REQUIRED, 79)                                                                  \
    X(GROUP_MAX_SIZE_REACHED, 81)                                                              \
    X(FENCED_INSTANCE_ID, 82)                                                                  \
    X(GROUP_SUBSCRIBED_TO_TOPIC, 86)                                                           \
    X(INVALID_RECORD, 87)                                                                      \
    X(UNSTABLE_OFFSET_COMMIT, 88)                                                              \
    X(THROTTLING_QUOTA_EXCEEDED, 89)                                                           \
    X(PRODUCER_FENCED, 90)                                                                     \
    X(RESOURCE_NOT_FOUND, 91)                                                                  \
    X(UNKNOWN_TOPIC_ID, 100)                                                                   \
    X(INCONSISTENT_TOPIC_ID, 103)                                                              \
    X(TRANSACTIONAL_ID_NOT_FOUND, 105)                                                         \
    X(FETCH_SESSION_TOPIC_ID_ERROR, 106)                                                       \
    X(MISMATCHED_ENDPOINT_TYPE, 114)                                                           \
    X(UNSUPPORTED_ENDPOINT_TYPE, 115)                                                          \
    X(TRANSACTION_ABORTABLE, 120)                                                              \
    X(REBOOTSTRAP_REQUIRED, 129)

enum kafka_error {
#define X(name, number) KAFKA_##name = number,
    KAFKA_ERRORS(X)
#undef X
};

const char *kafka_error_name(int16_t error); /* "NONE"; "?" when not listed */
/* DUPLICATE is NONE: a repeat of what is there is a success. */
int16_t kafka_of_append(enum log_append_status status);
int16_t kafka_of_batch(enum batch_fault fault);
/* What a topic change ended with (struct log_change.fault; NULL is NONE). */
int16_t kafka_of_change(const struct fault *fault);
int16_t kafka_of_coord(enum coord_status status);
/* The same for producers, whose older clients know no PRODUCER_FENCED. */
int16_t kafka_of_producer(enum coord_status status, bool knows_fenced);

#endif
