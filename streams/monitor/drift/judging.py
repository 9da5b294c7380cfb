"""One window of one feature, judged, and shown in every way that people ask for. Room: pure."""

from typing import NamedTuple

import numpy as np

from streams.models.binning import PARTS
from streams.monitor.drift.distances import Bracket, chi_square, js_bits, kl, ks, shares, wasserstein
from streams.monitor.drift.ladder import chance
from streams.monitor.drift.watch import MISSING, UNSEEN, VALUES, Statistic, Watch
from streams.records import Floats, Ints

BINS = 3
"""So many bins are told."""
CALM = 0.5
"""A window whose p-value at the tolerance is at least so much is within it. Not a PSI of at most the tolerance: a hundred records
differ by more by chance alone."""


class Part(NamedTuple):
    """One statistic of the feature in the window."""

    name: str
    n: int
    psi: float
    tolerance: float
    usual: float
    """What the PSI may be: the tolerance, and what so few records differ by chance."""
    p: float
    e: Floats
    """At each step of the ladder."""
    weights: Floats
    """Of the steps."""

    @property
    def e_value(self) -> float:
        """The e-value of all steps together."""
        return float(self.e @ self.weights)


class Bin(NamedTuple):
    """One cell, and its shares."""

    label: str
    reference: float
    share: float


class Test(NamedTuple):
    """Pearson's statistic, its degrees of freedom, and its p-value, which knows of no tolerance."""

    statistic: float
    freedom: int
    p: float


class Judged(NamedTuple):
    """One feature in one window. Only `parts` decides; the rest is shown."""

    n: int
    """Records, missing and unseen ones included."""
    parts: tuple[Part, ...]
    """The statistics that could be judged; empty: none."""
    psi: float | None
    """Of the values; None: there are none, in the window or in training. So are `kl` to `chi_square`."""
    kl: float | None
    """Of the window from the training set, in nats."""
    js_bits: float | None
    ks: Bracket | None
    """None of a category, too."""
    w1: float | None
    """Wasserstein-1 in the feature's own unit; None, too, if the reference has no sums."""
    w1_scaled: float | None
    """Over the standard deviation of the training set (of its cells' means)."""
    chi_square: Test | None
    bins: tuple[Bin, ...]
    """The cells of the values that the PSI owes most to, most first; shares of the values."""
    missing: float
    missing_reference: float
    unseen: float | None
    unseen_reference: float | None
    direction: float | None = None
    """By how many cells the values of a number lie higher than in training, in the mean; below 0: lower."""

    @property
    def e(self) -> float | None:
        """The mean of the parts' e-values, an e-value whatever they have to do with each other (Vovk and Wang 2021, section 3)."""
        return float(np.mean([part.e_value for part in self.parts])) if self.parts else None

    @property
    def leading(self) -> Part | None:
        """The part that says most; if all are calm, the first."""
        moved = [part for part in self.parts if part.p < CALM]
        return max(moved or self.parts[:1], key=lambda part: (part.e_value, part.psi / part.usual), default=None)

    @property
    def calm(self) -> bool:
        """Whether every part is within its tolerance."""
        return bool(self.parts) and all(part.p >= CALM for part in self.parts)


def judge(watch: Watch, counts: Ints, sums: Ints | None = None) -> Judged:
    """Return what is to be said of a window.

    Args:
        watch: the feature.
        counts: the window's counts of the feature's own cells.
        sums: the sums of positions in them; None: unknown.
    """
    reference, n = watch.counts.sum(axis=0), int(counts.sum())
    parts = []
    for statistic in watch.tested:
        mine = statistic.counts(counts)
        if n and mine.sum() >= statistic.rows_min and statistic.ladder is not None:
            found = chance(statistic.reference, mine, statistic.ladder)
            tolerance, weights = statistic.ladder.tolerance, statistic.ladder.weights
            parts.append(
                Part(statistic.name, int(mine.sum()), found.psi, tolerance, found.usual, found.p, found.e, weights)
            )
    named = {statistic.name: statistic for statistic in watch.statistics}
    rates = {name: (_rate(named.get(name), counts), _rate(named.get(name), reference)) for name in (MISSING, UNSEEN)}
    shown = _Shown() if n == 0 else _shown(watch, named[VALUES], reference, counts, sums)
    unseen = rates[UNSEEN] if UNSEEN in named else (None, None)
    missing = rates[MISSING]
    direction = None if watch.kind == "category" else _direction(named[VALUES], counts)
    return Judged(n, tuple(parts), *shown, missing[0] or 0.0, missing[1] or 0.0, *unseen, direction)


class _Shown(NamedTuple):
    psi: float | None = None
    kl: float | None = None
    js_bits: float | None = None
    ks: Bracket | None = None
    w1: float | None = None
    w1_scaled: float | None = None
    chi_square: Test | None = None
    bins: tuple[Bin, ...] = ()


def _rate(statistic: Statistic | None, counts: Ints) -> float | None:
    """Return the share of the statistic's first cell."""
    if statistic is None:
        return None
    mine, n = statistic.counts(counts), int(counts.sum())
    return float(mine[0] / n) if n else 0.0


def _shown(watch: Watch, values: Statistic, reference: Ints, counts: Ints, sums: Ints | None) -> _Shown:
    mine = values.counts(counts)
    if not mine.any() or not values.reference.any():
        return _Shown()
    kept = np.flatnonzero(values.reference + mine)
    p, q = shares(values.reference[kept]), shares(mine[kept])
    owed = (q - p) * np.log(q / p)
    first = kept[np.argsort(-owed, kind="stable")[:BINS]].tolist()
    told_p, told_q = values.reference / values.reference.sum(), mine / mine.sum()
    bins = tuple(Bin(values.labels[at], float(told_p[at]), float(told_q[at])) for at in first)
    number = watch.kind != "category"
    distance, scaled = _wasserstein(watch, reference, counts, sums) if number else (None, None)
    return _Shown(
        float(owed.sum()),
        kl(q, p),
        js_bits(p, q),
        ks(values.reference, mine) if number else None,
        distance,
        scaled,
        Test(*chi_square(values.reference, mine)),
        bins,
    )


def _direction(values: Statistic, counts: Ints) -> float | None:
    """Return the difference of the mean cells, or None where there are no values."""
    mine = values.counts(counts)
    if not mine.any() or not values.reference.any():
        return None
    rank = np.arange(len(mine))
    return float(rank @ mine / mine.sum() - rank @ values.reference / values.reference.sum())


def _wasserstein(watch: Watch, reference: Ints, counts: Ints, sums: Ints | None) -> tuple[float | None, float | None]:
    if watch.sums is None or sums is None:
        return None, None
    before, before_sums = reference[1:], totals(watch, reference, watch.sums.sum(axis=0))[1:]
    after, after_sums = counts[1:], totals(watch, counts, sums)[1:]
    found = wasserstein(before, before_sums, after, after_sums)
    kept = before > 0
    means, n = before_sums[kept] / before[kept], before[kept]
    middle = (means * n).sum() / n.sum()
    deviation = float(np.sqrt((n * (means - middle) ** 2).sum() / n.sum()))
    return found, found / deviation if deviation else None


def totals(watch: Watch, counts: Ints, sums: Ints) -> Floats:
    """Return the sum of a feature's values in each cell, in its own unit, of counts and sums of positions."""
    return np.asarray(counts * watch.origin + sums / PARTS * watch.width)
