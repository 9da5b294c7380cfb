"""The supervisor: one process a slot, started again when it dies, ended with its supervisor.

A worker's first restart is immediate (static membership gives its partitions back in about a second); further ones
back off. A worker that stops for a reason that a restart cannot cure stays down; so does one that is fenced again and again.
Of a batch that workers die over again and again the one record is found, by looking at each alone, and refused; where it is not
one record, or there are too many, the slot stays down, and the message names the batch. The other slots go on.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType

import structlog

from streams import suspects
from streams.errors import (
    ConfigError,
    Fenced,
    OffsetsError,
    OutcomeUnknown,
    SetupError,
    SlotTaken,
    StateError,
    Unreachable,
)
from streams.records import TP
from streams.slots import RESTARTS, forget_progress, last_progress, restarts_text
from streams.suspects import SUSPECTS

log = structlog.get_logger()

FINAL = frozenset(stop.code for stop in (ConfigError, SetupError, OffsetsError, SlotTaken) if not stop.restart)
BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
HEALTHY_S = 5.0
"""A worker that lived this long starts over with an immediate restart."""
OUTSIDE = frozenset((OutcomeUnknown.code, Unreachable.code, StateError.code, Fenced.code))
"""Exit codes that say that the world was in trouble, not the batch."""
DEATHS_MAX = 5
"""So many deaths in a row over batches that begin at the same place stop the slot."""
TRIAL_AFTER, ALONE_MAX = 2, 3
"""After so many of them the batch's records are looked at one by one; one that so many workers then died over is refused."""
CONDEMNED_MAX, CONDEMNED_S = 3, 600.0
"""So many refused records in so long a time, of all slots, are no fault of the records: the slot stays down."""
FENCES_MAX, FENCES_S = 20, 600.0
"""So many fences in so long a time are no trouble of the broker's: another host runs a worker under the same name."""
GRACE_S = 30.0
TICK_S = 0.05


class _Child:
    """One slot's process, and how often it died."""

    def __init__(self, command: Sequence[str], name: str) -> None:
        self.command = list(command)
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts = 0
        self.started = 0.0
        self.due = 0.0
        self.code: int | None = None
        """Final exit code, once the slot stays down."""
        self.deaths: dict[TP, tuple[int, int]] = {}
        """Of each topic-partition: where the last batch that a worker died over began, and how often in a row."""
        self.trial = ""
        """The batch whose records the next worker looks at one by one."""
        self.alone = "", 0
        """The record that the last worker died over alone, and how many in a row did."""
        self.fences: list[float] = []
        """When its workers ended because they were fenced, lately."""
        self.ends: Counter[int] = Counter()
        """Of each exit code after which it was started again: how often."""
        self.told = 0
        """How many of our stop signals were passed on to the process."""

    def start(self, refused: Iterable[str]) -> None:
        # its standard input is a pipe from us: when we die it ends, and the worker follows
        told = os.environ | {RESTARTS: restarts_text(self.ends), SUSPECTS: suspects.told(self.trial, [*refused])}
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, start_new_session=True, env=told)
        self.started = time.monotonic()


