"""Everything at once, for as long as one likes: a new mix of faults all the time, through the proxy and beside it."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.dev import Stack
from tests.faults.attack import Feeder, Reader, answers_everywhere, arm, quantile
from tests.faults.instruments import POINTS, STARTING_POINTS
from tests.faults.oracle import survived
from tests.faults.proxy import Api, Frame, Harm, Proxy, Rule
from tests.integration.application import QUICK, Application, until

TIME_S = float(os.environ.get("ANSWERONCE_TIME", "1200"))
RATE = 500
PAUSE_S = (0.0, 8.0)
"""Between two faults, from the moment at which all partitions answer again."""


@pytest.mark.long
@pytest.mark.timeout(TIME_S + 900)
def test_soak(stack: Stack, proxy: Proxy, unique: str, tmp_path: Path, seed: int, result: Callable[..., None]) -> None:
    """Kills, freezes, crash points, cut and mute connections, late, lost and repeated requests, a broker that dies."""
    chance = random.Random(seed)
    more = f"{QUICK}transaction_ms = 5000\n[batch]\nrecords = 500\n"
    app = Application(stack, unique, tmp_path, partitions=8, more=more, bootstrap=proxy.bootstrap)
    faults: list[Callable[[], None]] = [
        lambda: strike(worker(app, chance), signal.SIGKILL),
        lambda: freeze(app, chance),
        lambda: die_at(app, chance),
        proxy.cut,
        lambda: away(proxy, chance),
        lambda: mute(proxy, chance),
        lambda: harm(proxy, chance),
        lambda: harm(proxy, chance),
        lambda: broker(stack, chance),
    ]
    names = ["kill", "freeze", "crash point", "cut", "unreachable", "mute", "one request", "one request", "broker"]
    done: Counter[str] = Counter()
    try:
        reader, feeder = Reader(app), Feeder(app, int(TIME_S * RATE), RATE, seed, storm=True)
        app.supervise(3, mutant="marks,points")
        until(lambda: all(reader.moments.values()), 60, what="answers on every partition")
        end = time.monotonic() + TIME_S * 0.95
        while time.monotonic() < end:
            for number in chance.sample(range(len(faults)), chance.choice([1, 1, 1, 2, 3])):
                done[names[number]] += 1
                faults[number]()
            reader.fault()
            answers_everywhere(reader, feeder)
            time.sleep(chance.uniform(*PAUSE_S))
        proxy.clear()
        feeder.hurry()
        verdict = survived(app, seed, reader, feeder, seconds=300)
    finally:
        app.stop()
    silences = reader.silences()
    result(
        "all of it at once",
        f"{feeder.count:,} requests in {TIME_S / 60:.0f} minutes, 3 workers, 8 partitions, session 3 s, transaction 5 s",
        ", ".join(f"{count} × {name}" for name, count in sorted(done.items())),
        f"0 violations; {reader.early:,} answers seen before the last fault; {verdict.transactions}; "
        f"answers on every partition after "
        f"{quantile(silences, 0.5):.1f} s (median), {quantile(silences, 0.95):.1f} s (p95), {silences[-1]:.1f} s (longest)",
    )


def worker(app: Application, chance: random.Random) -> int:
    """Return a live worker's pid."""
    until(lambda: any(map(app.pid, app.slots(3))), 60, what="a live worker")
    return chance.choice([pid for pid in map(app.pid, app.slots(3)) if pid])


def strike(pid: int, number: signal.Signals) -> None:
    """Send a signal; another fault may have been faster."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def freeze(app: Application, chance: random.Random) -> None:
    """Freeze a worker for up to three sessions."""
    pid = worker(app, chance)
    strike(pid, signal.SIGSTOP)
    time.sleep(chance.uniform(0.2, 9.0))
    strike(pid, signal.SIGCONT)


def die_at(app: Application, chance: random.Random) -> None:
    """Have a worker die at a crash point."""
    point = chance.choice(POINTS)
    arm(app, point)
    if point in STARTING_POINTS:
        strike(worker(app, chance), signal.SIGKILL)


def away(proxy: Proxy, chance: random.Random) -> None:
    """Nobody reaches the broker for a while."""
    proxy.cut(refuse=True)
    time.sleep(chance.uniform(0.5, 8.0))
    proxy.clear()


def mute(proxy: Proxy, chance: random.Random) -> None:
    """Requests arrive, and no reply comes back, for a while: half a partition."""
    proxy.add(Rule(Harm.DROP, lambda _: True, reply=True, times=None))
    time.sleep(chance.uniform(0.5, 6.0))
    proxy.clear()
    proxy.cut()  # who was mute does not speak again: TCP would have given up


def harm(proxy: Proxy, chance: random.Random) -> None:
    """Do harm to one request or its reply."""
    api = chance.choice(
        [
            Api.END_TXN,
            Api.END_TXN,
            Api.TXN_OFFSET_COMMIT,
            Api.PRODUCE,
            Api.ADD_PARTITIONS_TO_TXN,
            Api.FETCH,
            Api.HEARTBEAT,
        ]
    )
    reply = chance.random() < 0.4
    kind = chance.choice([Harm.HOLD, Harm.CUT] if reply else [Harm.HOLD, Harm.CUT, Harm.LATE])
    delay = chance.choice([0.05, 0.3, 2.0, 7.0]) * chance.random()

    def wants(frame: Frame) -> bool:
        return frame.api == api

    for _ in range(chance.choice([1, 1, 4])):
        proxy.add(Rule(kind, wants, reply=reply, delay=lambda: delay))


def broker(stack: Stack, chance: random.Random) -> None:
    """The broker dies, or ends in order, and comes back."""
    (stack.kill_broker if chance.random() < 0.5 else stack.stop_broker)()
    time.sleep(chance.uniform(0.0, 5.0))
    stack.start_broker()
