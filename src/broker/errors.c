/* errors.c - Kafka's error numbers and the mappings from the log's outcomes.
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
