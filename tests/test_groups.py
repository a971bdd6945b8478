"""Consumer groups, as stock clients live in them: members come, go, die and return; offsets, seeking, resetting."""

import signal
import subprocess
import sys
import time

import confluent_kafka
import pytest
from support import clients

SECONDS = clients.CLIENT_SECONDS
PARTITIONS = 6


class Member:
    """A confluent consumer that remembers what it was given and what was taken from it."""

    def __init__(self, server, group, topic, **settings):
        self.given, self.taken = [], []
        self.consumer = clients.confluent_consumer(server, group, **{"session_timeout_ms": 6000, "heartbeat_interval_ms": 200, **settings})
        self.cooperative = settings.get("partition_assignment_strategy") == "cooperative-sticky"
        self.consumer.subscribe([topic], on_assign=self.on_assign, on_revoke=self.on_revoke)

    def on_assign(self, consumer, partitions):
        self.given.append(sorted(one.partition for one in partitions))
        if self.cooperative:
            consumer.incremental_assign(partitions)

    def on_revoke(self, consumer, partitions):
        self.taken.append(sorted(one.partition for one in partitions))
        if self.cooperative:
            consumer.incremental_unassign(partitions)

    def has(self):
        return {one.partition for one in self.consumer.assignment()}

    def close(self):
        self.consumer.close()


def poll_until(members, condition, seconds=SECONDS):
    """Serves all members until the condition holds; gives the messages that came meanwhile."""
    messages, deadline = [], time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, [member.has() for member in members]
        for member in members:
            message = member.consumer.poll(0.05)
            if message is not None:
                assert message.error() is None, message.error()
                messages.append(message)
    return messages


def shared_evenly(members, partitions=PARTITIONS):
    """Whether each partition has exactly one owner and no member has more than its share."""
    owned = [member.has() for member in members]
    return (sorted(partition for one in owned for partition in one) == list(range(partitions))
            and max(map(len, owned)) - min(map(len, owned)) <= 1)


def produce(server, topic, count, partitions=PARTITIONS, first=0):
    producer = clients.confluent_producer(server)
    for number in range(first, first + count):
        producer.produce(topic, str(number), partition=number % partitions)
    assert producer.flush(SECONDS) == 0
    return [str(number) for number in range(first, first + count)]


def test_partitions_are_shared_anew_as_members_come_and_go(server):
    clients.make_topic(server, "shared", PARTITIONS)
    members = [Member(server, "sharers", "shared") for _ in range(1)]
    poll_until(members, lambda: shared_evenly(members))
    members.append(Member(server, "sharers", "shared"))
    members.append(Member(server, "sharers", "shared"))
    poll_until(members, lambda: shared_evenly(members))
    members.pop(1).close()
    poll_until(members, lambda: shared_evenly(members))
    members.pop(0).close()
    poll_until(members, lambda: shared_evenly(members))
    members[0].close()


def test_no_record_is_lost_or_read_again_after_its_commit_while_members_change(server):
    clients.make_topic(server, "flow", PARTITIONS)
    expected = produce(server, "flow", 600)
    members = [Member(server, "flowers", "flow", auto_commit_interval_ms=100)]
    seen = poll_until(members, lambda: shared_evenly(members))
    for step in range(3):
        members.append(Member(server, "flowers", "flow", auto_commit_interval_ms=100))
        expected += produce(server, "flow", 300, first=len(expected))
        seen += poll_until(members, lambda: shared_evenly(members))
        if step:
            members.pop(0).close()
            seen += poll_until(members, lambda: shared_evenly(members))
    values = {message.value().decode() for message in seen}
    while len(values) < len(expected):
        values |= {message.value().decode() for message in poll_until(members, some_polls())}
    assert values == set(expected)
    for member in members:
        member.close()


def some_polls(times=3):
    """A condition that holds after a few rounds of polling."""
    rounds = iter(range(times))
    return lambda: next(rounds, None) is None


