"""The stories that `make run` and `make run-log` tell, told in short, with the sanitized program."""

import os
import pathlib
import subprocess

import pytest
from support.postgres import programs

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORY_SECONDS = 180


def tell(name, binary, **environment):
    ran = subprocess.run([ROOT / "tools" / name, binary], capture_output=True, text=True, timeout=STORY_SECONDS,
                         env={**os.environ, **environment})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.skipif(programs() is None, reason="no PostgreSQL server is installed")
def test_a_mistake_in_a_database_is_found_and_taken_back(binary):
    story = tell("demo", binary, ORDERS="60")
    assert "Proven: all 60 orders are as before the mistake" in story
    for words in ("changed by sam@shop", "cancel the test orders", "status paid → cancelled", "undo_of=tx:shop/"):
        assert words in story, words


def test_nothing_is_lost_by_a_kill_in_the_middle(binary):
    assert "Proven: all 50,000 records are there" in tell("demo-log", binary, RECORDS="50000")
