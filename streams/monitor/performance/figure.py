"""What a figure is: a number with its interval, or the reason why there is none. Room: pure."""

from typing import NamedTuple


class Interval(NamedTuple):
    """Where the true value lies, at the confidence that the figure's maker states."""

    low: float
    high: float


class Figure(NamedTuple):
    """A number, or why it is undefined."""

    value: float | None
    why: str | None = None
    """Why there is no value; None where there is one."""
    sampling: Interval | None = None
    """From sampling alone, as if the records were independent; windows of the real world are not."""
    blocks: Interval | None = None
    """From how the blocks of the window differ, which includes what sampling does not know."""
    standard_error: float | None = None


UNLABELLED = "no label yet"
"""The reason that all figures of a window without labels share."""


def undefined(why: str) -> Figure:
    """Return the figure that cannot be computed."""
    return Figure(None, why)
