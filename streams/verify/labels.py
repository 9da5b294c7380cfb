"""Whether every result and label is counted, and windows are what they are said to be: judged on the logs. Room: pure.

The changelog is the truth of the monitor's state: what is known of each identity, the rows of windows, and how far each topic
was read, all changed in one transaction. So the rows must be what the identities add up to, each record that was read must be
counted once by what became of it, and what is published must be the rows.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from streams.errors import UNCHECKED
from streams.frames import ENTRY, is_frame, parse_frame
from streams.monitor.features import is_seen
from streams.monitor.joining import SLACK_MS
from streams.monitor.labels import decode
from streams.monitor.state import (
    CLEAN,
    CLOCK,
    PUBLISHED,
    ROW,
    RULES,
    Published,
    decode_clock,
    decode_published,
    decode_row,
    is_tally,
    other_rules,
    unchunked,
)
from streams.monitor.tasks import Row
from streams.monitor.windows import WINDOW_BYTES, Rules, added, contribution, parse_window
from streams.reasons import Reason
from streams.records import TP, Put


class Part(NamedTuple):
    """What one partition has published of a window, or a chunk of it."""

    revision: int
    rows: bytes


class State:
    """What one partition's changelog adds up to."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.values: dict[bytes, bytes] = {}
        self.begins: dict[TP, int] = {}
        """Where reading began, of each topic-partition."""
        self.ends: dict[TP, int] = {}
        """The next offset to read."""

    def take(self, puts: Iterable[Put]) -> None:
        """Go on with some changes, in the order of the log."""
        for put in puts:
            key, value = put
            if is_frame(key):
                topic, frame = parse_frame(put)
                tp = TP(topic, self.partition)
                self.begins.setdefault(tp, frame.next_offset)
                self.ends[tp] = frame.next_offset
            elif value:
                self.values[key] = value
            else:
                self.values.pop(key, None)

    def rows(self) -> dict[bytes, Row]:
        """Return the rows of all windows, zeros left out."""
        return added([{key[1:]: decode_row(value) for key, value in self.values.items() if key[:1] == ROW}])

    def freed(self, window: bytes, rules: Rules) -> bool:
        """Return whether what is known of a window's identities may have been freed."""
        now_ms = decode_clock(self.values.get(CLOCK))
        return rules.is_sealed(parse_window(window)[0].number * rules.grain_ms, now_ms - SLACK_MS)

    def published(self) -> dict[bytes, Published]:
        """Return how each window stands to what is published of it."""
        return {key[1:]: decode_published(value) for key, value in self.values.items() if key[:1] == PUBLISHED}

    def counted(self, rules: Rules) -> dict[bytes, Row]:
        """Return the rows that the identities add up to."""
        known = (decode(value) for key, value in self.values.items() if key[:1] == ENTRY)
        return added(contribution(one, rules) for one in known)


