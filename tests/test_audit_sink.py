"""The changes table that Bemi's packages read, kept in a PostgreSQL of the user's choice: all of it, and once."""

import itertools
import json
import time

import pytest
from support.postgres import Database
from support.server import Server

SECONDS = 30  # generous: a busy machine
COLUMNS = {"id": "uuid", "created_at": "timestamp with time zone", "database": "character varying",
           "schema": "character varying", "table": "character varying", "operation": "text", "before": "jsonb",
           "after": "jsonb", "context": "jsonb", "committed_at": "timestamp with time zone",
           "queued_at": "timestamp with time zone", "transaction_id": "bigint", "position": "bigint",
           "primary_key": "character varying"}


def until(ask, wanted, seconds=SECONDS):
    """What ask() says, once it says that."""
    end = time.monotonic() + seconds
    while (found := ask()) != wanted:
        assert time.monotonic() < end, f"{found!r} never became {wanted!r}"
        time.sleep(0.05)  # a poll, nothing is measured by it
    return found


class Sink:
    numbers = itertools.count(1)

    def __init__(self, database, target, server):
        self.database, self.target, self.server, self.name = database, target, server, f"shop{next(self.numbers)}"

    def create(self, **options):
        made = self.server.ask("POST", "/api/v1/sources", {
            "name": self.name, "options": {"url": self.database.url, "sink": self.target.url, **options}})
        assert made.status == 201, made.body
        until(lambda: self.show()["state"], "running")

    def show(self):
        return self.server.get(f"/api/v1/sources/{self.name}").json()

    def remove(self):
        if self.server.running():
            self.server.ask("DELETE", f"/api/v1/sources/{self.name}")

    def ask(self, sql):
        return self.target.sql(sql)

    def count(self, where="true"):
        there = self.ask("SELECT to_regclass('changes')")[0][0]
        return int(self.ask(f"SELECT count(*) FROM changes WHERE {where}")[0][0]) if there else 0

    def rows(self, columns, where="true"):
        return self.ask(f"SELECT {columns} FROM changes WHERE {where} ORDER BY committed_at, position, primary_key")


@pytest.fixture(scope="module")
def shared(binary, tmp_path_factory):
    """A server for the tests that leave it alone."""
    folder = tmp_path_factory.mktemp("sink")
    server = Server(binary, folder / "data", runtime=folder / "runtime").start()
    yield server
    server.stop()


@pytest.fixture
def target(postgres_cluster, database_names):
    made = Database(postgres_cluster, next(database_names))
    yield made
    made.drop()


TABLE = "CREATE TABLE todo (id int PRIMARY KEY, task text, done bool, price numeric, at timestamp, names text[]); " \
        "ALTER TABLE todo REPLICA IDENTITY FULL"


@pytest.fixture
def sink(database, target, shared):
    database.sql(TABLE)
    made = Sink(database, target, shared)
    yield made
    made.remove()


@pytest.fixture
def own(database, target, server):
    """One on a server of its own."""
    database.sql(TABLE)
    made = Sink(database, target, server)
    yield made
    made.remove()


def test_rows_are_what_bemi_makes_of_them(sink):
    sink.create()
    sink.database.sql("BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{\"user_id\": 7}'); "
                      "INSERT INTO todo VALUES (2, 'Test', false, 1.50, '2026-01-31 12:00:00.000001', '{Alice,Bob}'); COMMIT")
    sink.database.sql("UPDATE todo SET done = true")
    sink.database.sql("DELETE FROM todo")
    sink.database.sql("TRUNCATE todo")
    until(sink.count, 4)
    found = sink.rows("operation, primary_key, before, after, context, database, schema, \"table\"")
    made = {"id": 2, "task": "Test", "done": False, "price": 1.5, "names": ["Alice", "Bob"], "at": 1769860800000001}
    images = [tuple(json.loads(text) for text in row[2:5]) for row in found]
    assert [row[:2] for row in found] == [("CREATE", "2"), ("UPDATE", "2"), ("DELETE", "2"), ("TRUNCATE", None)]
    assert images == [({}, made, {"user_id": 7}), (made, {**made, "done": True}, {}), ({**made, "done": True}, {}, {}),
                      ({}, {}, {})]
    assert {row[5:] for row in found} == {(sink.database.name, "public", "todo")}
    assert sink.ask("SELECT count(DISTINCT transaction_id), bool_and(queued_at >= committed_at) FROM changes") == [("4", "t")]


def test_the_table_has_bemis_columns_and_indexes(sink):
    sink.create()
    until(lambda: len(sink.ask("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'changes'")),
          len(COLUMNS))
    assert dict(sink.ask("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'changes'")) == COLUMNS
    until(lambda: len(sink.ask("SELECT FROM pg_indexes WHERE tablename = 'changes'")), 9)
    indexes = " ".join(row[0] for row in sink.ask("SELECT indexdef FROM pg_indexes WHERE tablename = 'changes'"))
    for wanted in ["btree (committed_at)", 'btree ("table")', "btree (primary_key)", "btree (operation)",
                   "gin (context jsonb_path_ops)", "gin (before jsonb_path_ops)", "gin (after jsonb_path_ops)"]:
        assert wanted in indexes
    # A row of somebody else's gets its id as Bemi's table gives it.
    sink.ask("INSERT INTO changes (created_at, database, schema, \"table\", operation, committed_at, queued_at, "
             "transaction_id, position) VALUES (now(), '', '', '', 'CREATE', now(), now(), 1, 1)")


