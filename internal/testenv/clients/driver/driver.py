"""Drives confluent-kafka (librdkafka) for tests.

One command a line on standard input, one answer a line on standard output, both
JSON. Driver.java understands the same commands; clients/driver.go describes
them.
"""

import base64
import json
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition


def decode(value):
    return None if value is None else base64.b64decode(value)


def encode(value):
    return None if value is None else base64.b64encode(value).decode()


def ack(ident, err, msg):
    if err is not None:
        return {"id": ident, "error": f"{err.name()}: {err.str()}"}
    return {"id": ident, "partition": msg.partition(), "offset": msg.offset()}


def send(producer, topic, record, done):
    """Hands a record to the producer, waiting while its queue is full."""
    headers = [(h["name"], decode(h["value"])) for h in record.get("headers") or []]
    ident = record["id"]
    while True:
        try:
            producer.produce(
                topic,
                key=decode(record.get("key")),
                value=decode(record.get("value")),
                partition=record["partition"],
                headers=headers,
                on_delivery=lambda err, msg: done(ack(ident, err, msg)),
            )
            return
        except BufferError:
            producer.poll(0.1)
        except KafkaException as e:
            done({"id": ident, "error": f"{e.args[0].name()}: {e.args[0].str()}"})
            return


def produce(command):
    producer = Producer({"bootstrap.servers": command["bootstrap"], **command["config"]})
    transactional = command["transactional"]
    if transactional:
        producer.init_transactions(30)
    groups = []
    for group in command["groups"]:
        acks, result = [], {}
        if transactional:
            producer.begin_transaction()
        for record in group["records"]:
            send(producer, command["topic"], record, acks.append)
        left = producer.flush(60)
        if left:
            raise RuntimeError(f"{left} records were not answered in 60 s")
        if transactional:
            try:
                if group["abort"] or any(a.get("error") for a in acks):
                    producer.abort_transaction(30)
                    result["transaction"] = "aborted"
                else:
                    producer.commit_transaction(30)
                    result["transaction"] = "committed"
            except KafkaException as e:
                result["transaction"] = f"failed: {e}"
        result["acks"] = acks
        groups.append(result)
    return {"groups": groups}


def flood(command):
    """Produces a file of records and writes each acknowledgement to another file at once."""
    producer = Producer({"bootstrap.servers": command["bootstrap"], **command["config"]})
    sent = failed = open_ = 0
    with open(command["records_file"]) as records, open(command["acks_file"], "a") as acks:

        def done(a):
            nonlocal failed, open_
            open_ -= 1
            failed += "error" in a
            acks.write(json.dumps(a) + "\n")

        for line in records:
            record = json.loads(line)
            open_ += 1
            sent += 1
            send(producer, record.get("topic") or command["topic"], record, done)
            producer.poll(0)
            while open_ >= command["window"]:
                producer.poll(0.1)
        deadline = time.monotonic() + 180
        while open_ and time.monotonic() < deadline:
            producer.poll(0.1)
    if open_:
        return {"error": f"{open_} records were never answered", "sent": sent, "failed": failed}
    return {"sent": sent, "failed": failed}


def consume(command):
    consumer = Consumer(
        {
            "bootstrap.servers": command["bootstrap"],
            "group.id": "driver",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            **command["config"],
        }
    )
    try:
        topic = command["topic"]
        metadata = consumer.list_topics(topic, 20).topics[topic]
        if metadata.error:
            raise KafkaException(metadata.error)
        waiting = set(metadata.partitions)
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in waiting])
        records = []
        deadline = time.monotonic() + command["timeout_ms"] / 1000
        while waiting:
            if time.monotonic() > deadline:
                return {"error": f"timed out before the end of partitions {sorted(waiting)}", "records": records}
            msg = consumer.poll(0.2)
            if msg is None:
                continue
            if msg.error():
                if msg.error().code() == KafkaError._PARTITION_EOF:
                    waiting.discard(msg.partition())
                    continue
                raise KafkaException(msg.error())
            records.append(
                {
                    "partition": msg.partition(),
                    "offset": msg.offset(),
                    "timestamp": msg.timestamp()[1],
                    "key": encode(msg.key()),
                    "value": encode(msg.value()),
                    "headers": [{"name": n, "value": encode(v)} for n, v in msg.headers() or []],
                }
            )
        return {"records": records}
    finally:
        consumer.close()


OPS = {"produce": produce, "flood": flood, "consume": consume}

for line in sys.stdin:
    try:
        command = json.loads(line)
        answer = OPS[command["op"]](command)
    except Exception as e:  # every failure is an answer
        answer = {"error": f"{type(e).__name__}: {e}"}
    print(json.dumps(answer), flush=True)
