"""The oracle itself: each violation is seen and named, and nothing else is. Without Kafka: columns in, report out."""

import random
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pytest

from streams.records import TP, Words
from streams.verify.book import Answers, Book, Partition, Range, Repeats, Scores, Source
from streams.verify.conservation import judge
from streams.verify.report import Report

TOPIC, ID = "in", b"i" * 16
RESULTS, OUTCOMES, DLQ = "results", "outcomes", "in.dlq"
WINDOW_MS = 1000


class Answer(NamedTuple):
    """A terminal record. `append_ms` is a result's; `first` makes it a repeat of the request at that offset."""

    offset: int
    topic: str = RESULTS
    partition: int = 0
    source: Source = (TOPIC, ID, 0)
    identity: int | None = None
    append_ms: int = 0
    first: int | None = None
    first_tp: TP = TP(TOPIC, 0)
    digest: int = 0


def book(
    requests: Iterable[int],
    answers: Iterable[Answer],
    *,
    start: int | None = 0,
    log_start: int = 0,
    committed: int | None = 100,
    end: int = 100,
    committed_after: int | None = 100,
    others: Iterable[int] = (),
    gaps: Iterable[tuple[int, int]] = (),
    cut: Iterable[str] = (),
    unreadable: Iterable[str] = (),
) -> Book:
    """One source partition, and its terminal records in the order in which they lie in their topics."""
    rows = list(answers)
    tps = tuple(dict.fromkeys(TP(row.topic, row.partition) for row in rows))
    sources = tuple(dict.fromkeys(row.source for row in rows))
    heights: dict[TP, int] = {}
    at_offset = []
    for row in rows:
        tp = TP(row.topic, row.partition)
        at_offset.append(heights.setdefault(tp, 0))
        heights[tp] += 2  # markers lie between them
    scored = [i for i, row in enumerate(rows) if row.topic == RESULTS]
    repeats = [i for i, row in enumerate(rows) if row.first is not None]
    first_tps = tuple(dict.fromkeys(rows[i].first_tp for i in repeats))
    source = (TOPIC, ID, 0)

    def identities(picked: list[int]) -> Words:
        names = [10_000 + i if rows[i].identity is None else rows[i].identity for i in picked]
        return np.array([(0, name) for name in names], dtype=np.uint64).reshape(-1, 2)

    def partition(number: int, offsets: Iterable[int]) -> Partition:
        requests = np.array(sorted(offsets), dtype=np.int64)
        return Partition(TP(TOPIC, number), ID, log_start, committed, end, requests, committed_after)

    return Book(
        [partition(0, requests), *(partition(number, [1]) for number in others)],
        Answers(
            tps,
            np.array([tps.index(TP(row.topic, row.partition)) for row in rows], dtype=np.int64),
            np.array(at_offset, dtype=np.int64),
            sources,
            np.array([sources.index(row.source) for row in rows], dtype=np.int64),
            np.array([row.offset for row in rows], dtype=np.int64),
            Scores(
                np.array(scored, dtype=np.int64),
                identities(scored),
                np.array([rows[i].append_ms for i in scored], dtype=np.int64),
                np.array([rows[i].digest for i in scored], dtype=np.uint64),
            ),
            Repeats(
                np.array(repeats, dtype=np.int64),
                identities(repeats),
                first_tps,
                np.array(
                    [-1 if rows[i].first == -1 else first_tps.index(rows[i].first_tp) for i in repeats], dtype=int
                ),
                np.array([rows[i].first for i in repeats], dtype=np.int64),
                np.array([rows[i].digest for i in repeats], dtype=np.uint64),
            ),
        ),
        {},
        {} if start is None else {source: start, **{(TOPIC, ID, number): 0 for number in others}},
        {source: [Range(*gap) for gap in gaps]},
        frozenset(TP(topic, 0) for topic in cut),
        RESULTS,
        OUTCOMES,
        {TOPIC: DLQ},
        list(unreadable),
    )


def judged(book: Book) -> Report:
    return judge(book, WINDOW_MS)


def scored(*offsets: int) -> list[Answer]:
    return [Answer(offset) for offset in offsets]


def test_clean() -> None:
    """Each request has one terminal record, in whichever topic; offsets without a record (markers) need none."""
    answers = [Answer(0), Answer(1, OUTCOMES), Answer(3, DLQ), Answer(99)]
    report = judged(book([0, 1, 3, 99], answers))
    assert (0, {}, {}) == (report.exit_code, dict(report.violations), dict(report.unchecked))
    assert [(0, 0, 100, 4, 4, 0)] == [row[1:] for row in report.rows]


