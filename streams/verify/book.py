"""What was read from the logs, in columns. Room: values."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from streams.records import TP, Ints, Words

Source: TypeAlias = tuple[str, bytes, int]
"""A source partition in one of its topic's lives: topic, topic id, partition."""


class Partition(NamedTuple):
    """One source partition: what is claimed of it, and the requests that a read_committed reader sees."""

    tp: TP
    topic_id: bytes
    log_start: int
    committed: int | None
    end: int
    """Read_uncommitted, taken after everything else was read."""
    requests: Ints
    """Offsets of the records seen in [log start, committed), at rest in [log start, end); ascending."""
    committed_after: int | None
    """The committed offset once more, after everything else was read."""

    @property
    def source(self) -> Source:
        """The partition in this life of its topic."""
        return self.tp.topic, self.topic_id, self.tp.partition


class Scores(NamedTuple):
    """What the results say beyond where they lie; one entry a result."""

    row: Ints
    """Rows of `Answers` that are results, ascending."""
    identity: Words
    """Shape (results, 2): a digest of tenant, request id and run."""
    append_ms: Ints
    digest: Words
    """Of the whole value."""


class Repeats(NamedTuple):
    """What outcomes that point to a first answer say of it; one entry an outcome."""

    row: Ints
    """Rows of `Answers` that are a DUPLICATE or a CONFLICT, ascending."""
    identity: Words
    """As in `Scores`."""
    tps: tuple[TP, ...]
    first: Ints
    """Index into `tps`: where the request lies that was answered first; -1 where none is named."""
    first_offset: Ints
    digest: Words
    """Of the answer that a DUPLICATE carries; 0 where none is carried."""


class Answers(NamedTuple):
    """Terminal records in columns: where each lies, and the request that it names. GAP and START are none."""

    tps: tuple[TP, ...]
    at: Ints
    """Index into `tps`."""
    at_offset: Ints
    sources: tuple[Source, ...]
    source: Ints
    """Index into `sources`."""
    offset: Ints
    scores: Scores
    repeats: Repeats


class Range(NamedTuple):
    """Offsets of a source partition from `begin` (inclusive) to `end` (exclusive): what a GAP covers."""

    begin: int
    end: int


class Book(NamedTuple):
    """Everything that was read."""

    partitions: Sequence[Partition]
    answers: Answers
    kinds: Mapping[str, int]
    """How many terminal records of each kind were read."""
    starts: Mapping[Source, int]
    gaps: Mapping[Source, Sequence[Range]]
    cut: frozenset[TP]
    """Answer partitions of which retention has removed records."""
    results: str
    outcomes: str
    letters: Mapping[str, str]
    """Dead-letter topic of each request topic."""
    unreadable: Sequence[str]
    """Coordinates, and what is wrong."""
    hidden: Mapping[TP, Range] | None = None
    """At rest: of each log with an open transaction, the offsets that it keeps from readers. None: workers may run."""
