"""One window of one feature: what decides, and what is shown beside it."""

import math

import numpy as np
import pytest
from scipy.stats import chi2_contingency, entropy, ncx2, norm, wasserstein_distance

from streams.models.binning import Binning
from streams.models.reference import Reference, measure
from streams.monitor.drift import distances
from streams.monitor.drift.episodes import chains
from streams.monitor.drift.evidence import E_MAX, e_value
from streams.monitor.drift.judging import judge, totals
from streams.monitor.drift.ladder import STEPS, chance, declared, ladder
from streams.monitor.drift.tolerance import ROWS_MIN
from streams.monitor.drift.watch import MISSING, UNSEEN, VALUES, watches
from streams.records import Floats, Ints
from tests.monitor.drift.known import NUMBER, category, drawn, shares, watch, windows

DAY_MS = 86_400_000


def test_the_statistics_are_those_of_the_histogram(seed: int) -> None:
    """SciPy as the oracle, on the smoothed shares of the values; missing ones are a rate of their own."""
    chance_ = np.random.default_rng(seed)
    blocks = drawn(chance_, shares(np.zeros(8), missing=0.1), 3_000)
    window = drawn(chance_, shares(np.array([0.4]), 1.2, missing=0.25), 2_000)[0]
    found, before = judge(watch(blocks), window), blocks.sum(axis=0)
    p, q = ((each[1:] + 0.5) / (each[1:] + 0.5).sum() for each in (before, window))
    assert found.kl == pytest.approx(entropy(q, p))
    assert found.psi == pytest.approx(entropy(q, p) + entropy(p, q))
    middle = (p + q) / 2
    assert found.js_bits == pytest.approx((entropy(p, middle) + entropy(q, middle)) / (2 * math.log(2)))
    expected = chi2_contingency([before[1:], window[1:]], correction=False)
    assert found.chi_square is not None
    assert tuple(found.chi_square) == pytest.approx((expected.statistic, expected.dof, expected.pvalue))
    assert found.ks == distances.ks(before[1:], window[1:])
    assert (found.missing, found.missing_reference) == (window[0] / 2_000, before[0] / 24_000)
    assert (None, None) == (found.unseen, found.unseen_reference)
    assert found.e == pytest.approx(np.mean([part.e_value for part in found.parts])), "a mean is an e-value, too"


def test_a_shifted_normal_has_closed_forms(seed: int) -> None:
    """μ = 0.5 (monitoring §6): KS 0.1974, KL 0.125, PSI 0.25, W1 0.5; a histogram of ten cells loses some of it."""
    chance_ = np.random.default_rng(seed)
    before, after = chance_.normal(size=(80_000, 1)), chance_.normal(0.5, size=(80_000, 1))
    reference = measure([NUMBER], before, np.arange(80_000) % 8 * DAY_MS, block_ms=DAY_MS, cells_max=20)
    found = judge(watches([NUMBER], reference)[0], *counted(reference, after))
    assert found.ks is not None
    assert found.ks.low <= 2 * norm.cdf(0.25) - 1 + 0.01
    assert found.ks.high >= 2 * norm.cdf(0.25) - 1 - 0.01
    assert found.psi == pytest.approx(0.25, rel=0.1)
    assert found.kl == pytest.approx(0.125, rel=0.1)
    assert found.w1 == pytest.approx(0.5, rel=0.05)
    assert found.w1_scaled == pytest.approx(0.5, rel=0.05)


def test_positions_are_sums_in_the_features_own_unit(seed: int) -> None:
    """Below the first edge they go downward; infinities and what is far away are cut off, and nothing breaks."""
    chance_ = np.random.default_rng(seed)
    before = chance_.normal(100.0, 20.0, size=(5_000, 1))
    reference = measure([NUMBER], before, np.zeros(5_000, np.int64), block_ms=DAY_MS)
    found = watches([NUMBER], reference)[0]
    after = chance_.normal(70.0, 40.0, size=(5_000, 1))
    counts, sums = counted(reference, after)
    assert totals(found, counts, sums).sum() == pytest.approx(after.sum(), rel=1e-4)
    assert judge(found, counts, sums).w1 == pytest.approx(wasserstein_distance(before[:, 0], after[:, 0]), rel=0.02)
    infinite = judge(found, *counted(reference, np.array([[math.inf], [-math.inf], [math.nan], [100.0]])))
    assert infinite.w1 is not None
    assert math.isfinite(infinite.w1)
    assert 0.25 == infinite.missing


def test_the_direction_is_that_of_the_mean_cell() -> None:
    """Of numbers only; what is missing has no place among them."""
    before = np.array([[50, 10, 10, 10, 10]] * 4)
    found = [
        judge(watch(before, (0.0, 1.0, 2.0)), np.array(counts)).direction
        for counts in ([0, 10, 10, 10, 10], [9, 0, 0, 0, 4], [9, 4, 0, 0, 0], [9, 0, 0, 0, 0])
    ]
    assert [0.0, 1.5, -1.5, None] == found
    assert judge(watch(np.array([[0, 100, 100, 0]] * 4), None, category(2)), np.array([0, 0, 9, 0])).direction is None


def counted(reference: Reference, matrix: Floats) -> tuple[Ints, Ints]:
    """Return the counts and the sums of positions of some values."""
    cells = Binning([0], [reference.features[0].edges])
    found = cells.count(matrix, np.zeros(len(matrix), np.int64), 1)
    told = np.zeros((2, int(cells.begins[-1])), np.int64)
    told[0, found.cell], told[1, found.cell] = found.n, found.total
    return told[0], told[1]


