"""Whether a window is farther from the reference than the reference's own blocks are from each other. Room: pure.

Windows of the real world are not independent draws: weather differs from week to week although nothing is wrong. So the null
hypothesis is not "no difference" but "a PSI of at most so much", and how much is measured on the training set: each block of its
time against all others. Under it, PSI · nm / (n + m) is about non-central chi-square with cells - 1 degrees of freedom (Yurdakul
2018, Western Michigan University; Potgieter et al., arXiv 2307.11878).
"""

import numpy as np

from streams.monitor.drift.distances import psi, shares
from streams.records import Floats, Ints

BLOCKS_MIN = 4
"""Fewer blocks say too little of how much blocks differ."""
QUANTILE = 0.95
ROWS_MIN = 100
"""A window of fewer records is not judged."""


def distances(blocks: Ints, length: int = 1) -> Floats:
    """Return the PSI of each stretch of `length` blocks against all other blocks; none of what has nothing to be compared with.

    Args:
        blocks: counts of the training set, shape (blocks, cells), in the order of time.
        length: blocks of a stretch.
    """
    stretches = len(blocks) // length
    parts = blocks[: stretches * length].reshape(stretches, length, blocks.shape[1]).sum(axis=1)
    whole = parts.sum(axis=0)
    found = [psi(shares(whole - part), shares(part)) for part in parts if part.sum() and (whole - part).sum()]
    return np.array(found, np.float64)
