"""`settle`: one terminal record for each row, what the state remembers, and the next offsets. Room: pure."""

from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np

from streams.pipeline.app import App
from streams.pipeline.letters import dead_letters, fits
from streams.pipeline.outcomes import Place, carried_text, gap_values, outcomes, places_of
from streams.pipeline.planning import Plan
from streams.pipeline.progress import ends_of, frame_of
from streams.pipeline.results import Answers, results
from streams.pipeline.watching import feature_counts
from streams.ports import Model
from streams.reasons import REASONS, SCORED, Reason
from streams.records import TP, Batch, Block, Detail, Floats, Headers, Lease, Put, Step

ALLOWED_HEADERS = frozenset({"correlation-id", "kafka_correlationId", "traceparent"})
"""Request headers of which the last of each name is copied to the terminal record, if its value has at most HEADER_BYTES."""
HEADER_BYTES = 1_024


def settle(plan: Plan, scores: Floats, model: Model, app: App) -> Step:
    """Return the whole transaction.

    Args:
        plan: what becomes of each row.
        scores: shape (rows of the matrix,) or (rows of the matrix, classes), all finite.
        model: who answered.
        app: the application.
    """
    batch, answers, places = plan.rows.batch, results(plan, scores, model, app), places_of(plan)
    plan, refused, letters = _sorted(plan, places, app)
    blocks = [_scored(plan, answers, app)] if answers else []
    blocks += [_refused(plan, refused, places, answers, app)] if refused else []
    blocks += feature_counts(plan, places, model, app)
    blocks += dead_letters(batch, letters, plan.reason, plan.detail, app)
    identity, ends = plan.rows.identity, ends_of(batch)
    puts: dict[int, list[Put]] = {
        partition: list(zip([identity[row] for row in mine.rows], mine.states, strict=True))
        for partition, mine in answers.items()
    }
    for tp, offset in ends.items():
        puts.setdefault(tp.partition, []).append(frame_of(tp, offset, app))
    counts = Counter(plan.reason[row].name for row in (*refused, *letters))
    counts[SCORED] = batch.size - counts.total()
    return Step(batch.lease, blocks, puts, ends, counts, Counter(plan.reason[row].name for row in letters))


def _sorted(plan: Plan, places: Mapping[int, Place], app: App) -> tuple[Plan, list[int], list[int]]:
    """Return the rows whose terminal record is an outcome, and those that are dead letters.

    A dead letter that no topic can carry is an outcome without payload instead: the plan says so then.
    """
    batch, reasons, details = plan.rows.batch, dict(plan.reason), dict(plan.detail)
    refused, letters = [], []
    for row, reason in sorted(plan.reason.items()):
        where = REASONS[reason].where
        if where == "outcomes" or (where == "either" and row in places):
            refused.append(row)
        elif fits(batch, row, app):
            letters.append(row)
        else:
            size = len(batch.values[row] or b"")
            reasons[row], details[row] = Reason.UNPRODUCIBLE, Detail(None, f"{size} bytes, and {reason.name}")
            refused.append(row)
    return plan._replace(reason=reasons, detail=details), refused, letters


def _scored(plan: Plan, answers: Mapping[int, Answers], app: App) -> Block:
    """Return the results, each in the partition of its request and under its key."""
    partitions: list[int] = []
    rows: list[int] = []
    values: list[bytes] = []
    for partition, mine in answers.items():
        partitions += [partition] * len(mine.rows)
        rows += mine.rows
        values += mine.values
    batch = plan.rows.batch
    return Block(app.results, partitions, [batch.keys[row] for row in rows], values, _carried(batch, rows))


def _refused(
    plan: Plan, rows: list[int], places: Mapping[int, Place], answers: Mapping[int, Answers], app: App
) -> Block:
    """Return the outcomes, each in the partition of its request and under its key, if that can be carried."""
    batch = plan.rows.batch
    partitions = np.array([tp.partition for tp in batch.tps])[batch.tp[rows]].tolist()
    keys = [carried_text(batch.keys[row], app) for row in rows]
    bare = frozenset(row for row in rows if plan.reason[row] is Reason.UNPRODUCIBLE)
    values = outcomes(plan, rows, places, answers, app)
    return Block(app.outcomes, partitions, keys, values, _carried(batch, rows, bare))


def _carried(batch: Batch, rows: list[int], bare: Collection[int] = ()) -> list[Headers | None] | None:
    """Return the allowed headers of the rows' requests, of bare rows none; None if there are none at all."""
    if not any(batch.headers):
        return None
    carried = [None if row in bare else _allowed(batch.headers[row]) for row in rows]
    return carried if any(carried) else None


def _allowed(headers: Headers | None) -> Headers | None:
    if not headers:
        return None
    last = {name: value for name, value in headers if name in ALLOWED_HEADERS}
    return [(name, value) for name, value in last.items() if len(value or b"") <= HEADER_BYTES] or None


def gap(tp: TP, committed: int, log_start: int, lease: Lease, app: App) -> Step:
    """Return the transaction that records that requests were deleted by retention before they were read."""
    block = Block(app.outcomes, [tp.partition], [None], gap_values(tp, committed, log_start, app))
    return Step(lease, [block], {tp.partition: [frame_of(tp, log_start, app)]}, {tp: log_start}, {Reason.GAP.name: 1})
