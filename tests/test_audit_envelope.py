"""Change records as Debezium's consumers get them, written from a real PostgreSQL; and nothing of a value is lost."""

import base64
import json
import time

import pytest
from support.clients import confluent_consumer

SETUP = """
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree;
CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN posint AS int CHECK (value > 0); CREATE DOMAIN amount AS numeric(8,2); CREATE DOMAIN tags AS text[]
"""
# name, type, literal, the record's form of it
COLUMNS = [
    ("i2", "smallint", "1", 1), ("i8", "bigint", "9007199254740993", 9007199254740993),
    ("n", "numeric", "22.2200", {"scale": 2, "value": "CK4="}), ("n2", "numeric(6,4)", "22.2200", "A2P4"),
    ("n3", "numeric(30,2)", "-12345678901234567890123456.78", "/ALKFJKGhW5Bxwyy"), ("nan", "numeric", "NaN", None),
    ("f", "double precision", "1", 1.0), ("f4", "real", "1e-05", 1e-05), ("fnan", "real", "NaN", "NaN"),
    ("b", "boolean", "t", True), ("by", "bytea", "\\x0102ff", "AQL/"), ("ch", "char(5)", "ab", "ab   "),
    ("d", "date", "2016-11-04", 17109), ("dbc", "date", "0044-03-15 BC", -735160), ("t", "time", "24:00:00", 86400000000),
    ("t3", "time(3)", "13:51:30.123", 49890123), ("tz", "timetz", "13:51:30.123789+02", "11:51:30.123789Z"),
    ("ts", "timestamp", "2016-11-04 13:51:30.123456", 1478267490123456),
    ("ts3", "timestamp(3)", "2016-11-04 13:51:30.123", 1478267490123),
    ("tsinf", "timestamp", "infinity", 9223372036825200000),
    ("tstz", "timestamptz", "2016-11-04 13:51:30.5+02", "2016-11-04T11:51:30.500000Z"),
    ("tzinf", "timestamptz", "-infinity", "-infinity"),
    ("iv", "interval", "1 year 2 mons 3 days 04:05:06.78", 37091106780000), ("bit1", "bit", "1", True),
    ("bit11", "bit(11)", "10101010101", "VQU="), ("vb", "varbit", "0011", "Aw=="), ("m", "money", "-1234.11", "/h3t"),
    ("u", "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("j", "json", '{"b" : 1,\n "a":2, "a":3}', '{"b" : 1,\n "a":2, "a":3}'), ("x", "xml", "<a>b</a>", "<a>b</a>"),
    ("net", "inet", "10.0.0.1/8", "10.0.0.1/8"), ("r", "int4range", "[1,5]", "[1,6)"),
    ("p", "point", "(1,2.5)", {"x": 1.0, "y": 2.5, "wkb": "AQEAAAAAAAAAAADwPwAAAAAAAARA", "srid": None}),
    ("ia", "int[]", "{1,NULL,3}", [1, None, 3]), ("ta", "text[]", '{"a b","NULL",NULL,"q\\"x"}', ["a b", "NULL", None, 'q"x']),
    ("ia2", "int[]", "{{1,2},{3,4}}", [[1, 2], [3, 4]]), ("lb", "int[]", "[0:1]={7,8}", [7, 8]),
    ("na", "numeric(10,2)[]", "{1.20,3.40}", ["eA==", "AVQ="]),
    ("tza", "timestamptz[]", '{"2020-04-01 13:51:02+02"}', ["2020-04-01T11:51:02.000000Z"]),
    ("e", "mood", "ok", "ok"), ("ea", "mood[]", "{sad,ok}", ["sad", "ok"]), ("dom", "posint", "5", 5),
    ("domn", "amount", "12.50", "BOI="), ("doma", "tags", "{a,b}", ["a", "b"]),
    ("h", "hstore", '"a"=>"1", "b"=>NULL', {"a": "1", "b": None}), ("ci", "citext", "Hello", "Hello"),
    ("lt", "ltree", "Top.A", "Top.A"), ("cmp", "pair", '(1,"a b")', '(1,"a b")'), ("o", "oid", "4000000000", 4000000000),
    ("boxes", "box[]", "{(1,1),(0,0);(2,2),(1,1)}", "{(1,1),(0,0);(2,2),(1,1)}"), ("lsn", "pg_lsn", "16/B374D848", "16/B374D848"),
]
SECONDS = 30


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def capture(server, database, **options):
    name = database.name
    made = server.ask("POST", "/api/v1/sources", {"name": name, "url": database.url,
                                                     "options": {"snapshot": False, **options}})
    assert made.status == 201, made.body
    end = time.monotonic() + SECONDS
    while json.loads(server.get(f"/api/v1/sources/{name}").body)["state"] != "running":
        assert time.monotonic() < end, server.get(f"/api/v1/sources/{name}").body
        time.sleep(0.05)


def records(server, topic, count):
    """The first records of a topic: (key, value, headers), JSON read."""
    consumer, found = confluent_consumer(server, "reader"), []
    consumer.subscribe([topic])
    end = time.monotonic() + SECONDS
    while len(found) < count and time.monotonic() < end:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            found.append((message.key() and json.loads(message.key()), message.value() and json.loads(message.value()),
                          {name: json.loads(value) for name, value in message.headers() or []}))
    consumer.close()
    assert len(found) == count
    return found


def changes(server, source, count):
    """All changes of a source, oldest first, when there are as many."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        answer = server.get(f"/api/v1/changes?source={source}&limit=100&order=oldest")
        found = json.loads(answer.body)["changes"] if answer.status == 200 else []
        if len(found) >= count:
            return found
        time.sleep(0.05)
    pytest.fail(f"not {count} changes: {answer.body}")


def make_everything(database):
    database.sql(SETUP)
    database.sql("CREATE TABLE everything (id bigserial PRIMARY KEY, big text, "
                 + ", ".join(f"{name} {kind}" for name, kind, _, _ in COLUMNS) + ")")


def insert_everything(database):
    big = "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 3000) g)"
    database.sql(f"INSERT INTO everything (big, {', '.join(name for name, _, _, _ in COLUMNS)}) VALUES ({big}, "
                 + ", ".join(quoted(literal) for _, _, literal, _ in COLUMNS) + ")")


def test_every_type_takes_debeziums_form_and_comes_back_as_the_server_wrote_it(server, database):
    make_everything(database)
    capture(server, database)
    insert_everything(database)
    [(key, value, _)] = records(server, f"{database.name}.public.everything", 1)
    assert key == {"id": 1} and value["op"] == "c" and value["before"] is None
    assert {name: value["after"][name] for name, _, _, _ in COLUMNS} == {name: form for name, _, _, form in COLUMNS}
    [change] = changes(server, database.name, 1)
    names = [name for name, _, _, _ in COLUMNS]
    [row] = database.sql("SET timezone = 'UTC'; SET extra_float_digits = 3; SELECT "
                         + ", ".join(f"{name}::text" for name in names) + " FROM everything")
    for name, text in zip(names, row):
        shown = change["after"][name]
        if isinstance(shown, bool):
            assert shown == (text in ("t", "true")), name
        elif isinstance(shown, (int, float)):
            assert shown == json.loads(text), name
        elif isinstance(shown, dict):
            assert shown == json.loads(text), name
        elif name not in ("ch",):  # a cast of char(n) drops its spaces
            assert shown == text, name
    assert change["unknown"] == [] and change["operation"] == "create" and change["key"] == "1"


def test_what_was_not_sent_is_marked_and_a_changed_key_is_delete_tombstone_create(server, database):
    make_everything(database)
    capture(server, database)
    insert_everything(database)
    database.sql("UPDATE everything SET i2 = 7")
    database.sql("UPDATE everything SET id = 100")
    database.sql("DELETE FROM everything")
    found = records(server, f"{database.name}.public.everything", 7)
    assert [(key["id"], value and value["op"]) for key, value, _ in found] == \
        [(1, "c"), (1, "u"), (1, "d"), (1, None), (100, "c"), (100, "d"), (100, None)]
    assert found[2][2]["__debezium.newkey"] == {"id": 100} and found[4][2]["__debezium.oldkey"] == {"id": 1}
    assert found[2][1]["after"] is None and found[4][1]["before"] is None
    told = changes(server, database.name, 4)
    assert [change["operation"] for change in told] == ["create", "update", "update", "delete"]
    assert told[2]["before"] == {"id": 1} and told[2]["after"]["id"] == 100 and "id" in told[2]["changed"]
    for value, change in ((found[1][1], told[1]), (found[4][1], told[2])):
        if change["unknown"]:  # not yet filled from the row's history
            assert change["unknown"] == ["big"] and "big" not in change["after"]
            assert value["after"]["big"] == "__debezium_unavailable_value"
        else:
            assert len(change["after"]["big"]) == 96000


def test_with_schemas_on_each_record_says_what_it_is_made_of(server, database):
    make_everything(database)
    capture(server, database, schemas=True)
    insert_everything(database)
    [(key, value, _)] = records(server, f"{database.name}.public.everything", 1)
    prefix = f"{database.name}.public.everything"
    assert key["payload"] == {"id": 1} and key["schema"]["name"] == f"{prefix}.Key"
    assert key["schema"]["fields"] == [{"type": "int64", "optional": False, "field": "id"}]
    schema, payload = value["schema"], value["payload"]
    assert schema["name"] == f"{prefix}.Envelope" and payload["op"] == "c"
    fields = {field["field"]: field for field in schema["fields"]}
    assert list(fields) == list(payload)
    assert [field["field"] for field in fields["source"]["fields"]] == list(payload["source"])
    row = {field["field"]: field for field in fields["after"]["fields"]}
    assert list(row) == list(payload["after"])
    assert row["e"]["name"] == "io.debezium.data.Enum" and row["e"]["parameters"] == {"allowed": "sad,ok"}
    assert row["n2"]["parameters"] == {"scale": "4", "connect.decimal.precision": "6"}
    assert row["domn"]["name"] == "org.apache.kafka.connect.data.Decimal" and row["dom"]["type"] == "int32"
    assert row["ts3"]["name"] == "io.debezium.time.Timestamp" and row["h"]["type"] == "map"


def test_a_source_may_choose_other_modes_and_its_changes_stay_exact(server, database):
    make_everything(database)
    capture(server, database, decimals="string", binaries="hex", intervals="string", hstores="json", times="connect")
    insert_everything(database)
    [(_, value, header)] = records(server, f"{database.name}.public.everything", 1)
    forms = {"n": "22.2200", "n2": "22.2200", "nan": "NaN", "m": "-1234.11", "by": "0102ff", "iv": "P1Y2M3DT4H5M6.78S",
             "h": '{"a":"1","b":null}', "ts": 1478267490123, "t3": 49890123, "d": 17109, "na": ["1.20", "3.40"]}
    assert {name: value["after"][name] for name in forms} == forms
    assert header["tidemark"]["times"] == "connect" and header["tidemark"]["exact"]["after"]["ts"] == "2016-11-04 13:51:30.123456"
    [change] = changes(server, database.name, 1)
    shown = change["after"]
    assert (shown["ts"], shown["iv"], shown["by"]) == ("2016-11-04 13:51:30.123456", "1 year 2 mons 3 days 04:05:06.78", "\\x0102ff")
    assert shown["h"] == '"a"=>"1", "b"=>NULL' and shown["m"] == "-$1,234.11"


def test_messages_and_transactions_have_topics_of_their_own(server, database):
    database.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    capture(server, database, messages=True, transactions=True)
    database.sql("BEGIN; SELECT pg_logical_emit_message(true, 'note', 'hällo'); INSERT INTO a VALUES (1), (2); "
                 "INSERT INTO b VALUES (1); COMMIT")
    [(key, value, _)] = records(server, f"{database.name}.message", 1)
    assert key == {"prefix": "note"} and value["op"] == "m" and value["source"]["table"] == ""
    assert base64.b64decode(value["message"]["content"]).decode() == "hällo"
    (begin_key, begin, _), (end_key, end, _) = records(server, f"{database.name}.transaction", 2)
    assert begin_key == end_key == {"id": begin["id"]} == {"id": end["id"]}
    assert (begin["status"], begin["event_count"], begin["data_collections"]) == ("BEGIN", None, None)
    assert end["status"] == "END"
    counts = {part["data_collection"]: part["event_count"] for part in end["data_collections"]}
    assert counts["public.a"] == 2 and counts["public.b"] == 1
    places = [value["transaction"] for _, value, _ in records(server, f"{database.name}.public.a", 2)]
    assert [place["id"] for place in places] == [begin["id"]] * 2
    assert [place["data_collection_order"] for place in places] == [1, 2]
