"""`plan`: which rows are repeats, and which must be scored. Room: pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from streams.dedupe import Ask, First, Verdict, fold, recall
from streams.errors import OffsetsError
from streams.pipeline.app import App
from streams.pipeline.reading import Reasons, Rows, by_partition
from streams.pipeline.refused import Refused
from streams.ports import Model
from streams.reasons import Reason
from streams.records import TP, Batch, Bools, Detail, Floats, Ints


class Plan(NamedTuple):
    """What becomes of each row: a reason, or a place in `to_score`."""

    rows: Rows
    reason: Reasons
    detail: dict[int, Detail]
    first: dict[int, First | int]
    """Of a DUPLICATE or CONFLICT: what the state knew, or the row of this batch that is answered first."""
    to_score: tuple[Ints, ...]
    """For each group, the indexes into its decoded rows that must be scored."""
    matrix: Floats
    """Features of all rows to be scored, group after group."""
    candidates: tuple[tuple[Ints, Floats], ...]
    """For each group, which decoded rows are no repeats of the store's, and their features."""
    next_in_line: Collection[int]
    """Rows that repeat a row of this batch, and would be scored if that one cannot be answered."""


def plan(
    rows: Rows,
    seen: Mapping[int, bytes],
    model: Model,
    app: App,
    refused: Refused,
) -> Plan:
    """Decide which rows are repeats and which must be scored.

    Args:
        rows: what was read.
        seen: the state value of each row whose identity the state knows.
        model: asked for features only.
        app: the application.
        refused: requests, by (topic-partition, offset), that an earlier attempt found impossible to answer: a score
            that is not a number, a record that the broker names as impossible.

    Raises: OffsetsError if a row is its own first answer: it was committed before, and the offsets lie.
    """
    rows = _without(rows, refused)
    batch = rows.batch
    reason, detail = dict(rows.reason), dict(rows.detail)
    known = {row: _recalled(batch, row, value, app) for row, value in seen.items() if rows.identity[row]}
    hit = [row for row, first in known.items() if batch.append_ms[row] - first.append_ms <= app.window_ms]
    matrices, candidates = _features(rows, reason, detail, hit, model)
    verdicts = _repeats(rows, reason, known, app.window_ms)
    first: dict[int, First | int] = {}
    next_in_line = []
    for verdict in verdicts:
        if verdict.first is not None:
            if isinstance(verdict.first, int) and verdict.row not in reason:
                next_in_line.append(verdict.row)
            reason[verdict.row] = verdict.reason
            first[verdict.row] = verdict.first
            detail.pop(verdict.row, None)
    fit = tuple(zip(candidates, matrices, strict=True))
    to_score, matrix = _picked(rows, fit, ~among(reason, batch.size))
    return Plan(rows, reason, detail, first, to_score, matrix, fit, next_in_line)


def followers(plan: Plan) -> Plan:
    """Return the plan with those to be scored that are next in line.

    When a row cannot be answered, the next of its identity is to be scored; to find the one that can, one after the
    other, would let n copies of such a request plan n times.
    """
    wanted = among(plan.next_in_line, plan.rows.batch.size)
    to_score, matrix = _picked(plan.rows, plan.candidates, wanted)
    return plan._replace(to_score=to_score, matrix=matrix)


def among(some: Collection[int], rows: int) -> Bools:
    """Return which of so many rows are among these."""
    mask = np.zeros(rows, np.bool_)
    mask[np.fromiter(some, np.int64, len(some))] = True
    return mask


def _picked(rows: Rows, candidates: Sequence[tuple[Ints, Floats]], wanted: Bools) -> tuple[tuple[Ints, ...], Floats]:
    """Return, for each group, which of the candidates are wanted, and the features of all of these."""
    to_score, parts = [], []
    for group, (index, matrix) in zip(rows.groups, candidates, strict=True):
        picked = wanted[group.rows[index]]
        whole = picked.all()
        to_score.append(index if whole else index[picked])
        parts.append(matrix if whole else matrix[picked])
    return tuple(to_score), np.concatenate(parts) if parts else np.empty((0, 0))


def _without(rows: Rows, refused: Refused) -> Rows:
    """Return the rows with those refused that an earlier attempt named; one that cannot be written is no repeat either."""
    if not refused:
        return rows
    batch, reason, detail, identity = rows.batch, dict(rows.reason), dict(rows.detail), list(rows.identity)
    for row, (tp, offset) in enumerate(zip(batch.tp.tolist(), batch.offset.tolist(), strict=True)):
        if why := refused.why(batch.tps[tp], offset, reason.get(row, Reason.NONE)):
            reason[row], detail[row] = why
            if reason[row] is Reason.UNPRODUCIBLE:
                identity[row] = b""
    return rows._replace(reason=reason, detail=detail, identity=identity)


def _recalled(batch: Batch, row: int, value: bytes, app: App) -> First:
    topic, partition = batch.tps[batch.tp[row]]
    first = recall(value, partition)
    if (first.origin.topic_id, first.origin.offset) == (app.topic_ids[topic], int(batch.offset[row])):
        raise OffsetsError(
            f"{topic}[{partition}] offset {first.origin.offset} was answered and committed before: the group's offsets "
            "went back without the changelog's frame. Nothing was written; stop and compare them with `streams verify`"
        )
    return first


def _features(
    rows: Rows, reason: Reasons, detail: dict[int, Detail], hit: Sequence[int], model: Model
) -> tuple[list[Floats], list[Ints]]:
    """Return, for each group, the features of all rows that are no repeats of the store's, and which rows they are.

    Rows that the model's features refuse get their reason here; they stay in the matrix and are picked out later.
    """
    matrices, candidates = [], []
    out = among([*reason, *hit], rows.batch.size)
    for group in rows.groups:
        index = np.flatnonzero(~out[group.rows])
        accepted = group.reading.accepted
        if accepted is None or len(index) == 0:
            matrices.append(np.empty((0, 0)))
            candidates.append(index[:0])
            continue
        matrix, refusals = model.features(group.decoded, accepted, index)
        for i, (why, what) in refusals.rows.items():
            row = int(group.rows[index[i]])
            reason[row], detail[row] = why, what
        matrices.append(matrix)
        candidates.append(index)
    width = max((matrix.shape[1] for matrix in matrices), default=0)
    return [matrix if len(matrix) else np.empty((0, width)) for matrix in matrices], candidates


def _repeats(rows: Rows, reason: Reasons, known: Mapping[int, First], window_ms: int) -> list[Verdict]:
    """Return verdicts for every identity that the store knows or that occurs more than once; the rest is new."""
    append_ms, verdicts = rows.batch.append_ms, list[Verdict]()
    for _, mine in by_partition(rows.batch):
        for members in _same(rows.identity, mine, known):
            asks = [Ask(row, int(append_ms[row]), rows.fingerprint[row], row in reason) for row in members]
            verdicts += fold(asks, known.get(members[0]), window_ms)
    return verdicts


def _same(identity: Sequence[bytes], rows: Sequence[int], known: Collection[int]) -> Iterator[list[int]]:
    """Yield those of the rows that have one identity, where there are several or the state knows it."""
    last = dict(zip([identity[row] for row in rows], rows, strict=True))
    lasts = {*last.values()}
    again = {identity[row]: list[int]() for row in rows if row in known}
    if len(last) < len(rows):
        for row in rows:
            if row not in lasts:
                again.setdefault(identity[row], []).append(row)
        again.pop(b"", None)
    for one, before in again.items():
        yield [*before, last[one]]


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
