"""How much evidence one window may be of, by how far it is beyond the tolerance. Room: pure.

The tolerance is what some blocks of the training set showed, and the next block of the same world can be beyond it: with B blocks,
if all are alike, beyond the farthest of them with a chance of 1 / (B + 1). However many records say that such a window is so far
away, it cannot be evidence of more than that chance allows. So where a step is exceeded with chance q, the e-value there is at most
(1 / q + 1) / 2: with the 0.5 of a window within it, its mean is at most 1 (a rank among B blocks cannot say more than B + 1: Vovk,
"Conformal e-prediction", arXiv 2001.05989). The chance is not known but has a law, too, that of a rank, Beta(1, B), of which q is
the 0.8 quantile: all windows are compared with one reference, and one that was too calm would else give false tickets for ever.
Seven weeks can so say little in one week, and persistence must say the rest; fifteen blocks and more say much.

A window that is *far* beyond says more. The tolerance is the lowest step of a ladder, each twice as high as the one before. Beyond
the farthest block the chance falls as for squared normal deviations, which is assumed, and measured in `tests/monitor/drift`. Each
step has a detector of its own, and a weighted mean of detectors is a detector with the same mean time until it is wrong.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from streams.monitor.drift.distances import psi, shares
from streams.monitor.drift.evidence import E_MAX, e_value
from streams.monitor.drift.tolerance import BLOCKS_MIN, QUANTILE, distances
from streams.records import Floats, Ints

FLOOR = 0.01
"""Less is no drift, however sure it is."""
STEPS = 5
BLOCKS_MAX = 15
"""However many blocks there are, the tail is taken to be no thinner than with so many."""
NODES = 200
"""Of the quadrature."""
CONFIDENCE = 0.8
"""How sure it is that the reference is not calmer than that."""
FAR = 5.0
"""So many standard deviations below what is expected at a step, p is 1: an e-value may be less than it could be."""


class Ladder(NamedTuple):
    """What a statistic may differ, and what is made of more. Shapes (steps,)."""

    tolerances: Floats
    """Ascending; the first is *the* tolerance."""
    largest: Floats
    """The largest e-value at each."""
    weights: Floats
    """Of each step's detector; their sum is 1."""

    @property
    def tolerance(self) -> float:
        """What it may differ without being drift."""
        return float(self.tolerances[0])


class Chance(NamedTuple):
    """What a window is evidence of."""

    psi: float
    usual: float
    """What its PSI may be: the tolerance, and what so few records differ by chance."""
    p: float
    """The chance of as large a PSI, or a larger one, if the true one is the tolerance."""
    e: Floats
    """The e-value at each step, shape (steps,)."""


def declared(tolerance: float) -> Ladder:
    """Return the ladder of a tolerance that somebody has stated: there is no doubt about it, so one step does."""
    return Ladder(np.array([tolerance]), np.array([E_MAX]), np.ones(1))


def ladder(blocks: Ints, length: int = 1) -> Ladder | None:
    """Return what windows of `length` blocks may differ; None if there are too few to say.

    The tolerance is the 0.95 quantile (the next larger of the values) of the PSI of each stretch of so many blocks against all others,
    and never less than FLOOR.

    Args:
        blocks: counts of the training set, shape (blocks, cells), in the order of time.
        length: blocks of a window.
    """
    from scipy.special import betaincinv  # late: a worker that begins waits for no library that it does not need

    found = distances(blocks, length)
    if len(found) < BLOCKS_MIN:
        return None
    tolerance = max(FLOOR, float(np.quantile(found, QUANTILE, method="higher")))
    steps = np.array([tolerance * 2.0**step for step in range(STEPS)])
    beaten = (found[:, None] > steps).sum(axis=0)
    beyond = betaincinv(1 + beaten, len(found) - beaten, CONFIDENCE)
    above = _beyond(steps / max(float(found.max()), np.finfo(float).tiny), len(found))
    with np.errstate(divide="ignore"):
        largest = np.minimum((1.0 / (beyond * above) + 1.0) / 2.0, E_MAX)
    weights = 1.0 / steps
    return Ladder(steps, np.asarray(largest, np.float64), np.asarray(weights / weights.sum()))


def _beyond(times: Floats, blocks: int) -> Floats:
    """Return the chance that the next of many squared normal deviations is so many times farther than the farthest of some, over the
    chance that it is farther at all: 1 / (blocks + 1). At most 1.
    """
    from scipy.special import chdtrc  # late, as above

    many = min(blocks, BLOCKS_MAX)
    farthest, weights = _farthest(many)
    found = chdtrc(1, np.maximum(times, 1.0)[:, None] * farthest) @ weights
    return np.asarray(np.minimum(found * (many + 1), 1.0), np.float64)


@cache
def _farthest(many: int) -> tuple[Floats, Floats]:
    """Return values of the farthest of so many squared normal deviations, and their weights in a mean."""
    from scipy.special import chdtri  # late, as above

    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return np.asarray(chdtri(1, 1.0 - ((nodes + 1.0) / 2.0) ** (1.0 / many))), np.asarray(weights / 2.0)


def chance(reference: Ints, window: Ints, steps: Ladder) -> Chance:
    """Return what a window says. Both have records; cells are those of the statistic.

    Under a true PSI of the tolerance, PSI · nm / (n + m) is about non-central chi-square (see `tolerance.py`).
    """
    kept = (reference + window) > 0
    cells, m, n = int(kept.sum()), int(reference.sum()), int(window.sum())
    if cells < 2:
        return Chance(0.0, steps.tolerance, 1.0, np.full(len(steps.tolerances), e_value(1.0)))
    size = n * m / (n + m)
    found = psi(shares(reference[kept]), shares(window[kept]))
    beyond = steps.tolerances * size
    p, e = np.ones(len(beyond)), np.full(len(beyond), e_value(1.0))
    near = found * size > cells - 1 + beyond - FAR * np.sqrt(2 * (cells - 1 + 2 * beyond))
    if near.any():
        from scipy.stats import ncx2  # late: it takes a second, which no worker that begins should wait

        p[near] = np.nan_to_num(ncx2.sf(found * size, cells - 1, beyond[near]), nan=0.0).clip(0.0, 1.0)
        e[near] = np.minimum([e_value(each) for each in p[near].tolist()], steps.largest[near])
    return Chance(found, steps.tolerance + (cells - 1) / size, float(p[0]), e)
