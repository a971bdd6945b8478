"""Every advertised version of every API, against the protocol's own field lists: random requests are understood, and
answers are exactly what the lists say. Skipped where the lists are not there. TIDEMARK_SEED repeats a run."""

import os
import random
import struct
import uuid

import pytest
from support import messages
from support.wire import Connection

ROUNDS = 30             # random requests of each version
UNKNOWN_TAG = 4000      # a tagged field from the future
TOPIC, GROUP = "known", "group"

# What random values must not do: wait long, ask for no answer, or take this test's machine.
FIXED_VALUES = {
    "MaxWaitMs": lambda r: r.choice([0, 1, 20]),
    "Acks": lambda r: r.choice([-1, 1]),
    "NumPartitions": lambda r: r.choice([-1, 0, 1, 3]),
    "Count": lambda r: r.choice([0, 1, 2, 4]),
    "RebalanceTimeoutMs": lambda r: r.choice([0, 10, 100]),
    "SessionTimeoutMs": lambda r: r.choice([0, 6000, 10000]),
}


class Filler:
    """Random values for a request, with a preference for those that mean something."""

    def __init__(self, seed, topic_id):
        self.random, self.topic_id = random.Random(seed), topic_id

    def fill(self, fields, key, version):
        return {field.name: self.value(field, key, version) for field in fields
                if field.present(version) and not (field.is_tagged(version) and self.random.random() < 0.5)}

    def value(self, field, key, version):
        if field.may_be_null(version) and self.random.random() < 0.3 and not self.must_be(field, key, version):
            return None
        if field.is_array:
            return [self.one(field, key, version) for _ in range(self.random.choice([0, 1, 1, 2, 3]))]
        return self.one(field, key, version)

    def must_be(self, field, key, version):
        return key == 3 and version in (10, 11) and field.name == "Name"  # those versions cannot be asked by id

    def one(self, field, key, version):
        r = self.random
        if field.fields is not None:
            return self.fill(field.fields, key, version)
        if field.name in FIXED_VALUES:
            return FIXED_VALUES[field.name](r)
        if field.item in messages.FIXED and field.item != "float64":
            bits = 8 * struct.calcsize(messages.FIXED[field.item])
            return r.choice([-1, 0, 0, 1, 2, r.getrandbits(bits - 1), -r.getrandbits(bits - 1)])
        if field.item == "string":
            return r.choice([TOPIC, GROUP, "", "1", "odd name!", "ü" * r.randrange(40), f"fresh{r.getrandbits(20)}"])
        return {"bool": lambda: r.random() < 0.5, "float64": r.random,
                "uuid": lambda: r.choice([self.topic_id, bytes(16), uuid.UUID(int=r.getrandbits(128)).bytes]),
                "bytes": lambda: r.randbytes(r.randrange(60)), "records": lambda: r.randbytes(r.randrange(90))}[field.item]()


@pytest.fixture(scope="module")
def seed():
    return os.environ.get("TIDEMARK_SEED") or str(random.SystemRandom().getrandbits(32))


def advertised(connection):
    answer = connection.ask(messages.API_VERSIONS, 0, {})
    return [(api["ApiKey"], version) for api in answer["ApiKeys"] for version in range(api["MinVersion"], api["MaxVersion"] + 1)]


def make_topic(connection):
    """A topic, so that some of what random requests name is there; gives its id."""
    connection.ask(19, 7, {"Topics": [{"Name": TOPIC, "NumPartitions": 3, "ReplicationFactor": 1, "Assignments": [],
                                       "Configs": []}], "timeoutMs": 1000, "validateOnly": False})
    answer = connection.ask(3, 12, {"Topics": [{"TopicId": bytes(16), "Name": TOPIC}], "AllowAutoTopicCreation": False,
                                    "IncludeTopicAuthorizedOperations": False})
    return answer["Topics"][0]["TopicId"]


def test_every_version_of_every_api_is_spoken_as_its_field_list_says(servers, field_lists, seed):
    print(f"TIDEMARK_SEED={seed}")
    server = servers("--group-initial-rebalance-delay-ms", "0").start()
    with Connection(server, field_lists) as connection:
        speak_all(connection, field_lists, seed)


def speak_all(connection, field_lists, seed):
    pairs = advertised(connection)
    topic_id = make_topic(connection)
    for key, version in pairs:
        request = messages.pick(field_lists, key, "request", version)
        for round_ in range(ROUNDS):
            filler = Filler(f"{seed}/{key}/{version}/{round_}", topic_id)
            values = filler.fill(request.fields, key, version)
            future = {UNKNOWN_TAG: filler.random.randbytes(5)} if round_ % 2 else None
            try:
                connection.ask(key, version, values, future)
            except (AssertionError, OSError) as problem:
                raise AssertionError(f"{request.name} version {version}, TIDEMARK_SEED={seed}: {problem}\n{values}") from problem
    assert len(pairs) > 150


def commit(count):
    part = {"PartitionIndex": 0, "CommittedOffset": 1, "CommittedLeaderEpoch": -1, "CommittedMetadata": ""}
    return {"GroupId": GROUP, "GenerationIdOrMemberEpoch": -1, "MemberId": "", "GroupInstanceId": None,
            "Topics": [{"Name": TOPIC, "Partitions": [part] * count}]}


def test_a_request_that_would_take_too_much_memory_ends_its_connection_alone(server, field_lists):
    with Connection(server, field_lists) as modest, Connection(server, field_lists) as greedy:
        make_topic(modest)
        with pytest.raises(AssertionError, match="closed"):
            greedy.ask(8, 8, commit(200_000))
        answer = modest.ask(8, 8, commit(10_000))
        assert {part["ErrorCode"] for part in answer["Topics"][0]["Partitions"]} == {0}
    assert server.errors.wait_for("asks for more than there is memory for", 5)
