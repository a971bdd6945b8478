"""A connection that speaks Kafka's protocol message by message, for what stock clients cannot be made to ask."""

import socket
import struct
import time

from support import messages

SECONDS = 30


class Connection:
    def __init__(self, server, field_lists):
        host, port = server.kafka.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), SECONDS)
        self.field_lists, self.correlation = field_lists, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def receive(self, count):
        raw = b""
        while len(raw) < count:
            more = self.socket.recv(count - len(raw))
            assert more, "the connection was closed"
            raw += more
        return raw

    def send(self, key, version, *requests, unknown_tags=None):
        """Sends requests at once; what it gives is for answer(), one by one in their order."""
        first = self.correlation + 1
        self.socket.sendall(b"".join(self.frame(key, version, values, unknown_tags) for values in requests))
        return [(key, version, correlation) for correlation in range(first, self.correlation + 1)]

    def frame(self, key, version, values, unknown_tags):
        request = messages.pick(self.field_lists, key, "request", version)
        flexible = request.is_flexible(version)
        self.correlation += 1
        body = struct.pack(">hhih4s", key, version, self.correlation, 4, b"test") + (b"\x00" if flexible else b"")
        body += messages.Encoder(request, version).encode(values, unknown_tags if flexible else None)
        return struct.pack(">i", len(body)) + body

    def answer(self, sent):
        """The answer to a request, decoded."""
        key, version, correlation = sent
        response = messages.pick(self.field_lists, key, "response", version)
        raw = self.receive(struct.unpack(">i", self.receive(4))[0])
        assert struct.unpack(">i", raw[:4])[0] == correlation
        raw = raw[4:]
        if response.is_flexible(version) and key != messages.API_VERSIONS:
            assert raw[:1] == b"\x00", "the response header has no tagged fields"
            raw = raw[1:]
        return messages.Decoder(response, version, raw).decode()

    def ask(self, key, version, values, unknown_tags=None):
        """Sends a request and gives its answer, decoded."""
        return self.answer(self.send(key, version, values, unknown_tags=unknown_tags)[0])


CRC32C = [0] * 256
for _number in range(256):
    _value = _number
    for _ in range(8):
        _value = _value >> 1 ^ 0x82F63B78 if _value & 1 else _value >> 1
    CRC32C[_number] = _value


def crc32c(raw):
    value = 0xFFFFFFFF
    for byte in raw:
        value = value >> 8 ^ CRC32C[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def varint(value):
    return messages.uvarint((value << 1 ^ value >> 63) & 0xFFFFFFFF)


def batch(values, producer_id=-1, epoch=-1, sequence=-1, transactional=False):
    """A record batch of the present format with these values, no keys."""
    records = b""
    for number, value in enumerate(values):
        record = b"\x00" + varint(0) + varint(number) + varint(-1) + varint(len(value)) + value + varint(0)
        records += varint(len(record)) + record
    now = int(time.time() * 1000)
    rest = struct.pack(">hiqqqhii", 0x10 if transactional else 0, len(values) - 1, now, now, producer_id, epoch, sequence,
                       len(values)) + records
    return struct.pack(">qiibI", 0, 9 + len(rest), -1, 2, crc32c(rest)) + rest
