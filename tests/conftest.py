"""Fixtures of the whole-program tests: the binary, and servers that end with their test."""

import itertools
import os

import pytest
from support import messages
from support.postgres import Database, Postgres, programs
from support.powerfs import PowerFs, built
from support.server import Server

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def pytest_configure(config):
    config.addinivalue_line("markers", "soak: a long proof, run by make soak alone")


@pytest.fixture(scope="session")
def binary():
    """The program under test: the sanitized build, unless TIDEMARK_BINARY says otherwise."""
    path = os.environ.get("TIDEMARK_BINARY", os.path.join(ROOT, "build/asan/tidemark"))
    if not os.access(path, os.X_OK):
        pytest.exit(f"{path} is not there; make asan builds it, TIDEMARK_BINARY names another", returncode=1)
    return path


@pytest.fixture
def servers(binary, tmp_path):
    """Makes servers, not yet started: servers(*options, data=..., kafka=..., environment=...)."""
    made = []

    def make(*options, data=None, **more):
        made.append(Server(binary, data or tmp_path / f"data{len(made)}", *options, runtime=tmp_path / "runtime", **more))
        return made[-1]

    yield make
    for server in made:
        if server.running():
            server.stop()
        elif server.process is not None:
            pytest.fail(f"the server ended by itself with status {server.wait()}:\n{server.said[-1]}")
        server.check_reports()


@pytest.fixture
def server(servers):
    """A started server in a fresh folder."""
    return servers().start()


@pytest.fixture(scope="session")
def field_lists():
    """The protocol's own field lists, for tests that speak it by themselves."""
    found = messages.schemas()
    if found is None:
        pytest.skip(f"the protocol's field lists are not in {messages.FOLDER}")
    return found


@pytest.fixture(scope="session")
def powerfs_tools(tmp_path_factory):
    return built(tmp_path_factory.mktemp("powerfs-tools"))


@pytest.fixture
def powerfs(powerfs_tools, tmp_path):
    """A mounted file system that forgets what was not synced; a server on it must have ended with its test."""
    mounted = PowerFs(powerfs_tools, tmp_path / "power")
    yield mounted
    mounted.close()


@pytest.fixture(scope="session")
def postgres_cluster():
    """A PostgreSQL that tests share: they do not stop it, nor change its settings."""
    if programs() is None:
        pytest.skip("no PostgreSQL server is installed (Debian: postgresql)")
    with Postgres() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def database_names():
    return (f"shop{number}" for number in itertools.count(1))


@pytest.fixture
def database(postgres_cluster, database_names):
    """An empty database of that cluster; gone with its slots after the test, whoever uses them."""
    made = Database(postgres_cluster, next(database_names))
    yield made
    made.drop()


@pytest.fixture
def clusters():
    """Makes PostgreSQL servers of a test's own, started: clusters(wal_level="replica")."""
    if programs() is None:
        pytest.skip("no PostgreSQL server is installed (Debian: postgresql)")
    made = []

    def make(**settings):
        made.append(Postgres(**settings))
        return made[-1].start()

    yield make
    for cluster in made:
        cluster.close()
