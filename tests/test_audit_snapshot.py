"""Snapshots, whole: rows that were there, read while the application writes, through crashes, and anew.

What is compared is what a consumer of the topic has in the end, reads and changes folded by key, with the table.
"""

import json
import threading
import time

import pytest
from support.clients import confluent_consumer
from support.postgres import Database, PostgresError

WAIT_SECONDS = 60


def wait_for(what, found, seconds=WAIT_SECONDS):
    """Polls: the condition is the server's, and no event tells it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = found()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come within {seconds} s")


def source(server, name="shop"):
    return server.get(f"/api/v1/sources/{name}").json()


def create(server, url, **options):
    answer = server.ask("POST", "/api/v1/sources", {"name": "shop", "url": url, "options": options})
    assert answer.status == 201, answer.body


def wait_running(server):
    def running():
        state = source(server)
        assert state["state"] != "failed", state["words"]
        return state["state"] == "running" and not state["snapshot"]
    wait_for("running", running)


def wait_captured(server, database):
    """Until everything committed by now is sealed."""
    lsn = database.sql("SELECT pg_current_wal_insert_lsn()")[0][0]
    database.sql("SELECT pg_logical_emit_message(true, 'nobody', 'moves the log on')")

    def captured():
        durable = source(server)["durable_lsn"]
        return durable and number(durable) >= number(lsn)
    wait_for(f"{lsn}", captured)


def number(lsn):
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)


def offsets(server, topic="shop.public.orders"):
    return server.get(f"/api/v1/topics/{topic}").json().get("offsets", 0)


def records(server, topic):
    """All of a topic with one partition: (key, value) of each record."""
    consumer = confluent_consumer(server, f"all-{time.monotonic_ns()}", auto_offset_reset="earliest")
    from confluent_kafka import TopicPartition
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
    consumer.assign([TopicPartition(topic, 0, 0)])
    found, at = [], 0
    while at < end:
        for message in consumer.consume(5000, timeout=0.5):
            assert message.error() is None, message.error()
            at = message.offset() + 1
            found.append((json.loads(message.key()), message.value() and json.loads(message.value())))
    consumer.close()
    return found


def folded(found):
    """Rows by id, as a consumer has them in the end."""
    rows = {}
    for key, value in found:
        if value is None or value["op"] == "d":
            rows.pop(key["id"], None)
        else:
            rows[key["id"]] = value["after"]
    return rows


def table(database):
    return {int(key): {"id": int(key), "name": name, "n": int(n)}
            for key, name, n in database.sql("SELECT id, name, n FROM orders")}


def make_orders(database, rows):
    database.sql("CREATE TABLE orders (id int PRIMARY KEY, name text, n int)")
    database.sql(f"INSERT INTO orders SELECT i, 'order ' || i || repeat('.', 100), 0 FROM generate_series(1, {rows}) i")
    database.sql("ANALYZE orders")


class Writer(threading.Thread):
    """An application that does not stop."""

    def __init__(self, database):
        super().__init__(daemon=True)
        self.database, self.ends, self.rounds = database, threading.Event(), 0

    def run(self):
        with self.database.session() as session:
            while not self.ends.is_set():
                i = self.rounds
                session.sql(f"BEGIN; UPDATE orders SET n = n + 1 WHERE id % 997 = {i % 997}; "
                            f"INSERT INTO orders VALUES ({1000000 + i}, 'new', 1); "
                            f"DELETE FROM orders WHERE id = {5 + 11 * i}; "
                            f"UPDATE orders SET id = id + 2000000 WHERE id = {7 + 11 * i}; COMMIT")
                self.rounds += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.join()


def test_a_snapshot_and_the_stream_are_the_table(server, database):
    make_orders(database, 20000)
    with Writer(database) as writer:
        create(server, database.url, **{"snapshot.workers": 3, "snapshot.chunk.rows": 1000})
        wait_running(server)
        wait_for("some more writing", lambda rounds=writer.rounds: writer.rounds > rounds + 20)
    wait_captured(server, database)
    found = records(server, "shop.public.orders")
    assert folded(found) == table(database)
    assert sum(1 for _, value in found if value and value["op"] == "r") >= 19000


def test_a_snapshot_goes_on_after_kill_9(server, database):
    """It is slowed down, so that it is killed in its middle; finished chunks are not read again."""
    make_orders(database, 20000)
    with Writer(database):
        create(server, database.url, **{"snapshot.workers": 2, "snapshot.chunk.rows": 1000, "snapshot.rate": 700000})
        wait_for("half of it", lambda: offsets(server) > 10000)
        assert source(server)["state"] == "creating", "it was too fast to be broken"
        server.kill9()
        server.start()
        wait_running(server)
    wait_captured(server, database)
    found = records(server, "shop.public.orders")
    assert folded(found) == table(database)
    reads = sum(1 for _, value in found if value and value["op"] == "r")
    assert reads < 30000, "all was read again"


def test_a_snapshot_goes_on_after_the_database_crashed(server, clusters):
    database = Database(clusters(), "shop")
    make_orders(database, 20000)
    create(server, database.url, **{"snapshot.chunk.rows": 1000, "snapshot.rate": 700000})
    wait_for("half of it", lambda: offsets(server) > 10000)
    database.cluster.restart(immediate=True)
    database.sql("UPDATE orders SET n = n + 1 WHERE id % 10 = 0; DELETE FROM orders WHERE id % 100 = 1")
    wait_running(server)
    wait_captured(server, database)
    found = records(server, "shop.public.orders")
    assert folded(found) == table(database)
    assert sum(1 for _, value in found if value and value["op"] == "r") < 30000


def test_reading_anew_goes_on_after_kill_9(server, database):
    make_orders(database, 20000)
    create(server, database.url, snapshot=False, **{"snapshot.chunk.rows": 1000, "snapshot.rate": 1500000})
    wait_running(server)
    with Writer(database):
        server.ask("POST", "/api/v1/sources/shop/snapshot", {"tables": "orders"})
        wait_for("some rows", lambda: offsets(server) > 5000)
        server.kill9()
        server.start()
        wait_for("all rows", lambda: offsets(server) > 19000)
        wait_running(server)
    wait_captured(server, database)
    assert folded(records(server, "shop.public.orders")) == table(database)


def test_a_table_is_read_anew_while_it_is_written(server, database):
    make_orders(database, 20000)
    create(server, database.url, snapshot=False)
    wait_running(server)
    with Writer(database) as writer:
        wait_for("some writing", lambda: writer.rounds > 10)
        answer = server.ask("POST", "/api/v1/sources/shop/snapshot", {"tables": "public.orders"})
        assert answer.status in (200, 202, 204), answer.body
        wait_for("the rows", lambda: server.get("/api/v1/topics/shop.public.orders").json().get("offsets", 0) > 19000)
        wait_running(server)
    wait_captured(server, database)
    found = records(server, "shop.public.orders")
    assert folded(found) == table(database)
    assert any(value and value["op"] == "r" for _, value in found)


def test_a_stop_does_not_wait_for_the_slot(server, database):
    """Making one waits for every open transaction: the server must end all the same, and begin again later."""
    make_orders(database, 10)
    with database.session() as idle:
        idle.sql("BEGIN; UPDATE orders SET n = 1")
        create(server, database.url)
        wait_for("the wait", lambda: "waits for transactions" in source(server)["words"])
        server.restart()
        idle.sql("COMMIT")
    wait_running(server)
    wait_captured(server, database)
    assert folded(records(server, "shop.public.orders")) == table(database)


def test_a_slot_that_was_made_by_hand_is_used(server, database):
    make_orders(database, 5000)
    database.sql("CREATE PUBLICATION tidemark_shop FOR TABLE orders")
    database.sql("SELECT pg_create_logical_replication_slot('tidemark_shop', 'pgoutput')")
    database.sql("UPDATE orders SET n = 5 WHERE id < 100")
    with Writer(database):
        create(server, database.url)
        wait_running(server)
    wait_captured(server, database)
    assert folded(records(server, "shop.public.orders")) == table(database)


def test_a_row_reads_as_a_change_of_it_does(server, database):
    """Two ways out of the database, COPY and the stream: every value must be the same to its last character."""
    database.sql(r"""
        CREATE TYPE mood AS ENUM ('so so', 'fine'); CREATE DOMAIN word AS text; SET TIME ZONE 'Asia/Tokyo';
        CREATE TABLE kinds (id int PRIMARY KEY, t text, b bytea, n numeric, f float8, r real, ts timestamptz, i interval,
            m money, a text[], j jsonb, d date, mood mood, w word, g int GENERATED ALWAYS AS (id * 2) STORED);
        ALTER TABLE kinds REPLICA IDENTITY FULL;
        INSERT INTO kinds VALUES
            (1, E'tab\t, break\n, return\r, backslash\\ \\N \\., quote"', '\x00ff5c', 1.50, 0.1, 1e-5,
             '2024-02-29 12:00:00.123456+09', '1 year 2 mons -3 days 04:05:06.7', 12.34, ARRAY['a,b', NULL, '\', 'é'],
             '{"a": [1, null, "\\n"]}', '4000-01-01 BC', 'so so', 'x'),
            (2, '', '', 'NaN', 'Infinity', '-0', 'infinity', '0', 0, '{}', 'null', 'infinity', NULL, ''),
            (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)""")
    create(server, database.url)
    wait_running(server)
    database.sql("UPDATE kinds SET id = id")
    wait_captured(server, database)
    found = records(server, "shop.public.kinds")
    reads = {key["id"]: value["after"] for key, value in found if value["op"] == "r"}
    updates = {key["id"]: value["after"] for key, value in found if value["op"] == "u"}
    assert len(reads) == 3
    assert reads == updates
    assert reads[1]["t"] == 'tab\t, break\n, return\r, backslash\\ \\N \\., quote"'


def test_a_partitioned_table_is_one_topic(server, database):
    database.sql("""
        CREATE TABLE orders (id int, name text, n int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE orders_new (n int, extra int, name text, id int NOT NULL);
        ALTER TABLE orders_new DROP COLUMN extra;
        CREATE TABLE orders_old PARTITION OF orders FOR VALUES FROM (0) TO (100);
        ALTER TABLE orders ATTACH PARTITION orders_new FOR VALUES FROM (100) TO (1000);
        INSERT INTO orders SELECT i, 'order', i FROM generate_series(1, 200) i""")
    create(server, database.url)
    wait_running(server)
    database.sql("UPDATE orders SET id = 500 WHERE id = 7")  # moves to the other one
    database.sql("DELETE FROM orders WHERE id > 190 AND id < 500")
    wait_captured(server, database)
    assert folded(records(server, "shop.public.orders")) == table(database)


def test_tables_without_key_keep_their_updates(server, database):
    """The application must not notice: nothing of it is refused, whatever was chosen for them."""
    database.sql("CREATE TABLE loose (n int)")
    database.sql("INSERT INTO loose VALUES (1), (1), (2)")
    create(server, database.url, keyless="insert-only")
    wait_running(server)
    database.sql("UPDATE loose SET n = 3 WHERE n = 2")
    database.sql("INSERT INTO loose VALUES (4)")
    wait_captured(server, database)
    consumed = server.get("/api/v1/topics/shop.public.loose").json()
    assert consumed["offsets"] == 4, consumed  # three were there, one came; the update is not published
    try:
        database.sql("DELETE FROM loose")
    except PostgresError as refused:
        pytest.fail(f"the application's delete was refused: {refused}")
