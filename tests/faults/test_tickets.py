"""Tickets under attack: who writes them dies, freezes and is replaced in the middle, and an episode has one ticket all the same."""

import inspect
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from streams.cli import main
from streams.dev import Stack
from streams.monitor.ticket import State, Ticket
from streams.monitored import Subject
from streams.performance import read
from streams.verify.monitoring import verify_labels
from tests.faults.attack import arm, frozen, kill, sizes, taken
from tests.faults.instruments import MARK, POINTS, STARTING_POINTS, Attempt, journals
from tests.integration.application import until
from tests.integration.test_drift import CALM, FIRST, HOUR_MS, Ask, Watched, an_hour, judged

DRIFT = {"later": 50.0}
EPISODE = (*[DRIFT] * 3, *[CALM] * 4)
"""A ticket is opened with the second hour, when the third has come, and closed with the sixth: it is written after each from the third
hour to the seventh."""
TICKET_POINTS = ("ticket-produced", "ticket-sent", "ticket-commit-sent", "ticket-committed")
"""Between every two steps of a transaction that has a ticket."""


def ticket_points() -> None:
    """Come by the points of transactions that have a ticket. Its source is run by workers, which have no time for this file's imports."""
    import os
    import signal
    import threading
    import time
    from typing import Any

    from streams import ticketing
    from streams.kafka import sink
    from streams.loop import Loop
    from tests.faults.instruments import home

    # behind what a killed scorer wrote no offset can be committed: 30 s by default, for each decision
    ticketing.STANDS_S = 2.0
    folder, writes = home() / "points", [False]

    def at(point: str) -> None:
        found = folder / f"{point}.{time.time_ns()}.taken"
        try:
            (folder / point).rename(found)
        except FileNotFoundError:
            return
        freezes = found.read_text() == "freeze"
        if freezes:
            (folder / "frozen").write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP if freezes else signal.SIGKILL)

    class Writing(sink.Producer):  # type: ignore[name-defined,misc]
        def begin_transaction(self) -> None:
            writes[0] = False
            super().begin_transaction()

        def produce(self, topic: str, *args: Any, **named: Any) -> None:
            super().produce(topic, *args, **named)
            if topic.endswith(".tickets"):
                writes[0] = True
                if (folder / "ticket-produced").exists():
                    self.flush(1.0)
                    at("ticket-produced")

        def send_offsets_to_transaction(self, *args: Any) -> None:
            super().send_offsets_to_transaction(*args)
            if writes[0]:
                at("ticket-sent")

        def commit_transaction(self, *args: Any) -> None:
            if writes[0] and (folder / "ticket-commit-sent").exists():
                threading.Timer(0.001, at, ["ticket-commit-sent"]).start()
            super().commit_transaction(*args)

    apply: Any = Loop._apply

    def applied(self: Loop, *args: Any) -> None:
        if writes[0]:
            at("ticket-committed")
        apply(self, *args)

    sink.Producer = Writing  # type: ignore[attr-defined]
    Loop._apply = applied  # type: ignore[method-assign,assignment]


WORKER = """
import runpy
from tests.faults.instruments import INSTRUMENTS
INSTRUMENTS["tickets"] = ticket_points
runpy.run_module("tests.faults.worker", run_name="__main__")
"""


class Attacked(Watched):
    """An application whose monitor comes by the points of tickets."""

    def command(self, slot: str, mutant: str = "", kind: str = "scorer") -> list[str]:
        """Return the command of one slot's worker."""
        command = super().command(slot, mutant, kind)
        if "tickets" not in mutant.split(","):
            return command
        return [sys.executable, "-c", inspect.getsource(ticket_points) + WORKER, *command[3:]]


class Storm(NamedTuple):
    """How long it blows, on how many scorers, and where: what is struck after each hour."""

    hours: int
    scorers: int
    struck: Mapping[int, tuple[str, str]]
    """Point and fate, by the number of the hour; of the others chance decides, if `wild`."""
    wild: bool


CI = Storm(
    len(EPISODE),
    1,
    {2: ("ticket-produced", "freeze"), 4: ("ticket-commit-sent", "kill"), 6: ("ticket-produced", "kill")},
    wild=False,
)
LONG = Storm(12 * len(EPISODE) + 3, 2, {2: ("ticket-sent", "freeze"), 9: ("ticket-produced", "kill")}, wild=True)


@pytest.fixture
def attacked(stack: Stack, unique: str, tmp_path: Path) -> Iterator[Attacked]:
    """Return an application with short sessions and transactions; its processes end with the test."""
    more = "transaction_ms = 4000\n[batch]\nrecords = 500\n"
    app = Attacked(stack, unique, tmp_path, partitions=4, more=more)
    yield app
    app.stop()


