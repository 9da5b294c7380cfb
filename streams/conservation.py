"""The law of conservation, judged: every request has exactly one terminal record, and no terminal record has none.

Room: pure. What lies in the logs comes as columns; what follows from it is a report. Violations have names:

    LOST                  a request below the committed offset without a terminal record
    DOUBLED               more than one terminal record of one request
    UNREQUESTED           a terminal record of something that is no request
    TWICE_SCORED          two requests of one identity, both scored, within the dedupe window, in whatever partitions
    FALSE_GAP             a GAP that covers a request which is still there
    UNREADABLE            a record in one of the answer topics that is no terminal record
    COMMITTED_BEYOND_END  a committed offset behind the end of its log

What retention removed is unchecked, never lost. That rests on order: terminal records of one source partition lie in
each answer topic in the order of their requests, so retention removes those of the oldest requests first.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.records import TP, Bools, Ints
from streams.report import Report, Row

Words = npt.NDArray[np.uint64]
Source = tuple[str, bytes, int]
"""A source partition in one of its topic's lives: topic, topic id, partition."""


class Partition(NamedTuple):
    """One source partition: what is claimed of it, and the requests that a read_committed reader sees."""

    tp: TP
    topic_id: bytes
    log_start: int
    committed: int | None
    end: int
    """Read_uncommitted, taken after everything else was read."""
    requests: Ints
    """Offsets of the records seen in [log start, committed), ascending."""


class Answers(NamedTuple):
    """Terminal records in columns: where each lies, and the request that it names. GAP and START are none."""

    tps: tuple[TP, ...]
    at: Ints
    """Index into `tps`."""
    at_offset: Ints
    sources: tuple[Source, ...]
    source: Ints
    """Index into `sources`."""
    offset: Ints
    scored: Ints
    """Rows of the results among them; the next two columns are theirs."""
    identity: Words
    """Shape (scored, 2): a digest of tenant, request id and run."""
    append_ms: Ints


class Range(NamedTuple):
    """Offsets of a source partition from `begin` (inclusive) to `end` (exclusive): what a GAP covers."""

    begin: int
    end: int


class Book(NamedTuple):
    """Everything that was read."""

    partitions: Sequence[Partition]
    answers: Answers
    kinds: Mapping[str, int]
    """How many terminal records of each kind were read."""
    starts: Mapping[Source, int]
    gaps: Mapping[Source, Sequence[Range]]
    cut: frozenset[TP]
    """Answer partitions of which retention has removed records."""
    answer_topics: Mapping[str, tuple[str, ...]]
    """Of each request topic: where its terminal records lie."""
    outcomes: str
    unreadable: Sequence[str]
    """Coordinates, and what is wrong."""


def judge(book: Book, window_ms: int, shown: int = 20) -> Report:
    """Judge everything that was read; at most `shown` examples of each violation are kept."""
    ledger = _Ledger(shown)
    for text in book.unreadable:
        ledger.violation("UNREADABLE", 1, [text])
    sorted_answers = _Sorted(book.answers)
    _doubled(sorted_answers, ledger)
    _twice_scored(book.answers, window_ms, ledger)
    known = {(part.tp.topic, part.topic_id, part.tp.partition): part for part in book.partitions}
    rows = [_partition(part, source, sorted_answers, book, ledger) for source, part in known.items()]
    _foreign(sorted_answers, known, ledger)
    return Report(tuple(rows), book.kinds, ledger.violations, tuple(ledger.examples), ledger.unchecked)


class _Ledger:
    """Counts what is found, and keeps the first examples."""

    def __init__(self, shown: int) -> None:
        self.violations: Counter[str] = Counter()
        self.unchecked: Counter[str] = Counter()
        self.examples: list[str] = []
        self._shown = shown

    def violation(self, name: str, count: int, examples: Iterator[str] | list[str]) -> None:
        room = self._shown - self.violations[name]
        self.violations[name] += count
        self.examples += [f"{name}  {text}" for text, _ in zip(examples, range(room), strict=False)]

    def unsure(self, what: str, count: int) -> None:
        if count:
            self.unchecked[what] += count


