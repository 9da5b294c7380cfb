"""The parts of windows, put together: what all partitions have counted. Room: pure.

Of each key the last part counts, so a reader may begin anywhere that a compacted topic is whole; the parts of partitions add up.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from streams.monitor.performance.report import Block
from streams.monitor.state import TALLY, Subject, unchunked
from streams.monitor.tasks import Row
from streams.monitor.windows import WINDOW_BYTES, added, parse_window


class Merged(NamedTuple):
    """Everything that is published of an application."""

    subjects: Mapping[Subject, list[Block]]
    """Of each subject its windows, in order."""
    tally: Mapping[str, int]
    """How many records each came to what: `results.predicted`, `labels.applied`, …"""


def merged(parts: Mapping[bytes, Mapping[str, Any]]) -> Merged:
    """Return what the parts add up to.

    A part whose chunks are not all of one number of chunks is one that was being published while it was read; what is there
    of it counts.
    """
    names: dict[bytes, Subject] = {}
    sums: list[dict[bytes, Row]] = []
    for key, part in parts.items():
        window = key[:WINDOW_BYTES]
        if part["model_name"] is not None:
            names[parse_window(window)[0].subject] = Subject(
                part["model_name"], part["model_version"] or "", part["arm"]
            )
        sums.append({window + within: row for within, row in unchunked(part["rows"])})
    windows: dict[bytes, dict[int, dict[bytes, Row]]] = {}
    tally: dict[str, int] = {}
    for key, row in added(sums).items():
        at, within = parse_window(key)
        if at.subject == TALLY:
            tally[within.decode("utf-8", "replace")] = row[0]
        else:
            windows.setdefault(at.subject, {}).setdefault(at.number, {})[within] = row
    subjects = {
        names[subject]: [Block(number, rows) for number, rows in sorted(found.items())]
        for subject, found in windows.items()
        if subject in names
    }
    return Merged(dict(sorted(subjects.items(), key=lambda item: str(item[0]))), tally)
