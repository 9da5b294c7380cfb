"""The monitor as a fold: the same counts for any partitioning, order and cut, and a name for whatever became of a record."""

import random
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import monitoring
from streams.avro.encode import encode_one
from streams.avro.schema import parse
from streams.contracts import Reading
from streams.dedupe import identities
from streams.errors import SetupError
from streams.headers import label_headers
from streams.monitor.labels import Label
from streams.monitor.reading import events
from streams.monitor.state import encode_rules
from streams.monitor.tasks import Binary, Multiclass, Regression
from streams.monitor.windows import DELAY, MISFIT, Rules, Window, window_key
from streams.pipeline import read
from streams.reasons import Reason
from streams.records import TP, Lease, Origin
from tests.monitor.stream import (
    HOUR_MS,
    LABEL_SCHEMA,
    LABELS,
    RESULTS,
    RULES,
    SNAPSHOT,
    Monitor,
    Record,
    batch,
    label,
    result,
    run,
)

SIMPLE = [result("a", 0.9, 5), result("b", 0.2, 6), label("a", "lost", 9 * HOUR_MS), label("b", "lost", 30 * HOUR_MS)]


def history(seed: int, requests: int = 60) -> list[Record]:
    """Return predictions and labels in a mixed order: doubled, corrected, withdrawn, early, late, of nobody, of no class."""
    chance, records = random.Random(seed), []
    for number in range(requests):
        name, event_ms = f"r{number}", chance.randrange(40) * HOUR_MS // 4
        if chance.random() < 0.9:
            version = {"model_version": chance.choice("12")}
            records += [result(name, round(chance.random(), 2), event_ms, **version)] * chance.choice([1, 1, 1, 2])
        for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
            outcome = chance.choice(["kept", "lost", "lost", "neither"])
            time_ms = event_ms + chance.randrange(-2, 30) * HOUR_MS
            more: dict[str, Any] = {"withdrawn": True} if chance.random() < 0.15 else {}
            one = label(name, outcome, time_ms, chance.choice([None, None, 1, 2, 3]), **more)
            records += [one] * chance.choice([1, 1, 2])
        if chance.random() < 0.05:
            records.append(Record(LABELS, name.encode(), None, event_ms))
    chance.shuffle(records)
    return records


def test_predictions_and_labels_meet() -> None:
    """Of two predictions one is labelled in time, the other too late: it stays without a label."""
    monitor = run(SIMPLE)
    begin = next(iter(monitor.windows()))[:16]
    rows = {key[16:]: row for key, row in monitor.windows().items()}
    scores = {key: row for key, row in rows.items() if key[:1] == b"s"}
    assert [(1, 0, 0), (0, 0, 1)] == [scores[key] for key in sorted(scores)]
    assert [(1,)] == [row for key, row in rows.items() if key[:1] == DELAY]
    assert begin == window_key(Window(begin[:8], 0))
    expected = {"results.predicted": 2, "labels.applied": 1, "labels.too_late": 1}
    assert expected == monitor.tally()


@given(st.integers(0, 2**32), st.lists(st.integers(0, 200), max_size=8), st.sampled_from([3, 7]))
def test_one_digest_for_any_order_cut_and_partitioning(seed: int, cuts: list[int], partitions: int) -> None:
    """Only the fates depend on what came first."""
    records = history(seed)
    whole = run(records)
    shuffled = records[:]
    random.Random(seed + 1).shuffle(shuffled)
    other = run(shuffled, partitions, [min(cut, len(records)) for cut in cuts])
    assert whole.digest() == other.digest()
    assert whole.tally().total() == other.tally().total() == len(records)
    for monitor in (whole, other):
        assert monitor.verdict().exit_code == 0, monitor.verdict().lines()


@given(st.integers(0, 2**32))
def test_what_comes_twice_counts_once(seed: int) -> None:
    """A replay from the beginning changes nothing but the tally."""
    records = history(seed)
    assert run(records).digest() == run([*records, *records]).digest()


