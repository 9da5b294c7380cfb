"""What a worker makes of what it reads: the protocol that the loop and recovery ask for. Room: pure."""

from collections.abc import Callable
from typing import Protocol

from streams.pipeline.app import Reads
from streams.pipeline.reading import Rows
from streams.reasons import Reason
from streams.records import TP, Detail, Lease, Step


class Fold(Protocol):
    """One step for each batch, decided from the batch and the state; everything else is the loop's."""

    @property
    def app(self) -> Reads:
        """What reading and recovery must know."""

    def begin(self, rows: Rows, after: Step | None) -> Callable[[], Step]:
        """Begin what becomes of some rows; return what decides the whole transaction. There is at least one row.

        `after` is a step that is on its way, and that the state does not have yet. What is returned is called when it has it, or
        never, if that step was aborted.
        """

    def refuse(self, at: TP, offset: int, reason: Reason, detail: Detail) -> bool:
        """Make the next `begin` refuse a record that cannot be answered: the broker said so, or workers die over it. False if
        it was refused before.
        """

    def committed(self, step: Step) -> None:
        """A step was committed, and the state has its changes."""

    def gap(self, tp: TP, committed: int, log_start: int, lease: Lease) -> Step:
        """Return the transaction that records that retention deleted what was not read yet."""

    def due(self, lease: Callable[[], Lease]) -> Step | None:
        """Return a transaction that is due although nothing was read, if there is one; `lease` gives it its lease."""

    def assigned(self, partitions: frozenset[int]) -> None:
        """These are owned now, and others may have changed them: what was remembered of the state is old."""
