"""What a plain read_committed reader sees of the answers while they come: how many, of which kind, for whom, and when."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

from streams import schemas_dir
from streams.avro.read import Reader
from streams.config import Settings
from streams.headers import MESSAGE, REASON, origin_of
from streams.kafka.tail import Record
from streams.reasons import SCORED, Reason
from streams.records import TP

FRAMING = 5
"""Bytes before the datum: the magic byte and the schema id."""
AROUND_MS = (1_000, 10_000)
"""How long before and after a kill its silence is looked for."""


class Answered(NamedTuple):
    """One request that was answered, and when its answer was appended."""

    offset: int
    append_ms: int


class Watch:
    """Takes records of results, outcomes and dead letters in any order; START records do not count."""

    def __init__(self, settings: Settings) -> None:
        folder = schemas_dir()
        self._results, self._outcomes = settings.results, settings.outcomes
        self._result = Reader((folder / "result.avsc").read_text("utf-8"))
        self._outcome = Reader((folder / "outcome.avsc").read_text("utf-8"))
        self.kinds: Counter[str] = Counter()
        self.sentences: dict[str, str] = {}
        """Of each kind, the first that was seen."""
        self.answered: dict[TP, list[Answered]] = {}
        """By the request's partition, in the order seen."""

    def take(self, records: Iterable[Record]) -> None:
        """Take some records. Raises: ValueError for one that is no answer."""
        for record in records:
            if record.tp.topic == self._results:
                fields = self._result.read(record.value or b"", FRAMING)
                self._count(record, SCORED, "", TP(fields["request_topic"], fields["request_partition"]), fields)
            elif record.tp.topic == self._outcomes:
                fields = self._outcome.read(record.value or b"", FRAMING)
                if fields["kind"] != Reason.START.name:
                    at = TP(fields["request_topic"], fields["request_partition"])
                    self._count(record, fields["kind"], fields["sentence"], at, fields)
            else:
                self._dead_letter(record)

    @property
    def count(self) -> int:
        """How many answers were seen."""
        return self.kinds.total()

    def after(self, moment_ms: int) -> dict[TP, list[Answered]]:
        """Return what was answered after a moment, by partition."""
        return {tp: [one for one in answered if one.append_ms > moment_ms] for tp, answered in self.answered.items()}

    def silent_ms(self, moment_ms: int) -> dict[TP, int]:
        """Return, for each partition, the longest time without an answer around a moment.

        Between the append times of two answers that follow each other, whichever of the topics they went to; an
        answer can be read when its transaction is committed, some milliseconds after it was appended.
        """
        before, behind = AROUND_MS
        return {
            tp: longest_gap([one.append_ms for one in answered], moment_ms - before, moment_ms + behind)
            for tp, answered in sorted(self.answered.items())
        }

    def _dead_letter(self, record: Record) -> None:
        origin, headers = origin_of(record.headers), dict(record.headers or ())
        if origin is None:
            raise ValueError(f"{record.tp} offset {record.offset}: its headers name no request")
        kind, sentence = ((headers.get(name) or b"?").decode("utf-8", "replace") for name in (REASON, MESSAGE))
        self._count(record, kind, sentence, TP(origin.topic, origin.partition), {"request_offset": origin.offset})

    def _count(self, record: Record, kind: str, sentence: str, tp: TP, fields: Mapping[str, int]) -> None:
        offset = fields["request_offset"]
        self.kinds[kind] += 1
        self.answered.setdefault(tp, []).append(Answered(offset, record.append_ms))
        self.sentences.setdefault(kind, sentence)


def longest_gap(times: Iterable[int], begin: int, end: int) -> int:
    """Return the longest gap between neighbouring times, of those gaps that touch a window; 0 if none does.

    >>> longest_gap([9, 1, 2, 30], 3, 12)
    21
    """
    return max((late - soon for soon, late in pairwise(sorted(times)) if late > begin and soon < end), default=0)
