"""What is counted, as integers, so that adding a batch is exact. Room: pure."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from streams.ports import Assignment, Stage
from streams.reasons import REASONS, Reason
from streams.records import TP, Hold, Ints, Outcome

LATENCY_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000)
STAGE_NS = tuple(round(ms * 1e6) for ms in (0.1, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000))
BATCH_RECORDS = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
BY_WORKERS = [reason for reason in Reason if reason not in (Reason.NONE, Reason.START)]
"""START is written by `streams topics apply`."""


class Histogram:
    """Counts of whole numbers between fixed edges, and their sum.

    Args:
        edges: upper bounds, inclusive, ascending; what is above the last is counted apart.
        per: how many of the edges' unit make one of the exposed unit.
    """

    def __init__(self, edges: Sequence[int], per: int = 1) -> None:
        self.edges, self.per = tuple(edges), per
        self.counts = [0] * (len(edges) + 1)
        self.sum = 0

    def add(self, value: int) -> None:
        """Count one value."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.sum += value

    def add_all(self, values: Ints) -> None:
        """Count a column."""
        more = np.bincount(np.searchsorted(self.edges, values, side="left"), minlength=len(self.counts))
        self.counts = [count + new for count, new in zip(self.counts, more.tolist(), strict=True)]
        self.sum += int(values.sum())


def _zeros(*where: str) -> Counter[str]:
    """Return a count for each reason whose terminal record may go there: a rate needs a 0 to begin from."""
    return Counter({reason.name: 0 for reason in BY_WORKERS if REASONS[reason].where in where})


@dataclass
class Figures:
    """What there is to tell about one worker at one moment. Times are in nanoseconds of a monotonic clock but for `_ms`."""

    since: int
    """When the loop last began something; until it does, when the process did."""
    model: tuple[str, str, str] | None = None
    """Name, version and digest."""
    results: int = 0
    outcomes: Counter[str] = field(default_factory=lambda: _zeros("outcomes", "either"))
    monitored: Counter[str] = field(default_factory=Counter)
    """By source and fate, `labels.applied`; those that have not been are not known here."""
    dirty: int | None = None
    """Windows that have changed since they were published; None of a worker that is no monitor's."""
    dead_letters: Counter[str] = field(default_factory=lambda: _zeros("dlq", "either"))
    transactions: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    latency: Histogram = field(default_factory=lambda: Histogram(LATENCY_MS, 1_000))
    stages: dict[Stage, Histogram] = field(
        default_factory=lambda: {stage: Histogram(STAGE_NS, 10**9) for stage in Stage}
    )
    batches: Histogram = field(default_factory=lambda: Histogram(BATCH_RECORDS))
    limit: int = 0
    committed_ms: int | None = None
    """Unix time of the last commit."""
    renewals: int = 0
    rebalances: int = 0
    assignment: Assignment | None = None
    remaining: dict[int, int] = field(default_factory=dict)
    """Changelog offsets still to be restored, of each partition whose restore has begun."""
    started: bool = False
    """Whether the whole assignment is restored and read from."""
    held: dict[TP, tuple[Hold, int]] = field(default_factory=dict)
    """What waits, and since when."""
    lag: dict[TP, int] = field(default_factory=dict)
    fresh_ms: dict[TP, int] = field(default_factory=dict)
    """Unix time before which no waiting request of a partition was appended."""

    @property
    def partitions(self) -> frozenset[int]:
        """The numbers of the owned partitions; partition i of every lane shares one state."""
        return frozenset(tp.partition for tp in self.assignment.tps) if self.assignment else frozenset()


class Facts(NamedTuple):
    """What does not change while a worker runs."""

    application: str
    slot: str
    version: str
    python: str
    client: str
    restarts: Mapping[str, int]
    """How often the slot's workers before this one ended with each exit code, under the same supervisor."""


class Moment(NamedTuple):
    """Figures, and what time it is on both clocks."""

    figures: Figures
    at_ns: int
    """Nanoseconds of the monotonic clock that the figures are kept by."""
    unix_ms: int
