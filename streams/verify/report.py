"""What `streams verify` found: for people, as JSON, and as an exit code. Room: value, pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from streams.errors import UNCHECKED
from streams.reasons import Reason
from streams.records import TP


class Row(NamedTuple):
    """What is true of one source partition."""

    tp: TP
    start: int | None
    log_start: int
    committed: int | None
    requests: int
    """Requests that were judged: from START, or from what retention left, to the committed offset."""
    answered: int
    waiting: int
    """Offsets behind the committed one: requests that no worker has answered yet, and markers of transactions."""


class Report(NamedTuple):
    """What was checked, what is wrong, and what could not be checked."""

    rows: tuple[Row, ...]
    kinds: Mapping[str, int]
    violations: Mapping[str, int]
    examples: tuple[str, ...]
    """The first violations of each name, with coordinates."""
    unchecked: Mapping[str, int]

    @property
    def exit_code(self) -> int:
        """0: all checked and right; 1: a violation; 3: nothing wrong, but a part is unchecked."""
        return 1 if self.violations else UNCHECKED if self.unchecked else 0

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        doubled = self.violations.get("DOUBLED", 0) + self.violations.get("TWICE_SCORED", 0)
        return {
            "exit_code": self.exit_code,
            "requests": sum(row.requests for row in self.rows),
            "answered": sum(row.answered for row in self.rows),
            "waiting": sum(row.waiting for row in self.rows),
            "lost": self.violations.get("LOST", 0),
            "doubled": doubled,
            "outcomes": dict(sorted(self.kinds.items())),
            "violations": dict(sorted(self.violations.items())),
            "examples": list(self.examples),
            "unchecked": dict(self.unchecked),
            "partitions": [{**row._asdict(), "tp": str(row.tp)} for row in self.rows],
        }

    def lines(self) -> list[str]:
        """Return the report for people."""
        lines = [f"{'request topic':40} {'partitions':>10} {'requests':>12} {'answered':>12} {'waiting':>10}"]
        for topic in dict.fromkeys(row.tp.topic for row in self.rows):
            rows = [row for row in self.rows if row.tp.topic == topic]
            requests, answered = sum(row.requests for row in rows), sum(row.answered for row in rows)
            waiting = sum(row.waiting for row in rows)
            lines.append(f"{topic:40} {len(rows):>10} {requests:>12,} {answered:>12,} {waiting:>10,}")
        lines += [f"  {kind:38} {'':>10} {'':>12} {count:>12,}" for kind, count in self._terminal_kinds()]
        return [*lines, *self.findings()]

    def findings(self) -> list[str]:
        """Return what is wrong, what is unchecked, what waits, and the verdict, for people."""
        lines = [f"VIOLATION {name}: {count:,}" for name, count in sorted(self.violations.items())]
        lines += [f"  {example}" for example in self.examples]
        lines += [f"unchecked: {count:,} {what}" for what, count in self.unchecked.items()]
        waiting = [row for row in self.rows if row.waiting]
        if waiting:
            count, named = sum(row.waiting for row in waiting), ", ".join(str(row.tp) for row in waiting[:3])
            more = ", …" if len(waiting) > 3 else ""
            lines.append(
                f"{count:,} offsets behind the committed ones ({named}{more}) are not judged: requests that wait to be "
                "answered, or markers of transactions. Is a scorer running?"
            )
        words = {
            0: "Right up to the committed offsets: each request has exactly one terminal record.",
            1: "The guarantee is broken.",
            UNCHECKED: "Nothing wrong was found, but a part could not be checked.",
        }
        return [*lines, words[self.exit_code]]

    def _terminal_kinds(self) -> list[tuple[str, int]]:
        return [(kind, count) for kind, count in sorted(self.kinds.items()) if kind != Reason.START.name]
