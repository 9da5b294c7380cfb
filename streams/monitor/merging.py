"""The parts of windows, put together: what all partitions have counted. Room: pure.

Of each key the last part counts, so a reader may begin anywhere that a compacted topic is whole; the parts of partitions add up.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from streams.monitor.performance.report import Block
from streams.monitor.state import TALLY, Subject, unchunked
from streams.monitor.tasks import Row
from streams.monitor.windows import WINDOW_BYTES, Rules, Window, added, parse_window, window_key
from streams.packed import unpack

Part = Mapping[str, Any]
"""A record of `performance_part.avsc`."""


class Merged(NamedTuple):
    """Everything that is published of an application."""

    subjects: Mapping[Subject, list[Block]]
    """Of each subject its windows, in order."""
    tally: Mapping[str, int]
    """How many records each came to what: `results.predicted`, `labels.applied`, …"""


_TALLY = window_key(Window(TALLY, 0))
T = TypeVar("T")


class _Kept(NamedTuple, Generic[T]):
    """What is kept of a part."""

    partition: int
    revision: int
    chunk: int
    chunks: int
    rows: T


class Following(Generic[T]):
    """What is published, followed: each part replaces the last one under its key.

    A part whose chunks are not all of one number of chunks is one that was being published while it was read; what is there of it
    counts. Parts of another grain or horizon, from before that was changed, are passed over: they say something else.

    Args:
        kept: what is kept of a part's rows.
        rules: how predictions are counted.
    """

    def __init__(self, kept: Callable[[bytes], T], rules: Rules) -> None:
        self._kept, self._rules = kept, (rules.grain_ms, rules.horizon_ms)
        self._parts: dict[bytes, dict[bytes, _Kept[T]]] = {}
        """Of each window its parts by key."""
        self._tally: dict[bytes, bytes] = {}
        self._names: dict[bytes, Subject] = {}
        self._watermarks: dict[int, int] = {}
        self._behind: dict[int, int | None] = {}
        """Of each partition the newest word on it."""

    def take(self, key: bytes, part: Part | None) -> None:
        """Go on with a record; None takes the part away."""
        window = key[:WINDOW_BYTES]
        self._tally.pop(key, None)
        self._parts.get(window, {}).pop(key, None)
        if part is None or (part["grain_ms"], part["horizon_ms"]) != self._rules:
            return
        if window == _TALLY:
            self._tally[key] = part["rows"]
        else:
            rows = self._kept(part["rows"])
            kept = _Kept(part["partition"], part["revision"], part["chunk"], part["chunks"], rows)
            self._parts.setdefault(window, {})[key] = kept
        self._behind[part["partition"]] = part["behind"]
        if part["model_name"] is not None:
            subject = Subject(part["model_name"], part["model_version"] or "", part["arm"])
            self._names[parse_window(window)[0].subject] = subject
        if part["watermarks"]:
            partitions, events = unpack(part["watermarks"], 2)
            for partition, event_ms in zip(partitions.tolist(), events.tolist(), strict=True):
                self._watermarks[partition] = max(event_ms, self._watermarks.get(partition, event_ms))

    def windows(self) -> Iterator[tuple[bytes, Subject]]:
        """Yield every window of which there are parts, and whose it is, in order; the tally is none."""
        for window, parts in sorted(self._parts.items()):
            subject = self.name(window)
            if subject is not None and parts:
                yield window, subject

    def kept(self, window: bytes) -> list[T]:
        """Return what is kept of each part of a window."""
        return [part.rows for part in self._parts.get(window, {}).values()]

    def keep(self, window: bytes, change: Callable[[T], T]) -> None:
        """Keep something else of each part of a window, less for instance."""
        parts = self._parts.get(window, {})
        parts.update({key: part._replace(rows=change(part.rows)) for key, part in parts.items()})

    def revision(self, window: bytes) -> int:
        """Return how often a window's parts were published, in all."""
        return sum(part.revision for part in self._parts.get(window, {}).values() if part.chunk == 0)

    def is_whole(self, window: bytes) -> bool:
        """Return whether all chunks of the newest revision are here, of each partition that has published it."""
        found: dict[int, list[_Kept[T]]] = {}
        for part in self._parts.get(window, {}).values():
            found.setdefault(part.partition, []).append(part)
        return all(
            len({part.revision for part in mine}) == 1 and len(mine) == mine[0].chunks for mine in found.values()
        )

    def name(self, window: bytes) -> Subject | None:
        """Return whose window it is; None of the tally's."""
        return self._names.get(parse_window(window)[0].subject)

    def tally(self) -> dict[str, int]:
        """Return how many records each came to what."""
        rows = added(map(rows_of, self._tally.values()))
        return {key.decode("utf-8", "replace"): row[0] for key, row in rows.items()}

    def watermarks(self) -> dict[int, int]:
        """Return of each partition of requests the latest plausible event time that was counted, in milliseconds."""
        return dict(self._watermarks)

    def behind(self) -> int | None:
        """Return the begin of the oldest window of which more was seen than is published, in milliseconds; None: there is none."""
        return min((at for at in self._behind.values() if at is not None), default=None)


def rows_of(packed: bytes) -> dict[bytes, Row]:
    """Return the rows of a part, by the key within its window."""
    return dict(unchunked(packed))


def block(window: bytes, parts: Iterable[bytes]) -> Block:
    """Return what the rows of a window's parts add up to."""
    return Block(parse_window(window)[0].number, added(map(rows_of, parts)))


def merged(parts: Mapping[bytes, Part], rules: Rules) -> Merged:
    """Return what some parts add up to, by key; see `Following`."""
    following = Following(bytes, rules)
    for key, part in parts.items():
        following.take(key, part)
    subjects: dict[Subject, list[Block]] = {}
    for window, subject in following.windows():
        subjects.setdefault(subject, []).append(block(window, following.kept(window)))
    return Merged(dict(sorted(subjects.items(), key=lambda item: str(item[0]))), following.tally())
