"""When a broker really serves: an open port is not enough."""

import logging
import socket
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from streams.errors import SetupError

_SILENT = logging.getLogger("streams.kafka.ready")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False  # "connection refused" is what waiting looks like, not news

_STEP_SECONDS = 0.05


def wait_until_serving(bootstrap: str, deadline_s: float, still_there: Callable[[], None] = lambda: None) -> None:
    """Wait until an admin call *and* the `init_transactions` of a throwaway producer have succeeded.

    The first of all transactions makes the broker create its transaction log, which takes about a second; whoever
    waited only for the port would meet that delay, or an error, in its own first transaction.

    `bootstrap`: one `host:port`. `still_there` is called between attempts and may raise to give up early.
    Raises: SetupError after `deadline_s` seconds, with the last thing that went wrong; what `still_there` raises.
    """
    deadline = time.monotonic() + deadline_s
    for attempt in (_connect, _administer, _init_transactions):
        while (wrong := attempt(bootstrap)) is not None:
            still_there()
            if time.monotonic() > deadline:
                raise SetupError(
                    f"The broker at {bootstrap} does not serve after {deadline_s:.0f} s: {wrong}. "
                    "Is it a Kafka broker, is it still starting, and is its advertised listener this address?"
                )
            time.sleep(_STEP_SECONDS)


def _connect(bootstrap: str) -> str | None:
    """Try the bare port first: a client whose connection is refused backs off, and would see the broker late."""
    host, _, port = bootstrap.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError as error:
        return str(error)
    return None


def _administer(bootstrap: str) -> str | None:
    settings: dict[str, Any] = {"bootstrap.servers": bootstrap, "logger": _SILENT}
    admin = AdminClient(settings)
    try:
        admin.list_topics(timeout=2.0)
    except KafkaException as error:
        return str(error)
    return None


def _init_transactions(bootstrap: str) -> str | None:
    transactional_id = f"streams.ready.{uuid4()}"
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": transactional_id, "logger": _SILENT})
    try:
        producer.init_transactions(10.0)
    except KafkaException as error:
        return str(error)
    return None
