"""What a judgement keeps: counts and first examples, and the terminal records in the order of their requests. Room: pure."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from streams.records import TP
from streams.verify.book import Answers, Book, Source


class Ledger:
    """Counts what is found, and keeps the first examples of each violation."""

    def __init__(self, shown: int) -> None:
        self.violations: Counter[str] = Counter()
        self.unchecked: Counter[str] = Counter()
        self.examples: list[str] = []
        self._shown = shown

    def violation(self, name: str, count: int, examples: Iterable[str]) -> None:
        """Note `count` violations; `examples` is read only as far as it is kept."""
        if count:
            room = self._shown - self.violations[name]
            self.violations[name] += count
            self.examples += [f"{name}  {text}" for _, text in zip(range(room), examples, strict=False)]

    def unsure(self, what: str, count: int) -> None:
        """Note what could not be checked."""
        if count:
            self.unchecked[what] += count


class Ordered:
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
        return lies(self.answers, int(self.rows[place]))

    def origin(self, place: int) -> str:
        """Return the coordinates of the request that it names."""
        return names(self.answers, int(self.rows[place]))


def lies(answers: Answers, row: int) -> str:
    """Return the coordinates of a terminal record."""
    return f"{answers.tps[answers.at[row]]}@{answers.at_offset[row]}"


def names(answers: Answers, row: int) -> str:
    """Return the coordinates of the request that a terminal record names."""
    topic, _, partition = answers.sources[answers.source[row]]
    return f"{TP(topic, partition)}@{answers.offset[row]}"


def cut_below(source: Source, topics: Sequence[str], answers: Ordered, book: Book) -> int:
    """Return the offset below which retention may have removed terminal records of a source partition from these topics.

    That rests on order: terminal records of one source partition lie in each topic in the order of their requests.
    """
    below = -1
    rows = answers.rows[answers.of(source)]
    for topic in topics:
        log = TP(topic, source[2])
        if log not in book.cut:
            continue
        here = rows[book.answers.at[rows] == (book.answers.tps.index(log) if log in book.answers.tps else -1)]
        if not len(here):
            return np.iinfo(np.int64).max
        below = max(below, int(book.answers.offset[here[book.answers.at_offset[here].argmin()]]))
    return below