def test_nothing_at_all() -> None:
    """An application that has begun and got no request is right."""
    report = judged(book([], [], committed=0, end=0))
    assert (0, {}, {}) == (report.exit_code, dict(report.violations), dict(report.unchecked))


@pytest.mark.parametrize(
    ("name", "text", "given"),
    [
        ("LOST", "LOST  in[0]@2 has no terminal record", book([1, 2], scored(1))),
        (
            "OUT_OF_ORDER",
            "OUT_OF_ORDER  results[0]@4 answers in[0]@2, which is older",
            book([1, 2, 3], scored(1, 3, 2)),
        ),
        (
            "DOUBLED",
            "DOUBLED  in[0]@1 has results[0]@0 and results[0]@2",
            book([1], [Answer(1, identity=1), Answer(1, identity=1)]),
        ),
        (
            "DOUBLED",
            "DOUBLED  in[0]@1 has results[0]@0 and outcomes[0]@0",
            book([1], [Answer(1), Answer(1, OUTCOMES)]),
        ),
        ("UNREQUESTED", "UNREQUESTED  in[0]@2 has results[0]@2: no request lies there", book([1], scored(1, 2))),
        ("UNREQUESTED", "UNREQUESTED  in[0]@100 has results[0]@2: no request lies there", book([1], scored(1, 100))),
        ("UNREQUESTED", "UNREQUESTED  in[0]@-1 has results[0]@0: no request lies there", book([1], scored(-1, 1))),
        (
            "UNREQUESTED",
            "UNREQUESTED  in[9]@1 has results[9]@0: no such partition",
            book([1], [Answer(1), Answer(1, partition=9, source=(TOPIC, ID, 9))]),
        ),
        (
            "TWICE_SCORED",
            "TWICE_SCORED  the same identity: in[0]@1 in results[0]@0 and in[5]@1 in results[5]@0",
            book(
                [1],
                [Answer(1, identity=7, append_ms=50), Answer(1, RESULTS, 5, (TOPIC, ID, 5), 7, append_ms=1050)],
                others=[5],
            ),
        ),
        ("MISPLACED", "MISPLACED  in[0]@2 has outcomes[3]@0", book([1, 2], [Answer(1), Answer(2, OUTCOMES, 3)])),
        (
            "UNFOUNDED",
            "UNFOUNDED  in[0]@2 in outcomes[0]@0 names no first answer",
            book([1, 2], [Answer(1), Answer(2, OUTCOMES, first=-1)]),
        ),
        (
            "UNFOUNDED",
            "UNFOUNDED  in[0]@2 in outcomes[0]@2 repeats in[0]@1, which is not scored",
            book([1, 2], [Answer(1, OUTCOMES), Answer(2, OUTCOMES, first=1)]),
        ),
        (
            "UNFOUNDED",
            "UNFOUNDED  in[0]@2 in outcomes[0]@0 repeats in[0]@1, which has another identity",
            book([1, 2], [Answer(1, identity=7), Answer(2, OUTCOMES, identity=8, first=1)]),
        ),
        (
            "UNFOUNDED",
            "UNFOUNDED  in[0]@2 in outcomes[0]@0 repeats in[0]@1, and carries another answer than that",
            book(
                [1, 2],
                [Answer(1, identity=7, digest=3), Answer(2, OUTCOMES, identity=7, first=1, digest=4)],
            ),
        ),
        (
            "OFFSETS_WENT_BACK",
            "OFFSETS_WENT_BACK  in[0]@3 has results[0]@2, and 3 is committed",
            book([1, 3], scored(1, 3), committed=3, committed_after=3),
        ),
        ("FALSE_GAP", "FALSE_GAP  in[0]@2 is there", book([1, 2], scored(1), gaps=[(2, 3)])),
        (
            "DOUBLED",
            "DOUBLED  in[0]@2 has results[0]@0: it lies in a GAP, too",
            book([5], scored(2, 5), log_start=4, gaps=[(0, 4)]),
        ),
        (
            "DOUBLED",
            "DOUBLED  in[0]@2 has two GAP records",
            book([5], scored(5), log_start=4, gaps=[(0, 4), (2, 4)]),
        ),
        ("UNREADABLE", "UNREADABLE  results[0]@7: why", book([1], scored(1), unreadable=["results[0]@7: why"])),
        (
            "COMMITTED_BEYOND_END",
            "COMMITTED_BEYOND_END  in[0]: 100 is behind the log's end 50",
            book([1], scored(1), end=50),
        ),
    ],
)
def test_violation(name: str, text: str, given: Book) -> None:
    """Each kind of violation is found, is alone, and is shown with coordinates."""
    report = judged(given)
    assert {name: 1} == dict(report.violations)
    assert (text,) == report.examples
    assert 1 == report.exit_code


