"""How fast a backlog is answered: all requests lie in the log before the system starts."""

import time
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from streams.dev import Stack
from streams.kafka.admin import Admin
from tests.bench.measuring import Times, Usage, cpu_s, peak_mb, steady_rate
from tests.bench.systems import PARTITIONS, System, ends

STILL_S = 3.0
"""Without a new result for so long, the system is done: it has read everything."""
STALL_S = 60.0
"""Without a new result for so long, and results missing, it is given up."""
STEP_S = 0.1


class Void(Exception):
    """The answers are not right, so nothing was measured."""


class Read(NamedTuple):
    """The results that a read_committed reader finds."""

    keys: list[bytes]
    append_ms: Times


def measure(system: System, stack: Stack, distinct: int) -> dict[str, Any]:
    """Let a system answer its backlog; return what it took. Raises: Void."""
    admin, broker = Admin({"bootstrap.servers": stack.bootstrap}), stack.pid("broker")
    assert broker is not None
    before = ends(admin, system.results)
    broker_s, begun_s = cpu_s(broker), time.time()
    pids = system.begin()
    try:
        usage = _watch(admin, system, pids, before, distinct)
        worker_s, broker_s = sum(map(cpu_s, pids)), cpu_s(broker) - broker_s
        peak = max(map(peak_mb, pids))
    finally:
        system.end()
    read = read_results(stack, system.results)
    wrong = system.complaints()
    if (len(read.keys), len(set(read.keys))) != (distinct, distinct) or wrong:
        raise Void(
            f"{system.label}: {len(read.keys):,} results for {len(set(read.keys)):,} requests; right are {distinct:,}. "
            + " ".join(wrong)
        )
    low, high = usage
    return {
        "results": len(read.keys),
        "results_per_s": round(steady_rate(read.append_ms)),
        "cpu_us": round(worker_s / distinct * 1e6, 1),
        "cpu_us_steady": round((high.cpu_s - low.cpu_s) / max(high.results - low.results, 1) * 1e6, 1),
        "broker_cpu_us": round(broker_s / distinct * 1e6, 1),
        "peak_mb": round(peak),
        "seconds": round(float(read.append_ms.max()) / 1_000 - begun_s, 1),
    }


def _watch(admin: Admin, system: System, pids: list[int], before: int, distinct: int) -> tuple[Usage, Usage]:
    """Wait until nothing comes any more; return the CPU used when a tenth, and nine tenths, of the results were there."""
    seen, moved = 0, time.monotonic()
    low: Usage | None = None
    high = Usage(0.0, 0)
    while time.monotonic() < moved + STILL_S or seen < distinct:
        now = Usage(sum(map(cpu_s, pids)), ends(admin, system.results) - before)
        if now.results > seen:
            seen, moved = now.results, time.monotonic()
        if low is None and seen >= 0.1 * distinct:
            low = now
        if seen <= 0.9 * distinct or not high.results:
            high = now
        if time.monotonic() > moved + STALL_S:
            raise Void(f"{system.label}: no new result for {STALL_S:.0f} s; there are {seen:,} of {distinct:,}")
        time.sleep(STEP_S)
    assert low is not None, "all of them include a tenth"
    return low, high


def read_results(stack: Stack, topic: str) -> Read:
    """Read a topic of results to its end, read_committed."""
    consumer = Consumer(
        {
            "bootstrap.servers": stack.bootstrap,
            "group.id": "bench.read",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    keys, stamps, open_ends = [], [], set(range(PARTITIONS))
    while open_ends:
        for message in consumer.consume(10_000, 1.0):
            if message.error():
                open_ends.discard(message.partition())
            else:
                keys.append(message.key() or b"")
                stamps.append(message.timestamp()[1])
    consumer.close()
    return Read(keys, np.array(stamps, dtype=np.float64))
