"""The year of flights without a broker: the README's four tickets follow from the data, window by window."""

import re
from datetime import UTC, datetime

import numpy as np
import pytest

from streams.avro import schema
from streams.demo import data
from streams.demo.train import WEEK_MS, Trained, _matrix
from streams.models import manifest, reference
from streams.monitor.drift.episodes import Chain, Window, chains
from streams.monitor.drift.watch import watches
from streams.monitor.state import Subject
from streams.monitor.tickets import Context, drift_tickets, reconcile
from streams.reasons import Reason
from tests.test_readme import README


@pytest.fixture(scope="module")
def year(trained: Trained) -> dict[str, Chain]:
    """Return the chain of each feature, over the weeks from March to December that have passed."""
    about = manifest.parse((trained.folder / manifest.FILE).read_bytes())
    known = reference.parse((trained.folder / "reference.json").read_bytes(), about.columns, "reference.json")
    contract = schema.parse((trained.folder / about.accepts[0].contract).read_text())
    flights = data.flights(*range(3, 13))
    matrix, scorable = _matrix(contract, about.features, flights)
    weeks, week = np.unique(flights["event_time"].to_numpy() // WEEK_MS, return_inverse=True)
    cells = reference.Hashed(known, bytes(32)).cells(about.columns)
    found = cells.count(matrix[scorable], week[scorable], len(weeks))
    columns = np.zeros((2, len(weeks), int(cells.begins[-1])), np.int64)
    columns[0, found.window, found.cell], columns[1, found.window, found.cell] = found.n, found.total
    (unseen,) = cells.refused("dest", Reason.UNSEEN_CATEGORY).tolist()
    np.add.at(columns[0, :, unseen], week[~scorable], 1)
    windows = [Window(number, *columns[:, at]) for at, number in enumerate(weeks.tolist())]
    watched = watches(about.columns, known)
    return {chain.metric: chain for chain in chains(watched, windows[:-1], 1_000)}


def day(ms: int) -> str:
    """Return a day as the README writes it."""
    moment = datetime.fromtimestamp(ms / 1_000, UTC)
    return f"{moment.day} {moment:%B}"


def test_the_tickets_of_the_year_are_those_of_the_readme(year: dict[str, Chain]) -> None:
    """Which there are, when each was opened, since when it was seen, and when it was closed."""
    context = Context(Subject("flights-late", "1", None), WEEK_MS)
    told = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", README.split("give four tickets")[1], re.MULTILINE)[:4])
    expected = {}
    for ticket in reconcile({}, drift_tickets(context, year.values())):
        opened = (
            "with the first week" if ticket.opened == year["dest"].steps[0].window * WEEK_MS else day(ticket.opened)
        )
        seen = f", seen since {day(ticket.first_seen)}" if ticket.first_seen < ticket.opened else ""
        closed = "open" if ticket.closed is None else day(ticket.closed)
        expected[ticket.metric] = f"{opened}{seen}; {closed}"
    assert expected == told
    quiet = re.search(r"^(.*) get none\. ", README, re.MULTILINE)
    assert quiet is not None
    assert year.keys() - expected.keys() == set(re.findall(r"`(\w+)`", quiet[1]))


def test_what_the_readme_says_of_them(year: dict[str, Chain]) -> None:
    """The numbers in its sentences."""
    judged = {metric: [(step, step.judged) for step in chain.steps if step.judged] for metric, chain in year.items()}
    missing = [found.missing for _, found in judged["dep_delay"]]
    assert f"missing in {100 * min(missing):.1f} to {100 * max(missing):.1f} % of a week's requests" in README
    (episode,) = year["dest"].episodes
    unseen = [found.unseen or 0.0 for step, found in judged["dest"] if step.window >= episode.opened]
    assert f"in {100 * min(unseen):.1f} to {100 * max(unseen):.1f} % of requests: they are refused" in README
    psi = {step.window * WEEK_MS: found.psi or 0.0 for step, found in judged["temp"]}
    hottest, usual = max(psi, key=psi.__getitem__), max(step.tolerance or 0.0 for step, _ in judged["temp"])
    month = day(hottest).split()[1]
    assert f"PSI {psi[hottest]:.0f} in {month}, up to {usual:.1f} is usual" in README
    assert min(psi.values()) > 0.1, "a rule of PSI > 0.1 fires in every week of the year"
    bins = {
        one.label: f"({100 * one.reference:.1f} % to {100 * one.share:.1f} %)" for one in judged["distance"][-1][1].bins
    }
    assert f"fewer flights under 213 miles {bins['80 to 213']}, more of 2,422 and more" in README
    assert any(label.startswith("2422 to ") for label in bins)