def test_repeats_that_are_right() -> None:
    """In the same partition and from another lane's, with and without the answer; one that is not committed is not judged."""
    answers = [
        Answer(1, identity=7, digest=3),
        Answer(2, OUTCOMES, identity=7, first=1, digest=3),
        Answer(3, OUTCOMES, identity=7, first=1),
        Answer(1, OUTCOMES, 5, (TOPIC, ID, 5), 7, first=1, digest=3),
        Answer(50, OUTCOMES, identity=7, first=49),
    ]
    report = judged(book([1, 2, 3, 50], answers, others=[5], committed=50))
    assert (0, {}, {}) == (report.exit_code, dict(report.violations), dict(report.unchecked))


@pytest.mark.parametrize(("apart", "violations"), [(0, 1), (WINDOW_MS, 1), (WINDOW_MS + 1, 0)])
def test_window_is_measured_between_append_times(apart: int, violations: int) -> None:
    """Two scores of one identity are one too many iff their requests' append times differ by at most the window."""
    answers = [Answer(1, identity=7, append_ms=apart + 5), Answer(2, identity=7, append_ms=5)]
    assert violations == judged(book([1, 2], answers)).violations.get("TWICE_SCORED", 0)


def test_three_scores_of_one_identity() -> None:
    """Each score is compared with the one before it in time: a window that slides does not excuse the second."""
    answers = [Answer(i, identity=7, append_ms=i * 900) for i in range(3)]
    assert {"TWICE_SCORED": 2} == dict(judged(book(range(3), answers)).violations)


@pytest.mark.parametrize(
    ("given", "unchecked"),
    [
        (
            book([8, 9], scored(8, 9), log_start=8, start=8),
            {},
        ),
        (
            book([8, 9], scored(7, 8, 9), log_start=8, start=7),
            {"answers whose request retention has removed": 1},
        ),
        (
            book([8, 9], scored(8, 9), log_start=8, start=0),
            {"offsets that retention has removed, with neither answer nor GAP (markers among them)": 8},
        ),
        (
            book([8, 9], scored(6, 7, 8, 9), log_start=8, start=0, gaps=[(0, 6)]),
            {"answers whose request retention has removed": 2},
        ),
        (book([8, 9], scored(8, 9), log_start=8, start=0, gaps=[(0, 8)]), {}),
        (
            book([1, 2, 3], [Answer(2), Answer(3)], cut=[RESULTS]),
            {"requests whose answer retention may have removed": 1},
        ),
        (book([1, 2], scored(1, 2), cut=[DLQ, OUTCOMES, RESULTS]), {}),
        (book([1, 2], [], cut=[DLQ]), {"requests whose answer retention may have removed": 2}),
        (
            book([1, 2], scored(1, 2), start=None),
            {"partitions without a START record; `streams topics apply` writes it": 1},
        ),
        (book([1, 2], scored(1, 2), start=None, cut=[OUTCOMES]), {}),
        (
            book([], [], committed=None),
            {"partitions without a committed offset; `streams topics apply` sets the first": 1},
        ),
        (
            book([1], [Answer(1), Answer(1, source=(TOPIC, b"o" * 16, 0))]),
            {"answers to an earlier topic of the name in": 1},
        ),
        (
            book([1], [Answer(1), Answer(1, source=("old", ID, 0))]),
            {"answers to old, which is not in the configuration": 1},
        ),
        (
            book([4, 5], [Answer(4), Answer(5, OUTCOMES, first=2)], cut=[RESULTS]),
            {"repeats whose first answer retention may have removed": 1},
        ),
        (
            book([5], [Answer(5, OUTCOMES, first=2, first_tp=TP("old", 0))]),
            {"repeats of answers to old, which is not in the configuration": 1},
        ),
    ],
)
def test_what_cannot_be_checked_is_no_violation(given: Book, unchecked: dict[str, int]) -> None:
    """What retention removed is counted as unchecked, exit code 3; it is never called lost, doubled or unrequested."""
    report = judged(given)
    assert {} == dict(report.violations)
    assert unchecked == dict(report.unchecked)
    assert (3 if unchecked else 0) == report.exit_code


