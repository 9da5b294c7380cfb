"""Windows of event time, and how they change when more becomes known of one identity. Room: pure.

A window is the predictions of one subject (model, version, arm) whose events lie in one grain of time. What one identity
adds to it is a function of what is known of the identity; a change is what it adds now, less what it added before. So the
rows of a window are the sum over all identities, whatever came in which order, how often, and in whose hands.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from streams.monitor.labels import Known
from streams.monitor.tasks import Row, Rows, Task

DELAY_EDGES_MS = tuple(1_000 * 2**power for power in range(24))
"""Delays of labels are counted by doublings: below 1 s, 2 s, … 97 days, and beyond."""
_WINDOW = struct.Struct(">8sQ")
WINDOW_BYTES = _WINDOW.size
_EPOCH = 2**63
"""Added to a window's number, so that those before 1970 sort first."""
DELAY = b"d"
"""First byte of the key of a row that counts labels by their delay; the second is which."""
_DELAYS = tuple(DELAY + bytes([at]) for at in range(len(DELAY_EDGES_MS) + 1))
MISFIT = b"x"
"""Key of the row that counts labels that cannot be a truth of this model: another class, no number."""


class Window(NamedTuple):
    """Which window."""

    subject: bytes
    number: int
    """Its first millisecond, divided by the grain."""


class Rules(NamedTuple):
    """How a subject's predictions are counted."""

    task: Task
    grain_ms: int
    horizon_ms: int
    retention_ms: int | None = None
    """How long after its end a window is revised, by the broker's clock; None: for ever."""

    def sealed_ms(self, event_ms: int) -> int | None:
        """Return when the window of an event is sealed; None: never."""
        if self.retention_ms is None:
            return None
        return (event_ms // self.grain_ms + 1) * self.grain_ms + self.retention_ms

    def is_sealed(self, event_ms: int, now_ms: int) -> bool:
        """Return whether the window of an event is sealed."""
        sealed_ms = self.sealed_ms(event_ms)
        return sealed_ms is not None and sealed_ms <= now_ms


def window_key(window: Window) -> bytes:
    """Return the 16 bytes that every row of the window begins with: windows of a subject sort by time."""
    return _WINDOW.pack(window.subject, window.number + _EPOCH)


def parse_window(key: bytes) -> tuple[Window, bytes]:
    """Return the window of a row's key, and the key within it."""
    subject, number = _WINDOW.unpack_from(key)
    return Window(subject, number - _EPOCH), key[_WINDOW.size :]


def contribution(known: Known, rules: Rules) -> Rows:
    """Return what an identity adds, by key: nothing before its prediction is known."""
    prediction, truth = known.prediction, known.truth(rules.horizon_ms)
    if prediction is None:
        return {}
    begin = _WINDOW.pack(prediction.subject, prediction.event_ms // rules.grain_ms + _EPOCH)
    if truth is None or truth.withdrawn:
        return {begin + key: row for key, row in rules.task.rows(prediction.said, None).items()}
    fits = rules.task.fits(truth.value)
    rows = {begin + key: row for key, row in rules.task.rows(prediction.said, truth.value if fits else None).items()}
    rows[begin + (_DELAYS[bucket(truth.time_ms - prediction.event_ms)] if fits else MISFIT)] = (1,)
    return rows


def bucket(delay_ms: int) -> int:
    """Return which edge of DELAY_EDGES_MS a delay lies below; one before its event is in the first."""
    return bisect_right(DELAY_EDGES_MS, delay_ms)


def changes(steps: Iterable[tuple[Known, Known]], rules: Rules) -> dict[bytes, Row]:
    """Return by how much rows change as more becomes known: of each identity, what was known before, and what is now."""
    return added(_changes(steps, rules))


def _changes(steps: Iterable[tuple[Known, Known]], rules: Rules) -> Iterator[Rows]:
    for before, after in steps:
        yield contribution(after, rules)
        if before.prediction is not None:
            yield negative(contribution(before, rules))


def negative(rows: Rows) -> dict[bytes, Row]:
    """Return the rows that take these away."""
    return {key: tuple(-number for number in row) for key, row in rows.items()}


def added(parts: Iterable[Rows]) -> dict[bytes, Row]:
    """Return the sum of some rows; what adds up to nothing is left out."""
    total: dict[bytes, Row] = {}
    for rows in parts:
        for key, row in rows.items():
            old = total.get(key)
            total[key] = row if old is None else tuple(map(int.__add__, old, row))
    return {key: row for key, row in total.items() if any(row)}