def test_a_new_worker_goes_on_with_what_is_not_published_yet() -> None:
    """It finds in the state which windows have changed."""
    monitor = Monitor(2)
    monitor.feed(SIMPLE)
    monitor.begin()
    monitor.rest()
    assert monitor.windows() == run(SIMPLE).windows()


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        (RULES._replace(grain_ms=HOUR_MS // 4), "grain_hours was 1.0 and is 0.25"),
        (RULES._replace(horizon_ms=48 * HOUR_MS), "horizon_hours was 24.0 and is 48.0"),
        (RULES._replace(task=Binary(b"lost", b"kept")), "model was binary (kept, lost) and is binary (lost, kept)"),
        (RULES._replace(task=Regression()), "model was binary (kept, lost) and is regression"),
        (RULES._replace(task=Multiclass((b"kept", b"lost"))), "and is multiclass (kept, lost)"),
        (RULES._replace(task=Binary(b"kept, lost", b"")), "and is binary (kept, lost, )"),
        (RULES._replace(retention_ms=101 * HOUR_MS), "retention_hours was 100.0 and is 101.0"),
        (RULES, "retention_hours was 100.0 and is for ever"),
    ],
    ids=["grain", "horizon", "classes", "kind", "of-two", "comma", "longer", "for-ever"],
)
def test_what_was_counted_by_other_rules_is_left_alone(rules: Rules, why: str) -> None:
    """An identity would take away from its window what it never added; the monitor stops, and verify does not judge."""
    monitor = Monitor(2, rules=RULES._replace(retention_ms=100 * HOUR_MS) if "retention" in why else RULES)
    monitor.feed(SIMPLE)
    monitor.app = replace(monitor.app, rules=rules)
    monitor.begin()
    with pytest.raises(SetupError, match=re.escape(why)):
        monitor.rest()
    monitor.begin()
    with pytest.raises(
        SetupError, match=r"delete the topics loans\.monitor\.changelog and loans\.performance\.parts and the"
    ):
        monitor.feed(SIMPLE)
    monitor.begin()
    tp = TP(LABELS, 0)
    with pytest.raises(SetupError):
        monitor.fold.gap(tp, monitor.positions[tp], monitor.positions[tp] + 1, Lease(1, None))
    report = monitor.verdict()
    assert (3, ()) == (report.exit_code, report.violations)
    assert why in report.unchecked[0]


def test_windows_may_be_sealed_sooner() -> None:
    """Not later: rows of theirs are gone then. What a state says of its rules stays with it however old its first step is."""
    monitor = Monitor()
    monitor.feed(SIMPLE)
    for hours in (1_000, 999):
        monitor.app = replace(monitor.app, rules=RULES._replace(retention_ms=hours * HOUR_MS))
        monitor.begin()
        monitor.feed([label("a", "kept", 10 * HOUR_MS)])
        monitor.rest()
        assert monitor.verdict().exit_code == 0
    for step in (monitor.feed(SIMPLE), monitor.fold.gap(TP(LABELS, 0), 9, 10, Lease(1, None))):
        assert step is not None
        assert encode_rules(monitor.app.rules) == dict(step.puts[0])[b"r"]
    monitor.app = replace(monitor.app, rules=RULES)
    monitor.begin()
    with pytest.raises(SetupError, match=r"retention_hours was 999\.0 and is for ever"):
        monitor.rest()


def test_a_window_is_published_so_often_and_no_more() -> None:
    """A window that changes all the time is published when it is due, whole."""
    monitor = Monitor()
    for number in range(50):
        monitor.feed([result(f"r{number}", number / 50, 0)])
        monitor.now += 0.1
    assert 2 * 3 <= monitor.published <= 2 * 4, "a window and the tally, in 5 s"
    monitor.rest()
    assert len(monitor.windows()) == 50


def test_what_has_changed_is_published_soon_when_nothing_comes_any_more() -> None:
    """Old windows are published once a minute at most while there is something to read, and within five seconds when there is not."""
    monitor = Monitor()
    monitor.feed([result(f"r{number}", 0.5, number * HOUR_MS) for number in range(40)])
    monitor.rest()
    monitor.feed([label(f"r{number}", "lost", number * HOUR_MS + 1) for number in range(40)])
    begun = monitor.now
    for seconds, waiting in ((4.9, True), (5.1, False)):
        monitor.now = begun + seconds
        while (step := monitor.fold.due(lambda: Lease(1, None))) is not None:
            monitor._commit(step)
        assert waiting == (monitor.verdict().waiting > 20)
    assert 0 == monitor.verdict().waiting


