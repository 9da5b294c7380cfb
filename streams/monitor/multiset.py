"""The predictions of a window by score, and how many of each came true. Room: pure.

For a model of two classes this is all that a window must keep: every figure can be computed from it, exactly, and the
multisets of two windows, partitions or days add up to that of both.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from streams.monitor.score_keys import from_keys, picks
from streams.records import Bools, Floats, Ints


class Multiset(NamedTuple):
    """Counts by score; columns of the same length, keys ascending and distinct, no row that is all zeros."""

    key: Ints
    """See `score_keys`."""
    unlabelled: Ints
    negative: Ints
    positive: Ints

    @property
    def score(self) -> Floats:
        """The scores, ascending."""
        return from_keys(self.key)

    @property
    def picked(self) -> Bools:
        """Where the model picked the positive class."""
        return picks(self.key)

    @property
    def labelled(self) -> int:
        """How many predictions have a label."""
        return int(self.negative.sum() + self.positive.sum())

    def by_score(self) -> tuple[Ints, Ints]:
        """Return the negatives and positives of each score, ascending, whichever class was picked."""
        begins = np.flatnonzero(np.diff(self.key >> 1, prepend=-1))
        if not len(begins):
            return self.negative, self.positive
        return np.add.reduceat(self.negative, begins), np.add.reduceat(self.positive, begins)

    @property
    def predictions(self) -> int:
        """How many predictions there are."""
        return int(self.unlabelled.sum()) + self.labelled


_NONE = np.empty(0, dtype=np.int64)
EMPTY = Multiset(_NONE, _NONE, _NONE, _NONE)


def counted(key: Ints, unlabelled: Ints, negative: Ints, positive: Ints) -> Multiset:
    """Return the multiset of changes in any order, keys any number of times; what adds up to nothing is left out."""
    keys, row = np.unique(key, return_inverse=True)
    sums = np.zeros((3, len(keys)), dtype=np.int64)
    for total, column in zip(sums, (unlabelled, negative, positive), strict=True):
        np.add.at(total, row, column)
    kept = sums.any(axis=0)
    return Multiset(keys[kept].astype(np.int64), *sums[:, kept])


def added(multisets: Iterable[Multiset]) -> Multiset:
    """Return the sum of some multisets."""
    parts = list(multisets) or [EMPTY]
    return counted(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
