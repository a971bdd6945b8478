"""Rows about memory, start times, topics, and what is reported without a bound."""
import time

from kit import machine
from kit.brokers import Failed, Kafka, Ours
from kit.row import Row
from kit.rows_read import cold_gb, fill

STARTS = 5
REST_SECONDS = 5  # for a broker to give memory back
IDLE_SECONDS = 10
IDLE_CONNECTIONS = 5000
IDLE_TOPICS, IDLE_PARTITIONS = 10, 1000


def present(bench, *kinds):
    return [kind for kind in kinds if kind.name not in bench.skipped]


def memory(bench):
    gigabytes = cold_gb(bench)
    row = Row("memory", f"anonymous memory, 64 connections, {gigabytes:g} GB in, acks=all")
    for kind in present(bench, Ours, Kafka):
        with kind(bench) as broker:
            with machine.Watch(broker.pid) as watch:
                fill(broker, gigabytes, policy="durable", connections=64)
            time.sleep(REST_SECONDS)
            row.add(kind.name, {"peak_mb": watch.peak_bytes / 1e6,
                                "after_mb": machine.anonymous_bytes(broker.pid) / 1e6})
        machine.settle()
    row.bounded("peak, MB", "tidemark", "peak_mb", at_most=96)
    row.bounded("after, MB", "tidemark", "after_mb", at_most=40)
    row.ratio("peak to Kafka's", "tidemark", "kafka", "peak_mb")
    return row


def idle_partitions(bench, kind):
    with kind(bench) as broker:
        broker.load("create", topics=IDLE_TOPICS, partitions=IDLE_PARTITIONS)
        time.sleep(REST_SECONDS)
        figures = {"anonymous_mb": machine.anonymous_bytes(broker.pid) / 1e6,
                   "descriptors": machine.descriptors(broker.pid)}
        with machine.Watch(broker.pid) as watch:
            time.sleep(IDLE_SECONDS)
        figures["cpu_percent"] = 100 * watch.cpu_s / IDLE_SECONDS
        return figures


def idle_connections(bench, kind, verb, count, **options):
    """Memory and CPU with count silent connections, or long polls (verb consume)."""
    with kind(bench) as broker:
        before = machine.anonymous_bytes(broker.pid)
        wait = broker.load_start(verb, connections=count,
                                 duration=f"{(IDLE_SECONDS + 2 * REST_SECONDS) * 1000}",
                                 **options)
        time.sleep(REST_SECONDS)
        with machine.Watch(broker.pid) as watch:
            time.sleep(IDLE_SECONDS)
        figures = {"anonymous_mb": machine.anonymous_bytes(broker.pid) / 1e6,
                   "grown_mb": (machine.anonymous_bytes(broker.pid) - before) / 1e6,
                   "descriptors": machine.descriptors(broker.pid),
                   "cpu_percent": 100 * watch.cpu_s / IDLE_SECONDS}
        wait()
        return figures


def idle(bench):
    row = Row("idle", "10,000 partitions without data; 5,000 connections without requests")
    for kind in present(bench, Ours, Kafka):
        row.add(kind.name + " partitions", idle_partitions(bench, kind))
        row.add(kind.name + " connections",
                idle_connections(bench, kind, "idle", IDLE_CONNECTIONS))
    row.bounded("10,000 partitions, MB", "tidemark partitions", "anonymous_mb", at_most=48)
    row.bounded("10,000 partitions, descriptors", "tidemark partitions", "descriptors",
                at_most=500)
    row.bounded("5,000 connections, MB", "tidemark connections", "anonymous_mb", at_most=20)
    row.bounded("5,000 connections, % of a core", "tidemark connections", "cpu_percent",
                at_most=0.5)
    return row


