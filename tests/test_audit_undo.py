"""Undo: what changes left is put back whole or not at all, and what stands against it is named."""

import json
import pathlib
import time

import pytest
from support import restore
from support.restore import case

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORDED = ROOT.parent / "shared/conformance/audit/restore_cases.json"
SECONDS = 20

USERS = ("CREATE TABLE u (id int PRIMARY KEY, email text UNIQUE, name text, n int); ALTER TABLE u REPLICA IDENTITY FULL; "
         "INSERT INTO u VALUES (1, 'a@x', 'A', 1), (2, 'b@x', 'B', 2)")
FAMILY = ("CREATE TABLE p (id int PRIMARY KEY, n text); "
          "CREATE TABLE c (id int PRIMARY KEY, p int NOT NULL REFERENCES p ON DELETE CASCADE, n text); "
          "ALTER TABLE p REPLICA IDENTITY FULL; ALTER TABLE c REPLICA IDENTITY FULL; "
          "INSERT INTO p VALUES (1, 'a'), (2, 'b'); INSERT INTO c VALUES (10, 1, 'x'), (11, 1, 'y'), (12, 2, 'z')")
CIRCLE = ("CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a); "
          "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b; ALTER TABLE a REPLICA IDENTITY FULL; "
          "ALTER TABLE b REPLICA IDENTITY FULL")
TYPES = ("CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE t (id uuid PRIMARY KEY, j json, jb jsonb, a int[], e mood, i inet, "
         "b bytea, ts timestamptz, bo bool, c char(5), m money, f float8, nu numeric, x xml, pt point, r int4range, iv interval); "
         "ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES ('00000000-0000-4000-8000-000000000001', '{\"a\": 1}', "
         "'{\"b\": [1.0]}', '{1,NULL,3}', 'a', '10.0.0.1', '\\xdeadbeef', '2020-01-01 00:00:00.123456+00', true, 'ab', 12.5, 0.1, "
         "1.00, '<a/>', '(1,2)', '[1,5)', '1 day 02:00')")
STRANGE = "'{\"a\": \"\\\\\"}', '{\"a,b\",\"q\\\\\"}', 'ab', '10.0.0.1/8', '<a/>', 'it''s \\ back', false"
STRANGE_TABLE = ("CREATE TABLE t (id int PRIMARY KEY, j json, a text[], c char(5), i inet, x xml, q text, b bool); "
                 "ALTER TABLE t REPLICA IDENTITY FULL; ")
KEYLESS = "CREATE TABLE l (msg text, j json); ALTER TABLE l REPLICA IDENTITY FULL; INSERT INTO l VALUES ('x', '{}'), ('x', '{}')"
LARGE = "CREATE TABLE t (id int PRIMARY KEY, big text, n int); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; "

