"""The tolerance at its boundary, e-values, and how often a ticket is false, iid and in blocks."""

import math
from collections.abc import Iterable

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binomtest, norm

from streams.monitor.drift.evidence import E_MAX, e_value, threshold
from streams.monitor.drift.ladder import FLOOR, chance, declared, ladder
from streams.monitor.drift.tolerance import BLOCKS_MIN
from streams.records import Floats, Ints
from tests.monitor.drift.known import detector

CELLS = 10
EDGES = norm.ppf(np.linspace(0, 1, CELLS + 1))


def shares_of(shift: float) -> Floats:
    """Return the shares of the reference's deciles in a normal that is shifted."""
    return np.asarray(np.diff(norm.cdf(EDGES, shift)))


def drawn(chance: np.random.Generator, shift: float, n: int, windows: int) -> Ints:
    """Return the counts of some windows."""
    return chance.multinomial(n, shares_of(shift), size=windows)


def p_value(reference: Ints, window: Ints, tolerated: float) -> float:
    """Return the chance of a window under a tolerance."""
    return chance(reference, window, declared(tolerated)).p


def evidence(p_values: Iterable[float]) -> list[float]:
    """Return the evidence after each window."""
    return list(detector(map(e_value, p_values)))


def tolerance(blocks: Ints, length: int = 1) -> float | None:
    """Return what windows of so many blocks may differ."""
    steps = ladder(blocks, length)
    return None if steps is None else steps.tolerance


def test_an_e_value_has_a_mean_of_one() -> None:
    """Over p uniform; it falls with p, and its ends are what they must be."""
    mean, _ = quad(e_value, 1e-15, 1, limit=500, points=[1e-9, 1e-6, 1e-3, 0.1, 0.9999])
    assert 0.9 < mean <= 1.0 + 1e-6, "the cap takes a little"
    assert e_value(1.0) == pytest.approx(0.5)
    assert e_value(1 - 1e-4 - 1e-9) == pytest.approx(e_value(1 - 1e-4 + 1e-9), abs=1e-7), "the series joins"
    assert e_value(0.01) == pytest.approx((0.99 + 0.01 * math.log(0.01)) / (0.01 * math.log(0.01) ** 2))
    assert E_MAX == e_value(0.0) == e_value(1e-300)
    values = [e_value(p) for p in np.linspace(1e-9, 1, 1_000)]
    assert values == sorted(values, reverse=True)
    with pytest.raises(ValueError, match="no probability"):
        e_value(float("nan"))


@pytest.mark.parametrize(("n", "power"), [(500, 0.38), (2_000, 0.91)])
def test_the_tolerance_is_the_boundary(n: int, power: float, seed: int) -> None:
    """A true PSI of the tolerated one is called drift at the level of the test; none is never; and twice as much often."""
    chance, tolerated = np.random.default_rng(seed), 0.02
    reference = drawn(chance, 0.0, 5_000_000, 1)[0]  # so large that how it was drawn moves no boundary

    def rate(shift: float) -> float:
        found = [p_value(reference, window, tolerated) for window in drawn(chance, shift, n, 1_000)]
        return float(np.mean(np.array(found) < 0.05))

    assert rate(0.0) <= 0.005
    assert 0.01 <= rate(math.sqrt(tolerated)) <= 0.08
    assert rate(math.sqrt(0.05)) > power


def test_a_false_ticket_is_as_rare_as_is_said(seed: int) -> None:
    """A thousand windows without drift, 20 times: evidence passes 1,000 in no more runs than the bound of one ticket in a
    thousand windows allows, and with the tolerance hardly ever.
    """
    chance, runs, windows = np.random.default_rng(seed), 20, 1_000
    tickets = 0
    for _ in range(runs):
        reference = drawn(chance, 0.0, 50_000, 1)[0]
        p_values = [p_value(reference, window, 0.02) for window in drawn(chance, 0.0, 500, windows)]
        tickets += max(evidence(p_values)) >= threshold(windows, 1)
    assert binomtest(tickets, runs, 0.05, alternative="greater").pvalue > 0.001


def test_drift_is_found_soon(seed: int) -> None:
    """A PSI of 0.1 at 2,000 records a window: within four windows, whatever went before."""
    chance = np.random.default_rng(seed)
    reference = drawn(chance, 0.0, 50_000, 1)[0]
    before, after = drawn(chance, 0.0, 2_000, 50), drawn(chance, math.sqrt(0.1), 2_000, 4)
    found = evidence(p_value(reference, window, 0.02) for window in [*before, *after])
    assert max(found[:50]) < 1_000 <= max(found[50:])


def test_the_tolerance_is_what_blocks_differ_by(seed: int) -> None:
    """Blocks of one law differ by chance alone; blocks of many laws by much more; too few blocks say nothing."""
    chance = np.random.default_rng(seed)
    calm = drawn(chance, 0.0, 5_000, 20)
    stormy = np.array([drawn(chance, shift, 5_000, 1)[0] for shift in chance.normal(0, 0.3, 20)])
    still, wild = tolerance(calm), tolerance(stormy)
    assert still is not None
    assert wild is not None
    assert still == FLOOR < 0.05 < wild
    assert tolerance(stormy, length=20 // BLOCKS_MIN) is not None
    assert tolerance(stormy, length=20 // BLOCKS_MIN + 1) is None
    assert tolerance(stormy[: BLOCKS_MIN - 1]) is None


def test_weather_opens_no_ticket_against_its_own_months(seed: int) -> None:
    """Windows that differ as the training blocks do: the iid rule would call most of them drift, the tolerance few."""
    chance = np.random.default_rng(seed)
    blocks = np.array([drawn(chance, shift, 5_000, 1)[0] for shift in chance.normal(0, 0.2, 30)])
    tolerated = tolerance(blocks)
    assert tolerated is not None
    windows = [drawn(chance, shift, 5_000, 1)[0] for shift in chance.normal(0, 0.2, 200)]
    reference = blocks.sum(axis=0)
    naive, ours = (np.mean([p_value(reference, window, tol) < 0.05 for window in windows]) for tol in (0.0, tolerated))
    assert naive > 0.5
    assert ours < 0.3, "5 % in the mean, and 30 blocks do not say exactly where that is"


def test_a_constant_feature_cannot_differ() -> None:
    """One cell holds all of it, as in training."""
    assert 1.0 == p_value(np.array([1_000, 0]), np.array([200, 0]), 0.01)


def test_a_feature_that_is_all_new_is_drift_for_certain() -> None:
    """An overwhelming statistic is no reason to say nothing."""
    p = p_value(np.array([10_000, 10_000, 0]), np.array([0, 0, 10_000]), 0.01)
    assert p == pytest.approx(0.0, abs=1e-12)
