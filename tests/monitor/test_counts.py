"""Scores as integers, multisets that add up, and sums that do not depend on their order."""

import math
import random
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.monitor.fixed_point import LIMIT, SCALE, fixed, real
from streams.monitor.multiset import EMPTY, Multiset, added, counted
from streams.monitor.score_keys import from_keys, picks, to_keys
from tests.monitor.worlds import probabilities, window

SINGLE = st.floats(width=32, allow_nan=False)


@given(SINGLE, SINGLE, st.booleans(), st.booleans())
def test_keys_sort_as_scores_do(one: float, other: float, picked: bool, picked_too: bool) -> None:
    """And among the same scores, those that were not picked come first: a threshold lies between them."""
    keys = to_keys(np.array([one, other]), np.array([picked, picked_too])).tolist()
    assert ((one, picked) < (other, picked_too)) == (keys[0] < keys[1])
    assert ((one, picked) == (other, picked_too)) == (keys[0] == keys[1])


@given(SINGLE, st.booleans())
def test_a_key_gives_the_score_back(score: float, picked: bool) -> None:
    keys = to_keys(np.array([score]), np.array([picked]))
    assert [score] == from_keys(keys).tolist()
    assert [picked] == picks(keys).tolist()


def test_zeros_are_one_score_and_what_is_no_number_is_refused() -> None:
    zeros = np.array([0.0, -0.0, 1e-60, -1e-60])
    assert 1 == len(set(to_keys(zeros, np.zeros(4, dtype=bool)).tolist()))
    with pytest.raises(ValueError, match="not a number"):
        to_keys(np.array([math.nan]), np.array([False]))


def rows(counts: Multiset) -> list[tuple[int, ...]]:
    return [tuple(map(int, row)) for row in zip(*counts, strict=True)]


@given(st.integers(0, 2**32 - 1))
def test_parts_add_up_to_the_whole_however_they_are_cut(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = probabilities(rng, 200)
    whole, owner = window(scores, labels), rng.integers(0, 3, 200)
    parts = [window(scores[owner == part], labels[owner == part]) for part in range(3)]
    random.Random(seed).shuffle(parts)
    assert rows(whole) == rows(added(parts))
    assert 200 == added(parts).predictions


def test_what_is_added_and_taken_away_was_never_there() -> None:
    rng = np.random.default_rng(1)
    one, other = window(*probabilities(rng, 50)), window(*probabilities(rng, 50))
    gone = other._replace(unlabelled=-other.unlabelled, negative=-other.negative, positive=-other.positive)
    assert rows(one) == rows(added([one, other, gone]))
    assert rows(EMPTY) == rows(added([other, gone])) == rows(added([])) == rows(counted(*EMPTY))


@given(st.lists(st.floats(-1e9, 1e9)), st.randoms())
def test_sums_do_not_depend_on_order_and_go_back_to_nothing(values: list[float], chance: random.Random) -> None:
    parts = sum(map(fixed, values))
    chance.shuffle(values)
    assert parts == sum(map(fixed, values))
    assert 0 == parts - sum(map(fixed, values))
    if values:
        exact = float(sum(map(Fraction, values)) / len(values))
        assert abs(exact - real(parts, len(values))) <= 1 / SCALE + abs(exact) * 2**-52


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2 * LIMIT])
def test_numbers_that_cannot_be_added_up_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="cannot be added up"):
        fixed(value)


def test_the_scale_is_what_it_says() -> None:
    assert (1 << 40, 3 << 39) == (fixed(1.0), fixed(1.5))
    assert struct.pack("d", 0.1 + 0.2) != struct.pack("d", 0.3)
    assert fixed(0.1) + fixed(0.2) == fixed(0.3) + (fixed(0.1) + fixed(0.2) - fixed(0.3))
