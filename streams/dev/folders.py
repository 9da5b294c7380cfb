"""Folders of the stack and of the cache: made, large enough, and used by one command at a time."""

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from streams.errors import SetupError

GIB = 1 << 30
ROOM_NEEDED = GIB
"""Bytes that must be free before anything is fetched or started."""

Say = Callable[[str], None]
"""Told one line of progress at a time."""


def create(folder: Path) -> None:
    """Make sure that the folder exists and can be written to. Raises: SetupError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise SetupError(
            f"{folder} cannot be used: {error}. "
            "Choose another place with --dir (the stack's data) or ANSWERONCE_CACHE (its Java archives)."
        ) from error


def require_room(folder: Path, needed: int = ROOM_NEEDED) -> None:
    """Raise SetupError unless `needed` bytes are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SetupError(
            f"Only {free / GIB:.2f} GiB are free at {folder}, and {needed / GIB:.0f} GiB are needed. Free some "
            "space, or choose another disk with --dir (the stack's data) or ANSWERONCE_CACHE (its Java archives)."
        )


@contextlib.contextmanager
def locked(path: Path, say: Say) -> Iterator[None]:
    """Hold an exclusive lock on a file, waiting for it; the kernel lets go of it when this process ends."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another command that is at work in {path.parent} ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
