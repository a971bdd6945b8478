"""The broker's part of the HTTP API: topics and groups, as docs/http.md says them."""

import json
import re
import urllib.parse

import pytest
from support.clients import confluent_consumer, kcat_consume, kcat_produce, take

TOPICS, GROUPS = "/api/v1/topics", "/api/v1/groups"


def create(server, name, partitions=1, **settings):
    answer = server.ask("POST", TOPICS, {"name": name, "partitions": partitions, "settings": settings})
    assert answer.status == 201, answer.body
    return answer.json()


def refused(answer, status, code):
    assert answer.status == status, answer.body
    assert answer.json()["code"] == code
    assert set(answer.json()) == {"code", "message", "where", "fix"}
    return answer.json()["message"]


def test_a_topic_is_created_shown_and_deleted(server):
    made = create(server, "orders", 3, **{"retention.ms": "1h", "segment.bytes": 1048576})
    assert made["ref"] == "topic:orders" and made["partitions"] == 3
    shown = server.get(f"{TOPICS}/orders").json()
    assert shown["settings"] == {"retention.ms": "1h", "segment.bytes": "1048576"}
    assert shown["effective"]["cleanup.policy"] == "delete"
    assert shown["effective"]["compression.type"] == "producer"
    assert server.ask("DELETE", f"{TOPICS}/orders", {}).status == 204
    refused(server.get(f"{TOPICS}/orders"), 404, "not_found")


def test_a_topic_that_exists_is_replaced_only_when_asked(server):
    first = create(server, "orders")
    refused(server.ask("POST", TOPICS, {"name": "orders"}), 409, "exists")
    kcat_produce(server, "orders", ["old"])
    again = server.ask("POST", TOPICS, {"name": "orders", "replace": True, "partitions": 2}).json()
    assert again["id"] != first["id"] and again["offsets"] == 0 and again["partitions"] == 2


def test_a_replacement_that_cannot_be_made_leaves_the_old_topic(server):
    create(server, "orders")
    kcat_produce(server, "orders", ["kept"])
    refused(server.ask("POST", TOPICS, {"name": "orders", "replace": True, "settings": {"retention.ms": "soon"}}),
            400, "invalid")
    assert kcat_consume(server, "orders") == ["kept"]


@pytest.mark.parametrize("body, words", [
    ({}, "name"),
    ({"name": "a b"}, "a b"),
    ({"name": "x", "partitions": 0}, "partitions"),
    ({"name": "x", "partitions": 1.5}, "partitions"),
    ({"name": "x", "partitins": 1}, "did you mean \"partitions\""),
    ({"name": "x", "settings": {"retentin.ms": "1h"}}, "retention.ms"),
    ({"name": "x", "settings": {"retention.ms": ["1h"]}}, "retention.ms"),
    ({"name": "x", "settings": 5}, "settings"),
])
def test_a_body_that_makes_no_sense_is_refused_with_the_reason(server, body, words):
    assert words in refused(server.ask("POST", TOPICS, body), 400, "invalid")
    assert server.get(TOPICS).json()["topics"] == []


def test_an_unknown_topic_gets_the_nearest_name(server):
    create(server, "orders")
    assert "orders" in refused(server.get(f"{TOPICS}/oders"), 404, "not_found")


def test_the_programs_own_topics_are_closed_to_changes(server):
    assert server.get(TOPICS).json()["topics"] == []
    assert "__meta" in [topic["name"] for topic in server.get(f"{TOPICS}?internal=true").json()["topics"]]
    refused(server.ask("DELETE", f"{TOPICS}/__meta", {}), 403, "denied")
    refused(server.ask("PATCH", f"{TOPICS}/__meta", {"settings": {"retention.ms": "1h"}}), 403, "denied")
    refused(server.ask("POST", f"{TOPICS}/__meta/trim", {"to": "latest"}), 403, "denied")


