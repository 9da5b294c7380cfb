"""What `streams verify` finds wrong with the monitor: each violation, made by hand."""

from collections.abc import Callable

import pytest

from streams.monitor.state import ROW, TALLY, encode_row
from streams.records import TP
from tests.monitor.stream import LABELS, RESULTS, Monitor
from tests.monitor.test_monitoring import SIMPLE


def monitored() -> Monitor:
    """Return a monitor that has counted and published everything."""
    monitor = Monitor()
    monitor.feed(SIMPLE)
    monitor.rest()
    return monitor


def test_what_is_right_is_called_so() -> None:
    """Nothing is wrong, unchecked or waiting."""
    report = monitored().verdict()
    assert (0, (), (), 0) == (report.exit_code, report.violations, report.unchecked, report.waiting)
    assert (2, 1) == (report.identities, report.windows)
    assert "Right" in report.lines()[-1]


def row_of_a_window(monitor: Monitor) -> bytes:
    """Return the key of a row."""
    return next(key for key in monitor.logs[0].values if key[:1] == ROW and key[1:9] != TALLY)


def a_label_more(monitor: Monitor) -> None:
    """A record was read that nobody counted."""
    monitor.positions[TP(LABELS, 0)] += 1


def a_result_less(monitor: Monitor) -> None:
    """A record was counted that is not there."""
    monitor.positions[TP(RESULTS, 0)] -= 1


def another_row(monitor: Monitor) -> None:
    """A row is not what the identities add up to."""
    monitor.logs[0].take([(row_of_a_window(monitor), encode_row((7, 7, 7)))])


def a_forgotten_identity(monitor: Monitor) -> None:
    """What is known of an identity is gone, and its window is not sealed."""
    identity = next(key for key in monitor.logs[0].values if key[:1] == b"d")
    monitor.logs[0].take([(identity, b"")])


def a_lost_part(monitor: Monitor) -> None:
    """What was published is not there."""
    del monitor.parts[next(key for key in monitor.parts if key[:8] != TALLY)]


def an_old_part(monitor: Monitor) -> None:
    """A worker that was replaced has written over it."""
    before = dict(monitor.parts)
    monitor.feed([SIMPLE[0], *SIMPLE[2:]])
    monitor.now += 60
    monitor.rest()
    monitor.parts |= before


TAMPERED: list[tuple[Callable[[Monitor], None], set[str]]] = [
    (a_label_more, {"MISCOUNTED"}),
    (a_result_less, {"MISCOUNTED"}),
    (another_row, {"WINDOW_DIFFERS", "PART_DIFFERS"}),
    (a_forgotten_identity, {"WINDOW_DIFFERS"}),
    (a_lost_part, {"PART_DIFFERS"}),
    (an_old_part, {"PART_DIFFERS"}),
]


@pytest.mark.parametrize(("tamper", "names"), TAMPERED, ids=[tamper.__name__ for tamper, _ in TAMPERED])
def test_what_is_wrong_has_a_name(tamper: Callable[[Monitor], None], names: set[str]) -> None:
    """And an exit code."""
    monitor = monitored()
    tamper(monitor)
    report = monitor.verdict()
    assert names == {text.split()[0] for text in report.violations}
    assert report.exit_code == 1


def test_what_retention_removed_is_unchecked() -> None:
    """Nothing is called lost that nobody can look at."""
    monitor = monitored()
    monitor.gone = frozenset({TP(LABELS, 0)})
    report = monitor.verdict()
    assert (3, ("loans.labels[0]: retention has removed what was read",)) == (report.exit_code, report.unchecked)


def test_what_is_not_published_yet_waits() -> None:
    """It is no violation beside a monitor that runs."""
    monitor = Monitor()
    monitor.feed(SIMPLE)
    report = monitor.verdict()
    assert (0, 2) == (report.exit_code, report.waiting)
