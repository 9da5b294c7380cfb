"""Read given ranges of partitions once, in bulk, outside any group: for tools that judge what lies in the log."""

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, Literal, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.config import Client
from streams.errors import SetupError, Unreachable
from streams.kafka.made import made
from streams.kafka.message import headers_of
from streams.kafka.verdicts import DENIED
from streams.packs import unpack
from streams.records import TP, Headers, Put

CHUNK = 10_000
STALL_S = 60.0
"""Without progress for this long, reading is given up: an open transaction hides what is behind it."""


PACKS = 500
"""Packs of a changelog that are read at once: some 32 MB at most."""


class Slice(NamedTuple):
    """Some consecutive records of one partition, in columns of the same length."""

    tp: TP
    offset: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers | None]


def scan(
    client: Client,
    ranges: Mapping[TP, tuple[int, int]],
    *,
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
    progress: Callable[[int], None] | None = None,
    stall_s: float = STALL_S,
    chunk: int = CHUNK,
) -> Iterator[Slice]:
    """Yield the records of each range, from its first offset (inclusive) to its last (exclusive), in log order.

    Offsets that hold no record (markers of transactions, aborted records, what retention deleted meanwhile) are
    passed over. `progress` is told the number of records read so far; `chunk` is how many are held at once.
    Raises: ConfigError if the client refuses its settings; SetupError if the broker denies it; Unreachable if the broker
    fails, or nothing moves for `stall_s` seconds.
    """
    left = {tp: end for tp, (begin, end) in ranges.items() if begin < end}
    if not left:
        return
    consumer = _consumer(client, isolation)
    try:
        consumer.assign([TopicPartition(tp.topic, tp.partition, ranges[tp][0]) for tp in left])
        done, moved = 0, time.monotonic()
        while left:
            messages = consumer.consume(chunk, 0.25)
            for part in _slices(messages, left):
                done += len(part.offset)
                yield part
            ended = _ended(consumer, left)
            if ended:
                consumer.incremental_unassign([TopicPartition(tp.topic, tp.partition) for tp in ended])
                for tp in ended:
                    del left[tp]
            if messages or ended:
                moved = time.monotonic()
                if progress is not None:
                    progress(done)
            elif time.monotonic() > moved + stall_s:
                raise Unreachable(
                    f"Reading {', '.join(map(str, sorted(left)))} has not moved for {stall_s:.0f} s. Is the broker up, "
                    "or does a transaction hang there? (kafka-transactions.sh find-hanging)"
                )
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        said = f"Reading from {client['bootstrap.servers']}: {cause.str()} ({cause.name()})."
        if cause.code() in DENIED:
            raise SetupError(f"{said} Grant Read to this user.") from None
        raise Unreachable(f"{said} Is every broker up?") from None
    finally:
        consumer.close()


def scan_changes(client: Client, ranges: Mapping[TP, tuple[int, int]]) -> Iterator[tuple[TP, Iterator[Put]]]:
    """Yield the committed changes of ranges of a changelog, in log order; see `scan`."""
    for part in scan(client, ranges, chunk=PACKS):
        yield part.tp, chain.from_iterable(unpack(value or b"") for value in part.values)


def _consumer(client: Client, isolation: str) -> Consumer:
    settings: dict[str, Any] = {
        "fetch.wait.max.ms": 100,
        "fetch.queue.backoff.ms": 50,
        **client,
        "group.id": "streams.scan",  # the client wants one; nothing joins it and nothing is committed
        "isolation.level": isolation,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",  # retention may delete what we are about to read
    }
    return made(Consumer, settings)


def _slices(messages: list[Message], left: Mapping[TP, int]) -> list[Slice]:
    """Group messages by partition, leaving out those at or behind the range's end."""
    slices: dict[tuple[str, int], tuple[Slice, int]] = {}
    for message, headers in zip(messages, headers_of(messages), strict=True):
        error = message.error()
        if error is not None:
            # the group is a mere name: whether this user may use it does not matter
            if error.code() in (KafkaError._PARTITION_EOF, KafkaError.GROUP_AUTHORIZATION_FAILED) or error.retriable():
                continue
            raise KafkaException(error)
        key = message.topic() or "", message.partition() or 0
        found = slices.get(key)
        if found is None:
            found = slices[key] = Slice(TP(*key), [], [], [], []), left.get(TP(*key), 0)
        part, end = found
        offset = message.offset()
        if offset is not None and offset < end:
            part.offset.append(offset)
            part.keys.append(message.key())
            part.values.append(message.value())
            part.headers.append(headers)
    return [part for part, _ in slices.values() if part.offset]


def _ended(consumer: Consumer, left: Mapping[TP, int]) -> list[TP]:
    """Return the partitions whose position, which counts markers too, has reached the end of their range."""
    positions = consumer.position([TopicPartition(tp.topic, tp.partition) for tp in left])
    return [TP(at.topic, at.partition) for at in positions if at.offset >= left[TP(at.topic, at.partition)]]
