"""Kafka's messages by their field lists: a codec made at run time from the JSON files of the protocol's own sources.

A field list says for each field its type and the versions that have it, may be null in, or carry it as a tagged field.
The folder is outside of the project; schemas() gives None where it is not there.
"""

import json
import os
import re
import struct

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.environ.get("TIDEMARK_KAFKA_MESSAGES", os.path.join(ROOT, "../shared/reference/kafka-messages"))
FIXED = {"int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "float64": ">d"}
API_VERSIONS = 18


def in_range(versions, version):
    """Whether a version is in "3", "0-3", "3+" or "none"."""
    if versions in (None, "none"):
        return False
    low, _, high = versions.partition("-")
    if versions.endswith("+"):
        return version >= int(versions[:-1])
    return int(low) <= version <= int(high or low)


class Field:
    def __init__(self, entry, structs):
        self.name, self.type = entry["name"], entry["type"]
        self.versions, self.nullable = entry["versions"], entry.get("nullableVersions")
        self.tagged, self.tag = entry.get("taggedVersions"), entry.get("tag")
        self.is_array = self.type.startswith("[]")
        self.item = self.type[2:] if self.is_array else self.type
        inside = entry.get("fields") or structs.get(self.item)
        self.fields = [Field(one, structs) for one in inside] if inside else None

    def present(self, version):
        return in_range(self.versions, version)

    def is_tagged(self, version):
        return self.tag is not None and in_range(self.tagged, version)

    def may_be_null(self, version):
        return in_range(self.nullable, version)


class Message:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            entry = json.loads(re.sub(r"^\s*//.*$", "", file.read(), flags=re.MULTILINE))
        structs = {one["name"]: one["fields"] for one in entry.get("commonStructs", [])}
        self.name, self.key = entry["name"], entry.get("apiKey")
        self.valid, self.flexible = entry["validVersions"], entry["flexibleVersions"]
        self.fields = [Field(one, structs) for one in entry["fields"]]

    def is_flexible(self, version):
        return in_range(self.flexible, version)


def schemas():
    """{(key, "request" or "response"): [messages, newest sources first]}, or None without the folder."""
    if not os.path.isdir(FOLDER):
        return None
    found = {}
    for folder in (FOLDER, os.path.join(FOLDER, "before-4.0")):
        for name in sorted(os.listdir(folder)):
            if name.endswith(("Request.json", "Response.json")):
                message = Message(os.path.join(folder, name))
                kind = "request" if name.endswith("Request.json") else "response"
                found.setdefault((message.key, kind), []).append(message)
    return found


def pick(found, key, kind, version):
    """The field list that has this version."""
    for message in found.get((key, kind), []):
        if in_range(message.valid, version):
            return message
    raise AssertionError(f"no field list has the {kind} {key} in version {version}")


def uvarint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


class Encoder:
    """Values of dict, list, str, bytes, int, bool, None into bytes."""

    def __init__(self, message, version):
        self.message, self.version, self.flexible = message, version, message.is_flexible(version)

    def encode(self, values, unknown_tags=None):
        return self.struct(self.message.fields, values, unknown_tags or {})

    def struct(self, fields, values, more_tags=None):
        out, tagged = b"", dict(more_tags or {})
        for field in fields:
            if not field.present(self.version):
                continue
            if field.is_tagged(self.version):
                if field.name in values:
                    tagged[field.tag] = self.value(field, values[field.name])
            else:
                out += self.value(field, values[field.name])
        if self.flexible:
            out += uvarint(len(tagged))
            for tag in sorted(tagged):
                out += uvarint(tag) + uvarint(len(tagged[tag])) + tagged[tag]
        return out

    def length(self, count, short):
        if self.flexible:
            return uvarint(count + 1)
        return struct.pack(">h" if short else ">i", count)

    def value(self, field, value):
        if field.is_array:
            if value is None:
                return self.length(-1, False)
            return self.length(len(value), False) + b"".join(self.one(field, item) for item in value)
        if field.fields is not None and field.may_be_null(self.version):
            return b"\xff" if value is None else b"\x01" + self.one(field, value)
        return self.one(field, value)

    def one(self, field, value):
        kind = field.item
        if field.fields is not None:
            return self.struct(field.fields, value)
        if kind in FIXED:
            return struct.pack(FIXED[kind], value)
        if kind == "bool":
            return b"\x01" if value else b"\x00"
        if kind == "uuid":
            return value
        short = kind == "string"
        if value is None:
            return self.length(-1, short)
        raw = value.encode() if short else value
        return self.length(len(raw), short) + raw


class Decoder:
    """Bytes into values; an assertion where they are not what the field list says."""

    def __init__(self, message, version, raw):
        self.message, self.version, self.flexible = message, version, message.is_flexible(version)
        self.raw, self.at = raw, 0

    def decode(self):
        values = self.struct(self.message.fields)
        left = len(self.raw) - self.at
        assert left == 0, f"{self.message.name} version {self.version}: {left} bytes are left over of {self.raw!r}"
        return values

    def take(self, count):
        assert 0 <= count <= len(self.raw) - self.at, \
            f"{self.message.name} version {self.version}: {count} bytes asked at {self.at} of {self.raw!r}"
        self.at += count
        return self.raw[self.at - count : self.at]

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def length(self, short):
        if self.flexible:
            return self.uvarint() - 1
        return struct.unpack(">h" if short else ">i", self.take(2 if short else 4))[0]

    def struct(self, fields):
        values, tagged = {}, {}
        for field in fields:
            if field.present(self.version):
                if field.is_tagged(self.version):
                    tagged[field.tag] = field
                else:
                    values[field.name] = self.value(field)
        if self.flexible:
            self.tags(tagged, values)
        return values

    def tags(self, known, values):
        last = -1
        for _ in range(self.uvarint()):
            tag, size = self.uvarint(), self.uvarint()
            assert tag > last, f"{self.message.name}: tag {tag} after {last}"
            last, end = tag, self.at + size
            assert tag in known, f"{self.message.name} version {self.version} has no tag {tag}"
            values[known[tag].name] = self.value(known[tag])
            assert self.at == end, f"{self.message.name}: tag {tag} is not {size} bytes"

    def null(self, field):
        assert field.may_be_null(self.version), \
            f"{self.message.name} version {self.version}: {field.name} must not be null"

    def value(self, field):
        if field.is_array:
            count = self.length(False)
            if count < 0:
                return self.null(field)
            return [self.one(field) for _ in range(count)]
        if field.fields is not None and field.may_be_null(self.version):
            present = self.take(1)
            return None if present == b"\xff" else self.one(field)
        return self.one(field)

    def one(self, field):
        kind = field.item
        if field.fields is not None:
            return self.struct(field.fields)
        if kind in FIXED:
            return struct.unpack(FIXED[kind], self.take(struct.calcsize(FIXED[kind])))[0]
        if kind == "bool":
            byte = self.take(1)
            assert byte in (b"\x00", b"\x01"), f"{self.message.name}: {field.name} is {byte!r}"
            return byte == b"\x01"
        if kind == "uuid":
            return self.take(16)
        count = self.length(kind == "string")
        if count < 0:
            return self.null(field)
        raw = self.take(count)
        return raw.decode() if kind == "string" else raw
