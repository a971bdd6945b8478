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
    X(8, 0, 10, 8, "OffsetCommit", offset_commit)                                              \
    X(9, 0, 10, 6, "OffsetFetch", offset_fetch)                                                \
    X(10, 0, 6, 3, "FindCoordinator", find_coordinator)                                        \
    X(11, 0, 9, 6, "JoinGroup", join_group)                                                    \
    X(12, 0, 4, 4, "Heartbeat", heartbeat)                                                     \
    X(13, 0, 5, 4, "LeaveGroup", leave_group)                                                  \
    X(14, 0, 5, 4, "SyncGroup", sync_group)                                                    \
    X(15, 0, 6, 5, "DescribeGroups", describe_groups)                                          \
    X(16, 0, 5, 3, "ListGroups", list_groups)                                                  \
    X(18, 0, 5, 3, "ApiVersions", api_versions)                                                \
    X(19, 0, 7, 5, "CreateTopics", create_topics)                                              \
    X(20, 0, 6, 4, "DeleteTopics", delete_topics)                                              \
    X(21, 0, 2, 2, "DeleteRecords", delete_records)                                            \
    X(22, 0, 5, 2, "InitProducerId", init_producer_id)                                         \
    X(23, 0, 4, 4, "OffsetForLeaderEpoch", epoch_ends)                                         \
    X(24, 0, 3, 3, "AddPartitionsToTxn", add_partitions_to_txn)                                \
    X(25, 0, 4, 3, "AddOffsetsToTxn", add_offsets_to_txn)                                      \
    X(26, 0, 5, 3, "EndTxn", end_txn)                                                          \
    X(28, 0, 6, 3, "TxnOffsetCommit", txn_offset_commit)                                       \
    X(32, 0, 4, 4, "DescribeConfigs", describe_configs)                                        \
    X(33, 0, 2, 2, "AlterConfigs", alter_configs)                                              \
    X(35, 0, 5, 2, "DescribeLogDirs", describe_log_dirs)                                       \
    X(37, 0, 3, 2, "CreatePartitions", create_partitions)                                      \
    X(42, 0, 3, 2, "DeleteGroups", delete_groups)                                              \
    X(44, 0, 1, 1, "IncrementalAlterConfigs", incremental_alter_configs)                       \
    X(47, 0, 0, NEVER_FLEXIBLE, "OffsetDelete", offset_delete)                                 \
    X(60, 0, 2, 0, "DescribeCluster", describe_cluster)                                        \
    X(61, 0, 0, 0, "DescribeProducers", describe_producers)                                    \
    X(65, 0, 0, 0, "DescribeTransactions", describe_transactions)                              \
    X(66, 0, 1, 0, "ListTransactions", list_transactions)                                      \
    X(75, 0, 0, 0, "DescribeTopicPartitions", describe_topic_partitions)

#define X(key, oldest, newest, flexible, name, functions)                                      \
    void functions##_read(struct request *r);                                                  \
    void functions##_handle(struct request *r);
APIS(X)
#undef X

#endif
