"""Read one datum at a time, through fastavro: for tools that judge what was written; the hot path works in columns."""

import contextlib
import io
import struct
from collections.abc import Mapping
from typing import Any

import fastavro

from streams.avro.json_values import Json, load


class Reader:
    """Reads datums of one schema into dictionaries; logical values stay numbers and bytes.

    The schema may hold arrays and maps, which the columnar decoder does not read; it must come from a trusted place.
    """

    def __init__(self, schema: str | Mapping[str, Any], *, older: bool = False) -> None:
        """Read what was written with this schema, or, with `older`, with one that had fewer fields at its end, too.

        What an older record lacks has its default. A record that was cut short may be taken for an older one, so `older` is for
        what the product itself has written, never for what is being judged.

        Raises: SchemaRefused or fastavro's SchemaParseException for a schema that cannot be read.
        """
        parsed: Any = _without_logical_types(load(schema))
        self._versions = [(fastavro.parse_schema(parsed), dict[str, Any]())]
        """The schema, and older ones with what they lack, the newest first."""
        fields = parsed.get("fields", []) if isinstance(parsed, dict) else []
        for at in range(len(fields) - 1, 0, -1) if older else ():
            if "default" not in fields[at]:
                break
            lacks = {field["name"]: field["default"] for field in fields[at:]}
            self._versions.append((fastavro.parse_schema({**parsed, "fields": fields[:at]}), lacks))

    def read(self, datum: bytes, skip: int = 0) -> dict[str, Any]:
        """Return the record that begins `skip` bytes into the datum, and ends with it.

        Raises: ValueError if the bytes are not one record of the schema, whole and nothing more.
        """
        try:
            return self._read(datum, skip, self._versions[0][0])
        except ValueError as error:
            for schema, lacks in self._versions[1:]:
                with contextlib.suppress(ValueError):
                    return self._read(datum, skip, schema) | lacks
            raise error

    @staticmethod
    def _read(datum: bytes, skip: int, schema: Any) -> dict[str, Any]:
        file = io.BytesIO(datum)
        file.seek(skip)
        try:
            record = fastavro.schemaless_reader(file, schema, None)
        except (
            EOFError,
            IndexError,
            KeyError,
            MemoryError,
            OverflowError,
            TypeError,
            ValueError,
            struct.error,
        ) as error:
            raise ValueError(f"not a record of this schema: {type(error).__name__} {error}") from None
        if file.tell() != len(datum):
            raise ValueError(f"{len(datum) - file.tell()} bytes are left over")
        assert isinstance(record, dict), "the schema is a record"
        return record


def _without_logical_types(node: Json) -> Any:
    """Return the schema with its logical types left out: building a datetime costs more than reading the record."""
    if isinstance(node, dict):
        return {key: _without_logical_types(value) for key, value in node.items() if key != "logicalType"}
    return [_without_logical_types(value) for value in node] if isinstance(node, list) else node
