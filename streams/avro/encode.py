"""Columns to bytes: an encoder compiled per schema, which writes all rows of a batch in step.

Room: avro, pure. Most of a result is the same in every record of a batch: such values are encoded once by fastavro and
folded, with their neighbours, into one run of bytes. What differs is scattered into one buffer, column by column; the
records are slices of it. `encode_one` is the plain reference that a property test holds the encoder to.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

import fastavro
import numpy as np
import numpy.typing as npt

from streams.avro import bits
from streams.avro.scatter import Cells, Part, Run, Text, Varint, write, write_twice
from streams.records import Bools, Bytes8, Floats, Ints

_INT32: Final = (-(1 << 31), (1 << 31) - 1)


class Constant(NamedTuple):
    """The same value in every row; whatever the field's type can hold."""

    value: Any


class Longs(NamedTuple):
    """A value a row for a boolean (0/1), int, long or enum (index into the symbols)."""

    values: Ints
    null: Bools | None = None


class Doubles(NamedTuple):
    """A value a row for a float or a double."""

    values: Floats
    null: Bools | None = None


class Arrays(NamedTuple):
    """An array a row for an array of floats or doubles, all of one length: shape (rows, items)."""

    values: Floats
    null: Bools | None = None


class Spans(NamedTuple):
    """A value a row for a string (in UTF-8; not checked), bytes or fixed, each somewhere in a buffer."""

    buffer: Bytes8
    start: Ints
    length: Ints
    null: Bools | None = None


class Slices(NamedTuple):
    """A value a row for a string (in UTF-8; not checked), bytes, fixed or enum (the symbol); None is null."""

    values: Sequence[bytes | None]


Values: TypeAlias = Constant | Longs | Doubles | Arrays | Spans | Slices


def encode_one(schema: Any, value: Any) -> bytes:
    """Return one value's Avro datum, as fastavro writes it; a record as a mapping."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


class _Field(NamedTuple):
    """How to write one field."""

    name: str
    schema: Any
    """With every named type written out, so that it stands alone."""
    kind: str
    null_branch: int | None
    size: int
    symbols: tuple[str, ...]


class Encoder:
    """Writes records of one flat schema of our own; fields of other types (maps, …) can only be constants."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        expanded = cast(dict[str, Any], fastavro.schema.expand_schema(dict(schema)))
        self.name: str = expanded["name"]
        self._fields = tuple(_field(raw) for raw in expanded["fields"])

    def encode(self, prefix: bytes, rows: int, values: Mapping[str, Values]) -> list[bytes]:
        """Return `rows` encoded records, each behind the prefix.

        Every field of the schema needs an entry of `values`, and every column has one value a row. What a column
        holds where it is null does not matter. Raises ValueError for values that the field cannot hold.
        """
        return write(self._all_parts(prefix, rows, values), rows)

    def encode_twice(
        self, heads: npt.NDArray[Any], prefix: bytes, values: Mapping[str, Values]
    ) -> tuple[list[bytes], list[bytes]]:
        """Return the records as `encode` does, and each once more behind its own head: one cell of `heads` a row."""
        # copied whole: NumPy copies a cell with fields one field after the other
        bare = heads.view(f"V{heads.itemsize}")
        return write_twice(Cells(bare), self._all_parts(prefix, len(heads), values), len(heads))

    def _all_parts(self, prefix: bytes, rows: int, values: Mapping[str, Values]) -> list[Part]:
        names = {field.name for field in self._fields}
        if names != values.keys():
            raise ValueError(
                f"{self.name}: these fields have no values, or do not exist: {sorted(names ^ values.keys())}"
            )
        parts: list[Part] = [Run(prefix)]
        for field in self._fields:
            try:
                parts += _parts(field, values[field.name], rows)
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                raise ValueError(f"{self.name}: field {field.name} cannot hold what it was given: {error}") from error
        return parts


def _field(raw: Mapping[str, Any]) -> _Field:
    kind, null_branch = raw["type"], None
    if isinstance(kind, list) and len(kind) == 2 and "null" in kind:
        null_branch = kind.index("null")
        kind = kind[1 - null_branch]
    if isinstance(kind, dict) and kind["type"] == "array" and isinstance(kind["items"], str):
        return _Field(raw["name"], raw["type"], f"array of {kind['items']}", null_branch, 0, ())
    if isinstance(kind, dict):
        return _Field(
            raw["name"], raw["type"], kind["type"], null_branch, kind.get("size", 0), tuple(kind.get("symbols", ()))
        )
    return _Field(raw["name"], raw["type"], kind if isinstance(kind, str) else "union", null_branch, 0, ())


