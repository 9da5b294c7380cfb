"""What is judged across requests: one SCORED an identity, and repeats that point to the first answer. Room: pure."""

import numpy as np

from streams.records import TP, Ints
from streams.verify.book import Book, Partition
from streams.verify.ledger import Ledger, Ordered, cut_below, lies, names


def twice_scored(book: Book, window_ms: int, ledger: Ledger) -> None:
    """Judge identities that were scored more than once: two may not be nearer to each other than the window."""
    answers, scores = book.answers, book.answers.scores
    # a second record of the same request is DOUBLED, not this
    source, offset = answers.source[scores.row], answers.offset[scores.row]
    ordered = np.lexsort((offset, source))
    again = (source[ordered][1:] == source[ordered][:-1]) & (offset[ordered][1:] == offset[ordered][:-1])
    first = ordered[np.concatenate([np.ones(min(len(ordered), 1), dtype=np.bool_), ~again])]
    append_ms, identity = scores.append_ms[first], scores.identity[first]
    order = np.lexsort((append_ms, identity[:, 1], identity[:, 0]))
    same = (identity[order][1:] == identity[order][:-1]).all(axis=1)
    near = append_ms[order][1:] - append_ms[order][:-1] <= window_ms
    places = np.flatnonzero(same & near) + 1

    def where(place: int) -> str:
        row = int(scores.row[first[order[place]]])
        return f"{names(answers, row)} in {lies(answers, row)}"

    texts = (f"the same identity: {where(i - 1)} and {where(i)}" for i in places.tolist())
    ledger.violation("TWICE_SCORED", len(places), texts)


def unfounded(book: Book, answers: Ordered, ledger: Ledger) -> None:
    """Judge repeats: the request that each names as its first is scored, is of its identity, and got what is repeated.

    Only repeats below the committed offset are judged: their transaction had ended before the results were read.
    """
    repeats, known = book.answers.repeats, {part.tp: part for part in book.partitions}
    committed = [
        known[TP(topic, part)].committed if TP(topic, part) in known else None
        for topic, _, part in book.answers.sources
    ]
    limit = np.array([-1 if offset is None else offset for offset in committed], dtype=np.int64)
    settled = book.answers.offset[repeats.row] < limit[book.answers.source[repeats.row]]
    nameless = np.flatnonzero(settled & (repeats.first < 0))
    ledger.violation("UNFOUNDED", len(nameless), (f"{_at(book, i)} names no first answer" for i in nameless.tolist()))
    for index, tp in enumerate(repeats.tps):
        mine = np.flatnonzero(settled & (repeats.first == index))
        if tp in known:
            _of_partition(mine, known[tp], book, answers, ledger)
        else:
            ledger.unsure(f"repeats of answers to {tp.topic}, which is not in the configuration", len(mine))


def _of_partition(mine: Ints, part: Partition, book: Book, answers: Ordered, ledger: Ledger) -> None:
    """Judge the repeats (indexes into `Repeats`) whose first request lies in one source partition."""
    repeats, scores = book.answers.repeats, book.answers.scores
    rows = answers.rows[answers.of(part.source)]
    rows = rows[_among(rows, scores.row) >= 0]  # results only, still in the order of their requests
    found = _among(repeats.first_offset[mine], book.answers.offset[rows])
    missing, there = mine[found < 0], mine[found >= 0]
    expired = repeats.first_offset[missing] < cut_below(part.source, [book.results], answers, book)
    ledger.unsure("repeats whose first answer retention may have removed", int(expired.sum()))
    first = _among(rows[found[found >= 0]], scores.row)
    other = (scores.identity[first] != repeats.identity[there]).any(axis=1)
    changed = ~other & (repeats.digest[there] != 0) & (repeats.digest[there] != scores.digest[first])
    for places, why in (
        (missing[~expired], "which is not scored"),
        (there[other], "which has another identity"),
        (there[changed], "and carries another answer than that"),
    ):
        texts = (f"{_at(book, i)} repeats {part.tp}@{repeats.first_offset[i]}, {why}" for i in places.tolist())
        ledger.violation("UNFOUNDED", len(places), texts)


def _at(book: Book, repeat: int) -> str:
    row = int(book.answers.repeats.row[repeat])
    return f"{names(book.answers, row)} in {lies(book.answers, row)}"


def _among(values: Ints, ascending: Ints) -> Ints:
    """Return each value's place among the others, which are in ascending order; -1 where it is not among them."""
    if not len(ascending):
        return np.full(len(values), -1, dtype=np.int64)
    place = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.where(ascending[place] == values, place, -1)
