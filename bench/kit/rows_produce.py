"""Rows about writing: throughput of each policy, record size, partition count; latency; CPU."""
import os

from kit import machine
from kit.brokers import Floor, Kafka, Ours
from kit.row import Row

GB_PER_S = 1.3         # the most a run writes; the disk must have room for it
QUIET_WAKE_MS = 0.2    # p99 of a sleep's lateness above which latency means nothing
LATENCY_RATE = 5000    # records a second
PROBE_SECONDS = 3
MANY_WARMUP = 25  # seconds until Kafka has made the files of 1,000 partitions ...
MANY_RATE = 20000  # ... at so many records a second: memory that was never used is slow to get
FLUSH_GUESS = 16 * 5 * 16384 // 2  # half of what the client has under way


def seconds_with_room(bench):
    """The wanted time, less where the disk would fill."""
    return min(bench.seconds, 0.7 * bench.free_gb() / GB_PER_S - bench.warmup)


def figures_of(result, watch):
    gb = max(result["all_bytes"] / 1e9, 1e-9)
    return {
        "mb_per_s": result["mb_per_s"],
        "krec_per_s": result["records_per_s"] / 1e3,
        "p50_ms": result["latency_ms"]["p50"],
        "p99_ms": result["latency_ms"]["p99"],
        "cpu_s_per_gb": watch.cpu_s / gb,
        "writers_s_per_gb": watch.writers_s / gb,
        "peak_mb": watch.peak_bytes / 1e6,
        "client_s_per_gb": result["client_cpu_s"] / gb,
        "others_percent": watch.others_percent(result["client_cpu_s"]),
    }


def produce(bench, kind, policy, extra="", slow_warmup=0, **options):
    """A fresh broker, warmed up with the same load (before it slowly, if so), then measured."""
    with kind(bench) as broker:
        options = {"config": broker.topic_config(policy, extra), **options}
        seconds = seconds_with_room(bench)
        if slow_warmup:
            broker.load("produce", duration=f"{slow_warmup * 1000:.0f}", rate=MANY_RATE, **options)
        broker.load("produce", duration=f"{bench.warmup * 1000:.0f}", **options)
        with machine.Watch(broker.pid) as watch:
            result = broker.load("produce", duration=f"{seconds * 1000:.0f}", **options)
        figures = figures_of(result, watch)
        if isinstance(broker, Ours) and policy == "durable":
            figures["flush_kb"] = (broker.flushed_bytes() or FLUSH_GUESS) / 1e3
    machine.settle()
    return figures


def journal(bench, kilobytes):
    found = machine.probe(bench.floor, "journal", os.path.join(bench.scratch, "journal"),
                          int(kilobytes * 1000), min(bench.seconds, 10))
    os.remove(os.path.join(bench.scratch, "journal"))
    return {"mb_per_s": found["mb_per_s"], "p99_ms": found["p99_ms"]}


def sides(bench, row, table, **options):
    """Runs each (label, broker, policy, extra) of the table once a pair, in turn."""
    for _ in range(bench.pairs):
        for label, kind, policy, extra in table:
            if kind.name not in bench.skipped:
                row.add(label, produce(bench, kind, policy, extra, **options))


OURS_DURABLE = ("tidemark durable", Ours, "durable", "")
OURS_OS = ("tidemark os", Ours, "os", "")
KAFKA = ("kafka", Kafka, "os", "")
FLOOR = ("floor", Floor, "os", "")


def produce_durable(bench):
    row = Row("produce-durable", "acks=all, 1 KB records, 16 partitions")
    for _ in range(bench.pairs):
        if Ours.name not in bench.skipped:
            row.add("tidemark durable", produce(bench, Ours, "durable", acks="all"))
            flush = row.values("tidemark durable", "flush_kb")[-1]
            row.add("journal loop", journal(bench, flush))
        if Kafka.name not in bench.skipped:
            row.add("kafka", produce(bench, Kafka, "os", acks="all"))
    row.ratio("throughput, durable, to Kafka's, unsynced", "tidemark durable", "kafka",
              "mb_per_s", at_least=1)
    row.ratio("or: to a bare journal loop, same bytes a flush", "tidemark durable",
              "journal loop", "mb_per_s", at_least=0.7)
    return row


SYNCED_LOADS = {"": {}, ", one record a request": {"batch_bytes": 1},
                ", 64 connections": {"connections": 64}}


def produce_synced(bench):
    row = Row("produce-synced", "acks=all, both flushed before the answer")
    for load, options in SYNCED_LOADS.items():
        sides(bench, row, [("tidemark durable" + load, Ours, "durable", ""),
                           ("kafka flush=1" + load, Kafka, "durable", "flush.messages=1")],
              acks="all", **options)
        row.ratio("throughput to Kafka's with flush.messages=1" + load,
                  "tidemark durable" + load, "kafka flush=1" + load, "krec_per_s", at_least=20)
    return row


def produce_os(bench):
    row = Row("produce-os", "acks=1, flush.policy=os")
    sides(bench, row, [OURS_OS, FLOOR, KAFKA], acks=1)
    row.ratio("throughput to the floor's", "tidemark os", "floor", "mb_per_s", at_least=0.8)
    row.ratio("throughput to Kafka's", "tidemark os", "kafka", "mb_per_s", at_least=1)
    return row


def small_records(bench):
    row = Row("small-records", "100-byte records in 16 KiB batches, acks=all")
    sides(bench, row, [OURS_OS, KAFKA, OURS_DURABLE], acks="all", record_bytes=100)
    row.ratio("throughput, os policy, to Kafka's", "tidemark os", "kafka", "krec_per_s",
              at_least=2)
    row.ratio("throughput, durable, to Kafka's, unsynced", "tidemark durable", "kafka",
              "krec_per_s", at_least=1)
    return row


