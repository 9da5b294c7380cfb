"""What is watched: cells, groups, labels, tolerances, and why something is not tested."""

import numpy as np
import pytest

from streams.models.manifest import Feature
from streams.monitor.drift.judging import judge
from streams.monitor.drift.ladder import FLOOR
from streams.monitor.drift.tolerance import QUANTILE, ROWS_MIN, distances
from streams.monitor.drift.watch import CATEGORIES_MAX, MISSING, UNSEEN, VALUES, Statistic, Watch, watches
from streams.records import Ints
from tests.monitor.drift.known import EDGES, category, drawn, histogram, reference, shares, watch


def statistic(of: Watch, name: str) -> Statistic:
    return next(each for each in of.statistics if each.name == name)


def test_cells_have_labels_for_people() -> None:
    """Missing, below, between, from the last edge on; categories by name, and unseen, which an old reference has not."""
    number = watch(np.ones((4, 5), np.int64), (-3.2, 0.0, 12.0))
    assert ("missing", "below -3.2", "-3.2 to 0", "0 to 12", "12 or more") == number.labels
    old = watch(np.ones((4, 3), np.int64), None, category(2))
    assert ("missing", "c0", "c1", "unseen") == old.labels
    assert (4, 4) == old.counts.shape
    assert [[1, 1]] * 4 == statistic(old, VALUES).counts(old.counts).tolist()
    assert [[1, 2]] * 4 == statistic(old, MISSING).counts(old.counts).tolist()
    assert [[0, 3]] * 4 == statistic(old, UNSEEN).counts(old.counts).tolist()


def test_features_lie_one_after_the_other() -> None:
    """As the cells of `binning` do."""
    counts = np.full((4, 3), 10, np.int64)
    features = [Feature(name="a", kind="number"), category(2, name="b"), Feature(name="c", kind="number")]
    cut = (1.0,)
    parts = [histogram(counts, cut, "a"), histogram(counts, None, "b"), histogram(counts, cut, "c")]
    assert [(0, 3), (3, 7), (7, 10)] == [
        (each.cells.start, each.cells.stop) for each in watches(features, reference(parts))
    ]


def test_each_statistic_has_its_own_tolerance(seed: int) -> None:
    """What the blocks differ by, and never less than the floor; a feature's own one is that of its values."""
    chance = np.random.default_rng(seed)
    blocks = drawn(chance, shares(chance.normal(0, 0.5, 8), missing=0.2), 2_000)
    found = watch(blocks)
    values, missing = statistic(found, VALUES), statistic(found, MISSING)
    assert values.ladder is not None
    assert missing.ladder is not None
    assert np.quantile(distances(blocks[:, 1:]), QUANTILE, method="higher") == values.ladder.tolerance
    assert FLOOR == missing.ladder.tolerance
    own = watch(blocks[:1], feature=Feature.model_validate({"name": "x", "kind": "number", "drift_tolerance": 0.25}))
    assert [VALUES] == [each.name for each in own.tested]
    assert [0.25] == [each.ladder.tolerance for each in own.tested if each.ladder]


def test_many_categories_are_few_cells() -> None:
    """The most frequent ones keep their name, ties by position; all others are one cell, so the law of the PSI holds."""
    counts = np.ones((4, 10_001), np.int64)
    counts[:, [9, 5_000]] = 300
    many = watch(counts, None, category(10_000))
    found = statistic(many, VALUES)
    assert CATEGORIES_MAX == len(found.labels)
    assert ("c0", "c1") == found.labels[:2]
    assert {"c8", "c4999", "others (9951 categories)"} <= set(found.labels)
    assert 9_951 * 4 == found.reference[-1]
    assert 4 * (9_998 + 600) == found.reference.sum()
    assert 5 * CATEGORIES_MAX == found.rows_min
    assert ROWS_MIN == statistic(many, UNSEEN).rows_min


