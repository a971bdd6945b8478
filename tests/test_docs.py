"""Every command in README.md and docs/ is run: ```sh blocks, page by page, top to bottom, in one folder a page.

A block that is one `tidemark server` command starts that server, on free ports, for the rest of the page; another
page gets a server on its first block. The default addresses in the text are those of that server.
"""

import os
import pathlib
import re
import shlex
import subprocess

import pytest
from support.pages import blocks_of, is_printed, server_options

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES_WITH_COMMANDS = [page for page in PAGES if blocks_of(page.read_text())]
DEFAULT_KAFKA, DEFAULT_HTTP = "127.0.0.1:9092", "127.0.0.1:8080"
BLOCK_SECONDS = 120


def start_server(servers, folder, options):
    """The page's --data is taken as it stands, below the page's folder."""
    rest, data = list(options), folder / "data"
    if "--data" in rest:
        at = rest.index("--data")
        data = folder / rest[at + 1]
        del rest[at : at + 2]
    return servers(*rest, data=data).start()


def run_block(block, server, folder, binary):
    (folder / "bin").mkdir(exist_ok=True)
    if not (folder / "bin/tidemark").exists():
        (folder / "bin/tidemark").symlink_to(os.path.abspath(binary))
    commands = block.commands.replace(DEFAULT_KAFKA, server.kafka).replace(DEFAULT_HTTP, server.http)
    environment = {**server.environment, "PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": str(folder),
                   "TIDEMARK_HTTP": server.http, "TIDEMARK_KAFKA": server.kafka}
    return subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=folder, env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BLOCK_SECONDS)


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=lambda page: page.name)
def test_the_commands_of_a_page_do_what_it_says(page, servers, binary, tmp_path):
    server = None
    for block in blocks_of(page.read_text()):
        options = server_options(block)
        if options is not None:
            if server is not None:
                server.stop()
            server = start_server(servers, tmp_path, options)
            continue
        server = server or start_server(servers, tmp_path, [])
        ran = run_block(block, server, tmp_path, binary)
        assert ran.returncode == 0, f"{page.name}:{block.line}\n{block.commands}\n{ran.stdout}{ran.stderr}"
        if block.prints is not None:
            assert is_printed(block.prints, ran.stdout), f"{page.name}:{block.line} printed\n{ran.stdout}"


def test_the_first_page_has_commands():
    assert PAGES_WITH_COMMANDS[0].name == "README.md"


def test_shown_output_is_compared_with_what_was_printed():
    assert is_printed("a  b\n...\nc\n", "a b\nx\ny\nc")
    assert not is_printed("a\n", "a\nb")
    assert not is_printed("a.c", "abc")


def test_only_blocks_right_below_commands_are_their_output():
    page = "```sh\none\n```\n```text\n1\n```\nwords\n```text\nnot its output\n```\n```sh\ntwo\n```\nwords\n```text\nno\n```\n"
    assert [(block.commands, block.prints) for block in blocks_of(page)] == [("one\n", "1\n"), ("two\n", None)]


def test_every_package_that_is_installed_is_explained():
    listed = subprocess.run([ROOT / "tools/install-deps", "--dry-run", "test"], capture_output=True, text=True,
                            env={**os.environ, "INSTALL_DEPS_OS_RELEASE": "/dev/null"}, timeout=20)
    packages = [line.strip() for line in listed.stderr.splitlines() if line.startswith("  ")]
    page = (ROOT / "docs/dependencies.md").read_text()
    assert packages
    assert not [name for name in packages if name not in shlex.split(page.replace("'", "").replace(",", " ").replace("|", " "))]


@pytest.mark.parametrize("name, words", [("cli.md", []), ("config.md", ["config"])])
def test_the_reference_on_a_page_is_the_programs_own(binary, name, words):
    page = (ROOT / "docs" / name).read_text()
    printed = subprocess.run([binary, "help", "--reference", *words], capture_output=True, text=True, timeout=20).stdout
    fix = f"tidemark help --reference {' '.join(words)}"
    assert page.partition("prints it.\n\n")[2].strip() == printed.strip(), f"docs/{name} is old; `{fix}` prints it anew"


def test_promises_name_tests_that_are_there():
    named = re.findall(r"`((?:tests|src)/[\w/]+\.\w+)`", (ROOT / "docs/promises.md").read_text())
    assert named
    assert not [path for path in named if not (ROOT / path).exists()]