def starts_of(bench, kind, row):
    for _ in range(STARTS if kind is Ours else 1):
        with kind(bench) as broker:
            row.add(kind.name + " empty", {"ms": broker.started_ms})
    with kind(bench) as broker:
        broker.load("create", topics=IDLE_TOPICS, partitions=IDLE_PARTITIONS)
        for _ in range(STARTS if kind is Ours else 1):
            broker.stop()
            row.add(kind.name + " 10,000 partitions", {"ms": broker.start()})
    with kind(bench) as broker:
        fill(broker, cold_gb(bench), policy="durable")
        broker.kill()
        machine.drop_caches()
        row.add(kind.name + " after a crash", {"ms": broker.start()})
    machine.settle()


def start(bench):
    row = Row("start", f"to the first answer; the crash with a log of {cold_gb(bench):g} GB")
    for kind in present(bench, Ours, Kafka):
        starts_of(bench, kind, row)
    row.bounded("empty, ms", "tidemark empty", "ms", at_most=50)
    row.bounded("10,000 partitions, warm, ms", "tidemark 10,000 partitions", "ms", at_most=300)
    row.bounded("after a crash, caches dropped, ms", "tidemark after a crash", "ms",
                at_most=2000)
    row.ratio("empty to Kafka's", "tidemark empty", "kafka empty", "ms")
    return row


def create(bench):
    row = Row("create", "one topic with 1,000 partitions, until all are usable")
    for _ in range(bench.pairs):
        for kind in present(bench, Ours, Kafka):
            with kind(bench) as broker:
                made = broker.load("create", partitions=1000)
                row.add(kind.name, {"ms": made["created_ms"]})
    row.bounded("1,000 partitions, ms", "tidemark", "ms", at_most=1000)
    row.ratio("to Kafka's", "tidemark", "kafka", "ms")
    return row


def rate_of(bench, kind, verb):
    options = {"connections": 16, "depth": 1}
    with kind(bench) as broker:
        broker.load(verb, duration=f"{bench.warmup * 1000:.0f}", **options)
        found = broker.load(verb, duration=f"{bench.seconds * 1000:.0f}", **options)
    machine.settle()
    return {"per_s": found["records_per_s"], "p50_ms": found["latency_ms"]["p50"],
            "p99_ms": found["latency_ms"]["p99"]}


def producer_ids_of(bench, kind):
    """Memory after 100,000 idempotent producers wrote one batch each."""
    with kind(bench) as broker:
        broker.load("produce", duration=0, records=1600, batch_bytes=1)
        before = machine.anonymous_bytes(broker.pid)
        broker.load("produce", topic="ids", duration=0, records=100000, batch_bytes=1,
                    producers=100000 // 16)
        return {"grown_mb": (machine.anonymous_bytes(broker.pid) - before) / 1e6,
                "anonymous_mb": machine.anonymous_bytes(broker.pid) / 1e6}


def also(bench):
    row = Row("also", "reported without a bound")
    cases = {
        "transactions": lambda kind: rate_of(bench, kind, "transact"),
        "commits": lambda kind: rate_of(bench, kind, "commit"),
        "1,000 fetchers": lambda kind: idle_connections(bench, kind, "consume", 1000,
                                                        latest=True, wait="30s"),
        "100,000 ids": lambda kind: producer_ids_of(bench, kind),
    }
    for case, figures in cases.items():
        for kind in present(bench, Ours, Kafka):
            try:
                row.add(f"{kind.name} {case}", figures(kind))
            except Failed as problem:
                row.note(f"{kind.name} {case} failed: {problem}")
    row.ratio("transactions/s to Kafka's", "tidemark transactions", "kafka transactions", "per_s")
    row.ratio("offset commits/s to Kafka's", "tidemark commits", "kafka commits", "per_s")
    row.bounded("1,000 parked fetchers, MB", "tidemark 1,000 fetchers", "anonymous_mb")
    row.bounded("1,000 parked fetchers, % of a core", "tidemark 1,000 fetchers", "cpu_percent")
    row.bounded("100,000 producer ids, MB more", "tidemark 100,000 ids", "grown_mb")
    return row


ROWS = {"memory": memory, "idle": idle, "start": start, "create": create, "also": also}
