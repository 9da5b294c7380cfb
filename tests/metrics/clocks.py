"""Clocks that a test moves by hand, and a worker that owns two partitions."""

import numpy as np

from streams.metrics.meter import Meter
from streams.ports import Assignment
from streams.records import NO_APPEND_TIME, TP, Batch, Lease, Step

TPS = (TP("asks", 0), TP("asks", 1))
APPENDED_MS = 1_700_000_000_000


class Clocks:
    """A monotonic clock and a wall clock that go together."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> int:
        return 5 * 10**9 + round(self.seconds * 1e9)

    def wall(self) -> int:
        return APPENDED_MS * 10**6 + round(self.seconds * 1e9)

    def meter(self) -> Meter:
        """Return a meter that goes by these clocks."""
        return Meter(self.monotonic, self.wall)


class Edge:
    """A source and a sink, as far as they are sampled."""

    def __init__(self) -> None:
        self.read: dict[TP, tuple[int, int]] = {}
        self.renewals = 0
        self.asked = 0

    def progress(self) -> dict[TP, tuple[int, int]]:
        self.asked += 1
        return self.read


def assigned(*tps: TP, settled: bool = True) -> Assignment:
    return Assignment(1, frozenset(tps), settled)


def batch(*appended_s: float | None) -> Batch:
    """Return requests of two partitions by turns, appended so many seconds after APPENDED_MS, or by no broker's clock."""
    append_ms = [NO_APPEND_TIME if s is None else APPENDED_MS + round(s * 1000) for s in appended_s]
    size = len(append_ms)
    nothing: list[bytes | None] = [None] * size
    numbers = np.arange(size, dtype=np.int64)
    return Batch(
        Lease(1, None), TPS, numbers % 2, numbers, np.array(append_ms, dtype=np.int64), nothing, nothing, [None] * size
    )


def step(counts: dict[str, int], letters: dict[str, int] | None = None) -> Step:
    return Step(Lease(1, None), [], {}, {}, counts, letters or {})
