"""Sessions on the real server: what it keeps of them, who may open one, and what they lead to."""

import re
import subprocess
import time

import pytest

TABLES = "CREATE TABLE orders (id int PRIMARY KEY, status text); INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 3) n"


class People:
    def __init__(self, server, database):
        self.server, self.database = server, database

    def create(self, **options):
        made = self.server.ask("POST", "/api/v1/sources", {"name": "shop", "options": {"url": self.database.url, **options}})
        assert made.status == 201, made.body
        end = time.monotonic() + 30
        while self.server.get("/api/v1/sources/shop").json()["state"] == "creating":
            assert time.monotonic() < end
            time.sleep(0.05)  # a poll

    def command(self, *words, **more):
        ran = self.server.command_line(*words, **more)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def shell(self, text, *words):
        return self.command("source", "shell", "shop", "--reason", "a test", *words, "--", "-XqAt", input=text)

    def sessions(self, query=""):
        return self.server.get(f"/api/v1/sessions{query}").json()["sessions"]

    def wait_for(self, ask, wanted):
        end = time.monotonic() + 30
        while (found := ask()) != wanted:
            assert time.monotonic() < end, found
            time.sleep(0.05)  # a poll


@pytest.fixture
def strangers(server, database):
    """Before there is a source; afterwards it goes first, so that nobody holds on to the database."""
    database.sql(TABLES)
    made = People(server, database)
    yield made
    if server.running():
        server.ask("DELETE", "/api/v1/sources/shop")


@pytest.fixture
def people(strangers):
    strangers.create()
    return strangers


def test_a_session_is_listed_replayed_and_joined_to_the_rows_it_changed(people):
    people.shell("TABLE orders;\nUNLOCK 'order 1 hangs';\nUPDATE orders SET status = 'paid' WHERE id = 1;\nSELECT 1/0;\n",
                 "--ticket", "OPS-7")
    (session,) = people.sessions()
    assert (session["state"], session["statements"], session["errors"], session["writes"]) == ("done", 3, 1, 1)
    assert (session["reason"], session["ticket"], session["unlocked"]) == ("a test", "OPS-7", True)
    listed = people.command("session", "ls", "--source", "shop")
    assert session["id"][:10] in listed and "pending" in listed and "a test" in listed
    told = people.command("session", "show", session["ref"][:16])
    for part in ["unlock: order 1 hangs", "UPDATE orders SET status = 'paid'", "-> UPDATE 1", "ERROR 22012", "end: normal",
                 "OPS-7", "tx:shop/"]:
        assert part in told
    (changed,) = re.findall(r"tidemark (change ls .*)", told)
    people.wait_for(lambda: "paid" in people.command(*changed.split()), True)
    xid = re.search(r"tx:shop/(\d+)", told).group(1)
    assert xid in people.command(*changed.split(), "--json")


def test_a_reviewer_leaves_a_verdict(people):
    people.shell("SELECT 1;\n")
    (session,) = people.sessions("?review=pending")
    people.command("session", "review", session["id"], "flagged", "--note", "why at night?", "--reviewer", "zoe")
    assert people.sessions("?review=pending") == []
    review = people.sessions("?review=flagged")[0]["review"]
    assert (review["verdict"], review["note"], review["reviewer"]) == ("flagged", "why at night?", "zoe")
    assert people.server.command_line("session", "review", session["id"], "nonsense").returncode == 2
    assert people.server.command_line("session", "show", "ffffffffff").returncode == 3


def test_sessions_survive_the_server_and_those_cut_off_say_so(people):
    people.shell("SELECT 1;\n")
    opened = people.server.ask("POST", "/api/v1/sessions", {"source": "shop", "person": "ann", "reason": "half a session"})
    assert opened.status == 201
    people.server.kill9()
    people.server.start()
    states = {session["reason"]: (session["state"], session["how"]) for session in people.sessions()}
    assert states == {"a test": ("done", "normal"), "half a session": ("failed", "lost")}
    late = people.server.ask("POST", f"/api/v1/sessions/{opened.json()['id']}/records", {"kind": "statement", "text": "x"})
    assert late.status == 409


def test_a_shell_that_is_killed_is_seen_at_once(people, binary):
    environment = {**people.server.environment, "TIDEMARK_HTTP": people.server.http}
    process = subprocess.Popen([binary, "source", "shell", "shop", "--reason", "x", "--", "-X", "-c", "SELECT pg_sleep(60)"],
                               env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    people.wait_for(lambda: [session["statements"] for session in people.sessions()], [1])
    process.kill()
    process.wait()
    people.wait_for(lambda: [(session["state"], session["how"]) for session in people.sessions()], [("failed", "lost")])


def test_opening_a_session_wants_the_token_a_reason_and_a_ticket(strangers):
    strangers.create(**{"shell.ticket": "true"})
    server = strangers.server
    asked = {"source": "shop", "person": "ann", "reason": "why"}
    assert server.ask("POST", "/api/v1/sessions", {**asked, "ticket": "T-1"}, token=False).status == 401
    assert server.ask("POST", "/api/v1/sessions", asked).status == 400
    assert server.ask("POST", "/api/v1/sessions", {**asked, "ticket": "T-1", "reason": " "}).status == 400
    assert server.ask("POST", "/api/v1/sessions", {**asked, "source": "shoe", "ticket": "T-1"}).status == 404
    opened = server.ask("POST", "/api/v1/sessions", {**asked, "ticket": "T-1"})
    assert opened.status == 201
    assert server.get(f"/api/v1/sessions/{opened.json()['id']}/live").status == 401


def test_a_trace_of_a_session_leads_to_its_transactions(people):
    people.shell("UNLOCK 'order 1 hangs';\nUPDATE orders SET status = 'paid' WHERE id = 1;\n")
    (session,) = people.sessions()
    people.wait_for(lambda: people.server.command_line("trace", "row:shop.public.orders/1").stdout.count(session["id"]) > 0, True)
    told = people.command("trace", session["ref"])
    assert "orders/1" in told


def test_undoing_what_a_session_did(people):
    people.shell("UNLOCK 'order 1 hangs';\nUPDATE orders SET status = 'paid' WHERE id = 1;\n")
    told = people.command("session", "show", people.sessions()[0]["ref"])
    (tx,) = re.findall(r"tx:shop/\d+", told)
    people.wait_for(lambda: people.server.command_line("undo", tx).returncode, 0)
    people.command("undo", tx, "--apply", "--yes")
    assert people.database.sql("SELECT status FROM orders WHERE id = 1") == [("new",)]
