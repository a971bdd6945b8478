"""Undo against a live PostgreSQL: cases of setup, transaction, later changes and the states they must end in.

The format is that of the recorded restore cases; build/test/audit_undo_cases runs a file of them. What a case does not
say itself (the states) is recorded here from the server, before and after its transaction.
"""

import json
import os
import pathlib
import random
import re
import subprocess


def program(binary):
    """Beside the binary under test: BUILD/test, or BUILD/../test for a sanitized one; None: not built."""
    folder = pathlib.Path(binary).resolve().parent
    paths = (folder / "test/audit_undo_cases", folder.parent / "test/audit_undo_cases")
    return next((path for path in paths if path.exists()), None)


def run(path, url, file):
    """(names of failed cases, passed, failed, all it said)"""
    environment = {**os.environ, "TIDEMARK_POSTGRES": url, "TIDEMARK_RESTORE_CASES": str(file)}
    ran = subprocess.run([path], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    sums = re.search(r"^(\d+) passed, (\d+) failed$", ran.stdout, re.MULTILINE)
    assert sums, ran.stdout
    return re.findall(r"^FAIL (\S+)$", ran.stdout, re.MULTILINE), int(sums[1]), int(sums[2]), ran.stdout


def case(name, setup, transaction, later=(), tables=(), conflict=None, expect="restored", stays=False):
    """stays: the tables end as they were when undo began (what it puts back is not in them to be compared)."""
    return {"name": name, "setup_sql": setup, "transaction_sql": [transaction] if isinstance(transaction, str) else transaction,
            "later_sql": list(later) or None, "expect": "conflict" if conflict else expect, "conflict": conflict,
            "tables": tables, "compare": not stays}


def state(session, tables):
    return {table: json.loads(session.sql(f"""SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM "{table}" t""")[0][0])
            for table in tables}


def recorded(session, cases):
    """The cases with their states, from a server; its public schema is emptied for each."""
    for one in cases:
        session.sql("SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        for statement in [one["setup_sql"]] if isinstance(one["setup_sql"], str) else one["setup_sql"]:
            session.sql(statement)
        before = state(session, one["tables"])
        for statement in one["transaction_sql"]:
            session.sql(statement)
        for statement in one["later_sql"] or []:
            session.sql(statement)
        one["state_when_undo_starts"] = state(session, one["tables"] if one["compare"] else [])
        one["state_end"] = before if one["compare"] else {}
    return cases


# Random transactions over two tables with unique values and foreign keys in circles.

def schema(r):
    on_delete = ["CASCADE", "SET NULL", "NO ACTION"]
    return f"""
        CREATE TABLE p (id int PRIMARY KEY, u int UNIQUE{r.choice(["", " DEFERRABLE"])}, c int);
        CREATE TABLE c (id int PRIMARY KEY,
            p int REFERENCES p ON DELETE {r.choice([*on_delete, "RESTRICT"])} ON UPDATE {r.choice(["CASCADE", "NO ACTION"])}
                {r.choice(["", "DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED"])},
            sib int REFERENCES c ON DELETE {r.choice(on_delete)}, u text {r.choice(["", "NOT NULL"])} UNIQUE);
        ALTER TABLE p ADD FOREIGN KEY (c) REFERENCES c ON DELETE SET NULL {r.choice(["", "DEFERRABLE"])};
        ALTER TABLE p REPLICA IDENTITY FULL; ALTER TABLE c REPLICA IDENTITY FULL"""


def statement(r):
    key, other = r.randint(1, 6), r.randint(1, 6)
    number, text = r.randint(1, 8), r.choice("abcdefgh")

    def perhaps(value):
        return "NULL" if r.random() < 0.3 else value
    return r.choice([
        f"INSERT INTO p VALUES ({key}, {perhaps(number)}, {perhaps(other)})",
        f"INSERT INTO c VALUES ({key}, {perhaps(other)}, {perhaps(r.randint(1, 6))}, '{text}')",
        f"DELETE FROM p WHERE id = {key}", f"DELETE FROM c WHERE id = {key}",
        f"UPDATE p SET u = {perhaps(number)} WHERE id = {key}", f"UPDATE p SET id = {other} WHERE id = {key}",
        f"UPDATE p SET c = {perhaps(other)} WHERE id = {key}", f"UPDATE c SET u = '{text}' WHERE id = {key}",
        f"UPDATE c SET id = {other} WHERE id = {key}",
        f"UPDATE c SET p = {perhaps(other)}, sib = {perhaps(key)} WHERE id = {key}", "UPDATE p SET u = 9 - u",
        f"UPDATE c SET u = 'way' WHERE id = {key}; UPDATE c SET u = chr(ascii(u) + 1) WHERE u <> 'way'; "
        f"UPDATE c SET u = 'a' WHERE u = 'way'",
    ])


def tolerant(sql):
    return f"DO $q$ BEGIN {sql}; EXCEPTION WHEN OTHERS THEN NULL; END $q$"


def random_case(session, seed):
    """A case with its states; None: its transaction did not commit."""
    r = random.Random(seed)
    setup = [schema(r)]
    session.sql("SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    session.sql(setup[0])
    for sql in [statement(r) for _ in range(30)]:
        try:
            session.sql(sql)
            setup.append(sql)
        except Exception:  # the table's own rules: another statement will do
            pass
    deferred = ["SET CONSTRAINTS ALL DEFERRED"] if r.random() < 0.5 else []
    transaction = ["BEGIN", *deferred, *(tolerant(statement(r)) for _ in range(r.randint(3, 25))), "COMMIT"]
    before = state(session, ["p", "c"])
    try:
        for sql in transaction:
            session.sql(sql)
    except Exception:
        session.sql("ROLLBACK")
        return None
    return {"name": f"random_{seed}", "setup_sql": setup, "transaction_sql": transaction, "later_sql": None,
            "expect": "restored", "conflict": None, "state_end": before, "state_when_undo_starts": state(session, ["p", "c"])}
