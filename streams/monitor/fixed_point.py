"""Real numbers as integers of a fixed scale, so that sums do not depend on their order. Room: pure.

Python's integers have no limit, so no sum can overflow; what is added is limited where it is made.
"""

import math
from fractions import Fraction

SCALE = 2**40
"""Parts of one: 9.1e-13. A mean is then right to 4.6e-13, however many are added."""
LIMIT = 2.0**62
"""Larger numbers are refused: their last digits are worth more than 1024."""


def fixed(value: float) -> int:
    """Return the nearest integer number of parts, ties to even. Raises: ValueError if it is not finite, or beyond LIMIT."""
    if not math.isfinite(value) or abs(value) > LIMIT:
        raise ValueError(f"{value} cannot be added up")
    return round(Fraction(value) * SCALE)


def real(parts: int, count: int = 1) -> float:
    """Return the mean of `count` numbers whose parts add up to `parts`, correctly rounded."""
    return parts / (SCALE * count)