def _parts(field: _Field, values: Values, rows: int) -> Iterator[Part]:
    """Return what a field adds to every row, in order: the union's branch, where it is one, and the value."""
    if isinstance(values, Constant):
        yield Run(encode_one(field.schema, values.value))
        return
    if isinstance(values, Slices):
        if len(values.values) == rows and (same := _same(field, values.values)) is not None:
            yield Run(same)
            return
        values = _placed(field, values)
    null = values.null if values.null is not None and values.null.any() else None
    if field.null_branch is not None:
        branches = bytes([0, 2]) if field.null_branch == 0 else bytes([2, 0])
        if null is None:
            yield Run(branches[1:])
        else:
            yield Cells(np.where(null, branches[0], branches[1]).astype(np.uint8))
    elif null is not None:
        raise ValueError(f"row {int(null.argmax())} is null")
    yield from _value(field, values, null, rows)


def _same(field: _Field, values: Sequence[bytes | None]) -> bytes | None:
    """Return what every row has where all values are the same, as the sentences of most of a batch's outcomes are."""
    if not values or values.count(value := values[0]) < len(values):
        return None
    if value is None:
        return encode_one(field.schema, None) if field.null_branch is not None else None
    branch = b"" if field.null_branch is None else b"\x02" if field.null_branch == 0 else b"\x00"
    match field.kind:
        case "string" | "bytes":
            return branch + encode_one("bytes", value)
        case "fixed" if len(value) == field.size:
            return branch + value
        case "enum":
            return branch + encode_one("int", field.symbols.index(value.decode()))
    return None


def _value(field: _Field, values: Longs | Doubles | Arrays | Spans, null: Bools | None, rows: int) -> Iterator[Part]:
    """Return the parts of the values themselves; of no width where they are null."""
    size = len(values.start if isinstance(values, Spans) else values.values)
    if size != rows:
        raise ValueError(f"{size} values for {rows} rows")
    present = None if null is None else ~null
    match field.kind, values:
        case "string" | "bytes", Spans(buffer, start, length):
            if present is not None:
                length = np.where(present, length, 0)
            yield _whole(length, present)
            yield Text(buffer, start, length)
        case "fixed", Spans(buffer, start, length):
            wrong = (length != field.size) if present is None else (length != field.size) & present
            if wrong.any():
                raise ValueError(f"row {int(wrong.argmax())} has not the {field.size} bytes of the fixed")
            yield Text(buffer, start, length if present is None else np.where(present, length, 0))
        case "boolean", Longs(numbers):
            _within(numbers, present, 0, 1)
            yield Cells(numbers.astype(np.uint8), present)
        case "enum", Longs(numbers):
            _within(numbers, present, 0, len(field.symbols) - 1)
            yield _whole(numbers, present)
        case "int", Longs(numbers):
            _within(numbers, present, *_INT32)
            yield _whole(numbers, present)
        case "long", Longs(numbers):
            yield _whole(numbers, present)
        case "float" | "double", Doubles(numbers):
            yield Cells(numbers.astype("<f4" if field.kind == "float" else "<f8"), present)
        case "array of float" | "array of double", Arrays(numbers):
            yield Cells(_blocks(numbers.astype("<f4" if field.kind == "array of float" else "<f8")), present)
        case _:
            raise ValueError(f"{type(values).__name__} for the type {field.kind}")


def _blocks(items: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return each row's array as one cell: a block of all its items, behind their number, and the empty block."""
    rows, count = items.shape
    number = np.frombuffer(encode_one("long", count) if count else b"", np.uint8)
    cells = np.zeros((rows, len(number) + count * items.itemsize + 1), np.uint8)
    cells[:, : len(number)] = number
    cells[:, len(number) : -1] = np.ascontiguousarray(items).view(np.uint8)
    return cells.view(f"V{cells.shape[1]}")[:, 0]


def _whole(numbers: Ints, present: Bools | None) -> Varint:
    raw = bits.zigzag(numbers)
    width = bits.varint_widths(raw)
    return Varint(raw, width if present is None else np.where(present, width, 0))


def _within(numbers: Ints, present: Bools | None, least: int, largest: int) -> None:
    wrong = (numbers < least) | (numbers > largest)
    if present is not None:
        wrong &= present
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"row {row} is {int(numbers[row])}, beyond {least} to {largest}")


def _placed(field: _Field, slices: Slices) -> Longs | Spans:
    """Return a column for a list: symbols by their index, anything else joined into one buffer."""
    null = np.array([value is None for value in slices.values], np.bool_) if None in slices.values else None
    if field.kind == "enum":
        index = {symbol.encode(): at for at, symbol in enumerate(field.symbols)}
        numbers = [0 if value is None else index[value] for value in slices.values]
        return Longs(np.array(numbers, np.int64), null)
    pieces = [value or b"" for value in slices.values]
    length = np.fromiter(map(len, pieces), np.int64, len(pieces))
    return Spans(np.frombuffer(b"".join(pieces), np.uint8), np.cumsum(length) - length, length, null)
