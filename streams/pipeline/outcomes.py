"""What is said of a request that gets no new prediction. Room: pure."""

from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from streams.avro.encode import Constant, Longs, Slices, Values
from streams.dedupe import First
from streams.pipeline.app import App
from streams.pipeline.columns import constants, event_ms, longs
from streams.pipeline.planning import Plan
from streams.pipeline.reading import Group
from streams.pipeline.results import as_first
from streams.reasons import Reason, sentence
from streams.records import LIVE, NO_APPEND_TIME, TP, Detail

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


DETAIL_MAX = 300
"""Letters of a detail: it may quote what a stranger sent."""


class Place(NamedTuple):
    """Where a well-formed row was decoded."""

    group: Group
    at: int


def places_of(plan: Plan) -> list[Place | None]:
    """Return, for each row that is refused or a repeat, where it was decoded, if its identity could be read."""
    places: list[Place | None] = [None] * len(plan.reason)
    for group in plan.rows.groups:
        bad = group.decoded.bad.tolist()
        for index, row in enumerate(group.rows.tolist()):
            if plan.reason[row] is not Reason.NONE and not bad[index]:
                places[row] = Place(group, index)
    return places


def outcomes(
    plan: Plan, rows: list[int], places: Sequence[Place | None], answers: dict[int, bytes], app: App
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
        "sentence": Slices([said(reason, detail) for reason, detail in zip(reasons, details, strict=True)]),
        "request_id": Slices([carried_text(place and place.group.request_ids[place.at], app) for place in known]),
        "tenant": Slices([carried_text(place and _tenant(place), app) for place in known]),
        "run_id": Constant(LIVE),
        "field": Slices([None if detail.field is None else detail.field.encode() for detail in details]),
        "found": Slices(
            [None if detail.value is None else (_brief(detail.value) or "").encode() for detail in details]
        ),
        "answer": Slices([first.answer if first else None for first in stored]),
        "answer_omitted": longs([first is not None and first.answer is None for first in stored]),
        "first_topic": Slices([first.origin.topic.encode() if first else None for first in firsts]),
        "first_partition": longs([first and first.origin.partition for first in firsts]),
        "first_offset": longs([first and first.origin.offset for first in firsts]),
        "schema_id": longs([place and place.group.schema_id for place in known]),
        "request_topic": Slices([tp.topic.encode() for tp in tps]),
        "request_topic_id": Slices([app.topic_ids[tp.topic] for tp in tps]),
        "request_partition": longs([tp.partition for tp in tps]),
        "request_offset": Longs(batch.offset[rows], None),
        "until_offset": Constant(None),
        "append_time": Longs(append_ms, append_ms == NO_APPEND_TIME),
        "event_time": longs([_event(place) for place in known]),
        "size": longs([None if value is None else len(value) for value in raw]),
        "sha256": Slices([None if value is None else sha256(value).digest() for value in raw]),
    }
    return app.outcome.encode(app.outcome_prefix, len(rows), values)


def _tenant(place: Place) -> bytes | None:
    return None if place.group.tenants is None else place.group.tenants[place.at]


def gap_values(tp: TP, committed: int, log_start: int, app: App) -> list[bytes]:
    """Return the encoded outcome that stands for requests which retention deleted before they were read."""
    values = constants(_NOTHING) | {
        "kind": Constant(Reason.GAP.name),
        "sentence": Constant(sentence(Reason.GAP)),
        "answer_omitted": Constant(False),
        "run_id": Constant(LIVE),
        "request_topic": Constant(tp.topic),
        "request_topic_id": Constant(app.topic_ids[tp.topic]),
        "request_partition": Constant(tp.partition),
        "request_offset": Constant(committed),
        "until_offset": Constant(log_start),
    }
    return app.outcome.encode(app.outcome_prefix, 1, values)


def _first(plan: Plan, row: int, answers: dict[int, bytes], app: App) -> First:
    """Return the first answer that a repeat repeats: from the state, or from a row of the same batch."""
    first = plan.first[row]
    if isinstance(first, First):
        return first
    leader = as_first(plan, first, answers[first], app)
    return leader if len(answers[first]) <= app.answer_bytes else leader._replace(answer=None)


def _event(place: Place | None) -> int | None:
    if place is None:
        return None
    times = event_ms(place.group.decoded, place.group.reading.writer, np.array([place.at]))
    if isinstance(times, Constant) or (times.null is not None and times.null[0]):
        return None
    return int(times.values[0])


@cache
def _plain(reason: Reason) -> bytes:
    return sentence(reason).encode()


def said(reason: Reason, detail: Detail) -> bytes:
    """Return the reason's sentence with its details, in UTF-8."""
    if detail == Detail():
        return _plain(reason)
    field, value, rule = map(_brief, (detail.field, detail.value, detail.rule))
    return sentence(reason, field=field, value=value, position=detail.position, rule=rule).encode()


def _brief(text: str | None) -> str | None:
    return text if text is None or len(text) <= DETAIL_MAX else text[:DETAIL_MAX] + "…"


def carried_text(text: bytes | None, app: App) -> bytes | None:
    """Return a key, request id or tenant, or None where it is too long to be carried along."""
    return text if text is not None and len(text) <= app.key_bytes else None
