"""What the monitor's pure functions must know of the application."""

from dataclasses import dataclass

from streams.avro.encode import Encoder
from streams.avro.read import Reader
from streams.avro.write import Writer
from streams.monitor.windows import Rules
from streams.pipeline.app import Reads


@dataclass(frozen=True, kw_only=True)
class App(Reads):
    """What the pure functions must know; everything here is fixed while a worker runs."""

    results: str
    """The topic of predictions."""
    labels: str
    """The topic of what came true."""
    features: str
    """The topic of what models saw."""
    parts: str
    """The topic that windows are published to."""
    changelog: str
    """The topic of the state."""
    rules: Rules
    truth: str
    """The field of a label that says what came true."""
    threshold: float
    """A prediction that does not say what was picked is read as the positive class from this score on."""
    tombstones: bool
    """A label's key is the identity, so that a record without a value can withdraw it."""
    tickets: str
    """The topic of tickets."""
    ticket: Writer
    ticket_reader: Reader
    part: Encoder
    part_prefix: bytes
