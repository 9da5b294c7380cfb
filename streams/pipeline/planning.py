"""`plan`: which rows are repeats, and which must be scored. Room: pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from streams.dedupe import Ask, First, Verdict, fold, recall
from streams.errors import OffsetsError
from streams.pipeline.app import App
from streams.pipeline.reading import Rows
from streams.pipeline.refused import Refused
from streams.ports import Model
from streams.reasons import Reason
from streams.records import TP, Batch, Detail, Floats, Ints


class Plan(NamedTuple):
    """What becomes of each row: a reason, or a place in `to_score`."""

    rows: Rows
    reason: list[Reason]
    detail: dict[int, Detail]
    first: dict[int, First | int]
    """Of a DUPLICATE or CONFLICT: what the state knew, or the row of this batch that is answered first."""
    to_score: tuple[Ints, ...]
    """For each group, the indexes into its decoded rows that must be scored."""
    matrix: Floats
    """Features of all rows to be scored, group after group."""
    candidates: tuple[tuple[Ints, Floats], ...]
    """For each group, which decoded rows are no repeats of the store's, and their features."""
    next_in_line: frozenset[int]
    """Rows that repeat a row of this batch, and would be scored if that one cannot be answered."""


def plan(
    rows: Rows,
    seen: Sequence[bytes | None],
    model: Model,
    app: App,
    refused: Refused,
) -> Plan:
    """Decide which rows are repeats and which must be scored.

    Args:
        rows: what was read.
        seen: the state value of each row's identity, or None.
        model: asked for features only.
        app: the application.
        refused: requests, by (topic-partition, offset), that an earlier attempt found impossible to answer: a score
            that is not a number, a record that the broker names as impossible.

    Raises: OffsetsError if a row is its own first answer: it was committed before, and the offsets lie.
    """
    rows = _without(rows, refused)
    batch = rows.batch
    reason, detail = list(rows.reason), dict(rows.detail)
    partitions = [tp.partition for tp in batch.tps]
    known: dict[int, First] = {}
    for row, value in enumerate(seen):
        if value is not None and rows.identity[row]:
            known[row] = _recalled(batch, row, value, partitions[batch.tp[row]], app)
    append_ms = batch.append_ms.tolist()
    hit = {row for row, first in known.items() if append_ms[row] - first.append_ms <= app.window_ms}
    matrices, candidates = _features(rows, reason, detail, hit, model)
    verdicts = _repeats(rows, reason, known, append_ms, app.window_ms)
    first: dict[int, First | int] = {}
    next_in_line = set()
    for verdict in verdicts:
        if verdict.first is not None:
            if isinstance(verdict.first, int) and reason[verdict.row] is Reason.NONE:
                next_in_line.add(verdict.row)
            reason[verdict.row] = verdict.reason
            first[verdict.row] = verdict.first
            detail.pop(verdict.row, None)
    fit = tuple(zip(candidates, matrices, strict=True))
    to_score, matrix = _picked(rows, fit, lambda row: reason[row] is Reason.NONE)
    return Plan(rows, reason, detail, first, to_score, matrix, fit, frozenset(next_in_line))


def followers(plan: Plan) -> Plan:
    """Return the plan with those to be scored that are next in line.

    When a row cannot be answered, the next of its identity is to be scored; to find the one that can, one after the
    other, would let n copies of such a request plan n times.
    """
    to_score, matrix = _picked(plan.rows, plan.candidates, plan.next_in_line.__contains__)
    return plan._replace(to_score=to_score, matrix=matrix)


def _picked(
    rows: Rows, candidates: Sequence[tuple[Ints, Floats]], wanted: Callable[[int], bool]
) -> tuple[tuple[Ints, ...], Floats]:
    """Return, for each group, which of the candidates are wanted, and the features of all of these."""
    to_score, parts = [], []
    for group, (index, matrix) in zip(rows.groups, candidates, strict=True):
        picked = [i for i, row in enumerate(group.rows[index].tolist()) if wanted(row)]
        whole = len(picked) == len(index)
        to_score.append(index if whole else index[picked])
        parts.append(matrix if whole else matrix[picked])
    return tuple(to_score), np.concatenate(parts) if parts else np.empty((0, 0))