def test_a_window_larger_than_a_chunk_is_published_in_several_and_shrinks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is left of a larger part is taken back."""
    monkeypatch.setattr("streams.monitor.state.chunks.__defaults__", (200,))
    monitor = Monitor()
    monitor.feed([result(f"r{number}", number / 50, 0) for number in range(50)])
    monitor.rest()
    assert len(monitor.windows()) == 50
    assert len([key for key in monitor.parts if key[:8] != bytes(8)]) > 3
    # an earlier prediction of the same identities, in the hour before: the window is empty now
    monitor.feed([result(f"r{number}", number / 50, -1) for number in range(50)])
    monitor.rest()
    assert {key[:16] for key in monitor.windows()} == {next(iter(monitor.windows()))[:16]}


BAD = {
    "no class": (label("a", "neither", 5), "labels.applied"),
    "no truth": (label("a", None, 5), "labels.OUT_OF_CONTRACT"),
    "a long truth": (label("a", "x" * 256, 5), "labels.OUT_OF_CONTRACT"),
    "malformed": (Record(LABELS, b"a", b"\0\0\0\0\2\xff"), "labels.MALFORMED"),
    "another key": (label("a", "lost", 5)._replace(key=b"z"), "labels.KEY_MISMATCH"),
    "another partition": (label("a", "lost", 5)._replace(partition=1), "labels.MISPARTITIONED"),
    "a tombstone elsewhere": (Record(LABELS, b"a", None, partition=1), "labels.MISPARTITIONED"),
    "the year 2099": (label("a", "lost", 4_070_908_800_000), "labels.too_late"),
    "of nobody": (label("nobody", "lost", 5), "labels.early"),
    "no score": (result("c", None, 5), "results.OUT_OF_CONTRACT"),
    "no number": (result("c", float("nan"), 5), "results.OUT_OF_CONTRACT"),
    "malformed result": (Record(RESULTS, b"c", b"\0\0\0\0\1\xff"), "results.MALFORMED"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_bad_has_a_name(what: str) -> None:
    """Each has one fate that is counted; labels that cannot be read are set aside."""
    record, fate = BAD[what]
    home = Monitor(2)
    if record.partition is not None:
        keys = (f"a{number}" for number in range(100))
        key = next(key for key in keys if home.app.partitions_of([key.encode()], 2) == [0])
        record = (
            record._replace(key=key.encode()) if record.value is None else label(key, "lost", 5)._replace(partition=1)
        )
    home.feed([result("a", 0.9, 0), record])
    home.rest()
    assert Counter({"results.predicted": 1, fate: 1}) == home.tally()
    reason = fate.partition(".")[2]
    assert len(home.letters) == (fate.startswith("labels.") and reason in Reason.__members__)
    misfits = [row for key, row in home.windows().items() if key[16:] == MISFIT]
    assert misfits == ([(1,)] if what == "no class" else [])


def test_a_tombstone_withdraws_what_has_no_version() -> None:
    """It never outranks a version."""
    gone = Record(LABELS, b"a", None, 7)
    without = run([result("a", 0.9, 0), label("a", "lost", 5), gone])
    assert without.digest() == run([result("a", 0.9, 0)]).digest()
    versioned = [result("a", 0.9, 0), label("a", "lost", 5, 1)]
    assert run([*versioned, gone]).digest() == run(versioned).digest()


RETENTION_MS = 100 * HOUR_MS
KEPT = RULES._replace(retention_ms=RETENTION_MS)
LATER = RETENTION_MS + 60 * HOUR_MS
"""All windows of the first hours are sealed by then, and a day and an hour later they are freed."""


def clock(monitor: Monitor, at_ms: int) -> None:
    """Let the partition's clock go on, twice: a batch goes by the clock before it."""
    for more in range(3):
        name = f"clock{at_ms}-{more}"
        monitor.feed([result(name, 0.5, at_ms + more * 60_000)])
        monitor.rest()


def test_what_is_sealed_is_freed_and_stays_published() -> None:
    """Of identities, labels that wait, rows and marks nothing is left; what was published is the last word."""
    monitor = run([*SIMPLE, label("nobody", "lost", 5)], rules=KEPT)
    before = monitor.windows()
    clock(monitor, LATER)
    kept = {key for key in monitor.store.items(0) if key[:1] in b"dtwp"}
    names = (monitor.app.salt, None, [f"clock{LATER}-{more}".encode() for more in range(3)])
    alive = set(identities(*names))
    assert {key for key in kept if key[:1] == b"d"} == alive
    assert {key for key in kept if key[:1] == b"t"} == {key for key in kept if key[:1] == b"t" and key[9:] in alive}
    assert {key: row for key, row in monitor.windows().items() if key in before} == before
    tally = monitor.tally()
    assert (tally["labels.early"], tally["labels.unmatched"]) == (0, 1)
    assert monitor.verdict().exit_code == 0, monitor.verdict().lines()


