"""Topics, settings and what operators look at, through stock clients and, where these cannot ask, message by message."""

import confluent_kafka
import kafka
import kafka.admin
import pytest
from confluent_kafka.admin import ConfigResource, NewPartitions
from support import clients
from support.wire import Connection

SECONDS = clients.CLIENT_SECONDS
NONE, UNKNOWN_TOPIC, INVALID_TOPIC, INVALID_PARTITIONS, INVALID_CONFIG, INVALID_REQUEST = 0, 3, 17, 37, 40, 42
OUT_OF_RANGE, POLICY_VIOLATION, UNKNOWN_TOPIC_ID = 1, 44, 100
TOPIC, BROKER = 2, 4
FROM_TOPIC, FROM_FILE, FROM_DEFAULT = 1, 4, 5
SET, DELETE, APPEND, SUBTRACT = range(4)


def describe(server, kind, name):
    admin = clients.confluent_admin(server)
    resource = ConfigResource(kind, name)
    return admin.describe_configs([resource])[resource].result(SECONDS)


def edit(connection, topic, *operations, only_check=False):
    """IncrementalAlterConfigs: (name, operation, value)...; gives error and words."""
    configs = [{"Name": name, "ConfigOperation": operation, "Value": value} for name, operation, value in operations]
    answer = connection.ask(44, 1, {"Resources": [{"ResourceType": TOPIC, "ResourceName": topic, "Configs": configs}],
                                    "ValidateOnly": only_check})["Responses"][0]
    return answer["ErrorCode"], answer["ErrorMessage"]


def test_settings_of_a_topic_are_shown_with_their_sources(servers):
    server = servers("--topic-retention-bytes", "1GiB").start()
    clients.make_topic(server, "kept", config={"retention.ms": "60000", "cleanup.policy": "compact"})
    shown = describe(server, ConfigResource.Type.TOPIC, "kept")
    assert (shown["retention.ms"].value, shown["retention.ms"].source) == ("60000", FROM_TOPIC)
    assert (shown["retention.bytes"].value, shown["retention.bytes"].source) == (str(1 << 30), FROM_FILE)
    assert (shown["segment.bytes"].value, shown["segment.bytes"].source) == (str(1 << 30), FROM_DEFAULT)
    assert shown["cleanup.policy"].value == "compact"
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        describe(server, ConfigResource.Type.TOPIC, "absent")
    assert caught.value.args[0].code() == UNKNOWN_TOPIC


def test_settings_of_the_server_are_shown_and_not_changed(servers):
    server = servers("--num-partitions", "3").start()
    shown = describe(server, ConfigResource.Type.BROKER, "1")
    assert (shown["num.partitions"].value, shown["num.partitions"].source) == ("3", FROM_FILE)
    assert (shown["log.round.max.bytes"].value, shown["log.round.max.bytes"].source) == (str(4 << 20), FROM_DEFAULT)
    assert all(setting.is_read_only for setting in shown.values())
    admin = clients.confluent_admin(server)
    resource = ConfigResource(ConfigResource.Type.BROKER, "1", set_config={"num.partitions": "9"})
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        admin.alter_configs([resource])[resource].result(SECONDS)
    assert caught.value.args[0].code() == INVALID_REQUEST and "configuration file" in caught.value.args[0].str()


def test_altering_gives_a_topic_all_its_settings_anew(server):
    clients.make_topic(server, "plastic", config={"retention.ms": "60000"})
    admin = clients.confluent_admin(server)

    def alter(settings, **more):
        resource = ConfigResource(ConfigResource.Type.TOPIC, "plastic", set_config=settings)
        admin.alter_configs([resource], **more)[resource].result(SECONDS)
    alter({"segment.bytes": "1048576"}, validate_only=True)
    assert describe(server, ConfigResource.Type.TOPIC, "plastic")["retention.ms"].value == "60000"
    alter({"segment.bytes": "1048576"})
    shown = describe(server, ConfigResource.Type.TOPIC, "plastic")
    assert (shown["segment.bytes"].value, shown["retention.ms"].source) == ("1048576", FROM_DEFAULT)
    for wrong in ({"retention.mss": "1"}, {"retention.ms": "soon"}):
        with pytest.raises(confluent_kafka.KafkaException) as caught:
            alter(wrong)
        assert caught.value.args[0].code() == INVALID_CONFIG, caught.value
    server.restart()
    assert describe(server, ConfigResource.Type.TOPIC, "plastic")["segment.bytes"].value == "1048576"