@pytest.mark.parametrize(
    ("blocks", "span", "why"),
    [
        (1, 1, "the reference has 1 block of time, and 4 are needed; give `drift_tolerance` in the manifest"),
        (7, 2, "the reference has 7 blocks of time, a window is as long as 2 of them, and 8 are needed; give"),
    ],
)
def test_too_few_blocks_say_so(blocks: int, span: int, why: str) -> None:
    """Nothing is tested, and what is counted is shown."""
    counts = drawn(np.random.default_rng(1), shares(np.zeros(blocks)), 1_000)
    found = watches([Feature(name="x", kind="number")], reference([histogram(counts)]), span)[0]
    assert () == found.tested
    assert found.why is not None
    assert found.why.startswith(why)
    told = judge(found, counts[0] * 2)
    assert ((), None, False) == (told.parts, told.leading, told.calm)
    assert told.psi is not None


def test_too_few_blocks_with_a_value_say_so() -> None:
    """The missing are tested; a reference of few blocks with a tolerance of the feature's own is."""
    counts = drawn(np.random.default_rng(1), shares(np.zeros(6)), 1_000)
    counts[1:, 1:], counts[1:, 0] = 0, 1_000
    found = watch(counts)
    assert [MISSING] == [each.name for each in found.tested]
    told = statistic(found, VALUES).why
    assert told is not None
    assert told.startswith("the reference has 6 blocks of time, a value of it in 1, and 4 are needed; give")


def test_a_length_that_is_no_multiple_says_so() -> None:
    """With the words of whoever knows the lengths."""
    counts = drawn(np.random.default_rng(1), shares(np.zeros(8)), 1_000)
    found = watches(
        [Feature(name="x", kind="number")], reference([histogram(counts)]), 1, "a week is no multiple of a month"
    )
    assert "a week is no multiple of a month" == found[0].why


def test_a_feature_that_was_never_there_is_tested_for_being_there() -> None:
    """All missing in training: there are no values to compare with, and one that comes is drift of the missing."""
    counts = np.zeros((5, len(EDGES) + 2), np.int64)
    counts[:, 0] = 1_000
    found = watch(counts)
    assert "the training set has no value of it" == statistic(found, VALUES).why
    assert [MISSING] == [each.name for each in found.tested]
    assert judge(found, counts[0]).calm
    there = np.zeros_like(counts[0])
    there[3] = 1_000
    told = judge(found, there)
    assert told.leading is not None
    assert (MISSING, None, False) == (told.leading.name, told.psi, told.calm)
    assert told.leading.p < 1e-9


def test_a_constant_feature_that_is_not_one_any_more_is_drift() -> None:
    """And while it is, nothing is; with an infinity in the outer cell, too."""
    counts = np.zeros((5, 3), np.int64)
    counts[:, 2] = 1_000
    found = watch(counts, (7.0,))
    assert ("below 7", "7 or more") == statistic(found, VALUES).labels
    assert judge(found, counts[0]).calm
    moved = judge(found, np.array([0, 500, 500]))
    assert moved.leading is not None
    assert moved.leading.p < 1e-9
    assert moved.bins[0].label == "below 7"


def test_a_block_is_compared_with_the_others() -> None:
    """And not with itself among them: each block's PSI, and each stretch's, by the textbook's formula."""
    blocks = np.array([[700, 200, 100], [100, 700, 200], [500, 300, 200], [250, 250, 500]])

    def psi_of(one: Ints, other: Ints) -> float:
        p, q = (one + 0.5) / (one.sum() + 1.5), (other + 0.5) / (other.sum() + 1.5)
        return float(((p - q) * np.log(p / q)).sum())

    others = [psi_of(np.delete(blocks, at, 0).sum(axis=0), blocks[at]) for at in range(4)]
    assert others == pytest.approx(distances(blocks).tolist(), rel=1e-9)
    twos = [
        psi_of(blocks[2:].sum(axis=0), blocks[:2].sum(axis=0)),
        psi_of(blocks[:2].sum(axis=0), blocks[2:].sum(axis=0)),
    ]
    assert twos == pytest.approx(distances(blocks, 2).tolist(), rel=1e-9)
