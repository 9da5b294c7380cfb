"""Results and labels as records, the monitor over a memory store, and what a batch computation says of the same records."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from streams import schemas_dir
from streams.avro.encode import Encoder, encode_one
from streams.avro.read import Reader
from streams.avro.schema import parse
from streams.avro.write import Writer
from streams.contracts import Reading, Snapshot
from streams.dedupe import salt
from streams.kafka.partitioner import partition_of, partitions_of
from streams.monitor.app import App
from streams.monitor.desk import Desk
from streams.monitor.features import counts_contract
from streams.monitor.reading import result_contract
from streams.monitor.state import TALLY, unchunked
from streams.monitor.tasks import Binary, Row
from streams.monitor.ticket import Ticket, of_record
from streams.monitor.windows import Rules, added, parse_window
from streams.monitoring import Monitoring
from streams.packed import pack
from streams.pipeline import read
from streams.ports import Observer
from streams.records import TP, Batch, Checkpoint, Lease, Step
from streams.state.memory import MemoryStore
from streams.verify.labels import LabelReport, Part, State, judge

HOUR_MS = 3_600_000
RESULTS, LABELS, PARTS = "loans.results", "loans.labels", "loans.performance.parts"
FEATURES, TICKETS = "loans.features", "loans.tickets"
TASK = Binary(b"kept", b"lost")
RULES = Rules(TASK, HOUR_MS, 24 * HOUR_MS)
LABEL_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Lost",
    "namespace": "test",
    "fields": [
        {"name": "request_id", "type": "string", "role": "request_id"},
        {"name": "known_at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "role": "event_time"},
        {"name": "version", "type": ["null", "long"], "role": "version", "default": None},
        {"name": "withdrawn", "type": "boolean", "role": "withdrawn", "default": False},
        {"name": "outcome", "type": ["null", "string"], "default": None},
    ],
}
LABEL_CONTRACT = parse(LABEL_SCHEMA)
RESULT_SCHEMA = json.loads((schemas_dir() / "result.avsc").read_text())
TICKET_SCHEMA = json.loads((schemas_dir() / "ticket.avsc").read_text())
PART_SCHEMA = json.loads((schemas_dir() / "performance_part.avsc").read_text())
RESULT_CONTRACT = result_contract(RESULT_SCHEMA, TASK, ("request_id",))
PART_READER = Reader(PART_SCHEMA)
COUNTS_SCHEMA = json.loads((schemas_dir() / "feature_counts.avsc").read_text())
COUNTS_CONTRACT = counts_contract(COUNTS_SCHEMA)
SNAPSHOT = {
    (RESULTS, 1): Reading(RESULT_CONTRACT, RESULT_CONTRACT),
    (LABELS, 2): Reading(LABEL_CONTRACT, LABEL_CONTRACT),
    (FEATURES, 4): Reading(COUNTS_CONTRACT, COUNTS_CONTRACT),
}


def app(partitions: int, **changes: Any) -> App:
    """Return the application of this world."""
    whole = App(
        group="loans.monitor",
        results=RESULTS,
        features=FEATURES,
        labels=LABELS,
        parts=PARTS,
        changelog="loans.monitor.changelog",
        dlq={LABELS: f"{LABELS}.dlq"},
        dlq_bytes={f"{LABELS}.dlq": 1_048_588},
        topic_ids={RESULTS: b"R" * 16, LABELS: b"L" * 16, FEATURES: b"F" * 16},
        changelog_id=b"C" * 16,
        partitions=partitions,
        partitions_of=partitions_of,
        salt=salt("loans"),
        key_bytes=64,
        rules=RULES,
        truth="outcome",
        threshold=0.5,
        tombstones=True,
        tickets=TICKETS,
        ticket=Writer(TICKET_SCHEMA, b"\0\0\0\0\4"),
        ticket_reader=Reader(TICKET_SCHEMA),
        part=Encoder(PART_SCHEMA),
        part_prefix=b"\0\0\0\0\3",
    )
    return replace(whole, **changes)


class Record(NamedTuple):
    """One record that was sent."""

    topic: str
    key: bytes
    value: bytes | None
    append_ms: int = 0
    partition: int | None = None
    """None: where the key belongs."""


def result(request_id: str, score: float | None, event_ms: int, **more: Any) -> Record:
    """Return a prediction's record."""
    values = {
        "request_id": request_id,
        "score": score,
        "label": None if score is None else ("lost" if score >= 0.5 else "kept"),
        "model_name": "m",
        "model_version": "1",
        "model_digest": bytes(32),
        "contract_fingerprint": bytes(32),
        "schema_id": 7,
        "request_topic": "loans.requests",
        "request_topic_id": b"T" * 16,
        "request_partition": 0,
        "request_offset": 0,
        "append_time": event_ms,
        "event_time": event_ms,
    }
    datum = encode_one(RESULT_SCHEMA, values | more)
    return Record(RESULTS, request_id.encode(), b"\0\0\0\0\1" + datum, event_ms)


