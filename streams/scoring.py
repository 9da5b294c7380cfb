"""The scorer: the fold that answers each request once."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol, TypeAlias

import numpy as np

from streams.pipeline import App, Plan, Refused, Rows, by_partition, followers, gap, not_finite, plan, settle
from streams.ports import Model, Observer, Stage, Store
from streams.reasons import Reason
from streams.records import TP, Detail, Floats, Lease, Step

FEW = 500
"""So many rows are not worth another thread."""


class Later(Protocol):
    """A call that is made by another thread; a `Future` is one."""

    def result(self) -> Floats:
        """Wait for its end; return what it returned, or raise what it raised."""


Beside: TypeAlias = Callable[[Callable[[Floats], Floats], Floats], Later]


class Scoring:
    """A `Fold`: looks up, plans, scores and settles. A full batch is scored by another thread: models leave Python's lock to others.

    Args:
        app: what the pure functions must know.
        model: who answers.
        store: the state of identities; it is only asked.
        observer: told which stage has ended.
        beside: makes a call in another thread.
    """

    def __init__(self, app: App, model: Model, store: Store, observer: Observer, beside: Beside) -> None:
        self.app, self.model, self._store, self._observer = app, model, store, observer
        self._beside = beside
        self._refused = Refused()

    def begin(self, rows: Rows, after: Step | None) -> Callable[[], Step]:
        """Look up and plan, and let the model begin."""
        seen = self._seen(rows, after)
        self._observer.passed(Stage.LOOKUP)
        planned = self._planned(rows, seen)
        return partial(self._decide, rows, seen, planned, self._asked(planned))

    def _decide(self, rows: Rows, seen: dict[int, bytes], planned: Plan, asked: Callable[[], Floats]) -> Step:
        """Wait for scores and settle; a score that is no number is a rule found broken late, so the batch is planned again."""
        while True:
            scores = self._scored(asked)
            broken = not_finite(planned, scores)
            if not broken:
                step = settle(planned, scores, self.model, self.app)
                self._observer.passed(Stage.SETTLE)
                return step
            rest = followers(planned)
            self._refused |= broken | not_finite(rest, self._scored(self._asked(rest)))
            planned = self._planned(rows, seen)
            asked = self._asked(planned)

    def refuse(self, at: TP, offset: int, reason: Reason, detail: Detail) -> bool:
        """Refuse this request from now on; False if it was refused before."""
        return self._refused.add(at, offset, reason, detail)

    def committed(self, step: Step) -> None:
        """Forget the refusals that are committed."""
        self._refused.committed(step)

    def gap(self, tp: TP, committed: int, log_start: int, lease: Lease) -> Step:
        """Return the transaction of the GAP record."""
        return gap(tp, committed, log_start, lease, self.app)

    def due(self, lease: Callable[[], Lease]) -> Step | None:
        """Return nothing: an answer has a request."""

    def assigned(self, partitions: frozenset[int]) -> None:
        """Do nothing: what was refused is refused whoever reads it."""

    def _planned(self, rows: Rows, seen: dict[int, bytes]) -> Plan:
        planned = plan(rows, seen, self.model, self.app, self._refused)
        self._observer.passed(Stage.PLAN)
        return planned

    def _asked(self, planned: Plan) -> Callable[[], Floats]:
        """Ask the model, in another thread if that is worth it; return what waits for its answer."""
        if len(planned.matrix) < FEW:
            return partial(self.model.score, planned.matrix) if len(planned.matrix) else partial(np.empty, 0)
        return self._beside(self.model.score, planned.matrix).result

    def _scored(self, asked: Callable[[], Floats]) -> Floats:
        scores = asked()
        self._observer.passed(Stage.SCORE)
        return scores

    def _seen(self, rows: Rows, after: Step | None) -> dict[int, bytes]:
        """Ask each partition's store once for the identities of its rows; return the values of those that it knows, or will
        know when it has the step `after`.
        """
        identity, seen = rows.identity, dict[int, bytes]()
        some_unread = b"" in identity
        for partition, asked in by_partition(rows.batch):
            if some_unread:
                asked = [row for row in asked if identity[row]]
            keys = [identity[row] for row in asked]
            values: Iterable[bytes | None] = self._store.get(partition, keys)
            if after is not None and partition in after.puts:
                values = map(dict(after.puts[partition]).get, keys, values)
            seen |= {row: value for row, value in zip(asked, values, strict=True) if value is not None}
        return seen
