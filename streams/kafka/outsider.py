"""A consumer that names a group and never joins it: for questions about the group, and for its very first offsets."""

import logging
from typing import Any

from confluent_kafka import Consumer, KafkaException

from streams.config import Client
from streams.errors import ConfigError

QUIET = logging.getLogger("streams.kafka.client")
"""Where librdkafka's own lines go: silent unless someone listens; what matters is in the errors that we raise."""
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False
SOON: dict[str, Any] = {"reconnect.backoff.max.ms": 1_000}
"""By default a client that has lost its broker tries again every 10 s at last; whoever waits for it waits as long."""


def outsider(client: Client, group: str) -> Consumer:
    """Return such a consumer. It asks for stable offsets: those of pending transactions are waited for.

    Raises: ConfigError if the client refuses its settings.
    """
    settings: dict[str, Any] = {
        **SOON,
        **client,
        "group.id": group,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",  # this is what makes the client require stable offsets (KIP-447)
        "logger": QUIET,
    }
    try:
        return Consumer(settings)
    except KafkaException as error:
        raise ConfigError(f"The Kafka client refuses its settings: {error}. See [kafka].") from None
