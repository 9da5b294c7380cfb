"""What is known of each feature, and what tickets there are: for people and for programs. Room: pure."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from streams.monitor.drift.episodes import Chain, Step
from streams.monitor.drift.judging import Judged
from streams.monitor.drift.watch import Watch
from streams.monitor.sentences import bins, brief, iso, moment, percent
from streams.monitor.state import Subject
from streams.monitor.ticket import Severity, Ticket

NONE = "-"


class Line(NamedTuple):
    """What is told of one metric of one model: a feature, or a risk."""

    subject: Subject
    window_ms: int
    chain: Chain
    watch: Watch | None
    """None: it is a risk."""

    @property
    def newest(self) -> Step | None:
        """The newest window that was judged."""
        return next((step for step in reversed(self.chain.steps) if step.statistic is not None), None)

    @property
    def why(self) -> str | None:
        """Why nothing can be said; None if something can."""
        if self.watch is not None and self.watch.why is not None:
            return f"not tested: {self.watch.why}"
        if self.newest is None:
            least = "a label that is mature" if self.watch is None else f"{self.watch.rows_min} records"
            return f"no window has {least}"
        return None


def table(lines: Sequence[Line]) -> list[str]:
    """Return the lines for people, with a head."""
    head = ["model", "metric", "window", "statistic", "value", "usual", "n", "evidence", "ticket at", "open since"]
    return aligned([head, *map(_row, lines)])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of one length with columns under each other."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(line: Line) -> list[str]:
    chain, newest, why = line.chain, line.newest, line.why
    open_since = chain.open and moment(chain.open.opened * line.window_ms)
    told = [_model(line.subject), chain.metric, NONE, NONE, NONE, NONE, NONE, NONE, NONE]
    if newest is not None:
        told[2:7] = [
            moment(newest.window * line.window_ms),
            _statistic(newest),
            _number(newest.statistic),
            _number(newest.tolerance),
            str(newest.n),
        ]
    if why is None and newest is not None:
        told[7:9] = [_number(newest.evidence), _number(chain.threshold)]
    return [*told, why or open_since or NONE]


def _statistic(step: Step) -> str:
    if step.judged is None:
        return "mean loss"
    return f"PSI of {step.judged.leading.name}" if step.judged.leading else "PSI of values"


def as_json(line: Line) -> dict[str, Any]:
    """Return a line for programs: everything that is known of the newest judged window."""
    chain, newest, ms = line.chain, line.newest, line.window_ms
    return {
        **_subject(line.subject),
        "metric": chain.metric,
        "why": line.why,
        "window": newest and iso(newest.window * ms),
        "window_ms": ms,
        "n": newest and newest.n,
        "statistic": newest and newest.statistic,
        "usual": newest and newest.tolerance,
        "evidence": newest and newest.evidence,
        "threshold": chain.threshold,
        "within": newest and newest.calm,
        "shown": _judged(newest.judged) if newest and newest.judged else None,
        "episodes": [
            {
                "first_seen": iso(each.first_seen * ms),
                "opened": iso(each.opened * ms),
                "closed": None if each.closed is None else iso(each.closed * ms),
            }
            for each in chain.episodes
        ],
    }


def _judged(judged: Judged) -> dict[str, Any]:
    parts = [
        {**{key: getattr(part, key) for key in ("name", "n", "psi", "tolerance", "usual", "p")}, "e": part.e_value}
        for part in judged.parts
    ]
    told = {**judged._asdict(), "parts": parts, "e": judged.e, "bins": [one._asdict() for one in judged.bins]}
    told["ks"] = judged.ks and list(judged.ks)
    told["chi_square"] = judged.chi_square and judged.chi_square._asdict()
    return told


def tickets_table(tickets: Iterable[Ticket]) -> list[str]:
    """Return one line a ticket for people, with a head, in the order that they are given (see `tickets.listed`)."""
    head = ["id", "state", "kind", "model", "metric", "opened", "newest", "what"]
    rows = [
        [
            each.id,
            each.state.value.lower(),
            f"{each.kind.value.lower()}{' (page)' if each.severity is Severity.PAGE else ''}",
            _model(each.subject),
            each.metric,
            moment(each.opened),
            moment(each.newest),
            each.sentence,
        ]
        for each in tickets
    ]
    return aligned([head, *rows])


def ticket_text(ticket: Ticket) -> list[str]:
    """Return everything that is known of a ticket, for people: one line a fact."""
    told = [ticket.sentence, ""]
    facts = {
        "ticket": f"{ticket.id}, revision {ticket.revision}, {ticket.state.value.lower()}",
        "kind": f"{ticket.kind.value.lower()}, {ticket.severity.value.lower()}",
        "model": _model(ticket.subject),
        "metric": ticket.metric,
        "first seen": moment(ticket.first_seen),
        "opened": _opened(ticket),
        "newest": moment(ticket.newest),
        "closed": None if ticket.closed is None else moment(ticket.closed),
        "records": ticket.n,
        "statistic": ticket.statistic and f"{_number(ticket.statistic)}, usual is up to {_number(ticket.tolerance)}",
        "evidence": ticket.evidence
        and f"{_number(ticket.evidence)}, a ticket is opened at {_number(ticket.threshold)}",
        "missing": _rates(ticket.missing, ticket.missing_reference),
        "unseen": _rates(ticket.unseen, None),
        "bins": bins(ticket.bins) or None,
        "reference": ticket.reference and ticket.reference.hex(),
        "risk": _risk(ticket),
    }
    width = max(map(len, facts))
    told += [f"{name.ljust(width)}  {value}" for name, value in facts.items() if value is not None]
    if ticket.path:
        rows = [[moment(one.window), _number(one.statistic), _number(one.evidence)] for one in ticket.path]
        told += ["", *aligned([["window", "statistic", "evidence"], *rows])]
    return [*told, "", *ticket.notes] if ticket.notes else told


def ticket_json(ticket: Ticket) -> dict[str, Any]:
    """Return a ticket for programs: the schema's fields, times as ISO 8601, bytes as hexadecimal digits."""
    record = ticket.as_record()
    for name in ("first_seen", "opened", "newest", "closed"):
        record[name] = None if record[name] is None else iso(record[name])
    record["path"] = [{**one, "window": iso(one["window"])} for one in record["path"]]
    return record | {"reference": ticket.reference and ticket.reference.hex()}


def _opened(ticket: Ticket) -> str:
    records = "" if ticket.opened_n is None else f", with {ticket.opened_n} records then"
    revision = "" if ticket.opened_revision is None else f", revision {ticket.opened_revision} of the window"
    return f"{moment(ticket.opened)}{records}{revision}"


def _rates(now: float | None, before: float | None) -> str | None:
    if now is None:
        return None
    return percent(now) if before is None else f"{percent(now)}, {percent(before)} in training"


def _risk(ticket: Ticket) -> str | None:
    if ticket.risk_moved is None:
        return None
    return (
        "the model is also wrong more often than it may be" if ticket.risk_moved else "the model is not wrong too often"
    )


def _model(subject: Subject | None) -> str:
    if subject is None:
        return NONE
    return f"{subject.model} {subject.version}{f' {subject.arm}' if subject.arm else ''}"


def _subject(subject: Subject) -> dict[str, str | None]:
    return {"model": subject.model, "version": subject.version, "arm": subject.arm}


def _number(value: float | None) -> str:
    return NONE if value is None else brief(value)
