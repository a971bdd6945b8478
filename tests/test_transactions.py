"""Transactions and idempotence through stock clients: all or nothing, fencing, isolation, and no copies after faults."""

import time

import confluent_kafka
import pytest
from support import clients
from support.proxy import Proxy
from support.wire import Connection, batch

SECONDS = clients.CLIENT_SECONDS
FENCED = {confluent_kafka.KafkaError._FENCED, confluent_kafka.KafkaError.PRODUCER_FENCED,
          confluent_kafka.KafkaError.INVALID_PRODUCER_EPOCH, confluent_kafka.KafkaError._FATAL}


def transactional(server, name, **settings):
    producer = clients.confluent_producer(server, transactional_id=name, **settings)
    producer.init_transactions(SECONDS)
    return producer


def read(server, topic, isolation="read_committed", partitions=1):
    """All values up to the topic's present end, as one isolation level shows it."""
    consumer = clients.confluent_consumer(server, "readers", isolation_level=isolation, enable_partition_eof=True,
                                          enable_auto_commit=False)
    consumer.assign([confluent_kafka.TopicPartition(topic, index, 0) for index in range(partitions)])
    values, ended, deadline = [], set(), time.monotonic() + SECONDS
    while len(ended) < partitions:
        assert time.monotonic() < deadline, f"no end of {topic} in sight"
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error() is None:
            values.append(message.value().decode())
        elif message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
            ended.add(message.partition())
        else:
            raise AssertionError(message.error())
    consumer.close()
    return values


def test_what_is_committed_is_read_and_what_is_aborted_is_not(server):
    clients.make_topic(server, "ledger", 3)
    producer = transactional(server, "teller")
    committed = []
    for round_ in range(6):
        producer.begin_transaction()
        values = [f"{round_}/{number}" for number in range(30)]
        for number, value in enumerate(values):
            producer.produce("ledger", value, partition=number % 3)
        if round_ % 2:
            producer.abort_transaction(SECONDS)
        else:
            producer.commit_transaction(SECONDS)
            committed += values
    assert sorted(read(server, "ledger", partitions=3)) == sorted(committed)
    assert set(committed) <= set(read(server, "ledger", "read_uncommitted", 3))


def test_readers_of_committed_data_wait_where_a_transaction_is_open(server):
    clients.make_topic(server, "held")
    producer, plain = transactional(server, "slow"), clients.confluent_producer(server)
    producer.begin_transaction()
    producer.produce("held", "inside")
    assert producer.flush(SECONDS) == 0
    plain.produce("held", "after")
    assert plain.flush(SECONDS) == 0
    assert read(server, "held") == []
    assert read(server, "held", "read_uncommitted") == ["inside", "after"]
    producer.commit_transaction(SECONDS)
    assert read(server, "held") == ["inside", "after"]


def test_a_newer_producer_of_the_same_name_shuts_out_the_older_one(server):
    clients.make_topic(server, "throne")
    older = transactional(server, "king")
    older.begin_transaction()
    older.produce("throne", "old")
    assert older.flush(SECONDS) == 0
    newer = transactional(server, "king")
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        older.commit_transaction(SECONDS)
    assert caught.value.args[0].fatal() and caught.value.args[0].code() in FENCED, caught.value
    newer.begin_transaction()
    newer.produce("throne", "new")
    newer.commit_transaction(SECONDS)
    assert read(server, "throne") == ["new"]


@pytest.mark.parametrize("commits", [True, False], ids=["commits", "aborts"])
def test_offsets_of_a_group_move_with_the_transaction_and_only_then(server, commits):
    clients.make_topic(server, "input")
    clients.make_topic(server, "output")
    clients.kcat_produce(server, "input", range(10))
    consumer = clients.confluent_consumer(server, "copiers", enable_auto_commit=False)
    consumer.subscribe(["input"])
    messages = clients.take(consumer, 10)
    producer = transactional(server, "copier")
    producer.begin_transaction()
    for message in messages:
        producer.produce("output", message.value())
    place = confluent_kafka.TopicPartition("input", 0)
    producer.send_offsets_to_transaction(consumer.position([place]), consumer.consumer_group_metadata(), SECONDS)
    (producer.commit_transaction if commits else producer.abort_transaction)(SECONDS)
    assert consumer.committed([place], SECONDS)[0].offset == (10 if commits else confluent_kafka.OFFSET_INVALID)
    assert len(read(server, "output")) == (10 if commits else 0)
    consumer.close()


def test_a_transaction_outlives_a_kill_of_the_server(server):
    clients.make_topic(server, "tough", 2)
    producer = transactional(server, "survivor")
    producer.begin_transaction()
    for number in range(100):
        producer.produce("tough", str(number), partition=number % 2)
    assert producer.flush(SECONDS) == 0
    server.kill9()
    server.start()
    for number in range(100, 200):
        producer.produce("tough", str(number), partition=number % 2)
    producer.commit_transaction(SECONDS)
    assert sorted(map(int, read(server, "tough", partitions=2))) == list(range(200))
    server.kill9()
    server.start()
    assert sorted(map(int, read(server, "tough", partitions=2))) == list(range(200))


