"""A small world for the pure pipeline: one contract, rows as dictionaries, a memory store, a lambda as the model."""

import io
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import fastavro
import numpy as np

from streams import schemas_dir
from streams.avro.encode import Encoder, encode_one
from streams.avro.schema import parse
from streams.contracts import Contract, Decoded, Numbers, Reading, Snapshot, Spans
from streams.dedupe import salt
from streams.headers import origin_of
from streams.kafka.partitioner import partition_of, partitions_of
from streams.pipeline import App, Refused, followers, not_finite, plan, read, settle
from streams.ports import Answer, Cells, Model, Refusals
from streams.reasons import Reason
from streams.records import NO_APPEND_TIME, TP, Batch, Checkpoint, Detail, Floats, Headers, Ints, Lease, Step
from streams.state.memory import MemoryStore

LANE = "loans.requests.live"
PARTITIONS = 2
ID = 7
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Loan",
    "namespace": "test",
    "fields": [
        {"name": "request_id", "type": "string", "role": "request_id"},
        {"name": "tenant", "type": "string", "role": "tenant"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-millis"}, "role": "event_time"},
        {"name": "amount", "type": "double", "minimum": 0},
        {"name": "purpose", "type": ["null", "string"], "default": None},
        {"name": "trace", "type": ["null", "string"], "default": None, "meta": True},
    ],
}
CONTRACT = parse(SCHEMA)
PRODUCTS = {name: json.loads((schemas_dir() / f"{name}.avsc").read_text()) for name in ("result", "outcome")}
_parsed = {name: fastavro.parse_schema(schema) for name, schema in PRODUCTS.items()}


def app(**changes: Any) -> App:
    """Return the application of this world."""
    whole = App(
        group="loans.scorer",
        results="loans.results",
        outcomes="loans.outcomes",
        dlq={LANE: f"{LANE}.dlq"},
        dlq_bytes={f"{LANE}.dlq": 1_048_588},
        topic_ids={LANE: b"T" * 16},
        changelog_id=b"L" * 16,
        partitions=PARTITIONS,
        partitions_of=partitions_of,
        salt=salt("loans"),
        window_ms=10_000,
        answer_bytes=1_024,
        key_bytes=64,
        result=Encoder(PRODUCTS["result"]),
        result_prefix=b"\0\0\0\0\1",
        outcome=Encoder(PRODUCTS["outcome"]),
        outcome_prefix=b"\0\0\0\0\2",
    )
    return replace(whole, **changes)


class AmountModel:
    """Scores a loan by its amount; refuses the purpose `gambling`; a million has no finite score."""

    name, version, digest = "amount", "1", b"D" * 32
    accepts: tuple[Contract, ...] = (CONTRACT,)
    drop_extra_fields = False
    row_deterministic = True
    cells: Cells | None = None

    def features(self, decoded: Decoded, accepted: Contract, rows: Ints) -> tuple[Floats, Refusals]:
        amount = decoded.columns["amount"]
        assert isinstance(amount, Numbers)
        refused = {}
        for i, row in enumerate(rows.tolist()):
            purpose = decoded.columns["purpose"]
            assert isinstance(purpose, Spans)
            begin = int(purpose.start[row])
            word = decoded.data[begin : begin + int(purpose.length[row])]
            if word == b"gambling" and not (purpose.null is not None and purpose.null[row]):
                refused[i] = (Reason.UNSEEN_CATEGORY, Detail("purpose", "gambling"))
        return amount.values[rows].astype(np.float64)[:, None], Refusals(refused)

    def score(self, matrix: Floats) -> Floats:
        return np.where(matrix[:, 0] == 1e6, np.nan, matrix[:, 0] / 1e6)

    def answer(self, scores: Floats) -> Answer:
        return Answer(score=scores, label=[b"small" if score < 1e-5 else b"large" for score in scores.tolist()])


class SizeModel(AmountModel):
    """Says of a loan how likely it is small, middling or large; of a million it cannot say how likely it is large."""

    classes = (b"small", b"middling", b"large")

    def score(self, matrix: Floats) -> Floats:
        amount = matrix[:, 0]
        large = np.where(amount == 1e6, np.inf, amount / 1e7)
        return np.stack([1 - amount / 1e6, np.full(len(amount), 0.25), large], axis=1)

    def answer(self, scores: Floats) -> Answer:
        return Answer(scores=scores, label=[self.classes[at] for at in scores.argmax(axis=1).tolist()])


class PriceModel(AmountModel):
    """Gives a loan a price."""

    def answer(self, scores: Floats) -> Answer:
        return Answer(value=scores)


class Sent:
    """One request as it lies in the log."""

    def __init__(
        self,
        value: bytes | None,
        key: bytes | None,
        *,
        partition: int | None = None,
        append_ms: int = 1_000,
        headers: Headers | None = None,
    ) -> None:
        self.value, self.key, self.append_ms, self.headers = value, key, append_ms, headers
        self.partition = partition_of(key or b"", PARTITIONS) if partition is None else partition


