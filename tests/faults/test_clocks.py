"""Clocks that jump by hours and days, forwards and back: the broker's, which stamps every request, and the workers'."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from streams.dev import Stack
from tests.faults.attack import Feeder, Reader, answers_everywhere, quantile, sizes
from tests.faults.clocks import DAY_S, HOUR_S, Clock, needs_libfaketime, wrong_clocks
from tests.faults.oracle import survived
from tests.integration.application import QUICK, Application, Place, until

OFFSETS_S = (-DAY_S, -HOUR_S, 0, HOUR_S, DAY_S)
pytestmark = needs_libfaketime


class Storm(NamedTuple):
    """How hard it blows."""

    requests: int
    rate: int
    jumps: int


@pytest.fixture
def wrong(stack: Stack, tmp_path: Path) -> Iterator[tuple[Place, Clock]]:
    """A broker with a clock of its own, and the registry of the session."""
    folder = tmp_path / "stack"
    clock = Clock(tmp_path / "broker-clock")
    with wrong_clocks({folder: clock}), Stack(folder, registry=False) as own:
        yield Place(own.bootstrap, stack.registry_url), clock


@sizes("storm", Storm(6_000, 400, 6), Storm(200_000, 300, 100), 1_800)
def test_clocks_that_jump(
    wrong: tuple[Place, Clock],
    storm: Storm,
    unique: str,
    tmp_path: Path,
    seed: int,
    result: Callable[..., None],
) -> None:
    """All within the window of a week: every repeat is known as one, whatever the clocks say, and nobody waits for time to pass."""
    (place, brokers), workers, chance = wrong, Clock(tmp_path / "worker-clock"), random.Random(seed)
    app = Application(place, unique, tmp_path, partitions=6, more=f"{QUICK}[batch]\nrecords = 500\n")
    jumps = {"broker": 0, "workers": 0}
    try:
        reader, feeder = Reader(app), Feeder(app, storm.requests, storm.rate, seed, storm=True)
        app.supervise(2, mutant="marks,patient", environ=workers.environ)
        until(lambda: all(reader.moments.values()), 60, what="answers on every partition")
        while sum(jumps.values()) < storm.jumps:
            whose = chance.choice(list(jumps))
            if (brokers if whose == "broker" else workers).jump(chance.choice(OFFSETS_S)):
                jumps[whose] += 1
                reader.fault()
                answers_everywhere(reader, feeder)
        reader.half(feeder)
        verdict = survived(app, seed, reader, feeder)
    finally:
        app.stop()
    silences = reader.silences()
    result(
        "clocks jump",
        f"{feeder.count:,} requests, one in five a repeat, 2 workers, 6 partitions",
        ", ".join(f"{count} times the {whose}'" for whose, count in jumps.items())
        + ", by up to two days, forwards and back",
        f"0 violations, every repeat known; {verdict.transactions}; answers on every partition after "
        f"{quantile(silences, 0.5):.1f} s (median), {silences[-1]:.1f} s (longest)",
    )
