"""`streams drift`: how far what models see is from what they were trained on, computed anew from what is published."""

from collections.abc import Iterable
from typing import NamedTuple

from streams.config import Settings
from streams.kafka.admin import Admin
from streams.monitor.drift.telling import Line
from streams.monitor.summary import Published, Summaries
from streams.monitor.verdicts import Asked, Verdict, due, verdicts
from streams.monitored import Subject
from streams.parts import read_parts, read_tickets
from streams.ticketing import Packages, asked


class Looked(NamedTuple):
    """What is to be said, and what it was made of."""

    verdicts: list[Verdict]
    published: Published
    asked: Asked


def look(settings: Settings) -> Looked:
    """Return what is to be said of each model version. Raises: ConfigError, SetupError, Unreachable."""
    subject = Subject(settings)
    how = asked(subject)
    summaries = Summaries(subject.rules, subject.absence)
    for key, part in read_parts(settings, Admin(settings.kafka)).items():
        summaries.take(key, part)
    while summaries.refresh():
        pass
    published = summaries.published()
    found = verdicts(published, Packages(settings).every(published.subjects), how)
    return Looked(found, published, how)


def lines(found: Iterable[Verdict]) -> list[Line]:
    """Return what is to be said of each feature and each risk."""
    told = []
    for one in found:
        told += [] if one.risk is None else [Line(one.subject, one.window_ms, one.risk, None)]
        told += [
            Line(one.subject, one.window_ms, chain, watch) for chain, watch in zip(one.chains, one.watches, strict=True)
        ]
    return told


def is_told(settings: Settings) -> bool:
    """Return whether the tickets are what they must be, of everything that is published now: nothing is to be written."""
    found = look(settings)
    existing = read_tickets(settings, Admin(settings.kafka))
    return not due(found.verdicts, found.published, existing, found.asked, quiet=None)
