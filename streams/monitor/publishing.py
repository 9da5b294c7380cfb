"""When windows are published, and as what. Room: pure; the time is given.

A window is published whole: everything that a partition has counted of it. So the last word counts, and nobody must have
heard the others. What changes all the time is published every NEWEST_S, and older windows less often.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from streams.avro.encode import Constant, Longs, Slices
from streams.monitor.app import App
from streams.monitor.state import CLEAN, Published, Subject, chunks, decode_watermark, parse_watermark_key, part_key
from streams.monitor.windows import Window, parse_window, window_key
from streams.packed import pack
from streams.records import Block

NEWEST_S, OLDEST_S = 2.0, 60.0
"""How often the newest window of a subject is published while it changes; and the oldest."""
STEP_BYTES = 4 << 20
"""What one transaction publishes, at least one window."""


class Timetable:
    """When each window that has changed is to be published next. Keys are (partition, window's 16 bytes)."""

    def __init__(self) -> None:
        self._due: dict[tuple[int, bytes], float] = {}
        self._last: dict[tuple[int, bytes], float] = {}
        self._newest: dict[tuple[int, bytes], int] = {}
        """Of each partition and subject, the number of its newest window."""

    def __len__(self) -> int:
        """Return how many windows have changed since they were published."""
        return len(self._due)

    def changed(self, partition: int, windows: Iterable[bytes]) -> None:
        """Note that windows have changed.

        When a partition's newest window is no longer that, it is due now: the next one says that time has passed it.
        """
        for window in windows:
            at = partition, window
            subject, number = parse_window(window)[0]
            was = self._newest.get((partition, subject), number)
            self._newest[partition, subject] = newest = max(number, was)
            passed = partition, window_key(Window(subject, was))
            if newest > was and passed in self._due:
                self._due[passed] = -math.inf
            if at not in self._due:
                age = newest - number
                pause = min(NEWEST_S * (1 + age), OLDEST_S)
                self._due[at] = self._last.get(at, -pause) + pause

    def due(self, now: float) -> list[tuple[int, bytes]]:
        """Return which windows are due, the longest due first, and of those the oldest."""
        return sorted((at for at, time in self._due.items() if time <= now), key=lambda at: (self._due[at], at))

    def rest(self) -> None:
        """Note that nothing comes any more: all that has changed is due, since it will not change again before it was published."""
        self._due = dict.fromkeys(self._due, -math.inf)

    def published(self, at: tuple[int, bytes], now: float) -> None:
        """Note that a window was published."""
        self._due.pop(at, None)
        self._last[at] = now


def parts(
    window: bytes,
    partition: int,
    rows: Iterable[tuple[bytes, bytes]],
    subject: Subject | None,
    before: Published,
    watermarks: Mapping[bytes, bytes],
    behind: int | None,
    app: App,
) -> tuple[Block, Published]:
    """Return the records that publish a window, and how it stands to them then.

    Args:
        window: its 16 bytes.
        partition: whose counts these are.
        rows: keys within the window, in order, and the encoded numbers.
        subject: its names; None for the tally.
        watermarks: how far event time has come, as the state has it.
        behind: number of the oldest other window of which more was seen than is published; None: there is none.
        before: how it stood; chunks that there are no more are taken back.
        app: the application.
    """
    data = chunks(rows)
    n, (what, _) = len(data), parse_window(window)
    values = app.part.encode(
        app.part_prefix,
        n,
        {
            "model_name": Constant(subject and subject.model),
            "model_version": Constant(subject and subject.version),
            "arm": Constant(subject and subject.arm),
            "window_start": Constant(what.number * app.rules.grain_ms),
            "grain_ms": Constant(app.rules.grain_ms),
            "horizon_ms": Constant(app.rules.horizon_ms),
            "partition": Constant(partition),
            "revision": Constant(before.revision + 1),
            "chunk": Longs(np.arange(n)),
            "chunks": Constant(n),
            "rows": Slices(data),
            "watermarks": Constant(_watermarks(watermarks)),
            "behind": Constant(None if behind is None else behind * app.rules.grain_ms),
        },
    )
    surplus = [None] * max(0, before.chunks - n)
    keys = [part_key(window, partition, chunk) for chunk in range(max(n, before.chunks))]
    return Block(app.parts, [partition] * len(keys), keys, [*values, *surplus]), Published(
        CLEAN, n, before.revision + 1
    )


def _watermarks(state: Mapping[bytes, bytes]) -> bytes:
    marks = {parse_watermark_key(key): decode_watermark(value) for key, value in state.items()}
    known = {partition: event_ms for partition, event_ms in marks.items() if event_ms is not None}
    return pack(np.array([*known], np.int64), np.array([*known.values()], np.int64))


def sizes(block: Block) -> int:
    """Return the bytes that a block's values have together."""
    return sum(len(value or b"") for value in block.values)