def test_members_of_two_client_families_share_one_group(server):
    clients.make_topic(server, "mixed", PARTITIONS)
    other = clients.python_consumer(server, "mixed", group_id="mixers", session_timeout_ms=6000,
                                    heartbeat_interval_ms=500)
    member = Member(server, "mixers", "mixed", partition_assignment_strategy="range")

    def halves():
        other.poll(timeout_ms=50)
        return len(member.has()) == PARTITIONS // 2 and len(other.assignment()) == PARTITIONS // 2
    poll_until([member], halves)
    assert member.has() | {one.partition for one in other.assignment()} == set(range(PARTITIONS))
    other.close()
    poll_until([member], lambda: shared_evenly([member]))
    member.close()


def test_a_static_member_that_returns_keeps_its_part_and_disturbs_no_one(server):
    clients.make_topic(server, "static", PARTITIONS)
    first = Member(server, "statics", "static", group_instance_id="one", session_timeout_ms=30000)
    second = Member(server, "statics", "static", group_instance_id="two", session_timeout_ms=30000)
    poll_until([first, second], lambda: shared_evenly([first, second]))
    before, changes = first.has(), (len(second.given), len(second.taken))
    first.close()
    first = Member(server, "statics", "static", group_instance_id="one", session_timeout_ms=30000)
    poll_until([first, second], lambda: bool(first.has()))
    assert first.has() == before
    assert (len(second.given), len(second.taken)) == changes
    first.close()
    second.close()


def test_the_older_of_two_members_with_one_instance_id_is_shut_out(server):
    clients.make_topic(server, "twins", PARTITIONS)
    older = Member(server, "twin-group", "twins", group_instance_id="twin")
    poll_until([older], lambda: bool(older.has()))
    newer = Member(server, "twin-group", "twins", group_instance_id="twin")
    poll_until([newer], lambda: bool(newer.has()))
    error, deadline = None, time.monotonic() + SECONDS
    while error is None and time.monotonic() < deadline:
        newer.consumer.poll(0)
        message = older.consumer.poll(0.1)
        error = message.error() if message is not None and message.error() else None
    assert error is not None and error.code() == confluent_kafka.KafkaError._FATAL and "fenced" in error.str(), error
    newer.close()
    older.close()


def test_cooperative_members_give_up_only_what_moves(server):
    clients.make_topic(server, "calm", 4)
    settings = {"partition_assignment_strategy": "cooperative-sticky"}
    first = Member(server, "calm-group", "calm", **settings)
    poll_until([first], lambda: shared_evenly([first], 4))
    second = Member(server, "calm-group", "calm", **settings)
    poll_until([first, second], lambda: shared_evenly([first, second], 4))
    assert sum(map(len, first.taken)) == 2, first.taken
    second.close()
    poll_until([first], lambda: shared_evenly([first], 4))
    assert sum(map(len, first.taken)) == 2, first.taken
    first.close()


DYING = """
import sys, confluent_kafka
consumer = confluent_kafka.Consumer({"bootstrap.servers": sys.argv[1], "group.id": "mortals", "session.timeout.ms": 1000,
                                     "heartbeat.interval.ms": 200})
consumer.subscribe(["mortal"], on_assign=lambda _, partitions: print("has", len(partitions), flush=True))
while True:
    consumer.poll(0.1)
"""


def test_the_part_of_a_member_that_died_goes_to_the_others(servers):
    server = servers("--group-min-session-timeout-ms", "500").start()
    clients.make_topic(server, "mortal", PARTITIONS)
    dying = subprocess.Popen([sys.executable, "-c", DYING, server.kafka], stdout=subprocess.PIPE, text=True)
    try:
        assert dying.stdout.readline() == f"has {PARTITIONS}\n"
        heir = Member(server, "mortals", "mortal", session_timeout_ms=10000)
        poll_until([heir], lambda: bool(heir.has()))
        dying.send_signal(signal.SIGKILL)
        poll_until([heir], lambda: shared_evenly([heir]))
        heir.close()
    finally:
        dying.kill()
        dying.wait()
        dying.stdout.close()