def test_single_settings_are_set_removed_and_edited_as_lists(server, field_lists):
    clients.make_topic(server, "edited", config={"retention.ms": "60000"})

    def policy():
        return describe(server, ConfigResource.Type.TOPIC, "edited")["cleanup.policy"].value
    with Connection(server, field_lists) as connection:
        assert edit(connection, "edited", ("cleanup.policy", APPEND, "compact")) == (NONE, None)
        assert sorted(policy().split(",")) == ["compact", "delete"]
        assert edit(connection, "edited", ("cleanup.policy", SUBTRACT, "delete"),
                    ("retention.ms", DELETE, None)) == (NONE, None)
        assert policy() == "compact"
        shown = describe(server, ConfigResource.Type.TOPIC, "edited")
        assert shown["retention.ms"].source == FROM_DEFAULT
        assert edit(connection, "edited", ("retention.ms", SET, "5000"), only_check=True) == (NONE, None)
        assert describe(server, ConfigResource.Type.TOPIC, "edited")["retention.ms"].source == FROM_DEFAULT
        assert edit(connection, "edited", ("retention.ms", APPEND, "1"))[0] == INVALID_CONFIG
        assert edit(connection, "edited", ("retention.ms", SET, None))[0] == INVALID_REQUEST
        assert edit(connection, "edited", ("retention.ms", 9, "1"))[0] == INVALID_REQUEST
        assert edit(connection, "edited", ("a", SET, "1"), ("a", SET, "2"))[0] == INVALID_REQUEST
        assert edit(connection, "absent", ("retention.ms", SET, "1"))[0] == UNKNOWN_TOPIC


def test_keys_that_nobody_knows_are_left_out(server, field_lists):
    clients.make_topic(server, "asked")
    keys = ["retention.ms", "no.such.setting"]
    with Connection(server, field_lists) as connection:
        answer = connection.ask(32, 4, {"Resources": [
            {"ResourceType": TOPIC, "ResourceName": "asked", "ConfigurationKeys": keys},
            {"ResourceType": BROKER, "ResourceName": "", "ConfigurationKeys": None},
            {"ResourceType": 8, "ResourceName": "1", "ConfigurationKeys": None}],
            "IncludeSynonyms": True, "IncludeDocumentation": True})
    topic, cluster, loggers = answer["Results"]
    assert [one["Name"] for one in topic["Configs"]] == ["retention.ms"]
    assert [(one["Value"], one["Source"]) for one in topic["Configs"][0]["Synonyms"]] == [("604800000", FROM_DEFAULT)]
    assert "long" in topic["Configs"][0]["Documentation"]
    assert (cluster["ErrorCode"], cluster["Configs"]) == (NONE, [])
    assert loggers["ErrorCode"] == INVALID_REQUEST


def test_partitions_are_added_and_never_taken_away(server):
    clients.make_topic(server, "grown", 2)
    admin = clients.confluent_admin(server)
    admin.create_partitions([NewPartitions("grown", 5)])["grown"].result(SECONDS)
    assert len(admin.list_topics("grown", SECONDS).topics["grown"].partitions) == 5
    for count in (5, 3):
        with pytest.raises(confluent_kafka.KafkaException) as caught:
            admin.create_partitions([NewPartitions("grown", count)])["grown"].result(SECONDS)
        assert caught.value.args[0].code() == INVALID_PARTITIONS
    admin.create_partitions([NewPartitions("grown", 9)], validate_only=True)["grown"].result(SECONDS)
    assert len(admin.list_topics("grown", SECONDS).topics["grown"].partitions) == 5
    with pytest.raises(confluent_kafka.KafkaException):
        admin.create_partitions([NewPartitions("absent", 9)])["absent"].result(SECONDS)
    server.restart()
    clients.kcat_produce(server, "grown", ["last"], "-p", "4")


