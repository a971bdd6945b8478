// What Java programs do with a broker, by the stock client alone: `java Client VERB BOOTSTRAP`.
// A verb that finds anything else than it expects ends with a stack trace and a status.
// SPDX-License-Identifier: Apache-2.0
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.*;

public class Client {
    static final int SECONDS = 60; // longer than anything here takes, also beside a busy neighbour
    static String bootstrap;

    static void expect(Object wanted, Object got) {
        if (!wanted.equals(got)) {
            throw new AssertionError("expected " + wanted + ", got " + got);
        }
    }

    static Properties settings(String... more) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        for (int i = 0; i < more.length; i += 2) {
            p.put(more[i], more[i + 1]);
        }
        return p;
    }

    static KafkaProducer<String, String> producer(String... more) {
        return new KafkaProducer<>(settings(more), new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(String group, String... more) {
        Properties p = settings(more);
        p.put("group.id", group);
        p.put("auto.offset.reset", "earliest");
        p.put("enable.auto.commit", "false");
        p.put("heartbeat.interval.ms", "300"); // rebalances are heard of by it
        return new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer());
    }

    static <T> T get(Future<T> future) throws Exception {
        return future.get(SECONDS, TimeUnit.SECONDS);
    }

    static void create(String topic, int partitions) throws Exception {
        try (Admin admin = Admin.create(settings())) {
            get(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all());
        }
    }

    static List<ConsumerRecord<String, String>> take(Consumer<String, String> from, int count) {
        List<ConsumerRecord<String, String>> taken = new ArrayList<>();
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
        while (taken.size() < count && System.nanoTime() < end) {
            from.poll(Duration.ofMillis(100)).forEach(taken::add);
        }
        expect(count, taken.size());
        return taken;
    }

    // The defaults of 3.0 and later: idempotent, acks=all.
    static void produce() throws Exception {
        List<String> codecs = List.of("none", "gzip", "snappy", "lz4", "zstd");
        int each = 500;
        create("java-produce", 1);
        for (String codec : codecs) {
            try (KafkaProducer<String, String> producer = producer("compression.type", codec, "linger.ms", "5")) {
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (int i = 0; i < each; i++) {
                    ProducerRecord<String, String> record =
                        new ProducerRecord<>("java-produce", 0, 1_700_000_000_000L + i, codec, i == 7 ? null : "v" + i);
                    record.headers().add("n", new byte[] {(byte) i});
                    sent.add(producer.send(record));
                }
                for (int i = 0; i < each; i++) {
                    expect((long) codecs.indexOf(codec) * each + i, get(sent.get(i)).offset());
                }
            }
        }
        try (KafkaConsumer<String, String> consumer = consumer("java-readers")) {
            TopicPartition p = new TopicPartition("java-produce", 0);
            consumer.assign(List.of(p));
            List<ConsumerRecord<String, String>> all = take(consumer, each * codecs.size());
            for (int i = 0; i < all.size(); i++) {
                ConsumerRecord<String, String> record = all.get(i);
                expect((long) i, record.offset());
                expect(codecs.get(i / each), record.key());
                expect(i % each == 7, record.value() == null);
                expect(1_700_000_000_000L + i % each, record.timestamp());
                expect((byte) (i % each), record.headers().lastHeader("n").value()[0]);
            }
            consumer.seek(p, 600);
            expect(600L, take(consumer, all.size() - 600).get(0).offset());
            expect((long) all.size(), consumer.endOffsets(List.of(p)).get(p));
            expect(100L, consumer.offsetsForTimes(Map.of(p, 1_700_000_000_100L)).get(p).offset());
        }
    }

    // A member reads alone, a second one joins, both read, the first leaves, the second has all.
    static void group() throws Exception {
        String topic = "java-group", group = "java-members";
        create(topic, 4);
        for (String assignor : List.of("RangeAssignor", "CooperativeStickyAssignor")) {
            String strategy = "org.apache.kafka.clients.consumer." + assignor, name = group + assignor;
            try (KafkaConsumer<String, String> second = consumer(name, "partition.assignment.strategy", strategy);
                 KafkaProducer<String, String> producer = producer()) {
                try (KafkaConsumer<String, String> first = consumer(name, "partition.assignment.strategy", strategy)) {
                    first.subscribe(List.of(topic));
                    until(() -> first.assignment().size() == 4, first);
                    second.subscribe(List.of(topic));
                    until(() -> first.assignment().size() == 2 && second.assignment().size() == 2, first, second);
                    Set<TopicPartition> both = new HashSet<>(first.assignment());
                    both.addAll(second.assignment());
                    expect(4, both.size());
                }
                until(() -> second.assignment().size() == 4, second);
                for (int i = 0; i < 40; i++) {
                    producer.send(new ProducerRecord<>(topic, i % 4, "k", assignor + i));
                }
                producer.flush();
                Set<String> values = new HashSet<>();
                long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
                while (values.size() < 40 && System.nanoTime() < end) {
                    second.poll(Duration.ofMillis(100)).forEach(record -> {
                        if (record.value().startsWith(assignor)) {
                            values.add(record.value());
                        }
                    });
                }
                expect(40, values.size());
                second.commitSync();
                Map<TopicPartition, OffsetAndMetadata> committed = second.committed(second.assignment());
                committed.forEach((partition, at) -> expect(second.position(partition), at.offset()));
            }
        }
    }

    interface Condition {
        boolean holds();
    }

    @SafeVarargs
    static void until(Condition condition, Consumer<String, String>... members) {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
        while (!condition.holds()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("the group did not settle");
            }
            for (Consumer<String, String> member : members) {
                member.poll(Duration.ofMillis(50));
            }
        }
    }

    // Read, work, write, commit together; once aborted, once committed; then a second one fences the first.
    static void transaction() throws Exception {
        create("java-in", 1);
        create("java-out", 2);
        try (KafkaProducer<String, String> producer = producer()) {
            for (int i = 0; i < 10; i++) {
                producer.send(new ProducerRecord<>("java-in", "k", "in" + i));
            }
        }
        KafkaProducer<String, String> first = producer("transactional.id", "java-worker");
        first.initTransactions();
        transform(first, false);
        transform(first, true);
        try (KafkaConsumer<String, String> reader = consumer("java-auditor", "isolation.level", "read_committed")) {
            reader.subscribe(List.of("java-out"));
            Set<String> values = new HashSet<>();
            take(reader, 10).forEach(record -> values.add(record.value()));
            expect(10, values.size());
            expect(true, values.contains("true in9"));
        }
        try (KafkaProducer<String, String> second = producer("transactional.id", "java-worker")) {
            second.initTransactions();
            try {
                first.beginTransaction();
                first.send(new ProducerRecord<>("java-out", "k", "late"));
                first.commitTransaction();
                throw new AssertionError("a fenced producer committed");
            } catch (ProducerFencedException | InvalidProducerEpochException expected) {
                first.close();
            }
            second.beginTransaction();
            second.send(new ProducerRecord<>("java-out", 0, "k", "after"));
            second.commitTransaction();
        }
    }

    static void transform(KafkaProducer<String, String> producer, boolean commits) {
        try (KafkaConsumer<String, String> in = consumer("java-worker", "isolation.level", "read_committed")) {
            in.subscribe(List.of("java-in"));
            List<ConsumerRecord<String, String>> batch = take(in, 10); // all again after an abort
            producer.beginTransaction();
            for (ConsumerRecord<String, String> record : batch) {
                producer.send(new ProducerRecord<>("java-out", (int) (record.offset() % 2), "k",
                                                   commits + " " + record.value()));
            }
            producer.sendOffsetsToTransaction(
                Map.of(new TopicPartition("java-in", 0), new OffsetAndMetadata(10)), in.groupMetadata());
            if (commits) {
                producer.commitTransaction();
            } else {
                producer.abortTransaction();
            }
        }
    }

    static void admin() throws Exception {
        String topic = "java-admin";
        TopicPartition p = new TopicPartition(topic, 0);
        try (Admin admin = Admin.create(settings())) {
            expect(1, get(admin.describeCluster().nodes()).size());
            get(admin.createTopics(List.of(new NewTopic(topic, 2, (short) -1).configs(Map.of("retention.ms", "3600000")))).all());
            get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all());
            TopicDescription described = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
            expect(3, described.partitions().size());
            expect(described.topicId(), get(admin.listTopics().namesToListings()).get(topic).topicId());
            long now = System.currentTimeMillis();
            try (KafkaProducer<String, String> producer = producer()) {
                for (int i = 0; i < 20; i++) {
                    get(producer.send(new ProducerRecord<>(topic, 0, now + i, "k", "v")));
                }
            }
            configs(admin, new ConfigResource(ConfigResource.Type.TOPIC, topic));
            get(admin.deleteRecords(Map.of(p, RecordsToDelete.beforeOffset(5))).all());
            expect(5L, get(admin.listOffsets(Map.of(p, OffsetSpec.earliest())).all()).get(p).offset());
            expect(20L, get(admin.listOffsets(Map.of(p, OffsetSpec.latest())).all()).get(p).offset());
            expect(19L, get(admin.listOffsets(Map.of(p, OffsetSpec.maxTimestamp())).all()).get(p).offset());
            expect(1, get(admin.describeProducers(List.of(p)).all()).get(p).activeProducers().size());
            expect(true, get(admin.describeLogDirs(List.of(1)).allDescriptions()).get(1).values().iterator().next()
                             .replicaInfos().get(p).size() > 0);
            groups(admin, p);
            transactions(admin);
            get(admin.deleteTopics(List.of(topic)).all());
            expect(false, get(admin.listTopics().names()).contains(topic));
        }
    }

    static void configs(Admin admin, ConfigResource resource) throws Exception {
        get(admin.incrementalAlterConfigs(Map.of(resource, List.of(
            new AlterConfigOp(new ConfigEntry("retention.bytes", "1000000"), AlterConfigOp.OpType.SET),
            new AlterConfigOp(new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE),
            new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND)))).all());
        Config now = get(admin.describeConfigs(List.of(resource)).all()).get(resource);
        expect("1000000", now.get("retention.bytes").value());
        expect("604800000", now.get("retention.ms").value());
        expect(true, now.get("retention.ms").isDefault());
        expect(Set.of("delete", "compact"), Set.of(now.get("cleanup.policy").value().split(",")));
        get(admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(
            new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.SUBTRACT)))).all());
    }

    static void groups(Admin admin, TopicPartition p) throws Exception {
        String group = "java-admin-group";
        try (KafkaConsumer<String, String> member = consumer(group)) {
            member.subscribe(List.of(p.topic()));
            until(() -> member.assignment().size() == 3, member);
            ConsumerGroupDescription described = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
            expect(1, described.members().size());
            expect(3, described.members().iterator().next().assignment().topicPartitions().size());
            member.commitSync(Map.of(p, new OffsetAndMetadata(12, "note")));
        }
        expect(true, get(admin.listConsumerGroups().all()).stream().anyMatch(one -> one.groupId().equals(group)));
        expect("note", get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).get(p).metadata());
        get(admin.alterConsumerGroupOffsets(group, Map.of(p, new OffsetAndMetadata(6))).all());
        expect(6L, get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).get(p).offset());
        get(admin.deleteConsumerGroupOffsets(group, Set.of(p)).all());
        expect(false, get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).containsKey(p));
        get(admin.deleteConsumerGroups(List.of(group)).all());
    }

    static void transactions(Admin admin) throws Exception {
        try (KafkaProducer<String, String> producer = producer("transactional.id", "java-admin-txn")) {
            producer.initTransactions();
            producer.beginTransaction();
            get(producer.send(new ProducerRecord<>("java-admin", 1, "k", "v")));
            TransactionDescription open = get(admin.describeTransactions(List.of("java-admin-txn")).all()).get("java-admin-txn");
            expect(TransactionState.ONGOING, open.state());
            expect(Set.of(new TopicPartition("java-admin", 1)), open.topicPartitions());
            expect(true, get(admin.listTransactions().all()).stream().anyMatch(
                             one -> one.transactionalId().equals("java-admin-txn")));
            producer.commitTransaction();
        }
    }

    public static void main(String[] words) throws Exception {
        bootstrap = words[1];
        switch (words[0]) {
        case "produce" -> produce();
        case "group" -> group();
        case "transaction" -> transaction();
        case "admin" -> admin();
        default -> throw new IllegalArgumentException(words[0]);
        }
        System.out.println("done");
    }
}
