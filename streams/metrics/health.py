"""Alive and ready: what the probes are told. Functions of a moment's figures. Room: pure.

Alive has nothing to do with Kafka: a worker that waits for a broker makes its turns. Ready has: it gates rollouts, and a
worker that owns nothing because there are more workers than partitions is as ready as it will ever be.
"""

from typing import NamedTuple

from streams.metrics.figures import Figures, Moment


class Health(NamedTuple):
    """An answer to a probe, and its one line."""

    well: bool
    why: str


def alive(moment: Moment, limit_s: float) -> Health:
    """Return whether the loop began a turn, or a step of a restore, within the limit.

    The limit is the watchdog's: a worker whose watchdog works is gone before this says no. It says no where the watchdog is not
    armed yet, in a start that hangs.
    """
    age_s = (moment.at_ns - moment.figures.since) / 1e9
    if age_s > limit_s:
        return Health(False, f"no progress for {age_s:.1f} s; the limit is {limit_s:g} s")
    return Health(True, f"alive: last progress {age_s:.1f} s ago")


def ready(figures: Figures) -> Health:
    """Return whether the worker has an assignment, and all of it is restored and read from."""
    assignment, partitions = figures.assignment, figures.partitions
    if assignment is None or not assignment.settled:
        return Health(False, "waiting for an assignment")
    if not partitions:
        return Health(True, "ready; partitions: 0, the other workers own them all")
    if figures.started:
        return Health(True, f"ready; partitions: {len(partitions)}")
    left = sum(1 for partition in partitions if figures.remaining.get(partition, 1))
    if left:
        return Health(False, f"restoring {left} of {len(partitions)} partitions")
    return Health(False, f"restored {len(partitions)} partitions; comparing offsets")
