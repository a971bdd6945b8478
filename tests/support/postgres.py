"""PostgreSQL servers under test: private clusters in temporary folders, started, killed and restarted at will.

    with Postgres(max_slot_wal_keep_size="1MB") as pg:
        pg.sql("CREATE TABLE t (id int PRIMARY KEY)")
        assert pg.sql("SELECT count(*) FROM t") == [("0",)]
        pg.url                                  # postgres://postgres@127.0.0.1:PORT/postgres

A cluster listens on a Unix socket in its own folder and on a free loopback port, which it keeps over restarts.
As root everything runs as the user postgres. Queries go through libpq, in this process; values come back as text,
NULL as None. Several clusters and several test runs at once do not meet.
"""

import ctypes
import ctypes.util
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile

from support.server import Lines

START_SECONDS, STOP_SECONDS = 60, 60  # generous: a busy machine
USER = "postgres"  # whom initdb makes the superuser, and as whom root runs it
PRESETS = {"wal_level": "logical", "max_wal_senders": "40", "max_replication_slots": "40", "max_connections": "120",
           "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB",
           "timezone": "UTC", "wal_sender_timeout": "60s", "listen_addresses": "127.0.0.1"}
HBA = ["local all all trust", "host all all 127.0.0.1/32 trust"]


def programs():
    """The folder of the newest installed server's programs, or None."""
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    return os.path.dirname(max(found, key=lambda path: int(path.split("/")[4]))) if found else None


class PostgresError(Exception):
    def __init__(self, sqlstate, words):
        super().__init__(words)
        self.sqlstate = sqlstate


def libpq():
    """The library with the signatures used here; loaded anew each time, which costs nothing."""
    lib = ctypes.CDLL("libpq.so.5")
    text, pointer = ctypes.c_char_p, ctypes.c_void_p
    for name, result, *arguments in [
            ("PQconnectdb", pointer, text), ("PQstatus", ctypes.c_int, pointer), ("PQerrorMessage", text, pointer),
            ("PQexec", pointer, pointer, text), ("PQfinish", None, pointer), ("PQclear", None, pointer),
            ("PQresultStatus", ctypes.c_int, pointer), ("PQresultErrorField", text, pointer, ctypes.c_int),
            ("PQresultErrorMessage", text, pointer), ("PQntuples", ctypes.c_int, pointer),
            ("PQnfields", ctypes.c_int, pointer), ("PQgetvalue", text, pointer, ctypes.c_int, ctypes.c_int),
            ("PQgetisnull", ctypes.c_int, pointer, ctypes.c_int, ctypes.c_int),
            ("PQsetNoticeProcessor", pointer, pointer, pointer, pointer)]:
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


QUIET = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)(lambda _, text: None)