CASES = [
    case("unique values swap", USERS, ["BEGIN", "UPDATE u SET email = 'tmp' WHERE id = 1",
                                       "UPDATE u SET email = 'a@x' WHERE id = 2", "UPDATE u SET email = 'b@x' WHERE id = 1",
                                       "COMMIT"], tables=["u"]),
    case("unique values swap without a free value on the way",
         "CREATE TABLE u (id int PRIMARY KEY, e int NOT NULL UNIQUE); ALTER TABLE u REPLICA IDENTITY FULL; "
         "INSERT INTO u VALUES (1, 1), (2, 2)",
         ["BEGIN", "DELETE FROM u WHERE id = 1", "UPDATE u SET e = 1 WHERE id = 2", "INSERT INTO u VALUES (1, 2)", "COMMIT"],
         tables=["u"]),
    case("unique values rotate", USERS + "; INSERT INTO u VALUES (3, 'c@x', 'C', 3)",
         ["BEGIN", "UPDATE u SET email = NULL WHERE id = 1", "UPDATE u SET email = 'a@x' WHERE id = 2",
          "UPDATE u SET email = 'b@x' WHERE id = 3", "UPDATE u SET email = 'c@x' WHERE id = 1", "COMMIT"], tables=["u"]),
    case("keys swap", USERS, ["BEGIN", "UPDATE u SET id = 99 WHERE id = 1", "UPDATE u SET id = 1 WHERE id = 2",
                              "UPDATE u SET id = 2 WHERE id = 99", "COMMIT"], tables=["u"]),
    case("a deferrable unique constraint", "CREATE TABLE u (id int PRIMARY KEY, n int NOT NULL UNIQUE DEFERRABLE); "
         "ALTER TABLE u REPLICA IDENTITY FULL; INSERT INTO u VALUES (1, 1), (2, 2)", "UPDATE u SET n = 3 - n", tables=["u"]),
    case("a delete that cascaded", FAMILY, "DELETE FROM p WHERE id = 1", tables=["p", "c"]),
    case("a key whose change cascaded", FAMILY.replace("DELETE CASCADE", "UPDATE CASCADE"),
         ["BEGIN", "UPDATE p SET id = 5 WHERE id = 1", "UPDATE c SET n = 'q' WHERE id = 10", "COMMIT"], tables=["p", "c"]),
    case("children moved, parent deleted", FAMILY,
         ["BEGIN", "UPDATE c SET p = 2 WHERE p = 1", "DELETE FROM p WHERE id = 1", "COMMIT"], tables=["p", "c"]),
    case("a circle of references made", CIRCLE,
         ["BEGIN", "INSERT INTO a VALUES (1, NULL)", "INSERT INTO b VALUES (1, 1)", "UPDATE a SET b = 1", "COMMIT"],
         tables=["a", "b"]),
    case("a circle of references deleted",
         CIRCLE + "; INSERT INTO a VALUES (1, NULL); INSERT INTO b VALUES (1, 1); UPDATE a SET b = 1",
         ["BEGIN", "UPDATE a SET b = NULL", "DELETE FROM b", "DELETE FROM a", "COMMIT"], tables=["a", "b"]),
    case("a circle of deferred references",
         "CREATE TABLE a (id int PRIMARY KEY, b int NOT NULL); "
         "CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a DEFERRABLE); "
         "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE; "
         "ALTER TABLE a REPLICA IDENTITY FULL; ALTER TABLE b REPLICA IDENTITY FULL",
         ["BEGIN", "SET CONSTRAINTS ALL DEFERRED", "INSERT INTO a VALUES (1, 1)", "INSERT INTO b VALUES (1, 1)", "COMMIT"],
         tables=["a", "b"]),
    case("a row moves between partitions",
         "CREATE TABLE pt (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k); "
         "CREATE TABLE p1 PARTITION OF pt FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF pt FOR VALUES IN (2); "
         "ALTER TABLE p1 REPLICA IDENTITY FULL; ALTER TABLE p2 REPLICA IDENTITY FULL; INSERT INTO pt VALUES (1, 1)",
         "UPDATE pt SET k = 2", tables=["pt"]),
    case("types", TYPES, "UPDATE t SET j = '{}', jb = '[]', a = '{}', e = 'b', i = '::1', b = '', ts = '2021-05-05 05:05:05+00', "
         "bo = false, c = 'x', m = 3, f = 'NaN', nu = 7.000, x = '<b>it''s</b>', pt = '(0,0)', r = 'empty', iv = '-3 mons'",
         tables=["t"]),
    case("strange values deleted", STRANGE_TABLE + f"INSERT INTO t VALUES (1, {STRANGE})", "DELETE FROM t", tables=["t"]),
    case("strange values created", STRANGE_TABLE, f"INSERT INTO t VALUES (1, {STRANGE})", tables=["t"]),
    case("equal rows without a key, created", KEYLESS, "INSERT INTO l VALUES ('x', '{}'), ('x', '{}')", tables=["l"]),
    case("equal rows without a key, one changed", KEYLESS, "UPDATE l SET msg = 'y' WHERE ctid = (SELECT min(ctid) FROM l)",
         tables=["l"]),
    case("names that must be quoted", 'CREATE TABLE "We ird" ("Id" int PRIMARY KEY, "select" text); '
         'ALTER TABLE "We ird" REPLICA IDENTITY FULL; INSERT INTO "We ird" VALUES (1, \'a\')',
         ["BEGIN", 'UPDATE "We ird" SET "select" = \'b\'', 'DELETE FROM "We ird"', "COMMIT"], tables=["We ird"]),
    case("a large value with the full identity", LARGE + "ALTER TABLE t REPLICA IDENTITY FULL; "
         "INSERT INTO t VALUES (1, repeat('x', 10000), 1)", ["BEGIN", "UPDATE t SET n = 2", "DELETE FROM t", "COMMIT"],
         tables=["t"]),
    case("the table has another name now", USERS, "UPDATE u SET name = 'AA' WHERE id = 1", ["ALTER TABLE u RENAME TO v"]),
    case("names changed places since", USERS, "UPDATE u SET name = 'AA' WHERE id = 1",
         ["ALTER TABLE u RENAME name TO q", "ALTER TABLE u RENAME email TO name", "ALTER TABLE u RENAME q TO email"],
         tables=["u"], stays=True),
    case("a column has a wider type now", USERS, "UPDATE u SET n = 5 WHERE id = 1", ["ALTER TABLE u ALTER n TYPE numeric(10,2)"],
         tables=["u"], expect="restored_with_warning", stays=True),
    case("a column that is gone", USERS, "DELETE FROM u WHERE id = 1", ["ALTER TABLE u DROP name"], tables=["u"],
         expect="restored_with_warning", stays=True),
    case("a trigger writes something else",
         USERS + "; CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.name := NEW.name || '!'; RETURN NEW; END$$",
         "UPDATE u SET name = 'AA' WHERE id = 1",
         ["CREATE TRIGGER t BEFORE UPDATE ON u FOR EACH ROW EXECUTE FUNCTION f()"], tables=["u"],
         expect="restored_with_warning", stays=True),
    # what stands against it
    case("changed since", USERS, "UPDATE u SET name = 'AA' WHERE id = 1", ["UPDATE u SET name = 'AAA' WHERE id = 1"], ["u"],
         {"type": "changed_since", "table": "u", "key": {"id": "1"}, "column": "name", "value": "AAA"}),
    case("a created row changed since", USERS, "INSERT INTO u VALUES (3, 'c', 'C', 3)", ["UPDATE u SET n = 4 WHERE id = 3"], ["u"],
         {"type": "changed_since", "table": "u", "key": {"id": "3"}, "columns": ["n"]}),
    case("a unique value taken", USERS, "DELETE FROM u WHERE id = 2", ["INSERT INTO u VALUES (7, 'b@x', 'X', 7)"], ["u"],
         {"type": "unique_violation", "table": "u", "column": "email", "value": "b@x"}),
    case("a referring row came later", FAMILY.replace(" ON DELETE CASCADE", ""), "INSERT INTO p VALUES (3, 'n')",
         ["INSERT INTO c VALUES (31, 3, 'later')"], ["p", "c"],
         {"type": "foreign_key_missing", "table": "p", "key": {"id": "3"}, "dependents": [{"table": "c", "key": {"id": "31"}}]}),
    case("a changed column that is gone", USERS, "UPDATE u SET name = 'AA' WHERE id = 1", ["ALTER TABLE u DROP name"], ["u"],
         {"type": "column_dropped", "table": "u", "column": "name"}),
    case("a type that does not take the value", USERS, "UPDATE u SET name = 'zz' WHERE id = 1",
         ["UPDATE u SET name = '5'", "ALTER TABLE u ALTER name TYPE int USING name::int"], ["u"],
         {"type": "column_retyped", "table": "u", "column": "name"}),
    case("a check made since", USERS, "UPDATE u SET n = 50 WHERE id = 1", ["ALTER TABLE u ADD CHECK (n > 1)"], ["u"],
         {"type": "check_failed", "table": "u"}),
    case("a trigger that refuses",
         USERS + "; CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'closed books'; END$$",
         "UPDATE u SET name = 'AA' WHERE id = 1",
         ["CREATE TRIGGER t BEFORE UPDATE ON u FOR EACH ROW EXECUTE FUNCTION f()"], ["u"], {"type": "refused", "table": "u"}),
    case("a trigger that swallows",
         USERS + "; CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$",
         "UPDATE u SET name = 'AA' WHERE id = 1",
         ["CREATE TRIGGER t BEFORE UPDATE ON u FOR EACH ROW EXECUTE FUNCTION f()"], ["u"],
         {"type": "trigger_altered_result", "table": "u"}),
    case("a truncated table", USERS, "TRUNCATE u", (), ["u"], {"type": "truncate_has_no_row_images", "table": "u"}),
    case("a table that is gone", USERS, "UPDATE u SET name = 'AA' WHERE id = 1", ["DROP TABLE u"], [],
         {"type": "table_missing", "table": "u"}),
    case("one row of two changed since", USERS, "UPDATE u SET name = 'AA'", ["UPDATE u SET name = 'AAA' WHERE id = 1"], ["u"],
         {"type": "changed_since", "table": "u", "key": {"id": "1"}}),
]


