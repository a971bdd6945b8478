"""A server process under test: started on free ports, watched, stopped or killed.

Start lines on its standard output are `word<spaces>value`: kafka, http, data, version, ready. start() returns
when ready has come, so nothing here sleeps. Everything it says is kept; stop() fails on a sanitizer's report.
"""

import json
import os
import re
import signal
import subprocess
import threading
import urllib.error
import urllib.request

START_SECONDS = 30  # generous: a sanitized build recovering on a busy machine
STOP_SECONDS = 20
REPORT = re.compile(r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|: a bug: ")


class Lines:
    """Collects a pipe's lines on a thread of its own; others may wait for one."""

    def __init__(self, pipe):
        self.lines, self.ended = [], False
        self.news = threading.Condition()
        self.thread = threading.Thread(target=self.collect, args=(pipe,), daemon=True)
        self.thread.start()

    def collect(self, pipe):
        for line in pipe:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()
        pipe.close()

    def wait_for(self, pattern, seconds):
        """The first line that matches, or None when the pipe ends or time is up."""
        def matching():
            return next((line for line in self.lines if re.search(pattern, line)), None)
        with self.news:
            self.news.wait_for(lambda: matching() is not None or self.ended, seconds)
            return matching()

    def text(self):
        with self.news:
            return "\n".join(self.lines)


class Answer:
    """An HTTP answer, whatever its status."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


def clean_environment(**more):
    """This process's, without settings that would reach a server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMARK_")}
    return {**kept, **more}


class Server:
    def __init__(self, binary, data, *options, kafka="127.0.0.1:0", http="127.0.0.1:0", runtime=None,
                 environment=None):
        self.binary, self.data, self.options = binary, str(data), options
        self.kafka, self.http = kafka, http
        self.runtime = str(runtime or self.data + ".runtime")  # where it leaves its token, not the user's own folder
        self.environment = clean_environment(XDG_RUNTIME_DIR=self.runtime, **(environment or {}))
        self.process = None
        self.said = []  # what earlier processes of this server wrote to stderr

    def command(self):
        return [self.binary, "server", "--data", self.data, "--kafka", self.kafka, "--http", self.http, *self.options]

    def start(self):
        assert self.process is None, "it is running already"
        os.makedirs(self.runtime, mode=0o700, exist_ok=True)
        # It must not outlive a test run that was killed.
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *self.command()],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, errors="replace", env=self.environment)
        self.output, self.errors = Lines(self.process.stdout), Lines(self.process.stderr)
        if self.output.wait_for(r"^ready\s", START_SECONDS) is None:
            self.kill9()
            raise AssertionError(f"{' '.join(self.command())}\nsaid no ready line:\n{self.said[-1]}")
        self.kafka, self.http = self.start_value("kafka"), self.start_value("http")  # a restart keeps its ports
        return self

    def start_value(self, word):
        line = self.output.wait_for(rf"^{word}\s", 0)
        assert line is not None, f"no start line '{word}':\n{self.output.text()}"
        return line.split(None, 1)[1]

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=STOP_SECONDS):
        """Its exit status."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self.forget()
            raise AssertionError(f"still running after {seconds} s:\n{self.said[-1]}") from None
        self.forget()
        return status

    def forget(self):
        self.output.thread.join()
        self.errors.thread.join()
        self.said.append(self.errors.text())
        self.process = None

    def refused(self, seconds=15):
        """Starts what must not start; its words on standard error, once it has ended with a failure."""
        os.makedirs(self.runtime, mode=0o700, exist_ok=True)
        ran = subprocess.run(self.command(), env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
                             text=True, timeout=seconds)
        self.said.append(ran.stderr)
        assert ran.returncode > 0, f"status {ran.returncode} where a refusal was due:\n{ran.stdout}{ran.stderr}"
        assert not re.search(r"^ready\s", ran.stdout, re.MULTILINE), ran.stdout
        return ran.stderr

    def stop(self):
        self.signal(signal.SIGTERM)
        status = self.wait()
        assert status == 0, f"SIGTERM ended it with status {status}:\n{self.said[-1]}"
        self.check_reports()

    def kill9(self):
        self.signal(signal.SIGKILL)
        self.wait()

    def restart(self):
        """Ends it in good order when it still runs, then starts it on the same ports."""
        if self.running():
            self.stop()
        return self.start()

    def check_reports(self):
        for text in self.said:
            assert not REPORT.search(text), f"a sanitizer or an assertion spoke up:\n{text}"

    def memory(self):
        """Bytes by name, from the kernel: VmHWM (the peak), VmRSS, RssAnon."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return {name: int(size) * 1024 for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", file.read(), re.MULTILINE)}

    def token(self):
        with open(os.path.join(self.data, "http.token"), encoding="ascii") as file:
            return file.read().strip()

    def ask(self, method, path, body=None, headers=None, token=True):
        """One HTTP request; body is sent as JSON, a write carries the server's token."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if token and method not in ("GET", "HEAD"):
            sent["Authorization"] = f"Bearer {self.token()}"
        request = urllib.request.Request(f"http://{self.http}{path}", method=method, headers={**sent, **(headers or {})},
                                         data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as refusal:
            return Answer(refusal.code, refusal.headers, refusal.read())

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def command_line(self, *words, **more):
        """Runs `tidemark WORDS` pointed at this server."""
        environment = {**self.environment, "TIDEMARK_HTTP": self.http, "TIDEMARK_KAFKA": self.kafka}
        return subprocess.run([self.binary, *words], env=environment, capture_output=True, text=True,
                              **{"timeout": 60, **more})
