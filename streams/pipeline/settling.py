"""`settle`: one terminal record for each row, what the state remembers, and the next offsets. Room: pure."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from streams.avro.encode import Constant, Doubles, Longs, Slices, Spans, Values
from streams.contracts import Contract, Decoded, Field, Numbers
from streams.dedupe import First, remember
from streams.frames import frame_put
from streams.headers import dead_letter_headers
from streams.pipeline.app import App
from streams.pipeline.planning import Plan
from streams.pipeline.reading import Group
from streams.ports import Model
from streams.reasons import REASONS, SCORED, Reason, sentence
from streams.records import (
    LIVE,
    NO_APPEND_TIME,
    TP,
    Batch,
    Block,
    Detail,
    Floats,
    Frame,
    Headers,
    Ints,
    Lease,
    Origin,
    Put,
    Step,
)

ALLOWED_HEADERS = frozenset({"correlation-id", "kafka_correlationId", "traceparent"})
"""Request headers that are copied to the terminal record, if their value has at most HEADER_BYTES."""
HEADER_BYTES = 1_024
OVERHEAD_BYTES = 512
"""What a record costs beside its key, value and headers: the framing of record and batch, with room to spare."""


def settle(plan: Plan, scores: Floats, model: Model, app: App) -> Step:
    """Return the whole transaction.

    Args:
        plan: what becomes of each row.
        scores: shape (rows of the matrix,), all finite.
        model: who answered.
        app: the application.
    """
    batch = plan.rows.batch
    answers = _answers(plan, scores, model, app)
    places = _places(plan)
    letters, outcomes, found = [], [], []
    for row, reason in enumerate(plan.reason):
        if reason is Reason.NONE:
            continue
        where = REASONS[reason].where
        if where == "outcomes" or (where == "either" and places[row] is not None):
            outcomes.append(row)
        elif _fits(batch, row, app):
            letters.append(row)
        else:
            found.append(row)
    reasons, details = list(plan.reason), dict(plan.detail)
    for row in found:
        size = len(batch.values[row] or b"")
        reasons[row], details[row] = Reason.UNPRODUCIBLE, Detail(None, f"{size} bytes, and {reasons[row].name}")
    outcomes = sorted(outcomes + found)
    plan = plan._replace(reason=reasons, detail=details)
    blocks = _terminals(app.results, batch, list(answers), list(answers.values()), app)
    blocks += _terminals(app.outcomes, batch, outcomes, _outcomes(plan, outcomes, places, answers, app), app)
    blocks += _dead_letters(plan, letters, app)
    puts = _puts(plan, answers, app)
    ends = _ends(batch)
    for tp, offset in ends.items():
        puts.setdefault(tp.partition, []).append(frame_put(tp.topic, Frame(app.topic_ids[tp.topic], offset)))
    counts = Counter(reason.name for reason in reasons)
    counts[SCORED] = counts.pop(Reason.NONE.name, 0)
    return Step(batch.lease, blocks, puts, ends, counts)


def gap(tp: TP, committed: int, log_start: int, lease: Lease, app: App) -> Step:
    """Return the transaction that records that requests were deleted by retention before they were read."""
    topic_id = app.topic_ids[tp.topic]
    values = _constants(_NOTHING) | {
        "kind": Constant(Reason.GAP.name),
        "sentence": Constant(sentence(Reason.GAP)),
        "answer_omitted": Constant(False),
        "run_id": Constant(LIVE),
        "request_topic": Constant(tp.topic),
        "request_topic_id": Constant(topic_id),
        "request_partition": Constant(tp.partition),
        "request_offset": Constant(committed),
        "until_offset": Constant(log_start),
    }
    block = Block(app.outcomes, [tp.partition], [None], app.outcome.encode(app.outcome_prefix, 1, values))
    puts = {tp.partition: [frame_put(tp.topic, Frame(topic_id, log_start))]}
    return Step(lease, [block], puts, {tp: log_start}, {Reason.GAP.name: 1})


def _ends(batch: Batch) -> dict[TP, int]:
    """Return the next offset to read of each topic-partition that the batch has rows of."""
    ends = {}
    for i, tp in enumerate(batch.tps):
        offsets = batch.offset[batch.tp == i]
        if len(offsets):
            ends[tp] = int(offsets.max()) + 1
    return ends


class Place(NamedTuple):
    """Where a well-formed row was decoded."""

    group: Group
    at: int


def _places(plan: Plan) -> list[Place | None]:
    """Return, for each row that is refused or a repeat, where it was decoded, if its identity could be read."""
    places: list[Place | None] = [None] * len(plan.reason)
    for group in plan.rows.groups:
        bad = group.decoded.bad.tolist()
        for index, row in enumerate(group.rows.tolist()):
            if plan.reason[row] is not Reason.NONE and not bad[index]:
                places[row] = Place(group, index)
    return places


def _terminals(topic: str, batch: Batch, rows: list[int], values: Sequence[bytes], app: App) -> list[Block]:
    """Return terminal records in the partition of their request, under its key, with its allowed headers."""
    if not rows:
        return []
    partitions = np.array([tp.partition for tp in batch.tps])[batch.tp[rows]].tolist()
    headers = [_carried(batch.headers[row]) for row in rows]
    keys = [_carry(batch.keys[row], app) for row in rows]
    return [Block(topic, partitions, keys, values, headers if any(headers) else None)]


def _carried(headers: Headers | None) -> Headers | None:
    if not headers:
        return None
    kept = [(name, value) for name, value in headers if name in ALLOWED_HEADERS and len(value or b"") <= HEADER_BYTES]
    return kept or None


# results


def _answers(plan: Plan, scores: Floats, model: Model, app: App) -> dict[int, bytes]:
    """Return the encoded result of each scored row, in row order: rows of one key may have different schemas."""
    batch, begin = plan.rows.batch, 0
    answers: dict[int, bytes] = {}
    for group, index in zip(plan.rows.groups, plan.to_score, strict=True):
        rows, mine = group.rows[index], scores[begin : begin + len(index)]
        begin += len(index)
        for i, tp in enumerate(batch.tps):
            here = np.flatnonzero(batch.tp[rows] == i)
            if len(here):
                values = _result(group, index[here], mine[here], model) | _origin(batch, rows[here], tp, app)
                encoded = app.result.encode(app.result_prefix, len(here), values)
                answers.update(zip(rows[here].tolist(), encoded, strict=True))
    return dict(sorted(answers.items()))


def _result(group: Group, index: Ints, scores: Floats, model: Model) -> dict[str, Values]:
    writer, accepted = group.reading.writer, group.reading.accepted
    assert accepted is not None, "only rows of an accepted contract are scored"
    return _constants(("scores", "value", "route_revision", "arm")) | {
        "request_id": _text(group.decoded, writer.role("request_id"), index),
        "tenant": _text(group.decoded, writer.role("tenant"), index),
        "run_id": Constant(LIVE),
        "score": Doubles(scores, None),
        "label": Slices(model.labels(scores)),
        "model_name": Constant(model.name),
        "model_version": Constant(model.version),
        "model_digest": Constant(model.digest),
        "contract_fingerprint": Constant(accepted.fingerprint),
        "schema_id": Constant(group.schema_id),
        "event_time": _event_ms(group.decoded, writer, index),
    }


def _origin(batch: Batch, rows: Ints, tp: TP, app: App) -> dict[str, Values]:
    return {
        "request_topic": Constant(tp.topic),
        "request_topic_id": Constant(app.topic_ids[tp.topic]),
        "request_partition": Constant(tp.partition),
        "request_offset": Longs(batch.offset[rows], None),
        "append_time": Longs(batch.append_ms[rows], None),
    }


# outcomes

_NOTHING = [
    "request_id",
    "tenant",
    "field",
    "found",
    "answer",
    "first_topic",
    "first_partition",
    "first_offset",
    "schema_id",
    "until_offset",
    "append_time",
    "event_time",
    "size",
    "sha256",
]
"""The nullable fields of an outcome."""


def _outcomes(
    plan: Plan, rows: list[int], places: list[Place | None], answers: dict[int, bytes], app: App
) -> list[bytes]:
    """Return the encoded outcome of each row."""
    if not rows:
        return []
    batch = plan.rows.batch
    tps = [batch.tps[i] for i in batch.tp[rows].tolist()]
    reasons = [plan.reason[row] for row in rows]
    details = [plan.detail.get(row, Detail()) for row in rows]
    known = [places[row] for row in rows]
    firsts = [_first(plan, row, answers, app) if row in plan.first else None for row in rows]
    stored = [first if reason is Reason.DUPLICATE else None for first, reason in zip(firsts, reasons, strict=True)]
    append_ms = batch.append_ms[rows]
    raw = [batch.values[row] if plan.reason[row] is Reason.UNPRODUCIBLE else None for row in rows]
    values: dict[str, Values] = {
        "kind": Slices([reason.name.encode() for reason in reasons]),
        "sentence": Slices([_sentence(reason, detail) for reason, detail in zip(reasons, details, strict=True)]),
        "request_id": Slices([_carry(place and place.group.request_ids[place.at], app) for place in known]),
        "tenant": Slices([_carry(place and _tenant(place), app) for place in known]),
        "run_id": Constant(LIVE),
        "field": Slices([None if detail.field is None else detail.field.encode() for detail in details]),
        "found": Slices([None if detail.value is None else detail.value.encode() for detail in details]),
        "answer": Slices([first.answer if first else None for first in stored]),
        "answer_omitted": _longs([first is not None and first.answer is None for first in stored]),
        "first_topic": Slices([first.origin.topic.encode() if first else None for first in firsts]),
        "first_partition": _longs([first and first.origin.partition for first in firsts]),
        "first_offset": _longs([first and first.origin.offset for first in firsts]),
        "schema_id": _longs([place and place.group.schema_id for place in known]),
        "request_topic": Slices([tp.topic.encode() for tp in tps]),
        "request_topic_id": Slices([app.topic_ids[tp.topic] for tp in tps]),
        "request_partition": _longs([tp.partition for tp in tps]),
        "request_offset": Longs(batch.offset[rows], None),
        "until_offset": Constant(None),
        "append_time": Longs(append_ms, append_ms == NO_APPEND_TIME),
        "event_time": _longs([_event(place) for place in known]),
        "size": _longs([None if value is None else len(value) for value in raw]),
        "sha256": Slices([None if value is None else sha256(value).digest() for value in raw]),
    }
    return app.outcome.encode(app.outcome_prefix, len(rows), values)


@cache
def _plain(reason: Reason) -> bytes:
    return sentence(reason).encode()


def _sentence(reason: Reason, detail: Detail) -> bytes:
    if detail == Detail():
        return _plain(reason)
    return sentence(reason, field=detail.field, value=detail.value, position=detail.position).encode()


def _first(plan: Plan, row: int, answers: dict[int, bytes], app: App) -> First:
    """Return the first answer that a repeat repeats: from the state, or from a row of the same batch."""
    first = plan.first[row]
    if isinstance(first, First):
        return first
    leader = _as_first(plan, first, answers[first], app)
    return leader if len(answers[first]) <= app.answer_bytes else leader._replace(answer=None)


def _as_first(plan: Plan, row: int, answer: bytes, app: App) -> First:
    batch = plan.rows.batch
    tp = batch.tps[batch.tp[row]]
    origin = Origin(tp.topic, app.topic_ids[tp.topic], tp.partition, int(batch.offset[row]))
    return First(plan.rows.fingerprint[row], int(batch.append_ms[row]), origin, answer)


def _carry(text: bytes | None, app: App) -> bytes | None:
    return text if text is not None and len(text) <= app.key_bytes else None


def _tenant(place: Place) -> bytes | None:
    return None if place.group.tenants is None else place.group.tenants[place.at]


# dead letters


def _fits(batch: Batch, row: int, app: App) -> bool:
    """Return whether the request can be set aside in full, with its headers and ours."""
    dlq = app.dlq[batch.tps[batch.tp[row]].topic]
    carried = sum(len(name) + len(value or b"") + 16 for name, value in batch.headers[row] or ())
    ours = 4 * OVERHEAD_BYTES  # our headers hold names, numbers and one sentence
    size = len(batch.keys[row] or b"") + len(batch.values[row] or b"") + carried + ours + OVERHEAD_BYTES
    return size <= app.dlq_bytes[dlq]


def _dead_letters(plan: Plan, rows: list[int], app: App) -> list[Block]:
    """Return the original records, untouched, with headers that say where they lay and what is wrong."""
    batch = plan.rows.batch
    blocks = []
    for topic in sorted({batch.tps[batch.tp[row]].topic for row in rows}):
        mine = [row for row in rows if batch.tps[batch.tp[row]].topic == topic]
        headers = []
        for row in mine:
            tp = batch.tps[batch.tp[row]]
            origin = Origin(topic, app.topic_ids[topic], tp.partition, int(batch.offset[row]))
            words = _sentence(plan.reason[row], plan.detail.get(row, Detail())).decode()
            headers.append(list(batch.headers[row] or []) + dead_letter_headers(origin, plan.reason[row], words))
        partitions = [batch.tps[batch.tp[row]].partition for row in mine]
        keys, values = [batch.keys[row] for row in mine], [batch.values[row] for row in mine]
        blocks.append(Block(app.dlq[topic], partitions, keys, values, headers))
    return blocks


# state


def _puts(plan: Plan, answers: dict[int, bytes], app: App) -> dict[int, list[Put]]:
    """Return what the state remembers of each answered row, by partition."""
    batch = plan.rows.batch
    puts: dict[int, list[Put]] = {}
    partitions = [tp.partition for tp in batch.tps]
    tps = batch.tp.tolist()
    for row, answer in answers.items():
        value = remember(_as_first(plan, row, answer, app), app.answer_bytes)
        puts.setdefault(partitions[tps[row]], []).append(Put(plan.rows.identity[row], value))
    return puts


# columns


def _constants(names: Sequence[str]) -> dict[str, Values]:
    return {name: Constant(None) for name in names}


def _longs(values: Sequence[int | bool | None]) -> Longs:
    null = np.array([value is None for value in values], dtype=bool)
    return Longs(np.array([value or 0 for value in values], dtype=np.int64), null if null.any() else None)


def _text(decoded: Decoded, field: Field | None, index: Ints) -> Values:
    """Return a string column of the request as a column to be encoded, without copying it."""
    if field is None:
        return Constant(None)
    column = decoded.columns[field.name]
    assert not isinstance(column, Numbers), f"{field.name} is a string"
    null = None if column.null is None else column.null[index]
    return Spans(decoded.buffer, column.start[index], column.length[index], null)


def _event_ms(decoded: Decoded, writer: Contract, index: Ints) -> Longs | Constant:
    """Return the event time in milliseconds; microseconds are rounded down."""
    field = writer.role("event_time")
    if field is None:
        return Constant(None)
    column = decoded.columns[field.name]
    assert isinstance(column, Numbers), f"{field.name} is a long"
    values = column.values[index].astype(np.int64)
    micros = field.logical is not None and field.logical.endswith("micros")
    return Longs(values // 1000 if micros else values, None if column.null is None else column.null[index])


def _event(place: Place | None) -> int | None:
    if place is None:
        return None
    times = _event_ms(place.group.decoded, place.group.reading.writer, np.array([place.at]))
    if isinstance(times, Constant) or (times.null is not None and times.null[0]):
        return None
    return int(times.values[0])
