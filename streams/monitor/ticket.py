"""A ticket: what is known of one episode, as it is published (`schemas/ticket.avsc`). Room: pure."""

from collections.abc import Mapping
from enum import Enum
from hashlib import blake2b
from typing import Any, NamedTuple

from streams.monitor.drift.judging import Bin
from streams.monitor.state import Subject


class State(Enum):
    """Whether it still is so."""

    UNKNOWN = "UNKNOWN"
    OPEN = "OPEN"
    CLOSED = "CLOSED"


class Kind(Enum):
    """What has happened; in the order in which people should look at them."""

    PIPELINE = "PIPELINE"
    RISK = "RISK"
    DRIFT = "DRIFT"
    UNKNOWN = "UNKNOWN"


class Severity(Enum):
    """Who should look, and when."""

    UNKNOWN = "UNKNOWN"
    TICKET = "TICKET"
    PAGE = "PAGE"


class Moment(NamedTuple):
    """One window of the path."""

    window: int
    """Its begin, in milliseconds since 1970, as all times here."""
    statistic: float | None
    evidence: float


class Ticket(NamedTuple):
    """See the schema for each field. A ticket without an id is one that is due, and not yet known to be new or old."""

    kind: Kind
    severity: Severity
    subject: Subject | None
    """Which model; None: the ticket is of the whole application."""
    metric: str
    sentence: str
    window_ms: int
    first_seen: int
    opened: int
    newest: int
    state: State = State.OPEN
    closed: int | None = None
    n: int | None = None
    statistic: float | None = None
    tolerance: float | None = None
    evidence: float | None = None
    threshold: float | None = None
    opened_n: int | None = None
    opened_revision: int | None = None
    path: tuple[Moment, ...] = ()
    bins: tuple[Bin, ...] = ()
    missing: float | None = None
    missing_reference: float | None = None
    unseen: float | None = None
    reference: bytes | None = None
    risk_moved: bool | None = None
    notes: tuple[str, ...] = ()
    id: str = ""
    revision: int = 0

    @property
    def about(self) -> tuple[Subject | None, Kind, str]:
        """What it is of. Two tickets of the same are two episodes of it."""
        return self.subject, self.kind, self.metric

    def as_record(self) -> dict[str, Any]:
        """Return it as the schema's writer takes it: times in milliseconds, an enum's symbol."""
        record = self._asdict()
        subject = record.pop("subject") or (None, None, None)
        record |= dict(zip(_SUBJECT, subject, strict=True))
        record |= {name: record[name].value for name in ("state", "kind", "severity")}
        record |= {name: list(record[name]) for name in ("notes",)}
        record["path"] = [moment._asdict() for moment in self.path]
        record["bins"] = [{"bin": one.label, "reference": one.reference, "share": one.share} for one in self.bins]
        return record


_SUBJECT = ("model_name", "model_version", "arm")


def of_record(record: Mapping[str, Any]) -> Ticket:
    """Return the ticket of what the schema's reader gave. Symbols that a newer writer knows are UNKNOWN."""
    fields = {name: record[name] for name in Ticket._fields if name in record}
    name, version, arm = (record[each] for each in _SUBJECT)
    kinds = (("state", State), ("kind", Kind), ("severity", Severity))
    fields |= {key: _symbol(of, record[key]) for key, of in kinds}
    return Ticket(
        **fields
        | {
            "subject": None if name is None or version is None else Subject(name, version, arm),
            "path": tuple(Moment(each["window"], each["statistic"], each["evidence"]) for each in record["path"]),
            "bins": tuple(Bin(each["bin"], each["reference"], each["share"]) for each in record["bins"]),
            "notes": tuple(record["notes"]),
        }
    )


def _symbol(of: type[Enum], symbol: str) -> Enum:
    return of(symbol) if symbol in of.__members__ else of("UNKNOWN")


def id_of(ticket: Ticket) -> str:
    """Return the id of a new ticket: 16 hexadecimal digits of what it is of and the window with which it was opened."""
    subject = ticket.subject or ("", "", "")
    told = (*(each or "" for each in subject), ticket.kind.value, ticket.metric, str(ticket.opened))
    packed = b"".join(len(raw).to_bytes(4, "big") + raw for raw in (each.encode() for each in told))
    return blake2b(packed, digest_size=8).hexdigest()
