"""docs/compatibility.md: its counts are those of the tests it lists, and what does not pass has a reason."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/compatibility.md").read_text()
SUITES = [part for part in PAGE.split("\n## ") if "test suite" in part.splitlines()[0]]


def parts_of(suite):
    """The text below each ### heading; the counts are above the first."""
    head, *rest = suite.split("\n### ")
    return head, {part.splitlines()[0]: part.partition("\n")[2] for part in rest}


def rows_of(text):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows[2:] if len(row) == 2]


def listed(text):
    return re.findall(r"\b\d{4}_\w+", text)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.splitlines()[0].split()[-1])
def test_the_counts_of_a_suite_are_those_of_its_lists(suite):
    head, parts = parts_of(suite)
    counts = {name: int(number) for name, number in rows_of(head)}
    changed = len(rows_of(parts["Pass with a change to the test"]))
    assert len(set(listed(parts["Pass"]))) == len(listed(parts["Pass"])) == counts["pass"] - changed
    assert changed == counts["of these with a change to the test"]
    assert len(rows_of(parts.get("Fail", ""))) == counts["fail"]
    assert len(rows_of(parts["Cannot apply here"])) == counts["cannot apply here"]
    assert counts["all"] == sum(counts.values()) - counts["all"] - changed


def test_whatever_does_not_pass_as_it_is_has_a_reason():
    assert len(SUITES) == 2
    for suite in SUITES:
        for name, text in parts_of(suite)[1].items():
            if name != "Pass":
                assert all(why and listed(test) for test, why in rows_of(text)), name


def test_the_tests_that_are_named_are_there():
    named = re.findall(r"`((?:tests|src)/[\w/.]+\.\w+)`", PAGE)
    assert named and not [path for path in named if not (ROOT / path).exists()]
