"""From what models saw and what came true to tickets: through the monitor, whatever the cuts, the crashes and the order."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from streams.models import manifest
from streams.models.reference import Block, Hashed, Reference
from streams.monitor.state import Subject
from streams.monitor.summary import Losses, Published, Seen, Summaries, Summary
from streams.monitor.ticket import Kind, Severity, State, Ticket
from streams.monitor.verdicts import Asked, Package, due, passed, verdicts
from tests.monitor.drift.known import drawn, histogram, shares
from tests.monitor.stream import HOUR_MS, PART_READER, PARTS, RULES, Monitor, Record, counts, label, result

BLOCKS, N = 20, 3_000
SUBJECT = Subject("m", "1", None)
MANIFEST = """
name = "m"
version = "1"
task = "binary"
flavor = "lightgbm"
artifact = "model.txt"
[[accepts]]
contract = "c.avsc"
[[features]]
name = "x"
kind = "number"
[output]
classes = ["kept", "lost"]
positive = "lost"
[reference]
file = "reference.json"
[risk]
allowed = 0.3
[golden]
file = "golden.jsonl"
"""


def package(seed: int = 0, blocks: int = BLOCKS, hours: int = 1, toml: str = MANIFEST) -> Package:
    """Return what a package says whose training set had calm blocks, each so many hours long."""
    chance, size = np.random.default_rng(seed), hours * HOUR_MS
    trained = drawn(chance, shares(chance.normal(0, 0.05, blocks)), 3_000)
    times = tuple(Block(start_ms=at * size, end_ms=(at + 1) * size, rows=3_000) for at in range(blocks))
    reference = Reference(blocks=times, features=(histogram(trained),))
    return Package(manifest.parse(toml.encode()), Hashed(reference, b"R" * 32))


PACKAGE = package()


class Desk:
    """A desk that reads what a monitor in memory has published, each time from the beginning."""

    def __init__(self, monitor: Monitor, packages: Mapping[Subject, Package | str] | None = None) -> None:
        self._monitor, self._looked = monitor, 0
        self._packages = {SUBJECT: PACKAGE} if packages is None else packages

    def open(self) -> None:
        """Forget what was looked at."""
        self._looked = 0

    def close(self) -> None:
        """Do nothing."""

    def ready(self) -> bool:
        """Return whether anything was published since."""
        return self._monitor.published > self._looked

    def due(self, existing: Mapping[str, Ticket]) -> list[Ticket]:
        """Return what is due."""
        self._looked = self._monitor.published
        asked = Asked(self._monitor.app.rules, 1, 1_000)
        published = summarised(self._monitor)
        return due(verdicts(published, self._packages, asked), published, existing, asked, quiet=True)


def summarised(monitor: Monitor) -> Published:
    """Return everything that a monitor has published."""
    summaries = Summaries(RULES, None)
    for key, part in monitor.decoded().items():
        summaries.take(key, part)
    while summaries.refresh():
        pass
    return summaries.published()


def hours(seed: int, shifts: Sequence[float], first: int = 100) -> list[Record]:
    """Return what a model saw in hours one after the other, each in four transactions."""
    chance, records = np.random.default_rng(seed), []
    for at, row in enumerate(drawn(chance, shares(np.array(shifts)), N // 4 * 4)):
        hour, left = first + at, row.copy()
        for part in range(4):
            mine = left if part == 3 else np.minimum(row // 4, left)
            left = left - mine
            cells = {(hour, cell): (n, 0) for cell, n in enumerate(mine.tolist()) if n}
            latest = {0: hour * HOUR_MS + part}
            records.append(counts(f"h{hour}-{part}", cells, hour * HOUR_MS + part, latest=latest))
    return records


def newest(monitor: Monitor) -> dict[str, Ticket]:
    """Return the last record of each ticket; revisions must have no gap."""
    found: dict[str, Ticket] = {}
    for ticket in monitor.tickets:
        assert ticket.revision == (found[ticket.id].revision + 1 if ticket.id in found else 1)
        found[ticket.id] = ticket
    return found


SHIFTS = [0.0] * 6 + [1.5] * 8 + [0.0] * 8 + [-1.5] * 5


@pytest.mark.parametrize("partitions", [1, 3])
def test_each_episode_has_one_ticket_whatever_the_cuts_and_crashes(seed: int, partitions: int) -> None:
    """The same ids, with the same story, if the monitor is another one after each of some batches."""
    records, chance = hours(seed, SHIFTS), np.random.default_rng(seed + 1)
    stories = []
    for crashes in (False, True):
        monitor = Monitor(partitions, desk=Desk)
        cuts = [*range(4, len(records), 4)] if not crashes else sorted(chance.choice(len(records), 30, replace=False))
        begin = 0
        for end in [*cuts, len(records)]:
            monitor.feed(records[begin:end])
            begin = end
            if crashes and chance.random() < 0.5:
                monitor.begin()
            monitor.rest()
        stories.append(newest(monitor))
    whole, other = stories
    assert whole.keys() == other.keys()
    assert 2 == len(whole)
    told = [(one.kind, one.metric, one.state) for one in sorted(whole.values(), key=lambda one: one.opened)]
    assert [(Kind.DRIFT, "x", State.CLOSED), (Kind.DRIFT, "x", State.OPEN)] == told
    for name, ticket in whole.items():
        assert _told(ticket) == _told(other[name])
        assert ticket.opened >= 106 * HOUR_MS


def _told(ticket: Ticket) -> Ticket:
    """Return what does not depend on when it was written."""
    return ticket._replace(revision=0, notes=(), opened_n=0, opened_revision=0)


def test_a_tickets_transaction_is_that_of_its_home(seed: int) -> None:
    """It is written by the owner of partition 0 only, with that partition's state and offsets."""
    monitor = Monitor(3, desk=Desk)
    for record in hours(seed, SHIFTS[:10]):
        monitor.feed([record])
        monitor.rest()
    assert len(newest(monitor)) == 1
    assert [ticket.id.encode() for ticket in newest(monitor).values()] == [
        key[1:] for key in monitor.logs[0].values if key[:1] == b"k"
    ]
    assert not any(key[:1] == b"k" for log in monitor.logs[1:] for key in log.values)
    stranger = Monitor(3, desk=Desk)
    stranger.fold.assigned(frozenset({1, 2}))
    for record in hours(seed, SHIFTS[:10]):
        stranger.feed([record])
    assert [] == stranger.tickets


