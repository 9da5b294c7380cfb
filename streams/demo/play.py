"""The play: requests go out at a steady rate, a worker is killed in the middle, and all answers are waited for.

One thread does everything in turns of about 20 ms: it sends what is due, reads what was answered, and looks whether it
is time to kill. What is due depends on the clock alone (an open loop): requests come whether they are answered or not.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from streams.demo.stage import TOPIC, Stage
from streams.demo.traffic import Planned, Sender
from streams.demo.watch import Watch
from streams.demo.workers import Workers
from streams.errors import Unreachable
from streams.kafka.admin import Admin
from streams.kafka.produce import Partitioner, RequestProducer
from streams.kafka.tail import Tail
from streams.records import TP

FIRST = 40
"""So many requests are sent at once, and their answers waited for, before the clock starts."""
FIRST_S = 60.0
RATE, RATE_MAX, PLAY_S = 1_000.0, 5_000.0, 60.0
"""Requests a second, at least and at most; and how long the play should be, with a rate in between."""
KILL_FROM, KILL_AT_LAST = 0.47, 0.58
"""Shares of all answers: from the first on, the worker is killed once it has a batch in its hands; at the second, anyway."""
LOOK_S, LAST_LOOK_S = 0.05, 2.0
"""How long one looks for a batch in its hands, each turn and the last time: on a slow machine a transaction takes longer."""
TURN_S = 0.02
SAY_S = 1.0
STALL_S = 60.0
"""Without a new answer for so long, waiting is given up; what is missing then is reported."""
SETTLE_S = 15.0
PARTITIONERS: Mapping[Sender, Partitioner] = {
    "main": "murmur2_random",
    "second": "murmur2_random",
    "crc32": "consistent_random",
    "again": "murmur2_random",
}


class Kill(NamedTuple):
    """The worker that was killed, and what was true at that moment."""

    slot: str
    pid: int
    at_ms: int
    """Wall clock, which the broker on this machine shares."""
    sent: int
    to_come: int
    """Requests that were not even sent."""
    answered: int
    """Answers that a read_committed reader had seen."""
    ends: Mapping[TP, int]
    """The worker's partitions, and where each ended when it was dead."""
    in_hand: Mapping[TP, range]
    """Offsets of the batch that it had read and not finished."""


class Played(NamedTuple):
    """What happened."""

    total: int
    """Requests that were to be sent."""
    sent: int
    sending_s: float
    """How long sending them took."""
    lag: int
    """Requests that were not committed when waiting ended."""
    kill: Kill | None
    restarted_ms: int | None
    """From the kill until a new process held the slot."""


class Line(NamedTuple):
    """One line of the live table."""

    seconds: float
    sent: int
    rate: float
    """Answers a second since the line before."""
    kinds: Mapping[str, int]
    """Answers so far, by kind."""


