"""Print every answer: predictions, refusals, dead letters. Ctrl-C ends it; the next start goes on where it ended.

    python consume.py

Nothing in here is answeronce's: any consumer does it like this. One setting matters: `read_committed`, or it sees what
was never committed. An offset is stored when its answer was printed, so that none is missed, whatever ends this.
"""

import tomllib
from pathlib import Path

from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPICS = ["$app.results", "$app.outcomes", "$app.requests.live.dlq"]
SETTINGS = tomllib.loads(Path(__file__).with_name("$app.toml").read_text("utf-8"))


def told(message):
    """Return a line for people: what became of a request, and why."""
    if message.topic().endswith(".dlq"):
        return f"DEAD LETTER {message.key()} {dict(message.headers())['__dlq.errors.message'].decode()}"
    answer = decode(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
    said = answer.get("sentence") or f"{answer['label']}, {answer['score']:.3f}"
    return f"{answer.get('kind', 'SCORED')} {answer['request_id'] or answer['request_topic']} {said}"


decode = AvroDeserializer(SchemaRegistryClient(SETTINGS["schema_registry"] | {"timeout": 10}))
consumer = Consumer(
    SETTINGS["kafka"]
    | {
        "group.id": "$app.by-hand",
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.auto.offset.store": False,
    }
)
consumer.subscribe(TOPICS, on_assign=lambda *_: print("Waiting for answers.", flush=True))
try:
    while True:
        message = consumer.poll(1.0)
        if message is not None and message.error():
            print(message.error().str(), flush=True)
        elif message is not None:
            print(told(message), flush=True)
            consumer.store_offsets(message)
except KeyboardInterrupt:
    pass
finally:
    consumer.close()  # leaves the group, so that the next start need not wait until this one is missed