def test_an_aborted_ticket_is_written_again(seed: int) -> None:
    """What was decided and not committed is decided anew, under the same id."""
    whole, records = Monitor(desk=Desk), hours(seed, SHIFTS[:10])
    for record in records:
        whole.feed([record])
        whole.rest()
    aborted = Monitor(desk=Desk)
    lost = 0
    for record in records:
        aborted.feed([record])
        aborted.now += 1_000
        step = aborted.fold.due(lambda: None)  # type: ignore[arg-type, return-value]  # it is thrown away
        lost += step is not None
        aborted.begin()  # who was aborted by a death begins anew
        aborted.rest()
    assert lost
    assert newest(whole).keys() == newest(aborted).keys()


def test_late_records_change_the_evidence_as_if_they_had_come_in_time(seed: int) -> None:
    """Hours that are sent last, and first: the same chain."""
    records = hours(seed, SHIFTS)
    late = [*records[:20], *records[36:], *records[20:36]]
    chains = []
    for order in (records, late):
        monitor = Monitor()
        for record in order:
            monitor.feed([record])
        monitor.rest()
        asked = Asked(RULES, 1, 1_000)
        ((verdict,),) = [verdicts(summarised(monitor), {SUBJECT: PACKAGE}, asked)]
        chains.append(verdict.chains)
    in_time, late_chains = (
        [(step.window, step.n, step.statistic, step.evidence) for step in chain.steps]
        for (chain,) in (chains[0], chains[1])
    )
    assert in_time == late_chains
    assert 2 == len(chains[0][0].episodes)


