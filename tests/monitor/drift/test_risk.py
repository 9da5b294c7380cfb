"""Bets on a model's risk: worth nothing while it is as it may be, and soon much when it is not."""

import math
from collections.abc import Iterable

import numpy as np
import pytest
from scipy.stats import binomtest

from streams.monitor.drift.risk import factors
from streams.records import Floats
from tests.monitor.drift.known import detector

ALLOWED, ALARM, BLOCKS = 0.12, 500.0, 500


def blocks(chance: np.random.Generator, mean: float, count: int) -> Floats:
    """Return the risks of blocks whose weather differs: a beta law with a standard deviation of about 0.03."""
    return chance.beta(mean * 100, (1 - mean) * 100, size=count)


def evidence(risks: Iterable[float], allowed: float) -> list[float]:
    """Return the evidence after each block."""
    return list(detector(factors(risks, allowed)))


def test_while_the_risk_is_as_it_may_be_nothing_is_won(seed: int) -> None:
    """In the mean, over many runs; at the boundary the mean is 1, below it less."""
    chance = np.random.default_rng(seed)
    at, below = (
        np.mean([np.prod(list(factors(blocks(chance, mean, 30), ALLOWED))) for _ in range(2_000)])
        for mean in (ALLOWED, 0.9 * ALLOWED)
    )
    assert at < 1.15
    assert below < at + 0.05


def test_a_false_alarm_is_as_rare_as_is_said(seed: int) -> None:
    """Mean number of blocks until one is at least the threshold: by then, at the boundary, 1 - 1/e of all runs have one."""
    chance, runs = np.random.default_rng(seed), 60
    alarms = sum(max(evidence(blocks(chance, ALLOWED, BLOCKS), ALLOWED)) >= ALARM for _ in range(runs))
    assert binomtest(alarms, runs, 1 - math.exp(-BLOCKS / ALARM), alternative="greater").pvalue > 0.001
    assert 0 == sum(max(evidence(blocks(chance, 0.8 * ALLOWED, BLOCKS), ALLOWED)) >= ALARM for _ in range(20))


def test_a_model_that_becomes_worse_is_found_soon(seed: int) -> None:
    """After a good year, from 12 to 18 % wrong: within 25 weeks, nearly always."""
    chance = np.random.default_rng(seed)
    late = 0
    for _ in range(40):
        risks = [*blocks(chance, ALLOWED * 0.95, 52), *blocks(chance, 1.5 * ALLOWED, 25)]
        late += max(evidence(risks, ALLOWED)[52:]) < ALARM
    assert late <= 5


def test_no_bet_can_ruin() -> None:
    """Not even the worst blocks after the best: a factor stays above 0."""
    found = list(factors([1.0] * 20 + [0.0] * 20, ALLOWED))
    assert min(found) > 0.49
    assert found[0] == pytest.approx(1 + 0.1 * (1 - ALLOWED) / ALLOWED), "nothing is known before the first block"


@pytest.mark.parametrize(("risks", "allowed"), [([1.5], 0.1), ([float("nan")], 0.1), ([0.1], 0.0), ([0.1], 1.0)])
def test_what_is_no_risk_is_refused(risks: list[float], allowed: float) -> None:
    """With what it was."""
    with pytest.raises(ValueError, match="is no risk"):
        list(factors(risks, allowed))
