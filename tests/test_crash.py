"""An acknowledged record survives kill -9 and power loss: load, sudden ends at any moment, then everything is checked.

What is checked is in support/load.py: nothing acknowledged is lost or moved, nothing invented, nothing twice, what a
reader saw stays, and read_committed gets whole transactions only. A seed names a run; a failure prints it.
"""

import random
import subprocess

import pytest
from support.clients import dotted
from support.load import Load

KILLS, KILLS_SOAK = 16, 200
START_SECONDS = 0.15  # a start takes about so long
TOPICS = {"narrow": 1, "wide": 6}
# Small segments and quick checkpoints: more edges in the same time.
OPTIONS = ["--topic-segment-bytes", "256KiB", "--log-unsynced-max-ms", "300ms", "--log-unsynced-max-bytes", "1MiB",
           "--log-journal-max-bytes", "16MiB", "--log-retention-check-interval-ms", "300ms",
           "--transaction-state-log-num-partitions", "3", "--offsets-topic-num-partitions", "3"]


def create(server, topic, partitions, **settings):
    made = server.ask("POST", "/api/v1/topics", {"name": topic, "partitions": partitions, "settings": dotted(settings)})
    assert made.status == 201, made.body


def end_while_starting(server, seconds):
    """Recovery must bear it too, at any of its steps."""
    with subprocess.Popen(server.command(), env=server.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as starting:
        try:
            starting.wait(seconds)
        except subprocess.TimeoutExpired:
            starting.kill()


def killed_under_load(server, kills, seed, after_kill):
    """Everything above, kills times; the counts of the check."""
    chance = random.Random(seed)
    server.start()
    for topic, partitions in TOPICS.items():
        create(server, topic, partitions)
    create(server, "compacted", 1, cleanup_policy="compact", min_cleanable_dirty_ratio="0", segment_bytes="64KiB")
    load = Load(server, TOPICS, seed, compacted="compacted").start()
    for _ in range(kills):
        load.wait_for(chance.choice((0, 1, 100, 1000)), chance.choice((0, 1, 1, 5)))
        server.kill9()
        after_kill(chance)
        while chance.random() < 0.3:
            end_while_starting(server, chance.random() * START_SECONDS)
            after_kill(chance)
        server.start()
    load.wait_for(1, 1)
    load.finish()
    counts = load.check()
    assert counts["acknowledged"] and counts["committed"]
    server.restart()
    assert load.check() == counts, "an orderly restart changed what is there"
    return counts


def run_kills(servers, kills, seed):
    print(killed_under_load(servers(*OPTIONS), kills, seed, lambda chance: None))


def run_power_losses(servers, powerfs, kills, seed):
    def lose(chance):
        powerfs.lose(chance.randrange(1 << 60), chance.choice((0, 0, 10, 50, 90, 100)))
    server = servers(*OPTIONS, data=powerfs.data, environment=powerfs.environment)
    print(killed_under_load(server, kills, seed, lose))
    server.stop()


def test_nothing_acknowledged_is_lost_by_kill_9(servers):
    run_kills(servers, KILLS, 1)


def test_nothing_acknowledged_is_lost_by_a_power_failure(servers, powerfs):
    run_power_losses(servers, powerfs, KILLS, 1)


@pytest.mark.soak
def test_nothing_acknowledged_is_lost_by_200_kills(servers):
    run_kills(servers, KILLS_SOAK, random.SystemRandom().randrange(1 << 32))


@pytest.mark.soak
@pytest.mark.parametrize("run", range(5))
def test_nothing_acknowledged_is_lost_by_40_power_failures(servers, powerfs, run):
    run_power_losses(servers, powerfs, KILLS_SOAK // 5, random.SystemRandom().randrange(1 << 32))