def test_the_bins_that_moved_are_named() -> None:
    """By what the PSI owes them, most first; shares of the values, as they were counted."""
    before = np.array([[0, 100, 100, 100, 100, 0]] * 4)
    found = judge(watch(before, None, category(4)), np.array([200, 20, 250, 130, 100, 300]))
    assert [("c0", 0.25, 0.04), ("c1", 0.25, 0.5), ("c3", 0.25, 0.2)] == [tuple(one) for one in found.bins]
    assert (0.3, 0.0, 0.2, 0.0) == (found.unseen, found.unseen_reference, found.missing, found.missing_reference)


@pytest.mark.parametrize(
    ("window", "leading"),
    [
        ([0, 250, 250, 250, 250, 0], VALUES),
        ([0, 700, 100, 100, 100, 0], VALUES),
        ([200, 200, 200, 200, 200, 0], MISSING),
        ([0, 200, 200, 200, 200, 200], UNSEEN),
    ],
)
def test_the_statistic_that_says_most_leads(window: list[int], leading: str) -> None:
    """And if none says anything, the values."""
    found = judge(watch(np.array([[0, 250, 250, 250, 250, 0]] * 6), None, category(4)), np.array(window))
    assert found.leading is not None
    assert leading == found.leading.name
    assert (leading == VALUES and max(window) < 300) == found.calm


@pytest.mark.parametrize("n", [0, 1, 99])
def test_an_empty_window_or_one_with_few_rows_is_shown_and_not_judged(n: int) -> None:
    """Never an exception, and never "no drift"."""
    found = watch(drawn(np.random.default_rng(1), shares(np.zeros(6)), 1_000))
    window = np.zeros(len(found.labels), np.int64)
    window[4] = n
    told = judge(found, window, window)
    assert (n, (), None, None, False) == (told.n, told.parts, told.e, told.leading, told.calm)
    assert (told.psi is None) == (n == 0)


def test_all_values_missing_is_drift_of_the_missing_alone() -> None:
    """There are no values to judge; the rate says it."""
    found = watch(drawn(np.random.default_rng(1), shares(np.zeros(6)), 1_000))
    window = np.zeros(len(found.labels), np.int64)
    window[0] = 1_000
    told = judge(found, window, window)
    assert ([MISSING], None, ()) == ([part.name for part in told.parts], told.psi, told.bins)
    assert 1.0 == told.missing
    assert chains([found], windows(np.array([window])), 1_000)[0].open is not None


def test_a_hundred_rows_of_the_training_set_are_calm(seed: int) -> None:
    """Though their PSI is far above the tolerance of 0.01: what chance adds is usual. A plain "PSI ≤ tolerance" never closed."""
    chance_ = np.random.default_rng(seed)
    found = watch(drawn(chance_, shares(np.zeros(6)), 5_000))
    told = [judge(found, each) for each in drawn(chance_, shares(np.zeros(200)), 100)]
    assert np.mean([one.calm for one in told]) > 0.4
    assert np.mean([part.psi for one in told for part in one.parts if part.name == VALUES]) > 0.05
    usual = {part.usual for one in told for part in one.parts if part.name == VALUES}
    assert max(usual) > 0.08


def test_one_window_says_no_more_than_the_blocks_can() -> None:
    """Seven blocks: just beyond their farthest, an e-value of three; the farther, the more; a stated tolerance has no such bound.

    Uncapped, the next of seven blocks that are alike opened a false ticket with a chance of one in eight.
    """
    blocks = drawn(np.random.default_rng(7), shares(np.linspace(-0.4, 0.4, 7)), 5_000)[:, 1:]
    steps = ladder(blocks)
    assert steps is not None
    assert [2.9, 7.2, 27.0, 147.4, 1074.8] == [round(each, 1) for each in steps.largest.tolist()]
    assert [1.0, 2.0, 4.0, 8.0, 16.0] == (steps.tolerances / steps.tolerance).tolist()
    assert 1.0 == pytest.approx(steps.weights.sum())
    far = drawn(np.random.default_rng(7), shares(np.array([3.0])), 5_000)[0, 1:]
    whole = blocks.sum(axis=0)
    assert steps.largest.tolist() == chance(whole, far, steps).e.tolist()
    assert [E_MAX] == chance(whole, far, declared(steps.tolerance)).e.tolist()
    assert STEPS == len(steps.largest)


def test_the_chance_is_that_of_the_tolerance_test(seed: int) -> None:
    """Where it is near, the same p-value; where the PSI is far below, 1, and never an e-value that is larger than it may be."""
    chance_ = np.random.default_rng(seed)
    before = drawn(chance_, shares(np.zeros(1)), 20_000)[0, 1:]
    for shift in (0.0, 0.1, 0.2, 0.4):
        window = drawn(chance_, shares(np.array([shift])), 2_000)[0, 1:]
        found, size = chance(before, window, declared(0.02)), 20_000 * 2_000 / 22_000
        p = float(ncx2.sf(size * found.psi, len(window) - 1, 0.02 * size))
        assert found.p == pytest.approx(p, abs=1e-4)
        assert found.e[0] <= e_value(p) + 1e-9


def test_a_window_of_too_few_records_is_not_judged(seed: int) -> None:
    """Nor is one without any; as many as there must be are."""
    found = watch(drawn(np.random.default_rng(seed), shares(np.zeros(8)), 3_000))
    window = np.zeros(found.counts.shape[1], np.int64)
    assert () == judge(found, window).parts
    window[1] = ROWS_MIN - 1
    assert () == judge(found, window).parts
    window[1] = ROWS_MIN
    assert judge(found, window).parts
