"""Batches that blow up, counts that lie and pages of strangers, while a client that behaves is served all the time."""

import gzip
import os
import socket
import struct
import subprocess
import sys
import threading
import zlib

import pytest
from support import clients
from support.load import Load
from support.wire import crc32c

MIB = 1 << 20
API_VERSIONS, PRODUCE = 18, 0
SANITIZED = 4  # a sanitized build's memory is a multiple of the real one
INFLATED_BYTES_MAX = 256 * MIB  # the server's limit for the records of one batch
WAIT_SECONDS = 60
GZIP, ZSTD = 1, 4
CORRUPT_MESSAGE, INVALID_RECORD = 2, 87
SMALL = b"\x12\0\0\0\x02k\x04vv\0"  # a record: k, vv


def signed_varint(number):
    raw, rest = b"", number << 1
    while rest > 0x7F:
        raw += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return raw + bytes([rest])


def zeros_packed(codec, head, zeros, tail):
    """head, so many zeros, tail: compressed piece by piece."""
    if codec == GZIP:
        packer = zlib.compressobj(9, wbits=31)
    else:
        packer = pytest.importorskip("zstandard").ZstdCompressor(level=3).compressobj()
    packed = packer.compress(head)
    for _ in range(zeros // MIB):
        packed += packer.compress(bytes(MIB))
    return packed + packer.compress(tail) + packer.flush()


def bomb(codec, mebibytes, key=b"k"):
    """A batch of one record whose value is so many MiB of zeros."""
    inside = b"\0\0\0" + signed_varint(len(key)) + key + signed_varint(mebibytes * MIB)
    head = signed_varint(len(inside) + mebibytes * MIB + 1) + inside
    return batch(codec, zeros_packed(codec, head, mebibytes * MIB, b"\0"))


def batch(codec, records, count=1):
    checked = struct.pack(">hiqqqhii", codec, count - 1, 1, 1, -1, -1, -1, count) + records
    return struct.pack(">qiib", 0, len(checked) + 9, -1, 2) + struct.pack(">I", crc32c(checked)) + checked


def connect(server):
    host, port = server.kafka.split(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)


def frame(key, version, body, correlation=1):
    request = struct.pack(">hhih", key, version, correlation, -1) + body
    return struct.pack(">i", len(request)) + request


def receive(connection, count):
    got = b""
    while len(got) < count:
        piece = connection.recv(count - len(got))
        assert piece, "the connection was closed"
        got += piece
    return got


def answer(connection):
    return receive(connection, struct.unpack(">i", receive(connection, 4))[0])


def closes(connection):
    """Whatever it answers, until it closes."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass


def produce(server, topic, raw):
    """The error code of one batch sent with acks=all."""
    name = topic.encode()
    body = struct.pack(">hhiih", -1, -1, 30000, 1, len(name)) + name + struct.pack(">iii", 1, 0, len(raw)) + raw
    with connect(server) as connection:
        connection.sendall(frame(PRODUCE, 7, body))
        reply = answer(connection)
    return struct.unpack(">h", reply[4 + 4 + 2 + len(name) + 4 + 4 :][:2])[0]


def create(server, topic, **settings):
    made = server.ask("POST", "/api/v1/topics", {"name": topic, "settings": clients.dotted(settings)})
    assert made.status == 201, made.body


@pytest.fixture
def served(servers):
    """A server and somebody who writes to it and reads from it all the time; both are in order at the end."""
    server = servers("--log-retention-check-interval-ms", "100ms").start()
    create(server, "honest")
    load = Load(server, {"honest": 1}, 1, writers=1, transactional=0).start()
    load.wait_for(100, 0)
    yield server
    load.wait_for(100, 0)
    load.finish()
    load.check()


@pytest.mark.parametrize("codec", [GZIP, ZSTD])
def test_a_bomb_in_a_compacted_topic_costs_bounded_memory(served, codec):
    create(served, "compacted", cleanup_policy="compact", segment_bytes="64KiB", min_cleanable_dirty_ratio="0")
    before = served.memory()["VmHWM"]
    for mebibytes in (16, 250, 300, 250, 16):
        assert produce(served, "compacted", bomb(codec, mebibytes)) in (0, 10, CORRUPT_MESSAGE, INVALID_RECORD)
    for _ in range(600):  # so that segments are sealed and compaction comes
        assert produce(served, "compacted", batch(0, SMALL)) == 0
    # One batch at its limit; the sanitizer keeps a further one of what was freed.
    assert served.memory()["VmHWM"] - before < 2 * INFLATED_BYTES_MAX + 32 * MIB * SANITIZED


@pytest.mark.parametrize("codec", [GZIP, ZSTD])
def test_a_bomb_in_an_ordinary_topic_is_stored_as_it_is(served, codec):
    create(served, "ordinary")
    before = served.memory()["VmHWM"]
    for _ in range(20):
        assert produce(served, "ordinary", bomb(codec, 64)) == 0
    assert served.memory()["VmHWM"] - before < 32 * MIB * SANITIZED


def test_codecs_that_lie_about_their_records_are_found_where_it_matters(served):
    create(served, "compacted", cleanup_policy="compact")
    for raw in (batch(GZIP, gzip.compress(b"")), batch(GZIP, b"no gzip"), batch(0, b""), batch(0, b"\x12\0\0\0\x02k", 1),
                batch(GZIP, gzip.compress(SMALL), 1_000_000), batch(7, b"no such codec")):
        assert produce(served, "compacted", raw) in (CORRUPT_MESSAGE, INVALID_RECORD, 76, 87), raw[:80]


def advertised(server):
    with connect(server) as connection:
        connection.sendall(frame(API_VERSIONS, 0, b""))
        reply = answer(connection)
    count = struct.unpack(">i", reply[6:10])[0]
    return [struct.unpack(">hhh", reply[10 + 6 * n : 16 + 6 * n]) for n in range(count)]


@pytest.mark.parametrize("lie", [b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\x07",
                                 b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xff\xff\xff\xfe", b"\0\0\0\x01"])
def test_counts_that_lie_cost_nothing_in_any_api(served, lie):
    before = served.memory()["VmHWM"]
    for key, oldest, newest in advertised(served):
        for version in range(oldest, newest + 1):
            for shift in range(4):
                with connect(served) as connection:
                    connection.sendall(frame(key, version, b"\0" * shift + lie * 30))
                    connection.shutdown(socket.SHUT_WR)
                    closes(connection)
    assert served.memory()["VmHWM"] - before < 32 * MIB * SANITIZED


def test_unknown_apis_and_versions_are_refused_by_closing(served):
    for key, version in ((999, 0), (-1, 0), (32767, 32767), (PRODUCE, 99), (PRODUCE, -1), (3, 200)):
        with connect(served) as connection:
            connection.sendall(frame(key, version, bytes(20)))
            closes(connection)


def test_an_unknown_version_of_api_versions_gets_the_range_it_should_use(served):
    with connect(served) as connection:
        connection.sendall(frame(API_VERSIONS, 99, b"\0"))
        reply = answer(connection)
        assert struct.unpack(">ih", reply[:6]) == (1, 35)  # UNSUPPORTED_VERSION, in the shape of version 0
        connection.sendall(frame(API_VERSIONS, 0, b"", 2))
        assert struct.unpack(">ih", answer(connection)[:6]) == (2, 0)


@pytest.mark.parametrize("size", [-1, -(1 << 31), 0, 1, 7, (1 << 31) - 1, 101 * MIB])
def test_frames_of_impossible_sizes_are_closed_at_once(served, size):
    with connect(served) as connection:
        connection.sendall(struct.pack(">i", size) + bytes(64))
        connection.shutdown(socket.SHUT_WR)
        closes(connection)


FLOOD = """
import socket, sys, time
host, port = sys.argv[1].split(":")
ends, made = time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < ends:
    try:
        with socket.create_connection((host, int(port)), timeout=5) as one:
            one.send(b"\\0\\0\\0\\x40garbage")
            made += 1
    except OSError:
        pass
print(made)
"""


def test_a_flood_of_connections_leaves_others_served(served):
    before, fds = served.memory()["VmHWM"], len(os.listdir(f"/proc/{served.pid}/fd"))
    floods = [subprocess.Popen([sys.executable, "-c", FLOOD, served.kafka, "3"], stdout=subprocess.PIPE, text=True)
              for _ in range(2)]
    clients.kcat_produce(served, "honest", [])
    made = sum(int(flood.communicate(timeout=WAIT_SECONDS)[0]) for flood in floods)
    assert made > 3000, f"only {made} connections were made"
    assert clients.kcat(served, "-L").returncode == 0
    assert served.memory()["VmHWM"] - before < 32 * MIB * SANITIZED
    assert len(os.listdir(f"/proc/{served.pid}/fd")) < fds + 50


def raw_http(server, text, wait=True):
    host, port = server.http.split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as connection:
        connection.sendall(text)
        return int(connection.recv(4096).split()[1]) if wait else None


@pytest.mark.parametrize("head, status", [
    ("Host: evil.example", 421), ("Host: localhost\r\nOrigin: http://evil.example", 403),
    ("Host: localhost\r\nOrigin: null", 403), ("Host: localhost", 401)])
def test_a_page_in_the_users_browser_cannot_write(served, head, status):
    body = b'{"name": "stolen"}'
    text = f"POST /api/v1/topics HTTP/1.1\r\n{head}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    assert raw_http(served, text.encode() + body) == status
    assert served.get("/api/v1/topics/stolen").status == 404


def test_oversized_http_requests_are_refused(served):
    before = served.memory()["VmHWM"]
    assert raw_http(served, b"GET /" + b"x" * MIB + b" HTTP/1.1\r\nHost: localhost\r\n\r\n") in (400, 413, 414, 431)
    token = served.token()
    text = (f"POST /api/v1/topics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {1 << 40}\r\n\r\n")
    assert raw_http(served, text.encode()) == 413
    assert served.memory()["VmHWM"] - before < 32 * MIB * SANITIZED


def test_slow_http_clients_do_not_keep_others_from_answers(served):
    host, port = served.http.split(":")
    slow = [socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) for _ in range(200)]
    for one in slow:
        one.send(b"GET /metrics HTT")
    answered = threading.Event()

    def ask():
        if served.get("/healthz").status == 200:
            answered.set()
    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    assert answered.wait(WAIT_SECONDS), "the health check waits for the slow"
    for one in slow:
        one.close()
