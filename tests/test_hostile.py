"""Clients that lie, stall, flood and never read: the server stays up, small, and quick for everybody else."""

import os
import random
import resource
import socket
import struct
import time

import pytest

API_VERSIONS, METADATA = 18, 3
MIB = 1 << 20
SANITIZED = 4  # a sanitized build's memory is a multiple of the real one


def header(key, version, correlation=1):
    return struct.pack(">hhih", key, version, correlation, -1)


def frame(body):
    return struct.pack(">i", len(body)) + body


def connect(server, seconds=20):
    host, port = server.kafka.split(":")
    return socket.create_connection((host, int(port)), timeout=seconds)


def receive(connection):
    def exactly(count):
        got = b""
        while len(got) < count:
            piece = connection.recv(count - len(got))
            assert piece, "the connection was closed"
            got += piece
        return got
    return exactly(struct.unpack(">i", exactly(4))[0])


def answers(server):
    """Somebody else, who behaves, is served."""
    with connect(server) as other:
        other.sendall(frame(header(API_VERSIONS, 0, 77)))
        assert receive(other)[:4] == struct.pack(">i", 77)
    return True


def anonymous_memory(server):
    with open(f"/proc/{server.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))


def closed(connection):
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def many_names(count):
    names = b"".join(struct.pack(">h", 8) + b"%08d" % i for i in range(count))
    return struct.pack(">i", count) + names


def test_frames_that_claim_100_mib_cost_nothing_until_they_come(server):
    before = anonymous_memory(server)
    liars = [connect(server) for _ in range(200)]
    for liar in liars:
        liar.sendall(struct.pack(">i", 100 * MIB) + header(METADATA, 1))
    assert answers(server)
    assert anonymous_memory(server) - before < 16 * MIB * SANITIZED
    for liar in liars:
        liar.close()
    assert answers(server)


def test_frames_of_middling_size_that_never_end_are_bounded(server):
    liars = [connect(server) for _ in range(300)]
    for liar in liars:
        liar.settimeout(0.01)
        try:
            liar.sendall(struct.pack(">i", 2 * MIB) + header(0, 7) + bytes(MIB))
        except TimeoutError:
            pass  # it is not read any more: that is the point
    assert anonymous_memory(server) < 128 * MIB * SANITIZED
    for liar in liars:
        liar.close()
    assert answers(server)


def test_a_whole_frame_of_100_mib_is_taken_and_given_back(server):
    with connect(server, 60) as big:
        body = header(0, 7) + struct.pack(">hhi", -1, 1, 1000) + struct.pack(">i", 0)
        big.sendall(frame(body + bytes(100 * MIB - len(body))))  # trailing bytes are left unread
        assert receive(big)
    assert answers(server)
    samples = server.get("/metrics").body.decode().splitlines()
    assert "tidemark_kafka_request_memory_bytes 0" in samples


@pytest.mark.parametrize("key", [0, 1, 2, 3, 8, 9, 10, 11, 18, 19, 999, -1])
def test_garbage_after_a_fair_header_does_no_harm(server, key):
    dice = random.Random(key)
    for version in range(0, 14):
        with connect(server) as client:
            client.sendall(frame(header(key, version) + dice.randbytes(dice.randrange(0, 400))))
            client.shutdown(socket.SHUT_WR)
            assert closed(client)
    assert answers(server)


def test_plain_noise_does_no_harm(server):
    dice = random.Random(20261120)
    for _ in range(200):
        with connect(server) as client:
            try:
                client.sendall(dice.randbytes(dice.randrange(1, 3000)))
                client.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError, OSError):
                pass
    assert answers(server)


def test_thousands_of_connects_a_second_are_taken_in_stride(server):
    for _ in range(10_000):
        connect(server).close()
    assert answers(server)
    samples = dict(line.rsplit(" ", 1) for line in server.get("/metrics").body.decode().splitlines()
                   if line.startswith("tidemark_kafka"))
    assert int(samples["tidemark_kafka_connections_opened_total"]) >= 10_000


def test_half_open_connections_hold_little(server):
    before = anonymous_memory(server)
    halves = [connect(server) for _ in range(1000)]
    for half in halves:
        half.sendall(b"\0\0")
    assert answers(server)
    assert anonymous_memory(server) - before < 2 * MIB * SANITIZED
    for half in halves:
        half.close()


def test_a_client_that_never_reads_is_not_read_either(servers):
    server = servers("--num-partitions", "2000").start()
    with connect(server) as quiet:
        ask = frame(header(METADATA, 1) + struct.pack(">i", 1) + struct.pack(">h", 1) + b"w")
        quiet.sendall(ask)
        size = len(receive(quiet))
        assert size > 40_000
        quiet.settimeout(2)
        sent = 0
        try:
            while sent < 20_000:  # 1.2 GB of answers, were they all made
                quiet.sendall(ask)
                sent += 1
        except TimeoutError:
            pass
        assert anonymous_memory(server) < 64 * MIB * SANITIZED
        assert answers(server)
    assert answers(server)


def test_asking_for_a_million_topics_is_bounded(server):
    with connect(server, 60) as client:
        client.sendall(frame(header(METADATA, 4) + many_names(1_000_000) + b"\0"))
        closed(client)
    assert anonymous_memory(server) < 128 * MIB * SANITIZED
    assert answers(server)


def test_a_name_repeated_is_answered_once(server):
    with connect(server) as client:
        name = struct.pack(">h", 4) + b"same"
        client.sendall(frame(header(METADATA, 1) + struct.pack(">i", 50_000) + name * 50_000))
        assert len(receive(client)) < 1000


def test_connections_past_the_limit_are_refused_clearly(servers):
    server = servers("--connections-max", "20").start()
    held = [connect(server) for _ in range(20)]
    for one in held:
        one.sendall(frame(header(API_VERSIONS, 0)))
        receive(one)
    with connect(server) as late:
        assert closed(late)
    assert server.errors.wait_for("refused a connection .* 20 are open", 10)
    for one in held:
        one.close()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert answers(server)
            break
        except (AssertionError, ConnectionResetError, BrokenPipeError):
            assert time.monotonic() < deadline


def test_out_of_descriptors_it_pauses_and_goes_on(servers):
    server = servers().start()
    limit = len(os.listdir(f"/proc/{server.pid}/fd")) + 10
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
    crowd = [connect(server) for _ in range(40)]
    assert server.errors.wait_for("cannot accept connections", 10)
    for one in crowd:
        one.close()
    assert answers(server)
