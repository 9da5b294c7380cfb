"""What a transactional call's error means: committed, aborted, unknown, or a record that the broker refuses.

Sources: librdkafka INTRODUCTION.md (transactional producer API errors); KIP-447; confluent-kafka `docs/index.rst`
(retriable / txn_requires_abort / fatal; anything unflagged counts as fatal).
"""

from enum import Enum
from typing import Protocol

from confluent_kafka import KafkaError


class Verdict(Enum):
    """What to do after a failed call."""

    AGAIN = "again"
    """The same call again: it resumes what it was doing."""
    ABORT = "abort"
    """Abort; nothing of the transaction will ever be seen."""
    FENCED = "fenced"
    """Another producer with this transactional id is alive, or the broker gave up on this one. Outcome unknown."""
    UNKNOWN = "unknown"
    """The transaction may or may not be committed; only the log can tell."""


class Flags(Protocol):
    """The part of a KafkaError that decides."""

    def code(self) -> int:
        """Return the error's number."""

    def fatal(self) -> bool:
        """Return whether the client is unusable."""

    def retriable(self) -> bool:
        """Return whether the call may be made again."""

    def txn_requires_abort(self) -> bool:
        """Return whether the transaction must be aborted."""


FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})
BLAMES_RECORD = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG})
"""Delivery errors that name a record: trying the same step again cannot help."""
PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
"""What deliveries say that an abort swept away: consequences, never causes."""


def verdict(error: Flags) -> Verdict:
    """Return what a failed transactional call asks for. The order matters: fencing is fatal, too."""
    if error.code() in FENCED:
        return Verdict.FENCED
    if error.fatal():
        return Verdict.UNKNOWN
    if error.txn_requires_abort():
        return Verdict.ABORT
    if error.retriable():
        return Verdict.AGAIN
    return Verdict.UNKNOWN
