"""The demo's voice: steps of the set-up, a line a second, events, the report; in colour where somebody can see it."""

import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import TextIO

from streams.demo.play import Line
from streams.demo.report import Found
from streams.reasons import SCORED, Reason

Say = Callable[[str], None]
_HEAD = ("", "sent", "answered", "waiting", "per s", "scored", "duplicate", "conflict", "refused")


class Live:
    """Says what goes on. Steps of the set-up are timed from one to the next."""

    def __init__(self, say: Say, *, coloured: bool) -> None:
        self._say = say
        self._coloured = coloured
        self._since = time.monotonic()
        self._shown = 0

    def heading(self, text: str) -> None:
        """Say what comes next."""
        self._say("")
        self._say(self._in("1", text))

    def note(self, text: str) -> None:
        """Say something that may be overlooked."""
        self._say(self._in("2", f"  {text}"))
        self._since = time.monotonic()

    def step(self, name: str, text: str) -> None:
        """Say that a step of the set-up is done, how long it took, and what came of it."""
        now = time.monotonic()
        self._say(f"  {name:10}{now - self._since:6.1f} s  {text}")
        self._since = now

    def show(self, line: Line) -> None:
        """Say how far it is; the first line is preceded by the columns' names."""
        if not self._shown:
            self._say("")
            self._say(self._in("2", _row(*_HEAD)))
        self._shown += 1
        answered = sum(line.kinds.values())
        known = [line.kinds.get(kind, 0) for kind in (SCORED, Reason.DUPLICATE.name, Reason.CONFLICT.name)]
        numbers = (line.sent, answered, line.sent - answered, round(line.rate), *known, answered - sum(known))
        self._say(_row(f"{line.seconds:.0f} s", *(f"{number:,}" for number in numbers)))

    def tell(self, event: str) -> None:
        """Say what happened in between."""
        self._say(self._in("1;33", f"  >> {event}"))

    def report(self, found: Found, then: Iterable[str] = ()) -> None:
        """Say what was found, what can be done now, and last whether it holds."""
        for title, lines in found.sections():
            self.heading(title)
            self.lines(lines)
        self.lines(then)
        self._say("")
        for line in found.verdict():
            self._say(self._in("1;31" if found.failures() else "1;32", line))

    def lines(self, lines: Iterable[str]) -> None:
        """Say lines as they are, a little to the right."""
        for line in lines:
            self._say(f"  {line}" if line else "")

    def _in(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._coloured else text


def wants_colour(output: TextIO = sys.stdout) -> bool:
    """Return whether an output shows colours, and nobody asked for none (https://no-color.org)."""
    return output.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _row(time_s: str, *cells: str) -> str:
    return f"{time_s:>7}" + "".join(f"{cell:>10}" for cell in cells)
