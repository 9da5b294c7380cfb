"""How soon a worker of ours is back: its state rebuilt from the changelog, and its slot after a kill -9."""

import re
import shutil
import time
from typing import Any

import numpy as np

from streams.dev import Stack
from tests.bench import open_loop
from tests.bench.latency import Reader
from tests.bench.measuring import longest_silence
from tests.bench.systems import Ours
from tests.integration.application import until

SLOT = "b-00"
RECOVERED = re.compile(r"recovered .*seconds=(?:\x1b\[\S*m)?([\d.]+)")


def restore(ours: Ours, distinct: int) -> dict[str, Any]:
    """Delete the state of an application that has answered so many requests, start a worker, and time its restore.

    The time is the worker's own, from its assignment until it reads requests: offsets, changelog, checks, RocksDB.
    """
    for folder in (ours.settings.app.state_dir / SLOT / "store").iterdir():
        shutil.rmtree(folder)
    before = len(RECOVERED.findall(ours.log(SLOT)))
    ours.begin()
    try:
        until(lambda: len(RECOVERED.findall(ours.log(SLOT))) > before, 120, what="the restore")
    finally:
        ours.end()
    seconds = float(RECOVERED.findall(ours.log(SLOT))[-1])
    return {"keys": distinct, "seconds": seconds, "keys_per_s": round(distinct / seconds)}


def restart(ours: Ours, stack: Stack, rate: float, first: int) -> dict[str, Any]:
    """Kill the worker in the middle of traffic and start it again at once, as the supervisor does; time the silence.

    The silence is what a read_committed reader meets: the longest time without an answer after the kill.
    """
    reader = Reader(stack, ours.results)
    ours.begin()
    client = open_loop.spawn(stack.bootstrap, ours.requests, ours.schema_id, rate, 12.0, first)
    try:
        while len(reader.arrivals.keys) < rate * 4:
            reader.read()
        ours.workers[-1].kill()
        ours.workers[-1].wait()
        killed_s = time.time()
        ours.begin()
        said = reader.until_answered(client)
    finally:
        client.kill()
        client.wait()
        reader.close()
        ours.end()
    silence = longest_silence(np.array(reader.arrivals.at_s), killed_s)
    return {"rate_per_s": rate, **said, "silence_s": round(silence, 2)}
