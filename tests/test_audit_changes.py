"""Finding changes: what people did to a real PostgreSQL, by words, over HTTP and on the command line.

One server and one captured database serve all tests; each uses rows of its own.
"""

import csv
import io
import itertools
import json
import os
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
from support.postgres import Database
from support.server import Server

WAIT_SECONDS = 20
LABELS = """
public.orders:
  label: Order
  columns:
    status: {label: State, values: {shipped: on its way}}
"""
TABLES = """
CREATE TABLE orders (id int PRIMARY KEY, status text, total numeric(10,2), data jsonb, paid bool DEFAULT false);
ALTER TABLE orders REPLICA IDENTITY FULL;
CREATE TABLE items (id int PRIMARY KEY, name text);
INSERT INTO orders SELECT n, 'old', n, NULL FROM generate_series(900, 904) n;
"""


class Shop:
    """A captured database."""

    def __init__(self, server, database):
        self.server, self.database, self.keys = server, database, itertools.count(1)

    def change(self, *statements, **context):
        """One transaction under a context; gives its number as text."""
        said = json.dumps(context).replace("'", "''")
        with self.database.session() as session:
            session.sql("BEGIN")
            if context:
                session.sql(f"SELECT pg_logical_emit_message(true, '_bemi', '{said}')")
            for statement in statements:
                session.sql(statement)
            xid = session.sql("SELECT (txid_current() % 4294967296)::text")[0][0]
            session.sql("COMMIT")
        return xid

    def get(self, path="", **query):
        return self.server.get(f"/api/v1/changes{path}?{urllib.parse.urlencode({'source': 'shop', **query})}")

    def find(self, words="", **query):
        answer = self.get(filter=words, **query)
        assert answer.status == 200, answer.body
        return answer.json()

    def wait_for(self, words, count):
        """The changes found, once there are so many."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            found = self.find(words, order="oldest")["changes"]
            if len(found) >= count or time.monotonic() > deadline:
                assert len(found) == count, found
                return found
            time.sleep(0.05)

    def cli(self, *words):
        ran = self.server.command_line("change", *words)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture(scope="module")
def shop(binary, postgres_cluster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("changes")
    labels = folder / "labels.yaml"
    labels.write_text(LABELS)
    database = Database(postgres_cluster, "changes_shop")
    database.sql(TABLES)
    server = Server(binary, folder / "data", runtime=folder / "runtime").start()
    made = server.ask("POST", "/api/v1/sources", {"name": "shop", "url": database.url, "options": {"labels": str(labels)}})
    assert made.status == 201, made.body
    shop = Shop(server, database)
    shop.wait_for("read table orders", 5)
    yield shop
    server.stop()
    database.drop()


def test_words_find_who_changed_what(shop):
    shop.change("INSERT INTO orders VALUES (1, 'new', 5.00, '{\"a\": {\"b\": 1}, \"tags\": [\"x\"]}')", user="ann", request_id="r-1")
    xid = shop.change("UPDATE orders SET status = 'shipped' WHERE id = 1", user="bob", reason={"ticket": 17})
    shop.change("DELETE FROM orders WHERE id = 1")
    create, update, delete = shop.wait_for("row orders/1", 3)
    assert [c["operation"] for c in (create, update, delete)] == ["create", "update", "delete"]
    assert (update["before"]["status"], update["after"]["status"], update["changed"]) == ("new", "shipped", ["status"])
    assert (update["actor"], update["context"]["reason"], str(update["tx"])) == ("bob", {"ticket": 17}, xid)
    assert delete["actor"] is None
    for words, expected in [
            ("status changed to shipped key 1", [update]), ("status was new status became shipped key 1", [update]),
            ("by ann key 1", [create]), ("context.reason.ticket is 17", [update]), ("context.request_id=r-1", [create]),
            ("context contains {\"reason\": {\"ticket\": 17.0}}", [update]), ("deleted key 1", [delete]),
            ("after contains {\"data\": {\"tags\": [\"x\"]}} key 1 created", [create]), (f"tx:shop/{xid}", [update]),
            ("key 1 not by ann not deleted", [update]), ("total=5 created key 1", [create]), ("data.a.b=1 key 1", [create, update, delete]),
            ("paid is false created key 1", [create]), ("key 1 since 2100-01-01", []), ("table nowhere", [])]:
        assert shop.find(words, order="oldest")["changes"] == expected, words


def test_a_search_that_means_nothing_says_what_could(shop):
    answer = shop.get(filter="table orders shipped")
    assert answer.status == 400
    assert "\"shipped\"" in answer.json()["message"] and "COLUMN changed to VALUE" in answer.json()["message"]
    assert "did you mean shop" in server_message(shop.server.get("/api/v1/changes?source=shpo"))


def server_message(answer):
    assert answer.status == 404, answer.body
    return answer.json()["message"]


def test_pages_join_without_gap_or_repeat(shop):
    shop.change("INSERT INTO items SELECT n, 'page' FROM generate_series(1000, 1099) n", user="pager")
    shop.wait_for("by pager", 100)
    for order in ("newest", "oldest"):
        keys, cursor = [], 0
        while cursor is not None:
            page = shop.find("by pager", order=order, limit=7, cursor=cursor)
            keys += [int(change["key"]) for change in page["changes"]]
            cursor = page["next"]
        assert keys == sorted(range(1000, 1100), reverse=order == "newest")


def test_one_change_and_those_of_a_row_are_shown_by_reference(shop):
    xid = shop.change("INSERT INTO items VALUES (2, 'a')", "UPDATE items SET name = 'b' WHERE id = 2")
    first, second = shop.wait_for("row items/2", 2)
    quoted = urllib.parse.quote(first["ref"], safe="")
    assert shop.get(f"/{quoted}").json() == first
    assert shop.get(f"/{urllib.parse.quote(second['ref'], safe='')}").json() == second
    for ref in (f"tx:shop/{xid}", "row:shop.public.items/2"):
        assert shop.get(f"/{urllib.parse.quote(ref, safe='')}", order="oldest").json()["changes"] == [first, second]
    gone = shop.get(f"/{urllib.parse.quote('topic:shop.public.items/0@999999', safe='')}")
    assert gone.status == 404
    # The table's identity does not say what was: the change before does.
    assert (second["recalled"], second["before"], second["changed"]) == (True, {"id": 2, "name": "a"}, ["name"])
    assert shop.find("name changed from a to b row items/2")["changes"] == [second]
    assert shop.find("name was a updated row items/2")["changes"] == [second]
    assert shop.find("name changed from b row items/2")["changes"] == []
    assert "items/2" in shop.cli("show", f"tx:shop/{xid}")
    assert "name a → b" in shop.cli("ls", "row", "items/2", "updated")
    assert "public" in shop.cli("show", first["ref"], "--json")


def test_who_follows_gets_each_change_as_it_comes(shop):
    query = urllib.parse.urlencode({"source": "shop", "filter": "table items by follower"})
    with urllib.request.urlopen(f"http://{shop.server.http}/api/v1/changes/follow?{query}", timeout=WAIT_SECONDS) as events:
        for number in range(3):
            shop.change(f"INSERT INTO items VALUES ({3000 + number}, 'f')", user="follower")
            shop.change(f"INSERT INTO items VALUES ({3100 + number}, 'f')", user="other")
        keys = []
        while len(keys) < 3:
            line = events.readline().decode()
            assert line, "the stream has ended"
            if line.startswith("data: "):
                keys.append(json.loads(line[6:])["key"])
    assert keys == ["3000", "3001", "3002"]


def test_the_command_line_follows_with_lines_for_people(shop):
    environment = {**shop.server.environment, "TIDEMARK_HTTP": shop.server.http}
    command = [shop.server.binary, "change", "ls", "--source", "shop", "-f", "--json", "by", "typist"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        shop.change("INSERT INTO items VALUES (4000, 'x')", user="typist")
        assert json.loads(process.stdout.readline())["key"] == "4000"
        shop.change("UPDATE items SET name = 'y' WHERE id = 4000", user="typist")
        assert json.loads(process.stdout.readline())["after"]["name"] == "y"
        process.terminate()


def test_labels_are_in_what_people_read_and_not_in_json(shop):
    shop.change("INSERT INTO orders VALUES (5, 'new')", user="lea")
    shop.change("UPDATE orders SET status = 'shipped' WHERE id = 5", user="lea")
    shop.wait_for("row orders/5", 2)
    text = shop.cli("ls", "--source", "shop", "row", "orders/5", "updated")
    assert "Order/5" in text and "State new → on its way" in text and "lea" in text
    change = json.loads(shop.cli("ls", "--json", "row", "orders/5", "updated"))
    assert change["after"]["status"] == "shipped" and "labels" not in change


def test_export_is_whole_in_each_form(shop):
    shop.change("INSERT INTO items SELECT n, 'it''s, \"x\"' FROM generate_series(5000, 6199) n", user="exporter")
    shop.wait_for("row items/6199", 1)
    lines = [json.loads(line) for line in shop.cli("export", "--format", "json", "by", "exporter").splitlines()]
    assert [line["key"] for line in lines] == [str(n) for n in range(5000, 6200)]
    rows = list(csv.DictReader(io.StringIO(shop.cli("export", "--source", "shop", "by", "exporter"))))
    assert len(rows) == 1200 and json.loads(rows[7]["after"]) == lines[7]["after"]
    sql = shop.cli("export", "--format", "sql", "by", "exporter")
    shop.database.sql("CREATE SCHEMA x; SET search_path = x; " + sql.replace("changes", "x.changes"))
    assert shop.database.sql("SELECT count(*), count(DISTINCT key), max(after->>'name') FROM x.changes") == [
        ("1200", "1200", "it's, \"x\"")]


def test_stats_count_by_table_and_operation(shop):
    shop.change("INSERT INTO items VALUES (7000, 'a')")
    shop.wait_for("row items/7000", 1)
    table = {t["table"]: t for t in shop.get("/stats").json()["tables"]}
    assert table["orders"]["reads"] == 5
    assert table["items"]["creates"] == len(shop.find("table items created", limit=1000)["changes"]) or table["items"]["creates"] > 1000
    assert "public.items" in shop.cli("stats")


def test_a_deleted_view_gives_the_same_answers(shop):
    shop.change("INSERT INTO items VALUES (8000, 'a')", user="again")
    shop.wait_for("by again", 1)
    before = shop.find("not table x", limit=1000)
    shop.server.stop()
    folder = os.path.join(shop.server.data, "views")
    removed = [os.path.join(path, name) for path, _, names in os.walk(folder) for name in names if "shop" in os.path.join(path, name)]
    assert removed
    for path in removed:
        os.remove(path)
    shop.server.start()
    after = shop.find("not table x", limit=1000)
    assert after["changes"] == before["changes"] and after["numbered"] == before["numbered"]