@pytest.fixture(scope="module")
def cases_program(binary):
    return restore.program(binary) or pytest.skip("audit_undo_cases is not built; make test-programs does it")


def test_every_recorded_case_ends_in_its_recorded_state(cases_program, clusters):
    if not RECORDED.exists():
        pytest.skip(f"{RECORDED.name}: the recorded cases are not here")
    failed, passed, _, output = restore.run(cases_program, clusters().url, RECORDED)
    assert (failed, passed) == ([], len(json.loads(RECORDED.read_text()))), output


def test_cases_of_every_kind_end_as_they_must(cases_program, clusters, tmp_path):
    cluster, path = clusters(), tmp_path / "cases.json"
    with cluster.session() as session:
        path.write_text(json.dumps(restore.recorded(session, CASES)))
    failed, passed, _, output = restore.run(cases_program, cluster.url, path)
    assert (failed, passed) == ([], len(CASES)), output


def random_cases(program, cluster, path, seeds):
    with cluster.session() as session:
        cases = [one for one in (restore.random_case(session, seed) for seed in seeds) if one]
    path.write_text(json.dumps(cases))
    failed, passed, _, output = restore.run(program, cluster.url, path)
    assert (failed, passed) == ([], len(cases)), output
    assert len(cases) > len(seeds) / 3


