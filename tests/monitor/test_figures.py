"""Figures against published constants, other implementations, closed forms, and laws that need neither."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, mannwhitneyu, norm

from streams.monitor.multiset import EMPTY, Multiset, added
from streams.monitor.performance.auc import LABELLED_MAX, auc
from streams.monitor.performance.confusion import classes, confusion
from streams.monitor.performance.intervals import between_blocks, share, wilson
from streams.monitor.performance.probability import CLIP, brier, calibration, log_loss
from streams.monitor.performance.regression import Sums, mae, pair, r2, rmse
from streams.monitor.windows import added as added_rows
from streams.monitor.windows import negative
from streams.records import Bools, Floats
from tests.monitor.worlds import normals, probabilities, window

SEEDS = st.integers(0, 2**32 - 1)


def value(figure: object) -> float:
    found = getattr(figure, "value", None)
    assert found is not None, figure
    return float(found)


def test_auc_of_hanley_and_mcneil() -> None:
    """109 images in five classes (Radiology 143, 1982): 0.893; DeLong's error of them is 0.0307."""
    zeros = np.zeros(5, dtype=np.int64)
    counts = Multiset(np.arange(5) * 2, zeros, np.array([33, 6, 6, 11, 2]), np.array([3, 2, 2, 11, 33]))
    figure = auc(counts)
    assert 0.89317 == pytest.approx(value(figure), abs=5e-6)
    assert 0.0307 == pytest.approx(figure.standard_error, abs=5e-5)


def brute(scores: Floats, labels: Bools) -> tuple[float, float]:
    """AUC and DeLong's error by comparing every pair."""
    positive, negative = scores[labels], scores[~labels]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    error = wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative)
    return float(wins.mean()), math.sqrt(error)


@given(SEEDS)
def test_auc_is_the_share_of_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = probabilities(rng, 120)
    labels[:4] = [True, True, False, False]
    scores = scores.astype(np.float32).astype(np.float64)
    expected, error = brute(scores, labels)
    figure = auc(window(scores, labels))
    assert expected == pytest.approx(value(figure), abs=1e-12)
    assert error == pytest.approx(figure.standard_error, abs=1e-12)
    u = mannwhitneyu(scores[labels], scores[~labels]).statistic
    assert u / (labels.sum() * (~labels).sum()) == pytest.approx(value(figure), abs=1e-12)


def test_auc_of_shifted_normals() -> None:
    """Phi(shift / sqrt 2); 0.63816 at a shift of one half."""
    scores, labels = normals(np.random.default_rng(5), 400_000, 0.5)
    figure = auc(window(scores, labels))
    assert 0.63816 == pytest.approx(float(norm.cdf(0.5 / math.sqrt(2))), abs=5e-6)
    assert figure.standard_error is not None
    assert abs(value(figure) - 0.63816) < 4 * figure.standard_error


def test_delong_covers() -> None:
    """Of 400 windows of 300, the true value lies within 1.96 errors in 95 %: between 92 and 97.5 of a hundred."""
    rng, true = np.random.default_rng(11), float(norm.cdf(1 / math.sqrt(2)))
    inside = 0
    for _ in range(400):
        figure = auc(window(*normals(rng, 300, 1.0, 0.3)))
        assert figure.standard_error is not None
        inside += abs(value(figure) - true) < 1.96 * figure.standard_error
    assert 0.92 < inside / 400 < 0.975


@given(SEEDS)
def test_auc_keeps_its_laws(seed: int) -> None:
    """The same under any rising map; 1 - AUC with labels swapped; whoever was picked."""
    rng = np.random.default_rng(seed)
    scores, labels = probabilities(rng, 80)
    labels[:2] = [True, False]
    plain = value(auc(window(scores, labels)))
    assert plain == value(auc(window(np.exp(3 * scores) - 7, labels)))
    assert 1 - plain == pytest.approx(value(auc(window(scores, ~labels))), abs=1e-12)
    assert plain == value(auc(window(scores, labels, threshold=0.11)))


