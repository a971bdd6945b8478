/* errors.c - Kafka's error numbers and the mappings from outcomes of log and coordinator.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/errors.h"

const char *kafka_error_name(int16_t error)
{
    switch (error) {
#define X(name, number)                                                                        \
    case number:                                                                               \
        return #name;
        KAFKA_ERRORS(X)
#undef X
    default:
        return "?";
    }
}

int16_t kafka_of_append(enum log_append_status status)
{
    static const int16_t errors[] = {
        [LOG_APPEND_OK] = KAFKA_NONE,
        [LOG_APPEND_DUPLICATE] = KAFKA_NONE,
        [LOG_APPEND_CORRUPT] = KAFKA_CORRUPT_MESSAGE,
        [LOG_APPEND_TOO_LARGE] = KAFKA_MESSAGE_TOO_LARGE,
        [LOG_APPEND_INVALID_RECORD] = KAFKA_INVALID_RECORD,
        [LOG_APPEND_INVALID_TIMESTAMP] = KAFKA_INVALID_TIMESTAMP,
        [LOG_APPEND_NO_KEY] = KAFKA_INVALID_RECORD,
        [LOG_APPEND_OUT_OF_ORDER] = KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER,
        [LOG_APPEND_OLD_EPOCH] = KAFKA_INVALID_PRODUCER_EPOCH,
        [LOG_APPEND_UNKNOWN_PRODUCER] = KAFKA_UNKNOWN_PRODUCER_ID,
        [LOG_APPEND_TXN_STATE] = KAFKA_INVALID_TXN_STATE,
        [LOG_APPEND_TXN_MARKER_OLD] = KAFKA_TRANSACTION_COORDINATOR_FENCED,
        [LOG_APPEND_STORAGE] = KAFKA_KAFKA_STORAGE_ERROR,
        [LOG_APPEND_FULL] = KAFKA_KAFKA_STORAGE_ERROR,
        [LOG_APPEND_GONE] = KAFKA_UNKNOWN_TOPIC_OR_PARTITION,
        [LOG_APPEND_DENIED] = KAFKA_INVALID_TOPIC,
        [LOG_APPEND_OFFSET_MISMATCH] = KAFKA_UNKNOWN_SERVER_ERROR,
    };

    assert((size_t)status < COUNT(errors));
    return errors[status];
}

int16_t kafka_of_batch(enum batch_fault fault)
{
    switch (fault) {
    case BATCH_FINE:
        return KAFKA_NONE;
    case BATCH_SHORT:
    case BATCH_BAD_LENGTH:
    case BATCH_BAD_CRC:
        return KAFKA_CORRUPT_MESSAGE;
    case BATCH_BAD_CODEC:
        return KAFKA_UNSUPPORTED_COMPRESSION_TYPE;
    default:
        return KAFKA_INVALID_RECORD;
    }
}

int16_t kafka_of_change(const struct fault *change)
{
    switch (change ? change->code : OK) {
    case OK:
        return KAFKA_NONE;
    case ERR_NOT_FOUND:
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    case ERR_EXISTS:
        return KAFKA_TOPIC_ALREADY_EXISTS;
    case ERR_DENIED:
        return KAFKA_INVALID_TOPIC;
    case ERR_INVALID:
        return KAFKA_INVALID_CONFIG;
    case ERR_OUT_OF_RANGE:
        return KAFKA_OFFSET_OUT_OF_RANGE;
    case ERR_TOO_LARGE:
    case ERR_CONFLICT:
        return KAFKA_INVALID_PARTITIONS;
    case ERR_BUSY:
        return KAFKA_REQUEST_TIMED_OUT;
    case ERR_IO:
    case ERR_FULL:
    case ERR_CLOSED:
    case ERR_CORRUPT:
        return KAFKA_KAFKA_STORAGE_ERROR;
    default:
        return KAFKA_UNKNOWN_SERVER_ERROR;
    }
}

/* A coordinator that cannot write says NOT_AVAILABLE, as Kafka's does: every client family
 * comes back later for that one, while a storage error ends its consumer. */
