"""The area under the ROC curve, exact for the scores that were published, with DeLong's standard error. Room: pure.

DeLong, DeLong and Clarke-Pearson 1988 (Biometrics 44, 837-845); from counts by score in one pass, as Sun and Xu 2014 (IEEE
Signal Processing Letters 21, 1389-1393) from sorted scores.
"""

import math

import numpy as np

from streams.monitor.multiset import Multiset
from streams.monitor.performance.figure import UNLABELLED, Figure, undefined
from streams.records import Floats, Ints

LABELLED_MAX = 2**31
"""More labelled predictions than this in one window are refused: twice their pairs must fit into 64 bits."""


def auc(counts: Multiset) -> Figure:
    """Return the probability that a positive has a higher score than a negative, ties counted half.

    The pairs are counted in integers. The standard error is None where a class has a single member.
    Raises: OverflowError above LABELLED_MAX.
    """
    negative, positive = counts.by_score()
    positives, negatives = int(positive.sum()), int(negative.sum())
    if positives + negatives > LABELLED_MAX:
        raise OverflowError(f"{positives + negatives:,} labelled predictions in one window")
    if not positives or not negatives:
        return undefined(UNLABELLED if not positives + negatives else "labels of one class only")
    twice_below = 2 * (np.cumsum(negative) - negative) + negative
    twice_won = int(positive @ twice_below)
    value = twice_won / (2 * positives * negatives)
    if min(positives, negatives) < 2:
        return Figure(value)
    twice_pos_below = 2 * (np.cumsum(positive) - positive) + positive
    error = math.sqrt(
        _variance(twice_below / (2 * negatives), positive, positives) / positives
        + _variance(1.0 - twice_pos_below / (2 * positives), negative, negatives) / negatives
    )
    return Figure(value, standard_error=error)


def _variance(placements: Floats, count: Ints, total: int) -> float:
    """Return the sample variance of placements that occur `count` times each."""
    mean = float(placements @ count) / total
    return float(((placements - mean) ** 2) @ count) / (total - 1)
