"""What a client tells of its connections, logged once in a while: an outage is one thing, however often it is said."""

import time

import structlog
from confluent_kafka import KafkaError

log = structlog.get_logger()

EVERY_S = 5.0


class Told:
    """Logs a client's errors, each code at most once in five seconds. Not thread-safe: a client tells in its own polls."""

    def __init__(self, client: str) -> None:
        self._client = client
        self._last: dict[int, float] = {}
        self._kept_back: dict[int, int] = {}

    def tell(self, error: KafkaError) -> None:
        """Log an error, or count it until it may be logged again."""
        code, now = error.code(), time.monotonic()
        if now < self._last.get(code, -EVERY_S) + EVERY_S:
            self._kept_back[code] = self._kept_back.get(code, 0) + 1
            return
        self._last[code] = now
        log.warning("kafka", error=error.str(), client=self._client, kept_back=self._kept_back.pop(code, 0))
