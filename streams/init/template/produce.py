"""Ask for one answer.

    python produce.py [REQUEST_ID] [FIELD=VALUE ...]        for example: python produce.py mine amount=9000

Nothing in here is answeronce's: any producer does it like this. One setting matters: the partitioner must be Java's,
which librdkafka's own default is not, or the request lands in another partition and is refused.
"""

import json
import sys
import time

from clients import settings
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "$app.requests.live"


def value(text):
    """Return what a person meant: JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def send(topic, record, done):
    """Send a record under its request's id; return what went wrong, or 0."""
    try:
        encode = AvroSerializer(
            SchemaRegistryClient(settings("schema_registry") | {"timeout": 10}),
            conf={
                "auto.register.schemas": False,
                "use.latest.version": True,
                "subject.name.strategy": topic_subject_name_strategy,
            },
        )
        encoded = encode(record, SerializationContext(topic, MessageField.VALUE))
    except Exception as error:
        return (
            f"Not encoded. Does [schema_registry] of $app.toml hold, and the contract? {type(error).__name__}: {error}"
        )
    try:
        producer = Producer(settings("kafka") | {"partitioner": "murmur2_random"})
    except Exception as error:
        return f"The client refuses [kafka] of $app.toml: {error}"
    producer.produce(
        topic,
        encoded,
        key=record["request_id"],
        on_delivery=lambda error, _: print(error.str() if error else f"{done}: {record['request_id']}"),
    )
    return "Not delivered in 10 s. Is the broker up, and did `streams topics apply` run?" if producer.flush(10) else 0


if __name__ == "__main__":
    request = {
        "request_id": f"by-hand-{time.time_ns()}",
        "tenant": "me",
        "event_time": time.time_ns() // 1_000_000,
        "amount": 12000.0,
        "months": 48,
        "purpose": "car",
        "income": 38000.0,
        "rate": 5.9,
    }
    for argument in sys.argv[1:]:
        field, given, text = argument.partition("=")
        request |= {field: value(text)} if given else {"request_id": argument}
    sys.exit(send(TOPIC, request, "asked"))
