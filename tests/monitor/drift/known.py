"""Features whose law is known: references of some blocks, and windows, drawn from it."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import numpy as np
from scipy.stats import norm

from streams.models.manifest import Feature
from streams.models.reference import Block, Histogram, Reference
from streams.monitor.drift.episodes import Window
from streams.monitor.drift.watch import Watch, watches
from streams.records import Floats, Ints

EDGES: tuple[float, ...] = tuple(norm.ppf(np.linspace(0.0005, 0.9995, 11)).tolist())
NUMBER = Feature(name="x", kind="number")


def shares(shift: Floats, scale: float = 1.0, missing: float = 0.0) -> Floats:
    """Return the shares of the cells of a number with a normal law, one row a shift, the missing first."""
    bounds = np.array([-np.inf, *EDGES, np.inf])
    cells = np.diff(norm.cdf(bounds[None, :], shift[:, None], scale), axis=1) * (1.0 - missing)
    return np.concatenate([np.full((len(cells), 1), missing), cells], axis=1)


def detector(e_values: Iterable[float]) -> Iterator[float]:
    """Yield what Shiryaev and Roberts' detector has after each e-value, by its definition: M = e (M + 1)."""
    found = 0.0
    for e in e_values:
        found = e * (found + 1.0)
        yield found


def drawn(chance: np.random.Generator, rows: Floats, n: int) -> Ints:
    """Return counts of n records, one row each of shares."""
    return np.array([chance.multinomial(n, row) for row in rows], np.int64)


def reference(histograms: Sequence[Histogram]) -> Reference:
    """Return the reference of some histograms, with as many blocks as they have."""
    rows = [sum(counts) for counts in histograms[0].counts]
    blocks = tuple(Block(start_ms=at, end_ms=at + 1, rows=many) for at, many in enumerate(rows))
    return Reference(blocks=blocks, features=tuple(histograms))


def histogram(
    counts: Ints, edges: tuple[float, ...] | None = EDGES, name: str = "x", sums: Ints | None = None
) -> Histogram:
    """Return counts (blocks, cells) as a package has them."""
    tuples = [None if each is None else tuple(map(tuple, each.tolist())) for each in (counts, sums)]
    return Histogram(name=name, edges=edges, counts=tuples[0] or (), sums=tuples[1])


def watch(
    counts: Ints, edges: tuple[float, ...] | None = EDGES, feature: Feature = NUMBER, sums: Ints | None = None
) -> Watch:
    """Return what is watched of one feature with these counts in training."""
    return watches([feature], reference([histogram(counts, edges, feature.name, sums)]))[0]


def windows(counts: Ints, first: int = 0) -> list[Window]:
    """Return windows one after the other, without sums."""
    return [Window(first + at, row, np.zeros_like(row)) for at, row in enumerate(counts)]


@cache
def category(categories: int, **more: str) -> Feature:
    """Return a feature with so many categories."""
    names = tuple(f"c{at}" for at in range(categories))
    return Feature.model_validate({"name": "x", "kind": "category", "categories": names, "unseen": "missing"} | more)
