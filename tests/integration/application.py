"""A whole application on the real stack: config, topics, contracts, model, producers, workers, answers."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import fastavro
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from streams import schemas_dir, topics
from streams.avro.encode import encode_one
from streams.config import Settings, load
from streams.errors import Unreachable
from streams.headers import origin_of
from streams.kafka.admin import Admin
from streams.kafka.partitioner import partition_of
from streams.models.packages import register as register_model
from streams.models.store import open_store
from streams.records import TP
from streams.registering import product_ids, register
from streams.slots import slots_dir
from streams.supervisor import worker_command
from tests.models import small_packages

_SCHEMAS = {
    name: fastavro.parse_schema(json.loads((schemas_dir() / f"{name}.avsc").read_text()))
    for name in ("result", "outcome")
}


def until(done: Callable[[], bool], seconds: float = 30.0, *, what: str = "it") -> float:
    """Wait for a condition and return how long it took; fail after the deadline."""
    begun, wait = time.monotonic(), threading.Event()
    while not done():
        assert time.monotonic() - begun < seconds, f"{what} did not happen in {seconds} s"
        wait.wait(0.05)
    return time.monotonic() - begun


def documented(contract: str) -> dict[str, Any]:
    """Return a contract with the docs that registering asks for; they are not part of its fingerprint."""
    schema: dict[str, Any] = json.loads(contract)
    return {**schema, "doc": "A question.", "fields": [{**field, "doc": "A field."} for field in schema["fields"]]}


QUICK = "[limits]\nsession_ms = 3000\n"
"""A worker that is gone is missed sooner than by default."""


QUEUED = 50_000
"""So many records wait in a producer at most: half of what the client's default allows."""


def produce_all(
    producer: Producer, topic: str, records: Iterable[tuple[bytes | None, bytes | None]], partition: int | None = None
) -> int:
    """Produce (key, value)s and wait for all acknowledgements; return how many."""
    lost: list[object] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            lost.append(error)

    count = 0
    for key, value in records:
        while len(producer) >= QUEUED:  # the broker is slower than this machine makes records
            producer.poll(0.1)
        producer.produce(topic, value, key, -1 if partition is None else partition, delivered)
        producer.poll(0)
        count += 1
    assert producer.flush(60) == 0
    assert not lost, lost[:3]
    return count


class Where(Protocol):
    """A broker, or several, and a registry."""

    @property
    def bootstrap(self) -> str: ...
    @property
    def registry_url(self) -> str: ...


class Place(NamedTuple):
    """A broker here, and a registry there."""

    bootstrap: str
    registry_url: str


