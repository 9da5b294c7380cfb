"""The transactional sink: a step goes to Kafka whole or not at all.

The order is the design: records, changelog, frames, offsets, commit. Whatever goes wrong is classified by
`verdicts.py`; the caller gets a value. After an abort, after a call that had to be repeated, and after a commit that took
longer than the client's shortest retry, the producer is renewed before the next transaction: librdkafka has no KIP-890
epoch bump, so a request that is late could otherwise end the *next* transaction, or put its offsets back (Jepsen on
Bufstream 0.1.0; librdkafka #5423). A lost connection alone would be no sign: the client tells of none that the other
side closed in order.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.errors import Fenced, Unreachable
from streams.kafka.made import SOON, made
from streams.kafka.told import Told
from streams.kafka.verdicts import BLAMES_RECORD, PURGED, Verdict, verdict
from streams.packs import PACK_BYTES, pack
from streams.records import Ended, Headers, Outcome, Step

log = structlog.get_logger()

FLUSH_S = 1.0
"""Deliveries are waited for so long before the offsets are sent; what is late is waited for by the commit."""
RETRY_MS = 100
"""The client waits so long, less 20 % at most, before it sends a request again: its default, and no setting of a user's."""
Clock = Callable[[], float]
OnDelivery = Callable[[KafkaError | None, "Message[bytes, bytes]"], None]


def producer_settings(
    client: Mapping[str, str | int | float | bool],
    *,
    transactional_id: str,
    transaction_ms: int,
    message_bytes: int,
    batch_bytes: int,
) -> dict[str, Any]:
    """Return what a sink's producer is made with; see `KafkaSink`."""
    return {
        **SOON,
        "compression.type": "lz4",
        # every transaction is flushed, which waits for no linger: the client need not look for work before it has all
        "linger.ms": 100,
        "batch.num.messages": 10_000,
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 262_144,
        **client,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": transaction_ms,
        "retry.backoff.ms": RETRY_MS,
        "message.max.bytes": message_bytes,
        "batch.size": batch_bytes,
    }


