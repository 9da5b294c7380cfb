"""The law of conservation, judged: every request has exactly one terminal record, and no terminal record has none.

Room: pure. What lies in the logs comes as columns; what follows from it is a report. Violations have names:

    LOST                  a request below the committed offset without a terminal record
    DOUBLED               more than one terminal record of one request
    UNREQUESTED           a terminal record of something that is no request
    MISPLACED             a terminal record in another partition than its request's
    TWICE_SCORED          two requests of one identity, both scored, within the dedupe window, in whatever partitions
    UNFOUNDED             a repeat whose first answer is not there, is another identity's, or is not what it carries
    FALSE_GAP             a GAP that covers a request which is still there
    UNREADABLE            a record in one of the answer topics that is no terminal record
    COMMITTED_BEYOND_END  a committed offset behind the end of its log
    OFFSETS_WENT_BACK     a terminal record of a request that is not committed: the group's offsets were moved back
    OUT_OF_ORDER          terminal records of one source partition in another order than their requests, in one topic

At rest, when no worker runs and no producer is at work, also:

    UNANSWERED            a request that is not committed
    HANGING               a transaction that is open, and keeps what is behind it from read_committed readers

What retention removed is unchecked, never lost. That rests on order: terminal records of one source partition lie in
each answer topic in the order of their requests, so retention removes those of the oldest requests first.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from streams.records import TP, Bools, Ints
from streams.verify.book import Book, Partition, Range, Source
from streams.verify.identities import twice_scored, unfounded
from streams.verify.ledger import Ledger, Ordered, cut_below, lies, names
from streams.verify.report import Report, Row


def judge(book: Book, window_ms: int, shown: int = 20) -> Report:
    """Judge everything that was read; at most `shown` examples of each violation are kept."""
    ledger = Ledger(shown)
    ledger.violation("UNREADABLE", len(book.unreadable), book.unreadable)
    answers = Ordered(book.answers)
    _doubled(answers, ledger)
    _misplaced(answers, ledger)
    _out_of_order(answers, ledger)
    twice_scored(book, window_ms, ledger)
    unfounded(book, answers, ledger)
    rows = [_partition(part, answers, book, ledger) for part in book.partitions]
    for tp, range_ in (book.hidden or {}).items():
        ledger.violation(
            "HANGING", 1, [f"{tp}@{range_.begin}: a transaction is open, and hides what is up to {range_.end}"]
        )
    _foreign(answers, {part.source for part in book.partitions}, ledger)
    return Report(tuple(rows), book.kinds, ledger.violations, tuple(ledger.examples), ledger.unchecked)


def _doubled(answers: Ordered, ledger: Ledger) -> None:
    same = (answers.source[1:] == answers.source[:-1]) & (answers.offset[1:] == answers.offset[:-1])
    places = np.flatnonzero(same) + 1
    texts = (f"{answers.origin(i)} has {answers.where(i - 1)} and {answers.where(i)}" for i in places.tolist())
    ledger.violation("DOUBLED", len(places), texts)


def _misplaced(answers: Ordered, ledger: Ledger) -> None:
    """Who reads one partition of the answers must find there what belongs to the keys of that partition."""
    lie = np.array([tp.partition for tp in answers.answers.tps], dtype=np.int64)
    belong = np.array([partition for _, _, partition in answers.answers.sources], dtype=np.int64)
    places = np.flatnonzero(lie[answers.answers.at[answers.rows]] != belong[answers.source])
    texts = (f"{answers.origin(i)} has {answers.where(i)}" for i in places.tolist())
    ledger.violation("MISPLACED", len(places), texts)


def _out_of_order(answers: Ordered, ledger: Ledger) -> None:
    """In each answer topic the answers to one source partition lie in the order of its requests."""
    columns = answers.answers
    order = np.lexsort((columns.at_offset, columns.source, columns.at))
    same = (np.diff(columns.at[order]) == 0) & (np.diff(columns.source[order]) == 0)
    places = np.flatnonzero(same & (np.diff(columns.offset[order]) < 0)) + 1
    texts = (f"{lies(columns, row)} answers {names(columns, row)}, which is older" for row in order[places].tolist())
    ledger.violation("OUT_OF_ORDER", len(places), texts)


def _partition(part: Partition, answers: Ordered, book: Book, ledger: Ledger) -> Row:
    """Judge one source partition."""
    mine = answers.of(part.source)
    start = book.starts.get(part.source)
    gaps = sorted(book.gaps.get(part.source, ()))
    row = Row(part.tp, start, part.log_start, part.committed, 0, 0, max(0, part.end - (part.committed or 0)))
    if part.committed is None:
        ledger.unsure("partitions without a committed offset; `streams topics apply` sets the first", 1)
        return row
    if part.committed > part.end:
        ledger.violation("COMMITTED_BEYOND_END", 1, [f"{part.tp}: {part.committed} is behind the log's end {part.end}"])
    if start is None and TP(book.outcomes, part.tp.partition) not in book.cut:
        ledger.unsure("partitions without a START record; `streams topics apply` writes it", 1)
        return row
    if book.hidden is not None:
        late = part.requests[part.requests >= part.committed]
        ledger.violation("UNANSWERED", len(late), (f"{part.tp}@{offset} waits for its answer" for offset in late))
    claimed = max(start or 0, part.log_start)
    requests = part.requests[(part.requests >= claimed) & (part.requests < part.committed)]
    answered = _isin(requests, answers.offset[mine])
    gapped = _within(requests, gaps)
    ledger.violation("FALSE_GAP", int(gapped.sum()), (f"{part.tp}@{offset} is there" for offset in requests[gapped]))
    for one, other in pairwise(gaps):
        if other.begin < one.end:
            ledger.violation("DOUBLED", 1, [f"{part.tp}@{other.begin} has two GAP records"])
    missing = requests[~answered & ~gapped]
    topics = [book.results, book.outcomes, book.letters[part.tp.topic]]
    expired = missing < cut_below(part.source, topics, answers, book)
    ledger.unsure("requests whose answer retention may have removed", int(expired.sum()))
    lost = missing[~expired]
    ledger.violation("LOST", len(lost), (f"{part.tp}@{offset} has no terminal record" for offset in lost))
    _went_back(part, mine, answers, ledger)
    _unrequested(part, start, requests, gaps, mine, answers, ledger)
    _removed(part, start, gaps, answers.offset[mine], ledger)
    return row._replace(requests=len(requests) - int(expired.sum()), answered=int(answered.sum()))


def _unrequested(
    part: Partition,
    start: int | None,
    requests: Ints,
    gaps: Sequence[Range],
    mine: slice,
    answers: Ordered,
    ledger: Ledger,
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
        texts = (f"{answers.origin(i)} has {answers.where(i)}: {why}" for i in places.tolist())
        ledger.violation(name, len(places), texts)


def _went_back(part: Partition, mine: slice, answers: Ordered, ledger: Ledger) -> None:
    """Judge answers at or behind the offset that was committed after they were read: offsets go with their answers."""
    if part.committed_after is None or part.committed_after > part.end:
        return
    offset = answers.offset[mine]
    places = np.flatnonzero((offset >= part.committed_after) & (offset < part.end)) + mine.start
    texts = (f"{answers.origin(i)} has {answers.where(i)}, and {part.committed_after} is committed" for i in places)
    ledger.violation("OFFSETS_WENT_BACK", len(places), texts)


def _removed(part: Partition, start: int | None, gaps: Sequence[Range], answered: Ints, ledger: Ledger) -> None:
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


def _foreign(answers: Ordered, known: set[Source], ledger: Ledger) -> None:
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