class _Sorted:
    """The terminal records in the order of their requests: by source, then offset."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.rows = np.lexsort((answers.at_offset, answers.offset, answers.source))
        self.source = answers.source[self.rows]
        self.offset = answers.offset[self.rows]

    def of(self, source: Source) -> slice:
        """Return the records of one source partition."""
        try:
            index = self.answers.sources.index(source)
        except ValueError:
            return slice(0, 0)
        return slice(*np.searchsorted(self.source, [index, index + 1]).tolist())

    def where(self, place: int) -> str:
        """Return the coordinates of the record at a place of this order."""
        row = self.rows[place]
        return f"{self.answers.tps[self.answers.at[row]]}@{self.answers.at_offset[row]}"

    def origin(self, place: int) -> str:
        """Return the coordinates of the request that it names."""
        topic, _, partition = self.answers.sources[self.source[place]]
        return f"{TP(topic, partition)}@{self.offset[place]}"


def _doubled(answers: _Sorted, ledger: _Ledger) -> None:
    same = (answers.source[1:] == answers.source[:-1]) & (answers.offset[1:] == answers.offset[:-1])
    places = np.flatnonzero(same) + 1
    texts = (f"{answers.origin(i)} has {answers.where(i - 1)} and {answers.where(i)}" for i in places.tolist())
    if len(places):
        ledger.violation("DOUBLED", len(places), texts)


def _twice_scored(answers: Answers, window_ms: int, ledger: _Ledger) -> None:
    rows = answers.scored
    # a second record of the same request is DOUBLED, not this
    source, offset = answers.source[rows], answers.offset[rows]
    ordered = np.lexsort((offset, source))
    again = (source[ordered][1:] == source[ordered][:-1]) & (offset[ordered][1:] == offset[ordered][:-1])
    first = ordered[np.concatenate([np.ones(min(len(rows), 1), dtype=np.bool_), ~again])]
    append_ms = answers.append_ms[first]
    identity = answers.identity[first]
    order = np.lexsort((append_ms, identity[:, 1], identity[:, 0]))
    same = (identity[order][1:] == identity[order][:-1]).all(axis=1)
    near = append_ms[order][1:] - append_ms[order][:-1] <= window_ms
    places = np.flatnonzero(same & near) + 1

    def where(place: int) -> str:
        row = rows[first[order[place]]]
        topic, _, partition = answers.sources[answers.source[row]]
        return (
            f"{TP(topic, partition)}@{answers.offset[row]} in {answers.tps[answers.at[row]]}@{answers.at_offset[row]}"
        )

    if len(places):
        texts = (f"the same identity: {where(i - 1)} and {where(i)}" for i in places.tolist())
        ledger.violation("TWICE_SCORED", len(places), texts)


def _partition(part: Partition, source: Source, answers: _Sorted, book: Book, ledger: _Ledger) -> Row:
    """Judge one source partition."""
    mine = answers.of(source)
    start = book.starts.get(source)
    gaps = sorted(book.gaps.get(source, ()))
    row = Row(part.tp, start, part.log_start, part.committed, 0, 0)
    if part.committed is None:
        ledger.unsure("partitions without a committed offset; `streams topics apply` sets the first", 1)
        return row
    if part.committed > part.end:
        ledger.violation("COMMITTED_BEYOND_END", 1, [f"{part.tp}: {part.committed} is behind the log's end {part.end}"])
    if start is None and TP(book.outcomes, part.tp.partition) not in book.cut:
        ledger.unsure("partitions without a START record; `streams topics apply` writes it", 1)
        return row
    claimed = max(start or 0, part.log_start)
    requests = part.requests[(part.requests >= claimed) & (part.requests < part.committed)]
    answered = _isin(requests, answers.offset[mine])
    gapped = _within(requests, gaps)
    if gapped.any():
        texts = (f"{part.tp}@{offset} is there" for offset in requests[gapped])
        ledger.violation("FALSE_GAP", int(gapped.sum()), texts)
    for one, other in pairwise(gaps):
        if other.begin < one.end:
            ledger.violation("DOUBLED", 1, [f"{part.tp}@{other.begin} has two GAP records"])
    missing = requests[~answered & ~gapped]
    expired = missing < _cut_below(part.tp, mine, answers, book)
    ledger.unsure("requests whose answer retention may have removed", int(expired.sum()))
    lost = missing[~expired]
    if len(lost):
        ledger.violation("LOST", len(lost), (f"{part.tp}@{offset} has no terminal record" for offset in lost))
    _unrequested(part, start, requests, gaps, mine, answers, ledger)
    _removed(part, start, gaps, answers.offset[mine], ledger)
    return row._replace(requests=len(requests) - int(expired.sum()), answered=int(answered.sum()))


def _cut_below(tp: TP, mine: slice, answers: _Sorted, book: Book) -> int:
    """Return the offset below which retention may have removed terminal records of a source partition."""
    below = -1
    rows = answers.rows[mine]
    for topic in book.answer_topics[tp.topic]:
        log = TP(topic, tp.partition)
        if log not in book.cut:
            continue
        here = rows[answers.answers.at[rows] == (book.answers.tps.index(log) if log in book.answers.tps else -1)]
        if not len(here):
            return np.iinfo(np.int64).max
        below = max(below, int(book.answers.offset[here[book.answers.at_offset[here].argmin()]]))
    return below


def _unrequested(
    part: Partition,
    start: int | None,
    requests: Ints,
    gaps: Sequence[Range],
    mine: slice,
    answers: _Sorted,
    ledger: _Ledger,
) -> None:
    """Judge terminal records that name no request of what was read; those behind the committed offset come later."""
    offset = answers.offset[mine]
    assert part.committed is not None
    judged = (offset >= max(start or 0, part.log_start)) & (offset < part.committed)
    stray = (judged & ~_isin(offset, requests)) | (offset >= part.end) | (offset < 0)
    in_gap = _within(offset, gaps) & ~stray
    for name, mask, why in (
        ("UNREQUESTED", stray, "no request lies there"),
        ("DOUBLED", in_gap, "it lies in a GAP, too"),
    ):
        places = np.flatnonzero(mask) + mine.start
        if len(places):
            texts = (f"{answers.origin(i)} has {answers.where(i)}: {why}" for i in places.tolist())
            ledger.violation(name, len(places), texts)


def _removed(part: Partition, start: int | None, gaps: Sequence[Range], answered: Ints, ledger: _Ledger) -> None:
    """Count what can no longer be checked because the requests themselves are gone."""
    gone = np.unique(answered[(answered < part.log_start) & (answered >= (start or 0))])
    ledger.unsure("answers whose request retention has removed", len(gone))
    if start is None or start >= part.log_start:
        return
    covered = sum(max(0, min(gap.end, part.log_start) - max(gap.begin, start)) for gap in gaps)
    silent = part.log_start - start - covered - int((~_within(gone, gaps)).sum())
    ledger.unsure(
        "offsets that retention has removed, with neither answer nor GAP (markers among them)", max(0, silent)
    )


def _foreign(answers: _Sorted, known: Mapping[Source, Partition], ledger: _Ledger) -> None:
    """Judge terminal records of source partitions that are not (or no longer) the application's."""
    lives = {(topic, topic_id) for topic, topic_id, _ in known}
    topics = {topic for topic, _ in lives}
    for source in answers.answers.sources:
        if source in known:
            continue
        mine = answers.of(source)
        count = mine.stop - mine.start
        if (source[0], source[1]) in lives:
            texts = (
                f"{answers.origin(i)} has {answers.where(i)}: no such partition" for i in range(mine.start, mine.stop)
            )
            ledger.violation("UNREQUESTED", count, texts)
        elif source[0] in topics:
            ledger.unsure(f"answers to an earlier topic of the name {source[0]}", count)
        else:
            ledger.unsure(f"answers to {source[0]}, which is not in the configuration", count)


def _isin(values: Ints, ascending: Ints) -> Bools:
    """Return which values are among the others, which are in ascending order."""
    if not len(ascending):
        return np.zeros(len(values), dtype=np.bool_)
    place = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    found: Bools = ascending[place] == values
    return found


def _within(values: Ints, ranges: Sequence[Range]) -> Bools:
    inside = np.zeros(len(values), dtype=np.bool_)
    for begin, end in ranges:
        inside |= (values >= begin) & (values < end)
    return inside
