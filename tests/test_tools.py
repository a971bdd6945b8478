"""The tools of the house: tidy sees what it must, the installer installs nothing unasked, the fuzz runner stops."""

import importlib.machinery
import importlib.util
import os
import pathlib
import shutil
import stat
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEAD = "/* thing.c - a thing. SPDX-License-Identifier: Apache-2.0 */\n"


def run(*words, **more):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, **{"timeout": 120, **more})


@pytest.fixture
def tree(tmp_path):
    """Writes files of a source tree that is in order but for them; returns what tidy says."""
    shutil.copy(ROOT / ".clang-format", tmp_path)

    def check(files):
        folders = {path.split("/")[1] for path in files if path.startswith("src/") and path.count("/") > 1}
        for path, text in {**{f"src/{folder}/README.md": "" for folder in folders}, **files}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return run(ROOT / "tools/tidy", tmp_path)

    return check


def function(lines, above=""):
    body = "".join(f"    x += {number};\n" for number in range(lines - 4))
    return f"{HEAD}\n{above}int count(int x)\n{{\n{body}    return x;\n}}\n"


def include(name):
    return f'{HEAD}#include "{name}"\n'


def test_a_tree_in_order_has_no_findings(tree):
    said = tree({"src/log/thing.c": include("base/base.h"), "src/broker/door.c": include("log/log.h"),
                 "src/base/size.c": function(70), "src/base/codec.c": function(150, "/* long: codec */\n")})
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("path, text, finding", [
    ("src/base/a.c", function(71), "src/base/a.c:3: count has 71 lines, at most 70"),
    ("src/base/a.c", function(71, "/* long: lazy */\n"), "count has 71 lines, at most 70"),
    ("src/base/a.c", function(151, "/* long: codec */\n"), "src/base/a.c:4: count has 151 lines, at most 150"),
    ("src/base/a.c", HEAD + "int a;\n" * 800, "src/base/a.c:801: 801 lines, at most 800"),
    ("src/base/a.h", "int a;\n" * 151, "src/base/a.h:151: 151 lines, at most 150"),
    ("src/base/a.c", include("log/log.h"), "src/base/a.c:2: base may not include log"),
    ("src/log/a.c", include("coord/coord.h"), "log may not include coord"),
    ("src/log/a.c", include("log.h"), 'say "log/log.h"'),
    ("src/http/a.c", include("log/log.h"), "http may not include log"),
    ("src/cli/a.c", include("broker/broker.h"), "cli may not include broker"),
    ("src/broker/a.c", include("audit/audit.h"), "door broker includes door audit"),
    ("src/broker/a.c", include("log/segment.h"), "log/segment.h is inside log"),
    ("src/log/a.c", include("base/os_sim.h"), "base/os_sim.h is inside base"),
    ("src/other/a.c", include("base/base.h"), "folder other has no place"),
    ("src/base/a.c", HEAD + "int a = atoi(\n    x);\n", "src/base/a.c:2: atoi() is banned"),
    ("src/log/a.c", HEAD + "int a = open(x);\n", "open() goes past struct os"),
    ("src/base/a.c", HEAD + "/* TO" "DO */\n", "src/base/a.c:2: left-over mark"),
    ("docs/a.md", "see /ro" "ot/notes/x\n", "means nothing to a reader elsewhere"),
    ("docs/a.md", "one\n[x](nowhere.md)\n", "docs/a.md:2: link to nowhere.md"),
    ("src/base/a.c", "int a;\n", "no comment at the top"),
    ("src/base/a.c", "/* a.c - a. */\n", "the top comment needs one 'SPDX"),
    ("src/base/a.c", HEAD + "int  a;\n", "src/base/a.c:2: not formatted"),
    ("src/base/a.h", "int a;\n", "src/base/a.h:1: dead"),
    ("src/base/deep/a.c", HEAD, "src/base/deep/a.c:1: dead"),
    ("tests/support/a.py", "", "tests/support/a.py:1: dead"),
    ("tests/a_test.py", "", "tests/a_test.py:1: dead"),
    ("tests/test_a.py", "one\ndef\n", "tests/test_a.py:2: does not compile"),
    ("bench/a.sh", "#!/bin/sh\nif\n", "bench/a.sh:1: does not parse"),
])
def test_tidy_names_what_is_out_of_order(tree, path, text, finding):
    said = tree({path: text})
    assert said.returncode == 1
    assert finding in said.stdout, said.stdout


def test_tidy_does_not_take_words_in_comments_and_texts_for_calls(tree):
    said = tree({"src/base/a.c": HEAD + '/* strcpy(a) */\nconst char *a = "sprintf(";\n'})
    assert said.returncode == 0, said.stdout


