"""What is said of a request that gets no new prediction. Room: pure."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from streams.avro.encode import Constant, Longs, Slices, Values
from streams.dedupe import First
from streams.pipeline.app import App
from streams.pipeline.columns import constants, event_ms, longs
from streams.pipeline.planning import Plan, among
from streams.pipeline.reading import Group
from streams.pipeline.results import Answers, as_first
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


_NAMES = {reason: reason.name.encode() for reason in Reason}
_NO_DETAIL = Detail()
DETAIL_MAX = 300
"""Letters of a detail: it may quote what a stranger sent."""


class Place(NamedTuple):
    """Where a well-formed row was decoded."""

    group: Group
    at: int


def places_of(plan: Plan) -> dict[int, Place]:
    """Return, for each row that is refused or a repeat, where it was decoded, if its identity could be read."""
    wanted, places = among(plan.reason, plan.rows.batch.size), dict[int, Place]()
    for group in plan.rows.groups:
        index = np.flatnonzero(wanted[group.rows] & ~group.decoded.bad)
        places |= {row: Place(group, at) for row, at in zip(group.rows[index].tolist(), index.tolist(), strict=True)}
    return places


def outcomes(
    plan: Plan, rows: list[int], places: Mapping[int, Place], answers: Mapping[int, Answers], app: App
) -> list[bytes]:
    """Return the encoded outcome of each row; there is at least one."""
    batch = plan.rows.batch
    tps = [batch.tps[i] for i in batch.tp[rows].tolist()]
    reasons = [plan.reason[row] for row in rows]
    details = [plan.detail.get(row, _NO_DETAIL) for row in rows]
    known = [places.get(row) for row in rows]
    firsts = _firsts(plan, rows, answers, app)
    stored = [first if reason is Reason.DUPLICATE else None for first, reason in zip(firsts, reasons, strict=True)]
    append_ms = batch.append_ms[rows]
    raw = [batch.values[row] if plan.reason[row] is Reason.UNPRODUCIBLE else None for row in rows]
    values: dict[str, Values] = {
        "kind": Slices([_NAMES[reason] for reason in reasons]),
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
        "event_time": _events(known),
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


def _firsts(plan: Plan, rows: list[int], answers: Mapping[int, Answers], app: App) -> list[First | None]:
    """Return the first answer that each row repeats: from the state, or from a row of the same batch."""
    firsts = []
    for row in rows:
        first = plan.first.get(row)
        firsts.append(_answered_here(plan, first, answers, app) if isinstance(first, int) else first)
    return firsts


def _answered_here(plan: Plan, row: int, answers: Mapping[int, Answers], app: App) -> First:
    batch = plan.rows.batch
    mine = answers[batch.tps[batch.tp[row]].partition]
    answer = mine.values[bisect_left(mine.rows, row)]
    return as_first(plan, row, answer if len(answer) <= app.answer_bytes else None, app)


def _events(places: Sequence[Place | None]) -> Longs:
    """Return the event times in milliseconds, of each group's rows at once."""
    found, null = np.zeros(len(places), np.int64), np.ones(len(places), np.bool_)
    mine: dict[int, list[int]] = {}
    for at, place in enumerate(places):
        if place is not None:
            mine.setdefault(id(place.group), []).append(at)
    for members in mine.values():
        known = [place for at in members if (place := places[at]) is not None]
        group = known[0].group
        times = event_ms(group.decoded, group.reading.writer, np.array([place.at for place in known]))
        if not isinstance(times, Constant):
            found[members], null[members] = times.values, False if times.null is None else times.null
    return Longs(found, null)


@cache
def _plain(reason: Reason) -> bytes:
    return sentence(reason).encode()


def said(reason: Reason, detail: Detail) -> bytes:
    """Return the reason's sentence with its details, in UTF-8."""
    if detail == _NO_DETAIL:
        return _plain(reason)
    field, value, rule = map(_brief, (detail.field, detail.value, detail.rule))
    return sentence(reason, field=field, value=value, position=detail.position, rule=rule).encode()


def _brief(text: str | None) -> str | None:
    return text if text is None or len(text) <= DETAIL_MAX else text[:DETAIL_MAX] + "…"


def carried_text(text: bytes | None, app: App) -> bytes | None:
    """Return a key, request id or tenant, or None where it is too long to be carried along."""
    return text if text is not None and len(text) <= app.key_bytes else None
