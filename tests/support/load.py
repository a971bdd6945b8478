"""Load that can be checked afterwards: writers that note what was acknowledged, readers that note what they saw.

A value is `WRITER NUMBER filler CRC`: a record that nobody wrote, or a damaged one, is told from the others by itself.
Every thread here goes on by itself when its server is killed and started again.
"""

import collections
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

import confluent_kafka

from support import transactions
from support.values import RECONNECT, WAIT_SECONDS, filler_length, make_value, read_value

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
QUEUE_MAX = 500     # records of a writer under way
PACE_SECONDS = 0.02 # between the bursts of a writer: transactions are to get their share
CRASHES_MAX = 20    # of a transactional client

Place = collections.namedtuple("Place", "topic partition offset")


class Client(threading.Thread):
    """A thread that keeps what went wrong until finish()."""

    def __init__(self, name):
        super().__init__(name=name, daemon=True)
        self.stopping = threading.Event()
        self.wrong = None

    def run(self):
        try:
            self.work()
        except BaseException as wrong:  # noqa: B902 - told by finish() in the test's own thread
            self.wrong = wrong

    def finish(self):
        self.stopping.set()
        self.join(2 * WAIT_SECONDS)
        if self.wrong is not None:
            raise self.wrong
        assert not self.is_alive(), f"{self.name} finds no end"


class Writer(Client):
    """acked[number] is where the server said the record is; sent[number] where it was to go."""

    def __init__(self, server, name, partitions, seed):
        super().__init__(name)
        self.chance = random.Random(f"{name} {seed}")
        self.partitions = partitions
        self.settings = {"bootstrap.servers": server.kafka, "acks": "all", "enable.idempotence": True,
                         "linger.ms": 1, "message.timeout.ms": WAIT_SECONDS * 1000, **RECONNECT}
        self.sent, self.acked, self.refused = {}, {}, {}

    def send(self, producer):
        number = len(self.sent)
        self.sent[number] = topic, partition = self.chance.choice(self.partitions)

        def told(error, message):
            if error:
                self.refused[number] = error
            else:
                self.acked[number] = Place(message.topic(), message.partition(), message.offset())
        self.produce(producer, number, topic=topic, partition=partition, on_delivery=told)

    def produce(self, producer, number, **more):
        producer.produce(value=make_value(self.name, number, filler_length(self.chance)), key=self.name, **more)

    def work(self):
        producer = confluent_kafka.Producer(self.settings)
        while not self.stopping.is_set():
            for _ in range(self.chance.randint(1, 100)):
                self.send(producer)
            paced = time.monotonic() + PACE_SECONDS
            while time.monotonic() < paced:
                producer.poll(PACE_SECONDS)
            while len(producer) > QUEUE_MAX and not self.stopping.is_set():
                producer.poll(0.05)
        assert producer.flush(WAIT_SECONDS) == 0, f"{self.name}: {len(producer)} records are still under way"


class KeyedWriter(Writer):
    """Writes new values of few keys to a topic that is compacted: of each key the newest acknowledged one, or one sent
    after it, is there, and what is there is where it was acknowledged."""

    KEYS = 50

    def __init__(self, server, name, topic, seed):
        super().__init__(server, name, [(topic, 0)], seed)
        self.server = server

    def key(self, number):
        return number * 7919 % 10007 % self.KEYS

    def produce(self, producer, number, **more):
        producer.produce(value=make_value(self.name, number, 200), **{**more, "key": str(self.key(number))})

    def check(self):
        found = read_whole(self.server, self.partitions, "read_uncommitted")
        places = {number: place for place, (_, number) in found.items()}
        newest = {}
        for number in sorted(places):
            newest[self.key(number)] = number
            assert self.acked.get(number, places[number]) == places[number], f"{self.name}: {number} moved"
        assert len(places) == len(found) and sorted(places) == sorted(places, key=places.get)
        for number in self.acked:
            now = newest.get(self.key(number), -1)
            assert now >= number, f"{self.name}: key {self.key(number)} is at {now}, but {number} was acknowledged"
        assert len(found) < len(self.acked) or len(self.acked) < 100 * self.KEYS, f"{self.name}: compaction never came"


