"""What the demo found: whether it holds and why not, for people, and as JSON. Pure."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

from streams.demo.play import Kill, Played
from streams.demo.truth import Truth
from streams.demo.watch import Watch
from streams.reasons import SCORED, Reason
from streams.records import TP
from streams.verify.report import Report

SHARES = (0.4, 0.6)
"""The kill must come when so much is answered."""
WIDTH = 112


class Silence(NamedTuple):
    """How the kill was felt."""

    uncommitted: int
    """Requests that lay in the worker's partitions when it was dead, and were answered only afterwards."""
    in_hand: int
    """Those among them that it had read."""
    silent_ms: Mapping[TP, int]
    """The longest time without an answer around the kill, of each partition."""
    answering_ms: int | None
    """From the kill until each of the worker's partitions had an answer again; None if one had none."""

    @classmethod
    def around(cls, kill: Kill, watch: Watch) -> Self:
        """Return how a kill was felt, from what was answered when: the broker's append times say it."""
        after = watch.after(kill.at_ms)
        late = [(tp, one.offset) for tp, end in kill.ends.items() for one in after.get(tp, []) if one.offset < end]
        first = [min((one.append_ms for one in after.get(tp, [])), default=None) for tp in kill.ends]
        known = [moment for moment in first if moment is not None]
        return cls(
            uncommitted=len(late),
            in_hand=sum(offset in kill.in_hand.get(tp, ()) for tp, offset in late),
            silent_ms=watch.silent_ms(kill.at_ms),
            answering_ms=max(known) - kill.at_ms if known and len(known) == len(first) else None,
        )


