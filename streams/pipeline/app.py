"""What the pure functions must know of the application."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from streams.avro.encode import Encoder


class Reads(Protocol):
    """What reading and recovery must know of an application, whatever is made of the records; fixed while a worker runs."""

    @property
    def group(self) -> str:
        """The consumer group; for sentences."""

    @property
    def topic_ids(self) -> Mapping[str, bytes]:
        """16-byte id of each topic that is read."""

    @property
    def changelog_id(self) -> bytes:
        """16-byte id of the changelog topic, as it was when this worker began."""

    @property
    def partitions(self) -> int:
        """The number of partitions of every topic that is read."""

    @property
    def partition_of(self) -> Callable[[bytes, int], int]:
        """(key, partitions) to partition: murmur2, as Java's default partitioner has it."""

    @property
    def salt(self) -> bytes:
        """16 bytes that the application's identities are made with."""

    @property
    def key_bytes(self) -> int:
        """The longest record key, request id and tenant."""


class App(NamedTuple):
    """What the pure functions must know of the application; everything here is fixed while a worker runs."""

    group: str
    """The consumer group; for sentences."""
    results: str
    outcomes: str
    dlq: Mapping[str, str]
    """Dead-letter topic of each request topic."""
    dlq_bytes: Mapping[str, int]
    """The largest record that each dead-letter topic (by name) takes."""
    topic_ids: Mapping[str, bytes]
    """16-byte id of each request topic."""
    changelog_id: bytes
    """16-byte id of the changelog topic, as it was when this worker began."""
    partitions: int
    partition_of: Callable[[bytes, int], int]
    """(key, partitions) to partition: murmur2, as Java's default partitioner has it."""
    salt: bytes
    window_ms: int
    answer_bytes: int
    key_bytes: int
    result: Encoder
    result_prefix: bytes
    outcome: Encoder
    outcome_prefix: bytes
