"""Rows about reading, and about what disturbs writing."""
import time

from kit import machine
from kit.brokers import Floor, Kafka, Ours
from kit.row import Row

CACHED_GB = 2
COLD_GB_FULL, COLD_GB_SHORT = 10, 4
FULL_SECONDS = 60  # of a full run
READERS = 4        # connections, four partitions each
DROP_SECONDS = 4   # after the page cache is dropped
SIDE_MB_PER_S = 40  # written beside, where retention and compaction have work


def cold_gb(bench):
    wanted = COLD_GB_FULL if bench.seconds >= FULL_SECONDS else COLD_GB_SHORT
    return min(wanted, 0.5 * bench.free_gb())


def fill(broker, gigabytes, topic="bench", policy="os", **options):
    return broker.load("produce", topic=topic, config=broker.topic_config(policy), duration=0,
                       records=int(gigabytes * 1e9 / 1040), **options)


def cached_of(bench, kind):
    with kind(bench) as broker:
        fill(broker, CACHED_GB)
        options = {"connections": READERS, "repeat": True}
        broker.load("consume", duration=f"{bench.warmup * 1000:.0f}", **options)
        with machine.Watch(broker.pid) as watch:
            result = broker.load("consume", duration=f"{bench.seconds * 1000:.0f}", **options)
    machine.settle()
    gb = max(result["all_bytes"] / 1e9, 1e-9)
    return {"mb_per_s": result["mb_per_s"], "cpu_s_per_gb": watch.cpu_s / gb,
            "client_s_per_gb": result["client_cpu_s"] / gb, "peak_mb": watch.peak_bytes / 1e6,
            "others_percent": watch.others_percent(result["client_cpu_s"])}


def consume_cached(bench):
    row = Row("consume-cached", "2 GB in the page cache, 4 connections, 1 MiB a partition")
    for _ in range(bench.pairs):
        for kind in (Ours, Kafka, Floor):
            if kind.name not in bench.skipped:
                row.add(kind.name, cached_of(bench, kind))
    row.ratio("throughput to Kafka's", "tidemark", "kafka", "mb_per_s", at_least=1)
    row.ratio("throughput to the floor's", "tidemark", "floor", "mb_per_s")
    return row


def dropped():
    """An empty page cache, and its memory given back where the machine under this one takes it:
    so every reader meets the same."""
    machine.drop_caches()
    time.sleep(DROP_SECONDS)


def cold_of(bench, kind):
    with kind(bench) as broker:
        fill(broker, cold_gb(bench))
        dropped()
        before = machine.read_files(broker.data)
        dropped()
        with machine.Watch(broker.pid) as watch:
            result = broker.load("consume", duration=0, connections=READERS)
        dropped()
        after = machine.read_files(broker.data)
    machine.settle()
    return {"mb_per_s": result["mb_per_s"], "files_mb_per_s": min(before, after),
            "files_best_mb_per_s": max(before, after),
            "cpu_s_per_gb": watch.cpu_s / max(result["bytes"] / 1e9, 1e-9),
            "others_percent": watch.others_percent(result["client_cpu_s"])}


def consume_cold(bench):
    row = Row("consume-cold", "caches dropped, read once")
    if not machine.drop_caches():
        row.note("skipped: the page cache cannot be dropped here")
        return row
    for _ in range(bench.pairs):
        for kind in (Ours, Kafka):
            if kind.name not in bench.skipped:
                row.add(kind.name, cold_of(bench, kind))
        if Floor.name not in bench.skipped:  # loopback and client together, from memory
            row.add("floor, cached", cached_of(bench, Floor))
    if row.has("tidemark", "floor, cached"):
        values = [
            cold / min(disk, client) for cold, disk, client in
            zip(row.values("tidemark", "mb_per_s"), row.values("tidemark", "files_mb_per_s"),
                row.values("floor, cached", "mb_per_s"))]
        row.claim("throughput to the smaller of disk and loopback with client", values,
                  at_least=0.9)
    row.ratio("throughput to Kafka's", "tidemark", "kafka", "mb_per_s")
    return row


def latency(broker, bench, beside=None, policy="durable"):
    """p99 of 5,000 records a second, with a load of beside() under way."""
    stop = beside() if beside else None
    result = broker.load("latency", topic="latency", config=broker.topic_config(policy),
                         duration=f"{bench.seconds * 1000:.0f}", rate=5000)
    if stop:
        stop()
    return {"p99_ms": result["latency_ms"]["p99"], "p999_ms": result["latency_ms"]["p999"],
            "max_ms": result["latency_ms"]["max"]}


def side_write(bench, broker, topic, config, **options):
    """Writes at SIDE_MB_PER_S for as long as a latency run takes."""
    seconds = bench.seconds + 2
    wait = broker.load_start("produce", topic=topic, config=config, connections=2, partitions=4,
                             rate=SIDE_MB_PER_S * 1000, duration=f"{seconds * 1000:.0f}",
                             **options)
    time.sleep(1)
    return wait


def interference(bench):
    row = Row("interference", "p99 of 5,000 records a second, durable, beside other work")
    if Ours.name in bench.skipped:
        return row
    small = "segment.bytes=16777216"
    cases = {
        "side write": lambda b: side_write(bench, b, "plain", small),
        "retention": lambda b: side_write(bench, b, "kept",
                                          small + ",retention.bytes=33554432"),
        "compaction": lambda b: side_write(
            bench, b, "compacted",
            small + ",cleanup.policy=compact,min.cleanable.dirty.ratio=0.1", key_bytes=16),
        "cold read": lambda b: b.load_start("consume", topic="cold", connections=READERS,
                                            duration=f"{bench.seconds * 1000:.0f}"),
    }
    for _ in range(bench.pairs):
        with Ours(bench) as broker:
            fill(broker, cold_gb(bench), topic="cold")
            latency(broker, bench)  # warms up
            row.add("alone", latency(broker, bench))
            for label, begin in cases.items():
                if label == "cold read":  # what the dropping itself costs is not of interest
                    machine.drop_caches()
                    broker.load("latency", topic="latency", duration=f"{1000 * DROP_SECONDS}",
                                config=broker.topic_config("durable"), rate=5000)
                row.add(label, latency(broker, bench, lambda go=begin: go(broker)))
            machine.settle()
    row.ratio("p99 during a cold read to alone", "cold read", "alone", "p99_ms", at_most=2)
    row.ratio("p99 during a write of 40 MB/s to alone", "side write", "alone", "p99_ms")
    row.ratio("p99 during retention to the same write without", "retention", "side write",
              "p99_ms", at_most=2)
    row.ratio("p99 during compaction to the same write without", "compaction", "side write",
              "p99_ms", at_most=2)
    return row


ROWS = {"consume-cached": consume_cached, "consume-cold": consume_cold,
        "interference": interference}