def test_what_is_not_watched_says_why() -> None:
    """No package, no reference, windows that are no multiple of blocks, too few blocks; never a silent "no drift"."""
    monitor = Monitor()
    monitor.feed(hours(1, [0.0] * 4))
    monitor.rest()
    published = summarised(monitor)

    def why(found: Package | str, asked: Asked = Asked(RULES, 1, 1_000)) -> str:  # noqa: B008
        ((verdict,),) = [verdicts(published, {SUBJECT: found}, asked)]
        return verdict.why or str({watch.why for watch in verdict.watches})

    assert why("it is gone") == "it is gone"
    ((unknown,),) = [verdicts(published, {}, Asked(RULES, 1, 1_000))]
    assert unknown.why == "its package is not known"
    assert "no [reference]" in why(Package(PACKAGE.manifest, None))
    assert "2 h are no multiple of the reference's blocks of 3 h" in why(
        package(hours=3), Asked(RULES, 1, 1_000, 2 * HOUR_MS)
    )
    assert "3 blocks of time, and 4 are needed" in why(package(blocks=3))
    assert why(PACKAGE) == "{None}"


def test_a_longer_window_is_a_sum() -> None:
    """Blocks of three hours, windows of an hour that are counted: a window is three of them."""
    monitor = Monitor()
    monitor.feed(hours(1, [0.0] * 9, first=99))
    monitor.rest()
    ((verdict,),) = [verdicts(summarised(monitor), {SUBJECT: package(hours=3)}, Asked(RULES, 1, 1_000))]
    assert 3 * HOUR_MS == verdict.window_ms
    assert [(33, 3 * N), (34, 3 * N)] == [(step.window, step.n) for step in verdict.chains[0].steps]


def summaries(*windows: tuple[int, int, int, int], against: bytes = b"RRRR") -> list[Summary]:
    """Return windows: (number, predictions, labelled, wrong)."""
    none = np.empty(0, np.int64)
    return [
        Summary(number, 1, {against: Seen(none, none, none)}, Losses(n, labelled, labelled, wrong, labelled, wrong / 2))
        for number, n, labelled, wrong in windows
    ]


def told(windows: Sequence[Summary], tally: Mapping[str, int] | None = None, *, quiet: bool = True) -> list[Ticket]:
    """Return the tickets that are due."""
    published, asked = Published({SUBJECT: [*windows]}, tally or {}, {}), Asked(RULES, 1, 1_000)
    return due(verdicts(published, {SUBJECT: PACKAGE}, asked), published, {}, asked, quiet=quiet)


DAYS = [(hour, 200, 190, 10) for hour in range(10)]


def test_labels_that_have_stopped_are_a_page() -> None:
    """Where they should be here, came before, and none comes: and not if they are only late."""
    none = [(hour, 200, 0, 0) for hour in range(10, 45)]
    (ticket,) = told(summaries(*DAYS, *none))
    assert (Kind.PIPELINE, Severity.PAGE, "labels_stopped") == (ticket.kind, ticket.severity, ticket.metric)
    assert "no label has come for any of the predictions of m 1 since 1970-01-01 10:00" in ticket.sentence
    assert (10 * HOUR_MS, 19 * HOUR_MS) == (ticket.opened, ticket.newest)
    assert [] == told(summaries(*DAYS, *none), quiet=False)
    assert [] == told(summaries(*DAYS, *none[:20])), "they may still come"
    assert [] == told(summaries(*none)), "there never were any"
    assert [] == told(summaries(*DAYS, *((hour, n and 9, 0, 0) for hour, n, *_ in none))), "hardly any predictions"
    (ticket,) = told(summaries(*DAYS, *none), {"labels.early": 1_150})
    assert "join_stalled" == ticket.metric
    assert "labels wait for predictions" in ticket.sentence


