"""A ticket as it leaves the house: what was written, as JSON."""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from streams.avro.json_values import Json, load
from streams.avro.read import Reader

FRAME_BYTES = 5
_ID = re.compile(r"[!-~]{1,64}")
"""What may be an id: it becomes a part of a header."""


class Unreadable(Exception):
    """The value is no ticket, and never will be. `str()` says why; it holds nothing of the value."""


class Ticket(NamedTuple):
    """One revision of one ticket."""

    id: str
    revision: int
    text: str
    """One line of JSON: the fields as they are in the schema, times in ISO 8601, bytes in hexadecimal."""

    @property
    def key(self) -> str:
        """What a receiver knows a repetition by: `<id>:<revision>`."""
        return f"{self.id}:{self.revision}"


def schema_id_of(value: bytes | None) -> int:
    """Return the id of the schema that a value was written with. Raises: Unreadable without Confluent framing."""
    if value is None:
        raise Unreadable("it is a tombstone, and a ticket is never erased")
    if len(value) <= FRAME_BYTES or value[0] != 0:
        raise Unreadable("it does not begin with 0x00 and a schema id")
    return int.from_bytes(value[1:FRAME_BYTES], "big")


def ticket_reader(schema: str) -> Callable[[bytes], Ticket]:
    """Return what reads the framed values that were written with a schema.

    Raises: Unreadable, at once for a schema that cannot be read, later for a value that is no ticket of it.
    """
    try:
        reader, times = Reader(schema), frozenset(_times(load(schema)))
    except Exception as error:  # noqa: BLE001  fastavro's refusals have no common kind
        raise Unreadable(f"its schema cannot be read: {type(error).__name__}") from None

    def read(value: bytes) -> Ticket:
        try:
            record = reader.read(value, skip=FRAME_BYTES)
            body = _plain(record, times)
        except (ValueError, OverflowError, OSError) as error:
            raise Unreadable(f"it is no record of its schema ({type(error).__name__})") from None
        name, revision = record.get("id"), record.get("revision")
        if not isinstance(name, str) or not isinstance(revision, int) or not _ID.fullmatch(name):
            raise Unreadable("it has no id and revision")
        return Ticket(name, revision, json.dumps(body, allow_nan=False))

    return read


def _times(node: Json) -> list[str]:
    """Return the names of the fields that are moments."""
    if isinstance(node, list):
        return [name for one in node for name in _times(one)]
    if not isinstance(node, dict):
        return []
    mine = [str(node["name"])] if "timestamp-millis" in json.dumps(node.get("type")) and _flat(node["type"]) else []
    return mine + [name for one in node.values() for name in _times(one)]


def _flat(kind: Json) -> bool:
    """Whether a field's type is a moment, or a moment or null; not a record that has one."""
    kinds = kind if isinstance(kind, list) else [kind]
    return not any(isinstance(one, dict) and ("fields" in one or "items" in one) for one in kinds)


def _plain(record: Mapping[str, Any], times: frozenset[str]) -> dict[str, Any]:
    return {
        name: _moment(value) if name in times and isinstance(value, int) else _value(value, times)
        for name, value in record.items()
    }


def _moment(ms: int) -> str | int:
    """Return when it was; of a year that no calendar has, the milliseconds."""
    try:
        return datetime.fromtimestamp(ms / 1_000, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return ms


def _value(value: Any, times: frozenset[str]) -> Any:
    """Return what JSON can say; it has no word for infinity."""
    if isinstance(value, Mapping):
        return _plain(value, times)
    if isinstance(value, list):
        return [_value(one, times) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and not math.isfinite(value) else value
