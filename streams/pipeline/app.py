"""What the pure functions must know of the application."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streams.avro.encode import Encoder
from streams.records import Ints


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What reading, setting aside and recovery must know, whatever is made of the records; fixed while a worker runs."""

    group: str
    """The consumer group; for sentences."""
    topic_ids: Mapping[str, bytes]
    """16-byte id of each topic that is read."""
    dlq: Mapping[str, str]
    """Dead-letter topic of each topic that has one."""
    dlq_bytes: Mapping[str, int]
    """The largest record that each dead-letter topic (by name) takes."""
    changelog_id: bytes
    """16-byte id of the changelog topic, as it was when this worker began."""
    partitions: int
    """The number of partitions of every topic that is read."""
    partitions_of: Callable[[Sequence[bytes], int], Ints]
    """(keys, partitions) to the partition of each key: murmur2, as Java's default partitioner has it."""
    salt: bytes
    """16 bytes that the application's identities are made with."""
    key_bytes: int
    """The longest record key, request id and tenant."""


@dataclass(frozen=True, kw_only=True)
class Watching:
    """How what the model sees is counted."""

    topic: str
    """The topic that it is published to."""
    grain_ms: int
    past_ms: int
    """An event may have happened so long before its request was appended,"""
    future_ms: int
    """and so long after; else its time is not believed."""
    counts: Encoder
    prefix: bytes


@dataclass(frozen=True, kw_only=True)
class App(Reads):
    """What the scorer's pure functions must know."""

    results: str
    outcomes: str
    window_ms: int
    answer_bytes: int
    result: Encoder
    result_prefix: bytes
    outcome: Encoder
    outcome_prefix: bytes
    watching: Watching | None = None
    """None: nobody counts what the model sees."""
