"""`tidemark bench`: what the load generator writes other clients can read, and what it counts is what happened."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
from support import clients

STALL_SECONDS = 0.6
RATE = 500  # records a second, gentle enough for a sanitized build on a busy machine


ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def bench(server, verb, *words, **more):
    ran = server.command_line("bench", verb, "--json", *words, **more)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_records_of_the_generator_are_read_by_itself_and_by_a_stock_client(server):
    wrote = bench(server, "produce", "--topic", "t", "--records", "3000", "--duration", "0", "--record-bytes", "100",
                  "--batch-bytes", "2KiB", "--partitions", "5", "--connections", "3")
    assert wrote["records"] >= 3000 and wrote["errors"] == 0
    read = bench(server, "consume", "--topic", "t", "--partitions", "5", "--connections", "2", "--duration", "0", "--check")
    assert (read["records"], read["bytes"]) == (wrote["records"], wrote["bytes"])
    ran = clients.kcat(server, "-C", "-t", "t", "-o", "beginning", "-e", "-q", "-f", "%S\n")
    assert ran.stdout.split() == ["100"] * int(wrote["records"])


def test_several_partitions_in_a_request_and_many_idempotent_producers_are_taken(server):
    wrote = bench(server, "produce", "--topic", "t", "--records", "2000", "--duration", "0", "--bundle", "4",
                  "--connections", "2", "--producers", "7", "--batch-bytes", "1", "--record-bytes", "10")
    assert wrote["records"] >= 2000 and wrote["errors"] == 0
    read = bench(server, "consume", "--topic", "t", "--duration", "0", "--check")
    assert read["records"] == wrote["records"]


def appended(server):
    return int(re.search(r"^tidemark_log_appended_bytes_total (\d+)$", server.get("/metrics").body.decode(), re.MULTILINE)[1])


def test_a_stalled_broker_is_charged_for_what_should_have_been_sent(server):
    bench(server, "create", "--topic", "t")
    command = [server.binary, "bench", "latency", "--kafka", server.kafka, "--topic", "t", "--rate", str(RATE),
               "--duration", "3s", "--json"]
    before = appended(server)
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=server.environment)
    deadline = time.monotonic() + 30
    while appended(server) < before + 20000:
        assert time.monotonic() < deadline
    server.signal(signal.SIGSTOP)
    time.sleep(STALL_SECONDS)  # how long it stalls, not a wait for something
    server.signal(signal.SIGCONT)
    found = json.loads(run.communicate(timeout=60)[0])
    # In a closed loop only the requests under way would have seen it: 16 of some 1,500.
    assert found["latency_ms"]["max"] >= STALL_SECONDS * 1000 * 0.9
    assert found["latency_ms"]["p90"] >= STALL_SECONDS * 1000 * 0.2
    assert found["records"] >= RATE * 2


def test_topics_offsets_and_transactions_can_be_measured(server):
    made = bench(server, "create", "--topic", "many", "--topics", "12", "--partitions", "3")
    assert made["created_ms"] > 0
    assert bench(server, "create", "--topic", "many", "--topics", "12", "--partitions", "3")["created_ms"] is None
    assert bench(server, "commit", "--duration", "300ms", "--connections", "2")["records"] > 0
    found = bench(server, "transact", "--duration", "1s", "--connections", "2", "--bundle", "2")
    assert found["records"] > 0 and found["errors"] == 0
    assert bench(server, "idle", "--duration", "100ms", "--connections", "20")["errors"] == 0


def test_the_table_for_people_names_rate_and_latency(server):
    said = server.command_line("bench", "produce", "--duration", "200ms").stdout
    assert re.search(r"^records +\d+ in [\d.]+ s, \d+/s$", said, re.MULTILINE)
    assert re.search(r"^latency +p50 [\d.]+ +p99 [\d.]+ +p99.9 [\d.]+ +max [\d.]+ ms$", said, re.MULTILINE)


@pytest.mark.parametrize("words, reason", [
    (["produce", "--no-such"], "--no-such"),
    (["produce", "--partitions", "0"], "partitions"),
    (["produce", "--kafka", "nowhere"], "HOST:PORT"),
    (["produce", "more"], "more"),
    (["no-such-verb"], "usage"),
])
def test_what_it_cannot_do_is_said_with_a_failing_status(binary, words, reason):
    ran = subprocess.run([binary, "bench", *words], capture_output=True, text=True, timeout=30)
    assert ran.returncode > 0
    assert reason in ran.stderr, ran.stderr


def test_a_broker_that_is_not_there_ends_it_at_once(binary):
    ran = subprocess.run([binary, "bench", "produce", "--kafka", "127.0.0.1:1"], capture_output=True, text=True, timeout=30)
    assert ran.returncode == 4 and "127.0.0.1:1" in ran.stderr, ran.stderr


def test_the_driver_measures_who_is_there_and_names_who_is_not(tmp_path):
    settings = {"BENCH_SIDES": "tidemark,floor", "BENCH_SECONDS": "0.3", "BENCH_WARMUP": "0.1", "BENCH_PAIRS": "2",
                "BENCH_PREFILL": "0", "BENCH_BUILD": str(tmp_path / "build"), "BENCH_RESULTS": str(tmp_path / "results")}
    ran = subprocess.run([f"{ROOT}/bench/run", str(tmp_path / "absent"), "produce-os"], capture_output=True, text=True,
                         timeout=120, env={**os.environ, **settings})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"SKIPPED tidemark: {tmp_path}/absent is not there" in ran.stdout
    row = json.loads((tmp_path / "results/produce-os.json").read_text())["row"]
    assert list(row["sides"]) == ["floor"] and len(row["sides"]["floor"]) == 2
    assert all(run["mb_per_s"] > 0 and run["cpu_s_per_gb"] > 0 for run in row["sides"]["floor"])
    assert all(claim["met"] is None for claim in row["claims"])


def test_a_claim_is_judged_by_the_median_of_its_pairs(monkeypatch, capsys):
    monkeypatch.syspath_prepend(f"{ROOT}/bench")
    from kit.row import Row, claim_text
    row = Row("r", "t")
    for ours, theirs in ((10, 5), (9, 10), (30, 10)):
        row.add("a", {"x": ours})
        row.add("b", {"x": theirs})
    row.ratio("a to b", "a", "b", "x", at_least=1)
    row.ratio("b to a", "b", "a", "x", at_most=0.4)
    row.ratio("a to c", "a", "c", "x", at_least=1)
    assert [claim["met"] for claim in row.claims] == [True, False, None]
    assert claim_text(row.claims[0]) == "2 (0.9 to 3)"
