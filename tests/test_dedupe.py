"""The fold over the requests of one identity, and what the state remembers."""

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.dedupe import Ask, First, fold, heads, identities, recall, salt
from streams.reasons import Reason
from streams.records import Origin

ORIGIN = Origin("flights.requests.live", bytes(range(16)), 3, 41)
FIRST = First(b"A" * 16, 1_000, ORIGIN, b"answer")
A, B = b"A" * 16, b"B" * 16


def ask(row: int, append_ms: int, fingerprint: bytes = A, *, refused: bool = False) -> Ask:
    return Ask(row, append_ms, fingerprint, refused)


def test_the_same_inputs_are_a_duplicate_and_other_inputs_a_conflict() -> None:
    """A hit repeats the first answer or refuses; it never scores."""
    verdicts = fold([ask(0, 2_000), ask(1, 2_000, B)], FIRST, window_ms=5_000)
    assert [(Reason.DUPLICATE, FIRST), (Reason.CONFLICT, FIRST)] == [(v.reason, v.first) for v in verdicts]


def test_the_window_is_signed_and_closed() -> None:
    """Append times go backwards when leaders change: an older repeat is a hit however old; one past the window is not."""
    verdicts = fold([ask(0, 6_000), ask(1, -9_000)], FIRST, window_ms=5_000)
    assert [Reason.DUPLICATE, Reason.DUPLICATE] == [v.reason for v in verdicts]
    (late,) = fold([ask(0, 6_001)], FIRST, window_ms=5_000)
    assert (Reason.NONE, None) == (late.reason, late.first)


def test_a_recycled_id_starts_a_new_window() -> None:
    """Past the window the id is new, and what follows it is judged by the new answer."""
    verdicts = fold([ask(0, 9_000, B), ask(1, 9_001, B), ask(2, 9_002, A)], FIRST, window_ms=5_000)
    assert [None, 0, 0] == [v.first for v in verdicts]
    assert [Reason.NONE, Reason.DUPLICATE, Reason.CONFLICT] == [v.reason for v in verdicts]


def test_a_refused_row_is_not_remembered() -> None:
    """Only a scored request is sticky: what was refused may be sent again, and its repeat is judged for itself."""
    verdicts = fold([ask(0, 1, B, refused=True), ask(1, 2, A), ask(2, 3, B, refused=True)], None, window_ms=5_000)
    assert [(Reason.NONE, None), (Reason.NONE, None), (Reason.CONFLICT, 1)] == [(v.reason, v.first) for v in verdicts]


@given(
    st.lists(st.tuples(st.integers(0, 9_000), st.sampled_from([A, B]), st.booleans()), max_size=12),
    st.integers(0, 12),
)
def test_cutting_the_fold_changes_nothing(rows: list[tuple[int, bytes, bool]], cut: int) -> None:
    """The law of cuts for one identity: folding a prefix, remembering, and folding the rest is folding the whole."""
    asks = [ask(row, ms, fp, refused=refused) for row, (ms, fp, refused) in enumerate(rows)]

    def as_first(row: int) -> First:
        return First(asks[row].fingerprint, asks[row].append_ms, ORIGIN._replace(offset=row), b"%d" % row)

    whole = fold(asks, None, window_ms=3_000)
    head = fold(asks[:cut], None, window_ms=3_000)
    scored = [v.row for v in head if v.reason is Reason.NONE and not asks[v.row].refused]
    tail = fold(asks[cut:], as_first(scored[-1]) if scored else None, window_ms=3_000)
    resolved = [(v.reason, as_first(v.first) if isinstance(v.first, int) else v.first) for v in head + tail]
    assert [(v.reason, as_first(v.first) if isinstance(v.first, int) else v.first) for v in whole] == resolved


def test_the_state_value_returns_what_was_remembered() -> None:
    """`recall` undoes `heads` and the answer behind it; the layout is what earlier versions have written."""
    other = First(b"B" * 16, -(2**62), ORIGIN._replace(offset=2**62), None)
    fingerprints, append_ms = [FIRST.fingerprint, other.fingerprint], [FIRST.append_ms, other.append_ms]
    offsets = np.array([ORIGIN.offset, other.origin.offset])
    cells = heads(fingerprints, np.array(append_ms), offsets, ORIGIN.topic, ORIGIN.topic_id)
    assert FIRST == recall(cells[0].tobytes() + b"answer", 3)
    assert other == recall(cells[1].tobytes(), 3)
    numbers = struct.pack(">qq", 1_000, 41)
    assert b"\x01" + A + numbers + ORIGIN.topic_id + b"\x15flights.requests.live" == cells[0].tobytes()


@given(st.lists(st.tuples(st.none() | st.binary(max_size=6), st.binary(max_size=6)), min_size=2, max_size=8))
def test_identities_are_equal_only_if_tenant_and_id_are(pairs: list[tuple[bytes | None, bytes]]) -> None:
    """No choice of names makes two identities one; the absent tenant differs from the empty one."""
    keys = identities(salt("flights"), [tenant for tenant, _ in pairs], [rid for _, rid in pairs])
    assert len(set(pairs)) == len(set(keys))


def test_applications_have_nothing_in_common() -> None:
    """The salt keeps one application's identities apart from another's."""
    assert identities(salt("a"), None, [b"x"]) != identities(salt("b"), None, [b"x"])
    assert identities(salt("a"), None, [b"x"]) == identities(salt("a"), [None], [b"x"])
