import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Drives Apache Kafka's Java client for tests: one command a line on standard input, one answer a line on standard
 * output, both JSON. driver.py understands the same commands; clients/driver.go describes them.
 */
public final class Driver {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        PrintStream out = System.out;
        System.setOut(System.err); // logs must not mix with answers
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            ObjectNode answer = JSON.createObjectNode();
            try {
                JsonNode command = JSON.readTree(line);
                switch (command.get("op").asText()) {
                    case "produce" -> produce(command, answer);
                    case "flood" -> flood(command, answer);
                    case "consume" -> consume(command, answer);
                    default -> answer.put("error", "unknown op");
                }
            } catch (Exception e) {
                answer.put("error", describe(e));
            }
            out.println(JSON.writeValueAsString(answer));
            out.flush();
        }
    }

    private static Properties properties(JsonNode command) {
        Properties p = new Properties();
        p.put("bootstrap.servers", command.get("bootstrap").asText());
        for (Map.Entry<String, JsonNode> e : command.get("config").properties()) {
            p.put(e.getKey(), e.getValue().asText());
        }
        return p;
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, JsonNode r) throws Exception {
        int partition = r.get("partition").asInt();
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(
                topic, partition < 0 ? null : partition, bytes(r.get("key")), bytes(r.get("value")));
        if (r.hasNonNull("headers")) {
            for (JsonNode h : r.get("headers")) {
                record.headers().add(h.get("name").asText(), bytes(h.get("value")));
            }
        }
        return record;
    }

    private static byte[] bytes(JsonNode n) throws Exception {
        return n == null || n.isNull() ? null : n.binaryValue();
    }

    private static void produce(JsonNode command, ObjectNode answer) throws Exception {
        String topic = command.get("topic").asText();
        boolean transactional = command.get("transactional").asBoolean();
        ArrayNode groups = answer.putArray("groups");
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(properties(command), new ByteArraySerializer(), new ByteArraySerializer())) {
            if (transactional) {
                producer.initTransactions();
            }
            for (JsonNode group : command.get("groups")) {
                ObjectNode result = groups.addObject();
                ArrayNode acks = JSON.createArrayNode();
                if (transactional) {
                    producer.beginTransaction();
                }
                AtomicInteger failed = new AtomicInteger();
                for (JsonNode r : group.get("records")) {
                    String id = r.get("id").asText();
                    try {
                        producer.send(record(topic, r), (m, e) -> {
                            if (e != null) {
                                failed.incrementAndGet();
                            }
                            synchronized (acks) {
                                acks.add(ack(id, m, e));
                            }
                        });
                    } catch (Exception e) {
                        failed.incrementAndGet();
                        synchronized (acks) {
                            acks.add(ack(id, null, e));
                        }
                    }
                }
                producer.flush();
                if (transactional) {
                    try {
                        if (failed.get() > 0 || group.get("abort").asBoolean()) {
                            producer.abortTransaction();
                            result.put("transaction", "aborted");
                        } else {
                            producer.commitTransaction();
                            result.put("transaction", "committed");
                        }
                    } catch (Exception e) {
                        result.put("transaction", "failed: " + describe(e));
                    }
                }
                synchronized (acks) {
                    result.set("acks", acks);
                }
            }
        }
    }

    private static ObjectNode ack(String id, RecordMetadata m, Exception e) {
        ObjectNode ack = JSON.createObjectNode();
        ack.put("id", id);
        if (e != null) {
            ack.put("error", describe(e));
            return ack;
        }
        ack.put("partition", m.partition());
        ack.put("offset", m.offset());
        return ack;
    }

    private static String describe(Throwable e) {
        return e.getClass().getSimpleName() + ": " + e.getMessage();
    }

    /** Produces a file of records and writes each acknowledgement to another file at once. */
    private static void flood(JsonNode command, ObjectNode answer) throws Exception {
        String topic = command.get("topic").asText();
        Semaphore window = new Semaphore(command.get("window").asInt());
        AtomicInteger failed = new AtomicInteger();
        int sent = 0;
        try (KafkaProducer<byte[], byte[]> producer =
                        new KafkaProducer<>(properties(command), new ByteArraySerializer(), new ByteArraySerializer());
                BufferedReader in = Files.newBufferedReader(Path.of(command.get("records_file").asText()));
                BufferedWriter acks = Files.newBufferedWriter(Path.of(command.get("acks_file").asText()),
                        StandardOpenOption.CREATE, StandardOpenOption.APPEND)) {
            for (String line; (line = in.readLine()) != null; ) {
                JsonNode r = JSON.readTree(line);
                String id = r.get("id").asText();
                String to = r.hasNonNull("topic") ? r.get("topic").asText() : topic;
                window.acquire();
                sent++;
                producer.send(record(to, r), (m, e) -> {
                    window.release();
                    if (e != null) {
                        failed.incrementAndGet();
                    }
                    try {
                        synchronized (acks) {
                            acks.write(JSON.writeValueAsString(ack(id, m, e)));
                            acks.newLine();
                        }
                    } catch (java.io.IOException io) {
                        throw new java.io.UncheckedIOException(io);
                    }
                });
            }
            producer.flush();
        }
        answer.put("sent", sent);
        answer.put("failed", failed.get());
    }

    private static void consume(JsonNode command, ObjectNode answer) throws Exception {
        String topic = command.get("topic").asText();
        long deadline = System.nanoTime() + command.get("timeout_ms").asLong() * 1_000_000;
        ArrayNode records = answer.putArray("records");
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties(command), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (PartitionInfo p : consumer.partitionsFor(topic)) {
                partitions.add(new TopicPartition(topic, p.partition()));
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (!partitions.stream().allMatch(tp -> consumer.position(tp) >= ends.get(tp))) {
                if (System.nanoTime() > deadline) {
                    StringBuilder where = new StringBuilder("timed out:");
                    for (TopicPartition tp : partitions) {
                        where.append(' ').append(tp).append(" at ").append(consumer.position(tp)).append(" of ").append(ends.get(tp));
                    }
                    answer.put("error", where.toString());
                    return;
                }
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) {
                    ObjectNode n = records.addObject();
                    n.put("partition", r.partition());
                    n.put("offset", r.offset());
                    n.put("timestamp", r.timestamp());
                    n.put("key", r.key());
                    n.put("value", r.value());
                    ArrayNode headers = n.putArray("headers");
                    for (Header h : r.headers()) {
                        headers.addObject().put("name", h.key()).put("value", h.value());
                    }
                }
            }
        }
    }
}