@sizes("storm", CI, LONG, 1_800)
def test_an_episode_has_one_ticket_under_kills(
    attacked: Attacked,
    storm: Storm,
    seed: int,
    result: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Scorers, and two workers of the monitor. Scorers are killed in the middle of an hour; a monitor dies, or freezes while the other takes its
    partitions, in a transaction that has a ticket. Every hour goes on when the last one is counted, so that no window is judged too
    soon for the want of a worker.
    """
    app, chance, faults = attacked, random.Random(seed), list[str]()
    app.supervise(storm.scorers)
    app.monitor(2, mutant="marks,points,tickets")
    asks: list[Ask] = []
    seen: list[Ticket] = []
    for number in range(storm.hours):
        mine = an_hour(chance, number, **EPISODE[number % len(EPISODE)])
        app.requests(mine[: len(mine) // 2])
        if number % 4 == 1:
            kill(app, app.slots(storm.scorers), chance)
            faults.append("kill -9 of a scorer")
        point, fate = fault(storm, number, chance)
        if point:
            arm(app, point, fate)
            faults.append(f"{fate} at {point}")
        if point in STARTING_POINTS:
            kill(app, app.slots(2, "m"), chance, "monitor")
        app.requests([*mine[len(mine) // 2 :], *chance.sample(asks or mine, 20)])
        asks += mine
        if fate == "freeze":
            replaced(app)
        app.settled(90)
        if point:
            until(lambda point=point: taken(app, point), 60, what=f"a worker at {point}")  # type: ignore[misc]
            now = app.tickets()
            assert seen == now[: len(seen)], "what was seen is not taken back"
            seen = now
    asks += (last := an_hour(chance, storm.hours, n=40))
    app.requests(last)
    app.settled(90)
    tickets = judged(app, asks, storm.hours)
    begins = [number for number in range(storm.hours) if number % len(EPISODE) == 0]
    assert [("delay", begin) for begin in begins] == [
        (ticket.metric, (ticket.first_seen // HOUR_MS - FIRST) // len(EPISODE) * len(EPISODE)) for ticket in tickets
    ]
    still = State.OPEN if storm.hours % len(EPISODE) else State.CLOSED
    assert [*[State.CLOSED] * (len(begins) - 1), still] == [ticket.state for ticket in tickets]
    taken_back = aborted(app)
    assert taken_back > 0, "who died had written a ticket"
    tally = read(app.settings).tally
    assert app.kinds()["SCORED"] == len(asks) == tally["seen.counted"]
    app.stop()
    report = verify_labels(app.settings, Subject(app.settings).rules)
    assert report.exit_code == 0, "\n".join(report.lines())
    assert main(["verify", "-c", str(app.config)]) == 0
    capsys.readouterr()
    result(
        "an episode has one ticket",
        f"{len(asks):,} requests of {storm.hours} hours, {storm.scorers} + 2 workers, 4 partitions",
        ", ".join(f"{faults.count(what)} × {what}" for what in sorted(set(faults))),
        f"{len(tickets)} episodes, {len(tickets)} tickets in {len(app.tickets())} revisions, each there once; "
        f"{taken_back} more were written and taken back; counts equal plain Python's",
    )


def fault(storm: Storm, number: int, chance: random.Random) -> tuple[str, str]:
    """Return where a monitor is struck in an hour, and how; nowhere: ("", "")."""
    if number in storm.struck or not storm.wild:
        return storm.struck.get(number, ("", ""))
    if number % len(EPISODE) < 2:
        return chance.choice(POINTS), "kill"
    return chance.choice(TICKET_POINTS), chance.choice(("kill", "kill", "freeze"))


def replaced(app: Attacked) -> None:
    """Wait until a worker is frozen, and another one has written what it was writing; then wake it."""
    pid, before = frozen(app), len(written(app, "read_uncommitted"))
    try:
        until(lambda: len(written(app, "read_uncommitted")) > before, 60, what="the ticket of another worker")
    finally:
        os.kill(pid, signal.SIGCONT)


def written(app: Attacked, isolation: str) -> Sequence[Any]:
    """Return the records of the tickets' topic."""
    return app.read([app.settings.tickets], isolation)


def aborted(app: Attacked) -> int:
    """Of what was written and taken back nothing can be seen; return how much it is."""
    attempts = journals(app.home / "journal")

    def attempt(message: Any) -> Attempt:
        return attempts.get(dict(message.headers())[MARK].decode(), Attempt(None, None))

    visible, every = written(app, "read_committed"), written(app, "read_uncommitted")
    for message in visible:
        found = attempt(message)
        assert found.sent is not None, "its offsets were not sent, so it cannot be committed"
        assert found.ended != "aborted"
    offsets = {message.offset() for message in visible}
    for message in every:
        assert message.offset() in offsets or attempt(message).ended != "committed"
    return len(every) - len(visible)
