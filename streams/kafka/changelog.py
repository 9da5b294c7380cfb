"""The changelog, read back: committed changes of one partition, in bulk, up to an end that was fixed before.

A consumer of its own reads it, by assignment and without a group, read_committed. "Caught up" is a position, not a
count: markers, aborted records and deleted segments leave gaps.
"""

from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, TopicPartition

from streams.errors import SetupError, Unreachable
from streams.kafka.admin import Admin
from streams.kafka.made import made
from streams.packs import unpack
from streams.records import TP, Put

CHUNK = 500
"""Packs that are taken at once: some 32 MB at most."""


class KafkaChangelog:
    """One changelog topic."""

    def __init__(self, client: Mapping[str, str | int | float | bool], topic: str) -> None:
        self._client = dict(client)
        self._topic = topic
        self._admin = Admin(dict(client))

    def topic_id(self) -> bytes:
        """Return the topic's 16-byte id. Raises: SetupError if it does not exist."""
        found = self._admin.topics([self._topic])
        if self._topic not in found:
            raise SetupError(f"changelog topic {self._topic} does not exist. `streams topics apply` creates it")
        return found[self._topic].topic_id

    def bounds(self, partitions: Sequence[int]) -> Mapping[int, tuple[int, int]]:
        """Return (log start, read_uncommitted end) of each partition: open transactions count, so none is missed."""
        tps = [TP(self._topic, partition) for partition in partitions]
        starts, ends = self._admin.offsets(tps, "earliest"), self._admin.offsets(tps, "latest")
        return {tp.partition: (starts[tp], ends[tp]) for tp in tps}

    def read(self, partition: int, begin: int, end: int) -> Iterator[tuple[list[Put], int]]:
        """Yield committed changes and the position behind them until the position reaches `end`.

        An empty chunk means that a moment has passed: an open transaction may have to end first.
        Raises: Unreachable if the log was cut under the reader, or cannot be read for another reason.
        """
        if begin >= end:
            return
        consumer = made(
            Consumer,
            {
                "fetch.wait.max.ms": 50,
                "queued.max.messages.kbytes": 65_536,
                **self._client,
                "group.id": f"{self._topic}.restore",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            },
        )
        tp = TopicPartition(self._topic, partition, begin)
        position = begin
        try:
            consumer.assign([tp])
            while position < end:
                puts: list[Put] = []
                for message in consumer.consume(CHUNK, 0.1):
                    error = message.error()
                    if error is None:
                        puts += self._unpacked(message.value() or b"", message.offset() or 0, partition)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        position = max(position, message.offset() or 0)
                    elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # the group is a mere name
                        # retention moved the log's start meanwhile, or a broker is away: the next try begins anew
                        raise Unreachable(f"restore of {self._topic}[{partition}] failed at {position}: {error.str()}")
                # markers and aborted records move the position without a record
                (now,) = consumer.position([tp])
                position = max(position, now.offset)
                yield puts, position
        finally:
            consumer.close()

    def _unpacked(self, value: bytes, offset: int, partition: int) -> list[Put]:
        try:
            return unpack(value)
        except ValueError as error:
            raise SetupError(
                f"{self._topic}[{partition}] offset {offset}: {error}. Was it written by a newer version, or by somebody else?"
            ) from None
