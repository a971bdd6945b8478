"""Rows about the Audit door: a PostgreSQL of the bench's own, captured, against its own tools."""
import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request

from kit import machine
from kit.brokers import Failed, Ours
from kit.row import Row

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))), "tests"))
from support.postgres import Postgres, programs  # noqa: E402 - the path comes first

ROWS_FULL, ROWS_SHORT = 1_000_000, 200_000
MANY_FULL, MANY_SHORT = 10_000_000, 1_000_000
FULL_SECONDS = 60  # of a full run
CLIENTS = 4
WAIT_SECONDS = 900
LATENCY_COMMITS, LATENCY_PAUSE = 200, 0.02
SUSTAINED = 20000  # changes a second
TABLE = ("CREATE TABLE load (id bigserial PRIMARY KEY, name text, mail text, amount numeric, "
         "data jsonb, at timestamptz DEFAULT now())")
VALUES = "'name ' || {0}, 'user' || {0} || '@example.com', {0} * 0.01, '{{\"a\": 1, \"b\": [1, 2]}}'"
INSERT = "INSERT INTO load (name, mail, amount, data) "
SINGLE = "\\set i random(1, 1000000)\n" + INSERT + "VALUES (" + VALUES.format(":i") + ");\n"
BULK = INSERT + "SELECT " + VALUES.format("i") + " FROM generate_series(1, %d) i"
UPDATE = "UPDATE load SET amount = amount + 1, name = name || '.'"
BEMI_TRIGGER = """
CREATE FUNCTION bemi_like() RETURNS trigger AS $$ DECLARE found text; BEGIN
  SELECT split_part(split_part(current_query(), '/*Bemi ', 2), ' Bemi*/', 1) INTO found;
  IF found <> '' THEN PERFORM pg_logical_emit_message(true, '_bemi', found); END IF;
  RETURN NEW; END $$ LANGUAGE plpgsql;
CREATE TRIGGER context BEFORE INSERT ON load FOR EACH ROW EXECUTE FUNCTION bemi_like()"""
CONTEXT = "{\"user\": 42, \"endpoint\": \"/orders\", \"request\": \"b7e2f6d0\"}"


def full(bench):
    return bench.seconds >= FULL_SECONDS


def cluster(**settings):
    """One that writes as a server in use does: the disk is waited for, but not by each commit."""
    return Postgres(**settings, fsync="on", full_page_writes="on", shared_buffers="1GB",
                    max_wal_size="16GB", checkpoint_timeout="1h",
                    logical_decoding_work_mem="64MB")


class Captured:
    """A tidemark server with the source "bench" on a cluster."""

    def __init__(self, bench, postgres):
        self.broker, self.postgres = Ours(bench), postgres

    def __enter__(self):
        self.broker.__enter__()
        return self

    def __exit__(self, *failure):
        self.broker.__exit__(*failure)

    def run(self, *words):
        environment = {**os.environ, "TIDEMARK_HTTP": self.broker.http,
                       "TIDEMARK_KAFKA": self.broker.address}
        ran = subprocess.run([self.broker.bench.binary, *words], env=environment, text=True,
                             capture_output=True, timeout=WAIT_SECONDS)
        if ran.returncode:
            raise Failed(f"tidemark {' '.join(words)}: {ran.stderr.strip()}")
        return ran.stdout

    def create(self, *settings):
        self.run("source", "create", "bench", self.postgres.url, *settings)

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.broker.http}{path}", timeout=60) as answer:
            return json.load(answer)

    def wait(self, what, wanted):
        """Until wanted(status) holds; the status."""
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            status = self.get("/api/v1/sources/bench")
            if wanted(status):
                return status
            if status["state"] == "failed":
                raise Failed(f"the source failed: {status}")
            time.sleep(0.01)
        raise Failed(f"no {what} after {WAIT_SECONDS} s")

    def wait_for_lsn(self, lsn):
        return self.wait(lsn, lambda status: number(status["durable_lsn"]) >= number(lsn))

    def wait_for_trail(self, changes):
        return self.wait("trail", lambda s: s["trail"]["changes"] >= changes)


def number(lsn):
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_now(postgres):
    return postgres.sql("SELECT pg_current_wal_insert_lsn()")[0][0]


def pgbench(bench, postgres, script, *options):
    """pgbench with a script of its own; transactions a second."""
    path = os.path.join(bench.scratch, "pgbench.sql")
    with open(path, "w", encoding="ascii") as file:
        file.write(script)
    os.chmod(path, 0o644)
    ran = postgres.program("pgbench", "-n", "-M", "prepared", "-c", str(CLIENTS), "-f", path, *options)
    if ran.returncode:
        raise Failed(f"pgbench: {ran.stderr.strip()}")
    return next(float(line.split()[2]) for line in ran.stdout.splitlines()
                if line.startswith("tps"))


