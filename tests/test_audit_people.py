"""People on the database: psql through the recorded shell, on a real PostgreSQL."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
from support.shell import Stand

QUIET = ("-P", "pager=off")
TABLES = "CREATE TABLE orders (id int PRIMARY KEY, status text, CHECK (status <> 'bad'));" \
         "INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 3) n;"


class Shop:
    """A database, and a slot that says what was written, by a plugin that is not ours."""

    def __init__(self, database):
        self.database, self.slot = database, f"watch_{database.name}"
        database.sql(TABLES)
        database.sql(f"SELECT pg_create_logical_replication_slot('{self.slot}', 'test_decoding')")

    def transactions(self):
        """Of each that changed rows or said something: ([changes], [contexts])."""
        found = []
        self.database.sql("SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'flush', '')")  # takes all before it along
        for (line,) in self.database.sql("SELECT data FROM pg_logical_slot_get_changes"
                                         f"('{self.slot}', NULL, NULL, 'include-xids', 'true')"):
            if line.startswith("BEGIN"):
                found.append((int(line.split()[1]), [], []))
            elif line.startswith("table"):
                found[-1][1].append(line)
            elif line.startswith("message: transactional: 1 prefix: _bemi"):
                found[-1][2].append(json.loads(line.split("content:", 1)[1]))
        return [(xid, changes, contexts) for xid, changes, contexts in found if changes or contexts]


@pytest.fixture
def shop(database):
    return Shop(database)


@pytest.fixture
def stand(binary, shop):
    made = Stand(binary, shop.database.url)
    yield made
    made.close()


def status_of(shop, key=1):
    return shop.database.sql(f"SELECT status FROM orders WHERE id = {key}")[0][0]


def test_reading_works_and_each_statement_is_recorded_before_it_runs(stand, shop):
    ran = stand.shell("SELECT count(*) FROM orders;\nSELECT 1/0;\nTABLE orders;\n")
    assert ran.stdout == "3\n1|new\n2|new\n3|new\n"
    assert "division by zero" in ran.stderr
    assert stand.kinds() == ["statement", "result"] * 3 + ["end"]
    (first, counted), (_, failed), (_, rows) = stand.statements()
    assert first == "SELECT count(*) FROM orders" and counted["rows"] == 1 and counted["took_us"] > 0
    assert failed["error"]["code"] == "22012"
    assert rows["rows"] == 3 and "xid" not in rows
    assert stand.records[-1]["how"] == "normal"
    assert stand.opened[0]["reason"] == "a test" and stand.opened[0]["source"] == "shop"
    assert shop.transactions() == []


def test_nothing_is_written_before_it_is_unlocked(stand, shop):
    tries = ["UPDATE orders SET status = 'x'", "BEGIN; UPDATE orders SET status = 'x'; COMMIT",
             "BEGIN READ WRITE", "SET transaction_read_only = off", "SET default_transaction_read_only TO off",
             "BEGIN; SET TRANSACTION READ WRITE; UPDATE orders SET status = 'x'; COMMIT",
             "DO $$ BEGIN PERFORM set_config('default_transaction_read_only', 'off', false); COMMIT; "
             "UPDATE orders SET status = 'x'; END $$",
             "SELECT set_config('default_transaction_read_only', 'off', false)", "UPDATE orders SET status = 'x'",
             r"SELECT 1 \; UPDATE orders SET status = 'x'", r"SELECT 1 \; COMMIT \; UPDATE orders SET status = 'x'",
             r"BEGIN \; SET TRANSACTION READ WRITE \; UPDATE orders SET status = 'x' \; COMMIT",
             "VACUUM orders", "COPY orders FROM STDIN;\n9\tx\n\\.\n", "CREATE TABLE other ()", "TRUNCATE orders",
             "COMMIT PREPARED 'x'"]
    ran = stand.shell(";\n".join(tries) + ";\n")
    assert status_of(shop) == "new"
    assert shop.transactions() == []
    assert ran.stderr.count("UNLOCK 'why these writes are needed';") >= len(tries) - 4
    assert "read-only" in ran.stderr
    texts = [text for text, _ in stand.statements()]
    assert "BEGIN READ WRITE" in texts, "what was refused is recorded as well"


def test_unlocked_writes_carry_who_why_and_the_statement(stand, shop):
    ran = stand.shell("UNLOCK 'order 1 hangs';\nUPDATE orders SET status = 'paid' WHERE id = 1;\nSELECT 7;\n")
    assert ran.returncode == 0 and ran.stdout == "7\n", ran.stderr
    ((xid, changes, contexts),) = shop.transactions()
    assert len(changes) == 1 and len(contexts) == 1
    who = stand.opened[0]["person"]
    assert contexts[0] == {"user": who, "session": "5e55", "reason": "order 1 hangs", "session_reason": "a test",
                           "statement": 1, "source": "tidemark shell"}
    (text, result), (_, read) = stand.statements()
    assert text.startswith("UPDATE") and result["xid"] == xid and result["rows"] == 1 and result["context"] is True
    assert "xid" not in read
    assert stand.kinds()[0] == "unlock" and stand.records[0]["reason"] == "order 1 hangs"


def test_unlocking_wants_a_reason_and_locking_works_again(stand, shop):
    ran = stand.shell("UNLOCK;\nUNLOCK '';\nUNLOCK 'a';\nUPDATE orders SET status = 'a' WHERE id = 1;\nLOCK SESSION;\n"
                      "UPDATE orders SET status = 'b' WHERE id = 1;\nBEGIN;\nUPDATE orders SET status = 'c';\nROLLBACK;\n")
    assert ran.stderr.count("UNLOCK wants a reason") == 2
    assert ran.stderr.count("read-only transaction") == 2
    assert status_of(shop) == "a"
    assert [kind for kind in stand.kinds() if "lock" in kind] == ["unlock", "lock"]


def test_resetting_settings_does_not_lock_again_nor_unlock(stand, shop):
    ran = stand.shell("SELECT set_config('default_transaction_read_only', 'off', false);\nBEGIN;\nUPDATE orders SET status = 'x';\n"
                      "ROLLBACK;\nUNLOCK 'why';\nDISCARD ALL;\nBEGIN;\nUPDATE orders SET status = 'a' WHERE id = 1;\nCOMMIT;\n"
                      "RESET ALL;\nBEGIN;\nUPDATE orders SET status = 'a' WHERE id = 2;\nCOMMIT AND CHAIN;\n"
                      "UPDATE orders SET status = 'a' WHERE id = 3;\nCOMMIT;\n")
    assert ran.stderr.count("read-only transaction") == 1, ran.stderr
    assert [len(contexts) for _, changes, contexts in shop.transactions() if changes] == [1, 1, 1]


def test_transactions_of_the_user_carry_context_for_each_write(stand, shop):
    stand.shell("UNLOCK 'why';\nBEGIN;\nUPDATE orders SET status = 'a' WHERE id = 1;\nSAVEPOINT s;\n"
                "UPDATE orders SET status = 'b' WHERE id = 2;\nROLLBACK TO s;\nUPDATE orders SET status = 'c' WHERE id = 3;\n"
                "COMMIT;\nBEGIN;\nDELETE FROM orders;\nROLLBACK;\n")
    ((xid, changes, contexts),) = shop.transactions()
    assert len(changes) == 2
    assert [context["statement"] for context in contexts] == [2, 6]
    results = dict(stand.statements())
    assert results["COMMIT"]["xid"] == xid
    assert results["DELETE FROM orders"]["rows"] == 3
    assert status_of(shop, 2) == "new"


def test_what_writes_without_looking_so_gets_its_context_afterwards(stand, shop):
    shop.database.sql("CREATE FUNCTION touch() RETURNS int LANGUAGE sql AS "
                      "$$ UPDATE orders SET status = 'touched' WHERE id = 1 RETURNING id $$")
    shop.transactions()
    ran = stand.shell("UNLOCK 'why';\nSELECT touch();\nBEGIN;\nSELECT touch();\nCOMMIT;\n")
    assert ran.stdout == "1\n1\n", ran.stderr
    found = shop.transactions()
    assert [(len(changes), len(contexts)) for _, changes, contexts in found] == [(1, 1), (1, 1)]
    assert all(contexts[0]["reason"] == "why" for _, _, contexts in found)


def test_statements_sent_together_are_one_transaction(stand, shop):
    ran = stand.shell("UNLOCK 'why';\nUPDATE orders SET status = 'a' WHERE id = 1 \\; SELECT 5 \\; "
                      "UPDATE orders SET status = 'bad' WHERE id = 2;\nSELECT 6;\n")
    assert status_of(shop) == "new" and "check constraint" in ran.stderr and ran.stdout.endswith("6\n")
    stand.shell("UNLOCK 'why';\nUPDATE orders SET status = 'a' WHERE id = 1 \\; UPDATE orders SET status = 'b' WHERE id = 2;\n")
    ((_, changes, contexts),) = shop.transactions()
    assert len(changes) == 2 and len(contexts) == 2


def test_copy_both_ways(stand, shop):
    ran = stand.shell("UNLOCK 'why';\nCOPY orders FROM STDIN;\n10\tx\n11\ty\n\\.\nCOPY (SELECT id FROM orders WHERE id > 9 "
                      "ORDER BY 1) TO STDOUT;\nCOPY orders FROM STDIN;\nnonsense\n\\.\nSELECT 'still here';\n")
    assert ran.stdout == "10\n11\nstill here\n", ran.stderr
    ((_, changes, contexts),) = [found for found in shop.transactions() if found[1]]
    assert len(changes) == 2 and contexts[0]["reason"] == "why"
    assert [result["rows"] for text, result in stand.statements() if text.startswith("COPY")] == [2, 2, None]


def test_a_large_copy_passes_whole(stand, shop, tmp_path):
    rows = tmp_path / "rows"
    rows.write_text("".join(f"{number}\t{'x' * 100}\n" for number in range(100, 60100)))
    ran = stand.shell(f"UNLOCK 'why';\n\\copy orders FROM '{rows}'\n\\copy orders TO '{tmp_path}/out'\n")
    assert ran.returncode == 0, ran.stderr
    assert len((tmp_path / "out").read_text().splitlines()) == 60003
    assert [result["rows"] for _, result in stand.statements()] == [60000, 60003]


def test_what_cannot_run_in_a_transaction_runs_by_itself(stand, shop):
    shop.database.sql("CREATE PROCEDURE twice() LANGUAGE plpgsql AS $$ BEGIN UPDATE orders SET status = 'p' WHERE id = 1; "
                      "COMMIT; UPDATE orders SET status = 'p' WHERE id = 2; COMMIT; END $$")
    ran = stand.shell("UNLOCK 'why';\nVACUUM orders;\nCREATE INDEX CONCURRENTLY o ON orders (status);\nCALL twice();\nSELECT 3;\n")
    assert ran.stdout == "3\n" and ran.returncode == 0, ran.stderr
    assert (status_of(shop, 1), status_of(shop, 2)) == ("p", "p")
    assert all("error" not in result for _, result in stand.statements())


def test_a_commit_that_fails_is_the_statements_failure(stand, shop):
    shop.database.sql("CREATE TABLE parts (id int REFERENCES orders DEFERRABLE INITIALLY DEFERRED)")
    ran = stand.shell("UNLOCK 'why';\nINSERT INTO parts VALUES (99);\nSELECT count(*) FROM parts;\n")
    assert ran.stdout == "0\n" and "violates foreign key" in ran.stderr
    assert stand.statements()[0][1]["error"]["code"] == "23503"


def test_psql_describes_a_query_without_running_it(stand):
    ran = stand.shell("SELECT 1 AS a, 'x'::text AS b \\gdesc\n")
    assert ran.stdout == "a|integer\nb|text\n", ran.stderr
    assert not any("AS a" in text for text, _ in stand.statements())


def test_extended_queries_are_recorded_and_carry_context(stand, shop):
    ran = stand.extended("run('SELECT $1::int + 1', 41)\n"
                         "run('UPDATE orders SET status = $1', 'x')\n"
                         "simple(\"UNLOCK 'why'\")\n"
                         "run('UPDATE orders SET status = $1 WHERE id = $2', 'a', 1)\n"
                         "prepare('', 'UPDATE orders SET status = $1 WHERE id = $2')\n"
                         "execute('', 'b', 2)\n"
                         "execute('', 'bad', 2)\n"
                         "prepare('named', 'UPDATE orders SET status = $1 WHERE id = $2 RETURNING id')\n"
                         "execute('named', 'c', 3)\n"
                         "run('BEGIN')\nrun('DELETE FROM orders WHERE id = 3')\nrun('ROLLBACK')\n"
                         "run('SELECT nonsense')\nrun('SELECT 7')\n")
    assert ran.stdout.splitlines() == [
        "tuples_ok 1 [('42',)]", "fatal_error 25006 []", "command_ok  []", "command_ok 1 []", "command_ok  []",
        "command_ok 1 []", "fatal_error 23514 []", "command_ok  []", "tuples_ok 1 [('3',)]", "command_ok  []",
        "command_ok 1 []", "command_ok  []", "fatal_error 42703 []", "tuples_ok 1 [('7',)]"], ran.stderr
    found = shop.transactions()
    assert [(len(changes), len(contexts)) for _, changes, contexts in found] == [(1, 1)] * 3
    assert [text for text, result in stand.statements() if result.get("xid")][:1] == [
        "UPDATE orders SET status = $1 WHERE id = $2"]
    assert sum("xid" in result for _, result in stand.statements()) >= 4


def test_a_locked_session_takes_no_write_by_extended_queries(stand, shop):
    ran = stand.extended("run(\"SELECT set_config('default_transaction_read_only', 'off', false)\")\n"
                         "run('UPDATE orders SET status = $1', 'x')\n"
                         "run('BEGIN')\nrun('UPDATE orders SET status = $1', 'x')\nrun('ROLLBACK')\n"
                         "run('BEGIN READ WRITE')\nrun('SET transaction_read_only = off')\n"
                         "copy_in('COPY orders FROM STDIN', '9\\tx\\n')\n")
    assert ran.stdout.count("fatal_error 25006") == 5, ran.stdout + ran.stderr
    assert shop.transactions() == [] and status_of(shop) == "new"


def test_copies_by_extended_queries(stand, shop):
    ran = stand.extended("simple(\"UNLOCK 'why'\")\ncopy_in('COPY orders FROM STDIN', '9\\tx\\n10\\ty\\n')\nrun('SELECT 1')\n")
    assert ran.stdout.splitlines()[1:] == ["copy_in  []", "command_ok 2 []", "tuples_ok 1 [('1',)]"], ran.stderr
    ((_, changes, contexts),) = shop.transactions()
    assert len(changes) == 2 and len(contexts) == 1


def test_psqls_own_ways_work(stand, shop):
    """Descriptions, cursors in pieces, no autocommit, savepoints around each statement, notifications."""
    ran = stand.shell("\\d orders\n\\set FETCH_COUNT 2\nTABLE orders;\n\\unset FETCH_COUNT\n"
                      "UNLOCK 'why';\n\\set AUTOCOMMIT off\n\\set ON_ERROR_ROLLBACK on\n"
                      "UPDATE orders SET status = 'kept' WHERE id = 1;\nSELECT 1/0;\nUPDATE orders SET status = 'bad' WHERE id = 2;\n"
                      "COMMIT;\n\\set AUTOCOMMIT on\nLISTEN news;\nNOTIFY news, 'hello';\nSELECT 'end';\n")
    assert "status|text" in ran.stdout and "3|new" in ran.stdout
    assert 'Asynchronous notification "news" with payload "hello"' in ran.stdout and ran.stdout.rstrip().splitlines()[-1] != "", ran.stderr
    assert status_of(shop, 1) == "kept" and status_of(shop, 2) == "new"
    ((_, changes, contexts),) = shop.transactions()
    assert len(changes) == 1 and contexts[0]["reason"] == "why"


def test_a_large_result_passes_at_speed(stand):
    start = time.monotonic()
    ran = stand.shell("SELECT n, repeat('x', 100) FROM generate_series(1, 200000) n;\n")
    assert len(ran.stdout.splitlines()) == 200000
    assert stand.statements()[0][1]["rows"] == 200000
    assert time.monotonic() - start < 30


@pytest.fixture
def certificate():
    """Files of a certificate and its key, as a PostgreSQL wants to find them."""
    with tempfile.TemporaryDirectory(prefix="tidemark-tls-") as folder:
        key, crt = os.path.join(folder, "key"), os.path.join(folder, "crt")
        subprocess.run(["openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=localhost",
                        "-out", crt, "-keyout", key], check=True, capture_output=True)
        os.chmod(key, 0o600)
        if os.geteuid() == 0:
            for path in (folder, crt, key):
                shutil.chown(path, "postgres", "postgres")
        yield crt, key


@pytest.fixture
def secure(clusters, certificate):
    """A PostgreSQL that wants TLS and a password."""
    cluster = clusters(ssl="on", ssl_cert_file=certificate[0], ssl_key_file=certificate[1])
    cluster.sql("CREATE ROLE clerk LOGIN PASSWORD 'p4ssw0rd'; CREATE TABLE orders (id int PRIMARY KEY, status text)")
    cluster.sql("GRANT ALL ON orders TO clerk; INSERT INTO orders VALUES (1, 'new')")
    cluster.set_hba("local all all trust", "hostssl all clerk 127.0.0.1/32 scram-sha-256", "host all postgres 127.0.0.1/32 trust")
    return cluster


def test_databases_that_want_tls_and_a_password(binary, secure, tmp_path):
    stand = Stand(binary, secure.url_of("postgres", user="clerk") + "?sslmode=require", "p4ssw0rd")
    rows = tmp_path / "rows"
    rows.write_text("".join(f"{number}\t{'x' * 100}\n" for number in range(100, 30100)))
    try:
        ran = stand.shell("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid();\nUNLOCK 'why';\n"
                          "UPDATE orders SET status = 'paid';\n"
                          f"\\copy orders FROM '{rows}'\nSELECT repeat('x', 3000000);\nSELECT count(*) FROM orders;\n")
        lines = ran.stdout.splitlines()
        assert lines[0] == "t" and len(lines[1]) == 3000000 and lines[2] == "30001", ran.stderr
        stand.password = "wrong"
        ran = stand.shell("SELECT 1;\n")
        assert ran.returncode != 0 and "password authentication failed" in ran.stderr and "wrong" not in ran.stderr
    finally:
        stand.close()


def test_passwords_are_not_recorded(stand, shop):
    stand.shell("UNLOCK 'why';\nCREATE ROLE keeper PASSWORD 'very secret';\nDROP ROLE IF EXISTS keeper;\n")
    assert stand.statements()[0][0] == "CREATE ROLE keeper PASSWORD '***'"
    assert "very secret" not in json.dumps(stand.records)


def test_credentials_stay_out_of_sight(binary, shop, postgres_cluster):
    postgres_cluster.sql("DROP ROLE IF EXISTS clerk")
    postgres_cluster.sql("CREATE ROLE clerk LOGIN PASSWORD 'p4ssw0rd'")
    stand = Stand(binary, postgres_cluster.url_of(shop.database.name, user="clerk"), "p4ssw0rd")
    try:
        ran = stand.shell("\\! env; tr '\\0' ' ' </proc/$PPID/cmdline; cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' '\n"
                          "SELECT current_user;\n")
        assert "clerk" in ran.stdout and "p4ssw0rd" not in ran.stdout + ran.stderr
        assert "PGPASSWORD" not in ran.stdout and "TIDEMARK_TOKEN" not in ran.stdout
    finally:
        stand.close()


def test_a_session_wants_a_reason_and_a_ticket_where_that_is_the_rule(stand):
    bare = [word for word in stand.command() if word not in ("--reason", "a test")]
    ran = subprocess.run(bare, input="SELECT 1;\n", capture_output=True, text=True, timeout=60, env=stand.environment())
    assert ran.returncode == 2 and "wants a reason" in ran.stderr
    stand.wants_ticket = True
    ran = stand.shell("SELECT 1;\n")
    assert ran.returncode == 2 and "--ticket" in ran.stderr
    assert not stand.opened


def test_a_psql_that_does_not_start_ends_the_session(stand):
    words = stand.command()
    words[words.index("--"):words.index("--")] = ["--psql", "/nowhere/psql", "--person", "zoe"]
    ran = subprocess.run(words, input="", capture_output=True, text=True, timeout=60, env=stand.environment())
    assert ran.returncode == 3 and "/nowhere/psql" in ran.stderr and "postgresql-client" in ran.stderr
    assert stand.records[-1]["how"] == "failed" and stand.opened[0]["person"] == "zoe" != stand.opened[0]["login"]


def test_nothing_runs_unrecorded(stand, shop):
    stand.breaks_at = 2
    ran = stand.shell("UNLOCK 'why';\nUPDATE orders SET status = 'a' WHERE id = 1;\nUPDATE orders SET status = 'b' WHERE id = 1;\n"
                      "UPDATE orders SET status = 'c' WHERE id = 1;\n")
    assert ran.returncode != 0
    assert status_of(shop) == "a", "the second one was never recorded, so it never ran"
    assert [text for text, _ in stand.statements()] == ["UPDATE orders SET status = 'a' WHERE id = 1"]


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, command, environment):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, {**environment, "TERM": "dumb"})
        self.seen, self.at = "", 0

    def expect(self, pattern, seconds=20):
        end = time.monotonic() + seconds
        while not (found := re.compile(pattern).search(self.seen, self.at)):
            assert time.monotonic() < end, f"no {pattern!r} in:\n{self.seen}"
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"it ended without {pattern!r}:\n{self.seen}") from None
        self.at = found.end()

    def say(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """Its status, once it has ended."""
        while True:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                break
            self.seen += data.decode(errors="replace")
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return status


def test_on_a_terminal_it_asks_why_and_interrupts_cancel(stand, shop):
    stand.wants_ticket = True
    words = [word for word in stand.command(*QUIET) if word not in ("--reason", "a test")]
    terminal = Terminal(words, stand.environment())
    terminal.expect("Why this session: ")
    terminal.say("looking around\n")
    terminal.expect("Ticket: ")
    terminal.say("OPS-7\n")
    terminal.expect(r"recorded[\s\S]*=[#>] ")
    terminal.say("SELECT 40 + 2;\n")
    terminal.expect(r"\b42\b[\s\S]*=[#>] ")
    terminal.say("SELECT pg_sleep(60);\n")
    shop.database.sql("DO $$ BEGIN FOR i IN 1..1000 LOOP EXIT WHEN EXISTS (SELECT FROM pg_stat_activity "
                      "WHERE query = 'SELECT pg_sleep(60)'); PERFORM pg_sleep(0.01); PERFORM pg_stat_clear_snapshot(); "
                      "END LOOP; END $$")
    terminal.say("\x03")
    terminal.expect(r"canceling statement[\s\S]*=[#>] ")
    terminal.say("\\q\n")
    assert terminal.end() == 0, terminal.seen
    assert (stand.opened[0]["reason"], stand.opened[0]["ticket"]) == ("looking around", "OPS-7")
    assert stand.opened[0]["tty"].startswith("/dev/")
    assert [result["error"]["code"] for text, result in stand.statements() if "sleep" in text] == ["57014"]


def test_when_the_server_goes_the_shell_stops(stand, shop):
    terminal = Terminal(stand.command(*QUIET), stand.environment())
    terminal.expect(r"=[#>] ")
    terminal.say("SELECT 1;\n")
    terminal.expect(r"\(1 row\)")
    stand.break_off()
    status = terminal.end()
    assert os.waitstatus_to_exitcode(status) != 0
    assert "nothing more runs" in terminal.seen


def test_a_psql_that_is_killed_ends_its_statement_and_is_recorded(stand, shop):
    process = subprocess.Popen(stand.command("-c", "SELECT pg_sleep(60)"), env=stand.environment(), text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    shop.database.sql("DO $$ BEGIN FOR i IN 1..1000 LOOP EXIT WHEN EXISTS (SELECT FROM pg_stat_activity "
                      "WHERE query = 'SELECT pg_sleep(60)'); PERFORM pg_sleep(0.01); PERFORM pg_stat_clear_snapshot(); "
                      "END LOOP; END $$")
    with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
        (child,) = file.read().split()
    os.kill(int(child), signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert stand.statements()[0][1]["error"]["code"] == "57014"
    assert stand.records[-1]["how"] == "killed"
