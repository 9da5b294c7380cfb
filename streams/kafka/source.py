"""The source: one consumer for all lanes, and the lease that each batch carries.

Rebalance callbacks run inside `consume()`, and one call can revoke, assign *and* return records of the new assignment.
So the epoch is read before the call; if it changed when the call returns, all its records are dropped and the caller
gets an Assignment, and nothing is fetched before `start`. Group metadata is taken right after the `consume()` that returned the
batch: metadata taken later could be accepted for a partition that is no longer owned.

The group's protocol is classic, with static membership: a worker that was killed has its partitions back at once. Under
the consumer protocol (KIP-848) partitions come and go one by one, and a lane's may come before the other lanes' of the same
number: such a one is kept paused, and is owned when all have come. There are no static members: who is killed is missed
for the broker's session time-out, 45 s by default.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import structlog
from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from streams.errors import SetupError, Stop
from streams.kafka.admin import Admin
from streams.kafka.made import SOON, made
from streams.kafka.message import headers_of
from streams.kafka.told import Told
from streams.kafka.verdicts import FINAL, MISSING, stop_for
from streams.ports import Assignment
from streams.records import NO_APPEND_TIME, TP, Batch, Lease

log = structlog.get_logger()

LEAVE_S = 5.0
MISSING_S = 3.0
"""A topic that is missing for so long is gone; a broker that has just started may not have heard of it yet."""


def consumer_settings(
    client: Mapping[str, str | int | float | bool],
    *,
    group: str,
    instance: str,
    session_ms: int,
    max_poll_ms: int,
    queue_kbytes: int,
) -> dict[str, Any]:
    """Return what a source's consumer is made with."""
    settings: dict[str, Any] = {
        **SOON,
        "fetch.min.bytes": 1,
        "fetch.wait.max.ms": 50,
        "queued.min.messages": 100_000,
        "fetch.queue.backoff.ms": 20,
        "client.id": instance,
        "group.protocol": "classic",
        **client,
        "queued.max.messages.kbytes": queue_kbytes,
        "group.id": group,
        "max.poll.interval.ms": max_poll_ms,
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
    }
    if settings["group.protocol"] == "consumer":
        return settings | {"group.remote.assignor": "range"}
    return settings | {
        "group.instance.id": instance,
        "partition.assignment.strategy": "range",
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": max(session_ms // 4, 250),
    }