def test_random_transactions_are_put_back_whole(cases_program, clusters, tmp_path):
    random_cases(cases_program, clusters(), tmp_path / "cases.json", range(60))


@pytest.mark.soak
def test_many_random_transactions_are_put_back_whole(cases_program, clusters, tmp_path):
    for start in range(1000, 6000, 500):
        random_cases(cases_program, clusters(), tmp_path / "cases.json", range(start, start + 500))


# The whole program

PARTS = """
    CREATE TABLE parts (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
    CREATE TABLE parts1 PARTITION OF parts FOR VALUES IN (1);
    CREATE TABLE parts2 (v text, gone int, k int NOT NULL, id int NOT NULL); ALTER TABLE parts2 DROP gone;
    ALTER TABLE parts ATTACH PARTITION parts2 FOR VALUES IN (2);
    CREATE TABLE loose (id int, k int) PARTITION BY LIST (k);
    CREATE TABLE loose1 PARTITION OF loose FOR VALUES IN (1); CREATE TABLE loose2 PARTITION OF loose FOR VALUES IN (2);
    ALTER TABLE parts1 REPLICA IDENTITY FULL; ALTER TABLE parts2 REPLICA IDENTITY FULL;
    ALTER TABLE loose1 REPLICA IDENTITY FULL; ALTER TABLE loose2 REPLICA IDENTITY FULL; ALTER TABLE loose REPLICA IDENTITY FULL;
    INSERT INTO parts VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 1, 'c'); INSERT INTO loose VALUES (1, 1), (1, 2)"""

