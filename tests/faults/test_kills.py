"""Workers killed with -9, at any moment and at the worst ones; and mutants that must not survive it."""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from streams.dev import Stack
from streams.errors import OffsetsError
from streams.verify import verify
from tests.faults.attack import Feeder, Reader, answers_everywhere, arm, kill, quantile, sizes
from tests.faults.instruments import MOVING_POINTS, POINTS, STARTING_POINTS
from tests.faults.oracle import survived
from tests.integration.application import Application, until


def stopped(app: Application) -> bool:
    """Whether a supervised worker stopped for a reason that a restart cannot cure."""
    return "worker stopped" in app.log("supervisor-s")


class Storm(NamedTuple):
    """How hard it blows."""

    requests: int
    rate: int
    kills: int
    times: int
    """So often is every crash point come to."""


CI = Storm(50_000, 700, 20, 1)
LONG = Storm(1_000_000, 2_500, 100, 3)


@sizes("storm", CI, LONG, 1_800)
def test_a_storm_of_kills(twelve: Application, storm: Storm, seed: int, result: Callable[..., None]) -> None:
    """Four workers, twelve partitions: kill -9 at any moment, and at every crash point; the reader looks on all along."""
    app, chance = twelve, random.Random(seed)
    reader, feeder = Reader(app), Feeder(app, storm.requests, storm.rate, seed, storm=True)
    app.supervise(4, mutant="marks,points")
    until(lambda: all(reader.moments.values()), 60, what="answers on every partition")
    rounds = [points for _ in range(storm.times) for points in gusts(chance)]
    kills = 0
    for number, points in enumerate(rounds):
        while kills < storm.kills * (number + 1) // len(rounds):
            kill_one(app, reader, chance)
            kills += 1
        come_to(app, reader, points, number, chance)
        answers_everywhere(reader, feeder)
    while reader.early <= feeder.count / 2:  # most of the reading must be done while things break
        kill_one(app, reader, chance)
        kills += 1
        answers_everywhere(reader, feeder)
    feeder.hurry()
    verdict = survived(app, seed, reader, feeder)
    silences = reader.silences()
    result(
        "a worker is killed at any moment",
        f"{feeder.count:,} requests, one in five a repeat, 4 workers, 12 partitions",
        f"{kills} kill -9, and a death at each of {len(POINTS + MOVING_POINTS)} crash points, {storm.times} times",
        f"0 violations; {reader.early:,} answers seen before the last fault; "
        f"{verdict.transactions}; "
        f"fault to answers on every partition: median {quantile(silences, 0.5):.1f} s, p95 {quantile(silences, 0.95):.1f} s, "
        f"longest {silences[-1]:.1f} s",
    )


def gusts(chance: random.Random) -> list[list[str]]:
    """Return all crash points in a random order: those that every worker comes by by threes, the others one by one."""
    usual = chance.sample(POINTS, len(POINTS))
    gusts = [usual[at : at + 3] for at in range(0, len(usual), 3)] + [[point] for point in MOVING_POINTS]
    return chance.sample(gusts, len(gusts))


def kill_one(app: Application, reader: Reader, chance: random.Random) -> None:
    """Kill a random live worker with -9."""
    kill(app, app.slots(4), chance)
    reader.fault()


def come_to(app: Application, reader: Reader, points: Sequence[str], number: int, chance: random.Random) -> None:
    """Arm crash points and wait until workers have died there; for some, one more must come, or come and go."""
    folder = app.home / "points"
    before = len(list(folder.glob("*.taken")))
    visitor, slot = None, f"v-{number:02d}"
    if {*points} & {*MOVING_POINTS}:
        visitor = app.start(slot, "marks,points")
    if "leaving" in points:
        until(lambda: "recovered" in app.log(slot), 30, what="the visitor's assignment")
    for point in points:
        arm(app, point)
    if visitor is not None and "leaving" in points:
        visitor.terminate()
    for point in points:
        if point in STARTING_POINTS:
            kill_one(app, reader, chance)
    until(lambda: len(list(folder.glob("*.taken"))) == before + len(points), 60, what=f"deaths at {points}")
    reader.fault()
    if visitor is not None:
        visitor.kill()
        visitor.wait()


