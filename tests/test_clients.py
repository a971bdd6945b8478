"""Stock clients of three families read what each of the others wrote, in every codec of the protocol."""

import time

import pytest
from support import clients

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
COUNT = 500


def lines(words):
    return [f"{words} {number} {'x' * (number % 97)}" for number in range(COUNT)]


def write_with_kcat(server, topic, codec, values):
    clients.kcat_produce(server, topic, values, "-z", codec)


def write_with_confluent(server, topic, codec, values):
    refusals = []
    producer = clients.confluent_producer(server, compression_type=codec)
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: refusals.append(error) if error else None)
    assert producer.flush(clients.CLIENT_SECONDS) == 0
    assert not refusals


def write_with_python(server, topic, codec, values):
    producer = clients.python_producer(server, compression_type=None if codec == "none" else codec)
    sent = [producer.send(topic, value.encode()) for value in values]
    for future in sent:
        future.get(clients.CLIENT_SECONDS)
    producer.close()


def read_with_kcat(server, topic):
    return clients.kcat_consume(server, topic)


def read_with_confluent(server, topic):
    consumer = clients.confluent_consumer(server, f"readers-of-{topic}")
    consumer.subscribe([topic])
    values = [message.value().decode() for message in clients.take(consumer, COUNT)]
    consumer.close()
    return values


def read_with_python(server, topic):
    consumer = clients.python_consumer(server, topic)
    values = []
    for message in consumer:
        values.append(message.value.decode())
        if len(values) == COUNT:
            break
    consumer.close()
    return values


WRITERS = [write_with_kcat, write_with_confluent, write_with_python]
READERS = [read_with_kcat, read_with_confluent, read_with_python]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_client_reads_what_one_wrote(server, write, codec):
    values = lines(codec)
    write(server, "shared", codec, values)
    for read in READERS:
        assert sorted(read(server, "shared")) == sorted(values), read.__name__


def test_keys_headers_and_timestamps_come_back_as_they_were_sent(server):
    producer = clients.confluent_producer(server)
    now = int(time.time() * 1000)
    producer.produce("parts", value=b"v", key=b"k", timestamp=now, headers=[("a", b"1"), ("a", b"2"), ("none", None)])
    producer.produce("parts", value=None, key=b"", timestamp=now + 1)
    assert producer.flush(clients.CLIENT_SECONDS) == 0
    consumer = clients.confluent_consumer(server, "parts-readers")
    consumer.subscribe(["parts"])
    first, second = sorted(clients.take(consumer, 2), key=lambda message: message.timestamp()[1])
    consumer.close()
    assert (first.key(), first.value(), first.timestamp()[1]) == (b"k", b"v", now)
    assert first.headers() == [("a", b"1"), ("a", b"2"), ("none", None)]
    assert (second.key(), second.value(), second.timestamp()[1]) == (b"", None, now + 1)


def test_a_group_goes_on_after_what_it_committed_even_when_the_server_was_killed(server):
    values = lines("committed")
    clients.kcat_produce(server, "work", values)
    first = clients.confluent_consumer(server, "workers", enable_auto_commit=False)
    first.subscribe(["work"])
    done = clients.take(first, COUNT // 2)
    first.commit(message=done[-1], asynchronous=False)
    first.close()
    server.kill9()
    server.start()
    second = clients.confluent_consumer(server, "workers", enable_auto_commit=False)
    second.subscribe(["work"])
    rest = clients.take(second, COUNT - COUNT // 2)
    second.close()
    assert sorted(message.value().decode() for message in done + rest) == sorted(values)


def test_admin_creates_lists_and_deletes_topics(server):
    from confluent_kafka.admin import NewTopic
    admin = clients.confluent_admin(server)
    admin.create_topics([NewTopic("made", 3, 1)])["made"].result(clients.CLIENT_SECONDS)
    assert len(admin.list_topics(timeout=clients.CLIENT_SECONDS).topics["made"].partitions) == 3
    with pytest.raises(Exception, match="(?i)exist"):
        admin.create_topics([NewTopic("made", 1, 1)])["made"].result(clients.CLIENT_SECONDS)
    admin.delete_topics(["made"])["made"].result(clients.CLIENT_SECONDS)
    assert "made" not in admin.list_topics(timeout=clients.CLIENT_SECONDS).topics
