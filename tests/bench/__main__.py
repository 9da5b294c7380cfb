"""Measure the common job on this machine, broker included; README.md beside this file says how.

python -m tests.bench                                    all of it, once: some three minutes
python -m tests.bench --runs 3 --workers 1,2 --peers --json runs.json
                                                         three times, Kafka Streams in turns with ours, with as many threads
python -m tests.bench --requests 20000 --rates 200 --seconds 3     a try
python -m tests.bench.report runs.json > tests/bench/RESULTS.md
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from streams.dev import Stack
from streams.dev.artifacts import KAFKA_VERSION
from streams.kafka import client_version
from tests.bench import latency, recovering, throughput
from tests.bench.job import REQUESTS, distinct_of, job
from tests.bench.peers.kafka_streams import KafkaStreams
from tests.bench.report import text
from tests.bench.systems import Ours, System

BACKLOG = "bench.requests.live"
RESTART_RATE = 2_000.0

Begin = Callable[[Path, str, str, int], System]
"""(home, name, request topic, workers or stream threads) to a system that has not started yet."""


def main() -> int:
    """Run what was asked for, print it as it comes, and write it down."""
    options = _options()
    found: dict[str, Any] = {"environment": environment(), "requests": options.requests, "runs": []}
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder) / "stack") as stack:
        try:
            for part, result in _measured(options, stack, Path(folder)):
                print(text(part, result), flush=True)
                found["runs"].append({"part": part, **result})
        except throughput.Void as wrong:
            print(f"VOID: {wrong}", file=sys.stderr)
            return 1
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def _measured(options: argparse.Namespace, stack: Stack, home: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    distinct = distinct_of(options.requests)
    first = Ours(stack, home / "first", "bench", BACKLOG, options.workers[0])
    first.send(job(first.schema, first.schema_id, options.requests))
    begins = _systems(options, stack, first.package)
    for run, workers in product(range(options.runs), options.workers):
        for label, begin in begins.items():
            is_first = (run, workers, label) == (0, options.workers[0], Ours.label)
            name = f"bench{run}x{workers}"
            system = first if is_first else begin(home / f"{label}-{name}", name, BACKLOG, workers)
            found = throughput.measure(system, stack, distinct)
            yield "throughput", {"system": label, "workers": workers, **found, "about": system.about()}
    yield "restore", {"system": Ours.label, **recovering.restore(first, distinct)}
    yield from _latencies(options, stack, home, begins, first.schema_id)
    asked = Ours(stack, home / "restart", "again", "again.requests.live")
    yield "restart", {"system": Ours.label, **recovering.restart(asked, stack, RESTART_RATE, 0)}


def _latencies(
    options: argparse.Namespace, stack: Stack, home: Path, begins: dict[str, Begin], schema_id: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    for label, begin in begins.items():
        # made by ours in any case: topic and contract are the application's
        topic = Ours(stack, home / f"asked-{label}", f"asked{len(label)}", f"asked{len(label)}.requests.live").requests
        system = begin(home / f"latency-{label}", f"late{len(label)}", topic, 1)
        pids, number = system.begin(), 0
        try:
            for rate in options.rates:
                yield (
                    "latency",
                    {"system": label, **latency.measure(system, stack, schema_id, rate, options.seconds, number, pids)},
                )
                number += int(rate * (options.seconds + latency.WARM_S)) + 1
        finally:
            system.end()


def _systems(options: argparse.Namespace, stack: Stack, package: Path) -> dict[str, Begin]:
    begins: dict[str, Begin] = {Ours.label: lambda home, name, topic, workers: Ours(stack, home, name, topic, workers)}
    if options.peers:
        KafkaStreams.build()
        begins[KafkaStreams.label] = lambda home, name, topic, workers: KafkaStreams(
            stack, home, name, topic, package, workers
        )
    return begins


def environment() -> dict[str, str]:
    """Return what the figures depend on besides the code."""
    import lightgbm

    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {model.partition(': ')[2]}; broker, system and client share them",
        "broker": f"Apache Kafka {KAFKA_VERSION}, one node, {os.cpu_count()} cores, heap of the local stack",
        "client": client_version(),
        "python": f"{platform.python_version()}, NumPy {np.__version__}, LightGBM {lightgbm.__version__}",
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=REQUESTS, help="how many lie in the log (default: %(default)s)")
    parser.add_argument("--workers", type=_counts, default=[1], help="processes of ours, as in 1,2 (default: 1)")
    parser.add_argument("--runs", type=int, default=1, help="how often throughput is measured (default: %(default)s)")
    parser.add_argument("--rates", type=_rates, default=[1_000.0, 5_000.0], help="requests a second, for latency")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="how long each rate is measured (default: %(default)s)"
    )
    parser.add_argument("--peers", action="store_true", help="Kafka Streams, too; needs a JDK")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    return parser.parse_args()


def _counts(value: str) -> list[int]:
    return [int(count) for count in value.split(",") if count]


def _rates(value: str) -> list[float]:
    return [float(rate) for rate in value.split(",") if rate]


if __name__ == "__main__":
    sys.exit(main())
