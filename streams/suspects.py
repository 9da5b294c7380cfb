"""Records that workers have died over, as a supervisor tells the next worker of them.

A batch that a worker died over twice is looked at record by record, so that the trace of the next death names one. A record that
workers died over alone, again and again, is refused, so that the others are answered.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from streams.records import TP, Batch

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
    """Return the offsets of each topic-partition of a trace; of a last number that was cut away, the first stands."""
    found = _RANGE.findall(trace)
    return {TP(topic, int(at)): range(int(first), int(last or first) + 1) for topic, at, first, last in found}


def within(trace: str, trial: str) -> bool:
    """Return whether all that a trace names is part of a trial."""
    known = ranges(trial)
    return all({*offsets} <= {*known.get(tp, ())} for tp, offsets in ranges(trace).items())


def alone(trace: str) -> bool:
    """Return whether a trace names one record."""
    return [len(offsets) for offsets in ranges(trace).values()] == [1]


class Trace:
    """The coordinates of what is made of bytes, which were written by strangers: noted before anything is, and until it is done."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note, self._lock = note, threading.Lock()
        self._read: Batch | None = None
        self._decided: Batch | None = None

    def reads(self, batch: Batch) -> None:
        """This batch is read."""
        with self._lock:
            self._read = batch
            self._tell()

    def decides(self, batch: Batch | None) -> None:
        """This batch was read, and is decided; None: the one before has been, and another may be read meanwhile."""
        with self._lock:
            self._decided = batch
            self._read = None if batch is not None else self._read
            self._tell()

    def _tell(self) -> None:
        self._note(_coordinates(batch for batch in (self._decided, self._read) if batch is not None))


def _coordinates(batches: Iterable[Batch]) -> str:
    ranges: dict[TP, tuple[int, int]] = {}
    for batch in batches:
        for i, tp in enumerate(batch.tps):
            offsets = batch.offset[batch.tp == i]
            if len(offsets):
                first, last = ranges.get(tp, (int(offsets.min()), 0))
                ranges[tp] = first, max(last, int(offsets.max()))
    return ", ".join(f"{tp} {first}..{last}" for tp, (first, last) in ranges.items())
