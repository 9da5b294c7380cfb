"""From windows to episodes: since when a feature is not as it was in training, or a model wrong too often, and until when. Room: pure.

A function of the final windows and of nothing else. A window that is revised changes the chain from there on, as if it had been so
from the beginning; the order in which records, revisions or windows came leaves no trace.
"""

from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from streams.monitor.drift import risk
from streams.monitor.drift.evidence import threshold
from streams.monitor.drift.judging import Judged, judge
from streams.monitor.drift.watch import Watch
from streams.records import Floats, Ints

CLOSE_AFTER = 3
"""An episode closes with so many judged windows in a row that are within the tolerance."""
EVIDENCE_MAX = 1e12
"""More is not counted: far above any threshold, and a number that JSON has."""
Memo: TypeAlias = MutableMapping[tuple[str, bytes, bytes], Judged]
"""What was judged before, of one reference: by feature, counts and sums."""


class Window(NamedTuple):
    """One window of one model, of all its features."""

    number: int
    counts: Ints
    """Of all features' cells, shape (cells,)."""
    sums: Ints
    """The sums of positions in them."""


class Loss(NamedTuple):
    """One window of one model whose labels are mature."""

    number: int
    n: int
    loss: float
    """The mean of so many losses, from 0 to 1."""


class Step(NamedTuple):
    """What one window adds."""

    window: int
    n: int
    """Records, those that were carried into it included."""
    statistic: float | None
    """The leading PSI, or the mean loss. None: too few records, which go into the next window."""
    tolerance: float | None
    """What the statistic may be, as `Part.usual`."""
    evidence: float
    """After it."""
    calm: bool
    """Whether all is within its tolerance; not of what was not judged."""
    judged: Judged | None = None
    """Of a feature, if it was judged."""


class Episode(NamedTuple):
    """A time in which something was not as it should be. Windows by number."""

    first_seen: int
    """The first window of the run that the evidence is of: since it last was more likely that all is well."""
    opened: int
    closed: int | None
    steps: tuple[Step, ...]
    """From `first_seen` on, to the window that closed it or the newest. None of them is missing."""

    @property
    def opening(self) -> Step:
        """The window with which it opened."""
        return next(step for step in self.steps if step.window == self.opened)

    @property
    def newest(self) -> Step:
        """The newest window that was judged."""
        return next(step for step in reversed(self.steps) if step.statistic is not None)


class Chain(NamedTuple):
    """Everything about one metric of one model."""

    metric: str
    """A feature's name, or the name of a risk."""
    threshold: float
    steps: tuple[Step, ...]
    episodes: tuple[Episode, ...]

    @property
    def open(self) -> Episode | None:
        """The episode that is not closed."""
        return self.episodes[-1] if self.episodes and self.episodes[-1].closed is None else None

    def open_at(self, window: int) -> bool:
        """Return whether an episode is open at a window."""
        return any(each.opened <= window and (each.closed is None or window < each.closed) for each in self.episodes)


class _Seen(NamedTuple):
    """A window before there is evidence: the e-values of all detectors, or none."""

    step: Step
    e_values: Floats | None


def chains(
    watches: Sequence[Watch], windows: Sequence[Window], mean_windows: float, memo: Memo | None = None
) -> tuple[Chain, ...]:
    """Return the chain of each feature, those that are not tested included: their windows are shown, and are no evidence.

    Counts of a window with too few records go into the next one that there is, until there are enough; those of the newest
    windows wait.

    Args:
        watches: the features.
        windows: those whose end the watermark has passed, in any order, one of each number.
        mean_windows: so many windows, in the mean, until any feature's first false ticket.
        memo: what was judged in an earlier call with these watches; afterwards, what was judged in this one. So a revision costs
            the judging of one window, or of two.
    """
    ordered = sorted(windows, key=lambda window: window.number)
    limit = threshold(mean_windows, max(1, sum(bool(watch.tested) for watch in watches)))
    known: Memo = {} if memo is None else dict(memo)
    used: Memo = {}
    found = tuple(_chain(watch.name, limit, _weights(watch), _seen(watch, ordered, known, used)) for watch in watches)
    if memo is not None:
        memo.clear()
        memo.update(used)
    return found


