"""What a running stack leaves in its folder, so that a later command can find and end it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from streams.dev.processes import Child
from streams.errors import SetupError

FILE = "stack.json"
_FORMAT = 1


class Recorded(NamedTuple):
    """One child of the stack, as its state file names it."""

    pid: int
    started: str
    """What tells this process from another with its pid; see `processes.start_mark`."""
    address: str
    version: str

    def child(self) -> Child:
        """Return the process, which may have ended long ago."""
        return Child(self.pid, self.started)


def read(folder: Path) -> dict[str, Recorded]:
    """Return the recorded children by name; none where there is no state file.

    Raises: SetupError for a file that this version cannot read.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is {content['format']}, not {_FORMAT}")
        return {name: Recorded(**child) for name, child in content["children"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SetupError(
            f"{path} cannot be read ({error}), so it is unknown whether a stack runs here. "
            f"End its Java processes, if there are any (`ps -ef | grep java`), then delete the file."
        ) from error


def write(folder: Path, children: Mapping[str, Recorded]) -> None:
    """Replace the state file in one step; without children there is none."""
    path = folder / FILE
    if not children:
        path.unlink(missing_ok=True)
        return
    content = {"format": _FORMAT, "children": {name: child._asdict() for name, child in children.items()}}
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    os.replace(draft, path)
