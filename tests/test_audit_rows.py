"""Rows over time on a real PostgreSQL: the life of a row, tables as they were, traces."""

import csv
import io
import json
import time

import pytest

ANN = {"user": "ann@shop.example", "request_id": "r-17", "app": "web"}
BOB = {"user": "bob@shop.example", "reason": "customer called", "session": "s-77",
       "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
TABLES = """
CREATE TABLE customers (id int PRIMARY KEY, name text);
CREATE TABLE orders (id int PRIMARY KEY, customer int, status text, total numeric, note text);
ALTER TABLE orders ALTER note SET STORAGE EXTERNAL;
CREATE TABLE lines (orderid int, "line no" int, "what, then" text, PRIMARY KEY (orderid, "line no"));
INSERT INTO customers VALUES (1, 'Ann');
INSERT INTO orders VALUES (41, 1, 'new', 10.50, repeat('x', 5000));
"""
TIMEOUT_SECONDS = 30


class Shop:
    """A captured database: what is written with write() is in the trail when it returns."""

    def __init__(self, server, database):
        self.server, self.database = server, database
        database.script(TABLES)
        made = server.ask("POST", "/api/v1/sources", {"name": "shop", "url": database.url})
        assert made.status == 201, made.body
        self.until(lambda: self.get("/api/v1/sources/shop").json()["state"] == "running", "running")
        self.write("INSERT INTO customers VALUES (2, 'first write')")

    def get(self, path):
        return self.server.get(path)

    def until(self, what, name):
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not what():
            assert time.monotonic() < deadline, f"never {name}"
            time.sleep(0.02)

    def write(self, sql, context=None):
        """One transaction; gives its number."""
        said = f"SELECT pg_logical_emit_message(true, '_bemi', '{json.dumps(context)}');" if context else ""
        with self.database.session() as session:
            session.sql(f"BEGIN; {said} {sql}")
            number = session.sql("SELECT txid_current()")[0][0]
            session.sql("COMMIT")
        self.until(lambda: self.get(f"/api/v1/trace/tx:shop%2F{number}").status == 200, f"traced: {number}")
        return number

    def row(self, ref, query=""):
        answer = self.get(f"/api/v1/rows/row:shop.public.{ref.replace('/', '%2F', 1)}{query}")
        assert answer.status == 200, answer.body
        return answer.json()

    def told(self, *words):
        ran = self.server.command_line(*words)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def now(self):
        """A point between what was written and what comes."""
        time.sleep(0.005)
        (text,) = self.database.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")[0]
        time.sleep(0.005)
        return text


@pytest.fixture
def shop(database, server):  # in this order: the server ends before its database goes
    return Shop(server, database)


def steps(row):
    return [(change["step"], change["actor"]) for change in row["changes"]]


def test_the_life_of_a_row_has_who_and_each_field_old_and_new(shop):
    shop.write("INSERT INTO orders VALUES (42, 1, 'pending', 19.90, NULL)", ANN)
    number = shop.write("UPDATE orders SET status = 'shipped', total = 17.90 WHERE id = 42", BOB)
    shop.write("DELETE FROM orders WHERE id = 42")
    row = shop.row("orders/42")
    assert steps(row) == [("created", ANN["user"]), ("changed", BOB["user"]), ("deleted", None)]
    assert row["changes"][1]["fields"] == [{"name": "status", "old": "pending", "new": "shipped"},
                                           {"name": "total", "old": 19.9, "new": 17.9}]
    assert row["changes"][1]["tx"] == f"tx:shop/{number}"
    assert not row["exists"] and row["begins"]["complete"]
    text = shop.told("row", "show", "row:shop.public.orders/42")
    assert f"changed by {BOB['user']}" in text and "pending → shipped" in text and "reason=customer called" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_large_value_that_was_not_sent_is_filled_from_history(shop):
    shop.write("UPDATE orders SET status = 'open' WHERE id = 41", ANN)
    row = shop.row("orders/41")
    assert steps(row) == [("seen", None), ("changed", ANN["user"])]
    assert row["row"]["note"] == "x" * 5000 and row["unknown"] == []
    assert [field["name"] for field in row["changes"][1]["fields"]] == ["status"]


def test_a_changed_key_is_joined(shop):
    shop.write("INSERT INTO lines VALUES (1, 2, 'nails')", ANN)
    shop.write("""UPDATE lines SET "line no" = 3 WHERE orderid = 1""", BOB)
    shop.write("""UPDATE lines SET "what, then" = 'screws'""", ANN)
    for key in ("1,2", "1,3"):
        row = shop.row(f"lines/{key}")
        assert [change["step"] for change in row["changes"]] == ["created", "key changed", "changed"]
        assert row["key_now"] == "1,3" and row["row"]["what, then"] == "screws"


def test_row_and_table_are_given_as_they_were_then(shop):
    shop.write("INSERT INTO orders VALUES (42, 1, 'pending', 19.90, 'a \"b\", c')", ANN)
    then = shop.now()
    shop.write("UPDATE orders SET status = 'lost' WHERE id IN (41, 42)", BOB)
    shop.write("DELETE FROM orders WHERE id = 41")
    shop.write("TRUNCATE orders")
    shop.write("INSERT INTO orders VALUES (7, NULL, NULL, NULL, NULL)")
    row = shop.row("orders/42", f"?at={then}")
    assert row["exists"] and row["row"]["status"] == "pending"
    assert "pending" in shop.told("row", "show", "row:shop.public.orders/42", "--at", then)
    table = shop.told("row", "export", "shop.public.orders", "--at", then, "--format", "csv")
    assert list(csv.reader(io.StringIO(table, newline=""))) == [
        ["id", "customer", "status", "total", "note"], ["41", "1", "new", "10.50", "x" * 5000],
        ["42", "1", "pending", "19.90", 'a "b", c']]
    assert shop.told("row", "export", "shop.public.orders", "--format", "json") == \
        '{"id":7,"customer":null,"status":null,"total":null,"note":null}\n'
    shop.server.restart()
    assert shop.told("row", "export", "shop.public.orders", "--at", then) == table
    assert shop.told("row", "export", "shop.public.orders", "--at", "-1ms").count("\n") == 2
    difference = shop.told("row", "diff", "row:shop.public.orders/42", "--from", then)
    assert "does not exist" in difference and "pending" in difference


def test_a_table_as_it_was_goes_into_a_database_as_sql_and_straight(shop):
    shop.write("INSERT INTO orders SELECT n, n, 'it''s ' || n, n / 7.0, E'tab\\t\\\\ ' || n FROM generate_series(100, 199) n")
    want = "SELECT id, customer, status, total, md5(note) FROM orders ORDER BY id"
    then, rows = shop.now(), shop.database.sql(want)
    shop.write("UPDATE orders SET status = 'spoilt'")
    copy = f"{shop.database.name}_copy"
    url = shop.database.cluster.create_database(copy)
    try:
        shop.told("row", "export", "shop.public.orders", "--at", then, "--into", url)
        assert shop.database.cluster.sql(want, copy) == rows
        again = shop.server.command_line("row", "export", "shop.public.orders", "--into", url)
        assert again.returncode == 6 and "must be empty" in again.stderr
        shop.database.cluster.sql("TRUNCATE orders", copy)
        shop.database.cluster.script(shop.told("row", "export", "shop.public.orders", "--at", then, "--format", "sql"), copy)
        assert shop.database.cluster.sql(want, copy) == rows
    finally:
        shop.database.cluster.drop_database(copy)


def test_an_export_in_pages_is_of_one_moment(shop):
    shop.write("INSERT INTO orders SELECT n FROM generate_series(100, 149) n")
    path, rows, cursor = "/api/v1/tables/shop.public.orders/export?format=json&limit=20", [], ""
    for page in range(3):
        answer = shop.get(path + (f"&cursor={cursor}" if cursor else "")).json()
        rows += [json.loads(line)["id"] for line in answer["text"].splitlines()]
        cursor = answer["next"]
        shop.write(f"DELETE FROM orders WHERE id = {148 - page}")
    assert rows == [41, *range(100, 150)] and cursor == ""
    assert shop.get(path + "&cursor=../../x.00").status == 400
    assert shop.get(path + "&cursor=1-1.00").status == 404


def test_a_trace_leads_to_the_person_and_onwards(shop):
    shop.write("INSERT INTO orders VALUES (42, 1, 'a', 1, NULL), (43, 1, 'a', 1, NULL)", ANN)
    number = shop.write("UPDATE orders SET status = 'b' WHERE id = 42", BOB)
    trace = shop.get("/api/v1/trace/row:shop.public.orders%2F42").json()
    assert trace["transaction"]["actor"] == BOB["user"] and trace["transaction"]["tx"] == f"tx:shop/{number}"
    assert trace["transaction"]["session"] == "session:s-77" and trace["transaction"]["traceparent"] == BOB["traceparent"]
    assert [before["actor"] for before in trace["earlier"]] == [ANN["user"]] and trace["later"] == []
    first = shop.get(f"/api/v1/trace/{trace['earlier'][0]['tx'].replace('/', '%2F')}").json()
    assert [change["row"] for change in first["changes"]] == ["row:shop.public.orders/42", "row:shop.public.orders/43"]
    assert [(change["row"], change["actor"]) for change in first["later"]] == [("row:shop.public.orders/42", BOB["user"])]
    text = shop.told("trace", trace["change"]["ref"])
    assert f"person       {BOB['user']}" in text and "session      session:s-77" in text
    assert "row:shop.public.orders/42" in shop.told("trace", "session:s-77")


def test_a_row_deleted_in_a_gap_is_gone_behind_it(shop):
    shop.write("INSERT INTO orders VALUES (42, 1, 'a', 1, NULL), (43, 1, 'a', 1, NULL)", ANN)
    then = shop.now()

    def post(verb, body=None):
        assert shop.server.ask("POST", f"/api/v1/sources/shop/{verb}", body or {}).status < 300

    post("pause")
    shop.database.sql("SELECT pg_drop_replication_slot('tidemark_shop')")
    shop.database.sql("DELETE FROM orders WHERE id = 42")
    post("resume")
    shop.until(lambda: shop.get("/api/v1/sources/shop").json()["state"] == "failed", "failed")
    post("resume", {"accept_gap": True})
    shop.until(lambda: shop.row("orders/42")["vanished"], "found missing")
    row = shop.row("orders/42")
    assert not row["exists"] and row["gap"]["from"] < row["gap"]["to"]
    assert "it was deleted then" in shop.told("row", "show", "row:shop.public.orders/42")
    assert shop.row("orders/43")["exists"] and shop.row("orders/42", f"?at={then}")["exists"]
    exported = shop.told("row", "export", "shop.public.orders", "--format", "json").splitlines()
    assert [json.loads(line)["id"] for line in exported] == [41, 43]


def test_the_words_of_the_business_are_used(shop, tmp_path):
    labels = tmp_path / "labels.yaml"
    labels.write_text("orders:\n  columns:\n    status: {label: State, values: {s: sent to the customer}}\n")
    edited = shop.server.ask("PATCH", "/api/v1/sources/shop", {"options": {"labels": str(labels)}})
    assert edited.status == 200, edited.body
    shop.write("UPDATE orders SET status = 's' WHERE id = 41", ANN)
    assert "State  new → sent to the customer" in shop.told("row", "show", "row:shop.public.orders/41")
    assert "State     sent to the customer" in shop.told("row", "show", "row:shop.public.orders/41", "--at", "now")


def test_a_table_may_be_kept_for_another_time(shop):
    for keep, status in (("public.orders=30d", 200), ("orders", 400)):
        assert shop.server.ask("PATCH", "/api/v1/sources/shop", {"options": {"keep": keep}}).status == status

    def kept():
        return [shop.get(f"/api/v1/topics/shop.public.{table}").json()["effective"]["retention.ms"]
                for table in ("orders", "customers")]

    shop.until(lambda: kept() == ["2592000000", "-1"], f"kept so long: {kept()}")


def test_what_is_not_there_is_said_with_a_fix(shop):
    for words, code, said in [
            (("row", "show", "row:shop.public.orders/999"), 3, "no change of row:shop.public.orders/999"),
            (("row", "show", "orders 42"), 2, "SOURCE.SCHEMA.TABLE"),
            (("row", "show", "row:sohp.public.orders/42"), 3, "did you mean shop"),
            (("row", "show", "row:shop.public.orders/41", "--at", "soon"), 2, "not a point in time"),
            (("row", "show", "row:shop.public.orders/41", "--at", "lsn:other/0/1"), 2, "another source"),
            (("row", "export", "shop.public.nothing"), 3, "no change of shop.public.nothing"),
            (("row", "export", "shop.public.orders", "--at", "2001-01-01"), 1, "begins at"),
            (("row", "export", "shop.public.orders", "--format", "xml"), 2, "csv, json and sql"),
            (("trace", "tx:shop/1"), 3, "no change of that transaction"),
            (("trace", "session:none"), 3, "no change of that session")]:
        ran = shop.server.command_line(*words)
        assert ran.returncode == code and said in ran.stderr, (words, ran.returncode, ran.stderr)