def counts(
    key: str,
    cells: Mapping[tuple[int, int], tuple[int, int]],
    append_ms: int,
    *,
    latest: Mapping[int, int] | bytes = MappingProxyType({}),
    reference: bytes = b"R" * 32,
    implausible: int = 0,
    **more: Any,
) -> Record:
    """Return a record of what a model saw.

    `cells`: by number of the hour and cell, how many values and the sum of their positions; `latest`: of partitions of requests.
    As many requests are said to be in a window as there are values in its first cell that has any.
    """
    hours = sorted({hour for hour, _ in cells})
    many = [next(n for (at, _), (n, _) in sorted(cells.items()) if at == hour) for hour in hours]
    columns = [(hours.index(hour), cell, n, total) for (hour, cell), (n, total) in cells.items()]
    index, places, n, totals = np.array(columns, np.int64).reshape(-1, 4).T
    values = {
        "first_key": key,
        "model_name": "m",
        "model_version": "1",
        "arm": None,
        "reference": reference,
        "grain_ms": HOUR_MS,
        "implausible": implausible,
        "latest": latest
        if isinstance(latest, bytes)
        else pack(*np.array([*latest.items()], np.int64).reshape(-1, 2).T),
        "windows": pack(np.array(hours, np.int64), np.array(many, np.int64)),
        "counts": pack(index, np.diff(places, prepend=0), n, totals),
    }
    return Record(FEATURES, key.encode(), b"\0\0\0\0\4" + encode_one(COUNTS_SCHEMA, values | more), append_ms)


def label(request_id: str, outcome: str | None, time_ms: int, version: int | None = None, **more: Any) -> Record:
    """Return a label's record."""
    values = {"request_id": request_id, "known_at": time_ms, "version": version, "withdrawn": False, "outcome": outcome}
    return Record(LABELS, request_id.encode(), b"\0\0\0\0\2" + encode_one(LABEL_SCHEMA, values | more), time_ms)


def batch(records: Sequence[Record], partitions: int, begin: Mapping[TP, int]) -> Batch:
    """Return records as a poll returns them, behind those that were read before."""
    at = [
        TP(one.topic, partition_of(one.key, partitions) if one.partition is None else one.partition) for one in records
    ]
    tps = tuple(sorted(set(at)))
    offsets, following = [], dict(begin)
    for tp in at:
        offsets.append(following.get(tp, 0))
        following[tp] = offsets[-1] + 1
    return Batch(
        Lease(1, None),
        tps,
        np.array([tps.index(tp) for tp in at], dtype=np.int64),
        np.array(offsets, dtype=np.int64),
        np.array([one.append_ms for one in records], dtype=np.int64),
        [one.key for one in records],
        [one.value for one in records],
        [None] * len(records),
    )