class Play:
    """One run of the traffic, played once.

    Args:
        stage: what was prepared.
        workers: they run, and have their partitions.
        watch: told every answer.
        seed: chooses who is killed.
        show: told a line a second.
        tell: told what happens in between.
    """

    def __init__(
        self,
        stage: Stage,
        workers: Workers,
        watch: Watch,
        *,
        seed: int,
        show: Callable[[Line], None],
        tell: Callable[[str], None],
    ) -> None:
        self._stage, self._workers, self._watch = stage, workers, watch
        self._show, self._tell = show, tell
        self._victim = random.Random(seed).choice(workers.slots)
        self._admin = Admin(stage.settings.kafka)
        self._clients = {
            sender: RequestProducer(stage.settings.kafka, TOPIC, partitioner)
            for sender, partitioner in PARTITIONERS.items()
        }
        self._stream, self._again = stage.traffic
        self._total = len(self._stream) + len(self._again)
        self._rate = max(RATE, min(RATE_MAX, self._total / PLAY_S))
        self._due = 0
        self._sent = 0
        self._kill: Kill | None = None
        self._restarted_ms: int | None = None
        self._silent: set[TP] = set()

    def run(self) -> Played:
        """Play from the first request to the last answer. Raises: Stop."""
        try:
            with Tail(self._stage.settings.kafka, self._stage.answers) as tail:
                self._warm_up(tail)
                sending_s = self._run(tail)
                lag = self._settle(tail)
        finally:
            for client in self._clients.values():
                client.close()
        return Played(self._total, self._sent, sending_s, lag, self._kill, self._restarted_ms)

    def _warm_up(self, tail: Tail) -> None:
        """Begin when every worker answers: the first answers of all wait for models, contracts and connections."""
        deadline = time.monotonic() + FIRST_S
        self._send(self._stream[:FIRST])
        self._due = FIRST
        while self._watch.count < FIRST:
            self._workers.check()
            self._watch.take(tail.read(TURN_S))
            if time.monotonic() > deadline:
                raise Unreachable(f"The first {FIRST} requests are not answered after {FIRST_S:.0f} s.")
        self._tell(f"the first {FIRST} requests are answered; from now on {self._rate:,.0f} a second, answered or not")

    def _run(self, tail: Tail) -> float:
        """Send, kill and watch until all is answered, or nothing comes any more; return how long sending took."""
        begun = said = moved = time.monotonic()
        seen, sending_s = self._watch.count, 0.0
        while True:
            now = time.monotonic()
            was, self._due = self._due, min(FIRST + int((now - begun) * self._rate), len(self._stream))
            self._send(self._stream[was : self._due])
            all_sent = self._due == len(self._stream)
            sending_s = sending_s or (now - begun if all_sent else 0.0)
            if self._kill is None:
                self._strike()  # now: what was just sent is in somebody's hands in a moment, and no longer after the next read
            self._watch.take(tail.read(TURN_S))
            if self._kill is not None:
                self._look_after(self._kill)
            if now - said >= SAY_S:
                self._workers.check()
                self._show(Line(now - begun, self._sent, (self._watch.count - seen) / (now - said), self._watch.kinds))
                moved = now if self._watch.count > seen else moved
                seen, said = self._watch.count, now
            if all_sent and (self._watch.count >= self._sent or now - moved > STALL_S):
                return sending_s

    def _send(self, records: Sequence[Planned]) -> None:
        for record in records:
            self._clients[record.sender].send(record.key, record.value)
        for client in self._clients.values():
            client.serve()
        self._sent += len(records)

    def _strike(self) -> None:
        """Kill the worker if it is time; whoever got no answer then asks again."""
        share = self._watch.count / self._total
        patience_s = LOOK_S if share < KILL_AT_LAST else LAST_LOOK_S
        if share < KILL_FROM or (not self._workers.caught(self._victim, patience_s) and share < KILL_AT_LAST):
            return
        # while it is frozen: its supervisor forgets that as soon as it is dead
        in_hand = self._workers.in_hand(self._victim)
        at_ms = time.time_ns() // 1_000_000
        pid = self._workers.kill(self._victim)
        # a static member that is gone stays in its group, with its partitions, until its session is over
        owned = sorted(self._admin.assigned(self._stage.settings.group).get(self._victim, ()))
        ends = self._admin.offsets(owned, "latest")
        to_come = len(self._stream) - self._due
        self._kill = Kill(self._victim, pid, at_ms, self._sent, to_come, self._watch.count, ends, in_hand)
        self._silent = set(owned)
        self._tell(
            f"KILLED worker {self._victim}, process {pid}, with SIGKILL, {sum(map(len, in_hand.values()))} requests in "
            f"its hands; {_listed(owned)} fall silent, requests keep coming"
        )
        self._send(self._again)

    def _look_after(self, kill: Kill) -> None:
        """Say when the slot has a process again, and when its partitions are answered again."""
        if self._restarted_ms is None and self._workers.pid(kill.slot) not in (None, kill.pid):
            self._restarted_ms = time.time_ns() // 1_000_000 - kill.at_ms
            pid = self._workers.pid(kill.slot)
            self._tell(f"worker {kill.slot} is back as process {pid}, {self._restarted_ms / 1000:.1f} s after the kill")
        if self._silent:
            back = {tp for tp in self._silent if self._watch.answered[tp][-1].append_ms > kill.at_ms}
            self._silent -= back
            if back and not self._silent:
                seconds = time.time() - kill.at_ms / 1000
                self._tell(f"{_listed(sorted(kill.ends))} are answered again, {seconds:.1f} s after the kill")

    def _settle(self, tail: Tail) -> int:
        """Read every answer there is; return how many requests are not committed."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            ends = self._admin.offsets(self._stage.sources, "latest")
            committed = self._admin.committed(self._stage.settings.group, self._stage.sources)
            lag = sum(end - (committed[tp] or 0) for tp, end in ends.items())
            self._watch.take(tail.read(TURN_S))
            everything = tail.has_reached(self._admin.offsets(self._stage.answers, "latest"))
            if (lag == 0 and everything) or time.monotonic() > deadline:
                return lag


def _listed(tps: Sequence[TP]) -> str:
    return f"partitions {' and '.join(str(tp.partition) for tp in tps)}"
