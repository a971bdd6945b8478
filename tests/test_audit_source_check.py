"""`tidemark source check`: what it finds in a database, that it changes nothing, that its fixes mend it."""

import os
import re
import subprocess
import time

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def check(server, url, **more):
    answer = server.ask("POST", "/api/v1/sources/check", {"url": url, **more})
    assert answer.status == 200, answer.body
    found = answer.json()
    return found, {finding["what"]: finding for finding in found["findings"]}


def test_connections_plans_and_snapshots_against_a_real_server(binary, database):
    """The unit test program that wants one: snapshots under a writer, slots, plans, copies."""
    program = os.path.join(os.path.dirname(os.path.dirname(binary)), "test/audit_snapshot_live")
    if not os.access(program, os.X_OK):
        pytest.skip(f"{program} is not built; make test-programs builds it")
    ran = subprocess.run([program], env={**os.environ, "TIDEMARK_POSTGRES": database.url}, capture_output=True,
                         text=True, errors="replace", timeout=120, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "SKIPPED" not in ran.stdout, ran.stdout


def test_a_database_that_is_ready_is_said_to_be(server, database):
    database.sql("CREATE TABLE orders (id int PRIMARY KEY, status text)")
    found, by_name = check(server, database.url, name="shop")
    assert found["ok"] and found["blocks"] == 0
    assert found["tables"] == 1
    assert found["server"].startswith("PostgreSQL ")
    assert by_name["wal_level"]["severity"] == "fine"
    assert by_name["replication connection"]["severity"] == "fine"
    ran = server.command_line("source", "check", database.url)
    assert ran.returncode == 0, ran.stderr
    assert "It can be captured: 1 table" in ran.stdout


def test_it_changes_nothing(server, database):
    database.sql("CREATE TABLE orders (id int PRIMARY KEY)")
    database.sql("CREATE TABLE loose (id int)")

    def state():
        return [database.sql(query) for query in (
            "SELECT relname, relreplident, xmin FROM pg_class ORDER BY 1", "SELECT * FROM pg_publication",
            "SELECT nspname FROM pg_namespace ORDER BY 1", "SELECT * FROM pg_replication_slots WHERE database = current_database()")]

    before = state()
    check(server, database.url, name="shop", keyless="full")
    assert state() == before


def test_what_is_missing_comes_with_its_exact_fix(servers, clusters):
    """Each fix that is SQL is run as it stands; then nothing blocks any more."""
    server, cluster = servers().start(), clusters(wal_level="replica")
    cluster.script("CREATE ROLE app LOGIN PASSWORD 'sesame'; CREATE SCHEMA s; "
                   "CREATE TABLE s.hidden (id int PRIMARY KEY); ALTER TABLE s.hidden ENABLE ROW LEVEL SECURITY; "
                   "CREATE ROLE clerks; CREATE TABLE s.theirs (id int PRIMARY KEY); ALTER TABLE s.theirs OWNER TO clerks; "
                   "ALTER TABLE s.hidden OWNER TO clerks")
    url = cluster.url_of("postgres", "app", "sesame")
    found, by_name = check(server, url)
    assert not found["ok"]
    assert {"wal_level", "role", "replication connection", "privilege to publish", "privilege to read", "ownership",
            "table s.hidden"} <= {what for what, finding in by_name.items() if finding["severity"] == "blocks"}
    assert [f["severity"] for f in found["findings"]] == sorted((f["severity"] for f in found["findings"]),
                                                                key=["blocks", "warns", "fine"].index)
    for finding in found["findings"]:
        if finding["severity"] == "blocks":
            for statement in re.findall(r"(?:ALTER|GRANT)[^;]*", finding["fix"]):
                cluster.sql(statement)
    cluster.restart(wal_level="logical")
    found, by_name = check(server, url)
    assert found["ok"], [finding for finding in found["findings"] if finding["severity"] == "blocks"]


def test_tables_without_key_are_never_published_with_updates(server, database):
    database.sql("CREATE TABLE loose (id int)")
    _, by_name = check(server, database.url)
    assert "it is not captured" in by_name["table public.loose"]["now"]
    assert by_name["table public.loose"]["fix"].startswith('ALTER TABLE "public"."loose" ADD PRIMARY KEY')
    _, by_name = check(server, database.url, keyless="full")
    assert "gets REPLICA IDENTITY FULL" in by_name["table public.loose"]["now"]
    _, by_name = check(server, database.url, keyless="insert-only")
    assert "only its inserts" in by_name["table public.loose"]["now"]
    refused = server.ask("POST", "/api/v1/sources/check", {"url": database.url, "keyless": "perhaps"})
    assert refused.status == 400 and "insert-only" in refused.json()["message"]


def test_a_table_whose_updates_are_refused_already_blocks(server, database):
    """Whoever made that publication: the application is broken, and must know."""
    database.sql("CREATE TABLE loose (id int)")
    database.sql("CREATE PUBLICATION others FOR TABLE loose")
    found, by_name = check(server, database.url)
    assert not found["ok"]
    assert "publication has its updates" in by_name["table public.loose"]["now"]
    database.sql(by_name["table public.loose"]["fix"].split(";")[0])
    found, by_name = check(server, database.url)
    assert found["ok"]


def test_a_source_is_checked_by_its_name(server, database):
    database.sql("CREATE TABLE orders (id int PRIMARY KEY)")
    slot = f"live_{database.name}"
    answer = server.ask("POST", "/api/v1/sources", {"name": "shop", "url": database.url, "options": {"slot": slot}})
    assert answer.status == 201, answer.body
    end = time.monotonic() + 30
    while server.get("/api/v1/sources/shop").json()["state"] == "creating" and time.monotonic() < end:
        time.sleep(0.05)  # no event tells it
    ran = server.command_line("source", "check", "shop")
    assert ran.returncode == 0, ran.stdout
    assert f"{slot} is there" in ran.stdout
    database.sql("CREATE TABLE later (id int PRIMARY KEY)")
    _, by_name = by_source(server)
    assert by_name["publication"]["fix"] == 'ALTER PUBLICATION "tidemark_shop" ADD TABLE "public"."later";'
    database.sql(by_name["publication"]["fix"])
    _, by_name = by_source(server)
    assert by_name["publication"]["severity"] == "fine"
    assert server.ask("POST", "/api/v1/sources/nobody/check", {}).status == 404
    assert server.command_line("source", "check", "shop", "--trail").returncode == 0


def by_source(server):
    found = server.ask("POST", "/api/v1/sources/shop/check", {}).json()
    return found, {finding["what"]: finding for finding in found["findings"]}


def test_what_holds_up_a_new_slot_is_named(server, clusters):
    cluster = clusters(max_prepared_transactions="2")
    cluster.sql("CREATE TABLE orders (id int PRIMARY KEY)")
    with cluster.session() as idle:
        idle.sql("BEGIN; INSERT INTO orders VALUES (1)")
        pid = idle.sql("SELECT pg_backend_pid()")[0][0]
        cluster.sql("BEGIN; INSERT INTO orders VALUES (2); PREPARE TRANSACTION 'it''s'")
        cluster.sql("SELECT pg_sleep(3.2)")  # younger ones are not worth a word
        _, by_name = check(server, cluster.url)
    assert by_name["open transaction"]["fix"] == f"SELECT pg_terminate_backend({pid});"
    assert "COMMIT PREPARED 'it''s'" in by_name["prepared transaction"]["fix"]
    assert by_name["max_slot_wal_keep_size"]["severity"] == "warns"


def test_a_taken_slot_and_full_slots_block(server, clusters):
    cluster = clusters(max_replication_slots="1")
    cluster.sql("SELECT pg_create_physical_replication_slot('tidemark_shop')")
    found, by_name = check(server, cluster.url, name="shop")
    assert not found["ok"]
    assert by_name["max_replication_slots"]["now"] == "1 of 1 are in use"
    assert by_name["slot"]["severity"] == "blocks"


def test_pg_hba_that_refuses_is_answered_with_its_line(server, clusters):
    cluster = clusters(hba=["local all all trust", "host all postgres 127.0.0.1/32 trust"])
    cluster.sql("CREATE ROLE app LOGIN PASSWORD 'sesame'")
    found, by_name = check(server, cluster.url_of("postgres", "app", "sesame"))
    assert not found["ok"] and found["server"] is None
    assert "pg_hba.conf" in by_name["connection"]["fix"]


@pytest.mark.parametrize("url", [
    "postgres://app:sesame@127.0.0.1:1/shop", "postgres://app:ses%61me@[::1/shop", "postgres://app:sesame/@127.0.0.1:1/shop",
    "host=127.0.0.1 port=1 password=sesame", "postgres://127.0.0.1:1/shop?password=sesame",
    "postgres://app:x?sesame@127.0.0.1:1/shop"])
def test_no_password_comes_back(server, url):
    answer = server.ask("POST", "/api/v1/sources/check", {"url": url})
    assert answer.status == 200
    assert not answer.json()["ok"]
    assert b"sesame" not in answer.body and b"ses%61me" not in answer.body
    ran = server.command_line("source", "check", url)
    assert ran.returncode == 1
    assert "sesame" not in ran.stdout + ran.stderr
    assert "sesame" not in server.errors.text()


def test_a_password_may_come_from_the_environment(server, clusters):
    cluster = clusters(hba=["local all all trust", "host all app 127.0.0.1/32 scram-sha-256",
                            "host all postgres 127.0.0.1/32 trust"])
    cluster.sql("CREATE ROLE app LOGIN REPLICATION PASSWORD 'sesame'")
    ran = server.command_line("source", "check", cluster.url_of("postgres", "app"), "--json")
    assert ran.returncode == 1 and '"connection"' in ran.stdout
    server.environment["PGPASSWORD"] = "sesame"
    ran = server.command_line("source", "check", cluster.url_of("postgres", "app"), "--json")
    assert '"replication connection"' in ran.stdout and "sesame" not in ran.stdout
