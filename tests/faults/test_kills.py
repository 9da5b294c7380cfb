"""Workers killed with -9, at any moment and at the worst ones; and mutants that must not survive it."""

import os
import random
import signal
from pathlib import Path

import pytest

from streams.dev import Stack
from streams.errors import OffsetsError
from streams.verify import verify
from tests.faults.attack import Feeder, Reader, right
from tests.integration.application import Application, until


def kill_some(
    app: Application, feeder: Feeder, slots: list[str], kills: int, chance: random.Random, *, patience_s: float = 60.0
) -> None:
    """Kill a random live worker with -9 each time that some more requests are answered."""
    for number in range(kills):
        goal = feeder.count * (number + 1) // (kills + 2)
        until(lambda goal=goal: feeder.sent - app.lag() >= goal, patience_s, what="progress")  # type: ignore[misc]
        alive = [pid for pid in map(app.pid, slots) if pid]
        if alive:
            os.kill(chance.choice(alive), signal.SIGKILL)


def stopped(app: Application) -> bool:
    """Whether a supervised worker stopped for a reason that a restart cannot cure."""
    return "worker stopped" in app.log("supervisor-s")


def test_kill_9_ten_times_under_a_live_reader(application: Application, capsys: pytest.CaptureFixture[str]) -> None:
    """50,000 requests, two workers, ten kills: nothing lost, nothing doubled, nothing seen that is not there afterwards."""
    app, seed = application, random.SystemRandom().randrange(2**32)
    reader, feeder = Reader(app), Feeder(app, 50_000, 5_000, seed)
    app.supervise(2)
    kill_some(app, feeder, app.slots(2), 10, random.Random(seed))
    early = sum(reader.seen.values())
    feeder.done()
    took = app.drained()
    reader.finish()
    with capsys.disabled():
        print(
            f"[10 kills, seed {seed}: drained {took:.1f} s after the last request, {early} answers seen before the last kill]"
        )
    assert early > feeder.count / 2
    right(app, feeder)


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


def test_kills_between_commit_and_local_write(application: Application) -> None:
    """The moment in which the log is ahead of the disk, held open for 0.2 s a batch: the restart repeats it from the log."""
    app = application
    feeder = Feeder(app, 15_000, 5_000, 7)
    app.supervise(2, mutant="slow-apply")
    kill_some(app, feeder, app.slots(2), 6, random.Random(7))
    feeder.done()
    app.drained(90)
    right(app, feeder)


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


def test_lost_commit_answers_are_recovered_from_the_log(application: Application) -> None:
    """Every fifth commit's answer is lost: the outcome is unknown, the worker restarts and looks; nothing doubled or lost."""
    app = application
    feeder = Feeder(app, 10_000, 5_000, 3)
    app.supervise(1, mutant="lost-answers")
    feeder.done()
    app.drained(90)
    assert "outcome is unknown" in app.log("supervisor-s")
    right(app, feeder)


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
