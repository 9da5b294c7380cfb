"""Print answers as they come: predictions, refusals, dead letters. Ctrl-C ends it.

Nothing in here is answeronce's: any consumer does it like this. One setting matters: `read_committed`, or it sees what
was never committed.
"""

import signal
import tomllib
from pathlib import Path

from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPICS = ["$app.results", "$app.outcomes", "$app.requests.live.dlq"]
SETTINGS = tomllib.loads(Path(__file__).with_name("$app.toml").read_text("utf-8"))

signal.signal(signal.SIGINT, signal.SIG_DFL)
decode = AvroDeserializer(SchemaRegistryClient(SETTINGS["schema_registry"] | {"timeout": 10}))
consumer = Consumer(SETTINGS["kafka"] | {"group.id": "$app.by-hand", "isolation.level": "read_committed"})
consumer.subscribe(TOPICS, on_assign=lambda *_: print("Waiting for answers.", flush=True))
while True:
    message = consumer.poll(1.0)
    if message is None:
        continue
    if message.error():
        print(message.error().str(), flush=True)
    elif message.topic().endswith(".dlq"):
        print("DEAD LETTER", message.key(), dict(message.headers())["__dlq.errors.message"].decode(), flush=True)
    else:
        answer = decode(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
        said = answer.get("sentence") or f"{answer['label']}, {answer['score']:.3f}"
        print(answer.get("kind", "SCORED"), answer["request_id"], said, flush=True)
