"""What is watched of each feature: its histogram in training, how it is told to people, and what it may differ. Room: pure.

Three statistics a feature, each a histogram of its own: VALUES (without missing and unseen), MISSING and UNSEEN (two cells each;
the latter of categories only). Missing and unseen are kept apart because one such cell would drown the others.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from streams.models.binning import MISSING as MISSING_CELL
from streams.models.binning import UNSEEN as UNSEEN_CELL
from streams.models.manifest import Feature
from streams.models.reference import Histogram, Reference
from streams.monitor.drift.ladder import Ladder, declared, ladder
from streams.monitor.drift.tolerance import BLOCKS_MIN, ROWS_MIN
from streams.records import Floats, Ints

VALUES, MISSING, UNSEEN = "values", "missing", "unseen"
CATEGORIES_MAX = 50
"""Cells of a category: the most frequent ones in training, and all others in one. Each cell more makes the test weaker, and the
law of the PSI is one of many records a cell."""
ROWS_A_CELL = 5
"""Records a cell, in the mean, from which on a window is judged."""


class Statistic(NamedTuple):
    """One of a feature's statistics: which cells it counts, and what it may differ."""

    name: str
    group: Ints
    """Of each of the feature's cells the cell of the statistic, or -1: not counted. Shape (cells,)."""
    labels: tuple[str, ...]
    """Of each cell of the statistic, for people."""
    reference: Ints
    """Counts of the training set, shape (cells of the statistic,)."""
    ladder: Ladder | None
    """What it may differ; None: it is not tested."""
    why: str | None
    """Why it is not tested."""

    @property
    def rows_min(self) -> int:
        """A window of fewer records is not judged."""
        return max(ROWS_MIN, ROWS_A_CELL * len(self.labels))

    def counts(self, cells: Ints) -> Ints:
        """Return the statistic's counts of a feature's; shape (..., cells) to (..., cells of the statistic)."""
        flat = cells.reshape(-1, cells.shape[-1])
        found = np.zeros((len(self.labels), len(flat)), np.int64)
        kept = self.group >= 0
        np.add.at(found, self.group[kept], flat.T[kept])
        return found.T.reshape(*cells.shape[:-1], len(self.labels))


class Watch(NamedTuple):
    """One feature, which is one column of the model's matrix."""

    name: str
    kind: str
    """`number` or `category`."""
    begin: int
    """Its first cell among all features' cells."""
    labels: tuple[str, ...]
    """Of each of its cells, for people."""
    counts: Ints
    """Of the training set, shape (blocks, cells)."""
    sums: Ints | None
    """As `counts`: the sums of positions (see `binning`); None: there are none."""
    origin: Floats
    """Where positions in a cell begin, in the feature's unit, shape (cells,)."""
    width: Floats
    """How much a whole position is, in the feature's unit; negative below the first edge."""
    statistics: tuple[Statistic, ...]

    @property
    def cells(self) -> slice:
        """Where its cells are among all features' cells."""
        return slice(self.begin, self.begin + len(self.labels))

    @property
    def tested(self) -> tuple[Statistic, ...]:
        """The statistics that decide about tickets."""
        return tuple(statistic for statistic in self.statistics if statistic.ladder is not None)

    @property
    def rows_min(self) -> int:
        """A window of fewer records is not judged; its counts go into the next one."""
        return max((statistic.rows_min for statistic in self.tested), default=ROWS_MIN)

    @property
    def why(self) -> str | None:
        """Why nothing of it is tested; None if something is."""
        return (
            None
            if self.tested
            else next((each.why for each in self.statistics if each.why), "nothing of it is counted")
        )


def watches(
    features: Sequence[Feature], reference: Reference, span_blocks: int = 1, why: str | None = None
) -> tuple[Watch, ...]:
    """Return what is watched, one a column, in the order of the model's matrix.

    Args:
        features: the manifest's columns.
        reference: what `reference.parse` gave for them.
        span_blocks: how many of its blocks a window is as long as.
        why: why windows cannot be compared with blocks, such as a length that is no multiple; None: they can.
    """
    found, begin = [], 0
    for feature, histogram in zip(features, reference.features, strict=True):
        watch = _watch(feature, histogram, begin, span_blocks, why)
        found.append(watch)
        begin += len(watch.labels)
    return tuple(found)


