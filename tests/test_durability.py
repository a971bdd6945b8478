"""What an acknowledgement means: acks=all comes after the flush, flush.policy=os says that it does not, a disk that
fails ends all promises at once and aloud. The file system holds syncs back or fails them; see powerfs/powerfs.c."""

import errno
import time

import confluent_kafka
import pytest
from support import clients

WAIT_SECONDS = 30
TOO_EARLY_SECONDS = 0.5  # an answer that does not wait for its flush would be here by then


@pytest.fixture
def server(servers, powerfs):
    started = servers(data=powerfs.data, environment=powerfs.environment).start()
    yield started
    powerfs.command("release")
    if started.running():
        started.kill9()
        started.start()  # the fixture of servers wants to stop one that runs
        started.stop()


def create(server, topic, **settings):
    made = server.ask("POST", "/api/v1/topics", {"name": topic, "settings": clients.dotted(settings)})
    assert made.status == 201, made.body


def wait_until(true):
    ends = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < ends, f"not within {WAIT_SECONDS} s"


class Sender:
    """Sends one record and notes the answer to it."""

    def __init__(self, server, topic, value, **settings):
        self.answers = []
        self.producer = clients.confluent_producer(server, linger_ms=0, **settings)
        self.producer.produce(topic, value, on_delivery=lambda error, message: self.answers.append((error, message.offset())))

    def answer(self, seconds=WAIT_SECONDS):
        """(error, offset), or None when none came in time."""
        self.producer.flush(seconds)
        return self.answers[0] if self.answers else None


def high_watermark(server, topic):
    consumer = clients.confluent_consumer(server, "watermarks")
    _, high = consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, 0), timeout=WAIT_SECONDS)
    consumer.close()
    return high


def test_acks_all_is_answered_after_the_flush_and_shown_after_it(server, powerfs):
    create(server, "safe")
    powerfs.command("hold")
    sender = Sender(server, "safe", b"one")
    wait_until(lambda: powerfs.count("pending"))
    assert sender.answer(TOO_EARLY_SECONDS) is None, "acknowledged before it was on disk"
    assert high_watermark(server, "safe") == 0, "shown to readers before it was on disk"
    powerfs.command("release")
    assert sender.answer() == (None, 0)
    server.kill9()
    powerfs.lose(1, 0)
    server.start()
    assert clients.kcat_consume(server, "safe") == ["one"]


def test_acks_1_is_answered_at_once_but_not_shown_before_the_flush(server, powerfs):
    create(server, "quick")
    powerfs.command("hold")
    assert Sender(server, "quick", b"one", acks="1").answer() == (None, 0)
    assert high_watermark(server, "quick") == 0
    powerfs.command("release")
    wait_until(lambda: high_watermark(server, "quick") == 1)


def test_a_topic_is_acknowledged_as_created_after_the_flush(server, powerfs):
    create(server, "kept")
    server.kill9()
    powerfs.lose(2, 0)
    server.start()
    assert server.get("/api/v1/topics/kept").status == 200


def test_flush_policy_os_says_so_and_loses_no_more_than_the_tail(server, powerfs):
    create(server, "fast", flush_policy="os")
    assert server.get("/api/v1/topics/fast").json()["settings"]["flush.policy"] == "os"
    shown = server.command_line("topic", "show", "fast")
    assert "flush.policy" in shown.stdout, shown
    lines = [f"line {number}" for number in range(5000)]
    clients.kcat_produce(server, "fast", lines)
    server.kill9()
    powerfs.lose(3, 50)
    server.start()
    left = clients.kcat_consume(server, "fast")
    assert left == lines[: len(left)]
    clients.kcat_produce(server, "fast", ["and on"])
    assert clients.kcat_consume(server, "fast") == [*left, "and on"]


def test_flush_policy_os_does_not_wait_for_a_flush(server, powerfs):
    create(server, "fast", flush_policy="os")
    powerfs.command("hold")
    assert Sender(server, "fast", b"one").answer() == (None, 0)
    assert high_watermark(server, "fast") == 1


def test_flush_policy_os_is_synced_in_the_background(servers, powerfs):
    server = servers("--log-unsynced-max-ms", "100ms", data=powerfs.data, environment=powerfs.environment).start()
    create(server, "fast", flush_policy="os")
    before = powerfs.count("syncs")
    clients.kcat_produce(server, "fast", ["a", "b"])
    wait_until(lambda: powerfs.count("syncs") > before + 2)  # files, their folder, the checkpoint
    server.stop()


def test_an_orderly_stop_syncs_everything(server, powerfs):
    create(server, "fast", flush_policy="os")
    clients.kcat_produce(server, "fast", ["a", "b"])
    server.stop()
    powerfs.lose(4, 0)
    server.start()
    assert clients.kcat_consume(server, "fast") == ["a", "b"]


def test_a_flush_that_fails_makes_the_log_read_only_and_is_named(server, powerfs):
    create(server, "safe")
    clients.kcat_produce(server, "safe", ["before"])
    powerfs.command("fail", errno.EIO)
    error, _ = Sender(server, "safe", b"during", retries=0).answer()
    assert error.name() == "KAFKA_STORAGE_ERROR", error
    assert server.errors.wait_for("read-only", WAIT_SECONDS)
    powerfs.command("fail", 0)  # the page cache has lied by now: the log stays read-only
    error, _ = Sender(server, "safe", b"after", retries=0).answer()
    assert error.name() == "KAFKA_STORAGE_ERROR", error
    assert clients.kcat_consume(server, "safe") == ["before"]
    server.kill9()
    powerfs.lose(5, 0)
    server.start()
    clients.kcat_produce(server, "safe", ["again"])
    assert clients.kcat_consume(server, "safe") == ["before", "again"]


def test_after_a_flush_that_failed_a_stop_is_orderly_all_the_same(server, powerfs):
    create(server, "safe")
    powerfs.command("fail", errno.EIO)
    error, _ = Sender(server, "safe", b"during", retries=0).answer()
    assert error.name() == "KAFKA_STORAGE_ERROR", error
    server.stop()
    powerfs.command("fail", 0)
    server.start()
    assert server.get("/readyz").status == 200