def loan(request_id: str, amount: float = 10.0, *, tenant: str = "acme", schema: Any = SCHEMA, **more: Any) -> bytes:
    """Return a framed request."""
    row = {
        "request_id": request_id,
        "tenant": tenant,
        "event_time": 5,
        "amount": amount,
        "purpose": "car",
        "trace": None,
    }
    return b"\0" + ID.to_bytes(4, "big") + encode_one(schema, row | more)


def sent(request_id: str, amount: float = 10.0, **more: Any) -> Sent:
    """Return a good request, under its key, in its partition."""
    place = {name: more.pop(name) for name in ("partition", "append_ms", "headers", "key") if name in more}
    return Sent(loan(request_id, amount, **more), place.pop("key", request_id.encode()), **place)


def batch(log: Sequence[tuple[int, Sent]]) -> Batch:
    """Return a batch of (offset, request)s."""
    tps: list[TP] = []
    for _, one in log:
        if TP(LANE, one.partition) not in tps:
            tps.append(TP(LANE, one.partition))
    return Batch(
        Lease(1, None),
        tuple(tps),
        np.array([tps.index(TP(LANE, one.partition)) for _, one in log], dtype=np.int64),
        np.array([offset for offset, _ in log], dtype=np.int64),
        np.array([one.append_ms for _, one in log], dtype=np.int64),
        [one.key for _, one in log],
        [one.value for _, one in log],
        [one.headers for _, one in log],
    )


SNAPSHOT: Snapshot = {(LANE, ID): Reading(CONTRACT, CONTRACT)}


def numbered(requests: Iterable[Sent]) -> list[tuple[int, Sent]]:
    """Give each request its offset in its partition."""
    ends = [0] * PARTITIONS
    log = []
    for one in requests:
        log.append((ends[one.partition], one))
        ends[one.partition] += 1
    return log


def run(
    log: Sequence[tuple[int, Sent]],
    cuts: Sequence[int] = (),
    *,
    snapshot: Snapshot = SNAPSHOT,
    application: App | None = None,
    each: Callable[[Step], None] = lambda _: None,
    model: Model | None = None,
) -> dict[tuple[int, int], dict[str, Any]]:
    """Run the log through the pipeline, cut into batches; return each origin's terminal record, decoded.

    Asserts conservation: every origin has exactly one.
    """
    application = application or app()
    store, model = MemoryStore(), model or AmountModel()
    for partition in range(PARTITIONS):
        store.open(partition)
    terminals: dict[tuple[int, int], dict[str, Any]] = {}
    for begin, end in itertools.pairwise([0, *sorted(cuts), len(log)]):
        if begin == end:
            continue
        rows = read(batch(log[begin:end]), snapshot, application)
        asked = {
            i: value
            for i, key in enumerate(rows.identity)
            if key and (value := store.get(rows.batch.tps[rows.batch.tp[i]].partition, [key])[0]) is not None
        }
        refused = Refused()
        while True:
            planned = plan(rows, asked, model, application, refused)
            scores = model.score(planned.matrix) if len(planned.matrix) else np.empty(0)
            broken = not_finite(planned, scores)
            if not broken:
                break
            rest = followers(planned)
            refused |= broken | not_finite(rest, model.score(rest.matrix) if len(rest.matrix) else np.empty(0))
        step = settle(planned, scores, model, application)
        each(step)
        for partition, puts in step.puts.items():
            store.apply(partition, puts, Checkpoint(b"L" * 16, 0))
        for origin, record in decode_step(step, application):
            assert origin not in terminals, f"{origin} has two terminal records"
            terminals[origin] = record
    return terminals


def decode_step(step: Step, application: App) -> list[tuple[tuple[int, int], dict[str, Any]]]:
    """Return (origin, terminal record) of everything that a step emits; `kind` is SCORED for results."""
    found = []
    for block in step.emits:
        if application.watching is not None and block.topic == application.watching.topic:
            continue
        for i, value in enumerate(block.values):
            headers = block.headers[i] if block.headers else None
            if block.topic.endswith(".dlq"):
                origin = origin_of(headers)
                assert origin is not None
                names = dict(headers or [])
                reason = (names["__dlq.errors.reason"] or b"").decode()
                record: dict[str, Any] = {
                    "kind": reason,
                    "topic": "dlq",
                    "value": value,
                    "key": block.keys[i],
                    "names": names,
                }
                at = (origin.partition, origin.offset)
            else:
                name = "result" if block.topic == application.results else "outcome"
                decoded = fastavro.schemaless_reader(io.BytesIO((value or b"")[5:]), _parsed[name], None)
                assert isinstance(decoded, dict)
                record = {"kind": "SCORED", **decoded, "topic": name, "value_bytes": value, "headers": headers}
                at = (record["request_partition"], record["request_offset"])
            assert at[0] == block.partitions[i]
            found.append((at, record))
    return found


def reasons(terminals: Mapping[tuple[int, int], Mapping[str, Any]], log: Sequence[tuple[int, Sent]]) -> list[str]:
    """Return the kinds in the order of the log."""
    return [terminals[one.partition, offset]["kind"] for offset, one in log]


AGELESS = NO_APPEND_TIME
