"""Published constants, closed forms, and SciPy on the values themselves."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, norm, wasserstein_distance

from streams.monitor.drift.distances import chi_square, js_bits, kl, ks, psi, shares, wasserstein
from streams.records import Floats, Ints

P, Q = np.full(4, 0.25), np.array([0.1, 0.2, 0.3, 0.4])
CELLS = 200
EDGES = norm.ppf(np.linspace(0, 1, CELLS + 1))


def counted(values: Floats) -> tuple[Ints, Floats]:
    """Return counts and sums by cell."""
    cell = np.clip(np.searchsorted(EDGES, values, side="right") - 1, 0, CELLS - 1)
    counts = np.bincount(cell, minlength=CELLS).astype(np.int64)
    return counts, np.bincount(cell, values, minlength=CELLS).astype(np.float64)


def test_constants() -> None:
    """Four cells: the inputs of scouter's page, and a case by hand."""
    assert psi(np.array([0.20, 0.30, 0.24, 0.26]), np.array([0.16, 0.28, 0.32, 0.24])) == pytest.approx(
        0.0349210194, abs=1e-10
    )
    assert psi(P, Q) == pytest.approx(0.2282174, abs=1e-7)
    assert kl(P, Q) == pytest.approx(0.1217773, abs=1e-7)
    assert kl(Q, P) == pytest.approx(0.1064401, abs=1e-7)
    assert js_bits(P, Q) == pytest.approx(0.0402016, abs=1e-7)
    assert js_bits(P, Q) == pytest.approx(jensenshannon(P, Q) ** 2 / math.log(2), abs=1e-12)


def test_pearsons_statistic() -> None:
    """Agresti 2007, R's example: party by gender; cells that nobody has, and a table of one cell."""
    statistic, freedom, p = chi_square(np.array([762, 327, 468]), np.array([484, 239, 477]))
    assert statistic == pytest.approx(30.0701, abs=1e-4)
    assert p == pytest.approx(2.9536e-07, rel=1e-4)
    assert freedom == 2
    assert chi_square(np.array([762, 0, 327, 468]), np.array([484, 0, 239, 477])) == (statistic, freedom, p)
    assert (0.0, 0, 1.0) == chi_square(np.array([5, 0]), np.array([9, 0]))
    assert (0.0, 0, 1.0) == chi_square(np.array([5, 3]), np.array([0, 0]))


@pytest.mark.parametrize("shift", [0.1, 0.5])
def test_shifted_normals_have_closed_forms(shift: float) -> None:
    """PSI μ², KL μ²/2, and for small shifts JS is an eighth of the PSI; binning loses little."""
    p, q = (np.diff(norm.cdf(EDGES, loc)) for loc in (0.0, shift))
    assert psi(p, q) == pytest.approx(shift**2, rel=0.02)
    assert kl(p, q) == pytest.approx(shift**2 / 2, rel=0.02)
    assert js_bits(p, q) * math.log(2) == pytest.approx(shift**2 / 8, rel=0.05)


def test_ks_lies_in_its_bracket_and_wasserstein_is_near(seed: int) -> None:
    """Of the values themselves, as SciPy has them."""
    chance = np.random.default_rng(seed)
    one, other = chance.normal(size=5_000), chance.normal(0.3, 1.2, size=3_000)
    (p, p_sums), (q, q_sums) = counted(one), counted(other)
    low, high = ks(p, q)
    exact = ks_2samp(one, other).statistic
    assert low - 1e-12 <= exact <= high + 1e-12, "they may be equal but for rounding"
    assert high - low <= max(p.max() / p.sum(), q.max() / q.sum()) + 1e-12
    assert wasserstein(p, p_sums, q, q_sums) == pytest.approx(wasserstein_distance(one, other), rel=0.02)


def test_an_unseen_category_is_as_far_away_as_its_records_are_many() -> None:
    """No cell is empty, so nothing is infinite; and it grows with the share."""
    reference = np.array([5_000, 5_000, 0])
    found = [psi(shares(reference), shares(np.array([n, n, 2_000 - 2 * n]))) for n in (1_000, 999, 990, 900, 0)]
    assert found == sorted(found)
    assert found[0] < 1e-3
    assert math.isfinite(found[-1])


def test_a_tail_that_moves_inside_the_last_cell_is_seen_by_the_sums(seed: int) -> None:
    """By no count; that is why sums are kept."""
    values = np.abs(np.random.default_rng(seed).normal(size=10_000))
    moved = np.where(values > EDGES[-2], values * 10, values)
    (p, p_sums), (q, q_sums) = counted(values), counted(moved)
    assert (p == q).all()
    assert wasserstein(p, p_sums, q, q_sums) > 0.01