def test_seeking_by_offset_and_by_time(server):
    clients.make_topic(server, "places", 1)
    producer, start = clients.confluent_producer(server), 1_700_000_000_000
    for number in range(100):
        producer.produce("places", str(number), timestamp=start + 1000 * number)
    assert producer.flush(SECONDS) == 0
    consumer = clients.confluent_consumer(server, "seekers")
    place = confluent_kafka.TopicPartition("places", 0, 0)
    consumer.assign([place])
    assert clients.take(consumer, 1)[0].value() == b"0"
    place.offset = 42
    consumer.seek(place)
    assert clients.take(consumer, 1)[0].value() == b"42"
    place.offset = start + 70_500
    found = consumer.offsets_for_times([place], SECONDS)[0]
    assert found.offset == 71
    consumer.seek(found)
    assert clients.take(consumer, 1)[0].value() == b"71"
    place.offset = start + 1_000_000
    assert consumer.offsets_for_times([place], SECONDS)[0].offset in (-1, 100)
    assert consumer.get_watermark_offsets(place, SECONDS) == (0, 100)
    consumer.close()


@pytest.mark.parametrize("policy, comes", [("earliest", b"0"), ("latest", b"new"), ("error", None)])
def test_a_group_without_offsets_begins_where_its_policy_says(server, policy, comes):
    clients.make_topic(server, "reset", 1)
    produce(server, "reset", 10, 1)
    consumer = clients.confluent_consumer(server, f"resetters-{policy}", auto_offset_reset=policy)
    assigned = []
    consumer.subscribe(["reset"], on_assign=lambda _, partitions: assigned.extend(partitions))
    message, deadline = None, time.monotonic() + SECONDS
    producer = clients.confluent_producer(server)
    while message is None and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if assigned and message is None and policy == "latest":
            producer.produce("reset", b"new")
            producer.flush(SECONDS)
    if comes is None:
        assert message.error().code() == confluent_kafka.KafkaError._AUTO_OFFSET_RESET
    else:
        assert message.error() is None and message.value() == comes
    consumer.close()


def test_offsets_of_a_deleted_topic_do_not_come_back_with_its_name(server):
    clients.make_topic(server, "phoenix", 1)
    produce(server, "phoenix", 5, 1)
    consumer = clients.confluent_consumer(server, "mourners")
    consumer.assign([confluent_kafka.TopicPartition("phoenix", 0, 0)])
    clients.take(consumer, 5)
    consumer.commit(asynchronous=False)
    assert consumer.committed([confluent_kafka.TopicPartition("phoenix", 0)], SECONDS)[0].offset == 5
    clients.delete_topic(server, "phoenix")
    clients.make_topic(server, "phoenix", 1)
    assert consumer.committed([confluent_kafka.TopicPartition("phoenix", 0)], SECONDS)[0].offset < 0
    consumer.close()


def test_groups_are_listed_described_and_deleted_once_they_are_empty(server):
    import kafka
    import kafka.errors
    clients.make_topic(server, "looked-at", 2)
    member = Member(server, "visible", "looked-at", client_id="somebody")
    poll_until([member], lambda: shared_evenly([member], 2))
    admin = kafka.KafkaAdminClient(bootstrap_servers=server.kafka)
    assert ("visible", "consumer") in admin.list_consumer_groups()
    described = admin.describe_consumer_groups(["visible"])[0]
    assert (described.state, described.protocol_type, described.protocol) == ("Stable", "consumer", "range")
    assert [one.client_id for one in described.members] == ["somebody"]
    assert described.members[0].client_host == "/127.0.0.1"
    refused = dict((name, error) for name, error in admin.delete_consumer_groups(["visible", "absent"]))
    assert refused == {"visible": kafka.errors.NonEmptyGroupError, "absent": kafka.errors.GroupIdNotFoundError}
    member.consumer.commit(offsets=[confluent_kafka.TopicPartition("looked-at", 1, 7)], asynchronous=False)
    member.close()
    offsets = admin.list_consumer_group_offsets("visible")
    assert offsets[kafka.TopicPartition("looked-at", 1)].offset == 7
    assert admin.delete_consumer_groups(["visible"]) == [("visible", kafka.errors.NoError)]
    assert ("visible", "consumer") not in admin.list_consumer_groups()
    assert not admin.list_consumer_group_offsets("visible")
    admin.close()