def _watch(feature: Feature, histogram: Histogram, begin: int, span: int, why: str | None) -> Watch:
    counts, edges = np.array(histogram.counts, np.int64), histogram.edges
    sums = None if histogram.sums is None else np.array(histogram.sums, np.int64)
    if edges is None:
        labels = ("missing", *feature.categories, "unseen")
        counts = np.pad(counts, ((0, 0), (0, len(labels) - counts.shape[1])))
        origin, width = np.zeros(len(labels)), np.zeros(len(labels))
    else:
        between = (f"{four_digits(low)} to {four_digits(high)}" for low, high in pairwise(edges))
        labels = ("missing", f"below {four_digits(edges[0])}", *between, f"{four_digits(edges[-1])} or more")
        whole = (edges[-1] - edges[0]) or 1.0
        origin = np.array([0.0, edges[0], *edges])
        width = np.array([0.0, -whole, *(high - low for low, high in pairwise(edges)), whole])
    own = feature.drift_tolerance
    category = edges is None
    groups = {
        VALUES: _values(labels, counts, category),
        MISSING: _one_of(len(labels), MISSING_CELL, "missing", "not missing"),
    }
    if category:
        groups[UNSEEN] = _one_of(len(labels), UNSEEN_CELL, "unseen", "known or missing")
    statistics = tuple(
        _statistic(name, group, cells, counts, span, own if name == VALUES else None, why)
        for name, (group, cells) in groups.items()
    )
    return Watch(feature.name, feature.kind, begin, labels, counts, sums, origin, width, statistics)


def _values(labels: Sequence[str], counts: Ints, category: bool) -> tuple[Ints, tuple[str, ...]]:
    """Return the groups of what is neither missing nor unseen, and their labels; rare categories are one group."""
    group = np.full(len(labels), -1, np.int64)
    inner = np.arange(1, len(labels) - 1 if category else len(labels))
    if category and len(inner) > CATEGORIES_MAX:
        often = np.argsort(-counts.sum(axis=0)[inner], kind="stable")
        kept, rest = np.sort(inner[often[: CATEGORIES_MAX - 1]]), inner[often[CATEGORIES_MAX - 1 :]]
        group[kept], group[rest] = np.arange(len(kept)), len(kept)
        return group, (*(labels[at] for at in kept.tolist()), f"others ({len(rest)} categories)")
    group[inner] = np.arange(len(inner))
    return group, tuple(labels[at] for at in inner.tolist())


def _one_of(cells: int, cell: int, this: str, rest: str) -> tuple[Ints, tuple[str, ...]]:
    group = np.ones(cells, np.int64)
    group[cell] = 0
    return group, (this, rest)


def _statistic(
    name: str, group: Ints, labels: tuple[str, ...], counts: Ints, span: int, own: float | None, why: str | None
) -> Statistic:
    empty = Statistic(name, group, labels, np.zeros(len(labels), np.int64), None, None)
    blocks = empty.counts(counts)
    found = empty._replace(reference=blocks.sum(axis=0))
    if not found.reference.any():
        return found._replace(
            why="the training set has no value of it" if name == VALUES else "the training set is empty"
        )
    if own is not None:
        return found._replace(ladder=declared(own))
    if why is not None:
        return found._replace(why=why)
    steps = ladder(blocks, span)
    return found._replace(ladder=steps, why=_few(blocks, span) if steps is None else None)


def _few(blocks: Ints, span: int) -> str:
    many, least = len(blocks), BLOCKS_MIN * span
    has = f"{many} block{'' if many == 1 else 's'} of time"
    if span > 1:
        has += f", a window is as long as {span} of them"
    if many >= least:
        has += f", a value of it in {int(blocks.any(axis=1).sum())}"
    return f"the reference has {has}, and {least} are needed; give `drift_tolerance` in the manifest"


def four_digits(value: float) -> str:
    """Return a number as tables and names of cells have it."""
    return f"{value:.4g}" if abs(value) < 1e4 or abs(value) >= 1e9 else f"{value:.0f}"
