"""Stock Kafka clients pointed at a server under test."""

import subprocess

CLIENT_SECONDS = 60


def kcat(server, *words, **more):
    """Runs kcat with more going to subprocess.run; the result has text output."""
    return subprocess.run(["kcat", "-b", server.kafka, *words],
                          **{"capture_output": True, "text": True, "timeout": CLIENT_SECONDS, **more})


def kcat_produce(server, topic, lines, *words):
    """Writes lines with acks=all and fails unless kcat says that all were delivered."""
    ran = kcat(server, "-P", "-t", topic, "-X", "acks=all", *words, input="".join(f"{line}\n" for line in lines))
    assert ran.returncode == 0 and "failed" not in ran.stderr.lower(), ran.stderr


def kcat_consume(server, topic, *words):
    """All values of a topic from its start to its present end."""
    ran = kcat(server, "-C", "-t", topic, "-o", "beginning", "-e", "-q", *words)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def confluent_producer(server, **settings):
    import confluent_kafka
    return confluent_kafka.Producer({"bootstrap.servers": server.kafka, "acks": "all", **dotted(settings)})


def confluent_consumer(server, group, **settings):
    import confluent_kafka
    return confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": group,
                                     "auto.offset.reset": "earliest", **dotted(settings)})


def confluent_admin(server, **settings):
    from confluent_kafka.admin import AdminClient
    return AdminClient({"bootstrap.servers": server.kafka, **dotted(settings)})


def make_topic(server, name, partitions=1, config=None):
    from confluent_kafka.admin import NewTopic
    admin = confluent_admin(server)  # a name of its own: it must outlive its answer
    admin.create_topics([NewTopic(name, partitions, 1, config=config or {})])[name].result(CLIENT_SECONDS)


def delete_topic(server, name):
    admin = confluent_admin(server)
    admin.delete_topics([name])[name].result(CLIENT_SECONDS)


def python_producer(server, **settings):
    import kafka
    return kafka.KafkaProducer(bootstrap_servers=server.kafka, **{"acks": "all", **settings})


def python_consumer(server, *topics, **settings):
    import kafka
    return kafka.KafkaConsumer(*topics, bootstrap_servers=server.kafka,
                               **{"auto_offset_reset": "earliest", "consumer_timeout_ms": CLIENT_SECONDS * 1000,
                                  **settings})


def dotted(settings):
    """message_timeout_ms -> message.timeout.ms"""
    return {name.replace("_", "."): value for name, value in settings.items()}


def take(consumer, count, seconds=CLIENT_SECONDS):
    """count messages from a confluent consumer, or an assertion that says how many came."""
    import time
    messages, deadline = [], time.monotonic() + seconds
    while len(messages) < count and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is not None:
            assert message.error() is None, message.error()
            messages.append(message)
    assert len(messages) == count, f"{len(messages)} of {count} messages came in {seconds} s"
    return messages
