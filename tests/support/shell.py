"""A server's part of recorded shells, played in this process: sessions open, records are kept, a lease lives.

What a shell does to its psql and its database is seen without a server; break_off() is the server's death.
"""

import http.server
import json
import os
import subprocess
import sys
import threading

from support import extended

TOKEN = "0" * 64
SESSION = "5e55"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        stand = self.server.stand
        if self.path.endswith("/shell"):
            self.answer(200, {"ticket": stand.wants_ticket})
        elif self.path.endswith("/live"):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b"event: live\ndata: {}\n\n")
            self.wfile.flush()
            stand.over.wait()
            self.close_connection = True

    def do_POST(self):
        stand = self.server.stand
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"code": "unauthorized", "message": "no token", "fix": ""})
        elif self.path.endswith("/sessions"):
            stand.over.clear()
            stand.opened.append(body)
            self.answer(200, {"id": SESSION, "url": stand.url, "password": stand.password})
        elif stand.broken or (stand.breaks_at and body.get("n") == stand.breaks_at):
            stand.broken = True
            self.close_connection = True
        else:
            stand.records.append(body)
            if body["kind"] == "end":
                stand.over.set()
            self.answer(204, None)


class Stand:
    def __init__(self, binary, url, password=None):
        self.binary, self.url, self.password = binary, url, password
        self.opened, self.records = [], []
        self.wants_ticket = self.broken = False
        self.breaks_at = None
        self.over = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.stand = self
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def break_off(self):
        self.broken = True
        self.over.set()

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def environment(self, **more):
        host, port = self.server.server_address
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEMARK_", "PG"))}
        return {**kept, "TIDEMARK_HTTP": f"{host}:{port}", "TIDEMARK_TOKEN": TOKEN, **more}

    def command(self, *psql, reason="a test"):
        return [self.binary, "source", "shell", "shop", "--reason", reason, "--", "-X", *psql]

    def shell(self, text, *psql, environment=None, **more):
        """Runs psql with this text as its input."""
        return subprocess.run(self.command("-qAt", *psql), input=text, capture_output=True, text=True, timeout=60,
                              env=environment or self.environment(), **more)

    def extended(self, text):
        """The same with a client of the extended protocol in psql's place; text is its Python lines."""
        command = [self.binary, "source", "shell", "shop", "--reason", "a test", "--psql", sys.executable, "--", extended.__file__]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, env=self.environment())

    def kinds(self):
        return [record["kind"] for record in self.records]

    def statements(self):
        """(text, result) of each."""
        results = {record["n"]: record for record in self.records if record["kind"] == "result"}
        return [(record["text"], results.get(record["n"])) for record in self.records if record["kind"] == "statement"]