class LabelReport(NamedTuple):
    """What was checked of the monitor, what is wrong, and what could not be checked."""

    tally: Mapping[str, int]
    """How many records came to what: `labels.applied`, `results.predicted`, …"""
    identities: int
    windows: int
    waiting: int
    """Windows that changed and are not published yet."""
    violations: tuple[str, ...]
    unchecked: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0: all checked and right; 1: a violation; 3: nothing wrong, but a part is unchecked."""
        return 1 if self.violations else UNCHECKED if self.unchecked else 0

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {**self._asdict(), "tally": dict(sorted(self.tally.items())), "exit_code": self.exit_code}

    def lines(self) -> list[str]:
        """Return the report for people."""
        lines = [f"{name:49} {count:>25,}" for name, count in sorted(self.tally.items())]
        lines += [f"VIOLATION {text}" for text in self.violations]
        lines += [f"unchecked: {text}" for text in self.unchecked]
        if self.waiting:
            lines.append(f"{self.waiting} windows have changed since they were published. Is a monitor running?")
        words = {
            0: f"Right: each label and result is counted once, and {self.windows:,} windows are what {self.identities:,} identities add up to.",
            1: "What is counted is wrong.",
            UNCHECKED: "Nothing wrong was found, but a part could not be checked.",
        }
        return [*lines, words[self.exit_code]]


def judge(
    states: Iterable[State],
    read: Mapping[TP, int | None],
    names: Mapping[str, str],
    parts: Mapping[bytes, Part],
    rules: Rules,
) -> LabelReport:
    """Judge the monitor's state and what it published.

    Args:
        states: of each partition.
        read: how many records a read_committed reader finds of each topic-partition, from where reading began to where it
            stands; None where retention has removed some.
        names: what the tally calls each topic: `results`, `labels`; two may be called alike, where labels were keyed anew later.
        parts: the last part of each key, read after the state.
        rules: how predictions are counted.
    """
    violations, unchecked, tally = [], [], dict[str, int]()
    identities = waiting = 0
    windows: set[bytes] = set()
    published = _by_partition(parts)
    for state in states:
        rows, stands = state.rows(), state.published()
        counts = {key[WINDOW_BYTES:].decode(): row[0] for key, row in rows.items() if is_tally(key)}
        for name, count in counts.items():
            tally[name] = tally.get(name, 0) + count
        for name in sorted({names[tp.topic] for tp in state.ends}):
            tps = sorted(tp for tp in state.ends if names[tp.topic] == name)
            told = sum(
                n for key, n in counts.items() if key.startswith(f"{name}.") and key != f"{name}.{Reason.GAP.name}"
            )
            found = [read.get(tp) for tp in tps]
            at = ", ".join(map(str, tps))
            if None in found:
                unchecked.append(f"{at}: retention has removed what was read")
            elif (total := sum(count or 0 for count in found)) != told:
                violations.append(f"MISCOUNTED {at}: {total:,} records were read, and {told:,} are counted")
        of_predictions = {key: row for key, row in rows.items() if not is_tally(key) and not is_seen(key)}
        if why := other_rules(state.values.get(RULES), rules):
            unchecked.append(f"partition {state.partition} was counted by other rules: {why}")
        else:
            violations += [
                f"WINDOW_DIFFERS partition {state.partition}, window {key.hex()}"
                for key in sorted(_differ(of_predictions, state.counted(rules)))
                if not state.freed(key, rules)
            ]
        by_window: dict[bytes, dict[bytes, Row]] = {}
        for key, row in rows.items():
            by_window.setdefault(key[:WINDOW_BYTES], {})[key] = row
        for window, stand in stands.items():
            revision, theirs = published.get((state.partition, window), (0, {}))
            mine = by_window.get(window, {})
            if revision < stand.revision or (revision == stand.revision and not stand.dirty and theirs != mine):
                violations.append(f"PART_DIFFERS partition {state.partition}, window {window.hex()}")
        identities += sum(key[:1] == ENTRY for key in state.values)
        windows |= {key[:WINDOW_BYTES] for key in of_predictions}
        waiting += sum(stand.dirty != CLEAN for stand in stands.values())
    return LabelReport(tally, identities, len(windows), waiting, tuple(violations), tuple(unchecked))


def _differ(rows: Mapping[bytes, Row], should: Mapping[bytes, Row]) -> set[bytes]:
    """Return the windows in which rows are not as they should be."""
    return {key[:WINDOW_BYTES] for key in rows.keys() | should.keys() if rows.get(key) != should.get(key)}


def _by_partition(parts: Mapping[bytes, Part]) -> dict[tuple[int, bytes], tuple[int, dict[bytes, Row]]]:
    """Return the revision and the rows of each window that each partition has published."""
    found: dict[tuple[int, bytes], tuple[int, dict[bytes, Row]]] = {}
    for key, part in parts.items():
        window, partition = key[:WINDOW_BYTES], int.from_bytes(key[WINDOW_BYTES : WINDOW_BYTES + 4], "big")
        _, rows = found.setdefault((partition, window), (part.revision, {}))
        rows |= {window + within: row for within, row in unchunked(part.rows)}
    return found