SHOP = """
    CREATE TABLE customers (id int PRIMARY KEY, email text UNIQUE, name text);
    CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers ON DELETE CASCADE, status text, total numeric(10,2));
    CREATE TABLE notes (id int PRIMARY KEY, body text, secret text);
    ALTER TABLE customers REPLICA IDENTITY FULL; ALTER TABLE orders REPLICA IDENTITY FULL;
    INSERT INTO customers VALUES (1, 'ann@x', 'Ann'), (2, 'bob@x', 'Bob');
    INSERT INTO orders SELECT g, 1 + g % 2, 'pending', g * 10 FROM generate_series(1, 6) g;
    INSERT INTO notes VALUES (1, 'first', 's3cret')"""


class Shop:
    """A captured database and the server that captures it."""

    def __init__(self, server, database, tables=SHOP, **options):
        self.server, self.database = server, database
        database.sql(tables)
        self.session = database.session()
        made = server.ask("POST", "/api/v1/sources", {"name": "shop", "url": database.url, **options})
        assert made.status == 201, made.body
        self.wait_until(lambda: self.source()["state"] == "running")

    def source(self):
        return self.server.get("/api/v1/sources/shop").json()

    def wait_until(self, holds):
        end = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < end, self.source()
            time.sleep(0.02)

    def transaction(self, *statements, context=None):
        """Its reference."""
        self.session.sql("BEGIN")
        xid = int(self.session.sql("SELECT pg_current_xact_id()::text")[0][0]) & 0xffffffff
        if context:
            self.session.sql(f"SELECT pg_logical_emit_message(true, '_bemi', '{json.dumps(context)}')")
        for statement in statements:
            self.session.sql(statement)
        self.session.sql("COMMIT")
        return f"tx:shop/{xid}"

    def undo(self, ref, status=200, **more):
        answer = self.server.ask("POST", "/api/v1/undo", {"ref": ref, **more})
        assert answer.status == status, answer.body
        return answer.json()

    def table(self, name):
        return self.session.sql(f"SELECT * FROM {name} ORDER BY id")

    def everything(self):
        return [self.table(name) for name in ("customers", "orders", "notes")]


@pytest.fixture
def shop(servers, database):
    made = Shop(servers().start(), database)
    yield made
    made.session.close()


def test_a_mistake_is_found_planned_put_back_and_can_be_done_again(shop):
    before = shop.everything()
    mistake = shop.transaction("DELETE FROM customers WHERE id = 1", context={"user": "eve", "reason": "cleanup"})
    after = shop.everything()
    plan = shop.undo(mistake)
    assert (plan["state"], plan["changes"], plan["rows"]) == ("ready", 4, 4)
    assert plan["undoes"]["actor"] == "eve"
    assert [step["sql"].split(" (")[0] for step in plan["steps"]] == ["INSERT INTO public.customers"] + 3 * ["INSERT INTO public.orders"]
    assert shop.everything() == after, "a plan changed something"
    done = shop.undo(mistake, apply=True, actor="ann", reason="the wrong customer")
    assert done["applied"] and shop.everything() == before
    again = shop.undo(done["tx"])
    assert again["undoes"]["actor"] == "ann"
    assert again["undoes"]["context"] == {"undo_of": mistake, "actor": "ann", "reason": "the wrong customer"}
    assert shop.undo(done["tx"], apply=True)["applied"] and shop.everything() == after


