"""Distances of two histograms over the same cells: what is shown, and one of them, the PSI, judged. Room: pure.

For small shifts all binned distances are one number: chi-square distance = PSI, KL = PSI / 2, JS (in nats) = PSI / 8. So one is
judged, and the others are told for those who know them. Counts have shape (cells,); shares are counts of which each cell has half
a record more (Jeffreys' prior), so that no cell is empty: an unseen category then is as far away as its records are many.
"""

import math
from typing import NamedTuple

import numpy as np

from streams.records import Floats, Ints

HALF = 0.5


class Bracket(NamedTuple):
    """Where a number lies of which a histogram does not say more."""

    low: float
    high: float


def shares(counts: Ints) -> Floats:
    """Return each cell's share, above 0: counts and half a record."""
    smooth = counts + HALF
    return np.asarray(smooth / smooth.sum())


def kl(p: Floats, q: Floats) -> float:
    """Return the Kullback-Leibler divergence of q from p, the sum of p ln(p / q), in nats. All shares are above 0."""
    return float(np.sum(p * np.log(p / q)))


def psi(p: Floats, q: Floats) -> float:
    """Return the population stability index, the sum of (p - q) ln(p / q): Jeffreys' divergence, KL both ways."""
    return float(np.sum((p - q) * np.log(p / q)))


def js_bits(p: Floats, q: Floats) -> float:
    """Return the Jensen-Shannon divergence (no square root) in bits: 0 to 1. SciPy's `jensenshannon` is its root, in nats."""
    middle = (p + q) / 2
    return (kl(p, middle) + kl(q, middle)) / (2 * math.log(2))


def chi_square(reference: Ints, window: Ints) -> tuple[float, int, float]:
    """Return Pearson's statistic of the two counts, its degrees of freedom and p-value, without Yates' correction.

    Cells that are empty in both are left out. With one cell left there is nothing to compare: 0, 0, 1.
    """
    table = np.array([reference, window])[:, (reference + window) > 0]
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return 0.0, 0, 1.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    statistic, freedom = float(((table - expected) ** 2 / expected).sum()), table.shape[1] - 1
    from scipy.special import chdtrc  # late: a worker that begins waits for no library that it does not need

    return statistic, freedom, float(chdtrc(freedom, statistic))


def ks(reference: Ints, window: Ints) -> Bracket:
    """Return between what Kolmogorov and Smirnov's distance lies: the largest gap at an edge, and of a cell's begin to its end.

    Cells are in the order of the numbers; both have records.
    """
    p, q = (np.concatenate(([0.0], np.cumsum(counts) / counts.sum())) for counts in (reference, window))
    at_edges = np.abs(p - q).max()
    across = max(np.abs(p[1:] - q[:-1]).max(), np.abs(q[1:] - p[:-1]).max())
    return Bracket(float(at_edges), float(max(at_edges, across)))


def wasserstein(reference: Ints, reference_sums: Floats, window: Ints, window_sums: Floats) -> float:
    """Return the Wasserstein-1 distance, with all records of a cell at its mean; in the unit of the values.

    Args:
        reference: records by cell, in the order of the numbers.
        reference_sums: the sum of their values by cell.
        window: as `reference`; both have records.
        window_sums: as `reference_sums`.
    """
    from scipy.stats import wasserstein_distance  # late: it takes a second, which no worker that begins should wait

    means = []
    for counts, sums in ((reference, reference_sums), (window, window_sums)):
        kept = counts > 0
        means += [sums[kept] / counts[kept], counts[kept]]
    return float(wasserstein_distance(means[0], means[2], means[1], means[3]))
