"""The protocols that the loop asks for; `kafka/`, `state/`, `avro/` and `models/` fulfil them, and so do test twins."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from streams.contracts import Contract, Decoded, Pair, Snapshot
from streams.reasons import Reason
from streams.records import TP, Batch, Checkpoint, Detail, Ended, Floats, Hold, Ints, Lease, Outcome, Put, Step


class Assignment(NamedTuple):
    """The partitions that this worker owns, and the epoch in which it was given them."""

    epoch: int
    tps: frozenset[TP]
    settled: bool = True
    """False between a revocation and what the group assigns next: nothing is owned, but not because nothing is left."""


class Source(Protocol):
    """Where requests come from. Calls are made one after the other."""

    def poll(self, limit: int, age_ms: int) -> Batch | Assignment:
        """Return the next records, at most `limit`, waiting at most about `age_ms` after the first.

        Returns an Assignment instead if ownership changed during the call: every record that came with it was
        dropped, nothing is fetched, and nothing may be committed before `start`.
        An empty batch is an answer. Raises: Stop.
        """

    def committed(self, tps: frozenset[TP]) -> Mapping[TP, int | None]:
        """Return the group's committed offsets, waiting for pending transactions; None where there is none."""

    def bounds(self, tps: frozenset[TP]) -> Mapping[TP, tuple[int, int]]:
        """Return (log start, end) of each partition."""

    def lease(self) -> Lease:
        """Return a lease for a transaction without records, valid for the assignment last returned."""

    def topic_ids(self) -> Mapping[str, bytes]:
        """Return the 16-byte id of every topic of the application."""

    def start(self, positions: Mapping[TP, int]) -> None:
        """Start reading the assignment last returned, each partition from its offset."""

    def resume(self, positions: Mapping[TP, int]) -> None:
        """Go on reading these partitions, paused or not, at these offsets; records already prefetched are dropped."""

    def pause(self, tps: frozenset[TP]) -> None:
        """Stop reading these partitions; the others go on."""

    def keep_alive(self) -> bool:
        """Poll while nothing is fetched; False if ownership changed."""

    def progress(self) -> Mapping[TP, tuple[int, int]]:
        """Return (next offset to read, end) of each partition that is read, as far as known here; nobody is asked.

        Offsets that hold no request for us (markers, what was aborted) are behind the next offset as soon as they are met.
        """

    def close(self) -> None:
        """Hand the partitions over and leave the group."""


class Sink(Protocol):
    """Where a step goes, whole or not at all."""

    renewals: int
    """How often the producer was replaced."""

    def transact(self, step: Step, handed_over: Callable[[], None] = lambda: None, *, beside: bool = False) -> Ended:
        """Do the step in one transaction. Never raises for what the broker answers: the outcome says it.

        `handed_over` is called when everything is, if it comes to that; with `beside` another thread waits for the end meanwhile.
        """


class Changelog(Protocol):
    """The log that a partition's state is a fold of."""

    def topic_id(self) -> bytes:
        """Return the changelog topic's 16-byte id."""

    def bounds(self, partitions: Sequence[int]) -> Mapping[int, tuple[int, int]]:
        """Return (log start, read_uncommitted end) of each partition."""

    def read(self, partition: int, begin: int, end: int) -> Iterator[tuple[Sequence[Put], int]]:
        """Yield committed changes, in log order, and the position behind them, until the position reaches `end`.

        An empty chunk means that a moment has passed: an open transaction may have to end first.
        """


