"""A client that asks on a schedule, whatever becomes of its requests: `python -m tests.bench.open_loop`, in a process of its own.

    python -m tests.bench.open_loop BOOTSTRAP TOPIC SCHEMA_ID RATE SECONDS FIRST

Requests are distinct, and numbered from FIRST on. Prints, as JSON, how many were sent and how late at worst.
"""

import json
import subprocess
import sys
import time
from itertools import chain

from confluent_kafka import Producer

from tests.bench.job import questions
from tests.bench.systems import CONTRACT

TICK_S = 0.001


def spawn(
    bootstrap: str, topic: str, schema_id: int, rate: float, seconds: float, first: int
) -> "subprocess.Popen[str]":
    """Start the client; it sends as soon as it has made its requests."""
    numbers = map(str, (schema_id, rate, seconds, first))
    command = [sys.executable, "-m", "tests.bench.open_loop", bootstrap, topic, *numbers]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def main(bootstrap: str, topic: str, schema_id: int, rate: float, seconds: float, first: int) -> None:
    """Send on schedule."""
    count = int(rate * seconds)
    pairs = list(chain.from_iterable(questions(json.loads(CONTRACT.read_text()), schema_id, count, first)))
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 1,
            "queue.buffering.max.messages": 2_000_000,
        }
    )
    producer.list_topics(topic, 10.0)
    sent, late_s, begun = 0, 0.0, time.monotonic()
    while sent < count:
        now = time.monotonic() - begun
        due = min(int(now * rate) + 1, count)
        if due > sent:
            late_s = max(late_s, now - sent / rate)
        for key, value in pairs[sent:due]:
            producer.produce(topic, value, key)
        sent = due
        producer.poll(0)
        time.sleep(TICK_S)
    left = producer.flush(30)
    json.dump({"sent": sent - left, "late_ms_max": round(late_s * 1_000, 1)}, sys.stdout)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(arguments[0], arguments[1], int(arguments[2]), float(arguments[3]), float(arguments[4]), int(arguments[5]))
