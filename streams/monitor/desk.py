"""Where tickets are written: what the monitor must know of it. Room: pure."""

from collections.abc import Mapping
from typing import Protocol

from streams.monitor.ticket import Ticket

HOME = 0
"""The partition whose owner writes the tickets of all, in one transaction with that partition's offsets: so there is one who does,
and what one who was replaced writes is not committed.
"""


class Desk(Protocol):
    """Reads what all partitions publish, and says which tickets are due."""

    def open(self) -> None:
        """Begin: the home partition is owned now."""

    def close(self) -> None:
        """End: it is not owned any more."""

    def ready(self) -> bool:
        """Read on, and return whether there is anything new to decide about."""

    def due(self, existing: Mapping[str, Ticket]) -> list[Ticket]:
        """Return the tickets to be written now, of all that there are by id."""
