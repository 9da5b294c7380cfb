"""What `streams demo --keep` leaves to play with: a plain producer and a plain consumer, and how to use and end it all."""

import sys
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from streams.config import load
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
flight = {"request_id": f"by-hand-{now}", "tenant": "me", "event_time": now // 1_000_000, "hour": 18,
          "carrier": "UA", "origin": "EWR", "dest": "ORD", "distance": 719.0, "dep_delay": 25.0}
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


def write(home: Path) -> None:
    """Write `produce.py` and `consume.py` into the demo's folder, with the addresses filled in."""
    bootstrap, registry_url = _addresses(home)
    for name, text in (("produce.py", PRODUCE), ("consume.py", CONSUME)):
        filled = Template(text).substitute(bootstrap=bootstrap, registry=registry_url, requests=TOPIC, app=APP)
        (home / name).write_text(filled, "utf-8")


def lines(home: Path) -> list[str]:
    """Return how to go on by hand. Paths are told from the current folder where they lie in it."""
    bootstrap, registry_url = _addresses(home)
    here, settings, python = _told(home), _told(home / CONFIG), _told(Path(sys.executable))
    ports = f"--broker-port {bootstrap.rpartition(':')[2]} --registry-port {urlsplit(registry_url).port}"
    streams = python.with_name("streams") if python.with_name("streams").is_file() else f"{python} -m streams.cli"
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
        f"  {streams} verify --config {settings}",
        f"  {streams} dev status --dir {here}",
        f"  {streams} dev down --dir {here}",
        "",
        "Bring it up again later, with everything that was asked and answered:",
        f"  {streams} dev up --dir {here} {ports}",
        f"  {streams} scorer run --config {settings} --workers {COUNT} --instance {INSTANCE}",
    ]


def _addresses(home: Path) -> tuple[str, str]:
    settings = load(home / CONFIG)
    return str(settings.kafka["bootstrap.servers"]), str(settings.schema_registry["url"])


def _told(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
