"""The state directory, tried: written to, locked, and measured."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from streams.doctor.findings import Finding
from streams.errors import SetupError
from streams.slots import unwritable

FREE_BYTES_MIN = 1 << 30


def try_disk(state_dir: Path) -> Finding:
    """Write a file where the state lives, lock it twice, and remove it; no folder is made.

    A folder that is not there yet is looked for upwards: made here, it might belong to the wrong user.
    Raises: StateError where it cannot be written; SetupError where locks do not lock.
    """
    folder = state_dir
    try:
        folder = next(parent for parent in (state_dir, *state_dir.parents) if parent.exists())
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as mine:
            mine.write(b"doctor")
            mine.flush()
            os.fsync(mine.fileno())
            locked = _locks(mine.fileno(), mine.name)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise unwritable(folder, state_dir, error) from None
    if not locked:
        raise SetupError(f"locks in {folder} do not lock: two workers could hold one slot. Use a local disk")
    said = f"{state_dir} {'can be made' if folder != state_dir else 'can be written and locked'}, {free / 2**30:,.1f} GiB free"
    if free < FREE_BYTES_MIN:
        return Finding("warn", "disk", f"{said}. Make room: a full disk stops workers until there is some")
    return Finding("ok", "disk", said)


def _locks(file: int, name: str) -> bool:
    """Return whether a lock that is held keeps out another open of the same file."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    other = os.open(name, os.O_RDWR)
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(other)
    return False