def test_a_list_comes_page_by_page(server):
    names = [f"topic-{number}" for number in range(7)]
    for name in names:
        create(server, name)
    seen, cursor = [], ""
    while cursor is not None:
        page = server.get(f"{TOPICS}?limit=3{cursor and '&cursor=' + urllib.parse.quote(cursor)}").json()
        assert len(page["topics"]) <= 3
        seen += [topic["name"] for topic in page["topics"]]
        cursor = page["next"]
    assert seen == names
    refused(server.get(f"{TOPICS}?limit=0"), 400, "invalid")


def test_partitions_come_page_by_page(server):
    create(server, "wide", 5)
    first = server.get(f"{TOPICS}/wide/partitions?limit=2").json()
    assert [part["partition"] for part in first["partitions"]] == [0, 1]
    rest = server.get(f"{TOPICS}/wide/partitions?cursor={first['next']}").json()
    assert [part["ref"] for part in rest["partitions"]] == [f"topic:wide/{number}" for number in (2, 3, 4)]
    assert rest["next"] is None


def test_an_edit_is_done_whole_or_not_at_all(server):
    create(server, "orders", 2, **{"retention.ms": "1h", "flush.policy": "os"})
    refused(server.ask("PATCH", f"{TOPICS}/orders", {"partitions": 4, "settings": {"retention.ms": "soon"}}), 400, "invalid")
    refused(server.ask("PATCH", f"{TOPICS}/orders", {"partitions": 1, "settings": {"retention.ms": "2h"}}), 400, "invalid")
    shown = server.get(f"{TOPICS}/orders").json()
    assert shown["partitions"] == 2 and shown["settings"]["retention.ms"] == "1h"
    edited = server.ask("PATCH", f"{TOPICS}/orders", {"partitions": 4, "settings": {"retention.ms": None, "segment.ms": "1d"}})
    assert edited.json()["partitions"] == 4
    assert edited.json()["settings"] == {"flush.policy": "os", "segment.ms": "1d"}


def test_trim_deletes_what_is_before_a_point(server):
    create(server, "orders", 2)
    kcat_produce(server, "orders", ["a", "b", "c"], "-p", "1")
    answer = server.ask("POST", f"{TOPICS}/orders/trim", {"to": "offset:2", "partition": 1})
    assert answer.json() == {"partitions": [{"partition": 1, "start": 2}]}
    assert kcat_consume(server, "orders") == ["c"]
    assert "0 to 0" in refused(server.ask("POST", f"{TOPICS}/orders/trim", {"to": "offset:9"}), 416, "out_of_range")
    assert "earliest" in refused(server.ask("POST", f"{TOPICS}/orders/trim", {"to": "soon"}), 400, "invalid")
    refused(server.ask("POST", f"{TOPICS}/orders/trim", {"to": "mark:before"}), 501, "unsupported")
    server.ask("POST", f"{TOPICS}/orders/trim", {"to": "latest"})
    assert kcat_consume(server, "orders") == []


def test_a_group_shows_its_members_and_how_far_they_are(server):
    create(server, "orders", 2)
    kcat_produce(server, "orders", ["a", "b", "c"], "-p", "0")
    consumer = confluent_consumer(server, "billing", enable_auto_commit=False)
    consumer.subscribe(["orders"])
    messages = take(consumer, 3)
    consumer.commit(messages[1], asynchronous=False)
    group = server.get(f"{GROUPS}/billing").json()
    assert group["state"] == "Stable" and group["member_count"] == 1 and group["lag"] == 1
    assert group["members"][0]["assignment"] == {"orders": [0, 1]}
    assert {key: group["offsets"][0][key] for key in ("topic", "partition", "offset", "end", "lag")} == {
        "topic": "orders", "partition": 0, "offset": 2, "end": 3, "lag": 1}
    assert "members" in refused(server.ask("PATCH", f"{GROUPS}/billing", {"to": "earliest"}), 409, "conflict")
    refused(server.ask("DELETE", f"{GROUPS}/billing", {}), 409, "conflict")
    consumer.close()
    assert server.get(f"{GROUPS}/billing").json()["state"] == "Empty"


