"""An application whose worker is the test: topics, requests, and terminal records written by hand."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from streams import schemas_dir
from streams.avro.encode import Constant, Encoder, Longs, Slices, encode_one
from streams.avro.registry import framed
from streams.config import Settings, load
from streams.headers import dead_letter_headers
from streams.kafka.admin import Admin
from streams.reasons import Reason
from streams.records import TP, Headers, Origin
from streams.registering import product_ids, register
from streams.topics import apply, names

CONTRACT = {
    "type": "record",
    "name": "Request",
    "doc": "A request.",
    "fields": [
        {"name": "id", "type": "string", "role": "request_id", "doc": "The id."},
        {"name": "x", "type": "double", "doc": "The input."},
    ],
}


def settings(
    folder: Path, app: str, bootstrap: str, registry_url: str, lanes: Sequence[str] = ("live",), **more: Any
) -> Settings:
    """Return the settings of an application with two partitions; `more` is added to every lane."""
    (folder / "request.avsc").write_text(json.dumps(CONTRACT))
    lines = [
        f'[app]\nid = "{app}"\nstate_dir = "state"',
        f'[kafka]\n"bootstrap.servers" = "{bootstrap}"',
        f'[schema_registry]\nurl = "{registry_url}"',
        '[model]\nstore = "file://models"\nname = "m"\nversion = "1"',
        "[dedupe]\nwindow_hours = 1",
    ]
    for lane in lanes:
        lines.append(f'[[requests]]\ntopic = "{app}.{lane}"\ncontract = "request.avsc"')
        lines += [f"{key} = {value}" for key, value in ({"partitions": 2} | more).items()]
    path = folder / f"{app}.toml"
    path.write_text("\n".join(lines) + "\n")
    return load(path)


class ByHand:
    """One application; `send` writes requests, `answer` writes terminal records and commits, in one transaction."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client: dict[str, Any] = dict(settings.kafka)
        self.admin = Admin(settings.kafka)
        self.topic = settings.requests[0].topic
        self.dlq = settings.dlq(self.topic)
        self._schemas = {
            name: json.loads((schemas_dir() / f"{name}.avsc").read_text()) for name in ("result", "outcome")
        }

    def set_up(self) -> None:
        """Register the contracts and create the topics."""
        register(self.settings)
        apply(self.settings)
        self.ids = product_ids(self.settings)
        self.topic_ids = {name: found.topic_id for name, found in self.admin.topics(names(self.settings)).items()}

    def send(self, partition: int, count: int, *, abort: bool = False) -> list[int]:
        """Append requests in one transaction; return their offsets. Aborted ones are there, and nobody sees them."""
        producer = self._producer()
        producer.begin_transaction()
        first = self.end(self.topic, partition)
        for _ in range(count):
            producer.produce(self.topic, b"request", b"key", partition)
        producer.flush()
        if abort:
            producer.abort_transaction()
        else:
            producer.commit_transaction()
        return list(range(first, first + count))

    def answer(
        self, records: Iterable[tuple[str, int, bytes, Headers | None]], committed: Mapping[int, int] | None = None
    ) -> None:
        """Append records (topic, partition, value, headers), and commit next offsets of the first lane's partitions."""
        producer = self._producer()
        producer.begin_transaction()
        for topic, partition, value, headers in records:
            sent: Any = headers
            producer.produce(topic, value, None, partition, headers=sent)
        if committed:
            consumer = Consumer({**self.client, "group.id": self.settings.group})
            offsets = [TopicPartition(self.topic, partition, offset) for partition, offset in committed.items()]
            producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
            consumer.close()
        producer.commit_transaction()

    def result(
        self,
        partition: int,
        offset: int,
        *,
        at: int | None = None,
        request_id: str = "",
        append_ms: int = 0,
        **more: Any,
    ) -> tuple[str, int, bytes, None]:
        """Return the result of a request, in the partition of the same number or in `at`."""
        record = {
            "request_id": request_id or f"{partition}-{offset}",
            "score": 0.5,
            "model_name": "m",
            "model_version": "1",
            "model_digest": bytes(32),
            "contract_fingerprint": bytes(32),
            "schema_id": 1,
            "append_time": append_ms,
            **self._origin(partition, offset),
            **more,
        }
        value = framed(self.ids["result"], encode_one(self._schemas["result"], record))
        return self.settings.results, partition if at is None else at, value, None

    def results(self, partition: int, count: int) -> list[bytes]:
        """Return the values of the results of the first `count` offsets, quickly."""
        nothing = ("tenant", "scores", "label", "value", "route_revision", "arm", "event_time")
        return Encoder(self._schemas["result"]).encode(
            framed(self.ids["result"], b""),
            count,
            {name: Constant(None) for name in nothing}
            | {name: Constant(value) for name, value in self._origin(partition, 0).items()}
            | {name: Constant("m") for name in ("run_id", "model_name", "model_version")}
            | {name: Constant(bytes(32)) for name in ("model_digest", "contract_fingerprint")}
            | {"score": Constant(0.5), "schema_id": Constant(1), "append_time": Constant(0)}
            | {"request_offset": Longs(np.arange(count), None)}
            | {"request_id": Slices([b"%d-%d" % (partition, offset) for offset in range(count)])},
        )

    def outcome(self, reason: Reason, partition: int, offset: int, **more: Any) -> tuple[str, int, bytes, None]:
        """Return an outcome of a request."""
        record = {"kind": reason.name, "sentence": "", **self._origin(partition, offset), **more}
        value = framed(self.ids["outcome"], encode_one(self._schemas["outcome"], record))
        return self.settings.outcomes, partition, value, None

    def repeat(
        self, partition: int, offset: int, first: int, *, request_id: str = "", carried: int | None = None
    ) -> tuple[str, int, bytes, None]:
        """Return the DUPLICATE of a request in the same partition; it carries the result of `first`, or of `carried`."""
        request_id = request_id or f"{partition}-{first}"
        answer = self.result(partition, first if carried is None else carried, request_id=request_id)[2]
        named = {"first_topic": self.topic, "first_partition": partition, "first_offset": first}
        return self.outcome(Reason.DUPLICATE, partition, offset, request_id=request_id, answer=answer, **named)

    def dead_letter(self, partition: int, offset: int) -> tuple[str, int, bytes, Headers]:
        """Return the dead letter of a request."""
        origin = Origin(self.topic, self.topic_ids[self.topic], partition, offset)
        return self.dlq, partition, b"request", dead_letter_headers(origin, Reason.MALFORMED, "why")

    def end(self, topic: str, partition: int) -> int:
        """Return the partition's end."""
        tp = TP(topic, partition)
        return self.admin.offsets([tp], "latest")[tp]

    def delete_below(self, topic: str, partition: int, offset: int) -> None:
        """Do what retention does."""
        self.admin.delete_records({TP(topic, partition): offset})

    def _origin(self, partition: int, offset: int) -> dict[str, Any]:
        return {
            "request_topic": self.topic,
            "request_topic_id": self.topic_ids[self.topic],
            "request_partition": partition,
            "request_offset": offset,
        }

    def _producer(self) -> Producer:
        producer = Producer({**self.client, "transactional.id": f"{self.settings.app.id}.hand"})
        producer.init_transactions()
        return producer
