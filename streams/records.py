"""The values that travel: batches in, rows, steps, and how a transaction ended. Frozen; no I/O, no clock.

Columns are NumPy arrays with one entry a record of the batch, in the order in which the source returned them;
inside one topic-partition that is offset order.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Bools: TypeAlias = npt.NDArray[np.bool_]
Bytes8: TypeAlias = npt.NDArray[np.uint8]
Ints: TypeAlias = npt.NDArray[np.int64]
Words: TypeAlias = npt.NDArray[np.uint64]
Floats: TypeAlias = npt.NDArray[np.float64]
Headers: TypeAlias = list[tuple[str, bytes | None]]

NO_APPEND_TIME = -1
"""`append_ms` of a record whose timestamp was not set by the broker (CreateTime)."""
LIVE = "live"
"""The run id of ordinary traffic; a replay has its own."""


class TP(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Lease(NamedTuple):
    """Whose right to commit a batch carries: the assignment epoch, and the group metadata taken with the batch."""

    epoch: int
    group: Any


class Batch(NamedTuple):
    """Records as one `poll` returned them, in columns of the same length."""

    lease: Lease
    tps: tuple[TP, ...]
    tp: Ints
    """Index into `tps`."""
    offset: Ints
    append_ms: Ints
    """Broker's append time in milliseconds, or NO_APPEND_TIME."""
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers | None]

    @property
    def size(self) -> int:
        """How many records; a `__len__` would break `_replace`."""
        return len(self.values)


class Origin(NamedTuple):
    """Where a request lies: topic, the topic's id (16 bytes; it changes when a topic is recreated), partition, offset."""

    topic: str
    topic_id: bytes
    partition: int
    offset: int


class Detail(NamedTuple):
    """What a refusal says beyond its reason: the field, the value as text, the byte position in the datum."""

    field: str | None = None
    value: str | None = None
    position: int | None = None
    rule: str | None = None
    """What would have been allowed."""


class Block(NamedTuple):
    """Records to be produced to one topic, in columns; always to explicit partitions."""

    topic: str
    partitions: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers | None] | None = None
    """None: no record has any."""


Put: TypeAlias = tuple[bytes, bytes]
"""One change of a partition's state, (key, value), which the changelog repeats; an empty value takes the key away. A plain
tuple: a worker makes one for each answer."""


class Frame(NamedTuple):
    """What the changelog says was consumed of one source partition: up to, not including, `next_offset`."""

    topic_id: bytes
    next_offset: int
    log_id: bytes
    """Id of the changelog topic that the writer's state is a fold of: a worker that outlived it betrays itself."""


class Hold(NamedTuple):
    """A topic-partition that must wait, from this offset, and why."""

    offset: int
    reason: str
    schema_id: int


class Step(NamedTuple):
    """Everything one transaction does, decided before it begins.

    `puts` are by partition number: partition i of every lane shares one store and one changelog partition. The last
    puts of each partition are its frames. `next` is the next offset to read of each source partition.
    """

    lease: Lease
    emits: Sequence[Block]
    puts: Mapping[int, Sequence[Put]]
    next: Mapping[TP, int]
    counts: Mapping[str, int]
    """How many terminal records of each kind (SCORED or a reason's name), for logs and metrics."""
    letters: Mapping[str, int] = MappingProxyType({})
    """How many of these are dead letters, by reason."""
    fates: Mapping[str, int] = MappingProxyType({})
    """What became of results and labels, by source and fate: `labels.applied`; for metrics."""


class Outcome(Enum):
    """How a transaction ended; there is no fourth way."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


class Ended(NamedTuple):
    """The end of a transaction: its outcome, and, if committed, each changelog partition's last offset."""

    outcome: Outcome
    checkpoints: Mapping[int, int]
    error: str | None = None
    blames_record: bool = False
    """The broker refused a record by name (too large, invalid), so trying the same step again cannot help."""


class Checkpoint(NamedTuple):
    """How far a local store reflects its changelog partition: the log's topic id, and the last offset applied."""

    topic_id: bytes
    offset: int