@pytest.mark.skipif('VERSION_ID="12"' not in pathlib.Path("/etc/os-release").read_text(), reason="this is not Debian 12")
def test_the_installer_is_silent_when_nothing_is_missing():
    said = run(ROOT / "tools/install-deps", "--dry-run", "test")
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_the_installer_names_what_is_missing_and_a_dry_run_leaves_it_so(tmp_path):
    fake(tmp_path / "dpkg-query", "#!/bin/sh\nprintf 'installed:gcc '\nexit 1\n")
    fake(tmp_path / "apt-get", "#!/bin/sh\necho 'apt-get was run'\n")
    said = run(ROOT / "tools/install-deps", "--dry-run", env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert said.returncode == 0
    assert said.stdout.startswith("missing Debian packages: libc6-dev make")
    assert "libuv1-dev" in said.stdout and " gcc" not in said.stdout
    assert "apt-get was run" not in said.stdout


def test_off_debian_12_the_installer_prints_the_list_and_stops(tmp_path):
    (tmp_path / "os-release").write_text('ID=other\nVERSION_ID="12"\n')
    said = run(ROOT / "tools/install-deps", env={**os.environ, "INSTALL_DEPS_OS_RELEASE": str(tmp_path / "os-release")})
    assert said.returncode == 1
    assert "not Debian 12" in said.stderr and "  libuv1-dev\n" in said.stderr


def fake(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


FUZZ_PROGRAM = """#!/bin/sh
for word in "$@"; do case $word in -artifact_prefix=*) kept=${word#*=} ;; esac; done
%s
"""


def test_the_first_crash_ends_the_fuzzers_and_is_kept(tmp_path):
    sources = sorted((ROOT / "src").glob("*/*_fuzz.c"))
    name = f"{sources[0].parent.name}_{sources[0].name.removesuffix('_fuzz.c')}"
    fake(tmp_path / name, FUZZ_PROGRAM % "echo boom >&2; echo bad > ${kept}crash-1; exit 77")
    said = run(ROOT / "tools/fuzz", tmp_path, "1")
    assert said.returncode == 1
    assert "boom" in said.stdout and f"again: {tmp_path}/{name} {tmp_path}/{name}.crash-1" in said.stdout
    assert (tmp_path / f"{name}.crash-1").read_text() == "bad\n"
    assert said.stdout.endswith("0 passed, 1 failed, 0 skipped\n")


def test_a_program_without_a_source_is_not_run(tmp_path):
    fake(tmp_path / "base_gone", FUZZ_PROGRAM % "exit 0")
    said = run(ROOT / "tools/fuzz", tmp_path, "1")
    assert said.returncode == 1 and "no fuzz programs" in said.stderr


@pytest.fixture
def runner():
    """tests/run as a module."""
    loader = importlib.machinery.SourceFileLoader("runner", str(ROOT / "tests/run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("runner", loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("says, status, sums", [
    ("[  PASSED  ] 3 test(s).", 0, "3 passed, 0 failed, 0 skipped"),
    ("[  PASSED  ] 2 test(s).\n[  SKIPPED ] 1 test(s), listed below:\n[  PASSED  ] 4 test(s).", 0,
     "6 passed, 0 failed, 1 skipped"),
    ("[  PASSED  ] 2 test(s).\n[  FAILED  ] 1 test(s), listed below:", 1, "2 passed, 1 failed, 0 skipped"),
    ("ERROR: AddressSanitizer", 1, "0 passed, 1 failed, 0 skipped"),
    ("[  PASSED  ] 3 test(s).", 1, "3 passed, 1 failed, 0 skipped"),
    ("", 0, "0 passed, 1 failed, 0 skipped"),
])
def test_unit_programs_are_counted_by_their_closing_lines(runner, tmp_path, says, status, sums):
    source = sorted((ROOT / "src").glob("*/*_test.c"))[0]
    (tmp_path / "test").mkdir()
    fake(tmp_path / "test" / f"{source.parent.name}_{source.name.removesuffix('_test.c')}",
         f"#!/bin/sh\nprintf '%s\\n' '{says}'\nexit {status}\n")
    assert str(runner.unit_tests(str(tmp_path), False)) == sums


def test_a_build_without_test_programs_has_failed(runner, tmp_path):
    assert runner.unit_tests(str(tmp_path), False).failed == 1


def test_a_report_of_pytest_is_summed_and_a_missing_one_has_failed(runner, tmp_path):
    report = tmp_path / "report.xml"
    assert runner.read_report(str(report)).failed == 1
    report.write_text('<testsuites><testsuite tests="9" failures="1" errors="2" skipped="2"/></testsuites>')
    assert str(runner.read_report(str(report))) == "4 passed, 3 failed, 2 skipped"