def test_a_topic_made_again_is_another_one(server):
    producer = clients.confluent_producer(server, topic_metadata_refresh_interval_ms=200)
    for generation in range(3):
        clients.make_topic(server, "again")
        for number in range(generation + 1):
            producer.produce("again", f"{generation}/{number}")
        assert producer.flush(SECONDS) == 0
        assert clients.kcat_consume(server, "again") == [f"{generation}/{number}" for number in range(generation + 1)]
        clients.delete_topic(server, "again")


def test_internal_topics_are_closed_to_clients(server):
    clients.kcat_produce(server, "plain", ["x"])
    consumer = clients.confluent_consumer(server, "committers")
    consumer.commit(offsets=[confluent_kafka.TopicPartition("plain", 0, 1)], asynchronous=False)
    consumer.close()
    admin = clients.confluent_admin(server)
    name = "__consumer_offsets"
    assert name in admin.list_topics(timeout=SECONDS).topics
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, set_config={"retention.ms": "1"})
    for future in (admin.delete_topics([name])[name], admin.create_partitions([NewPartitions(name, 99)])[name],
                   admin.alter_configs([resource])[resource]):
        with pytest.raises(confluent_kafka.KafkaException) as caught:
            future.result(SECONDS)
        assert caught.value.args[0].code() == INVALID_TOPIC
    refused = []
    producer = clients.confluent_producer(server)
    producer.produce(name, "x", on_delivery=lambda error, _: refused.append(error.code()))
    producer.flush(SECONDS)
    assert refused == [INVALID_TOPIC]


def test_records_are_deleted_up_to_an_offset_and_not_from_compacted_topics(server, field_lists):
    clients.kcat_produce(server, "trimmed", range(10))
    clients.make_topic(server, "compacted", config={"cleanup.policy": "compact"})

    def trim(topic, offset, partition=0):
        parts = [{"PartitionIndex": partition, "Offset": offset}]
        answer = connection.ask(21, 2, {"Topics": [{"Name": topic, "Partitions": parts}], "TimeoutMs": 1000})
        part = answer["Topics"][0]["Partitions"][0]
        return part["ErrorCode"], part["LowWatermark"]
    with Connection(server, field_lists) as connection:
        assert trim("trimmed", 4) == (NONE, 4)
        assert trim("trimmed", 2) == (NONE, 4)
        assert clients.kcat_consume(server, "trimmed") == list("456789")
        assert trim("trimmed", 11) == (OUT_OF_RANGE, -1)
        assert trim("trimmed", 0, 7) == (UNKNOWN_TOPIC, -1)
        assert trim("compacted", 0) == (POLICY_VIOLATION, -1)
        assert trim("trimmed", -1) == (NONE, 10)
    assert clients.kcat_consume(server, "trimmed") == []


def test_topics_are_described_in_pages(server, field_lists):
    for name, partitions in (("a", 3), ("b", 1), ("c", 4)):
        clients.make_topic(server, name, partitions)
    cursor, seen, pages = None, [], 0
    with Connection(server, field_lists) as connection:
        while pages == 0 or cursor is not None:
            answer = connection.ask(75, 0, {"Topics": [{"Name": name} for name in "cab"], "ResponsePartitionLimit": 3,
                                            "Cursor": cursor})
            seen += [(topic["Name"], part["PartitionIndex"]) for topic in answer["Topics"] for part in topic["Partitions"]]
            cursor, pages = answer["NextCursor"], pages + 1
        missing = connection.ask(75, 0, {"Topics": [{"Name": "b"}, {"Name": "zz"}], "ResponsePartitionLimit": 9,
                                         "Cursor": None})
        everything = connection.ask(75, 0, {"Topics": [], "ResponsePartitionLimit": 2000, "Cursor": None})
    assert seen == [(name, part) for name, count in (("a", 3), ("b", 1), ("c", 4)) for part in range(count)]
    assert pages == 3
    assert [(topic["Name"], topic["ErrorCode"]) for topic in missing["Topics"]] == [("b", NONE), ("zz", UNKNOWN_TOPIC)]
    assert {"a", "b", "c"} <= {topic["Name"] for topic in everything["Topics"]}