@pytest.mark.parametrize(
    ("record", "fate"),
    [
        (result("late", 0.5, 7)._replace(append_ms=LATER), "results.sealed"),
        (result("late", 0.5, 7), "results.sealed"),
        (label("a", "kept", 8)._replace(append_ms=LATER), "labels.too_late"),
        (result("late", 0.5, LATER + 90 * HOUR_MS)._replace(append_ms=LATER), "results.future"),
    ],
    ids=["an old prediction", "one that was read late", "a label of what was freed", "a prediction of the future"],
)
def test_what_comes_for_a_window_that_is_sealed_changes_nothing(record: Record, fate: str) -> None:
    """It has a name, and what was published stays."""
    monitor = run(SIMPLE, rules=KEPT)
    clock(monitor, LATER)
    windows, tally = monitor.windows(), monitor.tally()
    monitor.feed([record])
    monitor.rest()
    assert monitor.windows() == windows
    assert monitor.tally() - tally == Counter({fate: 1})


@given(st.integers(0, 2**32), st.lists(st.integers(0, 200), max_size=8))
def test_a_retention_that_is_long_enough_changes_nothing(seed: int, cuts: list[int]) -> None:
    """Windows are freed while others go on; what is published is the same."""
    records = sorted(history(seed), key=lambda record: record.append_ms)
    cuts = [min(cut, len(records)) for cut in cuts]
    freeing = run(records, cuts=cuts, rules=KEPT)
    clock(freeing, 2 * LATER)
    clock(whole := run(records), 2 * LATER)
    assert freeing.digest() == whole.digest()
    assert len(freeing.store.items(0)) < 40


def test_many_windows_that_are_due_at_once_are_published_in_several_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is bounded, all are published, and nobody waits for ever."""
    monkeypatch.setattr(monitoring, "STEP_BYTES", 2_000)
    monitor, records = Monitor(), [result(f"r{number}", 0.5, number * HOUR_MS) for number in range(200)]
    monitor.feed(records)
    sizes, before = [], len(monitor.decoded())
    monitor.now += 1_000
    while (step := monitor.fold.due(lambda: Lease(1, None))) is not None:
        monitor._commit(step)
        sizes.append(sum(len(value or b"") for block in step.emits for value in block.values))
    assert len(monitor.decoded()) == 201, "a part a window, and the tally"
    assert before < 100
    assert len(sizes) > 3
    assert max(sizes) < 2_000 + 500, "one window more than the bound at most"
    assert monitor.verdict().waiting == 0


def test_a_label_that_was_copied_is_as_old_as_where_it_came_from() -> None:
    """Not as its copy: one that was copied late was still known in time."""
    copied = label_headers(Origin("theirs", b"T" * 16, 3, 7), 2 * HOUR_MS)
    times = []
    for headers in (copied, None):
        one = batch([label("a", "lost", 0)], 1, {})
        no_time = {**LABEL_SCHEMA, "fields": [field for field in LABEL_SCHEMA["fields"] if field["name"] != "known_at"]}
        contract = parse(no_time)
        values = {"request_id": "a", "version": None, "withdrawn": False, "outcome": "lost"}
        value = b"\0\0\0\0\2" + encode_one(no_time, values)
        late = one._replace(values=[value], headers=[headers], append_ms=one.append_ms + 90 * HOUR_MS)
        monitor = Monitor(snapshot={**SNAPSHOT, (LABELS, 2): Reading(contract, contract)})
        (event,) = events(read(late, monitor.snapshot, monitor.app), monitor.app).events
        assert isinstance(event.said, Label)
        times.append(event.said.time_ms)
    assert [2 * HOUR_MS, 90 * HOUR_MS] == times


def test_partitions_of_which_nothing_ever_comes_hold_nothing_up() -> None:
    """Eight partitions, two identities: what is published is what one partition would publish, and nobody waits for the others."""
    one, many = run(SIMPLE), run(SIMPLE, partitions=8)
    assert len({tp.partition for tp in many.positions}) <= 2
    assert one.digest() == many.digest()
    assert one.tally() == many.tally()
    assert (0, 0) == (many.verdict().exit_code, many.verdict().waiting)
