"""Follow partitions as a plain read_committed reader does, outside any group: what it has seen cannot be taken back."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, TopicPartition

from streams.config import Client
from streams.errors import Unreachable
from streams.kafka.made import made
from streams.kafka.message import headers_of
from streams.records import NO_APPEND_TIME, TP, Headers

CHUNK = 10_000


class Record(NamedTuple):
    """One record, as a consumer got it."""

    tp: TP
    offset: int
    append_ms: int
    """Broker's append time in milliseconds, or NO_APPEND_TIME."""
    key: bytes | None
    value: bytes | None
    headers: Headers | None


class Tail:
    """Reads some partitions from their first record on, for as long as it is asked. All calls are made by one thread."""

    def __init__(self, client: Client, tps: Sequence[TP]) -> None:
        """Raises: ConfigError if the client refuses its settings."""
        settings: dict[str, Any] = {
            "fetch.wait.max.ms": 50,
            "fetch.queue.backoff.ms": 20,
            **client,
            "group.id": "streams.tail",  # the client wants one; nothing joins it and nothing is committed
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
        }
        self._consumer = made(Consumer, settings)
        self._consumer.assign([TopicPartition(tp.topic, tp.partition, 0) for tp in tps])

    def read(self, seconds: float, limit: int = CHUNK) -> list[Record]:
        """Return what came within some seconds, at most so many records. A broker that is away for a moment is an empty answer.

        Raises: Unreachable for an error that the client does not wait out.
        """
        records = []
        messages = self._consumer.consume(limit, seconds)
        for message, headers in zip(messages, headers_of(messages), strict=True):
            error = message.error()
            if error is not None:
                if error.fatal():
                    raise Unreachable(f"Reading answers: {error.str()}.")
                continue
            kind, stamp = message.timestamp()
            records.append(
                Record(
                    TP(message.topic() or "", message.partition() or 0),
                    message.offset() or 0,
                    stamp if kind == TIMESTAMP_LOG_APPEND_TIME else NO_APPEND_TIME,
                    message.key(),
                    message.value(),
                    headers,
                )
            )
        return records

    def has_reached(self, ends: Mapping[TP, int]) -> bool:
        """Return whether everything below these offsets, markers of transactions included, was read."""
        left = {tp: end for tp, end in ends.items() if end > 0}
        positions = self._consumer.position([TopicPartition(tp.topic, tp.partition) for tp in left])
        return all(at.offset >= left[TP(at.topic, at.partition)] for at in positions)

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
