"""What `streams demo --keep` leaves to play with: a plain producer and a plain consumer, and how to use and end it all."""

import sys
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from streams.config import load
from streams.demo.stage import APP, CONFIG, TOPIC
from streams.demo.workers import COUNT, INSTANCE

PRODUCE = """\
import sys, time
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

request_id = sys.argv[1] if len(sys.argv) > 1 else f"by-hand-{time.time_ns()}"
delay = float(sys.argv[2]) if len(sys.argv) > 2 else 25.0
registry = SchemaRegistryClient({"url": "$registry", "timeout": 3})
encode = AvroSerializer(registry, conf={"auto.register.schemas": False, "use.latest.version": True})
producer = Producer({"bootstrap.servers": "$bootstrap", "partitioner": "murmur2_random"})
flight = {"request_id": request_id, "tenant": "me", "event_time": time.time_ns() // 1_000_000, "hour": 18,
          "carrier": "UA", "origin": "EWR", "dest": "ORD", "distance": 719.0, "dep_delay": delay}
value = encode(flight, SerializationContext("$requests", MessageField.VALUE))
told = lambda error, _: print(error.str() if error else f"asked: {request_id}")
producer.produce("$requests", value, key=request_id, on_delivery=told)
sys.exit("Not delivered in 10 s. Is the broker up?" if producer.flush(10) else 0)
"""
"""Asks about one flight: `produce.py [REQUEST_ID] [MINUTES_LATE]`. The partitioner is Java's; librdkafka's own default
would send the request to another worker."""

CONSUME = """\
import signal
from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

signal.signal(signal.SIGINT, signal.SIG_DFL)
decode = AvroDeserializer(SchemaRegistryClient({"url": "$registry", "timeout": 3}))
consumer = Consumer({"bootstrap.servers": "$bootstrap", "group.id": "by-hand", "isolation.level": "read_committed"})
topics = ["$app.results", "$app.outcomes", "$requests.dlq"]
consumer.subscribe(topics, on_assign=lambda *_: print("Waiting for answers.", flush=True))
while True:
    message = consumer.poll(1.0)
    if message and not message.error() and message.topic().endswith(".dlq"):
        print("DEAD LETTER", message.key(), dict(message.headers())["__dlq.errors.message"].decode(), flush=True)
    elif message and not message.error():
        answer = decode(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
        said = answer.get("sentence") or f"{answer['label']}, {answer['score']:.3f}"
        print(answer.get("kind", "SCORED"), answer["request_id"], said, flush=True)
"""
"""Prints every answer from now on: predictions, refusals, dead letters."""


def write(home: Path) -> None:
    """Write `produce.py` and `consume.py` into the demo's folder, with the addresses filled in."""
    bootstrap, registry_url = _addresses(home)
    for name, text in (("produce.py", PRODUCE), ("consume.py", CONSUME)):
        filled = Template(text).substitute(bootstrap=bootstrap, registry=registry_url, requests=TOPIC, app=APP)
        (home / name).write_text(filled, "utf-8")


def lines(home: Path) -> list[str]:
    """Return how to go on by hand. Paths are told from the current folder where they lie in it."""
    bootstrap, registry_url = _addresses(home)
    here, settings, python, streams_ = _told(home), _told(home / CONFIG), _told(Path(sys.executable)), streams()
    ports = f"--broker-port {bootstrap.rpartition(':')[2]} --registry-port {urlsplit(registry_url).port}"
    return [
        "",
        f"Broker, registry and {COUNT} workers stay up:",
        f"  bootstrap.servers    {bootstrap}",
        f"  schema registry      {registry_url}",
        f"  configuration        {settings}",
        "",
        "Ask by hand, with the plain confluent-kafka client (under 20 lines each; read them):",
        f"  {python} {here}/consume.py             prints answers as they come; leave it running",
        f"  {python} {here}/produce.py my-id 25    asks about one flight, in another terminal; ask again, or with 26",
        "",
        "Look at it, end it:",
        f"  {streams_} verify --config {settings}",
        f"  {streams_} dev status --dir {here}",
        f"  {streams_} dev down --dir {here}",
        "",
        "Bring it up again later, with everything that was asked and answered:",
        f"  {streams_} dev up --dir {here} {ports}",
        f"  {streams_} scorer run --config {settings} --workers {COUNT} --instance {INSTANCE}",
    ]


def streams() -> str:
    """Return how the command is called from the current folder."""
    python = _told(Path(sys.executable))
    return str(python.with_name("streams")) if python.with_name("streams").is_file() else f"{python} -m streams.cli"


def _addresses(home: Path) -> tuple[str, str]:
    settings = load(home / CONFIG)
    return str(settings.kafka["bootstrap.servers"]), str(settings.schema_registry["url"])


def _told(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
