"""Values that tell by themselves who wrote them, and that nothing in them has changed: `WRITER NUMBER filler CRC`."""

import zlib

# How long-lived clients under test behave when their server is killed and started again.
RECONNECT = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100, "retry.backoff.ms": 20,
             "socket.timeout.ms": 10000, "log_level": 0}
WAIT_SECONDS = 60  # a client that makes no progress for so long hangs


def filler_length(chance):
    return chance.choice((0, 10, 100, 1000, 10000) if chance.random() < 0.05 else (0, 50, 200))


def make_value(writer, number, filler):
    body = f"{writer} {number} {'x' * filler}".encode()
    return body + f" {zlib.crc32(body):08x}".encode()


def read_value(value):
    """(writer, number) of an undamaged value; anything else is an AssertionError."""
    body, crc = value[:-9], value[-9:]
    assert crc == f" {zlib.crc32(body):08x}".encode(), f"a value that nobody wrote: {value[:80]!r}"
    writer, number, _ = body.split(b" ", 2)
    return writer.decode(), int(number)