def test_topics_are_deleted_by_id_and_offsets_committed_by_it(server, field_lists):
    clients.kcat_produce(server, "by-id", ["x"])
    with Connection(server, field_lists) as connection:
        topic = connection.ask(3, 12, {"Topics": [{"TopicId": bytes(16), "Name": "by-id"}], "AllowAutoTopicCreation": False,
                                       "IncludeTopicAuthorizedOperations": False})["Topics"][0]
        ids = (topic["TopicId"], b"\x07" * 16)
        part = {"PartitionIndex": 0, "CommittedOffset": 1, "CommittedLeaderEpoch": -1, "CommittedMetadata": "note"}
        answer = connection.ask(8, 10, {"GroupId": "g", "GenerationIdOrMemberEpoch": -1, "MemberId": "",
                                        "GroupInstanceId": None,
                                        "Topics": [{"TopicId": one, "Partitions": [part]} for one in ids]})
        assert [one["Partitions"][0]["ErrorCode"] for one in answer["Topics"]] == [NONE, UNKNOWN_TOPIC_ID]
        groups = [{"GroupId": "g", "MemberId": None, "MemberEpoch": -1, "Topics": None}]
        found = connection.ask(9, 10, {"Groups": groups, "RequireStable": True})["Groups"][0]["Topics"]
        kept = found[0]["Partitions"][0]
        assert (len(found), found[0]["TopicId"], kept["CommittedOffset"], kept["Metadata"]) == (1, ids[0], 1, "note")
        gone = connection.ask(20, 6, {"Topics": [{"Name": None, "TopicId": one} for one in ids], "TimeoutMs": 1000})
        assert [(one["Name"], one["ErrorCode"]) for one in gone["Responses"]] == \
            [("by-id", NONE), (None, UNKNOWN_TOPIC_ID)]


def test_open_transactions_and_their_producers_can_be_found(server, field_lists):
    clients.make_topic(server, "busy")
    producer = clients.confluent_producer(server, transactional_id="hung")
    producer.init_transactions(SECONDS)
    producer.begin_transaction()
    producer.produce("busy", "x")
    assert producer.flush(SECONDS) == 0
    with Connection(server, field_lists) as connection:
        question = {"StateFilters": ["Ongoing", "Odd"], "ProducerIdFilters": [], "DurationFilter": -1}
        listed = connection.ask(66, 1, question)
        assert [one["TransactionalId"] for one in listed["TransactionStates"]] == ["hung"]
        assert listed["UnknownStateFilters"] == ["Odd"]
        hung, absent = connection.ask(65, 0, {"TransactionalIds": ["hung", "absent"]})["TransactionStates"]
        assert (hung["TransactionState"], hung["Topics"]) == ("Ongoing", [{"Topic": "busy", "Partitions": [0]}])
        assert absent["ErrorCode"] == 105
        answer = connection.ask(61, 0, {"Topics": [{"Name": "busy", "PartitionIndexes": [0, 5]}]})
        there, missing = answer["Topics"][0]["Partitions"]
        assert [(one["ProducerId"], one["CurrentTxnStartOffset"]) for one in there["ActiveProducers"]] == \
            [(hung["ProducerId"], 0)]
        assert missing["ErrorCode"] == UNKNOWN_TOPIC
        producer.commit_transaction(SECONDS)
        assert connection.ask(66, 1, question)["TransactionStates"] == []


def test_the_cluster_and_its_folder_are_described(server, field_lists):
    clients.kcat_produce(server, "stored", ["x" * 1000] * 10)
    admin = kafka.KafkaAdminClient(bootstrap_servers=server.kafka)
    described = admin.describe_cluster()
    assert described["controller_id"] == 1 and [one["node_id"] for one in described["brokers"]] == [1]
    admin.close()
    with Connection(server, field_lists) as connection:
        cluster = connection.ask(60, 2, {"IncludeClusterAuthorizedOperations": True, "EndpointType": 1,
                                         "IncludeFencedBrokers": True})
        assert cluster["ClusterId"] == described["cluster_id"]
        assert ["%s:%d" % (one["Host"], one["Port"]) for one in cluster["Brokers"]] == [server.kafka]
        folder = connection.ask(35, 4, {"Topics": None})["Results"][0]
        assert folder["LogDir"] == server.data
        sizes = {topic["Name"]: topic["Partitions"][0]["PartitionSize"] for topic in folder["Topics"]}
        assert sizes["stored"] > 10000 and 0 < folder["UsableBytes"] <= folder["TotalBytes"]