def test_a_groups_offsets_move_to_a_point(server):
    create(server, "orders")
    kcat_produce(server, "orders", ["a", "b", "c"])
    refused(server.ask("PATCH", f"{GROUPS}/billing", {"to": "latest"}), 404, "not_found")
    moved = server.ask("PATCH", f"{GROUPS}/billing", {"to": "latest", "topic": "orders"}).json()
    assert moved["offsets"][0]["offset"] == 3
    server.ask("PATCH", f"{GROUPS}/billing", {"to": "offset:1"})
    consumer = confluent_consumer(server, "billing")
    consumer.subscribe(["orders"])
    assert [message.value() for message in take(consumer, 2)] == [b"b", b"c"]
    consumer.close()
    for point, offset in (("earliest", 0), ("-1h", 0), ("now", 3)):
        assert server.ask("PATCH", f"{GROUPS}/billing", {"to": point}).json()["offsets"][0]["offset"] == offset
    refused(server.ask("PATCH", f"{GROUPS}/billing", {"to": "latest", "partition": 0}), 400, "invalid")
    refused(server.ask("PATCH", f"{GROUPS}/billing", {"to": "latest", "topic": "orders", "partition": 7}), 404, "not_found")


def test_a_group_is_listed_and_deleted(server):
    create(server, "orders")
    for name in ("b", "a", "c/d e"):
        path = f"{GROUPS}/{urllib.parse.quote(name, safe='')}"
        assert server.ask("PATCH", path, {"to": "latest", "topic": "orders"}).status == 200
    assert [group["name"] for group in server.get(GROUPS).json()["groups"]] == ["a", "b", "c/d e"]
    assert server.get(f"{GROUPS}?limit=2").json()["next"] == "b"
    assert server.ask("DELETE", f"{GROUPS}/c%2Fd%20e", {}).status == 204
    refused(server.ask("DELETE", f"{GROUPS}/c%2Fd%20e", {}), 404, "not_found")


def test_a_topic_and_a_moved_group_are_there_after_kill_9(server):
    create(server, "orders", 2, **{"retention.ms": "1h"})
    server.ask("PATCH", f"{GROUPS}/billing", {"to": "latest", "topic": "orders"})
    server.kill9()
    server.start()
    assert server.get(f"{TOPICS}/orders").json()["settings"] == {"retention.ms": "1h"}
    assert server.get(f"{GROUPS}/billing").json()["offset_count"] == 2


def test_writes_want_the_token_and_json(server):
    assert server.ask("POST", TOPICS, {"name": "x"}, token=False).status == 401
    assert server.ask("POST", TOPICS, {"name": "x"}, headers={"Content-Type": "text/plain"}).status == 415
    assert server.get(f"{TOPICS}/x").status == 404


def test_the_server_says_what_it_is(server):
    said = server.get("/api/v1/server").json()
    assert said["kafka"] == server.kafka and said["http"] == server.http and said["data"] == server.data
    assert said["config"]["num.partitions"] == "1"
    assert said["uptime_ms"] >= 0 and isinstance(said["start"]["took_ms"], int)
    json.dumps(said)


def test_metrics_are_prometheus_text_and_count_requests(server):
    kcat_produce(server, "orders", ["a"])
    samples, kinds = {}, {}
    for line in server.get("/metrics").body.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in kinds, f"{name} is declared twice"
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = re.fullmatch(r'([a-z_]+)((?:\{.*\})?) (\S+)', line)
            assert match, line
            family = re.sub(r"_(bucket|sum|count)$", "", match[1])
            assert match[1] in kinds or kinds.get(family) == "histogram", line
            samples[match[1] + match[2]] = float(match[3])
    assert samples['tidemark_kafka_request_seconds_count{api="Produce"}'] == 1
    assert samples['tidemark_kafka_request_seconds_bucket{api="Produce",le="+Inf"}'] == 1
    assert samples["tidemark_kafka_received_bytes_total"] > 0
    assert samples["tidemark_coord_groups"] == 0 and samples["tidemark_log_topics"] >= 2