class KafkaSink:
    """A transactional producer and what it takes to end each transaction with a known outcome.

    Args:
        client: the client's own keys.
        transactional_id: the slot's; a second live producer with it fences this one.
        changelog: topic of the state changes.
        transaction_ms: `transaction.timeout.ms`.
        slow_commit_ms: a commit answered later than this makes the producer renewed before the next transaction; it must
            be less than the client's shortest retry, `RETRY_MS` less a jitter of 20 %.
        message_bytes: the largest record that any of the topics takes.
        batch_bytes: what fits into the smallest `max.message.bytes` of the topics.
    """

    def __init__(
        self,
        client: Mapping[str, str | int | float | bool],
        *,
        transactional_id: str,
        changelog: str,
        transaction_ms: int,
        slow_commit_ms: int,
        message_bytes: int,
        batch_bytes: int,
        clock: Clock = time.monotonic,
    ) -> None:
        self._settings = producer_settings(
            client,
            transactional_id=transactional_id,
            transaction_ms=transaction_ms,
            message_bytes=message_bytes,
            batch_bytes=batch_bytes,
        ) | {"error_cb": self._on_error}
        self._id = transactional_id
        self._errors = Told(transactional_id)
        self._changelog = changelog
        self._pack_bytes = min(PACK_BYTES, batch_bytes)
        self._timeout_s = transaction_ms / 1000
        self._slow_s = slow_commit_ms / 1000
        self._clock = clock
        self._waiter = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._disconnected = False
        self._stale = False
        self._diagnose = False
        self._blamed: KafkaError | None = None
        self._checkpoints: dict[int, int] = {}
        self._producer: Producer | None = None
        self.renewals = 0

    def open(self) -> None:
        """Fence every predecessor and wait until its open transaction has ended.

        Raises: ConfigError if the client refuses its settings; Unreachable if the transaction coordinator does not answer.
        """
        producer = made(Producer, self._settings)
        try:
            # a client that has no connection yet looks for its coordinator twice a second: 0.5 s instead of 0.06
            producer.list_topics(self._changelog, self._timeout_s)
            producer.init_transactions(2 * self._timeout_s)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if verdict(cause) is Verdict.FENCED:
                raise self._fenced(cause) from None
            raise Unreachable(
                f"the transaction coordinator did not accept {self._id}: {cause.str()}. Is the broker reachable, and may "
                "this user Write and Describe the transactional id?"
            ) from None
        self._producer, self._stale, self._disconnected = producer, False, False

    def transact(self, step: Step, handed_over: Callable[[], None] = lambda: None, *, beside: bool = False) -> Ended:
        """Do the step in one transaction; `handed_over` is called when everything is, with `beside` while another thread waits
        for the end. Two processors that are busy let a thread wait before they run it: without need there is no other.

        Returns: COMMITTED with each changelog partition's last offset; ABORTED, nothing of it will ever be seen;
        UNKNOWN, it may or may not be committed, and this sink must not be used again.
        Raises: Fenced if the broker lets only another epoch of the transactional id write.
        """
        assert self._producer is not None, "open() comes first"
        # errors are told by poll() only: without it, what was cut while nothing was written would go unnoticed, and
        # send_offsets of such a producer can hang for ever (librdkafka #5456)
        _serve(self._producer.poll, 0)
        if self._stale or self._disconnected:
            self._renew()
        producer = self._producer
        self._checkpoints, self._blamed = {}, None
        try:
            producer.begin_transaction()
            self._produce(producer, step)
        except KafkaException as error:
            return self._failed(producer, error.args[0], committing=False)
        if not beside:
            handed_over()
            return self._end(producer, step)
        ending = self._waiter.submit(copy_context().run, self._end, producer, step)  # its log lines name the slot, too
        handed_over()
        return ending.result()

    def _end(self, producer: Producer, step: Step) -> Ended:
        """Wait for the deliveries, send the offsets, commit."""
        committing = False
        try:
            # once these are delivered the last transaction's markers are written, too: librdkafka asks for that every 20 ms
            # here, and every 100 ms in send_offsets. And the commit's time is EndTxn's own, so that slow means something
            _serve(producer.flush, FLUSH_S)
            offsets = [TopicPartition(tp.topic, tp.partition, offset) for tp, offset in step.next.items()]
            self._until_done(lambda: producer.send_offsets_to_transaction(offsets, step.lease.group))
            committing, ending = True, self._clock()
            self._until_done(producer.commit_transaction)
        except KafkaException as error:
            return self._failed(producer, error.args[0], committing)
        _serve(producer.poll, 0)
        self._stale = self._stale or self._disconnected or self._clock() - ending > self._slow_s
        self._diagnose = False
        return Ended(Outcome.COMMITTED, self._checkpoints)

    def _produce(self, producer: Producer, step: Step) -> None:
        on_delivery = self._on_any if self._diagnose else None
        for block in step.emits:
            records = zip(block.values, block.keys, block.partitions, strict=True)
            if block.headers is None:
                _send(producer, block.topic, records, on_delivery)
            else:
                for record, headers in zip(records, block.headers, strict=True):
                    _send(producer, block.topic, [record], on_delivery, headers)
        for partition, puts in step.puts.items():
            *packs, last = ((value, None, partition) for value in pack(puts, self._pack_bytes))
            _send(producer, self._changelog, packs, on_delivery)
            # an idempotent producer keeps order: the last pack has the frames, its offset is the checkpoint
            _send(producer, self._changelog, [last], self._on_last)

    def _until_done(self, call: Callable[[], None]) -> None:
        """Make the call again while its error says that it resumes; the watchdog bounds the whole."""
        while True:
            try:
                call()
            except KafkaException as error:
                if verdict(error.args[0]) is not Verdict.AGAIN:
                    raise
                self._stale = True
            else:
                return

    def _failed(self, producer: Producer, error: KafkaError, committing: bool) -> Ended:
        """Abort where that ends the transaction for sure; else the outcome is unknown.

        Before the commit was sent any error may be aborted: nothing that this producer sent can be committed.
        """
        if error.code() in BLAMES_RECORD:
            self._blamed = self._blamed or error
        if verdict(error) is Verdict.FENCED:
            raise self._fenced(error)
        if committing and verdict(error) is not Verdict.ABORT:
            return Ended(Outcome.UNKNOWN, {}, error.str())
        try:
            self._until_done(producer.abort_transaction)
        except KafkaException as second:
            cause: KafkaError = second.args[0]
            if verdict(cause) is Verdict.FENCED:
                raise self._fenced(cause) from None
            return Ended(Outcome.UNKNOWN, {}, f"{error.str()}; then the abort failed: {cause.str()}")
        _serve(producer.poll, 0)
        self._stale = True
        # which record failed is known only if every delivery reports; the next attempt asks for that
        self._diagnose = True
        return Ended(Outcome.ABORTED, {}, (self._blamed or error).str(), self._blamed is not None)

    def _renew(self) -> None:
        """Replace the producer: the epoch bump of `init_transactions` fences every EndTxn that is still on its way."""
        self._producer = None
        self.renewals += 1
        self.open()

    def _fenced(self, error: KafkaError) -> Fenced:
        return Fenced(
            f"the broker has given transactional id {self._id} a new epoch ({error.str()}): another live worker has taken it, or "
            "its coordinator took the transaction for too old. Nothing is lost; the next one recovers from the log. If this "
            "comes again and again, two hosts run under one name: give each its own --instance"
        )

    def _on_last(self, error: KafkaError | None, message: "Message[bytes, bytes]") -> None:
        if error is None:
            partition, offset = message.partition(), message.offset()
            assert partition is not None, "a delivered record has a partition"
            assert offset is not None, "a delivered record has an offset"
            self._checkpoints[partition] = offset
        else:
            self._on_any(error, message)

    def _on_any(self, error: KafkaError | None, _message: "Message[bytes, bytes]") -> None:
        if error is not None and error.code() not in PURGED and error.code() in BLAMES_RECORD:
            self._blamed = error

    def _on_error(self, error: KafkaError) -> None:
        self._disconnected = True
        self._errors.tell(error)


def _serve(call: Callable[[float], object], seconds: float) -> None:
    """Let the client call back.

    It raises a fatal error from inside its callbacks, and calls the next one all the same, with the exception set: what
    comes out is one or the other. The next transactional call tells it again, with its flags.
    """
    with suppress(KafkaException, SystemError):
        call(seconds)


def _send(
    producer: Producer,
    topic: str,
    records: Iterable[tuple[bytes | None, bytes | None, int]],
    on_delivery: OnDelivery | None,
    headers: Headers | None = None,
) -> None:
    """Hand over (value, key, partition) of each record; where the client has no room, wait until it has."""
    produce = producer.produce if headers is None else partial(producer.produce, headers=[*headers])
    for value, key, partition in records:
        while True:
            try:
                produce(topic, value, key, partition, on_delivery)
            except BufferError:
                producer.poll(0.1)
            else:
                break
