"""Tickets: one an episode, whatever is run again; never erased; and written only when there is something new."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from streams.avro.read import Reader
from streams.avro.write import Writer
from streams.drift import lines
from streams.monitor.drift.episodes import Chain, Loss, Window, chains, losses
from streams.monitor.drift.telling import Line, as_json, table, ticket_json, ticket_text, tickets_table
from streams.monitor.drift.watch import Watch
from streams.monitor.sentences import brief, percent, span
from streams.monitor.state import Subject
from streams.monitor.ticket import Kind, Severity, State, Ticket, id_of, of_record
from streams.monitor.tickets import (
    NOTES_MAX,
    PATH_MAX,
    Context,
    Trouble,
    drift_tickets,
    listed,
    pipeline_tickets,
    reconcile,
    risk_tickets,
)
from streams.monitor.verdicts import Verdict
from tests.monitor.drift.known import category, drawn, shares, watch, windows

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "ticket.avsc").read_text())
WEEK_MS = 7 * 86_400_000
FLIGHTS = Subject("flights-late", "1", None)
FIRST = 2_257  # the week from 2013-04-04
CONTEXT = Context(FLIGHTS, WEEK_MS, b"\x07" * 32, {FIRST + at: at + 1 for at in range(100)})


def world(seed: int, *shifts: float, n: int = 3_000) -> tuple[Watch, list[Window]]:
    """Return a feature with twenty calm blocks, and a window a shift."""
    chance = np.random.default_rng(seed)
    found = watch(drawn(chance, shares(chance.normal(0, 0.05, 20)), n))
    return found, windows(drawn(chance, shares(np.array(shifts)), n), FIRST)


def due(found: Watch, of: list[Window], risks: Chain | None = None) -> list[Ticket]:
    return drift_tickets(CONTEXT, chains([found], of, 1_000), risks)


def applied(existing: Mapping[str, Ticket], written: list[Ticket]) -> dict[str, Ticket]:
    return {**existing, **{ticket.id: ticket for ticket in written}}


def test_a_ticket_is_opened_updated_and_closed(seed: int) -> None:
    """One id for the episode; what was known when it was opened never changes; a second call writes nothing."""
    found, of = world(seed, 0.0, 2.0, 1.9, 0.0, 0.0, 0.0, 0.0)
    existing: dict[str, Ticket] = {}
    story = []
    for end in range(1, len(of) + 1):
        written = reconcile(existing, due(found, of[:end]))
        existing = applied(existing, written)
        assert [] == reconcile(existing, due(found, of[:end]))
        story += [(end, ticket.state, ticket.revision) for ticket in written]
    opened, closed = State.OPEN, State.CLOSED
    assert [(2, opened, 1), (3, opened, 2), (4, opened, 3), (5, opened, 4), (6, closed, 5)] == story
    (ticket,) = existing.values()
    week = FIRST * WEEK_MS
    assert (1, 1, 5, 5) == tuple(
        (at - week) // WEEK_MS for at in (ticket.first_seen, ticket.opened, ticket.newest, ticket.closed or 0)
    )
    assert (3_000, 2, 3_000, Severity.TICKET) == (ticket.opened_n, ticket.opened_revision, ticket.n, ticket.severity)
    assert 2 == len(ticket.notes)
    assert ticket.notes[0].startswith("opened, PSI ")
    assert ticket.notes[0].endswith(" in the week from 2013-04-11, 3000 records")
    assert ticket.notes[1].startswith("closed, PSI 0.0")
    assert ticket.sentence.startswith("x is as it was in training again in the week from 2013-05-09: PSI ")
    assert [1, 2, 3, 4, 5] == [(moment.window - week) // WEEK_MS for moment in ticket.path]


def test_a_ticket_goes_through_the_schema(seed: int) -> None:
    """And comes back as it was; an unknown kind of a newer writer is UNKNOWN."""
    found, of = world(seed, 0.0, 2.0, 1.9)
    risk = risk_tickets(CONTEXT, losses("error_rate", [Loss(FIRST + at, 100, 0.9) for at in range(9)], 0.2, 10))
    trouble = pipeline_tickets([Trouble("join_stalled", 5 * WEEK_MS, 6 * WEEK_MS, WEEK_MS, "Nothing is joined")])
    tickets = reconcile({}, [*due(found, of), *risk, *trouble])
    assert [Kind.PIPELINE, Kind.RISK, Kind.DRIFT] == [ticket.kind for ticket in tickets]
    write, read = Writer(SCHEMA, b"").write, Reader(SCHEMA).read
    assert tickets == [of_record(read(write(ticket.as_record()))) for ticket in tickets]
    assert Kind.UNKNOWN is of_record({**tickets[0].as_record(), "kind": "WEATHER"}).kind
    assert [Kind.PIPELINE, Kind.RISK, Kind.DRIFT] == [ticket.kind for ticket in listed(tickets)]


def test_any_prefix_and_any_revision_ends_in_the_same_tickets(seed: int) -> None:
    """Whatever was run before a crash, and whatever windows were first: at the end the same episodes have a ticket, one each."""
    chance = np.random.default_rng(seed)
    found, final = world(seed, *np.repeat([0.0, 2.0, 0.0, 2.0, 0.0], [3, 4, 6, 4, 5]).tolist())
    for _ in range(3):
        existing: dict[str, Ticket] = {}
        for _step in range(5):
            kept = sorted(chance.choice(len(final), chance.integers(1, len(final)), replace=False).tolist())
            part = [final[at]._replace(counts=chance.binomial(final[at].counts, chance.uniform(0.3, 1))) for at in kept]
            written = reconcile(existing, due(found, part))
            chosen = written[: chance.integers(0, len(written) + 1)]  # a crash in the middle
            existing = applied(existing, chosen)
        existing = applied(existing, reconcile(existing, due(found, final)))
        assert [] == reconcile(existing, due(found, final))
        episodes = [
            (each.first_seen * WEEK_MS, (each.closed or 0) * WEEK_MS)
            for each in chains([found], final, 1_000)[0].episodes
        ]
        alive = [ticket for ticket in existing.values() if (ticket.first_seen, ticket.closed) in episodes]
        assert sorted(episodes) == sorted((ticket.first_seen, ticket.closed or 0) for ticket in alive)
        assert all(ticket.state is State.CLOSED for ticket in existing.values())
    in_order: dict[str, Ticket] = {}
    for end in range(len(final)):
        in_order = applied(in_order, reconcile(in_order, due(found, final[: end + 1])))
    assert {ticket.id for ticket in reconcile({}, due(found, final))} == in_order.keys()


def test_a_ticket_that_moved_on_is_again_of_the_episode_that_opened_it(seed: int) -> None:
    """One episode, whose begin turns out calm, and then not, but to be another episode: two tickets, and no id is given twice."""
    found, final = world(seed, *np.repeat([0.0, 2.0, 0.0, 2.0, 0.0], [3, 4, 6, 4, 5]).tolist())
    gap = [*final[:7], *final[13:]]
    moved = [*final[:3], *(window._replace(counts=final[0].counts) for window in final[3:7]), *final[13:]]
    existing = applied({}, reconcile({}, due(found, gap)))
    (one,) = existing
    existing = applied(existing, reconcile(existing, due(found, moved)))
    assert [(one, FIRST + 3, FIRST + 13)] == [
        (ticket.id, ticket.opened // WEEK_MS, ticket.first_seen // WEEK_MS) for ticket in existing.values()
    ]
    written = reconcile(existing, due(found, final))
    assert {one: FIRST + 3, id_of(written[1]): FIRST + 13} == {t.id: t.first_seen // WEEK_MS for t in written}
    assert [] == reconcile(applied(existing, written), due(found, final))


def test_a_revision_takes_drift_back_and_brings_it_again(seed: int) -> None:
    """Closed with a note, not erased; opened again with another, under its id; and closed tickets stay."""
    found, of = world(seed, 0.0, 0.0, 2.0)
    calm = [*of[:2], of[2]._replace(counts=of[1].counts)]
    existing = applied({}, reconcile({}, due(found, of)))
    (back,) = reconcile(existing, due(found, calm))
    assert (State.CLOSED, 2, "closed: windows were revised, and with them there was no reason to open it") == (
        back.state, back.revision, back.notes[-1],
    )  # fmt: skip
    existing = applied(existing, [back])
    assert [] == reconcile(existing, due(found, calm))
    (again,) = reconcile(existing, due(found, of))
    assert (back.id, State.OPEN, 3, None) == (again.id, again.state, again.revision, again.closed)
    assert again.notes[-1].startswith("open again: windows were revised, or it has come back, PSI ")
    assert [] == reconcile({again.id: again}, [], unheard={FLIGHTS})


def test_a_revision_that_moves_the_opening_opens_no_second_ticket(seed: int) -> None:
    """A window before the opening one turns out to have moved, too: the ticket keeps its id, and what it was opened with."""
    found, of = world(seed, 0.0, 2.0, 2.0)
    calm_first = [of[0], of[1]._replace(counts=of[0].counts), of[2]]
    existing = applied({}, reconcile({}, due(found, calm_first)))
    (ticket,) = reconcile(existing, due(found, of))
    assert [ticket.id] == [*existing]
    assert ((FIRST + 1) * WEEK_MS, (FIRST + 2) * WEEK_MS, 3) == (
        ticket.first_seen,
        ticket.opened,
        ticket.opened_revision,
    )
    assert "seen since another window, because windows were revised" == ticket.notes[-1]
    assert [] == reconcile({ticket.id: ticket}, due(found, of))


def test_a_revised_number_is_written_and_noise_is_not(seed: int) -> None:
    """Of the newest window: one record more changes nothing that people see; half as many from elsewhere do."""
    found, of = world(seed, 0.0, 2.0)
    existing = applied({}, reconcile({}, due(found, of)))
    one, many = np.zeros_like(of[1].counts), np.zeros_like(of[1].counts)
    one[8], many[1:] = 1, 50
    assert [] == reconcile(existing, due(found, [of[0], of[1]._replace(counts=of[1].counts + one)]))
    (written,) = reconcile(existing, due(found, [of[0], of[1]._replace(counts=of[1].counts + many)]))
    assert written.notes[-1].startswith("the newest window was revised, PSI ")
    assert (3_000, 3_000 + 50 * (len(many) - 1)) == (written.opened_n, written.n)


def test_what_a_ticket_holds_is_bounded(seed: int) -> None:
    """Notes, of which the first stays; the path; the bins."""
    found, of = world(seed, 0.0, *[2.0] * 14)
    calm = [of[0]._replace(number=window.number) for window in of]
    existing: dict[str, Ticket] = {}
    opened, back = due(found, of), due(found, calm)
    for _ in range(15):
        existing = applied(existing, reconcile(existing, opened))
        existing = applied(existing, reconcile(existing, back))
    (ticket,) = existing.values()
    assert NOTES_MAX == len(ticket.notes)
    assert ticket.notes[0].startswith("opened, ")
    assert (PATH_MAX, 3) == (len(ticket.path), len(ticket.bins))


def test_ids_are_of_the_episode() -> None:
    """The first is a constant: a change of how ids are made opens a second ticket for every episode there is."""
    base = Ticket(Kind.DRIFT, Severity.TICKET, FLIGHTS, "temp", "", WEEK_MS, 0, FIRST * WEEK_MS, 0)
    assert "efd26a3e5172998c" == id_of(base)
    others = [
        base._replace(metric="visib"), base._replace(opened=0), base._replace(kind=Kind.RISK),
        base._replace(subject=Subject("flights-late", "1", "b")), base._replace(subject=Subject("flights-late1", "", None)),
    ]  # fmt: skip
    assert 6 == len({id_of(each) for each in (base, *others)})
    assert id_of(base) == id_of(base._replace(first_seen=9, newest=9, sentence="else"))


def test_trouble_of_the_pipeline_is_a_page_while_it_lasts() -> None:
    """Open while it is given, closed when not, and a new one when it comes back."""
    trouble = Trouble("labels_stopped", 5 * WEEK_MS, 5 * WEEK_MS, WEEK_MS, "No labels since", FLIGHTS)
    first = applied({}, reconcile({}, pipeline_tickets([trouble])))
    assert [Severity.PAGE] == [ticket.severity for ticket in first.values()]
    later = pipeline_tickets([trouble._replace(since=6 * WEEK_MS, newest=7 * WEEK_MS)])
    assert [*first] == [ticket.id for ticket in reconcile(first, later)], "it is one trouble while it is open"
    (over,) = reconcile(first, [])
    assert (State.CLOSED, "closed: it is over") == (over.state, over.notes[-1])
    again = reconcile({over.id: over}, later)
    assert 1 == len(again)
    assert over.id != again[0].id
    with pytest.raises(ValueError, match="is no trouble"):
        pipeline_tickets([trouble._replace(metric="weather")])


def test_whether_labelled_risk_has_moved(seed: int) -> None:
    """None without a risk or a mature window; else as the newest mature window says, and a change is written."""
    found, of = world(seed, *[0.0] * 3, *[2.0] * 3)
    calm, bad = (losses("error_rate", [Loss(FIRST + at, 100, loss) for at in range(6)], 0.2, 10) for loss in (0.1, 0.9))
    late = losses("error_rate", [Loss(FIRST + 50, 100, 0.9)], 0.2, 10)
    assert [None, None, False, True] == [due(found, of, risks)[0].risk_moved for risks in (None, late, calm, bad)]
    existing = applied({}, reconcile({}, due(found, of, calm)))
    assert [True] == [ticket.risk_moved for ticket in reconcile(existing, due(found, of, bad))]


def test_sentences(seed: int) -> None:
    """Plain English for each kind, with the bins that moved."""
    blocks = np.array([[0, 900, 90, 10, 0]] * 8)
    known = watch(blocks, None, category(3))

    def told(*counts: int) -> str:
        (ticket,) = due(known, [Window(FIRST, np.array(counts), np.zeros(5, np.int64))])
        return ticket.sentence

    assert told(0, 100, 200, 700, 0) == (
        "x is not as it was in training: PSI 4.77 in the week from 2013-04-04, and up to 0.0123 is usual there. "
        "c2: 1.0 % in training, 70 % now; c0: 90 % in training, 10 % now; c1: 9.0 % in training, 20 % now"
    )
    assert (
        told(280, 9_000, 900, 100, 0)
        == "x is missing in 2.7 % of requests in the week from 2013-04-04, and in 0.0 % in training"
    )
    assert told(0, 900, 90, 10, 200) == (
        "x has a category that the model does not know in 17 % of requests in the week from 2013-04-04, and in 0.0 % in training"
    )
    risks = [Loss(FIRST - 19 + at, 500, 0.21) for at in range(20)]
    (risk,) = risk_tickets(CONTEXT, losses("error_rate", risks, 0.16, 10))
    assert risk.sentence == (
        "the model flights-late 1 is wrong in 21 % of its predictions in the week from 2013-04-04, and up to 16 % is allowed"
    )
    found, of = world(seed, 0.0, 2.0, 0.0)
    assert "since the week from 2013-04-11, but it is in the week from 2013-04-18: PSI " in due(found, of)[0].sentence


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (span(FIRST * WEEK_MS, WEEK_MS), "in the week from 2013-04-04"),
        (span(0, 6 * 3_600_000), "in the 6 hours from 1970-01-01"),
        (span(3_600_000, 3_600_000, "since"), "since the hour from 1970-01-01 01:00"),
        (percent(0.0001), "< 0.1 %"),
        (percent(0.0), "0.0 %"),
        (percent(0.0996), "10 %"),
        (brief(10_000.0), "10000"),
        (brief(8.414), "8.41"),
        (brief(0.00123456), "0.00123"),
        (brief(3.2e11), "3.2e+11"),
    ],
)
def test_numbers_and_windows_in_words(told: str, expected: str) -> None:
    """Short, and never a long tail of digits."""
    assert expected == told


def test_lines_for_people_and_programs(seed: int) -> None:
    """A feature that moved, one that cannot be tested, and a risk; JSON holds everything that is shown."""
    found, of = world(seed, 0.0, 2.0)
    untested = watch(found.counts[:1])
    told = chains([found, untested], of, 1_000)
    risk = losses("error_rate", [Loss(FIRST, 100, 0.1)], 0.2, 10)
    lines = [
        *(Line(FLIGHTS, WEEK_MS, chain, each) for chain, each in zip(told, (found, untested), strict=True)),
        Line(FLIGHTS, WEEK_MS, risk, None),
        Line(FLIGHTS, WEEK_MS, chains([found], of[:0], 1_000)[0], found),
    ]
    head, moved, not_tested, wrong, empty = table(lines)
    assert head.split()[:5] == ["model", "metric", "window", "statistic", "value"]
    assert "flights-late 1" in moved
    assert moved.endswith("2013-04-11 00:00")
    assert "not tested: the reference has 1 block of time, and 4 are needed" in not_tested
    assert "mean loss" in wrong
    assert empty.endswith("no window has 100 records")
    parsed = json.loads(json.dumps([as_json(line) for line in lines]))
    assert [None, "2013-04-11T00:00:00+00:00"] == [parsed[0]["why"], parsed[0]["episodes"][0]["opened"]]
    assert {"values", "missing"} == {part["name"] for part in parsed[0]["shown"]["parts"]}
    tickets = reconcile({}, drift_tickets(CONTEXT, told))
    assert 2 == len(tickets_table(tickets))
    text = "\n".join(ticket_text(tickets[0]))
    assert all(
        each in text for each in (tickets[0].id, tickets[0].sentence, "07" * 32, "opened, PSI", "with 3000 records")
    )
    assert "2013-04-11T00:00:00+00:00" == json.loads(json.dumps(ticket_json(tickets[0])))["opened"]


def test_the_first_note_is_of_the_opening_window(seed: int) -> None:
    """Of a ticket that is written late, when all is over, too."""
    found, of = world(seed, 0.0, 2.0, 1.9, 0.0, 0.0, 0.0, 0.0)
    (ticket,) = reconcile({}, due(found, of))
    assert ticket.notes[0].startswith("opened, PSI ")
    assert ticket.notes[0].endswith(" in the week from 2013-04-11, 3000 records")
    assert ["closed"] == [*ticket.notes[1:]]


def test_a_ticket_says_what_its_newest_window_says(seed: int) -> None:
    """Statistic, what is usual, evidence and from where on, what is missing, what trained it; and how the evidence has come about."""
    found, of = world(seed, 0.0, 2.0, 1.9)
    of = [window._replace(counts=np.concatenate([[300], window.counts[1:]])) for window in of]
    (chain,) = chains([found], of, 1_000)
    (ticket,) = drift_tickets(CONTEXT, [chain])
    step = chain.steps[-1]
    assert step.judged is not None
    assert None not in (step.statistic, step.tolerance)
    assert (step.statistic, step.tolerance, step.evidence, 1_000.0) == (
        ticket.statistic, ticket.tolerance, ticket.evidence, ticket.threshold,
    )  # fmt: skip
    assert 300 / of[-1].counts.sum() == ticket.missing
    assert ticket.missing_reference == pytest.approx(0.0, abs=0.01)
    assert b"\x07" * 32 == ticket.reference
    assert [(each.window * WEEK_MS, each.statistic, each.evidence) for each in chain.steps[-len(ticket.path) :]] == [
        *ticket.path
    ]
    assert min(moment.evidence for moment in ticket.path) > 0
    known = watch(np.array([[0, 900, 90, 10, 0]] * 8), None, category(3))
    (strange,) = due(known, [Window(FIRST, np.array([0, 900, 90, 10, 250]), np.zeros(5, np.int64))])
    assert strange.unseen == 0.2


def test_what_is_open_is_listed_first() -> None:
    """Whatever it is of; then pages, then the risk, then drift."""
    base = Ticket(Kind.DRIFT, Severity.TICKET, FLIGHTS, "temp", "", WEEK_MS, 0, FIRST * WEEK_MS, 0)
    shut = base._replace(state=State.CLOSED, closed=0)
    every = [
        one._replace(kind=kind, id=f"{kind.value} {at}")
        for kind in (Kind.DRIFT, Kind.RISK, Kind.PIPELINE)
        for at, one in enumerate((base, shut))
    ]
    expected = ["PIPELINE 0", "RISK 0", "DRIFT 0", "PIPELINE 1", "RISK 1", "DRIFT 1"]
    assert expected == [ticket.id for ticket in listed(every)]


def test_people_see_all_that_a_ticket_says(seed: int) -> None:
    """Whether it is a page; which values have moved; how the evidence has come about, window by window."""
    found, of = world(seed, 0.0, 2.0, 1.9)
    (ticket,) = reconcile({}, due(found, of))
    (page,) = pipeline_tickets([Trouble("join_stalled", 0, 0, WEEK_MS, "Nothing is joined")])
    head, one, other = tickets_table([page, ticket])
    assert ["pipeline (page)" in row for row in (head, one, other)] == [False, True, False]
    lines = ticket_text(ticket)
    moved = next(line for line in lines if line.startswith("bins "))
    assert all(f"{name}: " in moved for name in (each.label for each in ticket.bins))
    table_of_path = lines[lines.index(next(line for line in lines if line.startswith("window "))) :]
    assert ["window", "statistic", "evidence"] == table_of_path[0].split()
    assert [brief(one.evidence) for one in ticket.path] == [
        row.split()[-1] for row in table_of_path[1 : 1 + len(ticket.path)]
    ]
    assert [f"2013-04-{11 + 7 * at}" for at in range(len(ticket.path))] == [
        row.split()[0] for row in table_of_path[1 : 1 + len(ticket.path)]
    ]


def test_a_line_says_how_much_evidence_there_is_and_programs_see_every_distance(seed: int) -> None:
    """With what a ticket is opened at; a risk has a line of its own, before the features."""
    found, of = world(seed, 0.0, 2.0)
    (chain,) = chains([found], of, 1_000)
    risk = losses("error_rate", [Loss(FIRST, 100, 0.1)], 0.2, 10)
    verdict = Verdict(FLIGHTS, WEEK_MS, None, watches=(found,), chains=(chain,), risk=risk)
    told = lines([verdict, verdict._replace(risk=None)])
    assert ["error_rate", "x", "x"] == [line.chain.metric for line in told]
    _, _, moved, _ = table(told)
    assert [brief(chain.steps[-1].evidence), "1000"] == moved.split()[-4:-2], moved
    shown = as_json(told[1])["shown"]
    judged = chain.steps[-1].judged
    assert judged is not None
    assert all(shown[name] == getattr(judged, name) for name in ("psi", "kl", "js_bits", "w1", "missing", "unseen"))
    assert shown["psi"] > 0.1
    assert 0.1 < shown["kl"] < shown["psi"]
    assert 0.1 < shown["js_bits"] < 1
    assert shown["ks"] == list(judged.ks or ())
    assert shown["chi_square"]["p"] < 1e-6
