"""A disk that fills up: a clear error, reads and deletes go on, writing resumes by itself, nothing acknowledged is lost;
and the limits that keep it from filling up at all. Each test has a small tmpfs of its own."""

import os
import subprocess
import time

import confluent_kafka
import pytest
from support import clients

MIB = 1 << 20
DISK_BYTES = 96 * MIB
VALUE_BYTES = 20_000
WAIT_SECONDS = 30
# A small reserve and a small journal, so that most of the small disk is for records; segments that can go one by one.
OPTIONS = ["--log-reserve-bytes", "4MiB", "--log-journal-max-bytes", "16MiB", "--topic-segment-bytes", "1MiB",
           "--log-retention-check-interval-ms", "200ms", "--log-unsynced-max-bytes", "8MiB",
           "--offsets-topic-num-partitions", "1", "--transaction-state-log-num-partitions", "1"]


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    ran = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], capture_output=True,
                         text=True)
    if ran.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {ran.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def start(disk, servers):
    """Starts a server on the disk; the fixture of servers, a part of this one, stops it before the disk goes."""
    started = []

    def make(*options):
        started.append(servers(*OPTIONS, *options, data=disk / "data").start())
        return started[-1]
    yield make
    for server in started:
        if server.running():
            server.stop()


def used_share(disk):
    space = os.statvfs(disk)
    return 1 - space.f_bavail / space.f_blocks


def create(server, topic, partitions=1, **settings):
    made = server.ask("POST", "/api/v1/topics", {"name": topic, "partitions": partitions, "settings": clients.dotted(settings)})
    assert made.status == 201, made.body


def topic_bytes(server, topic):
    return server.get(f"/api/v1/topics/{topic}").json()["bytes"]


def wait_until(true):
    ends = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < ends, f"not within {WAIT_SECONDS} s"


def value(number):
    return f"{number} ".ljust(VALUE_BYTES, "x").encode()


class Filler:
    """Writes until the first refusal; numbers[place] is what was acknowledged."""

    def __init__(self, server, topic):
        self.topic, self.number, self.numbers, self.errors = topic, 0, {}, []
        self.producer = clients.confluent_producer(server, retries=0, linger_ms=1, batch_num_messages=20)

    def send(self):
        number = self.number
        self.number += 1

        def told(error, message):
            if error:
                self.errors.append(error)
            else:
                self.numbers[message.partition(), message.offset()] = number
        self.producer.produce(self.topic, value(number), on_delivery=told)

    def write(self, count):
        """Up to count more; ends early at a refusal."""
        for _ in range(count):
            self.send()
            if self.number % 100 == 0:
                assert self.producer.flush(WAIT_SECONDS) == 0
            if self.errors:
                break
        assert self.producer.flush(WAIT_SECONDS) == 0
        return self

    def fill(self):
        self.write(2 * DISK_BYTES // VALUE_BYTES)
        assert self.errors, "the disk took twice its size"
        assert {error.name() for error in self.errors} == {"KAFKA_STORAGE_ERROR"}, self.errors[0]
        self.errors.clear()
        return self

    def check(self, server):
        """Whatever was acknowledged is read, at its place."""
        consumer = clients.confluent_consumer(server, "check", check_crcs=True, enable_partition_eof=True)
        consumer.assign([confluent_kafka.TopicPartition(self.topic, 0, 0)])
        found = {}
        while True:
            message = consumer.poll(WAIT_SECONDS)
            assert message is not None, f"{len(found)} records, then nothing"
            if message.error():
                assert message.error().name() == "_PARTITION_EOF", message.error()
                break
            found[message.partition(), message.offset()] = message.value()
        consumer.close()
        for place, number in self.numbers.items():
            assert found.get(place) == value(number), f"{place} was acknowledged"


def delete_topic(server, topic):
    admin = clients.confluent_admin(server)
    admin.delete_topics([topic])[topic].result(WAIT_SECONDS)


def write_when_there_is_room(server, topic):
    """An ordinary client, which tries again by itself."""
    clients.kcat_produce(server, topic, ["room again"], "-X", f"message.timeout.ms={WAIT_SECONDS * 1000}")


def test_a_full_disk_refuses_writes_serves_reads_and_recovers_by_itself(start, disk):
    server = start("--log-disk-percent-max", "100")
    create(server, "victim")
    create(server, "kept")
    victim = Filler(server, "victim").write(30 * MIB // VALUE_BYTES)
    assert not victim.errors
    kept = Filler(server, "kept").fill()
    assert server.errors.wait_for("disk is full", WAIT_SECONDS)
    kept.check(server)
    victim.check(server)
    delete_topic(server, "victim")
    write_when_there_is_room(server, "kept")
    kept.check(server)


def test_other_clients_are_told_too_and_groups_go_on(start):
    server = start("--log-disk-percent-max", "100")
    create(server, "full")
    filler = Filler(server, "full").fill()
    refused = clients.kcat(server, "-P", "-t", "full", "-X", "acks=all", "-X", "retries=0", input="x" * 100_000 + "\n")
    assert "storage" in refused.stderr.lower() or "Disk" in refused.stderr, refused.stderr
    consumer = clients.confluent_consumer(server, "a-group", enable_auto_commit=False)
    consumer.subscribe(["full"])
    message = clients.take(consumer, 1)[0]
    consumer.commit(message=message, asynchronous=False)
    consumer.close()
    filler.check(server)


@pytest.mark.parametrize("end", ["kill9", "stop"])
def test_a_restart_on_a_full_disk_serves_reads_and_lets_deletes_make_room(start, end):
    server = start("--log-disk-percent-max", "100")
    create(server, "victim")
    create(server, "kept")
    Filler(server, "victim").write(20 * MIB // VALUE_BYTES)
    kept = Filler(server, "kept").fill()
    getattr(server, end)()
    server.start()
    kept.check(server)
    delete_topic(server, "victim")
    write_when_there_is_room(server, "kept")
    kept.check(server)


def test_something_else_fills_the_disk_and_goes_away(start, disk):
    server = start("--log-disk-percent-max", "100")
    create(server, "kept")
    filler = Filler(server, "kept").write(100)
    with open(disk / "ballast", "wb") as ballast:
        try:
            while True:
                ballast.write(bytes(MIB))
                ballast.flush()
        except OSError:
            pass
    filler.fill()
    filler.check(server)
    os.unlink(disk / "ballast")
    write_when_there_is_room(server, "kept")
    filler.check(server)


def test_retention_bytes_keeps_up_with_a_fast_producer(start, disk):
    server = start("--log-disk-percent-max", "100")
    create(server, "bounded", retention_bytes=8 * MIB)
    filler = Filler(server, "bounded").write(3 * DISK_BYTES // VALUE_BYTES)
    assert not filler.errors, filler.errors[0]
    assert used_share(disk) < 0.6


def test_the_broker_wide_share_of_the_disk_keeps_up_with_a_fast_producer(start):
    server = start("--log-disk-percent-max", "60")
    create(server, "protected", retention_protect="true")
    create(server, "a")
    create(server, "b")
    protected = Filler(server, "protected").write(10 * MIB // VALUE_BYTES)
    for topic in ("a", "b"):
        filler = Filler(server, topic).write(2 * DISK_BYTES // VALUE_BYTES)
        assert not filler.errors, filler.errors[0]
    wait_until(lambda: sum(topic_bytes(server, topic) for topic in ("protected", "a", "b")) <= 0.6 * DISK_BYTES)
    protected.check(server)
    assert topic_bytes(server, "a") < topic_bytes(server, "b"), "the oldest segments go first"


def test_a_topics_share_of_the_disk_keeps_up_with_a_fast_producer(start):
    server = start("--log-disk-percent-max", "100")
    create(server, "bounded", retention_disk_percent=20)
    create(server, "other")
    other = Filler(server, "other").write(10 * MIB // VALUE_BYTES)
    filler = Filler(server, "bounded").write(2 * DISK_BYTES // VALUE_BYTES)
    assert not filler.errors, filler.errors[0]
    wait_until(lambda: topic_bytes(server, "bounded") <= 0.2 * DISK_BYTES)
    other.check(server)
