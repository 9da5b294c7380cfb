"""What the rest of `models/` asks of a flavor."""

from typing import Protocol

from streams.records import Floats


class Unscorable(Exception):
    """The artifact gave no answer for some rows, or one of another shape; which of the rows it is, nobody knows."""


class Scorer(Protocol):
    """One artifact, loaded and cross-checked with its manifest."""

    row_deterministic: bool
    """Whether a row scores the same bits in any batch."""
    largest: float
    """The largest finite number that the artifact's inputs hold."""

    def score(self, matrix: Floats) -> Floats:
        """Return what the artifact says of each row of a matrix (rows, columns), as float64.

        Binary: the probability of the positive class, shape (rows,). Multiclass: one probability a class, shape
        (rows, classes). Regression: the value, shape (rows,). Raises: Unscorable.
        """