LOADS = {  # label: before the slots, the load
    "1 M transactions": ((), "single"),
    "one insert": ((), "bulk"),
    "update, default identity": (("bulk",), "update"),
    "update, full identity": (("bulk", "ALTER TABLE load REPLICA IDENTITY FULL"), "update"),
}


def load(bench, postgres, what, rows):
    if what == "single":
        pgbench(bench, postgres, SINGLE, "-t", str(rows // CLIENTS))
    else:
        postgres.sql({"bulk": BULK % rows, "update": UPDATE}.get(what, what))


def received(bench, postgres, lsn):
    """Seconds that pg_recvlogical takes to drain its slot into a file."""
    path = os.path.join(postgres.folder, "received")
    begun = time.monotonic()
    ran = postgres.program("pg_recvlogical", "-d", "postgres", "-S", "peer", "--start", "--no-loop",
                           "-f", path, f"--endpos={lsn}", "-o", "proto_version=2", "-o", "streaming=on",
                           "-o", "publication_names=peer", timeout=WAIT_SECONDS)
    seconds = time.monotonic() - begun
    if ran.returncode:
        raise Failed(f"pg_recvlogical: {ran.stderr.strip()}")
    os.remove(path)
    return seconds


def drain(bench):
    rows = ROWS_FULL if full(bench) else ROWS_SHORT
    row = Row("audit-drain", f"{rows:,} changes drained from a slot, to pg_recvlogical's file")
    for label, (before, what) in LOADS.items():
        for _ in range(bench.pairs):
            with cluster() as postgres, Captured(bench, postgres) as captured:
                postgres.sql(TABLE)
                for step in before:
                    load(bench, postgres, step, rows)
                captured.create("snapshot=false")
                captured.run("source", "pause", "bench")
                postgres.sql("CREATE PUBLICATION peer FOR TABLE load")
                postgres.sql("SELECT pg_create_logical_replication_slot('peer', 'pgoutput')")
                load(bench, postgres, what, rows)
                lsn = lsn_now(postgres)
                row.add("pg_recvlogical, " + label,
                        {"rows_per_s": rows / received(bench, postgres, lsn)})
                with machine.Watch(captured.broker.pid) as watch:
                    begun = time.monotonic()
                    captured.run("source", "resume", "bench")
                    captured.wait_for_lsn(lsn)
                    seconds = time.monotonic() - begun
                row.add("tidemark, " + label, {"rows_per_s": rows / seconds,
                                               "cpu_us_per_row": 1e6 * watch.cpu_s / rows,
                                               "peak_mb": watch.peak_bytes / 1e6})
                begun = time.monotonic()
                captured.wait_for_trail(rows)
                row.sides["tidemark, " + label][-1]["view_behind_s"] = time.monotonic() - begun
        row.ratio(f"to pg_recvlogical: {label}", "tidemark, " + label,
                  "pg_recvlogical, " + label, "rows_per_s", at_least=0.9)
    return row


def visible(bench):
    import confluent_kafka
    row = Row("audit-latency", f"commit to visible on the topic, {LATENCY_COMMITS} commits")
    for _ in range(bench.pairs):
        with cluster(synchronous_commit="on") as postgres, Captured(bench, postgres) as captured:
            postgres.sql(TABLE)
            captured.create("snapshot=false")
            load(bench, postgres, "bulk", 1)
            captured.wait_for_lsn(lsn_now(postgres))
            consumer = confluent_kafka.Consumer({"bootstrap.servers": captured.broker.address,
                                                 "group.id": "bench", "fetch.wait.max.ms": 1000})
            consumer.assign([confluent_kafka.TopicPartition("bench.public.load", 0, 1)])
            times = []
            with postgres.session() as session:
                for _ in range(LATENCY_COMMITS):
                    session.sql(BULK % 1)
                    committed = time.monotonic()
                    while (message := consumer.poll(5)) is None or message.error():
                        pass
                    times.append(1000 * (time.monotonic() - committed))
                    time.sleep(LATENCY_PAUSE)
            consumer.close()
            times.sort()
            row.add("tidemark", {"p50_ms": times[len(times) // 2], "max_ms": times[-1],
                                 "p99_ms": times[int(0.99 * len(times))]})
    row.bounded("p99, ms", "tidemark", "p99_ms", at_most=20)
    return row


def view(bench):
    row = Row("audit-view", f"the view behind {SUSTAINED:,} changes/s, then built anew")
    with cluster() as postgres, Captured(bench, postgres) as captured:
        postgres.sql(TABLE)
        captured.create("snapshot=false")
        pgbench(bench, postgres, SINGLE, "-T", f"{bench.seconds:.0f}", "-R", str(SUSTAINED))
        begun, rows = time.monotonic(), int(postgres.sql("SELECT count(*) FROM load")[0][0])
        captured.wait_for_trail(rows)
        behind = time.monotonic() - begun
        load(bench, postgres, "bulk", MANY_FULL if full(bench) else MANY_SHORT)
        all_rows = int(postgres.sql("SELECT count(*) FROM load")[0][0])
        captured.wait_for_trail(all_rows)
        captured.broker.stop()
        folder = os.path.join(captured.broker.data, "views", "audit")
        for name in os.listdir(folder):
            os.remove(os.path.join(folder, name))
        captured.broker.start()
        begun = time.monotonic()
        captured.wait_for_trail(all_rows)
        seconds = time.monotonic() - begun
        row.add("tidemark", {"behind_s": behind, "rebuild_per_s": all_rows / seconds})
        searches = {"one row": "table load key 77", "a value": "mail is user4711@example.com",
                    "since": "table load since -1s", "containment": 'after contains {"name":"name 99"}'}
        for label, words in searches.items():
            query = urllib.parse.urlencode({"source": "bench", "filter": words, "limit": 50})
            times = []
            for _ in range(20):
                begun = time.monotonic()
                captured.get("/api/v1/changes?" + query)
                times.append(1000 * (time.monotonic() - begun))
            row.add("search, " + label, {"median_ms": sorted(times)[10], "most_ms": max(times),
                                         "changes": all_rows})
            row.bounded(f"search, {label}, ms", "search, " + label, "median_ms", at_most=100)
    row.bounded("behind, s", "tidemark", "behind_s", at_most=10)
    row.bounded("built anew, changes/s", "tidemark", "rebuild_per_s", at_least=100000)
    return row


def large(bench):
    rows = MANY_FULL if full(bench) else MANY_SHORT
    row = Row("audit-memory", f"anonymous memory while one transaction of {rows:,} rows is captured")
    with cluster() as postgres, Captured(bench, postgres) as captured:
        postgres.sql(TABLE)
        captured.create("snapshot=false")
        with machine.Watch(captured.broker.pid) as watch:
            load(bench, postgres, "bulk", rows)
            captured.wait_for_lsn(lsn_now(postgres))
            captured.wait_for_trail(rows)
        row.add("tidemark", {"peak_mb": watch.peak_bytes / 1e6})
    row.bounded("peak, MB", "tidemark", "peak_mb", at_most=100)
    return row


def overhead(bench):
    row = Row("audit-overhead", "pgbench, single-row inserts, with and without")
    comment = SINGLE.replace("INSERT INTO", f"/*Bemi {CONTEXT} Bemi*/ INSERT INTO")
    cases = {"alone": (SINGLE, None, False), "captured": (SINGLE, None, True),
             "captured, Bemi's trigger": (comment, BEMI_TRIGGER, True)}
    for _ in range(bench.pairs):
        for label, (script, setup, capture) in cases.items():
            with cluster() as postgres, Captured(bench, postgres) as captured:
                postgres.sql(TABLE)
                for statement in [setup] if setup else []:
                    postgres.sql(statement)
                if capture:
                    captured.create("snapshot=false")
                row.add(label, {"tps": pgbench(bench, postgres, script, "-T", f"{bench.seconds:.0f}")})
    row.ratio("transactions/s captured to alone", "captured", "alone", "tps")
    row.ratio("with Bemi's trigger to alone", "captured, Bemi's trigger", "alone", "tps")
    return row


def snapshot(bench):
    rows = MANY_FULL if full(bench) else MANY_SHORT
    row = Row("audit-snapshot", f"snapshot of {rows:,} rows to COPY into a file")
    for _ in range(bench.pairs):
        with cluster() as postgres, Captured(bench, postgres) as captured:
            postgres.sql(TABLE)
            load(bench, postgres, "bulk", rows)
            postgres.sql("VACUUM ANALYZE load")
            begun = time.monotonic()
            postgres.sql(f"COPY load TO '{postgres.folder}/data/copied'")
            row.add("COPY", {"rows_per_s": rows / (time.monotonic() - begun)})
            os.remove(f"{postgres.folder}/data/copied")
            begun = time.monotonic()
            captured.create()
            captured.wait("snapshot", lambda s: s["state"] == "running" and s["changes"] >= rows)
            row.add("tidemark", {"rows_per_s": rows / (time.monotonic() - begun)})
    row.ratio("to COPY", "tidemark", "COPY", "rows_per_s", at_least=0.8)
    return row


def here(measure):
    """The row, or a word why not."""
    def row(bench):
        if programs() and Ours.name not in bench.skipped:
            return measure(bench)
        skipped = Row("audit", "skipped")
        skipped.note("skipped: no PostgreSQL is installed")
        return skipped
    return row


ROWS = {"audit-drain": here(drain), "audit-latency": here(visible), "audit-view": here(view),
        "audit-memory": here(large), "audit-overhead": here(overhead), "audit-snapshot": here(snapshot)}
