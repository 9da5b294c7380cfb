"""Records that workers have died over, as a supervisor tells the next worker of them.

A batch that a worker died over twice is looked at record by record, so that the trace of the next death names one. A record that
workers died over alone, again and again, is refused, so that the others are answered.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streams.records import TP

SUSPECTS = "STREAMS_SUSPECTS"
"""The environment variable."""
_RANGE = re.compile(r"([^ ,]+)\[(\d+)\] (\d+)\.\.(\d*)")


class Suspects(NamedTuple):
    """What a worker is told."""

    trial: Mapping[TP, range] = {}
    """Offsets that are looked at one by one before they are answered together."""
    condemned: Sequence[tuple[TP, int]] = ()
    """Records that are refused."""


def told(trial: str, condemned: Sequence[str]) -> str:
    """Return what SUSPECTS is set to, of traces as `Slot.note` has them."""
    return json.dumps({"trial": trial, "condemned": list(condemned)})


def heard(environment: Mapping[str, str]) -> Suspects:
    """Return what SUSPECTS says."""
    said = json.loads(environment.get(SUSPECTS, "{}"))
    traces = said.get("condemned", ())
    condemned = tuple((tp, offsets.start) for trace in traces for tp, offsets in ranges(trace).items())
    return Suspects(ranges(said.get("trial", "")), condemned)


def ranges(trace: str) -> dict[TP, range]:
    """Return the offsets of each topic-partition of a trace; of a last number that was cut away, the first stands.

    A trace names a topic-partition twice where a batch was worked on and the next one read: all between the two counts.
    """
    found: dict[TP, range] = {}
    for topic, number, begin, last in _RANGE.findall(trace):
        at, mine = TP(topic, int(number)), range(int(begin), int(last or begin) + 1)
        known = found.get(at, mine)
        found[at] = range(min(known.start, mine.start), max(known.stop, mine.stop))
    return found


def within(trace: str, trial: str) -> bool:
    """Return whether all that a trace names is part of a trial."""
    known = ranges(trial)
    return all({*offsets} <= {*known.get(tp, ())} for tp, offsets in ranges(trace).items())


def alone(trace: str) -> bool:
    """Return whether a trace names one record."""
    return [len(offsets) for offsets in ranges(trace).values()] == [1]