class Found(NamedTuple):
    """Everything that one run of the demo found."""

    seed: int
    seconds: float
    expected: Mapping[str, int]
    """How many answers of each kind there must be."""
    played: Played
    silence: Silence | None
    """None if nobody was killed."""
    sentences: Mapping[str, str]
    """Of each kind of answer, what its sender was told."""
    verified: Report
    versions: Mapping[str, str]
    truth: Truth | None = None
    """None if there were no labels."""

    @property
    def outcomes(self) -> Counter[str]:
        """How many answers of each kind lie in the topics, as `streams verify` read them."""
        return Counter({kind: count for kind, count in self.verified.kinds.items() if kind != Reason.START.name})

    def failures(self) -> list[str]:
        """Return what does not hold, in sentences; empty if everything does."""
        return [*self._unforeseen(), *self._ill_timed(), *(self.truth.failures() if self.truth else ())]

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
            "killed_partitions": sorted(tp.partition for tp in kill.ends) if kill else [],
            "silent_ms": {str(tp.partition): ms for tp, ms in silence.silent_ms.items()} if silence else {},
            "restarted_ms": played.restarted_ms,
            "answering_ms": silence.answering_ms if silence else None,
            "outcomes": dict(sorted(self.outcomes.items())),
            "expected": dict(sorted(self.expected.items())),
            "requests_per_s": round(played.sent / played.sending_s) if played.sending_s else None,
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
            "versions": dict(self.versions),
            "verify": verified,
            "truth": self.truth.as_json() if self.truth else None,
        }

    def sections(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the findings for people, part by part: title and lines."""
        yield "What `streams verify` reads in the topics, and what each sender was told", list(self._answers())
        yield "The kill", list(self._about_kill())
        if self.truth is not None:
            yield "What came true, as `streams performance show --span 168` tells it", list(self.truth.lines())

    def verdict(self) -> list[str]:
        """Return the last words."""
        if failures := self.failures():
            return ["The demo does NOT hold:", *(f"  {failure}" for failure in failures)]
        kinds, answered = self.outcomes, self.verified.as_json()["answered"]
        repeats = kinds[Reason.DUPLICATE.name] + kinds[Reason.CONFLICT.name]
        refused = kinds.total() - kinds[SCORED] - repeats
        return [
            f"It holds: {self.played.sent:,} requests, {answered:,} answers, 0 lost, 0 doubled.",
            f"  {kinds[SCORED]:,} predictions, {repeats:,} repeats that met their first answer, {refused:,} refusals with a "
            "reason: each the one expected before the run.",
            *self._felt(),
            f"  {self.seconds:.0f} s, from starting the broker to the last check.",
        ]

    def _felt(self) -> Iterator[str]:
        kill, silence = self.played.kill, self.silence
        if kill is None or silence is None:
            return
        its = max((ms for tp, ms in silence.silent_ms.items() if tp in kill.ends), default=0)
        others = max((ms for tp, ms in silence.silent_ms.items() if tp not in kill.ends), default=0)
        yield (
            f"  A worker was killed with -9 when {kill.answered / self.played.total:.0%} were answered: its partitions were silent "
            f"for {its / 1000:.1f} s at most, the others for {others / 1000:.1f} s."
        )

    def _unforeseen(self) -> Iterator[str]:
        sent, found, judged = self.played.sent, self.outcomes, sum(row.requests for row in self.verified.rows)
        if self.verified.exit_code:
            yield f"`streams verify` ends with {self.verified.exit_code}; its table says why."
        if self.played.lag:
            yield f"{self.played.lag:,} requests were not answered in time."
        if sent != judged:
            yield f"{sent:,} requests were sent, and {judged:,} of them could be judged."
        for kind in sorted({*self.expected, *found}):
            if self.expected.get(kind, 0) != found[kind]:
                yield f"{kind}: {found[kind]:,} answers, and {self.expected.get(kind, 0):,} were foreseen."

    def _ill_timed(self) -> Iterator[str]:
        kill, total, (low, high) = self.played.kill, self.played.total, SHARES
        if kill is None:
            yield "No worker was killed."
            return
        share = kill.answered / total
        if not low <= share <= high:
            yield f"The worker was killed when {share:.0%} were answered, not between {low:.0%} and {high:.0%}."
        if not kill.to_come:
            yield "No request was to come any more when the worker was killed."
        if self.played.restarted_ms is None:
            yield f"Nobody started worker {kill.slot} again."

    def _answers(self) -> Iterator[str]:
        for kind, count in sorted(self.outcomes.items(), key=lambda each: -each[1]):
            told = "A prediction: score, label, and which model and contract it comes from."
            if kind != SCORED:
                told = self.sentences.get(kind, "(none was seen)")
            head, *rest = textwrap.wrap(told, WIDTH - 28)
            yield f"{kind:16}{count:>8,}  {head}"
            yield from (f"{'':26}{line}" for line in rest)
        yield f"{'':16}{self.outcomes.total():>8,}  answers to {sum(row.requests for row in self.verified.rows):,} requests"
        yield ""
        yield from self.verified.findings()

    def _about_kill(self) -> Iterator[str]:
        kill, silence, played = self.played.kill, self.silence, self.played
        if kill is None or silence is None:
            yield "Nobody was killed."
            return
        numbers = sorted(tp.partition for tp in kill.ends)
        share = kill.answered / played.total
        yield f"killed         worker {kill.slot}, process {kill.pid}, partitions {' and '.join(map(str, numbers))}"
        yield f"when           {kill.answered:,} of {played.total:,} were answered ({share:.0%}), {kill.to_come:,} not even sent"
        yield f"uncommitted    {silence.uncommitted:,} requests of its partitions, {silence.in_hand:,} of them read by it"
        if played.restarted_ms is not None and silence.answering_ms is not None:
            yield (
                f"took over      a new process after {played.restarted_ms / 1000:.2f} s; "
                f"all its partitions answered again after {silence.answering_ms / 1000:.2f} s"
            )
        yield "silent         longest time without an answer around it, by the broker's append times:"
        for tp, ms in silence.silent_ms.items():
            yield f"{'':15}partition {tp.partition} {ms / 1000:6.2f} s{'  killed' if tp in kill.ends else ''}"
