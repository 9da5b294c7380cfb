"""Write one datum at a time, through fastavro: for what is rare; the hot path encodes columns."""

import io
from collections.abc import Mapping
from typing import Any, cast

import fastavro

from streams.avro.json_values import load


class Writer:
    """Writes dictionaries of one schema, framed."""

    def __init__(self, schema: str | Mapping[str, Any], prefix: bytes) -> None:
        """`prefix`: what each datum begins with. Raises: SchemaRefused or fastavro's SchemaParseException."""
        self._schema, self._prefix = fastavro.parse_schema(cast(dict[str, Any], load(schema))), prefix

    def write(self, record: Mapping[str, Any]) -> bytes:
        """Return the datum of a record; times are integers of milliseconds, an enum its symbol.

        Raises: ValueError, TypeError where it is none of the schema.
        """
        file = io.BytesIO(self._prefix)
        file.seek(len(self._prefix))
        fastavro.schemaless_writer(file, self._schema, record, strict=True)
        return file.getvalue()
