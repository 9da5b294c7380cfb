"""What the demo found: whether it holds and why not, for people, and as JSON. Pure."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from streams.demo.play import Played
from streams.demo.watch import Example
from streams.reasons import SCORED, Reason
from streams.records import TP
from streams.report import Report

SHARES = (0.4, 0.6)
"""The kill must come when so much is answered."""
WIDTH = 110


class Silence(NamedTuple):
    """How the kill was felt."""

    uncommitted: int
    """Requests that lay in the worker's partitions when it was dead and were answered only afterwards."""
    in_hand: int
    """Those among them that it had read."""
    silent_ms: Mapping[TP, int]
    """The longest time without an answer around the kill, of each partition."""
    answering_ms: int | None
    """From the kill until every partition of the worker had an answer again."""


class Found(NamedTuple):
    """Everything that one run of the demo found."""

    seed: int
    seconds: float
    expected: Mapping[str, int]
    """How many answers of each kind there must be."""
    played: Played
    silence: Silence | None
    """None if nobody was killed."""
    examples: Mapping[str, Example]
    verified: Report
    versions: Mapping[str, str]

    @property
    def outcomes(self) -> Counter[str]:
        """How many answers of each kind lie in the topics, as `streams verify` read them."""
        return Counter({kind: n for kind, n in self.verified.kinds.items() if kind != Reason.START.name})

    def failures(self) -> list[str]:
        """Return what does not hold, in sentences; empty if everything does."""
        return [*self._unlike_expected(), *self._ill_timed()]

    def as_json(self) -> dict[str, Any]:
        """Return the findings as JSON values."""
        played, kill, silence, verified = self.played, self.played.kill, self.silence, self.verified.as_json()
        return {
            "holds": not self.failures(),
            "failures": self.failures(),
            "requests": played.sent,
            "answered": verified["answered"],
            "lost": verified["lost"],
            "doubled": verified["doubled"],
            "answered_at_kill": kill.answered if kill else None,
            "answered_at_kill_share": round(kill.answered / played.total, 4) if kill else None,
            "sent_at_kill": kill.sent if kill else None,
            "uncommitted_at_kill": silence.uncommitted if silence else None,
            "in_hand_at_kill": silence.in_hand if silence else None,
            "silent_ms": {str(tp.partition): ms for tp, ms in silence.silent_ms.items()} if silence else {},
            "killed_partitions": sorted(tp.partition for tp in kill.ends) if kill else [],
            "restarted_ms": played.restarted_ms,
            "answering_ms": silence.answering_ms if silence else None,
            "outcomes": dict(sorted(self.outcomes.items())),
            "expected": dict(sorted(self.expected.items())),
            "requests_per_second": round(played.sent / played.sending_s) if played.sending_s else None,
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
            "versions": dict(self.versions),
            "verify": verified,
        }

    def lines(self) -> list[str]:
        """Return the findings for people, all but the verdict."""
        return [
            "What lies in the topics, as `streams verify` reads them",
            *(f"  {line}" for line in self.verified.lines()),
            "",
            "Why a request got no new prediction, and what its sender is told",
            *self._refusals(),
            "",
            "The kill",
            *(f"  {line}" for line in self._about_kill()),
        ]

    def verdict(self) -> list[str]:
        """Return the last words."""
        failures = self.failures()
        if failures:
            return ["The demo does NOT hold:", *(f"  {failure}" for failure in failures)]
        return [
            f"It holds: {self.played.sent:,} requests, {self.verified.as_json()['answered']:,} answers, "
            f"0 lost, 0 doubled, each of the kind that was foreseen ({self.seconds:.0f} s)."
        ]

    def _unlike_expected(self) -> Iterator[str]:
        played, found = self.played, self.outcomes
        if self.verified.exit_code:
            yield f"`streams verify` ends with {self.verified.exit_code}; see its table."
        if played.lag:
            yield f"{played.lag:,} requests were not answered in time."
        if played.sent != sum(row.requests for row in self.verified.rows):
            yield f"{played.sent:,} requests were sent, and `streams verify` judged {sum(row.requests for row in self.verified.rows):,}."
        for kind in sorted({*self.expected, *found}):
            if self.expected.get(kind, 0) != found[kind]:
                yield f"{kind}: {found[kind]:,} answers, and {self.expected.get(kind, 0):,} were foreseen."

    def _ill_timed(self) -> Iterator[str]:
        kill, total = self.played.kill, self.played.total
        if kill is None:
            yield "No worker was killed."
            return
        low, high = SHARES
        if not low <= kill.answered / total <= high:
            yield (
                f"The worker was killed when {kill.answered / total:.0%} were answered, not between {low:.0%} and {high:.0%}."
            )
        if not kill.to_come:
            yield "No request was to come any more when the worker was killed."
        if self.played.restarted_ms is None:
            yield f"Nobody started worker {kill.slot} again."

    def _refusals(self) -> Iterator[str]:
        for kind, count in sorted(self.outcomes.items(), key=lambda each: -each[1]):
            example = self.examples.get(kind)
            if kind == SCORED or example is None:
                continue
            head, *rest = textwrap.wrap(example.sentence, WIDTH - 28) or [""]
            yield f"  {kind:16}{count:>8,}  {head}"
            yield from (f"{'':28}{line}" for line in rest)
            yield f"{'':28}such as {example.key or '(no key)'}, {example.at}; to {example.topic}"

    def _about_kill(self) -> Iterator[str]:
        kill, silence = self.played.kill, self.silence
        if kill is None or silence is None:
            yield "Nobody was killed."
            return
        yield (
            f"worker {kill.slot}, process {kill.pid}, SIGKILL when {kill.answered:,} of {self.played.total:,} requests were "
            f"answered ({kill.answered / self.played.total:.0%})"
        )
        yield (
            f"and {kill.sent:,} sent; {silence.uncommitted:,} requests of its partitions were not committed, "
            f"{silence.in_hand:,} of them already in its hands"
        )
        if self.played.restarted_ms is not None and silence.answering_ms is not None:
            yield (
                f"a new process had its place after {self.played.restarted_ms / 1000:.2f} s and answered in all its partitions "
                f"after {silence.answering_ms / 1000:.2f} s"
            )
        yield "longest time without an answer around it, by the broker's append times:"
        for tp, ms in silence.silent_ms.items():
            yield f"  partition {tp.partition}  {ms / 1000:6.2f} s{'  (the killed worker’s)' if tp in kill.ends else ''}"
