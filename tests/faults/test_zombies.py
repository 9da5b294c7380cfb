"""Processes that are stopped, replaced, and wake: they must write nothing any more, and come back by themselves."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from streams.dev import Stack
from tests.faults.attack import Feeder, Reader, answers_everywhere, arm, frozen, quantile, sizes
from tests.faults.instruments import POINTS
from tests.faults.oracle import judge, survived
from tests.integration.application import Application, until

SESSION_S, TRANSACTION_S = 3.0, 4.0
WHERE = (*POINTS[POINTS.index("decided") : POINTS.index("applied")], "read")
"""Where a worker is frozen: in the middle of a transaction, and just outside it."""
FACTORS = (0.5, 1.2, 2.0, 3.0)
REJOIN_S = 20.0


class Graveyard(NamedTuple):
    """How many rise, and under how much load."""

    zombies: int
    requests: int
    rate: int


CI = Graveyard(4, 14_000, 400)
LONG = Graveyard(50, 200_000, 300)


@pytest.fixture
def app(stack: Stack, unique: str, tmp_path: Path) -> Iterator[Application]:
    """An application with short sessions and transactions."""
    limits = f"[limits]\nsession_ms = {SESSION_S * 1000:.0f}\ntransaction_ms = {TRANSACTION_S * 1000:.0f}\n"
    app = Application(stack, unique, tmp_path, partitions=6, more=f"{limits}[batch]\nrecords = 500\n")
    yield app
    app.stop()


@sizes("graveyard", CI, LONG, 1_800)
def test_zombies(app: Application, graveyard: Graveyard, seed: int, result: Callable[..., None]) -> None:
    """Three workers; one is frozen at a chosen point for 0.5 to 3 times its session or its transaction; now and then the
    supervisor is frozen, and one of its workers killed meanwhile.
    """
    chance = random.Random(seed)
    reader, feeder = Reader(app), Feeder(app, graveyard.requests, graveyard.rate, seed, storm=True)
    supervisor = app.supervise(3, mutant="marks,points")
    until(lambda: all(reader.moments.values()), 60, what="answers on every partition")
    wheres = [*chance.sample(WHERE, 3), "supervisor"] * (graveyard.zombies // 4 + 1)
    rejoined, longest = [], 0.0
    for where in wheres[: graveyard.zombies]:
        nap = chance.choice(FACTORS) * chance.choice((SESSION_S, TRANSACTION_S))
        longest = max(longest, nap)
        if where == "supervisor":
            victim = supervisor.pid
            os.kill(victim, signal.SIGSTOP)
            os.kill(chance.choice([pid for pid in map(app.pid, app.slots(3)) if pid]), signal.SIGKILL)
        else:
            arm(app, where, "freeze")
            victim = frozen(app)
        reader.fault()
        time.sleep(nap)  # the nap is the fault
        reader.fault()
        os.kill(victim, signal.SIGCONT)
        rejoined.append(
            until(lambda: shares(app) == [2, 2, 2], REJOIN_S, what="three workers with two partitions each")
        )
        answers_everywhere(reader, feeder)
    reader.half(feeder)
    verdict = survived(app, seed, reader, feeder)
    result(
        "a worker or its supervisor freezes, is replaced, and wakes",
        f"{feeder.count:,} requests, 3 workers, 6 partitions, session {SESSION_S:.0f} s, transaction {TRANSACTION_S:.0f} s",
        f"{graveyard.zombies} times SIGSTOP, for up to {longest:.1f} s, a quarter of them the supervisor's, with a worker killed "
        "meanwhile",
        f"0 violations; {verdict.transactions}; three workers at work again after {quantile(sorted(rejoined), 0.5):.1f} s (median), "
        f"{max(rejoined):.1f} s (longest)",
    )


def shares(app: Application) -> list[int]:
    """Return how many partitions each member of the group has."""
    return sorted(len(tps) for tps in app.admin.assigned(app.settings.group).values())


@pytest.mark.parametrize("where", ["looked-up-committed", "restoring"])
def test_a_worker_that_freezes_while_it_recovers(app: Application, where: str, seed: int) -> None:
    """When it wakes, its successor has moved the offsets on: that is no reason to stop, and to ask for a person."""
    reader, feeder = Reader(app), Feeder(app, 6_000, 1_000, seed)
    arm(app, where, "freeze")
    app.supervise(1, instance="z", mutant="marks,points")
    zombie = frozen(app)
    app.start("t-00", "marks")
    until(lambda: feeder.sent - app.lag() > 3_000, 60, what="the takeover")
    reader.fault()
    os.kill(zombie, signal.SIGCONT)
    feeder.done()
    app.drained()
    until(lambda: shares(app) == [3, 3], REJOIN_S, what="two workers with three partitions each")
    assert "OFFSETS_WENT" not in app.log("supervisor-z")
    judge(app, seed, reader=reader, feeder=feeder).right()