def test_auc_needs_both_classes() -> None:
    scores = np.array([0.1, 0.9])
    assert "no label yet" == auc(EMPTY).why
    assert "labels of one class only" == auc(window(scores, np.array([True, True]))).why
    figure = auc(window(scores, np.array([False, True])))
    assert (1.0, None) == (figure.value, figure.standard_error)


def test_too_many_for_exact_pairs_is_an_error_not_a_number() -> None:
    counts = window(np.array([0.1, 0.9]), np.array([False, True]))
    with pytest.raises(OverflowError):
        auc(counts._replace(negative=counts.negative * LABELLED_MAX))


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_of_newcombe(hits: int, trials: int, low: float, high: float) -> None:
    """Table I of Newcombe 1998, and scipy's."""
    found = wilson(hits, trials)
    assert [low, high] == pytest.approx([*found], abs=5e-5)
    other = binomtest(hits, trials).proportion_ci(method="wilson")
    assert (other.low, other.high) == pytest.approx(found, abs=1e-12)


def test_blocks_that_differ_widen_the_interval_and_equal_ones_narrow_it() -> None:
    """Hours of weather: sampling alone claims ten times too much."""
    rng = np.random.default_rng(3)
    trials = np.full(48, 1_000)
    stormy = rng.binomial(1_000, rng.beta(20, 5, 48))
    found, alone = between_blocks(stormy, trials), wilson(int(stormy.sum()), 48_000)
    assert found is not None
    assert 3 * (alone.high - alone.low) < found.high - found.low
    calm = between_blocks(np.full(48, 800), trials)
    assert calm is not None
    assert 0.8 == pytest.approx(calm.low) == pytest.approx(calm.high)
    assert between_blocks(np.array([5, 0]), np.array([9, 0])) is None


def test_between_blocks_covers() -> None:
    """Blocks of very different sizes with rates of their own: 95 % of 400 windows, between 91 and 98."""
    rng, inside = np.random.default_rng(7), 0
    for _ in range(400):
        trials = rng.integers(50, 500, 30)
        found = between_blocks(rng.binomial(trials, rng.beta(16, 4, 30)), trials)
        assert found is not None
        inside += found.low < 0.8 < found.high
    assert 0.91 < inside / 400 < 0.98


@given(SEEDS)
def test_classes_by_counting(seed: int) -> None:
    scores, labels = probabilities(np.random.default_rng(seed), 60)
    picked = scores >= 0.3
    found = classes(confusion(window(scores, labels, threshold=0.3)))
    assert (picked == labels).mean() == value(found.accuracy)
    both = int((picked & labels).sum())
    for figure, trials in ((found.precision[1], picked.sum()), (found.recall[1], labels.sum())):
        assert (both / trials if trials else None) == figure.value
    if picked.any() or labels.any():
        assert 2 * both / (picked.sum() + labels.sum()) == value(found.f1[1])


def test_a_decision_is_counted_as_it_was_made() -> None:
    """Below the threshold by less than a float32 can tell: the score is the same, the decision was the other."""
    scores = np.array([0.3, np.nextafter(0.3, 0)])
    matrix = confusion(window(scores, np.array([True, False]), threshold=0.3))
    assert [[1, 0], [0, 1]] == matrix.tolist()
    assert 0.5 == value(auc(window(scores, np.array([True, False]), threshold=0.3)))


def test_three_classes_and_their_means() -> None:
    found = classes(np.array([[8, 1, 1], [2, 6, 0], [0, 3, 9]]))
    assert 23 / 30 == value(found.accuracy)
    assert (0.8 + 0.75 + 0.75) / 3 == pytest.approx(value(found.macro_precision))
    assert (0.8 + 0.6 + 0.9) / 3 == pytest.approx(value(found.macro_recall))
    assert (16 / 20 + 12 / 18 + 18 / 22) / 3 == pytest.approx(value(found.macro_f1))


