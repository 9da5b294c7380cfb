"""Whether a window is farther from the reference than the reference's own blocks are from each other. Room: pure.

Windows of the real world are not independent draws: weather differs from week to week although nothing is wrong. So the null
hypothesis is not "no difference" but "a PSI of at most so much", and how much is measured on the training set: each block of its
time against all others. Under it, PSI · nm / (n + m) is about non-central chi-square with cells - 1 degrees of freedom (Yurdakul
2018, Western Michigan University; Potgieter et al., arXiv 2307.11878).
"""

import math

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


def tolerance(blocks: Ints, length: int = 1) -> float | None:
    """Return the PSI that a window of `length` blocks may have without being drift.

    The 0.95 quantile (the next larger of the values) of the PSI of each stretch of so many blocks against all other blocks.

    Args:
        blocks: counts of the training set, shape (blocks, cells), in the order of time.
        length: blocks of a stretch.
    Returns: None where there are fewer than BLOCKS_MIN stretches, so that windows of this length cannot be judged.
    """
    found = distances(blocks, length)
    return float(np.quantile(found, QUANTILE, method="higher")) if len(found) >= BLOCKS_MIN else None


def p_value(reference: Ints, window: Ints, tolerated: float) -> float | None:
    """Return the chance of a PSI as large as the window's, if its true one is the tolerated; None below ROWS_MIN records.

    A feature that is one cell, or empty, cannot differ: 1.
    """
    from scipy.stats import ncx2  # late: it takes a second, which no worker that begins should wait

    m, n = int(reference.sum()), int(window.sum())
    if n < ROWS_MIN:
        return None
    kept = (reference + window) > 0
    cells = int(kept.sum())
    if cells < 2 or not m:
        return 1.0
    size = n * m / (n + m)
    statistic = size * psi(shares(reference[kept]), shares(window[kept]))
    chance = float(ncx2.sf(statistic, cells - 1, tolerated * size))
    return 0.0 if math.isnan(chance) else chance
