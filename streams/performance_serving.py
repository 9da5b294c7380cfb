"""`streams performance serve`: follow what is published, and tell Prometheus."""

import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

import structlog

from streams.config import Settings
from streams.drift import lines
from streams.kafka.admin import Admin
from streams.kafka.tail import Tail
from streams.metrics.drift import DriftSample
from streams.metrics.pages import PROMETHEUS
from streams.metrics.performance import Sample, Which, text
from streams.metrics.server import Page, serve
from streams.monitor.drift.episodes import Memo
from streams.monitor.drift.telling import Line
from streams.monitor.merging import Following, Merged, Part, block
from streams.monitor.state import Subject, unchunked
from streams.monitor.summary import Summaries
from streams.monitor.telling import Told, told
from streams.monitor.ticket import Ticket, of_record
from streams.monitor.verdicts import verdicts
from streams.monitor.windows import DELAY, Rules, parse_window
from streams.monitored import Subject as Monitored
from streams.parts import readers
from streams.records import TP
from streams.ticketing import Packages, asked

log = structlog.get_logger()

READ_S, REST = 0.5, 10.0
"""How long records are waited for; and how long nothing is worked out after that took a time, as a multiple of it."""


class _Rows(NamedTuple):
    """What is kept of a part."""

    packed: bytes
    """Its rows; empty once they are forgotten."""
    labelled: bool
    """Whether they count a label."""


def _rows(packed: bytes) -> _Rows:
    return _Rows(packed, any(within[:1] == DELAY and row[0] > 0 for within, row in unchunked(packed)))


def _without(rows: _Rows) -> _Rows:
    return rows._replace(packed=b"")


class Published:
    """The newest window of each subject, and the newest that is mature, as far as parts have come."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._following = Following(_rows, rules)

    def take(self, key: bytes, part: Part | None) -> None:
        """Go on with a part; None takes it away."""
        self._following.take(key, part)

    def samples(self, absence: bytes | None) -> list[Sample]:
        """Return what is told of them; the rows of windows before a mature one are forgotten.

        What is mature follows from the end of the newest window of anybody: nobody's clock is asked. What is mature stays so,
        and the newest never becomes an older one.
        """
        rules, windows = self._rules, dict[Subject, dict[int, bytes]]()
        for window, subject in self._following.windows():
            windows.setdefault(subject, {})[parse_window(window)[0].number] = window
        if not windows:
            return []
        as_of_ms = (max(map(max, windows.values())) + 1) * rules.grain_ms
        samples = []
        for subject, mine in windows.items():
            wanted: dict[Which, int] = {"newest": max(mine)}
            mature = [number for number in mine if (number + 1) * rules.grain_ms + rules.horizon_ms <= as_of_ms]
            if mature:
                wanted["mature"] = max(mature)
                for number in mine:
                    if number < max(mature):
                        self._following.keep(mine[number], _without)
            for which, number in wanted.items():
                lag_s = self._label_lag_s(mine, as_of_ms) if which == "newest" else None
                rows = (kept.packed for kept in self._following.kept(mine[number]))
                one = Merged({subject: [block(mine[number], rows)]}, {})
                samples += [_sample(line, which, lag_s) for line in told(one, rules, 1, as_of_ms, absence)]
        return samples

    def _label_lag_s(self, windows: Mapping[int, bytes], newest_ms: int) -> float | None:
        labelled = [number for number, at in windows.items() if any(kept.labelled for kept in self._following.kept(at))]
        return (newest_ms - (max(labelled) + 1) * self._rules.grain_ms) / 1_000 if labelled else None


def _sample(line: Told, which: Which, label_lag_s: float | None) -> Sample:
    found, subject = line.report, line.subject
    figures = {name: figure.value for name, figure in found.figures.items() if figure.value is not None}
    counts = found.predictions, found.labelled, found.mature, line.end_ms
    return Sample(subject.model, subject.version, subject.arm, which, *counts, figures, found.distinct, label_lag_s)


class Drift:
    """What is to be said of drift, and which tickets there are, as far as records have come."""

    def __init__(self, subject: Monitored) -> None:
        self._summaries = Summaries(subject.rules, subject.absence)
        self._asked, self._packages = asked(subject), Packages(subject.settings)
        self._memory: dict[Subject, Memo] = {}
        self._tickets: dict[bytes, Ticket] = {}

    def take(self, key: bytes, part: Part | None) -> None:
        """Go on with a part; None takes it away."""
        self._summaries.take(key, part)
        self._summaries.refresh()

    def ticket(self, key: bytes, record: Part) -> None:
        """Go on with a ticket."""
        self._tickets[key] = of_record(record)

    def samples(self) -> list[DriftSample]:
        """Return the newest judged window of each feature and risk."""
        while self._summaries.refresh():
            pass
        published = self._summaries.published()
        found = verdicts(published, self._packages.every(published.subjects), self._asked, self._memory)
        return [drift_sample(line) for line in lines(found)]

    def tickets(self) -> list[tuple[str, str, str]]:
        """Return of each ticket its kind, severity and state."""
        found = [(one.kind, one.severity, one.state) for one in self._tickets.values()]
        return [(kind.value.lower(), severity.value.lower(), state.value.lower()) for kind, severity, state in found]


def drift_sample(line: Line) -> DriftSample:
    """Return a line for Prometheus."""
    newest, chain = line.newest, line.chain
    judged = None if newest is None else newest.judged
    return DriftSample(
        *line.subject,
        chain.metric,
        newest and newest.statistic,
        newest and newest.tolerance,
        newest and newest.evidence,
        chain.threshold,
        judged and judged.missing,
        judged and judged.unseen,
        chain.open is not None,
    )


def run(settings: Settings, host: str, port: int, stopping: threading.Event) -> None:
    """Follow and serve until told to stop. Raises: ConfigError, SetupError, Unreachable."""
    subject = Monitored(settings)
    published, drift, page = Published(subject.rules), Drift(subject), [text([])]
    tps = [TP(settings.parts, partition) for partition in range(settings.partitions)] + [TP(settings.tickets, 0)]
    by_topic = readers(settings)
    Admin(settings.kafka).offsets(tps, "latest")  # says what is missing, which a reader would wait for
    with Tail(settings.kafka, tps) as tail:
        serve(host, port, {"/metrics": lambda: Page(200, page[0], PROMETHEUS)})
        news, rested = False, 0.0
        while not stopping.is_set():
            records = tail.read(READ_S)
            for record in records:
                if record.key is None:
                    continue
                try:
                    value = None if record.value is None else by_topic[record.tp.topic].read(record.value, skip=5)
                    if record.tp.topic == settings.parts:
                        published.take(record.key, value)
                        drift.take(record.key, value)
                    elif value is not None:
                        drift.ticket(record.key, value)
                except ValueError as error:
                    log.error("a record cannot be read", at=f"{record.tp} {record.offset}", error=str(error))
            news = news or bool(records)
            if news and time.monotonic() >= rested:
                begun = time.monotonic()
                page[0], news = text(published.samples(subject.absence), drift.samples(), drift.tickets()), False
                rested = begun + REST * (time.monotonic() - begun)
