"""What the model saw in one transaction, counted in the cells of its reference. Room: pure.

What was scored is counted, and what was refused because a feature is missing or of an unknown category, in that feature's own cell
only: a model that refuses what it does not know would else never be seen to meet it. A retry of such a request is refused, and
counted, again.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from streams.avro.encode import Constant, Longs, Slices
from streams.packed import pack
from streams.pipeline.app import App, Watching
from streams.pipeline.columns import event_ms
from streams.pipeline.outcomes import Place
from streams.pipeline.planning import Plan
from streams.pipeline.reading import Group
from streams.ports import Cells, Counts, Model
from streams.reasons import Reason
from streams.records import Batch, Block, Bools, Ints

COUNTED = (Reason.UNSEEN_CATEGORY, Reason.MISSING_VALUE)
"""Refusals that a feature's cell has a place for."""
CELLS_MAX = 16_384
"""So many cells at most are told in one record: with 5 bytes each, or 25 at worst, it stays below 410 KB."""
_NO_TIMES = pack(np.empty(0, np.int64), np.empty(0, np.int64))


class Times(NamedTuple):
    """When some requests happened, and when they were appended, in milliseconds; and whose they are."""

    event: Ints
    append: Ints
    partition: Ints

    def plausible(self, watching: Watching) -> Bools:
        """Return which event times may be true."""
        early, late = self.append - watching.past_ms, self.append + watching.future_ms
        return np.asarray((early <= self.event) & (self.event <= late))


def feature_counts(plan: Plan, places: Mapping[int, Place], model: Model, app: App) -> list[Block]:
    """Return the records of what the model saw: one, but for very many cells; none where nobody counts, or nothing is to be counted."""
    watching, cells = app.watching, model.cells
    if watching is None or cells is None:
        return []
    batch, (rows, times) = plan.rows.batch, _scored(plan)
    good = times.plausible(watching)
    refused = _refused(plan, places, cells, watching)
    if not len(rows) and not len(refused.window):
        return []
    numbers, window = np.unique(times.event[good] // watching.grain_ms, return_inverse=True)
    counts = cells.count(plan.matrix if good.all() else plan.matrix[good], window.ravel(), len(numbers))
    many = np.bincount(window.ravel(), minlength=len(numbers))
    if len(refused.window):
        numbers, many, counts = _with(refused, numbers, many, counts)
    first = int(rows[0]) if len(rows) else refused.first
    parts = list(_parts(numbers, many, counts))
    n, latest = len(parts), pack(*_latest(times, good))
    values = watching.counts.encode(
        watching.prefix,
        n,
        {
            "first_key": Constant((batch.keys[first] or b"").decode("utf-8", "replace")),
            "model_name": Constant(model.name),
            "model_version": Constant(model.version),
            "arm": Constant(None),
            "reference": Constant(cells.reference),
            "grain_ms": Constant(watching.grain_ms),
            "implausible": Longs(np.array([int((~good).sum()), *[0] * (n - 1)]), None),
            "latest": Slices(
                [*[_NO_TIMES] * (n - 1), latest]
            ),  # the last: time has passed nothing of which a part is to come
            "windows": Slices([windows for windows, _ in parts]),
            "counts": Slices([packed for _, packed in parts]),
        },
    )
    return [Block(watching.topic, [batch.tps[batch.tp[first]].partition] * n, [batch.keys[first]] * n, values)]


def _parts(numbers: Ints, many: Ints, counts: Counts) -> Iterator[tuple[bytes, bytes]]:
    """Yield windows and counts, packed, of so many cells that a record can hold them; requests are said with the first."""
    for begin in range(0, max(1, len(counts.cell)), CELLS_MAX):
        window, *columns = (column[begin : begin + CELLS_MAX] for column in counts)
        mine, place = (np.arange(len(numbers)), window) if begin == 0 else np.unique(window, return_inverse=True)
        requests = many if begin == 0 else np.zeros(len(mine), np.int64)
        cells, *many_and_sums = columns
        yield pack(numbers[mine], requests), pack(place.ravel(), np.diff(cells, prepend=0), *many_and_sums)


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


def _latest(times: Times, good: Bools) -> tuple[Ints, Ints]:
    """Return of each partition the latest plausible event time."""
    partitions, place = np.unique(times.partition[good], return_inverse=True)
    latest = np.full(len(partitions), np.iinfo(np.int64).min)
    np.maximum.at(latest, place.ravel(), times.event[good])
    return partitions, latest


class _Refused(NamedTuple):
    """Cells of what was refused, and how many requests count in each; sorted by window and cell."""

    window: Ints
    """Number of the window."""
    cell: Ints
    n: Ints
    first: int
    """A row of the batch."""


def _refused(plan: Plan, places: Mapping[int, Place], cells: Cells, watching: Watching) -> _Refused:
    """Return in which cells what was refused counts."""
    kinds: dict[tuple[int, str, Reason], list[tuple[int, int]]] = {}
    groups: dict[int, Group] = {}
    for row, reason in sorted(plan.reason.items()):
        if reason in COUNTED and (place := places.get(row)) is not None:
            groups[id(place.group)] = place.group
            kinds.setdefault((id(place.group), plan.detail[row].field or "", reason), []).append((row, place.at))
    found, first = Counter[tuple[int, int]](), -1
    for (group, field, reason), mine in kinds.items():
        rows, index = np.array(mine, np.int64).T
        append = plan.rows.batch.append_ms[rows]
        times = _times(rows, _events(groups[group], index, append), plan.rows.batch)
        good = times.plausible(watching)
        numbers, many = np.unique(times.event[good] // watching.grain_ms, return_counts=True)
        for cell in cells.refused(field, reason).tolist() if len(numbers) else ():
            found.update(dict(zip(((number, cell) for number in numbers.tolist()), many.tolist(), strict=True)))
            first = int(rows[good][0])
    window, cell, n = np.array([(*key, many) for key, many in sorted(found.items())], np.int64).reshape(-1, 3).T
    return _Refused(window, cell, n, first)


def _with(refused: _Refused, numbers: Ints, many: Ints, counts: Counts) -> tuple[Ints, Ints, Counts]:
    """Return windows and counts with what was refused; a cell may be there twice, which adds up."""
    every = np.union1d(numbers, refused.window)
    place, whole = np.searchsorted(every, numbers), np.zeros(len(every), np.int64)
    whole[place] = many
    columns = np.searchsorted(every, refused.window), refused.cell, refused.n, np.zeros(len(refused.n), np.int64)
    before = place[counts.window], counts.cell, counts.n, counts.total
    return every, whole, Counts(*(np.concatenate(both) for both in zip(before, columns, strict=True)))