class Session:
    """One connection, for what must happen in one: transactions, savepoints, settings."""

    def __init__(self, url):
        self.lib = libpq()
        self.connection = self.lib.PQconnectdb(url.encode())
        if self.lib.PQstatus(self.connection) != 0:
            words = self.lib.PQerrorMessage(self.connection).decode(errors="replace")
            self.close()
            raise PostgresError("08006", words)
        self.lib.PQsetNoticeProcessor(self.connection, ctypes.cast(QUIET, ctypes.c_void_p), None)

    def sql(self, text):
        """Runs it as one simple query; the rows of its last statement, as tuples of text."""
        result = self.lib.PQexec(self.connection, text.encode())
        try:
            if self.lib.PQresultStatus(result) not in (0, 1, 2):  # empty, command, tuples
                state = self.lib.PQresultErrorField(result, ord("C")) or b"08006"
                raise PostgresError(state.decode(), (self.lib.PQresultErrorMessage(result) or b"").decode(errors="replace"))
            return [tuple(None if self.lib.PQgetisnull(result, row, column)
                          else self.lib.PQgetvalue(result, row, column).decode(errors="replace")
                          for column in range(self.lib.PQnfields(result)))
                    for row in range(self.lib.PQntuples(result))]
        finally:
            self.lib.PQclear(result)

    def close(self):
        if self.connection:
            self.lib.PQfinish(self.connection)
        self.connection = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def as_user(command):
    """The command as the user a cluster belongs to, ending when this process does."""
    switch = ["--reuid", USER, "--regid", USER, "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *switch, "--pdeathsig", "QUIT", "--", *command]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    def __init__(self, hba=None, **settings):
        self.bin = programs()
        assert self.bin, "no PostgreSQL server is installed"
        self.settings, self.hba_lines = {**PRESETS, **settings}, list(hba or HBA)
        self.folder = self.process = self.lines = None
        self.port, self.known = free_port(), False  # known: it was told to somebody, so it stays
        self.said = []  # what earlier processes wrote

    # life

    def create(self):
        self.folder = tempfile.mkdtemp(prefix="tidemark-pg-")
        self.data = os.path.join(self.folder, "data")
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER, USER)
        subprocess.run(as_user([f"{self.bin}/initdb", "-D", self.data, "-U", USER, "-A", "trust", "-E", "UTF8",
                                "--locale=C.UTF-8", "--no-sync", "--no-instructions"]),
                       check=True, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.write_hba()

    def write_hba(self):
        with open(os.path.join(self.data, "pg_hba.conf"), "w", encoding="ascii") as file:
            file.write("\n".join(self.hba_lines) + "\n")

    def command(self):
        settings = {**self.settings, "port": self.port, "unix_socket_directories": self.folder}
        return as_user([f"{self.bin}/postgres", "-D", self.data, *(f"--{name}={value}" for name, value in settings.items())])

    def start(self):
        assert self.process is None, "it is running already"
        if self.folder is None:
            self.create()
        for _ in range(5):
            self.process = subprocess.Popen(self.command(), cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.PIPE, text=True, errors="replace")
            self.lines = Lines(self.process.stderr)
            if self.lines.wait_for(r"ready to accept connections", START_SECONDS):
                self.known = True
                return self
            self.kill9()
            if "could not bind" not in self.said[-1] or self.known:
                break
            self.port = free_port()  # somebody was faster
        raise AssertionError(f"PostgreSQL does not start:\n{self.said[-1]}")

    def end(self, number):
        self.process.send_signal(number)
        self.process.wait(STOP_SECONDS)
        self.lines.thread.join()
        self.said.append(self.lines.text())
        self.process = None

    def stop(self, immediate=False):
        """In good order, sessions broken off; immediate: without a checkpoint, as in a crash."""
        self.end(signal.SIGQUIT if immediate else signal.SIGINT)

    def kill9(self):
        """The postmaster alone; the others see it and end: their common pipe has no writer then."""
        self.end(signal.SIGKILL)

    def restart(self, immediate=False, **settings):
        if self.running():
            self.stop(immediate)
        self.settings.update(settings)
        return self.start()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def close(self):
        if self.process is not None:
            self.stop(immediate=True)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    # use

    @property
    def url(self):
        return self.url_of()

    def url_of(self, database="postgres", user=USER, password=None):
        secret = f":{password}" if password else ""
        return f"postgres://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def session(self, database="postgres", user=USER, password=None):
        return Session(self.url_of(database, user, password))

    def sql(self, text, database="postgres", user=USER, password=None):
        """One simple query on a connection of its own."""
        with self.session(database, user, password) as session:
            return session.sql(text)

    def script(self, text, database="postgres"):
        """SQL with many statements, each in its own transaction, by psql; what it printed."""
        ran = subprocess.run([f"{self.bin}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.url_of(database), "-f", "-"],
                             input=text, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def program(self, name, *arguments, database="postgres", **more):
        """A client program of PostgreSQL's own (pgbench, pg_recvlogical, psql) against a database."""
        environment = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": USER, "PGDATABASE": database}
        return subprocess.run([f"{self.bin}/{name}", *arguments], env=environment, capture_output=True, text=True,
                              **{"timeout": 600, **more})

    def create_database(self, name):
        """A new database; its URL."""
        self.sql(f'CREATE DATABASE "{name}"')
        return self.url_of(name)

    def drop_database(self, name):
        """Also the slots bound to it, whoever uses them."""
        self.sql(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')  # nobody comes back meanwhile
        for slot, pid in self.sql("SELECT slot_name, active_pid FROM pg_replication_slots "
                                  f"WHERE database = '{name}'"):
            if pid:
                self.sql(f"SELECT pg_terminate_backend({pid}, 10000)")
            self.sql(f"SELECT pg_drop_replication_slot('{slot}')")
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def set_hba(self, *lines):
        """Who may connect, from now on; restarts keep it."""
        self.hba_lines = list(lines)
        self.write_hba()
        os.kill(self.process.pid, signal.SIGHUP)
        self.lines.wait_for(r"reloading configuration files", START_SECONDS)

    def log(self):
        """What this process of it wrote, for messages of failed tests."""
        return self.lines.text() if self.lines else ""


class Database:
    """One database of a cluster that others share."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self.url = cluster.create_database(name)

    def sql(self, text, **more):
        return self.cluster.sql(text, self.name, **more)

    def session(self, **more):
        return self.cluster.session(self.name, **more)

    def script(self, text):
        return self.cluster.script(text, self.name)

    def drop(self):
        self.cluster.drop_database(self.name)
