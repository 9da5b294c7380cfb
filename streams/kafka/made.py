"""Clients of Kafka, made: what a client says of its settings becomes advice."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaException

from streams.errors import ConfigError

_T = TypeVar("_T")
QUIET = logging.getLogger("streams.kafka.client")
"""Where librdkafka's own lines go: silent unless someone listens; what matters is in the errors that we raise."""
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False
SOON: dict[str, Any] = {"reconnect.backoff.max.ms": 1_000}
"""By default a client that has lost its broker tries again every 10 s at last; whoever waits for it waits as long."""


def made(kind: Callable[[dict[str, Any]], _T], settings: Mapping[str, Any]) -> _T:
    """Return a client of this kind, which has not connected yet. Raises: ConfigError if it refuses its settings."""
    try:
        return kind({**settings, "logger": QUIET})
    except KafkaException as error:
        raise ConfigError(
            f"The Kafka client refuses its settings: {error.args[0].str()}. See [kafka] and [limits]."
        ) from None
