"""The demo's workers: `streams scorer run` as a child process, whom of it to kill, and when that hurts most."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from streams import __version__
from streams.config import Settings
from streams.dev import state
from streams.dev.logs import last_words, log_file, obituary
from streams.dev.processes import Child, start_mark
from streams.errors import SetupError
from streams.kafka.admin import Admin
from streams.records import TP
from streams.slots import holder, last_progress
from streams.suspects import ranges

NAME = "workers"
"""Their name among the children of the demo's folder: `streams dev status` and `down` know them by it."""
INSTANCE = "demo"
COUNT = 2
READY_S = 60.0
STOP_S = 30.0


class Service:
    """A supervisor and its workers, which outlive this object unless `end` is called.

    Args:
        name: its name among the children of the demo's folder.
        about: what it is, for people.
        config: the application's.
        command: what runs it.
    """

    def __init__(self, name: str, about: str, config: Path, command: Sequence[str]) -> None:
        self._name, self._about, self._command = name, f"{about} of {config.name}", command
        self._home = config.parent
        self._child: Child | None = None

    def start(self) -> None:
        """Start the supervisor, recorded so that `streams dev down` and the stack's guard can end it."""
        child = Child.spawn(self._command, cwd=self._home, environ=os.environ, log=log_file(self._home, self._name))
        self._child = child
        mine = state.Recorded(child.pid, child.started, self._about, __version__)
        # first, because `down` ends them in this order: workers that lose their broker would not end at once
        state.write(self._home, {self._name: mine, **state.read(self._home)})

    def check(self) -> None:
        """Raises: SetupError, with its last words, once the supervisor has ended."""
        if self._child is None or not self._child.alive():
            code = self._child.returncode if self._child else None
            raise SetupError(obituary(f"supervisor of the {self._name}", code, log_file(self._home, self._name)))

    def last_words(self) -> str:
        """Return what it said last, for an error."""
        return last_words(log_file(self._home, self._name))

    def end(self) -> None:
        """End the supervisor, which ends its workers; does nothing if it is gone."""
        if self._child is not None:
            self._child.end(STOP_S)
            left = state.read(self._home)
            left.pop(self._name, None)
            state.write(self._home, left)


class Workers(Service):
    """The scorer's workers."""

    def __init__(self, config: Path, settings: Settings) -> None:
        super().__init__(NAME, f"{COUNT} workers", config, command(config))
        self.slots = [f"{INSTANCE}-{number:02d}" for number in range(COUNT)]
        self._settings = settings

    def wait_ready(self, tps: Sequence[TP]) -> None:
        """Wait until every worker was given partitions, and all are. Raises: SetupError."""
        admin, deadline = Admin(self._settings.kafka), time.monotonic() + READY_S
        while True:
            self.check()
            shares = admin.assigned(self._settings.group)
            if all(shares.get(slot) for slot in self.slots) and frozenset(tps) == frozenset().union(*shares.values()):
                return
            if time.monotonic() > deadline:
                raise SetupError(
                    f"The workers have not shared the partitions after {READY_S:.0f} s. {self.last_words()}"
                )
            time.sleep(0.1)

    def pid(self, slot: str) -> int | None:
        """Return the process that took a slot last."""
        return holder(self._settings.app.state_dir, slot)

    def in_hand(self, slot: str) -> dict[TP, range]:
        """Return the offsets of the batch that a worker has read and has not finished, or had when it died."""
        return ranges(last_progress(self._settings.app.state_dir, slot))

    def caught(self, slot: str, seconds: float) -> bool:
        """Return whether a worker was found with a batch in its hands within some seconds; it is frozen then.

        A batch of a quiet moment is in somebody's hands for a few milliseconds, so one looks often, and again when nothing
        moves any more.
        """
        worker, deadline = self._worker(slot), time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.in_hand(slot):
                worker.freeze()
                if self.in_hand(slot):
                    return True
                worker.thaw()
        return False

    def kill(self, slot: str) -> int:
        """End one worker with SIGKILL and return its pid; when this returns it is gone."""
        worker = self._worker(slot)
        worker.kill()
        return worker.pid

    def _worker(self, slot: str) -> Child:
        pid = self.pid(slot)
        mark = None if pid is None else start_mark(pid)
        if pid is None or mark is None:
            raise SetupError(f"Worker {slot} is not running. {self.last_words()}")
        return Child(pid, mark)


def command(config: Path) -> list[str]:
    """Return the command that runs the workers."""
    arguments = ["scorer", "run", "--config", str(config), "--workers", str(COUNT), "--instance", INSTANCE]
    return [sys.executable, "-m", "streams.cli", *arguments]
