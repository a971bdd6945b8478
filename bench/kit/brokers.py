"""Who is measured: ours, Apache Kafka, the floor program; and the client that drives them."""
import json
import os
import shutil
import socket
import struct
import subprocess
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
READY_SECONDS = 120
STOP_SECONDS = 60


class Failed(Exception):
    """A broker or the client did not do its part; the text says which."""


def answers(address):
    """True when a fresh connection gets an answer to ApiVersions v0."""
    host, port = address.rsplit(":", 1)
    frame = struct.pack(">hhih", 18, 0, 7, -1)
    try:
        with socket.create_connection((host, int(port)), 1) as peer:
            peer.sendall(struct.pack(">i", len(frame)) + frame)
            peer.settimeout(5)
            return len(peer.recv(8)) > 0
    except OSError:
        return False


class Broker:
    """One process with a data folder of its own. start() may be called again after stop()."""

    name = None

    def __init__(self, bench):
        self.bench, self.process, self.address = bench, None, None
        self.data = os.path.join(bench.scratch, f"{self.name}-{bench.serial()}")
        os.makedirs(self.data)

    def command(self):
        raise NotImplementedError

    def prepare(self):
        """Before the first start, not timed."""

    def topic_config(self, policy, extra=""):
        """The topic's settings for policy "durable" or "os" """
        del policy
        return extra

    def start(self):
        """Starts and waits for the first answer; its milliseconds."""
        begun = time.monotonic()
        self.log = open(self.data + ".log", "ab")
        self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        self.address = self.read_address()
        while not answers(self.address):
            if self.process.poll() is not None or time.monotonic() - begun > READY_SECONDS:
                raise Failed(f"{self.name} does not answer; see {self.data}.log")
            time.sleep(0.001)
        return (time.monotonic() - begun) * 1000

    start_lines = ("kafka",)  # what a start prints, each with an address

    def read_address(self):
        found = {}
        for line in self.process.stdout:
            words = line.split()
            if len(words) >= 2 and words[0] in self.start_lines:
                found[words[0]] = words[1]
            if len(found) == len(self.start_lines):
                self.http = found.get("http")
                return found["kafka"]
        raise Failed(f"{self.name} ended before it was ready; see {self.data}.log")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        self.process = None

    def __enter__(self):
        self.prepare()
        self.started_ms = self.start()
        return self

    def __exit__(self, kind, *_):
        self.stop()
        shutil.rmtree(self.data, ignore_errors=True)
        if kind is None and os.path.exists(self.data + ".log"):
            os.remove(self.data + ".log")

    @property
    def pid(self):
        return self.process.pid

    def load(self, verb, **options):
        """Runs the client against it; its JSON."""
        return self.bench.load(self.address, verb, **options)

    def load_start(self, verb, **options):
        """The same in the background: a function that waits for the JSON."""
        return self.bench.load_start(self.address, verb, **options)


class Ours(Broker):
    name = "tidemark"
    start_lines = ("kafka", "http")

    def command(self):
        return [self.bench.binary, "server", "--data", self.data, "--kafka", "127.0.0.1:0",
                "--http", "127.0.0.1:0"]

    def topic_config(self, policy, extra=""):
        rows = (["flush.policy=os"] if policy == "os" else []) + ([extra] if extra else [])
        return ",".join(rows)

    def flushed_bytes(self):
        """Mean bytes of a group commit so far by its metrics, None when they do not say."""
        import urllib.request
        try:
            with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=5) as page:
                text = page.read().decode()
        except (OSError, AttributeError):
            return None
        rows = dict(line.rsplit(" ", 1) for line in text.splitlines()
                    if line and not line.startswith("#"))
        rounds = float(rows.get("tidemark_log_flush_rounds_total", 0))
        written = float(rows.get("tidemark_log_flush_bytes_total", 0))
        return written / rounds if rounds else None


class Kafka(Broker):
    name = "kafka"

    def peer(self, *words):
        return [os.path.join(HERE, "peers", "kafka"), *words]

    def prepare(self):
        subprocess.run(self.peer("prepare", self.bench.cache, self.data), check=True)

    def command(self):
        return self.peer("start", self.bench.cache, self.data)


class Floor(Broker):
    name = "floor"

    def command(self):
        return [self.bench.floor, "serve", self.data]


class Bench:
    """Settings of one run, the client, and what is there to be measured."""

    def __init__(self, binary, build, seconds, warmup, pairs):
        self.binary, self.build, self.seconds, self.pairs = binary, build, seconds, pairs
        self.warmup = warmup  # a JVM compiles for a while
        self.scratch = os.path.join(build, "data")
        self.cache = os.path.join(build, "cache")
        self.floor = os.path.join(build, "floor")
        self.client = None
        self.count = 0
        self.skipped = {}  # name of a broker: why it is not there
        shutil.rmtree(self.scratch, ignore_errors=True)
        for folder in (self.scratch, self.cache):
            os.makedirs(folder, exist_ok=True)

    def serial(self):
        self.count += 1
        return self.count

    def load_command(self, address, verb, options):
        words = [*self.client, verb, "--kafka", address, "--json"]
        for name, value in options.items():
            if value is True:
                words.append("--" + name.replace("_", "-"))
            elif value is not None and value != "":
                words += ["--" + name.replace("_", "-"), str(value)]
        return words

    def load_start(self, address, verb, **options):
        child = subprocess.Popen(self.load_command(address, verb, options),
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        def wait():
            out, error = child.communicate()
            if child.returncode:
                raise Failed(f"client {verb}: {error.strip()}")
            return json.loads(out)
        return wait

    def load(self, address, verb, **options):
        return self.load_start(address, verb, **options)()

    def free_gb(self):
        return shutil.disk_usage(self.scratch).free / 1e9