def test_a_row_goes_back_to_a_point(shop):
    before = shop.table("orders")
    shop.transaction("UPDATE orders SET status = 'paid' WHERE id = 3")
    shop.transaction("UPDATE orders SET status = 'lost', total = 0 WHERE id = 3")
    shop.transaction("UPDATE orders SET status = 'other' WHERE id = 4")
    last = shop.undo("row:shop.public.orders/3")
    assert [field["new"] for field in last["steps"][0]["fields"]] == ["paid", "30.00"]
    assert shop.undo("row:shop.public.orders/3", to="earliest", apply=True)["applied"]
    assert shop.table("orders")[:3] == before[:3]
    assert shop.table("orders")[3][2] == "other"


def test_what_the_database_did_not_send_comes_from_the_history_of_the_row(shop):
    assert shop.session.sql("SELECT relreplident FROM pg_class WHERE relname = 'notes'") == [("d",)]
    first = shop.transaction("UPDATE notes SET body = 'second'")
    gone = shop.transaction("DELETE FROM notes")
    assert shop.undo(gone, apply=True)["applied"]
    assert shop.table("notes") == [("1", "second", "s3cret")]
    assert shop.undo(first, apply=True)["applied"]
    assert shop.table("notes") == [("1", "first", "s3cret")]


def test_rows_of_partitions_go_back_to_theirs(servers, database):
    shop = Shop(servers().start(), database, PARTS, options={"keyless": "full"})

    def state():
        return shop.session.sql("SELECT * FROM parts ORDER BY id, k"), shop.session.sql("SELECT * FROM loose ORDER BY id, k")
    before = state()
    moved = shop.transaction("UPDATE parts SET k = 3 - k", "UPDATE parts SET v = 'z' WHERE id = 2", "DELETE FROM parts WHERE id = 3",
                             "UPDATE loose SET id = 7", "INSERT INTO loose VALUES (8, 1), (8, 2)")
    assert state() != before
    assert shop.undo(moved, apply=True)["applied"] and state() == before
    shop.session.close()


def test_a_conflict_says_who_came_in_between_and_nothing_is_changed(shop):
    mistake = shop.transaction("UPDATE orders SET status = 'lost'")
    later = shop.transaction("UPDATE orders SET status = 'found' WHERE id = 2", context={"user": "bob"})
    after = shop.everything()
    plan = shop.undo(mistake)
    assert plan["state"] == "conflicts" and plan["conflict_count"] == 1
    found = plan["conflicts"][0]
    assert (found["type"], found["table"], found["key"], found["column"], found["value"]) == \
        ("changed_since", "orders", {"id": "2"}, "status", "found")
    assert (found["since"]["actor"], found["since"]["tx"]) == ("bob", later)
    refused = shop.undo(mistake, status=409, apply=True)
    assert refused["code"] == "conflict" and "nothing was changed" in refused["message"]
    assert shop.everything() == after


def test_undone_twice_is_a_conflict_that_says_so(shop):
    mistake = shop.transaction("DELETE FROM orders WHERE id = 5")
    assert shop.undo(mistake, apply=True)["applied"]
    again = shop.undo(mistake)["conflicts"][0]
    assert again["type"] == "key_exists" and "already" in again["fix"]


def test_a_row_that_others_hold_ends_it_after_a_while(shop):
    mistake = shop.transaction("UPDATE orders SET status = 'lost' WHERE id = 1")
    after = shop.everything()
    with shop.database.session() as other:
        other.sql("BEGIN; SELECT * FROM orders WHERE id = 1 FOR UPDATE")
        assert "try again" in shop.undo(mistake, status=503, apply=True)["message"]
        other.sql("ROLLBACK")
    assert shop.everything() == after
    assert shop.undo(mistake, apply=True)["applied"]


