"""Recorded logical replication: the decoder and the stitcher give what other decoders saw of the same transactions."""

import copy
import json
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CASES = ROOT.parent / "shared/conformance/audit/pgoutput_cases.json"


@pytest.fixture(scope="module")
def vectors(binary):
    """Beside the binary under test: BUILD/test, or BUILD/../test for a sanitized one."""
    folder = pathlib.Path(binary).resolve().parent
    found = [path for path in (folder / "test/pgoutput_vectors", folder.parent / "test/pgoutput_vectors") if path.exists()]
    if not found:
        pytest.skip("pgoutput_vectors is not built; make test-programs does it")
    return found[0]


@pytest.fixture(scope="module")
def cases():
    if not CASES.exists():
        pytest.skip(f"{CASES.name}: the recorded cases are not here")
    return json.loads(CASES.read_text())


def run(program, path):
    ran = subprocess.run([program, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                         errors="replace", check=False)
    sums = re.search(r"^(\d+) passed, (\d+) failed$", ran.stdout, re.MULTILINE)
    return ran.returncode, int(sums[1]), int(sums[2]), ran.stdout


def test_every_recorded_case_passes(vectors, cases):
    code, passed, failed, output = run(vectors, CASES)
    assert (code, passed, failed) == (0, len(cases), 0), output


def other_than(value):
    """Something of the same kind that is not it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [*value, value[0] if value else "x"]
    return {dict: {"x": "1"}, str: "0/1", int: 9999}.get(type(value))


# Symbolic, of the transport around a message, or not told by the stream.
NOT_COMPARED = {"decoded": {"lsn", "xid"}, "expected_changes": {"tx", "primary_key"}}


def spoiled(case):
    """The case with one thing of its expectations changed, or one of them gone, each in turn."""
    for part, without in NOT_COMPARED.items():
        for at, expected in enumerate(case[part] or []):
            for name in expected.keys() - without:
                other = copy.deepcopy(case)
                other[part][at][name] = other_than(expected[name])
                yield other
            if len(case[part]) > 1 or part == "expected_changes": # nothing decoded at all: nothing to compare
                other = copy.deepcopy(case)
                del other[part][at]
                yield other


def test_a_changed_expectation_is_noticed(vectors, cases, tmp_path):
    some = [one for case in cases if len(json.dumps(case)) < 20000 for one in spoiled(case)]
    path = tmp_path / "spoiled.json"
    path.write_text(json.dumps(some))
    code, passed, failed, output = run(vectors, path)
    assert (code, passed, failed) == (1, 0, len(some)), output[-2000:]
    assert len(some) > 100
