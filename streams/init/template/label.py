"""Say what came true of one request.

    python label.py REQUEST_ID true|false [VERSION]        for example: python label.py mine false

A correction has a higher version than what it corrects. Like `produce.py`, nothing in here is answeronce's.
"""

import json
import sys
import time
import tomllib
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "$app.labels"
SETTINGS = tomllib.loads(Path(__file__).with_name("$app.toml").read_text("utf-8"))

if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
label = {
    "request_id": sys.argv[1],
    "tenant": "me",
    "known_at": time.time_ns() // 1_000_000,
    "version": int(sys.argv[3]) if len(sys.argv) == 4 else 1,
    "withdrawn": False,
    "defaulted": json.loads(sys.argv[2]),
}

registry = SchemaRegistryClient(SETTINGS["schema_registry"] | {"timeout": 10})
encode = AvroSerializer(
    registry,
    conf={
        "auto.register.schemas": False,
        "use.latest.version": True,
        "subject.name.strategy": topic_subject_name_strategy,
    },
)
try:
    encoded = encode(label, SerializationContext(TOPIC, MessageField.VALUE))
except Exception as error:
    sys.exit(f"Not encoded, with the registry at {SETTINGS['schema_registry']['url']}: {type(error).__name__}: {error}")
producer = Producer(SETTINGS["kafka"] | {"partitioner": "murmur2_random"})
producer.produce(
    TOPIC,
    encoded,
    key=label["request_id"],
    on_delivery=lambda error, _: print(error.str() if error else f"said: {label['request_id']}"),
)
sys.exit("Not delivered in 10 s. Is the broker up, and did `streams topics apply` run?" if producer.flush(10) else 0)
