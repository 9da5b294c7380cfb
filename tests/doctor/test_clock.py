"""Two clocks, compared by hand-made stamps."""

from collections.abc import Sequence

import pytest

from streams.doctor.clock import judge
from streams.kafka.trial import Written
from streams.records import NO_APPEND_TIME


@pytest.mark.parametrize(
    ("stamps", "grade", "words"),
    [
        ([(105, 100, 110)], "ok", "within 10 ms"),
        ([(100, 100, 104), (9_000, 0, 10_000)], "ok", "within 4 ms"),
        ([(1_110, 100, 110)], "ok", "within 1010 ms"),
        ([(1_111, 100, 110)], "warn", "1,001 ms ahead of this machine's (known to 10 ms)"),
        ([(0, 1_001, 1_011)], "warn", "1,001 ms behind this machine's (known to 10 ms)"),
        ([(NO_APPEND_TIME, 100, 101), (107, 100, 110)], "ok", "within 10 ms"),
        ([(NO_APPEND_TIME, 100, 101)], "skipped", "no topic"),
        ([], "skipped", "no topic"),
    ],
)
def test_only_what_lies_outside_our_two_looks_is_a_difference(
    stamps: Sequence[tuple[int, int, int]], grade: str, words: str
) -> None:
    """The quickest answer tells most; a stamp that the producer made tells nothing."""
    found = judge([Written(*stamp) for stamp in stamps])
    assert grade == found.grade
    assert words in found.text
