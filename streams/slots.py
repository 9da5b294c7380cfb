"""A slot is the right to be one worker: a name, a directory, and a lock on it for the process's life.

The name is the group instance id and the end of the transactional id, so two live processes with one name would fence
each other for ever. It is `<instance>-<nn>`; the instance comes from the flag, else from the pod's name, else from an
id kept in the state directory, so that two hosts with the same config never share a slot.
"""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from streams.errors import SlotTaken, StateError

PROGRESS_BYTES = 4_096
RESTARTS = "STREAMS_RESTARTS"
"""The environment variable in which a supervisor tells a slot's worker how those before it ended."""
PATIENCE_S = 3.0
"""How long a lock is waited for: the worker of a supervisor that was killed ends a moment after it."""


def instance(state_dir: Path, flag: str | None, environment: dict[str, str]) -> str:
    """Return this host's name in slots: the flag, POD_NAME, or an id that is made once in the state directory.

    Raises: StateError if that cannot be written.
    """
    if flag or environment.get("POD_NAME"):
        return flag or environment["POD_NAME"]
    with _written_to(state_dir):
        state_dir.mkdir(parents=True, exist_ok=True)
        path = state_dir / "instance"
        with contextlib.suppress(FileExistsError):
            draft = state_dir / f"instance.{os.getpid()}"
            draft.write_text(secrets.token_hex(4))
            try:
                os.link(draft, path)  # fails if somebody was first; never replaces
            finally:
                draft.unlink()
        return path.read_text().strip()


def slots_dir(state_dir: Path, kind: str) -> Path:
    """Return the folder of the slots of the scorer, or of the monitor, which may run on the same host under the same name."""
    return state_dir if kind == "scorer" else state_dir / "monitor"


class Slot:
    """A slot held by this process.

    Raises: SlotTaken if another process holds it, and goes on holding it; StateError if the state directory cannot be written.
    """

    def __init__(self, state_dir: Path, name: str, *, patience_s: float = PATIENCE_S) -> None:
        self.name = name
        self.directory = state_dir / name
        with _written_to(state_dir):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock: IO[str] = (self.directory / "lock").open("a+")
        if not _locked(self._lock, patience_s):
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            raise SlotTaken(
                f"slot {name} in {state_dir} is held by the live process {owner}. Is another supervisor running with this "
                "config? Stop it, or give this one its own --instance"
            )
        with _written_to(state_dir):
            self._lock.truncate(0)
            self._lock.write(str(os.getpid()))
            self._lock.flush()
            self._progress = os.open(progress_path(state_dir, name), os.O_RDWR | os.O_CREAT, 0o644)
            # a batch that killed the last process will be noted again; a death before that is not the batch's
            self.note("")
            self.note("", True)

    @property
    def number(self) -> int:
        """The number of this worker on its host: the slot's name is `<instance>-<nn>`."""
        return int(self.name.rpartition("-")[2])

    def note(self, coordinates: str, ahead: bool = False) -> None:
        """Leave a trace of what is being worked on, or read ahead: the supervisor reads both if this process dies.

        Coordinates are `topic[partition] first..last`, separated by `, `; what does not fit is cut off. Each of the two has a
        place of its own.
        """
        trace = coordinates.encode()[:PROGRESS_BYTES].ljust(PROGRESS_BYTES)
        os.pwrite(self._progress, trace, PROGRESS_BYTES if ahead else 0)


@contextlib.contextmanager
def _written_to(state_dir: Path) -> Iterator[None]:
    """Raises: StateError for what the system says."""
    try:
        yield
    except OSError as error:
        raise unwritable(error.filename or state_dir, state_dir, error) from None


def unwritable(where: Path | str, state_dir: Path, error: OSError) -> StateError:
    """Return what is to be said of a state directory that cannot be written."""
    return StateError(
        f"{where} cannot be written ({error.strerror}). Let the user that runs the workers own {state_dir}, or set app.state_dir"
    )


def _locked(file: IO[str], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def restarts_text(ends: Mapping[int, int]) -> str:
    """Return what RESTARTS is set to: how often the slot's workers ended with each exit code, minus a signal's number if killed."""
    return json.dumps(ends)


def restarts(environment: Mapping[str, str]) -> dict[str, int]:
    """Return how often the slot's workers before this one ended with each exit code, under the same supervisor."""
    ends: dict[str, int] = json.loads(environment.get(RESTARTS, "{}"))
    return ends


def holder(state_dir: Path, name: str) -> int | None:
    """Return the pid of the process that took a slot last; it may have ended. None if nobody ever did."""
    try:
        return int((state_dir / name / "lock").read_text())
    except (FileNotFoundError, ValueError):  # a lock that is being taken is empty for a moment
        return None


def progress_path(state_dir: Path, name: str) -> Path:
    """Return the file that says what a slot is working on."""
    return state_dir / name / "progress"


def last_progress(state_dir: Path, name: str) -> str:
    """Return what a slot was working on, and reading ahead, when its process ended; empty if nothing."""
    try:
        trace = progress_path(state_dir, name).read_bytes()
    except FileNotFoundError:
        return ""
    parts = (
        part.rstrip(b"\0 ").decode("utf-8", "replace") for part in (trace[:PROGRESS_BYTES], trace[PROGRESS_BYTES:])
    )
    return ", ".join(part for part in parts if part)


def forget_progress(state_dir: Path, name: str) -> None:
    """Clear the trace of a slot whose process has ended. It is overwritten, so a disk that is full does not matter."""
    with contextlib.suppress(OSError):
        trace = os.open(progress_path(state_dir, name), os.O_WRONLY)
        os.pwrite(trace, bytes(2 * PROGRESS_BYTES), 0)
        os.close(trace)
