"""What came true: when the flights arrived, as labels, and what `streams monitor` makes of them.

The labels come the way labels do: most once, some twice, some wrong at first and corrected, some withdrawn and said again, some of
flights that nobody asked about; cancelled and diverted flights have none.
"""

import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import polars as pl

from streams.avro.encode import encode_one
from streams.demo.stage import LABELS, Stage
from streams.demo.workers import INSTANCE, Service
from streams.drift import is_told
from streams.durations import HOUR_MS
from streams.errors import Unreachable
from streams.kafka.admin import Admin
from streams.kafka.produce import RequestProducer
from streams.monitor.drift.telling import ticket_json
from streams.monitor.telling import Told, table
from streams.monitor.telling import as_json as week_as_json
from streams.monitor.ticket import Ticket
from streams.monitor.tickets import listed
from streams.monitored import Subject
from streams.parts import read_tickets
from streams.performance import performance
from streams.records import TP
from streams.verify.labels import LabelReport
from streams.verify.monitoring import verify_labels

NAME = "monitor"
"""Its name among the children of the demo's folder."""
WEEK_HOURS = 168.0
DOUBLED, CORRECTED, WITHDRAWN, UNKNOWN = 500, 300, 50, 100
"""How many labels come twice, are wrong at first, are withdrawn and said again; and how many are of nobody's flights."""
WAIT_S, TURN_S = 60.0, 0.1


class Truth(NamedTuple):
    """What came of the labels."""

    sent: int
    weeks: Sequence[Told]
    verified: LabelReport
    tickets: Sequence[Ticket]
    told: bool
    """Whether the tickets are what follows from the counts."""

    def failures(self) -> Iterator[str]:
        """Yield what does not hold, in sentences."""
        if self.verified.exit_code:
            yield f"Labels: {'; '.join((*self.verified.violations, *self.verified.unchecked))}."
        counted = sum(count for name, count in self.verified.tally.items() if name.startswith("labels."))
        if counted != self.sent:
            yield f"{self.sent:,} labels were sent, and {counted:,} are counted."
        if not self.told:
            yield "The tickets are not what follows from what is counted."

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "labels": self.sent,
            "weeks": [week_as_json(week) for week in self.weeks],
            "verify": self.verified.as_json(),
            "tickets": [ticket_json(ticket) for ticket in self.tickets],
        }

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        yield from table(self.weeks)
        yield ""
        fates = {
            name.removeprefix("labels."): count
            for name, count in self.verified.tally.items()
            if name.startswith("labels.") and count
        }
        yield f"{self.sent:,} labels: " + ", ".join(
            f"{count:,} {name}" for name, count in sorted(fates.items(), key=lambda one: -one[1])
        )
        yield self.verified.lines()[-1]
        yield ""
        yield f"{len(self.tickets)} {'ticket' if len(self.tickets) == 1 else 'tickets'}, as `streams tickets list` tells them"
        for ticket in listed(self.tickets):
            until = "" if ticket.closed is None else f", closed {_day(ticket.closed)}"
            yield f"  {ticket.id}  opened {_day(ticket.opened)}{until}: {ticket.sentence}"


def labels(flights: pl.DataFrame, seed: int) -> list[dict[str, Any]]:
    """Return the labels of some flights, in the order in which they are known, as the contract's field values."""
    chance = random.Random(seed)
    arrived = flights.filter(pl.col("late").is_not_null(), pl.col("known_at").is_not_null())
    fields = ("request_id", "tenant", "known_at", "late")
    said = [{**one, "version": 1, "withdrawn": False} for one in arrived.select(fields).to_dicts()]
    truth, more = {one["request_id"]: one["late"] for one in said}, []
    for one in _some(chance, said, CORRECTED):
        more.append({**one, "known_at": one["known_at"] + HOUR_MS, "version": 2})
        one["late"] = not one["late"]
    for one in _some(chance, said, WITHDRAWN):
        later = {"known_at": one["known_at"] + 2 * HOUR_MS, "version": 3, "withdrawn": True, "late": None}
        more.append({**one, **later})
        again = {"known_at": one["known_at"] + 3 * HOUR_MS, "version": 4, "late": truth[one["request_id"]]}
        more.append({**one, **again})
    more += [dict(one) for one in _some(chance, said, DOUBLED)]
    more += [{**one, "request_id": f"nobody-{at}"} for at, one in enumerate(_some(chance, said, UNKNOWN))]
    return sorted([*said, *more], key=lambda one: (one["known_at"], one["request_id"], one["version"]))


def _some(chance: random.Random, said: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return chance.sample(said, min(count, len(said)))


def _day(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1_000, UTC):%Y-%m-%d}"


class Monitor(Service):
    """The monitor's worker."""

    def __init__(self, stage: Stage) -> None:
        arguments = ["monitor", "run", "--config", str(stage.config), "--instance", INSTANCE]
        super().__init__(NAME, "monitor", stage.config, [sys.executable, "-m", "streams.cli", *arguments])
        self._settings = stage.settings

    def wait(self, tps: Sequence[TP], *, marked: bool) -> None:
        """Wait until everything is counted. Raises: SetupError, Unreachable.

        `marked`: it was written in transactions, so the last offset is a marker's, and no offset is committed behind that.
        """
        admin = Admin(self._settings.kafka)
        stable, counted, moved = admin.offsets(tps, "stable"), 0, time.monotonic()
        while True:
            self.check()
            committed = admin.committed(self._settings.monitor_group, tps)
            if all((committed[tp] or 0) >= end - marked for tp, end in stable.items()):
                return
            was, counted = counted, sum(offset or 0 for offset in committed.values())
            moved = time.monotonic() if counted > was else moved
            if time.monotonic() > moved + WAIT_S:
                raise Unreachable(f"Nothing was counted for {WAIT_S:.0f} s, and not all is. {self.last_words()}")
            time.sleep(TURN_S)


def come_true(stage: Stage, said: Sequence[Mapping[str, Any]], monitor: Monitor, tell: Callable[[str], None]) -> Truth:
    """Send the labels, wait until the monitor has counted them, and look at what it says. Raises: Stop."""
    settings = stage.settings
    client = RequestProducer(settings.kafka, LABELS)
    try:
        for one in said:
            client.send(one["request_id"].encode(), stage.label_prefix + encode_one(stage.label_schema, one))
        client.finish()
    finally:
        client.close()
    later = sum(one["version"] > 1 for one in said)
    tell(f"{len(said):,} labels are sent, {later:,} corrections and withdrawals among them")
    monitor.wait([TP(LABELS, partition) for partition in range(settings.partitions)], marked=False)
    rules, deadline = Subject(settings).rules, time.monotonic() + WAIT_S
    while (verified := verify_labels(settings, rules)).waiting and time.monotonic() < deadline:
        time.sleep(TURN_S)
    deadline = time.monotonic() + WAIT_S
    while not (told := is_told(settings)) and time.monotonic() < deadline:
        time.sleep(TURN_S)
    tickets = [*read_tickets(settings, Admin(settings.kafka)).values()]
    return Truth(len(said), performance(settings, WEEK_HOURS), verified, tickets, told)