class NoDesk:
    """The desk of a monitor that writes no tickets."""

    def open(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def ready(self) -> bool:
        """Return that it never is."""
        return False

    def due(self, existing: Mapping[str, Ticket]) -> list[Ticket]:
        """Return nothing."""
        return []


class Monitor:
    """The monitor over a memory store; what it publishes is kept as a compacted topic keeps it."""

    def __init__(
        self,
        partitions: int = 1,
        snapshot: Snapshot = SNAPSHOT,
        desk: Callable[["Monitor"], Desk] | None = None,
        **changes: Any,
    ) -> None:
        self.snapshot, self.desk = snapshot, None if desk is None else desk(self)
        self.app, self.store, self.now = app(partitions, **changes), MemoryStore(), 0.0
        for partition in range(partitions):
            self.store.open(partition)
        self.parts: dict[bytes, bytes] = {}
        self.letters: list[tuple[bytes, dict[str, bytes]]] = []
        self.positions: dict[TP, int] = {}
        self.tickets: list[Ticket] = []
        """Every record of the tickets' topic."""
        self.published = 0
        self.gone: frozenset[TP] = frozenset()
        """Of which topic-partitions retention has removed what was read."""
        self.logs = [State(partition) for partition in range(partitions)]
        """What a changelog would say."""
        self.begin()

    def begin(self) -> None:
        """Be another worker, with the same state."""
        self.fold = Monitoring(self.app, self.store, Observer(), lambda: self.now, self.desk or NoDesk())
        self.fold.assigned(frozenset(range(self.app.partitions)))

    def feed(self, records: Sequence[Record]) -> Step | None:
        """Read one batch, and commit what comes of it."""
        if not records:
            return None
        rows = read(batch(records, self.app.partitions, self.positions), self.snapshot, self.app)
        assert not rows.held
        step = self.fold.decide(rows)
        self._commit(step)
        return step

    def rest(self) -> None:
        """Publish what is left, as time goes by."""
        self.now += 1_000
        while (step := self.fold.due(lambda: Lease(1, None))) is not None:
            self._commit(step)
            self.now += 1

    def _commit(self, step: Step) -> None:
        for partition, puts in step.puts.items():
            assert puts[-1][0].startswith(b"f"), "the frames come last"
            self.store.apply(partition, puts, Checkpoint(self.app.changelog_id, 0))
            self.logs[partition].take(puts)
        for block in step.emits:
            for row, (key, value) in enumerate(zip(block.keys, block.values, strict=True)):
                if block.topic == TICKETS:
                    assert key is not None
                    self.tickets.append(of_record(self.app.ticket_reader.read(value or b"", skip=5)))
                    assert key == self.tickets[-1].id.encode()
                elif block.topic == PARTS:
                    assert key is not None
                    self.published += 1
                    self.parts.pop(key, None)  # the newest last, as in the log
                    if value is not None:
                        self.parts[key] = value
                else:
                    assert block.headers is not None
                    self.letters.append((value or b"", dict(block.headers[row] or [])))  # type: ignore[arg-type]
        self.positions |= step.next
        self.fold.committed(step)

    def merged(self) -> dict[bytes, Row]:
        """Return the rows of all windows: the sum of what the partitions published."""
        rows = []
        for key, part in self.decoded().items():
            window = parse_window(key[:16])[0]
            assert window.number * HOUR_MS == part["window_start"]
            rows.append({key[:16] + within: row for within, row in unchunked(part["rows"])})
        return added(rows)

    def windows(self) -> dict[bytes, Row]:
        """Return the rows of predictions' windows only."""
        return {key: row for key, row in self.merged().items() if key[:8] != TALLY}

    def tally(self) -> Counter[str]:
        """Return what became of records."""
        return Counter({key[16:].decode(): row[0] for key, row in self.merged().items() if key[:8] == TALLY})

    def verdict(self) -> LabelReport:
        """Return what `streams verify` says of it."""
        names = {RESULTS: "results", LABELS: "labels", FEATURES: "features"}
        parts = {key: Part(one["revision"], one["rows"]) for key, one in self.decoded().items()}
        read = {tp: None if tp in self.gone else count for tp, count in self.positions.items()}
        return judge(self.logs, read, names, parts, self.app.rules)

    def decoded(self) -> dict[bytes, dict[str, Any]]:
        """Return the parts by their keys."""
        return {key: PART_READER.read(value, skip=5) for key, value in self.parts.items()}

    def digest(self) -> str:
        """Return the SHA-256 of what is counted, in the order of its keys."""
        lines = (f"{key.hex()} {row}\n" for key, row in sorted(self.windows().items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def run(records: Sequence[Record], partitions: int = 1, cuts: Iterable[int] = (), **changes: Any) -> Monitor:
    """Feed records, cut into batches, and publish everything."""
    monitor, begin = Monitor(partitions, **changes), 0
    for end in [*sorted(cuts), len(records)]:
        monitor.feed(records[begin:end])
        begin = end
    monitor.rest()
    return monitor


def by_identity(records: Iterable[Record]) -> dict[bytes, list[Record]]:
    """Return the records of each key."""
    found: dict[bytes, list[Record]] = defaultdict(list)
    for record in records:
        found[record.key].append(record)
    return found