class Supervisor:
    """Keeps one process for each slot alive until it is told to stop.

    Args:
        commands: slot name to the command that runs its worker.
        state_dir: where the slots leave traces of what they work on.
        on_event: told of (slot, event, pid): "started", "died", "stopped".
        helpers: slots that are stopped when no other is left.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        state_dir: Path,
        on_event: Callable[[str, str, int], None] = lambda *_: None,
        helpers: Container[str] = (),
    ) -> None:
        self._children = [_Child(command, name) for name, command in commands.items()]
        self._state_dir = state_dir
        self._on_event = on_event
        self._leaders = [child for child in self._children if child.name not in helpers]
        self._stops = 0
        self._refused: dict[str, float] = {}
        """Records that are refused, whoever meets them, and since when."""

    def run(self) -> int:
        """Run until all slots stay down; return the first exit code that is not 0."""
        previous = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while any(child.code is None for child in self._children):
                for child in self._children:
                    self._look_after(child)
                if not self._stops and all(child.code is not None for child in self._leaders):
                    self._stops = 1
                time.sleep(TICK_S)
        finally:
            self._kill()
            for number, handler in previous.items():
                signal.signal(number, handler)
        return next((child.code for child in self._children if child.code), 0)

    def _start(self, child: _Child) -> None:
        child.start(self._refused)
        assert child.process is not None, "just started"
        self._on_event(child.name, "started", child.process.pid)
        log.info("worker started", slot=child.name, pid=child.process.pid, restarts=child.restarts)

    def _look_after(self, child: _Child) -> None:
        if child.code is not None:
            return
        if child.process is None:
            if self._stops:
                child.code = 0
            elif time.monotonic() >= child.due:
                self._start(child)
            return
        code = child.process.poll()
        if code is None:
            if child.told < self._stops:
                child.told = self._stops
                child.process.send_signal(signal.SIGTERM if child.told == 1 else signal.SIGKILL)
            return
        pid, child.process = child.process.pid, None
        if self._stops or code == 0 or code in FINAL or self._hopeless(child, code) or self._fought_over(child, code):
            # while stopping, a worker that a signal ended did as it was told; a second signal is said by the exit code
            by_signal = (130 if self._stops > 1 else 0) if self._stops else 128 - code
            child.code = by_signal if code < 0 else code
            self._on_event(child.name, "stopped", pid)
            log.info("worker stopped", slot=child.name, code=code)
            return
        if time.monotonic() - child.started > HEALTHY_S:
            child.restarts = 0
        wait = BACKOFF_S[min(child.restarts, len(BACKOFF_S) - 1)]
        child.restarts += 1
        child.ends[code] += 1
        child.due = time.monotonic() + wait
        self._on_event(child.name, "died", pid)
        log.warning("worker died; starting it again", slot=child.name, code=code, wait_s=wait)

    def _hopeless(self, child: _Child, code: int) -> bool:
        """Return whether the worker died again and again over the same batch, and nothing can be done.

        What else is in a batch depends on what has come meanwhile; a partition whose position never moves is stuck.
        """
        batch = last_progress(self._state_dir, child.name)
        forget_progress(self._state_dir, child.name)  # a death before the next batch is not this one's
        if code in OUTSIDE or not batch:
            return False
        if suspects.alone(batch) and suspects.within(batch, child.trial):
            child.alone = batch, child.alone[1] + 1 if child.alone[0] == batch else 1
            if child.alone[1] < ALONE_MAX or self._condemned(child, batch):
                return False
        else:
            offsets = suspects.ranges(batch)
            for tp, mine in offsets.items():
                known, deaths = child.deaths.get(tp, (mine.start, 0))
                child.deaths[tp] = mine.start, deaths + 1 if known == mine.start else 1
            deaths = max((child.deaths[tp][1] for tp in offsets), default=0)
            if deaths >= TRIAL_AFTER:
                child.trial = batch
            if deaths < DEATHS_MAX:
                return False
        log.error("the slot stays down: its worker dies over the same batch", slot=child.name, batch=batch)
        return True

    def _condemned(self, child: _Child, record: str) -> bool:
        """Have a record refused; False if that was no help, or if there were too many lately."""
        now = time.monotonic()
        self._refused = {one: since for one, since in self._refused.items() if since > now - CONDEMNED_S}
        if record in self._refused or len(self._refused) >= CONDEMNED_MAX:
            return False
        self._refused[record] = now
        child.alone, child.deaths = ("", 0), {}
        log.error("a record is refused: workers die over it, again and again", slot=child.name, record=record)
        return True

    def _fought_over(self, child: _Child, code: int) -> bool:
        """Return whether somebody else takes the slot's transactional id again and again."""
        if code != Fenced.code:
            return False
        now = time.monotonic()
        child.fences = [*(at for at in child.fences if at > now - FENCES_S), now]
        if len(child.fences) < FENCES_MAX:
            return False
        log.error("the slot stays down: another host runs a worker under its name; see --instance", slot=child.name)
        return True

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """First signal: let every worker finish and hand over. Second: end them now. The loop passes it on."""
        self._stops += 1

    def _kill(self) -> None:
        for child in self._children:
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
                try:
                    child.process.wait(GRACE_S)
                except subprocess.TimeoutExpired:
                    child.process.kill()
                    child.process.wait()


def worker_command(config: Path, slot: str, flags: Sequence[str] | None = None, *, kind: str = "scorer") -> list[str]:
    """Return the command that runs one slot's worker, on the same settings: the environment it inherits, flags are passed on."""
    return [sys.executable, "-m", "streams.worker", kind, str(config), slot, *(flags or ())]