def losses(metric: str, windows: Sequence[Loss], allowed: float, mean_windows: float) -> Chain:
    """Return the chain of a labelled risk: one observation a window, however many records it has (see `risk`).

    Args:
        metric: the name of the risk.
        windows: in any order, one of each number; windows without records say nothing.
        allowed: the mean loss that is no deterioration.
        mean_windows: so many windows, in the mean, until a false ticket.
    """
    ordered = sorted((window for window in windows if window.n), key=lambda window: window.number)
    factors = risk.factors((window.loss for window in ordered), allowed)
    seen = (
        _Seen(Step(number, n, loss, allowed, 0.0, loss <= allowed), np.array([factor]))
        for (number, n, loss), factor in zip(ordered, factors, strict=True)
    )
    return _chain(metric, threshold(mean_windows, 1), np.ones(1), seen)


def _seen(watch: Watch, windows: Iterable[Window], known: Memo, used: Memo) -> Iterator[_Seen]:
    """Yield each window, judged once it has records enough, with those that were carried into it."""
    zero = np.zeros(len(watch.labels), np.int64)
    counts, sums = zero, zero
    for window in windows:
        counts, sums = counts + window.counts[watch.cells], sums + window.sums[watch.cells]
        n = int(counts.sum())
        if n < watch.rows_min:
            yield _Seen(Step(window.number, n, None, None, 0.0, False), None)
            continue
        key = (watch.name, counts.tobytes(), sums.tobytes())
        judged = used[key] = known[key] if key in known else judge(watch, counts, sums)
        counts, sums, leading = zero, zero, judged.leading
        statistic, usual = (judged.psi, None) if leading is None else (leading.psi, leading.usual)
        yield _Seen(Step(window.number, n, statistic, usual, 0.0, judged.calm, judged), _e_values(watch, judged))


def _e_values(watch: Watch, judged: Judged) -> Floats | None:
    """Return the e-value of each step of each statistic's ladder; nan of a statistic that could not be judged."""
    of = {part.name: part.e for part in judged.parts}
    parts = [of.get(each.name, np.full(len(each.ladder.weights), np.nan)) for each in watch.tested if each.ladder]
    return np.concatenate(parts) if of else None


def _weights(watch: Watch) -> Floats:
    tested = [each.ladder.weights / len(watch.tested) for each in watch.tested if each.ladder]
    return np.concatenate(tested) if tested else np.zeros(1)


class _Detectors:
    """Shiryaev and Roberts' detectors, one an e-value, and their weighted mean, which is one, too (see `ladder`)."""

    def __init__(self, weights: Floats) -> None:
        self._weights = weights
        self.restart()

    def restart(self) -> None:
        """Begin from 0."""
        self._found = np.zeros(len(self._weights))
        self._runs = np.zeros(len(self._weights))
        self._since = np.zeros(len(self._weights), np.int64)

    def add(self, e_values: Floats, since: int) -> None:
        """Take the e-values of windows from `since` on; nan leaves a detector as it is."""
        known = ~np.isnan(e_values)
        e = e_values[known]
        self._found[known] = np.minimum(e * (self._found[known] + 1.0), EVIDENCE_MAX)
        begins = self._runs[known] <= 1.0
        self._since[known] = np.where(begins, since, self._since[known])
        self._runs[known] = np.minimum(np.maximum(self._runs[known], 1.0) * e, EVIDENCE_MAX)

    @property
    def evidence(self) -> float:
        """Of all together."""
        return float(self._found @ self._weights)

    @property
    def since(self) -> int:
        """Where the run begins of the detector that has most: where the product of its e-values was last at most 1, as in Page's
        CUSUM, which makes it the likeliest begin.
        """
        return int(self._since[np.argmax(self._found * self._weights)])


def _chain(metric: str, limit: float, weights: Floats, seen: Iterable[_Seen]) -> Chain:
    """Return the steps with their evidence, and the episodes."""
    detectors, steps, episodes = _Detectors(weights), list[Step](), list[Episode]()
    carried: int | None = None  # index of the first window whose records were carried on
    first, opened, calm = 0, -1, 0  # indexes; `opened` is -1 while nothing is open
    for at, (step, e_values) in enumerate(seen):
        if e_values is not None:
            detectors.add(e_values, at if carried is None else carried)
        steps.append(step._replace(evidence=detectors.evidence))
        if step.statistic is None:
            carried = at if carried is None and step.n else carried
            continue
        carried = None
        if opened < 0 and detectors.evidence >= limit:
            first, opened, calm = detectors.since, at, 0
        elif opened >= 0:
            calm = calm + 1 if step.calm else 0
            if calm == CLOSE_AFTER:
                episodes.append(
                    Episode(steps[first].window, steps[opened].window, step.window, tuple(steps[first : at + 1]))
                )
                opened = -1
                detectors.restart()
    if opened >= 0:
        episodes.append(Episode(steps[first].window, steps[opened].window, None, tuple(steps[first:])))
    return Chain(metric, limit, tuple(steps), tuple(episodes))
