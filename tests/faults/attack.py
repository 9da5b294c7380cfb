"""What attacks are made with: load, a reader that watches all along, and the verdict."""

import contextlib
import math
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.verify import verify
from tests.integration.application import Application, produce_all, until

HALF_S = 120.0
IN_FLIGHT_S = 0.5
"""What comes so soon after a fault was on its way before it, and does not count as an answer after it."""


class Reader:
    """A read_committed reader that runs while things break: what it has seen cannot be taken back."""

    def __init__(self, app: Application) -> None:
        self.app, self.seen = app, Counter[tuple[str, int, int]]()
        self.topics = (app.settings.results, app.settings.outcomes)
        self.moments: dict[int, list[float]] = {partition: [] for partition in range(app.settings.partitions)}
        """Of each partition: when answers came."""
        self.faults: list[float] = []
        self.early = 0
        """Answers that were seen before the last fault."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self.app.stack.bootstrap,
                "group.id": f"{self.app.name}.watcher",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        consumer.assign([TopicPartition(t, p, 0) for t in self.topics for p in range(self.app.settings.partitions)])
        while not self._stop.is_set():
            for message in consumer.consume(5_000, 0.1):
                if not message.error():
                    self.seen[message.topic() or "", message.partition() or 0, message.offset() or 0] += 1
                    moments = self.moments[message.partition() or 0]
                    now = time.monotonic()
                    # START and GAP have no key, and are no answers
                    if message.key() is not None and (not moments or now > moments[-1] + 0.005):
                        moments.append(now)
        consumer.close()

    def fault(self) -> None:
        """Note that something is being broken now."""
        self.faults.append(time.monotonic())
        self.early = self.seen.total()

    def half(self, feeder: "Feeder") -> None:
        """Wait until more than half of the answers were seen, and call that the last fault's moment."""
        feeder.hurry()
        deadline = time.monotonic() + HALF_S
        while self.early <= feeder.count / 2:
            assert time.monotonic() < deadline, f"{self.early} of {feeder.count} answers seen in {HALF_S} s"
            self.fault()
            self._stop.wait(0.05)

    def silences(self) -> list[float]:
        """Return, of each fault, the seconds until an answer was seen on every partition, as far as answers were due."""
        silences = []
        for fault in self.faults:
            first = [
                next((moment for moment in moments if moment > fault + IN_FLIGHT_S), None)
                for moments in self.moments.values()
            ]
            if None not in first:
                silences.append(max(moment - fault for moment in first if moment is not None))
        return sorted(silences)

    def stop(self, expected: int, seconds: float = 20.0) -> None:
        """Stop when so many were seen, or when they do not come."""
        deadline = time.monotonic() + seconds
        while self.seen.total() < expected and time.monotonic() < deadline:
            self._stop.wait(0.05)
        self._stop.set()
        self._thread.join(10)


class Feeder:
    """Sends requests at a bounded rate in the background, one in five a repeat: `count` of them, or while a storm lasts."""

    def __init__(self, app: Application, count: int, rate: int, seed: int, *, storm: bool = False) -> None:
        """Begin; in a storm, go on after `count` until told to hurry, so that no fault finds nothing to do. The deadlines of
        the storm bound it, and it ends with the application."""
        self.app, self.count, self.rate = app, count, rate
        self.sent = self.fresh = 0
        self._chance = random.Random(seed)
        self._storm = storm
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        step = max(1, self.rate // 10)
        begun, producer = time.monotonic(), self.app.producer()
        while not self.app.over.is_set():
            goes_on = self._storm and not self._hurry.is_set()
            if not goes_on and self.sent >= self.count:
                break
            names = [self._name() for _ in range(step if goes_on else min(step, self.count - self.sent))]
            records = ((name.encode(), self.app.value(name)) for name in names)
            self.app.sent += produce_all(producer, self.app.lanes[0], records)
            self.sent += len(names)
            self._hurry.wait(max(0.0, begun + self.sent / self.rate - time.monotonic()))
        self.count = self.sent

    def _name(self) -> str:
        if self.fresh > 10 and self._chance.random() < 0.2:
            return f"r{self._chance.randrange(max(0, self.fresh - 4_000), self.fresh)}"
        self.fresh += 1
        return f"r{self.fresh - 1}"

    def hurry(self) -> None:
        """Send what is left of the count as fast as it goes, and no more."""
        self._hurry.set()

    def done(self) -> None:
        """Wait until everything is sent."""
        self._thread.join(120)
        assert not self._thread.is_alive(), f"{self.sent:,} of {self.count:,} requests sent"


def sizes(name: str, small: Any, large: Any, seconds: int) -> pytest.MarkDecorator:
    """Run a test small every time, and large in the long tier, where it may take so many seconds."""
    marks = [pytest.mark.long, pytest.mark.timeout(seconds)]
    return pytest.mark.parametrize(name, [small, pytest.param(large, marks=marks)], ids=["ci", "long"])


def arm(app: Application, point: str, fate: str = "kill") -> None:
    """Make the next worker that comes to a crash point die there, or "freeze", or "nap" before it dies."""
    folder = app.home / "points"
    folder.mkdir(exist_ok=True)
    (folder / "frozen").unlink(missing_ok=True)
    (folder / ".arming").write_text(fate)
    (folder / ".arming").rename(folder / point)  # at once: a worker must not find it while it is still empty


def kill(
    app: Application, slots: Sequence[str], chance: random.Random, kind: str = "scorer", seconds: float = 30.0
) -> None:
    """Kill a random live worker with -9; one that dies by itself meanwhile does not count."""

    def killed() -> bool:
        pids = [pid for slot in slots if (pid := app.pid(slot, kind))]
        with contextlib.suppress(ProcessLookupError):
            if pids:
                os.kill(chance.choice(pids), signal.SIGKILL)
                return True
        return False

    until(killed, seconds, what=f"a live {kind}")


def taken(app: Application, point: str) -> bool:
    """Return whether a worker has come to the point that was armed."""
    return not (app.home / "points" / point).exists()


def frozen(app: Application, seconds: float = 60.0) -> int:
    """Wait until a worker is frozen at the point that was armed; return its pid."""
    told = app.home / "points" / "frozen"
    until(lambda: told.exists() and told.read_text() != "", seconds, what="a frozen worker")
    return int(told.read_text())


def answers_everywhere(reader: Reader, feeder: Feeder) -> None:
    """Wait until an answer was seen on every partition since the last fault."""
    fault = reader.faults[-1] + IN_FLIGHT_S
    until(
        lambda: all(moments[-1] > fault for moments in reader.moments.values()),
        60,
        what=f"an answer on every partition, {feeder.sent:,} of {feeder.count:,} requests sent,",
    )


def quantile(ordered: list[float], share: float) -> float:
    """Return a quantile of sorted numbers: the smallest that so many are not above."""
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def right(app: Application, feeder: Feeder | None = None) -> None:
    """Everything checked and right, and as many SCORED as there were distinct requests."""
    report = verify(app.settings)
    assert report.exit_code == 0, "\n".join(report.lines())
    if feeder is not None:
        assert {"SCORED": feeder.fresh, "DUPLICATE": feeder.count - feeder.fresh} == dict(app.kinds())