def test_loss_behind_what_retention_removed_is_still_seen() -> None:
    """Retention removes the oldest answers first: a hole above the oldest one that is left is a loss, not expiry."""
    report = judged(book([1, 2, 3, 4], [Answer(2), Answer(4)], cut=[RESULTS]))
    assert {"LOST": 1} == dict(report.violations)
    assert ("LOST  in[0]@3 has no terminal record",) == report.examples
    assert {"requests whose answer retention may have removed": 1} == dict(report.unchecked)
    assert 1 == report.exit_code


def test_nothing_is_claimed_below_start_or_from_the_committed_offset_on() -> None:
    """Requests below START, and answers to requests behind the committed offset (a running worker), are not judged."""
    report = judged(book([1, 2, 50, 60], scored(50, 70), start=50, committed=60))
    assert (0, {}, {}) == (report.exit_code, dict(report.violations), dict(report.unchecked))
    assert [(1, 1)] == [(row.requests, row.answered) for row in report.rows]


def test_examples_are_bounded_and_counts_are_not() -> None:
    """A million losses are counted, and a few of each kind shown."""
    report = judge(book(range(90), scored(*[95] * 6)), WINDOW_MS, shown=3)
    assert {"LOST": 90, "DOUBLED": 5, "UNREQUESTED": 6} == dict(report.violations)
    assert ["DOUBLED"] * 3 + ["LOST"] * 3 + ["UNREQUESTED"] * 3 == [text.split()[0] for text in report.examples]


def test_report_reads_well_and_is_json() -> None:
    """The table has the sums, the JSON has the coordinates; both say the verdict."""
    given = book([1, 2], scored(1))._replace(kinds={"SCORED": 1})
    report = judged(given)
    tree = report.as_json()
    assert (1, 2, 1, 1, 0, {"SCORED": 1}) == tuple(
        tree[key] for key in ("exit_code", "requests", "answered", "lost", "doubled", "outcomes")
    )
    place = {"tp": "in[0]", "start": 0, "log_start": 0, "committed": 100}
    assert place | {"requests": 2, "answered": 1, "waiting": 0} == tree["partitions"][0]
    lines = report.lines()
    assert "VIOLATION LOST: 1" in lines
    assert "  LOST  in[0]@2 has no terminal record" in lines
    assert "The guarantee is broken." == lines[-1]


def test_what_waits_is_said_and_is_no_violation() -> None:
    """Who stopped the workers must not read that all is well: nothing behind the committed offset was judged."""
    report = judged(book([1, 60], scored(1), committed=50, end=63))
    assert (0, 13) == (report.exit_code, report.as_json()["waiting"])
    assert any("13 offsets behind the committed ones (in[0])" in line for line in report.lines())
    assert "behind the committed" not in " ".join(judged(book([1], scored(1))).findings())


def test_at_rest_nothing_may_wait_and_no_transaction_be_open() -> None:
    """What is beside running workers the usual state is then a violation, with its name."""
    waiting = book([1, 60], scored(1), committed=50, end=63)
    assert {"UNANSWERED": 1} == judged(waiting._replace(hidden={})).violations
    hanging = book([1], scored(1))._replace(hidden={TP(RESULTS, 0): Range(7, 9)})
    report = judged(hanging)
    assert {"HANGING": 1} == report.violations
    assert "HANGING  results[0]@7: a transaction is open, and hides what is up to 9" in report.examples


def test_against_a_slow_and_obvious_judge() -> None:
    """On random books, counts of LOST, DOUBLED and UNREQUESTED equal those of ten lines of plain Python."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(300):
        requests = {offset for offset in range(30) if rng.random() < 0.7}
        answers = [
            Answer(offset, rng.choice([RESULTS, OUTCOMES, DLQ]))
            for offset in sorted(rng.choices(range(40), k=rng.randrange(40)))
        ]
        report = judged(book(requests, answers, committed=30, end=30))
        named = [answer.offset for answer in answers]
        expected = {
            "LOST": len(requests - set(named)),
            "DOUBLED": len(named) - len(set(named)),
            "UNREQUESTED": sum(offset not in requests for offset in named),
        }
        assert {name: count for name, count in expected.items() if count} == dict(report.violations)