def test_classes_without_figures_say_why() -> None:
    found = classes(np.array([[3, 0], [0, 0]]))
    assert ("never picked", "no such label yet") == (found.precision[1].why, found.recall[1].why)
    assert "undefined for 1 of 2 classes" == found.macro_recall.why
    assert "no label yet" == classes(np.zeros((2, 2), dtype=np.int64)).accuracy.why
    assert "none" == share(0, 0, "none").why


@given(SEEDS)
def test_log_loss_and_brier_by_the_record(seed: int) -> None:
    scores, labels = probabilities(np.random.default_rng(seed), 80)
    counts = window(scores, labels)
    used = scores.astype(np.float32).astype(np.float64)
    said = np.where(labels, used, 1 - used)
    assert -np.log(np.clip(said, CLIP, 1)).mean() == pytest.approx(value(log_loss(counts)), rel=1e-9)
    assert ((1 - said) ** 2).mean() == pytest.approx(value(brier(counts)), abs=1e-12)


def test_certain_and_wrong_costs_what_is_stated() -> None:
    wrong = window(np.array([0.0, 1.0]), np.array([True, False]))
    assert 34.5 == pytest.approx(value(log_loss(wrong)), abs=0.05)
    assert 1.0 == value(brier(wrong))
    assert "no label yet" == log_loss(EMPTY).why == brier(EMPTY).why


def test_calibration_of_a_model_that_is_right() -> None:
    """Plain ECE is far from 0 in small windows, the debiased square is not: means over 300 windows of 200."""
    rng = np.random.default_rng(9)
    found = [calibration(window(scores := rng.random(200), rng.random(200) < scores)) for _ in range(300)]
    assert 0.06 < np.mean([value(one.ece) for one in found]) < 0.12
    debiased = [value(one.ece_squared_debiased) for one in found if one.ece_squared_debiased.value is not None]
    assert abs(np.mean(debiased)) < 4 * np.std(debiased) / math.sqrt(len(debiased))
    assert len(debiased) > 290


def test_calibration_of_a_model_that_is_not() -> None:
    scores = np.full(1_000, 0.25)
    found = calibration(window(scores, np.arange(1_000) < 750))
    assert 0.5 == pytest.approx(value(found.ece))
    assert [0.2, 0.3, 1_000, 750, 0.25] == pytest.approx([bound or 0.0 for bound in found.bins[2]])
    assert [0] * 9 == [one.labelled for one in found.bins if one.mean_score is None]
    assert "no label yet" == calibration(EMPTY).ece.why
    edge = calibration(window(np.array([0.0, 1.0, 1.0]), np.array([False, True, True])))
    assert (1, 2) == (edge.bins[0].labelled, edge.bins[-1].labelled)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=2, max_size=30))
def test_regression_by_the_record(pairs: list[tuple[float, float]]) -> None:
    rows = added_rows({b"r": pair(prediction, truth)} for prediction, truth in pairs)
    sums = Sums(*rows[b"r"])
    said, true = np.array(pairs).T
    assert np.abs(said - true).mean() == pytest.approx(value(mae(sums)), abs=1e-9, rel=1e-9)
    assert math.sqrt(((said - true) ** 2).mean()) == pytest.approx(value(rmse(sums)), abs=1e-9, rel=1e-9)
    spread = ((true - true.mean()) ** 2).sum()
    if spread > 1:
        assert 1 - ((said - true) ** 2).sum() / spread == pytest.approx(value(r2(sums)), abs=1e-6, rel=1e-6)
    assert {} == added_rows([rows, negative(rows)])


def test_regression_without_figures_says_why() -> None:
    assert "no label yet" == mae(Sums()).why == rmse(Sums()).why == r2(Sums()).why
    assert "all labels are the same number" == r2(Sums(*map(sum, zip(pair(1.0, 2.0), pair(3.0, 2.0), strict=True)))).why


def test_figures_of_the_sum_are_those_of_all_records() -> None:
    rng = np.random.default_rng(21)
    scores, labels = probabilities(rng, 500)
    days = added([window(scores[:200], labels[:200]), window(scores[200:], labels[200:])])
    week = window(scores, labels)
    for figure in (auc, log_loss, brier, calibration):
        assert figure(week) == figure(days)