def test_query_helpers_find_what_they_look_for(sink):
    sink.create()
    sink.database.sql("INSERT INTO todo (id, task) VALUES (1, 'a'), (2, 'b'); "
                      "UPDATE todo SET task = 'c' WHERE id = 1 /* one transaction, no context */")
    until(sink.count, 3)
    assert sink.count("\"table\" = 'todo' AND primary_key = '1'") == 2
    assert sink.count("after @> '{\"task\": \"c\"}'") == 1
    assert sink.count("before @> '{\"task\": \"a\"}' AND NOT (context @> '{\"user_id\": 7}')") == 1
    assert sink.count("(before -> 'task') IS DISTINCT FROM (after -> 'task') AND operation = 'UPDATE'") == 1


def test_rows_of_one_copy_are_all_there(sink):
    """They share log positions: what tells rows apart must be more than that."""
    sink.create()
    sink.database.sql("INSERT INTO todo (id) SELECT n FROM generate_series(1, 50) n")
    sink.database.cluster.program("psql", "-c", "COPY todo (id) FROM PROGRAM 'seq 100 1199'", database=sink.database.name)
    until(sink.count, 1150)
    assert int(sink.ask("SELECT count(DISTINCT position) FROM changes")[0][0]) < 1150
    assert int(sink.ask("SELECT count(DISTINCT primary_key) FROM changes")[0][0]) == 1150


def test_a_context_that_jsonb_does_not_take_is_kept_as_text(sink):
    sink.create()
    text = '{"user": "a\\u0000b"}'
    sink.database.sql(f"BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{text}'); INSERT INTO todo (id) VALUES (1); COMMIT;")
    sink.database.sql("INSERT INTO todo (id) VALUES (2)")
    until(sink.count, 2)
    assert json.loads(sink.rows("context", "primary_key = '1'")[0][0]) == {"$raw": text}


def test_snapshots_stay_out_and_masks_hold(sink):
    sink.database.sql("INSERT INTO todo (id, task) VALUES (1, 'before')")
    sink.create(mask="public.todo.task=drop")
    sink.database.sql("INSERT INTO todo (id, task) VALUES (2, 'secret')")
    until(sink.count, 1)
    assert "secret" not in sink.rows("after::text")[0][0]


def test_a_table_in_the_same_database_does_not_feed_on_itself(database, shared):
    database.sql("CREATE TABLE todo (id int PRIMARY KEY)")
    sink = Sink(database, database, shared)
    sink.create()
    database.sql("INSERT INTO todo VALUES (1)")
    until(sink.count, 1)
    database.sql("INSERT INTO todo VALUES (2)")
    until(sink.count, 2)
    assert sink.count("\"table\" <> 'todo'") == 0
    sink.remove()


def test_a_table_that_cannot_be_written_says_why_and_catches_up(sink, postgres_cluster):
    name = f"{sink.target.name}_later"
    sink.create(sink=postgres_cluster.url_of(name))
    sink.database.sql("INSERT INTO todo (id) VALUES (1), (2)")
    until(lambda: name in sink.show()["sink"]["words"], True)
    assert "does not exist" in sink.server.command_line("source", "show", sink.name).stdout
    assert f'tidemark_source_sink_waits{{source="{sink.name}"}} 1' in sink.server.get("/metrics").body.decode()
    postgres_cluster.create_database(name)
    try:
        until(lambda: sink.show()["sink"]["rows"], 2)
        assert postgres_cluster.sql("SELECT count(*) FROM changes", name) == [("2",)]
    finally:
        sink.remove()
        postgres_cluster.drop_database(name)


def test_the_password_of_the_table_is_nowhere_to_be_seen(own, postgres_cluster, tmp_path):
    postgres_cluster.sql("DROP ROLE IF EXISTS keeper")
    postgres_cluster.sql("CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'v3rys3cret'")
    own.create(sink=postgres_cluster.url_of(own.target.name, user="keeper", password="v3rys3cret"))
    own.database.sql("INSERT INTO todo (id) VALUES (1)")
    until(own.count, 1)
    assert b"v3rys3cret" not in own.server.get(f"/api/v1/sources/{own.name}").body
    own.server.stop()
    assert "v3rys3cret" not in "".join(own.server.said)
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and b"v3rys3cret" in path.read_bytes()]
    assert [path.parent.name for path in holding] == ["secrets"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in holding)


def test_kills_and_a_database_that_goes_away_lose_and_double_nothing(database, server, clusters):
    """Ours killed and theirs, while rows come: afterwards each is there once, in order."""
    other = clusters(fsync="on", synchronous_commit="on")
    database.sql("CREATE TABLE todo (id int PRIMARY KEY, n int)")
    sink = Sink(database, other, server)
    sink.create()
    for turn in range(4):
        for batch in range(10):
            first = turn * 1000 + batch * 100
            database.sql(f"INSERT INTO todo SELECT n, 0 FROM generate_series({first}, {first + 99}) n")
        if turn % 2:
            other.restart(immediate=True)
        else:
            server.kill9()
            server.start()
    database.sql("UPDATE todo SET n = 1")
    until(sink.count, 8000, 60)
    assert sink.ask("SELECT operation, count(*), count(DISTINCT primary_key) FROM changes GROUP BY 1 ORDER BY 1") == [
        ("CREATE", "4000", "4000"), ("UPDATE", "4000", "4000")]
    sink.remove()


def test_a_position_that_is_lost_doubles_nothing(own):
    own.create()
    own.database.sql("INSERT INTO todo (id) SELECT n FROM generate_series(1, 100) n")
    until(own.count, 100)
    own.server.stop()
    own.ask("DELETE FROM tidemark_sink")
    own.ask("DELETE FROM changes WHERE primary_key = '50'")
    own.server.start()
    until(own.count, 100)
    assert int(own.ask("SELECT count(DISTINCT primary_key) FROM changes")[0][0]) == 100