def test_one_outage_of_labels_is_one_ticket() -> None:
    """Nights with few predictions do not end it, its begin stays, and a long one does not become what is usual."""
    none = [(hour, 200 if hour % 24 < 20 else 9, 0, 0) for hour in range(10, 200)]
    existing: dict[str, Ticket] = {}
    for end in range(20, len(none)):
        published = Published({SUBJECT: summaries(*DAYS, *none[:end])}, {}, {})
        asked = Asked(RULES, 1, 1_000)
        written = due(verdicts(published, {SUBJECT: PACKAGE}, asked), published, existing, asked, quiet=True)
        existing |= {ticket.id: ticket for ticket in written}
    (ticket,) = existing.values()
    assert (State.OPEN, 10 * HOUR_MS) == (ticket.state, ticket.first_seen)
    assert not any("revised" in note for note in ticket.notes)
    published = Published({SUBJECT: summaries(*DAYS, *none[:60])}, {}, {})
    assert [] == due(verdicts(published, {SUBJECT: PACKAGE}, asked), published, existing, asked, quiet=None)


def test_a_page_is_not_early() -> None:
    """A window's labels may come until its horizon is over; a prediction that is ahead of its time says nothing of that."""
    none = [(hour, 200, 0, 0) for hour in range(10, 34)]
    assert [] == told(summaries(*DAYS, *none)), "the hour from 10 to 11 has until 35"
    asked = Asked(RULES, 1, 1_000)
    ahead = Published({SUBJECT: summaries(*DAYS, *none, (60, 1, 0, 0))}, {}, {0: 34 * HOUR_MS})
    assert [] == due(verdicts(ahead, {SUBJECT: PACKAGE}, asked), ahead, {}, asked, quiet=True)
    over = Published({SUBJECT: summaries(*DAYS, *none, (60, 1, 0, 0))}, {}, {0: 35 * HOUR_MS})
    assert 1 == len(due(verdicts(over, {SUBJECT: PACKAGE}, asked), over, {}, asked, quiet=True))


def test_a_window_of_which_a_chunk_is_missing_is_not_looked_at() -> None:
    """New and old chunks together are of no moment; what was known of it stays."""
    monitor = Monitor()
    monitor.feed(hours(1, [0.0]))
    monitor.rest()
    ((key, part),) = [(key, part) for key, part in monitor.decoded().items() if part["model_name"] is not None]
    found = Summaries(RULES, None)

    def look() -> list[tuple[int, int]]:
        while found.refresh():
            pass
        return [
            (one.revision, int(sum(s.n.sum() for s in one.seen.values())))
            for one in found.published().subjects.get(SUBJECT, [])
        ]

    found.take(key, part)
    assert [(part["revision"], N)] == look()
    found.take(key, {**part, "chunks": 2, "revision": 9})
    assert [(part["revision"], N)] == look()
    second = key[:-1] + b"\1"
    found.take(second, {**part, "chunks": 2, "chunk": 1, "revision": 9, "rows": b""})
    assert [(9, N)] == look()


def test_another_reference_is_a_page_while_it_is_counted_against() -> None:
    """And over when it is not any more."""
    windows = summaries(*DAYS)
    wrong = summaries((10, 200, 0, 0), against=b"SSSS")
    (ticket,) = told([*windows, *wrong])
    assert ("reference_mismatch", Severity.PAGE) == (ticket.metric, ticket.severity)
    assert [] == told([*windows, *wrong, *summaries((11, 200, 0, 0))])


def test_labels_in_other_partitions_are_a_page_until_no_more_come() -> None:
    """One ticket; it is over when, for a whole window, hardly any came; and opened anew when they come again."""
    asked, existing, story = Asked(RULES, 1, 1_000), dict[str, Ticket](), []
    for hour, n in ((10, 0), (11, 3), (11, 3), (12, 45), (13, 46), (14, 46), (15, 46), (16, 90)):
        published = Published({SUBJECT: summaries((hour, 9, 0, 0))}, {"labels.MISPARTITIONED": n}, {})
        written = due([], published, existing, asked, quiet=True)
        existing |= {ticket.id: ticket for ticket in written}
        story.append([(ticket.state.value, ticket.sentence.split(" labels")[0]) for ticket in written])
    opened, more = [("OPEN", "3")], [("OPEN", "at least 40")]
    assert [[], opened, [], more, [("CLOSED", "at least 40")], [], [], [("OPEN", "at least 90")]] == story
    assert 2 == len(existing)


