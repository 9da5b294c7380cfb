"""Drift on the real broker: what models see is counted once, whoever counts it, and an episode has one ticket."""

import io
import json
import random
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition

from streams import schemas_dir
from streams.avro.encode import encode_one
from streams.avro.write import Writer
from streams.cli import main
from streams.config import load
from streams.dev import Stack
from streams.drift import is_told
from streams.errors import ConfigError, Unreachable
from streams.kafka.admin import Admin
from streams.kafka.tail import Tail
from streams.models import manifest, reference
from streams.models.binning import FARTHEST, PARTS
from streams.monitor.drift.episodes import Window, chains
from streams.monitor.drift.watch import watches
from streams.monitor.features import CELL, REQUESTS, cell_of, is_seen
from streams.monitor.state import Subject, unchunked
from streams.monitor.summary import Published
from streams.monitor.ticket import Kind, Severity, State, Ticket, of_record
from streams.monitor.tickets import Context, drift_tickets, reconcile
from streams.monitor.verdicts import Asked, due, verdicts
from streams.monitor.windows import added, parse_window
from streams.monitored import Subject as Settled
from streams.parts import read_parts, read_tickets
from streams.performance import read
from streams.records import TP, Lease
from streams.ticketing import Judged, TicketDesk, asked
from tests.integration.application import Where, documented, produce_all, until
from tests.integration.monitored import Monitored, served
from tests.models import small_packages
from tests.models.small_packages import CARRIERS
from tests.monitor.stream import RULES, Monitor, Record, counts
from tests.monitor.test_verdicts import PACKAGE, SHIFTS, SUBJECT, Desk, hours, summarised

HOUR_MS, QUARTER_MS = 3_600_000, 900_000
FIRST = 380_000
"""Number of the first hour, in May 2013: event times are data."""
BLOCKS, ROWS, N = 20, 100, 240
"""The training set's hours, and the requests of each; and those of an hour in service. So short blocks differ so much by chance
alone that no calm hour of service is beyond them, whatever the seed."""
CONTRACT = json.dumps(
    {
        **json.loads(small_packages.CONTRACT),
        "fields": [
            *json.loads(small_packages.CONTRACT)["fields"],
            {"name": "asked_at", "type": "long", "role": "event_time"},
        ],
    }
)
TICKET_SCHEMA = fastavro.parse_schema(json.loads((schemas_dir() / "ticket.avsc").read_text()))
LATE = Subject("late", "1", None)


class Ask(NamedTuple):
    """A request."""

    request_id: str
    carrier: str
    delay: float | None
    asked_at: int


Counted = dict[tuple[int, int], tuple[int, int]]
"""By number of the quarter of an hour and cell: how many values, and the sum of their positions."""