class KafkaSource:
    """All request topics of an application, read by one member of its group. Calls are made one after the other.

    Raises: ConfigError if the client refuses its settings.
    """

    def __init__(
        self,
        client: Mapping[str, str | int | float | bool],
        *,
        topics: Sequence[str],
        group: str,
        instance: str,
        session_ms: int,
        max_poll_ms: int,
        queue_kbytes: int,
    ) -> None:
        self._topics = topics
        self._group = group
        self._instance = instance
        self._admin = Admin(dict(client))
        self._epoch = 0
        self._told = 0
        self._session_s = session_ms / 1000
        self._polled = time.monotonic()
        self._given: frozenset[TP] = frozenset()
        """What the group has assigned; under the consumer protocol a part of it may wait for the other lanes'."""
        self._assigned: frozenset[TP] = frozenset()
        self._settled = False
        self._stuck: frozenset[TP] = frozenset()
        """Partitions whose fetcher gave up, because its position was deleted; it must be begun anew."""
        self._sought: dict[TP, int] = {}
        """Where each partition was last told to go on; the client knows no position before the first record after that."""
        self._errors = Told(instance)
        self._suspicious = False
        """The client says that a topic is not there."""
        settings = consumer_settings(
            client,
            group=group,
            instance=instance,
            session_ms=session_ms,
            max_poll_ms=max_poll_ms,
            queue_kbytes=queue_kbytes,
        )
        self._incremental = settings["group.protocol"] == "consumer"
        self._consumer = made(Consumer, settings | {"error_cb": self._on_error})
        self._consumer.subscribe(
            [*topics], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def poll(self, limit: int, age_ms: int) -> Batch | Assignment:
        """Return the next records, or an Assignment if ownership changed during the call.

        Raises: SlotTaken if another member took the instance id; SetupError if a topic is gone or denied.
        """
        epoch = self._epoch
        messages = self._consume(limit, age_ms / 1000)
        if self._epoch != epoch or self._told != self._epoch:
            self._told = self._epoch
            return Assignment(self._epoch, self._assigned, self._settled)
        lease = Lease(epoch, self._consumer.consumer_group_metadata() if messages else None)
        return _batch(lease, messages)

    def keep_alive(self) -> bool:
        """Poll while nothing is fetched; return False if ownership changed."""
        epoch = self._epoch
        self._consume(1, 0.0)
        return epoch == self._epoch

    def lease(self) -> Lease:
        """Return a lease for a transaction without records, valid for the assignment last returned."""
        return Lease(self._told, self._consumer.consumer_group_metadata())

    def committed(self, tps: frozenset[TP]) -> Mapping[TP, int | None]:
        """Return the group's committed offsets, waiting for pending transactions."""
        return self._admin.committed(self._group, sorted(tps))

    def bounds(self, tps: frozenset[TP]) -> Mapping[TP, tuple[int, int]]:
        """Return (log start, end) of each partition."""
        starts, ends = self._admin.offsets(sorted(tps), "earliest"), self._admin.offsets(sorted(tps), "latest")
        return {tp: (starts[tp], ends[tp]) for tp in tps}

    def topic_ids(self) -> Mapping[str, bytes]:
        """Return the 16-byte id of every request topic. Raises: SetupError if one does not exist."""
        deadline = time.monotonic() + MISSING_S
        while True:
            found = self._admin.topics(self._topics)
            missing = [topic for topic in self._topics if topic not in found]
            if not missing:
                return {topic: found[topic].topic_id for topic in self._topics}
            if time.monotonic() > deadline:
                raise SetupError(f"request topic {missing[0]} does not exist. `streams topics apply` creates it")
            time.sleep(0.2)

    def start(self, positions: Mapping[TP, int]) -> None:
        """Start reading the assignment last returned, each partition from its offset."""
        if frozenset(positions) == self._assigned and self._told == self._epoch:
            tps = [TopicPartition(*tp, offset) for tp, offset in positions.items()]
            if self._incremental:
                stuck = [tp for tp in tps if TP(tp.topic, tp.partition) in self._stuck]
                if stuck:
                    self._consumer.incremental_unassign(stuck)
                    self._consumer.incremental_assign(stuck)
                self._stuck = frozenset()
                self.resume(positions)
                return
            self._consumer.assign(tps)
            self._sought = dict(positions)
            self._consumer.resume(tps)  # one that was held under the last assignment may still be paused

    def resume(self, positions: Mapping[TP, int]) -> None:
        """Go on reading these partitions, paused or not, at these offsets; one that was revoked is left alone."""
        # resume, then seek: the other order costs a second (librdkafka restarts the fetcher)
        self._consumer.resume([TopicPartition(*tp) for tp in positions])
        for tp, offset in positions.items():
            if tp in self._assigned:
                self._consumer.seek(TopicPartition(*tp, offset))
                self._sought[tp] = offset

    def pause(self, tps: frozenset[TP]) -> None:
        """Stop reading these partitions; the others go on."""
        self._consumer.pause([TopicPartition(*tp) for tp in tps & self._assigned])

    def progress(self) -> Mapping[TP, tuple[int, int]]:
        """Return (next offset to read, end) of each partition that is read, as far as the client knows them by itself."""
        progress = {}
        for tp in self._consumer.position([TopicPartition(*tp) for tp in self._sought]):
            bounds = self._consumer.get_watermark_offsets(tp, cached=True)
            if bounds and bounds[1] >= 0:
                at = TP(tp.topic, tp.partition)
                progress[at] = tp.offset if tp.offset >= 0 else self._sought[at], bounds[1]
        return progress

    def close(self) -> None:
        """Hand the partitions over and leave.

        A static member does not leave by `close()` (6 s of silence): unsubscribe, poll until unassigned, then close. Polled
        at least once: an assignment that nobody has looked at would be told inside `close()`, where the client never
        answers the call that it asks for (librdkafka #4884).
        """
        try:
            self._consumer.unsubscribe()
            deadline = time.monotonic() + LEAVE_S
            self._consumer.poll(0.1)
            while self._given and time.monotonic() < deadline:
                self._consumer.poll(0.1)
        finally:
            self._consumer.close()

    def _consume(self, limit: int, timeout_s: float) -> "list[Message[bytes, bytes]]":
        last = self._polled
        try:
            polled = self._consumer.consume(limit, timeout_s)
        except KafkaException as failed:
            raise self._stop(failed.args[0], time.monotonic() - last) from None
        self._polled = time.monotonic()
        silent_s = self._polled - last
        if self._suspicious or any(map(Message.error, polled)):
            return self._good(polled, silent_s)
        return polled

    def _good(self, polled: "list[Message[bytes, bytes]]", silent_s: float) -> "list[Message[bytes, bytes]]":
        """Return the records of what was polled; deal with the errors among them."""
        good = []
        for message in polled:
            error = message.error()
            if error is None:
                good.append(message)
            elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                # the position was deleted under us: the same as a new assignment, recovery looks at the log's start
                self._lose(message)
            elif error.code() in FINAL:
                raise self._stop(error, silent_s, message.topic())
            else:
                self._on_error(error)
        if self._suspicious:
            self._suspicious = False
            self.topic_ids()  # raises if one is gone
        return good

    def _lose(self, message: "Message[bytes, bytes]") -> None:
        log.warning("position lost", topic=message.topic(), partition=message.partition(), why=str(message.error()))
        self._stuck |= {TP(message.topic() or "", message.partition() or 0)}
        self._own(self._consumer, self._given)

    def _stop(self, error: KafkaError, silent_s: float, topic: str | None = None) -> Stop:
        return stop_for(error, topic, self._group, self._instance, lost_session=silent_s > self._session_s)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        tps = frozenset(TP(tp.topic, tp.partition) for tp in partitions)
        if self._incremental:
            consumer.incremental_assign(partitions)
            tps |= self._given
        self._own(consumer, tps)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._incremental:
            consumer.incremental_unassign(partitions)
            self._own(consumer, self._given - {TP(tp.topic, tp.partition) for tp in partitions})
            return
        consumer.unassign()
        self._given = self._assigned = frozenset()
        self._settled, self._sought = False, {}
        self._epoch += 1

    def _own(self, consumer: Consumer, tps: frozenset[TP]) -> None:
        """Own these partitions, and fetch nothing before recovery has said from where.

        No made-up offset will do: one below the log's start stops the fetcher for good (a later seek fails with _STATE),
        and the answer to a query for the log's end may come after the seek and override it.
        """
        if self._incremental:
            consumer.pause([TopicPartition(*tp) for tp in tps])
        else:
            consumer.assign([])
        self._given, self._settled, self._sought = tps, True, {}
        self._assigned = tps if not self._incremental else _whole(tps, self._topics)
        self._epoch += 1

    def _on_error(self, error: KafkaError) -> None:
        self._suspicious = self._suspicious or error.code() in MISSING
        self._errors.tell(error)


def _whole(tps: frozenset[TP], topics: Sequence[str]) -> frozenset[TP]:
    """Return those whose number has come of every topic: partition i of all lanes shares one state."""
    return frozenset(tp for tp in tps if all(TP(topic, tp.partition) in tps for topic in topics))


def _batch(lease: Lease, messages: "list[Message[bytes, bytes]]") -> Batch:
    """Turn messages into columns; each accessor is called for all of them by C code, without bytecode between two."""
    n, topics = len(messages), list(map(Message.topic, messages))
    names = list(dict.fromkeys(topics))
    place = np.fromiter(map(Message.partition, messages), np.int64, n) * len(names)
    if len(names) > 1:
        place += np.fromiter(map({name: at for at, name in enumerate(names)}.__getitem__, topics), np.int64, n)
    found = np.flatnonzero(np.bincount(place))
    stamps = np.fromiter(chain.from_iterable(map(Message.timestamp, messages)), np.int64, 2 * n).reshape(n, 2)
    return Batch(
        lease,
        tuple(TP(names[at % len(names)] or "", at // len(names)) for at in found.tolist()),
        np.searchsorted(found, place),
        np.fromiter(map(Message.offset, messages), np.int64, n),
        np.where(stamps[:, 0] == TIMESTAMP_LOG_APPEND_TIME, stamps[:, 1], NO_APPEND_TIME),
        list(map(Message.key, messages)),
        list(map(Message.value, messages)),
        headers_of(messages),
    )
