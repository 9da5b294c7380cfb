"""What the model saw in one transaction, counted in the cells of its reference. Room: pure.

What was scored is counted, and what was refused because a feature is missing or of an unknown category, in that feature's own cell
only: a model that refuses what it does not know would else never be seen to meet it. A retry of such a request is refused, and
counted, again.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from streams.avro.encode import Constant
from streams.packed import pack
from streams.pipeline.app import App, Watching
from streams.pipeline.columns import event_ms
from streams.pipeline.outcomes import Place
from streams.pipeline.planning import Plan
from streams.pipeline.reading import Group
from streams.ports import Cells, Model
from streams.reasons import Reason
from streams.records import Batch, Block, Ints

COUNTED = (Reason.UNSEEN_CATEGORY, Reason.MISSING_VALUE)
"""Refusals that a feature's cell has a place for."""


class Times(NamedTuple):
    """When some requests happened, and when they were appended, in milliseconds; and whose they are."""

    event: Ints
    append: Ints
    partition: Ints

    def plausible(self, watching: Watching) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return which event times may be true."""
        early, late = self.append - watching.past_ms, self.append + watching.future_ms
        return np.asarray((early <= self.event) & (self.event <= late))


def feature_counts(plan: Plan, places: Mapping[int, Place], model: Model, app: App) -> list[Block]:
    """Return the record of what the model saw; none where nobody counts, or nothing is to be counted."""
    watching, cells = app.watching, model.cells
    if watching is None or cells is None:
        return []
    scored = _scored(plan)
    rows, times = scored
    good = times.plausible(watching)
    refused = list(_refused(plan, places, cells, watching))
    if not len(rows) and not refused:
        return []
    numbers, window = np.unique(times.event[good] // watching.grain_ms, return_inverse=True)
    counts = cells.count(plan.matrix[good] if not good.all() else plan.matrix, window.ravel(), len(numbers))
    many = np.bincount(window.ravel(), minlength=len(numbers))
    columns = [counts.window, counts.cell, counts.n, counts.total]
    if refused:
        numbers, many, columns = _with(refused, numbers, many, columns)
    first = int(rows[0]) if len(rows) else refused[0][0]
    latest = _latest(times, good)
    value = watching.counts.encode(
        watching.prefix,
        1,
        {
            "first_key": Constant((plan.rows.batch.keys[first] or b"").decode("utf-8", "replace")),
            "model_name": Constant(model.name),
            "model_version": Constant(model.version),
            "arm": Constant(None),
            "reference": Constant(cells.reference),
            "grain_ms": Constant(watching.grain_ms),
            "implausible": Constant(int((~good).sum())),
            "latest": Constant(pack(*latest)),
            "windows": Constant(pack(numbers, many)),
            "counts": Constant(pack(*columns)),
        },
    )
    batch = plan.rows.batch
    return [Block(watching.topic, [batch.tps[batch.tp[first]].partition], [batch.keys[first]], value)]


def _scored(plan: Plan) -> tuple[Ints, Times]:
    """Return the rows of the matrix, and when they happened."""
    rows, events = [], []
    for group, index in zip(plan.rows.groups, plan.to_score, strict=True):
        mine = group.rows[index]
        rows.append(mine)
        events.append(_events(group, index, plan.rows.batch.append_ms[mine]))
    every = np.concatenate(rows) if rows else np.empty(0, np.int64)
    return every, _times(every, np.concatenate(events) if events else every, plan.rows.batch)


def _times(rows: Ints, event: Ints, batch: Batch) -> Times:
    partitions = np.array([tp.partition for tp in batch.tps], np.int64)
    return Times(event, batch.append_ms[rows], partitions[batch.tp[rows]])


def _events(group: Group, index: Ints, append: Ints) -> Ints:
    """Return the event times; a request without one happened when it was appended."""
    said = event_ms(group.decoded, group.reading.writer, index)
    if isinstance(said, Constant):
        return append
    return said.values if said.null is None else np.where(said.null, append, said.values)


def _latest(times: Times, good: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[Ints, Ints]:
    """Return of each partition the latest plausible event time."""
    partitions, place = np.unique(times.partition[good], return_inverse=True)
    latest = np.full(len(partitions), np.iinfo(np.int64).min)
    np.maximum.at(latest, place.ravel(), times.event[good])
    return partitions, latest


def _refused(
    plan: Plan, places: Mapping[int, Place], cells: Cells, watching: Watching
) -> Iterator[tuple[int, int, int]]:
    """Yield row, number of the window, and cell of what was refused, for each cell that it counts in."""
    batch = plan.rows.batch
    known: dict[tuple[str, Reason], list[int]] = {}
    for row, reason in enumerate(plan.reason):
        if reason not in COUNTED or row not in places:
            continue
        field = plan.detail[row].field or ""
        if (field, reason) not in known:
            known[field, reason] = cells.refused(field, reason).tolist()
        place = places[row]
        event = _events(place.group, np.array([place.at]), batch.append_ms[[row]])
        if _times(np.array([row]), event, batch).plausible(watching)[0]:
            for cell in known[field, reason]:
                yield row, int(event[0]) // watching.grain_ms, cell


def _with(
    refused: list[tuple[int, int, int]], numbers: Ints, many: Ints, columns: list[Ints]
) -> tuple[Ints, Ints, list[Ints]]:
    """Return windows and counts with what was refused; a cell may be there twice, which adds up."""
    more = Counter((number, cell) for _, number, cell in refused)
    every = np.union1d(numbers, np.array([number for number, _ in more], np.int64))
    place = np.searchsorted(every, numbers)
    whole = np.zeros(len(every), np.int64)
    whole[place] = many
    extra = np.array([[np.searchsorted(every, number), cell, n, 0] for (number, cell), n in more.items()], np.int64)
    columns = [place[columns[0]], *columns[1:]]
    return every, whole, [np.concatenate([old, new]) for old, new in zip(columns, extra.T, strict=True)]
