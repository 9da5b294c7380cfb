"""The scorer: the fold that answers each request once."""

from collections.abc import Callable

import numpy as np

from streams.pipeline import App, Plan, Refused, Rows, followers, gap, not_finite, plan, settle
from streams.pipeline.fold import nothing
from streams.ports import Model, Observer, Stage, Store
from streams.reasons import Reason
from streams.records import TP, Detail, Floats, Lease, Step


class Scoring:
    """A `Fold`: plans, scores and settles.

    Args:
        app: what the pure functions must know.
        model: who answers.
        store: the state of identities; it is only asked.
        observer: told which stage has ended.
    """

    def __init__(self, app: App, model: Model, store: Store, observer: Observer) -> None:
        self.app, self.model, self._store, self._observer = app, model, store, observer
        self._refused = Refused()

    def decide(self, rows: Rows, meanwhile: Callable[[], None] = nothing) -> Step:
        """Plan, score and settle; a score that is no number is a rule found broken late, so the batch is planned again."""
        seen = self._seen(rows)
        self._observer.passed(Stage.LOOKUP)
        while True:
            planned = plan(rows, seen, self.model, self.app, self._refused)
            self._observer.passed(Stage.PLAN)
            meanwhile()
            meanwhile = nothing
            scores = self._scored(planned)
            broken = not_finite(planned, scores)
            if not broken:
                step = settle(planned, scores, self.model, self.app)
                self._observer.passed(Stage.SETTLE)
                return step
            rest = followers(planned)
            self._refused |= broken | not_finite(rest, self._scored(rest))

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

    def _scored(self, planned: Plan) -> Floats:
        scores = self.model.score(planned.matrix) if len(planned.matrix) else np.empty(0)
        self._observer.passed(Stage.SCORE)
        return scores

    def _seen(self, rows: Rows) -> dict[int, bytes]:
        """Ask each partition's store once for the identities of its rows; return the values of those that it knows."""
        batch, identity, seen = rows.batch, rows.identity, dict[int, bytes]()
        partitions = np.array([tp.partition for tp in batch.tps])[batch.tp]
        for partition in np.unique(partitions).tolist():
            asked = [row for row in np.flatnonzero(partitions == partition).tolist() if identity[row]]
            values = self._store.get(partition, [identity[row] for row in asked])
            seen |= {row: value for row, value in zip(asked, values, strict=True) if value is not None}
        return seen