@cache
def packaged() -> dict[str, bytes]:
    """Return the small package with requests that say when they happened, and a reference of twenty hours."""
    files = small_packages.files()
    features = manifest.parse(files["manifest.toml"]).features
    event_ms = np.arange(BLOCKS * ROWS, dtype=np.int64) * (HOUR_MS // ROWS)
    matrix = small_packages.matrix(small_packages.asked(BLOCKS * ROWS, seed=3))
    measured = reference.measure(features, matrix, event_ms, block_ms=HOUR_MS)
    golden = [json.loads(line) for line in files["golden.jsonl"].decode().splitlines()]
    asked = [{**one, "request": {**one["request"], "asked_at": 0}} for one in golden]
    return files | {
        "ask.avsc": CONTRACT.encode(),
        "golden.jsonl": "\n".join(map(json.dumps, asked)).encode(),
        "reference.json": measured.model_dump_json().encode(),
    }


class Watched(Monitored):
    """An application whose requests say when they happened, and whose package says what it was trained on."""

    def __init__(
        self,
        stack: Where,
        name: str,
        home: Path,
        *,
        partitions: int = 2,
        more: str = "",
        package: Mapping[str, bytes] | None = None,
    ) -> None:
        self._package = package or packaged()
        super().__init__(stack, name, home, partitions=partitions, more=more)
        self.schema = json.loads(CONTRACT)
        quarters = "grain_hours = 0.25\n"
        text = self.config.read_text().replace(quarters, f"{quarters}plausible_past_hours = 1000000\n")
        self.config.write_text(text)
        self.settings = load(self.config)
        self._asking, self._counts = self.producer(), dict[TP, int]()
        """Behind the last record of each partition of counts."""
        self._tail = Tail(
            self.settings.kafka, [TP(self.settings.features, at) for at in range(self.settings.partitions)]
        )

    def _register(self) -> None:
        (self.home / "ask.avsc").write_text(json.dumps(documented(CONTRACT)))
        self.model = self._package
        super()._register()

    def requests(self, asks: Iterable[Ask]) -> int:
        """Send requests; return how many."""
        prefix = b"\0" + self.schema_id.to_bytes(4, "big")
        records = ((ask.request_id.encode(), prefix + encode_one(self.schema, ask._asdict())) for ask in asks)
        self.sent += (count := produce_all(self._asking, self.lanes[0], records))
        return count

    def settled(self, seconds: float = 60.0) -> None:
        """Wait until everything that was sent is answered, and what was seen of it counted, though not yet published."""
        self.drained(seconds)
        tps = [TP(self.settings.features, at) for at in range(self.settings.partitions)]
        stable = self.admin.offsets(tps, "stable")

        def all_read() -> bool:
            self._counts |= {record.tp: record.offset + 1 for record in self._tail.read(0.05)}
            return self._tail.has_reached(stable)

        until(all_read, seconds, what="the end of the counts")
        ends = self._counts

        def counted() -> bool:
            with suppress(Unreachable):  # offsets of a pending transaction are waited for
                found = self.admin.committed(self.settings.monitor_group, [*ends])
                return all((found[tp] or 0) >= end for tp, end in ends.items())
            return False

        until(counted, seconds, what="the counts of what was seen")

    def tickets(self, isolation: str = "read_committed") -> list[Ticket]:
        """Return every record of the tickets' topic, in its order."""
        return [ticket_of(message.value()) for message in self.read([self.settings.tickets], isolation)]


def ticket_of(value: bytes) -> Ticket:
    """Return the ticket of a record, read by fastavro."""
    record = fastavro.schemaless_reader(io.BytesIO(value[5:]), TICKET_SCHEMA, None)
    assert isinstance(record, dict)
    times = {key: _ms(record[key]) for key in ("first_seen", "opened", "newest", "closed") if record[key] is not None}
    path = [{**step, "window": _ms(step["window"])} for step in record["path"]]
    return of_record({**record, **times, "path": path})


def _ms(moment: Any) -> int:
    ms: int = round(moment.timestamp() * 1_000)
    return ms


def an_hour(chance: random.Random, number: int, *, later: float = 0.0, strange: float = 0.0, n: int = N) -> list[Ask]:
    """Return the requests of one hour, in order: of a world as in training, or with delays that are longer, or carriers that are new."""
    begin = (FIRST + number) * HOUR_MS
    return [
        Ask(
            f"h{number}-{at}",
            "ZZ" if chance.random() < strange else chance.choice(CARRIERS),
            None if chance.random() < 0.125 else float(round(chance.gauss(10 + later, 20))),
            asked_at,
        )
        for at, asked_at in enumerate(sorted(begin + chance.randrange(HOUR_MS) for _ in range(n)))
    ]


CALM: dict[str, Any] = {}
STORY = (*[CALM] * 3, *[{"later": 50.0}] * 4, *[CALM] * 5, *[{"strange": 0.3}] * 3)
"""What each hour is like: delays are longer from the fourth to the seventh, and carriers new from the thirteenth on."""


def cells_of(ask: Ask, edges: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Yield the cell of each feature, and the position in it: carriers come first, with a cell for the missing and the unseen."""
    yield 1 + CARRIERS.index(ask.carrier), 0
    begin = len(CARRIERS) + 2
    if ask.delay is None:
        yield begin, 0
        return
    rank, whole = bisect_right(edges, ask.delay), edges[-1] - edges[0]
    low, width = (edges[0], -whole) if rank == 0 else (edges[rank - 1], whole)
    if 0 < rank < len(edges):
        width = edges[rank] - low
    along = min(max((ask.delay - low) * (1 / width), 0.0), FARTHEST)
    yield begin + 1 + rank, round(along * PARTS)


def in_plain_python(app: Watched, asks: Iterable[Ask]) -> Counted:
    """Return what must be counted of requests that were answered, each answer once."""
    edges = reference.Reference.model_validate_json(packaged()["reference.json"]).features[1].edges
    assert edges is not None
    by_id, found = {ask.request_id: ask for ask in asks}, Counter[tuple[int, int]]()
    totals = Counter[tuple[int, int]]()
    for answer in app.terminals():
        ask = by_id[answer["request_id"]]
        quarter = ask.asked_at // QUARTER_MS
        if quarter > (FIRST + 1_000) * 4:
            continue
        if answer["kind"] == "SCORED":
            for cell, position in cells_of(ask, edges):
                found[quarter, cell] += 1
                totals[quarter, cell] += position
        elif answer["kind"] == "UNSEEN_CATEGORY":
            found[quarter, len(CARRIERS) + 1] += 1
    return {at: (n, totals[at]) for at, n in found.items()}


def published(app: Watched) -> Counted:
    """Return what all parts add up to."""
    rows = added(
        {key[:16] + within: row for within, row in unchunked(part["rows"])}
        for key, part in read_parts(app.settings, Admin(app.settings.kafka)).items()
    )
    found = {key: row for key, row in rows.items() if is_seen(key)}
    requests = sum(row[0] for key, row in found.items() if key[16:17] == REQUESTS)
    carriers = sum(row[0] for key, row in found.items() if key[16:17] == CELL and cell_of(key[16:]) <= len(CARRIERS))
    assert requests == carriers, "each scored request has a carrier"
    return {
        (parse_window(key)[0].number, cell_of(key[16:])): (row[0], row[1])
        for key, row in found.items()
        if key[16:17] == CELL
    }


def expected_tickets(app: Watched, counted: Counted, hours: int) -> dict[str, Ticket]:
    """Return the tickets that the counts of so many hours stand for, computed at once."""
    settled = Settled(app.settings)
    assert settled.reference is not None
    watched = watches(settled.manifest.columns, settled.reference.reference)
    columns = np.zeros((2, hours, watched[-1].cells.stop), np.int64)
    for (quarter, cell), (n, total) in counted.items():
        if quarter // 4 - FIRST < hours:
            columns[:, quarter // 4 - FIRST, cell] += (n, total)
    windows = [Window(FIRST + at, columns[0, at], columns[1, at]) for at in range(hours)]
    found = chains(watched, windows, app.settings.monitor.false_ticket_windows)
    due = drift_tickets(Context(LATE, HOUR_MS, settled.reference.digest), found)
    return {ticket.id: ticket for ticket in reconcile({}, due)}


def as_told(ticket: Ticket) -> Ticket:
    """Return what does not depend on when it was written, but for the path, whose numbers are written again if they change by 1 %."""
    return ticket._replace(revision=0, notes=(), opened_n=None, opened_revision=None, path=())


def path(ticket: Ticket) -> dict[int, float]:
    """Return the statistics of a ticket's windows."""
    return {one.window: one.statistic or 0.0 for one in ticket.path}


def newest(written: Iterable[Ticket]) -> dict[str, Ticket]:
    """Return the last record of each ticket; each revision must be there once, in order."""
    found: dict[str, Ticket] = {}
    for ticket in written:
        assert ticket.revision == (found[ticket.id].revision + 1 if ticket.id in found else 1)
        found[ticket.id] = ticket
    return found


def tickets_told(app: Watched) -> bool:
    """Return whether the tickets are what they must be of everything that is published."""
    with suppress(Unreachable):
        return is_told(app.settings)
    return False


def judged(app: Watched, asks: Sequence[Ask], hours: int) -> list[Ticket]:
    """Everything is counted once, and the tickets are those that the counts stand for. Return these, in the order of time."""
    counted = in_plain_python(app, asks)
    until(lambda: published(app) == counted, 60, what="what plain Python counts")
    answers = app.kinds()["SCORED"]
    until(lambda: _counted(read(app.settings).tally, "results") == answers, 60, what="every result")
    until(lambda: tickets_told(app), 60, what="the last ticket")
    expected, written = expected_tickets(app, counted, hours), newest(app.tickets())
    assert expected.keys() == written.keys()
    for name, ticket in written.items():
        assert as_told(expected[name]) == as_told(ticket)
        assert path(expected[name]) == pytest.approx(path(ticket), rel=0.011)
    return sorted(written.values(), key=lambda ticket: ticket.opened)


def _counted(tally: Mapping[str, int], what: str) -> int:
    return sum(n for name, n in tally.items() if name.startswith(f"{what}."))


@pytest.fixture
def watched(stack: Stack, unique: str, tmp_path: Path) -> Iterator[Watched]:
    """Return an application whose features are watched; its processes end with the test."""
    app = Watched(stack, unique, tmp_path)
    yield app
    app.stop()


def told(capsys: pytest.CaptureFixture[str], *command: str) -> Any:
    """Return what a command says, as JSON."""
    capsys.readouterr()
    assert main([*command, "--output", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_episode_has_one_ticket(
    watched: Watched, capsys: pytest.CaptureFixture[str], tmp_path: Path, seed: int
) -> None:
    """Two workers of the monitor; some requests are sent twice, some happened in the year 2099, and some are refused for a carrier that
    nobody knows: each is counted once, in its cell. The commands say what is on the topic.
    """
    app, chance = watched, random.Random(seed)
    app.supervise(1)
    app.monitor(2)
    asks: list[Ask] = []
    for number, like in enumerate(STORY):
        mine = an_hour(chance, number, **like)
        again = chance.sample(asks, 20) if asks else []
        app.requests([*mine, *again, *chance.sample(mine, 10)])
        asks += mine
        app.settled()
    future = [ask._replace(request_id=f"f{at}", asked_at=4_070_908_800_000) for at, ask in enumerate(asks[:5])]
    asks += [*future, *an_hour(chance, len(STORY), n=40)]
    app.requests(asks[-45:])
    app.settled()
    first, second = judged(app, asks, len(STORY))
    for ticket, metric, state in ((first, "delay", State.CLOSED), (second, "carrier", State.OPEN)):
        assert (Kind.DRIFT, Severity.TICKET, LATE) == (ticket.kind, ticket.severity, ticket.subject)
        assert (metric, state) == (ticket.metric, ticket.state)
    assert FIRST + 3 <= first.opened / HOUR_MS <= FIRST + 6
    assert FIRST + 9 <= (first.closed or 0) / HOUR_MS <= FIRST + 11, (
        "with the third calm hour, or one that looks more calm"
    )
    assert FIRST + 12 <= second.opened / HOUR_MS <= FIRST + 14
    assert 0.2 < (second.unseen or 0.0) < 0.4
    tally, kinds = read(app.settings).tally, app.kinds()
    assert kinds["SCORED"] == tally["seen.counted"] + tally["seen.implausible"]
    assert len(future) == tally["seen.implausible"]
    assert kinds["SCORED"] == tally["results.predicted"] + tally["results.future"]
    assert len(asks) <= kinds["SCORED"] + kinds["UNSEEN_CATEGORY"], "who was refused may have asked again"
    config = ("-c", str(app.config))
    shown = {line["metric"]: line for line in told(capsys, "drift", "show", *config)}
    for ticket in (first, second):
        line = shown[ticket.metric]
        (episode,) = line["episodes"]
        (one,) = told(capsys, "tickets", "list", *config, "--state", ticket.state.value.lower())
        assert one == told(capsys, "tickets", "show", *config, ticket.id[:8])
        assert (ticket.id, ticket.revision, ticket.sentence) == (one["id"], one["revision"], one["sentence"])
        assert {key: one[key] for key in episode} == episode
        assert line["why"] is None
    assert (second.statistic, second.evidence) == (shown["carrier"]["statistic"], shown["carrier"]["evidence"])
    ours, states = 'arm="",metric="carrier",model="late",version="1"', 'kind="drift",severity="ticket",state='
    page = served(app, f"answeronce_drift_open{{{ours}}} 1.0", f'answeronce_tickets{{{states}"open"}} 1.0')
    assert f'answeronce_tickets{{{states}"closed"}} 1.0' in page
    (evidence,) = re.findall(rf"^answeronce_drift_evidence\{{{ours}\}} (.*)$", page, re.MULTILINE)
    assert float(evidence) == second.evidence
    assert main(["performance", "plot", *config, str(tmp_path / "drawn.svg")]) == 0
    assert {"delay", "carrier"} <= set(re.findall("<!-- (.*) -->", (tmp_path / "drawn.svg").read_text()))
    app.stop()
    assert main(["verify", *config]) == 0
    assert "Right: each label and result is counted once" in capsys.readouterr().out


def test_garbage_among_the_counts_stops_nobody(watched: Watched, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    """Noise, another schema, no value, no key, a key that is not the record's, another partition, and packed columns that are none:
    each is counted by what is wrong with it, and what is right around it, too.
    """
    app, chance = watched, random.Random(seed)
    features = app.settings.features
    prefix = b"\0" + app.ids["feature_counts"].to_bytes(4, "big")
    key = next(found for at in range(99) if app.partition(found := b"k%d" % at) == 0)

    def packed(**more: Any) -> bytes:
        made = counts(key.decode(), {(FIRST, 1): (3, 0)}, 0, **more).value
        assert made is not None
        return prefix + made[5:]

    wrong: list[tuple[str, bytes | None, bytes | None, int]] = [
        ("NOT_FRAMED", key, b"noise", 0),
        ("EMPTY", key, b"", 0),
        ("TOMBSTONE", key, None, 0),
        ("MALFORMED", key, prefix + chance.randbytes(40), 0),
        ("MALFORMED", key, packed(counts=b"\1\2"), 0),
        ("WRONG_SUBJECT", key, b"\0" + app.ids["result"].to_bytes(4, "big") + chance.randbytes(9), 0),
        ("UNKNOWN_SCHEMA", key, b"\0\x7f\xff\xff\xff" + chance.randbytes(9), 0),
        ("MISPARTITIONED", key, packed(), 1),
        ("KEY_MISMATCH", b"another", packed(), app.partition(b"another")),
        ("KEY_MISMATCH", None, packed(), 0),
    ]
    app.supervise(1)
    app.monitor(1)
    asks = an_hour(chance, 0)
    for at, (_, name, value, partition) in enumerate(wrong):
        app.requests(asks[at * 24 : (at + 1) * 24])
        produce_all(app.producer(), features, [(name, value)], partition)
    app.settled()
    expected = Counter(f"features.{reason}" for reason, *_ in wrong)
    until(lambda: sum(_refused(app).values()) == len(wrong), 30, what="what is wrong with each")
    assert expected == _refused(app)
    assert [] == judged(app, asks, 0)
    assert N == read(app.settings).tally["seen.counted"]
    app.stop()
    assert main(["verify", "-c", str(app.config)]) == 0
    assert "MISCOUNTED" not in capsys.readouterr().out


def _refused(app: Watched) -> Counter[str]:
    """Return what became of counts that could not be taken."""
    tally = read(app.settings).tally
    return Counter(
        {name: n for name, n in tally.items() if name.startswith("features.") and name != "features.counted"}
    )


def test_a_model_without_a_reference_says_so(
    stack: Stack, unique: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    """Nothing is written to the topic of counts, predictions are counted all the same, and `drift show` says why there is no more."""
    files = packaged()
    toml = files["manifest.toml"].decode().replace('[reference]\nfile = "reference.json"\n', "")
    bare = {name: content for name, content in files.items() if name != "reference.json"}
    app = Watched(stack, unique, tmp_path, package=bare | {"manifest.toml": toml.encode()})
    try:
        app.supervise(1)
        app.monitor(1)
        app.requests(an_hour(random.Random(seed), 0))
        app.drained()
        until(lambda: read(app.settings).tally.get("results.predicted") == N, 30, what="the predictions")
        assert [] == app.read([app.settings.features])
        assert {"results.predicted"} == read(app.settings).tally.keys()
        why = "its package has no [reference], so nobody knows what it was trained on"
        shown = told(capsys, "drift", "show", "-c", str(app.config))
        assert [{"model": "late", "version": "1", "arm": None, "metric": None, "why": why}] == shown
        assert main(["drift", "show", "-c", str(app.config)]) == 0
        assert f"late 1: its features are not watched: {why}" in capsys.readouterr().out
        assert [] == app.tickets()
    finally:
        app.stop()


def on(monitor: Monitor, seconds: float, *records: Record) -> None:
    """Read records as time goes by, and publish what is due then, and no more."""
    monitor.now += seconds
    monitor.feed(records)
    while (step := monitor.fold.due(lambda: Lease(1, None))) is not None:
        monitor._commit(step)


def test_counting_what_became_of_records_holds_no_window_up() -> None:
    """Nothing that is published says that more was seen than is published of a window that is none."""
    monitor, told = Monitor(), set[int | None]()
    for at in range(40):
        hour = 100 + at // 10
        on(monitor, 0.3, counts(f"k{at}", {(hour, 1): (1, 0)}, at, latest={0: hour * HOUR_MS + at}))
        told |= {part["behind"] for part in monitor.decoded().values()}
    assert told <= {None, *(hour * HOUR_MS for hour in range(100, 104))}


def test_late_counts_take_no_ticket_back_and_hold_none_up(seed: int) -> None:
    """An hour of long ago is counted again and again, and published now and then, while the newest hours go on: a ticket that is open
    stays so, and one that is due is opened.
    """
    monitor = Monitor(desk=Desk)
    records, late = hours(seed, SHIFTS[:12]), hours(seed + 1, [0.0] * 12, first=102)
    for at, record in enumerate(records):
        on(monitor, 0.5, record)
        if at > 16:
            on(monitor, 0.1, late[at % 4])
    (ticket,) = newest(monitor.tickets).values()
    assert {State.OPEN} == {one.state for one in monitor.tickets}
    assert ticket.newest == 110 * HOUR_MS


def test_a_ticket_of_windows_that_are_not_published_stays_as_it_is(seed: int) -> None:
    """A partition that was behind all others counts more of an hour that was judged: until that is published nothing is said of it."""
    monitor = Monitor(desk=Desk)
    for record in hours(seed, SHIFTS[:12]):
        on(monitor, 1_000, record)
    written = [*monitor.tickets]
    published, asked = summarised(monitor), Asked(RULES, 1, 1_000)
    existing = newest(written)
    for behind in (100, 108, 110):
        held = published._replace(behind=behind * HOUR_MS)
        assert [] == due(verdicts(held, {SUBJECT: PACKAGE}, asked), held, existing, asked, quiet=True)
    assert 1 == len(existing)


def test_a_tail_that_was_taken_back_does_not_hold_decisions_up_while_traffic_goes_on(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the last record of a partition that gets no more lies one that was aborted: nobody can commit its offset, and the other
    partition's moves on all along.
    """
    monkeypatch.setattr("streams.ticketing.STANDS_S", 1.0)
    app = watched
    desk, busy, quiet = TicketDesk(Settled(app.settings)), TP(app.settings.features, 0), TP(app.settings.features, 1)
    consumer = Consumer({"bootstrap.servers": app.stack.bootstrap, "group.id": "bystander"})
    position = 100

    def past() -> bool:
        nonlocal position
        position += 1
        at = [TopicPartition(busy.topic, busy.partition, position), TopicPartition(quiet.topic, quiet.partition, 7)]
        consumer.commit(offsets=at, asynchronous=False)
        return desk._past("bystander", {busy: 100, quiet: 9})

    assert not past()
    until(past, 20, what="what can be read")
    consumer.close()


def test_nothing_is_decided_while_there_is_a_backlog(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that nobody has answered, then answers that nobody has counted: one partition may be months ahead of another."""
    monkeypatch.setattr("streams.ticketing.LOOK_S", 0.05)
    app = watched
    settings, desk = app.settings, TicketDesk(Settled(app.settings))
    app.requests(an_hour(random.Random(1), 0, n=40))
    looks = Counter[str]()
    past = desk._past

    def look(group: str, ends: Mapping[TP, int]) -> bool:
        found = past(group, ends)
        looks[group] += not found
        return found

    monkeypatch.setattr(desk, "_past", look)
    ticket = Ticket(Kind.DRIFT, Severity.TICKET, LATE, "delay", "", HOUR_MS, 0, 0, 0, id="on the topic", revision=7)
    produce_all(app.producer(), settings.tickets, [(b"noise", b"noise"), (b"on the topic", written(app, ticket))], 0)
    produce_all(app.producer(), settings.parts, [(b"k" * 22, b"noise"), (b"k" * 22, None)], 0)
    desk.open()
    ready = desk.ready
    until(lambda: ready() or looks[settings.group] > 9, 20, what="ten looks at the scorer")
    assert not ready()
    _commit(app, settings.group, app.tps())
    produce_all(app.producer(), settings.results, [(b"k", b"noise")] * 9, 0)
    until(lambda: ready() or looks[settings.monitor_group] > 9, 20, what="ten looks at the monitor")
    assert not ready()
    read_by_it = (settings.results, settings.features, app.labels)
    _commit(app, settings.monitor_group, [TP(name, at) for name in read_by_it for at in range(settings.partitions)])
    until(ready, 20, what="the desk")
    known: list[str] = []

    def due_now(_: object, __: object, existing: Mapping[str, Ticket], *___: object, quiet: object) -> list[Ticket]:
        known.extend(existing)
        return []

    monkeypatch.setattr("streams.ticketing.due", due_now)
    assert [] == desk.due({"in the state": ticket})
    assert ["on the topic", "in the state"] == known, "a state may have been begun anew"
    desk.close()


def written(app: Watched, ticket: Ticket) -> bytes:
    """Return a ticket as the monitor writes it."""
    prefix = b"\0" + app.ids["ticket"].to_bytes(4, "big")
    return Writer((schemas_dir() / "ticket.avsc").read_text(), prefix).write(ticket.as_record())


def _commit(app: Watched, group: str, tps: Sequence[TP]) -> None:
    """Commit the ends of some partitions, as a worker that has read them does."""
    consumer = Consumer({"bootstrap.servers": app.stack.bootstrap, "group.id": group})
    ends = app.admin.offsets(tps, "latest")
    consumer.commit(offsets=[TopicPartition(*tp, ends[tp]) for tp in tps], asynchronous=False)
    consumer.close()


def test_labels_that_come_have_not_stopped(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """None has met a prediction for a minute; before that nobody knows, or they do come, however late."""
    desk, told = TicketDesk(Settled(watched.settings)), list[bool | None]()

    def due_now(*_: object, quiet: bool | None) -> list[Ticket]:
        told.append(quiet)
        return []

    monkeypatch.setattr("streams.ticketing.due", due_now)
    for begun, met in ((0, 5), (59, 5), (61, 5), (70, 6), (129, 6), (131, 6)):
        desk._due(Judged(Published({}, {"labels.applied": met}, {}), [], 0.0), {}, 1_000.0 + begun)
    assert [None, None, True, False, False, True] == told


def test_what_is_asked_for_is_what_the_configuration_says(watched: Watched) -> None:
    """How many windows there are until a false ticket, how long they are, and what no label means."""
    text = watched.config.read_text().replace("[labels]\n", '[labels]\nabsence_means = "on_time"\n')
    for length, problem in (("2.5", None), ("2.4", r"drift_hours \(2.4\) is no multiple of grain_hours \(0.25\)")):
        watched.config.write_text(
            text.replace("[monitor]\n", f"[monitor]\nfalse_ticket_windows = 77\ndrift_hours = {length}\n")
        )
        subject = Settled(load(watched.config))
        with nullcontext() if problem is None else pytest.raises(ConfigError, match=problem):
            assert (77, 9_000_000, b"on_time", 2) == (
                (found := asked(subject)).mean_windows, found.window_ms, found.absence, found.partitions,
            )  # fmt: skip


def test_what_was_taken_back_is_told_by_nobody(watched: Watched) -> None:
    """A ticket and a part of an aborted transaction: not by the commands, nor on the page, nor to the desk."""
    app, settings = watched, watched.settings
    monitor = Monitor(desk=Desk)
    monitor.feed(hours(1, SHIFTS[:12]))
    monitor.rest()
    (ticket,) = newest(monitor.tickets).values()
    kept = ticket._replace(id="kept", revision=1)
    producer = app.producer(**{"transactional.id": f"{app.name}-aborts"})
    producer.init_transactions()
    for one in (kept, ticket):
        producer.begin_transaction()
        producer.produce(settings.tickets, key=one.id.encode(), value=written(app, one), partition=0)
        for key, value in monitor.parts.items() if one is ticket else ():
            producer.produce(settings.parts, key=key, value=value, partition=0)
        producer.flush()
        producer.commit_transaction() if one is kept else producer.abort_transaction()
    assert ["kept"] == [*read_tickets(settings, app.admin)]
    assert {} == read_parts(settings, app.admin)
    assert ["kept"] == [one.id for one in app.tickets()]
    assert {"kept", ticket.id} == {one.id for one in app.tickets("read_uncommitted")}, "it was there"
    page = served(app, "answeronce_tickets{")
    assert [1.0] == [float(line.split()[-1]) for line in page.splitlines() if line.startswith("answeronce_tickets{")]
    assert "answeronce_drift_open{" not in page
    tps = [TP(settings.parts, at) for at in range(settings.partitions)]
    with Tail(settings.kafka, tps) as tail:
        ends, found = app.admin.offsets(tps, "stable"), list[Any]()

        def all_read() -> bool:
            found.extend(tail.read(0.1))
            return tail.has_reached(ends)

        until(all_read, 20, what="the end of the parts")
    assert [] == found
