"""The observer that counts. The loop's thread writes, the server's reads; one lock, held for microseconds, by a scrape for a
millisecond or so.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Protocol

import numpy as np

from streams.metrics.figures import Figures, Moment
from streams.ports import Assignment, Model, Observer, Sink, Stage
from streams.reasons import SCORED
from streams.records import NO_APPEND_TIME, TP, Batch, Hold, Outcome, Step

SAMPLE_NS = 10**9


class Reader(Protocol):
    """Who knows how far requests are read: the loop."""

    def progress(self) -> Mapping[TP, tuple[int, int]]:
        """Return (next offset to work on, end) of each partition that is read."""


class Meter(Observer):
    """Counts what the loop tells, and asks loop and sink, once a second, for what they do not tell.

    Args:
        clock: monotonic nanoseconds.
        wall: Unix time in nanoseconds; compared with the broker's append times.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns, wall: Callable[[], int] = time.time_ns) -> None:
        self._clock, self._wall = clock, wall
        self._lock = threading.Lock()
        self._mark = self._clock()
        self._sampled = self._mark - SAMPLE_NS
        self._figures = Figures(since=self._mark)

    def moment(self) -> Moment:
        """Return a copy of the figures, and what time it is."""
        with self._lock:
            return Moment(deepcopy(self._figures), self._clock(), self._wall() // 10**6)

    def loaded(self, model: Model) -> None:
        """Note which model answers."""
        self._figures.model = model.name, model.version, model.digest.hex()

    def progressed(self) -> None:
        """Note that the loop has begun a turn, or a step of a restore."""
        self._figures.since = self._clock()

    def passed(self, stage: Stage) -> None:
        """Count the time since the last call for this stage."""
        now = self._clock()
        with self._lock:
            self._figures.stages[stage].add(now - self._mark)
        self._mark = now

    def assigned(self, assignment: Assignment) -> None:
        """Forget what was known of partitions: others may have worked on them meanwhile."""
        with self._lock:
            figures = self._figures
            figures.assignment, figures.started = assignment, False
            figures.rebalances += 1
            figures.remaining, figures.held, figures.lag, figures.fresh_ms = {}, {}, {}, {}

    def restoring(self, partition: int, position: int, end: int) -> None:
        """Note how much of a changelog is left."""
        with self._lock:
            self._figures.remaining[partition] = max(end - position, 0)

    def started(self) -> None:
        """Note that the assignment is restored."""
        with self._lock:
            self._figures.started = True

    def transacted(self, step: Step, outcome: Outcome, batch: Batch | None = None) -> None:
        """Count a transaction, and what it committed."""
        now_ms = self._wall() // 10**6
        with self._lock:
            self._figures.transactions[outcome] += 1
            if outcome is Outcome.COMMITTED:
                self._figures.committed_ms = now_ms
                self._count(step)
                if batch is not None:
                    self._time(batch, now_ms)

    def _count(self, step: Step) -> None:
        self._figures.monitored += +Counter(step.fates)  # what waited and was freed is counted there, too
        refused = Counter(step.counts) - Counter(step.letters)
        self._figures.results += refused.pop(SCORED, 0)
        self._figures.outcomes.update(refused)
        self._figures.dead_letters.update(step.letters)

    def _time(self, batch: Batch, now_ms: int) -> None:
        figures = self._figures
        figures.batches.add(batch.size)
        timed = batch.append_ms != NO_APPEND_TIME
        figures.latency.add_all(np.maximum(now_ms - batch.append_ms[timed], 0))
        for i, tp in enumerate(batch.tps):
            mine = batch.append_ms[timed & (batch.tp == i)]
            if len(mine):
                figures.fresh_ms[tp] = max(figures.fresh_ms.get(tp, 0), int(mine.max()))

    def waiting(self, windows: int) -> None:
        """Note how many windows have changed since they were published."""
        with self._lock:
            self._figures.dirty = windows

    def turned(self, limit: int, held: Mapping[TP, Hold]) -> None:
        """Note the batch's limit, and since when which partitions wait."""
        now = self._clock()
        with self._lock:
            figures = self._figures
            figures.limit = limit
            known = figures.held
            figures.held = {
                tp: known[tp] if tp in known and known[tp][0] == hold else (hold, now) for tp, hold in held.items()
            }

    def sample(self, reader: Reader, sink: Sink) -> None:
        """Ask, at most once a second, how far the reader is and how often the producer was renewed.

        Called between turns by the loop's thread: nobody else may call the consumer.
        """
        now = self._clock()
        if now - self._sampled < SAMPLE_NS:
            return
        self._sampled = now
        now_ms, progress = self._wall() // 10**6, reader.progress()
        with self._lock:
            figures = self._figures
            figures.renewals = sink.renewals
            for tp, (position, end) in progress.items():
                first = figures.held[tp][0].offset if tp in figures.held else position
                figures.lag[tp] = max(end - first, 0)
                if not figures.lag[tp]:
                    figures.fresh_ms[tp] = now_ms