def test_a_transaction_that_takes_too_long_is_aborted_and_its_producer_told(server):
    clients.make_topic(server, "late")
    producer = transactional(server, "sleeper", transaction_timeout_ms=1000)
    producer.begin_transaction()
    producer.produce("late", "lost")
    assert producer.flush(SECONDS) == 0
    plain = clients.confluent_producer(server)
    plain.produce("late", "kept")
    assert plain.flush(SECONDS) == 0
    consumer = clients.confluent_consumer(server, "patient", isolation_level="read_committed")
    consumer.assign([confluent_kafka.TopicPartition("late", 0, 0)])
    assert clients.take(consumer, 1)[0].value() == b"kept"
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        producer.commit_transaction(SECONDS)
    assert caught.value.args[0].fatal() or caught.value.args[0].txn_requires_abort(), caught.value
    consumer.close()


def test_large_transactions_keep_their_order_in_every_partition(server):
    clients.make_topic(server, "bulk", 8)
    producer = transactional(server, "mover", linger_ms=0, batch_num_messages=7)
    for round_ in range(4):
        producer.begin_transaction()
        for number in range(4000):
            producer.produce("bulk", str(round_ * 4000 + number), partition=number % 8)
            producer.poll(0)
        producer.commit_transaction(SECONDS)
    consumer = clients.confluent_consumer(server, "bulk-readers", isolation_level="read_committed")
    consumer.assign([confluent_kafka.TopicPartition("bulk", index, 0) for index in range(8)])
    messages = clients.take(consumer, 16000)
    consumer.close()
    for index in range(8):
        values = [int(message.value()) for message in messages if message.partition() == index]
        assert values == list(range(index, 16000, 8))


def produce_disturbed(server, topic, count, disturb):
    """Numbers 0 to count in order by an idempotent producer; disturb() is called while records are on their way."""
    refused, delivered = [], []
    producer = clients.confluent_producer(server, enable_idempotence="true", linger_ms=1, batch_num_messages=20,
                                          reconnect_backoff_ms=10, reconnect_backoff_max_ms=50, retry_backoff_ms=10)
    for number in range(count):
        producer.produce(topic, str(number), on_delivery=lambda error, _: (refused if error else delivered).append(error))
        if number % 500 == 499:
            deadline = time.monotonic() + SECONDS
            while len(delivered) < number - 300 and time.monotonic() < deadline:
                producer.poll(0.01)
            disturb()
    assert producer.flush(SECONDS) == 0
    assert not refused, refused[:3]


def test_an_idempotent_producer_leaves_no_copy_and_no_gap_when_its_connections_are_cut(servers):
    proxy = Proxy()
    server = servers("--kafka-advertised", proxy.address).start()
    proxy.target = server.kafka
    clients.make_topic(server, "exact")
    produce_disturbed(server, "exact", 10000, proxy.cut)
    assert proxy.cuts > 3
    assert list(map(int, read(server, "exact"))) == list(range(10000))
    proxy.close()


def test_an_idempotent_producer_leaves_no_copy_and_no_gap_when_the_server_is_killed(server):
    clients.make_topic(server, "exact")

    def disturb():
        server.kill9()
        server.start()
    kills = iter(range(3))
    produce_disturbed(server, "exact", 3000, lambda: disturb() if next(kills, None) is not None else None)
    assert list(map(int, read(server, "exact"))) == list(range(3000))


class Producer:
    """A producer of transactions in their second version (KIP-890), which the stock clients here do not speak yet."""

    def __init__(self, connection, name):
        self.connection, self.name, self.sequence = connection, name, {}
        answer = connection.ask(22, 5, {"TransactionalId": name, "TransactionTimeoutMs": 10000, "ProducerId": -1,
                                        "ProducerEpoch": -1})
        assert answer["ErrorCode"] == 0
        self.id, self.epoch = answer["ProducerId"], answer["ProducerEpoch"]

    def batches(self, topic, values, epoch=None):
        """A Produce request with one batch for each partition that values ({partition: [value]}) names."""
        parts = []
        for partition, ones in values.items():
            first = self.sequence.get((topic, partition), 0)
            self.sequence[topic, partition] = first + len(ones)
            raw = batch([one.encode() for one in ones], self.id, self.epoch if epoch is None else epoch, first, True)
            parts.append({"Index": partition, "Records": raw})
        return {"TransactionalId": self.name, "Acks": -1, "TimeoutMs": 1000,
                "TopicData": [{"Name": topic, "PartitionData": parts}]}

    def send(self, topic, *values, epoch=None):
        """The error of a batch that adds its partition to the transaction by itself."""
        before = dict(self.sequence)
        answer = self.connection.ask(0, 12, self.batches(topic, {0: values}, epoch))
        error = answer["Responses"][0]["PartitionResponses"][0]["ErrorCode"]
        self.sequence = self.sequence if error == 0 else before
        return error

    def end(self, commits, epoch=None):
        answer = self.connection.ask(26, 5, {"TransactionalId": self.name, "ProducerId": self.id,
                                             "ProducerEpoch": self.epoch if epoch is None else epoch,
                                             "Committed": commits})
        if answer["ErrorCode"] == 0:
            self.id, self.epoch, self.sequence = answer["ProducerId"], answer["ProducerEpoch"], {}
        return answer["ErrorCode"]

    def commit_offset(self, group, topic, offset):
        part = {"PartitionIndex": 0, "CommittedOffset": offset, "CommittedLeaderEpoch": -1, "CommittedMetadata": ""}
        answer = self.connection.ask(28, 5, {
            "TransactionalId": self.name, "GroupId": group, "ProducerId": self.id, "ProducerEpoch": self.epoch,
            "GenerationIdOrMemberEpoch": -1, "MemberId": "", "GroupInstanceId": None,
            "Topics": [{"Name": topic, "Partitions": [part]}]})
        return answer["Topics"][0]["Partitions"][0]["ErrorCode"]


