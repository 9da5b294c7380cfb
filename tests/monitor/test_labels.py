"""Labels that come early, late, twice, corrected and withdrawn, in any order: what is known is the same."""

import random
from collections import Counter
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.monitor.labels import (
    KEPT_MAX,
    NOTHING,
    Fate,
    Known,
    Label,
    Prediction,
    decode,
    encode,
    label,
    labelled,
    predicted,
    tombstone,
    withdrawal,
)

HORIZON_MS = 100
SUBJECT = b"model\0v1"
FIRST = Prediction(1_000, SUBJECT, b"0.9")

TIMES = st.integers(990, 1_120)
VERSIONS = st.one_of(st.none(), st.integers(-2, 3))
LABELS = st.one_of(
    st.builds(label, st.sampled_from([b"yes", b"no"]), TIMES, VERSIONS),
    st.builds(withdrawal, TIMES, VERSIONS),
    st.builds(tombstone, TIMES),
)
PREDICTIONS = st.builds(Prediction, st.integers(995, 1_005), st.just(SUBJECT), st.sampled_from([b"0.1", b"0.9"]))
EVENTS = st.lists(st.one_of(LABELS, LABELS, PREDICTIONS), max_size=12)


def fold(events: list[Label | Prediction], known: Known = NOTHING) -> Known:
    def step(known: Known, event: Label | Prediction) -> Known:
        if isinstance(event, Prediction):
            return predicted(known, event, HORIZON_MS)
        return labelled(known, event, HORIZON_MS)[0]

    return reduce(step, events, known)


def fates(*labels: Label, prediction: Prediction | None = FIRST) -> list[Fate]:
    known, told = fold([prediction] if prediction else []), []
    for one in labels:
        known, fate = labelled(known, one, HORIZON_MS)
        told.append(fate)
    return told


def truth(events: list[Label | Prediction]) -> Label | None:
    """What the definition says, with all the events at hand."""
    predictions = [event for event in events if isinstance(event, Prediction)]
    if not predictions:
        return None
    end = min(predictions).event_ms + HORIZON_MS
    return max((one for one in events if isinstance(one, Label) and one.time_ms <= end), default=None)


@given(EVENTS, st.randoms())
def test_order_and_repetition_do_not_matter(events: list[Label | Prediction], chance: random.Random) -> None:
    expected = fold(events)
    shuffled = events + chance.choices(events, k=3) if events else []
    chance.shuffle(shuffled)
    assert encode(expected) == encode(fold(shuffled))


@given(EVENTS)
def test_the_truth_is_the_highest_that_was_known_in_time(events: list[Label | Prediction]) -> None:
    assert truth(events) == fold(events).truth(HORIZON_MS)


@given(EVENTS)
def test_what_is_known_is_the_same_after_a_restore(events: list[Label | Prediction]) -> None:
    known = fold(events)
    assert known == decode(encode(known))


@given(EVENTS)
def test_every_label_has_one_fate(events: list[Label | Prediction]) -> None:
    known, counted = NOTHING, Counter[Fate]()
    for event in events:
        if isinstance(event, Label):
            known, fate = labelled(known, event, HORIZON_MS)
            counted[fate] += 1
        else:
            known = predicted(known, event, HORIZON_MS)
    assert counted.total() == sum(isinstance(event, Label) for event in events)


def test_each_fate() -> None:
    yes, no, late = label(b"yes", 1_010, 1), label(b"no", 1_020, 2), label(b"no", 1_101, 9)
    assert [Fate.APPLIED, Fate.DUPLICATE, Fate.CORRECTED, Fate.SUPERSEDED] == fates(yes, yes, no, label(b"?", 1_000, 0))
    assert [Fate.TOO_LATE, Fate.APPLIED, Fate.TOO_LATE] == fates(late, yes, late)
    assert [Fate.EARLY, Fate.DUPLICATE, Fate.EARLY] == fates(yes, yes, no, prediction=None)
    assert [Fate.EARLY, Fate.SUPERSEDED] == fates(yes, label(b"?", 1_010, 0), prediction=None)
    assert [Fate.APPLIED, Fate.WITHDRAWN, Fate.SUPERSEDED] == fates(yes, withdrawal(1_030, 2), yes._replace(number=0))
    assert [Fate.WITHDRAWN, Fate.SUPERSEDED] == fates(withdrawal(1_030, 2), yes)
    assert [Fate.APPLIED, Fate.DUPLICATE] == fates(yes, label(b"yes", 1_005, 1))


def test_a_late_correction_does_not_take_the_truth_away() -> None:
    """It came after the horizon: what was known in time stands, also if both waited for their prediction."""
    right, late = label(b"yes", 1_050, 1), label(b"no", 1_150, 2)
    orders: list[list[Label | Prediction]] = [[FIRST, right, late], [late, FIRST, right], [right, late, FIRST]]
    for events in orders:
        assert right == fold(events).truth(HORIZON_MS)


def test_of_two_with_one_version_the_same_is_believed_everywhere() -> None:
    yes, no = label(b"yes", 1_010, 1), label(b"no", 1_010, 1)
    assert fold([FIRST, yes, no]) == fold([FIRST, no, yes])


def test_what_has_no_version_is_believed_by_its_time_and_below_all_that_has() -> None:
    early, later, versioned = label(b"a", 1_010), label(b"b", 1_020), label(b"c", 1_000, -5)
    assert later == fold([FIRST, later, early]).truth(HORIZON_MS)
    assert versioned == fold([FIRST, later, versioned, early]).truth(HORIZON_MS)
    gone = fold([FIRST, tombstone(1_005), later]).truth(HORIZON_MS)
    assert gone is not None
    assert gone.withdrawn
    assert versioned == fold([FIRST, versioned, tombstone(1_030)]).truth(HORIZON_MS)


def test_of_two_predictions_the_earlier_event_is_kept() -> None:
    second = FIRST._replace(event_ms=1_003, said=b"0.2")
    assert fold([FIRST, second]) == fold([second, FIRST]) == fold([FIRST])


def test_no_more_is_kept_than_the_limit() -> None:
    known = fold([label(b"x", 1_000 + number, number) for number in range(3 * KEPT_MAX)])
    assert KEPT_MAX == len(known.labels)
    assert known == decode(encode(known))


def test_bytes_that_were_never_written_are_an_error() -> None:
    good = encode(fold([FIRST, label(b"yes", 1_010, 1)]))
    for bad in (b"", b"\x02" + good[1:], good[:-1], good + b"\0", good[:5]):
        with pytest.raises(ValueError, match=r"identity|format"):
            decode(bad)
    with pytest.raises(ValueError, match="256 bytes"):
        label(b"x" * 256, 0)
