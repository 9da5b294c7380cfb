"""What models saw, through the monitor: sums that depend on nothing but what was sent."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from streams.monitor.features import CELL, REQUESTS, is_seen
from streams.monitor.merging import Following
from streams.monitor.score_keys import to_keys
from streams.monitor.state import TALLY
from streams.monitor.summary import Summaries, piece, summary
from streams.monitor.tasks import Binary, Multiclass, Regression, Row, Task
from streams.monitor.windows import Window, added, window_key
from tests.monitor.stream import HOUR_MS, RULES, Monitor, Record, counts, result, run

CELLS = 7


def said(seed: int, many: int = 60) -> list[Record]:
    """Return what some transactions say, over some hours, with results among them."""
    chance = np.random.default_rng(seed)
    records = []
    for at in range(many):
        hours = chance.integers(0, 9, chance.integers(1, 4)).tolist()
        cells = {
            (hour, int(cell)): (int(chance.integers(1, 9)), int(chance.integers(0, 10**9)))
            for hour in hours
            for cell in chance.choice(CELLS, chance.integers(1, CELLS), replace=False)
        }
        latest = {int(partition): max(hours) * HOUR_MS + at for partition in chance.choice(4, 2, replace=False)}
        records.append(counts(f"k{at}", cells, at, latest=latest, implausible=int(chance.integers(0, 2))))
        records.append(result(f"r{at}", float(chance.random()), max(hours) * HOUR_MS))
    return records


def seen(monitor: Monitor) -> dict[bytes, Row]:
    """Return the published rows of what models saw."""
    return {key: row for key, row in monitor.windows().items() if is_seen(key)}


def test_sums_do_not_depend_on_order_cuts_or_partitions(seed: int) -> None:
    """Nor on who had counted what when it was published."""
    records, chance = said(seed), np.random.default_rng(seed + 1)
    whole = run(records)
    expected = seen(whole)
    assert expected
    for partitions in (1, 3, 7):
        shuffled = [records[at] for at in chance.permutation(len(records)).tolist()]
        cuts = sorted(chance.choice(len(records), 9, replace=False).tolist())
        other = run(shuffled, partitions, cuts)
        assert expected == seen(other)
        assert whole.digest() == other.digest()
        assert whole.tally() == other.tally()
        assert _watermarks(whole) == _watermarks(other)
        assert 0 == other.verdict().exit_code, other.verdict().violations


def test_each_value_is_counted_once() -> None:
    """In its window and cell, and under its reference."""
    monitor = run(
        [
            counts("a", {(5, 1): (3, 70), (5, 2): (1, 9), (6, 1): (2, 0)}, 10, latest={0: 77}, implausible=4),
            counts("b", {(5, 1): (2, 1)}, 11, latest={0: 70, 3: -5}),
            counts("c", {(5, 1): (1, 0)}, 12, reference=b"S" * 32),
        ]
    )
    subject = next(iter({key[:8] for key in seen(monitor)}))

    def key(hour: int, tag: bytes, cell: bytes, reference: bytes = b"RRRR") -> bytes:
        return window_key(Window(subject, hour)) + tag + reference + cell

    one, two = (1).to_bytes(4, "big"), (2).to_bytes(4, "big")
    assert {
        key(5, CELL, one): (5, 71),
        key(5, CELL, two): (1, 9),
        key(6, CELL, one): (2, 0),
        key(5, REQUESTS, b""): (5,),
        key(6, REQUESTS, b""): (2,),
        key(5, CELL, one, b"SSSS"): (1, 0),
        key(5, REQUESTS, b"", b"SSSS"): (1,),
    } == seen(monitor)
    assert {0: 77, 3: -5} == _watermarks(monitor)
    assert Counter({"features.counted": 3, "seen.counted": 8, "seen.implausible": 4}) == monitor.tally()


@pytest.mark.parametrize("field", ["counts", "windows", "latest"])
def test_what_is_no_column_is_counted_as_such(field: str) -> None:
    """Whoever wrote it, it stops nobody."""
    more: dict[str, Any] = {field: b"\1\2"}
    monitor = run([counts("a", {(5, 1): (3, 0)}, 1, **more), counts("b", {(5, 1): (2, 0)}, 2)])
    assert {"features.counted": 1, "features.MALFORMED": 1, "seen.counted": 2} == monitor.tally()
    assert 0 == monitor.verdict().exit_code


def test_a_count_of_no_window_is_refused() -> None:
    """An index beyond the windows, and a cell below 0."""
    good = counts("a", {(5, 1): (3, 0)}, 1)
    monitor = run([good, counts("b", {(5, -1): (3, 0)}, 1)])
    assert 1 == monitor.tally()["features.MALFORMED"]


def test_what_comes_to_a_sealed_window_is_too_late() -> None:
    """By the clock before the batch, as labels have it."""
    monitor = Monitor(rules=RULES._replace(retention_ms=10 * HOUR_MS))
    monitor.feed([result("r", 0.5, 100 * HOUR_MS)])
    monitor.feed([counts("a", {(5, 1): (3, 0), (95, 1): (2, 0)}, 100 * HOUR_MS)])
    monitor.rest()
    assert {"features.counted": 1, "seen.counted": 2, "seen.TOO_LATE": 3, "results.predicted": 1} == monitor.tally()


def test_nothing_says_that_time_has_passed_a_window_before_that_is_whole() -> None:
    """At each moment of what a partition publishes: what the watermark has passed is what was sent until then."""
    monitor = Monitor()
    sent: Counter[int] = Counter()
    for at in range(40):
        hour = at // 10
        monitor.now += 0.3
        sent[hour] += 1
        monitor.feed([counts(f"k{at}", {(hour, 1): (1, 0)}, at, latest={0: hour * HOUR_MS + at})])
        passed = _watermarks(monitor).get(0, 0) // HOUR_MS
        rows = seen(monitor)
        for old in range(passed):
            (n,) = (row[0] for key, row in rows.items() if key[16:17] == CELL and key[8:16] == _number(old))
            assert sent[old] == n, f"window {old} is told to be over"


def test_a_summary_is_of_the_newest_parts(seed: int) -> None:
    """One at a time, in any order of windows; what is taken away is gone."""
    monitor = run(said(seed), 3)
    summaries = Summaries(RULES, None)
    parts = [*monitor.decoded().items()]
    for key, part in [*parts, *parts[:5]]:
        summaries.take(key, part)
    while summaries.refresh():
        pass
    ((_, windows),) = summaries.published().subjects.items()
    expected = Counter[int]()
    for key, (n, *_) in seen(monitor).items():
        if key[16:17] == CELL:
            expected[int.from_bytes(key[-4:], "big")] += n
    found = Counter[int]()
    for window in windows:
        for each in window.seen.values():
            found.update(dict(zip(each.cell.tolist(), each.n.tolist(), strict=True)))
    assert expected == found
    assert 60 == sum(window.losses.predictions for window in windows)
    for key, _ in parts:
        summaries.take(key, None)
    while summaries.refresh():
        pass
    assert {} == summaries.published().subjects


def _watermarks(monitor: Monitor) -> dict[int, int]:
    following = Following(bytes, RULES)
    for key, part in monitor.decoded().items():
        following.take(key, part)
    return following.watermarks()


def _number(hour: int) -> bytes:
    return window_key(Window(TALLY, hour))[8:]


@pytest.mark.parametrize("absence", [None, b"kept"])
@pytest.mark.parametrize("task", [Binary(b"kept", b"lost"), Multiclass((b"kept", b"lost", b"late")), Regression()])
def test_a_window_is_what_its_pieces_add_up_to(task: Task, absence: bytes | None, seed: int) -> None:
    """However its rows are told: in one part, or each partition in chunks of its own."""
    if isinstance(task, Regression):
        absence = None
    chance = np.random.default_rng(seed)
    pieces = [_rows(chance, task) for _ in range(5)]
    whole = summary(7, 3, [piece(added(pieces), task, absence)])
    parts = summary(7, 3, [piece(rows, task, absence) for rows in pieces])
    assert whole.losses._replace(brier=0.0) == parts.losses._replace(brier=0.0)
    assert whole.losses.brier == pytest.approx(parts.losses.brier, rel=1e-12)
    assert whole.losses.predictions > 0
    assert set(whole.seen) == set(parts.seen)
    for which, seen in whole.seen.items():
        order = np.argsort(seen.cell)
        for one, other in zip(seen, parts.seen[which], strict=True):
            assert one[order].tolist() == other.tolist()


def _rows(chance: np.random.Generator, task: Task) -> dict[bytes, Row]:
    """Return some rows of a window, as a partition has them."""
    seen: dict[bytes, Row] = {
        CELL + which + int(cell).to_bytes(4, "big"): (int(chance.integers(1, 9)), int(chance.integers(0, 99)))
        for which in (b"RRRR", b"SSSS")
        for cell in chance.choice(CELLS, 4, replace=False)
    }
    return added([seen, *(_pair(chance, task) for _ in range(20))])


def _pair(chance: np.random.Generator, task: Task) -> Mapping[bytes, Row]:
    """Return the rows of a prediction, and of its label, if it has one."""
    scores, has_label = chance.dirichlet(np.ones(3)).round(1), chance.random() < 0.7
    if isinstance(task, Binary):
        (key,) = to_keys(np.array([scores[0]], np.float32), np.array([scores[0] > 0.3])).tolist()
        return task.rows(task.said(key), b"lost" if has_label else None)
    if isinstance(task, Multiclass):
        picked = int(chance.integers(0, 3))
        return task.rows(task.said(picked, scores.tolist()), b"late" if has_label else None)
    assert isinstance(task, Regression)
    return task.rows(task.said(scores[0]), task.said(scores[1]) if has_label else None)
