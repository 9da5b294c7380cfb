"""What `streams demo --keep` leaves to play with: a plain producer and a plain consumer, and how to use and end it all."""

import sys
from pathlib import Path

from streams.demo.stage import APP, CONFIG, TOPIC
from streams.demo.workers import COUNT, INSTANCE

PRODUCE = """\
import time
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

registry = SchemaRegistryClient({"url": "$registry"})
encode = AvroSerializer(registry, conf={"auto.register.schemas": False, "use.latest.version": True})
producer = Producer({"bootstrap.servers": "$bootstrap", "partitioner": "murmur2_random"})
now = time.time_ns()
flight = {"request_id": f"by-hand-{now}", "tenant": "me", "event_time": now // 1_000_000, "carrier": "UA", "origin": "EWR",
          "dest": "ORD", "distance": 719.0, "hour": 18, "dep_delay": 25.0}
value = encode(flight, SerializationContext("$requests", MessageField.VALUE))
producer.produce("$requests", value, key=flight["request_id"])
producer.flush()
"""
"""Asks about one flight. The partitioner is Java's; librdkafka's own default would send it to another worker."""

CONSUME = """\
from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

decode = AvroDeserializer(SchemaRegistryClient({"url": "$registry"}))
consumer = Consumer({"bootstrap.servers": "$bootstrap", "group.id": "by-hand", "isolation.level": "read_committed"})
consumer.subscribe(["$app.results", "$app.outcomes"], on_assign=lambda *_: print("Waiting for answers.", flush=True))
while True:
    message = consumer.poll(1.0)
    if message is not None and message.error() is None:
        answer = decode(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
        said = answer.get("sentence") or f"{answer['label']}, {answer['score']:.3f}"
        print(message.topic(), answer["request_id"], said, flush=True)
"""
"""Prints every answer from now on, predictions and refusals."""


def write(home: Path, bootstrap: str, registry_url: str) -> None:
    """Write `produce.py` and `consume.py` into a folder, with the addresses filled in."""
    for name, text in (("produce.py", PRODUCE), ("consume.py", CONSUME)):
        for mark, value in {"bootstrap": bootstrap, "registry": registry_url, "requests": TOPIC, "app": APP}.items():
            text = text.replace(f"${mark}", value)
        (home / name).write_text(text, "utf-8")


def lines(home: Path, bootstrap: str, registry_url: str) -> list[str]:
    """Return how to go on by hand. Paths are told from the current folder where they lie in it."""
    here, settings, python = _told(home), _told(home / CONFIG), _told(Path(sys.executable))
    return [
        "",
        f"Broker, registry and {COUNT} workers stay up:",
        f"  bootstrap.servers    {bootstrap}",
        f"  schema registry      {registry_url}",
        f"  configuration        {settings}",
        "",
        "Ask by hand, with the plain confluent-kafka client (15 lines each; read them):",
        f"  {python} {here}/consume.py      prints answers as they come; leave it running",
        f"  {python} {here}/produce.py      asks about one flight, in another terminal",
        "",
        "Look at it, end it:",
        f"  streams verify --config {settings}",
        f"  streams dev status --dir {here}",
        f"  streams dev down --dir {here}",
        "",
        f"Once it was ended, this brings it up again: streams dev up --dir {here}"
        f" --broker-port {_port(bootstrap)} --registry-port {_port(registry_url)}",
        f"and then: streams scorer run --config {settings} --workers {COUNT} --instance {INSTANCE}",
    ]


def _told(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _port(address: str) -> str:
    return address.partition("://")[2].partition("/")[0].rpartition(":")[2] or address.rpartition(":")[2]
