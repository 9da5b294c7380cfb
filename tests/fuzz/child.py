"""A job in a child process that may not have much memory, and whose death is told with what it was working on."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOM_BYTES = 512 << 20
"""What a child may map beyond what it needs to begin with."""


class Died(Exception):
    """A child did not come back with a result."""


def run(module: str, folder: Path, seconds: float, **arguments: Any) -> Any:
    """Run `module`'s `work(note, **arguments)` in a child; return what it returns.

    Raises: Died with the exit code, what it noted last, and what it said.
    """
    noted, result = folder / "noted", folder / "result"
    command = [sys.executable, "-m", "tests.fuzz.child", module, str(noted), str(result), json.dumps(arguments)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        how = f"exit code {ended.returncode}"
    except subprocess.TimeoutExpired:
        ended, how = None, f"no end after {seconds} s"
    if ended is None or ended.returncode != 0:
        last = noted.read_text() if noted.exists() else "nothing"
        said = "" if ended is None else ended.stderr[-3_000:]
        raise Died(f"{how}, working on {last}\n{said}")
    return json.loads(result.read_text())


def main(module: str, noted: str, result: str, arguments: str) -> None:
    """Work, with little room."""
    import importlib

    work: Callable[..., Any] = importlib.import_module(module).work
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    Path(result).write_text(json.dumps(work(lambda what: Path(noted).write_text(what), **json.loads(arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