def test_a_role_that_may_not_write_is_told_so_and_another_may(servers, postgres_cluster, database):
    database.sql("DROP ROLE IF EXISTS undo_reader; CREATE ROLE undo_reader LOGIN REPLICATION")
    shop = Shop(servers().start(), database)
    shop.session.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO undo_reader")
    reader = postgres_cluster.url_of(database.name, "undo_reader")
    mistake = shop.transaction("UPDATE orders SET status = 'lost' WHERE id = 1")
    plan = shop.undo(mistake, url=reader)
    assert [note["type"] for note in plan["conflicts"]] == ["not_permitted"]
    ran = shop.server.command_line("undo", mistake, "--apply", "--url", database.url)
    assert ran.returncode == 0, ran.stderr
    assert shop.table("orders")[0][2] == "pending"
    shop.session.close()
    database.sql("DROP OWNED BY undo_reader; DROP ROLE undo_reader")


def test_triggers_are_left_out_only_when_asked(shop):
    mistake = shop.transaction("UPDATE orders SET status = 'lost' WHERE id = 1")
    shop.session.sql("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
                     "$$BEGIN NEW.status := NEW.status || '!'; RETURN NEW; END$$")
    shop.session.sql("CREATE TRIGGER t BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION f()")
    plan = shop.undo(mistake)
    assert plan["state"] == "ready" and [note["type"] for note in plan["warnings"]] == ["trigger_altered_result"]
    plan = shop.undo(mistake, without_triggers=True, apply=True)
    assert plan["warnings"] == []
    assert shop.table("orders")[0][2] == "pending"


def test_masked_values_are_not_put_back(servers, database):
    shop = Shop(servers().start(), database, options={"mask": "notes.secret=hash"})
    shop.session.sql("ALTER TABLE notes REPLICA IDENTITY FULL")
    harmless = shop.transaction("UPDATE notes SET body = 'second'")
    mistake = shop.transaction("UPDATE notes SET secret = 'lost'")
    after = shop.everything()
    plan = shop.undo(mistake)
    assert [(note["type"], note["columns"]) for note in plan["conflicts"]] == [("before_image_missing", ["secret"])]
    shop.undo(mistake, status=409, apply=True)
    assert shop.everything() == after
    assert shop.undo(harmless, apply=True)["applied"]
    assert shop.table("notes") == [("1", "first", "lost")]
    shop.session.close()


def test_the_command_shows_the_plan_and_runs_it_when_told(shop):
    before = shop.everything()
    mistake = shop.transaction("UPDATE orders SET status = 'lost' WHERE id < 3", context={"user": "eve"})
    after = shop.everything()
    ran = shop.server.command_line("undo", mistake)
    assert ran.returncode == 0, ran.stderr
    assert all(word in ran.stdout for word in ("2 changes by eve", "update public.orders 1", "lost → pending",
                                               "UPDATE public.orders SET status = 'pending'", "Nothing was changed"))
    assert max(len(line) for line in ran.stdout.splitlines()) <= 80
    assert shop.everything() == after
    script = shop.server.command_line("undo", mistake, "--sql")
    assert script.stdout.startswith("BEGIN;\n") and script.stdout.endswith("COMMIT;\n")
    ran = shop.server.command_line("undo", mistake, "--apply", "--reason", "wrong import")
    assert ran.returncode == 0 and "Undone by tx:shop/" in ran.stdout, ran.stderr
    assert shop.everything() == before
    assert shop.server.command_line("undo", mistake).returncode == 6
    assert shop.server.command_line("undo", "tx:shop/1").returncode == 3
    assert shop.server.command_line("undo", "nonsense").returncode == 2
    shown = json.loads(shop.server.command_line("undo", "row:shop.public.orders/1", "--json").stdout)
    assert shown["undoes"]["context"]["reason"] == "wrong import"


def test_the_printed_script_does_the_same_by_hand(shop):
    before = shop.everything()
    mistake = shop.transaction("UPDATE customers SET email = 'tmp' WHERE id = 1", "UPDATE customers SET email = 'ann@x' WHERE id = 2",
                               "UPDATE customers SET email = 'bob@x' WHERE id = 1", "DELETE FROM orders WHERE customer = 2")
    shop.database.script(shop.server.command_line("undo", mistake, "--sql").stdout)
    assert shop.everything() == before
