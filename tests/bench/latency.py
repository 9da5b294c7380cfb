"""How long an answer takes: from the request's append until a read_committed consumer *has* the answer.

The broker's append time and the reader's clock are one machine's. An answer that is appended is not yet an answer: nobody
sees it before its transaction is committed.
"""

import json
import subprocess
import time
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from streams.dev import Stack
from tests.bench import open_loop
from tests.bench.measuring import Times, cpu_s, percentiles
from tests.bench.systems import PARTITIONS, System
from tests.bench.throughput import Void, read_results

WARM_S = 5.0
LATE_S = 20.0
"""After the client's last request, answers are waited for so long."""


class Arrivals(NamedTuple):
    """When a reader had the answer of each key, in seconds of wall clock."""

    keys: list[bytes]
    at_s: list[float]


class Reader:
    """A read_committed consumer of a topic of results, from its end on."""

    def __init__(self, stack: Stack, topic: str) -> None:
        self.arrivals = Arrivals([], [])
        self._consumer = Consumer(
            {
                "bootstrap.servers": stack.bootstrap,
                "group.id": "bench.latency",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
            }
        )
        tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        for tp in tps:
            tp.offset = self._consumer.get_watermark_offsets(tp, 10.0)[1]
        self._consumer.assign(tps)

    def read(self) -> None:
        """Take what has come."""
        messages = self._consumer.consume(10_000, 0.002)
        now = time.time()
        for message in messages:
            if message.error() is None:
                self.arrivals.keys.append(message.key() or b"")
                self.arrivals.at_s.append(now)

    def until_answered(self, client: "subprocess.Popen[str]") -> dict[str, Any]:
        """Read until the client has ended and as many answers as it sent requests are there; return what it said."""
        while client.poll() is None:
            self.read()
        assert client.stdout is not None
        said: dict[str, Any] = json.loads(client.stdout.read())
        deadline = time.monotonic() + LATE_S
        while len(self.arrivals.keys) < said["sent"] and time.monotonic() < deadline:
            self.read()
        if len(set(self.arrivals.keys)) != said["sent"]:
            raise Void(f"{len(set(self.arrivals.keys)):,} answers to {said['sent']:,} requests")
        return said

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


def measure(
    system: System, stack: Stack, schema_id: int, rate: float, seconds: float, first: int, pids: list[int]
) -> dict[str, Any]:
    """Ask a running system on schedule; return percentiles of what came after the warm-up. Raises: Void."""
    reader = Reader(stack, system.results)
    before, begun = sum(map(cpu_s, pids)), time.monotonic()
    client = open_loop.spawn(stack.bootstrap, system.requests, schema_id, rate, seconds + WARM_S, first)
    try:
        said = reader.until_answered(client)
    finally:
        reader.close()
        client.kill()
        client.wait()
    cpu_share = (sum(map(cpu_s, pids)) - before) / (time.monotonic() - begun)
    keys, at_s = reader.arrivals
    appended = append_times(stack, system.requests)
    asked_s = np.array([appended[key] for key in keys]) / 1_000
    late = asked_s > asked_s.min() + WARM_S
    latencies: Times = (np.array(at_s) - asked_s)[late] * 1_000
    return {
        "rate_per_s": rate,
        **said,
        "counted": len(latencies),
        **percentiles(latencies),
        "cpu_share": round(cpu_share, 2),
    }


def append_times(stack: Stack, topic: str) -> dict[bytes, float]:
    """Return when each request was appended, by its key, in milliseconds."""
    read = read_results(stack, topic)
    return dict(zip(read.keys, read.append_ms.tolist(), strict=True))
