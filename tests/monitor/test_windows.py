"""The rows of a window are the sum over identities of what is known in the end, for every kind of model."""

import math
import random
import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.monitor.fixed_point import SCALE
from streams.monitor.labels import NOTHING, Known, Label, Prediction, label, labelled, predicted, withdrawal
from streams.monitor.score_keys import to_keys
from streams.monitor.tasks import UNLABELLED, Binary, Multiclass, Regression, Row
from streams.monitor.windows import (
    DELAY,
    DELAY_EDGES_MS,
    MISFIT,
    Rules,
    Window,
    added,
    bucket,
    changes,
    contribution,
    negative,
    parse_window,
    window_key,
)

SUBJECT = b"model-v1"
BINARY = Binary(b"on_time", b"late")
MULTICLASS = Multiclass((b"a", b"b", b"c"))
REGRESSION = Regression()
GRAIN_MS, HORIZON_MS = 10, 100


def binary(score: float) -> bytes:
    scores = np.array([score])
    return BINARY.said(int(to_keys(scores, scores >= 0.5)[0]))


SAID = {
    BINARY: st.sampled_from([0.1, 0.5, 0.9]).map(binary),
    MULTICLASS: st.sampled_from([MULTICLASS.said(0, [0.7, 0.2, 0.1]), MULTICLASS.said(2, [0.2, 0.2, 0.6])]),
    REGRESSION: st.sampled_from([1.5, -2.0, 1e9]).map(REGRESSION.said),
}
TRUTHS = {
    BINARY: st.sampled_from([b"late", b"on_time", b"lost"]),
    MULTICLASS: st.sampled_from([b"a", b"c", b"d"]),
    REGRESSION: st.one_of(st.sampled_from([0.1, -7.25]).map(REGRESSION.said), st.just(b"none")),
}
TASKS = pytest.mark.parametrize("task", [BINARY, MULTICLASS, REGRESSION], ids=["binary", "multiclass", "regression"])
Event = tuple[int, Prediction | Label]


def events(data: st.DataObject, task: Binary | Multiclass | Regression) -> list[Event]:
    times = st.integers(995, 1_130)
    one = st.one_of(
        st.builds(Prediction, st.integers(995, 1_015), st.just(SUBJECT), SAID[task]),
        st.builds(label, TRUTHS[task], times, st.integers(0, 3)),
        st.builds(withdrawal, times, st.integers(0, 3)),
    )
    return data.draw(st.lists(st.tuples(st.integers(0, 2), one), max_size=20))


def run(events: Sequence[Event], rules: Rules) -> tuple[dict[int, Known], dict[bytes, Row]]:
    """What is known of each identity, and the rows that the changes add up to."""
    known: dict[int, Known] = {}
    rows: dict[bytes, Row] = {}
    for identity, event in events:
        before = known.get(identity, NOTHING)
        if isinstance(event, Prediction):
            after = predicted(before, event, rules.horizon_ms)
        else:
            after, _ = labelled(before, event, rules.horizon_ms)
        known[identity] = after
        rows = added([rows, changes([(before, after)], rules)])
    return known, rows


@TASKS
@given(st.data(), st.randoms())
def test_changes_add_up_to_what_is_known_in_any_order(
    task: Binary | Multiclass | Regression, data: st.DataObject, chance: random.Random
) -> None:
    rules, drawn = Rules(task, GRAIN_MS, HORIZON_MS), events(data, task)
    known, rows = run(drawn, rules)
    assert added(contribution(one, rules) for one in known.values()) == rows
    chance.shuffle(drawn)
    assert rows == run(drawn + drawn[:3], rules)[1]


@TASKS
@given(st.data())
def test_the_parts_of_three_owners_add_up_to_the_whole(
    task: Binary | Multiclass | Regression, data: st.DataObject
) -> None:
    rules, drawn = Rules(task, GRAIN_MS, HORIZON_MS), events(data, task)
    parts = [run([event for event in drawn if event[0] == owner], rules)[1] for owner in range(3)]
    assert run(drawn, rules)[1] == added(parts)
    assert {} == added([*parts, *map(negative, parts)])


def rows_of(task: Binary | Multiclass | Regression, *events: Prediction | Label) -> dict[bytes, Row]:
    """The rows of the first window, by the key within it."""
    rows = run([(0, event) for event in events], Rules(task, GRAIN_MS, HORIZON_MS))[1]
    found = {}
    for key, row in rows.items():
        window, rest = parse_window(key)
        assert Window(SUBJECT, 100) == window
        found[rest] = row
    return found


def test_a_score_of_two_classes() -> None:
    said = binary(0.9)
    prediction = Prediction(1_000, SUBJECT, said)
    assert {b"s" + said: (1, 0, 0)} == rows_of(BINARY, prediction)
    delay = DELAY + b"\0"
    assert {b"s" + said: (0, 0, 1), delay: (1,)} == rows_of(BINARY, prediction, label(b"late", 1_010, 1))
    corrected = rows_of(BINARY, label(b"late", 1_010, 1), prediction, label(b"on_time", 1_020, 2))
    assert {b"s" + said: (0, 1, 0), delay: (1,)} == corrected
    gone = rows_of(BINARY, prediction, label(b"late", 1_010, 1), withdrawal(1_020, 2))
    assert {b"s" + said: (1, 0, 0)} == gone
    assert {b"s" + said: (1, 0, 0), MISFIT: (1,)} == rows_of(BINARY, prediction, label(b"lost", 1_010, 1))
    assert {b"s" + said: (1, 0, 0)} == rows_of(BINARY, prediction, label(b"late", 1_101, 1))


def test_classes_and_their_losses() -> None:
    prediction = Prediction(1_000, SUBJECT, MULTICLASS.said(0, [0.5, 0.25, 0.25]))
    assert {b"c" + struct.pack(">HH", 0, UNLABELLED): (1,)} == rows_of(MULTICLASS, prediction)
    rows = rows_of(MULTICLASS, prediction, label(b"c", 1_010, 1))
    assert (1,) == rows[b"c" + struct.pack(">HH", 0, 2)]
    labelled, loss, brier = rows[b"p"]
    assert 1 == labelled
    assert math.log(4) == pytest.approx(loss / SCALE)
    assert 0.25 + 0.0625 + 0.5625 == brier / SCALE


def test_numbers() -> None:
    prediction = Prediction(1_000, SUBJECT, REGRESSION.said(3.0))
    assert {b"r": (1, 0, 0, 0, 0, 0)} == rows_of(REGRESSION, prediction)
    rows = rows_of(REGRESSION, prediction, label(REGRESSION.said(1.0), 1_010, 1))
    assert (0, 1, 2 * SCALE, 4 * SCALE**2, SCALE, SCALE**2) == rows[b"r"]
    with pytest.raises(ValueError, match="cannot be added up"):
        REGRESSION.said(math.inf)


@given(st.integers(-(2**62), 2**62), st.integers(-(2**62), 2**62))
def test_windows_of_a_subject_sort_by_time(one: int, other: int) -> None:
    keys = [window_key(Window(SUBJECT, number)) for number in (one, other)]
    assert (one < other) == (keys[0] < keys[1])
    assert (Window(SUBJECT, one), b"rest") == parse_window(keys[0] + b"rest")


def test_delays_are_counted_by_doublings() -> None:
    assert [0, 0, 1, 2, len(DELAY_EDGES_MS)] == [bucket(ms) for ms in (-5, 999, 1_000, 2_000, 10**11)]
    assert 97 < DELAY_EDGES_MS[-1] / 86_400_000 < 98
