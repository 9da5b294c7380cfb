"""Reading and writing, tried: each topic by its own request to the broker, and nothing that anybody could see afterwards."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from streams.errors import SetupError, SlotTaken, Stop, Unreachable
from streams.kafka.made import made
from streams.kafka.verdicts import DENIED, FENCED
from streams.records import NO_APPEND_TIME, TP

PATIENCE_S = 10.0
MARK = ("answeronce.trial", b"never committed")


class Written(NamedTuple):
    """One record that the broker took, and when: by its clock, and by ours before and after. It was never committed."""

    append_ms: int
    """NO_APPEND_TIME where the topic keeps the producer's time."""
    asked_ms: int
    answered_ms: int


def try_reading(settings: Mapping[str, Any], starts: Mapping[TP, int]) -> dict[TP, Stop]:
    """Fetch from each partition until a record or its end comes; return what failed.

    The consumer, of a worker's own settings, is assigned, names the group for its errors' sake, and never joins it.
    Raises: ConfigError if the client refuses its settings.
    """
    failed: dict[TP, Stop] = {}
    left = set(starts)
    consumer = made(Consumer, {**settings, "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    try:
        consumer.assign([TopicPartition(tp.topic, tp.partition, offset) for tp, offset in starts.items()])
        deadline = time.monotonic() + PATIENCE_S
        while left and time.monotonic() < deadline:
            for message in consumer.consume(1_000, 0.2):
                error, tp = message.error(), TP(message.topic() or "", message.partition() or 0)
                if error is not None and error.code() in DENIED and tp in left:
                    failed[tp] = SetupError(f"the broker denies it: {error.str()}. Grant Read on topic {tp.topic}.")
                elif error is not None and error.code() != KafkaError._PARTITION_EOF:
                    continue  # a moment's trouble, or about the group: the deadline decides
                left.discard(tp)
    finally:
        consumer.close()
    late = Unreachable(f"nothing came in {PATIENCE_S:.0f} s. Is the leader of the partition up?")
    return failed | dict.fromkeys(left, late)


def try_writing(settings: Mapping[str, Any], tps: Sequence[TP]) -> dict[TP, Written | Stop]:
    """Write a record without a value into each partition, in one transaction each, and abort it; return what came of it.

    `settings` are a worker's own, but for the transactional id.
    Raises: Stop if no transaction can be begun at all; ConfigError if the client refuses its settings.
    """
    came: dict[TP, Written | Stop] = {}
    producer = None
    for tp in tps:
        try:
            producer = producer or _opened(settings)
            came[tp] = _write_and_abort(producer, tp)
        except KafkaException as error:
            came[tp] = _stop(error.args[0], f"Grant Write on topic {tp.topic}")
            producer = None  # a failed transaction may have been none to the broker: its abort is fatal
    return came


def _opened(settings: Mapping[str, Any]) -> Producer:
    """Raises: Stop."""
    producer = made(Producer, {**settings, "linger.ms": 0})
    try:
        producer.init_transactions(PATIENCE_S)
    except KafkaException as error:
        transactional_id = settings["transactional.id"]
        raise _stop(error.args[0], f"Grant Write and Describe on transactional id {transactional_id}") from None
    return producer


def _write_and_abort(producer: Producer, tp: TP) -> Written:
    """Raises: KafkaException with the reason why the broker did not take the record."""
    reports: list[tuple[KafkaError | None, tuple[int, int]]] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        reports.append((error, message.timestamp()))

    producer.begin_transaction()
    try:
        asked_ms = time.time_ns() // 1_000_000
        # a topic that is compacted takes no record without a key
        producer.produce(tp.topic, None, MARK[0], tp.partition, delivered, headers=[MARK])
        deadline = time.monotonic() + PATIENCE_S
        while not reports and time.monotonic() < deadline:
            producer.poll(0.05)
        answered_ms = time.time_ns() // 1_000_000
        if not reports or reports[0][0] is not None:
            producer.begin_transaction()  # in a transaction that has failed this says why, and does nothing else
    except KafkaException:
        _abort(producer)
        raise
    producer.abort_transaction(PATIENCE_S)
    _, (kind, stamp) = reports[0]
    return Written(stamp if kind == TIMESTAMP_LOG_APPEND_TIME else NO_APPEND_TIME, asked_ms, answered_ms)


def _abort(producer: Producer) -> None:
    """End what has failed already. Where that fails too, the broker does it by itself when the transaction times out."""
    with contextlib.suppress(KafkaException):
        producer.abort_transaction(PATIENCE_S)


def _stop(error: KafkaError, grant: str) -> Stop:
    if error.code() in FENCED:
        return SlotTaken(f"another doctor was run meanwhile ({error.str()}). Run it again.")
    if "AUTHORIZATION" in error.name():
        return SetupError(f"the broker denies it: {error.str()}. {grant}.")
    if error.name().startswith("_") or error.retriable():
        return Unreachable(
            f"the broker did not take it: {error.str()}. Is every broker up, and enough of them in sync?"
        )
    return SetupError(f"the broker refuses it: {error.str()}. `streams topics plan` shows how the topics should be.")
