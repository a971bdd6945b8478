"""Bits that flip on the disk of a server that is not running: it repairs what can be rebuilt, names what cannot, and never
passes bad data on as good. Consumers check checksums, as all do by default but librdkafka's, which are told to."""

import os
import random
import re
import shutil
import struct

import confluent_kafka
import pytest
from support import clients
from support.server import Server
from support.values import make_value, read_value

TRIALS, TRIALS_SOAK = 4, 100
WAIT_SECONDS = 30
PARTITIONS = 3
RECORDS = 3000
OPTIONS = ["--topic-segment-bytes", "64KiB", "--log-journal-max-bytes", "16MiB", "--log-unsynced-max-ms", "300ms",
           "--offsets-topic-num-partitions", "1", "--transaction-state-log-num-partitions", "1"]
KINDS = {"segment": r"\.log$", "index": r"\.index$", "state": r"state-[01]$", "checkpoint": "checkpoint$",
         "journal": "journal-", "meta": None}
REBUILT = ("index", "state")


def files_of(data, kind):
    """Paths of the files of a kind that have bytes; meta is the first partition's log without records of clients."""
    found = [os.path.join(folder, name) for folder, _, names in os.walk(os.path.join(data, "log")) for name in names]
    found = sorted(path for path in found if os.path.getsize(path))
    meta = os.path.dirname(min((path for path in found if path.endswith(".log")), key=os.path.getmtime))
    if kind == "meta":
        return [path for path in found if path.endswith(".log") and b"damaged" in read(path)]
    kept = [path for path in found if re.search(KINDS[kind], path)]
    return [path for path in kept if not path.endswith(".log") or os.path.dirname(path) != meta]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def unchecked(content):
    """Bytes of a segment that no checksum covers: base offset and leader epoch, which Kafka's format leaves to brokers.
    Recovery compares them with what is expected; a reader of an older segment has nothing to compare them with."""
    at, found = 0, set()
    while at + 12 <= len(content):
        found.update(range(at, at + 8))
        found.update(range(at + 12, at + 16))
        at += 12 + struct.unpack(">i", content[at + 8 : at + 12])[0]
    return found


def flip(path, chance):
    """One to three bits near each other; says where."""
    content = bytearray(read(path))
    used = len(content.rstrip(b"\0")) or len(content)  # what follows in a journal was never used
    left_alone = unchecked(content) if path.endswith(".log") else ()
    at = chance.randrange(used)
    while any(byte in left_alone for byte in range(at, at + 4)):
        at = chance.randrange(used)
    for _ in range(chance.randint(1, 3)):
        content[min(at + chance.randrange(4), len(content) - 1)] ^= 1 << chance.randrange(8)
    with open(path, "wb") as file:
        file.write(content)
    return f"{os.path.basename(os.path.dirname(path))}/{os.path.basename(path)} at {at} of {used}"


class Found:
    """All that a consumer is given, and what it complained about."""

    def __init__(self, server):
        self.records, self.complaints = {}, []
        consumer = clients.confluent_consumer(server, "all", check_crcs=True, enable_partition_eof=True,
                                              enable_auto_commit=False, fetch_wait_max_ms=10)
        left = {("damaged", partition) for partition in range(PARTITIONS)}
        consumer.assign([confluent_kafka.TopicPartition(*place, 0) for place in left])
        while left:
            message = consumer.poll(WAIT_SECONDS)
            assert message is not None, f"neither records nor an end nor an error for {left}"
            place = (message.topic(), message.partition())
            if message.error() is None:
                self.records[message.partition(), message.offset()] = read_value(message.value())
            else:
                if message.error().code() != confluent_kafka.KafkaError._PARTITION_EOF:
                    self.complaints.append(f"{place} {message.error()}")
                if place in left:
                    left.remove(place)
                    consumer.incremental_unassign([confluent_kafka.TopicPartition(*place)])
        consumer.close()


