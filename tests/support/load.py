"""Load that can be checked afterwards: writers that note what was acknowledged, readers that note what they saw.

A value is `WRITER NUMBER filler CRC`: a record that nobody wrote, or a damaged one, is told from the others by itself.
Every thread here goes on by itself when its server is killed and started again.
"""

import collections
import random
import threading
import time
import zlib

import confluent_kafka

RECONNECT = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100, "retry.backoff.ms": 20,
             "socket.timeout.ms": 10000, "log_level": 0}
WAIT_SECONDS = 60  # a client that makes no progress for so long hangs
QUEUE_MAX = 500    # records of a writer under way
PACE_SECONDS = 0.02 # between the bursts of a writer: transactions are to get their share

Place = collections.namedtuple("Place", "topic partition offset")


def make_value(writer, number, filler):
    body = f"{writer} {number} {'x' * filler}".encode()
    return body + f" {zlib.crc32(body):08x}".encode()


def read_value(value):
    """(writer, number) of an undamaged value; anything else is an AssertionError."""
    body, crc = value[:-9], value[-9:]
    assert crc == f" {zlib.crc32(body):08x}".encode(), f"a value that nobody wrote: {value[:80]!r}"
    writer, number, _ = body.split(b" ", 2)
    return writer.decode(), int(number)


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

    def __init__(self, server, name, partitions, seed, **settings):
        super().__init__(name)
        self.chance = random.Random(f"{name} {seed}")
        self.partitions = partitions
        self.settings = {"bootstrap.servers": server.kafka, "acks": "all", "enable.idempotence": True,
                         "linger.ms": 1, "message.timeout.ms": WAIT_SECONDS * 1000, **RECONNECT,
                         **{name.replace("_", "."): value for name, value in settings.items()}}
        self.sent, self.acked, self.refused = {}, {}, {}

    def send(self, producer):
        number = len(self.sent)
        self.sent[number] = topic, partition = self.chance.choice(self.partitions)
        filler = self.chance.choice((0, 10, 100, 1000, 10000) if self.chance.random() < 0.05 else (0, 50, 200))

        def told(error, message):
            if error:
                self.refused[number] = error
            else:
                self.acked[number] = Place(message.topic(), message.partition(), message.offset())
        producer.produce(topic, make_value(self.name, number, filler), key=self.name, partition=partition, on_delivery=told)
        return number

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


class TransactionWriter(Writer):
    """outcomes: (numbers, "committed" | "aborted" | "unknown") of each transaction, in order."""

    def __init__(self, server, name, partitions, seed):
        super().__init__(server, name, partitions, seed, transactional_id=name, transaction_timeout_ms=20000,
                         message_timeout_ms=15000)
        self.outcomes = []

    def until_done(self, step):
        """Calls it again while the client says that this may help."""
        ends = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                return step(10)
            except confluent_kafka.KafkaException as refusal:
                if not refusal.args[0].retriable() or time.monotonic() > ends:
                    raise

    def start_anew(self):
        producer = confluent_kafka.Producer(self.settings)
        self.until_done(producer.init_transactions)
        return producer

    def transaction(self, producer):
        """One transaction; false when its producer can do no more."""
        numbers, outcome = [], "unknown"
        try:
            producer.begin_transaction()
            for _ in range(self.chance.randint(1, 30)):
                numbers.append(self.send(producer))
            kind = self.chance.random()
            if kind < 0.05:
                return False  # gone without a word: the next of its name ends it
            if kind < 0.25:
                self.until_done(producer.abort_transaction)
                outcome = "aborted"
            else:
                self.until_done(producer.commit_transaction)
                outcome = "committed"
            return True
        except confluent_kafka.KafkaException as refusal:
            if not refusal.args[0].txn_requires_abort():
                return False
            outcome = self.give_up(producer)
            return outcome == "aborted"
        finally:
            self.outcomes.append((numbers, outcome))

    def give_up(self, producer):
        try:
            self.until_done(producer.abort_transaction)
            return "aborted"
        except confluent_kafka.KafkaException:
            return "unknown"

    def work(self):
        producer = None
        while not self.stopping.is_set():
            if producer is None:  # an idle producer is false: its length is what it has under way
                producer = self.start_anew()
            if not self.transaction(producer):
                producer = None
        self.start_anew()  # whatever was left open is over


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


class Load:
    """Writers and readers of both kinds over some topics, and what must be true of them afterwards."""

    def __init__(self, server, topics, seed, writers=2, transactional=2):
        self.server = server
        self.partitions = [(topic, partition) for topic, count in topics.items() for partition in range(count)]
        self.writers = [Writer(server, f"plain-{n}", self.partitions, seed) for n in range(writers)]
        self.transactional = [TransactionWriter(server, f"txn-{n}", self.partitions, seed) for n in range(transactional)]
        self.readers = [Reader(server, f"tail-{isolation}", self.partitions, isolation)
                        for isolation in ("read_uncommitted", "read_committed")]

    def start(self):
        for client in self.writers + self.transactional + self.readers:
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
            for client in self.writers + self.transactional + self.readers:
                if client.wrong is not None:
                    raise client.wrong
            assert time.monotonic() < ends, f"no progress in {WAIT_SECONDS} s: {begun} to {now}"
            self.readers[0].join(0.005)

    def finish(self):
        for client in self.writers + self.transactional + self.readers:
            client.finish()

    def check(self):
        """Reads everything and compares; the counts of it."""
        every = read_whole(self.server, self.partitions, "read_uncommitted")
        committed = read_whole(self.server, self.partitions, "read_committed")
        check_places(every, self.writers + self.transactional)
        check_order(every)
        check_seen(every, committed, self.readers)
        check_transactions(every, committed, self.writers, self.transactional)
        return {"records": len(every), "acknowledged": self.progress()[0],
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