def test_the_labelled_risk_outranks_and_is_told_on_the_features_tickets(seed: int) -> None:
    """Wrong more often than allowed: a ticket of its own, and the drift that comes with it says so."""
    records, chance = hours(seed, [0.0] * 5 + [1.5] * 55), np.random.default_rng(seed)
    for hour in range(100, 160):
        for at in range(120):
            late = bool(chance.random() < (0.1 if hour < 105 else 0.6))
            time = hour * HOUR_MS + at
            records.append(result(f"r{hour}-{at}", 0.1, time))
            records.append(label(f"r{hour}-{at}", "lost" if late else "kept", time + 60_000))
    monitor = Monitor(desk=Desk)
    for begin in range(0, len(records), 500):
        monitor.feed(records[begin : begin + 500])
        monitor.rest()
    found = {ticket.kind: ticket for ticket in newest(monitor).values()}
    assert {Kind.DRIFT, Kind.RISK} == found.keys()
    assert "error_rate" == found[Kind.RISK].metric
    assert found[Kind.RISK].opened >= 105 * HOUR_MS
    assert found[Kind.DRIFT].risk_moved
    assert "and up to 30 % is allowed" in found[Kind.RISK].sentence


@pytest.mark.parametrize(
    ("watermarks", "behind", "expected"),
    [
        ({}, None, False),
        ({0: 20, 1: 20}, None, True),
        ({0: 20, 1: 19}, None, False),
        ({0: 20}, None, False),
        ({0: 29, 1: 0}, None, False),
        ({0: 30, 1: 0}, None, True),
        ({0: 30}, None, True),
        ({0: 40, 1: 40}, 10, False),
        ({0: 40, 1: 40}, 19, False),
        ({0: 40, 1: 40}, 20, True),
    ],
)
def test_when_time_has_passed_a_window(watermarks: dict[int, int], behind: int | None, expected: bool) -> None:
    """From 10 to 20, of two partitions."""
    assert expected == passed(Published({}, {}, watermarks, behind), 2, 10, 10)


def test_a_ticket_says_which_revision_of_its_window_opened_it(seed: int) -> None:
    """An hour is published four times here, and revised; a longer window's revisions are those of its hours together."""
    monitor = Monitor()
    for record in hours(seed, SHIFTS[:9]):
        monitor.feed([record])
        monitor.rest()
    published = summarised(monitor)
    revisions = {window.number: window.revision for window in published.subjects[SUBJECT]}
    for length, one in ((1, PACKAGE), (3, package(hours=3))):
        asked = Asked(RULES, 1, 1_000)
        (ticket,) = due(verdicts(published, {SUBJECT: one}, asked), published, {}, asked, quiet=True)
        begin = ticket.opened // HOUR_MS
        assert sum(revisions[begin + at] for at in range(length)) == ticket.opened_revision
        assert (ticket.opened_revision or 0) >= 4 * length