int16_t kafka_of_coord(enum coord_status status)
{
    static const int16_t errors[] = {
        [COORD_OK] = KAFKA_NONE,
        [COORD_UNKNOWN_MEMBER] = KAFKA_UNKNOWN_MEMBER_ID,
        [COORD_ILLEGAL_GENERATION] = KAFKA_ILLEGAL_GENERATION,
        [COORD_REBALANCE_IN_PROGRESS] = KAFKA_REBALANCE_IN_PROGRESS,
        [COORD_MEMBER_ID_REQUIRED] = KAFKA_MEMBER_ID_REQUIRED,
        [COORD_FENCED_INSTANCE] = KAFKA_FENCED_INSTANCE_ID,
        [COORD_INCONSISTENT_PROTOCOL] = KAFKA_INCONSISTENT_GROUP_PROTOCOL,
        [COORD_INVALID_SESSION_TIMEOUT] = KAFKA_INVALID_SESSION_TIMEOUT,
        [COORD_GROUP_MAX_SIZE] = KAFKA_GROUP_MAX_SIZE_REACHED,
        [COORD_LOADING] = KAFKA_COORDINATOR_LOAD_IN_PROGRESS,
        [COORD_NOT_COORDINATOR] = KAFKA_NOT_COORDINATOR,
        [COORD_OFFSET_METADATA_TOO_LARGE] = KAFKA_OFFSET_METADATA_TOO_LARGE,
        [COORD_INVALID_GROUP] = KAFKA_INVALID_GROUP_ID,
        [COORD_NON_EMPTY_GROUP] = KAFKA_NON_EMPTY_GROUP,
        [COORD_GROUP_NOT_FOUND] = KAFKA_GROUP_ID_NOT_FOUND,
        [COORD_SUBSCRIBED_TO_TOPIC] = KAFKA_GROUP_SUBSCRIBED_TO_TOPIC,
        [COORD_UNSTABLE_OFFSETS] = KAFKA_UNSTABLE_OFFSET_COMMIT,
        [COORD_UNKNOWN_TOPIC] = KAFKA_UNKNOWN_TOPIC_OR_PARTITION,
        [COORD_INVALID_PRODUCER_EPOCH] = KAFKA_INVALID_PRODUCER_EPOCH,
        [COORD_PRODUCER_FENCED] = KAFKA_PRODUCER_FENCED,
        [COORD_INVALID_PRODUCER_MAPPING] = KAFKA_INVALID_PRODUCER_ID_MAPPING,
        [COORD_CONCURRENT_TRANSACTIONS] = KAFKA_CONCURRENT_TRANSACTIONS,
        [COORD_INVALID_TXN_STATE] = KAFKA_INVALID_TXN_STATE,
        [COORD_INVALID_TXN_TIMEOUT] = KAFKA_INVALID_TRANSACTION_TIMEOUT,
        [COORD_TXN_ID_NOT_FOUND] = KAFKA_TRANSACTIONAL_ID_NOT_FOUND,
        [COORD_TXN_ABORTABLE] = KAFKA_TRANSACTION_ABORTABLE,
        [COORD_INVALID_REQUEST] = KAFKA_INVALID_REQUEST,
        [COORD_TOO_MANY] = KAFKA_POLICY_VIOLATION,
        [COORD_STORAGE] = KAFKA_COORDINATOR_NOT_AVAILABLE,
        [COORD_NOT_ATTEMPTED] = KAFKA_OPERATION_NOT_ATTEMPTED,
        [COORD_CANCELLED] = KAFKA_REBALANCE_IN_PROGRESS,
    };

    static_assert(COUNT(errors) == COORD_STATUS_COUNT, "every status has a number");
    return errors[status];
}

int16_t kafka_of_producer(enum coord_status status, bool knows_fenced)
{
    int16_t error = kafka_of_coord(status);

    return error == KAFKA_PRODUCER_FENCED && !knows_fenced ? KAFKA_INVALID_PRODUCER_EPOCH
                                                           : error;
}
