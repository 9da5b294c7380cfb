"""Clocks that jump by hours and days, forwards and back: the brokers', which stamp every request.

Our own code asks for the time of day only to show it: time-outs go by the monotonic clock, which cannot jump, and the
window by what the broker stamped.
"""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from streams.dev import Stack
from streams.errors import Fenced
from streams.records import TP
from tests.faults.attack import Feeder, Reader, answers_everywhere, arm, frozen, quantile, sizes
from tests.faults.clocks import DAY_S, HOUR_S, Clock, needs_compiler, wrong_clocks
from tests.faults.oracle import judge, survived
from tests.integration.application import QUICK, Application, Place, until

OFFSETS_S = (-DAY_S, -HOUR_S, 0, HOUR_S, DAY_S)


class Storm(NamedTuple):
    """How hard it blows."""

    requests: int
    rate: int
    jumps: int


@needs_compiler
def test_a_coordinator_whose_clock_is_ahead(stack: Stack, unique: str, tmp_path: Path, seed: int) -> None:
    """It takes an open transaction for an hour old, and fences the worker: that is no reason to stay down."""
    folder, clock = tmp_path / "stack", Clock(tmp_path / "clock")
    with wrong_clocks({folder: clock}), Stack(folder, registry=False) as own:
        app = Application(Place(own.bootstrap, stack.registry_url), unique, tmp_path)
        logs = [TP(app.settings.results, partition) for partition in range(app.settings.partitions)]
        try:
            reader, feeder = Reader(app), Feeder(app, 1_000, 500, seed)
            arm(app, "produced", "freeze")
            app.supervise(1, mutant="marks,points")
            pid = frozen(app)
            clock.jump(HOUR_S)
            until(lambda: app.admin.offsets(logs, "stable") == app.admin.offsets(logs, "latest"), 20, what="the abort")
            reader.fault()
            os.kill(pid, signal.SIGCONT)
            feeder.done()
            app.drained()
            assert f"code={Fenced.code}" in app.log("supervisor-s")
            judge(app, seed, reader=reader, feeder=feeder).right()
        finally:
            app.stop()


@needs_compiler
def test_workers_whose_clocks_are_days_apart(application: Application, tmp_path: Path, seed: int) -> None:
    """And jump, and hand their partitions to each other: nothing that is decided asks a worker for the time of day."""
    app, clocks = (
        application,
        [Clock(tmp_path / f"clock-{number}", wrong_s) for number, wrong_s in enumerate((9 * DAY_S, -9 * DAY_S))],
    )
    reader, feeder = Reader(app), Feeder(app, 4_000, 500, seed)
    workers = []
    for number, clock in enumerate(clocks):
        with patch.dict(os.environ, clock.environ):
            workers.append(app.start(f"t-{number:02d}", mutant="marks"))
    until(lambda: all(reader.moments.values()), 60, what="answers on every partition")
    for clock in clocks:
        clock.jump(-clock.wrong_s)
    reader.fault()
    answers_everywhere(reader, feeder)
    workers[0].terminate()
    workers[0].wait(15)
    feeder.done()
    app.drained()
    reader.fault()
    assert [worker.poll() for worker in workers] == [0, None]
    judge(app, seed, reader=reader, feeder=feeder).right()


@needs_compiler
@sizes("storm", Storm(6_000, 800, 4), Storm(200_000, 400, 100), 1_800)
def test_clocks_that_jump(
    stack: Stack, storm: Storm, unique: str, tmp_path: Path, seed: int, result: Callable[..., None]
) -> None:
    """All within the window of a week: every repeat is known as one, whatever the clock says, and nobody waits for a time."""
    chance, folder, clock = random.Random(seed), tmp_path / "stack", Clock(tmp_path / "clock")
    with wrong_clocks({folder: clock}), Stack(folder, registry=False) as own:
        place = Place(own.bootstrap, stack.registry_url)
        app = Application(place, unique, tmp_path, partitions=6, more=f"{QUICK}[batch]\nrecords = 500\n")
        try:
            reader, feeder = Reader(app), Feeder(app, storm.requests, storm.rate, seed, storm=True)
            app.supervise(2, mutant="marks")
            until(lambda: all(reader.moments.values()), 60, what="answers on every partition")
            restarts = 0
            for _ in range(storm.jumps):
                reader.fault()
                to = chance.choice([wrong_s for wrong_s in OFFSETS_S if wrong_s != clock.wrong_s])
                back = to < clock.wrong_s
                if back:  # a Kafka that runs has stopped answering its clients after one of a hundred jumps back
                    own.kill_broker()
                clock.jump(to)
                if back:
                    own.start_broker()
                    restarts += 1
                answers_everywhere(reader, feeder)
            reader.half(feeder)
            verdict = survived(app, seed, reader, feeder)
        finally:
            app.stop()
    silences = reader.silences()
    result(
        "the broker's clock jumps",
        f"{feeder.count:,} requests, one in five a repeat, 2 workers, 6 partitions",
        f"{storm.jumps} jumps by up to two days, {restarts} of them back, each of these beside a kill -9 of the broker",
        f"0 violations, every repeat known; {verdict.transactions}; answers on every partition after "
        f"{quantile(silences, 0.5):.1f} s (median), {silences[-1]:.1f} s (longest)",
    )