class TransactionWriter(Client):
    """outcomes: (numbers, "committed" | "aborted" | "unknown") of each transaction, in order."""

    def __init__(self, server, name, partitions, seed):
        super().__init__(name)
        self.settings = {"server": server.kafka, "name": name, "partitions": partitions, "seed": seed}
        self.sent, self.acked, self.refused, self.outcomes = {}, {}, {}, []
        self.reasons, self.process, self.lock = collections.Counter(), None, threading.Lock()

    def take(self, line):
        if "plan" in line:
            for number, topic, partition in line["plan"]:
                self.sent[number] = (topic, partition)
            self.outcomes.append(([number for number, _, _ in line["plan"]], "unknown"))
            return
        self.acked.update({int(number): Place(*place) for number, place in line["acked"].items()})
        self.outcomes[-1] = (self.outcomes[-1][0], line["outcome"])
        if line["outcome"] == "unknown":
            self.reasons[line["why"]] += 1

    def run_process(self, words):
        settings = json.dumps({**self.settings, "first": len(self.sent)})
        with self.lock:
            self.process = subprocess.Popen([sys.executable, "-m", transactions.__name__, settings], cwd=TESTS,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True)
            if self.stopping.is_set():
                self.process.stdin.close()
        for line in self.process.stdout:
            self.take(json.loads(line))
        return self.process.wait(WAIT_SECONDS)

    def work(self):
        """A client that ended in an assertion of its own is started again, as the next of its name."""
        for _ in range(CRASHES_MAX):
            with tempfile.TemporaryFile("w+") as words:
                status = self.run_process(words)
                words.seek(0)
                said = words.read()
            if status == 0 and self.stopping.is_set():
                return
            assert "Assertion" in said, f"{self.name} ended with {status}: {said}"
        raise AssertionError(f"{self.name} crashed {CRASHES_MAX} times: {said}")

    def finish(self):
        with self.lock:
            self.stopping.set()
            if self.process is not None:
                self.process.stdin.close()
        super().finish()


class Reader(Client):
    """Follows all partitions from their start; seen[Place] is the (writer, number) that was there."""

    def __init__(self, server, name, partitions, isolation="read_uncommitted"):
        super().__init__(name)
        self.partitions = partitions
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": server.kafka, "group.id": name, "enable.auto.commit": False, "check.crcs": True,
            "isolation.level": isolation, "auto.offset.reset": "error", "enable.partition.eof": True,
            "fetch.wait.max.ms": 50, "fetch.error.backoff.ms": 20, **RECONNECT})
        self.seen, self.next = {}, {}
        self.ended = set()

    def take(self, message):
        if message.error():
            if message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                self.ended.add((message.topic(), message.partition()))
                return
            assert message.error().retriable() or message.error().code() in TROUBLE, \
                f"{self.name}: {message.topic()}-{message.partition()}: {message.error()}"
            return
        place = Place(message.topic(), message.partition(), message.offset())
        assert place.offset >= self.next.get(place[:2], 0), f"{self.name}: {place} came again or out of order"
        self.next[place[:2]] = place.offset + 1
        self.seen[place] = read_value(message.value())

    def work(self):
        self.consumer.assign([confluent_kafka.TopicPartition(topic, partition, 0) for topic, partition in self.partitions])
        quiet_since = time.monotonic()
        while not self.is_over():
            messages = self.consumer.consume(1000, 0.1)
            for message in messages:
                self.take(message)
            quiet_since = time.monotonic() if messages else quiet_since
            assert time.monotonic() - quiet_since < WAIT_SECONDS, f"{self.name} reads nothing more"
        self.consumer.close()

    def is_over(self):
        return self.stopping.is_set()


TROUBLE = {confluent_kafka.KafkaError._TRANSPORT, confluent_kafka.KafkaError._ALL_BROKERS_DOWN,
           confluent_kafka.KafkaError._TIMED_OUT, confluent_kafka.KafkaError._RESOLVE}


class WholeReader(Reader):
    """Ends by itself at the end of all partitions."""

    def is_over(self):
        return len(self.ended) == len(self.partitions)


def read_whole(server, partitions, isolation):
    reader = WholeReader(server, f"whole-{isolation}", partitions, isolation)
    reader.start()
    reader.join(2 * WAIT_SECONDS)
    reader.finish()
    return reader.seen


class Committer(Client):
    """Commits offsets 1, 2, 3 ... for a group: what was answered is kept, what was not may be."""

    def __init__(self, server, name, partition):
        super().__init__(name)
        self.server, self.partition = server, partition
        self.answered = self.tried = 0

    def client(self):
        return confluent_kafka.Consumer({"bootstrap.servers": self.server.kafka, "group.id": self.name,
                                         "enable.auto.commit": False, **RECONNECT})

    def work(self):
        consumer = self.client()
        while not self.stopping.wait(PACE_SECONDS):
            self.tried += 1
            try:
                consumer.commit(offsets=[confluent_kafka.TopicPartition(*self.partition, self.tried)], asynchronous=False)
                self.answered = self.tried
            except confluent_kafka.KafkaException:
                pass  # its server was killed: it may count or not
        consumer.close()

    def check(self):
        consumer = self.client()
        offset = consumer.committed([confluent_kafka.TopicPartition(*self.partition)], timeout=WAIT_SECONDS)[0].offset
        consumer.close()
        assert self.answered and self.answered <= offset <= self.tried, \
            f"{self.name}: offset {offset} is committed, {self.answered} was answered, {self.tried} tried"


class TopicMaker(Client):
    """Makes and deletes topics; states[name]: whether it is there, None when the answer did not come."""

    def __init__(self, server, name):
        super().__init__(name)
        self.server, self.states = server, {}

    def ask(self, *request):
        try:
            return self.server.ask(*request).status < 300
        except (OSError, http.client.HTTPException):
            return False

    def work(self):
        while not self.stopping.wait(PACE_SECONDS):
            name = f"{self.name}-{len(self.states)}"
            self.states[name] = None
            if not self.ask("POST", "/api/v1/topics", {"name": name, "partitions": 3}):
                continue
            self.states[name] = True
            if len(self.states) % 3 == 0:
                self.states[name] = None
                if self.ask("DELETE", f"/api/v1/topics/{name}", {}):
                    self.states[name] = False

    def check(self):
        for name, there in self.states.items():
            if there is not None:
                status = self.server.get(f"/api/v1/topics/{name}").status
                assert status == (200 if there else 404), f"{name}: {status}, but its {'making' if there else 'end'} was answered"


