"""What tickets need to know of a window: small, and it adds up. Room: pure.

A window of a model of two classes keeps every score; of that nothing is needed here. So each part is summarised when it comes, and
forgotten: the memory is some bytes a cell of what is published, however many scores that has.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from streams.monitor.features import CELL, HASH_BYTES, REQUESTS, cell_of
from streams.monitor.fixed_point import real
from streams.monitor.merging import Following, Part, rows_of
from streams.monitor.performance.confusion import confusion
from streams.monitor.performance.probability import brier
from streams.monitor.performance.report import believed, matrix_of, multiset_of
from streams.monitor.state import Subject, is_tally
from streams.monitor.tasks import Binary, Multiclass, Row, Task
from streams.monitor.windows import WINDOW_BYTES, Rules, parse_window
from streams.records import Ints


class Seen(NamedTuple):
    """What the model saw, counted against one reference; cells without any are left out."""

    cell: Ints
    n: Ints
    total: Ints


class Losses(NamedTuple):
    """How right some predictions were."""

    predictions: int = 0
    labelled: int = 0
    judged: int = 0
    """Those with a label; or all, where no label means something."""
    wrong: int = 0
    """Of these, how many."""
    known: int = 0
    """Of these, how many have probabilities to compare with: where classes are many, what no label came for has none."""
    brier: float = 0.0
    """The sum of the squared differences of those, each from 0 to 1."""


def total(parts: Iterable[Losses]) -> Losses:
    """Return what some parts or windows come to together; there is at least one."""
    predictions, labelled, judged, wrong, known, brier = zip(*parts, strict=True)
    return Losses(sum(predictions), sum(labelled), sum(judged), sum(wrong), sum(known), math.fsum(brier))


class Piece(NamedTuple):
    """One part of a window, summarised: all of it adds up."""

    seen: Mapping[bytes, Seen]
    """By the first bytes of the reference."""
    losses: Losses


class Summary(NamedTuple):
    """One window of one model version."""

    number: int
    revision: int
    """How often its parts were published, in all."""
    seen: Mapping[bytes, Seen]
    """By the first bytes of the reference."""
    losses: Losses


class Published(NamedTuple):
    """Everything that is published, summarised."""

    subjects: Mapping[Subject, list[Summary]]
    """Of each its windows, in order."""
    tally: Mapping[str, int]
    watermarks: Mapping[int, int]
    behind: int | None = None
    """Begin of the oldest window of which more was seen than is published."""


def piece(rows: Mapping[bytes, Row], task: Task, absence: bytes | None) -> Piece:
    """Return what a part comes to.

    Args:
        rows: by the key within its window.
        task: the model's.
        absence: the class that no label stands for; None: it stands for nothing.
    """
    found: dict[bytes, list[tuple[int, int, int]]] = {}
    for key, row in rows.items():
        if key[:1] == CELL:
            found.setdefault(key[1 : 1 + HASH_BYTES], []).append((cell_of(key), *row))  # type: ignore[arg-type]  # of two
        elif key[:1] == REQUESTS:
            found.setdefault(key[1 : 1 + HASH_BYTES], [])
    seen = {which: Seen(*np.array(cells, np.int64).reshape(-1, 3).T) for which, cells in found.items()}
    return Piece(seen, _losses(rows, task, absence))


def summary(number: int, revision: int, pieces: Sequence[Piece]) -> Summary:
    """Return what a window's pieces come to; there is at least one."""
    found: dict[bytes, list[Seen]] = {}
    for each in pieces:
        for which, seen in each.seen.items():
            found.setdefault(which, []).append(seen)
    return Summary(
        number,
        revision,
        {which: mine[0] if len(mine) == 1 else _together(mine) for which, mine in found.items()},
        total(each.losses for each in pieces),
    )


def _together(parts: Sequence[Seen]) -> Seen:
    cell, n, total = (np.concatenate(column) for column in zip(*parts, strict=True))
    cells, place = np.unique(cell, return_inverse=True)
    counts, sums = np.zeros(len(cells), np.int64), np.zeros(len(cells), np.int64)
    np.add.at(counts, place.ravel(), n)
    np.add.at(sums, place.ravel(), total)
    return Seen(cells, counts, sums)


def _losses(rows: Mapping[bytes, Row], task: Task, absence: bytes | None) -> Losses:
    if isinstance(task, Binary):
        counts = multiset_of(rows)
        predictions, labelled = counts.predictions, counts.labelled
        if absence is not None:
            counts = believed(counts, task, absence)
        matrix, judged, mean = confusion(counts), counts.labelled, brier(counts).value
        return Losses(predictions, labelled, judged, judged - int(np.trace(matrix)), judged, (mean or 0.0) * judged)
    if isinstance(task, Multiclass):
        matrix, unlabelled = matrix_of(rows, len(task.classes))
        labelled = int(matrix.sum())
        predictions = labelled + int(unlabelled.sum())
        n, _, squares = rows.get(b"p", (0, 0, 0))
        if absence is not None:
            matrix[:, task.classes.index(absence)] += unlabelled
        judged = int(matrix.sum())
        return Losses(predictions, labelled, judged, judged - int(np.trace(matrix)), n, real(squares) / 2)
    waiting, labelled, *_ = rows.get(b"r", (0, 0))
    return Losses(waiting + labelled, labelled)


class Summaries:
    """What is published, followed and summarised; a part or a window at a time, so that nobody waits for it long."""

    def __init__(self, rules: Rules, absence: bytes | None) -> None:
        self._following = Following(lambda rows: piece(rows_of(rows), rules.task, absence), rules)
        self._waiting: deque[tuple[bytes, Part | None]] = deque()
        self._stale: dict[bytes, None] = {}
        self._known: dict[bytes, Summary] = {}

    def take(self, key: bytes, part: Part | None) -> None:
        """Go on with a record, in `refresh`; None takes the part away."""
        self._waiting.append((key, part))

    @property
    def waiting(self) -> int:
        """How many records wait for `refresh`."""
        return len(self._waiting)

    def refresh(self) -> bool:
        """Go on with the next record, or summarise the window that changed first; False if there is nothing to do.

        Raises: ValueError for a record that cannot be read: it is passed over.
        """
        if self._waiting:
            key, part = self._waiting.popleft()
            try:
                self._following.take(key, part)
            except ValueError as error:
                raise ValueError(f"the part with the key {key.hex()}: {error}") from None
            if not is_tally(key):
                self._stale[key[:WINDOW_BYTES]] = None
            return True
        if not self._stale:
            return False
        window = next(iter(self._stale))
        del self._stale[window]
        if not self._following.is_whole(window):
            return True  # the rest of it comes, and then it is looked at again
        pieces = self._following.kept(window)
        if pieces:
            number = parse_window(window)[0].number
            self._known[window] = summary(number, self._following.revision(window), pieces)
        else:
            self._known.pop(window, None)
        return True

    def published(self) -> Published:
        """Return what is known by now."""
        subjects: dict[Subject, list[Summary]] = {}
        for window, known in sorted(self._known.items()):
            subject = self._following.name(window)
            if subject is not None:
                subjects.setdefault(subject, []).append(known)
        ordered = dict(sorted(subjects.items(), key=lambda item: str(item[0])))
        return Published(ordered, self._following.tally(), self._following.watermarks(), self._following.behind())