class Store(Protocol):
    """The state of each partition that this worker owns."""

    def open(self, partition: int) -> Checkpoint | None:
        """Open (or create) a partition's state; return how far it reflects the changelog, or None if it is empty."""

    def get(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return each key's value, or None."""

    def scan(self, partition: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield every key that begins with the prefix, in order, and its value; no change may be applied meanwhile."""

    def apply(self, partition: int, puts: Sequence[Put], checkpoint: Checkpoint) -> None:
        """Apply changes and the checkpoint in one atomic write; later puts of the same key win, and an empty value takes the
        key away.
        """

    def forget(self, partition: int) -> None:
        """Delete a partition's state."""

    def close(self, partition: int) -> None:
        """Let go of a partition, keeping its state for when it returns."""


class Contracts(Protocol):
    """What the registry says of schema ids, remembered; and the models' accepted contracts."""

    def snapshot(self) -> Snapshot:
        """Return everything that is known now, without asking anybody."""

    @property
    def trouble(self) -> str | None:
        """Why the last question had no answer; None if it had one."""

    def resolve(self, wanted: Collection[Pair]) -> frozenset[Pair]:
        """Ask for some (topic, schema id)s, once and briefly; return those that the snapshot now knows."""


class Refusals(NamedTuple):
    """Rows that a model's features refuse: row index (into the decoded rows asked for) to reason and detail."""

    rows: Mapping[int, tuple[Reason, Detail]]


class Answer(NamedTuple):
    """What scores say, in the fields of a result; None is a field that the model's task does not have."""

    score: Floats | None = None
    """The probability of the positive class, shape (rows,)."""
    scores: Floats | None = None
    """One probability a class, shape (rows, classes)."""
    label: Sequence[bytes] | None = None
    """The class that is picked, in UTF-8."""
    value: Floats | None = None
    """The prediction, shape (rows,)."""


class Counts(NamedTuple):
    """How many values of a matrix lie in which cells of a reference; what has none is left out. Sorted by window and cell."""

    window: Ints
    """Index of the window."""
    cell: Ints
    n: Ints
    total: Ints
    """Sum of the values' positions in the cell, in whole parts of it; 0 of a category."""


class Cells(Protocol):
    """The cells in which the training set was counted, and in which what the model sees is counted, too."""

    reference: bytes
    """SHA-256 of the reference, 32 bytes."""

    def count(self, matrix: Floats, window: Ints, windows: int) -> Counts:
        """Count the values of a matrix (rows, features); `window` says which of so many windows each row is in."""

    def refused(self, field: str, reason: Reason) -> Ints:
        """Return the cells that a request counts in which was refused because this field is missing, or of no known category."""


class Model(Protocol):
    """One loaded model, checked against its golden rows."""

    name: str
    version: str
    digest: bytes
    """SHA-256 of the package, 32 bytes."""
    accepts: tuple[Contract, ...]
    drop_extra_fields: bool
    row_deterministic: bool
    cells: Cells | None
    """None: the package has no reference, so nobody can say what has changed since it was trained."""

    def features(self, decoded: Decoded, accepted: Contract, rows: Ints) -> tuple[Floats, Refusals]:
        """Return the matrix (len(rows), features) of the given rows, and which of them the model refuses."""

    def score(self, matrix: Floats) -> Floats:
        """Return what the model says of each row: one number, shape (rows,), or one a class, shape (rows, classes)."""

    def answer(self, scores: Floats) -> Answer:
        """Return what some rows of scores, all of them finite, say."""


class Stage(StrEnum):
    """What a worker's time goes into; the stages of one loop follow each other and leave no gap."""

    POLL = "poll"
    """Waiting for requests and receiving them, and whatever lies between two turns."""
    RESOLVE = "resolve"
    """Asking the registry again for what held partitions wait for."""
    READ = "read"
    LOOKUP = "lookup"
    PLAN = "plan"
    SCORE = "score"
    """Scoring; of what another thread scored, what was still to be waited for."""
    SETTLE = "settle"
    PRODUCE = "produce"
    """Handing a transaction's records over to the client."""
    COMMIT = "commit"
    """Waiting for the transaction's end; what is taken ahead meanwhile counts for its own stages."""
    APPLY = "apply"
    REWIND = "rewind"
    """Going back to the first request of an aborted transaction, the wait before the next attempt included."""
    RECOVER = "recover"


class Observer:
    """Told what a worker does: a few calls a turn, none a record. It is quick, never raises, and decides nothing.

    This one does nothing with it: the observer of a worker that nobody watches.
    """

    def loaded(self, model: Model) -> None:
        """This model answers."""

    def passed(self, stage: Stage) -> None:
        """A stage has ended; the time since the last call was spent in it."""

    def assigned(self, assignment: Assignment) -> None:
        """Ownership changed; nothing of it is restored yet."""

    def restoring(self, partition: int, position: int, end: int) -> None:
        """The state of a partition reflects its changelog below `position`; at `end` it is restored."""

    def started(self) -> None:
        """The whole assignment is restored, and its requests are read."""

    def transacted(self, step: Step, outcome: Outcome, batch: Batch | None = None) -> None:
        """A transaction ended; `batch` holds what the step was made of, None where nothing was read."""

    def waiting(self, windows: int) -> None:
        """So many of the monitor's windows have changed since they were published."""

    def turned(self, limit: int, held: Mapping[TP, Hold]) -> None:
        """A turn ended: the next batch has at most `limit` records, and `held` are the partitions that wait."""


class Edges(NamedTuple):
    """The ports that a worker acts through."""

    source: Source
    sink: Sink
    store: Store
    changelog: Changelog
    contracts: Contracts
    observer: Observer = Observer()