NONE, INVALID_PRODUCER_EPOCH, UNSTABLE, PRODUCER_FENCED = 0, 47, 88, 90


def stable_offset(connection, group, topic):
    """The error of asking for an offset that no open transaction may still change."""
    topics = [{"Name": topic, "PartitionIndexes": [0]}]
    answer = connection.ask(9, 7, {"GroupId": group, "Topics": topics, "RequireStable": True})
    return answer["Topics"][0]["Partitions"][0]["ErrorCode"]


def test_every_end_of_a_transaction_gives_its_producer_the_next_epoch(server, field_lists):
    clients.make_topic(server, "second")
    with Connection(server, field_lists) as connection:
        producer = Producer(connection, "v2")
        for round_ in range(4):
            before = producer.epoch
            assert producer.send("second", f"{round_}a", f"{round_}b") == NONE
            assert producer.send("second", f"{round_}c") == NONE
            assert producer.end(round_ % 2 == 0) == NONE
            assert producer.epoch == before + 1
    assert read(server, "second") == ["0a", "0b", "0c", "2a", "2b", "2c"]


def test_what_comes_late_from_an_ended_transaction_touches_no_later_one(server, field_lists):
    clients.make_topic(server, "second")
    with Connection(server, field_lists) as connection:
        producer = Producer(connection, "late-v2")
        assert producer.send("second", "one") == NONE
        old = producer.epoch
        assert producer.end(True) == NONE
        assert producer.send("second", "two") == NONE
        assert producer.send("second", "stray", epoch=old) == INVALID_PRODUCER_EPOCH
        assert producer.end(False, epoch=old) == PRODUCER_FENCED
        assert producer.end(True) == NONE
    assert read(server, "second") == ["one", "two"]


def test_an_end_that_is_repeated_is_answered_as_before(server, field_lists):
    clients.make_topic(server, "second")
    with Connection(server, field_lists) as connection:
        producer = Producer(connection, "again-v2")
        assert producer.send("second", "one") == NONE
        old = producer.epoch
        assert producer.end(True) == NONE
        present = producer.epoch
        assert producer.end(True, epoch=old) == NONE
        assert producer.epoch == present
    assert read(server, "second") == ["one"]


def test_offsets_join_a_second_version_transaction_by_themselves(server, field_lists):
    clients.kcat_produce(server, "input", range(5))
    place = confluent_kafka.TopicPartition("input", 0)
    consumer = clients.confluent_consumer(server, "v2-group")
    with Connection(server, field_lists) as connection:
        producer = Producer(connection, "offsets-v2")
        assert producer.commit_offset("v2-group", "input", 3) == NONE
        assert stable_offset(connection, "v2-group", "input") == UNSTABLE
        assert producer.end(True) == NONE
        assert consumer.committed([place], SECONDS)[0].offset == 3
        assert producer.commit_offset("v2-group", "input", 5) == NONE
        assert producer.end(False) == NONE
        assert consumer.committed([place], SECONDS)[0].offset == 3
    consumer.close()


def test_batches_that_come_at_once_keep_their_order_where_a_partition_joins_late(server, field_lists):
    clients.make_topic(server, "rush", 2)
    with Connection(server, field_lists) as connection:
        producer = Producer(connection, "rusher")
        for round_ in range(20):
            values = [f"{round_}/{number}" for number in range(8)]
            assert producer.send("rush", "opens") == NONE
            requests = [producer.batches("rush", {0: ["beside"], 1: values[:1]})]
            requests += [producer.batches("rush", {1: [value]}) for value in values[1:]]
            for answer in map(connection.answer, connection.send(0, 12, *requests)):
                assert {part["ErrorCode"] for part in answer["Responses"][0]["PartitionResponses"]} == {NONE}
            assert producer.end(True) == NONE
    consumer = clients.confluent_consumer(server, "rush-readers", isolation_level="read_committed")
    consumer.assign([confluent_kafka.TopicPartition("rush", 1, 0)])
    assert [message.value().decode() for message in clients.take(consumer, 160)] == \
        [f"{round_}/{number}" for round_ in range(20) for number in range(8)]
    consumer.close()
