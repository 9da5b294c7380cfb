"""The demo while it runs: steps of the set-up, a line a second, events; in colour only where somebody can see it."""

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from streams.demo.play import Line
from streams.reasons import SCORED, Reason

Say = Callable[[str], None]
_HEAD = ("", "sent", "answered", "waiting", "per s", "scored", "duplicate", "conflict", "refused")


class Live:
    """Says what goes on. Set-up steps are timed from one to the next."""

    def __init__(self, say: Say, *, coloured: bool) -> None:
        self._say = say
        self._coloured = coloured
        self._since = time.monotonic()
        self._lines = 0

    def step(self, name: str, text: str) -> None:
        """Say that a step of the set-up is done, what came of it, and how long it took."""
        now = time.monotonic()
        self._say(f"  {name:10}{now - self._since:6.1f} s  {text}")
        self._since = now

    def show(self, line: Line) -> None:
        """Say how far it is; the columns are named in the first line."""
        if self._lines == 0:
            self._say("")
            self._say(self.dim(_row(*_HEAD)))
        self._lines += 1
        answered = sum(line.kinds.values())
        known = [line.kinds.get(kind, 0) for kind in (SCORED, Reason.DUPLICATE.name, Reason.CONFLICT.name)]
        numbers = (line.sent, answered, line.sent - answered, round(line.rate), *known, answered - sum(known))
        self._say(_row(f"{line.seconds:.0f} s", *(f"{number:,}" for number in numbers)))

    def tell(self, event: str) -> None:
        """Say what happened in between."""
        self._say(self._in("1;33", f"  >> {event}"))

    def dim(self, text: str) -> str:
        """Return text that may be overlooked."""
        return self._in("2", text)

    def heading(self, text: str) -> str:
        """Return text that begins something."""
        return self._in("1", text)

    def judged(self, text: str, *, good: bool) -> str:
        """Return a verdict."""
        return self._in("1;32" if good else "1;31", text)

    def _in(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._coloured else text


def wants_colour(output: TextIO = sys.stdout) -> bool:
    """Return whether an output shows colours, and nobody asked for none (https://no-color.org)."""
    return output.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _row(time_s: str, *cells: str) -> str:
    return f"{time_s:>7}" + "".join(f"{cell:>10}" for cell in cells)