class Load:
    """Writers and readers of both kinds over some topics, and what must be true of them afterwards."""

    def __init__(self, server, topics, seed, writers=2, transactional=2, compacted=None):
        self.server = server
        self.partitions = [(topic, partition) for topic, count in topics.items() for partition in range(count)]
        self.writers = [Writer(server, f"plain-{n}", self.partitions, seed) for n in range(writers)]
        self.transactional = [TransactionWriter(server, f"txn-{n}", self.partitions, seed) for n in range(transactional)]
        self.readers = [Reader(server, f"tail-{isolation}", self.partitions, isolation)
                        for isolation in ("read_uncommitted", "read_committed")]
        self.others = [Committer(server, "committer", self.partitions[0]), TopicMaker(server, "made")]
        self.others += [KeyedWriter(server, "keyed", compacted, seed)] if compacted else []

    def clients(self):
        return self.writers + self.transactional + self.readers + self.others

    def start(self):
        for client in self.clients():
            client.start()
        return self

    def progress(self):
        """Records acknowledged and transactions committed up to now."""
        return (sum(len(writer.acked) for writer in self.writers),
                sum(outcome == "committed" for writer in self.transactional for _, outcome in list(writer.outcomes)))

    def wait_for(self, records, transactions):
        """Until so many more of them."""
        begun, ends = self.progress(), time.monotonic() + WAIT_SECONDS
        while True:
            now = self.progress()
            if now[0] - begun[0] >= records and (not self.transactional or now[1] - begun[1] >= transactions):
                return
            for client in self.clients():
                if client.wrong is not None:
                    raise client.wrong
            assert self.server.running(), f"the server ended by itself:\n{self.server.errors.text()}"
            assert time.monotonic() < ends, f"no progress in {WAIT_SECONDS} s: {begun} to {now}"
            self.readers[0].join(0.005)

    def finish(self):
        for client in self.clients():
            client.finish()

    def check(self):
        """Reads everything and compares; the counts of it."""
        every = read_whole(self.server, self.partitions, "read_uncommitted")
        committed = read_whole(self.server, self.partitions, "read_committed")
        check_places(every, self.writers + self.transactional)
        check_order(every)
        check_seen(every, committed, self.readers)
        check_transactions(every, committed, self.writers, self.transactional)
        for other in self.others:
            other.check()
        return {"records": len(every), "acknowledged": self.progress()[0],
                "why unknown": dict(sum((writer.reasons for writer in self.transactional), collections.Counter())),
                **collections.Counter(outcome for writer in self.transactional for _, outcome in writer.outcomes)}


def check_places(every, writers):
    """No acknowledged record lost or moved, none invented, none twice."""
    by_name = {writer.name: writer for writer in writers}
    for place, (name, number) in every.items():
        assert by_name[name].sent[number] == place[:2], f"{name} {number} is at {place}, where nobody sent it"
    for writer in writers:
        assert not writer.refused or isinstance(writer, TransactionWriter), f"{writer.name}: {writer.refused}"
        for number, place in writer.acked.items():
            found = every.get(place)
            assert found == (writer.name, number), f"{writer.name} {number} was acknowledged at {place}; there is {found}"
    twice = [record for record, count in collections.Counter(every.values()).items() if count > 1]
    assert not twice, f"there twice though the producer was idempotent: {twice[:5]}"


def check_order(every):
    """In each partition a writer's records stand in the order it sent them."""
    last = {}
    for place, (name, number) in sorted(every.items()):
        before = last.get((place[:2], name), -1)
        assert number > before, f"{name} {number} stands after {before} in {place[:2]}"
        last[(place[:2], name)] = number


def check_seen(every, committed, readers):
    """What a reader once saw at an offset is there for ever."""
    for reader, now in zip(readers, (every, committed)):
        for place, record in reader.seen.items():
            assert now.get(place) == record, f"{reader.name} saw {record} at {place}; now there is {now.get(place)}"


def check_transactions(every, committed, writers, transactional):
    """A read_committed reader gets every committed transaction whole, of the others all or nothing."""
    assert committed.items() <= every.items()
    shown = set(committed.values())
    for writer in writers:
        lost = {(writer.name, number) for number in writer.acked} - shown
        assert not lost, f"acknowledged, but not for read_committed: {sorted(lost)[:5]}"
    for writer in transactional:
        for numbers, outcome in writer.outcomes:
            there = sum((writer.name, number) in shown for number in numbers)
            right = {"committed": (len(numbers),), "aborted": (0,), "unknown": (0, len(numbers))}[outcome]
            assert there in right, f"{writer.name}: {there} of {len(numbers)} records of a transaction that is {outcome}"
