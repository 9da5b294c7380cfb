"""What the monitor's pure functions must know of the application."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from streams.avro.encode import Encoder
from streams.monitor.windows import Rules


class App(NamedTuple):
    """What the pure functions must know; everything here is fixed while a worker runs."""

    group: str
    results: str
    """The topic of predictions."""
    labels: str
    """The topic of what came true."""
    parts: str
    """The topic that windows are published to."""
    dlq: Mapping[str, str]
    """Dead-letter topic of the topic of labels."""
    dlq_bytes: Mapping[str, int]
    """The largest record that it takes, by its name."""
    topic_ids: Mapping[str, bytes]
    """16-byte id of each topic that is read."""
    changelog_id: bytes
    partitions: int
    partition_of: Callable[[bytes, int], int]
    salt: bytes
    key_bytes: int
    rules: Rules
    truth: str
    """The field of a label that says what came true."""
    threshold: float
    """A prediction that does not say what was picked is read as the positive class from this score on."""
    tombstones: bool
    """A label's key is the identity, so that a record without a value can withdraw it."""
    part: Encoder
    part_prefix: bytes
