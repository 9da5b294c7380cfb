"""Intervals of a share: from sampling alone, and from how blocks differ. Room: pure."""

import math

import numpy as np

from streams.monitor.performance.figure import Figure, Interval, undefined
from streams.records import Ints

CONFIDENCE = 0.95


def share(hits: int, trials: int, nothing: str) -> Figure:
    """Return hits / trials with its sampling interval; undefined, with the reason `nothing`, where there was no trial."""
    return Figure(hits / trials, sampling=wilson(hits, trials)) if trials else undefined(nothing)


def wilson(hits: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Return Wilson's score interval (Wilson 1927; Newcombe 1998, method 3), without continuity correction.

    In closed form: `scipy.stats.binomtest`, its oracle in the tests, works out an exact p-value on the way, whose cost grows.
    """
    from scipy.special import ndtri  # late: a worker that begins waits for no library that it does not need

    z = float(ndtri(0.5 + confidence / 2))
    centre = (hits + z * z / 2) / (trials + z * z)
    half = z / (trials + z * z) * math.sqrt(hits * (trials - hits) / trials + z * z / 4)
    return Interval(
        0.0 if hits == 0 else max(0.0, centre - half),
        1.0 if hits == trials else min(1.0, centre + half),
    )


def between_blocks(hits: Ints, trials: Ints, confidence: float = CONFIDENCE) -> Interval | None:
    """Return the interval of sum(hits) / sum(trials) from how blocks differ; None with fewer than two blocks with trials.

    The ratio estimator for clusters (Cochran 1977, Sampling Techniques, ch. 9A.2): what is shared inside a block, an hour of
    bad weather, counts once. Student's t with one degree of freedom less than blocks; cut off at 0 and 1.
    """
    from scipy.special import stdtrit  # late, as above

    used = trials > 0
    hits, trials = hits[used].astype(np.float64), trials[used].astype(np.float64)
    blocks, total = len(trials), float(trials.sum())
    if blocks < 2:
        return None
    value = float(hits.sum()) / total
    spread = float(((hits - value * trials) ** 2).sum()) * blocks / (blocks - 1)
    half = float(stdtrit(blocks - 1, 0.5 + confidence / 2)) * math.sqrt(spread) / total
    return Interval(max(0.0, value - half), min(1.0, value + half))