def test_what_was_counted_against_another_reference_is_not_judged(seed: int) -> None:
    """Its cells are cut elsewhere: counts of a worker with another package beside those of the right one."""
    monitor = Monitor()
    for foreign in (b"A" * 32, b"Z" * 32):
        for record in hours(seed, [3.0] * 4):
            cells = {(100, 8): (N // 2, 0)}
            monitor.feed([counts(f"{foreign[:1].hex()}{record.key.hex()}", cells, 0, reference=foreign)])
    monitor.feed(hours(seed, [0.0] * 4))
    monitor.rest()
    ((verdict,),) = [verdicts(summarised(monitor), {SUBJECT: PACKAGE}, Asked(RULES, 1, 1_000))]
    assert [(100, N), (101, N), (102, N)] == [(step.window, step.n) for step in verdict.chains[0].steps]
    assert () == verdict.chains[0].episodes


def risk(
    windows: Sequence[Summary], toml: str = MANIFEST, mean_windows: float = 1_000
) -> list[tuple[int, int, float | None]]:
    """Return the steps of the labelled risk: window, labels, loss."""
    published, asked = Published({SUBJECT: [*windows]}, {}, {}), Asked(RULES, 1, mean_windows)
    ((verdict,),) = [verdicts(published, {SUBJECT: package(toml=toml)}, asked)]
    assert verdict.risk is not None
    assert mean_windows == verdict.risk.threshold
    assert {mean_windows} == {chain.threshold for chain in verdict.chains}, "there is one feature"
    return [(step.window, step.n, step.statistic) for step in verdict.risk.steps]


def test_the_risk_is_of_windows_whose_labels_are_all_there() -> None:
    """And of a hundred of them, at least; in the metric that the package names; at the rate that is asked for."""
    windows = summaries(
        (10, 200, 99, 99), (11, 200, 100, 50), (12, 400, 300, 30), (13, 200, 200, 20), (37, 200, 150, 150)
    )
    assert [(11, 100, 0.5), (12, 300, 0.1)] == risk(windows), (
        "that of 13 to 14 has until 38, and the newest label is of 37"
    )
    brier = MANIFEST.replace("allowed = 0.3", 'metric = "brier"\nallowed = 0.3')
    assert [(11, 100, 0.25), (12, 300, 0.05)] == risk(windows, brier, 77)


def test_a_package_that_cannot_be_read_leaves_its_tickets_alone(seed: int) -> None:
    """Nothing follows from what nobody can look at; and a hold of drift tickets is one of drift tickets only."""
    monitor = Monitor()
    monitor.feed(hours(seed, SHIFTS[:12]))
    monitor.rest()
    published, asked = summarised(monitor), Asked(RULES, 1, 1_000)
    (ticket,) = due(verdicts(published, {SUBJECT: PACKAGE}, asked), published, {}, asked, quiet=True)
    assert State.OPEN is ticket.state
    gone = verdicts(published, {SUBJECT: "its package is not to be had"}, asked)
    assert [] == due(gone, published, {ticket.id: ticket}, asked, quiet=True)
    bare = verdicts(published, {SUBJECT: Package(PACKAGE.manifest, None)}, asked)
    assert [State.CLOSED] == [one.state for one in due(bare, published, {ticket.id: ticket}, asked, quiet=True)]
    held = published._replace(behind=ticket.newest)
    other = ticket._replace(kind=Kind.RISK, metric="error_rate", id="r")
    written = due(verdicts(held, {SUBJECT: PACKAGE}, asked), held, {ticket.id: ticket, "r": other}, asked, quiet=True)
    assert [("r", State.CLOSED)] == [(one.id, one.state) for one in written], "the risk has moved nowhere"
    written = due(verdicts(held, {SUBJECT: PACKAGE}, asked), held, {"r": other}, asked, quiet=True)
    assert [ticket.id, "r"] == [one.id for one in written], "a ticket of the risk holds up no drift"


def test_a_part_says_of_which_windows_more_was_seen_than_is_published() -> None:
    """Of what came in time; what is late is published when it is due, and holds nothing up."""
    monitor, told = Monitor(), []
    for hour in (100, 101, 99, 98):
        step = monitor.feed([counts(f"k{hour}", {(hour, 1): (1, 0)}, 0, latest={0: hour * HOUR_MS + 1})])
        assert step is not None
        values = [value for block in step.emits for value in block.values if block.topic == PARTS]
        found = [PART_READER.read(value or b"", 5) for value in values]
        told += [(one["window_start"] // HOUR_MS, one["behind"]) for one in found if one["model_name"] is not None]
    assert [(100, 101 * HOUR_MS), (101, None), (99, None)] == told