class Application:
    """One application under its own name, and what a test does with it."""

    def __init__(
        self,
        stack: Where,
        name: str,
        home: Path,
        *,
        lanes: Sequence[str] = ("live",),
        partitions: int = 2,
        more: str = "",
        client: str = "",
        model: Mapping[str, bytes] | None = None,
        bootstrap: str | None = None,
    ) -> None:
        self.stack, self.name, self.home = stack, name, home
        self.model = model or small_packages.files()
        self.lanes = [f"{name}.requests.{lane}" for lane in lanes]
        (home / "ask.avsc").write_text(json.dumps(documented(small_packages.CONTRACT)))
        self.config = home / f"{name}.toml"
        requests = "".join(
            f'[[requests]]\ntopic = "{lane}"\ncontract = "ask.avsc"\npartitions = {partitions}\n' for lane in self.lanes
        )
        self.config.write_text(
            f'[app]\nid = "{name}"\nstate_dir = "state"\n[kafka]\n"bootstrap.servers" = "{bootstrap or stack.bootstrap}"\n{client}'
            f'[schema_registry]\nurl = "{stack.registry_url}"\n{requests}'
            f'[model]\nstore = "file:store"\nname = "late"\nversion = "1"\n{more}'
        )
        self.settings: Settings = load(self.config)
        self.admin = Admin(self.settings.kafka)
        self._register()
        topics.apply(self.settings)
        self.schema = json.loads(small_packages.CONTRACT)
        self.ids = product_ids(self.settings)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.over = threading.Event()
        """Set once the processes are being ended: who sends requests in the background ends, too."""
        self.sent = 0

    def _register(self) -> None:
        found = {subject: schema_id for subject, schema_id, _ in register(self.settings)}
        self.schema_id = found[f"{self.lanes[0]}-value"]
        self.registered = found
        package = small_packages.write(self.model, self.home / "package")
        register_model(package, open_store(self.settings.model.store))

    # requests

    def value(self, request_id: str, carrier: str = "UA", delay: float | None = 5.0) -> bytes:
        """Return a framed request."""
        row = {"request_id": request_id, "carrier": carrier, "delay": delay}
        return b"\0" + self.schema_id.to_bytes(4, "big") + encode_one(self.schema, row)

    def send(
        self,
        records: Iterable[tuple[bytes | None, bytes | None]],
        *,
        lane: int = 0,
        partitioner: str = "murmur2_random",
        partition: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> int:
        """Produce (key, value)s and wait for all acknowledgements; return how many."""
        producer = self.producer(partitioner=partitioner, **(settings or {}))
        self.sent += (count := produce_all(producer, self.lanes[lane], records, partition))
        return count

    def producer(self, **settings: Any) -> Producer:
        """Return a producer of requests, as the README asks for it."""
        usual = {"bootstrap.servers": self.stack.bootstrap, "partitioner": "murmur2_random", "linger.ms": 5}
        # without idempotence a broker that dies makes a request two
        return Producer(usual | {"enable.idempotence": True} | settings)

    def ask(self, ids: Iterable[str], **values: Any) -> int:
        """Produce good requests under their keys."""
        return self.send((name.encode(), self.value(name, **values)) for name in ids)

    # workers

    def command(self, slot: str, mutant: str = "", kind: str = "scorer") -> list[str]:
        """Return the command of one slot's worker, or of a worker with a fault built in."""
        if not mutant:
            return worker_command(self.config, slot, kind=kind)
        return [sys.executable, "-m", "tests.faults.worker", mutant, str(self.config), slot, kind]

    def start(self, slot: str = "t-00", mutant: str = "", kind: str = "scorer") -> subprocess.Popen[bytes]:
        """Start one slot's worker process; nobody restarts it."""
        log = (self.home / f"{slot}.log").open("ab")
        worker = subprocess.Popen(self.command(slot, mutant, kind), stdin=subprocess.PIPE, stderr=log)
        self.workers.append(worker)
        return worker

    def supervise(self, workers: int = 1, *, instance: str = "s", mutant: str = "") -> subprocess.Popen[bytes]:
        """Start `streams scorer run`, or the same over workers with a fault built in."""
        return self._supervise("scorer", workers, instance, mutant)

    def monitor(self, workers: int = 1, *, instance: str = "m", mutant: str = "") -> subprocess.Popen[bytes]:
        """Start `streams monitor run`, or the same over workers with a fault built in."""
        return self._supervise("monitor", workers, instance, mutant)

    def rekeyers(self, workers: int, *, instance: str = "r", mutant: str) -> subprocess.Popen[bytes]:
        """Start workers that copy labels, with a fault built in; they are started again."""
        return self._supervise("rekeyer", workers, instance, mutant)

    def _supervise(self, kind: str, workers: int, instance: str, mutant: str) -> subprocess.Popen[bytes]:
        log = (self.home / f"supervisor-{instance}.log").open("ab")
        if mutant:
            commands = {slot: self.command(slot, mutant, kind) for slot in self.slots(workers, instance)}
            script = (
                "import sys; from pathlib import Path; from streams.supervisor import Supervisor\n"
                f"sys.exit(Supervisor({commands!r}, Path({str(slots_dir(self.settings.app.state_dir, kind))!r})).run())"
            )
            command = [sys.executable, "-c", script]
        else:
            command = [sys.executable, "-m", "streams.cli", kind, "run", "-c", str(self.config)]
            command += ["--workers", str(workers), "--instance", instance]
        process = subprocess.Popen(command, stderr=log, stdout=log)
        self.workers.append(process)
        return process

    def slots(self, workers: int, instance: str = "s") -> list[str]:
        """Return the slots of a supervisor."""
        return [f"{instance}-{number:02d}" for number in range(workers)]

    def pid(self, slot: str, kind: str = "scorer") -> int | None:
        """Return the process that holds a slot of the scorer or the monitor, if one does."""
        try:
            pid = int((slots_dir(self.settings.app.state_dir, kind) / slot / "lock").read_text() or 0)
            os.kill(pid, 0)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid or None

    def stop(self) -> None:
        """End every process of this application that still runs."""
        self.over.set()
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.terminate()
        for worker in self.workers:
            try:
                worker.wait(15)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def log(self, slot: str = "t-00") -> str:
        """Return what a worker said."""
        return (self.home / f"{slot}.log").read_text()

    # answers

    def tps(self) -> list[TP]:
        """Return the source partitions."""
        return [TP(lane, partition) for lane in self.lanes for partition in range(self.settings.partitions)]

    def lag(self) -> int:
        """Return how many offsets are not committed yet."""
        return self.lag_of(self.tps())

    def lag_of(self, tps: list[TP]) -> int:
        """Return how many offsets of some partitions are not committed yet."""
        ends = self.admin.offsets(tps, "latest")
        committed = self.admin.committed(self.settings.group, tps)
        return sum(ends[tp] - (committed[tp] or 0) for tp in tps)

    def partition(self, key: bytes) -> int:
        """Return the partition that a key belongs to."""
        return partition_of(key, self.settings.partitions)

    def evolve(self) -> int:
        """Register the next version of the first lane's contract (one more field) and return its id."""
        schema = documented(small_packages.CONTRACT)
        schema["fields"].append({"name": "note", "type": ["null", "string"], "default": None, "doc": "A note."})
        client = SchemaRegistryClient({"url": self.stack.registry_url})
        return int(client.register_schema(f"{self.lanes[0]}-value", Schema(json.dumps(schema), "AVRO")))

    def drained(self, seconds: float = 60.0) -> float:
        """Wait until everything that was sent is committed; return how long it took."""
        try:
            return until(self.is_drained, seconds, what="the drain")
        except AssertionError as error:
            logs = "\n".join(path.read_text()[-3_000:] for path in self.home.glob("*.log"))
            raise AssertionError(f"{error}\n{logs}") from None

    def is_drained(self) -> bool:
        """Return whether everything that was sent is committed."""
        try:
            return self.lag() == 0
        except Unreachable:  # offsets of a pending transaction are waited for, and only a worker can end it
            return False

    def terminals(self) -> list[dict[str, Any]]:
        """Return every terminal record that a read_committed reader sees, decoded; START records left out."""
        found = [
            self._decoded(message)
            for message in self.read(
                [self.settings.results, self.settings.outcomes, *map(self.settings.dlq, self.lanes)]
            )
        ]
        return [record for record in found if record["kind"] != "START"]

    def kinds(self) -> Counter[str]:
        """Return how many terminal records there are of each kind."""
        return Counter(record["kind"] for record in self.terminals())

    def read(self, names: Sequence[str], isolation: str = "read_committed") -> list[Any]:
        """Return every record of some topics."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.stack.bootstrap,
                "group.id": f"{self.name}.reader",
                "enable.auto.commit": False,
                "isolation.level": isolation,
                "enable.partition.eof": True,
            }
        )
        found = self.admin.topics(names)
        tps = [TopicPartition(name, number, 0) for name in names for number in range(found[name].partitions)]
        consumer.assign(tps)
        messages, open_ends = [], {(tp.topic, tp.partition) for tp in tps}
        deadline = time.monotonic() + 30
        while open_ends and time.monotonic() < deadline:
            for message in consumer.consume(10_000, 0.2):
                if message.error():
                    open_ends.discard((message.topic(), message.partition()))
                else:
                    messages.append(message)
        consumer.close()
        assert not open_ends, f"no end of {open_ends}"
        return messages

    def _decoded(self, message: Any) -> dict[str, Any]:
        if message.topic().endswith(".dlq"):
            origin = origin_of(message.headers())
            assert origin is not None
            reason = dict(message.headers())["__dlq.errors.reason"].decode()
            at = (origin.topic, origin.partition, origin.offset)
            return {"kind": reason, "topic": "dlq", "at": at, "value": message.value(), "key": message.key()}
        name = "result" if message.topic() == self.settings.results else "outcome"
        record = fastavro.schemaless_reader(io.BytesIO(message.value()[5:]), _SCHEMAS[name], None)
        assert isinstance(record, dict)
        at = (record["request_topic"], record["request_partition"], record["request_offset"])
        return {"kind": "SCORED", **record, "topic": name, "at": at, "bytes": message.value(), "key": message.key()}
