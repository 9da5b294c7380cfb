"""The first offsets of an application: one transaction that says where answering begins, in all three places at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaException, Producer, TopicPartition

from streams.config import Client
from streams.errors import OutcomeUnknown, SetupError
from streams.kafka.made import made
from streams.kafka.outsider import outsider
from streams.packs import pack
from streams.records import TP, Block, Put

TIMEOUT_S = 30.0


class Beginning(NamedTuple):
    """Where answering begins, as one transaction writes it."""

    offsets: Mapping[TP, int]
    """The first offset that will be answered, of each source partition; the group's committed offsets."""
    frames: Sequence[tuple[TP, Put]]
    """What the changelog says of it: each with the changelog partition that it goes to."""
    records: Sequence[Block]
    """The START records."""


def begin(client: Client, group: str, transactional_id: str, look: Callable[[], Beginning | None]) -> Beginning | None:
    """Commit offsets, frames and START records in one transaction; return what was committed.

    `look` says what to write, or None for nothing. It is called when every other one who does the same has been fenced, so
    that nobody sets anew what somebody set a moment before. It makes sure that the group is empty: never-joined metadata
    is accepted into a live group as well.
    Raises: SetupError: nothing was written. OutcomeUnknown: look again, all or nothing was written; what `look` raises.
    """
    producer, consumer = _producer(client, transactional_id), outsider(client, group)
    try:
        try:
            producer.init_transactions(TIMEOUT_S)
            beginning = look()
            if beginning is None:
                return None
            producer.begin_transaction()
            for changelog, put in beginning.frames:
                (packed,) = pack([put])
                producer.produce(changelog.topic, packed, None, changelog.partition)
            for block in beginning.records:
                for partition, key, value in zip(block.partitions, block.keys, block.values, strict=True):
                    producer.produce(block.topic, value, key, partition)
            offsets = [TopicPartition(tp.topic, tp.partition, offset) for tp, offset in beginning.offsets.items()]
            producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), TIMEOUT_S)
        except KafkaException as error:
            raise SetupError(
                f"The initial offsets were not written: {error}. Nothing has changed; try again."
            ) from None
        _commit(producer)
        return beginning
    finally:
        consumer.close()


def _commit(producer: Producer) -> None:
    try:
        producer.commit_transaction(TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].txn_requires_abort():
            producer.abort_transaction(TIMEOUT_S)
            raise SetupError(
                f"The initial offsets were not written: {error}. Nothing has changed; try again."
            ) from None
        raise OutcomeUnknown(
            f"The initial offsets may or may not be written: {error}. Run `streams topics apply` again: it looks first."
        ) from None


def _producer(client: Client, transactional_id: str) -> Producer:
    settings: dict[str, Any] = {
        **client,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": 10_000,
    }
    return made(Producer, settings)