def test_the_mutant_state_before_commit_goes_red_under_kills(application: Application) -> None:
    """Its disk remembers answers that nobody ever saw, and frames that nobody committed: the worker sees it, and stops."""
    app = application
    feeder = Feeder(app, 15_000, 5_000, 7)
    app.supervise(1, mutant="state-before-commit")
    until(lambda: feeder.sent - app.lag() >= 1_000, 30, what="progress")
    for _ in range(4):
        pid = app.pid("s-00")
        if pid and not stopped(app):
            os.kill(pid, signal.SIGKILL)
            recovered = app.log("supervisor-s").count("recovered")
            until(lambda n=recovered: stopped(app) or app.log("supervisor-s").count("recovered") > n, 20)  # type: ignore[misc]
    feeder.done()
    until(lambda: stopped(app), 30, what="the mutant's end")
    assert f"worker stopped                 code={OffsetsError.code}" in app.log("supervisor-s")
    assert app.lag() > 0


def test_a_killed_worker_has_its_partitions_back_long_before_its_session_ends(
    stack: Stack, unique: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Static membership: the restarted one is taken for the same member. A dynamic one would wait for the time-out."""
    app = Application(stack, unique, tmp_path, more="[limits]\nsession_ms = 20000\n")
    try:
        app.supervise(1)
        app.ask(["a"])
        app.drained()
        pid = app.pid("s-00")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        app.ask(["b", "c", "d"])
        took = app.drained()
        with capsys.disabled():
            print(f"[answering again {took:.1f} s after kill -9, with a session of 20 s]")
        assert took < 10
        assert dict(app.kinds()) == {"SCORED": 4}
    finally:
        app.stop()


def test_the_mutant_unknown_is_aborted_goes_red(application: Application) -> None:
    """What was committed is done again: `verify` names it DOUBLED, with coordinates."""
    app = application
    feeder = Feeder(app, 10_000, 5_000, 7)
    app.supervise(1, mutant="unknown-is-aborted")
    feeder.done()
    app.drained()
    report = verify(app.settings)
    assert 1 == report.exit_code
    assert report.violations["DOUBLED"] > 0


@sizes("times", 1, 20, 1_800)
def test_how_soon_answers_come_again(twelve: Application, times: int, seed: int, result: Callable[..., None]) -> None:
    """One fault at a time: a worker that is started again, and one that is not and leaves a transaction open behind it."""
    app, chance = twelve, random.Random(seed)
    reader, feeder = Reader(app), Feeder(app, times * 9_000, 300, seed, storm=True)
    app.supervise(2, mutant="marks")
    until(lambda: all(reader.moments.values()), 60, what="answers on every partition")
    restarted, dead = [], []
    for number in range(times):
        pid = chance.choice([pid for pid in map(app.pid, app.slots(2)) if pid])
        reader.fault()
        os.kill(pid, signal.SIGKILL)
        answers_everywhere(reader, feeder)
        restarted.append(time.monotonic() - reader.faults[-1])
        die_for_good(app, f"d-{number:02d}")
        reader.fault()
        answers_everywhere(reader, feeder)
        dead.append(time.monotonic() - reader.faults[-1])
    reader.half(feeder)
    survived(app, seed, reader, feeder)
    restarted.sort()
    result(
        "answers come again soon",
        f"{feeder.count:,} requests, 300 a second, 2 and 3 workers, 12 partitions, session 3 s, transaction 10 s, abort scan 1 s",
        f"{times} kill -9 of a worker that is started again, {times} of one that is not, with its transaction open",
        f"fault to answers on every partition: started again median {quantile(restarted, 0.5):.1f} s, p95 "
        f"{quantile(restarted, 0.95):.1f} s; dead for good median {quantile(sorted(dead), 0.5):.1f} s, longest {max(dead):.1f} s",
    )


def die_for_good(app: Application, slot: str) -> None:
    """Have one more worker take its share of the partitions, and die with a transaction open; nobody starts it again."""
    worker = app.start(slot, "marks,points")
    until(lambda: slot in app.admin.assigned(app.settings.group), 30, what="one more worker")
    until(lambda: "recovered" in app.log(slot), 30, what="its recovery")
    arm(app, "offsets-sent")
    worker.wait(30)
