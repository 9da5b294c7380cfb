"""Brokers that die and come back under load, one after the other and two at once."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from streams.dev import Stack
from tests.faults.attack import Feeder, Reader, answers_everywhere, quantile, sizes
from tests.faults.clocks import COMPILER, HOUR_S, Clock, wrong_clocks
from tests.faults.cluster import NODES, Cluster
from tests.faults.oracle import survived
from tests.integration.application import QUICK, Application, until

QUORUM_LOST_S = 20.0


class Storm(NamedTuple):
    """How hard it blows."""

    requests: int
    rate: int
    hard: int
    clean: int
    quorum: int


CI = Storm(12_000, 400, 2, 0, 0)
LONG = Storm(300_000, 300, 30, 30, 10)


@pytest.fixture
def cluster(stack: Stack, tmp_path: Path) -> Iterator[Cluster]:
    """Three brokers whose clocks are an hour apart (where there is a C compiler), and the registry of the session."""
    folder = tmp_path / "cluster"
    wrong_s = {node: (node - NODES[1]) * HOUR_S for node in NODES} if COMPILER else {}
    clocks = {folder / f"node-{node}": Clock(tmp_path / f"clock-{node}", by) for node, by in wrong_s.items()}
    with wrong_clocks(clocks), Cluster(folder, stack.registry_url) as cluster:
        yield cluster


@sizes("storm", CI, LONG, 2_400)
def test_a_storm_of_brokers(
    cluster: Cluster, storm: Storm, unique: str, tmp_path: Path, seed: int, result: Callable[..., None]
) -> None:
    """Leaders of everything, coordinators among them, are killed and stopped; two at once take the quorum away for 20 s."""
    chance = random.Random(seed)
    app = Application(cluster, unique, tmp_path, partitions=6, more=f"{QUICK}[batch]\nrecords = 500\n")
    plan = ["hard"] * storm.hard + ["clean"] * storm.clean + ["quorum"] * storm.quorum
    chance.shuffle(plan)
    silent: dict[str, list[float]] = {"hard": [], "clean": [], "quorum": []}
    try:
        reader, feeder = Reader(app), Feeder(app, storm.requests, storm.rate, seed, storm=True)
        app.supervise(2, mutant="marks")
        until(lambda: all(reader.moments.values()), 60, what="answers on every partition")
        for kind in plan:
            gone = chance.sample(NODES, 2 if kind == "quorum" else 1)
            (cluster.stop if kind == "clean" else cluster.kill)(*gone)
            reader.fault()
            if kind == "quorum":
                time.sleep(QUORUM_LOST_S)
                cluster.start(*gone)
                reader.fault()  # what is measured begins when the quorum is back
            answers_everywhere(reader, feeder)
            silent[kind].append(time.monotonic() - reader.faults[-1])
            if kind != "quorum":
                cluster.start(*gone)
        reader.half(feeder)
        survived(app, seed, reader, feeder)
    finally:
        app.stop()
    result(
        "brokers die, are restarted, lose their quorum",
        f"{feeder.count:,} requests, 2 workers, 6 partitions, 3 brokers{', clocks an hour apart' if COMPILER else ''}, replication 3, min.isr 2",
        f"{storm.hard} kill -9, {storm.clean} clean restarts, {storm.quorum} times two at once for 20 s",
        f"0 violations; {reader.early:,} answers seen before the last fault; answers on every partition again after (s, median "
        "and longest): "
        + ", ".join(f"{kind} {quantile(sorted(s), 0.5):.1f} {max(s):.1f}" for kind, s in silent.items() if s),
    )