def write(server, first, count):
    producer = clients.confluent_producer(server, batch_num_messages=10, linger_ms=1, compression_type="none")
    packed = clients.confluent_producer(server, batch_num_messages=10, linger_ms=1, compression_type="lz4")
    for number in range(first, first + count):
        (packed if number % 2 else producer).produce("damaged", make_value("writer", number, number % 300),
                                                     partition=number % PARTITIONS)
        producer.poll(0)
    assert producer.flush(WAIT_SECONDS) == 0 and packed.flush(WAIT_SECONDS) == 0


@pytest.fixture(scope="module")
def folders(binary, tmp_path_factory):
    """{"stopped": folder, "killed": folder} and what a reader finds in each while it is whole."""
    made = {}
    for end in ("stopped", "killed"):
        data = tmp_path_factory.mktemp(end) / "data"
        server = Server(binary, data, *OPTIONS).start()
        created = server.ask("POST", "/api/v1/topics", {"name": "damaged", "partitions": PARTITIONS})
        assert created.status == 201, created.body
        write(server, 0, RECORDS)
        server.restart()
        write(server, RECORDS, RECORDS)
        whole = Found(server)
        assert len(whole.records) == 2 * RECORDS and not whole.complaints
        server.stop() if end == "stopped" else server.kill9()
        made[end] = str(data), whole.records
    return made


def trial(binary, folders, end, kind, folder, chance):
    """Flips, starts, reads; an AssertionError when something is passed on that should not be, or hidden."""
    data, whole = folders[end]
    copy = os.path.join(folder, "data")
    shutil.copytree(data, copy)
    path = chance.choice(files_of(copy, kind))
    where = flip(path, chance)
    server = Server(binary, copy, *OPTIONS)
    try:
        started = start(server)
        if started:
            judge(Found(server), whole, kind, where, server)
        else:
            assert kind not in REBUILT, f"{where}: refused to start:\n{server.said[-1]}"
            assert os.path.basename(path) in server.said[-1] or os.path.basename(os.path.dirname(path)) in server.said[-1], \
                f"{where}: not named:\n{server.said[-1]}"
    finally:
        if server.running():
            server.stop()
        server.check_reports()
        shutil.rmtree(copy)


def start(server):
    """Whether it started; if not, it ended with a failure and words, not with a signal."""
    try:
        server.start()
        return True
    except AssertionError:
        said = server.said[-1]
        assert re.search(r"^tidemark: ", said, re.MULTILINE), f"it ended without a word:\n{said}"
        return False


def judge(found, whole, kind, where, server):
    wrong = {place: record for place, record in found.records.items() if whole.get(place) != record}
    assert not wrong, f"{where}: bad data passed on as good: {sorted(wrong.items())[:3]}"
    lost = sorted(whole.keys() - found.records.keys())
    if lost:
        assert kind not in REBUILT, f"{where}: {len(lost)} records lost, from {lost[0]}"
        words = found.complaints + re.findall(r".*(?:damaged|checksum|corrupt|broken).*", server.errors.text())
        assert words, f"{where}: {len(lost)} records lost without a word, from {lost[0]}:\n{server.errors.text()}"


def trials(binary, folders, end, kind, folder, seed, count):
    for number in range(count):
        trial(binary, folders, end, kind, str(folder), random.Random(f"{end} {kind} {seed} {number}"))


@pytest.mark.parametrize("end", ["stopped", "killed"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_flipped_bits_are_repaired_or_named(binary, folders, tmp_path, end, kind):
    trials(binary, folders, end, kind, tmp_path, 1, TRIALS)


@pytest.mark.soak
@pytest.mark.parametrize("end", ["stopped", "killed"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_many_flipped_bits_are_repaired_or_named(binary, folders, tmp_path, end, kind):
    trials(binary, folders, end, kind, tmp_path, random.SystemRandom().randrange(1 << 32), TRIALS_SOAK)