def many_partitions(bench):
    row = Row("partitions-1000", "1,000 partitions, 4 KiB batches, 10 partitions a request")
    few = {"acks": "all", "batch_bytes": 4096, "connections": 16, "bundle": 1}
    many = {**few, "partitions": 1000, "bundle": 10, "slow_warmup": MANY_WARMUP}
    sides(bench, row, [OURS_OS, KAFKA, OURS_DURABLE], **many)
    if Ours.name not in bench.skipped:
        for _ in range(bench.pairs):
            row.add("tidemark durable, 16", produce(bench, Ours, "durable", **few))
    row.ratio("throughput, os policy, to Kafka's", "tidemark os", "kafka", "mb_per_s",
              at_least=2)
    row.ratio("throughput, durable, to Kafka's, unsynced", "tidemark durable", "kafka",
              "mb_per_s", at_least=1)
    row.ratio("durable to our own with 16 partitions", "tidemark durable",
              "tidemark durable, 16", "mb_per_s", at_least=0.5)
    return row


def quiet(bench, row):
    """Notes and says whether the machine wakes in time."""
    late = machine.probe(bench.floor, "wake", 2)["p99_ms"]
    if late > QUIET_WAKE_MS:
        row.note(f"not measurable: a sleep ends {late:.3f} ms late (p99) on the idle machine")
    return late


def flush_probe(bench):
    path = os.path.join(bench.scratch, "probe")
    found = machine.probe(bench.floor, "probe", path, PROBE_SECONDS)
    os.remove(path)
    return found["p99_ms"]


def latency_of(bench, kind, policy):
    with kind(bench) as broker:
        options = {"config": broker.topic_config(policy), "rate": LATENCY_RATE, "acks": "all"}
        broker.load("latency", duration=f"{bench.warmup * 1000:.0f}", **options)
        before = flush_probe(bench)
        with machine.Watch(broker.pid) as watch:
            result = broker.load("latency", duration=f"{bench.seconds * 1000:.0f}", **options)
        after = flush_probe(bench)
    machine.settle()
    times = result["latency_ms"]
    return {"p50_ms": times["p50"], "p99_ms": times["p99"], "p999_ms": times["p999"],
            "max_ms": times["max"], "fdatasync_p99_ms": max(before, after),
            "cpu_percent": 100 * watch.cpu_s / bench.seconds,
            "others_percent": watch.others_percent(result["client_cpu_s"]),
            "over_bound_ms": times["p99"] - (2 * max(before, after) + 1)}


def latency(bench):
    row = Row("latency", f"{LATENCY_RATE} single records a second, from the intended time")
    for _ in range(bench.pairs):
        late = quiet(bench, row)
        for label, kind, policy, _ in (OURS_OS, KAFKA, OURS_DURABLE):
            if kind.name not in bench.skipped:
                row.add(label, {**latency_of(bench, kind, policy), "wake_p99_ms": late})
    row.ratio("p99, os policy, to Kafka's", "tidemark os", "kafka", "p99_ms", at_most=1 / 3)
    row.bounded("p99, durable, less (2 x fdatasync p99 + 1 ms), in ms", "tidemark durable",
                "over_bound_ms", at_most=0)
    return row


def in_and_out(bench, kind, gigabytes, **options):
    """CPU seconds for each GB that went in and was read back once."""
    size = options.get("record_bytes", 1024)
    with kind(bench) as broker:
        options = {"config": broker.topic_config("os"), **options}
        broker.load("produce", topic="warm", duration=f"{bench.warmup * 1000:.0f}", **options)
        broker.load("consume", topic="warm", duration=f"{bench.warmup * 1000:.0f}", repeat=True,
                    connections=4)
        with machine.Watch(broker.pid) as first:
            wrote = broker.load("produce", duration=0, records=int(gigabytes * 1e9 / size),
                                **options)
        with machine.Watch(broker.pid) as second:
            read = broker.load("consume", duration=0, connections=4)
        gb = wrote["bytes"] / 1e9
    machine.settle()
    return {"cpu_s_per_gb": (first.cpu_s + second.cpu_s) / gb, "in_s_per_gb": first.cpu_s / gb,
            "out_s_per_gb": second.cpu_s * 1e9 / max(read["bytes"], 1),
            "writers_s_per_gb": (first.writers_s + second.writers_s) / gb,
            "us_per_record": (first.cpu_s + second.cpu_s) * 1e6 / max(wrote["records"], 1)}


def cpu(bench):
    row = Row("cpu", "CPU seconds of the broker for each GB in and out, acks=1, os policy")
    gigabytes = 0.2 * bench.seconds
    for _ in range(bench.pairs):
        for label, kind, _, _ in (OURS_OS, FLOOR, KAFKA):
            if kind.name not in bench.skipped:
                row.add(label, in_and_out(bench, kind, gigabytes, acks=1))
        for label, kind, _, _ in (OURS_OS, KAFKA):
            if kind.name not in bench.skipped:
                row.add(label + " unbatched", in_and_out(bench, kind, gigabytes / 50, acks=1,
                                                         record_bytes=100, batch_bytes=1))
    row.ratio("CPU to the floor's", "tidemark os", "floor", "cpu_s_per_gb", at_most=1.5)
    row.ratio("CPU to Kafka's", "tidemark os", "kafka", "cpu_s_per_gb", at_most=0.6)
    row.ratio("CPU to Kafka's, unbatched 100-byte records", "tidemark os unbatched",
              "kafka unbatched", "cpu_s_per_gb", at_most=1 / 3)
    return row


ROWS = {"produce-durable": produce_durable, "produce-synced": produce_synced,
        "produce-os": produce_os, "small-records": small_records,
        "partitions-1000": many_partitions, "latency": latency, "cpu": cpu}
