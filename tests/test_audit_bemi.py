"""Bemi's own packages, unmodified: what they write comes with its context, and their read helpers find it.

TIDEMARK_BEMI_DJANGO and TIDEMARK_BEMI_SQLALCHEMY name interpreters that have bemi-django, or bemi-sqlalchemy and starlette,
and psycopg2 from PyPI: they are no Debian packages, so without them these tests are skipped.
"""

import json
import os
import subprocess

import pytest
from support import bemi_apps
from support.postgres import Database
from test_audit_sink import Sink, until


@pytest.fixture
def sink(database, server, postgres_cluster, database_names):
    database.sql("CREATE TABLE todo (id serial PRIMARY KEY, task text, done bool); ALTER TABLE todo REPLICA IDENTITY FULL")
    target = Database(postgres_cluster, next(database_names))
    made = Sink(database, target, server)
    yield made
    made.remove()
    target.drop()


def run(sink, package, what):
    variable = f"TIDEMARK_BEMI_{package.upper()}"
    if variable not in os.environ:
        pytest.skip(f"{variable} names no interpreter with Bemi's package")
    ran = subprocess.run([os.environ[variable], bemi_apps.__file__, package, what, sink.database.url, sink.target.url], capture_output=True, text=True,
                         timeout=60)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_django(sink):
    sink.create()
    run(sink, "django", "write")
    until(sink.count, 3)
    assert run(sink, "django", "read") == {
        "created": 1, "deleted": 1, "by_user": 3, "by_others": 0, "done": 1, "not_done_before": 1, "of_record": 3, "field": 1,
        "order": ["CREATE", "UPDATE", "DELETE"], "diff": {"done": [False, True]}, "sql": True}


def test_sqlalchemy(sink):
    sink.create()
    run(sink, "sqlalchemy", "write")
    until(sink.count, 2)
    (created, first), (updated, second) = run(sink, "sqlalchemy", "read")
    assert (created, updated) == ("CREATE", "UPDATE")
    assert first["user_id"] == second["user_id"] == 8 and first["path"] == "/alchemy"
    assert first["SQL"].startswith("INSERT") and second["SQL"].startswith("UPDATE"), "each row has its own statement's"
