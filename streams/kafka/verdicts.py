"""What an error of the client means: for a transaction, and for the worker that reads.

Sources: librdkafka INTRODUCTION.md (transactional producer API errors); KIP-447; confluent-kafka `docs/index.rst`
(retriable / txn_requires_abort / fatal; anything unflagged counts as fatal).
"""

from enum import Enum
from typing import Protocol

from confluent_kafka import KafkaError

from streams.errors import SetupError, SlotTaken, Stop


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

    def str(self) -> str:
        """Return the error in words."""

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


FENCED_INSTANCE = frozenset({KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL})
"""A consumer whose instance id was taken reports _FATAL with `fatal()` False: classify by code."""
MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
"""A topic may be gone, or the broker that said so has just started: somebody must look."""
DENIED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})
FINAL = FENCED_INSTANCE | DENIED
"""Errors of a consumer that no further poll will cure; every other one is waited out."""


def stop_for(error: Flags, topic: str | None, group: str, instance: str, *, lost_session: bool) -> Stop:
    """Return why a worker stops after a consumer's error (about `topic`, if it is about one).

    `lost_session`: it had been silent for longer than its session; then it met its own id in the group, and nobody
    but itself has fenced it.
    """
    code, words = error.code(), error.str()
    if code in FENCED_INSTANCE and lost_session:
        return Stop(f"this worker was silent for longer than its session, and lost its place ({words}); restart")
    if code in FENCED_INSTANCE:
        return SlotTaken(
            f"instance id {instance} of group {group} was taken by another live worker ({words}). "
            "Nothing is lost; this worker stops. Give each its own --instance"
        )
    if code in DENIED:
        return SetupError(f"the broker denies it: {words}. Grant Read on topic {topic or ''} and on group {group}")
    return Stop(f"the consumer failed: {words}")
