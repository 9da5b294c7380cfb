"""The common job: 500,098 requests, 450,001 distinct, four partitions, exactly once, one worker, broker on the same box.

    python -m tests.bench [REQUESTS] [WORKERS]

All requests lie in the log before the workers start. Printed: results/s between the 10 % and the 90 % point by the
broker's append time, CPU a result of workers and broker, peak memory of a worker. It is void unless `verify` finds
exactly one SCORED for each distinct request.
"""

import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from streams import schemas_dir, topics
from streams.avro.encode import Doubles, Encoder, Longs, Slices
from streams.config import load
from streams.demo.train import train
from streams.dev import Stack
from streams.kafka import client_version
from streams.models.packages import register as register_model
from streams.models.store import open_store
from streams.registering import register
from streams.verify import verify
from tests.integration.application import Application

CHUNK = 10_000
SEED = 7


def questions(schema: dict[str, Any], schema_id: int, count: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Yield (keys, framed values) of distinct requests, in chunks; the same for a seed, always."""
    rng, encoder = np.random.default_rng(SEED), Encoder(schema)
    carriers, origins = [b"UA", b"B6", b"EV", b"DL", b"AA", b"MQ", b"US", b"9E", b"WN", b"VX"], [b"EWR", b"JFK", b"LGA"]
    dests = [b"ATL", b"ORD", b"LAX", b"BOS", b"MCO", b"CLT", b"SFO", b"FLL", b"MIA", b"DCA"]
    for begin in range(0, count, CHUNK):
        n = min(CHUNK, count - begin)
        keys = [b"r%011d" % number for number in range(begin, begin + n)]

        def pick(words: list[bytes], n: int = n) -> Slices:
            return Slices([words[i] for i in rng.integers(len(words), size=n)])

        def known(values: Any, n: int = n) -> Doubles:
            return Doubles(np.asarray(values, dtype=np.float64), rng.random(n) < 0.02)

        values = encoder.encode(
            b"\0" + schema_id.to_bytes(4, "big"),
            n,
            {
                "request_id": Slices(keys),
                "tenant": Slices([b"t%d" % (number % 20) for number in range(begin, begin + n)]),
                "event_time": Longs(1_357_000_000_000 + 100 * np.arange(begin, begin + n)),
                "carrier": pick(carriers),
                "origin": pick(origins),
                "dest": pick(dests),
                "distance": Doubles(rng.integers(80, 2_500, n).astype(np.float64)),
                "hour": Longs(rng.integers(5, 24, n)),
                "dep_delay": known(rng.integers(-20, 120, n)),
                "temp": known(rng.uniform(10, 95, n)),
                "wind_speed": known(rng.uniform(0, 30, n)),
                "precip": Doubles(np.zeros(n)),
                "visib": Doubles(np.full(n, 10.0)),
                "trace": Slices([None] * n),
            },
        )
        yield keys, values


def job(schema: dict[str, Any], schema_id: int, requests: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the requests in order; one in ten repeats an earlier one, byte for byte."""
    chance, old = random.Random(SEED), list[tuple[bytes, bytes]]()
    distinct = round(requests * 450_001 / 500_098)
    repeats = requests - distinct
    for keys, values in questions(schema, schema_id, distinct):
        for pair in zip(keys, values, strict=True):
            yield pair
            if len(old) > 1_000 and repeats and chance.random() < 0.1116:
                repeats -= 1
                yield old[chance.randrange(len(old))]
            if len(old) < 20_000:
                old.append(pair)
            else:
                old[chance.randrange(20_000)] = pair
    for _ in range(repeats):
        yield old[chance.randrange(len(old))]


class Bench(Application):
    """The application of the job: the flights contract, and the demo's model of 100 trees with 31 leaves."""

    def __init__(self, stack: Stack, home: Path) -> None:
        self.stack, self.name, self.home, self.sent = stack, "bench", home, 0
        self.lanes = ["bench.requests.live"]
        contract = schemas_dir() / "flights" / "request.v1.avsc"
        model = train(contract, home / "package")
        self.config = home / "bench.toml"
        self.config.write_text(
            f'[app]\nid = "bench"\nstate_dir = "state"\n[kafka]\n"bootstrap.servers" = "{stack.bootstrap}"\n'
            f'[schema_registry]\nurl = "{stack.registry_url}"\n'
            f'[[requests]]\ntopic = "bench.requests.live"\ncontract = "{contract}"\npartitions = 4\n'
            f'[model]\nstore = "file:store"\nname = "flights-late"\nversion = "1"\n'
        )
        self.settings = load(self.config)
        self._begin(model.folder)
        self.schema = json.loads(contract.read_text())

    def _begin(self, package: Path) -> None:
        from streams.kafka.admin import Admin

        found = {subject: schema_id for subject, schema_id, _ in register(self.settings)}
        self.schema_id = found["bench.requests.live-value"]
        register_model(package, open_store(self.settings.model.store))
        topics.apply(self.settings)
        self.admin, self.workers = Admin(self.settings.kafka), []


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Return the peak resident memory of a process, in MB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1_000


def main(requests: int = 500_098, workers: int = 1) -> None:
    """Run the job once and print what it took."""
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder) / "stack") as stack:
        home = Path(folder) / "home"
        home.mkdir()
        bench = Bench(stack, home)
        count = bench.send(job(bench.schema, bench.schema_id, requests))
        broker = stack.pid("broker")
        assert broker is not None
        before, begun = cpu_s(broker), time.monotonic()
        running = [bench.start(f"b-{number:02d}") for number in range(workers)]
        bench.drained(600)
        took = time.monotonic() - begun
        broker_s = cpu_s(broker) - before
        worker_s, peak = sum(cpu_s(worker.pid) for worker in running), max(peak_mb(worker.pid) for worker in running)
        bench.stop()
        report = verify(bench.settings)
        stamps = np.sort([message.timestamp()[1] for message in bench.read([bench.settings.results])])
    n = len(stamps)
    steady = 0.8 * n / max((stamps[int(n * 0.9)] - stamps[int(n * 0.1)]) / 1_000, 1e-9)
    print(f"{client_version()}, Python {platform.python_version()}, {os.cpu_count()} cores, broker on the same ones")
    print(f"{count:,} requests, {n:,} results, verify exit code {report.exit_code}, {dict(report.kinds)}")
    print(f"{steady:,.0f} results/s between 10 % and 90 %; {took:.1f} s from the workers' start to the last commit")
    print(f"CPU a result: workers {worker_s / n * 1e6:.1f} µs (start included), broker {broker_s / n * 1e6:.1f} µs")
    print(f"peak memory of a worker {peak:.0f} MB")
    distinct = round(requests * 450_001 / 500_098)
    if report.exit_code != 0 or report.kinds["SCORED"] != distinct:
        print(f"VOID: expected exactly {distinct:,} SCORED and nothing wrong", *report.lines(), sep="\n")
        sys.exit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
