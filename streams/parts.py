"""What the monitor has published, read once."""

from collections.abc import Mapping
from typing import Any

from streams import schemas_dir
from streams.avro.read import Reader
from streams.config import Settings
from streams.errors import SetupError
from streams.kafka.admin import Admin
from streams.kafka.scan import scan
from streams.monitor.ticket import Ticket, of_record
from streams.records import TP

Parts = Mapping[bytes, Mapping[str, Any]]
"""Of each key the last record, as its schema has it."""


def read_parts(settings: Settings, admin: Admin) -> Parts:
    """Return every part of windows that is published now. Raises: SetupError, Unreachable."""
    return _last(settings, admin, settings.parts, settings.partitions)


def read_tickets(settings: Settings, admin: Admin) -> dict[str, Ticket]:
    """Return every ticket that there is, by id. Raises: SetupError, Unreachable."""
    found = map(of_record, _last(settings, admin, settings.tickets, 1).values())
    return {ticket.id: ticket for ticket in found}


def readers(settings: Settings) -> dict[str, Reader]:
    """Return, by topic, what reads parts and tickets, those of older versions, too."""
    schemas = {settings.parts: "performance_part", settings.tickets: "ticket"}
    return {
        topic: Reader((schemas_dir() / f"{name}.avsc").read_text("utf-8"), older=True)
        for topic, name in schemas.items()
    }


def _last(settings: Settings, admin: Admin, topic: str, partitions: int) -> Parts:
    if topic not in admin.topics([topic]):
        raise SetupError(f"topic {topic} does not exist. `streams topics apply` creates it, where there are [labels]")
    reader = readers(settings)[topic]
    tps = [TP(topic, partition) for partition in range(partitions)]
    starts, ends = admin.offsets(tps, "earliest"), admin.offsets(tps, "stable")
    last: dict[bytes, Mapping[str, Any]] = {}
    for part in scan(settings.kafka, {tp: (starts[tp], ends[tp]) for tp in tps}):
        for key, value, offset in zip(part.keys, part.values, part.offset, strict=True):
            if key is None:
                continue
            last.pop(key, None)
            if value is not None:
                try:
                    last[key] = reader.read(value, skip=5)
                except ValueError as error:
                    raise SetupError(f"{part.tp}@{offset}: {error}. Was it written by a newer version?") from None
    return last
