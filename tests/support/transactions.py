"""A transactional producer as a process of its own: librdkafka 2.0 may end its process in an assertion when its
coordinator restarts, and then only this one ends.

Its argument is JSON: server, name, partitions, first (number), seed. To standard output go JSON lines: {"plan": [[number,
topic, partition], ...]} before a transaction sends anything, then {"outcome": "committed" | "aborted" | "unknown",
"acked": {number: [topic, partition, offset]}, "why": ...}. It ends when its standard input does.
"""

import json
import random
import select
import sys
import time

import confluent_kafka

from support.values import RECONNECT, WAIT_SECONDS, filler_length, make_value

STEP_SECONDS = 10
SILENT, ABORTED = 0.05, 0.25  # share of transactions left alone; and with those ended by an abort


class Producer:
    def __init__(self, settings):
        self.name, self.partitions = settings["name"], settings["partitions"]
        self.number = settings["first"]
        self.chance = random.Random(f"{self.name} {settings['seed']} {self.number}")
        self.settings = {"bootstrap.servers": settings["server"], "transactional.id": self.name, "linger.ms": 1,
                         "transaction.timeout.ms": 20000, "message.timeout.ms": 15000, **RECONNECT}
        self.client, self.acked = None, {}

    def until_done(self, step):
        """Calls it again while the client says that this may help."""
        ends = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                return step(STEP_SECONDS)
            except confluent_kafka.KafkaException as refusal:
                if not refusal.args[0].retriable() or time.monotonic() > ends:
                    raise

    def start_anew(self):
        self.client = confluent_kafka.Producer(self.settings)
        self.until_done(self.client.init_transactions)

    def told(self, number):
        def note(error, message):
            if not error:
                self.acked[number] = [message.topic(), message.partition(), message.offset()]
        return note

    def send(self, plan):
        self.client.begin_transaction()
        for number, topic, partition in plan:
            value = make_value(self.name, number, filler_length(self.chance))
            self.client.produce(topic, value, partition=partition, on_delivery=self.told(number))

    def end(self):
        """The outcome; None: left without a word, for the next of its name to end."""
        kind = self.chance.random()
        if kind < SILENT:
            return None
        self.until_done(self.client.abort_transaction if kind < ABORTED else self.client.commit_transaction)
        return "aborted" if kind < ABORTED else "committed"

    def transaction(self):
        plan = [[self.number + n, *self.chance.choice(self.partitions)] for n in range(self.chance.randint(1, 30))]
        self.number += len(plan)
        self.acked = {}
        say(plan=plan)
        outcome, why = None, "left alone"
        try:
            self.send(plan)
            outcome = self.end()
        except confluent_kafka.KafkaException as refusal:
            why = f"{refusal.args[0].name()}: {refusal.args[0].str()}"
            if refusal.args[0].txn_requires_abort():
                outcome = self.give_up()
        say(outcome=outcome or "unknown", acked=self.acked, why=why)
        if outcome is None:
            self.client = None

    def give_up(self):
        try:
            self.until_done(self.client.abort_transaction)
            return "aborted"
        except confluent_kafka.KafkaException:
            return None


def say(**line):
    print(json.dumps(line), flush=True)


def main():
    producer = Producer(json.loads(sys.argv[1]))
    while not select.select([sys.stdin], [], [], 0)[0]:
        if producer.client is None:
            producer.start_anew()
        producer.transaction()
    producer.start_anew()  # whatever was left open is over


if __name__ == "__main__":
    main()
