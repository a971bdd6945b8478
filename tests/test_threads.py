"""The whole server under the thread sanitizer, with everything going on at once: no report, and nothing is lost.

Several network threads and shards, so that what one thread hands to another really crosses threads."""

import os
import random
import time

import pytest
from support import clients
from support.load import Client, Load
from support.server import Server

SECONDS, SECONDS_SOAK = 10, 600
TOPICS = {"narrow": 1, "wide": 8}
OPTIONS = ["--num-network-threads", "3", "--log-shards", "3", "--topic-segment-bytes", "128KiB",
           "--log-unsynced-max-ms", "200ms", "--log-journal-max-bytes", "16MiB", "--log-retention-check-interval-ms", "100ms",
           "--log-index-cache-bytes", "64KiB", "--log-files-max", "16", "--group-initial-rebalance-delay-ms", "50ms",
           "--offsets-topic-num-partitions", "3", "--transaction-state-log-num-partitions", "3",
           "--shutdown-drain-ms", "20s"]


@pytest.fixture
def server(binary, tmp_path):
    program = os.path.join(os.path.dirname(os.path.dirname(binary)), "tsan", "tidemark")
    if not os.access(program, os.X_OK):
        pytest.skip(f"{program} is not there; make {program} builds it")
    made = Server(program, tmp_path / "data", *OPTIONS, runtime=tmp_path / "runtime").start()
    yield made
    if made.running():
        made.stop()
    made.check_reports()


class Repeating(Client):
    """Does one thing again and again."""

    def __init__(self, name, server, seed):
        super().__init__(name)
        self.server, self.chance, self.rounds = server, random.Random(f"{name} {seed}"), 0

    def work(self):
        while not self.stopping.is_set():
            self.once()
            self.rounds += 1


class Member(Repeating):
    """Joins a group, reads and commits a little, leaves."""

    def once(self):
        consumer = clients.confluent_consumer(self.server, "members", enable_auto_commit=False, session_timeout_ms=6000)
        consumer.subscribe(list(TOPICS))
        for _ in range(self.chance.randint(1, 20)):
            if any(message.error() is None for message in consumer.consume(200, 0.1)):
                consumer.commit(asynchronous=True)
        consumer.close()


class Administrator(Repeating):
    """Makes topics, writes to them, lists, describes, trims and deletes."""

    def once(self):
        name = f"passing-{self.rounds}"
        settings = self.chance.choice(({"cleanup.policy": "compact", "segment.bytes": "16KiB", "min.cleanable.dirty.ratio": "0"},
                                       {"retention.bytes": "64KiB", "segment.bytes": "16KiB"}, {"flush.policy": "os"}))
        made = self.server.ask("POST", "/api/v1/topics", {"name": name, "partitions": 3, "settings": settings})
        assert made.status == 201, made.body
        clients.kcat_produce(self.server, name, [f"{n % 50}:{'x' * 200}" for n in range(1000)], "-K", ":")
        assert len(clients.kcat_consume(self.server, name)) >= 50
        for path in ("/api/v1/topics", f"/api/v1/topics/{name}", "/api/v1/groups", "/metrics", "/api/v1/server"):
            assert self.server.get(path).status == 200
        assert self.server.ask("DELETE", f"/api/v1/topics/{name}", {}).status in (200, 204)


def everything_at_once(server, seconds, seed):
    for topic, partitions in TOPICS.items():
        made = server.ask("POST", "/api/v1/topics", {"name": topic, "partitions": partitions})
        assert made.status == 201, made.body
    load = Load(server, TOPICS, seed).start()
    others = [Member(f"member-{n}", server, seed) for n in range(3)] + [Administrator("administrator", server, seed)]
    for client in others:
        client.start()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        load.wait_for(1, 1)
    for client in others:
        client.finish()
        assert client.rounds, f"{client.name} did nothing"
    load.finish()
    counts = load.check()
    assert counts["committed"] and counts["acknowledged"]
    server.restart()
    assert load.check() == counts
    server.kill9()
    server.start()
    assert load.check() == counts


def test_no_data_race_with_everything_at_once(server):
    everything_at_once(server, SECONDS, 1)


@pytest.mark.soak
def test_no_data_race_with_everything_at_once_for_long(server):
    everything_at_once(server, SECONDS_SOAK, random.SystemRandom().randrange(1 << 32))
