"""A consumer that names a group and never joins it: for questions about the group, and for its very first offsets."""

from typing import Any

from confluent_kafka import Consumer

from streams.config import Client
from streams.kafka.made import SOON, made


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
    }
    return made(Consumer, settings)
