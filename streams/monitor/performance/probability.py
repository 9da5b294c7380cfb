"""Figures of probabilities: log-loss, Brier score, and calibration. Room: pure."""

from typing import NamedTuple

import numpy as np

from streams.monitor.multiset import Multiset
from streams.monitor.performance.figure import UNLABELLED, Figure, undefined
from streams.records import Floats, Ints

CLIP = 1e-15
"""No probability is taken for smaller, or for larger than 1 minus this: a certain and wrong answer costs 34.5. (By default
scikit-learn clips by the type's epsilon: 36.0 for float64, 15.9 for float32.)"""
BINS = 10


class Bin(NamedTuple):
    """One bar of a reliability diagram."""

    low: float
    high: float
    """Not included, but for the last bin."""
    labelled: int
    positive: int
    mean_score: float | None
    """None where nothing fell into the bin."""


class Calibration(NamedTuple):
    """How the scores compare with the shares of positives."""

    bins: tuple[Bin, ...]
    ece: Figure
    """Expected calibration error: the mean over predictions of |mean score - share of positives| of their bin (Naeini,
    Cooper and Hauskrecht 2015). Biased upwards where bins are small: a perfect model of 200 predictions has some 0.09."""
    ece_squared_debiased: Figure
    """The mean of the squared difference less its expectation under perfect calibration (Kumar, Liang and Ma 2019,
    arXiv 1909.10155): around 0 for a perfect model, below it by chance."""


def log_loss(counts: Multiset) -> Figure:
    """Return the mean of -ln(probability of what came true), probabilities clipped at CLIP."""
    if not counts.labelled:
        return undefined(UNLABELLED)
    score = np.clip(counts.score, CLIP, 1 - CLIP)
    total = -float(np.log(score) @ counts.positive) - float(np.log1p(-score) @ counts.negative)
    return Figure(total / counts.labelled)


def brier(counts: Multiset) -> Figure:
    """Return the mean squared difference of score and outcome (Brier 1950), outcomes being 0 and 1."""
    if not counts.labelled:
        return undefined(UNLABELLED)
    score = counts.score
    return Figure(float(score**2 @ counts.negative + (1 - score) ** 2 @ counts.positive) / counts.labelled)


def calibration(counts: Multiset, edges: Floats | None = None) -> Calibration:
    """Return the reliability diagram and its error; `edges`, ascending, default to BINS bins of equal width from 0 to 1.

    Scores outside the edges count in the first and the last bin.
    """
    edges = np.linspace(0.0, 1.0, BINS + 1) if edges is None else edges
    score, bins = counts.score, len(edges) - 1
    bin_of = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, bins - 1)
    labelled = _sums(bin_of, counts.negative + counts.positive, bins)
    positive = _sums(bin_of, counts.positive, bins)
    total = np.bincount(bin_of, score * (counts.negative + counts.positive), bins)
    used = labelled > 0
    mean = np.divide(total, labelled, out=np.zeros(bins), where=used)
    told = tuple(
        Bin(
            float(edges[i]),
            float(edges[i + 1]),
            int(labelled[i]),
            int(positive[i]),
            float(mean[i]) if used[i] else None,
        )
        for i in range(bins)
    )
    if not used.any():
        return Calibration(told, undefined(UNLABELLED), undefined(UNLABELLED))
    n, share = labelled[used], positive[used] / labelled[used]
    gap, weight = mean[used] - share, n / n.sum()
    return Calibration(told, Figure(float(weight @ np.abs(gap))), _debiased(gap, share, n, weight))


def _debiased(gap: Floats, share: Floats, n: Ints, weight: Floats) -> Figure:
    if (n < 2).any():
        return undefined("a bin has a single label")
    return Figure(float(weight @ (gap**2 - share * (1 - share) / (n - 1))))


def _sums(bin_of: Ints, counts: Ints, bins: int) -> Ints:
    sums = np.zeros(bins, dtype=np.int64)
    np.add.at(sums, bin_of, counts)
    return sums
