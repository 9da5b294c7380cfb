"""Figures of numbers: MAE, RMSE and R². Room: pure."""

import math
from typing import NamedTuple

from streams.monitor.fixed_point import SCALE, fixed, real
from streams.monitor.performance.figure import UNLABELLED, Figure, undefined


class Sums(NamedTuple):
    """What a window keeps of pairs of prediction and truth: integers (see `fixed_point`), so that windows add up.

    Products are of the parts, exact: their scale is that of the parts, squared.
    """

    pairs: int = 0
    error: int = 0
    """Sum of |prediction - truth|."""
    squared_error: int = 0
    truth: int = 0
    squared_truth: int = 0


def pair(prediction: float, truth: float) -> Sums:
    """Return the sums of one pair. Raises: ValueError if a number is not finite, or too large to be added up."""
    was, is_ = fixed(prediction), fixed(truth)
    return Sums(1, abs(was - is_), (was - is_) ** 2, is_, is_ * is_)


def mae(sums: Sums) -> Figure:
    """Return the mean absolute error."""
    return Figure(real(sums.error, sums.pairs)) if sums.pairs else undefined(UNLABELLED)


def rmse(sums: Sums) -> Figure:
    """Return the root of the mean squared error."""
    return Figure(math.sqrt(sums.squared_error / (SCALE**2 * sums.pairs))) if sums.pairs else undefined(UNLABELLED)


def r2(sums: Sums) -> Figure:
    """Return 1 - (sum of squared errors) / (sum of squared differences of the truths from their mean)."""
    if not sums.pairs:
        return undefined(UNLABELLED)
    about_mean = sums.pairs * sums.squared_truth - sums.truth**2
    if not about_mean:
        return undefined("all labels are the same number")
    return Figure(float(1 - sums.squared_error * sums.pairs / about_mean))
