"""An application with labels, on the real stack: results and labels can be sent by hand."""

import json
import threading
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from streams import schemas_dir
from streams.avro.encode import encode_one
from streams.dev.ports import free_ports
from streams.kafka.admin import Admin
from streams.performance_serving import run
from streams.records import TP
from tests.integration.application import Application, Where, produce_all, until

RESULT = json.loads((schemas_dir() / "result.avsc").read_text())

LABEL: dict[str, Any] = {
    "type": "record",
    "name": "Late",
    "doc": "Whether it was late.",
    "fields": [
        {"name": "request_id", "type": "string", "role": "request_id", "doc": "Of the question."},
        {"name": "known_at", "type": "long", "role": "event_time", "doc": "When it was known."},
        {
            "name": "version",
            "type": ["null", "long"],
            "role": "version",
            "doc": "The higher is believed.",
            "default": None,
        },
        {
            "name": "withdrawn",
            "type": "boolean",
            "role": "withdrawn",
            "doc": "It is not known any more.",
            "default": False,
        },
        {"name": "late", "type": ["null", "boolean"], "doc": "What came true.", "default": None},
    ],
}
SECTIONS = '[labels]\ntopic = "{name}.labels"\ncontract = "label.avsc"\n[monitor]\ngrain_hours = 0.25\n[limits]\nsession_ms = 3000\n'


class Monitored(Application):
    """An application with labels."""

    def __init__(
        self, stack: Where, name: str, home: Path, *, partitions: int = 2, more: str = "", rekey: int = 0
    ) -> None:
        """Make it; where `rekey` is given, labels lie in so many partitions, and their keys are somebody else's."""
        (home / "label.avsc").write_text(json.dumps(LABEL))
        self.labels, self.rekey, sections = f"{name}.labels", rekey, SECTIONS.format(name=name)
        if rekey:
            Admin({"bootstrap.servers": stack.bootstrap}).create(self.labels, rekey, 1, {})
            sections = sections.replace("[monitor]", "rekey = true\n[monitor]")
        super().__init__(stack, name, home, partitions=partitions, more=sections + more)

    def label(self, labels: Iterable["Said"], schema: Any = None, **settings: str) -> int:
        """Send labels, of another version of the contract if there is one; it is registered then."""
        schema_id = self.registered[f"{self.labels}-value"]
        if schema is not None:
            client = SchemaRegistryClient({"url": self.stack.registry_url})
            schema_id = int(client.register_schema(f"{self.labels}-value", Schema(json.dumps(schema), "AVRO")))
        prefix = b"\0" + schema_id.to_bytes(4, "big")
        keys = (b"theirs-%d" % number for number in count()) if self.rekey else None
        settings |= {"partitioner": "consistent"} if self.rekey else {}
        records = (
            (
                one.request_id.encode() if keys is None else next(keys),
                prefix + encode_one(schema or LABEL, one._asdict()),
            )
            for one in labels
        )
        return produce_all(self.producer(**settings), self.labels, records)

    def predict(self, predictions: Iterable["Predicted"]) -> int:
        """Send results that nobody asked for."""
        prefix = b"\0" + self.registered[f"{self.settings.results}-value"].to_bytes(4, "big")
        records = ((one.request_id.encode(), prefix + encode_one(RESULT, _ELSE | one._asdict())) for one in predictions)
        return produce_all(self.producer(), self.settings.results, records)

    def monitor_lag(self, *topics: str) -> int:
        """Return how many results and labels, or records of some of these topics, are not counted yet; markers count."""
        topics = topics or (self.settings.results, self.labels)
        return self._lag(
            self.settings.monitor_group, [TP(topic, at) for topic in topics for at in range(self.settings.partitions)]
        )

    def rekey_lag(self) -> int:
        """Return how many labels are not copied yet."""
        return self._lag(self.settings.rekey_group, [TP(self.labels, at) for at in range(self.rekey)])

    def _lag(self, group: str, tps: list[TP]) -> int:
        ends, committed = self.admin.offsets(tps, "latest"), self.admin.committed(group, tps)
        return sum(ends[tp] - (committed[tp] or 0) for tp in tps)


class Said(NamedTuple):
    """A label."""

    request_id: str
    late: bool | None
    known_at: int
    version: int | None = None
    withdrawn: bool = False


class Predicted(NamedTuple):
    """A result, as far as the monitor looks at it."""

    request_id: str
    score: float
    event_time: int
    label: str
    model_version: str = "1"


_ELSE = {
    "model_name": "late",
    "model_digest": bytes(32),
    "contract_fingerprint": bytes(32),
    "schema_id": 7,
    "request_topic": "elsewhere",
    "request_topic_id": bytes(16),
    "request_partition": 0,
    "request_offset": 0,
    "append_time": 0,
}
"""The rest of a result."""


def served(app: Monitored, *wanted: str) -> str:
    """Return what `streams performance serve` tells Prometheus, once it says all that is wanted."""
    (port,), stopping, pages = free_ports(1), threading.Event(), [""]
    thread = threading.Thread(target=run, args=(app.settings, "127.0.0.1", port, stopping))
    thread.start()

    def told() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            pages[0] = page.read().decode()
        return all(one in pages[0] for one in wanted)

    try:
        until(told, 20, what=f"{wanted} on the page")
    finally:
        stopping.set()
        thread.join(10)
    return pages[0]
