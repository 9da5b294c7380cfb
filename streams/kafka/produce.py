"""A plain producer of requests, as any client of an application runs one: no transactions, no exactly-once of its own."""

from typing import Any, Literal

from confluent_kafka import KafkaError, Message, Producer

from streams.config import Client
from streams.errors import Unreachable
from streams.kafka.made import made

Partitioner = Literal["murmur2_random", "consistent_random"]
"""`murmur2_random` is Java's and what the scorer asks for; `consistent_random` (CRC32) is librdkafka's own default."""


class RequestProducer:
    """Sends keyed records to one topic and counts what the broker acknowledged. All calls are made by one thread.

    The client is idempotent: its own retries neither repeat nor reorder a record.
    """

    def __init__(self, client: Client, topic: str, partitioner: Partitioner = "murmur2_random") -> None:
        """Raises: ConfigError if the client refuses its settings."""
        self.acknowledged = 0
        """Records that the broker has."""
        self._topic = topic
        self._refused: KafkaError | None = None
        settings: dict[str, Any] = {
            "linger.ms": 5,
            **client,
            "enable.idempotence": True,
            "partitioner": partitioner,
        }
        self._producer = made(Producer, settings)

    def send(self, key: bytes, value: bytes | None) -> None:
        """Hand one record to the client, which sends it in the background.

        Raises: Unreachable if an earlier record was not delivered, or too many wait.
        """
        try:
            self._producer.produce(self._topic, value, key, on_delivery=self._delivered)
        except BufferError:
            raise Unreachable(f"{len(self._producer):,} requests wait for the broker, which takes no more.") from None
        self.serve()

    def serve(self) -> None:
        """Learn what was acknowledged meanwhile. Raises: Unreachable if a record was not delivered."""
        self._producer.poll(0)
        if self._refused is not None:
            raise Unreachable(
                f"A request to {self._topic} was not delivered: {self._refused.str()}. Is every broker up?"
            )

    def finish(self, seconds: float = 60.0) -> None:
        """Wait until everything is acknowledged. Raises: Unreachable."""
        left = self._producer.flush(seconds)
        self.serve()
        if left:
            raise Unreachable(
                f"{left:,} records to {self._topic} are not acknowledged after {seconds:.0f} s. Is every broker up?"
            )

    def close(self) -> None:
        """Drop what was not sent yet."""
        self._producer.purge()
        self._producer.flush(1.0)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self._refused = self._refused or error