def _without(rows: Rows, refused: Refused) -> Rows:
    """Return the rows with those refused that an earlier attempt named; one that cannot be written is no repeat either."""
    if not refused:
        return rows
    batch, reason, detail, identity = rows.batch, list(rows.reason), dict(rows.detail), list(rows.identity)
    for row, (tp, offset) in enumerate(zip(batch.tp.tolist(), batch.offset.tolist(), strict=True)):
        if why := refused.why(batch.tps[tp], offset, reason[row]):
            reason[row], detail[row] = why
            if reason[row] is Reason.UNPRODUCIBLE:
                identity[row] = b""
    return rows._replace(reason=reason, detail=detail, identity=identity)


def _recalled(batch: Batch, row: int, value: bytes, partition: int, app: App) -> First:
    first = recall(value, partition)
    topic = batch.tps[batch.tp[row]].topic
    if (first.origin.topic_id, first.origin.offset) == (app.topic_ids[topic], int(batch.offset[row])):
        raise OffsetsError(
            f"{topic}[{partition}] offset {first.origin.offset} was answered and committed before: the group's offsets "
            "went back without the changelog's frame. Nothing was written; stop and compare them with `streams verify`"
        )
    return first


def _features(
    rows: Rows, reason: list[Reason], detail: dict[int, Detail], hit: set[int], model: Model
) -> tuple[list[Floats], list[Ints]]:
    """Return, for each group, the features of all rows that are no repeats of the store's, and which rows they are.

    Rows that the model's features refuse get their reason here; they stay in the matrix and are picked out later.
    """
    matrices, candidates = [], []
    for group in rows.groups:
        members = group.rows.tolist()
        index = np.array(
            [i for i, row in enumerate(members) if reason[row] is Reason.NONE and row not in hit], dtype=np.int64
        )
        accepted = group.reading.accepted
        if accepted is None or len(index) == 0:
            matrices.append(np.empty((0, 0)))
            candidates.append(index[:0])
            continue
        matrix, refusals = model.features(group.decoded, accepted, index)
        for i, (why, what) in refusals.rows.items():
            reason[members[index[i]]], detail[members[index[i]]] = why, what
        matrices.append(matrix)
        candidates.append(index)
    width = max((matrix.shape[1] for matrix in matrices), default=0)
    return [matrix if len(matrix) else np.empty((0, width)) for matrix in matrices], candidates


def _repeats(
    rows: Rows, reason: list[Reason], known: Mapping[int, First], append_ms: list[int], window_ms: int
) -> list[Verdict]:
    """Return verdicts for every identity that the store knows or that occurs more than once; the rest is new."""
    asked: dict[bytes, int] = {}
    again: dict[bytes, list[int]] = {}
    for row, identity in enumerate(rows.identity):
        if not identity:
            continue
        before = asked.setdefault(identity, row)
        if before != row:
            again.setdefault(identity, [before]).append(row)
        elif row in known:
            again[identity] = [row]
    verdicts = []
    for members in again.values():
        asks = [Ask(row, append_ms[row], rows.fingerprint[row], reason[row] is not Reason.NONE) for row in members]
        verdicts += fold(asks, known.get(members[0]), window_ms)
    return verdicts


def not_finite(plan: Plan, scores: Floats) -> dict[tuple[TP, int], tuple[Reason, Detail]]:
    """Return the rows of which any number is not finite, as `plan` takes them to plan again without them."""
    finite = np.isfinite(scores)
    if finite.all():
        return {}
    batch, scored, finite = plan.rows.batch, _scored_rows(plan), finite.reshape(len(scores), -1)
    return {
        (batch.tps[batch.tp[scored[i]]], int(batch.offset[scored[i]])): (
            Reason.SCORE_NOT_FINITE,
            Detail(None, str(float(scores.reshape(len(scores), -1)[i, finite[i].argmin()]))),
        )
        for i in np.flatnonzero(~finite.all(axis=1)).tolist()
    }


def _scored_rows(plan: Plan) -> list[int]:
    """Return the batch row of each row of the matrix."""
    groups = zip(plan.rows.groups, plan.to_score, strict=True)
    return [row for group, index in groups for row in group.rows[index].tolist()]
